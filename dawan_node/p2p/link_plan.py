"""Which links a node opens, and which of those that others open it keeps.

Pure. The choice is this node's own: nothing a peer says brings anybody into it or out of it, only what this node has
seen them do. What would surround a node with liars (an *eclipse*) is answered so:

- A node keeps links to **f + 1 validators**, of different organisations first: one of them is honest. And to two
  observers of further organisations, so that it still hears of blocks when all of its validators are down for it.
- Which ones, follows from a secret of this process. Whoever wants to be chosen would have to guess it.
- Links that others open do not count towards the plan, however many there are, and are limited in number, per
  organisation and in all: a company with twenty nodes does not take the place of twenty companies.
- A link that does badly is given up for the next best, one at a time; its peer is tried again some minutes later. A
  peer that cannot be reached is passed over for a while. When nobody is left, everybody is tried again: after a power
  cut all are down at first.

Validators keep links to all validators, whatever they think of them: votes travel there. They open none to observers,
which come by themselves. In a network of a dozen nodes everybody is linked to everybody; less would save nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dawan_node.p2p.peers import PeerAddress, PeerId, Role
from dawan_node.primitives.validators import fault_bound

#: Up to so many nodes everybody is linked to everybody: 11 links each.
SMALL_NETWORK_MAX: Final = 12
#: Validators an observer keeps links to, where f + 1 would be fewer: of two organisations, either may be down.
VALIDATOR_LINKS_MIN: Final = 2
#: Observers an observer keeps links to.
OBSERVER_LINKS: Final = 2

#: Links of observers that a node keeps though it did not open them. 53 members with f + 1 = 3 links each to some of 7
#: validators are 23 on each, by chance up to 35. Each may hold 24 MiB of waiting messages at the very worst.
INBOUND_MAX: Final = 48
#: ... of one organisation: its production and standby nodes and two more.
INBOUND_PER_ORG_MAX: Final = 4

#: A peer that did badly is not chosen for so long: three of the half-lives after which its points are nearly gone.
RESTED_MS: Final = 90_000
#: A peer that could not be reached is passed over for so long, if there is another.
UNREACHED_MS: Final = 10_000
#: Links given up for doing badly: at most one in this time. A node that suddenly thinks ill of everybody is more
#: likely to have a bad line itself.
ROTATION_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class _Shape:
    """How many links to whom."""

    everybody: bool
    validators: int
    observers: int

    @classmethod
    def of(cls, others: int, validators: int) -> _Shape:
        """For a node beside ``others``; ``validators`` counts all of the network."""
        needed = max(VALIDATOR_LINKS_MIN, fault_bound(max(1, validators)) + 1)
        return cls(others < SMALL_NETWORK_MAX, needed, OBSERVER_LINKS)


def links_kept(validators: int, observers: int, role: Role) -> int:
    """How many links a node of this ``role`` keeps up in a network of so many nodes, itself included; those that others
    open come on top."""
    others = validators + observers - 1
    shape = _Shape.of(others, validators)
    if shape.everybody:
        return others
    if role is Role.VALIDATOR:
        return validators - 1
    return min(validators, shape.validators) + min(observers - 1, shape.observers)


class LinkPlan:
    """The plan of one node. ``secret`` is drawn anew by each process."""

    def __init__(self, local: PeerId, secret: bytes) -> None:
        self._local = local
        self._secret = secret
        self._peers: dict[str, PeerId] = {}
        self._reachable: set[str] = set()
        self._shape = _Shape(everybody=True, validators=0, observers=0)
        self._chosen: dict[str, None] = {}
        self._unreached_until_ms: dict[str, int] = {}
        self._resting_until_ms: dict[str, int] = {}
        self._rotated_ms: int | None = None

    def update(self, peers: Iterable[PeerAddress]) -> None:
        """Take over the list of nodes. Whoever has no address cannot be dialled, and is not chosen."""
        listed = [peer for peer in peers if peer.name != self._local.name]
        self._peers = {peer.name: peer.id for peer in listed}
        self._reachable = {peer.name for peer in listed if peer.addresses}
        validators = sum(peer.role is Role.VALIDATOR for peer in listed) + (self._local.role is Role.VALIDATOR)
        self._shape = _Shape.of(len(listed), validators)
        self._chosen = {name: None for name in self._chosen if name in self._reachable}
        for resting in (self._unreached_until_ms, self._resting_until_ms):
            for name in set(resting).difference(self._peers):
                del resting[name]

    # What is wanted

    def choose(self, linked: Collection[str], now_ms: int) -> frozenset[str]:
        """Whom to dial, and whose links to keep up. ``linked`` are those with a link, whoever opened it."""
        if self._shape.everybody:
            return frozenset(self._peers)
        if self._local.role is Role.VALIDATOR:
            return frozenset(name for name, peer in self._peers.items() if peer.role is Role.VALIDATOR)
        kept = [name for name in self._chosen if name in linked or not self._is_resting(name, now_ms)]
        chosen: dict[str, None] = {}
        for role, count in ((Role.VALIDATOR, self._shape.validators), (Role.OBSERVER, self._shape.observers)):
            self._fill(chosen, role, count, kept, now_ms)
        self._chosen = chosen
        return frozenset(chosen)

    def may_enter(self, peer: PeerId, inbound: Sequence[PeerId]) -> str | None:
        """Why a link that ``peer`` opened is not kept, beside those in ``inbound``; None: it is kept.

        Validators always enter: there are few, and votes come first.
        """
        if peer.role is Role.VALIDATOR or self._shape.everybody or peer.name in self._chosen:
            return None
        others = [other for other in inbound if other.role is Role.OBSERVER and other.name != peer.name]
        of_org = sum(other.org == peer.org for other in others)
        if of_org >= INBOUND_PER_ORG_MAX:
            return f"{of_org} nodes of {peer.org!r} are connected to this node already; connect to another one"
        if len(others) >= INBOUND_MAX:
            return f"{len(others)} observers are connected to this node already; connect to another one"
        return None

    # What happened

    def unreached(self, peer: str, now_ms: int) -> None:
        """A dial to ``peer`` led to nothing."""
        self._unreached_until_ms[peer] = now_ms + UNREACHED_MS

    def shunned(self, peer: str, until_ms: int) -> None:
        """``peer`` broke the protocol and is left alone for a while: its place is another's."""
        self._resting_until_ms[peer] = max(until_ms, self._resting_until_ms.get(peer, until_ms))

    def reached(self, peer: str) -> None:
        """A link to ``peer`` is up."""
        self._unreached_until_ms.pop(peer, None)

    def give_up(self, peer: str, now_ms: int) -> bool:
        """``peer`` does badly: whether its link is to be closed and another dialled instead.

        Not when this node links to everybody of that kind, nor when another link was given up a moment ago.
        """
        if self._shape.everybody or peer not in self._peers:
            return False
        if self._local.role is Role.VALIDATOR and self._peers[peer].role is Role.VALIDATOR:
            return False
        if self._rotated_ms is not None and now_ms - self._rotated_ms < ROTATION_MS:
            return False
        self._rotated_ms = now_ms
        self._resting_until_ms[peer] = now_ms + RESTED_MS
        self._chosen.pop(peer, None)
        return True

    # Inside

    def _fill(self, chosen: dict[str, None], role: Role, count: int, kept: Sequence[str], now_ms: int) -> None:
        """Add up to ``count`` peers of ``role`` to ``chosen``: those kept, then those that rest least, by rank."""
        candidates = [name for name in self._reachable if self._peers[name].role is role]
        ranked = sorted(candidates, key=self._rank)
        resting = {name for name in ranked if self._is_resting(name, now_ms)}
        passes: tuple[Callable[[str], bool], ...] = (
            lambda name: name in kept and self._is_of_new_org(name, chosen),
            lambda name: name not in resting and self._is_of_new_org(name, chosen),
            lambda name: name in kept,
            lambda name: name not in resting,
            lambda name: True,
        )
        # Kept links of an organisation that another one has: only after those that bring a new organisation in.
        picked = 0
        for fits in passes:
            for name in ranked:
                if picked == count:
                    return
                if name not in chosen and fits(name):
                    chosen[name] = None
                    picked += 1

    def _is_of_new_org(self, name: str, chosen: Iterable[str]) -> bool:
        """Whether ``name`` brings in an organisation that is neither this node's own nor chosen."""
        org = self._peers[name].org
        return org != self._local.org and all(self._peers[other].org != org for other in chosen)

    def _is_resting(self, name: str, now_ms: int) -> bool:
        return max(self._unreached_until_ms.get(name, now_ms), self._resting_until_ms.get(name, now_ms)) > now_ms

    def _rank(self, name: str) -> bytes:
        return hashlib.sha256(b"\n".join((self._secret, self._local.name.encode(), name.encode()))).digest()
