"""``module``: what it writes passes everything, and what it says of a module is what a node would say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dawan_node.cli.devnet import _version_of
from dawan_node.cli.main import cli
from dawan_node.execution.describe import describe_module
from dawan_node.execution.registry import BUILTIN, installed_versions
from dawan_node.rpc.json_schema import for_json

ROOT = Path(__file__).resolve().parents[2]


def dawan(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["module", *map(str, arguments)])


def program(*arguments: str | Path, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """The program in a process of its own: what it imports stays there."""
    known = os.pathsep.join(filter(None, [path, str(ROOT)]))
    return subprocess.run(
        [sys.executable, "-m", "dawan_node", *map(str, arguments)],
        cwd=cwd, env={**os.environ, "PYTHONPATH": known}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projects") / "cold_chain"
    made = dawan("new", "cold_chain", "--dir", folder)
    assert made.exit_code == 0, made.output
    return folder


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param((["ruff", "check", "."], ["ruff", "format", "--check", "."]), id="ruff"),
        pytest.param((["mypy", "."],), id="mypy", marks=pytest.mark.extended),
    ],
)
def test_a_new_module_passes_lint_ruff_and_mypy(project: Path, commands: tuple[list[str], ...]) -> None:
    linted = dawan("lint", project)
    assert (linted.exit_code, "nothing found" in linted.output) == (0, True), linted.output
    for command in commands:
        checked = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, env={**os.environ, "MYPYPATH": str(ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_a_new_module_passes_its_tests_in_other_worlds_and_on_four_nodes(project: Path) -> None:
    tested = program("module", "test", project, cwd=project)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    lines = tested.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok      lint", "ok      tests", "ok      same everywhere", "ok      four nodes",
    ]  # fmt: skip
    assert "executed twice in 2 worlds" in lines[2]
    assert "decided by 4 nodes" in lines[3]


def test_an_installed_package_is_listed_found_and_executed(project: Path, tmp_path: Path) -> None:
    """As ``pip install`` leaves it: without the project around it."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    made = subprocess.run(
        [*pip, "--target", str(tmp_path / "site"), str(project)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    path = str(tmp_path / "site")
    rows = json.loads(program("module", "list", "-o", "json", cwd=tmp_path, path=path).stdout)
    (row,) = [row for row in rows if row["module"] == "cold_chain"]
    assert (row["versions"], row["package"], row["trouble"]) == ([1], "dawan-cold-chain 1", "")
    assert row["entry_point"] == "dawan_cold_chain:module"
    assert {row["module"] for row in rows} == {*BUILTIN, "cold_chain"}
    # Its commands run where a channel names it, and it is found by its name.
    script = (
        "from dawan_node.node.module_package import installed\n"
        "assert installed('cold_chain').lint() == [] and len(installed('cold_chain').files()) == 5\n"
        "from dawan_node.execution.registry import load_module\n"
        "from dawan_node.testing.module_kit import ModuleKit\n"
        "kit = ModuleKit([load_module('cold_chain', 1)], {'anna': ('gz', ['clerk'])})\n"
        "print(kit.run('anna', 'register_item', {'number': 'A', 'quantity': 1}).code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([path, str(ROOT)])}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout == "0\n", run.stderr
    # Its page says of each command what can refuse it, read from the package that is installed.
    page = program("module", "describe", "cold_chain", "--markdown", cwd=tmp_path, path=path).stdout
    register, transfer = page.split("### `register_item`")[1].split("### `transfer_item`")
    assert "| `E_EXISTS` |" in register and "E_NOT_OWNER" not in register
    told = [reason for reason in ("E_UNKNOWN", "E_NOT_OWNER", "E_RECEIVER") if f"| `{reason}` |" in transfer]
    assert told == ["E_UNKNOWN", "E_NOT_OWNER", "E_RECEIVER"]


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_a_description_is_what_a_node_answers(name: str) -> None:
    expected = for_json(describe_module(installed_versions(name)[-1]))
    assert json.loads(dawan("describe", name, "-o", "json").stdout) == json.loads(json.dumps(expected))
    page = dawan("describe", name, "--markdown").stdout
    table = dawan("describe", name).stdout
    for entry in (*expected["commands"], *expected["queries"], *expected["events"], *expected["errors"]):
        assert f"`{entry}`" in page
        assert entry in table


def test_a_module_of_the_node_passes_lint_by_its_name() -> None:
    """All files of all of them are looked at in tests/execution/test_declarations.py."""
    linted = dawan("lint", "governance")
    assert linted.exit_code == 0, linted.output


@pytest.mark.parametrize("name", ["Upper", "1st", "with-dash", "", "x" * 33, "class", "json", "receivable", "../up"])
def test_a_bad_name_or_one_that_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    refused = dawan("new", name, "--dir", tmp_path / "place")
    assert refused.exit_code == 1
    assert refused.output.startswith("error: ") and "Next: " in refused.output
    assert not (tmp_path / "place").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for place in ("mine", "dangling"):
        refused = dawan("new", "cold_chain", "--dir", tmp_path / place)
        assert (refused.exit_code, "nothing is overwritten" in refused.output) == (1, True)
    assert list((tmp_path / "mine").iterdir()) == []


def test_lint_says_where_what_why_and_what_instead(tmp_path: Path) -> None:
    file = tmp_path / "clock.py"
    file.write_text("import time\n\nNOW = time.time() / 2\n")
    found = dawan("lint", file)
    assert found.exit_code == 1
    assert "clock.py:1: M101 imports time\n    it reaches the machine" in found.stdout
    assert "clock.py:3: M103 true division\n    it gives a float; use //" in found.stdout
    rows = json.loads(dawan("lint", file, "-o", "json").stdout)["findings"]
    assert [(row["line"], row["code"]) for row in rows] == [(1, "M101"), (3, "M103")]


@pytest.mark.parametrize("place", ["nowhere", "empty", "bare"])
def test_what_is_no_module_is_said_to_be_none(place: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    refused = dawan("lint", tmp_path / place)
    assert (refused.exit_code, "Next: " in refused.stderr) == (1, True)


def test_a_module_with_findings_is_not_run(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shaky"
    assert dawan("new", "shaky", "--dir", folder).exit_code == 0
    commands = folder / "dawan_shaky" / "commands.py"
    commands.write_text(commands.read_text().replace("import annotations\n", "import annotations\n\nimport time\n"))
    tested = dawan("test", folder)
    assert (tested.exit_code, "M101 imports time" in tested.output, "ok " in tested.output) == (1, True, False)


@pytest.mark.parametrize("module", ["nowhere", "receivable@7"])
def test_a_network_is_not_made_for_a_module_that_is_not_here(module: str, tmp_path: Path) -> None:
    refused = CliRunner().invoke(cli, ["devnet", "up", "--home", str(tmp_path / "net"), "--module", module])
    assert (refused.exit_code, "Next: " in refused.stderr) == (1, True)
    assert not (tmp_path / "net").exists()


def test_without_a_version_the_newest_one_is_meant() -> None:
    assert [_version_of(name) for name in ("lc", "lc@1")] == ["lc@1", "lc@1"]


def test_a_network_that_is_there_keeps_the_modules_of_its_genesis(tmp_path: Path) -> None:
    (tmp_path / "devnet.json").write_text('{"nodes": []}')
    refused = CliRunner().invoke(cli, ["devnet", "up", "--home", str(tmp_path), "--module", "lc"])
    assert (refused.exit_code, "part of their genesis" in refused.stderr) == (1, True)


@pytest.mark.extended
def test_a_module_whose_tests_fail_or_that_has_none_is_said_to_have_failed(tmp_path: Path) -> None:
    folder = tmp_path / "shaky"
    assert dawan("new", "shaky", "--dir", folder).exit_code == 0
    commands = folder / "dawan_shaky" / "commands.py"
    commands.write_text(commands.read_text().replace('"E_NOT_OWNER")', '"E_UNKNOWN")'))
    tested = program("module", "test", folder, cwd=folder)
    assert (tested.returncode, "FAILED  tests" in tested.stdout, "four nodes" in tested.stdout) == (1, True, False)
    (folder / "tests" / "test_shaky.py").unlink()
    tested = program("module", "test", folder, cwd=folder)
    assert (tested.returncode, "there are no tests" in tested.stdout) == (1, True)
