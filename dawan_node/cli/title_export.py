"""``title export-pint``: a title as PINT 3.0, as far as the chain has it.

What came in from another platform stands on chain as that platform signed it, and is given back byte for byte: the
manifest and the transfer chain. The transport document is off chain; given with ``--document`` and found to be the one
under the title, the result is the envelope that was received. What happened to the title here is added as the payload
of the next entry of the chain, *unsigned*: no key of this network signs texts of another, a platform's own key does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.export_target import Target, out_option

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView

_DOCUMENT_BYTES_MAX: Final = 4 * 1024 * 1024


@click.command("export-pint")
@click.argument("title")
@click.option(
    "--document",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The transport document; it must be the one under the title's checksum.",
)
@out_option
@channel_option
@rpc_options
def export_pint(
    title: str, document: Path | None, out: Path | None, channel: str | None, rpc: str | None, home: Path
) -> None:
    """Write TITLE (SMDG-HMM/HKG-0042) as a PINT envelope: what was received as it was signed, and what happened since.

    The member `dawan` holds what PINT has no place for: state, holder, history here, and the next entry of the chain,
    which is not signed.
    """
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.interchange.pint_writer import next_entry, standing

    text = b""
    if document is not None:
        with document.open("rb") as stream:
            text = stream.read(_DOCUMENT_BYTES_MAX + 1)
    target = Target(out, ".json")
    with connected(rpc, home) as client:
        view = ChannelView(client, channel_of(client, channel, "title"))
        found = next(view.query("title", "title", {"title": title}), None)
        if found is None:
            raise CommandFailed(ExitCode.FAILED, f"{title} is no title", "there is none of that name", "Check it.")
        history = list(view.query("title", "history", {"title": title}))
        received = _received(view, history)
    rest: dict[str, Any] = {}
    if received is not None:
        rest["envelopeManifestSignedContent"] = received["manifest"]
        rest["envelopeTransferChain"] = received["chain"]
    rest["dawan"] = standing(found, view.name) | {"unsignedEntry": next_entry(found, history, received)}
    head = b'{"transportDocument":' + _form(document, text, found["checksum"]) + b"," if document is not None else b"{"
    target.put(title, head + json.dumps(rest, ensure_ascii=False).encode()[1:] + b"\n")
    said = "Manifest and chain are as received." if received else "It was issued here: no platform has signed anything."
    lacking = "" if document else " The transport document is off chain: give it with --document."
    target.report("title", f"{said} The entry of what happened here is not signed.{lacking}")


def _received(view: ChannelView, history: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The arguments of the last envelope that brought the title in; None for one that was issued here."""
    from dawan_node.rpc.client import read_body, read_envelope

    came = [entry for entry in history if entry["action"] == "RECEIVE"]
    if not came:
        return None
    envelope = bytes.fromhex(view.client.tx_get(view.name, came[-1]["transaction"])["tx"][2:])
    args: dict[str, Any] = read_body(read_envelope(envelope)[0])["args"]
    return args


def _form(document: Path, text: bytes, checksum: str) -> bytes:
    """The document in its canonical form, which keeps every digit. Raises CommandFailed when it is another one."""
    from dawan_node.crypto.hashing import sha256
    from dawan_node.interchange.canonical_json import NoCanonicalForm, canonical

    try:
        form = canonical(text)
    except NoCanonicalForm as error:
        raise _other(document, str(error)) from None
    if "0x" + sha256(form).hex() != checksum:
        raise _other(document, f"its checksum is 0x{sha256(form).hex()}, the title's {checksum}")
    return form


def _other(document: Path, why: str) -> CommandFailed:
    return CommandFailed(ExitCode.FAILED, f"{document} is not the title's document", why, "Give the right document.")
