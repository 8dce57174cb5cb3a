"""Electronic bills of lading in the registry against double financing: one bill, one live presentation.

A bill has a tag, made of its carrier and number in one spelling, whatever it is presented as. The tag is the
presentation's from receipt on and free again when the documents go back. Once honoured it stays taken until the
financing is over: the presenter paid, the bank that honoured reimbursed and the documents released to the applicant, or
sold by the bank that nobody reimbursed. Even then it does not become free by itself: it is given up only to a
presentation that has the bill's *title*, bound for it by the party who holds it now. A bill that was presented by its
name alone is never given up, because nobody here could say who has it.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, decoded, key_of
from dawan_node.modules.document_numbers import normalised_number
from dawan_node.modules.kernel.declaration import Fingerprint
from dawan_node.modules.kernel.fingerprints import tag_of
from dawan_node.modules.lc.checks import existing_credit
from dawan_node.modules.lc.declaration import NAME
from dawan_node.modules.lc.entities import (
    BoundTitle,
    Presentation,
    PresentationState,
    PresentedDocument,
    Reimbursement,
    ReimbursementState,
)
from dawan_node.modules.light_client import Commitment, Reservation

#: What a proof that a bank got a title is used up for.
PURPOSE: Final = "bill"


def register(
    ctx: Context, documents: tuple[PresentedDocument, ...], subject: str, passed: list[bytes]
) -> tuple[bytes, ...]:
    """Tags of the electronic bills among ``documents``, taken for the presentation ``subject``; its titles are bound.

    ``passed``: for each document the proof, or nothing, that the title reached the bank which honoured it before. Fails
    with E_DUP_FINANCE while a bill is in another live presentation, E_DOCUMENT_NUMBER, E_TITLE_KEPT, E_TITLE_FORMER.
    """
    tags = []
    for position, (document, proof) in enumerate(zip(documents, passed, strict=True)):
        if document.kind != "EBL":
            ctx.require(proof == b"", "E_TITLE")
            continue
        issuer, number = normalised_number(document.issuer), normalised_number(document.number)
        if issuer is None or number is None:
            ctx.fail("E_DOCUMENT_NUMBER")
        tag = tag_of("ebl", (issuer, number))
        _give_up(ctx, tag, ctx.get(BoundTitle, key_of(subject, position)), proof)
        # The number of another carrier's bill says nothing, so this tag alone looks like itself; it is of a kind of
        # its own, because a bill held back as a look-alike of something could not be honoured later.
        loose = tag_of("lc:ebl", (issuer, number))
        ctx.call("kernel", "register_fingerprint", tag, loose, subject)
        tags.append(tag)
    return tuple(tags)


def release(ctx: Context, found: Presentation) -> None:
    """The documents go back: their bills may be presented again."""
    for tag in found.ebls:
        ctx.call("kernel", "cancel_fingerprint", tag)


def honour(ctx: Context, found: Presentation) -> None:
    """The bank honours: until the financing is over nobody presents these bills."""
    for tag in found.ebls:
        ctx.call("kernel", "finance_fingerprint", tag)


def _give_up(ctx: Context, tag: bytes, title: BoundTitle | None, proof: bytes) -> None:
    """Release the tag of a bill whose last financing is over to the one who presents its title now."""
    known = ctx.get(Fingerprint, key_of(tag))
    # None, too, for a bill that stands twice among these documents: the presentation is only being made.
    former = ctx.get(Presentation, key_of(known.subject)) if known is not None and known.module == NAME else None
    if known is None or former is None:
        ctx.require(proof == b"", "E_TITLE")
        return
    before = _title_of(ctx, former, tag)
    # Once a register kept it, here or on another channel, the bill's name alone says nothing of who has it.
    ctx.require(title is not None or before is None, "E_TITLE_KEPT")
    if known.state != "FINANCED" or before is None or not _is_over(ctx, former):
        ctx.require(proof == b"", "E_TITLE")
        return
    if before.channel:
        _require_passed(ctx, before, former, proof)
    else:
        ctx.require(proof == b"", "E_TITLE")
    ctx.call("kernel", "release_fingerprint", tag)


def _title_of(ctx: Context, found: Presentation, tag: bytes) -> BoundTitle | None:
    """The title as which a presentation had the bill of that tag; None for a bill that it named."""
    positions = [position for position, document in enumerate(found.documents) if document.kind == "EBL"]
    return ctx.get(BoundTitle, key_of(found.presentation, positions[found.ebls.index(tag)]))


def _is_over(ctx: Context, found: Presentation) -> bool:
    """Whether everybody who paid for these documents has what it paid for: the presenter its money, the bank that
    honoured its reimbursement or the price for which it sold them, and whoever paid last the documents."""
    credit = existing_credit(ctx, found.credit)
    claim = ctx.get(Reimbursement, key_of(found.presentation))
    # Without a claim the issuing bank honoured itself, or the documents were sold: neither can be claimed for.
    claims = claim is not None and claim.state not in (ReimbursementState.PAID, ReimbursementState.WITHDRAWN)
    let_go = found.with_party not in (found.bank, credit.issuing.name)
    return found.state == PresentationState.PAID and let_go and not claims


def _require_passed(ctx: Context, before: BoundTitle, former: Presentation, proof: bytes) -> None:
    """Honour says that the title is the bank's; that it reached the bank only its own channel knows. Without that a
    holder whose lock ran out could present twice what it never gave away."""
    commitment = ctx.get(Commitment, key_of(before.commitment))
    if commitment is None or proof == b"":
        ctx.fail("E_TITLE_FORMER")
    said = ctx.call("light_client", "consume", proof, PURPOSE, former.presentation)
    about = (said.chain_id, said.module, said.collection, said.key)
    wanted = (commitment.chain_id, "light_client", "reservation", key_of(commitment.reservation))
    ctx.require(about == wanted, "E_TITLE_FORMER")
    reservation = None if said.value is None else decoded(Reservation, said.value)
    ctx.require(reservation is not None and reservation.state == "PASSED", "E_TITLE_FORMER")
