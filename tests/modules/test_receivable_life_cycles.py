"""What happens to invoices, vouchers and financings beyond the main road, and what the queries show of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dawan_node.modules.receivable.entities import CreditLine, Financing, FinancingState, InvoiceState, VoucherState
from dawan_node.modules.receivable.fingerprints import loose_number, normalised_number
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.trade import PEOPLE, Trade, cny, text_id

MILLION = 100_000_000


@pytest.fixture
def trade() -> Trade:
    return Trade()


def financing_of(trade: Trade, financing: str) -> Financing:
    found = trade.kit.get(Financing, financing.encode())
    assert found is not None
    return found


def pay(trade: Trade, command: str, subject: dict[str, str], payer: str, payee: str, minor: int) -> None:
    trade.ok("settle-bank", command, **subject, cash=trade.cash(payer, payee, cny(minor)))


def fund(trade: Trade, financing: str) -> None:
    found = financing_of(trade, financing)
    pay(trade, "fund_financing", {"financing": financing}, found.financier, found.borrower, found.principal.minor)


# -- invoices ---------------------------------------------------------------------------------------------------------


def test_recording_an_invoice_writes_one_entity_and_two_index_entries(trade: Trade) -> None:
    trade.ok("supplier-a", "record_invoice", **trade.invoice_args())
    changes = trade.kit.blocks[-1].changes
    assert len([key for key in changes.state if key[0] == "receivable"]) == 1
    assert len([key for key in changes.indexes if key[0] == "receivable"]) == 2


def test_the_transaction_of_the_format_vectors_is_a_valid_record_invoice(trade: Trade) -> None:
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "formats.json").read_text(encoding="utf-8"))
    envelope = bytes.fromhex(_find(vectors, "envelope"))
    body = Transaction.decode(envelope).body
    assert (body.module, body.command) == ("receivable", "record_invoice")
    receipt = trade.ok("supplier-a", body.command, **body.args)
    assert [tuple(event) for event in receipt.events] == [("InvoiceRecorded", {"number": "INV-001"})]


def _find(vectors: object, name: str) -> str:
    """The vector of that name, wherever the file's layout puts it."""
    if isinstance(vectors, dict):
        if isinstance(vectors.get(name), str):
            return str(vectors[name])
        for value in vectors.values():
            if found := _find(value, name):
                return found
    return ""


@pytest.mark.parametrize(
    ("written", "exact", "loose"),
    [
        ("INV-001", "inv001", "inv1"),
        (" inv-001", "inv001", "inv1"),
        ("ＩＮＶ　００１", "inv001", "inv1"),
        ("000123", "123", "123"),
        ("0", "0", "0"),
        ("1-12", "112", "112"),
        ("11-2", "112", "112"),
        ("FAT 2026/07-Nº5", "fat202607no5", "fat202607no5"),
        ("A-007-B010", "a007b010", "a7b10"),
        ("票0042", "票0042", "票42"),
    ],
)
def test_numbers_are_normalised_exactly_and_loosely(written: str, exact: str, loose: str) -> None:
    assert normalised_number(written) == exact
    assert loose_number(exact) == loose


def test_invoices_that_differ_in_any_field_of_the_exact_fingerprint_are_different(trade: Trade) -> None:
    base = ("supplier-a", "core-1", "INV-001", "2025-11-24", cny(100))
    others = [
        ("supplier-b", *base[1:]),
        ("supplier-a", "buyer-a", *base[2:]),
        (*base[:2], "INV-002", *base[3:]),
        (*base[:3], "2025-11-23", base[4]),
        (*base[:4], cny(101)),
        (*base[:4], ["HKD", 100]),
    ]
    assert len({text_id(*fields) for fields in [base, *others]}) == len(others) + 1


def test_a_disputed_invoice_can_be_confirmed_after_all(trade: Trade) -> None:
    invoice = trade.invoice()
    trade.ok("core-1", "dispute_invoice", invoice=invoice, reason="quantity")
    trade.ok("core-1", "confirm_invoice", invoice=invoice)
    assert trade.get_invoice(invoice).state == InvoiceState.CONFIRMED


def test_a_factored_invoice_is_paid_to_the_financier_and_closes_the_financing(trade: Trade) -> None:
    invoice = trade.invoice("INV-9", buyer="buyer-a", minor=1_000)
    financing = trade.apply_invoice("F-1", invoice, "bank-hk", presented="inv 9")
    trade.ok("bank-hk", "reserve_financing", financing=financing)
    fund(trade, financing)
    wrong = trade.cash("buyer-a", "supplier-a", cny(1_000))
    trade.expect("E_WRONG_PAYEE", "settle-bank", "settle_invoice", invoice=invoice, cash=wrong)
    pay(trade, "settle_invoice", {"invoice": invoice}, "buyer-a", "bank-hk", 1_000)
    assert trade.get_invoice(invoice).state == InvoiceState.SETTLED
    assert financing_of(trade, financing).state == FinancingState.REPAID


