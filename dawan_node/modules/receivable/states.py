"""The life of an invoice, a voucher and a financing: which command leads from which state to which."""

from __future__ import annotations

from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import Financing, Invoice, Voucher

module.state_machine(
    Invoice,
    "state",
    {
        "record_invoice": "-> RECORDED",
        "confirm_invoice": "RECORDED, DISPUTED -> CONFIRMED",
        "dispute_invoice": "RECORDED, CONFIRMED -> DISPUTED",
        "cancel_invoice": "RECORDED, CONFIRMED, DISPUTED -> CANCELLED",
        "issue_voucher": ("CONFIRMED -> PARTLY_USED, USED", "PARTLY_USED -> USED"),
        # A voucher that ends before anybody relied on it gives back what it used.
        "decline_voucher": ("PARTLY_USED -> CONFIRMED", "USED -> CONFIRMED, PARTLY_USED"),
        "cancel_voucher": ("PARTLY_USED -> CONFIRMED", "USED -> CONFIRMED, PARTLY_USED"),
        "fund_financing": "CONFIRMED -> USED",
        "repay_financing": "USED -> CONFIRMED",
        "settle_invoice": ("PARTLY_USED -> USED", "CONFIRMED, PARTLY_USED, USED -> SETTLED"),
        # The last part of all that was issued on it is paid.
        "settle_voucher": "USED -> SETTLED",
    },
)

module.state_machine(
    Voucher,
    "state",
    {
        "issue_voucher": "-> OFFERED",
        "accept_voucher": "OFFERED, TRANSFERRING -> ACTIVE",
        "decline_voucher": ("OFFERED -> CANCELLED", "TRANSFERRING -> ACTIVE"),
        # The voucher ends and its parts begin.
        "split_voucher": ("ACTIVE -> SPLIT", "-> ACTIVE"),
        "transfer_voucher": "ACTIVE -> TRANSFERRING",
        "cancel_voucher": "ACTIVE -> CANCELLED",
        "fund_financing": "ACTIVE -> PLEDGED",
        "repay_financing": "PLEDGED -> ACTIVE",
        # The pledge is enforced: the financier holds it.
        "claim_recourse": "PLEDGED -> ACTIVE",
        "settle_voucher": "ACTIVE, TRANSFERRING, DEFAULTED -> SETTLED",
        "default_voucher": "ACTIVE, TRANSFERRING -> DEFAULTED",
    },
)

module.state_machine(
    Financing,
    "state",
    {
        "apply_voucher_financing": "-> APPLIED",
        "apply_invoice_financing": "-> APPLIED",
        "reserve_financing": "APPLIED -> RESERVED, HELD",
        "approve_similar": "HELD -> RESERVED",
        "reject_financing": "APPLIED, HELD, RESERVED -> REJECTED",
        "withdraw_financing": "APPLIED, HELD -> WITHDRAWN",
        "expire_financing": "RESERVED -> EXPIRED",
        # REPAID is the financing of a financier that sells on what it bought.
        "fund_financing": ("RESERVED -> FUNDED", "FUNDED -> REPAID"),
        "repay_financing": ("FUNDED -> REPAID", "RECOURSE -> CLOSED"),
        "claim_recourse": "FUNDED -> RECOURSE",
        "settle_voucher": ("FUNDED -> REPAID", "RECOURSE -> CLOSED"),
        "settle_invoice": ("FUNDED -> REPAID", "RECOURSE -> CLOSED"),
    },
)
