"""What the logistics module refuses of shipments, cold chains and declarations, and what it lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.modules.logistics.entities import DeclarationState, ShipmentState
from tests.modules.logistics_kit import BARGE, BOX, HOUR, LOGGER, MINUTE, Channel


@pytest.fixture
def channel() -> Channel:
    return Channel()


# --- shipments and milestones


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"number": "B/1"}, "E_REFERENCE"),
        ({"number": "Ｂ1"}, "E_REFERENCE"),
        ({"consignee": "nobody"}, "E_UNKNOWN_ORG"),
        ({"load_place": "CNSZX"}, "E_PLACE"),
        ({"discharge_place": "CNYTN"}, "E_PLACE"),
        ({"terminals": [{"place": "cnytn", "org": "yantian"}]}, "E_PLACE"),
        ({"terminals": [{"place": "CNYTN", "org": "yantian"}] * 2}, "E_PLACE"),
        ({"equipment": ["CSQ3054383"]}, "E_EQUIPMENT"),
        ({"equipment": [BOX, "csqu 305438-3"]}, "E_EQUIPMENT_BUSY"),
        ({"document": ""}, "E_DOCUMENT"),
        ({"document_kind": "NONE"}, "E_DOCUMENT"),
        ({"planned_arrival_ms": 0}, "E_PLAN"),
        ({"registry": "ELSEWHERE"}, "E_KEPT_HERE"),
    ],
)
def test_a_booking_names_what_exists(channel: Channel, change: dict[str, Any], reason: str) -> None:
    channel.issue()
    channel.expect(reason, "line", "book_shipment", **(channel.booking() | change))


def test_a_wrong_check_digit_is_a_warning_and_a_number_is_used_once(channel: Channel) -> None:
    channel.book(equipment=["CSQU3054384"])
    assert channel.shipment().warnings == ("CSQU3054384: check digit",)
    channel.expect("E_DUP_SHIPMENT", "line", "book_shipment", **channel.booking("b-1"))
    channel.expect("E_NOT_PARTY", "rival-line", "cancel_shipment", shipment="hk/B-1")
    channel.ok("line", "cancel_shipment", shipment="hk/B-1")
    channel.expect("E_STATE", "line", "cancel_shipment", shipment="hk/B-1")
    channel.expect("E_UNKNOWN_SHIPMENT", "line", "cancel_shipment", shipment="hk/B-2")
    channel.book("B-2", equipment=["CSQU3054384"])
    assert [found.shipment for found in channel.query("shipments", equipment="CSQU3054384")] == ["hk/B-1", "hk/B-2"]


def test_a_goods_place_beyond_the_three_customs_is_refused(channel: Channel) -> None:
    terminals = [{"place": "CNYTN", "org": "yantian"}, {"place": "NLRTM", "org": "kaho"}]
    args = channel.booking(terminals=terminals, discharge_place="NLRTM")
    channel.expect("E_PLACE", "line", "book_shipment", **args)


def test_a_milestone_is_stated_by_whom_it_falls_to_in_order_and_in_place(channel: Channel) -> None:
    channel.book()
    step, refused = channel.step, "state_milestone"
    channel.expect("E_STATE", "line", refused, **step("line", "DEPA", "CNYTN"))
    channel.expect("E_NOT_PARTY", "line", refused, **step("line", "GTIN", "CNYTN"))
    channel.expect("E_NOT_PARTY", "kwai-chung", refused, **step("", "GTIN", "CNYTN"))
    channel.expect("E_PLACE", "kwai-chung", refused, **step("", "GTIN", "HKHKG"))
    channel.expect("E_PLACE", "yantian", refused, **step("", "GTIN", "CNSZX"))
    channel.expect("E_CODE", "yantian", refused, **step("", "GTIN", "CNYTN", family="TRANSPORT"))
    channel.expect("E_CODE", "yantian", refused, **step("", "CUSR", "CNYTN"))
    channel.expect("E_EVENT_FUTURE", "yantian", refused, **step("", "GTIN", "CNYTN", time_ms=channel.now + HOUR))
    channel.did("yantian", "GTIN", "CNYTN")
    channel.expect("E_STATED", "yantian", refused, **step("", "GTIN", "CNYTN"))
    channel.expect("E_VESSEL", "line", refused, **step("line", "LOAD", "CNYTN", vessel=""))
    channel.expect("E_VESSEL", "line", refused, **step("line", "LOAD", "CNYTN", vessel="ship"))
    channel.did("line", "LOAD", "CNYTN")
    channel.expect("E_VESSEL", "line", refused, **step("line", "DEPA", "CNYTN", vessel=BARGE))
    channel.expect("E_PLACE", "line", refused, **step("line", "DEPA", "HKHKG"))
    channel.did("line", "DEPA", "CNYTN")
    channel.expect("E_PLACE", "line", refused, **step("line", "ARRI", "CNYTN"))
    channel.did("line", "ARRI", "MOMFM")
    channel.did("ka-ho", "DISC", "MOMFM")
    channel.expect("E_PLACE", "line", refused, **step("line", "LOAD", "MOMFM"))


def test_plans_and_estimates_move_nothing_and_a_message_is_stated_once(channel: Channel) -> None:
    channel.book()
    later = channel.start + 48 * HOUR
    estimate = channel.step("line", "ARRI", "MOMFM", classifier="EST", time_ms=later, source="evt-1")
    receipt = channel.ok("line", "state_milestone", **estimate)
    assert [name for name, _ in receipt.events] == ["MilestoneStated", "ShipmentDelayed"]
    before = channel.state()
    assert channel.ok("line", "state_milestone", **estimate).events == []
    assert channel.state() == before
    channel.expect("E_STATED", "line", "state_milestone", **(estimate | {"time_ms": later + 1}))
    assert channel.shipment().state == ShipmentState.BOOKED
    (times,) = channel.query("timeliness", shipment="hk/B-1")
    assert (times.estimated_ms, times.agreed_ms) == (later, 0)


def test_a_statement_is_corrected_between_its_neighbours_and_retracted_when_nothing_rests_on_it(
    channel: Channel,
) -> None:
    channel.book()
    channel.sail(until="ARRI")
    times = [channel.milestone(position).time_ms for position in range(4)]
    fix = {"shipment": "hk/B-1", "position": 2, "reason": "typing"}
    channel.expect("E_MILESTONE_TIME", "line", "correct_milestone", **fix, time_ms=times[1] - 1)
    channel.expect("E_MILESTONE_TIME", "line", "correct_milestone", **fix, time_ms=times[3] + 1)
    channel.ok("line", "correct_milestone", **fix, time_ms=times[3])
    assert channel.shipment().changed_ms == times[3]
    channel.expect("E_RELIED_ON", "line", "retract_milestone", **fix)
    channel.expect("E_UNKNOWN_EVENT", "line", "retract_milestone", shipment="hk/B-1", position=9, reason="x")
    for position in (3, 2, 1):
        channel.ok("line", "retract_milestone", shipment="hk/B-1", position=position, reason="wrong ship")
    channel.expect("E_ERRONEOUS", "line", "retract_milestone", **fix)
    shipment = channel.shipment()
    assert (shipment.state, shipment.vessel, channel.box().vessel) == (ShipmentState.GATED_IN, "", "")
    channel.did("line", "LOAD", "CNYTN", vessel=BARGE)


def test_a_statement_is_corrected_eight_times(channel: Channel) -> None:
    channel.book()
    channel.sail(until="GTIN")
    fix = {"shipment": "hk/B-1", "position": 0, "reason": "typing", "time_ms": channel.kit.time_ms}
    for _ in range(8):
        channel.ok("yantian", "correct_milestone", **fix)
    channel.expect("E_CORRECTIONS", "yantian", "correct_milestone", **fix)


def test_a_retracted_statement_that_the_other_party_made_too_stands(channel: Channel) -> None:
    channel.book()
    channel.sail(until="ARRI")
    channel.did("ka-ho", "ARRI", "MOMFM")
    channel.ok("line", "retract_milestone", shipment="hk/B-1", position=3, reason="not ours to say")
    assert channel.shipment().state == ShipmentState.ARRIVED
    channel.did("ka-ho", "DISC", "MOMFM")


def test_a_statement_on_which_a_later_one_rests_is_not_retracted_though_confirmed_afterwards(channel: Channel) -> None:
    channel.book()
    channel.sail()
    channel.did("ka-ho", "ARRI", "MOMFM", time_ms=channel.milestone(3).time_ms)
    channel.expect("E_RELIED_ON", "line", "retract_milestone", shipment="hk/B-1", position=3, reason="x")


def test_estimates_leave_room_for_what_happens(channel: Channel) -> None:
    channel.book()
    estimate = channel.step("line", "ARRI", "MOMFM", classifier="EST")
    assert set(channel.race(*[channel.call("line", "state_milestone", **estimate) for _ in range(160)])) == {""}
    channel.expect("E_MILESTONES", "line", "state_milestone", **estimate)
    channel.did("yantian", "GTIN", "CNYTN")


def test_one_bill_is_one_shipment_of_its_carrier(channel: Channel) -> None:
    channel.issue()
    channel.book()
    again = channel.booking("B-2", equipment=["MSKU9070323"])
    channel.expect("E_DOCUMENT", "line", "book_shipment", **again)
    channel.ok("line", "cancel_shipment", shipment="hk/B-1")
    channel.ok("line", "book_shipment", **again)


def test_a_cancelled_shipment_frees_its_logger(channel: Channel) -> None:
    channel.book()
    channel.watch()
    channel.ok("line", "cancel_shipment", shipment="hk/B-1")
    assert channel.chain().ended_ms
    shipment = channel.book("B-2")
    rule = {"unit": "CEL", "low_milli": 0, "high_milli": 1, "single_ms": 0, "total_ms": 0, "gap_ms": 1_000}
    channel.ok("maker", "watch_shipment", shipment=shipment, device=LOGGER, **rule)


@pytest.mark.parametrize("person", ["customs-hk", "customs-gd"])
def test_a_hold_is_customs_of_the_place_and_stops_delivery(channel: Channel, person: str) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.release()
    channel.surrender()
    channel.expect("E_JURISDICTION", person, "hold_shipment", shipment="hk/B-1", reason="papers")
    channel.ok("customs-mo", "hold_shipment", shipment="hk/B-1", reason="papers")
    channel.expect("E_HELD", "customs-mo", "hold_shipment", shipment="hk/B-1", reason="again")
    channel.expect("E_HELD", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.ok("customs-mo", "lift_hold", shipment="hk/B-1")
    channel.expect("E_STATE", "customs-mo", "lift_hold", shipment="hk/B-1")
    order = {"module": "logistics", "asset": "hk/B-1", "order": "O-1", "reason": "r", "until_ms": channel.now + HOUR}
    channel.ok("judge", "freeze_asset", at="kernel", **order)
    channel.expect("E_ASSET_FROZEN", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.ok("judge", "lift_freeze", at="kernel", module="logistics", asset="hk/B-1", order="O-1")
    channel.did("ka-ho", "GTOT", "MOMFM")
    channel.expect("E_NOT_PARTY", "kwai-chung", "deliver", **channel.delivery())
    early = channel.delivery(time_ms=channel.shipment().changed_ms - 1)
    channel.expect("E_MILESTONE_TIME", "clinic", "deliver", **early)
    channel.ok("clinic", "deliver", **channel.delivery())
    channel.expect("E_STATE", "clinic", "deliver", **channel.delivery())


def test_what_is_lost_is_not_delivered_until_it_is_found(channel: Channel) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.release()
    channel.surrender()
    channel.expect("E_NOT_PARTY", "yantian", "report_condition", shipment="hk/B-1", condition="DAMAGED")
    channel.expect("E_CONDITION", "line", "report_condition", shipment="hk/B-1", condition="FOUND")
    channel.ok("surveyor", "report_condition", shipment="hk/B-1", condition="DAMAGED")
    channel.expect("E_NOT_PARTY", "surveyor", "report_condition", shipment="hk/B-1", condition="LOST")
    channel.ok("ka-ho", "report_condition", shipment="hk/B-1", condition="LOST")
    channel.expect("E_CONDITION", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.ok("ka-ho", "report_condition", shipment="hk/B-1", condition="FOUND")
    channel.did("ka-ho", "GTOT", "MOMFM")


def test_a_bill_of_another_platform_is_surrendered_to_the_carrier_and_a_waybill_to_nobody(channel: Channel) -> None:
    channel.book(registry="ELSEWHERE", document="WAVE-7")
    channel.sail()
    channel.release()
    channel.expect("E_NOT_SURRENDERED", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.expect("E_NOT_PARTY", "rival-line", "state_surrender", shipment="hk/B-1")
    channel.ok("line", "state_surrender", shipment="hk/B-1")
    channel.expect("E_STATED", "line", "state_surrender", shipment="hk/B-1")
    # A title that appears here after all counts, not the carrier's word.
    channel.issue("WAVE-7")
    channel.expect("E_NOT_SURRENDERED", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))

    channel.book("B-2", document_kind="SWB", document="W-2", equipment=["MSKU9070323"])
    channel.expect("E_DOCUMENT", "line", "state_surrender", shipment="hk/B-2")
    channel.sail("hk/B-2")
    channel.release("MO-2", "hk/B-2")
    channel.did("ka-ho", "GTOT", "MOMFM", "hk/B-2")


def test_a_bill_switched_to_paper_is_surrendered_to_the_carrier_unless_it_came_back(channel: Channel) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.release()
    channel.expect("E_KEPT_HERE", "line", "state_surrender", shipment="hk/B-1")
    paper = {"document": channel.shipment().document, "status": "PAPER"}
    channel.ok("line", "set_status", at="title", **paper)
    channel.expect("E_NOT_SURRENDERED", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.ok("line", "state_surrender", shipment="hk/B-1")
    channel.issue()
    channel.expect("E_NOT_SURRENDERED", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.ok("line", "set_status", at="title", **paper)
    channel.did("ka-ho", "GTOT", "MOMFM")


def test_a_channel_without_titles_delivers_against_bills_kept_elsewhere_only() -> None:
    channel = Channel(titles=False)
    channel.expect("E_NO_REGISTER", "line", "book_shipment", **channel.booking())
    channel.book(registry="ELSEWHERE")
    channel.sail()
    channel.release()
    channel.expect("E_NOT_SURRENDERED", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.ok("line", "state_surrender", shipment="hk/B-1")
    channel.did("ka-ho", "GTOT", "MOMFM")


# --- cold chain


def test_a_device_and_its_rule_are_set_once(channel: Channel) -> None:
    channel.book()
    device = {"device": LOGGER, "unit": "CEL", "low_milli": 0, "high_milli": 10_000}
    channel.expect("E_RULE", "sensors", "register_device", **(device | {"low_milli": 10_000}))
    rule = {"shipment": "hk/B-1", "device": LOGGER, "unit": "CEL", "low_milli": 2_000, "high_milli": 8_000}
    rule |= {"single_ms": MINUTE, "total_ms": HOUR, "gap_ms": MINUTE}
    channel.expect("E_UNKNOWN_DEVICE", "maker", "watch_shipment", **rule)
    channel.ok("sensors", "register_device", **device)
    channel.expect("E_DUP_DEVICE", "other-sensors", "register_device", **device)
    channel.expect("E_RULE", "maker", "watch_shipment", **(rule | {"high_milli": 10_001}))
    channel.expect("E_RULE", "maker", "watch_shipment", **(rule | {"low_milli": 8_001}))
    channel.expect("E_RULE", "maker", "watch_shipment", **(rule | {"single_ms": HOUR + 1}))
    channel.expect("E_NOT_PARTY", "rival-line", "watch_shipment", **rule)
    series = {"shipment": "hk/B-1", "device": LOGGER, "unit": "CEL", "samples": [{"time_ms": 1, "milli": 1}]}
    channel.expect("E_NOT_WATCHED", "sensors", "record_samples", **series)
    channel.ok("maker", "watch_shipment", **rule)
    channel.expect("E_WATCHED", "line", "watch_shipment", **rule)


def test_samples_come_in_order_in_range_and_not_from_the_future(channel: Channel) -> None:
    channel.book()
    channel.watch()
    series = channel.samples([5_000, 5_000])
    first, second = series["samples"]
    for samples, reason in (
        ([second, first], "E_SAMPLE_ORDER"),
        ([first, first], "E_SAMPLE_ORDER"),
        ([{"time_ms": channel.start, "milli": 5_000}], "E_SAMPLE_ORDER"),
        ([{"time_ms": channel.now + HOUR, "milli": 5_000}], "E_EVENT_FUTURE"),
        ([first | {"milli": 60_001}], "E_SAMPLE_RANGE"),
        ([first | {"milli": -40_001}], "E_SAMPLE_RANGE"),
    ):
        channel.expect(reason, "sensors", "record_samples", **(series | {"samples": samples}))


def test_the_total_of_short_excursions_is_a_breach_and_the_limits_themselves_are_not(channel: Channel) -> None:
    channel.book()
    channel.watch()
    for _ in range(3):
        channel.record([5_000, *[9_000] * 9, 5_000])
    assert (channel.chain().longest_ms, channel.chain().total_ms) == (10 * MINUTE, 30 * MINUTE)
    assert channel.chain().breached_ms == 0
    receipt = channel.record([5_000, 8_001])
    assert "ColdChainBreached" in [name for name, _ in receipt.events]


# --- customs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"number": "—"}, "E_NUMBER"),
        ({"jurisdiction": "GD", "regime": "EXPORT", "number": "12345"}, "E_NUMBER"),
        ({"jurisdiction": "HK"}, "E_JURISDICTION"),
        ({"hs": ["8517137"]}, "E_HS"),
        ({"hs": ["85171A"]}, "E_HS"),
        ({"origin": "cn"}, "E_ORIGIN"),
        ({"value": ["USD", 0]}, "E_VALUE"),
        ({"value": ["USD", 10**15]}, "E_VALUE"),
        ({"value": ["XYZ", 1]}, "E_VALUE"),
        ({"shipment": "hk/B-7"}, "E_UNKNOWN_SHIPMENT"),
    ],
)
def test_a_declaration_is_well_formed(channel: Channel, change: dict[str, Any], reason: str) -> None:
    channel.book()
    channel.expect(reason, "broker", "draft_declaration", **(channel.declaration() | change))


def test_a_declaration_goes_its_way_and_no_other(channel: Channel) -> None:
    channel.book()
    args = channel.declaration()
    key = {"jurisdiction": "MO", "number": "mo 1"}
    channel.ok("broker", "draft_declaration", **args)
    channel.expect("E_DUP_DECLARATION", "broker", "draft_declaration", **(args | {"number": "ＭＯ－１"}))
    channel.expect("E_UNKNOWN_DECLARATION", "broker", "lodge_declaration", **(key | {"number": "7"}))
    channel.expect("E_NOT_BROKER", "broker-hk", "lodge_declaration", **key)
    channel.expect("E_STATE", "customs-mo", "accept_declaration", **key)
    channel.ok("broker", "lodge_declaration", **key)
    channel.expect("E_STATE", "broker", "lodge_declaration", **key)
    for person, command, more in (
        ("customs-mo", "assess_duty", {"duty": ["MOP", 1]}),
        ("customs-mo", "release_declaration", {}),
        ("customs-mo", "close_declaration", {}),
        ("customs-mo", "examine_declaration", {"how": "SCAN"}),
    ):
        channel.expect("E_STATE", person, command, **key, **more)
    goods = {"hs": ["300241", "30024110"], "origin": "CN", "value": ["USD", 5], "reason": "one line more"}
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("broker", "amend_declaration", **key, **goods)
    assert (channel.declared().state, channel.declared().version) == (DeclarationState.AMENDED, 2)
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "examine_declaration", **key, how="SCAN")
    channel.expect("E_STATE", "customs-mo", "examine_declaration", **key, how="SCAN")
    channel.expect("E_STATE", "broker", "amend_declaration", **key, **goods)
    channel.expect("E_STATE", "broker", "cancel_declaration", **key, reason="too late")
    channel.ok("customs-mo", "examine_declaration", **key, how="INSPECT")
    channel.expect("E_VALUE", "customs-mo", "assess_duty", **key, duty=["MOP", -1])
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 100])
    pay = {"bank": "BNULMOMX", "reference": "D-1", "payer": "clinic", "payee": "customs-mo", "value_date": "2025-11-25"}
    channel.expect("E_DUTY", "bank", "pay_duty", **key, **pay, amount=["MOP", 99])
    channel.expect("E_DUTY", "bank", "pay_duty", **key, **(pay | {"payee": "customs-hk"}), amount=["MOP", 100])
    channel.ok("bank", "pay_duty", **key, **pay, amount=["MOP", 100])
    channel.expect("E_STATE", "bank", "pay_duty", **key, **pay, amount=["MOP", 100])
    channel.ok("customs-mo", "release_declaration", **key)
    channel.ok("customs-mo", "close_declaration", **key)
    channel.expect("E_STATE", "customs-mo", "seize_declaration", **key, reason="too late")
    (listed,) = channel.query("declarations", jurisdiction="MO", state="CLOSED")
    assert listed.number == "mo1"


def test_one_payment_pays_one_duty(channel: Channel) -> None:
    channel.book()
    pay = {"bank": "BNULMOMX", "payer": "clinic", "payee": "customs-mo", "value_date": "2025-11-25"}
    pay |= {"amount": ["MOP", 100]}
    for number, reference, reason in (("MO-1", "D-1", ""), ("MO-2", "d 1", "E_CASHREF_USED")):
        key = channel.lodge(number)
        channel.ok("customs-mo", "accept_declaration", **key)
        channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 100])
        receipt = channel.kit.run("bank", "pay_duty", key | pay | {"reference": reference})
        assert receipt.reason == reason


def test_no_settlement_bank_attests_a_duty_that_its_own_organisation_paid(channel: Channel) -> None:
    channel.book()
    key = channel.lodge("MO-1")
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 100])
    pay = {"bank": "BNULMOMX", "payee": "customs-mo", "value_date": "2025-11-25", "amount": ["MOP", 100]}
    channel.expect("E_NOT_ATTESTOR", "bank", "pay_duty", **key, **pay, reference="D-1", payer="alliance")
    channel.ok("bank", "pay_duty", **key, **pay, reference="D-1", payer="clinic")


def test_a_cancelled_declaration_releases_nothing_and_a_second_one_must_be_released_too(channel: Channel) -> None:
    channel.issue()
    channel.book()
    channel.sail()
    channel.surrender()
    key = channel.lodge("MO-9")
    channel.ok("broker", "cancel_declaration", **key, reason="wrong goods")
    channel.expect("E_NOT_RELEASED", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))
    channel.release()
    assert channel.shipment().state == ShipmentState.RELEASED
    channel.lodge("MO-2")
    assert channel.shipment().state == ShipmentState.DISCHARGED
    channel.expect("E_NOT_RELEASED", "ka-ho", "state_milestone", **channel.step("", "GTOT", "MOMFM"))


def test_only_an_appointed_broker_declares_a_shipment_and_not_without_end(channel: Channel) -> None:
    channel.ok("line", "book_shipment", **channel.booking())
    args = channel.declaration()
    channel.expect("E_APPOINTED", "broker", "draft_declaration", **args)
    appoint = {"shipment": "hk/B-1", "org": "brokers"}
    channel.expect("E_NOT_PARTY", "rival-line", "appoint_broker", **appoint)
    channel.expect("E_UNKNOWN_ORG", "clinic", "appoint_broker", **(appoint | {"org": "nobody"}))
    channel.ok("clinic", "appoint_broker", **appoint)
    channel.expect("E_APPOINTED", "maker", "appoint_broker", **appoint)
    drafts = [channel.call("broker", "draft_declaration", **(args | {"number": f"N{number}"})) for number in range(100)]
    assert channel.race(*drafts) == [""] * 100
    channel.expect("E_DECLARATIONS", "broker", "draft_declaration", **args)


def test_a_declaration_number_of_forty_han_characters_is_too_long_to_be_paid_for(channel: Channel) -> None:
    channel.book()
    channel.expect("E_NUMBER", "broker", "draft_declaration", **channel.declaration("單" * 40))
    key = channel.lodge("單" * 30)
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 1])
    pay = {"bank": "BNULMOMX", "reference": "D-1", "payer": "clinic", "payee": "customs-mo", "value_date": "2025-11-25"}
    channel.ok("bank", "pay_duty", **key, **pay, amount=["MOP", 1])
