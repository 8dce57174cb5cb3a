"""Sixteen nodes on loopback sockets, more than link to everybody: whom they link to, and how blocks get round."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

from dawan_node.node.clock import SystemClock
from dawan_node.p2p.block_spread import BlockSpread, Word
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import Block, BlockMessage, Graft, Have, Prune, Want, decode_gossip
from dawan_node.p2p.link_plan import OBSERVER_LINKS, SMALL_NETWORK_MAX, VALIDATOR_LINKS_MIN
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.p2p.scores import Scores
from dawan_node.p2p.transport import Direction, LinkSettings
from tests.p2p import loopback
from tests.p2p.loopback import ORGS, QUICK, TRADE, entry, free_ports, identity, trust, until, views

VALIDATORS = dict(ORGS)
OBSERVERS = {f"obs{number:02}": f"c{number:02}" for number in range(12)}
EVERYBODY = {**VALIDATORS, **OBSERVERS}
#: Four validators: f + 1 are two.
DIALLED = VALIDATOR_LINKS_MIN + OBSERVER_LINKS
BLOCKS = 20
#: All sixteen share one core with whatever else the machine does; 54 handshakes take a second on an idle one.
DEADLINE_S = 120.0
SETTINGS = replace(QUICK, links=LinkSettings(handshake_s=60.0, frame_s=60.0, ping_s=60.0))
#: Four validators may have eight children each: an observer is a child of one, or of one that is. At first it may be
#: further away, where it heard of the first block from another observer before it heard from a validator; then it looks
#: for a nearer parent after eight blocks.
HOPS_MAX = 3


class Relay:
    """A node that does nothing but spread blocks."""

    network: Network

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock = SystemClock()
        self.tree = BlockSpread(0, name in OBSERVERS, Scores(0), lambda peer: self.network.round_trip_ms(peer))
        self.hops: dict[int, int] = {}
        self.blocks_in = 0

    def on_peer_up(self, peer: PeerId, chain_ids: frozenset[bytes]) -> None:
        self.tree.peer_up(peer.name, peer.role is Role.VALIDATOR, self.clock.monotonic_ms())

    def on_peer_down(self, peer: PeerId) -> None:
        self.tree.peer_down(peer.name)

    def on_message(self, peer: PeerId, chain_id: bytes, topic: Topic, payload: bytes) -> None:
        now_ms = self.clock.monotonic_ms()
        match decode_gossip(payload):
            case Block(height=height, block=block):
                self.blocks_in += 1
                if self.tree.on_block(peer.name, height, now_ms):
                    self.hops[height] = int.from_bytes(block) + 1
                    self.tree.accepted(peer.name, height, now_ms)
            case Have(height=height):
                self.tree.on_have(peer.name, height, now_ms)
            case Graft(height=height):
                self.tree.on_graft(peer.name, height, now_ms)
            case Want(height=height):
                self.tree.on_want(peer.name, height, now_ms)
            case Prune():
                self.tree.on_prune(peer.name, now_ms)
        self.carry_out()

    def commit(self, height: int) -> None:
        self.hops[height] = 0
        self.tree.committed(height)
        self.carry_out()

    def tick(self) -> None:
        self.tree.tick(self.clock.monotonic_ms())
        self.carry_out()

    def carry_out(self) -> None:
        for order in self.tree.take():
            message: BlockMessage
            match order.word:
                case Word.BLOCK:
                    message = Block(order.height, self.hops[order.height].to_bytes(1))
                case Word.HAVE:
                    message = Have(order.height)
                case Word.GRAFT:
                    message = Graft(order.height)
                case Word.WANT:
                    message = Want(order.height)
                case Word.PRUNE:
                    message = Prune()
            self.network.send(order.peer, TRADE, Topic.GOSSIP, message.encode())


@contextmanager
def consortium() -> Iterator[None]:
    """Sixteen organisations instead of four."""
    loopback.ORGS.update(OBSERVERS)
    try:
        yield
    finally:
        for name in OBSERVERS:
            del loopback.ORGS[name]


async def started(stack: AsyncExitStack) -> dict[str, Relay]:
    ports = {name: f"127.0.0.1:{port}" for name, port in zip(EVERYBODY, free_ports(len(EVERYBODY)), strict=True)}
    roles = {name: Role.OBSERVER if name in OBSERVERS else Role.VALIDATOR for name in EVERYBODY}
    peers = [entry(name, ports[name], role=roles[name]) for name in EVERYBODY]
    trusted = trust()
    relays = {}
    for name in EVERYBODY:
        relay = relays[name] = Relay(name)
        who = identity(name, role=roles[name])
        relay.network = Network(
            who, peers, trusted, lambda certificate: (TRADE,), ports[name], relay, SystemClock(), SETTINGS
        )
        await relay.network.start()
        stack.push_async_callback(relay.network.stop)
    return relays


def chosen(relay: Relay) -> set[str]:
    """Whom this node has dialled and is linked to."""
    return {view.name for view in views(relay.network).values() if view.direction is Direction.OUT}


def linked(relay: Relay) -> set[str]:
    return {view.name for view in views(relay.network).values() if view.direction is not None}


def is_settled(relay: Relay) -> bool:
    """An observer has links to f + 1 validators and two observers, those it dialled to as many organisations, and no
    validator dials an observer."""
    dialled = chosen(relay)
    if relay.name in VALIDATORS:
        return linked(relay) >= VALIDATORS.keys() - {relay.name} and not dialled & OBSERVERS.keys()
    validators = linked(relay) & VALIDATORS.keys()
    orgs = {EVERYBODY[name] for name in dialled} - {EVERYBODY[relay.name]}
    return len(validators) == VALIDATOR_LINKS_MIN and len(linked(relay)) >= DIALLED and len(orgs) == len(dialled)


def test_above_a_dozen_nodes_observers_link_to_few_of_different_organisations_and_blocks_reach_all_of_them() -> None:
    async def scenario() -> None:
        assert len(EVERYBODY) > SMALL_NETWORK_MAX
        async with AsyncExitStack() as stack:
            relays = await started(stack)
            observers = [relays[name] for name in OBSERVERS]
            await until(lambda: all(is_settled(relay) for relay in relays.values()), "all links are up", DEADLINE_S)
            links = sum(len(linked(relay)) for relay in relays.values()) // 2
            validator_links = len(VALIDATORS) * (len(VALIDATORS) - 1) // 2
            assert links <= validator_links + DIALLED * len(OBSERVERS) < len(EVERYBODY) * (len(EVERYBODY) - 1) // 2

            for height in range(1, BLOCKS + 1):
                for name in VALIDATORS:
                    relays[name].commit(height)

                def has_all(height: int = height) -> bool:
                    for relay in observers:
                        relay.tick()
                    return all(relay.tree.height >= height for relay in observers)

                await until(has_all, f"block {height} is everywhere", DEADLINE_S)
            for relay in observers:
                assert relay.hops[BLOCKS] <= HOPS_MAX
            received = sum(relay.blocks_in for relay in observers)
            assert received <= BLOCKS * len(observers) * 3 // 2, "blocks come about once"

    with consortium():
        asyncio.run(scenario())
