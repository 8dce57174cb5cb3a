"""Which kinds of Byzantine nodes a plan may choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dawan_node.testing.simulator.byzzfuzz import MutatingLiar
from dawan_node.testing.simulator.node import Liar

#: Name -> maker of one liar.
LIARS: Final[dict[str, Callable[[int], Liar]]] = {
    "mutating": MutatingLiar,
    "without conscience": lambda seed: Liar(),
}