def test_an_unpaid_invoice_factored_with_recourse_goes_back_to_its_seller(trade: Trade) -> None:
    invoice = trade.invoice("INV-9", buyer="buyer-a", minor=1_000, due_date=trade.day(30))
    financing = trade.apply_invoice("F-1", invoice, "bank-hk", recourse=True)
    trade.ok("bank-hk", "reserve_financing", financing=financing)
    fund(trade, financing)
    trade.expect("E_RECOURSE", "bank-hk", "claim_recourse", financing=financing)
    trade.kit.pass_time(days=31)
    trade.ok("bank-hk", "claim_recourse", financing=financing)
    pay(trade, "repay_financing", {"financing": financing}, "supplier-a", "bank-hk", 1_000)
    assert financing_of(trade, financing).state == FinancingState.CLOSED
    pay(trade, "settle_invoice", {"invoice": invoice}, "buyer-a", "supplier-a", 1_000)
    assert trade.get_invoice(invoice).state == InvoiceState.SETTLED


def test_the_rest_of_a_partly_used_invoice_is_paid_directly(trade: Trade) -> None:
    invoice = trade.invoice()
    voucher = trade.voucher("V-001", invoice, minor=6 * MILLION, due_date=trade.day(1))
    assert trade.get_invoice(invoice).state == InvoiceState.PARTLY_USED
    pay(trade, "settle_invoice", {"invoice": invoice}, "core-1", "supplier-a", 4 * MILLION)
    assert trade.get_invoice(invoice).state == InvoiceState.USED
    trade.kit.pass_time(days=1)
    pay(trade, "settle_voucher", {"voucher": voucher}, "core-1", "supplier-a", 6 * MILLION)
    assert trade.get_invoice(invoice).state == InvoiceState.SETTLED


def test_a_declined_voucher_frees_its_invoice(trade: Trade) -> None:
    invoice = trade.invoice()
    voucher = trade.voucher("V-001", invoice, accepted=False)
    trade.ok("supplier-a", "decline_voucher", voucher=voucher)
    assert trade.get_voucher(voucher).state == VoucherState.CANCELLED
    assert trade.get_invoice(invoice).state == InvoiceState.CONFIRMED
    trade.voucher("V-002", invoice)


def test_a_term_beyond_six_months_is_flagged_and_one_year_is_the_limit(trade: Trade) -> None:
    assert not trade.get_voucher(trade.voucher("V-001", due_date=trade.day(180))).flagged
    assert trade.get_voucher(trade.voucher("V-002", due_date=trade.day(190))).flagged
    assert trade.get_voucher(trade.voucher("V-003", due_date=trade.day(365))).flagged


def test_a_voucher_may_fall_due_on_the_day_it_is_issued(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.today)
    trade.move(voucher, "supplier-a", "supplier-b")
    pay(trade, "settle_voucher", {"voucher": voucher}, "core-1", "supplier-b", 10 * MILLION)


# -- financing --------------------------------------------------------------------------------------------------------


def test_a_look_alike_number_is_held_and_reported_until_a_second_person_says_why(trade: Trade) -> None:
    financed = trade.invoice("INV-001")
    trade.ok("bank-mo", "reserve_financing", financing=trade.apply_invoice("F-1", financed, "bank-mo"))
    similar = trade.invoice("INV-1", minor=999)
    application = trade.apply_invoice("F-2", similar, "bank-hk")
    receipt = trade.ok("bank-hk", "reserve_financing", financing=application)
    name, data = receipt.events[0]
    assert name == "FingerprintHit"
    assert data == {"kind": "similar", "financing": application, "invoice": similar, "similar_to": financed}
    assert financing_of(trade, application).state == FinancingState.HELD
    assert not trade.get_invoice(similar).lock.is_live(trade.kit.time_ms)
    trade.ok("bank-hk-risk", "approve_similar", financing=application, reason="two deliveries, both seen")
    approved = financing_of(trade, application)
    assert (approved.state, approved.override_by) == (FinancingState.RESERVED, "bank-hk-risk")
    assert approved.override_reason == "two deliveries, both seen"


