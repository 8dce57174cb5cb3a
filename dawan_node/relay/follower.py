"""Following a source: every title of the target that is reserved for it hears what became of it, until told to stop.

The chains are the only memory: which reservations wait is asked of the target, a page at a time, and what became of
each of the source. So it can begin anywhere and again, and holds no more than a page however many wait. It looks when
either channel has a new block, and rests nine times as long as a look took, so many waiting titles make it slower and
never busy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dawan_node.relay.carrier import Carrier, ChainRefused
from dawan_node.relay.errands import Errand
from dawan_node.relay.refusals import Reason, RelayRefused
from dawan_node.relay.target import TITLE, KnownSource, Reservation
from dawan_node.rpc.client import RpcError, Unreachable

#: Rest after a look, in times of what it took: a tenth of one core at most, and of the nodes' attention.
REST: Final = 9
#: A look at everything also when no block was made: what was refused may be possible now, by time alone.
LOOK_AGAIN_S: Final = 300.0
#: The first rest after a failure doubles up to this: a node that is down is not helped by being asked.
PAUSE_MAX_S: Final = 60.0
#: What the chain refused is tried again after so long, and then after twice as long, up to a day: a court lifts a
#: freeze, a bank names another recipient; each try is a failed transaction on the chain.
RETRY_S: Final = 3_600.0
RETRY_MAX_S: Final = 86_400.0
#: Refusals that are remembered. Of more the oldest are tried again sooner.
REFUSED_MAX: Final = 10_000
#: Between two blocks that are asked for on an idle source. It needs one, and has it within seconds.
TICK_S: Final = 60.0

#: What is no failure of the moment: another node, key or command line is needed.
_FINAL: Final = frozenset(
    {Reason.NO_CHANNEL, Reason.NO_MODULE, Reason.UNKNOWN_CLIENT, Reason.OTHER_CHAIN, Reason.KEY_NOT_ALLOWED}
)


@dataclass(slots=True)
class Look:
    """What one look at all reservations found and did."""

    waiting: int = 0
    carried: int = 0
    refused: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class _Refusal:
    until_s: float
    pause_s: float


class Follower:
    """Looks after all reservations for one source; ``run`` until ``rest`` says stop, or ``look`` once."""

    def __init__(
        self,
        carrier: Carrier,
        *,
        interval_s: float,
        rest: Callable[[float], bool],
        now_s: Callable[[], float],
        wall_ms: Callable[[], int],
        tell: Callable[[str], None],
        tick: Callable[[], None] | None = None,
    ) -> None:
        """``rest(seconds)`` waits, and is True once there is to be no more; ``now_s`` is a monotonic clock, ``wall_ms``
        the time of day; ``tell`` hears of trouble. ``tick`` makes the source make a block."""
        self._carrier: Final = carrier
        self._interval_s: Final = interval_s
        self._rest: Final = rest
        self._now_s: Final = now_s
        self._wall_ms: Final = wall_ms
        self._tell: Final = tell
        self._tick: Final = tick
        self._refused: dict[tuple[str, bytes], _Refusal] = {}
        self._troubles: dict[str, str] = {}
        self._heads: tuple[int, int] = (-1, -1)
        self._looked_s = -LOOK_AGAIN_S
        self._ticked_s = -TICK_S
        #: The earliest term that nobody used and that the source has no block behind yet.
        self._term_ms: int | None = None

    def run(self) -> None:
        """Until told to stop. Raises RelayRefused for what waiting does not cure, RpcError alike."""
        vain = 0
        trouble = ""
        while True:
            began_s = self._now_s()
            try:
                self._round(began_s)
                vain, now = 0, ""
            except (Unreachable, ChainRefused) as error:
                vain, now = vain + 1, str(error)
            except RelayRefused as error:
                if error.reason in _FINAL:
                    raise
                vain, now = vain + 1, f"{error.what}: {error.why}"
            except RpcError as error:
                if not error.retryable:
                    raise
                vain, now = vain + 1, str(error)
            if now != trouble:
                self._tell(f"{now}; trying again" if now else "going on")
                trouble = now
            took_s = self._now_s() - began_s
            pause_s = max(self._interval_s, REST * took_s)
            if vain:
                pause_s = min(max(self._interval_s, 0.5) * 2 ** min(vain, 10), PAUSE_MAX_S)
            if self._rest(pause_s):
                return

    def look(self) -> Look:
        """One look at every reservation that is not settled; what moves is carried, a page at a time.

        A target without titles has its client of the source brought into each new epoch, and nothing else to learn.
        """
        found = Look()
        known = self._carrier.advance()
        if TITLE not in self._carrier.target.modules:
            return found
        _, source_ms = self._carrier.source.head()
        term_ms: int | None = None
        cursor: str | None = None
        while True:
            before = cursor
            page, cursor = self._carrier.target.binding(before)
            due, unused = self._carrier.due(page, source_ms)
            found.waiting += len(due) + len(unused)
            terms = [each.commit_by_ms for each in unused]
            term_ms = min([*terms, *([] if term_ms is None else [term_ms])], default=None)
            self._settle(due, known, found)
            if cursor is None or found.unknown:
                break
            if cursor == before:
                why = f"{self._carrier.target.channel} gives the same page of reservations again and again"
                raise RelayRefused(Reason.BAD_ANSWER, why, "Ask another node.")
        self._term_ms = term_ms
        return found

    def _round(self, now_s: float) -> None:
        if self._carrier.sending.resume():
            raise Unreachable("what was sent is not answered yet", sent=True)
        heads = (self._carrier.source.head()[0], self._carrier.target.head_height())
        if heads != self._heads or now_s - self._looked_s >= LOOK_AGAIN_S:
            found = self.look()
            if not found.unknown:
                # As they were before: what was made meanwhile is a reason to look again.
                self._heads, self._looked_s = heads, now_s
        over = self._term_ms is not None and self._wall_ms() >= self._term_ms
        if self._tick is not None and over and now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            self._tick()

    def _settle(self, due: list[Reservation], known: KnownSource, found: Look) -> None:
        errands: list[Errand] = []
        for reservation, made in self._carrier.settlements(due, known):
            if isinstance(made, RelayRefused):
                if made.reason in _FINAL:
                    raise made
                found.refused += 1
                self._say_once(reservation.name, f"{reservation.name}: {made.what}: {made.why}")
            elif made is not None and not self._is_refused(made):
                errands.append(made)
        for carried in self._carrier.carry(errands):
            if carried.is_done:
                found.carried += 1
                self._refused.pop(_name_of(carried.errand), None)
                self._troubles.pop(carried.errand.about, None)
            elif not carried.outcome.is_known:
                found.unknown += 1
            else:
                found.refused += 1
                self._remember(carried.errand)

    def _is_refused(self, errand: Errand) -> bool:
        refusal = self._refused.get(_name_of(errand))
        return refusal is not None and self._now_s() < refusal.until_s

    def _remember(self, errand: Errand) -> None:
        before = self._refused.pop(_name_of(errand), None)
        pause_s = RETRY_S if before is None else min(2 * before.pause_s, RETRY_MAX_S)
        self._refused[_name_of(errand)] = _Refusal(self._now_s() + pause_s, pause_s)
        if len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]

    def _say_once(self, name: str, text: str) -> None:
        """The same trouble with the same title is told once."""
        if self._troubles.pop(name, "") != text:
            self._tell(text)
        self._troubles[name] = text
        if len(self._troubles) > REFUSED_MAX:
            del self._troubles[next(iter(self._troubles))]


def _name_of(errand: Errand) -> tuple[str, bytes]:
    return errand.about, errand.statement
