"""Evidence against validators, and who voted in which epoch, which it is judged by.

A validator that signed two contradicting statements is named for ever, whatever it does later. Nothing else follows by
itself: a validator is replaced or an organisation suspended by a vote, because whose fault a double vote was (a thief,
a copied disk, intent) is for people to judge (consensus.md 1.12).

Validators send evidence themselves, signed by their own keys: it must not wait for somebody to read a log. It is
self-proving, so it does not matter which of them does, nor whether that one is honest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dawan_node.execution.module import VALIDATOR, Context, Page, Params, QueryContext, key_of
from dawan_node.modules.governance.declaration import (
    Evidence,
    EvidenceRecorded,
    RecordEvidence,
    ValidatorEpoch,
    evidence_key,
    module,
)
from dawan_node.primitives.evidence import Flaw, examine

#: (name, organisation, suite, public key) of each validator.
Seats = tuple[tuple[str, str, str, bytes], ...]

#: How long after its end an epoch's statements are still evidence, in block time. A day is ample for what honest
#: validators send within seconds; a key that was voted out is guarded no longer than that.
ENDED_EPOCH_MS: Final = 24 * 3_600_000


class EvidenceParams(Params):
    """All evidence, or that against one validator."""

    validator: str = ""


@module.command("record_evidence", args=RecordEvidence, roles=(VALIDATOR,))
def record_evidence(ctx: Context, args: RecordEvidence) -> None:
    """Record that a validator signed two contradicting statements; sent by validators, whose keys it takes."""
    charge = examine(args.proof, ctx.genesis.genesis.chain_id)
    if isinstance(charge, Flaw):
        ctx.fail(charge.value)
    found = seats_of(ctx, charge.epoch)
    if found is None:
        ctx.fail("E_EPOCH")
    ended = ctx.get(ValidatorEpoch, key_of(charge.epoch + 1))
    ctx.require(ended is None or ctx.time_ms < ended.since_ms + ENDED_EPOCH_MS, "E_EPOCH_OVER")
    accused = [(name, org) for name, org, _, key in found if key == charge.public_key]
    ctx.require(len(accused) == 1, Flaw.NOT_VALIDATOR.value)
    kind = charge.offence.label
    known = ctx.get(Evidence, evidence_key(charge.public_key, charge.epoch, kind))
    ctx.require(known is None, "E_DUP_EVIDENCE")
    # Last, because it costs most: two signatures, whatever the proof.
    ctx.require(charge.is_signed(ctx.is_signed), Flaw.NOT_SIGNED.value)
    name, org = accused[0]
    ctx.put(
        Evidence(
            charge.public_key,
            charge.epoch,
            kind,
            name,
            org,
            args.proof,
            ctx.height,
            ctx.time_ms,
            ctx.sender.name,
            ctx.tx_id,
        )
    )
    ctx.emit(
        EvidenceRecorded(
            validator=name,
            org=org,
            kind=kind,
            epoch=charge.epoch,
            public_key=charge.public_key,
            recorded_by=ctx.sender.name,
        )
    )


def begin_epoch(ctx: Context, validators: Seats) -> int:
    """Enact: from the next height on ``validators`` vote, in a new epoch (amendment U3), whose number this is."""
    newest = ctx.scan(ValidatorEpoch, "newest", limit=1)
    number = newest[0].number + 1 if newest else 1
    ctx.put(ValidatorEpoch(number, ctx.height + 1, ctx.time_ms, validators))
    return number


def seats_of(ctx: Context | QueryContext, epoch: int) -> Seats | None:
    """Who votes, or voted, in an epoch; None when the chain has not come to it."""
    if epoch == 0:
        return ctx.genesis.configuration.validators
    found = ctx.get(ValidatorEpoch, key_of(epoch))
    return None if found is None else found.validators


@module.query("evidence", params=EvidenceParams, item=Evidence)
def evidence(ctx: QueryContext, params: EvidenceParams, limit: int, cursor: bytes | None) -> Page[Evidence]:
    """Evidence in the order it was recorded, or that against one validator by epoch and kind."""
    if params.validator:
        return ctx.page(Evidence, "by_validator", (params.validator,), limit=limit, cursor=cursor)
    return ctx.page(Evidence, "by_height", limit=limit, cursor=cursor)


@module.invariant("evidence_proves_itself")
def evidence_proves_itself(ctx: QueryContext) -> Iterator[str]:
    """Every record follows from its own proof and from who voted in its epoch."""
    for record in ctx.iterate(Evidence, "by_height"):
        charge = examine(record.proof, ctx.genesis.genesis.chain_id)
        if isinstance(charge, Flaw):
            yield f"the evidence against {record.validator} is flawed: {charge.value}"
            continue
        if (charge.public_key, charge.epoch, charge.offence.label) != (record.public_key, record.epoch, record.kind):
            yield f"the evidence against {record.validator} proves something else"
        voters = [(name, org, key) for name, org, _, key in seats_of(ctx, record.epoch) or ()]
        if (record.validator, record.org, record.public_key) not in voters:
            yield f"{record.validator} did not vote with that key in epoch {record.epoch}"
        if not charge.is_signed(ctx.is_signed):
            yield f"the evidence against {record.validator} is not signed by its key"


@module.invariant("epochs_follow_each_other")
def epochs_follow_each_other(ctx: QueryContext) -> Iterator[str]:
    """Epochs are numbered without a gap, their heights ascend, and the newest one's validators are those in force."""
    number, height, voters = 0, 0, ctx.genesis.configuration.validators
    for epoch in ctx.iterate(ValidatorEpoch, "by_number"):
        if epoch.number != number + 1 or epoch.from_height <= height:
            yield f"epoch {epoch.number} from height {epoch.from_height} does not follow epoch {number}"
        number, height, voters = epoch.number, epoch.from_height, epoch.validators
    if voters != ctx.configuration().validators:
        yield f"the validators in force are not those of epoch {number}"
