"""A trade channel in a test: its companies, and the receivable commands in one line each.

    trade = Trade()
    invoice = trade.invoice(number="INV-001", minor=1_000_000_00)
    voucher = trade.voucher("V-001", invoice)
    trade.expect("E_SPLIT_SUM", "supplier-a", "split_voucher", voucher=voucher, parts=[cny(6), cny(5)])

``ok`` requires success, ``expect`` the given reason; both run one block, and the kit checks every invariant after it.
"""

from __future__ import annotations

from typing import Any, Final

from dawan_node.execution.dates import add_days, business_date
from dawan_node.execution.module import Module
from dawan_node.modules.receivable import versions
from dawan_node.modules.receivable.entities import Invoice, Money, Voucher
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import ModuleKit, People

#: The companies of the trade channel and the demo: three suppliers, a buyer, a core enterprise, banks.
PEOPLE: Final = {
    "supplier-a": ("gz", ["supplier"]),
    "supplier-b": ("gz", ["supplier"]),
    "supplier-c": ("mo", ["supplier"]),
    "buyer-a": ("gz", ["buyer"]),
    "core-1": ("gz", ["buyer", "core_enterprise"]),
    "bank-hk": ("hk", ["bank"]),
    "bank-hk-risk": ("hk", ["bank"]),
    "bank-mo": ("mo", ["bank"]),
    "settle-bank": ("gz", ["settlement_bank"]),
    "clearing-bank": ("mo", ["bank", "settlement_bank"]),
}

BIC: Final = "BKCHCNBJ"


def cny(minor: int) -> list[Any]:
    """An amount of renminbi in fen, as it stands in arguments."""
    return ["CNY", minor]


def text_id(seller: str, buyer: str, number: str, issue_date: str, total: list[Any]) -> str:
    """The identifier the chain gives this invoice."""
    normalised = normalised_number(number)
    assert normalised is not None, number
    return invoice_id(seller, buyer, normalised, issue_date, Money(*total))


class Trade:
    """A channel with the receivable module and ``PEOPLE``, or with more of both."""

    def __init__(self, *more: Module, people: People = PEOPLE, version: int = 1, **options: Any) -> None:
        self.kit: Final = ModuleKit([versions[version], *more], people, **options)
        self._references = 0

    @property
    def today(self) -> str:
        """The business date of the next block."""
        return business_date(self.kit.time_ms + 1_000)

    def day(self, days: int) -> str:
        """The business date so many days from today."""
        return add_days(self.today, days)

    def ok(self, person: str, command: str, /, **args: Any) -> Receipt:
        """Run a command that must succeed."""
        receipt = self.kit.run(person, command, args)
        assert (receipt.code, receipt.reason) == (0, ""), f"{command} by {person}: {receipt.reason}"
        return receipt

    def expect(self, reason: str, person: str, command: str, /, **args: Any) -> None:
        """Run a command that must fail with ``reason`` and leave the receivable state untouched."""
        before = self.state()
        receipt = self.kit.run(person, command, args)
        assert receipt.reason == reason, f"{command} by {person}: {receipt.reason or 'success'}, not {reason}"
        assert receipt.events == []
        assert self.state() == before, f"{command} failed with {reason} and changed state"

    def call(self, person: str, command: str, /, **args: Any) -> Transaction:
        """A transaction for a block of several."""
        return self.kit.call(person, command, args)

    def state(self) -> dict[Any, bytes]:
        """Every entity of the receivable module."""
        return {key: value for key, value in self.kit.state.values.items() if key[0] == "receivable"}

    def cash(self, payer: str, payee: str, amount: list[Any], reference: str = "") -> dict[str, Any]:
        """A fresh cash reference, or the given one again."""
        self._references += 1
        return {
            "bank": BIC,
            "reference": reference or f"PAY {self._references:06d}",
            "payer": payer,
            "payee": payee,
            "amount": amount,
            "value_date": self.today,
        }

    def invoice_args(
        self, number: str = "INV-001", buyer: str = "core-1", minor: int = 1_000_000_000, **more: Any
    ) -> dict[str, Any]:
        """Arguments of ``record_invoice``: CNY 10,000,000.00 due in 180 days."""
        args = {
            "number": number,
            "buyer": buyer,
            "issue_date": self.today,
            "due_date": self.day(180),
            "total": cny(minor),
        }
        return args | more

    def invoice(
        self,
        number: str = "INV-001",
        seller: str = "supplier-a",
        buyer: str = "core-1",
        minor: int = 1_000_000_000,
        confirmed: bool = True,
        **more: Any,
    ) -> str:
        """A recorded and, unless told otherwise, confirmed invoice; its identifier."""
        args = self.invoice_args(number, buyer, minor, **more)
        identifier = text_id(seller, buyer, number, args["issue_date"], args["total"])
        self.ok(seller, "record_invoice", **args)
        if confirmed:
            self.ok(buyer, "confirm_invoice", invoice=identifier)
        return identifier

    def voucher(
        self,
        number: str = "V-001",
        invoice: str = "",
        minor: int = 1_000_000_000,
        due_date: str = "",
        accepted: bool = True,
        **more: Any,
    ) -> str:
        """A voucher of core-1 for supplier-a on an invoice (a fresh one if none is given), accepted."""
        invoice = invoice or self.invoice(f"INV-{number}", minor=minor)
        self.ok(
            "core-1",
            "issue_voucher",
            number=number,
            holder="supplier-a",
            face=cny(minor),
            due_date=due_date or self.day(180),
            invoices=[{"invoice": invoice, "minor": minor}],
            **more,
        )
        identifier = f"core-1/{number}"
        if accepted:
            self.ok("supplier-a", "accept_voucher", voucher=identifier)
        return identifier

    def move(self, voucher: str, holder: str, to: str) -> None:
        """Transfer and accept."""
        self.ok(holder, "transfer_voucher", voucher=voucher, to=to)
        self.ok(to, "accept_voucher", voucher=voucher)

    def apply(self, number: str, voucher: str, borrower: str, financier: str, principal: int, **more: Any) -> str:
        """An application to discount a voucher; its identifier."""
        args = {
            "number": number,
            "voucher": voucher,
            "financier": financier,
            "kind": "DISCOUNT",
            "principal": cny(principal),
            "rate_ppm": 30_000,
            "recourse": False,
            "maturity": self.get_voucher(voucher).due_date,
        }
        self.ok(borrower, "apply_voucher_financing", **(args | more))
        return f"{borrower}/{number.upper()}"

    def apply_invoice(
        self, number: str, invoice: str, financier: str, presented: str = "", recourse: bool = False
    ) -> str:
        """The seller's application to sell an invoice, perhaps in another spelling; its identifier."""
        found = self.get_invoice(invoice)
        self.ok(
            found.seller,
            "apply_invoice_financing",
            number=number,
            invoice_number=presented or found.number,
            buyer=found.buyer,
            issue_date=found.issue_date,
            total=[found.total.currency, found.total.minor],
            financier=financier,
            principal=[found.total.currency, found.total.minor * 9 // 10],
            rate_ppm=30_000,
            recourse=recourse,
        )
        return f"{found.seller}/{number.upper()}"

    def get_invoice(self, invoice: str) -> Invoice:
        """The invoice as stored."""
        found = self.kit.get(Invoice, invoice.encode())
        assert found is not None, invoice
        return found

    def get_voucher(self, voucher: str) -> Voucher:
        """The voucher as stored."""
        found = self.kit.get(Voucher, voucher.encode())
        assert found is not None, voucher
        return found
