"""What must hold after every block, whatever was sent: no bank owes more than it undertook, nothing is drawn twice.

Each checker reads the whole state and yields a sentence per violation. They compare independent records with each
other (credits with their presentations, amendments and parts, presentations with the kernel's payments and registry),
so that one wrong line of code cannot make both sides wrong alike.
"""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import Money, QueryContext, close_of_day_ms, key_of, tolerance
from dawan_node.modules.kernel import live_lock
from dawan_node.modules.kernel.declaration import CashReference, Fingerprint
from dawan_node.modules.lc.declaration import module
from dawan_node.modules.lc.entities import (
    DRAWN_STATES,
    OWED_STATES,
    RESERVED_STATES,
    Amendment,
    BoundTitle,
    Credit,
    CreditState,
    ForwardedTitle,
    ObligationState,
    PaymentObligation,
    Presentation,
    PresentationState,
    Reimbursement,
    ReimbursementState,
)
from dawan_node.modules.light_client import Commitment
from dawan_node.modules.title.entities import ChainEntry, Title

#: Acts whose recipient gets a right in a title or none, and not possession of it.
_NO_POSSESSION = ("ENDORSE", "ENDORSE_TO_ORDER", "NOMINATE", "PLEDGE", "SACC")


@module.invariant("drawings")
def drawings(ctx: QueryContext) -> Iterator[str]:
    """What is drawn, presented and transferred under a credit is what its presentations and parts say, and within its
    amount and tolerance."""
    drawn: dict[str, int] = {}
    reserved: dict[str, int] = {}
    owed: dict[str, int] = {}
    for found in ctx.iterate(Presentation, "by_credit"):
        if found.state in DRAWN_STATES:
            drawn[found.credit] = drawn.get(found.credit, 0) + found.amount.minor
        if found.state in OWED_STATES:
            owed[found.credit] = owed.get(found.credit, 0) + 1
        if found.state in RESERVED_STATES:
            reserved[found.credit] = reserved.get(found.credit, 0) + found.amount.minor
    for credit in ctx.iterate(Credit, "by_parent"):
        name = credit.credit
        terms = credit.terms
        _, most = tolerance(terms.amount, minus_ppm=terms.minus_ppm, plus_ppm=terms.plus_ppm)
        booked = (credit.drawn_minor, credit.reserved_minor, credit.owed)
        counted = (drawn.get(name, 0), reserved.get(name, 0), owed.get(name, 0))
        if booked != counted:
            yield f"{name}: {booked} drawn, presented, owed by the books, {counted} by its presentations"
        used = counted[0] + counted[1] + credit.transferred_limit_minor
        if used > most.minor:
            yield f"{name}: {used} used of {most.minor}"
        if credit.state in (CreditState.EXPIRED, CreditState.CANCELLED, CreditState.CLOSED) and counted[1]:
            yield f"{name} is {credit.state} with {counted[1]} under examination"
        if credit.state == CreditState.PARTLY_DRAWN and counted[0] == 0:
            yield f"{name} is {credit.state} with nothing drawn"
        if credit.state == CreditState.CLOSED and counted[2]:
            yield f"{name} is closed and {counted[2]} presentations are not paid"


@module.invariant("transfers_conserve")
def transfers_conserve(ctx: QueryContext) -> Iterator[str]:
    """Parts of a credit are never more than the credit, one deep, and each set aside in it."""
    amounts: dict[str, int] = {}
    limits: dict[str, int] = {}
    for part in ctx.iterate(Credit, "by_parent"):
        if not part.parent:
            continue
        parent = ctx.get(Credit, key_of(part.parent))
        if parent is None or parent.parent or part.transferred_minor or part.transferred_limit_minor:
            yield f"{part.credit} was transferred on"
        if part.state != CreditState.CANCELLED:
            amounts[part.parent] = amounts.get(part.parent, 0) + part.terms.amount.minor
            limits[part.parent] = limits.get(part.parent, 0) + part.terms.limit_minor
    for credit in ctx.iterate(Credit, "by_parent"):
        counted = (amounts.get(credit.credit, 0), limits.get(credit.credit, 0))
        if counted != (credit.transferred_minor, credit.transferred_limit_minor):
            yield f"{credit.credit}: {counted} transferred, another sum booked"
        if counted[0] > credit.terms.amount.minor:
            yield f"{credit.credit}: {counted[0]} transferred of {credit.terms.amount.minor}"


