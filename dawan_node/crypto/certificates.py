"""X.509: our own judgement of a node's TLS certificate and of an organisation's authorities.

An organisation is recognised by *which registered root a certificate's chain ends in*, never by what its subject
says: any authority can write any organisation's name into a certificate (reliability.md F9). Because a general TLS
library accepts far more than a consortium wants (a leaf without key usages, an issuer that is no authority, F8), the
path is judged here, by rules that fit on one page:

* the issuers are the certificates an organisation registered, root first; nothing from the wire is ever an issuer;
* ECDSA with SHA-256 or SHA-384 on P-256 or P-384, version 3, a positive serial number, no duplicate and no unknown
  critical extension, no name constraints (they would have to be evaluated; nobody needs them here);
* an authority says so in a critical basicConstraints, may sign certificates, and allows as many authorities below it
  as there are;
* a node certificate is no authority, may sign, is for server *and* client authentication, and carries exactly one
  name of the form ``<node>.<organisation>.dawan``, whose organisation is the one the chain ends in;
* every certificate of the path is inside its period of validity;
* a leaf whose chain ends in the roots of two organisations belongs to neither.

Certificates only carry connections. Votes and transactions are signed with Ed25519 keys (crypto.signatures), so an
expired certificate never costs anybody a key or an identity (design section 7). Making certificates is
crypto.authority's work.
"""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from dawan_node.crypto.hashing import sha256
from dawan_node.errors import UntrustedCertificate

DNS_SUFFIX: Final = "dawan"
# A root, a policy authority, an issuing authority and one to spare; longer chains only cost work.
AUTHORITIES_IN_PATH_MAX: Final = 4
# What one organisation may register: the above during a change from old to new roots. Bounds the path search.
AUTHORITIES_PER_ORG_MAX: Final = 8
CERTIFICATE_BYTES_MAX: Final = 16 * 1024

SIGNATURE_ALGORITHMS: Final = {SignatureAlgorithmOID.ECDSA_WITH_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA384}
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_KNOWN_EXTENSIONS: Final = {
    x509.BasicConstraints.oid,
    x509.KeyUsage.oid,
    x509.ExtendedKeyUsage.oid,
    x509.SubjectAlternativeName.oid,
}

