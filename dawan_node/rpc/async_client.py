"""The asyncio client: a pool of keep-alive connections over plain streams. Import it from ``client``.

It stands apart so that the command line, which never needs it, does not pay for importing asyncio.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from dawan_node.rpc.client import (
    READ_TIMEOUT_S,
    REPLY_BYTES_MAX,
    WAIT_SLACK_S,
    Methods,
    Params,
    Unreachable,
    batch_results,
    check_scheme,
    decode_reply,
    encode_payload,
    failure,
    request_of,
    result_of,
    split_url,
    text_of,
)

if TYPE_CHECKING:
    from dawan_node.rpc.client_tls import ClientTls

_HEADER_BYTES_MAX: Final = 16 * 1024


class AsyncClient(Methods):
    """A pool of keep-alive connections for asyncio; at most ``connections_max`` calls run at once.

    ``tls`` (``client_tls.ClientTls``) goes with an ``https`` URL, and only with one.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = READ_TIMEOUT_S,
        connections_max: int = 8,
        tls: ClientTls | None = None,
    ) -> None:
        self.url: Final = url
        self._scheme, self._host, self._port = split_url(url)
        self._tls: Final = tls
        check_scheme(self._scheme, tls)
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(connections_max)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._ids = itertools.count(1)

    async def call(self, method: str, params: Params | None = None, wait_s: float = 0.0) -> Any:
        """The result of one call. Raises RpcError or Unreachable."""
        return result_of(await self._exchange(request_of(next(self._ids), method, params), wait_s))

    async def batch(self, calls: Sequence[tuple[str, Params]]) -> list[Any]:
        """Results of at most 50 calls in their order; a failed one is an RpcError *in* the list."""
        requests = [request_of(next(self._ids), method, params) for method, params in calls]
        return batch_results(requests, await self._exchange(requests, 0.0))

    async def close(self) -> None:
        """Close all idle connections."""
        idle, self._idle = self._idle, []
        for _, writer in idle:
            writer.close()
        for _, writer in idle:
            try:
                await writer.wait_closed()
            except OSError:
                continue  # it was already gone

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _exchange(self, payload: Any, wait_s: float) -> Any:
        body = encode_payload(payload)
        request = (
            f"POST / HTTP/1.1\r\nHost: {self._host_header()}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        timeout_s = self._timeout_s + (wait_s + WAIT_SLACK_S if wait_s else 0.0)
        async with self._slots:
            while True:
                reused, sent = bool(self._idle), False
                try:
                    async with asyncio.timeout(timeout_s):
                        streams = self._idle.pop() if self._idle else await self._connect()
                        sent = True
                        return await self._round_trip(streams, request)
                except (OSError, asyncio.IncompleteReadError) as error:
                    # Stale connections of the pool are used up one by one; a fresh one that fails is final.
                    if not (reused and isinstance(error, ConnectionError | asyncio.IncompleteReadError)):
                        raise failure(self.url, error, sent=sent, tls=None if reused else self._tls) from None
                except (asyncio.LimitOverrunError, ValueError) as error:
                    raise Unreachable(f"{self.url}: {text_of(error)}", sent=sent) from None

    async def _round_trip(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes) -> Any:
        """Send and read one reply; the connection goes back to the pool only if it is sound."""
        reader, writer = streams
        sound = False
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            status, length, keep = _parse_head(head)
            data = await reader.readexactly(length)
            sound = keep
            return decode_reply(status, data)
        finally:
            if sound:
                self._idle.append(streams)
            else:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._tls is None:
            return await asyncio.open_connection(self._host, self._port, limit=_HEADER_BYTES_MAX)
        reader, writer = await asyncio.open_connection(
            self._host, self._port, limit=_HEADER_BYTES_MAX, ssl=self._tls.context, server_hostname=""
        )
        try:
            self._tls.check_server(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    def _host_header(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"


def _parse_head(head: bytes) -> tuple[int, int, bool]:
    """(status, body length, keep the connection) of a reply's header. Raises ValueError."""
    lines = head.decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("the server does not speak HTTP/1.1")
    status, length, keep = int(rest[:3]), 0, True
    for line in lines[1:]:
        name, _, value = line.partition(":")
        match name.lower():
            case "content-length":
                length = int(value)
            case "connection":
                keep = value.strip().lower() != "close"
            case "transfer-encoding":
                raise ValueError("the server's reply has no length")
    if not 0 <= length <= REPLY_BYTES_MAX:
        raise ValueError(f"the server's reply would have {length} bytes")
    return status, length, keep
