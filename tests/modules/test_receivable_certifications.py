"""A financier that says nothing of a repayment holds no asset for ever: a third house certifies it, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.receivable import announcements
from dawan_node.modules.receivable.entities import Certification, FinancingState, VoucherState
from dawan_node.modules.refdata import module as refdata
from dawan_node.testing.module_kit import DAY_MS, People, private_key_of
from dawan_node.testing.trade import BIC, Trade, cny
from tests.modules.channels_kit import Channels
from tests.modules.receivable_kit import DECLARATION, MILLION, usd
from tests.modules.receivable_strict import Strict
from tests.modules.test_receivable_terms import Governed

ORDERS = [(0, 1), (1, 0)]
#: ``terms.ANSWER_DAYS``.
DAYS = 14
#: More houses of each side, and authorities of three places.
HOUSES: People = {
    "settle-gz": ("gz", ["settlement_bank"]),
    "settle-hk": ("hk", ["settlement_bank"]),
    "pboc-own": ("gz", ["pboc"]),
    "hkma-own": ("hk", ["hkma"]),
    "amcm-1": ("mo", ["amcm"]),
    "affiliate": ("mo", ["buyer", "core_enterprise"]),
}


@pytest.fixture
def desk() -> Strict:
    return Strict(staff=HOUSES)


def silent(desk: Strict) -> tuple[str, str]:
    """A loan that supplier-b repaid through its own bank, of which bank-hk said nothing in time."""
    loan, announced = desk.silently_repaid()
    desk.kit.pass_time(days=DAYS + 1)
    return loan, announced


def certificate(desk: Trade, announced: str) -> list[Certification]:
    found, _ = desk.kit.query("certification", {"announcement": announced})
    return list(found)


def race(desk: Strict, order: tuple[int, int], *calls: tuple[str, str, dict[str, Any]]) -> tuple[Strict, list[str]]:
    other = desk.copy()
    assert isinstance(other, Strict)
    sent = [other.call(person, command, **args) for person, command, args in calls]
    return other, [receipt.reason for receipt in other.kit.block(*[sent[which] for which in order])]


# -- the way out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("third", ["settle-mo", "settle-hq", "pboc-gz", "amcm-1"])
def test_after_the_financiers_time_a_third_house_certifies_and_the_borrower_has_its_asset_back(
    desk: Strict, third: str
) -> None:
    loan, announced = desk.silently_repaid()
    desk.kit.pass_time(days=DAYS)
    desk.expect("E_ANSWER_TIME", third, "certify_receipt", announcement=announced)
    assert desk.get_voucher("core-1/V-F-1").state == VoucherState.PLEDGED
    desk.kit.pass_time(days=1)
    receipt = desk.ok(third, "certify_receipt", announcement=announced)
    assert [name for name, _ in receipt.events] == ["FinancingRepaid", "ReceiptCertified"]
    voucher = desk.get_voucher("core-1/V-F-1")
    assert (voucher.state, voucher.holder, voucher.pledge) == (VoucherState.ACTIVE, "supplier-b", "")
    assert desk.financing(loan).state == FinancingState.REPAID
    # Who said that money moved, and who said so in the payee's place, are both on record.
    (back,) = [each for each in desk.kit.query("cash_references", {"subject": loan})[0] if each.purpose == "repay"]
    assert (back.attested_by, back.payer, back.payee) == ("settle-bank", "supplier-b", "bank-hk")
    (found,) = certificate(desk, announced)
    assert (found.by, found.date) == (third, desk.today)
    assert desk.announcement(announced).state == "CERTIFIED"
    desk.ok("supplier-b", "transfer_voucher", voucher="core-1/V-F-1", to="supplier-c")


def test_the_time_is_the_one_that_is_voted() -> None:
    desk = Strict(refdata)
    Governed(desk).set_parameter("receivable.answer.days", 3, desk.day(1))
    desk.kit.pass_time(days=1)
    _, announced = desk.silently_repaid()
    desk.kit.pass_time(days=3)
    desk.expect("E_ANSWER_TIME", "settle-mo", "certify_receipt", announcement=announced)
    desk.kit.pass_time(days=1)
    desk.ok("settle-mo", "certify_receipt", announcement=announced)


def test_a_vote_for_no_time_at_all_leaves_the_financier_a_day() -> None:
    desk = Strict(refdata)
    Governed(desk).set_parameter("receivable.answer.days", 0, desk.day(1))
    desk.kit.pass_time(days=1)
    _, announced = desk.silently_repaid()
    desk.kit.pass_time(days=1)
    desk.expect("E_ANSWER_TIME", "settle-mo", "certify_receipt", announcement=announced)
    desk.kit.pass_time(days=1)
    desk.ok("settle-mo", "certify_receipt", announcement=announced)


def test_a_chain_of_version_1_has_it_from_the_day_on_which_it_votes_for_the_rules() -> None:
    desk = Strict(refdata, version=1)
    Governed(desk).set_parameter("receivable.rules", 2, desk.day(1))
    desk.expect("E_UNKNOWN_ANNOUNCEMENT", "settle-mo", "certify_receipt", announcement=f"settle-bank/{BIC}/backf1")
    desk.kit.pass_time(days=1)
    loan, announced = desk.silently_repaid()
    desk.kit.pass_time(days=DAYS + 1)
    desk.ok("settle-mo", "certify_receipt", announcement=announced)
    assert desk.financing(loan).state == FinancingState.REPAID


def test_a_financier_whose_identity_was_revoked_is_as_silent_as_any(desk: Strict) -> None:
    loan, announced = desk.silently_repaid()
    assert desk.kit.run("hk-admin", "revoke", {"name": "bank-hk"}, module="governance").code == 0
    desk.kit.pass_time(days=DAYS + 1)
    desk.ok("pboc-gz", "certify_receipt", announcement=announced)
    assert desk.financing(loan).state == FinancingState.REPAID


@pytest.mark.parametrize("command", ["declare_overdue", "claim_recourse"])
def test_a_financier_that_acts_as_if_unpaid_is_silent_still(desk: Strict, command: str) -> None:
    loan, announced = desk.silently_repaid()
    desk.kit.pass_time(days=200)
    desk.ok("bank-hk", command, financing=loan)
    desk.ok("settle-hq", "certify_receipt", announcement=announced)
    over = FinancingState.REPAID if command == "declare_overdue" else FinancingState.CLOSED
    assert desk.financing(loan).state == over
    assert desk.get_voucher("core-1/V-F-1").holder == "supplier-b"


def test_a_loan_on_a_declaration_that_was_repaid_is_certified_too(desk: Strict) -> None:
    """What exporter-a borrowed is open again, for it is of settle-bank's organisation."""
    desk.declared()
    loan = desk.loan("L-1", 400_000, rate_ppm=0)
    cash = desk.cash("exporter-a", "bank-hk", usd(400_000), "back1")
    desk.ok("settle-bank", "repay_financing", financing=loan, cash=cash)
    assert desk.declaration(DECLARATION).financed_minor == 400_000
    desk.kit.pass_time(days=DAYS + 1)
    desk.ok("pboc-gz", "certify_receipt", announcement=f"settle-bank/{BIC}/back1")
    assert desk.declaration(DECLARATION).financed_minor == 0


