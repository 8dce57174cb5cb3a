"""Honest bytes of every kind, made in code: what damage starts from and what a coverage-guided run begins with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from dawan_node.consensus.messages import (
    Decision,
    Message,
    ProposalRequest,
    SlotSummary,
    Status,
)
from dawan_node.consensus.records import (
    CommitRecord,
    DecidedRecord,
    HaltedRecord,
    PrepareRecord,
    QuarantineRecord,
)
from dawan_node.crypto import merkle
from dawan_node.node.block_spreading import SpreadBlock
from dawan_node.node.bodies import BlockBody
from dawan_node.p2p.framing import Topic, encode_frame
from dawan_node.p2p.gossip import (
    Block,
    BlockReply,
    FetchBlock,
    FetchTx,
    Graft,
    Have,
    IHave,
    IWant,
    Prune,
    Txs,
    TxsReply,
    Want,
)
from dawan_node.p2p.handshake import Accepted, Challenge, Hello, Ping, Pong, Refusal, Refused, SignedHello
from dawan_node.p2p.peers import Role
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.proofs import FinalityProof, StateProof, TxProof
from dawan_node.primitives.receipt import Receipt
from dawan_node.storage import schema
from dawan_node.storage.wal_format import (
    SegmentHeader,
    WalRecord,
    encode_records,
    encode_segment_start,
    encode_synced_mark,
)
from dawan_node.sync import BodiesRequest, BusyReply, LightReply, LightRequest
from dawan_node.testing.replica_lab import ReplicaLab
from tests.node.ledger import Author, trade_genesis
from tests.sync.chain import Chain, keys_of


@cache
def author() -> Author:
    return Author()


@cache
def sync_chain() -> Chain:
    """Eighteen blocks over two epochs."""
    return Chain(keys_of(4)).grow(12).grow(1, new_keys=keys_of(7, b"second")).grow(5)


@cache
def consensus_messages() -> tuple[Message, ...]:
    """Each kind, twice where its lists may be empty."""
    lab = ReplicaLab(honest=())
    header, above = lab.block("a"), lab.block("ab")
    certificate = lab.certificate(0, "a", (0, 1, 2))
    prepared = [("ab", lab.prepared(0, "ab", (0, 1, 2)))]
    view_changes = [lab.view_change(v, 1, last=("a", certificate), prepared=prepared) for v in (1, 2, 3)]
    return (
        Status(0, 1, 2, 3, header.hash, (SlotSummary(4, True, b"\x01", b"\x00"),), b"\x07"),
        Status(0, 0, 0, 0, lab.chain_id, (), b"\x00"),
        lab.pre_prepare(0, "a"),
        lab.prepare(1, 0, "a"),
        lab.commit(2, 0, "a"),
        lab.suspect(3, 7),
        view_changes[0],
        lab.view_change(2, 1),
        lab.new_view(1, view_changes, ["ab"]),
        lab.new_view(1, [lab.view_change(v, 1) for v in (1, 2, 3)], []),
        Decision(header, lab.result(header), ((above, lab.result(above)),), lab.certificate(0, "ab", (0, 1, 2)), ()),
        Decision(header, lab.result(header), (), certificate, lab.leaves("a")),
        ProposalRequest(0, 1, 2, header.hash),
    )


def consensus() -> list[bytes]:
    return [message.encode() for message in consensus_messages()]


def consensus_records() -> list[bytes]:
    """The payload of each record kind (VIEW-CHANGE and NEW-VIEW are messages)."""
    lab = ReplicaLab(honest=())
    header, result = lab.block("a"), lab.result(lab.block("a"))
    certificate = lab.certificate(0, "a", (0, 1, 2))
    links = ((lab.block("ab"), lab.result(lab.block("ab"))),)
    return [
        PrepareRecord(0, header, 1, bytes(64)).encode(),
        CommitRecord(0, header, result, lab.prepared(0, "a", (0, 1, 2)), 1, bytes(64)).encode(),
        DecidedRecord(header, result, (), certificate).encode(),
        DecidedRecord(header, result, links, lab.certificate(0, "ab", (0, 1, 2))).encode(),
        HaltedRecord("two blocks", certificate.encode(), certificate.encode()).encode(),
        QuarantineRecord(1, header.hash, bytes(32), result.hash).encode(),
    ]


def sync() -> list[bytes]:
    chain = sync_chain()
    return [
        chain.head(12).encode(),
        LightRequest(3, 1, 12).encode(),
        LightReply(3, (), ()).encode(),
        chain.answer(LightRequest(3, 1, 12)).encode(),
        LightReply(4, chain.light(1, 1), tuple((block.header, block.result) for block in chain.range(2, 3))).encode(),
        BodiesRequest(5, 2, 3).encode(),
        chain.answer(BodiesRequest(5, 2, 3)).encode(),
        BusyReply(6, 500).encode(),
    ]


def gossip() -> list[bytes]:
    envelope = author().transaction().envelope
    leaf = merkle.leaf_hash(envelope)
    block = sync_chain().blocks[0]
    return [
        Txs([envelope]).encode(),
        IHave([leaf, bytes(32)]).encode(),
        IWant([leaf]).encode(),
        Block(1, SpreadBlock(block.light, (), block.envelopes).encode()).encode(),
        Have(7).encode(),
        Graft(0).encode(),
        Want(7).encode(),
        Prune().encode(),
    ]


def spread_blocks() -> list[bytes]:
    below, block, above = sync_chain().range(1, 3)
    return [
        SpreadBlock(below.light, (), below.envelopes).encode(),
        SpreadBlock(below.light, ((block.header, block.result),), below.envelopes).encode(),
        SpreadBlock(above.light, (), above.envelopes).encode(),
    ]


def fetch() -> list[bytes]:
    envelope = author().transaction().envelope
    leaf = merkle.leaf_hash(envelope)
    return [
        FetchTx(1, [leaf]).encode(),
        TxsReply(1, [envelope]).encode(),
        TxsReply(0, [envelope]).encode(),
        FetchBlock(bytes(32)).encode(),
        BlockReply(bytes(32), [leaf, leaf]).encode(),
    ]


def frames() -> list[bytes]:
    chain_id = trade_genesis().chain_id
    return [
        encode_frame(Topic.CONTROL, b"", Ping(1).encode()),
        encode_frame(Topic.CONSENSUS, chain_id, consensus()[3]),
        encode_frame(Topic.GOSSIP, chain_id, bytes(300)),
        encode_frame(Topic.FETCH, chain_id, bytes(70_000)) + encode_frame(Topic.SYNC, chain_id, sync()[0]),
    ]


def hello() -> Hello:
    key = bytes(32)
    return Hello(
        1, "net", "gz1", "gz", Role.VALIDATOR, "ed25519", key, key, key, key, bytes(16), [key, b"\1" * 32], "dawan"
    )


def control() -> list[bytes]:
    return [
        Challenge(1, bytes(32), 1_700_000_000_000).encode(),
        SignedHello(hello().encode(), bytes(64)).encode(),
        Accepted().encode(),
        Refused(Refusal.VERSION, "too old").encode(),
        Ping(1).encode(),
        Pong(2).encode(),
    ]


def envelopes() -> list[bytes]:
    return [
        author().transaction().envelope,
        author().admin("gz", "propose_parameter", {"id": "p", "name": "window", "value": 4}).envelope,
    ]


def genesis() -> list[bytes]:
    return [trade_genesis().encoded]


def headers() -> list[bytes]:
    return [block.header.encode() for block in sync_chain().blocks[11:14]]


def results() -> list[bytes]:
    return [block.result.encode() for block in sync_chain().blocks[11:14]]


def commit_certificates() -> list[bytes]:
    return [sync_chain().blocks[0].certificate, sync_chain().blocks[-1].certificate]


def prepared_certificates() -> list[bytes]:
    return [ReplicaLab(honest=()).prepared(0, "a", (0, 1, 2)).encode()]


def receipts() -> list[bytes]:
    return [
        Receipt(
            bytes(32), 1, 0, 0, "", [("recorded", {"number": "INV-1", "total": ["CNY", 100], "nested": {"a": [1]}})]
        ).encode(),
        Receipt(bytes(32), 1, 1, 1003, "E_X", []).encode(),
    ]


def finality_proofs() -> list[bytes]:
    """One by its own certificate, one through two links."""
    first, second, third = sync_chain().blocks[:3]
    links = [(block.header.encode(), block.result.encode()) for block in (second, third)]
    return [
        FinalityProof.build(first.header.encode(), first.result.encode(), [], first.certificate).encode(),
        FinalityProof.build(first.header.encode(), first.result.encode(), links, third.certificate).encode(),
    ]


def tx_proofs() -> list[bytes]:
    return [TxProof(1, finality_proofs()[0], receipts()[0], 0, [bytes(32)]).encode()]


def state_proofs() -> list[bytes]:
    steps = [(0b11, [bytes(32)]), (0b1, [])]
    return [
        StateProof(1, finality_proofs()[0], "receivable", "invoice", b"k", b"", steps, []).encode(),
        StateProof(
            1, finality_proofs()[0], "receivable", "invoice", b"k", b"v", steps, [bytes(32), bytes(32)]
        ).encode(),
    ]


SALT = b"saltsalt"
SEGMENT = 7


def wal_segments() -> list[bytes]:
    """An empty one, and one with a checkpoint, marks and records of every kind."""
    header = SegmentHeader(SEGMENT, 100, SALT)
    channel = trade_genesis().chain_id
    payloads = [*consensus_records(), *bodies_records()]
    records = [WalRecord(channel, kind, payload) for kind, payload in enumerate(payloads, 1)]
    full = encode_segment_start(header, records[:2])
    for record in records[2:]:
        full += encode_synced_mark(SALT, 102) + encode_records(
            SALT, len(full) + len(encode_synced_mark(SALT, 1)), [record]
        )
    return [encode_segment_start(header, []), full]


def bodies_records() -> list[bytes]:
    transactions = (author().transaction(), author().transaction())
    return [BlockBody(bytes(32), transactions).encode_record(), encode([bytes(32), []])]


def packed_lists() -> list[bytes]:
    return [schema.pack_list(()), schema.pack_list((b"", b"one", bytes(300)))]


def json_bodies() -> list[bytes]:
    return [
        b'{"jsonrpc":"2.0","id":1,"method":"chain_getBlock","params":{"height":3}}',
        b'[{"jsonrpc":"2.0","id":"a","method":"m","params":[1,-2.5,true,null,"\\u00e9\\ud83d\\ude00"]},{"jsonrpc":"2.0","method":"n"}]',
        b'{"jsonrpc":"2.0","id":9007199254740993,"method":"m","params":{"a":{"b":[[[1e999]]]}}}',
        b'"\\ud800"',
        b"[NaN]",
    ]


Seeds = Callable[[], list[bytes]]
