"""``db verify`` finds what is wrong, whatever it is, and says nothing of what is right."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from dawan_node.crypto import merkle
from dawan_node.errors import OperatorError, StorageError
from dawan_node.execution import state_tree
from dawan_node.node.database.audit import replay
from dawan_node.node.database.finding import Fault
from dawan_node.node.database.opened import Opened, opened
from dawan_node.node.database.signature_queue import SignatureQueue
from dawan_node.node.home import Home
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.patch import is_patch
from dawan_node.primitives.transaction import Transaction
from dawan_node.storage import schema
from dawan_node.storage.block_store import DecidedBlock
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import Put
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.retention import nonces_of
from dawan_node.storage.state_view import StateHead
from dawan_node.testing.long_chain import Author, Maker, Plan, certify
from tests.node.database.kit import (
    CHANNEL,
    PLAN,
    alter,
    copy_of,
    grow,
    home_with_chain,
    keys,
    verified,
    with_another_epoch,
)

Change = Callable[[LevelDBStore], list[Put]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A chain of small blocks, whose history is kept in patches all the same."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(state_tree, "_PATCHED_FROM", 1)
        return home_with_chain(tmp_path_factory.mktemp("whole") / "home")


@pytest.fixture
def home(whole: Home, tmp_path: Path) -> Home:
    return copy_of(whole, tmp_path / "home")


def at(kind: bytes, height: int) -> bytes:
    return kind + schema.height_bytes(height)


def present(kv: LevelDBStore, key: bytes) -> bytes:
    value = kv.get(key)
    assert value is not None
    return value


def some(kv: LevelDBStore, kind: bytes, place: int = 3) -> tuple[bytes, bytes]:
    return list(kv.iterate(prefix=kind))[place]


def flipped(data: bytes, place: int = -1) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def test_a_chain_as_it_was_made_is_right(home: Home) -> None:
    found = verified(home)
    assert found.finding is None
    assert (found.height, found.base, found.blocks, found.transactions, found.certificates) == (12, 0, 12, 72, 12)
    assert found.state_records > 200 and found.invariants > 5


def other_envelope(kv: LevelDBStore) -> list[Put]:
    envelopes = list(schema.unpack_list(present(kv, at(schema.ENVELOPES, 4))))
    envelopes[2], envelopes[3] = envelopes[3], envelopes[2]
    return [(at(schema.ENVELOPES, 4), schema.pack_list(envelopes))]


def foreign_certificate(kv: LevelDBStore) -> list[Put]:
    data, links = msgspec.msgpack.decode(present(kv, at(schema.CERTIFICATE, 5)))
    certificate = CommitCertificate.decode(data)
    signatures = [flipped(certificate.signatures[0]), *certificate.signatures[1:]]
    forged = msgspec.structs.replace(certificate, signatures=signatures).encode()
    return [(at(schema.CERTIFICATE, 5), msgspec.msgpack.encode((forged, links)))]


def too_few_signatures(kv: LevelDBStore) -> list[Put]:
    data, links = msgspec.msgpack.decode(present(kv, at(schema.CERTIFICATE, 6)))
    certificate = CommitCertificate.decode(data)
    bits = certificate.bitmap[0]
    fewer = msgspec.structs.replace(
        certificate, bitmap=bytes([bits & (bits - 1)]), signatures=certificate.signatures[1:]
    ).encode()
    return [(at(schema.CERTIFICATE, 6), msgspec.msgpack.encode((fewer, links)))]


def other_header(kv: LevelDBStore) -> list[Put]:
    header = Header.decode(present(kv, at(schema.HEADER, 7)))
    return [(at(schema.HEADER, 7), msgspec.structs.replace(header, timestamp_ms=header.timestamp_ms + 1).encode())]


def other_receipt(kv: LevelDBStore) -> list[Put]:
    receipts = list(schema.unpack_list(present(kv, at(schema.RECEIPTS, 8))))
    return [(at(schema.RECEIPTS, 8), schema.pack_list([receipts[1], receipts[0], *receipts[2:]]))]


def altered_value(kind: bytes) -> Change:
    def change(kv: LevelDBStore) -> list[Put]:
        key, value = some(kv, kind)
        return [(key, flipped(value))]

    return change


def altered_patch(place: int) -> Change:
    """Another cell, or (2) another offset, in the last patch of the state tree's history."""

    def change(kv: LevelDBStore) -> list[Put]:
        key, value = [pair for pair in kv.iterate(prefix=schema.NODE_IMAGE) if is_patch(pair[1])][-1]
        return [(key, value[:place] + b"\xff" + value[place + 1 :] if place > 0 else flipped(value))]

    return change


