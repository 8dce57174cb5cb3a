"""Who answers when nobody paid: recourse by kind of financing, and the way from FUNDED over OVERDUE to CLOSED."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.modules.receivable.entities import FinancingKind, FinancingState, VoucherState
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import MILLION, Supervised


@pytest.fixture
def desk() -> Supervised:
    return Supervised()


def financed(desk: Supervised, kind: str, recourse: bool) -> str:
    """A financing of that kind, paid out, whose asset falls due in five days."""
    if kind in ("DISCOUNT", "PLEDGE"):
        voucher = desk.voucher("V-1", due_date=desk.day(5))
        more: dict[str, Any] = {"kind": kind, "recourse": recourse, "rate_ppm": 0}
        financing = desk.apply("F-1", voucher, "supplier-a", "bank-hk", 9 * MILLION, **more)
    else:
        invoice = desk.get_invoice(desk.invoice("INV-9", minor=10 * MILLION, due_date=desk.day(5)))
        args = {
            "number": "F-1",
            "invoice_number": "inv 9",
            "buyer": "core-1",
            "issue_date": invoice.issue_date,
            "total": cny(10 * MILLION),
            "financier": "bank-hk",
            "principal": cny(9 * MILLION),
            "rate_ppm": 0,
            "recourse": recourse,
            "kind": kind,
        }
        desk.ok("supplier-a", "apply_invoice_financing", **args)
        financing = "supplier-a/F-1"
    assert desk.financing(financing).kind == kind
    desk.ok("bank-hk", "reserve_financing", financing=financing)
    return desk.fund(financing)


@pytest.mark.parametrize(
    ("kind", "recourse", "reason"),
    [
        ("DISCOUNT", True, ""),
        ("DISCOUNT", False, "E_RECOURSE"),
        ("PLEDGE", True, ""),
        ("PLEDGE", False, ""),
        ("FACTORING", True, ""),
        ("FACTORING", False, "E_RECOURSE"),
        ("FORFAIT", False, "E_RECOURSE"),
    ],
)
def test_a_loan_is_owed_whatever_the_flag_says_and_a_sale_comes_back_only_with_recourse(
    desk: Supervised, kind: str, recourse: bool, reason: str
) -> None:
    financing = financed(desk, kind, recourse)
    desk.kit.pass_time(days=6)
    if kind == "DISCOUNT":
        desk.expect("E_RECOURSE", "bank-hk", "claim_recourse", financing=financing)
        desk.ok("bank-hk", "default_voucher", voucher="core-1/V-1")
    desk.ok("bank-hk", "declare_overdue", financing=financing)
    assert desk.financing(financing).state == FinancingState.OVERDUE
    if reason:
        desk.expect(reason, "bank-hk", "claim_recourse", financing=financing)
        return
    desk.ok("bank-hk", "claim_recourse", financing=financing)
    desk.repay(financing)
    assert desk.financing(financing).state == FinancingState.CLOSED


def test_without_a_kind_recourse_makes_it_factoring_and_none_makes_it_forfait(desk: Supervised) -> None:
    kinds = []
    for number, recourse in (("F-1", True), ("F-2", False)):
        invoice = desk.invoice(f"INV-{number}")
        kinds.append(desk.financing(desk.apply_invoice(number, invoice, "bank-hk", recourse=recourse)).kind)
    assert kinds == [FinancingKind.FACTORING, FinancingKind.FORFAIT]


def test_what_was_bought_is_overdue_when_the_issuer_is_late_not_at_the_maturity_agreed(desk: Supervised) -> None:
    financing = desk.bought("F-1", desk.voucher("V-1", due_date=desk.day(5)), maturity=desk.day(2))
    desk.kit.pass_time(days=5)
    desk.expect("E_NOT_DUE", "bank-hk", "declare_overdue", financing=financing)
    desk.kit.pass_time(days=1)
    desk.expect("E_NOT_FINANCIER", "bank-mo", "declare_overdue", financing=financing)
    receipt = desk.ok("bank-hk", "declare_overdue", financing=financing)
    due_date = desk.get_voucher("core-1/V-1").due_date
    overdue = {"financing": financing, "due_date": due_date, "outstanding": cny(10 * MILLION)}
    assert [tuple(event) for event in receipt.events] == [("FinancingOverdue", overdue)]


def test_an_issuer_that_pays_late_ends_an_overdue_financing_as_repaid(desk: Supervised) -> None:
    financing = financed(desk, "DISCOUNT", False)
    desk.kit.pass_time(days=6)
    desk.ok("bank-hk", "declare_overdue", financing=financing)
    desk.pay("settle_voucher", "core-1", "bank-hk", cny(10 * MILLION), voucher="core-1/V-1")
    assert desk.financing(financing).state == FinancingState.REPAID
    desk.expect("E_FINANCING_STATE", "bank-hk", "claim_recourse", financing=financing)


def test_a_borrower_that_repays_an_overdue_loan_has_its_voucher_back(desk: Supervised) -> None:
    voucher = desk.voucher("V-1", due_date=desk.day(50))
    loan = desk.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION, kind="PLEDGE", maturity=desk.day(5))
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.fund(loan)
    desk.kit.pass_time(days=6)
    desk.ok("bank-hk", "declare_overdue", financing=loan)
    assert desk.get_voucher(voucher).state == VoucherState.PLEDGED
    desk.repay(loan)
    assert desk.financing(loan).state == FinancingState.REPAID
    desk.move(voucher, "supplier-a", "supplier-b")
