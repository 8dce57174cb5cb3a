"""Bounded exhaustive search: every order of messages of a small network, with one validator that may sign anything.

Zyzzyva and FaB were broken in the first slot, with four nodes and one or two view changes (arXiv 1712.01367;
consensus.md section 2, B6; reliability D15). So that corner is searched whole: n = 4, three honest replicas (the real
``Replica``), one liar, a few values, heights and views. A search that ran out of states, not of time, is **exhaustive**
for its bounds, and only then says so.

**What makes it small enough**

- *Messages stay.* What was sent may be delivered at any later time, or never; so the network is a function of what
  everybody has sent, and a global state is just the three local ones. A local state is found by its digest, and each
  (local state, input) is executed once, on a copy of the replica: the global search only combines numbers.
- *Sets instead of sequences* (partial-order reduction). A vote that is merely remembered changes nothing anybody sees:
  only the delivery that makes a replica speak, decide or enter a view is a step, and it takes as many votes of its kind
  for its block as that needs, the liar's first. Fewer votes can wait for their companions; more of them change nothing.
- *Symmetry.* As long as no honest replica has accepted one of two equivocating proposals, they are the same.
- *Time is not a state.* Wishes bind nobody and timers are local, so a replica may hold a quorum of wishes for a later
  view at any moment: leaving a view is always possible.

**What the liar may do**: propose both values when it is primary, PREPARE and COMMIT any known block in any view,
send VIEW-CHANGEs that show or hide every certificate that can be formed from what was sent, open its views with any
quorum of VIEW-CHANGEs, differently to everybody, and keep certificates for as long as it likes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Final

from dawan_node.consensus import Replica
from dawan_node.consensus.messages import Commit, Decision, Message, NewView, Prepare, PrePrepare, ViewChange
from dawan_node.crypto.hashing import sha256
from dawan_node.primitives.block import Result
from dawan_node.testing.bare_network import (
    NEVER,
    START_MS,
    UnguardedSigner,
    decode_sent,
    result_of,
    suspect_certificate,
    world_of,
)
from dawan_node.testing.replica_copy import copy_of, digest_of, digest_of_message
from dawan_node.testing.search_liar import Bounds, Liar, N, Sent, label_of, plan_entries

__all__ = ["Bounds", "Search", "SearchReport", "run"]

_STATES_BETWEEN_CLOCKS: Final = 256


@dataclass(slots=True)
class SearchReport:
    """What a search saw. ``states`` are distinct global states, ``transitions`` the steps between them that were
    followed, ``local_states`` and ``executions`` what the replicas themselves did; ``frontier`` counts states seen but
    not expanded. ``schedules`` lead to the first violation, one line per step."""

    bounds: Bounds
    states: int = 0
    transitions: int = 0
    depth: int = 0
    frontier: int = 0
    local_states: int = 0
    executions: int = 0
    decided: int = 0
    violations: list[str] = field(default_factory=list)
    schedule: list[str] = field(default_factory=list)

    @property
    def is_exhaustive(self) -> bool:
        """Whether every reachable state within the bounds was expanded and none was a violation."""
        return self.frontier == 0 and not self.violations

    def __str__(self) -> str:
        extent = "exhaustive" if self.is_exhaustive else f"not exhaustive, {self.frontier} states left"
        return (
            f"{self.states} states, {self.transitions} transitions, depth {self.depth}, {self.local_states} local "
            f"states, {self.decided} states with a decision, {len(self.violations)} violations: {extent}"
        )


def run(bounds: Bounds | None = None, *, seconds: float | None = None, states_max: int | None = None) -> SearchReport:
    """Search depth-first until everything is seen, a violation is found, or one of the limits is reached.

    Which states are seen is a pure function of ``bounds`` and ``states_max``; ``seconds`` cuts that order short.
    """
    return Search(bounds or Bounds()).run(seconds, states_max)


@dataclass(slots=True)
class Local:
    """A state of one honest replica. ``sent`` is the set of message numbers it has sent so far, as a bit mask."""

    replica: Replica
    sent: int
    decided: tuple[tuple[int, bytes, bytes], ...]
    results: dict[bytes, Result]
    moves: dict[int, tuple[tuple[int, str], ...]] = field(default_factory=dict)  # available messages -> successors
    tried: dict[tuple[object, ...], int | None] = field(default_factory=dict)  # input -> successor


State = tuple[int, ...]


class Search:
    """One search: the messages that exist, the local states reached, and the global states seen."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.report = SearchReport(bounds)
        self.world = world = world_of(N, bounds.heights)
        self.honest = tuple(index for index in range(N) if index != bounds.liar)
        self.sent: list[Sent] = []
        self._numbers: dict[object, int] = {}
        self._results: dict[bytes, Result] = {world.chain_id: world.genesis_result}
        self.locals: dict[int, list[Local]] = {index: [] for index in self.honest}
        self._known: dict[int, dict[object, int]] = {index: {} for index in self.honest}
        self._last_step: list[str] = []  # the step that a replica itself reported
        self.liar = Liar(bounds, world, self.sent, self._results, self.number_of)
        # All VIEW-CHANGEs come at one moment of a clock that stands still.
        timers = replace(world.config.timers, view_change_interval_ms=0)
        config = replace(world.config, timers=timers)
        for index in self.honest:
            signer = UnguardedSigner(world.keys[index].public_key)
            replica = Replica(config, signer, world.head, (), START_MS)
            self._enter(index, Local(replica, 0, (), {}), replica)

    # --- the global search -------------------------------------------------------------------------------------

    def run(self, seconds: float | None, states_max: int | None) -> SearchReport:
        """Depth first, the newest state next."""
        report = self.report
        deadline = None if seconds is None else time.monotonic() + seconds
        start: State = (0,) * len(self.honest)
        came_from: dict[State, State | None] = {start: None}
        stack: list[tuple[State, int]] = [(start, 0)]
        while stack and not report.violations:
            if states_max is not None and report.states >= states_max:
                break
            if deadline is not None and report.states % _STATES_BETWEEN_CLOCKS == 0 and time.monotonic() > deadline:
                break
            state, depth = stack.pop()
            report.states += 1
            report.depth = max(report.depth, depth)
            self._check(state)
            for successor in self._successors(state):
                report.transitions += 1
                if successor not in came_from:
                    came_from[successor] = state
                    stack.append((successor, depth + 1))
            if report.violations:
                report.schedule = self._schedule(came_from, state)
        report.frontier = len(stack)
        report.local_states = sum(len(states) for states in self.locals.values())
        return report

    def _successors(self, state: State) -> Iterator[State]:
        everything = 0
        for position, index in enumerate(self.honest):
            everything |= self.locals[index][state[position]].sent
        available = everything | self.liar.menu(everything)
        for position, index in enumerate(self.honest):
            local = self.locals[index][state[position]]
            moves = local.moves.get(available)
            if moves is None:
                moves = local.moves[available] = tuple(self._moves(index, local, available))
                if self.report.violations:
                    return
            for successor, _ in moves:
                yield (*state[:position], successor, *state[position + 1 :])

    def _check(self, state: State) -> None:
        """Agreement among what the honest decided and what the liar can prove."""
        decided: dict[int, tuple[bytes, bytes]] = {}
        everything = 0
        for position, index in enumerate(self.honest):
            local = self.locals[index][state[position]]
            everything |= local.sent
            for height, block_hash, result_hash in local.decided:
                if decided.setdefault(height, (block_hash, result_hash)) != (block_hash, result_hash):
                    self.report.violations.append(f"two blocks or results are decided at height {height}")
        self.report.decided += bool(decided)
        for certificate in self.liar.certificates(everything):
            value = (certificate.block_hash, certificate.result_hash)
            if decided.setdefault(certificate.height, value) != value:
                self.report.violations.append(f"two blocks or results are certified at height {certificate.height}")

    def _schedule(self, came_from: dict[State, State | None], state: State) -> list[str]:
        """What happened on the way to ``state``, one line per step."""
        lines: list[str] = []
        at: State | None = state
        while at is not None:
            before = came_from[at]
            if before is not None:
                position = next(number for number in range(len(at)) if at[number] != before[number])
                index = self.honest[position]
                moves = self.locals[index][before[position]].moves
                labels = [label for found in moves.values() for target, label in found if target == at[position]]
                lines.append(f"{index}: {labels[0]}")
            at = before
        return [*lines[::-1], *self._last_step]

    # --- the steps of one replica ------------------------------------------------------------------------------

    def _moves(self, index: int, local: Local, available: int) -> Iterator[tuple[int, str]]:
        """Every different thing the replica may do next, when the messages of ``available`` exist."""
        found: set[int] = set()
        for inputs, label in self._inputs(index, local, available):
            if inputs not in local.tried:
                local.tried[inputs] = self._execute(index, local, inputs)
                if self.report.violations:
                    self._last_step = [f"{index}: {label}"]
                    return
            successor = local.tried[inputs]
            if successor is not None and successor not in found:
                found.add(successor)
                yield successor, label

    def _inputs(self, index: int, local: Local, available: int) -> Iterator[tuple[tuple[object, ...], str]]:
        state = local.replica._state
        messages = [
            (number, self.sent[number])
            for number in range(available.bit_length())
            if available >> number & 1 and self.sent[number].author != index
        ]
        votes: dict[tuple[str, int, int, bytes], list[int]] = {}
        changes: dict[int, list[int]] = {}
        for number, sent in messages:
            message = sent.message
            match message:
                case Prepare() | Commit():
                    if message.view <= state.view:
                        group = (type(message).__name__, message.view, message.height, message.block_hash)
                        votes.setdefault(group, []).append(number)
                case PrePrepare():
                    if message.view == state.view:
                        yield (number,), sent.label
                case ViewChange():
                    if message.new_view == state.target > state.view:
                        changes.setdefault(sent.author, []).append(number)
                case NewView():
                    if message.new_view > state.view and message.new_view >= state.target:
                        yield (number,), sent.label
                case Decision():
                    if message.header.height > local.replica.height and self._needs_decision(local, message):
                        yield (number,), sent.label
                case _:
                    pass
        for _, numbers in sorted(votes.items()):
            numbers.sort(key=lambda number: (self.sent[number].author != self.bounds.liar, number))
            yield tuple(numbers), " ".join(self.sent[number].label for number in numbers)
        if state.target > state.view and self.world.primary(state.target) == index:
            for authors in combinations(sorted(changes), self.world.validators.q - 1):
                for chosen in product(*(changes[author] for author in authors)):
                    yield chosen, " ".join(self.sent[number].label for number in chosen)
        if self.world.primary(state.view) == index:
            yield ("propose",), "propose"
        for view in range(state.target + 1, self.bounds.view_max + 1):
            yield ("leave", view), f"leave for view {view}"

    def _needs_decision(self, local: Local, message: Decision) -> bool:
        """Whether the COMMITs themselves cannot tell this replica: it does not know the block, or left the view."""
        state = local.replica._state
        return message.certificate.view != state.view or state.tree.get(message.certificate.block_hash) is None

    def _execute(self, index: int, local: Local, inputs: tuple[object, ...]) -> int | None:
        """The state the replica is in after ``inputs``; None when nobody can see a difference."""
        self.report.executions += 1
        replica = copy_of(local.replica)
        made = Local(replica, local.sent, local.decided, dict(local.results))
        state = replica._state
        before = (state.view, state.target, local.sent, local.decided)

        def is_visible() -> bool:
            return (state.view, state.target, made.sent, made.decided) != before

        if inputs[0] == "propose":
            slot = replica.proposal_slot()
            if slot is None or slot.height > self.bounds.heights:
                return None
            leaf = sha256(b"honest %d %d %d" % (index, slot.view, slot.height) + slot.parent_hash)
            replica.propose(slot, (leaf,), 250, False, START_MS)
        elif inputs[0] == "leave":
            view = inputs[1]
            assert isinstance(view, int)
            replica._view_changer._start(view, suspect_certificate((N, self.bounds.heights), view))
            replica._advance()
        else:
            for number in inputs:
                assert isinstance(number, int)
                sent = self.sent[number]
                replica.step(sent.message, sent.author, START_MS)
                self._pump(index, made)
                if is_visible():
                    break
        self._pump(index, made)
        return self._enter(index, made, replica) if is_visible() else None

    def _enter(self, index: int, local: Local, replica: Replica) -> int:
        digest = (digest_of(replica), local.sent, local.decided)
        known = self._known[index]
        number = known.get(digest)
        if number is None:
            number = known[digest] = len(self.locals[index])
            self.locals[index].append(local)
        return number

    def _pump(self, index: int, local: Local) -> None:
        replica = local.replica
        while ready := replica.ready():
            for execute in ready.execute:
                result = result_of(execute.header, execute.block_hash, self._results[execute.parent_hash])
                self._results[execute.block_hash] = result
                replica.executed(execute.block_hash, result)
            for request in ready.acquire:
                replica.acquired(request.block_hash, True)
            for outgoing in ready.messages:
                local.sent |= self._note_sent(index, decode_sent(outgoing.payload)[0])
            for decided in ready.decide:
                height = decided.header.height
                local.decided = (*local.decided, (height, decided.block_hash, decided.result.hash))
                replica.applied(height)
            for alarm in ready.alarms:
                if alarm.kind in NEVER:
                    self.report.violations.append(f"validator {index} reports {alarm.kind}: {alarm.text}")
            for evidence in ready.evidence:
                if evidence.voter != self.bounds.liar:
                    text = f"validator {index} accuses the honest {evidence.voter} of {evidence.kind}"
                    self.report.violations.append(text)

    def _note_sent(self, index: int, message: Message) -> int:
        """The numbers of an honest replica's message: a proposal is a PREPARE too."""
        match message:
            case PrePrepare():
                header = message.header
                vote = Prepare(0, message.view, header.height, header.hash, index, message.signature)
                return 1 << self.number_of(message, index) | 1 << self.number_of(vote, index)
            case NewView():
                mask = 1 << self.number_of(message, index)
                entries = plan_entries(self.world, message)
                for header, signature in zip(entries, message.prepares, strict=True):
                    vote = Prepare(0, message.new_view, header.height, header.hash, index, signature)
                    mask |= 1 << self.number_of(vote, index)
                return mask
            case Prepare() | Commit() | ViewChange():
                return 1 << self.number_of(message, index)
            case _:
                return 0  # wishes, and what repairs lost messages: none are lost here

    def number_of(self, message: Message, author: int) -> int:
        """The number of a message; equal for messages that say the same."""
        key = (type(message).__name__, author, digest_of_message(message))
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.sent)
            self.sent.append(Sent(message, author, label_of(message, author)))
        return number
