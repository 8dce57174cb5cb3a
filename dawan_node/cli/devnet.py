"""``devnet``: a consortium of real node processes on this machine, for trying things out and for breaking them.

The nodes are started by ``init``, ``network assemble``, ``network verify`` and ``run`` on the same files as in
production. ``up`` stays in the foreground and stops everything on Ctrl-C; the other commands work beside it.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click

from dawan_node.cli import devnet_network
from dawan_node.cli.connect import connected
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.cli.devnet_shift import parse_shift, shift_words
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.health import Finding, examine
from dawan_node.cli.options import output_option, print_json, print_table
from dawan_node.errors import DawanError, OperatorError
from dawan_node.rpc.client import Client, RpcError, Unreachable, build_body, sign_transaction

#: From the first process to the first block: seconds on a quiet machine, more while others compile.
START_S: Final = 60.0
_POLL_S: Final = 0.05
# An error object; more would not fit on a line.
_ADMIN_ANSWER_BYTES_MAX: Final = 4096
CHANNEL: Final = "trade"


def _home_option(function: Any) -> Any:
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("devnet"),
        show_default="./devnet",
        help="Folder of the test network.",
    )(function)


@click.group()
def devnet() -> None:
    """Run a test network of real nodes on this machine."""


@devnet.command()
@_home_option
@click.option("-n", "count", default=4, show_default=True, help="Validators: 3k + 1 tolerate k faulty ones.")
@click.option(
    "--demo",
    type=click.Choice(["trade", "titles"]),
    help="Tell a story on the running network; titles needs --two-channels.",
)
@click.option(
    "--invoices",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="UBL invoices for the demo, beside its own samples.",
)
@click.option("--exit", "leave", is_flag=True, help="Stop everything when the demo is told.")
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="NAME[@VERSION]",
    help=f"An installed module that the channel {CHANNEL} runs, too (repeatable).",
)
@click.option(
    "--two-channels",
    is_flag=True,
    help="Titles and logistics on a channel of their own, which trusts this one and is trusted by it.",
)
def up(
    home: Path,
    count: int,
    demo: str | None,
    invoices: Path | None,
    leave: bool,
    modules: tuple[str, ...],
    two_channels: bool,
) -> None:
    """Create the network if it does not exist, start it, and stay until Ctrl-C."""
    began = time.monotonic()
    fresh = not devnet_network.exists(home)
    if demo == "titles" and not (two_channels if fresh else _is_parted(home)):
        raise OperatorError(
            "the story of titles has no second channel",
            "titles and receivables are on one in this network",
            "Make one with --two-channels; first `dawan-node devnet down --purge`, or choose another --home.",
        )
    if fresh:
        click.echo(f"Making keys, certificates and genesis of {count} organisations' nodes in {home} ...")
    if fresh:
        from dawan_node.cli.devnet_creation import create

        network = create(home, count, modules=[_version_of(module) for module in modules], two_channels=two_channels)
    elif modules or (two_channels and not _is_parted(home)):
        raise OperatorError(
            f"{home} holds a network already",
            "which channels there are, and which modules they run, is part of their genesis",
            "Remove it: dawan-node devnet down --purge, or choose another --home.",
        )
    else:
        network = devnet_network.load(home)
    processes = Processes(network)
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, on_signal)
    # Nodes that run already belong to somebody else's terminal until this command has taken the network over.
    found = [node for node in network.nodes if processes.pid(node) is not None]
    ours = tuple(node for node in network.nodes if node not in found)
    try:
        for node in ours:
            processes.start(node)
        if found:
            click.echo(f"Already running: {', '.join(node.name for node in found)}; this command now stops them, too.")
        if ours:
            click.echo(f"Starting {len(ours)} nodes: {', '.join(node.name for node in ours)} ...")
        _wait_ready(network, processes, stop)
        ours = network.nodes
        height = _first_block(network, stop)
        click.echo(f"All links are up; block {height} is committed ({time.monotonic() - began:.1f} s after the start).")
        if not stop.is_set():
            _introduce(network)
        if demo and not stop.is_set():
            _tell(network, demo, invoices)
            click.echo(f"The demo ended {time.monotonic() - began:.1f} s after the start.")
        if not leave and not stop.is_set():
            _print_screen(network)
            stop.wait()
    finally:
        click.echo("Stopping ...")
        processes.stop(ours)


def _version_of(module: str) -> str:
    """``name@version`` of an installed module; without a version it is the newest. Raises OperatorError."""
    from dawan_node.execution.module import DeclarationError
    from dawan_node.execution.registry import installed_versions

    name, _, version = module.partition("@")
    try:
        known = [str(each.version) for each in installed_versions(name)]
    except DeclarationError as error:
        raise OperatorError(
            f"the network cannot run the module {name}", str(error), "`dawan-node module list` shows what is here."
        ) from None
    if version and version not in known:
        raise OperatorError(
            f"{name} is not installed in version {version}", f"here is {', '.join(known)}", "Choose one of them."
        )
    return f"{name}@{version or known[-1]}"


@devnet.command()
@_home_option
@output_option
def status(home: Path, output: str) -> None:
    """What each node says of itself."""
    network = devnet_network.load(home)
    processes = Processes(network)
    rows = [_row(node, processes) for node in network.nodes]
    if output == "json":
        print_json(rows)
    else:
        columns = ("node", "pid", "state", "height", "view", "primary", "peers", "rpc", "trouble")
        print_table({name: name.upper() for name in columns}, rows)
    ill = [f"{row['node']} is {row['state']}" for row in rows if row["state"] not in ("normal", "observer")]
    ill += [f"{row['node']} has {row['trouble']}" for row in rows if row["grave"]][:1]
    if ill:
        raise CommandFailed(
            ExitCode.UNHEALTHY,
            "not every node is well",
            ", ".join(ill),
            "`devnet start` starts what is down, `devnet partition` heals cut links, `devnet logs NODE` has the rest.",
        )


@devnet.command()
@_home_option
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows.")
@click.argument("node", default="0")
def logs(home: Path, follow: bool, node: str) -> None:
    """Print the log of NODE (name or number)."""
    network = devnet_network.load(home)
    path = Processes(network).log_file(network.find(node))
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            while True:
                text = file.read()
                if text:
                    click.echo(text, nl=False)
                if not follow:
                    return
                time.sleep(0.2)
    except FileNotFoundError:
        raise OperatorError(f"{node} has no log", "it was never started", "dawan-node devnet start.") from None
    except KeyboardInterrupt:
        return


@devnet.command()
@_home_option
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
def kill(home: Path, nodes: tuple[str, ...]) -> None:
    """Kill nodes without warning (kill -9)."""
    network = devnet_network.load(home)
    processes = Processes(network)
    for node in [network.find(text) for text in nodes]:
        processes.kill(node)
        click.echo(f"{node.name} is dead.")
    alive = next((node for node in network.nodes if processes.pid(node) is not None), None)
    others = f"`dawan-node status --rpc {alive.rpc_url}` shows what {alive.name} makes of it; " if alive else ""
    click.echo(f"Next: {others}`dawan-node devnet start` starts it again.")


@devnet.command()
@_home_option
@click.argument("nodes", metavar="[NODE...]", nargs=-1)
def start(home: Path, nodes: tuple[str, ...]) -> None:
    """Start nodes again; without a name all that do not run."""
    network = devnet_network.load(home)
    processes = Processes(network)
    chosen = [network.find(text) for text in nodes] or [node for node in network.nodes if processes.pid(node) is None]
    for node in chosen:
        processes.start(node)
        click.echo(f"{node.name} is starting; log: {processes.log_file(node)}")


@devnet.command()
@_home_option
@click.argument("groups", default="")
def partition(home: Path, groups: str) -> None:
    """Cut the links between GROUPS such as 0,1/2,3; without GROUPS heal all links."""
    network = devnet_network.load(home)
    processes = Processes(network)
    sides = (
        [{network.find(text).name for text in side.split(",") if text} for side in groups.split("/")] if groups else []
    )
    for node in network.nodes:
        if processes.pid(node) is None:
            continue
        own = next((side for side in sides if node.name in side), {node.name} if sides else set())
        cut = sorted(other.name for other in network.nodes if sides and other.name not in own)
        _admin(node, "cut", {"names": cut})
    words = " | ".join(", ".join(sorted(side)) for side in sides)
    click.echo(f"Cut: {words}" if sides else "All links may come up again.")


# -1h is a time here, and must not be read as the option -h.
@devnet.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@_home_option
@click.argument("shift", metavar="+21d|-1h|now", required=False)
@click.argument("nodes", metavar="[NODE...]", nargs=-1)
def clock(home: Path, shift: str | None, nodes: tuple[str, ...]) -> None:
    """Move the clocks of NODE... (default: all that run): by days, hours, minutes or seconds, or back to `now`.

    Without an argument say how far each clock is ahead. A moved clock stays so over a restart of the node.
    """
    network = devnet_network.load(home)
    processes = Processes(network)
    running = [node for node in network.nodes if processes.pid(node) is not None]
    chosen = [network.find(text) for text in nodes] or running
    former_ms = {node: _admin(node, "clock", {})["ahead_ms"] for node in chosen}
    set_ms = former_ms
    if shift is not None:
        by_ms = None if shift == "now" else parse_shift(shift)
        goal_ms = {node: 0 if by_ms is None else ahead_ms + by_ms for node, ahead_ms in former_ms.items()}
        from concurrent.futures import ThreadPoolExecutor

        # All at once: validators refuse a proposal whose time is far from their own clock.
        with ThreadPoolExecutor(max(1, len(chosen))) as pool:
            for _ in pool.map(lambda node: _admin(node, "clock", {"ahead_ms": goal_ms[node]}), chosen):
                pass
        set_ms = goal_ms
    for node, ahead_ms in set_ms.items():
        now = datetime.now(UTC) + timedelta(milliseconds=ahead_ms)
        click.echo(f"{node.name}: {now:%Y-%m-%d %H:%M:%S} UTC, {shift_words(ahead_ms)}")
    if shift is None:
        return
    click.echo("Block time moves with the clocks of the validators and cannot go back.")
    if any(ahead_ms < former_ms[node] for node, ahead_ms in set_ms.items()):
        click.echo(
            "Blocks go on from the time of the last one, a millisecond each, until the clocks have caught up; "
            "a transaction must be valid beyond that time."
        )


@devnet.command()
@_home_option
@click.argument("node", default="")
@output_option
def tx(home: Path, node: str, output: str) -> None:
    """Register an invoice through NODE (default: the first that runs) and wait until it is final."""
    network = devnet_network.load(home)
    processes = Processes(network)
    running = [each for each in network.nodes if processes.pid(each) is not None]
    target = network.find(node) if node else next(iter(running), network.nodes[0])
    if target not in running:
        raise CommandFailed(
            ExitCode.UNREACHABLE,
            f"{target.name} does not run",
            "it has no live process",
            "Start it: `dawan-node devnet start`, or name another NODE.",
        )
    key = network.identity_keys()["gz-supplier"]
    now_ms = _admin(target, "clock", {})["now_ms"]
    number = f"DEV-{now_ms}"
    today = time.strftime("%Y-%m-%d", time.gmtime(now_ms // 1000 + 8 * 3600))
    args = {"number": number, "buyer": "gz-buyer", "issue_date": today, "due_date": today, "total": ["CNY", 123_450]}
    with connected(target.rpc_url, home, submits=True) as client:
        answer = _submit(client, key, "receivable", "record_invoice", args, now_ms)
    if output == "json":
        print_json(answer)
        return
    receipt = answer["receipt"]
    click.echo(f"{number}: {answer['status']} in block {receipt['height']} through {target.name}, tx {answer['tx_id']}")


@devnet.command()
@_home_option
@click.option("--purge", is_flag=True, help="Also remove the folder with all keys and data of the test network.")
def down(home: Path, purge: bool) -> None:
    """Stop all nodes."""
    network = devnet_network.load(home)
    Processes(network).stop(network.nodes)
    click.echo("All nodes are stopped.")
    if purge:
        shutil.rmtree(home)
        click.echo(f"Removed {home}: test keys, logs and ledgers.")


# Starting


def _wait_ready(network: Devnet, processes: Processes, stop: threading.Event) -> None:
    """Wait until every node answers and has as many links as it keeps up, or one of them gave up."""
    waiting = list(network.nodes)
    links = network.links_kept()

    def look() -> bool:
        for node in list(waiting):
            if processes.exit_code(node) is not None:
                raise OperatorError(
                    f"{node.name} did not start", processes.last_words(node), f"See {processes.log_file(node)}."
                )
            seen = _node_status(node)
            if seen is not None and seen["peers"] >= links[node.name]:
                waiting.remove(node)
        return not waiting

    if not _until(look, stop) and not stop.is_set():
        names = ", ".join(node.name for node in waiting)
        raise OperatorError(
            f"{names} did not come up in {START_S:.0f} s", "no answer or links missing", "See `dawan-node devnet logs`."
        )


def _first_block(network: Devnet, stop: threading.Event) -> int:
    """The height of the chain after one more transaction: proof that the network commits."""
    keys = network.identity_keys()
    with Client(network.nodes[0].rpc_url) as client:
        heights: list[int] = []
        trouble = ["no answer"]

        def look() -> bool:
            try:
                now_ms = _admin(network.nodes[0], "clock", {})["now_ms"]
                answer = _submit(client, keys["gz-admin"], "governance", "tick", {}, now_ms)
            except (RpcError, Unreachable, OperatorError) as error:
                trouble[0] = str(error)
                return False
            heights.append(answer["receipt"]["height"])
            return True

        if not _until(look, stop) and not stop.is_set():
            raise OperatorError("no block was committed", trouble[0], "See `dawan-node devnet logs`.")
        return heights[0] if heights else 0


def _until(look: Callable[[], bool], stop: threading.Event) -> bool:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and not stop.is_set():
        if look():
            return True
        stop.wait(_POLL_S)
    return False


def _is_parted(home: Path) -> bool:
    """Whether titles have a channel of their own in the network of that folder."""
    from dawan_node.cli.devnet_creation import has_two_channels

    return has_two_channels(devnet_network.load(home))


def _introduce(network: Devnet) -> None:
    """Where titles have a channel of their own, have the two believe each other, once."""
    from dawan_node.cli.devnet_channels import LOGISTICS, introduce

    with Client(network.nodes[0].rpc_url) as client:
        if LOGISTICS in client.channel_list():
            for place in introduce(client, network.identity_keys()):
                click.echo(f"{place} believes the other channel, by three votes.")


def _tell(network: Devnet, demo: str, invoices: Path | None) -> None:
    if demo == "titles":
        from dawan_node.cli.demo_titles import tell_titles

        with Client(network.nodes[0].rpc_url) as client:
            tell_titles(client, network.identity_keys(), network.folder / "relay", click.echo)
        return
    import asyncio

    from dawan_node.cli.demo_trade import run_demo
    from dawan_node.rpc.client import AsyncClient

    async def tell() -> None:
        async with AsyncClient(network.nodes[0].rpc_url) as client:
            await run_demo(client, network.identity_keys(), invoices, click.echo)

    asyncio.run(tell())


def _print_screen(network: Devnet) -> None:
    click.echo("")
    rows = [
        {"node": node.name, "org": node.org, "rpc": node.rpc_url, "metrics": f"{node.ops_url}/metrics"}
        for node in network.nodes
    ]
    print_table({"node": "NODE", "org": "ORG", "rpc": "JSON-RPC", "metrics": "METRICS"}, rows)
    home = "" if network.folder == Path("devnet") else f" --home {network.folder}"
    click.echo(
        f"\nIn another terminal (source {network.environment_file} sets PATH, DAWAN_RPC and the other URLs):\n"
        f"  source {network.environment_file} && dawan-node status\n"
        f"  dawan-node devnet tx{home}\n"
        f"  dawan-node devnet kill{home} {len(network.nodes) - 1}\n"
        "Ctrl-C stops all nodes."
    )


# Talking to nodes


def _submit(client: Client, key: Any, module: str, command: str, args: dict[str, Any], now_ms: int) -> Any:
    """``now_ms``: by the clock of the network, which may have been moved."""
    chain_id = bytes.fromhex(client.channel_get(CHANNEL)["chain_id"][2:])
    # Block time is not before the last block's, even where the clocks were set back.
    head_ms = int(datetime.fromisoformat(client.chain_head(CHANNEL)["timestamp"]).timestamp() * 1000)
    body = build_body(chain_id, module, command, args, valid_until_ms=max(now_ms, head_ms) + 600_000)
    return client.tx_submit(CHANNEL, sign_transaction(key, body), wait="committed", timeout_ms=10_000)


def _node_status(node: DevnetNode) -> Any:
    try:
        with Client(node.rpc_url, timeout_s=2.0) as client:
            return client.node_status()
    except (DawanError, OSError):
        return None


def _examine(node: DevnetNode) -> tuple[Any, int, tuple[Finding, ...]] | None:
    """The node's row on the channel, its peers, and what `dawan-node status` finds wrong; None: it does not answer."""
    try:
        with Client(node.rpc_url, timeout_s=2.0) as client:
            seen, peers = client.node_status(), client.net_peers()
            row = next(channel for channel in seen["channels"] if channel["channel"] == CHANNEL)
            info, pbft = client.channel_get(CHANNEL), client.pbft_status(CHANNEL)
    except (DawanError, OSError):
        return None
    return row, seen["peers"], examine(node.name, row, info, pbft, peers).findings


