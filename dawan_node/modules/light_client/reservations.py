"""Reservations: RESERVE and the end of it, on the channel that has the asset.

The owner binds an asset to one process on one other channel. That channel commits to it, or does not, before the
reservation's term is over; what it did there is proven here:

    RESERVED --proof that it committed--> CONFIRMED
    RESERVED | CONFIRMED --proof that the process succeeded--> PASSED      the asset is a recipient's
    RESERVED | CONFIRMED --proof that the process ended--> RELEASED        the asset is free
    RESERVED --proof that nothing was committed when the term was over--> RELEASED

A term alone releases nothing: the other channel may have committed in its last second, and its message may be lost. So
both sides go by *its* clock. Whatever it does after the term, it cannot commit any more; a block of it that was made
then and shows no commitment is the proof. What ends by this channel's clock is the lock itself, at ``until_ms``: the
last resort when the other channel is gone. It is known to both from the beginning, and nothing succeeds over there so
late that the proof could not come in time.

The asset's own module locks it, calls ``reserve`` and ``settle``, and moves it as the answer says.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from dawan_node.execution.module import Context, QueryContext, key_of, replace
from dawan_node.modules.light_client.clients import active_client
from dawan_node.modules.light_client.declaration import (
    BINDING_STATES,
    NAME,
    Commitment,
    Reservation,
    ReservationConfirmed,
    ReservationPassed,
    ReservationReleased,
    Reserved,
    module,
)
from dawan_node.modules.light_client.proofs import NAME_BYTES_MAX, used_up
from dawan_node.modules.refdata import parameter

_NUMBER: Final = re.compile("[A-Z0-9][A-Z0-9-]{0,39}")
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,31}")
#: What a module on the other channel has to know of an asset: a handful of names and hashes.
FACTS_MAX: Final = 16
FACT_CHARS_MAX: Final = 200
#: Nominated, confirming and issuing bank, and one to spare.
RECIPIENTS_MAX: Final = 4


def lock_owner(reservation: str) -> str:
    """The owner of the kernel's lock of a reserved asset; the name of no identity and no process."""
    return f"{NAME}:{reservation}"


def commitment_name(chain_id: bytes, reservation: str) -> str:
    """Under which the other channel keeps its commitment to a reservation of the channel ``chain_id``."""
    return f"{chain_id.hex()}/{reservation}"


@module.export("reserve")
def reserve(
    ctx: Context,
    number: str,
    asset: str,
    facts: tuple[tuple[str, str], ...],
    recipients: tuple[tuple[str, str], ...],
    channel: str,
    purpose: str,
    process: str,
    commit_by_ms: int,
    until_ms: int,
) -> Reservation:
    """Record that the sender's asset is reserved for a process on another channel; the calling module locks it.

    ``channel``: a source of this channel, whose commitments have to be believed here. ``commit_by_ms`` 0: for the time
    of the parameter ``lock.ttl``. Fails with E_UNKNOWN_CLIENT, E_CLIENT_FROZEN, E_PROOF_SCOPE, E_RESERVATION,
    E_RESERVATION_TIME, E_DUP_RESERVATION.
    """
    client = active_client(ctx, channel)
    ctx.require(NAME in client.modules, "E_PROOF_SCOPE")
    upper = number.upper() if number.isascii() else ""
    ctx.require(_NUMBER.fullmatch(upper) is not None, "E_RESERVATION")
    ctx.require(_PURPOSE.fullmatch(purpose) is not None, "E_RESERVATION")
    ctx.require(all(0 < len(name.encode()) <= NAME_BYTES_MAX for name in (asset, process)), "E_RESERVATION")
    ctx.require(0 < len(recipients) <= RECIPIENTS_MAX and len(facts) <= FACTS_MAX, "E_RESERVATION")
    # Over there an organisation is all that is known of who shall get it: so each has one who does.
    orgs = [org for _, org in recipients]
    ctx.require(len(dict.fromkeys(orgs)) == len(orgs), "E_RESERVATION")
    ctx.require(all(len(text) <= FACT_CHARS_MAX for fact in facts for text in fact), "E_RESERVATION")
    commit_by = commit_by_ms or ctx.time_ms + parameter(ctx, "lock.ttl")
    ctx.require(ctx.time_ms + parameter(ctx, "proof.min_life") <= commit_by <= until_ms, "E_RESERVATION_TIME")
    reservation = f"{ctx.sender.name}/{upper}"
    ctx.require(ctx.get(Reservation, key_of(reservation)) is None, "E_DUP_RESERVATION")
    ctx.require(live_reservation(ctx, ctx.caller, asset) is None, "E_DUP_RESERVATION")
    made = Reservation(
        reservation=reservation,
        module=ctx.caller,
        asset=asset,
        facts=facts,
        owner=ctx.sender.name,
        org=ctx.sender.org,
        consumer=client.chain_id,
        purpose=purpose,
        process=process,
        recipients=recipients,
        commit_by_ms=commit_by,
        until_ms=until_ms,
        recipient="",
        state="RESERVED",
    )
    ctx.put(made)
    ctx.emit(
        Reserved(
            reservation=reservation,
            asset=asset,
            consumer=client.chain_id,
            process=process,
            commit_by_ms=commit_by,
            until_ms=until_ms,
        )
    )
    return made


