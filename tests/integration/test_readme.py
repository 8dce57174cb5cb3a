"""The README's examples answer as printed: every ``$`` line is run, and ``…`` matches whatever differs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from network_kit import running

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]


def _examples() -> list[tuple[str, str]]:
    """(command, expected output) of every console block, in order."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            found.append((command, expected.strip("\n")))
    return found


def _as_pattern(expected: str) -> str:
    """A line's padding may differ with the width of what differs."""
    lines = [re.sub(r"(\\ )+", r"\\s+", re.escape(line)).replace("…", ".*") for line in expected.split("\n")]
    return "\n".join(lines)


def test_every_example_of_the_readme_answers_as_printed(tmp_path: Path) -> None:
    examples = _examples()
    assert len(examples) >= 15
    shim = tmp_path / "bin"
    shim.mkdir()
    (shim / "dawan-node").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dawan_node "$@"\n')
    (shim / "dawan-node").chmod(0o755)
    with running(tmp_path, 4) as network:
        (tmp_path / "devnet").symlink_to(network.devnet.folder)
        script = "".join(f"{command}\necho '=====END OF ANSWER====='\n" for command, _ in examples)
        environment = {
            "PATH": f"{shim}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "HOME": str(tmp_path),
        }
        run = subprocess.run(
            ["bash"],
            input=script,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
            check=False,
        )
    answers = run.stdout.split("=====END OF ANSWER=====\n")
    assert len(answers) == len(examples) + 1, run.stderr
    for (command, expected), answer in zip(examples, answers, strict=False):
        assert re.fullmatch(_as_pattern(expected), answer.strip("\n"), re.DOTALL), (
            f"$ {command}\nprinted:\n{answer}\nthe README says:\n{expected}\n{run.stderr}"
        )
