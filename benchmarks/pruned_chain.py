"""What a database proves after its old blocks left: the second half of ``benchmarks.long_chain``.

Nothing here believes the node. What old objects were is read before anything is pruned; afterwards a node runs on the
pruned database, and its answers over JSON-RPC are proven against the validators of the genesis alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.errors import InvalidProof
from dawan_node.execution import state_tree
from dawan_node.execution.keys import key_of
from dawan_node.node.database.opened import Opened, directory_bytes, opened
from dawan_node.node.home import Home
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.proofs import FinalityProof, StateProof
from dawan_node.primitives.receipt import Receipt
from dawan_node.rpc.client import Client, RpcError, Unreachable
from dawan_node.storage import schema
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.testing.long_chain import STORIES, Plan
from dawan_node.testing.long_chain_homes import CHANNEL

#: Old objects whose proofs are checked, and old transactions and blocks that are asked for.
PROVEN = 200
START_S = 600.0

Measured = Callable[[list[str]], tuple[str, float, float]]

SNAPSHOT = """
import sys, time, json
from pathlib import Path
from dawan_node.execution.executor import Executor
from dawan_node.node.database.opened import executor_of
from dawan_node.node.snapshot_install import build
from dawan_node.node.snapshot_keeper import epoch_proofs
from dawan_node.node.snapshot_maker import make_snapshot
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.snapshot_files import PartFolder
from dawan_node.sync.snapshot_chosen import Chosen
genesis = Genesis.decode(Path(sys.argv[2]).read_bytes())
folder = PartFolder(Path(sys.argv[3]))
folder.path.mkdir(parents=True)
store = ChannelStore.open(Path(sys.argv[1]), genesis.chain_id)
started = time.perf_counter()
view = store.snapshot()
manifest = make_snapshot(view, folder, lambda: None)
view.close()
made_s = time.perf_counter() - started
folder.write_manifest(Chosen(manifest.encode(), tuple(epoch_proofs(store.blocks, 0))).encode())
root = store.head.result.state_root
store.close()
started = time.perf_counter()
build(folder, executor_of(genesis))
installed_s = time.perf_counter() - started
newcomer = ChannelStore.open(folder.path / "db", genesis.chain_id)
assert newcomer.head.result.state_root == root, "another state root"
newcomer.close()
print(json.dumps([made_s, installed_s, manifest.chunk_bytes, manifest.entries]))
"""


def pruned(
    measured: Measured, network: Devnet, node: DevnetNode, plan: Plan, keep: int, folder: Path, opening: list[str]
) -> dict[str, Any]:
    """Prune ``node``'s copy of the chain to the last ``keep`` blocks and check that it still proves its state."""
    home = network.home(node)
    with opened(home, CHANNEL) as database:
        genesis = database.genesis
        objects = _old_objects(database, plan, keep)
        tx_ids = _old_transactions(database, plan.blocks - keep)
    figures: dict[str, Any] = {}

    def step(name: str, *words: str) -> str:
        command = [sys.executable, "-m", "dawan_node", "db", *words, "-c", CHANNEL, "--home", str(home.path)]
        output, seconds, peak = measured(command)
        figures[f"{name}_s"], figures[f"{name}_peak_mib"] = round(seconds, 1), round(peak)
        return output

    print(step("prune", "prune", "--blocks", str(keep)).strip(), file=sys.stderr)
    path = home.database(CHANNEL)
    figures["pruned_bytes"] = directory_bytes(path)
    step("compact", "compact")
    figures["pruned_compacted_bytes"] = directory_bytes(path)
    opens = [measured(opening) for _ in range(3)]
    figures["pruned_open_s"] = round(min(float(output) for output, _, _ in opens), 3)
    figures["pruned_open_peak_mib"] = round(max(peak for _, _, peak in opens))
    report = json.loads(step("pruned_verify", "verify", "-o", "json", "--scratch", str(folder)))
    figures["pruned_verify_base"] = report["base"]
    figures["pruned_verify_transactions_per_s"] = round(report["transactions"] / report["seconds"])
    if report["finding"] is not None or report["base"] != plan.blocks - keep:
        raise SystemExit(f"db verify of the pruned database: {report}")
    _check_root(home)
    snapshot = [sys.executable, "-c", SNAPSHOT, str(path), str(home.genesis_file(CHANNEL)), str(folder / "snapshot")]
    output, _, peak = measured(snapshot)
    made_s, installed_s, total_bytes, entries = json.loads(output)
    figures |= {
        "snapshot_made_s": round(made_s, 1),
        "snapshot_installed_s": round(installed_s, 1),
        "snapshot_mib": round(total_bytes / 2**20, 1),
        "snapshot_entries": entries,
        "snapshot_peak_mib": round(peak),
    }
    return figures | _served(network, node, genesis, plan.blocks - keep, objects, tx_ids)


