"""Titles under a presentation: an electronic bill of lading that a register keeps, here or on another channel.

Such a bill is bound when it is presented, passes to the bank that honours, and is free again when the documents go back
(domain.md 3). On this channel the module ``title`` binds it; of another one the holder has reserved it for the credit,
and a proof of that is what is presented. A lock ends by itself in the end, like every lock: then the title is not there
any more, so the bank cannot honour against it and gives the documents back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Protocol

from dawan_node.execution.module import Context, Meta, close_of_day_ms, key_of, replace
from dawan_node.modules.kernel.locks import LOCK_MS_MAX
from dawan_node.modules.lc.bindings import is_there, let_go, org_of, pass_to
from dawan_node.modules.lc.checks import stands_for
from dawan_node.modules.lc.credits import DOCUMENTS_MAX
from dawan_node.modules.lc.entities import BoundTitle, Credit, DocumentKind
from dawan_node.modules.light_client import Commitment
from dawan_node.modules.refdata import parameter
from dawan_node.modules.title.entities import Title
from dawan_node.modules.title.lookups import current_title, is_kept
from dawan_node.modules.title.reservations import CARRIER, DOCUMENT

#: In a reservation: ``lc.presentation``.
PURPOSE: Final = "presentation"

TitleName = Annotated[str, Meta(max_length=100)]


class EblDocument(Protocol):
    """What of a presented document matters here."""

    @property
    def kind(self) -> DocumentKind: ...
    @property
    def issuer(self) -> str: ...
    @property
    def number(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def proof(self) -> bytes: ...


def take(
    ctx: Context,
    credit: Credit,
    presentation: str,
    bank: str,
    deadline: str,
    documents: Sequence[EblDocument],
    replaces: str,
) -> list[tuple[str, str]]:
    """Bind what is presented; issuer and number of each document, from the register where it keeps the bill.

    A title of another channel that the replaced presentation has is named ``<channel>:<title>`` and stays bound.
    """
    names = []
    for position, each in enumerate(documents):
        if each.title == "" and each.proof == b"":
            _require_not_kept(ctx, each)
            names.append((each.issuer, each.number))
            continue
        # The register knows who issued the bill and under which number; a second spelling could only be a wrong one.
        ctx.require(each.kind == "EBL" and not (each.title and each.proof), "E_TITLE")
        ctx.require(each.issuer == "" and each.number == "", "E_TITLE")
        if each.proof:
            bound, document = _commit(ctx, credit, presentation, position, bank, deadline, each.proof)
        elif ":" in each.title:
            bound, document = _keep(ctx, presentation, position, bank, deadline, each.title, replaces)
        else:
            bound, document = _bind(ctx, credit, presentation, position, bank, each.title)
        ctx.put(bound)
        carrier, _, number = document.partition("/")
        names.append((carrier, number))
    return names


def kept_of(documents: Sequence[EblDocument]) -> tuple[str, ...]:
    """Titles of other channels that stay with the presenter's next presentation."""
    return tuple([each.title for each in documents if ":" in each.title])


def give_back(ctx: Context, presentation: str, kept: tuple[str, ...] = ()) -> None:
    """The documents go back to the presenter: its titles are free again, but those in ``kept``."""
    for bound in _bound(ctx, presentation):
        if bound.channel and f"{bound.channel}:{bound.title}" in kept:
            continue
        let_go(ctx, bound)
        ctx.put(replace(bound, state="RETURNED"))


def pass_on(ctx: Context, presentation: str, bank: str) -> None:
    """The bank honours: the titles are its own, at once here, and by a proof of this on another channel."""
    for bound in _bound(ctx, presentation):
        ctx.require(is_there(ctx, bound), "E_TITLE_NOT_BOUND")
        pass_to(ctx, bound, bank, house=bank)
        ctx.put(replace(bound, state="PASSED"))


def has_kept(ctx: Context, presentation: str, bank: str) -> bool:
    """Whether a title that passed to the bank is still in its hands, in whichever version; what another channel's
    register says is proven when such a bill is presented again."""
    for bound in ctx.scan(BoundTitle, "by_presentation", (presentation,), limit=DOCUMENTS_MAX):
        first = ctx.get(Title, key_of(bound.title)) if bound.state == "PASSED" and bound.channel == "" else None
        title = None if first is None else current_title(ctx, first.document)
        if title is not None and any(stands_for(ctx, name, bank) for name in (title.holder, title.requester)):
            return True
    return False


