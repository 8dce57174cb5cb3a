"""Decided blocks: headers, results, certificates, bodies, receipts, and the indexes that find them.

Blocks are only ever added on top, in the same batch as the state they lead to, and never change. What may change is
the proof of finality of the newest ones: most blocks have a commit certificate of their own, but a block that was
decided through a certificate of a *descendant* (amendment L3) is stored with that certificate and the links up to it.
Once the next block is stored, those links can be read from the store itself and the copy is dropped; so the head
always carries a whole proof, and a long synced range is not stored once per block.

Nothing here trusts the disk: ``walk`` checks at every open that the blocks form one chain, which catches what
LevelDB cannot, such as a lost or replaced file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import tagged_hash
from dawan_node.errors import InvalidEncoding, StorageError
from dawan_node.primitives.block import BLOCK_TAG, RESULT_TAG, Header, Result
from dawan_node.primitives.proofs import LINKS_MAX, FinalityProof
from dawan_node.primitives.receipt import Receipt
from dawan_node.storage import schema
from dawan_node.storage.kv import KeyValueReader, Put

# About a second of work. Older headers are covered by `db verify`, which has no bound.
WALK_HEADERS_MAX = 100_000

#: The hash index is read in one go where the blocks looked for are at least one in so many of it; else each is looked
#: up, which takes about six times as long per entry.
INDEX_READ_RATIO = 6
#: ... and is no longer than this: 28 MiB while the walk lasts.
INDEX_READ_MAX = 200_000

_certificate_encoder = msgspec.msgpack.Encoder()
_T = TypeVar("_T")


class _HeadRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    height: int
    block_hash: bytes
    result_hash: bytes


class KeptRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Which blocks are kept: complete from height ``oldest`` on, and headers alone from ``headers_from`` on."""

    oldest: int
    headers_from: int


class StoredEpoch(msgspec.Struct, array_like=True, frozen=True):
    """An epoch after the first: its first height, and its validators as (suite, public key) in index order."""

    first: int
    members: tuple[tuple[str, bytes], ...]


class StoredCertificate(msgspec.Struct, array_like=True, frozen=True):
    """An encoded certificate and the encoded (header, result) pairs from the block's successor up to the certified
    height; no pairs when the certificate is the block's own."""

    certificate: bytes
    links: tuple[tuple[bytes, bytes], ...] = ()


_head_decoder = msgspec.msgpack.Decoder(_HeadRecord)
_certificate_decoder = msgspec.msgpack.Decoder(StoredCertificate)
_kept_decoder = msgspec.msgpack.Decoder(KeptRecord)
_epoch_decoder = msgspec.msgpack.Decoder(StoredEpoch)
# Without the check that the bytes are the only encoding: where their hash is compared they are what was hashed once.
_hashed_header_decoder = msgspec.msgpack.Decoder(Header)
_hashed_result_decoder = msgspec.msgpack.Decoder(Result)

#: A store that was never pruned and begins at its genesis.
ALL_KEPT = KeptRecord(1, 1)


@dataclass(frozen=True, slots=True)
class StoredHead:
    """The newest decided block. At height 0, the genesis, there is neither header nor certificate."""

    height: int
    block_hash: bytes
    result_hash: bytes
    header: Header | None
    result: Result
    certificate: StoredCertificate | None


@dataclass(frozen=True, slots=True)
class DecidedBlock:
    """A block with all that is kept of it. ``certificate`` belongs to the last of ``links``, or to the block itself
    when there are none; envelopes, receipts and tx ids are in block order."""

    header: Header
    result: Result
    certificate: bytes
    links: tuple[tuple[bytes, bytes], ...]
    envelopes: tuple[bytes, ...]
    receipts: tuple[bytes, ...]
    tx_ids: tuple[bytes, ...]


