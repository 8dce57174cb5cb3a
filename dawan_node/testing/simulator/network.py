"""Links between nodes: late, lossy, doubled, out of order, damaged, clogged, cut in one direction or both.

A *cut* link is closed and both ends know. A *deaf* direction loses everything silently, as a half-open connection or a
firewall does. A *clogged* one delivers nothing for a while and then all at once. TLS keeps damage away from a node, so
damaged bytes of catch-up and gossip close the link; damaged consensus messages are delivered all the same, since no
byte may harm a replica.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from dawan_node.errors import InvalidInput
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import PeerId
from dawan_node.testing.simulator.world import Violation

if TYPE_CHECKING:
    from dawan_node.testing.simulator.node import SimulatedNode
    from dawan_node.testing.simulator.scene import Scene

#: How long a link that misbehaved stays closed; ``p2p.peers`` leaves a striker alone for 5 s at first.
CLOSED_MS: Final = 5_000
#: ... and one whose bytes were damaged on the way is dialled again by then.
DAMAGED_MS: Final = 300


@dataclass(slots=True)
class Weather:
    """What every link does to a message: shares in percent, times in milliseconds."""

    delay_ms: tuple[int, int] = (1, 5)
    loss: int = 0
    doubled: int = 0
    damaged: int = 0


class Network:
    """All links of a scene. Nodes are known by number, peers to each other by name (a twin shares its name)."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._world = scene.world
        self.weather = Weather()
        self._cut: set[tuple[int, int]] = set()
        self._closed_until: dict[tuple[int, int], int] = {}
        self._deaf: set[tuple[int, int]] = set()
        self._clogged_until: dict[tuple[int, int], int] = {}
        #: Consensus messages of this kind reach this node (or nobody) only.
        self._muffled: tuple[int, int] | None = None
        self._generation: dict[tuple[int, int], int] = defaultdict(int)
        self._last_ms: dict[tuple[int, int, Topic], int] = defaultdict(int)

    # Topology

    def is_linked(self, one: SimulatedNode, other: SimulatedNode) -> bool:
        """Whether there is an open link between two nodes."""
        if one is other or one.life is None or other.life is None:
            return False
        pair = _pair(one.number, other.number)
        return pair not in self._cut and not (pair in self._closed_until and self._is_closed(pair))

    def _is_closed(self, pair: tuple[int, int]) -> bool:
        return self._closed_until.get(pair, 0) > self._world.now

    def peers_of(self, node: SimulatedNode) -> tuple[PeerId, ...]:
        """Who is linked to ``node``; each name once."""
        found = {other.name: other.peer for other in self._scene.nodes if self.is_linked(node, other)}
        found.pop(node.name, None)
        return tuple(found.values())

    def cut(self, pairs: set[tuple[int, int]]) -> None:
        """From now on exactly these pairs have no link; links that come back are announced."""
        pairs = {_pair(*pair) for pair in pairs}
        gone, back = pairs - self._cut, self._cut - pairs
        self._cut = pairs
        for pair in sorted(gone):
            self._down(pair)
        for pair in sorted(back):
            self._up(pair)

    def deafen(self, directions: set[tuple[int, int]]) -> None:
        """From now on exactly these (sender, receiver) lose everything, and nobody is told."""
        self._deaf = directions

    def clog(self, sender: int, receiver: int, duration_ms: int) -> None:
        """Hold back what this direction carries for a while."""
        self._clogged_until[sender, receiver] = self._world.now + duration_ms

    def muffle(self, kind: int | None, hearer: int = -1) -> None:
        """From now on lose every consensus message of ``kind`` (its tag), except those to node ``hearer``.

        Chance seldom cuts between two phases of one block; a protocol must survive it every time (``twins``' cuts).
        """
        self._muffled = None if kind is None else (kind, hearer)

    def heal(self) -> None:
        """Every link works, from now on."""
        self.weather = Weather()
        self._clogged_until.clear()
        self.muffle(None)
        self.deafen(set())
        closed = sorted(self._closed_until)
        self._closed_until.clear()
        self.cut(set())
        for pair in closed:
            self._up(pair)

    def node_started(self, node: SimulatedNode) -> None:
        """Its links come up."""
        for other in self._scene.nodes:
            if self.is_linked(node, other):
                self._announce(node, other)

    def node_crashed(self, node: SimulatedNode) -> None:
        """Its links go down; what was on its way is lost."""
        for other in self._scene.nodes:
            if other is not node:
                self._down(_pair(node.number, other.number))

    def _down(self, pair: tuple[int, int]) -> None:
        self._generation[pair] += 1
        one, other = (self._scene.nodes[number] for number in pair)
        for node, gone in ((one, other), (other, one)):
            if node.life is not None:
                self._tell(node, partial(node.life.channel.on_peer_down, gone.peer))

    def _up(self, pair: tuple[int, int]) -> None:
        one, other = (self._scene.nodes[number] for number in pair)
        if self.is_linked(one, other):
            self._announce(one, other)

    def _announce(self, one: SimulatedNode, other: SimulatedNode) -> None:
        for node, peer in ((one, other), (other, one)):
            if node.life is not None and node.name != peer.name:
                self._tell(node, partial(node.life.channel.on_peer_up, peer.peer))

    def _tell(self, node: SimulatedNode, news: Callable[[], None]) -> None:
        if node.life is not None:
            self._world.at(0, partial(node.perform, node.life, news))

    def _close(self, pair: tuple[int, int], duration_ms: int) -> None:
        if self._is_closed(pair) or pair in self._cut:
            return
        self._closed_until[pair] = self._world.now + duration_ms
        self._down(pair)
        self._world.at(duration_ms, partial(self._reopen, pair))

    def _reopen(self, pair: tuple[int, int]) -> None:
        if self._closed_until.get(pair, self._world.now + 1) <= self._world.now:
            del self._closed_until[pair]
            self._up(pair)

    def violated(self, judge: SimulatedNode, peer_name: str, why: str) -> None:
        """``judge`` closes its links to a peer that sent what no honest peer sends."""
        for accused in self._scene.nodes_called(peer_name):
            if accused.is_honest and judge.is_honest:
                raise Violation(f"{judge.name} accuses honest {peer_name}: {why}")
            self._world.say(f"{judge.name} closes {peer_name}: {why}")
            self._world.counts["liar cut off"] += 1
            self._close(_pair(judge.number, accused.number), CLOSED_MS)

    # Messages

    def transmit(
        self, sender: SimulatedNode, receiver_name: str, topic: Topic, payload: bytes, delay_ms: int = 0
    ) -> None:
        """Put a message on the way to whoever has that name."""
        for receiver in self._scene.nodes_called(receiver_name):
            if receiver.name != sender.name and self.is_linked(sender, receiver):
                self._carry(sender, receiver, topic, payload, delay_ms)

    def _carry(
        self, sender: SimulatedNode, receiver: SimulatedNode, topic: Topic, payload: bytes, extra_ms: int
    ) -> None:
        world, weather = self._world, self.weather
        direction = (sender.number, receiver.number)
        if direction in self._deaf:
            world.counts["message lost in a deaf direction"] += 1
            return
        if topic is Topic.CONSENSUS and self._muffled is not None:
            kind, hearer = self._muffled
            if payload[1:2] == bytes([kind]) and receiver.number != hearer:
                world.counts["message muffled"] += 1
                return
        copies = 1
        # Catch-up is promised order on a link; the other topics overflow, overtake and repeat.
        is_ordered = topic is Topic.SYNC
        if not is_ordered and world.chance(weather.doubled):
            world.counts["message doubled"] += 1
            copies = 2
        for _ in range(copies):
            if world.chance(weather.loss):
                world.counts["message lost"] += 1
                continue
            sent = payload
            is_damaged = bool(payload) and world.chance(weather.damaged)
            if is_damaged:
                world.counts["message damaged"] += 1
                sent = _damaged(payload, world.random.randrange(len(payload) * 8))
            at = world.now + extra_ms + world.between(*weather.delay_ms)
            clogged_until = self._clogged_until.get(direction, 0)
            if clogged_until > world.now:
                world.counts["message clogged"] += 1
                at = max(at, clogged_until)
            key = (*direction, topic)
            last = self._last_ms[key]
            if at < last:
                if is_ordered:
                    at = last
                else:
                    world.counts["message overtaken"] += 1
            self._last_ms[key] = max(last, at)
            generation = self._generation[_pair(*direction)]
            world.at(at - world.now, partial(self._arrive, sender, receiver, topic, sent, is_damaged, generation))

    def _arrive(
        self,
        sender: SimulatedNode,
        receiver: SimulatedNode,
        topic: Topic,
        payload: bytes,
        is_damaged: bool,
        generation: int,
    ) -> None:
        pair = _pair(sender.number, receiver.number)
        life = receiver.life
        if life is None or generation != self._generation[pair]:
            return
        if is_damaged and topic is not Topic.CONSENSUS:
            self._close(pair, DAMAGED_MS)
            return
        receiver.perform(life, partial(self._deliver, sender, receiver, topic, payload, is_damaged))

    def _deliver(
        self, sender: SimulatedNode, receiver: SimulatedNode, topic: Topic, payload: bytes, is_damaged: bool
    ) -> None:
        self._world.note(f"arrives {sender.number}>{receiver.number}", payload)
        if self._world.is_told:
            self._scene.narrator.arrived(sender, receiver, topic, payload)
        assert receiver.life is not None
        if receiver.liar is not None:
            receiver.liar.heard(receiver, sender.name, topic, payload)
        try:
            receiver.life.receive(sender.peer, topic, payload)
        except InvalidInput as error:
            if not is_damaged and sender.is_honest and receiver.is_honest:
                raise Violation(f"{receiver.name} refuses what honest {sender.name} sent: {error}") from error
            self._close(_pair(sender.number, receiver.number), DAMAGED_MS if is_damaged else CLOSED_MS)


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _damaged(payload: bytes, bit: int) -> bytes:
    changed = bytearray(payload)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
