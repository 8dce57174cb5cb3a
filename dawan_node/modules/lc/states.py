"""The lives of what the module keeps: which command leads a record from which state to which."""

from __future__ import annotations

from dawan_node.modules.lc.declaration import module
from dawan_node.modules.lc.entities import (
    BoundTitle,
    Credit,
    ForwardedTitle,
    PaymentObligation,
    Presentation,
    Reimbursement,
)

module.state_machine(
    Credit,
    "state",
    {
        "apply_credit": "-> DRAFT",
        "request_transfer": "-> DRAFT",
        "decline_draft": "DRAFT -> CANCELLED",
        "issue_credit": "DRAFT -> ISSUED",
        "advise_credit": "ISSUED -> ADVISED",
        "confirm_credit": "ADVISED -> CONFIRMED",
        "transfer_credit": "DRAFT -> ADVISED, CONFIRMED",
        "honour_presentation": "ADVISED, CONFIRMED, PARTLY_DRAWN -> PARTLY_DRAWN, DRAWN",
        # More can be drawn again.
        "answer_amendment": "DRAWN -> PARTLY_DRAWN",
        "pay_presentation": "DRAWN -> CLOSED",
        "cancel_credit": "ISSUED, ADVISED, CONFIRMED, PARTLY_DRAWN -> CANCELLED",
        "expire_credit": "ISSUED, ADVISED, CONFIRMED, PARTLY_DRAWN -> EXPIRED",
    },
)

module.state_machine(
    Presentation,
    "state",
    {
        # Corrected documents end the refused presentation whose place they take.
        "present_documents": ("-> RECEIVED", "REFUSED -> RE_PRESENTED"),
        "forward_presentation": "EXAMINING, COMPLYING, REFUSED -> RECEIVED",
        "examine_presentation": "RECEIVED -> EXAMINING",
        "find_complying": "RECEIVED, EXAMINING -> COMPLYING",
        "refuse_presentation": "RECEIVED, EXAMINING -> REFUSED",
        "claim_preclusion": "RECEIVED, EXAMINING -> PRECLUDED",
        "waive_discrepancies": "REFUSED -> WAIVED",
        # Those that are not refused: when a title among them is not bound any more.
        "return_documents": "RECEIVED, EXAMINING, COMPLYING, REFUSED, WAIVED, PRECLUDED -> RETURNED",
        # What was waived is the issuing bank's, which never negotiates its own credit.
        "honour_presentation": (
            "COMPLYING, PRECLUDED -> HONOURED, ACCEPTED, NEGOTIATED",
            "WAIVED -> HONOURED, ACCEPTED",
        ),
        "pay_presentation": "HONOURED, ACCEPTED, NEGOTIATED -> PAID",
    },
)

module.state_machine(
    BoundTitle,
    "state",
    {
        "present_documents": ("-> BOUND", "BOUND -> RETURNED"),
        "return_documents": "BOUND -> RETURNED",
        "honour_presentation": "BOUND -> PASSED",
    },
)

module.state_machine(
    Reimbursement,
    "state",
    {
        # Documents that were called back may be forwarded again.
        "claim_reimbursement": ("-> CLAIMED", "WITHDRAWN -> CLAIMED"),
        "accept_reimbursement": "CLAIMED, REFUSED -> DUE",
        "refuse_reimbursement": "CLAIMED -> REFUSED",
        # A claim that was not refused in time is paid like one that is due.
        "pay_reimbursement": "CLAIMED, DUE -> PAID",
        "withdraw_reimbursement": "CLAIMED, REFUSED, DUE -> WITHDRAWN",
    },
)

module.state_machine(
    ForwardedTitle,
    "state",
    {
        # PASSED: the issuing bank has it already.
        "claim_reimbursement": ("-> BOUND, PASSED", "RETURNED -> BOUND, PASSED"),
        "accept_reimbursement": "BOUND -> PASSED",
        "pay_reimbursement": "BOUND -> PASSED",
        # PASSED: the issuing bank handed back by itself what it had before the claim.
        "withdraw_reimbursement": "BOUND, PASSED -> RETURNED",
    },
)

module.state_machine(
    PaymentObligation,
    "state",
    {
        "undertake_payment": "-> CONDITIONAL, UNCONDITIONAL",
        "meet_condition": "CONDITIONAL -> UNCONDITIONAL",
        "pay_obligation": "UNCONDITIONAL -> PAID",
    },
)
