"""Requests on their way: each a run of heights that somebody shall send, asked of one peer and, when it is late, of
another as well.

A peer that drips a byte a second, or never answers, must not hold up what others would send at once; and on a slow but
honest link giving up early would throw away what is nearly here. So nothing is given up early: when an answer takes
longer than usual a second peer is asked *too*, and whichever answer comes first is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dawan_node.sync.messages import BodiesRequest, LightRequest, SyncRequest
from dawan_node.sync.peers import SLOW_MARGIN_MS, Kind, Peers

#: How long a first answer may take before another peer is asked as well, while nothing was measured: a round trip of
#: 300 ms and 1 MiB at 10 Mbit/s, with room.
FIRST_PATIENCE_MS: Final = 2_000

#: Peers asked for the same heights at one time.
ATTEMPTS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to one peer."""

    peer: str
    id: int
    first: int
    last: int
    sent_ms: int


@dataclass(slots=True)
class Ask:
    """Heights ``first`` to ``last`` are wanted; ``attempts`` are the requests nobody has answered yet."""

    kind: Kind
    first: int
    last: int
    attempts: list[Attempt] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)


class Asks:
    """All requests of one channel."""

    def __init__(self, peers: Peers, request_timeout_ms: int) -> None:
        self._peers = peers
        self._timeout_ms = request_timeout_ms
        self._next_id = 1
        self.light: Ask | None = None
        self.bodies: list[Ask] = []  # ascending
        self.requests: list[tuple[str, SyncRequest]] = []

    def __iter__(self) -> Iterator[Ask]:
        if self.light is not None:
            yield self.light
        yield from self.bodies

    def clear(self) -> None:
        """Want nothing any more."""
        self.light = None
        self.bodies.clear()

    def find(self, peer: str, request_id: int, kind: Kind) -> tuple[Ask, Attempt] | None:
        """The open request that an answer belongs to; None for one not asked for, or answered by another already."""
        for ask in self:
            for attempt in ask.attempts:
                if ask.kind is kind and (attempt.peer, attempt.id) == (peer, request_id):
                    return ask, attempt
        return None

    def give_up(self, peer: str) -> None:
        """Expect nothing more of ``peer``."""
        for ask in self:
            ask.attempts = [attempt for attempt in ask.attempts if attempt.peer != peer]

    def expire(self, now_ms: int) -> None:
        """Give up on what has taken too long."""
        for ask in self:
            for attempt in list(ask.attempts):
                if now_ms - attempt.sent_ms >= self._timeout_ms:
                    ask.attempts.remove(attempt)
                    self._peers.failed(attempt.peer, "it did not answer in time", now_ms)

    def send(self, ask: Ask, now_ms: int) -> None:
        """Ask for ``ask`` if nobody is asked yet, or ask one more if that takes too long."""
        if ask.attempts:
            latest = ask.attempts[-1]
            if len(ask.attempts) >= ATTEMPTS_MAX or now_ms - latest.sent_ms < self._patience_ms(ask):
                return
        # Should nobody have all of it any more, whoever has the beginning may send that.
        able = self._peers.able(ask.last) or self._peers.able(ask.first)
        if all(name in ask.tried for name in able):
            ask.tried.clear()  # everybody had a chance; begin again
        for attempt in ask.attempts:
            able.pop(attempt.peer, None)
        untried = {name: peer for name, peer in able.items() if name not in ask.tried}
        busy = {attempt.peer for other in self if other.kind is ask.kind for attempt in other.attempts}
        if not any(peer.is_fit(now_ms) for peer in untried.values()):
            untried = able  # who was not tried goes first, but is not waited for while it rests
        name = self._peers.choose(untried, ask.kind, busy, now_ms) or self._peers.least_bad(able, busy, now_ms)
        if name is None:
            return
        for attempt in ask.attempts:
            self._peers.is_late(attempt.peer, ask.kind, now_ms - attempt.sent_ms)
        request: SyncRequest
        if ask.kind is Kind.LIGHT:
            request = LightRequest(self._next_id, ask.first, ask.last)
        else:
            request = BodiesRequest(self._next_id, ask.first, ask.last)
        self._next_id += 1
        ask.attempts.append(Attempt(name, request.id, ask.first, ask.last, now_ms))
        ask.tried.append(name)
        self.requests.append((name, request))

    def due_ms(self) -> list[int]:
        """When ``expire`` or ``send`` may have something to do."""
        times = []
        for ask in self:
            times += [attempt.sent_ms + self._timeout_ms for attempt in ask.attempts]
            if ask.attempts:
                times.append(ask.attempts[-1].sent_ms + self._patience_ms(ask))
        return times

    def _patience_ms(self, ask: Ask) -> int:
        fastest_ms = self._peers.fastest_ms(ask.kind)
        patience_ms = SLOW_MARGIN_MS + 4 * fastest_ms if fastest_ms else FIRST_PATIENCE_MS
        return min(patience_ms << (len(ask.attempts) - 1), self._timeout_ms)
