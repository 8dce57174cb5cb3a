"""Commitments: COMMIT and the end of it, on the channel whose process relies on an asset of another one.

A module commits by a proof of the reservation, made for this channel, this purpose and this process, and while it has
life left: so the one block in which this channel can commit is known to the source to be past. From then on only that
module ends the commitment: PASSED, when what it was for succeeded and the asset is the recipient's, or RETURNED. Either
is a record that is proven to the source channel, as is that there is none.
"""

from __future__ import annotations

from dawan_node.execution.module import Context, key_of, replace
from dawan_node.modules.light_client.declaration import NAME, Commitment, CommitmentEnded, Committed, module
from dawan_node.modules.light_client.proofs import source_of, used_up
from dawan_node.modules.light_client.reservations import commitment_name, reservation_of
from dawan_node.modules.refdata import parameter


@module.export("commit")
def commit(
    ctx: Context,
    proof: bytes,
    purpose: str,
    process: str,
    needed_until_ms: int,
    asset_module: str,
    recipient_orgs: tuple[str, ...],
) -> Commitment:
    """Commit a process of the calling module to an asset of ``asset_module``, reserved for it on another channel.

    The sender is of the organisation that reserved it; ``purpose`` is ``<calling module>.<purpose>`` in the
    reservation. It has to bind until ``needed_until_ms`` at least, and each of ``recipient_orgs`` can get it.

    Fails with E_PROOF_CHANNEL, E_PROOF_PURPOSE, E_PROOF_SUBJECT, E_PROOF_STALE, E_NOT_OWNER, E_RESERVATION_STATE,
    E_RESERVATION_TIME, E_RECIPIENT, E_RELIED_ON and as ``consume``.
    """
    said = used_up(ctx, proof, f"{NAME}:commit", ctx.caller, process)
    ctx.require((said.module, said.collection) == (NAME, "reservation"), "E_PROOF_SUBJECT")
    found = reservation_of(said.value) if said.value is not None else None
    if found is None or found.primary_key() != said.key or found.module != asset_module:
        ctx.fail("E_PROOF_SUBJECT")
    ctx.require(found.consumer == ctx.genesis.genesis.chain_id, "E_PROOF_CHANNEL")
    ctx.require((found.purpose, found.process) == (f"{ctx.caller}.{purpose}", process), "E_PROOF_PURPOSE")
    ctx.require(found.state == "RESERVED", "E_RESERVATION_STATE")
    ctx.require(found.org == ctx.sender.org, "E_NOT_OWNER")
    ctx.require(ctx.time_ms + parameter(ctx, "proof.min_life") <= found.commit_by_ms, "E_PROOF_STALE")
    ctx.require(needed_until_ms <= found.until_ms, "E_RESERVATION_TIME")
    orgs = [org for _, org in found.recipients]
    ctx.require(all(org in orgs for org in recipient_orgs), "E_RECIPIENT")
    name = commitment_name(said.chain_id, found.reservation)
    ctx.require(ctx.get(Commitment, key_of(name)) is None, "E_PROOF_USED")
    # The source lets its asset go at that time by its own clock, which may be ahead of this channel's.
    asset = (said.chain_id, found.module, found.asset)
    longest = ctx.scan(Commitment, "relied_on", asset, limit=1)
    ctx.require(not longest or longest[0].until_ms <= ctx.time_ms, "E_RELIED_ON")
    made = Commitment(
        commitment=name,
        chain_id=said.chain_id,
        source=source_of(ctx, said.chain_id).source,
        reservation=found.reservation,
        asset_module=found.module,
        asset=found.asset,
        facts=found.facts,
        recipient_orgs=tuple(orgs),
        module=ctx.caller,
        purpose=purpose,
        process=process,
        until_ms=found.until_ms,
        recipient_org="",
        committed_ms=ctx.time_ms,
        ended_ms=0,
        state="COMMITTED",
    )
    ctx.put(made)
    ctx.emit(Committed(commitment=name, asset=found.asset, process=process, until_ms=found.until_ms))
    return made


@module.export("conclude")
def conclude(ctx: Context, commitment: str, recipient_org: str = "") -> None:
    """End a commitment of the calling module: PASSED to ``recipient_org``, or RETURNED when that is empty.

    Passing leaves at least the time of the parameter ``lock.ttl`` before the reservation ends, in which the proof of it
    is brought to the source. Fails with E_UNKNOWN_COMMITMENT, E_COMMITMENT_STATE, E_COMMITMENT_OVER, E_RECIPIENT.
    """
    found = own_commitment(ctx, commitment)
    ctx.require(found.state == "COMMITTED", "E_COMMITMENT_STATE")
    if recipient_org:
        ctx.require(recipient_org in found.recipient_orgs, "E_RECIPIENT")
        ctx.require(ctx.time_ms + parameter(ctx, "lock.ttl") <= found.until_ms, "E_COMMITMENT_OVER")
    ended = replace(
        found,
        state="PASSED" if recipient_org else "RETURNED",
        recipient_org=recipient_org,
        ended_ms=ctx.time_ms,
    )
    ctx.put(ended)
    ctx.emit(CommitmentEnded(commitment=ended.commitment, state=ended.state))


@module.export("is_passable")
def is_passable(ctx: Context, commitment: str) -> bool:
    """Whether a commitment of the calling module can still end with PASSED. Fails with E_UNKNOWN_COMMITMENT."""
    found = own_commitment(ctx, commitment)
    return found.state == "COMMITTED" and ctx.time_ms + parameter(ctx, "lock.ttl") <= found.until_ms


@module.export("require_passable")
def require_passable(ctx: Context, commitment: str) -> None:
    """Fail unless a commitment of the calling module can still end with PASSED: E_COMMITMENT_STATE,
    E_COMMITMENT_OVER."""
    found = own_commitment(ctx, commitment)
    ctx.require(found.state == "COMMITTED", "E_COMMITMENT_STATE")
    ctx.require(ctx.time_ms + parameter(ctx, "lock.ttl") <= found.until_ms, "E_COMMITMENT_OVER")


def own_commitment(ctx: Context, commitment: str) -> Commitment:
    """A commitment of the calling module."""
    found = ctx.get(Commitment, key_of(commitment)) if commitment else None
    if found is None or found.module != ctx.caller:
        ctx.fail("E_UNKNOWN_COMMITMENT")
    return found
