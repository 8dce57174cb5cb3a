"""Issue 5, Shows 1 to 3: whatever happens to the disk, nothing acknowledged is lost and nothing wrong is served.

Each part runs in a process of its own (``campaign``), whose table is printed at the end of the run. Parts that this
machine cannot run are *not run*, and the summary says why; they are never counted as passed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage_faults import mounts

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
#: The longest part takes a minute and a half on a machine with nothing else to do, its extended form a quarter hour.
PART_S = 1_500
EXTENDED_S = 5_400

SHARDS = 2

Run = Callable[..., None]


@pytest.fixture
def run(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Run:
    """Run a part, hand its table on, and fail for what broke."""

    def run_part(part: str, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.storage_faults.campaign", part, *map(str, arguments)]
        limit_s = EXTENDED_S if request.config.getoption("--extended") else PART_S
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        report = json.loads(done.stdout)
        record_property("storage_faults", report["rows"])
        assert not report["broken"], "\n".join(report["broken"][:40])

    return run_part


def chosen(request: pytest.FixtureRequest, default: int, extended: int) -> int:
    return extended if request.config.getoption("--extended") else default


def require(reason: str | None) -> None:
    if reason is not None:
        pytest.skip(f"not run: {reason}")


def why_no_strace() -> str | None:
    """Whether ``strace`` is here and may attach, found out by letting it."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", "inject=fdatasync:error=EIO", sys.executable, "-c", ""],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[-200:]}"


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_node_killed_or_failed_at_any_storage_call_loses_nothing_and_stops_within_a_second(
    run: Run, request: pytest.FixtureRequest, shard: int
) -> None:
    require(why_no_strace())
    run("points", "--shard", shard, "--shards", SHARDS, "--every", chosen(request, 8, 1))


def test_a_power_cut_loses_nothing_that_was_acknowledged_and_much_of_a_node_that_does_not_sync(
    run: Run, request: pytest.FixtureRequest
) -> None:
    require(mounts.why_no_power_cuts())
    run("power", "--count", chosen(request, 20, 60))


def test_damaged_files_are_found_before_a_wrong_value_is_served(run: Run, request: pytest.FixtureRequest) -> None:
    run("corruption", "--count", chosen(request, 200, 400))


def test_a_full_disk_stops_the_node_with_its_reason_and_loses_nothing(run: Run) -> None:
    require(mounts.why_not())
    run("full")


def test_a_second_node_on_the_same_home_is_refused_and_changes_nothing(run: Run) -> None:
    run("double")


def test_a_node_killed_at_a_named_failpoint_loses_nothing(run: Run, request: pytest.FixtureRequest) -> None:
    run("failpoints", "--count", chosen(request, 1, 7))
