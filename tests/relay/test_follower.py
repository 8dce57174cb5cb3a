"""A relay that follows: everything that waits is carried, in bounded pieces, and trouble makes it slower, not busy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.relay import carrier as carrying
from dawan_node.relay import follower as following
from dawan_node.relay import target as believing
from dawan_node.relay.follower import Follower
from dawan_node.relay.refusals import Reason, RelayRefused
from dawan_node.rpc.client import RpcError, Unreachable
from dawan_node.rpc.values import to_hex
from tests.modules.channels_kit import HOUR_MS, Channels, rekey
from tests.relay.kit_node import KitNode, KitSending


class Watch:
    """A follower whose rests are counted, and whose clock stands still but for them. ``acts`` run at each rest; with
    the last one it stops."""

    def __init__(
        self,
        two: Channels,
        node: KitNode,
        sending: KitSending,
        way: tuple[str, str] = ("trade", "logistics"),
        **options: Any,
    ) -> None:
        self.rests: list[float] = []
        self.told: list[str] = []
        self.now_s = 0.0
        self.acts: list[Callable[[], None]] = []
        self.ticks = 0
        carrier = node.carrier(*way, sending)
        self.follower = Follower(
            carrier,
            interval_s=2,
            rest=self._rest,
            now_s=lambda: self.now_s,
            wall_ms=lambda: two.now,
            tell=self.told.append,
            **options,
        )

    def run(self, *acts: Callable[[], None]) -> None:
        self.acts = list(acts)
        self.follower.run()

    def _rest(self, seconds: float) -> bool:
        self.rests.append(seconds)
        self.now_s += seconds
        if not self.acts:
            return True
        self.acts.pop(0)()
        return False


@pytest.fixture
def two() -> Channels:
    return Channels()


@pytest.fixture
def node(two: Channels) -> KitNode:
    return KitNode({"logistics": two.logistics, "trade": two.trade})


def nothing() -> None:
    """Time passes."""


def committed(two: Channels, count: int) -> list[str]:
    """Titles that presentations bind."""
    names = []
    for number in range(count):
        title, credit = two.title(f"HKG-{number}"), two.desk.credit()
        names.append(two.reserve(title, credit))
        two.present(credit, proof=two.reservation_proof(names[-1]))
    return names


def test_everything_that_waits_is_carried_page_by_page_in_bounded_calls(
    two: Channels, node: KitNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(believing, "PAGE", 3)
    monkeypatch.setattr(carrying, "BATCH", 2)
    names = committed(two, 7)
    sizes: list[int] = []

    class Counting(KitSending):
        def send(self, errands: Any) -> Any:
            sizes.append(len(errands))
            return super().send(errands)

    Watch(two, node, Counting(two.logistics)).run()
    assert {two.reservation(name).state for name in names} == {"CONFIRMED"}
    assert sum(sizes) == 7 and max(sizes) == 2


def test_a_node_whose_pages_do_not_end_is_named_and_asked_later(two: Channels, node: KitNode) -> None:
    committed(two, 1)
    watch = Watch(two, node, KitSending(two.logistics))

    def endless(channel: str, module: str, query: str, params: Any, **more: Any) -> Any:
        answer = node._module_query(channel, module, query, params, **more)
        return answer | {"cursor": "0x01"} if query == "binding" else answer

    node.lies["module_query"] = endless
    watch.run(nothing)
    assert any("E_BAD_ANSWER" in told for told in watch.told) and len(watch.rests) == 2


def test_without_a_new_block_nothing_is_looked_at_but_the_heads(two: Channels, node: KitNode) -> None:
    committed(two, 1)
    watch = Watch(two, node, KitSending(two.logistics))
    watch.run(nothing, node.asked.clear, nothing, nothing)
    assert set(node.asked) == {"chain_head"} and len(node.asked) == 6
    assert watch.rests == [2.0] * 5


def test_what_comes_later_is_carried_when_it_comes(two: Channels, node: KitNode) -> None:
    names: list[str] = []
    sending = KitSending(two.logistics)
    Watch(two, node, sending).run(lambda: names.extend(committed(two, 1)), nothing)
    assert two.reservation(names[0]).state == "CONFIRMED"
    assert len(sending.sent) == 1


def test_what_the_chain_refuses_is_not_sent_again_before_an_hour_and_then_less_and_less(
    two: Channels, node: KitNode
) -> None:
    (name,) = committed(two, 1)
    sending = KitSending(two.logistics, reason="E_MOVED_ON")
    watch = Watch(two, node, sending)
    ticks = [two.logistics.tick] * 4
    watch.run(*ticks)
    assert len(sending.sent) == 1, "every block is a look, and none a new try"
    watch.now_s += following.RETRY_S
    watch.run(*ticks)
    assert len(sending.sent) == 2
    watch.now_s += following.RETRY_S
    watch.run(*ticks)
    assert len(sending.sent) == 2, "twice as long now"
    watch.now_s += following.RETRY_S
    sending.reason = ""
    watch.run(*ticks)
    assert two.reservation(name).state == "CONFIRMED"


def test_a_new_state_is_carried_at_once_whatever_became_of_the_last_one(two: Channels, node: KitNode) -> None:
    title, credit = two.title(), two.desk.credit()
    name = two.reserve(title, credit)
    presentation = two.present(credit, proof=two.reservation_proof(name))
    sending = KitSending(two.logistics, reason="E_ASSET_FROZEN")
    watch = Watch(two, node, sending)
    watch.run()
    sending.reason = ""
    two.desk.refuse(presentation)
    two.desk.ok("bank-hk", "return_documents", presentation=presentation)
    watch.run()
    assert two.reservation(name).state == "RELEASED"


def test_a_node_that_is_gone_is_asked_ever_more_rarely_and_told_of_once(two: Channels, node: KitNode) -> None:
    committed(two, 1)

    def gone(channel: str) -> Any:
        raise Unreachable("http://127.0.0.1:1: connection refused")

    watch = Watch(two, node, KitSending(two.logistics))
    node.lies["chain_head"] = gone
    watch.run(*[nothing] * 9, node.lies.clear)
    assert watch.rests[:10] == [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0, 60.0, 60.0]
    assert watch.rests[10] == 2.0
    assert [text.partition(";")[0] for text in watch.told] == [
        "http://127.0.0.1:1: connection refused",
        "going on",
    ]


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (RpcError(1201, "catching up", {"reason": "E_BEHIND", "retryable": True}), False),
        (RpcError(-32011, "not yours", {"reason": "E_FORBIDDEN"}), True),
        (RelayRefused(Reason.CLIENT_FROZEN, "frozen", "vote"), False),
        (RelayRefused(Reason.CERTIFICATE_STALE, "behind", "wait"), False),
        (RelayRefused(Reason.OTHER_CHAIN, "another", "name it"), True),
        (RelayRefused(Reason.KEY_NOT_ALLOWED, "revoked", "another"), True),
    ],
)
def test_what_time_cures_is_waited_for_and_what_it_does_not_ends_it(
    two: Channels, node: KitNode, error: Exception, final: bool
) -> None:
    def failing(channel: str) -> Any:
        raise error

    watch = Watch(two, node, KitSending(two.logistics))
    node.lies["chain_head"] = failing
    if final:
        with pytest.raises(type(error)):
            watch.run(nothing)
    else:
        watch.run(nothing)
        assert len(watch.rests) == 2 and len(watch.told) == 1


def test_what_is_not_answered_is_handed_in_again_before_anything_else(two: Channels, node: KitNode) -> None:
    (name,) = committed(two, 1)

    class Silent(KitSending):
        open = 0

        def resume(self) -> int:
            if self.open and not self.silent:
                self.open = 0
                super().send([self.sent.pop()])
            return self.open

        def send(self, errands: Any) -> Any:
            self.open += len(errands)
            return super().send(errands)

    sending = Silent(two.logistics, silent=True)

    def answers() -> None:
        sending.silent = False

    watch = Watch(two, node, sending)
    watch.run(nothing, answers, nothing)
    assert two.reservation(name).state == "CONFIRMED"
    assert len(sending.sent) == 1, "the same again, nothing new"


def test_a_term_that_is_over_asks_an_idle_channel_for_a_block_once_a_minute(two: Channels, node: KitNode) -> None:
    name = two.reserve(two.title(), two.desk.credit(), commit_by_ms=two.now + HOUR_MS)
    asked: list[float] = []
    watch = Watch(two, node, KitSending(two.logistics), tick=lambda: asked.append(watch.now_s))
    watch.run(nothing)
    assert not asked
    two.pass_time(2 * HOUR_MS)
    watch.run(*[nothing] * 40)
    assert 2 <= len(asked) <= 3 and asked[1] - asked[0] >= following.TICK_S
    two.trade.tick()
    watch.run(nothing)
    assert two.reservation(name).state == "RELEASED"


def test_many_waiting_titles_make_it_slower_not_busy(two: Channels, node: KitNode) -> None:
    committed(two, 1)
    watch = Watch(two, node, KitSending(two.logistics))
    asked = node._module_query

    def slow(*params: Any, **more: Any) -> Any:
        watch.now_s += 1.5
        return asked(*params, **more)

    node.lies["module_query"] = slow
    watch.run(nothing)
    assert watch.rests[0] >= following.REST * 3.0


def test_a_proof_that_cannot_be_had_is_told_once_and_holds_up_nobody_else(two: Channels, node: KitNode) -> None:
    first, second = committed(two, 2)
    key = to_hex(two.commitment_key(first))
    asked = node._state_get

    def broken(*params: Any) -> Any:
        return asked(*params) | ({"proof": "0x00"} if len(params) > 5 and params[3] == key else {})

    node.lies["state_get"] = broken
    watch = Watch(two, node, KitSending(two.logistics))
    watch.run(two.logistics.tick, two.logistics.tick)
    assert (two.reservation(first).state, two.reservation(second).state) == ("RESERVED", "CONFIRMED")
    assert len([text for text in watch.told if first in text]) == 1


def test_a_channel_without_titles_is_kept_in_the_others_newest_epoch(two: Channels, node: KitNode) -> None:
    sending = KitSending(two.trade)
    Watch(two, node, sending, ("logistics", "trade")).run(lambda: rekey(two.logistics), nothing)
    assert [each.command for each in sending.sent] == ["advance_client"]
    assert two.client(two.trade, "logistics").epoch == 1
