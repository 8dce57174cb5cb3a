"""A revoked identity leaves no title bound for a year: whoever paid gets it, and its house does what was its to do."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.modules.lc.entities import PresentationState, ReimbursementState
from tests.modules.channels_kit import Channels, Place, copy_of, enrol, revoke
from tests.modules.lc_kit import AMOUNT, usd
from tests.modules.title_kit import Sea

ORDERS = [(0, 1), (1, 0)]
FINANCING = "seller-a/F-1"


@pytest.fixture
def one() -> Channels:
    """Everything on one channel; ``bank-hk-2``, ``trader-hk`` and ``seller-x`` are of the parties' organisations."""
    made = Channels(one=True)
    enrol(made.trade, "hk", "bank-hk-2", "bank")
    enrol(made.trade, "hk", "trader-hk", "exporter")
    enrol(made.trade, "sz", "seller-x", "exporter")
    return made


@pytest.fixture
def two() -> Channels:
    made = Channels()
    for place in (made.logistics, made.trade):
        enrol(place, "hk", "bank-hk-2", "bank")
    return made


def race(place: Place, order: tuple[int, int], *calls: tuple[str, str, str, dict[str, Any]]) -> tuple[Place, list[str]]:
    """Two commands of one block on a channel of its own, and their reasons in the order sent."""
    other = Place(copy_of(place.kit))
    sent = [other.call(person, module, command, **args) for person, module, command, args in calls]
    return other, other.race(*[sent[which] for which in order])


def control(place: Place, title: str) -> tuple[str, str, str]:
    (found,), _ = place.kit.query("title", {"title": title}, module="title")
    return found.state, found.holder, found.endorsee


# -- whoever paid for it ----------------------------------------------------------------------------------------------


def honoured_elsewhere(two: Channels) -> tuple[str, str, bytes]:
    """A title reserved for a credit under which a bank honoured, and the proof of that."""
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit)
    presentation = two.present(credit, proof=two.reservation_proof(reservation))
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    return title, reservation, two.commitment_proof(reservation)


def test_a_bank_that_honoured_gets_the_title_though_its_identity_is_revoked_by_a_proof_that_anybody_brings(
    two: Channels,
) -> None:
    title, reservation, proof = honoured_elsewhere(two)
    revoke(two.logistics, "hk", "bank-hk")
    assert two.settle(reservation, proof) == "PASSED"
    assert two.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    assert two.logistics.lock(title) == ""
    two.pass_time(days=400)
    two.sea.expect("E_NOT_HOLDER", "shipper", "transfer_title", title=title, to="buyer")
    succeed = {"title": title, "revoked": "bank-hk", "to": "bank-hk-2"}
    two.sea.expect("E_ROLE", "bank-hk-2", "succeed_title", **succeed)
    two.sea.expect("E_OTHER_ORG", "gz-admin", "succeed_title", **succeed)
    two.sea.ok("hk-admin", "succeed_title", **succeed)
    two.sea.ok("bank-hk-2", "transfer_title", title=title, to="buyer")


def test_what_is_not_proven_passes_to_no_revoked_identity_and_stays_with_its_owner(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit)
    presentation = two.present(credit, proof=two.reservation_proof(reservation))
    revoke(two.logistics, "hk", "bank-hk")
    assert two.settle(reservation) == "CONFIRMED"
    assert two.sea.control(title) == ("ISSUED", "shipper", "shipper")
    two.desk.refuse(presentation)
    two.desk.ok("bank-hk", "return_documents", presentation=presentation)
    assert two.settle(reservation) == "RELEASED"
    assert two.sea.control(title) == ("ISSUED", "shipper", "shipper")


@pytest.mark.parametrize("order", ORDERS)
def test_the_proof_and_the_revocation_in_one_block_give_the_bank_the_title_in_either_order(
    two: Channels, order: tuple[int, int]
) -> None:
    title, reservation, proof = honoured_elsewhere(two)
    settle = ("relay", "title", "settle_title", {"reservation": reservation, "proof": proof})
    place, reasons = race(two.logistics, order, settle, ("hk-admin", "governance", "revoke", {"name": "bank-hk"}))
    assert reasons == ["", ""]
    assert control(place, title) == ("ISSUED", "bank-hk", "bank-hk")


