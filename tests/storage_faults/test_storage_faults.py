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
#: The longest part takes a minute and a half on a machine with nothing else to do, its extended form half an hour.
PART_S = 1_500
EXTENDED_S = 10_800

Run = Callable[..., None]


@pytest.fixture
def run(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Run:
    """Run a part, hand its table on, and fail for what broke."""
    extended, state = request.config.getoption("--extended"), request.config.getoption("--faults-state")

    def run_part(part: str, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.storage_faults.campaign", part, *map(str, arguments)]
        if extended and state:
            command += ["--state", str(Path(state).absolute())]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=EXTENDED_S if extended else PART_S, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        report = json.loads(done.stdout)
        record_property("storage_faults", report["rows"])
        assert not report["broken"], "\n".join(report["broken"][:40])

    return run_part


@pytest.fixture
def only(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The sections that were asked for (``scripts/storage-faults --only``), all of them by default."""
    asked: str | None = request.config.getoption("--faults-only")
    return SECTIONS if asked is None else (asked,)


#: What ``--only`` can name; without it the full disk, the double start and the failpoints run too.
SECTIONS = ("kills", "errors", "cuts", "corruption", "log-cuts")


def wanted(section: str, only: tuple[str, ...]) -> None:
    if section not in only and (section in SECTIONS or only != SECTIONS):
        pytest.skip(f"--only {' '.join(only)}")


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


def try_points(run: Run, request: pytest.FixtureRequest, only: tuple[str, ...], shard: int) -> None:
    kinds = [each for each in ("kills", "errors") if each in only]
    wanted(kinds[0] if kinds else "kills", only)
    require(why_no_strace())
    run("points", "--shard", shard, "--shards", 2, "--every", chosen(request, 8, 1), "--kinds", *kinds)


# The two longest parts stand apart: workers begin with two neighbours each.


def test_a_node_killed_or_failed_at_any_storage_call_loses_nothing_and_stops_within_a_second(
    run: Run, request: pytest.FixtureRequest, only: tuple[str, ...]
) -> None:
    """In the lives that a death ends: every other ten blocks of the run."""
    try_points(run, request, only, 0)


def test_a_second_node_on_the_same_home_is_refused_and_changes_nothing(run: Run, only: tuple[str, ...]) -> None:
    wanted("double", only)
    run("double")


def test_a_node_killed_or_failed_in_a_life_that_ends_in_order_loses_nothing_either(
    run: Run, request: pytest.FixtureRequest, only: tuple[str, ...]
) -> None:
    try_points(run, request, only, 1)


def test_a_power_cut_loses_nothing_that_was_acknowledged_and_much_of_a_node_that_does_not_sync(
    run: Run, request: pytest.FixtureRequest, only: tuple[str, ...]
) -> None:
    wanted("cuts", only)
    require(mounts.why_no_power_cuts())
    run("power", "--count", chosen(request, 20, 60))


def test_damaged_files_are_found_before_a_wrong_value_is_served_and_healed_by_a_peer(
    run: Run, request: pytest.FixtureRequest, only: tuple[str, ...]
) -> None:
    wanted("corruption", only)
    run("corruption", "--count", chosen(request, 200, 400), "--heal", chosen(request, 1, 400))


def test_a_log_that_is_cut_anywhere_is_known_to_be(
    run: Run, request: pytest.FixtureRequest, only: tuple[str, ...]
) -> None:
    wanted("log-cuts", only)
    run("log-cuts", "--count", chosen(request, 200, 400))


def test_a_full_disk_stops_the_node_with_its_reason_and_loses_nothing(run: Run, only: tuple[str, ...]) -> None:
    wanted("full", only)
    require(mounts.why_not())
    run("full")


def test_a_node_killed_at_a_named_failpoint_loses_nothing(
    run: Run, request: pytest.FixtureRequest, only: tuple[str, ...]
) -> None:
    wanted("failpoints", only)
    run("failpoints", "--count", chosen(request, 1, 7))


def test_a_node_killed_while_it_makes_or_installs_a_snapshot_or_prunes_is_in_the_old_or_the_new_state(
    run: Run, only: tuple[str, ...]
) -> None:
    wanted("snapshots", only)
    run("snapshots")
