"""Questions about titles: who holds what, a title's whole history, collateral, boxes whose bill is still out.

All answers are pages of an index at one height. Whether a pledge still binds depends on the kernel's lock, which ends
by time: ``pledged`` shows only those that bind now.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dawan_node.execution.module import (
    UNSET,
    Hash32,
    Page,
    Params,
    QueryContext,
    ShortText,
    UnsetType,
    key_of,
)
from dawan_node.modules.kernel import live_lock
from dawan_node.modules.title.chain import NO_ENTRY, entry_hash
from dawan_node.modules.title.declaration import module
from dawan_node.modules.title.entities import Carrier, ChainEntry, Envelope, Platform, State, Succession, Title

#: Entities read for one page at most when a filter drops some: the page is then short and its cursor goes on.
FILTER_READS_MAX: Final = 1_000
#: Entries of one chain that ``verify`` reads at most, inside the step budget of a query; longer ones answer for those.
VERIFY_ENTRIES_MAX: Final = 1_000


class OneTitle(Params):
    title: ShortText


class OneDocument(Params):
    document: ShortText


class OneParty(Params):
    party: ShortText


class OfCarrier(Params):
    carrier: ShortText
    state: State | UnsetType = UNSET


class OneBox(Params):
    """``box``: a container number in its one spelling, ``CSQU3054383``."""

    box: ShortText


class OneCode(Params):
    code: ShortText


class CheckDocument(Params):
    """``checksum``: of the document somebody presents, computed from its canonical form."""

    title: ShortText
    checksum: Hash32


class Verification(msgspec.Struct, frozen=True, gc=False):
    """``same_document``: the checksum is the title's. ``entries``: those checked; ``unbroken``: each fits the one
    before and the last is the title's head. ``live``: this version is the one in force, electronically."""

    same_document: bool
    entries: int
    unbroken: bool
    live: bool


@module.query("title", params=OneTitle, item=Title)
def title(ctx: QueryContext, params: OneTitle, limit: int, cursor: bytes | None) -> Page[Title]:
    """One title by its identifier."""
    return _one(ctx.get(Title, key_of(params.title)))


@module.query("versions", params=OneDocument, item=Title)
def versions(ctx: QueryContext, params: OneDocument, limit: int, cursor: bytes | None) -> Page[Title]:
    """Every version of a document, the first one first."""
    return ctx.page(Title, "by_document", (params.document,), limit=limit, cursor=cursor)


@module.query("history", params=OneTitle, item=ChainEntry)
def history(ctx: QueryContext, params: OneTitle, limit: int, cursor: bytes | None) -> Page[ChainEntry]:
    """Everything that happened to a title, in order."""
    return ctx.page(ChainEntry, "by_title", (params.title,), limit=limit, cursor=cursor)


@module.query("successions", params=OneTitle, item=Succession)
def successions(ctx: QueryContext, params: OneTitle, limit: int, cursor: bytes | None) -> Page[Succession]:
    """A court's orders who succeeds to a title of an organisation that left: standing, recalled, carried out."""
    return ctx.page(Succession, "by_title", (params.title,), limit=limit, cursor=cursor)


@module.query("holdings", params=OneParty, item=Title)
def holdings(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[Title]:
    """Titles a party holds; under a carrier's code those surrendered to it."""
    return ctx.page(Title, "by_holder", (params.party,), limit=limit, cursor=cursor)


@module.query("pledged", params=OneParty, item=Title)
def pledged(ctx: QueryContext, params: OneParty, limit: int, cursor: bytes | None) -> Page[Title]:
    """Titles that a bank or factor has as security now."""
    found: list[Title] = []
    for _ in range(FILTER_READS_MAX // limit + 1):
        page = ctx.page(Title, "by_pledgee", (params.party,), limit=limit - len(found), cursor=cursor)
        for each in page.items:
            lock = live_lock(ctx, "title", each.title)
            if lock is not None and lock.owner == params.party:
                found.append(each)
        cursor = page.cursor
        if cursor is None or len(found) == limit:
            break
    return Page(tuple(found), cursor)


@module.query("of_carrier", params=OfCarrier, item=Title)
def of_carrier(ctx: QueryContext, params: OfCarrier, limit: int, cursor: bytes | None) -> Page[Title]:
    """A carrier's titles, those in one state when given: what it has to answer, what it delivered against."""
    prefix = (params.carrier,) if isinstance(params.state, UnsetType) else (params.carrier, params.state)
    return ctx.page(Title, "by_carrier", prefix, limit=limit, cursor=cursor)


@module.query("outstanding", params=OneBox, item=Title)
def outstanding(ctx: QueryContext, params: OneBox, limit: int, cursor: bytes | None) -> Page[Title]:
    """Titles not yet surrendered for delivery that a box travels under: while there is one, it must not leave."""
    return ctx.page(Title, "by_box", (params.box,), limit=limit, cursor=cursor)


@module.query("envelopes", params=OneTitle, item=Envelope)
def envelopes(ctx: QueryContext, params: OneTitle, limit: int, cursor: bytes | None) -> Page[Envelope]:
    """Transfers of a title accepted from other platforms."""
    return ctx.page(Envelope, "by_title", (params.title,), limit=limit, cursor=cursor)


@module.query("carrier", params=OneCode, item=Carrier)
def carrier(ctx: QueryContext, params: OneCode, limit: int, cursor: bytes | None) -> Page[Carrier]:
    """Who issues under a carrier's code."""
    return _one(ctx.get(Carrier, key_of(params.code)))


@module.query("platform", params=OneCode, item=Platform)
def platform(ctx: QueryContext, params: OneCode, limit: int, cursor: bytes | None) -> Page[Platform]:
    """Who stands for another platform here, and its key."""
    return _one(ctx.get(Platform, key_of(params.code)))


@module.query("verify", params=CheckDocument, item=Verification)
def verify(ctx: QueryContext, params: CheckDocument, limit: int, cursor: bytes | None) -> Page[Any]:
    """Whether a document is the one under this title, and the title's chain is complete and in order."""
    found = ctx.get(Title, key_of(params.title))
    if found is None:
        return Page((), None)
    entries = ctx.scan(ChainEntry, "by_title", (params.title,), limit=VERIFY_ENTRIES_MAX)
    previous = NO_ENTRY
    unbroken = True
    for position, entry in enumerate(entries):
        fits = entry.position == position and entry.previous == previous
        unbroken = unbroken and fits and entry.hash == entry_hash(found.checksum, entry)
        previous = entry.hash
    if found.length <= VERIFY_ENTRIES_MAX:
        unbroken = unbroken and len(entries) == found.length and previous == found.head
    live = found.medium == "ELECTRONIC" and found.state not in ("DRAFT", "APPROVED", "VOIDED")
    return _one(Verification(params.checksum == found.checksum, len(entries), unbroken, live))


def _one(item: Any) -> Page[Any]:
    return Page(() if item is None else (item,), None)
