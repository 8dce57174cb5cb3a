"""A certificate proves nothing about who sends it; a signature by its key does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.certificates import CertifiedKey
from dawan_node.crypto.possession import certified_key, prove_possession, proves_possession
from dawan_node.errors import UntrustedCertificate

NOW = datetime(2026, 9, 2, tzinfo=UTC)
AUTHORITY = make_authority("gz", NOW)
GZ1 = issue_node_certificate(AUTHORITY, "gz", "gz1", [], NOW)
GZ2 = issue_node_certificate(AUTHORITY, "gz", "gz2", [], NOW)


def test_only_the_certificates_own_key_over_exactly_these_bytes_proves_it() -> None:
    proof = prove_possession(GZ1, b"tag", b"data")
    assert proves_possession(GZ1.certificate, b"tag", b"data", proof)
    assert not proves_possession(GZ2.certificate, b"tag", b"data", proof)
    assert not proves_possession(GZ1.certificate, b"other", b"data", proof)
    assert not proves_possession(GZ1.certificate, b"tag", b"date", proof)
    for broken in (b"", b"x", proof[:-1], proof + b"\x00", bytes(64)):
        assert not proves_possession(GZ1.certificate, b"tag", b"data", broken)


def test_the_key_of_another_certificate_is_not_used_in_silence() -> None:
    with pytest.raises(UntrustedCertificate, match="another key"):
        prove_possession(CertifiedKey(GZ1.certificate, GZ2.private_key), b"tag", b"data")


def test_a_key_on_another_curve_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(UntrustedCertificate, match="not on P-256"):
        prove_possession(CertifiedKey(GZ1.certificate, key), b"tag", b"data")


def test_bytes_that_are_no_certificate_are_refused() -> None:
    for junk in (b"", b"\x30\x03\x02\x01\x00"):
        with pytest.raises(UntrustedCertificate):
            proves_possession(junk, b"tag", b"data", b"")
        with pytest.raises(UntrustedCertificate):
            certified_key(junk)


def test_a_proof_is_ecdsa_with_sha_256_over_the_tagged_bytes_as_other_software_checks_it() -> None:
    proof = prove_possession(GZ1, b"dawan:join:v1", b"data")
    key = serialization.load_der_public_key(GZ1.public_key)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(proof, b"dawan:join:v1\ndata", ec.ECDSA(hashes.SHA256()))
    assert certified_key(GZ1.certificate) == GZ1.public_key
