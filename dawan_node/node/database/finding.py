"""What is wrong with a database or a file: a stable code, a height, and a sentence."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dawan_node.errors import DawanError, OperatorError


class Fault(enum.StrEnum):
    """What ``db verify`` may find. The names are API: they are only ever added to."""

    UNREADABLE = "DB_UNREADABLE"  # LevelDB, or a record, cannot be read
    HEADER = "DB_HEADER"  # headers and results are not one chain
    CERTIFICATE = "DB_CERTIFICATE"  # a block is not proven final by its epoch's validators
    BODY = "DB_BODY"  # transactions are not those of the header, or no honest validator would have taken them
    SIGNATURE = "DB_SIGNATURE"  # a transaction's signature does not verify
    RECEIPT = "DB_RECEIPT"  # receipts are not those that executing gives
    INDEX = "DB_INDEX"  # a transaction or block hash is not found where it is
    RESULT = "DB_RESULT"  # executing the block again gives another result than the certified one
    STATE = "DB_STATE"  # the stored state is not the one the blocks lead to
    INVARIANT = "DB_INVARIANT"  # a module's rule about its whole state is broken


@dataclass(frozen=True, slots=True)
class Finding:
    """The first fault of a database. ``height`` is 0 where it concerns no one block."""

    fault: Fault
    height: int
    text: str


class Wrong(DawanError):
    """A check failed; internal to this package."""

    def __init__(self, fault: Fault, height: int, text: str) -> None:
        super().__init__(text)
        self.finding = Finding(fault, height, text)


class FileRefused(OperatorError):
    """An export or backup that is not taken. ``code`` is stable; nothing was touched."""

    def __init__(self, code: str, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what} ({code})", why, fix)
        self.code = code
