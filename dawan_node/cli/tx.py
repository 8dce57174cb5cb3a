"""``tx``: build, sign and submit a transaction, each step on its own machine if need be.

    tx build receivable confirm_invoice --args @args.json --key buyer > unsigned.json   (a machine that sees a node)
    tx sign unsigned.json --key buyer > signed.json                                       (the machine with the key)
    tx submit signed.json --wait committed                                              (a machine that sees a node)

The files between the steps are small JSON documents; each step also takes and gives bare ``0x..`` bytes. ``build``
never trusts the node with what will be signed: it decodes the body it got and compares. ``sign`` shows what it signs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from dawan_node.cli.connect import channel_of, channel_option, connected, passphrase_file_of_command, rpc_options
from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import home_option, output_option, passphrase_option, print_json
from dawan_node.cli.sending import (
    SUITE,
    key_file,
    meaning_of,
    prepare,
    report,
    require_signature,
    show_body,
    show_receipt,
    signing_key,
)
from dawan_node.cli.sending import send as send_transaction
from dawan_node.rpc import values
from dawan_node.rpc.client import (
    assemble_transaction,
    build_body,
    read_body,
    sign_transaction,
    signing_bytes,
    transaction_id,
)
from dawan_node.rpc.values import BadValue, from_hex, from_json, to_hex, to_instant

# A transaction has at most 64 KiB, twice that in hexadecimal, plus the fields around it.
_FILE_BYTES_MAX: Final = 512 * 1024


@click.group()
def tx() -> None:
    """Build, sign, submit and follow transactions."""


_key_option = click.option("--key", help="Key name in --home, or a key file.")
_out_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of standard output."
)


@tx.command()
@click.argument("module")
@click.argument("command")
@click.option(
    "--args",
    "arguments",
    default="{}",
    help="The arguments as JSON, or @FILE, or @- for standard input; money is "
    '{"currency": "CNY", "amount": "1234.50"}.',
)
@click.option("--public-key", help="The signer's public key, 0x...")
@_key_option
@click.option("--valid-for", type=click.IntRange(1, 86_400), default=600, show_default=True, help="Seconds.")
@click.option("--offline", is_flag=True, help="Ask no node; needs --chain-id and --schema.")
@click.option("--chain-id", help="0x..., as channel_get shows it; compared when a node is asked.")
@click.option(
    "--schema",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="What module_describe printed (--offline).",
)
@_out_option
@channel_option
@rpc_options
def build(
    module: str,
    command: str,
    arguments: str,
    public_key: str | None,
    key: str | None,
    valid_for: int,
    offline: bool,
    chain_id: str | None,
    schema: Path | None,
    out: Path | None,
    channel: str | None,
    rpc: str | None,
    home: Path,
) -> None:
    """Build the body of MODULE.COMMAND, ready to be signed.

    Needs the signer, as --key or --public-key, and a node to ask (or --offline).
    """
    signer = _public_key(public_key, key, home)
    args = _json_argument(arguments)
    if offline:
        body = _build_offline(chain_id, schema, module, command, args, valid_for)
    else:
        with connected(rpc, home) as client:
            channel = channel_of(client, channel)
            known = client.channel_get(channel)["chain_id"]
            if chain_id is not None and chain_id != known:
                raise _wrong(f"channel {channel} of this node", f"its chain id is {known}", "Ask another node.")
            body = prepare(client, channel, signer, module, command, args, valid_for)
    fields = read_body(body)
    _write(
        out,
        {
            "channel": channel,
            "module": module,
            "command": command,
            "args": args,
            "valid_until": to_instant(fields["valid_until_ms"]),
            "suite": SUITE,
            "public_key": to_hex(signer),
            "body": to_hex(body),
            "signing_bytes": to_hex(signing_bytes(body)),
            "tx_id": to_hex(transaction_id(body, SUITE, signer)),
        },
    )


@tx.command()
@click.argument("file", default="-")
@_key_option
@click.option(
    "--signature", help="0x..., made elsewhere over signing_bytes; needs --public-key or a file of `tx build`."
)
@click.option("--public-key", help="The key of --signature, 0x...")
@passphrase_option
@_out_option
@home_option
def sign(
    file: str,
    key: str | None,
    signature: str | None,
    public_key: str | None,
    passphrase_file: Path | None,
    out: Path | None,
    home: Path,
) -> None:
    """Sign the body in FILE (JSON of `tx build`, or 0x...); shows on standard error what it signs.

    Needs --key and its passphrase, or a --signature made elsewhere. Asks no node.
    """
    document = _read(file)
    body = _hex(document, "body")
    try:
        fields = read_body(body)
    except ValueError as error:
        raise _wrong(file, str(error), "Give it the output of `tx build`.") from None
    show_body(fields)
    expected = document.get("public_key")
    if signature is not None:
        signer = _hex({"public_key": public_key or expected}, "public_key")
        envelope = assemble_transaction(body, SUITE, signer, _hex({"signature": signature}, "signature"))
    else:
        if key is None:
            raise click.UsageError("Name the key with --key, or give --signature.")
        private = signing_key(key, home, passphrase_file)
        signer = private.public_key
        if expected is not None and to_hex(signer) != expected:
            raise _wrong(f"key {key}", f"{file} was built for {expected}", "Sign with that key, or build it again.")
        envelope = sign_transaction(private, body)
    require_signature(envelope)
    _write(
        out,
        {
            "channel": document.get("channel"),
            "tx_id": to_hex(transaction_id(body, SUITE, signer)),
            "valid_until": to_instant(fields["valid_until_ms"]),
            "tx": to_hex(envelope),
        },
    )


@tx.command()
@click.argument("file", default="-")
@click.option(
    "--wait",
    type=click.Choice(["accepted", "committed"]),
    default="accepted",
    show_default=True,
    help="committed: until it is final.",
)
@click.option("--timeout", type=click.IntRange(1, 60), default=10, show_default=True, help="Seconds to wait.")
@channel_option
@rpc_options
@output_option
def submit(file: str, wait: str, timeout: int, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """Submit the transaction in FILE (JSON of `tx sign`, or 0x...).

    Sending the same bytes twice is safe. Exit codes: 0 accepted or committed, 4 refused or failed on chain, 5 the
    wait ended or the connection broke: ask `tx status`.
    """
    document = _read(file)
    envelope = _hex(document, "tx")
    with connected(rpc, home, submits=True) as client:
        place = channel_of(client, channel or document.get("channel"))
        verdict = client.tx_submit(place, envelope, wait, timeout * 1000)
        meaning = meaning_of(client, place, envelope, verdict)
    report(verdict, place, output, meaning)


@tx.command()
@click.argument("module")
@click.argument("command")
@click.option("--args", "arguments", default="{}", help="As for `tx build`.")
@click.option("--key", required=True, help="Key name in --home, or a key file.")
@click.option("--timeout", type=click.IntRange(1, 60), default=10, show_default=True, help="Seconds to wait.")
@channel_option
@rpc_options
@output_option
def send(
    module: str,
    command: str,
    arguments: str,
    key: str,
    timeout: int,
    channel: str | None,
    rpc: str | None,
    home: Path,
    output: str,
) -> None:
    """Build, sign and submit MODULE.COMMAND in one step, and wait until it is final.

    For a machine that has both the key and a node. Exit codes as for `tx submit`. After exit code 5 do not send again:
    that would be another transaction; `tx status` knows.
    """
    args = _json_argument(arguments)
    private = signing_key(key, home, passphrase_file_of_command())
    with connected(rpc, home, submits=True) as client:
        place = channel_of(client, channel)
        verdict, meaning = send_transaction(client, place, private, module, command, args, timeout)
    report(verdict, place, output, meaning)


@tx.command()
@click.argument("tx_id")
@channel_option
@rpc_options
@output_option
def status(tx_id: str, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """Where TX_ID stands: unknown, pending, committed, failed or expired."""
    with connected(rpc, home) as client:
        found = client.tx_status(channel_of(client, channel), _tx_id(tx_id))
    if output == "json":
        print_json(found)
    else:
        click.echo(found["status"])


@tx.command()
@click.argument("tx_id")
@channel_option
@rpc_options
@output_option
def receipt(tx_id: str, channel: str | None, rpc: str | None, home: Path, output: str) -> None:
    """The receipt of TX_ID: where it stands on chain and what it did."""
    with connected(rpc, home) as client:
        found = client.tx_receipt(channel_of(client, channel), _tx_id(tx_id))
    if output == "json":
        print_json(found)
    else:
        show_receipt(found)


# -- building --------------------------------------------------------------------------------------------------------


def _build_offline(
    chain_id: str | None, schema: Path | None, module: str, command: str, args: Any, valid_for: int
) -> bytes:
    if chain_id is None or schema is None:
        raise click.UsageError("--offline needs --chain-id and --schema.")
    try:
        document = json.loads(schema.read_bytes())
        typed = document["commands"][command]["args"]
        if document["module"] != module:
            raise KeyError(module)
    except (ValueError, KeyError, TypeError):
        raise _wrong(
            str(schema), f"it does not describe {module}.{command}", "Use what module_describe prints."
        ) from None
    try:
        ledger = from_json(args, typed, "args", document)
        until = time.time_ns() // 1_000_000 + valid_for * 1000
        return build_body(from_hex(chain_id, "--chain-id", 32), module, command, ledger, valid_until_ms=until)
    except BadValue as error:
        raise CommandFailed(ExitCode.USAGE, error.path, error.message, "Correct that value.") from None


# -- keys, files and output ------------------------------------------------------------------------------------------


def _public_key(public_key: str | None, key: str | None, home: Path) -> bytes:
    if public_key is not None:
        return _hex({"--public-key": public_key}, "--public-key")
    if key is None:
        raise click.UsageError("Name the signer with --public-key or --key.")
    from dawan_node.crypto import keystore

    return keystore.describe(key_file(key, home)).public_key


def _json_argument(text: str) -> Any:
    if text.startswith("@"):
        text = _read_text(text[1:])
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--args") from None
    if not isinstance(value, dict):
        raise click.BadParameter("a JSON object is expected", param_hint="--args")
    return value


def _read_text(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.read(_FILE_BYTES_MAX)
        with Path(file).open(encoding="utf-8") as opened:
            return opened.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise _wrong(file, error.strerror or "cannot be read", "Check the path.") from None
    except UnicodeDecodeError:
        raise _wrong(file, "it is not text", "Give JSON or 0x... hexadecimal.") from None


def _read(file: str) -> dict[str, Any]:
    """A document of an earlier step; bare hexadecimal stands for both its body and its transaction."""
    text = _read_text(file).strip()
    if values.is_hex(text) and len(text) > 2:
        return {"body": text, "tx": text}
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _wrong(file, "it is neither JSON of an earlier step nor 0x... hexadecimal", "See `tx --help`.")
    return document


def _hex(document: dict[str, Any], name: str) -> bytes:
    if document.get(name) is None:
        raise _wrong("the input", f"it has no {name}", "Is it the output of the step before? See `tx --help`.")
    try:
        return from_hex(document[name], name)
    except BadValue as error:
        raise CommandFailed(ExitCode.USAGE, error.path, error.message, "Correct that value.") from None


def _tx_id(text: str) -> str:
    return to_hex(_hex({"TX_ID": text}, "TX_ID"))


def _wrong(what: str, why: str, fix: str) -> CommandFailed:
    return CommandFailed(ExitCode.FAILED, what, why, fix)


def _write(out: Path | None, document: dict[str, Any]) -> None:
    shown = {name: value for name, value in document.items() if value is not None}
    if out is None:
        print_json(shown)
        return
    try:
        out.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise _wrong(str(out), error.strerror or "cannot be written", "Check the path.") from None
