"""JSON-RPC over TLS: who gets in, who is told what, and certificates and roots that change under a running listener."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dawan_node.errors import ConfigError
from dawan_node.rpc import acceptor, jsonrpc
from dawan_node.rpc.client import AsyncClient, Client, RpcError, TlsFailed, Unreachable
from dawan_node.rpc.connections import Limits
from dawan_node.rpc.server_tls import VERDICT_AGE_MAX
from tests.rpc.consortium import REGISTERED, SecureNode, certificate, secure_node, trust
from tests.rpc.fake_node import FakeNode
from tests.rpc.harness import eventually, is_cut, running

CALL = b'{"jsonrpc":"2.0","id":1,"method":"node_version"}'


@pytest.fixture
def secure() -> Iterator[SecureNode]:
    with secure_node() as node:
        yield node


def post_with(secure: SecureNode, context: ssl.SSLContext) -> tuple[int, Any]:
    connection = http.client.HTTPSConnection("127.0.0.1", secure.running.port, timeout=10, context=context)
    try:
        connection.request("POST", "/", CALL, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def without_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def refusal(client: Client) -> RpcError:
    with pytest.raises(RpcError) as refused:
        client.node_version()
    return refused.value


# -- who gets in -----------------------------------------------------------------------------------------------------


def test_a_member_and_the_own_organisation_are_known_by_their_roots(secure: SecureNode) -> None:
    with secure.client("hk") as member, secure.client("gz") as own:
        assert member.channel_list() == ["trade"]
        assert own.channel_list() == ["trade", "cargo"]
        assert own.net_peers()
        with pytest.raises(RpcError, match="net_peers answers this node's own organisation only") as refused:
            member.net_peers()
    assert refused.value.code == jsonrpc.FORBIDDEN


def test_without_a_certificate_the_answer_is_http_401_and_a_sentence(secure: SecureNode) -> None:
    status, reply = post_with(secure, without_certificate())
    assert (status, reply["error"]["code"]) == (401, jsonrpc.UNAUTHENTICATED)
    assert reply["error"]["message"] == "no client certificate was presented"
    assert "keys/tls.pem" in reply["error"]["data"]["hint"]
    assert secure.node.calls == []


def test_a_certificate_of_an_unknown_root_does_not_get_through_tls_and_the_client_says_why(secure: SecureNode) -> None:
    with (
        secure.client("zz") as client,
        pytest.raises(TlsFailed, match=r"no CA it knows|refused the client cert") as told,
    ):
        client.node_version()
    assert "'CN=zz root CA', which no organisation of this network has registered" in str(told.value)
    assert "registered your organisation's CA" in told.value.fix
    assert secure.node.calls == []


def test_an_expired_certificate_is_named_with_its_field_and_the_fix(secure: SecureNode) -> None:
    with secure.client("hk", days=2) as client:
        client.node_version()
        secure.clock.step(days=3)
        error = refusal(client)
    assert (error.code, error.reason) == (jsonrpc.CERTIFICATE_EXPIRED, "E_CERT_EXPIRED")
    assert "client certificate 'CN=erp'" in error.message and "expired on 2026-03-03" in error.message
    assert "renew" in error.hint


def test_a_certificate_that_is_not_valid_yet_is_named_too(secure: SecureNode) -> None:
    secure.clock.step(days=-2)
    # The client goes by the same clock, and the server's certificate is as young.
    with secure.client("hk") as client, pytest.raises(TlsFailed, match="is valid from 2026-02-28"):
        client.node_version()
    status, reply = post_with(secure, secure.client_tls("hk").context)
    assert (status, reply["error"]["code"]) == (401, jsonrpc.UNAUTHENTICATED)
    assert "is valid from" in reply["error"]["message"] and "clock" in reply["error"]["data"]["hint"]


def test_time_is_the_nodes_and_never_openssls(secure: SecureNode) -> None:
    """The machine's clock is months away from these certificates, and nobody asks it."""
    with secure.client("hk", days=30) as client:
        assert client.node_version()
        secure.clock.step(days=29)
        assert client.node_version()


