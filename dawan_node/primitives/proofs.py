"""Proofs that verify offline: that a block is final, a transaction executed, a state value present or absent.

Only *verification* lives here (maintenance of the state tree is in ``execution.state_tree``). A verifier needs the
chain id and the validator set of the proof's epoch, nothing else; how it learned to trust that set (genesis, or a
walk over the epochs) is its own matter. Formats A.6 to A.8; a proof has at most 64 KiB, nothing unused and nothing
trailing.
"""

from __future__ import annotations

import hashlib
from typing import Final

from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import ZERO_HASH
from dawan_node.crypto.signatures import Verify, verify_ed25519
from dawan_node.errors import InvalidCertificate, InvalidEncoding, InvalidProof
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct, decoder_for
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.validators import ValidatorSet

PROOF_BYTES_MAX: Final = 64 * 1024

# A certificate may stand above the proven block; W of them in flight make a link rare, 64 bounds the walk.
LINKS_MAX: Final = 64

KEY_HASH_NIBBLES: Final = 64


class FinalityProof(ProtocolStruct, frozen=True):
    """Order and result of one block: its header, its result, the links up to a certified block, the certificate."""

    version: Uint
    header: bytes
    result: bytes
    links: list[tuple[bytes, bytes]]
    certificate: bytes

    @classmethod
    def build(cls, header: bytes, result: bytes, links: list[tuple[bytes, bytes]], certificate: bytes) -> FinalityProof:
        """From stored encodings, which are taken as they are."""
        return cls(1, header, result, links, certificate)

    @classmethod
    def decode(cls, data: bytes) -> FinalityProof:
        """Raises InvalidProof."""
        try:
            proof = decode_struct(_finality_decoder, data, PROOF_BYTES_MAX)
        except InvalidEncoding as error:
            raise InvalidProof(str(error)) from None
        if proof.version != 1:
            raise InvalidProof(f"finality proof version {proof.version} is not known here")
        if len(proof.links) > LINKS_MAX:
            raise InvalidProof(f"{len(proof.links)} links, at most {LINKS_MAX}")
        return proof

    def verify(
        self,
        chain_id: bytes,
        epoch: int,
        validators: ValidatorSet,
        *,
        first: int = 1,
        last: int | None = None,
        check: Verify = verify_ed25519,
    ) -> tuple[Header, Result]:
        """The proven header and result, if ``validators`` (the set of ``epoch``) made them final.

        ``first`` and ``last`` are the heights of the epoch; its last one is that of the barrier that ended it, None
        while that is not known. Keys of an epoch that is over sign nothing beyond it: they may have been replaced
        because they were stolen (amendment U14). Walks the links from the block upwards, each naming its parent by
        hash, to the block that the certificate signs. Raises InvalidProof.
        """
        try:
            header, result = Header.decode(self.header), Result.decode(self.result)
            chain = [(header, result)]
            chain += [(Header.decode(link), Result.decode(outcome)) for link, outcome in self.links]
            certificate = CommitCertificate.decode(self.certificate)
            certificate.verify(chain_id, validators, check)
        except (InvalidEncoding, InvalidCertificate) as error:
            raise InvalidProof(str(error)) from None
        for position, (block, outcome) in enumerate(chain):
            if block.chain_id != chain_id or block.epoch != epoch or block.valset_hash != validators.hash:
                raise InvalidProof(f"the header at height {block.height} belongs to another chain, epoch or set")
            if block.height < first or (last is not None and block.height > last):
                raise InvalidProof(f"height {block.height} is not one of epoch {epoch}")
            if outcome.height != block.height or outcome.block_hash != block.hash:
                raise InvalidProof(f"the result at height {outcome.height} is not that of its header")
            if outcome.next_valset_hash != block.valset_hash and (not block.barrier or position != len(chain) - 1):
                raise InvalidProof("only a barrier block may change the validator set, and it ends its epoch")
            if position:
                below, below_outcome = chain[position - 1]
                if (
                    block.height != below.height + 1
                    or block.parent_hash != below.hash
                    or outcome.parent_result_hash != below_outcome.hash
                ):
                    raise InvalidProof(f"the link at height {block.height} does not follow from the one below")
        top, top_outcome = chain[-1]
        if (certificate.epoch, certificate.height, certificate.block_hash, certificate.result_hash) != (
            top.epoch,
            top.height,
            top.hash,
            top_outcome.hash,
        ):
            raise InvalidProof("the certificate signs another block or result")
        return header, result


