"""Backups: whole or refused, never with keys, and what is restored only observes."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from dawan_node.crypto import keystore
from dawan_node.errors import OperatorError
from dawan_node.node.backups.deep import verify_ledgers
from dawan_node.node.backups.live import LiveBackups, token_file
from dawan_node.node.backups.making import About, Cancelled, Pace, backup_folder, check_name, create, list_backups
from dawan_node.node.backups.manifest import MANIFEST, Manifest, check_files, read_manifest
from dawan_node.node.backups.restoring import restore
from dawan_node.node.backups.steps import steps_to_vote
from dawan_node.node.config import NodeSection
from dawan_node.node.database.audit import audit
from dawan_node.node.database.finding import Fault, FileRefused
from dawan_node.node.database.opened import channels_of, opened
from dawan_node.node.home import Home
from dawan_node.node.restore import open_channel
from dawan_node.node.setup import Plan as Setup
from dawan_node.node.setup import initialise
from dawan_node.node.signer import NodeSigner
from dawan_node.primitives.genesis import Genesis
from dawan_node.rpc.api import ApiError
from dawan_node.storage import schema
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.data_mark import MARK_VERSION, DataMark, read_mark, write_mark
from dawan_node.storage.kv import KeyValueSnapshot
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.wal import Wal, WalRecord
from dawan_node.testing.long_chain import Author, Keys, Maker, Plan
from dawan_node.testing.long_chain_homes import CHANNEL, Chain, cached, keys_of, place

PLAN = Plan(blocks=8, txs=4)
NOW = datetime(2026, 11, 27, 6, 30, tzinfo=UTC)
GZ1 = NodeSection(name="gz1", org="gz")
PASSPHRASE = b"a passphrase of a test"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return cached(PLAN, cache=tmp_path_factory.mktemp("cache"), processes=0)


@pytest.fixture(scope="module")
def home(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Home:
    network = place(chain, tmp_path_factory.mktemp("net") / "net", empty=("hk1", "mo1", "hq1"))
    return network.home(network.find("gz1"))


@pytest.fixture(scope="module")
def keys(chain: Chain) -> Keys:
    return keys_of(chain.network)


def backed_up(home: Home, name: str = "whole", pace: Callable[[int], None] = lambda _: None) -> Path:
    target = check_name(home, name)
    kv = LevelDBStore.open(home.database(CHANNEL))
    with closing(kv):
        create(home, target, About("dawan-devnet", "gz1", "gz"), {CHANNEL: kv.snapshot}, pace, NOW)
    return target


@pytest.fixture(scope="module")
def whole(home: Home) -> Path:
    return backed_up(home)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "copy")


def new_home(folder: Path, org: str = "gz", name: str = "gz1") -> Home:
    home = Home(folder)
    initialise(home, Setup(name, org, ("127.0.0.1:7100",), cost=keystore.DEVNET), PASSPHRASE, datetime.now(UTC))
    return home


def test_a_backup_holds_the_ledger_and_the_public_files_and_no_secret(home: Home, whole: Path) -> None:
    manifest = read_manifest(whole)
    names = {entry.file for entry in manifest.files}
    assert names >= {"network/consortium.toml", f"network/genesis/{CHANNEL}.bin", "network/gz.pem", "trade.records"}
    assert sorted(path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()) == sorted(
        [*names, MANIFEST]
    )
    assert len(list(check_files(whole, manifest))) == len(names)
    assert (manifest.channels[0].height, manifest.org, manifest.created) == (8, "gz", "2026-11-27T06:30:00Z")
    everything = b"".join(path.read_bytes() for path in whole.rglob("*") if path.is_file())
    for path in home.keys.rglob("*.key.json"):
        hidden = json.loads(path.read_bytes())["cipher"]["text"]
        assert len(hidden) > 64 and hidden.encode() not in everything, path
    assert all(path.stat().st_mode & 0o077 == 0 for path in whole.rglob("*"))


def test_one_changed_byte_anywhere_is_found(copy: Path) -> None:
    changed = 0
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        data = bytearray(path.read_bytes())
        step = max(1, len(data) // (400 if path.name == MANIFEST else 25))
        for place_ in {*range(0, len(data), step), len(data) - 1}:
            data[place_] ^= 1
            path.write_bytes(data)
            data[place_] ^= 1
            with pytest.raises(FileRefused) as caught:
                list(check_files(copy, read_manifest(copy)))
            assert caught.value.code in ("BK_ALTERED", "BK_VERSION"), caught.value
            changed += 1
        path.write_bytes(data)
    assert changed > 500
    assert list(check_files(copy, read_manifest(copy)))


def test_only_a_deep_look_finds_a_ledger_that_was_wrong_before_it_was_backed_up(home: Home, tmp_path: Path) -> None:
    copy = Home(shutil.copytree(home.path, tmp_path / "home", ignore=shutil.ignore_patterns("backups")))
    with closing(LevelDBStore.open(copy.database(CHANNEL))) as kv:
        key, value = next(kv.iterate(prefix=schema.INDEX))
        kv.write([(key, value + b"?")], sync=True)
    folder = backed_up(copy)
    manifest = read_manifest(folder)
    assert list(check_files(folder, manifest))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    ((channel, found),) = verify_ledgers(folder, manifest, scratch, lambda *_: None)
    assert channel == CHANNEL and found.finding is not None and found.finding.fault is Fault.STATE
    assert not list(scratch.iterdir())


def test_what_is_missing_added_or_cut_off_is_found(copy: Path) -> None:
    records = copy / "trade.records"
    data = records.read_bytes()
    for content in (data[:-1], data[: len(data) // 2], b"", data + b"\0"):
        records.write_bytes(content)
        with pytest.raises(FileRefused, match="BK_ALTERED"):
            list(check_files(copy, read_manifest(copy)))
    records.unlink()
    with pytest.raises(FileRefused, match="missing"):
        list(check_files(copy, read_manifest(copy)))
    records.write_bytes(data)
    (copy / "network" / "more.pem").write_bytes(b"x")
    with pytest.raises(FileRefused, match=r"more\.pem"):
        list(check_files(copy, read_manifest(copy)))
    (copy / MANIFEST).unlink()
    with pytest.raises(FileRefused, match="BK_INCOMPLETE"):
        read_manifest(copy)


def test_the_restored_ledger_is_the_same_and_its_node_waits_for_a_seat(home: Home, copy: Path, tmp_path: Path) -> None:
    new = new_home(tmp_path / "new")
    segments = sorted(path.name for path in new.wal.iterdir())
    done = restore(copy, new, GZ1)
    assert done.has_log and sorted(path.name for path in new.wal.iterdir()) == segments
    with opened(home, CHANNEL) as ours, opened(new, CHANNEL) as theirs:
        assert list(ours.kv.iterate()) == list(theirs.kv.iterate())
        assert audit(theirs).finding is None
        genesis = theirs.genesis
    key = keystore.load_signing_key(new.node_key, PASSPHRASE)
    with closing(Wal.open(new.wal)) as log:
        parts = open_channel(genesis, new.database(CHANNEL), 100, log.records(), NodeSigner(key), 0)
        assert parts.head.height == 8
        assert parts.signer is not None, "once its key has a seat, this node must be able to vote"
        assert parts.head.rules.validators.index_of(key.public_key) is None, "but it has none yet"
        parts.store.close()


def test_from_a_backup_a_key_that_ever_had_a_seat_never_signs_again(home: Home, copy: Path, tmp_path: Path) -> None:
    new = new_home(tmp_path / "new")
    shutil.copy(home.node_key, new.node_key)  # what nobody may do
    restore(copy, new, GZ1)
    genesis = genesis_of_home(new)
    old = keystore.load_signing_key(home.node_key, _passphrase(home))
    with closing(Wal.open(new.wal)) as log:
        assert log.records() == ()
        parts = open_channel(genesis, new.database(CHANNEL), 100, log.records(), NodeSigner(old), 0)
        assert parts.head.height == 8 and parts.signer is None
        parts.store.close()


def test_a_log_that_was_put_back_is_not_told_of_the_restored_head(copy: Path, tmp_path: Path) -> None:
    """An empty log where a longer one is known to have been: told of the head, it would look like a new home's."""
    new = new_home(tmp_path / "new")
    write_mark(new.data, DataMark(MARK_VERSION, "net", "gz1", "aa" * 32, "ab", 3, new.wal.stat().st_ino))
    restore(copy, new, GZ1)
    with closing(Wal.open(new.wal)) as log:
        assert log.records() == ()
    mark = read_mark(new.data)
    assert mark is not None and mark.silenced == {"aa" * 32: "LOG_ROLLED_BACK"}