#: What the library raises for a certificate, request or list, or a part of one, that it cannot read. Others choose the
#: bytes: what is not named here reaches whoever asked, and a channel's bytes would reach every node at once.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    KeyError,  # a TLS feature (RFC 7633) that it has no name for
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """A node certificate that passed every rule."""

    org: str
    name: str
    not_before: datetime
    not_after: datetime
    fingerprint: bytes
    public_key: bytes  # SubjectPublicKeyInfo, DER
    #: Fingerprints of the registered authorities its chain goes through, up to the root.
    authorities: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """A certificate and its private key (PKCS#8 DER), which stays out of ``repr``."""

    certificate: bytes
    private_key: bytes = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo of the certificate, DER."""
        return public_key_of(x509.load_der_x509_certificate(self.certificate))


def dns_name(name: str, org: str) -> str:
    """The one name by which a node certificate says whose it is."""
    return f"{name}.{org}.{DNS_SUFFIX}"


def to_pem(certificates: Sequence[bytes]) -> str:
    """DER certificates as one PEM text."""
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in certificates)


def from_pem(text: str) -> list[bytes]:
    """Every certificate of a PEM text as DER. Raises UntrustedCertificate when there is none or one is damaged."""
    try:
        return [der_of(certificate) for certificate in x509.load_pem_x509_certificates(text.encode())]
    except ValueError as error:
        raise UntrustedCertificate("malformed", f"not a PEM certificate: {error}") from None


def only_one(pem: str) -> bytes:
    """The one certificate of a text that has to hold exactly one, DER. Raises UntrustedCertificate."""
    found = from_pem(pem)
    if len(found) != 1:
        raise UntrustedCertificate("malformed", f"{len(found)} certificates where the node's own one is expected")
    return found[0]


def fingerprint(certificate: bytes) -> bytes:
    """SHA-256 of the DER bytes: what the signed hello binds a node key to."""
    return sha256(certificate)


def load_into_context(context: ssl.SSLContext, certified: CertifiedKey) -> None:
    """Give a TLS context its certificate and key.

    The ``ssl`` module only reads keys from files; an anonymous memory file keeps the key off the disk.
    """
    key = serialization.load_der_private_key(certified.private_key, None)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as memory:
        memory.write(pem + to_pem([certified.certificate]).encode())
        memory.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def check_authorities(org: str, authorities: Sequence[bytes], now: datetime) -> None:
    """Require that an organisation's registered certificates, root first, are usable authorities.

    Raises UntrustedCertificate naming the certificate and what is wrong with it.
    """
    registered = parse_authorities(authorities)
    if not registered or len(registered) != len(authorities):
        raise UntrustedCertificate("malformed", f"organisation {org} has a CA certificate that cannot be read")
    if not is_self_signed(registered[0]):
        raise UntrustedCertificate("no_root", f"the first CA certificate of {org} is not a self-signed root")
    for certificate in registered:
        _check_common(certificate, now)
        _check_authority(certificate, 0)


def validate_node_certificate(
    leaf: bytes,
    roots: Mapping[str, Sequence[bytes]],
    now: datetime,
    *,
    check_path: Callable[[Sequence[x509.Certificate]], None] | None = None,
) -> NodeCertificate:
    """Decide whose node certificate ``leaf`` (DER) is, under the rules at the top of this file.

    ``roots`` maps each organisation to the CA certificates it registered (DER, root first, then intermediates);
    ``now`` is an aware time. ``check_path`` may refuse a path that kept these rules, leaf first and root last: it is
    where revocation comes in (crypto.trust). Raises UntrustedCertificate with a stable ``reason`` and a text that
    names the certificate.
    """
    certificate = _parse(leaf)
    _check_strength(certificate)  # first: a weak signature is reported as such, not as one of a stranger
    paths = {org: found for org, registered in roots.items() if (found := _paths(certificate, registered))}
    if not paths:
        raise UntrustedCertificate(
            "unknown_authority",
            f"{title_of(certificate)} was issued by {certificate.issuer.rfc4514_string()!r}, "
            "which no organisation of this network has registered, or not with that key",
        )
    if len(paths) > 1:
        raise UntrustedCertificate(
            "ambiguous_organisation", f"{title_of(certificate)} fits the roots of {' and '.join(sorted(paths))}"
        )
    [(org, candidates)] = paths.items()
    _check_common(certificate, now)
    path = _good_path(certificate, candidates, now, check_path)
    name = _check_leaf(certificate, org, roots)
    return NodeCertificate(
        org=org,
        name=name,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint=fingerprint(leaf),
        public_key=public_key_of(certificate),
        authorities=frozenset(fingerprint(authority.public_bytes(serialization.Encoding.DER)) for authority in path),
    )


def _parse(der: bytes) -> x509.Certificate:
    """A certificate whose extensions are readable and not duplicated."""
    if len(der) > CERTIFICATE_BYTES_MAX:
        raise UntrustedCertificate("malformed", f"a certificate of {len(der)} bytes")
    _check_serial(der)
    try:
        certificate = x509.load_der_x509_certificate(der)
        # The library decodes these on first use; what it cannot decode is refused here and nowhere later.
        _ = certificate.extensions, certificate.subject, certificate.issuer
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except x509.DuplicateExtension:
        raise UntrustedCertificate("duplicate_extension", "an extension occurs twice") from None
    except UNREADABLE as error:
        raise UntrustedCertificate("malformed", f"not a readable certificate: {error}") from None
    # Its last field is a string of bits, of which the library accepts a number that is not whole bytes.
    if der[-len(certificate.signature) - 1] != 0:
        raise UntrustedCertificate("malformed", "not a readable certificate: its signature is not whole bytes")
    return certificate


def _check_serial(der: bytes) -> None:
    """Refuse a serial number that is not positive or longer than 20 bytes (RFC 5280 section 4.1.2.2).

    Read from the bytes, because what the library does with such a number changes from version to version. Bytes
    that are no certificate at all are left to the library.
    """
    position = 0
    for tag in (0x30, 0x30, 0xA0, 0x02):  # Certificate, tbsCertificate, [0] version (optional), serialNumber
        if der[position : position + 1] != bytes([tag]):
            if tag == 0xA0:
                continue
            return
        size = der[position + 1] if position + 1 < len(der) else 0
        start = position + 2 + (size & 0x7F if size & 0x80 else 0)
        length = int.from_bytes(der[position + 2 : start], "big") if size & 0x80 else size
        if tag == 0x02:
            serial = int.from_bytes(der[start : start + length], "big", signed=True)
            if serial <= 0 or length > 20:
                raise UntrustedCertificate("serial", "a serial number that is not positive or over 20 bytes")
        position = start + length if tag == 0xA0 else start


@functools.lru_cache(maxsize=1_024)  # every authority of some hundred organisations; asked again at each change of one
def is_loadable_authority(der: bytes) -> bool:
    """Whether both libraries can read a certificate, this one's and OpenSSL, into which TLS loads it.

    What organisations registered on a channel was never read by any library: the chain keeps it as bytes.
    """
    # Twice: OpenSSL looks into a certificate only when it compares it with one of the same subject, and what it cannot
    # use then (an extension it knows and cannot decode) would keep it from loading any of them.
    try:
        _parse(der).public_key()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der + der)
    except (UntrustedCertificate, ssl.SSLError, *UNREADABLE):
        return False
    return True


def parse_authorities(authorities: Sequence[bytes]) -> list[x509.Certificate]:
    """The readable certificates an organisation registered: its damaged file must not shut out other organisations."""
    parsed = []
    for der in authorities[:AUTHORITIES_PER_ORG_MAX]:
        try:
            certificate = _parse(der)
            certificate.public_key()
        except (UntrustedCertificate, *UNREADABLE):
            continue
        parsed.append(certificate)
    return parsed


def _paths(leaf: x509.Certificate, authorities: Sequence[bytes]) -> list[list[x509.Certificate]]:
    """The issuers of ``leaf`` up to a registered root, nearest first: every way the signatures allow.

    There is more than one while an organisation replaces an authority by a new certificate for the same key.
    """
    registered = parse_authorities(authorities)
    found: list[list[x509.Certificate]] = []

    def climb(certificate: x509.Certificate, path: list[x509.Certificate]) -> None:
        for issuer in registered:
            if issuer in path or not _issued(certificate, issuer):
                continue
            if is_self_signed(issuer):
                found.append([*path, issuer])
            elif len(path) + 1 < AUTHORITIES_IN_PATH_MAX:
                climb(issuer, [*path, issuer])

    climb(leaf, [])
    return found


def _good_path(
    leaf: x509.Certificate,
    candidates: list[list[x509.Certificate]],
    now: datetime,
    check_path: Callable[[Sequence[x509.Certificate]], None] | None,
) -> list[x509.Certificate]:
    """The first path whose authorities keep every rule; where none does, the first failure speaks for all."""
    first: UntrustedCertificate | None = None
    for path in candidates:
        try:
            for below, authority in enumerate(path):
                _check_common(authority, now)
                _check_authority(authority, below)
                _check_key_identifiers(([leaf, *path])[below], authority)
            if check_path is not None:
                check_path([leaf, *path])
        except UntrustedCertificate as error:
            first = first or error
        else:
            return path
    assert first is not None, "whoever fits an organisation has a path"
    raise first


# Eight authorities that certify each other make hundreds of paths, with signatures to verify at each step of each:
# 0.4 s of the event loop for every connection of a member that had them registered. A pair is verified once; that it
# fits does not change.
@functools.lru_cache(maxsize=1_024)
def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether it is a root: its own issuer, by name and by signature."""
    return certificate.subject == certificate.issuer and _issued(certificate, certificate)