@pytest.mark.parametrize("order", ORDERS)
def test_the_proof_of_a_stranger_and_that_of_the_house_in_one_block_are_the_first_of_them(
    two: Channels, order: tuple[int, int]
) -> None:
    title, reservation, proof = honoured_elsewhere(two)
    revoke(two.logistics, "hk", "bank-hk")
    settle = {"reservation": reservation, "proof": proof}
    stranger = ("relay", "title", "settle_title", settle)
    place, reasons = race(
        two.logistics, order, stranger, ("liner", "title", "settle_title", settle | {"to": "bank-hk-2"})
    )
    assert reasons == ["", "E_RESERVATION_STATE"]
    holder = "bank-hk" if order == (0, 1) else "bank-hk-2"
    assert control(place, title) == ("ISSUED", holder, holder)


def test_a_process_passes_a_title_on_to_a_revoked_party_but_to_nobody_who_could_never_hold_one() -> None:
    sea = Sea()
    title = sea.issued()
    sea.ok("shipper", "use", module="credit", title=title, function="bind")
    assert sea.kit.run("mo-admin", "revoke", {"name": "buyer"}, module="governance").code == 0
    for reason, to in (("E_UNKNOWN_PARTY", "nobody"), ("E_PARTY_ROLE", "liner")):
        sea.expect(reason, "shipper", "use", module="credit", title=title, function="pass_on", to=to)
    sea.ok("shipper", "use", module="credit", title=title, function="pass_on", to="buyer")
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")
    sea.ok("mo-admin", "succeed_title", title=title, revoked="buyer", to="buyer-2")
    assert sea.control(title) == ("ISSUED", "buyer-2", "buyer-2")


def test_a_payment_is_attested_though_the_issuing_bank_that_made_it_is_revoked(one: Channels) -> None:
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    revoke(one.trade, "gz", "bank-cn")
    cash = one.desk.cash("bank-cn", "bank-hk", usd(AMOUNT))
    one.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    assert one.sea.control(title) == ("ISSUED", "bank-cn", "bank-cn")
    one.sea.ok("gz-admin", "succeed_title", title=title, revoked="bank-cn", to="bank-gz")


# -- a claim for reimbursement ----------------------------------------------------------------------------------------


def honoured(one: Channels) -> tuple[str, str]:
    title = one.title(holder="seller-a")
    presentation = one.present(one.desk.credit(), title=title)
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    return title, presentation


def claimed(one: Channels) -> tuple[str, str]:
    title, presentation = honoured(one)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    return title, presentation


def claim_state(one: Channels, presentation: str) -> ReimbursementState:
    return one.desk.get_claim(presentation).state


def test_a_claim_of_a_revoked_bank_is_withdrawn_by_another_bank_of_its_house_only(one: Channels) -> None:
    title, presentation = claimed(one)
    withdraw = {"presentation": presentation}
    one.desk.expect("E_NOT_PARTY", "bank-hk-2", "withdraw_reimbursement", **withdraw)
    revoke(one.trade, "hk", "bank-hk")
    for reason, person in (
        ("E_NOT_PARTY", "bank-mo"),
        ("E_NOT_PARTY", "bank-cn"),
        ("E_ROLE", "trader-hk"),
        ("E_ROLE", "hk-admin"),
    ):
        one.desk.expect(reason, person, "withdraw_reimbursement", **withdraw)
    one.desk.ok("bank-hk-2", "withdraw_reimbursement", **withdraw)
    assert (one.logistics.lock(title), one.holder(title)) == ("", "bank-hk")
    assert claim_state(one, presentation) == ReimbursementState.WITHDRAWN


def test_its_house_claims_again_and_is_paid_and_the_issuing_bank_has_the_title(one: Channels) -> None:
    title, presentation = claimed(one)
    revoke(one.trade, "hk", "bank-hk")
    one.desk.ok("bank-hk-2", "withdraw_reimbursement", presentation=presentation)
    one.desk.expect("E_NOT_HOLDER", "bank-hk-2", "claim_reimbursement", presentation=presentation)
    one.sea.ok("hk-admin", "succeed_title", title=title, revoked="bank-hk", to="bank-hk-2")
    one.desk.expect("E_NOT_PARTY", "bank-mo", "claim_reimbursement", presentation=presentation)
    one.desk.ok("bank-hk-2", "claim_reimbursement", presentation=presentation)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    cash = one.desk.cash("bank-cn", "bank-hk", usd(AMOUNT))
    one.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    assert one.sea.control(title) == ("ISSUED", "bank-cn", "bank-cn")


