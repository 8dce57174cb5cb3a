"""Presentations: documents delivered to a bank, its one examination, its one notice, and what follows (14 to 16).

What a presentation consists of is frozen when the bank receives it; a correction is another presentation. The bank has
five banking days of its own place after the day of receipt. A refusal is one notice with every discrepancy; a bank
bound to honour that is silent until the close of the fifth day is precluded and has to honour. It judges documents and
nothing else: no statement about goods, claims or other contracts has a way in here (articles 4, 5).
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import (
    Args,
    Context,
    Hash32,
    Meta,
    Money,
    ShortText,
    add_days,
    add_months,
    close_of_day_ms,
    key_of,
    replace,
)
from dawan_node.modules.kernel.declaration import Document
from dawan_node.modules.lc import bills, titles
from dawan_node.modules.lc.amendments import accept
from dawan_node.modules.lc.calendar import deadline_after, is_in_time, received_date
from dawan_node.modules.lc.checks import (
    APPLICANTS,
    BANKS,
    BENEFICIARIES,
    acts_for,
    check_amount,
    check_date,
    existing_credit,
    existing_presentation,
)
from dawan_node.modules.lc.credits import DOCUMENTS_MAX, TRANSPORT_KINDS, CreditRef, MaybeDate
from dawan_node.modules.lc.declaration import (
    BankPrecluded,
    ComplyingFound,
    DiscrepanciesWaived,
    DocumentsForwarded,
    DocumentsPresented,
    DocumentsReturned,
    PresentationRefused,
    module,
)
from dawan_node.modules.lc.entities import (
    AVAILABLE_STATES,
    DRAWN_STATES,
    DUE_STATES,
    OPEN_STATES,
    Credit,
    Disposal,
    DocumentKind,
    Presentation,
    PresentationState,
    PresentedDocument,
    Terms,
)
from dawan_node.primitives.proofs import PROOF_BYTES_MAX

#: Discrepancies of one notice; together 4,000 characters, what banks send each other has room for 3,500 (field 77J of
#: MT 734 [K]), and with sixteen documents a record stays inside its 32 KiB.
FINDINGS_MAX: Final = 20
#: Four digits in the identifier; a standby drawn every week of ten years has 520.
PRESENTATIONS_MAX: Final = 9_999
#: Papers of a transaction are kept five years after it ended [K]: anti-money-laundering rules of Hong Kong and Macau.
RETENTION_MONTHS: Final = 60

PresentationRef = Annotated[str, Meta(min_length=1, max_length=100, description="presentation id: credit#number")]
Finding = Annotated[str, Meta(min_length=1, max_length=200)]
Findings = Annotated[list[Finding], Meta(min_length=1, max_length=FINDINGS_MAX)]


class Presented(Args):
    """``digest``: hash of the salted payload. An ``EBL`` needs ``issuer`` and ``number``; or the ``title`` that a
    register of this channel keeps; or a ``proof`` that one of another channel is reserved for the credit. A corrected
    presentation names one that the refused one has ``<channel>:<title>``. ``passed``: of a title of another channel
    that was honoured and paid for before, a proof that its reservation passed it to the bank then."""

    kind: DocumentKind
    digest: Hash32
    size: Annotated[int, Meta(ge=1)]
    media_type: ShortText = "application/pdf"
    issuer: Annotated[str, Meta(max_length=64)] = ""
    number: Annotated[str, Meta(max_length=64)] = ""
    title: titles.TitleName = ""
    proof: Annotated[bytes, Meta(max_length=PROOF_BYTES_MAX)] = b""
    passed: Annotated[bytes, Meta(max_length=PROOF_BYTES_MAX)] = b""


class PresentDocuments(Args):
    """``replaces``: the refused presentation that this one corrects. ``under_amendment``: presenting accepts it.
    ``substitutes``: the second beneficiary's presentation whose invoice the first beneficiary replaces."""

    credit: CreditRef
    bank: ShortText
    amount: Money
    documents: Annotated[list[Presented], Meta(min_length=1, max_length=DOCUMENTS_MAX)]
    shipment_date: MaybeDate = ""
    replaces: Annotated[str, Meta(max_length=100)] = ""
    substitutes: Annotated[str, Meta(max_length=100)] = ""
    under_amendment: Annotated[int, Meta(ge=0, le=120)] = 0


