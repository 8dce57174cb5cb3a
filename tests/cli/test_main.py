"""The root command: quick, helpful, and honest in its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from dawan_node.cli import main
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.errors import ConfigError, DawanError, InvalidKey, NetworkError, StorageError

ROOT = Path(__file__).resolve().parents[2]
START = "from dawan_node.cli.main import main; main()"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A command ``fail`` that raises whatever the test puts under "error"."""
    held: dict[str, Any] = {}

    @click.command()
    def fail() -> None:
        raise held["error"]

    monkeypatch.setattr(main, "_entry_points", lambda: {"fail": Loadable(fail)})
    yield held


class Loadable:
    """What an entry point is to the command line."""

    def __init__(self, command: object) -> None:
        self._command = command

    def load(self) -> object:
        return self._command


def test_help_lists_every_command_without_importing_any() -> None:
    script = (
        "import sys; from dawan_node.cli.main import cli; cli.main(['--help'], standalone_mode=False);"
        "print('LOADED', *sorted(m for m in sys.modules if m.startswith('dawan_node')))"
        "; print('HEAVY', *{'aiohttp', 'cryptography', 'nacl', 'msgspec', 'plyvel', 'asyncio'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for name, (_, _, line) in main.COMMANDS.items():
        assert f"\n  {name} " in shown
        assert line in shown
    loaded = shown.partition("LOADED ")[2].splitlines()[0].split()
    assert loaded == [
        "dawan_node",
        "dawan_node.cli",
        "dawan_node.cli.exit_codes",
        "dawan_node.cli.lazy",
        "dawan_node.cli.main",
        "dawan_node.errors",
    ]
    assert shown.endswith("HEAVY\n")


@pytest.mark.parametrize("name", sorted({*main.COMMANDS, "trade"}))
def test_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    script = (
        f"import sys; from dawan_node.cli.main import cli; cli.main([{name!r}, '--help'], standalone_mode=False);"
        "print('HEAVY', *{'aiohttp', 'cryptography', 'nacl', 'msgspec', 'plyvel', 'asyncio'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown.endswith("HEAVY\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a", "b", "c"), ExitCode.FAILED),
        (InvalidKey("x"), ExitCode.FAILED),
        (StorageError("x"), ExitCode.FAILED),
        (NetworkError("x"), ExitCode.UNREACHABLE),
        (CommandFailed(ExitCode.REJECTED, "a", "b", "c"), ExitCode.REJECTED),
        (CommandFailed(ExitCode.TIMED_OUT, "a", "b", "c"), ExitCode.TIMED_OUT),
        (CommandFailed(ExitCode.UNHEALTHY, "a", "b", "c"), ExitCode.UNHEALTHY),
    ],
)
def test_each_failure_has_its_exit_code(failing: dict[str, Any], error: DawanError, code: ExitCode) -> None:
    failing["error"] = error
    assert CliRunner().invoke(main.cli, ["fail"]).exit_code == code


def test_an_operator_reads_what_why_and_next_on_one_line_of_standard_error(failing: dict[str, Any]) -> None:
    failing["error"] = ConfigError("node.toml is refused", "line\none\x1b[31m", "Correct it.")
    result = CliRunner().invoke(main.cli, ["fail"])
    assert result.stdout == ""
    assert result.stderr == "error: node.toml is refused: line one [31m. Next: Correct it.\n"


def test_a_mistake_of_ours_is_not_hidden(failing: dict[str, Any]) -> None:
    failing["error"] = ZeroDivisionError("our bug")
    assert isinstance(CliRunner().invoke(main.cli, ["fail"]).exception, ZeroDivisionError)


def test_a_misspelt_command_is_answered_with_the_nearest_one() -> None:
    result = CliRunner().invoke(main.cli, ["netwrk"])
    assert result.exit_code == ExitCode.USAGE
    assert "The nearest one is network." in result.stderr


def test_a_group_of_another_package_is_found_by_its_entry_point(failing: dict[str, Any]) -> None:
    shown = CliRunner().invoke(main.cli, ["--help"]).stdout
    assert "fail" in shown
    failing["error"] = ConfigError("a", "b", "c")
    assert CliRunner().invoke(main.cli, ["fail", "--help"]).exit_code == ExitCode.OK


def test_assertions_must_be_on() -> None:
    result = subprocess.run([sys.executable, "-O", "-c", START], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == ExitCode.FAILED
    assert "without -O" in result.stderr


def test_version_tells_a_bug_report_what_it_needs() -> None:
    result = CliRunner().invoke(main.cli, ["version"])
    assert result.exit_code == 0
    assert "libsodium" in result.stdout and "protocol 1" in result.stdout


def test_nothing_the_program_makes_is_for_other_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main.cli, "main", lambda **_: None)
    before = os.umask(0o022)
    try:
        main.main()
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)
