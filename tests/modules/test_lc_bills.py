"""One bill, one live presentation: taken while anybody who paid waits for what it paid for, and not a day longer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.kernel.declaration import Fingerprint
from dawan_node.modules.lc.entities import BoundTitle, Presentation
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.channels_kit import Channels, Place, copy_of
from tests.modules.lc_kit import AMOUNT, Desk, usd
from tests.modules.title_kit import DOCUMENT


@pytest.fixture
def one() -> Channels:
    return Channels(one=True)


@pytest.fixture
def two() -> Channels:
    return Channels()


def second_credit(channels: Channels) -> str:
    """A credit whose beneficiary gets the goods in transit and sells them on."""
    return channels.desk.credit(beneficiary="seller-b")


def honoured(one: Channels) -> tuple[str, str]:
    title = one.title(holder="seller-a")
    presentation = one.present(one.desk.credit(), title=title)
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    return title, presentation


def reimbursed(channels: Channels, presentation: str, **claim: Any) -> None:
    channels.desk.pay(presentation)
    channels.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation, **claim)
    channels.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    cash = channels.desk.cash("bank-cn", "bank-hk", usd(AMOUNT))
    channels.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)


def endorse(channels: Channels, title: str, *holders: str) -> None:
    for holder, to in itertools.pairwise(holders):
        args = {"title": title, "kind": "ENDORSE_TO_ORDER", "to": to, "hand_over_to": to}
        channels.sea.ok(holder, "endorse_title", **args)


def sold_on(one: Channels) -> tuple[str, str]:
    """Paid, reimbursed, released, and the goods sold to the beneficiary of another credit while at sea."""
    title, presentation = honoured(one)
    reimbursed(one, presentation)
    one.desk.ok("bank-cn", "release_documents", presentation=presentation)
    endorse(one, title, "bank-cn", "buyer-a", "seller-b")
    return title, presentation


def expect_double(one: Channels, reason: str, credit: str, title: str) -> None:
    args = one.present_args(credit, AMOUNT, title=title)
    one.trade.expect(reason, "seller-b", "lc", "present_documents", **args)


# -- when it is free --------------------------------------------------------------------------------------------------


def test_a_bill_that_was_paid_for_and_released_is_presented_under_another_credit(one: Channels) -> None:
    title, _ = sold_on(one)
    presentation = one.present(second_credit(one), title=title)
    assert one.bound(presentation) == [("", title, "BOUND")]
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    assert one.holder(title) == "bank-hk"


def test_returned_documents_are_presented_again_under_the_same_credit_or_another(one: Channels) -> None:
    title = one.title(holder="seller-a")
    for credit in (one.desk.credit(), one.desk.credit()):
        for _ in range(2):
            presentation = one.present(credit, title=title)
            one.desk.refuse(presentation)
            one.desk.ok("bank-hk", "return_documents", presentation=presentation)
    last = one.present(one.desk.credit(), title=title)
    one.desk.comply(last)
    one.desk.honour(last)
    assert one.holder(title) == "bank-hk"


def test_refused_documents_are_the_presenters_to_call_back_when_the_bank_sits_on_them(one: Channels) -> None:
    title = one.title(holder="seller-a")
    presentation = one.present(one.desk.credit(), title=title)
    one.desk.expect("E_STATE", "seller-a", "return_documents", presentation=presentation)
    one.desk.refuse(presentation)
    one.desk.expect("E_NOT_PARTY", "seller-b", "return_documents", presentation=presentation)
    one.desk.ok("seller-a", "return_documents", presentation=presentation)
    assert one.logistics.lock(title) == ""
    one.present(one.desk.credit(), title=title)


def test_honoured_by_the_issuing_bank_itself_it_is_free_without_a_claim(one: Channels) -> None:
    title = one.title(holder="seller-a")
    presentation = one.present(one.desk.credit(), bank="bank-cn", title=title)
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    one.desk.pay(presentation)
    endorse(one, title, "bank-cn", "buyer-a", "seller-b")
    credit = second_credit(one)
    expect_double(one, "E_DUP_FINANCE", credit, title)
    one.desk.ok("bank-cn", "release_documents", presentation=presentation)
    one.present(credit, title=title)


# -- when it is not ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["payment", "reimbursement", "release"])
def test_while_anybody_who_paid_waits_the_bill_is_taken_whoever_holds_the_title(one: Channels, missing: str) -> None:
    title, presentation = honoured(one)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation, against="ACCEPTANCE")
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    if missing != "payment":
        one.desk.pay(presentation)
    if missing != "reimbursement":
        cash = one.desk.cash("bank-cn", "bank-hk", usd(AMOUNT))
        one.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    if missing != "release":
        one.desk.ok("bank-cn", "release_documents", presentation=presentation)
    endorse(one, title, "bank-cn", "buyer-a", "seller-b")
    credit = second_credit(one)
    expect_double(one, "E_DUP_FINANCE", credit, title)
    late = {
        "payment": lambda: one.desk.pay(presentation),
        "reimbursement": lambda: one.desk.ok(
            "settle-bank",
            "pay_reimbursement",
            presentation=presentation,
            cash=one.desk.cash("bank-cn", "bank-hk", usd(AMOUNT)),
        ),
        "release": lambda: one.desk.ok("bank-cn", "release_documents", presentation=presentation),
    }
    late[missing]()
    one.present(credit, title=title)


def test_a_bank_that_nobody_reimburses_sells_documents_and_titles_and_claims_no_more(one: Channels) -> None:
    title, presentation = honoured(one)
    one.desk.pay(presentation)
    sell = {"presentation": presentation, "to": "seller-b"}
    one.desk.expect("E_TITLE_KEPT_BACK", "bank-hk", "sell_documents", **sell)
    endorse(one, title, "bank-hk", "seller-b")
    credit = second_credit(one)
    expect_double(one, "E_DUP_FINANCE", credit, title)
    for reason, person, to in (
        ("E_NOT_PARTY", "bank-cn", "seller-b"),
        ("E_SELF_DEALING", "bank-hk", "bank-hk"),
        ("E_UNKNOWN_PARTY", "bank-hk", "nobody"),
    ):
        one.desk.expect(reason, person, "sell_documents", presentation=presentation, to=to)
    one.desk.ok("bank-hk", "sell_documents", **sell)
    one.desk.expect("E_STATE", "bank-hk", "sell_documents", **sell)
    one.desk.expect("E_STATE", "bank-hk", "claim_reimbursement", presentation=presentation)
    one.present(credit, title=title)


def test_what_is_claimed_for_is_not_sold_until_the_claim_is_withdrawn(one: Channels) -> None:
    title, presentation = honoured(one)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    sell = {"presentation": presentation, "to": "buyer-a"}
    one.desk.expect("E_STATE", "bank-hk", "sell_documents", **sell)
    one.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
    one.sea.ok("bank-hk", "surrender_title", title=title, purpose="AMENDMENT")
    one.desk.expect("E_TITLE_KEPT_BACK", "bank-hk", "sell_documents", **sell)
    one.sea.ok("liner", "reject_surrender", title=title, why="?")
    endorse(one, title, "bank-hk", "buyer-a")
    one.desk.ok("bank-hk", "sell_documents", **sell)


def test_selling_and_claiming_in_one_block_is_one_of_them_in_either_order() -> None:
    desk = Desk()
    presentation = desk.honoured(desk.credit())
    sell = desk.call("bank-hk", "sell_documents", presentation=presentation, to="buyer-a")
    claim = desk.call("bank-hk", "claim_reimbursement", presentation=presentation)
    for order in ((sell, claim), (claim, sell)):
        assert desk.copy().race(*order) == ["", "E_STATE"]


def test_a_bill_that_was_named_and_not_bound_stays_taken_for_ever() -> None:
    desk = Desk()
    presentation = desk.honoured(desk.credit(), bill="BL-1")
    desk.pay(presentation)
    desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    cash = desk.cash("bank-cn", "bank-hk", usd(AMOUNT))
    desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    desk.ok("bank-cn", "release_documents", presentation=presentation)
    desk.expect("E_DUP_FINANCE", "seller-a", "present_documents", **desk.papers_args(desk.credit(), 1, bill="bl 1"))


def test_presented_twice_at_once_a_freed_bill_is_in_one_presentation_in_either_order(one: Channels) -> None:
    title, _ = sold_on(one)
    first = one.present_args(second_credit(one), AMOUNT, title=title)
    second = one.present_args(second_credit(one), AMOUNT, title=title)
    for order in ((first, second), (second, first)):
        place = Place(copy_of(one.trade.kit))
        calls = [place.call("seller-b", "lc", "present_documents", **args) for args in order]
        assert place.race(*calls) == ["", "E_LOCKED"]


def test_presenting_before_the_release_of_the_same_block_is_too_early_and_after_it_in_time(one: Channels) -> None:
    title, presentation = honoured(one)
    reimbursed(one, presentation)
    endorse(one, title, "bank-cn", "buyer-a", "seller-b")
    present = one.present_args(second_credit(one), AMOUNT, title=title)
    for presents_first in (True, False):
        place = Place(copy_of(one.trade.kit))
        calls = [
            place.call("seller-b", "lc", "present_documents", **present),
            place.call("bank-cn", "lc", "release_documents", presentation=presentation),
        ]
        reasons = place.race(*(calls if presents_first else reversed(calls)))
        assert reasons == (["E_DUP_FINANCE", ""] if presents_first else ["", ""])


# -- amended, on paper, and back --------------------------------------------------------------------------------------


def amended(one: Channels, title: str, holder: str) -> str:
    one.sea.ok(holder, "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    one.sea.ok("liner", "accept_surrender", title=title)
    bill = one.sea.bill(shipper="seller-a", port_of_discharge="HKHKG")
    again = {"bill": bill, "checksum": DOCUMENT, "document": one.sea.document()}
    one.sea.ok("liner", "reissue_title", title=title, **again)
    return f"{title}.2"


def restored(one: Channels, title: str, holder: str, to: str) -> str:
    one.sea.ok(holder, "surrender_title", title=title, purpose="AMENDMENT", reason="SWTP")
    one.sea.ok("liner", "accept_surrender", title=title, paper="P-1")
    credit = second_credit(one)
    expect_double(one, "E_PAPER", credit, title)
    by_name = one.present_args(credit, AMOUNT, issuer="SMDG HMM", number="hkg 1")
    one.trade.expect("E_TITLE_KEPT", "seller-b", "lc", "present_documents", **by_name)
    again = {"bill": one.sea.bill(shipper="seller-a"), "checksum": DOCUMENT, "document": one.sea.document()}
    one.sea.ok("liner", "restore_title", title=title, paper="P-1", to=to, **again)
    return f"{title}.2"


@pytest.mark.parametrize("way", ["amended", "on paper and back"])
def test_another_version_of_a_bill_is_the_same_bill(one: Channels, way: str) -> None:
    title, presentation = honoured(one)
    # The bank's own while nobody has reimbursed it: a new version does not free what was financed as the old one.
    fresh = amended(one, title, "bank-hk") if way == "amended" else restored(one, title, "bank-hk", "bank-hk")
    endorse(one, fresh, "bank-hk", "seller-b")
    credit = second_credit(one)
    expect_double(one, "E_DUP_FINANCE", credit, fresh)
    endorse(one, fresh, "seller-b", "bank-hk")
    reimbursed(one, presentation)
    one.desk.ok("bank-cn", "release_documents", presentation=presentation)
    endorse(one, fresh, "bank-cn", "buyer-a", "seller-b")
    again = one.present(credit, title=fresh)
    expect_double(one, "E_LOCKED", second_credit(one), fresh)
    expect_double(one, "E_PAPER" if way != "amended" else "E_STATE", second_credit(one), title)
    assert one.bound(again) == [("", fresh, "BOUND")]


@pytest.mark.parametrize("way", ["amended", "on paper and back"])
def test_a_freed_bill_is_presented_in_its_new_version_once(one: Channels, way: str) -> None:
    title, _ = sold_on(one)
    fresh = amended(one, title, "seller-b") if way == "amended" else restored(one, title, "seller-b", "seller-b")
    one.present(second_credit(one), title=fresh)
    expect_double(one, "E_LOCKED", second_credit(one), fresh)


# -- bills that another channel keeps ---------------------------------------------------------------------------------


def paid_elsewhere(two: Channels, settles: bool = True) -> tuple[str, str]:
    """Honoured by the issuing bank, paid and released; ``settles``: the bank brought the proof and got the title."""
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit, until_ms=two.now + 20 * DAY_MS)
    presentation = two.present(credit, bank="bank-cn", proof=two.reservation_proof(reservation))
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    two.desk.pay(presentation)
    two.desk.ok("bank-cn", "release_documents", presentation=presentation)
    if settles:
        assert two.settle(reservation) == "PASSED"
        endorse(two, title, "bank-gz", "buyer", "shipper-b")
    return title, reservation


def test_a_title_elsewhere_is_presented_again_with_a_proof_that_the_bank_had_it(two: Channels) -> None:
    title, before = paid_elsewhere(two)
    credit = second_credit(two)
    proof = two.reservation_proof(two.reserve(title, credit))
    for reason, passed in (("E_TITLE_FORMER", b""), ("E_TITLE_FORMER", proof)):
        args = two.present_args(credit, AMOUNT, proof=proof, passed=passed)
        two.trade.expect(reason, "seller-b", "lc", "present_documents", **args)
    presentation = two.present(credit, proof=proof, passed=two.reservation_proof(before))
    assert two.bound(presentation) == [("logistics", title, "BOUND")]


def test_a_holder_who_never_gave_the_title_away_is_not_paid_for_it_twice(two: Channels) -> None:
    title, before = paid_elsewhere(two, settles=False)
    # The bank never brought its proof, the lock ran out, and the shipper has the title still.
    two.pass_time(days=21)
    two.sea.ok("shipper", "transfer_title", title=title, to="buyer")
    two.sea.ok("buyer", "transfer_title", title=title, to="shipper")
    credit = two.desk.credit()
    proof = two.reservation_proof(two.reserve(title, credit))
    for passed in (b"", two.reservation_proof(before)):
        args = two.present_args(credit, AMOUNT, proof=proof, passed=passed)
        two.trade.expect("E_TITLE_FORMER", "seller-a", "lc", "present_documents", **args)


def test_what_was_a_title_once_is_never_presented_by_its_name(two: Channels) -> None:
    title = two.title()
    credit = two.desk.credit()
    presentation = two.present(credit, proof=two.reservation_proof(two.reserve(title, credit)))
    two.desk.refuse(presentation)
    two.desk.ok("bank-hk", "return_documents", presentation=presentation)
    named = two.present_args(second_credit(two), AMOUNT, issuer="smdg hmm", number="HKG.1")
    two.trade.expect("E_TITLE_KEPT", "seller-b", "lc", "present_documents", **named)


@pytest.mark.parametrize(
    "ebl", [{"issuer": "MAEU", "number": "BL-9", "passed": b"x"}, {"kind": "OTHER", "passed": b"x"}]
)
def test_a_proof_of_a_former_bank_belongs_to_a_bill_that_had_one(one: Channels, ebl: dict[str, Any]) -> None:
    args = one.present_args(one.desk.credit(), AMOUNT, **ebl)
    one.trade.expect("E_TITLE", "seller-a", "lc", "present_documents", **args)


# -- the invariant ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda old, bound, tag: replace(old, with_party="bank-cn"),
        lambda old, bound, tag: replace(bound, state="BOUND"),
        lambda old, bound, tag: replace(tag, subject=old.presentation, state="RELEASED"),
        lambda old, bound, tag: replace(tag, state="CANCELLED"),
    ],
)
def test_the_invariant_sees_two_live_presentations_of_one_bill(
    one: Channels, corrupt: Callable[[Presentation, BoundTitle, Fingerprint], Entity]
) -> None:
    title, before = sold_on(one)
    one.present(second_credit(one), title=title)
    old = one.desk.get(before)
    bound = one.trade.kit.get(BoundTitle, key_of(before, 1))
    tag = one.trade.kit.get(Fingerprint, key_of(old.ebls[0]))
    assert bound is not None and tag is not None
    entity = corrupt(old, bound, tag)
    one.trade.kit.state.values[entity.spec.module, entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"lc\.one_bill_one_presentation"):
        one.trade.kit.check_invariants()
