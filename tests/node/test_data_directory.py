"""Data that is not this node's is refused before it is touched, and a log that may have forgotten is not voted with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.errors import DataRefusal, DataRefused, StorageError, StorageReason
from dawan_node.node.data_directory import Belonging, check_data
from dawan_node.node.home import Home
from dawan_node.node.memory import Memory, Silence
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.schema import SCHEMA_VERSION
from dawan_node.storage.wal import Wal, WalRecord

KEY, OTHER_KEY = bytes(32), bytes([1]) * 32
CHAIN, OTHER_CHAIN = bytes([7]) * 32, bytes([8]) * 32


def belonging(network: str = "gba", key: bytes = KEY) -> Belonging:
    return Belonging(network, "gz1", key, {"trade": CHAIN, "title": OTHER_CHAIN})


def make_database(home: Home, channel: str, chain_id: bytes) -> None:
    store = LevelDBStore.open(home.database(channel), create=True)
    store.write([(b"!schema", b"\x00\x00\x00\x01")], sync=True)
    store.mark_initialised(chain_id)
    store.close()


def start(home: Home, expected: Belonging | None = None, *, records: int = 0) -> Silence | None:
    """What one start of a node does with its directory, its log included; why the key is silent."""
    expected = expected or belonging()
    memory = Memory(home, (), check_data(home, expected), expected)
    if memory.wal is not None and records:
        memory.wal.append([WalRecord(CHAIN, 40, b"x")] * records)
    memory.close()
    memory.note()
    return memory.silence


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.data.mkdir(parents=True)
    Wal.create(home.wal)
    make_database(home, "trade", CHAIN)
    assert start(home, records=3) is None
    return home


def files(home: Home) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(home.data.rglob("*")) if path.is_file()}


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


Fault = Callable[[Home], object]

FAULTS: dict[str, tuple[DataRefusal, Fault]] = {
    "a newer mark": (DataRefusal.NEWER, lambda home: edit(home.data / "mark.json", format=2)),
    "a newer owner of the log": (DataRefusal.NEWER, lambda home: edit(home.wal / "owner.json", format=2)),
    "half a mark": (DataRefusal.HALF_COPIED, lambda home: os.truncate(home.data / "mark.json", 40)),
    "no mark": (DataRefusal.HALF_COPIED, lambda home: (home.data / "mark.json").unlink()),
    "a log without its owner": (DataRefusal.HALF_COPIED, lambda home: (home.wal / "owner.json").unlink()),
    "another log of this key": (DataRefusal.HALF_COPIED, lambda home: edit(home.wal / "owner.json", log_id="00")),
    "the log of another key": (
        DataRefusal.OTHER_NODE,
        lambda home: edit(home.wal / "owner.json", public_key=OTHER_KEY.hex()),
    ),
    "the database of another channel": (
        DataRefusal.OTHER_CHANNEL,
        lambda home: shutil.copytree(home.database("trade").parent, home.database("title").parent),
    ),
    "the database of another channel, and not all of it": (
        DataRefusal.OTHER_CHANNEL,
        lambda home: (
            shutil.copytree(home.database("trade").parent, home.database("title").parent),
            (home.database("title") / "CURRENT").unlink(),
        ),
    ),
    "a newer database": (
        DataRefusal.NEWER,
        lambda home: (
            home.database("trade")
            .with_name("db.INITIALISED")
            .write_bytes(b"dawan-node database\nschema %d\nchain %s\n" % (SCHEMA_VERSION + 1, CHAIN.hex().encode()))
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_this_nodes_is_refused_and_left_as_it_was(home: Home, fault: str) -> None:
    reason, make = FAULTS[fault]
    make(home)
    before = files(home)
    with pytest.raises(DataRefused) as refusal:
        start(home)
    assert refusal.value.reason is reason
    assert all((refusal.value.what, refusal.value.why, refusal.value.fix))
    assert files(home) == before


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        (belonging(network="other"), DataRefusal.OTHER_NETWORK),
        (belonging(key=OTHER_KEY), DataRefusal.OTHER_NODE),
    ],
)
def test_the_data_of_another_home_copied_over_is_refused(home: Home, expected: Belonging, reason: DataRefusal) -> None:
    before = files(home)
    with pytest.raises(DataRefused) as refusal:
        start(home, expected)
    assert refusal.value.reason is reason and files(home) == before


def no_current(folder: Path) -> None:
    (folder / "CURRENT").unlink()


def no_manifest(folder: Path) -> None:
    next(folder.glob("MANIFEST-*")).unlink()


def half_a_current(folder: Path) -> None:
    os.truncate(folder / "CURRENT", 9)


def no_table(folder: Path) -> None:
    for round_ in range(2):  # each opening turns LevelDB's log into a table
        store = LevelDBStore.open(folder)
        store.write([(b"k%d" % round_, bytes(100))], sync=True)
        store.close()
    next(folder.glob("*.ldb")).unlink()


LOSSES = [no_current, no_manifest, half_a_current, no_table]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_database_that_lacks_files_is_damaged_where_the_log_lies_where_it_always_lay(
    home: Home, lose: Callable[[Path], None]
) -> None:
    lose(home.database("trade"))
    assert start(home) is None, "the directory is this node's, and whole in what cannot be fetched"
    with pytest.raises(StorageError) as damaged:
        LevelDBStore.open(home.database("trade"))
    assert damaged.value.reason is StorageReason.CORRUPT


@pytest.mark.parametrize("lose", LOSSES[:3])
def test_a_copy_that_lacks_files_of_a_database_is_refused_and_left_as_it_was(
    home: Home, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.path, copy.path)
    lose(copy.database("trade"))
    before = files(copy)
    with pytest.raises(DataRefused, match="mv ") as refusal:
        start(copy)
    assert refusal.value.reason is DataRefusal.HALF_COPIED and files(copy) == before


def test_a_home_of_an_earlier_version_is_marked_at_its_first_start(tmp_path: Path) -> None:
    old = Home(tmp_path / "old")
    old.data.mkdir(parents=True)
    Wal.create(old.wal)
    assert start(old) is None and start(old) is None
    mark = json.loads((old.data / "mark.json").read_text())
    assert (mark["network"], mark["node"], mark["public_key"]) == ("gba", "gz1", KEY.hex())


def test_a_first_start_interrupted_between_its_two_marks_goes_on(tmp_path: Path) -> None:
    old = Home(tmp_path / "old")
    old.data.mkdir(parents=True)
    Wal.create(old.wal)
    start(old)
    (old.wal / "owner.json").unlink()
    edit(old.data / "mark.json", log_records=0)
    assert start(old) is None and (old.wal / "owner.json").exists()


# May the key vote?


def test_a_log_that_is_not_there_silences_until_the_same_one_is_back(home: Home) -> None:
    home.wal.rename(home.path / "elsewhere")
    assert start(home) is Silence.LOG_MISSING and start(home) is Silence.LOG_MISSING
    (home.path / "elsewhere").rename(home.wal)
    assert start(home) is None


def test_a_copy_of_a_directory_is_silent_for_ever_and_the_original_is_not(home: Home, tmp_path: Path) -> None:
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.path, copy.path)
    assert start(copy) is Silence.DATA_COPIED and start(copy, records=5) is Silence.DATA_COPIED
    assert start(home) is None


def test_a_log_put_back_from_an_older_copy_is_silent_for_ever(home: Home) -> None:
    kept = {path.name: path.read_bytes() for path in home.wal.iterdir()}
    start(home, records=4)
    for name, content in kept.items():  # in its place, so that nothing but its length tells
        (home.wal / name).write_bytes(content)
    assert start(home) is Silence.LOG_ROLLED_BACK
    assert start(home, records=50) is Silence.LOG_ROLLED_BACK


def test_a_damaged_log_is_silent_and_a_disk_that_fails_is_not_taken_for_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (segment,) = home.wal.glob("*.wal")
    content = segment.read_bytes()

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("dawan_node.storage.files.FileOperations.read", broken)
        with pytest.raises(StorageError) as failed:
            start(home)
        assert failed.value.reason is StorageReason.READ
    assert start(home) is None, "the disk gave it back"
    segment.write_bytes(b"not a log at all")
    assert start(home) is Silence.LOG_CORRUPT
    segment.write_bytes(content)
    assert start(home) is Silence.LOG_CORRUPT, "whatever is there now, the key may have signed more"


def test_a_database_ahead_of_the_log_silences_every_channel_if_the_key_votes_there(home: Home) -> None:
    for votes, silence in ((False, None), (True, Silence.LOG_BEHIND_DATABASE)):
        expected = belonging()
        memory = Memory(home, (), check_data(home, expected), expected)
        memory.compare(CHAIN, 1, votes=votes)
        assert memory.silence is silence and memory.may_sign is (silence is None)
        memory.close()
    assert start(home) is Silence.LOG_BEHIND_DATABASE
