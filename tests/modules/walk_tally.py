"""What random walks came by: every command with what became of it, and every move between states.

A walk whose commands are all refused proves nothing. The tally says of a module which of its commands the walks never
sent with success, which of its states and moves they never reached and which of its errors they never met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dawan_node.execution.executor import Execution
from dawan_node.execution.module import Module
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import ModuleKit
from dawan_node.testing.moves import declared_moves

#: What a command that succeeded is counted under; all else stands under its reason.
ACCEPTED = "ok"


@dataclass
class Tally:
    """Counts of walks; ``module.command`` of a stand-in that calls what others export has the function's name too."""

    walks: int = 0
    blocks: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    moves: Counter[str] = field(default_factory=Counter)

    def watch(self, kit: ModuleKit, execution: Execution, transactions: Sequence[Transaction]) -> None:
        """``ModuleKit.witness``."""
        self.blocks += 1
        for transaction, receipt in zip(transactions, execution.receipt_objects, strict=True):
            body = transaction.body
            name = f"{body.module}.{body.command}"
            if "function" in body.args:
                name += f" {body.args['function']}"
            self.outcomes[name, receipt.reason or ACCEPTED] += 1
        self.moves.update(map(str, kit.block_moves))

    def add(self, other: Tally) -> None:
        """Count what another one counted."""
        self.walks += other.walks
        self.blocks += other.blocks
        self.outcomes.update(other.outcomes)
        self.moves.update(other.moves)

    def as_json(self) -> dict[str, Any]:
        """What ``from_json`` reads."""
        outcomes = [[name, outcome, count] for (name, outcome), count in sorted(self.outcomes.items())]
        return {
            "walks": self.walks,
            "blocks": self.blocks,
            "outcomes": outcomes,
            "moves": dict(sorted(self.moves.items())),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tally:
        """A tally that was written before."""
        outcomes = Counter({(name, outcome): count for name, outcome, count in data["outcomes"]})
        return cls(data["walks"], data["blocks"], outcomes, Counter(data["moves"]))

    @property
    def accepted(self) -> frozenset[str]:
        """The commands that succeeded, with their modules, and the functions called for a stand-in."""
        return frozenset(name for name, outcome in self.outcomes if outcome == ACCEPTED)

    def commands_never_accepted(self, module: Module) -> list[str]:
        """Of a module's commands those that never succeeded."""
        return [name for name in sorted(module.commands) if f"{module.name}.{name}" not in self.accepted]

    def states_never_reached(self, module: Module) -> list[str]:
        """Of the states of a module's records, ``collection STATE``, those that no move led to."""
        made = [move for move in declared_moves(module) if str(move) in self.moves]
        reached = {f"{move.collection} {move.transition.after}" for move in made}
        states = {
            f"{collection} {state}" for collection, machine in module.state_machines.items() for state in machine.states
        }
        return sorted(states - reached)

    def moves_never_made(self, module: Module) -> list[str]:
        """Of the moves a module declares those that never happened."""
        return sorted({str(move) for move in declared_moves(module)} - set(self.moves))

    def errors_never_met(self, module: Module) -> list[str]:
        """Of a module's reasons those that no command was refused with."""
        return sorted(set(module.errors) - {outcome for _, outcome in self.outcomes})

    def lines(self, modules: Iterable[Module]) -> Iterator[str]:
        """A table of commands by outcome, then what is missing."""
        sent = sum(self.outcomes.values())
        good = sum(count for (_, outcome), count in self.outcomes.items() if outcome == ACCEPTED)
        yield f"{self.walks} walks, {self.blocks} blocks, {sent} commands, {good} accepted, {sent - good} refused"
        yield ""
        yield f"{'command':<42}{'tried':>9}{'accepted':>9}{'refused':>9}  by reason"
        for name in sorted({name for name, _ in self.outcomes}):
            outcomes = {outcome: count for (command, outcome), count in self.outcomes.items() if command == name}
            accepted = outcomes.pop(ACCEPTED, 0)
            refused = sum(outcomes.values())
            reasons = ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items(), key=_largest_first))
            yield f"{name:<42}{accepted + refused:>9}{accepted:>9}{refused:>9}  {reasons}"
        for module in modules:
            yield ""
            states = sum(len(machine.states) for machine in module.state_machines.values())
            unreached, unmade = self.states_never_reached(module), self.moves_never_made(module)
            moves = len(declared_moves(module))
            yield (
                f"{module.name}: {states - len(unreached)} of {states} states, {moves - len(unmade)} of {moves} moves"
            )
            for what, missing in (
                ("states never reached", unreached),
                ("commands never accepted", self.commands_never_accepted(module)),
                ("moves never made", unmade),
                ("errors never met", self.errors_never_met(module)),
            ):
                yield f"  {what}: {'; '.join(missing) or 'none'}"


def _largest_first(outcome: tuple[str, int]) -> tuple[int, str]:
    return -outcome[1], outcome[0]
