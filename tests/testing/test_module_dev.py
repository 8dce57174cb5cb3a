"""``module dev``: what a command gives now is shown when a file is saved, and what is wrong does not end it."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from dawan_node.cli.main import cli
from dawan_node.testing.module_dev import compare
from dawan_node.testing.module_session import Played, Step

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")

#: Generous: only what never comes uses it up.
DEADLINE_S = 60.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "greetings"
    made = CliRunner().invoke(cli, ["module", "new", "greetings", "--dir", str(folder)])
    assert made.exit_code == 0, made.output
    return folder


class Dev:
    """The program, running; ``until`` reads on until a text was said."""

    def __init__(self, project: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "dawan_node", "module", "dev", str(project), *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        self.said = ""

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def until(self, text: str) -> str:
        """What was said up to ``text`` and the rest of its line, since the last time."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + DEADLINE_S
        while not re.search(re.escape(text) + r".*\n", self.said):
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            part = os.read(self.process.stdout.fileno(), 65_536) if ready else b""
            assert part, f"{text!r} was never said; there was: {self.said}"
            self.said += part.decode()
        found = re.search(re.escape(text) + r".*\n", self.said)
        assert found is not None
        before, self.said = self.said[: found.end()], self.said[found.end() :]
        return before

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def dev(project: Path) -> Iterator[Dev]:
    running = Dev(project)
    yield running
    running.process.kill()
    running.process.wait()
    for stream in (running.process.stdin, running.process.stdout, running.process.stderr):
        assert stream is not None
        stream.close()


def edit(file: Path, old: str, new: str) -> None:
    """Save a file as an editor does: a new one in its place."""
    text = file.read_text()
    assert text.count(old) == 1
    fresh = file.with_suffix(".new")
    fresh.write_text(text.replace(old, new))
    fresh.replace(file)


def test_a_saved_rule_is_at_once_the_rule_of_every_command_so_far(dev: Dev, project: Path) -> None:
    commands = project / "dawan_greetings" / "commands.py"
    dev.until("0 lines played")
    dev.type('anna register_item {"number": "A-1", "quantity": 5}')
    assert 'ItemRegistered {"number": "A-1", "owner": "gz", "quantity": 5}' in dev.until("ItemRegistered")
    dev.type("ben sing {}")
    assert "not understood" in dev.until("has no command sing")
    dev.type('ben transfer_item {"number": "A-1", "receiver": "mo"}')
    assert "E_NOT_OWNER: The item belongs to another organisation." in dev.until("E_NOT_OWNER")
    edit(commands, '    ctx.require(item.owner == ctx.sender.org, "E_NOT_OWNER")\n', "")
    shown = dev.until('+ {"number": "A-1", "owner": "mo"')
    assert "commands.py: loaded, 2 lines played in" in shown
    assert '   2  ben transfer_item {"number": "A-1", "receiver": "mo"}' in shown, "what says nothing is forgotten"
    assert "      - refused, code 3 E_NOT_OWNER" in shown and "      + done" in shown
    assert "register_item" not in shown, "what came out as before is not shown"
    assert dev.end() == 0


def test_code_that_does_not_load_is_told_and_the_session_goes_on(dev: Dev, project: Path) -> None:
    commands = project / "dawan_greetings" / "commands.py"
    dev.until("0 lines played")
    dev.type('anna register_item {"number": "A-1", "quantity": 5}')
    dev.until("ItemRegistered")
    line = "    ctx.put(Item(args.number, ctx.sender.org, args.quantity, ctx.time_ms))\n"
    edit(commands, line, line + "    open('/etc/passwd')\n")
    assert "M105" in dev.until("commands.py: not loaded")
    edit(commands, "    open('/etc/passwd')\n", "    1 +\n")
    assert "commands.py: not loaded" in dev.until("M900")
    edit(commands, "    1 +\n", "    [].pop()\n")
    shown = dev.until("IndexError")
    assert "- done" in shown and "E_MODULE_FAULT" in shown
    edit(commands, "    [].pop()\n", "")
    assert "+ done" in dev.until("ItemRegistered")


