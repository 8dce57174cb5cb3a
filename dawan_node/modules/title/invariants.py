"""What must hold after every block, whatever was sent: one holder of one medium, and a history that proves it.

The checkers derive who controls a title from its chain alone, by rules written here a second time and in another way
than the commands have them, and compare that with the record: so one wrong line of code cannot make both wrong alike.
"""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import QueryContext, business_date, key_of
from dawan_node.modules.kernel import live_lock
from dawan_node.modules.kernel.declaration import Lock
from dawan_node.modules.light_client.declaration import BINDING_STATES, NAME, Reservation
from dawan_node.modules.title.chain import NO_ENTRY, entry_hash
from dawan_node.modules.title.checks import has_left
from dawan_node.modules.title.declaration import module
from dawan_node.modules.title.entities import ChainEntry, Succession, Title

#: Acts after which the one named as recipient has possession.
_GIVES_POSSESSION = (
    "ISSUE", "TRANSFER", "RETURN", "SURRENDER_FOR_DELIVERY", "SURRENDER_FOR_AMENDMENT", "SREJ", "RELEASE", "ENFORCE",
    "RECEIVE", "WITHDRAW",
)  # fmt: skip
_SURRENDERS = ("SURRENDER_FOR_DELIVERY", "SURRENDER_FOR_AMENDMENT")
_ENDORSES = ("ENDORSE", "ENDORSE_TO_ORDER", "BLANK_ENDORSE")
#: Acts for which the actor must have had possession the moment before.
_NEEDS_POSSESSION = (
    "TRANSFER", "RETURN", "ENDORSE", "ENDORSE_TO_ORDER", "BLANK_ENDORSE", "SIGN", "PLEDGE", *_SURRENDERS,
)  # fmt: skip


@module.invariant("one_holder")
def one_holder(ctx: QueryContext) -> Iterator[str]:
    """Who holds a title is who the chain says, and every act was done by the one who held it then."""
    for title in ctx.iterate(Title, "by_document"):
        holder = ""
        for entry in ctx.iterate(ChainEntry, "by_title", (title.title,)):
            # What a credit passes on, it passes on for the holder.
            acted_for = entry.on_behalf_of if entry.on_behalf_of == holder else entry.actor
            if entry.action in _NEEDS_POSSESSION and acted_for != holder and holder:
                yield f"{title.title}: {entry.action} at {entry.position} by {entry.actor}, {holder} held it"
            if entry.action in _GIVES_POSSESSION:
                holder = entry.recipient
            elif entry.action == "SUCCEED":
                holder = entry.recipient if entry.on_behalf_of == holder else holder
            elif entry.action == "VOID" or (entry.action == "SACC" and entry.reason == "SWTP"):
                holder = ""
        if title.holder != holder:
            yield f"{title.title} is held by {title.holder!r}, by its chain {holder!r}"
        held = title.state not in ("DRAFT", "APPROVED", "VOIDED")
        if held != (title.holder != ""):
            yield f"{title.title} is {title.state} and held by {title.holder!r}"
        surrendered = "SURRENDER" in title.state
        if surrendered != (title.holder == title.carrier):
            yield f"{title.title} is {title.state} and held by {title.holder}"


@module.invariant("within_one_house")
def within_one_house(ctx: QueryContext) -> Iterator[str]:
    """A succession goes from a revoked identity to another one of its organisation; or from one whose organisation left
    to the heir that a court named, after the days of notice, and each order is carried out once."""
    for title in ctx.iterate(Title, "by_document"):
        orders = {each.order: each for each in ctx.iterate(Succession, "by_title", (title.title,))}
        for entry in ctx.iterate(ChainEntry, "by_title", (title.title,)):
            if entry.action != "SUCCEED":
                continue
            former, heir = ctx.identity(entry.on_behalf_of), ctx.identity(entry.recipient)
            if entry.reason:
                order = orders.pop(entry.reason, None)
                lawful = order is not None and _was_ordered(ctx, order, entry)
            else:
                lawful = former is not None and heir is not None and former.org == heir.org
                lawful = lawful and former is not None and former.status != "active"
            if not lawful:
                yield f"{title.title}: {entry.recipient} succeeded {entry.on_behalf_of} at {entry.position}"
        for order in orders.values():
            if order.state == "CARRIED_OUT":
                yield f"{title.title}: {order.order} is carried out and {order.heir} did not succeed"


def _was_ordered(ctx: QueryContext, order: Succession, entry: ChainEntry) -> bool:
    """Whether a court's order allowed a succession, and the organisation had left."""
    former, heir = ctx.identity(order.former), ctx.identity(order.heir)
    left = former is not None and has_left(ctx, former.org)
    apart = heir is not None and heir.org != order.org
    said = (order.state, order.former, order.heir) == ("CARRIED_OUT", entry.on_behalf_of, entry.recipient)
    return left and apart and said and business_date(entry.at_ms) > order.until


