"""Byzantine nodes with a plan: one that changes its mind every few seconds, and several that act as one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import ClassVar, Final

from dawan_node.consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Suspect, ViewChange
from dawan_node.primitives.block import Result
from dawan_node.testing.attackers.attacker import Attacker, Delivery, Once, View
from dawan_node.testing.attackers.certificates import ForgedDecision, PaddedCertificates
from dawan_node.testing.attackers.floods import (
    Garbage,
    HugeNumbers,
    LyingHeight,
    ProposalRequestFlood,
    StatusLiar,
)
from dawan_node.testing.attackers.forger import Forger
from dawan_node.testing.attackers.primaries import (
    BodyWithholdingPrimary,
    CensoringPrimary,
    EquivocatingPrimary,
    MalformedPrimary,
    SelectiveSender,
    Silent,
    SlowPrimary,
    is_mine,
)
from dawan_node.testing.attackers.view_changers import (
    ForgedNewView,
    LyingViewChange,
    SuspectStorm,
    TwoNewViews,
)
from dawan_node.testing.attackers.voters import DoubleVoter, Replayer, StrayVoter, VoteForger, WrongResult, agree

#: Every attacker with one idea; the order is that of the reports.
MASKS: Final[tuple[type[Attacker], ...]] = (
    EquivocatingPrimary,
    MalformedPrimary,
    Silent,
    SlowPrimary,
    CensoringPrimary,
    SelectiveSender,
    BodyWithholdingPrimary,
    DoubleVoter,
    VoteForger,
    StrayVoter,
    Replayer,
    WrongResult,
    LyingViewChange,
    ForgedNewView,
    TwoNewViews,
    SuspectStorm,
    PaddedCertificates,
    ForgedDecision,
    HugeNumbers,
    Garbage,
    LyingHeight,
    StatusLiar,
    ProposalRequestFlood,
)


class Chameleon(Attacker):
    """Wears another attacker's mask every two to six seconds, an honest one among them: faults that are harmless alone
    may not be so in turn, and whoever counts offences per kind never counts far.

    Stopped by: nothing in the protocol relies on a peer being bad in one way only.
    """

    name: ClassVar[str] = "chameleon"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._mask: Attacker = Attacker(forger, rng)
        self._until: int | None = None

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        return self._worn(view).send(message, receivers, view)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        return self._worn(view).heard(sender, message, view)

    def tick(self, view: View) -> list[Delivery]:
        return self._worn(view).tick(view)

    def choose(self, leaf_hashes: Sequence[bytes], view: View) -> Sequence[bytes]:
        return self._worn(view).choose(leaf_hashes, view)

    def proposal_delay_ms(self, view: View) -> int:
        return self._worn(view).proposal_delay_ms(view)

    def serves_body(self, block_hash: bytes, to: int, view: View) -> bool:
        return self._worn(view).serves_body(block_hash, to, view)

    def result(self, result: Result) -> Result:
        return self._mask.result(result)

    def claimed_height(self, height: int, view: View) -> int:
        return self._worn(view).claimed_height(height, view)

    def _worn(self, view: View) -> Attacker:
        if self._until is None or view.now_ms >= self._until:
            self._until = view.now_ms + self.rng.randrange(2_000, 6_000)
            masks: tuple[type[Attacker], ...] = (Attacker, *MASKS)
            self._mask = self.rng.choice(masks)(self.forger, self.rng)
        return self._mask


class Cartel(Attacker):
    """Byzantine nodes with one plan and all their keys: split the honest in two halves and make each half believe that
    it is the quorum. As primary it proposes two branches, one to each half. Every member signs for every member:
    whoever votes for a block gets the votes of the whole cartel for that block, and nobody else does. In a view change
    each half is shown what suits it; and whenever an honest node has a bad moment the cartel may wish with it.

    Stopped by: f of them and half of the honest are no quorum, for any split. With f + 1 members it must succeed: a
    checker that stays silent then sees nothing.
    """

    name: ClassVar[str] = "cartel"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._fans_doubt = rng.random() < 0.5
        self._once = Once()
        self._primary = _SplitPrimary(forger, rng)
        self._liar = LyingViewChange(forger, rng)
        self._two_new_views = TwoNewViews(forger, rng)

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        members = self.forger.members(view)
        if isinstance(message, PrePrepare) and is_mine(message, view):
            return self._primary.send(message, receivers, view)
        if isinstance(message, Prepare | Commit) and message.voter in members:
            # The honest get the cartel's votes from ``agree``, each for what it voted for itself.
            return super().send(message, [receiver for receiver in receivers if receiver in members], view)
        if isinstance(message, ViewChange):
            return self._liar.send(message, receivers, view)
        if isinstance(message, NewView):
            return self._two_new_views.send(message, receivers, view)
        return super().send(message, receivers, view)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        self._liar.heard(sender, message, view)
        self._two_new_views.notice(message, view)
        if isinstance(message, Suspect) and self._fans_doubt:
            return self._join(sender, message, view)
        return agree(self.forger, self._once, sender, message, view, self.forger.members(view))

    def _join(self, sender: int, message: Suspect, view: View) -> list[Delivery]:
        is_news = message.voter == sender and message.epoch == view.epoch and sender not in self.forger.members(view)
        if not is_news or not self._once.first((message.voter, message.new_view, view.now_ms // 1_000)):
            return []
        wish = self.forger.suspect(view, view.own, message.new_view).encode()
        return [Delivery(receiver, wish) for receiver in self.forger.honest(view)]


class _SplitPrimary(EquivocatingPrimary):
    """Two branches, halves as even as can be, the same for every member of the cartel; its own nodes see the first."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._count = 2
        self._confesses = False

    def _split(self, view: View, number: int) -> dict[int, int]:
        honest = self.forger.honest(view)
        order = hashlib.sha256(view.chain_id + b"%d %d" % (view.epoch, number)).digest()
        honest.sort(key=lambda index: (order[index % len(order)], index))
        sides = dict.fromkeys(self.forger.members(view), 0)
        sides.update((index, position % 2) for position, index in enumerate(honest))
        return sides
