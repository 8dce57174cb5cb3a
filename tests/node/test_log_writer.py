"""One hand writes the log: groups share a sync, a failure stops everybody, and a new segment loses nothing."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dawan_node.errors import StorageError
from dawan_node.node.log_writer import LogWriter
from dawan_node.storage.wal import Wal, WalRecord
from dawan_node.testing.simulated_disk import SimulatedDisk

FOLDER = Path("/log")
TRADE, TITLE = bytes([1]) * 32, bytes([2]) * 32
PATIENCE_S = 20.0


class Disk(SimulatedDisk):
    """A simulated disk whose syncs wait at a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.at_gate = threading.Event()

    def sync_data(self, descriptor: int) -> None:
        self.at_gate.set()
        assert self.gate.wait(PATIENCE_S)
        super().sync_data(descriptor)


def record(number: int, channel: bytes = TRADE, size: int = 20) -> WalRecord:
    return WalRecord(channel, 1, number.to_bytes(4, "big") + bytes(size))


def stored(disk: SimulatedDisk) -> list[WalRecord]:
    """What a restart would read now, were the power cut off."""
    wal = Wal.open(FOLDER, files=disk.crash(random.Random(1)))
    return [read for read in wal.records() if read.kind < 200]


@pytest.fixture
def disk() -> Disk:
    disk = Disk()
    disk.make_directory(FOLDER)
    Wal.create(FOLDER, disk)
    return disk


