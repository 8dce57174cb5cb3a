"""The HTTP shell of JSON-RPC, and the separate operations listener (design section 9).

What a browser on the same machine, a script on the internet or a careless proxy could send is turned away before the
body is read: a Host that is not ours (DNS rebinding), a foreign Origin, any content type but ``application/json`` (so
that no HTML form can post), compressed bodies. No CORS header is ever sent. Deadlines and caps are in ``connections``.

Without TLS the server refuses to listen anywhere but on loopback, and whoever calls is this machine's operator. With
TLS a caller is who its certificate says, judged again for every request. Metrics, health and administration live on
their own port, so that the port members use cannot reach them.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiohttp import web
from aiohttp.client_exceptions import ClientPayloadError

from dawan_node.errors import OperatorError
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.access import unauthenticated
from dawan_node.rpc.api import ApiError
from dawan_node.rpc.caller import ANONYMOUS, LOCAL, Caller
from dawan_node.rpc.connections import Gate, Guard, Limits, Listener
from dawan_node.rpc.dispatch import Dispatcher, encode_transport_error
from dawan_node.rpc.server_tls import ServerTls

_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
_OPS_BODY_BYTES_MAX: Final = 64 * 1024
_PROMETHEUS_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

# aiohttp complains about every malformed request a stranger sends; at full level that is a log flood (row G7).
_quiet: Final = logging.getLogger("dawan_node.rpc.http")
_quiet.setLevel(logging.CRITICAL + 1)


class HttpRefusal(Exception):
    """A request turned away before JSON-RPC: the HTTP status and the error object for its body."""

    def __init__(self, status: int, code: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint


class HostAllowList:
    """The names under which this server may be addressed, without their port."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(name.lower().strip("[]").rstrip(".") for name in (*_LOOPBACK_NAMES, *names))

    def check(self, request: web.BaseRequest) -> None:
        """Raises HttpRefusal 403 for a missing, repeated or foreign Host, or a foreign Origin."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self._allows(hosts[0]):
            raise HttpRefusal(
                403,
                jsonrpc.FORBIDDEN,
                "this Host is not allowed here",
                "Add the name to rpc.allow_hosts in node.toml if it is yours.",
            )
        origin = request.headers.get("Origin")
        if origin is not None and not self._allows(origin.partition("://")[2]):
            raise HttpRefusal(403, jsonrpc.FORBIDDEN, "web pages of another origin may not call this server")

    def _allows(self, host: str) -> bool:
        if host.startswith("["):
            name, _, rest = host[1:].partition("]")
        elif host.count(":") <= 1:
            name, colon, port = host.partition(":")
            rest = colon + port
        else:
            return False
        if rest and not (rest[0] == ":" and rest[1:].isascii() and rest[1:].isdigit()):
            return False
        return name.lower().rstrip(".") in self._names


class RpcServer:
    """JSON-RPC over HTTP POST ``/``."""

    def __init__(
        self, dispatcher: Dispatcher, *, allow_hosts: Iterable[str] = (), limits: Limits | None = None
    ) -> None:
        self._dispatcher = dispatcher
        self._hosts = HostAllowList(allow_hosts)
        self._allow_hosts: Final = tuple(allow_hosts)
        self._tls: ServerTls | None = None
        self._listener = Listener(self._serve, limits or Limits(), _quiet)

    @property
    def gate(self) -> Gate:
        """Counts of connections, for metrics."""
        return self._listener.gate

    async def start(self, host: str, port: int, tls: ServerTls | None = None) -> tuple[str, int]:
        """Listen; returns the bound address. Raises OperatorError: address in use, or not loopback without TLS."""
        if tls is None:
            _require_loopback(host, "rpc.listen")
        self._tls = tls
        if _is_address(host):
            # Nobody can make a browser believe that a name of his is this address.
            self._hosts = HostAllowList((*self._allow_hosts, host))
        context = None if tls is None else lambda: tls.context
        return await self._listener.start(host, port, "rpc.listen of node.toml", context)

    async def stop(self) -> None:
        """Let calls under way finish for a while, then close everything."""
        await self._listener.stop()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        guard = _guard_of(request)
        try:
            self._hosts.check(request)
            _check_call(request)
            self._caller(request, guard)  # before a body is read for somebody who may say nothing
            body = await _read_body(request, self.gate, jsonrpc.BODY_BYTES_MAX)
        except HttpRefusal as refusal:
            return await _refuse(request, guard, refusal)
        guard.request_received()
        try:
            caller = self._caller(request, guard)  # and after it: a slow body must not outlive a revocation
            reply = await self._dispatcher.handle(body, caller)
        except HttpRefusal as refusal:
            return await _refuse(request, guard, refusal)
        finally:
            self.gate.release(len(body))
        status = 200 if reply else 204
        return await _send(request, guard, status, reply, "application/json" if reply else None)

    def _caller(self, request: web.BaseRequest, guard: Guard) -> Caller:
        """Who sends this request. Raises HttpRefusal 401 for no certificate, or one that counts no longer."""
        if self._tls is None:
            return replace(LOCAL, connection=guard.number)
        connection = None if request.transport is None else request.transport.get_extra_info("ssl_object")
        if connection is None:
            raise ConnectionResetError("the client is gone")
        try:
            caller = self._tls.caller(connection.getpeercert(binary_form=True))
            if caller is ANONYMOUS:
                raise unauthenticated()
        except ApiError as error:
            raise HttpRefusal(401, error.code, error.message, error.hint) from None
        return caller


Probe = Callable[[], Mapping[str, str]]
AdminAction = Callable[[Mapping[str, Any]], Awaitable[Any]]


def _alive() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class OpsActions:
    """What the operations port offers.

    ``live`` and ``ready`` return the checks that fail, name -> why; empty means healthy. ``metrics`` renders the
    Prometheus text. ``admin`` are POST actions ``/admin/<name>`` taking one JSON object, such as the fault injection
    of a devnet; they raise ApiError.
    """

    ready: Probe
    metrics: Callable[[], bytes]
    live: Probe = _alive
    admin: Mapping[str, AdminAction] = field(default_factory=dict)


class OpsServer:
    """``/livez``, ``/readyz``, ``/metrics`` and admin actions, on their own listener."""

    def __init__(self, actions: OpsActions, *, allow_hosts: Iterable[str] = (), limits: Limits | None = None) -> None:
        self._actions = actions
        self._hosts = HostAllowList(allow_hosts)
        self._listener = Listener(self._serve, limits or Limits(connections_max=64), _quiet)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the bound address. Raises OperatorError: address in use, or not loopback."""
        _require_loopback(host, "ops.listen")
        return await self._listener.start(host, port, "ops.listen of node.toml")

    async def stop(self) -> None:
        """Close everything."""
        await self._listener.stop()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        guard = _guard_of(request)
        try:
            self._hosts.check(request)
            if request.path.startswith("/admin/"):
                _require_json_post(request)
                body = await _read_body(request, self._listener.gate, _OPS_BODY_BYTES_MAX)
            elif request.method not in ("GET", "HEAD"):
                raise HttpRefusal(405, jsonrpc.INVALID_REQUEST, "only GET here")
            else:
                body = b""
            self._listener.gate.release(len(body))
            guard.request_received()
            status, content, content_type = await self._answer(request.path, body)
        except HttpRefusal as refusal:
            return await _refuse(request, guard, refusal)
        return await _send(request, guard, status, content, content_type)

    async def _answer(self, path: str, body: bytes) -> tuple[int, bytes, str]:
        if path in ("/livez", "/liveness"):
            return _health(self._actions.live())
        if path in ("/readyz", "/readiness", "/healthz"):
            return _health(self._actions.ready())
        if path == "/metrics":
            return 200, self._actions.metrics(), _PROMETHEUS_TEXT
        action = self._actions.admin.get(path.removeprefix("/admin/")) if path.startswith("/admin/") else None
        if action is None:
            raise HttpRefusal(404, jsonrpc.NOT_FOUND, "there is nothing here", "Try /livez, /readyz or /metrics.")
        try:
            argument = jsonrpc.parse_json(body) if body else {}
            if not isinstance(argument, dict):
                raise ApiError(jsonrpc.INVALID_REQUEST, "an admin action takes one JSON object")
            result = await action(argument)
        except ApiError as error:
            raise HttpRefusal(400, error.code, error.message, error.hint) from None
        return 200, json.dumps(result).encode(), "application/json"


