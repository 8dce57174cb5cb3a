"""Who has the right to the goods follows from the chain alone, and nobody disposed of a title without it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import replace
from dawan_node.modules.title import endorsements, locks, pledges, surrenders
from tests.modules.title_kit import DOCUMENT, Sea

SEEN = r"title\.right_follows_endorsements"


@pytest.fixture
def sea() -> Sea:
    return Sea()


def to_order(sea: Sea, title: str) -> None:
    """With possession, in one transaction."""
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="buyer")


def refused(sea: Sea, title: str) -> None:
    to_order(sea, title)
    sea.ok("buyer", "reject_transfer", title=title)


def in_blank(sea: Sea, title: str) -> None:
    sea.ok("shipper", "endorse_title", title=title, kind="BLANK_ENDORSE", hand_over_to="forwarder")


def nominated(sea: Sea, title: str) -> None:
    sea.ok("shipper", "transfer_title", title=title, to="forwarder")
    sea.ok("shipper", "nominate_endorsee", title=title, nominee="buyer")
    sea.ok("forwarder", "confirm_nomination", title=title, nominee="buyer")


def pledged(sea: Sea, title: str) -> None:
    sea.ok("shipper", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(1))


def released(sea: Sea, title: str) -> None:
    pledged(sea, title)
    endorse = {"kind": "ENDORSE_TO_ORDER", "to": "bank-hk", "hand_over_to": "bank-hk"}
    sea.ok("shipper", "endorse_title", title=title, **endorse)
    sea.ok("bank-hk", "release_pledge", title=title)


def enforced(sea: Sea, title: str) -> None:
    pledged(sea, title)
    sea.kit.pass_time(days=2)
    sea.ok("bank-hk", "enforce_pledge", title=title)


def passed_on(sea: Sea, title: str) -> None:
    sea.ok("shipper", "use", module="credit", function="bind", title=title)
    sea.ok("bank-gz", "use", module="credit", function="pass_on", title=title, to="bank-gz")


def amended(sea: Sea, title: str) -> None:
    sea.ok("shipper", "endorse_title", title=title, kind="BLANK_ENDORSE")
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    sea.ok("liner", "accept_surrender", title=title)
    again = {"bill": sea.bill(), "checksum": DOCUMENT, "document": sea.document()}
    sea.ok("liner", "reissue_title", title=title, **again)


@pytest.mark.parametrize(
    ("story", "holder", "right"),
    [
        (to_order, "buyer", "buyer"),
        (refused, "shipper", "shipper"),
        (in_blank, "forwarder", ""),
        (nominated, "forwarder", "buyer"),
        (pledged, "shipper", "shipper"),
        (released, "shipper", "shipper"),
        (enforced, "bank-hk", "bank-hk"),
        (passed_on, "bank-gz", "bank-gz"),
        (amended, "shipper", ""),
    ],
)
def test_the_right_is_where_the_chain_says_and_the_invariant_sees_a_record_that_has_it_elsewhere(
    sea: Sea, story: Callable[[Sea, str], None], holder: str, right: str
) -> None:
    title = sea.issued()
    story(sea, title)
    title = sea.get(title).replaced_by or title
    found = sea.get(title)
    assert (found.holder, found.endorsee) == (holder, right)
    wrong = replace(found, endorsee="bank-mo" if right else "buyer")
    sea.kit.state.values["title", "title", title.encode()] = encode_entity(wrong)
    with pytest.raises(AssertionError, match=SEEN):
        sea.kit.check_invariants()


@pytest.mark.parametrize(
    ("rules", "command", "module", "args"),
    [
        (endorsements, "endorse_title", "", {"kind": "ENDORSE_TO_ORDER", "to": "buyer-2"}),
        (endorsements, "endorse_title", "", {"kind": "BLANK_ENDORSE"}),
        (surrenders, "surrender_title", "", {"purpose": "DELIVERY"}),
        (surrenders, "surrender_title", "", {"purpose": "AMENDMENT", "reason": "COD"}),
        (pledges, "pledge_title", "", {"pledgee": "bank-hk", "matures": "2025-12-01"}),
        (locks, "use", "credit", {"function": "bind"}),
    ],
)
def test_an_act_of_a_holder_without_the_right_is_refused_and_where_the_rule_fails_the_invariant_sees_it(
    sea: Sea, monkeypatch: pytest.MonkeyPatch, rules: ModuleType, command: str, module: str, args: dict[str, Any]
) -> None:
    title = sea.issued(bill=sea.bill(consignee="buyer"))
    sea.expect("E_NOT_ENDORSEE", "shipper", command, module=module, title=title, **args)
    monkeypatch.setattr(rules, "has_right", lambda title, name: True)
    with pytest.raises(AssertionError, match=SEEN):
        sea.ok("shipper", command, module=module, title=title, **args)
        # A lock alone disposes of nothing; what is bound then passes on.
        sea.ok("bank-hk", command, module=module, title=title, function="pass_on", to="bank-hk")
