"""X.509, the making half: an organisation's certificate authority and the node certificates it issues.

What is made here keeps every rule of crypto.certificates, which judges it like anybody else's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dawan_node.crypto.certificates import CertifiedKey, dns_name
from dawan_node.errors import UntrustedCertificate

AUTHORITY_YEARS: Final = 20  # outlives the founding contracts; replaced by registering a second root
NODE_CERTIFICATE_DAYS: Final = 398  # the public web's limit; renewal is hot, so short costs nothing
_CLOCK_SKEW: Final = timedelta(minutes=5)  # a certificate made now must be valid on a machine a little behind


def make_authority(org: str, now: datetime, *, years: int = AUTHORITY_YEARS) -> CertifiedKey:
    """A new root authority for an organisation: P-256, may sign node certificates and nothing below."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"{org} root CA")
    certificate = (
        _builder(subject, subject, key.public_key(), now, timedelta(days=365 * years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return CertifiedKey(_der(certificate), _pkcs8(key))


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
    looks at ``<name>.<org>.dawan``.
    """
    issuer = x509.load_der_x509_certificate(authority.certificate)
    issuer_key = serialization.load_der_private_key(authority.private_key, None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise UntrustedCertificate("weak_key", f"the authority of {org} has no elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(dns_name(name, org))]
    for address in sorted(set(addresses)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(_subject(name), issuer.subject, key.public_key(), now, timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return CertifiedKey(_der(certificate), _pkcs8(key))


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = now.astimezone(UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
    )


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


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
