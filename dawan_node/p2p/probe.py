"""Knocking at a peer's door without going in: what `doctor` asks of every address.

A probe goes as far as the peer's challenge, which a node sends only after it has judged the certificate shown to it,
and hangs up before a hello: a hello would be a second connection of this node, and the peer would give up the link of
the running one for it. So it learns what the peer thinks of the certificate, and not whether node, key and role are
listed there; that stands in the running node's own log.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate
from dawan_node.errors import InvalidMessage, NetworkError
from dawan_node.p2p.failure import Attempt, explain_attempt, explain_failure
from dawan_node.p2p.handshake import PROTOCOL_VERSION, Challenge, Refused, decode_control
from dawan_node.p2p.judgement import Trust, judge_newcomer, verdict
from dawan_node.p2p.peers import parse_address
from dawan_node.p2p.tls import TlsContexts, connect, resolve, secure, shown_certificate, tls_contexts
from dawan_node.p2p.transport import Stream

#: How long each step may take, in seconds. An operator waits for it; across the world a step takes under one.
STEP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """How one step ended; ``text`` says why it failed and what to do, or is empty."""

    ok: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What came of each step; None for a step that was not reached."""

    address: str
    tcp: Step
    tls: Step | None = None
    certificate: Step | None = None  # our judgement of theirs
    verdict: Step | None = None  # their judgement of ours
    peer: NodeCertificate | None = None  # whose certificate it is, when ``certificate`` is ok
    rtt_ms: float | None = None  # of the TCP connection
    clock_skew_ms: int | None = None  # their wall clock minus ours, right to half of ``rtt_ms``


async def probe(address: str, tls: CertifiedKey, trust: Trust, now: datetime) -> ProbeReport:
    """Knock at ``address`` (``host:port``) with this node's certificate at the aware time ``now``.

    Raises ConfigError for an address, certificate or CA certificate that cannot be used; every failure of the
    network or the peer is part of the report.
    """
    host, port = parse_address(address)
    contexts = tls_contexts(tls, trust.roots)
    return await _Probe(address, host, port, contexts, trust, now).run()


class _Probe:
    def __init__(self, address: str, host: str, port: int, tls: TlsContexts, trust: Trust, now: datetime) -> None:
        self._address = address
        self._host = host
        self._port = port
        self._tls = tls
        self._trust = trust
        self._loop = asyncio.get_running_loop()
        self._wall_at_zero_ms = now.timestamp() * 1_000 - self._loop.time() * 1_000

    async def run(self) -> ProbeReport:
        try:
            async with asyncio.timeout(STEP_S):
                connection, rtt_ms = await self._connect()
        except TimeoutError:
            return ProbeReport(self._address, Step(False, f"no answer in {STEP_S:g} s; is a firewall in between?"))
        except OSError as error:
            return ProbeReport(self._address, Step(False, explain_failure(error)))
        try:
            async with asyncio.timeout(STEP_S):
                reader, writer = await secure(connection, self._tls.client, STEP_S, server_side=False)
                stream = Stream(reader, writer, self._tls.certificate)
        except TimeoutError:
            tls, shown = Step(False, f"no TLS handshake in {STEP_S:g} s; is the port the peer-to-peer one?"), None
        except (OSError, NetworkError) as error:
            tls, shown = await self._explain(error)
        else:
            try:
                return await self._talk(stream, rtt_ms)
            finally:
                await stream.close()
        return ProbeReport(self._address, Step(True), tls, shown, rtt_ms=rtt_ms)

    async def _connect(self) -> tuple[socket.socket, float]:
        """A connection to the first address that answers, and how long that one took."""
        failure = OSError(f"{self._host} has no address")
        for ip in await resolve(self._host):
            begun = self._loop.time()
            try:
                return await connect(ip, self._port), (self._loop.time() - begun) * 1_000
            except OSError as error:
                failure = error
        raise failure

    async def _talk(self, stream: Stream, rtt_ms: float) -> ProbeReport:
        """Judge the peer's certificate and hear what it says first."""
        peer = None
        try:
            peer = judge_newcomer(self._trust, stream.certificate, self._wall_ms())
        except InvalidMessage as error:
            certificate = Step(False, str(error))
        else:
            certificate = Step(True)
        skew_ms = None
        try:
            async with asyncio.timeout(STEP_S):
                first = decode_control(await stream.read_control())
        except TimeoutError:
            heard = Step(False, f"it said nothing in {STEP_S:g} s; is it overloaded?")
        except OSError as error:
            heard = Step(False, explain_attempt(error, self._attempt()))
        except (InvalidMessage, NetworkError) as error:
            heard = Step(False, str(error))
        else:
            heard = _verdict_in(first)
            if isinstance(first, Challenge) and peer is not None:
                skew_ms = round(first.wall_ms + rtt_ms / 2 - self._wall_ms())
        return ProbeReport(
            self._address, Step(True), Step(True), certificate, heard, peer, rtt_ms=rtt_ms, clock_skew_ms=skew_ms
        )

    async def _explain(self, error: OSError | NetworkError) -> tuple[Step, Step | None]:
        """The failed TLS step; and the certificate's, when that is what failed and it can be looked at."""
        if not isinstance(error, OSError):
            return Step(False, str(error)), None
        shown = ""
        if isinstance(error, ssl.SSLCertVerificationError):
            leaf = await shown_certificate(self._host, self._port, STEP_S)
            shown = "" if leaf is None else verdict(self._trust, leaf, self._wall_ms())
        step = Step(False, explain_attempt(error, self._attempt(shown)))
        return step, Step(False, shown) if shown else None

    def _attempt(self, shown: str = "") -> Attempt:
        return Attempt(f"the node at {self._address}", self._tls.certificate, self._trust.roots, shown=shown)

    def _wall_ms(self) -> int:
        return round(self._wall_at_zero_ms + self._loop.time() * 1_000)


def _verdict_in(first: object) -> Step:
    """What the peer's first message says of our certificate."""
    if isinstance(first, Challenge):
        if first.version == PROTOCOL_VERSION:
            return Step(True)
        return Step(
            False,
            f"it accepts the certificate but speaks protocol version {first.version}, this software "
            f"{PROTOCOL_VERSION}; upgrade the older of the two",
        )
    if isinstance(first, Refused):
        return Step(False, f"{first.refusal}: {first.text}")
    return Step(False, f"it began with a {type(first).__name__}, as no node does")
