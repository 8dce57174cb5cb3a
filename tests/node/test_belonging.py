"""The directory in force: made anew at once, not more often than a member may make it, and from everything there is."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from dawan_node.crypto.authority import make_revocation_list
from dawan_node.crypto.revocation import RevocationRule
from dawan_node.errors import StorageError
from dawan_node.node import belonging as belonging_module
from dawan_node.node.belonging import RENEWED_EVERY_S, Belonging
from dawan_node.node.consortium import Consortium
from dawan_node.node.directory import ChannelView, Directory, OwnPlace
from tests.node.test_directory import GDLOG, NOW, TRADE, changed, genesis_membership, record, with_org
from tests.node.virtual_time import run_virtually


class Channel:
    """A channel whose membership a test sets; counts how often it is read."""

    def __init__(self, consortium: Consortium) -> None:
        self.membership = genesis_membership(consortium)
        self.reads = 0
        self.failure: Exception | None = None


@pytest.fixture
def channel(assembled: Consortium, monkeypatch: pytest.MonkeyPatch) -> Channel:
    channel = Channel(assembled)

    def view(ledger: Channel) -> ChannelView:
        ledger.reads += 1
        if ledger.failure is not None:
            raise ledger.failure
        return ChannelView("trade", TRADE, ledger.membership)

    monkeypatch.setattr(belonging_module, "_view", view)
    return channel


def made(consortium: Consortium, channel: Any) -> tuple[Belonging, list[Directory]]:
    clock = SimpleNamespace(now=lambda: NOW)
    found = Belonging(OwnPlace("gz1", "gz"), consortium, [channel], RevocationRule.SOFT, clock)
    seen: list[Directory] = []
    found.on_change = seen.append
    return found, seen


def node_of_hk(channel: Channel, name: str) -> None:
    channel.membership = changed(channel.membership, nodes={name: record(name, "hk")})


def test_the_first_change_takes_effect_at_once_and_a_burst_is_taken_together(
    assembled: Consortium, channel: Channel
) -> None:
    async def scenario() -> None:
        belonging, seen = made(assembled, channel)
        running = asyncio.create_task(belonging.run())
        node_of_hk(channel, "hk7")
        belonging.membership_changed()
        assert [peer.name for peer in seen[0].peers][:2] == ["hk1", "hk7"], "before the call returns"
        reads = channel.reads
        for number in range(50):
            node_of_hk(channel, f"hk{10 + number}")
            belonging.membership_changed()
            await asyncio.sleep(RENEWED_EVERY_S / 100)
        assert channel.reads == reads
        await asyncio.sleep(RENEWED_EVERY_S)
        assert channel.reads == reads + 1 and len(seen) == 2
        assert "hk59" in [peer.name for peer in belonging.directory.peers], "and the last of them is in it"
        running.cancel()

    run_virtually(scenario)


def test_what_changes_nothing_is_handed_to_nobody(assembled: Consortium, channel: Channel) -> None:
    async def scenario() -> None:
        belonging, seen = made(assembled, channel)
        belonging.membership_changed()
        assert seen == []

    run_virtually(scenario)


def test_a_store_in_doubt_ends_the_task_and_so_the_node(assembled: Consortium, channel: Channel) -> None:
    async def scenario() -> None:
        belonging, _ = made(assembled, channel)
        running = asyncio.create_task(belonging.run())
        belonging.membership_changed()
        channel.failure = StorageError("a page does not read")
        belonging.membership_changed()
        with pytest.raises(StorageError, match="a page does not read"):
            await running

    run_virtually(scenario)


def test_a_list_is_judged_once_and_a_problem_said_once(
    assembled: Consortium, channel: Channel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    judged: list[bytes] = []
    real = belonging_module.load_revocation_list

    def load(data: bytes, *rest: Any) -> Any:
        judged.append(data)
        return real(data, *rest)

    monkeypatch.setattr(belonging_module, "load_revocation_list", load)
    revoking = make_revocation_list(GDLOG, [], 1, datetime(2026, 8, 1, tzinfo=UTC))

    async def scenario() -> None:
        channel.membership = with_org(channel.membership, "gdlog", ca=(GDLOG.certificate,))
        belonging, _ = made(assembled, channel)
        for number in range(5):
            belonging.lists_changed({"gdlog": [revoking, b"junk"]})
            node_of_hk(channel, f"hk{number + 2}")
        assert judged.count(revoking) == 1
        assert len(belonging.directory.trust.revocations.lists) == 1

    with caplog.at_level("ERROR", "dawan_node"):
        run_virtually(scenario)
    assert [record_.getMessage() for record_ in caplog.records] == ["membership_problem"]
