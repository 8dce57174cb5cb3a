"""Reading and playing the README's transcripts of several machines.

A line ``gz1$ dawan-node ...`` is run on machine gz1, and the lines below it, up to the next, are what it prints; ``…``
stands for whatever differs. A line ``# gz1 mails PATH to hk1 as NAME`` hands a file over. ``dawan-node run`` is started
and left running. ``<name>.example.org:7100`` is the address of the machine of that name.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from machines import ROOT, Machine

_PROMPT = re.compile(r"([a-z][a-z0-9-]*)\$ dawan-node (.*)")
_MAIL = re.compile(r"# ([a-z0-9-]+) mails (\S+) to ([a-z0-9, -]+) as (\S+)")
_PATIENCE_S = 30.0
_ADDRESS = re.compile(r"([a-z][a-z0-9-]*)\.example\.org:7100")


@dataclass(frozen=True)
class Step:
    """One line of a transcript."""

    machine: str
    words: tuple[str, ...]
    expected: str


@dataclass(frozen=True)
class Mail:
    """A file that goes from one machine to others."""

    sender: str
    path: str
    receivers: tuple[str, ...]
    name: str


def read_transcripts(file: Path) -> list[list[Step | Mail]]:
    """The steps of every ``console`` block of ``file`` whose prompts name a machine."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL):
        lines = block.rstrip("\n").split("\n")
        if not any(_PROMPT.fullmatch(line) for line in lines):
            continue
        steps: list[Step | Mail] = []
        for line in lines:
            if prompt := _PROMPT.fullmatch(line):
                steps.append(Step(prompt.group(1), tuple(shlex.split(prompt.group(2))), ""))
            elif mail := _MAIL.fullmatch(line):
                receivers = tuple(each.strip() for each in mail.group(3).split(","))
                steps.append(Mail(mail.group(1), mail.group(2), receivers, mail.group(4)))
            elif not line.startswith("#"):
                last = steps[-1]
                assert isinstance(last, Step), line
                steps[-1] = Step(last.machine, last.words, f"{last.expected}{line}\n")
        found.append(steps)
    return found


def play(steps: list[Step | Mail], machines: Mapping[str, Machine]) -> None:
    """Do every step in order; fails where a machine prints something else."""
    for step in steps:
        if isinstance(step, Mail):
            for receiver in step.receivers:
                machines[step.sender].mail(step.path, machines[receiver], step.name)
            continue
        machine = machines[step.machine]
        words = [_ADDRESS.sub(lambda found: machines[found.group(1)].advertised, word) for word in step.words]
        words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
        if words == ["run"]:
            machine.start()
            continue
        # What only reads may be asked again: a person would, while a node is still catching up.
        began = time.monotonic()
        while not _fits(printed := _answer(machine, words, machines), step.expected):
            assert words[0] == "query" and time.monotonic() - began < _PATIENCE_S, (
                f"{machine.name}$ dawan-node {' '.join(words)}\nprinted:\n{printed}\nthe README says:\n{step.expected}"
            )


def _answer(machine: Machine, words: list[str], machines: Mapping[str, Machine]) -> str:
    """What a command prints, with the addresses that the transcript has."""
    printed = machine.succeed(*words)
    for name, other in machines.items():
        printed = printed.replace(other.advertised, f"{name}.example.org:7100")
    return printed


def _fits(printed: str, expected: str) -> bool:
    return re.fullmatch(as_pattern(expected.strip("\n")), printed.strip("\n"), re.DOTALL) is not None


def as_pattern(expected: str) -> str:
    """``…`` matches anything; a line's padding may differ with the width of what differs."""
    lines = [re.sub(r"(\\ )+", r"\\s+", re.escape(line)).replace("…", ".*") for line in expected.split("\n")]
    return "\n".join(lines)
