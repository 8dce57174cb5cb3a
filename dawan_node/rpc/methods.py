"""The table of every JSON-RPC method: name, parameters, who may call it, and the function that answers it.

Handlers are short: ask ``NodeApi``, shape the answer. Adding a method is adding a row to ``ROUTES``; the dispatcher,
the access matrix, the documentation and the tests read the same table.
"""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from dawan_node.crypto.signatures import ED25519, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, check_public_key, verify
from dawan_node.errors import InvalidEncoding, InvalidKey, InvalidTransaction
from dawan_node.primitives.codes import Code
from dawan_node.primitives.encoding import check_value
from dawan_node.primitives.names import is_identifier, is_label
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
from dawan_node.rpc.access import MEMBERS, NETWORK, OPERATOR
from dawan_node.rpc.api import (
    ApiError,
    At,
    EventFilter,
    EventPosition,
    NodeApi,
    OrgInfo,
    SubmitOutcome,
    TxStatus,
    Wait,
)
from dawan_node.rpc.json_schema import for_json
from dawan_node.rpc.params import (
    AT,
    CHANNEL,
    COMMAND,
    CURSOR_BYTES,
    KEY_BYTES_MAX,
    LIMIT,
    MODULE,
    PUBLIC_KEY,
    SUITE,
    TIMEOUT,
    TX_ID,
    TXS_PER_CALL_MAX,
    WAIT,
    Access,
    Param,
    Route,
    decode_cursor,
    encode_cursor,
    hex_reader,
    integer_reader,
    name_reader,
    read_envelope,
    read_envelopes,
    read_filter,
    read_flag,
    read_object,
)
from dawan_node.rpc.schemas import ModuleSchemas, schema_in
from dawan_node.rpc.values import BadValue, to_hex, to_instant

# A prepared transaction waits for a person or an air-gapped machine to sign it.
VALID_FOR_MS_DEFAULT: Final = 600_000


def find_route(method: str) -> Route:
    """The route of a method name. Raises ApiError -32601 with the nearest name or the reason it is missing."""
    route = ROUTES.get(method)
    if route is not None:
        return route
    if method in _NOT_YET:
        raise ApiError(jsonrpc.METHOD_NOT_FOUND, f"{method} is not offered by this version", hint=_NOT_YET[method])
    near = difflib.get_close_matches(method[:64], ROUTES, n=1)
    hint = f"Did you mean {near[0]}?" if near else "Method names are namespace_verb, such as chain_getBlock."
    raise ApiError(jsonrpc.METHOD_NOT_FOUND, f"no method {method[:64]!r}", hint=hint)


# -- node and channels -----------------------------------------------------------------------------------------------


async def _node_version(api: NodeApi) -> Any:
    return shapes.version(api.version())


async def _node_status(api: NodeApi) -> Any:
    return shapes.status(api.status())


async def _channel_list(api: NodeApi) -> Any:
    return list(api.channels())


async def _channel_get(api: NodeApi, channel: str) -> Any:
    return shapes.channel(api.channel(channel))


async def _pbft_status(api: NodeApi, channel: str) -> Any:
    return shapes.pbft(api.pbft(channel))


async def _net_peers(api: NodeApi) -> Any:
    return shapes.peers(api.peers())


async def _txpool_status(api: NodeApi, channel: str) -> Any:
    return shapes.pool(api.pool(channel))


# -- chain -----------------------------------------------------------------------------------------------------------


async def _chain_head(api: NodeApi, channel: str) -> Any:
    return shapes.head(await api.head(channel))


async def _chain_get_block(api: NodeApi, channel: str, at: At, full: bool) -> Any:
    return shapes.block(await api.block(channel, at, full), full, _schemas(api, channel))


async def _chain_get_finality_proof(api: NodeApi, channel: str, at: At) -> Any:
    return shapes.finality_proof(await api.finality_proof(channel, at))


async def _chain_get_validators(api: NodeApi, channel: str, at: At) -> Any:
    info = await api.validators(channel, at)
    return {
        "epoch": values.to_int(info.epoch),
        "valset_hash": to_hex(info.valset_hash),
        "validators": [shapes.validator(validator) for validator in info.validators],
    }


# -- transactions ----------------------------------------------------------------------------------------------------


