"""What an enforced pledge brings beyond the debt is the borrower's, to the cent, and is returned once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import Money, replace
from dawan_node.modules.receivable import repayment
from dawan_node.modules.receivable.entities import CashReference, FinancingState, Surplus
from dawan_node.primitives.receipt import Receipt
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import MILLION, Supervised
from tests.modules.receivable_strict import Strict

LOAN, VOUCHER = "supplier-a/F-1", "core-1/V-1"


class Witnessed(Strict):
    """Attested by a bank of nobody's house."""

    def pay(self, command: str, payer: str, payee: str, amount: list[Any], **subject: str) -> Receipt:
        return self.ok("settle-hq", command, **subject, cash=self.cash(payer, payee, amount))


@pytest.fixture
def desk() -> Supervised:
    return Witnessed()


def enforced(desk: Supervised, principal: int = 4 * MILLION, rate_ppm: int = 0, **voucher: Any) -> None:
    """A loan on a voucher of ten million that was not repaid: the bank holds the voucher, which is due."""
    desk.voucher("V-1", due_date=desk.day(73), **voucher)
    more: dict[str, Any] = {"kind": "PLEDGE", "rate_ppm": rate_ppm, "maturity": desk.day(73)}
    desk.apply("F-1", VOUCHER, "supplier-a", "bank-hk", principal, **more)
    desk.ok("bank-hk", "reserve_financing", financing=LOAN)
    desk.fund(LOAN)
    desk.kit.pass_time(days=74)
    desk.ok("bank-hk", "claim_recourse", financing=LOAN)


def settle(desk: Supervised, payer: str = "core-1", payee: str = "bank-hk") -> Any:
    return desk.pay("settle_voucher", payer, payee, cny(10 * MILLION), voucher=VOUCHER)


def owed(desk: Supervised, party: str, side: str = "borrower") -> list[tuple[int, int, int, str]]:
    items, _ = desk.kit.query("surpluses", {"party": party, "side": side})
    return [(each.amount.minor, each.proceeds_minor, each.debt_minor, each.state) for each in items]


def test_under_the_first_rules_nothing_is_recorded_of_it_as_in_the_blocks_that_chains_of_them_keep() -> None:
    old = Supervised()
    enforced(old)
    assert [event[0] for event in settle(old).events] == ["FinancingRepaid", "VoucherSettled"]
    assert old.kit.get(Surplus, LOAN.encode()) is None
    # Its root with the code from before anybody recorded a surplus.
    assert old.kit.state_root.hex() == "3c051bd9e6dc9f8f314fb5badc8e80b9a20cc1f66e3f5f58b7f269c47008b1d1"


def test_the_face_beyond_the_debt_is_owed_to_the_borrower_and_paid_back_exactly(desk: Supervised) -> None:
    # A fifth of a year at 10 %: 80,000.00 of interest on four million.
    enforced(desk, rate_ppm=100_000)
    receipt = settle(desk)
    debt = 4 * MILLION + 4 * MILLION // 50
    surplus = 10 * MILLION - debt
    assert [event[0] for event in receipt.events] == ["SurplusOwed", "FinancingRepaid", "VoucherSettled"]
    assert desk.financing(LOAN).state == FinancingState.CLOSED
    assert owed(desk, "supplier-a") == owed(desk, "bank-hk", "financier") == [(surplus, 10 * MILLION, debt, "OWED")]
    for minor in (surplus - 1, surplus + 1):
        wrong = desk.cash("bank-hk", "supplier-a", cny(minor))
        desk.expect("E_AMOUNT_MISMATCH", "settle-hq", "return_surplus", financing=LOAN, cash=wrong)
    for reason, payer, payee in (
        ("E_WRONG_PAYER", "bank-mo", "supplier-a"),
        ("E_WRONG_PAYEE", "bank-hk", "supplier-b"),
    ):
        wrong = desk.cash(payer, payee, cny(surplus))
        desk.expect(reason, "settle-hq", "return_surplus", financing=LOAN, cash=wrong)
    cash = desk.cash("bank-hk", "supplier-a", cny(surplus))
    desk.expect("E_ROLE", "bank-hk", "return_surplus", financing=LOAN, cash=cash)
    desk.ok("settle-hq", "return_surplus", financing=LOAN, cash=cash)
    assert owed(desk, "supplier-a") == [(surplus, 10 * MILLION, debt, "RETURNED")]
    desk.expect("E_NO_SURPLUS", "settle-hq", "return_surplus", financing=LOAN, cash=cash)


@pytest.mark.parametrize("principal", [10 * MILLION - 1, 10 * MILLION])
def test_one_cent_is_a_surplus_and_none_is_not(desk: Supervised, principal: int) -> None:
    enforced(desk, principal)
    settle(desk)
    expected = [(1, 10 * MILLION, principal, "OWED")] if principal < 10 * MILLION else []
    assert owed(desk, "supplier-a") == expected


def test_a_debt_beyond_the_face_stays_a_debt_and_leaves_nothing_over(desk: Supervised) -> None:
    enforced(desk, 10 * MILLION, rate_ppm=100_000)
    settle(desk)
    assert desk.financing(LOAN).outstanding_minor == 10 * MILLION // 50
    desk.repay(LOAN)
    assert owed(desk, "supplier-a") == []


