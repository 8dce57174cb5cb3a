"""Random blocks of random commands: whatever is sent, in whatever order, every invariant holds after every block.

The kit checks the invariants; here the commands are chosen so that many of them succeed: each picks its subject among
those that exist, usually with the right party, sometimes with a wrong one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random
from typing import Any

from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.kernel.declaration import Freeze
from dawan_node.modules.receivable.entities import (
    OPEN_STATES,
    Announcement,
    Financing,
    FinancingState,
    Invoice,
    InvoiceState,
    Surplus,
    Voucher,
    VoucherState,
)
from dawan_node.modules.receivable.supervised import ClearingBatch, ExportDeclaration, Rediscount, TaxFiling
from dawan_node.modules.refdata import module as refdata
from dawan_node.testing.trade import cny
from tests.modules import receivable_moves as moves
from tests.modules.receivable_kit import PEOPLE, Supervised
from tests.modules.receivable_strict import Strict
from tests.modules.walk_shards import Lengths, Walks

PARTIES = sorted(PEOPLE)
SPELLINGS = ["INV-{}", "inv {}", "ＩＮＶ{}", "Inv-0{}"]
THOUSAND = 100_000  # a thousand yuan, the smallest part, in fen

# Days that pass before a block: mostly none, sometimes enough to end a lock or reach a due date.
DAYS = (0, 0, 0, 0, 1, 3)

ALIVE = (FinancingState.APPLIED, FinancingState.RESERVED, *OPEN_STATES)

Draw = tuple[int, ...]
Maker = Callable[[], tuple[str, str, dict[str, Any]]]


@functools.cache
def beginning(version: int) -> Supervised:
    """Things at many points of their lives, so that a short walk reaches the late commands too."""
    desk = Supervised() if version == 1 else Strict(kernel, refdata, staff={"judge": ("hq", ["court"])})
    # Bought back by nobody: one that is worth what the bank owes, one that is worth more, one of which a part was paid.
    forgotten = [desk.voucher(f"O-{number}", minor=THOUSAND, due_date=desk.day(2)) for number in range(4)]
    sold = [_sold(desk, f"A-{number}", voucher, THOUSAND) for number, voucher in enumerate(forgotten)]
    for number, (assets, amount) in enumerate(((sold[:1], THOUSAND), (sold[1:2], 600), (sold[2:], 2 * THOUSAND))):
        desk.rediscounted(f"A-{number}", *assets, amount=cny(amount), days=1)
    owed = _to_announce(desk)
    loans = owed[3]
    uncovered = _lent_to_the_last_fen(desk)
    desk.kit.pass_time(days=33)
    desk.ok("bank-mo", "claim_recourse", financing=uncovered)
    paid = desk.cash("core-1", "bank-mo", cny(THOUSAND))
    desk.ok(desk.attestor(1), "settle_voucher", voucher="core-1/U", cash=paid)
    if isinstance(desk, Strict):
        _announced(desk, *owed)
        # Longer than any payee has to answer.
        desk.kit.pass_time(days=15)
        _, late, enforced = loans
        desk.ok("bank-hk", "declare_overdue", financing=late)
        desk.ok("bank-hk", "claim_recourse", financing=enforced)
    paid = desk.cash("core-1", "bank-hk", cny(THOUSAND))
    desk.ok(desk.attestor(1), "settle_voucher", voucher=forgotten[3], cash=paid)
    similar = ""
    for number in range(3):
        desk.voucher(f"S-{number}", minor=100 * THOUSAND, due_date=desk.day(2 + number))
        # Looks like the invoice behind that voucher, so financing it needs a second pair of eyes.
        alike, similar = similar, desk.invoice(f"INV-S-0{number}", minor=7 * THOUSAND)
    held = desk.apply_invoice("F-H", similar, "bank-hk")
    desk.ok("bank-hk", "reserve_financing", financing=held)
    until_ms = desk.kit.time_ms + 48 * 3_600_000
    lock = {"voucher": "core-1/S-1", "owner": "bank-mo", "reason": "elsewhere", "until_ms": until_ms}
    desk.ok("supplier-a", "lock_voucher", **lock)
    for bank, place in (("bank-hk", "HK"), ("bank-mo", "MO")):
        voucher = desk.voucher(f"B-{place}", minor=100 * THOUSAND, due_date=desk.day(4))
        _sold(desk, f"F-{place}", voucher, 90 * THOUSAND, bank)
    desk.submitted("R-S", "supplier-a/F-HK", amount=cny(50 * THOUSAND), days=2)
    pledged = desk.voucher("P", minor=100 * THOUSAND, due_date=desk.day(5))
    loan = desk.apply("F-P", pledged, "supplier-a", "bank-hk", THOUSAND, kind="PLEDGE", maturity=desk.day(1))
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.fund(loan)
    promised = desk.voucher("Q", minor=100 * THOUSAND, due_date=desk.day(6))
    loan = desk.apply("F-Q", promised, "supplier-a", "bank-mo", THOUSAND, kind="PLEDGE", maturity=desk.day(3))
    desk.ok("bank-mo", "reserve_financing", financing=loan)
    desk.apply_invoice("F-L", alike, "bank-mo")
    reserved = desk.apply("F-R", "core-1/S-2", "supplier-a", "bank-mo", 90 * THOUSAND, recourse=True)
    desk.ok("bank-mo", "reserve_financing", financing=reserved)
    factored = desk.invoice("INV-F", minor=9 * THOUSAND, due_date=desk.day(2))
    sale = desk.apply_invoice("F-F", factored, "bank-mo", recourse=True)
    desk.ok("bank-mo", "reserve_financing", financing=sale)
    desk.fund(sale)
    desk.ok("customs-gz", "record_declaration", **desk.declaration_args("9" * 18, 10 * moves.LOAN))
    desk.loan("L-S", moves.LOAN, declaration="9" * 18, maturity=desk.day(2))
    desk.filed("T-S", 3 * moves.LOAN, accepted=False)
    desk.batch("C-S", "core-1/S-0")
    desk.apply("F-Z", "core-1/S-0", "supplier-a", "bank-hk", 90 * THOUSAND)
    # Two enforced on their due date, one of them paid: what it brought beyond the loan is still owed back.
    for name in ("E", "E-1"):
        enforced = desk.voucher(name, minor=100 * THOUSAND, due_date=desk.day(0))
        more: dict[str, Any] = {"kind": "PLEDGE", "maturity": desk.day(0)}
        loan = desk.apply(f"A-{name}", enforced, "supplier-a", "bank-mo", THOUSAND, **more)
        desk.ok("bank-mo", "reserve_financing", financing=loan)
        desk.fund(loan)
        desk.ok("bank-mo", "claim_recourse", financing=loan)
    paid = desk.cash("core-1", "bank-mo", cny(100 * THOUSAND))
    desk.ok(desk.attestor(1), "settle_voucher", voucher="core-1/E", cash=paid)
    if version > 1:
        until_ms = desk.kit.time_ms + 360 * 24 * 3_600_000
        for number in range(2):
            asset = desk.voucher(f"Z-{number}", minor=100 * THOUSAND, due_date=desk.day(3))
            args = {"module": "receivable", "asset": asset, "order": "O-S", "reason": "a claim", "until_ms": until_ms}
            assert desk.kit.run("judge", "freeze_asset", args, module="kernel").code == 0
    desk.kit.check_what_changes()
    return desk


def _to_announce(desk: Supervised) -> tuple[str, str, str, list[str]]:
    """A voucher that is offered on when it falls due, an invoice of which one half is a voucher, one that was sold; and
    loans that will be due."""
    offered = desk.voucher("N-1", minor=THOUSAND, due_date=desk.day(2))
    desk.ok("supplier-a", "transfer_voucher", voucher=offered, to="supplier-c")
    halved = desk.invoice("INV-N-2", minor=2 * THOUSAND)
    desk.voucher("N-2", halved, minor=THOUSAND, due_date=desk.day(2))
    sold = desk.invoice("INV-N-3", seller="supplier-b", due_date=desk.day(2))
    sale = desk.apply_invoice("F-N", sold, "bank-mo", recourse=True)
    desk.ok("bank-mo", "reserve_financing", financing=sale, related=True)
    loans = []
    for number in range(3):
        pledged = desk.voucher(f"Y-{number}", minor=100 * THOUSAND, due_date=desk.day(80))
        desk.move(pledged, "supplier-a", "supplier-b")
        more: dict[str, Any] = {"kind": "PLEDGE", "maturity": desk.day(40), "rate_ppm": 0}
        loan = desk.apply(f"Y-{number}", pledged, "supplier-b", "bank-hk", THOUSAND, **more)
        desk.ok("bank-hk", "reserve_financing", financing=loan)
        loans.append(desk.fund(loan))
    return offered, halved, desk.fund(sale), loans


def _lent_to_the_last_fen(desk: Supervised) -> str:
    """A loan of the whole face of what is pledged, so that the face does not cover the interest."""
    pledged = desk.voucher("U", minor=THOUSAND, due_date=desk.day(2))
    more: dict[str, Any] = {"kind": "PLEDGE", "rate_ppm": 500_000, "maturity": desk.day(2)}
    loan = desk.apply("F-U", pledged, "supplier-a", "bank-mo", THOUSAND, **more)
    desk.ok("bank-mo", "reserve_financing", financing=loan)
    return desk.fund(loan)


def _announced(desk: Strict, offered: str, halved: str, sale: str, loans: list[str]) -> None:
    """Payments that only the payer's own bank speaks of: the payee confirms each of them, or does not."""
    desk.ok("settle-bank", "settle_voucher", **desk.payment(offered))
    desk.ok("settle-mo", "settle_voucher", **desk.payment("core-1/N-2"))
    rest = desk.cash("core-1", "supplier-a", cny(THOUSAND))
    desk.ok("settle-bank", "settle_invoice", invoice=halved, cash=rest)
    desk.ok("bank-mo", "claim_recourse", financing=sale)
    found = desk.financing(sale)
    cash = desk.cash(found.borrower, "bank-mo", ["CNY", found.outstanding_minor])
    desk.ok("settle-bank", "repay_financing", financing=sale, cash=cash)
    for loan in loans:
        cash = desk.cash("supplier-b", "bank-hk", cny(THOUSAND))
        desk.ok("settle-bank", "repay_financing", financing=loan, cash=cash)


