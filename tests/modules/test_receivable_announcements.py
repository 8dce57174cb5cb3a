"""Who pays and who says so are two (version 2): a payment that the payer's own bank attests waits for a witness."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import Money, replace
from dawan_node.modules.receivable.entities import FinancingState, InvoiceState, VoucherState
from dawan_node.modules.receivable.supervised import BatchState
from dawan_node.modules.refdata import module as refdata
from dawan_node.testing.trade import BIC, Trade, cny
from tests.modules.receivable_kit import DECLARATION, MILLION, usd
from tests.modules.receivable_strict import Strict
from tests.modules.test_governance import enrolment
from tests.modules.test_receivable_terms import Governed

ORDERS = [(0, 1), (1, 0)]


@pytest.fixture
def desk() -> Strict:
    return Strict()


def kept(desk: Trade, *but: str) -> dict[Any, bytes]:
    """The module's records of all collections but these."""
    return {key: value for key, value in desk.state().items() if key[1] not in but}


def test_the_payers_own_bank_announces_and_nothing_is_discharged(desk: Strict) -> None:
    voucher = desk.due()
    before = kept(desk)
    receipt = desk.ok("settle-bank", "settle_voucher", **desk.payment(voucher, "PAY 1"))
    assert [name for name, _ in receipt.events] == ["PaymentAnnounced"]
    assert kept(desk, "announcement") == before
    (found,), _ = desk.kit.query("announcements", {"payee": "supplier-a"})
    assert (found.announcement, found.state, found.record) == (f"settle-bank/{BIC}/pay1", "ANNOUNCED", voucher)
    assert desk.kit.query("announcements", {"record": voucher})[0] == (found,)
    assert desk.kit.query("announcements")[0] == ()
    assert desk.kit.query("cash_references", {"subject": voucher})[0] == ()


def test_the_payee_confirms_and_it_settles(desk: Strict) -> None:
    voucher = desk.due()
    announced = desk.announced(voucher)
    receipt = desk.ok("supplier-a", "confirm_receipt", announcement=announced)
    assert [name for name, _ in receipt.events] == ["VoucherSettled", "ReceiptConfirmed"]
    assert desk.get_voucher(voucher).state == VoucherState.SETTLED
    (cash,), _ = desk.kit.query("cash_references", {"subject": voucher})
    assert (cash.attested_by, cash.payer, cash.amount.minor) == ("settle-bank", "core-1", 10 * MILLION)
    assert desk.announcement(announced).state == "CONFIRMED"


@pytest.mark.parametrize("bank", ["settle-mo", "settle-hq"])
def test_a_bank_of_another_organisation_attests_alone_whatever_was_announced(desk: Strict, bank: str) -> None:
    voucher = desk.due()
    announced = desk.announced(voucher)
    desk.ok(bank, "settle_voucher", **desk.payment(voucher, "PAY 1"))
    assert desk.get_voucher(voucher).state == VoucherState.SETTLED
    desk.expect("E_VOUCHER_STATE", "supplier-a", "confirm_receipt", announcement=announced)
    assert desk.announcement(announced).state == "ANNOUNCED"


def test_the_payees_own_bank_attests_alone(desk: Strict) -> None:
    invoice = desk.invoice(seller="supplier-c")
    desk.ok("settle-mo", "settle_invoice", invoice=invoice, cash=desk.cash("core-1", "supplier-c", cny(10 * MILLION)))
    assert desk.get_invoice(invoice).state == InvoiceState.SETTLED


