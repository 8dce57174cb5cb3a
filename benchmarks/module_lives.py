"""The lives that ``modules`` measures: for each module the commands a subject meets from its first to its last.

Subject ``number`` of a step is the subject ``number`` of every other step of its module, so a later step finds what an
earlier one left. People and figures are invented.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dawan_node.execution.dates import add_days, business_date
from dawan_node.interchange.refdata_csv import as_sent, read_table
from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number

PEOPLE: Final = {
    "supplier": ("gz", ["supplier"]),
    "supplier-2": ("gz", ["supplier"]),
    "core": ("gz", ["buyer", "core_enterprise"]),
    "buyer": ("mo", ["buyer", "consignee"]),
    "bank-cn": ("gz", ["bank"]),
    "bank-hk": ("hk", ["bank"]),
    "settlement": ("hq", ["settlement_bank"]),
    "exporter": ("gz", ["exporter", "shipper"]),
    "liner": ("hk", ["carrier"]),
    "warehouse": ("gz", ["warehouse"]),
    "terminal": ("gz", ["terminal"]),
    "court": ("hq", ["court"]),
}
SEEDS: Final = Path(__file__).resolve().parents[1] / "configs" / "refdata"
CARRIER: Final = "SMDG-HMM"
MINOR: Final = 1_000_000
DAY_MS: Final = 24 * 3_600_000
HS: Final = {"table": "hs", "version": 1}
CHECKSUM: Final = hashlib.sha256(b"the document").digest()


@dataclass(frozen=True, slots=True)
class Call:
    """One command by one person."""

    person: str
    module: str
    command: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and what it is called with for a subject at a time."""

    name: str
    call: Callable[[int, int], Call]


def step(person: str, module: str, command: str, args: Callable[[int, int], dict[str, Any]], note: str = "") -> Step:
    name = f"{command} ({note})" if note else command
    return Step(name, lambda number, time_ms: Call(person, module, command, args(number, time_ms)))


def digest(*parts: object) -> bytes:
    return hashlib.sha256(" ".join(map(str, parts)).encode()).digest()


def cash(reference: str, payer: str, payee: str, amount: list[Any], time_ms: int) -> dict[str, Any]:
    names = {"bank": "BKCHCNBJ", "reference": reference, "payer": payer, "payee": payee}
    return names | {"amount": amount, "value_date": business_date(time_ms)}


def opening() -> list[list[Call]]:
    """Two calendars, the currencies and a carrier, by vote: blocks in order."""
    loaded = ("calendar_cn", "calendar_hk", "currency")
    tables = {name: read_table(name, (SEEDS / f"{name}.csv").read_bytes()) for name in loaded}
    one = {table: {"table": table, "version": 1} for table in tables}
    names = {table: f"adopt-{table.replace('_', '-')}" for table in tables}

    def refdata(command: str, more: Callable[[str], dict[str, Any]]) -> list[Call]:
        return [Call("gz-admin", "refdata", command, one[table] | more(table)) for table in tables]

    def propose(table: str) -> dict[str, Any]:
        return {"id": names[table], "effective_from": "2025-01-01"}

    carrier = {"id": "carrier", "code": CARRIER, "org": "hk"}
    voters = [(org, name) for name in (*names.values(), "carrier") for org in ("gz", "hk", "mo")]
    return [
        [
            *refdata("open_edition", lambda table: {"title": table, "source": tables[table].source}),
            # The one that the measurement writes into.
            Call("gz-admin", "refdata", "open_edition", HS | {"title": "goods", "source": bytes(32)}),
        ],
        refdata("write_rows", lambda table: {"rows": [as_sent(row) for row in tables[table].rows]}),
        refdata("seal_edition", lambda _: {}),
        [*refdata("propose_edition", propose), Call("gz-admin", "title", "propose_carrier", carrier)],
        [Call(f"{org}-admin", "governance", "vote", {"proposal": name, "approve": True}) for org, name in voters],
        [
            *[Call("gz-admin", "refdata", "enact", {"proposal": name}) for name in names.values()],
            Call("gz-admin", "title", "enact", {"proposal": "carrier"}),
        ],
    ]


# -- receivable -------------------------------------------------------------------------------------------------------


def _invoice(number: int, time_ms: int) -> dict[str, Any]:
    today = business_date(time_ms)
    args = {"number": f"INV-{number:06}", "buyer": "core", "issue_date": today, "due_date": add_days(today, 90)}
    return args | {"total": ["CNY", MINOR]}


def _invoice_id(number: int, time_ms: int) -> str:
    normalised = normalised_number(f"INV-{number:06}")
    assert normalised is not None
    return invoice_id("supplier", "core", normalised, business_date(time_ms), Money("CNY", MINOR))


def _issue(number: int, time_ms: int) -> dict[str, Any]:
    args = {"number": f"V-{number:06}", "holder": "supplier", "face": ["CNY", MINOR]}
    args |= {"due_date": add_days(business_date(time_ms), 90)}
    return args | {"invoices": [{"invoice": _invoice_id(number, time_ms), "minor": MINOR}]}


