"""docs/logistics.md lists what the module has, no more and no less, and its example runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from dawan_node.execution.lint import lint_source
from dawan_node.modules.logistics import module
from dawan_node.modules.logistics.entities import DeclarationState, ItemState, ShipmentState
from dawan_node.modules.logistics.queries import EventsLike
from tests.modules.logistics_kit import Channel, pallet

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "logistics.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.S | re.M)
PYTHON = [text for language, text in FENCED if language == "python"]
PLAIN = [text for language, text in FENCED if language == ""]


def test_the_page_lists_every_command_with_the_roles_that_may_send_it() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", PAGE.split("## Who does what")[1].split("##")[0], re.M)
    said = {name: roles for names, roles in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(said) == set(module.commands)
    for name, roles in said.items():
        referred = re.search(r"as for `(\w+)`", roles)
        text = said[referred[1]] if referred else roles
        assert set(re.findall(r"[a-z_]+", text)) == set(module.commands[name].roles), name


def test_the_page_lists_every_query_state_reason_and_parameter() -> None:
    listed = PAGE.split("Queries:")[1].split("##")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(module.queries)
    assert dict(re.findall(r"^\| `(E_\w+)` \| (.+) \|$", PAGE, re.M)) == dict(module.errors)
    named = set(re.findall(r"\b(?:[A-Z]+_)?[A-Z]{4,}\b", PAGE.split("## States")[1].split("##")[0]))
    codes = {"GTIN", "LOAD", "DEPA", "ARRI", "DISC", "GTOT", "DELETE"}
    assert named - codes <= {*ShipmentState, *DeclarationState, *get_args(ItemState)} and named >= codes
    parameters = PAGE.split("| EPCIS query parameter |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", parameters)) - {"events"} == set(EventsLike.__struct_fields__)


def test_the_examples_run() -> None:
    for example in PYTHON:
        assert lint_source(example) == []
        exec(compile(example, "docs/logistics.md", "exec"), {})  # noqa: S102 - our own page
    channel = Channel()
    (story,) = [text for text in PLAIN if "register_read_point" in text]
    for line in story.splitlines():
        person, command, args = line.split(" ", 2)
        channel.ok(person, command, **json.loads(args))
    (where,) = channel.query("track", item=pallet(2))
    answer = re.search(r"inside `(\S+)`, custodian `(\w+)`", PAGE)
    assert answer is not None and (where.inside, where.custodian) == ((answer[1],), answer[2])