def genesis_of_home(home: Home) -> Genesis:
    return Genesis.decode(home.genesis_file(CHANNEL).read_bytes())


def _passphrase(home: Home) -> bytes:
    return (home.path.parent / "passphrase").read_bytes().strip()


def test_a_home_without_a_log_gets_none(copy: Path, tmp_path: Path) -> None:
    new = new_home(tmp_path / "new")
    shutil.rmtree(new.wal)
    assert not restore(copy, new, GZ1).has_log
    assert not new.wal.exists()


def test_the_steps_back_to_voting_name_every_channel_and_every_command(home: Home, whole: Path) -> None:
    steps = steps_to_vote(home, home.path, read_manifest(whole), "gz1", "gz")
    text = "\n".join(steps)
    assert "network validator-request" in steps[0] and "network replace-validator" in steps[1]
    assert "vote rekey-gz1 --approve -c trade" in text and "enact rekey-gz1 -c trade" in text
    assert "-c alliance" not in text, "a channel that was not restored needs no vote"
    assert steps[-1].startswith(f"dawan-node run --home {home.path}")
    assert len(steps_to_vote(home, home.path, read_manifest(whole), "somebody", "gz")) == 1


@pytest.fixture
def expecting(copy: Path) -> Callable[[Home, str], None]:
    def check(home: Home, code: str, section: NodeSection = GZ1) -> None:
        before = channels_of(home), home.consortium_file.exists()
        with pytest.raises(FileRefused) as caught:
            restore(copy, home, section)
        assert caught.value.code == code, caught.value
        assert caught.value.fix
        assert (channels_of(home), home.consortium_file.exists()) == before

    return check