def _voucher(number: int, _: int) -> dict[str, Any]:
    return {"voucher": f"core/V-{number:06}"}


def _apply(number: int, time_ms: int) -> dict[str, Any]:
    args = {"number": f"F-{number:06}", "financier": "bank-hk", "kind": "DISCOUNT", "principal": ["CNY", MINOR - 9]}
    args |= {"rate_ppm": 30_000, "recourse": False, "maturity": add_days(business_date(time_ms), 90)}
    return args | _voucher(number, time_ms)


def _financing(number: int, _: int) -> dict[str, Any]:
    return {"financing": f"supplier-2/F-{number:06}"}


def _fund(number: int, time_ms: int) -> dict[str, Any]:
    paid = cash(f"FUND {number}", "bank-hk", "supplier-2", ["CNY", MINOR - 9], time_ms)
    return _financing(number, time_ms) | {"cash": paid}


RECEIVABLE: Final = (
    step("supplier", "receivable", "record_invoice", _invoice),
    step("core", "receivable", "confirm_invoice", lambda n, t: {"invoice": _invoice_id(n, t)}),
    step("core", "receivable", "issue_voucher", _issue),
    step("supplier", "receivable", "accept_voucher", _voucher),
    step("supplier", "receivable", "transfer_voucher", lambda n, t: _voucher(n, t) | {"to": "supplier-2"}),
    step("supplier-2", "receivable", "accept_voucher", _voucher, "of a transfer"),
    step("supplier-2", "receivable", "apply_voucher_financing", _apply),
    step("bank-hk", "receivable", "reserve_financing", _financing),
    step("settlement", "receivable", "fund_financing", _fund),
)

# -- lc ---------------------------------------------------------------------------------------------------------------


def _credit(number: int, _: int) -> dict[str, Any]:
    return {"credit": f"core/LC-{number:06}"}


def _apply_credit(number: int, time_ms: int) -> dict[str, Any]:
    today = business_date(time_ms)
    return {
        "number": f"LC-{number:06}",
        "rules": "EUCP",
        "beneficiary": "exporter",
        "issuing": {"name": "bank-cn", "place": "CN"},
        "nominated": {"name": "bank-hk", "place": "HK"},
        "advising": "bank-hk",
        "amount": ["USD", MINOR],
        "expiry": add_days(today, 30),
        "latest_shipment": add_days(today, 20),
        "available_by": "SIGHT",
        "documents": [{"kind": kind} for kind in ("INVOICE", "EBL", "INSURANCE")],
    }


def _present(number: int, time_ms: int) -> dict[str, Any]:
    def paper(kind: str) -> dict[str, Any]:
        bill = f"BL-{number:06}" if kind == "EBL" else ""
        return {"kind": kind, "digest": digest("paper", kind, number), "size": 100, "issuer": "MAEU", "number": bill}

    args = _credit(number, time_ms) | {"bank": "bank-hk", "amount": ["USD", MINOR]}
    return args | {
        "shipment_date": business_date(time_ms),
        "documents": [paper(kind) for kind in ("INVOICE", "EBL", "INSURANCE")],
    }


def _presentation(number: int, _: int) -> dict[str, Any]:
    return {"presentation": f"core/LC-{number:06}#1"}


def _pay(number: int, time_ms: int) -> dict[str, Any]:
    paid = cash(f"LC {number}", "bank-hk", "exporter", ["USD", MINOR], time_ms)
    return _presentation(number, time_ms) | {"cash": paid}


LC: Final = (
    step("core", "lc", "apply_credit", _apply_credit),
    step("bank-cn", "lc", "issue_credit", _credit),
    step("bank-hk", "lc", "advise_credit", _credit),
    step("exporter", "lc", "present_documents", _present, "three documents"),
    step("bank-hk", "lc", "find_complying", _presentation),
    step("bank-hk", "lc", "honour_presentation", _presentation),
    step("settlement", "lc", "pay_presentation", _pay),
)

# -- title ------------------------------------------------------------------------------------------------------------


def _draft(number: int, time_ms: int) -> dict[str, Any]:
    bill = {
        "to_order": True, "shipper": "exporter", "port_of_loading": "CNYTN", "port_of_discharge": "MOMFM",
        "vessel": "9863297", "voyage": "402E", "boxes": [{"number": "CSQU3054383", "type": "22G1"}],
        "shipped_on": business_date(time_ms),
    }  # fmt: skip
    return {"carrier": CARRIER, "reference": f"HKG-{number:06}", "bill": bill, "checksum": CHECKSUM}


def _title(number: int, _: int) -> dict[str, Any]:
    return {"title": f"{CARRIER}/HKG-{number:06}"}


def _issue_title(number: int, time_ms: int) -> dict[str, Any]:
    document = {"digest": digest("bill", number), "size": 4_000, "readers": ["gz", "hk"], "retain_until": "2036-01-01"}
    return _title(number, time_ms) | {"document": document}


