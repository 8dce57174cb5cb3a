"""What the title register asks of other channels and other modules before it binds or moves a title for them."""

from __future__ import annotations

import pytest

from tests.modules.channels_kit import Channels, enrol, revoke
from tests.modules.title_kit import Sea


@pytest.fixture
def two() -> Channels:
    return Channels()


def honoured(two: Channels) -> tuple[str, str, bytes]:
    """A title reserved for a credit that was honoured: with its reservation and the proof that nobody brought yet."""
    title = two.title()
    credit = two.desk.credit()
    reservation = two.reserve(title, credit)
    presentation = two.present(credit, proof=two.reservation_proof(reservation))
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    return title, reservation, two.commitment_proof(reservation)


def order_release(two: Channels, title: str) -> None:
    order = {"module": "title", "asset": title, "order": "HCA 7/2026"}
    two.logistics.ok("judge", "kernel", "order_release", **order)


def test_a_channel_that_believes_no_other_one_reserves_and_settles_nothing() -> None:
    sea = Sea()
    title = sea.issued()
    args = {
        "number": "R-1",
        "title": title,
        "channel": "trade",
        "purpose": "lc.presentation",
        "process": "buyer-a/LC-1",
    }
    args |= {"recipients": ["bank-hk"], "until_ms": sea.kit.time_ms + 1_000_000}
    sea.expect("E_NO_LIGHT_CLIENT", "shipper", "reserve_title", **args)
    sea.expect("E_NO_LIGHT_CLIENT", "port", "settle_title", reservation="shipper/R-1", proof=b"x")


def test_a_process_asks_whether_its_title_is_bound_and_another_ones_is_not_its_own() -> None:
    sea = Sea()
    title = sea.issued()
    ask = {"title": title, "function": "require_bound"}
    sea.expect("E_NOT_BOUND", "shipper", "use", module="credit", **ask)
    sea.ok("shipper", "use", module="credit", title=title, function="bind")
    sea.ok("shipper", "use", module="credit", **ask)
    sea.expect("E_NOT_BOUND", "shipper", "use", module="credit", **ask, process="LC-2")


def test_a_proof_held_back_takes_the_right_from_nobody_who_got_it_meanwhile(two: Channels) -> None:
    title, reservation, proof = honoured(two)
    two.pass_time(days=301)
    two.sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer")
    two.refuse_settle("E_NOT_ENDORSEE", reservation, proof)
    assert two.sea.control(title) == ("ISSUED", "shipper", "buyer")


def test_a_proof_held_back_takes_no_title_that_left_and_came_back(two: Channels) -> None:
    title, reservation, proof = honoured(two)
    order_release(two, title)
    two.sea.ok("shipper", "endorse_title", title=title, kind="BLANK_ENDORSE")
    two.refuse_settle("E_MOVED_ON", reservation, proof)
    two.sea.ok("shipper", "transfer_title", title=title, to="buyer")
    two.sea.ok("buyer", "transfer_title", title=title, to="shipper")
    two.refuse_settle("E_MOVED_ON", reservation, proof)
    assert two.sea.control(title) == ("ISSUED", "shipper", "")


def test_the_holder_does_not_sign_a_title_away_that_is_reserved(two: Channels) -> None:
    title, reservation, proof = honoured(two)
    two.sea.expect("E_LOCKED", "shipper", "sign_title", title=title)
    assert two.settle(reservation, proof) == "PASSED"
    assert two.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")


def test_a_bank_whose_identity_was_revoked_takes_the_title_with_another_one(two: Channels) -> None:
    title, reservation, proof = honoured(two)
    enrol(two.logistics, "hk", "bank-hk-2", "bank")
    settle = {"reservation": reservation, "proof": proof}
    revoke(two.logistics, "hk", "bank-hk")
    two.logistics.expect("E_PARTY_ROLE", "relay", "title", "settle_title", **settle, to="bank-hk-2")
    for other in ("liner", "bank-gz"):
        two.logistics.expect("E_PARTY_ROLE", "liner", "title", "settle_title", **settle, to=other)
    two.logistics.ok("liner", "title", "settle_title", **settle, to="bank-hk-2")
    assert two.sea.control(title) == ("ISSUED", "bank-hk-2", "bank-hk-2")


def test_a_title_is_reserved_for_banks_and_factors_alone(two: Channels) -> None:
    args = two.reserve_args(two.title(), "buyer-a/LC-1", recipients=["bank-hk", "buyer"])
    two.logistics.expect("E_PARTY_ROLE", "shipper", "title", "reserve_title", **args)
