"""What a relay carries: which proof moves which reservation, and as which command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawan_node.execution.keys import key_of
from dawan_node.relay.target import LIGHT_CLIENT, TITLE, Reservation

#: What the state of a commitment makes of a reservation, and from which states (docs/cross-channel.md, the protocol).
_MOVES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "COMMITTED": ("CONFIRMED", ("RESERVED",)),
    "PASSED": ("PASSED", ("RESERVED", "CONFIRMED")),
    "RETURNED": ("RELEASED", ("RESERVED", "CONFIRMED")),
}


@dataclass(frozen=True, slots=True)
class Errand:
    """One command for the target. ``about`` names it for people; ``statement`` is the id of what its proof says, so
    that the same is not tried again in vain."""

    about: str
    module: str
    command: str
    args: Mapping[str, Any]
    statement: bytes = b""
    leads_to: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an errand. ``is_known`` is False while it may still commit."""

    tx_id: str
    is_known: bool
    code: int = 0
    reason: str = ""
    message: str = ""
    height: int = 0


def commitment_key(titles_chain_id: bytes, reservation: str) -> bytes:
    """Under which the other channel keeps its commitment to a reservation of the channel ``titles_chain_id``."""
    return key_of(f"{titles_chain_id.hex()}/{reservation}")


def leads_to(reservation: Reservation, commitment: str | None, time_ms: int) -> str:
    """The state that a proof makes of a reservation, empty when it moves nothing: of a ``commitment`` in that state, or
    of none (None), in a block of ``time_ms``."""
    if commitment is None:
        # Nothing was committed to, and from that time on nothing can be.
        return "RELEASED" if reservation.state == "RESERVED" and time_ms >= reservation.commit_by_ms else ""
    state, before = _MOVES.get(commitment, ("", ()))
    return state if reservation.state in before else ""


def settlement(reservation: Reservation, proof: bytes, statement: bytes, state: str) -> Errand:
    """Bring the proof of a commitment, or that there is none, to the title's channel."""
    args = {"reservation": reservation.name, "proof": proof}
    return Errand(reservation.name, TITLE, "settle_title", args, statement, state)


def advance(source: str, epoch: int, proof: bytes, validators: tuple[tuple[str, bytes], ...]) -> Errand:
    """Bring the target's client of ``source`` beyond the end of ``epoch``."""
    seats = [{"suite": suite, "public_key": key} for suite, key in validators]
    args = {"source": source, "proof": proof, "validators": seats}
    return Errand(f"epoch {epoch} of {source}", LIGHT_CLIENT, "advance_client", args)
