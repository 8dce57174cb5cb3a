"""Properties of the source as text: length, work left over, unsafe calls, pins."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.syntax import dotted, source_of

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("dawan_node", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
PACKAGE_SOURCES = [path for path in SOURCES if path.is_relative_to(ROOT / "dawan_node")]

# A file beyond this has a second noun in it (README, style).
LINES_MAX = 600
LEFT_OVER = re.compile(r"\b(?:TO" r"DO|FIX" r"ME)\b")
# Names that fit everything and so say nothing about what belongs inside.
JUNK_DRAWERS = {"utils", "util", "helpers", "common", "misc"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# One test for all files each, not one for each file: hundreds of files would make thousands of tests, and starting and
# reporting a test takes longer than looking at a file.


def test_every_file_is_short_and_finished() -> None:
    wrong = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > LINES_MAX:
            wrong.append(f"{relative(path)}: {text.count(chr(10))} lines, more than {LINES_MAX}")
        if LEFT_OVER.search(text):
            wrong.append(f"{relative(path)}: work left over")
        if path.stem in JUNK_DRAWERS:
            wrong.append(f"{relative(path)}: a name that fits everything")
    assert len(SOURCES) > 500
    assert not wrong, "\n".join(wrong)


def test_every_module_begins_by_explaining_itself() -> None:
    assert len(PACKAGE_SOURCES) > 200
    silent = [relative(path) for path in PACKAGE_SOURCES if not source_of(path).docstring]
    assert not silent, "module docstring missing: " + ", ".join(silent)


def test_nothing_unpickles_evaluates_or_opens_a_shell() -> None:
    wrong = [f"{relative(path)}:{line}" for path in PACKAGE_SOURCES for line in dangerous(path)]
    assert not wrong, "\n".join(wrong)


def dangerous(path: Path) -> Iterator[str]:
    """Line and what it does."""
    for node in source_of(path).nodes:
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            if called in {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}:
                yield f"{node.lineno} calls {called}"
            if any(
                keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
                for keyword in node.keywords
            ):
                yield f"{node.lineno} opens a shell"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            if (module or "").split(".")[0] in {"pickle", "marshal", "shelve"}:
                yield f"{node.lineno} imports {module}"


def test_the_lock_pins_every_dependency_with_hashes_and_names_no_host_or_path() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.findall(r"^([A-Za-z0-9_.-]+)==\S+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.M)
    pinned = {name.lower().replace("_", "-") for name, _ in entries}
    assert len(entries) == len(re.findall(r"^[A-Za-z0-9]", lock, re.M)), "a line without hashes"
    assert (
        "://" not in lock and "--find-links" not in lock and "index" not in lock and "/" not in lock.split("\n", 3)[3]
    )

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=~! ]", entry)[0].lower().replace("_", "-") for entry in wanted} <= pinned


def test_the_scripts_are_executable_and_continuous_integration_calls_only_them() -> None:
    for name in ("setup", "devnet", "test", "check", "lint", "lock", "packages"):
        assert (ROOT / "scripts" / name).stat().st_mode & 0o111
    steps = [
        line
        for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert steps == ["scripts/packages", "scripts/check", "scripts/test"]
