"""The judge of a chaos run: compares what clients were told with what the nodes' chains say afterwards.

It shares nothing with the run but the recorded history, the genesis and the addresses of the nodes. It fetches every
block of every node over JSON-RPC, executes them again on a state of its own from the genesis on, and looks up at each
height what the clients had been told for it.

====================  ===================================================================================
agreement             at every height the same header, result and transactions on every node that keeps it
kept                  every node keeps all blocks, or all from some height on if it has lost its data; one keeps all
replay                executing the blocks gives every result, state roots and receipts included
acknowledged          what a client was told is committed is on chain once, with that height, index, receipt
double                no transaction and no (key, nonce) stands twice on the chain
reads                 a state, balance or list at a stated height is what the replay has there
read your writes      after "committed at h" the same node answers no client of it below h
heads                 no node answers a lower height after a higher one, unless it lost its data between
invariants            the modules' own checks (conservation, one holder, no double financing) hold
====================  ===================================================================================
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry, load_module
from dawan_node.primitives.block import Header
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import shapes, values
from dawan_node.rpc.api import ReceiptInfo
from dawan_node.rpc.client import Client, RpcError
from dawan_node.rpc.schemas import ModuleSchemas
from dawan_node.testing.memory_state import MemoryState
from tests.integration.chaos import history

_CALLS_PER_BATCH = 25
# A batch takes milliseconds; on a machine that does much else it may take long, and nothing is measured here.
_CALL_S: Final = 60.0
_NOT_KEPT: Final = 1301
#: Checking every invariant reads the whole state, so it is done this often and at the end.
_INVARIANTS_EVERY = 250
#: Faults after which a node may answer with lower heights than before.
LOSSES = frozenset({"data loss", "database loss"})


Block = dict[str, Any]


@dataclass
class Verdict:
    """What was looked at and what is wrong."""

    blocks: int = 0
    transactions: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    lost: int = 0
    double: int = 0
    reads: int = 0
    heads: int = 0
    #: Nodes that keep only the blocks from some height above 1 on, since they came back by snapshot.
    by_snapshot: dict[str, int] = field(default_factory=dict)
    #: How long each acknowledgement of one transaction took, in milliseconds.
    waits_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        self.wrong.append(text)


@dataclass
class Promises:
    """What the history holds, sorted by what it is compared with."""

    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by tx_id, as first told
    reads: dict[int, list[dict[str, Any]]] = field(default_factory=dict)  # by the height they name
    losers: set[str] = field(default_factory=set)  # nodes that lost their data


def judge(file: Path, genesis: Genesis, channel: str, urls: dict[str, str]) -> Verdict:
    """``urls``: every node's JSON-RPC by name. All nodes must have the same head and be idle. Raises DawanError."""
    chains = {name: _fetch(url, channel, full=False) for name, url in urls.items()}
    fullest = max(chains, key=lambda name: len(chains[name]))
    return judge_chains(file, genesis, channel, chains, _fetch(urls[fullest], channel, full=True))


def judge_chains(
    file: Path, genesis: Genesis, channel: str, chains: dict[str, list[Block]], full: list[Block]
) -> Verdict:
    """``chains``: every node's blocks, as many as it keeps, as JSON-RPC shows them, less the certificate; ``full``: all
    of one node with transactions."""
    verdict = Verdict()
    promises = _read_history(file, verdict)
    if not full or full[0]["height"] != 1:
        verdict.complain(f"no node keeps all blocks; the most of them begin at {full[0]['height'] if full else 'none'}")
        return verdict
    _compare_chains(chains, promises.losers, verdict)
    receipts = _Replay(genesis, channel, promises.reads, verdict).run(full)
    _compare_receipts(promises, receipts, verdict)
    for height in sorted(promises.reads):
        if height > len(full):
            verdict.complain(f"a read names height {height}, and the chain ends at {len(full)}")
    return verdict


# The history


def _read_history(file: Path, verdict: Verdict) -> Promises:
    promises = Promises()
    heads: dict[str, _Heads] = {}
    for entry in history.read(file):
        seen = heads.setdefault(entry["node"], _Heads())
        if entry["kind"] == "fault":
            if entry["what"] in LOSSES:
                promises.losers.add(entry["node"])
                seen.lost(entry["phase"] == "begin", entry["at"])
            continue
        if "answer" not in entry:
            verdict.unanswered += 1
            continue
        if entry["method"] == "tx_submit" and entry["answer"]["status"] == "committed":
            verdict.waits_ms.append(1_000 * (entry["done"] - entry["at"]))
        for receipt in _receipts_in(entry):
            told = promises.receipts.setdefault(receipt["tx_id"], receipt)
            if told != receipt:
                verdict.complain(f"{receipt['tx_id']} was told with two receipts: {told} and {receipt}")
        height = _height_of(entry)
        if height is None:
            continue
        if entry["method"] in ("state_get", "module_query"):
            promises.reads.setdefault(height, []).append(entry)
        if _is_newest(entry):
            verdict.heads += 1
            before = seen.before(entry["at"])
            if height < before:
                verdict.complain(
                    f"{entry['node']} answered {entry['method']} of {entry['client']} at height {height} "
                    f"({entry['at']:.3f} s), and had answered with height {before} before"
                )
        seen.answered(entry["at"], entry["done"], height)
    verdict.acknowledged = len(promises.receipts)
    return promises


