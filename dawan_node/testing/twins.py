"""Twins: Byzantine behaviour from honest code (Bano et al., arXiv 2004.10617; consensus.md section 2).

A validator that runs twice, on two nodes with one key, equivocates, votes twice and forgets, without a line of
attacking code. What makes it dangerous is who hears which twin, so a **scenario** fixes exactly that: for each step the
primary, and a partition of all nodes into two or three groups.

A step is a view: everybody wishes for the next view of the wanted primary, what belongs to the view travels inside the
groups, and is delivered to the end. In PBFT everybody votes to everybody, so a partition per view alone would decide a
block in a whole group or nowhere. A ``Cut`` moves the moment the partition of the next step takes over: before this
view's COMMITs leave, or already before its PREPAREs do, except that one node may hear them in time. So a block is
prepared here, decided by one node there, and what one group proposed another may finish.

All scenarios of a ``Space`` are numbered, with the last step as the least significant digit: any range can be
enumerated, and ``Space.shuffled`` spreads consecutive numbers over the whole space without repeating one. Every eighth
scenario changes views by the real pacemaker (SUSPECTs) instead of by a quorum of wishes at hand; every eighth is healed
at the end and must decide.

What may never happen is judged by ``bare_network``. With at most f twins a ``Violation`` is a bug of the protocol; with
f + 1 there *must* be some, or the checker is blind.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import Final

from dawan_node.consensus.messages import Commit, Prepare
from dawan_node.testing.bare_network import BareNetwork

#: Which eighth of the scenarios uses the pacemaker, and which is healed.
_EIGHTH: Final = 8
_PACEMAKER: Final = 3
_HEALED: Final = 5
#: Steps of one second a healed network gets: a view of the longest back-off, and a few more (consensus.md 1.7).
_HEAL_STEPS_MAX: Final = 180


@dataclass(frozen=True, slots=True)
class Cut:
    """Votes that leave only through the partition of the next step, and the one node (if any) that hears them now."""

    late: tuple[type, ...] = ()
    hearer: int | None = None

    def __str__(self) -> str:
        if not self.late:
            return "all in time"
        names = " and ".join(kind.__name__ for kind in self.late)
        return f"{names} late" + ("" if self.hearer is None else f" but for {self.hearer}")


@cache
def cuts(nodes: int) -> tuple[Cut, ...]:
    """Every cut of a network of ``nodes``."""
    hearers = (None, *range(nodes))
    kinds: tuple[tuple[type, ...], ...] = ((Commit,), (Prepare, Commit))
    return (Cut(), *(Cut(late, hearer) for late in kinds for hearer in hearers))


@dataclass(frozen=True, slots=True)
class Step:
    """One view: its primary (a validator), who is connected (equal numbers), and until when."""

    primary: int
    groups: tuple[int, ...]
    cut: Cut

    def __str__(self) -> str:
        parts = [[str(node) for node, group in enumerate(self.groups) if group == number] for number in range(3)]
        return f"primary {self.primary}: {' | '.join(' '.join(part) for part in parts if part)}; {self.cut}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who is twinned, and what happens in each view. The primary of the first step is validator 0, that of view 0."""

    twins: tuple[int, ...]
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join([f"twins {self.twins}", *(str(step) for step in self.steps)])


@cache
def partitions(nodes: int) -> tuple[tuple[int, ...], ...]:
    """Every way to divide ``nodes`` into two or three groups, as group numbers; the first node's group is 0."""
    return tuple(groups for groups in _growth_strings(nodes) if max(groups) >= 1)


def _growth_strings(nodes: int) -> Iterator[tuple[int, ...]]:
    """Group numbers where each new group is the lowest unused number: one string per partition into at most three."""
    if nodes == 1:
        yield (0,)
        return
    for head in _growth_strings(nodes - 1):
        for group in range(min(2, max(head) + 1) + 1):
            yield (*head, group)


@dataclass(frozen=True, slots=True)
class Space:
    """All scenarios of ``n`` validators with ``twins`` of them doubled, over ``views`` views."""

    n: int = 4
    twins: int = 1
    views: int = 5

    @property
    def size(self) -> int:
        """How many scenarios there are."""
        size = math.comb(self.n, self.twins) * self._ways
        for _ in range(self.views - 1):
            size *= self.n * self._ways
        return size

    @property
    def _ways(self) -> int:
        nodes = self.n + self.twins
        return len(partitions(nodes)) * len(cuts(nodes))

    def scenario(self, index: int) -> Scenario:
        """Scenario number ``index``, from 0."""
        assert 0 <= index < self.size, "no such scenario"
        ways, endings = partitions(self.n + self.twins), cuts(self.n + self.twins)
        steps: list[Step] = []
        for number in range(self.views):
            index, cut = divmod(index, len(endings))
            index, way = divmod(index, len(ways))
            primary = 0
            if number < self.views - 1:  # counted from the last step: all but the first choose a primary
                index, primary = divmod(index, self.n)
            steps.append(Step(primary, ways[way], endings[cut]))
        pairs = tuple(combinations(range(self.n), self.twins))
        return Scenario(pairs[index], tuple(reversed(steps)))

    def shuffled(self, position: int, seed: int) -> int:
        """The index at ``position`` of a permutation of the whole space, as good as random.

        A Feistel network permutes the numbers of twice ``half`` bits; what falls outside the space is permuted again
        until it falls inside (cycle walking).
        """
        half = (self.size.bit_length() + 1) // 2
        mask = (1 << half) - 1
        index = position % self.size
        while True:
            left, right = index >> half, index & mask
            for number in range(4):
                digest = hashlib.sha256(b"%d %d %d" % (seed, number, right)).digest()
                left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
            index = left << half | right
            if index < self.size:
                return index


