"""Real TLS links between networks on loopback: order, priority, limits, reconnection, one link per pair."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from dawan_node.errors import ConfigError, StorageError
from dawan_node.p2p.framing import MIB, Topic
from dawan_node.p2p.peers import PeerState, Role
from dawan_node.p2p.transport import Direction, LinkSettings
from tests.p2p.loopback import (
    HEALTH,
    ORGS,
    QUICK,
    TRADE,
    Loopback,
    address,
    entry,
    free_ports,
    puppet,
    state_of,
    until,
    views,
)


def test_messages_arrive_whole_and_in_the_order_sent() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, hk_saw = await net.pair()
            sent = [index.to_bytes(4, "big") * (index % 400) for index in range(2_000)]
            assert all(hk.send("gz1", TRADE, Topic.CONSENSUS, payload) for payload in sent)
            assert gz.send("hk1", TRADE, Topic.SYNC, bytes(4 * MIB))
            await until(lambda: len(gz_saw.messages) == len(sent) and hk_saw.messages)
            assert gz_saw.payloads() == sent
            assert {(name, chain, topic) for name, chain, topic, _ in gz_saw.messages} == {
                ("hk1", TRADE, Topic.CONSENSUS)
            }
            assert hk_saw.messages == [("gz1", TRADE, Topic.SYNC, bytes(4 * MIB))]

    asyncio.run(scenario())


def test_four_nodes_that_all_dial_each_other_settle_on_one_link_per_pair_and_lose_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            ports = {name: f"127.0.0.1:{port}" for name, port in zip(ORGS, free_ports(4), strict=True)}
            settings = replace(QUICK, second_dialler_waits_ms=0)  # provoke double dials
            nodes = {}
            for name in ORGS:
                peers = [entry(other, ports[other]) for other in ORGS]
                nodes[name], _ = await net.start(name, peers, listen=ports[name], settings=settings)
            await until(lambda: all(len(node.connected(TRADE)) == 3 for node in nodes.values()), "full mesh")
            for name, node in nodes.items():
                assert node.broadcast(TRADE, Topic.GOSSIP, name.encode()) == tuple(sorted(set(ORGS) - {name}))
            await until(lambda: all(len(seen.messages) == 3 for seen in net.recorders.values()), "all heard all")
            for one in nodes:
                for other in set(ORGS) - {one}:
                    there, here = views(nodes[one])[other], views(nodes[other])[one]
                    assert {there.direction, here.direction} == {Direction.IN, Direction.OUT}
            for seen in net.recorders.values():
                assert len(seen.up) == 3
                assert seen.down == [], "no link was dropped for another"

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    assert caplog.records == [], "two dials of one pair are nothing to report"


def test_a_vote_overtakes_history_that_waits_for_a_slow_reader() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("hk1")])
            stream = await puppet(gz, "hk1")  # reads nothing yet
            await until(lambda: gz.connected(TRADE))
            megabyte = bytes(MIB)
            while gz.send("hk1", TRADE, Topic.SYNC, megabyte):
                pass
            await until(lambda: views(gz)["hk1"].queued_bytes, "the socket is full")
            assert gz.send("hk1", TRADE, Topic.GOSSIP, b"gossip")
            assert gz.send("hk1", TRADE, Topic.CONSENSUS, b"vote")
            frames = [*stream.frames]
            while not any(frame.payload == b"gossip" for frame in frames):
                frames += stream.decoder.feed(await stream.reader.read(MIB))
            order = [frame.payload for frame in frames]
            after_vote = sum(len(payload) == MIB for payload in order[order.index(b"vote") :])
            assert after_vote >= 8, "most of the waiting history left after the vote"
            assert order[-1] == b"gossip"
            stream.abort()

    asyncio.run(scenario())


def test_a_flood_of_small_frames_leaves_everybody_else_their_turns() -> None:
    """One read holds thousands of them. Taken in one go they made every other task of the node, an answer to a client
    with its ten turns of the loop too, as late as the flood lasted."""

    async def scenario() -> None:
        async with Loopback() as net:
            _, gz_saw, hk, _ = await net.pair()
            between_turns = [0]

            async def others() -> None:
                while True:
                    before = len(gz_saw.messages)
                    await asyncio.sleep(0)
                    between_turns.append(len(gz_saw.messages) - before)

            waiting = asyncio.create_task(others())
            assert all(hk.send("gz1", TRADE, Topic.CONSENSUS, b"x") for _ in range(5_000))
            await until(lambda: len(gz_saw.messages) == 5_000)
            waiting.cancel()
            assert max(between_turns) < 200

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_counts_and_the_other_peers_notice_nothing() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("hk1"), entry("mo1")])
            stream = await puppet(gz, "hk1")
            _, mo_saw = await net.start("mo1", [entry("gz1", address(gz))])
            await until(lambda: len(gz.connected(TRADE)) == 2)
            while gz.send("hk1", TRADE, Topic.GOSSIP, bytes(200_000)):
                pass
            waiting = views(gz)["hk1"].queued_bytes
            assert 3 * MIB < waiting <= 4 * MIB
            while gz.send("hk1", TRADE, Topic.SYNC, bytes(MIB)) and gz.send("hk1", TRADE, Topic.FETCH, bytes(MIB)):
                pass
            assert gz.broadcast(TRADE, Topic.GOSSIP, bytes(200_000)) == ("mo1",)
            await until(lambda: mo_saw.messages)
            assert views(gz)["hk1"].counters.refused >= 3
            assert views(gz)["mo1"].counters.refused == 0
            stream.abort()

    asyncio.run(scenario())


def test_a_peer_that_is_cut_goes_away_and_comes_back_after_healing() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, hk_saw = await net.pair()
            gz.cut(["hk1"])
            await until(lambda: gz_saw.down and hk_saw.down)
            assert state_of(gz, "hk1") is PeerState.CUT
            assert not gz.send("hk1", TRADE, Topic.GOSSIP, b"lost")
            await until(lambda: "does not take connections" in views(hk)["gz1"].last_failure, "hk1 was turned away")
            assert gz_saw.up == ["hk1"]
            gz.heal()
            await until(lambda: len(gz_saw.up) == 2 and len(hk_saw.up) == 2)
            assert gz.send("hk1", TRADE, Topic.GOSSIP, b"again")
            await until(lambda: hk_saw.payloads() == [b"again"])

    asyncio.run(scenario())


def test_the_side_that_dialled_may_cut_and_heal_too() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            _, gz_saw, hk, hk_saw = await net.pair()
            hk.cut(["gz1"])
            await until(lambda: gz_saw.down and hk_saw.down)
            hk.heal(["gz1", "nobody"])
            await until(lambda: len(gz_saw.up) == 2 and len(hk_saw.up) == 2)

    asyncio.run(scenario())


def test_a_node_dials_again_when_the_link_its_peer_had_opened_is_lost() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            [port] = free_ports(1)
            gz, gz_saw = await net.start("gz1", [entry("hk1", f"127.0.0.1:{port}")])
            stream = await puppet(gz, "hk1")
            await until(lambda: gz_saw.up == ["hk1"])
            assert views(gz)["hk1"].direction is Direction.IN
            gz.heal()  # wakes the dialling task, which finds gz1 connected and forgets its back-off timer
            await net.start("hk1", [entry("gz1")], listen=f"127.0.0.1:{port}")
            stream.abort()
            await until(lambda: gz_saw.up == ["hk1", "hk1"])
            assert views(gz)["hk1"].direction is Direction.OUT

    asyncio.run(scenario())


def test_links_cannot_be_cut_outside_a_development_network() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", settings=replace(QUICK, faults=False))
            with pytest.raises(ConfigError, match="fault injection is off"):
                gz.cut(["hk1"])

    asyncio.run(scenario())


def test_a_node_that_restarts_is_connected_again() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, _ = await net.pair()
            await hk.stop()
            await until(lambda: gz_saw.down == ["hk1"])
            assert state_of(gz, "hk1") is PeerState.EXPECTED
            again, _ = await net.start("hk1", [entry("gz1", address(gz))])
            await until(lambda: gz_saw.up == ["hk1", "hk1"] and again.connected(TRADE))

    asyncio.run(scenario())


@pytest.mark.parametrize("old", ["gz1", "hk1"])
def test_a_restarted_node_replaces_its_old_connection_before_anybody_missed_it(old: str) -> None:
    # The old process vanished without a FIN: the other side still believes in the old link.
    async def scenario() -> None:
        async with Loopback() as net:
            other = "hk1" if old == "gz1" else "gz1"
            patient = replace(QUICK, links=LinkSettings(ping_s=3_600.0, frame_s=3_600.0))
            node, saw = await net.start(other, [entry(old)], settings=patient)
            ghost = await puppet(node, old)
            await until(lambda: saw.up == [old])
            await net.start(old, [entry(other, address(node))])
            await until(lambda: saw.up == [old, old])
            assert saw.down == [old]
            assert len(node.connected(TRADE)) == 1
            ghost.abort()

    asyncio.run(scenario())


def test_dialling_goes_on_until_the_peer_is_there() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            [port] = free_ports(1)
            gz, gz_saw = await net.start("gz1", [entry("hk1", f"127.0.0.1:{port}")])
            await until(lambda: "connection refused" in views(gz)["hk1"].last_failure)
            await net.start("hk1", [entry("gz1")], listen=f"127.0.0.1:{port}")
            await until(lambda: gz_saw.up == ["hk1"])
            assert views(gz)["hk1"].last_failure == ""

    asyncio.run(scenario())


def test_only_channels_of_the_peers_organisation_cross_a_link() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            members = {"gz": {TRADE, HEALTH}, "hk": {TRADE}}
            gz, gz_saw, hk, hk_saw = await net.pair(channels=lambda certificate: members[certificate.org])
            assert gz_saw.channels["hk1"] == {TRADE}
            assert hk_saw.channels["gz1"] == {TRADE}
            assert not gz.send("hk1", HEALTH, Topic.GOSSIP, b"secret")
            assert gz.broadcast(HEALTH, Topic.GOSSIP, b"secret") == ()
            assert [peer.name for peer in gz.connected(TRADE)] == ["hk1"]
            assert gz.connected(HEALTH) == ()
            assert views(hk)["gz1"].channels == (TRADE,)

    asyncio.run(scenario())


def test_a_payload_that_fits_no_frame_is_not_sent_and_the_link_stays() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, _, hk_saw = await net.pair()
            assert not gz.send("hk1", TRADE, Topic.GOSSIP, bytes(2 * MIB))
            assert gz.send("hk1", TRADE, Topic.GOSSIP, b"small")
            await until(lambda: hk_saw.payloads() == [b"small"])
            assert not gz_saw.down

    asyncio.run(scenario())


def test_the_round_trip_is_measured_and_the_traffic_counted() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            quick_pings = replace(QUICK, links=LinkSettings(ping_s=0.05))
            gz, _, hk, hk_saw = await net.pair(settings=quick_pings)
            assert gz.send("hk1", TRADE, Topic.GOSSIP, b"x")
            await until(lambda: views(gz)["hk1"].rtt_ms and views(hk)["gz1"].rtt_ms and hk_saw.messages)
            view = views(gz)["hk1"]
            assert (view.state, view.org, view.role) == (PeerState.CONNECTED, "hk", Role.VALIDATOR)
            assert view.software == "dawan-node/test"
            assert view.counters.frames_out >= 2
            assert view.counters.bytes_out > 26
            assert view.counters.frames_in >= 1
            assert hk_saw.messages == [("gz1", TRADE, Topic.GOSSIP, b"x")]

    asyncio.run(scenario())


def test_a_silent_peer_is_given_up_after_two_unanswered_pings() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            settings = replace(QUICK, links=LinkSettings(ping_s=0.1))
            gz, gz_saw = await net.start("gz1", [entry("hk1")], settings=settings)
            stream = await puppet(gz, "hk1")
            await until(lambda: gz_saw.down == ["hk1"])
            assert "nothing heard for 2 pings" in views(gz)["hk1"].last_failure
            assert state_of(gz, "hk1") is PeerState.EXPECTED, "silence is nobody's fault"
            stream.abort()

    asyncio.run(scenario())


def test_a_message_that_the_handler_refuses_costs_the_peer_its_link_for_a_while() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, _ = await net.pair()
            gz_saw.refuse = b"forged"
            assert hk.send("gz1", TRADE, Topic.CONSENSUS, b"honest")
            assert hk.send("gz1", TRADE, Topic.CONSENSUS, b"forged")
            assert hk.send("gz1", TRADE, Topic.CONSENSUS, b"never read")
            await until(lambda: gz_saw.down == ["hk1"])
            assert gz_saw.payloads() == [b"honest"]
            assert state_of(gz, "hk1") is PeerState.SHUNNED
            await until(lambda: "does not take connections" in views(hk)["gz1"].last_failure)
            await asyncio.wait_for(gz.stop(), 5)

    asyncio.run(scenario())


def test_a_violation_found_later_is_reported_and_closes_the_peer() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, _, _ = await net.pair()
            gz.report_violation("hk1", "a vote with a forged signature")
            gz.report_violation("nobody", "ignored")
            await until(lambda: gz_saw.down == ["hk1"])
            assert state_of(gz, "hk1") is PeerState.SHUNNED

    asyncio.run(scenario())


def test_a_storage_error_in_a_handler_stops_the_network_and_is_told() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, _ = await net.pair()
            gz_saw.failure = StorageError("the disk is in doubt")
            hk.send("gz1", TRADE, Topic.CONSENSUS, b"vote")
            with pytest.raises(BaseExceptionGroup) as caught:
                await asyncio.wait_for(gz.wait(), 10)
            assert caught.group_contains(StorageError, match="in doubt")
            assert gz_saw.down == ["hk1"]

    asyncio.run(scenario())


def test_wait_returns_quietly_after_stop() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, _, hk_saw = await net.pair()
            await gz.stop()
            await asyncio.wait_for(gz.wait(), 5)
            assert gz_saw.down == ["hk1"]
            await until(lambda: hk_saw.down == ["gz1"])
            assert not gz.send("hk1", TRADE, Topic.GOSSIP, b"too late")

    asyncio.run(scenario())


def test_a_busy_port_is_one_line_with_what_why_and_what_next() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1")
            with pytest.raises(ConfigError, match=r"cannot listen .* in use\. Stop the program"):
                await net.start("hk1", listen=address(gz))

    asyncio.run(scenario())


def test_an_address_that_leads_to_another_node_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            mo, _ = await net.start("mo1", [entry("gz1")])
            gz, _ = await net.start("gz1", [entry("hk1", address(mo)), entry("mo1")])
            await until(lambda: "dialled 'hk1' and met 'mo1'" in views(gz)["hk1"].last_failure)
            assert gz.connected(TRADE) == ()

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    [record] = [each for each in caplog.records if each.getMessage() == "dial_failed"][:1]
    assert record.__dict__["fields"]["peer"] == "hk1"
    assert record.__dict__["fields"]["refusal"] == "name"
