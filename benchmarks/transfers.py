"""What blocks of trades cost below consensus: judging, executing, storing, and LevelDB's own threads.

    scripts/bench transfers [--workload transfer|mix] [--entities N] [--blocks N] [--transactions N] [--directory DIR]
                            [--json FILE]

The state a validator has in ``end_to_end`` with that workload is made first, then blocks are decided on it by the
applier of a node, with a synced write each. Processor time per transaction: by stage as a node accounts it, and
``leveldb``, what the process used outside the deciding thread, which is flushing and compacting. ``written`` is
everything handed to the kernel. Below that, what a transaction puts into the database by kind of record
(``storage.schema``): entries and bytes. Not in it: signatures, consensus, network. LevelDB works in bursts of some
5,000 transactions: compare long runs, in turns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.timing import parser_of, tell
from benchmarks.workloads import BANK, BUYER, CORE, SUPPLIERS, Call, Mix, Transfer, Workload
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry
from dawan_node.node.database.scratch import Unsynced
from dawan_node.primitives.transaction import Body, sign_transaction
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import Put
from dawan_node.storage.leveldb import WRITE_BUFFERS_BYTES, LevelDBStore
from dawan_node.testing.long_chain import Keys, Maker
from dawan_node.testing.module_kit import make_genesis, private_key_of

CREATED_MS = 1_760_000_000_000
MODULES = ("governance", "receivable")
PEOPLE = {
    **{name: (name[:2], ["supplier"]) for name in SUPPLIERS},
    **{name: (name[:2], ["core_enterprise"]) for name in (CORE, BUYER)},
    BANK: (BANK[:2], ["bank"]),
}
WORKLOADS: dict[str, type[Workload]] = {kind.name: kind for kind in (Transfer, Mix)}
PREPARED_AT_ONCE = 50
BLOCK_MS = 300
VALID_MS = 600_000


class Counted(LevelDBStore):
    """A database that remembers what was put into it, by kind of record."""

    def counts(self) -> dict[str, list[int]]:
        """Kind -> [entries, bytes]; filled by ``write``."""
        found: dict[str, list[int]] = self.__dict__.setdefault("_counts", {})
        return found

    def write(self, batch: Iterable[Put], *, sync: bool = True) -> None:
        entries = list(batch)
        counts = self.counts()
        for key, value in entries:
            count = counts.setdefault(key[:1].decode(), [0, 0])
            count[0] += 1
            count[1] += len(key) + len(value or b"")
        super().write(entries, sync=sync)


def run(folder: Path, workload: Workload, entities: int, blocks: int, transactions: int) -> dict[str, Any]:
    """One run on a fresh database below ``folder``."""
    registry = Registry.load([(name, 1) for name in MODULES])
    genesis = make_genesis([registry.modules[name] for name in MODULES], PEOPLE, created_ms=CREATED_MS)
    validators = [private_key_of(f"validator {entry.name}") for entry in genesis.validators]
    keys = Keys.of(genesis, validators, {entry.name: private_key_of(entry.name) for entry in genesis.identities})

    def signed(calls: Sequence[Call], first: int, time_ms: int) -> list[bytes]:
        return [
            sign_transaction(
                keys.people[call.person],
                Body(
                    1,
                    genesis.chain_id,
                    nonce.to_bytes(16, "big"),
                    time_ms + VALID_MS,
                    call.module,
                    call.command,
                    call.args,
                ),
            )
            for nonce, call in enumerate(calls, start=first)
        ]

    start = Executor(registry, genesis).genesis_state()
    ChannelStore.create(folder, start.result, start.changes, genesis.created_ms)
    database = Counted.open(folder, buffer_bytes=WRITE_BUFFERS_BYTES)
    try:
        unsynced = Unsynced(database)
        calls = list(workload.preparation(blocks * transactions, entities, CREATED_MS))
        maker = Maker(keys, ChannelStore.over(unsynced, genesis.chain_id))
        for at in range(0, len(calls), PREPARED_AT_ONCE):
            time_ms = CREATED_MS + 1 + at
            maker.decide(signed(calls[at : at + PREPARED_AT_ONCE], at, time_ms), time_ms)
        unsynced.finish()
        began_ms = CREATED_MS + 1 + len(calls)
        waiting = []
        for block in range(blocks):
            numbers = range(block * transactions, (block + 1) * transactions)
            made = [workload.call(number, CREATED_MS) for number in numbers]
            waiting.append(signed(made, 1 << 64 | numbers[0], began_ms + block * BLOCK_MS))
        maker = Maker(keys, ChannelStore.over(database, genesis.chain_id))
        database.counts().clear()
        process_s, thread_s, written = time.process_time(), time.thread_time(), _written()
        for block, envelopes in enumerate(waiting):
            maker.decide(envelopes, began_ms + block * BLOCK_MS)
        others_s = (time.process_time() - process_s) - (time.thread_time() - thread_s)
        written = _written() - written
    finally:
        database.close()
    count = blocks * transactions
    figures: dict[str, Any] = {
        f"{stage}, us per transaction": round(spent_us / count, 1)
        for stage, (spent_us, _) in maker.applier._stages.table().items()
    }
    figures["leveldb, us per transaction"] = round(others_s * 1e6 / count, 1)
    figures["written, bytes per transaction"] = written // count
    for kind, (entries, size) in sorted(database.counts().items(), key=lambda item: -item[1][1]):
        figures[f"record {kind}"] = {"entries": round(entries / count, 2), "bytes": round(size / count, 1)}
    return figures


def _written() -> int:
    """Bytes this process has handed to the kernel."""
    line = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("wchar"))
    return int(line.split()[1])


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, default=Transfer.name)
    parser.add_argument("--entities", type=int, default=20_000, help="in the state before the first measured block")
    parser.add_argument("--blocks", type=int, default=50)
    parser.add_argument("--transactions", type=int, default=300, help="of a block")
    parser.add_argument("--directory", type=Path, help="where to make the temporary database (default: system's)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        workload = WORKLOADS[options.workload]()
        folder = Path(name) / "channel" / "db"
        tell(run(folder, workload, options.entities, options.blocks, options.transactions), options.json)


if __name__ == "__main__":
    main()