def _check_common(certificate: x509.Certificate, now: datetime) -> None:
    """What every certificate of a path must satisfy."""
    title = title_of(certificate)
    if certificate.version is not x509.Version.v3:
        raise UntrustedCertificate("version", f"{title} is not of version 3")
    _check_strength(certificate)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN_EXTENSIONS:
            raise UntrustedCertificate(
                "unknown_critical_extension", f"{title} has the critical extension {extension.oid.dotted_string}"
            )
        if isinstance(extension.value, x509.NameConstraints):
            raise UntrustedCertificate("name_constraints", f"{title} has name constraints")
    if now < certificate.not_valid_before_utc:
        raise UntrustedCertificate(
            "not_yet_valid", f"{title} is valid from {certificate.not_valid_before_utc.isoformat()}"
        )
    if now > certificate.not_valid_after_utc:
        raise UntrustedCertificate("expired", f"{title} expired on {certificate.not_valid_after_utc.isoformat()}")


def _check_strength(certificate: x509.Certificate) -> None:
    title = title_of(certificate)
    if certificate.signature_algorithm_oid not in SIGNATURE_ALGORITHMS:
        raise UntrustedCertificate(
            "weak_signature", f"{title} is signed with {certificate.signature_algorithm_oid.dotted_string}"
        )
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None  # a curve or kind of key the library does not know is none of the two
    if not is_strong_key(key):
        raise UntrustedCertificate("weak_key", f"{title} has a key that is not on P-256 or P-384")


