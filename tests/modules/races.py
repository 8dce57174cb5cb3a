"""Races: two transactions of which exactly one may succeed, and what must be on the chain before them.

Every maker gives a race about subjects of its own (``tag``, digits, makes them new): stages of preparation, each of
which must be on the chain before the next, the two rivals, and the reasons the loser may be given. People are those of
``configs/consortium.devnet.toml``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from dawan_node.execution.dates import add_days, business_date
from dawan_node.interchange.refdata_csv import as_sent, read_table
from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number

CARRIER: Final = "SMDG-HMM"
BIC: Final = "BKCHCNBJ"
DAY_MS: Final = 24 * 3_600_000
#: When this process began: one day for everything, also around midnight.
NOW_MS: Final = time.time_ns() // 1_000_000
CHECKSUM: Final = hashlib.sha256(b"the document").digest()


@dataclass(frozen=True)
class Call:
    """One command by one person."""

    person: str
    module: str
    command: str
    args: dict[str, Any]


@dataclass(frozen=True)
class Race:
    """``first`` and ``second`` want the same thing."""

    name: str
    stages: tuple[tuple[Call, ...], ...]
    first: Call
    second: Call
    reasons: frozenset[str]


def today() -> str:
    return business_date(NOW_MS)


def before_ms() -> int:
    """A minute ago, so that no validator's clock makes it the future."""
    return NOW_MS - 60_000


def cash(reference: str, payer: str, payee: str, amount: list[Any]) -> dict[str, Any]:
    names = {"bank": BIC, "reference": reference, "payer": payer, "payee": payee}
    return names | {"amount": amount, "value_date": today()}


# -- what the channel needs once --------------------------------------------------------------------------------------


def calendar(place: str) -> bytes:
    """A calendar without holidays for this year and the next, whatever year this test runs in."""
    years = (int(today()[:4]), int(today()[:4]) + 1)
    return "\n".join(["code,name,closed,opened", *[f"{year},{place} {year},0101," for year in years], ""]).encode()


CURRENCIES: Final = b"code,name,exponent,numeric\nCNY,renminbi,2,156\nUSD,dollar,2,840\n"


def opening() -> list[tuple[Call, ...]]:
    """Calendars and currencies in force, and a carrier enrolled: stages in order."""
    files = {"calendar_cn": calendar("CN"), "calendar_hk": calendar("HK"), "currency": CURRENCIES}
    tables = {table: read_table(table, data) for table, data in files.items()}

    def of_each(command: str, make: Callable[[str], dict[str, Any]]) -> tuple[Call, ...]:
        return tuple([Call("gz-admin", "refdata", command, make(table)) for table in tables])

    def one(table: str) -> dict[str, Any]:
        return {"table": table, "version": 1}

    proposals = [*[f"adopt-{table.replace('_', '-')}" for table in tables], "carrier-hmm"]
    names = dict(zip(tables, proposals, strict=False))
    carrier = Call("gz-admin", "title", "propose_carrier", {"id": "carrier-hmm", "code": CARRIER, "org": "hk"})
    since = {"effective_from": "2025-01-01"}
    return [
        of_each("open_edition", lambda table: one(table) | {"title": "test", "source": tables[table].source}),
        of_each("write_rows", lambda table: one(table) | {"rows": [as_sent(row) for row in tables[table].rows]}),
        of_each("seal_edition", one),
        (*of_each("propose_edition", lambda table: one(table) | since | {"id": names[table]}), carrier),
        tuple(
            Call(f"{org}-admin", "governance", "vote", {"proposal": name, "approve": True})
            for name in proposals
            for org in ("gz", "hk", "mo")
        ),
        (
            *of_each("enact", lambda table: {"proposal": names[table]}),
            Call("gz-admin", "title", "enact", {"proposal": "carrier-hmm"}),
        ),
    ]


# -- receivable -------------------------------------------------------------------------------------------------------


def _invoice(number: str, seller: str, buyer: str, minor: int) -> tuple[str, Call]:
    args = {"number": number, "buyer": buyer, "issue_date": today(), "due_date": add_days(today(), 90)}
    normalised = normalised_number(number)
    assert normalised is not None
    identifier = invoice_id(seller, buyer, normalised, today(), Money("CNY", minor))
    return identifier, Call(seller, "receivable", "record_invoice", args | {"total": ["CNY", minor]})