def rewrite(folder: Path, change: Callable[[Manifest], Manifest]) -> None:
    """A manifest that is as good as any, of another content."""
    (folder / MANIFEST).write_bytes(change(read_manifest(folder)).render())


def test_a_home_that_is_not_fit_is_left_alone(
    home: Home, copy: Path, tmp_path: Path, expecting: Callable[..., None]
) -> None:
    expecting(home, "BK_NOT_EMPTY")
    expecting(new_home(tmp_path / "hk", "hk", "hk1"), "BK_FOREIGN", NodeSection(name="hk1", org="hk"))
    signed = new_home(tmp_path / "signed")
    with closing(Wal.open(signed.wal)) as log:
        log.append([WalRecord(bytes(32), 1, b"a vote")])
    expecting(signed, "BK_SIGNED")
    running = new_home(tmp_path / "running")
    with (
        closing(LevelDBStore.open(home.database(CHANNEL))),
        pytest.raises(OperatorError, match="holds no data"),
    ):
        restore(copy, Home(tmp_path / "nowhere"), GZ1)
    from dawan_node.storage.lock import NodeLock

    lock = NodeLock.acquire_home(running.data)
    with pytest.raises(OperatorError, match="runs"):
        restore(copy, running, GZ1)
    lock.release()
    damaged = new_home(tmp_path / "damaged")
    (copy / "trade.records").write_bytes(b"DAWANREC")
    expecting(damaged, "BK_ALTERED")


def test_a_backup_of_another_network_or_a_newer_program_is_refused(
    chain: Chain, home: Home, copy: Path, tmp_path: Path, expecting: Callable[..., None]
) -> None:
    new = new_home(tmp_path / "new")
    rewrite(copy, lambda found: msgspec.structs.replace(found, network="other-network"))
    expecting(new, "BK_ALTERED")
    newer = msgspec.structs.replace
    rewrite(
        copy, lambda found: newer(found, network="dawan-devnet", channels=(newer(found.channels[0], schema=9_999),))
    )
    expecting(new, "BK_VERSION")
    other = new_home(tmp_path / "other")
    other.network.mkdir(exist_ok=True)
    for path in home.network.glob("*.pem"):
        shutil.copy(path, other.network)
    text = home.consortium_file.read_text(encoding="utf-8")
    other.consortium_file.write_text(text.replace("created = 2026-09-01", "created = 2026-08-01"), encoding="utf-8")
    rewrite(copy, lambda found: newer(found, channels=(newer(found.channels[0], schema=1),)))
    expecting(other, "BK_FOREIGN")


