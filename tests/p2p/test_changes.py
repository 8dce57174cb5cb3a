"""What a running network takes over: another list of nodes, other channels, another certificate of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dawan_node.crypto.authority import issue_node_certificate
from dawan_node.crypto.certificates import CertifiedKey, fingerprint
from dawan_node.crypto.trust import Trust
from dawan_node.errors import ConfigError
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.handshake import Connection, Handshake, LocalNode, Refusal, Refused, Stage
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerAddress, PeerState, Role, parse_address
from dawan_node.p2p.tls import tls_contexts
from dawan_node.p2p.transport import LinkSettings, Stream, open_stream
from tests.p2p.loopback import (
    HEALTH,
    ORGS,
    QUICK,
    TRADE,
    Loopback,
    address,
    authority,
    certificate,
    entry,
    identity,
    key_of,
    last_words,
    puppet,
    state_of,
    trust,
    until,
    views,
)

# The list of nodes


def test_a_node_that_is_added_is_dialled_and_one_that_is_removed_is_closed_and_dialled_no_more() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1")
            hk, hk_saw = await net.start("hk1", [entry("gz1")])
            assert gz.peers() == ()
            gz.update([entry("hk1", address(hk))], trust())
            await until(lambda: gz_saw.up == ["hk1"] and hk_saw.up == ["gz1"])
            assert gz.send("hk1", TRADE, Topic.CONSENSUS, b"vote")
            await until(lambda: hk_saw.payloads() == [b"vote"])

            gz.update([], trust())
            assert gz_saw.down == ["hk1"], "at once"
            assert (gz.peers(), gz.connected(TRADE)) == ((), ())
            assert not gz.send("hk1", TRADE, Topic.CONSENSUS, b"late")
            await until(lambda: "is no longer listed" in views(hk)["gz1"].last_failure)
            assert "unknown_node: node 'hk1' of 'hk'" in views(hk)["gz1"].last_failure
            assert not gz._diallers._tasks

            gz.update([entry("hk1", address(hk))], trust())
            await until(lambda: gz_saw.up == ["hk1", "hk1"], "and may come back")

    asyncio.run(scenario())


def test_a_dial_under_way_ends_with_the_entry_that_asked_for_it() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            server = socket.create_server(("127.0.0.1", 0))  # TCP connects, and nobody says anything
            silent = f"127.0.0.1:{server.getsockname()[1]}"
            gz, _ = await net.start("gz1", [entry("hk1", silent)])
            await until(lambda: state_of(gz, "hk1") is PeerState.DIALLING)
            [(task, _)] = gz._diallers._tasks.values()
            gz.update([], trust())
            await until(task.done)
            assert task.cancelled()
            server.close()

    asyncio.run(scenario())


CHANGED = {
    "key": (replace(entry("hk1"), public_key=key_of("hk1 anew").public_key), Refusal.KEY, "is listed with key"),
    "organisation": (entry("hk1", org="mo"), Refusal.ORGANISATION, "is listed under 'mo' now"),
    "role": (entry("hk1", role=Role.OBSERVER), Refusal.ROLE, "is listed as observer now"),
}


@pytest.mark.parametrize(("changed", "refusal", "says"), CHANGED.values(), ids=CHANGED.keys())
def test_a_link_to_a_node_listed_otherwise_now_is_closed_at_once_and_told_why(
    changed: PeerAddress, refusal: Refusal, says: str
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            stream = await puppet(gz, "hk1")
            await until(lambda: gz_saw.up == ["hk1"])
            gz.update([changed], trust())
            assert gz_saw.down == ["hk1"]
            [*_, told] = await last_words(stream)
            assert isinstance(told, Refused)
            assert told.refusal is refusal
            assert says in told.text
            assert state_of(gz, "hk1") is PeerState.EXPECTED, "nobody misbehaved"

    asyncio.run(scenario())


def test_nothing_is_delivered_from_a_node_after_the_update_that_removed_it() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, _ = await net.pair()
            assert all(hk.send("gz1", TRADE, Topic.CONSENSUS, b"x" * 100) for _ in range(5_000))
            await until(lambda: len(gz_saw.messages) > 10, "in the middle of it")
            gz.update([], trust())
            delivered = len(gz_saw.messages)
            assert delivered < 5_000
            await until(lambda: "no longer listed" in views(hk)["gz1"].last_failure)
            assert len(gz_saw.messages) == delivered

    asyncio.run(scenario())


def test_another_address_is_dialled_soon_when_there_is_no_link_and_leaves_a_link_alone() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            server = socket.create_server(("127.0.0.1", 0))
            silent = f"127.0.0.1:{server.getsockname()[1]}"
            patient = replace(
                QUICK, links=LinkSettings(handshake_s=3_600.0)
            )  # the old address alone would take for ever
            hk, hk_saw = await net.start("hk1", [entry("gz1", silent)], settings=patient)
            await until(lambda: state_of(hk, "gz1") is PeerState.DIALLING)
            [(old_dial, _)] = hk._diallers._tasks.values()
            hk.update([entry("gz1", address(gz))], trust())
            await until(lambda: gz_saw.up == ["hk1"] and hk_saw.up == ["gz1"])
            assert old_dial.done()
            server.close()
            hk.update([entry("gz1", "127.0.0.1:9", address(gz))], trust())
            assert hk_saw.down == []
            assert state_of(hk, "gz1") is PeerState.CONNECTED

    asyncio.run(scenario())


def test_an_update_with_a_ca_certificate_that_cannot_be_used_changes_nothing() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, _, hk_saw = await net.pair()
            with pytest.raises(ConfigError, match="TLS cannot start"):
                gz.update([], Trust({"gz": [b"junk"]}))
            assert gz.send("hk1", TRADE, Topic.CONSENSUS, b"vote")
            await until(lambda: hk_saw.payloads() == [b"vote"])
            assert gz_saw.down == []

    asyncio.run(scenario())


async def meet_halfway(network: Network, name: str) -> tuple[Stream, Handshake]:
    """A connection on which ``network`` has accepted ``name``, which has not yet accepted it."""
    who = identity(name)
    host, port = parse_address(address(network))
    stream = await open_stream(host, port, tls_contexts(who.tls, trust().roots), LinkSettings())
    handshake = Handshake(
        LocalNode(who.network, name, who.org, who.role, who.key, who.software, os.urandom(16)),
        Connection(fingerprint(who.tls.certificate), fingerprint(stream.certificate), "gz", "gz1"),
        os.urandom(32),
        [TRADE],
        lambda other: entry(other).id,
    )
    await stream.send_control(handshake.start(0))
    while handshake.stage is not Stage.VERIFIED:
        if answer := handshake.receive(await stream.read_control()):
            await stream.send_control(answer)
    handshake.receive(await stream.read_control())  # it is accepted there
    return stream, handshake


LATE = {
    "removed": ([], trust(), "removed"),
    "listed with another key": ([CHANGED["key"][0]], trust(), "is listed with key"),
    "revoked": ([entry("hk1")], trust(revoked=[certificate("hk", "hk1")]), "was revoked by"),
}


@pytest.mark.parametrize(("peers", "trusted", "says"), LATE.values(), ids=LATE.keys())
def test_a_node_that_an_update_excludes_during_its_handshake_gets_no_link(
    peers: list[PeerAddress], trusted: Trust, says: str
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            stream, handshake = await meet_halfway(gz, "hk1")
            gz.update(peers, trusted)
            await stream.send_control(handshake.accept())
            [*_, told] = await last_words(stream)
            assert isinstance(told, Refused)
            assert says in told.text
            assert gz_saw.up == []

    asyncio.run(scenario())


def test_a_cut_outlives_an_update() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, _, _ = await net.pair()
            gz.cut(["hk1"])
            gz.update([CHANGED["role"][0]], trust())
            assert state_of(gz, "hk1") is PeerState.CUT
            gz.update([entry("hk1")], trust())
            gz.heal()
            await until(lambda: len(gz_saw.up) == 2)

    asyncio.run(scenario())


# Channels


@pytest.mark.parametrize("first", ["gz1", "hk1"])
def test_an_organisation_admitted_to_a_channel_gains_it_and_one_suspended_loses_it_at_once(first: str) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            channels = {"gz1": {TRADE}, "hk1": {TRADE}}
            gz, gz_saw = await net.start("gz1", [entry("hk1")], channels=lambda certificate: channels["gz1"])
            hk, hk_saw = await net.start(
                "hk1", [entry("gz1", address(gz))], channels=lambda certificate: channels["hk1"]
            )
            await until(lambda: gz_saw.up and hk_saw.up)
            nodes = {"gz1": (gz, entry("hk1")), "hk1": (hk, entry("gz1", address(gz)))}
            order = [first, *({"gz1", "hk1"} - {first})]

            for name in order:
                node, peer = nodes[name]
                channels[name] = {TRADE, HEALTH}
                node.update([peer], trust())
                await until(lambda: gz.connected(TRADE) and hk.connected(TRADE), "again")
            await until(lambda: gz.connected(HEALTH) and hk.connected(HEALTH))
            assert hk.send("gz1", HEALTH, Topic.CONSENSUS, b"health")
            await until(lambda: gz_saw.payloads() == [b"health"])

            for _ in range(2_000):
                hk.send("gz1", HEALTH, Topic.CONSENSUS, b"more" * 25)
            await until(lambda: len(gz_saw.messages) > 10, "in the middle of it")
            channels["gz1"] = {TRADE}
            gz.update([entry("hk1")], trust())
            delivered = len(gz_saw.messages)
            assert gz.connected(HEALTH) == ()
            assert "channels: the channels shared with 'hk' have changed" not in views(hk)["gz1"].last_failure
            await until(lambda: gz.connected(TRADE) and hk.connected(TRADE))
            assert views(hk)["gz1"].channels == (TRADE,), "the peer knows it too"
            assert not hk.send("gz1", HEALTH, Topic.CONSENSUS, b"late")
            assert len(gz_saw.messages) == delivered

            ups = len(gz_saw.up)
            channels["hk1"] = {TRADE}
            hk.update([nodes["hk1"][1]], trust())
            gz.update([entry("hk1")], trust())  # nothing has changed for this one
            await until(lambda: len(gz_saw.up) == ups + 1 and gz.connected(TRADE) and hk.connected(TRADE))

    asyncio.run(scenario())


def test_an_update_that_changes_nothing_about_a_link_leaves_it_alone() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, hk_saw = await net.pair()
            for _ in range(10):
                gz.update([entry("hk1"), entry("mo1"), entry("gz1")], trust())
                hk.update([entry("gz1", address(gz))], trust())
                assert gz.send("hk1", TRADE, Topic.CONSENSUS, b"vote")
            await until(lambda: len(hk_saw.messages) == 10)
            assert gz_saw.down == hk_saw.down == []
            assert [view.name for view in gz.peers()] == ["hk1", "mo1"]

    asyncio.run(scenario())


# This node's own certificate


def renewed(name: str, days: int = 30) -> CertifiedKey:
    org = ORGS[name]
    return issue_node_certificate(authority(org), org, name, [], datetime.now(UTC), days=days)


def test_certificates_are_renewed_under_traffic_and_every_frame_arrives() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, hk_saw = await net.pair()
            sent = {"gz1": 0, "hk1": 0}
            stop = asyncio.Event()

            async def talk(node: Network, to: str) -> None:
                while not stop.is_set():
                    if node.send(to, TRADE, Topic.CONSENSUS, sent[to].to_bytes(4, "big") * 50):
                        sent[to] += 1
                    await asyncio.sleep(0)

            talkers = [asyncio.create_task(talk(gz, "hk1")), asyncio.create_task(talk(hk, "gz1"))]
            for round_ in range(10):
                newest = renewed("gz1"), renewed("hk1")
                gz.renew(newest[0])
                hk.renew(newest[1])
                await until(lambda: min(sent.values()) > 100 * (round_ + 1))  # noqa: B023  # awaited in the round
            stop.set()
            await asyncio.gather(*talkers)
            await until(lambda: len(gz_saw.messages) == sent["gz1"] and len(hk_saw.messages) == sent["hk1"])
            for saw, name in ((gz_saw, "gz1"), (hk_saw, "hk1")):
                assert saw.payloads() == [number.to_bytes(4, "big") * 50 for number in range(sent[name])]
            assert gz_saw.down == hk_saw.down == []

            gz.update([entry("hk1"), entry("mo1")], trust())  # which keeps the newest certificate
            stream = await puppet(gz, "mo1")  # a whole handshake, bound to it
            assert stream.certificate == newest[0].certificate
            await until(lambda: "mo1" in gz_saw.up)
            hk.cut(["gz1"])
            hk.heal()
            await until(lambda: gz_saw.up.count("hk1") == 2)
            assert gz._links["hk1"].met.stream.certificate == newest[1].certificate
            stream.abort()

    asyncio.run(scenario())


NOT_OURS = {
    "another node's": (certificate("gz", "gz2"), "it is for node 'gz2' of 'gz'"),
    "another organisation's": (certificate("mo", "gz1"), "it is for node 'gz1' of 'mo'"),
    "an unknown CA's": (certificate("evil", "gz1"), "which no organisation of this network has registered"),
    "expired": (
        issue_node_certificate(authority("gz"), "gz", "gz1", [], datetime.now(UTC) - timedelta(days=9), days=1),
        "expired on",
    ),
    "with another key": (CertifiedKey(renewed("gz1").certificate, certificate("hk", "hk1").private_key), "unusable"),
}


@pytest.mark.parametrize(("tls", "says"), NOT_OURS.values(), ids=NOT_OURS.keys())
def test_a_certificate_that_peers_would_refuse_is_not_taken_over(tls: CertifiedKey, says: str) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            with pytest.raises(ConfigError, match=says):
                gz.renew(tls)
            stream = await puppet(gz, "hk1")
            assert stream.certificate == certificate("gz", "gz1").certificate
            await until(lambda: gz_saw.up == ["hk1"])
            stream.abort()

    asyncio.run(scenario())