@pytest.mark.extended
def test_a_violated_invariant_is_told_and_what_follows_is_not_played(dev: Dev, project: Path) -> None:
    dev.until("0 lines played")
    dev.type('anna register_item {"number": "A-1", "quantity": 5}')
    dev.type('anna register_item {"number": "A-2", "quantity": 5}')
    dev.until('"A-2"')
    edit(project / "dawan_greetings" / "commands.py", "ctx.sender.org, args.quantity, ctx", "ctx.sender.org, 0, ctx")
    shown = dev.until("+ not played")
    assert "A-1 has owner 'gz' and quantity 0" in shown


def once(project: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """The lines of a file, played once."""
    file = project.parent / "try.txt"
    file.write_text(commands)
    line = [sys.executable, "-m", "dawan_node", "module", "dev", str(project), "--commands", str(file), "--once"]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


#: What cannot be played, and what is said of it.
MISTAKES = {
    "anna sing {}": "greetings has no command sing: register_item, transfer_item",
    "anna": "greetings has no command : register_item",
    "carl register_item {}": "nobody here is called carl (there are anna, ben)",
    'anna register_item {"number"': "the arguments are no JSON",
    'anna register_item {"number": "A-9", "quantity": 1} soon': "behind the arguments stands 'soon'",
    'anna register_item {"number": 7, "quantity": 1}': "args.number",
    "? everything": "greetings has no query everything: items",
    "?": "a question is ? QUERY",
    "after a while": "after NUMBER ms|seconds|minutes|hours|days",
}


def test_a_line_that_says_nothing_is_told_and_the_others_are_played(project: Path) -> None:
    sound = 'anna register_item {"number": "A-1", "quantity": 5}  # the first'
    done = once(project, "\n".join([*MISTAKES, "# a remark", sound, "? items"]))
    assert done.returncode == 0, done.stderr
    steps = dict(re.findall(r"^ {1,3}\d+  (.*)\n((?: {6}.*\n)*)", done.stdout, re.M))
    for line, told in MISTAKES.items():
        assert "not understood" in steps[line] and told in steps[line], line
    assert "ItemRegistered" in steps[sound] and '"number": "A-1"' in steps["? items"]


@pytest.mark.extended
def test_a_process_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """As a pattern does that backtracks: no count of the guard sees it."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom dawan_node.testing import module_dev\n"
        "module_dev.PLAY_S = 0.5\n"
        "module_dev.play = lambda *_: time.sleep(600)\n"
        "print(module_dev.in_a_process(Path(sys.argv[1]), []).trouble)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(project)], cwd=ROOT, capture_output=True, text=True, check=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.stdout == "it did not end within 0.5 s: a pattern that backtracks, or too many commands\n"


def test_the_session_of_the_documentation_gives_what_it_says(project: Path) -> None:
    found = re.search(r"```commands\n(.*?)```.*?```played\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    done = once(project, found[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == found[2].splitlines()


@pytest.mark.extended
def test_code_that_does_not_load_is_exit_code_one(project: Path) -> None:
    edit(project / "dawan_greetings" / "commands.py", "args.quantity, ctx.time_ms", "args.quantity * 1.0, ctx.time_ms")
    failed = once(project, "")
    assert failed.returncode == 1 and "M102" in failed.stdout, failed.stdout


def test_what_differs_is_shown_by_step_and_by_record() -> None:
    before = Played([Step("a", ["done"]), Step("b", ["done"]), Step("c", ["done"])], {"x": "1", "y": "2"})
    now = Played([Step("a", ["done"]), Step("b", ["refused"])], {"y": "3", "z": "4"})
    assert list(compare(before, now)) == [
        "   2  b\n      - done\n      + refused",
        "   3  c\n      - no longer played",
        "      x\n      - 1",
        "      y\n      - 2\n      + 3",
        "      z\n      + 4",
    ]
    assert list(compare(now, now)) == []