def test_a_guarantor_or_a_batch_that_pays_leaves_the_same_surplus(desk: Supervised) -> None:
    desk.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(20 * MILLION))
    enforced(desk, guarantor="bank-mo")
    desk.ok("bank-hk", "default_voucher", voucher=VOUCHER)
    by_batch = desk.copy()
    settle(desk, "bank-mo")
    batch = by_batch.batch("C-1", VOUCHER)
    by_batch.ok("settle-hq", "clear_batch", **by_batch.clearing(batch))
    assert (
        owed(desk, "supplier-a") == owed(by_batch, "supplier-a") == [(6 * MILLION, 10 * MILLION, 4 * MILLION, "OWED")]
    )


def test_what_was_bought_leaves_no_surplus(desk: Supervised) -> None:
    desk.bought("F-2", desk.voucher("V-2", due_date=desk.day(5)), recourse=True)
    desk.kit.pass_time(days=5)
    desk.pay("settle_voucher", "core-1", "bank-hk", cny(10 * MILLION), voucher="core-1/V-2")
    assert owed(desk, "supplier-a") == []
    cash = desk.cash("bank-hk", "supplier-a", cny(1))
    desk.expect("E_NO_SURPLUS", "settle-hq", "return_surplus", financing="supplier-a/F-2", cash=cash)


def test_a_bank_that_bought_a_voucher_and_pledged_it_has_the_surplus_and_not_the_seller(desk: Supervised) -> None:
    desk.bought("F-2", desk.voucher("V-2", due_date=desk.day(5)))
    loan = desk.apply("P-1", "core-1/V-2", "bank-hk", "bank-mo", MILLION, kind="PLEDGE", rate_ppm=0)
    desk.ok("bank-mo", "reserve_financing", financing=loan)
    desk.fund(loan)
    desk.kit.pass_time(days=6)
    desk.ok("bank-mo", "claim_recourse", financing=loan)
    desk.pay("settle_voucher", "core-1", "bank-mo", cny(10 * MILLION), voucher="core-1/V-2")
    assert (owed(desk, "supplier-a"), owed(desk, "bank-hk")) == ([], [(9 * MILLION, 10 * MILLION, MILLION, "OWED")])


def test_repaying_and_settling_in_one_block_pays_the_debt_once_in_either_order(desk: Supervised) -> None:
    enforced(desk)
    for repays_first in (True, False):
        one = desk.copy()
        repay = {"financing": LOAN, "cash": one.cash("supplier-a", "bank-hk", cny(4 * MILLION))}
        pay = {"voucher": VOUCHER, "cash": one.cash("core-1", "bank-hk", cny(10 * MILLION))}
        calls = [one.call("settle-hq", "repay_financing", **repay), one.call("settle-hq", "settle_voucher", **pay)]
        receipts = one.kit.block(*(calls if repays_first else reversed(calls)))
        # Redeemed, the voucher is the borrower's again and the payment to the bank is to the wrong one.
        assert [receipt.reason for receipt in receipts] == [
            "",
            "E_WRONG_PAYEE" if repays_first else "E_FINANCING_STATE",
        ]
        assert owed(one, "supplier-a") == ([] if repays_first else [(6 * MILLION, 10 * MILLION, 4 * MILLION, "OWED")])


def test_returning_a_surplus_twice_in_one_block_pays_it_once(desk: Supervised) -> None:
    enforced(desk)
    settle(desk)
    calls = []
    for _ in range(2):
        cash = desk.cash("bank-hk", "supplier-a", cny(6 * MILLION))
        calls.append(desk.call("settle-hq", "return_surplus", financing=LOAN, cash=cash))
    assert [receipt.reason for receipt in desk.kit.block(*calls)] == ["", "E_NO_SURPLUS"]


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda each, cash: replace(each, amount=Money("CNY", each.amount.minor - 1)),
        lambda each, cash: replace(each, debt_minor=each.debt_minor + 1, amount=Money("CNY", each.amount.minor - 1)),
        lambda each, cash: replace(each, proceeds_minor=each.proceeds_minor + 1),
        lambda each, cash: replace(each, borrower="supplier-b"),
        lambda each, cash: replace(each, state="OWED"),
        lambda each, cash: replace(cash, amount=Money("CNY", cash.amount.minor - 1)),
    ],
)
def test_the_invariant_sees_a_cent_that_is_missing(
    desk: Supervised, corrupt: Callable[[Surplus, CashReference], Entity]
) -> None:
    enforced(desk)
    settle(desk)
    desk.pay("return_surplus", "bank-hk", "supplier-a", cny(6 * MILLION), financing=LOAN)
    each = desk.find(Surplus, LOAN)
    payments, _ = desk.kit.query("cash_references", {"subject": LOAN})
    cash = next(found for found in payments if found.purpose == "surplus")
    entity = corrupt(each, cash)
    desk.kit.state.values["receivable", entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"receivable\.surplus_is_the_pledgors"):
        desk.kit.check_invariants()


def test_the_invariant_sees_a_surplus_that_nobody_recorded(desk: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    enforced(desk)
    monkeypatch.setattr(repayment, "owe_surplus", lambda *_: None)
    with pytest.raises(AssertionError, match=r"receivable\.surplus_is_the_pledgors"):
        settle(desk)
