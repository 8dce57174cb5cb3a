"""Every way in for bytes, as a function that raises nothing but its own refusal.

Each decoder also has to give back what it was given: if bytes decode, encoding the value again yields the same bytes
(formats A.1), so two nodes never hold different bytes for one hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dawan_node.consensus.messages import decode_message
from dawan_node.consensus.records import (
    CommitRecord,
    DecidedRecord,
    HaltedRecord,
    PrepareRecord,
    QuarantineRecord,
)
from dawan_node.crypto.certificates import parse_authorities
from dawan_node.crypto.revocation import lists_from_pem, load_revocation_list
from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.errors import (
    ConfigError,
    InvalidCertificate,
    InvalidEncoding,
    InvalidGenesis,
    InvalidMessage,
    InvalidProof,
    InvalidTransaction,
    OperatorError,
    StorageError,
    UntrustedCertificate,
)
from dawan_node.node import config, consortium, join_request
from dawan_node.node.agreed_facts import consortium_hash
from dawan_node.node.block_spreading import decode_spread_block, prove
from dawan_node.node.bodies import BlockBody
from dawan_node.p2p.framing import FrameDecoder, encode_frame
from dawan_node.p2p.gossip import decode_fetch, decode_gossip
from dawan_node.p2p.handshake import Connection as HandshakeConnection
from dawan_node.p2p.handshake import HandshakeRefused, SignedHello, decode_control, refusal_payload, verify_hello
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate
from dawan_node.primitives.encoding import decode_value, encode
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.proofs import FinalityProof, StateProof, TxProof
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.api import ApiError
from dawan_node.storage import schema
from dawan_node.storage.wal_format import DamagedSegment, decode_segment
from dawan_node.sync import BodiesReply, LightReply, decode_sync_message
from dawan_node.sync.snapshot_messages import decode_snapshot_message
from dawan_node.sync.verify import verify_bodies, verify_light
from tests.crypto import certificate_recipes
from tests.fuzz import seeds, snapshot_seeds
from tests.node import joining_kit
from tests.sync.chain import CHAIN_ID, keys_of, set_of

Bytes = Callable[[bytes], Any]


@dataclass(frozen=True)
class Decoder:
    """``run`` decodes and uses what it decoded; ``refusals`` are all it may raise."""

    name: str
    run: Bytes
    seeds: seeds.Seeds
    refusals: tuple[type[Exception], ...]

    @cached_property
    def corpus(self) -> list[bytes]:
        """The seeds, made once: the same in every example."""
        return self.seeds()

    def __call__(self, data: bytes) -> bool:
        """Whether ``data`` was taken."""
        try:
            self.run(data)
        except self.refusals:
            return False
        return True


def canonical(decode: Callable[[bytes], Any]) -> Bytes:
    """What decodes is encoded to the same bytes again."""

    def run(data: bytes) -> None:
        assert decode(data).encode() == data

    return run


VALIDATORS = set_of(keys_of(4))


def verified(decode: Callable[[bytes], Any]) -> Bytes:
    """A certificate or proof that is also checked."""

    def run(data: bytes) -> None:
        decoded = decode(data)
        assert decoded.encode() == data
        if isinstance(decoded, CommitCertificate | PreparedCertificate):
            decoded.verify(CHAIN_ID, VALIDATORS)
        else:
            decoded.verify(CHAIN_ID, 0, VALIDATORS)

    return run


def transaction(data: bytes) -> None:
    decoded = Transaction.decode(data)
    assert decoded.envelope == data
    decoded.verify_signature()
    assert Transaction.decode(decoded.envelope) == decoded


def genesis(data: bytes) -> None:
    decoded = Genesis.decode(data)
    assert decoded.encoded == data
    assert decoded.validator_set.n and decoded.chain_id
    assert all(decoded.param(name) >= 1 for name in ("window", "block_txs_max", "block_bytes_max"))


def sync_message(data: bytes) -> None:
    message = decode_sync_message(data)
    assert message.encode() == data
    chain = seeds.sync_chain()
    if isinstance(message, LightReply) and message.blocks:
        verify_light(CHAIN_ID, chain.anchors[0], chain.anchors[0].tip, message.blocks, message.links)
    if isinstance(message, BodiesReply):
        for block, envelopes in zip(chain.blocks, message.bodies, strict=False):
            verify_bodies(block.header, envelopes)


def spread_block(data: bytes) -> None:
    """A gossiped block: decoded, and proven against the genesis as the next block and as one above a gap."""
    block = decode_spread_block(data)
    assert block.encode() == data
    for anchor in seeds.sync_chain().anchors[:2]:
        with contextlib.suppress(InvalidMessage):
            prove(CHAIN_ID, anchor, max(1, block.light.header.height), block, verify_ed25519)


def stream(data: bytes) -> None:
    """A link's bytes, whole and cut into pieces: the same frames come out, and the same end."""

    def frames_of(pieces: list[bytes]) -> tuple[list[tuple[int, bytes, bytes]], bool]:
        decoder, found = FrameDecoder(), []
        try:
            for piece in pieces:
                found += [(frame.topic, frame.chain_id, frame.payload) for frame in decoder.feed(piece)]
        except InvalidMessage:
            return found, True
        return found, decoder.violation is not None

    frames, is_over = frames_of([data])
    cuts = [data[at : at + 7] for at in range(0, len(data), 7)] if len(data) < 2_000 else [data[:50], data[50:]]
    assert frames_of(cuts) == (frames, is_over)
    for topic, chain_id, payload in frames:
        assert encode_frame(topic, chain_id, payload) in data  # type: ignore[arg-type]


