"""Certificates, good and bad, made by hand: what no honest tool would issue must be made here byte by byte."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ALTERNATIVE_NAMES, AUTHORITY_KEY_IDENTIFIER, CERTIFICATE_ISSUER = "2.5.29.17", "2.5.29.35", "2.5.29.29"
NOW = datetime(2026, 9, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
LEAF_SERIAL = 0x1234567890

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ECDSA_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
RSA_MD5 = bytes.fromhex("300d06092a864886f70d0101040500")

Extensions = dict[str, tuple[x509.ExtensionType, bool]]


@dataclass
class Recipe:
    """One certificate to be made; the defaults of ``leaf`` and ``root`` below are good ones.

    ``patch`` changes the signed part before it is signed; ``outer`` is the algorithm written beside the signature.
    """

    subject: x509.Name
    extensions: Extensions
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    issuer: Recipe | None = None
    not_before: datetime = NOW - DAY
    not_after: datetime = NOW + 30 * DAY
    serial: int = LEAF_SERIAL
    hash: Any = field(default_factory=hashes.SHA256)
    patch: Callable[[bytes], bytes] | None = None
    outer: bytes = ECDSA_SHA256

    def der(self) -> bytes:
        issuer = self.issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(issuer.subject)
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(self.not_before)
            .not_valid_after(self.not_after)
        )
        for extension, critical in self.extensions.values():
            builder = builder.add_extension(extension, critical)
        hash_ = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey) else self.hash
        certificate = builder.sign(issuer.key, hash_)
        if self.patch is None:
            return certificate.public_bytes(serialization.Encoding.DER)
        tbs = self.patch(certificate.tbs_certificate_bytes)
        signature = issuer.key.sign(tbs, ec.ECDSA(self.hash))
        return sequence(tbs + self.outer + tlv(0x03, b"\0" + signature))

    def pkcs8(self) -> bytes:
        """The private key, DER."""
        return bytes(
            self.key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def usage(*names: str) -> x509.KeyUsage:
    every = list(inspect.signature(x509.KeyUsage).parameters)
    return x509.KeyUsage(**{name: name in names for name in every})


def named(common_name: str, org: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if org is not None:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, org))
    return x509.Name(attributes)


def root(org: str = "gz", **changes: Any) -> Recipe:
    return Recipe(
        named(f"{org} root"),
        {
            "constraints": (x509.BasicConstraints(True, 3), True),
            "usage": (usage("key_cert_sign", "crl_sign"), True),
        },
        **{"serial": 0x10, **changes},
    )


def below(issuer: Recipe, name: str = "gz issuing", **changes: Any) -> Recipe:
    made = root(**{"serial": 0x20, **changes})
    made.subject, made.issuer = named(name), issuer
    return made


def leaf(issuer: Recipe | None, **changes: Any) -> Recipe:
    return Recipe(
        changes.pop("subject", named("gz1")),
        {
            "constraints": (x509.BasicConstraints(False, None), True),
            "usage": (usage("digital_signature"), True),
            "purposes": (x509.ExtendedKeyUsage(BOTH), False),
            "names": dns("gz1.gz.dawan"),
        },
        issuer=issuer,
        **changes,
    )


def dns(*names: str) -> tuple[x509.ExtensionType, bool]:
    """The alternative names, without the library's own checks of them."""
    made = [x509.DNSName._init_without_validation(name) for name in names]
    return x509.SubjectAlternativeName(made), False


def having(recipe: Recipe, **extensions: tuple[x509.ExtensionType, bool] | None) -> Recipe:
    """The recipe with those extensions put in or, where None, left out."""
    for name, extension in extensions.items():
        if extension is None:
            del recipe.extensions[name]
        else:
            recipe.extensions[name] = extension
    return recipe


def revocation_list(
    signer: Recipe,
    *serials: int,
    number: int | None = 1,
    this_update: datetime = NOW - DAY,
    next_update: datetime = NOW + 7 * DAY,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    entry_extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    issuer: x509.Name | None = None,
    hash_: Any = None,
) -> bytes:
    """A list signed by ``signer``'s key, DER."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer or signer.subject)
        .last_update(this_update)
        .next_update(next_update)
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - HOUR)
        for extension, critical in entry_extensions:
            entry = entry.add_extension(extension, critical)
        builder = builder.add_revoked_certificate(entry.build())
    ed = isinstance(signer.key, ed25519.Ed25519PrivateKey)
    made = builder.sign(signer.key, None if ed else hash_ or hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def unsupported_name(oid: str) -> tuple[x509.ExtensionType, bool]:
    """An extension with a general name (x400Address) that is allowed and that the library cannot read."""
    x400 = tlv(0xA3, b"")
    names = tlv(0xA1, x400) + tlv(0x82, b"\x01") if oid == AUTHORITY_KEY_IDENTIFIER else x400
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), sequence(names)), False


def unknown_feature() -> tuple[x509.ExtensionType, bool]:
    """A TLS feature (RFC 7633) with a number that is allowed and that the library has no name for."""
    return x509.UnrecognizedExtension(x509.TLSFeature.oid, sequence(tlv(0x02, b"\x07"))), False


# -- DER by hand -----------------------------------------------------------------------------------------------------


def tlv(tag: int, body: bytes) -> bytes:
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def sequence(body: bytes) -> bytes:
    return tlv(0x30, body)


def body_of(item: bytes) -> bytes:
    return item[2:] if item[1] < 0x80 else item[2 + (item[1] & 0x7F) :]


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """A patch: the first ``old`` inside the signed part becomes ``new``, the outer length corrected."""

    def patch(tbs: bytes) -> bytes:
        content = body_of(tbs)
        assert old in content
        return sequence(content.replace(old, new, 1))

    return patch


def with_serial(serial: bytes) -> Callable[[bytes], bytes]:
    return replaced(tlv(0x02, bytes.fromhex("1234567890")), tlv(0x02, serial))


def of_version_1(tbs: bytes) -> bytes:
    content = body_of(tbs).removeprefix(bytes.fromhex("a003020102"))
    return sequence(content[: _extensions_start(content)])


def with_twice_the_usage(tbs: bytes) -> bytes:
    """The key usage extension a second time, with the three lengths around it corrected."""
    content = body_of(tbs)
    start = _extensions_start(content)
    listed = body_of(body_of(content[start:]))
    mark = listed.index(bytes.fromhex("0603551d0f")) - 2
    extension = listed[mark : mark + 2 + listed[mark + 1]]
    return sequence(content[:start] + tlv(0xA3, sequence(listed + extension)))


def utc_time(moment: datetime) -> bytes:
    return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())


def _extensions_start(content: bytes) -> int:
    start = content.index(b"\xa3")
    while tlv(0xA3, body_of(content[start:])) != content[start:]:
        start = content.index(b"\xa3", start + 1)
    return start
