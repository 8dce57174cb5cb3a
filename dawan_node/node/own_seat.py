"""What this home's key is on a channel: does it vote, will it, did it; in words for its operator.

The chain decides who votes, and a node goes by it by itself: a key that is not in the set signs nothing. This is what
the operator is told, once when it becomes so and in ``pbft_status`` for as long as it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dawan_node.execution.channel import GOVERNANCE
from dawan_node.execution.executor import Executor
from dawan_node.execution.state import StateReader
from dawan_node.modules.governance.declaration import ValidatorKey
from dawan_node.node.logs import fields

log = logging.getLogger(__name__)


class SeatState(StrEnum):
    """A node's key on one channel, after the block at its head."""

    NONE = "none"  # an observer, as its organisation wants it
    VOTES = "votes"
    SILENT = "silent"  # it would vote, but does not know what it has signed (amendment U6)
    WAITS = "waits"  # a validator of this name votes with another key, and this one never did
    REPLACED = "replaced"
    REMOVED = "removed"


_LEVELS: Final = {
    SeatState.NONE: logging.INFO,
    SeatState.VOTES: logging.INFO,
    SeatState.SILENT: logging.CRITICAL,
    SeatState.WAITS: logging.WARNING,
    SeatState.REPLACED: logging.CRITICAL,
    SeatState.REMOVED: logging.WARNING,
}


@dataclass(frozen=True, slots=True)
class OwnSeat:
    """``text``: what the operator should know and do, empty where nothing needs to be said."""

    state: SeatState
    text: str = ""

    def report(self, channel: str) -> None:
        """Into the log."""
        log.log(_LEVELS[self.state], f"own_key_{self.state.value}", extra=fields(channel=channel, text=self.text))


def own_seat(executor: Executor, state: StateReader, name: str, public_key: bytes, *, signs: bool) -> OwnSeat:
    """Where ``public_key`` of node ``name`` stands after the block that ``state`` shows; ``signs``: whether this home
    has the log that belongs to the key and the database."""
    validators = executor.configuration(state).validators
    if any(key == public_key for _, _, _, key in validators):
        if signs:
            return OwnSeat(SeatState.VOTES)
        return OwnSeat(
            SeatState.SILENT,
            f"validator {name} does not vote: this home has not the log of what its key signed. It needs another key, "
            "made in a new home and voted in: dawan-node init, then network validator-request (docs/rekey.md)",
        )
    stored = state.get(GOVERNANCE, ValidatorKey.spec.collection, public_key)
    if stored is not None:
        term: ValidatorKey = ValidatorKey.spec.decode(stored)
        if term.ended == "removed":
            return OwnSeat(
                SeatState.REMOVED,
                f"{term.name} is no validator any more since height {term.until_height + 1}: this node observes",
            )
        return OwnSeat(
            SeatState.REPLACED,
            f"the key of validator {term.name} was replaced at height {term.until_height}: this home never votes "
            "again. Stop it, and start the home with the new key",
        )
    if any(seat == name for seat, _, _, _ in validators):
        return OwnSeat(
            SeatState.WAITS,
            f"validator {name} votes with another key than this home's: this node observes until the change is "
            "enacted (network replace-validator, vote, enact)",
        )
    return OwnSeat(SeatState.NONE)