def test_rejecting_a_reserved_financing_frees_the_asset_for_another_bank(trade: Trade) -> None:
    voucher = trade.voucher()
    first = trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION)
    second = trade.apply("F-2", voucher, "supplier-a", "bank-mo", MILLION)
    trade.ok("bank-hk", "reserve_financing", financing=first)
    trade.ok("bank-hk", "reject_financing", financing=first)
    trade.ok("bank-mo", "reserve_financing", financing=second)


def test_a_pledged_voucher_comes_back_when_the_loan_is_repaid_with_interest(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.day(100))
    more = {"kind": "PLEDGE", "rate_ppm": 36_500, "maturity": trade.day(90)}
    financing = trade.apply("F-1", voucher, "supplier-a", "bank-hk", 5 * MILLION, **more)
    trade.ok("bank-hk", "reserve_financing", financing=financing)
    fund(trade, financing)
    assert trade.get_voucher(voucher).state == VoucherState.PLEDGED
    trade.expect("E_LOCKED", "supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")
    # 3.65 % of 5,000,000.00 for 90 days of 365 are 45,000.00.
    owed = 5 * MILLION + 4_500_000
    assert financing_of(trade, financing).outstanding_minor == owed
    pay(trade, "repay_financing", {"financing": financing}, "supplier-a", "bank-hk", owed)
    assert trade.get_voucher(voucher).state == VoucherState.ACTIVE
    trade.move(voucher, "supplier-a", "supplier-b")


def test_an_overdue_pledge_is_enforced_and_the_issuers_payment_ends_the_loan(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.day(10))
    more = {"kind": "PLEDGE", "maturity": trade.day(5)}
    financing = trade.apply("F-1", voucher, "supplier-a", "bank-hk", 5 * MILLION, **more)
    trade.ok("bank-hk", "reserve_financing", financing=financing)
    fund(trade, financing)
    trade.kit.pass_time(days=6)
    trade.ok("bank-hk", "claim_recourse", financing=financing)
    trade.expect("E_LOCKED", "bank-hk", "transfer_voucher", voucher=voucher, to="bank-mo")
    trade.kit.pass_time(days=4)
    pay(trade, "settle_voucher", {"voucher": voucher}, "core-1", "bank-hk", 10 * MILLION)
    assert financing_of(trade, financing).state == FinancingState.CLOSED


def test_an_enforced_pledge_can_still_be_redeemed_by_the_borrower(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.day(10))
    financing = trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION, kind="PLEDGE", maturity=trade.day(5))
    trade.ok("bank-hk", "reserve_financing", financing=financing)
    fund(trade, financing)
    other = trade.apply("F-2", voucher, "supplier-a", "bank-mo", MILLION)
    trade.expect("E_DUP_FINANCE", "bank-mo", "reserve_financing", financing=other)
    trade.kit.pass_time(days=6)
    trade.ok("bank-hk", "claim_recourse", financing=financing)
    owed = financing_of(trade, financing).outstanding_minor
    pay(trade, "repay_financing", {"financing": financing}, "supplier-a", "bank-hk", owed)
    assert trade.get_voucher(voucher).holder == "supplier-a"
    trade.move(voucher, "supplier-a", "supplier-b")


def test_a_voucher_reserved_for_a_bank_cannot_be_settled_past_it(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.today)
    trade.ok("bank-hk", "reserve_financing", financing=trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION))
    cash = trade.cash("core-1", "supplier-a", cny(10 * MILLION))
    trade.expect("E_LOCKED", "settle-bank", "settle_voucher", voucher=voucher, cash=cash)


def test_a_reservation_is_not_funded_after_the_due_date(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.today)
    pledge = trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION, kind="PLEDGE")
    trade.ok("bank-hk", "reserve_financing", financing=pledge)
    invoice = trade.invoice("INV-9", due_date=trade.today)
    sale = trade.apply_invoice("F-2", invoice, "bank-hk")
    trade.ok("bank-hk", "reserve_financing", financing=sale)
    trade.kit.pass_time(days=1)
    trade.ok("supplier-a", "default_voucher", voucher=voucher)
    for financing in (pledge, sale):
        found = financing_of(trade, financing)
        cash = trade.cash("bank-hk", "supplier-a", cny(found.principal.minor))
        trade.expect("E_MATURED", "settle-bank", "fund_financing", financing=financing, cash=cash)


def test_a_settlement_bank_attests_no_payment_of_its_own(trade: Trade) -> None:
    voucher = trade.voucher()
    financing = trade.apply("F-1", voucher, "supplier-a", "clearing-bank", MILLION)
    trade.ok("clearing-bank", "reserve_financing", financing=financing)
    cash = trade.cash("clearing-bank", "supplier-a", cny(MILLION))
    trade.expect("E_SELF_DEALING", "clearing-bank", "fund_financing", financing=financing, cash=cash)
    trade.ok("settle-bank", "fund_financing", financing=financing, cash=cash)