# -- who may not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "person"),
    [
        # The bank that announced, other banks and authorities of the payer's house.
        ("E_SELF_DEALING", "settle-bank"),
        ("E_SELF_DEALING", "settle-gz"),
        ("E_SELF_DEALING", "pboc-own"),
        # Those of the payee's house: it confirms itself, or denies.
        ("E_SELF_DEALING", "settle-hk"),
        ("E_SELF_DEALING", "hkma-own"),
        # The parties, other financiers, other authorities.
        ("E_ROLE", "supplier-b"),
        ("E_ROLE", "bank-hk"),
        ("E_ROLE", "bank-mo"),
        ("E_ROLE", "safe-gz"),
        ("E_ROLE", "customs-gz"),
    ],
)
def test_no_house_of_either_side_certifies_and_nobody_but_settlement_banks_and_banking_regulators(
    desk: Strict, reason: str, person: str
) -> None:
    _, announced = silent(desk)
    desk.expect(reason, person, "certify_receipt", announcement=announced)


@pytest.mark.parametrize("party", ["supplier-b", "bank-hk"])
def test_a_house_with_an_enterprise_in_a_partys_group_does_not_certify(desk: Strict, party: str) -> None:
    _, announced = silent(desk)
    for name in (party, "affiliate"):
        args = {"party": name, "size": "LARGE", "district": "MO", "group": "the-group"}
        desk.ok("pboc-own" if name != "supplier-b" else "pboc-gz", "classify_enterprise", **args)
    for person in ("settle-mo", "amcm-1", "clearing-bank"):
        desk.expect("E_SELF_DEALING", person, "certify_receipt", announcement=announced)
    desk.ok("settle-hq", "certify_receipt", announcement=announced)