@module.invariant("undertakings")
def undertakings(ctx: QueryContext) -> Iterator[str]:
    """An amount undertaken is the original one and the amendments its beneficiary accepted; nothing else changes it."""
    accepted: dict[str, list[Amendment]] = {}
    for amendment in ctx.iterate(Amendment, "by_credit"):
        named = [credit for credit, _ in amendment.answers]
        if len(dict.fromkeys(named)) != len(named):
            yield f"{amendment.credit}, amendment {amendment.number}: answered twice"
        for credit, yes in amendment.answers:
            if yes:
                accepted.setdefault(credit, []).append(amendment)
    for found in ctx.iterate(Credit, "by_parent"):
        changes = accepted.get(found.credit, [])
        delta = 0 if found.parent else sum([amendment.delta_minor for amendment in changes])
        if found.terms.amount.minor != found.original_minor + delta:
            yield f"{found.credit}: {found.terms.amount.minor} undertaken, {found.original_minor} and {delta} agreed"
        if found.version != 1 + len(changes):
            yield f"{found.credit}: version {found.version} after {len(changes)} accepted amendments"
        if found.confirmation and not found.confirming.name:
            yield f"{found.credit} is confirmed by nobody"


@module.invariant("one_notice_in_time")
def one_notice_in_time(ctx: QueryContext) -> Iterator[str]:
    """A refusal has its discrepancies and was given within the examination; nobody waived but those who may."""
    for found in ctx.iterate(Presentation, "by_credit"):
        if bool(found.findings) != bool(found.refused_ms):
            yield f"{found.presentation}: refused without discrepancies, or discrepancies without a refusal"
        if found.refused_ms and found.refused_ms >= close_of_day_ms(found.deadline):
            yield f"{found.presentation}: refused after {found.deadline}"
        if found.refused_ms and found.state in DRAWN_STATES and len(found.waivers) != 2:
            yield f"{found.presentation}: refused and honoured without a waiver"
        if found.state == PresentationState.PRECLUDED and ctx.time_ms < close_of_day_ms(found.deadline):
            yield f"{found.presentation}: precluded before {found.deadline}"
    for claim in ctx.iterate(Reimbursement, "by_issuing"):
        if claim.refused_ms and claim.refused_ms >= close_of_day_ms(claim.deadline):
            yield f"the claim for {claim.presentation} was refused after {claim.deadline}"


@module.invariant("one_bill_one_presentation")
def one_bill_one_presentation(ctx: QueryContext) -> Iterator[str]:
    """An electronic bill of lading is in at most one live presentation, and the registry says in which. Live is one
    that may still be honoured, or was, until all who paid are paid back and the documents and the title released."""
    holders: dict[bytes, str] = {}
    for found in ctx.iterate(Presentation, "by_credit"):
        if found.state not in RESERVED_STATES and found.state not in DRAWN_STATES:
            continue
        positions = [position for position, document in enumerate(found.documents) if document.kind == "EBL"]
        for position, tag in zip(positions, found.ebls, strict=True):
            known = ctx.get(Fingerprint, key_of(tag))
            wanted = "FINANCED" if found.state in DRAWN_STATES else "REGISTERED"
            fits = known is not None and (known.subject, known.state) == (found.presentation, wanted)
            if _is_paid_and_released(ctx, found, position):
                if known is None or (known.subject == found.presentation and not fits):
                    yield f"the bill of {found.presentation} was let go to nobody"
                continue
            if tag in holders:
                yield f"{found.presentation} and {holders[tag]} have one bill of lading"
            holders[tag] = found.presentation
            if not fits:
                yield f"{found.presentation} is {found.state} and its bill of lading is not {wanted} for it"