def test_its_house_sells_the_documents_with_the_title_and_not_without(one: Channels) -> None:
    title, presentation = honoured(one)
    revoke(one.trade, "hk", "bank-hk")
    sell = {"presentation": presentation, "to": "seller-b"}
    one.desk.expect("E_NOT_PARTY", "bank-mo", "sell_documents", **sell)
    one.desk.expect("E_TITLE_KEPT_BACK", "bank-hk-2", "sell_documents", **sell)
    one.sea.ok("hk-admin", "succeed_title", title=title, revoked="bank-hk", to="bank-hk-2")
    one.desk.expect("E_TITLE_KEPT_BACK", "bank-hk-2", "sell_documents", **sell)
    handed = {"title": title, "kind": "ENDORSE_TO_ORDER", "to": "seller-b", "hand_over_to": "seller-b"}
    one.sea.ok("bank-hk-2", "endorse_title", **handed)
    one.desk.ok("bank-hk-2", "sell_documents", **sell)


@pytest.mark.parametrize("order", ORDERS)
def test_a_payment_and_the_withdrawal_by_the_house_in_one_block_are_one_of_them(
    one: Channels, order: tuple[int, int]
) -> None:
    title, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    revoke(one.trade, "hk", "bank-hk")
    one.pass_time(days=20)
    pay = {"presentation": presentation, "cash": one.desk.cash("bank-cn", "bank-hk", usd(AMOUNT))}
    withdraw = ("bank-hk-2", "lc", "withdraw_reimbursement", {"presentation": presentation})
    place, reasons = race(one.trade, order, ("settle-bank", "lc", "pay_reimbursement", pay), withdraw)
    assert reasons == ["", "E_STATE"]
    assert control(place, title)[1] == ("bank-cn" if order == (0, 1) else "bank-hk")


def test_what_the_issuing_bank_refused_it_gives_back_unasked_and_nothing_else(one: Channels) -> None:
    title, presentation = claimed(one)
    give = {"presentation": presentation}
    one.desk.expect("E_NOT_PARTY", "bank-cn", "withdraw_reimbursement", **give)
    one.desk.ok("bank-cn", "refuse_reimbursement", **give, findings=["not signed"])
    revoke(one.trade, "hk", "bank-hk")
    one.desk.expect("E_NOT_PARTY", "bank-mo", "withdraw_reimbursement", **give)
    one.desk.ok("bank-cn", "withdraw_reimbursement", **give)
    assert one.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    assert one.desk.get(presentation).with_party == "bank-hk"


def test_what_the_issuing_bank_accepted_it_does_not_give_back_instead_of_paying(one: Channels) -> None:
    _, presentation = claimed(one)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    revoke(one.trade, "hk", "bank-hk")
    one.pass_time(days=20)
    one.desk.expect("E_NOT_PARTY", "bank-cn", "withdraw_reimbursement", presentation=presentation)


def test_a_claim_on_another_channel_frees_the_title_by_the_houses_word_and_a_proof_that_anybody_brings(
    two: Channels,
) -> None:
    title, reservation, proof = honoured_elsewhere(two)
    assert two.settle(reservation, proof) == "PASSED"
    presentation = "buyer-a/LC-1#1"
    again = two.reserve(title, presentation, "lc.reimbursement", recipients=["bank-gz"])
    claim = {"presentation": presentation, "proofs": [two.reservation_proof(again)]}
    two.desk.ok("bank-hk", "claim_reimbursement", **claim)
    assert two.settle(again) == "CONFIRMED"
    revoke(two.trade, "hk", "bank-hk")
    two.desk.ok("bank-hk-2", "withdraw_reimbursement", presentation=presentation)
    assert two.settle(again) == "RELEASED"
    two.sea.ok("bank-hk", "transfer_title", title=title, to="buyer")


