"""What the port does with those who should not be there, and with a member that misbehaves once inside."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from dawan_node.crypto.authority import issue_node_certificate
from dawan_node.crypto.certificates import load_into_context
from dawan_node.p2p.framing import Topic, encode_frame
from dawan_node.p2p.handshake import Challenge, Ping, Pong, Refusal, Refused
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerState, parse_address
from dawan_node.p2p.tls import tls_contexts
from dawan_node.p2p.transport import LinkSettings, open_stream
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
    last_words,
    puppet,
    state_of,
    trust,
    until,
    views,
)

# Short deadlines for strangers, and for members; never both, so that a slow machine tests what the test is about.
IMPATIENT = replace(QUICK, links=LinkSettings(handshake_s=0.4))
STRICT = replace(QUICK, links=LinkSettings(frame_s=0.4, ping_s=0.2, write_s=0.4))


async def connect(network: Network) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = parse_address(address(network))
    return await asyncio.open_connection(host, port)


async def hangs_up(reader: asyncio.StreamReader) -> None:
    """The other end closes, in good time."""
    async with asyncio.timeout(10):
        try:
            while await reader.read(65_536):
                pass
        except OSError:
            pass


def client_context(org: str | None, name: str = "hk1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if org is not None:
        load_into_context(context, certificate(org, name))
    return context


async def assert_still_serving(net: Loopback, network: Network) -> None:
    """An honest node gets in, whatever went before."""
    seen = net.recorders["gz1"]
    before = len(seen.up)
    mo, _ = await net.start("mo1", [entry("gz1", address(network))])
    await until(lambda: len(seen.up) > before and mo.connected(TRADE), "mo1 connects")


@pytest.mark.parametrize(
    "opening",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00" * 1_000,
        bytes(range(256)) * 300,
        b"\x16\x03\x01\xff\xff" + b"\x01" * 70_000,
    ],
    ids=["http", "zeros", "noise", "a huge client hello"],
)
def test_plain_bytes_are_hung_up_on(opening: bytes) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("mo1")], settings=IMPATIENT)
            reader, writer = await connect(gz)
            writer.write(opening)
            await hangs_up(reader)
            writer.close()
            assert gz_saw.up == []
            await assert_still_serving(net, gz)

    asyncio.run(scenario())


def test_a_connection_that_says_nothing_is_cut_at_the_deadline() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("mo1")], settings=IMPATIENT)
            reader, writer = await connect(gz)
            await hangs_up(reader)
            writer.close()

    asyncio.run(scenario())


def test_a_tls_client_that_stops_after_tls_is_cut_at_the_deadline() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("hk1"), entry("mo1")], settings=IMPATIENT)
            host, port = parse_address(address(gz))
            stream = await open_stream(
                host, port, tls_contexts(certificate("hk", "hk1"), trust().roots), LinkSettings()
            )
            await hangs_up(stream.reader)
            stream.abort()
            await assert_still_serving(net, gz)

    asyncio.run(scenario())


def test_tls_1_2_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            host, port = parse_address(address(gz))
            context = client_context("hk")
            _, writer = await asyncio.open_connection(host, port, ssl=context)  # 1.3: nothing else is wrong with it
            writer.close()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(OSError):
                await asyncio.open_connection(host, port, ssl=context)
            await until(lambda: any("does not speak TLS 1.3 (UNSUPPORTED_PROTOCOL)" in why for why in reasons(caplog)))
            assert gz_saw.up == []

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of connections that failed below the handshake."""
    return [each.__dict__["fields"]["reason"] for each in caplog.records if each.getMessage() == "handshake_failed"]


@pytest.mark.parametrize("org", [None, "evil"])
def test_a_client_without_a_registered_certificate_is_refused(org: str | None) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            host, port = parse_address(address(gz))
            reader, writer = await asyncio.open_connection(host, port, ssl=client_context(org))
            await hangs_up(reader)  # in TLS 1.3 the client learns it with the first read
            writer.close()
            assert gz_saw.up == []

    asyncio.run(scenario())


