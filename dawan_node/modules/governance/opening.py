"""Opening a proposal: who votes on it, how many must approve, until when."""

from __future__ import annotations

from dawan_node.execution.module import Context
from dawan_node.modules.governance.declaration import (
    VOTING_MS,
    NodeEntry,
    Proposal,
    ProposalKind,
    ProposalOpened,
)
from dawan_node.primitives.names import is_label


def open_proposal(
    ctx: Context,
    proposal_id: str,
    kind: ProposalKind,
    subject: str,
    *,
    value: int = 0,
    role: str = "",
    suite: str = "",
    public_key: bytes = b"",
    names: tuple[tuple[str, str], ...] = (),
    ca: tuple[bytes, ...] = (),
    admin: str = "",
    nodes: tuple[NodeEntry, ...] = (),
    possession: bytes = b"",
    policy: str = "",
) -> None:
    """Put a proposal to the vote, under the policy of its kind or the one named. Fails on a taken or malformed id."""
    ctx.require(is_label(proposal_id), "E_NAME")
    ctx.require(ctx.get(Proposal, proposal_id.encode()) is None, "E_EXISTS")
    electorate, needed = _policy(ctx, policy or kind)
    closes_ms = ctx.time_ms + VOTING_MS
    ctx.put(
        Proposal(
            proposal_id,
            kind,
            subject,
            value,
            role,
            suite,
            public_key,
            ctx.sender.org,
            ctx.time_ms,
            closes_ms,
            electorate,
            needed,
            (),
            (),
            "open",
            0,
            names,
            ca,
            admin,
            nodes,
            ctx.height,
            possession,
        )
    )
    ctx.emit(ProposalOpened(id=proposal_id, kind=kind, subject=subject, closes_ms=closes_ms))


def _policy(ctx: Context, kind: str) -> tuple[tuple[str, ...], int]:
    """Who votes on this kind and how many must approve: its own policy, else "default", else more than half of the
    founding organisations (design section 7)."""
    genesis = ctx.genesis.genesis
    policies = {policy.kind: policy for policy in genesis.policies}
    policy = policies.get(kind) or policies.get("default")
    everyone = policy is not None and policy.electorate == "members"
    configuration = ctx.configuration()
    electorate = tuple(sorted(configuration.active_orgs)) if everyone else configuration.active_founders
    # A policy that asks for more votes than there are organisations means all of them.
    needed = len(electorate) // 2 + 1 if policy is None else min(max(policy.votes, 1), len(electorate))
    return electorate, needed
