"""Identities: enrol, rotate, revoke. An administrator acts for its own organisation and for no other.

A change holds from the next transaction on, in the same block too, and for transactions that were queued before. The
``Credential`` of a key is closed, never deleted, so that today's state tells who signed what at any height.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import (
    ANY_ROLE,
    ORG_ADMIN,
    VALIDATOR,
    Context,
    Credential,
    Identity,
    is_public_key,
    replace,
)
from dawan_node.modules.governance.declaration import (
    Enrol,
    IdentityEnrolled,
    IdentityRevoked,
    IdentityRotated,
    Revoke,
    Rotate,
    Tick,
    module,
)
from dawan_node.modules.governance.nodes import require_unused_key
from dawan_node.primitives.names import is_identifier, is_label

#: Roles of the catalogue (domain.md 1.4) that carry no authority over others. Every organisation may give them to its
#: own people. All other roles (banks, registers, regulators, courts, attestors) need a grant: from the genesis, whose
#: identities show what each organisation may be, or by a vote.
OPEN_ROLES: Final = frozenset(
    {
        "buyer",
        "caregiver",
        "core_enterprise",
        "developer",
        "exporter",
        "investor",
        "member",
        "merchant",
        "node_operator",
        "org_admin",
        "patient",
        "seller",
        "service_provider",
        "supplier",
        "viewer",
    }
)

#: A person rarely holds five roles; the bound keeps identity records, read before every command, small.
ROLES_MAX: Final = 32

#: Administrators are looked for among so many identities of one organisation at most.
_ADMINS_SCANNED_MAX: Final = 1_000


@module.command("enrol", args=Enrol, roles=(ORG_ADMIN,))
def enrol(ctx: Context, args: Enrol) -> None:
    """Register a new identity of the sender's organisation with a key and roles."""
    ctx.require(is_label(args.name), "E_NAME")
    ctx.require(ctx.identity(args.name) is None, "E_EXISTS")
    roles = tuple(args.roles)
    ctx.require(1 <= len(roles) <= ROLES_MAX and all(is_identifier(role) for role in roles), "E_ROLES")
    ctx.require(roles == tuple(sorted(set(roles))), "E_ROLES")
    granted = ctx.configuration().org_roles
    ctx.require(VALIDATOR not in roles, "E_ROLE_RESERVED")
    for role in roles:
        ctx.require(role in OPEN_ROLES or (ctx.sender.org, role) in granted, "E_ROLE_RESERVED")
    _require_new_key(ctx, args.suite, args.public_key)
    org = ctx.sender.org
    ctx.put(Identity(args.name, org, roles, args.suite, args.public_key, "active", ctx.height))
    ctx.put(Credential(args.public_key, args.suite, args.name, org, roles, ctx.height, 0))
    ctx.emit(IdentityEnrolled(name=args.name, org=org, roles=list(roles), public_key=args.public_key))


@module.command("rotate", args=Rotate, roles=ANY_ROLE)
def rotate(ctx: Context, args: Rotate) -> None:
    """Give an identity a new key; by an administrator of its organisation or by the identity itself."""
    identity = _active(ctx, args.name)
    if identity.name != ctx.sender.name:
        _require_admin_of(ctx, identity.org)
    _require_new_key(ctx, args.suite, args.public_key)
    _close_credential(ctx, identity)
    ctx.put(replace(identity, suite=args.suite, public_key=args.public_key, since_height=ctx.height))
    ctx.put(Credential(args.public_key, args.suite, identity.name, identity.org, identity.roles, ctx.height, 0))
    ctx.emit(IdentityRotated(name=identity.name, org=identity.org, public_key=args.public_key))


@module.command("revoke", args=Revoke, roles=(ORG_ADMIN,))
def revoke(ctx: Context, args: Revoke) -> None:
    """End an identity of the sender's organisation; its key signs nothing from the next transaction on."""
    identity = _active(ctx, args.name)
    _require_admin_of(ctx, identity.org)
    if ORG_ADMIN in identity.roles:
        others = [name for name in active_admins(ctx, identity.org) if name != identity.name]
        ctx.require(len(others) > 0, "E_LAST_ADMIN")
    _close_credential(ctx, identity)
    ctx.put(replace(identity, status="revoked", since_height=ctx.height))
    ctx.emit(IdentityRevoked(name=identity.name, org=identity.org))


@module.command("tick", args=Tick, roles=ANY_ROLE)
def tick(ctx: Context, args: Tick) -> None:
    """Make a block, so that block time moves on and deadlines pass on an idle channel."""


@module.export("active_admins")
def active_admins(ctx: Context, org: str) -> list[str]:
    """The names of an organisation's active administrators, in order."""
    stored = {identity.name: identity for identity in ctx.scan(Identity, "by_org", (org,), limit=_ADMINS_SCANNED_MAX)}
    first = {name: identity for name, identity in ctx.genesis.identities.items() if identity.org == org}
    current = {**first, **stored}
    return sorted(
        [name for name, identity in current.items() if identity.status == "active" and ORG_ADMIN in identity.roles]
    )


def _active(ctx: Context, name: str) -> Identity:
    identity = ctx.identity(name)
    if identity is None:
        ctx.fail("E_UNKNOWN")
    ctx.require(identity.status == "active", "E_REVOKED")
    return identity


def _require_admin_of(ctx: Context, org: str) -> None:
    ctx.require(ctx.sender.org == org and ORG_ADMIN in ctx.sender.roles, "E_OTHER_ORG")


def _require_new_key(ctx: Context, suite: str, public_key: bytes) -> None:
    ctx.require(is_public_key(suite, public_key), "E_KEY")
    require_unused_key(ctx, public_key)


def _close_credential(ctx: Context, identity: Identity) -> None:
    credential = ctx.credential(identity.public_key)
    if credential is None:
        ctx.fail("E_UNKNOWN")
    ctx.put(replace(credential, until_height=ctx.height))
