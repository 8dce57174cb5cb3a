"""The logistics module: what was seen of goods, who has them, whether they stayed cold, what customs and carriers say.

EPCIS 2.0 events under their CBV event hash with the custody of items, DCSA track-and-trace statements with the state of
a shipment, cold chains, customs declarations, and delivery against a surrendered title (domain.md M4). Files by noun:
``gs1``, ``vocabulary``, ``event_form``, ``event_hash`` (spelling and identity of events), ``entities``, ``items``,
``capture``, ``corrections``, ``shipments``, ``foreign_titles``, ``milestones``, ``cold_chain``, ``customs``,
``delivery``, ``queries``, ``invariants``; ``declaration`` holds the events and the error table.

Of the module ``title`` it asks ``delivery_status(document, carrier)``: ``UNKNOWN``, ``OUTSTANDING``, ``PAPER`` or
``SURRENDERED``; a channel without that module keeps no titles. What another channel keeps is proven through the module
``light_client``.
"""

from dawan_node.modules.logistics import (
    capture,
    cold_chain,
    corrections,
    customs,
    delivery,
    foreign_titles,
    invariants,
    items,
    milestones,
    queries,
    shipments,
)
from dawan_node.modules.logistics.declaration import module

# isort: split
# It names commands, so they come first.
from dawan_node.modules.logistics import states

__all__ = [
    "capture",
    "cold_chain",
    "corrections",
    "customs",
    "delivery",
    "foreign_titles",
    "invariants",
    "items",
    "milestones",
    "module",
    "queries",
    "shipments",
    "states",
]
