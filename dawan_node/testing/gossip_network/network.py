"""Nodes, links and time of the gossip simulation.

Of a node there is everything pure that decides about gossip: ``BlockSpread``, ``LinkPlan``, ``Scores``, ``WantList``,
``audience`` and the wire format. Consensus, execution and disks are not there: every validator has the next block at a
given time, and a block is right when it has the right bytes. Links come up after the three crossings that TCP, TLS and
hello take, keep nothing in order, and lose each message with a given chance.

A node that is more than ``AHEAD_MAX`` blocks behind fetches what it lacks from one honest peer in one round trip, as
catch-up does in many; its bytes are counted.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidMessage
from dawan_node.mempool_watch import FORWARDED_MS, PATIENCE_MS
from dawan_node.p2p.block_spread import AHEAD_MAX, BlockSpread, Order, Word
from dawan_node.p2p.framing import Topic, encode_frame
from dawan_node.p2p.gossip import (
    Audience,
    Block,
    Graft,
    Have,
    IHave,
    IWant,
    Origin,
    Prune,
    Reminders,
    Txs,
    Want,
    WantList,
    audience,
    decode_gossip,
)
from dawan_node.p2p.link_plan import LinkPlan
from dawan_node.p2p.peers import STRIKE_FIRST_MS, STRIKE_MAX_MS, PeerAddress, PeerId, Role
from dawan_node.p2p.scores import Scores

if TYPE_CHECKING:
    from dawan_node.testing.gossip_network.attackers import Attacker

#: One crossing of a link, per pair of nodes, in milliseconds: a metropolitan region, and lines to elsewhere.
CROSSING_MS: Final = (5, 50)
#: What checking a block's certificate and bodies takes.
CHECK_MS: Final = 2
#: The validators have a block within so long of each other.
COMMIT_SPREAD_MS: Final = 20
#: A node looks at its clock when a question is due, and this often, as ``channel.DUTY_MS``.
DUTY_MS: Final = 250
#: Attackers do something this often.
TICK_MS: Final = 20
PLAN_MS: Final = 1_000
HEAD_MS: Final = 1_000
#: A transaction is in a block, and the block everywhere, so long after the first honest validator has it.
INCLUDED_MS: Final = 1_000
FRAME_BYTES: Final = len(encode_frame(Topic.GOSSIP, bytes(32), b"."))
#: A HEAD on topic SYNC: height, hash, epoch.
HEAD_BYTES: Final = FRAME_BYTES + 46


@lru_cache(maxsize=64)
def block_bytes(height: int, size: int) -> bytes:
    """The one right block of a height."""
    return height.to_bytes(8, "big") + sha256(b"%d" % height) + bytes(size - 40)


@dataclass(slots=True)
class Link:
    """An open link; ``opened_by`` dialled."""

    opened_by: str
    crossing_ms: int


@dataclass
class Account:
    """What a node received."""

    bytes_in: int = 0
    blocks_in: int = 0
    violations: int = 0
    arrived_ms: dict[int, int] = field(default_factory=dict)
    hops: dict[int, int] = field(default_factory=dict)
    txs_ms: dict[bytes, int] = field(default_factory=dict)
    tx_bytes_in: int = 0


class Node:
    """One member's node, honest unless it has an ``attacker``."""

    def __init__(self, network: Network, peer: PeerId) -> None:
        self.network = network
        self.peer = peer
        self.name = peer.name
        self.is_validator = peer.role is Role.VALIDATOR
        self.attacker: Attacker | None = None
        self.is_up = False
        self.links: dict[str, Link] = {}
        self.shunned_until: dict[str, int] = {}
        self.strikes: Counter[str] = Counter()
        self.dialling: set[str] = set()
        self.account = Account()
        self.head = 0
        self.catching_up = False
        secret = network.source.randbytes(16)
        self.scores = Scores(0)
        self.spread = BlockSpread(0, not self.is_validator, self.scores, self.round_trip_ms)
        self.wakes_at_ms: int | None = None
        self.plan = LinkPlan(peer, secret)
        self.plan.update(network.addresses)
        self.wants = WantList(1_000, grace_ms=250, patience_ms=500)
        self.reminders = Reminders(1_000)
        self.resends: dict[bytes, int] = {}  # transactions of own clients -> when the mempool sends them again

    # Life

    def start(self) -> None:
        self.is_up = True
        for every_ms, action in ((DUTY_MS, self.do_duties), (PLAN_MS, self.look_at_links), (HEAD_MS, self.say_head)):
            self.network.every(every_ms, action, first_ms=self.network.source.randrange(every_ms))
        if self.attacker is not None:
            self.network.every(TICK_MS, self.attacker.tick, first_ms=self.network.source.randrange(TICK_MS))

    def do_duties(self) -> None:
        now = self.network.now
        self.scores.tick(now)
        self.spread.tick(now)
        for peer, leaves in self.wants.due(self.account.txs_ms.__contains__, now).items():
            self.send(peer, IWant(leaves).encode())
        self._remind(now)
        self.carry_out()

    def say_head(self) -> None:
        if self.attacker is not None and not self.attacker.says_head:
            return
        for name in self.links:
            self.network.transmit(
                self, name, partial(self.network.nodes[name].hear_head, self.name, self.spread.height)
            )

    def look_at_links(self) -> None:
        now = self.network.now
        if self.attacker is not None:
            chosen: Iterable[str] = self.attacker.dials()
        else:
            for name in self.scores.worst():
                if name in self.links and self.plan.give_up(name, now):
                    self.network.close(self.name, name)
            chosen = sorted(self.plan.choose(self.links, now))
            for name, link in list(self.links.items()):
                if link.opened_by == self.name and name not in chosen:
                    self.network.close(self.name, name)
        for name in chosen:
            if name not in self.links and self.shunned_until.get(name, 0) <= now and name not in self.dialling:
                self.dialling.add(name)
                self.network.dial(self, self.network.nodes[name])

    # Links

    def round_trip_ms(self, name: str) -> int | None:
        """As pings tell it."""
        link = self.links.get(name)
        return None if link is None else 2 * link.crossing_ms

    def inbound(self) -> list[PeerId]:
        return [self.network.nodes[name].peer for name, link in self.links.items() if link.opened_by == name]

    def link_up(self, other: Node) -> None:
        self.spread.peer_up(other.name, other.is_validator, self.network.now)
        self.plan.reached(other.name)
        self.network.transmit(self, other.name, partial(other.hear_head, self.name, self.spread.height))

    def link_down(self, name: str) -> None:
        self.spread.peer_down(name)

    def violated(self, name: str, why: str, is_forgery: bool = False) -> None:
        """``name`` did what no honest peer does: its link is closed, and it is left alone for a while."""
        self.network.trouble(self, name, why)
        # As ``peers.PeerBook`` does; nothing here lasts long enough for a strike to be forgiven.
        shunned_ms = STRIKE_MAX_MS if is_forgery else min(STRIKE_MAX_MS, STRIKE_FIRST_MS << self.strikes[name])
        self.shunned_until[name] = self.network.now + shunned_ms
        self.plan.shunned(name, self.network.now + shunned_ms)
        self.strikes[name] += 1
        self.network.close(self.name, name)

    # Messages

    def send(self, name: str, payload: bytes) -> None:
        if name in self.links:
            self.network.transmit(self, name, partial(self.network.nodes[name].hear, self.name, payload))

    def hear_head(self, name: str, height: int) -> None:
        self.account.bytes_in += HEAD_BYTES
        self.spread.claimed(name, height, self.network.now)
        self.carry_out()
        is_true = self.network.nodes[name].attacker is None
        behind = height > self.spread.height + AHEAD_MAX
        if is_true and behind and self.spread.follows and not self.catching_up:
            self.catching_up = True
            self.network.after(2 * self.links[name].crossing_ms, partial(self._caught_up, name, height))

    def _caught_up(self, name: str, height: int) -> None:
        self.catching_up = False
        for each in range(self.spread.height + 1, height + 1):
            self.account.bytes_in += FRAME_BYTES + self.network.block_size
            self._note(each, name)
        self.spread.committed(height)
        self.carry_out()

    def hear(self, name: str, payload: bytes) -> None:
        if name not in self.links:
            return
        self.account.bytes_in += FRAME_BYTES + len(payload)
        try:
            message = decode_gossip(payload)
        except InvalidMessage as error:
            self.violated(name, str(error))
            return
        if self.attacker is not None and self.attacker.hears(name, message):
            return
        now = self.network.now
        match message:
            case Txs():
                self.account.tx_bytes_in += FRAME_BYTES + len(payload)
                self.take_transactions(message.envelopes, name)
            case IHave():
                self.account.tx_bytes_in += FRAME_BYTES + len(payload)
                self.wants.announced(name, message.leaves, self.account.txs_ms.__contains__, now)
            case IWant():
                self.account.tx_bytes_in += FRAME_BYTES + len(payload)
                found = [self.network.envelopes[leaf] for leaf in message.leaves if leaf in self.account.txs_ms]
                if found and self.passes_on:
                    self.send(name, Txs(found).encode())
            case Block():
                self.account.blocks_in += 1
                if self.spread.on_block(name, message.height, now):
                    self.network.after(CHECK_MS, partial(self._checked, name, message))
                elif message.block != block_bytes(message.height, self.network.block_size):
                    self.spread.refused(name, message.height)
                    self.violated(name, "another block than the one that is here", is_forgery=True)
            case Have():
                self.spread.on_have(name, message.height, now)
            case Graft():
                self.spread.on_graft(name, message.height, now)
            case Want():
                self.spread.on_want(name, message.height, now)
            case Prune():
                self.spread.on_prune(name, now)
        self.carry_out()

    def _checked(self, name: str, message: Block) -> None:
        if message.block == block_bytes(message.height, self.network.block_size):
            self._note(message.height, name)
            self.spread.accepted(name, message.height, self.network.now)
        else:
            self.spread.refused(name, message.height)
            self.violated(name, "a block that proves nothing", is_forgery=True)
        self.carry_out()

    def commit(self, height: int) -> None:
        """A validator's consensus has decided."""
        if self.is_up:
            self._note(height, "")
            self.spread.committed(height)
            self.carry_out()

    def _note(self, height: int, source: str) -> None:
        if height not in self.account.arrived_ms:
            self.account.arrived_ms[height] = self.network.now
            before = self.network.nodes[source].account.hops.get(height, 0) if source else -1
            self.account.hops[height] = before + 1

    def carry_out(self) -> None:
        for order in self.spread.take():
            if self.attacker is None or self.attacker.allows(order):
                self.send(order.peer, self.encode(order))
        for name in dict.fromkeys(self.spread.take_floods()):
            self.violated(name, "more announcements than any honest peer makes")
        due_ms = self.spread.next_deadline()
        if due_ms is not None and (self.wakes_at_ms is None or due_ms < self.wakes_at_ms):
            self.wakes_at_ms = due_ms
            self.network.after(max(0, due_ms - self.network.now), self._wake)

    def _wake(self) -> None:
        self.wakes_at_ms = None
        self.spread.tick(self.network.now)
        self.carry_out()

    def encode(self, order: Order) -> bytes:
        match order.word:
            case Word.BLOCK:
                return self.network.pushed(order.height)
            case Word.HAVE:
                return Have(order.height).encode()
            case Word.GRAFT:
                return Graft(order.height).encode()
            case Word.WANT:
                return Want(order.height).encode()
            case Word.PRUNE:
                return Prune().encode()

    # Transactions

    def take_transactions(self, envelopes: Iterable[bytes], source: str) -> None:
        """New ones are kept and passed on; ``source`` is empty for a client of this node."""
        new = [each for each in envelopes if self.network.leaf(each) not in self.account.txs_ms]
        if not new:
            return
        leaves = [self.network.leaf(each) for each in new]
        self.account.txs_ms |= dict.fromkeys(leaves, self.network.now)
        if self.is_validator and self.attacker is None:
            for leaf in leaves:
                self.network.reached_ms.setdefault(leaf, self.network.now)
        if not self.passes_on:
            return
        if not source and not self.is_validator:
            self.reminders.sent(leaves, self.network.now)
            self.resends |= dict.fromkeys(leaves, self.network.now + FORWARDED_MS)
        origin = Origin.CLIENT
        if source:
            origin = Origin.VALIDATOR if self.network.nodes[source].is_validator else Origin.OBSERVER
        listeners = self._listeners(origin, source)
        for name in listeners.push:
            self.send(name, Txs(new).encode())
        for name in listeners.announce:
            self.send(name, IHave(leaves).encode())

    @property
    def passes_on(self) -> bool:
        """Whether transactions go anywhere from here."""
        return self.attacker is None or self.attacker.passes_on

    def _listeners(self, origin: Origin, source: str) -> Audience:
        peers = [self.network.nodes[name].peer for name in self.links]
        return audience(self.peer.role, origin, source, peers, self.scores.of)

    def _is_pending(self, leaf: bytes) -> bool:
        return self.network.now < self.network.reached_ms.get(leaf, self.network.now) + INCLUDED_MS

    def _remind(self, now: int) -> None:
        """What no block has brought is announced again, and later sent again, as the mempool does."""
        listeners = self._listeners(Origin.CLIENT, "")
        if leaves := self.reminders.due(self._is_pending, now):
            for name in listeners.push + listeners.announce:
                self.send(name, IHave(leaves).encode())
        for leaf, due_ms in list(self.resends.items()):
            if not self._is_pending(leaf):
                del self.resends[leaf]
            elif due_ms <= now:
                self.resends[leaf] = now + PATIENCE_MS
                for name in self.links:
                    if self.network.nodes[name].is_validator:
                        self.send(name, Txs([self.network.envelopes[leaf]]).encode())


