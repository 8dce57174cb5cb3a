"""A whole node with ``tls = true``: real homes, real certificates, real service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import Devnet
from dawan_node.crypto.trust import Trust
from dawan_node.node import config as node_config
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import SystemClock
from dawan_node.node.home import unlock
from dawan_node.node.node import Node
from dawan_node.rpc.client import AsyncClient, RpcError
from dawan_node.rpc.client_tls import ClientTls

START_S = 20.0


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    return devnet_creation.create(tmp_path_factory.mktemp("tls") / "net", 1)


def run_with_tls(
    devnet: Devnet, scenario: Callable[[Node, Callable[[str], AsyncClient]], Coroutine[Any, Any, None]]
) -> None:
    """Run ``gz1`` as the daemon does; the scenario gets clients with the certificates of the other nodes."""
    passphrase = devnet.passphrase_file.read_bytes().strip()
    server = devnet.nodes[0]
    home = devnet.home(server)

    def client(name: str) -> AsyncClient:
        own = next(node for node in devnet.nodes if node.name == name)
        other = devnet.home(own)
        roots = consortium_file.load(other.consortium_file).roots
        tls = ClientTls(unlock(other, passphrase).tls, Trust(roots), server.org, server.name)
        return AsyncClient(f"https://{server.rpc}", tls=tls)

    async def main() -> None:
        config = node_config.load(home.config_file, flags={"rpc.tls": "true"})
        keys = unlock(home, passphrase)
        node = Node(config, home, keys, consortium_file.load(home.consortium_file), SystemClock())
        stop, started = asyncio.Event(), asyncio.Event()
        running = asyncio.create_task(node.run(stop, started.set))
        try:
            async with asyncio.timeout(START_S):
                await started.wait()
            await scenario(node, client)
        finally:
            stop.set()
            await running

    asyncio.run(main())


async def refused(answer: Coroutine[Any, Any, Any]) -> RpcError:
    with pytest.raises(RpcError) as error:
        await answer
    return error.value


def test_a_member_reads_its_channel_and_is_an_outsider_once_the_channel_says_so(devnet: Devnet) -> None:
    async def scenario(node: Node, client: Callable[[str], AsyncClient]) -> None:
        async with client("gz1") as own, client("hk1") as member:
            assert (await own.node_status())["peers"] == 0
            assert await own.net_peers() == []
            assert await member.channel_list() == ["trade", "alliance"]
            status = await member.node_status()
            assert (status["peers"], [row["channel"] for row in status["channels"]]) == (None, ["trade", "alliance"])
            assert (await member.chain_head("trade"))["height"] == 0
            assert {org["id"] for org in (await member.member_list("trade"))["orgs"]} == {"gz", "hk", "mo", "hq"}
            assert (await refused(member.pbft_status("trade"))).code == -32011
            missing = await refused(member.chain_head("trada"))

            node.channels["trade"].admission.active_orgs -= {"hk"}
            gone = await refused(member.chain_head("trade"))
            assert (gone.code, gone.message, gone.data) == (missing.code, "no channel trade", missing.data)
            assert missing.message == "no channel trada"
            assert await member.channel_list() == ["alliance"]
            assert (await own.chain_head("trade"))["height"] == 0

    run_with_tls(devnet, scenario)


@pytest.mark.extended
def test_what_members_hand_in_is_on_the_account_of_their_organisation_until_its_signature_is_checked(
    devnet: Devnet,
) -> None:
    async def scenario(node: Node, client: Callable[[str], AsyncClient]) -> None:
        admission, bearers = node.channels["trade"].admission, []
        take = admission.submit

        async def listen(envelopes: Sequence[bytes], bearer: str) -> Any:
            bearers.append(bearer)
            return await take(envelopes, bearer)

        admission.submit = listen  # type: ignore[method-assign]
        async with client("hk1") as member, client("gz1") as own:
            for caller in (member, own, member):
                assert (await refused(caller.tx_submit("trade", b"\x93"))).reason == "E_MALFORMED"
        assert bearers == ["organisation hk", "organisation gz", "organisation hk"]

    run_with_tls(devnet, scenario)
