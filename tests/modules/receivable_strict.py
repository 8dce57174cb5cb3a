"""A trade channel of version 2, and one refused command or more for each reason that its rules add.

``test_receivable_errors`` plays the refusals beside its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dawan_node.execution.module import Module
from dawan_node.modules.receivable.entities import Announcement
from dawan_node.testing.module_kit import People
from dawan_node.testing.trade import BIC, cny
from tests.modules.receivable_kit import MILLION, Supervised

#: core-1 and the bank settle-bank are of gz, supplier-a is of another house; settle-mo is of nobody's but supplier-c's.
STAFF: People = {
    "supplier-a": ("sz", ["supplier"]),
    "settle-mo": ("mo", ["settlement_bank"]),
    "settle-hq": ("hq", ["settlement_bank"]),
}

Scenario = Callable[["Strict"], None]
STRICT: dict[str, list[Scenario]] = {}


def refused(*reasons: str) -> Callable[[Scenario], Scenario]:
    def register(scenario: Scenario) -> Scenario:
        for reason in reasons:
            STRICT.setdefault(reason, []).append(scenario)
        return scenario

    return register


class Strict(Supervised):
    """``Supervised`` under the rules of version 2."""

    def __init__(self, *more: Module, staff: People | None = None, version: int = 2, **options: Any) -> None:
        super().__init__(*more, staff={**STAFF, **(staff or {})}, version=version, **options)

    def attestor(self, number: int) -> str:
        return ("settle-bank", "settle-mo", "settle-bank", "settle-hq")[number % 4]

    def due(self, number: str = "V-1", minor: int = 10 * MILLION, **more: Any) -> str:
        """A voucher of core-1 that supplier-a holds and that falls due today."""
        return self.voucher(number, minor=minor, due_date=self.today, **more)

    def among_relatives(self, number: str = "V-R", minor: int = 10 * MILLION, **more: Any) -> str:
        """A voucher that supplier-b holds for its invoice to core-1, which its own organisation enrolled too."""
        invoice = self.invoice(f"INV-{number}", seller="supplier-b", minor=minor)
        uses = [{"invoice": invoice, "minor": minor}]
        terms = {"number": number, "holder": "supplier-b", "face": cny(minor), "due_date": self.day(180)}
        self.ok("core-1", "issue_voucher", **terms, invoices=uses, **more)
        self.ok("supplier-b", "accept_voucher", voucher=f"core-1/{number}")
        return f"core-1/{number}"

    def payment(self, voucher: str, reference: str = "") -> dict[str, Any]:
        """Arguments of ``settle_voucher``: the issuer pays the holder of now."""
        found = self.get_voucher(voucher)
        cash = self.cash(found.issuer, found.holder, cny(found.face.minor), reference)
        return {"voucher": voucher, "cash": cash}

    def face(self, voucher: str) -> int:
        """In fen."""
        return self.get_voucher(voucher).face.minor

    def announced(self, voucher: str, reference: str = "PAY 1") -> str:
        """The payer's own bank says that the voucher was paid; the announcement."""
        self.ok("settle-bank", "settle_voucher", **self.payment(voucher, reference))
        return f"settle-bank/{BIC}/{reference.replace(' ', '').lower()}"

    def silently_repaid(self, number: str = "F-1") -> tuple[str, str]:
        """A loan of a million that supplier-b repaid through its own bank, as only that bank says; the announcement."""
        voucher = self.voucher(f"V-{number}")
        self.move(voucher, "supplier-a", "supplier-b")
        more: dict[str, Any] = {"kind": "PLEDGE", "rate_ppm": 0}
        loan = self.apply(number, voucher, "supplier-b", "bank-hk", MILLION, **more)
        self.ok("bank-hk", "reserve_financing", financing=loan)
        cash = self.cash("bank-hk", "supplier-b", cny(MILLION))
        self.ok("settle-bank", "fund_financing", financing=loan, cash=cash)
        reference = f"back {number}"
        cash = self.cash("supplier-b", "bank-hk", cny(MILLION), reference)
        self.ok("settle-bank", "repay_financing", financing=loan, cash=cash)
        return loan, f"settle-bank/{BIC}/{reference.replace(' ', '').replace('-', '').lower()}"

    def announcement(self, identifier: str) -> Announcement:
        found = self.find(Announcement, identifier)
        assert isinstance(found, Announcement)
        return found


