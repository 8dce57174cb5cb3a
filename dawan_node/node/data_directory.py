"""Is this data directory ours, whole, and of a version we know? Asked before anything in it is opened or written.

LevelDB writes a new manifest as soon as it opens a database, and a node that goes on in the wrong directory does damage
that no backup undoes. So what can be known from names and small files is judged first: the marks (``data_mark``), the
sign beside each database that says whose chain it is, and whether LevelDB's own files are there. Every refusal says
what, why and what next, has a stable reason, and leaves the directory as it was.

A database of this node that lacks files is refused only where its log is not the one that always lay here, which makes
the directory part of a copy; with the log whole it is damage like any other, and healed (``restore.open_ledger``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dawan_node.errors import DataRefusal, DataRefused, StorageError, StorageReason
from dawan_node.node.home import Home
from dawan_node.storage.data_mark import OWNER_NAME, DataMark, LogOwner, read_mark, read_owner
from dawan_node.storage.leveldb import is_initialised, missing_file, read_sign
from dawan_node.storage.schema import SCHEMA_VERSION
from dawan_node.storage.wal import has_segments


@dataclass(frozen=True, slots=True)
class Belonging:
    """To whom a data directory must belong. ``chains``: chain id by channel."""

    network: str
    node: str
    public_key: bytes
    chains: Mapping[str, bytes]


def check_data(home: Home, expected: Belonging) -> DataMark | None:
    """Refuse what is not this node's; its mark, None before the first start. Raises DataRefused or StorageError."""
    try:
        mark = read_mark(home.data)
        owner = read_owner(home.wal)
        _check_mark(home, mark, expected)
        _check_log(home, mark, owner, expected)
        is_log_here = _is_log_here(home, mark, owner)
        for channel, chain_id in expected.chains.items():
            _check_database(home, channel, chain_id, is_log_here=is_log_here)
    except OSError as error:
        raise StorageError.of(f"{home.data} cannot be read: {error}", error, StorageReason.READ) from error
    return mark


def _check_mark(home: Home, mark: DataMark | None, expected: Belonging) -> None:
    if mark is None:
        return
    if mark.network != expected.network:
        raise DataRefused(
            DataRefusal.OTHER_NETWORK,
            f"{home.data} is not opened",
            f"it belongs to network {mark.network}, and this home's consortium.toml to {expected.network}",
            f"Put back the data directory of this home, or use a home of network {mark.network} for this one.",
        )
    if mark.public_key != expected.public_key.hex():
        raise DataRefused(
            DataRefusal.OTHER_NODE,
            f"{home.data} is not opened",
            f"it belongs to node {mark.node} with key {mark.public_key[:16]}, and this home has key "
            f"{expected.public_key.hex()[:16]} of {expected.node}",
            "Put back the data directory or the keys of this home; a new key starts in a new home (init).",
        )


def _check_log(home: Home, mark: DataMark | None, owner: LogOwner | None, expected: Belonging) -> None:
    if owner is not None and owner.public_key != expected.public_key.hex():
        raise DataRefused(
            DataRefusal.OTHER_NODE,
            f"{home.wal} is not opened",
            f"it is the log of key {owner.public_key[:16]}, and this home has key {expected.public_key.hex()[:16]}",
            "Put back the log of this home; without it, move this one away: the node then observes (docs/storage.md).",
        )
    if owner is not None and mark is None:
        raise DataRefused(
            DataRefusal.HALF_COPIED,
            f"{home.data} is not opened",
            "the log in it has been in use, but mark.json is missing",
            "Put back the whole data directory; if there is no other copy, give the validator a new key (init).",
        )
    if mark is None or not has_segments(home.wal) or (owner is None and mark.log_records == 0):
        return  # the last: interrupted between the two marks of a first start
    if owner is None or owner.log_id != mark.log_id:
        found = "another log of this key" if owner else f"a log without {OWNER_NAME}"
        raise DataRefused(
            DataRefusal.HALF_COPIED,
            f"{home.wal} is not opened",
            f"{found} lies where the log of this data directory was",
            "Put back its own log; without it, move this one away: the node then observes (docs/storage.md).",
        )


def _is_log_here(home: Home, mark: DataMark | None, owner: LogOwner | None) -> bool:
    """Whether the log of this directory is in it, and in the folder it was made in, so that this is not a copy. Where
    it is, a database may be fetched anew: the log keeps the key from contradicting itself."""
    if mark is None or owner is None or not has_segments(home.wal):
        return False
    return owner.log_id == mark.log_id and os.stat(home.wal).st_ino == mark.log_place


def _check_database(home: Home, channel: str, chain_id: bytes, *, is_log_here: bool) -> None:
    folder = home.database(channel)
    if not is_initialised(folder) or not folder.exists():
        return  # made anew
    sign = read_sign(folder)
    if sign.schema is not None and sign.schema > SCHEMA_VERSION:
        raise DataRefused(
            DataRefusal.NEWER,
            f"{folder} is not opened",
            f"it has schema {sign.schema} and this version of dawan-node knows {SCHEMA_VERSION}",
            "Start the newer version again, or restore the backup made before it ran.",
        )
    if sign.chain_id is not None and sign.chain_id != chain_id:
        raise DataRefused(
            DataRefusal.OTHER_CHANNEL,
            f"{folder} is not opened",
            f"it holds chain {sign.chain_id.hex()[:16]}, and channel {channel} is chain {chain_id.hex()[:16]}",
            f"Put back the database of {channel}, or move this one away and start again: it syncs anew.",
        )
    missing = missing_file(folder)
    if missing and not is_log_here:  # otherwise it is damage like any other, and ``open_ledger`` heals it
        raise DataRefused(
            DataRefusal.HALF_COPIED,
            f"{folder} is not opened",
            f"{missing} is missing, which no crash can do, and the log of this directory is not where it was: this is "
            "a part of a copy",
            f"Put back the whole folder, or move it away and start again, so that it syncs anew: mv {folder} "
            f"{folder}.aside",
        )