@module.invariant("complete_history")
def complete_history(ctx: QueryContext) -> Iterator[str]:
    """Each chain begins with ISSUE or RECEIVE, has no gap, and nothing but VOID follows an accepted surrender."""
    for title in ctx.iterate(Title, "by_document"):
        previous, last, length = NO_ENTRY, "", 0
        last_reason = ""
        for entry in ctx.iterate(ChainEntry, "by_title", (title.title,)):
            if entry.position != length or entry.previous != previous:
                yield f"{title.title}: entry {entry.position} does not follow entry {length - 1}"
            if entry.hash != entry_hash(title.checksum, entry):
                yield f"{title.title}: entry {entry.position} is not of this title and document"
            if (length == 0) != (entry.action == "ISSUE" or (length == 0 and entry.action == "RECEIVE")):
                yield f"{title.title}: {entry.action} at {entry.position}"
            # Who surrendered it may have a successor while it waits for the carrier or for the amended bill.
            succeeds = entry.action == "SUCCEED" and title.state != "SURRENDERED_FOR_DELIVERY"
            if last in ("VOID", "SACC") and not (last == "SACC" and (entry.action == "VOID" or succeeds)):
                yield f"{title.title}: {entry.action} after {last}"
            if last in _SURRENDERS and entry.action not in ("SACC", "SREJ", "WITHDRAW", "SUCCEED"):
                yield f"{title.title}: {entry.action} while surrendered"
            if entry.action == "WITHDRAW" and last not in _SURRENDERS:
                yield f"{title.title}: {entry.action} after {last}"
            previous, length = entry.hash, length + 1
            if entry.action != "SUCCEED":
                last, last_reason = entry.action, entry.reason
        if (title.length, title.head) != (length, previous):
            yield f"{title.title} has {title.length} entries, its chain {length}"
        ends = {
            "PENDING_SURRENDER_FOR_DELIVERY": last == "SURRENDER_FOR_DELIVERY",
            "PENDING_SURRENDER_FOR_AMENDMENT": last == "SURRENDER_FOR_AMENDMENT",
            "SURRENDERED_FOR_DELIVERY": last == "SACC",
            "SURRENDERED_FOR_AMENDMENT": last == "SACC" and last_reason != "SWTP",
            "VOIDED": last == "VOID" or (last == "SACC" and last_reason == "SWTP"),
            "ISSUED": last not in ("", "SACC", "VOID", *_SURRENDERS),
        }
        if not ends.get(title.state, length == 0):
            yield f"{title.title} is {title.state} after {last}"


@module.invariant("one_medium")
def one_medium(ctx: QueryContext) -> Iterator[str]:
    """Of the versions of a document only the newest is in force, and as paper or electronically, never both."""
    newest: dict[str, Title] = {}
    for title in ctx.iterate(Title, "by_document"):
        before = newest.get(title.document)
        if (title.version == 1) != (before is None):
            yield f"{title.title}: version {title.version} of {title.document} has no predecessor, or two"
        if before is not None:
            linked = (before.replaced_by, title.replaces) == (title.title, before.title)
            if not linked or before.state != "VOIDED" or before.version + 1 != title.version:
                yield f"{before.title} is {before.state} beside {title.title}"
        newest[title.document] = title
        if title.medium == "PAPER" and (title.state != "VOIDED" or title.paper == ""):
            yield f"{title.title} is paper {title.paper!r} and {title.state}"
    for title in newest.values():
        if title.state == "VOIDED" and title.medium == "ELECTRONIC":
            yield f"{title.title} is void and nothing replaces it"


@module.invariant("endorsement")
def endorsement(ctx: QueryContext) -> Iterator[str]:
    """A straight bill is its consignee's and was never endorsed or pledged; after ENDORSE nobody endorsed further."""
    for title in ctx.iterate(Title, "by_document"):
        closed_by = ""
        for entry in ctx.iterate(ChainEntry, "by_title", (title.title,)):
            endorses = entry.action in (*_ENDORSES, "PLEDGE")
            if not title.bill.to_order and endorses:
                yield f"{title.title} is straight: {entry.action} at {entry.position}"
            if endorses and closed_by:
                yield f"{title.title}: {entry.action} after an endorsement to {closed_by} only"
            if entry.action in ("RETURN", "RELEASE", "ENFORCE"):
                closed_by = ""
            elif entry.action == "ENDORSE":
                closed_by = entry.recipient
        if not title.bill.to_order and title.state == "ISSUED" and title.endorsee != title.bill.consignee:
            yield f"{title.title} is straight to {title.bill.consignee} and {title.endorsee}'s"