def test_an_enterprise_in_another_group_makes_no_relative(desk: Strict) -> None:
    _, announced = silent(desk)
    for name, group in (("supplier-b", "one-group"), ("affiliate", "other-group"), ("bank-hk", "")):
        args = {"party": name, "size": "LARGE", "district": "MO", "group": group}
        desk.ok("pboc-gz", "classify_enterprise", **args)
    desk.ok("settle-mo", "certify_receipt", announcement=announced)


def test_of_a_group_too_large_to_compare_nobody_is_believed_to_be_no_part(
    desk: Strict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "GROUP_MAX", 2)
    _, announced = silent(desk)
    for name in ("supplier-b", "core-1"):
        args = {"party": name, "size": "LARGE", "district": "440100", "group": "the-group"}
        desk.ok("pboc-gz", "classify_enterprise", **args)
    desk.expect("E_SELF_DEALING", "settle-mo", "certify_receipt", announcement=announced)


def test_what_the_financier_denied_is_certified_by_nobody_and_is_its_own_to_confirm_yet(desk: Strict) -> None:
    loan, announced = desk.silently_repaid()
    deny = {"announcement": announced, "why": "our account shows no such entry"}
    for person in ("supplier-b", "settle-bank", "settle-hk", "bank-hk-risk"):
        desk.expect("E_NOT_PARTY", person, "deny_receipt", **deny)
    receipt = desk.ok("bank-hk", "deny_receipt", **deny)
    assert receipt.events == [("ReceiptDenied", deny | {"payee": "bank-hk"})]
    assert desk.financing(loan).state == FinancingState.FUNDED
    desk.expect("E_ANNOUNCEMENT_STATE", "bank-hk", "deny_receipt", **deny)
    desk.kit.pass_time(days=300)
    for third in ("settle-mo", "pboc-gz"):
        desk.expect("E_ANNOUNCEMENT_STATE", third, "certify_receipt", announcement=announced)
    for person in ("supplier-b", "settle-mo"):
        desk.expect("E_NOT_PARTY", person, "confirm_receipt", announcement=announced)
    desk.ok("bank-hk", "confirm_receipt", announcement=announced)
    assert desk.financing(loan).state == FinancingState.REPAID
    desk.expect("E_ANNOUNCEMENT_STATE", "bank-hk", "deny_receipt", **deny)


def revoked(desk: Strict) -> str:
    """A loan that was repaid, as the payer's bank says, to a bank that is revoked since: its house has other people."""
    _, announced = desk.silently_repaid()
    for name, role in (("bank-hk-2", "bank"), ("trader-hk", "seller")):
        key = {"suite": "ed25519", "public_key": private_key_of(name).public_key}
        enrol = {"name": name, "roles": [role], **key}
        assert desk.kit.run("hk-admin", "enrol", enrol, module="governance").code == 0
    desk.expect("E_NOT_PARTY", "bank-hk-2", "deny_receipt", announcement=announced, why="nothing came")
    assert desk.kit.run("hk-admin", "revoke", {"name": "bank-hk"}, module="governance").code == 0
    return announced


