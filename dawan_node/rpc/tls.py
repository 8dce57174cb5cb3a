"""TLS 1.3 for JSON-RPC: what both ends have in common (design section 9).

OpenSSL proves that the other end holds the key of a certificate that a registered authority issued, and decides
nothing else: not by the machine's time, which need not be the time the node goes by, and not by host name, since nodes
are known by ``<name>.<organisation>`` wherever they stand. What the certificate says is judged afterwards, by
``Trust``, so that whoever is refused can be told in words instead of by an alert.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate, load_into_context
from dawan_node.errors import ConfigError

#: X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h, which the ``ssl`` module has no name for.
NO_CHECK_TIME: Final = 0x200000


class Trust(Protocol):
    """Whose certificates count: ``crypto.trust.Trust``, or anything that judges like it."""

    @property
    def roots(self) -> Mapping[str, Sequence[bytes]]:
        """The CA certificates each organisation registered, DER."""
        ...

    def judge(self, leaf_der: bytes, now: datetime, /) -> NodeCertificate:
        """Whose certificate this is. Raises UntrustedCertificate."""
        ...


def new_context(protocol: int, certified: CertifiedKey, roots: Mapping[str, Sequence[bytes]]) -> ssl.SSLContext:
    """A context for ``ssl.PROTOCOL_TLS_SERVER`` or ``_CLIENT`` that presents ``certified``.

    Raises ConfigError when the certificate, its key or a root cannot be used.
    """
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=b"".join(der for org in sorted(roots) for der in roots[org]))
        load_into_context(context, certified)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            "TLS of JSON-RPC cannot start",
            f"the certificate, its key or a registered CA certificate is unusable ({error})",
            "Check the certificates with `dawan-node network verify`.",
        ) from None
    return context
