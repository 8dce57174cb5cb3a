"""Byzantine primaries: what a node can do to the blocks it proposes, and to those who wait for them."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import ClassVar, Final, TypeVar

import msgspec

from dawan_node.consensus import Timers
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Status,
    ViewChange,
)
from dawan_node.primitives.block import Header
from dawan_node.testing.attackers.attacker import Attacker, Delivery, Once, View, others, to_all
from dawan_node.testing.attackers.forger import Forger, variant

K = TypeVar("K")
V = TypeVar("V")

_REMEMBERED: Final = 256  # proposals of its own, many windows of them


class EquivocatingPrimary(Attacker):
    """Proposes two or three blocks at each height of its views, every one acceptable, each to a part of the others, and
    commits to each where it sent it (D1). The branches grow: a later proposal stands on its own branch.

    Stopped by: two quorums of one view share an honest validator, so at most one block is prepared; and whoever sees
    two PREPAREs of the primary keeps them as evidence and wishes for the next view.
    """

    name: ClassVar[str] = "equivocating-primary"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._count = rng.choice((2, 2, 3))
        self._confesses = rng.random() < 0.5  # later everybody sees every branch
        self._sides: OrderedDict[tuple[int, int], dict[int, int]] = OrderedDict()
        self._branches: OrderedDict[bytes, tuple[PrePrepare, ...]] = OrderedDict()
        self._branch_of: OrderedDict[bytes, int] = OrderedDict()
        self._once = Once()

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if isinstance(message, PrePrepare) and is_mine(message, view):
            return self._propose(message, receivers, view)
        if isinstance(message, Commit) and message.voter == view.own and message.block_hash in self._branches:
            sides = self._sides_of(view, message.view)
            return to_all(message.encode(), [receiver for receiver in receivers if sides[receiver] == 0])
        return super().send(message, receivers, view)

    def heard(self, sender: int, message: Message, view: View) -> list[Delivery]:
        """Where a branch of its own gains a COMMIT, it commits too."""
        if not isinstance(message, Commit) or message.epoch != view.epoch or message.voter != sender:
            return []
        branch = self._branch_of.get(message.block_hash, 0)
        if branch == 0 or not self._once.first((message.view, message.block_hash, message.result_hash)):
            return []
        vote = self.forger.commit(view, view.own, message.view, message.height, message.block_hash, message.result_hash)
        sides = self._sides_of(view, message.view)
        return to_all(vote.encode(), [index for index in others(view) if sides[index] == branch])

    def _propose(self, message: PrePrepare, receivers: Sequence[int], view: View) -> list[Delivery]:
        sides = self._sides_of(view, message.view)
        proposals = self._variants(message, view)
        deliveries = [Delivery(to, proposals[sides[to] % len(proposals)].encode()) for to in receivers]
        if self._confesses:
            delay = self.rng.randrange(100, 3_000)
            for proposal in proposals:
                deliveries += to_all(proposal.encode(), receivers, delay)
        return deliveries

    def _variants(self, message: PrePrepare, view: View) -> tuple[PrePrepare, ...]:
        """The same again for a proposal that is sent again."""
        header = message.header
        block_hash = header.hash
        known = self._branches.get(block_hash)
        if known is not None and known[0].view == message.view:
            return known
        below = self._branches.get(header.parent_hash) if header.height - 1 > view.height else None
        proposals = [message]
        for branch in range(1, self._count):
            parent = header.parent_hash if below is None else below[branch % len(below)].header.hash
            changed, leaves = variant(header, message.leaf_hashes, branch, parent)
            proposals.append(self.forger.pre_prepare(view, message.view, changed, leaves))
        _remember(self._branches, block_hash, tuple(proposals))
        for branch, proposal in enumerate(proposals):
            _remember(self._branch_of, proposal.header.hash, branch)
        return tuple(proposals)

    def _sides_of(self, view: View, number: int) -> dict[int, int]:
        """Which branch each validator is sent in view ``number``: any split in which no branch is empty."""
        key = (view.epoch, number)
        sides = self._sides.get(key)
        if sides is None:
            sides = self._split(view, number)
            _remember(self._sides, key, sides)
        return sides

    def _split(self, view: View, number: int) -> dict[int, int]:
        audience = others(view)
        self.rng.shuffle(audience)
        sides = {index: position for position, index in enumerate(audience[: self._count])}
        sides.update((index, self.rng.randrange(self._count)) for index in audience[self._count :])
        sides[view.own] = 0
        return sides


class RestlessPrimary(Attacker):
    """What those have in common who need view changes to lie about: as a primary some of them propose a few blocks and
    fall silent, so that their lies are asked for."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._patience = rng.choice((1, 3, 10, 10**9))
        self._proposed: tuple[tuple[int, int], int] = ((0, 0), 0)  # (epoch, view), how many there

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if isinstance(message, PrePrepare) and is_mine(message, view):
            here = (view.epoch, message.view)
            count = self._proposed[1] + 1 if self._proposed[0] == here else 1
            self._proposed = (here, count)
            if count > self._patience:
                return []
        return super().send(message, receivers, view)