def _is_paid_and_released(ctx: QueryContext, found: Presentation, position: int) -> bool:
    """By the attested payments, and where documents and title are."""
    bound = ctx.get(BoundTitle, key_of(found.presentation, position))
    credit = ctx.get(Credit, key_of(found.credit))
    if bound is None or bound.state != "PASSED" or credit is None:
        return False
    if found.with_party in (found.bank, credit.issuing.name):
        return False
    claim = ctx.get(Reimbursement, key_of(found.presentation))
    claimed = claim is not None and claim.state != ReimbursementState.WITHDRAWN
    for purpose in ("honour", "reimburse") if claimed else ("honour",):
        payments = ctx.iterate(CashReference, "by_subject", ("lc", found.presentation, purpose))
        if sum([cash.amount.minor for cash in payments]) != found.amount.minor:
            return False
    return True


@module.invariant("titles_follow_documents")
def titles_follow_documents(ctx: QueryContext) -> Iterator[str]:
    """A title is where the documents are: bound while the presentation lives, the bank's after honour, else free; one
    title is in one live presentation, and one of another channel rests on a commitment in the same state."""
    bearers: dict[tuple[str, str], str] = {}
    for found in ctx.iterate(Presentation, "by_credit"):
        for bound in ctx.iterate(BoundTitle, "by_presentation", (found.presentation,)):
            wanted = "PASSED" if found.state in DRAWN_STATES else "BOUND"
            if bound.state != (wanted if found.state in (*RESERVED_STATES, *DRAWN_STATES) else "RETURNED"):
                yield f"{found.presentation} is {found.state} and its title {bound.title} {bound.state}"
            if bound.state == "BOUND":
                other = bearers.setdefault((bound.channel, bound.title), found.presentation)
                if other != found.presentation and bound.channel:
                    yield f"{bound.title} is in {other} and {found.presentation}"
            if bound.channel and bound.state != "RETURNED":
                commitment = ctx.get(Commitment, key_of(bound.commitment))
                state = {"BOUND": "COMMITTED", "PASSED": "PASSED"}[bound.state]
                if commitment is None or (commitment.process, commitment.state) != (found.credit, state):
                    yield f"{found.presentation} has {bound.title} {bound.state} without a commitment that is {state}"
    if not ctx.runs("title"):
        return
    for title in ctx.iterate(Title, "by_document"):
        lock = live_lock(ctx, "title", title.title)
        if lock is not None and lock.owner.startswith("lc:"):
            bearer = [each.presentation for each in ctx.iterate(BoundTitle, "by_title", ("", title.title))]
            bearer += [each.presentation for each in ctx.iterate(ForwardedTitle, "by_title", ("", title.title))]
            if lock.owner.removeprefix("lc:") not in bearer:
                yield f"{title.title} is bound by {lock.owner}, which does not have it"


@module.invariant("titles_follow_claims")
def titles_follow_claims(ctx: QueryContext) -> Iterator[str]:
    """Every title that honour passed to the bank which claims is forwarded with its claim: bound until it is paid or
    taken up, then passed to the issuing bank, and given back with a claim that is withdrawn."""
    live = (ReimbursementState.CLAIMED, ReimbursementState.REFUSED, ReimbursementState.DUE)
    for claim in ctx.iterate(Reimbursement, "by_issuing"):
        forwarded = {e.position: e for e in ctx.iterate(ForwardedTitle, "by_presentation", (claim.presentation,))}
        for bound in ctx.iterate(BoundTitle, "by_presentation", (claim.presentation,)):
            if bound.state == "PASSED" and bound.position not in forwarded:
                yield f"{claim.presentation} is claimed without its title {bound.title}"
        for each in forwarded.values():
            fits = {"BOUND": live, "PASSED": (*live, ReimbursementState.PAID)}.get(each.state)
            if claim.state not in (fits or (ReimbursementState.WITHDRAWN,)):
                yield f"the claim for {claim.presentation} is {claim.state} and {each.title} {each.state}"
            if each.state == "BOUND" and each.against == "ACCEPTANCE" and claim.state == ReimbursementState.DUE:
                yield f"{each.title} is the issuing bank's against its acceptance, and bound"
            if each.channel and each.state != "RETURNED":
                commitment = ctx.get(Commitment, key_of(each.commitment))
                state = {"BOUND": "COMMITTED", "PASSED": "PASSED"}[each.state]
                if commitment is None or commitment.state != state:
                    yield f"{each.title} is {each.state} for {claim.presentation} without a commitment that is {state}"
            if each.channel == "" and each.state == "PASSED" and not _was_held(ctx, each.title, claim.issuing):
                yield f"{claim.presentation} is {claim.state} and {claim.issuing} never had {each.title}"


