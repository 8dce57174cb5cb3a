"""Byzantine nodes for simulations: twenty-five attackers, each with one idea or a plan of several (reliability.md D).

``ATTACKERS`` names them. An attacker stands between a Byzantine node's replica and the wire (``attacker``) and signs
with the keys of Byzantine nodes alone (``forger``). Each class says what it tries and which rule stops it; with at most
f of them, of whatever kinds, no simulation may show a violation, and every one must come to rest once the network is
healed.

| Attacks | On |
|---|---|
| ``primaries`` | proposals: equivocating, malformed, silent, slow, censoring, selective, withholding bodies |
| ``voters`` | votes: double, forged, stray, replayed, with wrong results |
| ``view_changers`` | VIEW-CHANGE, NEW-VIEW, SUSPECT |
| ``certificates`` | PCs, commit certificates, SuspectCerts, DECISIONs |
| ``floods`` | decoders, bounds, catch-up, repair |
| ``plans`` | all of these in turn, or several nodes together |
"""

from __future__ import annotations

from typing import Final

from dawan_node.testing.attackers.attacker import DELIVERIES_MAX, TICK_MS, Attacker, Delivery, View
from dawan_node.testing.attackers.forger import Forger
from dawan_node.testing.attackers.plans import MASKS, Cartel, Chameleon

_ALL: Final[tuple[type[Attacker], ...]] = (*MASKS, Chameleon, Cartel)

#: By name. ``Attacker`` itself, the honest one, is not among them.
ATTACKERS: Final[dict[str, type[Attacker]]] = {kind.name: kind for kind in _ALL}

__all__ = [
    "ATTACKERS",
    "DELIVERIES_MAX",
    "TICK_MS",
    "Attacker",
    "Delivery",
    "Forger",
    "View",
]