@pytest.mark.parametrize("roles", [["bank"], ["bank", "supplier"], ["factor"]])
def test_a_settlement_bank_attests_no_payment_of_a_bank_of_its_organisation(roles: list[str]) -> None:
    trade = Trade(people={**PEOPLE, "crook-bank": ("ks", roles), "crook-settle": ("ks", ["settlement_bank"])})
    financing = trade.apply("F-1", trade.voucher(), "supplier-a", "crook-bank", MILLION)
    trade.ok("crook-bank", "reserve_financing", financing=financing)
    cash = trade.cash("crook-bank", "supplier-a", cny(MILLION))
    trade.expect("E_SELF_DEALING", "crook-settle", "fund_financing", financing=financing, cash=cash)
    trade.ok("settle-bank", "fund_financing", financing=financing, cash=cash)


def test_nothing_is_issued_to_a_revoked_identity(trade: Trade) -> None:
    voucher = trade.voucher()
    revoked = trade.kit.run("gz-admin", "revoke", {"name": "supplier-b"}, module="governance")
    assert revoked.code == 0, revoked.reason
    trade.expect("E_UNKNOWN_PARTY", "supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")


def test_a_defaulted_voucher_bought_with_recourse_goes_back_to_its_seller(trade: Trade) -> None:
    voucher = trade.voucher(due_date=trade.day(5))
    financing = trade.apply("F-1", voucher, "supplier-a", "bank-hk", 9 * MILLION, recourse=True)
    trade.ok("bank-hk", "reserve_financing", financing=financing)
    fund(trade, financing)
    trade.kit.pass_time(days=6)
    trade.ok("bank-hk", "default_voucher", voucher=voucher)
    trade.ok("bank-hk", "claim_recourse", financing=financing)
    pay(trade, "repay_financing", {"financing": financing}, "supplier-a", "bank-hk", 10 * MILLION)
    assert financing_of(trade, financing).state == FinancingState.CLOSED
    pay(trade, "settle_voucher", {"voucher": voucher}, "core-1", "supplier-a", 10 * MILLION)


def test_a_guarantor_pays_after_default_and_its_line_is_free_again(trade: Trade) -> None:
    trade.ok("bank-mo", "set_credit_line", core="core-1", limit=cny(10 * MILLION))
    voucher = trade.voucher(due_date=trade.day(1), guarantor="bank-mo")
    trade.kit.pass_time(days=1)
    early = trade.cash("bank-mo", "supplier-a", cny(10 * MILLION))
    trade.expect("E_WRONG_PAYER", "settle-bank", "settle_voucher", voucher=voucher, cash=early)
    trade.kit.pass_time(days=1)
    trade.ok("supplier-a", "default_voucher", voucher=voucher)
    pay(trade, "settle_voucher", {"voucher": voucher}, "bank-mo", "supplier-a", 10 * MILLION)
    (line,), _ = trade.kit.query("credit_lines", {"party": "core-1"})
    assert isinstance(line, CreditLine)
    assert line.used_minor == 0


# -- queries ----------------------------------------------------------------------------------------------------------


def test_invoices_are_listed_by_seller_by_buyer_and_by_state_in_pages(trade: Trade) -> None:
    ids = [trade.invoice(f"INV-{n}", buyer="buyer-a", minor=n, confirmed=n % 2 == 0) for n in range(1, 8)]
    seen = []
    cursor = None
    for _ in range(10):
        page, cursor = trade.kit.query("invoices", {"party": "supplier-a"}, limit=3, cursor=cursor)
        seen += [invoice.invoice for invoice in page]
        if cursor is None:
            break
    assert sorted(seen) == sorted(ids)
    confirmed, _ = trade.kit.query("invoices", {"party": "buyer-a", "side": "buyer", "state": "CONFIRMED"})
    assert sorted(invoice.invoice for invoice in confirmed) == sorted(ids[1::2])
    recorded, _ = trade.kit.query("invoices", {"party": "supplier-a", "state": "RECORDED"})
    assert sorted(invoice.invoice for invoice in recorded) == sorted(ids[0::2])
    (one,), _ = trade.kit.query("invoice", {"invoice": ids[0]})
    assert one.number == "INV-1"