def _health(failing: Mapping[str, str]) -> tuple[int, bytes, str]:
    report = {"status": "failing" if failing else "ok", "failing": dict(failing)}
    return (503 if failing else 200), json.dumps(report).encode(), "application/json"


def _is_address(host: str) -> bool:
    """Whether this is one IP address, neither a name nor all addresses of the machine."""
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _require_loopback(host: str, name: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise OperatorError(
            f"will not listen on {host}",
            "without TLS and client certificates only loopback addresses are allowed",
            f"Set {name} to 127.0.0.1 and put a tunnel or TLS in front of it.",
        )


def _guard_of(request: web.BaseRequest) -> Guard:
    """The guard of this connection: what the transport calls its protocol."""
    transport = request.transport
    protocol = transport.get_protocol() if transport is not None else None
    if not isinstance(protocol, Guard):
        raise ConnectionResetError("the client is gone")
    return protocol


def _check_call(request: web.BaseRequest) -> None:
    """Raises HttpRefusal unless this is ``POST /`` with an uncompressed JSON body of an acceptable length."""
    if request.path != "/":
        raise HttpRefusal(404, jsonrpc.NOT_FOUND, "there is nothing here", "JSON-RPC is POST /.")
    _require_json_post(request)


def _require_json_post(request: web.BaseRequest) -> None:
    if request.method != "POST":
        raise HttpRefusal(405, jsonrpc.INVALID_REQUEST, "only POST here", "Send JSON-RPC 2.0 with POST /.")
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() != "utf-8":
        raise HttpRefusal(
            415,
            jsonrpc.INVALID_REQUEST,
            "the Content-Type must be application/json",
            "curl -H 'Content-Type: application/json'",
        )
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HttpRefusal(415, jsonrpc.INVALID_REQUEST, "compressed bodies are not accepted")


async def _read_body(request: web.BaseRequest, gate: Gate, bytes_max: int) -> bytes:
    """The whole body, within its own cap and the listener's. Raises HttpRefusal.

    Its size stays reserved at the gate until the caller releases it, when the call is answered.
    """
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    expect = request.headers.get("Expect")
    if expect is not None:
        if expect.lower() != "100-continue":
            raise HttpRefusal(417, jsonrpc.INVALID_REQUEST, "unknown expectation")
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    chunks: list[bytes] = []
    size = 0
    complete = False
    try:
        async for chunk in request.content.iter_any():
            if size + len(chunk) > bytes_max:
                raise _too_large(bytes_max)
            if not gate.reserve(len(chunk)):
                raise HttpRefusal(503, jsonrpc.LIMIT_EXCEEDED, "too many large requests at once", "Try again later.")
            size += len(chunk)
            chunks.append(chunk)
        complete = True
    except (ClientPayloadError, web.RequestPayloadError):
        raise HttpRefusal(400, jsonrpc.PARSE_ERROR, "the body is not well-formed HTTP") from None
    finally:
        if not complete:
            gate.release(size)
    return b"".join(chunks)


def _too_large(bytes_max: int) -> HttpRefusal:
    return HttpRefusal(413, jsonrpc.LIMIT_EXCEEDED, f"a body has at most {bytes_max} bytes", "Send smaller batches.")


async def _refuse(request: web.BaseRequest, guard: Guard, refusal: HttpRefusal) -> web.StreamResponse:
    body = encode_transport_error(refusal.code, refusal.message, refusal.hint)
    return await _send(request, guard, refusal.status, body, "application/json", close=True)


async def _send(
    request: web.BaseRequest,
    guard: Guard,
    status: int,
    body: bytes,
    content_type: str | None,
    close: bool = False,
) -> web.StreamResponse:
    """Send the whole reply from here, so that the guard knows when it began and ended."""
    headers = {**_HEADERS, "Content-Type": content_type} if content_type else _HEADERS
    response = web.Response(status=status, body=body or None, headers=headers)
    if status == 405:
        response.headers["Allow"] = "POST"
    if close:
        response.force_close()
    guard.reply_ready()
    await response.prepare(request)
    await response.write_eof()
    guard.reply_handed_over()
    return response