class BlockStore:
    """The blocks in a channel's database. Reads raise ``StorageError`` when the disk or what is on it is bad."""

    def __init__(self, store: KeyValueReader) -> None:
        self._store = store

    def head(self) -> StoredHead | None:
        """The newest decided block, None in a database without genesis."""
        record = self._head_record()
        if record is None:
            return None
        result = self.result(record.height)
        header = self.header(record.height)
        if result is None or (header is None) != (record.height == 0):
            raise StorageError(f"the head block at height {record.height} is not there")
        return StoredHead(
            record.height, record.block_hash, record.result_hash, header, result, self.certificate(record.height)
        )

    def kept(self) -> KeptRecord:
        """Which blocks are here."""
        data = self._store.get(schema.KEPT_KEY)
        return ALL_KEPT if data is None else _decode(_kept_decoder, data, "the record of what is kept")

    def epoch(self, epoch: int) -> StoredEpoch | None:
        """When an epoch after 0 began, and whose it is; None when it has not begun (or was not recorded)."""
        data = self._store.get(schema.EPOCH + schema.height_bytes(epoch))
        return None if data is None else _decode(_epoch_decoder, data, f"the record of epoch {epoch}")

    def nonces(self, height: int) -> bytes | None:
        """The encoded list of nonces that is kept of a block without its body."""
        return self._store.get(schema.NONCE_LIST + schema.height_bytes(height))

    def header_bytes(self, height: int) -> bytes | None:
        """The encoded header, None above the head and at height 0."""
        return self._store.get(schema.HEADER + schema.height_bytes(height))

    def header(self, height: int) -> Header | None:
        """The header, None above the head and at height 0."""
        data = self.header_bytes(height)
        return None if data is None else _decode_header(data, height)

    def result_bytes(self, height: int) -> bytes | None:
        """The encoded result, None above the head."""
        return self._store.get(schema.RESULT + schema.height_bytes(height))

    def result(self, height: int) -> Result | None:
        """The result, None above the head."""
        data = self.result_bytes(height)
        return None if data is None else _decode_result(data, height)

    def certificate(self, height: int) -> StoredCertificate | None:
        """What proves the block at ``height`` final; None above the head and at height 0.

        Its own certificate where it has one, else the nearest one above with the links up to it. Of what is pruned
        only the certificates of barrier blocks and of every 1,000th block are left.
        """
        if height == 0 or self.header_bytes(height) is None:
            return None
        if height < self.kept().oldest:
            return self._certificate_record(height)
        above: list[tuple[bytes, bytes]] = []
        while len(above) <= LINKS_MAX:
            candidate = height + len(above)
            stored = self._certificate_record(candidate)
            if stored is not None:
                return StoredCertificate(stored.certificate, (*above, *stored.links))
            header, result = self.header_bytes(candidate + 1), self.result_bytes(candidate + 1)
            if header is None or result is None:
                break
            above.append((header, result))
        raise StorageError(f"no certificate covers the block at height {height}")

    def own_certificate(self, height: int) -> bytes:
        """The encoded certificate of exactly this block; empty when it is proven from above, or not there."""
        stored = self._certificate_record(height)
        return b"" if stored is None or stored.links else stored.certificate

    def finality(self, height: int) -> FinalityProof | None:
        """The proof that the block at ``height`` is final, None above the head and at height 0 (which is certified
        by the chain id alone)."""
        header, result = self.header_bytes(height), self.result_bytes(height)
        certificate = self.certificate(height) if header is not None else None
        if header is None or result is None or certificate is None:
            return None
        return FinalityProof.build(header, result, list(certificate.links), certificate.certificate)

    def envelopes(self, height: int) -> tuple[bytes, ...] | None:
        """The envelopes in block order, None above the head and at height 0."""
        data = self._store.get(schema.ENVELOPES + schema.height_bytes(height))
        return None if data is None else schema.unpack_list(data)

    def envelope(self, height: int, index: int) -> bytes | None:
        """One envelope, without decoding the others."""
        data = self._store.get(schema.ENVELOPES + schema.height_bytes(height))
        return None if data is None else schema.cut_from_list(data, index)

    def receipts(self, height: int) -> tuple[bytes, ...] | None:
        """The encoded receipts in block order, None above the head and at height 0."""
        data = self._store.get(schema.RECEIPTS + schema.height_bytes(height))
        return None if data is None else schema.unpack_list(data)

    def receipt(self, height: int, index: int) -> bytes | None:
        """One encoded receipt, without decoding the others."""
        data = self._store.get(schema.RECEIPTS + schema.height_bytes(height))
        return None if data is None else schema.cut_from_list(data, index)

    def find_tx(self, tx_id: bytes) -> tuple[int, int] | None:
        """(height, index in the block) of a transaction, None when no decided block holds it."""
        data = self._store.get(schema.TX_INDEX + tx_id)
        return None if data is None else schema.position_of_bytes(data)

    def height_of(self, block_hash: bytes) -> int | None:
        """The height of a decided block, the genesis (chain id) included; None when unknown."""
        data = self._store.get(schema.HASH_INDEX + block_hash)
        return None if data is None else schema.height_of_bytes(data)

    def genesis_puts(self, result: Result) -> list[Put]:
        """Entries that make ``result`` (of height 0) the head of an empty database."""
        if self._head_record() is not None or result.height != 0:
            raise ValueError("a genesis starts an empty database at height 0")
        at = schema.height_bytes(0)
        encoded = result.encode()
        return [
            (schema.RESULT + at, encoded),
            (schema.HASH_INDEX + result.block_hash, at),
            _head_put(_HeadRecord(0, result.block_hash, result.hash)),
        ]

    def puts_for(self, block: DecidedBlock) -> list[Put]:
        """Entries that put ``block`` on top of the head. Raises ``ValueError`` when it does not follow the head."""
        head = self._head_record()
        header, result = block.header, block.result
        height, block_hash = header.height, header.hash
        if head is None or height != head.height + 1 or header.parent_hash != head.block_hash:
            raise ValueError(f"block {height} does not follow the head")
        if result.height != height or result.block_hash != block_hash or result.parent_result_hash != head.result_hash:
            raise ValueError(f"result {result.height} is not that of block {height} on the head")
        if not len(block.envelopes) == len(block.receipts) == len(block.tx_ids) == header.tx_count:
            raise ValueError(f"block {height} has {header.tx_count} transactions, but other numbers came with it")
        at = schema.height_bytes(height)
        puts: list[Put] = [
            (schema.HEADER + at, header.encode()),
            (schema.RESULT + at, result.encode()),
            (schema.CERTIFICATE + at, _certificate_encoder.encode((block.certificate, block.links))),
            (schema.ENVELOPES + at, schema.pack_list(block.envelopes)),
            (schema.RECEIPTS + at, schema.pack_list(block.receipts)),
            (schema.HASH_INDEX + block_hash, at),
            _head_put(_HeadRecord(height, block_hash, result.hash)),
        ]
        puts += [
            (schema.TX_INDEX + tx_id, schema.position_bytes(height, index)) for index, tx_id in enumerate(block.tx_ids)
        ]
        below = self._certificate_record(head.height)
        if below is not None and below.links:
            puts.append((schema.CERTIFICATE + schema.height_bytes(head.height), None))
        return puts

    def walk(self, limit: int = WALK_HEADERS_MAX) -> StoredHead:
        """Verify that the newest ``limit`` blocks form one chain up to the head, and return the head.

        Checks heights, parent hashes, block hashes in results and the hash index, the chain of results, chain id,
        epochs and validator sets (amendment U3), and that nothing lies above the head. Bodies are left to
        ``verify_bodies``. Raises ``StorageError`` at the first thing that does not fit.
        """
        head = self.head()
        if head is None:
            raise StorageError("the database has no genesis")
        genesis = self.result(0)
        if genesis is None:
            raise StorageError("the genesis result is not there")
        first = max(self.kept().oldest, head.height - limit + 1)
        below = self._anchor(first - 1)
        height_of = self._index_of(head.height, head.height - first + 1)
        seen = 0
        for height, (header, block_hash, result, result_hash) in enumerate(self._pairs_from(first), start=first):
            _check_link(below, header, block_hash, result, height, genesis.block_hash)
            if height_of(block_hash) != height:
                raise StorageError(f"the hash index does not know block {height}")
            below = (header, result, result_hash)
            seen += 1
        if seen != head.height - first + 1:
            raise StorageError(f"{seen} blocks from height {first} on, but the head is at {head.height}")
        if below[1].block_hash != head.block_hash or below[2] != head.result_hash:
            raise StorageError(f"the head record does not name the block at height {head.height}")
        if head.height and head.certificate is None:
            raise StorageError("the head block has no certificate")
        return head

    def verify_bodies(self, first: int, last: int) -> None:
        """Verify bodies, receipts and index entries of the blocks from ``first`` to ``last`` against their headers
        and results. For ``db verify``: reads everything. Raises ``StorageError``."""
        for height in range(max(first, self.kept().oldest), last + 1):
            header, result = self.header(height), self.result(height)
            envelopes, receipts = self.envelopes(height), self.receipts(height)
            if header is None or result is None or envelopes is None or receipts is None:
                raise StorageError(f"block {height} is not complete")
            if len(envelopes) != header.tx_count or sum(map(len, envelopes)) != header.body_bytes:
                raise StorageError(f"block {height} has other transactions than its header counts")
            if merkle.root([merkle.leaf_hash(envelope) for envelope in envelopes]) != header.tx_root:
                raise StorageError(f"the transactions of block {height} are not those of its header")
            if merkle.root([merkle.leaf_hash(receipt) for receipt in receipts]) != result.receipts_root:
                raise StorageError(f"the receipts of block {height} are not those of its result")
            for index, receipt in enumerate(receipts):
                if self.find_tx(_tx_id_of(receipt, height)) != (height, index):
                    raise StorageError(f"the transaction index does not know transaction {index} of block {height}")
            if self.certificate(height) is None:
                raise StorageError(f"block {height} has no certificate")

    def _head_record(self) -> _HeadRecord | None:
        data = self._store.get(schema.BLOCKS_HEAD_KEY)
        return None if data is None else _decode(_head_decoder, data, "the head record of the blocks")

    def _certificate_record(self, height: int) -> StoredCertificate | None:
        data = self._store.get(schema.CERTIFICATE + schema.height_bytes(height))
        return None if data is None else _decode(_certificate_decoder, data, f"the certificate at height {height}")

    def _anchor(self, height: int) -> tuple[Header | None, Result, bytes]:
        """The block a walk starts above; taken as it is, since it is older than the walk reaches."""
        header, result = self.header(height), self.result(height)
        if result is None or (header is None and height > 0):
            raise StorageError(f"block {height} is not there")
        return header, result, result.hash

    def _index_of(self, blocks: int, wanted: int) -> Callable[[bytes], int | None]:
        """``height_of`` for ``wanted`` of the ``blocks`` there are, by the quicker of two ways."""
        if blocks > min(INDEX_READ_RATIO * wanted, INDEX_READ_MAX):
            return self.height_of
        entries = self._store.iterate(prefix=schema.HASH_INDEX)
        begin = len(schema.HASH_INDEX)
        return {key[begin:]: schema.height_of_bytes(data) for key, data in entries}.get

    def _pairs_from(self, first: int) -> Iterator[tuple[Header, bytes, Result, bytes]]:
        """Header and result of every height from ``first`` on, each with its hash, which the caller compares; a hole or
        a surplus in either raises."""
        start = schema.height_bytes(first)
        headers = self._store.iterate(prefix=schema.HEADER, start=schema.HEADER + start)
        results = self._store.iterate(prefix=schema.RESULT, start=schema.RESULT + start)
        for height, (key, data) in enumerate(headers, start=first):
            result = next(results, None)
            expected = schema.height_bytes(height)
            if key[1:] != expected or result is None or result[0][1:] != expected:
                raise StorageError(f"the blocks are not complete at height {height}")
            header = _decode(_hashed_header_decoder, data, f"the header at height {height}")
            outcome = _decode(_hashed_result_decoder, result[1], f"the result at height {height}")
            yield header, tagged_hash(BLOCK_TAG, data), outcome, tagged_hash(RESULT_TAG, result[1])
        if next(results, None) is not None:
            raise StorageError("there is a result above the last block")


