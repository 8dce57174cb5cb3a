"""Hunts one planted bug, in the copy of the package that holds it: ``python -m dawan_node.testing.simulator.hunter``.

Runs seed after seed as the bug's ``Hunt`` narrows them, and says in one line of JSON what it found, and which package
it really ran, so that nobody is fooled by a copy that was never imported.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final

import click

import dawan_node
from dawan_node.testing import twins
from dawan_node.testing.planted_bugs import Hunt, bug_named
from dawan_node.testing.simulator.campaign import silence
from dawan_node.testing.simulator.plan import Plan, plan_of
from dawan_node.testing.simulator.stage import run_plan

#: Scenarios of the twins generator that count as one seed, and the seed of their order.
_SCENARIOS: Final = 50
_TWINS_SEED: Final = 1
#: Sizes with f >= 1 that are searched when a bug needs liars.
_WITH_LIARS: Final = (4, 4, 7, 4, 5)


def plan_for(hunt: Hunt, seed: int) -> Plan:
    """What ``seed`` means in this hunt."""
    sizes = hunt.validators or (_WITH_LIARS if hunt.liars else ())
    return plan_of(
        seed,
        validators=sizes[seed % len(sizes)] if sizes else None,
        liar=hunt.liars[seed % len(hunt.liars)] if hunt.liars else None,
        kinds=hunt.kinds,
        is_hasty=hunt.is_hasty,
        is_long=hunt.is_long,
    )


def twins_scenarios(hunt: Hunt, seed: int) -> str:
    """What a handful of scenarios of the twins generator shows that may never be; empty when nothing."""
    report = twins.run((seed - 1) * _SCENARIOS, _SCENARIOS, window=hunt.twins, seed=_TWINS_SEED)
    return f"twins, scenario {report.violations[0].index}: {report.violations[0].text}" if report.violations else ""


@click.command()
@click.argument("name")
@click.option("--limit", "limit_s", type=float, default=120.0, show_default=True, help="Processor seconds to hunt.")
def main(name: str, limit_s: float) -> None:
    """Hunt the bug called NAME, which stands in the package that this runs from."""
    hunt = bug_named(name).hunt
    began = time.process_time()  # a machine with other work must not make a hunt shorter
    seed, text = 0, ""
    with silence():
        while not text and time.process_time() - began < limit_s:
            seed += 1
            text = twins_scenarios(hunt, seed) if hunt.twins else run_plan(plan_for(hunt, seed)).violation
    found = {
        "package": str(Path(dawan_node.__file__).parent),
        "seed": seed,
        "seconds": time.process_time() - began,
        "violation": text,
    }
    click.echo(json.dumps(found))


if __name__ == "__main__":
    main()
