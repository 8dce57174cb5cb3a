"""A replica in any situation takes any message: it refuses by type, stays bounded, agrees, and decides afterwards."""

from __future__ import annotations

from dawan_node.consensus import Mode
from dawan_node.consensus.messages import decode_message
from dawan_node.errors import InvalidMessage
from tests.fuzz.drawing import Draw, damaged
from tests.fuzz.replica_bounds import assert_bounded
from tests.fuzz.replica_messages import MessageDrawer
from tests.fuzz.replica_states import SITUATIONS, Situation
from tests.fuzz.witnesses import WitnessedLab

#: Time that passes between two messages: within and beyond the limits of rates, and of the timers.
PAUSES_MS = (0, 0, 0, 1, 200, 500, 1_000, 6_000)
#: After the liar falls silent, views of honest primaries decide; back-off may have to grow first.
RECOVERY_MS = 600_000


def talk(draw: Draw, name: str, *, everybody_lies: bool = False) -> None:
    """Up to a dozen messages to the replica in situation ``name``, then an honest conversation."""
    situation = SITUATIONS[name](WitnessedLab(everybody_lies=everybody_lies))
    for _ in range(draw.integer(1, 12)):
        hand_over(draw, situation)
    situation.answer_what_was_held_back()
    assert_bounded(situation.lab[situation.target].replica)
    if not everybody_lies:
        assert_decides(situation)


def hand_over(draw: Draw, situation: Situation) -> None:
    """One message, perhaps after a while, perhaps damaged on its way."""
    lab, target = situation.lab, situation.target
    bench = lab[target]
    lab.now += draw.choice(PAUSES_MS)
    if draw.integer(0, 1):
        bench.replica.tick(lab.now)
        lab.pump(target)
    drawer = MessageDrawer(draw, situation)
    message = drawer.message()
    data = message.encode()
    if draw.integer(0, 9) == 9:
        data = damaged(draw, data)
    links: tuple[int | None, ...] = (lab.LIAR, None)
    if lab.everybody_lies or any(message == said for said in drawer.said):
        author = getattr(message, "voter", 0)
        links = (author if author < lab.validators.n else None, lab.LIAR, None, 0)
    link = draw.choice(links)
    if link is not None and link >= lab.validators.n:
        link = None  # the liar is no validator of this epoch any more
    try:
        bench.replica.step(data, link, lab.now)
    except InvalidMessage:
        assert not is_message(data), "a message was refused as if it were none"
    lab.pump(target)  # decodes everything the replica says
    assert bench.replica.ready() == type(bench.replica.ready())()
    bench.replica.status()
    assert_bounded(bench.replica)


def is_message(data: bytes) -> bool:
    try:
        decode_message(data)
    except InvalidMessage:
        return False
    return True


def assert_decides(situation: Situation) -> None:
    """With honest messages alone the replica goes on; one that had stopped for good stays stopped."""
    lab, target = situation.lab, situation.target
    stopped = lab[target].replica.status().state
    top = max(bench.replica.height for bench in lab.benches.values())
    if situation.recovers:
        assert stopped not in (Mode.HALTED, Mode.QUARANTINE), stopped
        voters = (0, 1, 2)
        assert lab.converse(RECOVERY_MS, until=lambda: all(lab[index].replica.height > top for index in voters)), [
            lab[index].replica.status() for index in voters
        ]
        if target not in voters:
            for header in lab.tops():
                decision = lab.decision(header)
                assert decision is not None
                lab.deliver(decision, target, link=0)
            assert lab[target].replica.height > top
    else:
        lab.converse(20_000)
        assert lab[target].replica.status().state is stopped or stopped is Mode.QUARANTINE
    decided: dict[int, bytes] = {}
    for bench in lab.benches.values():
        for block in bench.decided:
            assert decided.setdefault(block.header.height, block.block_hash) == block.block_hash, "a fork"
    assert_bounded(lab[target].replica)