@module.export("settle")
def settle(ctx: Context, reservation: str, proof: bytes) -> Reservation:
    """What a proof from the other channel makes of a reservation of the calling module; anybody may bring it.

    In state PASSED the asset is ``recipient``'s, in RELEASED it is free; the calling module moves or unlocks it. Fails
    with E_UNKNOWN_RESERVATION, E_RESERVATION_STATE, E_PROOF_CHANNEL, E_PROOF_SUBJECT, E_NOT_EXPIRED, E_RECIPIENT and as
    ``consume``.
    """
    found = ctx.get(Reservation, key_of(reservation)) if reservation else None
    if found is None or found.module != ctx.caller:
        ctx.fail("E_UNKNOWN_RESERVATION")
    ctx.require(found.state in BINDING_STATES, "E_RESERVATION_STATE")
    said = used_up(ctx, proof, f"{NAME}:settle", found.module, reservation)
    ctx.require(said.chain_id == found.consumer, "E_PROOF_CHANNEL")
    name = commitment_name(ctx.genesis.genesis.chain_id, reservation)
    ctx.require((said.module, said.collection, said.key) == (NAME, "commitment", key_of(name)), "E_PROOF_SUBJECT")
    if said.value is None:
        # No commitment in a block of that time or later: there never will be one.
        ctx.require(found.state == "RESERVED", "E_RESERVATION_STATE")
        ctx.require(said.time_ms >= found.commit_by_ms, "E_NOT_EXPIRED")
        settled = replace(found, state="RELEASED")
    else:
        settled = _as_committed(ctx, found, said.value)
    ctx.put(settled)
    if settled.state == "CONFIRMED":
        ctx.emit(ReservationConfirmed(reservation=reservation))
    elif settled.state == "PASSED":
        ctx.emit(ReservationPassed(reservation=reservation, recipient=settled.recipient))
    else:
        ctx.emit(ReservationReleased(reservation=reservation, unused=said.value is None))
    return settled


def live_reservation(ctx: Context | QueryContext, owner: str, asset: str) -> Reservation | None:
    """The reservation that binds an asset of a module now: not settled, and its end has not come."""
    longest = ctx.scan(Reservation, "binding", (owner, asset), limit=1)
    return longest[0] if longest and ctx.time_ms < longest[0].until_ms else None


def reservation_of(value: bytes) -> Reservation | None:
    """A reservation as another channel's proof shows it; None when the value is none."""
    try:
        found: Reservation = Reservation.spec.decode(value)
    except msgspec.MsgspecError:
        return None
    return found


def _as_committed(ctx: Context, found: Reservation, value: bytes) -> Reservation:
    try:
        commitment: Commitment = Commitment.spec.decode(value)
    except msgspec.MsgspecError:
        ctx.fail("E_PROOF")
    if commitment.state == "COMMITTED":
        ctx.require(found.state == "RESERVED", "E_RESERVATION_STATE")
        return replace(found, state="CONFIRMED")
    if commitment.state == "RETURNED":
        return replace(found, state="RELEASED")
    named = [name for name, org in found.recipients if org == commitment.recipient_org]
    ctx.require(len(named) == 1, "E_RECIPIENT")
    return replace(found, state="PASSED", recipient=named[0])