def test_when_one_end_does_not_know_the_root_both_ends_say_which_certificate_and_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("hk1")], trusted=trust("gz"))
            hk, _ = await net.start("hk1", [entry("gz1", address(gz))])
            await until(lambda: views(hk)["gz1"].last_failure)
            told = views(hk)["gz1"].last_failure
            assert f"peer 'gz1' of gz ({address(gz)}) refused this node's TLS certificate 'hk1' (serial" in told
            assert 'issued by "hk root CA": no CA certificate its network lists has issued it' in told
            assert (
                "Fix: renew below the registered CA: `cert renew`; not admitted yet or suspended: await the vote"
                in told
            )
            narrow, _ = await net.start("mo1", [entry("gz1", address(gz))], trusted=trust("mo", "hq"))
            await until(lambda: views(narrow)["gz1"].last_failure)
            found = views(narrow)["gz1"].last_failure
            assert f"peer 'gz1' of gz ({address(gz)}) refused: certificate 'CN=gz1' (serial" in found
            assert "was issued by 'CN=gz root CA'" in found
            assert "expects nothing for gz, which is not registered here. Fix: " in found

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    logged = reasons(caplog)
    assert "does not end at a CA certificate this node knows" in logged[0]
    assert 'this node expects "gz root CA" for gz. Fix: ' in logged[0]
    heard = [why for why in logged if "refused this node's TLS certificate 'gz1' (serial" in why]
    assert heard, "the alert of a dialler reaches the listener"


def test_an_expired_certificate_is_refused_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("hk1")])
            past = datetime.now(UTC) - timedelta(days=500)
            expired = issue_node_certificate(authority("hk"), "hk", "hk1", [], past, days=10)
            hk, _ = await net.start(identity("hk1", tls=expired), [entry("gz1", address(gz))])
            await until(lambda: "run `dawan-node cert renew` on hk1 of hk" in views(hk)["gz1"].last_failure)
            assert "certificate 'CN=hk1' (serial" in views(hk)["gz1"].last_failure

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    [why, *_] = [each.__dict__["fields"]["reason"] for each in caplog.records if each.msg == "handshake_refused"]
    assert "(serial" in why and " expired on " in why


REFUSED = {
    "a node that is not in the consortium file": (identity("gz9", "gz"), "unknown_node"),
    "a certificate of another organisation": (identity("hk1", tls=certificate("mo", "hk1")), "organisation"),
    "a certificate of another node": (identity("hk1", tls=certificate("hk", "hk2")), "name"),
    "another network": (identity("hk1", network="other"), "network"),
    "another key": (identity("hk1", key=identity("mo1").key), "key"),
    "another organisation, certificate included": (identity("hk1", "mo"), "organisation"),
}


@pytest.mark.parametrize(("who", "refusal"), REFUSED.values(), ids=REFUSED.keys())
def test_whoever_does_not_match_the_consortium_file_is_refused_and_told_why(
    who: object, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1"), entry("mo1")])
            stranger, _ = await net.start(who, [entry("gz1", address(gz))])  # type: ignore[arg-type]
            await until(lambda: state_of(stranger, "gz1") is PeerState.WAITING)
            assert gz_saw.up == []
            await assert_still_serving(net, gz)

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    refusals = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "handshake_refused"]
    assert refusals[0]["refusal"] == refusal
    assert not refusals[0]["by_peer"]
    dials = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "dial_failed"]
    assert dials[0]["refusal"] == refusal, "the stranger knows the same"
    if refusal != "network":  # there each finds the other wrong
        assert dials[0]["reason"] == refusals[0]["reason"]


def test_strangers_are_limited_per_address_and_do_not_count_once_they_are_peers() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            settings = replace(QUICK, strangers_per_ip_max=2)
            gz, gz_saw = await net.start("gz1", [entry(name) for name in ORGS], settings=settings)
            first, second = await connect(gz), await connect(gz)
            third = await connect(gz)
            await hangs_up(third[0])
            for _, writer in (second, third):
                writer.close()
            for name in ("hk1", "mo1", "hq1"):  # one place is free, one after the other uses it
                await net.start(name, [entry("gz1", address(gz))])
                await until(partial(gz_saw.up.__contains__, name), f"{name} connected")
            first[1].close()
            await until(lambda: not gz._door.strangers, "nothing is remembered of them")

    asyncio.run(scenario())


