"""What real networks do to links: storms, dead cables, one-way routes, slow lines, delay (reliability.md C4, C5, F2).

Real networks on loopback with a proxy between them. Deadlines are shortened where a test waits for them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dawan_node.p2p.framing import KIB, MIB, Topic, encode_frame
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerState
from dawan_node.p2p.send_queue import QUEUE_BYTES_MAX
from dawan_node.p2p.transport import LinkSettings
from dawan_node.testing.link_proxy import LinkProxy
from tests.p2p.loopback import (
    ORGS,
    QUICK,
    TRADE,
    Loopback,
    Recorder,
    address,
    entry,
    puppet,
    state_of,
    trust,
    until,
    views,
)
from tests.p2p.test_network import free_ports

PING_S = 0.2
ALERT = replace(QUICK, links=LinkSettings(handshake_s=2.0, ping_s=PING_S))


@asynccontextmanager
async def proxied_pair(
    net: Loopback, settings: object = QUICK
) -> AsyncIterator[tuple[LinkProxy, Network, Recorder, Network, Recorder]]:
    """gz1, and hk1 that dials it through a proxy. ``forward`` is the way from hk1 to gz1."""
    gz, gz_saw = await net.start("gz1", [entry("hk1")], settings=settings)  # type: ignore[arg-type]
    proxy = LinkProxy(address(gz))
    await proxy.start()
    try:
        peers = [entry("gz1", proxy.address)]
        hk, hk_saw = await net.start("hk1", peers, settings=settings)  # type: ignore[arg-type]
        await until(lambda: gz_saw.up and hk_saw.up, "gz1 and hk1 connected")
        yield proxy, gz, gz_saw, hk, hk_saw
    finally:
        await proxy.stop()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def live_bytes() -> int:
    """What Python holds, whatever the allocator keeps for later; tracing must have started."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def memory_kib() -> int:
    """Resident memory without garbage: among the many objects of a test run the collector comes by rarely."""
    gc.collect()
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_hundred_reconnects_in_a_row_leave_one_link_and_nothing_else_behind() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1"), entry("mo1")])
            _, mo_saw = await net.start("mo1", [entry("gz1", address(gz))])
            await until(lambda: mo_saw.up)
            await asyncio.sleep(0)
            before, tasks = descriptors(), len(asyncio.all_tasks())
            stream = await puppet(gz, "hk1")
            for number in range(99):
                old, stream = stream, await puppet(gz, "hk1")
                await until(lambda: len(gz_saw.up) - len(gz_saw.down) == 2, "the new link replaced the old one")
                old.abort()
                if number % 2:
                    stream.abort()  # the other half is there until the next replaces it
                    await until(lambda: len(gz_saw.up) - len(gz_saw.down) == 1)
            assert gz_saw.up.count("hk1") == 100
            stream.abort()
            await until(lambda: gz_saw.down.count("hk1") == 100)
            await until(lambda: descriptors() <= before and len(asyncio.all_tasks()) <= tasks, "all is given back")
            assert state_of(gz, "hk1") is PeerState.EXPECTED, "coming and going is no violation"
            assert gz_saw.down.count("mo1") == mo_saw.down.count("gz1") == 0
            assert gz.send("mo1", TRADE, Topic.CONSENSUS, b"a vote")
            await until(lambda: mo_saw.payloads() == [b"a vote"])

    asyncio.run(scenario())


def test_after_a_power_cut_all_nodes_dial_at_once_and_settle_on_one_link_per_pair() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            ports = {name: f"127.0.0.1:{port}" for name, port in zip(ORGS, free_ports(4), strict=True)}
            proxies = {(one, other): LinkProxy(ports[other]) for one in ORGS for other in ORGS if one != other}
            for proxy in proxies.values():
                await proxy.start()
            nodes = {}
            for name in ORGS:
                peers = [entry(other, proxies[name, other].address) for other in ORGS if other != name]
                nodes[name], _ = await net.start(name, peers, listen=ports[name])
            await until(lambda: all(len(node.connected(TRADE)) == 3 for node in nodes.values()), "full mesh")
            for _ in range(3):
                for proxy in proxies.values():
                    proxy.reset_all()
                await until(lambda: all(node.connected(TRADE) == () for node in nodes.values()), "all links lost")
                await until(lambda: all(len(node.connected(TRADE)) == 3 for node in nodes.values()), "full mesh again")
            for seen in net.recorders.values():
                seen.messages.clear()
            for name, node in nodes.items():
                assert len(node.broadcast(TRADE, Topic.CONSENSUS, name.encode())) == 3
            await until(lambda: all(len(seen.messages) == 3 for seen in net.recorders.values()), "all hear all")
            await until(lambda: sum(proxy.open_connections for proxy in proxies.values()) == 6, "one link per pair")
            for proxy in proxies.values():
                await proxy.stop()

    asyncio.run(scenario())


