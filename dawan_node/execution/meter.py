"""How much a running transaction of a guarded module may still do between its SDK calls.

SDK calls are counted by ``layers``. Between two of them a module may loop and recurse, and a thread that does so cannot
be stopped from outside. So the code of modules that are not part of this package counts for itself (``instrument``):
each turn of a loop and each call of a function is *work*, more if its body is long, and so is what copies or searches.
A transaction has ``WORK_PER_STEP`` units for each step it may use; more is ``OutOfSteps``, as for SDK calls: the same
on every node, whatever its speed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from dawan_node.execution.layers import OutOfSteps

#: Turns of a loop for each step, each of which may hold a few operations: 160,000 for the default budget of 10,000
#: steps, which take 20 to 200 ms.
WORK_PER_STEP: Final = 16

#: Calls nest so deep at most. Python's own limit counts what the node has on its stack too, which differs.
DEPTH_MAX: Final = 64

_UNMETERED: Final = 2**62


class Meter:
    """What a transaction has left."""

    __slots__ = ("depth", "left")

    def __init__(self, work: int) -> None:
        self.left = work
        self.depth = 0


class _Running(threading.local):
    """Each thread executes one transaction at a time."""

    def __init__(self) -> None:
        self.meter = Meter(_UNMETERED)


_running: Final = _Running()


class Metered:
    """A function of a guarded module, ``(context, ...)``, with the work that the context's budget allows."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Final = function

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself, to be read and not to be called."""
        return self._function

    def __call__(self, context: Any, *arguments: Any) -> Any:
        outer = _running.meter
        meter = _running.meter = Meter(context.steps_max * WORK_PER_STEP)
        try:
            result = self._function(context, *arguments)
        finally:
            _running.meter = outer
        if meter.left < 0:  # whatever the module did with the exception
            raise OutOfSteps
        return result


def limited(work: int, function: Callable[[], Any]) -> Any:
    """The outcome of ``function`` with so much work. Raises OutOfSteps."""
    outer = _running.meter
    _running.meter = Meter(work)
    try:
        return function()
    finally:
        _running.meter = outer


def charge(units: int) -> None:
    """Count work. Raises OutOfSteps."""
    meter = _running.meter
    meter.left -= units
    if meter.left < 0:
        raise OutOfSteps


def guard_tick(units: int = 1) -> bool:
    """One turn of a loop, worth so much; true, so that it can stand in a comprehension's condition."""
    meter = _running.meter
    meter.left -= units
    if meter.left < 0:
        raise OutOfSteps
    return True


def guard_enter(units: int = 1) -> Meter:
    """A function begins whose body is worth so much; its end is ``guard_leave``."""
    meter = _running.meter
    meter.left -= units
    meter.depth += 1
    if meter.left < 0 or meter.depth > DEPTH_MAX:
        meter.depth -= 1
        raise OutOfSteps
    return meter


def guard_leave(meter: Meter) -> None:
    """A function ends."""
    meter.depth -= 1


def guard_thunk(function: Callable[[], Any], units: int = 1) -> Any:
    """The body of a lambda."""
    meter = guard_enter(units)
    try:
        return function()
    finally:
        meter.depth -= 1