class OnePresentation(Args):
    presentation: PresentationRef


class ForwardPresentation(Args):
    presentation: PresentationRef
    to: ShortText


class RefusePresentation(Args):
    presentation: PresentationRef
    findings: Findings
    disposal: Disposal


@module.command("present_documents", args=PresentDocuments, roles=BENEFICIARIES)
def present_documents(ctx: Context, args: PresentDocuments) -> None:
    """The beneficiary presents documents for an amount; the bank's examination begins."""
    credit = existing_credit(ctx, args.credit)
    ctx.require(ctx.sender.name == credit.beneficiary, "E_NOT_PARTY")
    ctx.require(credit.state in AVAILABLE_STATES and credit.presentations < PRESENTATIONS_MAX, "E_STATE")
    if args.under_amendment:
        credit = accept(ctx, credit, args.under_amendment)
    if args.replaces:
        credit = _take_back(ctx, credit, args.replaces, titles.kept_of(args.documents))
    place = credit.place_of(args.bank)
    ctx.require(place != "", "E_NOT_NOMINATED")
    received = received_date(ctx, place)
    _check_time(ctx, credit, args, place, received)
    _check_amount(ctx, credit, args)
    presentation = f"{credit.credit}#{credit.presentations + 1}"
    deadline = deadline_after(ctx, place, received)
    names = titles.take(ctx, credit, presentation, args.bank, deadline, args.documents, args.replaces)
    documents = _documents(ctx, credit, args, names)
    ebls = bills.register(ctx, documents, presentation, [document.passed for document in args.documents])
    ctx.put(
        replace(
            credit,
            presentations=credit.presentations + 1,
            reserved_minor=credit.reserved_minor + args.amount.minor,
            cancel_consents=(),
        )
    )
    ctx.put(
        Presentation(
            presentation=presentation,
            credit=credit.credit,
            seq=credit.presentations + 1,
            version=credit.version,
            presenter=ctx.sender.name,
            bank=args.bank,
            place=place,
            amount=args.amount,
            documents=documents,
            ebls=ebls,
            shipment_date=args.shipment_date,
            received_ms=ctx.time_ms,
            received_date=received,
            deadline=deadline,
            apparent=_apparent(credit, args),
            findings=(),
            disposal="",
            refused_ms=0,
            waivers=(),
            replaces=args.replaces,
            substitutes=args.substitutes,
            maturity="",
            with_party=args.bank,
            state=PresentationState.RECEIVED,
        )
    )
    ctx.emit(DocumentsPresented(presentation=presentation, bank=args.bank, amount=args.amount, deadline=deadline))


@module.command("forward_presentation", args=ForwardPresentation, roles=(*BANKS, *BENEFICIARIES))
def forward_presentation(ctx: Context, args: ForwardPresentation) -> None:
    """A nominated bank that is not bound passes the documents on, or the presenter has it do so; a new examination."""
    found = existing_presentation(ctx, args.presentation)
    credit = existing_credit(ctx, found.credit)
    ctx.require(_is_presenter(ctx, found) or acts_for(ctx, found.bank, BANKS), "E_NOT_PARTY")
    # Whatever a bank that is not bound thinks of the documents: those who are bound have to look at them.
    undecided = (*OPEN_STATES, PresentationState.COMPLYING, PresentationState.REFUSED)
    ctx.require(found.state in undecided and not credit.is_bound(found.bank), "E_STATE")
    ctx.require(args.to != found.bank and credit.is_bound(args.to), "E_NOT_NOMINATED")
    _check_confirmed(ctx, credit, found.amount.minor, args.to, already=found.amount.minor)
    # In time is what came to a bank of the credit in time; only a bank that confirmed other terms asks again.
    for terms in _binding(credit, args.to)[1:]:
        _require_in_time(ctx, terms, found.place, found.received_date, found.shipment_date)
    place = credit.place_of(args.to)
    received = received_date(ctx, place)
    deadline = deadline_after(ctx, place, received)
    titles.require_recipient(ctx, found.presentation, args.to, deadline)
    ctx.put(
        replace(
            found,
            bank=args.to,
            place=place,
            received_ms=ctx.time_ms,
            received_date=received,
            deadline=deadline,
            with_party=args.to,
            # A notice of refusal is the bank's that gave it; the next bank has one of its own.
            findings=(),
            disposal="",
            refused_ms=0,
            waivers=(),
            state=PresentationState.RECEIVED,
        )
    )
    ctx.emit(DocumentsForwarded(presentation=found.presentation, bank=args.to, deadline=deadline))


