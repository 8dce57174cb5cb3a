"""The SDK: everything a channel module is written with, and the only part of execution it may import.

A module is a ``Module`` object with entities, commands, queries, events, errors and invariants::

    class Invoice(Entity, collection="invoice", schema=1):
        seller: str
        number: str
        total: Money
        indexes = {"by_seller": lambda invoice: [(invoice.seller, invoice.number)]}

        def primary_key(self) -> bytes:
            return key_of(self.seller, self.number)

    class RecordInvoice(Args):
        number: str
        total: Money

    class InvoiceRecorded(Event):
        seller: str
        number: str

    module = Module(
        "receivable", version=1, entities=(Invoice,), events=(InvoiceRecorded,),
        errors={"E_DUPLICATE": "This invoice is already recorded."},
    )

    @module.command("record_invoice", args=RecordInvoice, roles=("supplier",))
    def record_invoice(ctx: Context, args: RecordInvoice) -> None:
        key = key_of(ctx.sender.org, args.number)
        ctx.require(ctx.get(Invoice, key) is None, "E_DUPLICATE")
        ctx.put(Invoice(ctx.sender.org, args.number, args.total))
        ctx.emit(InvoiceRecorded(seller=ctx.sender.org, number=args.number))

A command either returns, and all it did becomes part of the block, or it fails, and nothing did. It must give the
same on every node for ever: no clock, randomness, I/O, floats, ``while``, recursion, iteration over sets; the
checker ``lint`` finds what could differ. A published version's behaviour never changes; a new version is a new number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dawan_node.crypto.hashing import sha256, tagged_hash
from dawan_node.crypto.signatures import check_public_key
from dawan_node.errors import InvalidKey
from dawan_node.execution.banking_days import BankingCalendar, CalendarYear, Roll, close_of_day_ms
from dawan_node.execution.channel import (
    ORG_ADMIN,
    VALIDATOR,
    Configuration,
    Credential,
    GenesisView,
    Identity,
    NodeRecord,
    Organisation,
    OrgStatus,
    RevocationRecord,
)
from dawan_node.execution.context import Context, Page, QueryContext, replace
from dawan_node.execution.dates import (
    add_days,
    add_months,
    business_date,
    days_between,
    is_date,
    start_of_day_ms,
)
from dawan_node.execution.entity import (
    Args,
    DeclarationError,
    Entity,
    Event,
    Params,
    check_event_type,
    check_types,
    complete_spec,
    decoded,
)
from dawan_node.execution.keys import key_of
from dawan_node.execution.money import CURRENCIES, Money, total
from dawan_node.execution.rates import (
    PPM,
    RATE_SCALE,
    DayCount,
    converted,
    discounted,
    interest,
    share,
    tolerance,
    within_tolerance,
    year_fraction,
)
from dawan_node.execution.text import alphanumeric, fold
from dawan_node.execution.transitions import StateMachine
from dawan_node.primitives.names import is_identifier

__all__ = [
    "ANY_ROLE",
    "CURRENCIES",
    "ORG_ADMIN",
    "PPM",
    "RATE_SCALE",
    "UNSET",
    "VALIDATOR",
    "Args",
    "BankingCalendar",
    "CalendarYear",
    "Configuration",
    "Context",
    "Credential",
    "Date",
    "DayCount",
    "DeclarationError",
    "Entity",
    "Event",
    "GenesisView",
    "Hash32",
    "Identity",
    "Instant",
    "Meta",
    "Module",
    "Money",
    "NodeRecord",
    "OrgStatus",
    "Organisation",
    "Page",
    "Params",
    "QueryContext",
    "RevocationRecord",
    "Roll",
    "ShortText",
    "UnsetType",
    "add_days",
    "add_months",
    "alphanumeric",
    "business_date",
    "close_of_day_ms",
    "converted",
    "days_between",
    "decoded",
    "discounted",
    "fold",
    "interest",
    "is_date",
    "is_public_key",
    "key_of",
    "replace",
    "sha256",
    "share",
    "start_of_day_ms",
    "tagged_hash",
    "tolerance",
    "total",
    "within_tolerance",
    "year_fraction",
]

#: A date in arguments; the schema checks its form, ``is_date`` that it exists.
Date = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", extra_json_schema={"format": "date"})]
#: Milliseconds since 1970 UTC, in a field whose name ends in ``_ms``; JSON shows it as an RFC 3339 time.
Instant = Annotated[int, Meta(ge=0, extra_json_schema={"format": "instant-ms"})]
Hash32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
#: Names, numbers and references; 200 characters hold every one seen in real invoices with room to spare.
ShortText = Annotated[str, Meta(min_length=1, max_length=200)]

#: Roles of a command that any active identity may send.
ANY_ROLE: Final[tuple[str, ...]] = ()

A = TypeVar("A", bound=Args)
P = TypeVar("P", bound=Params)

_ERROR: Final = re.compile(r"E_[A-Z0-9_]{1,62}")

CommandFunction = Callable[[Context, Any], None]
# (context, params, limit, cursor) -> page
QueryFunction = Callable[[QueryContext, Any, int, "bytes | None"], Page[Any]]
# Descriptions of what is wrong; empty when the invariant holds.
InvariantFunction = Callable[[QueryContext], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Command:
    """One thing a transaction can ask for. ``roles``: the sender needs one of them; empty = any active identity.

    The key of a validator in force is a sender too, with the role ``validator`` only: it sends the commands that name
    this role and no other, and no person sends those by that role.
    """

    name: str
    args: type[Args]
    roles: tuple[str, ...]
    function: CommandFunction
    summary: str

    def is_open_to(self, roles: Iterable[str], is_seat: bool) -> bool:
        """Whether a person with these roles, or (``is_seat``) a validator's key, may send it."""
        if is_seat:
            return VALIDATOR in self.roles
        return not self.roles or any(role in self.roles and role != VALIDATOR for role in roles)


