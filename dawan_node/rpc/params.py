"""Parameters and routes: how a call's JSON becomes the typed arguments of a handler. Pure.

A parameter knows how to read itself, so by-name and by-position calls share one path and every complaint names the
parameter in ``data.path``.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from dawan_node.primitives.names import is_event, is_identifier, is_label
from dawan_node.primitives.transaction import TX_BYTES_MAX
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.access import Rule
from dawan_node.rpc.api import ApiError, At, EventFilter, EventPosition, Wait
from dawan_node.rpc.values import BadValue, from_hex, from_int

# Design section 9; the body cap of 4 MiB binds earlier for large transactions.
TXS_PER_CALL_MAX: Final = 500
# Formats B. A client that waits longer polls tx_status instead of holding a connection.
TIMEOUT_MS_DEFAULT: Final = 10_000
TIMEOUT_MS_MAX: Final = 60_000
# A page must stay far below the 5 MiB reply even with rich entities.
PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 500
CURSOR_BYTES: Final = 20
KEY_BYTES_MAX: Final = 256  # formats A.7
_FILTER_NAMES_MAX: Final = 32

Reader = Callable[[Any, str], Any]
Handler = Callable[..., Awaitable[Any]]


class Access(Enum):
    """READ changes nothing anywhere; SUBMIT hands transactions to the pool."""

    READ = "read"
    SUBMIT = "submit"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: ``read`` turns its JSON into a value or raises BadValue."""

    name: str
    read: Reader
    doc: str
    required: bool = True
    default: Any = None


@dataclass(frozen=True, slots=True)
class Route:
    """One method. The part of its name before the first ``_`` is its namespace.

    ``callers`` has no default: a method that nobody said who may call cannot be written.
    """

    name: str
    handler: Handler
    params: tuple[Param, ...]
    result: str
    callers: Rule
    access: Access = Access.READ

    @property
    def namespace(self) -> str:
        return self.name.partition("_")[0]

    @property
    def names_channel(self) -> bool:
        """Whether a call is about one channel, and judged by it."""
        return CHANNEL in self.params


