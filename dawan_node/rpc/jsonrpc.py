"""JSON-RPC 2.0 as pure functions: bytes to calls, results and errors to bytes (formats B and C).

JSON is looser than it looks: Python's parser lets the last of two equal keys win, takes NaN, builds floats, recurses
once per bracket and accepts half of a surrogate pair. Here each of these ends in a stable error (reliability.md G3):
text that is not JSON is -32700, JSON that is not a call is -32600, and nothing is ever half-read.

Numbers: the ledger knows only integers. A JSON number that is no integer, or one a JavaScript client may already have
rounded (beyond 2^53-1), becomes ``NotAnInteger``, which no parameter type accepts; large integers travel as strings.

``ERRORS`` is the one table of error codes: number, stable reason, whether the same request may be sent again, and what
to do. A code is never reused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

import msgspec

from dawan_node.primitives.codes import HINTS, RETRYABLE, Code
from dawan_node.rpc.api import ApiError

# 500 transactions of the usual 1-2 KiB in hexadecimal fit; one client cannot make the node hold more than this.
BODY_BYTES_MAX: Final = 4 * 1024 * 1024
# One reply of a node must not cost more memory and bandwidth than one request of a peer (reliability.md G1).
REPLY_BYTES_MAX: Final = 5 * 1024 * 1024
BATCH_CALLS_MAX: Final = 50
# Ledger values nest 8 deep (formats A.1) inside params, call and batch; the rest is room.
JSON_DEPTH_MAX: Final = 16
# A Python dict costs 64 bytes where JSON spends 3: this bounds a hostile body to a few megabytes of objects.
JSON_CONTAINERS_MAX: Final = 65_536
# Integers that every JSON implementation holds exactly (RFC 8259 section 6).
SAFE_INTEGER_MAX: Final = 2**53 - 1
# Room kept for an error in each place of a batch: three texts of TEXT_CHARS_MAX characters, six bytes each at worst.
ERROR_BYTES_RESERVED: Final = 8192
TEXT_CHARS_MAX: Final = 300
ID_CHARS_MAX: Final = 128

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
INVALID_INPUT: Final = -32000
NOT_FOUND: Final = -32001
UNAVAILABLE: Final = -32002
NOT_SUPPORTED: Final = -32004
LIMIT_EXCEEDED: Final = -32005
UNAUTHENTICATED: Final = -32010
FORBIDDEN: Final = -32011
REVOKED: Final = -32012
CERTIFICATE_EXPIRED: Final = -32013
PRUNED: Final = 1302


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One row of the error table. ``retryable``: the same request may succeed later, unchanged."""

    code: int
    reason: str
    retryable: bool
    hint: str


def _table() -> Mapping[int, ErrorEntry]:
    own = (
        ErrorEntry(PARSE_ERROR, "E_PARSE", False, "Send UTF-8 JSON without duplicate keys, NaN or BOM."),
        ErrorEntry(INVALID_REQUEST, "E_REQUEST", False, "Send {jsonrpc: '2.0', id, method, params}."),
        ErrorEntry(METHOD_NOT_FOUND, "E_METHOD", False, "See the list of methods in the documentation."),
        ErrorEntry(INVALID_PARAMS, "E_PARAMS", False, "data.path names the first wrong parameter."),
        ErrorEntry(INTERNAL_ERROR, "E_INTERNAL", True, "Retry once, then report data.trace_id to the operator."),
        ErrorEntry(INVALID_INPUT, "E_INPUT", False, "The values are well formed but make no sense together."),
        ErrorEntry(NOT_FOUND, "E_NOT_FOUND", False, "This node knows nothing under that name, hash or height."),
        ErrorEntry(UNAVAILABLE, "E_UNAVAILABLE", True, "The node is starting, catching up or stopping; try later."),
        ErrorEntry(-32003, "E_TX_REJECTED", False, "Not used: a refused transaction has a code of its own."),
        ErrorEntry(NOT_SUPPORTED, "E_NOT_SUPPORTED", False, "This node does not offer that."),
        ErrorEntry(LIMIT_EXCEEDED, "E_LIMIT", True, "Ask for less at once; see the documented limits."),
        ErrorEntry(-32006, "E_VERSION", False, "Speak JSON-RPC 2.0 and protocol version 1."),
        ErrorEntry(
            UNAUTHENTICATED, "E_UNAUTHENTICATED", False, "Present a client certificate of a member organisation."
        ),
        ErrorEntry(FORBIDDEN, "E_FORBIDDEN", False, "Your organisation or origin may not call this here."),
        ErrorEntry(REVOKED, "E_REVOKED", False, "The certificate or key was revoked; enrol a new one."),
        ErrorEntry(CERTIFICATE_EXPIRED, "E_CERT_EXPIRED", False, "The client certificate has expired; renew it."),
        ErrorEntry(1200, "E_NO_QUORUM", True, "Too few validators answer; see pbft_status."),
        ErrorEntry(1201, "E_BEHIND", True, "This node is catching up; ask another or wait."),
        ErrorEntry(1301, "E_PRUNED", False, "That block is no longer kept here; ask a node with full history."),
        ErrorEntry(PRUNED, "E_HISTORY", False, "That height is older than the kept state history."),
    )
    transactions = (
        ErrorEntry(int(code), code.name, code in RETRYABLE, HINTS[code]) for code in Code if code is not Code.OK
    )
    table: dict[int, ErrorEntry] = {}
    for entry in (*own, *transactions):
        if entry.code in table:
            raise AssertionError(f"error code {entry.code} has two meanings")
        table[entry.code] = entry
    return MappingProxyType(table)


