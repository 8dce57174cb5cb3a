"""What the primary holds back in its pool is no reason to replace it (``node.pacing`` against ``consensus.pace``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from dawan_node.client_window import ClientWindow
from dawan_node.node.pacing import Pacing
from dawan_node.testing.module_kit import make_genesis
from dawan_node.testing.trade import PEOPLE
from tests.node.channel_cluster import Cluster, Faults, memory_folder, simulate, until
from tests.node.ledger import MODULES, Author

#: Small blocks and a slow channel: so many transactions end a block, and the rate asks for no more.
BLOCK_TXS = 1
#: consensus.Timers.pace_ms, and some time until the first blocks are judged.
JUDGED_S = 13.0


@pytest.fixture(autouse=True)
def slow_channel() -> Iterator[None]:
    with ExitStack() as stack:
        for place in ("mempool_watch", "node.pacing"):
            stack.enter_context(mock.patch(f"dawan_node.{place}.BATCH_TXS_MIN", BLOCK_TXS))
        stack.enter_context(mock.patch("dawan_node.node.pacing.BLOCK_TXS_MIN", BLOCK_TXS))
        stack.enter_context(mock.patch.object(ClientWindow, "per_s", lambda self, now_ms: 1))
        yield


@pytest.mark.extended  # test_pacing has the arithmetic
@pytest.mark.parametrize("is_shared", [False, True], ids=["usually", "beside a modest organisation"])
@pytest.mark.parametrize("window", [4, 8, 16])
def test_a_primary_that_holds_back_what_would_queue_keeps_its_office_with_any_window(
    window: int, is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pacing, "_is_shared", is_shared)
    genesis = make_genesis(MODULES, PEOPLE, params={"block_txs_max": 20, "window": window})

    async def scenario(cluster: Cluster) -> None:
        await cluster.submit("gz1", *(cluster.transaction() for _ in range(20 * window)))
        began_ms, channel = cluster.clock.monotonic_ms(), cluster.nodes["mo1"].channel
        await until(lambda: cluster.clock.monotonic_ms() >= began_ms + JUDGED_S * 1_000, 2 * JUDGED_S, "time")
        assert len(channel.pool), "there was work all the time"
        assert {node.channel.driver.replica.status().view for node in cluster.alive} == {0}

    with mock.patch("tests.node.channel_cluster.Author", partial(Author, genesis)), memory_folder() as folder:
        simulate(Path(folder), 1, scenario, faults=Faults(delay_ms=(250, 270)))
