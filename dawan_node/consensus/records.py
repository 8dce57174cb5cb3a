"""Records: what a replica must find again after a crash (consensus.md 1.9, amendments A4, U5 and U7).

The write-ahead log is the replica's memory of what it has said. A validator that forgets a vote and then votes
otherwise is no different from one that lies, so every record is on disk *before* the message that relies on it
leaves the node. A record is opaque to the shell but for its ``kind`` and ``pins``.

| Kind | Durable before | Content |
|---|---|---|
| PREPARE | a PRE-PREPARE, PREPARE or signed O entry leaves | the vote and its header; pins the bodies |
| COMMIT | a COMMIT leaves | the vote, header, PC and Result; pins the bodies |
| VIEW_CHANGE | the VIEW-CHANGE leaves | its exact bytes (they hold the target view) |
| NEW_VIEW | a NEW-VIEW or the first vote in its view leaves | its exact bytes (they hold base and O) |
| DECIDED | anything that relies on the decision | header, Result, links and CommitCert; pins the bodies |
| SYNCED | as DECIDED, for a block that catch-up brought | the same; its bodies came with it |
| HALTED | (first record after) proof of more than f faults | reason and proof |
| QUARANTINE | (first record after) a result of mine differs from the quorum's | height, block, own result |

**Pinning (U5).** Before, and in the same fsync as, the first record of a block whose ``pins`` is true, the shell
writes the block's leaf list and envelopes as a record of its own (kinds from ``SHELL_KINDS_FROM`` are its own), so
that after any crash whoever holds a vote also holds what was voted for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dawan_node.consensus.messages import NewView, ViewChange, decode_message
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate
from dawan_node.primitives.encoding import (
    Bytes32,
    Bytes64,
    ProtocolStruct,
    Uint,
    decode_struct,
    decoder_for,
)

#: Kinds below belong to the replica, kinds from here on to the shell (bodies, markers).
SHELL_KINDS_FROM: Final = 32

#: Our own records, written by this program; the largest holds a NEW-VIEW (see messages.py).
RECORD_BYTES_MAX: Final = 8 * 1024 * 1024


class RecordKind(IntEnum):
    """The number under which a record stands in the log. Never reused."""

    PREPARE = 1
    COMMIT = 2
    VIEW_CHANGE = 3
    NEW_VIEW = 4
    DECIDED = 5
    SYNCED = 6
    HALTED = 7
    QUARANTINE = 8


_PINNING: Final = frozenset({RecordKind.PREPARE, RecordKind.COMMIT, RecordKind.DECIDED})


@dataclass(frozen=True, slots=True)
class Record:
    """One durable fact. Rebuild it from the log as ``Record(RecordKind(kind), payload)``."""

    kind: RecordKind
    payload: bytes
    #: The block whose bodies must be durable with this record. None where there are none to write: on records read
    #: back from the log, and on votes for a block that is decided and stored already (L6).
    block_hash: bytes | None = None

    @property
    def pins(self) -> bool:
        """Whether the bodies of ``block_hash`` must be written no later than this record (U5)."""
        return self.block_hash is not None and self.kind in _PINNING


class PrepareRecord(ProtocolStruct, frozen=True):
    """My PREPARE, and the header it is for."""

    view: Uint
    header: Header
    voter: Uint
    signature: Bytes64

    @classmethod
    def decode(cls, data: bytes) -> PrepareRecord:
        """Raises InvalidEncoding."""
        return decode_struct(_prepare_decoder, data, RECORD_BYTES_MAX)


class CommitRecord(ProtocolStruct, frozen=True):
    """My COMMIT with all it rests on: header, PC and the result I computed."""

    view: Uint
    header: Header
    result: Result
    prepared: PreparedCertificate
    voter: Uint
    signature: Bytes64

    @classmethod
    def decode(cls, data: bytes) -> CommitRecord:
        """Raises InvalidEncoding."""
        return decode_struct(_commit_decoder, data, RECORD_BYTES_MAX)


class DecidedRecord(ProtocolStruct, frozen=True):
    """A final block: the head that is kept outside the database."""

    header: Header
    result: Result
    links: tuple[tuple[Header, Result], ...]
    certificate: CommitCertificate

    @classmethod
    def decode(cls, data: bytes) -> DecidedRecord:
        """Raises InvalidEncoding."""
        return decode_struct(_decided_decoder, data, RECORD_BYTES_MAX)


#: The reason in a HALTED record that speaks of this home alone, not of the channel.
OWN_KEY_REASON: Final = "a statement signed with this validator's key was not written here"


class HaltedRecord(ProtocolStruct, frozen=True):
    """Proof that more than f validators lied: the two contradicting statements, encoded. Or one statement of this
    home's own key that this home's log does not hold (U6, A6)."""

    reason: str
    first: bytes
    second: bytes

    @property
    def is_own_key(self) -> bool:
        """Whether it is the second of the two: the key must not sign any more, and the channel is as well as ever."""
        return self.reason == OWN_KEY_REASON and not self.second

    @classmethod
    def decode(cls, data: bytes) -> HaltedRecord:
        """Raises InvalidEncoding."""
        return decode_struct(_halted_decoder, data, RECORD_BYTES_MAX)


class QuarantineRecord(ProtocolStruct, frozen=True):
    """My result of a block that differs from the quorum's, or from the one I had before a restart."""

    height: Uint
    block_hash: Bytes32
    own_result_hash: Bytes32
    other_result_hash: Bytes32

    @classmethod
    def decode(cls, data: bytes) -> QuarantineRecord:
        """Raises InvalidEncoding."""
        return decode_struct(_quarantine_decoder, data, RECORD_BYTES_MAX)


_prepare_decoder = decoder_for(PrepareRecord)
_commit_decoder = decoder_for(CommitRecord)
_decided_decoder = decoder_for(DecidedRecord)
_halted_decoder = decoder_for(HaltedRecord)
_quarantine_decoder = decoder_for(QuarantineRecord)


def message_of(record: Record) -> ViewChange | NewView:
    """The message that a VIEW_CHANGE or NEW_VIEW record holds. Raises InvalidMessage when it holds another one."""
    message = decode_message(record.payload)
    if isinstance(message, ViewChange) and record.kind is RecordKind.VIEW_CHANGE:
        return message
    if isinstance(message, NewView) and record.kind is RecordKind.NEW_VIEW:
        return message
    raise InvalidMessage(f"a record of kind {record.kind.name} holds a {type(message).__name__}")


def recorded_height(records: Iterable[Record]) -> int | None:
    """The highest decided height in ``records``, None without any.

    The log is written before the database, so a database above this height is newer than the log: the log was
    lost, restored or copied, and the key may not vote again (amendment U6).
    """
    heights = [
        DecidedRecord.decode(record.payload).header.height
        for record in records
        if record.kind in (RecordKind.DECIDED, RecordKind.SYNCED)
    ]
    return max(heights, default=None)
