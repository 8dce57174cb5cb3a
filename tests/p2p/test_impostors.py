"""A handshake played again, passed on or weakened, over real TLS (reliability.md row E5)."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from dawan_node.crypto.authority import issue_node_certificate
from dawan_node.crypto.certificates import CertifiedKey, fingerprint, load_into_context
from dawan_node.errors import NetworkError
from dawan_node.p2p.handshake import (
    PROTOCOL_VERSION,
    Challenge,
    Connection,
    Handshake,
    LocalNode,
    Refusal,
    Refused,
    decode_control,
)
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import parse_address
from dawan_node.p2p.tls import tls_contexts
from dawan_node.p2p.transport import LinkSettings, Stream, accept_stream, open_stream
from tests.p2p.loopback import (
    TRADE,
    Loopback,
    address,
    authority,
    certificate,
    entry,
    identity,
    last_words,
    trust,
    until,
    views,
)


async def connect(network: Network, tls: CertifiedKey) -> Stream:
    host, port = parse_address(address(network))
    return await open_stream(host, port, tls_contexts(tls, trust().roots), LinkSettings())


async def honest_hello(stream: Stream) -> bytes:
    """The hello that hk1 itself sends on this connection, which then breaks off."""
    who = identity("hk1")
    handshake = Handshake(
        LocalNode(who.network, who.name, who.org, who.role, who.key, who.software, os.urandom(16)),
        Connection(fingerprint(who.tls.certificate), fingerprint(stream.certificate), "gz", "gz1"),
        os.urandom(32),
        [TRADE],
        lambda name: entry(name).id,
    )
    hello = handshake.receive(await stream.read_control())
    assert hello is not None
    return hello


@pytest.mark.parametrize(
    "own_challenge", [True, False], ids=["a challenge of its own", "the node's own challenge back"]
)
def test_a_recorded_handshake_opens_nothing_even_with_the_certificate_it_was_made_for(own_challenge: bool) -> None:
    # Somebody who has hk1's TLS key and has read a whole handshake of it, but does not have its node key.
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1")])
            first = await connect(gz, certificate("hk", "hk1"))
            recorded = await honest_hello(first)
            first.abort()
            again = await connect(gz, certificate("hk", "hk1"))
            theirs = await again.read_control()
            await again.send_control(Challenge(PROTOCOL_VERSION, bytes(32), 0).encode() if own_challenge else theirs)
            await again.send_control(recorded)
            told = [word for word in await last_words(again) if isinstance(word, Refused)]
            assert [word.refusal for word in told] == [Refusal.BINDING]
            assert "it was recorded earlier" in told[0].text
            assert gz_saw.up == []

    asyncio.run(scenario())


RELAYS = {
    "another organisation's node": (certificate("mo", "mo1"), Refusal.ORGANISATION),
    "another node of the organisation": (certificate("hk", "hk2"), Refusal.NAME),
    "a second certificate in the node's name": (
        issue_node_certificate(authority("hk"), "hk", "hk1", [], datetime.now(UTC)),
        Refusal.BINDING,
    ),
}


@pytest.mark.parametrize(("relay", "refusal"), RELAYS.values(), ids=RELAYS.keys())
def test_a_member_between_two_nodes_cannot_pass_their_handshakes_on(
    relay: CertifiedKey, refusal: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, gz_saw = await net.start("gz1", [entry("hk1"), entry("mo1")])
            async with Relay(gz, relay) as between:
                hk, hk_saw = await net.start("hk1", [entry("gz1", between), entry("mo1")])
                await until(lambda: any(refusal == each for each in refusals(caplog, by_peer=False)))
                await until(lambda: views(hk)["gz1"].last_failure)
                assert gz_saw.up == hk_saw.up == []

    with caplog.at_level(logging.WARNING, "dawan_node.p2p"):
        asyncio.run(scenario())


def refusals(caplog: pytest.LogCaptureFixture, *, by_peer: bool) -> list[Refusal]:
    """What the listeners made of those who came."""
    fields = [each.__dict__["fields"] for each in caplog.records if each.getMessage() == "handshake_refused"]
    return [each["refusal"] for each in fields if each["by_peer"] is by_peer]


class Relay:
    """Listens with ``tls`` and passes every control frame on to ``network`` and back."""

    def __init__(self, network: Network, tls: CertifiedKey) -> None:
        self._network = network
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> str:
        loop = asyncio.get_running_loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._accepting = loop.create_task(self._accept())
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        tasks = [self._accepting, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            near = await accept_stream(connection, tls_contexts(self._tls, trust().roots), LinkSettings())
            far = await connect(self._network, self._tls)
            for one, other in ((near, far), (far, near)):
                self._tasks.add(loop.create_task(pass_on(one.read_control, other.send_control, (one, other))))


async def pass_on(
    read: Callable[[], Awaitable[bytes]], send: Callable[[bytes], Awaitable[None]], ends: tuple[Stream, Stream]
) -> None:
    try:
        while True:
            payload = await read()
            decode_control(payload)
            await send(payload)
    except (NetworkError, OSError):
        pass  # one of the two has had enough
    finally:
        for end in ends:
            await end.close()


def test_a_listener_that_offers_only_tls_1_2_is_not_talked_to() -> None:
    async def scenario() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_into_context(context, certificate("gz", "gz1"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        heard: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read())
            writer.close()

        async with Loopback() as net, await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context) as server:
            hk, hk_saw = await net.start("hk1", [entry("gz1", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")])
            await until(lambda: views(hk)["gz1"].last_failure)
            assert "hung up before TLS 1.3 was agreed" in views(hk)["gz1"].last_failure
            assert (hk_saw.up, heard) == ([], [])

    asyncio.run(scenario())


def test_no_session_can_be_resumed_without_showing_a_certificate() -> None:
    async def scenario() -> None:
        async with Loopback() as net:
            gz, _ = await net.start("gz1", [entry("hk1")])
            stream = await connect(gz, certificate("hk", "hk1"))
            await stream.read_control()  # a ticket would have come before it
            connection = stream.writer.get_extra_info("ssl_object")
            assert not connection.session_reused
            assert not connection.session.has_ticket
            stream.abort()

    asyncio.run(scenario())
