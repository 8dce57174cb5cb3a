"""The write-ahead log as its user sees it, and its promise under every kind of trouble a disk can make."""

from __future__ import annotations

import errno
import os
import random
import stat
import threading
from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.errors import OperatorError, StorageError
from dawan_node.storage import wal_format
from dawan_node.storage.files import FileOperations
from dawan_node.storage.wal import Wal, WalMissing, WalRecord
from dawan_node.testing.simulated_disk import OPERATIONS, SimulatedDisk

HOME = Path("/simulated")
DIRECTORY = HOME / "wal"
#: Where a segment's salt stands: behind magic, version, sequence and first record number.
HEADER_SALT = 8 + 4 + 8 + 8
A, B = bytes(31) + b"A", bytes(31) + b"B"


def record(number: int, channel: bytes = A) -> WalRecord:
    return WalRecord(channel, number % 7, b"record %d " % number + bytes(number % 30))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    Wal.create(tmp_path / "wal")
    return tmp_path / "wal"


def reopened(directory: Path, files: FileOperations | None = None) -> tuple[WalRecord, ...]:
    wal = Wal.open(directory) if files is None else Wal.open(directory, files=files)
    records = wal.records()
    wal.close()
    return records


def only_segment(directory: Path) -> Path:
    (segment,) = directory.glob("*.wal")
    return segment


def test_records_of_all_channels_come_back_in_order(directory: Path) -> None:
    written = [record(number, A if number % 3 else B) for number in range(20)]
    wal = Wal.open(directory)
    assert wal.records() == ()
    for start in range(0, 20, 4):
        lsn = wal.append(written[start : start + 4])
        assert wal.sync() == lsn == wal.synced_lsn == wal.lsn
    wal.close()
    wal.close()
    assert reopened(directory) == tuple(written)
    assert reopened(directory) == tuple(written)


def test_an_empty_record_and_a_large_one_are_kept(directory: Path) -> None:
    written = [WalRecord(A, 0, b""), WalRecord(B, wal_format.RECORD_KIND_MAX, bytes(3_000_000)), WalRecord(A, 1, b"x")]
    wal = Wal.open(directory)
    wal.append(written)
    wal.close()
    assert reopened(directory) == tuple(written)


def test_a_record_that_could_not_be_read_back_is_refused_and_nothing_is_written(directory: Path) -> None:
    wal = Wal.open(directory)
    for wrong in (WalRecord(A, 240, b""), WalRecord(A, -1, b""), WalRecord(b"short", 1, b"")):
        with pytest.raises(ValueError, match="record of kind"):
            wal.append([record(1), wrong])
    wal.append([record(2)])
    wal.close()
    assert reopened(directory) == (record(2),)


def test_a_roll_replaces_all_earlier_records_by_the_checkpoint_once_it_is_synced(directory: Path) -> None:
    wal = Wal.open(directory)
    wal.append([record(1), record(2, B)])
    wal.sync()
    wal.roll([record(10), record(11, B)])
    assert len(list(directory.glob("*.wal"))) == 2
    wal.append([record(12)])
    wal.sync()
    assert only_segment(directory).name == "0000000000000002.wal"
    wal.close()
    assert reopened(directory) == (record(10), record(11, B), record(12))


def test_the_log_asks_for_a_roll_when_its_segment_is_full_and_leaves_room_after_a_large_checkpoint(
    directory: Path,
) -> None:
    wal = Wal.open(directory, segment_bytes=10_000)
    assert not wal.should_roll
    wal.append([WalRecord(A, 1, bytes(10_000))])
    assert wal.should_roll
    wal.roll([WalRecord(A, 1, bytes(30_000))])
    assert not wal.should_roll
    wal.append([WalRecord(A, 1, bytes(31_000))])
    assert wal.should_roll
    wal.close()


