"""Small-scope mutations of every consensus message (ByzzFuzz, doi 10.1145/3586053; reliability D).

ByzzFuzz found its bugs in PBFT not with random bytes but with messages that are wrong by a little: a view one off, the
digest of an older round, one field of another message. A ``Mutator`` is such a change as a pure function of the
message, a seeded generator and the messages seen before; ``CATALOGUE`` names them all.

A mutated message is signed again by the ``Forger``, who holds the keys of the Byzantine validators and no others: if
the author of the message (as it stands after the change) is one of them the signature fits, else it is left as it was.
So a mutation is what a liar could really send; what it could not sign tests that a signature covers everything.

Mutations that no ``Message`` object can carry (bytes cut short, another kind's number, a longer encoding) work on the
encoded form: ``BYTE_CATALOGUE``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dawan_node.consensus.messages import (
    Commit,
    Decision,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ProposalRequest,
    Status,
    Suspect,
    ViewChange,
    new_view_bytes,
    suspect_bytes,
    view_change_bytes,
)
from dawan_node.consensus.signer import NEW_VIEW_TAG, SUSPECT_TAG, VIEW_CHANGE_TAG
from dawan_node.crypto.hashing import domain_separated, sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.primitives.certificate import COMMIT_TAG, PREPARE_TAG, commit_vote_bytes, prepare_vote_bytes
from dawan_node.primitives.encoding import INT_MAX
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.simulated_node import fake_signature

Mutate = Callable[[Message, random.Random, Sequence[Message]], Message]

ALL_KINDS: Final[tuple[type[Message], ...]] = (
    Status,
    PrePrepare,
    Prepare,
    Commit,
    Suspect,
    ViewChange,
    NewView,
    Decision,
    ProposalRequest,
)


@dataclass(frozen=True, slots=True)
class Mutator:
    """A named change, and the kinds of message it can be made to. ``mutate`` returns the message itself where it finds
    nothing to change (an empty list, no history)."""

    name: str
    kinds: tuple[type[Message], ...]
    mutate: Mutate


# --- who signs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forger:
    """The keys of the Byzantine ``keys`` (by validator index) on one channel; ``is_real`` signs with Ed25519."""

    chain_id: bytes
    validators: ValidatorSet
    keys: Mapping[int, PrivateKey]
    is_real: bool = False

    def sign(self, voter: int, tag: bytes, data: bytes) -> bytes | None:
        """The signature of ``voter``, None when it is not one of ours."""
        key = self.keys.get(voter)
        if key is None:
            return None
        if self.is_real:
            return key.sign(tag, data)
        return fake_signature(key.public_key, domain_separated(tag, data))

    def sign_again(self, message: Message, chain_id: bytes | None = None) -> Message:
        """The message with a fitting signature of its author, if that is one of ours; under ``chain_id`` if given."""
        chain = self.chain_id if chain_id is None else chain_id
        voter, tag, data = self._statement(message, chain)
        if voter is None:
            return message
        signature = self.sign(voter, tag, data)
        return message if signature is None else changed(message, signature=signature)

    def _statement(self, message: Message, chain: bytes) -> tuple[int | None, bytes, bytes]:
        """Who must sign what; (None, ...) for a message without a signature of its own."""
        match message:
            case PrePrepare():
                header = message.header
                data = prepare_vote_bytes(chain, header.epoch, message.view, header.height, header.hash)
                return self._primary(header.epoch, message.view), PREPARE_TAG, data
            case Prepare():
                data = prepare_vote_bytes(chain, message.epoch, message.view, message.height, message.block_hash)
                return message.voter, PREPARE_TAG, data
            case Commit():
                vote = (message.epoch, message.view, message.height, message.block_hash, message.result_hash)
                return message.voter, COMMIT_TAG, commit_vote_bytes(chain, *vote)
            case Suspect():
                return message.voter, SUSPECT_TAG, suspect_bytes(chain, message.epoch, message.new_view)
            case ViewChange():
                return message.voter, VIEW_CHANGE_TAG, view_change_bytes(chain, message)
            case NewView():
                primary = self._primary(message.epoch, message.new_view)
                return primary, NEW_VIEW_TAG, new_view_bytes(chain, message)
            case _:
                return None, b"", b""

    def _primary(self, epoch: int, view: int) -> int:
        return self.validators.primary(self.chain_id, epoch, view)


class ByzzFuzz:
    """One liar's generator of wrong messages: picks a mutator that fits, changes, and signs again."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng
        self._other_chain = sha256(b"another channel" + forger.chain_id)
        #: How often each mutator was used.
        self.used: dict[str, int] = dict.fromkeys([*(mutator.name for mutator in CATALOGUE), OTHER_CHANNEL], 0)

    def __call__(self, message: Message, history: Sequence[Message]) -> Message:
        """``message``, wrong by one mutation."""
        fitting = [mutator for mutator in CATALOGUE if type(message) in mutator.kinds]
        choice = self._rng.randrange(len(fitting) + 1)
        if choice == len(fitting):
            self.used[OTHER_CHANNEL] += 1
            return self._forger.sign_again(message, self._other_chain)
        mutator = fitting[choice]
        self.used[mutator.name] += 1
        return self._forger.sign_again(mutator.mutate(message, self._rng, history))


