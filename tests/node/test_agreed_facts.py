"""One hash says whether two files agree on everything but keys, addresses and CA files; the difference has a name."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dawan_node.crypto.hashing import sha256
from dawan_node.node import consortium
from dawan_node.node.agreed_facts import agreed_text, consortium_hash, describe_differences, differences
from dawan_node.node.consortium import Consortium, Document, Policy
from tests.node.joining_kit import DEVNET

replace = msgspec.structs.replace
TEMPLATES = sorted(DEVNET.parent.glob("consortium.*.toml"))


@pytest.fixture(scope="module")
def template() -> Document:
    return consortium.load_document(DEVNET)


def test_the_template_and_what_was_assembled_from_it_have_one_hash(template: Document, assembled: Consortium) -> None:
    assert consortium_hash(assembled.document) == consortium_hash(template)
    assert differences(template, assembled.document) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_the_agreed_text_is_a_file_that_anybody_can_hash(path: Path) -> None:
    document = consortium.load_document(path)
    text = agreed_text(document)
    assert sha256(text.encode()) == consortium_hash(document)
    assert consortium_hash(consortium.parse_document("again", tomllib.loads(text))) == consortium_hash(document)


Change = Callable[[Document], Document]


def _first(table: str, **changes: Any) -> Change:
    def change(document: Document) -> Document:
        entries = getattr(document, table)
        return replace(document, **{table: (replace(entries[0], **changes), *entries[1:])})

    return change


CHANGES: list[tuple[str, Change]] = [
    ("network is 'other', agreed was 'dawan-devnet'", lambda d: replace(d, network="other")),
    ("[[org]] gz: founding is False, agreed was True", _first("org", founding=False)),
    ("[[org]] gz: operator is 'hq'", _first("org", operator="hq")),
    ("[[org]] gz: names.pt is 'X'", lambda d: _first("org", names=replace(d.org[0].names, pt="X"))(d)),
    ("[[validator]] gz1: org is 'hk', agreed was 'gz'", _first("validator", org="hk")),
    ("[[validator]] hq1 was removed", lambda d: replace(d, validator=d.validator[:3])),
    ("[[observer]] x1 was added", lambda d: replace(d, observer=(consortium.Node(name="x1", org="gz"),))),
    ("[[identity]] gz-admin: roles is ('bank',)", _first("identity", roles=("bank",))),
    ("[[channel]] trade: params.window was added", _first("channel", params={"window": 9})),
    ("[[channel]] trade: policy.default.votes was added", _first("channel", policy={"default": Policy(votes=4)})),
    ("[[channel]] trade: validators is ('gz1',)", _first("channel", validators=("gz1",))),
    ("the order of the tables is", lambda d: replace(d, org=d.org[::-1])),
]


@pytest.mark.parametrize(("words", "change"), CHANGES, ids=[words for words, _ in CHANGES])
def test_every_agreed_fact_changes_the_hash_and_is_named(template: Document, words: str, change: Change) -> None:
    changed = change(template)
    assert consortium_hash(changed) != consortium_hash(template)
    said = describe_differences(differences(template, changed))
    assert words in said and len(said) < 400


def test_what_parties_bring_themselves_does_not_change_the_hash(template: Document) -> None:
    changed = _first("validator", public_key="0x" + "ab" * 32, addresses=("h:1",))(template)
    changed = _first("identity", public_key="0x" + "cd" * 32)(_first("org", ca=("gz.pem",))(changed))
    assert consortium_hash(changed) == consortium_hash(template)


def test_of_a_rewritten_file_only_the_first_differences_are_shown(template: Document) -> None:
    said = describe_differences(differences(template, replace(template, identity=())))
    assert said.count(" was removed") == 5 and said.endswith(f"and {len(template.identity) - 5} more")
