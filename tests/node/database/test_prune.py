"""``db prune``, and what the other tools make of a database that lost its old blocks or never had them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dawan_node.cli.main import cli
from dawan_node.errors import InvalidMessage
from dawan_node.node.home import Home
from dawan_node.node.keeping import Keeping
from dawan_node.node.restore import open_channel
from dawan_node.node.snapshot_install import build
from dawan_node.node.snapshot_keeper import epoch_proofs
from dawan_node.node.snapshot_maker import make_snapshot
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_format import Layout, Manifest
from dawan_node.sync.snapshot_messages import EpochProof, TrustedEpoch
from dawan_node.testing.long_chain import Plan
from tests.node.database.kit import CHANNEL, copy_of, home_with, home_with_chain, keys, verified, with_another_epoch
from tests.node.ledger import START_MS

#: A block a minute, so that the transactions of all but the last hour have expired.
LONG = Plan(blocks=175, txs=1, interval_ms=60_000)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the blocks that must be kept on a real node."""
    monkeypatch.setattr("dawan_node.node.keeping.RETAIN_BLOCKS_MIN", 100)
    monkeypatch.setattr("dawan_node.node.config.RETAIN_BLOCKS_MIN", 100)


@pytest.fixture(scope="module")
def long_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_with_chain(tmp_path_factory.mktemp("prune") / "home", LONG)
    home.config_file.write_text('[node]\nname = "gz1"\norg = "gz"\n')
    return home


@pytest.fixture
def home(long_home: Home, tmp_path: Path) -> Home:
    return copy_of(long_home, tmp_path / "home")


def run(home: Home, *options: str) -> Result:
    return CliRunner().invoke(cli, ["db", "prune", "--home", str(home.path), *options])


def test_old_blocks_leave_and_everything_that_is_left_verifies(home: Home) -> None:
    answer = run(home, "--blocks", "100")
    assert answer.exit_code == 0, answer.output
    assert "75 blocks removed; those from 76 to 175 are kept" in answer.output and "db compact" in answer.output
    found = verified(home)
    assert found.finding is None and found.base == 75
    assert "0 blocks removed" in run(home, "--blocks", "100").output


def test_what_node_toml_says_is_what_is_done(home: Home) -> None:
    assert run(home).exit_code == 2, "it keeps everything"
    with home.config_file.open("a") as file:
        file.write(f"[storage]\nretain = {{ blocks = 150 }}\nchannel = {{ {CHANNEL} = {{ blocks = 110 }} }}\n")
    assert "65 blocks removed" in run(home).output


def test_less_than_others_need_is_refused(home: Home) -> None:
    answer = run(home, "--blocks", "99")
    assert answer.exit_code == 2 and "peers and proofs need the newest 100 blocks" in answer.output
    assert "75 blocks removed" in run(home, "--blocks", "100").output, "nothing was touched"


def test_blocks_of_the_last_days_stay(home: Home) -> None:
    assert "0 blocks removed" in run(home, "--days", "1").output


def snapshot_of(home: Home, folder: Path) -> tuple[Keeping, tuple[EpochProof, ...]]:
    """A fetched snapshot of the home's head in ``folder``, and the walk to its epoch."""
    keeping = Keeping(folder)
    parts = open_channel(keys().genesis, home.database(CHANNEL), 100, None, None, START_MS)
    keeping.incoming.path.mkdir(parents=True)
    view = parts.store.snapshot()
    manifest = make_snapshot(view, keeping.incoming, lambda: None, 3_000)
    view.close()
    proofs = tuple(epoch_proofs(parts.store.blocks, 0))
    parts.store.close()
    keeping.incoming.write_manifest(Chosen(manifest.encode(), proofs).encode())
    return keeping, proofs


def test_a_snapshot_over_an_epoch_is_proven_from_the_genesis_and_verifies_as_a_database(tmp_path: Path) -> None:
    home = home_with_chain(tmp_path / "home")
    with_another_epoch(home)
    newcomer = home_with(tmp_path / "newcomer")
    keeping, proofs = snapshot_of(home, newcomer.channel_folder(CHANNEL))
    kept = keeping.incoming.manifest()
    assert kept is not None
    manifest = Chosen.decode(kept).manifest
    finality = Manifest.decode(manifest).finality
    genesis = keys().genesis
    start = TrustedEpoch(0, 1, genesis.validator_set)
    with pytest.raises(InvalidMessage, match="validator"):
        start.final(genesis.chain_id, finality)
    (reached,) = start.follow(genesis.chain_id, proofs)
    assert reached.epoch == 1
    header, result = reached.final(genesis.chain_id, finality)
    assert Layout.of(Manifest.decode(manifest)).runs == 1

    opened = open_channel(genesis, tmp_path / "unused" / "db", 100, None, None, START_MS)
    build(keeping.incoming, opened.executor)
    opened.store.close()
    parts = open_channel(genesis, newcomer.database(CHANNEL), 100, None, None, START_MS, keeping)
    assert parts.head.height == header.height and parts.head.result == result
    assert parts.head.epoch == 1 and parts.head.rules.validators == reached.validators
    assert parts.store.blocks.epoch(1) is not None and parts.store.blocks.finality(reached.first - 1) is not None
    parts.store.close()
    found = verified(newcomer)
    assert found.finding is None and found.base == header.height
