"""A snapshot brings exactly what executing the blocks would have left, and nothing that was changed on the way."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest

from dawan_node.errors import DataRefusal, DataRefused, InvalidMessage, OperatorError, StorageError
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry, load_module
from dawan_node.node import snapshot_install
from dawan_node.node.applier import Applier
from dawan_node.node.metrics import StageTimes
from dawan_node.node.snapshot_install import adopt, build, discard, is_built
from dawan_node.node.snapshot_maker import make_snapshot
from dawan_node.primitives.genesis import TX_LIFETIME_MS_CEILING
from dawan_node.storage import channel_store, leveldb, schema
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import KeyValueStore, Put
from dawan_node.storage.leveldb import DatabaseSign, is_initialised, read_sign
from dawan_node.storage.migration import migrate
from dawan_node.storage.snapshot_files import PartFolder, SnapshotFolders
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_format import HeaderRun, Layout, Manifest
from tests.node.ledger import START_MS, Ledger, certify
from tests.node.snapshot_kit import contents, grown, installed, no_pace, on_disk, receive, take

#: A schema of versions to come.
NEXT = schema.SCHEMA_VERSION + 1


def test_the_installed_state_is_byte_for_byte_the_executed_one(tmp_path: Path) -> None:
    ledger, _ = grown(40)
    manifest, source = take(ledger, tmp_path)
    assert len(manifest.bounds) > 5 and Layout.of(manifest).runs == 1, "several chunks, and headers"
    store = installed(ledger, source, tmp_path / "newcomer")
    view = store.snapshot()
    assert contents(view) == contents(ledger.kv)
    view.close()
    assert store.head == ledger.store.head
    assert store.blocks.kept().oldest == 41
    assert store.state.head is not None and store.state.head.history_from == 40
    store.close()


def test_blocks_go_on_from_a_snapshot_with_the_same_results(tmp_path: Path) -> None:
    """Also a day later, when the replay entries of the snapshot's blocks leave the state: their times were kept."""
    ledger, _ = grown(30)
    _, source = take(ledger, tmp_path)
    store = installed(ledger, source, tmp_path / "newcomer")
    applier = Applier(store, ledger.executor, ledger.genesis.created_ms, StageTimes())
    for number in range(12):
        time_ms = START_MS + 29_000 + TX_LIFETIME_MS_CEILING + number * 500 - 4_000
        block = ledger.block(ledger.transaction(time_ms=time_ms), time_ms=time_ms)
        result = ledger.execute(block).execution.result
        ledger.commit(block, result)
        assert applier.execute(block.hash, block.header, block.transactions).execution.result == result
        applier.commit(block.hash, block.header, result, certify(block.header, result), (), block.transactions)
    assert store.state.replay_entry(5) is None, "entries have left"
    view = store.snapshot()
    assert contents(view) == contents(ledger.kv)
    view.close()
    store.close()
    reopened = ChannelStore.open(tmp_path / "newcomer" / "db", ledger.genesis.chain_id)
    assert reopened.head.height == 42
    reopened.close()


def test_nothing_accepted_before_a_snapshot_is_executed_again_after_it(tmp_path: Path) -> None:
    """Row H2: the nonces in force came with the snapshot, each checked against the certified state (U10)."""
    ledger, sent = grown(30)
    _, source = take(ledger, tmp_path)
    store = installed(ledger, source, tmp_path / "newcomer")
    applier = Applier(store, ledger.executor, ledger.genesis.created_ms, StageTimes())
    for transaction in sent:
        assert store.state.nonce_used(transaction.public_key, transaction.body.nonce) is not None
        again = ledger.block(transaction)
        assert "nonce" in (applier.judge(again.header, again.transactions) or "")
    late = ledger.block(sent[0], time_ms=sent[0].body.valid_until_ms + 1)
    assert "not valid at the block's time" in (applier.judge(late.header, late.transactions) or "")
    store.close()