def bind(route: Route, params: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call, read and defaulted. Raises ApiError -32602 with ``data.path``."""
    if not isinstance(params, Mapping):
        if len(params) > len(route.params):
            raise ApiError(
                jsonrpc.INVALID_PARAMS,
                f"{route.name} takes at most {len(route.params)} parameters, not {len(params)}",
                path=f"params[{len(route.params)}]",
            )
        params = {param.name: value for param, value in zip(route.params, params, strict=False)}
    arguments: dict[str, Any] = {}
    for param in route.params:
        path = f"params.{param.name}"
        value = params.get(param.name)
        if value is None:  # null stands for an optional parameter left out, the only way to do so by position
            if param.required:
                raise ApiError(jsonrpc.INVALID_PARAMS, f"{path} is missing: {param.doc}", path=path)
            arguments[param.name] = param.default
            continue
        try:
            arguments[param.name] = param.read(value, path)
        except BadValue as error:
            raise ApiError(jsonrpc.INVALID_PARAMS, str(error), path=error.path) from None
    if len(params) > len(route.params) or not params.keys() <= arguments.keys():
        unknown = sorted(params.keys() - arguments.keys())[0][:64]
        known = ", ".join(arguments) or "none"
        raise ApiError(
            jsonrpc.INVALID_PARAMS,
            f"{route.name} has no parameter {unknown!r}",
            path=f"params.{unknown}",
            hint=f"Parameters: {known}.",
        )
    return arguments


# -- reading parameters ----------------------------------------------------------------------------------------------


def name_reader(check: Callable[[str], bool], kind: str) -> Reader:
    def read(value: Any, path: str) -> str:
        if not isinstance(value, str) or not check(value):
            raise BadValue(path, f"expected the name of {kind}")
        return value

    return read


def hex_reader(length: int | None = None, longest: int = TX_BYTES_MAX) -> Reader:
    def read(value: Any, path: str) -> bytes:
        data = from_hex(value, path, length)
        if len(data) > longest:
            raise BadValue(path, f"expected at most {longest} bytes, not {len(data)}")
        return data

    return read


def integer_reader(low: int, high: int) -> Reader:
    return lambda value, path: from_int(value, path, low, high)


def read_at(value: Any, path: str) -> At:
    if value == "latest":
        return "latest"
    if isinstance(value, str) and value.startswith("0x"):
        return from_hex(value, path, 32)
    try:
        return from_int(value, path, 0)
    except BadValue:
        raise BadValue(path, 'expected a height, a block hash or "latest"') from None


def read_flag(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise BadValue(path, "expected true or false")
    return value


def read_wait(value: Any, path: str) -> Wait:
    try:
        return Wait(value)
    except ValueError:
        raise BadValue(path, 'expected "accepted" or "committed"') from None


def read_object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadValue(path, "expected an object")
    return value


def read_text(value: Any, path: str) -> str:
    if not isinstance(value, str) or len(value) > 64:
        raise BadValue(path, "expected a short string")
    return value


def read_envelope(value: Any, path: str) -> bytes:
    return from_hex(value, path)  # too large is the transaction's own code 1005


def read_envelopes(value: Any, path: str) -> list[bytes | BadValue]:
    """One element each, so that one unreadable transaction does not spoil the verdict on the others."""
    if not isinstance(value, list) or not value:
        raise BadValue(path, "expected an array of transactions")
    if len(value) > TXS_PER_CALL_MAX:
        raise BadValue(path, f"expected at most {TXS_PER_CALL_MAX} transactions, not {len(value)}")
    read: list[bytes | BadValue] = []
    for position, item in enumerate(value):
        try:
            read.append(from_hex(item, path))
        except BadValue as error:
            read.append(BadValue(f"{path}[{position}]", error.message))
    return read


def read_filter(value: Any, path: str) -> EventFilter:
    if not isinstance(value, dict) or not value.keys() <= {"modules", "names"}:
        raise BadValue(path, 'expected {"modules": [...], "names": [...]}')
    chosen: dict[str, tuple[str, ...]] = {}
    for key, check in (("modules", is_identifier), ("names", is_event)):
        names = value.get(key, [])
        if not isinstance(names, list) or len(names) > _FILTER_NAMES_MAX:
            raise BadValue(f"{path}.{key}", f"expected an array of at most {_FILTER_NAMES_MAX} names")
        for position, name in enumerate(names):
            if not isinstance(name, str) or not check(name):
                raise BadValue(f"{path}.{key}[{position}]", f"expected a name of {key[:-1]}s")
        chosen[key] = tuple(names)
    return EventFilter(chosen["modules"], chosen["names"])


CHANNEL: Final = Param("channel", name_reader(is_label, "a channel"), "name of the channel")
AT: Final = Param("at", read_at, 'height, block hash or "latest"', required=False, default="latest")
TX_ID: Final = Param("tx_id", hex_reader(32), "id of the transaction")
MODULE: Final = Param("module", name_reader(is_identifier, "a module"), "name of the module")
COMMAND: Final = Param("command", name_reader(is_identifier, "a command"), "command of the module")
SUITE: Final = Param("suite", read_text, "signature suite of the key, ed25519")
PUBLIC_KEY: Final = Param("public_key", hex_reader(longest=1024), "the signer's public key")
WAIT: Final = Param("wait", read_wait, '"accepted" or "committed"', required=False, default=Wait.ACCEPTED)
TIMEOUT: Final = Param(
    "timeout_ms",
    integer_reader(1, TIMEOUT_MS_MAX),
    f"how long to wait, at most {TIMEOUT_MS_MAX}",
    required=False,
    default=TIMEOUT_MS_DEFAULT,
)
LIMIT: Final = Param(
    "limit", integer_reader(1, PAGE_MAX), f"page size, at most {PAGE_MAX}", required=False, default=PAGE_DEFAULT
)


# -- event cursors ---------------------------------------------------------------------------------------------------


def encode_cursor(channel: str, position: EventPosition) -> bytes:
    """An opaque place in a channel's events. It names the channel, so that no other channel takes it by mistake."""
    return (
        zlib.crc32(channel.encode()).to_bytes(4, "big")
        + position.height.to_bytes(8, "big")
        + position.index.to_bytes(4, "big")
        + position.n.to_bytes(4, "big")
    )


def decode_cursor(channel: str, cursor: bytes) -> EventPosition:
    """The place a cursor names. Raises ApiError -32602."""
    if len(cursor) != CURSOR_BYTES or cursor[:4] != zlib.crc32(channel.encode()).to_bytes(4, "big"):
        raise ApiError(
            jsonrpc.INVALID_PARAMS,
            "this cursor was not given by events_get of this channel",
            path="params.cursor",
        )
    height, index, n = (int.from_bytes(cursor[start:end], "big") for start, end in ((4, 12), (12, 16), (16, 20)))
    return EventPosition(height, index, n)
