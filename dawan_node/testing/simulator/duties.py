"""What an honest node may not leave undone: to repeat a wish, and to help whoever says that it is behind.

The other checks judge what a node does. Leaving something out is seldom seen by them: other parts of the protocol make
up for it, later and at a price (catch-up brings the block that nobody sent, the next timer the view that nobody asked
for again), until the day they cannot. So these two duties are watched where they arise, inside the replica, in the
time of its own clock: what it has not done although its clock has passed the time for it, it will not do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from dawan_node.consensus import Ready, Replica
from dawan_node.consensus.messages import Decision, Status, Suspect
from dawan_node.testing.simulator.world import Violation

if TYPE_CHECKING:
    from dawan_node.testing.simulator.node import SimulatedNode
    from dawan_node.testing.simulator.scene import Scene

#: A wish is repeated at the first input after its time, which sets the clock of the replica too.
_LATE_MS: Final = 500
#: How often a validator may say that it stands below, at least ``resend_ms`` apart, and get nothing. The first may come
#: just after the last help; the second must be answered.
_UNHEARD_MAX: Final = 2

#: What a DECISION begins with: an array, and its tag (formats).
_DECISION: Final = bytes([cast(int, Decision.__struct_config__.tag)])


class Duties:
    """What the honest nodes of one scene owe."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        #: node -> (its life, view wished for, when it last said so on its replica's clock)
        self._wishes: dict[int, tuple[int, int, int]] = {}
        #: (node, life, epoch, validator) -> (how often it said it stands below and got nothing, when it last did)
        self._unheard: dict[tuple[int, int, int, int], tuple[int, int]] = {}

    def watch(self, node: SimulatedNode, replica: Replica) -> None:
        """A life of honest ``node`` begins."""
        replica._repair.on_status = partial(  # type: ignore[method-assign]
            self._on_status, node, replica, replica._repair.on_status
        )

    def wishes(self, node: SimulatedNode, message: Suspect) -> None:
        """A wish of ``node`` leaves."""
        assert node.life is not None
        self._wishes[node.number] = (node.lives, message.new_view, node.life.replica._state.clock)

    def wanted(self, node: SimulatedNode, ready: Ready) -> None:
        """What ``node`` sends may be what it owes."""
        if not self._unheard:
            return
        assert node.life is not None
        epoch = node.life.replica._state.chain.epoch
        for outgoing in ready.messages:
            if outgoing.payload[1:2] == _DECISION:
                for link in outgoing.to or ():
                    self._unheard.pop((node.number, node.lives, epoch, link), None)

    def measure(self, node: SimulatedNode) -> None:
        """Raises Violation when a wish that lasts was not repeated (L10)."""
        life = node.life
        assert life is not None
        state, suspicion = life.replica._state, life.replica._suspicion
        lives, view, said_at = self._wishes.get(node.number, (0, 0, 0))
        wish = suspicion._wish
        if lives != node.lives or wish is None or wish[0] != view:
            return
        if not state.may_sign or not suspicion.may_change_view() or life.waits_for_disk:
            self._wishes[node.number] = (lives, view, state.clock)
            return
        silent_ms = state.clock - said_at
        if silent_ms > state.timers.suspect_resend_ms + _LATE_MS:
            raise Violation(f"{node.name} wishes for view {view} and has not said so for {silent_ms} ms (L10)")

    def _on_status(
        self,
        node: SimulatedNode,
        replica: Replica,
        hear: Callable[[Status, int], None],
        status: Status,
        link: int,
    ) -> None:
        """Raises Violation when ``link`` said it again and again, and got no DECISION (L4)."""
        state = replica._state
        owes = status.height < state.chain.height and status.height + 1 in state.chain.recent
        hear(status, link)
        key = (node.number, node.lives, state.chain.epoch, link)
        if not owes or link >= state.validators.n or not self._is_honest(state.chain.epoch, link):
            self._unheard.pop(key, None)
            return
        count, last_at = self._unheard.get(key, (0, -state.timers.resend_ms))
        if state.clock < last_at + state.timers.resend_ms:
            return
        if count + 1 > _UNHEARD_MAX:
            name = self._scene.name_of_validator(state.chain.epoch, link)
            raise Violation(
                f"{node.name} heard {count} times that {name} stands at height {status.height}, below"
                f" {state.chain.height}, and sent it nothing (L4)"
            )
        self._unheard[key] = (count + 1, state.clock)

    def _is_honest(self, epoch: int, link: int) -> bool:
        name = self._scene.name_of_validator(epoch, link)
        nodes = self._scene.nodes_called(name)
        return bool(nodes) and all(node.is_honest for node in nodes)