def test_a_node_that_came_by_snapshot_makes_the_same_snapshot(tmp_path: Path) -> None:
    ledger, _ = grown(25)
    manifest, source = take(ledger, tmp_path)
    store = installed(ledger, source, tmp_path / "newcomer")
    folders = SnapshotFolders(tmp_path / "newcomer" / "snapshots")
    making = folders.begin(25)
    view = store.snapshot()
    again = make_snapshot(view, making, no_pace, 4_000)
    view.close()
    store.close()
    assert again == manifest
    assert [making.part(n) for n in range(Layout.of(manifest).parts)] == [
        source.part(n) for n in range(Layout.of(manifest).parts)
    ]


def test_cuts_do_not_depend_on_how_much_waited_on_disk(tmp_path: Path) -> None:
    ledger, _ = grown(12)
    one, _ = take(ledger, tmp_path / "a", heap_bytes=500)
    other, _ = take(ledger, tmp_path / "b", heap_bytes=10_000_000)
    assert one == other


def test_one_changed_byte_anywhere_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    ledger, _ = grown(15)
    _, source = take(ledger, tmp_path)
    incoming = receive(source, tmp_path / "newcomer")
    chance = random.Random(7)
    for name in sorted(os.listdir(incoming.path)):
        path = incoming.path / name
        whole = path.read_bytes()
        for _ in range(6):
            changed = bytearray(whole)
            changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(InvalidMessage):
                build(incoming, ledger.executor)
            path.write_bytes(whole[: chance.randrange(len(whole))])
            with pytest.raises(InvalidMessage):
                build(incoming, ledger.executor)
        path.unlink()
        with pytest.raises(InvalidMessage):
            build(incoming, ledger.executor)
        path.write_bytes(whole)
    assert not is_built(incoming) and adopt(tmp_path / "db", incoming, None) is None
    build(incoming, ledger.executor)
    assert is_built(incoming)


def test_a_changed_part_with_a_fresh_checksum_is_refused_too(tmp_path: Path) -> None:
    """What a checksum does not tell, the state root does."""
    ledger, _ = grown(15)
    manifest, source = take(ledger, tmp_path)
    incoming = receive(source, tmp_path / "newcomer")
    chance = random.Random(8)
    for part in range(Layout.of(manifest).parts):
        whole = source.part(part)
        assert whole is not None
        for _ in range(4):
            changed = bytearray(whole)
            changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
            incoming.write_part(part, bytes(changed))
            with pytest.raises(InvalidMessage):
                build(incoming, ledger.executor)
        incoming.write_part(part, whole)


def test_state_of_a_module_that_is_not_installed_is_refused_with_the_next_step(tmp_path: Path) -> None:
    ledger, _ = grown(4)
    _, source = take(ledger, tmp_path)
    incoming = receive(source, tmp_path / "newcomer")
    poor = Executor(Registry([load_module("governance", 1)]), ledger.genesis)
    with pytest.raises(OperatorError, match="Install the version of the module"):
        build(incoming, poor)
    assert not is_built(incoming)


