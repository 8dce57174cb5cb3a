"""What must not be possible (domain.md M2, A1 to A5): each alone, within one block, and in both orders there.

A refused attempt changes nothing, has a stable reason, and its receipt on chain is the record of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.primitives.transaction import Transaction
from tests.modules.lc_kit import AMOUNT, Desk, usd


@pytest.fixture
def desk() -> Desk:
    return Desk()


def both_orders(make: Callable[[Desk], tuple[Transaction, Transaction]]) -> list[list[str]]:
    """The reasons of two transactions in one block, in the order given and in the other one, each on a fresh channel.

    The kit checks every invariant after the block.
    """
    results = []
    for backwards in (False, True):
        desk = Desk()
        first, second = make(desk)
        reasons = desk.race(*((second, first) if backwards else (first, second)))
        results.append(reasons[::-1] if backwards else reasons)
    return results


def notice(*findings: str, disposal: str = "HELD") -> dict[str, Any]:
    return {"findings": list(findings), "disposal": disposal}


# -- A1: a second notice of refusal with new discrepancies ------------------------------------------------------------


def test_a1_a_second_notice_with_new_discrepancies_is_none(desk: Desk) -> None:
    presentation = desk.present(desk.credit())
    desk.refuse(presentation, "invoice not signed")
    second = {"presentation": presentation, **notice("invoice not signed", "bill not endorsed")}
    desk.expect("E_ONE_NOTICE", "bank-hk", "refuse_presentation", **second)
    assert desk.get(presentation).findings == ("invoice not signed",)
    for person in ("buyer-a", "bank-cn"):
        desk.ok(person, "waive_discrepancies", presentation=presentation)
    desk.expect("E_ONE_NOTICE", "bank-cn", "refuse_presentation", **second)
    desk.honour(presentation)
    desk.expect("E_ONE_NOTICE", "bank-cn", "refuse_presentation", **second)


def test_a1_of_two_notices_in_one_block_the_first_is_the_notice() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        presentation = desk.present(desk.credit())
        one, two = notice("not signed"), notice("not signed", "not endorsed")
        return (
            desk.call("bank-hk", "refuse_presentation", presentation=presentation, **one),
            desk.call("bank-hk", "refuse_presentation", presentation=presentation, **two),
        )

    assert both_orders(make) == [["", "E_ONE_NOTICE"], ["E_ONE_NOTICE", ""]]


def test_a1_a_bank_cannot_refuse_what_it_found_complying_nor_comply_after_its_notice() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        presentation = desk.present(desk.credit())
        return (
            desk.call("bank-hk", "refuse_presentation", presentation=presentation, **notice("not signed")),
            desk.call("bank-hk", "find_complying", presentation=presentation),
        )

    assert both_orders(make) == [["", "E_STATE"], ["E_STATE", ""]]


def test_a1_the_issuing_bank_has_one_notice_for_the_claim_too(desk: Desk) -> None:
    presentation = desk.honoured(desk.credit())
    desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, findings=["not signed"])
    args = {"presentation": presentation, "findings": ["not endorsed"]}
    desk.expect("E_ONE_NOTICE", "bank-cn", "refuse_reimbursement", **args)
    desk.expect("E_STATE", "bank-cn", "release_documents", presentation=presentation)
    desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    desk.expect("E_ONE_NOTICE", "bank-cn", "refuse_reimbursement", **args)


# -- A2: presentation after the expiry, or more than 21 days after shipment -------------------------------------------


def test_a2_documents_come_in_time_or_not_at_all(desk: Desk) -> None:
    # Both banks are open on Tuesday 2025-12-16 and on the day after.
    credit = desk.credit(expiry="2025-12-16", latest_shipment="2025-12-16")
    other = desk.credit(expiry="2026-01-20", latest_shipment="2026-01-20")
    shipped = desk.today
    desk.go_to("2025-12-16")
    desk.present(credit, 1)
    desk.present(other, 1, shipment_date=shipped)  # the 21st day
    desk.go_to("2025-12-17")
    desk.expect("E_EXPIRED", "seller-a", "present_documents", **desk.papers_args(credit, 1))
    late = desk.papers_args(other, 1, shipment_date=shipped)
    desk.expect("E_LATE_PRESENTATION", "seller-a", "present_documents", **late)
    # No other bank takes them either, and documents that name no shipment are not complete.
    desk.expect("E_EXPIRED", "seller-a", "present_documents", **desk.papers_args(credit, 1, "bank-cn"))
    silent = desk.papers_args(other, 1, kinds=("INVOICE",))
    desk.expect("E_SHIPMENT_DATE", "seller-a", "present_documents", **silent)


def test_a2_the_21st_day_moves_to_the_next_banking_day_of_the_bank_and_no_further(desk: Desk) -> None:
    credit = desk.credit(expiry="2026-01-20", latest_shipment="2026-01-20")
    desk.go_to("2025-12-04")  # 21 days before Christmas, when Hong Kong is closed until Monday the 29th
    shipped = desk.today
    desk.go_to("2025-12-26")
    late = desk.papers_args(credit, 1, "bank-cn", shipment_date=shipped)
    desk.expect("E_LATE_PRESENTATION", "seller-a", "present_documents", **late)
    desk.go_to("2025-12-29")
    desk.present(credit, 1, shipment_date=shipped)
    desk.go_to("2025-12-30")
    late = desk.papers_args(credit, 1, shipment_date=shipped)
    desk.expect("E_LATE_PRESENTATION", "seller-a", "present_documents", **late)


def test_a2_at_midnight_the_day_is_over_whatever_the_order_in_the_block() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        dates = {"expiry": "2025-12-16", "latest_shipment": "2025-12-16"}
        expired, open_still = desk.credit(**dates), desk.credit(**dates | {"expiry": "2025-12-17"})
        desk.go_to("2025-12-16")
        shipped = {"shipment_date": desk.today}
        desk.go_to("2025-12-17")
        return (
            desk.call("seller-a", "present_documents", **desk.papers_args(expired, 1, **shipped)),
            desk.call("seller-a", "present_documents", **desk.papers_args(open_still, 1, **shipped)),
        )

    assert both_orders(make) == [["E_EXPIRED", ""], ["E_EXPIRED", ""]]


def test_a2_expiry_and_presentation_in_one_block() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        credit = desk.credit(expiry="2025-12-16", latest_shipment="2025-12-16")
        desk.go_to("2025-12-17")
        shipped = {"shipment_date": "2025-12-16"}
        return (
            desk.call("bank-cn", "expire_credit", credit=credit),
            desk.call("seller-a", "present_documents", **desk.papers_args(credit, 1, **shipped)),
        )

    assert both_orders(make) == [["", "E_STATE"], ["", "E_EXPIRED"]]


# -- A3: a cent more than the tolerance over two drawings -------------------------------------------------------------


@pytest.mark.parametrize("terms", [{"about": True}, {"plus_ppm": 100_000}])
def test_a3_two_drawings_stay_within_the_tolerance_to_the_cent(desk: Desk, terms: dict[str, Any]) -> None:
    credit = desk.credit(**terms)
    desk.honoured(credit, 60_000_00)
    desk.expect("E_CONSERVATION", "seller-a", "present_documents", **desk.papers_args(credit, 50_000_01))
    desk.honoured(credit, 50_000_00)
    assert desk.states(credit) == ("DRAWN", 110_000_00, 0)
    desk.expect("E_STATE", "seller-a", "present_documents", **desk.papers_args(credit, 1))


def test_a3_what_is_under_examination_counts_like_what_is_drawn() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        credit = desk.credit(plus_ppm=100_000)
        return (
            desk.call("seller-a", "present_documents", **desk.papers_args(credit, 60_000_00)),
            desk.call("seller-a", "present_documents", **desk.papers_args(credit, 50_000_01, "bank-cn")),
        )

    assert both_orders(make) == [["", "E_CONSERVATION"], ["E_CONSERVATION", ""]]


def test_a3_a_transfer_and_a_drawing_in_one_block_share_one_amount() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        credit = desk.credit(transferable=True)
        transfer = {"credit": credit, "to": "seller-b", "amount": usd(60_000_00)}
        return (
            desk.call("seller-a", "request_transfer", **transfer),
            desk.call("seller-a", "present_documents", **desk.papers_args(credit, 40_000_01)),
        )

    assert both_orders(make) == [["", "E_CONSERVATION"], ["E_CONSERVATION", ""]]


def test_a3_without_partial_drawings_there_is_one_of_at_least_the_lower_limit(desk: Desk) -> None:
    credit = desk.credit(partial=False)  # article 30 c: five per cent less
    desk.expect("E_PARTIAL", "seller-a", "present_documents", **desk.papers_args(credit, 94_999_99))
    desk.honoured(credit, 95_000_00)
    assert desk.states(credit)[0] == "DRAWN"


# -- A4: one electronic bill of lading under two credits --------------------------------------------------------------


def test_a4_one_bill_in_any_spelling_is_in_one_presentation(desk: Desk) -> None:
    first, second = desk.credit(), desk.credit()
    presentation = desk.present(first, bill="BL-007")
    for spelling in ("BL-007", "bl 007", "ＢＬ－００７"):
        again = desk.papers_args(second, AMOUNT, "bank-cn", bill=spelling)
        desk.expect("E_DUP_FINANCE", "seller-a", "present_documents", **again)
    twice = desk.papers_args(second, AMOUNT)
    twice["documents"] += desk.papers("EBL", bill="BL-8") + desk.papers("EBL", bill="BL 8")
    desk.expect("E_DUP_FINANCE", "seller-a", "present_documents", **twice)
    desk.comply(presentation)
    desk.honour(presentation)
    desk.pay(presentation)
    desk.expect("E_DUP_FINANCE", "seller-a", "present_documents", **desk.papers_args(second, AMOUNT, bill="BL-007"))


def test_a4_of_two_presentations_of_one_bill_in_a_block_the_first_has_it() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        first, second = desk.credit(), desk.credit(beneficiary="seller-b")
        return (
            desk.call("seller-a", "present_documents", **desk.papers_args(first, AMOUNT, bill="BL-7")),
            desk.call("seller-b", "present_documents", **desk.papers_args(second, AMOUNT, "bank-cn", bill="bl7")),
        )

    assert both_orders(make) == [["", "E_DUP_FINANCE"], ["E_DUP_FINANCE", ""]]


def test_a4_a_bill_given_back_can_be_presented_elsewhere_in_the_same_block_only_afterwards() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        first, second = desk.credit(), desk.credit()
        presentation = desk.present(first, bill="BL-7")
        desk.refuse(presentation)
        return (
            desk.call("bank-hk", "return_documents", presentation=presentation),
            desk.call("seller-a", "present_documents", **desk.papers_args(second, AMOUNT, bill="BL-7")),
        )

    assert both_orders(make) == [["", ""], ["", "E_DUP_FINANCE"]]


# -- A5: a quality claim against honour; the wrong calendar -----------------------------------------------------------

#: Everything an applicant might send to stop a payment, and what it is told. E_ROLE: its role has no such command.
OBSTACLES = {
    "refuse_presentation": ("E_ROLE", notice("the goods are rotten")),
    "return_documents": ("E_ROLE", {}),
    "find_complying": ("E_ROLE", {}),
    "forward_presentation": ("E_ROLE", {"to": "bank-cn"}),
    "refuse_reimbursement": ("E_ROLE", {"findings": ["the goods are rotten"]}),
    "waive_discrepancies": ("E_STATE", {}),
}


def test_a5_nothing_an_applicant_says_about_goods_stops_honour(desk: Desk) -> None:
    credit = desk.credit()
    presentation = desk.present(credit)
    desk.comply(presentation)
    for command, (reason, more) in OBSTACLES.items():
        desk.expect(reason, "buyer-a", command, presentation=presentation, **more)
    desk.expect("E_ROLE", "buyer-a", "cancel_credit", credit=credit)
    desk.expect("E_ROLE", "buyer-a", "amend_credit", credit=credit, delta_minor=-1)
    desk.expect("E_STATE", "buyer-a", "decline_draft", credit=credit)
    desk.expect("E_NOT_EXPIRED", "buyer-a", "expire_credit", credit=credit)
    assert desk.kit.run("buyer-a", "freeze_asset", {"module": "lc", "asset": credit, "order": "mine",
        "reason": "rotten", "until_ms": desk.kit.time_ms + 10**9}, module="kernel").reason == "E_ROLE"  # fmt: skip
    desk.honour(presentation)
    desk.pay(presentation)


def test_a5_a_court_stops_honour_and_payment_and_nothing_else(desk: Desk) -> None:
    credit = desk.credit(available_by="DEFERRED", tenor_days=1, transferable=True)
    part = desk.transfer(credit, "seller-b", 10_000_00)
    presentation, of_part = desk.present(credit, 50_000_00), desk.present(part, 1_00)
    honoured = desk.honoured(credit, 1_00)
    desk.freeze(credit)
    desk.comply(presentation)  # the examination goes on, and so does its time
    desk.comply(of_part)
    for each in (presentation, of_part):
        desk.expect("E_ASSET_FROZEN", "bank-hk", "honour_presentation", presentation=each)
    desk.kit.pass_time(days=1)
    cash = desk.cash("bank-hk", "seller-a", usd(1_00))
    desk.expect("E_ASSET_FROZEN", "settle-bank", "pay_presentation", presentation=honoured, cash=cash)
    desk.kit.pass_time(days=31)
    desk.honour(presentation)
    desk.ok("settle-bank", "pay_presentation", presentation=honoured, cash=cash)


def test_a5_court_and_bank_in_one_block() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        credit = desk.credit()
        presentation = desk.present(credit)
        desk.comply(presentation)
        order = {"module": "lc", "asset": credit, "order": "HCA 1", "reason": "fraud",
                 "until_ms": desk.kit.time_ms + 10**9}  # fmt: skip
        return (
            desk.kit.call("judge", "freeze_asset", order, module="kernel"),
            desk.call("bank-hk", "honour_presentation", presentation=presentation),
        )

    assert both_orders(make) == [["", "E_ASSET_FROZEN"], ["", ""]]


def test_a5_the_deadline_is_counted_where_the_documents_are(desk: Desk) -> None:
    # Received on Tuesday 23 December 2025. Christmas closes Hong Kong on Thursday and Friday, New Year both places;
    # Guangzhou is closed until the 3rd and works on Sunday the 4th.
    hong_kong, guangzhou = desk.credit(confirmed=True), desk.credit()
    desk.go_to("2025-12-23")
    at_hong_kong, at_guangzhou = desk.present(hong_kong), desk.present(guangzhou, bank="bank-cn")
    assert desk.get(at_guangzhou).deadline == "2025-12-30"
    assert desk.get(at_hong_kong).deadline == "2026-01-02"
    desk.go_to("2025-12-31")
    late = {"presentation": at_guangzhou, **notice("not signed")}
    desk.expect("E_PRECLUDED", "bank-cn", "refuse_presentation", **late)
    desk.ok("seller-a", "claim_preclusion", presentation=at_guangzhou)
    desk.expect("E_PRECLUDED", "bank-cn", "refuse_presentation", **late)
    desk.expect("E_NOT_PRECLUDED", "seller-a", "claim_preclusion", presentation=at_hong_kong)
    desk.go_to("2026-01-02")
    desk.refuse(at_hong_kong)
    desk.honour(at_guangzhou)


def test_a5_the_last_second_of_the_fifth_day_is_in_time_and_the_next_is_not() -> None:
    def make(desk: Desk, ms: int) -> list[str]:
        presentation = desk.present(desk.credit(confirmed=True))
        desk.go_to(desk.get(presentation).deadline)
        # The day ends at 16:00 UTC; the kit's first block of a day comes a second and a few after it began.
        end_ms = (desk.kit.time_ms + 8 * 3_600_000) // 86_400_000 * 86_400_000 + 16 * 3_600_000
        desk.kit.time_ms = end_ms - 1_000 + ms
        return desk.race(
            desk.call("bank-hk", "refuse_presentation", presentation=presentation, **notice("late")),
            desk.call("seller-a", "claim_preclusion", presentation=presentation),
        )

    assert make(Desk(), -1) == ["", "E_STATE"]
    assert make(Desk(), 0) == ["E_PRECLUDED", ""]


def test_a5_notice_and_preclusion_in_one_block_have_one_outcome() -> None:
    def make(desk: Desk) -> tuple[Transaction, Transaction]:
        presentation = desk.present(desk.credit(confirmed=True))
        desk.kit.pass_time(days=10)
        return (
            desk.call("bank-hk", "refuse_presentation", presentation=presentation, **notice("late")),
            desk.call("seller-a", "claim_preclusion", presentation=presentation),
        )

    assert both_orders(make) == [["E_PRECLUDED", ""], ["E_PRECLUDED", ""]]


# -- money ------------------------------------------------------------------------------------------------------------


def test_one_payment_settles_one_thing_once(desk: Desk) -> None:
    credit = desk.credit()
    first, second = desk.honoured(credit, 1_00), desk.honoured(credit, 1_00)
    cash = desk.cash("bank-hk", "seller-a", usd(1_00), reference="PAY-1")
    desk.ok("settle-bank", "pay_presentation", presentation=first, cash=cash)
    desk.expect("E_STATE", "settle-bank", "pay_presentation", presentation=first, cash=cash)
    again = cash | {"reference": "pay 1"}
    desk.expect("E_CASHREF_USED", "settle-bank", "pay_presentation", presentation=second, cash=again)


def test_a_payment_names_who_owes_who_is_owed_and_exactly_how_much(desk: Desk) -> None:
    presentation = desk.honoured(desk.credit(), 1_00)
    right = desk.cash("bank-hk", "seller-a", usd(1_00))
    wrong = {
        "E_WRONG_PAYER": {"payer": "bank-cn"},
        "E_WRONG_PAYEE": {"payee": "seller-b"},
        "E_AMOUNT_MISMATCH": {"amount": usd(99)},
        "E_CURRENCY_MISMATCH": {"amount": ["HKD", 1_00]},
    }
    for reason, change in wrong.items():
        desk.expect(reason, "settle-bank", "pay_presentation", presentation=presentation, cash=right | change)