def _check_link(
    below: tuple[Header | None, Result, bytes],
    header: Header,
    block_hash: bytes,
    result: Result,
    height: int,
    chain_id: bytes,
) -> None:
    parent, parent_result, parent_result_hash = below
    if header.chain_id != chain_id:
        raise StorageError(f"block {height} belongs to another chain")
    if header.height != height or header.parent_hash != parent_result.block_hash:
        raise StorageError(f"block {height} does not follow the block below it")
    if result.height != height or result.block_hash != block_hash:
        raise StorageError(f"the result at height {height} is not that of its block")
    if result.parent_result_hash != parent_result_hash:
        raise StorageError(f"the result at height {height} does not follow the result below it")
    epoch = 0
    if parent is not None:
        ends_epoch = parent_result.next_valset_hash != parent.valset_hash
        if ends_epoch and not parent.barrier:
            raise StorageError(f"block {parent.height} changes the validators although it is no barrier")
        epoch = parent.epoch + ends_epoch
    if header.epoch != epoch or header.valset_hash != parent_result.next_valset_hash:
        raise StorageError(f"block {height} is of another epoch or validator set than the block below it leads to")


def kept_put(record: KeptRecord) -> Put:
    """The entry that says which blocks are here."""
    return schema.KEPT_KEY, _certificate_encoder.encode(record)


