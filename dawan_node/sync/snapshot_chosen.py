"""A snapshot that was chosen, with what proves it: kept beside its parts, and read again after a restart."""

from __future__ import annotations

from typing import Final

from dawan_node.errors import InvalidEncoding, InvalidInput, InvalidMessage
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.primitives.encoding import ProtocolStruct, decode_struct, decoder_for
from dawan_node.primitives.proofs import FinalityProof
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.sync.snapshot_format import Manifest
from dawan_node.sync.snapshot_messages import EpochProof

#: A manifest, and the ends of some thousand epochs.
CHOSEN_BYTES_MAX: Final = 8 * 1024 * 1024


class Chosen(ProtocolStruct, frozen=True):
    """A chosen snapshot with what proves it, for whoever keeps it: nothing of it has to be believed again.

    ``manifest`` is an encoded Manifest, ``epochs`` lead to its epoch from that of this node's head, and ``below``,
    which this node adds from its own store, from the genesis to that.
    """

    manifest: bytes
    epochs: tuple[EpochProof, ...]
    below: tuple[EpochProof, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> Chosen:
        """Raises InvalidMessage."""
        try:
            return decode_struct(_chosen_decoder, data, CHOSEN_BYTES_MAX)
        except InvalidEncoding as error:
            raise InvalidMessage(f"kept snapshot: {error}") from None

    def certificates(self, genesis: ValidatorSet) -> list[tuple[CommitCertificate, ValidatorSet]]:
        """Every certificate in it, upwards, each with the set that signed it; ``genesis`` is the first of these sets.
        They were verified when it was chosen. Raises InvalidMessage when it was changed since."""
        found: list[tuple[CommitCertificate, ValidatorSet]] = []
        validators = genesis
        try:
            for proof in (*self.below, *self.epochs):
                found.append((_certificate_of(proof.finality), validators))
                validators = ValidatorSet(proof.members)
            found.append((_certificate_of(Manifest.decode(self.manifest).finality), validators))
        except InvalidInput as error:
            raise InvalidMessage(f"kept snapshot: {error}") from None
        return found


def _certificate_of(finality: bytes) -> CommitCertificate:
    return CommitCertificate.decode(FinalityProof.decode(finality).certificate)


_chosen_decoder: Final = decoder_for(Chosen)