@dataclass(frozen=True, slots=True)
class Query:
    """One question; answers are pages of ``item``."""

    name: str
    params: type[Params]
    item: type[msgspec.Struct]
    function: QueryFunction
    summary: str


class Module:
    """One version of one module: what it declares. Built at import, complete before a channel starts."""

    def __init__(
        self,
        name: str,
        *,
        version: int,
        entities: Sequence[type[Entity]],
        events: Sequence[type[Event]] = (),
        errors: Mapping[str, str] | None = None,
        uses: Sequence[str] = (),
        may_use: Sequence[str] = (),
    ) -> None:
        """``errors`` maps each reason to a sentence for people; ``uses`` names the modules whose exports it needs,
        ``may_use`` those it calls only on a channel that runs them (``ctx.runs``).

        Raises DeclarationError when a name, type or collection is not declarable.
        """
        if not is_identifier(name) or not 1 <= version <= 65_535:
            raise DeclarationError(f"module {name!r} version {version} is not declarable")
        self.name: Final = name
        self.version: Final = version
        self.uses: Final = frozenset(uses)
        self.may_use: Final = frozenset(may_use)
        self.errors: Final = MappingProxyType(dict(errors or {}))
        for reason in self.errors:
            if _ERROR.fullmatch(reason) is None:
                raise DeclarationError(f"error {reason!r} is not of the form E_NAME")
        for entity in entities:
            complete_spec(entity.spec, name)
        self.entities: Final = MappingProxyType({entity.spec.collection: entity for entity in entities})
        if len(self.entities) != len(entities):
            raise DeclarationError(f"{name}: two entities share one collection")
        for event in events:
            check_event_type(event)
        self.events: Final = frozenset(events)
        self.commands: Final[dict[str, Command]] = {}
        self.queries: Final[dict[str, Query]] = {}
        self.invariants: Final[dict[str, InvariantFunction]] = {}
        self.exports: Final[dict[str, Callable[..., Any]]] = {}
        self.state_machines: Final[dict[str, StateMachine]] = {}

    def command(
        self, name: str, *, args: type[A], roles: tuple[str, ...]
    ) -> Callable[[Callable[[Context, A], None]], Callable[[Context, A], None]]:
        """Declare the decorated function as a command; the first line of its docstring describes it to users.

        ``roles``: the sender needs one of them; ``ANY_ROLE`` lets every active identity in.
        """
        check_types(args)

        def declare(function: Callable[[Context, A], None]) -> Callable[[Context, A], None]:
            self._claim(self.commands, name)
            self.commands[name] = Command(name, args, tuple(roles), function, _summary(function))
            return function

        return declare

    def query(
        self, name: str, *, params: type[P], item: type[msgspec.Struct]
    ) -> Callable[
        [Callable[[QueryContext, P, int, bytes | None], Page[Any]]],
        Callable[[QueryContext, P, int, bytes | None], Page[Any]],
    ]:
        """Declare the decorated function ``(ctx, params, limit, cursor) -> Page`` as a query for ``item`` structs."""
        check_types(params)

        def declare(
            function: Callable[[QueryContext, P, int, bytes | None], Page[Any]],
        ) -> Callable[[QueryContext, P, int, bytes | None], Page[Any]]:
            self._claim(self.queries, name)
            self.queries[name] = Query(name, params, item, function, _summary(function))
            return function

        return declare

    def invariant(self, name: str) -> Callable[[InvariantFunction], InvariantFunction]:
        """Declare a checker that yields one line for each violation; it runs after every block in tests."""

        def declare(function: InvariantFunction) -> InvariantFunction:
            self._claim(self.invariants, name)
            self.invariants[name] = function
            return function

        return declare

    def export(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Let modules that declare ``uses`` call the decorated function ``(ctx, ...)`` through ``ctx.call``."""

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            self._claim(self.exports, name)
            self.exports[name] = function
            return function

        return declare

    def state_machine(self, entity: type[Entity], field: str, moves: Mapping[str, str | Sequence[str]]) -> None:
        """Declare which command, or exported function, moves a record from which state to which (``transitions``).

        After the commands: a name that is neither is refused. Raises DeclarationError.
        """
        collection = entity.spec.collection
        if self.entities.get(collection) is not entity:
            raise DeclarationError(f"{self.name} keeps no {entity.__name__}")
        if collection in self.state_machines:
            raise DeclarationError(f"{self.name} declares the states of {collection} twice")
        for name in moves:
            if name not in self.commands and name not in self.exports:
                raise DeclarationError(f"{self.name} has no command and exports no function {name}")
        self.state_machines[collection] = StateMachine.of(entity, field, moves)

    def as_version(self, version: int) -> Module:
        """All that is declared by now under another number: a version that differs only where the code asks
        ``ctx.version``, and in what is declared on it afterwards."""
        other = Module(
            self.name,
            version=version,
            entities=tuple(self.entities.values()),
            events=tuple(self.events),
            errors=self.errors,
            uses=tuple(self.uses),
            may_use=tuple(self.may_use),
        )
        other.commands.update(self.commands)
        other.queries.update(self.queries)
        other.invariants.update(self.invariants)
        other.exports.update(self.exports)
        other.state_machines.update(self.state_machines)
        return other

    def _claim(self, table: Mapping[str, object], name: str) -> None:
        if not is_identifier(name):
            raise DeclarationError(f"{self.name}: {name!r} is not a name of 1 to 32 characters")
        if name in table:
            raise DeclarationError(f"{self.name} declares {name!r} twice")

    def __repr__(self) -> str:
        return f"Module({self.name}@{self.version})"


def is_public_key(suite: str, public_key: bytes) -> bool:
    """Whether a key of that suite may be registered: right length, canonical, not of small order."""
    try:
        check_public_key(suite, public_key)
    except InvalidKey:
        return False
    return True


def _summary(function: Callable[..., object]) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]