def test_a_dead_cable_is_noticed_by_both_ends_within_two_heartbeats_and_the_link_replaced() -> None:
    async def scenario() -> None:
        async with Loopback() as net, proxied_pair(net, ALERT) as (proxy, gz, gz_saw, hk, hk_saw):
            now = asyncio.get_running_loop().time
            cut_at = now()
            proxy.forward.hold = proxy.backward.hold = True
            proxy.changed()
            await until(lambda: gz_saw.down and hk_saw.down, "both ends notice")
            # Two heartbeats, the rest of the one that was running, and a turn of a busy machine.
            assert now() - cut_at < 3 * PING_S + 1.0
            assert "nothing heard" in views(gz)["hk1"].last_failure
            assert state_of(gz, "hk1") is PeerState.EXPECTED
            proxy.heal()
            await until(lambda: len(gz_saw.up) == len(hk_saw.up) == 2, "a new link")
            assert hk.send("gz1", TRADE, Topic.CONSENSUS, b"a vote")
            await until(lambda: gz_saw.payloads() == [b"a vote"])

    asyncio.run(scenario())


@pytest.mark.parametrize("towards", ["gz1", "hk1"])
def test_a_route_that_is_gone_in_one_direction_costs_the_link_and_not_the_peers_good_name(towards: str) -> None:
    async def scenario() -> None:
        async with Loopback() as net, proxied_pair(net, ALERT) as (proxy, gz, gz_saw, hk, hk_saw):
            way = proxy.forward if towards == "gz1" else proxy.backward
            way.swallow = True
            proxy.changed()
            # The deaf end hears nothing and gives up; the other learns it from the closed connection.
            await until(lambda: gz_saw.down and hk_saw.down, "both ends notice")
            # Dialled anew all the while: no handshake gets through, and nobody is blamed for it.
            dials = proxy.accepted
            await until(lambda: proxy.accepted > dials, "another dial")
            proxy.heal()
            await until(lambda: gz.connected(TRADE) and hk.connected(TRADE), "linked again")
            assert PeerState.SHUNNED not in (state_of(gz, "hk1"), state_of(hk, "gz1"))

    asyncio.run(scenario())


def test_a_changed_byte_costs_the_link_and_is_never_delivered() -> None:
    async def scenario() -> None:
        async with Loopback() as net, proxied_pair(net) as (proxy, gz, gz_saw, hk, hk_saw):
            proxy.forward.corrupt = True
            hk.send("gz1", TRADE, Topic.CONSENSUS, bytes(1_000))
            await until(lambda: gz_saw.down and hk_saw.down)
            await until(lambda: len(gz_saw.up) == 2 and len(hk_saw.up) == 2, "a new link")
            assert gz_saw.messages == []
            assert state_of(gz, "hk1") is PeerState.CONNECTED, "TLS cannot say whose fault it was"

    asyncio.run(scenario())


