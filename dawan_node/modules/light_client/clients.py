"""Clients of other channels: which one is believed, from which epoch on, and how it gets from one epoch to the next.

A vote of this channel's organisations begins it, because whoever chooses the first validators chooses what is true
over there. After that the source's own validators pass the trust on: the last block of an epoch, certified by the set
already trusted, names the next set, and anybody may bring it here. Until that is done the old set counts without an
end, so bring it soon: the keys it replaced may be in wrong hands (amendment U14).

Two certified blocks at one height mean that more than f of the source's validators lie. Then nothing of it can be
believed, whoever is right: the client freezes until a vote starts it anew, from an epoch the members agree on.
"""

from __future__ import annotations

from typing import Annotated, Final

from dawan_node.execution.module import ANY_ROLE, ORG_ADMIN, Args, Context, Hash32, Meta, ShortText, key_of, replace
from dawan_node.modules.light_client.declaration import (
    Client,
    ClientAdvanced,
    ClientChange,
    ClientFrozen,
    ClientRegistered,
    Epoch,
    module,
)
from dawan_node.primitives.light_client import (
    TrustedEpoch,
    claimed_header,
    next_validators,
    trusted_validators,
    verified_block,
)
from dawan_node.primitives.names import is_identifier, is_label
from dawan_node.primitives.proofs import PROOF_BYTES_MAX
from dawan_node.primitives.validators import VALIDATORS_MAX

#: Modules of one source that are believed; a channel of the alliance runs half a dozen.
MODULES_MAX: Final = 16
#: Epochs of one channel; a set that changed every day for a hundred years has had fewer.
EPOCHS_MAX: Final = 40_000

Proof = Annotated[bytes, Meta(min_length=1, max_length=PROOF_BYTES_MAX)]
SourceName = Annotated[str, Meta(min_length=1, max_length=32, description="name of a source channel")]


class Seat(Args):
    """One validator of a set, as ``chain_getValidators`` shows it."""

    public_key: Hash32
    suite: Annotated[str, Meta(min_length=1, max_length=32)] = "ed25519"


Seats = Annotated[list[Seat], Meta(min_length=1, max_length=VALIDATORS_MAX)]


class ProposeClient(Args):
    """``id`` names the proposal. ``chain_id``: hash of the source's genesis; ``validators``: those of ``epoch``, whose
    first height is ``first``; ``modules``: those of the source whose records are believed."""

    id: ShortText
    source: SourceName
    chain_id: Hash32
    validators: Seats
    modules: Annotated[list[ShortText], Meta(min_length=1, max_length=MODULES_MAX)]
    epoch: Annotated[int, Meta(ge=0, le=EPOCHS_MAX)] = 0
    first: Annotated[int, Meta(ge=1)] = 1


class Enact(Args):
    proposal: ShortText


class AdvanceClient(Args):
    """``proof``: FinalityProof of the last block of the client's epoch; ``validators``: the set that follows."""

    source: SourceName
    proof: Proof
    validators: Seats


class ReportConflict(Args):
    """Two FinalityProofs of one height of the source."""

    source: SourceName
    first: Proof
    second: Proof


@module.command("propose_client", args=ProposeClient, roles=(ORG_ADMIN,))
def propose_client(ctx: Context, args: ProposeClient) -> None:
    """Propose to believe another channel: by its chain id, the validators of one epoch and the modules concerned."""
    ctx.require(is_label(args.source) and args.chain_id != ctx.genesis.genesis.chain_id, "E_SOURCE")
    others = ctx.scan(Client, "by_chain", (args.chain_id,), limit=2)
    ctx.require(all(other.source == args.source for other in others), "E_SOURCE")
    ctx.require((args.epoch == 0) == (args.first == 1), "E_EPOCH")
    modules = tuple(sorted(args.modules))
    ctx.require(len(dict.fromkeys(modules)) == len(modules), "E_MODULES")
    ctx.require(all(is_identifier(name) for name in modules), "E_MODULES")
    validators = trusted_validators(_members(args.validators))
    if validators is None:
        ctx.fail("E_VALSET")
    subject = (
        f"{args.source} {args.chain_id.hex()} from height {args.first}, epoch {args.epoch}, "
        f"validators {validators.hash.hex()}, modules {' '.join(modules)}"
    )
    ctx.call("governance", "open_resolution", args.id, subject)
    ctx.put(
        ClientChange(
            proposal=args.id,
            subject=subject,
            source=args.source,
            chain_id=args.chain_id,
            epoch=args.epoch,
            first=args.first,
            validators=validators.members,
            modules=modules,
            standing=_standing(ctx, args.source),
        )
    )


@module.command("enact", args=Enact, roles=(ORG_ADMIN,))
def enact(ctx: Context, args: Enact) -> None:
    """Begin, or begin anew, the client that enough organisations approved."""
    change = ctx.get(ClientChange, key_of(args.proposal))
    if change is None:
        ctx.fail("E_UNKNOWN_CHANGE")
    ctx.call("governance", "enact_resolution", change.proposal, change.subject)
    others = ctx.scan(Client, "by_chain", (change.chain_id,), limit=2)
    ctx.require(all(other.source == change.source for other in others), "E_SOURCE")
    ctx.require(change.standing == _standing(ctx, change.source), "E_CLIENT_CHANGED")
    ctx.put(
        Client(
            source=change.source,
            chain_id=change.chain_id,
            modules=change.modules,
            first_epoch=change.epoch,
            epoch=change.epoch,
            state="ACTIVE",
            resolution=change.proposal,
        )
    )
    _learn(ctx, change.chain_id, change.epoch, change.first, change.validators)
    ctx.emit(ClientRegistered(source=change.source, chain_id=change.chain_id, epoch=change.epoch))


