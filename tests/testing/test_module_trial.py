"""``module test`` has teeth: what differs between processes or nodes is found, and named."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawan_node.execution.module import (
    ANY_ROLE,
    Args,
    Context,
    Entity,
    Event,
    Module,
    QueryContext,
    ShortText,
    key_of,
)
from dawan_node.execution.registry import Registry, load_module
from dawan_node.testing import module_cluster
from dawan_node.testing.module_cluster import ClusterReport, play_all
from dawan_node.testing.module_kit import ModuleKit
from dawan_node.testing.module_recording import Recorder, Recording, read
from dawan_node.testing.module_trial import first_difference
from dawan_node.testing.simulator.campaign import silence
from dawan_node.testing.simulator.world import Violation
from tests.execution.toy import MODULES, PEOPLE


class Slip(Entity, collection="slip", schema=1):
    name: str
    number: int

    indexes = {"by_name": lambda slip: [(slip.name,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Write(Args):
    name: ShortText


class Listed(Event):
    names: list[str]


def slips(counter: Iterator[int]) -> Module:
    """A module that counts in memory what belongs in the state."""
    module = Module("slips", version=1, entities=(Slip,), events=(Listed,))

    @module.command("write", args=Write, roles=ANY_ROLE)
    def write(ctx: Context, args: Write) -> None:
        """Write a slip."""
        ctx.put(Slip(args.name, next(counter)))

    @module.command("list_names", args=Write, roles=ANY_ROLE)
    def list_names(ctx: Context, args: Write) -> None:
        """Tell names that stand in a set."""
        names = {f"{args.name}{number}" for number in range(50)}
        ctx.emit(Listed(names=names))  # type: ignore[arg-type]

    @module.invariant("few")
    def few(ctx: QueryContext) -> list[str]:
        return ["too many"] if len(list(ctx.iterate(Slip, "by_name"))) > 3 else []

    return module


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr(ModuleKit, "witness", found.watch)
    return found


def recorded(recorder: Recorder, tmp_path: Path) -> list[Recording]:
    recorder.write(tmp_path / "recording")
    return read(tmp_path / "recording")


def play(recordings: list[Recording], registry: Registry, monkeypatch: pytest.MonkeyPatch) -> ClusterReport:
    monkeypatch.setattr(module_cluster, "registry_of", lambda recording: registry)
    with silence():
        return play_all(recordings, 100)


def test_four_nodes_decide_what_a_kit_executed(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = ModuleKit(MODULES, PEOPLE)
    for number in range(4):
        kit.block(*[kit.call(who, "deposit", {"number": "1", "amount": ["CNY", 5]}) for who in ("anna", "ben")])
        kit.pass_time(days=number)
    kit.run("anna", "behave", {"how": "raise"}, module="poison")
    kit.run("anna", "deposit", {"number": 5})  # a node turns this away before it is in a block
    recordings = recorded(recorder, tmp_path)
    report = play(recordings, kit.executor.registry, monkeypatch)
    assert (report.recordings, report.blocks, report.transactions, report.left_out) == (1, 6, 9, 0)


def test_a_module_that_keeps_state_outside_the_channel_is_found_on_four_nodes(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = itertools.count()
    kit = ModuleKit([slips(counter)], PEOPLE)
    kit.run("anna", "write", {"name": "a"})
    recordings = recorded(recorder, tmp_path)
    with pytest.raises(Violation):
        play(recordings, Registry([load_module("governance", 1), slips(counter)]), monkeypatch)


def test_an_invariant_that_the_order_of_the_network_breaks_is_found(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = ModuleKit([slips(itertools.repeat(1))], PEOPLE)
    for name in "abc":
        kit.run("anna", "write", {"name": name})
    kit.run("anna", "list_names", {"name": "d"})
    recordings = recorded(recorder, tmp_path)
    registry = kit.executor.registry
    play(recordings, registry, monkeypatch)
    strict = Registry([registry.modules["governance"], slips(itertools.repeat(1))])
    strict.modules["slips"].invariants["few"] = lambda ctx: ["one"] if list(ctx.iterate(Slip, "by_name")) else []
    with pytest.raises(Violation, match=r"slips\.few: one"):
        play(recordings, strict, monkeypatch)


def test_a_block_that_came_out_differently_is_named_with_its_test_and_commands(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.test = "tests/test_slips.py::test_it"
    kit = ModuleKit([slips(itertools.count())], PEOPLE)
    kit.run("anna", "write", {"name": "a"})
    kit.run("anna", "list_names", {"name": "b"})
    recordings = recorded(recorder, tmp_path)
    same = [f"0 {at} {block.result.hash.hex()} {block.result.hash.hex()}" for at, block in enumerate(kit.blocks, 1)]
    assert first_difference(recordings, same) == ""
    other = [same[0], f"0 2 {kit.blocks[1].result.hash.hex()} {bytes(32).hex()}"]
    assert first_difference(recordings, other) == (
        "tests/test_slips.py::test_it: block 2 (slips.list_names) came out differently"
    )


def test_a_set_in_an_event_is_told_in_one_order_everywhere() -> None:
    kit = ModuleKit([slips(itertools.count())], PEOPLE)
    receipt = kit.run("anna", "list_names", {"name": "n"})
    assert receipt.events == [("Listed", {"names": sorted(f"n{number}" for number in range(50))})]
