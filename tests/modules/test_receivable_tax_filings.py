"""Tax filings: a contract with a party abroad is filed once, accepted by the tax authority, and paid up to its sum."""

from __future__ import annotations

import pytest

from dawan_node.modules.receivable.supervised import FilingState
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import Supervised, usd


@pytest.fixture
def desk() -> Supervised:
    return Supervised()


def test_h_a_contract_is_filed_accepted_and_paid_in_parts_until_it_is_exhausted(desk: Supervised) -> None:
    filing = desk.filed(minor=50_000)
    desk.ok("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(20_000))
    assert (desk.filing(filing).state, desk.filing(filing).paid_minor) == (FilingState.ACCEPTED, 20_000)
    receipt = desk.ok("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(30_000))
    assert desk.filing(filing).state == FilingState.EXHAUSTED
    (name, data), *_ = receipt.events
    assert name == "FilingPaid"
    assert data == {"filing": filing, "amount": usd(30_000), "paid_minor": 50_000, "exhausted": True}
    desk.expect("E_FILING_STATE", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(1))


def test_nothing_is_paid_before_the_tax_authority_accepted(desk: Supervised) -> None:
    filing = desk.filed(accepted=False)
    desk.expect("E_FILING_STATE", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(1))
    desk.ok("tax-gz", "accept_filing", filing=filing)
    desk.expect("E_FILING_STATE", "tax-gz", "accept_filing", filing=filing)


def test_a3_payments_never_exceed_the_contract_by_a_cent(desk: Supervised) -> None:
    filing = desk.filed(minor=50_000)
    desk.expect("E_OVER_CONTRACT", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(50_001))
    desk.expect("E_ZERO_AMOUNT", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(0))
    desk.expect("E_NEGATIVE_AMOUNT", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(-1))
    in_yuan = desk.abroad(1, amount=["CNY", 1])
    desk.expect("E_CURRENCY_MISMATCH", "settle-bank", "pay_filing", filing=filing, cash=in_yuan)
    desk.ok("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(49_999))
    desk.expect("E_OVER_CONTRACT", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(2))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a1_of_two_payments_in_one_block_the_one_that_would_exceed_the_contract_is_refused(
    desk: Supervised, order: tuple[int, int]
) -> None:
    filing = desk.filed(minor=50_000)
    calls = [
        desk.call("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(minor)) for minor in (30_000, 20_001)
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    assert [receipt.reason for receipt in receipts] == ["", "E_OVER_CONTRACT"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a2_one_contract_in_two_spellings_is_filed_once_also_in_one_block(
    desk: Supervised, order: tuple[int, int]
) -> None:
    calls = [
        desk.call("core-1", "file_payment", **desk.filing_args("T-1", contract_number="C/2026-007")),
        desk.call("core-1", "file_payment", **desk.filing_args("T-2", contract_number="ｃ 2026 007")),
    ]
    receipts = desk.kit.block(*[calls[which] for which in order])
    assert [receipt.reason for receipt in receipts] == ["", "E_DUP_CONTRACT"]
    # A subsidiary under the same code cannot file it either; after a cancellation it can be filed anew.
    again = desk.filing_args("T-3", contract_number="C2026007")
    desk.expect("E_DUP_CONTRACT", "buyer-a", "file_payment", **again)
    filing = f"core-1/T-{order[0] + 1}"
    desk.ok("core-1", "cancel_filing", filing=filing, reason="called off")
    desk.ok("buyer-a", "file_payment", **again)


def test_a4_the_payer_cancels_only_while_nothing_is_paid_and_the_tax_authority_any_time(desk: Supervised) -> None:
    filing = desk.filed()
    desk.expect("E_NOT_PAYER", "supplier-a", "cancel_filing", filing=filing, reason="?")
    desk.ok("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(1))
    desk.expect("E_IN_USE", "core-1", "cancel_filing", filing=filing, reason="?")
    desk.ok("tax-gz", "cancel_filing", filing=filing, reason="treaty relief withdrawn")
    found = desk.filing(filing)
    assert (found.state, found.decided_by, found.paid_minor) == (FilingState.CANCELLED, "tax-gz", 1)
    desk.expect("E_FILING_STATE", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(1))
    desk.expect("E_FILING_STATE", "tax-gz", "cancel_filing", filing=filing, reason="?")


@pytest.mark.parametrize("first", ["cancel_filing", "pay_filing"])
def test_a4_of_a_cancellation_and_a_payment_in_one_block_the_first_stands(desk: Supervised, first: str) -> None:
    filing = desk.filed()
    cancel = desk.call("core-1", "cancel_filing", filing=filing, reason="?")
    pay = desk.call("settle-bank", "pay_filing", filing=filing, cash=desk.abroad(1))
    block, lost = ((cancel, pay), "E_FILING_STATE") if first == "cancel_filing" else ((pay, cancel), "E_IN_USE")
    assert [receipt.reason for receipt in desk.kit.block(*block)] == ["", lost]


def test_a5_one_payment_abroad_counts_for_one_filing_and_goes_to_its_payee(desk: Supervised) -> None:
    first, second = desk.filed("T-1"), desk.filed("T-2")
    cash = desk.abroad(10, reference="MT 103/7")
    desk.ok("settle-bank", "pay_filing", filing=first, cash=cash)
    for filing in (first, second):
        again = cash | {"reference": "ｍｔ-1037"}
        desk.expect("E_CASHREF_USED", "settle-bank", "pay_filing", filing=filing, cash=again)
    desk.expect("E_WRONG_PAYEE", "settle-bank", "pay_filing", filing=second, cash=desk.abroad(1, payee="Cloud GmbH"))
    desk.expect("E_WRONG_PAYER", "settle-bank", "pay_filing", filing=second, cash=desk.abroad(1, payer="buyer-a"))


def test_filings_are_listed_by_payer_and_those_that_wait_for_the_tax_authority(desk: Supervised) -> None:
    accepted, waiting = desk.filed("T-1"), desk.filed("T-2", accepted=False)
    by_payer, _ = desk.kit.query("tax_filings", {"payer": "core-1"})
    assert sorted(found.filing for found in by_payer) == [accepted, waiting]
    (found,), _ = desk.kit.query("tax_filings", {"state": "FILED"})
    assert found.filing == waiting
    (found,), _ = desk.kit.query("tax_filings", {"payer": "core-1", "state": "ACCEPTED"})
    assert found.filing == accepted
    everything, _ = desk.kit.query("tax_filings", {})
    assert len(everything) == 2


def test_what_was_paid_under_a_filing_that_tax_ended_counts_when_the_contract_is_filed_again(desk: Supervised) -> None:
    contract = {"contract_number": "C-900"}
    first = desk.filed("T-1", 1_000, **contract)
    desk.ok("settle-bank", "pay_filing", filing=first, cash=desk.abroad(900))
    desk.ok("tax-gz", "cancel_filing", filing=first, reason="under inquiry")
    for reason, minor, more in (
        ("E_OVER_CONTRACT", 900, {}),
        ("E_CURRENCY_MISMATCH", 1_000, {"contract": cny(1_000)}),
    ):
        desk.expect(reason, "core-1", "file_payment", **desk.filing_args("T-2", minor, **(contract | more)))
    second = desk.filed("T-2", 1_000, **contract)
    desk.expect("E_DUP_CONTRACT", "core-1", "file_payment", **desk.filing_args("T-3", 1_000, **contract))
    desk.expect("E_OVER_CONTRACT", "settle-bank", "pay_filing", filing=second, cash=desk.abroad(101))
    desk.ok("settle-bank", "pay_filing", filing=second, cash=desk.abroad(100))
    assert (desk.filing(second).state, desk.filing(second).paid_minor) == (FilingState.EXHAUSTED, 100)


def test_no_officer_ends_or_changes_what_belongs_to_its_own_organisation() -> None:
    officers = {"own-tax": ("gz", ["tax"]), "own-customs": ("gz", ["customs"]), "own-safe": ("gz", ["safe"])}
    desk = Supervised(staff=officers)
    filing, declaration = desk.filed("T-1"), desk.declared()
    decided = {"declaration": declaration, "reason": "?"}
    desk.expect("E_SELF_DEALING", "own-tax", "cancel_filing", filing=filing, reason="?")
    desk.expect("E_SELF_DEALING", "own-customs", "amend_declaration", **decided, amount=usd(2_000_000))
    desk.expect("E_SELF_DEALING", "own-customs", "revoke_declaration", **decided)
    desk.expect("E_SELF_DEALING", "own-safe", "block_declaration", **decided)
    desk.ok("safe-gz", "block_declaration", **decided)
    desk.expect("E_SELF_DEALING", "own-safe", "clear_declaration", **decided)
