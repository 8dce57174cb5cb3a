"""The client's side of TLS: the certificate it presents, and which node it means to reach.

A host name proves nothing here: the node at the other end is known by the certificate its organisation's CA issued, and
must be the organisation (and, where one is named, the node) the caller meant. Otherwise every member of the network
could stand in for every other.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final

from dawan_node.crypto.certificates import CertifiedKey
from dawan_node.errors import UntrustedCertificate
from dawan_node.rpc.client import TlsFailed
from dawan_node.rpc.tls import Trust, new_context

_SERVER_FIX: Final = "Check the address, and that the network folder of this home is the current one."
_OWN_FIX: Final = "See whether the node is well, and whether its network has registered your organisation's CA."


@dataclass(frozen=True)
class ClientTls:
    """What a client needs to speak TLS with a node of ``org``, the one called ``name`` unless that is empty."""

    own: CertifiedKey
    trust: Trust
    org: str
    name: str = ""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Made once. Raises ConfigError when the certificate, its key or a root cannot be used."""
        return new_context(ssl.PROTOCOL_TLS_CLIENT, self.own, self.trust.roots)

    def check_server(self, leaf_der: bytes | None) -> None:
        """Require that the other end is the node meant. Raises TlsFailed."""
        if leaf_der is None:
            raise TlsFailed("the server showed no certificate", _SERVER_FIX)
        try:
            found = self.trust.judge(leaf_der, self.now())
        except UntrustedCertificate as error:
            raise TlsFailed(f"the server's {error}", _SERVER_FIX) from None
        if found.org != self.org or self.name not in ("", found.name):
            meant = f"{self.name}.{self.org}" if self.name else f"a node of {self.org}"
            raise TlsFailed(
                f"the server is {found.name}.{found.org}, not {meant}",
                f"Check the address; if that node is meant: --rpc-node {found.name}.{found.org}.",
            )

    def explain(self, error: BaseException, *, sent: bool) -> TlsFailed | None:
        """What a failure of TLS means; None for an error that has nothing to do with it.

        A server that does not know the client's CA ends the connection with an alert, or only by closing it: then
        nothing but the moment tells what happened, so this is for errors on a connection that has not answered yet.
        ``sent``: a request was on its way; an alert proves that nobody read it, a closed connection does not.
        """
        if isinstance(error, ssl.SSLCertVerificationError):
            return TlsFailed(f"the server's certificate is refused: {error.verify_message}", _SERVER_FIX)
        reason = getattr(error, "reason", None) or ""
        if "UNKNOWN_CA" in reason or "CERTIFICATE" in reason:
            return TlsFailed(f"the node refused the client certificate{self._own_fault()}", _OWN_FIX)
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            return TlsFailed(
                f"the other end does not speak TLS 1.3 ({reason or error})",
                "Check the address: https is for a node with `tls = true` in [rpc] of its node.toml.",
            )
        if sent and isinstance(error, ConnectionResetError | BrokenPipeError | EOFError | ssl.SSLEOFError):
            return TlsFailed(
                "the node closed the connection without an answer, as it does when no CA it knows has issued the "
                f"client certificate{self._own_fault()}",
                _OWN_FIX,
                sent=True,
            )
        return None

    def _own_fault(self) -> str:
        """What is wrong with the certificate presented, as far as it can be seen from here."""
        try:
            self.trust.judge(self.own.certificate, self.now())
        except UntrustedCertificate as error:
            return f"; {error}"
        return ""
