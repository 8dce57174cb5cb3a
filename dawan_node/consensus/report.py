"""ReplicaStatus: where a replica is and what it waits for, in words an operator understands (``pbft_status``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dawan_node.consensus.block_tree import Bodies, Run
from dawan_node.consensus.message_log import Slot
from dawan_node.consensus.state import ReplicaState
from dawan_node.consensus.suspicion import Suspicion
from dawan_node.consensus.view_changer import ViewChanger


class Mode(StrEnum):
    """The state of a replica on its channel (consensus.md 1.15)."""

    OBSERVER = "observer"
    SYNCING = "syncing"
    NORMAL = "normal"
    VIEW_CHANGE = "view_change"
    QUARANTINE = "quarantine"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class InFlight:
    """One undecided height: its phase, and whose votes for that phase are here or missing (validator indexes)."""

    height: int
    phase: str
    have: tuple[int, ...]
    missing: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A snapshot. ``suspects`` are (validator, view) of live wishes, ``silent`` the validators not heard of for
    ``silence_ms``; ``waiting_for`` is empty when nothing is due.
    """

    state: Mode
    epoch: int
    view: int
    target: int
    primary: int
    height: int
    block_hash: bytes
    own_index: int | None
    in_flight: tuple[InFlight, ...]
    suspects: tuple[tuple[int, int], ...]
    silent: tuple[int, ...]
    waiting_for: str
    rejected_messages: int


def report_of(state: ReplicaState, view_changer: ViewChanger, suspicion: Suspicion, rejected: int) -> ReplicaStatus:
    """The status of a replica."""
    in_flight = tuple(
        _in_flight(state, state.log.slots[height]) for height in sorted(state.log.slots) if height > state.chain.height
    )
    mode = _mode_of(state)
    return ReplicaStatus(
        mode,
        state.chain.epoch,
        state.view,
        state.target,
        state.primary(state.target),
        state.chain.height,
        state.chain.block_hash,
        state.own,
        in_flight,
        tuple(suspicion.wishes.views()),
        suspicion.silent(),
        _waiting_for(state, view_changer, mode, in_flight),
        rejected,
    )


def _mode_of(state: ReplicaState) -> Mode:
    if state.halted is not None:
        return Mode.HALTED
    if state.quarantine is not None:
        return Mode.QUARANTINE
    if state.own is None:
        return Mode.OBSERVER
    if state.is_behind:
        return Mode.SYNCING
    return Mode.VIEW_CHANGE if state.target > state.view else Mode.NORMAL


def _in_flight(state: ReplicaState, slot: Slot) -> InFlight:
    everybody = range(state.validators.n)
    block = state.tree.get(slot.proposal)
    if slot.own_commit is not None:
        have, phase = tuple(sorted(slot.commits)), "commit"
    elif slot.proposal is None:
        have, phase = tuple(sorted(slot.prepares)), "proposal"
    elif block is None or block.bodies is not Bodies.HELD:
        have, phase = tuple(sorted(slot.prepares)), "bodies"
    elif slot.prepared is None:
        have, phase = tuple(sorted(slot.prepares)), "prepare"
    elif block.run is not Run.DONE:
        have, phase = tuple(sorted(slot.prepares)), "execution"
    else:
        have, phase = tuple(sorted(slot.commits)), "commit"
    return InFlight(slot.height, phase, have, tuple(index for index in everybody if index not in have))


def _waiting_for(state: ReplicaState, view_changer: ViewChanger, mode: Mode, in_flight: tuple[InFlight, ...]) -> str:
    if mode is Mode.HALTED:
        assert state.halted is not None
        return f"an operator: {state.halted.reason}"
    if mode is Mode.QUARANTINE:
        return "a result equal to the quorum's"
    if mode is Mode.SYNCING:
        return f"blocks up to height {max(state.chain.seen_height, state.base.height, state.catch_up_to)}"
    if mode is Mode.VIEW_CHANGE:
        view_changes = view_changer.view_changes
        ready = [voter for voter in sorted(view_changes) if view_changes[voter].new_view == state.target]
        if len(ready) < state.validators.q:
            return f"{state.validators.q - len(ready)} more VIEW-CHANGE messages for view {state.target}"
        return f"the NEW-VIEW of the primary of view {state.target}"
    if in_flight:
        first = in_flight[0]
        return f"{first.phase} at height {first.height}"
    if state.work_pending:
        return "a proposal of the primary"
    return ""
