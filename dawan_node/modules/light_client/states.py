"""The life of a client, a reservation and a commitment: which command, or function that modules call, leads where."""

from __future__ import annotations

from dawan_node.modules.light_client.declaration import Client, Commitment, Reservation, module

module.state_machine(
    Client,
    "state",
    {
        "enact": ("-> ACTIVE", "FROZEN -> ACTIVE"),
        "report_conflict": "ACTIVE -> FROZEN",
    },
)

module.state_machine(
    Reservation,
    "state",
    {
        "reserve": "-> RESERVED",
        "settle": ("RESERVED -> CONFIRMED", "RESERVED, CONFIRMED -> PASSED, RELEASED"),
    },
)

module.state_machine(
    Commitment,
    "state",
    {
        "commit": "-> COMMITTED",
        "conclude": "COMMITTED -> PASSED, RETURNED",
    },
)