def test_a_filtered_page_never_hides_a_later_match(trade: Trade) -> None:
    for n in range(1, 8):
        trade.invoice(f"INV-{n}", minor=n, confirmed=n == 7)
    for state, numbers in (("CONFIRMED", [7]), ("RECORDED", [1, 2, 3, 4, 5, 6])):
        found = []
        cursor = None
        for _ in range(20):
            params = {"party": "supplier-a", "state": state}
            page, cursor = trade.kit.query("invoices", params, limit=4, cursor=cursor)
            assert len(page) <= 4
            found += page
            if cursor is None:
                break
        assert [invoice.number for invoice in found] == [f"INV-{n}" for n in numbers]


def test_the_tree_offers_and_holdings_follow_a_voucher(trade: Trade) -> None:
    voucher = trade.voucher()
    trade.ok("supplier-a", "split_voucher", voucher=voucher, parts=[cny(6 * MILLION), cny(4 * MILLION)])
    trade.ok("supplier-a", "transfer_voucher", voucher=f"{voucher}.2", to="supplier-b")
    (offer,), _ = trade.kit.query("offers", {"party": "supplier-b"})
    assert offer.voucher == f"{voucher}.2"
    trade.ok("supplier-b", "accept_voucher", voucher=f"{voucher}.2")
    assert trade.kit.query("offers", {"party": "supplier-b"}) == ((), None)
    tree, _ = trade.kit.query("voucher_tree", {"voucher": voucher})
    assert [(v.voucher, v.holder, v.state) for v in tree] == [
        (voucher, "supplier-a", "SPLIT"),
        (f"{voucher}.1", "supplier-a", "ACTIVE"),
        (f"{voucher}.2", "supplier-b", "ACTIVE"),
    ]
    held, _ = trade.kit.query("holdings", {"party": "supplier-b"})
    assert [v.voucher for v in held] == [f"{voucher}.2"]


def test_the_maturity_ladder_sums_days_and_goes_on_after_a_page(trade: Trade) -> None:
    for n, days in enumerate((10, 20, 10, 30), start=1):
        trade.voucher(f"V-{n}", minor=n * MILLION, due_date=trade.day(days))
    day = {days: trade.day(days) for days in (10, 20, 30)}
    first, cursor = trade.kit.query("maturity_ladder", {"issuer": "core-1"}, limit=2)
    rest, end = trade.kit.query("maturity_ladder", {"issuer": "core-1"}, limit=2, cursor=cursor)
    assert end is None
    rungs = [(rung.due_date, rung.amount.minor, rung.vouchers, rung.complete) for rung in (*first, *rest)]
    assert rungs == [
        (day[10], 4 * MILLION, 2, True),
        (day[20], 2 * MILLION, 1, True),
        (day[30], 4 * MILLION, 1, True),
    ]
    later, _ = trade.kit.query("maturity_ladder", {"issuer": "core-1", "from_date": day[20]})
    assert [rung.due_date for rung in later] == [day[20], day[30]]


def test_a_fingerprint_check_tells_hit_or_no_hit_for_any_spelling(trade: Trade) -> None:
    def status(number: str, minor: int = 1_000_000_000) -> tuple[str, bool]:
        paper = {"seller": "supplier-a", "buyer": "core-1", "number": number, "issue_date": issued}
        (found,), _ = trade.kit.query("check_fingerprint", paper | {"total": cny(minor)})
        return found.exact, found.similar

    issued = trade.today
    assert status("INV-001") == ("unknown", False)
    invoice = trade.invoice("INV-001")
    assert status("ｉｎｖ 001") == ("registered", False)
    trade.ok("bank-hk", "reserve_financing", financing=trade.apply_invoice("F-1", invoice, "bank-hk"))
    assert status("inv 001") == ("financed", False)
    assert status("INV-1") == ("unknown", True)
    assert status("INV-001", 5) == ("unknown", True)
    assert status("---") == ("unknown", False)


def test_financings_cash_and_tags_can_be_looked_up(trade: Trade) -> None:
    voucher = trade.voucher()
    financing = trade.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION)
    tag = bytes(range(32))
    trade.ok("bank-hk", "reserve_financing", financing=financing, tag=tag)
    fund(trade, financing)
    for params in (
        {"party": "supplier-a"},
        {"party": "bank-hk", "side": "financier", "state": "FUNDED"},
    ):
        (found,), _ = trade.kit.query("financings", params)
        assert found.financing == financing
    (found,), _ = trade.kit.query("financings_of_asset", {"asset": voucher})
    assert found.financing == financing
    (cash,), _ = trade.kit.query("cash_references", {"subject": financing})
    assert (cash.payer, cash.payee, cash.amount.minor) == ("bank-hk", "supplier-a", MILLION)
    (status,), _ = trade.kit.query("check_fingerprint", {"tag": tag})
    assert status.exact == "financed"
