"""``scripts/simulate``: seeds by the thousand, or one of them as a story.

Without options: what ``scripts/test`` runs. ``--extended`` runs for ``--minutes``. ``--seed S --trace`` tells one run;
``--seed S --shrink`` looks for the smallest plan that still fails. Exit code 1 when anything was violated, or a kind of
misfortune that had to occur did not.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from dawan_node.testing.planted_bugs import BUGS
from dawan_node.testing.simulator.campaign import Report, cores, run_campaign, silence
from dawan_node.testing.simulator.liars import EVERY_LIAR
from dawan_node.testing.simulator.parts import PARTS, Part, Setting
from dawan_node.testing.simulator.plan import plan_of
from dawan_node.testing.simulator.shrink import shrink
from dawan_node.testing.simulator.stage import run_plan

#: Failing seeds that are shrunk at the end of a campaign, and processor seconds for each.
SHRUNK_MAX = 2
SHRINK_S = 40.0


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(sorted(PARTS)))
@click.option("--extended", is_flag=True, help="Every part at full length.")
@click.option("--minutes", type=float, default=30.0, show_default=True, help="Length of the seeds with --extended.")
@click.option("--seeds", "count", type=int, default=1_000, show_default=True, help="How many seeds.")
@click.option("--first", type=int, default=0, show_default=True, help="The first of them.")
@click.option("--jobs", type=int, default=0, help="Processes; 0: as many as cores.")
@click.option("--validators", type=int, help="Only networks of this size.")
@click.option("--liar", type=click.Choice(sorted(EVERY_LIAR)), help="Only this kind of liar, f of them.")
@click.option("--bug", "bugs", multiple=True, type=click.Choice([bug.name for bug in BUGS]), help="Only these bugs.")
@click.option("--seed", type=int, help="One seed only.")
@click.option("--trace", is_flag=True, help="With --seed: tell what happens.")
@click.option("--shrink", "is_shrunk", is_flag=True, help="With --seed: find the smallest plan that still fails.")
def main(
    parts: tuple[str, ...],
    extended: bool,
    minutes: float,
    count: int,
    first: int,
    jobs: int,
    validators: int | None,
    liar: str | None,
    bugs: tuple[str, ...],
    seed: int | None,
    trace: bool,
    is_shrunk: bool,
) -> None:
    """Simulate networks of nodes and report what they met. PARTS: all of the default run without any."""
    jobs = jobs or cores()
    if seed is not None:
        sys.exit(_one(seed, validators, liar, trace, is_shrunk))
    failed = 0
    chosen = parts or ("seeds", *(name for name, part in sorted(PARTS.items()) if part.is_default or extended))
    for name in dict.fromkeys(chosen):
        click.echo(f"== {name} ({commit()})")
        if name == "seeds":
            failed += _seeds(
                first, None if extended else count, minutes * 60 if extended else None, jobs, validators, liar
            )
        else:
            failed += _part(PARTS[name], Setting(extended, jobs, bugs))
    click.echo(f"{len(dict.fromkeys(chosen)) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def _part(part: Part, setting: Setting) -> int:
    """Run one part; 1 when it failed."""
    is_good, lines = part.run(setting)
    for line in lines:
        click.echo(line)
    return 0 if is_good else 1


def _seeds(
    first: int, count: int | None, limit_s: float | None, jobs: int, validators: int | None, liar: str | None
) -> int:
    report = run_campaign(
        first, count, limit_s, jobs, validators=validators, liar=liar, say=lambda line: click.echo(f"  {line}")
    )
    for line in report.lines():
        click.echo(line)
    _explain(report, validators, liar)
    click.echo(f"{len(report.failures)} violations")
    is_whole = validators is None and liar is None
    return 1 if report.failures or (is_whole and report.missing) else 0


def _explain(report: Report, validators: int | None, liar: str | None) -> None:
    """Seed, commit, options and the smallest schedule of the first failures."""
    options = (f" --validators {validators}" if validators else "") + (f" --liar '{liar}'" if liar else "")
    for outcome in report.failures[:SHRUNK_MAX]:
        with silence():
            plan, violation = shrink(plan_of(outcome.seed, validators=validators, liar=liar), SHRINK_S)
        click.echo(f"-- commit {commit()}: scripts/simulate --seed {outcome.seed}{options} --trace")
        click.echo(f"{violation or outcome.violation}\nsmallest plan found:\n{plan}")


def _one(seed: int, validators: int | None, liar: str | None, trace: bool, is_shrunk: bool) -> int:
    plan = plan_of(seed, validators=validators, liar=liar)
    with silence():
        if is_shrunk:
            plan, _ = shrink(plan, SHRINK_S * 5)
        click.echo(str(plan))
        outcome = run_plan(plan, click.echo if trace else None)
    click.echo(
        f"seed {seed}: height {outcome.height}, {outcome.simulated_ms / 1000:.1f} s simulated in {outcome.cpu_s:.2f} s,"
        f" {outcome.events} events, trace {outcome.trace_hash}"
    )
    if outcome.violation:
        click.echo(f"VIOLATION: {outcome.violation}")
    return 1 if outcome.violation else 0


def commit() -> str:
    """The revision this tree is at, for whoever reads a failure later."""
    folder = Path(__file__).resolve().parents[3]
    found = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown revision"


if __name__ == "__main__":
    main()
