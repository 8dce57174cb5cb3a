"""``logistics import-epcis``: events of EPCIS 2.0 documents, captured under their own hash.

The hash is the event's identity, so the same event in another key order, time zone or spelling is ``already`` there. An
event with an error declaration is two transactions where the chain does not know the event yet: capture, then declare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.import_record import Record, Verdict, with_refusals
from dawan_node.cli.import_run import Order, import_options, run_import

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_sources import Document

_LISTS: Final = ("epcs", "children", "inputs", "outputs")


@click.command("import-epcis")
@import_options
@click.option("--compare-hashes", is_flag=True, help="Compare each event's hash with FILE.hashes, one hash per line.")
def import_epcis(compare_hashes: bool, **options: Any) -> None:
    """Read EPCIS 2.0 documents in JSON-LD from FILE... and capture their events.

    FILE may be a folder (all *.jsonld and *.json in it and below), a file with one document or event per line (.jsonl,
    .ndjson, or --lines), or - for standard input. Without --key nothing is sent. Run it again after an interruption:
    nothing is captured twice.

    Exit codes: 0 all captured or there already, 1 some document was refused, 4 the chain refused an event, 5 the node
    stopped answering.
    """
    run_import(EpcisEvents(compare_hashes=compare_hashes), Order(**options), "logistics import-epcis")


class EpcisEvents:
    """EPCIS 2.0 into the module ``logistics``."""

    module: Final = "logistics"
    suffixes: Final[Sequence[str]] = (".jsonld", ".json")
    #: As ``epcis.DOCUMENT_BYTES_MAX``, without importing the reader for ``--help``.
    bytes_max: Final = 16 * 1024 * 1024
    duplicate_reasons: Final = frozenset({"E_CAPTURED"})

    def __init__(self, *, compare_hashes: bool = False) -> None:
        self._compares: Final = compare_hashes
        self.columns: Final[Mapping[str, str]] = {
            "position": "NO",
            "kind": "EVENT",
            "action": "ACTION",
            "time": "TIME",
            "biz_step": "STEP",
            "event": "HASH",
            **({"published": "PUBLISHED HASH"} if compare_hashes else {}),
        }

    def read(self, document: Document) -> list[Record]:
        """The events of a document, error declarations as records of their own behind their event."""
        from dawan_node.interchange.epcis import read_epcis

        reading = read_epcis(document.data)
        published = _published(document.path) if self._compares else []
        records: list[Record] = []
        for draft in reading.events:
            row = _row(draft)
            if self._compares:
                row["published"] = _compared(draft, published)
            records.append(Record(document.file, document.line, draft.position, row, draft.warnings, draft=draft))
            if draft.error is not None:
                told = {"kind": "errorDeclaration", "action": "", "time": "", "biz_step": "", "event": row["event"]}
                records.append(Record(document.file, document.line, draft.position, told, draft=draft))
        return with_refusals(document, records, reading.refusals, "the document holds no event")

    def bind(self, records: Sequence[Record], channel: ChannelView) -> None:
        """The arguments, and which objects an event is about: what others do to them comes before or after it."""
        from dawan_node.modules.logistics.gs1 import canonical_uri

        for record in records:
            draft = record.draft
            event = draft.event
            named = [canonical_uri(epc) for name in _LISTS for epc in event.get(name, ())]
            parent = [canonical_uri(event["parent"])] if event.get("parent") else []
            corrective = [each.hex() for each in (draft.error or {}).get("corrective", ())]
            record.touches = frozenset({draft.digest.hex(), *named, *parent, *corrective})
            if _is_declaration(record):
                record.command, record.args = "declare_error", dict(draft.error)
            else:
                record.command, record.args = "capture_event", {"event": event, "digest": draft.digest}

    def look_up(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Settle the events that are captured, and the declarations that are made."""
        from dawan_node.execution.module import key_of

        keys = [key_of(record.draft.digest) for record in records]
        for record, found in zip(records, channel.states(self.module, "event", keys), strict=True):
            if found is None:
                continue
            declared = found["declared"] != _NEVER
            if found["org"] != channel.sender.org:
                record.settle(Verdict.REJECTED, "E_CAPTURED", f"organisation {found['org']} captured this event")
            elif _is_declaration(record):
                corrective = sorted("0x" + each.hex() for each in record.draft.error["corrective"])
                if declared and sorted(found["corrective"]) == corrective:
                    record.settle(Verdict.ALREADY)
            elif declared and record.draft.error is None:
                record.settle(Verdict.REJECTED, "E_ERRONEOUS", "the event was declared erroneous")
            else:
                record.settle(Verdict.ALREADY)

    def line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row for eyes."""
        return {
            **row,
            "biz_step": row["biz_step"].rpartition("-")[2] or row["biz_step"],
            "event": row["event"][:30] + "...",
        }


#: How JSON shows the instant 0, which stands for "never".
_NEVER: Final = "1970-01-01T00:00:00.000Z"


def _is_declaration(record: Record) -> bool:
    return bool(record.row["kind"] == "errorDeclaration")


def _row(draft: Any) -> dict[str, Any]:
    from dawan_node.rpc.values import to_instant

    event = draft.event
    return {
        "kind": event["kind"],
        "action": event.get("action", ""),
        "time": to_instant(event["time_ms"]),
        "biz_step": event.get("biz_step", ""),
        "event": draft.event_id,
    }


def _published(path: Path | None) -> list[str]:
    """The hashes beside a document; none when there is no such file."""
    if path is None:
        return []
    try:
        with path.with_suffix(".hashes").open("rb") as stream:
            return stream.read(EpcisEvents.bytes_max).decode("ascii", "replace").split()
    except OSError:
        return []


def _compared(draft: Any, published: Sequence[str]) -> str:
    """Which order of lists gives the published hash: the standard's, the one by name, both, or none."""
    import msgspec

    from dawan_node.modules.logistics.event_form import EventForm
    from dawan_node.modules.logistics.event_hash import Order as HashOrder
    from dawan_node.modules.logistics.event_hash import event_digest, ni_uri

    if draft.position >= len(published):
        return "none published"
    form = msgspec.convert(draft.event, EventForm)
    fits = [order.value for order in HashOrder if ni_uri(event_digest(form, order)) == published[draft.position]]
    return {0: "DIFFERENT", 1: f"equal, order {' '.join(fits)}", 2: "equal in either order"}[len(fits)]
