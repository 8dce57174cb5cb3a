"""What a pruned database still has of the blocks below the state that its verification starts from.

Bodies and results are gone there; what stayed has a purpose, and is checked against the state at the base, whose root a
quorum has certified: fixed points (barrier blocks, every 1,000th block) with their certificates, the nonces that a
block used while they may still matter, and the headers these need. A missing fixed point cannot be told from one that
never came here, because a database that began with a snapshot has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from dawan_node.errors import InvalidInput, InvalidProof
from dawan_node.execution.channel import GOVERNANCE, REPLAY_COLLECTION
from dawan_node.execution.executor import REPLAY_INDEX
from dawan_node.execution.keys import key_of
from dawan_node.modules.governance.declaration import ValidatorEpoch
from dawan_node.node.database.finding import Fault, Wrong
from dawan_node.node.database.scratch import Scratch
from dawan_node.node.database.signature_queue import SignatureQueue
from dawan_node.primitives.block import Header
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.replay import replay_value
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage import schema
from dawan_node.storage.block_store import BlockStore
from dawan_node.storage.kv import KeyValueReader, Put
from dawan_node.storage.retention import nonces_of

_nonces: Final = msgspec.msgpack.Decoder(list[tuple[bytes, bytes, int]])


@dataclass(frozen=True, slots=True)
class KeptBelow:
    """How much there was to check: certified blocks, and nonces in force at the base."""

    milestones: int
    nonces: int


class BelowBase:
    """One look below the base of one database; ``state`` is the state at the base, already found right."""

    def __init__(
        self, kv: KeyValueReader, genesis: Genesis, state: Scratch, base: Header, queue: SignatureQueue
    ) -> None:
        self._kv: Final = kv
        self._blocks: Final = BlockStore(kv)
        self._genesis: Final = genesis
        self._state: Final = state
        self._base: Final = base
        self._queue: Final = queue
        self._epochs: dict[int, tuple[ValidatorSet, int, int | None]] = {}

    def check(self) -> KeptBelow:
        """Raises Wrong. The nonces in force are in the scratch state afterwards, for the blocks above."""
        times = self._times()
        return KeptBelow(self._check_milestones(), self._check_nonces(times))

    def _times(self) -> dict[int, int]:
        """Block time by height, of the headers that lead down from the base without a gap."""
        times: dict[int, int] = {}
        header = self._base
        while True:
            times[header.height] = header.timestamp_ms
            below = self._blocks.header(header.height - 1)
            if below is None:
                return times
            if below.hash != header.parent_hash:
                raise Wrong(Fault.HEADER, below.height, "the header is not the one that the block above it names")
            header = below

    def _check_nonces(self, times: dict[int, int]) -> int:
        """The nonces kept of each block are those that its replay entry commits to (formats A.5)."""
        index = schema.INDEX + schema.scope(GOVERNANCE, REPLAY_COLLECTION, REPLAY_INDEX)
        live = 0
        for key, value in self._state.state.entities(GOVERNANCE, REPLAY_COLLECTION):
            height = schema.height_of_bytes(key)
            uses = self._nonces_at(height)
            if replay_value(uses) != value:
                raise Wrong(Fault.STATE, height, "the nonces kept of the block are not those it used")
            if height not in times:
                raise Wrong(Fault.HEADER, height, "the header is gone although nonces of its block may be in force")
            if self._state.kv.get(index + schema.height_bytes(times[height]) + key) != key:
                raise Wrong(Fault.STATE, height, "the replay entry of the block is not found under its time")
            in_force = [use for use in uses if use[2] > self._base.timestamp_ms]
            puts: list[Put] = self._state.state.nonce_puts(in_force)
            self._state.kv.write(puts, sync=False)
            live += len(in_force)
        return live

    def _nonces_at(self, height: int) -> list[tuple[bytes, bytes, int]]:
        kept, envelopes = self._blocks.nonces(height), self._blocks.envelopes(height)
        if kept is not None:
            try:
                return _nonces.decode(kept)
            except msgspec.MsgspecError as error:
                raise Wrong(Fault.STATE, height, f"the nonces kept of the block cannot be read: {error}") from None
        if envelopes is None:
            raise Wrong(Fault.STATE, height, "the nonces of the block are gone although they may be in force")
        return nonces_of(envelopes)

    def _check_milestones(self) -> int:
        """Every certificate that is kept below the base, by the validators of its epoch."""
        count = 0
        stop = schema.CERTIFICATE + schema.height_bytes(self._base.height)
        for key, _ in self._kv.iterate(prefix=schema.CERTIFICATE, stop=stop):
            height = schema.height_of_bytes(key[1:])
            proof, header = self._blocks.finality(height), self._blocks.header(height)
            if proof is None or header is None:
                raise Wrong(Fault.HEADER, height, "there is a certificate, but no header or result of its block")
            validators, first, last = self._epoch(header.epoch, height)
            check = self._queue.checker(height)
            try:
                proof.verify(self._genesis.chain_id, header.epoch, validators, first=first, last=last, check=check)
            except InvalidProof as error:
                raise Wrong(Fault.CERTIFICATE, height, str(error)) from None
            if self._blocks.height_of(header.hash) != height:
                raise Wrong(Fault.INDEX, height, "the hash index does not know the block")
            count += 1
        return count

    def _epoch(self, epoch: int, height: int) -> tuple[ValidatorSet, int, int | None]:
        """Its validators and first and last height, by the certified state."""
        if epoch not in self._epochs:
            following = self._record(epoch + 1)
            last = None if following is None else following.from_height - 1
            if epoch == 0:
                self._epochs[0] = self._genesis.validator_set, 1, last
            else:
                own = self._record(epoch)
                if own is None:
                    raise Wrong(
                        Fault.HEADER, height, f"the header is of epoch {epoch}, of which the state knows nothing"
                    )
                validators = ValidatorSet([(suite, public_key) for _, _, suite, public_key in own.validators])
                self._epochs[epoch] = validators, own.from_height, last
        return self._epochs[epoch]

    def _record(self, epoch: int) -> ValidatorEpoch | None:
        value = self._state.state.get(GOVERNANCE, ValidatorEpoch.spec.collection, key_of(epoch))
        try:
            found: ValidatorEpoch | None = None if value is None else ValidatorEpoch.spec.decode(value)
        except InvalidInput as error:
            raise Wrong(Fault.STATE, 0, f"the validators of epoch {epoch} cannot be read: {error}") from None
        return found
