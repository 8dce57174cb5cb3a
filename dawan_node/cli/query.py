"""``query``: read blocks, transactions, state, events and members; ``query rpc`` calls any method."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, rpc_options
from dawan_node.cli.options import output_option, print_json, print_table
from dawan_node.rpc.client import Client

# An idle channel makes no blocks; half a second is quick for a person and nothing for the node.
_FOLLOW_PAUSE_S: Final = 0.5


@click.group()
def query() -> None:
    """Read blocks, transactions, state, events and members."""


@query.command()
@click.argument("at", default="latest")
@click.option("--full", is_flag=True, help="Whole transactions instead of ids.")
@channel_option
@rpc_options
@output_option
def block(at: str, full: bool, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """The block AT a height, a hash (0x...) or "latest"."""
    with connected(rpc, home) as client:
        found = client.chain_getBlock(channel_of(client, channel), int(at) if at.isdecimal() else at, full)
    if output == "json":
        print_json(found)
        return
    header = found["header"] or {}
    commit = found["commit"] or {"view": "-", "signers": []}
    _facts(
        {
            "height": found["height"],
            "block hash": found["block_hash"],
            "time": header.get("timestamp", "genesis"),
            "parent": header.get("parent_hash", "-"),
            "state root": found["result"]["state_root"],
            "view": commit["view"],
            "signed by": ", ".join(commit["signers"]) or "-",
            "transactions": len(found["txs"]),
        }
    )
    for entry in found["txs"]:
        click.echo(f"  {_tx_line(entry)}")


@query.command()
@click.argument("tx_id")
@channel_option
@rpc_options
@output_option
def tx(tx_id: str, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """The transaction TX_ID with its receipt."""
    with connected(rpc, home) as client:
        found = client.tx_get(channel_of(client, channel), tx_id)
    if output == "json":
        print_json(found)
        return
    receipt = found.get("receipt")
    _facts(
        {
            "tx id": found["tx_id"],
            "status": found["status"],
            "command": f"{found['module']}.{found['command']}",
            "arguments": json.dumps(found["args"], ensure_ascii=False),
            "signer": found["public_key"],
            "valid until": found["valid_until"],
            "block": f"{receipt['height']} / {receipt['index']}" if receipt else "-",
            "result": (receipt["reason"] or "ok") if receipt else "-",
        }
    )


@query.command()
@click.argument("module")
@click.argument("collection")
@click.argument("key")
@click.option("--at", default="latest", help="Height or block hash.")
@click.option("--proof", is_flag=True, help="Add the offline-verifiable proof (with -o json).")
@channel_option
@rpc_options
@output_option
def state(
    module: str,
    collection: str,
    key: str,
    at: str,
    proof: bool,
    channel: str | None,
    rpc: str | None,
    home: Path,
    output: str,
) -> None:
    """One entry of MODULE's COLLECTION. KEY is text, or bytes as 0x..."""
    encoded = key if key.startswith("0x") else key.encode()
    with connected(rpc, home) as client:
        place = channel_of(client, channel)
        found = client.state_get(place, module, collection, encoded, int(at) if at.isdecimal() else at, proof)
    if output == "json":
        print_json(found)
    elif isinstance(found["value"], dict):
        _facts({**found["value"], "(height)": found["height"]})
    else:
        click.echo(f"{found['value'] or 'absent'} (height {found['height']})")


@query.command()
@click.option("--from", "cursor", help="Cursor of the last event seen. Otherwise from the start.")
@click.option("-f", "--follow", is_flag=True, help="Go on as events happen; Ctrl-C ends.")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option("--module", "modules", multiple=True, help="Only events of this module (repeatable).")
@click.option("--name", "names", multiple=True, help="Only events of this name (repeatable).")
@channel_option
@rpc_options
@output_option
def events(
    cursor: str | None,
    follow: bool,
    limit: int | None,
    modules: tuple[str, ...],
    names: tuple[str, ...],
    channel: str | None,
    rpc: str | None,
    home: Path,
    output: str,
) -> None:
    """Events in order. With -o json one event per line; keep the last `cursor` to go on from there."""
    chosen = {name: list(values) for name, values in (("modules", modules), ("names", names)) if values}
    left = limit
    with connected(rpc, home) as client:
        place = channel_of(client, channel)
        while left is None or left > 0:
            page = client.events_get(place, cursor, min(left or 100, 100), chosen or None)
            for event in page["events"]:
                _show_event(event, output)
            if left is not None:
                left -= len(page["events"])
            # Only a cursor that stands still is the end: a page without matches may still have moved on.
            at_end = page["cursor"] == cursor
            cursor = page["cursor"]
            if at_end and not follow:
                return
            if at_end:
                time.sleep(_FOLLOW_PAUSE_S)


@query.command()
@click.argument("name", required=False)
@channel_option
@rpc_options
@output_option
def member(name: str | None, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """All members of the channel, or the organisation or identity NAME."""
    with connected(rpc, home) as client:
        place = channel_of(client, channel)
        found = client.member_get(place, name) if name else client.member_list(place)
    if output == "json":
        print_json(found)
    elif name:
        _facts(found)
    else:
        print_table(
            {"id": "ORGANISATION", "name": "NAME", "tier": "TIER", "status": "STATUS"},
            [{**org, "name": org["names"].get("en", "")} for org in found["orgs"]],
        )
        click.echo()
        columns = {"name": "IDENTITY", "org": "ORG", "roles": "ROLES", "status": "STATUS", "public_key": "PUBLIC KEY"}
        print_table(columns, found["identities"])


@query.command(name="rpc")
@click.argument("method")
@click.argument("params", required=False)
@rpc_options
def rpc_(method: str, params: str | None, rpc: str | None, home: Path) -> None:
    """Call METHOD with PARAMS, a JSON object or array; the result is printed as JSON."""
    try:
        decoded = json.loads(params) if params else None
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="PARAMS") from None
    if decoded is not None and not isinstance(decoded, dict | list):
        raise click.BadParameter("a JSON object or array is expected", param_hint="PARAMS")
    with connected(rpc, home) as client:
        print_json(_call(client, method, decoded))


def _call(client: Client, method: str, params: Any) -> Any:
    # A submission may wait as long as it asks for.
    wait_ms = params.get("timeout_ms", 0) if isinstance(params, dict) else 0
    return client.call(method, params, wait_ms / 1000 if isinstance(wait_ms, int) else 0.0)


def _show_event(event: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(event, ensure_ascii=False))
        return
    place = f"{event['height']}/{event['index']}/{event['n']}"
    data = json.dumps(event["data"], ensure_ascii=False)
    click.echo(f"{place:>12}  {event['module']}.{event['name']}  {data}")


def _facts(facts: dict[str, Any]) -> None:
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        click.echo(f"{name:<{width}}  {text}")


def _tx_line(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    return f"{entry['tx_id']}  {entry['module']}.{entry['command']}  {entry['reason'] or 'ok'}"
