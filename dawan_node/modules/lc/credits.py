"""Credits: application, issue, advice, confirmation, cancellation, expiry.

The applicant writes the terms, the issuing bank undertakes them by issuing. From then on the credit is irrevocable: it
ends by its date, by being drawn, or by consent of everybody bound by it and entitled to it (UCP 600 articles 3, 7, 10).
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import ANY_ROLE, PPM, Args, Context, Date, Meta, Money, ShortText, key_of, replace
from dawan_node.modules.lc.calendar import is_in_time
from dawan_node.modules.lc.checks import (
    APPLICANTS,
    BANKS,
    BENEFICIARIES,
    active_party,
    check_amount,
    check_date,
    existing_credit,
    number_of,
)
from dawan_node.modules.lc.declaration import (
    CreditAdvised,
    CreditApplied,
    CreditCancelled,
    CreditConfirmed,
    CreditDeclined,
    CreditExpired,
    CreditIssued,
    module,
)
from dawan_node.modules.lc.entities import (
    BINDING_STATES,
    Availability,
    Bank,
    Credit,
    CreditState,
    DocumentKind,
    Place,
    RequiredDocument,
    Rules,
    TenorFrom,
    Terms,
)
from dawan_node.modules.refdata import parameter

#: More kinds of papers than any credit calls for; one presentation touches so many records, far inside the step budget.
DOCUMENTS_MAX: Final = 16
#: Ten years, like the longest credit.
TENOR_DAYS_MAX: Final = 3_660
#: Transport documents are stale long before (domain.md 1.5, the bound of lc.presentation_days).
PRESENTATION_DAYS_MAX: Final = 366
#: Transfers of one credit: read together when it expires, half the step budget even when each is as large as it can be.
TRANSFERS_MAX: Final = 50
TRANSPORT_KINDS: Final = ("EBL", "TRANSPORT")

CreditRef = Annotated[str, Meta(min_length=1, max_length=100, description="credit id: applicant/number[.transfer]")]
Tolerance = Annotated[int, Meta(ge=0, le=PPM)]
PresentationDays = Annotated[int, Meta(ge=0, le=PRESENTATION_DAYS_MAX)]
#: A date, or empty for none.
MaybeDate = Annotated[str, Meta(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$")]
MaybeName = Annotated[str, Meta(max_length=32)]


class BankAt(Args):
    """A bank and the place whose banking days count for it."""

    name: ShortText
    place: Place


class Required(Args):
    kind: DocumentKind
    conditions: Annotated[str, Meta(max_length=200)] = ""


RequiredList = Annotated[list[Required], Meta(max_length=DOCUMENTS_MAX)]


class ApplyCredit(Args):
    """Terms of a credit. ``advising``, ``confirming``, ``reimbursing`` may be empty; the issuing bank advises when no
    other does. ``about`` gives the amount the tolerance of article 30 a; ``presentation_days`` 0: the channel's."""

    number: ShortText
    rules: Rules
    beneficiary: ShortText
    issuing: BankAt
    nominated: BankAt
    amount: Money
    expiry: Date
    available_by: Availability
    documents: Annotated[list[Required], Meta(min_length=1, max_length=DOCUMENTS_MAX)]
    advising: MaybeName = ""
    confirming: list[BankAt] = []  # noqa: RUF012 - msgspec copies it
    reimbursing: MaybeName = ""
    about: bool = False
    plus_ppm: Tolerance = 0
    minus_ppm: Tolerance = 0
    latest_shipment: MaybeDate = ""
    presentation_days: PresentationDays = 0
    tenor_days: Annotated[int, Meta(ge=0, le=TENOR_DAYS_MAX)] = 0
    tenor_from: TenorFrom = "RECEIPT"
    partial: bool = True
    transhipment: bool = True
    transferable: bool = False


class OneCredit(Args):
    credit: CreditRef


