"""Whoever waits for a transaction hears of its commit once, and nobody waits for ever or without bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dawan_node.node import event_bus as module
from dawan_node.node.event_bus import CommittedBlock, EventBus
from dawan_node.primitives.receipt import Receipt
from tests.node.ledger import Ledger


def block(*tx_ids: bytes) -> CommittedBlock:
    ledger = Ledger()
    made = ledger.block(ledger.transaction())
    result = ledger.execute(made).execution.result
    return CommittedBlock(
        made.header, made.hash, result, tuple(Receipt(tx_id, 1, index, 0, "", []) for index, tx_id in enumerate(tx_ids))
    )


def run(scenario: Callable[[EventBus], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(EventBus())

    asyncio.run(main())


A, B, C = (bytes([number]) * 32 for number in range(3))


def test_all_who_wait_for_a_transaction_get_its_receipt_and_the_block() -> None:
    async def scenario(bus: EventBus) -> None:
        first, again, other = bus.wait_for(A), bus.wait_for(A), bus.wait_for(C)
        assert first is not None and again is not None and other is not None
        committed = block(B, A)
        bus.publish(committed)
        for future in (first, again):
            outcome = await future
            assert outcome.block_hash == committed.block_hash and outcome.receipt == committed.receipts[1]
        assert not other.done()

    run(scenario)


def test_nobody_hears_of_what_was_committed_before_he_asked() -> None:
    async def scenario(bus: EventBus) -> None:
        bus.publish(block(A))
        future = bus.wait_for(A)
        assert future is not None
        bus.publish(block(B))
        assert not future.done()

    run(scenario)


def test_who_gave_up_does_not_hinder_the_others() -> None:
    async def scenario(bus: EventBus) -> None:
        gone, cancelled, waits = bus.wait_for(A), bus.wait_for(A), bus.wait_for(A)
        assert gone is not None and cancelled is not None and waits is not None
        bus.forget(A, gone)
        bus.forget(A, gone)
        bus.forget(B, gone)
        cancelled.cancel()
        bus.publish(block(A))
        assert (await waits).receipt.tx_id == A and not gone.done()

    run(scenario)


def test_the_number_of_those_who_wait_is_bounded_and_each_place_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITERS_MAX", 3)

    async def scenario(bus: EventBus) -> None:
        for _ in range(5):
            futures = [bus.wait_for(tx_id) for tx_id in (A, A, B)]
            assert None not in futures and bus.wait_for(C) is None
            forgotten = futures[0]
            assert forgotten is not None
            bus.forget(A, forgotten)
            bus.forget(A, forgotten)
            bus.publish(block(A, B))
        bus.close()

    run(scenario)


def test_closing_cancels_all_who_wait() -> None:
    async def scenario(bus: EventBus) -> None:
        future = bus.wait_for(A)
        bus.close()
        assert future is not None and future.cancelled()
        bus.publish(block(A))

    run(scenario)
