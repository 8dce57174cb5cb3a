"""A test network whose validators have a long chain behind them: ``python -m dawan_node.testing.long_chain_homes``.

    chain = cached(Plan(blocks=100_000, txs=2, away=("mo1",)))
    network = place(chain, Path("far"), empty=("mo1",))     # mo1 is 100,000 blocks behind
    # now `dawan-node devnet start --home far`, or any Processes(network)

The chain is made once under ``$XDG_CACHE_HOME/dawan-node/chains`` (default ``~/.cache``) and copied from there; it is
under construction in a folder of another name until it is complete, and the cache may be deleted at any time. What is
cached is a whole network: its homes with their keys (protected by a passphrase that lies beside them; they guard
nothing) and one database. Each copy gets free ports of its own, so several may run at once.

Every node that holds the chain also holds its head in its write-ahead log, as after a catch-up (record SYNCED): it
may vote at once. A node in ``empty`` has the log and the keys that ``init`` made and no database of the channel. Unless
the plan has it ``away``, the chain holds votes of its key that its log does not know, and once started it only observes
(amendment U6).
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from dawan_node.cli import devnet_network
from dawan_node.cli.devnet_creation import create, move, template_for
from dawan_node.cli.devnet_network import Devnet
from dawan_node.consensus.records import DecidedRecord, RecordKind
from dawan_node.crypto import keystore
from dawan_node.errors import OperatorError
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.schema import SCHEMA_VERSION
from dawan_node.storage.wal import Wal, WalRecord
from dawan_node.testing.long_chain import RECIPE, Keys, Plan, build

CHANNEL: Final = "trade"
_DONE: Final = "chain.json"


@dataclass(frozen=True, slots=True)
class Chain:
    """A finished chain in the cache. ``head`` is its last block, encoded as a log's SYNCED record."""

    folder: Path
    plan: Plan
    chain_id: bytes
    height: int
    result_hash: bytes
    head: bytes

    @property
    def database(self) -> Path:
        """Its LevelDB; open only copies of it."""
        return self.folder / "ledger" / "db"

    @property
    def network(self) -> Devnet:
        """The homes, which never run where they are."""
        return devnet_network.load(self.folder / "devnet")

    @property
    def genesis(self) -> Genesis:
        """What the chain starts from."""
        network = self.network
        return Genesis.decode(network.home(network.nodes[0]).genesis_file(CHANNEL).read_bytes())


def cache_folder() -> Path:
    """Where chains are kept, outside of any checkout."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "dawan-node" / "chains"


def cached(
    plan: Plan,
    *,
    n: int = 4,
    cache: Path | None = None,
    processes: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Chain:
    """The chain of ``plan`` under a network of ``n`` validators, made now if the cache does not have it.

    Two processes that want the same chain make it once: the second waits. Raises OperatorError.
    """
    cache = cache or cache_folder()
    # What the homes hold follows from the test network's document: its people, channels and modules.
    document = msgspec.json.encode(template_for(n), order="deterministic")
    recipe = f"{RECIPE} {SCHEMA_VERSION} {n} {plan.describe()} "
    folder = cache / hashlib.sha256(recipe.encode() + document).hexdigest()[:24]
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / _DONE).exists():
            _make(plan, n, folder, processes, report)
    record = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    return Chain(
        folder,
        plan,
        bytes.fromhex(record["chain_id"]),
        record["height"],
        bytes.fromhex(record["result_hash"]),
        bytes.fromhex(record["head"]),
    )


def place(chain: Chain, folder: Path, *, empty: Collection[str] = ()) -> Devnet:
    """Copy the network to the new folder ``folder`` on free ports, the chain under every node but those of ``empty``.

    Raises OperatorError when the folder is not empty or a name is no node's.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(f"{folder} is not empty", "nothing is overwritten", "Choose another --to.")
    cached_network = chain.network
    for name in empty:
        cached_network.find(name)
    shutil.copytree(cached_network.folder, folder, dirs_exist_ok=True)
    network = move(Devnet(folder, cached_network.nodes), datetime.now(UTC))
    for node in network.nodes:
        home = network.home(node)
        if node.name in empty:
            continue
        give(chain, home.database(CHANNEL))
        log = Wal.open(home.wal)
        log.append([WalRecord(chain.chain_id, RecordKind.SYNCED, chain.head)])
        log.close()
    return network


