"""What no network of honest nodes may ever show, checked while it runs (consensus.md section 2)."""

from __future__ import annotations

from typing import Final

from dawan_node.consensus import Alarm, AlarmKind, Decided, Record, RecordKind
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    decode_message,
)
from dawan_node.consensus.records import CommitRecord, PrepareRecord
from dawan_node.crypto.hashing import sha256
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.simulated_node import Node

#: What no honest node ever reports among honest ones: the replica asks only for what its guard would sign.
_NEVER: Final = (
    AlarmKind.HALTED,
    AlarmKind.QUARANTINE,
    AlarmKind.RESULTS_DIFFER,
    AlarmKind.CERTIFIED_REFUSED,
    AlarmKind.OWN_KEY_ELSEWHERE,
    AlarmKind.SIGNING_REFUSED,
)


class Violation(AssertionError):
    """Something that must never happen did; the message names the seed."""


class Checker:
    """Agreement, one signature per slot, and nothing on the wire that is not on the disk behind it."""

    def __init__(self, seed: int, chain_id: bytes) -> None:
        self._seed = seed
        self._chain_id = chain_id
        #: Height -> (block hash, result hash), whoever decided it first.
        self.decided: dict[int, tuple[bytes, bytes]] = {}
        self._signed: dict[tuple[int, int, int, int, int], bytes] = {}

    def reported(self, node: Node, alarm: Alarm) -> None:
        """An alarm of an honest node among at most f Byzantine ones."""
        if alarm.kind in _NEVER:
            raise Violation(f"seed {self._seed}: node {node.index}: {alarm.kind}: {alarm.text}")

    def stored(self, node: Node, block: Decided) -> None:
        """A node is about to store a final block: the next one, and the one everybody else stores there."""
        if block.header.height != node.height + 1:
            raise Violation(f"seed {self._seed}: node {node.index} decides {block.header.height} on {node.height}")
        for header, result in ((block.header, block.result), *block.links):
            self._is_final(header, result)

    def _is_final(self, header: Header, result: Result) -> None:
        value = (header.hash, result.hash)
        if self.decided.setdefault(header.height, value) != value:
            raise Violation(f"seed {self._seed}: two blocks or results at height {header.height}")

    def sent(self, node: Node, payload: bytes, validators: ValidatorSet) -> None:
        """Whatever is signed is on the sender's disk, and never contradicts what it sent before, in any life."""
        message = decode_message(payload)
        match message:
            case PrePrepare():
                header = message.header
                if node.key.public_key != self._primary_key(validators, message.header.epoch, message.view):
                    return  # passed on
                self._check_slot(node, (2, header.epoch, message.view, header.height), header.hash)
                found = self._has_prepare(node, message.view, header.hash)
            case Prepare():
                if node.key.public_key != validators.public_keys[message.voter]:
                    return  # the primary's, shown to whoever accepted another block
                self._check_slot(node, (2, message.epoch, message.view, message.height), message.block_hash)
                found = self._has_prepare(node, message.view, message.block_hash)
            case Commit():
                value = message.block_hash + message.result_hash
                self._check_slot(node, (3, message.epoch, message.view, message.height), value)
                found = self._has_commit(node, message.view, message.block_hash)
            case ViewChange():
                if node.key.public_key != validators.public_keys[message.voter]:
                    return
                self._check_slot(node, (5, message.epoch, message.new_view, 0), sha256(payload))
                found = Record(RecordKind.VIEW_CHANGE, payload) in node.log
            case NewView():
                found = Record(RecordKind.NEW_VIEW, payload) in node.log
            case Decision():
                self._is_final(message.header, message.result)
                found = True
            case _:
                found = True
        height = message.header.height if isinstance(message, PrePrepare) else getattr(message, "height", None)
        if not found and (height is None or height > node.height):
            raise Violation(
                f"seed {self._seed}: node {node.index} sends a {type(message).__name__} that is not on its disk"
            )

    def _primary_key(self, validators: ValidatorSet, epoch: int, view: int) -> bytes:
        return validators.public_keys[validators.primary(self._chain_id, epoch, view)]

    def _check_slot(self, node: Node, slot: tuple[int, int, int, int], value: bytes) -> None:
        if self._signed.setdefault((node.index, *slot), value) != value:
            raise Violation(f"seed {self._seed}: node {node.index} signed two values for {slot}")

    def _has_prepare(self, node: Node, view: int, block_hash: bytes) -> bool:
        votes = (PrepareRecord.decode(r.payload) for r in reversed(node.log) if r.kind is RecordKind.PREPARE)
        return any(vote.view == view and vote.header.hash == block_hash for vote in votes)

    def _has_commit(self, node: Node, view: int, block_hash: bytes) -> bool:
        votes = (CommitRecord.decode(r.payload) for r in reversed(node.log) if r.kind is RecordKind.COMMIT)
        return any(vote.view == view and vote.header.hash == block_hash for vote in votes)