@pytest.mark.parametrize("order", ORDERS)
def test_of_a_confirmation_and_an_independent_attestation_in_one_block_one_settles(
    desk: Strict, order: tuple[int, int]
) -> None:
    voucher = desk.due()
    announced = desk.announced(voucher)
    calls = [
        desk.call("supplier-a", "confirm_receipt", announcement=announced),
        desk.call("settle-mo", "settle_voucher", **desk.payment(voucher)),
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    assert [receipt.reason for receipt in receipts] == ["", "E_VOUCHER_STATE"]
    assert desk.get_voucher(voucher).redeemed_minor == 10 * MILLION


@pytest.mark.parametrize("order", ORDERS)
def test_the_announcement_and_its_confirmation_come_in_one_block_in_their_order_only(
    desk: Strict, order: tuple[int, int]
) -> None:
    voucher = desk.due()
    calls = [
        desk.call("settle-bank", "settle_voucher", **desk.payment(voucher, "PAY 1")),
        desk.call("supplier-a", "confirm_receipt", announcement=f"settle-bank/{BIC}/pay1"),
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    expected = ["", ""] if order == (0, 1) else ["E_UNKNOWN_ANNOUNCEMENT", ""]
    assert [receipt.reason for receipt in receipts] == expected
    settled = desk.get_voucher(voucher).state == VoucherState.SETTLED
    assert settled == (order == (0, 1))


@pytest.mark.parametrize("order", ORDERS)
def test_whoever_passed_the_voucher_on_confirms_nothing_any_more(desk: Strict, order: tuple[int, int]) -> None:
    voucher = desk.due()
    announced = desk.announced(voucher)
    desk.ok("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-c")
    calls = [
        desk.call("supplier-a", "confirm_receipt", announcement=announced),
        desk.call("supplier-c", "accept_voucher", voucher=voucher),
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    expected = ["", "E_NOT_OFFERED"] if order == (0, 1) else ["", "E_WRONG_PAYEE"]
    assert [receipt.reason for receipt in receipts] == expected
    assert desk.get_voucher(voucher).state == (VoucherState.SETTLED if order == (0, 1) else VoucherState.ACTIVE)


def test_an_invoice_a_guarantee_a_loan_and_an_export_wait_for_their_payees_too(desk: Strict) -> None:
    def twice(command: str, payer: str, payee: str, amount: list[Any], reference: str, **subject: str) -> None:
        """Announced, which changes nothing, and confirmed."""
        before = kept(desk, "announcement")
        desk.ok("settle-bank", command, **subject, cash=desk.cash(payer, payee, amount, reference))
        assert kept(desk, "announcement") == before
        desk.ok(payee, "confirm_receipt", announcement=f"settle-bank/{BIC}/{reference}")

    invoice = desk.invoice()
    twice("settle_invoice", "core-1", "supplier-a", cny(10 * MILLION), "pay1", invoice=invoice)
    assert desk.get_invoice(invoice).state == InvoiceState.SETTLED

    guarded = Strict(staff={"surety-gz": ("gz", ["guarantor"])})
    guarded.ok("surety-gz", "set_credit_line", core="core-1", limit=cny(50 * MILLION))
    voucher = guarded.due(guarantor="surety-gz")
    guarded.kit.pass_time(days=1)
    guarded.ok("supplier-a", "default_voucher", voucher=voucher)
    cash = guarded.cash("surety-gz", "supplier-a", cny(10 * MILLION), "pay1")
    guarded.ok("settle-bank", "settle_voucher", voucher=voucher, cash=cash)
    assert guarded.get_voucher(voucher).state == VoucherState.DEFAULTED
    guarded.ok("supplier-a", "confirm_receipt", announcement=f"settle-bank/{BIC}/pay1")
    assert guarded.get_voucher(voucher).state == VoucherState.SETTLED
    (line,), _ = guarded.kit.query("credit_lines", {"party": "core-1"})
    assert line.used_minor == 0

    voucher = desk.voucher("V-2")
    desk.move(voucher, "supplier-a", "supplier-b")
    loan = desk.apply("F-1", voucher, "supplier-b", "bank-hk", MILLION, kind="PLEDGE", rate_ppm=0)
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.fund(loan)
    twice("repay_financing", "supplier-b", "bank-hk", cny(MILLION), "pay2", financing=loan)
    assert desk.financing(loan).state == FinancingState.REPAID
    assert desk.get_voucher(voucher).holder == "supplier-b"

    desk.declared()
    twice("collect_export", "core-1", "exporter-a", usd(400_000), "pay3", declaration=DECLARATION)
    assert desk.declaration().collected_minor == 400_000


def test_a_clearing_batch_needs_a_bank_of_another_organisation(desk: Strict) -> None:
    batch = desk.batch("C-1", desk.due("V-1", MILLION), desk.due("V-2", MILLION))
    desk.ok("settle-bank", "clear_batch", **desk.clearing(batch, reference="PAY 1"))
    assert desk.get_batch(batch).state == BatchState.OPEN
    assert desk.get_voucher("core-1/V-1").state == VoucherState.ACTIVE
    desk.expect("E_NOT_PARTY", "supplier-a", "confirm_receipt", announcement=f"settle-bank/{BIC}/pay1")
    desk.ok("settle-mo", "clear_batch", **desk.clearing(batch, reference="PAY 1"))
    assert desk.get_batch(batch).state == BatchState.CLEARED


def test_a_bank_of_the_payers_house_attests_no_bank_as_before(desk: Strict) -> None:
    loan = desk.apply("F-1", desk.voucher(), "supplier-a", "bank-mo", MILLION)
    desk.ok("bank-mo", "reserve_financing", financing=loan)
    cash = desk.cash("bank-mo", "supplier-a", cny(MILLION))
    desk.expect("E_SELF_DEALING", "settle-mo", "fund_financing", financing=loan, cash=cash)


def test_a_chain_of_version_1_changes_over_on_the_day_it_votes_for() -> None:
    desk = Strict(refdata, version=1)
    desk.ok("settle-bank", "settle_voucher", **desk.payment(desk.due("V-1")))
    assert desk.get_voucher("core-1/V-1").state == VoucherState.SETTLED
    Governed(desk).set_parameter("receivable.rules", 2, desk.day(2))
    desk.kit.pass_time(days=1)
    desk.ok("settle-bank", "settle_voucher", **desk.payment(desk.due("V-2")))
    assert desk.get_voucher("core-1/V-2").state == VoucherState.SETTLED
    desk.kit.pass_time(days=1)
    announced = desk.announced(desk.due("V-3"))
    assert desk.get_voucher("core-1/V-3").state == VoucherState.ACTIVE
    desk.ok("supplier-a", "confirm_receipt", announcement=announced)
    assert desk.get_voucher("core-1/V-3").state == VoucherState.SETTLED


@pytest.mark.parametrize("what", ["booked alone", "confirmed only", "other sum"])
def test_the_invariant_sees_a_payment_without_a_witness(desk: Strict, what: str) -> None:
    confirmed, waiting = desk.announced(desk.due("V-1")), desk.announced(desk.due("V-2"), "PAY 2")
    desk.ok("supplier-a", "confirm_receipt", announcement=confirmed)
    (cash,), _ = desk.kit.query("cash_references", {"subject": "core-1/V-1"})
    entity = {
        "booked alone": replace(cash, reference="pay3"),
        "confirmed only": replace(desk.announcement(waiting), state="CONFIRMED"),
        "other sum": replace(desk.announcement(confirmed), amount=Money("CNY", 1)),
    }[what]
    # The other booking stands in the place of the confirmed one.
    key = cash.primary_key() if what == "booked alone" else entity.primary_key()
    desk.kit.state.values["receivable", entity.spec.collection, key] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"receivable\.payments_have_a_witness"):
        desk.kit.check_invariants()


def test_what_a_branch_rediscounted_is_paid_by_the_word_of_a_third_house_only() -> None:
    """Issuer, bank and settlement bank of one house cannot make the branch's security vanish; nor can the payee's."""
    desk = Strict(staff={"bank-gz": ("gz", ["bank"])})
    sold = []
    for number, bank in (("F-1", "bank-gz"), ("F-2", "bank-mo")):
        voucher = desk.voucher(f"V-{number}", due_date=desk.day(5))
        financing = desk.apply(number, voucher, "supplier-a", bank, 9 * MILLION)
        desk.ok(bank, "reserve_financing", financing=financing)
        paid = desk.cash(bank, "supplier-a", cny(9 * MILLION))
        desk.ok("settle-hq", "fund_financing", financing=financing, cash=paid)
        sold.append(voucher)
        desk.rediscounted(f"R-{number}", financing, bank=bank, days=5)
    desk.kit.pass_time(days=5)
    for voucher, banks in zip(sold, (["settle-bank"], ["settle-mo", "clearing-bank"]), strict=True):
        for bank in banks:
            desk.expect("E_WITNESS", bank, "settle_voucher", **desk.payment(voucher))
    batch = desk.batch("C-1", sold[1])
    desk.expect("E_WITNESS", "settle-mo", "clear_batch", **desk.clearing(batch))
    # The payer's own bank announces as ever; the bank that is paid cannot confirm it alone.
    announced = desk.announced(sold[1])
    desk.expect("E_WITNESS", "bank-mo", "confirm_receipt", announcement=announced)
    desk.ok("settle-hq", "settle_voucher", **desk.payment(sold[0]))
    # Bought back, the voucher is the bank's alone, and its word is good again.
    rediscount = desk.rediscount("bank-mo/R-F-2")
    desk.pay("repay_rediscount", "bank-mo", "pboc-gz", cny(rediscount.amount.minor), rediscount=rediscount.rediscount)
    desk.ok("bank-mo", "confirm_receipt", announcement=announced)
    assert {desk.get_voucher(voucher).state for voucher in sold} == {VoucherState.SETTLED}


def test_an_invoice_that_a_branch_rediscounted_needs_a_third_house_too() -> None:
    desk = Strict()
    invoice = desk.invoice(due_date=desk.day(100))
    financing = desk.apply_invoice("F-1", invoice, "bank-mo")
    desk.ok("bank-mo", "reserve_financing", financing=financing)
    desk.fund(financing)
    paid = {"invoice": invoice, "cash": desk.cash("core-1", "bank-mo", cny(10 * MILLION))}
    desk.submitted("R-1", financing, bank="bank-mo", days=5)
    before = desk.copy()
    before.ok("settle-mo", "settle_invoice", **paid)
    desk.ok("pboc-gz", "accept_rediscount", rediscount="bank-mo/R-1")
    price = cny(desk.rediscount("bank-mo/R-1").price_minor)
    desk.pay("fund_rediscount", "pboc-gz", "bank-mo", price, rediscount="bank-mo/R-1")
    desk.expect("E_WITNESS", "settle-mo", "settle_invoice", **paid)
    desk.ok("settle-hq", "settle_invoice", **paid)


def test_a_name_abroad_that_somebody_enrols_afterwards_was_nobodys_when_it_paid(desk: Strict) -> None:
    desk.declared()
    desk.ok("settle-bank", "collect_export", declaration=DECLARATION, cash=desk.cash("acme", "exporter-a", usd(1)))
    # The kit checks every invariant after it.
    assert desk.kit.run("gz-admin", "enrol", enrolment("acme"), module="governance").code == 0
    desk.ok("settle-bank", "collect_export", declaration=DECLARATION, cash=desk.cash("acme", "exporter-a", usd(2)))
    assert desk.declaration().collected_minor == 1, "from now on its own house's bank only announces"
