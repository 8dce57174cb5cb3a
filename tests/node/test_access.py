"""The access matrix against the real executor and a real channel: every cell of both tables, and what has no rule.

The cells of JSON-RPC are tried in ``tests/rpc/test_access.py``.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import pytest
from msgspec import inspect as types

from dawan_node.errors import InvalidMessage
from dawan_node.execution.channel import ORG_ADMIN, REPLAY_COLLECTION, VALIDATOR
from dawan_node.execution.module import Args, Context, Module
from dawan_node.execution.registry import Registry, installed_modules, load_module
from dawan_node.node import topics as rules
from dawan_node.node.access import NO_IDENTITY, OTHER_ROLE, Cell, commands, matrix, topics
from dawan_node.node.topics import TOPIC_RULES, Standing, Treatment, treatment
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.gossip import FetchTx, IHave
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.codes import Code
from dawan_node.sync import LightRequest
from dawan_node.testing.module_kit import ModuleKit, key_of_person, private_key_of
from tests.modules.channels_kit import copy_of
from tests.node.channel_cluster import Cluster, memory_folder, simulate, until

MODULES = installed_modules()
COMMANDS = commands(MODULES)
TOPICS = topics()
SIZE = "; ".join(f"{table.name} {len(table.rows)} rows {table.cells} cells" for table in matrix(MODULES))


def person(subject: str) -> str:
    return "a-" + subject.replace("_", "-").replace(" ", "-")


def roles(subject: str) -> list[str]:
    return ["clerk"] if subject in (OTHER_ROLE, NO_IDENTITY) else [subject]


# -- transactions ----------------------------------------------------------------------------------------------------


def sample(kind: types.Type) -> Any:
    """The smallest value a type takes, as the ledger has it."""
    match kind:
        case types.BoolType():
            return False
        case types.IntType():
            return max(kind.ge or 0, 0)
        case types.StrType(pattern=str(pattern)):
            spellings = ("2025-12-01", "+08:00", "{urn:x}a", "1", "a.a", "aaaa")
            return next(text for text in spellings if re.search(pattern, text))
        case types.StrType():
            return "a" * (kind.min_length or 1)
        case types.BytesType():
            return bytes(kind.min_length or 0)
        case types.LiteralType():
            return kind.values[0]
        case types.EnumType():
            return next(iter(kind.cls)).value
        case types.DictType():
            return {sample(kind.key_type): sample(kind.value_type)}
        case types.ListType() | types.VarTupleType() | types.CollectionType():
            return [sample(kind.item_type)] * max(1, kind.min_length or 0)
        case types.TupleType():
            return [sample(item) for item in kind.item_types]
        case types.UnionType():
            return sample(next(each for each in kind.types if not isinstance(each, types.NoneType)))
        case types.StructType() if kind.array_like:
            return [sample(each.type) for each in kind.fields]
        case types.StructType():
            return {each.encode_name: sample(each.type) for each in kind.fields if each.required}
        case types.Metadata():
            return sample(kind.type)
    raise AssertionError(f"no sample for {kind}")


@functools.cache
def args_of(name: str) -> Any:
    """Arguments that admission takes, so that nothing but the sender decides."""
    module, command = name.split(".")
    found = Registry(MODULES).command(module, command)
    assert found is not None
    args = sample(types.type_info(found[1].args))
    Registry(MODULES).check_command(module, command, args)
    return args


def touched(kit: ModuleKit) -> set[tuple[str, str]]:
    """What the last block changed, beside the record of used nonces that every block writes."""
    changes = kit.blocks[-1].changes
    state = {(module, collection) for module, collection, _ in changes.state if collection != REPLAY_COLLECTION}
    return state | {(each[0], each[1]) for each in changes.indexes if each[1] != REPLAY_COLLECTION}


@functools.cache
def _everybody() -> ModuleKit:
    """A channel with one person for each subject, of whom the one without an identity has had one."""
    kit = ModuleKit(MODULES, {person(each): ("gz", roles(each)) for each in COMMANDS.subjects if each != VALIDATOR})
    kit.use_key(person(VALIDATOR), private_key_of("validator gz1").public_key)
    assert kit.run("gz-admin", "revoke", {"name": person(NO_IDENTITY)}, module="governance").code == 0
    return kit


# A test for each row and not for each cell: there are thousands of cells, and a test of its own takes longer than one.
@pytest.mark.parametrize("command", [row.object for row in COMMANDS.rows])
def test_every_cell_of_a_row_of_the_matrix_is_what_the_executor_does(command: str) -> None:
    module, name = command.split(".")
    row, args = next(row for row in COMMANDS.rows if row.object == command), args_of(command)
    for subject, cell in row.cells.items():
        senders = (person(subject), "nobody-knows-me") if subject == NO_IDENTITY else (person(subject),)
        for sender in senders:
            kit = copy_of(_everybody())
            receipt = kit.run(sender, name, args, module=module)
            if cell is Cell.YES:
                assert receipt.code in (0, Code.E_MODULE), f"{subject} does not come as far as the command itself"
                continue
            code = Code.E_IDENTITY if subject == NO_IDENTITY else Code.E_ROLE
            expected = (Cell.NO_KEY if subject == NO_IDENTITY else Cell.NO_ROLE, code, code.name)
            assert (cell, receipt.code, receipt.reason) == expected, subject
            assert touched(kit) == set() and receipt.events == [], subject


@pytest.mark.parametrize("table", [COMMANDS], ids=[SIZE])
def test_every_command_has_a_cell_for_every_role_of_the_catalogue(table: Any) -> None:
    declared = {f"{module.name}.{name}": command for module in MODULES for name, command in module.commands.items()}
    assert [row.object for row in table.rows] == list(declared)
    wanted = {role for command in declared.values() for role in command.roles} | {ORG_ADMIN}
    assert set(table.subjects) == wanted | {OTHER_ROLE, NO_IDENTITY}
    assert table.cells == len(declared) * len(table.subjects)
    assert all(tuple(row.cells) == table.subjects for row in table.rows)


def test_people_of_a_suspended_organisation_send_nothing_whatever_their_roles() -> None:
    kit = ModuleKit(MODULES, {"everything": ("sz", COMMANDS.subjects[:-2])})
    assert kit.run("everything", "tick", module="governance").code == 0
    proposal = {"id": "away", "org": "sz", "status": "suspended"}
    assert kit.run("gz-admin", "propose_org_status", proposal, module="governance").code == 0
    for org in ("gz", "hk", "mo"):
        kit.run(f"{org}-admin", "vote", {"proposal": "away", "approve": True}, module="governance")
    assert kit.run("gz-admin", "enact", {"proposal": "away"}, module="governance").code == 0
    for row in COMMANDS.rows:
        module, name = row.object.split(".")
        assert kit.run("everything", name, args_of(row.object), module=module).code == Code.E_IDENTITY
        assert touched(kit) == set()


def test_a_person_whose_role_is_called_validator_is_none() -> None:
    """A genesis may give people any role; this one belongs to the keys that vote."""
    kit = ModuleKit(MODULES, {"impostor": ("gz", [VALIDATOR])})
    args = args_of("governance.record_evidence")
    assert kit.run("impostor", "record_evidence", args, module="governance").code == Code.E_ROLE
    assert kit.run("impostor", "tick", module="governance").code == 0


def test_whoever_has_several_roles_may_do_what_any_of_them_may() -> None:
    kit = ModuleKit(MODULES, {"both": ("gz", ["bank", "buyer"])})
    for command in ("confirm_invoice", "reject_financing"):
        assert kit.run("both", command, args_of(f"receivable.{command}"), module="receivable").code == Code.E_MODULE
    assert kit.run("both", "fund_financing", args_of("receivable.fund_financing"), module="receivable").code == 2


def test_barrier_commands_say_so() -> None:
    assert [row.object for row in COMMANDS.rows if row.note] == ["governance.enact"]


class Nothing(Args):
    """No arguments."""


def test_a_command_cannot_be_declared_without_saying_who_may_send_it_and_a_new_one_stands_in_the_matrix() -> None:
    module = Module("toy", version=1, entities=())
    with pytest.raises(TypeError, match="roles"):
        module.command("leak", args=Nothing)  # type: ignore[call-arg]

    @module.command("leak", args=Nothing, roles=("insider",))
    def leak(ctx: Context, args: Nothing) -> None:
        """Declared with a role nobody has heard of."""

    table = commands([load_module("governance", 1), module])
    assert table.rows[-1].object == "toy.leak" and "insider" in table.subjects
    assert table.rows[-1].cells["insider"] is Cell.YES and table.rows[-1].cells[ORG_ADMIN] is Cell.NO_ROLE
    assert len(table.rows) * len(table.subjects) == table.cells


# -- peers -----------------------------------------------------------------------------------------------------------


@dataclass
class RecordingLinks:
    """In place of the network: what the channel sends, and to whom."""

    sent: list[tuple[str, Topic]] = field(default_factory=list)

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        self.sent.append((peer_name, topic))
        return True

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        return ()

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        return ()

    def round_trip_ms(self, peer_name: str) -> int | None:
        return None

    def report_violation(self, peer_name: str, why: str) -> None:
        raise AssertionError(f"{peer_name} is accused: {why}")


@pytest.fixture
def folder() -> Iterator[Path]:
    logger = logging.getLogger("dawan_node")
    logger.propagate = False
    with memory_folder() as made:
        yield made
    logger.propagate = True


def peer_of(cluster: Cluster, standing: Standing) -> PeerId:
    match standing:
        case Standing.VALIDATOR:
            return cluster.nodes["hk1"].peer
        case Standing.OBSERVER:
            return cluster.nodes["gz8"].peer
        case Standing.OUTSIDER:
            return PeerId("sz1", "sz", Role.OBSERVER, key_of_person("sz1"))
        case Standing.STRANGER:
            return PeerId("zz1", "zz", Role.VALIDATOR, private_key_of("zz1").public_key)


PAYLOADS = {
    Topic.FETCH: FetchTx(1, [b"\x01" * 32]).encode(),
    Topic.SYNC: LightRequest(1, 1, 1).encode(),
    Topic.GOSSIP: IHave([b"\x02" * 32]).encode(),  # answered by asking for what was announced
    Topic.CONTROL: b"",
}


@pytest.mark.parametrize("standing", Standing, ids=str)
@pytest.mark.parametrize("topic", Topic, ids=lambda topic: topic.name)
def test_a_cell_of_the_matrix_is_what_the_channel_does(folder: Path, topic: Topic, standing: Standing) -> None:
    cell = next(row for row in TOPICS.rows if row.object == topic.name).cells[standing.value]
    heard: list[bytes] = []
    carried: list[bytes] = []

    async def scenario(cluster: Cluster) -> None:
        carry = cluster.carry

        def listening(sender: str, receiver: str, on: Topic, payload: bytes) -> bool:
            if on is Topic.CONSENSUS and (sender, receiver) == ("hk1", "gz1"):
                carried.append(payload)
            return carry(sender, receiver, on, payload)

        cluster.carry = listening  # type: ignore[method-assign]
        await cluster.commit("gz1")
        await cluster.settle()
        channel, peer, links = cluster.nodes["gz1"].channel, peer_of(cluster, standing), RecordingLinks()
        payload = carried[0] if topic is Topic.CONSENSUS else PAYLOADS[topic]
        with (
            mock.patch.object(channel, "_links", links),
            mock.patch.object(channel._syncing, "_links", links),
            mock.patch.object(channel._spreading, "_links", links),
            mock.patch.object(channel.driver, "message", lambda message, index: heard.append(payload)),
        ):
            if cell is Cell.CLOSED:
                # A stranger fails in the handshake (tests/p2p); a channel that met one would take it for an outsider.
                seen = Standing.OUTSIDER if standing is Standing.STRANGER else standing
                with pytest.raises(InvalidMessage, match=f"{seen.value} {peer.name} of {peer.org} may not send"):
                    channel.on_message(peer, topic, payload)
            else:
                channel.on_message(peer, topic, payload)
            # At once: others go on talking to the node.
            assert heard == ([payload] if cell is Cell.SENDS else [])
            if cell is Cell.ANSWERED:
                await until(lambda: (peer.name, topic) in links.sent, 5.0, "an answer")
            else:
                await asyncio.sleep(1.0)  # of virtual time
                assert peer.name not in [name for name, _ in links.sent]

    simulate(folder, 83, scenario, observers=1)


def test_every_topic_has_a_rule_and_one_without_takes_nothing_from_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(TOPIC_RULES) == set(Topic)
    assert [row.object for row in TOPICS.rows] == [topic.name for topic in Topic]
    assert all(set(row.cells) == {standing.value for standing in Standing} for row in TOPICS.rows)
    without = {topic: rule for topic, rule in TOPIC_RULES.items() if topic is not Topic.SYNC}
    monkeypatch.setattr(rules, "TOPIC_RULES", MappingProxyType(without))
    assert {treatment(Topic.SYNC, standing) for standing in Standing} == {Treatment.REFUSED}


def test_a_suspended_organisations_observer_is_an_outsider_and_its_validator_still_votes(folder: Path) -> None:
    async def scenario(cluster: Cluster) -> None:
        channel = cluster.nodes["mo1"].channel
        channel.admission.active_orgs -= {"gz"}
        with pytest.raises(InvalidMessage, match="outsider gz8 of gz may not send GOSSIP"):
            channel.on_message(cluster.nodes["gz8"].peer, Topic.GOSSIP, PAYLOADS[Topic.GOSSIP])
        channel.on_message(cluster.nodes["gz1"].peer, Topic.GOSSIP, PAYLOADS[Topic.GOSSIP])

    simulate(folder, 89, scenario, observers=1)
