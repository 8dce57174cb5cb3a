"""Says in words what arrived: the transcript of a run (``scripts/simulate --seed S --trace``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    decode_message,
)
from dawan_node.errors import InvalidMessage
from dawan_node.p2p.framing import Topic

if TYPE_CHECKING:
    from dawan_node.testing.simulator.node import SimulatedNode
    from dawan_node.testing.simulator.scene import Scene


class Narrator:
    """Tells a scene's transcript what nodes hear."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def arrived(self, sender: SimulatedNode, receiver: SimulatedNode, topic: Topic, payload: bytes) -> None:
        """A message came through. STATUS and sync heads are left out: they come every second from everybody."""
        if topic is not Topic.CONSENSUS:
            return
        try:
            message = decode_message(payload)
        except InvalidMessage as error:
            self._scene.world.say(f"{sender.name} > {receiver.name}  damaged bytes: {error}")
            return
        if not isinstance(message, Status):
            self._scene.world.say(f"{sender.name} > {receiver.name}  {_words(message)}")


def _words(message: Message) -> str:
    match message:
        case PrePrepare():
            header = message.header
            return (
                f"PRE-PREPARE view {message.view} height {header.height} {header.hash.hex()[:8]}"
                f" ({header.tx_count} transactions)"
            )
        case Prepare():
            return f"PREPARE view {message.view} height {message.height} {message.block_hash.hex()[:8]}"
        case Commit():
            return (
                f"COMMIT view {message.view} height {message.height} {message.block_hash.hex()[:8]}"
                f" result {message.result_hash.hex()[:8]}"
            )
        case Suspect():
            return f"SUSPECT view {message.new_view}"
        case ViewChange():
            last = max((header.height for header, _ in message.last), default=0)
            prepared = [(header.height, pc.view, pc.block_hash.hex()[:8]) for header, pc in message.prepared]
            return f"VIEW-CHANGE to {message.new_view} by {message.voter}, decided {last}, prepared {prepared}"
        case NewView():
            return f"NEW-VIEW {message.new_view} of {len(message.view_changes)}, {len(message.prepares)} proposed again"
        case Decision():
            return f"DECISION height {message.header.height} {message.header.hash.hex()[:8]}"
        case ProposalRequest():
            return f"PROPOSAL-REQUEST height {message.height} {message.block_hash.hex()[:8]}"
        case Status():
            return "STATUS"
