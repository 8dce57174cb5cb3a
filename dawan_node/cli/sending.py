"""Sending a transaction: build, check, sign, submit, and say what became of it. Shared by the commands that do so.

A node is not trusted with what will be signed: the body it prepared is decoded and compared with what was asked for,
and a signature that does not verify never leaves this program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import obtain_passphrase, print_json
from dawan_node.errors import DawanError
from dawan_node.rpc import values
from dawan_node.rpc.client import (
    Client,
    read_body,
    read_envelope,
    sign_transaction,
    transaction_id,
)
from dawan_node.rpc.values import BadValue, from_hex, from_json, to_hex, to_instant

SUITE: Final = "ed25519"
#: Longer than a person waits for a commit, shorter than a transaction may wait for its block.
VALID_FOR_S: Final = 600
#: How long a governance transaction may take to become final before a command gives up on knowing.
TIMEOUT_S: Final = 20


def prepare(
    client: Client, channel: str, signer: bytes, module: str, command: str, args: Any, valid_for_s: int = VALID_FOR_S
) -> bytes:
    """The body of a transaction, prepared by the node and compared with what was asked for.

    Raises CommandFailed when the node prepared something else, RpcError when it refused.
    """
    known = client.channel_get(channel)["chain_id"]
    prepared = client.tx_prepare(channel, SUITE, to_hex(signer), module, command, args, valid_for_s * 1000)
    document = client.module_describe(channel, module)
    return checked_body(prepared, known, signer, module, command, args, document)


def send(
    client: Client, channel: str, private: Any, module: str, command: str, args: Any, timeout_s: int
) -> tuple[dict[str, Any], str]:
    """Build, sign and submit one transaction and wait until it is final.

    Its id goes to standard error before it is sent: whoever loses the answer can ask for it. Returns the verdict of
    ``tx_submit`` and the module's sentence on a refusal. Raises CommandFailed or RpcError.
    """
    body = prepare(client, channel, private.public_key, module, command, args)
    envelope = sign_transaction(private, body)
    require_signature(envelope)
    tx_id = to_hex(transaction_id(body, SUITE, private.public_key))
    click.echo(f"sending {module}.{command} to {channel} as {tx_id}", err=True)
    verdict = client.tx_submit(channel, envelope, "committed", timeout_s * 1000)
    return verdict, meaning_of(client, channel, envelope, verdict)


def checked_body(
    prepared: dict[str, Any], chain_id: str, signer: bytes, module: str, command: str, args: Any, document: Any
) -> bytes:
    """The body of ``tx_prepare``, if it says what was asked for. Raises CommandFailed: a lying or broken node."""
    try:
        body = from_hex(prepared["body"], "body")
        fields = read_body(body)
        expected = from_json(args, document["commands"][command]["args"], "args", document)
    except (ValueError, KeyError, TypeError, BadValue) as error:
        raise _lie(str(error)) from None
    if to_hex(transaction_id(body, SUITE, signer)) != prepared["tx_id"]:
        raise _lie("its tx_id is not that of its body")
    asked = (from_hex(chain_id, "chain_id", 32), module, command, expected)
    if (fields["chain_id"], fields["module"], fields["command"], fields["args"]) != asked:
        raise _lie("its body is not what was asked for")
    return body


def _lie(why: str) -> CommandFailed:
    return CommandFailed(ExitCode.FAILED, "this node prepared something else", why, "Do not sign it; ask another node.")


def key_file(key: str, home: Path) -> Path:
    """A key file named directly, or an identity's in the home."""
    from dawan_node.node.home import Home

    return Path(key) if "/" in key or key.endswith(".json") else Home(home).identity_key(key)


def signing_key(key: str, home: Path, passphrase_file: Path | None) -> Any:
    from dawan_node.crypto import keystore

    path = key_file(key, home)
    keystore.describe(path)  # a missing file is said before the passphrase is asked for
    return keystore.load_signing_key(path, obtain_passphrase(passphrase_file, prompt=f"Passphrase of {path.name}"))


def require_signature(envelope: bytes) -> None:
    """A signature that does not verify never leaves this command. Raises CommandFailed."""
    from dawan_node.crypto.signatures import verify

    body, suite, public_key, signature = read_envelope(envelope)
    if not verify(suite, public_key, b"dawan:tx:v1", body, signature):
        raise CommandFailed(
            ExitCode.FAILED,
            "the signature is refused",
            "it is not this key's over signing_bytes",
            "Sign the bytes of signing_bytes, not their hash or their hexadecimal text.",
        )


def show_body(fields: dict[str, Any]) -> None:
    click.echo(f"signing {fields['module']}.{fields['command']}", err=True)
    click.echo(f"  arguments   {json.dumps(values.to_json(fields['args']), ensure_ascii=True)}", err=True)
    for amount in _amounts(fields["args"]):
        click.echo(f"  amount      {json.dumps(amount)[1:-1]}", err=True)
    click.echo(f"  chain id    {to_hex(fields['chain_id'])}", err=True)
    click.echo(f"  valid until {to_instant(fields['valid_until_ms'])}", err=True)


def _amounts(value: Any, path: str = "") -> Iterator[str]:
    """Every ``[currency, minor units]`` within ``value`` as people write it: nobody should count zeros to approve."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _amounts(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        if len(value) == 2 and _is_currency(value[0]) and type(value[1]) is int:
            money = values.to_money(*value)
            yield f"{path} {money['currency']} {money['amount']}"
            return
        for place, part in enumerate(value):
            yield from _amounts(part, f"{path}[{place}]")


def _is_currency(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()


def meaning_of(client: Any, channel: str, envelope: bytes, verdict: dict[str, Any]) -> str:
    """The module's sentence on the reason in a receipt; empty when there is none. Never raises: it is a courtesy."""
    reason = (verdict.get("receipt") or {}).get("reason", "")
    if not reason:
        return ""
    try:
        module = read_body(read_envelope(envelope)[0])["module"]
        return str(client.module_describe(channel, module)["errors"].get(reason, ""))
    except (DawanError, ValueError, KeyError, AttributeError, TypeError):
        return ""


def report(verdict: dict[str, Any], channel: str, output: str, meaning: str) -> None:
    found = verdict.get("receipt")
    if output == "json":
        print_json(verdict)
    elif found is None:
        click.echo(f"{verdict['tx_id']} {verdict['status']} on {channel}")
    else:
        show_receipt(found)
    if verdict["status"] == "expired" or (found is not None and found["code"] != 0):
        raise changed_nothing(
            f"transaction {verdict['tx_id']}",
            verdict,
            meaning,
            "A resend gives the same answer: correct the cause, then build and sign a new transaction.",
        )


def changed_nothing(title: str, verdict: dict[str, Any], meaning: str, fix: str) -> CommandFailed:
    """The chain's refusal as a failure of the command (4); ``title`` says of what."""
    found = verdict.get("receipt")
    if found is not None:
        reason = found["reason"]
    else:
        reason = "it expired before a block took it" if verdict["status"] == "expired" else verdict["status"]
    return CommandFailed(
        ExitCode.REJECTED,
        f"{title} changed nothing",
        f"{reason} ({meaning.rstrip('.')})" if meaning else reason,
        fix,
    )


def show_receipt(found: dict[str, Any]) -> None:
    outcome = "committed" if found["code"] == 0 else f"failed with {found['reason']} (code {found['code']})"
    click.echo(f"{found['tx_id']} {outcome}")
    click.echo(f"  channel {found['channel']}, height {found['height']}, index {found['index']}")
    for event in found["events"]:
        click.echo(f"  {event['name']} {json.dumps(event['data'], ensure_ascii=False)}")
