"""Random blocks of random commands: whatever is sent, in whatever order, every invariant holds after every block.

The kit checks the invariants; here the commands are chosen so that many of them succeed: each picks its subject among
those that exist, usually with the right party, sometimes with a wrong one. A walk starts from one of a few channels
that are already on their way, made once, so that a short walk reaches what comes late in a life.
"""

from __future__ import annotations

import copy
from functools import cache
from random import Random
from typing import Any

from dawan_node.modules.logistics.entities import (
    ColdChain,
    Declaration,
    EventRecord,
    Item,
    Milestone,
    Shipment,
)
from tests.modules.logistics_kit import BARGE, BOX, DOCUMENT, GATE, HOUR, LOGGER, MINUTE, PEOPLE, SHIP, Channel, pallet
from tests.modules.walk_shards import Lengths, Walks

Call = tuple[str, str, dict[str, Any]]
PARTIES = sorted(PEOPLE)
PLACES = ("CNYTN", "HKHKG", "MOMFM")
TERMINALS = {"CNYTN": "yantian", "HKHKG": "kwai-chung", "MOMFM": "ka-ho"}
OTHER_BOX, THIRD_BOX = "MSKU9070323", "TEMU5000019"
#: How far the shipment of a walk has come when it begins: see ``prepared``.
STAGES = 5
#: Who acts for an organisation that has items.
ACTS_FOR = {"gz": "maker", "hk": "line", "mo": "clinic", "yantian": "yantian"}


@cache
def prepared(stage: int) -> Channel:
    """A channel with pallets in a box, a shipment that came so far, and a watched cold chain."""
    channel = Channel()
    channel.issue()
    channel.book()
    channel.book("B-9", registry="ELSEWHERE", document="WAVE-9", equipment=[THIRD_BOX])
    channel.watch()
    channel.gate()
    one, two, three, four = channel.goods(1, 2, 3, 4)
    channel.ok("maker", "capture_event", event=channel.event("ADD", [two, three], parent=one))
    channel.ok("maker", "hand_over", items=[four], to="hk")
    channel.record([5_000, 9_000, 5_000])
    channel.lodge("MO-1")
    # What others of the consignment have come to: examined, assessed, held.
    for number, examined in (("MO-6", True), ("MO-7", False)):
        other = channel.lodge(number, "hk/B-9")
        channel.ok("customs-mo", "accept_declaration", **other)
        if examined:
            channel.ok("customs-mo", "examine_declaration", **other, how="SCAN")
        else:
            channel.ok("customs-mo", "assess_duty", **other, duty=["MOP", 50])
    channel.ok("customs-mo", "hold_shipment", shipment="hk/B-9", reason="papers")
    logger = {"device": "https://example.com/logger/0", "unit": "FAH", "low_milli": -40_000, "high_milli": 140_000}
    channel.ok("sensors", "register_device", **logger)
    if stage:
        channel.sail(until=("GTIN", "ARRI", "DISC", "DISC")[stage - 1])
    if stage >= 3:
        key = {"jurisdiction": "MO", "number": "MO-1"}
        channel.ok("customs-mo", "accept_declaration", **key)
        channel.ok("customs-mo", "assess_duty", **key, duty=["MOP", 0])
        channel.ok("customs-mo", "release_declaration", **key)
    if stage == 4:
        channel.surrender()
        channel.did("ka-ho", "GTOT", "MOMFM")
    channel.kit.check_what_changes()
    return channel


def begin(stage: int) -> Channel:
    """A channel of one's own that goes on from there."""
    channel = copy.copy(prepared(stage))
    channel.kit = channel.kit.copy()
    return channel