async def _tx_prepare(
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


async def _tx_assemble(api: NodeApi, body: bytes, suite: str, public_key: bytes, signature: bytes) -> Any:
    """Join what ``tx_prepare`` gave with the signature made elsewhere; checked, so that a slip shows here."""
    _check_suite_key(suite, public_key)
    envelope = assemble_envelope(body, suite, public_key, signature)
    transaction = Transaction.decode(envelope)
    if not verify(suite, public_key, TX_TAG, body, signature):
        raise ApiError(Code.E_SIGNATURE, "the signature is not this key's over signing_bytes", path="params.signature")
    return {"tx": to_hex(envelope), "tx_id": to_hex(transaction.tx_id)}


async def _tx_submit(api: NodeApi, channel: str, tx: bytes, wait: Wait, timeout_ms: int) -> Any:
    (outcome,) = await api.submit(channel, [tx], wait, timeout_ms)
    if outcome.refusal is not None:
        raise ApiError.refused(outcome.refusal, to_hex(outcome.tx_id) if outcome.tx_id else "")
    return _verdict(channel, outcome, _schemas(api, channel))


async def _tx_submit_many(api: NodeApi, channel: str, txs: list[bytes | BadValue], wait: Wait, timeout_ms: int) -> Any:
    readable = [tx for tx in txs if isinstance(tx, bytes)]
    outcomes = iter(await api.submit(channel, readable, wait, timeout_ms) if readable else [])
    schemas = _schemas(api, channel)
    verdicts: list[Any] = []
    for tx in txs:
        if isinstance(tx, BadValue):
            error = ApiError(jsonrpc.INVALID_PARAMS, str(tx), path=tx.path)
            verdicts.append({"tx_id": None, "status": str(TxStatus.UNKNOWN), "error": jsonrpc.error_object(error)})
        else:
            verdicts.append(_verdict(channel, next(outcomes), schemas))
    return verdicts


async def _tx_get(api: NodeApi, channel: str, tx_id: bytes) -> Any:
    info = await api.tx(channel, tx_id)
    if info is None:
        raise _no_transaction(tx_id)
    schemas = _schemas(api, channel)
    shape = {"channel": channel, "status": str(info.status), **shapes.transaction(info.envelope, schemas)}
    if info.receipt is not None:
        shape["receipt"] = shapes.receipt(channel, info.receipt, schemas)
    return shape


async def _tx_receipt(api: NodeApi, channel: str, tx_id: bytes) -> Any:
    info = await api.receipt(channel, tx_id)
    if info is None:
        raise _no_transaction(tx_id, "A receipt exists once the transaction is in a block; see tx_status.")
    return shapes.receipt(channel, info, _schemas(api, channel))


async def _tx_status(api: NodeApi, channel: str, tx_id: bytes) -> Any:
    return {"tx_id": to_hex(tx_id), "status": str(await api.tx_status(channel, tx_id))}


# -- state, modules, events, members ---------------------------------------------------------------------------------


async def _state_get(api: NodeApi, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> Any:
    info = await api.state(channel, module, collection, key, at, proof)
    value: Any = None
    if info.fields is not None:
        value = values.to_json(info.fields, *_schemas(api, channel)(module, "entities", collection))
    elif info.value is not None:
        value = to_hex(info.value)
    shape = {"value": value, "height": values.to_int(info.height)}
    if info.proof is not None:
        shape["proof"] = to_hex(info.proof)
    return shape


async def _module_list(api: NodeApi, channel: str) -> Any:
    return [{"name": module.name, "version": module.version} for module in api.modules(channel)]


async def _module_describe(api: NodeApi, channel: str, module: str) -> Any:
    return for_json(api.describe(channel, module))


async def _module_query(
    api: NodeApi,
    channel: str,
    module: str,
    query: str,
    params: dict[str, Any] | None,
    limit: int,
    cursor: bytes | None,
) -> Any:
    document = api.describe(channel, module)
    schema = schema_in(document, "queries", query)
    ledger_params: Any = params or {}
    if schema is not None:
        try:
            ledger_params = values.from_json(ledger_params, schema, "params.params", document)
        except BadValue as error:
            raise ApiError(jsonrpc.INVALID_PARAMS, str(error), path=error.path) from None
    page = await api.query(channel, module, query, ledger_params, limit, cursor)
    item_schema = schema_in(document, "items", query)
    return {
        "items": [values.to_json(item, item_schema, document) for item in page.items],
        "cursor": to_hex(page.cursor) if page.cursor is not None else None,
        "height": values.to_int(page.height),
    }


async def _events_get(api: NodeApi, channel: str, cursor: bytes | None, limit: int, filter: EventFilter | None) -> Any:
    after = decode_cursor(channel, cursor) if cursor is not None else EventPosition(0, 0, 0)
    page = await api.events(channel, after, limit, filter or EventFilter())
    schemas = _schemas(api, channel)
    return {
        "events": [
            shapes.event(channel, event, to_hex(encode_cursor(channel, event.position)), schemas)
            for event in page.events
        ],
        "cursor": to_hex(encode_cursor(channel, page.scanned_to)),
    }


async def _member_list(api: NodeApi, channel: str) -> Any:
    members = await api.members(channel)
    return {
        "orgs": [shapes.organisation(org) for org in members.orgs],
        "identities": [shapes.identity(identity) for identity in members.identities],
    }


async def _member_get(api: NodeApi, channel: str, name: str) -> Any:
    info = await api.member(channel, name)
    if info is None:
        raise ApiError.not_found("member", name)
    if isinstance(info, OrgInfo):
        return {"kind": "organisation", **shapes.organisation(info)}
    return {"kind": "identity", **shapes.identity(info)}


# -- helpers of the handlers -----------------------------------------------------------------------------------------


def _schemas(api: NodeApi, channel: str) -> ModuleSchemas:
    return ModuleSchemas(lambda module: api.describe(channel, module))


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


_NOT_YET: Final = MappingProxyType(
    {
        "tx_proof": "Use chain_getFinalityProof for the block, or state_get with proof=true.",
        "tx_simulate": "Submit to a devnet channel and read the receipt.",
        "events_subscribe": "Poll events_get with its cursor: nothing is lost between two calls.",
        "events_unsubscribe": "There are no subscriptions yet; poll events_get.",
        "rpc.discover": "The methods are listed in the documentation.",
    }
)


def _table() -> Mapping[str, Route]:
    routes = (
        Route(
            "node_version",
            _node_version,
            (),
            "{version, protocol, suite, python, leveldb, ed25519}",
            NETWORK,
        ),
        Route(
            "node_status",
            _node_status,
            (),
            "{node, org, network, uptime_s, channels: [{channel, height, state, view, primary, "
            "last_commit_age_ms}], peers}",
            NETWORK,
        ),
        Route("channel_list", _channel_list, (), "[name]", NETWORK),
        Route(
            "channel_get",
            _channel_get,
            (CHANNEL,),
            "{channel, chain_id, height, modules: [{name, version}], orgs, validators, n, f, quorum}",
            MEMBERS,
        ),
        Route("chain_head", _chain_head, (CHANNEL,), "{height, block_hash, state_root, timestamp}", MEMBERS),
        Route(
            "chain_getBlock",
            _chain_get_block,
            (CHANNEL, AT, Param("full", read_flag, "transactions instead of ids", required=False, default=False)),
            "{height, header, block_hash, result, commit: {view, signers}, txs}",
            MEMBERS,
        ),
        Route(
            "chain_getFinalityProof",
            _chain_get_finality_proof,
            (CHANNEL, AT),
            "{proof, decoded: {header, result, links, certificate}}",
            MEMBERS,
        ),
        Route(
            "chain_getValidators",
            _chain_get_validators,
            (CHANNEL, AT),
            "{epoch, valset_hash, validators: [{index, name, org, suite, public_key}]}",
            MEMBERS,
        ),
        Route(
            "tx_prepare",
            _tx_prepare,
            (
                CHANNEL,
                SUITE,
                PUBLIC_KEY,
                MODULE,
                COMMAND,
                Param("args", read_object, "arguments of the command, as module_describe has them"),
                Param(
                    "valid_for_ms",
                    integer_reader(1_000, 24 * 3_600_000),
                    "how long the transaction may wait for its block",
                    required=False,
                    default=VALID_FOR_MS_DEFAULT,
                ),
            ),
            "{body, signing_bytes, tx_id, nonce, valid_until}",
            MEMBERS,
        ),
        Route(
            "tx_assemble",
            _tx_assemble,
            (
                Param("body", hex_reader(), "body from tx_prepare"),
                SUITE,
                PUBLIC_KEY,
                Param("signature", hex_reader(SIGNATURE_BYTES), "signature over signing_bytes"),
            ),
            "{tx, tx_id}",
            MEMBERS,
        ),
        Route(
            "tx_submit",
            _tx_submit,
            (CHANNEL, Param("tx", read_envelope, "the signed envelope"), WAIT, TIMEOUT),
            "{tx_id, status, receipt?}",
            MEMBERS,
            Access.SUBMIT,
        ),
        Route(
            "tx_submitMany",
            _tx_submit_many,
            (CHANNEL, Param("txs", read_envelopes, f"at most {TXS_PER_CALL_MAX} signed envelopes"), WAIT, TIMEOUT),
            "[{tx_id, status, receipt?, error?}]",
            MEMBERS,
            Access.SUBMIT,
        ),
        Route("tx_get", _tx_get, (CHANNEL, TX_ID), "the transaction, its status and its receipt", MEMBERS),
        Route(
            "tx_receipt",
            _tx_receipt,
            (CHANNEL, TX_ID),
            "{tx_id, channel, height, index, block_hash, code, reason, events: [{name, data}]}",
            MEMBERS,
        ),
        Route(
            "tx_status",
            _tx_status,
            (CHANNEL, TX_ID),
            "{tx_id, status}: unknown, pending, committed, failed or expired",
            MEMBERS,
        ),
        Route(
            "state_get",
            _state_get,
            (
                CHANNEL,
                MODULE,
                Param("collection", name_reader(is_identifier, "a collection"), "collection of the module"),
                Param("key", hex_reader(longest=KEY_BYTES_MAX), "key of the entry"),
                AT,
                Param("proof", read_flag, "add an offline-verifiable StateProof", required=False, default=False),
            ),
            "{value, height, proof?}; value is null when absent",
            MEMBERS,
        ),
        Route("module_list", _module_list, (CHANNEL,), "[{name, version}]", MEMBERS),
        Route(
            "module_describe",
            _module_describe,
            (CHANNEL, MODULE),
            "commands, queries, entities and events as JSON Schema",
            MEMBERS,
        ),
        Route(
            "module_query",
            _module_query,
            (
                CHANNEL,
                MODULE,
                Param("query", name_reader(is_identifier, "a query"), "query of the module"),
                Param("params", read_object, "parameters of the query", required=False),
                LIMIT,
                Param("cursor", hex_reader(longest=1024), "cursor of the page before", required=False),
            ),
            "{items, cursor, height}; cursor is null on the last page",
            MEMBERS,
        ),
        Route(
            "events_get",
            _events_get,
            (
                CHANNEL,
                Param("cursor", hex_reader(CURSOR_BYTES), "cursor of the last event seen; none: from the start", False),
                LIMIT,
                Param("filter", read_filter, "{modules, names}", required=False),
            ),
            "{events: [{cursor, channel, height, index, n, tx_id, module, name, data}], cursor}",
            MEMBERS,
        ),
        Route("member_list", _member_list, (CHANNEL,), "{orgs, identities}", MEMBERS),
        Route(
            "member_get",
            _member_get,
            (CHANNEL, Param("name", name_reader(is_label, "a member"), "organisation or identity")),
            "the organisation or identity, with its kind",
            MEMBERS,
        ),
        Route(
            "pbft_status",
            _pbft_status,
            (CHANNEL,),
            "{channel, state, epoch, view, primary, height, in_flight: [{height, phase, have, missing}], "
            "suspects: [{name, view}], waiting_for}",
            OPERATOR,
        ),
        Route(
            "net_peers",
            _net_peers,
            (),
            "[{name, org, address, direction, channels, rtt_ms, behind, software, clock_skew_ms}]",
            OPERATOR,
        ),
        Route(
            "txpool_status",
            _txpool_status,
            (CHANNEL,),
            "{count, bytes, count_max, bytes_max, by_org: [{org, count, bytes}]}",
            OPERATOR,
        ),
    )
    return MappingProxyType({route.name: route for route in routes})


ROUTES: Final = _table()
