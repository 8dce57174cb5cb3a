"""The watch over invariants finds what a check of everything finds, and runs again only what can have changed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from dawan_node.execution.module import Args, Context, Entity, Module, QueryContext, key_of, replace
from dawan_node.testing import module_kit
from dawan_node.testing.invariant_watch import InvariantWatch, _Check
from dawan_node.testing.module_kit import ModuleKit


class Box(Entity, collection="box", schema=1):
    room: str
    name: str
    weight: int

    indexes = {"by_room": lambda box: [(box.room, box.name)] if box.room else []}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Put(Args):
    room: str
    name: str
    weight: int


class Take(Args):
    name: str


shed = Module("shed", version=1, entities=(Box,), errors={"E_NO_BOX": "There is none."})
#: How often each invariant ran.
runs: list[str] = []


@shed.command("put", args=Put, roles=())
def put(ctx: Context, args: Put) -> None:
    """Put a box, or what it weighs now, into a room."""
    found = ctx.get(Box, key_of(args.name)) or Box(args.room, args.name, 0)
    ctx.put(replace(found, room=args.room, weight=args.weight))


@shed.command("take", args=Take, roles=())
def take(ctx: Context, args: Take) -> None:
    """Take a box away."""
    ctx.require(ctx.delete(Box, key_of(args.name)), "E_NO_BOX")


@shed.invariant("cellar_is_light")
def cellar_is_light(ctx: QueryContext) -> Iterator[str]:
    """Reads one part of an index."""
    runs.append("cellar")
    weight = sum(box.weight for box in ctx.iterate(Box, "by_room", ("cellar",)))
    if weight > 10:
        yield f"{weight} in the cellar"


@shed.invariant("no_bomb")
def no_bomb(ctx: QueryContext) -> Iterator[str]:
    """Reads one record, which is not there."""
    runs.append("bomb")
    if ctx.get(Box, key_of("bomb")) is not None:
        yield "a bomb"


@shed.invariant("opened_by_noon")
def opened_by_noon(ctx: QueryContext) -> Iterator[str]:
    """Reads nothing but the time."""
    runs.append("noon")
    if ctx.business_date > "2025-11-28":
        yield "closed"


@shed.invariant("counted")
def counted(ctx: QueryContext) -> Iterator[str]:
    """Reads all, and finds something if there are many."""
    runs.append("all")
    boxes = list(ctx.iterate(Box, "by_room"))
    if len(boxes) == 4:
        yield f"{len(boxes)} boxes, {sum(box.weight for box in boxes)} heavy"


def watched() -> ModuleKit:
    kit = ModuleKit([shed], {"anna": ("gz", ["keeper"])})
    kit.run("anna", "put", {"room": "attic", "name": "first", "weight": 1})
    kit.check_what_changes()
    return kit


def test_what_a_block_breaks_is_found_after_it() -> None:
    for args, found in (
        ({"room": "cellar", "name": "safe", "weight": 11}, "shed.cellar_is_light: 11 in the cellar"),
        ({"room": "", "name": "bomb", "weight": 1}, "shed.no_bomb: a bomb"),
    ):
        with pytest.raises(AssertionError, match=found):
            watched().run("anna", "put", args)
    kit = watched()
    kit.run("anna", "put", {"room": "cellar", "name": "sack", "weight": 9})
    with pytest.raises(AssertionError, match="12 in the cellar"):
        kit.run("anna", "put", {"room": "cellar", "name": "sack", "weight": 12})
    kit = watched()
    kit.pass_time(days=4)
    with pytest.raises(AssertionError, match="closed"):
        kit.run("anna", "take", {"name": "nothing"})


def test_only_what_can_have_changed_runs_again() -> None:
    kit = watched()
    for args, again in (
        ({"room": "attic", "name": "chair", "weight": 1}, ["noon", "all"]),
        ({"room": "cellar", "name": "chair", "weight": 1}, ["cellar", "noon", "all"]),
        ({"room": "cellar", "name": "chair", "weight": 2}, ["cellar", "noon", "all"]),
        ({"room": "", "name": "key", "weight": 1}, ["noon"]),
    ):
        runs.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module_kit, "FULL_CHECK_ONE_OF", 2**32)
            kit.run("anna", "put", args)
        assert runs == again, args


def test_it_finds_what_a_check_of_everything_finds_on_every_copy() -> None:
    random = Random(5)
    kit = ModuleKit([shed], {"anna": ("gz", ["keeper"])})
    kit._check_after = lambda execution: None  # type: ignore[method-assign]
    pairs = [(kit, InvariantWatch(kit.executor, kit.state))]
    different = set()
    for step in range(400):
        if step % 80 == 79:
            kit, watch = random.choice(pairs)
            other = kit.copy()
            pairs.append((other, watch.copy(other.state)))
        kit, watch = random.choice(pairs)
        name = random.choice(("a", "b", "c", "d", "bomb"))
        if random.random() < 0.3:
            kit.run("anna", "take", {"name": name})
        else:
            room = random.choice(("cellar", "cellar", "attic", ""))
            kit.run("anna", "put", {"room": room, "name": name, "weight": random.randrange(8)})
        height, time_ms = kit.height, kit.time_ms
        found = watch.violations(kit.blocks[-1].changes, height=height, time_ms=time_ms)
        assert found == kit.executor.violations(kit.state, height=height, time_ms=time_ms)
        assert list(watch.records.every(Box)) == kit.entities(Box)
        different.add(tuple(found))
    assert len(different) > 20


def test_a_watch_that_misses_something_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Check, "may_differ_by", lambda self, touched: False)
    heavy = {"room": "cellar", "name": "safe", "weight": 11}
    kit = watched()
    monkeypatch.setattr(module_kit, "FULL_CHECK_ONE_OF", 2**32)
    kit.run("anna", "put", heavy)
    with pytest.raises(AssertionError, match="11 in the cellar"):
        kit.check_invariants()
    kit = watched()
    monkeypatch.setattr(module_kit, "FULL_CHECK_ONE_OF", 1)
    with pytest.raises(AssertionError, match="11 in the cellar"):
        kit.run("anna", "put", heavy)
