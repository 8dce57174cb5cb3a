"""The certificates a running node depends on: warned of in time, measured, and a reason not to be ready.

An expired certificate stops no vote: links that are up stay up, and the Ed25519 keys that vote do not expire. What it
stops is the next link. So a node whose own certificate has expired is live and not ready, and says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from dawan_node.crypto.trust import Trust
from dawan_node.node import expiry
from dawan_node.node.clock import Calendar
from dawan_node.node.expiry import Crossings, Dated, Finding, Kind, Level
from dawan_node.node.logs import fields
from dawan_node.node.metrics import Sample
from dawan_node.rpc.api import CertificateWarning

log = logging.getLogger(__name__)

#: A level is a matter of days; this often costs a comparison per certificate, and a clock that jumps is noticed.
LOOK_EVERY_S: Final = 2.0


class Certificates:
    """This node's own certificate, every organisation's authorities, and the revocation lists in use."""

    def __init__(
        self,
        name: str,
        org: str,
        certificate: bytes,
        authorities: Sequence[bytes],
        trust: Callable[[], Trust],
        clock: Calendar,
    ) -> None:
        """``certificate``: the TLS certificate in use, DER. ``authorities``: those in this home, registered or not.

        ``trust``: what counts now. Raises UntrustedCertificate when ``certificate`` cannot be read.
        """
        self._name: Final = name
        self._org: Final = org
        self._authorities: Final = tuple(authorities)
        self._trust: Final = trust
        self._clock: Final = clock
        self._leaf = self._date(certificate)
        self._crossings: Final = Crossings()
        self._renewals = 0
        self._dated_for: Trust | None = None
        self._others: list[Dated] = []

    async def run(self) -> None:
        """Report what comes near its end, until cancelled."""
        while True:
            self.report()
            await asyncio.sleep(LOOK_EVERY_S)

    def renewed(self, certificate: bytes) -> None:
        """Another certificate is in use from now on. Raises UntrustedCertificate when it cannot be read."""
        self._leaf = self._date(certificate)
        self._renewals += 1
        self.report()

    def findings(self) -> list[Finding]:
        """Every certificate and list with its level now, the worst first."""
        trust = self._trust()
        if trust is not self._dated_for:
            self._others = [
                *expiry.date_authorities({self._org: self._authorities}, self._org),
                *expiry.date_authorities(trust.roots, self._org),
                *expiry.date_lists(trust.revocations.lists.values(), self._org),
            ]
            self._dated_for = trust
        return expiry.examine([self._leaf, *self._others], self._clock.now())

    def report(self) -> None:
        """Log what crossed into a worse level since the last look."""
        for finding in self._crossings.new(self.findings()):
            expired = finding.level is Level.EXPIRED
            log.log(
                logging.ERROR if expired else logging.WARNING,
                "certificate_expired" if expired else "certificate_expires",
                extra=fields(
                    level=finding.level.word,
                    org=finding.dated.org,
                    what=finding.text,
                    ends=finding.dated.ends.isoformat(),
                    next=finding.dated.fix,
                ),
            )

    def warnings(self) -> tuple[CertificateWarning, ...]:
        """What an operator should act on, for ``status``."""
        return tuple(
            CertificateWarning(
                finding.dated.org,
                finding.level.word,
                int(finding.dated.ends.timestamp() * 1000),
                finding.text,
                finding.dated.fix,
            )
            for finding in self.findings()
            if finding.level > Level.OK
        )

    def failing(self) -> dict[str, str]:
        """Why this node is not ready, by the name of the check: its own certificate has expired."""
        finding = expiry.examine([self._leaf], self._clock.now())[0]
        if finding.level is not Level.EXPIRED:
            return {}
        return {"certificate": f"{finding.text}; no new link comes up. {finding.dated.fix}"}

    def samples(self) -> Iterator[Sample]:
        """For /metrics: when each ends, in Unix seconds, and how often this node's own was renewed."""
        yield "dawan_certificate_renewals_total", {}, self._renewals
        for finding in self.findings():
            dated = finding.dated
            ends = int(dated.ends.timestamp())
            if dated.kind is Kind.REVOCATIONS:
                # Not the number: a new list goes on with the same line.
                yield "dawan_revocation_list_next_update_seconds", {"issuer": dated.subject, "org": dated.org}, ends
                continue
            own = dated is self._leaf
            name = f"node {self._name}" if own else f"{dated.subject} (serial {dated.number:x})"
            yield "dawan_certificate_not_after_seconds", {"certificate": name, "org": dated.org}, ends

    def _date(self, certificate: bytes) -> Dated:
        return expiry.date_certificate(certificate, Kind.NODE, self._org, self._org)
