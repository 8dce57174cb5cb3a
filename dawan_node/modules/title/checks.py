"""Checks that several commands share. Each returns the checked thing or fails with a reason of the error table."""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Identity, Meta, QueryContext, key_of
from dawan_node.modules.title.entities import Carrier, Title

#: Who may hold a title. A carrier never does: what is surrendered to it stands under its code.
HOLDERS: Final = (
    "bank",
    "buyer",
    "core_enterprise",
    "ebl_platform",
    "exporter",
    "factor",
    "forwarder",
    "insurer",
    "seller",
    "supplier",
)
#: Who lends against one.
FINANCIERS: Final = ("bank", "factor")
CARRIERS: Final = ("carrier",)

TitleRef = Annotated[str, Meta(min_length=1, max_length=60, description="title id: carrier/reference[.version]")]
Party = Annotated[str, Meta(max_length=32, description="name of an identity of the channel")]


class OneTitle(Args):
    title: TitleRef


def existing_title(ctx: Context, title: str) -> Title:
    """The title of that id."""
    found = ctx.get(Title, key_of(title))
    if found is None:
        ctx.fail("E_UNKNOWN_TITLE")
    return found


def issued_title(ctx: Context, title: str) -> Title:
    """A title that is in circulation: issued, not surrendered, not paper."""
    found = existing_title(ctx, title)
    ctx.require(found.medium == "ELECTRONIC", "E_PAPER")
    ctx.require(found.state == "ISSUED", "E_STATE")
    return found


def own_title(ctx: Context, title: str) -> Title:
    """A title in circulation that the sender holds."""
    found = issued_title(ctx, title)
    ctx.require(found.holder == ctx.sender.name, "E_NOT_HOLDER")
    return found


def has_right(title: Title, name: str) -> bool:
    """Whether ``name``, holding the title, has the right to the goods: as endorsee, or as the bearer."""
    return title.endorsee in ("", name)


def require_movable(ctx: Context, title: Title, to: str = "") -> None:
    """Fail with the kernel's reason when a court froze the title, or a lock binds it whose owner is not ``to``."""
    ctx.call("kernel", "require_movable", title.title, to)


def eligible(ctx: Context, name: str, roles: tuple[str, ...] = HOLDERS) -> Identity:
    """An enrolled, active identity with one of ``roles``, of an organisation that did not leave: nobody sends a title
    where nobody could move it on."""
    identity = ctx.identity(name)
    if identity is None or identity.status != "active" or has_left(ctx, identity.org):
        ctx.fail("E_UNKNOWN_PARTY")
    ctx.require(any(role in roles for role in identity.roles), "E_PARTY_ROLE")
    return identity


def has_left(ctx: Context | QueryContext, org: str) -> bool:
    """Whether an organisation left the channel, for good: governance takes none in again under its name."""
    found = ctx.organisation(org)
    return found is not None and found.status == "removed"


def require_entitled(ctx: Context, name: str) -> None:
    """A party with one of ``HOLDERS`` to whom a title is due. It may be revoked by now: the party is its organisation,
    which names a successor (``successions``) or has one (``departures``), and must not lose what it paid for."""
    identity = ctx.identity(name)
    if identity is None:
        ctx.fail("E_UNKNOWN_PARTY")
    ctx.require(any(role in HOLDERS for role in identity.roles), "E_PARTY_ROLE")


def recipient(ctx: Context, name: str) -> None:
    """Somebody else who may hold a title."""
    ctx.require(name != ctx.sender.name, "E_SELF")
    eligible(ctx, name)


def existing_carrier(ctx: Context, code: str) -> Carrier:
    """The carrier enrolled under that code."""
    found = ctx.get(Carrier, key_of(code))
    if found is None:
        ctx.fail("E_UNKNOWN_CARRIER")
    return found


def require_carrier(ctx: Context, code: str) -> None:
    """The sender belongs to the organisation that issues under ``code``; its role the command checks."""
    ctx.require(existing_carrier(ctx, code).org == ctx.sender.org, "E_NOT_CARRIER")