@module.invariant("right_follows_endorsements")
def right_follows_endorsements(ctx: QueryContext) -> Iterator[str]:
    """Who has the right to the goods is who the chain says, and whoever endorsed, pledged or surrendered a title had it
    then. Of a title from another platform the chain says so from its first endorsement here on."""
    for title in ctx.iterate(Title, "by_document"):
        right: str | None = None
        # What a refused transfer restores: the right before the transaction that handed the title over.
        before, returned, transaction = right, right, b""
        pledged = right
        for entry in ctx.iterate(ChainEntry, "by_title", (title.title,)):
            if entry.transaction != transaction:
                before, transaction = right, entry.transaction
            needs = entry.action in (*_ENDORSES, "PLEDGE", "NOMINATE") or (
                # The shipper that still has a straight bill may have it amended.
                entry.action in _SURRENDERS and (title.bill.to_order or entry.action == "SURRENDER_FOR_DELIVERY")
            )
            acted_for = entry.on_behalf_of or entry.actor
            if needs and right not in (None, "", acted_for):
                yield f"{title.title}: {entry.action} at {entry.position} for {acted_for}, the right was {right}'s"
            match entry.action:
                case "ISSUE":
                    right = _first_right(ctx, title, entry.recipient)
                case "RECEIVE":
                    right = None
                case "ENDORSE" | "ENDORSE_TO_ORDER" | "BLANK_ENDORSE" | "ENFORCE":
                    right = entry.recipient
                case "TRANSFER":
                    returned = before
                case "RETURN":
                    right = returned
                case "PLEDGE":
                    pledged = right
                case "RELEASE":
                    right = pledged
                case "SUCCEED" if title.bill.to_order:
                    right = entry.recipient if entry.on_behalf_of == right else right
                    # By a court's order also in what a refused transfer gives back: its heir keeps what it has.
                    if entry.reason and returned == entry.on_behalf_of:
                        returned = entry.recipient
        if right is not None and title.endorsee != right:
            yield f"{title.title} is to the order of {title.endorsee!r}, by its chain of {right!r}"


@module.invariant("pledged_stays")
def pledged_stays(ctx: QueryContext) -> Iterator[str]:
    """While a pledge binds, nothing happened since but what goes to the pledgee; a bound title is in circulation."""
    for title in ctx.iterate(Title, "by_document"):
        lock = live_lock(ctx, "title", title.title)
        if lock is None:
            continue
        if title.state != "ISSUED":
            yield f"{title.title} is bound by {lock.owner} and {title.state}"
        if ":" in lock.owner:
            yield from _reserved(ctx, title, lock)
            continue
        if title.pledge.pledgee != lock.owner:
            yield f"{title.title} is bound by {lock.owner} and pledged to {title.pledge.pledgee!r}"
            continue
        for entry in ctx.iterate(ChainEntry, "by_title", (title.title,)):
            moved = entry.action not in ("SIGN", "NOMINATE") and entry.recipient != title.pledge.pledgee
            if entry.position > title.pledge.position and moved:
                yield f"{title.title}: {entry.action} to {entry.recipient!r} while pledged to {title.pledge.pledgee}"
        if title.holder not in (title.pledge.pledgor, title.pledge.pledgee):
            yield f"{title.title} is pledged to {title.pledge.pledgee} and held by {title.holder}"


def _first_right(ctx: QueryContext, title: Title, holder: str) -> str:
    """Whose the right is when a title is issued: as its bill says, or as it was before an amendment."""
    old = ctx.get(Title, key_of(title.replaces)) if title.replaces else None
    if old is None or not title.bill.to_order:
        return title.bill.consignee or title.bill.shipper
    if old.medium == "PAPER":
        return holder
    return old.endorsee if old.bill.to_order else title.bill.consignee or holder


def _reserved(ctx: QueryContext, title: Title, lock: Lock) -> Iterator[str]:
    """What a lock for another channel rests on."""
    module_name, _, name = lock.owner.partition(":")
    if module_name != NAME:
        return
    reservation = ctx.get(Reservation, key_of(name))
    if reservation is None or (reservation.module, reservation.asset) != ("title", title.title):
        yield f"{title.title} is bound by {name}, which reserves something else"
    elif reservation.state not in BINDING_STATES or reservation.until_ms != lock.until_ms:
        yield f"{title.title} is bound by {name}, {reservation.state}, until {lock.until_ms}"
    elif title.holder != reservation.owner:
        yield f"{title.title} is reserved by {reservation.owner} and held by {title.holder}"