@module.command("apply_credit", args=ApplyCredit, roles=APPLICANTS)
def apply_credit(ctx: Context, args: ApplyCredit) -> None:
    """The applicant asks a bank to issue a credit on these terms."""
    applicant = ctx.sender.name
    credit = f"{applicant}/{number_of(ctx, args.number)}"
    ctx.require(ctx.get(Credit, key_of(credit)) is None, "E_DUP_CREDIT")
    issuing, nominated, confirming = _banks(ctx, args)
    advising = args.advising or issuing.name
    banks = [name for name in (issuing.name, nominated.name, confirming.name, advising, args.reimbursing) if name]
    for bank in banks:
        active_party(ctx, bank, BANKS)
    active_party(ctx, args.beneficiary, BENEFICIARIES)
    ctx.require(args.beneficiary != applicant and applicant not in banks, "E_SELF_DEALING")
    ctx.require(args.beneficiary not in banks, "E_SELF_DEALING")
    # The issuing bank is bound already; its own confirmation or claim on itself would add nothing.
    ctx.require(issuing.name not in (confirming.name, args.reimbursing), "E_SELF_DEALING")
    terms = _terms(ctx, args)
    _check_tenor(ctx, args)
    ctx.put(
        Credit(
            credit=credit,
            parent="",
            rules=args.rules,
            applicant=applicant,
            beneficiary=args.beneficiary,
            issuing=issuing,
            advising=advising,
            confirming=confirming,
            nominated=nominated,
            reimbursing=args.reimbursing,
            available_by=args.available_by,
            tenor_days=args.tenor_days,
            tenor_from=args.tenor_from,
            partial=args.partial,
            transhipment=args.transhipment,
            transferable=args.transferable,
            passes_amendments=False,
            terms=terms,
            confirmation=(),
            original_minor=terms.amount.minor,
            covers_minor=0,
            base_version=0,
            version=1,
            state=CreditState.DRAFT,
            drawn_minor=0,
            reserved_minor=0,
            owed=0,
            transferred_minor=0,
            transferred_limit_minor=0,
            amendments=0,
            presentations=0,
            transfers=0,
            cancel_consents=(),
        )
    )
    ctx.emit(CreditApplied(credit=credit, issuing=issuing.name))


@module.command("decline_draft", args=OneCredit, roles=(*APPLICANTS, *BANKS, *BENEFICIARIES))
def decline_draft(ctx: Context, args: OneCredit) -> None:
    """An application or a request to transfer ends before it took effect: whoever asked, or the bank asked, says so."""
    credit = existing_credit(ctx, args.credit)
    parent = existing_credit(ctx, credit.parent) if credit.parent else None
    asked = (credit.applicant, credit.issuing.name) if parent is None else (parent.beneficiary, parent.nominated.name)
    ctx.require(ctx.sender.name in asked, "E_NOT_PARTY")
    ctx.require(credit.state == CreditState.DRAFT, "E_STATE")
    end_credit(ctx, credit, CreditState.CANCELLED)
    ctx.emit(CreditDeclined(credit=credit.credit, by=ctx.sender.name))


@module.command("issue_credit", args=OneCredit, roles=BANKS)
def issue_credit(ctx: Context, args: OneCredit) -> None:
    """The issuing bank undertakes irrevocably to honour complying documents (article 7)."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.issuing.name, "E_NOT_PARTY")
    ctx.require(credit.parent == "" and credit.state == CreditState.DRAFT, "E_STATE")
    ctx.require(ctx.business_date <= credit.terms.expiry, "E_EXPIRED")
    ctx.put(replace(credit, state=CreditState.ISSUED))
    ctx.emit(CreditIssued(credit=credit.credit, amount=credit.terms.amount, expiry=credit.terms.expiry))


@module.command("advise_credit", args=OneCredit, roles=BANKS)
def advise_credit(ctx: Context, args: OneCredit) -> None:
    """The advising bank tells the beneficiary; it undertakes nothing but that the credit looks genuine (article 9)."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.advising, "E_NOT_PARTY")
    ctx.require(credit.state == CreditState.ISSUED, "E_STATE")
    ctx.put(replace(credit, state=CreditState.ADVISED))
    ctx.emit(CreditAdvised(credit=credit.credit, beneficiary=credit.beneficiary))


@module.command("confirm_credit", args=OneCredit, roles=BANKS)
def confirm_credit(ctx: Context, args: OneCredit) -> None:
    """The confirming bank adds its own undertaking, on the terms as they are now (article 8)."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.confirming.name, "E_NOT_PARTY")
    # Once transferred, parts of the credit are out in other hands without the confirmation.
    ctx.require(credit.state == CreditState.ADVISED and credit.transfers == 0, "E_STATE")
    ctx.require(credit.parent == "", "E_TRANSFERRED")
    ctx.put(replace(credit, state=CreditState.CONFIRMED, confirmation=(credit.terms,)))
    ctx.emit(CreditConfirmed(credit=credit.credit, confirming=credit.confirming.name))


@module.command("cancel_credit", args=OneCredit, roles=(*BANKS, *BENEFICIARIES))
def cancel_credit(ctx: Context, args: OneCredit) -> None:
    """Issuing bank, confirming bank and beneficiary cancel together, each by sending this; the applicant is not asked.

    A transferred credit needs the first beneficiary too.
    """
    credit = existing_credit(ctx, args.credit)
    needed = {credit.issuing.name, credit.beneficiary}
    if credit.confirmation:
        needed.add(credit.confirming.name)
    if credit.parent:
        needed.add(existing_credit(ctx, credit.parent).beneficiary)
    sender = ctx.sender.name
    ctx.require(sender in needed, "E_NOT_PARTY")
    ctx.require(credit.state in BINDING_STATES, "E_STATE")
    # What a second beneficiary drew stays drawn, so the rest of its part cannot go back as if it were whole.
    drawn_part = credit.drawn_minor if credit.parent else 0
    ctx.require(credit.reserved_minor == 0 and credit.transferred_minor == 0 and drawn_part == 0, "E_IN_USE")
    ctx.require(sender not in credit.cancel_consents, "E_CONSENTED")
    consents = tuple(sorted((*credit.cancel_consents, sender)))
    if any(party not in consents for party in sorted(needed)):
        ctx.put(replace(credit, cancel_consents=consents))
        return
    end_credit(ctx, replace(credit, cancel_consents=consents), CreditState.CANCELLED)
    ctx.emit(CreditCancelled(credit=credit.credit))


@module.command("expire_credit", args=OneCredit, roles=ANY_ROLE)
def expire_credit(ctx: Context, args: OneCredit) -> None:
    """A party records that the last day to present has passed at every bank, with nothing under examination."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name in credit.parties, "E_NOT_PARTY")
    ctx.require(credit.state in BINDING_STATES, "E_STATE")
    places = sorted({bank.place for bank in credit.examining})
    over = [not is_in_time(ctx, place, ctx.business_date, credit.terms.expiry) for place in places]
    ctx.require(all(over), "E_NOT_EXPIRED")
    parts = ctx.scan(Credit, "by_parent", (credit.credit,), limit=TRANSFERS_MAX)
    live = [part for part in parts if part.state == CreditState.DRAFT or part.state in BINDING_STATES]
    ctx.require(credit.reserved_minor == 0 and not live, "E_IN_USE")
    ctx.put(replace(credit, state=CreditState.EXPIRED))
    undrawn = credit.terms.limit_minor - credit.drawn_minor - credit.transferred_limit_minor
    ctx.emit(CreditExpired(credit=credit.credit, undrawn=Money(credit.terms.amount.currency, undrawn)))


