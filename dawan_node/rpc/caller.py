"""Who is calling: an organisation and a name, proved by a certificate, or this machine's operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dawan_node.crypto.certificates import NodeCertificate
from dawan_node.rpc.access import Kind


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller. ``kind`` is LOCAL, OWN, ANONYMOUS, or OUTSIDER: what it is as long as no channel lists it.

    ``org`` and ``name`` are those of the certificate, ``authorities`` the fingerprints of those its chain goes through;
    a caller without one has none of them, but ``connection``, the number of its own.
    """

    org: str
    name: str
    kind: Kind
    authorities: frozenset[bytes] = frozenset()
    connection: int = 0

    @property
    def bearer(self) -> str:
        """Who answers for what it hands in until the signatures are checked (``node.entering``): its organisation,
        or, as there is none behind a caller on this machine, its connection."""
        return f"organisation {self.org}" if self.org else f"connection {self.connection}"


LOCAL: Final = Caller("", "", Kind.LOCAL)
ANONYMOUS: Final = Caller("", "", Kind.ANONYMOUS)


def certified(certificate: NodeCertificate, is_own: bool) -> Caller:
    """The caller with a certificate; ``is_own``: of the organisation of this node."""
    kind = Kind.OWN if is_own else Kind.OUTSIDER
    return Caller(certificate.org, certificate.name, kind, certificate.authorities)
