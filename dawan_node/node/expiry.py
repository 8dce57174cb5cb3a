"""What ends when: certificates and revocation lists, how near their end is, whose they are and what renews them.

A certificate that expires unnoticed is how consortium networks die (ecosystem.md E8), and it can be known years
before. So every certificate this node depends on is dated, its own and those of every organisation, and each has one
of five levels. What is near its end is logged once per level, shown by ``status`` and measured.

Pure: certificates and the time come in, findings go out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from dawan_node.crypto.certificates import UNREADABLE
from dawan_node.crypto.revocation import RevocationList
from dawan_node.errors import UntrustedCertificate


class Level(enum.IntEnum):
    """How near the end is; a higher one is worse."""

    OK = 0
    DAYS_30 = 1
    DAYS_14 = 2
    DAYS_3 = 3
    EXPIRED = 4

    @property
    def word(self) -> str:
        """As it stands in logs and reports."""
        return ("ok", "30 days", "14 days", "3 days", "expired")[self]


#: A level begins when so much time is left. A new root needs a vote of several organisations, whose administrators
#: meet once a month: 30 days. Who was on holiday at the first warning is back after two weeks: 14. The last one leaves
#: a long weekend: 3. (Fabric, which warns a week ahead in a log nobody reads, had outages.)
CERTIFICATE_LEVELS: Final = (
    (timedelta(0), Level.EXPIRED),
    (timedelta(days=3), Level.DAYS_3),
    (timedelta(days=14), Level.DAYS_14),
    (timedelta(days=30), Level.DAYS_30),
)
#: Revocation lists are made anew every few weeks, by one command: a warning a month ahead would never go out.
LIST_LEVELS: Final = ((timedelta(0), Level.EXPIRED), (timedelta(days=3), Level.DAYS_3))


class Kind(enum.StrEnum):
    """What has a date."""

    NODE = "TLS certificate"
    AUTHORITY = "CA certificate"
    REVOCATIONS = "revocation list"


@dataclass(frozen=True, slots=True)
class Dated:
    """One thing that ends. ``own``: of this node's organisation. ``number``: serial number, or a list's crlNumber."""

    kind: Kind
    org: str
    subject: str
    number: int
    ends: datetime
    own: bool
    begins: datetime | None = None  # known of certificates

    @property
    def title(self) -> str:
        """What it is and whose, as a person would look it up."""
        if self.kind is Kind.REVOCATIONS:
            return f"{self.kind} {self.number} of {self.org}, signed by {self.subject}"
        return f"{self.kind} {self.subject!r} (serial {self.number:x}) of {self.org}"

    @property
    def fix(self) -> str:
        """What renews it, and who has to do that."""
        match self.kind:
            case Kind.NODE:
                return "Renew it: dawan-node cert renew. A running node takes the new keys/tls.pem by itself."
            case Kind.REVOCATIONS if self.own:
                return f"Sign a new one: dawan-node cert crl; every node needs it as network/crl/{self.org}.crl.pem."
            case Kind.REVOCATIONS:
                return f"Ask {self.org} for a new one (dawan-node cert crl there); put it in network/crl."
            case _:
                whose = "Make a new root and register it" if self.own else f"Ask {self.org} to register a new root"
                return f"{whose} by governance vote while this one still counts."

    def level(self, now: datetime) -> Level:
        """How near the end is at the aware time ``now``."""
        left = self.ends - now
        table = LIST_LEVELS if self.kind is Kind.REVOCATIONS else CERTIFICATE_LEVELS
        return next((level for limit, level in table if left < limit), Level.OK)


@dataclass(frozen=True, slots=True)
class Finding:
    """A dated thing as of one moment."""

    dated: Dated
    level: Level
    now: datetime

    @property
    def text(self) -> str:
        """One sentence: the certificate, whose it is, and the date."""
        date = self.dated.ends.strftime("%Y-%m-%d %H:%M UTC")
        days = abs(self.dated.ends - self.now) // timedelta(days=1)
        unit = "day" if days == 1 else "days"
        if self.level is Level.EXPIRED:
            return f"{self.dated.title} expired on {date}, {days} {unit} ago"
        return f"{self.dated.title} expires on {date}, in {days} {unit}"


def date_certificate(der: bytes, kind: Kind, org: str, own_org: str) -> Dated:
    """The end of a certificate. Raises UntrustedCertificate when the bytes are none."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return Dated(
            kind=kind,
            org=org,
            subject=certificate.subject.rfc4514_string(),
            number=certificate.serial_number,
            ends=certificate.not_valid_after_utc,
            own=org == own_org,
            begins=certificate.not_valid_before_utc,
        )
    except UNREADABLE as error:
        raise UntrustedCertificate("malformed", f"not a readable certificate of {org}: {error}") from None


def date_authorities(roots: Mapping[str, Sequence[bytes]], own_org: str) -> list[Dated]:
    """The ends of every organisation's registered authorities; what cannot be read is not trusted and has no end."""
    found = []
    for org, authorities in sorted(roots.items()):
        for der in authorities:
            try:
                found.append(date_certificate(der, Kind.AUTHORITY, org, own_org))
            except UntrustedCertificate:
                continue  # the judgement of crypto.certificates leaves it out as well, and `doctor` reports it
    return found


def date_lists(lists: Iterable[RevocationList], own_org: str) -> list[Dated]:
    """Until when the known revocation lists hold."""
    return [
        Dated(Kind.REVOCATIONS, known.org, known.issuer_title, known.number, known.next_update, known.org == own_org)
        for known in sorted(lists, key=lambda known: (known.org, known.issuer_title))
    ]


def examine(dated: Iterable[Dated], now: datetime) -> list[Finding]:
    """Each with its level, the worst first."""
    found = [Finding(each, each.level(now), now) for each in dict.fromkeys(dated)]
    return sorted(found, key=lambda finding: (-finding.level, finding.dated.ends))


class Crossings:
    """Remembers what was reported, so that each level of each certificate is reported once."""

    def __init__(self) -> None:
        self._reported: dict[Dated, Level] = {}

    def new(self, findings: Sequence[Finding]) -> list[Finding]:
        """Those that crossed into a worse level since the last call. What is not among ``findings`` is forgotten."""
        crossed = [finding for finding in findings if finding.level > self._reported.get(finding.dated, Level.OK)]
        # A clock set back does not make the same warning new again.
        self._reported = {
            finding.dated: max(finding.level, self._reported.get(finding.dated, Level.OK)) for finding in findings
        }
        return crossed
