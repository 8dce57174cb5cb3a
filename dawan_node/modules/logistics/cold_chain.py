"""Cold chains: whether goods stayed within their limits, from samples, in integers.

A temperature is compared in ninths of a thousandth of a degree Celsius, in which thousandths of a degree of either
scale are whole numbers: nothing is rounded. Between two samples nobody looked, so an interval counts as outside when
either end is; an excursion lasts from the last good sample before it to the first good one after it. An interval longer
than the rule allows between samples is an excursion too, whatever its ends say: silence hides nothing.

A device has one unit for good. A series in another unit is refused, and so is a sample outside the measuring range;
what is refused leaves a gap. The samples are in the transaction, because validators cannot check what they do not see;
the state keeps extremes, excursions and the hash of the series (values that no rule needs stay off chain).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, ShortText, key_of, replace, tagged_hash
from dawan_node.modules.logistics.capture import require_not_future
from dawan_node.modules.logistics.checks import live_shipment
from dawan_node.modules.logistics.declaration import ColdChainBreached, ExcursionEnded, ExcursionStarted, module
from dawan_node.modules.logistics.entities import (
    ColdChain,
    ColdRule,
    Device,
    Excursion,
    ExcursionKind,
    SensorBatch,
    Shipment,
    Unit,
)
from dawan_node.modules.logistics.event_form import EventTime, Uri
from dawan_node.modules.logistics.gs1 import canonical_uri
from dawan_node.primitives.encoding import encode

BATCH_TAG: Final = b"dawan:logistics:samples:v1"
#: A sample each minute for 16 hours; each is two small integers in a transaction of 64 KiB.
SAMPLES_MAX: Final = 1_000
#: Devices that watch one shipment: one or two in each box.
DEVICES_MAX: Final = 100
#: Liquid nitrogen to the deck in the sun, with room, in either unit.
MILLI_MAX: Final = 1_000_000
#: The longest time a rule may name.
RULE_MS_MAX: Final = 366 * 24 * 3_600_000

Milli = Annotated[int, Meta(ge=-MILLI_MAX, le=MILLI_MAX)]
Duration = Annotated[int, Meta(ge=0, le=RULE_MS_MAX)]


class RegisterDevice(Args):
    """``low_milli`` and ``high_milli``: the measuring range, in thousandths of ``unit``."""

    device: Uri
    unit: Unit
    low_milli: Milli
    high_milli: Milli


class WatchShipment(Args):
    """The limits are included; ``gap_ms``: the longest time between two samples."""

    shipment: ShortText
    device: Uri
    unit: Unit
    low_milli: Milli
    high_milli: Milli
    single_ms: Duration
    total_ms: Duration
    gap_ms: Annotated[int, Meta(ge=1_000, le=RULE_MS_MAX)]


class Sample(Args):
    time_ms: EventTime
    milli: Milli


class RecordSamples(Args):
    shipment: ShortText
    device: Uri
    unit: Unit
    samples: Annotated[list[Sample], Meta(min_length=1, max_length=SAMPLES_MAX)]


@module.command("register_device", args=RegisterDevice, roles=("iot_provider",))
def register_device(ctx: Context, args: RegisterDevice) -> None:
    """A provider registers a logger with the unit it measures in, for good, and its measuring range."""
    uri = canonical_uri(args.device)
    ctx.require(ctx.get(Device, key_of(uri)) is None, "E_DUP_DEVICE")
    ctx.require(args.low_milli < args.high_milli, "E_RULE")
    ctx.put(Device(uri, ctx.sender.org, args.unit, args.low_milli, args.high_milli))


@module.command("watch_shipment", args=WatchShipment, roles=("carrier", "shipper"))
def watch_shipment(ctx: Context, args: WatchShipment) -> None:
    """Shipper or carrier sets the rule a device watches from now on; a rule that is set is not changed."""
    shipment = live_shipment(ctx, args.shipment)
    ctx.require(ctx.sender.org in (shipment.carrier, shipment.shipper), "E_NOT_PARTY")
    uri = canonical_uri(args.device)
    device = ctx.get(Device, key_of(uri))
    if device is None:
        ctx.fail("E_UNKNOWN_DEVICE")
    ctx.require(not ctx.scan(ColdChain, "watching", (uri,), limit=1), "E_WATCHED")
    ctx.require(ctx.get(ColdChain, key_of(args.shipment, uri)) is None, "E_WATCHED")
    # All are ended at delivery, in one transaction.
    others = ctx.scan(ColdChain, "by_shipment", (args.shipment,), limit=DEVICES_MAX)
    ctx.require(len(others) < DEVICES_MAX, "E_WATCHED")
    rule = ColdRule(args.unit, args.low_milli, args.high_milli, args.single_ms, args.total_ms, args.gap_ms)
    low, high = ninths(rule.low_milli, rule.unit), ninths(rule.high_milli, rule.unit)
    within = ninths(device.low_milli, device.unit) <= low <= high <= ninths(device.high_milli, device.unit)
    ctx.require(within and args.single_ms <= args.total_ms, "E_RULE")
    ctx.put(
        ColdChain(
            shipment=args.shipment,
            device=uri,
            rule=rule,
            from_ms=ctx.time_ms,
            last_ms=ctx.time_ms,
            last_out=False,
            open_ms=0,
            open_kind="TEMPERATURE",
            excursions=0,
            longest_ms=0,
            total_ms=0,
            samples=0,
            breached_ms=0,
            ended_ms=0,
        )
    )


@module.command("record_samples", args=RecordSamples, roles=("iot_provider",))
def record_samples(ctx: Context, args: RecordSamples) -> None:
    """The device's provider records a series of samples, each later than all before; the rule is applied to it."""
    uri = canonical_uri(args.device)
    device = ctx.get(Device, key_of(uri))
    if device is None or device.org != ctx.sender.org:
        ctx.fail("E_UNKNOWN_DEVICE")
    ctx.require(args.unit == device.unit, "E_UOM")
    digest = batch_digest(uri, args.unit, [(sample.time_ms, sample.milli) for sample in args.samples])
    known = ctx.get(SensorBatch, key_of(digest))
    if known is not None:
        # The same series sent again, as gateways do.
        ctx.require(known.shipment == args.shipment, "E_SAMPLE_ORDER")
        return
    chain = ctx.get(ColdChain, key_of(args.shipment, uri))
    if chain is None or chain.ended_ms:
        ctx.fail("E_NOT_WATCHED")
    values = [sample.milli for sample in args.samples]
    times = [sample.time_ms for sample in args.samples]
    ctx.require(device.low_milli <= min(values) and max(values) <= device.high_milli, "E_SAMPLE_RANGE")
    ctx.require(chain.last_ms < times[0] or (chain.samples == 0 and chain.last_ms == times[0]), "E_SAMPLE_ORDER")
    ctx.require(all(times[place] < times[place + 1] for place in range(len(times) - 1)), "E_SAMPLE_ORDER")
    require_not_future(ctx, times[-1])
    for sample in args.samples:
        chain = _advance(ctx, chain, sample.time_ms, is_outside(chain.rule, sample.milli, args.unit))
    ctx.put(replace(chain, samples=chain.samples + len(values)))
    ctx.put(
        SensorBatch(
            digest=digest,
            shipment=args.shipment,
            device=uri,
            unit=args.unit,
            from_ms=times[0],
            to_ms=times[-1],
            samples=len(values),
            low_milli=min(values),
            high_milli=max(values),
            recorded_ms=ctx.time_ms,
            by=ctx.sender.name,
        )
    )