def run(disk: Disk, scenario: Callable[[LogWriter], Awaitable[None]], segment_bytes: int = 1 << 20) -> None:
    async def main() -> None:
        writer = LogWriter(Wal.open(FOLDER, files=disk, segment_bytes=segment_bytes))
        task = asyncio.create_task(writer.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(writer)
        finally:
            disk.gate.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            writer.close()

    asyncio.run(main())


@contextmanager
def closed_gate(disk: Disk) -> Iterator[None]:
    disk.at_gate.clear()
    disk.gate.clear()
    yield
    disk.gate.set()


async def reached(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE_S)


def test_append_returns_only_when_the_records_are_durable(disk: Disk) -> None:
    async def scenario(writer: LogWriter) -> None:
        with closed_gate(disk):
            waiting = asyncio.create_task(writer.append([record(1), record(2)]))
            await reached(disk.at_gate)
            assert not waiting.done() and stored(disk) in ([], [record(1)], [record(1), record(2)])
        await waiting
        assert stored(disk) == [record(1), record(2)]

    run(disk, scenario)


def test_what_arrives_during_a_sync_shares_the_next_one(disk: Disk) -> None:
    async def scenario(writer: LogWriter) -> None:
        with closed_gate(disk):
            first = asyncio.create_task(writer.append([record(0)]))
            await reached(disk.at_gate)
            others = [asyncio.create_task(writer.append([record(n, TITLE if n % 2 else TRADE)])) for n in range(1, 41)]
            await asyncio.sleep(0)
            before = disk.counts["sync_data"]
        await asyncio.gather(first, *others)
        assert disk.counts["sync_data"] - before == 2, "one for the first, one for the forty behind it"
        assert stored(disk) == [record(n, TITLE if n % 2 else TRADE) for n in range(41)]

    run(disk, scenario)


def test_nothing_to_append_still_waits_for_what_was_before(disk: Disk) -> None:
    async def scenario(writer: LogWriter) -> None:
        with closed_gate(disk):
            first = asyncio.create_task(writer.append([record(1)]))
            await reached(disk.at_gate)
            second = asyncio.create_task(writer.append([]))
            await asyncio.sleep(0)
            assert not second.done()
        await asyncio.gather(first, second)

    run(disk, scenario)


@pytest.mark.parametrize("operation", ["append", "sync_data"])
def test_one_failure_of_the_disk_fails_all_who_wait_and_all_who_come_later(disk: Disk, operation: str) -> None:
    async def scenario(writer: LogWriter) -> None:
        await writer.append([record(0)])
        with closed_gate(disk):
            first = asyncio.create_task(writer.append([record(1)]))
            await reached(disk.at_gate)
            others = [asyncio.create_task(writer.append([record(n)])) for n in (2, 3)]
            await asyncio.sleep(0)
            # The next call of the kind: of the sync itself, or of the write of those behind it.
            disk.fail_at = disk.calls + (1 if operation == "sync_data" else 2)
        outcomes = await asyncio.gather(first, *others, return_exceptions=True)
        assert disk.failed_in == operation
        failed = outcomes if operation == "sync_data" else outcomes[1:]
        assert all(isinstance(outcome, StorageError) for outcome in failed), outcomes
        with pytest.raises(StorageError):
            await writer.append([record(4)])

    run(disk, scenario)
    assert record(4) not in stored(disk)


def test_a_failure_ends_the_writers_task_with_its_reason(disk: Disk) -> None:
    async def main() -> None:
        writer = LogWriter(Wal.open(FOLDER, files=disk))
        task = asyncio.create_task(writer.run())
        disk.fail_at = disk.calls + 2
        with pytest.raises(StorageError):
            await writer.append([record(1)])
        with pytest.raises(StorageError):
            await task
        writer.close()

    asyncio.run(main())


def test_a_group_that_no_thread_takes_is_a_failure_and_no_silence(disk: Disk) -> None:
    """A callback that raises is logged by the loop and forgotten, and who waited for its group would wait for ever."""

    async def scenario(writer: LogWriter) -> None:
        await writer.append([record(1)])
        writer._thread.shutdown()
        with pytest.raises(RuntimeError):
            await writer.append([record(2)])
        with pytest.raises(RuntimeError):
            await writer.append([record(3)])

    run(disk, scenario)


def test_when_the_writer_is_stopped_nobody_is_told_that_his_records_are_safe(disk: Disk) -> None:
    async def main() -> None:
        writer = LogWriter(Wal.open(FOLDER, files=disk))
        task = asyncio.create_task(writer.run())
        with closed_gate(disk):
            first = asyncio.create_task(writer.append([record(1)]))
            await reached(disk.at_gate)
            second = asyncio.create_task(writer.append([record(2)]))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for waiting in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await waiting
        writer.close()

    asyncio.run(main())


# Rolling


class Channel:
    """A channel whose state is the set of numbers it was told; its checkpoint names them all."""

    def __init__(self, chain_id: bytes) -> None:
        self.chain_id = chain_id
        self.numbers: list[int] = []
        self.asked = 0

    def checkpoint(self) -> list[WalRecord]:
        self.asked += 1
        return [WalRecord(self.chain_id, 2, b"".join(n.to_bytes(4, "big") for n in self.numbers) or b"\x00")]

    async def say(self, writer: LogWriter, number: int) -> None:
        self.numbers.append(number)
        await writer.append([record(number, self.chain_id, size=200)])


def numbers_of(records: list[WalRecord], chain_id: bytes) -> set[int]:
    found: set[int] = set()
    for read in records:
        if read.channel_id == chain_id and read.kind == 1:
            found.add(int.from_bytes(read.payload[:4], "big"))
        elif read.channel_id == chain_id and len(read.payload) > 1:
            found |= {int.from_bytes(read.payload[i : i + 4], "big") for i in range(0, len(read.payload), 4)}
    return found


def test_a_full_segment_is_followed_by_one_that_holds_the_state_of_every_channel(disk: Disk) -> None:
    channels = [Channel(TRADE), Channel(TITLE)]

    async def scenario(writer: LogWriter) -> None:
        for channel in channels:
            writer.add_channel(channel.checkpoint)
        for number in range(60):
            await channels[number % 2].say(writer, number)
            read = stored(disk)
            assert numbers_of(read, TRADE) | numbers_of(read, TITLE) == set(range(number + 1))

    run(disk, scenario, segment_bytes=4_000)
    assert all(channel.asked > 1 for channel in channels)
    assert len(disk.directories[FOLDER].names) == 1, "older segments are gone"


def test_records_that_a_checkpoint_does_not_repeat_survive_a_roll(disk: Disk) -> None:
    """A vote for a block that was decided already is in no channel's state (amendment L6), and yet it was promised to
    be on disk before it leaves."""

    async def scenario(writer: LogWriter) -> None:
        writer.add_channel(lambda: [WalRecord(TRADE, 2, b"state")])
        for number in range(40):
            await writer.append([record(number, size=200)])
            assert record(number, size=200) in stored(disk), f"record {number} is not durable"

    run(disk, scenario, segment_bytes=1_000)


def test_older_records_come_before_the_checkpoint_that_is_newer(disk: Disk) -> None:
    async def scenario(writer: LogWriter) -> None:
        writer.add_channel(lambda: [WalRecord(TRADE, 2, b"state")])
        await writer.append([record(1, size=2_000)])
        await writer.append([record(2)])
        assert [read.kind for read in stored(disk)] == [1, 2]
        assert stored(disk)[0] == record(2)

    run(disk, scenario, segment_bytes=1_000)
