"""Rewriting changes nothing that honest code computes: the node's own modules, rewritten, pass their own tests.

State roots of fixed transactions are among these tests, so a difference of one bit would show.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "files",
    [
        pytest.param(("test_kernel_roots", "test_title_roots"), id="roots"),
        pytest.param(
            (
                "test_governance",
                "test_kernel",
                "test_lc",
                "test_lc_amendments",
                "test_logistics",
                "test_logistics_shipments",
                "test_receivable",
                "test_receivable_life_cycles",
                "test_refdata",
                "test_title",
                "test_title_envelopes",
                "test_title_life_cycles",
            ),
            id="all",
            marks=pytest.mark.extended,
        ),
    ],
)
def test_rewritten_the_nodes_own_modules_pass_their_own_tests(files: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.execution.guarded_builtins"]
    command += ["-p", "no:cacheprovider", *(f"tests/modules/{name}.py" for name in files)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4_000:] + run.stderr[-2_000:]
