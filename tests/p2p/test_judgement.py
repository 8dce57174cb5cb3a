"""Certificates judged at the door and again inside; what each end learns of a refusal; clocks that differ."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate
from dawan_node.crypto.trust import Trust
from dawan_node.p2p.failure import Attempt, explain_attempt
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.handshake import HandshakeRefused
from dawan_node.p2p.judgement import claimed_node, judge_newcomer, judge_resident
from dawan_node.p2p.meeting import LocalIdentity
from dawan_node.p2p.network import CLOCK_SKEW_MS_MAX, JUDGE_AGAIN_S, Network
from dawan_node.p2p.peers import PeerAddress
from tests.crypto import certificate_recipes
from tests.p2p.loopback import (
    ORGS,
    QUICK,
    TRADE,
    Loopback,
    TurnedClock,
    address,
    authority,
    certificate,
    entry,
    identity,
    key_of,
    trust,
    until,
    views,
)

YEARS = timedelta(days=800)  # past every node certificate, before the end of every authority


@dataclass
class Changing:
    """Trust whose answers a test changes behind the network's back, and that counts how often it is asked."""

    now: Trust = field(default_factory=trust)
    asked: int = 0

    @property
    def roots(self) -> Mapping[str, Sequence[bytes]]:
        return self.now.roots

    def judge(self, leaf_der: bytes, now: datetime) -> NodeCertificate:
        self.asked += 1
        return self.now.judge(leaf_der, now)


def test_a_revocation_is_acted_on_well_within_a_minute() -> None:
    assert JUDGE_AGAIN_S <= 30


def test_a_revocation_cuts_the_link_and_the_peer_is_told_which_certificate_and_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw, hk, _ = await net.pair()
            gz.update([entry("hk1")], trust(revoked=[certificate("hk", "hk1")]))
            await until(lambda: gz_saw.down == ["hk1"])
            await until(lambda: "certificate refused" in views(hk)["gz1"].last_failure)
            assert "certificate 'CN=hk1' (serial" in views(hk)["gz1"].last_failure
            assert "was revoked by" in views(hk)["gz1"].last_failure
            assert gz_saw.up == ["hk1"]
            new = issue_node_certificate(authority("hk"), "hk", "hk1", [], datetime.now(UTC))
            hk.renew(new)
            await until(lambda: gz_saw.up == ["hk1", "hk1"], "a new certificate mends it")

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    [cut, *_] = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "link_refused"]
    assert (cut["peer"], cut["refusal"]) == ("hk1", "certificate")


CUTS = {
    "revoked": (trust(revoked=[certificate("hk", "hk1")]), "was revoked by"),
    "its organisation is gone": (trust("gz", "mo", "hq"), "no organisation of this network has registered"),
    "its root is replaced": (
        Trust({**trust().roots, "hk": [make_authority("hk", datetime.now(UTC)).certificate]}),
        "no organisation of this network has registered, or not with that key",
    ),
}


@pytest.mark.parametrize("side", ["the listener", "the dialler"])
@pytest.mark.parametrize(("after", "says"), CUTS.values(), ids=CUTS.keys())
def test_a_certificate_that_stops_counting_is_found_out_without_an_update(after: Trust, says: str, side: str) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            changing = Changing()
            often = replace(QUICK, judge_again_s=0.02)
            if side == "the listener":
                judge, _ = await net.start("gz1", [entry("hk1")], trusted=changing, settings=often)
                judged, _ = await net.start("hk1", [entry("gz1", address(judge))])
            else:
                judged, _ = await net.start("hk1", [entry("gz1")])
                judge, _ = await net.start("gz1", [entry("hk1", address(judged))], trusted=changing, settings=often)
            await until(lambda: judge.connected(TRADE) and judged.connected(TRADE))
            changing.now = after
            await until(lambda: says in views(judged)["gz1"].last_failure)
            assert "certificate 'CN=hk1' (serial" in views(judged)["gz1"].last_failure
            assert judge.connected(TRADE) == ()

    asyncio.run(scenario())


def test_an_expiry_costs_no_link_but_lets_no_new_one_in() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            clock, changing = TurnedClock(), Changing()
            settings = replace(QUICK, judge_again_s=0.01)
            gz, gz_saw = await net.start("gz1", [entry("hk1")], trusted=changing, settings=settings, clock=clock)
            hk, _ = await net.start("hk1", [entry("gz1", address(gz))])
            await until(lambda: gz_saw.up)
            for ahead in (YEARS, -YEARS, YEARS):
                clock.ahead = ahead
                asked = changing.asked
                await until(lambda: changing.asked > asked + 20)  # noqa: B023  # awaited in the round
            assert hk.send("gz1", TRADE, Topic.CONSENSUS, b"vote")
            await until(lambda: gz_saw.payloads() == [b"vote"])
            assert gz_saw.down == []

            hk.cut(["gz1"])
            await until(lambda: gz_saw.down == ["hk1"])
            hk.heal()
            await until(lambda: "run `dawan-node cert renew` on hk1 of hk" in views(hk)["gz1"].last_failure)
            assert gz_saw.up == ["hk1"]

    asyncio.run(scenario())