def hello(data: bytes) -> None:
    key = bytes(32)
    connection = HandshakeConnection(key, key, "gz", "gz1")
    try:
        verify_hello(SignedHello(data, bytes(64)), "net", connection, key, lambda name: None)
    except HandshakeRefused as refused:
        assert decode_control(refusal_payload(refused)).encode()  # what the peer is told can be told
        raise


def wal_segment(data: bytes) -> None:
    content = decode_segment(data, seeds.SEGMENT)
    if content is not None:
        assert content.size_bytes <= len(data) and content.checkpoint_bytes <= content.size_bytes
        assert content.torn == (content.size_bytes < len(data))
        again = decode_segment(data[: content.size_bytes], seeds.SEGMENT)
        assert again is not None and again.records == content.records and not again.torn


def packed_list(data: bytes) -> None:
    for index in (0, 1, 2**31):
        schema.cut_from_list(data, index)
    items = schema.unpack_list(data)
    for number, item in enumerate(items):
        assert schema.cut_from_list(data, number) == item


def json_body(data: bytes) -> None:
    body = jsonrpc.parse_body(data)
    for call in body.calls:
        if isinstance(call, jsonrpc.BadCall):
            assert jsonrpc.encode_error(call.id, call.error)
        else:
            assert jsonrpc.encode_result(call.id, True)


def from_file(load: Callable[[Path], Any]) -> Bytes:
    """A reader of a file, given its content."""

    def run(data: bytes) -> Any:
        with tempfile.NamedTemporaryFile(suffix=".toml", dir=_memory()) as file:
            file.write(data)
            file.flush()
            return load(Path(file.name))

    return run


@cache
def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def consortium_file(path: Path) -> None:
    document = consortium.load_document(path)
    assert consortium_hash(document)


def request_file(path: Path) -> None:
    join_request.check_genuine("request", join_request.load(path))


def revocations(data: bytes) -> None:
    load_revocation_list(data, "gz", [_authority()], joining_kit.NOW)


CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@cache
def _request() -> bytes:
    document = consortium.load_document(joining_kit.DEVNET)
    return joining_kit.request_for(document, "gz1", "gz").render().encode()


@cache
def _root() -> certificate_recipes.Recipe:
    return certificate_recipes.root("gz")


@cache
def _authority() -> bytes:
    return _root().der()


@cache
def _crl() -> bytes:
    return certificate_recipes.revocation_list(_root())