def _old_objects(database: Opened, plan: Plan, keep: int) -> list[tuple[str, bytes, bytes]]:
    """Collection, key and value of invoices whose deal was over before the oldest block that will be kept."""
    if plan.module != "receivable":
        raise SystemExit("only chains of receivables have objects to prove; use --prune 0")
    store = ChannelStore.over(database.kv, database.genesis.chain_id)
    story = STORIES[plan.module](plan, database.genesis)
    deals = (plan.blocks - keep) * plan.txs // 4 - 1
    found: list[tuple[str, bytes, bytes]] = []
    for number in range(PROVEN):
        key = key_of(story.call(4 * (deals * number // PROVEN) + 1)[2]["invoice"])
        value = store.state.get("receivable", "invoice", key)
        if value is None:
            raise SystemExit(f"invoice {key!r} is not in the state")
        found.append(("invoice", key, value))
    return found


def _old_transactions(database: Opened, below: int) -> list[bytes]:
    store = ChannelStore.over(database.kv, database.genesis.chain_id)
    heights = sorted({1 + (below - 1) * number // PROVEN for number in range(PROVEN)})
    found: list[bytes] = []
    for height in heights:
        receipts = store.blocks.receipts(height)
        assert receipts is not None, height
        found.append(Receipt.decode(receipts[0]).tx_id)
    return found


def _check_root(home: Home) -> None:
    """The state root in the certified result is that of the stored tree."""
    with opened(home, CHANNEL) as database:
        store = ChannelStore.over(database.kv, database.genesis.chain_id)
        proof = store.blocks.finality(store.head.height)
        assert proof is not None
        _, result = proof.verify(database.genesis.chain_id, 0, database.genesis.validator_set)
        root = state_tree.root(lambda node: database.kv.get(schema.NODE + node))
    if root != result.state_root:
        raise SystemExit("the stored tree has another root than the certified one")


def _served(
    network: Devnet,
    node: DevnetNode,
    genesis: Genesis,
    below: int,
    objects: list[tuple[str, bytes, bytes]],
    tx_ids: list[bytes],
) -> dict[str, Any]:
    """Run the node on the pruned database, stop it, start it again, kill it, start it a third time."""
    processes = Processes(network)
    figures: dict[str, Any] = {}
    try:
        for name in ("start", "restart", "restart_after_kill"):
            figures[f"{name}_s"] = round(_start(processes, node), 1)
            with Client(node.rpc_url) as client:
                _ask(client, genesis, below, objects, tx_ids)
            figures[f"{name}_peak_mib"] = _peak_mib(processes.pid(node))
            if name == "start":
                processes.stop((node,))
            elif name == "restart":
                processes.kill(node)
    finally:
        processes.stop((node,))
    return figures | {"proofs_checked": 3 * len(objects), "pruned_lookups": 3 * 3 * len(tx_ids)}


def _start(processes: Processes, node: DevnetNode) -> float:
    """Seconds until the node answers."""
    started = time.monotonic()
    processes.start(node)
    while time.monotonic() - started < START_S:
        try:
            with Client(node.rpc_url) as client:
                client.chain_head(CHANNEL)
            return time.monotonic() - started
        except (Unreachable, RpcError):
            if processes.pid(node) is None:
                break
            time.sleep(0.05)
    raise SystemExit(f"the node does not answer: {processes.last_words(node)}")


def _ask(
    client: Client, genesis: Genesis, below: int, objects: list[tuple[str, bytes, bytes]], tx_ids: list[bytes]
) -> None:
    trust = genesis.chain_id, 0, genesis.validator_set
    head = client.chain_getFinalityProof(CHANNEL)
    _, certified = FinalityProof.decode(_bytes(head["proof"])).verify(*trust)
    for collection, key, value in objects:
        answer = client.state_get(CHANNEL, "receivable", collection, key, "latest", True)
        proof = StateProof.decode(_bytes(answer["proof"]))
        _, proven = proof.verify(*trust)
        _, result = FinalityProof.decode(proof.finality_proof).verify(*trust)
        if proven != value or (proof.module, proof.collection, proof.key) != ("receivable", collection, key):
            raise SystemExit(f"the proof of {collection} {key!r} proves something else than was there before pruning")
        if result.state_root != certified.state_root:
            raise SystemExit("a proof is of another state than the head's")
    forged = msgspec.structs.replace(proof, value=proof.value + b"\x00")
    try:
        forged.verify(*trust)
    except InvalidProof:
        pass
    else:
        raise SystemExit("a forged value verifies: nothing above was proven")
    for tx_id in tx_ids:
        for method in ("tx_get", "tx_receipt"):
            _expect_pruned(lambda m=method, t=tx_id: client.call(m, [CHANNEL, f"0x{t.hex()}"]))  # type: ignore[misc]
    for number in range(len(tx_ids)):
        height = 1 + (below - 1) * number // len(tx_ids)
        if height % 1_000:  # every 1,000th keeps its header
            _expect_pruned(lambda h=height: client.chain_getBlock(CHANNEL, h, True))  # type: ignore[misc]
    client.chain_getBlock(CHANNEL, below + 1, True)


def _expect_pruned(ask: Callable[[], Any]) -> None:
    try:
        found = ask()
    except RpcError as error:
        if error.code != 1301:
            raise SystemExit(f"something pruned is answered with {error.code}: {error}") from None
    else:
        raise SystemExit(f"something pruned is answered with {str(found)[:200]}")


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _peak_mib(pid: int | None) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
