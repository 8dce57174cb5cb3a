"""Whom the channel believes: which organisation issues under a carrier's code, and whose key signs a platform's
envelopes. Both are put to the vote of the organisations, because a wrong one could create titles to other people's
goods. Voting again replaces an entry: that is how a key is rotated.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from dawan_node.execution.module import ORG_ADMIN, Args, Context, Meta, ShortText, is_public_key, key_of
from dawan_node.modules.title.checks import eligible
from dawan_node.modules.title.declaration import CarrierEnrolled, PlatformEnrolled, module
from dawan_node.modules.title.entities import Carrier, Change, Platform
from dawan_node.modules.title.foreign_chain import PLATFORM_CODE

#: What stands as ``eblPlatform`` in envelopes addressed to this network.
OWN_PLATFORM: Final = "DAWAN"

_CARRIER: Final = re.compile("(?:SMDG|NMFTA)-[A-Z0-9]{2,4}")
_SUITE: Final = "ed25519"

OptionalKey = Annotated[bytes, Meta(max_length=32)]


class ProposeCarrier(Args):
    """``id`` names the proposal; ``code`` is ``SMDG-HMM``; ``public_key`` (Ed25519) may be empty."""

    id: ShortText
    code: ShortText
    org: ShortText
    public_key: OptionalKey = b""


class ProposePlatform(Args):
    """``id`` names the proposal; ``code`` is the platform's (``WAVE``); ``agent`` its identity here."""

    id: ShortText
    code: ShortText
    agent: ShortText
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]


class Enact(Args):
    proposal: ShortText


@module.command("propose_carrier", args=ProposeCarrier, roles=(ORG_ADMIN,))
def propose_carrier(ctx: Context, args: ProposeCarrier) -> None:
    """Propose which organisation issues bills under a carrier's code."""
    ctx.require(_CARRIER.fullmatch(args.code) is not None, "E_CARRIER_CODE")
    ctx.require(ctx.is_org(args.org), "E_UNKNOWN_ORG")
    if args.public_key:
        ctx.require(is_public_key(_SUITE, args.public_key), "E_KEY")
    _open(ctx, args.id, "carrier", args.code, args.org, args.public_key)


@module.command("propose_platform", args=ProposePlatform, roles=(ORG_ADMIN,))
def propose_platform(ctx: Context, args: ProposePlatform) -> None:
    """Propose whose envelopes are accepted, signed with which key, and who stands for that platform here."""
    ctx.require(PLATFORM_CODE.fullmatch(args.code) is not None and args.code != OWN_PLATFORM, "E_PLATFORM_CODE")
    ctx.require(is_public_key(_SUITE, args.public_key), "E_KEY")
    eligible(ctx, args.agent, ("ebl_platform",))
    _open(ctx, args.id, "platform", args.code, args.agent, args.public_key)


@module.command("enact", args=Enact, roles=(ORG_ADMIN,))
def enact(ctx: Context, args: Enact) -> None:
    """Enrol a carrier or platform that enough organisations approved."""
    change = ctx.get(Change, key_of(args.proposal))
    if change is None:
        ctx.fail("E_UNKNOWN_CHANGE")
    ctx.call("governance", "enact_resolution", change.proposal, change.subject)
    if change.kind == "carrier":
        ctx.put(Carrier(change.code, change.party, change.public_key, change.proposal))
        ctx.emit(CarrierEnrolled(code=change.code, org=change.party))
    else:
        # One identity for two platforms: nobody could tell which of them has what it holds.
        others = ctx.scan(Platform, "by_agent", (change.party,), limit=2)
        ctx.require(all(platform.code == change.code for platform in others), "E_IN_USE")
        ctx.put(Platform(change.code, change.party, change.public_key, change.proposal))
        ctx.emit(PlatformEnrolled(code=change.code, agent=change.party))


def _open(
    ctx: Context, proposal: str, kind: Literal["carrier", "platform"], code: str, party: str, public_key: bytes
) -> None:
    subject = f"{kind} {code} is {party}, key {public_key.hex() or 'none'}"
    ctx.call("governance", "open_resolution", proposal, subject)
    ctx.put(Change(proposal, kind, subject, code, party, public_key))
