"""The happy path H and the abuses A1 to A5 of domain.md M1, through real blocks with invariants after each."""

from __future__ import annotations

import pytest

from dawan_node.modules.receivable.entities import Financing, FinancingState, InvoiceState, VoucherState
from dawan_node.testing.trade import Trade, cny

MILLION = 100_000_000  # one million yuan in fen


@pytest.fixture
def trade() -> Trade:
    return Trade()


def test_h_ten_million_travel_two_tiers_are_financed_twice_removed_and_paid_to_the_cent(trade: Trade) -> None:
    invoice = trade.invoice()
    voucher = trade.voucher("V-001", invoice)
    trade.ok("supplier-a", "split_voucher", voucher=voucher, parts=[cny(6 * MILLION), cny(4 * MILLION)])
    trade.move(f"{voucher}.1", "supplier-a", "supplier-b")
    trade.ok("supplier-b", "split_voucher", voucher=f"{voucher}.1", parts=[cny(2 * MILLION), cny(4 * MILLION)])
    trade.move(f"{voucher}.1.1", "supplier-b", "supplier-c")

    financed = f"{voucher}.1.2"
    financing = trade.apply("F-1", financed, "supplier-b", "bank-hk", 393_000_000)
    trade.ok("bank-hk", "reserve_financing", financing=financing)
    paid_out = trade.cash("bank-hk", "supplier-b", cny(393_000_000))
    trade.ok("settle-bank", "fund_financing", financing=financing, cash=paid_out)
    assert trade.get_voucher(financed).holder == "bank-hk"
    # The bank sells it on to another one: the first has its money back.
    resale = trade.apply("R-1", financed, "bank-hk", "bank-mo", 395_000_000)
    trade.ok("bank-mo", "reserve_financing", financing=resale)
    trade.ok("settle-bank", "fund_financing", financing=resale, cash=trade.cash("bank-mo", "bank-hk", cny(395_000_000)))
    assert trade.kit.get(Financing, financing.encode()).state == FinancingState.REPAID

    trade.kit.pass_time(days=180)
    holders = {f"{voucher}.2": "supplier-a", f"{voucher}.1.1": "supplier-c", financed: "bank-mo"}
    for leaf, holder in holders.items():
        face = trade.get_voucher(leaf).face
        cash = trade.cash("core-1", holder, [face.currency, face.minor])
        trade.ok("settle-bank", "settle_voucher", voucher=leaf, cash=cash)
    assert trade.get_voucher(voucher).redeemed_minor == 10 * MILLION
    assert trade.get_invoice(invoice).state == InvoiceState.SETTLED
    assert trade.kit.get(Financing, resale.encode()).state == FinancingState.REPAID
    (exposure,), _ = trade.kit.query("exposure", {"party": "core-1"})
    assert (exposure.issued_minor, exposure.redeemed_minor) == (10 * MILLION, 10 * MILLION)


@pytest.mark.parametrize("first", ["bank-hk", "bank-mo"])
def test_a1_of_two_banks_reserving_one_voucher_in_one_block_the_first_wins_and_the_other_sees_a_hit(
    trade: Trade, first: str
) -> None:
    voucher = trade.voucher()
    applications = {
        bank: trade.apply(f"F-{bank}", voucher, "supplier-a", bank, MILLION) for bank in ("bank-hk", "bank-mo")
    }
    second = "bank-mo" if first == "bank-hk" else "bank-hk"
    won, lost = trade.kit.block(
        trade.call(first, "reserve_financing", financing=applications[first]),
        trade.call(second, "reserve_financing", financing=applications[second]),
    )
    assert (won.code, lost.reason, lost.events) == (0, "E_DUP_FINANCE", [])
    # Nor after the first one paid and holds it.
    cash = trade.cash(first, "supplier-a", cny(MILLION))
    trade.ok("settle-bank", "fund_financing", financing=applications[first], cash=cash)
    trade.expect("E_DUP_FINANCE", second, "reserve_financing", financing=applications[second])


