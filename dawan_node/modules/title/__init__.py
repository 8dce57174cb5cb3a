"""The title module: electronic bills of lading under exclusive control (domain.md M3; MLETR articles 10, 11, 17, 18).

A carrier drafts a bill, the shipper approves it, the carrier issues it; from then on exactly one party controls it, and
only that party moves it: by transfer of possession, by endorsement, by surrender to the carrier. A bank may take it as
a pledge, another platform may send it in, and it may become paper, after which no electronic record lives. Everything
that happens is an entry of a chain of hashes, so the history is complete and in order, and each entry is a record with
a state proof. The document itself stays off chain; the chain keeps its checksum.

Files by noun: ``entities``, ``trust`` (carriers and platforms by vote), ``bills``, ``drafts``, ``issues`` (issue, new
version, back from paper), ``transfers``, ``endorsements``, ``pledges``, ``surrenders``, ``successions`` (of a revoked
identity), ``departures`` (of an organisation that left), ``envelopes`` (what other platforms send) with
``foreign_chain``, ``locks`` and ``lookups`` for other modules, ``reservations`` for other channels, ``queries``,
``invariants``; ``chain`` appends entries, ``checks`` are what commands share, ``declaration`` holds events and errors.
"""

from dawan_node.modules.title import (
    departures,
    drafts,
    endorsements,
    envelopes,
    invariants,
    issues,
    locks,
    pledges,
    queries,
    reservations,
    successions,
    surrenders,
    transfers,
    trust,
)
from dawan_node.modules.title.declaration import module
from dawan_node.modules.title.lookups import current_title, is_delivered_against

# isort: split
# It names commands, so they come first.
from dawan_node.modules.title import states

__all__ = [
    "current_title",
    "departures",
    "drafts",
    "endorsements",
    "envelopes",
    "invariants",
    "is_delivered_against",
    "issues",
    "locks",
    "module",
    "pledges",
    "queries",
    "reservations",
    "states",
    "successions",
    "surrenders",
    "transfers",
    "trust",
]
