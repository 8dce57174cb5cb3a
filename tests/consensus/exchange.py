"""A calm network over a ``ReplicaLab``: whatever its replicas sent is handed over until nobody says anything more."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dawan_node.consensus.messages import Message
from dawan_node.testing.replica_lab import ReplicaLab

#: ``is_lost(sender, receiver, message)``: what the schedule of a test keeps back.
Loss = Callable[[int, int, Message], bool]


class Exchange:
    """Delivers in the order of sending, each message once per receiver; what was lost stays lost."""

    def __init__(self, lab: ReplicaLab) -> None:
        self._lab = lab
        self._read: dict[int, int] = {}  # id of a bench (a restart makes a new one) -> messages handed over

    def run(self, among: Iterable[int] | None = None, is_lost: Loss | None = None) -> None:
        """Hand over everything between the replicas ``among`` (default: all)."""
        lab = self._lab
        members = sorted(lab.benches if among is None else among)
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            for sender in members:
                bench = lab[sender]
                first = self._read.get(id(bench), 0)
                new = bench.addressed[first:]
                self._read[id(bench)] = first + len(new)
                for to, message in new:
                    is_quiet = False
                    for receiver in members if to is None else to:
                        if receiver == sender or receiver not in members:
                            continue
                        if is_lost is None or not is_lost(sender, receiver, message):
                            lab.deliver(message, receiver, link=sender)

    def skip(self) -> None:
        """Lose everything that was sent so far."""
        for bench in self._lab.benches.values():
            self._read[id(bench)] = len(bench.addressed)


def wish(lab: ReplicaLab, view: int, indexes: Iterable[int]) -> None:
    """Have each of ``indexes`` hear the wishes of everybody else for ``view``: a quorum, so it leaves its view."""
    lab.now += lab.config.timers.view_change_interval_ms
    for index in indexes:
        for voter in range(lab.validators.n):
            if voter != index:
                lab.deliver(lab.suspect(voter, view), index)