def test_an_interrupted_backup_leaves_nothing_and_no_name_is_used_twice(home: Home, whole: Path) -> None:
    before = sorted(backup_folder(home).iterdir())
    pace = Pace()
    pace.cancel()
    kv = LevelDBStore.open(home.database(CHANNEL))
    with closing(kv), pytest.raises(Cancelled):
        create(home, check_name(home, "never"), About("n", "g", "o"), {"a": lambda: _Endless(kv.snapshot())}, pace, NOW)
    assert sorted(backup_folder(home).iterdir()) == before
    with pytest.raises(FileRefused, match="BK_EXISTS"):
        check_name(home, whole.name)
    for name in ("../out", "", "A", "a/b", ".hidden", "x" * 65):
        with pytest.raises(FileRefused, match="BK_NAME"):
            check_name(home, name)


class _Endless:
    """A database that never ends: only its pace can end a backup of it."""

    def __init__(self, inner: KeyValueSnapshot) -> None:
        self.get = inner.get
        self.close = inner.close

    def iterate(self, **_: object) -> Iterator[tuple[bytes, bytes]]:
        while True:
            yield b"key", bytes(64 * 1024)


def test_the_list_shows_what_is_complete_and_what_is_not(home: Home, whole: Path) -> None:
    half = backup_folder(home) / "half"
    half.mkdir()
    (backup_folder(home) / ".being-made.1.new").mkdir()
    found = dict(list_backups(home))
    assert set(found) == {whole.name, "half"}
    assert isinstance(found["half"], FileRefused) and isinstance(found[whole.name], Manifest)
    half.rmdir()
    (backup_folder(home) / ".being-made.1.new").rmdir()


def test_a_running_node_makes_one_backup_at_a_time_for_who_shows_its_token(
    chain: Chain, keys: Keys, tmp_path: Path
) -> None:
    network = place(chain, tmp_path / "net", empty=("hk1", "mo1", "hq1"))
    home = network.home(network.find("gz1"))

    async def story() -> None:
        kv = LevelDBStore.open(home.database(CHANNEL))
        store = ChannelStore.over(kv, keys.genesis.chain_id)
        live = LiveBackups(home, About("dawan-devnet", "gz1", "gz"), {CHANNEL: store.snapshot}, lambda: NOW)
        token = token_file(home).read_text(encoding="ascii")
        assert token_file(home).stat().st_mode & 0o777 == 0o600
        for wrong in ({}, {"token": "0" * 64}, {"token": 5}, {"token": token[:-1]}):
            for action in live.actions.values():
                with pytest.raises(ApiError) as refused:
                    await action(wrong)
                assert refused.value.code == -32011
        assert (await live.status({"token": token}))["state"] == "none"
        assert await live.start({"token": token, "name": "first"}) == {"name": "first"}
        with pytest.raises(ApiError) as busy:
            await live.start({"token": token, "name": "second"})
        assert busy.value.code in (-32002, -32602)
        # The chain goes on beside it, and the backup is of one moment all the same.
        author, maker = Author(PLAN, keys.genesis, keys.people), Maker(keys, store)
        for height in (9, 10):
            maker.decide(author.envelopes(4 * height - 4, 4 * height), PLAN.time_ms(height, keys.genesis.created_ms))
        deadline = asyncio.get_running_loop().time() + 20
        while (status := await live.status({"token": token}))["state"] == "running":
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        assert status["state"] == "done", status
        assert 8 <= status["heights"][CHANNEL] <= 10
        with pytest.raises(ApiError, match="BK_EXISTS"):
            await live.start({"token": token, "name": "first"})
        with pytest.raises(ApiError, match="BK_NAME"):
            await live.start({"token": token, "name": "../../etc"})
        live.close()
        assert not token_file(home).exists()
        kv.close()

    asyncio.run(story())
    folder = backup_folder(home) / "first"
    manifest = read_manifest(folder)
    assert list(check_files(folder, manifest))
    new = new_home(tmp_path / "restored")
    restore(folder, new, GZ1)
    with opened(new, CHANNEL) as database:
        found = audit(database)
    assert found.finding is None and found.height == manifest.channels[0].height
