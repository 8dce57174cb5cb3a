"""What is on its way into the pool and not proven yet: whose account it is on until its signature was checked.

An envelope names a key, and with it an organisation, long before anybody has checked that the key signed it. If it were
on that organisation's account at once, a stranger could use up the organisation's part of the client window
(``client_window``) with envelopes that are not signed at all, and its own clients would be told to come back (1002).
So it counts for the organisation only when whoever brings it, its *bearer*, may be believed:

- a **client** (an organisation by its certificate, or a connection from this machine) is believed of an organisation
  once it brought something new of it that was signed, until it brings something that is not signed;
- a **peer** is believed from the start, because it checks before it passes on and is judged for what it passes on;
  after something unsigned it is believed as a client is.

What others bring is on the account of all bearers that are not believed, in equal parts. They share one part of the
window, as an organisation would have, and nothing of theirs counts against those who are. So a new client is served at
once as long as there is room, and one part is all that strangers can take.

A bearer of an organisation's new transactions can deceive the node once: with what it sends before the first of it was
checked. Of what is on chain or waits already nothing is believed, so that nobody gains by sending others' again.

Bounded: one number for each organisation and each bearer with something here, and ``BEARERS_MAX`` bearers remembered.
Runs on the event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

#: Bearers that are remembered, those that brought something last. Twice what a node has of connections (512) and links.
#: Whoever is forgotten is a new client again, or a peer that is believed.
BEARERS_MAX: Final = 1_024


class Entering:
    """Counts what is being checked, by account."""

    def __init__(self) -> None:
        #: Of bearers that are believed, by organisation.
        self.believed: Final[Counter[str]] = Counter()
        #: Of the others, by bearer.
        self.unproven: Final[dict[str, int]] = {}
        self.believed_total = 0
        self.unproven_total = 0
        # Bearer -> organisations it is believed of, the one that brought something last at the end. A peer that is not
        # here is believed of all.
        self._known: dict[str, set[str]] = {}

    @property
    def total(self) -> int:
        """All that is being checked."""
        return self.believed_total + self.unproven_total

    def begin(self, bearer: str, *, is_peer: bool = False) -> Batch:
        """What ``bearer`` brings in one call."""
        name = f"peer {bearer}" if is_peer else bearer
        known = self._known.pop(name, None)
        if known is not None:
            self._known[name] = known
        elif not is_peer:
            known = set()
        return Batch(self, name, known)

    def believe(self, bearer: str, organisations: Iterable[str]) -> None:
        """It brought what these signed."""
        known = self._known.pop(bearer, set())
        known.update(organisations)
        self._known[bearer] = known
        if len(self._known) > BEARERS_MAX:
            del self._known[next(iter(self._known))]

    def doubt(self, bearer: str, *, is_peer: bool) -> None:
        """It brought what nobody signed: from now on it is believed of nobody."""
        self._known.pop(bearer, None)
        if is_peer:
            self.believe(bearer, ())


class Batch:
    """The transactions of one call, from decoding until they are in the pool or refused."""

    __slots__ = ("_bearer", "_believed", "_entering", "_known", "_unproven")

    def __init__(self, entering: Entering, bearer: str, known: set[str] | None) -> None:
        self._entering: Final = entering
        self._bearer: Final = bearer
        self._known: Final = known  # None: of all
        self._believed: list[str] = []
        self._unproven = 0

    def is_believed(self, organisation: str) -> bool:
        """Whether what it brings counts for the organisation before its signature was checked."""
        return self._known is None or organisation in self._known

    def account(self, organisation: str) -> tuple[int, int]:
        """What of clients is being checked as far as it counts for this newcomer: in all, and of its own part."""
        entering = self._entering
        if self.is_believed(organisation):
            return entering.believed_total, entering.believed[organisation]
        # As though every bearer that is not believed had brought as much as this one: they share one part.
        own = entering.unproven.get(self._bearer, 0) * len(entering.unproven)
        return entering.total, entering.believed[organisation] + own

    def add(self, organisation: str) -> None:
        """One more goes to be checked."""
        entering = self._entering
        if self.is_believed(organisation):
            self._believed.append(organisation)
            entering.believed[organisation] += 1
            entering.believed_total += 1
        else:
            self._unproven += 1
            entering.unproven[self._bearer] = entering.unproven.get(self._bearer, 0) + 1
            entering.unproven_total += 1

    @property
    def brought_unproven(self) -> bool:
        """Whether something of it was not believed."""
        return self._unproven > 0

    def signed(self, organisations: Iterable[str]) -> None:
        """New transactions of these were signed, and nothing of this batch was not."""
        self._entering.believe(self._bearer, organisations)

    def unsigned(self) -> None:
        """Something of it was not signed by its key."""
        self._entering.doubt(self._bearer, is_peer=self._bearer.startswith("peer "))

    def leave(self) -> None:
        """All of it was decided upon, or given up."""
        entering = self._entering
        entering.believed.subtract(self._believed)
        entering.believed_total -= len(self._believed)
        entering.unproven_total -= self._unproven
        left = entering.unproven.pop(self._bearer, 0) - self._unproven
        if left > 0:
            entering.unproven[self._bearer] = left
        self._believed, self._unproven = [], 0
