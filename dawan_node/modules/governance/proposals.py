"""Proposals: what one organisation cannot decide alone.

An administrator opens a proposal, one administrator per voting organisation approves or refuses, and when enough have
approved anybody may send ``enact``. Enacting is judged by state only (amendment L13): whether enough validators are
*live* is for the tools to check and for those who vote to weigh.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from dawan_node.execution.module import (
    ORG_ADMIN,
    VALIDATOR,
    Configuration,
    Context,
    OrgStatus,
    replace,
)
from dawan_node.modules.governance.declaration import (
    Enact,
    Proposal,
    ProposalEnacted,
    ProposalKind,
    ProposeFreeze,
    ProposeOrg,
    ProposeOrgCa,
    ProposeOrgRole,
    ProposeOrgStatus,
    ProposeParameter,
    Vote,
    VoteCast,
    module,
)
from dawan_node.modules.governance.opening import open_proposal
from dawan_node.modules.governance.organisations import (
    admit,
    require_authorities,
    require_fresh,
    require_known,
    require_new_org,
    require_status,
    set_authorities,
    set_status,
)
from dawan_node.modules.governance.validators import change_validators
from dawan_node.primitives.genesis import BLOCK_BYTES_CEILING, TX_LIFETIME_MS_CEILING
from dawan_node.primitives.names import is_identifier, is_label

#: Parameter -> least and greatest value that a vote can set. The upper bounds are what the protocol's caps allow: an
#: item list has at most 65,536 leaves, a window's blocks must fit a NEW-VIEW, a block must be fetched within a view.
PARAMETER_BOUNDS: Final = MappingProxyType(
    {
        "block_txs_max": (1, 10_000),
        "block_bytes_max": (128 * 1024, BLOCK_BYTES_CEILING),
        "tx_lifetime_ms_max": (10_000, TX_LIFETIME_MS_CEILING),
        "window": (1, 16),
        # Below 500 steps enact itself would not fit; above a million one transaction could stall a channel.
        "tx_steps_max": (500, 1_000_000),
    }
)

#: The status an enacted proposal of this kind gives its organisation.
_STATUS_OF: Final[MappingProxyType[str, OrgStatus]] = MappingProxyType(
    {"org_active": "active", "org_suspended": "suspended", "org_removed": "removed"}
)


@module.command("propose_parameter", args=ProposeParameter, roles=(ORG_ADMIN,))
def propose_parameter(ctx: Context, args: ProposeParameter) -> None:
    """Propose a new value of a channel parameter."""
    bounds = PARAMETER_BOUNDS.get(args.name)
    if bounds is None:
        ctx.fail("E_UNKNOWN")
    ctx.require(bounds[0] <= args.value <= bounds[1], "E_VALUE")
    open_proposal(ctx, args.id, "parameter", args.name, value=args.value)


@module.command("propose_freeze", args=ProposeFreeze, roles=(ORG_ADMIN,))
def propose_freeze(ctx: Context, args: ProposeFreeze) -> None:
    """Propose to stop all commands of a module, or to resume them."""
    ctx.require(args.module != module.name, "E_GOVERNANCE")
    known = [entry.name for entry in ctx.genesis.genesis.modules]
    ctx.require(args.module in known, "E_UNKNOWN")
    open_proposal(ctx, args.id, "freeze" if args.frozen else "unfreeze", args.module)


@module.command("propose_org_role", args=ProposeOrgRole, roles=(ORG_ADMIN,))
def propose_org_role(ctx: Context, args: ProposeOrgRole) -> None:
    """Propose that an organisation may give a reserved role to its identities."""
    ctx.require(ctx.is_org(args.org), "E_UNKNOWN")
    ctx.require(is_identifier(args.role) and args.role != VALIDATOR, "E_ROLES")
    open_proposal(ctx, args.id, "org_role", args.org, role=args.role)


@module.command("propose_org", args=ProposeOrg, roles=(ORG_ADMIN,))
def propose_org(ctx: Context, args: ProposeOrg) -> None:
    """Propose to take in an organisation, with its certificate authority, first administrator and nodes."""
    names = tuple(sorted(args.names.items()))
    ca, nodes = tuple(args.ca), tuple(args.nodes)
    require_new_org(ctx, args.org, names, ca, args.admin, args.suite, args.public_key, nodes)
    open_proposal(
        ctx,
        args.id,
        "org",
        args.org,
        suite=args.suite,
        public_key=args.public_key,
        names=names,
        ca=ca,
        admin=args.admin,
        nodes=nodes,
    )


@module.command("propose_org_status", args=ProposeOrgStatus, roles=(ORG_ADMIN,))
def propose_org_status(ctx: Context, args: ProposeOrgStatus) -> None:
    """Propose to suspend an organisation, to let it back, or to remove it for good."""
    require_status(ctx, args.org, args.status)
    kinds: dict[OrgStatus, ProposalKind] = {
        "active": "org_active",
        "suspended": "org_suspended",
        "removed": "org_removed",
    }
    open_proposal(ctx, args.id, kinds[args.status], args.org)


@module.command("propose_org_ca", args=ProposeOrgCa, roles=(ORG_ADMIN,))
def propose_org_ca(ctx: Context, args: ProposeOrgCa) -> None:
    """Propose other certificate authorities for an organisation, the old ones among them while they are in use."""
    require_known(ctx, args.org)
    require_authorities(ctx, args.org, args.ca)
    open_proposal(ctx, args.id, "org_ca", args.org, ca=tuple(args.ca))


@module.command("vote", args=Vote, roles=(ORG_ADMIN,))
def vote(ctx: Context, args: Vote) -> None:
    """Approve or refuse a proposal in the name of the sender's organisation; once, and for good."""
    proposal = _known(ctx, args.proposal)
    org = ctx.sender.org
    ctx.require(org in proposal.electorate, "E_NOT_ELECTOR")
    ctx.require(org not in proposal.approvals and org not in proposal.refusals, "E_VOTED")
    ctx.require(proposal.status == "open" and ctx.time_ms < proposal.closes_ms, "E_CLOSED")
    if args.approve:
        proposal = replace(proposal, approvals=(*proposal.approvals, org))
        if len(proposal.approvals) >= proposal.needed:
            proposal = replace(proposal, status="passed")
    else:
        proposal = replace(proposal, refusals=(*proposal.refusals, org))
        if len(proposal.electorate) - len(proposal.refusals) < proposal.needed:
            proposal = replace(proposal, status="rejected")
    ctx.put(proposal)
    ctx.emit(VoteCast(id=proposal.id, org=org, approve=args.approve, status=proposal.status))


