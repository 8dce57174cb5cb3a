"""What a client is told about a transaction that waits (amendment A8)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dawan_node.node.service import Service
from dawan_node.rpc.api import TxStatus

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