@module.command("examine_presentation", args=OnePresentation, roles=BANKS)
def examine_presentation(ctx: Context, args: OnePresentation) -> None:
    """The bank says that it is examining; its time is the same."""
    found = _at_bank(ctx, args.presentation)
    ctx.require(found.state == PresentationState.RECEIVED, "E_STATE")
    ctx.put(replace(found, state=PresentationState.EXAMINING))


@module.command("find_complying", args=OnePresentation, roles=BANKS)
def find_complying(ctx: Context, args: OnePresentation) -> None:
    """The bank finds that the documents comply on their face (article 15)."""
    found = _at_bank(ctx, args.presentation)
    ctx.require(found.state in OPEN_STATES, "E_STATE")
    ctx.put(replace(found, state=PresentationState.COMPLYING))
    ctx.emit(ComplyingFound(presentation=found.presentation))


@module.command("refuse_presentation", args=RefusePresentation, roles=BANKS)
def refuse_presentation(ctx: Context, args: RefusePresentation) -> None:
    """The bank refuses, by one notice that names every discrepancy and what it does with the documents (16 c)."""
    found = _at_bank(ctx, args.presentation)
    ctx.require(found.refused_ms == 0, "E_ONE_NOTICE")
    ctx.require(found.state != PresentationState.PRECLUDED, "E_PRECLUDED")
    ctx.require(found.state in OPEN_STATES, "E_STATE")
    ctx.require(ctx.time_ms < close_of_day_ms(found.deadline), "E_PRECLUDED")
    findings = tuple(args.findings)
    ctx.put(
        replace(
            found,
            state=PresentationState.REFUSED,
            findings=findings,
            disposal=args.disposal,
            refused_ms=ctx.time_ms,
        )
    )
    ctx.emit(PresentationRefused(presentation=found.presentation, findings=findings, disposal=args.disposal))


@module.command("claim_preclusion", args=OnePresentation, roles=BENEFICIARIES)
def claim_preclusion(ctx: Context, args: OnePresentation) -> None:
    """The presenter records that a bank bound to honour gave no notice in time; it has to honour (16 f)."""
    found = existing_presentation(ctx, args.presentation)
    ctx.require(_is_presenter(ctx, found), "E_NOT_PARTY")
    ctx.require(found.state in OPEN_STATES, "E_STATE")
    credit = existing_credit(ctx, found.credit)
    late = ctx.time_ms >= close_of_day_ms(found.deadline)
    ctx.require(late and credit.is_bound(found.bank), "E_NOT_PRECLUDED")
    ctx.put(replace(found, state=PresentationState.PRECLUDED))
    ctx.emit(BankPrecluded(presentation=found.presentation, bank=found.bank))


@module.command("waive_discrepancies", args=OnePresentation, roles=(*APPLICANTS, *BANKS))
def waive_discrepancies(ctx: Context, args: OnePresentation) -> None:
    """Applicant and issuing bank each say that they take the documents as they are (16 b); then the bank honours."""
    found = existing_presentation(ctx, args.presentation)
    credit = existing_credit(ctx, found.credit)
    sender = ctx.sender.name
    ctx.require(sender in (credit.applicant, credit.issuing.name), "E_NOT_PARTY")
    ctx.require(found.state == PresentationState.REFUSED, "E_STATE")
    ctx.require(sender not in found.waivers, "E_CONSENTED")
    waivers = tuple(sorted((*found.waivers, sender)))
    complete = len(waivers) > 1
    waived = replace(found, waivers=waivers)
    if complete:
        # A waiver binds those who gave it: the issuing bank takes the documents and honours, no other bank has to.
        issuing = credit.issuing
        waived = replace(
            waived, state=PresentationState.WAIVED, bank=issuing.name, place=issuing.place, with_party=issuing.name
        )
    ctx.put(waived)
    ctx.emit(DiscrepanciesWaived(presentation=found.presentation, by=sender, complete=complete))


