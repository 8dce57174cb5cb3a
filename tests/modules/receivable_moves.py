"""The next random command around the authorities: rediscounts, declarations, filings, batches, registrations.

Each function returns a few choices for one subject, mostly the next step of its life, so that walks get past the
beginning; whoever asks picks one of them. ``b`` and ``c`` are random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dawan_node.modules.receivable.entities import HELD_STATES, Financing, FinancingState, Voucher
from dawan_node.modules.receivable.supervised import (
    BatchState,
    ClearingBatch,
    DeclarationState,
    ExportDeclaration,
    FilingState,
    Rediscount,
    RediscountState,
    TaxFiling,
)
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import Supervised, usd

Choice = tuple[str, str, dict[str, Any]]
Maker = Callable[[], Choice]

LOAN = 1_000  # in cents, of declarations over ten times that


def reference(b: int) -> str:
    """One time in eight an old reference comes again."""
    return "PAY 1" if b % 8 == 0 else ""


def submit(desk: Supervised, number: int, financings: list[Financing], b: int, c: int) -> Choice:
    bought = [each for each in financings if each.state == FinancingState.FUNDED and each.kind != "PLEDGE"]
    chosen = (bought or financings)[-1 - b % len(bought or financings)]
    args = {
        "branch": ("pboc-gz", "pboc-sz")[b % 2],
        "amount": cny(max(chosen.outstanding_minor // (1 + b % 2), 1)),
        "rate_ppm": b % 100_000,
        "days": 1 + c % 3,
    }
    return chosen.financier, "submit_rediscount", desk.submission(f"R-{number}", chosen.financing, **args)


def for_rediscount(desk: Supervised, found: Rediscount, b: int, c: int) -> list[Maker]:
    one = {"rediscount": found.rediscount}
    why = one | {"reason": "quota"}
    price, amount = cny(found.price_minor), cny(found.amount.minor)

    def pay(command: str, payer: str, payee: str, due: list[Any]) -> Choice:
        return desk.attestor(c), command, one | {"cash": desk.cash(payer, payee, due, reference(b))}

    fund = lambda: pay("fund_rediscount", found.branch, found.bank, price)  # noqa: E731
    back = lambda: pay("repay_rediscount", found.bank, found.branch, amount)  # noqa: E731
    accept = lambda: (found.branch, "accept_rediscount", one | {"related": b % 4 != 0})  # noqa: E731
    withdraw = lambda: (found.bank, "withdraw_rediscount", one)  # noqa: E731
    if c % 8:
        if found.state == RediscountState.SUBMITTED:
            return [accept, accept, accept, withdraw]
        if found.state == RediscountState.ACCEPTED:
            return [fund]
        if found.state == RediscountState.FUNDED:
            return [back, lambda: ((found.bank, found.branch)[b % 2], "end_rediscount", one)]
        if found.state == RediscountState.FORFEITED:
            return [lambda: (desk.attestor(c), "repay_rediscount", desk.rest(found.rediscount))]
    return [
        accept,
        fund,
        back,
        lambda: (found.branch, "reject_rediscount", why),
        withdraw,
    ]


def declare(desk: Supervised, number: int) -> Choice:
    args = desk.declaration_args(f"{number:018d}", 10 * LOAN)
    return "customs-gz", "record_declaration", args


def for_declaration(
    desk: Supervised, found: ExportDeclaration, financings: list[Financing], b: int, c: int
) -> list[Maker]:
    number = len(financings)
    # Loans that wait for their bank, or have its promise: the declaration is what they compete for.
    asked = [each for each in financings if each.asset == found.declaration and each.state in ("APPLIED", "RESERVED")]
    if asked and c % 2:
        chosen = asked[b % len(asked)]
        step = "reserve_financing" if chosen.state == FinancingState.APPLIED else "reject_financing"
        return [lambda: (chosen.financier, step, {"financing": chosen.financing})]
    one = {"declaration": found.declaration, "reason": "?"}
    loan = {
        "declaration": found.declaration,
        "financier": ("bank-hk", "bank-mo")[b % 2],
        "maturity": desk.day(b % 3),
    }
    minor = LOAN * (1 + b % 9)

    def collect() -> Choice:
        payer = "core-1" if b % 4 == 1 else "Acme"  # whose bank is on the channel, too
        cash = desk.cash(payer, found.exporter, usd(minor), reference(b))
        return desk.attestor(c), "collect_export", {"declaration": found.declaration, "cash": cash}

    def borrow() -> Choice:
        return "exporter-a", "apply_export_financing", desk.loan_args(f"L-{number}", minor, **loan)

    if found.state == DeclarationState.BLOCKED and c % 4:
        return [lambda: ("safe-gz", "clear_declaration", one)]
    return [
        borrow,
        borrow,
        borrow,
        collect,
        collect,
        lambda: ("customs-gz", "amend_declaration", one | {"amount": usd(LOAN * (b % 12))}),
        lambda: ("customs-gz", "revoke_declaration", one),
        lambda: ("safe-gz", "block_declaration", one),
        lambda: ("safe-gz", "clear_declaration", one),
    ]


def file(desk: Supervised, number: int, b: int) -> Choice:
    # Few contracts in several spellings: some filings are of one that is filed already.
    contract = ("C-{}", "c {}", "Ｃ{}")[b % 3].format(number // 2)
    return "core-1", "file_payment", desk.filing_args(f"T-{number}", 3 * LOAN, contract_number=contract)


def for_filing(desk: Supervised, found: TaxFiling, b: int, c: int) -> list[Maker]:
    one = {"filing": found.filing}
    cancel = one | {"reason": "?"}

    def pay() -> Choice:
        cash = desk.abroad(LOAN * (1 + b % 3)) | ({"reference": "PAY 1"} if b % 8 == 0 else {})
        return desk.attestor(c), "pay_filing", one | {"cash": cash}

    if found.state == FilingState.FILED and c % 4:
        return [lambda: ("tax-gz", "accept_filing", one)]
    return [pay, pay, pay, lambda: (("tax-gz", found.payer)[b % 2], "cancel_filing", cancel)]


def open_batch(number: int, vouchers: list[Voucher], b: int) -> Choice:
    chosen = vouchers[b % len(vouchers)]
    held = [each for each in vouchers if each.due_date == chosen.due_date and each.state in HELD_STATES]
    names = [each.voucher for each in (held or [chosen])][: 1 + b % 3]
    return chosen.issuer, "open_clearing", {"number": f"C-{number}", "due_date": chosen.due_date, "vouchers": names}


def for_batch(desk: Supervised, found: ClearingBatch, b: int, c: int) -> list[Maker]:
    def clear() -> Choice:
        args = desk.clearing(found.batch)
        if b % 8 == 0:
            args["reference"] = "PAY 1"
        if c % 8 == 0:
            args["lines"][0]["payee"] = "supplier-c"
        return desk.attestor(c // 8), "clear_batch", args

    cancel = lambda: (found.core, "cancel_clearing", {"batch": found.batch})  # noqa: E731
    return [clear, clear, clear, cancel] if found.state == BatchState.OPEN else [clear, cancel]


def for_enterprise(b: int, c: int) -> list[Maker]:
    args = {
        "party": ("supplier-a", "supplier-b", "core-1")[b % 3],
        "size": ("MICRO", "SMALL", "LARGE")[c % 3],
        "district": ("440100", "MO")[b % 2],
        "group": ("", "pearl")[c % 2],
    }
    return [lambda: ("pboc-gz", "classify_enterprise", args)]