class Walk:
    """Random commands on one channel."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        stage = self.random.randrange(STAGES)
        self.channel = begin(stage)
        if stage == 3 and self.random.randrange(4):
            self.channel.surrender()

    def block(self, calls: int) -> None:
        chosen = [self.choose() for _ in range(calls)]
        self.channel.kit.pass_time(self.random.choice((0, 0, 0, MINUTE, 7 * MINUTE, 26 * HOUR)))
        receipts = self.channel.kit.block(
            *[
                self.channel.kit.call(person, command, args, module="title" if command == "set_status" else "")
                for person, command, args in chosen
            ]
        )
        for receipt, (_, command, _) in zip(receipts, chosen, strict=True):
            assert receipt.code in (0, 2, 3), f"{command}: {receipt.code} {receipt.reason}"

    def entities(self, kind: type[Any]) -> list[Any]:
        return self.channel.kit.entities(kind)

    def choose(self) -> Call:
        makers = (self.event, self.event, self.event, self.custody, self.custody, self.error)
        makers += (self.milestone, self.milestone, self.milestone, self.amended, self.cold, self.cold, self.customs)
        makers += (self.customs, self.customs, self.beside, self.booking, self.setting)
        person, command, args = self.random.choice(makers)()
        # One time in sixteen somebody else tries it.
        return (self.random.choice(PARTIES) if self.random.randrange(16) == 0 else person), command, args

    def event(self) -> Call:
        items: list[Item] = self.entities(Item)
        item = self.random.choice(items)
        other = self.random.choice([*[entry.epc for entry in items], pallet(self.random.randrange(5, 9))])
        channel, person = self.channel, ACTS_FOR.get(self.outermost(item).custodian, "maker")
        match self.random.randrange(8):
            case 0 | 1 | 2:
                event = channel.event("ADD", [other], parent=item.epc)
            case 3 | 4:
                inside = [item.epc] if item.parent else []
                event = channel.event("DELETE", inside, parent=item.parent or item.epc)
            case 5:
                event = channel.event("ADD", [pallet(self.random.randrange(5, 30))], read_point=GATE)
            case 6:
                event = channel.event(self.random.choice(("DELETE", "OBSERVE")), [item.epc])
            case _:
                event = {"kind": "TransformationEvent", "time_ms": channel.kit.time_ms, "offset": "+08:00"}
                event |= {"inputs": [item.epc], "outputs": [pallet(self.random.randrange(30, 60))]}
        if event.get("parent"):
            event["kind"] = self.random.choice(("AggregationEvent", "AssociationEvent"))
        return person, "capture_event", {"event": event}

    def outermost(self, item: Item) -> Item:
        by_epc = {entry.epc: entry for entry in self.entities(Item)}
        while item.parent:
            item = by_epc[item.parent]
        return item

    def custody(self) -> Call:
        items: list[Item] = self.entities(Item)
        offered = [item for item in items if item.handed_to]
        if offered and self.random.randrange(2):
            item = self.random.choice(offered)
            return ACTS_FOR[item.handed_to], "take_over", {"items": [item.epc], "from_org": item.custodian}
        item = self.random.choice(items)
        to = self.random.choice([*ACTS_FOR, ""])
        return ACTS_FOR[item.custodian], "hand_over", {"items": [item.epc], "to": to}

    def error(self) -> Call:
        event: EventRecord = self.random.choice(self.entities(EventRecord)[-8:])
        return event.captured_by, "declare_error", {"event": event.digest, "reason": "incorrect_data"}

    def milestone(self) -> Call:
        shipment: Shipment = self.random.choice(self.entities(Shipment))
        after = {
            "BOOKED": ("GTIN",), "GATED_IN": ("LOAD",), "LOADED": ("DEPA", "LOAD"), "DEPARTED": ("ARRI", "DEPA"),
            "ARRIVED": ("DISC", "DEPA", "ARRI"), "DISCHARGED": ("GTOT", "LOAD", "DISC"), "RELEASED": ("GTOT",),
        }  # fmt: skip
        code = self.random.choice(after.get(shipment.state, ("GTOT",)))
        place = self.random.choice(PLACES) if code == "ARRI" else shipment.place
        carrier = code in ("LOAD", "DEPA", "ARRI", "DISC") and (code == "DEPA" or self.random.randrange(2))
        person = "line" if carrier else TERMINALS[place]
        time_ms = self.channel.kit.time_ms - self.random.choice((0, 0, 0, MINUTE, 30 * HOUR))
        more: dict[str, Any] = {"time_ms": max(time_ms, 0)}
        if code in ("LOAD", "DEPA", "ARRI", "DISC"):
            more["vessel"] = shipment.vessel or self.random.choice((SHIP, BARGE))
        if self.random.randrange(6) == 0:
            more["classifier"] = "EST"
        return person, "state_milestone", self.channel.step(person, code, place, shipment.shipment, **more)

    def amended(self) -> Call:
        stated: list[Milestone] = self.entities(Milestone)
        if not stated:
            return self.milestone()
        chosen = self.random.choice(stated[-4:])
        person = "line" if chosen.org == "hk" else TERMINALS[chosen.place]
        args = {"shipment": chosen.shipment, "position": chosen.position, "reason": "typing"}
        if self.random.randrange(2):
            return person, "retract_milestone", args
        return person, "correct_milestone", args | {"time_ms": chosen.time_ms + self.random.choice((-MINUTE, 1, 500))}

    def cold(self) -> Call:
        chain: ColdChain = self.random.choice(self.entities(ColdChain))
        times = [chain.last_ms]
        for _ in range(self.random.randint(1, 5)):
            times.append(times[-1] + self.random.choice((MINUTE, 2 * MINUTE, 7 * MINUTE)))
        samples = [{"time_ms": time, "milli": self.random.choice((5_000, 5_000, 8_000, 8_001))} for time in times[1:]]
        person = "sensors"
        return (
            person,
            "record_samples",
            {
                "shipment": chain.shipment,
                "device": LOGGER,
                "unit": "CEL",
                "samples": samples,
            },
        )

    def customs(self) -> Call:
        known: list[Declaration] = self.entities(Declaration)
        if not known or self.random.randrange(5) == 0:
            shipment: Shipment = self.random.choice(self.entities(Shipment))
            number = f"MO-{self.random.randrange(1, 6)}"
            return "broker", "draft_declaration", self.channel.declaration(number, shipment.shipment)
        found = self.random.choice(known)
        key = {"jurisdiction": "MO", "number": found.number}
        goods = {"hs": ["300241"], "origin": "CN", "value": ["USD", 7], "reason": "line"}
        duty = {"duty": ["MOP", self.random.choice((0, 50))]}
        reference = f"D-{self.random.randrange(3)}"
        pay = {"bank": "BNULMOMX", "reference": reference, "payer": "clinic", "payee": "customs-mo"}
        amount = found.duty.minor + (self.random.randrange(8) == 0)
        pay |= {"amount": ["MOP", amount], "value_date": "2025-11-25"}
        officer = "customs-mo"
        rare: list[Call] = [
            ("broker", "cancel_declaration", key | {"reason": "r"}),
            (officer, "seize_declaration", key | {"reason": "r"}),
        ]
        close: Call = (officer, "close_declaration", key)
        after: dict[str, list[Call]] = {
            "DRAFT": [("broker", "lodge_declaration", key)],
            "LODGED": [(officer, "accept_declaration", key), ("broker", "amend_declaration", key | goods), rare[0]],
            "AMENDED": [(officer, "accept_declaration", key)],
            "ACCEPTED": [(officer, "examine_declaration", key | {"how": "SCAN"}), (officer, "assess_duty", key | duty)],
            "SCAN": [(officer, "examine_declaration", key | {"how": "INSPECT"}), (officer, "assess_duty", key | duty)],
            "INSPECT": [(officer, "assess_duty", key | duty)],
            "TAX_DUE": [("bank", "pay_duty", key | pay), (officer, "release_declaration", key)],
            "RELEASED": [close, close, rare[1]],
        }
        likely = after.get(found.state, rare)
        return self.random.choice(rare if self.random.randrange(8) == 0 else likely)

    def beside(self) -> Call:
        shipment: Shipment = self.random.choice(self.entities(Shipment))
        one = {"shipment": shipment.shipment}
        condition = "FOUND" if shipment.condition == "LOST" else self.random.choice(("DAMAGED", "LOST"))
        return self.random.choice(
            [
                ("customs-mo", "lift_hold", one)
                if shipment.hold
                else ("customs-mo", "hold_shipment", one | {"reason": "x"}),
                ("line", "report_condition", one | {"condition": condition}),
                ("line", "state_surrender", one),
                ("line", "set_status", {"document": DOCUMENT, "status": "SURRENDERED"}),
                ("clinic", "deliver", self.channel.delivery(shipment.shipment)),
                ("clinic", "deliver", self.channel.delivery(shipment.shipment)),
                ("clinic", "deliver", self.channel.delivery(shipment.shipment)),
            ]
        )

    def booking(self) -> Call:
        if self.random.randrange(3) == 0:
            shipment: Shipment = self.random.choice(self.entities(Shipment))
            return "line", "cancel_shipment", {"shipment": shipment.shipment}
        number = f"B-{self.random.randrange(2, 6)}"
        document = f"WAVE-{self.random.randrange(4)}"
        kind = {"document": document} | self.random.choice(({"document_kind": "SWB"}, {"registry": "ELSEWHERE"}))
        box = {"equipment": [self.random.choice((BOX, OTHER_BOX))]}
        return "line", "book_shipment", self.channel.booking(number, **kind, **box)

    def setting(self) -> Call:
        shipment: Shipment = self.random.choice(self.entities(Shipment))
        device = f"https://example.com/logger/{self.random.randrange(4)}"
        rule = {"shipment": shipment.shipment, "device": device, "unit": "FAH", "low_milli": 35_600}
        rule |= {"high_milli": 46_400, "single_ms": MINUTE, "total_ms": HOUR, "gap_ms": HOUR}
        uri = f"https://example.com/gate/{self.random.randrange(9)}"
        return self.random.choice(
            [
                ("sensors", "register_device", {"device": device, "unit": "CEL", "low_milli": 0, "high_milli": 9_000}),
                ("maker", "watch_shipment", rule),
                (
                    "maker",
                    "appoint_broker",
                    {"shipment": shipment.shipment, "org": self.random.choice(("mo", "survey"))},
                ),
                ("maker", "register_read_point", {"uri": uri}),
                ("alliance", "reassign_read_point", {"uri": self.random.choice((uri, GATE)), "org": "gz"}),
            ]
        )


def walk(seed: int, blocks: int) -> Walk:
    """A channel after so many random blocks; the whole walk follows from the seed."""
    walked = Walk(seed)
    for _ in range(blocks):
        walked.block(walked.random.randint(3, 7))
    walked.channel.kit.check_invariants()
    return walked


WALKS = Walks("logistics", lambda: [prepared(stage) for stage in range(STAGES)], walk, Lengths(2, 30), Lengths(12, 12))
