"""What the parties agreed on, apart from what each brings itself, as one hash.

The template that all parties agreed on and the assembled ``consortium.toml`` differ in keys, addresses and CA files
only. Without these both are the same document, and its hash (SHA-256 of the text ``consortium_text.render`` gives) is
what each party signs in its join-request. So each can check, on its own machine, that whoever assembled the network
changed nothing that was agreed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from dawan_node.crypto.hashing import sha256
from dawan_node.node.consortium import Document
from dawan_node.node.consortium_text import render

#: Enough to see what kind of change it is; all of a rewritten file would bury the first one.
DIFFERENCES_SHOWN_MAX: Final = 5


class Difference(NamedTuple):
    """One fact that is not the same in two files; None where a file does not have it."""

    where: str  # "[[channel]] trade: policy.default.votes"
    agreed: object
    found: object

    def __str__(self) -> str:
        if self.agreed is None:
            return f"{self.where} was added"
        if self.found is None:
            return f"{self.where} was removed"
        return f"{self.where} is {self.found!r}, agreed was {self.agreed!r}"


def strip(document: Document) -> Document:
    """The document without keys, addresses and CA files."""
    replace = msgspec.structs.replace
    return replace(
        document,
        org=tuple(replace(org, ca=()) for org in document.org),
        validator=tuple(replace(node, public_key="", addresses=()) for node in document.validator),
        observer=tuple(replace(node, public_key="", addresses=()) for node in document.observer),
        identity=tuple(replace(identity, public_key="") for identity in document.identity),
    )


def agreed_text(document: Document) -> str:
    """The text whose hash is signed."""
    return render(strip(document))


def consortium_hash(document: Document) -> bytes:
    """The same for a template and for what was assembled from it."""
    return sha256(agreed_text(document).encode())


def differences(agreed: Document, found: Document) -> list[Difference]:
    """Every agreed fact that ``found`` has otherwise, in the order of ``agreed``; empty when the hashes are equal."""
    before, after = (dict(_facts(msgspec.to_builtins(strip(document)))) for document in (agreed, found))
    listed = [
        Difference(where, before.get(where), after.get(where))
        for where in dict.fromkeys([*before, *after])
        if before.get(where) != after.get(where)
    ]
    if not listed and agreed_text(agreed) != agreed_text(found):
        return [Difference("the order of the tables", "another", "this one")]
    # Of an entry that only one side has, the entry is named and not each of its fields.
    whole = {each.where for each in listed if ":" not in each.where}
    return [each for each in listed if each.where.partition(":")[0] not in whole or each.where in whole]


def describe_differences(found: list[Difference]) -> str:
    """The first few as one sentence."""
    shown = [str(each) for each in found[:DIFFERENCES_SHOWN_MAX]]
    more = len(found) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _facts(table: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """(where, value) for every fact of a document; an entry of a list of tables also stands for itself."""
    for key, value in table.items():
        if isinstance(value, list | tuple):
            for entry in value:
                title = f"[[{key}]] {entry.get('name') or entry.get('id')}"
                yield title, title
                for path, inner in _flat("", entry):
                    yield f"{title}: {path}", inner
        else:
            yield key, value


def _flat(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}" if path else key, inner)
    else:
        yield path, value