def test_an_expired_certificate_that_is_revoked_is_cut_off_all_the_same() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            clock, changing = TurnedClock(), Changing()
            settings = replace(QUICK, judge_again_s=0.01)
            gz, gz_saw = await net.start("gz1", [entry("hk1")], trusted=changing, settings=settings, clock=clock)
            await net.start("hk1", [entry("gz1", address(gz))])
            await until(lambda: gz_saw.up)
            clock.ahead = YEARS
            asked = changing.asked
            await until(lambda: changing.asked > asked + 10)
            assert gz_saw.down == []
            changing.now = trust(revoked=[certificate("hk", "hk1")])
            await until(lambda: gz_saw.down == ["hk1"])

    asyncio.run(scenario())


def test_a_certificate_that_changes_hands_is_refused() -> None:
    leaf, now = certificate("hk", "hk1").certificate, datetime.now(UTC)
    known = trust().judge(leaf, now)
    wall_ms = round(now.timestamp() * 1_000)
    assert judge_resident(trust(), known, leaf, wall_ms, wall_ms)
    moved = Trust({**trust("gz").roots, "hk": trust("gz").roots["gz"], "gz": trust("hk").roots["hk"]})
    with pytest.raises(HandshakeRefused):
        judge_resident(moved, known, leaf, wall_ms, wall_ms)
    with pytest.raises(HandshakeRefused, match=r"now counts as one of 'hk1' of 'hk'"):
        judge_resident(trust(), replace(known, org="gz"), leaf, wall_ms, wall_ms)


ROOT = certificate_recipes.root()
LEAF_KEY = certificate_recipes.leaf(ROOT).key


@pytest.mark.parametrize("leaf", [b"", b"junk", authority("hk").certificate])
def test_the_name_in_a_certificate_that_has_none_is_not_made_up(leaf: bytes) -> None:
    assert claimed_node(leaf) == "that node"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # a serial below 1
@given(st.data())
def test_a_damaged_certificate_is_described_or_called_unreadable_and_never_raises(data: st.DataObject) -> None:
    damaged = bytearray(certificate("hk", "hk1").certificate)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert claimed_node(bytes(damaged))
    attempt = Attempt("a peer", bytes(damaged), {f"org-{number}": [bytes(damaged)] for number in range(9)})
    refused = ssl.SSLCertVerificationError(1, "no")
    refused.verify_code, refused.verify_message = 20, "unable to get local issuer certificate"
    assert "or one of 1 organisations more. Fix: " in explain_attempt(refused, attempt)
    alert = ssl.SSLError(1, "no")
    alert.reason = "TLSV1_ALERT_UNKNOWN_CA"
    assert "a peer refused this node's TLS certificate" in explain_attempt(alert, attempt)


@given(st.data())
def test_whatever_an_authority_signs_is_accepted_or_refused_with_a_reason(data: st.DataObject) -> None:
    # A member's own CA may sign any bytes, and they come this far when OpenSSL does not mind them.
    def damage(tbs: bytes) -> bytes:
        changed = bytearray(tbs)
        for _ in range(data.draw(st.integers(1, 3))):
            changed[data.draw(st.integers(4, len(changed) - 1))] = data.draw(st.integers(0, 255))
        return bytes(changed)

    leaf = certificate_recipes.leaf(ROOT, key=LEAF_KEY, patch=damage).der()
    with contextlib.suppress(HandshakeRefused):
        judge_newcomer(Trust({"gz": [ROOT.der()]}), leaf, round(certificate_recipes.NOW.timestamp() * 1_000))


def test_a_name_of_a_kind_the_library_refuses_is_malformed() -> None:
    # The common name's tag says BIT STRING, which only one rare attribute may have.
    named = certificate_recipes.tlv(0x0C, b"gz1")
    patch = certificate_recipes.replaced(named, certificate_recipes.tlv(0x03, b"gz1"))
    leaf = certificate_recipes.leaf(ROOT, patch=patch).der()
    with pytest.raises(HandshakeRefused, match="not a readable certificate"):
        judge_newcomer(Trust({"gz": [ROOT.der()]}), leaf, round(certificate_recipes.NOW.timestamp() * 1_000))