def removed(kind: bytes) -> Change:
    return lambda kv: [(some(kv, kind)[0], None)]


def added(kind: bytes) -> Change:
    def change(kv: LevelDBStore) -> list[Put]:
        key, value = some(kv, kind)
        return [(flipped(key), value)]

    return change


@pytest.mark.parametrize(
    ("change", "fault", "height"),
    [
        pytest.param(other_header, Fault.HEADER, 0, id="header"),
        pytest.param(lambda kv: [(at(schema.HEADER, 9), None)], Fault.HEADER, 0, id="header-missing"),
        pytest.param(lambda kv: [(at(schema.RESULT, 3), None)], Fault.HEADER, 0, id="result-missing"),
        pytest.param(foreign_certificate, Fault.CERTIFICATE, 5, id="certificate"),
        pytest.param(too_few_signatures, Fault.CERTIFICATE, 6, id="no-quorum"),
        pytest.param(other_envelope, Fault.BODY, 4, id="body"),
        pytest.param(lambda kv: [(at(schema.ENVELOPES, 4), None)], Fault.UNREADABLE, 4, id="body-missing"),
        pytest.param(other_receipt, Fault.RECEIPT, 8, id="receipts"),
        pytest.param(removed(schema.TX_INDEX), Fault.INDEX, None, id="transaction-not-indexed"),
        pytest.param(altered_value(schema.TX_INDEX), Fault.INDEX, None, id="transaction-elsewhere"),
        pytest.param(added(schema.TX_INDEX), Fault.INDEX, 0, id="transaction-of-nobody"),
        pytest.param(removed(schema.HASH_INDEX), Fault.INDEX, 0, id="hash-not-indexed"),
        *[
            pytest.param(how(kind), Fault.STATE, 12, id=f"{what}-{word}")
            for kind, what in ((schema.STATE, "entity"), (schema.INDEX, "index"), (schema.NODE, "node"))
            for how, word in ((altered_value, "altered"), (removed, "removed"), (added, "added"))
        ],
        pytest.param(altered_value(schema.NODE_IMAGE), Fault.STATE, None, id="history-altered"),
        pytest.param(altered_patch(-1), Fault.STATE, None, id="patch-altered"),
        pytest.param(altered_patch(2), Fault.STATE, None, id="patch-beyond-its-node"),
        pytest.param(removed(schema.INDEX_IMAGE), Fault.STATE, None, id="history-forgotten"),
        pytest.param(removed(schema.NONCE), Fault.STATE, 12, id="nonce-forgotten"),
        pytest.param(added(schema.NONCE), Fault.STATE, 12, id="nonce-added"),
        pytest.param(lambda kv: [(schema.STATE_HEAD_KEY, None)], Fault.STATE, 0, id="no-state-head"),
    ],
)
def test_every_kind_of_record_is_checked(home: Home, change: Change, fault: Fault, height: int | None) -> None:
    alter(home, change)
    found = verified(home).finding
    assert found is not None and found.fault is fault, found
    assert height is None or found.height == height


def test_a_certified_result_that_execution_does_not_give_is_found(home: Home) -> None:
    def lie(maker: Maker, author: Author, database: Opened) -> None:
        head = maker.applier.head
        header, transactions = next_block(maker, author)
        execution = database.executor.execute(maker.applier._store.state, head.result, header, transactions)
        result = msgspec.structs.replace(execution.result, state_root=bytes(32))
        certificate = certify(maker.validators, maker.signers, header, result).encode()
        envelopes, tx_ids = (tuple(getattr(tx, name) for tx in transactions) for name in ("envelope", "tx_id"))
        block = DecidedBlock(header, result, certificate, (), envelopes, execution.receipts, tx_ids)
        maker.applier._store.commit(block, execution.changes)

    grow(home, lie)
    found = verified(home).finding
    assert found is not None and (found.fault, found.height) == (Fault.RESULT, 13)
    assert "state_root" in found.text
    with opened(home, CHANNEL) as database:
        done = replay(database, 13)
    assert done.result != done.stored