class TxProof(ProtocolStruct, frozen=True):
    """That a receipt stands at ``index`` of a final block."""

    version: Uint
    finality_proof: bytes
    receipt: bytes
    index: Uint
    path: list[Bytes32]

    @classmethod
    def decode(cls, data: bytes) -> TxProof:
        """Raises InvalidProof."""
        try:
            proof = decode_struct(_tx_decoder, data, PROOF_BYTES_MAX)
        except InvalidEncoding as error:
            raise InvalidProof(str(error)) from None
        if proof.version != 1:
            raise InvalidProof(f"transaction proof version {proof.version} is not known here")
        return proof

    def verify(
        self, chain_id: bytes, epoch: int, validators: ValidatorSet, *, first: int = 1, last: int | None = None
    ) -> tuple[Header, Receipt]:
        """The header and the receipt that are proven. ``first``, ``last``: see FinalityProof. Raises InvalidProof."""
        finality = FinalityProof.decode(self.finality_proof)
        header, result = finality.verify(chain_id, epoch, validators, first=first, last=last)
        root = merkle.root_from_path(merkle.leaf_hash(self.receipt), self.index, header.tx_count, self.path)
        if root != result.receipts_root:
            raise InvalidProof("the receipt is not under the block's receipts root")
        try:
            receipt = Receipt.decode(self.receipt)
        except InvalidEncoding as error:
            raise InvalidProof(str(error)) from None
        if receipt.height != header.height or receipt.index != self.index:
            raise InvalidProof("the receipt names another height or index")
        return header, receipt


class StateProof(ProtocolStruct, frozen=True):
    """That a key has a value, or is absent, in the state after a final block.

    ``steps`` lead from the root: the child bitmap of an inner node and the hashes of its *other* children. The
    ``terminal`` is the leaf met, as ``[key_hash, H(value)]``, or empty for an empty slot.
    """

    version: Uint
    finality_proof: bytes
    module: str
    collection: str
    key: bytes
    value: bytes
    steps: list[tuple[Uint, list[Bytes32]]]
    terminal: list[Bytes32]

    @classmethod
    def decode(cls, data: bytes) -> StateProof:
        """Raises InvalidProof."""
        try:
            proof = decode_struct(_state_decoder, data, PROOF_BYTES_MAX)
        except InvalidEncoding as error:
            raise InvalidProof(str(error)) from None
        if proof.version != 1:
            raise InvalidProof(f"state proof version {proof.version} is not known here")
        return proof

    def verify(
        self,
        chain_id: bytes,
        epoch: int,
        validators: ValidatorSet,
        *,
        first: int = 1,
        last: int | None = None,
        check: Verify = verify_ed25519,
    ) -> tuple[Header, bytes | None]:
        """The header, and the value or None for a proven absence. ``first``, ``last``: see FinalityProof.

        Raises InvalidProof.
        """
        finality = FinalityProof.decode(self.finality_proof)
        header, result = finality.verify(chain_id, epoch, validators, first=first, last=last, check=check)
        value = verify_state_path(
            result.state_root,
            state_key_hash(self.module, self.collection, self.key),
            self.steps,
            self.terminal,
        )
        if value is None:
            if self.value:
                raise InvalidProof("the proof shows an absence but carries a value")
            return header, None
        if hashlib.sha256(self.value).digest() != value:
            raise InvalidProof("the value is not the one in the tree")
        return header, self.value


def state_key_hash(module: str, collection: str, key: bytes) -> bytes:
    """``H(module 0x00 collection 0x00 key)``: where a key stands in the state tree."""
    return hashlib.sha256(module.encode() + b"\x00" + collection.encode() + b"\x00" + key).digest()


def verify_state_path(
    state_root: bytes, key_hash: bytes, steps: list[tuple[int, list[bytes]]], terminal: list[bytes]
) -> bytes | None:
    """The value hash that ``steps`` and ``terminal`` prove for ``key_hash``, or None for a proven absence.

    Rebuilds the root from the terminal upwards. A terminal leaf must share the path walked to it, otherwise any
    leaf of the tree could be offered as proof of absence. Raises InvalidProof.
    """
    if len(steps) > KEY_HASH_NIBBLES:
        raise InvalidProof("the path is longer than a key hash")
    if len(terminal) not in (0, 2):
        raise InvalidProof("the terminal is neither a leaf nor empty")
    nibbles = key_hash.hex()
    if terminal:
        if terminal[0].hex()[: len(steps)] != nibbles[: len(steps)]:
            raise InvalidProof("the terminal leaf does not stand on the path walked")
        node: bytes | None = hashlib.sha256(b"\x00" + terminal[0] + terminal[1]).digest()
    else:
        node = None
    for depth in range(len(steps) - 1, -1, -1):
        bitmap, others = steps[depth]
        slot = int(nibbles[depth], 16)
        node = _inner_hash(bitmap, others, slot, node)
    if (node if node is not None else ZERO_HASH) != state_root:
        raise InvalidProof("the path does not lead to the state root")
    return terminal[1] if terminal and terminal[0] == key_hash else None


def _inner_hash(bitmap: int, others: list[bytes], slot: int, child: bytes | None) -> bytes:
    if not 0 < bitmap < 1 << 16:
        raise InvalidProof("an inner node has a bitmap of 1 to 16 children")
    present = bitmap >> slot & 1
    if present != (child is not None):
        raise InvalidProof("the bitmap and the walked child disagree")
    if len(others) != bitmap.bit_count() - present:
        raise InvalidProof("the bitmap and the number of sibling hashes disagree")
    children = list(others)
    if child is not None:
        children.insert((bitmap & ((1 << slot) - 1)).bit_count(), child)
    return hashlib.sha256(b"\x01" + bitmap.to_bytes(2, "big") + b"".join(children)).digest()


_finality_decoder = decoder_for(FinalityProof)
_tx_decoder = decoder_for(TxProof)
_state_decoder = decoder_for(StateProof)