def test_strangers_are_limited_in_total() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", settings=replace(QUICK, strangers_max=1))
            _, writer = await connect(gz)
            reader, other = await connect(gz)
            await hangs_up(reader)
            writer.close()
            other.close()

    asyncio.run(scenario())


def test_a_flood_of_strangers_writes_few_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("mo1")])
            for _ in range(150):
                reader, writer = await connect(gz)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                await hangs_up(reader)
                writer.close()
            await assert_still_serving(net, gz)

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    assert len(caplog.records) < 60


# A member that passed the handshake and then breaks the rules: closed, told, shunned; the node goes on.

MISDEEDS = {
    "an oversized frame": (b"\x00\x60\x00\x00", "frame of 6291456 bytes"),
    "garbage": (b"\x00\x00\x00\x10" + b"\xff" * 16, "begins with byte 0xff"),
    "a frame for a channel we do not share": (encode_frame(Topic.GOSSIP, HEALTH, b"x"), "do not share"),
    "a second handshake": (
        encode_frame(Topic.CONTROL, b"", Challenge(1, bytes(32), 0).encode()),
        "after the handshake",
    ),
    "control bytes that are nothing": (encode_frame(Topic.CONTROL, b"", b"\xc0"), "cannot be read"),
    "a flood of pings": (encode_frame(Topic.CONTROL, b"", Ping(1).encode()) * 200, "control frames a second"),
}


@pytest.mark.parametrize(("bytes_sent", "says"), MISDEEDS.values(), ids=MISDEEDS.keys())
def test_a_member_that_breaks_the_protocol_is_closed_told_and_shunned(bytes_sent: bytes, says: str) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1"), entry("mo1")], settings=STRICT)
            stream = await puppet(gz, "hk1")
            stream.writer.write(encode_frame(Topic.GOSSIP, TRADE, b"good"))
            stream.writer.write(bytes_sent)
            [*_, told] = await last_words(stream)
            assert isinstance(told, Refused)
            assert told.refusal is Refusal.MALFORMED
            assert says in told.text
            await until(lambda: gz_saw.down == ["hk1"])
            assert gz_saw.payloads() == [b"good"]
            assert state_of(gz, "hk1") is PeerState.SHUNNED
            assert says in views(gz)["hk1"].last_failure
            stream.abort()
            await assert_still_serving(net, gz)

    asyncio.run(scenario())


def test_an_answer_to_no_ping_changes_nothing() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            stream = await puppet(gz, "hk1")
            stream.writer.write(encode_frame(Topic.CONTROL, b"", Pong(999).encode()))
            stream.writer.write(encode_frame(Topic.GOSSIP, TRADE, b"after"))
            await until(lambda: gz_saw.payloads() == [b"after"])
            assert views(gz)["hk1"].rtt_ms is None
            stream.abort()

    asyncio.run(scenario())


def test_a_peer_that_talks_but_never_reads_is_given_up() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")], settings=STRICT)
            stream = await puppet(gz, "hk1")
            await until(lambda: gz.connected(TRADE))
            stream.reader._transport.pause_reading()  # type: ignore[attr-defined]
            while gz.send("hk1", TRADE, Topic.SYNC, bytes(1_000_000)):
                pass
            while not gz_saw.down:
                stream.writer.write(encode_frame(Topic.GOSSIP, TRADE, b"I am alive"))
                await asyncio.sleep(0.02)
            assert "read next to nothing" in views(gz)["hk1"].last_failure
            stream.abort()

    asyncio.run(scenario())


def test_more_gossip_than_a_peers_share_is_ignored_and_counted_but_votes_pass() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            stream = await puppet(gz, "hk1")
            flood = encode_frame(Topic.GOSSIP, TRADE, bytes(200_000))
            for _ in range(300):  # 60 MB at once, the burst is 32 MiB
                stream.writer.write(flood)
                await stream.writer.drain()
            stream.writer.write(encode_frame(Topic.CONSENSUS, TRADE, b"vote"))
            await until(lambda: gz_saw.payloads(Topic.CONSENSUS) == [b"vote"])
            assert views(gz)["hk1"].counters.limited > 50
            assert len(gz_saw.payloads(Topic.GOSSIP)) + views(gz)["hk1"].counters.limited == 300
            assert gz_saw.down == []
            stream.abort()

    asyncio.run(scenario())
