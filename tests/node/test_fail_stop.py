"""A storage error ends the node, whoever meets it, and the process even when closing hangs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import plyvel
import pytest

from dawan_node.errors import StorageError, StorageReason
from dawan_node.node.fail_stop import EXIT_STORAGE, FailStop, doubt_is_over, end, is_in_doubt, next_step
from dawan_node.node.service import Service
from dawan_node.node.storage_watch import StorageWatch
from dawan_node.rpc.caller import LOCAL
from dawan_node.rpc.dispatch import Dispatcher
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.room import Room


def test_a_report_from_any_thread_ends_the_task_that_waits_for_it_and_only_the_first_counts() -> None:
    async def run() -> None:
        stop = FailStop()
        first = StorageError("first", StorageReason.READ)
        threading.Thread(target=lambda: [stop.report(each) for each in (first, StorageError("second"))]).start()
        with pytest.raises(StorageError) as raised:
            await asyncio.wait_for(stop.run(), 5)
        assert raised.value is first

    asyncio.run(run())


def test_work_that_ends_with_a_storage_error_has_it_reported_before_anything_is_closed() -> None:
    async def run() -> None:
        stop = FailStop()

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())

        async def fail() -> None:
            raise StorageError("in a task of a task", StorageReason.WRITE)

        with pytest.raises(ExceptionGroup):
            await stop.watch(work())
        assert stop.error is not None and stop.error.reason is StorageReason.WRITE

    asyncio.run(run())


HANGING = """
import asyncio, sys, threading
from pathlib import Path
from dawan_node.errors import StorageError, StorageReason
from dawan_node.node.fail_stop import FailStop

async def main():
    FailStop(Path(sys.argv[1])).report(StorageError("a disk that hangs", StorageReason.CORRUPT))
    threading.Event().wait(60)  # as a close that waits for the disk, on the loop

asyncio.run(main())
"""


def test_a_process_whose_closing_hangs_is_ended_within_a_second_with_its_reason_as_last_word(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == EXIT_STORAGE
    assert "storage_failed" in done.stderr.splitlines()[-1]
    assert is_in_doubt(tmp_path), "the next start reads everything before it believes it"


def test_only_damage_makes_the_next_start_read_everything(tmp_path: Path) -> None:
    for reason in StorageReason:
        end(StorageError("x", reason), tmp_path)
        assert is_in_doubt(tmp_path) is (reason is StorageReason.CORRUPT)
        assert next_step(StorageError("x", reason))
        doubt_is_over(tmp_path)


def test_a_read_that_fails_in_a_reading_thread_is_reported_and_not_only_answered() -> None:
    reported: list[StorageError] = []
    consortium = SimpleNamespace(network="n", document=SimpleNamespace(org=[]))
    clock = SimpleNamespace(monotonic_ms=lambda: 0)
    none = cast(Any, None)
    service = Service("a", "b", cast(Any, consortium), {}, none, cast(Any, clock), none, storage_failed=reported.append)

    def broken() -> None:
        raise StorageError("no", StorageReason.READ)

    with pytest.raises(StorageError):
        asyncio.run(service._read(broken))
    service.close()
    assert [error.reason for error in reported] == [StorageReason.READ]


def test_a_call_that_meets_a_storage_error_is_refused_and_stops_the_node() -> None:
    reported: list[StorageError] = []

    class Api:
        def status(self) -> None:
            raise StorageError("no", StorageReason.CORRUPT)

    dispatcher = Dispatcher(cast(Any, Api()), storage_failed=reported.append)
    reply = asyncio.run(dispatcher.handle(b'{"jsonrpc":"2.0","id":1,"method":"node_status"}', LOCAL))
    assert b"in doubt" in reply and [error.reason for error in reported] == [StorageReason.CORRUPT]


def test_a_full_disk_ends_the_watch_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[None] = []
    watch = StorageWatch(Room(tmp_path, 4096), lambda: notes.append(None))
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=4096, f_blocks=10**7, f_bavail=1))
    with pytest.raises(StorageError) as full:
        asyncio.run(watch.run())
    watch.close()
    assert full.value.reason is StorageReason.FULL


class Broken:
    """A database whose every call fails with ``error``."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get(self, *_: object, **__: object) -> None:
        raise self.error

    def write_batch(self, **_: object) -> None:
        raise self.error

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "read", "write"),
    [
        (plyvel.IOError("IO error: x: Input/output error"), StorageReason.READ, StorageReason.WRITE),
        (plyvel.IOError("IO error: x: No space left on device"), StorageReason.FULL, StorageReason.FULL),
        (plyvel.CorruptionError("Corruption: block checksum"), StorageReason.CORRUPT, StorageReason.CORRUPT),
    ],
)
def test_what_leveldb_says_gets_a_reason_that_stays(
    tmp_path: Path, error: Exception, read: StorageReason, write: StorageReason
) -> None:
    lock = SimpleNamespace(release=lambda: None)
    for call, reason in (("get", read), ("write", write)):
        store = LevelDBStore(tmp_path, Broken(error), cast(Any, lock))
        for _ in range(2):  # the second finds it latched, with the same reason
            with pytest.raises(StorageError) as failed:
                store.get(b"k") if call == "get" else store.write([(b"k", b"v")])
            assert failed.value.reason is reason


def test_a_table_in_another_ones_place_is_found_by_the_order_of_keys(tmp_path: Path) -> None:
    store = LevelDBStore(tmp_path, None, cast(Any, SimpleNamespace(release=lambda: None)))
    for keys, is_sound in (((b"a", b"b"), True), ((b"b", b"a"), False), ((b"a", b"a"), False)):
        store.iterate = lambda keys=keys: iter([(key, b"") for key in keys])  # type: ignore[method-assign,misc]
        if is_sound:
            store.scan()
        else:
            with pytest.raises(StorageError, match="not in order"):
                store.scan()
