"""What a channel starts from: its database, what the log remembers, and whether its key may still sign."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dawan_node.consensus.records import CommitRecord, DecidedRecord, PrepareRecord, RecordKind
from dawan_node.consensus.report import Mode
from dawan_node.errors import DataRefusal, DataRefused, OperatorError, SigningRefused, StorageError
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry
from dawan_node.node.applier import Applier
from dawan_node.node.bodies import BODIES_RECORD, BlockBody
from dawan_node.node.channel_parts import ChannelParts
from dawan_node.node.metrics import StageTimes
from dawan_node.node.restore import _epoch_base, head_of, open_channel, open_ledger
from dawan_node.node.signer import NodeSigner
from dawan_node.primitives.certificate import (
    PreparedCertificate,
    bitmap_of,
    commit_vote_bytes,
    prepare_vote_bytes,
)
from dawan_node.storage.block_store import BlockStore
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import MemoryStore
from dawan_node.storage.wal import WalRecord
from dawan_node.testing.module_kit import make_genesis, private_key_of, seat_args
from tests.node.ledger import MODULES, START_MS, Block, Ledger, certify, trade_genesis, validator_keys
from tests.storage import ledger_kit

OWN = 0  # validator index of the node


class Home:
    """A database on disk, a ledger in memory that is ahead of it, and a log to be written by hand."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "trade" / "db"
        self.genesis = trade_genesis()
        self.ledger = Ledger(self.genesis)
        self.log: list[WalRecord] = []
        self.opened: list[ChannelParts] = []

    def open(self, *, log: list[WalRecord] | str | None = "own", key: bool = True) -> ChannelParts:
        for parts in self.opened:
            parts.store.close()
        records = self.log if log == "own" else cast("list[WalRecord] | None", log)
        signer = NodeSigner(validator_keys()[OWN]) if key else None
        parts = open_channel(self.genesis, self.database, 100, records, signer, START_MS)
        self.opened.append(parts)
        return parts

    def store(self, blocks: list[Block]) -> None:
        """Commit ``blocks`` to the database on disk."""
        parts = self.open(log=None)
        applier = Applier(parts.store, parts.executor, self.genesis.created_ms, StageTimes())
        for block in blocks:
            result = applier.execute(block.hash, block.header, block.transactions).execution.result
            applier.commit(block.hash, block.header, result, certify(block.header, result), (), block.transactions)

    def write(self, kind: int, payload: bytes) -> None:
        self.log.append(WalRecord(self.genesis.chain_id, int(kind), payload))

    def decided(self, block: Block, kind: RecordKind = RecordKind.DECIDED) -> None:
        result = self.ledger.store.blocks.result(block.header.height)
        assert result is not None
        self.write(kind, DecidedRecord(block.header, result, (), certify(block.header, result)).encode())

    def prepared(self, block: Block) -> None:
        header = block.header
        vote = prepare_vote_bytes(self.genesis.chain_id, header.epoch, 0, header.height, block.hash)
        signature = validator_keys()[OWN].sign(b"dawan:prepare:v1", vote)
        self.write(RecordKind.PREPARE, PrepareRecord(0, header, OWN, signature).encode())

    def committed(self, block: Block) -> None:
        header, result = block.header, self.ledger.execute(block).execution.result
        vote = prepare_vote_bytes(self.genesis.chain_id, 0, 0, header.height, block.hash)
        signatures = [key.sign(b"dawan:prepare:v1", vote) for key in validator_keys()[:3]]
        prepared = PreparedCertificate(0, 0, header.height, block.hash, bitmap_of(range(3), 4), signatures)
        vote = commit_vote_bytes(self.genesis.chain_id, 0, 0, header.height, block.hash, result.hash)
        signature = validator_keys()[OWN].sign(b"dawan:commit:v1", vote)
        self.write(RecordKind.COMMIT, CommitRecord(0, header, result, prepared, OWN, signature).encode())

    def body(self, block: Block) -> None:
        self.write(BODIES_RECORD, BlockBody(block.hash, block.transactions).encode_record())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    for parts in home.opened:
        parts.store.close()


