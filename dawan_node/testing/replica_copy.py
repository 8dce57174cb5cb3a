"""Copies of a replica's whole state, and the part of it that matters as one hashable value.

``copy.deepcopy`` of a replica takes milliseconds, most of them on values that never change. ``copy_of`` shares whatever
is immutable (messages, headers, frozen dataclasses, rules) and copies the containers between them.

``digest_of`` leaves out what no safety rule reads: times and wishes (pacemaker), what was told to whom (repair), caches
and evidence. Two replicas with one digest answer the same messages with the same votes.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum
from types import FunctionType, MethodType
from typing import Any, Final, TypeVar

from dawan_node.consensus import ReplicaConfig
from dawan_node.consensus.message_log import Slot
from dawan_node.consensus.messages import Decision, NewView, ViewChange
from dawan_node.consensus.repair import Repair
from dawan_node.consensus.suspicion import Suspicion
from dawan_node.consensus.verification import Verifier
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate
from dawan_node.primitives.encoding import ProtocolStruct
from dawan_node.primitives.validators import ValidatorSet

T = TypeVar("T")
Copier = Callable[[Any, dict[int, Any]], Any]

#: Shared by all copies: immutable, or a cache of a pure function.
_SHARED: Final = (
    int, str, bytes, bool, type(None), Enum, ProtocolStruct, ValidatorSet, Verifier, ReplicaConfig, FunctionType,
)  # fmt: skip

#: Fields that no safety rule reads.
_IGNORED: Final = frozenset(
    {
        "config", "timers", "verifier", "signer", "outbox", "_outbox", "_evidence", "_first_primary", "_rejected",
        "_refused", "now_ms", "clock", "accepted_at", "arrived_ms", "changed_at", "requested_at", "reported",
        "work_pending", "backoff", "own_records", "_taken_at", "rules", "_restorer", "_restored_epoch", "_unapplied",
        "new_view", "leaf_hashes", "refusal", "holders", "applied",
    }
)  # fmt: skip


_UNKNOWN: Final[Any] = object()
_copiers: dict[type, Copier | None] = {}


def copy_of(value: T) -> T:
    """A copy that shares nothing mutable with ``value``."""
    copied: T = _copy(value, {})
    return copied


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    copier = _copiers.get(kind, _UNKNOWN)
    if copier is _UNKNOWN:
        copier = _copiers[kind] = _copier_of(kind)
    if copier is None:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    return copier(value, memo)


def _copier_of(kind: type) -> Copier | None:
    """How values of a type are copied; None for those that are shared."""
    if issubclass(kind, _SHARED) or (dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        return None
    if kind is tuple:
        return lambda value, memo: tuple([_copy(item, memo) for item in value])
    if kind is dict or kind is OrderedDict:
        return _copy_dict
    if kind is list or kind is deque:
        return _copy_list
    if kind is set:
        return lambda value, memo: set(value)
    if kind is MethodType or not hasattr(kind, "__mro__"):
        raise TypeError(f"a {kind.__name__} cannot be copied")
    names = _fields_of(kind)

    def copy_object(value: Any, memo: dict[int, Any]) -> Any:
        made = object.__new__(kind)
        memo[id(value)] = made
        present = names if names is not None else tuple(value.__dict__)
        for name in present:
            setattr(made, name, _copy(getattr(value, name), memo))
        return made

    return copy_object


def _copy_dict(value: Any, memo: dict[int, Any]) -> Any:
    made = type(value)()
    memo[id(value)] = made
    for key, item in value.items():
        made[key] = _copy(item, memo)
    return made


def _copy_list(value: Any, memo: dict[int, Any]) -> Any:
    made = type(value)()
    memo[id(value)] = made
    made.extend([_copy(item, memo) for item in value])
    return made


def _fields_of(kind: type) -> tuple[str, ...] | None:
    """The slots of a class without ``__dict__``; None for a class with one."""
    slots = [slot for base in kind.__mro__ for slot in base.__dict__.get("__slots__", ())]
    return tuple(slots) if slots else None


def digest_of(value: object) -> object:
    """A hashable value that is equal for replicas that behave alike."""
    return _digest(value, set())


def _digest(value: Any, seen: set[int]) -> Any:
    kind = type(value)
    if kind is dict or kind is OrderedDict:
        return tuple([(key, _digest(value[key], seen)) for key in sorted(value)])
    if kind is list or kind is tuple or kind is deque:
        return tuple([_digest(item, seen) for item in value])
    if kind is Slot:
        return _digest_slot(value)
    if issubclass(kind, ProtocolStruct):
        return digest_of_message(value)
    if issubclass(kind, Suspicion | Repair):
        return None
    if issubclass(kind, _SHARED):
        return value
    if id(value) in seen:
        return None
    seen.add(id(value))
    names = _fields_of(kind) or tuple(value.__dict__)
    return tuple([_digest(getattr(value, name), seen) for name in names if name not in _IGNORED])


def _digest_slot(slot: Slot) -> Any:
    """Votes by voter, and what I did with them; not when."""
    prepares = tuple([(voter, slot.prepares[voter].block_hash) for voter in sorted(slot.prepares)])
    commits = tuple([(voter, slot.commits[voter].block_hash) for voter in sorted(slot.commits)])
    return (
        slot.view,
        slot.height,
        prepares,
        commits,
        slot.proposal,
        slot.reproposed,
        slot.accepted,
        None if slot.prepared is None else slot.prepared.block_hash,
        slot.certified,
        slot.own_prepare is not None,
        slot.own_commit is not None,
    )


def digest_of_message(value: Any) -> Any:
    """What a message says, and who signed its certificates: each signer recognises its own vote."""
    match value:
        case PreparedCertificate():
            return (1, value.view, value.height, value.block_hash, value.bitmap)
        case CommitCertificate():
            return (2, value.view, value.height, value.block_hash, value.result_hash, value.bitmap)
        case ViewChange():
            last = tuple([digest_of_message(certificate) for _, certificate in value.last])
            prepared = tuple([digest_of_message(certificate) for _, certificate in value.prepared])
            return (3, value.new_view, value.voter, last, prepared)
        case NewView():
            changes = tuple([digest_of_message(ViewChange.decode(data)) for data in value.view_changes])
            return (4, value.new_view, changes)
        case Decision():
            return (5, value.header, digest_of_message(value.certificate))
        case _:
            return value
