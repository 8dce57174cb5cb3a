"""Catch-up over a simulated network: one validator and any number of observers lie, links are slow and break.

Whatever they do, every block applied is the true one, in order, and the node arrives.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial

import msgspec
import pytest

from dawan_node.errors import InvalidMessage
from dawan_node.sync import (
    BodiesReply,
    BusyReply,
    CatchUp,
    HeadMessage,
    LightBlock,
    LightReply,
    LightRequest,
    SyncLimits,
    SyncReply,
    SyncRequest,
    decode_sync_message,
)
from tests.sync.chain import CHAIN_ID, Chain, keys_of

replace = msgspec.structs.replace
Answer = Callable[[SyncRequest, random.Random], SyncReply | None]


@pytest.fixture(scope="module")
def chain() -> Chain:
    """150 blocks over three epochs, some of them too large for many to travel at once."""
    chain = Chain(keys_of(4)).grow(30).grow(10, size=400_000).grow(30, new_keys=keys_of(7, b"second"))
    return chain.grow(2, new_keys=keys_of(4, b"third")).grow(78)


@pytest.fixture(scope="module")
def branch(chain: Chain) -> Chain:
    """What a liar who holds no quorum can make: another history, certified by keys of its own."""
    branch = Chain(keys_of(4), chain.blocks[:20], chain.anchors[:21])
    branch.keys = keys_of(4, b"attacker")
    return branch.grow(3, new_keys=keys_of(4, b"attacker")).grow(127)


def honest(chain: Chain) -> Answer:
    return lambda request, _: chain.answer(request)


def lies(chain: Chain, branch: Chain) -> list[Answer]:
    def garble(change: Callable[[LightBlock, random.Random], LightBlock]) -> Answer:
        """Lies in headers, where true bodies do not help."""

        def answer(request: SyncRequest, dice: random.Random) -> SyncReply:
            reply = chain.answer(request)
            if isinstance(reply, LightReply):
                blocks = list(reply.blocks)
                position = dice.randrange(len(blocks))
                blocks[position] = change(blocks[position], dice)
                return LightReply(request.id, tuple(blocks), ())
            return reply

        return answer

    def garble_bodies(change: Callable[[tuple[tuple[bytes, ...], ...]], tuple[tuple[bytes, ...], ...]]) -> Answer:
        """True headers, false bodies."""

        def answer(request: SyncRequest, dice: random.Random) -> SyncReply:
            reply = chain.answer(request)
            return BodiesReply(request.id, change(reply.bodies)) if isinstance(reply, BodiesReply) else reply

        return answer

    def nothing(request: SyncRequest, dice: random.Random) -> SyncReply:
        return LightReply(request.id, (), ()) if isinstance(request, LightRequest) else BodiesReply(request.id, ())

    def shifted(request: SyncRequest, dice: random.Random) -> SyncReply:
        blocks = chain.range(request.first + 1, request.last + 1)
        if isinstance(request, LightRequest):
            return LightReply(request.id, tuple(block.light for block in blocks), ())
        return BodiesReply(request.id, tuple(block.envelopes for block in blocks))

    return [
        lambda request, dice: None,
        nothing,
        lambda request, dice: BusyReply(request.id, 2**40),
        lambda request, dice: replace(chain.answer(request), id=request.id + 1),
        shifted,
        lambda request, dice: chain.answer(request, count=1),
        honest(branch),
        garble_bodies(lambda bodies: tuple(body[::-1] for body in bodies)),
        garble_bodies(lambda bodies: (*bodies[:-1], (b"",))),
        garble_bodies(lambda bodies: (*bodies, *bodies)[:64]),
        garble(lambda block, dice: replace(block, certificate=dice.randbytes(90))),
        garble(lambda block, dice: replace(block, result=replace(block.result, state_root=bytes(32)))),
        garble(lambda block, dice: replace(block, header=replace(block.header, barrier=not block.header.barrier))),
        garble(lambda block, dice: replace(block, header=replace(block.header, epoch=dice.randrange(4)))),
    ]


# 136 and 10 once stalled: the only peers left to ask were slower than those that had been asked already.
@pytest.mark.parametrize("seed", [*range(60), 136])
def test_a_node_arrives_whatever_the_liars_send(seed: int, chain: Chain, branch: Chain) -> None:
    dice = random.Random(seed)
    all_lies = lies(chain, branch)
    peers: dict[str, Answer] = {f"v{number}": honest(chain) for number in range(3)}
    peers["v3"] = dice.choice(all_lies)
    for number in range(dice.randrange(4)):
        peers[f"o{number}"] = dice.choice([*all_lies, honest(chain)])
    boasts = dice.random() < 0.5
    delay = {peer: dice.choice([5, 50, 500, 5_000]) for peer in peers}

    node = CatchUp(CHAIN_ID, chain.anchors[0], dice.choice([SyncLimits(), SyncLimits(behind_blocks=1, behind_ms=0)]))
    now, order, height = 0, itertools.count(), 0
    events: list[tuple[int, int, Callable[[], None]]] = []
    down: set[str] = set()

    def later(milliseconds: int, event: Callable[[], None]) -> None:
        heapq.heappush(events, (now + milliseconds, next(order), event))

    def status(peer: str) -> None:
        if peer not in down:
            head = chain.head()
            if peers[peer] in all_lies and boasts:
                head = replace(branch.head(), height=10_000) if dice.random() < 0.5 else branch.head()
            assert isinstance(head, HeadMessage)
            node.head(peer, head, peer.startswith("v"), now)
        later(1_000, partial(status, peer))

    def reconnect(peer: str) -> None:
        node.peer_gone(peer, now)
        down.discard(peer)

    def arrive(peer: str, data: bytes) -> None:
        try:
            reply = decode_sync_message(data)
        except InvalidMessage:
            return
        assert isinstance(reply, LightReply | BodiesReply | BusyReply)
        node.arrived(peer, reply, now)

    def act() -> None:
        nonlocal height
        node.tick(now)
        while ready := node.ready():
            for blame in ready.blames:
                assert not (blame.proven and peers[blame.peer] not in all_lies), f"an honest peer is blamed: {blame}"
                if blame.proven:
                    down.add(blame.peer)
                    later(30_000, partial(reconnect, blame.peer))
            for peer, request in ready.requests:
                wire = request.encode()
                reply = peers[peer](decode_sync_message(wire), dice)  # type: ignore[arg-type]
                if reply is not None and dice.random() > 0.05:
                    later(delay[peer] + len(reply.encode()) // 1_000, partial(arrive, peer, reply.encode()))
            for block in ready.blocks:
                height += 1
                assert block.header == chain.blocks[height - 1].header
                assert block.envelopes == chain.blocks[height - 1].envelopes
                assert block.result == chain.blocks[height - 1].result
                node.applied(chain.anchors[height], now)

    for peer in peers:
        later(dice.randrange(1_000), partial(status, peer))
    while height < chain.height:
        deadline = node.next_deadline()
        at = min(events[0][0], deadline) if deadline is not None else events[0][0]
        assert at < 600_000, f"stuck at {height} of {chain.height}"
        now = max(now, at)
        if events[0][0] <= now:
            heapq.heappop(events)[2]()
        act()
