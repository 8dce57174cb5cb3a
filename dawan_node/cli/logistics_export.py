"""``logistics export-epcis`` and ``export-dcsa``: what the chain holds of events and milestones, as standard messages.

An event's fields stand in the transaction that captured it, so that is where they are taken from; before an event is
written its hash is computed again and must be the one on chain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.export_target import Target, fresh_file, out_option

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView

#: Events asked for at a time.
_PAGE: Final = 50
#: How JSON-RPC shows the instant 0, which stands for "never".
_NEVER: Final = "1970-01-01T00:00:00.000Z"


@click.command("export-epcis")
@click.option("--org", help="Only what this organisation captured.")
@click.option("--epc", help="Only events that name this object or class, in any spelling.")
@click.option("--since", metavar="TIME", help="Only from this event time on (2026-05-20T08:00:00.000Z).")
@click.option("--until", metavar="TIME", help="Only before this event time.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for one EPCISDocument with all events. Default: standard output, one event per line.",
)
@channel_option
@rpc_options
def export_epcis(
    org: str | None,
    epc: str | None,
    since: str | None,
    until: str | None,
    out: Path | None,
    channel: str | None,
    rpc: str | None,
    home: Path,
) -> None:
    """Write captured events as EPCIS 2.0 JSON-LD, in the order in which they were captured.

    Each has its CBV hash as eventID, its recordTime, and its error declaration if it was declared erroneous. Its bytes
    are not those of the message it came in; its hash is the same.
    """
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.modules.logistics.gs1 import canonical_uri

    wanted = canonical_uri(epc) if epc else ""
    with connected(rpc, home) as client:
        view = ChannelView(client, channel_of(client, channel, "logistics"))
        chosen = (
            event
            for found, event in _captured(view)
            if (not org or found["org"] == org)
            and (not wanted or wanted in found["epcs"])
            and (not since or found["time"] >= since)
            and (not until or found["time"] < until)
        )
        count = _print_lines(chosen) if out is None else _write_document(view, out, chosen)
    click.echo(
        f"{count:,} events written{f' to {out}' if out else ''}. Their hashes are those on chain; their bytes are not "
        "those of the messages they came in.",
        err=True,
    )


def _print_lines(events: Iterator[bytes]) -> int:
    count = 0
    for event in events:
        click.echo(event)
        count += 1
    return count


def _write_document(view: ChannelView, out: Path, events: Iterator[bytes]) -> int:
    """One EPCIS document; event by event, so that its size costs no memory."""
    from dawan_node.interchange.epcis_writer import DOCUMENT_TAIL, document_head
    from dawan_node.rpc.values import from_instant

    created_ms = from_instant(view.client.chain_head(view.name)["timestamp"], "timestamp")
    count = 0
    with fresh_file(out) as file:
        file.write(document_head(created_ms))
        for event in events:
            file.write((b",\n" if count else b"") + event)
            count += 1
        file.write(DOCUMENT_TAIL)
    return count


@click.command("export-dcsa")
@click.argument("shipments", metavar="SHIPMENT...", nargs=-1, required=True)
@out_option
@channel_option
@rpc_options
def export_dcsa(shipments: tuple[str, ...], out: Path | None, channel: str | None, rpc: str | None, home: Path) -> None:
    """Write the milestones of each SHIPMENT (carrier/BOOKING) as one DCSA track-and-trace message.

    They have the fields that the chain has, under the senders' own event identifiers where they gave any. Temperatures
    are not in it: the chain keeps the hash and extremes of a series.
    """
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.interchange.dcsa_writer import events_of

    target = Target(out, ".json")
    with connected(rpc, home) as client:
        view = ChannelView(client, channel_of(client, channel, "logistics"))
        for name in shipments:
            shipment = next(view.query("logistics", "shipment", {"shipment": name}), None)
            if shipment is None:
                raise CommandFailed(
                    ExitCode.FAILED, f"{name} is no shipment", "there is none of that name", "Check it."
                )
            milestones = list(view.query("logistics", "milestones", {"shipment": name}))
            message = {"events": events_of(shipment, milestones)}
            target.put(name, json.dumps(message, ensure_ascii=False).encode() + b"\n")
    target.report("messages", "They hold what the chain has of each event, not the messages that were imported.")


def _captured(view: ChannelView) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Every captured event in the order of the chain: its record, and its JSON."""
    from dawan_node.execution.module import key_of

    cursor = None
    chosen = {"modules": ["logistics"], "names": ["EventCaptured"]}
    while True:
        page = view.client.events_get(view.name, cursor, _PAGE, chosen)
        seen = [(bytes.fromhex(each["data"]["event"][2:]), each["tx_id"]) for each in page["events"]]
        records = view.states("logistics", "event", [key_of(digest) for digest, _ in seen])
        for (digest, tx_id), record in zip(seen, records, strict=True):
            if record is not None:
                yield record, _written(view, digest, tx_id, record)
        if page["cursor"] == cursor:
            return
        cursor = page["cursor"]


def _written(view: ChannelView, digest: bytes, tx_id: str, record: dict[str, Any]) -> bytes:
    """An event as the transaction that captured it says. Raises CommandFailed when that is another event."""
    from dawan_node.interchange.epcis import read_epcis
    from dawan_node.interchange.epcis_writer import write_event
    from dawan_node.rpc.client import read_body, read_envelope

    envelope = bytes.fromhex(view.client.tx_get(view.name, tx_id)["tx"][2:])
    args = read_body(read_envelope(envelope)[0])["args"]
    said: dict[str, Any] = {"recordTime": record["recorded"]}
    if record["declared"] != _NEVER:
        corrective = [f"ni:///sha-256;{each[2:]}?ver=CBV2.0" for each in record["corrective"]]
        said["errorDeclaration"] = {"declarationTime": record["declared"]}
        said["errorDeclaration"] |= {"reason": record["reason"]} if record["reason"] else {}
        said["errorDeclaration"] |= {"correctiveEventIDs": corrective} if corrective else {}
    text = write_event(args["event"], digest, said)
    again = read_epcis(text)
    if [draft.digest for draft in again.events] != [digest]:
        raise CommandFailed(
            ExitCode.FAILED,
            f"event {digest.hex()} cannot be written",
            f"what transaction {tx_id} says has another hash",
            "Ask another node; this one may hold wrong data.",
        )
    return text
