"""Revocation lists that arrive while everything runs: whoever is revoked is cut off, and the rule is the operator's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from network_kit import Load, Network, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.cli.main import cli
from dawan_node.errors import DawanError
from dawan_node.node.home import Home

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: Reliability.md row E2: from the list to the cut.
CUT_S = 60


def at_home(
    network: Network,
    node: DevnetNode,
    *command: str,
    home_of: Home | None = None,
    passphrase: bool = True,
    code: int = 0,
) -> str:
    """Run a command as the operator of ``node``, or of the folder ``home_of``; what it printed."""
    secret = ["--passphrase-file", str(network.devnet.passphrase_file)] if passphrase else []
    home = str((home_of or network.devnet.home(node)).path)
    done = CliRunner().invoke(cli, [*command, "--home", home, *secret])
    assert done.exit_code == code, done.output
    return done.output


def hand_over(network: Network, giver: DevnetNode, takers: tuple[DevnetNode, ...]) -> None:
    """Copy an organisation's list to others, as a file that is not written in one step."""
    source = network.devnet.home(giver).keys / "ca" / "crl.pem"
    for taker in takers:
        target = network.devnet.home(taker).revocation_file(giver.org)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def links(network: Network, node: DevnetNode) -> set[str]:
    try:
        return {peer["name"] for peer in network.ask(node, "net_peers")}
    except DawanError:
        return set()


def test_a_list_published_on_a_channel_reaches_every_node_at_once(own_network: Network) -> None:
    network = own_network
    gz1, hk1, mo1, hq1 = (network.devnet.find(name) for name in ("gz1", "hk1", "mo1", "hq1"))
    others = (gz1, hk1, hq1)
    at_home(network, mo1, "cert", "revoke", "mo1", "--reason", "keyCompromise")
    # Through another node: with the first channel's block nobody talks to mo1 any more.
    at_home(network, mo1, "cert", "publish", "--key", "mo-admin", "--rpc", gz1.rpc_url)
    until(lambda: all("mo1" not in links(network, node) for node in others), CUT_S, "mo1 cut off")
    assert not list(network.devnet.home(gz1).path.rglob("*.crl.pem")), "no file was handed to anybody"
    network.commit(gz1)
    network.processes.kill(hq1)
    network.processes.start(hq1)
    network.wait_answering(hq1)
    until(lambda: links(network, hq1) == {"gz1", "hk1"}, 30, "the restarted node knows it from its own state")
    # It was two votes short of nothing: gz1, hk1 and hq1 are a quorum.
    network.commit(gz1)


@pytest.fixture
def stopped_network(tmp_path: Path) -> Iterator[Network]:
    network = Network(tmp_path / "net", 4)
    try:
        yield network
    finally:
        network.processes.stop(network.nodes)


def test_a_revoked_node_is_cut_off_while_the_others_commit_and_comes_back_with_a_new_certificate(
    own_network: Network,
) -> None:
    network = own_network
    gz1, hk1, mo1, hq1 = (network.devnet.find(name) for name in ("gz1", "hk1", "mo1", "hq1"))
    others = (gz1, hk1, hq1)
    with Load(network, (gz1,)) as load:
        at_home(network, mo1, "cert", "revoke", "mo1", "--reason", "keyCompromise")
        hand_over(network, mo1, others)
        until(lambda: all("mo1" not in links(network, node) for node in others), CUT_S, "mo1 cut off")
        load.wait_for(20)
        assert all(links(network, node) >= {other.name for other in others} - {node.name} for node in others)

        at_home(network, mo1, "cert", "renew")
        until(lambda: all("mo1" in links(network, node) for node in others), CUT_S, "mo1 back")
        load.wait_for(20)
    network.agree()
    assert set(load.committed) <= set(network.all_transactions(mo1))


def test_under_the_hard_rule_nobody_is_let_in_without_a_current_list(stopped_network: Network) -> None:
    network = stopped_network
    gz1, *others = network.nodes
    config = network.devnet.home(gz1).config_file
    config.write_text(config.read_text().replace("[p2p]\n", '[p2p]\nrevocation = "hard"\n'))
    for node in network.nodes:
        network.processes.start(node)
    for node in network.nodes:
        network.wait_answering(node)
    until(lambda: all(len(links(network, node)) == 2 for node in others), 30, "links among the others")
    log = network.processes.log_file(gz1)
    until(lambda: "no revocation list of" in log.read_text(), 30, "the reason in the log")
    assert links(network, gz1) == set()
    for node in others:
        at_home(network, node, "cert", "crl")
        hand_over(network, node, (gz1,))
    until(lambda: len(links(network, gz1)) == 3, 60, "links with everybody whose list is there")
