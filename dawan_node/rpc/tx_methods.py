"""The handlers of ``tx_``: building, handing in and looking up transactions (formats B).

Arguments come as JSON after the module's schema and become ledger values here; nothing is kept between two calls.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from dawan_node.crypto.signatures import ED25519, PUBLIC_KEY_BYTES, check_public_key, verify
from dawan_node.errors import InvalidEncoding, InvalidKey, InvalidTransaction
from dawan_node.primitives.codes import Code
from dawan_node.primitives.encoding import check_value
from dawan_node.primitives.transaction import (
    BODY_VERSION,
    TX_BYTES_MAX,
    TX_TAG,
    Body,
    Transaction,
    assemble_envelope,
    signing_bytes,
    transaction_id,
)
from dawan_node.rpc import jsonrpc, shapes, values
from dawan_node.rpc.api import ApiError, NodeApi, Refusal, SubmitOutcome, TxStatus, Wait
from dawan_node.rpc.schemas import ModuleSchemas, schema_in, schemas_of
from dawan_node.rpc.values import BadValue, to_hex, to_instant

# A prepared transaction waits for a person or an air-gapped machine to sign it.
VALID_FOR_MS_DEFAULT: Final = 600_000


async def prepare(
    api: NodeApi,
    channel: str,
    suite: str,
    public_key: bytes,
    module: str,
    command: str,
    args: dict[str, Any],
    valid_for_ms: int,
) -> Any:
    """Build the body of a transaction for a client without MessagePack; nothing is kept here."""
    context = api.prepare_context(channel)
    _check_suite_key(suite, public_key)
    ledger_args = _arguments(api, channel, module, command, args)
    if valid_for_ms > context.tx_lifetime_ms_max:
        raise ApiError(
            Code.E_VALIDITY,
            f"this channel keeps a transaction for at most {context.tx_lifetime_ms_max} ms",
            path="params.valid_for_ms",
        )
    # The block's time may lie a little before this node's: stay a twentieth below the longest lifetime.
    lifetime = min(valid_for_ms, context.tx_lifetime_ms_max - context.tx_lifetime_ms_max // 20)
    body = Body(
        BODY_VERSION,
        context.chain_id,
        secrets.token_bytes(16),
        context.now_ms + lifetime,
        module,
        command,
        ledger_args,
    )
    encoded = body.encode()
    if len(encoded) > TX_BYTES_MAX:
        raise ApiError(Code.E_TOO_LARGE, f"the body has {len(encoded)} bytes, at most {TX_BYTES_MAX}")
    return {
        "body": to_hex(encoded),
        "signing_bytes": to_hex(signing_bytes(encoded)),
        "tx_id": to_hex(transaction_id(suite, public_key, encoded)),
        "nonce": to_hex(body.nonce),
        "valid_until": to_instant(body.valid_until_ms),
    }


async def assemble(api: NodeApi, body: bytes, suite: str, public_key: bytes, signature: bytes) -> Any:
    """Join what ``tx_prepare`` gave with the signature made elsewhere; checked, so that a slip shows here."""
    _check_suite_key(suite, public_key)
    envelope = assemble_envelope(body, suite, public_key, signature)
    transaction = Transaction.decode(envelope)
    if not verify(suite, public_key, TX_TAG, body, signature):
        raise ApiError(Code.E_SIGNATURE, "the signature is not this key's over signing_bytes", path="params.signature")
    return {"tx": to_hex(envelope), "tx_id": to_hex(transaction.tx_id)}


async def submit(api: NodeApi, channel: str, tx: bytes, wait: Wait, timeout_ms: int, bearer: str) -> Any:
    (outcome,) = await api.submit(channel, [tx], wait, timeout_ms, bearer)
    if outcome.refusal is not None:
        raise ApiError.refused(outcome.refusal, to_hex(outcome.tx_id) if outcome.tx_id else "")
    return _verdict(channel, outcome, schemas_of(api, channel))


async def submit_many(
    api: NodeApi, channel: str, txs: list[bytes | BadValue], wait: Wait, timeout_ms: int, bearer: str
) -> Any:
    readable = [tx for tx in txs if isinstance(tx, bytes)]
    outcomes = iter(await api.submit(channel, readable, wait, timeout_ms, bearer) if readable else [])
    schemas = schemas_of(api, channel)
    verdicts: list[Any] = []
    # A full node refuses all of a call for one reason: that is written once, not for each.
    last_refusal: Refusal | None = None
    refused: dict[str, Any] = {}
    for tx in txs:
        if isinstance(tx, BadValue):
            error = ApiError(jsonrpc.INVALID_PARAMS, str(tx), path=tx.path)
            verdicts.append({"tx_id": None, "status": str(TxStatus.UNKNOWN), "error": jsonrpc.error_object(error)})
        else:
            outcome = next(outcomes)
            if outcome.tx_id or outcome.refusal is None:
                verdicts.append(_verdict(channel, outcome, schemas))
                continue
            if outcome.refusal != last_refusal:
                last_refusal, refused = outcome.refusal, _verdict(channel, outcome, schemas)
            verdicts.append(refused)
    return verdicts


async def get(api: NodeApi, channel: str, tx_id: bytes) -> Any:
    info = await api.tx(channel, tx_id)
    if info is None:
        raise _no_transaction(tx_id)
    schemas = schemas_of(api, channel)
    shape = {"channel": channel, "status": str(info.status), **shapes.transaction(info.envelope, schemas)}
    if info.receipt is not None:
        shape["receipt"] = shapes.receipt(channel, info.receipt, schemas)
    return shape


async def receipt(api: NodeApi, channel: str, tx_id: bytes) -> Any:
    info = await api.receipt(channel, tx_id)
    if info is None:
        raise _no_transaction(tx_id, "A receipt exists once the transaction is in a block; see tx_status.")
    return shapes.receipt(channel, info, schemas_of(api, channel))


async def status(api: NodeApi, channel: str, tx_id: bytes) -> Any:
    return {"tx_id": to_hex(tx_id), "status": str(await api.tx_status(channel, tx_id))}


def _check_suite_key(suite: str, public_key: bytes) -> None:
    if suite != ED25519:
        raise ApiError(Code.E_SUITE, f"unknown signature suite {suite!r}", path="params.suite")
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ApiError(jsonrpc.INVALID_PARAMS, f"a public key has {PUBLIC_KEY_BYTES} bytes", path="params.public_key")
    try:
        check_public_key(suite, public_key)
    except InvalidKey as error:
        raise ApiError(jsonrpc.INVALID_PARAMS, str(error), path="params.public_key") from None


def _arguments(api: NodeApi, channel: str, module: str, command: str, args: dict[str, Any]) -> dict[str, Any]:
    """The ledger form of JSON arguments after the command's schema. Raises ApiError 1008 or 1009."""
    if all(known.name != module for known in api.modules(channel)):
        raise ApiError(Code.E_UNKNOWN_COMMAND, f"channel {channel} runs no module {module}", path="params.module")
    document = api.describe(channel, module)
    schema = schema_in(document, "commands", command)
    if schema is None:
        known = ", ".join(sorted(document.get("commands", ())))
        raise ApiError(
            Code.E_UNKNOWN_COMMAND,
            f"module {module} has no command {command}",
            path="params.command",
            hint=f"Commands: {known}.",
        )
    try:
        ledger_args = values.from_json(args, schema, "args", document)
        check_value(ledger_args)
        api.check_command(channel, module, command, ledger_args)
    except BadValue as error:
        raise ApiError(Code.E_SCHEMA, str(error), path=error.path) from None
    except InvalidEncoding as error:
        raise ApiError(Code.E_SCHEMA, str(error), path="args") from None
    except InvalidTransaction as error:
        path = f"args.{error.path}" if error.path else "args"
        raise ApiError(error.code, error.detail, reason=error.reason, path=path) from None
    if not isinstance(ledger_args, dict):
        raise ApiError(Code.E_SCHEMA, "arguments are an object", path="args")
    return ledger_args


def _verdict(channel: str, outcome: SubmitOutcome, schemas: ModuleSchemas) -> dict[str, Any]:
    tx_id = to_hex(outcome.tx_id) if outcome.tx_id else ""
    shape: dict[str, Any] = {"tx_id": tx_id or None, "status": str(outcome.status)}
    if outcome.receipt is not None:
        shape["receipt"] = shapes.receipt(channel, outcome.receipt, schemas)
    if outcome.refusal is not None:
        shape["error"] = jsonrpc.error_object(ApiError.refused(outcome.refusal, tx_id))
    return shape


def _no_transaction(tx_id: bytes, hint: str = "") -> ApiError:
    return ApiError.not_found("transaction", to_hex(tx_id), hint)
