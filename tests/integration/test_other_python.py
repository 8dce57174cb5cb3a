"""Formats and state roots are the same on the other supported Python, where one is installed.

A validator on 3.11 and one on 3.12 must compute equal bytes (design section 11), so the tests that pin bytes, vectors
and frozen state roots run a second time there, in a virtual environment of their own made from the same lock. What they
draw at random was drawn on this Python too, so a few examples of each are enough (``--few``).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
OTHER = "3.12" if sys.version_info[:2] == (3, 11) else "3.11"
#: Whatever pins bytes: encodings, vectors, proofs, trees, executor, text folding, the fingerprints of invoices.
PINNED = [
    "tests/primitives",
    "tests/execution",
    "tests/modules/test_receivable_life_cycles.py",
    "tests/modules/test_kernel_roots.py",
    "tests/modules/test_title_roots.py",
]


def _interpreter() -> str | None:
    roots = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    candidates = [found for found in [shutil.which(f"python{OTHER}")] if found]
    candidates += [str(path) for root in roots for path in sorted(root.glob(f"{OTHER}.*/bin/python{OTHER}"))]
    for candidate in candidates:
        done = subprocess.run(
            [candidate, "-c", "import sys, venv; print(sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0 and str(tuple(int(part) for part in OTHER.split("."))) in done.stdout:
            return candidate
    return None


def _environment(interpreter: str) -> Path:
    """The virtual environment, kept between runs and made anew when the lock changes."""
    folder = ROOT / f".venv-{OTHER}"
    stamp = folder / ".lock-hash"
    wanted = hashlib.sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True, capture_output=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-compile", "--require-hashes", "-r", str(ROOT / "requirements.lock")],
        check=True,
        capture_output=True,
    )
    stamp.write_text(wanted)
    return folder


def test_formats_and_state_roots_are_equal_on_the_other_python() -> None:
    interpreter = _interpreter()
    if interpreter is None:
        pytest.skip(f"NOT RUN: there is no Python {OTHER} on this machine")
    python = _environment(interpreter) / "bin" / "python"
    run = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--few", *PINNED],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
