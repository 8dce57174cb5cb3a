"""One HTTP body in, one reply out: parse, find the route, bind, judge the caller, call the node, encode.

Judging comes after binding, so that a wrong parameter is answered alike whether or not the caller may see the channel
beside it, and before anything of the node is touched.

The calls of a batch run one after the other, in order, so that a client may read what it just wrote; the whole body
has one time budget. Whatever goes wrong inside one call becomes that call's error object. An error nobody foresaw is
logged under a random trace id, and the client sees only that id: exception texts may hold other members' data.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from dawan_node.errors import InvalidTransaction, StorageError
from dawan_node.primitives.codes import Code
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.access import refusal
from dawan_node.rpc.api import ApiError, NodeApi
from dawan_node.rpc.caller import Caller
from dawan_node.rpc.jsonrpc import BadCall, BatchReply, Call
from dawan_node.rpc.methods import ROUTES, find_route
from dawan_node.rpc.params import TIMEOUT_MS_MAX, Access, Route, bind
from dawan_node.rpc.view import kind_of, view_for

# The longest wait a client may ask for, and time to admit and to answer.
REQUEST_MS_MAX: Final = TIMEOUT_MS_MAX + 5_000
# A read that takes this long means the store is in trouble; an honest page takes milliseconds.
READ_MS_MAX: Final = 15_000
# Between the wait a submission was given and the moment this layer stops believing in it.
_SUBMIT_SLACK_MS: Final = 2_000

# (method, code; 0 = success, milliseconds): for metrics. Unknown methods are counted as "unknown".
Observer = Callable[[str, int, int], None]

_log: Final = logging.getLogger("dawan_node.rpc")


def _unobserved(method: str, code: int, duration_ms: int) -> None:
    return


class Dispatcher:
    """Answers bodies for one node. Stateless between bodies; safe for any number of concurrent ones."""

    def __init__(
        self,
        api: NodeApi,
        *,
        observe: Observer = _unobserved,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        request_ms_max: int = REQUEST_MS_MAX,
        read_ms_max: int = READ_MS_MAX,
        storage_failed: Callable[[StorageError], None] = lambda error: None,
    ) -> None:
        """``storage_failed`` stops the node: a store in doubt is more than a failed call."""
        self._storage_failed = storage_failed
        self._api = api
        self._observe = observe
        self._monotonic_ms = monotonic_ms
        self._request_ms_max = request_ms_max
        self._read_ms_max = read_ms_max

    async def handle(self, data: bytes, caller: Caller) -> bytes:
        """The reply to one body of ``caller``; empty when it held only notifications."""
        try:
            body = jsonrpc.parse_body(data)
        except ApiError as error:
            self._observe("unknown", error.code, 0)
            return jsonrpc.encode_error(None, error)
        deadline_ms = self._monotonic_ms() + self._request_ms_max
        if not body.is_batch:
            call = body.calls[0]
            reply = await self._answer(call, caller, deadline_ms)
            if isinstance(reply, bytes) and len(reply) > jsonrpc.REPLY_BYTES_MAX:
                reply = jsonrpc.too_large_reply()
            if isinstance(call, Call) and call.is_notification:
                return b""
            return reply if isinstance(reply, bytes) else jsonrpc.encode_error(call.id, reply)
        batch = BatchReply()
        for call in body.calls:
            if batch.is_full:
                reply = jsonrpc.too_large_reply()
            else:
                reply = await self._answer(call, caller, deadline_ms)
            if isinstance(call, Call) and call.is_notification:
                continue
            if isinstance(reply, bytes):
                batch.add_result(call.id, reply)
            else:
                batch.add_error(call.id, reply)
        return batch.encode()

    async def _answer(self, call: Call | BadCall, caller: Caller, deadline_ms: int) -> bytes | ApiError:
        """The encoded result of one call, or why there is none."""
        start_ms = self._monotonic_ms()
        if isinstance(call, BadCall):
            self._observe("unknown", call.error.code, 0)
            return call.error
        outcome = await self._run(call, caller, deadline_ms - start_ms)
        method = call.method if call.method in ROUTES else "unknown"
        code = outcome.code if isinstance(outcome, ApiError) else 0
        self._observe(method, code, self._monotonic_ms() - start_ms)
        return outcome

    async def _run(self, call: Call, caller: Caller, budget_ms: int) -> bytes | ApiError:
        try:
            route = find_route(call.method)
            arguments = bind(route, call.params)
            channel = arguments["channel"] if route.names_channel else None
            kind = kind_of(self._api, caller, channel)
            if kind not in route.callers:
                raise refusal(route.callers, kind, route.name, channel)
            if budget_ms <= 0:
                raise ApiError(
                    jsonrpc.LIMIT_EXCEEDED,
                    "the batch ran out of time before this call; it was not executed",
                    hint="Send fewer calls in one batch, or tx_submitMany.",
                )
            if route.access is Access.SUBMIT:
                arguments["bearer"] = caller.bearer
            result = await self._call(route, view_for(self._api, caller), arguments, budget_ms)
            return jsonrpc.encode_result(call.id, result)
        except ApiError as error:
            return error
        except InvalidTransaction as error:
            return ApiError(error.code, error.detail or error.reason, reason=error.reason, path=error.path)
        except StorageError as error:
            self._storage_failed(error)
            return ApiError.unavailable("the store of this node is in doubt", hint="Ask another node.")
        except Exception as error:  # noqa: BLE001 - the boundary of one call: its fault must not end the others
            return self._internal_error(call.method, error)

    async def _call(self, route: Route, node: NodeApi, arguments: dict[str, Any], budget_ms: int) -> Any:
        """Run the handler with its deadline. A submission cut off may still commit, and says so."""
        limit_ms = min(budget_ms, self._read_ms_max)
        if route.access is Access.SUBMIT:
            arguments["timeout_ms"] = min(arguments["timeout_ms"], budget_ms)
            limit_ms = arguments["timeout_ms"] + _SUBMIT_SLACK_MS
        try:
            async with asyncio.timeout(limit_ms / 1000):
                return await route.handler(node, **arguments)
        except TimeoutError:
            if route.access is Access.SUBMIT:
                raise ApiError(Code.E_WAIT_TIMEOUT, "the wait for the transaction ended") from None
            raise ApiError.unavailable("the answer took too long") from None

    def _internal_error(self, method: str, error: Exception) -> ApiError:
        trace_id = secrets.token_hex(8)
        _log.error(
            "rpc_internal_error method=%s trace_id=%s error=%s",
            method,
            trace_id,
            type(error).__name__,
            exc_info=error,
        )
        return ApiError(jsonrpc.INTERNAL_ERROR, "the node failed on this call", extra={"trace_id": trace_id})


def encode_transport_error(code: int, message: str, hint: str = "") -> bytes:
    """The body of an HTTP error: the same shape as any other error, so that clients need one reader."""
    return msgspec.json.encode(
        {"jsonrpc": "2.0", "id": None, "error": jsonrpc.error_object(ApiError(code, message, hint=hint))}
    )
