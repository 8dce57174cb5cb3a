"""Attestations: a fact that k of n named sources must state alike, with time to dispute it before it counts.

A module asks (``ask``) and names the sources, organisations each with one voice. The first answer that ``needed`` of
them gave is agreed; it settles when the dispute window passed in silence. A dispute by a source or a party stops it,
and the module that asked resolves it by its own rules. Nobody can change an answer that settled.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import ANY_ROLE, Args, Context, Meta, ShortText, key_of, replace
from dawan_node.modules.kernel.checks import require_name, require_orgs
from dawan_node.modules.kernel.declaration import AnswerAgreed, AnswerDisputed, Question, module
from dawan_node.modules.kernel.locks import AssetName, Reason

#: Sources and parties of one question; each statement stands in its record.
SOURCES_MAX: Final = 32
ANSWER_CHARS_MAX: Final = 200
#: Nobody waits longer for a fact, or for objections to it.
WINDOW_MS_MAX: Final = 366 * 24 * 3_600_000

Answer = Annotated[str, Meta(min_length=1, max_length=ANSWER_CHARS_MAX)]


class Attest(Args):
    """``answer`` must be the same text as the other sources', so the module that asks says how it is written."""

    module: ShortText
    question: AssetName
    answer: Answer


class Dispute(Args):
    module: ShortText
    question: AssetName
    reason: Reason


@module.export("ask")
def ask(
    ctx: Context,
    name: str,
    sources: tuple[str, ...],
    needed: int,
    closes_ms: int,
    dispute_ms: int,
    parties: tuple[str, ...] = (),
) -> None:
    """Open a question of the calling module; ``parties`` are organisations that may dispute beside the sources.

    Fails with E_QUESTION, E_DUP_QUESTION, E_NAME_FORM.
    """
    require_name(ctx, name)
    require_orgs(ctx, sources, SOURCES_MAX, "E_QUESTION")
    ctx.require(not parties or len(parties) <= SOURCES_MAX, "E_QUESTION")
    ctx.require(all(ctx.is_org(party) for party in parties), "E_QUESTION")
    ctx.require(1 <= needed <= len(sources) and 0 <= dispute_ms <= WINDOW_MS_MAX, "E_QUESTION")
    ctx.require(ctx.time_ms < closes_ms <= ctx.time_ms + WINDOW_MS_MAX, "E_QUESTION")
    ctx.require(ctx.get(Question, key_of(ctx.caller, name)) is None, "E_DUP_QUESTION")
    ctx.put(
        Question(
            module=ctx.caller,
            name=name,
            sources=tuple(sorted(sources)),
            parties=tuple(sorted(parties)),
            needed=needed,
            closes_ms=closes_ms,
            dispute_ms=dispute_ms,
            state="OPEN",
            answer="",
            agreed_ms=0,
            disputed_by="",
            dispute_reason="",
            statements=(),
        )
    )


@module.command("attest", args=Attest, roles=("oracle",))
def attest(ctx: Context, args: Attest) -> None:
    """A source states its answer, once for its organisation and for good."""
    question = _existing(ctx, args.module, args.question)
    org = ctx.sender.org
    ctx.require(org in question.sources, "E_NOT_SOURCE")
    ctx.require(question.state == "OPEN" and ctx.time_ms < question.closes_ms, "E_QUESTION_CLOSED")
    ctx.require(org not in dict(question.statements), "E_STATED")
    stated = replace(question, statements=(*question.statements, (org, args.answer)))
    alike = [answer for _, answer in stated.statements if answer == args.answer]
    if len(alike) >= question.needed:
        stated = replace(stated, state="AGREED", answer=args.answer, agreed_ms=ctx.time_ms)
        settles_ms = ctx.time_ms + question.dispute_ms
        ctx.emit(AnswerAgreed(module=question.module, name=question.name, answer=args.answer, settles_ms=settles_ms))
    ctx.put(stated)


@module.command("dispute", args=Dispute, roles=ANY_ROLE)
def dispute(ctx: Context, args: Dispute) -> None:
    """A source or a party disputes an agreed answer before it settles."""
    question = _existing(ctx, args.module, args.question)
    ctx.require(ctx.sender.org in (*question.sources, *question.parties), "E_NOT_CONCERNED")
    ctx.require(question.state == "AGREED", "E_NOT_DISPUTABLE")
    ctx.require(ctx.time_ms < question.agreed_ms + question.dispute_ms, "E_NOT_DISPUTABLE")
    ctx.put(replace(question, state="DISPUTED", disputed_by=ctx.sender.name, dispute_reason=args.reason))
    ctx.emit(AnswerDisputed(module=question.module, name=question.name, by=ctx.sender.name))


@module.export("resolve")
def resolve(ctx: Context, name: str, answer: str) -> None:
    """The module that asked decides a dispute, or a question whose sources did not agree in time.

    Fails with E_UNKNOWN_QUESTION, E_NOT_DISPUTED, E_NAME_FORM.
    """
    question = _existing(ctx, ctx.caller, name)
    ctx.require(0 < len(answer) <= ANSWER_CHARS_MAX, "E_NAME_FORM")
    lapsed = question.state == "OPEN" and ctx.time_ms >= question.closes_ms
    ctx.require(question.state == "DISPUTED" or lapsed, "E_NOT_DISPUTED")
    ctx.put(replace(question, state="RESOLVED", answer=answer))


def _existing(ctx: Context, owner: str, name: str) -> Question:
    found = ctx.get(Question, key_of(owner, name))
    if found is None:
        ctx.fail("E_UNKNOWN_QUESTION")
    return found