def mode(parts: ChannelParts) -> Mode:
    return parts.replica.status().state


def test_a_new_channel_begins_at_genesis_and_may_vote(home: Home) -> None:
    parts = home.open()
    assert parts.head.height == 0 and parts.head.block_hash == home.genesis.chain_id
    assert parts.head.rules.validators == home.genesis.validator_set
    assert mode(parts) is Mode.NORMAL and len(parts.bodies) == 0


@pytest.mark.parametrize("left_behind", [(), ("CURRENT",), ("MANIFEST-000001", "000003.log")])
def test_a_creation_that_was_interrupted_begins_again(home: Home, left_behind: tuple[str, ...]) -> None:
    home.database.mkdir(parents=True)
    for name in left_behind:
        (home.database / name).write_bytes(b"half")
    assert mode(home.open()) is Mode.NORMAL
    home.store(home.ledger.grow(1))
    assert home.open(log=None).head.height == 1, "a finished database is kept"


def test_a_database_that_vanished_is_made_anew_and_signs_nothing_before_it_is_as_far_as_its_log(home: Home) -> None:
    blocks = home.ledger.grow(3)
    home.store(blocks)
    home.decided(blocks[-1])
    home.open().store.close()
    home.database.rename(home.database.with_name("gone"))
    parts = home.open()
    assert parts.head.height == 0 and parts.signer is not None and parts.signer.floor == 3
    assert mode(parts) is Mode.SYNCING and parts.healing_to == 3


