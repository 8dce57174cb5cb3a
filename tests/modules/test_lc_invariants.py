"""Each invariant sees the violation it is for: a sound channel passes, one changed record does not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import Money, add_days, replace
from dawan_node.modules.kernel.declaration import CashReference
from dawan_node.modules.lc import module
from dawan_node.modules.lc.entities import (
    Amendment,
    Credit,
    CreditState,
    ObligationState,
    PaymentObligation,
    Presentation,
    PresentationState,
    Reimbursement,
    ReimbursementState,
)
from tests.modules.lc_kit import AMOUNT, Desk, usd


@functools.cache
def _sound() -> Desk:
    """LC-1: a part and an accepted amendment; LC-2: paid and claimed; LC-3: refused; one obligation."""
    desk = Desk()
    first = desk.credit(number="LC-1", transferable=True)
    desk.ok("bank-cn", "amend_credit", credit=first, delta_minor=5)
    desk.ok("seller-a", "answer_amendment", credit=first, number=1, answer="ACCEPT")
    desk.transfer(first, "seller-b", 10)
    second = desk.credit(number="LC-2")
    desk.pay(desk.honoured(second, 60))
    desk.ok("bank-hk", "claim_reimbursement", presentation=f"{second}#1")
    desk.present(second, 5)
    desk.refuse(desk.present(desk.credit(number="LC-3"), 70))
    due = {"beneficiary": "seller-a", "amount": usd(9), "due_date": desk.today}
    desk.ok("buyer-a", "undertake_payment", number="PO", **due)
    return desk


def first(desk: Desk) -> Credit:
    return desk.get_credit("buyer-a/LC-1")


def second(desk: Desk) -> Credit:
    return desk.get_credit("buyer-a/LC-2")


def paid(desk: Desk) -> Presentation:
    return desk.get("buyer-a/LC-2#1")


def open_one(desk: Desk) -> Presentation:
    return desk.get("buyer-a/LC-2#2")


def refused(desk: Desk) -> Presentation:
    return desk.get("buyer-a/LC-3#1")


def claim(desk: Desk) -> Reimbursement:
    return desk.get_claim("buyer-a/LC-2#1")


def obligation(desk: Desk) -> PaymentObligation:
    return desk.get_obligation("buyer-a/obligation/PO")


def amendment(desk: Desk) -> Amendment:
    found = desk.kit.get(Amendment, next(key[2] for key in desk.kit.state.values if key[:2] == ("lc", "amendment")))
    assert found is not None
    return found


def payment(desk: Desk) -> CashReference:
    (found,) = desk.kit.entities(CashReference)
    return found


def smaller(credit: Credit) -> Any:
    return replace(credit.terms, amount=replace(credit.terms.amount, minor=64))


VIOLATIONS: list[tuple[str, Callable[[Desk], Entity]]] = [
    ("drawings", lambda d: replace(second(d), drawn_minor=61)),
    ("drawings", lambda d: replace(second(d), reserved_minor=0)),
    ("drawings", lambda d: replace(second(d), owed=1)),
    ("drawings", lambda d: replace(second(d), terms=smaller(second(d)), original_minor=64)),
    ("drawings", lambda d: replace(second(d), state=CreditState.EXPIRED)),
    ("drawings", lambda d: replace(first(d), state=CreditState.PARTLY_DRAWN)),
    ("transfers_conserve", lambda d: replace(first(d), transferred_minor=9)),
    ("transfers_conserve", lambda d: replace(first(d), transferred_limit_minor=9)),
    ("transfers_conserve", lambda d: replace(second(d), transferred_minor=1)),
    ("undertakings", lambda d: replace(first(d), original_minor=AMOUNT + 5)),
    ("undertakings", lambda d: replace(first(d), version=1)),
    ("undertakings", lambda d: replace(first(d), confirmation=(first(d).terms,))),
    ("undertakings", lambda d: replace(amendment(d), answers=amendment(d).answers * 2)),
    ("undertakings", lambda d: replace(amendment(d), delta_minor=6)),
    ("one_notice_in_time", lambda d: replace(refused(d), findings=())),
    ("one_notice_in_time", lambda d: replace(refused(d), deadline=add_days(d.today, -1))),
    ("one_notice_in_time", lambda d: replace(paid(d), findings=("x",), refused_ms=1)),
    ("one_notice_in_time", lambda d: replace(open_one(d), state=PresentationState.PRECLUDED)),
    ("one_notice_in_time", lambda d: replace(claim(d), refused_ms=d.kit.time_ms, deadline=add_days(d.today, -1))),
    ("one_bill_one_presentation", lambda d: replace(open_one(d), ebls=paid(d).ebls)),
    ("one_bill_one_presentation", lambda d: replace(open_one(d), ebls=(bytes(32),))),
    ("paid_once", lambda d: replace(paid(d), state=PresentationState.HONOURED)),
    ("paid_once", lambda d: replace(claim(d), state=ReimbursementState.PAID)),
    ("paid_once", lambda d: replace(claim(d), amount=replace(claim(d).amount, minor=61))),
    ("paid_once", lambda d: replace(obligation(d), state=ObligationState.PAID)),
    ("paid_once", lambda d: replace(obligation(d), state=ObligationState.CONDITIONAL)),
    ("paid_once", lambda d: replace(payment(d), payer="bank-cn")),
    ("paid_once", lambda d: replace(payment(d), payee="seller-b")),
    ("paid_once", lambda d: replace(payment(d), amount=Money("JPY", payment(d).amount.minor))),
    # The bank that paid is of that organisation.
    ("paid_once", lambda d: replace(payment(d), attested_by="seller-a")),
    ("paid_once", lambda d: replace(payment(d), attested_by="nobody")),
]


@pytest.mark.parametrize(("name", "corrupt"), VIOLATIONS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(VIOLATIONS)])
def test_an_invariant_sees_what_it_is_for(name: str, corrupt: Callable[[Desk], Entity]) -> None:
    desk = _sound().copy()
    desk.kit.check_invariants()
    entity = corrupt(desk)
    desk.kit.state.values[entity.spec.module, entity.spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=rf"lc\.{name}"):
        desk.kit.check_invariants()


def test_every_invariant_is_among_them() -> None:
    # Titles take another channel or a register: test_lc_titles, test_lc_handovers.
    titles = {"titles_follow_documents", "titles_follow_claims"}
    assert {name for name, _ in VIOLATIONS} | titles == set(module.invariants)