def put_status(desk: Strict, org: str, status: str) -> None:
    name = f"{status}-{org}"
    # Of the three that are left two are enough.
    voters = ("gz", "mo", "hq") if status == "suspended" else ("gz", "mo")
    votes = [(f"{voter}-admin", "vote", {"proposal": name, "approve": True}) for voter in voters]
    for person, command, args in (
        ("gz-admin", "propose_org_status", {"id": name, "org": org, "status": status}),
        *votes,
        ("gz-admin", "enact", {"proposal": name}),
    ):
        assert desk.kit.run(person, command, args, module="governance").code == 0


def test_while_the_financiers_organisation_is_suspended_its_silence_says_nothing(desk: Strict) -> None:
    _, announced = desk.silently_repaid()
    put_status(desk, "hk", "suspended")
    desk.kit.pass_time(days=DAYS + 1)
    desk.expect("E_ANSWER_TIME", "settle-mo", "certify_receipt", announcement=announced)
    put_status(desk, "hk", "active")
    desk.ok("bank-hk", "deny_receipt", announcement=announced, why="nothing came")


def test_a_bank_of_a_revoked_financiers_house_denies_for_it_and_nobody_certifies_then(desk: Strict) -> None:
    announced = revoked(desk)
    for stranger in ("trader-hk", "hk-admin", "bank-mo", "supplier-b"):
        desk.expect("E_NOT_PARTY", stranger, "deny_receipt", announcement=announced, why="nothing came")
    desk.ok("bank-hk-2", "deny_receipt", announcement=announced, why="nothing came")
    desk.kit.pass_time(days=DAYS + 1)
    desk.expect("E_ANNOUNCEMENT_STATE", "settle-mo", "certify_receipt", announcement=announced)


def test_a_bank_of_a_revoked_financiers_house_confirms_for_it(desk: Strict) -> None:
    announced = revoked(desk)
    for stranger in ("trader-hk", "bank-mo", "supplier-b"):
        desk.expect("E_NOT_PARTY", stranger, "confirm_receipt", announcement=announced)
    desk.ok("bank-hk-2", "confirm_receipt", announcement=announced)
    assert desk.get_voucher("core-1/V-F-1").holder == "supplier-b"


def test_a_denial_binds_no_bank_that_saw_the_money_itself(desk: Strict) -> None:
    loan, announced = desk.silently_repaid()
    desk.ok("bank-hk", "deny_receipt", announcement=announced, why="nothing came")
    cash = desk.cash("supplier-b", "bank-hk", cny(MILLION))
    desk.ok("settle-mo", "repay_financing", financing=loan, cash=cash)
    assert desk.financing(loan).state == FinancingState.REPAID
    desk.expect("E_FINANCING_STATE", "bank-hk", "confirm_receipt", announcement=announced)


def test_only_repayments_are_certified_for_nothing_else_holds_an_asset(desk: Strict) -> None:
    voucher = desk.due()
    announced = desk.announced(voucher)
    desk.kit.pass_time(days=DAYS + 1)
    desk.expect("E_WITNESS", "settle-mo", "certify_receipt", announcement=announced)
    assert desk.get_voucher(voucher).state == VoucherState.ACTIVE


def test_what_was_repaid_otherwise_since_is_not_certified_once_more(desk: Strict) -> None:
    loan, announced = silent(desk)
    desk.ok("settle-mo", "repay_financing", financing=loan, cash=desk.cash("supplier-b", "bank-hk", cny(MILLION)))
    desk.expect("E_FINANCING_STATE", "settle-hq", "certify_receipt", announcement=announced)
    assert desk.announcement(announced).state == "ANNOUNCED"


