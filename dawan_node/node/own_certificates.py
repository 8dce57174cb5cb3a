"""This home's TLS certificate over the years: requested, issued, installed, renewed; always judged before it is used.

Two ways lead to a certificate. A home that runs its organisation's authority issues for itself and others. A home
whose authority is elsewhere writes a request, has it signed there, and installs what comes back. Either way the new
certificate is judged as a peer would judge it before ``keys/tls.pem`` is replaced, in one step: a running node that
reads it finds the old or the new one. The TLS key normally stays, so a running node can take the new certificate over
without its passphrase; a new key needs a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from dawan_node.crypto import authority, keystore
from dawan_node.crypto.authority import CertificateRequest
from dawan_node.crypto.certificates import (
    CERTIFICATE_BYTES_MAX,
    CertifiedKey,
    NodeCertificate,
    check_authorities,
    fingerprint,
    is_self_signed,
    public_key_of,
    to_pem,
)
from dawan_node.crypto.keystore import Cost, SecretKind
from dawan_node.crypto.revocation import RevocationRule
from dawan_node.crypto.trust import Trust
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node import consortium as consortium_file
from dawan_node.node.config import NodeSection
from dawan_node.node.home import Home, read_certificates, read_own_certificate
from dawan_node.node.key_rotation import retire, switch
from dawan_node.node.network_trust import network_trust
from dawan_node.node.own_authority import AuthorityFolder
from dawan_node.node.public_files import replace_files
from dawan_node.node.verification import known_roots, own_request

_ASK: Final = "Run `dawan-node cert request`, have the request signed, then `cert install`."


@dataclass(frozen=True, slots=True)
class Issued:
    """A node certificate that was made, DER, and what the rules say it is."""

    certificate: bytes
    judged: NodeCertificate


def authority_folder(home: Home, org: str) -> AuthorityFolder:
    """``keys/ca`` of a home."""
    return AuthorityFolder(home.authority_key.parent, org)


def write_request(home: Home, node: NodeSection, hosts: Sequence[str], passphrase: bytes) -> Path:
    """Write the request for a certificate of this home's TLS key to ``keys/tls.csr.pem``.

    ``hosts`` are the names or IP addresses the node is reached at. Raises KeystoreError, ConfigError.
    """
    key = keystore.load(home.tls_key, passphrase).secret
    try:
        request = authority.request_for(key, node.org, node.name, hosts)
    except UntrustedCertificate as error:
        raise ConfigError(
            f"{home.tls_key} cannot be used", str(error), "Make a new one: cert renew --new-key."
        ) from None
    replace(home.tls_request, request_pem(request))
    return home.tls_request


def request_pem(request: bytes) -> bytes:
    """A request (DER) as PEM."""
    return x509.load_der_x509_csr(request).public_bytes(Encoding.PEM)


def read_request(path: Path, org: str) -> tuple[bytes, CertificateRequest]:
    """A request file, PEM or DER, as DER and as what it asks for. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(2 * CERTIFICATE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", error.strerror or "unknown reason", "Check the path.") from None
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            data = x509.load_pem_x509_csr(data).public_bytes(Encoding.DER)
        return data, authority.read_request(data, org)
    except (UntrustedCertificate, ValueError, TypeError) as error:
        raise ConfigError(
            f"the request {path} is refused", str(error), "Ask its owner for a new one: cert request."
        ) from None


def issue(folder: AuthorityFolder, request: bytes, passphrase: bytes, now: datetime, days: int) -> Issued:
    """Certify a checked request (DER) with the authority in ``folder``, and write down that it was.

    Raises ConfigError, KeystoreError.
    """
    with folder.unlocked(passphrase) as signing:
        return _certify(folder, signing, request, now, days)


def install(
    home: Home,
    node: NodeSection,
    chain: Path,
    now: datetime,
    *,
    unregistered: bool = False,
    new_authority: bool = False,
) -> Issued:
    """Take the certificate in ``chain`` (PEM) in as this node's own; nothing is written unless all of it is right.

    It must be for this home's TLS key and this node. Authorities beside it go to ``keys/ca/ca.pem`` where there is
    none; where there is one, that one judges. ``unregistered`` installs a certificate that the files in
    HOME/network do not accept, for an authority that was registered on the channels since. ``new_authority`` does the
    same and takes the authorities in ``chain`` for those of ``keys/ca``, which goes to ``keys/retired`` with all that
    is in it. Interrupted anywhere it can be called again and finishes. Raises ConfigError.
    """
    certificates = [x509.load_der_x509_certificate(der) for der in read_certificates(chain)]
    own_key = keystore.describe(home.tls_key).public_key
    try:
        leaves = [certificate for certificate in certificates if public_key_of(certificate) == own_key]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{chain} is refused", f"a key in it cannot be read: {error}", "Ask for it again.") from None
    if len(leaves) != 1:
        raise ConfigError(
            f"{chain} is not for this home",
            f"{len(leaves)} of its certificates are for the key in {home.tls_key}",
            "Install the answer to this home's own request: cert request.",
        )
    leaf = leaves[0].public_bytes(Encoding.DER)
    brought = _root_first([certificate for certificate in certificates if certificate is not leaves[0]])
    ca_file = home.authority_certificate
    keeps = ca_file.exists() and not new_authority
    authorities = read_certificates(ca_file) if keeps else brought
    try:
        check_authorities(node.org, authorities, now)
        judged = Trust({node.org: authorities}).judge(leaf, now)
    except UntrustedCertificate as error:
        source = ca_file if keeps else chain
        raise ConfigError(
            f"{chain} is refused under the CA certificates in {source}",
            str(error),
            "The file must hold the node's certificate and, the first time, its authorities up to the root; where the "
            "organisation replaced its authority by vote: --new-authority.",
        ) from None
    _require_own(judged, node, chain)
    if not unregistered and not new_authority:
        _require_registered(home, leaf, now)
    if not keeps and ca_file.exists() and read_certificates(ca_file) != authorities:
        _retire_authority(home)
    if not ca_file.exists():
        keystore.make_private_folder(ca_file.parent)
        replace(ca_file, to_pem(authorities).encode())
    replace(home.tls_certificate, to_pem([leaf]).encode())
    home.tls_request.unlink(missing_ok=True)
    return Issued(leaf, judged)


def _retire_authority(home: Home) -> None:
    """Put ``keys/ca`` away under the fingerprint of its root; nothing of it is deleted."""
    folder = home.authority_certificate.parent
    root = read_certificates(home.authority_certificate)[0]
    keystore.make_private_folder(home.retired_keys)
    name = f"ca-{fingerprint(root).hex()[:16]}"
    earlier = len(list(home.retired_keys.glob(f"{name}*")))  # an authority may have come back, and gone again
    folder.rename(home.retired_keys / (f"{name}-{earlier + 1}" if earlier else name))


def renew(home: Home, node: NodeSection, passphrase: bytes, now: datetime, days: int) -> Issued:
    """A new certificate for the same TLS key and names, by this home's own authority, in place of the old one.

    Raises ConfigError, KeystoreError; the old certificate then stays.
    """
    folder = authority_folder(home, node.org)
    folder.require_key(_ASK)
    old = read_own_certificate(home)
    if public_key_of(x509.load_der_x509_certificate(old)) != keystore.describe(home.tls_key).public_key:
        raise ConfigError(
            f"{home.tls_certificate} is not for the key in {home.tls_key.name}",
            "a change of the key was interrupted, or one of the files is another home's",
            "Run `cert renew --new-key` to finish it.",
        )
    with folder.unlocked(passphrase) as signing:
        try:
            made = authority.renew(signing, old, node.org, now, days)
        except UntrustedCertificate as error:
            raise ConfigError("no certificate was issued", str(error), _ASK) from None
        judged = _judge(folder, made, now)
        _require_own(judged, node, home.tls_certificate)
        folder.record_issued(made, now)
        replace(home.tls_certificate, to_pem([made]).encode())
    return Issued(made, judged)


def renew_key(
    home: Home, node: NodeSection, hosts: Sequence[str], passphrase: bytes, now: datetime, days: int
) -> Issued:
    """A new TLS key with a certificate of its own; the old key goes to ``keys/retired``.

    Interrupted anywhere it can be called again and finishes. Raises ConfigError, KeystoreError.
    """
    folder = authority_folder(home, node.org)
    folder.require_key(_ASK)
    cost = keystore.PRODUCTION
    if home.tls_key.exists():
        # `run` opens all keys with one passphrase; and a new key costs as much to guess as the old one.
        cost = keystore.load(home.tls_key, passphrase).info.cost
    with folder.unlocked(passphrase) as signing:
        pending = home.pending_keys / home.tls_key.name
        if not pending.exists():
            store_tls_key(pending, ec.generate_private_key(ec.SECP256R1()), node.name, passphrase, cost)
        request = authority.request_for(keystore.load(pending, passphrase).secret, node.org, node.name, hosts)
        made = _certify(folder, signing, request, now, days)
        if home.tls_key.exists():
            retire(home, home.tls_key)
        # Between the two steps the files do not fit each other. `run`, `keys doctor` and `renew` say so, and calling
        # this again finishes with the pending key.
        replace(home.tls_certificate, to_pem([made.certificate]).encode())
        switch(pending, home.tls_key)
    return made


def store_tls_key(path: Path, key: ec.EllipticCurvePrivateKey, name: str, passphrase: bytes, cost: Cost) -> None:
    """Write a TLS key of node ``name`` to a new key file. Raises KeystoreError."""
    keystore.create(
        path,
        key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        name=f"{name} TLS",
        kind=SecretKind.P256,
        public_key=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        passphrase=passphrase,
        cost=cost,
    )


def replace(path: Path, data: bytes) -> None:
    """Give a public file of this home new content in one step. Raises ConfigError."""
    replace_files(path.parent, {path.name: data})


def _certify(folder: AuthorityFolder, signing: CertifiedKey, request: bytes, now: datetime, days: int) -> Issued:
    try:
        made = authority.issue_from_request(signing, request, folder.org, now, days)
    except UntrustedCertificate as error:
        raise ConfigError("no certificate was issued", str(error), "Correct it and try again.") from None
    judged = _judge(folder, made, now)
    folder.record_issued(made, now)
    return Issued(made, judged)


def _judge(folder: AuthorityFolder, certificate: bytes, now: datetime) -> NodeCertificate:
    """What peers will say of a certificate under the organisation's own CA certificates. Raises ConfigError."""
    try:
        return Trust({folder.org: read_certificates(folder.certificate_file)}).judge(certificate, now)
    except UntrustedCertificate as error:
        raise ConfigError(
            f"peers would refuse what {folder.path} issues", str(error), "Check the dates and files of that authority."
        ) from None


def _require_own(judged: NodeCertificate, node: NodeSection, source: Path) -> None:
    if (judged.org, judged.name) != (node.org, node.name):
        raise ConfigError(
            f"{source} is another node's",
            f"it is of {judged.name} of {judged.org}, this node is {node.name} of {node.org}",
            "Install the answer to this home's own request.",
        )


def _require_registered(home: Home, leaf: bytes, now: datetime) -> None:
    """Where the network is known already, it must accept the certificate too. Raises ConfigError."""
    if not home.consortium_file.exists():
        return
    roots = known_roots(consortium_file.load(home.consortium_file), own_request(home))
    trust, _ = network_trust(home, roots, RevocationRule.SOFT, now)
    try:
        trust.judge(leaf, now)
    except UntrustedCertificate as error:
        raise ConfigError(
            "peers would refuse this certificate",
            f"by the files in {home.network}: {error}",
            "Use the registered authority. If the channels know the new one already: --unregistered.",
        ) from None


def _root_first(certificates: Sequence[x509.Certificate]) -> list[bytes]:
    """Roots before the others, each in the order they came in; the rules ask for no more."""
    ordered = sorted(certificates, key=lambda certificate: not is_self_signed(certificate))
    return [certificate.public_bytes(Encoding.DER) for certificate in ordered]
