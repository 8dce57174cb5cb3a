"""What an authority makes is accepted by the rules, and what it is asked for is never granted blindly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from dawan_node.crypto import authority, certificates
from dawan_node.crypto.authority import PendingKey, make_request
from dawan_node.crypto.certificates import CertifiedKey
from dawan_node.crypto.revocation import Revocations, Revoked, load_revocation_list
from dawan_node.crypto.trust import Trust
from dawan_node.errors import UntrustedCertificate
from tests.crypto.certificate_recipes import DAY, NOW, named, usage

CA = authority.make_authority("gz", NOW)
TRUST = Trust({"gz": [CA.certificate]})
NAME = x509.DNSName("gz1.gz.dawan")


def request(
    *extensions: x509.ExtensionType, key: Any = None, subject: x509.Name | None = None, **options: Any
) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or named("gz1"))
    for extension in extensions or (x509.SubjectAlternativeName([NAME]),):
        builder = builder.add_extension(extension, critical=False)
    hash_ = None if isinstance(key, ed25519.Ed25519PrivateKey) else options.get("hash_", hashes.SHA256())
    return builder.sign(key, hash_).public_bytes(Encoding.DER)


def names(*given: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in given])


def test_a_requested_certificate_is_accepted_and_is_for_the_key_of_the_request() -> None:
    pending = make_request("gz", "gz1", ["10.0.0.7", "gz1.example"])
    made = authority.issue_from_request(CA, pending.request, "gz", NOW)
    judged = TRUST.judge(made, NOW)
    assert (judged.org, judged.name) == ("gz", "gz1")
    assert CertifiedKey(made, pending.private_key).public_key == judged.public_key
    assert judged.public_key == certificates.public_key_of(x509.load_der_x509_certificate(made))
    shown = authority.read_request(pending.request, "gz")
    assert shown.shown_names == ["gz1.gz.dawan", "10.0.0.7", "gz1.example"]
    assert shown.ignored == ()


def test_a_request_for_an_existing_key_names_that_key() -> None:
    pending = make_request("gz", "gz1", [])
    again = authority.request_for(pending.private_key, "gz", "gz1", ["127.0.0.1"])
    keys = {authority.read_request(each, "gz").public_key.public_numbers() for each in (pending.request, again)}
    assert len(keys) == 1


def test_a_pending_key_hides_its_secret() -> None:
    pending: PendingKey = make_request("gz", "gz1", [])
    assert repr(pending.private_key) not in repr(pending) and "private_key" not in repr(pending)


def test_nothing_but_common_name_names_and_key_is_taken_from_a_request() -> None:
    subject = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, "gateway"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "hk"),
    ])  # fmt: skip
    asked = request(
        x509.SubjectAlternativeName([NAME, x509.RFC822Name("root@gz.example")]),
        x509.BasicConstraints(ca=True, path_length=None),
        usage("key_cert_sign", "crl_sign"),
        x509.NameConstraints([x509.DNSName("x")], None),
        subject=subject,
    )
    made = x509.load_der_x509_certificate(authority.issue_from_request(CA, asked, "gz", NOW))
    assert made.subject == named("gateway")
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert not made.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert list(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [NAME]
    assert len(made.extensions) == 6
    ignored = " ".join(authority.read_request(asked, "gz").ignored)
    for word in ("root@gz.example", "BasicConstraints", "KeyUsage", "NameConstraints"):
        assert word in ignored


REQUESTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "is empty": (lambda: b"", "request_malformed"),
    "is cut short": (lambda: request()[:-1], "request_malformed"),
    "has bytes after it": (lambda: request() + b"\0", "request_malformed"),
    "is huge": (lambda: bytes(20_000), "request_malformed"),
    "is a certificate": (lambda: CA.certificate, "request_malformed"),
    "was changed": (lambda: request().replace(b"gz1.gz", b"gz2.gz"), "request_signature"),
    "has an RSA key": (lambda: request(key=rsa.generate_private_key(65537, 2048)), "weak_key"),
    "has a key on P-521": (lambda: request(key=ec.generate_private_key(ec.SECP521R1())), "weak_key"),
    "has an Ed25519 key": (lambda: request(key=ed25519.Ed25519PrivateKey.generate()), "weak_key"),
    "is signed with SHA-224": (lambda: request(hash_=hashes.SHA224()), "weak_signature"),
    "has no alternative name": (lambda: request(usage("digital_signature")), "node_name"),
    "has the name in the subject only": (
        lambda: request(usage("digital_signature"), subject=named("gz1.gz.dawan")),
        "node_name",
    ),
    "names a node of another organisation": (lambda: request(names("hk1.hk.dawan")), "node_name"),
    "names two nodes": (lambda: request(names("gz1.gz.dawan", "gz2.gz.dawan")), "node_name"),
    "names another organisation's node too": (lambda: request(names("gz1.gz.dawan", "hk1.hk.dawan")), "node_name"),
    "names a wildcard of nodes": (lambda: request(names("*.gz.dawan")), "node_name"),
    "names a wildcard of hosts": (lambda: request(names("gz1.gz.dawan", "*.example")), "request_names"),
    "names an empty host": (lambda: request(names("gz1.gz.dawan", "a..example")), "request_names"),
    "names too much": (
        lambda: request(names("gz1.gz.dawan", *(f"h{number}.example" for number in range(16)))),
        "request_names",
    ),
    "has a subject that hides": (lambda: request(subject=named("gz1\u202e")), "request_malformed"),
}


@pytest.mark.parametrize("title", REQUESTS)
def test_a_request_is_refused_when_it(title: str) -> None:
    make, reason = REQUESTS[title]
    with pytest.raises(UntrustedCertificate) as refused:
        authority.issue_from_request(CA, make(), "gz", NOW)
    assert refused.value.reason == reason


def test_a_renewed_certificate_keeps_key_and_names_and_moves_its_end() -> None:
    old = authority.issue_node_certificate(CA, "gz", "gz1", ["127.0.0.1"], NOW, days=10)
    later = NOW + 9 * DAY
    new = authority.renew(CA, old.certificate, "gz", later, days=30)
    before, after = TRUST.judge(old.certificate, later), TRUST.judge(new, later)
    assert (after.public_key, after.name) == (before.public_key, before.name)
    assert after.not_after == later + 30 * DAY > before.not_after
    parsed = [x509.load_der_x509_certificate(each) for each in (old.certificate, new)]
    kinds = [each.extensions.get_extension_for_class(x509.SubjectAlternativeName).value for each in parsed]
    assert kinds[0] == kinds[1] and parsed[0].serial_number != parsed[1].serial_number
    with pytest.raises(UntrustedCertificate):
        authority.renew(CA, CA.certificate, "gz", later)
    with pytest.raises(UntrustedCertificate):
        authority.renew(CA, old.certificate, "hk", later)


def test_a_certificate_never_outlives_its_authority() -> None:
    short = authority.make_authority("gz", NOW, years=1)
    made = authority.issue_node_certificate(short, "gz", "gz1", [], NOW + 300 * DAY)
    assert Trust({"gz": [short.certificate]}).judge(made.certificate, NOW + 300 * DAY).not_after == NOW + 365 * DAY
    with pytest.raises(UntrustedCertificate, match="expired"):
        authority.issue_node_certificate(short, "gz", "gz1", [], NOW + 366 * DAY)


def test_an_issuing_authority_issues_and_is_registered_below_its_root() -> None:
    root = authority.make_authority("gz", NOW, authorities_below=1)
    issuing = authority.make_issuing_authority(root, "gz", NOW)
    made = authority.issue_node_certificate(issuing, "gz", "gz1", [], NOW).certificate
    both = [root.certificate, issuing.certificate]
    certificates.check_authorities("gz", both, NOW)
    assert Trust({"gz": both}).judge(made, NOW).name == "gz1"
    with pytest.raises(UntrustedCertificate):
        Trust({"gz": both[:1]}).judge(made, NOW)
    for none_below in (CA, issuing):
        with pytest.raises(UntrustedCertificate) as refused:
            authority.make_issuing_authority(none_below, "gz", NOW)
        assert refused.value.reason == "path_length"


def test_two_issuing_authorities_of_one_root_have_names_of_their_own() -> None:
    root = authority.make_authority("gz", NOW, authorities_below=1)
    made = [authority.make_issuing_authority(root, "gz", NOW).certificate for _ in range(2)]
    assert len({x509.load_der_x509_certificate(each).subject.rfc4514_string() for each in made}) == 2


def test_the_list_an_authority_makes_is_accepted_and_revokes() -> None:
    made = authority.issue_node_certificate(CA, "gz", "gz1", [], NOW).certificate
    serial = x509.load_der_x509_certificate(made).serial_number
    at = datetime(2026, 8, 30, 12, 0, 0, 5, tzinfo=UTC)
    der = authority.make_revocation_list(CA, [Revoked(serial, at, "keyCompromise"), Revoked(5, at)], 3, NOW, days=7)
    found = load_revocation_list(der, "gz", [CA.certificate], NOW)
    assert (found.number, found.next_update, found.revoked[serial].reason) == (3, NOW + 7 * DAY, "keyCompromise")
    assert found.revoked[5].reason == "unspecified"
    with pytest.raises(UntrustedCertificate, match="keyCompromise"):
        Trust(TRUST.roots, Revocations.collect(TRUST.roots, [found])).judge(made, NOW)


def test_an_authority_signs_with_its_own_key_only() -> None:
    other = authority.make_authority("gz", NOW)
    mixed = CertifiedKey(CA.certificate, other.private_key)
    for sign in (
        lambda: authority.issue_node_certificate(mixed, "gz", "gz1", [], NOW),
        lambda: authority.make_revocation_list(mixed, [], 1, NOW),
    ):
        with pytest.raises(UntrustedCertificate) as refused:
            sign()
        assert refused.value.reason == "key_mismatch"