def test_a_reference_that_settled_something_else_since_repays_nothing(desk: Strict) -> None:
    _, announced = silent(desk)
    voucher = desk.due("V-9", MILLION)
    desk.ok("settle-mo", "settle_voucher", **desk.payment(voucher, "back F-1"))
    desk.expect("E_CASHREF_USED", "settle-hq", "certify_receipt", announcement=announced)


def test_what_a_court_froze_is_not_given_back_by_a_certificate() -> None:
    desk = Strict(kernel, refdata, staff={"judge": ("hq", ["court"])})
    _, announced = silent(desk)
    freeze = {"module": "receivable", "asset": "core-1/V-F-1", "order": "O-1", "reason": "a claim"}
    until_ms = desk.kit.time_ms + DAY_MS
    assert desk.kit.run("judge", "freeze_asset", freeze | {"until_ms": until_ms}, module="kernel").code == 0
    desk.expect("E_ASSET_FROZEN", "settle-mo", "certify_receipt", announcement=announced)
    desk.kit.pass_time(days=2)
    desk.ok("settle-mo", "certify_receipt", announcement=announced)


# -- two in one block -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("answer", ["confirm_receipt", "deny_receipt"])
def test_a_late_answer_and_a_certificate_in_one_block_are_the_first_of_them(
    desk: Strict, answer: str, order: tuple[int, int]
) -> None:
    loan, announced = silent(desk)
    one = {"announcement": announced}
    said = ("bank-hk", answer, one | ({"why": "nothing came"} if answer == "deny_receipt" else {}))
    other, reasons = race(desk, order, said, ("settle-mo", "certify_receipt", one))
    assert reasons == ["", "E_ANNOUNCEMENT_STATE"]
    denied = answer == "deny_receipt" and order == (0, 1)
    assert other.financing(loan).state == (FinancingState.FUNDED if denied else FinancingState.REPAID)


@pytest.mark.parametrize("order", ORDERS)
def test_two_certificates_in_one_block_are_the_first_of_them(desk: Strict, order: tuple[int, int]) -> None:
    _, announced = silent(desk)
    one = {"announcement": announced}
    calls = (("settle-mo", "certify_receipt", one), ("pboc-gz", "certify_receipt", one))
    other, reasons = race(desk, order, *calls)
    assert reasons == ["", "E_ANNOUNCEMENT_STATE"]
    assert [each.by for each in certificate(other, announced)] == [calls[order[0]][0]]


@pytest.mark.parametrize("order", ORDERS)
def test_of_a_certificate_and_an_independent_attestation_in_one_block_one_repays(
    desk: Strict, order: tuple[int, int]
) -> None:
    loan, announced = silent(desk)
    paid = {"financing": loan, "cash": desk.cash("supplier-b", "bank-hk", cny(MILLION))}
    calls = (("settle-mo", "certify_receipt", {"announcement": announced}), ("settle-hq", "repay_financing", paid))
    other, reasons = race(desk, order, *calls)
    assert reasons == ["", "E_FINANCING_STATE"]
    assert other.financing(loan).state == FinancingState.REPAID


@pytest.mark.parametrize("order", ORDERS)
def test_recourse_and_a_certificate_in_one_block_end_with_the_borrower_in_either_order(
    desk: Strict, order: tuple[int, int]
) -> None:
    loan, announced = desk.silently_repaid()
    desk.kit.pass_time(days=200)
    calls = (
        ("bank-hk", "claim_recourse", {"financing": loan}),
        ("settle-mo", "certify_receipt", {"announcement": announced}),
    )
    other, reasons = race(desk, order, *calls)
    assert reasons == (["", ""] if order == (0, 1) else ["", "E_FINANCING_STATE"])
    assert other.get_voucher("core-1/V-F-1").holder == "supplier-b"


# -- a title beside it ------------------------------------------------------------------------------------------------


