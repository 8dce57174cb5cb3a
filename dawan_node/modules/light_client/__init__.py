"""The light client module: what this channel believes of other channels, and assets that serve a process elsewhere.

A channel keeps on chain a light client of each source channel (design 11): its validators, epoch by epoch. Proofs of
the source's records are judged by it and by nothing else, and each is used once for a purpose. On that rest
reservations of assets here for a process there, and commitments of processes here to assets there: RESERVE, PROOF,
COMMIT, then CONFIRM or RELEASE (domain.md 3). A module with an asset (``title``) or a process (``lc``, ``receivable``)
declares ``may_use=("light_client",)`` and calls what is exported here.

Files by noun: ``clients``, ``proofs``, ``reservations``, ``commitments``; ``queries`` answers, ``declaration`` holds
records, events and errors.
"""

from dawan_node.modules.light_client import clients, commitments, proofs, queries, reservations
from dawan_node.modules.light_client.declaration import Client, Commitment, Reservation, module
from dawan_node.modules.light_client.reservations import lock_owner

# isort: split
# It names commands, so they come first.
from dawan_node.modules.light_client import states

__all__ = [
    "Client",
    "Commitment",
    "Reservation",
    "clients",
    "commitments",
    "lock_owner",
    "module",
    "proofs",
    "queries",
    "reservations",
    "states",
]
