"""``title import-pint``: envelopes of other platforms, and transport documents of the sender's own as drafts.

An envelope (PINT 3.0) becomes ``receive_envelope`` of the platform's identity, a bare transport document (DCSA EBL 3.0)
``draft_title`` of the carrier's. The answer to an envelope is one of PINT's seven: ``RECE``, ``DUPE`` where it is on
chain already, else the one in the reason.

What stands on chain of a document is the hash of ``salt || document``, so that nobody can guess it. The salt is made
from the document and the sender's key, so a resumed import makes the same one; whoever is to read the document needs
it, and it is in ``-o json``.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.import_record import Record, Verdict
from dawan_node.cli.import_run import Order, import_options, run_import, unlocked_key
from dawan_node.cli.trade_import import identities_of

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_sources import Document
    from dawan_node.interchange.transport_document import TransportDocument

#: How this network is called in envelopes.
_OWN_PLATFORM: Final = "DAWAN"
#: Years a bill is kept: ten, the longest that the commercial codes of the three jurisdictions ask for.
_KEPT_YEARS: Final = 10
#: Bytes read at a time of a supporting document.
_CHUNK: Final = 1024 * 1024


@click.command("import-pint")
@import_options
@click.option("--recipient", help="Identity that receives the title. Default: the one the envelope names.")
@click.option(
    "--map",
    "mappings",
    metavar="CODE=NAME",
    multiple=True,
    help="Party's code in the document (SHIPPER) = its identity on the channel. Repeatable.",
)
@click.option(
    "--documents",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of the documents that came with the envelopes. Default: the envelope's own folder.",
)
@click.option(
    "--readers", metavar="ORG,...", default="", help="Organisations that may read the document. Default: the sender's."
)
@click.option(
    "--replace", is_flag=True, help="Replace a draft by another of the same title; the shipper must approve it anew."
)
@click.option("--retain-until", metavar="DATE", help="Until when it is kept (YYYY-MM-DD). Default: ten years from now.")
def import_pint(
    recipient: str | None,
    mappings: tuple[str, ...],
    documents: Path | None,
    readers: str,
    replace: bool,
    retain_until: str | None,
    **options: Any,
) -> None:
    """Read PINT 3.0 envelopes from FILE... and bring their titles in; or draft titles from DCSA transport documents.

    FILE may be a folder (all *.json in it and below), a file with one envelope per line (.jsonl, .ndjson, or --lines),
    or - for standard input. Without --key nothing is sent. Run it again after an interruption: an envelope is received
    once.

    Exit codes: 0 all received or there already, 1 some file was refused, 4 the chain refused one, 5 the node stopped
    answering.
    """
    order = Order(**options)
    until = retain_until or _years_from(date.today(), _KEPT_YEARS)  # noqa: DTZ011 - the day of whoever keeps it
    names = [name.strip() for name in readers.split(",") if name.strip()]
    key = unlocked_key(order) if order.sends else None
    standard = PintEnvelopes(
        identities_of(mappings, "SHIPPER=gz-exporter"), recipient or "", documents, names, until, key, replace
    )
    run_import(standard, order, "title import-pint", key)


def _years_from(day: date, years: int) -> str:
    last = 28 if (day.month, day.day) == (2, 29) else day.day
    return day.replace(year=day.year + years, day=last).isoformat()


class PintEnvelopes:
    """PINT 3.0 envelopes and DCSA EBL 3.0 documents into the module ``title``."""

    module: Final = "title"
    suffixes: Final[Sequence[str]] = (".json",)
    #: As ``canonical_json.TEXT_BYTES_MAX``, without importing the reader for ``--help``.
    bytes_max: Final = 4 * 1024 * 1024
    columns: Final[Mapping[str, str]] = {
        "kind": "KIND",
        "title": "TITLE",
        "parties": "SHIPPER > CONSIGNEE",
        "recipient": "RECIPIENT",
        "answer": "ANSWER",
    }
    duplicate_reasons: Final = frozenset({"E_DUP_TITLE"})

    def __init__(
        self,
        identities: Mapping[str, str],
        recipient: str,
        folder: Path | None,
        readers: Sequence[str],
        retain_until: str,
        key: Any,
        replaces: bool = False,
    ) -> None:
        self._identities: Final = identities
        self._recipient: Final = recipient
        self._folder: Final = folder
        self._readers: Final = readers
        self._retain_until: Final = retain_until
        self._key: Final = key
        self._replaces: Final = replaces
        self._hashed: dict[tuple[str, int, int], str] = {}

    def read(self, document: Document) -> list[Record]:
        """The one envelope or transport document of a file."""
        from dawan_node.interchange.transport_document import read_envelope, read_transport_document

        record = Record(document.file, document.line, 0)
        envelope = read_envelope(document.data)
        if not envelope.refusal:
            record.row = _row("envelope", envelope.document)
            record.row["recipient"] = self._recipient or _recipient_of(envelope.chain)
            record.warnings, record.draft = envelope.document.warnings, (envelope.document, envelope, document)
            return [record]
        draft = read_transport_document(document.data)
        if draft.refusal:
            is_envelope = b'"envelopeManifestSignedContent"' in document.data
            record.refuse("E_NOT_PINT", envelope.refusal if is_envelope else draft.refusal)
            return [record]
        record.row, record.warnings = _row("document", draft), draft.warnings
        record.row["recipient"] = ""
        record.draft = (draft, None, document)
        return [record]

    def bind(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Complete what the chain needs and the file does not say: identities, readers, the salted hash."""
        for record in records:
            draft, envelope, document = record.draft
            record.touches = frozenset({record.row["title"]})
            bill = dict(draft.bill)
            if envelope is None:
                self._bind_draft(record, draft, bill)
            else:
                self._bind_envelope(record, draft, envelope, document, bill, channel)
            # The document and its text have several megabytes and are needed no more: of what waits for its turn only
            # the arguments are held.
            record.draft = None
            record.held_bytes = _bytes_of(record.args)

    def look_up(self, records: Sequence[Record], channel: ChannelView) -> None:
        """Settle envelopes that were received, and drafts of a document that is there already."""
        from dawan_node.execution.module import key_of

        for record in records:
            args = record.args
            if record.command == "receive_envelope":
                last = hashlib.sha256(args["chain"][-1].encode()).digest()
                found = channel.states(self.module, "envelope", [key_of(last)])[0]
                if found is None:
                    continue
                if found["recipient"] != record.row["recipient"]:
                    record.settle(Verdict.REJECTED, "E_PINT_BENV", f"it was received for {found['recipient']}")
                else:
                    record.settle(Verdict.ALREADY)
                    record.answer["answer"] = "DUPE"
                continue
            found = channel.states(self.module, "title", [key_of(record.row["title"])])[0]
            if found is not None:
                self._settle_draft(record, found)

    def _settle_draft(self, record: Record, found: Mapping[str, Any]) -> None:
        """A draft is the chain's only when document *and* bill are: who the parties are, the document does not say."""
        title = found["title"]
        if found["checksum"] == record.row["checksum"] and _is_bill(found["bill"], record.args["bill"]):
            record.settle(Verdict.ALREADY)
        elif found["state"] not in ("DRAFT", "APPROVED"):
            record.settle(Verdict.REJECTED, "E_DUP_TITLE", f"{title} was issued over another document or parties")
        elif not self._replaces:
            # Two versions in one folder would else replace each other in every run, and undo the shipper's approval.
            record.settle(
                Verdict.REJECTED,
                "E_OTHER_DRAFT",
                f"{title} is {found['state']} with another document or parties: --replace puts this one in its place"
                + (" and undoes the shipper's approval" if found["state"] == "APPROVED" else ""),
            )

    def line(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row for eyes."""
        reason = row["reason"]
        answer = row.get("answer") or (reason.removeprefix("E_PINT_") if reason.startswith("E_PINT_") else "")
        if row["kind"] == "envelope" and row["verdict"] == Verdict.RECORDED:
            answer = "RECE"
        return {**row, "parties": f"{row['shipper'] or '-'} > {row['consignee'] or '-'}", "answer": answer or "-"}

    def _bind_draft(self, record: Record, draft: TransportDocument, bill: dict[str, Any]) -> None:
        shipper = self._identities.get(draft.shipper, "")
        consignee = self._identities.get(draft.consignee, "") if draft.consignee else ""
        unknown = [code for code, name in ((draft.shipper, shipper), (draft.consignee, consignee)) if code and not name]
        if unknown or not shipper:
            who = " and ".join(unknown) or "the shipper"
            record.refuse("E_UNKNOWN_PARTY", f"who is {who} on the channel? Give --map 'CODE=NAME' for each")
            return
        record.command = "draft_title"
        record.args = {
            "carrier": draft.carrier,
            "reference": draft.reference,
            "checksum": draft.checksum,
            "bill": bill | {"shipper": shipper, "consignee": consignee},
        }

    def _bind_envelope(
        self,
        record: Record,
        draft: TransportDocument,
        envelope: Any,
        document: Document,
        bill: dict[str, Any],
        channel: ChannelView,
    ) -> None:
        recipient = record.row["recipient"]
        if not recipient:
            record.refuse("E_UNKNOWN_PARTY", f"the envelope names nobody of {_OWN_PLATFORM}: give --recipient NAME")
            return
        listed = _listed(envelope.manifest)
        received = self._received(listed, document.path)
        salt = hashlib.sha256(self._key.sign(b"dawan:title-salt:v1", draft.checksum)).digest()
        missing = ["0x" + digest for digest, _ in listed if digest not in received]
        record.row |= {"salt": "0x" + salt.hex(), "missing": missing}
        record.command = "receive_envelope"
        record.args = {
            "carrier": draft.carrier,
            "reference": draft.reference,
            "checksum": draft.checksum,
            "manifest": envelope.manifest,
            "chain": list(envelope.chain),
            "recipient": recipient,
            "documents": [
                {"checksum": bytes.fromhex(digest), "size": size} for digest, size in listed if digest in received
            ],
            "bill": bill
            | {
                "shipper": draft.shipper,
                "consignee": self._identities.get(draft.consignee, "") if draft.consignee else "",
            },
            "document": {
                "digest": hashlib.sha256(salt + draft.text).digest(),
                "size": len(draft.text),
                "readers": sorted({channel.sender.org, *self._readers}),
                "retain_until": self._retain_until,
            },
        }

    def _received(self, listed: Sequence[tuple[str, int]], path: Path | None) -> set[str]:
        """Which documents of a manifest are there, by SHA-256; the chain answers for those missing (MDOC)."""
        folder = self._folder or (path.parent if path is not None else None)
        if folder is None or not listed:
            return set()
        sizes = {size for _, size in listed}
        found = set()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            return set()
        for entry in entries:
            try:
                state = entry.stat()
                if stat.S_ISREG(state.st_mode) and state.st_size in sizes:
                    found.add(self._hash_of(Path(entry.path), state))
            except OSError:
                continue  # what cannot be read was not received
        return found

    def _hash_of(self, path: Path, state: os.stat_result) -> str:
        known = (str(path), state.st_size, state.st_mtime_ns)
        if known not in self._hashed:
            digest = hashlib.sha256()
            with path.open("rb") as stream:
                while part := stream.read(_CHUNK):
                    digest.update(part)
            if len(self._hashed) >= _HASHED_MAX:
                self._hashed.clear()
            self._hashed[known] = digest.hexdigest()
        return self._hashed[known]


#: Documents of one folder whose hashes are kept at hand for the next envelope.
_HASHED_MAX: Final = 1_024


def _is_bill(found: Mapping[str, Any], bill: Mapping[str, Any]) -> bool:
    """Whether a bill of the chain is the one that these arguments make."""
    from dawan_node.modules.identifiers import container_number, imo_number

    boxes = [(container_number(box["number"]), box["type"]) for box in bill["boxes"]]
    vessel = imo_number(bill["vessel"])
    made = {
        **bill,
        "vessel": vessel.number if vessel is not None else bill["vessel"],
        "boxes": [(number.number if number is not None else "", kind) for number, kind in boxes],
    }
    there = {**found, "boxes": [(box["number"], box["type"]) for box in found["boxes"]]}
    # ``kind`` is not kept: only one is taken.
    return all(there[name] == made[name] for name in there)


def _bytes_of(value: Any) -> int:
    """About how many bytes the texts of arguments have."""
    if isinstance(value, dict):
        return sum(_bytes_of(each) for each in value.values())
    if isinstance(value, list):
        return sum(_bytes_of(each) for each in value)
    return len(value) if isinstance(value, str | bytes) else 8


def _row(kind: str, draft: TransportDocument) -> dict[str, Any]:
    return {
        "kind": kind,
        "title": f"{draft.carrier}/{draft.reference.upper()}",
        "shipper": draft.shipper,
        "consignee": draft.consignee,
        "checksum": "0x" + draft.checksum.hex(),
    }


def _recipient_of(chain: Sequence[str]) -> str:
    """Whom of this network the last transaction names; empty when it is nobody."""
    from dawan_node.modules.title.foreign_chain import Entry
    from dawan_node.primitives.jws import read_json, read_jws

    signed = read_jws(chain[-1]) if chain else None
    entry = read_json(signed.payload, Entry) if signed is not None else None
    last = entry.transactions[-1].recipient if entry is not None and entry.transactions else None
    platform, _, name = last.name.partition(":") if last is not None else ("", "", "")
    return name if platform == _OWN_PLATFORM else ""


def _listed(manifest: str) -> list[tuple[str, int]]:
    """SHA-256 and size of every document that the manifest lists."""
    from dawan_node.modules.title.foreign_chain import Manifest
    from dawan_node.primitives.jws import read_json, read_jws

    signed = read_jws(manifest)
    read = read_json(signed.payload, Manifest) if signed is not None else None
    if read is None:
        return []  # the chain answers BENV
    return [(each.document_checksum, each.size) for each in read.documents]
