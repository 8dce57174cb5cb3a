"""A node in reach of the command line with real modules behind it, and what it can do to an importer."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.api import (
    At,
    ChannelInfo,
    EventFilter,
    EventInfo,
    EventPage,
    EventPosition,
    HeadInfo,
    IdentityInfo,
    MemberList,
    QueryPage,
    ReceiptInfo,
    Refusal,
    StateInfo,
    SubmitOutcome,
    TxInfo,
    TxStatus,
    Wait,
)
from dawan_node.testing.module_kit import ModuleKit, People, key_of_person, private_key_of
from tests.cli.node_in_reach import CommandLine, command_line
from tests.rpc.fake_node import FakeNode


class KitNode(FakeNode):
    """The fake node over a kit: ``tx_submit`` makes a block, reads come from its state.

    ``commits`` False: every wait ends before the block, which comes all the same when ``lands`` is True. ``full_for``:
    so many calls are refused for want of room. ``expired``: bytes that came too late. ``commands``: what was executed.
    """

    def __init__(self, kit: ModuleKit, people: People) -> None:
        super().__init__()
        self.kit = kit
        self.people = people
        self.commands: list[str] = []
        self.lands = False
        self.full_for = 0
        self.expired: set[bytes] = set()
        self.block_sizes: list[int] = []
        self._events: list[EventInfo] = []
        self._described: dict[str, Mapping[str, Any]] = {}

    def channel(self, channel: str) -> ChannelInfo:
        return replace(super().channel(channel), chain_id=self.kit.genesis.chain_id)

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        if module not in self._described:
            found = self.kit.executor.describe(module)
            self._described[module] = super().describe(channel, module) if found is None else found
        return self._described[module]

    async def head(self, channel: str) -> HeadInfo:
        return HeadInfo(self.kit.height, b"\xaa" * 32, b"\xbb" * 32, self.kit.time_ms)

    async def members(self, channel: str) -> MemberList:
        people = [
            IdentityInfo(name, org, tuple(roles), "ed25519", key_of_person(name), "active", 0)
            for name, (org, roles) in self.people.items()
        ]
        return MemberList((), tuple(people))

    async def state(self, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> StateInfo:
        value = self.kit.state.get(module, collection, key)
        if value is None:
            return StateInfo(self.kit.height, None, None, None)
        found = self.kit.executor.registry.decode_entity(module, collection, value)
        assert found is not None
        fields = {name: getattr(found, name) for name in msgspec.structs.asdict(found)}
        return StateInfo(self.kit.height, value, fields, None)

    async def query(
        self, channel: str, module: str, query: str, params: Mapping[str, Any], limit: int, cursor: bytes | None
    ) -> QueryPage:
        items, following = self.kit.query(query, params, module=module, limit=limit, cursor=cursor)
        return QueryPage(list(items), following, self.kit.height)

    async def events(self, channel: str, after: EventPosition, limit: int, event_filter: EventFilter) -> EventPage:
        later = [event for event in self._events if event.position > after][:limit]
        scanned_to = later[-1].position if later else after
        names: Collection[str] = event_filter.names
        return EventPage(tuple(event for event in later if not names or event.name in names), scanned_to)

    async def tx(self, channel: str, tx_id: bytes) -> TxInfo | None:
        envelope = self.envelopes.get(tx_id)
        return None if envelope is None else TxInfo(envelope, TxStatus.COMMITTED, self.receipts[tx_id])

    async def submit(
        self, channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        self.submitted.extend(envelopes)
        self.block_sizes.append(len(envelopes))
        if self.full_for:
            self.full_for -= 1
            refusal = Refusal(Code.E_QUOTA, "E_QUOTA", "your quarter of the pool is used up")
            return [SubmitOutcome(b"", TxStatus.UNKNOWN, None, refusal) for _ in envelopes]
        if self.expired.issuperset(envelopes):
            late = Refusal(Code.E_VALIDITY, "E_VALIDITY", "valid_until is not after the block time")
            return [SubmitOutcome(b"", TxStatus.UNKNOWN, None, late) for _ in envelopes]
        if self.commits or self.lands:
            self._execute(envelopes)
        if not self.commits:
            refusal = Refusal(Code.E_WAIT_TIMEOUT, "E_WAIT_TIMEOUT", "not final in time")
            waiting = [Transaction.decode(envelope).tx_id for envelope in envelopes]
            return [SubmitOutcome(tx_id, TxStatus.PENDING, None, refusal) for tx_id in waiting]
        infos = [self.receipts[Transaction.decode(envelope).tx_id] for envelope in envelopes]
        return [
            SubmitOutcome(info.receipt.tx_id, TxStatus.FAILED if info.receipt.code else TxStatus.COMMITTED, info)
            for info in infos
        ]

    def _execute(self, envelopes: Sequence[bytes]) -> None:
        """What is new as one block; the same bytes again have their first receipt, as on a real node."""
        decoded = [Transaction.decode(envelope) for envelope in envelopes]
        fresh = [tx for tx in decoded if tx.tx_id not in self.receipts]
        if not fresh:
            return
        receipts = self.kit.block(*fresh, after_ms=1)
        for index, (tx, receipt) in enumerate(zip(fresh, receipts, strict=True)):
            self.commands.append(tx.body.command)
            self.receipts[tx.tx_id] = ReceiptInfo(receipt, b"\xaa" * 32, tx.body.module)
            self.envelopes[tx.tx_id] = tx.envelope
            self._events += [
                EventInfo(EventPosition(self.kit.height, index, place), tx.tx_id, tx.body.module, name, data)
                for place, (name, data) in enumerate(receipt.events)
            ]


def now_ms() -> int:
    """A second ago, so that block time never runs ahead of the clock by much."""
    return time.time_ns() // 1_000_000 - 1_000


@contextmanager
def line_of(node: KitNode, folder: Path, person: str) -> Iterator[tuple[CommandLine, list[str]]]:
    """A command line with that node in reach, and the options that make it sign as ``person``."""
    with command_line(folder, node=node) as line:
        yield line, [*line.make_key(person, private_key_of(person)), "-c", "trade"]
