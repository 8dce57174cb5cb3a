"""Organisations: how a channel takes one in, suspends it, lets it go, and learns of its new certificate authority.

Each is a proposal that the founding organisations vote on; what is proposed is checked when the proposal opens and
again when it is enacted, because the state may have moved on. A suspended organisation's people send nothing and its
observers are not served, but its validators still vote: a change of who votes is a decision of its own (amendment
U11), never a side effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dawan_node.execution.module import (
    ORG_ADMIN,
    Configuration,
    Context,
    Credential,
    Identity,
    Organisation,
    OrgStatus,
    is_public_key,
    replace,
)
from dawan_node.modules.governance.declaration import (
    AUTHORITIES_MAX,
    IdentityEnrolled,
    NodeEntry,
    PastOrganisation,
    Proposal,
)
from dawan_node.modules.governance.nodes import put_node, require_node, require_unused_key
from dawan_node.primitives.names import is_label

#: BCP 47 tags of the alliance's languages; English is what every tool falls back to.
LANGUAGES: Final = ("en", "pt", "zh-Hans", "zh-Hant")
#: A company brings a validator-grade node and a standby at most; further ones it registers itself.
FIRST_NODES_MAX: Final = 4
#: Certificates of all organisations are compared: with eight each this is 800 organisations.
_ORGANISATIONS_SCANNED_MAX: Final = 1_000


def require_new_org(
    ctx: Context,
    org: str,
    names: Sequence[tuple[str, str]],
    ca: Sequence[bytes],
    admin: str,
    suite: str,
    public_key: bytes,
    nodes: Sequence[NodeEntry],
) -> None:
    """Fail unless an organisation may join like this."""
    ctx.require(is_label(org) and is_label(admin), "E_NAME")
    ctx.require(ctx.organisation(org) is None, "E_EXISTS")
    tags = [tag for tag, _ in names]
    ctx.require("en" in tags and all(tag in LANGUAGES for tag in tags), "E_VALUE")
    require_authorities(ctx, org, ca)
    ctx.require(ctx.identity(admin) is None, "E_EXISTS")
    ctx.require(is_public_key(suite, public_key), "E_KEY")
    require_unused_key(ctx, public_key)
    ctx.require(len(nodes) <= FIRST_NODES_MAX, "E_LIMIT")
    keys = [public_key, *[node.public_key for node in nodes]]
    ctx.require(len(set(keys)) == len(keys), "E_KEY_USED")
    ctx.require(len({node.name for node in nodes}) == len(nodes), "E_EXISTS")
    for node in nodes:
        require_node(ctx, org, node.name, node.suite, node.public_key, node.addresses)


def require_authorities(ctx: Context, org: str, ca: Sequence[bytes]) -> None:
    """Fail unless these certificates may be registered for ``org``: a certificate of two organisations would make
    every node certificate below it belong to neither. What they say inside is for the nodes to judge."""
    ctx.require(1 <= len(ca) <= AUTHORITIES_MAX and len(set(ca)) == len(ca), "E_CERTIFICATE")
    stored = {each.id: each for each in ctx.scan(Organisation, "by_id", limit=_ORGANISATIONS_SCANNED_MAX)}
    for other, record in sorted({**ctx.genesis.organisations, **stored}.items()):
        ctx.require(other == org or not any(certificate in record.ca for certificate in ca), "E_CERTIFICATE")


def require_status(ctx: Context, org: str, status: OrgStatus) -> None:
    """Fail unless ``org`` may get this status."""
    known = ctx.organisation(org)
    if known is None:
        ctx.fail("E_UNKNOWN")
    ctx.require(known.status not in (status, "removed"), "E_STATUS")
    if status == "active":
        return
    configuration = ctx.configuration()
    others = [founder for founder in configuration.active_founders if founder != org]
    # Where nobody is founding (a policy of members), the members play that part.
    left = others or [other for other in sorted(configuration.active_orgs) if other != org and not known.founding]
    ctx.require(len(left) > 0, "E_LAST_FOUNDER")
    if status == "removed":
        seats = [owner for _, owner, _, _ in configuration.validators]
        ctx.require(org not in seats, "E_SEATS")


def require_fresh(ctx: Context, org: str, opened_height: int, *, of_ca: bool) -> None:
    """Fail if the organisation's authorities (or else its status) changed after ``opened_height``: a passed proposal
    must not undo, weeks later and by one administrator's hand, what was decided since. The other of the two does not
    count, or a change of one held in reserve could void a change of the other."""
    known = require_known(ctx, org)
    for past in ctx.scan(PastOrganisation, "by_id", (org,), limit=_ORGANISATIONS_SCANNED_MAX):
        differs = past.ca != known.ca if of_ca else past.status != known.status
        ctx.require(not differs or past.until_height <= opened_height, "E_STALE")


def admit(ctx: Context, now: Configuration, proposal: Proposal) -> Configuration:
    """Enact: the organisation, its first administrator and its first nodes."""
    org = proposal.subject
    require_new_org(
        ctx,
        org,
        proposal.names,
        proposal.ca,
        proposal.admin,
        proposal.suite,
        proposal.public_key,
        proposal.nodes,
    )
    ctx.put(Organisation(org, proposal.names, False, proposal.ca, "active", ctx.height))
    admin, roles = proposal.admin, (ORG_ADMIN,)
    ctx.put(Identity(admin, org, roles, proposal.suite, proposal.public_key, "active", ctx.height))
    ctx.put(Credential(proposal.public_key, proposal.suite, admin, org, roles, ctx.height, 0))
    ctx.emit(IdentityEnrolled(name=admin, org=org, roles=list(roles), public_key=proposal.public_key))
    for node in proposal.nodes:
        put_node(ctx, org, node.name, node.suite, node.public_key, node.addresses)
    return replace(now, orgs=tuple(sorted([*now.orgs, (org, False, "active")])))


def set_status(ctx: Context, now: Configuration, org: str, status: OrgStatus) -> Configuration:
    """Enact: another status of an organisation."""
    require_status(ctx, org, status)
    _change(ctx, org, status=status)
    return replace(
        now,
        orgs=tuple([(other, founding, status if other == org else was) for other, founding, was in now.orgs]),
    )


def set_authorities(ctx: Context, now: Configuration, org: str, ca: tuple[bytes, ...]) -> Configuration:
    """Enact: other certificate authorities of an organisation."""
    require_authorities(ctx, org, ca)
    _change(ctx, org, ca=ca)
    return now


def _change(ctx: Context, org: str, **changes: OrgStatus | tuple[bytes, ...]) -> None:
    known = require_known(ctx, org)
    ctx.put(PastOrganisation(org, known.ca, known.status, known.since_height, ctx.height))
    ctx.put(replace(known, since_height=ctx.height, **changes))


def require_known(ctx: Context, org: str) -> Organisation:
    """The organisation, which must not have been removed."""
    known = ctx.organisation(org)
    if known is None or known.status == "removed":
        ctx.fail("E_UNKNOWN")
    return known
