"""What the commands of the trade modules cost one validator: executing, updating the state tree, storing.

    scripts/bench modules [--only MODULE] [--blocks N] [--transactions N] [--directory DIR] [--json FILE]

Each module's subjects go through their life together, so every step is a measurement and the preparation of the next:
invoices are recorded, confirmed, turned into vouchers that are transferred and financed; credits are issued, drawn
under, honoured and paid; bills are drafted, issued, endorsed, surrendered; goods are captured, handed over, shipped.
Blocks run through the executor a node has, on a database on disk (``--directory``: on which one), and every transaction
succeeds.

Columns, per transaction: ``execute_us``, command, receipts and state tree; ``store_us``, writing the block with all it
leads to (both processor time of the thread, median of the blocks); ``per_second``, what a core does of both; ``steps``,
what the module used of its budget; ``tx_bytes``, the signed transaction; ``state_bytes``, values written. Not in it:
signature checks (``verify``), consensus, network, and the wait for the disk (``block_store``, ``end_to_end``).
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.module_lives import LIVES, PEOPLE, Call, Step, opening
from benchmarks.timing import parser_of, tell
from dawan_node.crypto import merkle
from dawan_node.execution.context import Context
from dawan_node.execution.executor import Execution, Executor
from dawan_node.execution.registry import Registry, load_module
from dawan_node.primitives.block import Header
from dawan_node.primitives.transaction import Body, Transaction, sign_transaction
from dawan_node.storage.block_store import DecidedBlock
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.testing.module_kit import make_genesis, private_key_of

MODULES = ("governance", "kernel", "lc", "logistics", "receivable", "refdata", "title")
#: Far inside the hour that a transaction of a default channel may be valid.
VALID_MS = 600_000
#: What a node stores as the certificate of a block of four validators; its content plays no part here.
CERTIFICATE = bytes(330)


class StepsSeen(Context):
    """A context that leaves the transaction's count where the benchmark finds it."""

    layers: dict[bytes, Any] = {}  # noqa: RUF012 - one table for all

    def __init__(self, layer: Any, *rest: Any, **more: Any) -> None:
        super().__init__(layer, *rest, **more)
        self.layers[self.tx_id] = layer


class Ledger:
    """One channel with all modules, on disk, without consensus."""

    def __init__(self, folder: Path) -> None:
        modules = [load_module(name, 1) for name in MODULES]
        self.genesis = make_genesis(modules, PEOPLE)
        registry = Registry(modules)
        self.executor = Executor(registry, self.genesis)
        self._counting = Executor(registry, self.genesis)
        self._counting.context_type = StepsSeen
        start = self.executor.genesis_state()
        ChannelStore.create(folder, start.result, start.changes, self.genesis.created_ms)
        self.store = ChannelStore.open(folder, self.genesis.chain_id)
        self._result, self._validators = start.result, start.validators
        self._parent_hash, self._height = self.genesis.chain_id, 0
        self.time_ms = self.genesis.created_ms
        self._keys = {name: private_key_of(name) for name in (*PEOPLE, "gz-admin", "hk-admin", "mo-admin")}
        self._nonces = 0

    def signed(self, call: Call) -> Transaction:
        """A transaction for the next block."""
        self._nonces += 1
        nonce, until_ms = self._nonces.to_bytes(16, "big"), self.time_ms + VALID_MS
        body = Body(1, self.genesis.chain_id, nonce, until_ms, call.module, call.command, call.args)
        return Transaction.decode(sign_transaction(self._keys[call.person], body))

    def steps(self, transactions: Sequence[Transaction]) -> float:
        """Steps per transaction of the next block, which is not kept."""
        StepsSeen.layers.clear()
        self._counting.execute(self.store.state, self._result, self._header(transactions), transactions)
        return sum(layer.steps for layer in StepsSeen.layers.values()) / len(transactions)

    def decide(self, transactions: Sequence[Transaction]) -> tuple[Execution, float, float]:
        """Execute and store the next block: what it led to, and both in seconds of this thread. Raises AssertionError
        when a validator would refuse the block or a transaction fails."""
        header = self._header(transactions)
        refusal = self.executor.check_block(self.store.state, self.time_ms, header, transactions)
        assert refusal is None, refusal
        began = time.thread_time()
        execution = self.executor.execute(self.store.state, self._result, header, transactions)
        executed = time.thread_time()
        self.store.commit(
            DecidedBlock(
                header,
                execution.result,
                CERTIFICATE,
                (),
                tuple([each.envelope for each in transactions]),
                execution.receipts,
                tuple([each.tx_id for each in transactions]),
            ),
            execution.changes,
        )
        stored = time.thread_time()
        for transaction, receipt in zip(transactions, execution.receipt_objects, strict=True):
            assert receipt.code == 0, f"{transaction.body.module}.{transaction.body.command}: {receipt.reason}"
        self._result, self._parent_hash, self._height = execution.result, header.hash, header.height
        self.time_ms = header.timestamp_ms
        return execution, executed - began, stored - executed

    def _header(self, transactions: Sequence[Transaction]) -> Header:
        return Header(
            1,
            self.genesis.chain_id,
            0,
            self._height + 1,
            self._parent_hash,
            merkle.root([each.leaf_hash for each in transactions]),
            len(transactions),
            sum(len(each.envelope) for each in transactions),
            self.time_ms + 1_000,
            0,
            self._validators.hash,
            False,
        )


def measure(ledger: Ledger, step: Step, blocks: int, transactions: int) -> dict[str, Any]:
    """One command on ``transactions`` subjects in each of ``blocks``, after one block more whose steps are counted."""
    execute_us, store_us, state_bytes, tx_bytes, steps = [], [], [], [], 0.0
    for block in range(blocks + 1):
        numbers = range(block * transactions, (block + 1) * transactions)
        signed = [ledger.signed(step.call(number, ledger.time_ms)) for number in numbers]
        if block == 0:
            # Executing it twice leaves everything it reads in the caches, so its time says nothing.
            steps = ledger.steps(signed)
            ledger.decide(signed)
            continue
        execution, execute_s, store_s = ledger.decide(signed)
        execute_us.append(execute_s * 1e6 / transactions)
        store_us.append(store_s * 1e6 / transactions)
        tx_bytes.append(sum(len(each.envelope) for each in signed) / transactions)
        written = sum(len(value) for key, value in execution.changes.state.items() if value and key[1] != "replay")
        state_bytes.append(written / transactions)
    execute, store = statistics.median(execute_us), statistics.median(store_us)
    return {
        "execute_us": round(execute, 1),
        "store_us": round(store, 1),
        "per_second": round(1e6 / (execute + store)),
        "steps": round(steps, 1),
        "tx_bytes": round(statistics.mean(tx_bytes)),
        "state_bytes": round(statistics.mean(state_bytes)),
    }


def figures(folder: Path, only: str, blocks: int, transactions: int) -> Iterator[tuple[str, dict[str, Any]]]:
    ledger = Ledger(folder)
    for calls in opening():
        ledger.decide([ledger.signed(call) for call in calls])
    for module, life in LIVES.items():
        if only in ("", module):
            for step in life:
                yield f"{module}: {step.name}", measure(ledger, step, blocks, transactions)
    ledger.store.close()


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", choices=sorted(LIVES), default="", help="one module instead of all")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of each command")
    parser.add_argument("--transactions", type=int, default=250, help="transactions of a block")
    parser.add_argument("--directory", type=Path, help="where to make the temporary database (default: system's)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        folder = Path(name) / "channel" / "db"
        tell(dict(figures(folder, options.only, options.blocks, options.transactions)), options.json)


if __name__ == "__main__":
    main()
