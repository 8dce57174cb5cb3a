"""The operators that combine sets and dicts, counted by the sizes of both; numbers have them too."""

from __future__ import annotations

from typing import Any

from dawan_node.execution.guard_order import UNIT_BITS, Views, guard_sized, pairs_of, size_of
from dawan_node.execution.layers import ModuleFault
from dawan_node.execution.meter import charge


def guard_or(left: Any, right: Any) -> Any:
    """``left | right``."""
    return guard_sized(left | right)


def guard_and(left: Any, right: Any) -> Any:
    """``left & right``."""
    _charge_combined(left, right)
    return left & right


def guard_xor(left: Any, right: Any) -> Any:
    """``left ^ right``."""
    _charge_combined(left, right)
    return guard_sized(left ^ right)


def guard_sub(left: Any, right: Any) -> Any:
    """``left - right``."""
    if type(left) is not int:
        _charge_combined(left, right)
    return left - right


def guard_merged(right: Any, left: Any, is_named: bool) -> Any:
    """The right side of ``|=``, ``-=``, ``&=`` and ``^=``; ``left`` is known if it is a name."""
    _charge_combined(left, right)
    if isinstance(left, dict):
        return pairs_of(right)
    if not is_named and isinstance(right, set | frozenset):
        raise ModuleFault("combines a part of something with a set in place")
    return right


def _charge_combined(left: Any, right: Any) -> None:
    for side in (left, right):
        if isinstance(side, (set, frozenset, dict, *Views)):
            charge(size_of(side) >> UNIT_BITS)
