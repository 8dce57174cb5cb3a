"""X.509, the making half: an organisation's authorities, node certificates, requests and revocation lists.

What is made here keeps every rule of crypto.certificates and crypto.revocation, which judge it like anybody else's.

A node that does not hold its organisation's authority asks for a certificate with a request (PKCS#10): its key, the
names it wants, and its own signature as proof that it holds the key. The authority takes nothing else from it: what
a certificate allows is decided here and never by the one who asks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dawan_node.crypto.certificates import (
    CERTIFICATE_BYTES_MAX,
    SIGNATURE_ALGORITHMS,
    UNREADABLE,
    CertifiedKey,
    der_of,
    dns_name,
    extension_of,
    is_strong_key,
    node_name_among,
    title_of,
)
from dawan_node.crypto.revocation import Revoked
from dawan_node.errors import UntrustedCertificate

AUTHORITY_YEARS: Final = 20  # outlives the founding contracts; replaced by registering a second root
ISSUING_AUTHORITY_YEARS: Final = 5  # it is in daily use; its root, which can replace it, is not
NODE_CERTIFICATE_DAYS: Final = 398  # the public web's limit; renewal is hot, so short costs nothing
REVOCATION_LIST_DAYS: Final = 30  # a month's round: an operator who forgets one is warned, or cut off, within it
# A node is reached at a handful of addresses; a request for more is a mistake that a person could not review.
NAMES_MAX: Final = 16
_COMMON_NAME_MAX: Final = 64  # X.520's bound, which other tools enforce
_CLOCK_SKEW: Final = timedelta(minutes=5)  # a certificate made now must be valid on a machine a little behind


@dataclass(frozen=True, slots=True)
class PendingKey:
    """A new TLS key (PKCS#8 DER, kept out of ``repr``) and the request for its certificate (PKCS#10 DER)."""

    request: bytes
    private_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What a checked request asks for, and what else it says that will not be granted."""

    name: str  # the node's
    common_name: str
    names: tuple[x509.GeneralName, ...] = field(repr=False)
    public_key: ec.EllipticCurvePublicKey = field(repr=False)
    ignored: tuple[str, ...]

    @property
    def shown_names(self) -> list[str]:
        """The names and addresses as text."""
        return [str(name.value) for name in self.names]


def make_authority(
    org: str, now: datetime, *, years: int = AUTHORITY_YEARS, authorities_below: int = 0
) -> CertifiedKey:
    """A new root authority for an organisation: P-256, may sign node certificates and lists.

    ``authorities_below`` is how many levels of issuing authorities it may certify; 0 for none.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"{org} root CA")
    builder = _builder(subject, subject, key.public_key(), now, _end(now, timedelta(days=365 * years)))
    certificate = _as_authority(builder, key.public_key(), authorities_below).sign(key, hashes.SHA256())
    return CertifiedKey(der_of(certificate), _pkcs8(key))


def make_issuing_authority(
    authority: CertifiedKey, org: str, now: datetime, *, years: int = ISSUING_AUTHORITY_YEARS
) -> CertifiedKey:
    """A new authority below ``authority``, to sign node certificates while the root's key stays locked away.

    The organisation registers both, root first. Raises UntrustedCertificate when ``authority`` allows none below it.
    """
    issuer, issuer_key = _opened(authority, now)
    constraints = extension_of(issuer, x509.BasicConstraints)
    levels = constraints.value.path_length if constraints is not None else 0
    if levels == 0:
        raise UntrustedCertificate("path_length", f"{title_of(issuer)} allows no authority below it")
    key = ec.generate_private_key(ec.SECP256R1())
    number = x509.random_serial_number()
    # The name tells issuing authorities of one organisation apart: a list of revoked certificates goes by it.
    subject = _subject(f"{org} issuing CA {number:x}"[:_COMMON_NAME_MAX])
    end = min(_end(now, timedelta(days=365 * years)), issuer.not_valid_after_utc)
    builder = _builder(subject, issuer.subject, key.public_key(), now, end).add_extension(_issuer_key(issuer), False)
    certificate = _as_authority(builder, key.public_key(), 0).sign(issuer_key, hashes.SHA256())
    return CertifiedKey(der_of(certificate), _pkcs8(key))


