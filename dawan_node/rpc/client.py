"""The Python client: the same method names as the node, synchronous and asyncio.

    from dawan_node.rpc.client import Client
    client = Client("http://127.0.0.1:7110")
    client.chain_head("trade")

    client = Client("https://node.example:7110", tls=ClientTls(certified_key, trust, org="gz", name="gz1"))

    body = build_body(chain_id, "receivable", "confirm_invoice", {"invoice": key}, valid_until_ms=...)
    tx = sign_transaction(private_key, body)
    client.tx_submit("trade", tx, wait="committed")

Bytes go in and come out as the node writes them (``0x..``); only ``tx`` may be given as bytes. Transactions are built
here with ``msgpack``, while the node decodes with ``msgspec``: two independent codecs hold each other to the format.
Importing this module costs a few milliseconds: the standard library only, ``msgpack`` when a transaction is built.

Resending is always safe: the same signed bytes give the same receipt (design section 4). So a connection that the
server closed while idle is replaced silently and the call sent again.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dawan_node.errors import DawanError, NetworkError
from dawan_node.rpc.transactions import (
    TransactionKey,
    assemble_transaction,
    build_body,
    read_body,
    read_envelope,
    sign_transaction,
    signing_bytes,
    transaction_id,
)

if TYPE_CHECKING:
    import http.client

    from dawan_node.rpc.async_client import AsyncClient
    from dawan_node.rpc.client_tls import ClientTls

__all__ = [
    "AsyncClient",
    "Client",
    "Methods",
    "RpcError",
    "TlsFailed",
    "TransactionKey",
    "Unreachable",
    "assemble_transaction",
    "build_body",
    "read_body",
    "read_envelope",
    "sign_transaction",
    "signing_bytes",
    "transaction_id",
]


def __getattr__(name: str) -> Any:
    """``AsyncClient`` on first use: the command line does not pay for asyncio."""
    if name != "AsyncClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dawan_node.rpc.async_client import AsyncClient

    return AsyncClient


# As the node sends at most 5 MiB (formats B).
REPLY_BYTES_MAX: Final = 6 * 1024 * 1024
# Above the server's own deadline for reads, so that its error arrives rather than ours.
READ_TIMEOUT_S: Final = 20.0
CONNECT_TIMEOUT_S: Final = 5.0
# A server that waits for a commit answers a little after the time it was given.
WAIT_SLACK_S: Final = 10.0
TIMEOUT_MS_DEFAULT: Final = 10_000
VALID_FOR_MS_DEFAULT: Final = 600_000


Params = Mapping[str, Any] | Sequence[Any]


class RpcError(DawanError):
    """The node's error object. ``data`` always holds ``reason``, ``retryable`` and ``hint``."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message
        self.data = dict(data or {})

    @property
    def reason(self) -> str:
        """The stable identifier, such as ``E_DUP_FINANCE``."""
        return str(self.data.get("reason", ""))

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later, unchanged."""
        return bool(self.data.get("retryable", False))

    @property
    def hint(self) -> str:
        """What to do next."""
        return str(self.data.get("hint", ""))

    @property
    def path(self) -> str:
        """Which parameter was wrong, if one was."""
        return str(self.data.get("path", ""))


class Unreachable(NetworkError):
    """No answer: the node is not there, does not speak JSON-RPC, or the connection broke.

    ``sent``: the request may have arrived, so what became of it is unknown. ``url``: which node it was, empty where
    that is not known; who talks to two has to tell them apart.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.url = ""


class TlsFailed(Unreachable):
    """The two ends did not get through TLS, or the server is not the node that was meant.

    ``fix`` says what to do next.
    """

    def __init__(self, message: str, fix: str, *, sent: bool = False) -> None:
        super().__init__(message, sent=sent)
        self.fix = fix


# -- methods ---------------------------------------------------------------------------------------------------------