def is_lapsed(ctx: Context, presentation: str) -> bool:
    """Whether a title of the presentation is not bound any more, so that it can only go back."""
    return any(not is_there(ctx, bound) for bound in _bound(ctx, presentation))


def require_recipient(ctx: Context, presentation: str, bank: str, deadline: str) -> None:
    """A bank to which the presentation's titles can pass, when it has examined them until ``deadline``."""
    for bound in _bound(ctx, presentation):
        if bound.channel:
            _passable(ctx, bound, bank, deadline)


def _bind(
    ctx: Context, credit: Credit, presentation: str, position: int, bank: str, title: str
) -> tuple[BoundTitle, str]:
    ctx.require(ctx.runs("title"), "E_NO_TITLES")
    recipients = tuple(dict.fromkeys((bank, credit.issuing.name)))
    # As long as a lock may last: refused documents can wait long for a waiver or their return.
    ctx.call("title", "bind", title, presentation, ctx.time_ms + LOCK_MS_MAX, recipients)
    found = ctx.get(Title, key_of(title))
    document = "" if found is None else found.document
    return BoundTitle(presentation, position, title, "", "", "BOUND"), document


def _commit(
    ctx: Context, credit: Credit, presentation: str, position: int, bank: str, deadline: str, proof: bytes
) -> tuple[BoundTitle, str]:
    ctx.require(ctx.runs("light_client"), "E_NO_TITLES")
    # To the bank presented to, and to the issuing one, which may have to honour instead.
    orgs = tuple([org_of(ctx, name) for name in (bank, credit.issuing.name)])
    made: Commitment = ctx.call(
        "light_client", "commit", proof, PURPOSE, credit.credit, _needed_ms(ctx, deadline), "title", orgs
    )
    bound = BoundTitle(presentation, position, made.asset, made.source, made.commitment, "BOUND")
    return bound, document_of(ctx, made)


def _keep(
    ctx: Context, presentation: str, position: int, bank: str, deadline: str, title: str, replaces: str
) -> tuple[BoundTitle, str]:
    before = [each for each in _bound(ctx, replaces) if f"{each.channel}:{each.title}" == title] if replaces else []
    ctx.require(len(before) == 1, "E_TITLE")
    commitment = _passable(ctx, before[0], bank, deadline)
    ctx.put(replace(before[0], state="RETURNED"))
    return replace(before[0], presentation=presentation, position=position), document_of(ctx, commitment)


def _passable(ctx: Context, bound: BoundTitle, bank: str, deadline: str) -> Commitment:
    """The commitment of a bound title that can pass to a bank and lasts as long as its examination needs it."""
    commitment = ctx.get(Commitment, key_of(bound.commitment))
    if commitment is None or org_of(ctx, bank) not in commitment.recipient_orgs:
        ctx.fail("E_TITLE_RECIPIENT")
    ctx.require(_needed_ms(ctx, deadline) <= commitment.until_ms, "E_TITLE_TIME")
    return commitment


def _needed_ms(ctx: Context, deadline: str) -> int:
    """Through the examination, and then the time that a proof of honour may take to the title's channel."""
    return close_of_day_ms(deadline) + parameter(ctx, "lock.ttl")


def document_of(ctx: Context, commitment: Commitment) -> str:
    """Which document a title of another channel is, as its register says. Fails with E_TITLE."""
    facts = dict(commitment.facts)
    document = facts.get(DOCUMENT, "")
    ctx.require(document.startswith(f"{facts.get(CARRIER)}/"), "E_TITLE")
    return document


def _require_not_kept(ctx: Context, document: EblDocument) -> None:
    """A bill that this channel's register keeps is presented as a title, or it would not be bound."""
    if document.kind == "EBL" and ctx.runs("title") and document.issuer and document.number:
        ctx.require(not is_kept(ctx, document.issuer, document.number), "E_TITLE_KEPT")


def _bound(ctx: Context, presentation: str) -> list[BoundTitle]:
    found = ctx.scan(BoundTitle, "by_presentation", (presentation,), limit=DOCUMENTS_MAX)
    return [each for each in found if each.state == "BOUND"]
