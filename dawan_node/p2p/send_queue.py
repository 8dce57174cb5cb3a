"""What leaves first, and what is dropped when a peer cannot keep up.

Pure, one per link. Frames wait in one queue per topic, each bounded in bytes; the more urgent topic always goes
first (control, consensus, fetch, sync, gossip), so a megabyte of history never delays a vote by more than what is
already in the socket. Inside a topic the channels share the link by deficit round robin: a busy channel cannot
starve a quiet one.

When a peer reads too slowly, gossip is given up first, because transactions reach the others by other ways. Then
new frames of the full topic are refused and counted; consensus repairs lost messages from peers' status.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dawan_node.p2p.framing import KIB, MIB, Topic
from dawan_node.p2p.peers import TrafficCounters

#: Bytes that may wait per topic, each with its reason.
QUEUE_BYTES_MAX: Final = MappingProxyType(
    {
        # Pings and pongs only; the handshake is over when the queue begins.
        Topic.CONTROL: 64 * KIB,
        # Two full windows of proposals with 65,536 leaves are 17 MiB; with the default 1,000, under 1 MiB.
        Topic.CONSENSUS: 8 * MIB,
        # Two replies of 4 MiB: the peer asks for the next when one has arrived.
        Topic.FETCH: 9 * MIB,
        # Two ranges of 5 MiB, likewise.
        Topic.SYNC: 11 * MIB,
        # 64 batches of 64 KiB: over two seconds of 1,800 transactions of 1 KiB.
        Topic.GOSSIP: 4 * MIB,
    }
)
#: Bytes that may wait per peer in all. Less than the sum, so that one peer cannot fill every queue at once.
TOTAL_BYTES_MAX: Final = 24 * MIB

# What a channel may send before the next one's turn: one gossip batch, or a few hundred votes.
_QUANTUM_BYTES: Final = 64 * KIB

_URGENCY: Final = (Topic.CONTROL, Topic.CONSENSUS, Topic.FETCH, Topic.SYNC, Topic.GOSSIP)


class SendQueue:
    """The frames that wait for one peer."""

    __slots__ = ("_limits", "_queues", "_total_max", "bytes", "counters")

    def __init__(
        self,
        counters: TrafficCounters,
        total_bytes_max: int = TOTAL_BYTES_MAX,
        topic_bytes_max: Mapping[Topic, int] = QUEUE_BYTES_MAX,
    ) -> None:
        self._queues = {topic: _TopicQueue() for topic in _URGENCY}
        self._limits = topic_bytes_max
        self._total_max = total_bytes_max
        self.bytes = 0
        self.counters = counters

    def __bool__(self) -> bool:
        return self.bytes > 0

    def push(self, topic: Topic, chain_id: bytes, frame: bytes) -> bool:
        """Queue an encoded frame; False (and counted) when there is no room even without waiting gossip."""
        queue = self._queues[topic]
        size = len(frame)
        if queue.bytes + size > self._limits[topic]:
            self.counters.refused += 1
            return False
        if topic is not Topic.GOSSIP:
            gossip = self._queues[Topic.GOSSIP]
            while self.bytes + size > self._total_max and gossip.bytes:
                self.bytes -= len(gossip.pop())
                self.counters.dropped += 1
        if self.bytes + size > self._total_max:
            self.counters.refused += 1
            return False
        queue.push(chain_id, frame)
        self.bytes += size
        return True

    def take(self, bytes_max: int) -> list[bytes]:
        """The next frames to write, most urgent first, of at most ``bytes_max`` together, but at least one."""
        taken: list[bytes] = []
        size = 0
        for topic in _URGENCY:
            queue = self._queues[topic]
            while queue.bytes:
                if taken and size + queue.next_size() > bytes_max:
                    self.bytes -= size
                    return taken
                frame = queue.pop()
                size += len(frame)
                taken.append(frame)
        self.bytes -= size
        return taken


class _TopicQueue:
    """Frames of one topic: a queue per channel, served by surplus round robin.

    A channel may overdraw its credit by one frame and pays for it in its next turns, so channels share the link in
    bytes whatever the size of their frames (deficit round robin, Shreedhar and Varghese 1995, with the debt after
    the frame instead of before).
    """

    __slots__ = ("_channels", "_credit", "_turns", "bytes")

    def __init__(self) -> None:
        self._channels: dict[bytes, deque[bytes]] = {}
        self._credit: dict[bytes, int] = {}
        self._turns: deque[bytes] = deque()
        self.bytes = 0

    def push(self, chain_id: bytes, frame: bytes) -> None:
        """Add ``frame`` behind the others of its channel."""
        waiting = self._channels.get(chain_id)
        if waiting is None:
            waiting = self._channels[chain_id] = deque()
            self._credit[chain_id] = _QUANTUM_BYTES
            self._turns.append(chain_id)
        waiting.append(frame)
        self.bytes += len(frame)

    def next_size(self) -> int:
        """The length of the frame that ``pop`` will give."""
        return len(self._channels[self._turn()][0])

    def pop(self) -> bytes:
        """The next frame. Emptied channels leave no trace, so the memory is that of the frames."""
        chain_id = self._turn()
        waiting = self._channels[chain_id]
        frame = waiting.popleft()
        self.bytes -= len(frame)
        self._credit[chain_id] -= len(frame)
        if not waiting:
            del self._channels[chain_id], self._credit[chain_id]
            self._turns.popleft()
        return frame

    def _turn(self) -> bytes:
        """The channel whose turn it is; those in debt are given a quantum and passed over."""
        turns, credit = self._turns, self._credit
        while credit[turns[0]] <= 0:
            credit[turns[0]] += _QUANTUM_BYTES
            turns.rotate(-1)
        return turns[0]
