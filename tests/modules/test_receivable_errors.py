"""Every reason of the receivable module's error table is met by at least one refused command, state unchanged.

``REFUSALS`` maps each reason to scenarios; the last tests require that table, declaration and source agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.modules import receivable
from dawan_node.modules.receivable import module
from dawan_node.testing.trade import Trade, cny
from tests.modules.receivable_kit import Supervised
from tests.modules.receivable_refusals import SUPERVISED
from tests.modules.receivable_strict import STRICT, Strict

MILLION = 100_000_000
Scenario = Callable[[Trade], None]
REFUSALS: dict[str, list[Scenario]] = {}


def refused(*reasons: str) -> Callable[[Scenario], Scenario]:
    def register(scenario: Scenario) -> Scenario:
        for reason in reasons:
            REFUSALS.setdefault(reason, []).append(scenario)
        return scenario

    return register


def refuse_recording(trade: Trade, reason: str, **changed: object) -> None:
    trade.expect(reason, "supplier-a", "record_invoice", **trade.invoice_args(**changed))


def issue(trade: Trade, reason: str, invoice: str, **changed: object) -> None:
    args = {
        "number": "V-001",
        "holder": "supplier-a",
        "face": cny(10 * MILLION),
        "due_date": trade.day(90),
        "invoices": [{"invoice": invoice, "minor": 10 * MILLION}],
    }
    trade.expect(reason, "core-1", "issue_voucher", **(args | changed))


@refused("E_NEGATIVE_AMOUNT", "E_ZERO_AMOUNT", "E_AMOUNT_RANGE", "E_UNKNOWN_CURRENCY", "E_TAX_AMOUNT")
def amounts(trade: Trade) -> None:
    refuse_recording(trade, "E_NEGATIVE_AMOUNT", minor=-1)
    refuse_recording(trade, "E_ZERO_AMOUNT", minor=0)
    refuse_recording(trade, "E_AMOUNT_RANGE", minor=10**15)
    refuse_recording(trade, "E_UNKNOWN_CURRENCY", total=["XXQ", 1])
    refuse_recording(trade, "E_UNKNOWN_CURRENCY", total=["cny", 1])
    refuse_recording(trade, "E_TAX_AMOUNT", minor=100, tax_minor=101)
    refuse_recording(trade, "E_TAX_AMOUNT", minor=100, tax_minor=-1)


@refused("E_DATE", "E_DUE_BEFORE_ISSUE", "E_ISSUE_DATE_FUTURE")
def dates(trade: Trade) -> None:
    refuse_recording(trade, "E_DATE", issue_date="2026-02-30")
    refuse_recording(trade, "E_DATE", due_date="2026-13-01")
    refuse_recording(trade, "E_DUE_BEFORE_ISSUE", due_date=trade.day(-1))
    refuse_recording(trade, "E_ISSUE_DATE_FUTURE", issue_date=trade.day(2))
    trade.ok("supplier-a", "record_invoice", **trade.invoice_args(issue_date=trade.day(1)))
    trade.ok("supplier-a", "record_invoice", **trade.invoice_args(due_date=trade.today))


@refused("E_INVOICE_NUMBER", "E_INVOICE_TYPE", "E_CREDIT_NOTE", "E_ALREADY_ASSIGNED", "E_DUP_INVOICE")
def documents(trade: Trade) -> None:
    for number in ("---", "ІNV-001", "ΙNV-001", "INV-٠٠١", "I\u0336NV", "カ1", "INV\ufe0f1"):
        refuse_recording(trade, "E_INVOICE_NUMBER", number=number)
    refuse_recording(trade, "E_CREDIT_NOTE", type_code="381")
    refuse_recording(trade, "E_ALREADY_ASSIGNED", type_code="393")
    refuse_recording(trade, "E_INVOICE_TYPE", type_code="325")
    trade.invoice("发票-0042", confirmed=False)
    refuse_recording(trade, "E_DUP_INVOICE", number="发票００４２")
    trade.invoice("0-0", confirmed=False)
    refuse_recording(trade, "E_DUP_INVOICE", number="0")


@refused("E_UNKNOWN_PARTY", "E_SELF_DEALING")
def parties(trade: Trade) -> None:
    refuse_recording(trade, "E_UNKNOWN_PARTY", buyer="Not A Name")
    refuse_recording(trade, "E_SELF_DEALING", buyer="supplier-a")
    invoice = trade.invoice()
    issue(trade, "E_UNKNOWN_PARTY", invoice, holder="nobody")
    issue(trade, "E_SELF_DEALING", invoice, holder="core-1")
    voucher = trade.voucher("V-001", invoice)
    trade.expect("E_UNKNOWN_PARTY", "supplier-a", "transfer_voucher", voucher=voucher, to="nobody")
    trade.expect("E_SELF_DEALING", "supplier-a", "transfer_voucher", voucher=voucher, to="core-1")
    trade.expect("E_SELF_DEALING", "supplier-a", "transfer_voucher", voucher=voucher, to="supplier-a")


@refused("E_UNKNOWN_INVOICE", "E_NOT_SELLER", "E_NOT_BUYER", "E_INVOICE_STATE", "E_NOT_CONFIRMED")
def invoice_parties_and_states(trade: Trade) -> None:
    trade.expect("E_UNKNOWN_INVOICE", "core-1", "confirm_invoice", invoice="supplier-a/inv1/00")
    invoice = trade.invoice(confirmed=False)
    trade.expect("E_NOT_BUYER", "buyer-a", "confirm_invoice", invoice=invoice)
    trade.expect("E_NOT_SELLER", "supplier-b", "cancel_invoice", invoice=invoice)
    issue(trade, "E_NOT_CONFIRMED", invoice)
    application = trade.apply_invoice("F-1", invoice, "bank-hk")
    trade.expect("E_NOT_CONFIRMED", "bank-hk", "reserve_financing", financing=application)
    trade.ok("core-1", "confirm_invoice", invoice=invoice)
    trade.expect("E_INVOICE_STATE", "core-1", "confirm_invoice", invoice=invoice)
    trade.ok("core-1", "dispute_invoice", invoice=invoice, reason="wrong goods")
    trade.expect("E_NOT_CONFIRMED", "bank-hk", "reserve_financing", financing=application)
    trade.ok("supplier-a", "cancel_invoice", invoice=invoice)
    issue(trade, "E_INVOICE_STATE", invoice)
    trade.expect("E_INVOICE_STATE", "bank-hk", "reserve_financing", financing=application)
    refuse_recording(trade, "E_DUP_INVOICE", number="inv 001")


@refused("E_OVERUSE", "E_USE_MISMATCH", "E_CURRENCY_MISMATCH", "E_IN_USE", "E_DUP_VOUCHER")
def voucher_backing(trade: Trade) -> None:
    invoice = trade.invoice()
    issue(trade, "E_USE_MISMATCH", invoice, face=cny(9 * MILLION))
    issue(trade, "E_USE_MISMATCH", invoice, invoices=[{"invoice": invoice, "minor": 5 * MILLION}] * 2)
    issue(trade, "E_NEGATIVE_AMOUNT", invoice, invoices=[{"invoice": invoice, "minor": -5}])
    issue(trade, "E_CURRENCY_MISMATCH", invoice, face=["HKD", 10 * MILLION])
    more = {"face": cny(11 * MILLION), "invoices": [{"invoice": invoice, "minor": 11 * MILLION}]}
    issue(trade, "E_OVERUSE", invoice, **more)
    trade.voucher("V-001", invoice, minor=6 * MILLION)
    issue(trade, "E_DUP_VOUCHER", invoice, number="v-001")
    issue(trade, "E_OVERUSE", invoice, number="V-002")
    trade.expect("E_IN_USE", "core-1", "dispute_invoice", invoice=invoice, reason="too late")
    trade.voucher("V-002", invoice, minor=4 * MILLION)


@refused("E_REFERENCE", "E_TERM", "E_DUE_PAST")
def voucher_terms(trade: Trade) -> None:
    invoice = trade.invoice()
    for number in ("", "-V", "V 1", "V/1", "票-1", "ß", "V" * 41):
        issue(trade, "E_REFERENCE" if number else "E_SCHEMA", invoice, number=number)
    issue(trade, "E_DUE_PAST", invoice, due_date=trade.day(-1))
    issue(trade, "E_TERM", invoice, due_date=trade.day(366))


@refused("E_UNKNOWN_VOUCHER", "E_NOT_HOLDER", "E_NOT_OFFERED", "E_VOUCHER_STATE", "E_NOT_PARTY", "E_MATURED")
def voucher_moves(trade: Trade) -> None:
    trade.expect("E_UNKNOWN_VOUCHER", "supplier-a", "accept_voucher", voucher="core-1/V-9")
    voucher = trade.voucher(due_date=trade.day(1))
    trade.expect("E_NOT_HOLDER", "supplier-b", "transfer_voucher", voucher=voucher, to="bank-hk")
    trade.ok("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")
    trade.expect("E_NOT_OFFERED", "supplier-c", "accept_voucher", voucher=voucher)
    trade.expect("E_NOT_PARTY", "supplier-c", "decline_voucher", voucher=voucher)
    trade.expect("E_VOUCHER_STATE", "supplier-a", "transfer_voucher", voucher=voucher, to="bank-hk")
    trade.expect("E_VOUCHER_STATE", "supplier-a", "split_voucher", voucher=voucher, parts=[cny(5 * MILLION)] * 2)
    trade.kit.pass_time(days=2)
    trade.expect("E_MATURED", "supplier-b", "accept_voucher", voucher=voucher)
    trade.ok("supplier-b", "decline_voucher", voucher=voucher)
    trade.expect("E_VOUCHER_STATE", "supplier-b", "decline_voucher", voucher=voucher)
    trade.expect("E_MATURED", "supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")


@refused("E_SPLIT_SUM", "E_SPLIT_DEPTH", "E_MIN_FACE")
def splits(trade: Trade) -> None:
    voucher = trade.voucher()
    for reason, parts in (("E_SPLIT_SUM", [6, 5]), ("E_SPLIT_SUM", [1, 1])):
        amounts_of_parts = [cny(part * MILLION) for part in parts]
        trade.expect(reason, "supplier-a", "split_voucher", voucher=voucher, parts=amounts_of_parts)
    small = [cny(10 * MILLION - 99_999), cny(99_999)]
    trade.expect("E_MIN_FACE", "supplier-a", "split_voucher", voucher=voucher, parts=small)
    for depth in range(8):
        parts = [cny(100_000), cny(10 * MILLION - 100_000 * (depth + 1))]
        trade.ok("supplier-a", "split_voucher", voucher=voucher, parts=parts)
        voucher += ".2"
    parts = [cny(100_000), cny(10 * MILLION - 900_000)]
    trade.expect("E_SPLIT_DEPTH", "supplier-a", "split_voucher", voucher=voucher, parts=parts)


@refused("E_LOCKED", "E_NOT_LOCKED", "E_LOCK_TIME")
def locks(trade: Trade) -> None:
    voucher = trade.voucher()
    lock = {"voucher": voucher, "owner": "bank-mo", "reason": "cross-channel reserve"}
    hours = 3_600_000
    for until_ms in (trade.kit.time_ms, trade.kit.time_ms + 73 * hours):
        trade.expect("E_LOCK_TIME", "supplier-a", "lock_voucher", **lock, until_ms=until_ms)
    until_ms = trade.kit.time_ms + 48 * hours
    trade.expect("E_UNKNOWN_PARTY", "supplier-a", "lock_voucher", **(lock | {"owner": "nobody"}), until_ms=until_ms)
    trade.ok("supplier-a", "lock_voucher", **lock, until_ms=until_ms)
    trade.expect("E_LOCKED", "supplier-a", "lock_voucher", **lock, until_ms=until_ms)
    trade.expect("E_LOCKED", "supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")
    trade.expect("E_LOCKED", "supplier-a", "split_voucher", voucher=voucher, parts=[cny(5 * MILLION)] * 2)
    trade.expect("E_NOT_LOCKED", "supplier-a", "release_voucher", voucher=voucher)
    application = trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION)
    trade.expect("E_LOCKED", "bank-hk", "reserve_financing", financing=application)
    trade.ok("bank-mo", "release_voucher", voucher=voucher)
    trade.expect("E_NOT_LOCKED", "bank-mo", "release_voucher", voucher=voucher)
    trade.ok("bank-hk", "reserve_financing", financing=application)
    trade.expect("E_NOT_LOCKED", "bank-hk", "release_voucher", voucher=voucher)


@refused("E_CREDIT_LINE", "E_LINE_BELOW_USE")
def credit_lines(trade: Trade) -> None:
    invoice = trade.invoice()
    issue(trade, "E_CREDIT_LINE", invoice, guarantor="bank-hk")
    trade.ok("bank-hk", "set_credit_line", core="core-1", limit=cny(10 * MILLION - 1))
    issue(trade, "E_CREDIT_LINE", invoice, guarantor="bank-hk")
    trade.ok("bank-hk", "set_credit_line", core="core-1", limit=cny(10 * MILLION))
    trade.voucher("V-001", invoice, guarantor="bank-hk")
    trade.expect("E_LINE_BELOW_USE", "bank-hk", "set_credit_line", core="core-1", limit=cny(MILLION))
    trade.expect("E_SELF_DEALING", "bank-hk", "set_credit_line", core="bank-hk", limit=cny(MILLION))


@refused("E_DUP_FINANCE", "E_DUP_FINANCING", "E_UNKNOWN_FINANCING", "E_NOT_FINANCIER", "E_NOT_BORROWER")
def applications(trade: Trade) -> None:
    voucher = trade.voucher()
    application = trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION)
    other = trade.apply("F-2", voucher, "supplier-a", "bank-mo", MILLION)
    again = {
        "number": "f-1",
        "voucher": voucher,
        "financier": "bank-mo",
        "kind": "DISCOUNT",
        "principal": cny(1),
        "rate_ppm": 0,
        "recourse": False,
        "maturity": trade.day(1),
    }
    trade.expect("E_DUP_FINANCING", "supplier-a", "apply_voucher_financing", **again)
    trade.expect("E_UNKNOWN_FINANCING", "bank-hk", "reserve_financing", financing="supplier-a/F-9")
    trade.expect("E_NOT_FINANCIER", "bank-mo", "reserve_financing", financing=application)
    trade.expect("E_NOT_BORROWER", "supplier-b", "withdraw_financing", financing=application)
    trade.expect("E_NOT_PARTY", "bank-mo", "expire_financing", financing=application)
    tag = bytes(31) + b"\x01"
    trade.ok("bank-hk", "reserve_financing", financing=application, tag=tag)
    trade.expect("E_DUP_FINANCE", "bank-mo", "reserve_financing", financing=other)
    elsewhere = trade.apply("F-3", trade.voucher("V-002"), "supplier-a", "bank-mo", MILLION)
    trade.expect("E_DUP_FINANCE", "bank-mo", "reserve_financing", financing=elsewhere, tag=tag)


@refused("E_FINANCING_KIND", "E_RATE", "E_PRINCIPAL", "E_MATURITY")
def application_terms(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.day(30))
    good = {
        "number": "F-1",
        "voucher": voucher,
        "financier": "bank-hk",
        "kind": "PLEDGE",
        "principal": cny(MILLION),
        "rate_ppm": 30_000,
        "recourse": True,
        "maturity": trade.day(20),
    }
    for reason, change in (
        ("E_FINANCING_KIND", {"kind": "FACTORING"}),
        ("E_RATE", {"rate_ppm": -1}),
        ("E_RATE", {"rate_ppm": 1_000_001}),
        ("E_PRINCIPAL", {"principal": cny(10 * MILLION + 1)}),
        ("E_MATURITY", {"maturity": trade.day(31)}),
        ("E_MATURITY", {"maturity": trade.day(-1)}),
        ("E_CURRENCY_MISMATCH", {"principal": ["HKD", MILLION]}),
        ("E_UNKNOWN_PARTY", {"financier": "nobody"}),
        ("E_SELF_DEALING", {"financier": "supplier-a"}),
    ):
        trade.expect(reason, "supplier-a", "apply_voucher_financing", **(good | change))
    trade.expect("E_NOT_HOLDER", "supplier-b", "apply_voucher_financing", **good)


@refused("E_FOUR_EYES", "E_FINANCING_STATE")
def look_alikes(trade: Trade) -> None:
    financed = trade.invoice("1-12")
    trade.ok("bank-mo", "reserve_financing", financing=trade.apply_invoice("F-1", financed, "bank-mo"))
    similar = trade.invoice("11-2", minor=999)
    application = trade.apply_invoice("F-2", similar, "bank-hk")
    trade.ok("bank-hk", "reserve_financing", financing=application)
    trade.expect("E_FINANCING_STATE", "bank-hk", "reserve_financing", financing=application)
    override = {"financing": application, "reason": "checked both delivery notes"}
    trade.expect("E_FOUR_EYES", "bank-hk", "approve_similar", **override)
    trade.expect("E_FOUR_EYES", "bank-mo", "approve_similar", **override)
    trade.ok("bank-hk-risk", "approve_similar", **override)
    trade.expect("E_FINANCING_STATE", "bank-hk-risk", "approve_similar", **override)


@refused("E_LOCK_EXPIRED", "E_LOCK_LIVE", "E_RECOURSE")
def reservations_end(trade: Trade) -> None:
    voucher = trade.voucher()
    application = trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION)
    trade.ok("bank-hk", "reserve_financing", financing=application)
    trade.expect("E_LOCK_LIVE", "supplier-a", "expire_financing", financing=application)
    trade.expect("E_FINANCING_STATE", "supplier-a", "withdraw_financing", financing=application)
    trade.expect("E_FINANCING_STATE", "bank-hk", "claim_recourse", financing=application)
    trade.kit.pass_time(days=3)
    cash = trade.cash("bank-hk", "supplier-a", cny(MILLION))
    trade.expect("E_LOCK_EXPIRED", "settle-bank", "fund_financing", financing=application, cash=cash)
    later = trade.apply("F-2", voucher, "supplier-a", "bank-mo", MILLION)
    trade.ok("bank-mo", "reserve_financing", financing=later)
    trade.ok("supplier-a", "expire_financing", financing=application)
    cash = trade.cash("bank-mo", "supplier-a", cny(MILLION))
    trade.ok("settle-bank", "fund_financing", financing=later, cash=cash)
    trade.expect("E_RECOURSE", "bank-mo", "claim_recourse", financing=later)


@refused(
    "E_BANK",
    "E_CASHREF_USED",
    "E_WRONG_PAYER",
    "E_WRONG_PAYEE",
    "E_AMOUNT_MISMATCH",
    "E_VALUE_DATE",
    "E_NOT_DUE",
)
def cash(trade: Trade) -> None:
    invoice = trade.invoice("INV-007", buyer="buyer-a", minor=500)
    for reason, change in (
        ("E_BANK", {"bank": "12345678"}),
        ("E_REFERENCE", {"reference": " -- "}),
        ("E_WRONG_PAYER", {"payer": "core-1"}),
        ("E_WRONG_PAYEE", {"payee": "supplier-b"}),
        ("E_AMOUNT_MISMATCH", {"amount": cny(499)}),
        ("E_CURRENCY_MISMATCH", {"amount": ["HKD", 500]}),
        ("E_VALUE_DATE", {"value_date": trade.day(1)}),
        ("E_DATE", {"value_date": "2026-02-30"}),
    ):
        payment = trade.cash("buyer-a", "supplier-a", cny(500)) | change
        trade.expect(reason, "settle-bank", "settle_invoice", invoice=invoice, cash=payment)
    payment = trade.cash("buyer-a", "supplier-a", cny(500))
    trade.ok("settle-bank", "settle_invoice", invoice=invoice, cash=payment)
    trade.expect("E_INVOICE_STATE", "settle-bank", "settle_invoice", invoice=invoice, cash=payment)
    second = trade.invoice("INV-008", buyer="buyer-a", minor=500)
    trade.expect("E_CASHREF_USED", "settle-bank", "settle_invoice", invoice=second, cash=payment)
    voucher = trade.voucher()
    trade.expect("E_NOT_DUE", "supplier-a", "default_voucher", voucher=voucher)


@refused("E_NO_SURPLUS")
def surpluses(trade: Trade) -> None:
    """test_receivable_surplus has one that is owed, and paid back."""
    loan = trade.apply("F-1", trade.voucher("V-1"), "supplier-a", "bank-hk", 1, kind="PLEDGE")
    cash = trade.cash("bank-hk", "supplier-a", cny(1))
    for financing in (loan, "supplier-a/F-9"):
        trade.expect("E_NO_SURPLUS", "settle-bank", "return_surplus", financing=financing, cash=cash)


@refused("E_TITLE", "E_NO_TITLES")
def titles(trade: Trade) -> None:
    """What a channel that keeps none says; test_receivable_titles has one that does."""
    invoice = trade.invoice(minor=500)
    args = {"number": "F-1", "invoice_number": "INV-001", "buyer": "core-1", "issue_date": trade.today}
    args |= {"total": cny(500), "financier": "bank-hk", "principal": cny(1), "rate_ppm": 0, "recourse": True}
    assert invoice
    title = {"title": "SMDG-HMM/HKG-1"}
    proof = {"title_proof": b"x"}
    trade.expect("E_TITLE", "supplier-a", "apply_invoice_financing", **args | title | proof)
    for one in (title, proof):
        trade.expect("E_NO_TITLES", "supplier-a", "apply_invoice_financing", **args | one)


@pytest.mark.parametrize(
    "scenario", sorted({s for group in REFUSALS.values() for s in group}, key=lambda s: s.__name__)
)
def test_refusals_have_their_reason_and_change_nothing(scenario: Scenario) -> None:
    scenario(Trade())


@pytest.mark.parametrize(
    "scenario", sorted({s for group in SUPERVISED.values() for s in group}, key=lambda s: s.__name__)
)
def test_refusals_around_the_authorities_have_their_reason_and_change_nothing(
    scenario: Callable[[Supervised], None],
) -> None:
    scenario(Supervised())


@pytest.mark.parametrize("scenario", sorted({s for group in STRICT.values() for s in group}, key=lambda s: s.__name__))
def test_refusals_of_version_2_have_their_reason_and_change_nothing(scenario: Callable[[Strict], None]) -> None:
    scenario(Strict())


def test_every_reason_of_the_table_has_a_scenario_and_a_sentence() -> None:
    assert set(REFUSALS) | set(SUPERVISED) | set(STRICT) == set(module.errors)
    for sentence in module.errors.values():
        assert sentence[0].isupper()
        assert sentence.endswith(".")


def test_the_source_fails_with_declared_reasons_only_and_uses_all_of_them() -> None:
    folder = Path(receivable.__file__).parent
    used = set()
    for path in folder.glob("*.py"):
        if path.name != "declaration.py":
            used |= set(re.findall(r'"(E_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert used == set(module.errors)


@pytest.mark.parametrize(
    ("person", "command"),
    [
        ("buyer-a", "record_invoice"),
        ("supplier-a", "confirm_invoice"),
        ("buyer-a", "issue_voucher"),
        ("supplier-a", "reserve_financing"),
        ("bank-hk", "fund_financing"),
        ("core-1", "settle_voucher"),
    ],
)
def test_a_command_of_another_role_is_refused_before_the_module_sees_it(person: str, command: str) -> None:
    trade = Trade()
    trade.expect("E_ROLE", person, command)
