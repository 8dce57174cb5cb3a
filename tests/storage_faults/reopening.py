"""What must be true of a node's disk after any death: checked the way a node opens it, and then by going on.

Nothing here knows what happened to the disk. It is given what the node told others before (``life.Witness``), and
answers with the list of promises that are broken; an empty one is a pass.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawan_node.consensus.messages import Commit, Prepare, PrePrepare, decode_message
from dawan_node.consensus.signer import Statement, VoteKind
from dawan_node.crypto import merkle
from dawan_node.errors import SigningRefused
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.signer import ChannelSigner
from dawan_node.primitives.block import Header
from tests.storage_faults import chain, life

OTHER_HASH = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Told:
    """What others heard of a node's lives."""

    decided: Mapping[int, str]
    sent: tuple[bytes, ...]
    first: int

    def __hash__(self) -> int:
        return hash((tuple(self.decided.items()), self.sent, self.first))

    def plain(self) -> list[Any]:
        """As JSON has it."""
        return [list(self.decided.items()), [payload.hex() for payload in self.sent], self.first]

    @classmethod
    def of(cls, plain: list[Any]) -> Told:
        """What ``plain`` gave."""
        decided, sent, first = plain
        return cls(dict(decided), tuple([bytes.fromhex(payload) for payload in sent]), first)

    @classmethod
    def parse(cls, lines: Sequence[str], first: int = 0) -> Told:
        """``first`` is the last block acknowledged before."""
        decided: dict[int, str] = {}
        sent = []
        for line in lines:
            word, *rest = line.split(" ", 2)
            if word == "decided":
                decided[int(rest[0])] = rest[1].split(" ")[0]
            elif word == "sent":
                sent.append(bytes.fromhex(rest[0]))
        return cls(decided, tuple(sent), first)


def broken_promises(home: Path, told: Told, *, first: int = 0, deep: bool = False) -> list[str]:
    """Start a node on ``home``, compare what it finds, and let it decide one block more.

    Blocks up to ``first`` were there before the life in question, and of those, unless ``deep``, only some are read
    again; the walk over the headers at open covers them all.
    """
    broken: list[str] = []
    reading, writing = os.pipe()

    def look(parts: ChannelParts) -> None:
        broken.extend([*_blocks(parts, told, 0 if deep else first), *_state(parts), *lost_votes(parts, told.sent)])

    try:
        life.live(home, None, life.Witness(writing), look)
    except SystemExit:
        os.set_blocking(reading, False)
        broken.append(f"the node does not start: {os.read(reading, 65536).decode()[-400:]}")
    finally:
        os.close(reading)
        os.close(writing)
    return broken


_GONE = re.compile(r"blocks (\d+) to (\d+) were acknowledged and are gone")


def lost_blocks(broken: Sequence[str]) -> int:
    """How many acknowledged blocks are missing by what ``broken_promises`` said."""
    return sum(int(gone[2]) - int(gone[1]) + 1 for gone in map(_GONE.match, broken) if gone)


def _blocks(parts: ChannelParts, told: Told, first: int) -> list[str]:
    height = parts.store.head.height
    acknowledged = max(told.decided, default=told.first)
    broken = []
    if height < acknowledged:
        broken.append(f"blocks {height + 1} to {acknowledged} were acknowledged and are gone")
    if height > acknowledged + 1:
        broken.append(f"the database is at {height}, but only {acknowledged} was acknowledged and one more asked for")
    if max(height, parts.replica.height) > acknowledged + 1:
        broken.append(f"the log decided {parts.replica.height}, beyond what was asked for")
    since = max(1, first - 5)
    broken += wrong_blocks(parts, [*range(1, since, 13), *range(since, height + 1)])
    broken += [
        f"block {at} was acknowledged with another hash"
        for at, block_hash in told.decided.items()
        if _header(at).hash.hex() != block_hash
    ]
    return broken


def _header(height: int) -> Header:
    header = chain.at(height).header
    assert header is not None
    return header


def wrong_blocks(parts: ChannelParts, heights: Sequence[int]) -> list[str]:
    """Which stored blocks are not, byte for byte, those of the chain."""
    blocks, broken = parts.store.blocks, []
    for at in heights:
        expected = chain.at(at)
        if blocks.header(at) != expected.header or blocks.result(at) != expected.result:
            broken.append(f"header or result {at} is not the chain's")
        if blocks.receipts(at) != expected.receipts or blocks.envelopes(at) != (chain.transaction(at).envelope,):
            broken.append(f"the body or the receipts of {at} are not the chain's")
        if blocks.find_tx(chain.transaction(at).tx_id) != (at, 0):
            broken.append(f"the transaction of {at} is not found")
    return broken


def _state(parts: ChannelParts) -> list[str]:
    """Execute the next block on the stored state: its result has the root over the whole tree in it."""
    store = parts.store
    height = store.head.height
    following = _header(height + 1)
    given = chain.transaction(height + 1)
    assert following.tx_root == merkle.root([given.leaf_hash])
    execution = parts.executor.execute(store.state, store.head.result, following, [given])
    if execution.result != chain.at(height + 1).result:
        return [f"the state at {height} gives another block {height + 1}"]
    return []


def wrong_state(parts: ChannelParts, height: int) -> list[str]:
    """Which values of the state and nodes of its tree are not those after the block at ``height``."""
    expected, state = chain.state_at(height), parts.store.state
    wrong = [f"value {key}" for key, value in expected.values.items() if state.get(*key) != value]
    return wrong + [f"tree node {path.hex()}" for path, node in expected.nodes.items() if state.tree_node(path) != node]


def lost_votes(parts: ChannelParts, sent: Sequence[bytes]) -> list[str]:
    """Whether every vote that left is still known: asked for its contradiction, the signer must refuse."""
    signer = parts.signer
    if not isinstance(signer, ChannelSigner):
        return ["the node has become an observer"]
    broken = []
    for payload in sent:
        match decode_message(payload):
            case PrePrepare() as vote:
                kind, epoch, view, height = VoteKind.PREPARE, vote.header.epoch, vote.view, vote.header.height
            case Prepare() as vote:
                kind, epoch, view, height = VoteKind.PREPARE, vote.epoch, vote.view, vote.height
            case Commit() as vote:
                kind, epoch, view, height = VoteKind.COMMIT, vote.epoch, vote.view, vote.height
            case _:
                continue
        result_hash = OTHER_HASH if kind is VoteKind.COMMIT else b""
        try:
            signer.sign(Statement(kind, epoch, view, height, OTHER_HASH, result_hash, OTHER_HASH))
        except SigningRefused:
            continue
        broken.append(f"a {kind.name} at height {height} left, and the node would sign against it")
    return broken