class MalformedPrimary(Attacker):
    """Signs proposals that break one rule of acceptance each: parent, root, count, size, time, proposer, validator set,
    epoch, height, barrier flag, chain (D6; FISCO CVE-2022-28937 stopped a chain by one such header).

    Stopped by: a block is accepted by its rules alone, a refused one is not voted for, and the view changes.
    """

    name: ClassVar[str] = "malformed-primary"

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if not isinstance(message, PrePrepare) or not is_mine(message, view) or self.rng.random() < 0.3:
            return super().send(message, receivers, view)
        header, leaves = self._spoil(message, view)
        spoilt = self.forger.pre_prepare(view, message.view, header, leaves)
        unlucky = [receiver for receiver in receivers if self.rng.random() < 0.8]
        spared = [receiver for receiver in receivers if receiver not in unlucky]
        return to_all(spoilt.encode(), unlucky) + to_all(message.encode(), spared)

    def _spoil(self, message: PrePrepare, view: View) -> tuple[Header, tuple[bytes, ...]]:
        header, leaves = message.header, message.leaf_hashes
        noise = self.rng.randbytes(32)
        day_ms = 86_400_000
        changes: list[dict[str, object]] = [
            {"parent_hash": noise},
            {"tx_root": noise},
            {"tx_count": header.tx_count + 1},
            {"tx_count": 0},
            {"body_bytes": 0},
            {"body_bytes": header.body_bytes + 1},
            {"body_bytes": 2**40},
            {"timestamp_ms": header.timestamp_ms + day_ms},
            {"timestamp_ms": max(0, header.timestamp_ms - day_ms)},
            {"timestamp_ms": 0},
            {"proposer": (header.proposer + 1) % view.n},
            {"proposer": view.n + 7},
            {"valset_hash": noise},
            {"epoch": header.epoch + 1},
            {"height": header.height + 1},
            {"height": header.height + view.window},
            {"height": 0},
            {"barrier": not header.barrier},
            {"chain_id": noise},
        ]
        which = self.rng.randrange(len(changes) + 3)
        if which < len(changes):
            return msgspec.structs.replace(header, **changes[which]), leaves
        if which == len(changes):
            return header, ()
        if which == len(changes) + 1:
            return header, (*leaves, noise)  # not the list of this root
        doubled, list_of_two = variant(header, (*leaves, leaves[0]), 0, header.parent_hash)
        return msgspec.structs.replace(doubled, tx_count=header.tx_count + 1), list_of_two  # a transaction twice


class Silent(Attacker):
    """From some time on says nothing at all, or nothing of one phase, or nothing but that it is alive (D2).

    Stopped by: the progress timer, which only decisions stop, and the silence timer; q others decide without it.
    """

    name: ClassVar[str] = "silent"

    _PHASES: ClassVar[tuple[tuple[type[Message], ...], ...]] = (
        (PrePrepare,),
        (Prepare,),
        (Commit,),
        (PrePrepare, Prepare, Commit),
        (ViewChange,),
        (NewView,),
        (Decision,),
        (Status,),
    )

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._after_ms = rng.randrange(20_000)
        self._start: int | None = None
        self._mutes: tuple[type[Message], ...] | None = rng.choice((None, None, *self._PHASES))

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if self._has_begun(view) and (self._mutes is None or isinstance(message, self._mutes)):
            return []
        return super().send(message, receivers, view)

    def serves_body(self, block_hash: bytes, to: int, view: View) -> bool:
        return self._mutes is not None or not self._has_begun(view)

    def _has_begun(self, view: View) -> bool:
        if self._start is None:
            self._start = view.now_ms + self._after_ms
        return view.now_ms >= self._start


