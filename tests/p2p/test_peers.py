"""The peer book: who is dialled when, and who is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.errors import ConfigError
from dawan_node.p2p.peers import (
    BACKOFF_FIRST_MS,
    BACKOFF_MAX_MS,
    SECOND_DIALLER_WAITS_MS,
    STABLE_MS,
    STRIKE_FIRST_MS,
    STRIKE_FORGIVEN_MS,
    STRIKE_MAX_MS,
    PeerAddress,
    PeerBook,
    PeerState,
    backoff_ms,
    parse_address,
)
from tests.p2p.loopback import entry, key_of


def book(local: str = "gz1", *peers: PeerAddress) -> PeerBook:
    return PeerBook(local, peers or [entry("gz1"), entry("hk1", "h:1"), entry("mo1")], now_ms=0)


def test_the_smaller_name_dials_at_once_and_the_larger_a_moment_later() -> None:
    assert book("gz1", entry("hk1", "h:1")).dial_wait_ms("hk1", 0) == 0
    assert book("hk1", entry("gz1", "h:1")).dial_wait_ms("gz1", 0) == SECOND_DIALLER_WAITS_MS


def test_its_own_entry_is_no_peer() -> None:
    assert book("gz1").names == ("hk1", "mo1")
    assert book("gz1").find("gz1") is None


def test_a_peer_without_address_is_expected_to_dial() -> None:
    peers = book()
    assert peers.dial_wait_ms("mo1", 0) is None
    assert peers.state("mo1", 0) is PeerState.EXPECTED


def test_exactly_one_side_of_a_pair_is_its_arbiter() -> None:
    assert book("gz1").is_arbiter("hk1")
    assert not book("hk1").is_arbiter("gz1")


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 10_000))
def test_back_off_doubles_with_a_jitter_that_repeats(local: str, peer: str, attempt: int) -> None:
    step = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** min(attempt, 20))
    delay = backoff_ms(local, peer, attempt)
    assert step * 3 // 4 <= delay <= step
    assert delay == backoff_ms(local, peer, attempt)


def test_nodes_do_not_dial_a_returning_peer_in_step() -> None:
    assert len({backoff_ms(f"n{index}", "gz1", 9) for index in range(20)}) > 15


def test_failed_dials_wait_longer_each_time_and_try_every_address() -> None:
    peers = book("gz1", entry("hk1", "a:1", "b:2"))
    now, waits, tried = 0, [], []
    for _ in range(9):
        tried.append(peers.begin_dial("hk1"))
        assert peers.state("hk1", now) is PeerState.DIALLING
        assert peers.dial_wait_ms("hk1", now) is None
        peers.dial_failed("hk1", now, "refused")
        wait = peers.dial_wait_ms("hk1", now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert peers.dial_wait_ms("hk1", now) == 0
    assert waits[:6] == sorted(waits[:6])
    assert waits[0] <= BACKOFF_FIRST_MS
    assert BACKOFF_MAX_MS * 3 // 4 <= waits[-1] <= BACKOFF_MAX_MS
    assert tried[:4] == ["a:1", "b:2", "a:1", "b:2"]
    assert peers.last_failure("hk1") == "refused"


def test_a_link_that_held_resets_the_back_off_and_one_that_did_not_does_not() -> None:
    peers = book()
    for _ in range(8):
        peers.begin_dial("hk1")
        peers.dial_failed("hk1", 0, "no answer")
    peers.begin_dial("hk1")
    peers.connected("hk1", 0)
    assert peers.dial_wait_ms("hk1", 0) is None
    assert peers.last_failure("hk1") == ""
    peers.disconnected("hk1", STABLE_MS - 1, "closed")
    short_lived = peers.dial_wait_ms("hk1", STABLE_MS - 1)
    peers.connected("hk1", 100_000)
    peers.disconnected("hk1", 100_000 + STABLE_MS, "closed")
    held = peers.dial_wait_ms("hk1", 100_000 + STABLE_MS)
    assert short_lived is not None and held is not None
    assert short_lived > BACKOFF_MAX_MS // 2
    assert held <= BACKOFF_FIRST_MS


def test_a_dial_that_lost_against_the_peers_own_changes_nothing() -> None:
    peers = book()
    peers.begin_dial("hk1")
    peers.connected("hk1", 5)  # inbound
    peers.dial_failed("hk1", 6, "connected already")
    assert peers.state("hk1", 6) is PeerState.CONNECTED
    assert peers.last_failure("hk1") == ""


def test_strikes_shun_longer_each_time_up_to_a_limit_and_are_forgiven() -> None:
    peers = book()
    shunned = [peers.strike("hk1", 0, "garbage") for _ in range(10)]
    assert shunned[:3] == [STRIKE_FIRST_MS, 2 * STRIKE_FIRST_MS, 4 * STRIKE_FIRST_MS]
    assert shunned[-1] == STRIKE_MAX_MS
    assert peers.state("hk1", STRIKE_MAX_MS - 1) is PeerState.SHUNNED
    assert peers.dial_wait_ms("hk1", 0) == STRIKE_MAX_MS
    assert peers.state("hk1", STRIKE_MAX_MS) is PeerState.WAITING
    assert peers.strike("hk1", 20 * STRIKE_FORGIVEN_MS, "again") == STRIKE_FIRST_MS


def test_whoever_forges_is_left_alone_for_the_longest_time_at_once() -> None:
    peers = book()
    assert peers.strike("hk1", 0, "a forged block", is_forgery=True) == STRIKE_MAX_MS
    assert peers.state("hk1", STRIKE_MAX_MS - 1) is PeerState.SHUNNED


def test_a_cut_peer_is_not_dialled_until_healed() -> None:
    peers = book("gz1", entry("hk1", "h:1"), entry("mo1", "m:1"))
    peers.cut(["hk1", "mo1", "nobody"])
    assert peers.dial_wait_ms("hk1", 10) is None
    assert peers.state("hk1", 10) is PeerState.CUT
    peers.heal(["hk1"], 10)
    assert peers.dial_wait_ms("hk1", 10) == 0
    assert peers.state("mo1", 10) is PeerState.CUT
    peers.heal(None, 10)
    assert peers.dial_wait_ms("mo1", 10) == 0


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("10.1.2.3:7100", ("10.1.2.3", 7100)),
        ("[::1]:0", ("::1", 0)),
        ("node.hk.example:65535", ("node.hk.example", 65535)),
    ],
)
def test_addresses_are_read(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "h:65536", "h:-1", "h:1x", "::1:5", "[]:1", "h:²"])
def test_an_address_that_cannot_be_one_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"10\.1\.2\.3:7100"):
        parse_address(text)


def test_a_peer_with_an_impossible_name_or_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="lower case"):
        PeerAddress("HK1", "hk", key_of("hk1").public_key)
    with pytest.raises(ConfigError, match="public_key"):
        PeerAddress("hk1", "hk", bytes(32))
    with pytest.raises(ConfigError, match="host:port"):
        entry("hk1", "nonsense")


def at(name: str) -> PeerAddress:
    return entry(name, "h:1", org="gz")


def test_an_update_keeps_what_is_known_of_those_who_stay_and_forgets_those_who_are_another_party() -> None:
    peers = PeerBook("hk1", [at("gz1"), at("mo1"), at("hq1")], 0)
    for name in ("gz1", "mo1"):
        peers.strike(name, 0, "lied")
    peers.connected("hq1", 0)
    other = replace(at("gz1"), public_key=at("mo1").public_key)
    assert set(peers.update([other, at("mo1"), at("hq1"), at("hk1"), at("zz1")], 1)) == {"gz1", "zz1"}
    assert peers.names == ("gz1", "hq1", "mo1", "zz1")
    assert peers.find("gz1") == other.id
    assert peers.state("gz1", 1) is PeerState.WAITING, "the new party did nothing"
    assert peers.state("mo1", 1) is PeerState.SHUNNED
    assert peers.state("hq1", 1) is PeerState.CONNECTED
    assert peers.update([], 2) == ()
    assert peers.names == ()


def test_another_address_is_dialled_at_once_by_whoever_waits_and_kept_for_later_by_whoever_is_connected() -> None:
    peers = PeerBook("gz1", [at("hk1"), at("mo1")], 0)
    for _ in range(20):
        peers.begin_dial("hk1")
        peers.dial_failed("hk1", 0, "nobody there")
    assert peers.dial_wait_ms("hk1", 0) != 0
    peers.connected("mo1", 0)
    moved = [replace(at(name), addresses=("10.9.9.9:1",)) for name in ("hk1", "mo1")]
    assert peers.update(moved, 5) == ("hk1",)
    assert peers.dial_wait_ms("hk1", 5) == 0
    assert peers.begin_dial("hk1") == "10.9.9.9:1"
    assert peers.dial_wait_ms("mo1", 5) is None
    peers.disconnected("mo1", 10, "gone")
    assert peers.begin_dial("mo1") == "10.9.9.9:1"
