"""``proof send``: a command whose arguments hold proofs of another channel, fetched as it is sent.

    proof send receivable apply_invoice_financing --from logistics --channel trade --key seller-a \\
        --args '{"number": "F-1", ..., "title_proof": "@proof light_client reservation shipper/R-1"}'

Every text ``@proof MODULE COLLECTION KEY`` in the arguments becomes the proof of that record of the channel ``--from``,
or with ``--absent`` that there is none. The channel that gets it is brought into the other one's newest epoch first.
Run again after it was interrupted, the same command hands in the bytes of the first time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_delivery import Patience, journal_option, patience_option
from dawan_node.cli.options import output_option
from dawan_node.cli.proof_options import source_options

if TYPE_CHECKING:
    from dawan_node.relay.carrier import Carried, Carrier
    from dawan_node.rpc.client import Client

#: Begins a text that stands for a proof; the bytes of an argument never do, they are 0x...
MARK: Final = "@proof "
#: Two proofs are the most that any command takes today; each has up to 64 KiB, and so has the transaction.
PROOFS_MAX: Final = 4
#: A transaction has at most 64 KiB, twice that in hexadecimal, plus the fields around it.
_FILE_BYTES_MAX: Final = 512 * 1024


@click.command("send")
@click.argument("module")
@click.argument("command")
@click.option("--args", "arguments", default="{}", help="The arguments as JSON, or @FILE, or @- for standard input.")
@source_options
@click.option("--at", type=click.IntRange(1), help="Prove them at this height of --from. Default: the newest.")
@click.option(
    "--absent", is_flag=True, help="A record that does not exist is proven as such; otherwise it is an error."
)
@click.option("--key", required=True, help="Signs: a name in --home, or a key file.")
@patience_option
@journal_option
@channel_option
@rpc_options
@output_option
def send(
    module: str,
    command: str,
    arguments: str,
    source: str,
    from_rpc: str | None,
    from_rpc_node: str | None,
    at: int | None,
    absent: bool,
    key: str,
    patience: int,
    journal: Path | None,
    channel: str | None,
    rpc: str | None,
    home: Path,
    output: str,
) -> None:
    """Send MODULE.COMMAND with proofs of another channel in its arguments, and wait until it is final."""
    template = _template(arguments)
    places = list(_places(template))
    if not 1 <= len(places) <= PROOFS_MAX:
        raise click.UsageError(
            f'--args holds {len(places)} texts "{MARK}MODULE COLLECTION KEY", and 1 to {PROOFS_MAX} are needed; '
            "without any, `tx send` is the command."
        )
    wanted = {text: _record(text) for text in places}
    from dawan_node.cli.proof_relay import refused
    from dawan_node.cli.relay_sending import JournaledSending, journal_of
    from dawan_node.cli.sending import prepare, signing_key
    from dawan_node.relay.carrier import Carried, Carrier, ChainRefused
    from dawan_node.relay.errands import Errand
    from dawan_node.relay.source import Source
    from dawan_node.relay.target import Target, require_allowed

    with ExitStack() as stack:
        client = other = stack.enter_context(connected(rpc, home, submits=True))
        if from_rpc:
            other = stack.enter_context(connected(from_rpc, home, node=from_rpc_node))
        target = Target(client, channel_of(client, channel, module))
        carrier_source = Source(other, source)
        private = signing_key(key, home, passphrase_file_of_command())
        require_allowed(client, target.channel, private.public_key)
        opened = stack.enter_context(journal_of(target, private, "proof send", home, journal))
        sending = JournaledSending(target, private, opened, Patience(patience))
        asked = _without_proofs(client, target.channel, module, command, template)
        same = [
            outcome
            for envelope, outcome in sending.resumed()
            if outcome.is_known and _is_same(envelope, module, command, asked, template)
        ]
        if opened.open_batches:
            raise sending.no_answer()
        errand = Errand(f"{module}.{command}", module, command, {})
        if not same:
            carrier = Carrier(carrier_source, target, sending, _mention)
            try:
                proofs = {text: _proof(carrier, record, at, absent) for text, record in wanted.items()}
            except ChainRefused as error:
                raise refused(client, target.channel, error) from None
            body = prepare(client, target.channel, private.public_key, module, command, _filled(template, proofs))
            same = sending.send_bodies([body])
        carried = Carried(errand, same[0])
        if not carried.is_done:
            raise refused(client, target.channel, ChainRefused(carried))
        _show(carried, target.channel, output)


def _template(arguments: str) -> Any:
    if arguments == "@-":
        text = sys.stdin.read(_FILE_BYTES_MAX + 1)
    elif arguments.startswith("@"):
        try:
            with Path(arguments[1:]).open(encoding="utf-8") as file:
                text = file.read(_FILE_BYTES_MAX + 1)
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(ExitCode.USAGE, f"{arguments[1:]} cannot be read", str(error), "Check it.") from None
    else:
        text = arguments
    if len(text) > _FILE_BYTES_MAX:
        raise CommandFailed(ExitCode.USAGE, "--args is too long", "a transaction holds 64 KiB", "Give less.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(ExitCode.USAGE, "--args is no JSON", str(error), "Check it.") from None


def _places(value: Any) -> Iterator[str]:
    """Every text that stands for a proof."""
    if isinstance(value, str):
        if value.startswith(MARK):
            yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _places(part)
    elif isinstance(value, list):
        for part in value:
            yield from _places(part)


def _record(text: str) -> tuple[str, str, bytes]:
    """Module, collection and key that a text names; the key is text, or bytes as 0x..."""
    from dawan_node.rpc.values import BadValue, from_hex

    try:
        module, collection, key = text.removeprefix(MARK).split(" ", 2)
        if not (module and collection and key):
            raise ValueError("a part is empty")
        return module, collection, from_hex(key, "key") if key.startswith("0x") else key.encode()
    except (BadValue, ValueError) as error:  # of which UnicodeEncodeError is one
        raise CommandFailed(
            ExitCode.USAGE,
            f"{text!r} names no record",
            str(error),
            f"Write {MARK}MODULE COLLECTION KEY, the key as text or 0x..., as in light_client reservation shipper/R-1.",
        ) from None


def _proof(carrier: Carrier, record: tuple[str, str, bytes], at: int | None, absent: bool) -> str:
    from dawan_node.relay.refusals import Reason, RelayRefused

    module, collection, key = record
    proven, said = carrier.prove(module, collection, key, "latest" if at is None else at)
    if said.value is None and not absent:
        why = f"{carrier.source.channel} has no {module}.{collection} {_readable(key)} at height {said.height}"
        raise RelayRefused(Reason.NO_RECORD, why, "Check its name; with --absent it is proven that there is none.")
    return "0x" + proven.proof.hex()


def _filled(value: Any, proofs: dict[str, str]) -> Any:
    if isinstance(value, str):
        return proofs.get(value, value)
    if isinstance(value, dict):
        return {name: _filled(part, proofs) for name, part in value.items()}
    return [_filled(part, proofs) for part in value] if isinstance(value, list) else value


def _without_proofs(client: Client, channel: str, module: str, command: str, template: Any) -> Any:
    """The arguments as the ledger has them, with one byte for each proof. Raises CommandFailed."""
    from dawan_node.rpc.values import BadValue, from_json

    document = client.module_describe(channel, module)
    try:
        schema = document["commands"][command]["args"]
        return from_json(_filled(template, dict.fromkeys(_places(template), "0x00")), schema, "args", document)
    except (KeyError, TypeError):
        raise CommandFailed(
            ExitCode.USAGE, f"{module} has no command {command}", f"on channel {channel}", "See module_describe."
        ) from None
    except BadValue as error:
        raise CommandFailed(ExitCode.REJECTED, "E_SCHEMA", str(error), "Correct the arguments.") from None


def _is_same(envelope: bytes, module: str, command: str, asked: Any, template: Any) -> bool:
    """Whether an interrupted run sent what is asked for now, whichever proofs it had."""
    from dawan_node.rpc.client import read_body, read_envelope

    fields = read_body(read_envelope(envelope)[0])
    if (fields["module"], fields["command"]) != (module, command):
        return False
    return bool(_blank(fields["args"], template) == _blank(asked, template))


def _blank(value: Any, template: Any) -> Any:
    if isinstance(template, str) and template.startswith(MARK):
        return b""
    if isinstance(value, dict) and isinstance(template, dict):
        return {name: _blank(part, template.get(name)) for name, part in value.items()}
    if isinstance(value, list | tuple) and isinstance(template, list) and len(value) == len(template):
        return [_blank(part, form) for part, form in zip(value, template, strict=True)]
    return list(value) if isinstance(value, tuple) else value


def _readable(key: bytes) -> str:
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return "0x" + key.hex()
    return text if text.isprintable() else "0x" + key.hex()


def _mention(carried: Carried) -> None:
    if carried.is_done:
        click.echo(f"{carried.errand.about}: carried in block {carried.outcome.height}", err=True)


def _show(carried: Carried, channel: str, output: str) -> None:
    outcome = carried.outcome
    if output == "json":
        click.echo(json.dumps({"tx_id": outcome.tx_id, "channel": channel, "height": outcome.height}))
    else:
        click.echo(f"{carried.errand.about}: committed on {channel} in block {outcome.height}, tx {outcome.tx_id}")
