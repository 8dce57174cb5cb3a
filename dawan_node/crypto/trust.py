"""Whom a node believes: every organisation's registered authorities, and what they have taken back.

A ``Trust`` is a value. When an authority is registered or a revocation list arrives, the node builds a new one and
hands it to whoever asks the question "whose certificate is this?"; the answer is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dawan_node.crypto.certificates import NodeCertificate, validate_node_certificate
from dawan_node.crypto.revocation import Revocations


@dataclass(frozen=True, slots=True)
class Trust:
    """``roots`` maps each organisation to the CA certificates it registered (DER, root first, then intermediates)."""

    roots: Mapping[str, Sequence[bytes]]
    revocations: Revocations = field(default_factory=Revocations)

    def judge(self, leaf_der: bytes, now: datetime) -> NodeCertificate:
        """Whose node certificate ``leaf_der`` is at the aware time ``now``.

        Raises UntrustedCertificate with a stable ``reason`` (crypto.certificates, crypto.revocation).
        """
        return validate_node_certificate(
            leaf_der, self.roots, now, check_path=lambda path: self.revocations.check(path, now)
        )