def end_credit(ctx: Context, credit: Credit, state: CreditState) -> None:
    """End a credit of which nothing is presented; what was transferred and not drawn goes back to its parent."""
    ctx.put(replace(credit, state=state))
    if credit.parent:
        parent = existing_credit(ctx, credit.parent)
        ctx.put(
            replace(
                parent,
                transferred_minor=parent.transferred_minor - credit.terms.amount.minor,
                transferred_limit_minor=parent.transferred_limit_minor - credit.terms.limit_minor,
            )
        )


def required_documents(documents: list[Required]) -> tuple[RequiredDocument, ...]:
    """As an entity keeps them."""
    return tuple([RequiredDocument(each.kind, each.conditions) for each in documents])


def check_dates(ctx: Context, terms: Terms) -> None:
    """Expiry not in the past, shipment not after it."""
    check_date(ctx, terms.expiry)
    ctx.require(terms.expiry >= ctx.business_date, "E_DATES")
    if terms.latest_shipment:
        check_date(ctx, terms.latest_shipment)
        ctx.require(terms.latest_shipment <= terms.expiry, "E_DATES")


def _banks(ctx: Context, args: ApplyCredit) -> tuple[Bank, Bank, Bank]:
    ctx.require(len(args.confirming) <= 1, "E_PLACE")
    given = [args.issuing, args.nominated, *args.confirming]
    places = {bank.name: bank.place for bank in given}
    ctx.require(all(places[bank.name] == bank.place for bank in given), "E_PLACE")
    issuing, nominated, *confirming = [Bank(bank.name, bank.place) for bank in given]
    return issuing, nominated, confirming[0] if confirming else Bank("", "")


def _terms(ctx: Context, args: ApplyCredit) -> Terms:
    check_amount(ctx, args.amount)
    ctx.require(not args.about or args.plus_ppm == args.minus_ppm == 0, "E_TOLERANCE")
    plus, minus = args.plus_ppm, args.minus_ppm
    if args.about:
        plus = minus = parameter(ctx, "lc.tolerance.about")
    elif not args.partial and plus == minus == 0:
        # Article 30 c: one drawing may be five per cent short when the goods are shipped in full.
        minus = parameter(ctx, "lc.tolerance.quantity")
    ctx.require(minus < PPM, "E_TOLERANCE")
    terms = Terms(
        amount=args.amount,
        plus_ppm=plus,
        minus_ppm=minus,
        expiry=args.expiry,
        latest_shipment=args.latest_shipment,
        presentation_days=args.presentation_days or parameter(ctx, "lc.presentation_days"),
        documents=required_documents(args.documents),
    )
    check_dates(ctx, terms)
    return terms


def _check_tenor(ctx: Context, args: ApplyCredit) -> None:
    """At sight there is none; a tenor from shipment needs a document that shows the shipment."""
    if args.available_by == "SIGHT":
        ctx.require(args.tenor_days == 0, "E_TENOR")
    elif args.available_by != "NEGOTIATION":
        ctx.require(args.tenor_days > 0, "E_TENOR")
    shipped = any(document.kind in TRANSPORT_KINDS for document in args.documents)
    ctx.require(args.tenor_from == "RECEIPT" or shipped, "E_TENOR")
