"""Which kinds of Byzantine nodes a plan may choose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from dawan_node.testing.attackers import ATTACKERS
from dawan_node.testing.simulator.byzzfuzz import MutatingLiar
from dawan_node.testing.simulator.node import Liar
from dawan_node.testing.simulator.possessed import Possessed
from dawan_node.testing.simulator.rogue_primaries import ROGUE_PRIMARIES

#: Name -> maker of one liar, from its seed.
LIARS: Final[dict[str, Callable[[int], Liar]]] = {
    "mutating": MutatingLiar,
    "without conscience": lambda seed: Liar(),
    **{name: partial(Possessed, kind) for name, kind in ATTACKERS.items()},
    **ROGUE_PRIMARIES,
}
