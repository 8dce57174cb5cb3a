"""Order and profiles of the whole test run.

Cheap tests come first so that a plain mistake is seen in seconds; tests that start processes come last.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterator

import hypothesis
import pytest

from tests.storage_faults.table import add, lines_of

# No deadline: two cores shared with other work make single examples slow without anything being wrong.
# Derandomised by default: the same commit gives the same verdict; --extended searches for new examples.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, max_examples=100, database=None)
#: For a second run of tests that had all their examples elsewhere.
hypothesis.settings.register_profile("few", hypothesis.settings.get_profile("default"), max_examples=10)
hypothesis.settings.register_profile(
    "extended",
    deadline=None,
    max_examples=5_000,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)


#: Files that take half a minute or more, the longest first: two workers end at the same time only if what is left to
#: share out at the end is short. (scripts/test has them steal work from each other, which keeps files together: most of
#: these share a network among their tests.)
_LONGEST = (
    "test_storage_faults",
    "test_forming",
    "test_byzantine",
    "test_validators",
    "test_faults",
    "test_expiry",
    "test_storage_recovery",
    "test_intruder",
    "test_revocation",
    "test_other_python",
    "test_authorities",
    "test_devnet_commands",
    "test_bad_networks",
    "test_channel_cluster",
    "test_liars",
)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command that configures logging in this process must not change what the next test hears."""
    root, ours = logging.getLogger(), logging.getLogger("dawan_node")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--extended", action="store_true", help="run the long tests too, with 5,000 examples each")
    parser.addoption("--few", action="store_true", help="ten examples of each property, where it ran already")
    # For scripts/storage-faults; here, because options must be known before the folders of the tests are.
    parser.addoption("--faults-only", help="one section of the storage faults")
    parser.addoption("--faults-state", help="where the extended storage faults keep what they found out")


def pytest_configure(config: pytest.Config) -> None:
    chosen = next((name for name in ("extended", "few") if config.getoption(f"--{name}")), "default")
    hypothesis.settings.load_profile(chosen)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def cost(item: pytest.Item) -> tuple[int, int]:
        for rank, marker in enumerate(("extended", "processes", "slow")):
            if item.get_closest_marker(marker):
                name = item.path.stem
                return 3 - rank, _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)
        return 0, 0

    if not config.getoption("--extended"):
        left_out = [item for item in items if item.get_closest_marker("extended")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker("extended")]
    items.sort(key=cost)  # stable: inside a class of cost the order of the files stays


def pytest_collection_finish() -> None:
    """Some 300,000 objects of modules and tests stay to the end: the collector need not go over them again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The tables of the storage faults, added up over the processes that ran parts of them."""
    table: Counter[tuple[str, str, str]] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") != "call":
                continue  # setting up and tearing down report the same properties once more
            for name, rows in getattr(report, "user_properties", ()):
                if name == "storage_faults":
                    add(table, rows)
    not_run = [
        report
        for report in terminalreporter.stats.get("skipped", ())
        if "storage_faults" in report.nodeid and "not run:" in str(report.longrepr)
    ]
    if not table and not not_run:
        return
    terminalreporter.section("storage faults")
    for line in lines_of(table):
        terminalreporter.line(line)
    for report in not_run:
        terminalreporter.line(f"NOT RUN        {report.nodeid.rpartition('::')[2]}: {report.longrepr[2]}")
