"""What can be asked of the light clients, and what must always hold of them."""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import Page, Params, QueryContext, key_of
from dawan_node.modules.light_client.declaration import (
    Client,
    Commitment,
    Epoch,
    Reservation,
    Use,
    module,
)
from dawan_node.primitives.light_client import trusted_validators


class NoParams(Params):
    """All of them."""


class SourceParams(Params):
    """A source channel, by its name here."""

    source: str


class OwnerParams(Params):
    """The reservations of one owner, or that one of them."""

    owner: str
    reservation: str = ""


class AssetParams(Params):
    """An asset of a module, or all of the module's, the reservation that lasts longest first."""

    module: str
    asset: str = ""


class ModuleParams(Params):
    """A module that has assets."""

    module: str


class ProcessParams(Params):
    """A process of a module, or all of the module's."""

    module: str
    process: str = ""


@module.query("clients", params=NoParams, item=Client)
def clients(ctx: QueryContext, params: NoParams, limit: int, cursor: bytes | None) -> Page[Client]:
    """The source channels: which epoch each client is in, and whether it is frozen."""
    return ctx.page(Client, "by_source", limit=limit, cursor=cursor)


@module.query("epochs", params=SourceParams, item=Epoch)
def epochs(ctx: QueryContext, params: SourceParams, limit: int, cursor: bytes | None) -> Page[Epoch]:
    """The epochs of a source that are known here, in order, with their validators and heights."""
    client = ctx.get(Client, key_of(params.source)) if params.source else None
    if client is None:
        return Page((), None)
    return ctx.page(Epoch, "by_chain", (client.chain_id,), limit=limit, cursor=cursor)


@module.query("uses", params=ProcessParams, item=Use)
def uses(ctx: QueryContext, params: ProcessParams, limit: int, cursor: bytes | None) -> Page[Use]:
    """The proofs that were used for something."""
    return ctx.page(Use, "by_subject", _prefix(params.module, params.process), limit=limit, cursor=cursor)


@module.query("reservations", params=OwnerParams, item=Reservation)
def reservations(ctx: QueryContext, params: OwnerParams, limit: int, cursor: bytes | None) -> Page[Reservation]:
    """What somebody reserved for processes on other channels."""
    return ctx.page(Reservation, "by_owner", _prefix(params.owner, params.reservation), limit=limit, cursor=cursor)


@module.query("reserved", params=AssetParams, item=Reservation)
def reserved(ctx: QueryContext, params: AssetParams, limit: int, cursor: bytes | None) -> Page[Reservation]:
    """The reservations an asset had and has."""
    return ctx.page(Reservation, "by_asset", _prefix(params.module, params.asset), limit=limit, cursor=cursor)


@module.query("binding", params=ModuleParams, item=Reservation)
def binding(ctx: QueryContext, params: ModuleParams, limit: int, cursor: bytes | None) -> Page[Reservation]:
    """The reservations of a module's assets that are not settled: for each of them a proof has to be brought."""
    return ctx.page(Reservation, "binding", (params.module,), limit=limit, cursor=cursor)


@module.query("commitments", params=ProcessParams, item=Commitment)
def commitments(ctx: QueryContext, params: ProcessParams, limit: int, cursor: bytes | None) -> Page[Commitment]:
    """What processes of this channel rely on, or relied on, of other channels."""
    return ctx.page(Commitment, "by_process", _prefix(params.module, params.process), limit=limit, cursor=cursor)


@module.invariant("epochs_follow")
def epochs_follow(ctx: QueryContext) -> Iterator[str]:
    """A client's epochs follow each other without a gap, only the last has no end, and each has its own set."""
    for client in ctx.iterate(Client, "by_source"):
        known = [
            epoch
            for epoch in ctx.iterate(Epoch, "by_chain", (client.chain_id,))
            if client.first_epoch <= epoch.epoch <= client.epoch
        ]
        if [epoch.epoch for epoch in known] != list(range(client.first_epoch, client.epoch + 1)):
            yield f"{client.source}: epochs {[epoch.epoch for epoch in known]}, the client is in {client.epoch}"
        for place, epoch in enumerate(known):
            validators = trusted_validators(epoch.validators)
            if validators is None or validators.hash != epoch.valset_hash:
                yield f"{client.source}: the set of epoch {epoch.epoch} is another one"
            ends = known[place + 1].first - 1 if place + 1 < len(known) else 0
            # A client that a vote took back to an epoch that is over keeps where it ended.
            if not ends and ctx.get(Epoch, key_of(client.chain_id, epoch.epoch + 1)) is not None:
                ends = epoch.last
            if epoch.last != ends or (ends and not epoch.first <= ends):
                yield f"{client.source}: epoch {epoch.epoch} is {epoch.first} to {epoch.last}, the next one says {ends}"


@module.invariant("one_process")
def one_process(ctx: QueryContext) -> Iterator[str]:
    """An asset here has one reservation that binds; an asset elsewhere has one process here that relies on it, by a
    proof that was used up for it."""
    binding: dict[tuple[str, str], str] = {}
    for reservation in ctx.iterate(Reservation, "binding"):
        if reservation.until_ms <= ctx.time_ms:
            continue
        before = binding.setdefault((reservation.module, reservation.asset), reservation.reservation)
        if before != reservation.reservation:
            yield f"{reservation.asset} is reserved by {before} and {reservation.reservation}"
    relied: dict[tuple[bytes, str, str], str] = {}
    for commitment in ctx.iterate(Commitment, "by_process"):
        used = list(ctx.iterate(Use, "by_subject", (commitment.module, commitment.process, "light_client:commit")))
        if not used:
            yield f"{commitment.commitment} rests on no proof"
        if (commitment.ended_ms > 0) != (commitment.state != "COMMITTED"):
            yield f"{commitment.commitment} is {commitment.state} and ended at {commitment.ended_ms}"
        if (commitment.recipient_org != "") != (commitment.state == "PASSED"):
            yield f"{commitment.commitment} is {commitment.state} and passes to {commitment.recipient_org!r}"
        # After PASSED the asset is the recipient's, which may reserve it anew.
        if commitment.state != "COMMITTED" or commitment.until_ms <= ctx.time_ms:
            continue
        asset = (commitment.chain_id, commitment.asset_module, commitment.asset)
        before = relied.setdefault(asset, commitment.commitment)
        if before != commitment.commitment:
            yield f"{commitment.asset} is relied on by {before} and {commitment.commitment}"


def _prefix(first: str, second: str) -> tuple[str, ...]:
    return (first, second) if second else (first,)