def _row(node: DevnetNode, processes: Processes) -> dict[str, Any]:
    pid = processes.pid(node)
    row: dict[str, Any] = {"node": node.name, "pid": pid or "-", "rpc": node.rpc_url, "trouble": "-", "grave": False}
    found = _examine(node) if pid is not None else None
    if found is None:
        return row | {
            "state": "down" if pid is None else "silent",
            "height": "-",
            "view": "-",
            "primary": "-",
            "peers": "-",
        }
    channel, peers, findings = found
    if findings:
        worst = max(findings, key=lambda finding: finding.grave)
        row |= {"trouble": worst.text, "grave": worst.grave}
    return row | {name: channel[name] for name in ("state", "height", "view", "primary")} | {"peers": peers}


def _admin(node: DevnetNode, action: str, argument: dict[str, Any]) -> Any:
    """The answer to one of the ops port's actions for test networks. Raises OperatorError."""
    import urllib.error
    import urllib.request

    request = urllib.request.Request(  # noqa: S310 - a loopback URL of our own state file
        f"{node.ops_url}/admin/{action}",
        data=json.dumps(argument).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return json.loads(answer.read())
    except (urllib.error.URLError, OSError, ValueError) as error:
        why = str(error)
        if isinstance(error, urllib.error.HTTPError):
            why = f"{why}: {error.read(_ADMIN_ANSWER_BYTES_MAX).decode(errors='replace')}"
        raise OperatorError(
            f"{node.name} did not do `{action}`", why, "Is it running, and is this a test network?"
        ) from None
