"""Which kinds of Byzantine nodes a plan may choose, and those that are only there when asked for by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from dawan_node.testing.attackers import ATTACKERS
from dawan_node.testing.simulator.byzzfuzz import MutatingLiar
from dawan_node.testing.simulator.node import Liar
from dawan_node.testing.simulator.possessed import Possessed
from dawan_node.testing.simulator.range_forger import RangeForger
from dawan_node.testing.simulator.rogue_primaries import ROGUE_PRIMARIES

#: Name -> maker of one liar, from its seed. Plans draw from these by their number, so one more would give every seed
#: other liars, and the seeds that once failed are kept as tests.
LIARS: Final[dict[str, Callable[[int], Liar]]] = {
    "mutating": MutatingLiar,
    "without conscience": lambda seed: Liar(),
    **{name: partial(Possessed, kind) for name, kind in ATTACKERS.items()},
    **ROGUE_PRIMARIES,
}
#: Those that came after the seeds: ``scripts/simulate --liar``, and tests.
MORE_LIARS: Final[dict[str, Callable[[int], Liar]]] = {"range forger": RangeForger}
EVERY_LIAR: Final = LIARS | MORE_LIARS
