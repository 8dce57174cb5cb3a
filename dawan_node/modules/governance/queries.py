"""What can be asked of governance, and what must always hold of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from dawan_node.execution.module import (
    ORG_ADMIN,
    Configuration,
    Credential,
    Identity,
    NodeRecord,
    Organisation,
    Page,
    Params,
    QueryContext,
    RevocationRecord,
    key_of,
)
from dawan_node.modules.governance.declaration import PastOrganisation, Proposal, module


class IdentitiesParams(Params):
    """All identities, or those of one organisation."""

    org: str = ""


class KeyParams(Params):
    """One public key."""

    public_key: bytes


class ProposalsParams(Params):
    """All proposals, or those of one status."""

    status: Literal["", "open", "passed", "rejected", "enacted"] = ""


class OrgParams(Params):
    """All, or those of one organisation."""

    org: str = ""


class NoParams(Params):
    """Nothing."""


@module.query("identities", params=IdentitiesParams, item=Identity)
def identities(ctx: QueryContext, params: IdentitiesParams, limit: int, cursor: bytes | None) -> Page[Identity]:
    """Identities by name, revoked ones included."""
    after = "" if cursor is None else cursor.decode("utf-8", "replace")
    wanted = [
        identity
        for name, identity in sorted(all_identities(ctx).items())
        if name > after and params.org in ("", identity.org)
    ]
    items = tuple(wanted[:limit])
    return Page(items, key_of(items[-1].name) if len(wanted) > limit else None)


@module.query("credential", params=KeyParams, item=Credential)
def credential(ctx: QueryContext, params: KeyParams, limit: int, cursor: bytes | None) -> Page[Credential]:
    """What a public key stands for, and from which height to which it stood for it."""
    found = ctx.credential(params.public_key)
    return Page(() if found is None else (found,), None)


@module.query("proposals", params=ProposalsParams, item=Proposal)
def proposals(ctx: QueryContext, params: ProposalsParams, limit: int, cursor: bytes | None) -> Page[Proposal]:
    """Proposals by id, or by status and id."""
    if params.status:
        return ctx.page(Proposal, "by_status", (params.status,), limit=limit, cursor=cursor)
    return ctx.page(Proposal, "by_id", limit=limit, cursor=cursor)


@module.query("configuration", params=NoParams, item=Configuration)
def configuration(ctx: QueryContext, params: NoParams, limit: int, cursor: bytes | None) -> Page[Configuration]:
    """The channel's parameters, validators, frozen modules and granted roles."""
    return Page((ctx.configuration(),), None)


@module.query("organisations", params=NoParams, item=Organisation)
def organisations(ctx: QueryContext, params: NoParams, limit: int, cursor: bytes | None) -> Page[Organisation]:
    """Organisations by id, removed ones included."""
    after = "" if cursor is None else cursor.decode("utf-8", "replace")
    wanted = [record for org, record in sorted(all_organisations(ctx).items()) if org > after]
    items = tuple(wanted[:limit])
    return Page(items, key_of(items[-1].id) if len(wanted) > limit else None)


@module.query("organisation_history", params=OrgParams, item=PastOrganisation)
def organisation_history(
    ctx: QueryContext, params: OrgParams, limit: int, cursor: bytes | None
) -> Page[PastOrganisation]:
    """What organisations' records said before they said what they say now, by id and height."""
    prefix = (params.org,) if params.org else ()
    return ctx.page(PastOrganisation, "by_id", prefix, limit=limit, cursor=cursor)


@module.query("nodes", params=OrgParams, item=NodeRecord)
def nodes(ctx: QueryContext, params: OrgParams, limit: int, cursor: bytes | None) -> Page[NodeRecord]:
    """Registered nodes by name, or those of one organisation; removed ones included."""
    if params.org:
        return ctx.page(NodeRecord, "by_org", (params.org,), limit=limit, cursor=cursor)
    return ctx.page(NodeRecord, "by_name", limit=limit, cursor=cursor)


@module.query("revocations", params=NoParams, item=RevocationRecord)
def revocations(ctx: QueryContext, params: NoParams, limit: int, cursor: bytes | None) -> Page[RevocationRecord]:
    """The revocation lists each organisation published last."""
    return ctx.page(RevocationRecord, "by_org", limit=limit, cursor=cursor)


def all_organisations(ctx: QueryContext) -> Mapping[str, Organisation]:
    """Every organisation by id: those of the genesis, overridden by what the state says now."""
    stored = {record.id: record for record in ctx.iterate(Organisation, "by_id")}
    return {**ctx.genesis.organisations, **stored}


def all_identities(ctx: QueryContext) -> Mapping[str, Identity]:
    """Every identity by name: those of the genesis, overridden by what the state says now."""
    stored = {identity.name: identity for identity in ctx.iterate(Identity, "by_name")}
    return {**ctx.genesis.identities, **stored}


@module.invariant("keys_and_identities_agree")
def keys_and_identities_agree(ctx: QueryContext) -> Iterator[str]:
    """An active identity's key is open and names it; a revoked identity's key is closed."""
    for name, identity in sorted(all_identities(ctx).items()):
        record = ctx.credential(identity.public_key)
        if record is None or (record.name, record.org, record.roles) != (name, identity.org, identity.roles):
            yield f"the key of {name} does not name it"
        elif (record.until_height == 0) != (identity.status == "active"):
            yield f"{name} is {identity.status} but its key ended at {record.until_height}"


@module.invariant("orgs_keep_an_admin")
def orgs_keep_an_admin(ctx: QueryContext) -> Iterator[str]:
    """An organisation that ever had an administrator has an active one."""
    admins = [identity for identity in all_identities(ctx).values() if ORG_ADMIN in identity.roles]
    active = {identity.org for identity in admins if identity.status == "active"}
    for org in sorted({identity.org for identity in admins}):
        if org not in active:
            yield f"{org} has no active administrator"


@module.invariant("validators_are_distinct")
def validators_are_distinct(ctx: QueryContext) -> Iterator[str]:
    """No two validators share a name or a key."""
    members = ctx.configuration().validators
    if len({name for name, _, _, _ in members}) != len(members):
        yield "two validators share one name"
    if len({key for _, _, _, key in members}) != len(members):
        yield "two validators share one key"


@module.invariant("organisations_agree")
def organisations_agree(ctx: QueryContext) -> Iterator[str]:
    """The configuration and the organisations' records name the same members with the same status, a founder among
    the active where there ever was one, and no certificate is registered twice."""
    records = all_organisations(ctx)
    configuration = ctx.configuration()
    if list(configuration.orgs) != [(org, record.founding, record.status) for org, record in sorted(records.items())]:
        yield "the configuration and the organisations' records differ"
    if any(record.founding for record in records.values()) and not configuration.active_founders:
        yield "no founding organisation is active"
    certificates = [certificate for _, record in sorted(records.items()) for certificate in record.ca]
    if len({*certificates}) != len(certificates):
        yield "two organisations share one certificate"


@module.invariant("nodes_are_distinct")
def nodes_are_distinct(ctx: QueryContext) -> Iterator[str]:
    """No two nodes share a key, and no node's key is a person's."""
    records = list(ctx.iterate(NodeRecord, "by_name"))
    if len({node.public_key for node in records}) != len(records):
        yield "two nodes share one key"
    for node in records:
        if ctx.credential(node.public_key) is not None:
            yield f"node {node.name} has the key of a person"
