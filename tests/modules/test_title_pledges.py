"""Pledges of titles, locks of other modules, freezes of courts, and paper."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.modules.kernel.declaration import Lock
from tests.modules.title_kit import CARRIER, DOCUMENT, Sea


@pytest.fixture
def sea() -> Sea:
    return Sea()


def pledged(sea: Sea, days: int = 10) -> str:
    title = sea.issued()
    sea.ok("shipper", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(days))
    return title


#: What would move a pledged title, by whom when its pledgor holds it.
MOVES: list[tuple[str, dict[str, Any]]] = [
    ("transfer_title", {"to": "buyer"}),
    ("transfer_title", {"to": "bank-gz"}),
    ("endorse_title", {"kind": "ENDORSE_TO_ORDER", "to": "buyer"}),
    ("endorse_title", {"kind": "ENDORSE_TO_ORDER", "to": "bank-hk", "hand_over_to": "buyer"}),
    ("endorse_title", {"kind": "BLANK_ENDORSE", "hand_over_to": "bank-hk"}),
    ("surrender_title", {"purpose": "DELIVERY"}),
    ("surrender_title", {"purpose": "AMENDMENT", "reason": "SWTP"}),
    ("pledge_title", {"pledgee": "bank-gz", "matures": "2026-01-01"}),
    ("pledge_title", {"pledgee": "bank-hk", "matures": "2026-01-01"}),
]


# -- pledge -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "args"), MOVES)
def test_nothing_moves_a_pledged_title_but_to_the_pledgee(sea: Sea, command: str, args: dict[str, Any]) -> None:
    title = pledged(sea)
    sea.expect("E_LOCKED", "shipper", command, title=title, **args)


def test_a_pledge_is_redeemed_and_all_is_as_before_it(sea: Sea) -> None:
    title = pledged(sea)
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE", to="bank-hk", hand_over_to="bank-hk")
    assert sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    sea.expect("E_LOCKED", "bank-hk", "transfer_title", title=title, to="buyer")
    sea.expect("E_LOCKED", "bank-hk", "surrender_title", title=title, purpose="DELIVERY")
    sea.expect("E_LOCKED", "bank-hk", "reject_transfer", title=title)
    sea.expect("E_NOT_PLEDGEE", "bank-gz", "release_pledge", title=title)
    collateral, _ = sea.kit.query("pledged", {"party": "bank-hk"})
    assert [each.title for each in collateral] == [title]
    sea.ok("bank-hk", "release_pledge", title=title)
    assert sea.control(title) == ("ISSUED", "shipper", "shipper")
    assert sea.kit.query("pledged", {"party": "bank-hk"}) == ((), None)
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="buyer")
    sea.expect("E_NOT_PLEDGEE", "bank-hk", "release_pledge", title=title)


def test_an_overdue_pledge_is_enforced_the_day_after_its_maturity_and_not_before(sea: Sea) -> None:
    title = pledged(sea)
    sea.kit.pass_time(days=10)
    sea.expect("E_NOT_DUE", "bank-hk", "enforce_pledge", title=title)
    sea.kit.pass_time(days=1)
    sea.expect("E_ROLE", "shipper", "enforce_pledge", title=title)
    sea.expect("E_NOT_PLEDGEE", "bank-gz", "enforce_pledge", title=title)
    sea.ok("bank-hk", "enforce_pledge", title=title)
    assert sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    sea.ok("bank-hk", "surrender_title", title=title, purpose="DELIVERY")


def test_a_pledge_that_nobody_enforced_is_over_thirty_days_after_its_maturity(sea: Sea) -> None:
    title = pledged(sea)
    sea.kit.pass_time(days=40)
    sea.expect("E_LOCKED", "shipper", "transfer_title", title=title, to="buyer")
    sea.kit.pass_time(days=1)
    assert sea.kit.query("pledged", {"party": "bank-hk"}) == ((), None)
    sea.expect("E_NOT_PLEDGEE", "bank-hk", "enforce_pledge", title=title)
    sea.ok("shipper", "transfer_title", title=title, to="buyer")


def test_only_the_holder_who_has_the_right_pledges_a_negotiable_bill_to_a_bank_until_a_day_to_come(sea: Sea) -> None:
    title = sea.issued()
    args = {"title": title, "pledgee": "bank-hk", "matures": sea.day(10)}
    sea.expect("E_NOT_HOLDER", "buyer", "pledge_title", **args)
    sea.expect("E_PARTY_ROLE", "shipper", "pledge_title", **args | {"pledgee": "buyer"})
    sea.expect("E_MATURITY", "shipper", "pledge_title", **args | {"matures": sea.day(-1)})
    sea.expect("E_DATE", "shipper", "pledge_title", **args | {"matures": "2026-02-30"})
    for far in (sea.day(336), "9999-12-31"):
        sea.expect("E_MATURITY", "shipper", "pledge_title", **args | {"matures": far})
    sea.ok("shipper", "transfer_title", title=title, to="forwarder")
    sea.expect("E_NOT_ENDORSEE", "forwarder", "pledge_title", **args)
    straight = sea.issued("HKG-2", sea.straight())
    sea.expect("E_STRAIGHT", "shipper", "pledge_title", **args | {"title": straight})
    sea.expect("E_STRAIGHT", "shipper", "endorse_title", title=straight, kind="ENDORSE", to="bank-hk")


def test_a_pledge_runs_to_the_last_day_that_the_kernels_lock_allows(sea: Sea) -> None:
    title = pledged(sea, days=335)
    sea.kit.pass_time(days=365)
    sea.expect("E_LOCKED", "shipper", "transfer_title", title=title, to="buyer")


def test_a_nomination_does_not_get_past_a_pledge(sea: Sea) -> None:
    title = pledged(sea)
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="bank-hk")
    sea.ok("bank-hk", "nominate_endorsee", title=title, nominee="buyer")
    sea.expect("E_LOCKED", "shipper", "confirm_nomination", title=title, nominee="buyer")


def test_the_bank_that_has_a_title_cannot_pledge_it_to_itself(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="bank-hk", hand_over_to="bank-hk")
    sea.expect("E_SELF", "bank-hk", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(1))
    sea.ok("bank-hk", "pledge_title", title=title, pledgee="bank-gz", matures=sea.day(1))


# -- courts -----------------------------------------------------------------------------------------------------------


def test_a_frozen_title_moves_in_no_way_until_the_court_lifts_the_freeze(sea: Sea) -> None:
    title = pledged(sea, days=1)
    order = {"module": "title", "asset": title, "order": "HCMP 1/2025"}
    until_ms = sea.kit.time_ms + 90 * 86_400_000
    receipt = sea.kit.run("judge", "freeze_asset", order | {"reason": "claim", "until_ms": until_ms}, module="kernel")
    assert receipt.code == 0
    sea.kit.pass_time(days=2)
    frozen = "E_ASSET_FROZEN"
    sea.expect(frozen, "bank-hk", "release_pledge", title=title)
    sea.expect(frozen, "bank-hk", "enforce_pledge", title=title)
    sea.expect(frozen, "shipper", "transfer_title", title=title, to="bank-hk")
    assert sea.kit.run("judge", "lift_freeze", order, module="kernel").code == 0
    sea.ok("bank-hk", "enforce_pledge", title=title)


def test_a_freeze_stops_the_carriers_answer_too(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")
    until_ms = sea.kit.time_ms + 86_400_000
    args = {"module": "title", "asset": title, "order": "X", "reason": "claim", "until_ms": until_ms}
    assert sea.kit.run("judge", "freeze_asset", args, module="kernel").code == 0
    sea.expect("E_ASSET_FROZEN", "liner", "accept_surrender", title=title)
    sea.expect("E_ASSET_FROZEN", "liner", "reject_surrender", title=title, why="?")


def test_a_freeze_stops_a_new_version_from_an_amendment_and_from_paper(sea: Sea) -> None:
    paper, amended = sea.on_paper("HKG-1"), sea.issued("HKG-2")
    sea.ok("shipper", "surrender_title", title=amended, purpose="AMENDMENT")
    sea.ok("liner", "accept_surrender", title=amended)
    again = {"bill": sea.bill(), "checksum": DOCUMENT, "document": sea.document()}
    calls = [(paper, "restore_title", again | {"paper": "P-1", "to": "buyer"}), (amended, "reissue_title", again)]
    for title, command, more in calls:
        order = {"module": "title", "asset": title, "order": "X", "reason": "claim"}
        until_ms = sea.kit.time_ms + 86_400_000
        assert sea.kit.run("judge", "freeze_asset", order | {"until_ms": until_ms}, module="kernel").code == 0
        sea.expect("E_ASSET_FROZEN", "liner", command, title=title, **more)


def test_a_court_that_ends_the_lock_ends_the_pledge(sea: Sea) -> None:
    title = pledged(sea)
    order = {"module": "title", "asset": title, "order": "HCMP 2/2025"}
    assert sea.kit.run("judge", "order_release", order, module="kernel").code == 0
    sea.expect("E_NOT_PLEDGEE", "bank-hk", "release_pledge", title=title)
    sea.ok("shipper", "transfer_title", title=title, to="buyer")
    assert sea.get(title).pledge.pledgee == ""


# -- other modules ----------------------------------------------------------------------------------------------------


def use(sea: Sea, who: str, function: str, title: str, reason: str = "", **more: Any) -> None:
    """What another module asks, with the reason of the refusal when there is one."""
    call = sea.expect if reason else sea.ok
    first = (reason,) if reason else ()
    call(*first, who, "use", module="credit", function=function, title=title, **more)


def test_a_title_bound_to_a_credit_moves_only_when_the_credit_passes_it_on(sea: Sea) -> None:
    title = sea.issued()
    use(sea, "buyer", "bind", title, "E_NOT_HOLDER")
    use(sea, "shipper", "bind", title)
    use(sea, "shipper", "bind", title, "E_LOCKED", process="LC-2")
    use(sea, "shipper", "bind", title, "E_LOCKED")
    for command, args in MOVES:
        sea.expect("E_LOCKED", "shipper", command, title=title, **args)
    use(sea, "buyer", "pass_on", title, "E_NOT_LOCKED", process="LC-2", to="bank-hk")
    use(sea, "buyer", "pass_on", title, "E_PARTY_ROLE", to="port")
    use(sea, "bank-hk", "pass_on", title, to="bank-hk")
    assert sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    assert [(entry.action, entry.on_behalf_of) for entry in sea.history(title)[1:]] == [
        ("ENDORSE_TO_ORDER", "shipper"),
        ("TRANSFER", "shipper"),
    ]
    sea.ok("bank-hk", "transfer_title", title=title, to="buyer")


def test_a_credit_that_comes_to_nothing_unbinds_the_title(sea: Sea) -> None:
    title = sea.issued()
    use(sea, "shipper", "bind", title)
    use(sea, "shipper", "unbind", title, "E_NOT_LOCKED", process="LC-2")
    use(sea, "shipper", "unbind", title)
    sea.ok("shipper", "transfer_title", title=title, to="forwarder")
    use(sea, "forwarder", "bind", title, "E_NOT_ENDORSEE")


def test_a_credit_does_not_take_a_pledged_title_nor_the_lock_of_the_pledge(sea: Sea) -> None:
    title = pledged(sea)
    use(sea, "shipper", "bind", title, "E_LOCKED")
    use(sea, "shipper", "unbind", title, "E_NOT_LOCKED", process="bank-hk")
    assert sea.kit.get(Lock, b"title\x00" + title.encode()) is not None


# -- paper ------------------------------------------------------------------------------------------------------------


def test_h_paper_kills_the_electronic_record_and_the_original_brings_a_new_one(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="SWTP")
    for paper in ("", "-1", "no 1", "１"):
        sea.expect("E_PAPER_NUMBER", "liner", "accept_surrender", title=title, paper=paper)
    sea.ok("liner", "accept_surrender", title=title, paper="P-1")
    found = sea.get(title)
    assert (found.state, found.medium, found.holder, found.paper) == ("VOIDED", "PAPER", "", "P-1")
    for command, args in MOVES:
        sea.expect("E_PAPER", "shipper", command, title=title, **args)
    back = {"title": title, "paper": "P-1", "to": "buyer", "bill": sea.bill(), "checksum": DOCUMENT}
    sea.expect("E_PAPER_NUMBER", "liner", "restore_title", **back | {"paper": "P-2"}, document=sea.document())
    sea.expect("E_NOT_CARRIER", "other-liner", "restore_title", **back, document=sea.document())
    sea.ok("liner", "restore_title", **back, document=sea.document())
    second = f"{CARRIER}/HKG-1.2"
    assert sea.control(second) == ("ISSUED", "buyer", "buyer")
    sea.ok("buyer", "surrender_title", title=second, purpose="DELIVERY")
    sea.ok("liner", "accept_surrender", title=second)


def test_a_paper_number_stands_only_where_paper_begins(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")
    sea.expect("E_PAPER_NUMBER", "liner", "accept_surrender", title=title, paper="P-1")
    sea.ok("liner", "reject_surrender", title=title, why="?")
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="SWTP")
    sea.ok("liner", "reject_surrender", title=title, why="no blank forms left")
    assert (sea.get(title).reason, sea.get(title).requester) == ("", "")
    sea.ok("shipper", "transfer_title", title=title, to="buyer")
    args = {"title": title, "paper": "", "to": "buyer", "bill": sea.bill(), "checksum": DOCUMENT}
    sea.expect("E_STATE", "liner", "restore_title", **args, document=sea.document())


def test_a_straight_original_comes_back_for_its_shipper_or_consignee_only(sea: Sea) -> None:
    title = sea.issued(bill=sea.straight())
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="SWTP")
    sea.ok("liner", "accept_surrender", title=title, paper="P-1")
    back = {"title": title, "paper": "P-1", "bill": sea.straight(), "checksum": DOCUMENT}
    sea.expect("E_STRAIGHT", "liner", "restore_title", **back, to="buyer-2", document=sea.document())
    sea.ok("liner", "restore_title", **back, to="shipper", document=sea.document())
    assert sea.control(f"{title}.2") == ("ISSUED", "shipper", "buyer")
