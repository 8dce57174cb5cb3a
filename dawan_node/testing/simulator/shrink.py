"""Makes a failing plan small: fewer liars, fewer kinds of misfortune, fewer steps, as long as it still fails."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dawan_node.testing.simulator.plan import Plan, Step
from dawan_node.testing.simulator.stage import run_plan


def shrink(plan: Plan, budget_s: float) -> tuple[Plan, str]:
    """The smallest failing plan found within ``budget_s`` seconds of processor time, and what it violates.

    A plan that does not fail comes back as it is, with an empty text.
    """
    began = time.process_time()
    violation = run_plan(plan).violation
    is_smaller = bool(violation)
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(plan):
            if time.process_time() - began > budget_s:
                return plan, violation
            found = run_plan(candidate).violation
            # A step that names a node which the smaller plan lacks fails too, but of itself.
            if found and ("Traceback" in found) == ("Traceback" in violation):
                plan, violation, is_smaller = candidate, found, True
                break
    return plan, violation


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them, the boldest cuts first."""
    if plan.twins:
        yield replace(plan, twins=(), drifts_ppm=plan.drifts_ppm[: plan.validators + plan.spares])
    for liar in plan.liars:
        yield replace(plan, liars=tuple(other for other in plan.liars if other != liar))
    if plan.spares and not plan.twins and not any(step.kind == "members" for step in plan.steps):
        yield replace(plan, spares=0, drifts_ppm=plan.drifts_ppm[: plan.validators])
    for kind in sorted({step.kind for step in plan.steps}):
        yield _with(plan, [step for step in plan.steps if step.kind != kind])
    size = len(plan.steps) // 2
    while size:
        for start in range(0, len(plan.steps), size):
            yield _with(plan, [*plan.steps[:start], *plan.steps[start + size :]])
        size //= 2


def _with(plan: Plan, steps: Sequence[Step]) -> Plan:
    return replace(plan, steps=tuple(steps))
