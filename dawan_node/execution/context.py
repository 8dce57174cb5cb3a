"""What a running command or query can see and do: ``Context`` and ``QueryContext``.

A module gets nothing of the machine: time is block time, the caller is an identity of the channel, state is reached by
typed entities of its own module. Every call costs steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

import msgspec

from dawan_node.crypto.signatures import ED25519, verify, verify_ed25519
from dawan_node.execution import dates
from dawan_node.execution.channel import Configuration, Credential, GenesisView, Identity, Organisation
from dawan_node.execution.entity import Entity, EntitySpec, Event
from dawan_node.execution.keys import Part, prefix_of
from dawan_node.execution.layers import Abort, ModuleFault, TransactionLayer

if TYPE_CHECKING:
    from dawan_node.execution.module import Module
    from dawan_node.execution.registry import Registry

E = TypeVar("E", bound=Entity)
Item = TypeVar("Item", bound=msgspec.Struct)

#: A signature check in steps: it takes some 60 us, as long as so many reads of small entities.
SIGNATURE_STEPS: Final = 30

#: Entities one scan call returns at most; a command that needs more works in several transactions.
SCAN_LIMIT_MAX: Final = 1_000

#: Calls from module to module nest at most so deep; deeper is a cycle, and recursion is not available to modules.
CALL_DEPTH_MAX: Final = 4


class Failure(Abort):
    """The module refuses: code 3 with a reason of its declared table."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class NamespaceViolation(Abort):
    """The module touched a collection or a function that is not its own and not exported to it."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Items of an index in order; ``cursor`` continues after the last one, None at the end."""

    items: tuple[Item, ...]
    cursor: bytes | None


class _Reads:
    """What commands and queries share: typed, counted, namespaced reads."""

    def __init__(
        self, layer: TransactionLayer, registry: Registry, module: Module, genesis: GenesisView, depth: int
    ) -> None:
        self._layer: Final = layer
        self._registry: Final = registry
        self._module: Final = module
        self._genesis: Final = genesis
        self._depth: Final = depth

    @property
    def steps_max(self) -> int:
        """Steps this command or query may use."""
        return self._layer.steps_max

    @property
    def version(self) -> int:
        """The version of this module that the channel's genesis names: a constant of the channel."""
        return self._module.version

    def get(self, kind: type[E], key: bytes) -> E | None:
        """The entity under ``key``, or None. Costs 1 step and 1 per 256 bytes."""
        spec = kind.spec
        if spec.module != self._module.name:
            self._require_readable(spec)
        entity: E | None = self._layer.load(spec, key)
        return entity

    def page(
        self,
        kind: type[E],
        index: str,
        prefix: tuple[Part, ...] = (),
        *,
        limit: int = 100,
        cursor: bytes | None = None,
    ) -> Page[E]:
        """Entities whose entries in a declared index start with the parts of ``prefix``, in index order.

        Costs 1 step, and for each entity the same as ``get``. An entity with several entries appears once for each.
        """
        found = self._range(kind, index, prefix, limit, cursor or b"")
        last = found[-1][0] if len(found) == limit else None
        return Page(tuple([entity for _, entity in found]), last)

    def scan(self, kind: type[E], index: str, prefix: tuple[Part, ...] = (), *, limit: int = 100) -> tuple[E, ...]:
        """The first ``limit`` entities of ``page``."""
        return tuple([entity for _, entity in self._range(kind, index, prefix, limit, b"")])

    def identity(self, name: str) -> Identity | None:
        """The channel's identity of that name, active or revoked; governance exports this look-up to every module."""
        return self._genesis.identity_of(name, self._governance_get)

    def runs(self, module: str) -> bool:
        """Whether this channel runs a module, the same on every node; asked before calling one of ``may_use``."""
        return self._registry.module(module) is not None

    def is_org(self, org: str) -> bool:
        """Whether an organisation of that id is an active member of the channel."""
        return org in self.configuration().active_orgs

    def organisation(self, org: str) -> Organisation | None:
        """The organisation of that id, whatever its status; governance exports this look-up to every module."""
        return self._genesis.organisation_of(org, self._governance_get)

    def credential(self, public_key: bytes) -> Credential | None:
        """What a key stands for on this channel, or stood for until its ``until_height``."""
        return self._genesis.credential_of(public_key, self._governance_get)

    def configuration(self) -> Configuration:
        """The channel's configuration in force: parameters, validators, frozen modules."""
        return self._genesis.configuration_of(self._governance_get)

    @property
    def genesis(self) -> GenesisView:
        """The channel's genesis, a constant."""
        return self._genesis

    def is_signed(self, public_key: bytes, tag: bytes, data: bytes, signature: bytes) -> bool:
        """Whether the Ed25519 key signed ``tag LF data`` (ed25519-strict; wrong lengths are no signatures).

        Costs ``SIGNATURE_STEPS`` and 1 per 256 bytes.
        """
        self._layer.charge(len(data), SIGNATURE_STEPS)
        return verify(ED25519, public_key, tag, data, signature)

    def is_signed_line(self, public_key: bytes, line: bytes, signature: bytes) -> bool:
        """Whether the Ed25519 key signed exactly ``line``, a text without a line feed made outside this network (RFC
        7515). Everything signed for the network has one after its tag, so no signature passes for the other kind.

        Costs as ``is_signed``.
        """
        self._layer.charge(len(line), SIGNATURE_STEPS)
        return b"\n" not in line and verify_ed25519(public_key, line, signature)

    def _range(
        self, kind: type[E], index: str, prefix: tuple[Part, ...], limit: int, after: bytes
    ) -> list[tuple[bytes, E]]:
        """Index keys and entities of a page."""
        spec = kind.spec
        if spec.module != self._module.name:
            self._require_readable(spec)
        if index not in kind.indexes:
            raise ModuleFault(f"{spec.collection} declares no index {index}")
        if not 1 <= limit <= SCAN_LIMIT_MAX:
            raise ModuleFault(f"a scan returns 1 to {SCAN_LIMIT_MAX} entities, not {limit}")
        return self._layer.scan(spec, index, prefix_of(*prefix), after, limit)

    def _governance_get(self, kind: type[E], key: bytes) -> E | None:
        entity: E | None = self._layer.load(kind.spec, key)
        return entity

    def _require_readable(self, spec: EntitySpec) -> None:
        if not spec.exported or spec.module not in self._module.uses | self._module.may_use:
            raise NamespaceViolation(f"{self._module.name} may not read {spec.module}.{spec.collection}")