def issue_node_certificate(
    authority: CertifiedKey,
    org: str,
    name: str,
    addresses: Sequence[str],
    now: datetime,
    *,
    days: int = NODE_CERTIFICATE_DAYS,
) -> CertifiedKey:
    """A new P-256 TLS key for node ``name``, certified by its organisation's authority.

    ``addresses`` are host names or IP addresses it is reached at; they help other tools, our own validation only
    looks at ``<name>.<org>.dawan``. Raises UntrustedCertificate when the authority cannot issue.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _issue(authority, name, _names(name, org, addresses), key.public_key(), now, days)
    return CertifiedKey(certificate, _pkcs8(key))


def make_request(org: str, name: str, addresses: Sequence[str]) -> PendingKey:
    """A new P-256 TLS key for node ``name`` and the request for its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    private_key = _pkcs8(key)
    return PendingKey(request_for(private_key, org, name, addresses), private_key)


def request_for(private_key: bytes, org: str, name: str, addresses: Sequence[str]) -> bytes:
    """The request (PKCS#10 DER) for a certificate of an existing TLS key (PKCS#8 DER).

    Raises UntrustedCertificate when that is not a key on P-256 or P-384.
    """
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(name))
        .add_extension(x509.SubjectAlternativeName(_names(name, org, addresses)), critical=False)
        .sign(_elliptic_key(private_key, f"the TLS key of {name}"), hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def read_request(request: bytes, org: str) -> CertificateRequest:
    """Check a request (DER) for a node certificate of ``org``.

    Raises UntrustedCertificate: ``request_malformed``, ``request_signature`` (not signed by the key it names),
    ``weak_key``, ``weak_signature``, ``node_name`` (not exactly one name of a node of that organisation) or
    ``request_names`` (names that would be granted blindly: wildcards, too many).
    """
    parsed = _parse_request(request)
    key = parsed.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_strong_key(key):
        raise UntrustedCertificate("weak_key", "the request has a key that is not on P-256 or P-384")
    if parsed.signature_algorithm_oid not in SIGNATURE_ALGORITHMS:
        raise UntrustedCertificate(
            "weak_signature", f"the request is signed with {parsed.signature_algorithm_oid.dotted_string}"
        )
    if not parsed.is_signature_valid:
        raise UntrustedCertificate("request_signature", "the request is not signed by the key it names")
    common_name = _common_name(parsed.subject)
    title = f"the request of {common_name!r}"
    wanted: list[x509.GeneralName] = []
    ignored = []
    for extension in parsed.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            for general in extension.value:
                if isinstance(general, x509.DNSName | x509.IPAddress):
                    wanted.append(general)
                else:
                    ignored.append(f"the alternative name {general.value}")
        else:
            ignored.append(f"the extension {extension.oid.dotted_string} ({type(extension.value).__name__})")
    hosts = [general.value for general in wanted if isinstance(general, x509.DNSName)]
    name = node_name_among(hosts, org, title)
    if len(wanted) > NAMES_MAX:
        raise UntrustedCertificate("request_names", f"{title} has {len(wanted)} names, at most {NAMES_MAX} are granted")
    if odd := [host for host in hosts if not _is_host_name(host)]:
        raise UntrustedCertificate("request_names", f"{title} asks for {odd}, which is not the name of one machine")
    return CertificateRequest(name, common_name or name, tuple(wanted), key, tuple(ignored))


def issue_from_request(
    authority: CertifiedKey, request: bytes, org: str, now: datetime, days: int = NODE_CERTIFICATE_DAYS
) -> bytes:
    """The node certificate (DER) that a checked request asks for: its common name, names and key, nothing else.

    Raises UntrustedCertificate as ``read_request``, and when the authority cannot issue.
    """
    checked = read_request(request, org)
    return _issue(authority, checked.common_name, checked.names, checked.public_key, now, days)


def renew(
    authority: CertifiedKey, certificate: bytes, org: str, now: datetime, days: int = NODE_CERTIFICATE_DAYS
) -> bytes:
    """A new certificate (DER) for the key and names of ``certificate``, a node certificate of ``org``.

    Raises UntrustedCertificate when it is none, or the authority cannot issue.
    """
    old = x509.load_der_x509_certificate(certificate)
    key = old.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_strong_key(key):
        raise UntrustedCertificate("weak_key", f"{title_of(old)} has a key that is not on P-256 or P-384")
    alternatives = extension_of(old, x509.SubjectAlternativeName)
    names = [n for n in alternatives.value if isinstance(n, x509.DNSName | x509.IPAddress)] if alternatives else []
    name = node_name_among([n.value for n in names if isinstance(n, x509.DNSName)], org, title_of(old))
    return _issue(authority, _common_name(old.subject) or name, names, key, now, days)


def make_revocation_list(
    authority: CertifiedKey,
    revoked: Iterable[Revoked],
    number: int,
    now: datetime,
    *,
    days: int = REVOCATION_LIST_DAYS,
) -> bytes:
    """The authority's signed list (DER) of what it takes back. ``number`` must be higher than that of any before.

    Raises UntrustedCertificate when the authority cannot sign.
    """
    issuer, issuer_key = _opened(authority, now)
    now = _whole_seconds(now)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - _CLOCK_SKEW)
        .next_update(now + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
    )
    for entry in sorted(revoked, key=lambda entry: entry.serial):
        made = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(_whole_seconds(entry.at))
        if entry.reason != x509.ReasonFlags.unspecified.value:  # which RFC 5280 section 5.3.1 wants left out
            made = made.add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
        builder = builder.add_revoked_certificate(made.build())
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(Encoding.DER)


