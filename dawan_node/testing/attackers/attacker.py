"""What stands between a Byzantine node and the wire.

A Byzantine node of a simulation runs a real replica whose signer refuses nothing and which does not stop when it sees
its own key at work elsewhere. So it follows the protocol, knows what goes on, and always has something to lie about.
Its ``Attacker`` decides what leaves it: instead of, beside or after what the replica wanted to send. It sees what a
node sees and holds the keys of Byzantine nodes alone: all it does, an operator with a patched program could do.

An attacker is a pure function of its seeded generator and of what it is told, and keeps only bounded memory.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from dawan_node.consensus.config import Timers
from dawan_node.consensus.messages import Message
from dawan_node.consensus.report import ReplicaStatus
from dawan_node.primitives.block import Result
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.attackers.forger import Forger

#: How often ``Attacker.tick`` is called, in milliseconds of virtual time.
TICK_MS: Final = 250

#: The most payloads one call of an attacker returns: floods must not slow a simulation down without bound.
DELIVERIES_MAX: Final = 256


class View(Protocol):
    """What an attacker may know: the position of its own replica. Indexes are those of the current epoch."""

    @property
    def chain_id(self) -> bytes: ...

    @property
    def epoch(self) -> int: ...

    @property
    def epoch_base(self) -> tuple[int, bytes]:
        """Height and hash of the block that ended the epoch before: what O starts from when nothing is decided."""
        ...

    @property
    def view(self) -> int: ...

    @property
    def target(self) -> int: ...

    @property
    def own(self) -> int:
        """The node's validator index. An attacker is asked only while its node is in the set."""
        ...

    @property
    def height(self) -> int: ...

    @property
    def window(self) -> int: ...

    @property
    def now_ms(self) -> int: ...

    @property
    def validators(self) -> ValidatorSet: ...

    @property
    def n(self) -> int: ...

    @property
    def f(self) -> int: ...

    @property
    def q(self) -> int: ...

    @property
    def timers(self) -> Timers:
        """After what times the others act, as far as it is known: its own."""
        ...

    @property
    def status(self) -> ReplicaStatus: ...

    def primary(self, view: int) -> int: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One payload for one validator, ``delay_ms`` from now."""

    receiver: int
    payload: bytes
    delay_ms: int = 0


class Attacker:
    """The base class is honest. ``name`` is how reports and ``--attack NAME`` call it."""

    name: ClassVar[str] = "honest"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self.forger = forger
        self.rng = rng

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        """What leaves the node instead of ``message``, which its replica wanted to send to ``receivers``."""
        return to_all(message.encode(), receivers)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        """What leaves the node because ``message`` came over the link of ``sender``."""
        return []

    def tick(self, view: View) -> list[Delivery]:
        """What leaves the node because ``TICK_MS`` passed."""
        return []

    def choose(self, leaf_hashes: Sequence[bytes], view: View) -> Sequence[bytes]:
        """Which of its pool's transactions, by leaf hash, the node proposes; none: it proposes nothing now."""
        return leaf_hashes

    def proposal_delay_ms(self, view: View) -> int:
        """How long the node sits on a proposal it could make."""
        return 0

    def serves_body(self, block_hash: bytes, to: int, view: View) -> bool:
        """Whether the node answers ``to`` when it asks for the leaf list or the bodies of a block."""
        return True

    def result(self, result: Result) -> Result:
        """What the node's executor says a block gave."""
        return result

    def claimed_height(self, height: int, view: View) -> int:
        """The height the node names on the topic of catch-up."""
        return height


class Once:
    """Remembers what was done, the last ``size`` of it: an echo that answers echoes would never end."""

    def __init__(self, size: int = 4_096) -> None:
        self._size = size
        self._done: OrderedDict[Hashable, None] = OrderedDict()

    def first(self, what: Hashable) -> bool:
        """Whether this is the first time."""
        if what in self._done:
            return False
        self._done[what] = None
        if len(self._done) > self._size:
            self._done.popitem(last=False)
        return True


def to_all(payload: bytes, receivers: Sequence[int], delay_ms: int = 0) -> list[Delivery]:
    """The same payload for each of ``receivers``."""
    return [Delivery(receiver, payload, delay_ms) for receiver in receivers]


def others(view: View) -> list[int]:
    """Every validator but the node itself."""
    return [index for index in range(view.n) if index != view.own]