def _voucher(number: str) -> tuple[str, tuple[tuple[Call, ...], ...]]:
    """A voucher of gz-core that gz-supplier holds."""
    minor = 1_000_000
    invoice, record = _invoice(f"INV-{number}", "gz-supplier", "gz-core", minor)
    voucher = f"gz-core/{number}"
    issue = {"number": number, "holder": "gz-supplier", "face": ["CNY", minor], "due_date": add_days(today(), 90)}
    issue |= {"invoices": [{"invoice": invoice, "minor": minor}]}
    return voucher, (
        (record,),
        (Call("gz-core", "receivable", "confirm_invoice", {"invoice": invoice}),),
        (Call("gz-core", "receivable", "issue_voucher", issue),),
        (Call("gz-supplier", "receivable", "accept_voucher", {"voucher": voucher}),),
    )


def double_pledge(tag: str) -> Race:
    voucher, stages = _voucher(f"PLEDGE-{tag}")

    def apply(bank: str) -> Call:
        args = {"number": f"{bank}-{tag}", "voucher": voucher, "financier": bank, "kind": "PLEDGE"}
        args |= {"principal": ["CNY", 900_000], "rate_ppm": 30_000, "recourse": True}
        return Call("gz-supplier", "receivable", "apply_voucher_financing", args | {"maturity": add_days(today(), 60)})

    def reserve(bank: str) -> Call:
        number = f"{bank}-{tag}".upper()
        # Buyer and seller are of one organisation, which a bank has to accept.
        return Call(bank, "receivable", "reserve_financing", {"financing": f"gz-supplier/{number}", "related": True})

    applications = (apply("hk-bank"), apply("mo-bank"))
    return Race(
        "one voucher pledged to two banks",
        (*stages, applications),
        reserve("hk-bank"),
        reserve("mo-bank"),
        frozenset({"E_DUP_FINANCE"}),
    )


def two_transfers_of_a_voucher(tag: str) -> Race:
    voucher, stages = _voucher(f"MOVE-{tag}")
    first, second = [
        Call("gz-supplier", "receivable", "transfer_voucher", {"voucher": voucher, "to": to})
        for to in ("gz-supplier-2", "hk-supplier")
    ]
    return Race("one voucher handed to two", stages, first, second, frozenset({"E_VOUCHER_STATE"}))


def one_invoice_in_two_spellings(tag: str) -> Race:
    _, plain = _invoice(f"SPELT-{tag}", "gz-supplier", "gz-buyer", 5_000)
    _, other = _invoice(f"spelt {tag}", "gz-supplier", "gz-buyer", 5_000)
    return Race("one invoice in two spellings", (), plain, other, frozenset({"E_DUP_INVOICE"}))


def one_payment_for_two_invoices(tag: str) -> Race:
    (one, first), (two, second) = [_invoice(f"PAID-{n}-{tag}", "gz-supplier", "gz-buyer", 7_000) for n in (1, 2)]
    confirm = [Call("gz-buyer", "receivable", "confirm_invoice", {"invoice": each}) for each in (one, two)]
    paid = cash(f"PAY {tag}", "gz-buyer", "gz-supplier", ["CNY", 7_000])
    settle = [
        Call("hk-settlement", "receivable", "settle_invoice", {"invoice": each, "cash": paid}) for each in (one, two)
    ]
    return Race(
        "one payment for two invoices",
        ((first, second), tuple(confirm)),
        settle[0],
        settle[1],
        frozenset({"E_CASHREF_USED"}),
    )


# -- lc ---------------------------------------------------------------------------------------------------------------


def _credit(number: str) -> tuple[str, list[Call]]:
    """A sight credit over USD 1,000.00 with Hong Kong: applied for, issued, advised."""
    args = {
        "number": number,
        "rules": "EUCP",
        "beneficiary": "gz-exporter",
        "issuing": {"name": "gz-bank", "place": "CN"},
        "nominated": {"name": "hk-bank", "place": "HK"},
        "advising": "hk-bank",
        "amount": ["USD", 100_000],
        "expiry": add_days(today(), 30),
        "latest_shipment": add_days(today(), 20),
        "available_by": "SIGHT",
        "documents": [{"kind": "EBL"}, {"kind": "INVOICE"}],
    }
    one = {"credit": f"gz-buyer/{number}"}
    return one["credit"], [
        Call("gz-buyer", "lc", "apply_credit", args),
        Call("gz-bank", "lc", "issue_credit", one),
        Call("hk-bank", "lc", "advise_credit", one),
    ]


