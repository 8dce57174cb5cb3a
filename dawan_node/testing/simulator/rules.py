"""The rules of the protocol, held against everything an honest node writes into its log.

``checks`` sees when honest nodes disagree. That may take a rare schedule after the mistake; a rule that is broken shows
at once. So each rule stands here a second time, written from the text and not from the package: quorums by their
defining inequality, signed bytes by the reference MessagePack, O by the loop of consensus.md 1.8. A log is the place
to look, because its order is that in which a node signed, and because everything signed must be in it.

| Rule | Source |
|---|---|
| q signers, each with a valid signature over exactly the bytes of A2 | consensus.md 1.1, A2, CVE of Tendermint 0.33.6 |
| COMMIT only with a PC of its view, in order, in the same view or above what is decided | U1, A1 |
| no vote at or below the floor, none before the floor is decided here | U2 |
| epoch and validator set follow from the parent; nothing above an undecided barrier | U3 |
| no vote below a view that was promised, or in an epoch that is over | U6, U7 |
| a VIEW-CHANGE shows a PC for whatever its author committed to | consensus.md 1.12 (c) |
| a view starts from exactly the O that its q VIEW-CHANGEs give | consensus.md 1.8, FISCO FIB-124 |
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgpack

from dawan_node.consensus.messages import NewView, ViewChange, decode_message
from dawan_node.consensus.records import CommitRecord, DecidedRecord, PrepareRecord, Record, RecordKind
from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.simulated_node import fake_verify
from dawan_node.testing.simulator.world import Violation

if TYPE_CHECKING:
    from dawan_node.testing.simulator.node import SimulatedNode
    from dawan_node.testing.simulator.scene import Scene

#: Heights below the decided one that an account remembers: more than any window twice.
_REMEMBERED: Final = 160

_PREPARE: Final = b"dawan:prepare:v1"
_COMMIT: Final = b"dawan:commit:v1"


def quorum_of(n: int) -> int:
    """The smallest q of which two share f + 1 validators, where f is the most that n survive: 3f < n."""
    f = max(f for f in range(n) if 3 * f < n)
    return next(q for q in range(1, n + 1) if 2 * q - n >= f + 1)


@dataclass(slots=True)
class Account:
    """What one node has signed and decided, as its log says it."""

    decided: dict[int, bytes] = field(default_factory=dict)
    height: int = 0
    epoch: int = 0
    #: Lowest (epoch, view) in which a vote may still be signed, and the view that is open with its floor.
    promise: tuple[int, int] = (0, 0)
    #: ... as far as its own signatures say so, and not only the NEW-VIEW of another.
    sworn: tuple[int, int] = (0, 0)
    floor: tuple[int, int, int] = (0, 0, 0)  # epoch, view, height of the base
    accepted: dict[bytes, Header] = field(default_factory=dict)
    commits: dict[tuple[int, int, int], bytes] = field(default_factory=dict)  # (epoch, view, height) -> block hash

    def swear(self, epoch: int, view: int) -> None:
        """It signed something that binds it to ``view`` or above."""
        self.sworn = max(self.sworn, (epoch, view))
        self.promise = max(self.promise, self.sworn)

    def copy(self) -> Account:
        """As it is now."""
        return Account(
            dict(self.decided),
            self.height,
            self.epoch,
            self.promise,
            self.sworn,
            self.floor,
            dict(self.accepted),
            dict(self.commits),
        )


class Rules:
    """The accounts of all honest nodes of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._accounts: dict[int, Account] = {}
        #: The newest records of each node, and its account without them: a crash may take them back.
        self._latest: dict[int, tuple[Account, tuple[Record, ...]]] = {}
        self._chain: dict[int, tuple[Header, Result]] = {}
        self._known_good: set[bytes] = set()
        self._verify = verify_ed25519 if scene.is_real else fake_verify

    def account(self, node: SimulatedNode) -> Account:
        """What ``node`` has signed and decided."""
        return self._accounts.setdefault(node.number, Account())

    def forget(self, node: SimulatedNode) -> None:
        """The log of ``node`` is a new one."""
        self._accounts.pop(node.number, None)
        self._latest.pop(node.number, None)

    # What a node writes

    def writes(self, node: SimulatedNode, records: Sequence[Record]) -> None:
        """``node`` has these records written, in this order."""
        account = self._accounts.setdefault(node.number, Account())
        self._latest[node.number] = (account.copy(), tuple(records))
        for record in records:
            self._enter(node, account, record, is_new=True)

    def recovered(self, node: SimulatedNode, found: set[tuple[int, bytes]]) -> None:
        """``node`` is back with a log of ``found`` (kind, payload): what was not synced may be gone."""
        account, records = self._latest.pop(node.number, (None, ()))
        if account is None:
            return
        # A checkpoint may have written a decided block as one whose bodies the store has: the payload is the same.
        payloads = {payload for _, payload in found}
        if all(record.payload in payloads for record in records):
            return
        self._accounts[node.number] = account
        for record in records:
            if record.payload in payloads:
                self._enter(node, account, record, is_new=False)

    def _enter(self, node: SimulatedNode, account: Account, record: Record, is_new: bool) -> None:
        match record.kind:
            case RecordKind.PREPARE:
                prepare = PrepareRecord.decode(record.payload)
                if is_new:
                    self._may_vote(node, account, prepare.header, prepare.view, "PREPARE")
                account.accepted[prepare.header.hash] = prepare.header
                account.swear(prepare.header.epoch, prepare.view)
            case RecordKind.COMMIT:
                commit = CommitRecord.decode(record.payload)
                if is_new:
                    self._may_vote(node, account, commit.header, commit.view, "COMMIT")
                    self._may_commit(node, account, commit)
                header = commit.header
                account.commits[header.epoch, commit.view, header.height] = header.hash
            case RecordKind.VIEW_CHANGE:
                message = decode_message(record.payload)
                assert isinstance(message, ViewChange)
                if is_new:
                    self._tells_all(node, account, message)
                account.swear(message.epoch, message.new_view)
            case RecordKind.NEW_VIEW:
                opened = decode_message(record.payload)
                assert isinstance(opened, NewView)
                changes = [ViewChange.decode(data) for data in opened.view_changes]
                if is_new:
                    self._follows(node, opened, changes)
                heads = [header.height for change in changes for header, _ in change.last]
                base = max(heads, default=self._epoch_base(opened.epoch)[0])
                account.floor = (opened.epoch, opened.new_view, base)
                account.promise = max(account.promise, (opened.epoch, opened.new_view))
            case RecordKind.DECIDED | RecordKind.SYNCED:
                self._decides(node, account, DecidedRecord.decode(record.payload))
            case _:
                pass

    # Votes

    def _may_vote(self, node: SimulatedNode, account: Account, header: Header, view: int, what: str) -> None:
        what = f"{node.name} signs {what} in epoch {header.epoch} view {view} for height {header.height}"
        epoch, open_view, base = account.floor
        if (header.epoch, view) < account.promise:
            raise Violation(f"{what} after it promised epoch and view {account.promise} (U6, U7)")
        if (epoch, open_view) == (header.epoch, view) and (header.height <= base or account.height < base):
            raise Violation(f"{what}, its own head is {account.height}, the floor of the view is {base} (U2)")
        decided = account.decided.get(header.height)
        if header.height <= account.height and decided not in (None, header.hash):
            raise Violation(f"{what}, where it decided another block (U7)")
        parent = account.accepted.get(header.parent_hash)
        if parent is not None and parent.barrier and header.height > account.height + 1:
            raise Violation(f"{what} above a barrier that is not decided (U3)")
        if header.height == account.height + 1:
            self._follows_parent(what, header)

    def _may_commit(self, node: SimulatedNode, account: Account, commit: CommitRecord) -> None:
        header, certificate = commit.header, commit.prepared
        what = f"{node.name} signs COMMIT in view {commit.view} for height {header.height}"
        if (certificate.view, certificate.height, certificate.block_hash) != (commit.view, header.height, header.hash):
            raise Violation(f"{what} with a PC of something else (A1)")
        self._is_quorum(certificate, what)
        if header.height <= account.height + 1:
            return  # its parent, or the block itself, is decided here
        if account.commits.get((header.epoch, commit.view, header.height - 1)) != header.parent_hash:
            raise Violation(f"{what} and did not commit to its parent in this view (U1)")

    # View changes

    def _tells_all(self, node: SimulatedNode, account: Account, message: ViewChange) -> None:
        what = f"{node.name} leaves for view {message.new_view}"
        head = max((header.height for header, _ in message.last), default=0)
        shown = {header.height: certificate.view for header, certificate in message.prepared}
        if head < account.height and self._chain[account.height][0].epoch == message.epoch:
            raise Violation(f"{what} with head {head}, and decided {account.height}")
        for (epoch, view, height), _ in account.commits.items():
            if epoch == message.epoch and height > max(head, account.height) and shown.get(height, -1) < view:
                raise Violation(f"{what} without the PC of view {view} at height {height} it committed to (1.12 c, U5)")
        for _, decided in message.last:
            self._is_quorum(decided, what)
        for _, prepared in message.prepared:
            self._is_quorum(prepared, what)

    def _follows(self, node: SimulatedNode, message: NewView, changes: Sequence[ViewChange]) -> None:
        """consensus.md 1.8, as it stands there."""
        validators = self._scene.set_of(message.epoch)
        if validators is None:
            return
        what = f"{node.name} enters view {message.new_view}"
        voters = {change.voter for change in changes}
        if len(voters) != len(changes) or len(voters) < quorum_of(validators.n):
            raise Violation(f"{what} on the word of {sorted(voters)}, {len(changes)} VIEW-CHANGEs (B8)")
        for change in changes:
            if len({entry.voter for entry in change.suspects}) < quorum_of(validators.n):
                raise Violation(f"{what}, to which validator {change.voter} went without a quorum of wishes (1.7)")
        base_height, tip = self._epoch_base(message.epoch)
        for change in changes:
            for header, _ in change.last:
                if header.height > base_height:
                    base_height, tip = header.height, header.hash
        o: list[Header] = []
        while True:
            height = base_height + len(o) + 1
            candidates = [
                (certificate.view, header)
                for change in changes
                for header, certificate in change.prepared
                if header.height == height
            ]
            if not candidates:
                break
            best = max(candidates, key=lambda candidate: candidate[0])[1]
            if len({header.hash for _, header in candidates}) > 1:
                self._scene.world.counts["O had to choose"] += 1
            if best.parent_hash != tip:
                self._scene.world.counts["O ended at a stale branch"] += 1
                break
            o.append(best)
            tip = best.hash
            if best.barrier:
                break
        if len(message.prepares) != len(o):
            raise Violation(f"{what} with {len(message.prepares)} blocks proposed again, {len(o)} follow (FIB-124)")
        primary = self._scene.primary_key(message.epoch, message.new_view)
        for header, signature in zip(o, message.prepares, strict=True):
            vote = [self._scene.genesis.chain_id, message.epoch, message.new_view, header.height, header.hash]
            if not self._is_signed(primary, _PREPARE, vote, signature):
                raise Violation(f"{what}, whose primary did not propose height {header.height} again (1.8)")

    def _epoch_base(self, epoch: int) -> tuple[int, bytes]:
        """The block that ended the epoch before."""
        below = [height for height, (header, _) in self._chain.items() if header.epoch < epoch]
        return (max(below), self._chain[max(below)][0].hash) if below else (0, self._scene.genesis.chain_id)

    # Decisions

    def _decides(self, node: SimulatedNode, account: Account, record: DecidedRecord) -> None:
        header = record.header
        self._chain.setdefault(header.height, (header, record.result))
        self._is_quorum(record.certificate, f"{node.name} decides height {header.height}")
        self._follows_parent(f"{node.name} decides height {header.height}", header)
        if header.height <= account.height:
            return
        account.height = header.height
        account.decided[header.height] = header.hash
        if record.result.next_valset_hash != header.valset_hash:
            account.promise = max(account.promise, (header.epoch + 1, 0))
        lowest = header.height - _REMEMBERED
        for slot in [slot for slot in account.commits if slot[2] <= header.height]:
            del account.commits[slot]
        for block in [block for block, other in account.accepted.items() if other.height <= header.height]:
            del account.accepted[block]
        for at in [at for at in account.decided if at < lowest]:
            del account.decided[at]

    def _follows_parent(self, what: str, header: Header) -> None:
        """Epoch and validator set are functions of the parent (U3)."""
        parent = self._chain.get(header.height - 1)
        if parent is None:
            expected = (0, self._scene.genesis.validator_set.hash)
            if header.height != 1:
                return
        else:
            below, result = parent
            changes = below.barrier and result.next_valset_hash != below.valset_hash
            expected = (below.epoch + changes, result.next_valset_hash if changes else below.valset_hash)
        if (header.epoch, header.valset_hash) != expected:
            raise Violation(f"{what} of epoch {header.epoch}, where epoch {expected[0]} follows from its parent (U3)")

    # Signatures

    def _is_quorum(self, certificate: PreparedCertificate | CommitCertificate, what: str) -> None:
        """q distinct validators of the epoch, one valid signature each, no bit and no signature more."""
        name = hashlib.sha256(certificate.encode()).digest()
        validators = self._scene.set_of(certificate.epoch)
        if validators is None or name in self._known_good:
            return
        signers = _indexes(certificate.bitmap, validators)
        if len(signers) < quorum_of(validators.n) or len(signers) != len(certificate.signatures):
            raise Violation(
                f"{what} with a certificate of {len(signers)} signers and {len(certificate.signatures)} signatures"
                f" for height {certificate.height}, where {quorum_of(validators.n)} of {validators.n} are a quorum"
            )
        vote: list[Any] = [
            self._scene.genesis.chain_id,
            certificate.epoch,
            certificate.view,
            certificate.height,
            certificate.block_hash,
        ]
        tag = _PREPARE
        if isinstance(certificate, CommitCertificate):
            tag = _COMMIT
            vote.append(certificate.result_hash)
        for index, signature in zip(signers, certificate.signatures, strict=True):
            if not self._is_signed(validators.public_keys[index], tag, vote, signature):
                raise Violation(
                    f"{what} with a certificate for height {certificate.height} that validator {index} did not sign"
                )
        self._known_good.add(name)

    def binds(self, node: SimulatedNode, tag: bytes, vote: Sequence[Any], signature: bytes) -> None:
        """What leaves with ``node``'s signature signs chain, epoch, view and height, byte for byte as A2 says."""
        if not self._is_signed(node.key.public_key, tag, [self._scene.genesis.chain_id, *vote], signature):
            raise Violation(f"{node.name} signs other bytes than {tag.decode()} over {vote} of this chain (A2)")

    def _is_signed(self, key: bytes, tag: bytes, vote: Sequence[Any], signature: bytes) -> bool:
        packed: bytes = msgpack.packb(list(vote), use_bin_type=True)
        return self._verify(key, tag + b"\n" + packed, signature)


def _indexes(bitmap: bytes, validators: ValidatorSet) -> list[int]:
    bits = int.from_bytes(bitmap, "little")
    return [index for index in range(validators.n) if bits >> index & 1]
