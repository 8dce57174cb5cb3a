"""Titles for other channels: a credit or a financing over there relies on a title here (domain.md 3).

The holder reserves the title for one process on one other channel: a lock that no pledge and no process of this channel
meets, owned by the reservation. What became of it over there is proven here, by anybody: the title passes to the bank
named for it, or it is free again. The protocol is the light client module's; here is what moves.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import ANY_ROLE, Args, Context, Instant, Meta, ShortText
from dawan_node.modules.kernel import live_lock
from dawan_node.modules.light_client import Reservation, lock_owner
from dawan_node.modules.light_client.clients import Proof, SourceName
from dawan_node.modules.light_client.reservations import RECIPIENTS_MAX
from dawan_node.modules.title.checks import (
    FINANCIERS,
    HOLDERS,
    Party,
    TitleRef,
    eligible,
    existing_title,
    has_right,
    issued_title,
)
from dawan_node.modules.title.declaration import module
from dawan_node.modules.title.entities import Title
from dawan_node.modules.title.locks import bindable, hand_to

#: What reservations of titles are for: the modules of the other channel that know what a title is.
Purpose = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,31}$")]
#: Names of facts that the other channel reads (``facts_of``).
DOCUMENT: Final = "document"
#: The last entry of its chain when it was reserved, for this channel itself: nothing may have happened since.
HEAD: Final = "head"
CARRIER: Final = "carrier"


class ReserveTitle(Args):
    """``number``: the holder's own. ``channel``: for which source of this channel; ``purpose``: ``lc.presentation``,
    ``lc.reimbursement`` or ``receivable.financing``; ``process``: the credit, presentation or financing there.
    ``recipients``: who can get the title, each of another organisation. ``commit_by_ms`` 0: in the time of the
    parameter ``lock.ttl``."""

    number: ShortText
    title: TitleRef
    channel: SourceName
    purpose: Purpose
    process: ShortText
    recipients: Annotated[list[Party], Meta(min_length=1, max_length=RECIPIENTS_MAX)]
    until_ms: Instant
    commit_by_ms: Instant = 0


class SettleTitle(Args):
    """``proof``: StateProof of the other channel's commitment, or that it has none. ``to``: when the named recipient is
    revoked, who of its organisation gets the title at once; said by somebody of that organisation."""

    reservation: Annotated[str, Meta(min_length=1, max_length=80)]
    proof: Proof
    to: Party = ""


@module.command("reserve_title", args=ReserveTitle, roles=HOLDERS)
def reserve_title(ctx: Context, args: ReserveTitle) -> None:
    """The holder who has the right reserves a title for a credit or financing on another channel."""
    ctx.require(ctx.runs("light_client"), "E_NO_LIGHT_CLIENT")
    title = bindable(ctx, args.title, tuple(args.recipients))
    recipients = tuple([(name, eligible(ctx, name, FINANCIERS).org) for name in args.recipients])
    reservation: Reservation = ctx.call(
        "light_client",
        "reserve",
        args.number,
        title.title,
        facts_of(title),
        recipients,
        args.channel,
        args.purpose,
        args.process,
        args.commit_by_ms,
        args.until_ms,
    )
    owner = lock_owner(reservation.reservation)
    ctx.call("kernel", "lock", title.title, owner, args.purpose, args.until_ms)


@module.command("settle_title", args=SettleTitle, roles=ANY_ROLE)
def settle_title(ctx: Context, args: SettleTitle) -> None:
    """Prove what the other channel made of a reservation: the title passes on, is free, or stays; anybody may."""
    ctx.require(ctx.runs("light_client"), "E_NO_LIGHT_CLIENT")
    settled: Reservation = ctx.call("light_client", "settle", args.reservation, args.proof)
    if settled.state == "CONFIRMED":
        return
    owner = lock_owner(settled.reservation)
    lock = live_lock(ctx, "title", settled.asset)
    if lock is not None and lock.owner == owner:
        ctx.call("kernel", "release", settled.asset, owner)
    if settled.state == "PASSED":
        # A lock that a court ended, or time, is no reason against it while the title is where it was, and the right
        # too: who got either of them meanwhile got it from one who was free to give it.
        found = existing_title(ctx, settled.asset)
        ctx.require(found.holder == settled.owner, "E_NOT_HOLDER")
        ctx.require(has_right(found, settled.owner), "E_NOT_ENDORSEE")
        ctx.require(dict(settled.facts).get(HEAD) == found.head.hex(), "E_MOVED_ON")
        hand_to(ctx, issued_title(ctx, settled.asset), _receiver(ctx, settled, args.to))


def _receiver(ctx: Context, settled: Reservation, to: str) -> str:
    """Who gets the title: the identity that was named, revoked or not, or while it is revoked the one its organisation
    names. So whoever brings the proof ends the reservation, and no title goes back to an owner who was paid for it."""
    named = ctx.identity(settled.recipient)
    if to == "" or (named is not None and named.status == "active"):
        return settled.recipient
    org = dict(settled.recipients)[settled.recipient]
    ctx.require(ctx.sender.org == org and eligible(ctx, to, FINANCIERS).org == org, "E_PARTY_ROLE")
    return to


def facts_of(title: Title) -> tuple[tuple[str, str], ...]:
    """What the other channel has to know of a title: the bill's identity, which document it is; and how it stands."""
    return (
        (CARRIER, title.carrier),
        ("checksum", title.checksum.hex()),
        (DOCUMENT, title.document),
        (HEAD, title.head.hex()),
    )
