"""What can be asked of the kernel, and what must always hold of it."""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import Page, Params, QueryContext, key_of
from dawan_node.modules.kernel.declaration import (
    CashReference,
    Document,
    Fingerprint,
    Freeze,
    Lock,
    Question,
    module,
)


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


def _prefix(first: str, second: str) -> tuple[str, ...]:
    return (first, second) if second else (first,)