def test_a_certificate_of_a_version_that_does_not_exist_gets_the_refusal_it_deserves() -> None:
    now = certificate_recipes.NOW
    fourth = certificate_recipes.replaced(bytes.fromhex("a003020102"), bytes.fromhex("a003020103"))
    leaf = certificate_recipes.leaf(ROOT, patch=fourth).der()
    with pytest.raises(HandshakeRefused, match="issue that node a new certificate"):
        judge_newcomer(Trust({"gz": [ROOT.der()]}), leaf, round(now.timestamp() * 1_000))


# What the dialler learns

DAYS_AGO = datetime.now(UTC) - timedelta(days=30)
OWN_ROOT = make_authority("hk", datetime.now(UTC))


def of_hk(tls: CertifiedKey) -> LocalIdentity:
    return identity("hk1", tls=tls)


TOLD: dict[str, tuple[LocalIdentity, list[PeerAddress], Trust, str]] = {
    "expired": (
        of_hk(issue_node_certificate(authority("hk"), "hk", "hk1", [], DAYS_AGO, days=1)),
        [entry("hk1")],
        trust(),
        "run `dawan-node cert renew` on hk1 of hk",
    ),
    "not yet valid": (
        of_hk(issue_node_certificate(authority("hk"), "hk", "hk1", [], datetime.now(UTC) + timedelta(days=1))),
        [entry("hk1")],
        trust(),
        "compare the clocks of this node and of hk1 of hk",
    ),
    "unknown root": (
        of_hk(issue_node_certificate(OWN_ROOT, "hk", "hk1", [], datetime.now(UTC))),
        [entry("hk1")],
        trust(),
        'issued by "hk root CA": no CA certificate its network lists has issued it',
    ),
    "revoked": (identity("hk1"), [entry("hk1")], trust(revoked=[certificate("hk", "hk1")]), "was revoked by"),
    "another organisation's name": (
        of_hk(issue_node_certificate(authority("hk"), "mo", "hk1", [], datetime.now(UTC))),
        [entry("hk1")],
        trust(),
        "must have exactly one name of the form <node>.hk.dawan",
    ),
    "another organisation's certificate": (
        of_hk(certificate("mo", "hk1")),
        [entry("hk1")],
        trust(),
        "issued under the root of 'mo'",
    ),
    "another node's name": (
        of_hk(certificate("hk", "hk2")),
        [entry("hk1")],
        trust(),
        "the TLS certificate names 'hk2'",
    ),
    "another key": (identity("hk1", key=key_of("x")), [entry("hk1")], trust(), "changes by vote"),
    "not listed": (identity("hk1"), [], trust(), "is not in this node's consortium.toml"),
    "another network": (identity("hk1", network="other"), [entry("hk1")], trust(), "hello field network is"),
}


@pytest.mark.parametrize(("who", "listed", "trusted", "says"), TOLD.values(), ids=TOLD.keys())
def test_a_dialler_learns_why_it_was_refused(
    who: LocalIdentity, listed: list[PeerAddress], trusted: Trust, says: str
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", listed, trusted=trusted)
            # What it is told must not hang on who is quicker: with the first dial, every time.
            for number in range(5):
                theirs = Trust({**trust().roots, "hk": [*trust().roots["hk"], OWN_ROOT.certificate]})
                hk, _ = await net.start(who, [entry("gz1", address(gz))], trusted=theirs)
                await until(lambda: views(hk)["gz1"].last_failure)  # noqa: B023  # awaited in the round
                assert says in views(hk)["gz1"].last_failure, number
                await hk.stop()
            assert gz_saw.up == []

    asyncio.run(scenario())


# Clocks


@pytest.mark.parametrize("ahead_ms", [3_000, -3_000, 100])
def test_each_end_knows_how_far_the_other_clock_is_and_warns_when_blocks_would_be_untimely(
    ahead_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            clock = TurnedClock(timedelta(milliseconds=ahead_ms))
            hk, hk_saw = await net.start("hk1", [entry("gz1", address(gz))], clock=clock)
            await until(lambda: gz_saw.up and hk_saw.up)
            assert near(gz, "hk1", ahead_ms)
            assert near(hk, "gz1", -ahead_ms)

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())
    warned = {each.__dict__["fields"]["peer"] for each in caplog.records if each.getMessage() == "clock_skew"}
    assert warned == ({"gz1", "hk1"} if abs(ahead_ms) > CLOCK_SKEW_MS_MAX else set())


def near(network: Network, name: str, skew_ms: int) -> bool:
    measured = views(network)[name].clock_skew_ms
    uncertain_ms = network._links[name].met.round_trip_ms // 2 + 100  # both ends share a loop: one waits for the other
    return measured is not None and abs(measured - skew_ms) <= uncertain_ms


def test_a_peer_without_a_link_has_no_clock() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry(name) for name in ORGS])
            assert {view.clock_skew_ms for view in gz.peers()} == {None}

    asyncio.run(scenario())
