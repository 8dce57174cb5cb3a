"""Titles as security: the bill of lading of the goods is locked for the financier until it is repaid (domain.md 3).

Whoever asks for money against a receivable may add the title to the goods: it is bound with the application, in the
register of this channel or, by a proof that it is reserved for this financing, in that of another. It is free again
when the financing ends without funding or is repaid. From a borrower in recourse the financier can take it, and then
the borrower no longer repays here; where there is no recourse a title is refused, since nobody could ever take it.

The lock ends thirty days after the maturity, as a pledge does: every lock ends, and until then the financier can act.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

from dawan_node.execution.module import (
    Args,
    Context,
    Meta,
    Page,
    Params,
    QueryContext,
    add_days,
    key_of,
    replace,
    start_of_day_ms,
)
from dawan_node.modules.light_client import Commitment
from dawan_node.modules.receivable.checks import FINANCIERS, financing_of_house
from dawan_node.modules.receivable.declaration import TitleTaken, module
from dawan_node.modules.receivable.entities import Financing, FinancingState, TitleSecurity
from dawan_node.primitives.proofs import PROOF_BYTES_MAX

#: As long after its maturity the financier can take the title, as the pledgee of one can.
ENFORCEMENT_DAYS: Final = 30
#: With those days and the rest of today a lock ends within the 366 days that the kernel allows.
MATURITY_DAYS_MAX: Final = 366 - ENFORCEMENT_DAYS - 1
#: In a reservation: ``receivable.financing``.
PURPOSE: Final = "financing"

TitleName = Annotated[str, Meta(max_length=60, description="title id in this channel's register")]
TitleProof = Annotated[bytes, Meta(max_length=PROOF_BYTES_MAX, description="StateProof of a reservation elsewhere")]


class SecuredFinancing(Args):
    financing: Annotated[str, Meta(min_length=1, max_length=120)]


class SecurityOf(Params):
    financing: str


@module.command("take_title", args=SecuredFinancing, roles=FINANCIERS)
def take_title(ctx: Context, args: SecuredFinancing) -> None:
    """The financier of a financing in recourse takes the title that secures it, possession and right.

    From then on the borrower does not repay on the channel: it would pay in full for goods that it no longer has.
    """
    financing = financing_of_house(ctx, args.financing)
    ctx.require(financing.state == FinancingState.RECOURSE, "E_FINANCING_STATE")
    held = _held(ctx, financing.financing)
    if held is None:
        ctx.fail("E_TITLE")
    if held.channel:
        ctx.call("light_client", "conclude", held.commitment, ctx.sender.org)
    else:
        ctx.call("title", "pass_on", held.title, held.financing, ctx.sender.name)
    ctx.put(replace(held, state="TAKEN"))
    ctx.emit(TitleTaken(financing=held.financing, title=held.title))


@module.query("title_security", params=SecurityOf, item=TitleSecurity)
def title_security(ctx: QueryContext, params: SecurityOf, limit: int, cursor: bytes | None) -> Page[TitleSecurity]:
    """The title that secures a financing: held, returned, or taken."""
    found = ctx.get(TitleSecurity, key_of(params.financing)) if params.financing else None
    return Page(() if found is None else (found,), None)


def secure(ctx: Context, financing: str, title: str, proof: bytes, financier: str, maturity: str) -> None:
    """Bind the title that the sender adds to its application, if it adds one."""
    if title == "" and proof == b"":
        return
    ctx.require(title == "" or proof == b"", "E_TITLE")
    ctx.require(maturity <= add_days(ctx.business_date, MATURITY_DAYS_MAX), "E_MATURITY")
    until_ms = start_of_day_ms(add_days(maturity, ENFORCEMENT_DAYS + 1))
    if title:
        ctx.require(ctx.runs("title"), "E_NO_TITLES")
        ctx.call("title", "bind", title, financing, until_ms, (financier,))
        ctx.put(TitleSecurity(financing, title, "", "", "HELD"))
        return
    ctx.require(ctx.runs("light_client"), "E_NO_TITLES")
    party = ctx.identity(financier)
    orgs = () if party is None else (party.org,)
    made: Commitment = ctx.call("light_client", "commit", proof, PURPOSE, financing, until_ms, "title", orgs)
    ctx.put(TitleSecurity(financing, made.asset, made.source, made.commitment, "HELD"))


def require_secured(ctx: Context, financing: str) -> None:
    """Before money moves: a title that was to secure it is bound still. Fails with E_NOT_BOUND, E_COMMITMENT_OVER."""
    held = _held(ctx, financing)
    if held is not None and held.channel:
        ctx.call("light_client", "require_passable", held.commitment)
    elif held is not None:
        ctx.call("title", "require_bound", held.title, financing)


def is_taken(ctx: Context, financing: str) -> bool:
    """Whether the financier took the title that secured it."""
    found = ctx.get(TitleSecurity, key_of(financing))
    return found is not None and found.state == "TAKEN"


def sell(ctx: Context, financing: str) -> None:
    """The goods of the title that the financier took (``is_taken``) are sold."""
    found = ctx.get(TitleSecurity, key_of(financing))
    assert found is not None, "a title that is taken has its record"
    ctx.put(replace(found, state="SOLD"))


def end_security(ctx: Context, financing: str) -> None:
    """The financing is over: its title is free."""
    held = _held(ctx, financing)
    if held is None:
        return
    if held.channel:
        ctx.call("light_client", "conclude", held.commitment)
    elif ctx.call("title", "is_bound", held.title, financing):
        ctx.call("title", "unbind", held.title, financing)
    ctx.put(replace(held, state="RETURNED"))


@module.invariant("titles_secure_live_financings")
def titles_secure_live_financings(ctx: QueryContext) -> Iterator[str]:
    """A title is held exactly for a financing that has not ended, and taken only in recourse; one elsewhere rests on a
    commitment in the same state."""
    over = (
        FinancingState.REPAID,
        FinancingState.CLOSED,
        FinancingState.REJECTED,
        FinancingState.WITHDRAWN,
        FinancingState.EXPIRED,
    )
    secured: dict[tuple[str, str], str] = {}
    for financing in ctx.iterate(Financing, "by_asset"):
        found = ctx.get(TitleSecurity, key_of(financing.financing))
        if found is None:
            continue
        taken = found.state in ("TAKEN", "SOLD")
        if not taken and (found.state == "HELD") == (financing.state in over):
            yield f"{financing.financing} is {financing.state} and its title {found.state}"
        if taken and financing.state not in (FinancingState.RECOURSE, FinancingState.CLOSED):
            yield f"{financing.financing} is {financing.state} and its title taken"
        if found.channel == "":
            continue
        state = {"HELD": "COMMITTED", "RETURNED": "RETURNED", "TAKEN": "PASSED", "SOLD": "PASSED"}[found.state]
        commitment = ctx.get(Commitment, key_of(found.commitment))
        if commitment is None or (commitment.process, commitment.state) != (financing.financing, state):
            yield f"{financing.financing} has {found.title} {found.state} without a commitment that is {state}"
        # One whose reservation is over secures nothing any more, and the title may secure another one.
        if found.state == "HELD" and commitment is not None and ctx.time_ms < commitment.until_ms:
            other = secured.setdefault((found.channel, found.title), financing.financing)
            if other != financing.financing:
                yield f"{found.title} secures {other} and {financing.financing}"


def _held(ctx: Context, financing: str) -> TitleSecurity | None:
    found = ctx.get(TitleSecurity, key_of(financing))
    return found if found is not None and found.state == "HELD" else None
