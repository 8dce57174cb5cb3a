"""Certificates: what the tools make is accepted, and each broken rule is refused for its own reason."""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dawan_node.crypto import authority, certificates
from dawan_node.crypto.certificates import CertifiedKey, validate_node_certificate
from dawan_node.errors import UntrustedCertificate

NOW = datetime(2026, 9, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")


def usage(*names: str) -> x509.KeyUsage:
    every = list(inspect.signature(x509.KeyUsage).parameters)
    return x509.KeyUsage(**{name: name in names for name in every})


def named(common_name: str, **other: str) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if "org" in other:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, other["org"]))
    return x509.Name(attributes)


@dataclass
class Recipe:
    """One certificate to be made; the defaults of ``leaf`` and ``root`` below are good ones."""

    subject: x509.Name
    extensions: dict[str, tuple[x509.ExtensionType, bool]]
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    issuer: Recipe | None = None
    not_before: datetime = NOW - DAY
    not_after: datetime = NOW + 30 * DAY
    hash: Any = field(default_factory=hashes.SHA256)
    patch: Callable[[bytes], bytes] | None = None

    def der(self) -> bytes:
        issuer = self.issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject)
            .public_key(self.key.public_key())
            .serial_number(0x1234567890)
            .not_valid_before(self.not_before)
            .not_valid_after(self.not_after)
        )
        for extension, critical in self.extensions.values():
            builder = builder.add_extension(extension, critical)
        hash_ = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey) else self.hash
        certificate = builder.sign(issuer.key, hash_)
        der = certificate.public_bytes(serialization.Encoding.DER)
        if self.patch is None:
            return der
        tbs = self.patch(certificate.tbs_certificate_bytes)
        signature = issuer.key.sign(tbs, ec.ECDSA(self.hash))
        algorithm = ECDSA_SHA1 if ECDSA_SHA1 in tbs else ECDSA_SHA256
        return sequence(tbs + algorithm + tlv(0x03, b"\0" + signature))


def tlv(tag: int, body: bytes) -> bytes:
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def sequence(body: bytes) -> bytes:
    return tlv(0x30, body)


def body_of(item: bytes) -> bytes:
    return item[2:] if item[1] < 0x80 else item[2 + (item[1] & 0x7F) :]


def root(org: str = "gz", **changes: Any) -> Recipe:
    return Recipe(
        named(f"{org} root"),
        {
            "constraints": (x509.BasicConstraints(True, 3), True),
            "usage": (usage("key_cert_sign", "crl_sign"), True),
        },
        **changes,
    )


def below(issuer: Recipe, name: str = "gz issuing") -> Recipe:
    made = root()
    made.subject, made.issuer = named(name), issuer
    return made


def leaf(issuer: Recipe, **changes: Any) -> Recipe:
    return Recipe(
        changes.pop("subject", named("gz1")),
        {
            "constraints": (x509.BasicConstraints(False, None), True),
            "usage": (usage("digital_signature"), True),
            "purposes": (x509.ExtendedKeyUsage(BOTH), False),
            "names": (x509.SubjectAlternativeName([x509.DNSName("gz1.gz.dawan")]), False),
        },
        issuer=issuer,
        **changes,
    )


GZ, HK = root("gz"), root("hk")
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ROOTS = {"gz": [GZ.der()], "hk": [HK.der()]}


def reason_for(der: bytes, roots: dict[str, list[bytes]] | None = None, now: datetime = NOW) -> str:
    with pytest.raises(UntrustedCertificate) as refused:
        validate_node_certificate(der, ROOTS if roots is None else roots, now)
    assert str(refused.value)
    return refused.value.reason


def with_extension(recipe: Recipe, **extensions: tuple[x509.ExtensionType, bool] | None) -> Recipe:
    for name, extension in extensions.items():
        if extension is None:
            del recipe.extensions[name]
        else:
            recipe.extensions[name] = extension
    return recipe


def test_what_our_own_tools_issue_is_accepted_with_its_organisation_and_name() -> None:
    mo = authority.make_authority("mo", NOW)
    made = authority.issue_node_certificate(mo, "mo", "mo1", ["127.0.0.1", "mo1.example"], NOW)
    judged = validate_node_certificate(made.certificate, {**ROOTS, "mo": [mo.certificate]}, NOW)
    assert (judged.org, judged.name) == ("mo", "mo1")
    assert judged.not_after == NOW + authority.NODE_CERTIFICATE_DAYS * DAY
    assert judged.fingerprint == certificates.fingerprint(made.certificate)
    certificates.check_authorities("mo", [mo.certificate], NOW)


