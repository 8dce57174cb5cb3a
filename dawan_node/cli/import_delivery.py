"""Handing signed transactions in until each has an answer: the same bytes again, never new ones.

A transaction that a pool refuses for want of room, whose wait ended, or whose connection broke may still commit or may
not be anywhere; its bytes settle that, because the chain gives the first answer to them every time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from dawan_node.rpc.client import Client

T = TypeVar("T")
_Function = TypeVar("_Function", bound=Callable[..., Any])

#: Seconds without any answer before an importer gives up; what it sent stands in its journal, or on chain. The longest
#: that a sound network says nothing is a node that restarts, a changed primary or a full pool that drains: seconds
#: each, and a few of them in a row stay below a minute. Who waits longer waits for people, and should hear of it.
PATIENCE_S: Final = 60
#: A night's job may wait an hour for somebody who repairs the network; beyond that a scheduler starts it again.
PATIENCE_MAX_S: Final = 3_600

#: How long one call waits for its commit before it is made again. An interrupt waits for it too, so not for long.
WAIT_MS: Final = 10_000
#: Between two attempts where a node is full or gone: blocks come several times a second.
PAUSE_S: Final = 0.25
#: The pause doubles up to this while nothing gets in: a pool that others fill is not emptied by asking, and every
#: attempt is the whole batch again. The default patience of a minute still sees some fifteen attempts.
PAUSE_MAX_S: Final = 4.0
# Formats C.
_WAIT_TIMED_OUT: Final = 1100
_EXPIRED: Final = 1003


@dataclass(slots=True)
class Answer:
    """What the chain said of one transaction. ``known`` is False while it may still commit."""

    known: bool = False
    code: int = 0
    reason: str = ""
    message: str = ""
    shown: dict[str, Any] = field(default_factory=dict)

    @property
    def is_recorded(self) -> bool:
        return self.known and self.code == 0


class Patience:
    """How long to go on without any answer, and whether somebody called a halt in between."""

    def __init__(
        self,
        seconds: float,
        notice: Callable[[str], None] | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """``notice`` is told once of each question that is not answered at once, so that nobody waits in the dark.
        ``wait(seconds)`` waits in the place of what ``halt`` ends, and is True once there is to be no more of it."""
        self.seconds: Final = seconds
        self._notice: Final = notice
        self._halt: Final = threading.Event()
        self._wait: Final = wait or self._halt.wait

    def halt(self) -> None:
        """End all waiting."""
        self._halt.set()

    def pause(self, deadline: float, vain: int = 0) -> bool:
        """Wait a moment, longer after ``vain`` attempts without any answer; False when there is no sense in trying
        again."""
        left = deadline - time.monotonic()
        return left > 0 and not self._wait(min(PAUSE_S * 2 ** min(vain, 8), PAUSE_MAX_S, max(left, PAUSE_S)))

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to something that may be asked twice. Raises what the last attempt raised."""
        from dawan_node.rpc.client import RpcError, Unreachable

        deadline = time.monotonic() + self.seconds
        vain = 0
        while True:
            try:
                return question()
            except Unreachable as error:
                failure: Unreachable | RpcError = error
            except RpcError as error:
                if not error.retryable:
                    raise
                failure = error
            if vain == 0 and self._notice is not None and self.seconds > 0:
                self._notice(f"no answer yet ({failure}); waiting for one up to {self.seconds:g} s (--patience)")
            if not self.pause(deadline, vain):
                raise failure
            vain += 1


def journal_option(function: _Function) -> _Function:
    """``--journal``, of whatever sends transactions that may be under way when it ends; arrives as ``journal``."""
    return click.option(
        "--journal",
        type=click.Path(path_type=Path, dir_okay=False),
        help="File of what is under way. Default: in --home, one for each channel, key and command.",
    )(function)


def patience_option(function: _Function) -> _Function:
    """``--patience``, the same wherever a node is waited for; arrives as ``patience``, in seconds."""
    return click.option(
        "--patience",
        type=click.IntRange(1, PATIENCE_MAX_S),
        default=PATIENCE_S,
        show_default=True,
        help="Seconds to wait for a node that does not answer, or says to come back, before it stops; the same command "
        "goes on later. The default outlasts a restart, a changed primary and a full pool.",
    )(function)


def deliver(client: Client, channel: str, envelopes: Sequence[bytes], patience: Patience) -> list[Answer]:
    """An answer to each, in order. Gives up, with unknown ones, once nothing was answered for so long.

    Raises RpcError when the node refuses the call as a whole and trying again does not help.
    """
    from dawan_node.rpc.client import RpcError, Unreachable

    answers = [Answer() for _ in envelopes]
    waiting = list(range(len(envelopes)))
    deadline = time.monotonic() + patience.seconds
    vain = 0
    wait_ms = max(1, min(WAIT_MS, int(patience.seconds * 1_000)))
    while True:
        try:
            verdicts = client.tx_submitMany(channel, [envelopes[place] for place in waiting], "committed", wait_ms)
        except Unreachable as error:
            verdicts = [_no_answer("E_UNREACHABLE", str(error))] * len(waiting)
        except RpcError as error:
            if not error.retryable:
                raise
            verdicts = [_no_answer(error.reason, error.message)] * len(waiting)
        left = []
        for place, verdict in zip(waiting, verdicts, strict=True):
            answers[place] = _answer(verdict)
            if not answers[place].known:
                left.append(place)
        if len(left) < len(waiting):
            deadline, vain = time.monotonic() + patience.seconds, 0
        waiting = left
        if not waiting or not patience.pause(deadline, vain):
            return answers
        vain += 1


def _no_answer(reason: str, message: str) -> dict[str, Any]:
    return {"error": {"code": _WAIT_TIMED_OUT, "message": message, "data": {"reason": reason}}}


def _answer(verdict: dict[str, Any]) -> Answer:
    receipt, error = verdict.get("receipt"), verdict.get("error")
    shown = {"tx_id": verdict["tx_id"]} if verdict.get("tx_id") else {}
    if receipt is not None:
        shown["height"] = receipt["height"]
        return Answer(True, receipt["code"], receipt["reason"], "", shown)
    if error is not None:
        data = error.get("data") or {}
        unknown = error["code"] == _WAIT_TIMED_OUT or data.get("retryable", False)
        return Answer(not unknown, error["code"], str(data.get("reason", "")), error["message"], shown)
    if verdict.get("status") == "expired":
        return Answer(True, _EXPIRED, "E_VALIDITY", "it expired before a block took it", shown)
    return Answer(False, _WAIT_TIMED_OUT, "E_WAIT_TIMEOUT", f"still {verdict.get('status')}", shown)