def _endorse(number: int, time_ms: int) -> dict[str, Any]:
    return _title(number, time_ms) | {"kind": "ENDORSE_TO_ORDER", "to": "buyer", "hand_over_to": "buyer"}


TITLE: Final = (
    step("liner", "title", "draft_title", _draft),
    step("exporter", "title", "approve_draft", lambda n, t: _title(n, t) | {"checksum": CHECKSUM}),
    step("liner", "title", "issue_title", _issue_title),
    step("exporter", "title", "transfer_title", lambda n, t: _title(n, t) | {"to": "bank-hk"}),
    step("bank-hk", "title", "transfer_title", lambda n, t: _title(n, t) | {"to": "exporter"}, "back"),
    step("exporter", "title", "endorse_title", _endorse, "and hand over"),
    step("buyer", "title", "surrender_title", lambda n, t: _title(n, t) | {"purpose": "DELIVERY"}),
    step("liner", "title", "accept_surrender", _title),
)

# -- logistics --------------------------------------------------------------------------------------------------------


def _pallet(number: int) -> str:
    return f"urn:epc:id:sscc:4012345.{number:010d}"


def _gate(number: int) -> str:
    return f"https://example.com/gate/{number}"


def _event(action: str, time_ms: int, **more: Any) -> dict[str, Any]:
    kind = "AggregationEvent" if "parent" in more else "ObjectEvent"
    return {"event": {"kind": kind, "action": action, "time_ms": time_ms, "offset": "+08:00"} | more}


def _book(number: int, time_ms: int) -> dict[str, Any]:
    return {
        "number": f"B-{number:06}", "shipper": "gz", "consignee": "mo", "mode": "VESSEL",
        "terminals": [{"place": "CNYTN", "org": "gz"}, {"place": "MOMFM", "org": "mo"}],
        "document_kind": "SWB", "document": f"W-{number:06}", "registry": "ELSEWHERE",
        "load_place": "CNYTN", "discharge_place": "MOMFM",
        "planned_departure_ms": time_ms + DAY_MS, "planned_arrival_ms": time_ms + 2 * DAY_MS,
        "equipment": [f"MSKU{number:07d}"],
    }  # fmt: skip


def _gate_in(number: int, time_ms: int) -> dict[str, Any]:
    args = {"shipment": f"hk/B-{number:06}", "family": "EQUIPMENT", "code": "GTIN", "classifier": "ACT"}
    return args | {"place": "CNYTN", "time_ms": time_ms, "source": f"gate-{number}"}


LOGISTICS: Final = (
    step("warehouse", "logistics", "register_read_point", lambda n, _: {"uri": _gate(n)}),
    step(
        "warehouse",
        "logistics",
        "capture_event",
        lambda n, t: _event("ADD", t, epcs=[_pallet(2 * n), _pallet(2 * n + 1)], read_point=_gate(n)),
        "two new items",
    ),
    step(
        "warehouse",
        "logistics",
        "capture_event",
        lambda n, t: _event("ADD", t, parent=_pallet(2 * n), children=[_pallet(2 * n + 1)]),
        "one into the other",
    ),
    step("warehouse", "logistics", "hand_over", lambda n, _: {"items": [_pallet(2 * n)], "to": "hk"}),
    step("liner", "logistics", "take_over", lambda n, _: {"items": [_pallet(2 * n)], "from_org": "gz"}),
    step("liner", "logistics", "book_shipment", _book),
    step("terminal", "logistics", "state_milestone", _gate_in),
)

# -- kernel and refdata -----------------------------------------------------------------------------------------------


def _order(number: int, _: int) -> dict[str, Any]:
    return {"module": "title", "asset": f"asset-{number}", "order": f"HCA {number}/2025"}


def _freeze(number: int, time_ms: int) -> dict[str, Any]:
    return _order(number, time_ms) | {"reason": "ownership disputed", "until_ms": time_ms + 30 * DAY_MS}


KERNEL: Final = (
    step("court", "kernel", "freeze_asset", _freeze),
    step("court", "kernel", "lift_freeze", _order),
)

ROWS: Final = 20


def _rows(number: int, _: int) -> dict[str, Any]:
    """Codes of a table of goods, in order."""
    codes = [f"{number * ROWS + place:06d}" for place in range(ROWS)]
    rows = [[code, f"goods {code}", [["parent", code[:4]], ["section", "I"]], False] for code in codes]
    return HS | {"rows": rows}


def _propose(number: int, time_ms: int) -> dict[str, Any]:
    args = {"id": f"change-{number}", "key": "lc.exam.banking_days", "value": 1 + number % 5}
    return args | {"effective_from": add_days(business_date(time_ms), 7)}


REFDATA: Final = (
    step("gz-admin", "refdata", "write_rows", _rows, f"{ROWS} rows"),
    step("gz-admin", "refdata", "propose_parameter", _propose),
)

LIVES: Final[dict[str, tuple[Step, ...]]] = {
    "receivable": RECEIVABLE,
    "lc": LC,
    "title": TITLE,
    "logistics": LOGISTICS,
    "kernel": KERNEL,
    "refdata": REFDATA,
}
