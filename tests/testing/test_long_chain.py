"""Chains made without consensus are chains like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawan_node.consensus.records import DecidedRecord
from dawan_node.crypto import keystore
from dawan_node.errors import OperatorError
from dawan_node.node import consortium
from dawan_node.node.restore import open_channel
from dawan_node.node.signer import NodeSigner
from dawan_node.primitives.certificate import CommitCertificate, indexes_of
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Transaction
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.wal import Wal
from dawan_node.testing.long_chain import Keys, Plan, build
from dawan_node.testing.long_chain_homes import CHANNEL, cached, give, place

NOW_MS = 1_800_000_000_000


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys.of_kit()


def test_a_plan_gives_the_same_chain_however_many_processes_sign(tmp_path: Path, keys: Keys) -> None:
    plan = Plan(blocks=9, txs=7)
    alone = build(plan, keys, tmp_path / "alone" / "db", processes=0)
    together = build(plan, keys, tmp_path / "together" / "db", processes=1)
    other = build(Plan(blocks=9, txs=7, seed=2), keys, tmp_path / "other" / "db", processes=0)
    assert alone == together != other


def test_every_signature_of_the_chain_verifies(tmp_path: Path, keys: Keys) -> None:
    plan = Plan(blocks=12, txs=3)
    build(plan, keys, tmp_path / "trade" / "db", processes=0)
    store = ChannelStore.open(tmp_path / "trade" / "db", keys.genesis.chain_id)
    try:
        assert store.head.height == 12
        store.blocks.verify_bodies(1, 12)
        signers = set()
        for height in range(1, 13):
            stored, envelopes = store.blocks.certificate(height), store.blocks.envelopes(height)
            assert stored is not None and envelopes is not None
            certificate = CommitCertificate.decode(stored.certificate)
            certificate.verify(keys.genesis.chain_id, keys.genesis.validator_set)
            signers.add(certificate.bitmap)
            assert [Transaction.decode(envelope).verify_signature() for envelope in envelopes] == [True] * 3
        assert len(signers) == 4, "not all validators take their turn in certificates"
    finally:
        store.close()


def test_a_chain_the_channel_does_not_allow_is_refused(tmp_path: Path, keys: Keys) -> None:
    for plan in (Plan(blocks=1, txs=5_000), Plan(blocks=1, interval_ms=10**12)):
        with pytest.raises(OperatorError):
            build(plan, keys, tmp_path / "db")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OperatorError, match="module"):
        Plan(blocks=1, module="insurance")


def keys_by_name(genesis: Genesis) -> dict[str, bytes]:
    return {entry.name: entry.public_key for entry in genesis.validators}


def test_at_most_f_validators_of_a_chain_were_away(tmp_path: Path, keys: Keys) -> None:
    names = [entry.name for entry in keys.genesis.validators]
    for away in (tuple(names[:2]), ("nobody",)):
        with pytest.raises(OperatorError, match="away"):
            build(Plan(blocks=1, away=away), keys, tmp_path / "db")


def test_a_network_goes_on_from_a_chain_and_one_node_is_behind(tmp_path: Path) -> None:
    plan = Plan(blocks=10, txs=2, away=("mo1",))
    chain = cached(plan, cache=tmp_path / "cache", processes=0)
    again = cached(plan, cache=tmp_path / "cache", processes=0)
    assert again == chain and chain.height == 10
    assert DecidedRecord.decode(chain.head).header.height == 10
    store = ChannelStore.open(chain.database, chain.chain_id)
    own = chain.genesis.validator_set.index_of(keys_by_name(chain.genesis)["mo1"])
    for height in range(1, 11):
        stored = store.blocks.certificate(height)
        assert stored is not None and own is not None
        voters = indexes_of(CommitCertificate.decode(stored.certificate).bitmap, 4)
        assert own not in voters, "its home would find a vote that it does not remember, and never vote again"
    store.close()
    network = place(chain, tmp_path / "net", empty=("mo1",))
    passphrase = network.passphrase_file.read_bytes().strip()
    for node in network.nodes:
        home = network.home(node)
        parties = consortium.load(home.consortium_file)
        assert parties.genesis(CHANNEL).chain_id == chain.chain_id, "moving to other ports changed the genesis"
        assert home.database(CHANNEL).exists() == (node.name != "mo1")
        if node.name == "hk1":
            continue  # gz1 stands for those with the chain
        log = Wal.open(home.wal)
        try:
            key = NodeSigner(keystore.load_signing_key(home.node_key, passphrase))
            parts = open_channel(chain.genesis, home.database(CHANNEL), 100, log.records(), key, NOW_MS)
            assert parts.head.height == (0 if node.name == "mo1" else 10)
            assert parts.signer is not None, "the node may not vote"
            parts.store.close()
        finally:
            log.close()
    copies = [place(chain, tmp_path / f"copy-{number}", empty=("gz1", "hk1", "mo1", "hq1")) for number in range(2)]
    addresses = [node.p2p for copy in (network, *copies) for node in copy.nodes]
    assert len(set(addresses)) > 8, "copies get ports of their own"
    give(chain, tmp_path / "elsewhere" / "db")
    store = ChannelStore.open(tmp_path / "elsewhere" / "db", chain.chain_id)
    assert store.head.result.hash == chain.result_hash
    store.close()
