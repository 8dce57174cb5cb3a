"""Validators are re-keyed, added and removed on a network that runs, with the commands of docs/rekey.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from network_kit import CHANNEL, Load, Network, until
from test_revocation import at_home, links

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.errors import DawanError
from dawan_node.node.consortium import Node

pytestmark = [pytest.mark.processes, pytest.mark.slow]

CHANNELS = ("trade", "alliance")


def make_home(network: Network, label: str, name: str, org: str) -> DevnetNode:
    """A new home for node ``name`` of ``org`` in folder ``label``: key, log and a certificate of its authority."""
    (made,) = devnet_creation._with_ports([Node(name=label, org=org)])
    first = network.devnet.find(f"{org}1")
    authority = network.devnet.home(first).authority_key.parent
    options = ["--listen", made.p2p, "--rpc-listen", made.rpc, "--ops-listen", made.ops, "--ca", str(authority)]
    home = network.devnet.home(made)
    at_home(network, first, "init", "--name", name, "--org", org, "--devnet", *options, home_of=home)
    return made


def decide(network: Network, proposal: str, channel: str, through: DevnetNode) -> str:
    """gz, hk and hq approve and hq enacts, all by the node ``through``; what enacting printed."""
    rpc = ("-c", channel, "--rpc", through.rpc_url)
    for name in ("gz1", "hk1", "hq1"):
        node = network.devnet.find(name)
        at_home(network, node, "network", "vote", proposal, "--approve", "--key", f"{node.org}-admin", *rpc)
    return at_home(network, node, "network", "enact", proposal, "--key", "hq-admin", *rpc)


@pytest.fixture
def further(own_network: Network) -> Iterator[list[DevnetNode]]:
    """Nodes beside those of the network that a test starts; stopped whatever happens."""
    nodes: list[DevnetNode] = []
    yield nodes
    own_network.processes.stop(tuple(nodes))


def state(network: Network, node: DevnetNode, channel: str = CHANNEL) -> str:
    try:
        return str(network.ask(node, "pbft_status", channel)["state"])
    except DawanError as error:
        return str(error)


def test_validators_get_other_keys_join_and_leave_by_vote_while_payments_go_on(
    own_network: Network, further: list[DevnetNode]
) -> None:
    """One network for the whole story, because starting it takes longer than any chapter."""
    network = own_network
    hk1 = network.devnet.find("hk1")
    with Load(network, (hk1,), pause_s=0.05) as load:
        load.wait_for(10)
        mo1 = replace_the_key_of_mo1(network, further, load)
        gz2 = add_gz2_and_remove_mo1(network, further, load)
    network.assert_kept(load.committed, (network.devnet.find("gz1"), hk1, mo1, gz2))


def replace_the_key_of_mo1(network: Network, further: list[DevnetNode], load: Load) -> DevnetNode:
    """It loses its log, observes, and votes again from a new home."""
    hk1, mo1 = network.devnet.find("hk1"), network.devnet.find("mo1")
    network.processes.kill(mo1)
    shutil.rmtree(network.devnet.home(mo1).wal)
    network.processes.start(mo1)
    network.wait_answering(mo1)
    until(lambda: state(network, mo1) == "observer", 20, "mo1 observing")
    until(lambda: "needs another key" in network.ask(mo1, "pbft_status", CHANNEL)["waiting_for"], 20, "the reason")

    new = make_home(network, "mo1-new", "mo1", "mo")
    home, files = network.devnet.home(new), str(network.devnet.home(mo1).network)
    at_home(network, mo1, "network", "validator-request", "--from", files, home_of=home)
    request = str(home.validator_request_file)
    shown = at_home(network, mo1, "network", "replace-validator", request, "--key", "mo-admin", "--rpc", hk1.rpc_url)
    assert "n = 4, f = 1, quorum = 3, live = 3" in shown, shown
    # The new home may start before anybody voted; it waits, and nobody talks to it.
    further.append(new)
    network.processes.start(new)
    network.wait_answering(new)
    assert state(network, new) == "observer" and links(network, new) == set()
    assert "own_key_waits" in network.processes.log_file(new).read_text()
    for channel in CHANNELS:
        decide(network, "rekey-mo1", channel, hk1)
    until(lambda: all(state(network, new, each) == "normal" for each in CHANNELS), 30, "the vote of the new key")
    until(lambda: links(network, new) == {"gz1", "hk1", "hq1"}, 20, "links of the new home")
    wait_signed(network, "mo1", network.head(hk1)[0], load)
    # The old home is nobody any more: it has no link, no vote, and its log says why.
    assert (links(network, mo1), state(network, mo1)) == (set(), "observer")
    old_log = network.processes.log_file(mo1)
    until(lambda: "the key of a validator changes by vote" in old_log.read_text(), 20, "the refusal")
    network.processes.stop((mo1,))
    terms = network.ask(hk1, "module_query", CHANNEL, "governance", "validators", {"validator": "mo1"}, 10)["items"]
    assert [term["ended"] for term in terms] == ["replaced", ""]
    assert set(network.ask(hk1, "chain_getBlock", CHANNEL, 1)["commit"]["signers"]) <= {"gz1", "hk1", "mo1", "hq1"}
    return new


def add_gz2_and_remove_mo1(network: Network, further: list[DevnetNode], load: Load) -> DevnetNode:
    """A node that observed before votes from the block after the vote; who left follows on."""
    gz1, hk1 = network.devnet.find("gz1"), network.devnet.find("hk1")
    (mo1,) = further
    gz2 = make_home(network, "gz2", "gz2", "gz")
    home, files = network.devnet.home(gz2), network.devnet.home(gz1).network
    rpc = ("-c", CHANNEL, "--rpc", hk1.rpc_url)
    at_home(network, gz2, "network", "join-request", str(files / "consortium.toml"), "--channel", CHANNEL)
    at_home(network, gz2, "network", "verify", "--from", str(files), passphrase=False)
    at_home(network, gz2, "network", "validator-request", "--channel", CHANNEL)
    node = {"name": "gz2", "suite": "ed25519", "public_key": public_key(home.path), "addresses": [gz2.p2p]}
    for channel in CHANNELS:  # the same on both: a node's name and key mean one thing on all channels
        args = ("--args", json.dumps(node), "--key", "gz-admin", "-c", channel)
        at_home(network, gz1, "tx", "send", "governance", "register_node", *args)
    further.append(gz2)
    network.processes.start(gz2)
    until(lambda: "gz2" in links(network, hk1), 30, "a link with gz2")
    until(lambda: network.head(gz2)[0] >= network.head(hk1)[0] - 20, 60, "gz2 up to date")
    # What hk1 heard of gz2, not what gz2 is, counts for the command; it says so once a second.
    until(lambda: behind(network, hk1, "gz2") <= 20, 30, "hk1 knowing it")
    request = str(home.validator_request_file)
    shown = at_home(network, gz1, "network", "add-validator", request, "--key", "gz-admin", "--rpc", hk1.rpc_url)
    assert "after  n = 5, f = 1, quorum = 4, live = 5" in shown, shown
    decide(network, "add-gz2", CHANNEL, hk1)
    until(lambda: state(network, gz2) == "normal", 30, "the vote of gz2")
    at_home(network, gz1, "network", "remove-validator", "mo1", "--key", "gz-admin", *rpc)
    decide(network, "remove-mo1", CHANNEL, hk1)
    until(lambda: state(network, mo1) == "observer", 20, "mo1 observing")
    wait_signed(network, "gz2", network.head(hk1)[0], load)
    assert set(network.ask(mo1, "channel_get", CHANNEL)["validators"]) == {"gz1", "gz2", "hk1", "hq1"}
    assert "no validator any more" in network.ask(mo1, "pbft_status", CHANNEL)["waiting_for"]
    return gz2


def wait_signed(network: Network, name: str, above: int, load: Load) -> None:
    """Until ``name`` is among those whose votes decided a block above ``above``, while clients go on."""
    hk1, seen = network.devnet.find("hk1"), above
    while True:
        load.wait_for(1)
        for at in range(seen + 1, network.head(hk1)[0] + 1):
            seen = at
            if name in network.ask(hk1, "chain_getBlock", CHANNEL, at)["commit"]["signers"]:
                return
        assert seen < above + 2_000, f"{name} signed none of 2,000 blocks"


def behind(network: Network, node: DevnetNode, name: str) -> int:
    (peer,) = [peer for peer in network.ask(node, "net_peers") if peer["name"] == name]
    return int(peer["behind"][CHANNEL])


def public_key(home: Path) -> str:
    from dawan_node.crypto import keystore

    return "0x" + keystore.describe(home / "keys" / "node.key.json").public_key.hex()
