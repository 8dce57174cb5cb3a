"""Each invariant of the kernel about payments and bonds sees what it is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import Money, replace
from dawan_node.modules.kernel.declaration import CashReference, Freeze, Lock
from dawan_node.modules.kernel.freezes import FREEZE_MS_MAX
from dawan_node.modules.kernel.locks import LOCK_MS_MAX
from tests.modules.kernel_kit import Kernel


def _sound() -> Kernel:
    """Two payments, one lock, one order that a court lifted in the block that recorded it."""
    kernel = Kernel()
    until_ms = kernel.kit.time_ms + 10_000_000
    for number in (1, 2):
        kernel.ok(kernel.call("settle", "use_cash", asset="A", reference=f"Ref {number}"))
    kernel.ok(kernel.call("anna", "lock", asset="A", owner="loan", until_ms=until_ms))
    order = {"asset": "B", "order": "HCA 1"}
    freeze = kernel.command("judge", "freeze_asset", reason="fraud", until_ms=until_ms, **order)
    receipts = kernel.kit.block(freeze, kernel.command("judge", "lift_freeze", **order))
    assert [receipt.code for receipt in receipts] == [0, 0]
    return kernel


def one(kernel: Kernel, kind: type[Any]) -> Any:
    return kernel.kit.entities(kind)[0]


VIOLATIONS: list[tuple[str, Callable[[Kernel], Entity]]] = [
    ("one_payment_one_reference", lambda k: replace(one(k, CashReference), reference="Ref 2")),
    ("one_payment_one_reference", lambda k: replace(one(k, CashReference), reference="ｒｅｆ2")),
    ("one_payment_one_reference", lambda k: replace(one(k, CashReference), reference="ref2", bank="BKCHCNBJ300")),
    ("one_payment_one_reference", lambda k: replace(one(k, CashReference), amount=Money("CNY", 0))),
    ("one_payment_one_reference", lambda k: replace(one(k, CashReference), attested_by="anna")),
    ("what_binds_ends", lambda k: replace(one(k, Lock), until_ms=one(k, Lock).since_ms + LOCK_MS_MAX + 1)),
    ("what_binds_ends", lambda k: replace(one(k, Lock), until_ms=one(k, Lock).since_ms)),
    ("what_binds_ends", lambda k: replace(one(k, Freeze), until_ms=one(k, Freeze).since_ms + FREEZE_MS_MAX + 1)),
    ("what_binds_ends", lambda k: replace(one(k, Freeze), until_ms=one(k, Freeze).since_ms - 1)),
]


@pytest.mark.parametrize(("name", "corrupt"), VIOLATIONS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(VIOLATIONS)])
def test_an_invariant_sees_what_it_is_for(name: str, corrupt: Callable[[Kernel], Entity]) -> None:
    kernel = _sound()
    kernel.kit.check_invariants()
    entity = corrupt(kernel)
    # In its place: the index that names it goes on to.
    place = one(kernel, type(entity)).primary_key()
    kernel.kit.state.values["kernel", entity.spec.collection, place] = encode_entity(entity)
    with pytest.raises(AssertionError, match=rf"kernel\.{name}"):
        kernel.kit.check_invariants()