class _Heads:
    """The heights one node has answered with. Of calls that overlap either may have been answered first."""

    def __init__(self) -> None:
        self._done: list[float] = []
        self._highest: list[int] = []
        self._is_lost = False
        self._since = 0.0

    def lost(self, begins: bool, at: float) -> None:
        """The node loses its data (``begins``), or starts without them."""
        self._is_lost, self._since = begins, at
        self._done.clear()
        self._highest.clear()

    def before(self, at: float) -> int:
        """The highest height answered before ``at``."""
        place = bisect_left(self._done, at)
        return self._highest[place - 1] if place else 0

    def answered(self, at: float, done: float, height: int) -> None:
        if self._is_lost or at < self._since:
            return
        highest = max(height, self._highest[-1] if self._highest else 0)
        self._done.append(max(done, self._done[-1] if self._done else 0.0))
        self._highest.append(highest)


def _receipts_in(entry: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if not entry["method"].startswith("tx_submit"):
        return
    for answer in entry["answer"] if entry["method"] == "tx_submitMany" else [entry["answer"]]:
        if answer.get("status") in ("committed", "failed") and "receipt" in answer:
            yield answer["receipt"]


def _height_of(entry: dict[str, Any]) -> int | None:
    """The height an answer is about; the highest of several."""
    if entry["method"] in ("chain_head", "state_get", "module_query"):
        return int(entry["answer"]["height"])
    return max((int(receipt["height"]) for receipt in _receipts_in(entry)), default=None)


def _is_newest(entry: dict[str, Any]) -> bool:
    """Whether the answer says where the node is now."""
    return entry["method"] in ("chain_head", "module_query") or (
        entry["method"] == "state_get" and entry["params"][4] == "latest"
    )


# The chains


def _fetch(url: str, channel: str, *, full: bool) -> list[dict[str, Any]]:
    """Every block that a node keeps, without what may differ between nodes: who signed the certificate."""
    blocks: list[dict[str, Any]] = []
    with Client(url, timeout_s=_CALL_S) as client:
        head = client.chain_head(channel)["height"]
        for start in range(1, head + 1, _CALLS_PER_BATCH):
            heights = range(start, min(start + _CALLS_PER_BATCH, head + 1))
            for block in client.batch([("chain_getBlock", [channel, height, full]) for height in heights]):
                if isinstance(block, RpcError) and block.code == _NOT_KEPT:
                    continue  # a gap shows when the heights are compared
                if isinstance(block, Exception):
                    raise block
                del block["commit"]
                blocks.append(block)
    return blocks


def _compare_chains(chains: dict[str, list[dict[str, Any]]], losers: set[str], verdict: Verdict) -> None:
    first = max(chains, key=lambda name: len(chains[name]))
    chain = chains[first]
    for name, other in chains.items():
        base = other[0]["height"] if other else len(chain) + 1
        if [block["height"] for block in other] != list(range(base, base + len(other))):
            verdict.complain(f"{name} lacks blocks above height {base}, which it keeps")
            continue
        if base > 1:
            verdict.by_snapshot[name] = base
            if name not in losers:
                verdict.complain(f"{name} lost nothing and keeps no block below height {base}")
        if base + len(other) != len(chain) + 1:
            verdict.complain(f"{first} ends at height {len(chain)} and {name} at {base + len(other) - 1}")
        for one, two in zip(chain[base - 1 :], other, strict=False):
            if one != two:
                verdict.complain(f"{first} and {name} differ at height {one['height']}: {one} and {two}")
                break
    count = Counter(tx_id for block in chain for tx_id in block["txs"])
    verdict.blocks, verdict.transactions = len(chain), count.total()
    for tx_id, times in count.items():
        if times > 1:
            verdict.double += 1
            verdict.complain(f"{tx_id} stands on the chain {times} times")


def _compare_receipts(promises: Promises, receipts: dict[str, dict[str, Any]], verdict: Verdict) -> None:
    for tx_id, told in promises.receipts.items():
        found = receipts.get(tx_id)
        if found is None:
            verdict.lost += 1
            verdict.complain(f"{tx_id} was acknowledged at height {told['height']} and is not on the chain")
        elif found != told:
            verdict.complain(f"{tx_id} was acknowledged as {told} and is on the chain as {found}")


# The replay


class _Replay:
    def __init__(
        self, genesis: Genesis, channel: str, reads: dict[int, list[dict[str, Any]]], verdict: Verdict
    ) -> None:
        registry = Registry(load_module(entry.name, entry.version) for entry in genesis.modules)
        self._executor = Executor(registry, genesis)
        self._created_ms = genesis.created_ms
        self._channel = channel
        self._reads = reads
        self._verdict = verdict
        self._state = MemoryState()
        self._schemas = ModuleSchemas(self._describe)

    def run(self, blocks: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Execute all blocks; every receipt by transaction id, as JSON-RPC shows it."""
        verdict, executor = self._verdict, self._executor
        start = executor.genesis_state()
        self._state.apply(start.changes)
        result, time_ms = start.result, self._created_ms
        receipts: dict[str, dict[str, Any]] = {}
        nonces: set[tuple[bytes, bytes]] = set()
        self._check_reads(0, time_ms)
        for block in blocks:
            header = _header(block["header"])
            transactions = [Transaction.decode(bytes.fromhex(tx["tx"][2:])) for tx in block["txs"]]
            refusal = executor.check_block(self._state, time_ms, header, transactions)
            if refusal is not None or values.to_hex(header.hash) != block["block_hash"]:
                verdict.complain(f"block {header.height} is none: {refusal or 'its hash is of another header'}")
                break
            execution = executor.execute(self._state, result, header, transactions)
            self._state.apply(execution.changes)
            result, time_ms = execution.result, header.timestamp_ms
            if shapes.result(result) != block["result"]:
                verdict.complain(f"block {header.height} gives {shapes.result(result)}, not {block['result']}")
                break
            for transaction, receipt in zip(transactions, execution.receipt_objects, strict=True):
                use = (transaction.public_key, transaction.body.nonce)
                if use in nonces:
                    verdict.double += 1
                    verdict.complain(f"a nonce is used twice, again at height {header.height}")
                nonces.add(use)
                shown = self._receipt(receipt, header, transaction.body.module)
                receipts[shown["tx_id"]] = shown
            if header.height % _INVARIANTS_EVERY == 0 or header.height == len(blocks):
                self._check_invariants(header.height, time_ms)
            self._check_reads(header.height, time_ms)
        return receipts

    def _describe(self, module: str) -> Any:
        return self._executor.describe(module)

    def _receipt(self, receipt: Receipt, header: Header, module: str) -> dict[str, Any]:
        return shapes.receipt(self._channel, ReceiptInfo(receipt, header.hash, module), self._schemas)

    def _check_invariants(self, height: int, time_ms: int) -> None:
        for violation in self._executor.violations(self._state, height=height, time_ms=time_ms):
            self._verdict.complain(f"after block {height}: {violation}")

    def _check_reads(self, height: int, time_ms: int) -> None:
        for entry in self._reads.get(height, ()):
            self._verdict.reads += 1
            method, answer = entry["method"], entry["answer"]
            there = self._state_at(entry["params"]) if method == "state_get" else self._page(entry, height, time_ms)
            told = answer["value"] if method == "state_get" else answer["items"]
            if told != there:
                self._verdict.complain(
                    f"{entry['node']} answered {method} {json.dumps(entry['params'])} at height {height} with {told}, "
                    f"and the chain has {there} there"
                )

    def _state_at(self, params: list[Any]) -> Any:
        _, module, collection, key, *_ = params
        value = self._state.get(module, collection, bytes.fromhex(key[2:]))
        if value is None:
            return None
        entity = self._executor.registry.decode_entity(module, collection, value)
        plain = {name: getattr(entity, name) for name in entity.__struct_fields__}
        return values.to_json(plain, *self._schemas(module, "entities", collection))

    def _page(self, entry: dict[str, Any], height: int, time_ms: int) -> Any:
        _, module, query, params, limit, _ = entry["params"]
        items, _ = self._executor.query(self._state, module, query, params, limit, None, height=height, time_ms=time_ms)
        return [values.to_json(item, *self._schemas(module, "items", query)) for item in items]


def _header(shown: dict[str, Any]) -> Header:
    """The header that JSON-RPC shows; that it is complete and true, its hash says."""
    plain = {
        name: bytes.fromhex(value[2:]) if isinstance(value, str) else value
        for name, value in shown.items()
        if name != "timestamp"
    }
    return Header(**plain, timestamp_ms=values.from_instant(shown["timestamp"], "timestamp"))
