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
from dawan_node.sync import CatchUp, RangeBlock, RangeReply, RangeRequest, SyncLimits, cut_reply, decode_sync_message
from tests.sync.chain import CHAIN_ID, Chain, keys_of

replace = msgspec.structs.replace
Answer = Callable[[RangeRequest, random.Random], RangeReply | None]


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
    return lambda request, _: cut_reply(request, iter(chain.blocks[request.first - 1 :]))


def lies(chain: Chain, branch: Chain) -> list[Answer]:
    def garble(change: Callable[[RangeBlock, random.Random], RangeBlock]) -> Answer:
        def answer(request: RangeRequest, dice: random.Random) -> RangeReply:
            blocks = list(honest(chain)(request, dice).blocks)  # type: ignore[union-attr]
            position = dice.randrange(len(blocks))
            blocks[position] = change(blocks[position], dice)
            return RangeReply(request.id, tuple(blocks))

        return answer

    return [
        lambda request, dice: None,
        lambda request, dice: RangeReply(request.id, ()),
        lambda request, dice: RangeReply(request.id + 1, tuple(chain.range(request.first, request.last))),
        lambda request, dice: RangeReply(request.id, tuple(chain.range(request.first + 1, request.last + 1))),
        lambda request, dice: RangeReply(request.id, tuple(chain.range(request.first, request.first))),
        honest(branch),
        garble(lambda block, dice: replace(block, envelopes=block.envelopes[::-1])),
        garble(lambda block, dice: replace(block, certificate=dice.randbytes(90))),
        garble(lambda block, dice: replace(block, result=replace(block.result, state_root=bytes(32)))),
        garble(lambda block, dice: replace(block, header=replace(block.header, barrier=not block.header.barrier))),
        garble(lambda block, dice: replace(block, header=replace(block.header, epoch=dice.randrange(4)))),
    ]


# 136 once stalled: the only peers left to ask were slower than those that had been asked already.
@pytest.mark.parametrize("seed", [*range(60), 136])
def test_a_node_arrives_whatever_the_liars_send(seed: int, chain: Chain, branch: Chain) -> None:
    dice = random.Random(seed)
    all_lies = lies(chain, branch)
    peers: dict[str, Answer] = {f"v{number}": honest(chain) for number in range(3)}
    peers["v3"] = dice.choice(all_lies)
    for number in range(dice.randrange(4)):
        peers[f"o{number}"] = dice.choice([*all_lies, honest(chain)])
    delay = {peer: dice.choice([5, 50, 500, 5_000]) for peer in peers}

    node = CatchUp(CHAIN_ID, chain.anchors[0], dice.choice([SyncLimits(), SyncLimits(behind_blocks=1, behind_ms=0)]))
    now, order, height = 0, itertools.count(), 0
    events: list[tuple[int, int, Callable[[], None]]] = []
    down: set[str] = set()

    def later(milliseconds: int, event: Callable[[], None]) -> None:
        heapq.heappush(events, (now + milliseconds, next(order), event))

    def status(peer: str) -> None:
        if peer not in down:
            claimed = 10_000 if peers[peer] in all_lies else chain.height
            anchor = chain.anchors[min(claimed, chain.height)]
            node.peer_status(peer, claimed, anchor.block_hash, anchor.epoch, peer.startswith("v"), now)
        later(1_000, partial(status, peer))

    def reconnect(peer: str) -> None:
        node.peer_gone(peer, now)
        down.discard(peer)

    def arrive(peer: str, request_id: int, data: bytes) -> None:
        try:
            reply = decode_sync_message(data)
        except InvalidMessage:
            node.range_failed(peer, request_id, now)
            return
        assert isinstance(reply, RangeReply)
        node.range_arrived(peer, reply, now)

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
                    later(delay[peer] + len(reply.encode()) // 1_000, partial(arrive, peer, request.id, reply.encode()))
            if ready.block:
                height += 1
                assert ready.block.header == chain.blocks[height - 1].header
                assert ready.block.envelopes == chain.blocks[height - 1].envelopes
                assert ready.block.result == chain.blocks[height - 1].result
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