def ninths(milli: int, unit: str) -> int:
    """Thousandths of a degree as ninths of a thousandth of a degree Celsius: exact for both scales."""
    return 9 * milli if unit == "CEL" else 5 * (milli - 32_000)


def is_outside(rule: ColdRule, milli: int, unit: str) -> bool:
    """Whether a temperature lies outside the rule's limits."""
    return not ninths(rule.low_milli, rule.unit) <= ninths(milli, unit) <= ninths(rule.high_milli, rule.unit)


def batch_digest(device: str, unit: str, samples: Sequence[tuple[int, int]]) -> bytes:
    """The hash of a series: of its device, unit and (time, value) pairs."""
    return tagged_hash(BATCH_TAG, encode([device, unit, [[time_ms, milli] for time_ms, milli in samples]]))


def end_watches(ctx: Context, shipment: Shipment, time_ms: int) -> None:
    """The goods are delivered: what no sample covers up to then counts like any other gap."""
    for chain in ctx.scan(ColdChain, "by_shipment", (shipment.shipment,), limit=DEVICES_MAX):
        if chain.ended_ms:
            continue
        end_ms = max(time_ms, chain.last_ms)
        ctx.put(replace(_advance(ctx, chain, end_ms, outside=False), ended_ms=end_ms))


def _advance(ctx: Context, chain: ColdChain, time_ms: int, outside: bool) -> ColdChain:
    """The chain after the interval from its last sample to the one at ``time_ms``."""
    silent = time_ms - chain.last_ms > chain.rule.gap_ms
    if silent or outside or chain.last_out:
        chain = _measure(ctx, _open(ctx, chain, "GAP" if silent else "TEMPERATURE"), time_ms)
    if not outside:
        chain = _close(ctx, chain, time_ms)
    return replace(chain, last_ms=time_ms, last_out=outside)


def _open(ctx: Context, chain: ColdChain, kind: ExcursionKind) -> ColdChain:
    if chain.open_ms:
        return chain if chain.open_kind in (kind, "BOTH") else replace(chain, open_kind="BOTH")
    ctx.emit(ExcursionStarted(shipment=chain.shipment, device=chain.device, from_ms=chain.last_ms))
    return replace(chain, open_ms=chain.last_ms, open_kind=kind)


def _measure(ctx: Context, chain: ColdChain, time_ms: int) -> ColdChain:
    """Add the interval to the totals; a breach is noticed when it happens, not when the excursion ends."""
    total_ms = chain.total_ms + time_ms - chain.last_ms
    longest_ms = max(chain.longest_ms, time_ms - chain.open_ms)
    breached_ms = chain.breached_ms
    if not breached_ms and (longest_ms > chain.rule.single_ms or total_ms > chain.rule.total_ms):
        breached_ms = ctx.time_ms
        ctx.emit(ColdChainBreached(shipment=chain.shipment, device=chain.device))
    return replace(chain, total_ms=total_ms, longest_ms=longest_ms, breached_ms=breached_ms)


def _close(ctx: Context, chain: ColdChain, to_ms: int) -> ColdChain:
    if not chain.open_ms:
        return chain
    closed = Excursion(chain.shipment, chain.device, chain.excursions, chain.open_kind, chain.open_ms, to_ms)
    ctx.put(closed)
    ctx.emit(
        ExcursionEnded(
            shipment=chain.shipment, device=chain.device, kind=chain.open_kind, from_ms=chain.open_ms, to_ms=to_ms
        )
    )
    return replace(chain, open_ms=0, excursions=chain.excursions + 1)
