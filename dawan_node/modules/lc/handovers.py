"""Titles that go on with a claim for reimbursement: whoever has paid for the documents has the bill of lading.

Honour made the titles the honouring bank's own (``titles``). Its claim forwards the documents (UCP 600 article 7 c), so
it forwards the titles too: a claim binds each of them for the issuing bank, or is refused. Against payment a title
passes in the transaction that books the payment; against acceptance, as banks may agree for a tenor, when the issuing
bank takes the documents up and owes the amount at maturity. While it is bound the bank that claims cannot sell it; when
the claim is withdrawn it can again.

A title of another channel is reserved there once more, by the bank that got it, for this claim; the proof is brought
with the claim, and what became of it is proven there as after honour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from dawan_node.execution.module import Context, add_days, close_of_day_ms, key_of, replace
from dawan_node.modules.kernel.locks import LOCK_MS_MAX
from dawan_node.modules.lc import titles
from dawan_node.modules.lc.bindings import is_there, let_go, org_of, pass_to
from dawan_node.modules.lc.checks import BANKS, active_party, existing_credit, require_not_frozen, stands_for
from dawan_node.modules.lc.credits import DOCUMENTS_MAX
from dawan_node.modules.lc.entities import Against, BoundTitle, Credit, ForwardedTitle, Reimbursement
from dawan_node.modules.light_client import Commitment
from dawan_node.modules.refdata import parameter
from dawan_node.modules.title.entities import Title
from dawan_node.modules.title.lookups import current_title

#: In a reservation: ``lc.reimbursement``, for the process that is the presentation.
PURPOSE: Final = "reimbursement"


def forward(ctx: Context, credit: Credit, claim: Reimbursement, against: Against, proofs: Sequence[bytes]) -> None:
    """Bind every title that passed to the bank which claims for the issuing bank. ``proofs``: of the reservations of
    those of other channels, in the order of the documents."""
    left = list(proofs)
    needed_ms = _needed_ms(ctx, claim, against)
    for bound in _passed(ctx, claim.presentation):
        if bound.channel == "":
            forwarded = _bind(ctx, credit, bound, against, needed_ms)
        elif org_of(ctx, claim.claimant) == org_of(ctx, claim.issuing):
            # On the other channel an organisation is all that has it, and this one has it already.
            forwarded = _forwarded(bound, bound.title, bound.commitment, against, "PASSED")
        else:
            ctx.require(left != [], "E_TITLE")
            forwarded = _commit(ctx, claim, bound, against, needed_ms, left.pop(0))
        ctx.put(forwarded)
    ctx.require(left == [], "E_TITLE")


def take_up(ctx: Context, claim: Reimbursement) -> None:
    """The issuing bank accepts: titles against acceptance are its own, the others are there for its payment. Fails with
    the kernel's E_ASSET_FROZEN where a title would pass under a credit whose payment a court stopped."""
    _require_there(ctx, claim)
    if any(each.against == "ACCEPTANCE" for each in _live(ctx, claim.presentation)):
        require_not_frozen(ctx, existing_credit(ctx, claim.credit))
    _pass(ctx, claim, claim.issuing, ("ACCEPTANCE",))


def hand_over(ctx: Context, claim: Reimbursement, to: str) -> None:
    """The claim is paid: every title that is still bound is the issuing bank's. ``to``: while its identity is revoked,
    another one of its organisation; empty otherwise."""
    _require_there(ctx, claim)
    if to:
        issuing = ctx.identity(claim.issuing)
        named = active_party(ctx, to, BANKS)
        revoked = issuing is not None and issuing.status != "active" and issuing.org == named.org
        ctx.require(revoked, "E_ROLE_OF_PARTY")
    _pass(ctx, claim, to or claim.issuing, ("ACCEPTANCE", "PAYMENT"))


def give_back(ctx: Context, presentation: str) -> None:
    """The claim is withdrawn: its titles are free in the hands of the bank that claimed."""
    for each in _all(ctx, presentation):
        if each.state == "PASSED":
            ctx.put(replace(each, state="RETURNED"))
            continue
        if each.state == "RETURNED":
            continue
        let_go(ctx, each)
        ctx.put(replace(each, state="RETURNED"))


def require_payable(ctx: Context, claim: Reimbursement) -> None:
    """No court stops the payment of the claim or its titles now. Fails with the kernel's E_ASSET_FROZEN."""
    require_not_frozen(ctx, existing_credit(ctx, claim.credit))
    for each in _live(ctx, claim.presentation):
        if each.channel == "":
            ctx.call("title", "require_passable", each.title, each.presentation)


