"""docs/modules says of each module what it declares, with an example of every command that ran just now."""

from __future__ import annotations

import functools
import re

import pytest

from dawan_node.execution.registry import BUILTIN, installed_versions
from dawan_node.modules.kernel import module as kernel
from dawan_node.rpc import values
from dawan_node.rpc.module_page import Example, diagram, missing_examples, module_page
from tests.modules.examples.pages import FOLDER, STORIES, description_of, examples_of, page_of, told

NAMES = sorted(BUILTIN)


@functools.cache
def examples(name: str) -> list[Example]:
    return examples_of(name, told(name))


def test_every_shipped_module_has_a_story() -> None:
    assert set(STORIES) == set(BUILTIN)


@pytest.mark.parametrize("name", NAMES)
def test_there_is_an_example_of_every_command(name: str) -> None:
    missing = missing_examples(description_of(name), examples(name))
    assert not missing, (
        f"{name} has no example of {', '.join(missing)}: let the story in tests/modules/examples/{name}.py send each "
        "of them once with success, then run scripts/module-pages"
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_what_the_code_and_the_examples_say(name: str) -> None:
    path = FOLDER / f"{name}.md"
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    assert written == page_of(name, examples(name)), (
        f"docs/modules/{name}.md is not what the code says any more: run scripts/module-pages"
    )


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_read_along_the_schema_that_module_describe_gives(name: str) -> None:
    description = description_of(name)
    for example in examples(name):
        schema = description["commands"][example.command]["args"]
        values.from_json(example.args, schema, "args", description)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_every_state_role_and_sentence_of_the_module(name: str) -> None:
    module = installed_versions(name)[-1]
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    arrows = set(re.findall(r"^ {4}(\S+) --> (\S+): (.+)$", page, re.M))
    for machine in module.state_machines.values():
        for move in machine.transitions:
            ends = (move.before or "[*]", move.after or "[*]")
            labels = [label for before, after, label in arrows if (before, after) == ends]
            assert any(move.by in label.split(", ") for label in labels), move
    for command in module.commands.values():
        roles = ", ".join(command.roles) or "any active identity"
        assert f"| [`{command.name}`](#{command.name}) | {roles} |" in page
    for reason, sentence in module.errors.items():
        assert f"| `{reason}` | {sentence} |" in page


# -- the rendering ---------------------------------------------------------------------------------------------------


def test_a_module_without_examples_or_states_has_a_page_too() -> None:
    description = {
        "module": "bare", "version": 2, "uses": [], "may_use": ["kernel"], "errors": {}, "commands": {}, "queries": {},
        "entities": {}, "events": {}, "$defs": {},
    }  # fmt: skip
    page = module_page(description)
    assert page == "# The module `bare`, version 2\n\nUses where the channel runs it: `kernel`.\n"
    assert missing_examples(description, []) == []


def test_a_missing_example_is_named() -> None:
    one = Example("attest", "o-gz", {}, {})
    missing = missing_examples(description_of("kernel"), [one])
    assert missing == [command for command in kernel.commands if command != "attest"]


def test_a_diagram_joins_what_makes_one_move_and_ends_where_nothing_leads_on() -> None:
    states = {
        "field": "state",
        "values": ["A", "B"],
        "transitions": [{"from": "", "to": "A", "by": ["make"]}, {"from": "A", "to": "B", "by": ["use", "lose"]}],
    }
    assert diagram(states) == "stateDiagram-v2\n    [*] --> A: make\n    A --> B: use, lose\n    B --> [*]"
