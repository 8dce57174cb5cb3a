"""What a channel is put together from, and what it needs of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dawan_node.consensus.config import Head
from dawan_node.consensus.ready import Evidence
from dawan_node.consensus.replica import Replica
from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.execution.executor import Executor
from dawan_node.node.accuser import EvidenceSigner
from dawan_node.node.bodies import Bodies
from dawan_node.node.keeping import Keeping
from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import PeerId
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.channel_store import ChannelStore


class Links(Protocol):
    """The network, as a channel uses it (``p2p.network.Network``)."""

    def send(self, peer_name: str, chain_id: bytes, topic: Topic, payload: bytes) -> bool:
        """Queue one message for one peer."""
        ...

    def broadcast(
        self, chain_id: bytes, topic: Topic, payload: bytes, names: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """Queue one message for several peers."""
        ...

    def connected(self, chain_id: bytes) -> tuple[PeerId, ...]:
        """Peers of the channel."""
        ...

    def round_trip_ms(self, peer_name: str) -> int | None:
        """How far away a peer is; None where that is not known."""
        ...

    def report_violation(self, peer_name: str, why: str) -> None:
        """Close a peer that sent what no honest peer sends."""
        ...


@dataclass(frozen=True, slots=True)
class ChannelParts:
    """What a channel is built from; ``restore.open_channel`` makes them from a home and a log."""

    genesis: Genesis
    store: ChannelStore
    executor: Executor
    head: Head
    replica: Replica
    bodies: Bodies
    verify: Verify = verify_ed25519  # of votes and certificates
    signer: EvidenceSigner | None = None  # None: this node may not sign here
    evidence: tuple[Evidence, ...] = ()  # what the log holds of it
    keeping: Keeping | None = None  # None: neither snapshots nor pruning
    healing_to: int = 0  # the log's head, where blocks up to it are lost here and must come from peers
