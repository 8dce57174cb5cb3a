"""Taking a socket through TLS, and letting the other end know why when that fails.

TLS is 1.3 only, with certificates on both sides. OpenSSL checks that the peer's chain ends in *some* registered root
and that the peer holds the key; which organisation that makes it, and whether every rule of the network is kept, is
decided afterwards on the certificate itself (``judgement``). Two judges who both must agree, save on time: the period
of validity is left to the second, who goes by the node's own clock and can say more than an alert. Host names are not
checked: identity is key and organisation root, an address is only a hint.

In TLS 1.3 the client has finished before the server judged its certificate, and asyncio drops a connection whose
handshake failed without sending the alert that OpenSSL has written. So here it is sent, and the socket is kept open
until the peer has hung up: a socket closed while bytes still come in answers with a reset, and whoever meets the reset
first never reads the alert.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from dawan_node.crypto.certificates import CertifiedKey, load_into_context
from dawan_node.errors import ConfigError
from dawan_node.p2p.framing import KIB

#: A closing connection gets this long, in seconds, for its last words.
CLOSE_S: Final = 1.0
# One read takes what has arrived, up to this; larger reads only delay the other links on the same loop.
_READ_BYTES: Final = 256 * KIB
# What a refused peer may still have under way, its own first frames; more is somebody who talks to be listened to.
_LINGER_BYTES: Final = 64 * KIB
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL (x509_vfy.h), which the ssl module has no name for.
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """Both ends' TLS settings with this node's certificate (DER)."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    certificate: bytes


class PatientReader(asyncio.StreamReader):
    """A reader that gives out what arrived before a connection broke, and only then that it broke.

    The standard one raises at once: the last words of a peer that hangs up would be lost.
    """

    failure: Exception | None = None

    def set_exception(self, exc: Exception) -> None:
        """Called by the protocol when the connection has broken."""
        self.failure = exc
        self.feed_eof()


def tls_contexts(certified: CertifiedKey, roots: Mapping[str, Sequence[bytes]]) -> TlsContexts:
    """Contexts that speak only TLS 1.3 and demand a certificate under one of ``roots`` (organisation -> DER).

    Raises ConfigError when the certificate, its key or a root cannot be used.
    """
    authorities = b"".join(der for org in sorted(roots) for der in roots[org])
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = _Context(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= _NO_CHECK_TIME
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=authorities)
            load_into_context(context, certified)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                "TLS cannot start",
                f"the node certificate, its key or a registered CA certificate is unusable ({error})",
                "Check the certificates with `dawan-node network verify`",
            ) from None
        contexts.append(context)
    server, client = contexts
    # A resumed session shows no certificate, and there would be nothing to bind the handshake to.
    server.num_tickets = 0
    return TlsContexts(server, client, certified.certificate)


async def resolve(host: str) -> tuple[str, ...]:
    """The IP addresses of ``host``, asked for anew each time: it may move. Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # what the library makes of "a..b"
        raise OSError(f"{host!r} is no host name") from None
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


async def connect(host: str, port: int) -> socket.socket:
    """A TCP connection to the first address of ``host`` that answers. Raises OSError."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for ip in await resolve(host):
        connection = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, (ip, port))
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure or OSError(f"{host} has no address")


async def secure(
    connection: socket.socket, context: ssl.SSLContext, handshake_s: float, *, server_side: bool
) -> tuple[PatientReader, asyncio.StreamWriter]:
    """Take a connected socket through the TLS handshake; it belongs to the returned pair, or is closed.

    Raises OSError (``ssl.SSLError`` included); the peer has then been sent the alert, if OpenSSL made one.
    """
    loop = asyncio.get_running_loop()
    reader = PatientReader(limit=_READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    opened: list[_Connection] = []
    try:
        last_words = connection.dup()  # asyncio closes its own before it tells
    except OSError:
        connection.close()
        raise
    before = _opened.set(opened)
    try:
        if server_side:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=handshake_s,
                ssl_shutdown_timeout=CLOSE_S,
            )
        else:
            transport, _ = await loop.create_connection(
                lambda: protocol,
                sock=connection,
                ssl=context,
                server_hostname="",
                ssl_handshake_timeout=handshake_s,
                ssl_shutdown_timeout=CLOSE_S,
            )
    except ssl.SSLError:
        await _send_alert(last_words, b"".join(each.unsent for each in opened))
        raise
    finally:
        _opened.reset(before)
        last_words.close()
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def shown_certificate(host: str, port: int, handshake_s: float) -> bytes | None:
    """The certificate (DER) that whoever listens there shows, judged by nobody; None when there is none to be had.

    For explaining a refusal: after one, the ``ssl`` module does not give out the certificate it refused.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent to and nothing believed of the other end
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        async with asyncio.timeout(handshake_s):
            connection = await connect(host, port)
            _, writer = await secure(connection, context, handshake_s, server_side=False)
    except OSError:  # TimeoutError is one; the failure that is being explained stands for itself
        return None
    ended: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return ended.getpeercert(binary_form=True)


class _Connection(ssl.SSLObject):
    """Keeps what a handshake that failed still had to say: asyncio throws it away before anybody else is told."""

    outgoing: ssl.MemoryBIO
    unsent = b""

    def do_handshake(self) -> None:
        """See ssl.SSLObject."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            self.unsent = self.outgoing.read()
            raise


class _Context(ssl.SSLContext):
    """Makes such connections, and notes them for the task that opens one."""

    sslobject_class = _Connection

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See ssl.SSLContext."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        opened = _opened.get()
        if isinstance(made, _Connection) and opened is not None:
            made.outgoing = outgoing
            opened.append(made)
        return made


# What the running task has opened; asyncio makes the object and keeps it when the handshake fails.
_opened: ContextVar[list[_Connection] | None] = ContextVar("_opened", default=None)


async def _send_alert(connection: socket.socket, alert: bytes) -> None:
    """Send ``alert`` and wait, a moment, for the peer to hang up."""
    loop = asyncio.get_running_loop()
    if not alert:
        return
    try:
        async with asyncio.timeout(CLOSE_S):
            await loop.sock_sendall(connection, alert)
            connection.shutdown(socket.SHUT_WR)
            left = _LINGER_BYTES
            while left > 0 and (data := await loop.sock_recv(connection, left)):
                left -= len(data)
    except OSError:  # TimeoutError is one; the peer has gone or does not go, and either way there is no more to tell
        pass
