"""Blocks in files: what is whole is taken, what is not is refused before anything is touched."""

from __future__ import annotations

import hashlib
import shutil
import struct
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from dawan_node.consensus.records import DecidedRecord, Record, RecordKind, recorded_height
from dawan_node.errors import OperatorError
from dawan_node.node.database.audit import audit
from dawan_node.node.database.blocks_file import BlocksFile, ExportedBlock
from dawan_node.node.database.finding import FileRefused
from dawan_node.node.database.opened import Opened, opened
from dawan_node.node.database.transfer import Exported, Imported, export, import_blocks
from dawan_node.node.home import Home
from dawan_node.node.memory import Silence
from dawan_node.storage.data_mark import MARK_VERSION, DataMark, read_mark, write_mark
from dawan_node.storage.wal import Wal
from dawan_node.testing.long_chain import Author, Keys, Maker, Plan
from dawan_node.testing.module_kit import private_key_of
from tests.node.database.kit import (
    CHANNEL,
    copy_of,
    grow,
    home_with,
    home_with_chain,
    keys,
    verified,
    with_another_epoch,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_with_chain(tmp_path_factory.mktemp("whole") / "home")


@pytest.fixture(scope="module")
def file(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "all.blk"
    exported(home, path)
    return path


def exported(home: Home, path: Path, first: int | None = None, last: int | None = None) -> Exported:
    with opened(home, CHANNEL) as database:
        return export(database, path, first, last)


def imported(home: Home, path: Path) -> Imported:
    return import_blocks(home, None, path, history=100)


def refused(home: Home, path: Path, code: str) -> FileRefused:
    before = content_of(home)
    with pytest.raises(FileRefused) as caught:
        imported(home, path)
    assert caught.value.code == code, caught.value
    assert caught.value.fix
    assert content_of(home) == before, "something was written although the file was refused"
    return caught.value


def content_of(home: Home) -> object:
    """All that a refused file must leave alone; LevelDB rewrites its own files whenever it is opened."""
    if not home.database(CHANNEL).exists():
        return sorted(entry.relative_to(home.path) for entry in home.data.rglob("*") if entry.name != "node.lock")
    with opened(home, CHANNEL) as database:
        return list(database.kv.iterate())


def test_an_exported_chain_is_the_same_chain_elsewhere(home: Home, file: Path, tmp_path: Path) -> None:
    other = home_with(tmp_path / "other", log=True)
    done = imported(other, file)
    assert (done.first, done.last, done.skipped, done.transactions, done.height) == (1, 12, 0, 72, 12)
    with opened(home, CHANNEL) as ours, opened(other, CHANNEL) as theirs:
        for kind in (b"b", b"r", b"c", b"e", b"p", b"t", b"s", b"i", b"n", b"x"):
            assert list(ours.kv.iterate(prefix=kind)) == list(theirs.kv.iterate(prefix=kind)), kind
        assert audit(theirs).finding is None
    with closing(Wal.open(other.wal)) as log:
        records = [Record(RecordKind(entry.kind), entry.payload) for entry in log.records()]
    assert recorded_height(records) == 12, "the database is ahead of its log: the node would lose its vote"
    assert DecidedRecord.decode(records[-1].payload).header.height == 12
    again = imported(other, file)
    assert (again.skipped, again.transactions, again.height) == (12, 0, 12)


def test_a_log_that_forgot_does_not_come_to_look_current_by_an_import(home: Home, tmp_path: Path) -> None:
    """Behind its database it tells of lost votes; told of the blocks imported, it would tell of them no more."""
    exported(home, tmp_path / "low.blk", 1, 5)
    exported(home, tmp_path / "high.blk", 6, 12)
    other = home_with(tmp_path / "other", log=True)
    imported(other, tmp_path / "low.blk")
    shutil.rmtree(other.wal)
    Wal.create(other.wal)
    assert imported(other, tmp_path / "high.blk").height == 12
    with closing(Wal.open(other.wal)) as log:
        assert log.records() == (), "its key would vote again"


@pytest.mark.parametrize("fault", ["rolled back", "copied"])
def test_an_import_keeps_for_good_what_the_mark_tells_of_the_log(
    home: Home, file: Path, tmp_path: Path, fault: str
) -> None:
    other = home_with(tmp_path / "other", log=True)
    place = other.wal.stat().st_ino
    held, at = (3, place) if fault == "rolled back" else (0, place + 1)
    write_mark(other.data, DataMark(MARK_VERSION, "net", "gz1", "aa" * 32, "ab", held, at))
    assert imported(other, file).height == 12
    with closing(Wal.open(other.wal)) as log:
        assert log.records() == ()
    mark = read_mark(other.data)
    reason = Silence.LOG_ROLLED_BACK if fault == "rolled back" else Silence.DATA_COPIED
    assert mark is not None and mark.silenced == {"aa" * 32: reason.value}


def test_a_log_that_lacks_a_vote_of_its_own_key_does_not_hear_of_the_blocks(
    home: Home, file: Path, tmp_path: Path
) -> None:
    """The home of a validator, put back as it was before it signed: the file holds what its key said since (U6)."""
    seat = keys().validators[0]
    other = home_with(tmp_path / "other", log=True, key=seat)
    write_mark(other.data, DataMark(MARK_VERSION, "net", "v", seat.public_key.hex(), "ab", 0, other.wal.stat().st_ino))
    assert imported(other, file).height == 12
    with closing(Wal.open(other.wal)) as log:
        assert log.records() == (), "its key would vote again"
    mark = read_mark(other.data)
    assert mark is not None and mark.silenced == {seat.public_key.hex(): Silence.OWN_KEY_ELSEWHERE.value}


def test_a_chain_may_come_in_parts_that_overlap(home: Home, tmp_path: Path) -> None:
    other = home_with(tmp_path / "other")
    for number, (first, last, skipped) in enumerate([(1, 5, 0), (4, 9, 2), (10, 12, 0)]):
        exported(home, tmp_path / f"{number}.blk", first, last)
        assert imported(other, tmp_path / f"{number}.blk").skipped == skipped
    found = verified(other)
    assert found.finding is None and found.height == 12


def test_a_part_that_leaves_a_gap_is_refused(home: Home, tmp_path: Path) -> None:
    exported(home, tmp_path / "late.blk", 7, 12)
    error = refused(home_with(tmp_path / "other"), tmp_path / "late.blk", "XF_GAP")
    assert "--from 1" in error.fix


def test_a_file_cut_off_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    other = home_with(tmp_path / "other")
    cut = tmp_path / "cut.blk"
    lengths = sorted({*range(0, 200, 11), *range(200, len(data), 2999), *range(len(data) - 40, len(data), 5)})
    for length in lengths:
        cut.write_bytes(data[:length])
        refused(other, cut, "XF_TRUNCATED")
    assert len(lengths) > 30


def test_a_file_with_one_byte_changed_is_refused(file: Path, tmp_path: Path) -> None:
    data = bytearray(file.read_bytes())
    other = home_with(tmp_path / "other")
    changed = tmp_path / "changed.blk"
    places = sorted({*range(0, 150, 5), *range(150, len(data), 1499), *range(len(data) - 40, len(data), 3)})
    codes = set()
    for place in places:
        data[place] ^= 0x10
        changed.write_bytes(data)
        data[place] ^= 0x10
        with pytest.raises(FileRefused) as caught:
            imported(other, changed)
        codes.add(caught.value.code)
        assert not other.database(CHANNEL).exists()
    assert codes >= {"XF_FOREIGN", "XF_VERSION", "XF_ALTERED"}
    changed.write_bytes(bytes(data) + b"\0")
    refused(other, changed, "XF_ALTERED")


def rewritten(file: Path, target: Path, change: dict[int, ExportedBlock]) -> Path:
    """The file with other blocks at some heights, and an end that covers them: what a forger would hand out."""
    with BlocksFile(file) as source:
        about = source.about.encode()
        blocks = [source.block(frame) for frame in source.frames()]
    parts = [b"DAWANBLK" + struct.pack(">I", 1)]
    for data in [about, *(change.get(block.header.height, block).encode() for block in blocks)]:
        parts.append(struct.pack(">I", len(data)) + data)
    parts.append(struct.pack(">I", 0))
    whole = b"".join(parts)
    target.write_bytes(whole + hashlib.sha256(whole).digest())
    return target


def block_of(file: Path, height: int) -> ExportedBlock:
    with BlocksFile(file) as source:
        return next(block for frame in source.frames() if (block := source.block(frame)).header.height == height)


def test_a_forger_who_makes_a_fitting_hash_is_refused_all_the_same(file: Path, tmp_path: Path) -> None:
    other = home_with(tmp_path / "other")
    assert imported(home_with(tmp_path / "same"), rewritten(file, tmp_path / "same.blk", {})).height == 12
    block = block_of(file, 6)
    replace = msgspec.structs.replace
    forgeries = {
        "time": replace(block, header=replace(block.header, timestamp_ms=block.header.timestamp_ms + 1)),
        "root": replace(block, result=replace(block.result, state_root=bytes(32))),
        "order": replace(block, envelopes=block.envelopes[::-1]),
        "body": replace(block, envelopes=block.envelopes[:-1]),
        "certificate": replace(block, certificate=block_of(file, 7).certificate),
        "nothing": replace(block, certificate=b""),
    }
    for name, forged in forgeries.items():
        error = refused(other, rewritten(file, tmp_path / f"{name}.blk", {6: forged}), "XF_UNPROVEN")
        assert "block 6" in error.why, name


def test_a_file_that_crosses_an_epoch_brings_its_validators_and_they_are_not_believed(
    home: Home, tmp_path: Path
) -> None:
    longer = copy_of(home, tmp_path / "longer")
    with_another_epoch(longer)
    path = tmp_path / "epochs.blk"
    exported(longer, path)
    other = home_with(tmp_path / "other")
    assert imported(other, path).height == 21
    assert verified(other).finding is None
    fresh = home_with(tmp_path / "fresh")
    barrier = block_of(path, 17)
    assert len(barrier.next_validators) == 4
    strangers = tuple((suite, private_key_of(f"stranger {place}").public_key) for place, (suite, _) in
        enumerate(barrier.next_validators))  # fmt: skip
    for name, given, code in (("strangers", strangers, "XF_UNPROVEN"), ("nobody", (), "XF_EPOCH")):
        forged = msgspec.structs.replace(barrier, next_validators=given)
        error = refused(fresh, rewritten(path, tmp_path / f"{name}.blk", {17: forged}), code)
        assert name == "nobody" or "not the certified ones" in error.why
    assert "--to 17" in error.fix
    exported(longer, tmp_path / "first.blk", None, 17)
    exported(longer, tmp_path / "then.blk", 18, None)
    assert imported(fresh, tmp_path / "first.blk").height == 17
    assert imported(fresh, tmp_path / "then.blk").height == 21


def test_a_wrong_signature_under_a_quorums_certificate_is_refused(home: Home, tmp_path: Path) -> None:
    longer = copy_of(home, tmp_path / "longer")

    def forge(maker: Maker, author: Author, _: Opened) -> None:
        envelopes = author.envelopes(72, 78)
        forged = envelopes[0][:-1] + bytes([envelopes[0][-1] ^ 1])
        maker.decide([forged, *envelopes[1:]], maker.applier.head.timestamp_ms + 1_000)

    grow(longer, forge)
    exported(longer, tmp_path / "forged.blk")
    error = refused(home_with(tmp_path / "other"), tmp_path / "forged.blk", "XF_UNPROVEN")
    assert "block 13" in error.why and "signature" in error.why


def test_a_file_of_another_network_or_another_fork_is_refused(home: Home, file: Path, tmp_path: Path) -> None:
    foreign = Keys.of_kit(created_ms=1_764_000_000_001)
    refused(home_with(tmp_path / "foreign", foreign.genesis), file, "XF_FOREIGN")
    (tmp_path / "nonsense.blk").write_bytes(b"no export at all, but long enough to be looked at")
    refused(home, tmp_path / "nonsense.blk", "XF_FOREIGN")
    fork = home_with_chain(tmp_path / "fork", Plan(blocks=3, txs=2, seed=9))
    refused(fork, file, "XF_FORK")
    unknown = home_with(tmp_path / "unknown")
    unknown.genesis_file(CHANNEL).unlink()
    refused(unknown, file, "XF_FOREIGN")


def test_nothing_is_overwritten_and_impossible_ranges_are_refused(home: Home, file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(FileRefused, match="XF_EXISTS"):
        exported(home, file)
    assert file.read_bytes() == before
    for first, last in ((0, 5), (5, 4), (1, 13)):
        with pytest.raises(OperatorError, match="cannot be exported"):
            exported(home, tmp_path / "none.blk", first, last)
    assert list(tmp_path.iterdir()) == []
    assert keys().genesis.channel == CHANNEL