def _pem() -> list[bytes]:
    return [b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"]


DECODERS = {
    decoder.name: decoder
    for decoder in (
        Decoder("consensus-message", canonical(decode_message), seeds.consensus, (InvalidMessage,)),
        Decoder("sync-message", sync_message, seeds.sync, (InvalidMessage,)),
        Decoder("snapshot-message", canonical(decode_snapshot_message), snapshot_seeds.messages, (InvalidMessage,)),
        Decoder("snapshot-manifest", snapshot_seeds.use_manifest, snapshot_seeds.manifests, (InvalidMessage,)),
        Decoder("snapshot-chunk", snapshot_seeds.use_chunk, snapshot_seeds.chunks, (InvalidMessage,)),
        Decoder("snapshot-headers", snapshot_seeds.use_headers, snapshot_seeds.header_runs, (InvalidMessage,)),
        Decoder("snapshot-choice", snapshot_seeds.use_choice, snapshot_seeds.choices, (InvalidMessage,)),
        Decoder("gossip", canonical(decode_gossip), seeds.gossip, (InvalidMessage,)),
        Decoder("spread-block", spread_block, seeds.spread_blocks, (InvalidMessage,)),
        Decoder("fetch", canonical(decode_fetch), seeds.fetch, (InvalidMessage,)),
        Decoder("frames", stream, seeds.frames, (InvalidMessage,)),
        Decoder("control", canonical(decode_control), seeds.control, (InvalidMessage,)),
        Decoder("hello", hello, lambda: [seeds.hello().encode()], (HandshakeRefused,)),
        Decoder("transaction", transaction, seeds.envelopes, (InvalidTransaction,)),
        Decoder("genesis", genesis, seeds.genesis, (InvalidGenesis,)),
        Decoder("header", canonical(Header.decode), seeds.headers, (InvalidEncoding,)),
        Decoder("result", canonical(Result.decode), seeds.results, (InvalidEncoding,)),
        Decoder(
            "commit-certificate",
            verified(CommitCertificate.decode),
            seeds.commit_certificates,
            (InvalidEncoding, InvalidCertificate),
        ),
        Decoder(
            "prepared-certificate",
            verified(PreparedCertificate.decode),
            seeds.prepared_certificates,
            (InvalidEncoding, InvalidCertificate),
        ),
        Decoder("receipt", canonical(Receipt.decode), seeds.receipts, (InvalidEncoding,)),
        Decoder("finality-proof", verified(FinalityProof.decode), seeds.finality_proofs, (InvalidProof,)),
        Decoder("tx-proof", verified(TxProof.decode), seeds.tx_proofs, (InvalidProof,)),
        Decoder("state-proof", verified(StateProof.decode), seeds.state_proofs, (InvalidProof,)),
        Decoder("value", lambda data: encode(decode_value(data, 65_536)), seeds.receipts, (InvalidEncoding,)),
        Decoder("prepare-record", canonical(PrepareRecord.decode), seeds.consensus_records, (InvalidEncoding,)),
        Decoder("commit-record", canonical(CommitRecord.decode), seeds.consensus_records, (InvalidEncoding,)),
        Decoder("decided-record", canonical(DecidedRecord.decode), seeds.consensus_records, (InvalidEncoding,)),
        Decoder("halted-record", canonical(HaltedRecord.decode), seeds.consensus_records, (InvalidEncoding,)),
        Decoder("quarantine-record", canonical(QuarantineRecord.decode), seeds.consensus_records, (InvalidEncoding,)),
        Decoder("bodies-record", BlockBody.decode_record, seeds.bodies_records, (StorageError,)),
        Decoder("wal-segment", wal_segment, seeds.wal_segments, (DamagedSegment, OperatorError)),
        Decoder("packed-list", packed_list, seeds.packed_lists, (StorageError,)),
        Decoder("height", schema.height_of_bytes, lambda: [schema.height_bytes(3)], (StorageError,)),
        Decoder("position", schema.position_of_bytes, lambda: [schema.position_bytes(3, 4)], (StorageError,)),
        Decoder("json-rpc", json_body, seeds.json_bodies, (ApiError,)),
        Decoder(
            "node-toml",
            from_file(config.load),
            lambda: [(CONFIGS / "node.example.toml").read_bytes()],
            (ConfigError,),
        ),
        Decoder(
            "consortium-toml",
            from_file(consortium_file),
            lambda: [path.read_bytes() for path in sorted(CONFIGS.glob("consortium.*.toml"))],
            (ConfigError,),
        ),
        Decoder("join-request", from_file(request_file), lambda: [_request()], (ConfigError,)),
        Decoder("revocation-list", revocations, lambda: [_crl()], (UntrustedCertificate,)),
        Decoder("revocation-list-pem", lists_from_pem, _pem, (UntrustedCertificate,)),
        Decoder(
            "authorities",
            lambda data: parse_authorities([data]),
            lambda: [_authority()],
            (UntrustedCertificate,),
        ),
    )
}


def name_of(data: bytes) -> str:
    """A short name for a crash input."""
    return hashlib.sha256(data).hexdigest()[:16]
