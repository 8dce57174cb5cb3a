"""``db`` and ``backup`` as an operator meets them: words, exit codes, and one home through its life."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dawan_node.cli import db
from dawan_node.cli.exit_codes import ExitCode
from dawan_node.cli.main import cli
from dawan_node.node.home import Home
from dawan_node.storage import schema
from dawan_node.storage.leveldb import LevelDBStore, marker_path, read_sign
from dawan_node.storage.lock import NodeLock
from dawan_node.testing.long_chain import Plan
from dawan_node.testing.long_chain_homes import CHANNEL, cached, place


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def done(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chain = cached(Plan(blocks=6, txs=4), cache=tmp_path_factory.mktemp("cache"), processes=0)
    return place(chain, tmp_path_factory.mktemp("net") / "net", empty=("mo1",)).folder


@pytest.fixture
def home(network: Path) -> Home:
    return Home(network / "gz1")


def test_info_and_verify_and_replay_say_what_an_operator_asks(home: Home) -> None:
    shown = done("db", "info", "--home", home.path)
    assert "trade: height 6" in shown and "24, those of blocks 1 to 6 are kept" in shown and "state tree" in shown
    plain = json.loads(done("db", "info", "--home", home.path, "-o", "json"))
    assert plain[0]["height"] == 6 and plain[0]["chain_id"].startswith("0x")
    assert "trade is right: 6 blocks with 24 transactions" in done("db", "verify", "--home", home.path)
    replayed = json.loads(done("db", "replay", "--to", 4, "--home", home.path, "-o", "json"))
    assert replayed["result_hash"] == replayed["stored_result_hash"] and replayed["height"] == 4
    assert "now." in done("db", "compact", "--home", home.path)


def test_plan_says_what_it_rests_on(home: Home, tmp_path: Path) -> None:
    shown = done("db", "plan", "--tps", 50, "--years", 5, "--home", tmp_path / "none")
    assert "a generated chain" in shown and "TOTAL" in shown and "TiB" in shown
    usual = json.loads(done("db", "plan", "--tps", 50, "--home", home.path, "-o", "json"))
    kept = json.loads(done("db", "plan", "--tps", 50, "--retain", 10, "--home", home.path, "-o", "json"))
    assert kept["bodies"] < usual["bodies"] and kept["state"] == usual["state"]
    assert run("db", "plan", "--tps", -1, "--home", home.path).exit_code == ExitCode.USAGE


def test_blocks_go_from_one_home_to_another(network: Path, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "all.blk"
    assert "blocks 1 to 6, 24 transactions" in done("db", "export", file, "--home", home.path)
    assert "the chain ends at height 6" in done("db", "import", file, "--home", network / "mo1")
    assert "Nothing to do" in done("db", "import", file, "--home", network / "mo1")
    file.write_bytes(file.read_bytes()[:-1])
    cut = run("db", "import", file, "--home", network / "hk1")
    assert cut.exit_code == ExitCode.FAILED
    assert "XF_TRUNCATED" in cut.stderr and "Next: " in cut.stderr
    again = run("db", "export", file, "--home", home.path)
    assert again.exit_code == ExitCode.FAILED and "XF_EXISTS" in again.stderr


def test_a_fault_is_exit_code_one_with_its_name_and_the_next_step(network: Path) -> None:
    home = Home(network / "hq1")
    with closing(LevelDBStore.open(home.database(CHANNEL))) as kv:
        key, value = next(iter(kv.iterate(prefix=schema.STATE)))
        kv.write([(key, value + b"\0")], sync=True)
    found = run("db", "verify", "--home", home.path)
    assert found.exit_code == ExitCode.FAILED
    assert "DB_STATE: trade is not right at height 6" in found.stderr and "Next: Move data/CHANNEL away" in found.stderr
    plain = run("db", "verify", "--home", home.path, "-o", "json")
    assert plain.exit_code == ExitCode.FAILED and json.loads(plain.stdout)["finding"]["fault"] == "DB_STATE"
    path = max(home.database(CHANNEL).iterdir(), key=lambda file: file.stat().st_size)
    path.write_bytes(path.read_bytes()[:100])
    assert "DB_UNREADABLE" in run("db", "verify", "--home", home.path).stderr


def test_every_command_leaves_a_running_node_alone(home: Home, tmp_path: Path) -> None:
    commands = {
        "info": (), "verify": (), "replay": (), "compact": (), "export": (tmp_path / "x",),
        "plan": ("--tps", 1), "diff": ("http://127.0.0.1:9",), "import": (tmp_path / "x",),
    }  # fmt: skip
    assert set(commands) <= set(db.COMMANDS)
    (tmp_path / "x").write_bytes(b"")
    lock = NodeLock.acquire_home(home.data)
    try:
        for name, words in commands.items():
            result = run("db", name, *words, "--home", home.path)
            assert result.exit_code == ExitCode.FAILED, name
            expected = {"import": "XF_", "diff": "runs"}.get(name, "runs")
            assert expected in result.stderr, (name, result.stderr)
    finally:
        lock.release()
    missing = run("db", "info", "--home", tmp_path)
    assert missing.exit_code == ExitCode.FAILED and "not a node's folder" in missing.stderr


def test_a_ledger_survives_its_machine(network: Path, home: Home, tmp_path: Path) -> None:
    passphrase = network / "passphrase"
    made = done("backup", "create", "--name", "one", "--home", home.path)
    folder = home.path / "backups" / "one"
    assert str(folder) in made and "trade at height 6" in made and "never restored" in made
    assert "BK_EXISTS" in run("backup", "create", "--name", "one", "--home", home.path).stderr
    assert "one" in done("backup", "list", "--home", home.path)
    assert "is whole" in done("backup", "verify", folder)
    assert "trade is right: 6 blocks executed again" in done("backup", "verify", folder, "--deep")
    new = tmp_path / "new"
    done(
        "init", "--home", new, "--name", "gz1", "--org", "gz", "--ca", home.keys / "ca", "--passphrase-file", passphrase
    )
    shown = done("backup", "restore", folder, "--home", new)
    assert "It observes; it signs nothing." in shown
    for line in ("network validator-request", "network replace-validator", "vote rekey-gz1", "enact rekey-gz1", "run"):
        assert line in shown
    assert "is right" in done("db", "verify", "-c", CHANNEL, "--home", new)
    assert "BK_NOT_EMPTY" in run("backup", "restore", folder, "--home", new).stderr
    records = folder / "trade.records"
    records.write_bytes(records.read_bytes().replace(b"supplier", b"Supplier", 1))
    broken = run("backup", "verify", folder)
    assert broken.exit_code == ExitCode.FAILED and "BK_ALTERED" in broken.stderr


def test_a_command_that_brings_an_older_database_up_says_so_beside_it(network: Path) -> None:
    """An older version reads the sign first: it refuses then, before it opens anything."""
    home = Home(network / "mo1")
    database = home.database(CHANNEL)
    with closing(LevelDBStore.open(database)) as kv:
        kv.write([schema.schema_put(1)], sync=True)
    sign = marker_path(database)
    sign.write_bytes(sign.read_bytes().replace(b"schema %d" % schema.SCHEMA_VERSION, b"schema 1"))
    done("db", "verify", "--home", home.path)
    assert read_sign(database).schema == schema.SCHEMA_VERSION
    with closing(LevelDBStore.open(database)) as kv:
        assert schema.schema_version(kv) == schema.SCHEMA_VERSION
