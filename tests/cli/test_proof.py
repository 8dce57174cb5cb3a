"""``proof``: what a node of one channel prints is what the other channel's commands take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dawan_node.execution.module import key_of
from dawan_node.modules.governance import module as governance
from dawan_node.primitives.block import Header
from dawan_node.primitives.proofs import StateProof
from dawan_node.rpc.api import At, ChannelInfo, StateInfo, ValidatorInfo, ValidatorsInfo
from tests.cli.node_in_reach import CommandLine, command_line
from tests.modules.light_client_kit import Note, Pair
from tests.rpc.fake_node import FakeNode


@pytest.fixture
def pair() -> Pair:
    """The source: an epoch that ended, and a note."""
    pair = Pair()
    pair.note("hello")
    pair.rekey()
    pair.note("later", "m")
    return pair


@pytest.fixture
def dawan(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """A node that serves the pair's source channel, under the name the fake node has for its own."""
    blocks = {block.header.height: block for block in pair.source.blocks}

    async def validators(self: FakeNode, channel: str, at: At) -> ValidatorsInfo:
        header: Header | None = blocks[at].header if at in blocks else None
        found = pair.at_source.validators(header)
        members = tuple(
            ValidatorInfo(index, f"v{index}", "gz", suite, key) for index, (suite, key) in enumerate(found.members)
        )
        return ValidatorsInfo(header.epoch if header is not None else 0, found.hash, members)

    async def finality_proof(self: FakeNode, channel: str, at: At) -> bytes:
        assert isinstance(at, int)
        return pair.at_source.finality(at)

    async def state(self: FakeNode, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> Any:
        if module == "governance":
            ended = pair.source.get(governance.entities[collection], key)
            plain = None if ended is None else {name: getattr(ended, name) for name in ended.__struct_fields__}
            return StateInfo(pair.source.height, None, plain, None)
        return StateInfo(pair.source.height, None, None, pair.at_source.state(Note, key))

    def describe(self: FakeNode, channel: str, module: str) -> Any:
        return pair.source.executor.describe(module)

    known = FakeNode.channel

    def channel(self: FakeNode, name: str) -> ChannelInfo:
        found = known(self, name)
        return type(found)(**{f: getattr(found, f) for f in found.__dataclass_fields__} | changed)

    changed = {"chain_id": pair.source.genesis.chain_id}
    head = FakeNode.head

    async def newest(self: FakeNode, name: str) -> Any:
        found = await head(self, name)
        return type(found)(
            **{f: getattr(found, f) for f in found.__dataclass_fields__} | {"height": pair.source.height}
        )

    for name, function in (
        ("validators", validators),
        ("finality_proof", finality_proof),
        ("state", state),
        ("describe", describe),
        ("channel", channel),
        ("head", newest),
    ):
        monkeypatch.setattr(FakeNode, name, function)
    with command_line(tmp_path) as line:
        yield line


def as_args(value: Any) -> Any:
    """JSON as a transaction has it."""
    if isinstance(value, dict):
        return {name: as_args(each) for name, each in value.items() if name != "channel"}
    if isinstance(value, list):
        return [as_args(each) for each in value]
    return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else value


def test_what_the_three_commands_print_is_what_the_other_channel_takes(dawan: CommandLine, pair: Pair) -> None:
    proposal = dawan.json("proof", "source", "--module", "probe", "--module", "light_client")
    assert proposal["modules"] == ["light_client", "probe"]
    args = as_args(proposal) | {"id": "again", "source": "source"}
    assert pair.reader.run("gz-admin", "propose_client", args, module="light_client").code == 0
    ended = as_args(dawan.json("proof", "epoch", "0")) | {"source": "source"}
    assert pair.reader.run("ben", "advance_client", ended, module="light_client").code == 0
    found = dawan.json("proof", "state", "probe", "note", "n")
    assert (found["height"], found["epoch"], found["key"]) == (pair.source.height, 1, "n")
    assert found["time"].endswith("Z")
    assert StateProof.decode(as_args(found["proof"])).key == key_of("n")
    assert pair.said(as_args(found["proof"])) == ""


def test_a_later_epoch_to_begin_with_is_found_with_its_first_height(dawan: CommandLine, pair: Pair) -> None:
    proposal = dawan.json("proof", "source", "--module", "probe", "--epoch", "1")
    barrier = max(block.header.height for block in pair.source.blocks if block.header.barrier)
    assert (proposal["epoch"], proposal["first"]) == (1, barrier + 1)
    args = as_args(proposal) | {"id": "again", "source": "source"}
    assert pair.reader.run("gz-admin", "propose_client", args, module="light_client").code == 0


def test_an_epoch_that_goes_on_has_no_end_to_prove(dawan: CommandLine) -> None:
    refused = dawan("proof", "epoch", "1")
    assert refused.exit_code == 1
    assert "epoch 1 of trade has no end" in refused.stderr


def test_a_node_that_answers_nonsense_is_named(dawan: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def state(self: FakeNode, *args: Any) -> StateInfo:
        return StateInfo(7, None, None, b"\xc4\x02hi")

    monkeypatch.setattr(FakeNode, "state", state)
    refused = dawan("proof", "state", "probe", "note", "n")
    assert (refused.exit_code, "Ask another node" in refused.stderr) == (6, True)