def _sold(desk: Supervised, number: str, voucher: str, price: int, bank: str = "bank-hk") -> str:
    financing = desk.apply(number, voucher, "supplier-a", bank, price, recourse=True)
    desk.ok(bank, "reserve_financing", financing=financing)
    return desk.fund(financing)


class World:
    """A trade channel from ``beginning`` on, and the choice of the next command from four random numbers."""

    def __init__(self, version: int) -> None:
        self.trade = beginning(version).copy()

    def run(self, block: list[Draw], days: int) -> None:
        calls = [self.choose(*draw) for draw in block]
        self.trade.kit.pass_time(days=days)
        # Built before time passed, so a payment may be attested for yesterday; valid for an hour of block time.
        fresh = [
            self.trade.kit.call(person, command, args, module="kernel" if command == "freeze_asset" else "")
            for person, command, args in calls
        ]
        held = {key: (self.where(key), self.offered_to(key)) for key in self.frozen()}
        receipts = self.trade.kit.block(*fresh)
        for key, (place, offer) in held.items():
            moved = self.where(key) != place or self.offered_to(key) not in ("", offer)
            assert not moved, f"{key} is frozen and moved"
        for receipt, (_, command, _) in zip(receipts, calls, strict=True):
            assert receipt.code in (0, 2, 3), f"{command}: {receipt.reason}"

    def entities(self, kind: type[Any]) -> list[Any]:
        return self.trade.kit.entities(kind)

    def frozen(self) -> list[str]:
        """Vouchers and invoices that a court froze until after the next block."""
        next_ms = self.trade.kit.time_ms + 1_000
        return [each.asset for each in self.entities(Freeze) if next_ms < each.until_ms]

    def offered_to(self, asset: str) -> str:
        """To whom a voucher is offered; the offer may be taken back."""
        voucher = self.trade.kit.get(Voucher, asset.encode())
        return "" if voucher is None else voucher.offered_to

    def where(self, asset: str) -> tuple[Any, ...]:
        """Who has an asset, for which purpose, and whether it is over; a holder may say that it was not paid."""
        voucher = self.trade.kit.get(Voucher, asset.encode())
        if voucher is not None:
            over = voucher.state in (VoucherState.SPLIT, VoucherState.SETTLED, VoucherState.CANCELLED)
            return voucher.holder, voucher.discount, voucher.pledge, over
        invoice = self.trade.kit.get(Invoice, asset.encode())
        assert invoice is not None, asset
        over = invoice.state in (InvoiceState.CANCELLED, InvoiceState.SETTLED)
        # Vouchers on it move on: they are assets of their own.
        return invoice.payee, invoice.financing, over and invoice.settled_minor == 0

    def choose(self, what: int, a: int, b: int, c: int) -> tuple[str, str, dict[str, Any]]:
        invoices: list[Invoice] = self.entities(Invoice)
        vouchers: list[Voucher] = self.entities(Voucher)
        financings: list[Financing] = self.entities(Financing)
        makers: list[Maker] = [self.record]
        subject = what % 26
        if subject == 25 or (subject in (15, 24) and c % 2 and self.entities(Announcement)):
            makers = self.freeze(a, b) if c % 3 == 0 else self.for_announcements(a, b)
        elif subject > 15:
            makers = self.around_authorities(subject, vouchers, financings, (a, b, c))
        elif invoices and subject in (1, 2, 3, 4):
            makers = self.for_invoice(invoices[a % len(invoices)], b, c)
        elif vouchers and subject in (5, 6, 7, 8, 9):
            makers = self.for_voucher(vouchers[a % len(vouchers)], b, c)
        elif financings and subject in (10, 11, 12, 13, 14):
            owed = [each for each in self.entities(Surplus) if each.state == "OWED"]
            if owed and c % 8 == 5:
                return self.give_back(owed[a % len(owed)], b)
            # Mostly one whose life goes on; a held one is rare and soon overtaken.
            held = [each for each in financings if each.state == FinancingState.HELD]
            alive = [each for each in financings if each.state in ALIVE]
            financings = held or (alive if a % 8 else financings) or financings
            makers = self.for_financing(financings[a // 8 % len(financings)], b, c)
        elif subject == 15:
            limit = cny(1 + b * THOUSAND)
            makers = [lambda: ("bank-mo", "set_credit_line", {"core": "core-1", "limit": limit})]
        person, command, args = makers[(what // 26) % len(makers)]()
        # One time in sixteen somebody else tries it.
        return (PARTIES[b % len(PARTIES)] if c % 16 == 0 or not person else person), command, args

    def around_authorities(
        self, subject: int, vouchers: list[Voucher], financings: list[Financing], numbers: tuple[int, int, int]
    ) -> list[Maker]:
        a, b, c = numbers
        desk = self.trade

        def pick(kind: type[Any], new_of: int) -> tuple[int, Any]:
            """How many there are and one of the newest; one time in ``new_of`` a new one is to be made instead."""
            found = self.entities(kind)
            return len(found), found[-1 - a % min(len(found), 4)] if found and a % new_of else None

        if subject in (16, 17, 18):
            count, rediscount = pick(Rediscount, 3)
            if rediscount is None:
                return [lambda: moves.submit(desk, count, financings, b, c)]
            return moves.for_rediscount(desk, rediscount, b, c)
        if subject in (19, 20):
            count, declaration = pick(ExportDeclaration, 7)
            if declaration is None:
                return [lambda: moves.declare(desk, count)]
            return moves.for_declaration(desk, declaration, financings, b, c)
        if subject == 21:
            count, filing = pick(TaxFiling, 2)
            return [lambda: moves.file(desk, count, b)] if filing is None else moves.for_filing(desk, filing, b, c)
        if subject in (22, 23):
            count, batch = pick(ClearingBatch, 3)
            if batch is None:
                return [lambda: moves.open_batch(count, vouchers, b)]
            return moves.for_batch(desk, batch, b, c)
        return moves.for_enterprise(b, c)

    def for_announcements(self, a: int, b: int) -> list[Maker]:
        """Confirm, deny or certify one of the newest that wait."""
        waiting = [each for each in self.entities(Announcement) if each.state in ("ANNOUNCED", "DENIED")]
        waiting.sort(key=lambda each: each.announced_date)
        if not waiting:
            return [self.record]
        found = waiting[-1 - a % min(len(waiting), 6)]
        # A batch and a party abroad are payees, too, and nobody's.
        payee = found.payee if found.payee in PARTIES else "supplier-a"
        one = {"announcement": found.announcement}
        confirm = lambda: (payee, "confirm_receipt", one)  # noqa: E731
        if found.command == "repay_financing" and found.announced_date < self.trade.day(-14) and b % 4:
            third = ("settle-mo", "settle-hq", "pboc-gz", "settle-bank")[b // 4 % 4]
            certify = lambda: (third, "certify_receipt", one)  # noqa: E731
            return [certify, certify, confirm]
        return [confirm, confirm, confirm, lambda: (payee, "deny_receipt", one | {"why": "nothing came"})]

    def freeze(self, a: int, b: int) -> list[Maker]:
        """A court freezes one of the assets for up to three days, where there is one."""
        if self.trade.kit.executor.registry.module("kernel") is None:
            return [self.record]
        assets = [each.voucher for each in self.entities(Voucher)] + [each.invoice for each in self.entities(Invoice)]
        args = {"module": "receivable", "asset": assets[a % len(assets)], "order": f"O-{a}", "reason": "a claim"}
        until_ms = self.trade.kit.time_ms + (1 + b % 72) * 3_600_000
        return [lambda: ("judge", "freeze_asset", args | {"until_ms": until_ms})]

    def for_invoice(self, invoice: Invoice, b: int, c: int) -> list[Maker]:
        one = {"invoice": invoice.invoice}
        if invoice.state == InvoiceState.RECORDED and c % 4:
            return [lambda: (invoice.buyer, "confirm_invoice", one)]
        return [
            lambda: (invoice.buyer, "confirm_invoice", one),
            lambda: (invoice.buyer, "confirm_invoice", one),
            lambda: (invoice.buyer, "dispute_invoice", one | {"reason": "?"}),
            lambda: (invoice.seller, "cancel_invoice", one),
            lambda: self.issue(invoice, b, c),
            lambda: self.issue(invoice, b, c),
            lambda: self.issue(invoice, b, c),
            lambda: self.apply_invoice(invoice, b, c),
            lambda: self.apply_invoice(invoice, b, c),
            lambda: self.settle_invoice(invoice, b),
        ]

    def for_voucher(self, voucher: Voucher, b: int, c: int) -> list[Maker]:
        one = {"voucher": voucher.voucher}
        if voucher.offered_to and c % 4:
            accept = lambda: (voucher.offered_to, "accept_voucher", one | {"related": b % 2 == 0})  # noqa: E731
            return [accept, accept, lambda: (voucher.offered_to, "decline_voucher", one)]
        if voucher.pledge and voucher.state == VoucherState.ACTIVE and c % 4:
            return [lambda: self.settle_voucher(voucher, b)]
        if voucher.lock.owner == "bank-mo" and c % 2:
            return [lambda: ("bank-mo", "release_voucher", one)]
        return [
            lambda: (voucher.offered_to or voucher.holder, "decline_voucher", one),
            lambda: self.split(voucher, b, c),
            lambda: self.transfer(voucher, b),
            lambda: self.lock(voucher, b),
            lambda: ((voucher.issuer, voucher.holder)[b % 2], "cancel_voucher", one),
            lambda: self.apply_voucher(voucher, b, c),
            lambda: self.apply_voucher(voucher, b, c),
            lambda: self.settle_voucher(voucher, b),
            lambda: (voucher.holder, "default_voucher", one),
        ]

    def for_financing(self, financing: Financing, b: int, c: int) -> list[Maker]:
        one = {"financing": financing.financing}
        if c % 4:
            # Mostly the next step of its life, so that walks get past the beginning.
            if financing.state == FinancingState.APPLIED:
                taken = one | {"related": c % 3 != 0}
                reserve = lambda: (financing.financier, "reserve_financing", taken)  # noqa: E731
                return [reserve, reserve, lambda: (financing.borrower, "withdraw_financing", one)]
            if financing.state == FinancingState.HELD:
                seen = one | {"reason": "seen", "related": c % 3 != 0}
                return [lambda: ("bank-hk-risk", "approve_similar", seen)]
            if financing.state == FinancingState.RESERVED:
                pay = lambda: self.pay("fund_financing", financing, b)  # noqa: E731
                reject = lambda: (financing.financier, "reject_financing", one)  # noqa: E731
                return [pay, pay, reject, lambda: (financing.borrower, "expire_financing", one)]
            if financing.state in OPEN_STATES:
                claim = lambda: (financing.financier, "claim_recourse", one)  # noqa: E731
                late = lambda: (financing.financier, "declare_overdue", one)  # noqa: E731
                return [claim, late, lambda: self.pay("repay_financing", financing, b)]
        return [
            lambda: (financing.financier, "reserve_financing", one),
            lambda: (financing.financier, "reserve_financing", one),
            lambda: (financing.financier, "reserve_financing", one | {"tag": bytes([b % 4]) * 32, "related": True}),
            lambda: (("bank-hk-risk", "bank-hk")[b % 2], "approve_similar", one | {"reason": "seen"}),
            lambda: (financing.financier, "reject_financing", one),
            lambda: (financing.borrower, "withdraw_financing", one),
            lambda: (financing.borrower, "expire_financing", one),
            lambda: self.pay("fund_financing", financing, b),
            lambda: self.pay("fund_financing", financing, b),
            lambda: self.pay("repay_financing", financing, b),
            lambda: (financing.financier, "claim_recourse", one),
            lambda: (financing.financier, "register_movables", one | {"number": f"ZD-{b % 4}"}),
        ]

    def record(self) -> tuple[str, str, dict[str, Any]]:
        count = len(self.entities(Invoice))
        spelling = SPELLINGS[count % len(SPELLINGS)]
        number = spelling.format(count // 6 + 1)
        seller = ("supplier-a", "supplier-b")[count % 2]
        minor = (5 + count % 3) * 2 * THOUSAND
        args = self.trade.invoice_args(number, ("core-1", "buyer-a")[count % 5 == 4], minor, due_date=self.trade.day(8))
        return seller, "record_invoice", args

    def issue(self, invoice: Invoice, b: int, c: int) -> tuple[str, str, dict[str, Any]]:
        minor = invoice.total.minor // (1 + b % 2)
        args = {
            "number": f"V-{len(self.entities(Voucher))}",
            "holder": invoice.seller,
            "face": cny(minor),
            "due_date": self.trade.day(c % 6),
            "invoices": [{"invoice": invoice.invoice, "minor": minor}],
        }
        return invoice.buyer, "issue_voucher", args | ({"guarantor": "bank-mo"} if c % 3 == 0 else {})

    def split(self, voucher: Voucher, b: int, c: int) -> tuple[str, str, dict[str, Any]]:
        first = THOUSAND * (1 + b % 6)
        parts = [cny(first), cny(voucher.face.minor - first + (1 if c % 8 == 0 else 0))]
        return voucher.holder or voucher.issuer, "split_voucher", {"voucher": voucher.voucher, "parts": parts}

    def transfer(self, voucher: Voucher, b: int) -> tuple[str, str, dict[str, Any]]:
        to = ("supplier-a", "supplier-b", "supplier-c", "bank-hk")[b % 4]
        return voucher.holder or voucher.issuer, "transfer_voucher", {"voucher": voucher.voucher, "to": to}

    def lock(self, voucher: Voucher, b: int) -> tuple[str, str, dict[str, Any]]:
        until_ms = self.trade.kit.time_ms + (1 + b % 70) * 3_600_000
        args = {"voucher": voucher.voucher, "owner": "bank-mo", "reason": "elsewhere", "until_ms": until_ms}
        return voucher.holder or voucher.issuer, "lock_voucher", args

    def apply_voucher(self, voucher: Voucher, b: int, c: int) -> tuple[str, str, dict[str, Any]]:
        args = {
            "number": f"F-{len(self.entities(Financing))}-{b % 3}",
            "voucher": voucher.voucher,
            "financier": ("bank-hk", "bank-mo")[b % 2],
            "kind": ("DISCOUNT", "PLEDGE")[c % 2],
            "principal": cny(max(voucher.face.minor // (1 + b % 3), 1)),
            "rate_ppm": b % 100_000,
            "recourse": c % 3 != 0,
            "maturity": voucher.due_date,
        }
        return voucher.holder or voucher.issuer, "apply_voucher_financing", args

    def apply_invoice(self, invoice: Invoice, b: int, c: int) -> tuple[str, str, dict[str, Any]]:
        args = {
            "number": f"F-{len(self.entities(Financing))}-{b % 3}",
            "invoice_number": ("{}", " {}", "{}.")[c % 3].format(invoice.number),
            "buyer": invoice.buyer,
            "issue_date": invoice.issue_date,
            "total": cny(invoice.total.minor),
            "financier": ("bank-hk", "bank-mo")[b % 2],
            "principal": cny(invoice.total.minor),
            "rate_ppm": 0,
            "recourse": c % 2 == 0,
            "kind": ("", "FACTORING", "FORFAIT")[b % 3],
        }
        return invoice.seller, "apply_invoice_financing", args

    def settle_invoice(self, invoice: Invoice, b: int) -> tuple[str, str, dict[str, Any]]:
        due = invoice.total.minor - (0 if invoice.financing else invoice.used_minor)
        cash = self.cash(invoice.buyer, invoice.payee, due, b)
        return self.trade.attestor(b // 8), "settle_invoice", {"invoice": invoice.invoice, "cash": cash}

    def settle_voucher(self, voucher: Voucher, b: int) -> tuple[str, str, dict[str, Any]]:
        guaranteed = voucher.state == VoucherState.DEFAULTED and voucher.guarantor and b % 2
        payer = voucher.guarantor if guaranteed else voucher.issuer
        cash = self.cash(payer, voucher.holder or voucher.issuer, voucher.face.minor, b)
        return self.trade.attestor(b // 8), "settle_voucher", {"voucher": voucher.voucher, "cash": cash}

    def pay(self, command: str, financing: Financing, b: int) -> tuple[str, str, dict[str, Any]]:
        currency = financing.principal.currency
        if command == "fund_financing":
            due = [currency, financing.principal.minor]
            cash = self.trade.cash(financing.financier, financing.borrower, due, moves.reference(b))
        else:
            due = [currency, financing.outstanding_minor]
            cash = self.trade.cash(financing.borrower, financing.financier, due, moves.reference(b))
        return self.trade.attestor(b // 8), command, {"financing": financing.financing, "cash": cash}

    def give_back(self, owed: Surplus, b: int) -> tuple[str, str, dict[str, Any]]:
        cash = self.cash(owed.financier, owed.borrower, owed.amount.minor + (b % 16 == 1), b)
        return "settle-bank", "return_surplus", {"financing": owed.financing, "cash": cash}

    def cash(self, payer: str, payee: str, minor: int, b: int) -> dict[str, Any]:
        return self.trade.cash(payer, payee, cny(minor), moves.reference(b))


def walk(seed: int, blocks: int) -> World:
    """A channel after so many random blocks; the whole walk follows from the seed, odd ones are of version 2."""
    random = Random(seed)
    world = World(1 + seed % 2)
    for _ in range(blocks):
        draws = [tuple(random.randrange(2**16) for _ in range(4)) for _ in range(random.randint(1, 6))]
        world.run(draws, random.choice(DAYS))
    world.trade.kit.check_invariants()
    return world


WALKS = Walks("receivable", lambda: [beginning(version) for version in (1, 2)], walk, Lengths(12, 40), Lengths(20, 20))
