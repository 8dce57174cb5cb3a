"""What an enforced pledge brings beyond the debt is the borrower's, to the cent, and is returned once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import Money, replace
from dawan_node.modules.receivable import repayment
from dawan_node.modules.receivable.entities import CashReference, Financing, FinancingState, Surplus, VoucherState
from dawan_node.primitives.receipt import Receipt
from dawan_node.testing.trade import cny
from tests.modules.channels_kit import Channels, Place, copy_of, enrol
from tests.modules.receivable_kit import MILLION, Supervised
from tests.modules.receivable_strict import Strict

SOLD = "seller-a/F-1"
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
    assert old.kit.query("surpluses", {"party": "supplier-a"})[0] == ()
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


@pytest.mark.parametrize(("desk", "holder"), [(Witnessed(), "bank-hk"), (Supervised(), "supplier-a")])
@pytest.mark.parametrize("by_batch", [False, True])
def test_a_voucher_that_was_paid_to_the_financier_stays_with_it_when_the_borrower_pays_the_rest(
    desk: Supervised, holder: str, by_batch: bool
) -> None:
    """Under the first rules its record named the borrower then, as kept blocks do; no invariant minds that."""
    desk = desk.copy()
    enforced(desk, 10 * MILLION, rate_ppm=100_000)
    if by_batch:
        desk.ok(desk.attestor(1), "clear_batch", **desk.clearing(desk.batch("C-1", VOUCHER)))
    else:
        settle(desk)
    desk.repay(LOAN)
    assert desk.financing(LOAN).state == FinancingState.CLOSED
    assert (desk.get_voucher(VOUCHER).state, desk.get_voucher(VOUCHER).holder) == (VoucherState.SETTLED, holder)


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


# -- goods whose title the financier took ------------------------------------------------------------------------------


@pytest.fixture
def one() -> Channels:
    """Receivables and titles on one channel: ``seller-a`` sold its invoice of ten million with recourse and a title."""
    one = Channels(one=True)
    args = one.application("F-1", one.factoring.invoice(seller="seller-a"), title=one.title(holder="seller-a"))
    one.trade.ok("seller-a", "receivable", "apply_invoice_financing", **args)
    one.trade.ok("bank-hk", "receivable", "reserve_financing", financing=SOLD)
    one.fund(SOLD)
    one.pass_time(days=181)
    one.trade.ok("bank-hk", "receivable", "claim_recourse", financing=SOLD)
    return one


def taken(one: Channels) -> Channels:
    one.trade.ok("bank-hk", "receivable", "take_title", financing=SOLD)
    return one


def account(one: Channels, minor: int, payer: str = "buyer") -> dict[str, Any]:
    return {"financing": SOLD, "cash": one.factoring.cash(payer, "bank-hk", cny(minor))}


def standing(one: Channels) -> tuple[str, int, str, list[tuple[str, int, int, int, str]]]:
    """State, what is outstanding, the title, and what is owed back."""
    found = one.trade.kit.get(Financing, SOLD.encode())
    assert found is not None
    items, _ = one.trade.kit.query("surplus", {"financing": SOLD}, module="receivable")
    rows = [(each.source, each.amount.minor, each.proceeds_minor, each.debt_minor, each.state) for each in items]
    return found.state.value, found.outstanding_minor, one.security(SOLD), rows


def test_goods_are_not_sold_within_the_financiers_own_house_for_a_cent(one: Channels) -> None:
    enrol(one.trade, "hk", "trader-hk", "exporter")
    taken(one)
    one.trade.expect("E_SELF_DEALING", "settle-bank", "receivable", "account_title", **account(one, 1, "trader-hk"))


def test_goods_that_bring_more_than_the_debt_pay_it_and_the_rest_is_the_borrowers(one: Channels) -> None:
    one.trade.expect("E_TITLE", "settle-bank", "receivable", "account_title", **account(one, 1))
    taken(one)
    for reason, payer in (("E_SELF_DEALING", "bank-hk"), ("E_SELF_DEALING", "settle-bank")):
        one.trade.expect(reason, "settle-bank", "receivable", "account_title", **account(one, 5, payer))
    # The financier's own house would say how little the goods brought.
    one.trade.expect("E_SELF_DEALING", "settle-hk", "receivable", "account_title", **account(one, 1))
    one.trade.ok("settle-bank", "receivable", "account_title", **account(one, 12 * MILLION))
    row = ("TITLE", 2 * MILLION, 12 * MILLION, 10 * MILLION)
    assert standing(one) == ("CLOSED", 0, "SOLD", [(*row, "OWED")])
    # The claim on the buyer, which the bank bought, is the seller's again: it has paid for it with its goods.
    (invoice,), _ = one.trade.kit.query("invoices", {"party": "seller-a", "side": "seller"}, module="receivable")
    assert (invoice.state, invoice.payee) == ("CONFIRMED", "seller-a")
    one.trade.expect("E_TITLE", "settle-bank", "receivable", "account_title", **account(one, 1))
    back = {"financing": SOLD, "cash": one.factoring.cash("bank-hk", "seller-a", cny(2 * MILLION))}
    one.trade.expect("E_NO_SURPLUS", "settle-bank", "receivable", "return_surplus", **back)
    one.trade.ok("settle-bank", "receivable", "return_surplus", **back, source="TITLE")
    assert standing(one)[3] == [(*row, "RETURNED")]


def test_goods_that_bring_less_leave_a_debt_that_can_be_repaid(one: Channels) -> None:
    taken(one)
    one.trade.ok("settle-bank", "receivable", "account_title", **account(one, 7 * MILLION))
    assert standing(one) == ("RECOURSE", 3 * MILLION, "SOLD", [])
    repay = {"financing": SOLD, "cash": one.factoring.cash("seller-a", "bank-hk", cny(3 * MILLION))}
    one.trade.ok("settle-bank", "receivable", "repay_financing", **repay)
    assert standing(one) == ("CLOSED", 0, "SOLD", [])


def test_a_financier_that_was_paid_in_full_and_sold_the_goods_owes_all_they_brought(one: Channels) -> None:
    taken(one)
    (invoice,), _ = one.trade.kit.query("invoices", {"party": "seller-a", "side": "seller"}, module="receivable")
    cash = one.factoring.cash("core-1", "bank-hk", cny(10 * MILLION))
    one.trade.ok("settle-bank", "receivable", "settle_invoice", invoice=invoice.invoice, cash=cash)
    assert standing(one) == ("CLOSED", 0, "TAKEN", [])
    one.trade.ok("settle-bank", "receivable", "account_title", **account(one, 4 * MILLION))
    assert standing(one)[3] == [("TITLE", 4 * MILLION, 4 * MILLION, 0, "OWED")]


def test_the_goods_and_the_claim_paid_in_one_block_pay_the_debt_once_in_either_order(one: Channels) -> None:
    taken(one)
    (invoice,), _ = one.trade.kit.query("invoices", {"party": "seller-a", "side": "seller"}, module="receivable")
    cash = one.factoring.cash("core-1", "bank-hk", cny(10 * MILLION))
    goods = ("account_title", account(one, 12 * MILLION))
    claim = ("settle_invoice", {"invoice": invoice.invoice, "cash": cash})
    for order, reasons, owed_back in (
        ((goods, claim), ["", "E_WRONG_PAYEE"], 2 * MILLION),
        ((claim, goods), ["", ""], 12 * MILLION),
    ):
        place = Place(copy_of(one.trade.kit))
        calls = [place.call("settle-bank", "receivable", command, **args) for command, args in order]
        assert place.race(*calls) == reasons
        items, _ = place.kit.query("surpluses", {"party": "seller-a"}, module="receivable")
        assert [each.amount.minor for each in items] == [owed_back]


@pytest.mark.parametrize("wrong", [0, 11 * MILLION])
def test_the_invariant_sees_proceeds_of_goods_that_nobody_accounts_for(
    one: Channels, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(one)
    monkeypatch.setattr(repayment, "owe_surplus" if wrong else "sell", lambda *_: None)
    with pytest.raises(AssertionError, match=r"receivable\.surplus_is_the_pledgors"):
        one.trade.ok("settle-bank", "receivable", "account_title", **account(one, wrong or MILLION))


# -- the invariant -----------------------------------------------------------------------------------------------------


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
    (each,), _ = desk.kit.query("surplus", {"financing": LOAN})
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
