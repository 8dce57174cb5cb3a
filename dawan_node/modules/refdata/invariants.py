"""What must hold after every block, whatever was sent: what holds was voted on, is whole, and rewrites no day.

Each checker compares records that different commands write: an edition with its rows and the digest that was voted on,
editions and parameters in force with the changes and the votes they rest on.
"""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import QueryContext, business_date, days_between, key_of
from dawan_node.modules.governance.declaration import Proposal
from dawan_node.modules.refdata.declaration import Change, Edition, Parameter, Row, module
from dawan_node.modules.refdata.loading import DEPTH_MAX, NO_ROWS, NewRow, digest_after
from dawan_node.modules.refdata.lookups import row_of
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.modules.refdata.tables import TABLES


@module.invariant("editions_are_whole")
def editions_are_whole(ctx: QueryContext) -> Iterator[str]:
    """Every edition has the rows it counts, which make its digest; versions have no gaps; what is amended was
    adopted, and was in force no later."""
    for table in sorted(TABLES):
        expected = 1
        for edition in ctx.iterate(Edition, "by_table", (table,)):
            name = f"{table} {edition.version}"
            if edition.version != expected:
                yield f"{name}: version {expected} is missing"
            expected = edition.version + 1
            yield from _rows(ctx, edition, name)
            below = ctx.get(Edition, key_of(table, edition.base)) if edition.base else None
            if edition.base and (below is None or below.state != "adopted" or below.depth + 1 != edition.depth):
                yield f"{name}: amends {edition.base}, which is not adopted or of another depth"
            if not 0 <= edition.depth <= DEPTH_MAX or (edition.base == 0) != (edition.depth == 0):
                yield f"{name}: amends {edition.base} at the depth {edition.depth}"
            if (edition.state == "adopted") != (edition.effective_from != ""):
                yield f"{name}: {edition.state}, effective from {edition.effective_from or 'no date'}"
            if below is not None and edition.effective_from and _begins(edition) <= _begins(below):
                yield f"{name}: from {edition.effective_from}, and amends what holds from {below.effective_from}"


@module.invariant("parameters_in_bounds")
def parameters_in_bounds(ctx: QueryContext) -> Iterator[str]:
    """Every voted value lies within its bounds and has a date."""
    for record in ctx.iterate(Parameter, "in_force"):
        known = PARAMETERS.get(record.key)
        if known is not None and not known.least <= record.value <= known.greatest:
            yield f"{record.key}: {record.value}"
        if days_between("0001-01-01", record.effective_from) < 0:
            yield f"{record.key}: dated {record.effective_from}"


@module.invariant("what_holds_was_voted")
def what_holds_was_voted(ctx: QueryContext) -> Iterator[str]:
    """Every adopted edition and every value rests on a resolution that says the same and was enacted, once; and what
    was enacted is there."""
    for table in sorted(TABLES):
        for edition in ctx.iterate(Edition, "by_table", (table,)):
            if edition.state == "adopted":
                voted = ("edition", table, edition.version, "", 0, edition.effective_from)
                yield from _resolved(ctx, f"{table} {edition.version}", edition.resolution, voted)
            elif edition.resolution:
                yield f"{table} {edition.version} is {edition.state} and resolved by {edition.resolution}"
    for value in ctx.iterate(Parameter, "in_force"):
        voted = ("parameter", "", 0, value.key, value.value, value.effective_from)
        yield from _resolved(ctx, f"{value.key} from {value.effective_from}", value.resolution, voted)
    for change in ctx.iterate(Change, "by_proposal"):
        proposal = ctx.get(Proposal, key_of(change.proposal))
        if proposal is None or (proposal.kind, proposal.subject) != ("resolution", f"refdata: {change.subject}"):
            yield f"{change.proposal} changes what nobody votes on"
        elif proposal.status == "enacted" and not _is_there(ctx, change):
            yield f"{change.proposal} was enacted and {change.subject} is not there"


@module.invariant("no_day_is_rewritten")
def no_day_is_rewritten(ctx: QueryContext) -> Iterator[str]:
    """What replaces something holds from a day after its proposal; a table's first edition may hold from any day."""
    for table in sorted(TABLES):
        adopted = [edition for edition in ctx.iterate(Edition, "by_table", (table,)) if edition.state == "adopted"]
        backdated = [each for each in adopted if _is_backdated(ctx, each.resolution, each.effective_from)]
        first = min([_enacted(ctx, each.resolution) for each in adopted], default=0)
        for place, edition in enumerate(backdated):
            if place or _enacted(ctx, edition.resolution) != first:
                yield f"{table} {edition.version} replaces another one from {edition.effective_from} on"
    for value in ctx.iterate(Parameter, "in_force"):
        if _is_backdated(ctx, value.resolution, value.effective_from):
            yield f"{value.key} has another value from {value.effective_from} on"


def _rows(ctx: QueryContext, edition: Edition, name: str) -> Iterator[str]:
    counted, last_code, digest = 0, "", NO_ROWS
    for row in ctx.iterate(Row, "by_edition", (edition.table, edition.version)):
        counted, last_code = counted + 1, row.code
        digest = digest_after(digest, NewRow(row.code, row.name, row.attributes, row.removed))
        if row.removed and row_of(ctx, edition.table, edition.base, row.code) is None:
            yield f"{name}: removes {row.code}, which edition {edition.base} does not have"
    if counted != edition.rows:
        yield f"{name}: {edition.rows} rows counted, {counted} there"
    # Of what was given up, rows are deleted some at a time.
    if edition.state != "discarded" and (last_code, digest) != (edition.last_code, edition.digest):
        yield f"{name}: the rows up to {last_code!r} are not those of its digest"


def _begins(edition: Edition) -> tuple[str, int]:
    """In this order editions take over from each other."""
    return edition.effective_from, edition.version


def _resolved(
    ctx: QueryContext, name: str, resolution: str, voted: tuple[str, str, int, str, int, str]
) -> Iterator[str]:
    change, proposal = ctx.get(Change, key_of(resolution)), ctx.get(Proposal, key_of(resolution))
    if change is None or proposal is None or proposal.status != "enacted":
        yield f"{name} holds by {resolution!r}, which was not enacted"
    elif voted != (change.kind, change.table, change.version, change.key, change.value, change.effective_from):
        yield f"{name} holds by {resolution}, which says {change.subject}"


def _is_there(ctx: QueryContext, change: Change) -> bool:
    """Whether what a change says holds, or the value that a later one put in its place for the same date."""
    if change.kind == "edition":
        edition = ctx.get(Edition, key_of(change.table, change.version))
        return edition is not None and edition.resolution == change.proposal
    value = ctx.get(Parameter, key_of(change.key, change.effective_from))
    return value is not None and _enacted(ctx, value.resolution) >= _enacted(ctx, change.proposal)


def _is_backdated(ctx: QueryContext, resolution: str, effective_from: str) -> bool:
    proposal = ctx.get(Proposal, key_of(resolution))
    return proposal is None or effective_from <= business_date(proposal.opened_ms)


def _enacted(ctx: QueryContext, resolution: str) -> int:
    """The height at which a resolution was carried out."""
    proposal = ctx.get(Proposal, key_of(resolution))
    return 0 if proposal is None else proposal.enacted_height