def is_strong_key(key: object) -> bool:
    """Whether ``key`` is a public key of one of the two curves this network uses."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)


def _check_authority(certificate: x509.Certificate, below: int) -> None:
    """An issuer with ``below`` authorities between it and the leaf."""
    title = title_of(certificate)
    if not list(certificate.subject):
        raise UntrustedCertificate("empty_subject", "an authority without a subject")
    constraints = extension_of(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.critical or not constraints.value.ca:
        raise UntrustedCertificate("not_an_authority", f"{title} is not marked as an authority, critically")
    if constraints.value.path_length is not None and constraints.value.path_length < below:
        raise UntrustedCertificate(
            "path_length", f"{title} allows {constraints.value.path_length} authorities below it, there are {below}"
        )
    usage = extension_of(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        raise UntrustedCertificate("key_usage", f"{title} may not sign certificates")
    purposes = extension_of(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and not _for_both_ends(purposes.value):
        raise UntrustedCertificate("extended_key_usage", f"{title} is limited to other purposes")


def _check_leaf(certificate: x509.Certificate, org: str, roots: Mapping[str, Sequence[bytes]]) -> str:
    """The node's name, if ``certificate`` is a node certificate of ``org``."""
    title = title_of(certificate)
    constraints = extension_of(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        raise UntrustedCertificate("leaf_is_authority", f"{title} is an authority, not a node certificate")
    usage = extension_of(certificate, x509.KeyUsage)
    if usage is None or not usage.value.digital_signature or usage.value.key_cert_sign:
        raise UntrustedCertificate("key_usage", f"{title} needs key usage digitalSignature, and not keyCertSign")
    purposes = extension_of(certificate, x509.ExtendedKeyUsage)
    if purposes is None or not _for_both_ends(purposes.value):
        raise UntrustedCertificate("extended_key_usage", f"{title} must be for both serverAuth and clientAuth")
    # The subject is never what decides; but one that claims another organisation is a mistake or a trap for readers.
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME):
        if attribute.value != org and attribute.value in roots:
            raise UntrustedCertificate(
                "foreign_organisation", f"{title} names {attribute.value!r} but its chain ends in the root of {org}"
            )
    alternatives = extension_of(certificate, x509.SubjectAlternativeName)
    names = alternatives.value.get_values_for_type(x509.DNSName) if alternatives else []
    return node_name_among(names, org, title)


def node_name_among(names: Sequence[str], org: str, title: str) -> str:
    """The node that the DNS ``names`` of a certificate or request name; ``title`` says whose they are.

    Raises UntrustedCertificate unless exactly one of them is ``<node>.<org>.dawan``; others that do not end in
    ``.dawan`` are not looked at.
    """
    ours = [name for name in names if name.lower().rstrip(".").endswith("." + DNS_SUFFIX)]
    if len(ours) != 1 or not ours[0].endswith(f".{org}.{DNS_SUFFIX}"):
        raise UntrustedCertificate(
            "node_name", f"{title} must have exactly one name of the form <node>.{org}.{DNS_SUFFIX}, it has {ours}"
        )
    name = ours[0].removesuffix(f".{org}.{DNS_SUFFIX}")
    if not _is_label(name):
        raise UntrustedCertificate("node_name", f"{title}: {name!r} is not a node name")
    return name


def _check_key_identifiers(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    wanted = extension_of(certificate, x509.AuthorityKeyIdentifier)
    given = extension_of(issuer, x509.SubjectKeyIdentifier)
    if wanted and given and wanted.value.key_identifier not in (None, given.value.digest):
        raise UntrustedCertificate(
            "key_identifier", f"{title_of(certificate)} names another issuer key than {title_of(issuer)} has"
        )


def _is_label(name: str) -> bool:
    """Formats A.2; kept here because the shared check lives in a layer above."""
    return (
        1 <= len(name) <= 32
        and "a" <= name[0] <= "z"
        and all("a" <= c <= "z" or "0" <= c <= "9" or c == "-" for c in name)
    )


def _for_both_ends(purposes: x509.ExtendedKeyUsage) -> bool:
    return ExtendedKeyUsageOID.SERVER_AUTH in purposes and ExtendedKeyUsageOID.CLIENT_AUTH in purposes


def extension_of(certificate: x509.Certificate, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    """The extension of that kind, None where there is none."""
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def title_of(certificate: x509.Certificate) -> str:
    """How messages name a certificate: subject and serial number."""
    return f"certificate {certificate.subject.rfc4514_string()!r} (serial {certificate.serial_number:x})"


def der_of(certificate: x509.Certificate) -> bytes:
    """Its bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def public_key_of(certificate: x509.Certificate) -> bytes:
    """Its SubjectPublicKeyInfo, DER."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
