"""One record of a foreign document on its way to the chain, and what an importer of one standard must know.

A document holds one record or several. It is read as a whole: when one of its records cannot be, the others are *held*
and nothing of it is sent, unless the caller asked for parts. What the chain then says, it says record by record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_sources import Document
    from dawan_node.interchange.refusal import Refusal


class Verdict(StrEnum):
    """What became of a record. API of ``-o json``."""

    PENDING = "pending"  # on its way; never reported
    ACCEPTABLE = "acceptable"  # read, and nothing was to be sent
    RECORDED = "recorded"  # final on chain by this import
    ALREADY = "already"  # on chain before; nothing was sent
    REFUSED = "refused"  # cannot be read, or not be assigned; nothing was sent
    HELD = "held"  # sound itself, but its document is not; nothing was sent
    REJECTED = "rejected"  # the chain said no
    UNKNOWN = "unknown"  # sent, and no answer: the same command finds out


@dataclass(slots=True)
class Record:
    """``row``: what ``-o json`` shows of it; ``args``: of the command that records it, once they are complete.

    ``touches``: what on chain it reads or changes; records that touch the same are sent one after the other is final.
    ``held_bytes``: about as much text as it keeps in memory; its share of its document unless ``bind`` knows better.
    """

    file: str
    line: int
    position: int
    row: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    verdict: Verdict = Verdict.PENDING
    reason: str = ""
    detail: str = ""
    answer: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    touches: frozenset[str] = frozenset()
    draft: Any = None
    held_bytes: int = 0

    def refuse(self, reason: str, detail: str) -> None:
        """It will not be sent."""
        self.settle(Verdict.REFUSED, reason, detail)

    def settle(self, verdict: Verdict, reason: str = "", detail: str = "") -> None:
        """What became of it."""
        self.verdict, self.reason, self.detail = verdict, reason, detail

    def as_json(self) -> dict[str, Any]:
        """The record as ``-o json`` shows it."""
        place: dict[str, Any] = {"file": self.file}
        if self.line:
            place["line"] = self.line
        end = {"warnings": list(self.warnings), "verdict": str(self.verdict), "reason": self.reason}
        return {**place, "position": self.position, **self.row, **end, "detail": self.detail, **self.answer}


class Standard(Protocol):
    """What differs between the standards: how a document is read, what a record needs of the channel, and how the chain
    knows it again."""

    @property
    def module(self) -> str:
        """The module that keeps its records."""
        ...

    @property
    def suffixes(self) -> Sequence[str]:
        """Endings of its files in a folder."""
        ...

    @property
    def bytes_max(self) -> int:
        """The longest document that is read."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """Keys of a line for eyes and their headings; ``file`` comes before, ``verdict`` after them."""
        ...

    @property
    def duplicate_reasons(self) -> frozenset[str]:
        """Reasons by which the chain refuses what it has."""
        ...

    def read(self, document: Document) -> list[Record]:
        """The records of a document, PENDING or REFUSED; at least one. Never raises on what the file holds."""
        ...

    def bind(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Complete ``command``, ``args`` and ``touches`` of a document's PENDING records, or refuse them."""
        ...

    def look_up(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Settle those that the chain has: ALREADY, or REJECTED where it has another one under the same name."""
        ...

    def line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row for eyes: one text per column."""
        ...


def refused_document(document: Document) -> Record:
    """The record of a document that was not read at all."""
    record = Record(document.file, document.line, 0)
    assert document.problem is not None
    record.refuse(document.problem.reason, document.problem.detail)
    return record


def with_refusals(
    document: Document, records: Sequence[Record], refusals: Iterable[Refusal], empty: str
) -> list[Record]:
    """The records of a document of events with a record for each event that was not read, in the document's order.

    One that holds no event at all is one refusal, ``E_NO_EVENTS`` with ``empty`` as its detail.
    """
    found = list(records)
    for refusal in refusals:
        # -1 stands for the whole document, which has no event to name.
        of_event = refusal.position >= 0
        record = Record(document.file, document.line, max(refusal.position, 0))
        record.refuse(refusal.reason, f"event {refusal.position}: {refusal.path}" if of_event else refusal.path)
        found.append(record)
    if not found:
        record = Record(document.file, document.line, 0)
        record.refuse("E_NO_EVENTS", empty)
        found.append(record)
    # What belongs to one event stays in the order in which it was read.
    return sorted(found, key=lambda record: record.position)


def hold(records: Iterable[Record]) -> None:
    """Nothing of a document is sent when one of its records cannot be."""
    records = list(records)
    bad = [record for record in records if record.verdict is Verdict.REFUSED]
    if bad:
        for record in records:
            if record.verdict is Verdict.PENDING:
                record.settle(
                    Verdict.HELD,
                    "E_DOCUMENT_HELD",
                    f"{len(bad)} of {len(records)} records of its document were refused; --partial sends the others",
                )
