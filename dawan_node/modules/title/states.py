"""The lives of a title and of a court's order about one: which command leads from which state to which. Possession and
right change within ISSUED."""

from __future__ import annotations

from dawan_node.modules.title.declaration import module
from dawan_node.modules.title.entities import Succession, Title

module.state_machine(
    Title,
    "state",
    {
        "draft_title": ("-> DRAFT", "APPROVED -> DRAFT"),
        "approve_draft": "DRAFT -> APPROVED",
        "issue_title": "APPROVED -> ISSUED",
        "receive_envelope": "-> ISSUED",
        "surrender_title": "ISSUED -> PENDING_SURRENDER_FOR_DELIVERY, PENDING_SURRENDER_FOR_AMENDMENT",
        "reject_surrender": "PENDING_SURRENDER_FOR_DELIVERY, PENDING_SURRENDER_FOR_AMENDMENT -> ISSUED",
        # Accepted for an amendment that never came, the old version ends all the same and a new one begins.
        "withdraw_surrender": (
            "PENDING_SURRENDER_FOR_DELIVERY, PENDING_SURRENDER_FOR_AMENDMENT -> ISSUED",
            "SURRENDERED_FOR_AMENDMENT -> VOIDED",
            "-> ISSUED",
        ),
        "accept_surrender": (
            "PENDING_SURRENDER_FOR_DELIVERY -> SURRENDERED_FOR_DELIVERY",
            # VOIDED: the title becomes paper.
            "PENDING_SURRENDER_FOR_AMENDMENT -> SURRENDERED_FOR_AMENDMENT, VOIDED",
        ),
        # The old version ends, the new one begins.
        "reissue_title": ("SURRENDERED_FOR_AMENDMENT -> VOIDED", "-> ISSUED"),
        "restore_title": "-> ISSUED",
    },
)

module.state_machine(
    Succession,
    "state",
    {
        "order_succession": "-> ORDERED",
        "recall_succession": "ORDERED -> RECALLED",
        "take_succession": "ORDERED -> CARRIED_OUT",
    },
)
