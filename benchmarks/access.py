"""Can a foreign channel be told from none by the time the answer takes?

    python -m benchmarks.access [--calls 2000] [--json FILE]

One real node with ``tls = true`` whose channel ``trade`` has suspended organisation hk; hk asks for ``trade`` and for a
name of the same length that no channel has, in turns, over one TLS connection. For each method: the median and the
quartiles of both, in microseconds, and the difference of the medians beside the spread of one of them.

Read it like this: a difference that is small beside the distance of the quartiles, and whose sign changes from method
to method and run to run, is noise. The last line is the same name against itself: what noise looks like here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from dawan_node.cli import devnet_creation
from dawan_node.crypto.trust import Trust
from dawan_node.node import config as node_config
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import SystemClock
from dawan_node.node.home import unlock
from dawan_node.node.node import Node
from dawan_node.rpc.client import AsyncClient, RpcError
from dawan_node.rpc.client_tls import ClientTls

FOREIGN, MISSING = "trade", "trada"
CALLS: dict[str, list[Any]] = {
    "channel_get": [],
    "chain_head": [],
    "chain_getBlock": [0, True],
    "state_get": ["governance", "genesis", "0x00"],
    "module_query": ["governance", "proposals"],
    "tx_status": ["0x" + "11" * 32],
    "events_get": [],
    "member_list": [],
}


async def microseconds(client: AsyncClient, method: str, params: list[Any]) -> float:
    started = time.perf_counter_ns()
    try:
        await client.call(method, params)
    except RpcError as error:
        elapsed = (time.perf_counter_ns() - started) / 1_000
        if error.code != -32001:
            raise
        return elapsed
    raise RuntimeError(f"{method} was answered")


async def measure(client: AsyncClient, method: str, names: tuple[str, str], calls: int) -> dict[str, Any]:
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(calls):
        # Who comes first changes too.
        for which in (0, 1) if turn % 2 else (1, 0):
            times[which].append(await microseconds(client, method, [names[which], *CALLS[method]]))
    first, second = (statistics.quantiles(each, n=4) for each in times)
    return {"foreign": first, "missing": second, "difference": first[1] - second[1], "spread": second[2] - second[0]}


async def run(folder: Path, calls: int) -> dict[str, Any]:
    devnet = devnet_creation.create(folder / "net", 1)
    passphrase = devnet.passphrase_file.read_bytes().strip()
    server = devnet.nodes[0]
    home = devnet.home(server)
    config = node_config.load(home.config_file, flags={"rpc.tls": "true"})
    consortium = consortium_file.load(home.consortium_file)
    node = Node(config, home, unlock(home, passphrase), consortium, SystemClock())
    stop, started = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(node.run(stop, started.set))
    try:
        await started.wait()
        node.channels[FOREIGN].admission.active_orgs -= {"hk"}
        stranger = devnet.home(next(each for each in devnet.nodes if each.org == "hk"))
        tls = ClientTls(unlock(stranger, passphrase).tls, Trust(consortium.roots), server.org, server.name)
        async with AsyncClient(f"https://{server.rpc}", tls=tls, connections_max=1) as client:
            figures = {method: await measure(client, method, (FOREIGN, MISSING), calls) for method in CALLS}
            figures["(itself)"] = await measure(client, "chain_head", (MISSING, MISSING), calls)
    finally:
        stop.set()
        await running
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000, help="calls per method and name")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    logging.getLogger("dawan_node").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(run(Path(folder), options.calls))
    print(f"{'method':<16}{'foreign us':>12}{'missing us':>12}{'difference':>12}{'quartiles apart':>17}")
    for method, found in figures.items():
        print(
            f"{method:<16}{found['foreign'][1]:>12.1f}{found['missing'][1]:>12.1f}"
            f"{found['difference']:>12.1f}{found['spread']:>17.1f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