class Network:
    """All nodes, and the clock."""

    def __init__(self, seed: int, orgs: dict[str, tuple[str, Role]], block_size: int, loss_percent: int) -> None:
        """``orgs``: node name -> (organisation, role)."""
        self.source = random.Random(seed)
        self.block_size = block_size
        self.loss_percent = loss_percent
        self.now = 0
        self.counts: Counter[str] = Counter()
        self.cut_ms: dict[str, int] = {}  # attacker -> when an honest node first closed its link
        self.accused_honest: list[str] = []
        self.envelopes: dict[bytes, bytes] = {}
        self.born_ms: dict[bytes, int] = {}  # leaf hash -> when a client sent it
        self.reached_ms: dict[bytes, int] = {}  # leaf hash -> when the first honest validator had it
        self.addresses = [
            PeerAddress(name, org, _key(name), (f"{name}.example:7100",), role) for name, (org, role) in orgs.items()
        ]
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._crossings: dict[frozenset[str], int] = {}
        self._pushed: dict[int, bytes] = {}
        self.nodes = {address.name: Node(self, address.id) for address in self.addresses}

    # Time

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + delay_ms, self._number, action))

    def every(self, period_ms: int, action: Callable[[], None], first_ms: int) -> None:
        def again() -> None:
            action()
            self.after(period_ms, again)

        self.after(first_ms, again)

    def run_until(self, time_ms: int) -> None:
        while self._events and self._events[0][0] <= time_ms:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = time_ms

    # Links

    def crossing(self, one: str, other: str) -> int:
        pair = frozenset((one, other))
        if pair not in self._crossings:
            self._crossings[pair] = self.source.randint(*CROSSING_MS)
        return self._crossings[pair]

    def dial(self, node: Node, other: Node) -> None:
        self.after(3 * self.crossing(node.name, other.name), partial(self._met, node, other))

    def _met(self, node: Node, other: Node) -> None:
        node.dialling.discard(other.name)
        if other.name in node.links:
            return
        refusal = None
        if other.attacker is None:
            refusal = other.plan.may_enter(node.peer, other.inbound())
            self.counts["link refused: full"] += refusal is not None
        if not other.is_up or refusal is not None or other.shunned_until.get(node.name, 0) > self.now:
            node.plan.unreached(other.name, self.now)
            return
        for here, there in ((node, other), (other, node)):
            here.links[there.name] = Link(node.name, self.crossing(node.name, other.name))
        node.link_up(other)
        other.link_up(node)

    def close(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            if self.nodes[here].links.pop(there, None) is not None:
                self.nodes[here].link_down(there)

    def transmit(self, sender: Node, name: str, arrive: Callable[[], None]) -> None:
        link = sender.links.get(name)
        if link is None:
            return
        if self.source.randrange(100) < self.loss_percent:
            self.counts["message lost"] += 1
            return
        jitter_ms = self.source.randrange(3)

        def arrival() -> None:
            if self.nodes[name].links.get(sender.name) is not None:
                arrive()

        self.after(link.crossing_ms + jitter_ms, arrival)

    def trouble(self, judge: Node, name: str, why: str) -> None:
        if self.nodes[name].attacker is None:
            if judge.attacker is None:
                self.accused_honest.append(f"{judge.name} accuses {name}: {why}")
        elif judge.attacker is None:
            self.cut_ms.setdefault(name, self.now)

    # Content

    def pushed(self, height: int) -> bytes:
        payload = self._pushed.get(height)
        if payload is None:
            payload = self._pushed[height] = Block(height, block_bytes(height, self.block_size)).encode()
            self._pushed.pop(height - 64, None)
        return payload

    def leaf(self, envelope: bytes) -> bytes:
        leaf = sha256(b"\x00" + envelope)
        self.envelopes.setdefault(leaf, envelope)
        return leaf

    # Who

    @property
    def honest(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.attacker is None]

    @property
    def observers(self) -> list[Node]:
        """The honest ones."""
        return [node for node in self.honest if not node.is_validator]

    @property
    def validators(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.is_validator]


@lru_cache(maxsize=256)
def _key(name: str) -> bytes:
    """A node key that the peer book takes: a point of the curve."""
    from dawan_node.crypto.signatures import PrivateKey

    return PrivateKey(sha256(name.encode())).public_key
