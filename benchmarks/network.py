"""The network a benchmark runs on: real nodes as ``devnet`` makes them, with the state a workload needs under them.

What a workload presupposes (confirmed invoices, vouchers to transfer, a million entities of ballast) is made without
consensus by ``dawan_node.testing.long_chain.Maker``: executed, Merkle-committed and certified as ever, once, and then
copied under every node like a chain that it caught up with. So a run begins with the first measured second and not
with minutes of preparation by the very nodes that are measured.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.workloads import Call, Workload
from dawan_node.cli import devnet, devnet_creation
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry
from dawan_node.node.consortium import Document
from dawan_node.node.database.scratch import Unsynced
from dawan_node.node.setup import initialise
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Body, sign_transaction
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.room import RESERVE_BYTES
from dawan_node.storage.wal import Wal, WalRecord
from dawan_node.testing.long_chain import Keys, Maker
from dawan_node.testing.long_chain_homes import RecordKind, head_record, keys_of

ROOT: Final = Path(__file__).resolve().parents[1]

#: Transactions of one prepared block: 32-way splits write 33 entities each, and a block's work stays near that of a
#: full block of single writes.
PREPARED_AT_ONCE: Final = 50
#: Prepared transactions are valid for as long as a run may take, so that forgetting their nonces is no part of it.
PREPARED_VALID_MS: Final = 50 * 60_000


class NodeProcesses(Processes):
    """Those in ``programs`` run another program, which gets the node's arguments after its own."""

    def __init__(self, network: Devnet, programs: Mapping[str, Sequence[str]]) -> None:
        super().__init__(network)
        self._programs = programs
        # A test network's nodes share a disk and have a small reserve, which write buffers depend on: not here.
        os.environ["DAWAN_STORAGE__RESERVE_MIB"] = str(RESERVE_BYTES // 1024**2)

    def command(self, node: DevnetNode) -> list[str]:
        python, _, _, *arguments = command = super().command(node)
        program = self._programs.get(node.name)
        return command if program is None else [python, *program, *arguments]

    def start(self, node: DevnetNode) -> None:
        """As ever, and with the scheduling weight of this process: a node is in a session of its own, and Linux gives
        every session the same share of the processor (autogroup), whatever its parent was given."""
        super().start(node)
        own = Path("/proc/self/autogroup")
        if own.exists():
            nice = own.read_text().split()[-1]
            if nice != "0":
                Path(f"/proc/{self.pid(node)}/autogroup").write_text(nice)


@dataclass(slots=True)
class Running:
    """A network whose nodes run and commit. ``validators`` come first in ``nodes``."""

    devnet: Devnet
    processes: NodeProcesses
    channels: tuple[str, ...]
    validators: tuple[DevnetNode, ...]
    prepared: dict[str, int] = field(default_factory=dict)  # entities made before the start, by channel

    @property
    def nodes(self) -> tuple[DevnetNode, ...]:
        return self.devnet.nodes

    def genesis(self, channel: str) -> Genesis:
        return Genesis.decode((self.devnet.folder / "network" / "genesis" / f"{channel}.bin").read_bytes())

    def primary(self, channel: str) -> DevnetNode:
        """The primary in view 0, before anything went wrong."""
        validators = self.genesis(channel)
        key = validators.validator_set.public_keys[validators.validator_set.primary(validators.chain_id, 0, 0)]
        return self.devnet.find(next(entry.name for entry in validators.validators if entry.public_key == key))


@contextmanager
def running(
    folder: Path,
    workload: Workload,
    transactions: int,
    *,
    validators: int = 4,
    observers: int = 0,
    channels: int = 1,
    entities: int = 0,
    programs: Mapping[str, Sequence[str]] | None = None,
    before_start: Callable[[Devnet], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Running]:
    """A network in ``folder`` with what ``transactions`` of ``workload`` need on each channel and at least ``entities``
    in its state; stopped at the end, whatever happens."""
    names = channel_names(channels)
    workload.install(folder / "modules")
    network, template = create(folder / "net", validators, observers, names, workload.modules)
    voting = {entry.name for entry in template.validator}
    first = [node for node in network.nodes if node.name in voting]
    programs = {} if programs is None else programs
    up = Running(network, NodeProcesses(network, programs), names, tuple(first))
    for number, name in enumerate(names):
        began = time.monotonic()
        share = transactions // channels + (number < transactions % channels)
        calls = workload.preparation(share, entities, now_ms())
        up.prepared[name] = prepare(network, name, calls, folder / f"prepared-{name}")
        say(f"{name}: {up.prepared[name]:,} entities prepared in {time.monotonic() - began:.1f} s")
    before_start(network)
    end_in_order()
    try:
        for node in network.nodes:
            up.processes.start(node)
        stop = threading.Event()
        devnet._wait_ready(network, up.processes, stop)
        devnet._first_block(network, stop)
        yield up
    finally:
        up.processes.stop(network.nodes)


def end_in_order() -> None:
    """From now on SIGTERM unwinds this process. Otherwise whoever ends it leaves its nodes behind, which are in
    sessions of their own."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def channel_names(count: int) -> tuple[str, ...]:
    """``trade`` and its siblings."""
    return ("trade", *(f"trade-{number}" for number in range(2, count + 1)))


def create(
    folder: Path, validators: int, observers: int, channels: Sequence[str], modules: Sequence[str]
) -> tuple[Devnet, Document]:
    """As ``devnet_creation.create``, with the channels and modules that are asked for."""
    template = devnet_creation._with_observers(devnet_creation.template_for(validators), observers)
    trade = next(channel for channel in template.channel if channel.name == "trade")
    others = [channel for channel in template.channel if channel.name != "trade"]
    wanted = [msgspec.structs.replace(trade, name=name, modules=tuple(modules)) for name in channels]
    template = msgspec.structs.replace(template, channel=(*wanted, *others))
    nodes = devnet_creation._with_ports([*template.validator, *template.observer])
    folder.mkdir(mode=0o700, parents=True)
    network = Devnet(folder, nodes)
    passphrase = b"benchmark"
    devnet_creation._write_private(network.passphrase_file, passphrase + b"\n")
    now = datetime.now(UTC)
    for node in nodes:
        initialise(network.home(node), devnet_creation._plan(network, node, template), passphrase, now)
    devnet_creation.agree(network, template, passphrase, now)
    network.save()
    return network, template


def prepare(network: Devnet, channel: str, calls: Iterable[Call], scratch: Path) -> int:
    """Put the blocks of ``calls`` under every node of ``network``; how many entities they made.

    Block time ends a second ago, so that prepared and measured transactions have the same business date.
    """
    keys = keys_of(network, channel)
    waiting = list(calls)
    if not waiting:
        return 0
    genesis = keys.genesis
    executor = Executor(Registry.load([(each.name, each.version) for each in genesis.modules]), genesis)
    first = executor.genesis_state()
    database = scratch / "db"
    scratch.mkdir(parents=True)
    ChannelStore.create(database, first.result, first.changes, genesis.created_ms)
    raw = Unsynced(LevelDBStore.open(database))
    blocks = [waiting[at : at + PREPARED_AT_ONCE] for at in range(0, len(waiting), PREPARED_AT_ONCE)]
    began_ms = now_ms() - 1_000 - len(blocks)
    entities = 0
    try:
        store = ChannelStore.over(raw, genesis.chain_id)
        maker = Maker(keys, store)
        for number, block in enumerate(blocks):
            maker.decide(_signed(keys, block, number, began_ms + number), began_ms + number)
            entities += sum(call.entities for call in block)
        head = maker.applier.head
        raw.finish()
        stored = store.head
        assert stored.header is not None and stored.certificate is not None
        assert stored.height == head.height
        record = head_record(stored.header, stored.result, stored.certificate.certificate)
    finally:
        raw.close()
    for node in network.nodes:
        home = network.home(node)
        if not home.genesis_file(channel).exists():
            continue
        target = home.database(channel)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(database, target)
        for path in sorted(scratch.iterdir()):
            if path.is_file() and not path.name.endswith(".lock"):
                shutil.copy2(path, target.parent / path.name)
        log = Wal.open(home.wal)
        log.append([WalRecord(genesis.chain_id, RecordKind.SYNCED, record)])
        log.close()
    shutil.rmtree(scratch)
    return entities


def _signed(keys: Keys, calls: Sequence[Call], number: int, time_ms: int) -> list[bytes]:
    made = []
    for place, call in enumerate(calls):
        nonce = (1 << 100 | number << 32 | place).to_bytes(16, "big")
        until_ms = time_ms + PREPARED_VALID_MS
        body = Body(1, keys.genesis.chain_id, nonce, until_ms, call.module, call.command, call.args)
        made.append(sign_transaction(keys.people[call.person], body))
    return made


def ask(node: DevnetNode, action: str, argument: dict[str, Any]) -> Any:
    """One of the operations port's actions for test networks, such as ``cut``."""
    request = urllib.request.Request(  # noqa: S310 - a loopback URL of our own state file
        f"{node.ops_url}/admin/{action}",
        data=json.dumps(argument).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return json.loads(answer.read())


def now_ms() -> int:
    """This machine's clock, in milliseconds UTC."""
    return time.time_ns() // 1_000_000


def machine() -> dict[str, Any]:
    """What a figure is worthless without: processor, cores, Python, load before the run, the package that ran."""
    import dawan_node

    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": sys.version.split()[0],
        "load_before": round(os.getloadavg()[0], 2),
        "package": str(Path(dawan_node.__file__).parent),
    }
