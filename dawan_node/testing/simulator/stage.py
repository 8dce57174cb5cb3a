"""Runs a plan: builds its scene, lets its misfortunes happen, then heals everything and asks for agreement."""

from __future__ import annotations

import gc
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from dawan_node.testing.simulator.liars import EVERY_LIAR
from dawan_node.testing.simulator.network import Weather
from dawan_node.testing.simulator.plan import Plan, Step
from dawan_node.testing.simulator.scene import Scene, run_checked
from dawan_node.testing.simulator.world import Violation

#: Objects between two looks for cycles: a run makes few, and looking for them at each 700 costs a tenth of it.
GC_THRESHOLD: Final = 50_000


@dataclass(slots=True)
class Outcome:
    """What became of a plan; ``violation`` is empty when nothing bad happened. Times: simulated ms, real seconds."""

    seed: int
    validators: int
    trace_hash: str
    simulated_ms: int
    events: int
    cpu_s: float
    height: int
    counts: Counter[str] = field(default_factory=Counter)
    violation: str = ""

    @property
    def summary(self) -> str:
        """The violation in one line."""
        lines = self.violation.strip().splitlines()
        return "" if not lines else lines[-1] if lines[0].startswith("Traceback") else lines[0]


def run_plan(plan: Plan, transcript: Callable[[str], None] | None = None) -> Outcome:
    """Run a plan to its end. Never raises for what the code under test does: that is a violation too."""
    gc.set_threshold(GC_THRESHOLD)
    began = time.process_time()
    scene = build(plan, transcript)
    violation = ""
    try:
        perform(scene, plan)
        run_checked(scene)
    except Violation as found:
        violation = str(found)
    except Exception:  # noqa: BLE001 - an exception of the code under test is what the simulator looks for
        violation = traceback.format_exc()
    return Outcome(
        plan.seed,
        plan.validators,
        scene.world.trace_hash,
        scene.world.now,
        scene.world.events,
        time.process_time() - began,
        scene.checks.top,
        scene.world.counts,
        violation,
    )


def build(plan: Plan, transcript: Callable[[str], None] | None = None) -> Scene:
    """The scene of a plan, before anything happens."""
    scene = Scene(
        plan.seed,
        plan.validators,
        spares=plan.spares,
        params={"window": plan.window, "block_txs_max": plan.block_txs_max},
        timers=plan.timers,
        is_real=plan.is_real,
        liars={number: EVERY_LIAR[name](plan.seed * 64 + number) for number, name in plan.liars},
        twins=plan.twins,
        transcript=transcript,
        is_started=False,
    )
    for node, drift in zip(scene.nodes, plan.drifts_ppm, strict=True):
        node.clock.drift_ppm = drift
        node.disk_habits.segment_bytes = plan.segment_bytes
        if drift:
            scene.world.counts["clock that drifts"] += 1
    for _, name in plan.liars:
        scene.world.counts[f"liar: {name}"] += 1
    if plan.twins:
        scene.world.counts["liar: twin"] += len(plan.twins)
    scene.start_all()
    return scene


def perform(scene: Scene, plan: Plan) -> None:
    """The misfortunes of a plan, and nothing after them."""
    for step in plan.steps:
        scene.world.at(max(0, step.at_ms - scene.world.now), partial(_do, scene, step))
    scene.run(plan.duration_ms)


def _do(scene: Scene, step: Step) -> None:
    scene.world.note(step.kind, repr(step.args).encode())
    if step.kind != "submit":
        scene.world.say(f"-- {step.kind} {step.args or ''}")
    _STEPS[step.kind](scene, step.args)


def _submit(scene: Scene, args: tuple[int, ...]) -> None:
    """So many payments, to a node chosen by chance or to the one that is named, if it is up."""
    to = args[1] if len(args) > 1 else None
    if to is None or (scene.nodes[to].is_up and not scene.nodes[to].is_frozen):
        scene.submit(args[0], to)


def _crash(scene: Scene, args: tuple[int, ...]) -> None:
    if scene.nodes[args[0]].is_up:
        scene.world.counts["crash"] += 1
        scene.crash(args[0])


def _kill(scene: Scene, args: tuple[int, ...]) -> None:
    scene.world.counts["kill"] += scene.nodes[args[0]].is_up
    scene.crash(args[0], is_killed=True)


