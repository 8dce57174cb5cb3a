"""Replicas on a bench: every message handed over by the test, and a forger who holds all keys.

``Cluster`` asks what happens under random faults; ``ReplicaLab`` asks what one replica does after exactly these
messages. Bodies are always at hand and execution is immediate unless a test says otherwise. Nothing a replica sends is
delivered by itself: the test reads ``sent`` and delivers what its schedule says. Byzantine validators are not replicas
but the lab's builders (``prepare``, ``commit``, ``view_change``, ``new_view`` ...), which sign anything for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dawan_node.consensus import (
    Alarm,
    ChannelRules,
    Decided,
    Evidence,
    Head,
    ProposalSlot,
    Record,
    Replica,
    ReplicaConfig,
    SyncRequest,
    Timers,
)
from dawan_node.consensus.messages import (
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    Suspect,
    SuspectEntry,
    ViewChange,
    decode_message,
    new_view_bytes,
    suspect_bytes,
    view_change_bytes,
)
from dawan_node.consensus.ready import Acquire, Execute
from dawan_node.consensus.signer import NEW_VIEW_TAG, SUSPECT_TAG, VIEW_CHANGE_TAG
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import ZERO_HASH, domain_separated, sha256
from dawan_node.crypto.signatures import ED25519
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    bitmap_of,
    commit_vote_bytes,
    prepare_vote_bytes,
)
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.simulated_node import CREATED_MS, TestSigner, fake_signature, fake_verify, test_keys

START_MS = CREATED_MS + 1_000_000

M = TypeVar("M")


@dataclass(slots=True)
class Bench:
    """One replica, and everything it wanted so far."""

    index: int
    signer: TestSigner | None
    replica: Replica
    records: list[Record] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)
    addressed: list[tuple[tuple[int, ...] | None, Message]] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    acquire: list[Acquire] = field(default_factory=list)
    execute: list[Execute] = field(default_factory=list)
    discarded: list[bytes] = field(default_factory=list)
    released: list[bytes] = field(default_factory=list)
    syncs: list[SyncRequest] = field(default_factory=list)
    results: dict[bytes, Result] = field(default_factory=dict)
    withheld: set[bytes] = field(default_factory=set)
    holds_results: bool = False
    junk: bool = False

    def all_sent(self, kind: type[M]) -> list[M]:
        """Every message of one kind this replica sent."""
        return [message for message in self.sent if isinstance(message, kind)]

    def votes(self, kind: type[Prepare] | type[Commit]) -> list[tuple[int, int, bytes]]:
        """(view, height, block hash) of its own votes that it sent; a PRE-PREPARE counts as the PREPARE it carries."""
        found = [(m.view, m.height, m.block_hash) for m in self.sent if isinstance(m, kind) and m.voter == self.index]
        if kind is Prepare:
            found += [(m.view, m.header.height, m.header.hash) for m in self.all_sent(PrePrepare)]
        return found


class ReplicaLab:
    """A channel of ``n`` validators whose primary of view v is v mod n, with replicas for the ``honest`` ones."""

    def __init__(
        self, n: int = 4, honest: Sequence[int] = (0, 1, 2), *, window: int = 4, timers: Timers | None = None
    ) -> None:
        self.keys = test_keys(max(n, 7))[:n]
        self.validators = ValidatorSet([(ED25519, key.public_key) for key in self.keys])
        self.chain_id = next(
            chain_id
            for chain_id in (sha256(b"lab %d" % number) for number in range(1_000))
            if self.validators.primary(chain_id, 0, 0) == 0
        )
        self.rules = ChannelRules(self.validators, window, 1_000, 4 * 1024 * 1024)
        self.config = ReplicaConfig(self.chain_id, CREATED_MS, timers or Timers(), fake_verify)
        self.genesis_result = Result(0, self.chain_id, ZERO_HASH, ZERO_HASH, ZERO_HASH, self.validators.hash)
        self.now = START_MS
        self.epoch = 0
        self.headers: dict[str, Header] = {}
        self.next_rules: dict[bytes, ChannelRules] = {}
        self.benches: dict[int, Bench] = {}
        for index in honest:
            self.start(index)

    # --- replicas ----------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """The head before block 1."""
        base = (0, self.chain_id)
        return Head(0, self.chain_id, None, self.genesis_result, None, (), 0, self.rules, base)

    def start(self, index: int, records: Sequence[Record] = (), head: Head | None = None) -> Bench:
        """(Re)start the replica of validator ``index`` from ``records``, as a crash leaves it."""
        signer = TestSigner(self.keys[index], self.chain_id)
        signer.guard.restore(records)
        restored = [Record(record.kind, record.payload) for record in records]
        replica = Replica(self.config, signer, head or self.head(), restored, self.now)
        old = self.benches.get(index)
        bench = self.benches[index] = Bench(index, signer, replica, list(records))
        if old is not None:
            bench.results = old.results
        self.pump(index)
        return bench

    def observe(self, index: int = -1) -> Bench:
        """A replica without a key, under ``index``."""
        bench = self.benches[index] = Bench(index, None, Replica(self.config, None, self.head(), (), self.now))
        self.pump(index)
        return bench

    def __getitem__(self, index: int) -> Bench:
        return self.benches[index]

    def pump(self, index: int) -> None:
        """Do what the replica's ``Ready`` says, except delivering its messages."""
        bench = self.benches[index]
        while ready := bench.replica.ready():
            bench.records.extend(ready.records)
            for outgoing in ready.messages:
                message = decode_message(outgoing.payload)
                bench.sent.append(message)
                bench.addressed.append((outgoing.to, message))
            bench.decided.extend(ready.decide)
            bench.alarms.extend(ready.alarms)
            bench.evidence.extend(ready.evidence)
            bench.acquire.extend(ready.acquire)
            bench.execute.extend(ready.execute)
            bench.discarded.extend(ready.discard)
            bench.released.extend(ready.release)
            if ready.sync is not None:
                bench.syncs.append(ready.sync)
            for request in ready.acquire:
                if request.block_hash not in bench.withheld:
                    bench.replica.acquired(request.block_hash, True)
            for execute in ready.execute:
                if not bench.holds_results:
                    self.execute(index, execute)
            for decided in ready.decide:
                bench.replica.applied(decided.header.height)

    def execute(self, index: int, request: Execute) -> None:
        """Give the replica the result of a block."""
        bench = self.benches[index]
        result = self.result(request.header, junk=bench.junk)
        bench.results[request.block_hash] = result
        rules = self.next_rules.get(request.block_hash)
        if rules is None and request.header.barrier:
            rules = self.rules
        bench.replica.executed(request.block_hash, result, rules)

    def give_bodies(self, index: int, block_hash: bytes, ok: bool = True, reason: str = "") -> None:
        """Answer an ``Acquire`` that was withheld."""
        self.benches[index].withheld.discard(block_hash)
        self.benches[index].replica.acquired(block_hash, ok, reason)
        self.pump(index)

    def deliver(self, message: Message, *receivers: int, link: int | None = None) -> None:
        """Hand a message over, on its author's own link unless ``link`` says whose."""
        author = getattr(message, "voter", None) if link is None else link
        if author is None and isinstance(message, PrePrepare):
            author = self.primary(message.view)
        if author is None and isinstance(message, NewView):
            author = self.primary(message.new_view)
        for receiver in receivers:
            self.benches[receiver].replica.step(message.encode(), author, self.now)
            self.pump(receiver)

    def tick(self, elapsed_ms: int, *indexes: int) -> None:
        """Let time pass in steps of 100 ms for these replicas (all when none is named)."""
        for _ in range(elapsed_ms // 100):
            self.now += 100
            for index in indexes or tuple(self.benches):
                self.benches[index].replica.tick(self.now)
                self.pump(index)

    def propose(self, index: int, name: str, barrier: bool = False) -> Header:
        """Have the primary propose block ``name``; its header is also ``block(name)`` from then on."""
        bench = self.benches[index]
        slot = bench.replica.proposal_slot()
        assert slot is not None, f"validator {index} may not propose now"
        header = self.propose_at(index, slot, name, barrier)
        assert header is not None
        return header

    def propose_at(self, index: int, slot: ProposalSlot, name: str, barrier: bool = False) -> Header | None:
        """Propose at ``slot`` whatever the replica thinks of it."""
        header = self.benches[index].replica.propose(slot, self.leaves(name), 250, barrier, self.now)
        if header is not None:
            self.headers[name] = header
        self.pump(index)
        return header

    # --- blocks ------------------------------------------------------------------------------------------------

    def primary(self, view: int) -> int:
        """The primary of ``view`` in the lab's epoch."""
        return self.validators.primary(self.chain_id, self.epoch, view)

    def leaves(self, name: str) -> tuple[bytes, ...]:
        """The transactions of block ``name``."""
        return (sha256(name.encode()),)

    def block(self, name: str, parent: str | None = None, proposer: int = 0, **changes: object) -> Header:
        """Block ``name``: its path is its name, so "ab" stands on "a" (amendments section 4); capitals are barriers."""
        known = self.headers.get(name)
        if known is not None and not changes:
            return known
        below = name[:-1] if parent is None else parent
        height = 1 if not below else self.block(below).height + 1
        header = Header(
            1,
            self.chain_id,
            self.epoch,
            height,
            self.block(below).hash if below else self.chain_id,
            merkle.root(self.leaves(name)),
            1,
            250,
            self.now + height,
            proposer,
            self.validators.hash,
            name[-1].isupper(),
        )
        if changes:
            fields = {key: getattr(header, key) for key in Header.__struct_fields__} | changes
            return Header(**fields)
        self.headers[name] = header
        return header

    def result(self, header: Header, junk: bool = False) -> Result:
        """The result of a block: a function of its hash (its branch) alone."""
        parent = next((h for h in self.headers.values() if h.hash == header.parent_hash), None)
        below = self.genesis_result if parent is None else self.result(parent)
        rules = self.next_rules.get(header.hash)
        valset_hash = header.valset_hash if rules is None else rules.validators.hash
        root = sha256(b"junk" + header.hash) if junk else sha256(header.hash)
        return Result(header.height, header.hash, below.hash, root, ZERO_HASH, valset_hash)

    # --- the forger --------------------------------------------------------------------------------------------

    def sign(self, voter: int, tag: bytes, data: bytes) -> bytes:
        """The signature of any validator over anything."""
        return fake_signature(self.keys[voter].public_key, domain_separated(tag, data))

    def pre_prepare(self, view: int, name: str, **changes: object) -> PrePrepare:
        """The primary's proposal of block ``name``."""
        header = self.block(name, **({"proposer": self.primary(view)} | changes))  # type: ignore[arg-type]
        data = prepare_vote_bytes(self.chain_id, header.epoch, view, header.height, header.hash)
        return PrePrepare(view, header, self.leaves(name), self.sign(self.primary(view), PREPARE_TAG, data))

    def prepare(self, voter: int, view: int, name: str) -> Prepare:
        """A PREPARE."""
        header = self.block(name)
        data = prepare_vote_bytes(self.chain_id, header.epoch, view, header.height, header.hash)
        signature = self.sign(voter, PREPARE_TAG, data)
        return Prepare(header.epoch, view, header.height, header.hash, voter, signature)

    def commit(self, voter: int, view: int, name: str, junk: bool = False) -> Commit:
        """A COMMIT with the right result, or with a junk one."""
        header = self.block(name)
        result_hash = self.result(header, junk).hash
        data = commit_vote_bytes(self.chain_id, header.epoch, view, header.height, header.hash, result_hash)
        signature = self.sign(voter, COMMIT_TAG, data)
        return Commit(header.epoch, view, header.height, header.hash, result_hash, voter, signature)

    def prepared(self, view: int, name: str, voters: Sequence[int]) -> PreparedCertificate:
        """A PC signed by ``voters``."""
        header = self.block(name)
        signatures = [self.prepare(voter, view, name).signature for voter in voters]
        bitmap = bitmap_of(voters, len(self.keys))
        return PreparedCertificate(header.epoch, view, header.height, header.hash, bitmap, signatures)

    def certificate(self, view: int, name: str, voters: Sequence[int], junk: bool = False) -> CommitCertificate:
        """A commit certificate signed by ``voters``."""
        header = self.block(name)
        signatures = [self.commit(voter, view, name, junk).signature for voter in voters]
        bitmap = bitmap_of(voters, len(self.keys))
        result_hash = self.result(header, junk).hash
        return CommitCertificate(header.epoch, view, header.height, header.hash, result_hash, bitmap, signatures)

    def suspect(self, voter: int, view: int) -> Suspect:
        """A wish for ``view``."""
        data = suspect_bytes(self.chain_id, self.epoch, view)
        return Suspect(self.epoch, view, voter, self.sign(voter, SUSPECT_TAG, data))

    def suspects(self, view: int, voters: Sequence[int]) -> tuple[SuspectEntry, ...]:
        """A SuspectCert."""
        return tuple(SuspectEntry(voter, view, self.suspect(voter, view).signature) for voter in sorted(voters))

    def view_change(
        self,
        voter: int,
        view: int,
        last: tuple[str, CommitCertificate] | None = None,
        prepared: Sequence[tuple[str, PreparedCertificate]] = (),
        *,
        suspects: tuple[SuspectEntry, ...] | None = None,
        epoch: int | None = None,
    ) -> ViewChange:
        """A VIEW-CHANGE saying whatever the test wants."""
        if suspects is None:
            suspects = self.suspects(view, range(self.validators.q))
        tops = () if last is None else ((self.block(last[0]), last[1]),)
        entries = tuple((self.block(name), certificate) for name, certificate in prepared)
        number = self.epoch if epoch is None else epoch
        draft = ViewChange(number, view, suspects, tops, entries, voter, bytes(64))
        signature = self.sign(voter, VIEW_CHANGE_TAG, view_change_bytes(self.chain_id, draft))
        return ViewChange(number, view, suspects, tops, entries, voter, signature)

    def new_view(self, view: int, view_changes: Sequence[ViewChange], entries: Sequence[str]) -> NewView:
        """A NEW-VIEW of the primary of ``view`` that proposes ``entries`` again."""
        primary = self.primary(view)
        chosen = tuple(message.encode() for message in sorted(view_changes, key=lambda m: m.voter))
        prepares = tuple(self.prepare(primary, view, name).signature for name in entries)
        draft = NewView(self.epoch, view, chosen, prepares, bytes(64))
        signature = self.sign(primary, NEW_VIEW_TAG, new_view_bytes(self.chain_id, draft))
        return NewView(self.epoch, view, chosen, prepares, signature)

    # --- common passages of a schedule -------------------------------------------------------------------------

    def change_view(self, view: int, *indexes: int) -> None:
        """Have these replicas target ``view``, by wishes of a quorum in a forged VIEW-CHANGE of another voter."""
        others = [voter for voter in range(self.validators.n) if voter not in indexes]
        self.now += self.config.timers.view_change_interval_ms  # the previous VIEW-CHANGE of this voter is older
        for index in indexes:
            self.deliver(self.view_change(others[-1], view), index)
            assert self.benches[index].replica.status().target == view

    def view_change_of(self, index: int) -> ViewChange:
        """The last VIEW-CHANGE a replica sent."""
        return self.benches[index].all_sent(ViewChange)[-1]

    def prepare_everywhere(self, view: int, name: str, receivers: Sequence[int], voters: Sequence[int]) -> None:
        """Deliver the PREPAREs of ``voters`` for a block to ``receivers``."""
        for receiver in receivers:
            for voter in voters:
                if voter != receiver:
                    self.deliver(self.prepare(voter, view, name), receiver)

    def decide(self, view: int, name: str, receivers: Sequence[int], voters: Sequence[int]) -> None:
        """Take a block from proposal to decision at ``receivers`` with the votes of ``voters``."""
        for receiver in receivers:
            if receiver != self.primary(view):
                self.deliver(self.pre_prepare(view, name), receiver)
        self.prepare_everywhere(view, name, receivers, voters)
        for receiver in receivers:
            for voter in voters:
                if voter != receiver:
                    self.deliver(self.commit(voter, view, name), receiver)
