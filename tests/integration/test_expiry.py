"""Certificates expire while everything runs: nothing stops, everybody is told, and renewal needs no restart."""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from network_kit import CHANNEL, Load, Network, until

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.cli.main import cli
from dawan_node.crypto import authority, keystore
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.errors import DawanError
from dawan_node.node.home import read_certificate

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: What is left of the certificates that expire, and how far the clocks are moved.
DAYS = 20
AHEAD = "+21d"
AHEAD_S = 21 * 86_400


def issue_for(network: Network, node: DevnetNode, now: datetime, days: int) -> None:
    """Put another certificate for the same TLS key into the node's home, as its organisation's CA would issue it."""
    home = network.devnet.home(node)
    first = next(other for other in network.nodes if other.org == node.org)
    ca = network.devnet.home(first)
    secret = keystore.load(ca.authority_key, network.devnet.passphrase_file.read_bytes().strip()).secret
    issuer = CertifiedKey(read_certificate(ca.authority_certificate), secret)
    renewed = authority.renew(issuer, read_certificate(home.tls_certificate), node.org, now, days)
    new = home.tls_certificate.with_name("tls.pem.new")
    new.write_text(to_pem([renewed]))
    os.replace(new, home.tls_certificate)


def renew(network: Network, node: DevnetNode) -> None:
    """The organisation renews its node's certificate on its own machine, with its own authority, offline."""
    secret = str(network.devnet.passphrase_file)
    home = str(network.devnet.home(node).path)
    done = CliRunner().invoke(cli, ["cert", "renew", "--home", home, "--passphrase-file", secret])
    assert done.exit_code == 0, done.output


def move_clocks(network: Network) -> str:
    moved = CliRunner().invoke(cli, ["devnet", "clock", "--home", str(network.devnet.folder), AHEAD])
    assert moved.exit_code == 0, moved.output
    network.ahead_s = AHEAD_S
    return moved.stdout


def status_of(node: DevnetNode) -> tuple[int, str]:
    shown = CliRunner().invoke(cli, ["status", "--rpc", node.rpc_url])
    return shown.exit_code, shown.stdout


def metric(node: DevnetNode, name: str, **labels: str) -> float:
    with urllib.request.urlopen(f"{node.ops_url}/metrics", timeout=5) as page:  # noqa: S310 - a loopback URL of our own
        lines = page.read().decode().splitlines()
    for line in lines:
        if line.startswith(name) and all(f'{key}="{value}"' in line for key, value in labels.items()):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"{node.name} has no metric {name} {labels}")


def not_ready(node: DevnetNode) -> dict[str, str]:
    try:
        with urllib.request.urlopen(f"{node.ops_url}/readyz", timeout=5) as page:  # noqa: S310 - a loopback URL of our own
            report = json.load(page)
    except urllib.error.HTTPError as error:
        report = json.load(error)
    failing: dict[str, str] = report["failing"]
    return failing


def log_of(network: Network, node: DevnetNode) -> str:
    return network.processes.log_file(node).read_text()


def links(network: Network, node: DevnetNode) -> set[str]:
    try:
        return {peer["name"] for peer in network.ask(node, "net_peers")}
    except DawanError:
        return set()


def commits_of(network: Network, node: DevnetNode, since: int) -> list[dict[str, Any]]:
    """The commit certificate of every block of ``node`` after height ``since``."""
    with network.client(node) as client:
        height = client.chain_head(CHANNEL)["height"]
        return [client.chain_getBlock(CHANNEL, at)["commit"] for at in range(since + 1, height + 1)]


def grows(network: Network, nodes: tuple[DevnetNode, ...], blocks: int = 3) -> None:
    """Every one of ``nodes`` gets further blocks."""
    before = {node.name: network.head(node)[0] for node in nodes}
    until(
        lambda: all(network.head(node)[0] >= before[node.name] + blocks for node in nodes), 30, "blocks on every node"
    )


@pytest.fixture
def expiring(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Network]:
    """A network in which the nodes named by the test have DAYS left."""
    network = Network(tmp_path / "net", 4)
    for node in network.nodes:
        if node.name in request.param:
            issue_for(network, node, datetime.now(UTC), DAYS)
    try:
        network.start_all()
        yield network
    finally:
        network.processes.stop(network.nodes)


