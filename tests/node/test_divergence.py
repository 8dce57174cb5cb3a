"""A module that computes otherwise on one node stops that node's votes, there alone, and is named (reliability H5)."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from dawan_node.consensus import Mode
from dawan_node.execution.module import ANY_ROLE, Args, Context, Entity, Module, ShortText, key_of
from dawan_node.execution.registry import Registry, load_module
from dawan_node.testing.module_cluster import ModuleScene, signed_anew
from dawan_node.testing.module_kit import ModuleKit
from dawan_node.testing.simulator.contract import seats
from dawan_node.testing.simulator.node import Liar, SimulatedNode

PEOPLE = {"anna": ("gz", ["clerk"])}


class Slip(Entity, collection="slip", schema=1):
    name: str
    number: int

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Write(Args):
    name: ShortText


def slips(numbers: Iterator[int]) -> Module:
    module = Module("slips", version=1, entities=(Slip,))

    @module.command("write", args=Write, roles=ANY_ROLE)
    def write(ctx: Context, args: Write) -> None:
        """Write a slip with a number that should come from the ledger."""
        ctx.put(Slip(args.name, next(numbers)))

    return module


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (itertools.count(5), "executed twice, module slips gave two results"),
        (itertools.repeat(2), "it comes from module slips, whose code or data here is not the quorum's"),
    ],
)
def test_the_node_stops_voting_names_the_module_and_the_others_go_on(
    numbers: Iterator[int], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    governance = load_module("governance", 1)
    alike = Registry([governance, slips(itertools.repeat(1))])
    other = Registry([governance, slips(numbers)])
    # The scene itself asks first, for the genesis; then each node in its order.
    asked = iter([alike, alike, alike, alike, other])
    kit = ModuleKit(list(alike.modules.values())[::-1], PEOPLE)
    # The checks of the simulation would not let it be called honest.
    scene = ModuleScene(
        1, 4, genesis=replace(kit.genesis, validators=seats(4)), modules=lambda: next(asked, alike), liars={3: Liar()}
    )
    with caplog.at_level(logging.ERROR):
        for number in range(4):
            written = kit.call("anna", "write", {"name": f"n{number}"})
            assert scene.offer(signed_anew(written, scene, number + 1), 0)
            assert scene.run_until(lambda: not any(map(_waits, scene.nodes[:3])), 30_000)
    assert len({(node.height, node.channel.head.block_hash) for node in scene.nodes[:3]}) == 1
    assert [node.channel.driver.replica.status().state for node in scene.nodes[:3]] == [Mode.NORMAL] * 3
    odd = scene.nodes[3].channel
    assert odd.driver.replica.status().state is Mode.QUARANTINE
    assert told in odd.driver.alarms.divergence
    named = [record for record in caplog.records if record.getMessage() == "module_diverged"]
    assert [record.fields["why"] for record in named] == [told]  # type: ignore[attr-defined]
    assert odd.head.height == 0, "nothing of a block with another result is stored"


def _waits(node: SimulatedNode) -> bool:
    return len(node.channel.pool) > 0
