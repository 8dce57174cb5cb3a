"""The listening side before anybody is known: accept, hold strangers to their limits, hand on who has been met.

Strangers cost little. Until its handshake is over a connection has a deadline and counts against a limit per IP
address and in total; what is logged about them is limited too, because they decide how much there would be.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from dawan_node.errors import ConfigError, NetworkError
from dawan_node.p2p.gossip import TokenBucket
from dawan_node.p2p.handshake import HandshakeRefused, Refusal
from dawan_node.p2p.peers import parse_address
from dawan_node.p2p.transport import Met

logger = logging.getLogger(__name__)

# Connections the kernel may hold before this node looks at them.
_BACKLOG: Final = 64
# The accept loop rests this long when the machine has no file descriptors left.
_ACCEPT_REST_S: Final = 0.5
_STRANGER_LINES_PER_S: Final = 5
_STRANGER_LINES_BURST: Final = 20


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """How many strangers, and for how long. One address may be a company's gateway with several nodes behind it."""

    strangers_per_ip_max: int
    strangers_max: int
    handshake_s: float


class Door:
    """Accepts connections until cancelled.

    ``meet`` takes a socket through TLS and handshake, ``welcome`` serves whom it met, ``explain`` words an OSError of
    ``meet`` about a connection from an IP address.
    """

    def __init__(
        self,
        limits: DoorLimits,
        meet: Callable[[socket.socket], Awaitable[Met]],
        welcome: Callable[[Met], Awaitable[None]],
        explain: Callable[[OSError, str], str],
        monotonic_ms: Callable[[], int],
    ) -> None:
        self.strangers: dict[str, int] = {}  # connections that are not known yet, by IP address
        self._limits = limits
        self._meet = meet
        self._welcome = welcome
        self._explain = explain
        self._monotonic_ms = monotonic_ms
        self._lines = TokenBucket(_STRANGER_LINES_PER_S, _STRANGER_LINES_BURST, monotonic_ms())
        self._lines_suppressed = 0

    async def accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        """Serve every connection to ``listener`` in a task of ``group``."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                self._log("accept_failed", "", error.strerror or str(error))
                await asyncio.sleep(_ACCEPT_REST_S)
                continue
            ip = str(address[0])
            if (
                self.strangers.get(ip, 0) >= self._limits.strangers_per_ip_max
                or sum(self.strangers.values()) >= self._limits.strangers_max
            ):
                connection.close()
                self._log("connection_refused", ip, "too many connections before a handshake")
                continue
            self.strangers[ip] = self.strangers.get(ip, 0) + 1
            task = group.create_task(self._serve(connection, ip))
            # The transport closes the socket; this is for a task that is cancelled before its first step.
            task.add_done_callback(partial(_close, connection))

    async def _serve(self, connection: socket.socket, ip: str) -> None:
        met: Met | None = None
        try:
            async with asyncio.timeout(self._limits.handshake_s):
                met = await self._meet(connection)
        except TimeoutError:
            self._log("handshake_timeout", ip, f"no handshake in {self._limits.handshake_s:g} s")
        except HandshakeRefused as error:
            if error.refusal is not Refusal.DUPLICATE:  # that is how two dials of one pair end, nothing to report
                self._log("handshake_refused", ip, str(error), refusal=error.refusal, by_peer=error.by_peer)
        except OSError as error:
            self._log("handshake_failed", ip, self._explain(error, ip))
        except NetworkError as error:
            self._log("handshake_failed", ip, str(error))
        finally:
            self.strangers[ip] -= 1
            if not self.strangers[ip]:
                del self.strangers[ip]
        if met is not None:
            await self._welcome(met)

    def _log(self, event: str, ip: str, reason: str, **more: Any) -> None:
        """One line, at a rate strangers cannot raise; what was left out is counted in the next line."""
        if not self._lines.take(1, self._monotonic_ms()):
            self._lines_suppressed += 1
            return
        fields = {"ip": ip, "reason": reason, "suppressed": self._lines_suppressed, **more}
        logger.warning(event, extra={"fields": fields})
        self._lines_suppressed = 0


def listening_socket(listen: str) -> socket.socket:
    """A non-blocking listening socket. Raises ConfigError."""
    host, port = parse_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen for peers on {listen}",
            os.strerror(error.errno) if error.errno else str(error),
            "Stop the program that holds the port, or choose another under [p2p] listen in node.toml",
        ) from None
    listener.setblocking(False)
    return listener


def _close(connection: socket.socket, _: asyncio.Task[None]) -> None:
    connection.close()