def secured(one: Channels) -> tuple[str, str, str]:
    """A factored invoice and a title, in recourse; what seller-a paid back its own house's bank alone speaks of."""
    title = one.title(holder="seller-a")
    invoice = one.factoring.invoice(seller="seller-a", due_date=one.factoring.day(2))
    one.trade.ok("seller-a", "receivable", "apply_invoice_financing", **one.application("F-1", invoice, title=title))
    one.trade.ok("bank-hk", "receivable", "reserve_financing", financing="seller-a/F-1")
    one.fund("seller-a/F-1")
    one.pass_time(days=3)
    one.trade.ok("bank-hk", "receivable", "claim_recourse", financing="seller-a/F-1")
    total = one.factoring.get_invoice(invoice).total.minor
    cash = one.factoring.cash("seller-a", "bank-hk", cny(total), "back1")
    one.trade.ok("settle-sz", "receivable", "repay_financing", financing="seller-a/F-1", cash=cash)
    one.pass_time(days=DAYS + 1)
    return title, invoice, f"settle-sz/{BIC}/back1"


def test_the_title_that_secured_it_is_free_when_the_repayment_is_certified() -> None:
    one = Channels(one=True)
    title, invoice, announced = secured(one)
    one.sea.expect("E_LOCKED", "seller-a", "transfer_title", title=title, to="buyer")
    one.trade.ok("settle-bank", "receivable", "certify_receipt", announcement=announced)
    assert (one.logistics.lock(title), one.security("seller-a/F-1")) == ("", "RETURNED")
    assert one.factoring.get_invoice(invoice).payee == "seller-a"


@pytest.mark.parametrize("order", ORDERS)
def test_a_title_that_the_financier_took_comes_back_by_no_certificate(order: tuple[int, int]) -> None:
    one = Channels(one=True)
    title, _, announced = secured(one)
    calls = [
        one.trade.call("bank-hk", "receivable", "take_title", financing="seller-a/F-1"),
        one.trade.call("settle-bank", "receivable", "certify_receipt", announcement=announced),
    ]
    assert one.trade.race(*[calls[which] for which in order]) == ["", "E_FINANCING_STATE"]
    assert one.holder(title) == ("bank-hk" if order == (0, 1) else "seller-a")


# -- the invariant ----------------------------------------------------------------------------------------------------


def put(desk: Strict, entity: Entity) -> None:
    key = ("receivable", entity.spec.collection, entity.primary_key())
    desk.kit.state.values[key] = encode_entity(entity)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: replace(found, org="gz"),
        lambda found: replace(found, org="hk"),
        lambda found: replace(found, date="2025-01-01"),
    ],
)
def test_the_invariant_sees_a_certificate_of_the_wrong_house_or_day(
    desk: Strict, change: Callable[[Certification], Certification]
) -> None:
    _, announced = silent(desk)
    desk.ok("settle-mo", "certify_receipt", announcement=announced)
    put(desk, change(certificate(desk, announced)[0]))
    with pytest.raises(AssertionError, match=r"receivable\.payments_have_a_witness"):
        desk.kit.check_invariants()


@pytest.mark.parametrize("state", ["ANNOUNCED", "CONFIRMED", "DENIED"])
def test_the_invariant_sees_a_certificate_of_what_is_not_certified(desk: Strict, state: Any) -> None:
    _, announced = silent(desk)
    desk.ok("settle-mo", "certify_receipt", announcement=announced)
    put(desk, replace(desk.announcement(announced), state=state))
    with pytest.raises(AssertionError, match=r"receivable\.payments_have_a_witness"):
        desk.kit.check_invariants()


def test_the_invariant_sees_what_is_certified_and_was_not_booked(desk: Strict) -> None:
    _, announced = silent(desk)
    put(desk, replace(desk.announcement(announced), state="CERTIFIED"))
    with pytest.raises(AssertionError, match=r"receivable\.payments_have_a_witness"):
        desk.kit.check_invariants()
    assert desk.kit.get(Certification, key_of(announced)) is None
