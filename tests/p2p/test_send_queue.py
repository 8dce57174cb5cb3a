"""What leaves first, what is dropped, and that channels share a link."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from dawan_node.p2p.framing import Topic
from dawan_node.p2p.peers import TrafficCounters
from dawan_node.p2p.send_queue import QUEUE_BYTES_MAX, TOTAL_BYTES_MAX, SendQueue

A, B = b"a" * 32, b"b" * 32
URGENCY = [Topic.CONTROL, Topic.CONSENSUS, Topic.FETCH, Topic.SYNC, Topic.GOSSIP]


def drain(queue: SendQueue, bytes_max: int = 1) -> list[bytes]:
    taken = []
    while queue:
        taken += queue.take(bytes_max)
    return taken


def test_the_urgent_topic_always_leaves_first() -> None:
    queue = SendQueue(TrafficCounters())
    for topic in reversed(URGENCY):
        assert queue.push(topic, A, topic.name.encode())
    assert drain(queue) == [topic.name.encode() for topic in URGENCY]


def test_a_vote_queued_behind_history_overtakes_it() -> None:
    queue = SendQueue(TrafficCounters())
    for _ in range(10):
        queue.push(Topic.SYNC, A, bytes(1_000_000))
    queue.take(64_000)
    queue.push(Topic.CONSENSUS, A, b"vote")
    assert queue.take(64_000)[0] == b"vote"


def test_small_frames_are_joined_up_to_the_limit_and_a_large_one_goes_alone() -> None:
    queue = SendQueue(TrafficCounters())
    for _ in range(10):
        queue.push(Topic.GOSSIP, A, bytes(300))
    queue.push(Topic.GOSSIP, A, bytes(5_000))
    assert [len(queue.take(1_000)) for _ in range(5)] == [3, 3, 3, 1, 1]
    assert not queue


def test_channels_share_a_topic_in_bytes_whatever_the_size_of_their_frames() -> None:
    queue = SendQueue(TrafficCounters())
    for _ in range(8):
        queue.push(Topic.SYNC, A, b"a" * 1_000_000)
    for _ in range(200):
        queue.push(Topic.SYNC, B, b"b" * 10_000)
    sent: Counter[int] = Counter()
    while sent[ord("b")] < 2_000_000:
        for frame in queue.take(1):
            sent[frame[0]] += len(frame)
    assert sent[ord("a")] <= 3_100_000  # the same and one frame more, not all eight


def test_a_channel_that_was_alone_owes_the_newcomer_little() -> None:
    queue = SendQueue(TrafficCounters())
    for _ in range(100):
        queue.push(Topic.GOSSIP, A, b"a" * 30_000)
    for _ in range(50):
        queue.take(1)
    for _ in range(40):
        queue.push(Topic.GOSSIP, B, b"b" * 30_000)
    order = [queue.take(1)[0][:1] for _ in range(20)]
    assert 8 <= order.count(b"a") <= 12


def test_a_full_topic_refuses_and_counts() -> None:
    counters = TrafficCounters()
    queue = SendQueue(counters)
    limit = QUEUE_BYTES_MAX[Topic.GOSSIP]
    assert queue.push(Topic.GOSSIP, A, bytes(limit))
    assert not queue.push(Topic.GOSSIP, A, b"x")
    assert queue.push(Topic.CONSENSUS, A, b"x")
    assert (counters.refused, counters.dropped) == (1, 0)


def test_gossip_is_given_up_before_anything_else_is_refused() -> None:
    counters = TrafficCounters()
    queue = SendQueue(counters, total_bytes_max=1_000)
    for _ in range(4):
        assert queue.push(Topic.GOSSIP, A, bytes(100))
    assert queue.push(Topic.SYNC, A, bytes(600))
    assert queue.push(Topic.FETCH, A, bytes(250))  # three of the four have to go
    assert (counters.dropped, counters.refused) == (3, 0)
    assert queue.push(Topic.CONSENSUS, A, bytes(150))
    assert counters.dropped == 4
    assert not queue.push(Topic.CONSENSUS, A, bytes(150))
    assert not queue.push(Topic.GOSSIP, A, bytes(150))
    assert counters.refused == 2
    assert [len(frame) for frame in drain(queue)] == [150, 250, 600]


@given(
    st.lists(st.tuples(st.sampled_from(URGENCY), st.sampled_from([A, B]), st.integers(1, 200_000)), max_size=60),
    st.integers(1, 100_000),
)
def test_what_is_accepted_leaves_once_and_in_order_per_topic_and_channel(
    pushes: list[tuple[Topic, bytes, int]], bytes_max: int
) -> None:
    queue = SendQueue(TrafficCounters())
    expected: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for number, (topic, chain, size) in enumerate(pushes):
        frame = (bytes([topic]) + chain + number.to_bytes(4, "big")).ljust(size, b".")
        if queue.push(topic, chain, frame):
            expected[topic, chain].append(number)
        assert queue.bytes <= TOTAL_BYTES_MAX
    received: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    while queue:
        batch = queue.take(bytes_max)
        assert len(batch) == 1 or sum(map(len, batch)) <= bytes_max
        for frame in batch:
            received[frame[0], frame[1:33]].append(int.from_bytes(frame[33:37], "big"))
    assert received == expected
    assert queue.bytes == 0
