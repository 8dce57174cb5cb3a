"""One of each command of ``logistics``: goods are captured, handed over, shipped, kept cold, declared and delivered."""

from __future__ import annotations

from tests.modules.examples.notebook import Notebook
from tests.modules.logistics_kit import GATE, HOUR, MINUTE, Channel, pallet
from tests.modules.test_logistics_titles import Quay


def story() -> list[Notebook]:
    channel = Channel()
    notebook = Notebook(channel.kit)
    _items(channel)
    _shipment(channel)
    _customs(channel)
    _out(channel)
    _elsewhere(channel)
    _back(channel)
    return [notebook, _against_a_foreign_title()]


def _items(channel: Channel) -> None:
    one, two = channel.goods(1, 2)
    channel.ok("alliance", "reassign_read_point", uri="https://example.com/gate/maker/1", org="gz")
    channel.ok("maker", "hand_over", items=[one], to="mo")
    channel.ok("clinic", "take_over", items=[one], from_org="gz")
    channel.gate("maker", GATE)
    packed = channel.event("ADD", [two], parent=pallet(3), read_point=GATE, biz_step="packing")
    channel.ok("maker", "capture_event", event=packed)
    (event,) = channel.query("events", eq_biz_step="packing")
    channel.ok("maker", "declare_error", event=event.digest, reason="incorrect_data")


def _shipment(channel: Channel) -> None:
    channel.issue()
    channel.book()
    channel.watch()
    channel.sail(until="ARRI")
    channel.record([5_000, 6_500, 7_000])
    found = channel.milestone(3)
    one = {"shipment": "hk/B-1", "position": 3}
    channel.ok("line", "correct_milestone", **one, time_ms=found.time_ms + 1, reason="typing error")
    channel.did("ka-ho", "DISC", "MOMFM")
    note = channel.step("ka-ho", "INSP", "MOMFM")
    channel.ok("ka-ho", "state_milestone", **note)
    channel.ok("ka-ho", "retract_milestone", shipment="hk/B-1", position=5, reason="another box")
    channel.ok("surveyor", "report_condition", shipment="hk/B-1", condition="DAMAGED")
    channel.ok("customs-mo", "hold_shipment", shipment="hk/B-1", reason="papers are missing")
    channel.ok("customs-mo", "lift_hold", shipment="hk/B-1")


def _customs(channel: Channel) -> None:
    dropped = channel.lodge("MO-9")
    changes = {"hs": ["300242"], "origin": "CN", "value": ["USD", 900_000], "reason": "another code"}
    channel.ok("broker", "amend_declaration", **dropped, **changes)
    channel.ok("broker", "cancel_declaration", **dropped, reason="lodged twice")
    key = channel.lodge("MO-1")
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "examine_declaration", **key, how="SCAN")
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 120_000])
    payment = {"bank": "BNULMOMX", "reference": "D-1", "payer": "clinic", "payee": "customs-mo"}
    payment |= {"amount": ["MOP", 120_000], "value_date": "2025-11-25"}
    channel.ok("bank", "pay_duty", **key, **payment)
    channel.ok("customs-mo", "release_declaration", **key)


def _out(channel: Channel) -> None:
    channel.surrender()
    channel.did("ka-ho", "GTOT", "MOMFM")
    channel.ok("clinic", "deliver", **channel.delivery())
    channel.ok("customs-mo", "close_declaration", jurisdiction="MO", number="MO-1")


def _elsewhere(channel: Channel) -> None:
    """A bill of another platform, a booking that is given up, goods that are seized."""
    channel.kit.pass_time(HOUR + MINUTE)
    channel.book("B-2", registry="ELSEWHERE", document="WAVE-7")
    channel.ok("line", "state_surrender", shipment="hk/B-2")
    seized = channel.lodge("MO-2", "hk/B-2")
    channel.ok("customs-mo", "seize_declaration", **seized, reason="counterfeit")
    channel.ok("line", "cancel_shipment", shipment="hk/B-2")


def _back(channel: Channel) -> None:
    """Statements are retracted: a box was not loaded on again at the transhipment, and another did not leave."""
    channel.book("B-3", document_kind="SWB", document="W-3")
    for person, code, place in (
        ("yantian", "GTIN", "CNYTN"), ("line", "LOAD", "CNYTN"), ("line", "DEPA", "CNYTN"), ("line", "ARRI", "HKHKG"),
        ("kwai-chung", "DISC", "HKHKG"), ("kwai-chung", "LOAD", "HKHKG"),
    ):  # fmt: skip
        channel.did(person, code, place, "hk/B-3")
    channel.ok("kwai-chung", "retract_milestone", shipment="hk/B-3", position=5, reason="another box")
    channel.book("B-4", document_kind="SWB", document="W-4", equipment=["MSKU9070323"])
    channel.sail("hk/B-4")
    key = channel.lodge("MO-4", "hk/B-4")
    channel.ok("customs-mo", "accept_declaration", **key)
    channel.ok("customs-mo", "examine_declaration", **key, how="INSPECT")
    channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 0])
    channel.ok("customs-mo", "release_declaration", **key)
    # Another declaration of the same goods stops them until it is withdrawn.
    doubled = channel.lodge("MO-5", "hk/B-4")
    channel.ok("broker", "cancel_declaration", **doubled, reason="lodged twice")
    channel.did("ka-ho", "GTOT", "MOMFM", "hk/B-4")
    channel.ok("customs-mo", "seize_declaration", **key, reason="counterfeit")
    channel.ok("ka-ho", "retract_milestone", shipment="hk/B-4", position=5, reason="it is still here")


def _against_a_foreign_title() -> Notebook:
    """The bill is kept by another channel, whose record says that it was surrendered."""
    quay = Quay()
    notebook = Notebook(quay.channel.kit)
    quay.book()
    quay.surrender()
    quay.prove()
    return notebook