class Context(_Reads):
    """The world of one command: the block it runs in, its sender, and its module's state, all or nothing."""

    def __init__(
        self,
        layer: TransactionLayer,
        registry: Registry,
        module: Module,
        genesis: GenesisView,
        *,
        time_ms: int,
        height: int,
        tx_id: bytes,
        sender: Identity,
        depth: int = 0,
        caller: str = "",
    ) -> None:
        super().__init__(layer, registry, module, genesis, depth)
        #: Block time, milliseconds UTC. Deadlines compare with this and with nothing else.
        self.time_ms: Final = time_ms
        self.height: Final = height
        #: 32 bytes, unique on the channel: a safe source of identifiers (``ctx.tx_id.hex()``).
        self.tx_id: Final = tx_id
        #: Who signed: name, organisation, roles, key, as registered at this point of the block.
        self.sender: Final = sender
        #: The module whose ``call`` runs this function; empty when a transaction names the command. Set by the node,
        #: so an exported function can keep apart what belongs to which module.
        self.caller: Final = caller

    @property
    def business_date(self) -> str:
        """The date of the block at UTC+8, ``YYYY-MM-DD``."""
        return dates.business_date(self.time_ms)

    def put(self, entity: Entity) -> None:
        """Insert or replace. Costs 1 step and 1 per 256 bytes written."""
        if entity.spec.module != self._module.name:
            raise NamespaceViolation(f"{self._module.name} may not write {entity.spec.module}")
        self._layer.store(entity)

    def delete(self, kind: type[Entity], key: bytes) -> bool:
        """Remove; False when there was nothing."""
        if kind.spec.module != self._module.name:
            raise NamespaceViolation(f"{self._module.name} may not delete in {kind.spec.module}")
        return self._layer.remove(kind.spec, key)

    def emit(self, event: Event) -> None:
        """Tell the world; the event goes into the receipt if the command succeeds."""
        if type(event) not in self._module.events:
            raise ModuleFault(f"{self._module.name} declares no event {type(event).__name__}")
        self._layer.emit(event)

    def fail(self, reason: str) -> NoReturn:
        """Refuse with one of the module's declared errors; everything the command did is undone."""
        if reason not in self._module.errors:
            raise ModuleFault(f"{self._module.name} declares no error {reason}")
        raise Failure(reason)

    def require(self, condition: bool, reason: str) -> None:
        """``fail(reason)`` unless ``condition``."""
        if not condition:
            self.fail(reason)

    def call(self, module: str, function: str, *arguments: Any) -> Any:
        """Call what another module exports, inside this transaction and with this sender; its failure is ours.

        The callee works on its own collections. Raises a namespace violation unless this module declares
        ``uses`` or ``may_use`` and the other one, on this channel, exports the function.
        """
        self._layer.charge()
        if module not in self._module.uses | self._module.may_use:
            raise NamespaceViolation(f"{self._module.name} does not declare that it uses {module}")
        callee = self._registry.module(module)
        exported = callee.exports.get(function) if callee is not None else None
        if callee is None or exported is None:
            raise NamespaceViolation(f"{module} exports no function {function}")
        if self._depth == CALL_DEPTH_MAX:
            raise ModuleFault(f"calls nest deeper than {CALL_DEPTH_MAX}")
        inner = type(self)(
            self._layer,
            self._registry,
            callee,
            self._genesis,
            time_ms=self.time_ms,
            height=self.height,
            tx_id=self.tx_id,
            sender=self.sender,
            depth=self._depth + 1,
            caller=self._module.name,
        )
        return exported(inner, *arguments)


class QueryContext(_Reads):
    """The world of a query or an invariant: reads only, at one height."""

    def __init__(
        self,
        layer: TransactionLayer,
        registry: Registry,
        module: Module,
        genesis: GenesisView,
        *,
        time_ms: int,
        height: int,
    ) -> None:
        super().__init__(layer, registry, module, genesis, 0)
        #: Time of the block at ``height``, milliseconds UTC.
        self.time_ms: Final = time_ms
        self.height: Final = height

    @property
    def business_date(self) -> str:
        """The date of the block at UTC+8, ``YYYY-MM-DD``."""
        return dates.business_date(self.time_ms)

    def iterate(self, kind: type[E], index: str, prefix: tuple[Part, ...] = ()) -> Iterator[E]:
        """Every entity of an index with that prefix, however many. For invariants; queries return pages."""
        cursor: bytes | None = b""
        while cursor is not None:
            page = self.page(kind, index, prefix, limit=SCAN_LIMIT_MAX, cursor=cursor)
            yield from page.items
            cursor = page.cursor


def replace(entity: E, **changes: Any) -> E:
    """A copy of a frozen entity with some fields changed."""
    return msgspec.structs.replace(entity, **changes)
