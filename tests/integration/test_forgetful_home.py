"""A validator's home put back as ``init`` made it finds its own votes on the chain, and only observes (U6)."""

from __future__ import annotations

import shutil

import pytest
from network_kit import CHANNEL, Network, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.errors import DawanError
from dawan_node.storage.files import make_private_directory
from dawan_node.storage.wal import Wal

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.extended]


def standing(network: Network, node: DevnetNode) -> tuple[str, str]:
    status = network.ask(node, "pbft_status", CHANNEL)
    return str(status["state"]), str(status["waiting_for"])


def wait_answering(network: Network, node: DevnetNode) -> None:
    """As the network's own, for a machine that does other things as well."""

    def look() -> bool:
        try:
            return bool(network.ask(node, "pbft_status", CHANNEL))
        except DawanError:
            return False

    until(look, 150, f"{node.name} answering")


def test_it_follows_serves_and_signs_nothing_and_says_what_to_do(own_network: Network) -> None:
    network = own_network
    gz1, hk1, mo1 = (network.devnet.find(name) for name in ("gz1", "hk1", "mo1"))
    network.processes.kill(hk1)
    for _ in range(3):  # of four, three are needed: none of these blocks can do without mo1
        network.commit(gz1)
    network.processes.start(hk1)
    wait_answering(network, hk1)
    network.processes.kill(mo1)
    home, log = network.devnet.home(mo1), network.processes.log_file(mo1)
    shutil.rmtree(home.data)
    make_private_directory(home.data)
    Wal.create(home.wal)

    network.processes.start(mo1)
    until(lambda: "OWN_KEY_ELSEWHERE" in log.read_text(), 60, "the forgotten vote to be found")
    wait_answering(network, mo1)
    until(lambda: standing(network, mo1)[0] == "observer", 30, "mo1 observing")
    until(lambda: "needs another key" in standing(network, mo1)[1], 60, "the reason")
    assert "network replace-validator" in log.read_text(), "the way out is printed"
    network.commit(gz1)
    network.agree()
    head = network.head(gz1)[0]
    assert head >= 4 and "mo1" not in network.ask(gz1, "chain_getBlock", CHANNEL, head)["commit"]["signers"]

    network.processes.kill(mo1)  # and now its log is as far as everybody's
    network.processes.start(mo1)
    wait_answering(network, mo1)
    network.commit(gz1)
    network.agree()
    assert standing(network, mo1)[0] == "observer"
    signers = network.ask(gz1, "chain_getBlock", CHANNEL, network.head(gz1)[0])["commit"]["signers"]
    assert "mo1" not in signers, "for good: a restart does not give it its voice back"