@dataclass(frozen=True, slots=True)
class Violation:
    """What scenario ``index`` showed that may never be."""

    index: int
    text: str


@dataclass(slots=True)
class TwinsReport:
    """What a run saw. ``decided``: scenarios in which somebody decided; ``views_reached``: scenarios by the highest
    view an honest node entered."""

    scenarios: int = 0
    violations: list[Violation] = field(default_factory=list)
    decided: int = 0
    views_reached: dict[int, int] = field(default_factory=dict)
    messages: int = 0

    def add(self, other: TwinsReport) -> None:
        """Take in what another part of the same space showed."""
        self.scenarios += other.scenarios
        self.violations += other.violations
        self.decided += other.decided
        self.messages += other.messages
        for view, count in other.views_reached.items():
            self.views_reached[view] = self.views_reached.get(view, 0) + count


def run(
    first: int, count: int, *, twins: int = 1, views: int = 5, n: int = 4, window: int = 1, seed: int | None = None
) -> TwinsReport:
    """Play scenarios ``first`` to ``first + count - 1``, in the shuffled order of ``seed`` if one is given; a pure
    function of its arguments. With ``window`` heights in flight as many are decided."""
    space = Space(n, twins, views)
    report = TwinsReport()
    was_collecting = gc.isenabled()
    gc.disable()  # networks are trees and free themselves
    try:
        for position in range(first, first + count):
            index = position % space.size if seed is None else space.shuffled(position, seed)
            network = play(space, index, window=window)
            report.scenarios += 1
            report.violations += [Violation(index, text) for text in network.violations]
            report.decided += bool(network.decided)
            report.messages += network.delivered
            view = max(node.replica._state.view for node in network.nodes if node.is_honest)
            report.views_reached[view] = report.views_reached.get(view, 0) + 1
    finally:
        if was_collecting:
            gc.enable()
    return report


def play(space: Space, index: int, *, window: int = 1, traced: bool = False) -> BareNetwork:
    """The network after scenario ``index``."""
    scenario = space.scenario(index)
    network = BareNetwork(space.n, scenario.twins, window=window, heights=window, traced=traced)
    has_pacemaker = index % _EIGHTH == _PACEMAKER
    view = 0
    for step in scenario.steps:
        network.partition(step.groups)
        network.release()
        network.settle()
        if step is scenario.steps[0]:
            network.hold_back(step.cut.late, step.cut.hearer)
            network.propose()
        else:
            view = _next_view(view, step.primary, space.n)
            network.pass_time()
            network.hold_back(step.cut.late, step.cut.hearer)
            _change_view(network, view, has_pacemaker)
        network.settle()
    network.heal()
    network.release()
    network.settle()
    if index % _EIGHTH == _HEALED and len(scenario.twins) <= network.world.validators.f:
        _heal(network, scenario.twins, view, window)
    return network


def _next_view(view: int, primary: int, n: int) -> int:
    """The first view above ``view`` whose primary is ``primary``."""
    return view + 1 + (primary - view - 1) % n


def _change_view(network: BareNetwork, view: int, has_pacemaker: bool) -> None:
    if has_pacemaker:
        network.wish(view)
    else:
        network.change_view(view)


def _heal(network: BareNetwork, twins: Sequence[int], view: int, window: int) -> None:
    """A whole network enters the view of an honest primary, or by its own timers a later one, and everybody decides."""
    primary = next(validator for validator in range(network.world.validators.n) if validator not in twins)
    network.pass_time()
    network.change_view(_next_view(view, primary, network.world.validators.n))
    network.settle()
    honest = [node for node in network.nodes if node.is_honest]
    for _ in range(_HEAL_STEPS_MAX):
        if all(node.replica.height >= window for node in honest):
            return
        network.pass_time()
        network.tick()
        network.settle()
    heights = [node.replica.height for node in honest]
    network.violations.append(f"after {_HEAL_STEPS_MAX} steps in a healed network the honest heights are {heights}")