#: The mutation that only the signature shows: everything as it was, said on another channel.
OTHER_CHANNEL: Final = "signed for another channel"


def mutate(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
    """``message`` after one mutation of the catalogue that fits its kind, not signed again."""
    fitting = [mutator for mutator in CATALOGUE if type(message) in mutator.kinds]
    return fitting[rng.randrange(len(fitting))].mutate(message, rng, history)


# --- fields ------------------------------------------------------------------------------------------------------


def changed(value: Any, **fields: Any) -> Any:
    """A copy of a message or header with some fields replaced."""
    kept = {name: getattr(value, name) for name in value.__struct_fields__}
    return type(value)(**(kept | fields))


def _shifted(number: int, step: int) -> int:
    """``number + step`` inside what the wire can say."""
    return min(INT_MAX, max(0, number + step))


def _on_field(name: str, change: Callable[[Any, random.Random], Any]) -> Mutate:
    """Change one field of the message, or of its header where the header has it."""

    def mutate_field(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
        if name in message.__struct_fields__:
            return _as_message(changed(message, **{name: change(getattr(message, name), rng)}))
        header = getattr(message, "header")  # noqa: B009  (only some kinds have one)
        return _as_message(changed(message, header=changed(header, **{name: change(getattr(header, name), rng)})))

    return mutate_field


def _as_message(value: Any) -> Message:
    message: Message = value
    return message


def _has(name: str) -> tuple[type[Message], ...]:
    """The kinds that have a field, themselves or in their header."""
    return tuple(
        kind
        for kind in ALL_KINDS
        if name in kind.__struct_fields__ or ("header" in kind.__struct_fields__ and name in _HEADER_FIELDS)
    )


_HEADER_FIELDS: Final = (
    "epoch",
    "height",
    "chain_id",
    "parent_hash",
    "tx_root",
    "tx_count",
    "body_bytes",
    "timestamp_ms",
    "proposer",
    "valset_hash",
    "barrier",
)
_NUMBERS: Final = ("view", "new_view", "target", "height", "epoch", "voter")
_HEADER_NUMBERS: Final = ("tx_count", "body_bytes", "timestamp_ms", "proposer")
_HASHES: Final = ("block_hash", "result_hash")
_HEADER_HASHES: Final = ("chain_id", "parent_hash", "tx_root", "valset_hash")
_LISTS: Final = ("slots", "leaf_hashes", "suspects", "last", "prepared", "view_changes", "prepares", "links")


def _number_mutators() -> list[Mutator]:
    """view +-1, height +-1, epoch +-1, voter +-1, the same of the header's, and the largest number there is."""
    mutators: list[Mutator] = []
    for name in (*_NUMBERS, *_HEADER_NUMBERS):
        for step in (1, -1):
            mutators.append(Mutator(f"{name} {step:+d}", _has(name), _on_field(name, _shift_by(step))))
        mutators.append(Mutator(f"{name} huge", _has(name), _on_field(name, lambda n, rng: INT_MAX)))
    return mutators


def _shift_by(step: int) -> Callable[[Any, random.Random], Any]:
    return lambda number, rng: _shifted(number, step)


def _hash_mutators() -> list[Mutator]:
    """A hash that nobody has, and one that was said before (an older digest or result)."""
    mutators: list[Mutator] = []
    for name in (*_HASHES, *_HEADER_HASHES):
        mutators.append(Mutator(f"{name} random", _has(name), _on_field(name, lambda old, rng: rng.randbytes(32))))
        mutators.append(Mutator(f"{name} older", _has(name), _older(name)))
    flip = _on_field("barrier", lambda old, rng: not old)
    return [*mutators, Mutator("barrier flipped", _has("barrier"), flip)]


def _older(name: str) -> Mutate:
    """Put in the value of this field that another message had."""

    def mutate_older(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
        known = [value for other in history for value in _values(other, name)]
        if not known:
            return message
        return _on_field(name, lambda old, _: known[rng.randrange(len(known))])(message, rng, history)

    return mutate_older


def _values(message: Message, name: str) -> list[bytes]:
    """What a message says under a name, the hash of its header and result included."""
    found: list[bytes] = []
    header = getattr(message, "header", None)
    if name in message.__struct_fields__:
        found.append(getattr(message, name))
    elif header is not None:
        if name == "block_hash":
            found.append(header.hash)
        elif name in _HEADER_FIELDS:
            found.append(getattr(header, name))
    if name == "result_hash" and isinstance(message, Decision):
        found.append(message.result.hash)
    return found


# --- lists -------------------------------------------------------------------------------------------------------


def _drop(items: list[Any], rng: random.Random) -> list[Any]:
    del items[rng.randrange(len(items))]
    return items


def _duplicate(items: list[Any], rng: random.Random) -> list[Any]:
    at = rng.randrange(len(items))
    return [*items[: at + 1], *items[at:]]


def _reorder(items: list[Any], rng: random.Random) -> list[Any]:
    return items[::-1] if len(items) == 2 else rng.sample(items, len(items))


def _replace_by_first(items: list[Any], rng: random.Random) -> list[Any]:
    return [items[0]] * len(items)


def _empty(items: list[Any], rng: random.Random) -> list[Any]:
    return []


_LIST_CHANGES: Final[dict[str, Callable[[list[Any], random.Random], list[Any]]]] = {
    "drop": _drop,
    "duplicate": _duplicate,
    "reorder": _reorder,
    "one for all": _replace_by_first,
    "empty": _empty,
}


def _list_mutators() -> list[Mutator]:
    """Drop, double, reorder, repeat or empty the entries of a list; bitmaps have mutators of their own."""
    mutators: list[Mutator] = []
    for name in _LISTS:
        kinds = tuple(kind for kind in _has(name) if not (kind is Status and name == "view_changes"))
        for label, change in _LIST_CHANGES.items():
            mutators.append(Mutator(f"{name} {label}", kinds, _on_field(name, _on_list(change))))
        mutators.append(Mutator(f"{name} of another", kinds, _of_another(name)))
    return mutators


def _on_list(change: Callable[[list[Any], random.Random], list[Any]]) -> Callable[[Any, random.Random], Any]:
    return lambda items, rng: tuple(change(list(items), rng)) if items else items


def _of_another(name: str) -> Mutate:
    """Put in the list that another message of this kind had."""

    def mutate_other(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
        others = [other for other in history if type(other) is type(message)]
        if not others:
            return message
        other = others[rng.randrange(len(others))]
        return _as_message(changed(message, **{name: getattr(other, name)}))

    return mutate_other


# --- certificates and signatures ---------------------------------------------------------------------------------


def _flip_bit(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    bit = rng.randrange(8 * len(data))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def _on_certificate(change: Callable[[Any, random.Random], Any]) -> Mutate:
    """Change one certificate inside the message: a DECISION's, or one that a VIEW-CHANGE shows."""

    def mutate_certificate(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
        if isinstance(message, Decision):
            return _as_message(changed(message, certificate=change(message.certificate, rng)))
        assert isinstance(message, ViewChange), "only these hold certificates of their own"
        names = [name for name in ("last", "prepared") if getattr(message, name)]
        if not names:
            return message
        name = names[rng.randrange(len(names))]
        entries = list(getattr(message, name))
        at = rng.randrange(len(entries))
        header, certificate = entries[at]
        entries[at] = (header, change(certificate, rng))
        return _as_message(changed(message, **{name: tuple(entries)}))

    return mutate_certificate


def _certificate_mutators() -> list[Mutator]:
    kinds: tuple[type[Message], ...] = (Decision, ViewChange)
    changes: dict[str, Callable[[Any, random.Random], Any]] = {
        "certificate bitmap flipped": lambda pc, rng: changed(pc, bitmap=_flip_bit(pc.bitmap, rng)),
        "certificate bitmap longer": lambda pc, rng: changed(pc, bitmap=pc.bitmap + b"\x01"),
        "certificate view +1": lambda pc, rng: changed(pc, view=_shifted(pc.view, 1)),
        "certificate view -1": lambda pc, rng: changed(pc, view=_shifted(pc.view, -1)),
        "certificate view huge": lambda pc, rng: changed(pc, view=INT_MAX),
        "certificate height +1": lambda pc, rng: changed(pc, height=_shifted(pc.height, 1)),
        "certificate epoch +1": lambda pc, rng: changed(pc, epoch=_shifted(pc.epoch, 1)),
        "certificate block random": lambda pc, rng: changed(pc, block_hash=rng.randbytes(32)),
    }
    for label, change in _LIST_CHANGES.items():
        changes[f"certificate signatures {label}"] = lambda pc, rng, by=change: changed(  # type: ignore[misc]
            pc, signatures=by(list(pc.signatures), rng) if pc.signatures else []
        )
    mutators = [Mutator(name, kinds, _on_certificate(change)) for name, change in changes.items()]
    mutators.append(Mutator("signature flipped", _has("signature"), _on_field("signature", _flip_bit)))
    flip = _on_field("view_changes", _flip_bit)
    mutators.append(Mutator("view_changes bitmap flipped", (Status,), flip))
    mutators.append(Mutator("slot bitmap flipped", (Status,), _flip_slot))
    mutators.append(Mutator("result random", (Decision,), _other_result))
    return mutators


def _flip_slot(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
    assert isinstance(message, Status)
    if not message.slots:
        return message
    slots = list(message.slots)
    at = rng.randrange(len(slots))
    slots[at] = changed(slots[at], prepares=_flip_bit(slots[at].prepares, rng), commits=slots[at].commits + b"\xff")
    return _as_message(changed(message, slots=tuple(slots)))


def _other_result(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
    assert isinstance(message, Decision)
    return _as_message(changed(message, result=changed(message.result, state_root=rng.randbytes(32))))


def _inner(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
    """A NEW-VIEW around a VIEW-CHANGE that is wrong by one mutation (and not signed again)."""
    assert isinstance(message, NewView)
    if not message.view_changes:
        return message
    view_changes = list(message.view_changes)
    at = rng.randrange(len(view_changes))
    view_changes[at] = mutate(ViewChange.decode(view_changes[at]), rng, history).encode()
    return _as_message(changed(message, view_changes=tuple(view_changes)))


def _not_a_view_change(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
    """A NEW-VIEW around other bytes: of another kind, cut short, or none at all."""
    assert isinstance(message, NewView)
    if not message.view_changes:
        return message
    view_changes = list(message.view_changes)
    at = rng.randrange(len(view_changes))
    whole = view_changes[at]
    others = [other.encode() for other in history if not isinstance(other, ViewChange)]
    choices = [b"", whole[: len(whole) // 2], whole + b"\x00", *others]
    view_changes[at] = choices[rng.randrange(len(choices))]
    return _as_message(changed(message, view_changes=tuple(view_changes)))


def _replayed(message: Message, rng: random.Random, history: Sequence[Message]) -> Message:
    """An older message of the same kind in place of this one."""
    others = [other for other in history if type(other) is type(message)]
    return others[rng.randrange(len(others))] if others else message


CATALOGUE: Final[tuple[Mutator, ...]] = (
    *_number_mutators(),
    *_hash_mutators(),
    *_list_mutators(),
    *_certificate_mutators(),
    Mutator("a VIEW-CHANGE inside mutated", (NewView,), _inner),
    Mutator("no VIEW-CHANGE inside", (NewView,), _not_a_view_change),
    Mutator("replayed", ALL_KINDS, _replayed),
)


# --- bytes -------------------------------------------------------------------------------------------------------

ByteMutate = Callable[[bytes, random.Random], bytes]


def _truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _bit_flipped(data: bytes, rng: random.Random) -> bytes:
    return _flip_bit(data, rng)


def _trailing(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(1 + rng.randrange(8))


def _other_kind(data: bytes, rng: random.Random) -> bytes:
    return data[:1] + bytes([rng.randrange(16)]) + data[2:]


def _out_of_range(data: bytes, rng: random.Random) -> bytes:
    """One number made negative, or 2^63: what the wire may carry and no field may."""
    fields = msgspec.msgpack.decode(data)
    numbers = [at for at, field in enumerate(fields) if at and type(field) is int]
    if not numbers:
        return data + b"\x00"
    fields[numbers[rng.randrange(len(numbers))]] = (-1, INT_MAX + 1)[rng.randrange(2)]
    return msgspec.msgpack.encode(fields)


def _field_dropped(data: bytes, rng: random.Random) -> bytes:
    fields = msgspec.msgpack.decode(data)
    del fields[rng.randrange(1, len(fields))]
    return msgspec.msgpack.encode(fields)


def _field_doubled(data: bytes, rng: random.Random) -> bytes:
    fields = msgspec.msgpack.decode(data)
    at = rng.randrange(1, len(fields))
    return msgspec.msgpack.encode([*fields[:at], fields[at], *fields[at:]])


def _longer_encoding(data: bytes, rng: random.Random) -> bytes:
    """The same value with its kind as a two-byte number: not canonical."""
    return data[:1] + b"\xcc" + data[1:]


BYTE_CATALOGUE: Final[dict[str, ByteMutate]] = {
    "truncated": _truncated,
    "bit flipped": _bit_flipped,
    "trailing bytes": _trailing,
    "another kind": _other_kind,
    "number out of range": _out_of_range,
    "field dropped": _field_dropped,
    "field doubled": _field_doubled,
    "longer encoding": _longer_encoding,
}
