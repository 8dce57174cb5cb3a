"""What a seed means: a network, its liars, and a schedule of misfortunes.

Each seed enables a random subset of the kinds of misfortune (swarm testing): a run in which everything happens at once
explores less than many runs in which some things happen often. A plan is plain data, so it can be printed, cut down
(``shrink``) and run again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from dawan_node.consensus import Timers
from dawan_node.primitives.validators import fault_bound
from dawan_node.testing.simulator.liars import LIARS

T = TypeVar("T")

#: One seed in so many runs with Ed25519 (two in a hundred at least).
REAL_EVERY: Final = 40

#: One seed in so many, the second of each such row, meets the kinds that are aimed at one rule each beside what it
#: chose. The others mean what they meant before there were such kinds: failing seeds are kept as tests.
_AIMED_EVERY: Final = 8
_AIMED_AT: Final = 1

#: How many validators, by weight: mostly 4, every size up to 10, not only 3f + 1.
_SIZES: Final = ((4, 56), (1, 3), (2, 4), (3, 5), (5, 9), (6, 7), (7, 8), (8, 3), (9, 2), (10, 3))

#: Timers by weight. The short ones go through more views in the same time.
_TIMERS: Final = (
    (Timers(), 5),
    (Timers(view_ms=1_000, view_min_ms=300, view_max_ms=20_000, silence_ms=2_000, status_ms=500), 4),
    (Timers(view_ms=300, view_min_ms=100, view_max_ms=1_500, silence_ms=900, status_ms=250, resend_ms=120), 2),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One misfortune, or its end, at a time from the start. What ``args`` mean is up to the kind (``stage``)."""

    at_ms: int
    kind: str
    args: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.at_ms / 1000:.3f}s {self.kind}{self.args or ''}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. ``liars`` are (node, name in ``EVERY_LIAR``); ``duration_ms`` is how long the misfortunes last."""

    seed: int
    validators: int
    spares: int
    window: int
    block_txs_max: int
    timers: Timers
    is_real: bool
    segment_bytes: int
    drifts_ppm: tuple[int, ...]
    liars: tuple[tuple[int, str], ...]
    twins: tuple[int, ...]
    duration_ms: int
    steps: tuple[Step, ...]

    @property
    def nodes(self) -> int:
        """How many nodes there are, twins included."""
        return self.validators + self.spares + len(self.twins)

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.validators} validators, {self.spares} spares, window {self.window},"
            f" blocks of {self.block_txs_max}, view time {self.timers.view_ms} ms,"
            f" {'Ed25519' if self.is_real else 'fake signatures'}",
            f"  liars {dict(self.liars) or 'none'}, twins of {list(self.twins) or 'nobody'}",
        ]
        return "\n".join(lines + [f"  {step}" for step in self.steps])


def plan_of(
    seed: int,
    *,
    validators: int | None = None,
    liar: str | None = None,
    kinds: Sequence[str] = (),
    is_hasty: bool = False,
    is_long: bool = False,
) -> Plan:
    """The plan of a seed; ``validators``, ``liar`` and ``kinds`` (of misfortune) override what it would choose.

    ``is_hasty``: the shortest timers, so that views change often. ``is_long``: many small blocks, one after the other.
    """
    rng = random.Random(seed * 1_000_003 + 7)
    n = validators or _weighted(rng, _SIZES)
    f = fault_bound(n)
    twins: tuple[int, ...] = ()
    liars: tuple[tuple[int, str], ...] = ()
    bad = rng.sample(range(n), f)
    choice = rng.randrange(10)
    if liar is not None:
        liars = tuple((number, liar) for number in sorted(bad))
    elif f and choice < 2:
        twins = tuple(sorted(bad))
    elif f and choice < 7:
        liars = tuple((number, rng.choice(sorted(LIARS))) for number in sorted(bad[: rng.randint(1, f)]))
    spares = rng.choice((0, 0, 1, 2)) if n > 1 and not twins else 0
    nodes = n + spares + len(twins)
    duration_ms = rng.choice((2_500, 5_000, 8_000))
    draft = Plan(
        seed,
        n,
        spares,
        rng.choice((1, 2, 4, 4, 4, 8)),
        rng.choice((1, 3, 20)),
        _weighted(rng, _TIMERS),
        seed % REAL_EVERY == 0,
        rng.choice((4_000, 24_000, 48_000)),
        tuple(rng.choice((0, 0, 500, -500)) for _ in range(nodes)),
        liars,
        twins,
        duration_ms,
        (),
    )
    every = sorted(_KINDS)
    enabled = rng.sample(every, rng.randint(1, len(every)))
    if kinds:
        enabled = list(kinds)
    elif seed % _AIMED_EVERY == _AIMED_AT:
        enabled += sorted(_AIMED)
    if is_hasty:
        draft = replace(draft, timers=_TIMERS[-1][0])
    if is_long:
        duration_ms = 20_000
        draft = replace(draft, block_txs_max=1, window=min(draft.window, 2), duration_ms=duration_ms)
    steps: list[Step] = []
    at = 0
    while at < duration_ms:
        if rng.randrange(3) == 0:
            steps.append(Step(at, "submit", (rng.randint(1, 6),)))
        else:
            kind = rng.choice(enabled)
            if kind in _KINDS:
                steps.extend(_KINDS[kind](rng, draft, at))
            else:
                # It needs its time: what begins or ends in between, ends what it set up.
                steps.extend(aimed := _AIMED[kind](rng, draft, at))
                at = max((step.at_ms for step in aimed), default=at)
        at += rng.randint(20, 900)
    steps.sort(key=lambda step: step.at_ms)
    return replace(draft, steps=tuple(steps))


def _weighted(rng: random.Random, choices: Sequence[tuple[T, int]]) -> T:
    return rng.choices([value for value, _ in choices], [weight for _, weight in choices])[0]


Maker = Callable[[random.Random, Plan, int], list[Step]]


def _crash(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    node = rng.randrange(plan.nodes)
    return [Step(at, "crash", (node,)), Step(at + rng.choice((1, 50, 500, 3_000)), "start", (node,))]


def _kill(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    node = rng.randrange(plan.nodes)
    return [Step(at, "kill", (node,)), Step(at + rng.choice((1, 50, 500)), "start", (node,))]


def _crash_in_action(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    node = rng.randrange(plan.nodes)
    return [Step(at, "power cut in", (node, rng.randint(1, 40))), Step(at + rng.choice((300, 2_000)), "start", (node,))]


def _crash_all(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    return [Step(at, "crash all"), Step(at + rng.choice((1, 200)), "start all")]


def _freeze(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    node = rng.randrange(plan.nodes)
    return [Step(at, "freeze", (node,)), Step(at + rng.choice((100, 1_500, 6_000)), "thaw", (node,))]


def _weather(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    delay = rng.choice(((1, 5), (1, 50), (20, 400), (1, 2_000)))
    weather = (*delay, rng.choice((0, 5, 30)), rng.choice((0, 10, 50)), rng.choice((0, 0, 2)))
    return [Step(at, "weather", weather)]


def _damage(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    return [Step(at, "weather", (1, 20, 0, 0, rng.choice((1, 5)))), Step(at + 1_500, "weather", (1, 5, 0, 0, 0))]


def _cut(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    shape = rng.randrange(5)
    order = list(range(plan.nodes))
    rng.shuffle(order)
    end = Step(at + rng.choice((300, 2_000, 5_000)), "links")
    return [Step(at, "cut", (shape, rng.randint(1, max(1, plan.nodes - 1)), *order)), end]


def _deaf(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    pairs: list[int] = []
    for _ in range(rng.randint(1, plan.nodes)):
        pairs += (rng.randrange(plan.nodes), rng.randrange(plan.nodes))
    return [Step(at, "deaf", tuple(pairs)), Step(at + rng.choice((500, 4_000)), "hear")]


def _muffle(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    kind = rng.choice((2, 2, 3, 3, 3, 5, 6))  # PREPARE, COMMIT, VIEW-CHANGE, NEW-VIEW
    hearer = rng.randrange(-1, plan.nodes)
    return [Step(at, "muffle", (kind, hearer)), Step(at + rng.choice((200, 1_000, 3_000)), "muffle")]


def _clog(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    pair = (rng.randrange(plan.nodes), rng.randrange(plan.nodes))
    return [Step(at, "clog", (*pair, rng.choice((100, 1_000, 5_000))))]


def _clock(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    hour, years = 3_600_000, 10 * 365 * 24 * 3_600_000
    jump = rng.choice((-hour, hour, -2_000, 2_000, 600, -600))
    if rng.randrange(8) == 0:
        jump = rng.choice((-years, years))
    node = rng.randrange(plan.nodes)
    return [Step(at, "clock", (node, jump)), Step(at + rng.choice((500, 4_000)), "clock", (node, 0))]


def _slow_disk(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    node = rng.randrange(plan.nodes)
    return [Step(at, "slow disk", (node, rng.choice((30, 300, 2_000)))), Step(at + 3_000, "slow disk", (node, 3))]


def _members(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    if plan.twins or plan.validators + plan.spares < 2:
        return []
    candidates = list(range(plan.validators + plan.spares))
    bad = {number for number, _ in plan.liars}
    members = sorted(rng.sample(candidates, rng.randint(max(1, len(candidates) - 2), len(candidates))))
    if sum(1 for number in members if number in bad) > fault_bound(len(members)):
        return []
    return [Step(at, "members", (rng.choice((1, 2, 4)), *members))]


_KINDS: Final[dict[str, Maker]] = {
    "clock": _clock,
    "clog": _clog,
    "crash": _crash,
    "crash all": _crash_all,
    "crash in an action": _crash_in_action,
    "cut": _cut,
    "damage": _damage,
    "deaf": _deaf,
    "freeze": _freeze,
    "kill": _kill,
    "members": _members,
    "muffle": _muffle,
    "slow disk": _slow_disk,
    "weather": _weather,
}


# Kinds that are aimed at one rule. Chance meets its conditions too, but seldom.


def _undecided(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    """Everything is prepared and nothing decided until the view has changed: O has entries (consensus.md 1.8)."""
    lasts_ms = plan.timers.view_ms * rng.choice((12, 16, 30)) // 10
    return [
        Step(at, "muffle", (_COMMIT, -1)),
        *_stream(rng, at + 1),
        Step(at + lasts_ms, "muffle"),
    ]


def _stranded(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    """One node alone sees blocks prepared and is cut off; in the next view the others prepare other blocks, decide
    none, and the view after that meets them all: branches that a later view left must end O (consensus.md 1.8)."""
    if plan.nodes < 4:
        return []
    loner = rng.randrange(plan.validators)
    others = [number for number in range(plan.nodes) if number != loner]
    view_ms, gone_at = plan.timers.view_ms, at + rng.choice((45, 70, 95))
    back_at = gone_at + view_ms * rng.choice((10, 16, 24, 32)) // 10
    return [
        Step(at, "muffle", (_PREPARE, loner)),
        *_stream(rng, at + 1),
        Step(gone_at, "cut", (1, 1, loner, *others)),
        Step(gone_at, "muffle", (_COMMIT, -1)),
        Step(back_at, "links"),
        Step(back_at + view_ms * rng.choice((3, 6)), "muffle"),
    ]


def _lone_wish(rng: random.Random, plan: Plan, at: int) -> list[Step]:
    """One node has work to do and hears nothing until it wishes for another view; then it hears everybody, and what it
    wished for must be forgotten (L10)."""
    if plan.nodes < 2:
        return []
    deaf = rng.randrange(plan.validators)
    pairs = [part for number in range(plan.nodes) if number != deaf for part in (number, deaf)]
    # Just long enough to wish, or so long that the wish must be repeated.
    lasts_ms = plan.timers.view_ms * 13 // 10 + rng.choice((0, 500, 4_000))
    return [
        Step(at, "deaf", tuple(pairs)),
        Step(at + 1, "submit", (rng.randint(1, 3), deaf)),
        Step(at + lasts_ms, "hear"),
    ]


def _stream(rng: random.Random, at: int) -> list[Step]:
    """Payments a few links apart: more than one block comes of them."""
    return [Step(at + 30 * number, "submit", (rng.randint(1, 2),)) for number in range(rng.randint(2, 4))]


#: Tags of messages.
_PREPARE: Final = 2
_COMMIT: Final = 3

_AIMED: Final[dict[str, Maker]] = {
    "lone wish": _lone_wish,
    "stranded": _stranded,
    "undecided": _undecided,
}
