"""What a module's data looks like: entities (state), arguments, events and query parameters as typed structs.

An entity is an msgspec array whose first element is its schema version, so its stored value is exactly
``enc([schema_version, field, ...])`` (formats A.7). Arguments, events and query parameters are maps with named
fields. The types a field may have are those that the canonical encoding knows: bool, int, str, bytes, lists and
tuples of them, dicts with string keys, structs such as ``Money``, string enums and literals. Floats, None, sets and
date objects are refused when the module is declared, not when a transaction meets them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar, dataclass_transform

import msgspec

from dawan_node.execution.keys import Part
from dawan_node.execution.lint_patterns import is_anchored, open_repeats, slow_pattern
from dawan_node.execution.type_descriptions import describe_type
from dawan_node.primitives.encoding import DEPTH_MAX, INT_MAX, INT_MIN, ITEMS_MAX, KEY_BYTES_MAX, check_value
from dawan_node.primitives.names import is_event, is_identifier

E = TypeVar("E", bound="Entity")

IndexFunction = Callable[[Any], Iterable[tuple[Part, ...]]]

_encoder: Final = msgspec.msgpack.Encoder(order="deterministic")
_untyped: Final = msgspec.msgpack.Decoder()


class DeclarationError(TypeError):
    """A module is declared wrongly: the developer's mistake, found when the module is imported."""


class EntitySpec:
    """What the executor knows about one entity type; ``module`` is set when a Module declares the type."""

    __slots__ = ("collection", "decode", "exported", "indexes", "kind", "module", "schema", "unwalked_max")

    def __init__(self, kind: type[Entity], collection: str, schema: int, exported: bool) -> None:
        self.kind: Final = kind
        self.collection: Final = collection
        self.schema: Final = schema
        self.exported: Final = exported
        self.module = ""
        self.indexes: tuple[tuple[str, IndexFunction], ...] = ()
        self.decode: Callable[[bytes], Any] = _undeclared
        #: A longer encoding is walked for what its types do not bound: see ``_unwalked_max``.
        self.unwalked_max = -1


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class EntityMeta(msgspec.StructMeta):
    """Turns the class keywords ``collection``, ``schema`` and ``exported`` into an EntitySpec."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        collection: str = "",
        schema: int = 0,
        exported: bool = False,
        **options: Any,
    ) -> Any:
        if collection:
            # msgspec puts the tag of an array-like struct in front of its fields: [schema, field, ...].
            options["tag"] = schema
            options["frozen"] = True
        kind: Any = super().__new__(mcls, name, bases, namespace, **options)
        if collection:
            if not is_identifier(collection):
                raise DeclarationError(f"collection {collection!r} is not a well-formed name")
            if not 1 <= schema <= 65_535:
                raise DeclarationError(f"{name}: schema versions are 1 to 65535, not {schema}")
            kind.spec = EntitySpec(kind, collection, schema, exported)
        return kind


class Entity(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False, metaclass=EntityMeta):
    """One record of a module's state.

        class Invoice(Entity, collection="invoice", schema=1):
            seller: str
            number: str
            total: Money

            indexes = {"by_seller": lambda invoice: [(invoice.seller, invoice.number)]}

            def primary_key(self) -> bytes:
                return key_of(self.seller, self.number)

    The primary key is a function of the fields. ``indexes`` maps an index name to a function that lists the entity's
    entries, each a tuple of parts; an empty list leaves the entity out. Entities are frozen: change a copy with
    ``replace(invoice, state=...)`` and ``put`` it. ``exported=True`` lets modules that declare ``uses`` read it.
    """

    spec: ClassVar[EntitySpec]
    indexes: ClassVar[Mapping[str, IndexFunction]] = MappingProxyType({})

    def primary_key(self) -> bytes:
        """1 to 256 bytes, usually ``key_of(...)`` of the identifying fields."""
        raise NotImplementedError


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class RecordMeta(msgspec.StructMeta):
    """Arguments, events and parameters are frozen and built by keyword, which type checkers learn from here."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        # msgspec does not inherit kw_only; without it a required field could not follow an optional one.
        return super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **options})


