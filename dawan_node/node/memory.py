"""Does this home know everything its key has signed? Decided at every start, for all channels at once.

The write-ahead log is that knowledge. When it is missing, damaged, older than it was known to be, older than a
database, or a copy, the key may not vote from this home any more: what it promised may be forgotten, and a vote against
a forgotten one is a lie like any other (amendments U6 and U7). One log serves all channels, so doubt about it on one
channel is doubt about all of them; and the verdict is durable (``data_mark``), because a log that was put back looks
like the right one as soon as the node has followed the chain beyond it. The way out is a new key (``rekey_steps``).
Only that there is no log at all is asked anew at each start: a log that comes back, because its disk is mounted again,
is judged like any other, by its place, its length and the databases.

A database that is *behind* its log is nothing of the kind: the log is whole, and the replica signs nothing until the
chain has reached what the log knows to be decided (``ReplicaState.catch_up_to``).
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from dawan_node import failpoints
from dawan_node.consensus.records import SHELL_KINDS_FROM, CommitRecord, Record, RecordKind, recorded_height
from dawan_node.errors import StorageError, StorageReason
from dawan_node.node.data_directory import Belonging
from dawan_node.node.home import Home
from dawan_node.node.logs import fields
from dawan_node.storage.data_mark import (
    MARK_VERSION,
    DataMark,
    LogOwner,
    read_mark,
    read_owner,
    write_mark,
    write_owner,
)
from dawan_node.storage.wal import Wal, WalMissing

log = logging.getLogger(__name__)


class Silence(StrEnum):
    """Why a key may not vote from this home. Stable; docs/storage.md has the next step."""

    LOG_MISSING = "LOG_MISSING"
    """There is no write-ahead log."""
    LOG_CORRUPT = "LOG_CORRUPT"
    """It is damaged in what had been durable."""
    LOG_ROLLED_BACK = "LOG_ROLLED_BACK"
    """It holds fewer records than it is known to have held."""
    LOG_BEHIND_DATABASE = "LOG_BEHIND_DATABASE"
    """A database holds blocks that the log never heard of."""
    DATA_COPIED = "DATA_COPIED"
    """The directory is a copy; the original may have signed more, or may be running."""
    OWN_KEY_ELSEWHERE = "OWN_KEY_ELSEWHERE"
    """Others hold a statement with this key that the log does not know."""


_WORDS: Final = {
    Silence.LOG_MISSING: "there is no write-ahead log, so nobody knows what this key has signed",
    Silence.LOG_CORRUPT: "the write-ahead log is damaged: votes may be forgotten",
    Silence.LOG_ROLLED_BACK: "the write-ahead log is an older one than was here: votes are forgotten",
    Silence.LOG_BEHIND_DATABASE: "a database is ahead of the write-ahead log, which is therefore not its own",
    Silence.DATA_COPIED: "this directory is a copy: the original may have signed more, or may be running",
    Silence.OWN_KEY_ELSEWHERE: "the chain holds a vote of this key that was not written here: this home was put back "
    "as it once was, or the key is in use elsewhere as well",
}


class Memory:
    """The log of this home, and whether its key may sign by it."""

    def __init__(self, home: Home, steps: Sequence[str], mark: DataMark | None, expected: Belonging) -> None:
        """Opens the log. ``steps`` are the way out (``rekey_steps``). Raises OperatorError or StorageError."""
        self._home: Final = home
        self._steps: Final = steps
        self._expected: Final = expected
        self._key: Final = expected.public_key.hex()
        self.wal: Wal | None = None
        self.silence: Silence | None = None
        try:
            failpoints.reach("node.before_log")
            self.wal = Wal.open(home.wal)
            failpoints.reach("node.after_log")
        except WalMissing:
            self.silence = Silence.LOG_MISSING
        except StorageError as error:
            if error.reason is not StorageReason.LOG_CORRUPT:
                raise  # the disk may give it back next time
            log.critical("log_damaged", extra=fields(error=str(error)))
            self.silence = Silence.LOG_CORRUPT
        try:
            self._mark = mark or self._first_mark()
            if mark is None:
                write_mark(home.data, self._mark)
            self._mark_log()
            if self._key in self._mark.silenced:
                self.silence = Silence(self._mark.silenced[self._key])
            elif mark is not None and self.wal is not None:
                self.silence = _doubt(home, self.wal, mark)
            if self.silence is not None:
                self.forbid(self.silence)
            self.note()
        except BaseException:
            self.close()
            raise

    @property
    def may_sign(self) -> bool:
        """Whether the key may vote, as far as the log goes."""
        return self.silence is None

    def forbid(self, why: Silence) -> None:
        """The key may not vote from this home, now and at every later start. Raises StorageError."""
        self.silence = why
        if why is not Silence.LOG_MISSING and self._mark.silenced.get(self._key) != why.value:
            self._mark = msgspec.structs.replace(self._mark, silenced={**self._mark.silenced, self._key: why.value})
            write_mark(self._home.data, self._mark)
        node = self._expected.node
        log.critical(
            "signing_disabled",
            extra=fields(
                node=node,
                reason=why.value,
                why=_WORDS[why],
                next="this node observes until its key is replaced on chain, by the steps below (docs/rekey.md)",
            ),
        )
        for number, step in enumerate(self._steps, 1):
            log.critical("signing_disabled_step", extra=fields(number=number, run=step))

    def note(self) -> None:
        """Write down how much the log holds by now, for the next start to compare. Raises StorageError."""
        if self.wal is not None and self.silence is None and self.wal.synced_lsn > self._mark.log_records:
            self._mark = msgspec.structs.replace(self._mark, log_records=self.wal.synced_lsn)
            write_mark(self._home.data, self._mark)

    def compare(self, chain_id: bytes, height: int, *, votes: bool) -> None:
        """A database of this home is at ``height``; ``votes``: the key is of the set that decides the next block.

        The log is written first, so a database ahead of it is another log's. Where the key does not vote nothing is
        said: a home restored for a new key begins like that, with a log that is empty because it never signed.
        """
        if self.wal is None or not self.may_sign or not votes:
            return
        if _logged_height(self.wal, chain_id) < height:
            self.forbid(Silence.LOG_BEHIND_DATABASE)

    def close(self) -> None:
        """Close the log, unless somebody else does."""
        if self.wal is not None:
            self.wal.close()

    def _first_mark(self) -> DataMark:
        has_log = self.wal is not None
        return DataMark(
            MARK_VERSION,
            self._expected.network,
            self._expected.node,
            self._key,
            secrets.token_hex(16) if has_log else "",
            0,
            _place(self._home) if has_log else 0,
        )

    def _mark_log(self) -> None:
        """After the mark and before the first ``note``: until then a log without its owner is one not marked yet."""
        if self.wal is not None and self._mark.log_id and read_owner(self._home.wal) is None:
            write_owner(self._home.wal, LogOwner(MARK_VERSION, self._key, self._mark.log_id))


def log_of_stopped(
    home: Home, chain_id: bytes, height: int, own_votes: Mapping[bytes, int] | None = None
) -> Wal | None:
    """The log, open, for a tool that brings this home blocks of a chain whose database is at ``height``. The caller
    closes it. ``own_votes``: the blocks whose certificates hold a COMMIT of this home's key, with their heights.

    None where the log must not hear of them: where there is none, where it is not the one that belongs to this home
    and its database, and where it does not know such a COMMIT. A SYNCED record would make such a log look current, and
    with that its key would vote again (amendments U6 and U7). What only the mark or the blocks could tell is made
    durable here. Raises OperatorError or StorageError.
    """
    try:
        wal = Wal.open(home.wal)
    except WalMissing:
        return None
    try:
        mark = read_mark(home.data)
        doubt = None if mark is None else _doubt(home, wal, mark)
        known = _logged_height(wal, chain_id)
        if doubt is None and not _remembers(wal, chain_id, known, own_votes or {}):
            doubt = Silence.OWN_KEY_ELSEWHERE
        if mark is not None and doubt is not None and mark.public_key not in mark.silenced:
            silenced = {**mark.silenced, mark.public_key: doubt.value}
            write_mark(home.data, msgspec.structs.replace(mark, silenced=silenced))
        if doubt is None and known >= height:
            return wal
    except BaseException:
        wal.close()
        raise
    wal.close()
    return None


def _doubt(home: Home, wal: Wal, mark: DataMark) -> Silence | None:
    """What the mark has against the log that lies here."""
    if wal.synced_lsn < mark.log_records:
        return Silence.LOG_ROLLED_BACK
    return None if _place(home) == mark.log_place else Silence.DATA_COPIED


def _records_of(wal: Wal, chain_id: bytes) -> list[Record]:
    own = [record for record in wal.records() if record.channel_id == chain_id and record.kind < SHELL_KINDS_FROM]
    return [Record(RecordKind(record.kind), record.payload) for record in own]


def _logged_height(wal: Wal, chain_id: bytes) -> int:
    """The highest height of the chain that the log says is decided."""
    return recorded_height(_records_of(wal, chain_id)) or 0


def _remembers(wal: Wal, chain_id: bytes, known: int, own_votes: Mapping[bytes, int]) -> bool:
    """Whether the log holds the COMMIT for each of these blocks above ``known``, the highest decided one."""
    above = {block_hash for block_hash, height in own_votes.items() if height > known}
    if not above:
        return True
    commits = [r.payload for r in _records_of(wal, chain_id) if r.kind is RecordKind.COMMIT]
    return above <= {CommitRecord.decode(payload).header.hash for payload in commits}


def _place(home: Home) -> int:
    return os.stat(home.wal).st_ino