def test_a_hand_made_leaf_under_an_intermediate_is_accepted() -> None:
    issuing = below(GZ)
    judged = validate_node_certificate(leaf(issuing).der(), {"gz": [GZ.der(), issuing.der()], "hk": [HK.der()]}, NOW)
    assert (judged.org, judged.name) == ("gz", "gz1")


def test_while_a_root_is_replaced_the_valid_certificate_of_its_key_counts() -> None:
    old = root(key=GZ.key, not_after=NOW - timedelta(hours=1))
    assert validate_node_certificate(leaf(GZ).der(), {"gz": [old.der(), GZ.der()]}, NOW).org == "gz"


def test_the_organisation_is_the_root_and_never_the_subject() -> None:
    judged = validate_node_certificate(leaf(GZ, subject=named("gz1", org="Some Company Ltd")).der(), ROOTS, NOW)
    assert judged.org == "gz"
    assert reason_for(leaf(GZ, subject=named("gz1", org="hk")).der()) == "foreign_organisation"
    as_hk = with_extension(leaf(GZ), names=(x509.SubjectAlternativeName([x509.DNSName("hk1.hk.dawan")]), False))
    assert reason_for(as_hk.der()) == "node_name"


def test_a_leaf_that_fits_two_organisations_belongs_to_neither() -> None:
    assert reason_for(leaf(GZ).der(), {"gz": [GZ.der()], "hk": [HK.der(), GZ.der()]}) == "ambiguous_organisation"


def test_an_intermediate_that_is_not_registered_does_not_count() -> None:
    assert reason_for(leaf(below(GZ)).der()) == "unknown_authority"


def test_a_damaged_registration_of_one_organisation_does_not_shut_out_another() -> None:
    assert validate_node_certificate(leaf(GZ).der(), {**ROOTS, "hk": [b"junk"]}, NOW).org == "gz"


def dns(*names: str) -> tuple[x509.ExtensionType, bool]:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False


def patched_serial(serial: bytes) -> Callable[[bytes], bytes]:
    return lambda tbs: sequence(body_of(tbs).replace(tlv(0x02, bytes.fromhex("1234567890")), tlv(0x02, serial), 1))


def claims_sha1(tbs: bytes) -> bytes:
    return sequence(body_of(tbs).replace(ECDSA_SHA256, ECDSA_SHA1))


def of_version_1(tbs: bytes) -> bytes:
    content = body_of(tbs).removeprefix(bytes.fromhex("a003020102"))
    return sequence(content[: extensions_start(content)])


def extensions_start(content: bytes) -> int:
    start = content.index(b"\xa3")
    while tlv(0xA3, body_of(content[start:])) != content[start:]:
        start = content.index(b"\xa3", start + 1)
    return start


def twice_the_usage(tbs: bytes) -> bytes:
    """The key usage extension a second time, with the three lengths around it corrected."""
    content = body_of(tbs)
    start = extensions_start(content)
    listed = body_of(body_of(content[start:]))
    mark = listed.index(bytes.fromhex("0603551d0f")) - 2
    extension = listed[mark : mark + 2 + listed[mark + 1]]
    return sequence(content[:start] + tlv(0xA3, sequence(listed + extension)))


LEAVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "expired": (lambda: leaf(GZ, not_after=NOW - timedelta(hours=1)).der(), "expired"),
    "not yet valid": (lambda: leaf(GZ, not_before=NOW + DAY).der(), "not_yet_valid"),
    "self-signed": (lambda: replace(leaf(GZ), issuer=None).der(), "unknown_authority"),
    "signed by a stranger's root of the same name": (lambda: leaf(root("gz")).der(), "unknown_authority"),
    "the root itself": (GZ.der, "leaf_is_authority"),
    "marked as an authority": (
        lambda: with_extension(leaf(GZ), constraints=(x509.BasicConstraints(True, None), True)).der(),
        "leaf_is_authority",
    ),
    "without purposes": (lambda: with_extension(leaf(GZ), purposes=None).der(), "extended_key_usage"),
    "for servers only": (
        lambda: with_extension(leaf(GZ), purposes=(x509.ExtendedKeyUsage(BOTH[:1]), False)).der(),
        "extended_key_usage",
    ),
    "for clients only": (
        lambda: with_extension(leaf(GZ), purposes=(x509.ExtendedKeyUsage(BOTH[1:]), False)).der(),
        "extended_key_usage",
    ),
    "for any purpose": (
        lambda: with_extension(
            leaf(GZ), purposes=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)
        ).der(),
        "extended_key_usage",
    ),
    "without key usage": (lambda: with_extension(leaf(GZ), usage=None).der(), "key_usage"),
    "with another key usage": (
        lambda: with_extension(leaf(GZ), usage=(usage("key_encipherment"), True)).der(),
        "key_usage",
    ),
    "that may sign certificates": (
        lambda: with_extension(leaf(GZ), usage=(usage("digital_signature", "key_cert_sign"), True)).der(),
        "key_usage",
    ),
    "with an unknown critical extension": (
        lambda: with_extension(leaf(GZ), odd=(UNKNOWN, True)).der(),
        "unknown_critical_extension",
    ),
    "with name constraints": (
        lambda: with_extension(
            leaf(GZ), limits=(x509.NameConstraints([x509.DNSName("gz.dawan")], None), False)
        ).der(),
        "name_constraints",
    ),
    "without a name": (lambda: with_extension(leaf(GZ), names=None).der(), "node_name"),
    "with two node names": (
        lambda: with_extension(leaf(GZ), names=dns("gz1.gz.dawan", "gz2.gz.dawan")).der(),
        "node_name",
    ),
    "with a name of another organisation beside its own": (
        lambda: with_extension(leaf(GZ), names=dns("gz1.gz.dawan", "hk1.hk.dawan")).der(),
        "node_name",
    ),
    "with a wildcard": (lambda: with_extension(leaf(GZ), names=dns("*.gz.dawan")).der(), "node_name"),
    "with a nested name": (lambda: with_extension(leaf(GZ), names=dns("a.b.gz.dawan")).der(), "node_name"),
    "with a name in capitals": (lambda: with_extension(leaf(GZ), names=dns("GZ1.GZ.DAWAN")).der(), "node_name"),
    "with serial number 0": (lambda: leaf(GZ, patch=patched_serial(b"\x00")).der(), "serial"),
    "with a serial number of 21 bytes": (lambda: leaf(GZ, patch=patched_serial(b"\x01" * 21)).der(), "serial"),
    "with a negative serial number": (lambda: leaf(GZ, patch=patched_serial(b"\x80")).der(), "serial"),
    "with a doubled extension": (lambda: leaf(GZ, patch=twice_the_usage).der(), "duplicate_extension"),
    "with a key of RSA 2048": (lambda: leaf(GZ, key=RSA).der(), "weak_key"),
    "with a key on P-521": (lambda: leaf(GZ, key=ec.generate_private_key(ec.SECP521R1())).der(), "weak_key"),
    "with a key of Ed25519": (lambda: leaf(GZ, key=ed25519.Ed25519PrivateKey.generate()).der(), "weak_key"),
    "of version 1": (lambda: leaf(GZ, patch=of_version_1).der(), "version"),
    "signed with SHA-1": (lambda: leaf(GZ, patch=claims_sha1).der(), "weak_signature"),
    "signed with SHA-224": (lambda: leaf(GZ, hash=hashes.SHA224()).der(), "weak_signature"),
    "with bytes after it": (lambda: leaf(GZ).der() + b"\x00", "malformed"),
    "cut short": (lambda: leaf(GZ).der()[:-1], "malformed"),
    "empty": (lambda: b"", "malformed"),
    "larger than any certificate": (lambda: leaf(GZ).der() + bytes(20_000), "malformed"),
    "with a changed signature": (lambda: leaf(GZ).der()[:-1] + b"\x00", "unknown_authority"),
    "naming another issuer key": (
        lambda: with_extension(
            leaf(KEYED), aki=(x509.AuthorityKeyIdentifier(b"\x01" * 20, None, None), False)
        ).der(),
        "key_identifier",
    ),
}  # fmt: skip
KEYED = with_extension(root("mo"), ski=(x509.SubjectKeyIdentifier.from_public_key(GZ.key.public_key()), False))


@pytest.mark.parametrize("title", LEAVES)
def test_a_node_certificate_is_refused(title: str) -> None:
    make, reason = LEAVES[title]
    assert reason_for(make(), {**ROOTS, "mo": [KEYED.der()]}) == reason


def chain(*changes: Callable[[Recipe], Recipe]) -> list[Recipe]:
    """A root and one authority for each further change, each issuing the next."""
    made = [changes[0](root())]
    for number, change in enumerate(changes[1:]):
        made.append(change(below(made[-1], f"authority {number}")))
    return made


