"""The HTTP shell against hostile sockets: who may speak, how much, and for how long (reliability.md G1 to G4, F11)."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from dawan_node.errors import OperatorError
from dawan_node.rpc.api import ApiError
from dawan_node.rpc.connections import PIPELINED_BYTES_MAX, Limits
from dawan_node.rpc.server import OpsActions
from tests.rpc.harness import HEADERS, PATIENCE_S, Running, eventually, is_cut, post, read_reply, running

CALL = b'{"jsonrpc":"2.0","id":1,"method":"channel_list"}'
HEAD = b'{"jsonrpc":"2.0","id":1,"method":"chain_head","params":["trade"]}'
# Deadlines short enough for a test and long enough for a busy machine to answer an honest call.
SHORT = Limits(receive_s=0.3, idle_s=0.3, send_interval_s=0.2, send_progress_bytes=1024, drain_s=5.0)


@pytest.fixture(scope="module")
def rpc() -> Iterator[Running]:
    with running(allow_hosts=("rpc.example", "[fd00::1]")) as server:
        yield server


def exchange(server: Running, body: bytes = CALL, headers: str = HEADERS, target: str = "POST /") -> tuple[int, Any]:
    with server.connect() as connection:
        status, reply = post(connection, body, headers, target)
    return status, json.loads(reply) if reply else None


def answers(server: Running) -> bool:
    return exchange(server)[1] == {"jsonrpc": "2.0", "id": 1, "result": ["trade"]}


def test_an_honest_call_is_answered_as_json(rpc: Running) -> None:
    with rpc.connect() as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {len(CALL)}\r\n\r\n".encode() + CALL)
        head = connection.recv(65_536).decode().lower()
    assert "200 ok" in head
    assert "content-type: application/json" in head
    assert "cache-control: no-store" in head
    assert "access-control" not in head


def test_many_calls_share_one_connection(rpc: Running) -> None:
    with rpc.connect() as connection:
        for _ in range(20):
            assert json.loads(post(connection, CALL)[1])["result"] == ["trade"]


def test_a_notification_gets_an_empty_reply(rpc: Running) -> None:
    assert exchange(rpc, b'{"jsonrpc":"2.0","method":"channel_list"}') == (204, None)


@pytest.mark.parametrize(
    ("headers", "target", "status"),
    [
        ("Host: evil.example\r\nContent-Type: application/json\r\n", "POST /", 403),
        ("Host: localhost.evil.example\r\nContent-Type: application/json\r\n", "POST /", 403),
        ("Host: localhost:80:80\r\nContent-Type: application/json\r\n", "POST /", 403),
        ("Host: localhost@evil\r\nContent-Type: application/json\r\n", "POST /", 403),
        ("Host: \r\nContent-Type: application/json\r\n", "POST /", 403),
        (HEADERS + "Origin: http://evil.example\r\n", "POST /", 403),
        (HEADERS + "Origin: null\r\n", "POST /", 403),
        ("Host: localhost\r\n", "POST /", 415),
        ("Host: localhost\r\nContent-Type: text/plain\r\n", "POST /", 415),
        ("Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n", "POST /", 415),
        ("Host: localhost\r\nContent-Type: application/jsonp\r\n", "POST /", 415),
        ("Host: localhost\r\nContent-Type: application/json; charset=utf-16\r\n", "POST /", 415),
        (HEADERS + "Content-Encoding: gzip\r\n", "POST /", 415),
        (HEADERS + "Expect: coffee\r\n", "POST /", 417),
        (HEADERS, "GET /", 405),
        (HEADERS, "OPTIONS /", 405),
        (HEADERS, "PUT /", 405),
        (HEADERS, "POST /ws", 404),
        (HEADERS, "POST /../etc/passwd", 404),
        (HEADERS, "GET /metrics", 404),
    ],
)
def test_what_is_no_call_of_ours_is_refused_at_the_door(rpc: Running, headers: str, target: str, status: int) -> None:
    refused, body = exchange(rpc, headers=headers, target=target)
    assert refused == status
    assert {"reason", "retryable", "hint"} <= body["error"]["data"].keys()


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: evil\r\n", "Host: evil\r\nHost: localhost\r\n"])
def test_a_request_names_exactly_one_host(rpc: Running, hosts: str) -> None:
    with rpc.connect() as connection:
        assert post(connection, CALL, f"{hosts}Content-Type: application/json\r\n")[0] in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        "Host: LOCALHOST:7110\r\nContent-Type: application/json\r\n",
        "Host: 127.0.0.1\r\nContent-Type: application/json; charset=utf-8\r\n",
        "Host: [::1]:7110\r\nContent-Type: APPLICATION/JSON\r\n",
        "Host: rpc.example\r\nContent-Type: application/json\r\n",
        "Host: rpc.example.:1\r\nContent-Type: application/json\r\n",
        "Host: [fd00::1]\r\nContent-Type: application/json\r\n",
        HEADERS + "Origin: http://localhost:7130\r\n",
        HEADERS + "Content-Encoding: identity\r\n",
    ],
)
def test_our_own_names_are_accepted_in_any_usual_spelling(rpc: Running, headers: str) -> None:
    assert exchange(rpc, headers=headers)[0] == 200


def test_a_large_body_is_refused_before_it_is_read(rpc: Running) -> None:
    with rpc.connect() as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: 4194305\r\n\r\n".encode())
        status, body = read_reply(connection)
    assert (status, json.loads(body)["error"]["code"]) == (413, -32005)


def test_an_endless_chunked_body_is_refused_at_the_cap(rpc: Running) -> None:
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    with rpc.connect() as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(80):
                connection.sendall(chunk)
        except ConnectionError:
            return  # cut while still talking: as good
        assert read_reply(connection)[0] == 413


def test_a_chunked_call_is_answered(rpc: Running) -> None:
    with rpc.connect() as connection:
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n".encode())
        for piece in (CALL[:10], CALL[10:]):
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert json.loads(read_reply(connection)[1])["result"] == ["trade"]


def test_a_gzip_bomb_is_refused_unopened(rpc: Running) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert exchange(rpc, bomb, HEADERS + "Content-Encoding: gzip\r\n")[0] == 415


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(rpc: Running) -> None:
    with rpc.connect() as connection:
        connection.sendall(
            f"POST / HTTP/1.1\r\n{HEADERS}Expect: 100-continue\r\nContent-Length: {len(CALL)}\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(CALL)
        assert read_reply(connection)[0] == 200


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"NONSENSE\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
    ],
)
def test_what_is_not_http_is_turned_away_and_the_server_lives(rpc: Running, garbage: bytes) -> None:
    with rpc.connect() as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        assert is_cut(connection)
    assert answers(rpc)


def test_an_error_of_json_rpc_is_still_http_200(rpc: Running) -> None:
    status, body = exchange(rpc, b"[" * 100_000)
    assert (status, body["error"]["code"]) == (200, -32600)
    assert exchange(rpc, b'{"jsonrpc":"2.0","id":1,"method":"nothing"}')[0] == 200


# -- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: loc",
        f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: 100\r\n\r\n{{".encode(),
        f"POST / HTTP/1.1\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n5\r\nab".encode(),
    ],
    ids=["silent", "half a header", "half a body", "half a chunk"],
)
def test_a_request_that_does_not_arrive_is_cut(start: bytes) -> None:
    with running(limits=SHORT) as server, server.connect() as connection:
        connection.sendall(start)
        assert is_cut(connection)
        assert server.server.gate.cut == 1  # type: ignore[union-attr]


def test_a_request_sent_byte_by_byte_is_cut_however_busy_it_looks() -> None:
    with running(limits=SHORT) as server, server.connect() as connection:
        connection.settimeout(0.02)
        request = f"POST / HTTP/1.1\r\n{HEADERS}X-Slow: {'x' * 5000}".encode()
        cut = False
        for byte in request:  # the timeout of each read is the pause between two bytes
            try:
                connection.sendall(bytes([byte]))
                cut = connection.recv(100) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                cut = True
            break
        assert cut


def test_a_connection_without_calls_is_cut_after_its_last_reply() -> None:
    with running(limits=SHORT) as server, server.connect() as connection:
        assert post(connection, CALL)[0] == 200
        assert is_cut(connection)


def test_a_call_under_way_is_not_cut_by_the_deadlines_of_the_client() -> None:
    with running(limits=SHORT) as server, server.connect() as connection:
        server.node.delay_s = 1.0
        assert post(connection, HEAD)[0] == 200


def test_a_reader_that_stops_is_cut() -> None:
    with running(limits=SHORT) as server, server.connect() as connection:
        server.node.pages = 500
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        call = {"jsonrpc": "2.0", "id": 1, "method": "module_query", "params": ["trade", "toy", "paid", {}, 500]}
        body = json.dumps([call] * 40).encode()
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        connection.recv(100)
        assert eventually(lambda: server.server.gate.cut == 1)  # type: ignore[union-attr]
        assert eventually(lambda: server.server.gate.connections == 0)  # type: ignore[union-attr]


def test_a_reader_that_is_slow_but_steady_gets_everything() -> None:
    limits = Limits(receive_s=5, idle_s=5, send_interval_s=0.1, send_progress_bytes=1024)
    with running(limits=limits) as server, server.connect() as connection:
        server.node.pages = 500
        call = {"jsonrpc": "2.0", "id": 1, "method": "module_query", "params": ["trade", "toy", "paid", {}, 500]}
        body = json.dumps([call] * 40).encode()
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status, reply = read_reply(connection)
        assert status == 200
        assert len(json.loads(reply)) == 40


def test_talking_ahead_of_the_answers_is_cut_beyond_a_little() -> None:
    with running(limits=Limits(drain_s=0.1)) as server, server.connect() as connection:
        server.node.delay_s = PATIENCE_S
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {len(HEAD)}\r\n\r\n".encode() + HEAD)
        gate = server.server.gate  # type: ignore[union-attr]
        assert eventually(lambda: [guard.phase.value for guard in list(gate._guards)] == ["handling"])
        size = PIPELINED_BYTES_MAX + 1
        connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {size}\r\n\r\n".encode() + b" " * size)
        assert eventually(lambda: gate.connections == 0)


def test_one_call_sent_ahead_is_answered_in_turn(rpc: Running) -> None:
    request = f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {len(CALL)}\r\n\r\n".encode() + CALL
    with rpc.connect() as connection:
        connection.sendall(request + request)
        data = b""
        while data.count(b'"result"') < 2:
            data += connection.recv(65_536)


# -- caps ------------------------------------------------------------------------------------------------------------


def test_an_honest_client_is_served_among_many_silent_sockets() -> None:
    limits = Limits(connections_max=40, connections_per_address_max=40)
    with running(limits=limits) as server, ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(60)]
        assert all(answers(server) for _ in range(5))
        assert eventually(lambda: server.server.gate.connections <= 40)  # type: ignore[union-attr]
        assert is_cut(silent[0]), "the oldest gives way first"


def test_a_flood_from_one_address_leaves_room_for_another() -> None:
    """Indy CVE-2022-31006: one client used up all connections and stopped the ledger."""
    limits = Limits(connections_max=100, connections_per_address_max=10)
    with running(limits=limits) as server, ExitStack() as stack:
        for _ in range(30):
            flood = stack.enter_context(socket.socket())
            flood.bind(("127.0.0.2", 0))
            flood.connect((server.host, server.port))
        honest = stack.enter_context(server.connect())
        assert post(honest, CALL)[0] == 200
        assert eventually(lambda: server.server.gate.connections == 11)  # type: ignore[union-attr]
        assert post(honest, CALL)[0] == 200


def test_a_connection_with_a_call_under_way_is_never_evicted() -> None:
    limits = Limits(connections_max=2, connections_per_address_max=2)
    with running(limits=limits) as server, ExitStack() as stack:
        server.node.delay_s = 1.0
        busy = [stack.enter_context(server.connect()) for _ in range(2)]
        for connection in busy:
            connection.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {len(HEAD)}\r\n\r\n".encode() + HEAD)
        gate = server.server.gate  # type: ignore[union-attr]
        assert eventually(lambda: [guard.phase.value for guard in list(gate._guards)] == ["handling"] * 2)
        late = stack.enter_context(server.connect())
        assert read_reply(late)[0] == 503
        assert all(read_reply(connection)[0] == 200 for connection in busy)


def test_bodies_of_all_connections_together_are_bounded() -> None:
    limits = Limits(buffered_bytes_max=100_000)
    with running(limits=limits) as server, ExitStack() as stack:
        slow = stack.enter_context(server.connect())
        slow.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: 90001\r\n\r\n".encode() + b" " * 90_000)
        gate = server.server.gate  # type: ignore[union-attr]
        assert eventually(lambda: gate.buffered_bytes == 90_000)
        assert exchange(server, b" " * 20_000)[0] == 503
        assert answers(server)
        slow.close()
        assert eventually(lambda: gate.buffered_bytes == 0)


def test_stopping_lets_calls_under_way_finish_and_cuts_the_rest() -> None:
    with running(limits=Limits(drain_s=5)) as server, server.connect() as busy, server.connect() as idle:
        server.node.delay_s = 0.5
        busy.sendall(f"POST / HTTP/1.1\r\n{HEADERS}Content-Length: {len(HEAD)}\r\n\r\n".encode() + HEAD)
        assert post(idle, CALL)[0] == 200
        server.on_loop(server.server.stop())
        assert read_reply(busy)[0] == 200
        assert is_cut(idle)
        with pytest.raises(ConnectionError):
            server.connect()


# -- where it may listen ---------------------------------------------------------------------------------------------


def test_without_tls_only_loopback_is_served(rpc: Running) -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "node.example"):
        with pytest.raises(OperatorError, match="only loopback"):
            rpc.on_loop(rpc.server.start(host, 0))


def test_a_taken_port_is_one_line_that_says_what_to_do(rpc: Running) -> None:
    with pytest.raises(OperatorError, match=r"cannot listen on 127.0.0.1:\d+: .*rpc.listen"):
        rpc.on_loop(rpc.server.start("127.0.0.1", rpc.port))


# -- operations ------------------------------------------------------------------------------------------------------


async def cut_links(argument: Mapping[str, Any]) -> Any:
    if "names" not in argument:
        raise ApiError.invalid("name the peers to cut")
    return {"cut": argument["names"]}


def test_health_names_what_fails_and_metrics_are_text() -> None:
    failing: dict[str, str] = {}
    actions = OpsActions(ready=lambda: failing, metrics=lambda: b"dawan_consensus_height 7\n", admin={"cut": cut_links})
    with running(ops=actions) as server:
        assert exchange(server, b"", "Host: localhost\r\n", "GET /readyz") == (200, {"status": "ok", "failing": {}})
        failing["chain"] = "trade has made no block for 40 s although work is pending"
        assert exchange(server, b"", "Host: localhost\r\n", "GET /readyz") == (
            503,
            {"status": "failing", "failing": failing},
        )
        assert exchange(server, b"", "Host: localhost\r\n", "GET /livez")[0] == 200
        with server.connect() as connection:
            assert post(connection, b"", "Host: localhost\r\n", "GET /metrics") == (200, b"dawan_consensus_height 7\n")
        assert exchange(server, b"", "Host: evil\r\n", "GET /metrics")[0] == 403
        assert exchange(server, b"", "Host: localhost\r\n", "GET /")[0] == 404
        assert exchange(server, b"", "Host: localhost\r\n", "POST /readyz")[0] == 405


def test_admin_actions_take_one_json_object_by_post_only() -> None:
    actions = OpsActions(ready=dict, metrics=bytes, admin={"cut": cut_links})
    with running(ops=actions) as server:
        assert exchange(server, b'{"names":["hk1"]}', target="POST /admin/cut") == (200, {"cut": ["hk1"]})
        assert exchange(server, b"{}", target="POST /admin/cut")[0] == 400
        assert exchange(server, b"[]", target="POST /admin/cut")[0] == 400
        assert exchange(server, b"{", target="POST /admin/cut")[0] == 400
        assert exchange(server, b"{}", target="POST /admin/none")[0] == 404
        assert exchange(server, b"{}", "Host: localhost\r\n", "POST /admin/cut")[0] == 415
        assert exchange(server, b"", "Host: localhost\r\n", "GET /admin/cut")[0] == 405
        assert exchange(server, b" " * 70_000, target="POST /admin/cut")[0] == 413
