"""Who is calling: an organisation and a name, proved by a certificate, or this machine's operator."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from dawan_node.rpc.access import Kind


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller. ``kind`` is LOCAL, OWN, ANONYMOUS, or OUTSIDER: what it is as long as no channel lists it.

    ``org`` and ``name`` are those of the certificate; a caller without one has neither.
    """

    org: str
    name: str
    kind: Kind

    def among(self, members: Collection[str]) -> Kind:
        """What this caller is where ``members`` are the active organisations."""
        if self.kind is Kind.OUTSIDER and self.org in members:
            return Kind.MEMBER
        return self.kind


LOCAL: Final = Caller("", "", Kind.LOCAL)
ANONYMOUS: Final = Caller("", "", Kind.ANONYMOUS)


def certified(org: str, name: str, own_org: str) -> Caller:
    """The caller with a certificate of ``org``, at a node of ``own_org``."""
    return Caller(org, name, Kind.OWN if org == own_org else Kind.OUTSIDER)