def next_block(maker: Maker, author: Author) -> tuple[Header, list[Transaction]]:
    head = maker.applier.head
    envelopes = author.envelopes(72, 78)
    transactions = [Transaction.decode(envelope) for envelope in envelopes]
    validators = keys().genesis.validator_set
    header = Header(
        1, keys().genesis.chain_id, 0, 13, head.block_hash, merkle.root([tx.leaf_hash for tx in transactions]), 6,
        sum(map(len, envelopes)), PLAN.time_ms(13, keys().genesis.created_ms), 0, validators.hash, False,
    )  # fmt: skip
    return header, transactions


def test_a_wrong_signature_under_a_certificate_is_found_unless_left_out(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forge(maker: Maker, author: Author, _: Opened) -> None:
        envelopes = author.envelopes(72, 78)
        maker.decide([flipped(envelopes[0]), *envelopes[1:]], PLAN.time_ms(13, keys().genesis.created_ms))

    grow(home, forge)
    found = verified(home).finding
    assert found is not None and (found.fault, found.height) == (Fault.SIGNATURE, 13)
    assert verified(home, signatures=False).finding is None
    monkeypatch.setattr("dawan_node.node.database.audit.SignatureQueue", partial(SignatureQueue, here_first=0))
    assert verified(home, processes=1).finding == found, "also where another process checks"


def test_what_no_validator_would_have_accepted_is_found(home: Home) -> None:
    def expired(maker: Maker, author: Author, _: Opened) -> None:
        header, transactions = next_block(maker, author)
        late = msgspec.structs.replace(header, timestamp_ms=header.timestamp_ms + 10**9)
        result = maker.applier.execute(late.hash, late, transactions).execution.result
        maker.applier.commit(
            late.hash, late, result, certify(maker.validators, maker.signers, late, result), (), transactions
        )

    grow(home, expired)
    found = verified(home).finding
    assert found is not None and (found.fault, found.height) == (Fault.BODY, 13)
    assert "valid" in found.text


def test_a_broken_rule_of_a_module_is_found(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dawan_node.execution.executor.Executor.violations", lambda *_, **__: ["receivable.sums: no"])
    found = verified(home).finding
    assert found is not None and (found.fault, found.text) == (Fault.INVARIANT, "receivable.sums: no")


def forget_bodies(home: Home, below: int) -> None:
    """As pruning leaves it: no bodies below a height, and history from there."""

    def change(kv: LevelDBStore) -> list[Put]:
        puts: list[Put] = []
        for height in range(1, below):
            uses = nonces_of(schema.unpack_list(present(kv, at(schema.ENVELOPES, height))))
            puts.append((at(schema.NONCE_LIST, height), encode([list(use) for use in uses])))
            puts += [(at(schema.ENVELOPES, height), None), (at(schema.RECEIPTS, height), None)]
            suffix = schema.height_bytes(height)
            puts += [
                (image + suffix, None) for image in msgspec.msgpack.decode(present(kv, schema.IMAGE_LIST + suffix))
            ]
            puts.append((schema.IMAGE_LIST + suffix, None))
        head = msgspec.msgpack.decode(present(kv, schema.STATE_HEAD_KEY), type=StateHead)
        puts.append((schema.STATE_HEAD_KEY, msgspec.msgpack.encode(StateHead(12, below - 1, head.timestamp_ms))))
        return puts

    alter(home, change)


def test_a_pruned_database_is_executed_again_from_its_oldest_state(home: Home) -> None:
    forget_bodies(home, 6)
    with opened(home, CHANNEL) as database:
        assert any(is_patch(image) for _, image in database.kv.iterate(prefix=schema.NODE_IMAGE)), "it is undone"
    found = verified(home)
    assert found.finding is None, found.finding
    assert (found.base, found.blocks, found.certificates) == (5, 7, 7)
    with opened(home, CHANNEL) as database:
        done = replay(database, 9)
        assert done.result == done.stored and done.blocks == 4
        with pytest.raises(OperatorError, match="oldest state"):
            replay(database, 3)


@pytest.mark.parametrize("kind", [schema.STATE, schema.INDEX, schema.NODE, schema.STATE_IMAGE])
def test_a_pruned_database_with_an_altered_state_is_found(home: Home, kind: bytes) -> None:
    forget_bodies(home, 6)

    def change(kv: LevelDBStore) -> list[Put]:
        pairs = [pair for pair in kv.iterate(prefix=kind) if pair[1]]
        key, value = pairs[-1]
        return [(key, flipped(value))]

    alter(home, change)
    found = verified(home).finding
    assert found is not None and found.fault is Fault.STATE


def test_what_retention_leaves_is_right_and_an_altered_entity_in_it_is_found(home: Home) -> None:
    with_another_epoch(home)
    with opened(home, CHANNEL) as database:
        retention = ChannelStore.over(database.kv, database.genesis.chain_id).retention
        while retention.step(20):
            pass
    found = verified(home)
    assert found.finding is None, found.finding
    assert (found.base, found.blocks, found.certificates) == (19, 2, 2)
    alter(home, altered_value(schema.STATE))
    wrong = verified(home).finding
    assert wrong is not None and wrong.fault is Fault.STATE


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (schema.NONCE_LIST, Fault.STATE),
        (schema.NONCE, Fault.STATE),
        (schema.CERTIFICATE, Fault.CERTIFICATE),
        (schema.HEADER, Fault.HEADER),
        (schema.HASH_INDEX, Fault.INDEX),
    ],
)
def test_what_is_kept_below_the_base_is_checked(home: Home, kind: bytes, fault: Fault) -> None:
    with_another_epoch(home)
    with opened(home, CHANNEL) as database:
        retention = ChannelStore.over(database.kv, database.genesis.chain_id).retention
        while retention.step(20):
            pass
    found = verified(home)
    assert (found.milestones, found.nonces_below) == (1, 12 * 6 + 7), "the barrier block, and all that is in force"

    def change(kv: LevelDBStore) -> list[Put]:
        milestone, certificate = next(kv.iterate(prefix=schema.CERTIFICATE))
        if kind == schema.CERTIFICATE:
            return [(milestone, flipped(certificate, -20))]
        if kind == schema.HASH_INDEX:
            return [(kind + Header.decode(present(kv, schema.HEADER + milestone[1:])).hash, None)]
        key, value = next(kv.iterate(prefix=kind))
        if kind == schema.NONCE_LIST:
            return [(key, flipped(value))]
        if kind == schema.HEADER:
            return [(at(kind, 7), present(kv, at(kind, 8)))]
        return [(key, None)]

    alter(home, change)
    wrong = verified(home).finding
    assert wrong is not None and wrong.fault is fault, wrong
    assert kind != schema.NONCE_LIST or "not those it used" in wrong.text


