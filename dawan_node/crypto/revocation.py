"""Certificate revocation lists (RFC 5280 section 5): which of its certificates an organisation takes back.

Each authority signs a list of serial numbers that no longer count. Like certificates, lists are judged by rules that
fit on one page:

* a list counts only for certificates that the authority which signed it issued, and only if the organisation that
  hands it over has registered that authority: nobody can revoke the certificate of another organisation;
* signed with ECDSA and SHA-256 or SHA-384, by an authority whose key usage allows it;
* already valid, with a date until which it holds (nextUpdate) and a number (crlNumber): of two lists of one authority
  the one with the higher number counts, so an old list cannot bring a revoked certificate back;
* complete: no delta list, no list for some kinds of certificates, and no critical extension that is not known;
* small enough to be read at once.

What happens when the list of an authority is missing or out of date is the network's choice (``RevocationRule``).
Under the soft rule its certificates are accepted and ``Revocations.warnings`` says so for as long as it lasts; under
the hard rule they are refused. What a list names as revoked stays revoked when the list is out of date.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from dawan_node.crypto.certificates import (
    AUTHORITIES_PER_ORG_MAX,
    SIGNATURE_ALGORITHMS,
    UNREADABLE,
    extension_of,
    is_strong_key,
    parse_authorities,
    public_key_of,
    title_of,
)
from dawan_node.errors import UntrustedCertificate

# An entry has about 40 bytes: room for some 6000 revoked certificates, where an organisation has tens of nodes.
LIST_BYTES_MAX: Final = 256 * 1024
CLOCK_SKEW: Final = timedelta(minutes=5)  # a list signed now must be accepted by a machine a little behind
_NUMBER_BITS_MAX: Final = 160  # RFC 5280 section 5.2.3: at most 20 octets
_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"


class RevocationRule(enum.StrEnum):
    """What an authority's missing or outdated list means for the certificates it issued."""

    SOFT = "soft"  # accepted, and reported
    HARD = "hard"  # refused


@dataclass(frozen=True, slots=True)
class Issuer:
    """An authority as a list names it: its subject (DER) and its key (SubjectPublicKeyInfo, DER).

    Two certificates of one authority, made while it is replaced, are one issuer.
    """

    name: bytes
    public_key: bytes

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Issuer:
        """The issuer that certificate is."""
        return cls(certificate.subject.public_bytes(), public_key_of(certificate))


