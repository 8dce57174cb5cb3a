"""Every benchmark can be asked what it does without doing it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.workloads import Payload
from dawan_node.execution.registry import load_module

ROOT = Path(__file__).parents[1]
#: What ``scripts/bench`` offers when it is asked for nothing.
OFFERED = subprocess.run(["scripts/bench"], cwd=ROOT, capture_output=True, text=True, check=False).stderr
BENCHMARKS = [line.strip() for line in OFFERED.splitlines() if line.startswith("  ")]


def test_there_are_benchmarks() -> None:
    assert {"end_to_end", "overload", "startup", "catch_up_network"} < set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_says_what_it_measures(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: ") and len(shown.splitlines()) > 5


def test_the_page_names_every_benchmark() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert [name for name in BENCHMARKS if f"`{name}" not in page] == []


def test_the_module_of_the_payload_workload_is_loaded_as_a_members_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", sys.path[:])
    Payload(1_000).install(tmp_path / "site")
    assert load_module("payload", 1).commands.keys() == {"record"}
