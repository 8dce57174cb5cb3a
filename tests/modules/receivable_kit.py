"""A trade channel with its authorities in a test: central bank, customs, exchange administration, tax, an exporter."""

from __future__ import annotations

import copy
from typing import Any

from dawan_node.execution.entity import Entity
from dawan_node.execution.module import Module
from dawan_node.modules.receivable.entities import Financing
from dawan_node.modules.receivable.supervised import ClearingBatch, ExportDeclaration, Rediscount, TaxFiling
from dawan_node.primitives.receipt import Receipt
from dawan_node.testing import trade
from dawan_node.testing.module_kit import People
from dawan_node.testing.trade import BIC, Trade, cny
from tests.modules.lc_kit import copy_of

MILLION = 100_000_000  # one million yuan in fen
USCC = "91110000600037341L"
DECLARATION = "530420260123456789"

PEOPLE = {
    **trade.PEOPLE,
    "core-2": ("gz", ["buyer", "core_enterprise"]),
    "exporter-a": ("gz", ["exporter"]),
    "pboc-gz": ("hq", ["pboc"]),
    "pboc-sz": ("hq", ["pboc"]),
    "customs-gz": ("hq", ["customs"]),
    "safe-gz": ("hq", ["safe"]),
    "tax-gz": ("hq", ["tax"]),
}


def usd(minor: int) -> list[Any]:
    """An amount of US dollars in cents, as it stands in arguments."""
    return ["USD", minor]


