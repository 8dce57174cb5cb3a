"""Watches which records the commands of a test move from which state to which, and holds it against what is declared.

The module kit runs every command with the context made here. A move counts when its transaction succeeded: from the
state before the command, or before the exported function it called, to the state when that one was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dawan_node.execution.channel import Identity, Organisation
from dawan_node.execution.context import Context
from dawan_node.execution.entity import Entity
from dawan_node.execution.module import Module
from dawan_node.execution.registry import Registry
from dawan_node.execution.state import StateKey
from dawan_node.execution.transitions import Transition
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """One move of one kind of record."""

    module: str
    collection: str
    transition: Transition

    def __str__(self) -> str:
        return f"{self.module}.{self.collection}: {self.transition}"


def declared_moves(module: Module) -> frozenset[Move]:
    """Every move the module declares."""
    return frozenset(
        Move(module.name, collection, transition)
        for collection, machine in module.state_machines.items()
        for transition in machine.transitions
    )


@dataclass
class _Write:
    """One or several writes of a record by the same function of one transaction."""

    key: StateKey
    function: str  # empty: the command itself
    before: str
    after: str


@dataclass
class MoveWatch:
    """The moves that were met, and those of the transactions that run just now."""

    met: set[Move] = field(default_factory=set)
    _writes: dict[bytes, list[_Write]] = field(default_factory=dict)
    _functions: list[str] = field(default_factory=list)

    def settle(
        self, registry: Registry, transactions: Sequence[Transaction], receipts: Sequence[Receipt]
    ) -> tuple[Move, ...]:
        """After a block: the moves of what succeeded. Raises AssertionError on one that is not declared."""
        written, self._writes = self._writes, {}
        moves: list[Move] = []
        for transaction, receipt in zip(transactions, receipts, strict=True):
            for write in written.get(transaction.tx_id, ()) if receipt.code == 0 else ():
                if write.before != write.after:
                    by = write.function or transaction.body.command
                    move = Move(*write.key[:2], Transition(write.before, write.after, by))
                    self._check(registry, move)
                    moves.append(move)
        return tuple(moves)

    def context_type(self) -> type[Context]:
        """A context that tells this watch what is written."""
        watch = self

        class WatchedContext(Context):
            """Sees and does what a context does."""

            def put(self, entity: Entity) -> None:
                watch.note(self, entity, entity.primary_key(), self._state_of(entity))
                super().put(entity)

            def delete(self, kind: type[Entity], key: bytes) -> bool:
                stored = self._layer.peek(kind.spec, (kind.spec.module, kind.spec.collection, key))[0]
                if stored is not None:
                    watch.note(self, stored, key, "")
                return super().delete(kind, key)

            def call(self, module: str, function: str, *arguments: Any) -> Any:
                watch._functions.append(function)
                try:
                    return super().call(module, function, *arguments)
                finally:
                    watch._functions.pop()

            def before(self, entity: Entity, key: bytes) -> str:
                """The state of the record that ``entity`` replaces; what stands in the genesis has one, too."""
                spec = entity.spec
                stored = self._layer.peek(spec, (spec.module, spec.collection, key))[0]
                if stored is None and isinstance(entity, Identity):
                    stored = self._genesis.identities.get(entity.name)
                elif stored is None and isinstance(entity, Organisation):
                    stored = self._genesis.organisations.get(entity.id)
                return "" if stored is None else self._state_of(stored)

            def _state_of(self, entity: Entity) -> str:
                machine = self._module.state_machines.get(entity.spec.collection)
                return "" if machine is None else str(getattr(entity, machine.field))

        return WatchedContext

    def note(self, context: Any, entity: Entity, key: bytes, after: str) -> None:
        """Remember a write of a record that has states."""
        spec = entity.spec
        module: Module = context._module
        if spec.module != module.name or spec.collection not in module.state_machines:
            return
        state_key = (spec.module, spec.collection, key)
        function = self._functions[-1] if context.caller else ""
        writes = self._writes.setdefault(context.tx_id, [])
        last = next((write for write in reversed(writes) if write.key == state_key), None)
        if last is not None and last.function == function:
            last.after = after
        else:
            writes.append(_Write(state_key, function, context.before(entity, key), after))

    def _check(self, registry: Registry, move: Move) -> None:
        if move in self.met:
            return
        module = registry.modules[move.module]
        if move not in declared_moves(module):
            raise AssertionError(
                f"{move} is not declared; if it is right, add it to the state machine of {move.collection} "
                f"(module.state_machine, beside the commands of {move.module})"
            )
        self.met.add(move)