def epoch_put(epoch: int, first: int, members: tuple[tuple[str, bytes], ...]) -> Put:
    """The entry of an epoch after 0."""
    return schema.EPOCH + schema.height_bytes(epoch), _certificate_encoder.encode(StoredEpoch(first, members))


def certificate_put(height: int, certificate: StoredCertificate) -> Put:
    """The entry of a certificate with its links."""
    return schema.CERTIFICATE + schema.height_bytes(height), _certificate_encoder.encode(certificate)


def head_put(height: int, block_hash: bytes, result_hash: bytes) -> Put:
    """The entry that names the newest block."""
    return _head_put(_HeadRecord(height, block_hash, result_hash))


def _head_put(record: _HeadRecord) -> Put:
    return schema.BLOCKS_HEAD_KEY, _certificate_encoder.encode(record)


def _decode(decoder: msgspec.msgpack.Decoder[_T], data: bytes, what: str) -> _T:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise StorageError(f"{what} cannot be read: {error}") from None


def _decode_header(data: bytes, height: int) -> Header:
    try:
        return Header.decode(data)
    except InvalidEncoding as error:
        raise StorageError(f"the header at height {height} cannot be read: {error}") from None


def _decode_result(data: bytes, height: int) -> Result:
    try:
        return Result.decode(data)
    except InvalidEncoding as error:
        raise StorageError(f"the result at height {height} cannot be read: {error}") from None


def _tx_id_of(receipt: bytes, height: int) -> bytes:
    try:
        return Receipt.decode(receipt).tx_id
    except InvalidEncoding as error:
        raise StorageError(f"a receipt of block {height} cannot be read: {error}") from None
