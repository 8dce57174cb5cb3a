"""Byzantine voters: two votes where one is allowed, votes of others, votes of other times, wrong results."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from dawan_node.consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Suspect, ViewChange
from dawan_node.primitives.block import Result
from dawan_node.primitives.encoding import INT_MAX
from dawan_node.testing.attackers.attacker import (
    DELIVERIES_MAX,
    Attacker,
    Delivery,
    Once,
    View,
    others,
    to_all,
)
from dawan_node.testing.attackers.forger import Forger, Signable


class DoubleVoter(Attacker):
    """Votes for whatever each peer voted for, and where there is one block only, for that one here and for one that
    does not exist there; sometimes everybody gets both in the end (D4).

    Stopped by: a slot counts one vote per author, the first; two votes of one author are evidence; two quorums share
    an honest validator.
    """

    name: ClassVar[str] = "double-voter"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._confesses = rng.random() < 0.5
        self._once = Once()

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, Prepare | Commit) or message.voter != view.own:
            return super().send(message, receivers, view)
        deceived = [receiver for receiver in receivers if self.rng.random() < 0.4]
        told = [receiver for receiver in receivers if receiver not in deceived]
        other = self.forger.signed(view, self._contradiction(message))
        deliveries = to_all(message.encode(), told) + to_all(other.encode(), deceived)
        if self._confesses:
            delay = self.rng.randrange(50, 2_000)
            deliveries += to_all(other.encode(), told, delay) + to_all(message.encode(), deceived, delay)
        return deliveries

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        return agree(self.forger, self._once, sender, message, view, (view.own,))

    def _contradiction(self, vote: Prepare | Commit) -> Prepare | Commit:
        noise = self.rng.randbytes(32)
        if isinstance(vote, Commit) and self.rng.random() < 0.5:
            return msgspec.structs.replace(vote, result_hash=noise)
        return msgspec.structs.replace(vote, block_hash=noise)


def agree(
    forger: Forger, once: Once, sender: int, message: Message, view: View, voters: Sequence[int]
) -> list[Delivery]:
    """Votes of ``voters`` for what ``sender`` just voted for, sent to it alone, and once: an honest sender only, or two
    Byzantine nodes would answer each other for ever."""
    if isinstance(message, PrePrepare):
        header = message.header
        author, epoch, height, block_hash = view.primary(message.view), header.epoch, header.height, header.hash
    elif isinstance(message, Prepare | Commit):
        author, epoch, height, block_hash = message.voter, message.epoch, message.height, message.block_hash
    else:
        return []
    if author != sender or epoch != view.epoch or sender in forger.members(view):
        return []
    is_commit = isinstance(message, Commit)
    if not once.first((sender, is_commit, message.view, height, block_hash)):
        return []
    deliveries: list[Delivery] = []
    for voter in voters:
        vote: Prepare | Commit
        if isinstance(message, Commit):
            vote = forger.commit(view, voter, message.view, height, block_hash, message.result_hash)
        else:
            vote = forger.prepare(view, voter, message.view, height, block_hash)
        deliveries.append(Delivery(sender, vote.encode()))
    return deliveries


class VoteForger(Attacker):
    """Makes up statements of others: votes, wishes, VIEW-CHANGEs, proposals and NEW-VIEWs, with a random signature,
    with its own, or with one that its victim gave for something else.

    Stopped by: the author of a statement is whoever signed it, never the link or the index in it (1.14).
    """

    name: ClassVar[str] = "vote-forger"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._models: deque[Signable] = deque(maxlen=32)
        self._once = Once(64)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        if isinstance(message, Signable):
            self._models.append(message)
        if isinstance(message, ViewChange) and message.voter == sender and message.epoch == view.epoch:
            return self._hurry(message, view)
        return []

    def _hurry(self, model: ViewChange, view: View) -> list[Delivery]:
        """The VIEW-CHANGEs that others are about to send, before they do, and saying that nothing ever happened."""
        if not self._once.first((model.epoch, model.new_view)):
            return []
        deliveries: list[Delivery] = []
        for victim in self.forger.honest(view):
            blank = msgspec.structs.replace(model, voter=victim, last=(), prepared=())
            receivers = [index for index in others(view) if index != victim]
            deliveries += to_all(self._with_signature(blank, view).encode(), receivers)
        return deliveries[:DELIVERIES_MAX]

    def tick(self, view: View) -> list[Delivery]:
        deliveries: list[Delivery] = []
        models = list(self._models)
        for model in self.rng.sample(models, min(4, len(models))):
            for forged in self._forgeries(model, view):
                deliveries += to_all(forged.encode(), others(view))
        return deliveries[:DELIVERIES_MAX]

    def _forgeries(self, model: Signable, view: View) -> list[Message]:
        noise = self.rng.randbytes(32)
        if isinstance(model, PrePrepare):
            header = msgspec.structs.replace(model.header, timestamp_ms=model.header.timestamp_ms + 1)
            changed = msgspec.structs.replace(model, header=header)
            return [changed, self._with_signature(changed, view)]
        if isinstance(model, NewView):
            lie = msgspec.structs.replace(model, new_view=model.new_view + 1)
            return [lie, self._with_signature(lie, view)]
        victims = [index for index in self.forger.honest(view) if index != view.own]
        forged: list[Message] = []
        for victim in victims:
            draft = msgspec.structs.replace(model, voter=victim)
            if isinstance(draft, Prepare | Commit) and self.rng.random() < 0.5:
                draft = msgspec.structs.replace(draft, block_hash=noise)
            elif isinstance(draft, Suspect):
                draft = msgspec.structs.replace(draft, new_view=draft.new_view + self.rng.randrange(2))
            elif isinstance(draft, ViewChange):
                draft = msgspec.structs.replace(draft, prepared=())
            forged.append(self._with_signature(draft, view))
        return forged

    def _with_signature(self, draft: Signable, view: View) -> Message:
        """The draft as it is (a signature for something else), with noise, or with the node's own signature."""
        kind = self.rng.randrange(3)
        if kind == 0:
            return draft
        if kind == 1:
            return msgspec.structs.replace(draft, signature=self.rng.randbytes(64))
        return self.forger.signed(view, draft)


