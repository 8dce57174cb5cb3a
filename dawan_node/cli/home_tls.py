"""TLS of a command that talks to a node: the home's certificate, and which node must be at the other end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dawan_node.cli.options import load_home, obtain_passphrase
from dawan_node.errors import ConfigError

if TYPE_CHECKING:
    from dawan_node.node.home import Home
    from dawan_node.rpc.client_tls import ClientTls


def home_tls(folder: Path, passphrase_file: Path | None, node: str | None, *, is_own_node: bool) -> ClientTls:
    """What a client in this home needs. ``node``: NAME.ORG or ORG, the node at the other end.

    Without ``node`` it is the home's own node when the address came from its node.toml (``is_own_node``), else any node
    of the home's organisation. Raises ConfigError or KeystoreError.
    """
    from dawan_node.crypto import keystore
    from dawan_node.crypto.certificates import CertifiedKey
    from dawan_node.crypto.revocation import RevocationRule
    from dawan_node.node import consortium
    from dawan_node.node.clock import node_clock
    from dawan_node.node.config import load
    from dawan_node.node.home import read_certificate
    from dawan_node.node.network_trust import network_trust
    from dawan_node.node.verification import home_roots
    from dawan_node.rpc.client_tls import ClientTls

    home: Home = load_home(folder)
    config = load(home.config_file, environment=os.environ)
    home = config.home(folder)
    clock = node_clock(home.data, faults=config.devnet.faults)
    roots = home_roots(home, consortium.load(home.consortium_file), config.node.org)
    trust, troubles = network_trust(home, roots, RevocationRule(config.p2p.revocation), clock.now())
    for path, why in troubles:
        raise ConfigError(
            f"{path} cannot be used", why, "Ask its organisation for the list, and put the whole file there."
        )
    if not home.tls_certificate.exists():
        raise ConfigError(
            "there is no certificate to present to the node",
            f"{home.tls_certificate} is missing",
            "Take a home whose organisation has issued one, or have this one's certificate issued.",
        )
    certificate = read_certificate(home.tls_certificate)
    secret = keystore.load(home.tls_key, obtain_passphrase(passphrase_file, prompt="Passphrase of the TLS key")).secret
    name, org = _server(node) if node else (config.node.name if is_own_node else "", config.node.org)
    return ClientTls(CertifiedKey(certificate, secret), trust, org, name, clock.now)


def _server(text: str) -> tuple[str, str]:
    """Name (empty: any) and organisation of NAME.ORG or ORG. Raises ConfigError."""
    from dawan_node.primitives.names import is_label

    name, _, org = text.rpartition(".")
    if not is_label(org) or (name and not is_label(name)) or text.startswith("."):
        raise ConfigError(
            f"{text!r} is not a node", "a node is NAME.ORG, such as gz1.gz", "Give --rpc-node NAME.ORG, or ORG alone."
        )
    return name, org
