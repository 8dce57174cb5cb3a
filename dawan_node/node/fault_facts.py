"""What a channel bears when everything one operator runs stops, or lies.

Nodes under one operator fail together and can be made to lie together, so seats are counted by operator, not by node.
With ``n`` validators, ``f = fault_bound(n)`` and ``q = quorum(n)``, an operator with ``s`` seats

* can stop the channel iff the others are no quorum: ``n - s < q``;
* can fork it iff two quorums may have only its seats in common: two sets of ``q`` out of ``n`` share at least
  ``2q - n``, and can be chosen to share no more, so iff ``s >= 2q - n``;
* is survived as a liar iff it can do neither.

How this relates to ``f``: for n = 3f + 1 and n = 3f + 3 the sharing is exactly f + 1, so "can fork" is ``s > f``. For
n = 3f + 2 it is f + 2: f + 1 lying seats cannot fork, but they can stop (n - s = 2f + 1 < q = 2f + 2). For n = 3f + 3
the loss of f + 1 seats is survived (n - s = 2f + 2 = q), their lie is not. Hence for every n a liar is survived iff
``s <= f``, which is what the bound promises; the tests go through the subsets to be sure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dawan_node.primitives.validators import fault_bound, quorum


@dataclass(frozen=True, slots=True)
class OperatorFacts:
    """What the channel bears of one operator. ``seats`` is how many of its validators that operator runs."""

    operator: str
    seats: int
    can_stop: bool
    can_fork: bool

    @property
    def survives_loss(self) -> bool:
        """The channel goes on when all nodes of this operator stop."""
        return not self.can_stop

    @property
    def survives_lying(self) -> bool:
        """The channel goes on, with one history, whatever this operator's nodes sign or withhold."""
        return not self.can_stop and not self.can_fork


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """A channel's arithmetic: ``n`` validators, ``f`` of them may be faulty, ``quorum`` decide."""

    channel: str
    n: int
    f: int
    quorum: int
    operators: tuple[OperatorFacts, ...]  # by name; those without a seat too

    @property
    def crash_only(self) -> bool:
        """Several validators and no tolerance of a lie: n = 2 or 3 (amendment A10)."""
        return self.n > 1 and self.f == 0

    @property
    def three_equal(self) -> bool:
        """Three operators share all seats equally: no number of seats makes such a layout bear a liar."""
        seats = [facts.seats for facts in self.operators if facts.seats]
        return len(seats) == 3 and len(set(seats)) == 1

    def warnings(self) -> list[str]:
        """A sentence for everything the channel depends on one operator for, and the fix where one is known."""
        found = []
        for facts in self.operators:
            if facts.can_fork:
                found.append(
                    f"{facts.operator} alone could fork channel {self.channel}: it runs {facts.seats} of {self.n} "
                    f"validators, at most {self.f} may be faulty"
                )
            if facts.can_stop:
                found.append(
                    f"{facts.operator} alone could stop channel {self.channel}: without it {self.n - facts.seats} of "
                    f"{self.n} validators are left, {self.quorum} are needed"
                )
        if self.crash_only:
            found.append(
                f"channel {self.channel} tolerates crashes at most, no lie: n = {self.n} gives f = 0; n = 4 is the "
                "smallest number of validators that bears a liar"
            )
        if self.three_equal:
            k = self.n // 3
            found.append(
                f"channel {self.channel} is run by three equal organisations and no fourth party, so none of them may "
                f"lie, with however many validators; add one validator of a fourth, independently run party: "
                f"3k + 1 = {3 * k + 1} validators bear f = {k}, a whole organisation"
            )
        return found


def fault_facts(channel: str, operators: Iterable[str], members: Iterable[str] = ()) -> ChannelFacts:
    """The facts for a channel with one validator per entry of ``operators``, of which there is at least one.

    ``members`` are operators that belong to the channel; those without a validator appear with no seat.
    """
    seats = Counter(dict.fromkeys(members, 0))
    seats.update(operators)
    n = seats.total()
    q = quorum(n)
    return ChannelFacts(
        channel=channel,
        n=n,
        f=fault_bound(n),
        quorum=q,
        operators=tuple(
            OperatorFacts(operator, held, can_stop=n - held < q, can_fork=held >= 2 * q - n)
            for operator, held in sorted(seats.items())
        ),
    )