def test_a_log_is_never_created_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(WalMissing):
        Wal.open(tmp_path / "wal")
    (tmp_path / "wal").mkdir()
    with pytest.raises(WalMissing):
        Wal.open(tmp_path / "wal")
    assert list((tmp_path / "wal").iterdir()) == []


def test_an_existing_log_is_never_created_again(directory: Path) -> None:
    with pytest.raises(OperatorError, match="already there"):
        Wal.create(directory)


def test_a_second_opener_is_told_which_process_holds_the_log(directory: Path) -> None:
    wal = Wal.open(directory)
    with pytest.raises(OperatorError, match=rf"{directory} is already in use: process {os.getpid()} holds"):
        Wal.open(directory)
    wal.close()
    Wal.open(directory).close()


def test_everything_is_readable_by_the_owner_alone(directory: Path) -> None:
    Wal.open(directory).close()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in (only_segment(directory), directory.with_name("wal.lock")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_replayed_records_are_given_up_at_the_first_append(directory: Path) -> None:
    wal = Wal.open(directory)
    wal.append([record(1)])
    with pytest.raises(ValueError, match="given up"):
        wal.records()
    wal.close()


def test_appending_goes_on_while_another_thread_syncs(directory: Path) -> None:
    wal = Wal.open(directory, segment_bytes=20_000)
    stop, synced = threading.Event(), [0]

    def keep_syncing() -> None:
        while not stop.is_set():
            synced.append(wal.sync())

    thread = threading.Thread(target=keep_syncing)
    thread.start()
    since_checkpoint: list[WalRecord] = []
    for number in range(2_000):
        if wal.should_roll:
            since_checkpoint = since_checkpoint[-3:]
            wal.roll(since_checkpoint)
        since_checkpoint.append(record(number))
        wal.append(since_checkpoint[-1:])
    stop.set()
    thread.join()
    assert synced == sorted(synced)
    wal.close()
    assert reopened(directory) == tuple(since_checkpoint)


def synced_log(directory: Path, groups: int) -> list[WalRecord]:
    """A log of ``groups`` synced groups of two records, as a killed process leaves it (without the last marker)."""
    wal = Wal.open(directory)
    written: list[WalRecord] = []
    for group in range(groups):
        pair = [record(2 * group), record(2 * group + 1, B)]
        wal.append(pair)
        wal.sync()
        written += pair
    wal._directory_lock.release()
    return written


def boundaries(data: bytes) -> list[int]:
    """Where records end, the header counting as one."""
    ends, offset = [wal_format.HEADER_BYTES], wal_format.HEADER_BYTES
    while offset < len(data):
        offset += wal_format.FRAME_BYTES + int.from_bytes(data[offset : offset + 4], "big")
        ends.append(offset)
    return ends


def test_a_log_cut_at_any_byte_of_its_last_three_records_opens_with_exactly_the_whole_ones(directory: Path) -> None:
    written = synced_log(directory, 4)
    segment = only_segment(directory)
    data = segment.read_bytes()
    # The last group is a marker and two records; with the record before it these are the last three user records.
    start = boundaries(data)[-5]
    for size in range(start, len(data)):
        segment.write_bytes(data[:size])
        whole = sum(end <= size for end in boundaries(data)[2:])
        marks = 3 if whole > 9 else 2 if whole > 6 else 1 if whole > 3 else 0
        records = reopened(directory)
        assert records == tuple(written[: len(records)])
        assert len(records) in (whole - marks - 1, whole - marks), (size, whole)
        assert len(written) - 3 <= len(records) < len(written)


def test_after_a_torn_tail_the_log_goes_on(directory: Path) -> None:
    written = synced_log(directory, 3)
    segment = only_segment(directory)
    segment.write_bytes(segment.read_bytes()[:-1])
    wal = Wal.open(directory)
    assert wal.records() == tuple(written[:-1])
    wal.append([record(100)])
    wal.close()
    assert reopened(directory) == (*written[:-1], record(100))


def test_one_flipped_bit_anywhere_in_synced_records_is_damage_and_never_a_shorter_log(directory: Path) -> None:
    synced_log(directory, 4)
    segment = only_segment(directory)
    data = segment.read_bytes()
    # All but the last group: nothing yet says that the last one had been synced.
    last_group = boundaries(data)[-4]
    for position in range(last_group):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        segment.write_bytes(damaged)
        with pytest.raises(StorageError):
            Wal.open(directory)
        assert segment.read_bytes() == damaged, "nothing may be cut off or repaired"


def test_one_flipped_bit_anywhere_after_an_orderly_stop_is_damage(directory: Path) -> None:
    wal = Wal.open(directory)
    wal.append([record(1), record(2)])
    wal.close()
    segment = only_segment(directory)
    data = segment.read_bytes()
    for position in range(boundaries(data)[-2]):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        segment.write_bytes(damaged)
        with pytest.raises(StorageError):
            Wal.open(directory)


def test_swapped_pieces_and_a_missing_piece_are_damage(directory: Path) -> None:
    written = synced_log(directory, 6)
    segment = only_segment(directory)
    data = segment.read_bytes()
    ends = boundaries(data)
    first, second, third = data[ends[4] : ends[5]], data[ends[5] : ends[6]], data[ends[6] : ends[7]]
    for pieces in ((second, first, third), (first, third), (first, first, second, third), (first, bytes(64), third)):
        segment.write_bytes(data[: ends[4]] + b"".join(pieces) + data[ends[7] :])
        with pytest.raises(StorageError):
            Wal.open(directory)
    segment.write_bytes(data)
    assert reopened(directory) == tuple(written)


def test_what_another_segment_left_behind_is_not_read_as_part_of_this_one(directory: Path, tmp_path: Path) -> None:
    written = synced_log(directory, 2)
    other = tmp_path / "other" / "wal"
    Wal.create(other)
    synced_log(other, 4)
    segment, stale = only_segment(directory), only_segment(other).read_bytes()
    size = segment.stat().st_size
    segment.write_bytes(segment.read_bytes() + stale[size:])
    assert reopened(directory) == tuple(written)


def test_markers_smuggled_in_as_content_prove_nothing(directory: Path) -> None:
    synced_log(directory, 1)
    segment = only_segment(directory)
    data = segment.read_bytes()
    torn = data[:-5] + b"".join(wal_format.encode_synced_mark(bytes(7) + bytes((n,)), 1000) for n in range(50))
    segment.write_bytes(torn)
    assert len(reopened(directory)) == 1


@pytest.mark.parametrize("size", [0, 7, 9])
@pytest.mark.parametrize("is_behind_damage", [False, True])
def test_a_sound_marker_that_names_no_record_is_damage(directory: Path, size: int, is_behind_damage: bool) -> None:
    synced_log(directory, 1)
    segment = only_segment(directory)
    data = segment.read_bytes()
    salt = data[HEADER_SALT : HEADER_SALT + wal_format.SALT_BYTES]
    parts: list[bytes] = []
    wal_format._encode_one(parts, salt, 0, wal_format._OWN_CHANNEL, wal_format._KIND_SYNCED, bytes(size))
    segment.write_bytes(data[: -1 if is_behind_damage else None] + b"".join(parts))
    with pytest.raises(StorageError, match="marker"):
        Wal.open(directory)


def test_a_segment_of_a_newer_version_is_refused_with_advice(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = directory.with_name("newer")
    with monkeypatch.context() as patch:
        patch.setattr(wal_format, "FORMAT_VERSION", 2)
        Wal.create(other)
    with pytest.raises(OperatorError, match="newer version"):
        Wal.open(other)


def test_a_damaged_checkpoint_without_an_older_segment_is_damage(directory: Path) -> None:
    wal = Wal.open(directory)
    wal.roll([record(1), record(2)])
    wal.sync()
    wal._directory_lock.release()
    segment = only_segment(directory)
    data = segment.read_bytes()
    for size in range(len(data)):
        segment.write_bytes(data[:size])
        with pytest.raises(StorageError):
            Wal.open(directory)


def test_an_unfinished_checkpoint_gives_way_to_the_older_segment(directory: Path) -> None:
    written = synced_log(directory, 2)
    wal = Wal.open(directory)
    wal.roll([record(50), record(51)])
    wal._directory_lock.release()
    newer = directory / "0000000000000002.wal"
    data = newer.read_bytes()
    for size in range(0, len(data), 3):
        newer.write_bytes(data[:size])
        assert reopened(directory) == tuple(written)
        assert not newer.exists()
    newer.write_bytes(data)
    assert reopened(directory) == (record(50), record(51))
    assert only_segment(directory) == newer


def test_a_missing_segment_below_an_unfinished_one_is_damage(directory: Path) -> None:
    wal = Wal.open(directory)
    wal.roll([record(1)])
    wal.sync()
    wal.roll([record(2)])
    wal._directory_lock.release()
    (directory / "0000000000000002.wal").unlink()
    newest = directory / "0000000000000003.wal"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(StorageError, match="no predecessor"):
        Wal.open(directory)


# What follows runs on the simulated disk, against a model of what may be found after a crash.


class Model:
    """All that was written, in generations (one per roll), and how much of it must survive."""

    def __init__(self) -> None:
        self.generations: list[list[WalRecord]] = [[]]
        self.checkpoint_sizes = [0]
        self.synced = (0, 0)

    def written(self) -> tuple[int, int]:
        return len(self.generations) - 1, len(self.generations[-1])

    def accept(self, found: tuple[WalRecord, ...]) -> None:
        """Raise unless ``found`` may be there; go on from it."""
        for generation in range(self.synced[0], len(self.generations)):
            records = self.generations[generation]
            least = self.synced[1] if generation == self.synced[0] else self.checkpoint_sizes[generation]
            if len(found) >= least and list(found) == records[: len(found)]:
                self.generations = [*self.generations[:generation], list(found)]
                self.checkpoint_sizes = self.checkpoint_sizes[: generation + 1]
                self.synced = self.written()
                return
        raise AssertionError(f"found {found}, synced {self.synced}, written {self.generations}")


STEPS = st.lists(
    st.sampled_from(["append", "append", "append", "sync", "sync", "roll", "kill", "crash", "stop"]),
    min_size=1,
    max_size=25,
)


class Bench:
    """One log on a simulated disk, worked on step by step, with the model kept in step."""

    def __init__(self, seed: int) -> None:
        self.disk = SimulatedDisk()
        self.disk.make_directory(HOME)
        self.disk.sync_directory(HOME.parent)
        Wal.create(DIRECTORY, files=self.disk)
        self.disk.calls = 0
        self.source = random.Random(seed)
        self.model = Model()
        self.number = 0
        self.wal: Wal | None = None

    def reopen(self) -> Wal:
        self.wal = None
        self.wal = Wal.open(DIRECTORY, files=self.disk)
        self.model.accept(self.wal.records())
        return self.wal

    def run(self, steps: Iterable[str]) -> None:
        wal = self.wal or self.reopen()
        model = self.model
        for step in steps:
            if step == "append":
                group = [record(self.number + i) for i in range(self.source.randint(1, 3))]
                self.number += len(group)
                model.generations[-1] += group
                wal.append(group)
            elif step == "sync":
                written = model.written()
                wal.sync()
                model.synced = written
            elif step == "roll":
                checkpoint = [*model.generations[-1][-2:], record(self.number)]
                self.number += 1
                model.generations.append(list(checkpoint))
                model.checkpoint_sizes.append(len(checkpoint))
                wal.roll(checkpoint)
            elif step == "stop":
                written = model.written()
                wal.close()
                model.synced = written
                wal = self.reopen()
            else:
                # A killed process leaves the disk as it is, a power cut only a part of what was not synced.
                if step == "crash":
                    self.disk = self.disk.crash(self.source)
                wal = self.reopen()


@settings(max_examples=4 * settings.default.max_examples)
@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_whatever_the_power_cut_leaves_everything_synced_is_found(steps: list[str], seed: int) -> None:
    bench = Bench(seed)
    bench.disk = bench.disk.crash(bench.source)
    bench.run([*steps, "crash"])


SCRIPT = ("append", "sync", "append", "append", "sync", "roll", "append", "sync", "append", "roll", "roll", "append",
          "sync", "kill", "append", "stop", "append", "sync")  # fmt: skip


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_after_any_failing_operation_nothing_synced_is_lost(error: int) -> None:
    failed: set[str | None] = set()
    for fail_at in range(1, 1_000):
        bench = Bench(fail_at)
        bench.disk.fail_at, bench.disk.error = fail_at, error
        try:
            bench.run(SCRIPT)
        except StorageError:
            failed.add(bench.disk.failed_in)
        else:
            break
        wal = bench.wal
        if wal is not None:
            for use in (partial(wal.append, [record(1)]), wal.sync, partial(wal.roll, [])):
                with pytest.raises(StorageError):
                    use()
            wal.close()
        bench.disk.fail_at = None
        after_failure = bench.disk
        # The same trouble with and without a power cut on top, which has many ways to go.
        for seed in range(12):
            again = Bench(seed)
            again.disk = after_failure.crash(again.source) if seed else after_failure.crash(NothingLost())
            again.model = deepcopy(bench.model)
            again.number = 1_000_000
            again.run(["append", "sync", "crash"])
    else:
        raise AssertionError("the script never went through")
    assert failed == {*OPERATIONS} - {"make_directory", "rename", "truncate"}


class NothingLost(random.Random):
    """As if everything had just reached the disk before the lights went out."""

    def random(self) -> float:
        return 0.4

    def randint(self, a: int, b: int) -> int:
        return b


def test_a_removed_segment_does_not_come_back_once_the_roll_is_synced() -> None:
    for seed in range(40):
        bench = Bench(seed)
        bench.run(["append", "sync", "roll", "sync"])
        assert list(bench.disk.crash(random.Random(seed)).directories[DIRECTORY].names) == ["0000000000000002.wal"]


def test_a_created_log_survives_a_power_cut() -> None:
    for seed in range(40):
        assert reopened(DIRECTORY, Bench(seed).disk.crash(random.Random(seed))) == ()


def test_an_interrupted_creation_can_be_run_again_and_is_never_taken_for_a_log() -> None:
    for fail_at in range(1, 30):
        disk = SimulatedDisk()
        disk.make_directory(HOME)
        disk.sync_directory(HOME.parent)
        disk.calls, disk.fail_at = 0, fail_at
        try:
            Wal.create(DIRECTORY, files=disk)
        except StorageError:
            for survived in (disk, disk.crash(random.Random(fail_at))):
                survived.fail_at = None
                try:
                    Wal.open(DIRECTORY, files=survived).close()
                except WalMissing:
                    Wal.create(DIRECTORY, files=survived)
                assert reopened(DIRECTORY, survived) == ()
        else:
            return
    raise AssertionError("creation never succeeded")


def test_an_error_of_the_disk_closes_the_log_for_good(tmp_path: Path) -> None:
    for operation in ("append", "sync_data"):
        bench = Bench(1)
        wal = bench.reopen()
        wal.append([record(1)])
        bench.disk.fail_at = bench.disk.calls + (1 if operation == "append" else 2)
        with pytest.raises(StorageError, match="failed"):
            wal.append([record(2)])
            wal.sync()
        assert bench.disk.failed_in == operation
        for use in (partial(wal.append, [record(3)]), wal.sync, partial(wal.roll, [])):
            with pytest.raises(StorageError, match="refuses all use"):
                use()
        calls = bench.disk.calls
        wal.close()
        assert bench.disk.calls == calls, "nothing is written any more"