class Methods(ABC):
    """Every method of the node by its own name. What a call returns is up to the client: the result, or a coroutine."""

    @abstractmethod
    def call(self, method: str, params: Params | None = None, wait_s: float = 0.0) -> Any:
        """Call any method. ``wait_s``: how long the node was asked to wait before it answers."""

    def node_version(self) -> Any:
        return self.call("node_version")

    def node_status(self) -> Any:
        return self.call("node_status")

    def channel_list(self) -> Any:
        return self.call("channel_list")

    def channel_get(self, channel: str) -> Any:
        return self.call("channel_get", [channel])

    def chain_head(self, channel: str) -> Any:
        return self.call("chain_head", [channel])

    def chain_getBlock(self, channel: str, at: int | str = "latest", full: bool = False) -> Any:  # noqa: N802
        return self.call("chain_getBlock", [channel, at, full])

    def chain_getFinalityProof(self, channel: str, at: int | str = "latest") -> Any:  # noqa: N802
        return self.call("chain_getFinalityProof", [channel, at])

    def chain_getValidators(self, channel: str, at: int | str = "latest") -> Any:  # noqa: N802
        return self.call("chain_getValidators", [channel, at])

    def tx_prepare(
        self,
        channel: str,
        suite: str,
        public_key: str,
        module: str,
        command: str,
        args: Mapping[str, Any],
        valid_for_ms: int = VALID_FOR_MS_DEFAULT,
    ) -> Any:
        return self.call("tx_prepare", [channel, suite, public_key, module, command, args, valid_for_ms])

    def tx_assemble(self, body: str, suite: str, public_key: str, signature: str) -> Any:
        return self.call("tx_assemble", [body, suite, public_key, signature])

    def tx_submit(
        self, channel: str, tx: bytes | str, wait: str = "accepted", timeout_ms: int = TIMEOUT_MS_DEFAULT
    ) -> Any:
        return self.call("tx_submit", [channel, _tx(tx), wait, timeout_ms], timeout_ms / 1000)

    def tx_submitMany(  # noqa: N802
        self,
        channel: str,
        txs: Sequence[bytes | str],
        wait: str = "accepted",
        timeout_ms: int = TIMEOUT_MS_DEFAULT,
    ) -> Any:
        return self.call("tx_submitMany", [channel, [_tx(tx) for tx in txs], wait, timeout_ms], timeout_ms / 1000)

    def tx_get(self, channel: str, tx_id: str) -> Any:
        return self.call("tx_get", [channel, tx_id])

    def tx_receipt(self, channel: str, tx_id: str) -> Any:
        return self.call("tx_receipt", [channel, tx_id])

    def tx_status(self, channel: str, tx_id: str) -> Any:
        return self.call("tx_status", [channel, tx_id])

    def state_get(
        self,
        channel: str,
        module: str,
        collection: str,
        key: bytes | str,
        at: int | str = "latest",
        proof: bool = False,
    ) -> Any:
        return self.call("state_get", [channel, module, collection, _tx(key), at, proof])

    def module_list(self, channel: str) -> Any:
        return self.call("module_list", [channel])

    def module_describe(self, channel: str, module: str) -> Any:
        return self.call("module_describe", [channel, module])

    def module_query(
        self,
        channel: str,
        module: str,
        query: str,
        params: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Any:
        return self.call("module_query", [channel, module, query, params or {}, limit, cursor])

    def events_get(
        self,
        channel: str,
        cursor: str | None = None,
        limit: int | None = None,
        filter: Mapping[str, Sequence[str]] | None = None,
    ) -> Any:
        return self.call("events_get", [channel, cursor, limit, filter])

    def member_list(self, channel: str) -> Any:
        return self.call("member_list", [channel])

    def member_get(self, channel: str, name: str) -> Any:
        return self.call("member_get", [channel, name])

    def pbft_status(self, channel: str) -> Any:
        return self.call("pbft_status", [channel])

    def pbft_evidence(self, channel: str) -> Any:
        return self.call("pbft_evidence", [channel])

    def net_peers(self) -> Any:
        return self.call("net_peers")

    def txpool_status(self, channel: str) -> Any:
        return self.call("txpool_status", [channel])


class Client(Methods):
    """One keep-alive connection; safe to share between threads, which then take turns.

    ``tls`` (``client_tls.ClientTls``) goes with an ``https`` URL, and only with one.
    """

    def __init__(self, url: str, *, timeout_s: float = READ_TIMEOUT_S, tls: ClientTls | None = None) -> None:
        self.url: Final = url
        self._scheme, self._host, self._port = split_url(url)
        self._tls: Final = tls
        check_scheme(self._scheme, tls)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._connection: http.client.HTTPConnection | None = None

    def call(self, method: str, params: Params | None = None, wait_s: float = 0.0) -> Any:
        """The result of one call. Raises RpcError or Unreachable."""
        return result_of(self._exchange(request_of(next(self._ids), method, params), wait_s))

    def batch(self, calls: Sequence[tuple[str, Params]]) -> list[Any]:
        """Results of at most 50 calls in their order; a failed one is an RpcError *in* the list."""
        requests = [request_of(next(self._ids), method, params) for method, params in calls]
        return batch_results(requests, self._exchange(requests, 0.0))

    def send(
        self,
        channel: str,
        key: TransactionKey,
        module: str,
        command: str,
        args: Mapping[str, Any],
        *,
        wait: str = "committed",
        timeout_ms: int = TIMEOUT_MS_DEFAULT,
    ) -> Any:
        """Build, sign and submit in one go; ``args`` are ledger values as in ``build_body``."""
        chain_id = bytes.fromhex(self.channel_get(channel)["chain_id"][2:])
        until = time.time_ns() // 1_000_000 + VALID_FOR_MS_DEFAULT
        body = build_body(chain_id, module, command, args, valid_until_ms=until)
        return self.tx_submit(channel, sign_transaction(key, body), wait, timeout_ms)

    def twin(self) -> Client:
        """A client of the same node with a connection of its own, for another thread."""
        return Client(self.url, timeout_s=self._timeout_s, tls=self._tls)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, payload: Any, wait_s: float) -> Any:
        import http.client

        body = encode_payload(payload)
        timeout_s = self._timeout_s + (wait_s + WAIT_SLACK_S if wait_s else 0.0)
        with self._lock:
            for attempt in (1, 2):
                reused = self._connection is not None
                sent = False
                try:
                    connection = self._open(timeout_s)
                    sent = True
                    connection.request("POST", "/", body, {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    data = response.read(REPLY_BYTES_MAX)
                    if response.will_close:
                        self._drop()
                    return decode_reply(response.status, data)
                except Unreachable as error:
                    error.url = self.url
                    raise
                except (http.client.HTTPException, OSError) as error:
                    self._drop()
                    # Closed by the server between two calls: once more, on a fresh connection.
                    if not (reused and attempt == 1 and isinstance(error, http.client.BadStatusLine | ConnectionError)):
                        raise failure(self.url, error, sent=sent, tls=None if reused else self._tls) from None
        raise Unreachable(self.url)

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        import http.client
        import socket

        if self._connection is None:
            limit_s = min(CONNECT_TIMEOUT_S, timeout_s)
            connection: http.client.HTTPConnection
            if self._tls is None:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=limit_s)
                connection.connect()
            else:
                connection = secure = http.client.HTTPSConnection(
                    self._host, self._port, timeout=limit_s, context=self._tls.context
                )
                secure.connect()
                try:
                    self._tls.check_server(secure.sock.getpeercert(binary_form=True))
                except TlsFailed:
                    secure.close()
                    raise
            # Header and body are two writes; without this the second waits for the server's delayed ACK.
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = connection
        self._connection.sock.settimeout(timeout_s)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


# -- the wire --------------------------------------------------------------------------------------------------------


def split_url(url: str) -> tuple[str, str, int]:
    from urllib.parse import urlsplit

    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is none
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or parts.path not in ("", "/") or parts.query:
        raise Unreachable(f"{url}: expected a URL such as http://127.0.0.1:7110")
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80)