@module.command("enact", args=Enact, roles=(ORG_ADMIN,))
def enact(ctx: Context, args: Enact) -> None:
    """Put a passed proposal into effect; a barrier command, alone in its block."""
    proposal = _known(ctx, args.proposal)
    ctx.require(proposal.kind != "resolution", "E_OTHER_MODULE")
    ctx.require(proposal.status == "passed", "E_NOT_PASSED")
    ctx.require(ctx.time_ms < proposal.closes_ms, "E_CLOSED")
    configuration = _changed(ctx, ctx.configuration(), proposal)
    ctx.put(replace(configuration, since_height=ctx.height))
    ctx.put(replace(proposal, status="enacted", enacted_height=ctx.height))
    ctx.emit(ProposalEnacted(id=proposal.id, kind=proposal.kind, subject=proposal.subject))


def _changed(ctx: Context, now: Configuration, proposal: Proposal) -> Configuration:
    """The configuration with the proposal's change, which is checked again: the state may have moved on."""
    subject = proposal.subject
    if proposal.kind == "parameter":
        params = {**dict(now.params), subject: proposal.value}
        return replace(now, params=tuple(sorted(params.items())))
    if proposal.kind == "freeze":
        others = [name for name in now.frozen_modules if name != subject]
        return replace(now, frozen_modules=tuple(sorted([*others, subject])))
    if proposal.kind == "unfreeze":
        return replace(now, frozen_modules=tuple([name for name in now.frozen_modules if name != subject]))
    if proposal.kind == "org_role":
        kept = [entry for entry in now.org_roles if entry != (subject, proposal.role)]
        return replace(now, org_roles=tuple(sorted([*kept, (subject, proposal.role)])))
    if proposal.kind == "org":
        return admit(ctx, now, proposal)
    if proposal.kind == "org_ca":
        require_fresh(ctx, subject, proposal.opened_height, of_ca=True)
        return set_authorities(ctx, now, subject, proposal.ca)
    if proposal.kind in _STATUS_OF:
        require_fresh(ctx, subject, proposal.opened_height, of_ca=False)
        return set_status(ctx, now, subject, _STATUS_OF[proposal.kind])
    return change_validators(ctx, now, proposal)


def _known(ctx: Context, proposal_id: str) -> Proposal:
    proposal = ctx.get(Proposal, proposal_id.encode()) if is_label(proposal_id) else None
    if proposal is None:
        ctx.fail("E_UNKNOWN")
    return proposal
