"""A server on a loopback port, its event loop in a thread, so that tests can use plain blocking sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from dawan_node.rpc.connections import Limits
from dawan_node.rpc.dispatch import Dispatcher
from dawan_node.rpc.server import OpsActions, OpsServer, RpcServer
from dawan_node.rpc.server_tls import ServerTls
from tests.rpc.fake_node import FakeNode

T = TypeVar("T")

# Generous: only a broken server uses it up.
PATIENCE_S = 10.0
HEADERS = "Host: localhost\r\nContent-Type: application/json\r\n"


@dataclass
class Running:
    """A running server. ``on_loop`` runs a coroutine in the server's thread, ``call_on_loop`` a plain function."""

    node: FakeNode
    server: RpcServer | OpsServer
    host: str
    port: int
    loop: asyncio.AbstractEventLoop
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def call_on_loop(self, function: Callable[[], T]) -> T:
        async def work() -> T:
            return function()

        return self.on_loop(work())

    def connect(self) -> socket.socket:
        connection = socket.create_connection((self.host, self.port), PATIENCE_S)
        connection.settimeout(PATIENCE_S)
        return connection


@contextmanager
def running(
    *,
    limits: Limits | None = None,
    allow_hosts: tuple[str, ...] = (),
    ops: OpsActions | None = None,
    node: FakeNode | None = None,
    tls: ServerTls | None = None,
    **options: Any,
) -> Iterator[Running]:
    """Start a server for the body of a ``with``; ``ops`` starts the operations listener instead of JSON-RPC."""
    node = node or FakeNode()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> tuple[RpcServer | OpsServer, str, int]:
        server: RpcServer | OpsServer
        if ops is not None:
            server = OpsServer(ops, allow_hosts=allow_hosts, limits=limits)
        else:
            server = RpcServer(Dispatcher(node, **options), allow_hosts=allow_hosts, limits=limits)
            return server, *(await server.start("127.0.0.1", 0, tls))
        host, port = await server.start("127.0.0.1", 0)
        return server, host, port

    try:
        server, host, port = asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE_S)
        try:
            yield Running(node, server, host, port, loop, "http" if tls is None else "https")
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(PATIENCE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that says the same to everybody and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def post(connection: socket.socket, body: bytes, headers: str = HEADERS, target: str = "POST /") -> tuple[int, bytes]:
    """One request over an open socket; (status, body)."""
    head = f"{target} HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
    connection.sendall(head + body)
    return read_reply(connection)


def read_reply(connection: socket.socket) -> tuple[int, bytes]:
    """Read exactly one HTTP reply."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        if not part:
            raise ConnectionError(f"closed after {data!r}")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    length = next((int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return int(lines[0].split()[1]), body


def is_cut(connection: socket.socket) -> bool:
    """Wait until the server closes this connection (True), or patience ends (False)."""
    try:
        while connection.recv(65_536):
            continue
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def eventually(condition: Callable[[], bool]) -> bool:
    """Poll until ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if condition():
            return True
        threading.Event().wait(0.005)
    return False