def is_bound(ctx: Context, presentation: str) -> bool:
    """Whether a forwarded title is not the issuing bank's yet."""
    return _live(ctx, presentation) != []


def is_kept_from(ctx: Context, claim: Reimbursement) -> bool:
    """Whether a forwarded title is the issuing bank's, and not in the hands of the bank that claims again."""
    for each in _all(ctx, claim.presentation):
        if each.state != "PASSED":
            continue
        title = ctx.get(Title, key_of(each.title)) if each.channel == "" else None
        # A successor of the claimant's has it for the claimant; the issuing bank never, though it be of one house.
        if title is None or title.holder == claim.issuing or not stands_for(ctx, title.holder, claim.claimant):
            return True
    return False


def is_lapsed(ctx: Context, presentation: str) -> bool:
    """Whether a forwarded title is not bound any more, so that the claim cannot be paid against it."""
    return any(not is_there(ctx, each) for each in _live(ctx, presentation))


def _bind(ctx: Context, credit: Credit, bound: BoundTitle, against: Against, needed_ms: int) -> ForwardedTitle:
    """Bind a title of this channel's register: the version in force, if the bill was amended since it was honoured."""
    first = ctx.get(Title, key_of(bound.title))
    title = None if first is None else current_title(ctx, first.document)
    if title is None:
        ctx.fail("E_TITLE")
    issuing = credit.issuing.name
    if title.state == "ISSUED" and title.holder == issuing and title.endorsee in ("", issuing):
        return _forwarded(bound, title.title, "", against, "PASSED")
    ctx.require(needed_ms <= ctx.time_ms + LOCK_MS_MAX, "E_TITLE_TIME")
    ctx.call("title", "bind", title.title, bound.presentation, ctx.time_ms + LOCK_MS_MAX, (issuing,))
    return _forwarded(bound, title.title, "", against, "BOUND")


def _commit(
    ctx: Context, claim: Reimbursement, bound: BoundTitle, against: Against, needed_ms: int, proof: bytes
) -> ForwardedTitle:
    """Commit the claim to a title of another channel that the bank which claims reserved for it there."""
    before = ctx.get(Commitment, key_of(bound.commitment))
    orgs = (org_of(ctx, claim.issuing),)
    call = ("commit", proof, PURPOSE, claim.presentation, needed_ms, "title", orgs)
    made: Commitment = ctx.call("light_client", *call)
    same = before is not None and before.chain_id == made.chain_id
    same = same and before is not None and titles.document_of(ctx, before) == titles.document_of(ctx, made)
    ctx.require(same, "E_TITLE")
    return _forwarded(bound, made.asset, made.commitment, against, "BOUND")


def _forwarded(
    bound: BoundTitle, title: str, commitment: str, against: Against, state: Literal["BOUND", "PASSED"]
) -> ForwardedTitle:
    return ForwardedTitle(
        presentation=bound.presentation,
        position=bound.position,
        title=title,
        channel=bound.channel,
        commitment=commitment,
        against=against,
        state=state,
    )


def _pass(ctx: Context, claim: Reimbursement, to: str, against: tuple[Against, ...]) -> None:
    for each in _live(ctx, claim.presentation):
        if each.against in against:
            pass_to(ctx, each, to, house=claim.issuing)
            ctx.put(replace(each, state="PASSED"))


def _needed_ms(ctx: Context, claim: Reimbursement, against: Against) -> int:
    """How long a title has to be bound: through the examination or, against payment, until the documents can be called
    back unpaid, and then the time that a proof may take to the title's channel."""
    last = claim.deadline
    if against == "PAYMENT":
        last = max(last, add_days(claim.due_date, parameter(ctx, "lc.unpaid.days")))
    return close_of_day_ms(last) + parameter(ctx, "lock.ttl")


def _require_there(ctx: Context, claim: Reimbursement) -> None:
    ctx.require(not is_lapsed(ctx, claim.presentation), "E_TITLE_NOT_BOUND")


def _passed(ctx: Context, presentation: str) -> list[BoundTitle]:
    found = ctx.scan(BoundTitle, "by_presentation", (presentation,), limit=DOCUMENTS_MAX)
    return [each for each in found if each.state == "PASSED"]


def _all(ctx: Context, presentation: str) -> tuple[ForwardedTitle, ...]:
    return ctx.scan(ForwardedTitle, "by_presentation", (presentation,), limit=DOCUMENTS_MAX)


def _live(ctx: Context, presentation: str) -> list[ForwardedTitle]:
    return [each for each in _all(ctx, presentation) if each.state == "BOUND"]