def damage(database: Path) -> None:
    """One bit of what LevelDB keeps."""
    file = max(database.glob("*.log"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_database_is_kept_and_another_begun_that_signs_nothing_before_it_is_as_far_as_its_log(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = home.ledger.grow(3)
    home.store(blocks)
    home.decided(blocks[-1])
    home.opened.pop().store.close()
    damage(home.database)
    parts = home.open()
    assert parts.head.height == 0 and mode(parts) is Mode.SYNCING and parts.healing_to == 3
    assert home.database.with_name("db.damaged-1").is_dir()
    assert "database_damaged" in caplog.messages


@pytest.mark.parametrize("lost", ["CURRENT", "MANIFEST-*", "*.ldb"])
def test_a_database_that_lost_files_is_kept_and_another_begun(
    home: Home, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = home.ledger.grow(3)
    home.store(blocks)
    home.decided(blocks[-1])
    home.opened.pop().store.close()
    ChannelStore.open(home.database, home.genesis.chain_id).close()  # turns LevelDB's log into a table
    next(home.database.glob(lost)).unlink()
    left = {path.name for path in home.database.iterdir()} - {"LOG", "LOG.old"}
    parts = home.open()
    assert parts.head.height == 0 and parts.signer is not None and parts.signer.floor == 3
    assert mode(parts) is Mode.SYNCING
    kept = home.database.with_name("db.damaged-1")
    assert left <= {path.name for path in kept.iterdir()}
    assert "database_damaged" in caplog.messages


@pytest.mark.parametrize("loss", ["damaged", "deleted", "older", "no CURRENT"])
def test_a_validator_that_is_alone_has_nobody_to_fetch_a_lost_ledger_from(tmp_path: Path, loss: str) -> None:
    home = Home(tmp_path)
    shared = trade_genesis()
    home.genesis = alone = replace(shared, validators=shared.validators[:1])
    executor = Executor(Registry.load([(module.name, module.version) for module in alone.modules]), alone)
    home.ledger = Ledger(alone)
    first = executor.genesis_state()
    if loss != "deleted":
        ChannelStore.create(home.database, first.result, first.changes, alone.created_ms)
    if loss == "damaged":
        damage(home.database)
    elif loss == "no CURRENT":
        (home.database / "CURRENT").unlink()
    else:
        home.decided(home.ledger.grow(1)[0])
    before = sorted(path.name for path in home.database.parent.glob("*")) if home.database.parent.exists() else []
    with pytest.raises(DataRefused) as refusal:
        home.open()
    assert refusal.value.reason is DataRefusal.NO_PEERS and "backup restore" in refusal.value.fix
    after = sorted(path.name for path in home.database.parent.glob("*")) if home.database.parent.exists() else []
    assert [name for name in after if name != "db.lock"] == [name for name in before if name != "db.lock"]
    ledger = open_ledger(alone, home.database, 100, home.log, observes=True)
    assert ledger.store.head.height == 0, "an observer fetches it from the validator"
    ledger.store.close()


def test_the_head_is_what_the_store_holds(home: Home) -> None:
    blocks = home.ledger.grow(3)
    home.store(blocks)
    for block in blocks:
        home.decided(block)
    parts = home.open()
    head = parts.head
    assert (head.height, head.block_hash, head.header) == (3, blocks[-1].hash, blocks[-1].header)
    assert head.certificate is not None and head.certificate.block_hash == blocks[-1].hash and head.links == ()
    assert (head.epoch, head.epoch_base) == (0, (0, home.genesis.chain_id))
    assert mode(parts) is Mode.NORMAL


# May the key still sign?


def signs(parts: ChannelParts, caplog: pytest.LogCaptureFixture) -> bool:
    warned = any(record.getMessage() == "signing_disabled" for record in caplog.records)
    caplog.clear()
    can_vote = mode(parts) is not Mode.OBSERVER
    assert warned is not can_vote, "an operator is told exactly when it matters"
    return can_vote


def test_a_log_that_is_behind_the_database_ends_signing(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    blocks = home.ledger.grow(3)
    home.store(blocks)
    assert not signs(home.open(), caplog), "an empty log is not the one this database was written with"
    for block, is_enough in zip(blocks, (False, False, True), strict=True):
        home.decided(block, RecordKind.SYNCED if block is blocks[1] else RecordKind.DECIDED)
        assert signs(home.open(), caplog) is is_enough


def test_a_log_that_is_ahead_of_the_database_is_what_a_crash_leaves(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = home.ledger.grow(3)
    home.store(blocks[:2])
    for block in blocks:
        home.body(block)
        home.decided(block)
    parts = home.open()
    assert signs(parts, caplog) and parts.head.height == 2
    assert parts.healing_to == 0, "it has all that it needs itself"
    assert parts.bodies.get(blocks[2].hash) is not None, "decided and not stored: its bodies are needed"
    assert [acquire.block_hash for acquire in parts.replica.ready().acquire] == [blocks[2].hash]


def test_without_a_log_or_without_a_key_a_node_observes(home: Home) -> None:
    assert mode(home.open(log=None)) is Mode.OBSERVER
    assert mode(home.open(key=False)) is Mode.OBSERVER


def test_decided_records_of_another_channel_do_not_vouch_for_this_one(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    blocks = home.ledger.grow(2)
    home.store(blocks)
    for block in blocks:
        home.body(block)
        home.decided(block)
    home.log = [record._replace(channel_id=bytes(32)) for record in home.log]
    parts = home.open()
    assert not signs(parts, caplog) and len(parts.bodies) == 0


def test_a_key_never_gets_a_second_account_for_one_channel(home: Home) -> None:
    """Fabric CVE-2022-45196: creating a channel of a name that exists ended the orderer."""
    key = NodeSigner(validator_keys()[OWN])
    first = open_channel(home.genesis, home.database, 100, [], key, START_MS)
    first.store.close()
    with pytest.raises(SigningRefused):
        open_channel(home.genesis, home.database, 100, [], key, START_MS)
    home.open().store.close()  # the refused attempt left the database closed


# Bodies


def test_only_bodies_of_undecided_blocks_are_loaded_and_they_count_as_logged(home: Home) -> None:
    (decided,) = home.ledger.grow(1)
    home.store([decided])
    voted, accepted, other = (home.ledger.block(home.ledger.transaction()) for _ in range(3))
    home.body(decided)
    home.prepared(decided)
    home.decided(decided)
    for block in (voted, accepted, other):
        home.body(block)
    home.committed(voted)
    home.prepared(accepted)
    parts = home.open()
    kept = {block.hash for block in (decided, voted, accepted, other) if block.hash in parts.bodies}
    assert kept == {voted.hash, accepted.hash}
    assert parts.bodies.to_log(voted.hash) is None
    assert {body.block_hash for body in parts.bodies.logged()} == kept


def test_a_body_that_cannot_be_read_stops_the_node_and_leaves_nothing_open(home: Home) -> None:
    home.write(BODIES_RECORD, b"\x91\xc0")
    with pytest.raises(StorageError):
        home.open()
    home.log.clear()
    home.open()


def test_a_database_of_another_chain_is_refused_and_left_closed(home: Home) -> None:
    home.open().store.close()
    home.opened.clear()
    home.genesis = make_genesis(MODULES, {"someone": ("gz", ["supplier"])})
    with pytest.raises(OperatorError, match="chain"):
        home.open(log=None)
    home.genesis = trade_genesis()
    home.open(log=None)


# Epochs


def store_of_epochs(lengths: list[int]) -> tuple[BlockStore, list[bytes]]:
    """A chain whose epoch number i has ``lengths[i]`` blocks, and its block hashes from genesis on."""
    kv = MemoryStore()
    blocks = BlockStore(kv)
    kv.write(blocks.genesis_puts(ledger_kit.GENESIS))
    hashes, result_hash = [ledger_kit.CHAIN_ID], ledger_kit.GENESIS.hash
    for epoch, length in enumerate(lengths):
        for _ in range(length):
            block = ledger_kit.block_on(hashes[-1], result_hash, len(hashes), transactions=1, epoch=epoch)
            kv.write(blocks.puts_for(block))
            hashes.append(block.header.hash)
            result_hash = block.result.hash
    return blocks, hashes


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_the_last_block_of_the_epoch_before_is_found_wherever_it_lies(lengths: list[int]) -> None:
    blocks, hashes = store_of_epochs(lengths)
    store: Any = SimpleNamespace(blocks=blocks)
    genesis: Any = SimpleNamespace(chain_id=ledger_kit.CHAIN_ID)
    for epoch in range(len(lengths)):
        height = sum(lengths[: epoch + 1])
        base = sum(lengths[:epoch])
        assert _epoch_base(genesis, store, epoch, height) == (base, hashes[base])


def test_a_head_that_ends_its_epoch_is_the_base_of_the_next_one(tmp_path: Path) -> None:
    """A validator's key is rotated; the same head read back by a restarted node names epoch 1 and the new set."""
    ledger = Ledger()
    new_key = private_key_of("hk1 from now on")
    proposal = seat_args(ledger.genesis, "p", "hk1", new_key)
    ledger.decide(ledger.block(ledger.admin("hk", "propose_validator_key", proposal)))
    votes = [ledger.admin(org, "vote", {"proposal": "p", "approve": True}) for org in ("gz", "hk", "mo")]
    ledger.decide(ledger.block(*votes))
    barrier = ledger.block(ledger.admin("gz", "enact", {"proposal": "p"}))
    stored = ledger.decide(barrier)
    assert stored.block.receipts[0].code == 0 and stored.next_rules is not None
    store = ChannelStore.over(ledger.kv, ledger.genesis.chain_id)
    head = head_of(ledger.genesis, store, Executor(Registry(MODULES), ledger.genesis))
    assert (head.height, head.epoch, head.epoch_base) == (3, 1, (3, barrier.hash))
    assert head.rules.validators == stored.next_rules.validators != ledger.genesis.validator_set
    assert head.rules.validators.index_of(new_key.public_key) is not None


def test_a_missing_header_between_is_a_doubt_about_the_disk() -> None:
    blocks, _ = store_of_epochs([3, 6])
    without = SimpleNamespace(header=lambda h: None if h == 4 else blocks.header(h), epoch=blocks.epoch)
    store: Any = SimpleNamespace(blocks=without)
    genesis: Any = SimpleNamespace(chain_id=ledger_kit.CHAIN_ID)
    with pytest.raises(StorageError):
        _epoch_base(genesis, store, 1, 9)
