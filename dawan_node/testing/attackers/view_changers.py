"""Byzantine view changers: what can be said wrongly about what was decided and prepared, and who wishes for what."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec

from dawan_node.consensus.messages import Decision, Message, NewView, Suspect, SuspectEntry, ViewChange
from dawan_node.consensus.verification import Verifier
from dawan_node.consensus.view_change import Epoch, Plan, plan_of
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate
from dawan_node.primitives.encoding import INT_MAX
from dawan_node.testing.attackers.attacker import Attacker, Delivery, Once, View, others, to_all
from dawan_node.testing.attackers.forger import Forger
from dawan_node.testing.attackers.primaries import RestlessPrimary
from dawan_node.testing.attackers.voters import agree

Prepared = tuple[tuple[Header, PreparedCertificate], ...]
Last = tuple[tuple[Header, CommitCertificate], ...]


class LyingViewChange(RestlessPrimary):
    """Leaves PCs out of its VIEW-CHANGE, shows older ones, claims an older head or none; the same to all, or another to
    each (D7).

    Stopped by: any q VIEW-CHANGEs hold an honest one of whoever may have decided; a COMMIT whose PC is missing later,
    and two VIEW-CHANGEs for one view, are evidence (1.12 c, A6 d).
    """

    name: ClassVar[str] = "lying-view-change"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._lies_to_each = rng.random() < 0.5
        self._told: OrderedDict[tuple[int, int], ViewChange] = OrderedDict()  # what it said to all stays said
        self._heads: deque[tuple[Header, CommitCertificate]] = deque(maxlen=32)
        self._pcs: deque[tuple[Header, PreparedCertificate]] = deque(maxlen=64)

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, ViewChange) or message.voter != view.own or message.epoch != view.epoch:
            return super().send(message, receivers, view)
        deliveries: list[Delivery] = []
        for receiver in receivers:
            key = (message.epoch, message.new_view)
            lie = None if self._lies_to_each else self._told.get(key)
            if lie is None:
                lie = self._told[key] = self.lie(message, view)
                if len(self._told) > 16:
                    self._told.popitem(last=False)
            deliveries.append(Delivery(receiver, lie.encode()))
        self._pcs.extend(message.prepared)
        self._heads.extend(message.last)
        return deliveries

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        if isinstance(message, Decision) and not message.links and message.header.epoch == view.epoch:
            self._heads.append((message.header, message.certificate))
        elif isinstance(message, ViewChange) and message.epoch == view.epoch:
            self._pcs.extend(message.prepared)
            self._heads.extend(message.last)
        return []

    def lie(self, truth: ViewChange, view: View) -> ViewChange:
        """A valid VIEW-CHANGE of its own that says less than ``truth``, or as much in one case of six."""
        last, prepared = truth.last, truth.prepared
        kind = self.rng.randrange(6)
        if kind == 0:
            prepared = ()
        elif kind == 1:
            prepared = tuple(pair for pair in prepared if self.rng.random() < 0.5)
        elif kind == 2:
            prepared = tuple(self._older(pair, view) for pair in prepared)
        elif kind == 3:
            last, prepared = (), ()
        elif kind == 4:
            last, prepared = self._older_head(truth, view), ()
        return self.forger.view_change(view, view.own, truth.new_view, truth.suspects, last, prepared)

    def _older(self, pair: tuple[Header, PreparedCertificate], view: View) -> tuple[Header, PreparedCertificate]:
        """The PC of the lowest view it ever saw for that height."""
        known = [
            (header, pc)
            for header, pc in self._pcs
            if header.height == pair[0].height and header.epoch == view.epoch and pc.view < pair[1].view
        ]
        return min(known, key=lambda item: item[1].view, default=pair)

    def _older_head(self, truth: ViewChange, view: View) -> Last:
        height = truth.last[0][0].height if truth.last else 0
        known = [head for head in self._heads if head[0].epoch == view.epoch and head[0].height < height]
        return (self.rng.choice(known),) if known else ()


class ForgedNewView(Attacker):
    """Opens its views with a NEW-VIEW that does not follow from its proof: O shortened, extended, reordered or of other
    blocks; VIEW-CHANGEs repeated, missing, too many, unordered, altered, of another view or epoch (D8; FISCO FIB-124,
    fabric v0.6 counted repeated signers).

    Stopped by: everybody computes base and O from the VIEW-CHANGEs and compares; a NEW-VIEW that its primary signed
    and that does not follow is proof against it (L12).
    """

    name: ClassVar[str] = "forged-new-view"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._old: deque[bytes] = deque(maxlen=32)  # VIEW-CHANGEs of views that are over

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, NewView) or not _is_opened_by(message, view):
            return super().send(message, receivers, view)
        deceived = [receiver for receiver in receivers if self.rng.random() < 0.8]
        deliveries = to_all(message.encode(), [receiver for receiver in receivers if receiver not in deceived])
        for receiver in deceived:
            deliveries.append(Delivery(receiver, self.forge(message, view).encode()))
        self._old.extend(message.view_changes)
        return deliveries

    def forge(self, truth: NewView, view: View) -> NewView:
        """``truth`` with one thing wrong, signed."""
        lies: list[Callable[[NewView, View], NewView]] = [
            self._longer_o,
            *[self._repeated_voter] * 3,
            self._without_own,
            self._one_less,
            self._one_more,
            self._altered_view_change,
            self._other_epoch,
            self._undecodable_view_change,
        ]
        if truth.prepares:
            lies += [self._shorter_o] * 2 + [self._other_block] * 2
        if len(truth.prepares) > 1:
            lies += [self._reordered_o] * 4
        if len(truth.view_changes) > 1:
            lies += [self._unordered]
        if self._old:
            lies += [self._old_view_change]
        return self.forger.signed(view, self.rng.choice(lies)(truth, view))

    def _longer_o(self, truth: NewView, view: View) -> NewView:
        extra = self.forger.prepare(view, view.own, truth.new_view, view.height + 1, self.rng.randbytes(32))
        return msgspec.structs.replace(truth, prepares=(*truth.prepares, extra.signature))

    def _shorter_o(self, truth: NewView, view: View) -> NewView:
        return msgspec.structs.replace(truth, prepares=truth.prepares[: self.rng.randrange(len(truth.prepares))])

    def _reordered_o(self, truth: NewView, view: View) -> NewView:
        return msgspec.structs.replace(truth, prepares=truth.prepares[::-1])

    def _other_block(self, truth: NewView, view: View) -> NewView:
        which = self.rng.randrange(len(truth.prepares))
        vote = self.forger.prepare(view, view.own, truth.new_view, view.height + 1 + which, self.rng.randbytes(32))
        changed = (*truth.prepares[:which], vote.signature, *truth.prepares[which + 1 :])
        return msgspec.structs.replace(truth, prepares=changed)

    def _repeated_voter(self, truth: NewView, view: View) -> NewView:
        """A quorum of one: its own VIEW-CHANGE as often as needed, hiding what it saw, and the O that follows."""
        own = next(vc for vc in map(ViewChange.decode, truth.view_changes) if vc.voter == view.own)
        blank = self.forger.signed(view, msgspec.structs.replace(own, prepared=())).encode()
        return msgspec.structs.replace(truth, view_changes=(blank,) * len(truth.view_changes), prepares=())

    def _without_own(self, truth: NewView, view: View) -> NewView:
        kept = tuple(data for data in truth.view_changes if ViewChange.decode(data).voter != view.own)
        return msgspec.structs.replace(truth, view_changes=kept)

    def _one_less(self, truth: NewView, view: View) -> NewView:
        return msgspec.structs.replace(truth, view_changes=truth.view_changes[:-1])

    def _one_more(self, truth: NewView, view: View) -> NewView:
        return msgspec.structs.replace(truth, view_changes=(*truth.view_changes, truth.view_changes[-1]))

    def _unordered(self, truth: NewView, view: View) -> NewView:
        return msgspec.structs.replace(truth, view_changes=truth.view_changes[::-1])

    def _altered_view_change(self, truth: NewView, view: View) -> NewView:
        """Somebody's VIEW-CHANGE without what it saw prepared, under the node's own signature."""
        which = self.rng.randrange(len(truth.view_changes))
        victim = ViewChange.decode(truth.view_changes[which])
        altered = self.forger.signed(view, msgspec.structs.replace(victim, prepared=(), last=()))
        if altered == victim:
            altered = msgspec.structs.replace(altered, signature=self.rng.randbytes(64))
        changed = (*truth.view_changes[:which], altered.encode(), *truth.view_changes[which + 1 :])
        return msgspec.structs.replace(truth, view_changes=changed)

    def _old_view_change(self, truth: NewView, view: View) -> NewView:
        old = self._old[self.rng.randrange(len(self._old))]
        return msgspec.structs.replace(truth, view_changes=(*truth.view_changes[:-1], old))

    def _other_epoch(self, truth: NewView, view: View) -> NewView:
        return msgspec.structs.replace(truth, epoch=abs(truth.epoch + self.rng.choice((-1, 1))))

    def _undecodable_view_change(self, truth: NewView, view: View) -> NewView:
        junk = self.rng.choice((b"", b"\x90", b"\xc1", self.rng.randbytes(40), b"\x91" * 200))
        return msgspec.structs.replace(truth, view_changes=(*truth.view_changes[:-1], junk))


class TwoNewViews(Attacker):
    """Opens each of its views twice, both times validly: over other VIEW-CHANGEs and with a VIEW-CHANGE of its own that
    hides what it saw prepared, so that some propose again what others do not. It votes for both sides.

    Stopped by: whatever may have been decided is in every O; of the rest, one view lets only one block gather q
    PREPAREs; two NEW-VIEWs of one primary are evidence (1.12 b).
    """

    name: ClassVar[str] = "two-new-views"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._confesses = rng.random() < 0.5
        self._view_changes: dict[int, ViewChange] = {}  # the highest per voter
        self._once = Once()

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, NewView) or not _is_opened_by(message, view):
            return super().send(message, receivers, view)
        second = self.second(message, view)
        if second is None:
            return super().send(message, receivers, view)
        side = [receiver for receiver in receivers if self.rng.random() < 0.5]
        rest = [receiver for receiver in receivers if receiver not in side]
        deliveries = to_all(message.encode(), rest) + to_all(second.encode(), side)
        if self._confesses:
            delay = self.rng.randrange(100, 3_000)
            deliveries += to_all(message.encode(), side, delay) + to_all(second.encode(), rest, delay)
        return deliveries

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        self.notice(message, view)
        return agree(self.forger, self._once, sender, message, view, (view.own,))

    def notice(self, message: Message, view: View) -> None:
        """Keep a VIEW-CHANGE that a second NEW-VIEW may stand on."""
        if isinstance(message, ViewChange) and message.epoch == view.epoch and message.voter < view.n:
            known = self._view_changes.get(message.voter)
            if known is None or known.epoch != view.epoch or message.new_view > known.new_view:
                self._view_changes[message.voter] = message

    def second(self, first: NewView, view: View) -> NewView | None:
        """Another valid NEW-VIEW for the same view, None when there is no other."""
        chosen = [ViewChange.decode(data) for data in first.view_changes]
        by_voter = {message.voter: message for message in chosen}
        by_voter.update(
            (voter, message)
            for voter, message in sorted(self._view_changes.items())
            if message.epoch == first.epoch and message.new_view == first.new_view and voter not in by_voter
        )
        own = by_voter.pop(view.own)
        # Those who saw the least prepared come first: the O that follows is the shortest that is valid.
        friends = sorted(by_voter.values(), key=lambda message: (len(message.prepared), self.rng.random()))
        hidden = self.forger.view_change(view, view.own, first.new_view, own.suspects, own.last, ())
        together = sorted([hidden, *friends[: view.q - 1]], key=lambda message: message.voter)
        plan = self._plan_of(together, view)
        if plan is None:
            return None
        entries = [(entry.header.height, entry.block_hash) for entry in plan.entries]
        second = self.forger.new_view(view, first.new_view, together, entries)
        return None if second == first else second

    def _plan_of(self, view_changes: list[ViewChange], view: View) -> Plan | None:
        base_height, base_hash = view.epoch_base
        verifier = Verifier(view.chain_id, lambda key, signed, signature: True)
        epoch = Epoch(view.chain_id, view.epoch, view.validators, view.window, base_height, base_hash, verifier)
        plan = plan_of(epoch, view_changes)
        return plan if isinstance(plan, Plan) else None


class SuspectStorm(Attacker):
    """Wishes for the next view, for later ones and for the last there is, without end and for each receiver another;
    sends on the wishes of others; sends VIEW-CHANGEs with too few wishes, or the same wish q times (D9).

    Stopped by: a wish moves nobody unless f + 1 share it, and counts on its author's own link only; a VIEW-CHANGE
    needs q distinct wishes; timers are doubled and capped.
    """

    name: ClassVar[str] = "suspect-storm"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._wishes: deque[Suspect] = deque(maxlen=64)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        if isinstance(message, Suspect):
            self._wishes.append(message)
        return []

    def tick(self, view: View) -> list[Delivery]:
        rng, deliveries = self.rng, []
        nearest = max(view.view, view.target)
        for receiver in others(view):
            for _ in range(2):
                number = rng.choice((nearest + 1, nearest + 1, nearest + 2, nearest + view.n, nearest + 10**6, INT_MAX))
                deliveries.append(Delivery(receiver, self.forger.suspect(view, view.own, number).encode()))
            if self._wishes:
                wish = self._wishes[rng.randrange(len(self._wishes))]
                deliveries.append(Delivery(receiver, wish.encode()))
        lonely = self.forger.view_change(view, view.own, nearest + 1, self._too_few_wishes(nearest + 1, view))
        return deliveries + to_all(lonely.encode(), others(view))

    def _too_few_wishes(self, number: int, view: View) -> tuple[SuspectEntry, ...]:
        kind = self.rng.randrange(4)
        own = self.forger.suspects(view, number, (view.own,))
        if kind == 0:
            return own
        if kind == 1:
            return own * view.q
        if kind == 2:  # all the others' wishes, in its own hand
            return self.forger.suspects(view, number, range(view.q))
        known = {wish.voter: wish for wish in self._wishes if wish.epoch == view.epoch}
        entries = [SuspectEntry(wish.voter, wish.new_view, wish.signature) for wish in known.values()]
        return tuple(sorted([*own, *entries], key=lambda entry: entry.voter))[:64]


def _is_opened_by(message: NewView, view: View) -> bool:
    """Whether the node is the primary that opens this view; others' NEW-VIEWs are passed on."""
    return message.epoch == view.epoch and view.primary(message.new_view) == view.own
