"""One payment settles one thing on the channel, in whichever module (version 2): the kernel knows every reference."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.kernel.declaration import CashReference
from dawan_node.modules.lc import module as lc
from dawan_node.modules.receivable import versions
from dawan_node.modules.receivable.entities import CashReference as OwnReference
from dawan_node.modules.receivable.entities import VoucherState
from dawan_node.testing.trade import BIC, cny
from tests.modules.lc_kit import copy_of
from tests.modules.receivable_kit import MILLION, PEOPLE
from tests.modules.receivable_strict import STAFF, Strict
from tests.modules.refdata_kit import Reference

OBLIGATION = "core-1/obligation/PO-1"


@functools.cache
def seeded(version: int) -> Strict:
    """Core-1 owes supplier-a ten million by a voucher, and ten million by an undertaking."""
    reference = Reference(versions[version], lc, kernel, people={**PEOPLE, **STAFF})
    reference.seed("currency")
    desk = Strict()
    desk.__dict__["kit"] = reference.kit
    desk.due()
    owed = {"number": "PO-1", "beneficiary": "supplier-a", "amount": cny(10 * MILLION), "due_date": desk.today}
    assert desk.kit.run("core-1", "undertake_payment", owed, module="lc").code == 0
    return desk


def fresh(version: int) -> Strict:
    desk = seeded(version).copy()
    assert isinstance(desk, Strict)
    desk.__dict__["kit"] = copy_of(desk.kit)
    return desk


def settle(desk: Strict, reference: str) -> tuple[str, str, dict[str, Any]]:
    return "receivable", "settle_voucher", desk.payment("core-1/V-1", reference)


def oblige(desk: Strict, reference: str) -> tuple[str, str, dict[str, Any]]:
    cash = desk.cash("core-1", "supplier-a", cny(10 * MILLION), reference) | {"bank": "BKCHCNBJ300"}
    return "lc", "pay_obligation", {"obligation": OBLIGATION, "cash": cash}


@pytest.mark.parametrize("voucher_first", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_a_payment_that_settled_a_voucher_pays_no_obligation_and_the_other_way_round(
    version: int, voucher_first: bool
) -> None:
    desk = fresh(version)
    calls = [settle(desk, "PAY 1"), oblige(desk, "ｐａｙ-1")]
    reasons = []
    for module, command, args in calls if voucher_first else reversed(calls):
        reasons.append(desk.kit.run("settle-hq", command, args, module=module).reason)
    # The first version keeps its references to itself, as the blocks of its chains did.
    assert reasons == ["", "E_CASHREF_USED" if version == 2 else ""]
    module, command, args = settle(desk, "PAY 2") if not voucher_first else oblige(desk, "PAY 2")
    if version == 2:
        assert desk.kit.run("settle-hq", command, args, module=module).code == 0


def test_a_confirmed_receipt_is_known_to_the_kernel_and_an_announcement_is_not() -> None:
    desk = fresh(2)
    announced = desk.announced("core-1/V-1", "PAY 1")
    assert desk.kit.get(CashReference, key_of(BIC, "pay1")) is None
    desk.ok("supplier-a", "confirm_receipt", announcement=announced)
    booked = desk.kit.get(CashReference, key_of(BIC, "pay1"))
    assert booked is not None
    assert (booked.module, booked.purpose, booked.subject) == ("receivable", "settle", "core-1/V-1")
    assert (booked.payer, booked.payee, booked.attested_by) == ("core-1", "supplier-a", "settle-bank")
    assert desk.get_voucher("core-1/V-1").state == VoucherState.SETTLED
    module, command, args = oblige(desk, "PAY 1")
    assert desk.kit.run("settle-hq", command, args, module=module).reason == "E_CASHREF_USED"


def test_names_that_the_kernel_cannot_hold_are_booked_under_their_hash() -> None:
    desk = fresh(2)
    desk.kit.pass_time(days=1)
    invoice = desk.invoice("发" * 30)
    cash = desk.cash("core-1", "supplier-a", cny(10 * MILLION), "PAY 3")
    desk.ok("settle-hq", "settle_invoice", invoice=invoice, cash=cash)
    booked = desk.kit.get(CashReference, key_of(BIC, "pay3"))
    assert booked is not None and len(booked.subject) == 64
    filing = desk.filed("T-1", 500, payee="a\x00b")
    desk.ok("settle-hq", "pay_filing", filing=filing, cash=desk.cash("core-1", "a\x00b", ["USD", 1], "PAY 4"))
    assert desk.kit.get(CashReference, key_of(BIC, "pay4")) is not None


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda own, booked: replace(own, reference="pay2"),
        lambda own, booked: replace(booked, payee="supplier-b"),
        lambda own, booked: replace(booked, subject="core-1/V-2"),
        lambda own, booked: replace(booked, purpose="repay"),
        lambda own, booked: replace(booked, reference="pay2"),
    ],
)
def test_the_invariant_sees_a_payment_that_the_kernel_knows_otherwise_or_that_one_of_them_does_not_know(
    corrupt: Callable[[OwnReference, CashReference], Entity],
) -> None:
    desk = fresh(2)
    desk.ok("settle-hq", "settle_voucher", **desk.payment("core-1/V-1", "PAY 1"))
    kit = desk.kit
    own, booked = kit.get(OwnReference, key_of(BIC, "pay1")), kit.get(CashReference, key_of(BIC, "pay1"))
    assert own is not None and booked is not None
    entity = corrupt(own, booked)
    before = own if entity.spec.module == "receivable" else booked
    # In its place: the index that names it goes on to.
    kit.state.values[entity.spec.module, entity.spec.collection, before.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=r"receivable\.kernel_books_payments"):
        kit.check_invariants()
