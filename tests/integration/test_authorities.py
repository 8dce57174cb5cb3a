"""An organisation replaces its certificate authority by vote, on a network that runs and is restarted."""

from __future__ import annotations

import pytest
from network_kit import Load, Network, until
from test_revocation import at_home, links

from dawan_node.crypto.certificates import fingerprint
from dawan_node.node.home import Home, read_certificate

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def test_an_authority_is_replaced_by_vote_without_a_restart_and_survives_one(own_network: Network) -> None:
    network = own_network
    gz1, hk1, mo1, hq1 = (network.devnet.find(name) for name in ("gz1", "hk1", "mo1", "hq1"))
    home, made = network.devnet.home(mo1), Home(network.devnet.folder / "new-authority")
    old = home.authority_certificate

    def decide(proposal: str, channel: str) -> None:
        proposed = network.ask(mo1, "chain_head", channel)["height"]
        for node in (gz1, hk1, mo1):
            # What is committed at the one may be a moment away at the other.
            until(lambda node=node: network.ask(node, "chain_head", channel)["height"] >= proposed, 15, proposal)
            key = f"{node.org}-admin"
            at_home(network, node, "network", "vote", proposal, "--approve", "--key", key, "-c", channel)
        at_home(network, gz1, "network", "enact", proposal, "--key", "gz-admin", "-c", channel)

    with Load(network, (gz1,)) as load:
        at_home(network, mo1, "init", "--name", "authority", "--org", "mo", "--devnet", home_of=made)
        for channel in ("trade", "alliance"):
            both = (str(old), str(made.authority_certificate))
            at_home(network, mo1, "network", "propose-ca", *both, "--key", "mo-admin", "-c", channel)
            decide("ca-mo", channel)
        chain = network.devnet.folder / "mo1-chain.pem"
        at_home(network, mo1, "cert", "request")
        at_home(network, mo1, "cert", "issue", str(home.tls_request), "--out", str(chain), home_of=made)
        at_home(network, mo1, "cert", "install", str(chain), "--new-authority", passphrase=False)
        log = network.processes.log_file(mo1)
        until(lambda: "certificate_taken" in log.read_text(), 15, "the new certificate in use")
        (retired,) = home.retired_keys.glob("ca-*")
        assert (retired / "ca.key.json").exists() and not home.authority_key.exists(), "nothing is deleted"
        assert read_certificate(old) == read_certificate(made.authority_certificate)

        # The old authority leaves; who is linked under the new one stays, and every restart finds the way back.
        for channel in ("trade", "alliance"):
            only = str(made.authority_certificate)
            at_home(network, mo1, "network", "propose-ca", only, "--id", "mo-new", "--key", "mo-admin", "-c", channel)
            decide("mo-new", channel)
        others = (gz1, hk1, hq1)
        until(lambda: all("mo1" in links(network, node) for node in others), 60, "mo1 under its new authority")
        load.wait_for(20)
        for node in (mo1, hk1):
            network.processes.kill(node)
            network.processes.start(node)
            network.wait_answering(node)
        until(lambda: len(links(network, mo1)) == 3 and len(links(network, hk1)) == 3, 60, "links after the restarts")
        load.wait_for(20)
    network.agree()
    assert set(load.committed) <= set(network.all_transactions(mo1))
    assert fingerprint(read_certificate(home.tls_certificate)) != fingerprint(read_certificate(old))
