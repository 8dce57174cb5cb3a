"""The random walks of every module that has some, and what ``scripts/walks`` takes on its command line.

scripts/walks title                       all 10,000, or what is left of them
scripts/walks title --shard 3/10          the fourth tenth of the seeds, for several processes or machines
scripts/walks title --seed 17 --blocks 10 one walk again
scripts/walks title --table               what the shards came by so far: commands by outcome, and what is missing
scripts/walks title --default             the 300 of every run, with that table
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from dawan_node.execution.registry import load_module
from tests.modules import (
    cross_channel_walks,
    kernel_walks,
    lc_walks,
    logistics_walks,
    receivable_walks,
    refdata_walks,
    title_walks,
)
from tests.modules.walk_shards import (
    DEFAULT,
    EXTENDED,
    Busy,
    Lengths,
    Progress,
    Shard,
    Walks,
    counted,
    default_folder,
    play_shard,
    read,
)
from tests.modules.walk_tally import Tally

WALKS: Final[dict[str, Walks]] = {
    walks.module: walks
    for walks in (
        kernel_walks.WALKS,
        lc_walks.WALKS,
        cross_channel_walks.WALKS,
        logistics_walks.WALKS,
        receivable_walks.WALKS,
        refdata_walks.WALKS,
        title_walks.WALKS,
    )
}


def main(arguments: list[str] | None = None) -> int:
    """0: every walk held; 1: some did not; 2: wrong arguments, or another process is at the shard."""
    parser = argparse.ArgumentParser(prog="scripts/walks", description="Random walks of a module, and what they reach.")
    parser.add_argument("module", choices=sorted(WALKS))
    parser.add_argument("--shard", default="0/1", metavar="K/N", help="part K, from 0, of N (default: %(default)s)")
    parser.add_argument("--walks", type=int, default=EXTENDED, help="of all shards together (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=0, help="of each walk (default: what the extended run takes)")
    parser.add_argument("--default", action="store_true", help=f"the {DEFAULT} shorter walks of every run")
    parser.add_argument("--seed", type=int, help="play this walk alone")
    parser.add_argument("--table", action="store_true", help="show what the shards came by so far, and play nothing")
    parser.add_argument(
        "--state", type=Path, default=default_folder(),
        help="folder where shards keep how far they came, so that the next run of the same code goes on there "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="begin the shard again")
    asked = parser.parse_args(arguments)
    walks = WALKS[asked.module]
    if asked.default:
        asked.walks, walks = DEFAULT, replace(walks, extended=walks.default)
    lengths = Lengths(asked.blocks, asked.blocks) if asked.blocks else walks.extended
    number, _, of = asked.shard.partition("/")
    if not number.isdecimal() or not of.isdecimal() or not int(number) < int(of) <= asked.walks:
        parser.error(f"--shard is K/N with K from 0 to N - 1 and N at most the number of walks, not {asked.shard}")
    if asked.seed is not None:
        return _replay(walks, asked.seed, lengths.of(asked.seed))
    shards = [Shard(asked.module, each, int(of), asked.walks, lengths) for each in range(int(of))]
    if asked.table:
        return _table(walks, [read(shard, asked.state) for shard in shards])
    shard = shards[int(number)]
    if asked.fresh:
        shard.path(asked.state).unlink(missing_ok=True)
    try:
        progress = play_shard(shard, walks, asked.state, _say)
    except Busy as error:
        parser.error(str(error))
    return _table(walks, [progress])


def _replay(walks: Walks, seed: int, blocks: int) -> int:
    tally = Tally(walks=1)
    walks.prepare()
    try:
        with counted(tally):
            walks.play(seed, blocks)
    except AssertionError as error:
        for line in tally.lines([]):
            _say(line)
        _say(f"seed {seed} fails after {tally.blocks} blocks: {error}")
        return 1
    _say(f"seed {seed} holds: {tally.blocks} blocks, {sum(tally.outcomes.values())} commands")
    return 0


def _table(walks: Walks, shards: Sequence[Progress | None]) -> int:
    known = [progress for progress in shards if progress is not None]
    tally = Tally()
    for progress in known:
        tally.add(progress.tally)
    for line in tally.lines([load_module(walks.module, 1)]):
        _say(line)
    seconds, cpu = sum(each.seconds for each in known), sum(each.cpu_seconds for each in known)
    failures = [failure for progress in known for failure in progress.failures]
    _say(
        f"{len(known)} of {len(shards)} shards begun, {seconds:.0f} s, {cpu:.0f} s of processor, {len(failures)} failed"
    )
    for seed, what in failures:
        _say(f"  seed {seed}: {what}")
    return 1 if failures else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