class Args(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False, kw_only=True, metaclass=RecordMeta):
    """Arguments of a command: a map with these fields and no others; a field with a default may be absent."""


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False, kw_only=True, metaclass=RecordMeta):
    """Parameters of a query."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True, metaclass=RecordMeta):
    """What a command tells the world; the event's name is the class's, its data the fields as a map."""


def complete_spec(spec: EntitySpec, module: str) -> None:
    """Bind an entity type to its module, once; checks its field types. Raises DeclarationError."""
    if spec.module not in ("", module):
        raise DeclarationError(f"{spec.kind.__name__} belongs to module {spec.module}, not {module}")
    if "primary_key" not in vars(spec.kind) and spec.kind.primary_key is Entity.primary_key:
        raise DeclarationError(f"{spec.kind.__name__} has no primary_key method")
    for name in spec.kind.indexes:
        if not is_identifier(name):
            raise DeclarationError(f"index {name!r} of {spec.kind.__name__} is not a well-formed name")
    spec.unwalked_max = _unwalked_max(check_types(spec.kind, frozen=True))
    spec.decode = msgspec.msgpack.Decoder(spec.kind).decode
    spec.module = module
    spec.indexes = tuple(spec.kind.indexes.items())
    # Nothing may be kept there between transactions.
    spec.kind.indexes = MappingProxyType(dict(spec.indexes))


@dataclass(frozen=True, slots=True)
class Shape:
    """How deep values of a type nest at most, and whether any of them is a sequence or map of no fixed length."""

    depth: int
    has_sequences: bool


_SCALAR: Final = Shape(0, False)


def check_types(kind: type[msgspec.Struct], frozen: bool = False) -> Shape:
    """Require that every field of ``kind``, nested ones too, has a type of the canonical encoding.

    With ``frozen`` no value may be mutable either, so there are no maps. Raises DeclarationError.
    """
    return _TypeWalk(frozen).check(describe_type(kind), kind.__name__, frozenset())


def _unwalked_max(shape: Shape) -> int:
    """How long an encoded entity may be that its own decoder has checked completely, but for integers.

    Only the length of sequences can then still be wrong. Each item takes a byte, so a short encoding has no long one.
    """
    if shape.depth > DEPTH_MAX:
        return -1
    return ITEMS_MAX if shape.has_sequences else _ANY_LENGTH


def check_event_type(kind: type[Event]) -> None:
    """Require a declarable event. Raises DeclarationError."""
    if not is_event(kind.__name__):
        raise DeclarationError(f"event {kind.__name__!r} is not a well-formed name")
    check_types(kind)


def encode_entity(entity: Entity) -> bytes:
    """The entity's stored value, checked against its own declaration and the rules of the canonical encoding.

    msgspec does not check values on construction, so a module could store an int where a string is declared. Raises
    a ValueError (msgspec's or InvalidEncoding's kin); the executor turns any into a module fault.
    """
    encoded = _encoder.encode(entity)
    spec = entity.spec
    spec.decode(encoded)
    # 0xCF starts an unsigned 64-bit int, the only way an int can pass the decoder and still exceed 63 bits.
    if len(encoded) > spec.unwalked_max or b"\xcf" in encoded:
        check_value(_untyped.decode(encoded))
    return encoded


def decoded(kind: type[E], value: bytes) -> E | None:
    """The entity that another channel's proof shows as ``value``; None when it is none of this ``kind`` and schema."""
    try:
        entity: E = kind.spec.decode(value)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    return entity


def plain_data(event: Event) -> dict[str, Any] | None:
    """The event's data when its type has none but str, bytes, bool and int fields and each holds exactly that; None
    means: convert and check it the long way, which says what is wrong if anything is."""
    fields = _plain_fields(type(event))
    if fields is None:
        return None
    data: dict[str, Any] = {}
    for name, kind in fields:
        value = getattr(event, name)
        if kind is int:
            if type(value) is not int or not INT_MIN <= value <= INT_MAX:
                return None
        elif type(value) is not kind:
            return None
        data[name] = value
    return data


@cache  # one entry for each event type of the installed modules
def _plain_fields(kind: type[Event]) -> tuple[tuple[str, type], ...] | None:
    options = kind.__struct_config__
    fields = msgspec.structs.fields(kind)
    if options.omit_defaults or options.tag is not None or len(fields) > ITEMS_MAX:
        return None
    is_plain = all(
        field.type in (str, bytes, bool, int)
        and field.encode_name == field.name
        and len(field.name.encode()) <= KEY_BYTES_MAX
        for field in fields
    )
    return tuple([(field.name, field.type) for field in fields]) if is_plain else None


