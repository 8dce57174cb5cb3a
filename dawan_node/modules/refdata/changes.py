"""Putting an edition or a parameter's value to the vote, and carrying out what passed.

The vote is governance's (``governance.vote``, the policy ``refdata`` of the genesis where it has one). The rule of
dates: nothing that was in force on a day can change afterwards, so what replaces something takes effect tomorrow at the
earliest, counted when it is enacted. A table's first edition replaces nothing and may hold from any day.
"""

from __future__ import annotations

import re
from typing import Final

from dawan_node.execution.module import ORG_ADMIN, Args, Context, Date, ShortText, is_date, key_of, replace
from dawan_node.modules.refdata.declaration import (
    Change,
    ChangeKind,
    Edition,
    EditionAdopted,
    Parameter,
    ParameterSet,
    module,
)
from dawan_node.modules.refdata.lookups import edition_in_force
from dawan_node.modules.refdata.parameters import PARAMETERS, VALUE_MAX

_KEY: Final = re.compile(r"([a-z][a-z0-9_]{0,31})(?:\.[a-z][a-z0-9_]{0,31}){1,3}")


class ProposeEdition(Args):
    """``id`` names the proposal."""

    id: ShortText
    table: ShortText
    version: int
    effective_from: Date


class ProposeParameter(Args):
    """``id`` names the proposal."""

    id: ShortText
    key: ShortText
    value: int
    effective_from: Date


class Enact(Args):
    proposal: ShortText


@module.command("propose_edition", args=ProposeEdition, roles=(ORG_ADMIN,))
def propose_edition(ctx: Context, args: ProposeEdition) -> None:
    """Propose that a sealed edition holds from a date on."""
    edition = _sealed(ctx, args.table, args.version, args.effective_from)
    subject = f"{args.table} {args.version} from {args.effective_from}, digest {edition.digest.hex()}"
    _open(ctx, args.id, "edition", subject, args.effective_from, table=args.table, version=args.version)


@module.command("propose_parameter", args=ProposeParameter, roles=(ORG_ADMIN,))
def propose_parameter(ctx: Context, args: ProposeParameter) -> None:
    """Propose another value of a parameter from a date on."""
    least, greatest = _bounds(ctx, args.key)
    ctx.require(least <= args.value <= greatest, "E_VALUE")
    _require_future(ctx, args.effective_from)
    subject = f"{args.key} = {args.value} from {args.effective_from}"
    _open(ctx, args.id, "parameter", subject, args.effective_from, key=args.key, value=args.value)


@module.command("enact", args=Enact, roles=(ORG_ADMIN,))
def enact(ctx: Context, args: Enact) -> None:
    """Carry out a change that enough organisations approved."""
    change = ctx.get(Change, key_of(args.proposal))
    if change is None:
        ctx.fail("E_UNKNOWN_CHANGE")
    ctx.call("governance", "enact_resolution", change.proposal, change.subject)
    if change.kind == "edition":
        edition = _sealed(ctx, change.table, change.version, change.effective_from)
        adopted = replace(edition, state="adopted", effective_from=change.effective_from, resolution=change.proposal)
        ctx.put(adopted)
        ctx.emit(EditionAdopted(table=change.table, version=change.version, effective_from=change.effective_from))
    else:
        _require_future(ctx, change.effective_from)
        ctx.put(Parameter(change.key, change.value, change.effective_from, change.proposal))
        ctx.emit(ParameterSet(key=change.key, value=change.value, effective_from=change.effective_from))


def _sealed(ctx: Context, table: str, version: int, effective_from: str) -> Edition:
    """An edition that may take effect on that date, as far as today's state tells."""
    ctx.require(is_date(effective_from), "E_DATE")
    edition = ctx.get(Edition, key_of(table, version))
    if edition is None:
        ctx.fail("E_UNKNOWN_EDITION")
    ctx.require(edition.state == "sealed", "E_EDITION_STATE")
    if ctx.scan(Edition, "in_force", (table,), limit=1):
        _require_future(ctx, effective_from)
    if edition.base:
        before = edition_in_force(ctx, table, effective_from)
        ctx.require(before is not None and before.version == edition.base, "E_STALE")
    return edition


def _require_future(ctx: Context, date: str) -> None:
    ctx.require(is_date(date), "E_DATE")
    ctx.require(date > ctx.business_date, "E_EFFECTIVE")


def _bounds(ctx: Context, key: str) -> tuple[int, int]:
    known = PARAMETERS.get(key)
    if known is not None:
        return known.least, known.greatest
    found = _KEY.fullmatch(key)
    modules = [entry.name for entry in ctx.genesis.genesis.modules]
    ctx.require(found is not None and found[1] in modules, "E_PARAM")
    return -VALUE_MAX, VALUE_MAX


def _open(
    ctx: Context,
    proposal: str,
    kind: ChangeKind,
    subject: str,
    effective_from: str,
    *,
    table: str = "",
    version: int = 0,
    key: str = "",
    value: int = 0,
) -> None:
    ctx.call("governance", "open_resolution", proposal, subject)
    ctx.put(Change(proposal, kind, subject, table, version, key, value, effective_from))
