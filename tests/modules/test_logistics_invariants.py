"""The invariants see goods that left without their bill or without customs, and a duty that nobody paid."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import Money, key_of, replace
from dawan_node.modules.kernel.declaration import CashReference
from dawan_node.modules.logistics.entities import Declaration, Delivery
from dawan_node.modules.title.entities import Title
from tests.modules.logistics_kit import DOCUMENT, Channel
from tests.modules.logistics_walks import begin


def delivered() -> Channel:
    """A bill surrendered here, duty paid on another consignment, the goods handed over."""
    channel = begin(4)
    duty = {"jurisdiction": "MO", "number": "MO-7", "bank": "BNULMOMX", "reference": "D-1", "payer": "clinic"}
    duty |= {"payee": "customs-mo", "amount": ["MOP", 50], "value_date": "2025-11-25"}
    channel.ok("bank", "pay_duty", **duty)
    channel.ok("clinic", "deliver", **channel.delivery())
    return channel


def title(channel: Channel) -> Title:
    found = channel.kit.get(Title, key_of(DOCUMENT))
    assert found is not None
    return found


def declaration(channel: Channel, number: str) -> Declaration:
    found = channel.kit.get(Declaration, key_of("MO", number))
    assert found is not None
    return found


def delivery(channel: Channel) -> Delivery:
    (found,) = channel.kit.entities(Delivery)
    return found


def payment(channel: Channel) -> CashReference:
    (found,) = channel.kit.entities(CashReference)
    return found


VIOLATIONS: list[tuple[str, Callable[[Channel], Entity]]] = [
    ("its bill not surrendered", lambda c: replace(title(c), state="ISSUED")),
    ("its bill not surrendered", lambda c: replace(title(c), state="PENDING_SURRENDER_FOR_DELIVERY")),
    ("was not released in MO", lambda c: replace(declaration(c, "mo1"), released_ms=0)),
    ("was not released in MO", lambda c: replace(declaration(c, "mo1"), regime="EXPORT")),
    ("was not released in MO", lambda c: replace(delivery(c), recorded_ms=1)),
    ("due and paid", lambda c: replace(payment(c), amount=Money("MOP", 49))),
    ("due and paid", lambda c: replace(payment(c), amount=Money("CNY", 50))),
    ("due and not paid", lambda c: replace(declaration(c, "mo7"), paid=False)),
]


@pytest.mark.parametrize(("finding", "corrupt"), VIOLATIONS, ids=[str(i) for i in range(len(VIOLATIONS))])
def test_the_invariants_see_what_should_not_have_left_or_was_not_paid(
    finding: str, corrupt: Callable[[Channel], Entity]
) -> None:
    channel = delivered()
    channel.kit.check_invariants()
    entity = corrupt(channel)
    channel.kit.state.values[entity.spec.module, entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=rf"logistics\.[a-z_]+: .*{finding}"):
        channel.kit.check_invariants()


def test_what_happens_after_a_delivery_takes_nothing_from_it() -> None:
    channel = begin(4)
    channel.ok("broker", "draft_declaration", **channel.declaration("MO-9"))
    channel.ok("clinic", "deliver", **channel.delivery())
    channel.ok("broker", "lodge_declaration", jurisdiction="MO", number="MO-9")
    channel.ok("customs-mo", "close_declaration", jurisdiction="MO", number="MO-1")
    channel.kit.check_invariants()