ERRORS: Final = _table()


@dataclass(frozen=True, slots=True)
class NotAnInteger:
    """A JSON number the ledger cannot take: a fraction, an exponent, or beyond 2^53-1 (send those as strings)."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """One well-formed call. A notification has no id and gets no reply."""

    method: str
    params: list[Any] | dict[str, Any]
    id: str | int | None = None
    is_notification: bool = False


@dataclass(frozen=True, slots=True)
class BadCall:
    """An element of a body that is no call; its reply is ``error``, with the id if that could be read."""

    error: ApiError
    id: str | int | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed HTTP body: one call, or a batch of 1 to 50."""

    calls: tuple[Call | BadCall, ...]
    is_batch: bool


def parse_body(data: bytes) -> Body:
    """Parse a request body. Raises ApiError -32700, -32600 or -32005 when there is nothing to answer one by one."""
    if len(data) > BODY_BYTES_MAX:
        raise ApiError(LIMIT_EXCEEDED, f"a body has at most {BODY_BYTES_MAX} bytes", hint="Send smaller batches.")
    value = parse_json(data)
    if isinstance(value, dict):
        return Body((_call_of(value),), is_batch=False)
    if not isinstance(value, list):
        raise ApiError(INVALID_REQUEST, "a request is a JSON object, or an array of them")
    if not value:
        raise ApiError(INVALID_REQUEST, "a batch holds at least one call")
    if len(value) > BATCH_CALLS_MAX:
        raise ApiError(LIMIT_EXCEEDED, f"a batch has at most {BATCH_CALLS_MAX} calls, not {len(value)}")
    return Body(tuple(_call_of(element) for element in value), is_batch=True)


def parse_json(data: bytes) -> Any:
    """Strict JSON: objects, arrays, strings, safe ints, bools, null. Raises ApiError -32700 (or -32600: too deep)."""
    if data.count(b"{") + data.count(b"[") > JSON_CONTAINERS_MAX:
        raise ApiError(INVALID_REQUEST, f"more than {JSON_CONTAINERS_MAX} objects and arrays in one body")
    try:
        value = _decoder.decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ApiError(PARSE_ERROR, "the body is not UTF-8") from None
    except RecursionError:
        raise ApiError(INVALID_REQUEST, f"JSON nested deeper than {JSON_DEPTH_MAX}") from None
    except json.JSONDecodeError as error:
        raise ApiError(PARSE_ERROR, f"not JSON: {error.msg} at character {error.pos}") from None
    _check_tree(value, check_text=_SURROGATE.search(data) is not None)
    return value


def encode_result(call_id: str | int | None, result: Any) -> bytes:
    """The reply to a call that worked. ``result`` holds only what JSON knows."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (
        msgspec.json.encode(call_id),
        msgspec.json.encode(result),
    )


def encode_error(call_id: str | int | None, error: ApiError) -> bytes:
    """The reply to a call that failed."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (
        msgspec.json.encode(call_id),
        msgspec.json.encode(error_object(error)),
    )


