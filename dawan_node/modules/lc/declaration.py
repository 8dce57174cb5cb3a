"""The letter of credit module's public face: its events, its error table, its version.

Reasons are API: a client branches on them, and a reason keeps its meaning for ever. Beside these, a command fails with
the kernel's reasons where it calls the kernel: E_ASSET_FROZEN, E_DUP_FINANCE, E_CASHREF_USED and those of documents.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Event, Module, Money
from dawan_node.modules.lc import entities


class CreditApplied(Event):
    credit: str
    issuing: str


class CreditDeclined(Event):
    credit: str
    by: str


class CreditIssued(Event):
    credit: str
    amount: Money
    expiry: str


class CreditAdvised(Event):
    credit: str
    beneficiary: str


class CreditConfirmed(Event):
    credit: str
    confirming: str


class CreditCancelled(Event):
    credit: str


class CreditExpired(Event):
    """``undrawn``: the undertaking that ended."""

    credit: str
    undrawn: Money


class CreditClosed(Event):
    credit: str


class AmendmentIssued(Event):
    credit: str
    number: int


class AmendmentAnswered(Event):
    credit: str
    number: int
    accepted: bool


class ConfirmationExtended(Event):
    credit: str
    number: int


class TransferRequested(Event):
    credit: str
    transferred: str
    to: str


class CreditTransferred(Event):
    credit: str
    transferred: str
    to: str


class DocumentsPresented(Event):
    presentation: str
    bank: str
    amount: Money
    deadline: str


class DocumentsForwarded(Event):
    presentation: str
    bank: str
    deadline: str


class ComplyingFound(Event):
    presentation: str


class PresentationRefused(Event):
    presentation: str
    findings: tuple[str, ...]
    disposal: str


class DiscrepanciesWaived(Event):
    """``by`` waived; ``complete`` when applicant and issuing bank both did."""

    presentation: str
    by: str
    complete: bool


class DocumentsReturned(Event):
    presentation: str


class BankPrecluded(Event):
    presentation: str
    bank: str


class PresentationHonoured(Event):
    presentation: str
    how: entities.PresentationState
    maturity: str


class PresentationPaid(Event):
    presentation: str
    payee: str
    amount: Money


class DocumentsReleased(Event):
    presentation: str
    to: str


class ReimbursementClaimed(Event):
    presentation: str
    claimant: str
    deadline: str


class ReimbursementAccepted(Event):
    presentation: str


class ReimbursementRefused(Event):
    presentation: str
    findings: tuple[str, ...]


class ReimbursementPaid(Event):
    presentation: str
    payer: str
    amount: Money


class ReimbursementWithdrawn(Event):
    """The bank that claimed has the documents, and their titles, back."""

    presentation: str


class ObligationUndertaken(Event):
    obligation: str
    beneficiary: str
    amount: Money


class UndertakingAdded(Event):
    obligation: str
    fsp: str


class ConditionMet(Event):
    obligation: str
    position: int


class ObligationUnconditional(Event):
    obligation: str


class ObligationPaid(Event):
    obligation: str
    payer: str
    amount: Money


ERRORS: Final = {
    # Amounts, dates, names
    "E_AMOUNT": "The amount is not positive, or has more than 15 digits in minor units.",
    "E_UNKNOWN_CURRENCY": "The currency is not in the channel's reference data.",
    "E_CURRENCY_MISMATCH": "The amount is in another currency than the credit or obligation.",
    "E_TOLERANCE": "The tolerance is given twice, or takes away the whole amount.",
    "E_DATE": "The text has the form of a date but no such day exists.",
    "E_DATES": "The dates contradict each other: expiry before today, or shipment after expiry.",
    "E_TERM": "The date lies further away than ten years.",
    "E_TENOR": "The tenor does not fit the availability: none at sight, else days from receipt or shipment.",
    "E_CALENDAR": "The banking days of that place are not published for this date.",
    "E_REFERENCE": "A number has 1 to 32 letters, digits and hyphens, beginning with a letter or digit.",
    "E_UNKNOWN_PARTY": "No active identity of that name is enrolled on this channel.",
    "E_ROLE_OF_PARTY": "The party named does not have the role that its part in this asks for.",
    "E_SELF_DEALING": "One party would stand on both sides.",
    "E_PLACE": "One bank is given with two places, or a bank without a place.",
    # Credits
    "E_DUP_CREDIT": "The applicant already used this number.",
    "E_UNKNOWN_CREDIT": "There is no such credit.",
    "E_STATE": "The credit, presentation, reimbursement or obligation is in a state in which this is not possible.",
    "E_NOT_PARTY": "Only the party that has this part in it may do this.",
    "E_IN_USE": "Presentations, drawings or transfers under the credit stand in the way.",
    "E_CONSENTED": "The sender consented already.",
    "E_NOT_EXPIRED": "The last day to present documents has not passed.",
    "E_CONSERVATION": "The amounts would exceed what the credit, with its tolerance, allows.",
    # Amendments
    "E_AMENDMENT": "The amendment changes nothing, or the credit has too many.",
    "E_UNKNOWN_AMENDMENT": "There is no such amendment.",
    "E_ANSWERED": "The beneficiary has answered this amendment already.",
    "E_NOT_PASSED": "The amendment does not reach this second beneficiary, or not yet.",
    "E_CONFIRMATION": "The confirming bank is not bound to the present terms.",
    # Transfer
    "E_NOT_TRANSFERABLE": "The credit does not say that it is transferable.",
    "E_TRANSFERRED": "A transferred credit can be neither transferred on nor amended by itself.",
    "E_PARTIAL": "The credit does not allow partial drawings.",
    # Presentations
    "E_EXPIRED": "The last day to present documents under the credit has passed.",
    "E_LATE_PRESENTATION": "The documents come more days after shipment than the credit allows.",
    "E_SHIPMENT_DATE": "A shipment date, not in the future, is needed exactly when there is a transport document.",
    "E_DOCUMENT_NUMBER": "An electronic bill of lading needs its issuer and number in digits, Latin letters or Han.",
    "E_SAME_DOCUMENT": "One document stands twice in the presentation.",
    "E_PURGED_DOCUMENT": "The document was purged and cannot be presented again.",
    "E_NOT_NOMINATED": "Documents cannot be presented to this bank under this credit.",
    "E_UNKNOWN_PRESENTATION": "There is no such presentation.",
    "E_TITLE": "Only an electronic bill has a title or a proof of one, one of the two, and then no issuer and number.",
    "E_TITLE_KEPT": "A register keeps this bill, here or on another channel: it is presented as a title.",
    "E_TITLE_NOT_BOUND": "A title of the presentation is not bound any more; the documents can only be returned.",
    "E_TITLE_RECIPIENT": "The title was not reserved for this bank.",
    "E_TITLE_TIME": "The title is not reserved for as long as the bank may take to examine and a proof to arrive.",
    "E_TITLE_FORMER": "The bill was honoured before: a proof is needed that its title passed to the bank then.",
    "E_TITLE_KEPT_BACK": "The bank has a title of the documents still: who sells documents hands their titles over.",
    "E_TITLE_NOT_PASSED": "A title of the documents is not the issuing bank's yet: it passes when the claim is paid.",
    "E_NO_TITLES": "This channel keeps no titles, or believes no other channel.",
    "E_SUBSTITUTION": "The first beneficiary substitutes its invoice once, for a live presentation of a transferee.",
    "E_ONE_NOTICE": "A notice of refusal was given: it is single and names all discrepancies.",
    "E_PRECLUDED": "The time for a notice of refusal has passed.",
    "E_NOT_PRECLUDED": "The examination has not ended, or this bank is not bound to honour.",
    # Money
    "E_NOT_DUE": "The payment is not due yet.",
    "E_WRONG_PAYER": "The cash reference does not name the one who has to pay.",
    "E_WRONG_PAYEE": "The cash reference does not name the one who is to be paid.",
    "E_AMOUNT_MISMATCH": "The cash reference is not over exactly the amount due.",
    "E_DUP_REIMBURSEMENT": "Reimbursement was claimed for this presentation already.",
    "E_NOT_OVERDUE": "The claim is not unpaid for so long that its documents can be called back.",
    "E_UNKNOWN_REIMBURSEMENT": "No reimbursement was claimed for this presentation.",
    # Payment obligations
    "E_DUP_OBLIGATION": "The buyer already used this number.",
    "E_UNKNOWN_OBLIGATION": "There is no such payment obligation.",
    "E_CONDITION": "There is no such condition, or it is met already.",
}

NAME: Final = "lc"

module: Final = Module(
    NAME,
    version=1,
    entities=(
        entities.Credit,
        entities.Amendment,
        entities.Presentation,
        entities.BoundTitle,
        entities.ForwardedTitle,
        entities.Reimbursement,
        entities.PaymentObligation,
    ),
    events=(
        CreditApplied,
        CreditDeclined,
        CreditIssued,
        CreditAdvised,
        CreditConfirmed,
        CreditCancelled,
        CreditExpired,
        CreditClosed,
        AmendmentIssued,
        AmendmentAnswered,
        ConfirmationExtended,
        TransferRequested,
        CreditTransferred,
        DocumentsPresented,
        DocumentsForwarded,
        ComplyingFound,
        PresentationRefused,
        DiscrepanciesWaived,
        DocumentsReturned,
        BankPrecluded,
        PresentationHonoured,
        PresentationPaid,
        DocumentsReleased,
        ReimbursementClaimed,
        ReimbursementAccepted,
        ReimbursementRefused,
        ReimbursementPaid,
        ReimbursementWithdrawn,
        ObligationUndertaken,
        UndertakingAdded,
        ConditionMet,
        ObligationUnconditional,
        ObligationPaid,
    ),
    errors=ERRORS,
    uses=("kernel", "refdata"),
    may_use=("light_client", "title"),
)