def check_scheme(scheme: str, tls: ClientTls | None) -> None:
    """Require a certificate exactly where there is TLS. Raises TlsFailed."""
    if scheme == "https" and tls is None:
        raise TlsFailed(
            "an https address needs a client certificate", "Give the client `tls`, or the command the --home of a node."
        )
    if scheme == "http" and tls is not None:
        raise TlsFailed("a client certificate is of no use without TLS", "Write https:// in the address.")


def failure(url: str, error: BaseException, *, sent: bool, tls: ClientTls | None) -> Unreachable:
    """What a broken exchange means. ``tls``: it was the first on its connection, and TLS may be why it broke."""
    found: Unreachable | None = None if tls is None else tls.explain(error, sent=sent)
    made = found or Unreachable(f"{url}: {text_of(error)}", sent=sent)
    made.url = url
    return made


def request_of(call_id: int, method: str, params: Params | None) -> dict[str, Any]:
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": call_id, "method": method}
    if params is not None:
        request["params"] = dict(params) if isinstance(params, Mapping) else list(params)
    return request


def encode_payload(payload: Any) -> bytes:
    return json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()


def decode_reply(status: int, data: bytes) -> Any:
    try:
        reply = json.loads(data)
    except ValueError:
        raise Unreachable(f"the server answered HTTP {status} without JSON: no dawan node there?") from None
    if not isinstance(reply, dict | list):
        raise Unreachable(f"the server answered HTTP {status} without JSON-RPC: no dawan node there?")
    return reply


def result_of(reply: Any) -> Any:
    if isinstance(reply, dict):
        if "result" in reply:
            return reply["result"]
        if isinstance(reply.get("error"), dict):
            raise _error(reply["error"])
    raise Unreachable("the server's reply is not JSON-RPC 2.0")


def batch_results(requests: Sequence[Mapping[str, Any]], replies: Any) -> list[Any]:
    if isinstance(replies, dict):  # the whole batch was refused
        result_of(replies)
    by_id: dict[Any, Any] = {reply.get("id"): reply for reply in replies if isinstance(reply, dict)}
    results: list[Any] = []
    for request in requests:
        try:
            results.append(result_of(by_id.get(request["id"])))
        except RpcError as error:
            results.append(error)
    return results


def _error(error: Mapping[str, Any]) -> RpcError:
    data = error.get("data")
    return RpcError(int(error.get("code", 0)), str(error.get("message", "")), data if isinstance(data, dict) else None)


def _tx(value: bytes | str) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else value


def text_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = getattr(error, "strerror", None) or str(error)
    return text or type(error).__name__
