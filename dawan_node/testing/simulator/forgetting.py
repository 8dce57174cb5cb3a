"""A validator whose home was put back as ``init`` made it: same key, empty log, no ledger (amendments U6 and A6).

Nothing at home says that the key has signed. What the others have does: the certificates of the blocks that it catches
up with. A story of one seed: everybody works; in most stories the certificates cannot do without the victim, because
all that a quorum can spare are down; the victim loses everything and starts again among misfortunes. Held against it:

- two signatures of its key for one slot, whenever they were made, are a violation (``checks``);
- where no certificate could do without it, it must find out and end without a voice, before it has decided a block that
  it had signed;
- the others, and it as a follower, come to agree.
"""

from __future__ import annotations

import random
import traceback
from collections import Counter
from dataclasses import dataclass, field

from dawan_node.consensus import Timers
from dawan_node.testing.simulator.network import Weather
from dawan_node.testing.simulator.scene import Scene, run_checked
from dawan_node.testing.simulator.world import Violation

_SIZES = (4, 4, 4, 5, 6, 7)
_QUICK = Timers(view_ms=1_000, view_min_ms=300, view_max_ms=20_000, silence_ms=2_000, status_ms=500)


@dataclass(slots=True)
class Told:
    """What became of some stories: how many were indispensable, how many victims found out, and what went wrong."""

    stories: int = 0
    needed: int = 0
    found_out: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Told) -> None:
        """Account more of them."""
        self.stories += other.stories
        self.needed += other.needed
        self.found_out += other.found_out
        self.counts += other.counts
        self.violations += other.violations


def run_stories(seeds: range) -> Told:
    """Tell these stories in this process."""
    told = Told()
    for seed in seeds:
        try:
            tell(seed, told)
        except Violation as found:
            told.violations.append(f"seed {seed}: {found}")
        except Exception:  # noqa: BLE001 - what the code under test raises is what is looked for
            told.violations.append(f"seed {seed}: {traceback.format_exc()}")
    return told


def tell(seed: int, told: Told) -> Scene:
    """One story. Raises Violation."""
    chance = random.Random(seed)
    size = chance.choice(_SIZES)
    is_late = chance.random() < 0.3  # the victim got its seat by a vote, and its home is put back to before that
    spares = 1 if is_late else 0
    scene = Scene(seed, size, spares=spares, timers=chance.choice((Timers(), _QUICK)))
    victim = size if is_late else chance.randrange(size)
    if is_late:
        scene.submit(3)
        scene.run(2_000)
        scene.change_validators(range(size + 1))
        scene.run(4_000)
    members = range(size + spares)
    state = scene.nodes[victim].channel.driver.replica
    others = [number for number in members if number != victim]
    validators = state.validators
    is_needed = chance.random() < 0.7
    down = chance.sample(others, validators.n - validators.q) if is_needed else []
    scene.run(500)  # what is in flight is decided by all of them
    for number in down:
        scene.crash(number)
    scene.network.weather = Weather((1, chance.choice((5, 40, 120))), chance.choice((0, 2, 10)), 2)
    before = scene.nodes[victim].height
    for _ in range(chance.randint(2, 6)):
        scene.submit(chance.randint(1, 25))
        scene.run(chance.randint(200, 1_500))
    if is_needed and not scene.run_until(lambda: scene.nodes[victim].height > before, 120_000):
        raise Violation("the chain does not go on with a quorum")
    signed_up_to = scene.nodes[victim].height
    if chance.random() < 0.3:  # in the middle of something
        scene.submit(5)
        scene.run(chance.randint(1, 60))
    scene.crash(victim)
    scene.nodes[victim].put_back()
    scene.world.counts["home put back"] += 1
    for number in down:
        scene.start(number)
    if chance.random() < 0.5:
        scene.start(victim)
    for _ in range(chance.randint(1, 4)):
        scene.submit(chance.randint(1, 10))
        scene.run(chance.randint(100, 3_000))
        if chance.random() < 0.3:
            scene.crash(chance.choice(list(members)))
        scene.start_all()
    run_checked(scene)
    node = scene.nodes[victim]
    told.stories += 1
    told.counts += scene.world.counts
    told.found_out += node.is_silenced
    if is_needed and signed_up_to > before:
        told.needed += 1
        if not node.is_silenced:
            raise Violation(f"{node.name} took its own forgotten votes for heights {before + 1} to {signed_up_to}")
    if node.is_silenced and node.channel.signs:
        raise Violation(f"{node.name} has found out, and has a signer all the same")
    return scene
