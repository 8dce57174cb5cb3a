"""What a certificate says in words, and when everything that lies in a home runs out.

``listing`` dates every certificate and revocation list among the files of a home, with the levels of node.expiry. It
needs no running node and believes nothing: a damaged file is in the list too, as what needs somebody most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from dawan_node.crypto.certificates import UNREADABLE, extension_of, fingerprint, is_self_signed
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node.expiry import Dated, Kind, Level, date_certificate
from dawan_node.node.home import Home, read_certificates, read_revocation_lists, revocation_files

_DAY: Final = timedelta(days=1)

_Reader = Callable[[Path, str, str], Iterator[Dated]]


@dataclass(frozen=True, slots=True)
class Listed:
    """One certificate or revocation list in a file. ``dated`` and ``level`` are None when it cannot be read."""

    file: Path
    org: str
    dated: Dated | None
    level: Level | None
    problem: str = ""

    @property
    def state(self) -> str:
        """A word for reports and programs."""
        return self.level.word if self.level is not None else "unreadable"

    @property
    def is_alarm(self) -> bool:
        """Whether somebody must act now: unreadable, expired, or at most a long weekend left."""
        return self.level is None or self.level >= Level.DAYS_3

    @property
    def fix(self) -> str:
        """What to do about it."""
        return self.dated.fix if self.dated is not None else "Put back the file from its owner or its backup."

    def days_left(self, now: datetime) -> int | None:
        """Whole days, negative when it is over; None when it cannot be read."""
        return (self.dated.ends - now) // _DAY if self.dated is not None else None


def listing(home: Home, org: str, now: datetime) -> list[Listed]:
    """Everything in a home that runs out, the soonest first and the unreadable before that."""
    found = [
        *_of_file(home.tls_certificate, org, org, now, _node_certificate),
        *_of_file(home.authority_certificate, org, org, now, _authorities),
        *_of_file(home.own_revocation_file, org, org, now, _lists),
    ]
    for path in sorted(home.network.glob("*.pem")):
        found += _of_file(path, path.stem, org, now, _authorities)
    for owner, path in revocation_files(home).items():
        found += _of_file(path, owner, org, now, _lists)
    return sorted(found, key=lambda each: (each.dated is not None, each.dated.ends if each.dated else now, each.org))


def facts(certificate: bytes) -> dict[str, Any]:
    """What a certificate (DER) says, for people and programs; nothing of it is believed here.

    Raises ConfigError when it cannot be read.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        names = extension_of(parsed, x509.SubjectAlternativeName)
        constraints = extension_of(parsed, x509.BasicConstraints)
        key = parsed.public_key()
        return {
            "subject": parsed.subject.rfc4514_string(),
            "issuer": parsed.issuer.rfc4514_string(),
            "self_signed": is_self_signed(parsed),
            "serial": hex(parsed.serial_number),
            "not_before": parsed.not_valid_before_utc.isoformat(),
            "not_after": parsed.not_valid_after_utc.isoformat(),
            "names": [str(name.value) for name in names.value] if names is not None else [],
            "authority": constraints is not None and constraints.value.ca,
            "key": key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__,
            "fingerprint": "0x" + fingerprint(certificate).hex(),
        }
    except UNREADABLE as error:
        raise ConfigError("the certificate cannot be read", str(error), "Ask its owner for it again.") from None


def _node_certificate(path: Path, org: str, own_org: str) -> Iterator[Dated]:
    yield date_certificate(read_certificates(path)[0], Kind.NODE, org, own_org)


def _authorities(path: Path, org: str, own_org: str) -> Iterator[Dated]:
    for der in read_certificates(path):
        yield date_certificate(der, Kind.AUTHORITY, org, own_org)


def _lists(path: Path, org: str, own_org: str) -> Iterator[Dated]:
    for der in read_revocation_lists(path):
        parsed = x509.load_der_x509_crl(der)
        if parsed.next_update_utc is None:
            raise UntrustedCertificate("crl_next_update", "it does not say until when it holds")
        try:
            number = parsed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except x509.ExtensionNotFound:
            raise UntrustedCertificate("crl_number", "it has no number") from None
        yield Dated(
            kind=Kind.REVOCATIONS,
            org=org,
            subject=parsed.issuer.rfc4514_string(),
            number=number,
            ends=parsed.next_update_utc,
            own=org == own_org,
        )


def _of_file(path: Path, org: str, own_org: str, now: datetime, read: _Reader) -> list[Listed]:
    if not path.exists():
        return []
    try:
        return [Listed(path, org, dated, dated.level(now)) for dated in read(path, org, own_org)]
    except (ConfigError, UntrustedCertificate, OSError, *UNREADABLE) as error:
        why = error.why if isinstance(error, ConfigError) else str(error)
        return [Listed(path, org, None, None, why)]
