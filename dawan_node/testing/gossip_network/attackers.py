"""Members that play foul. Each keeps what an honest node has, and changes what it says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dawan_node.p2p.block_spread import Order, Word
from dawan_node.p2p.gossip import Block, Graft, Have, Want
from dawan_node.testing.gossip_network.network import TICK_MS, Node


class Attacker:
    """Follows the protocol, but dials everybody: whoever attacks wants links."""

    says_head = True
    #: Whether it sends transactions on that it was given.
    passes_on = True

    def __init__(self, node: Node) -> None:
        self.node = node

    def dials(self) -> Iterable[str]:
        """Whom to have links to."""
        return sorted(self.node.network.nodes.keys() - {self.node.name})

    def tick(self) -> None:
        """Every ``TICK_MS``."""

    def hears(self, name: str, message: object) -> bool:
        """Something arrived; whether the honest part is to know nothing of it."""
        return False

    def allows(self, order: Order) -> bool:
        """Whether what an honest node would send is sent."""
        return True

    def say(self, message: Have | Block) -> None:
        """To everybody."""
        payload = message.encode()
        for name in list(self.node.links):
            self.node.send(name, payload)


class Silent(Attacker):
    """Takes links and says nothing."""

    says_head = False
    passes_on = False

    def allows(self, order: Order) -> bool:
        """Nothing leaves."""
        return False


class Withholding(Attacker):
    """Announces every block at once, is glad to be a parent, and never sends one; nor a transaction."""

    passes_on = False

    def allows(self, order: Order) -> bool:
        """All but blocks, and never a refusal to be parent."""
        return order.word not in (Word.BLOCK, Word.PRUNE)


class Boasting(Attacker):
    """Announces blocks that do not exist yet, to be everybody's first announcer, and has none."""

    def tick(self) -> None:
        """Now and then the next heights."""
        if self.node.network.now % 200 < TICK_MS:
            self.say(Have(self.node.spread.height + 1))
            self.say(Have(self.node.spread.height + 2))

    def allows(self, order: Order) -> bool:
        """As a withholding one."""
        return order.word not in (Word.BLOCK, Word.PRUNE)


class Forging(Attacker):
    """Sends blocks that prove nothing, asked or not."""

    def hears(self, name: str, message: object) -> bool:
        """Whoever asks gets one."""
        if isinstance(message, Graft | Want) and message.height:
            self.node.send(name, Block(message.height, bytes(self.node.network.block_size)).encode())
            return True
        return False

    def tick(self) -> None:
        """Some are sent unasked."""
        if self.node.network.now % 1_000 < TICK_MS:
            self.say(Block(self.node.spread.height + 1, bytes(self.node.network.block_size)))

    def allows(self, order: Order) -> bool:
        """Announcements of true blocks, to be asked for them."""
        return order.word is not Word.BLOCK


class LateForging(Forging):
    """An excellent peer, with links to everybody, until ``turns_ms``: then all forge at once."""

    turns_ms: int = 12_500

    def hears(self, name: str, message: object) -> bool:
        """As an honest node, first."""
        return self.node.network.now >= self.turns_ms and super().hears(name, message)

    def tick(self) -> None:
        """Nothing, first."""
        if self.node.network.now >= self.turns_ms:
            super().tick()

    def allows(self, order: Order) -> bool:
        """Everything, first."""
        return self.node.network.now < self.turns_ms or super().allows(order)


class Greedy(Attacker):
    """Asks everybody to push, again and again, so that no honest node finds a place in the tree."""

    def tick(self) -> None:
        """Once a second."""
        if self.node.network.now % 1_000 < TICK_MS:
            payload = Graft(0).encode()
            for name in list(self.node.links):
                self.node.send(name, payload)


class Spamming(Attacker):
    """Five hundred announcements a second on every link."""

    def tick(self) -> None:
        """A share of them."""
        source = self.node.network.source
        for _ in range(TICK_MS // 2):
            self.say(Have(self.node.spread.height + source.randrange(1, 1_000)))


class Censoring(Attacker):
    """Spreads blocks as the best of nodes, and keeps transactions to itself."""

    passes_on = False


class Flattering(Attacker):
    """Is an excellent peer for three blocks of four, so that its points are good, and keeps every fourth from all."""

    def allows(self, order: Order) -> bool:
        """Three of four."""
        return order.word is not Word.BLOCK or order.height % 4 != 0


class Turning(Attacker):
    """A covert flash: an excellent peer until ``turns_ms``, then as a withholding one."""

    turns_ms: int = 18_000

    def allows(self, order: Order) -> bool:
        """Everything, then no blocks."""
        return self.node.network.now < self.turns_ms or order.word not in (Word.BLOCK, Word.PRUNE)


KINDS: Final[tuple[type[Attacker], ...]] = (Withholding, Silent, Boasting, Forging, Spamming, Flattering, Turning)