SPELLINGS = [
    " inv-001",
    "INV 001",
    "ＩＮＶ－００１",
    "inv001",
    "I.N.V/001",
    "INV—001",
    "Inv_001\t",
    "ⅠNV-001",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a2_the_same_invoice_in_another_spelling_is_refused_at_recording_and_at_financing(
    trade: Trade, spelling: str
) -> None:
    invoice = trade.invoice("INV-001")
    trade.expect("E_DUP_INVOICE", "supplier-a", "record_invoice", **trade.invoice_args(spelling))
    first = trade.apply_invoice("F-1", invoice, "bank-hk")
    second = trade.apply_invoice("F-2", invoice, "bank-mo", presented=spelling)
    trade.ok("bank-hk", "reserve_financing", financing=first)
    trade.expect("E_DUP_FINANCE", "bank-mo", "reserve_financing", financing=second)
    trade.expect("E_DUP_FINANCE", "supplier-a", "record_invoice", **trade.invoice_args(spelling))


@pytest.mark.parametrize("first", ["bank-hk", "bank-mo"])
def test_a2_one_invoice_presented_to_two_banks_in_one_block_is_reserved_once(trade: Trade, first: str) -> None:
    invoice = trade.invoice("INV-001")
    applications = {
        "bank-hk": trade.apply_invoice("F-1", invoice, "bank-hk"),
        "bank-mo": trade.apply_invoice("F-2", invoice, "bank-mo", presented=" inv-001"),
    }
    order = sorted(applications, key=lambda bank: bank != first)
    receipts = trade.kit.block(*[trade.call(bank, "reserve_financing", financing=applications[bank]) for bank in order])
    assert [receipt.reason for receipt in receipts] == ["", "E_DUP_FINANCE"]


def test_an_invoice_that_backs_a_voucher_cannot_be_financed_nor_a_financed_one_back_a_voucher(trade: Trade) -> None:
    backing = trade.invoice("INV-001")
    trade.voucher("V-001", backing)
    again = trade.apply_invoice("F-1", backing, "bank-hk", presented="inv 001")
    trade.expect("E_DUP_FINANCE", "bank-hk", "reserve_financing", financing=again)

    sold = trade.invoice("INV-002")
    trade.ok("bank-hk", "reserve_financing", financing=trade.apply_invoice("F-2", sold, "bank-hk"))
    issue = {
        "number": "V-002",
        "holder": "supplier-a",
        "face": cny(MILLION),
        "due_date": trade.day(90),
        "invoices": [{"invoice": sold, "minor": MILLION}],
    }
    trade.expect("E_DUP_FINANCE", "core-1", "issue_voucher", **issue)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([6 * MILLION, 4 * MILLION + 1], "E_SPLIT_SUM"),
        ([6 * MILLION, 4 * MILLION - 1], "E_SPLIT_SUM"),
        ([10 * MILLION, 0], "E_ZERO_AMOUNT"),
        ([11 * MILLION, -1 * MILLION], "E_NEGATIVE_AMOUNT"),
        ([10 * MILLION - 99_999, 99_999], "E_MIN_FACE"),
        ([2**62, 2**62], "E_AMOUNT_RANGE"),
    ],
)
def test_a3_a_split_must_sum_to_the_cent_with_positive_parts(trade: Trade, parts: list[int], reason: str) -> None:
    voucher = trade.voucher()
    trade.expect(reason, "supplier-a", "split_voucher", voucher=voucher, parts=[cny(part) for part in parts])