@pytest.mark.parametrize("expiring", [("mo1",)], indirect=True)
def test_one_certificate_expires_under_load_and_is_renewed_without_a_restart(expiring: Network) -> None:
    network = expiring
    gz1, hk1, mo1, hq1 = (network.devnet.find(name) for name in ("gz1", "hk1", "mo1", "hq1"))
    assert "expires on" in status_of(mo1)[1], "20 days are less than 30"
    pid = network.processes.pid(mo1)
    before = network.agree()
    with Load(network, (gz1, mo1)) as load:
        load.wait_for(20)
        assert "cannot go back" in move_clocks(network)

        # Everybody goes on, and everybody is told.
        load.wait_for(50)
        grows(network, network.nodes)
        until(lambda: "certificate_expired" in log_of(network, mo1), 10, "the line in the log")
        code, shown = status_of(mo1)
        assert code == 0, shown
        assert re.search(r" ! TLS certificate 'CN=mo1' .* expired on .*dawan-node cert renew", shown)
        ends = metric(mo1, "dawan_certificate_not_after_seconds", certificate="node mo1", org="mo")
        assert 0 < time.time() + AHEAD_S - ends < 2 * 86_400
        assert "cert renew" in not_ready(mo1)["certificate"]
        assert not_ready(gz1) == {}
        assert all(len(links(network, node)) == 3 for node in network.nodes), "links that are up stay up"

        # Who starts anew does not get in.
        network.processes.stop((hk1,))
        network.processes.start(hk1)
        network.wait_answering(hk1)
        until(lambda: {"gz1", "hq1"} <= links(network, hk1), 30, "hk1 linked to those whose certificates are valid")
        until(lambda: "expired" in log_of(network, hk1), 30, "hk1 saying why it has no link to mo1")
        assert "mo1" not in links(network, hk1)
        grows(network, network.nodes)

        # Renewed on the machine of mo; the process notices by itself.
        renew(network, mo1)
        took_s = until(lambda: "certificate_taken" in log_of(network, mo1), 10, "the new certificate in use")
        until(lambda: "mo1" in links(network, hk1), 30, "the link between hk1 and mo1")
        load.wait_for(50)
        grows(network, network.nodes)
    assert took_s < 5
    assert network.processes.pid(mo1) == pid, "mo1 was never restarted"
    assert metric(mo1, "dawan_certificate_renewals_total") == 1
    assert metric(mo1, "dawan_certificate_not_after_seconds", certificate="node mo1") > time.time() + 300 * 86_400
    assert not_ready(mo1) == {}
    assert "expire" not in status_of(mo1)[1]
    network.agree()
    signers = [set(commit["signers"]) for commit in commits_of(network, gz1, before)]
    assert sum("mo1" in signed for signed in signers) > len(signers) // 4, "mo1 signed all the time"
    assert len(set(load.committed)) == len(load.committed)
    assert set(load.committed) <= set(network.all_transactions(hq1)), "nothing acknowledged is lost"


@pytest.mark.parametrize("expiring", [("gz1", "hk1", "mo1", "hq1")], indirect=True)
def test_all_certificates_expired_and_all_nodes_restarted_is_mended_by_each_organisation_alone(
    expiring: Network,
) -> None:
    network = expiring
    with Load(network, network.nodes[:1]) as load:
        load.wait_for(20)
    height = network.agree()
    move_clocks(network)
    network.processes.stop(network.nodes)
    for node in network.nodes:
        network.processes.start(node)
    for node in network.nodes:
        network.wait_answering(node)
        until(lambda node=node: "dial_failed" in log_of(network, node), 30, f"{node.name} trying")  # type: ignore[misc]
    for node in network.nodes:
        assert links(network, node) == set()
        assert "cert renew" in not_ready(node)["certificate"]
        assert "cert renew" in log_of(network, node).rpartition("certificate_expired")[2]
        assert network.head(node)[0] == height

    pids = [network.processes.pid(node) for node in network.nodes]
    for node in network.nodes:
        renew(network, node)
    until(lambda: all(len(links(network, node)) == 3 for node in network.nodes), 60, "all links")
    network.commit()
    assert network.agree() > height
    assert [network.processes.pid(node) for node in network.nodes] == pids
    assert set(load.committed) <= set(network.all_transactions(network.nodes[-1]))
