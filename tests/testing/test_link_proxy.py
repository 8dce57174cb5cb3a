"""The proxy does to bytes what it says and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dawan_node.testing.link_proxy import LinkProxy

DEADLINE_S = 10.0


@asynccontextmanager
async def echo_behind() -> AsyncIterator[tuple[LinkProxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through a proxy to a server that sends everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy = LinkProxy(f"{host}:{port}")
    host, _, port = (await proxy.start()).rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield proxy, reader, writer
    finally:
        writer.transport.abort()
        await proxy.stop()
        server.close()


async def silent(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Whether nothing comes for so long."""
    try:
        async with asyncio.timeout(seconds):
            return not await reader.read(1)
    except TimeoutError:
        return True


def test_a_healthy_link_changes_nothing_and_ends_when_either_side_ends() -> None:
    async def scenario() -> None:
        async with echo_behind() as (proxy, reader, writer):
            sent = bytes(range(256)) * 4_000
            writer.write(sent)
            assert await reader.readexactly(len(sent)) == sent
            writer.write_eof()
            assert await reader.read() == b""
            while proxy.open_connections:
                await asyncio.sleep(0.002)

    asyncio.run(scenario())


def test_a_delay_is_paid_once_each_way_and_keeps_the_order() -> None:
    async def scenario() -> None:
        async with echo_behind() as (proxy, reader, writer):
            proxy.forward.delay_s = proxy.backward.delay_s = 0.1
            loop = asyncio.get_running_loop()
            began = loop.time()
            for number in range(20):
                writer.write(bytes([number]))
                await asyncio.sleep(0.001)
            assert await reader.readexactly(20) == bytes(range(20))
            assert loop.time() - began >= 0.2

    asyncio.run(scenario())


def test_a_rate_is_not_exceeded_and_the_sender_is_held_back() -> None:
    async def scenario() -> None:
        async with echo_behind() as (proxy, reader, writer):
            proxy.forward.bytes_per_s = 8_000
            loop = asyncio.get_running_loop()
            began = loop.time()
            writer.write(bytes(4_000))
            await reader.readexactly(4_000)
            assert loop.time() - began >= 0.35

    asyncio.run(scenario())


def test_held_bytes_arrive_after_healing_and_swallowed_ones_never() -> None:
    async def scenario() -> None:
        async with echo_behind() as (proxy, reader, writer):
            proxy.forward.hold = True
            proxy.changed()
            writer.write(b"held")
            assert await silent(reader, 0.1)
            proxy.heal()
            assert await reader.readexactly(4) == b"held"
            proxy.backward.swallow = True
            proxy.changed()
            writer.write(b"gone")
            assert await silent(reader, 0.1)
            proxy.heal()
            writer.write(b"after")
            assert await reader.readexactly(5) == b"after"

    asyncio.run(scenario())


def test_one_byte_is_changed_once() -> None:
    async def scenario() -> None:
        async with echo_behind() as (proxy, reader, writer):
            proxy.forward.corrupt = True
            writer.write(b"abcde")
            assert await reader.readexactly(5) == b"abbde"
            writer.write(b"abcde")
            assert await reader.readexactly(5) == b"abcde"

    asyncio.run(scenario())


@pytest.mark.parametrize("reset", [False, True])
def test_connections_are_closed_or_reset_and_new_ones_refused(reset: bool) -> None:
    async def scenario() -> None:
        async with echo_behind() as (proxy, reader, writer):
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            proxy.refuse = True
            if reset:
                proxy.reset_all()
                with pytest.raises(ConnectionResetError):
                    await reader.read(1)
            else:
                proxy.close_all()
                assert await reader.read(1) == b""
            host, _, port = proxy.address.rpartition(":")
            late_reader, late_writer = await asyncio.open_connection(host, int(port))
            with pytest.raises(ConnectionResetError):
                await late_reader.read(1)
            late_writer.close()
            assert proxy.open_connections == 0

    asyncio.run(scenario())