def same(recipe: Recipe) -> Recipe:
    return recipe


def length(value: int | None) -> Callable[[Recipe], Recipe]:
    return lambda recipe: with_extension(recipe, constraints=(x509.BasicConstraints(True, value), True))


def dated(**dates: Any) -> Callable[[Recipe], Recipe]:
    def change(recipe: Recipe) -> Recipe:
        for name, value in dates.items():
            setattr(recipe, name, value)
        return recipe

    return change


AUTHORITIES: dict[str, tuple[Callable[[], list[Recipe]], str]] = {
    "that is not marked as one": (
        lambda: chain(same, lambda r: with_extension(r, constraints=(x509.BasicConstraints(False, None), True))),
        "not_an_authority",
    ),
    "without basic constraints": (
        lambda: chain(same, lambda r: with_extension(r, constraints=None)),
        "not_an_authority",
    ),
    "whose basic constraints are not critical": (
        lambda: chain(same, lambda r: with_extension(r, constraints=(x509.BasicConstraints(True, None), False))),
        "not_an_authority",
    ),
    "whose path length is exceeded": (lambda: chain(length(0), same), "path_length"),
    "whose path length is exceeded deep down": (lambda: chain(length(None), length(0), same), "path_length"),
    "that may not sign certificates": (
        lambda: chain(same, lambda r: with_extension(r, usage=(usage("digital_signature"), True))),
        "key_usage",
    ),
    "without key usage": (lambda: chain(same, lambda r: with_extension(r, usage=None)), "key_usage"),
    "limited to e-mail": (
        lambda: chain(
            same,
            lambda r: with_extension(
                r, purposes=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
            ),
        ),
        "extended_key_usage",
    ),
    "that has expired": (lambda: chain(same, dated(not_after=NOW - timedelta(hours=1))), "expired"),
    "whose root has expired": (lambda: chain(dated(not_after=NOW - timedelta(hours=1)), same), "expired"),
    "that is not yet valid": (lambda: chain(same, dated(not_before=NOW + DAY)), "not_yet_valid"),
    "with an unknown critical extension": (
        lambda: chain(same, lambda r: with_extension(r, odd=(UNKNOWN, True))),
        "unknown_critical_extension",
    ),
    "with critical name constraints": (
        lambda: chain(
            same,
            lambda r: with_extension(r, limits=(x509.NameConstraints([x509.DNSName("gz.dawan")], None), True)),
        ),
        "unknown_critical_extension",
    ),
    "with a key on P-521": (lambda: chain(same, dated(key=ec.generate_private_key(ec.SECP521R1()))), "weak_key"),
    "with an RSA key": (lambda: chain(same, dated(key=RSA)), "weak_signature"),
    "at the end of a long chain": (lambda: chain(length(None), *[length(None)] * 4), "unknown_authority"),
}


@pytest.mark.parametrize("title", AUTHORITIES)
def test_a_node_certificate_is_refused_under_an_authority(title: str) -> None:
    make, reason = AUTHORITIES[title]
    made = make()
    assert reason_for(leaf(made[-1]).der(), {"gz": [authority.der() for authority in made]}) == reason


@pytest.mark.parametrize(
    ("authorities", "reason"),
    [
        ([], "malformed"),
        ([b"junk"], "malformed"),
        ([below(GZ).der()], "no_root"),
        ([root(not_after=NOW - timedelta(hours=1)).der()], "expired"),
        ([leaf(GZ).der()], "no_root"),
    ],
)
def test_an_organisation_cannot_register_unusable_authorities(authorities: list[bytes], reason: str) -> None:
    with pytest.raises(UntrustedCertificate) as refused:
        certificates.check_authorities("gz", authorities, NOW)
    assert refused.value.reason == reason


def test_pem_and_der_carry_the_same_certificates() -> None:
    ders = [GZ.der(), HK.der()]
    assert certificates.from_pem(certificates.to_pem(ders)) == ders
    with pytest.raises(UntrustedCertificate):
        certificates.from_pem("nothing here")


def test_a_certified_key_hides_its_secret_and_serves_tls_without_touching_the_disk() -> None:
    made: CertifiedKey = authority.issue_node_certificate(
        authority.make_authority("gz", NOW), "gz", "gz1", ["127.0.0.1"], NOW
    )
    assert made.private_key.hex() not in repr(made) and repr(made.private_key) not in repr(made)
    certificates.load_into_context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), made)