def test_tls_1_2_is_not_spoken(secure: SecureNode) -> None:
    context = without_certificate()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        post_with(secure, context)


# -- changes under a running listener --------------------------------------------------------------------------------


def test_a_revoked_caller_is_refused_on_the_connection_it_has_open(secure: SecureNode) -> None:
    with secure.client("hk") as client, secure.client("hk", "other") as spared:
        assert client.node_version() and spared.node_version()
        port = client._connection.sock.getsockname()  # type: ignore[union-attr]
        secure.update(trust(revoked=[certificate("hk", "erp")]))
        assert client._connection.sock.getsockname() == port  # type: ignore[union-attr]
        error = refusal(client)
        assert spared.node_version()
        again = refusal(client)  # on a new connection
    assert error.code == again.code == jsonrpc.REVOKED
    assert "certificate of erp.hk was revoked" in error.message and "replaced" in error.hint


def test_a_removed_organisation_is_refused_on_open_connections_and_kept_out_of_new_ones(secure: SecureNode) -> None:
    with secure.client("hk") as client:
        assert client.node_version()
        secure.update(trust("gz", "mo", "hq"))
        error = refusal(client)
        assert error.code == jsonrpc.UNAUTHENTICATED and "which no organisation" in error.message
        with pytest.raises(TlsFailed):
            client.node_version()


def test_an_added_root_counts_from_the_next_handshake_on(secure: SecureNode) -> None:
    with secure.client("mo") as other:
        assert other.node_version()
        with secure.client("zz") as client, pytest.raises(TlsFailed):
            client.node_version()
        secure.update(trust(*REGISTERED, "zz"))
        with secure.client("zz") as client:
            assert client.channel_list() == []
        assert other.node_version()  # on the connection it had


def test_a_renewed_server_certificate_is_shown_to_new_connections_and_old_ones_go_on(secure: SecureNode) -> None:
    def shown() -> bytes | None:
        context = secure.client_tls("hk").context
        with (
            socket.create_connection(("127.0.0.1", secure.running.port), 10) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return connection.getpeercert(binary_form=True)

    with secure.client("hk") as client:
        assert client.node_version()
        assert shown() == certificate("gz", "gz1").certificate
        renewed = certificate("gz", "gz1", serial=1)
        secure.renew(renewed)
        assert shown() == renewed.certificate
        assert client.node_version()


def test_a_certificate_or_root_that_cannot_be_used_changes_nothing(secure: SecureNode) -> None:
    mixed = replace(certificate("gz", "gz1"), private_key=certificate("hk", "erp").private_key)
    with pytest.raises(ConfigError, match="unusable"):
        secure.renew(mixed)
    damaged = replace(trust(), roots={"gz": (b"junk",)})
    with pytest.raises(ConfigError, match="unusable"):
        secure.update(damaged)
    with secure.client("hk") as client:
        assert client.node_version()


def test_a_caller_is_judged_once_for_each_trust_and_again_after_a_minute(secure: SecureNode) -> None:
    watched = trust()
    secure.update(watched)
    with secure.client("hk") as client:
        for _ in range(5):
            client.node_version()
        assert len(watched.judged) == 1
        secure.clock.step(seconds=VERDICT_AGE_MAX.total_seconds())
        client.node_version()
        assert len(watched.judged) == 2
        newer = trust()
        secure.update(newer)
        client.node_version()
        assert len(newer.judged) == 1


# -- the client's side -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meant", "text"),
    [
        (("hk", "hk1"), "the server is gz1.gz, not hk1.hk"),
        (("gz", "gz2"), "the server is gz1.gz, not gz2.gz"),
        (("hk", ""), "the server is gz1.gz, not a node of hk"),
    ],
)
def test_a_client_sends_nothing_to_another_node_than_the_one_it_means(
    secure: SecureNode, meant: tuple[str, str], text: str
) -> None:
    tls = secure.client_tls("hk", server=meant)
    with Client(secure.running.url, tls=tls) as client, pytest.raises(TlsFailed, match=text) as refused:
        client.tx_submit("trade", b"")
    assert not refused.value.sent

    async def ask() -> None:
        async with AsyncClient(secure.running.url, tls=tls) as client:
            await client.node_version()

    with pytest.raises(TlsFailed, match=text):
        asyncio.run(ask())
    assert secure.node.calls == []


