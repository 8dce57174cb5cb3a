"""Checks after every block the invariants whose answer the block can have changed, and no others.

An invariant is a function of what it reads: records, pages of indexes, perhaps the time. The watch runs it in a context
that notes all of that. After a block it runs again if one of those records changed, an entry came into or left one of
those pages, or it asked what time it is; any other would say what it said before. What it reads is decoded once and
kept (``records``). Nothing is sampled and nothing assumed of what an invariant is about.

The noting is itself checked: ``ModuleKit`` runs all invariants over the whole state, from its bytes, at blocks that
their state root picks and whenever ``check_invariants`` is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from dawan_node.execution.context import QueryContext
from dawan_node.execution.entity import Entity, EntitySpec
from dawan_node.execution.executor import Executor
from dawan_node.execution.keys import Part, prefix_of
from dawan_node.execution.layers import BlockLayer, ModuleFault, TransactionLayer
from dawan_node.execution.module import InvariantFunction, Module
from dawan_node.execution.state import Changes, StateKey
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.records import NO_LIMIT, Asked, Records, Touched

E = TypeVar("E", bound=Entity)

#: Invariants walk the whole state: their steps are not counted.
_UNLIMITED: Final = 2**62


@dataclass(frozen=True, slots=True)
class _Check:
    """What an invariant found, and what that follows from."""

    findings: tuple[str, ...]
    keys: frozenset[StateKey]
    pages: frozenset[Asked]
    is_timed: bool

    def may_differ_by(self, touched: Touched) -> bool:
        return self.is_timed or not self.keys.isdisjoint(touched.keys) or not self.pages.isdisjoint(touched.pages)


class InvariantWatch:
    """The invariants of a channel in memory, as of the last block that it was told of."""

    def __init__(self, executor: Executor, state: MemoryState) -> None:
        self._executor: Final = executor
        self._invariants: Final[list[tuple[str, Module, InvariantFunction]]] = [
            (f"{module.name}.{name}", module, invariant)
            for module in executor.registry.modules.values()
            for name, invariant in module.invariants.items()
        ]
        self.records: Final = Records(state)
        self._checks: dict[str, _Check] = {}

    def copy(self, state: MemoryState) -> InvariantWatch:
        """The same, for a copy of the state."""
        made = InvariantWatch.__new__(InvariantWatch)
        made.__dict__.update(vars(self), records=self.records.copy(state), _checks=self._checks.copy())
        return made

    def violations(self, changes: Changes, *, height: int, time_ms: int) -> list[str]:
        """What is wrong with the state after the block that made ``changes``, as ``Executor.violations`` says it."""
        touched = self.records.take(changes)
        moment = {"height": height, "time_ms": time_ms}
        found: list[str] = []
        for name, module, invariant in self._invariants:
            check = self._checks.get(name)
            if check is None or check.may_differ_by(touched):
                check = self._checks[name] = self._run(module, invariant, moment)
            found += [f"{name}: {finding}" for finding in check.findings]
        return found

    def _run(self, module: Module, invariant: InvariantFunction, moment: Mapping[str, int]) -> _Check:
        layer = _NotingLayer(self.records)
        context = _NotingContext(layer, self.records, self._executor, module, moment)
        findings = tuple(invariant(context))
        return _Check(findings, frozenset(layer.keys), frozenset(layer.pages), context.is_timed)


class _NotingLayer(TransactionLayer):
    """Reads from ``records``, counts nothing and remembers what was read."""

    __slots__ = ("_records", "keys", "pages")

    def __init__(self, records: Records) -> None:
        super().__init__(BlockLayer(records.state), _UNLIMITED)
        self._records: Final = records
        self.keys: set[StateKey] = set()
        self.pages: set[Asked] = set()

    def charge(self, size: int = 0, steps: int = 1) -> None:
        """Nothing is counted."""

    def load(self, spec: EntitySpec, key: bytes) -> Any:
        """See TransactionLayer."""
        self.keys.add((spec.module, spec.collection, key))
        return self._records.get(spec, key)

    def scan(self, spec: EntitySpec, index: str, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, Any]]:
        """See TransactionLayer."""
        asked = ((spec.module, spec.collection, index), prefix, after, limit)
        self.pages.add(asked)
        return self._records.page(spec, asked).entries


class _NotingContext(QueryContext):
    """Knows whether it was asked for the time or the height, and iterates over what is known without making pages."""

    def __init__(
        self, layer: _NotingLayer, records: Records, executor: Executor, module: Module, moment: Mapping[str, int]
    ) -> None:
        super().__init__(layer, executor.registry, module, executor.genesis, **moment)
        self._noted: Final = layer.pages
        self._records: Final = records
        self.is_timed = False
        # Looked up by ``__getattr__`` from now on.
        for name in moment:
            del self.__dict__[name]
        self._moment = moment

    def iterate(self, kind: type[E], index: str, prefix: tuple[Part, ...] = ()) -> Iterator[E]:
        """See QueryContext."""
        spec = kind.spec
        if spec.module != self._module.name:
            self._require_readable(spec)
        if index not in kind.indexes:
            raise ModuleFault(f"{spec.collection} declares no index {index}")
        asked = ((spec.module, spec.collection, index), prefix_of(*prefix), b"", NO_LIMIT)
        self._noted.add(asked)
        return iter(self._records.page(spec, asked).records)

    def __getattr__(self, name: str) -> int:
        if name not in ("height", "time_ms"):
            raise AttributeError(name)
        self.is_timed = True
        return self._moment[name]
