"""The table of every JSON-RPC method: name, parameters, who may call it, and the function that answers it.

Handlers are short: ask ``NodeApi``, shape the answer. Adding a method is adding a row to ``ROUTES``; the dispatcher,
the access matrix, the documentation and the tests read the same table.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from dawan_node.crypto.signatures import SIGNATURE_BYTES
from dawan_node.primitives.names import is_identifier, is_label
from dawan_node.rpc import jsonrpc, shapes, tx_methods, values
from dawan_node.rpc.access import MEMBERS, NETWORK, OPERATOR
from dawan_node.rpc.api import (
    ApiError,
    At,
    EventFilter,
    EventPosition,
    NodeApi,
    OrgInfo,
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
from dawan_node.rpc.schemas import schema_in, schemas_of
from dawan_node.rpc.values import BadValue, to_hex


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


async def _pbft_evidence(api: NodeApi, channel: str) -> Any:
    return shapes.evidence(api.evidence(channel))


async def _net_peers(api: NodeApi) -> Any:
    return shapes.peers(api.peers())


async def _txpool_status(api: NodeApi, channel: str) -> Any:
    return shapes.pool(api.pool(channel))


# -- chain -----------------------------------------------------------------------------------------------------------


async def _chain_head(api: NodeApi, channel: str) -> Any:
    return shapes.head(await api.head(channel))


async def _chain_get_block(api: NodeApi, channel: str, at: At, full: bool) -> Any:
    return shapes.block(await api.block(channel, at, full), full, schemas_of(api, channel))


async def _chain_get_finality_proof(api: NodeApi, channel: str, at: At) -> Any:
    return shapes.finality_proof(await api.finality_proof(channel, at))


async def _chain_get_validators(api: NodeApi, channel: str, at: At) -> Any:
    info = await api.validators(channel, at)
    return {
        "epoch": values.to_int(info.epoch),
        "valset_hash": to_hex(info.valset_hash),
        "validators": [shapes.validator(validator) for validator in info.validators],
    }


# -- state, modules, events, members ---------------------------------------------------------------------------------


async def _state_get(api: NodeApi, channel: str, module: str, collection: str, key: bytes, at: At, proof: bool) -> Any:
    info = await api.state(channel, module, collection, key, at, proof)
    value: Any = None
    if info.fields is not None:
        value = values.to_json(info.fields, *schemas_of(api, channel)(module, "entities", collection))
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
    schemas = schemas_of(api, channel)
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
            "{node, org, network, uptime_s, disk: {free_bytes, floor_bytes, reserve_bytes}, channels: [{channel, "
            "height, state, view, primary, last_commit_age_ms, sync: null or {target, verified, blocks_per_s, eta_s}, "
            "healing?: {to}}], peers}",
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
            tx_methods.prepare,
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
                    default=tx_methods.VALID_FOR_MS_DEFAULT,
                ),
            ),
            "{body, signing_bytes, tx_id, nonce, valid_until}",
            MEMBERS,
        ),
        Route(
            "tx_assemble",
            tx_methods.assemble,
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
            tx_methods.submit,
            (CHANNEL, Param("tx", read_envelope, "the signed envelope"), WAIT, TIMEOUT),
            "{tx_id, status, receipt?}",
            MEMBERS,
            Access.SUBMIT,
        ),
        Route(
            "tx_submitMany",
            tx_methods.submit_many,
            (CHANNEL, Param("txs", read_envelopes, f"at most {TXS_PER_CALL_MAX} signed envelopes"), WAIT, TIMEOUT),
            "[{tx_id, status, receipt?, error?}]",
            MEMBERS,
            Access.SUBMIT,
        ),
        Route("tx_get", tx_methods.get, (CHANNEL, TX_ID), "the transaction, its status and its receipt", MEMBERS),
        Route(
            "tx_receipt",
            tx_methods.receipt,
            (CHANNEL, TX_ID),
            "{tx_id, channel, height, index, block_hash, code, reason, events: [{name, data}]}",
            MEMBERS,
        ),
        Route(
            "tx_status",
            tx_methods.status,
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
            "pbft_evidence",
            _pbft_evidence,
            (CHANNEL,),
            "{evidence: [{kind, epoch, validator, first, second, on_chain}], halted: {reason, first, second} or null}; "
            "on_chain is a height or null; a message too long for one reply is null",
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