@module.command("return_documents", args=OnePresentation, roles=(*BANKS, *BENEFICIARIES))
def return_documents(ctx: Context, args: OnePresentation) -> None:
    """Refused documents go back: the bank gives them (16 e), or the presenter calls them, whose instructions it holds
    them for (16 c iii). So do those whose title is not bound any more: the bank gives these back only while it is not
    bound to honour."""
    found = existing_presentation(ctx, args.presentation)
    credit = existing_credit(ctx, found.credit)
    presents = _is_presenter(ctx, found)
    ctx.require(presents or acts_for(ctx, found.bank, BANKS), "E_NOT_PARTY")
    if found.state != PresentationState.REFUSED:
        live = found.state in (*OPEN_STATES, *DUE_STATES)
        ctx.require(live and titles.is_lapsed(ctx, found.presentation), "E_STATE")
        # A bank that waits until the lock is over has not got rid of what it owes.
        late = ctx.time_ms >= close_of_day_ms(found.deadline) and credit.is_bound(found.bank)
        owes = found.state in DUE_STATES or late
        ctx.require(not owes or presents, "E_NOT_PARTY")
    titles.give_back(ctx, found.presentation)
    _release(ctx, found, PresentationState.RETURNED)
    ctx.put(replace(credit, reserved_minor=credit.reserved_minor - found.amount.minor))
    ctx.emit(DocumentsReturned(presentation=found.presentation))


def _at_bank(ctx: Context, presentation: str) -> Presentation:
    found = existing_presentation(ctx, presentation)
    ctx.require(acts_for(ctx, found.bank, BANKS), "E_NOT_PARTY")
    return found


def _is_presenter(ctx: Context, found: Presentation) -> bool:
    return acts_for(ctx, found.presenter, BENEFICIARIES)


def _take_back(ctx: Context, credit: Credit, replaced: str, kept: tuple[str, ...]) -> Credit:
    """The refused presentation ends, because corrected documents take its place; its amount is free again."""
    old = existing_presentation(ctx, replaced)
    ctx.require(old.credit == credit.credit and old.state == PresentationState.REFUSED, "E_STATE")
    titles.give_back(ctx, replaced, kept)
    _release(ctx, old, PresentationState.RE_PRESENTED)
    return replace(credit, reserved_minor=credit.reserved_minor - old.amount.minor)


def _release(ctx: Context, found: Presentation, state: PresentationState) -> None:
    bills.release(ctx, found)
    ctx.put(replace(found, state=state, with_party=found.presenter))


def _check_time(ctx: Context, credit: Credit, args: PresentDocuments, place: str, received: str) -> None:
    """Not after the expiry, not too long after shipment, under every set of terms that binds the bank."""
    needed = any(document.kind in TRANSPORT_KINDS for document in args.documents)
    if not args.substitutes:
        needed = needed or any(document.kind in TRANSPORT_KINDS for document in credit.terms.documents)
    ctx.require(needed == (args.shipment_date != ""), "E_SHIPMENT_DATE")
    if needed:
        check_date(ctx, args.shipment_date)
        ctx.require(args.shipment_date <= ctx.business_date, "E_SHIPMENT_DATE")
    for terms in _binding(credit, args.bank):
        _require_in_time(ctx, terms, place, received, args.shipment_date)


def _require_in_time(ctx: Context, terms: Terms, place: str, received: str, shipment_date: str) -> None:
    ctx.require(is_in_time(ctx, place, received, terms.expiry), "E_EXPIRED")
    if shipment_date:
        last = add_days(shipment_date, terms.presentation_days)
        ctx.require(is_in_time(ctx, place, received, last), "E_LATE_PRESENTATION")