def _undeclared(value: bytes) -> Any:
    raise DeclarationError("this entity type belongs to no module")


#: More than any encoding has.
_ANY_LENGTH: Final = 2**62

_SCALARS: Final = (
    msgspec.inspect.BoolType,
    msgspec.inspect.IntType,
    msgspec.inspect.StrType,
    msgspec.inspect.BytesType,
    msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType,
)


#: Characters of a text whose field gives no maximum: what a transaction holds.
_TEXT_MAX: Final = 65_536

#: Steps of the matcher on one text, some ten milliseconds of them.
_MATCH_STEPS_MAX: Final = 1 << 20


def _check_pattern(described: msgspec.inspect.Type, where: str) -> None:
    """msgspec searches for a text's pattern before any budget counts. Raises DeclarationError."""
    pattern = described.pattern if isinstance(described, msgspec.inspect.StrType) else None
    if not isinstance(described, msgspec.inspect.StrType) or not pattern:
        return
    slow = slow_pattern(pattern)
    if slow is not None:
        raise DeclarationError(f"{where}: the pattern {pattern!r} may take for ever: {slow}")
    power = open_repeats(pattern) + (not is_anchored(pattern))
    longest = _TEXT_MAX if described.max_length is None else described.max_length
    if power > 1 and longest**power > _MATCH_STEPS_MAX:
        raise DeclarationError(
            f"{where}: the pattern {pattern!r} may take the length of a text to the power of {power}; "
            "begin it with ^, write fewer open repeats, or give a smaller max_length"
        )


class _TypeWalk:
    """Walks a declared type; types nest as deep as the code that declares them, so recursion is bounded."""

    def __init__(self, frozen: bool) -> None:
        self._frozen: Final = frozen

    def check(self, described: msgspec.inspect.Type, where: str, inside: frozenset[type]) -> Shape:
        """The type's shape; ``inside`` are the structs being walked."""
        if isinstance(described, msgspec.inspect.Metadata):
            return self.check(described.type, where, inside)
        if isinstance(described, _SCALARS):
            _check_pattern(described, where)
            return _SCALAR
        if isinstance(described, msgspec.inspect.TupleType):
            return _around([self.check(item, f"{where}[]", inside) for item in described.item_types])
        if isinstance(described, msgspec.inspect.VarTupleType):
            return _around([self.check(described.item_type, f"{where}[]", inside)], is_sequence=True)
        if isinstance(described, (msgspec.inspect.ListType, msgspec.inspect.DictType)):
            return _around([self._check_mutable(described, where, inside)], is_sequence=True)
        if isinstance(described, msgspec.inspect.StructType):
            return self._check_struct(described, where, inside)
        kind = type(described).__name__.removesuffix("Type")
        raise DeclarationError(f"{where}: {kind} has no canonical encoding")

    def _check_mutable(
        self,
        described: msgspec.inspect.ListType | msgspec.inspect.DictType,
        where: str,
        inside: frozenset[type],
    ) -> Shape:
        if self._frozen:
            # Decoded entities are shared by the transactions of a block: nobody may change one in place.
            raise DeclarationError(f"{where}: entities are immutable, use tuple[X, ...]")
        if isinstance(described, msgspec.inspect.ListType):
            return self.check(described.item_type, f"{where}[]", inside)
        if not isinstance(described.key_type, (msgspec.inspect.StrType, msgspec.inspect.EnumType)):
            raise DeclarationError(f"{where}: map keys are strings")
        _check_pattern(described.key_type, where)
        return self.check(described.value_type, f"{where}{{}}", inside)

    def _check_struct(self, described: msgspec.inspect.StructType, where: str, inside: frozenset[type]) -> Shape:
        kind = described.cls
        if kind in inside:
            raise DeclarationError(f"{where}: {kind.__name__} contains itself")
        if self._frozen and not kind.__struct_config__.frozen:
            raise DeclarationError(f"{where}: {kind.__name__} is not frozen")
        return _around([self.check(field.type, f"{where}.{field.name}", inside | {kind}) for field in described.fields])


def _around(parts: list[Shape], *, is_sequence: bool = False) -> Shape:
    """The shape of what holds values of these shapes."""
    depth = 1 + max([part.depth for part in parts], default=0)
    return Shape(depth, is_sequence or any(part.has_sequences for part in parts))