@module.command("advance_client", args=AdvanceClient, roles=ANY_ROLE)
def advance_client(ctx: Context, args: AdvanceClient) -> None:
    """Bring a client into the source's next epoch, by the certified block that ended the last one; anybody may."""
    client = active_client(ctx, args.source)
    epoch = existing_epoch(ctx, client.chain_id, client.epoch)
    trusted = trusted_epoch(epoch)
    found = verified_block(args.proof, trusted, ctx.is_signed) if trusted is not None else None
    if found is None:
        ctx.fail("E_PROOF")
    header, result = found
    ctx.require(header.barrier and result.next_valset_hash != header.valset_hash, "E_NOT_EPOCH_END")
    following = next_validators(header, result, _members(args.validators))
    if following is None or epoch.epoch == EPOCHS_MAX:
        ctx.fail("E_VALSET")
    ctx.put(replace(epoch, last=header.height))
    _learn(ctx, client.chain_id, epoch.epoch + 1, header.height + 1, following.members)
    ctx.put(replace(client, epoch=epoch.epoch + 1))
    ctx.emit(ClientAdvanced(source=client.source, epoch=epoch.epoch + 1, first=header.height + 1))


@module.command("report_conflict", args=ReportConflict, roles=ANY_ROLE)
def report_conflict(ctx: Context, args: ReportConflict) -> None:
    """Freeze a client by two proofs of one height that contradict each other; anybody may."""
    client = active_client(ctx, args.source)
    found = []
    for proof in (args.first, args.second):
        claimed = claimed_header(proof)
        trusted = epoch_of(ctx, client, claimed.epoch) if claimed is not None else None
        block = verified_block(proof, trusted, ctx.is_signed) if trusted is not None else None
        if block is None:
            ctx.fail("E_PROOF")
        found.append(block)
    (first, first_result), (second, second_result) = found
    # Another view, other signers or certificate bytes are normal (amendment U14).
    ctx.require(first.height == second.height, "E_NO_CONFLICT")
    ctx.require((first.hash, first_result.hash) != (second.hash, second_result.hash), "E_NO_CONFLICT")
    ctx.put(replace(client, state="FROZEN"))
    ctx.emit(ClientFrozen(source=client.source, height=first.height))


def existing_client(ctx: Context, source: str) -> Client:
    """The client of the channel of that name."""
    found = ctx.get(Client, key_of(source)) if is_label(source) else None
    if found is None:
        ctx.fail("E_UNKNOWN_CLIENT")
    return found


def active_client(ctx: Context, source: str) -> Client:
    """The same, not frozen."""
    found = existing_client(ctx, source)
    ctx.require(found.state == "ACTIVE", "E_CLIENT_FROZEN")
    return found


def existing_epoch(ctx: Context, chain_id: bytes, epoch: int) -> Epoch:
    """An epoch that a client stands in: it was written with the client."""
    found = ctx.get(Epoch, key_of(chain_id, epoch))
    if found is None:
        ctx.fail("E_PROOF")
    return found


def epoch_of(ctx: Context, client: Client, epoch: int) -> TrustedEpoch | None:
    """An epoch that the client knows; None for those before it began and after where it stands."""
    if not client.first_epoch <= epoch <= client.epoch:
        return None
    return trusted_epoch(existing_epoch(ctx, client.chain_id, epoch))


def trusted_epoch(epoch: Epoch) -> TrustedEpoch | None:
    """The record as verification takes it."""
    validators = trusted_validators(epoch.validators)
    if validators is None:
        return None
    return TrustedEpoch(epoch.chain_id, epoch.epoch, epoch.first, epoch.last or None, validators)


def _standing(ctx: Context, source: str) -> str:
    """How a client stands: what the members saw when they voted. A passed vote for another state decides nothing."""
    found = ctx.get(Client, key_of(source))
    if found is None:
        return ""
    last = existing_epoch(ctx, found.chain_id, found.epoch).last
    return f"{found.resolution} {found.epoch} {last} {found.state}"


def _learn(ctx: Context, chain_id: bytes, epoch: int, first: int, members: tuple[tuple[str, bytes], ...]) -> None:
    validators = trusted_validators(members)
    if validators is None:
        ctx.fail("E_VALSET")
    # The end of an epoch is a fact of the source's chain: whoever votes, what the old keys sign above it is nothing.
    known = ctx.get(Epoch, key_of(chain_id, epoch))
    same = known is not None and (known.first, known.valset_hash) == (first, validators.hash)
    last = known.last if known is not None and same else 0
    ctx.put(
        Epoch(
            chain_id=chain_id,
            epoch=epoch,
            first=first,
            last=last,
            validators=validators.members,
            valset_hash=validators.hash,
            learned_ms=ctx.time_ms,
        )
    )


def _members(seats: list[Seat]) -> list[tuple[str, bytes]]:
    return [(seat.suite, seat.public_key) for seat in seats]
