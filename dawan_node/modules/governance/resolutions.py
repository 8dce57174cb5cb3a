"""Resolutions: how another module puts a change of its own data to the channel's vote.

The module keeps *what* is proposed (immutable from then on, under the proposal's id) and governance keeps the vote: the
same proposals, ``vote`` and policies as for everything else, so an administrator has one list to look through. When
enough organisations approved, the module's own command carries the change out and calls ``enact_resolution`` first.

A resolution belongs to the module that opened it: ``subject`` begins with the module's name, which the node fills in
and no caller can choose, and no other module can enact it. The genesis may hold a policy of the module's name.
"""

from __future__ import annotations

from dawan_node.execution.module import ORG_ADMIN, Context, replace
from dawan_node.modules.governance.declaration import Proposal, ProposalEnacted, module
from dawan_node.modules.governance.opening import open_proposal
from dawan_node.primitives.names import is_label


@module.export("open_resolution")
def open_resolution(ctx: Context, proposal_id: str, subject: str) -> None:
    """Put a change of the calling module's data to the vote. ``subject`` tells voters what; a hash of it helps them.

    Fails with E_NOT_ADMIN, E_NAME, E_EXISTS.
    """
    ctx.require(ORG_ADMIN in ctx.sender.roles, "E_NOT_ADMIN")
    open_proposal(ctx, proposal_id, "resolution", _subject(ctx, subject), policy=ctx.caller)


@module.export("enact_resolution")
def enact_resolution(ctx: Context, proposal_id: str, subject: str) -> None:
    """Mark the calling module's passed resolution as carried out, once. ``subject`` must be what was voted on.

    Fails with E_UNKNOWN, E_NOT_PASSED, E_CLOSED.
    """
    found = ctx.get(Proposal, proposal_id.encode()) if is_label(proposal_id) else None
    if found is None or found.kind != "resolution" or found.subject != _subject(ctx, subject):
        ctx.fail("E_UNKNOWN")
    ctx.require(found.status == "passed", "E_NOT_PASSED")
    ctx.require(ctx.time_ms < found.closes_ms, "E_CLOSED")
    ctx.put(replace(found, status="enacted", enacted_height=ctx.height))
    ctx.emit(ProposalEnacted(id=found.id, kind=found.kind, subject=found.subject))


def _subject(ctx: Context, subject: str) -> str:
    return f"{ctx.caller}: {subject}"