def _present(credit: str, bill: str, tag: str, minor: int) -> Call:
    def paper(kind: str, number: str = "") -> dict[str, Any]:
        digest = hashlib.sha256(f"{credit} {kind} {bill} {tag}".encode()).digest()
        return {"kind": kind, "digest": digest, "size": 100, "issuer": "MAEU", "number": number}

    args = {"credit": credit, "bank": "hk-bank", "amount": ["USD", minor], "shipment_date": today()}
    return Call("gz-exporter", "lc", "present_documents", args | {"documents": [paper("EBL", bill), paper("INVOICE")]})


def one_bill_under_two_credits(tag: str) -> Race:
    (one, first), (two, second) = _credit(f"EBL-1-{tag}"), _credit(f"EBL-2-{tag}")
    bill = f"BL-{tag}"
    return Race(
        "one electronic bill under two credits",
        tuple(zip(first, second, strict=True)),
        _present(one, bill, "a", 100_000),
        _present(two, bill, "b", 100_000),
        frozenset({"E_DUP_FINANCE"}),
    )


def drawn_beyond_its_amount(tag: str) -> Race:
    credit, made = _credit(f"OVER-{tag}")
    rivals = [_present(credit, f"BL-{n}-{tag}", n, 60_000) for n in ("x", "y")]
    reasons = frozenset({"E_CONSERVATION"})
    return Race(
        "a credit drawn twice beyond its amount", tuple((call,) for call in made), rivals[0], rivals[1], reasons
    )


def one_payment_for_two_obligations(tag: str) -> Race:
    """Through the kernel, whose register of payments is one for all modules."""
    terms = {"beneficiary": "gz-exporter", "amount": ["USD", 5_000], "due_date": today(), "conditions": []}
    numbers = [f"PO-{n}-{tag}" for n in (1, 2)]
    undertake = [Call("gz-buyer", "lc", "undertake_payment", terms | {"number": number}) for number in numbers]
    paid = cash(f"OBL {tag}", "gz-buyer", "gz-exporter", ["USD", 5_000])
    pay = [
        Call("hk-settlement", "lc", "pay_obligation", {"obligation": f"gz-buyer/obligation/{number}", "cash": paid})
        for number in numbers
    ]
    reasons = frozenset({"E_CASHREF_USED"})
    return Race("one payment for two obligations", (tuple(undertake),), pay[0], pay[1], reasons)


# -- title ------------------------------------------------------------------------------------------------------------


def _title(reference: str) -> tuple[str, tuple[tuple[Call, ...], ...]]:
    """A bill to order that its shipper holds."""
    bill = {
        "to_order": True, "shipper": "gz-exporter", "port_of_loading": "CNYTN", "port_of_discharge": "MOMFM",
        "vessel": "9863297", "voyage": "402E", "boxes": [{"number": "CSQU3054383", "type": "22G1"}],
        "shipped_on": today(),
    }  # fmt: skip
    title = f"{CARRIER}/{reference}"
    draft = {"carrier": CARRIER, "reference": reference, "bill": bill, "checksum": CHECKSUM}
    digest = hashlib.sha256(f"salt {reference}".encode()).digest()
    document = {"digest": digest, "size": 4_000, "readers": ["gz", "hk"], "retain_until": add_days(today(), 3_650)}
    return title, (
        (Call("hk-carrier", "title", "draft_title", draft),),
        (Call("gz-exporter", "title", "approve_draft", {"title": title, "checksum": CHECKSUM}),),
        (Call("hk-carrier", "title", "issue_title", {"title": title, "document": document}),),
    )


def two_transfers_of_a_title(tag: str) -> Race:
    title, stages = _title(f"MOVE-{tag}")
    first, second = [
        Call("gz-exporter", "title", "transfer_title", {"title": title, "to": to}) for to in ("mo-buyer", "hk-bank")
    ]
    return Race("one title handed to two", stages, first, second, frozenset({"E_NOT_HOLDER"}))


def transfer_against_surrender(tag: str) -> Race:
    title, stages = _title(f"END-{tag}")
    transfer = Call("gz-exporter", "title", "transfer_title", {"title": title, "to": "mo-buyer"})
    surrender = Call("gz-exporter", "title", "surrender_title", {"title": title, "purpose": "DELIVERY"})
    reasons = frozenset({"E_NOT_HOLDER", "E_STATE"})
    return Race("a title handed on and surrendered", stages, transfer, surrender, reasons)


def pledge_against_endorsement(tag: str) -> Race:
    title, stages = _title(f"BOND-{tag}")
    pledge = {"title": title, "pledgee": "hk-bank", "matures": add_days(today(), 30)}
    endorse = {"title": title, "kind": "ENDORSE_TO_ORDER", "to": "mo-buyer", "hand_over_to": "mo-buyer"}
    return Race(
        "a title pledged and endorsed away",
        stages,
        Call("gz-exporter", "title", "pledge_title", pledge),
        Call("gz-exporter", "title", "endorse_title", endorse),
        frozenset({"E_NOT_HOLDER", "E_LOCKED"}),
    )