def _check_amount(ctx: Context, credit: Credit, args: PresentDocuments) -> None:
    """Within what is left of the credit, whole where partial drawings are not allowed."""
    check_amount(ctx, args.amount)
    ctx.require(args.amount.currency == credit.terms.amount.currency, "E_CURRENCY_MISMATCH")
    ctx.require(args.amount.minor <= credit.available_minor, "E_CONSERVATION")
    _check_confirmed(ctx, credit, args.amount.minor, args.bank, already=0)
    if args.substitutes:
        _check_substitution(ctx, credit, args)
    elif not credit.partial:
        untouched = credit.drawn_minor == credit.reserved_minor == credit.transferred_minor == 0
        ctx.require(untouched and args.amount.minor >= credit.terms.least_minor, "E_PARTIAL")


def _check_confirmed(ctx: Context, credit: Credit, minor: int, bank: str, already: int) -> None:
    """The confirming bank is bound up to the limit it confirmed; ``already``: what of ``minor`` is set aside now."""
    if bank == credit.confirming.name:
        used = credit.drawn_minor + credit.reserved_minor + credit.transferred_limit_minor - already
        for terms in credit.confirmation:
            ctx.require(used + minor <= terms.limit_minor, "E_CONFIRMATION")


def _check_substitution(ctx: Context, credit: Credit, args: PresentDocuments) -> None:
    """Article 38 h: the first beneficiary's own invoice in place of the second one's, for the difference."""
    other = existing_presentation(ctx, args.substitutes)
    part = existing_credit(ctx, other.credit)
    ctx.require(part.parent == credit.credit, "E_SUBSTITUTION")
    ctx.require(other.state in (*OPEN_STATES, *DUE_STATES, *DRAWN_STATES), "E_SUBSTITUTION")
    # The difference of the two prices for these goods and no more: it comes without documents of its own.
    difference = part.covers_minor - part.original_minor
    ctx.require(args.amount.minor * part.original_minor <= difference * other.amount.minor, "E_SUBSTITUTION")
    ctx.require(ctx.scan(Presentation, "by_substituted", (args.substitutes,), limit=1) == (), "E_SUBSTITUTION")


def _binding(credit: Credit, bank: str) -> tuple[Terms, ...]:
    return (credit.terms, *credit.confirmation) if bank == credit.confirming.name else (credit.terms,)


def _apparent(credit: Credit, args: PresentDocuments) -> tuple[str, ...]:
    """What anyone can see without the papers. The bank examines them all the same, and decides."""
    kinds = [document.kind for document in args.documents]
    if args.substitutes:
        return ()
    missing = [f"MISSING {each.kind}" for each in credit.terms.documents if each.kind not in kinds]
    latest = credit.terms.latest_shipment
    late = ["LATE SHIPMENT"] if latest and args.shipment_date > latest else []
    return (*dict.fromkeys(missing), *late)


def _documents(
    ctx: Context, credit: Credit, args: PresentDocuments, names: list[tuple[str, str]]
) -> tuple[PresentedDocument, ...]:
    """Register what the kernel does not know yet; the same paper comes again when another one was corrected. ``names``
    has issuer and number of each document."""
    digests = [document.digest for document in args.documents]
    ctx.require(len(dict.fromkeys(digests)) == len(digests), "E_SAME_DOCUMENT")
    readers = _organisations(ctx, (ctx.sender.name, args.bank, credit.issuing.name, credit.applicant))
    retain_until = add_months(credit.terms.expiry, RETENTION_MONTHS)
    for each in args.documents:
        known = ctx.get(Document, key_of(each.digest))
        if known is None:
            call = ("register_document", each.digest, each.size, each.media_type, "", readers, retain_until)
            ctx.call("kernel", *call)
        else:
            ctx.require(known.purged_ms == 0, "E_PURGED_DOCUMENT")
    named = zip(args.documents, names, strict=True)
    return tuple([PresentedDocument(each.kind, each.digest, issuer, number) for each, (issuer, number) in named])


def _organisations(ctx: Context, names: tuple[str, ...]) -> tuple[str, ...]:
    people = [ctx.identity(name) for name in names]
    orgs = [person.org for person in people if person is not None and ctx.is_org(person.org)]
    return tuple(sorted(dict.fromkeys(orgs)))