def test_a3_parts_in_another_currency_and_parts_of_parts_beyond_the_depth_are_refused(trade: Trade) -> None:
    voucher = trade.voucher()
    mixed = [["HKD", 6 * MILLION], cny(4 * MILLION)]
    trade.expect("E_CURRENCY_MISMATCH", "supplier-a", "split_voucher", voucher=voucher, parts=mixed)
    face = 10 * MILLION
    for _ in range(8):
        trade.ok("supplier-a", "split_voucher", voucher=voucher, parts=[cny(face // 2), cny(face - face // 2)])
        voucher, face = f"{voucher}.1", face // 2
    parts = [cny(face // 2), cny(face - face // 2)]
    trade.expect("E_SPLIT_DEPTH", "supplier-a", "split_voucher", voucher=voucher, parts=parts)


def test_a4_nothing_can_be_cancelled_or_disputed_after_it_moved_downstream(trade: Trade) -> None:
    invoice = trade.invoice()
    voucher = trade.voucher("V-001", invoice)
    trade.expect("E_IN_USE", "core-1", "dispute_invoice", invoice=invoice, reason="short delivery")
    trade.expect("E_IN_USE", "supplier-a", "cancel_invoice", invoice=invoice)
    trade.move(voucher, "supplier-a", "supplier-b")
    trade.expect("E_IN_USE", "core-1", "cancel_voucher", voucher=voucher)
    trade.expect("E_NOT_PARTY", "supplier-a", "cancel_voucher", voucher=voucher)
    trade.move(voucher, "supplier-b", "supplier-a")
    trade.expect("E_IN_USE", "core-1", "cancel_voucher", voucher=voucher)


def test_a4_issuer_and_first_holder_together_can_cancel_an_untouched_voucher_and_free_its_invoice(
    trade: Trade,
) -> None:
    invoice = trade.invoice()
    voucher = trade.voucher("V-001", invoice)
    trade.ok("core-1", "cancel_voucher", voucher=voucher)
    trade.ok("core-1", "cancel_voucher", voucher=voucher)
    assert trade.get_voucher(voucher).state == VoucherState.ACTIVE, "one party alone cannot, however often it asks"
    trade.ok("supplier-a", "cancel_voucher", voucher=voucher)
    assert trade.get_voucher(voucher).state == VoucherState.CANCELLED
    trade.voucher("V-002", invoice)


@pytest.mark.parametrize("spelling", ["PAY-77", "pay 77", "ＰＡＹ７７"])
def test_a5_a_cash_reference_settles_one_thing_once_in_any_spelling(trade: Trade, spelling: str) -> None:
    voucher = trade.voucher(due_date=trade.day(1))
    trade.ok("supplier-a", "split_voucher", voucher=voucher, parts=[cny(5 * MILLION), cny(5 * MILLION)])
    trade.kit.pass_time(days=1)
    cash = trade.cash("core-1", "supplier-a", cny(5 * MILLION), reference="PAY-77")
    trade.ok("settle-bank", "settle_voucher", voucher=f"{voucher}.1", cash=cash)
    trade.expect("E_VOUCHER_STATE", "settle-bank", "settle_voucher", voucher=f"{voucher}.1", cash=cash)
    again = cash | {"reference": spelling, "bank": "BKCHCNBJ300"}
    trade.expect("E_CASHREF_USED", "settle-bank", "settle_voucher", voucher=f"{voucher}.2", cash=again)


def test_a5_money_paid_to_the_old_holder_or_of_another_amount_does_not_settle(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.day(1))
    trade.move(voucher, "supplier-a", "supplier-b")
    amount = cny(10 * MILLION)
    early = trade.cash("core-1", "supplier-b", amount)
    trade.expect("E_NOT_DUE", "settle-bank", "settle_voucher", voucher=voucher, cash=early)
    trade.kit.pass_time(days=1)
    cases = {
        "E_WRONG_PAYEE": trade.cash("core-1", "supplier-a", amount),
        "E_WRONG_PAYER": trade.cash("buyer-a", "supplier-b", amount),
        "E_AMOUNT_MISMATCH": trade.cash("core-1", "supplier-b", cny(10 * MILLION - 1)),
        "E_CURRENCY_MISMATCH": trade.cash("core-1", "supplier-b", ["HKD", 10 * MILLION]),
        "E_VALUE_DATE": trade.cash("core-1", "supplier-b", amount) | {"value_date": trade.day(1)},
        "E_BANK": trade.cash("core-1", "supplier-b", amount) | {"bank": "NOTABICX1"},
    }
    for reason, cash in cases.items():
        trade.expect(reason, "settle-bank", "settle_voucher", voucher=voucher, cash=cash)
    trade.expect("E_ROLE", "core-1", "settle_voucher", voucher=voucher, cash=trade.cash("core-1", "supplier-b", amount))
    trade.ok("settle-bank", "settle_voucher", voucher=voucher, cash=trade.cash("core-1", "supplier-b", amount))