class SlowPrimary(Attacker):
    """Does everything at 0.9 of the time after which others act: proposals, votes, NEW-VIEWs (D2). Aardvark measured
    what a primary just below its timeout costs classic PBFT: all but everything.

    Stopped by: limits that measured commit times can only shorten (L9), so it cannot drag up what it is judged by.
    """

    name: ClassVar[str] = "slow-primary"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        limits: tuple[Callable[[Timers], int], ...] = (
            lambda timers: timers.view_min_ms,
            lambda timers: timers.view_ms,
            lambda timers: timers.silence_ms,
        )
        self._limit = rng.choice(limits)
        self._delays_votes = rng.random() < 0.5
        self._withholds_commits = rng.random() < 0.5

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        is_slow = isinstance(message, NewView) or (self._delays_votes and not isinstance(message, Status))
        if isinstance(message, Commit) and self._withholds_commits and view.primary(view.view) == view.own:
            return []
        return to_all(message.encode(), receivers, self.proposal_delay_ms(view) if is_slow else 0)

    def proposal_delay_ms(self, view: View) -> int:
        return self._limit(view.timers) * 9 // 10


class CensoringPrimary(Attacker):
    """Never proposes the transactions of some clients: a quarter of all, told apart by their hashes (D3).

    Stopped by: every validator knows the transactions and watches what is skipped; a complaint of f + 1 moves the view.
    """

    name: ClassVar[str] = "censoring-primary"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._victim = rng.randrange(4)

    def choose(self, leaf_hashes: Sequence[bytes], view: View) -> Sequence[bytes]:
        return [leaf for leaf in leaf_hashes if not self.is_censored(leaf)]

    def is_censored(self, leaf_hash: bytes) -> bool:
        """Whether it belongs to the clients it cannot stand."""
        return leaf_hash[0] % 4 == self._victim


class SelectiveSender(Attacker):
    """Sends only to just enough for a quorum, only to one, or to others each time; its STATUS goes to all, or not.

    Stopped by: whoever lacks something says so in its STATUS and gets it from the others (L4); certificates of q
    decide wherever they come from; f + 1 PREPAREs for an unknown block lead to its proposal (L9).
    """

    name: ClassVar[str] = "selective-sender"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._mode = rng.choice(("quorum", "one", "changing", "by view"))
        self._tells_all = rng.random() < 0.7

    def send(self, message: Message, receivers: Sequence[int], view: View) -> list[Delivery]:
        if isinstance(message, Status) and self._tells_all:
            return super().send(message, receivers, view)
        chosen = self._chosen(view)
        return to_all(message.encode(), [receiver for receiver in receivers if receiver in chosen])

    def _chosen(self, view: View) -> list[int]:
        audience = others(view)
        count = 1 if self._mode == "one" else view.q - 1
        if self._mode == "changing":
            return self.rng.sample(audience, self.rng.randint(0, len(audience)))
        if self._mode == "by view":
            turn = view.view % max(1, len(audience))
            audience = audience[turn:] + audience[:turn]
        return audience[:count]


class BodyWithholdingPrimary(Attacker):
    """Proposes the newest transactions first, which the fewest have, and gives their bodies to nobody, to one, or only
    after a while.

    Stopped by: no PREPARE without the bodies (L5), so a PC has f + 1 honest holders; without a PC the view changes.
    """

    name: ClassVar[str] = "body-withholding-primary"

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        super().__init__(forger, rng)
        self._mode = rng.choice(("nobody", "one", "late"))
        self._friend = rng.randrange(64)
        self._asked_at: OrderedDict[bytes, int] = OrderedDict()

    def choose(self, leaf_hashes: Sequence[bytes], view: View) -> Sequence[bytes]:
        return leaf_hashes[::-1]

    def serves_body(self, block_hash: bytes, to: int, view: View) -> bool:
        if self._mode == "one":
            return to == self._friend % view.n
        if self._mode == "nobody":
            return False
        asked_at = self._asked_at.get(block_hash)
        if asked_at is None:
            _remember(self._asked_at, block_hash, view.now_ms)
            return False
        return view.now_ms >= asked_at + 4_000


def is_mine(message: PrePrepare, view: View) -> bool:
    """Whether the node is the primary whose proposal this is; others' are passed on."""
    return message.header.epoch == view.epoch and view.primary(message.view) == view.own


def _remember(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)
