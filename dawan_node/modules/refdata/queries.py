"""What can be asked of refdata."""

from __future__ import annotations

from typing import Annotated

import msgspec

from dawan_node.execution.module import Meta, Page, Params, QueryContext, is_date, key_of
from dawan_node.modules.refdata.declaration import Change, Edition, Parameter, Row, module
from dawan_node.modules.refdata.lookups import edition_in_force, lookup, parameter
from dawan_node.modules.refdata.parameters import PARAMETERS


class TableParams(Params):
    """One table."""

    table: str


class RowsParams(Params):
    """One edition; version 0 is the one in force today."""

    table: str
    version: Annotated[int, Meta(ge=0)] = 0


class LookupParams(Params):
    """A code on a date, today when empty."""

    table: str
    code: str
    date: str = ""


class ParametersParams(Params):
    """All parameters, or one; on a date, today when empty."""

    key: str = ""
    date: str = ""


class NoParams(Params):
    """Nothing."""


class ParameterValue(msgspec.Struct, frozen=True):
    """A parameter, its value on the date asked for, and what it means."""

    key: str
    value: int
    unit: str
    meaning: str


@module.query("editions", params=TableParams, item=Edition)
def editions(ctx: QueryContext, params: TableParams, limit: int, cursor: bytes | None) -> Page[Edition]:
    """All editions of a table by version, discarded ones included."""
    return ctx.page(Edition, "by_table", (params.table,), limit=limit, cursor=cursor)


@module.query("rows", params=RowsParams, item=Row)
def rows(ctx: QueryContext, params: RowsParams, limit: int, cursor: bytes | None) -> Page[Row]:
    """The rows that one edition holds itself, by code; of one that amends another, only what it changes."""
    version = params.version
    if not version:
        edition = edition_in_force(ctx, params.table)
        version = 0 if edition is None else edition.version
    return ctx.page(Row, "by_edition", (params.table, version), limit=limit, cursor=cursor)


@module.query("lookup", params=LookupParams, item=Row)
def find(ctx: QueryContext, params: LookupParams, limit: int, cursor: bytes | None) -> Page[Row]:
    """The row of a code in the edition in force on a date; none for what is no date."""
    if params.date and not is_date(params.date):
        return Page((), None)
    row = lookup(ctx, params.table, params.code, params.date)
    return Page(() if row is None else (row,), None)


@module.query("parameters", params=ParametersParams, item=ParameterValue)
def parameters(ctx: QueryContext, params: ParametersParams, limit: int, cursor: bytes | None) -> Page[ParameterValue]:
    """The known parameters with their values on a date, by key; none for what is no date."""
    if params.date and not is_date(params.date):
        return Page((), None)
    after = b"" if cursor is None else cursor
    wanted = [key for key in sorted(PARAMETERS) if params.key in ("", key) and key_of(key) > after]
    items = [
        ParameterValue(key, parameter(ctx, key, date=params.date), PARAMETERS[key].unit, PARAMETERS[key].meaning)
        for key in wanted[:limit]
    ]
    return Page(tuple(items), key_of(items[-1].key) if len(wanted) > limit else None)


@module.query("parameter_history", params=ParametersParams, item=Parameter)
def parameter_history(ctx: QueryContext, params: ParametersParams, limit: int, cursor: bytes | None) -> Page[Parameter]:
    """What was voted, by key, the latest date first."""
    return ctx.page(Parameter, "in_force", (params.key,) if params.key else (), limit=limit, cursor=cursor)


@module.query("changes", params=NoParams, item=Change)
def changes(ctx: QueryContext, params: NoParams, limit: int, cursor: bytes | None) -> Page[Change]:
    """What was ever put to the vote, by proposal; how the vote stands is governance's to say."""
    return ctx.page(Change, "by_proposal", limit=limit, cursor=cursor)