@dataclass(frozen=True, slots=True)
class Revoked:
    """One entry of a list. ``reason`` is a word of RFC 5280 section 5.3.1."""

    serial: int
    at: datetime
    reason: str = x509.ReasonFlags.unspecified.value


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list that kept every rule at the top of this file."""

    org: str
    issuer: Issuer
    issuer_title: str
    number: int
    this_update: datetime
    next_update: datetime
    revoked: Mapping[int, Revoked]

    def is_stale(self, now: datetime) -> bool:
        """Whether a newer list should have come by now."""
        return now > self.next_update


def lists_from_pem(data: bytes) -> list[bytes]:
    """Every revocation list of a PEM file as DER, at most one for each authority an organisation may register.

    Raises UntrustedCertificate when there is none, too many, or one is damaged or too large.
    """
    blocks = data.split(_BEGIN)[1:]
    if not blocks or len(blocks) > AUTHORITIES_PER_ORG_MAX:
        raise UntrustedCertificate(
            "crl_malformed", f"{len(blocks)} revocation lists in PEM, where 1 to {AUTHORITIES_PER_ORG_MAX} are expected"
        )
    return [_der_of_block(block) for block in blocks]


def load_revocation_list(data: bytes, org: str, authorities: Sequence[bytes], now: datetime) -> RevocationList:
    """Judge one revocation list (DER) that ``org`` hands over, under the rules at the top of this file.

    ``authorities`` are the certificates ``org`` registered (DER). An outdated list is loaded; what that means is
    decided when a certificate is judged. Raises UntrustedCertificate with a stable ``reason`` beginning ``crl_``.
    """
    parsed = _parse(data, org)
    title = f"the revocation list of {org} signed by {parsed.issuer.rfc4514_string()!r}"
    if parsed.signature_algorithm_oid not in SIGNATURE_ALGORITHMS:
        raise UntrustedCertificate(
            "crl_weak_signature", f"{title} is signed with {parsed.signature_algorithm_oid.dotted_string}"
        )
    authority = _signer(parsed, org, authorities, title)
    _check_extensions(parsed, title)
    number = _number(parsed, title)
    this_update, next_update = parsed.last_update_utc, parsed.next_update_utc
    if this_update > now + CLOCK_SKEW:
        raise UntrustedCertificate("crl_not_yet_valid", f"{title} is valid from {this_update.isoformat()}")
    if next_update is None or next_update < this_update:
        raise UntrustedCertificate("crl_next_update", f"{title} does not say until when it holds (nextUpdate)")
    return RevocationList(
        org=org,
        issuer=Issuer.of(authority),
        issuer_title=title_of(authority),
        number=number,
        this_update=this_update,
        next_update=next_update,
        revoked=MappingProxyType(_entries(parsed, title)),
    )


@dataclass(frozen=True, slots=True)
class Revocations:
    """The lists a node knows, and what it makes of those it does not know.

    ``expected`` are the authorities whose list should be there, with the organisation and title of each for messages.
    Made by ``collect``; without arguments nothing is revoked and no list is expected.
    """

    rule: RevocationRule = RevocationRule.SOFT
    lists: Mapping[Issuer, RevocationList] = field(default_factory=lambda: MappingProxyType({}))
    expected: Mapping[Issuer, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def collect(
        cls,
        roots: Mapping[str, Sequence[bytes]],
        lists: Iterable[RevocationList],
        rule: RevocationRule = RevocationRule.SOFT,
    ) -> Revocations:
        """The newest list of every authority in ``roots``; lists of other authorities, or for another organisation,
        do not count."""
        expected: dict[Issuer, tuple[str, str]] = {}
        owners: set[tuple[str, Issuer]] = set()
        for org, authorities in sorted(roots.items()):
            for certificate in parse_authorities(authorities):
                expected.setdefault(Issuer.of(certificate), (org, title_of(certificate)))
                owners.add((org, Issuer.of(certificate)))
        newest: dict[Issuer, RevocationList] = {}
        for found in lists:
            known = newest.get(found.issuer)
            newer = known is None or (found.number, found.this_update) > (known.number, known.this_update)
            if newer and (found.org, found.issuer) in owners:
                newest[found.issuer] = found
        return cls(rule, MappingProxyType(newest), MappingProxyType(expected))

    def check(self, path: Sequence[x509.Certificate], now: datetime) -> None:
        """Refuse a path, leaf first and root last, of which a certificate was revoked.

        Raises UntrustedCertificate: ``revoked``, or under the hard rule ``crl_missing`` or ``crl_stale``.
        """
        issuers = [*path[1:], path[-1]]  # a root answers for itself
        for certificate, issuer in zip(path, issuers, strict=True):
            known = self.lists.get(Issuer.of(issuer))
            entry = known.revoked.get(certificate.serial_number) if known is not None else None
            if entry is not None:
                raise UntrustedCertificate(
                    "revoked",
                    f"{title_of(certificate)} was revoked by {title_of(issuer)} on {entry.at.isoformat()} "
                    f"({entry.reason}). Its organisation must issue a new one: cert issue, then cert install",
                )
        if self.rule is RevocationRule.HARD:
            for issuer in path[1:]:
                self._require_current_list(issuer, now)

    def warnings(self, now: datetime) -> list[str]:
        """One sentence for every expected list that is missing or out of date, whatever the rule."""
        found = []
        for issuer, (org, title) in sorted(self.expected.items(), key=lambda item: item[1]):
            known = self.lists.get(issuer)
            if known is None:
                found.append(f"{org}: no revocation list of {title} is known")
            elif known.is_stale(now):
                found.append(
                    f"{org}: the revocation list of {title} was to be renewed by {known.next_update.isoformat()}"
                )
        return found

    def _require_current_list(self, issuer: x509.Certificate, now: datetime) -> None:
        known = self.lists.get(Issuer.of(issuer))
        title = title_of(issuer)
        fix = "Its organisation must hand over a new one: cert crl"
        if known is None:
            raise UntrustedCertificate("crl_missing", f"no revocation list of {title} is known. {fix}")
        if known.is_stale(now):
            raise UntrustedCertificate(
                "crl_stale",
                f"the revocation list of {title} was to be renewed by {known.next_update.isoformat()}. {fix}",
            )


def _der_of_block(block: bytes) -> bytes:
    body, end, _ = block.partition(_END)
    # Base64 makes 4 characters of 3 bytes, and 65 of each 64 with its line end.
    if len(body) > LIST_BYTES_MAX * 3 // 2:
        raise UntrustedCertificate("crl_size", f"a revocation list of more than {LIST_BYTES_MAX} bytes")
    try:
        if not end:
            raise ValueError("its end line is missing")
        parsed = x509.load_pem_x509_crl(_BEGIN + body + _END + b"\n")
    except UNREADABLE as error:
        raise UntrustedCertificate("crl_malformed", f"not a readable revocation list: {error}") from None
    return parsed.public_bytes(Encoding.DER)


def _parse(data: bytes, org: str) -> x509.CertificateRevocationList:
    """A list whose fields the library can decode."""
    if len(data) > LIST_BYTES_MAX:
        raise UntrustedCertificate(
            "crl_size", f"the revocation list of {org} has {len(data)} bytes, more than {LIST_BYTES_MAX}"
        )
    try:
        parsed = x509.load_der_x509_crl(data)
        # The library decodes these on first use; what it cannot decode is refused here and nowhere later.
        _ = parsed.extensions, parsed.issuer, parsed.last_update_utc, parsed.next_update_utc
        _ = parsed.signature_algorithm_oid
    except UNREADABLE as error:
        raise UntrustedCertificate("crl_malformed", f"not a readable revocation list of {org}: {error}") from None
    return parsed


def _signer(
    parsed: x509.CertificateRevocationList, org: str, authorities: Sequence[bytes], title: str
) -> x509.Certificate:
    """The registered authority that signed the list."""
    for certificate in parse_authorities(authorities):
        if certificate.subject != parsed.issuer or not _signed_by(parsed, certificate):
            continue
        usage = extension_of(certificate, x509.KeyUsage)
        if usage is None or not usage.value.crl_sign:
            raise UntrustedCertificate(
                "crl_issuer", f"{title}: {title_of(certificate)} may not sign revocation lists (key usage cRLSign)"
            )
        return certificate
    raise UntrustedCertificate("crl_issuer", f"{title} is of no authority that {org} registered, or not of its key")


def _signed_by(parsed: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    try:
        key = certificate.public_key()
        # Asked for by name: the library would also verify with keys that no authority here may have.
        return isinstance(key, ec.EllipticCurvePublicKey) and is_strong_key(key) and parsed.is_signature_valid(key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _check_extensions(parsed: x509.CertificateRevocationList, title: str) -> None:
    for extension in parsed.extensions:
        if isinstance(extension.value, x509.DeltaCRLIndicator | x509.IssuingDistributionPoint):
            raise UntrustedCertificate(
                "crl_extension", f"{title} is not a complete list (extension {extension.oid.dotted_string})"
            )
        if extension.critical and extension.oid != x509.CRLNumber.oid:
            raise UntrustedCertificate(
                "crl_extension", f"{title} has the critical extension {extension.oid.dotted_string}"
            )


def _number(parsed: x509.CertificateRevocationList, title: str) -> int:
    try:
        number = parsed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        raise UntrustedCertificate("crl_number", f"{title} has no number (crlNumber)") from None
    if number < 0 or number.bit_length() > _NUMBER_BITS_MAX:
        raise UntrustedCertificate("crl_number", f"{title} has a number that is negative or over 20 bytes")
    return number


def _entries(parsed: x509.CertificateRevocationList, title: str) -> dict[int, Revoked]:
    """Every entry by serial number; of two for one certificate the earlier date counts."""
    found: dict[int, Revoked] = {}
    try:
        for entry in parsed:
            reason = x509.ReasonFlags.unspecified.value
            for extension in entry.extensions:
                if isinstance(extension.value, x509.CRLReason):
                    reason = extension.value.reason.value
                elif extension.critical:
                    raise UntrustedCertificate(
                        "crl_extension", f"an entry of {title} has the critical extension {extension.oid.dotted_string}"
                    )
            revoked = Revoked(entry.serial_number, entry.revocation_date_utc, reason)
            known = found.get(revoked.serial)
            if known is None or revoked.at < known.at:
                found[revoked.serial] = revoked
    except UNREADABLE as error:
        raise UntrustedCertificate("crl_malformed", f"an entry of {title} cannot be read: {error}") from None
    return found
