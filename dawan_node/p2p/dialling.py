"""The dialling side: one task per peer that dials it whenever the peer book says so.

A task that has reached its peer hands the connection on and waits: links run in tasks of their own, so dialling can
be ended or begun anew at any moment without a link noticing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from dawan_node.errors import NetworkError
from dawan_node.p2p.handshake import HandshakeRefused, Refusal
from dawan_node.p2p.meeting import Clock
from dawan_node.p2p.peers import PeerBook, PeerId
from dawan_node.p2p.transport import Met

logger = logging.getLogger(__name__)


class Diallers:
    """Dials the peers of ``book``.

    ``reach`` opens a connection to a name at an address and meets whoever is there, ``reached`` is given what came of
    it, ``explain`` words an OSError of ``reach``.
    """

    def __init__(
        self,
        book: PeerBook,
        reach: Callable[[str, str], Awaitable[Met]],
        reached: Callable[[Met], None],
        explain: Callable[[OSError, PeerId, str], Awaitable[str]],
        handshake_s: float,
        clock: Clock,
    ) -> None:
        self._book = book
        self._reach = reach
        self._reached = reached
        self._explain = explain
        self._handshake_s = handshake_s
        self._clock = clock
        self._tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def begin(self, name: str, group: asyncio.TaskGroup | None) -> None:
        """Dial ``name`` from now on, in a task of ``group``; nothing happens while there is none."""
        if group is not None:
            wake = asyncio.Event()
            self._tasks[name] = group.create_task(self._keep_dialling(name, wake)), wake

    def end(self, name: str) -> None:
        """Dial ``name`` no more, a dial under way included."""
        if name in self._tasks:
            task, _ = self._tasks.pop(name)
            task.cancel()

    def wake(self, name: str) -> None:
        """The book has changed its mind about when to dial ``name``."""
        if name in self._tasks:
            self._tasks[name][1].set()

    async def _keep_dialling(self, name: str, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            wait_ms = self._book.dial_wait_ms(name, self._clock.monotonic_ms())
            if wait_ms == 0:
                await self._dial(name)
                continue
            try:
                async with asyncio.timeout(None if wait_ms is None else wait_ms / 1_000):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _dial(self, name: str) -> None:
        address = self._book.begin_dial(name)
        peer = self._book.find(name)
        assert peer is not None
        refusal = None
        try:
            async with asyncio.timeout(self._handshake_s):
                met = await self._reach(name, address)
        except TimeoutError:
            failure = f"no answer in {self._handshake_s:g} s"
        except HandshakeRefused as error:
            failure, refusal = str(error), error.refusal
        except OSError as error:
            failure = await self._explain(error, peer, address)
        except NetworkError as error:
            failure = str(error)
        else:
            self._reached(met)
            return
        self._book.dial_failed(name, self._clock.monotonic_ms(), failure)
        level = logging.DEBUG if refusal is Refusal.DUPLICATE else logging.WARNING
        fields = {"peer": name, "address": address, "reason": failure, "refusal": refusal or "none"}
        logger.log(level, "dial_failed", extra={"fields": fields})