class StrayVoter(Attacker):
    """Votes, well signed, for everything that is not up for a vote: unknown blocks, heights and views nearby, far above
    the window and below the head, other epochs, validators that do not exist (D4, D10; CometBFT ASA-2024-011).

    Stopped by: votes are kept for (decided, decided + 2W] and one later view per author; indexes are checked first.
    """

    name: ClassVar[str] = "stray-voter"

    def tick(self, view: View) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for _ in range(12):
            vote = self._stray(view)
            audience = others(view) if self.rng.random() < 0.5 else self.rng.sample(others(view), 1)
            deliveries += to_all(vote.encode(), audience)
        return deliveries[:DELIVERIES_MAX]

    def _stray(self, view: View) -> Prepare | Commit:
        rng, window = self.rng, view.window
        heights = (-1, 0, 1, 1, 2, window, window + 1, 2 * window, 2 * window + 1, 100, 10**9)
        height = max(0, view.height + rng.choice(heights))
        number = max(0, view.view + rng.choice((-1, 0, 0, 1, 1, 2, 7)))
        voter = rng.choice((*[view.own] * 6, view.n, view.n + 1, 63, 64, INT_MAX))
        epoch = max(0, view.epoch + rng.choice((0, 0, 0, 0, 1, -1)))
        block_hash = rng.randbytes(32)
        vote: Prepare | Commit
        if rng.random() < 0.5:
            vote = self.forger.prepare(view, voter, number, height, block_hash)
        else:
            vote = self.forger.commit(view, voter, number, height, block_hash, rng.randbytes(32))
        return self.forger.signed(view, msgspec.structs.replace(vote, epoch=epoch))


class Replayer(Attacker):
    """Says again, later and to others, what it heard: messages of old views, of other epochs, and its own for other
    chains; whole ones and ones whose view or epoch it moved (pitfall B12).

    Stopped by: chain, epoch, view and height stand in every signed statement; a SUSPECT counts on its author's link.
    """

    name: ClassVar[str] = "replayer"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._heard: deque[Message] = deque(maxlen=256)  # of all kinds, the latest
        self._early: list[Message] = []  # the very first ones: old views and epochs for ever

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        self._heard.append(message)
        if len(self._early) < 256:
            self._early.append(message)
        return []

    def tick(self, view: View) -> list[Delivery]:
        deliveries: list[Delivery] = []
        for _ in range(8):
            source: Sequence[Message] = self._early if self.rng.random() < 0.4 else self._heard
            if not source:
                return deliveries
            message = source[self.rng.randrange(len(source))]
            deliveries += to_all(self._moved(message, view).encode(), self.rng.sample(others(view), 1))
        return deliveries

    def _moved(self, message: Message, view: View) -> Message:
        kind = self.rng.randrange(4)
        if kind < 2 or not isinstance(message, Prepare | Commit | Suspect):
            return message
        if kind == 2:  # its own statement, for another chain
            foreign = msgspec.structs.replace(message, voter=view.own)
            return self.forger.signed(view, foreign, chain_id=self.rng.randbytes(32))
        if isinstance(message, Suspect):
            return msgspec.structs.replace(message, epoch=view.epoch, new_view=view.view + 1)
        return msgspec.structs.replace(message, epoch=view.epoch, view=view.view)


class WrongResult(Attacker):
    """Commits to results that no execution gives: in words, while its replica knows better, or in deed, so that its
    replica believes them; always, now and then, or another one for each receiver.

    Stopped by: a certificate takes q equal results; a minority's result changes nothing (L1) but the quarantine of
    whoever computed it.
    """

    name: ClassVar[str] = "wrong-result"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._in_deed = rng.random() < 0.25
        self._often = rng.choice((1.0, 1.0, 0.3))

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        lies = isinstance(message, Commit) and message.voter == view.own and self.rng.random() < self._often
        if self._in_deed or not lies or not isinstance(message, Commit):
            return super().send(message, receivers, view)
        if self.rng.random() < 0.5:
            return to_all(self._lie(message, view), receivers)
        return [Delivery(receiver, self._lie(message, view)) for receiver in receivers]

    def result(self, result: Result) -> Result:
        if not self._in_deed or self.rng.random() >= self._often:
            return result
        return msgspec.structs.replace(result, state_root=self.rng.randbytes(32))

    def _lie(self, vote: Commit, view: View) -> bytes:
        return self.forger.signed(view, msgspec.structs.replace(vote, result_hash=self.rng.randbytes(32))).encode()
