"""The probe of `doctor`: each step has its outcome, and the running node's link is left alone."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from dawan_node.crypto.authority import issue_node_certificate
from dawan_node.crypto.certificates import load_into_context
from dawan_node.errors import ConfigError
from dawan_node.p2p import probe as module
from dawan_node.p2p.framing import Topic, encode_frame
from dawan_node.p2p.handshake import Challenge, Ping
from dawan_node.p2p.peers import PeerState
from dawan_node.p2p.probe import ProbeReport, Step, probe
from tests.p2p.loopback import (
    TRADE,
    Loopback,
    TurnedClock,
    address,
    authority,
    certificate,
    state_of,
    trust,
    until,
)

HK = certificate("hk", "hk1")


async def knock(where: str, **changes: object) -> ProbeReport:
    usual: dict[str, object] = {"tls": HK, "trust": trust(), "now": datetime.now(UTC)}
    return await probe(where, **{**usual, **changes})  # type: ignore[arg-type]


def test_a_good_peer_is_named_with_its_certificate_its_verdict_its_clock_and_the_round_trip() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", clock=TurnedClock(timedelta(seconds=5)))
            report = await knock(address(gz))
            good = Step(True)
            assert (report.tcp, report.tls, report.certificate, report.verdict) == (good, good, good, good)
            assert report.peer == trust().judge(certificate("gz", "gz1").certificate, datetime.now(UTC))
            assert report.rtt_ms is not None
            assert 0 < report.rtt_ms < 5_000
            assert report.clock_skew_ms is not None
            assert abs(report.clock_skew_ms - 5_000) < 500
            # The skew is against the time the caller gives, not against a clock the probe would read itself.
            other = await knock(address(gz), now=datetime.now(UTC) + timedelta(seconds=60))
            assert other.clock_skew_ms is not None
            assert abs(other.clock_skew_ms + 55_000) < 500

    asyncio.run(scenario())


def test_the_link_of_the_running_node_survives_a_probe_with_its_own_certificate() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, hk_saw = await net.pair()
            for _ in range(3):
                assert (await knock(address(gz))).verdict == Step(True)
            assert hk.send("gz1", TRADE, Topic.CONSENSUS, b"vote")
            await until(lambda: gz_saw.payloads() == [b"vote"])
            assert gz_saw.down == hk_saw.down == []
            assert state_of(gz, "hk1") is PeerState.CONNECTED
            await until(lambda: not gz._door.strangers, "and leaves nothing behind")

    asyncio.run(scenario())


def test_what_the_peer_has_against_our_certificate_is_reported_in_its_words() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", trusted=trust(revoked=[HK]))
            report = await knock(address(gz))
            assert report.certificate == Step(True)
            assert report.verdict is not None
            assert not report.verdict.ok
            assert "certificate: TLS certificate refused: certificate 'CN=hk1'" in report.verdict.text
            past = datetime.now(UTC) - timedelta(days=10)
            expired = issue_node_certificate(authority("hk"), "hk", "hk1", [], past, days=1)
            report = await knock(address(gz), tls=expired)
            assert report.verdict is not None
            assert "run `dawan-node cert renew` on hk1 of hk" in report.verdict.text
            mo, _ = await net.start("mo1", trusted=trust("mo", "gz"))
            report = await knock(address(mo))
            assert (report.tcp, report.tls, report.certificate) == (Step(True), Step(True), Step(True))
            assert report.verdict is not None
            assert "refused this node's TLS certificate 'hk1'" in report.verdict.text

    asyncio.run(scenario())


def test_what_we_have_against_the_peers_certificate_is_reported_whoever_of_the_two_judges_finds_it() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1")
            unknown = await knock(address(gz), trust=trust("hk", "mo"))
            assert unknown.tls is not None
            assert not unknown.tls.ok
            assert f"the node at {address(gz)} refused: certificate 'CN=gz1' (serial" in unknown.tls.text
            assert unknown.certificate is not None
            assert "was issued by 'CN=gz root CA'" in unknown.certificate.text
            assert (unknown.peer, unknown.verdict) == (None, None)

            revoked = await knock(address(gz), trust=trust(revoked=[certificate("gz", "gz1")]))
            assert revoked.tls == Step(True)
            assert revoked.certificate is not None
            assert "was revoked" in revoked.certificate.text
            assert revoked.verdict == Step(True)
            assert (revoked.peer, revoked.clock_skew_ms) == (None, None), "no word of a stranger counts"

    asyncio.run(scenario())


def test_a_port_nobody_listens_on_and_a_name_that_does_not_exist_fail_at_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = f"127.0.0.1:{taken.getsockname()[1]}"
    report = asyncio.run(knock(free))
    assert report == ProbeReport(free, Step(False, "connection refused: nothing listens there, or not yet"))
    assert asyncio.run(knock("a..b:7100")).tcp == Step(False, "'a..b' is no host name")
    with pytest.raises(ConfigError):
        asyncio.run(knock("nonsense"))


def test_a_peer_that_says_nothing_is_given_up_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_S", 0.3)

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            report = await knock(f"127.0.0.1:{silent.getsockname()[1]}")
            assert report.tcp == Step(True)
            assert report.tls is not None
            assert "no TLS handshake" in report.tls.text
        for first, says in (
            (None, "it said nothing"),
            (Challenge(9, bytes(32), 0).encode(), "speaks protocol version 9"),
            (Ping(1).encode(), "it began with a Ping"),
            (b"junk", "cannot be read"),
        ):
            async with await asyncio.start_server(impostor(first), "127.0.0.1", 0, ssl=server_context()) as server:
                report = await knock(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
                assert report.certificate == Step(True)
                assert report.verdict is not None
                assert not report.verdict.ok
                assert says in report.verdict.text

    asyncio.run(scenario())


def impostor(first: bytes | None):  # type: ignore[no-untyped-def]  # asyncio's callback
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first is not None:
            writer.write(encode_frame(Topic.CONTROL, b"", first))
        await reader.read()
        writer.close()

    return serve


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into_context(context, certificate("gz", "gz1"))
    return context
