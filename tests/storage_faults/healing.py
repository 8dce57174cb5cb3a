"""A damaged node is started again beside a peer that has the ledger whole, as often as it stops, and must become equal.

Everything is the node's own: what ``Node`` does with a home at its start (``Memory`` for the log, ``open_ledger`` for
the database, a complete scan when the last run was in doubt), and catch-up with all its messages between two channels.
Only the sockets between the two are left out. The chain of these tests has one validator, which is the node in
question; so the rule that a lone validator has nobody to fetch from is lifted here, and the other node, which has a
good copy of the ledger and signs nothing, says how far the chain is in that validator's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from unittest import mock

from dawan_node.errors import OperatorError, StorageError
from dawan_node.node import restore
from dawan_node.node.channel import Channel
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.data_directory import Belonging
from dawan_node.node.fail_stop import FailStop, doubt_is_over, end, first_of, is_in_doubt
from dawan_node.node.home import Home
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.memory import Memory
from dawan_node.node.metrics import Metrics
from dawan_node.node.signer import ChannelSigner, NodeSigner
from dawan_node.node.verifier import Mode, Verifier
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.storage import leveldb
from tests.node.ledger import START_MS
from tests.storage_faults import chain, life
from tests.storage_faults.forks import copy
from tests.storage_faults.reopening import Told, lost_votes, wrong_blocks, wrong_state

#: A node that stops for its disk is started again by its service manager; one that is still not well after so many
#: starts needs an operator, which healing must not.
STARTS = 3
#: Forty blocks take a tenth of a second; whoever takes so long gets nowhere.
CAUGHT_UP_S = 30.0

HELPER = "gz8"


class Line:
    """``channel.Links`` of one end of a line between two nodes of this process."""

    def __init__(self, own: PeerId, trouble: list[str]) -> None:
        self._own = own
        self._trouble = trouble
        self.other: tuple[PeerId, Channel] | None = None

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        if self.other is None:
            return False
        asyncio.get_running_loop().call_soon(self.other[1].on_message, self._own, topic, payload)
        return True

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        there = [peer.name for peer in self.connected(chain_id)]
        return tuple(
            name for name in there if names is None or name in names if self.send(name, chain_id, topic, payload)
        )

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        return () if self.other is None else (self.other[0],)

    def round_trip_ms(self, peer_name: str) -> int | None:
        return None

    def report_violation(self, peer_name: str, why: str) -> None:
        self._trouble.append(f"{self._own.name} accuses {peer_name}: {why}")


def healed(home: Path, good: Path, told: Told) -> list[str]:
    """Start the node on ``home`` until it has what ``good`` has; what is not as it must be."""
    leveldb.WRITE_BUFFER_BYTES = life.WRITE_BUFFER_BYTES
    helping = home.with_name("helper")
    copy(good, helping)
    stopped: list[StorageError] = []
    with mock.patch.object(restore, "_require_peers", lambda *_: None):
        while len(stopped) < STARTS:
            broken: list[str] = []
            try:
                asyncio.run(_one_start(home, helping, told, broken))
            except* StorageError as group:  # exit code 74: what the service manager starts again
                stopped.append(first_of(group))
                end(stopped[-1], home / "data")
            except* OperatorError as group:  # exit code 1: nobody starts it again
                broken.append(f"it does not start: {first_of(group)}")
            else:
                return broken
            if broken:
                return broken
    return [f"it stopped at each of {STARTS} starts: {stopped[-1].reason.value}, {stopped[-1]}"]


async def _one_start(home: Path, helping: Path, told: Told, broken: list[str]) -> None:
    # It signs nothing; it stands for the validators that a node in a larger set would hear of the height from.
    helper_id = PeerId(HELPER, "gz", Role.VALIDATOR, chain.validator_key().public_key)
    own_id = PeerId(chain.NODE_NAME, "gz", Role.VALIDATOR, chain.validator_key().public_key)
    lines = Line(own_id, broken), Line(helper_id, broken)
    async with _helper(helping, lines[1]) as helper, _node(home, lines[0]) as (parts, node):
        lines[0].other, lines[1].other = (helper_id, helper), (own_id, node)
        node.on_peer_up(helper_id)
        helper.on_peer_up(own_id)
        with suppress(TimeoutError):  # then its head differs
            async with asyncio.timeout(CAUGHT_UP_S):
                while node.head.height < helper.head.height and not broken:
                    await asyncio.sleep(0.002)
        broken += _differences(parts, node, helper, told)


def _differences(parts: ChannelParts, node: Channel, helper: Channel, told: Told) -> list[str]:
    height = helper.head.height
    if height < max(told.decided):
        return ["the good copy is not good"]
    if (node.head.height, node.head.block_hash) != (height, helper.head.block_hash):
        return [f"its head is {node.head.height}, and the other's {height}"]
    wrong = [*wrong_blocks(parts, range(1, height + 1)), *wrong_state(parts, height)]
    # A log that was damaged makes the node observe, for ever with this key; otherwise it must remember every vote.
    return [*wrong, *(lost_votes(parts, told.sent) if isinstance(parts.signer, ChannelSigner) else [])]


@contextmanager
def _home(home: Path) -> Iterator[tuple[ChannelParts, Memory]]:
    """What ``Node`` does with a home before anything runs."""
    own, genesis, key = Home(home), chain.genesis(), NodeSigner(chain.validator_key())
    expected = Belonging(genesis.network, chain.NODE_NAME, key.public_key, {genesis.channel: genesis.chain_id})
    memory = Memory(own, "gz", None, expected)
    try:
        records = None if memory.wal is None else memory.wal.records()
        ledger = restore.open_ledger(
            genesis, own.database(genesis.channel), life.HISTORY_BLOCKS, records, in_doubt=is_in_doubt(own.data)
        )
        doubt_is_over(own.data)
        memory.compare(genesis.chain_id, ledger.store.head.height, votes=True)
        yield restore.restore_ledger(ledger, records, key if memory.may_sign else None, START_MS), memory
    except BaseException:
        memory.close()
        raise


@asynccontextmanager
async def _node(home: Path, line: Line) -> AsyncIterator[tuple[ChannelParts, Channel]]:
    with _home(home) as (parts, memory):
        log_writer = None if memory.wal is None else LogWriter(memory.wal)
        async with _running(parts, chain.NODE_NAME, Role.VALIDATOR, log_writer, line) as channel:
            yield parts, channel


@asynccontextmanager
async def _helper(home: Path, line: Line) -> AsyncIterator[Channel]:
    parts = restore.open_channel(
        chain.genesis(), life.database_of(home), life.HISTORY_BLOCKS, None, None, START_MS
    )  # fmt: skip
    async with _running(parts, HELPER, Role.OBSERVER, None, line) as channel:
        yield channel


@asynccontextmanager
async def _running(
    parts: ChannelParts, name: str, role: Role, log_writer: LogWriter | None, line: Line
) -> AsyncIterator[Channel]:
    verifier, fail_stop = Verifier(Mode.INLINE), FailStop()
    channel = Channel(parts, name, role, verifier, log_writer, line, life.StandingClock(), Metrics())
    works = [fail_stop.run(), fail_stop.watch(channel.run())]
    if log_writer is not None:
        log_writer.add_channel(channel.checkpoint)
        works.append(fail_stop.watch(log_writer.run()))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
            await asyncio.sleep(0)  # they have begun, and so will end, whatever happens here
            yield channel
            for task in tasks:
                task.cancel()
    finally:
        await verifier.close()
        channel.close()
        if log_writer is not None:
            log_writer.close()
