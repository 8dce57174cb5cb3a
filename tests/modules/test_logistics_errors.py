"""What the logistics module refuses of events and items, each with its reason and an unchanged state; queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dawan_node.modules.logistics import module
from tests.modules.logistics_kit import GATE, HOUR, MINUTE, Channel, pallet


@pytest.fixture
def channel() -> Channel:
    return Channel()


def test_every_reason_is_met_by_a_test() -> None:
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_logistics*.py")]
    met = {reason for text in texts for reason in re.findall(r"E_[A-Z_]+", text)}
    assert set(module.errors) - met == set()


# --- events and items


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "ObjectEvent", "action": "ADD"},
        {"kind": "ObjectEvent", "action": "", "epcs": ["urn:x:1"]},
        {"kind": "ObjectEvent", "action": "ADD", "epcs": ["urn:x:1"], "parent": "urn:x:2"},
        {"kind": "ObjectEvent", "action": "ADD", "epcs": ["urn:x:1"], "transformation": "urn:x:2"},
        {"kind": "AggregationEvent", "action": "ADD", "children": ["urn:x:1"]},
        {"kind": "AggregationEvent", "action": "ADD", "parent": "urn:x:1"},
        {"kind": "AggregationEvent", "action": "ADD", "parent": "urn:x:1", "epcs": ["urn:x:2"]},
        {"kind": "AssociationEvent", "action": "ADD", "parent": "urn:x:1", "inputs": ["urn:x:2"]},
        {"kind": "TransactionEvent", "action": "ADD", "epcs": ["urn:x:1"]},
        {"kind": "TransformationEvent", "action": "ADD", "inputs": ["urn:x:1"], "outputs": ["urn:x:2"]},
        {"kind": "TransformationEvent", "inputs": ["urn:x:1"]},
        {"kind": "ObjectEvent", "action": "ADD", "epcs": ["urn:x:1"], "ilmd": [{"depth": 1, "name": "{urn:n}a"}]},
    ],
)
def test_an_event_must_be_of_its_kind(channel: Channel, event: dict[str, Any]) -> None:
    gate = channel.gate()
    full = {"time_ms": channel.kit.time_ms, "offset": "+08:00", "read_point": gate} | event
    channel.expect("E_EVENT_FORM", "maker", "capture_event", event=full)


def test_an_event_with_another_hash_than_the_sender_computed_is_refused(channel: Channel) -> None:
    event = channel.event("ADD", [pallet(1)], read_point=channel.gate())
    channel.expect("E_HASH", "maker", "capture_event", event=event, digest=bytes(32))


def test_an_event_is_captured_at_an_own_read_point_or_about_own_items(channel: Channel) -> None:
    (epc,) = channel.goods(1)
    channel.gate("line", "https://example.com/ship")
    seen = channel.event("OBSERVE", [epc], read_point="https://example.com/ship")
    channel.expect("E_READ_POINT", "maker", "capture_event", event=seen)
    channel.ok("line", "capture_event", event=seen)
    channel.expect("E_NOT_CUSTODIAN", "line", "capture_event", event=channel.event("OBSERVE", [epc]))
    channel.expect("E_NOT_CUSTODIAN", "maker", "capture_event", event=channel.event("OBSERVE", [pallet(9)]))
    channel.ok("maker", "capture_event", event=channel.event("OBSERVE", [epc]))
    # To see a thing is not to have it.
    taken = channel.event("ADD", [epc], parent=pallet(8), read_point="https://example.com/ship")
    channel.expect("E_NOT_CUSTODIAN", "line", "capture_event", event=taken)


def test_a_read_point_belongs_to_one_organisation_until_the_alliance_says_otherwise(channel: Channel) -> None:
    channel.gate("line")
    channel.expect("E_READ_POINT_TAKEN", "maker", "register_read_point", uri="urn:epc:id:sgln:4012345.00011.0")
    channel.expect("E_UNKNOWN_ORG", "alliance", "reassign_read_point", uri=GATE, org="nobody")
    channel.expect("E_READ_POINT", "alliance", "reassign_read_point", uri="urn:x:1", org="gz")
    channel.ok("alliance", "reassign_read_point", uri=GATE, org="gz")
    (point,) = channel.query("read_points", org="gz")
    assert point.uri == GATE
    event = channel.event("ADD", [pallet(1)], read_point=GATE)
    channel.expect("E_READ_POINT", "line", "capture_event", event=event)
    channel.ok("maker", "capture_event", event=event)


def test_an_event_does_not_lie_in_the_future_beyond_the_clocks(channel: Channel) -> None:
    gate = channel.gate()
    limit = channel.now + 5 * MINUTE
    event = channel.event("ADD", [pallet(1)], read_point=gate)
    channel.expect("E_EVENT_FUTURE", "maker", "capture_event", event=event | {"time_ms": limit + 1_001})
    channel.ok("maker", "capture_event", event=event | {"time_ms": limit})


def test_an_item_is_made_once_and_gone_for_good(channel: Channel) -> None:
    one, two = channel.goods(1, 2)
    gate = channel.gate()
    channel.expect("E_ITEM_EXISTS", "maker", "capture_event", event=channel.event("ADD", [one], read_point=gate))
    channel.ok("maker", "capture_event", event=channel.event("ADD", [two], parent=one))
    channel.expect("E_NOT_EMPTY", "maker", "capture_event", event=channel.event("DELETE", [one]))
    channel.expect("E_PACKED", "maker", "capture_event", event=channel.event("DELETE", [two]))
    channel.expect("E_PACKED", "maker", "hand_over", items=[two], to="hk")
    channel.ok("maker", "capture_event", event=channel.event("DELETE", [], parent=one))
    channel.ok("maker", "capture_event", event=channel.event("DELETE", [two]))
    channel.expect("E_ITEM_STATE", "maker", "capture_event", event=channel.event("ADD", [two], parent=one))
    channel.expect("E_ITEM_STATE", "maker", "hand_over", items=[two], to="hk")
    channel.expect("E_ITEM_EXISTS", "maker", "capture_event", event=channel.event("ADD", [two], read_point=gate))


def test_a_transformation_consumes_and_makes(channel: Channel) -> None:
    one, two = channel.goods(1, 2)
    base = {"kind": "TransformationEvent", "time_ms": channel.kit.time_ms, "offset": "+08:00", "biz_step": "assembling"}
    event = base | {"inputs": [one, two], "outputs": [pallet(3)]}
    channel.ok("maker", "capture_event", event=event)
    assert [channel.item(epc).state for epc in (one, two, pallet(3))] == ["CONSUMED", "CONSUMED", "ACTIVE"]
    channel.expect("E_ITEM_STATE", "maker", "capture_event", event=base | {"inputs": [one], "outputs": [pallet(4)]})
    digest = channel.query("events", eq_biz_step="assembling")[0].digest
    channel.ok("maker", "declare_error", event=digest, reason="incorrect_data")
    assert [channel.item(epc).state for epc in (one, two, pallet(3))] == ["ACTIVE", "ACTIVE", "GONE"]


def test_items_nest_eight_deep_and_no_deeper(channel: Channel) -> None:
    epcs = channel.goods(*range(1, 11))
    for inner in range(8):
        channel.ok("maker", "capture_event", event=channel.event("ADD", [epcs[inner]], parent=epcs[inner + 1]))
    channel.expect("E_DEPTH", "maker", "capture_event", event=channel.event("ADD", [epcs[8]], parent=epcs[9]))
    (where,) = channel.query("track", item=epcs[0])
    assert len(where.inside) == 8
    channel.expect("E_DEPTH", "maker", "capture_event", event=channel.event("ADD", [epcs[8]], parent=epcs[0]))


def test_an_association_counts_as_the_one_parent(channel: Channel) -> None:
    one, two, sensor = channel.goods(1, 2, 3)
    tied = channel.event("ADD", [sensor], parent=one) | {"kind": "AssociationEvent"}
    channel.ok("maker", "capture_event", event=tied)
    channel.expect("E_HAS_PARENT", "maker", "capture_event", event=channel.event("ADD", [sensor], parent=two))


def test_a_parent_with_too_many_items_is_unpacked_in_parts(channel: Channel) -> None:
    (parent,) = channel.goods(1)
    for start in (100, 200):
        inner = [pallet(start + number) for number in range(99)]
        channel.ok("maker", "capture_event", event=channel.event("ADD", inner, parent=parent))
    channel.expect("E_TOO_MANY", "maker", "capture_event", event=channel.event("DELETE", [], parent=parent))
    inner = [pallet(100 + number) for number in range(99)]
    channel.ok("maker", "capture_event", event=channel.event("DELETE", inner, parent=parent))
    channel.ok("maker", "capture_event", event=channel.event("DELETE", [], parent=parent, biz_step="unpacking"))
    assert channel.query("contents", item=parent) == ()


@pytest.mark.parametrize(
    "epc",
    ["urn:epc:id:giai:4000001." + "(" * 23, "https://example.com/" + "x" * 140, "urn:epc:id:giai:4000001." + "(" * 80],
)
def test_the_longest_identifiers_fit_a_state_key(channel: Channel, epc: str) -> None:
    gate = channel.gate()
    channel.ok("maker", "capture_event", event=channel.event("ADD", [epc], read_point=gate))
    channel.ok("maker", "capture_event", event=channel.event("ADD", [epc], parent=pallet(1)))
    assert len(channel.query("custody", item=epc)) == 2


@pytest.mark.parametrize("epc", ["單", "urn:x:a b", ""])
def test_an_identifier_is_printable_ascii(channel: Channel, epc: str) -> None:
    receipt = channel.kit.run("maker", "capture_event", {"event": channel.event("ADD", [epc], read_point=GATE)})
    assert receipt.code == 1009


def test_an_event_spells_out_a_bounded_number_of_reports(channel: Channel) -> None:
    gate = channel.gate()
    sensors = [{"reports": [{}] * 20}] * 10
    event = channel.event("ADD", [pallet(1)], read_point=gate)
    channel.expect("E_EVENT_FORM", "maker", "capture_event", event=event | {"sensors": [*sensors, {"reports": [{}]}]})
    channel.ok("maker", "capture_event", event=event | {"sensors": sensors})


# --- custody


def test_custody_passes_when_both_sides_say_so(channel: Channel) -> None:
    one, two = channel.goods(1, 2)
    channel.expect("E_UNKNOWN_ORG", "maker", "hand_over", items=[one], to="nobody")
    channel.expect("E_UNKNOWN_ORG", "maker", "hand_over", items=[one], to="gz")
    channel.expect("E_UNKNOWN_ITEM", "maker", "hand_over", items=[pallet(7)], to="hk")
    channel.expect("E_NOT_CUSTODIAN", "line", "hand_over", items=[one], to="mo")
    channel.expect("E_NOT_OFFERED", "line", "take_over", items=[one], from_org="gz")
    channel.ok("maker", "hand_over", items=[one], to="hk")
    channel.expect("E_HANDED", "maker", "capture_event", event=channel.event("ADD", [two], parent=one))
    channel.expect("E_NOT_OFFERED", "yantian", "take_over", items=[one], from_org="gz")
    channel.expect("E_NOT_OFFERED", "line", "take_over", items=[one], from_org="mo")
    channel.ok("maker", "hand_over", items=[one], to="")
    channel.expect("E_NOT_OFFERED", "line", "take_over", items=[one], from_org="gz")
    channel.ok("maker", "hand_over", items=[one], to="hk")
    (waiting,) = channel.query("hand_overs", org="hk")
    channel.ok("line", "take_over", items=[waiting.epc], from_org="gz")
    assert [item.epc for item in channel.query("held_items", org="hk")] == [waiting.epc]


def test_what_a_court_froze_does_not_change_hands(channel: Channel) -> None:
    channel.goods(1)
    epc = channel.item(pallet(1)).epc
    order = {"module": "logistics", "asset": epc, "order": "O-1", "reason": "r", "until_ms": channel.now + HOUR}
    channel.ok("judge", "freeze_asset", at="kernel", **order)
    channel.expect("E_ASSET_FROZEN", "maker", "hand_over", items=[epc], to="hk")
    channel.expect("E_ASSET_FROZEN", "maker", "capture_event", event=channel.event("DELETE", [epc]))


# --- error declarations


def test_an_error_is_declared_by_its_capturer_and_the_event_stays(channel: Channel) -> None:
    one, two = channel.goods(1, 2)
    gate = channel.gate("line", "https://example.com/line")
    channel.ok("maker", "capture_event", event=channel.event("ADD", [two], parent=one, biz_step="packing"))
    wrong = channel.query("events", eq_biz_step="packing")[0].digest
    channel.ok("maker", "capture_event", event=channel.event("OBSERVE", [two], biz_step="inspecting"))
    right = channel.query("events", eq_biz_step="inspecting")[0].digest
    channel.ok("line", "capture_event", event=channel.event("OBSERVE", [two], biz_step="arriving", read_point=gate))
    foreign = channel.query("events", eq_biz_step="arriving")[0].digest
    channel.expect("E_UNKNOWN_EVENT", "maker", "declare_error", event=bytes(32))
    channel.expect("E_NOT_CAPTURER", "line", "declare_error", event=wrong)
    for corrective in (wrong, foreign, bytes(32)):
        channel.expect("E_CORRECTIVE", "maker", "declare_error", event=wrong, corrective=[corrective])
    channel.ok("maker", "declare_error", event=wrong, reason="incorrect_data", corrective=[right])
    assert channel.item(two).parent == ""
    (event,) = channel.query("events", exists_error_declaration=True)
    assert (event.digest, event.reason) == (wrong, "https://ref.gs1.org/cbv/ER-incorrect_data")
    assert channel.ok("maker", "declare_error", event=wrong, corrective=[right]).events == []
    channel.expect("E_ERRONEOUS", "maker", "declare_error", event=wrong)
    again = channel.event("ADD", [two], parent=one, biz_step="packing", time_ms=event.time_ms)
    channel.expect("E_ERRONEOUS", "maker", "capture_event", event=again)
    assert channel.query("event", event=wrong) == (event,)


@pytest.mark.parametrize("error_first", [True, False])
def test_what_others_built_on_is_not_undone(channel: Channel, error_first: bool) -> None:
    one, two = channel.goods(1, 2)
    channel.ok("maker", "capture_event", event=channel.event("ADD", [two], parent=one, biz_step="packing"))
    packing = channel.query("events", eq_biz_step="packing")[0].digest
    error = channel.call("maker", "declare_error", event=packing)
    out = channel.call("maker", "capture_event", event=channel.event("DELETE", [two], parent=one))
    reasons = channel.race(error, out) if error_first else channel.race(out, error)
    assert reasons == (["", "E_NOT_PACKED"] if error_first else ["", "E_RELIED_ON"])
    assert channel.item(two).parent == ""


def test_an_unpacking_in_error_is_undone_into_the_parent(channel: Channel) -> None:
    one, two = channel.goods(1, 2)
    channel.ok("maker", "capture_event", event=channel.event("ADD", [two], parent=one))
    channel.ok("maker", "capture_event", event=channel.event("DELETE", [], parent=one, biz_step="unpacking"))
    digest = channel.query("events", eq_biz_step="unpacking")[0].digest
    channel.ok("maker", "declare_error", event=digest)
    assert channel.item(two).parent == channel.item(one).epc


# --- queries


def test_events_are_asked_for_by_epcis_parameters(channel: Channel) -> None:
    one, two = channel.goods(1, 2)
    start = channel.kit.time_ms
    for number in range(4):
        channel.kit.pass_time(HOUR)
        step = ("inspecting", "holding")[number % 2]
        event = channel.event("OBSERVE", [one if number < 3 else two], biz_step=step, disposition="in_progress")
        channel.ok("maker", "capture_event", event=event)
    times = [event.time_ms for event in channel.query("events", eq_action="OBSERVE")]
    assert times == sorted(times) and len(times) == 4 and min(times) >= start
    assert len(channel.query("events", match_epc=one)) == 4
    assert (
        len(channel.query("events", match_epc=channel.item(one).epc, eq_biz_step="urn:epcglobal:cbv:bizstep:holding"))
        == 1
    )
    assert len(channel.query("events", eq_biz_step="inspecting", ge_event_time_ms=times[2])) == 1
    assert [
        event.time_ms for event in channel.query("events", ge_event_time_ms=times[1], lt_event_time_ms=times[3])
    ] == times[1:3]
    assert len(channel.query("events", event_type="ObjectEvent", eq_disposition="in_progress")) == 4
    assert channel.query("events", event_type="AssociationEvent") == ()
    assert len(channel.query("events", ge_record_time_ms=times[3])) == 1
    page, cursor = channel.kit.query("events", {"match_epc": one, "eq_biz_step": "inspecting"}, limit=1)
    rest, end = channel.kit.query("events", {"match_epc": one, "eq_biz_step": "inspecting"}, limit=10, cursor=cursor)
    assert (len(page), len(rest), end) == (1, 1, None)