# -- a presentation ---------------------------------------------------------------------------------------------------


def test_documents_of_a_revoked_presenter_are_called_back_by_its_house_only(one: Channels) -> None:
    title = one.title(holder="seller-a")
    presentation = one.present(one.desk.credit(), title=title)
    one.desk.refuse(presentation)
    back = {"presentation": presentation}
    one.desk.expect("E_NOT_PARTY", "seller-x", "return_documents", **back)
    revoke(one.trade, "sz", "seller-a")
    for person in ("seller-b", "bank-mo", "trader-hk"):
        one.desk.expect("E_NOT_PARTY", person, "return_documents", **back)
    one.desk.ok("seller-x", "return_documents", **back)
    assert one.logistics.lock(title) == ""
    one.sea.ok("sz-admin", "succeed_title", title=title, revoked="seller-a", to="seller-x")


@pytest.mark.parametrize("command", ["forward_presentation", "claim_preclusion"])
def test_a_house_does_the_rest_of_what_its_revoked_presenter_could(one: Channels, command: str) -> None:
    bank = "bank-hk" if command == "forward_presentation" else "bank-cn"
    presentation = one.present(one.desk.credit(), bank=bank, title=one.title(holder="seller-a"))
    args = {"presentation": presentation} | ({"to": "bank-cn"} if command == "forward_presentation" else {})
    one.pass_time(days=15)
    one.desk.expect("E_NOT_PARTY", "seller-x", command, **args)
    revoke(one.trade, "sz", "seller-a")
    one.desk.expect("E_NOT_PARTY", "seller-b", command, **args)
    one.desk.ok("seller-x", command, **args)


@pytest.mark.parametrize("command", ["honour_presentation", "refuse_presentation", "return_documents"])
def test_a_presentation_at_a_revoked_bank_is_decided_by_another_bank_of_its_house_only(
    one: Channels, command: str
) -> None:
    title = one.title(holder="seller-a")
    presentation = one.present(one.desk.credit(), title=title)
    args: dict[str, Any] = {"presentation": presentation}
    if command == "honour_presentation":
        one.desk.comply(presentation)
    elif command == "refuse_presentation":
        args |= {"findings": ["not signed"], "disposal": "HELD"}
    else:
        one.desk.refuse(presentation)
    one.desk.expect("E_NOT_PARTY", "bank-hk-2", command, **args)
    revoke(one.trade, "hk", "bank-hk")
    one.desk.expect("E_NOT_PARTY", "bank-mo", command, **args)
    # A trader of the bank's house is not the bank.
    one.desk.expect("E_NOT_PARTY" if command == "return_documents" else "E_ROLE", "trader-hk", command, **args)
    one.desk.ok("bank-hk-2", command, **args)
    holder = "bank-hk" if command == "honour_presentation" else "seller-a"
    assert one.sea.control(title) == ("ISSUED", holder, holder)
    if command == "honour_presentation":
        assert one.desk.get(presentation).state == PresentationState.HONOURED
        one.sea.ok("hk-admin", "succeed_title", title=title, revoked="bank-hk", to="bank-hk-2")


def test_the_house_of_a_revoked_issuing_bank_answers_a_claim_and_releases_documents(one: Channels) -> None:
    _, presentation = claimed(one)
    revoke(one.trade, "gz", "bank-cn")
    found = {"presentation": presentation}
    refuse = found | {"findings": ["not signed"]}
    one.desk.expect("E_NOT_PARTY", "bank-mo", "refuse_reimbursement", **refuse)
    one.desk.expect("E_NOT_PARTY", "bank-hk", "accept_reimbursement", **found)
    one.desk.ok("bank-gz", "refuse_reimbursement", **refuse)
    one.desk.ok("bank-gz", "accept_reimbursement", **found)
    cash = one.desk.cash("bank-cn", "bank-hk", usd(AMOUNT))
    one.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    one.desk.expect("E_NOT_PARTY", "bank-mo", "release_documents", **found)
    one.desk.ok("bank-gz", "release_documents", **found)


# -- a financing ------------------------------------------------------------------------------------------------------


