"""``network verify``: does this home fit the consortium it is about to join?

Everything is recomputed from ``consortium.toml`` and the CA files; nothing that another party computed is believed.
No passphrase is needed: the public halves of the key files are enough.
"""

from __future__ import annotations

from datetime import datetime

from dawan_node.crypto import keystore
from dawan_node.crypto.certificates import NodeCertificate, check_authorities, validate_node_certificate
from dawan_node.errors import ConfigError, KeystoreError, OperatorError, UntrustedCertificate
from dawan_node.node.config import NodeSection
from dawan_node.node.consortium import Consortium, public_key_bytes
from dawan_node.node.home import Home, read_own_certificate


def verify_home(home: Home, node: NodeSection, consortium: Consortium, now: datetime) -> list[OperatorError]:
    """Every reason why peers would not have this node, none when all is well."""
    return [
        *check_genesis_files(home, consortium),
        *check_registered_authorities(consortium, now),
        *check_membership(home, node, consortium),
        *check_own_certificate(home, node, consortium, now),
    ]


def verify_start(home: Home, node: NodeSection, consortium: Consortium, now: datetime) -> list[OperatorError]:
    """Every reason why this node must not start.

    The same, but for certificates that have expired: nobody's forgotten renewal may keep another organisation's node
    from starting again, and a node whose own certificate expired waits for the new one while it runs (it has no links
    until then, is not ready, and says so).
    """
    return [
        *check_genesis_files(home, consortium),
        *check_registered_authorities(consortium, now, unless="expired"),
        *check_membership(home, node, consortium),
        *check_own_certificate(home, node, consortium, now, unless="expired"),
    ]


def check_genesis_files(home: Home, consortium: Consortium) -> list[OperatorError]:
    """The genesis files are what consortium.toml says they are."""
    found: list[OperatorError] = []
    for channel in consortium.channels:
        path = home.genesis_file(channel)
        expected = consortium.genesis(channel)
        try:
            same = path.read_bytes() == expected.encoded
        except OSError as error:
            found.append(
                ConfigError(
                    f"{path} cannot be read",
                    error.strerror or "unknown reason",
                    "Copy the whole folder that `network assemble` wrote to HOME/network.",
                )
            )
            continue
        if not same:
            found.append(
                ConfigError(
                    f"{path} is not the genesis of channel {channel}",
                    f"consortium.toml gives chain id 0x{expected.chain_id.hex()}",
                    "Ask the party that assembled the network for both files again, and compare with a third party.",
                )
            )
    return found


def check_registered_authorities(consortium: Consortium, now: datetime, *, unless: str = "") -> list[OperatorError]:
    """Every organisation's CA certificates are usable. ``unless``: a reason that does not count."""
    found: list[OperatorError] = []
    for org, certificates in consortium.roots.items():
        try:
            check_authorities(org, certificates, now)
        except UntrustedCertificate as error:
            if error.reason == unless:
                continue
            found.append(
                ConfigError(
                    f"the CA certificate of {org} is refused", str(error), "Let its owner make and hand over a new one."
                )
            )
    return found


def check_membership(home: Home, node: NodeSection, consortium: Consortium) -> list[OperatorError]:
    """The consortium lists this node under its organisation and with its key."""
    entry = consortium.node(node.name)
    if entry is None or entry.org != node.org:
        why = f"the consortium has it under {entry.org}" if entry else "the consortium has no such node"
        return [ConfigError(f"node {node.name} of {node.org}", why, "Correct [node] in node.toml, or the template.")]
    try:
        own = keystore.describe(home.node_key).public_key
    except KeystoreError as error:
        return [error]
    if own != public_key_bytes(entry.public_key):
        return [
            ConfigError(
                f"the key of node {node.name} is not the one in consortium.toml",
                f"this home holds 0x{own.hex()}, the consortium expects {entry.public_key}",
                "Assemble again with this home's network/party.toml, or use the home that holds that key.",
            )
        ]
    return []


def check_own_certificate(
    home: Home, node: NodeSection, consortium: Consortium, now: datetime, *, unless: str = ""
) -> list[OperatorError]:
    """Peers would accept this node's TLS certificate, and it is for its TLS key. ``unless``: as above."""
    path = home.tls_certificate
    try:
        judged = validate_node_certificate(read_own_certificate(home), consortium.roots, now)
    except ConfigError as error:
        return [error]
    except UntrustedCertificate as error:
        if error.reason == unless:
            return []
        return [
            ConfigError(
                f"peers would refuse {path}",
                str(error),
                f"Have the CA that consortium.toml lists for {node.org} issue it anew: dawan-node cert renew.",
            )
        ]
    if (judged.org, judged.name) != (node.org, node.name):
        return [
            ConfigError(
                f"{path} is another node's",
                f"it is of {judged.name} of {judged.org}, this node is {node.name} of {node.org}",
                "Put this node's own certificate there: dawan-node cert renew.",
            )
        ]
    return _check_key(home, judged)


def _check_key(home: Home, judged: NodeCertificate) -> list[OperatorError]:
    """The TLS key is the one the certificate is for."""
    try:
        held = keystore.describe(home.tls_key).public_key
    except KeystoreError as error:
        return [error]
    if held != judged.public_key:
        return [
            ConfigError(
                f"{home.tls_certificate} is not for the key in {home.tls_key.name}",
                "it certifies another public key, so no TLS connection could be made with it",
                "Put back the two that belong together, or issue one for this key: dawan-node cert renew.",
            )
        ]
    return []
