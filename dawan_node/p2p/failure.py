"""What an operator reads about a connection that did not come up: which certificate, which field, what to do.

Text of a TLS library answers "certificate verify failed"; the question is always which certificate, of whom, and
against which expectation (ecosystem.md sections 4 and 6).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from dawan_node.crypto.certificates import UNREADABLE

# Organisations named in one line; the alliance has dozens, and a log line is read by people.
_ORGS_NAMED_MAX: Final = 8

# Reasons the ssl module gives for the alert of a peer that refused our certificate.
_ALERTS: Final[Mapping[str, str]] = {
    "UNKNOWN_CA": "no CA certificate its network lists has issued it, or one that may not",
    "CERTIFICATE_EXPIRED": "it has expired by the peer's clock",
    "CERTIFICATE_REVOKED": "it has been revoked",
    "CERTIFICATE_REQUIRED": "none was shown",
    "UNSUPPORTED_CERTIFICATE": "it is not for this purpose",
    "BAD_CERTIFICATE": "it, or a CA certificate above it, breaks a rule",
    "CERTIFICATE_UNKNOWN": "it could not be processed",
    "DECRYPT_ERROR": "a signature does not verify: another CA of the same name issued it, or its key is another",
}
# X509_V_ERR_* of OpenSSL (x509_vfy.h): five ways of saying that the chain ends where nobody is registered.
_NOWHERE: Final = "does not end at a CA certificate this node knows"
_VERIFY: Final[Mapping[int, str]] = dict.fromkeys((2, 18, 19, 20, 21), _NOWHERE)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that failed, as far as its two ends are known."""

    peer: str  # for example "peer 'gz1' of gz (10.0.3.7:7100)"
    own_certificate: bytes = field(repr=False)
    roots: Mapping[str, Sequence[bytes]] = field(repr=False)
    org: str | None = None  # whose certificate was expected, when that is known
    shown: str = ""  # what our own rules say of the certificate the peer shows, when that could be learnt


def explain_attempt(error: OSError, attempt: Attempt) -> str:
    """Why the connection failed, with the remedy where one is known."""
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        verdict = attempt.shown or f"its TLS certificate {_VERIFY.get(error.verify_code, 'breaks a rule of X.509')}"
        return (
            f"{attempt.peer} refused: {verdict} ({error.verify_message}); this node expects {_expected(attempt)}. Fix: "
            "give the peer a certificate of the registered CA, or register its CA certificate on every node; "
            "`dawan-node doctor` shows both ends"
        )
    for alert, meaning in _ALERTS.items():
        if reason.endswith(f"ALERT_{alert}"):
            return (
                f"{attempt.peer} refused this node's TLS certificate {_title(attempt.own_certificate)}: {meaning} "
                f"({reason}). Fix: renew below the registered CA: `cert renew`; "
                "not admitted yet or suspended: await the vote"
            )
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return f"{attempt.peer} showed no TLS certificate ({reason}): a stranger, or a node that only looked at ours"
    if isinstance(error, ConnectionResetError):
        return f"{attempt.peer} hung up before TLS 1.3 was agreed; is that the peer-to-peer port of a node?"
    return explain_failure(error)


def explain_failure(error: OSError) -> str:
    """The same about an error that has nothing to do with certificates."""
    reason = getattr(error, "reason", None) or ""
    if "PROTOCOL" in reason or "VERSION" in reason or "WRONG" in reason or "HTTP" in reason:
        return f"the other end does not speak TLS 1.3 ({reason}); is the port the peer-to-peer one?"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there, or not yet"
    return reason or error.strerror or str(error) or type(error).__name__


def _expected(attempt: Attempt) -> str:
    """The registered authorities that would have done, by organisation."""
    orgs = sorted(attempt.roots) if attempt.org is None else [attempt.org]
    named = []
    for org in orgs[:_ORGS_NAMED_MAX]:
        authorities = " or ".join(_subject(der) for der in attempt.roots.get(org, ()))
        named.append(f"{authorities} for {org}" if authorities else f"nothing for {org}, which is not registered here")
    more = len(orgs) - _ORGS_NAMED_MAX
    return ", ".join(named) + (f", or one of {more} organisations more" if more > 0 else "")


def _subject(der: bytes) -> str:
    try:
        return f'"{_name(x509.load_der_x509_certificate(der).subject)}"'
    except UNREADABLE:
        return "an unreadable CA certificate"


def _title(der: bytes) -> str:
    try:
        certificate = x509.load_der_x509_certificate(der)
        return (
            f"{_name(certificate.subject)!r} (serial {certificate.serial_number:x}), "
            f'issued by "{_name(certificate.issuer)}"'
        )
    except UNREADABLE:
        return "(unreadable)"


def _name(name: x509.Name) -> str:
    """The common name, or the whole name when there is none."""
    for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME):
        if isinstance(attribute.value, str):
            return attribute.value
    return name.rfc4514_string()