def test_an_installation_may_be_interrupted_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die before each rename and removal in turn, then start again: there is always one whole database."""
    ledger, _ = grown(8)
    _, source = take(ledger, tmp_path)

    class Died(BaseException):
        pass

    for fatal in range(12):
        home = tmp_path / f"home-{fatal}"
        home.mkdir()
        first = ledger.executor.genesis_state()
        ChannelStore.create(home / "db", first.result, first.changes, ledger.genesis.created_ms)
        incoming = receive(source, home)
        build(incoming, ledger.executor)
        left = iter(range(fatal))

        def mortal(real: Callable[..., Any], left: Iterator[int] = left) -> Callable[..., Any]:
            def call(*given: Any, **more: Any) -> Any:
                if next(left, None) is None:
                    raise Died
                return real(*given, **more)

            return call

        with monkeypatch.context() as patch, suppress(Died):
            for name in ("rename", "unlink", "rmdir"):
                patch.setattr(os, name, mortal(getattr(os, name)))
            adopt(home / "db", incoming, None)
        adopt(home / "db", incoming, None)
        assert is_initialised(home / "db")
        store = ChannelStore.open(home / "db", ledger.genesis.chain_id)
        assert store.head.height == 8
        store.close()
        assert not is_built(incoming)


def built(folder: Path) -> tuple[Ledger, PartFolder]:
    """A home with a ledger at its genesis, and a complete database of a snapshot beside it."""
    ledger, _ = grown(8)
    _, source = take(ledger, folder)
    first = ledger.executor.genesis_state()
    ChannelStore.create(folder / "db", first.result, first.changes, ledger.genesis.created_ms)
    incoming = receive(source, folder)
    build(incoming, ledger.executor)
    return ledger, incoming


def test_a_snapshot_that_an_earlier_version_built_is_brought_up_when_this_one_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node is updated between building and adopting: to it, what was built is a database with an older schema."""
    ledger, incoming = built(tmp_path)
    seen: list[bytes] = []

    def step(store: KeyValueStore) -> Iterator[list[Put]]:
        seen.extend(key for key, _ in store.iterate(prefix=schema.STATE))
        yield [(b"~brought up", b"")]

    for module in (schema, leveldb, snapshot_install):
        monkeypatch.setattr(module, "SCHEMA_VERSION", NEXT)
    monkeypatch.setattr(channel_store, "migrate", lambda store: migrate(store, {NEXT - 1: step}, NEXT))
    assert adopt(tmp_path / "db", incoming, None) == 8
    store = ChannelStore.open(tmp_path / "db", ledger.genesis.chain_id)
    mine, theirs = store.snapshot(), ledger.store.snapshot()
    assert store.head.height == 8 and seen and mine.get(b"~brought up") == b""
    assert read_sign(tmp_path / "db") == DatabaseSign(NEXT, ledger.genesis.chain_id)
    assert contents(mine) == contents(theirs)
    mine.close()
    store.close()


def test_a_snapshot_with_a_schema_there_is_no_way_from_is_refused_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, incoming = built(tmp_path)
    monkeypatch.setattr(channel_store, "migrate", lambda store: migrate(store, {}, NEXT))
    adopt(tmp_path / "db", incoming, None)
    before = on_disk(tmp_path / "db")
    with pytest.raises(DataRefused) as refusal:
        ChannelStore.open(tmp_path / "db", ledger.genesis.chain_id)
    assert refusal.value.reason is DataRefusal.OLDER and on_disk(tmp_path / "db") == before


def test_a_snapshot_that_a_newer_version_built_is_refused_before_anything_moves(tmp_path: Path) -> None:
    ledger, incoming = built(tmp_path)
    sign = b"dawan-node database\nschema %d\nchain %s\n" % (NEXT, ledger.genesis.chain_id.hex().encode())
    leveldb.marker_path(incoming.path / "db").write_bytes(sign)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(DataRefused, match="fetched anew") as refusal:
        adopt(tmp_path / "db", incoming, None)
    assert refusal.value.reason is DataRefusal.NEWER
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before
    store = ChannelStore.open(tmp_path / "db", ledger.genesis.chain_id)
    assert store.head.height == 0, "the old database is in its place"
    store.close()


@pytest.mark.parametrize("version", [0, 2])
def test_a_manifest_or_part_of_another_version_is_refused(tmp_path: Path, version: int) -> None:
    _, source = take(grown(4)[0], tmp_path)
    data, part = source.manifest(), source.part(0)
    assert data is not None and part is not None
    for kind, encoded in ((Manifest, data), (HeaderRun, part)):
        values = msgpack.unpackb(encoded)
        key = "version" if isinstance(values, dict) else 0
        assert values[key] == 1
        values[key] = version
        kind.decode(encoded)
        with pytest.raises(InvalidMessage):
            kind.decode(msgpack.packb(values))