def _was_held(ctx: QueryContext, title: str, by: str) -> bool:
    """Whether somebody of that bank's organisation got possession of a title, by the title's own chain."""
    bank = ctx.identity(by)
    for entry in ctx.iterate(ChainEntry, "by_title", (title,)):
        party = ctx.identity(entry.recipient) if entry.recipient else None
        if entry.action not in _NO_POSSESSION and party is not None and bank is not None and party.org == bank.org:
            return True
    return False


@module.invariant("paid_once")
def paid_once(ctx: QueryContext) -> Iterator[str]:
    """Whatever is paid has one attested payment, of exactly its amount, from who owed it to who was owed, of which not
    the payer's own house is the witness; nothing else has any."""
    for found in ctx.iterate(Presentation, "by_credit"):
        due = found.amount if found.state == PresentationState.PAID else None
        yield from _compare(ctx, found.presentation, "honour", due, (found.bank,), found.presenter)
    for claim in ctx.iterate(Reimbursement, "by_issuing"):
        credit = ctx.get(Credit, key_of(claim.credit))
        payers = (claim.issuing,) if credit is None else (claim.issuing, credit.reimbursing)
        due = claim.amount if claim.state == ReimbursementState.PAID else None
        yield from _compare(ctx, claim.presentation, "reimburse", due, payers, claim.claimant)
        source = ctx.get(Presentation, key_of(claim.presentation))
        if source is None or source.state not in DRAWN_STATES or source.amount != claim.amount:
            yield f"{claim.presentation}: reimbursement of what was not honoured"
    for obligation in _obligations(ctx):
        due = obligation.amount if obligation.state == ObligationState.PAID else None
        payers = (obligation.buyer, obligation.fsp)
        yield from _compare(ctx, obligation.obligation, "obligation", due, payers, obligation.beneficiary)
        is_open = any(condition.record == b"" for condition in obligation.conditions)
        if is_open != (obligation.state == ObligationState.CONDITIONAL):
            yield f"{obligation.obligation} is {obligation.state} and its conditions say otherwise"


def _compare(
    ctx: QueryContext, subject: str, purpose: str, due: Money | None, payers: tuple[str, ...], payee: str
) -> Iterator[str]:
    payments = list(ctx.iterate(CashReference, "by_subject", ("lc", subject, purpose)))
    paid = [cash.amount for cash in payments]
    if paid != ([] if due is None else [due]):
        yield f"{subject}: {paid} attested for {purpose}, {due or 'nothing'} due"
    for cash in payments:
        if cash.payer not in payers or cash.payee != payee:
            yield f"{subject}: {cash.payer} paid {cash.payee} for {purpose}, {payers} owed it to {payee}"
        payer, witness = ctx.identity(cash.payer), ctx.identity(cash.attested_by)
        if payer is not None and (witness is None or witness.org == payer.org):
            yield f"{subject}: {cash.attested_by} alone attested what {cash.payer} of its own organisation paid"


def _obligations(ctx: QueryContext) -> Iterator[PaymentObligation]:
    seen: dict[str, PaymentObligation] = {}
    for obligation in ctx.iterate(PaymentObligation, "by_party"):
        seen[obligation.obligation] = obligation
    yield from seen.values()
