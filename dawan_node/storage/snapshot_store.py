"""Writes a channel's database from a snapshot: state first, piece by piece, its heads last.

Until ``finish`` the database has neither schema nor head, so whatever interrupts this leaves nothing that could be
opened as a ledger. What is written has been verified by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.storage import schema
from dawan_node.storage.block_store import (
    KeptRecord,
    StoredCertificate,
    certificate_put,
    epoch_put,
    head_put,
    kept_put,
)
from dawan_node.storage.kv import KeyValueStore, Put
from dawan_node.storage.state_view import state_head_put

Members = tuple[tuple[str, bytes], ...]


class SnapshotStore:
    """A database being made of a snapshot whose block has time ``time_ms``."""

    def __init__(self, store: KeyValueStore, time_ms: int) -> None:
        self._store = store
        self._time_ms = time_ms

    def tree_node(self, path: bytes) -> bytes | None:
        """A node of the state tree as far as it is built."""
        return self._store.get(schema.NODE + path)

    def add_state(
        self,
        state: Mapping[tuple[str, str, bytes], bytes],
        indexes: Iterable[tuple[tuple[str, str, str], bytes, bytes]],
        nodes: Mapping[bytes, bytes | None],
        nonces: Mapping[int, Sequence[tuple[bytes, bytes, int]]],
    ) -> None:
        """Entries of the state, the index entries (index name, key, primary key) and nodes they lead to, and the nonces
        of some heights. Not durable yet."""
        puts: list[Put] = [
            (schema.STATE + schema.scope(module, collection) + key, value)
            for (module, collection, key), value in state.items()
        ]
        puts += [(schema.INDEX + schema.scope(*name) + key, primary_key) for name, key, primary_key in indexes]
        puts += [(schema.NODE + path, node) for path, node in nodes.items()]
        for height, uses in nonces.items():
            puts.append((schema.NONCE_LIST + schema.height_bytes(height), encode([list(use) for use in uses])))
            for public_key, nonce, valid_until_ms in uses:
                if valid_until_ms > self._time_ms:
                    suffix, valid_until = schema.nonce_suffix(public_key, nonce), schema.height_bytes(valid_until_ms)
                    puts.append((schema.NONCE + suffix, valid_until))
                    puts.append((schema.NONCE_EXPIRY + valid_until + suffix, b""))
        self._store.write(puts, sync=False)

    def add_headers(self, headers: Iterable[Header]) -> None:
        """Headers below the snapshot's block. Not durable yet."""
        self._store.write(
            [(schema.HEADER + schema.height_bytes(header.height), header.encode()) for header in headers], sync=False
        )

    def add_epochs(self, epochs: Iterable[tuple[FinalityProof, Members]]) -> None:
        """The blocks that ended epochs, with the validators each named. Not durable yet."""
        puts: list[Put] = []
        for proof, members in epochs:
            header = Header.decode(proof.header)
            puts += _block_puts(proof, header)
            puts.append(epoch_put(header.epoch + 1, header.height + 1, members))
        self._store.write(puts, sync=False)

    def finish(self, genesis: Result, block: FinalityProof, headers_from: int) -> None:
        """The snapshot's block becomes the head; everything written so far is durable when this returns."""
        header, result = Header.decode(block.header), Result.decode(block.result)
        at_genesis = schema.height_bytes(0)
        puts: list[Put] = [
            schema.schema_put(),
            (schema.RESULT + at_genesis, genesis.encode()),
            (schema.HASH_INDEX + genesis.block_hash, at_genesis),
            *_block_puts(block, header),
            kept_put(KeptRecord(header.height + 1, headers_from)),
            head_put(header.height, result.block_hash, result.hash),
            state_head_put(header.height, header.height, header.timestamp_ms),
        ]
        self._store.write(puts, sync=True)


def _block_puts(proof: FinalityProof, header: Header) -> list[Put]:
    at = schema.height_bytes(header.height)
    return [
        (schema.HEADER + at, proof.header),
        (schema.RESULT + at, proof.result),
        certificate_put(header.height, StoredCertificate(proof.certificate, tuple(proof.links))),
        (schema.HASH_INDEX + header.hash, at),
    ]