def test_a_log_that_does_not_know_of_the_snapshot_keeps_it_waiting(tmp_path: Path) -> None:
    """A database ahead of its log is what a lost log looks like (U6): the log comes first."""
    ledger, _ = grown(8)
    _, source = take(ledger, tmp_path)
    incoming = receive(source, tmp_path / "home")
    build(incoming, ledger.executor)
    assert adopt(tmp_path / "home" / "db", incoming, 7) is None
    assert is_built(incoming)
    assert adopt(tmp_path / "home" / "db", incoming, 8) == 8


@pytest.mark.parametrize("logged", [None, 8, 12])
def test_a_snapshot_that_blocks_have_reached_is_removed_and_the_database_stays(
    tmp_path: Path, logged: int | None
) -> None:
    ledger, _ = grown(8)
    _, source = take(ledger, tmp_path)
    home = tmp_path / "home"
    incoming = receive(source, home)
    build(incoming, ledger.executor)
    assert adopt(home / "db", incoming, 8) == 8
    again = receive(source, home)
    build(again, ledger.executor)
    assert adopt(home / "db", again, logged) is None
    assert not again.path.exists() and not list(home.glob("db.before-*"))
    store = ChannelStore.open(home / "db", ledger.genesis.chain_id)
    assert store.head.height == 8
    store.close()


def test_a_folder_whose_removal_was_interrupted_is_never_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, _ = grown(4)
    _, source = take(ledger, tmp_path)
    incoming = receive(source, tmp_path / "home")
    build(incoming, ledger.executor)

    def half(path: Path) -> None:
        next(path.glob("db/*.ldb"), path / "db" / "CURRENT").unlink()
        raise OSError("the power went")

    monkeypatch.setattr(snapshot_install.shutil, "rmtree", half)
    with pytest.raises(OSError, match="power"):
        discard(incoming)
    monkeypatch.undo()
    assert not is_built(incoming) and adopt(tmp_path / "home" / "db", incoming, None) is None
    discard(incoming)
    assert not incoming.path.exists()


def test_a_folder_that_lost_its_manifest_stops_the_start_and_says_what_to_do(tmp_path: Path) -> None:
    ledger, _ = grown(4)
    _, source = take(ledger, tmp_path)
    incoming = receive(source, tmp_path / "home")
    build(incoming, ledger.executor)
    (incoming.path / "manifest").unlink()
    with pytest.raises(StorageError, match="remove that folder"):
        adopt(tmp_path / "home" / "db", incoming, None)


def test_two_snapshots_are_kept_and_what_was_interrupted_is_removed(tmp_path: Path) -> None:
    folders = SnapshotFolders(tmp_path / "snapshots")
    for height in (10, 20, 30):
        making = folders.begin(height)
        making.write_manifest(b"m")
        folders.finish(making, height)
    assert folders.heights() == [30, 20]
    folders.begin(40).write_part(0, b"half")
    assert folders.heights() == [30, 20]
    folders.clear()
    assert sorted(os.listdir(folders.path)) == ["20", "30"]


def test_a_file_with_a_flipped_bit_is_as_good_as_none(tmp_path: Path) -> None:
    folder = PartFolder(tmp_path)
    folder.write_part(3, b"content")
    assert folder.part(3) == b"content"
    path = folder.part_file(3)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    assert folder.part(3) is None and folder.part(4) is None


def test_a_kept_choice_survives_and_names_its_chain(tmp_path: Path) -> None:
    ledger, _ = grown(2)
    manifest, source = take(ledger, tmp_path)
    data = source.manifest()
    assert data is not None and Manifest.decode(data) == manifest
    assert Chosen.decode(Chosen(data, ()).encode()).manifest == data
    assert manifest.header.chain_id == Ledger().genesis.chain_id