def _start(scene: Scene, args: tuple[int, ...]) -> None:
    scene.start(args[0])


def _power_cut_in(scene: Scene, args: tuple[int, ...]) -> None:
    scene.nodes[args[0]].power_cut_in = args[1]


def _crash_all(scene: Scene, args: tuple[int, ...]) -> None:
    scene.world.counts["crash of everybody"] += 1
    for node in scene.nodes:
        scene.crash(node.number)


def _start_all(scene: Scene, args: tuple[int, ...]) -> None:
    scene.start_all()


def _freeze(scene: Scene, args: tuple[int, ...]) -> None:
    scene.world.counts["freeze"] += 1
    scene.nodes[args[0]].freeze()


def _thaw(scene: Scene, args: tuple[int, ...]) -> None:
    scene.nodes[args[0]].thaw()


def _weather(scene: Scene, args: tuple[int, ...]) -> None:
    low, high, loss, doubled, damaged = args
    scene.network.weather = Weather((low, high), loss, doubled, damaged)


def _cut(scene: Scene, args: tuple[int, ...]) -> None:
    """Shapes: two sides; one alone; everybody alone; a ring; two sides and one node that reaches both."""
    shape, size, *order = args
    scene.world.counts[f"cut: {_SHAPES[shape]}"] += 1
    match shape:
        case 0:
            scene.partition(order[:size], order[size:])
        case 1:
            scene.partition(order[:1], order[1:])
        case 2:
            scene.partition(*([number] for number in order))
        case 3:
            count = len(order)
            neighbours = {frozenset((order[at], order[(at + 1) % count])) for at in range(count)}
            scene.network.cut(
                {(one, other) for one in order for other in order if one < other and {one, other} not in neighbours}
            )
        case _:
            bridge, left = order[0], set(order[1 : 1 + size])
            scene.network.cut(
                {
                    (one, other)
                    for one in order
                    for other in order
                    if one < other and bridge not in (one, other) and (one in left) != (other in left)
                }
            )


_SHAPES = ("two sides", "one alone", "everybody alone", "ring", "two sides and a bridge")


def _links(scene: Scene, args: tuple[int, ...]) -> None:
    scene.partition()


def _deaf(scene: Scene, args: tuple[int, ...]) -> None:
    scene.network.deafen(set(zip(args[::2], args[1::2], strict=True)))


def _hear(scene: Scene, args: tuple[int, ...]) -> None:
    scene.network.deafen(set())


def _clog(scene: Scene, args: tuple[int, ...]) -> None:
    scene.network.clog(*args)


def _muffle(scene: Scene, args: tuple[int, ...]) -> None:
    if args:
        scene.network.muffle(*args)
    else:
        scene.network.muffle(None)


def _clock(scene: Scene, args: tuple[int, ...]) -> None:
    number, offset_ms = args
    if offset_ms:
        scene.world.counts["clock set forward" if offset_ms > 0 else "clock set back"] += 1
    node = scene.nodes[number]
    node.clock.offset_ms = offset_ms
    if node.life is not None:
        node.life.taken.clear()  # what waits may be long expired by this clock


def _slow_disk(scene: Scene, args: tuple[int, ...]) -> None:
    number, longest_ms = args
    scene.world.counts["slow disk"] += longest_ms > 3
    habits = scene.nodes[number].disk_habits
    habits.sync_ms = habits.job_ms = (longest_ms // 2 if longest_ms > 3 else 0, longest_ms)


def _members(scene: Scene, args: tuple[int, ...]) -> None:
    scene.change_validators(args[1:], args[0])


_STEPS: dict[str, Callable[[Scene, tuple[int, ...]], None]] = {
    "clock": _clock,
    "clog": _clog,
    "crash": _crash,
    "crash all": _crash_all,
    "cut": _cut,
    "deaf": _deaf,
    "freeze": _freeze,
    "hear": _hear,
    "kill": _kill,
    "links": _links,
    "members": _members,
    "muffle": _muffle,
    "power cut in": _power_cut_in,
    "slow disk": _slow_disk,
    "start": _start,
    "start all": _start_all,
    "submit": _submit,
    "thaw": _thaw,
    "weather": _weather,
}
