"""What this node thinks of a peer's TLS certificate: at the door, and again while the peer is inside.

At the door every rule counts, time included. OpenSSL is told not to look at the time (``tls``), so that this node's own
clock and rules decide and the peer hears a sentence with a remedy instead of a TLS alert.

Inside, time alone does not count: an established link outlives the expiry of its certificate (or of an authority
above it). Expiry is a lapse of paperwork, announced weeks before, and cutting links for it would take the quorum away
from a whole channel in one second (ecosystem.md, E8); an expiry must never cost a block. It does refuse every *new*
connection, so it cannot be overlooked for long. A revocation, a removed organisation and a replaced root are
decisions somebody took: they end the session (reliability.md row E2). So does a revocation list that is missing or
out of date where the network chose the hard rule: it chose to trust nobody of whom it cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from cryptography import x509

from dawan_node.crypto.certificates import DNS_SUFFIX, UNREADABLE, NodeCertificate
from dawan_node.errors import UntrustedCertificate
from dawan_node.p2p.handshake import HandshakeRefused, Refusal
from dawan_node.primitives.names import is_label

#: Reasons of UntrustedCertificate that only time has brought about, the peer's or our clock's.
TIME_REASONS: Final = frozenset({"expired", "not_yet_valid"})

# Reasons found before anything of the certificate was read, and a good cause not to read it for its name.
_UNPARSED: Final = frozenset({"malformed", "serial", "duplicate_extension"})
_NO_NAME: Final = "that node"

_FIXES: Final[Mapping[str, str]] = {
    "expired": "run `dawan-node cert renew` on {node}",
    "not_yet_valid": "compare the clocks of this node and of {node} with `dawan-node doctor`",
    "unknown_authority": (
        "if the organisation of {node} has a new CA certificate, every node must have it in its consortium.toml "
        "([[org]] ca) or by vote; else give {node} a certificate of the registered CA"
    ),
}
_OTHER_FIX: Final = "have the CA of its organisation issue {node} a new certificate: `dawan-node cert issue`"


class Trust(Protocol):
    """Whose certificates count: the registered authorities, and what they have revoked."""

    @property
    def roots(self) -> Mapping[str, Sequence[bytes]]:
        """Each organisation's registered CA certificates, DER, root first."""

    def judge(self, leaf_der: bytes, now: datetime) -> NodeCertificate:
        """Whose node certificate this is, at the aware time ``now``. Raises UntrustedCertificate."""


def at(wall_ms: int) -> datetime:
    """A wall clock's milliseconds as an aware time."""
    return datetime.fromtimestamp(wall_ms / 1_000, UTC)


def judge_newcomer(trust: Trust, leaf_der: bytes, wall_ms: int) -> NodeCertificate:
    """Judge the certificate of a new connection. Raises HandshakeRefused naming the certificate and the remedy."""
    try:
        return trust.judge(leaf_der, at(wall_ms))
    except UntrustedCertificate as error:
        raise _refused(error, leaf_der) from None


def verdict(trust: Trust, leaf_der: bytes, wall_ms: int) -> str:
    """What stands against a certificate, without the remedy; empty when nothing does."""
    try:
        trust.judge(leaf_der, at(wall_ms))
    except UntrustedCertificate as error:
        return str(error)
    return ""


def judge_resident(trust: Trust, known: NodeCertificate, leaf_der: bytes, wall_ms: int, passed_ms: int) -> bool:
    """Judge the certificate of an established link again: time alone does not cut it, see the top of this file.

    ``passed_ms``: wall clock at which the certificate last passed every rule. A certificate that fails for the time
    is judged once more as of then, so that an expiry does not hide a revocation. Returns whether it passes every rule
    now, time included. Raises HandshakeRefused.
    """
    for moment_ms in (wall_ms, passed_ms):
        try:
            judged = trust.judge(leaf_der, at(moment_ms))
        except UntrustedCertificate as error:
            if error.reason not in TIME_REASONS:
                raise _refused(error, leaf_der) from None
            continue
        if (judged.org, judged.name) != (known.org, known.name):
            raise HandshakeRefused(
                Refusal.CERTIFICATE,
                f"TLS certificate refused: that of {known.name!r} of {known.org!r} now counts as one of "
                f"{judged.name!r} of {judged.org!r}; compare the registered CA certificates",
            )
        return moment_ms == wall_ms
    return False


def claimed_node(leaf_der: bytes) -> str:
    """The node a certificate says it is for, as words for an operator; a claim, nothing more."""
    try:
        certificate = x509.load_der_x509_certificate(leaf_der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for name in names.get_values_for_type(x509.DNSName):
            parts = name.split(".")
            if len(parts) == 3 and parts[2] == DNS_SUFFIX and is_label(parts[0]) and is_label(parts[1]):
                return f"{parts[0]} of {parts[1]}"
    except UNREADABLE:
        pass  # the judgement that is being explained says what is wrong with it
    return _NO_NAME


def _refused(error: UntrustedCertificate, leaf_der: bytes) -> HandshakeRefused:
    text = f"TLS certificate refused: {error}"
    if error.reason != "revoked" and not error.reason.startswith("crl_"):  # crypto.revocation ends with the remedy
        node = _NO_NAME if error.reason in _UNPARSED else claimed_node(leaf_der)
        text += f"; {_FIXES.get(error.reason, _OTHER_FIX).format(node=node)}"
    return HandshakeRefused(Refusal.CERTIFICATE, text)
