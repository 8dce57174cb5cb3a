"""How fast a node that is far behind catches up block by block.

    python -m benchmarks.catch_up [--blocks 3000] [--txs 1] [--peers 3] [--json FILE]

The chain (``dawan_node.testing.long_chain``: real signatures, certificates and state) is made first, or taken from the
cache outside the repository. Then a new validator of it, with an empty database and a write-ahead log on disk, catches
up from processes that serve it as ``--peers`` validators through the real serving code and its budgets, over local
sockets. Nothing else is left out: light ranges, bodies, execution, log records and synced database writes. Printed are
blocks and transactions per second from the first head to the last block, bytes received, the processor time of the node
and of one server, and what executing and storing alone took in the worker thread, which is as fast as it could go.

Read it like this: ``busy`` is the share of the time that the worker thread executed or stored. Near 100 % catch-up is
as fast as execution; the rest is time that the pipeline left it idle, or that other threads held the interpreter.
``longest block of the loop`` is how long the event loop did not run, to be held against 250 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from dawan_node.mempool import Mempool, MempoolLimits
from dawan_node.node.bodies import Bodies
from dawan_node.node.budget import BODY_US, LIGHT_BLOCK_US, PeerBudgets
from dawan_node.node.channel import Channel
from dawan_node.node.clock import SystemClock
from dawan_node.node.log_writer import LogWriter
from dawan_node.node.metrics import Metrics
from dawan_node.node.restore import open_channel
from dawan_node.node.serving import Serving
from dawan_node.node.signer import NodeSigner
from dawan_node.node.syncing import RETRY_MS
from dawan_node.node.verifier import Mode, Verifier
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.genesis import ValidatorEntry
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.wal import Wal
from dawan_node.sync import BusyReply, HeadMessage, LightRequest, decode_sync_message
from dawan_node.testing.long_chain import Keys, Plan
from dawan_node.testing.long_chain_homes import cached, keys_of

HISTORY = 10_000
#: It signed nothing of the chain: a key that forgot its votes would only observe (amendment U6).
LATE = "mo1"


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


# Serving, in a process of its own


def serve(database: Path, chain_id: bytes, socket: Path, ready: Any) -> None:
    """Answer requests as one validator does, until killed."""
    asyncio.run(_serve(database, chain_id, socket, ready))


async def _serve(database: Path, chain_id: bytes, socket: Path, ready: Any) -> None:
    store = ChannelStore.open(database, chain_id, history=HISTORY)
    serving = Serving(Bodies(), Mempool(MempoolLimits(), 3_600_000), store, now_ms)
    worker = ThreadPoolExecutor(1)
    head = store.head
    assert head.certificate is not None
    hello = HeadMessage(head.height, head.block_hash, 0, head.certificate.certificate).encode()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        budget = PeerBudgets(now_ms).of("node")
        send(writer, hello)
        with suppress(asyncio.IncompleteReadError):
            while True:
                request = decode_sync_message(await receive(reader))
                is_light = isinstance(request, LightRequest)
                count = request.last - request.first + 1  # type: ignore[union-attr]
                reply = BusyReply(request.id, RETRY_MS).encode()  # type: ignore[union-attr]
                if budget.work((LIGHT_BLOCK_US if is_light else BODY_US) * count):
                    answer = serving.light if is_light else serving.bodies
                    found = await asyncio.get_running_loop().run_in_executor(
                        worker,
                        lambda: answer(request).encode(),  # type: ignore[operator, arg-type] # noqa: B023
                    )
                    reply = found if serving.charge("node", found) else reply
                send(writer, reply)

    server = await asyncio.start_unix_server(talk, socket)
    ready.set()
    async with server:
        await server.serve_forever()


def send(writer: asyncio.StreamWriter, payload: bytes) -> None:
    writer.write(len(payload).to_bytes(4, "big") + payload)


async def receive(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))


# Catching up


class Sockets:
    """``channel_parts.Links`` over one local socket per peer."""

    def __init__(self, peers: Sequence[PeerId]) -> None:
        self.peers = tuple(peers)
        self.writers: dict[str, asyncio.StreamWriter] = {}

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        message = decode_sync_message(payload) if topic is Topic.SYNC else None
        if message is not None and not isinstance(message, HeadMessage):
            send(self.writers[peer_name], payload)
        return True

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        return ()

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        return self.peers

    def report_violation(self, peer_name: str, why: str) -> None:
        raise RuntimeError(f"{peer_name} is accused: {why}")


def give(database: Path, folder: Path) -> None:
    """A database of its own: tables never change and are shared, all else is copied."""

    def link_or_copy(source: str, target: str) -> None:
        if source.endswith(".ldb"):
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    try:
        shutil.copytree(database, folder, copy_function=link_or_copy)
    except shutil.Error:  # on another file system
        shutil.rmtree(folder)
        shutil.copytree(database, folder)


async def catch_up(folder: Path, keys: Keys, sockets: dict[str, Path], blocks: int) -> dict[str, float]:
    """Seconds, and the times of the stages."""
    validators = late_first(keys)
    by_key = {key.public_key: key for key in keys.validators}
    own, *others = validators
    peers = [PeerId(entry.name, entry.org, Role.VALIDATOR, entry.public_key) for entry in others][: len(sockets)]
    Wal.create(folder / "log")
    wal = Wal.open(folder / "log")
    signer = NodeSigner(by_key[own.public_key])
    clock = SystemClock()
    parts = open_channel(keys.genesis, folder / "own" / "db", HISTORY, wal.records(), signer, clock.wall_ms())
    verifier, log_writer, metrics, links = Verifier(Mode.INLINE), LogWriter(wal), Metrics(), Sockets(peers)
    channel = Channel(parts, own.name, Role.VALIDATOR, verifier, log_writer, links, clock, metrics)
    log_writer.add_channel(channel.checkpoint)
    tasks = [asyncio.create_task(work) for work in (channel.run(), log_writer.run())]
    longest = 0.0
    received = 0
    said_s = time.monotonic()

    async def watch_loop() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - began - 0.01)

    async def listen(peer: PeerId, reader: asyncio.StreamReader) -> None:
        nonlocal received
        while True:
            payload = await receive(reader)
            received += len(payload)
            channel.on_message(peer, Topic.SYNC, payload)

    started, started_cpu = time.monotonic(), time.process_time()
    for peer in peers:
        reader, links.writers[peer.name] = await asyncio.open_unix_connection(sockets[peer.name], limit=1 << 23)
        tasks.append(asyncio.create_task(listen(peer, reader)))
    tasks.append(asyncio.create_task(watch_loop()))
    while channel.head.height < blocks:
        await asyncio.sleep(0.02)
        if time.monotonic() - said_s > 10:
            said_s = time.monotonic()
            stage = {name: us // 1_000_000 for name, (us, _) in metrics.stages.table().items() if us > 1_000_000}
            print(f"  {said_s - started:.0f} s: height {channel.head.height:,} {stage}", file=sys.stderr)
        for task in tasks:
            if task.done():
                task.result()
    seconds, cpu = time.monotonic() - started, time.process_time() - started_cpu
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for writer in links.writers.values():
        writer.close()
    await verifier.close()
    channel.close()
    log_writer.close()
    stages = {name: us / 1_000_000 for name, (us, _) in metrics.stages.table().items()}
    return {"seconds": seconds, "cpu_s": cpu, "longest_ms": 1_000 * longest, "received": received} | stages


def late_first(keys: Keys) -> list[ValidatorEntry]:
    """The validators of the chain, the one that catches up before the others."""
    return sorted(keys.genesis.validators, key=lambda entry: entry.name != LATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=3_000)
    parser.add_argument("--txs", type=int, default=1, help="transactions per block")
    parser.add_argument("--peers", type=int, default=3, choices=(2, 3), help="validators to catch up from")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chain = cached(Plan(options.blocks, options.txs, away=(LATE,)), report=lambda line: print(line, file=sys.stderr))
    keys = keys_of(chain.network)
    with tempfile.TemporaryDirectory(prefix="catch-up-") as name:
        folder = Path(name)
        names = [entry.name for entry in late_first(keys)][1 : 1 + options.peers]
        sockets = {peer: folder / f"{peer}.sock".replace(" ", "-") for peer in names}
        spawn = multiprocessing.get_context("spawn")
        servers = []
        for peer, socket in sockets.items():
            database = folder / f"served-{len(servers)}"
            give(chain.database.parent, database)
            ready = spawn.Event()
            arguments = (database / "db", keys.genesis.chain_id, socket, ready)
            servers.append(spawn.Process(target=serve, args=arguments, name=peer, daemon=True))
            servers[-1].start()
            ready.wait(30)
        try:
            figures = asyncio.run(catch_up(folder, keys, sockets, options.blocks))
            figures["server_cpu_s"] = sum(_cpu_s(server.pid) for server in servers) / len(servers)
        finally:
            for server in servers:
                server.terminate()
    busy = sum(figures.get(stage, 0.0) for stage in ("execute", "store"))
    seconds = figures["seconds"]
    print(f"{options.blocks} blocks of {options.txs} transactions from {options.peers} peers in {seconds:.1f} s")
    print(f"  {options.blocks / seconds:,.0f} blocks/s, {options.blocks * options.txs / seconds:,.0f} transactions/s")
    print(f"  {figures['received']:,.0f} bytes received, {figures['received'] / options.blocks:,.0f} per block")
    print(f"  node {figures['cpu_s']:.1f} s of processor time, each server {figures['server_cpu_s']:.1f} s")
    print(f"  worker busy {100 * busy / seconds:.0f} % (execute and store {busy:.1f} s)")
    print(f"  longest block of the loop {figures['longest_ms']:.0f} ms")
    if options.json:
        options.json.write_text(json.dumps(vars(options) | figures, default=str, indent=1))


def _cpu_s(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    main()
