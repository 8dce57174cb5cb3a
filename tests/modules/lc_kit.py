"""A channel with letters of credit in a test: its banks and traders, and the commands in one line each.

    desk = Desk()
    credit = desk.credit()                         # issued, advised
    presentation = desk.present(credit, 4_000_00)
    desk.expect("E_ONE_NOTICE", "bank-hk", "refuse_presentation", presentation=presentation, ...)

Tuesday 2025-11-25 is the first day. The reference data is loaded once and copied into every channel.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

from dawan_node.execution.dates import add_days, business_date
from dawan_node.execution.module import key_of
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.lc import module as lc
from dawan_node.modules.lc.entities import Credit, PaymentObligation, Presentation, Reimbursement
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import DAY_MS, ModuleKit
from tests.modules.refdata_kit import Reference

PEOPLE = {
    "buyer-a": ("gz", ["buyer"]),
    "seller-a": ("hk", ["exporter"]),
    "seller-b": ("gz", ["supplier"]),
    "seller-c": ("mo", ["supplier"]),
    "bank-cn": ("gz", ["bank"]),
    "bank-hk": ("hk", ["bank"]),
    "bank-mo": ("mo", ["bank"]),
    "settle-bank": ("hq", ["settlement_bank"]),
    "judge": ("hq", ["court"]),
    "carrier-1": ("hk", ["carrier"]),
    # May have any part, so what keeps it from two at once is the module.
    "all-in-one": ("mo", ["bank", "buyer", "exporter"]),
}
#: Everything a credit of these tests calls for.
PAPERS = ("INVOICE", "EBL", "INSURANCE")
AMOUNT = 100_000_00


@functools.cache
def _seeded() -> ModuleKit:
    reference = Reference(lc, kernel, people=PEOPLE)
    reference.seed("calendar_cn", "calendar_hk", "currency")
    return reference.kit


def copy_of(original: ModuleKit) -> ModuleKit:
    """A channel of its own that goes on from where the original is, and has no blocks yet."""
    kit = original.copy()
    kit.blocks.clear()
    return kit


def usd(minor: int) -> list[Any]:
    """An amount of dollars in cents, as it stands in arguments."""
    return ["USD", minor]


class Desk:
    """The channel and what happens at its counters. ``ok`` requires success, ``expect`` the given reason."""

    def __init__(self) -> None:
        self.kit = copy_of(_seeded())
        self._numbers = 0

    def copy(self) -> Desk:
        """Another channel with the same past."""
        other = copy.copy(self)
        other.kit = copy_of(self.kit)
        return other

    # -- time

    @property
    def today(self) -> str:
        """The business date of the next block."""
        return business_date(self.kit.time_ms + 1_000)

    def day(self, days: int) -> str:
        return add_days(self.today, days)

    def go_to(self, date: str) -> None:
        """Let time pass until it is that day."""
        while self.today < date:
            self.kit.pass_time(ms=DAY_MS)
        assert self.today == date, f"it is {self.today} already"

    # -- blocks

    def call(self, person: str, command: str, /, **args: Any) -> Transaction:
        return self.kit.call(person, command, args)

    def ok(self, person: str, command: str, /, **args: Any) -> Receipt:
        receipt = self.kit.run(person, command, args)
        assert (receipt.code, receipt.reason) == (0, ""), f"{command} by {person}: {receipt.code} {receipt.reason}"
        return receipt

    def expect(self, reason: str, person: str, command: str, /, **args: Any) -> None:
        """The command fails with ``reason`` and changes nothing; its receipt on chain is the record of the attempt."""
        before = self.state()
        receipt = self.kit.run(person, command, args)
        assert receipt.reason == reason, f"{command} by {person}: {receipt.reason or receipt.code}, not {reason}"
        assert receipt.events == []
        assert self.state() == before, f"{command} failed with {reason} and changed state"

    def race(self, *calls: Transaction) -> list[str]:
        """The reasons of one block's transactions, empty for success."""
        return [receipt.reason if receipt.code else "" for receipt in self.kit.block(*calls)]

    def state(self) -> dict[Any, bytes]:
        """Every entity of the module and of the kernel."""
        return {key: value for key, value in self.kit.state.values.items() if key[0] in ("lc", "kernel")}

    # -- credits

    def terms(self, **more: Any) -> dict[str, Any]:
        """USD 100,000.00 at sight, issued in Guangzhou, available with Hong Kong, expiring in 60 days."""
        self._numbers += 1
        return {
            "number": f"LC-{self._numbers}",
            "rules": "EUCP",
            "beneficiary": "seller-a",
            "issuing": {"name": "bank-cn", "place": "CN"},
            "nominated": {"name": "bank-hk", "place": "HK"},
            "advising": "bank-hk",
            "amount": usd(AMOUNT),
            "expiry": self.day(60),
            "latest_shipment": self.day(45),
            "available_by": "SIGHT",
            "documents": [{"kind": kind} for kind in PAPERS],
        } | more

    def draft(self, **more: Any) -> str:
        terms = self.terms(**more)
        self.ok("buyer-a", "apply_credit", **terms)
        return f"buyer-a/{terms['number'].upper()}"

    def credit(self, confirmed: bool = False, **more: Any) -> str:
        """Issued and advised; confirmed by Hong Kong if asked."""
        if confirmed:
            more = {"confirming": [{"name": "bank-hk", "place": "HK"}]} | more
        credit = self.draft(**more)
        self.ok("bank-cn", "issue_credit", credit=credit)
        self.ok(self.get_credit(credit).advising, "advise_credit", credit=credit)
        if confirmed:
            self.ok("bank-hk", "confirm_credit", credit=credit)
        return credit

    def transfer(self, credit: str, to: str, minor: int, **more: Any) -> str:
        part = f"{credit}.{self.get_credit(credit).transfers + 1}"
        self.ok("seller-a", "request_transfer", credit=credit, to=to, amount=usd(minor), **more)
        self.ok("bank-hk", "transfer_credit", credit=part)
        return part

    # -- presentations

    def papers(self, *kinds: str, bill: str = "") -> list[dict[str, Any]]:
        """Fresh documents; ``bill`` is the number of the electronic bill of lading."""
        papers = []
        for kind in kinds or PAPERS:
            self._numbers += 1
            number = (bill or f"BL-{self._numbers}") if kind == "EBL" else ""
            digest = self._numbers.to_bytes(32, "big")
            papers.append({"kind": kind, "digest": digest, "size": 100, "issuer": "MAEU", "number": number})
        return papers

    def papers_args(self, credit: str, minor: int, bank: str = "bank-hk", **more: Any) -> dict[str, Any]:
        bill = more.pop("bill", "")
        kinds = more.pop("kinds", PAPERS)
        shipped = {"shipment_date": self.today} if {"EBL", "TRANSPORT"} & {*kinds} else {}
        documents = self.papers(*kinds, bill=bill)
        return {"credit": credit, "bank": bank, "amount": usd(minor), "documents": documents} | shipped | more

    def present(self, credit: str, minor: int = AMOUNT, bank: str = "bank-hk", **more: Any) -> str:
        found = self.get_credit(credit)
        self.ok(found.beneficiary, "present_documents", **self.papers_args(credit, minor, bank, **more))
        return f"{credit}#{found.presentations + 1}"

    def comply(self, presentation: str) -> None:
        self.ok(self.get(presentation).bank, "find_complying", presentation=presentation)

    def refuse(self, presentation: str, *findings: str) -> None:
        args = {"findings": list(findings or ("invoice not signed",)), "disposal": "AWAITS_WAIVER"}
        self.ok(self.get(presentation).bank, "refuse_presentation", presentation=presentation, **args)

    def honour(self, presentation: str) -> None:
        self.ok(self.get(presentation).bank, "honour_presentation", presentation=presentation)

    def honoured(self, credit: str, minor: int = AMOUNT, bank: str = "bank-hk", **more: Any) -> str:
        presentation = self.present(credit, minor, bank, **more)
        self.comply(presentation)
        self.honour(presentation)
        return presentation

    def cash(self, payer: str, payee: str, amount: list[Any], reference: str = "") -> dict[str, Any]:
        """A fresh cash reference, or the given one again."""
        self._numbers += 1
        return {
            "bank": "BKCHCNBJ",
            "reference": reference or f"PAY {self._numbers:06d}",
            "payer": payer,
            "payee": payee,
            "amount": amount,
            "value_date": self.today,
        }

    def pay(self, presentation: str) -> None:
        found = self.get(presentation)
        cash = self.cash(found.bank, found.presenter, usd(found.amount.minor))
        self.ok("settle-bank", "pay_presentation", presentation=presentation, cash=cash)

    def freeze(self, asset: str) -> None:
        until_ms = self.kit.time_ms + 30 * DAY_MS
        order = {"module": "lc", "asset": asset, "order": "HCA 1/2025", "reason": "fraud", "until_ms": until_ms}
        assert self.kit.run("judge", "freeze_asset", order, module="kernel").code == 0

    # -- reading

    def get(self, presentation: str) -> Presentation:
        found = self.kit.get(Presentation, key_of(presentation))
        assert found is not None, presentation
        return found

    def get_credit(self, credit: str) -> Credit:
        found = self.kit.get(Credit, key_of(credit))
        assert found is not None, credit
        return found

    def get_claim(self, presentation: str) -> Reimbursement:
        found = self.kit.get(Reimbursement, key_of(presentation))
        assert found is not None, presentation
        return found

    def get_obligation(self, obligation: str) -> PaymentObligation:
        found = self.kit.get(PaymentObligation, key_of(obligation))
        assert found is not None, obligation
        return found

    def states(self, credit: str) -> tuple[str, int, int]:
        """State, drawn and presented minor units of a credit."""
        found = self.get_credit(credit)
        return found.state.value, found.drawn_minor, found.reserved_minor
