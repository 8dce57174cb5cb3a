"""Writing an edition: open, rows in batches, seal; or discard. Nothing of it counts before a vote adopts it.

A transaction takes at most 64 KiB and a bounded number of steps, so a table of seven thousand rows comes in some twenty
of them. Rows come in ascending order of code: a batch that is sent again is refused instead of counted twice, a loader
that was interrupted goes on after ``last_code``, and the digest of the rows does not depend on how they were cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from dawan_node.execution.module import (
    ORG_ADMIN,
    Args,
    Context,
    Hash32,
    Meta,
    ShortText,
    key_of,
    replace,
    tagged_hash,
)
from dawan_node.modules.refdata.declaration import (
    Edition,
    EditionDiscarded,
    EditionOpened,
    EditionSealed,
    Row,
    module,
)
from dawan_node.modules.refdata.lookups import row_of
from dawan_node.modules.refdata.tables import TABLES
from dawan_node.primitives.encoding import encode

ROW_TAG: Final = b"dawan:refdata:row:v1"
#: The digest of no rows.
NO_ROWS: Final = bytes(32)
#: Rows one transaction writes: two steps each, a fifth of the default budget.
BATCH_ROWS_MAX: Final = 1_000
#: Rows one transaction deletes of a discarded edition: a scan reads, a removal counts, within the same budget.
PURGE_ROWS_MAX: Final = 500
#: Editions on top of one another: each is one more read of a look-up.
DEPTH_MAX: Final = 8
#: The longest description of the Harmonized System has 255 characters.
NAME_CHARS_MAX: Final = 300
ATTRIBUTE_CHARS_MAX: Final = 1_000

Text = Annotated[str, Meta(max_length=ATTRIBUTE_CHARS_MAX)]


class NewRow(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A row as it travels: an array, because seven thousand maps would be mostly field names."""

    code: ShortText
    name: Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
    attributes: tuple[tuple[ShortText, Text], ...]
    removed: bool


class OpenEdition(Args):
    """``source``: SHA-256 of the file the rows come from, 32 zero bytes if there is none; ``base``: see ``Edition``."""

    table: ShortText
    version: int
    title: ShortText
    source: Hash32
    base: Annotated[int, Meta(ge=0)] = 0


class WriteRows(Args):
    table: ShortText
    version: int
    rows: Annotated[list[NewRow], Meta(min_length=1, max_length=BATCH_ROWS_MAX)]


class OneEdition(Args):
    table: ShortText
    version: int


@module.command("open_edition", args=OpenEdition, roles=(ORG_ADMIN,))
def open_edition(ctx: Context, args: OpenEdition) -> None:
    """Begin the next version of a table."""
    ctx.require(args.table in TABLES, "E_TABLE")
    newest = ctx.scan(Edition, "newest", (args.table,), limit=1)
    ctx.require(args.version == (newest[0].version if newest else 0) + 1, "E_VERSION")
    depth = 0
    if args.base:
        below = ctx.get(Edition, key_of(args.table, args.base))
        if below is None or below.state != "adopted" or below.depth == DEPTH_MAX:
            ctx.fail("E_BASE")
        depth = below.depth + 1
    ctx.put(
        Edition(
            table=args.table,
            version=args.version,
            base=args.base,
            depth=depth,
            title=args.title,
            source=args.source,
            opened_by=ctx.sender.org,
            rows=0,
            last_code="",
            digest=NO_ROWS,
            state="open",
            effective_from="",
            resolution="",
        )
    )
    ctx.emit(EditionOpened(table=args.table, version=args.version, title=args.title))


@module.command("write_rows", args=WriteRows, roles=(ORG_ADMIN,))
def write_rows(ctx: Context, args: WriteRows) -> None:
    """Write the next rows of an open edition, in ascending order of code."""
    edition = _own(ctx, args.table, args.version)
    ctx.require(edition.state == "open", "E_EDITION_STATE")
    table = TABLES[edition.table]
    last_code, digest = edition.last_code, edition.digest
    for row in args.rows:
        ctx.require(last_code < row.code, "E_ROW_ORDER")
        if row.removed:
            below = row_of(ctx, edition.table, edition.base, row.code)
            ctx.require(below is not None and not row.name and not row.attributes, "E_ROW_REMOVED")
        else:
            ctx.require(row.name != "" and table.accepts(row.code, row.attributes), "E_ROW")
        ctx.put(Row(edition.table, edition.version, row.code, row.name, row.attributes, row.removed))
        last_code, digest = row.code, digest_after(digest, row)
    ctx.put(replace(edition, rows=edition.rows + len(args.rows), last_code=last_code, digest=digest))


@module.command("seal_edition", args=OneEdition, roles=(ORG_ADMIN,))
def seal_edition(ctx: Context, args: OneEdition) -> None:
    """Close an edition for good, so that what is voted on is what was looked at."""
    edition = _own(ctx, args.table, args.version)
    ctx.require(edition.state == "open", "E_EDITION_STATE")
    ctx.require(edition.rows > 0, "E_EMPTY")
    ctx.put(replace(edition, state="sealed"))
    ctx.emit(EditionSealed(table=edition.table, version=edition.version, rows=edition.rows, digest=edition.digest))


@module.command("discard_edition", args=OneEdition, roles=(ORG_ADMIN,))
def discard_edition(ctx: Context, args: OneEdition) -> None:
    """Give up an edition that was not adopted; a proposal for it can no longer be enacted."""
    edition = _own(ctx, args.table, args.version)
    ctx.require(edition.state in ("open", "sealed"), "E_EDITION_STATE")
    ctx.put(replace(edition, state="discarded"))
    ctx.emit(EditionDiscarded(table=edition.table, version=edition.version))


@module.command("purge_rows", args=OneEdition, roles=(ORG_ADMIN,))
def purge_rows(ctx: Context, args: OneEdition) -> None:
    """Delete rows of a discarded edition, some at a time; anybody's, because they serve nobody."""
    edition = _existing(ctx, args.table, args.version)
    ctx.require(edition.state == "discarded", "E_EDITION_STATE")
    found = ctx.scan(Row, "by_edition", (edition.table, edition.version), limit=PURGE_ROWS_MAX)
    ctx.require(len(found) > 0, "E_EMPTY")
    for row in found:
        ctx.delete(Row, row.primary_key())
    ctx.put(replace(edition, rows=edition.rows - len(found)))


def digest_after(digest: bytes, row: NewRow) -> bytes:
    """The digest of an edition whose rows had ``digest`` before this one: whoever has the file can recompute it."""
    attributes = [list(attribute) for attribute in row.attributes]
    return tagged_hash(ROW_TAG, encode([digest, row.code, row.name, attributes, row.removed]))


def digest_of(rows: Sequence[NewRow]) -> bytes:
    """The digest of an edition with exactly these rows."""
    digest = NO_ROWS
    for row in rows:
        digest = digest_after(digest, row)
    return digest


def _existing(ctx: Context, table: str, version: int) -> Edition:
    edition = ctx.get(Edition, key_of(table, version))
    if edition is None:
        ctx.fail("E_UNKNOWN_EDITION")
    return edition


def _own(ctx: Context, table: str, version: int) -> Edition:
    edition = _existing(ctx, table, version)
    ctx.require(edition.opened_by == ctx.sender.org, "E_NOT_OPENER")
    return edition
