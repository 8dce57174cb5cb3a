"""What the parts of a replica share, and who may change it.

| Fields | Changed by |
|---|---|
| ``now_ms``, ``clock``, ``work_pending`` | ``replica`` (inputs) |
| ``left_out`` | ``replica`` (input); reset by ``suspicion`` in a new view |
| ``chain``, ``quarantine``, ``catch_up_to``, ``sync_height`` | ``finality`` |
| ``halted`` | ``halt`` below, by whoever holds the proof |
| ``view``, ``target``, ``base``, ``entries``, ``new_view`` | ``view_changer``; reset by ``enter_epoch`` below |
| ``backoff`` | ``view_changer`` (up), ``suspicion`` (down) |
| ``listening`` | ``repair`` and ``restore`` (its end); begun by ``enter_epoch`` below |
| ``log``, ``tree``, ``prepared``, ``own_records``, ``accepted_at`` | ``agreement``; emptied by the others |

Nothing here decides anything; it answers questions (*may I vote?*) that several parts ask.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dawan_node.consensus.block_tree import BlockTree
from dawan_node.consensus.chain import Chain
from dawan_node.consensus.config import Head, ReplicaConfig
from dawan_node.consensus.listening import Listening
from dawan_node.consensus.message_log import MessageLog
from dawan_node.consensus.proof import proof_of
from dawan_node.consensus.ready import AlarmKind, Evidence, EvidenceKind, Outbox
from dawan_node.consensus.records import OWN_KEY_REASON, HaltedRecord, QuarantineRecord, Record, RecordKind
from dawan_node.consensus.signer import Statement, VoteKind, VoteSigner
from dawan_node.consensus.verification import Verifier
from dawan_node.consensus.view_change import Base, Contradiction, Entry, Epoch
from dawan_node.errors import SigningRefused
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import PreparedCertificate
from dawan_node.primitives.genesis import WINDOW_CEILING
from dawan_node.primitives.validators import ValidatorSet

#: Evidence kept apart per process; one per (voter, epoch, kind) anyway, this bounds many epochs (1.14).
EVIDENCE_MAX = 256


@dataclass(slots=True)
class OwnRecords:
    """My own votes for one undecided height: the newest PREPARE and COMMIT per block, as their records."""

    by_block: dict[tuple[RecordKind, bytes], Record] = field(default_factory=dict)


class ReplicaState:
    """The state of one replica on one channel."""

    def __init__(self, config: ReplicaConfig, signer: VoteSigner | None, head: Head, now_ms: int) -> None:
        self.config = config
        self.timers = config.timers
        self.chain_id = config.chain_id
        self.signer = signer
        #: The key whose statements must not come from elsewhere: the signer's, or one that only observes for now.
        self.own_key = config.own_key if signer is None else signer.public_key
        self.outbox = Outbox(head.rules.validators)
        self.verifier = Verifier(config.chain_id, config.verify)
        self.chain = Chain(head, config.created_ms)
        self.tree = BlockTree(self.outbox, head.block_hash)
        self.log = MessageLog()
        self.now_ms = now_ms
        self.clock = 0
        self.work_pending = False
        #: The shell found that the primary of this view leaves transactions out (consensus.md 1.6).
        self.left_out = False
        #: k: fruitless views in a row; widens timers and the age a proposal may have (consensus.md 1.7, L11).
        self.backoff = 0
        #: When a block was last accepted here (timer clock): a primary whose blocks arrive is not silent.
        self.accepted_at = 0

        self.view = 0
        self.target = 0
        self.new_view: bytes | None = None
        self.base = Base(head.epoch_base[0], head.epoch_base[1], None, None)
        self.entries: tuple[Entry, ...] = ()

        #: The PC of the highest view held per undecided height, with its header (U5: without it, it is not held).
        self.prepared: dict[int, tuple[Header, PreparedCertificate]] = {}
        self.own_records: dict[int, OwnRecords] = {}
        #: Blocks the log held a COMMIT of mine for at the start, with their heights: also those of epochs that are not
        #: reached yet and of a key that observes for now, which ``own_records`` lacks.
        self.logged_commits: dict[bytes, int] = {}
        self.halted: HaltedRecord | None = None
        self.quarantine: QuarantineRecord | None = None
        #: Heights up to here were decided before a restart and not yet again: no votes until they are.
        self.catch_up_to = head.height
        #: Something above the window or below the view's base is final and has to be fetched as a range.
        self.sync_height = 0
        self._refused: set[tuple[int, int, int, int]] = set()
        self._evidence: dict[tuple[int, int, EvidenceKind], Evidence] = {}
        self._first_primary = (-1, 0)
        self.own = self._own_index()
        #: Not None: my log knows no word of mine in this epoch, and the others have not been heard yet.
        self.listening = Listening() if self._has_to_listen else None

    # --- questions ---------------------------------------------------------------------------------------------

    @property
    def validators(self) -> ValidatorSet:
        """The validators of the current epoch."""
        return self.chain.rules.validators

    @property
    def window(self) -> int:
        """W: heights in flight."""
        return self.chain.rules.window

    @property
    def epoch(self) -> Epoch:
        """The current epoch, as the view-change functions want it."""
        base_height, base_hash = self.chain.epoch_base
        return Epoch(
            self.chain_id,
            self.chain.epoch,
            self.validators,
            WINDOW_CEILING,
            base_height,
            base_hash,
            self.verifier,
        )

    def primary(self, view: int) -> int:
        """The index of primary(view) in this epoch."""
        # primary(v) = (v + primary(0)) mod n; the hash behind primary(0) is constant for an epoch.
        if self._first_primary[0] != self.chain.epoch:
            first = self.validators.primary(self.chain_id, self.chain.epoch, 0)
            self._first_primary = (self.chain.epoch, first)
        return (view + self._first_primary[1]) % self.validators.n

    @property
    def is_alone(self) -> bool:
        """n = 1: no timers, no SUSPECT, nobody to talk to (A10)."""
        return self.validators.n == 1

    @property
    def _has_to_listen(self) -> bool:
        return self.config.listens_first and self.own is not None and not self.is_alone

    @property
    def may_sign(self) -> bool:
        """Whether any vote or VIEW-CHANGE may be signed now (L3, U12)."""
        return (
            self.own is not None
            and self.listening is None
            and self.halted is None
            and self.quarantine is None
            and self.chain.is_certified
            and self.chain.height >= self.catch_up_to
        )

    @property
    def may_vote(self) -> bool:
        """Whether PREPARE and COMMIT may be signed in the current view: it is open, and my decided chain contains its
        floor (U2)."""
        return (
            self.may_sign
            and self.target == self.view
            and self.chain.height >= self.base.height
            and self.chain.holds(self.base.height, self.base.block_hash) is not False
        )

    @property
    def is_behind(self) -> bool:
        """Whether something above the head is known to be final, or was decided here before a restart."""
        return self.chain.height < max(self.chain.seen_height, self.base.height, self.catch_up_to)

    @property
    def expects_primary(self) -> bool:
        """Whether another replica is primary of an open view, and nothing says that it is this one that lags (L10)."""
        return self.target == self.view and self.primary(self.view) != self.own and not self.is_behind

    def accepted_blocks(self) -> list[Header]:
        """The undecided blocks accepted in the current view, upwards from the head."""
        headers: list[Header] = []
        parent_hash = self.chain.block_hash
        for height in range(self.chain.height + 1, self.chain.height + self.window + 1):
            slot = self.log.slots.get(height)
            block = None if slot is None else self.tree.get(slot.accepted)
            if block is None or block.header.parent_hash != parent_hash:
                break
            headers.append(block.header)
            parent_hash = block.block_hash
        return headers

    # --- actions that several parts need -----------------------------------------------------------------------

    def sign(
        self,
        kind: VoteKind,
        view: int,
        data: bytes,
        height: int = 0,
        block_hash: bytes = b"",
        result_hash: bytes = b"",
    ) -> bytes | None:
        """My signature, or None (with one alarm per slot) when the signer refuses."""
        assert self.signer is not None, "only a validator signs"
        statement = Statement(kind, self.chain.epoch, view, height, block_hash, result_hash, data)
        if statement.slot in self._refused:
            return None
        try:
            return self.signer.sign(statement)
        except SigningRefused as error:
            self._refused.add(statement.slot)
            self.outbox.alarm(AlarmKind.SIGNING_REFUSED, str(error), vote=kind.name, view=view, height=height)
            return None

    def keep_own_vote(self, record: Record, height: int) -> None:
        """Have my vote written, and keep it for the next checkpoint (U7)."""
        assert record.block_hash is not None
        self.outbox.records.append(record)
        self.own_records.setdefault(height, OwnRecords()).by_block[record.kind, record.block_hash] = record

    def halt(self, contradiction: Contradiction) -> None:
        """Stop this channel for good: more than f validators lied, and nothing it says can be trusted."""
        if self.halted is not None:
            return
        self.halted = HaltedRecord(contradiction.reason, contradiction.first, contradiction.second)
        self.outbox.records.append(Record(RecordKind.HALTED, self.halted.encode()))
        self.outbox.alarm(AlarmKind.HALTED, contradiction.reason, height=self.chain.height)

    def stop_for_own_key(self, statement: bytes) -> None:
        """Something signed with my key that my log does not hold: another process uses the key, or my log was replaced
        (U6, A6). What others show me never gives permission, but this takes it away."""
        self.outbox.alarm(AlarmKind.OWN_KEY_ELSEWHERE, OWN_KEY_REASON, height=self.chain.height)
        self.halt(Contradiction(OWN_KEY_REASON, statement, b""))

    def accuse(self, kind: EvidenceKind, voter: int, first: bytes, second: bytes) -> None:
        """Keep the first proof of a kind against a voter; drop the rest (bounded)."""
        key = (self.chain.epoch, voter, kind)
        if key in self._evidence or len(self._evidence) >= EVIDENCE_MAX:
            return
        public_key = self.validators.public_keys[voter]
        proof = proof_of(self.chain_id, kind, public_key, first, second)
        if proof is None:
            return  # one statement under two signatures: it must not take the place of a contradiction
        self._evidence[key] = evidence = Evidence(kind, self.chain.epoch, voter, public_key, first, second, proof)
        self.outbox.evidence.append(evidence)

    def forget_refusals(self) -> None:
        """A new view: slots that the signer refused are over."""
        self._refused.clear()

    def enter_epoch(self) -> None:
        """Reset what belongs to one epoch; the chain has entered it."""
        last = self.own_records.get(self.chain.height)
        took_part = last is not None and (RecordKind.COMMIT, self.chain.block_hash) in last.by_block
        self.own = self._own_index()
        self.listening = Listening() if self._has_to_listen and not took_part else None
        self.outbox.validators = self.validators
        self.view = self.target = 0
        self.new_view = None
        self.base = Base(self.chain.height, self.chain.block_hash, None, None)
        self.entries = ()
        self.log = MessageLog()
        self.tree.forget(lambda block: False)
        self.prepared.clear()
        self.sync_height = 0
        self._refused.clear()

    def _own_index(self) -> int | None:
        return None if self.signer is None else self.validators.index_of(self.signer.public_key)
