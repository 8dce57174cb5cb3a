"""The happy path H and the abuses A1 to A5 of domain.md M4, through real blocks with invariants after each.

Every abuse also comes in one block with what it competes with, in both orders.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from dawan_node.execution.module import key_of
from dawan_node.interchange.epcis import read_epcis
from dawan_node.modules.logistics.entities import DeclarationState, EventRecord, ShipmentState
from dawan_node.modules.logistics.gs1 import canonical_uri
from tests.modules.logistics_kit import BARGE, BOX, GATE, HOUR, LOGGER, MINUTE, SHIP, Channel, pallet


@pytest.fixture
def channel() -> Channel:
    return Channel()


def test_h_a_reefer_box_with_vaccine_goes_from_yantian_over_hong_kong_to_macau_watched_for_72_hours(
    channel: Channel,
) -> None:
    channel.issue()
    shipment = channel.book(planned_arrival_ms=channel.start + 60 * HOUR)
    channel.watch()
    box = channel.goods(1)[0]
    pallets = [pallet(number) for number in (2, 3)]
    channel.ok("maker", "capture_event", event=channel.event("ADD", pallets, parent=box))
    channel.ok("maker", "hand_over", items=[box], to="hk")
    channel.ok("line", "take_over", items=[box], from_org="gz")
    (where,) = channel.query("track", item=pallets[0])
    assert (where.custodian, len(where.inside)) == ("hk", 1)

    channel.did("yantian", "GTIN", "CNYTN")
    channel.did("line", "LOAD", "CNYTN")
    channel.did("line", "DEPA", "CNYTN")
    # 72 hours, a sample each five minutes; once three samples are too warm: four intervals from good to good.
    calm = [5_000] * 288
    channel.record(calm, every=5 * MINUTE)
    channel.did("line", "ARRI", "HKHKG")
    channel.did("kwai-chung", "DISC", "HKHKG")
    channel.did("kwai-chung", "LOAD", "HKHKG", vessel=BARGE)
    channel.did("line", "DEPA", "HKHKG", vessel=BARGE)
    receipt = channel.record([5_000, 8_500, 9_000, 8_001, 8_000], every=MINUTE)
    assert [name for name, _ in receipt.events] == ["ExcursionStarted", "ExcursionEnded"]
    (excursion,) = channel.query("excursions", shipment=shipment)
    assert (excursion.kind, excursion.to_ms - excursion.from_ms) == ("TEMPERATURE", 4 * MINUTE)
    channel.record(calm, every=5 * MINUTE)
    channel.record(calm[:287], every=5 * MINUTE)

    channel.did("line", "ARRI", "MOMFM", vessel=BARGE)
    channel.did("ka-ho", "ARRI", "MOMFM", vessel=BARGE)
    channel.did("ka-ho", "DISC", "MOMFM", vessel=BARGE)
    (times,) = channel.query("timeliness", shipment=shipment)
    assert times.agreed_ms >= channel.start + 72 * HOUR - 10 * MINUTE
    assert times.delay_ms == times.agreed_ms - (channel.start + 60 * HOUR) > 11 * HOUR
    assert times.free_until_ms == times.discharged_ms + 5 * 24 * HOUR

    key = channel.lodge()
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "examine_declaration", **key, how="SCAN")
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 120_000])
    channel.expect("E_DUTY", "customs-mo", "release_declaration", **key)
    payment = {"bank": "BNULMOMX", "reference": "D-1", "payer": "clinic", "payee": "customs-mo"}
    payment |= {"amount": ["MOP", 120_000], "value_date": "2025-11-28"}
    channel.ok("bank", "pay_duty", **key, **payment)
    assert channel.shipment().state == ShipmentState.DISCHARGED
    receipt = channel.ok("customs-mo", "release_declaration", **key)
    assert "CustomsReleased" in [name for name, _ in receipt.events]
    assert channel.shipment().state == ShipmentState.RELEASED
    channel.surrender()
    channel.did("ka-ho", "GTOT", "MOMFM")
    channel.ok("clinic", "deliver", **channel.delivery())
    channel.ok("customs-mo", "close_declaration", **key)

    assert channel.shipment().state == ShipmentState.DELIVERED
    chain = channel.chain()
    assert (chain.breached_ms, chain.total_ms, chain.samples) == (0, 4 * MINUTE, 288 * 3 + 4)
    assert channel.box().shipment == ""
    (_, *batches) = channel.query("sensor_batches", shipment=shipment)
    assert len(batches) == 3 and all(batch.to_ms > batch.from_ms for batch in batches)
    channel.ok("line", "hand_over", items=[box], to="mo")
    channel.ok("clinic", "take_over", items=[box], from_org="hk")
    channel.ok("clinic", "capture_event", event=channel.event("DELETE", [], parent=box))
    entries = channel.query("custody", item=pallets[1])
    assert [(entry.kind, entry.to_org) for entry in entries] == [("FIRST", "gz"), ("PACKED", "gz"), ("UNPACKED", "mo")]


# --- A1: the same events again

MESSAGE = {
    "type": "AggregationEvent",
    "eventTime": "2025-11-24T23:59:00.1234+08:00",
    "eventTimeZoneOffset": "+08:00",
    "action": "ADD",
    "parentID": pallet(1),
    "childEPCs": [pallet(2), pallet(3)],
    "bizStep": "packing",
    "readPoint": {"id": "urn:epc:id:sgln:4012345.00011.0"},
}
RESENT = {
    "readPoint": {"id": "https://id.gs1.org/414/4012345000115"},
    "childEPCs": [canonical_uri(pallet(3)), pallet(2)],
    "bizStep": "urn:epcglobal:cbv:bizstep:packing",
    "eventTimeZoneOffset": "+08:00",
    "parentID": canonical_uri(pallet(1)).replace("id.gs1.org/00", "box.example.com/sscc") + "?x=1",
    "recordTime": "2025-11-25T00:00:00Z",
    "eventID": "urn:uuid:0",
    "eventTime": "2025-11-24T15:59:00.123Z",
    "action": "ADD",
    "type": "AggregationEvent",
}


def args_of(message: dict[str, Any]) -> dict[str, Any]:
    (draft,) = read_epcis(json.dumps(message).encode()).events
    return {"event": draft.event, "digest": draft.digest}


def test_a1_events_resent_in_another_key_order_and_time_zone_are_no_second_events(channel: Channel) -> None:
    channel.gate()
    args, again = args_of(MESSAGE), args_of(RESENT)
    assert args["digest"] == again["digest"] and args["event"] != again["event"]
    channel.ok("maker", "capture_event", **args)
    before = channel.state()
    receipt = channel.ok("maker", "capture_event", **again)
    assert (receipt.events, channel.state()) == ([], before)
    assert len(channel.query("events")) == 1


@pytest.mark.parametrize("order", [(MESSAGE, RESENT), (RESENT, MESSAGE)])
def test_a1_both_spellings_in_one_block_are_one_event(channel: Channel, order: tuple[dict[str, Any], ...]) -> None:
    channel.gate()
    calls = [channel.call("maker", "capture_event", **args_of(message)) for message in order]
    first, second = channel.kit.block(*calls)
    assert (first.code, second.code, len(first.events), second.events) == (0, 0, 1, [])
    (event,) = channel.query("events")
    assert event.digest == args_of(MESSAGE)["digest"] and channel.item(pallet(2)).custody == 2


@pytest.mark.parametrize("first", ["maker", "line"])
def test_a1_an_event_another_organisation_captured_is_not_captured_again(channel: Channel, first: str) -> None:
    (epc,) = channel.goods(1)
    gates = {name: channel.gate(name, f"https://example.com/{name}") for name in ("maker", "line")}
    # Without a read point, only who has the item may say so.
    event = channel.event("OBSERVE", [epc])
    order = sorted(gates, key=lambda name: name != first)
    reasons = dict(
        zip(order, channel.race(*[channel.call(n, "capture_event", event=event) for n in order]), strict=True)
    )
    assert reasons["maker"] == "" and reasons["line"] == ("E_NOT_CUSTODIAN" if first == "line" else "E_CAPTURED")


# --- A2: a back-dated arrival


def test_a2_a_forwarder_cannot_state_an_arrival_and_a_party_cannot_back_date_one(channel: Channel) -> None:
    channel.book()
    channel.sail(until="DEPA")
    departed = channel.shipment().changed_ms
    channel.kit.pass_time(30 * HOUR)
    early = channel.step("line", "ARRI", "MOMFM", time_ms=channel.start + 20 * HOUR)
    receipt = channel.kit.run("agent", "state_milestone", early)
    assert (receipt.code, receipt.reason) == (2, "E_ROLE")
    channel.expect("E_NOT_PARTY", "rival-line", "state_milestone", **early)
    channel.expect("E_MILESTONE_TIME", "line", "state_milestone", **(early | {"time_ms": departed - 1}))
    # The carrier says it came in time; the terminal says what it saw: nobody can claim or deny by one of them alone.
    channel.ok("line", "state_milestone", **early)
    channel.did("ka-ho", "ARRI", "MOMFM")
    (times,) = channel.query("timeliness", shipment="hk/B-1")
    assert (times.by_carrier_ms, times.agreed_ms, times.delay_ms) == (channel.start + 20 * HOUR, 0, 0)
    assert times.by_terminal_ms > times.planned_ms
    # Corrected within the day the two agree, and the first word stays.
    position = channel.shipment().milestones - 2
    time_ms = channel.start + 29 * HOUR + 50 * MINUTE
    correction = {"shipment": "hk/B-1", "position": position, "time_ms": time_ms, "reason": "wrong line"}
    channel.expect("E_NOT_CAPTURER", "ka-ho", "correct_milestone", **correction)
    channel.ok("line", "correct_milestone", **correction)
    (times,) = channel.query("timeliness", shipment="hk/B-1")
    assert times.delay_ms > 5 * HOUR
    (was,) = channel.milestone(position).corrections
    assert (was.time_ms, was.reason) == (early["time_ms"], "wrong line")
    channel.kit.pass_time(25 * HOUR)
    channel.expect("E_SETTLED", "line", "correct_milestone", **(correction | {"time_ms": early["time_ms"]}))
    channel.expect("E_SETTLED", "line", "retract_milestone", shipment="hk/B-1", position=position, reason="never mind")


def test_a2_an_arrival_stated_long_after_is_marked(channel: Channel) -> None:
    channel.book()
    channel.sail(until="DEPA")
    arrived = channel.kit.time_ms
    channel.kit.pass_time(25 * HOUR)
    channel.did("line", "ARRI", "MOMFM", time_ms=arrived)
    assert channel.milestone(channel.shipment().milestones - 1).late


@pytest.mark.parametrize("first", ["line", "ka-ho"])
def test_a2_carrier_and_terminal_state_an_arrival_in_one_block_and_both_stand(channel: Channel, first: str) -> None:
    channel.book()
    channel.sail(until="DEPA")
    channel.kit.pass_time(30 * HOUR)
    times = {"line": channel.kit.time_ms - 12 * HOUR, "ka-ho": channel.kit.time_ms}
    order = sorted(times, key=lambda name: name != first)
    calls = [
        channel.call(name, "state_milestone", **channel.step(name, "ARRI", "MOMFM", time_ms=times[name]))
        for name in order
    ]
    assert channel.race(*calls) == ["", ""]
    (seen,) = channel.query("timeliness", shipment="hk/B-1")
    assert (seen.by_carrier_ms, seen.by_terminal_ms, seen.agreed_ms) == (times["line"], times["ka-ho"], 0)
    assert channel.shipment().state == ShipmentState.ARRIVED


# --- A3: telemetry


def test_a3_a_gap_in_the_samples_is_an_excursion(channel: Channel) -> None:
    channel.book()
    channel.watch()
    channel.record([5_000] * 3)
    receipt = channel.record([5_000, 5_000], every=11 * MINUTE)
    assert "ColdChainBreached" in [name for name, _ in receipt.events]
    assert channel.chain().total_ms == 22 * MINUTE
    gaps = channel.query("excursions", shipment="hk/B-1")
    assert [(gap.kind, gap.to_ms - gap.from_ms) for gap in gaps] == [("GAP", 11 * MINUTE)] * 2
    assert channel.chain().longest_ms == 11 * MINUTE


def test_a3_warm_samples_and_a_gap_between_them_are_one_excursion(channel: Channel) -> None:
    channel.book()
    channel.watch()
    channel.record([5_000, 9_000])
    channel.record([9_000, 5_000], every=6 * MINUTE)
    (excursion,) = channel.query("excursions", shipment="hk/B-1")
    assert (excursion.kind, excursion.to_ms - excursion.from_ms) == ("BOTH", 13 * MINUTE)


def test_a3_a_gap_of_exactly_the_limit_is_none_and_one_millisecond_more_is(channel: Channel) -> None:
    channel.book()
    channel.watch()
    channel.record([5_000], every=5 * MINUTE)
    assert (channel.chain().total_ms, channel.chain().open_ms) == (0, 0)
    channel.record([5_000], every=5 * MINUTE + 1)
    assert channel.chain().total_ms == 5 * MINUTE + 1


def test_a3_the_silence_before_delivery_counts(channel: Channel) -> None:
    channel.issue()
    channel.book()
    channel.watch()
    channel.record([5_000] * 3)
    channel.kit.pass_time(2 * HOUR)
    channel.sail()
    channel.release()
    channel.surrender()
    channel.did("ka-ho", "GTOT", "MOMFM")
    channel.ok("clinic", "deliver", **channel.delivery())
    assert channel.chain().breached_ms and channel.chain().longest_ms > 2 * HOUR


def test_a3_fahrenheit_sent_as_celsius_is_refused_and_leaves_a_gap(channel: Channel) -> None:
    channel.book()
    channel.watch(unit="FAH")
    # -16 to -13 degrees Celsius are 3 to 8 Fahrenheit: sent as Celsius they would look like a fridge.
    wrong = channel.samples([4_000, 5_000], unit="CEL")
    channel.expect("E_UOM", "sensors", "record_samples", **wrong)
    channel.expect("E_UNKNOWN_DEVICE", "other-sensors", "record_samples", **(wrong | {"unit": "FAH"}))
    channel.record([41_000], unit="FAH", every=20 * MINUTE)
    assert channel.chain().breached_ms and channel.chain().total_ms == 20 * MINUTE


def test_a3_both_scales_meet_exactly_at_the_limits(channel: Channel) -> None:
    channel.book()
    channel.watch(unit="FAH")
    # 8 degrees Celsius are 46.4 Fahrenheit, 2 are 35.6.
    channel.record([46_400, 35_600, 40_000], unit="FAH")
    assert channel.chain().total_ms == 0
    channel.record([46_401, 40_000], unit="FAH")
    assert channel.chain().total_ms == 2 * MINUTE
    channel.record([35_599], unit="FAH")
    assert channel.chain().open_ms


@pytest.mark.parametrize("first", [0, 1])
def test_a3_of_two_series_for_one_time_in_one_block_one_counts(channel: Channel, first: int) -> None:
    channel.book()
    channel.watch()
    hot, cool = channel.samples([9_000, 9_500, 5_000]), channel.samples([5_000, 5_000, 5_000])
    order = [hot, cool] if first == 0 else [cool, hot]
    calls = [channel.call("sensors", "record_samples", **series) for series in order]
    assert channel.race(*calls) == ["", "E_SAMPLE_ORDER"]
    assert (channel.chain().total_ms > 0) == (first == 0)
    before = channel.state()
    assert channel.ok("sensors", "record_samples", **order[0]).events == []
    assert channel.state() == before


# --- A4: in two places at once


def test_a4_a_pallet_is_packed_in_one_parent_at_a_time(channel: Channel) -> None:
    one, two, inner = channel.goods(1, 2, 3)
    channel.ok("maker", "capture_event", event=channel.event("ADD", [inner], parent=one))
    channel.expect("E_HAS_PARENT", "maker", "capture_event", event=channel.event("ADD", [inner], parent=two))
    channel.expect("E_CYCLE", "maker", "capture_event", event=channel.event("ADD", [one], parent=inner))
    channel.expect("E_CYCLE", "maker", "capture_event", event=channel.event("ADD", [one], parent=one))
    channel.expect("E_NOT_PACKED", "maker", "capture_event", event=channel.event("DELETE", [inner], parent=two))
    channel.ok("maker", "capture_event", event=channel.event("DELETE", [inner], parent=one))
    channel.ok("maker", "capture_event", event=channel.event("ADD", [inner], parent=two))


@pytest.mark.parametrize("first", [0, 1])
def test_a4_packed_in_two_parents_in_one_block_the_first_counts(channel: Channel, first: int) -> None:
    one, two, inner = channel.goods(1, 2, 3)
    parents = [one, two] if first == 0 else [two, one]
    calls = [
        channel.call("maker", "capture_event", event=channel.event("ADD", [inner], parent=parent)) for parent in parents
    ]
    assert channel.race(*calls) == ["", "E_HAS_PARENT"]
    assert channel.item(inner).parent == channel.item(parents[0]).epc


@pytest.mark.parametrize("first", [0, 1])
def test_a4_a_box_is_aboard_one_vessel(channel: Channel, first: int) -> None:
    channel.book()
    channel.did("yantian", "GTIN", "CNYTN")
    vessels = [SHIP, BARGE] if first == 0 else [BARGE, SHIP]
    calls = [
        channel.call(person, "state_milestone", **channel.step(person, "LOAD", "CNYTN", vessel=vessel))
        for person, vessel in zip(["line", "yantian"], vessels, strict=True)
    ]
    assert channel.race(*calls) == ["", "E_VESSEL"]
    assert channel.box().vessel == channel.shipment().vessel == vessels[0]
    other = channel.booking("B-9", document="HK-LINE/HKG-0043")
    channel.expect("E_EQUIPMENT_BUSY", "line", "book_shipment", **other)


@pytest.mark.parametrize("first", ["line", "rival-line"])
def test_a4_two_carriers_book_one_box_in_one_block(channel: Channel, first: str) -> None:
    order = sorted(["line", "rival-line"], key=lambda name: name != first)
    calls = [channel.call(person, "book_shipment", **channel.booking()) for person in order]
    assert channel.race(*calls) == ["", "E_EQUIPMENT_BUSY"]
    assert channel.box(BOX).shipment.startswith("hk/" if first == "line" else "rival/")


# --- A5: delivery without a title, release without customs


def test_a5_a_terminal_cannot_deliver_on_a_copy_before_surrender(channel: Channel) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.release()
    out = channel.step("ka-ho", "GTOT", "MOMFM")
    channel.expect("E_NOT_SURRENDERED", "ka-ho", "state_milestone", **out)
    channel.expect("E_NOT_SURRENDERED", "ka-ho", "deliver", **channel.delivery())
    channel.expect("E_KEPT_HERE", "line", "state_surrender", shipment="hk/B-1")
    channel.surrender()
    channel.expect("E_STATE", "ka-ho", "deliver", **channel.delivery())
    channel.did("ka-ho", "GTOT", "MOMFM")
    channel.ok("ka-ho", "deliver", **channel.delivery())


@pytest.mark.parametrize("surrender_first", [True, False])
def test_a5_surrender_and_gate_out_in_one_block(channel: Channel, surrender_first: bool) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.release()
    surrender = channel.call("line", "set_status", at="title", document="HK-LINE/HKG-0042", status="SURRENDERED")
    out = channel.call("ka-ho", "state_milestone", **channel.step("ka-ho", "GTOT", "MOMFM"))
    reasons = channel.race(surrender, out) if surrender_first else channel.race(out, surrender)
    assert reasons == (["", ""] if surrender_first else ["E_NOT_SURRENDERED", ""])


def test_a5_a_broker_cannot_release_nor_customs_of_another_place(channel: Channel) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.surrender()
    key = channel.lodge()
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 0])
    for person in ("broker", "broker-hk", "agent", "line"):
        receipt = channel.kit.run(person, "release_declaration", key)
        assert (receipt.code, receipt.reason) == (2, "E_ROLE")
    channel.expect("E_JURISDICTION", "customs-hk", "release_declaration", **key)
    channel.expect("E_NOT_RELEASED", "ka-ho", "state_milestone", **channel.step("ka-ho", "GTOT", "MOMFM"))


@pytest.mark.parametrize("release_first", [True, False])
def test_a5_release_and_gate_out_in_one_block(channel: Channel, release_first: bool) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.surrender()
    key = channel.lodge()
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 0])
    release = channel.call("customs-mo", "release_declaration", **key)
    out = channel.call("ka-ho", "state_milestone", **channel.step("ka-ho", "GTOT", "MOMFM"))
    reasons = channel.race(release, out) if release_first else channel.race(out, release)
    assert reasons == (["", ""] if release_first else ["E_NOT_RELEASED", ""])


@pytest.mark.parametrize("seizure_first", [True, False])
def test_a5_seizure_and_gate_out_in_one_block(channel: Channel, seizure_first: bool) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.surrender()
    key = channel.release()
    seizure = channel.call("customs-mo", "seize_declaration", **key, reason="counterfeit")
    out = channel.call("ka-ho", "state_milestone", **channel.step("ka-ho", "GTOT", "MOMFM"))
    reasons = channel.race(seizure, out) if seizure_first else channel.race(out, seizure)
    assert reasons == (["", "E_NOT_RELEASED"] if seizure_first else ["", ""])
    assert channel.declared().state == DeclarationState.SEIZED
    if not seizure_first:
        channel.expect("E_NOT_RELEASED", "ka-ho", "deliver", **channel.delivery())


def test_the_record_of_an_event_says_when_it_was_recorded(channel: Channel) -> None:
    channel.gate()
    args = args_of(MESSAGE)
    channel.ok("maker", "capture_event", **args)
    record = channel.kit.get(EventRecord, key_of(args["digest"]))
    assert record is not None and record.recorded_ms == channel.kit.time_ms > record.time_ms
    assert (record.read_point, LOGGER != GATE) == (GATE, True)