def give(chain: Chain, database: Path) -> None:
    """Copy the chain's database to ``database``, its marker beside it last."""
    database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = chain.database.parent
    shutil.copytree(chain.database, database)
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.endswith(".lock"):
            shutil.copy2(path, database.parent / path.name)


def keys_of(network: Devnet, channel: str = CHANNEL) -> Keys:
    """Every key of a test network that makes blocks of ``channel``."""
    passphrase = network.passphrase_file.read_bytes().strip()
    homes = [network.home(node) for node in network.nodes]
    genesis = Genesis.decode(homes[0].genesis_file(channel).read_bytes())
    validators = {entry.name for entry in genesis.validators}
    keys = [
        keystore.load_signing_key(network.home(node).node_key, passphrase)
        for node in network.nodes
        if node.name in validators
    ]
    return Keys.of(genesis, keys, network.identity_keys())


def _make(plan: Plan, n: int, folder: Path, processes: int | None, report: Callable[[str], None]) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    for leftover in (unfinished, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    network = create(unfinished / "devnet", n)
    keys = keys_of(network)
    database = unfinished / "ledger" / "db"
    result = build(plan, keys, database, processes=processes, report=report)
    store = ChannelStore.open(database, keys.genesis.chain_id)
    try:
        stored = store.head
    finally:
        store.close()
    if stored.header is None or stored.certificate is None or stored.result != result:
        raise AssertionError("the database does not end with the block that was made last")
    head = head_record(stored.header, stored.result, stored.certificate.certificate)
    record = {
        "plan": json.loads(plan.describe()),
        "chain_id": keys.genesis.chain_id.hex(),
        "height": stored.height,
        "result_hash": result.hash.hex(),
        "head": head.hex(),
    }
    (unfinished / _DONE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.rename(unfinished, folder)


def head_record(header: Header, result: Result, certificate: bytes) -> bytes:
    """What a log's SYNCED record holds of a decided block."""
    return DecidedRecord(header, result, (), CommitCertificate.decode(certificate)).encode()


def main() -> int:
    """Make a chain, and with ``--to`` a network on it; prints where."""
    parser = argparse.ArgumentParser(prog="scripts/long-chain", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--blocks", type=int, required=True)
    parser.add_argument("--txs", type=int, default=1, help="transactions per block (default 1)")
    parser.add_argument("--module", default="receivable", help="receivable or governance (bare ticks)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval-ms", type=int, default=1_000, help="block time between two blocks")
    parser.add_argument("-n", type=int, default=4, help="validators")
    parser.add_argument("--processes", type=int, help="signing processes (default: one per core)")
    parser.add_argument("--to", type=Path, help="copy a network with the chain into this new folder")
    parser.add_argument(
        "--empty", default="", help="nodes that signed nothing and do not get the chain, by name, comma between"
    )
    options = parser.parse_args()

    def report(line: str) -> None:
        sys.stderr.write(line + "\n")

    try:
        empty = [name for name in options.empty.split(",") if name]
        plan = Plan(
            options.blocks, options.txs, options.module, options.seed, options.interval_ms, tuple(sorted(set(empty)))
        )
        started = time.monotonic()
        chain = cached(plan, n=options.n, processes=options.processes, report=report)
        report(f"{chain.folder}: height {chain.height:,}, {time.monotonic() - started:.1f} s")
        if options.to is None:
            sys.stdout.write(f"{chain.folder}\n")
            return 0
        place(chain, options.to, empty=empty)
    except OperatorError as error:
        report(f"Error: {error.what}: {error.why}. Next: {error.fix}")
        return 1
    sys.stdout.write(f"{options.to}: dawan-node devnet start --home {options.to}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
