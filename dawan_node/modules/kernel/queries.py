"""What can be asked of the kernel, and what must always hold of it."""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import Page, Params, QueryContext, alphanumeric, fold, key_of
from dawan_node.modules.kernel.cash import AMOUNT_MINOR_MAX, INSTITUTION_CHARS
from dawan_node.modules.kernel.declaration import (
    CashReference,
    Document,
    Fingerprint,
    Freeze,
    Lock,
    Question,
    module,
)
from dawan_node.modules.kernel.freezes import FREEZE_MS_MAX
from dawan_node.modules.kernel.locks import LOCK_MS_MAX


class AssetParams(Params):
    """An asset of a module, or all of the module's."""

    module: str
    asset: str = ""


class SubjectParams(Params):
    """A subject of a module, or all of the module's."""

    module: str
    subject: str = ""


class TagParams(Params):
    """The exact tag of a document."""

    exact: bytes


class DigestParams(Params):
    """The hash of a document."""

    digest: bytes


class QuestionParams(Params):
    """A question of a module, or all of the module's."""

    module: str
    name: str = ""


@module.query("locks", params=AssetParams, item=Lock)
def locks(ctx: QueryContext, params: AssetParams, limit: int, cursor: bytes | None) -> Page[Lock]:
    """Locks that were not released, those whose time is over included."""
    return ctx.page(Lock, "by_asset", _prefix(params.module, params.asset), limit=limit, cursor=cursor)


@module.query("freezes", params=AssetParams, item=Freeze)
def freezes(ctx: QueryContext, params: AssetParams, limit: int, cursor: bytes | None) -> Page[Freeze]:
    """Every order ever recorded, of one asset the longest first."""
    return ctx.page(Freeze, "by_asset", _prefix(params.module, params.asset), limit=limit, cursor=cursor)


@module.query("cash_references", params=SubjectParams, item=CashReference)
def cash_references(ctx: QueryContext, params: SubjectParams, limit: int, cursor: bytes | None) -> Page[CashReference]:
    """Payments by what they settled."""
    return ctx.page(CashReference, "by_subject", _prefix(params.module, params.subject), limit=limit, cursor=cursor)


@module.query("fingerprint", params=TagParams, item=Fingerprint)
def fingerprint(ctx: QueryContext, params: TagParams, limit: int, cursor: bytes | None) -> Page[Fingerprint]:
    """The state of one document in the registry."""
    found = ctx.get(Fingerprint, key_of(params.exact))
    return Page(() if found is None else (found,), None)


@module.query("document", params=DigestParams, item=Document)
def document(ctx: QueryContext, params: DigestParams, limit: int, cursor: bytes | None) -> Page[Document]:
    """What the channel knows of one document, also after its purge."""
    found = ctx.get(Document, key_of(params.digest))
    return Page(() if found is None else (found,), None)


@module.query("questions", params=QuestionParams, item=Question)
def questions(ctx: QueryContext, params: QuestionParams, limit: int, cursor: bytes | None) -> Page[Question]:
    """Questions with what each source stated."""
    return ctx.page(Question, "by_name", _prefix(params.module, params.name), limit=limit, cursor=cursor)


@module.invariant("look_alikes_were_let_through")
def look_alikes_were_let_through(ctx: QueryContext) -> Iterator[str]:
    """A registered document with a look-alike was approved by a second person."""
    for tag in ctx.iterate(Fingerprint, "live"):
        if tag.state != "HELD" and tag.similar_to and tag.override_by in ("", tag.registered_by):
            yield f"{tag.module}/{tag.subject}: no second pair of eyes"


@module.invariant("answers_have_their_sources")
def answers_have_their_sources(ctx: QueryContext) -> Iterator[str]:
    """An agreed or disputed answer was stated by as many sources as were needed, each once."""
    for question in ctx.iterate(Question, "by_name"):
        orgs = [org for org, _ in question.statements]
        if sorted(dict.fromkeys(orgs)) != sorted(orgs) or any(org not in question.sources for org in orgs):
            yield f"{question.module}/{question.name}: statements of {', '.join(orgs)}"
        alike = [answer for _, answer in question.statements if answer == question.answer]
        if question.state in ("AGREED", "DISPUTED") and len(alike) < question.needed:
            yield f"{question.module}/{question.name}: {len(alike)} sources of {question.needed}"


@module.invariant("one_payment_one_reference")
def one_payment_one_reference(ctx: QueryContext) -> Iterator[str]:
    """No two references of an institution are two spellings of one payment; each moved something, and has a witness
    beside its payer."""
    seen: dict[tuple[str, str], str] = {}
    for cash in ctx.iterate(CashReference, "by_subject"):
        name = f"{cash.bank} {cash.reference}"
        spelling = (cash.bank[:INSTITUTION_CHARS], alphanumeric(fold(cash.reference)))
        if spelling in seen:
            yield f"{name} and {seen[spelling]} are one payment"
        seen[spelling] = name
        if not 0 < cash.amount.minor <= AMOUNT_MINOR_MAX:
            yield f"the payment {name} is of {cash.amount.minor}"
        if cash.attested_by == cash.payer:
            yield f"the payment {name} is attested by its payer"


@module.invariant("what_binds_ends")
def what_binds_ends(ctx: QueryContext) -> Iterator[str]:
    """Every lock and every freeze has an end, no further away than the rules allow, so that nothing binds for ever."""
    for lock in ctx.iterate(Lock, "by_asset"):
        if not lock.since_ms < lock.until_ms <= lock.since_ms + LOCK_MS_MAX:
            yield f"{lock.module}/{lock.asset} is locked by {lock.owner} until {lock.until_ms}"
    for freeze in ctx.iterate(Freeze, "by_asset"):
        # One that was lifted ended when it was, perhaps at once.
        if not freeze.since_ms <= freeze.until_ms <= freeze.since_ms + FREEZE_MS_MAX:
            yield f"{freeze.module}/{freeze.asset} is frozen by {freeze.order} until {freeze.until_ms}"


def _prefix(first: str, second: str) -> tuple[str, ...]:
    return (first, second) if second else (first,)
