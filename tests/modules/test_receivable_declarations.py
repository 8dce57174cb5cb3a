"""Export declarations: no more is financed than was exported and is unpaid; customs and SAFE write, not only read."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from dawan_node.modules.receivable.entities import FinancingState
from dawan_node.modules.receivable.supervised import DeclarationState, DeclarationUse
from tests.modules.receivable_kit import DECLARATION, Supervised, usd


@pytest.fixture
def desk() -> Supervised:
    return Supervised()


def residual(desk: Supervised) -> int:
    (status,), _ = desk.kit.query("declaration", {"declaration": DECLARATION})
    minor: int = status.residual_minor
    return minor


def collected(desk: Supervised, minor: int, **more: Any) -> dict[str, Any]:
    cash = desk.cash("Acme Retail Inc", "exporter-a", usd(minor)) | more
    return {"declaration": DECLARATION, "cash": cash}


def test_h_an_export_is_released_lent_on_by_two_banks_repaid_and_collected(desk: Supervised) -> None:
    desk.declared(minor=1_000_000)
    assert residual(desk) == 1_000_000
    first = desk.loan("L-1", 600_000)
    second = desk.loan("L-2", 300_000, financier="bank-mo")
    assert residual(desk) == 100_000
    # 3.65 % of 6,000.00 for 100 days of 365 are 60.00.
    assert desk.financing(first).outstanding_minor == 606_000
    desk.kit.pass_time(days=30)
    desk.ok("settle-bank", "collect_export", **collected(desk, 100_000))
    assert residual(desk) == 0
    desk.repay(first)
    desk.repay(second)
    assert residual(desk) == 900_000
    desk.ok("settle-bank", "collect_export", **collected(desk, 900_000))
    found = desk.declaration()
    assert (found.financed_minor, found.collected_minor, residual(desk)) == (0, 1_000_000, 0)
    assert desk.financing(first).state == FinancingState.REPAID


def test_neither_a_loan_nor_a_payment_takes_more_than_is_open(desk: Supervised) -> None:
    desk.declared(minor=1_000_000)
    desk.loan("L-1", 700_000)
    more = desk.asked_loan("L-2", 300_001)
    desk.expect("E_RESIDUAL", "bank-hk", "reserve_financing", financing=more)
    desk.expect("E_RESIDUAL", "settle-bank", "collect_export", **collected(desk, 300_001))
    desk.ok("settle-bank", "collect_export", **collected(desk, 300_000))
    desk.expect("E_RESIDUAL", "settle-bank", "collect_export", **collected(desk, 1))


def test_a1_of_loans_and_payments_in_one_block_only_as_many_fit_as_the_declaration_covers() -> None:
    for order in permutations(range(3)):
        desk = Supervised()
        desk.declared(minor=1_000_000)
        loans = [desk.asked_loan("L-1", 600_000), desk.asked_loan("L-2", 600_000, financier="bank-mo")]
        calls = [
            desk.call("bank-hk", "reserve_financing", financing=loans[0]),
            desk.call("bank-mo", "reserve_financing", financing=loans[1]),
            desk.call("settle-bank", "collect_export", **collected(desk, 600_000)),
        ]
        receipts = desk.kit.block(*[calls[which] for which in order])
        assert [receipt.reason for receipt in receipts] == ["", "E_RESIDUAL", "E_RESIDUAL"]


def test_a_reservation_that_ran_out_gives_its_part_back_when_the_exporter_says_so(desk: Supervised) -> None:
    desk.declared(minor=1_000_000)
    first = desk.asked_loan("L-1", 1_000_000)
    desk.ok("bank-hk", "reserve_financing", financing=first)
    second = desk.asked_loan("L-2", 1_000_000, financier="bank-mo")
    desk.expect("E_LOCK_LIVE", "exporter-a", "expire_financing", financing=first)
    desk.kit.pass_time(days=3)
    cash = desk.cash("bank-hk", "exporter-a", usd(1_000_000))
    desk.expect("E_LOCK_EXPIRED", "settle-bank", "fund_financing", financing=first, cash=cash)
    desk.expect("E_RESIDUAL", "bank-mo", "reserve_financing", financing=second)
    desk.ok("exporter-a", "expire_financing", financing=first)
    assert desk.kit.get(DeclarationUse, first.encode()) is None
    desk.ok("bank-mo", "reserve_financing", financing=second)


@pytest.mark.parametrize("reserved", [False, True])
def test_an_application_that_is_declined_leaves_the_declaration_as_it_was(desk: Supervised, reserved: bool) -> None:
    desk.declared(minor=1_000_000)
    loan = desk.asked_loan("L-1", 400_000)
    if reserved:
        desk.ok("bank-hk", "reserve_financing", financing=loan)
    desk.ok("bank-hk", "reject_financing", financing=loan)
    assert residual(desk) == 1_000_000


def test_safe_stops_what_is_not_paid_out_yet_and_leaves_running_loans_and_payments_alone(desk: Supervised) -> None:
    desk.declared(minor=1_000_000)
    running = desk.loan("L-1", 400_000)
    waiting = desk.asked_loan("L-2", 100_000)
    reserved = desk.asked_loan("L-3", 50_000)
    desk.ok("bank-hk", "reserve_financing", financing=reserved)
    desk.ok("safe-gz", "block_declaration", declaration=DECLARATION, reason="under inspection")
    desk.expect("E_DECLARATION_STATE", "safe-gz", "block_declaration", declaration=DECLARATION, reason="again")
    desk.expect("E_DECLARATION_STATE", "bank-hk", "reserve_financing", financing=waiting)
    cash = desk.cash("bank-hk", "exporter-a", usd(50_000))
    desk.expect("E_DECLARATION_STATE", "settle-bank", "fund_financing", financing=reserved, cash=cash)
    (status,), _ = desk.kit.query("declaration", {"declaration": DECLARATION})
    assert (status.residual_minor, status.financeable) == (550_000, False)
    desk.ok("settle-bank", "collect_export", **collected(desk, 100_000))
    desk.repay(running)
    desk.ok("safe-gz", "clear_declaration", declaration=DECLARATION, reason="in order")
    desk.expect("E_DECLARATION_STATE", "safe-gz", "clear_declaration", declaration=DECLARATION, reason="again")
    desk.ok("bank-hk", "reserve_financing", financing=waiting)
    desk.fund(reserved)


def test_a4_customs_takes_nothing_back_that_somebody_relied_on(desk: Supervised) -> None:
    desk.declared(minor=1_000_000)
    loan = desk.loan("L-1", 400_000)
    revoke = {"declaration": DECLARATION, "reason": "returned goods"}
    desk.expect("E_IN_USE", "customs-gz", "revoke_declaration", **revoke)
    less = {"declaration": DECLARATION, "amount": usd(399_999), "reason": "short shipped"}
    desk.expect("E_RESIDUAL", "customs-gz", "amend_declaration", **less)
    desk.ok("customs-gz", "amend_declaration", **(less | {"amount": usd(400_000)}))
    assert residual(desk) == 0
    desk.repay(loan)
    desk.ok("customs-gz", "revoke_declaration", **revoke)
    assert desk.declaration().state == DeclarationState.REVOKED
    for person, command in (("customs-gz", "revoke_declaration"), ("safe-gz", "block_declaration")):
        desk.expect("E_DECLARATION_STATE", person, command, **revoke)
    desk.expect("E_DECLARATION_STATE", "customs-gz", "amend_declaration", **less)
    desk.expect("E_DECLARATION_STATE", "settle-bank", "collect_export", **collected(desk, 1))


@pytest.mark.parametrize("first", ["revoke_declaration", "reserve_financing"])
def test_a4_of_a_revocation_and_a_reservation_in_one_block_the_first_stands(desk: Supervised, first: str) -> None:
    desk.declared(minor=1_000_000)
    loan = desk.asked_loan("L-1", 1)
    revoke = desk.call("customs-gz", "revoke_declaration", declaration=DECLARATION, reason="x")
    reserve = desk.call("bank-hk", "reserve_financing", financing=loan)
    block = (revoke, reserve) if first == "revoke_declaration" else (reserve, revoke)
    lost = "E_DECLARATION_STATE" if first == "revoke_declaration" else "E_IN_USE"
    assert [receipt.reason for receipt in desk.kit.block(*block)] == ["", lost]


@pytest.mark.parametrize("spelling", ["SWIFT-1", "swift 1", "ＳＷＩＦＴ１"])
def test_a5_one_payment_from_abroad_is_collected_once(desk: Supervised, spelling: str) -> None:
    desk.declared(minor=1_000_000)
    desk.ok("settle-bank", "collect_export", **collected(desk, 100, reference="SWIFT-1"))
    again = collected(desk, 100, reference=spelling, bank="BKCHCNBJ300")
    desk.expect("E_CASHREF_USED", "settle-bank", "collect_export", **again)
    desk.expect("E_WRONG_PAYEE", "settle-bank", "collect_export", **collected(desk, 100, payee="bank-hk"))
    desk.expect("E_SELF_DEALING", "settle-bank", "collect_export", **collected(desk, 100, payer="exporter-a"))


def test_a_loan_that_is_not_repaid_becomes_overdue_then_recourse_then_closed(desk: Supervised) -> None:
    desk.declared(minor=1_000_000)
    loan = desk.loan("L-1", 400_000, maturity=desk.day(10))
    desk.expect("E_NOT_DUE", "bank-hk", "declare_overdue", financing=loan)
    desk.expect("E_RECOURSE", "bank-hk", "claim_recourse", financing=loan)
    desk.kit.pass_time(days=11)
    desk.ok("bank-hk", "declare_overdue", financing=loan)
    desk.expect("E_FINANCING_STATE", "bank-hk", "declare_overdue", financing=loan)
    assert desk.financing(loan).state == FinancingState.OVERDUE
    desk.ok("bank-hk", "claim_recourse", financing=loan)
    assert residual(desk) == 600_000, "what is not repaid is still financed"
    desk.repay(loan)
    assert desk.financing(loan).state == FinancingState.CLOSED
    assert residual(desk) == 1_000_000


def test_a_bank_checks_a_batch_of_declarations_in_one_question(desk: Supervised) -> None:
    numbers = [f"53042026012345678{digit}" for digit in range(4)]
    for number in numbers:
        desk.declared(number, 1_000)
    desk.ok("safe-gz", "block_declaration", declaration=numbers[1], reason="?")
    desk.ok("customs-gz", "revoke_declaration", declaration=numbers[2], reason="?")
    asked = [
        (numbers[0], usd(600)),
        (numbers[0], usd(401)),
        (numbers[0], usd(400)),
        (numbers[1], usd(1)),
        (numbers[2], usd(1)),
        (numbers[3], ["CNY", 1]),
        (numbers[3], usd(0)),
        ("1" * 18, usd(1)),
    ]
    lines = [{"declaration": number, "amount": amount} for number, amount in asked]
    checks, _ = desk.kit.query("check_declarations", {"exporter": "exporter-a", "lines": lines})
    expected = ["", "RESIDUAL", "", "BLOCKED", "REVOKED", "CURRENCY", "RESIDUAL", "UNKNOWN"]
    assert [check.reason for check in checks] == expected
    assert [check.passes for check in checks] == [reason == "" for reason in expected]
    elsewhere, _ = desk.kit.query("check_declarations", {"exporter": "exporter-b", "lines": lines[:1]})
    assert elsewhere[0].reason == "UNKNOWN", "another exporter's declaration tells nothing"


def test_declarations_and_their_uses_are_listed(desk: Supervised) -> None:
    desk.declared()
    loan = desk.loan("L-1", 5)
    (found,), _ = desk.kit.query("declarations", {"party": "exporter-a"})
    assert (found.declaration, found.exporter_uscc) == (DECLARATION, "91110000600037341L")
    (use,), _ = desk.kit.query("declaration_uses", {"declaration": DECLARATION})
    assert (use.financing, use.minor, use.until_ms) == (loan, 5, 0)
    assert desk.kit.query("declaration", {"declaration": "9" * 18}) == ((), None)


def test_nobody_enrols_a_name_that_customs_wrote_and_borrows_on_its_goods(desk: Supervised) -> None:
    """Customs writes no name that is free; one it wrote is taken, and stays its organisation's when it is revoked."""
    desk.expect("E_UNKNOWN_PARTY", "customs-gz", "record_declaration", **desk.declaration_args(exporter="big-export"))
    desk.declared()
    assert desk.kit.run("gz-admin", "revoke", {"name": "exporter-a"}, module="governance").code == 0
    key = {"suite": "ed25519", "public_key": bytes(32)}
    again = {"name": "exporter-a", "roles": ["exporter"], **key}
    assert desk.kit.run("mo-admin", "enrol", again, module="governance").reason == "E_EXISTS"
    another = desk.declaration_args("1" * 18)
    desk.expect("E_UNKNOWN_PARTY", "customs-gz", "record_declaration", **another)
