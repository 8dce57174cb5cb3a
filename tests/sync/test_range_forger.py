"""Answers of catch-up that are wrong in one field, each in turn: found before anything is stored, and their sender cut
off."""

from __future__ import annotations

import pytest

from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.sync import BodiesReply, LightReply, SyncReply, SyncRequest, decode_sync_message
from dawan_node.testing.simulator.campaign import silence
from dawan_node.testing.simulator.liars import EVERY_LIAR
from dawan_node.testing.simulator.range_forger import BODY_FORGERIES, LIGHT_FORGERIES, Forgery
from dawan_node.testing.simulator.scene import Scene, run_checked
from tests.sync.chain import Chain, keys_of
from tests.sync.follower import VALIDATORS, Node

CHAIN = Chain(keys_of(4)).grow(5)


class Refused(Exception):
    """It is not even a message."""


def received(reply: SyncReply) -> SyncReply:
    """As it comes from the wire."""
    try:
        message = decode_sync_message(reply.encode())
    except InvalidMessage as error:
        raise Refused from error
    assert isinstance(message, LightReply | BodiesReply)
    return message


def answer_falsely(node: Node, peer: str, forgery: Forgery, turn: int) -> bool:
    """Whether the answer was a message at all."""

    def forged(request: SyncRequest) -> SyncReply:
        honest = CHAIN.answer(request)
        reply = forgery[1](honest, turn)
        assert reply is not None and reply != honest
        return received(reply)

    try:
        node.reply(peer, forged)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("forgery", LIGHT_FORGERIES, ids=[name for name, _ in LIGHT_FORGERIES])
def test_of_a_light_range_that_is_wrong_in_one_field_nothing_is_believed(forgery: Forgery) -> None:
    for turn in (0, 2, CHAIN.height - 1):  # the first block, one in between, the certified one
        node = Node(CHAIN).claim(*VALIDATORS)
        ((liar, _, first, last),) = node.wanted
        assert (first, last) == (1, CHAIN.height)
        if answer_falsely(node, liar, forgery, turn):
            assert node.liars == [liar], turn
            assert node.sync.status().verified == 0 and not node.applied
        else:
            node.sync.peer_gone(liar, node.now)  # the link is closed for what is no message
        node.run().finish()
        assert node.height == CHAIN.height
        assert all(peer != liar for peer, *_ in node.wanted)
        assert [(block.header, block.result) for block in node.applied] == [
            (block.header, block.result) for block in CHAIN.blocks
        ]


@pytest.mark.parametrize("forgery", BODY_FORGERIES, ids=[name for name, _ in BODY_FORGERIES])
def test_a_body_that_is_wrong_anywhere_is_not_stored(forgery: Forgery) -> None:
    for turn in range(CHAIN.height):
        node = Node(CHAIN).claim(*VALIDATORS).headers()
        liar = node.asked[0][0]
        if answer_falsely(node, liar, forgery, turn):
            assert node.liars == [liar], turn
        else:
            node.sync.peer_gone(liar, node.now)
        # What stood below the forgery was true, and may be used.
        assert all(block.envelopes == CHAIN.blocks[block.header.height - 1].envelopes for block in node.applied)
        assert len(node.applied) <= turn
        node.run().finish()
        assert [block.envelopes for block in node.applied] == [block.envelopes for block in CHAIN.blocks]


def test_every_field_has_its_forgery() -> None:
    names = {name for name, _ in LIGHT_FORGERIES}
    for kind, struct in (("header", Header), ("result", Result), ("certificate", CommitCertificate)):
        assert {f"{kind}.{field}" for field in struct.__struct_fields__} <= names


def test_a_forger_of_ranges_among_validators_is_cut_off_and_nobody_stores_what_it_made_up() -> None:
    """In a whole network: the checkers compare what everybody has stored, and nobody honest is accused."""
    forger, behind = 0, 2  # of equals the first is asked first
    with silence():
        scene = Scene(1, 4, liars={forger: EVERY_LIAR["range forger"](0)}, params={"block_txs_max": 1})
        for _ in range(4):
            scene.partition([number for number in range(4) if number != behind])
            goal = scene.nodes[1].height + 12  # more than STATUS mends
            while scene.nodes[1].height < goal:
                scene.submit(2, to=1)
                scene.run(500)
                assert scene.world.now < 120_000
            scene.partition()
            scene.run(8_000)
            assert scene.nodes[behind].height == scene.nodes[1].height
        run_checked(scene)
    counts = scene.world.counts
    forged = sum(count for name, count in counts.items() if name.startswith("range forged: "))
    no_message = counts["range forged: header.version"]  # refused before anybody looks at it as a range
    assert forged >= 3 and counts["liar cut off"] == forged - no_message, counts
