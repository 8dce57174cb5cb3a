"""Bugs that were planted, so that somebody can be seen to find them (issue of consensus, item 5).

A test that never failed proves nothing. Each entry breaks one line of the package in a way that is wrong by the text
of the protocol, or was wrong in a real system; ``simulator.planted`` applies it to a copy and runs simulations there
until something is violated. A bug that nobody finds means that an attacker, a fault or a check is missing.

``old`` stands exactly once in its file. When the code moves on, the bank is stale and says so; then the entry is
written anew, never deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Hunt:
    """Which seeds to run. Empty means whatever the seed chooses; several values take turns.

    ``validators``: sizes of the network. ``liars``: names in ``simulator.liars``, f of that kind. ``kinds``: the
    misfortunes that occur (``simulator.plan``), and no others. ``is_hasty``: short timers; ``is_long``: many small
    blocks. ``twins``: scenarios of the twins generator with so many heights in flight, instead of seeds. Nothing else
    is fixed: not who, not when, not how often.
    """

    validators: tuple[int, ...] = ()
    liars: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    is_hasty: bool = False
    is_long: bool = False
    twins: int = 0


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """One mutation: in ``file`` of the package ``old`` becomes ``new``, which ``breaks`` a rule with a source."""

    name: str
    file: str
    old: str
    new: str
    breaks: str
    hunt: Hunt = Hunt()


class StaleBug(Exception):
    """The text that a planted bug replaces is not in its file, or more than once."""


def check(bug: PlantedBug, package: Path) -> None:
    """Require that ``bug`` can be planted into the package in folder ``package``. Raises StaleBug."""
    found = (package / bug.file).read_text().count(bug.old)
    if found != 1:
        raise StaleBug(f"{bug.name}: its text stands {found} times in {bug.file}, not once")


def plant(bug: PlantedBug, package: Path) -> None:
    """Plant ``bug`` into a *copy* of the package. Raises StaleBug."""
    check(bug, package)
    path = package / bug.file
    path.write_text(path.read_text().replace(bug.old, bug.new))


_CRASHES: Final = ("crash", "crash all", "crash in an action", "slow disk", "weather")
_VIEWS: Final = ("cut", "freeze", "weather", "clog", "deaf")

BUGS: Final[tuple[PlantedBug, ...]] = (
    # Quorums and certificates
    PlantedBug(
        "quorum of 2f",
        "primitives/validators.py",
        "return (n + fault_bound(n)) // 2 + 1",
        "return max(1, 2 * fault_bound(n))",
        "two quorums share no honest validator (consensus.md 1.1)",
    ),
    PlantedBug(
        "quorum of 2f + 1",
        "primitives/validators.py",
        "return (n + fault_bound(n)) // 2 + 1",
        "return 2 * fault_bound(n) + 1",
        "IBFT: unsafe unless n = 3f + 1 (B1, arXiv 1901.07160)",
        Hunt(validators=(5, 6, 8, 9)),
    ),
    PlantedBug(
        "prepared by f + 1",
        "consensus/agreement.py",
        "if slot.prepared is not None or slot.count_prepares(block_hash) < state.validators.q:",
        "if slot.prepared is not None or slot.count_prepares(block_hash) < state.validators.weak:",
        "two blocks of one slot can be prepared (consensus.md 1.3)",
    ),
    PlantedBug(
        "decision without proof",
        "consensus/finality.py",
        "state.verifier.commit_certificate(certificate, state.validators)",
        "pass",
        "whatever a peer announces is final (L4)",
        Hunt(liars=("forged-decision",)),
    ),
    PlantedBug(
        "chain id not signed",
        "primitives/certificate.py",
        "return encode([chain_id, epoch, view, height, block_hash])",
        "return encode([epoch, view, height, block_hash])",
        "a vote on one channel counts on another (A2, B12)",
    ),
    # The normal case
    PlantedBug(
        "no in-order commit",
        "consensus/agreement.py",
        "may_commit = may_commit and self._maybe_commit(slot, block)",
        "self._maybe_commit(slot, block)",
        "O may have gaps below what is decided (consensus.md 1.3, 1.8)",
    ),
    PlantedBug(
        "in-order commit in any view",
        "consensus/agreement.py",
        "may_commit = may_commit and self._maybe_commit(slot, block)",
        "may_commit = may_commit and self._maybe_commit(slot, block)\n"
        "                kinds = [kind for kind, _ in state.own_records[height].by_block]\n"
        "                may_commit = may_commit or (state.may_vote and RecordKind.COMMIT in kinds)",
        "the parent may have been committed to in another view, for another block (U1)",
        Hunt(kinds=(*_VIEWS, "muffle"), is_hasty=True),
    ),
    PlantedBug(
        "votes below the floor",
        "consensus/view_changer.py",
        "state.base = plan.base",
        "state.base = state.base",
        "the floor is not stored with the view (U2)",
        Hunt(liars=("primary-below-the-floor",), kinds=_VIEWS, is_hasty=True),
    ),
    PlantedBug(
        "the old epoch goes on",
        "consensus/finality.py",
        "changes_set = final.result.next_valset_hash != header.valset_hash",
        "changes_set = False",
        "epoch and set follow from the parent (U3)",
        Hunt(kinds=("members",)),
    ),
    PlantedBug(
        "timestamps judged again",
        "consensus/agreement.py",
        "if not slot.reproposed and not self._is_timely(slot, block):",
        "if not self._is_timely(slot, block):",
        "indy #1488, FISCO #4123: a block that O brings is refused for its age (B13)",
        Hunt(kinds=("clock", *_VIEWS)),
    ),
    PlantedBug(
        "proposal by the clock alone",
        "consensus/agreement.py",
        "at.block_time_ms(state.now_ms),",
        "state.now_ms,",
        "a primary whose clock is behind proposes blocks older than their parents (L11)",
        Hunt(kinds=("clock",)),
    ),
    PlantedBug(
        "a view without bounds",
        "consensus/message_log.py",
        "elif vote.view == kept[0].view and len(kept) < votes_max:",
        "else:",
        "votes of unknown views are kept without limit (1.14; FISCO #4308, besu GHSA-23rh-rrqg-wq82)",
        Hunt(liars=("stray-voter", "huge-numbers", "double-voter")),
    ),
    PlantedBug(
        "prepared for ever",
        "consensus/finality.py",
        "state.prepared.pop(header.height, None)",
        "pass",
        "every PC is kept (1.14)",
    ),
    PlantedBug(
        "records for ever",
        "consensus/finality.py",
        "            del state.own_records[done]",
        "            pass",
        "every vote is kept, in memory and in each checkpoint (1.14)",
    ),
    PlantedBug(
        "bodies for ever",
        "node/bodies.py",
        "while len(self._retired) > RETIRED_MAX:",
        "while False:",
        "released bodies are never let go (1.14)",
        Hunt(kinds=("clog",), is_long=True),
    ),
    # View changes
    PlantedBug(
        "prepared certificate dropped",
        "consensus/view_changer.py",
        "if chain.height < height <= chain.height + state.window and state.prepared[height][1].view < view",
        "if chain.height > height",
        "sawtooth: what was prepared does not reach the next view (B3)",
        Hunt(kinds=_VIEWS),
    ),
    PlantedBug(
        "the older certificate kept",
        "consensus/agreement.py",
        "if held is None or certificate.view > held[1].view:",
        "if held is None or certificate.view < held[1].view:",
        "a VIEW-CHANGE shows the PC of a view that a later one left (1.8, A6)",
        Hunt(twins=1),
    ),
    PlantedBug(
        "lowest view in O",
        "consensus/view_change.py",
        "if best is None or certificate.view > best.certificate.view:",
        "if best is None or certificate.view < best.certificate.view:",
        "O brings what a later view replaced (1.8)",
        Hunt(twins=1),
    ),
    PlantedBug(
        "O not recomputed",
        "consensus/view_change.py",
        "    if len(message.prepares) != len(plan.entries):",
        "    plan = Plan(plan.base, plan.entries[: len(message.prepares)])\n"
        "    if len(message.prepares) > len(plan.entries):",
        "FISCO FIB-124: a primary may leave out of O what it likes (B9)",
        Hunt(liars=("forged-new-view",), kinds=("muffle", "undecided"), is_hasty=True),
    ),
    PlantedBug(
        "no parent check in O",
        "consensus/view_change.py",
        "if best is None or best.header.parent_hash != tip_hash:",
        "if best is None:",
        "O goes on with a branch that a later view left, and no block of it can be accepted (1.8)",
        Hunt(validators=(4,), kinds=("stranded",), is_hasty=True),
    ),
    PlantedBug(
        "O not signed",
        "consensus/view_change.py",
        "if not epoch.verifier.signature(key, PREPARE_TAG, data, signature):",
        "if False:",
        "signatures that the primary never made enter certificates (1.8)",
        Hunt(liars=("forged-new-view",)),
    ),
    PlantedBug(
        "duplicate signers counted",
        "consensus/view_change.py",
        "if view_change.new_view != message.new_view or view_change.voter <= previous:",
        "if view_change.new_view != message.new_view or view_change.voter < previous:",
        "fabric v0.6 recvNewView: a quorum of one voter (B8)",
        Hunt(liars=("forged-new-view",)),
    ),
    PlantedBug(
        "duplicate wishes counted",
        "consensus/view_change.py",
        "if not previous < entry.voter < epoch.validators.n:",
        "if not previous <= entry.voter < epoch.validators.n:",
        "one node moves everybody to any view (1.7)",
        Hunt(liars=("padded-certificates", "suspect-storm")),
    ),
    PlantedBug(
        "votes while leaving",
        "consensus/state.py",
        "and self.target == self.view",
        "",
        "a vote below a promised view (1.8)",
        Hunt(kinds=_VIEWS),
    ),
    PlantedBug(
        "back-off without cap",
        "consensus/pacemaker.py",
        "return min(self.base_ms() << min(backoff, _BACKOFF_SHIFT_MAX), self._timers.view_max_ms)",
        "return self.base_ms() << min(backoff, _BACKOFF_SHIFT_MAX)",
        "besu #7642 waited 4,096 s (1.7)",
        Hunt(kinds=("weather", "muffle", "freeze"), is_hasty=True),
    ),
    PlantedBug(
        "a wish that never expires",
        "consensus/pacemaker.py",
        "if wish.expires_at <= clock]:",
        "if False]:",
        "an old SUSPECT is a ticket to depose the primary for ever (L10)",
        Hunt(kinds=("lone wish",), is_hasty=True),
    ),
    PlantedBug(
        "a wish said once",
        "consensus/suspicion.py",
        "                self._send_wish()\n\n    def deadlines",
        "                self._wish_sent_at = state.clock\n\n    def deadlines",
        "a SUSPECT that is lost is never said again, and the view is never left (1.7, L10)",
        Hunt(kinds=("lone wish", "cut"), is_hasty=True),
    ),
    PlantedBug(
        "no help on STATUS",
        "consensus/repair.py",
        "elif status.height < chain.height:",
        "elif False:",
        "a validator that is one block behind is helped by nobody until catch-up finds it (L4)",
        Hunt(kinds=("cut", "crash", "freeze")),
    ),
    PlantedBug(
        "sign before persist",
        "consensus/state.py",
        "        self.outbox.records.append(record)\n",
        "        if record.kind is not RecordKind.COMMIT:\n            self.outbox.records.append(record)\n",
        "a COMMIT leaves that a crash makes its author forget (1.9, Tendermint #10108)",
    ),
    PlantedBug(
        "promise not persisted",
        "consensus/view_changer.py",
        "state.outbox.records.append(Record(RecordKind.VIEW_CHANGE, message.encode()))",
        "pass",
        "a VIEW-CHANGE leaves that a crash makes its author forget (1.9)",
        Hunt(kinds=_VIEWS),
    ),
    PlantedBug(
        "bodies not pinned",
        "consensus/records.py",
        "frozenset({RecordKind.PREPARE, RecordKind.COMMIT, RecordKind.DECIDED})",
        "frozenset({RecordKind.DECIDED})",
        "a vote outlives a crash, and what it is for does not (U5)",
        Hunt(kinds=_CRASHES),
    ),
    PlantedBug(
        "commit record without header",
        "consensus/restore.py",
        "self._agreement.hold_prepared(commit.header, commit.prepared)",
        "pass",
        "after a crash the PC behind a COMMIT is not held (U5)",
        Hunt(kinds=(*_CRASHES, "cut")),
    ),
    PlantedBug(
        "only the last record",
        "consensus/restore.py",
        "for record in records:",
        "for record in list(records)[-1:]:",
        "SmartBFT state.Restore: all but the last thing is forgotten (1.9)",
        Hunt(kinds=_CRASHES),
    ),
    PlantedBug(
        "view forgotten",
        "consensus/restore.py",
        "self._view_changer.adopt(epoch.new_view, plan_of_own_record(state.epoch, epoch.new_view))",
        "pass",
        "a node comes back in view 0 (B14)",
        Hunt(kinds=(*_CRASHES, "cut")),
    ),
    PlantedBug(
        "votes before caught up",
        "consensus/state.py",
        "and self.chain.height >= self.catch_up_to",
        "",
        "a node votes again for heights that it decided before a crash (A4)",
        Hunt(kinds=("crash", "crash in an action", "slow disk"), is_long=True),
    ),
    PlantedBug(
        "checkpoint without votes",
        "consensus/restore.py",
        "records.extend(state.own_records[height].by_block.values())",
        "pass",
        "the log rolls, and votes in flight are gone (U7)",
        Hunt(kinds=_CRASHES),
    ),
    PlantedBug(
        "checkpoint without view",
        "consensus/restore.py",
        "records.append(Record(RecordKind.NEW_VIEW, state.new_view))",
        "pass",
        "the log rolls, and the view, its floor and the promise not to vote below are gone (U7)",
        Hunt(kinds=(*_CRASHES, "cut"), is_hasty=True),
    ),
    PlantedBug(
        "guard without floor",
        "consensus/guard.py",
        "if statement.height <= self._floor:",
        "if False:",
        "the signer signs for a height that is decided (U7)",
    ),
    PlantedBug(
        "guard without promise",
        "consensus/guard.py",
        "if statement.view < promise:",
        "if False:",
        "the signer signs in a view it left (U7)",
        Hunt(kinds=_VIEWS),
    ),
    PlantedBug(
        "two results",
        "consensus/guard.py",
        "if result is not None and result[1] != statement.result_hash:",
        "if False:",
        "the signer signs two results for one block (U12)",
    ),
    PlantedBug(
        "two votes in a slot",
        "consensus/guard.py",
        "if signed[0] != statement.data:",
        "if False:",
        "the signer answers for another block with the old signature (1.9)",
    ),
    PlantedBug(
        "torn tail kept",
        "storage/wal.py",
        "        files.truncate(descriptor, content.size_bytes)",
        "        pass",
        "records are written behind a torn one (1.9, Tendermint #3295)",
        Hunt(kinds=_CRASHES),
    ),
    PlantedBug(
        "checksums ignored",
        "storage/wal_format.py",
        "if crc32(content, _seed(salt, offset, length, content[0])) != checksum:",
        "if False:",
        "a torn record is taken for a whole one (1.9)",
        Hunt(kinds=_CRASHES),
    ),
    # Transactions, execution and catch-up
    PlantedBug(
        "verdicts by transaction id",
        "node/verifier.py",
        "return transaction.leaf_hash",
        "return transaction.tx_id",
        "a copy with a signature that is none passes for the good one (U8)",
        Hunt(liars=("resigning-primary",)),
    ),
    PlantedBug(
        "nonces not checked",
        "execution/executor.py",
        "if used_until is not None and used_until > parent_timestamp_ms:",
        "if False:",
        "a payment executes twice (U9)",
        Hunt(liars=("repeating-primary",)),
    ),
    PlantedBug(
        "executed on the store",
        "node/applier.py",
        "execution = self._executor.execute(branch, parent_result, header, transactions)",
        "execution = self._executor.execute(self._store.state, parent_result, header, transactions)",
        "results depend on what is decided where (L14)",
    ),
    PlantedBug(
        "proposed twice in flight",
        "mempool.py",
        "if leaf in exclude or entry.key in exclude:",
        "if False:",
        "a primary proposes what its branch holds already (SmartBFT #500)",
    ),
    PlantedBug(
        "not returned to the pool",
        "node/driver.py",
        "        self._hold(header, BlockBody(header.hash, tuple(batch)))\n",
        "        self._hold(header, BlockBody(header.hash, tuple(batch)))\n"
        "        self._pool.discard([transaction.leaf_hash for transaction in batch])\n",
        "FISCO #4198, #4308: a view change drops a block, and its transactions with it (1.8)",
        Hunt(kinds=_VIEWS),
    ),
)


def bug_named(name: str) -> PlantedBug:
    """The bug of that name. Raises KeyError."""
    return {bug.name: bug for bug in BUGS}[name]