def test_any_node_of_the_organisation_will_do_where_no_name_is_given(secure: SecureNode) -> None:
    with Client(secure.running.url, tls=secure.client_tls("hk", server=("gz", ""))) as client:
        assert client.node_version()


def test_a_server_of_an_unknown_root_is_refused_by_the_client(secure: SecureNode) -> None:
    tls = replace(secure.client_tls("hk"), trust=trust("hk", "mo"))
    with Client(secure.running.url, tls=tls) as client, pytest.raises(TlsFailed, match="certificate is refused"):
        client.node_version()


def test_the_asyncio_client_speaks_tls_and_explains_like_the_other(secure: SecureNode) -> None:
    async def ask(org: str) -> Any:
        async with AsyncClient(secure.running.url, tls=secure.client_tls(org)) as client:
            first = await client.channel_list()
            return first, await client.batch([("channel_list", []), ("net_peers", [])])

    listed, (again, refused) = asyncio.run(ask("hk"))
    assert listed == again == ["trade"]
    assert isinstance(refused, RpcError) and refused.code == jsonrpc.FORBIDDEN
    with pytest.raises(TlsFailed, match="zz root CA"):
        asyncio.run(ask("zz"))


def test_tls_and_addresses_must_fit_each_other(secure: SecureNode) -> None:
    with pytest.raises(TlsFailed, match="needs a client certificate"):
        Client("https://127.0.0.1:1")
    with pytest.raises(TlsFailed, match="no use without TLS"):
        AsyncClient("http://127.0.0.1:1", tls=secure.client_tls("hk"))
    with (
        running(node=FakeNode()) as plain,
        Client(f"https://127.0.0.1:{plain.port}", tls=secure.client_tls("hk")) as client,
        pytest.raises(TlsFailed, match="does not speak TLS"),
    ):
        client.node_version()
    with Client(f"http://127.0.0.1:{secure.running.port}") as client, pytest.raises(Unreachable):
        client.node_version()
    with Client("https://127.0.0.1:1", tls=secure.client_tls("hk")) as client, pytest.raises(Unreachable) as nobody:
        client.node_version()
    assert not isinstance(nobody.value, TlsFailed) and not nobody.value.sent


# -- the listener ----------------------------------------------------------------------------------------------------


def test_half_open_handshakes_are_cut_after_their_deadline() -> None:
    with secure_node(limits=Limits(receive_s=0.2)) as secure, secure.running.connect() as silent:
        assert is_cut(silent)


def test_half_open_handshakes_cannot_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "HANDSHAKES_PER_ADDRESS_MAX", 8)
    with secure_node(limits=Limits(receive_s=600)) as secure:
        silent = [secure.running.connect() for _ in range(20)]
        try:
            with secure.client("hk") as client:
                assert client.node_version()
            # The oldest gave way, long before their deadline.
            assert all(is_cut(connection) for connection in silent[:11])
        finally:
            for connection in silent:
                connection.close()


def test_stopping_ends_handshakes_under_way(secure: SecureNode) -> None:
    with secure.running.connect() as silent:
        secure.running.on_loop(secure.running.server.stop())
        assert is_cut(silent)
        with pytest.raises(ConnectionError):
            secure.running.connect()


def test_with_tls_the_listeners_own_address_is_an_allowed_host(secure: SecureNode) -> None:
    secure.running.on_loop(secure.running.server.stop())
    host, port = secure.running.on_loop(secure.running.server.start("127.0.0.2", 0, secure.tls))  # type: ignore[call-arg]
    with Client(f"https://{host}:{port}", tls=secure.client_tls("hk")) as client:
        assert client.node_version()


def test_connections_over_tls_are_counted_and_forgotten(secure: SecureNode) -> None:
    with secure.client("hk") as client:
        client.node_version()
        assert secure.running.server.gate.connections == 1  # type: ignore[union-attr]
    assert eventually(lambda: secure.running.server.gate.connections == 0)  # type: ignore[union-attr]