def _issue(
    authority: CertifiedKey,
    common_name: str,
    names: Sequence[x509.GeneralName],
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    days: int,
) -> bytes:
    issuer, issuer_key = _opened(authority, now)
    # Never beyond its issuer: it would stop being accepted on a day that it does not name.
    end = min(_end(now, timedelta(days=days)), issuer.not_valid_after_utc)
    certificate = (
        _builder(_subject(common_name), issuer.subject, key, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return der_of(certificate)


def _opened(authority: CertifiedKey, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority ready to sign: its certificate and its key, which belong together."""
    certificate = x509.load_der_x509_certificate(authority.certificate)
    title = title_of(certificate)
    key = _elliptic_key(authority.private_key, title)
    if key.public_key() != certificate.public_key():
        raise UntrustedCertificate("key_mismatch", f"the key at hand is not that of {title}")
    if now > certificate.not_valid_after_utc:
        raise UntrustedCertificate("expired", f"{title} expired on {certificate.not_valid_after_utc.isoformat()}")
    return certificate, key


def _elliptic_key(private_key: bytes, title: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_der_private_key(private_key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_strong_key(key.public_key()):
        raise UntrustedCertificate("weak_key", f"{title} has a key that is not on P-256 or P-384")
    return key


def _parse_request(request: bytes) -> x509.CertificateSigningRequest:
    if len(request) > CERTIFICATE_BYTES_MAX:
        raise UntrustedCertificate("request_malformed", f"a request of {len(request)} bytes")
    try:
        parsed = x509.load_der_x509_csr(request)
        # The library decodes these on first use; what it cannot decode is refused here and nowhere later.
        _ = parsed.extensions, parsed.subject, parsed.public_key(), parsed.is_signature_valid
    except UNREADABLE as error:
        raise UntrustedCertificate("request_malformed", f"not a readable certificate request: {error}") from None
    return parsed


def _common_name(subject: x509.Name) -> str:
    """The common name, empty when there is none. Raises UntrustedCertificate for one nobody could read safely."""
    values = [str(attribute.value) for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(values) > 1 or any(len(value) > _COMMON_NAME_MAX or not value.isprintable() for value in values):
        raise UntrustedCertificate("request_malformed", "a subject without one printable common name")
    return values[0] if values else ""


def _is_host_name(name: str) -> bool:
    """Labels of letters, digits and hyphens (RFC 1123): no wildcard, nothing empty."""
    return all(
        label and label.isascii() and label.replace("-", "x").isalnum() for label in name.removesuffix(".").split(".")
    )


def _names(name: str, org: str, addresses: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(dns_name(name, org))]
    for address in sorted(set(addresses)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return names


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _whole_seconds(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


def _end(now: datetime, lifetime: timedelta) -> datetime:
    return _whole_seconds(now) + lifetime


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_whole_seconds(now) - _CLOCK_SKEW)
        .not_valid_after(end)
    )


def _as_authority(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, levels_below: int
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=levels_below), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = extension_of(issuer, x509.SubjectKeyIdentifier)
    if identifier is not None:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)
    # An authority made elsewhere may carry none; then the usual hash of its key stands for it.
    digest = x509.SubjectKeyIdentifier.from_public_key(issuer.public_key()).digest
    return x509.AuthorityKeyIdentifier(digest, None, None)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