# -- logistics --------------------------------------------------------------------------------------------------------


def packed_in_two_parents(tag: str) -> Race:
    gate = f"https://example.com/gate/{tag}"
    serial = int(hashlib.sha256(tag.encode()).hexdigest()[:6], 16) * 4

    def pallet(number: int) -> str:
        return f"urn:epc:id:sscc:4012345.{serial + number:010d}"

    def event(kind: str, **more: Any) -> dict[str, Any]:
        form = {"kind": kind, "action": "ADD", "time_ms": before_ms(), "offset": "+08:00", "read_point": gate}
        return {"event": form | more}

    packings = [event("AggregationEvent", parent=parent, children=[pallet(0)]) for parent in (pallet(1), pallet(2))]
    pack = [Call("gz-warehouse", "logistics", "capture_event", packing) for packing in packings]
    commission = event("ObjectEvent", epcs=[pallet(0), pallet(1), pallet(2)])
    return Race(
        "one box in two parents",
        (
            (Call("gz-warehouse", "logistics", "register_read_point", {"uri": gate}),),
            (Call("gz-warehouse", "logistics", "capture_event", commission),),
        ),
        pack[0],
        pack[1],
        frozenset({"E_HAS_PARENT"}),
    )


def box_in_two_shipments(tag: str) -> Race:
    box = f"MSKU{int(hashlib.sha256(tag.encode()).hexdigest()[:8], 16) % 10**7:07d}"

    def book(number: str) -> Call:
        args = {
            "number": f"{number}-{tag}", "shipper": "gz", "consignee": "mo", "mode": "VESSEL",
            "terminals": [{"place": "CNYTN", "org": "gz"}, {"place": "MOMFM", "org": "mo"}],
            "document_kind": "SWB", "document": f"W-{number}-{tag}", "registry": "ELSEWHERE",
            "load_place": "CNYTN", "discharge_place": "MOMFM",
            "planned_departure_ms": before_ms() + DAY_MS, "planned_arrival_ms": before_ms() + 2 * DAY_MS,
            "equipment": [box],
        }  # fmt: skip
        return Call("hk-carrier", "logistics", "book_shipment", args)

    return Race("one box in two shipments", (), book("B1"), book("B2"), frozenset({"E_EQUIPMENT_BUSY"}))


# -- kernel and refdata -----------------------------------------------------------------------------------------------


def one_order_recorded_twice(tag: str) -> Race:
    order = {"module": "title", "asset": f"asset-{tag}", "order": f"HCA {tag}"}
    until_ms = before_ms() + 30 * DAY_MS
    first, second = [
        Call("hq-court", "kernel", "freeze_asset", order | {"reason": reason, "until_ms": until_ms})
        for reason in ("ownership disputed", "fraud suspected")
    ]
    return Race("one order of a court recorded twice", (), first, second, frozenset({"E_ORDER"}))


def one_version_opened_by_two(tag: str) -> Race:
    """Tags give each race a table of its own."""
    table = {"0": "country", "1": "locode"}[tag[-1]]
    first, second = [
        Call(
            f"{org}-admin",
            "refdata",
            "open_edition",
            {"table": table, "version": 1, "title": f"by {org}", "source": bytes(32)},
        )
        for org in ("gz", "hk")
    ]
    return Race("one version of a table opened by two", (), first, second, frozenset({"E_VERSION"}))


def one_proposal_of_two(tag: str) -> Race:
    change = {"id": f"change-{tag}", "key": "lc.exam.banking_days", "effective_from": add_days(today(), 7)}
    first, second = [
        Call(f"{org}-admin", "refdata", "propose_parameter", change | {"value": days})
        for org, days in (("gz", 3), ("hk", 4))
    ]
    return Race("one proposal opened by two", (), first, second, frozenset({"E_EXISTS"}))


MAKERS: Final[tuple[Callable[[str], Race], ...]] = (
    double_pledge,
    two_transfers_of_a_voucher,
    one_invoice_in_two_spellings,
    one_payment_for_two_invoices,
    one_bill_under_two_credits,
    drawn_beyond_its_amount,
    one_payment_for_two_obligations,
    two_transfers_of_a_title,
    transfer_against_surrender,
    pledge_against_endorsement,
    packed_in_two_parents,
    box_in_two_shipments,
    one_order_recorded_twice,
    one_version_opened_by_two,
    one_proposal_of_two,
)
