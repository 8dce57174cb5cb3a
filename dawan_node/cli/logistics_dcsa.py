"""``logistics import-dcsa``: events of DCSA track and trace, version 3, as milestones, measurements and retractions.

A message names bookings, documents and boxes; the channel has shipments, ``carrier/BOOKING``. ``--map`` says outright
which; else the booking of the sender's own organisation (or ``--carrier``), else the one live shipment with that box.
The event's own identifier is its ``source``: the same event again is ``already`` there.

A folder holds what several members have to send: a carrier's milestones, a logger's temperatures, bills. Each file is
known by its content. What another role must send is refused before anything is signed, because the chain's refusal
would be one more transaction on it in every run; the same folder with that member's key sends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.import_record import Record, Verdict, with_refusals
from dawan_node.cli.import_run import Order, import_options, run_import
from dawan_node.cli.trade_import import identities_of

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_sources import Document
    from dawan_node.interchange.dcsa_events import StatementDraft

_ENDED: Final = ("DELIVERED", "CANCELLED")


@click.command("import-dcsa")
@import_options
@click.option(
    "--map",
    "mappings",
    metavar="KIND:NUMBER=SHIPMENT",
    multiple=True,
    help="Shipment of a reference in the message: BKG:ABC709951=hk/B-1, TRD:HHL71800000=hk/B-1, or of a box: "
    "EQP:APZU4812090=hk/B-1. Repeatable.",
)
@click.option("--carrier", help="Organisation whose bookings the message names. Default: the sender's own.")
@click.option(
    "--device",
    "devices",
    metavar="BOX[/PROBE]=URI",
    multiple=True,
    help="The registered logger that measures in a box, or its probe number PROBE. Default: the one that watches the "
    "shipment. Repeatable.",
)
@click.option("--reason", default="retracted by its sender", show_default=True, help="Reason given for retractions.")
def import_dcsa(
    mappings: tuple[str, ...], carrier: str | None, devices: tuple[str, ...], reason: str, **options: Any
) -> None:
    """Read DCSA track-and-trace messages from FILE... and state their events.

    FILE may be a folder (all *.json in it and below), a file with one message per line (.jsonl, .ndjson, or --lines),
    or - for standard input; what each is, its content says. Without --key nothing is sent. Run it again after an
    interruption: nothing is stated twice.

    Exit codes: 0 all stated or there already, 1 some message was refused, 4 the chain refused an event, 5 the node
    stopped answering.
    """
    shipments = identities_of(mappings, "BKG:ABC709951=hk/B-1")
    loggers = identities_of(devices, "APZU4812090=urn:epc:id:giai:4000001.111")
    standard = DcsaEvents(shipments, carrier or "", loggers, reason)
    run_import(standard, Order(**options), "logistics import-dcsa")


class DcsaEvents:
    """DCSA track and trace into the module ``logistics``."""

    module: Final = "logistics"
    suffixes: Final[Sequence[str]] = (".json",)
    #: As ``dcsa_events.DOCUMENT_BYTES_MAX``, without importing the reader for ``--help``.
    bytes_max: Final = 16 * 1024 * 1024
    columns: Final[Mapping[str, str]] = {
        "position": "NO",
        "kind": "KIND",
        "source": "EVENT ID",
        "what": "WHAT",
        "time": "TIME",
        "about": "ABOUT",
    }
    duplicate_reasons: Final = frozenset({"E_STATED"})

    def __init__(self, shipments: Mapping[str, str], carrier: str, devices: Mapping[str, str], reason: str) -> None:
        self._shipments: Final = shipments
        self._carrier: Final = carrier
        self._devices: Final = devices
        self._reason: Final = reason

    def read(self, document: Document) -> list[Record]:
        """The events of a message; several probes of one measurement are a record each."""
        from dawan_node.interchange.dcsa_events import read_dcsa_events

        reading = read_dcsa_events(document.data)
        records: list[Record] = []
        for draft in reading.statements:
            for probe in range(max(1, len(draft.samples))):
                row = _row(draft, probe)
                records.append(
                    Record(document.file, document.line, draft.position, row, draft.warnings, draft=(draft, probe))
                )
        return with_refusals(document, records, reading.refusals, "the message holds no event")

    def bind(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Find the shipment of each event, and its logger or the statement it retracts."""
        for record in records:
            draft, probe = record.draft
            record.command = _command_of(draft)
            if not channel.may_send(self.module, record.command):
                record.refuse("E_ROLE", _other_key(record.command, channel))
                continue
            shipment = self._shipment(record, draft, channel)
            if shipment is None:
                continue
            record.row["shipment"] = shipment
            record.touches = frozenset({shipment})
            if draft.retracts:
                record.args = {"shipment": shipment, "position": -1, "reason": self._reason}
            elif draft.milestone is not None:
                record.args = {"shipment": shipment, **draft.milestone}
            else:
                self._measure(record, draft, probe, shipment, channel)

    def look_up(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Settle what is stated, measured or retracted already; find the place of what is to be retracted."""
        for record in records:
            draft, _ = record.draft
            shipment = record.row["shipment"]
            if record.command == "record_samples":
                digest = _series_digest(record.args)
                if channel.states(self.module, "sensor_batch", [digest])[0] is not None:
                    record.settle(Verdict.ALREADY)
                continue
            wanted = draft.retracts or draft.source
            found = self._statement(channel, shipment, wanted)
            if draft.retracts:
                self._settle_retraction(record, found, wanted)
            elif found is not None:
                _settle_statement(record, found)

    def line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row for eyes."""
        return {**row, "about": row.get("shipment") or row["about"]}

    def _shipment(self, record: Record, draft: StatementDraft, channel: ChannelView) -> str | None:
        """The shipment an event is about; None when there is not exactly one, which then is the record's refusal."""
        from dawan_node.execution.module import key_of

        names = [f"{kind}:{number}" for kind, number in draft.references]
        names += [f"EQP:{draft.equipment}"] if draft.equipment else []
        if "*" in self._shipments:
            names.append("*")
        named = {self._shipments[name] for name in names if name in self._shipments}
        if not named:
            carrier = self._carrier or channel.sender.org
            bookings = [f"{carrier}/{number}" for kind, number in draft.references if kind == "BKG"]
            known = channel.states(self.module, "shipment", [key_of(booking) for booking in bookings])
            named = {booking for booking, found in zip(bookings, known, strict=True) if found is not None}
        if not named and draft.equipment:
            there = channel.query(self.module, "shipments", {"equipment": draft.equipment})
            named = {found["shipment"] for found in there if found["state"] not in _ENDED}
        if len(named) == 1:
            return named.pop()
        about = ", ".join(names) or "nothing that names a shipment"
        if named:
            record.refuse("E_AMBIGUOUS_SHIPMENT", f"{about} stands for {', '.join(sorted(named))}: give --map")
        else:
            record.refuse(
                "E_UNKNOWN_SHIPMENT",
                f"no shipment of the channel is known for {about}: give --map KIND:NUMBER=SHIPMENT, or '*=SHIPMENT' "
                "for all events that name none",
            )
        return None

    def _measure(self, record: Record, draft: StatementDraft, probe: int, shipment: str, channel: ChannelView) -> None:
        from dawan_node.modules.logistics.gs1 import canonical_uri

        name = f"{draft.equipment}/{probe + 1}"
        device = self._devices.get(name, "") or (
            self._devices.get(draft.equipment, "") if len(draft.samples) == 1 else ""
        )
        if not device and len(draft.samples) == 1:
            watching = [
                each["device"]
                for each in channel.query(self.module, "cold_chains", {"shipment": shipment})
                if each["ended"] == _NEVER
            ]
            device = watching[0] if len(watching) == 1 else ""
        if not device:
            record.refuse("E_UNKNOWN_DEVICE", f"which logger measures there? Give --device {name}=URI")
            return
        time_ms, milli = draft.samples[probe]
        record.args = {
            "shipment": shipment,
            "device": device,
            "unit": draft.unit,
            "samples": [{"time_ms": time_ms, "milli": milli}],
        }
        record.touches = frozenset({shipment, canonical_uri(device)})

    def _statement(self, channel: ChannelView, shipment: str, source: str) -> dict[str, Any] | None:
        """The sender's own statement of that source about a shipment."""
        for found in channel.query(self.module, "milestones", {"shipment": shipment}):
            if found["source"] == source and found["org"] == channel.sender.org:
                return found
        return None

    def _settle_retraction(self, record: Record, found: Mapping[str, Any] | None, wanted: str) -> None:
        if found is None:
            record.refuse("E_UNKNOWN_EVENT", f"{record.row['shipment']} has no statement {wanted} of this organisation")
        elif found["retracted"] != _NEVER:
            record.settle(Verdict.ALREADY)
        else:
            record.args["position"] = found["position"]


#: How JSON shows the instant 0, which stands for "never".
_NEVER: Final = "1970-01-01T00:00:00.000Z"


def _command_of(draft: StatementDraft) -> str:
    if draft.retracts:
        return "retract_milestone"
    return "record_samples" if draft.milestone is None else "state_milestone"


def _other_key(command: str, channel: ChannelView) -> str:
    roles = " or ".join(channel.roles_of("logistics", command))
    own = ", ".join(channel.sender.roles) or "no role"
    return f"{command} is for {roles}; {channel.sender.name} has {own}: import it with a key of such a member"


def _settle_statement(record: Record, found: Mapping[str, Any]) -> None:
    from dawan_node.rpc.values import to_instant

    args = record.args
    # As it was stated first, or as its author corrected it since: an exported message says the latter.
    said = {found["time"], *[each["time"] for each in found["corrections"][:1]]}
    same = (found["code"], found["classifier"], found["place"]) == (args["code"], args["classifier"], args["place"])
    if same and to_instant(args["time_ms"]) in said:
        record.settle(Verdict.ALREADY)
    else:
        record.settle(Verdict.REJECTED, "E_STATED", f"{args['source']} is stated already and says something else")


def _series_digest(args: Mapping[str, Any]) -> bytes:
    from dawan_node.execution.module import key_of
    from dawan_node.modules.logistics.cold_chain import batch_digest
    from dawan_node.modules.logistics.gs1 import canonical_uri

    samples = [(sample["time_ms"], sample["milli"]) for sample in args["samples"]]
    return key_of(batch_digest(canonical_uri(args["device"]), args["unit"], samples))


def _row(draft: StatementDraft, probe: int) -> dict[str, Any]:
    from dawan_node.rpc.values import to_instant

    references = ", ".join(f"{kind}:{number}" for kind, number in draft.references)
    about = " ".join(filter(None, (references, draft.equipment))) or "-"
    row: dict[str, Any] = {"kind": draft.kind, "source": draft.source, "about": about, "time": ""}
    if draft.retracts:
        return row | {"what": f"retracts {draft.retracts}"}
    if draft.milestone is not None:
        said = draft.milestone
        what = f"{said['code']} {said['classifier']} {said['place']}"
        return row | {"what": what, "time": to_instant(said["time_ms"])}
    time_ms, milli = draft.samples[probe]
    degrees = f"{'-' if milli < 0 else ''}{abs(milli) // 1_000}.{abs(milli) % 1_000:03}"
    return row | {"what": f"probe {probe + 1}: {degrees} {draft.unit}", "time": to_instant(time_ms)}