def test_a_peer_on_64_kbit_delays_nobody_else_and_its_queue_is_bounded() -> None:
    """C4. 300 proposals of 2 KiB and 300 batches of 48 KiB: the fast peer has all of them, the slow one what fits."""

    async def scenario() -> None:
        async with Loopback() as net, proxied_pair(net) as (proxy, gz, _, _, _):
            _, mo_saw = await net.start("mo1", [entry("gz1", address(gz))])
            gz.update([entry("hk1"), entry("mo1")], trust())
            await until(lambda: len(gz.connected(TRADE)) == 2)
            proxy.forward.bytes_per_s = proxy.backward.bytes_per_s = 8_000
            proxy.changed()
            before = memory_kib()
            for number in range(300):
                gz.broadcast(TRADE, Topic.GOSSIP, number.to_bytes(4, "big") + bytes(48 * KIB))
                gz.broadcast(TRADE, Topic.CONSENSUS, number.to_bytes(4, "big") + bytes(2 * KIB))
                assert views(gz)["hk1"].queued_bytes <= QUEUE_BYTES_MAX[Topic.GOSSIP] + QUEUE_BYTES_MAX[Topic.CONSENSUS]
                await asyncio.sleep(0)  # as the loop of a node turns between blocks
                if number % 20 == 19:
                    await until(
                        lambda n=number: len(mo_saw.payloads(Topic.CONSENSUS)) == n + 1, "the fast peer has all"
                    )
            await until(lambda: len(mo_saw.payloads(Topic.GOSSIP)) == 300, "and all transactions, too")
            assert views(gz)["mo1"].counters.refused == 0
            assert views(gz)["hk1"].counters.refused > 0, "gossip for the slow one was given up"
            # What the fast one was sent is in the recorder: 15 MiB. Beyond that, the slow one's queue and buffers.
            assert memory_kib() - before < 40 * 1024

    asyncio.run(scenario())


def test_a_frame_larger_than_a_slow_line_carries_in_the_deadline_arrives_all_the_same() -> None:
    async def scenario() -> None:
        strict = replace(QUICK, links=LinkSettings(frame_s=0.4, ping_s=0.2, pings_missed_max=50))
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")], settings=strict)
            stream = await puppet(gz, "hk1")
            frame = encode_frame(Topic.SYNC, TRADE, bytes(30 * KIB))
            for start in range(0, len(frame), 1024):  # 20 KiB a second: above the least a link must carry
                stream.writer.write(frame[start : start + 1024])
                await asyncio.sleep(0.05)
            await until(lambda: len(gz_saw.messages) == 1)
            assert gz_saw.down == []
            stream.abort()

    asyncio.run(scenario())


def test_a_frame_that_trickles_is_given_up_and_nobody_blamed() -> None:
    async def scenario() -> None:
        strict = replace(QUICK, links=LinkSettings(frame_s=0.4, ping_s=0.2))
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")], settings=strict)
            stream = await puppet(gz, "hk1")
            stream.writer.write(encode_frame(Topic.SYNC, TRADE, bytes(MIB))[:-MIB])
            while not gz_saw.down:  # alive in every other way: one byte after the other
                stream.writer.write(b".")
                await asyncio.sleep(0.01)
            assert "took longer than" in views(gz)["hk1"].last_failure
            assert state_of(gz, "hk1") is PeerState.EXPECTED
            stream.abort()

    asyncio.run(scenario())


@pytest.mark.parametrize("length", [2**32 - 1, 5 * MIB + 1], ids=["2^32 - 1", "the cap and one more"])
def test_an_announced_length_beyond_the_cap_is_refused_before_anything_is_kept(length: int) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            stream = await puppet(gz, "hk1")
            before = memory_kib()
            stream.writer.write(length.to_bytes(4, "big"))
            await until(lambda: gz_saw.down == ["hk1"])
            assert f"frame of {length} bytes" in views(gz)["hk1"].last_failure
            assert state_of(gz, "hk1") is PeerState.SHUNNED
            assert memory_kib() - before < 2 * 1024
            stream.abort()

    asyncio.run(scenario())


def test_many_half_frames_of_one_member_cost_one_frame_of_memory() -> None:
    """F2. Each new connection replaces the member's last one, and what that had begun to say goes with it."""

    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            before = descriptors()
            half = encode_frame(Topic.SYNC, TRADE, bytes(4 * MIB))[: 2 * MIB]
            held = live_bytes()
            stream = None
            for number in range(40):
                old, stream = stream, await puppet(gz, "hk1")
                await until(lambda n=number: gz_saw.up.count("hk1") == n + 1, "linked")
                if old is not None:
                    old.abort()
                received = views(gz)["hk1"].counters.bytes_in
                stream.writer.write(half)
                await until(lambda r=received: views(gz)["hk1"].counters.bytes_in >= r + 2 * MIB, f"half {number}")
            assert gz_saw.up.count("hk1") == 40
            assert live_bytes() - held < 12 * MIB, "80 MiB were begun"
            assert stream is not None
            stream.abort()
            await until(lambda: descriptors() <= before)

    tracemalloc.start()
    try:
        asyncio.run(scenario())
    finally:
        tracemalloc.stop()
