"""Gossip and fetch messages, and the small machines beside them."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.crypto.merkle import leaf_hash
from dawan_node.errors import InvalidMessage
from dawan_node.p2p.framing import Topic, payload_bytes_max
from dawan_node.p2p.gossip import (
    ANNOUNCERS_MAX,
    BATCH_BYTES_MAX,
    BATCH_DELAY_MS,
    BLOCK_BYTES_MAX,
    BLOCK_LEAVES_MAX,
    LEAVES_MAX,
    REMIND_FIRST_MS,
    REMINDERS_MAX,
    REPLY_BYTES_MAX,
    Audience,
    Block,
    BlockReply,
    FetchBlock,
    FetchTx,
    GossipMessage,
    Graft,
    Have,
    IHave,
    IWant,
    Origin,
    Prune,
    Reminders,
    SeenCache,
    TokenBucket,
    TransactionBatcher,
    Txs,
    TxsReply,
    Want,
    WantList,
    audience,
    decode_fetch,
    decode_gossip,
    txs_reply,
)
from dawan_node.p2p.peers import PeerId, Role
from dawan_node.primitives.encoding import encode

LEAVES = [leaf_hash(bytes([index])) for index in range(3)]

GOSSIP = [
    Txs([b"envelope", b"x" * 65_536]),
    IHave(LEAVES),
    IWant(LEAVES),
    Block(7, b"block"),
    Have(7),
    Graft(0),
    Want(2**63 - 1),
    Prune(),
]
FETCH = [
    FetchTx(1, LEAVES),
    TxsReply(1, [b"envelope"]),
    TxsReply(2**63 - 1, []),
    FetchBlock(LEAVES[0]),
    BlockReply(LEAVES[0], LEAVES),
    BlockReply(LEAVES[0], []),
]


@pytest.mark.parametrize("message", GOSSIP, ids=lambda message: type(message).__name__)
def test_a_gossip_message_survives_the_wire(message: GossipMessage) -> None:
    assert decode_gossip(message.encode()) == message


@pytest.mark.parametrize("message", FETCH, ids=lambda message: type(message).__name__)
def test_a_fetch_message_survives_the_wire(message: FetchTx | TxsReply | FetchBlock | BlockReply) -> None:
    assert decode_fetch(message.encode()) == message


def test_the_largest_messages_fit_their_frames() -> None:
    leaves = [leaf_hash(index.to_bytes(4, "big")) for index in range(BLOCK_LEAVES_MAX)]
    assert len(BlockReply(LEAVES[0], leaves).encode()) <= payload_bytes_max(Topic.FETCH)
    small = [bytes([1]) * (REPLY_BYTES_MAX // LEAVES_MAX)] * LEAVES_MAX
    assert len(TxsReply(2**63 - 1, small).encode()) <= payload_bytes_max(Topic.FETCH)
    assert len(IHave(leaves[:LEAVES_MAX]).encode()) <= payload_bytes_max(Topic.GOSSIP)
    assert len(Block(2**63 - 1, bytes(BLOCK_BYTES_MAX)).encode()) <= payload_bytes_max(Topic.GOSSIP)
    assert len(Txs([bytes(65_536)] * 2).encode()) <= payload_bytes_max(Topic.GOSSIP)


REFUSED_GOSSIP = {
    "no envelopes": [0, []],
    "an empty envelope": [0, [b""]],
    "an envelope over 64 KiB": [0, [bytes(65_537)]],
    "too many envelopes": [0, [b"x"] * (LEAVES_MAX + 1)],
    "a short leaf": [1, [bytes(31)]],
    "the same leaf twice": [2, [LEAVES[0], LEAVES[0]]],
    "too many leaves": [1, [index.to_bytes(32, "big") for index in range(LEAVES_MAX + 1)]],
    "a negative height": [3, -1, b"b"],
    "the height of the genesis": [4, 0],
    "a want of nothing": [6, 0],
    "an empty block": [3, 1, b""],
    "a block over 1 MiB": [3, 1, bytes(BLOCK_BYTES_MAX + 1)],
    "a batch longer than any is": [0, [bytes(60_000)] * 5],
    "a prune with a height": [7, 1],
    "an unknown kind": [9, []],
    "a kind as string": ["0", [b"x"]],
    "a field too many": [1, LEAVES, 0],
    "a field too few": [3, 1],
    "a map": {"0": 1},
    "a float height": [4, 1.0],
    "a bool height": [4, True],
}


@pytest.mark.parametrize("value", REFUSED_GOSSIP.values(), ids=REFUSED_GOSSIP.keys())
def test_gossip_outside_the_rules_is_refused(value: object) -> None:
    with pytest.raises(InvalidMessage):
        decode_gossip(msgpack.packb(value))


REFUSED_FETCH = {
    "no leaves": [0, 1, []],
    "the same leaf twice": [0, 1, [LEAVES[0], LEAVES[0]]],
    "too many leaves": [0, 1, [index.to_bytes(32, "big") for index in range(LEAVES_MAX + 1)]],
    "a negative id": [0, -1, LEAVES],
    "too many envelopes": [1, 1, [b"x"] * (LEAVES_MAX + 1)],
    "a short block hash": [2, b"x"],
    "too many leaves of a block": [3, LEAVES[0], [bytes(32)] * (BLOCK_LEAVES_MAX + 1)],
}


@pytest.mark.parametrize("value", REFUSED_FETCH.values(), ids=REFUSED_FETCH.keys())
def test_fetch_outside_the_rules_is_refused(value: object) -> None:
    with pytest.raises(InvalidMessage):
        decode_fetch(msgpack.packb(value))


def test_other_encodings_of_the_same_message_are_refused() -> None:
    plain = FetchTx(1, LEAVES).encode()
    for other in (plain + b"\x00", b"\xdc\x00\x03" + plain[1:], plain.replace(b"\x93\x00\x01", b"\x93\x00\xcc\x01", 1)):
        assert other != plain
        with pytest.raises(InvalidMessage):
            decode_fetch(other)


BOMBS = {
    "a megabyte of empty maps": b"\xdd\x00\x0f\x00\x00" + b"\x80" * 0xF0000,
    "a megabyte of empty arrays in a leaf list": b"\x92\x01\xdd\x00\x0f\x00\x00" + b"\x90" * 0xF0000,
    "deep nesting": b"\x91" * 200_000,
    "a list that claims four thousand million items": b"\x92\x01\xdd\xff\xff\xff\xff",
    "a binary that claims four gigabytes": b"\x93\x00\x01\x91\xc6\xff\xff\xff\xff",
}


@pytest.mark.parametrize("payload", BOMBS.values(), ids=BOMBS.keys())
def test_decode_bombs_are_refused(payload: bytes) -> None:
    for decode in (decode_gossip, decode_fetch):
        with pytest.raises(InvalidMessage):
            decode(payload)


@given(st.binary(max_size=400))
def test_random_bytes_only_ever_give_a_message_or_the_typed_error(payload: bytes) -> None:
    for decode in (decode_gossip, decode_fetch):
        try:
            message = decode(payload)
        except InvalidMessage:
            continue
        assert message.encode() == payload


@given(st.sampled_from([*GOSSIP[1:], *FETCH]), st.integers(0), st.integers(1, 255))
def test_a_damaged_message_is_another_message_or_refused(message: IHave | FetchTx, at: int, flip: int) -> None:
    damaged = bytearray(message.encode())
    damaged[at % len(damaged)] ^= flip
    decode = decode_gossip if message in GOSSIP else decode_fetch
    try:
        other = decode(bytes(damaged))
    except InvalidMessage:
        return
    assert other.encode() == bytes(damaged)


def test_a_reply_holds_what_fits_and_leaves_the_rest_for_the_next_question() -> None:
    reply = txs_reply(5, [bytes(60_000)] * 100)
    assert len(reply.envelopes) == REPLY_BYTES_MAX // 60_000
    assert len(txs_reply(5, [b"x"] * 2_000).envelopes) == LEAVES_MAX


def test_what_comes_after_a_pause_leaves_at_once_and_what_follows_it_five_milliseconds_later_together() -> None:
    assert TransactionBatcher().deadline_ms is None
    batcher = TransactionBatcher()
    assert batcher.add(b"a", 1_000) == []
    assert batcher.deadline_ms == 1_000
    assert [decode_gossip(payload) for payload in batcher.flush(1_000)] == [Txs([b"a"])]
    assert batcher.deadline_ms is None
    assert batcher.add(b"b", 1_001) == batcher.add(b"c", 1_003) == []
    due = batcher.deadline_ms
    assert due == 1_000 + BATCH_DELAY_MS
    assert [decode_gossip(payload) for payload in batcher.flush(due)] == [Txs([b"b", b"c"])]
    assert batcher.flush(due) == []
    assert batcher.add(b"d", due + BATCH_DELAY_MS + 1) == []
    assert batcher.deadline_ms == due + BATCH_DELAY_MS + 1


@given(st.lists(st.integers(1, 65_536), max_size=30))
def test_batches_keep_order_and_size_and_lose_nothing(sizes: list[int]) -> None:
    batcher = TransactionBatcher()
    envelopes = [index.to_bytes(2, "big").ljust(size, b".")[:65_536] for index, size in enumerate(sizes)]
    payloads = [payload for envelope in envelopes for payload in batcher.add(envelope, 0)] + batcher.flush(0)
    batches = [decode_gossip(payload) for payload in payloads]
    assert [e for batch in batches if isinstance(batch, Txs) for e in batch.envelopes] == envelopes
    for batch in batches:
        assert isinstance(batch, Txs)
        assert sum(map(len, batch.envelopes)) <= BATCH_BYTES_MAX


def test_a_batch_of_many_tiny_envelopes_is_still_one_a_peer_accepts() -> None:
    batcher = TransactionBatcher()
    payloads = [payload for _ in range(3_000) for payload in batcher.add(b"x", 0)] + batcher.flush(0)
    assert [len(decode_gossip(payload).envelopes) for payload in payloads] == [1024, 1024, 952]  # type: ignore[union-attr]


@given(st.lists(st.integers(0, 60), max_size=300), st.integers(1, 20))
def test_the_seen_cache_remembers_at_least_its_capacity_and_at_most_twice(keys: list[int], capacity: int) -> None:
    cache = SeenCache(capacity)
    recent: list[int] = []
    for key in keys:
        known = key in recent[-capacity:]
        new = cache.add(bytes([key]))
        assert not (known and new)
        recent = [other for other in recent if other != key] + [key]
        assert sum(bytes([each]) in cache for each in range(61)) <= 2 * capacity


def test_a_token_bucket_allows_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate=100, burst=50, now_ms=0)
    assert bucket.take(50, 0)
    assert not bucket.take(1, 0)
    assert not bucket.take(1, 9)
    assert bucket.take(1, 10)
    assert not bucket.take(1, 10)
    assert bucket.take(50, 100_000)
    assert not bucket.take(1, 100_000)


def test_a_token_bucket_earns_from_calls_every_millisecond_and_ignores_a_clock_going_back() -> None:
    bucket = TokenBucket(rate=100, burst=1, now_ms=0)
    assert bucket.take(1, 0)
    assert sum(bucket.take(1, now) for now in range(1, 1_001)) == 100
    bucket.take(1, 500)
    assert not bucket.take(1, 501)


GZ2, HK1 = PeerId("gz2", "gz", Role.VALIDATOR, b"g"), PeerId("hk1", "hk", Role.VALIDATOR, b"h")
ACME, BANK = PeerId("acme", "gz", Role.OBSERVER, b"a"), PeerId("bank", "hk", Role.OBSERVER, b"b")
EVERYBODY = [HK1, ACME, GZ2, BANK]


@pytest.mark.parametrize(
    ("local", "origin", "source", "expected"),
    [
        (Role.VALIDATOR, Origin.CLIENT, "", Audience(("gz2", "hk1"), ())),
        (Role.VALIDATOR, Origin.OBSERVER, "acme", Audience(("gz2", "hk1"), ())),
        (Role.VALIDATOR, Origin.VALIDATOR, "hk1", Audience((), ())),
        (Role.OBSERVER, Origin.CLIENT, "", Audience(("gz2",), ("hk1",))),
        (Role.OBSERVER, Origin.OBSERVER, "bank", Audience(("gz2",), ("hk1",))),
        (Role.OBSERVER, Origin.VALIDATOR, "hk1", Audience((), ())),
    ],
)
def test_who_is_pushed_a_transaction_and_who_is_told(
    local: Role, origin: Origin, source: str, expected: Audience
) -> None:
    assert audience(local, origin, source, EVERYBODY) == expected


def test_an_observer_without_validators_pushes_its_clients_transactions_to_two_other_observers() -> None:
    peers = [ACME, BANK, PeerId("corp", "mo", Role.OBSERVER, b"c")]
    assert audience(Role.OBSERVER, Origin.CLIENT, "", peers) == Audience(("acme", "bank"), ())
    assert audience(Role.OBSERVER, Origin.OBSERVER, "acme", peers) == Audience((), ())


def test_a_transaction_goes_to_the_validator_with_the_most_points() -> None:
    points = {"gz2": -3, "hk1": 2}
    assert audience(Role.OBSERVER, Origin.CLIENT, "", EVERYBODY, lambda name: points.get(name, 0)) == Audience(
        ("hk1",), ("gz2",)
    )


def test_an_announced_transaction_is_asked_for_when_it_does_not_come_of_one_announcer_after_the_other() -> None:
    wants = WantList(capacity=10, grace_ms=100, patience_ms=500)
    held = {LEAVES[2]}
    wants.announced("gz1", LEAVES, held.__contains__, 0)
    wants.announced("hk1", LEAVES, held.__contains__, 10)
    assert wants.due(held.__contains__, 99) == {}
    held.add(LEAVES[0])
    assert wants.due(held.__contains__, 100) == {"gz1": [LEAVES[1]]}
    assert wants.due(held.__contains__, 599) == {}
    assert wants.due(held.__contains__, 600) == {"hk1": [LEAVES[1]]}
    assert wants.due(held.__contains__, 1_100) == {}
    assert len(wants) == 0


def test_open_questions_are_bounded() -> None:
    wants = WantList(capacity=3, grace_ms=0, patience_ms=500)
    many = [index.to_bytes(32, "big") for index in range(10)]
    for number in range(20):
        wants.announced(f"peer{number}", many, lambda leaf: False, 0)
    assert len(wants) == 3
    asked = [peer for now in range(0, 20_000, 500) for peer in wants.due(lambda leaf: False, now)]
    assert asked == [f"peer{number}" for number in range(ANNOUNCERS_MAX)]
    assert len(wants) == 0


def test_a_transaction_is_announced_again_at_growing_intervals_until_a_block_brings_it_and_not_for_ever() -> None:
    reminders = Reminders(capacity=10)
    pending = set(LEAVES[:2])
    reminders.sent(LEAVES, 0)
    assert reminders.due(pending.__contains__, REMIND_FIRST_MS - 1) == []
    assert sorted(reminders.due(pending.__contains__, REMIND_FIRST_MS)) == sorted(pending)
    pending.remove(LEAVES[0])
    at = [now for now in range(0, 60_000, 250) if reminders.due(pending.__contains__, now) == [LEAVES[1]]]
    assert at == [REMIND_FIRST_MS * (2**times - 1) for times in range(2, REMINDERS_MAX + 1)]
    assert len(reminders) == 0


def test_reminders_are_bounded_in_number_and_per_message() -> None:
    many = [index.to_bytes(32, "big") for index in range(3 * LEAVES_MAX)]
    reminders = Reminders(capacity=2 * LEAVES_MAX)
    reminders.sent(many, 0)
    assert len(reminders) == 2 * LEAVES_MAX
    told = [reminders.due(lambda leaf: True, REMIND_FIRST_MS) for _ in range(3)]
    assert [len(leaves) for leaves in told] == [LEAVES_MAX, LEAVES_MAX, 0]
    assert set(told[0] + told[1]) == set(many[: 2 * LEAVES_MAX])


def test_encode_is_the_shared_canonical_encoder() -> None:
    assert FetchTx(1, LEAVES).encode() == encode([0, 1, LEAVES])
