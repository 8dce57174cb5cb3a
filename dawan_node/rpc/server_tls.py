"""The server's side of TLS: its certificate, whom it believes, and both replaced while it runs.

A new certificate or another ``Trust`` needs no new listener: the next handshake uses the new context, and a connection
that is open already is judged again at its next request, because a verdict counts only for the trust that gave it.

A caller without a certificate completes the handshake and is told so in JSON. A certificate that no registered
authority issued ends in OpenSSL's alert: nothing else can be done with it there.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate, fingerprint
from dawan_node.errors import UntrustedCertificate
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.api import ApiError
from dawan_node.rpc.caller import ANONYMOUS, Caller, certified
from dawan_node.rpc.tls import Trust, new_context

#: A verdict is made anew after this time, not only when the trust changes: an authority may expire in between. A
#: judgement takes about a millisecond, most of it elliptic curves.
VERDICT_AGE_MAX: Final = timedelta(seconds=60)
#: Verdicts kept; several for each of some hundred members' systems. Only accepted certificates are, so nobody can
#: fill this who has not been given that many certificates.
VERDICTS_MAX: Final = 1_024

_CODES: Final = MappingProxyType({"revoked": jsonrpc.REVOKED, "expired": jsonrpc.CERTIFICATE_EXPIRED})
_FIXES: Final = MappingProxyType(
    {
        "revoked": "Its organisation revoked it: present the certificate that replaced it.",
        "expired": "Have the CA of your organisation renew it, and present the new one.",
        "not_yet_valid": "Check the clocks of this node and of the CA, or wait until then.",
        "unknown_authority": "Have your organisation's CA registered here, or present another certificate.",
    }
)
_FIX: Final = "Present a node certificate that the CA of your organisation issued, for example keys/tls.pem of a node."


@dataclass(frozen=True, slots=True)
class _Verdict:
    certificate: NodeCertificate
    at: datetime
    generation: int


class ServerTls:
    """Who this server is and who its callers are."""

    def __init__(
        self,
        own: CertifiedKey,
        is_own: Callable[[NodeCertificate], bool],
        trust: Trust,
        now: Callable[[], datetime],
    ) -> None:
        """``is_own``: whether a caller is of the organisation of this node. ``now`` is the node's clock, as an aware
        time. Raises ConfigError when TLS cannot work with these."""
        self._own = own
        self._is_own: Final = is_own
        self._trust = trust
        self._now: Final = now
        self._context = _server_context(own, trust)
        self._verdicts: dict[bytes, _Verdict] = {}
        #: Counts changes of the trust.
        self.generation = 0

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake."""
        return self._context

    def renew(self, own: CertifiedKey) -> None:
        """Present another certificate from the next handshake on. Raises ConfigError; the old one stays then."""
        self._context = _server_context(own, self._trust)
        self._own = own

    def update(self, trust: Trust) -> None:
        """Judge by another trust from now on, open connections too. Raises ConfigError; the old one stays then."""
        if trust.roots != self._trust.roots:
            self._context = _server_context(self._own, trust)
        self._trust = trust
        self._verdicts.clear()
        self.generation += 1

    def caller(self, leaf_der: bytes | None) -> Caller:
        """Who presented this certificate. Raises ApiError -32010, -32012 or -32013 with the certificate and the fix."""
        if leaf_der is None:
            return ANONYMOUS
        certificate = self._judge(leaf_der)
        return certified(certificate, self._is_own(certificate))

    def _judge(self, leaf_der: bytes) -> NodeCertificate:
        now, key = self._now(), fingerprint(leaf_der)
        known = self._verdicts.get(key)
        if known is not None and _still_holds(known, self.generation, now):
            return known.certificate
        self._verdicts.pop(key, None)
        try:
            certificate = self._trust.judge(leaf_der, now)
        except UntrustedCertificate as error:
            code = _CODES.get(error.reason, jsonrpc.UNAUTHENTICATED)
            raise ApiError(code, f"client {error}", hint=_FIXES.get(error.reason, _FIX)) from None
        if len(self._verdicts) >= VERDICTS_MAX:
            self._verdicts.clear()
        self._verdicts[key] = _Verdict(certificate, now, self.generation)
        return certificate


def _still_holds(verdict: _Verdict, generation: int, now: datetime) -> bool:
    certificate = verdict.certificate
    return (
        verdict.generation == generation
        and verdict.at <= now < verdict.at + VERDICT_AGE_MAX
        and certificate.not_before <= now <= certificate.not_after
    )


def _server_context(own: CertifiedKey, trust: Trust) -> ssl.SSLContext:
    context = new_context(ssl.PROTOCOL_TLS_SERVER, own, trust.roots)
    # Asked for, and judged in HTTP: whoever has none gets a sentence.
    context.verify_mode = ssl.CERT_OPTIONAL
    # A resumed session would show the certificate of an earlier one, under an earlier trust.
    context.num_tickets = 0
    return context
