"""What a client is told about a transaction that waits (amendment A8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dawan_node.node.ledger import Ledger
from dawan_node.node.service import Service
from dawan_node.rpc.api import ApiError, TxStatus
from dawan_node.storage.block_store import KeptRecord

VALID_UNTIL_MS = 1_000


@pytest.mark.parametrize(
    ("head_ms", "expected"),
    [(0, TxStatus.PENDING), (VALID_UNTIL_MS - 1, TxStatus.PENDING), (VALID_UNTIL_MS, TxStatus.EXPIRED)],
)
def test_a8_expired_is_said_by_block_time_and_never_by_the_clock(head_ms: int, expected: TxStatus) -> None:
    """A8: only when the decided head's timestamp has reached ``valid_until`` can the transaction never commit. The
    clock of this machine is far past it; a client that believed it would sign anew and pay twice."""
    waiting = SimpleNamespace(body=SimpleNamespace(valid_until_ms=VALID_UNTIL_MS))
    channel = SimpleNamespace(
        pool=SimpleNamespace(get_by_id=lambda tx_id: waiting), head=SimpleNamespace(timestamp_ms=head_ms)
    )
    node = cast(Any, SimpleNamespace(_channel=lambda name: channel))
    assert asyncio.run(Service.tx_status(node, "trade", bytes(32))) is expected


def node_without(oldest: int, waiting: object | None = None) -> Any:
    """A node whose index does not know the transaction asked for, and whose blocks are complete from ``oldest`` on."""
    blocks = SimpleNamespace(find_tx=lambda tx_id: None, kept=lambda: KeptRecord(oldest, oldest))
    channel = SimpleNamespace(
        pool=SimpleNamespace(get_by_id=lambda tx_id: waiting), store=SimpleNamespace(blocks=blocks)
    )

    async def read(ask: Callable[[], Any]) -> Any:
        return ask()

    return SimpleNamespace(
        _channel=lambda name: channel, _ledger=lambda name: Ledger(cast(Any, channel), cast(Any, None)), _read=read
    )


def test_a_pruned_node_does_not_say_that_a_transaction_was_never_there() -> None:
    pruned = node_without(oldest=101)
    for method in (Service.tx, Service.receipt):
        with pytest.raises(ApiError) as refused:
            asyncio.run(method(pruned, "trade", bytes(32)))
        assert refused.value.code == 1301 and "101" in refused.value.hint
        assert asyncio.run(method(node_without(oldest=1), "trade", bytes(32))) is None
    assert asyncio.run(Service.tx_status(pruned, "trade", bytes(32))) is TxStatus.UNKNOWN
    waits = node_without(oldest=101, waiting=SimpleNamespace(envelope=b""))
    assert asyncio.run(Service.receipt(waits, "trade", bytes(32))) is None, "it has none yet"
