"""What no simulation may ever show, looked at while it runs (reliability.md section 2, I1 to I7).

The checks hold honest nodes to the rules; of liars they only learn what honest nodes accepted from them.

- *Agreement*: one block, one result, one certified value per height, whoever stores or proves it.
- *One signature per slot*, across restarts.
- *Durable before sent*: nothing signed leaves before the log has synced it, and what the log synced is there after a
  crash.
- *Exactly once*: no transaction id twice on the chain; the whole chain re-executes to the same roots.
- *Equal results*: honest COMMITs for one block carry one result.
- *Bounded memory*: every table of a node stays within what its rules allow.
- *Rules*: whatever a node writes into its log keeps the rules of the protocol (``rules``), and its signer refuses what
  contradicts it (``temptation``).
- *Fairness*: nobody refuses an honest proposal, or judges the time of a block that is proposed again; a pool keeps what
  it took until it is on the chain.
- *Duties*: a wish that lasts is repeated, and whoever says that it is behind is helped (``duties``).
- *Innocence*: no evidence against an honest node, no alarm that honest nodes never raise among honest ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dawan_node.consensus import Alarm, AlarmKind, Decided, Ready, Record
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    NewView,
    Prepare,
    PrePrepare,
    Suspect,
    ViewChange,
    decode_message,
)
from dawan_node.consensus.records import SHELL_KINDS_FROM, CommitRecord, PrepareRecord, RecordKind, recorded_height
from dawan_node.consensus.signer import SUSPECT_TAG
from dawan_node.node.bodies import BODIES_RECORD, RETIRED_MAX, BlockBody
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, PREPARE_TAG, CommitCertificate
from dawan_node.primitives.transaction import Transaction
from dawan_node.storage.wal import WalRecord
from dawan_node.sync.catch_up import BATCH_BLOCKS, BATCHES_MAX
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.simulator.contract import is_signed
from dawan_node.testing.simulator.duties import Duties
from dawan_node.testing.simulator.rules import Rules
from dawan_node.testing.simulator.temptation import Temptation
from dawan_node.testing.simulator.world import Violation

if TYPE_CHECKING:
    from dawan_node.testing.simulator.node import SimulatedNode
    from dawan_node.testing.simulator.scene import Scene

#: A wish is forgotten at the next input; there is one each second at least.
LATE_MS: Final = 1_500

#: What no honest node reports while at most f lie: the replica asks only for what its guard would sign, and two
#: certificates for one height take more than f.
_NEVER: Final = frozenset(
    {
        AlarmKind.HALTED,
        AlarmKind.QUARANTINE,
        AlarmKind.RESULTS_DIFFER,
        AlarmKind.CERTIFIED_REFUSED,
        AlarmKind.OWN_KEY_ELSEWHERE,
        AlarmKind.SIGNING_REFUSED,
    }
)


class Checks:
    """The judge of one scene. ``is_lenient``: more than f lie, so forks and alarms are counted, not raised."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._decided: dict[int, tuple[bytes, bytes]] = {}
        self._signed: dict[tuple[bytes, str, int, int, int], bytes] = {}
        self._results: dict[bytes, bytes] = {}
        self._transactions: dict[bytes, int] = {}
        self.evidence: set[tuple[str, str]] = set()
        self.alarms: set[tuple[str, AlarmKind]] = set()
        self.is_lenient = False
        self.rules = Rules(scene)
        self.duties = Duties(scene)
        self.temptation = Temptation(scene.genesis.chain_id)

    @property
    def top(self) -> int:
        """The highest height anybody honest has decided."""
        return max(self._decided, default=0)

    # What a replica wants

    def wanted(self, node: SimulatedNode, ready: Ready) -> None:
        """Everything of one ``Ready``, before it is carried out."""
        if not node.is_honest:
            return
        if ready.records:
            self.rules.writes(node, ready.records)
        self.duties.wanted(node, ready)
        for alarm in ready.alarms:
            self.alarms.add((node.name, alarm.kind))
            self._scene.world.note(f"alarm {node.number} {alarm.kind}")
            self._scene.world.counts[f"alarm: {alarm.kind}"] += 1
            self._scene.world.say(f"{node.name} {alarm.kind}: {alarm.text} {dict(alarm.fields)}")
            if node.is_forgetful and alarm.kind in (AlarmKind.OWN_KEY_ELSEWHERE, AlarmKind.HALTED):
                continue  # what it should do; ``SimulatedNode.halted`` sees to the rest
            if alarm.kind in _NEVER and not self.is_lenient:
                raise Violation(f"{node.name} reports {alarm.kind}: {alarm.text} {dict(alarm.fields)}")
            if alarm.kind in (AlarmKind.PROPOSAL_REFUSED, AlarmKind.CLOCK_DIFFERS):
                self._is_fair(node, alarm)
        for evidence in ready.evidence:
            accused = self._scene.name_of_validator(evidence.epoch, evidence.voter)
            self.evidence.add((accused, evidence.kind.value))
            self._scene.world.counts["evidence"] += 1
            self._scene.world.say(f"{node.name} has evidence against {accused}: {evidence.kind}")
            if any(other.is_honest for other in self._scene.nodes_called(accused)):
                raise Violation(f"{node.name} has evidence ({evidence.kind}) against honest {accused}")
        for decided in ready.decide:
            self._check_decided(node, decided)

    def _is_fair(self, node: SimulatedNode, alarm: Alarm) -> None:
        """A proposal was refused: not one of an honest primary, and not for the time of a block that O brought."""
        fields = dict(alarm.fields)
        height = fields["height"]
        assert node.life is not None
        state = node.life.replica._state
        slot = state.log.slots.get(int(height))
        if slot is None or slot.view != fields["view"]:
            return  # the view has changed since, and with it who proposed
        if slot.reproposed:
            raise Violation(f"{node.name} judges the block proposed again at height {height}: {alarm.text} (B13)")
        primary = self._scene.name_of_validator(state.chain.epoch, state.primary(slot.view))
        if alarm.kind is AlarmKind.PROPOSAL_REFUSED and all(
            other.is_honest for other in self._scene.nodes_called(primary)
        ):
            raise Violation(f"{node.name} refuses the proposal of honest {primary} at height {height}: {alarm.text}")

    def _check_decided(self, node: SimulatedNode, decided: Decided) -> None:
        self._is_final(node, decided.header, decided.result)
        for header, result in decided.links:
            self._is_final(node, header, result)
        self.certified(node, decided.certificate)
        header = decided.header
        self._scene.world.note(f"decides {node.number}", decided.block_hash)
        if self._scene.world.is_told:
            how = f"view {decided.certificate.view}{', synced' if decided.synced else ''}"
            self._scene.world.say(
                f"{node.name} decides height {header.height}: {decided.block_hash.hex()[:8]}"
                f" ({header.tx_count} transactions, {how})"
            )

    def _is_final(self, node: SimulatedNode, header: Header, result: Result) -> None:
        self._agree(node, header.height, header.hash, result.hash)

    def certified(self, node: SimulatedNode, certificate: CommitCertificate) -> None:
        """A certificate that an honest node acts on."""
        self._agree(node, certificate.height, certificate.block_hash, certificate.result_hash)

    def _agree(self, node: SimulatedNode, height: int, block_hash: bytes, result_hash: bytes) -> None:
        known = self._decided.setdefault(height, (block_hash, result_hash))
        if known != (block_hash, result_hash):
            self._scene.world.counts["fork"] += 1
            if self.is_lenient:
                return
            raise Violation(
                f"fork at height {height}: {node.name} has block {block_hash.hex()[:8]} result {result_hash.hex()[:8]},"
                f" others block {known[0].hex()[:8]} result {known[1].hex()[:8]}"
            )

    # What leaves

    def sent(self, node: SimulatedNode, payload: bytes) -> None:
        """A consensus message of an honest node is about to leave."""
        message = decode_message(payload)
        key = node.key.public_key
        match message:
            case PrePrepare():
                header = message.header
                if key != self._scene.primary_key(header.epoch, message.view):
                    return  # passed on
                self._once(node, "PREPARE", header.epoch, message.view, header.height, header.hash)
                vote = Prepare(
                    header.epoch, message.view, header.height, header.hash, header.proposer, message.signature
                )
                self._leaves(node, vote)
            case Prepare():
                if self._scene.key_of_validator(message.epoch, message.voter) != key:
                    return  # the primary's, shown to whoever accepted another block
                self._once(node, "PREPARE", message.epoch, message.view, message.height, message.block_hash)
                self._leaves(node, message)
            case Commit():
                value = message.block_hash + message.result_hash
                self._once(node, "COMMIT", message.epoch, message.view, message.height, value)
                if self._results.setdefault(message.block_hash, message.result_hash) != message.result_hash:
                    raise Violation(f"{node.name} signs another result than others for {message.block_hash.hex()[:8]}")
                self._leaves(node, message)
            case Suspect():
                self.rules.binds(node, SUSPECT_TAG, [message.epoch, message.new_view], message.signature)
                self.duties.wishes(node, message)
            case ViewChange():
                if self._scene.key_of_validator(message.epoch, message.voter) != key:
                    return  # forwarded
                self._once(node, "VIEW-CHANGE", message.epoch, message.new_view, 0, payload)
                self._is_durable(node, message.signature, "VIEW-CHANGE")
            case NewView():
                if key == self._scene.primary_key(message.epoch, message.new_view):
                    self._once(node, "NEW-VIEW", message.epoch, message.new_view, 0, payload)
                    self._is_durable(node, message.signature, "NEW-VIEW")
            case Decision():
                self._is_final(node, message.header, message.result)
                self.certified(node, message.certificate)

    def _once(self, node: SimulatedNode, kind: str, epoch: int, view: int, height: int, value: bytes) -> None:
        known = self._signed.setdefault((node.key.public_key, kind, epoch, view, height), value)
        if known != value:
            raise Violation(f"{node.name} signed two {kind}s for epoch {epoch} view {view} height {height}")

    def _leaves(self, node: SimulatedNode, vote: Prepare | Commit) -> None:
        """A vote leaves; the first time it is looked at closely."""
        if vote.signature in node.sent:
            return
        statement: list[int | bytes] = [vote.epoch, vote.view, vote.height, vote.block_hash]
        if isinstance(vote, Commit):
            statement.append(vote.result_hash)
        self.rules.binds(node, COMMIT_TAG if isinstance(vote, Commit) else PREPARE_TAG, statement, vote.signature)
        self._is_durable(node, vote.signature, type(vote).__name__.upper())
        self.temptation.sent(node, vote)

    def _is_durable(self, node: SimulatedNode, signature: bytes, what: str) -> None:
        """The log has synced it, now or when it left for the first time (old votes leave the log with a checkpoint)."""
        if signature in node.sent:
            return
        if not any(signature in record.payload for record in (*reversed(node.promised), *node.retired)):
            raise Violation(f"{node.name} sends a {what} that its log has not synced")
        node.sent.add(signature)

    def recovered(self, node: SimulatedNode, records: Sequence[WalRecord]) -> None:
        """A node comes back: everything its log ever promised since the last checkpoint must be there."""
        found = set(records)
        missing = [record for record in node.promised if record not in found]
        if node.rolling is not None and found.issuperset(node.rolling):
            missing = []  # power failed after the new segment had replaced the old one
        node.rolling = None
        if missing and not (self.is_lenient and node.disk_habits.forgets):
            raise Violation(f"{len(missing)} synced records of {node.name} are gone after a crash")
        node.promised = list(records)
        self.rules.recovered(node, {(record.kind, record.payload) for record in records})
        if node.is_honest:
            self._is_pinned(node, records)

    def forget(self, node: SimulatedNode) -> None:
        """The log of ``node`` is gone, and with it what this node's rules go by. What left it stays on record."""
        self.rules.forget(node)

    def _is_pinned(self, node: SimulatedNode, records: Sequence[WalRecord]) -> None:
        """Whoever holds its vote for an undecided block also holds the block (U5)."""
        own = [Record(RecordKind(record.kind), record.payload) for record in records if record.kind < SHELL_KINDS_FROM]
        decided = recorded_height(own) or 0
        held = {
            BlockBody.decode_record(record.payload).block_hash for record in records if record.kind == BODIES_RECORD
        }
        for record in own:
            if record.kind is RecordKind.PREPARE:
                header = PrepareRecord.decode(record.payload).header
            elif record.kind is RecordKind.COMMIT:
                header = CommitRecord.decode(record.payload).header
            else:
                continue
            if header.height > decided and header.hash not in held:
                raise Violation(f"{node.name} holds its vote for height {header.height}, and not what it is for (U5)")

    # Memory

    def measure(self, node: SimulatedNode) -> None:
        """Every table of an honest node within its bound (consensus.md 1.14)."""
        life = node.life
        if life is None or not node.is_honest:
            return
        state = life.replica._state
        n, w = state.validators.n, self._scene.widest_window  # tables shrink with the next decision
        # A store that was behind its log: what was decided before the restart is decided again.
        again = max(0, state.catch_up_to - state.chain.height)
        bounds = {
            "slots": (len(state.log.slots) + len(state.log.older), 6 * w),
            "votes for later": (sum(len(votes) for votes in state.log._later.values()), 4 * w * n),
            "blocks": (len(state.tree.blocks()), 6 * w + 2),
            "certificates": (len(state.chain.certificates), 2 * self._scene.widest_window),
            "proven blocks": (len(state.chain.proven), 2 * w + 64),
            "recent blocks": (len(state.chain.recent), 2 * w + 1),
            "prepared": (len(state.prepared), 3 * w + again),
            "own records": (sum(len(own.by_block) for own in state.own_records.values()), 16 * w),
            "view changes": (len(life.replica._view_changer.view_changes), n),
            "wishes": (len(life.replica._suspicion.wishes._wishes), n),
            "refusals": (len(state._refused), 8 * w),
            "evidence": (len(state._evidence), 256),
            "bodies": (len(life.channel._bodies), RETIRED_MAX + 8 * w + 2 + BATCHES_MAX * BATCH_BLOCKS),
            # By itself: what catch-up may hold at once would hide some hundred of them.
            "released bodies": (len(life.channel._bodies._retired), RETIRED_MAX),
            "blocks in flight": (len(life.channel.driver._in_flight), 8 * w + 2 + BATCHES_MAX * BATCH_BLOCKS),
        }
        for what, (size, most) in bounds.items():
            if size > most:
                raise Violation(f"{node.name} holds {size} {what}, at most {most}")
        self._keeps_time(node)
        self.duties.measure(node)
        self._keeps_pool(node)
        if node.is_forgetful:
            return  # it cannot keep, or be tempted to break, what it does not know; that it signs nothing twice counts
        account = self.rules.account(node)
        if account.floor[:2] == (state.chain.epoch, state.view) and state.base.height != account.floor[2]:
            kept, due = state.base.height, account.floor[2]
            raise Violation(f"{node.name} keeps floor {kept} in view {state.view}, not {due} (U2)")
        self.temptation.tempt(node, account.height, account.sworn)

    def _keeps_time(self, node: SimulatedNode) -> None:
        """No timer beyond the cap, no wish beyond its time (consensus.md 1.7, L10)."""
        assert node.life is not None
        state, suspicion = node.life.replica._state, node.life.replica._suspicion
        awaited = suspicion._new_view_deadline
        if awaited is not None and awaited > state.clock + state.timers.view_max_ms:
            raise Violation(f"{node.name} waits {awaited - state.clock} ms for a NEW-VIEW, at most the cap")
        late = [wish for wish in suspicion.wishes._wishes.values() if wish.expires_at < state.clock - LATE_MS]
        if late and suspicion.may_change_view():
            raise Violation(f"{node.name} counts a wish that expired {state.clock - late[0].expires_at} ms ago (L10)")

    def _keeps_pool(self, node: SimulatedNode) -> None:
        """What the pool took waits there until it is on the chain (FISCO #4198, #4308)."""
        life = node.life
        assert life is not None
        blocks = life.channel.store.blocks
        for tx_id, leaf in list(life.taken.items()):
            if leaf in life.channel.pool:
                continue
            if blocks.find_tx(tx_id) is None:
                raise Violation(f"{node.name} took transaction {tx_id.hex()[:8]} and has lost it")
            del life.taken[tx_id]

    # The end

    def compare(self, nodes: Sequence[SimulatedNode]) -> None:
        """Honest nodes have stored the same bytes, nothing twice, and re-executing them gives the same roots."""
        stores = [node.channel.store for node in nodes]
        genesis, blocks = self._scene.genesis, stores[0].blocks
        executor, state = nodes[0].channel.executor, MemoryState()
        start = executor.genesis_state()
        state.apply(start.changes)
        result, time_ms = start.result, genesis.created_ms
        seen: set[bytes] = set()
        height = stores[0].head.height
        for at in range(1, height + 1):
            header, envelopes, stored = blocks.header(at), blocks.envelopes(at), blocks.result(at)
            if header is None or envelopes is None or stored is None:
                raise Violation(f"{nodes[0].name} has no block {at}")
            for node, store in zip(nodes[1:], stores[1:], strict=True):
                other = store.blocks
                if (other.header(at), other.envelopes(at), other.result(at)) != (header, envelopes, stored):
                    raise Violation(f"{node.name} and {nodes[0].name} have stored different blocks at height {at}")
                if other.receipts(at) != blocks.receipts(at):
                    raise Violation(f"{node.name} and {nodes[0].name} have different receipts at height {at}")
            transactions = [Transaction.decode(envelope) for envelope in envelopes]
            refusal = executor.check_block(state, time_ms, header, transactions)
            if refusal is not None:
                raise Violation(f"block {at} should have been refused: {refusal}")
            execution = executor.execute(state, result, header, transactions)
            if execution.result != stored or execution.receipts != blocks.receipts(at):
                raise Violation(f"block {at} executes to something else the second time")
            state.apply(execution.changes)
            result, time_ms = stored, header.timestamp_ms
            for transaction in transactions:
                if not is_signed(transaction, self._scene.is_real):
                    raise Violation(f"block {at} holds a transaction that its sender did not sign (U8)")
                if transaction.tx_id in seen:
                    raise Violation(f"transaction {transaction.tx_id.hex()[:8]} is on the chain twice")
                seen.add(transaction.tx_id)
        violations = executor.violations(state, height=height, time_ms=time_ms)
        if violations:
            raise Violation(f"the module's invariants are broken: {violations}")
        lost = [tx_id for tx_id in self._scene.promised if tx_id not in seen]
        if lost:
            raise Violation(f"{len(lost)} transactions that a client saw committed are not on the chain")
