"""Proof that whoever sends a TLS certificate holds its key too (ECDSA on P-256 with SHA-256, FIPS 186-5).

A certificate is public: everybody a node ever connected to has a copy. A file that brings one is therefore signed with
its key over the file's own bytes, under the file's domain tag, so that nobody can bring somebody else's.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dawan_node.crypto.certificates import UNREADABLE, CertifiedKey
from dawan_node.crypto.hashing import domain_separated
from dawan_node.errors import UntrustedCertificate


def prove_possession(certified: CertifiedKey, tag: bytes, data: bytes) -> bytes:
    """The signature (DER) of the certificate's key over ``tag LF data``. Raises UntrustedCertificate.

    Refused when the key is not on P-256 or not the certificate's: the proof would not be accepted anywhere.
    """
    key = serialization.load_der_private_key(certified.private_key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UntrustedCertificate("weak_key", "the TLS key is not on P-256")
    if key.public_key() != _certified_key(certified.certificate):
        raise UntrustedCertificate("other_key", "the TLS certificate was issued for another key")
    return key.sign(domain_separated(tag, data), ec.ECDSA(hashes.SHA256()))


def proves_possession(certificate: bytes, tag: bytes, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is by the key of ``certificate`` (DER) over ``tag LF data``.

    Raises UntrustedCertificate when the certificate cannot be read or its key is not on P-256.
    """
    try:
        _certified_key(certificate).verify(signature, domain_separated(tag, data), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def certified_key(certificate: bytes) -> bytes:
    """SubjectPublicKeyInfo (DER) of a certificate: equal bytes, equal key. Raises UntrustedCertificate."""
    try:
        return (
            _load(certificate)
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    except UNREADABLE as error:
        raise UntrustedCertificate("malformed", f"a certificate whose key cannot be read: {error}") from None


def _certified_key(certificate: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = _load(certificate).public_key()
    except UNREADABLE as error:
        raise UntrustedCertificate("malformed", f"a certificate whose key cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UntrustedCertificate("weak_key", "the TLS certificate's key is not on P-256")
    return key


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate)
    except UNREADABLE as error:
        raise UntrustedCertificate("malformed", f"not a readable certificate: {error}") from None
