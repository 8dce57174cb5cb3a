"""What a certificate says in words, and when everything this home knows runs out.

Certificates expire on a day that is written in them; what stops a network is that nobody looked. ``expiry`` lists
every certificate and revocation list in a home with the days it has left and a state that a monitoring tool can act
on.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from dawan_node.crypto.certificates import extension_of, fingerprint, is_self_signed
from dawan_node.crypto.revocation import lists_from_pem
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node.home import REVOCATION_FILE_BYTES_MAX, Home, read_certificates

#: Days left -> state, the most urgent first: time to ask an authority elsewhere, to remind it, and to stop waiting.
_STATES: Final = ((3, "urgent"), (14, "warning"), (30, "notice"))
_DAY: Final = timedelta(days=1)


class State(enum.StrEnum):
    """How soon something runs out."""

    OK = "ok"
    NOTICE = "notice"  # within 30 days
    WARNING = "warning"  # within 14 days
    URGENT = "urgent"  # within 3 days
    EXPIRED = "expired"
    UNREADABLE = "unreadable"

    @property
    def is_alarm(self) -> bool:
        """Whether somebody must act now."""
        return self in (State.URGENT, State.EXPIRED, State.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Expiring:
    """One certificate or revocation list. ``until`` and ``days_left`` (whole days) are None when it is unreadable."""

    kind: str  # own certificate, own authority, own list, authority, list
    org: str
    title: str
    file: Path
    until: datetime | None
    days_left: int | None
    state: State


def state_of(until: datetime, now: datetime) -> State:
    """How soon ``until`` comes."""
    if now > until:
        return State.EXPIRED
    return next((State(name) for days, name in _STATES if until - now < days * _DAY), State.OK)


def expiry(home: Home, org: str, now: datetime) -> list[Expiring]:
    """Everything in a home that runs out, the soonest first. A damaged file is in the list too."""
    found = [
        *_of_file(home.tls_certificate, "own certificate", org, now, _certificates),
        *_of_file(home.authority_certificate, "own authority", org, now, _certificates),
        *_of_file(home.authority_key.with_name("crl.pem"), "own list", org, now, _lists),
    ]
    for path in sorted(home.network.glob("*.pem")):
        found += _of_file(path, "authority", path.stem, now, _certificates)
    for path in sorted(home.revocation_lists.glob("*.crl.pem")):
        found += _of_file(path, "list", path.name.removesuffix(".crl.pem"), now, _lists)
    return sorted(found, key=lambda each: (each.until is not None, each.until or now, each.org, each.kind))


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
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion) as error:
        raise ConfigError("the certificate cannot be read", str(error), "Ask its owner for it again.") from None


def _certificates(path: Path) -> Iterator[tuple[str, datetime]]:
    for der in read_certificates(path):
        parsed = x509.load_der_x509_certificate(der)
        yield parsed.subject.rfc4514_string(), parsed.not_valid_after_utc


def _lists(path: Path) -> Iterator[tuple[str, datetime]]:
    with path.open("rb") as file:
        data = file.read(REVOCATION_FILE_BYTES_MAX + 1)
    for der in lists_from_pem(data):
        parsed = x509.load_der_x509_crl(der)
        if parsed.next_update_utc is None:
            raise UntrustedCertificate("crl_next_update", "it does not say until when it holds")
        yield f"list of {parsed.issuer.rfc4514_string()}", parsed.next_update_utc


def _of_file(
    path: Path, kind: str, org: str, now: datetime, read: Callable[[Path], Iterator[tuple[str, datetime]]]
) -> list[Expiring]:
    if not path.exists():
        return []
    try:
        return [
            Expiring(kind, org, title, path, until, (until - now) // _DAY, state_of(until, now))
            for title, until in read(path)
        ]
    except (ConfigError, UntrustedCertificate, OSError, ValueError) as error:
        why = error.why if isinstance(error, ConfigError) else str(error)
        return [Expiring(kind, org, why, path, None, None, State.UNREADABLE)]
