"""A log that this program did not write is refused: replica and signer raise InvalidInput, whatever it holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dawan_node.consensus import Record, RecordKind, Replica, SlotGuard
from dawan_node.errors import InvalidInput
from dawan_node.testing.replica_lab import ReplicaLab

LAB = ReplicaLab(honest=())
VIEW_CHANGE = LAB.view_change(1, 1).encode()
NEW_VIEW = LAB.new_view(1, [LAB.view_change(voter, 1) for voter in (0, 1, 2)], []).encode()

FOREIGN: dict[str, Record] = {
    "a VIEW-CHANGE under NEW_VIEW": Record(RecordKind.NEW_VIEW, VIEW_CHANGE),
    "a NEW-VIEW under VIEW_CHANGE": Record(RecordKind.VIEW_CHANGE, NEW_VIEW),
    "a vote under VIEW_CHANGE": Record(RecordKind.VIEW_CHANGE, LAB.prepare(1, 0, "a").encode()),
    "a wish under NEW_VIEW": Record(RecordKind.NEW_VIEW, LAB.suspect(1, 1).encode()),
    "no bytes under VIEW_CHANGE": Record(RecordKind.VIEW_CHANGE, b""),
    "a message under PREPARE": Record(RecordKind.PREPARE, VIEW_CHANGE),
}


def replica_of(record: Record) -> None:
    Replica(LAB.config, None, LAB.head(), [record], LAB.now)


def account_of(record: Record) -> None:
    SlotGuard(LAB.chain_id).restore([record])


@pytest.mark.parametrize("read", [replica_of, account_of])
@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_record_that_holds_something_else_is_refused(name: str, read: Callable[[Record], None]) -> None:
    with pytest.raises(InvalidInput):
        read(FOREIGN[name])


def contradicting() -> list[tuple[bytes, ...]]:
    """VIEW-CHANGEs of which no NEW-VIEW can be made: two heads at one height, two blocks prepared in one view."""
    heads = [
        LAB.view_change(voter, 1, last=(name, LAB.certificate(0, name, (0, 1, 2))))
        for voter, name in ((0, "a"), (1, "z"), (2, "a"))
    ]
    blocks = [
        LAB.view_change(voter, 1, prepared=[(name, LAB.prepared(0, name, (0, 1, 2)))])
        for voter, name in ((0, "a"), (1, "z"), (2, "a"))
    ]
    return [tuple(message.encode() for message in each) for each in (heads, blocks)]


@pytest.mark.parametrize("case", [0, 1])
def test_a_recorded_new_view_that_contradicts_itself_is_refused(case: int) -> None:
    opening = LAB.new_view(1, [], [])
    forged = type(opening)(0, 1, contradicting()[case], (), opening.signature)
    with pytest.raises(InvalidInput, match="opens no view"):
        replica_of(Record(RecordKind.NEW_VIEW, forged.encode()))


def test_a_recorded_new_view_without_its_signatures_is_refused() -> None:
    changes = [LAB.view_change(v, 1, prepared=[("a", LAB.prepared(0, "a", (0, 1, 2)))]) for v in (0, 1, 2)]
    whole, short = LAB.new_view(1, changes, ["a"]), LAB.new_view(1, changes, [])
    replica_of(Record(RecordKind.NEW_VIEW, whole.encode()))
    with pytest.raises(InvalidInput, match="opens no view"):
        replica_of(Record(RecordKind.NEW_VIEW, short.encode()))


def test_a_recorded_new_view_of_other_messages_than_view_changes_is_refused() -> None:
    opening = LAB.new_view(1, [], [])
    forged = type(opening)(0, 1, (LAB.prepare(0, 0, "a").encode(),), (), opening.signature)
    with pytest.raises(InvalidInput, match="not a VIEW-CHANGE"):
        replica_of(Record(RecordKind.NEW_VIEW, forged.encode()))
