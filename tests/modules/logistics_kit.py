"""A logistics channel in a test: its parties, and what they do in one line each.

The title register is a stand-in that says of a document what the test told it, and keeps a title that says the same;
the module under test asks it through the same exported function as the real one.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from dawan_node.execution.module import Args, Context, Module, key_of
from dawan_node.modules.governance import module as governance
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.logistics import module as logistics
from dawan_node.modules.logistics.entities import ColdChain, Declaration, Equipment, Item, Milestone, Shipment
from dawan_node.modules.logistics.gs1 import canonical_uri
from dawan_node.modules.refdata import module as refdata
from dawan_node.modules.title.entities import NO_PLEDGE, NO_UNDO, Bill, State, Title
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import ModuleKit

#: The line between two ports, its terminals, customs of three places, and who watches the cold.
PEOPLE: Final = {
    "maker": ("gz", ["shipper", "warehouse"]),
    "line": ("hk", ["carrier"]),
    "rival-line": ("rival", ["carrier"]),
    "agent": ("gz", ["forwarder"]),
    "yantian": ("yantian", ["terminal"]),
    "kwai-chung": ("kwai", ["terminal"]),
    "ka-ho": ("kaho", ["terminal"]),
    "clinic": ("mo", ["consignee", "warehouse"]),
    "broker": ("brokers", ["customs_broker"]),
    "broker-hk": ("kwai", ["customs_broker"]),
    "customs-gd": ("gd-customs", ["customs", "gd"]),
    "customs-hk": ("hk-customs", ["customs", "hk"]),
    "customs-mo": ("mo-customs", ["customs", "mo"]),
    "sensors": ("iot", ["iot_provider"]),
    "other-sensors": ("rival", ["iot_provider"]),
    "surveyor": ("survey", ["inspector"]),
    "bank": ("hq", ["settlement_bank"]),
    "judge": ("hq", ["court"]),
    "alliance": ("hq", ["alliance_admin"]),
}

BOX: Final = "CSQU3054383"
LOGGER: Final = "urn:epc:id:giai:4000001.111"
SHIP: Final = "9074729"
BARGE: Final = "9321483"
GATE: Final = "https://id.gs1.org/414/4012345000115"
DOCUMENT: Final = "HK-LINE/HKG-0042"
HOUR: Final = 3_600_000
MINUTE: Final = 60_000


class SetStatus(Args):
    document: str
    status: str


title: Final = Module("title", version=1, entities=(Title,))
#: What is answered while a title is in a state.
STATES: Final[dict[str, State]] = {
    "OUTSTANDING": "ISSUED",
    "PAPER": "VOIDED",
    "SURRENDERED": "SURRENDERED_FOR_DELIVERY",
}
_BILL: Final = Bill("", True, "maker", "", "CNYTN", "MOMFM", SHIP, "402E", (), "2025-11-01", "PRE")


@title.command("set_status", args=SetStatus, roles=())
def set_status(ctx: Context, args: SetStatus) -> None:
    """Say of a document what the register is to answer; what was surrendered for delivery stays so."""
    before = ctx.get(Title, key_of(args.document))
    if before is not None and before.state == STATES["SURRENDERED"]:
        return
    ctx.put(
        Title(
            title=args.document,
            document=args.document,
            version=1,
            replaces="",
            replaced_by="",
            carrier=args.document.partition("/")[0],
            bill=_BILL,
            checksum=bytes(32),
            digest=bytes(32),
            state=STATES[args.status],
            medium="PAPER" if args.status == "PAPER" else "ELECTRONIC",
            holder="",
            endorsee="",
            negotiable=True,
            nominee="",
            requester="",
            reason="",
            paper="",
            pledge=NO_PLEDGE,
            undo=NO_UNDO,
            origin="",
            length=0,
            head=bytes(32),
        )
    )


@title.export("delivery_status")
def delivery_status(ctx: Context, document: str, carrier: str) -> str:
    """UNKNOWN, OUTSTANDING, PAPER or SURRENDERED."""
    found = ctx.get(Title, key_of(document))
    return "UNKNOWN" if found is None else {state: status for status, state in STATES.items()}[found.state]


def pallet(number: int) -> str:
    """The SSCC of a pallet, as a message writes it."""
    return f"urn:epc:id:sscc:4012345.{number:010d}"


class Channel:
    """``ok`` requires success, ``expect`` a reason and an unchanged state; both run one block with invariants."""

    def __init__(self, *, titles: bool = True) -> None:
        self.kit = ModuleKit([logistics, governance, kernel, refdata, *([title] if titles else [])], PEOPLE)
        self.start = self.kit.time_ms

    @property
    def now(self) -> int:
        """The time of the next block."""
        return self.kit.time_ms + 1_000

    def call(self, person: str, command: str, /, *, at: str = "logistics", **args: Any) -> Transaction:
        return self.kit.call(person, command, args, module=at)

    def ok(self, person: str, command: str, /, *, at: str = "logistics", **args: Any) -> Receipt:
        receipt = self.kit.run(person, command, args, module=at)
        assert (receipt.code, receipt.reason) == (0, ""), f"{command} by {person}: {receipt.reason}"
        return receipt

    def expect(self, reason: str, person: str, command: str, /, **args: Any) -> None:
        before = self.state()
        receipt = self.kit.run(person, command, args)
        assert receipt.reason == reason, f"{command} by {person}: {receipt.reason or 'success'}, not {reason}"
        assert (receipt.events, self.state()) == ([], before)

    def race(self, *transactions: Transaction) -> list[str]:
        """One block; the reasons."""
        return [receipt.reason for receipt in self.kit.block(*transactions)]

    def state(self) -> dict[Any, bytes]:
        return {key: value for key, value in self.kit.state.values.items() if key[1] != "replay"}

    def query(self, name: str, **params: Any) -> tuple[Any, ...]:
        return self.kit.query(name, params)[0]

    # --- events and items

    def event(self, action: str = "OBSERVE", epcs: Any = (), **more: Any) -> dict[str, Any]:
        """An ObjectEvent that happened now, or with ``parent`` an AggregationEvent."""
        packs = "parent" in more
        kind = "AggregationEvent" if packs else "ObjectEvent"
        event = {"kind": kind, "action": action, "time_ms": self.kit.time_ms, "offset": "+08:00"}
        return event | {"children" if packs else "epcs": list(epcs)} | more

    def gate(self, person: str = "maker", uri: str = GATE) -> str:
        self.ok(person, "register_read_point", uri=uri)
        return uri

    def goods(self, *numbers: int, person: str = "maker") -> list[str]:
        """Pallets commissioned by ``person`` at a read point of its own."""
        gate = self.gate(person, f"https://example.com/gate/{person}/{numbers[0]}")
        epcs = [pallet(number) for number in numbers]
        self.ok(person, "capture_event", event=self.event("ADD", epcs, read_point=gate))
        return epcs

    def item(self, epc: str) -> Item:
        found = self.kit.get(Item, key_of(canonical_uri(epc)))
        assert found is not None
        return found

    # --- shipments

    def booking(self, number: str = "B-1", **more: Any) -> dict[str, Any]:
        args = {
            "number": number,
            "shipper": "gz",
            "consignee": "mo",
            "terminals": [
                {"place": "CNYTN", "org": "yantian"},
                {"place": "HKHKG", "org": "kwai"},
                {"place": "MOMFM", "org": "kaho"},
            ],
            "mode": "VESSEL",
            "document_kind": "BOL",
            "document": DOCUMENT,
            "load_place": "CNYTN",
            "discharge_place": "MOMFM",
            "planned_departure_ms": self.start,
            "planned_arrival_ms": self.start + 24 * HOUR,
            "equipment": [BOX],
            "free_days": 5,
        }
        return args | more

    def book(self, number: str = "B-1", **more: Any) -> str:
        self.ok("line", "book_shipment", **self.booking(number, **more))
        for org in ("brokers", "kwai"):
            self.ok("line", "appoint_broker", shipment=f"hk/{number}", org=org)
        return f"hk/{number}"

    def step(self, person: str, code: str, place: str, shipment: str = "hk/B-1", **more: Any) -> dict[str, Any]:
        """Arguments of ``state_milestone`` for something that happens now."""
        family = "TRANSPORT" if code in ("DEPA", "ARRI") else "EQUIPMENT"
        aboard = {"vessel": SHIP} if code in ("LOAD", "DEPA", "ARRI", "DISC") else {}
        args = {"shipment": shipment, "family": family, "code": code, "classifier": "ACT", "place": place}
        return args | aboard | {"time_ms": self.kit.time_ms} | more

    def did(self, person: str, code: str, place: str, shipment: str = "hk/B-1", **more: Any) -> None:
        self.ok(person, "state_milestone", **self.step(person, code, place, shipment, **more))

    def sail(self, shipment: str = "hk/B-1", until: str = "DISC") -> None:
        """Straight from Yantian to Macau, up to a code."""
        way = [
            ("yantian", "GTIN", "CNYTN"),
            ("line", "LOAD", "CNYTN"),
            ("line", "DEPA", "CNYTN"),
            ("line", "ARRI", "MOMFM"),
            ("ka-ho", "DISC", "MOMFM"),
            ("ka-ho", "GTOT", "MOMFM"),
        ]
        for person, code, place in way:
            self.did(person, code, place, shipment)
            if code == until:
                return

    def shipment(self, shipment: str = "hk/B-1") -> Shipment:
        found = self.kit.get(Shipment, key_of(shipment))
        assert found is not None
        return found

    def box(self, number: str = BOX) -> Equipment:
        found = self.kit.get(Equipment, key_of(number))
        assert found is not None
        return found

    def milestone(self, position: int, shipment: str = "hk/B-1") -> Milestone:
        found = self.kit.get(Milestone, key_of(shipment, position))
        assert found is not None
        return found

    def surrender(self, document: str = DOCUMENT) -> None:
        self.ok("line", "set_status", at="title", document=document, status="SURRENDERED")

    def issue(self, document: str = DOCUMENT) -> None:
        self.ok("line", "set_status", at="title", document=document, status="OUTSTANDING")

    def delivery(self, shipment: str = "hk/B-1", **more: Any) -> dict[str, Any]:
        proof = {"receiver": hashlib.sha256(b"salt and name").digest(), "document": hashlib.sha256(b"note").digest()}
        return {"shipment": shipment, "time_ms": self.kit.time_ms} | proof | more

    # --- customs

    def declaration(self, number: str = "MO-1", shipment: str = "hk/B-1", **more: Any) -> dict[str, Any]:
        args = {"jurisdiction": "MO", "number": number, "regime": "IMPORT", "shipment": shipment}
        return args | {"hs": ["300241"], "origin": "CN", "value": ["USD", 1_000_000]} | more

    def lodge(self, number: str = "MO-1", shipment: str = "hk/B-1", **more: Any) -> dict[str, Any]:
        args = self.declaration(number, shipment, **more)
        self.ok("broker", "draft_declaration", **args)
        key = {"jurisdiction": args["jurisdiction"], "number": number}
        self.ok("broker", "lodge_declaration", **key)
        return key

    def release(self, number: str = "MO-1", shipment: str = "hk/B-1") -> dict[str, Any]:
        key = self.lodge(number, shipment)
        self.ok("customs-mo", "accept_declaration", **key)
        self.ok("customs-mo", "assess_duty", **key, duty=["MOP", 0])
        self.ok("customs-mo", "release_declaration", **key)
        return key

    def declared(self, number: str = "mo1", jurisdiction: str = "MO") -> Declaration:
        found = self.kit.get(Declaration, key_of(jurisdiction, number))
        assert found is not None
        return found

    # --- cold

    def watch(self, shipment: str = "hk/B-1", unit: str = "CEL", **more: Any) -> None:
        """2 to 8 degrees, one excursion of 10 minutes, 30 in all, a sample each 5 minutes."""
        low, high = (-40_000, 60_000) if unit == "CEL" else (-40_000, 140_000)
        self.ok("sensors", "register_device", device=LOGGER, unit=unit, low_milli=low, high_milli=high)
        rule = {"unit": "CEL", "low_milli": 2_000, "high_milli": 8_000, "single_ms": 10 * MINUTE}
        rule |= {"total_ms": 30 * MINUTE, "gap_ms": 5 * MINUTE}
        self.ok("maker", "watch_shipment", shipment=shipment, device=LOGGER, **(rule | more))

    def samples(self, values: list[int], *, every: int = MINUTE, unit: str = "CEL", **more: Any) -> dict[str, Any]:
        """A series that begins ``every`` after the last sample; time is passed to its end."""
        first = self.chain().last_ms + every
        series = [{"time_ms": first + place * every, "milli": value} for place, value in enumerate(values)]
        self.kit.pass_time(max(0, series[-1]["time_ms"] - self.kit.time_ms))
        return {"shipment": "hk/B-1", "device": LOGGER, "unit": unit, "samples": series} | more

    def record(self, values: list[int], **more: Any) -> Receipt:
        return self.ok("sensors", "record_samples", **self.samples(values, **more))

    def chain(self) -> ColdChain:
        found = self.kit.get(ColdChain, key_of("hk/B-1", "https://id.gs1.org/8004/4000001111"))
        assert found is not None
        return found