def test_replay_ends_where_it_is_told(home: Home) -> None:
    with opened(home, CHANNEL) as database:
        done = replay(database, 7)
        assert (done.height, done.blocks, done.transactions) == (7, 7, 42)
        assert done.result == done.stored
        assert replay(database, None).height == 12


def test_a_running_node_is_left_alone(home: Home) -> None:
    with opened(home, CHANNEL), pytest.raises(OperatorError, match="runs") as caught, opened(home, CHANNEL):
        pass
    assert "Stop it first" in caught.value.fix


def test_a_file_of_leveldb_with_one_bit_changed_is_no_database(home: Home) -> None:
    path = max(home.database(CHANNEL).glob("*.log"), key=lambda file: file.stat().st_size)
    path.write_bytes(flipped(path.read_bytes(), path.stat().st_size // 2))
    with pytest.raises(StorageError):
        verified(home)


def test_certificates_are_judged_by_the_validators_of_their_epoch(home: Home) -> None:
    with_another_epoch(home)
    found = verified(home)
    assert found.finding is None, found.finding
    assert found.height == 21 and found.certificates == 21
    old = {key.public_key: key for key in keys().validators}

    def sign_with_the_old_set(kv: LevelDBStore) -> list[Put]:
        puts: list[Put] = []
        for height in (18, 19, 20, 21):  # the signers take turns; gz1 with its old key is among them at three of these
            header = Header.decode(present(kv, at(schema.HEADER, height)))
            result = Result.decode(present(kv, at(schema.RESULT, height)))
            assert header.epoch == 1
            forged = certify(keys().genesis.validator_set, old, header, result).encode()
            puts.append((at(schema.CERTIFICATE, height), msgspec.msgpack.encode((forged, ()))))
        return puts

    alter(home, sign_with_the_old_set)
    wrong = verified(home).finding
    assert wrong is not None and wrong.fault is Fault.CERTIFICATE and wrong.height in (18, 19)


def test_a_longer_chain_goes_on_from_a_verified_one(home: Home) -> None:
    grow(
        home,
        lambda maker, author, _: [  # type: ignore[func-returns-value]
            maker.decide(author.envelopes(6 * (h - 1), 6 * h), PLAN.time_ms(h, keys().genesis.created_ms))
            for h in (13, 14)
        ],
    )
    assert verified(home).height == 14 and verified(home).finding is None
    assert Plan(14, 6).transactions == 84