def error_object(error: ApiError) -> dict[str, Any]:
    """``{code, message, data: {reason, retryable, hint, path?, ...}}`` of an error, texts cut to a bounded length."""
    entry = ERRORS.get(error.code)
    if entry is None:
        entry = ErrorEntry(error.code, "E_UNKNOWN", False, "")
    data: dict[str, Any] = {
        "reason": error.reason or entry.reason,
        "retryable": entry.retryable,
        "hint": _cut(error.hint or entry.hint),
    }
    if error.path:
        data["path"] = _cut(error.path)
    data.update(error.extra)
    return {"code": error.code, "message": _cut(error.message), "data": data}


class BatchReply:
    """Joins the replies of a batch and keeps the whole under ``REPLY_BYTES_MAX``.

    A reply that does not fit is replaced by -32005; from then on ``is_full`` tells the caller to run no further calls.
    """

    __slots__ = ("_limit", "_parts", "_size", "is_full")

    def __init__(self, limit: int = REPLY_BYTES_MAX) -> None:
        self._limit = limit - BATCH_CALLS_MAX * ERROR_BYTES_RESERVED
        self._parts: list[bytes] = []
        self._size = 0
        self.is_full = False

    def add_result(self, call_id: str | int | None, reply: bytes) -> None:
        """Add the encoded reply to one call."""
        if self._size + len(reply) > self._limit:
            self.is_full = True
            reply = encode_error(call_id, too_large_reply())
        self._size += len(reply)
        self._parts.append(reply)

    def add_error(self, call_id: str | int | None, error: ApiError) -> None:
        """Add an error; there is always room for it."""
        self._parts.append(encode_error(call_id, error))

    def encode(self) -> bytes:
        """The whole reply; empty when every call was a notification."""
        return b"[" + b",".join(self._parts) + b"]" if self._parts else b""


def too_large_reply() -> ApiError:
    """-32005 in place of a reply that would not fit."""
    return ApiError(
        LIMIT_EXCEEDED,
        f"the reply would exceed {REPLY_BYTES_MAX} bytes",
        hint="Ask for less: a smaller limit, full=false, or fewer calls in one batch.",
    )


# A backslash escape of half a surrogate pair; whole pairs match too and are then found harmless.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ApiError(PARSE_ERROR, "an object has the same key twice")
    return members


def _integer(text: str) -> int | NotAnInteger:
    if len(text) <= 17 and -SAFE_INTEGER_MAX <= (value := int(text)) <= SAFE_INTEGER_MAX:
        return value
    return NotAnInteger(_cut(text))


def _fraction(text: str) -> NotAnInteger:
    return NotAnInteger(_cut(text))


def _no_constant(text: str) -> NoReturn:
    raise ApiError(PARSE_ERROR, f"{text} is not JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_unique_members,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_no_constant,
)


def _check_tree(value: Any, check_text: bool) -> None:
    """Bound the depth and, when asked, refuse text that UTF-8 cannot hold. Iterative: its own depth is constant."""
    level = [value]
    for _ in range(JSON_DEPTH_MAX + 1):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if check_text:
                    deeper.extend(item)
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
            elif check_text and isinstance(item, str) and not _is_text(item):
                raise ApiError(PARSE_ERROR, "a string holds half of a surrogate pair")
        if not deeper:
            return
        level = deeper
    raise ApiError(INVALID_REQUEST, f"JSON nested deeper than {JSON_DEPTH_MAX}")


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _call_of(element: Any) -> Call | BadCall:
    if not isinstance(element, dict):
        return BadCall(ApiError(INVALID_REQUEST, "a call is a JSON object"))
    call_id = element.get("id")
    if not _is_id(call_id):
        return BadCall(ApiError(INVALID_REQUEST, "an id is a short string, an integer up to 2^53-1, or null"))
    if element.get("jsonrpc") != "2.0":
        return BadCall(ApiError(INVALID_REQUEST, 'the member "jsonrpc" must be "2.0"'), call_id)
    method = element.get("method")
    if not isinstance(method, str):
        return BadCall(ApiError(INVALID_REQUEST, 'the member "method" must be a string'), call_id)
    params = element.get("params", {})
    if not isinstance(params, dict | list):
        return BadCall(ApiError(INVALID_REQUEST, 'the member "params" must be an object or an array'), call_id)
    if not element.keys() <= _MEMBERS:
        unknown = sorted(element.keys() - _MEMBERS)[0]
        return BadCall(ApiError(INVALID_REQUEST, f"a call has no member {_cut(unknown)!r}"), call_id)
    return Call(method, params, call_id, is_notification="id" not in element)


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= ID_CHARS_MAX
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"
