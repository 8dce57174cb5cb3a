"""The lives of what the module keeps: which command leads a record from which state to which."""

from __future__ import annotations

from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.entities import Announcement, Financing, Invoice, Surplus, TitleSecurity, Voucher
from dawan_node.modules.receivable.supervised import ClearingBatch, ExportDeclaration, Rediscount, TaxFiling

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
        "account_title": "USED -> CONFIRMED",
        "settle_invoice": ("PARTLY_USED -> USED", "CONFIRMED, PARTLY_USED, USED -> SETTLED"),
        # The last part of all that was issued on it is paid.
        "settle_voucher": "USED -> SETTLED",
        "clear_batch": "USED -> SETTLED",
        # What was announced for settle_invoice, settle_voucher or repay_financing.
        "confirm_receipt": ("PARTLY_USED -> USED", "CONFIRMED, PARTLY_USED, USED -> SETTLED", "USED -> CONFIRMED"),
        "certify_receipt": "USED -> CONFIRMED",
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
        "clear_batch": "ACTIVE, TRANSFERRING, DEFAULTED -> SETTLED",
        "default_voucher": "ACTIVE, TRANSFERRING -> DEFAULTED",
        "confirm_receipt": ("ACTIVE, TRANSFERRING, DEFAULTED -> SETTLED", "PLEDGED -> ACTIVE"),
        "certify_receipt": "PLEDGED -> ACTIVE",
    },
)

module.state_machine(
    Financing,
    "state",
    {
        "apply_voucher_financing": "-> APPLIED",
        "apply_invoice_financing": "-> APPLIED",
        "apply_export_financing": "-> APPLIED",
        "reserve_financing": "APPLIED -> RESERVED, HELD",
        "approve_similar": "HELD -> RESERVED",
        "reject_financing": "APPLIED, HELD, RESERVED -> REJECTED",
        "withdraw_financing": "APPLIED, HELD -> WITHDRAWN",
        "expire_financing": "RESERVED -> EXPIRED",
        # REPAID is the financing of a financier that sells on what it bought.
        "fund_financing": ("RESERVED -> FUNDED", "FUNDED -> REPAID"),
        "declare_overdue": "FUNDED -> OVERDUE",
        "repay_financing": ("FUNDED, OVERDUE -> REPAID", "RECOURSE -> CLOSED"),
        "claim_recourse": "FUNDED, OVERDUE -> RECOURSE",
        "account_title": "RECOURSE -> CLOSED",
        "settle_voucher": ("FUNDED, OVERDUE -> REPAID", "RECOURSE -> CLOSED"),
        "clear_batch": ("FUNDED, OVERDUE -> REPAID", "RECOURSE -> CLOSED"),
        "settle_invoice": ("FUNDED, OVERDUE -> REPAID", "RECOURSE -> CLOSED"),
        "confirm_receipt": ("FUNDED, OVERDUE -> REPAID", "RECOURSE -> CLOSED"),
        # What was announced for repay_financing.
        "certify_receipt": ("FUNDED, OVERDUE -> REPAID", "RECOURSE -> CLOSED"),
        # What was rediscounted passes to the branch.
        "end_rediscount": "FUNDED, OVERDUE -> REPAID",
    },
)

module.state_machine(
    Announcement,
    "state",
    {
        # Of a payer whose organisation the settlement bank belongs to.
        "settle_voucher": "-> ANNOUNCED",
        "settle_invoice": "-> ANNOUNCED",
        "clear_batch": "-> ANNOUNCED",
        "repay_financing": "-> ANNOUNCED",
        "collect_export": "-> ANNOUNCED",
        "pay_filing": "-> ANNOUNCED",
        "confirm_receipt": "ANNOUNCED, DENIED -> CONFIRMED",
        "deny_receipt": "ANNOUNCED -> DENIED",
        "certify_receipt": "ANNOUNCED -> CERTIFIED",
    },
)

module.state_machine(
    Rediscount,
    "state",
    {
        "submit_rediscount": "-> SUBMITTED",
        "accept_rediscount": "SUBMITTED -> ACCEPTED",
        "reject_rediscount": "SUBMITTED, ACCEPTED -> REJECTED",
        "withdraw_rediscount": "SUBMITTED, ACCEPTED -> WITHDRAWN",
        "fund_rediscount": "ACCEPTED -> FUNDED",
        "repay_rediscount": ("FUNDED -> REPAID", "FORFEITED -> CLOSED"),
        # CLOSED at once: what passed to the branch is exactly what the bank owed.
        "end_rediscount": "FUNDED -> FORFEITED, CLOSED",
    },
)

module.state_machine(
    ExportDeclaration,
    "state",
    {
        "record_declaration": "-> RELEASED",
        "block_declaration": "RELEASED -> BLOCKED",
        "clear_declaration": "BLOCKED -> RELEASED",
        "revoke_declaration": "RELEASED, BLOCKED -> REVOKED",
    },
)

module.state_machine(
    TaxFiling,
    "state",
    {
        "file_payment": "-> FILED",
        "accept_filing": "FILED -> ACCEPTED",
        "pay_filing": "ACCEPTED -> EXHAUSTED",
        "cancel_filing": "FILED, ACCEPTED -> CANCELLED",
    },
)

module.state_machine(
    ClearingBatch,
    "state",
    {
        "open_clearing": "-> OPEN",
        "clear_batch": "OPEN -> CLEARED",
        "cancel_clearing": "OPEN -> CANCELLED",
    },
)

module.state_machine(
    TitleSecurity,
    "state",
    {
        "apply_voucher_financing": "-> HELD",
        "apply_invoice_financing": "-> HELD",
        "apply_export_financing": "-> HELD",
        "take_title": "HELD -> TAKEN",
        "account_title": "TAKEN -> SOLD",
        "reject_financing": "HELD -> RETURNED",
        "withdraw_financing": "HELD -> RETURNED",
        "expire_financing": "HELD -> RETURNED",
        "repay_financing": "HELD -> RETURNED",
        "settle_voucher": "HELD -> RETURNED",
        "clear_batch": "HELD -> RETURNED",
        "settle_invoice": "HELD -> RETURNED",
        # The financier sells on what it bought.
        "fund_financing": "HELD -> RETURNED",
        "confirm_receipt": "HELD -> RETURNED",
        "certify_receipt": "HELD -> RETURNED",
        "end_rediscount": "HELD -> RETURNED",
    },
)

module.state_machine(
    Surplus,
    "state",
    {
        "settle_voucher": "-> OWED",
        "clear_batch": "-> OWED",
        "account_title": "-> OWED",
        "confirm_receipt": "-> OWED",
        "return_surplus": "OWED -> RETURNED",
    },
)