def applied(channels: Channels, **title: Any) -> None:
    invoice = channels.factoring.invoice(seller="seller-a")
    args = channels.application("F-1", invoice, **title)
    channels.trade.ok("seller-a", "receivable", "apply_invoice_financing", **args)


def test_a_revoked_borrowers_application_is_withdrawn_by_its_house_and_its_title_is_free(one: Channels) -> None:
    title = one.title(holder="seller-a")
    applied(one, title=title)
    withdraw = ("receivable", "withdraw_financing")
    one.trade.expect("E_NOT_BORROWER", "seller-x", *withdraw, financing=FINANCING)
    revoke(one.trade, "sz", "seller-a")
    one.trade.expect("E_NOT_BORROWER", "seller-b", *withdraw, financing=FINANCING)
    one.trade.ok("seller-x", *withdraw, financing=FINANCING)
    assert (one.logistics.lock(title), one.security(FINANCING)) == ("", "RETURNED")


@pytest.mark.parametrize(("org", "party", "other"), [("sz", "seller-a", "seller-x"), ("hk", "bank-hk", "bank-hk-2")])
def test_a_reservation_that_ran_out_is_ended_by_the_house_of_either_side(
    one: Channels, org: str, party: str, other: str
) -> None:
    title = one.title(holder="seller-a")
    applied(one, title=title)
    one.trade.ok("bank-hk", "receivable", "reserve_financing", financing=FINANCING)
    revoke(one.trade, org, party)
    expire = ("receivable", "expire_financing")
    one.trade.expect("E_LOCK_LIVE", other, *expire, financing=FINANCING)
    one.pass_time(days=4)
    one.trade.expect("E_NOT_PARTY", "seller-b", *expire, financing=FINANCING)
    one.trade.ok(other, *expire, financing=FINANCING)
    assert one.logistics.lock(title) == ""


def lent(channels: Channels) -> str:
    """A title that secures what ``bank-hk``, which is revoked since, paid for an invoice that nobody paid when due."""
    title = channels.title(holder="seller-a")
    invoice = channels.factoring.invoice(seller="seller-a", due_date=channels.factoring.day(2))
    args = channels.application("F-1", invoice, title=title)
    channels.trade.ok("seller-a", "receivable", "apply_invoice_financing", **args)
    channels.trade.ok("bank-hk", "receivable", "reserve_financing", financing=FINANCING)
    channels.fund(FINANCING)
    revoke(channels.trade, "hk", "bank-hk")
    channels.pass_time(days=3)
    return title


def test_the_house_of_a_revoked_financier_takes_the_title_that_it_lent_on(one: Channels) -> None:
    title = lent(one)
    steps = ("declare_overdue", "claim_recourse", "take_title")
    for step in steps:
        one.trade.expect("E_NOT_FINANCIER", "bank-mo", "receivable", step, financing=FINANCING)
        one.trade.expect("E_ROLE", "trader-hk", "receivable", step, financing=FINANCING)
        one.trade.ok("bank-hk-2", "receivable", step, financing=FINANCING)
    assert control(one.trade, title) == ("ISSUED", "bank-hk-2", "bank-hk-2")
    assert one.security(FINANCING) == "TAKEN"


def test_the_house_of_a_revoked_financier_declines_what_was_asked_of_it_and_lends_nothing(one: Channels) -> None:
    title = one.title(holder="seller-a")
    applied(one, title=title)
    one.trade.expect("E_NOT_FINANCIER", "bank-hk-2", "receivable", "reject_financing", financing=FINANCING)
    revoke(one.trade, "hk", "bank-hk")
    one.trade.expect("E_NOT_FINANCIER", "bank-hk-2", "receivable", "reserve_financing", financing=FINANCING)
    one.trade.ok("bank-hk-2", "receivable", "reject_financing", financing=FINANCING)
    assert (one.logistics.lock(title), one.security(FINANCING)) == ("", "RETURNED")


def test_a_chain_of_version_1_knows_the_borrower_alone_as_it_did(two: Channels) -> None:
    enrol(two.trade, "sz", "seller-x", "exporter")
    applied(two)
    revoke(two.trade, "sz", "seller-a")
    two.trade.expect("E_NOT_BORROWER", "seller-x", "receivable", "withdraw_financing", financing=FINANCING)
