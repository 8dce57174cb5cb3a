"""Both Python clients against a real server: results, typed errors, and what happens when the line breaks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dawan_node.rpc.client import AsyncClient, Client, RpcError, Unreachable, build_body, sign_transaction
from dawan_node.rpc.connections import Limits
from tests.rpc.fake_node import CHAIN_ID, KEY, NOW_MS
from tests.rpc.harness import Running, answering, eventually, running


@pytest.fixture(scope="module")
def rpc() -> Iterator[Running]:
    with running() as server:
        yield server


def transaction(to: str = "hk-bank", nonce: bytes = bytes(16)) -> bytes:
    args = {"to": to, "amount": ["CNY", 5]}
    return sign_transaction(KEY, build_body(CHAIN_ID, "toy", "pay", args, valid_until_ms=NOW_MS + 1, nonce=nonce))


def test_a_node_hears_of_each_submission_over_which_connection_it_came() -> None:
    """Whoever answers for unchecked signatures on this machine is a connection, and no two are one."""
    with running() as server, Client(server.url) as one, Client(server.url) as other:
        for client in (one, one, other):
            client.tx_submit("trade", transaction(), "accepted")
        client = one
        client.tx_submitMany("trade", [transaction()], "accepted")
        first, second, third, fourth = server.node.bearers
    assert first == second == fourth != third
    assert first.startswith("connection ")


PAY = {"to": "x", "amount": {"currency": "CNY", "amount": "1"}}
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("node_version", ()),
    ("node_status", ()),
    ("channel_list", ()),
    ("channel_get", ("trade",)),
    ("chain_head", ("trade",)),
    ("chain_getBlock", ("trade", 1)),
    ("chain_getFinalityProof", ("trade",)),
    ("chain_getValidators", ("trade",)),
    ("tx_prepare", ("trade", "ed25519", "0x" + KEY.public_key.hex(), "toy", "pay", PAY)),
    ("tx_submit", ("trade", transaction(), "committed")),
    ("tx_submitMany", ("trade", [transaction(), transaction("the-loser", b"n" * 16)])),
    ("tx_status", ("trade", "0x" + "00" * 32)),
    ("state_get", ("trade", "toy", "payment", b"001")),
    ("module_list", ("trade",)),
    ("module_describe", ("trade", "toy")),
    ("module_query", ("trade", "toy", "paid", {"to": "x"}, 1)),
    ("events_get", ("trade",)),
    ("member_list", ("trade",)),
    ("member_get", ("trade", "gz")),
    ("pbft_status", ("trade",)),
    ("pbft_evidence", ("trade",)),
    ("net_peers", ()),
    ("txpool_status", ("trade",)),
]  # fmt: skip


@pytest.mark.parametrize(("method", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_both_clients_give_the_same_result(rpc: Running, method: str, arguments: tuple[Any, ...]) -> None:
    with Client(rpc.url) as client:
        expected = getattr(client, method)(*arguments)

    async def ask() -> Any:
        async with AsyncClient(rpc.url) as client:
            return await getattr(client, method)(*arguments)

    unstable = {"body", "signing_bytes", "tx_id", "nonce"} if method == "tx_prepare" else set()
    got = asyncio.run(ask())
    if unstable:
        assert got.keys() == expected.keys()
    else:
        assert got == expected


def test_an_error_of_the_node_is_typed(rpc: Running) -> None:
    with Client(rpc.url) as client, pytest.raises(RpcError) as caught:
        client.chain_getBlock("trade", "newest")
    error = caught.value
    assert (error.code, error.reason, error.retryable, error.path) == (-32602, "E_PARAMS", False, "params.at")
    assert error.hint


def test_a_refusal_at_the_door_is_an_error_of_the_node_too(rpc: Running) -> None:
    with Client(rpc.url.replace("127.0.0.1", "127.0.0.3")) as client, pytest.raises(Unreachable):
        client.channel_list()  # nothing listens there
    with Client(rpc.url) as client, pytest.raises(RpcError) as caught:
        client.call("tx_submit", ["trade", "0x" + "00" * 2_200_000])
    assert caught.value.code == -32005


def test_a_batch_gives_results_and_errors_in_order(rpc: Running) -> None:
    calls: list[tuple[str, Any]] = [("channel_list", []), ("nothing", []), ("module_list", {"channel": "trade"})]
    with Client(rpc.url) as client:
        first, second, third = client.batch(calls)
        with pytest.raises(RpcError) as caught:
            client.batch([("channel_list", [])] * 51)
    assert first == ["trade"]
    assert isinstance(second, RpcError)
    assert second.code == -32601
    assert third == [{"name": "toy", "version": 1}]
    assert caught.value.code == -32005

    async def ask() -> list[Any]:
        async with AsyncClient(rpc.url) as client:
            return await client.batch(calls)

    assert asyncio.run(ask())[0] == ["trade"]


def test_one_call_builds_signs_and_submits(rpc: Running) -> None:
    with Client(rpc.url) as client:
        verdict = client.send("trade", KEY, "toy", "pay", {"to": "hk-bank", "amount": ["CNY", 7]})
    assert verdict["receipt"]["code"] == 0


def test_a_connection_the_server_closed_is_replaced_silently() -> None:
    with running(limits=Limits(idle_s=0.05)) as server, Client(server.url) as client:
        gate = server.server.gate  # type: ignore[union-attr]
        for _ in range(3):
            assert client.channel_list() == ["trade"]
            assert eventually(lambda: gate.connections == 0)

        async def ask() -> None:
            async with AsyncClient(server.url) as client:
                for _ in range(3):
                    assert await client.channel_list() == ["trade"]
                    while gate.connections:
                        await asyncio.sleep(0.005)

        asyncio.run(ask())


def test_calls_of_one_async_client_share_few_connections() -> None:
    with running() as server:
        server.node.delay_s = 0.01
        most = 0

        async def ask() -> int:
            nonlocal most
            async with AsyncClient(server.url, connections_max=3) as client:
                answers = await asyncio.gather(*(client.chain_head("trade") for _ in range(30)))
                most = server.server.gate.connections  # type: ignore[union-attr]
                return len(answers)

        assert asyncio.run(ask()) == 30
        assert most <= 3


def test_threads_may_share_a_client(rpc: Running) -> None:
    results: list[Any] = []
    with Client(rpc.url) as client:
        threads = [threading.Thread(target=lambda: results.append(client.channel_list())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [["trade"]] * 8


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: ninety\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 20_000 + b"\r\n",
    ],
)
def test_what_is_no_dawan_node_is_unreachable_for_both_clients(reply: bytes) -> None:
    with answering(reply) as url:
        with Client(url) as client, pytest.raises(Unreachable):
            client.channel_list()

        async def ask() -> None:
            async with AsyncClient(url) as client:
                await client.channel_list()

        with pytest.raises(Unreachable):
            asyncio.run(ask())


def test_a_node_that_does_not_answer_is_unreachable_in_time() -> None:
    with running() as server:
        server.node.delay_s = 2.0
        with Client(server.url, timeout_s=0.05) as client, pytest.raises(Unreachable, match="no answer in time"):
            client.chain_head("trade")

        async def ask() -> None:
            async with AsyncClient(server.url, timeout_s=0.05) as client:
                await client.chain_head("trade")

        with pytest.raises(Unreachable, match="no answer in time"):
            asyncio.run(ask())


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:99999", "http://x/path", "http://x:y"])
def test_a_wrong_url_is_said_at_once(url: str) -> None:
    with pytest.raises(Unreachable, match="expected a URL"):
        Client(url)


def test_importing_the_client_loads_neither_the_server_nor_asyncio() -> None:
    heavy = "{'aiohttp', 'asyncio', 'msgspec', 'nacl', 'http.client'}"
    code = f"import sys, dawan_node.rpc.client; print(sorted({heavy} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
