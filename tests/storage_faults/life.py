"""One life of a node, from opening its disk to the last block asked of it: what the storage faults happen to.

Everything between the network and the disk is real and works as in ``node.node``: the write-ahead log with its writer
and thread, the channel with driver, replica, worker thread and LevelDB, ``restore.open_channel``. Only peers are
missing: a validator that is alone has a quorum by itself, so a block takes the whole way of a block.

Whatever a node may tell others goes to ``Witness`` at the moment it would: blocks that are acknowledged to a client,
and votes that leave. What it says must be true after any death.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from dawan_node.errors import OperatorError, StorageError
from dawan_node.execution import registry
from dawan_node.node.channel import Channel
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.fail_stop import EXIT_STORAGE, FailStop, end, first_of
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.metrics import Metrics
from dawan_node.node.restore import open_channel
from dawan_node.node.signer import NodeSigner
from dawan_node.node.verifier import Mode, Verifier
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.storage import leveldb
from dawan_node.storage.wal import Wal
from tests.node.ledger import START_MS
from tests.storage_faults import chain

#: Small, so that 200 blocks roll the log several times ...
SEGMENT_BYTES = 64 * 1024
#: ... and fill and compact tables several times.
WRITE_BUFFER_BYTES = 128 * 1024
HISTORY_BLOCKS = 50

#: A block takes milliseconds; whoever waits that long waits for something that never comes.
BLOCK_S = 30.0

#: Finding installed modules reads every package's metadata; a process that forks thousands of lives does it once.
_load_versions = cache(registry._load_versions)


def warm() -> None:
    """Look the modules up now, so that children find them known."""
    for module in chain.MODULES:
        _load_versions(module.name)


class StandingClock:
    """A wall clock that stands, so that block times follow from heights; timers have the machine's."""

    def wall_ms(self) -> int:
        return START_MS

    def monotonic_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)


class Witness:
    """Writes what the node told others to a descriptor that is not on the disk in question: a line in one write."""

    def __init__(self, descriptor: int, dies_at: int | None = None) -> None:
        """With ``dies_at`` the process dies at the very moment it has acknowledged that block."""
        self._descriptor = descriptor
        self._last_word = f"decided {dies_at} "

    def say(self, *words: object) -> None:
        line = " ".join(map(str, words)) + "\n"
        os.write(self._descriptor, line.encode())
        if line.startswith(self._last_word):
            os.kill(os.getpid(), signal.SIGKILL)


class _LastWords(logging.Handler):
    """Hears why the process stops."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness

    def emit(self, record: logging.LogRecord) -> None:
        details = getattr(record, "fields", {})
        self._witness.say("stopped", details["reason"], repr(details["error"]))


class NoPeers:
    """``channel.Links`` of a node that is alone."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        return False

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        if topic is Topic.CONSENSUS:
            self._witness.say("sent", payload.hex())
        return ()

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        return ()

    def round_trip_ms(self, peer_name: str) -> int | None:
        return None

    def report_violation(self, peer_name: str, why: str) -> None:
        raise AssertionError(f"{peer_name}: {why}")


def wal_of(home: Path) -> Path:
    return home / "data" / "wal"


def database_of(home: Path) -> Path:
    return home / "data" / chain.genesis().channel / "db"


def prepare(home: Path) -> None:
    """What ``init`` does."""
    Wal.create(wal_of(home))


Between = Callable[[ChannelParts], None]


def _nothing(parts: ChannelParts) -> None:
    pass


def live(
    home: Path,
    up_to: int | None,
    witness: Witness,
    between: Between = _nothing,
    before_end: Callable[[], None] = lambda: None,
) -> None:
    """Open everything, decide blocks until ``up_to`` is acknowledged (None: one more than there is), close. ``between``
    is called when all is open and every thread is there, ``before_end`` when the last block is acknowledged and nothing
    is closed. Ends like ``node.process.run_node``: by an exception, or exit code 74."""
    last_words, logger = _LastWords(witness), logging.getLogger("dawan_node.node.fail_stop")
    logger.addHandler(last_words)
    leveldb.WRITE_BUFFER_BYTES = WRITE_BUFFER_BYTES
    registry._load_versions = _load_versions
    try:
        asyncio.run(_live(home, up_to, witness, between, before_end))
    except* StorageError as group:
        end(first_of(group), home / "data")
        raise SystemExit(EXIT_STORAGE) from None
    except* OperatorError as group:
        witness.say("refused", repr(str(first_of(group))))
        raise SystemExit(1) from None
    finally:
        logger.removeHandler(last_words)


async def _live(
    home: Path, up_to: int | None, witness: Witness, between: Between, before_end: Callable[[], None]
) -> None:
    wal = Wal.open(wal_of(home), segment_bytes=SEGMENT_BYTES)
    log_writer = LogWriter(wal)
    try:
        parts = open_channel(
            chain.genesis(),
            database_of(home),
            HISTORY_BLOCKS,
            wal.records(),
            NodeSigner(chain.validator_key()),
            START_MS,
        )
        verifier = Verifier(Mode.INLINE)
        channel = Channel(
            parts, chain.NODE_NAME, Role.VALIDATOR, verifier, log_writer, NoPeers(witness), StandingClock(), Metrics()
        )
        log_writer.add_channel(channel.checkpoint)
        try:
            witness.say("opened", channel.head.height)
            await _start_threads(channel, log_writer)
            between(parts)
            await _drive(home, channel, log_writer, up_to, witness, before_end)
        finally:
            await verifier.close()
            channel.close()
    finally:
        log_writer.close()


async def _start_threads(channel: Channel, log_writer: LogWriter) -> None:
    """Threads come with their first job; who wants to meddle with one must find it."""
    await channel._worker.run(lambda: None)
    await asyncio.get_running_loop().run_in_executor(log_writer._thread, lambda: None)


async def _drive(
    home: Path,
    channel: Channel,
    log_writer: LogWriter,
    up_to: int | None,
    witness: Witness,
    before_end: Callable[[], None],
) -> None:
    async with asyncio.TaskGroup() as group:
        fail_stop = FailStop(home / "data")
        work = (fail_stop.run(), fail_stop.watch(channel.run()), fail_stop.watch(log_writer.run()))
        tasks = [group.create_task(each) for each in work]
        async with asyncio.timeout(BLOCK_S):
            while channel.driver.replica.height > channel.head.height:
                await asyncio.sleep(0.001)  # what the log had decided comes first
        for height in range(channel.head.height + 1, (up_to or channel.head.height + 1) + 1):
            given = chain.transaction(height)
            committed = channel.bus.wait_for(given.tx_id)
            assert committed is not None
            (verdict,) = await channel.admission.submit([given.envelope])
            assert verdict.refusal is None or channel.store.blocks.find_tx(given.tx_id), verdict.refusal
            async with asyncio.timeout(BLOCK_S):
                block = await committed
            witness.say("decided", block.receipt.height, block.block_hash.hex(), time.time())
        before_end()
        for task in tasks:
            task.cancel()
