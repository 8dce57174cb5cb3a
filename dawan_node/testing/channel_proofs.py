"""Proofs of a channel in a test: certificates by its validators' keys over the blocks that a module kit executed.

    logistics = Prover(kit)
    proof = logistics.state(Title, key_of("SMDG-HMM/HKG-1"))     # of the newest block, encoded
    barrier = logistics.finality(height)                          # what ends an epoch

Everything is real but the votes before the certificate. ``signers`` and ``forged`` make what no honest quorum makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.execution import state_tree
from dawan_node.execution.entity import Entity
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, CommitCertificate, bitmap_of, commit_vote_bytes
from dawan_node.primitives.proofs import FinalityProof, StateProof, state_key_hash
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.module_kit import FOUNDERS, ModuleKit, private_key_of


class Prover:
    """Signs for a kit's channel. ``keys``: those of validators that joined later."""

    def __init__(self, kit: ModuleKit, keys: Sequence[PrivateKey] = ()) -> None:
        self.kit: Final = kit
        self._keys = {key.public_key: key for key in (*map(_founders_key, FOUNDERS), *keys)}

    def add_key(self, key: PrivateKey) -> None:
        """A validator that joins."""
        self._keys[key.public_key] = key

    def validators(self, epoch_of: Header | None = None) -> ValidatorSet:
        """The set of a block's epoch; the first one without."""
        if epoch_of is None:
            return self.kit.genesis.validator_set
        known = [self.kit.genesis.validator_set, *(block.next_validators for block in self.kit.blocks)]
        return next(each for each in known if each.hash == epoch_of.valset_hash)

    def finality(self, height: int = 0, *, signers: Sequence[int] = (), view: int = 0) -> bytes:
        """The encoded FinalityProof of a block of the kit, the newest without a height, by the first q validators."""
        block = next(each for each in reversed(self.kit.blocks) if height in (0, each.header.height))
        return self.forged(block.header, block.result, self.validators(block.header), signers=signers, view=view)

    def forged(
        self, header: Header, result: Result, validators: ValidatorSet, *, signers: Sequence[int] = (), view: int = 0
    ) -> bytes:
        """A FinalityProof of whatever header and result, by keys of ``validators``: what thieves of them could make."""
        chosen = sorted(signers or range(validators.q))
        vote = commit_vote_bytes(header.chain_id, header.epoch, view, header.height, header.hash, result.hash)
        signatures = [self._keys[validators.public_keys[index]].sign(COMMIT_TAG, vote) for index in chosen]
        certificate = CommitCertificate(
            header.epoch, view, header.height, header.hash, result.hash, bitmap_of(chosen, validators.n), signatures
        )
        return FinalityProof.build(header.encode(), result.encode(), [], certificate.encode()).encode()

    def state(self, kind: type[Entity], key: bytes, *, finality: bytes = b"") -> bytes:
        """The encoded StateProof of an entry, or of its absence, after the newest block."""
        spec = kind.spec
        steps, terminal = state_tree.prove(self.kit.state.tree_node, state_key_hash(spec.module, spec.collection, key))
        value = self.kit.state.get(spec.module, spec.collection, key) or b""
        return StateProof(
            1, finality or self.finality(), spec.module, spec.collection, key, value, steps, terminal
        ).encode()


def _founders_key(org: str) -> PrivateKey:
    return private_key_of(f"validator {org}1")