@refused("E_UNKNOWN_ANNOUNCEMENT", "E_ANNOUNCEMENT_STATE", "E_NOT_PARTY", "E_CASHREF_USED")
def receipts(desk: Strict) -> None:
    desk.expect("E_UNKNOWN_ANNOUNCEMENT", "supplier-a", "confirm_receipt", announcement=f"settle-bank/{BIC}/pay1")
    voucher, other = desk.due(), desk.due("V-2")
    announced = desk.announced(voucher)
    for person in ("core-1", "settle-bank", "supplier-c", "settle-mo", "pboc-gz"):
        desk.expect("E_NOT_PARTY", person, "confirm_receipt", announcement=announced)
    # What was announced stands: the payee confirms what it read.
    for again in (voucher, other):
        desk.expect("E_CASHREF_USED", "settle-bank", "settle_voucher", **desk.payment(again, "ｐａｙ-1"))
    desk.ok("supplier-a", "confirm_receipt", announcement=announced)
    desk.expect("E_ANNOUNCEMENT_STATE", "supplier-a", "confirm_receipt", announcement=announced)
    desk.expect("E_CASHREF_USED", "settle-mo", "settle_voucher", **desk.payment(other, "PAY 1"))


@refused("E_ANSWER_TIME", "E_SELF_DEALING", "E_WITNESS", "E_NOT_PARTY", "E_ANNOUNCEMENT_STATE")
def certificates(desk: Strict) -> None:
    _, announced = desk.silently_repaid()
    one = {"announcement": announced}
    desk.expect("E_ANSWER_TIME", "settle-mo", "certify_receipt", **one)
    other = {"announcement": desk.announced(desk.due("V-2"), "PAY 2")}
    desk.kit.pass_time(days=15)
    desk.expect("E_SELF_DEALING", "settle-bank", "certify_receipt", **one)
    desk.expect("E_WITNESS", "settle-mo", "certify_receipt", **other)
    desk.expect("E_NOT_PARTY", "settle-mo", "deny_receipt", **one, why="?")
    desk.ok("bank-hk", "deny_receipt", **one, why="nothing came")
    for person, command, more in (("settle-mo", "certify_receipt", {}), ("bank-hk", "deny_receipt", {"why": "?"})):
        desk.expect("E_ANNOUNCEMENT_STATE", person, command, **one, **more)


@refused("E_WITNESS")
def payments_that_no_payee_can_confirm(desk: Strict) -> None:
    filing = desk.filed("T-1", 500, payee="supplier-c")
    cash = desk.cash("core-1", "supplier-c", ["USD", 200], "PAY 9")
    desk.ok("settle-bank", "pay_filing", filing=filing, cash=cash)
    desk.expect("E_WITNESS", "supplier-c", "confirm_receipt", announcement=f"settle-bank/{BIC}/pay9")
    assert desk.filing(filing).paid_minor == 0
    desk.ok("settle-mo", "pay_filing", filing=filing, cash=cash)
    assert desk.filing(filing).paid_minor == 200


@refused("E_RELATED")
def receivables_among_relatives(desk: Strict) -> None:
    desk.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(50 * MILLION))
    invoice = desk.invoice("INV-1", seller="supplier-b")
    sale = desk.apply_invoice("F-1", invoice, "bank-hk")
    desk.expect("E_RELATED", "bank-hk", "reserve_financing", financing=sale)
    desk.expect("E_RELATED", "bank-hk", "reserve_financing", financing=sale, tag=bytes(32), related=False)
    guaranteed = {"number": "V-1", "holder": "supplier-b", "face": cny(MILLION), "due_date": desk.day(9)}
    guaranteed |= {"invoices": [{"invoice": invoice, "minor": MILLION}], "guarantor": "bank-mo"}
    desk.expect("E_RELATED", "core-1", "issue_voucher", **guaranteed)
    voucher = desk.among_relatives("V-2")
    for number, kind in (("F-2", "DISCOUNT"), ("F-3", "PLEDGE")):
        asked = desk.apply(number, voucher, "supplier-b", "bank-hk", MILLION, kind=kind)
        desk.expect("E_RELATED", "bank-hk", "reserve_financing", financing=asked)
    # Neither parts nor other holders make it better.
    halves = [cny(5 * MILLION), cny(5 * MILLION)]
    desk.ok("supplier-b", "split_voucher", voucher=voucher, parts=halves)
    desk.move(f"{voucher}.1", "supplier-b", "supplier-c")
    asked = desk.apply("F-4", f"{voucher}.1", "supplier-c", "bank-hk", MILLION)
    desk.expect("E_RELATED", "bank-hk", "reserve_financing", financing=asked)
    desk.ok("supplier-c", "transfer_voucher", voucher=f"{voucher}.1", to="bank-mo")
    desk.expect("E_RELATED", "bank-mo", "accept_voucher", voucher=f"{voucher}.1")