class Supervised(Trade):
    """``Trade`` with ``PEOPLE`` and the commands around the authorities in one line each."""

    def __init__(self, *more: Module, staff: People | None = None, **options: Any) -> None:
        super().__init__(*more, people={**PEOPLE, **(staff or {})}, **options)

    def copy(self) -> Supervised:
        """Another channel with the same past."""
        other = copy.copy(self)
        other.__dict__["kit"] = copy_of(self.kit)
        return other

    def find(self, kind: type[Entity], identifier: str) -> Any:
        found = self.kit.get(kind, identifier.encode())
        assert found is not None, identifier
        return found

    def financing(self, identifier: str) -> Financing:
        found = self.find(Financing, identifier)
        assert isinstance(found, Financing)
        return found

    def attestor(self, number: int) -> str:
        """A settlement bank by a random number."""
        return "settle-bank"

    def pay(self, command: str, payer: str, payee: str, amount: list[Any], **subject: str) -> Receipt:
        """A settlement bank attests a payment."""
        return self.ok("settle-bank", command, **subject, cash=self.cash(payer, payee, amount))

    def fund(self, financing: str) -> str:
        found = self.financing(financing)
        amount = [found.principal.currency, found.principal.minor]
        self.pay("fund_financing", found.financier, found.borrower, amount, financing=financing)
        return financing

    def repay(self, financing: str) -> None:
        found = self.financing(financing)
        amount = [found.principal.currency, found.outstanding_minor]
        self.pay("repay_financing", found.borrower, found.financier, amount, financing=financing)

    def bought(self, number: str = "F-1", voucher: str = "", bank: str = "bank-hk", **more: Any) -> str:
        """A voucher of ten million that a bank bought from supplier-a; the financing."""
        voucher = voucher or self.voucher(f"V-{number}")
        financing = self.apply(number, voucher, "supplier-a", bank, 9 * MILLION, **more)
        self.ok(bank, "reserve_financing", financing=financing)
        return self.fund(financing)

    def submission(self, number: str, /, *financings: str, **more: Any) -> dict[str, Any]:
        """Arguments of ``submit_rediscount``."""
        args = {
            "number": number,
            "branch": "pboc-gz",
            "financings": list(financings),
            "amount": cny(10 * MILLION * len(financings)),
            "rate_ppm": 20_000,
            "days": 90,
        }
        return args | more

    def submitted(self, number: str, *financings: str, bank: str = "bank-hk", **more: Any) -> str:
        self.ok(bank, "submit_rediscount", **self.submission(number, *financings, **more))
        return f"{bank}/{number}"

    def rediscounted(self, number: str, *financings: str, bank: str = "bank-hk", **more: Any) -> str:
        """Submitted, accepted, funded."""
        rediscount = self.submitted(number, *financings, bank=bank, **more)
        found = self.rediscount(rediscount)
        self.ok(found.branch, "accept_rediscount", rediscount=rediscount)
        price = [found.amount.currency, found.price_minor]
        self.pay("fund_rediscount", found.branch, found.bank, price, rediscount=rediscount)
        return rediscount

    def rest(self, rediscount: str) -> Any:
        """Arguments of ``repay_rediscount`` for what one side of an ended one owes the other."""
        (found,), _ = self.kit.query("forfeiture", {"rediscount": rediscount})
        cash = self.cash(found.owed_by, found.owed_to, cny(found.owed_minor))
        return {"rediscount": rediscount, "cash": cash}

    def buy_back(self, rediscount: str) -> None:
        found = self.rediscount(rediscount)
        amount = [found.amount.currency, found.amount.minor]
        self.pay("repay_rediscount", found.bank, found.branch, amount, rediscount=rediscount)

    def rediscount(self, identifier: str) -> Rediscount:
        found = self.find(Rediscount, identifier)
        assert isinstance(found, Rediscount)
        return found

    def declaration_args(self, declaration: str = DECLARATION, minor: int = 1_000_000, **more: Any) -> dict[str, Any]:
        args = {
            "declaration": declaration,
            "exporter": "exporter-a",
            "exporter_uscc": "9111 0000 6000 3734-1l",
            "goods": ["851713", "8517130000"],
            "amount": usd(minor),
            "released_date": self.today,
        }
        return args | more

    def declared(self, declaration: str = DECLARATION, minor: int = 1_000_000, **more: Any) -> str:
        """An export of USD 10,000.00 released by customs."""
        self.ok("customs-gz", "record_declaration", **self.declaration_args(declaration, minor, **more))
        return declaration

    def declaration(self, identifier: str = DECLARATION) -> ExportDeclaration:
        found = self.find(ExportDeclaration, identifier)
        assert isinstance(found, ExportDeclaration)
        return found

    def loan_args(self, number: str, minor: int, **more: Any) -> dict[str, Any]:
        args = {
            "number": number,
            "declaration": DECLARATION,
            "financier": "bank-hk",
            "principal": usd(minor),
            "rate_ppm": 36_500,
            "maturity": self.day(100),
        }
        return args | more

    def asked_loan(self, number: str, minor: int, **more: Any) -> str:
        """An application of exporter-a for a loan on a declaration."""
        self.ok("exporter-a", "apply_export_financing", **self.loan_args(number, minor, **more))
        return f"exporter-a/{number}"

    def loan(self, number: str, minor: int, **more: Any) -> str:
        """Applied, reserved, paid out."""
        financing = self.asked_loan(number, minor, **more)
        self.ok(self.financing(financing).financier, "reserve_financing", financing=financing)
        return self.fund(financing)

    def filing_args(self, number: str = "T-1", minor: int = 50_000, **more: Any) -> dict[str, Any]:
        args = {
            "number": number,
            "payer_uscc": USCC,
            "payee": "Cloud Services GmbH",
            "country": "DE",
            "contract_number": f"C/2026-{number}",
            "contract": usd(minor),
        }
        return args | more

    def filed(self, number: str = "T-1", minor: int = 50_000, accepted: bool = True, **more: Any) -> str:
        """A contract of core-1 with a company abroad, accepted by the tax authority."""
        self.ok("core-1", "file_payment", **self.filing_args(number, minor, **more))
        filing = f"core-1/{number}"
        if accepted:
            self.ok("tax-gz", "accept_filing", filing=filing)
        return filing

    def filing(self, identifier: str) -> TaxFiling:
        found = self.find(TaxFiling, identifier)
        assert isinstance(found, TaxFiling)
        return found

    def abroad(self, minor: int, **more: Any) -> dict[str, Any]:
        """Cash that core-1 paid under a filing."""
        return self.cash("core-1", "Cloud Services GmbH", usd(minor)) | more

    def batch(self, number: str, *vouchers: str) -> str:
        due_date = self.get_voucher(vouchers[0]).due_date
        self.ok("core-1", "open_clearing", number=number, due_date=due_date, vouchers=list(vouchers))
        return f"core-1/{number}"

    def clearing(self, batch: str, **more: Any) -> dict[str, Any]:
        """Arguments of ``clear_batch`` as the settlement bank would send them now."""
        found = self.get_batch(batch)
        holders = [self.get_voucher(line.voucher).holder for line in found.lines]
        cash = self.cash("core-1", batch, [found.total.currency, found.total.minor])
        args = {
            "batch": batch,
            "bank": BIC,
            "reference": cash["reference"],
            "amount": cash["amount"],
            "value_date": self.today,
            "lines": [
                {"voucher": line.voucher, "payee": holder, "minor": line.minor}
                for line, holder in zip(found.lines, holders, strict=True)
            ],
        }
        return args | more

    def get_batch(self, identifier: str) -> ClearingBatch:
        found = self.find(ClearingBatch, identifier)
        assert isinstance(found, ClearingBatch)
        return found
