"""Crash and restart at every point: nothing signed is forgotten, and nothing else is signed (U5, U7, A4; bug B15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dawan_node.consensus import (
    AlarmKind,
    ChannelRules,
    Record,
    RecordKind,
    Replica,
    SlotGuard,
    recorded_height,
)
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    NewView,
    Prepare,
    PrePrepare,
    Status,
    ViewChange,
    decode_message,
)
from dawan_node.consensus.records import CommitRecord, DecidedRecord, PrepareRecord
from dawan_node.crypto.signatures import ED25519
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import TestSigner, test_keys

Vote = tuple[str, int, int, bytes]


def life_of_a_backup(lab: ReplicaLab, index: int) -> None:
    """Blocks in flight, a decision, a view change with an entry of O, and more votes in the new view."""
    for name in ("a", "ab"):
        lab.deliver(lab.pre_prepare(0, name), index)
    others = [voter for voter in range(4) if voter != index]
    lab.prepare_everywhere(0, "a", [index], others)
    for voter in others:
        lab.deliver(lab.commit(voter, 0, "a"), index)
    lab.prepare_everywhere(0, "ab", [index], others)
    pc = ("ab", lab.prepared(0, "ab", others))
    last = ("a", lab.certificate(0, "a", others))
    lab.now += 1_000
    changes = [lab.view_change(voter, 1, last=last, prepared=[pc]) for voter in others]
    lab.deliver(changes[0], index)
    opening = lab.new_view(1, changes, ["ab"])
    lab.deliver(opening, index)
    lab.prepare_everywhere(1, "ab", [index], others)
    lab.block("abc", proposer=1)
    lab.deliver(lab.pre_prepare(1, "abc"), index)
    lab.prepare_everywhere(1, "abc", [index], others)
    for name in ("ab", "abc"):
        for voter in others:
            lab.deliver(lab.commit(voter, 1, name), index)
    lab.deliver(lab.view_change(others[0], 4, last=("abc", lab.certificate(1, "abc", others))), index)


def life_of_a_primary(lab: ReplicaLab, index: int) -> None:
    """Validator 1 opens view 1 with an entry of O and proposes above it."""
    lab.deliver(lab.pre_prepare(0, "a"), index)
    lab.prepare_everywhere(0, "a", [index], [0, 2, 3])
    for voter in (2, 3):
        lab.deliver(lab.view_change(voter, 1), index)
    lab.prepare_everywhere(1, "a", [index], [2, 3])
    slot = lab[index].replica.proposal_slot()
    if slot is not None:
        lab.propose_at(index, slot, "ab")
        if "ab" in lab.headers:
            lab.prepare_everywhere(1, "ab", [index], [2, 3])


LIVES: dict[str, tuple[int, Callable[[ReplicaLab, int], None]]] = {
    "backup": (3, life_of_a_backup),
    "primary": (1, life_of_a_primary),
}


def votes_of(lab: ReplicaLab, index: int) -> set[Vote]:
    """(kind, view, height, content) of everything signed that was sent."""
    found: set[Vote] = set()
    for message in lab[index].sent:
        match message:
            case PrePrepare():
                found.add(("PREPARE", message.view, message.header.height, message.header.hash))
            case Prepare():
                found.add(("PREPARE", message.view, message.height, message.block_hash))
            case Commit():
                found.add(("COMMIT", message.view, message.height, message.block_hash + message.result_hash))
            case ViewChange():
                found.add(("VIEW-CHANGE", message.new_view, 0, message.encode()))
            case NewView():
                found.add(("NEW-VIEW", message.new_view, 0, message.encode()))
    return found


def assert_no_conflict(votes: set[Vote]) -> None:
    slots: dict[tuple[str, int, int], bytes] = {}
    for kind, view, height, content in sorted(votes):
        assert slots.setdefault((kind, view, height), content) == content, f"two {kind}s for {view}/{height}"


@pytest.mark.parametrize("life", sorted(LIVES))
def test_from_every_prefix_of_the_log_the_same_life_signs_nothing_else(life: str) -> None:
    index, live = LIVES[life]
    lab = ReplicaLab(honest=(index,))
    live(lab, index)
    records = lab[index].records
    first = votes_of(lab, index)
    assert len(records) >= 6 and len(first) >= 5
    assert_no_conflict(first)
    for length in range(len(records) + 1):
        again = ReplicaLab(honest=(index,))
        again.headers = dict(lab.headers)
        again.start(index, records[:length])
        live(again, index)
        # What the lost suffix held was never sent (records first), what the prefix held binds.
        kept = recorded_votes(lab, records[:length])
        assert_no_conflict(votes_of(again, index) | kept)


def recorded_votes(lab: ReplicaLab, records: list[Record]) -> set[Vote]:
    """What a log says was signed."""
    found: set[Vote] = set()
    guard = SlotGuard(lab.chain_id)
    for record in records:
        if record.kind is RecordKind.PREPARE:
            statement = guard.prepare(PrepareRecord.decode(record.payload))
            found.add(("PREPARE", statement.view, statement.height, statement.block_hash))
        elif record.kind is RecordKind.COMMIT:
            statement = guard.commit(CommitRecord.decode(record.payload))
            content = statement.block_hash + statement.result_hash
            found.add(("COMMIT", statement.view, statement.height, content))
        elif record.kind is RecordKind.VIEW_CHANGE:
            message = decode_message(record.payload)
            assert isinstance(message, ViewChange)
            found.add(("VIEW-CHANGE", message.new_view, 0, record.payload))
    return found


@pytest.mark.parametrize("life", sorted(LIVES))
def test_a_checkpoint_restores_what_the_whole_log_restores(life: str) -> None:
    index, live = LIVES[life]
    lab = ReplicaLab(honest=(index,))
    live(lab, index)
    whole = lab[index].records
    short = list(lab[index].replica.checkpoint_records())
    heads = []
    for records in (whole, short):
        lab.start(index, records)
        bench = lab[index]
        status = bench.replica.status()
        heads.append((status.state, status.view, status.target, status.height, status.block_hash))
        guard = bench.signer.guard if bench.signer is not None else None
        assert guard is not None
        heads.append((guard.floor, guard.promise(0)))
    assert heads[:2] == heads[2:]


def test_a_key_that_only_observes_for_a_while_forgets_neither_votes_nor_promises() -> None:
    """``observer = true`` for a day: the log rolls meanwhile, and what it held must bind the votes after that day."""
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1, 2])
    lab.deliver(lab.view_change(0, 1), 3)
    before = lab[3].records
    assert [record.kind for record in before] == [RecordKind.PREPARE, RecordKind.COMMIT, RecordKind.VIEW_CHANGE]
    for _ in range(2):  # two segments
        observer = Replica(lab.config, None, lab.head(), [Record(r.kind, r.payload) for r in before], lab.now)
        kept = list(observer.checkpoint_records())
        assert {(r.kind, r.payload, r.pins) for r in kept} == {(r.kind, r.payload, r.pins) for r in lab[3].records}
        before = kept
    lab.start(3, before)
    signer = lab[3].signer
    assert signer is not None and signer.guard.promise(0) == 1, "it would vote in the view it promised to have left"
    lab.deliver(lab.view_change(0, 2), 3)
    (message,) = lab[3].all_sent(ViewChange)
    assert [header.hash for header, _ in message.prepared] == [lab.block("a").hash]


def test_what_a_key_that_observes_had_signed_is_let_go_when_its_height_is_stored() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1, 2])
    records = [Record(r.kind, r.payload) for r in lab[3].records]
    observer = Replica(lab.config, None, lab.head(), records, lab.now)
    assert sync(lab, observer, "a", (0, 1, 2))
    observer.applied(1)
    assert {record.kind for record in observer.checkpoint_records()} == {RecordKind.SYNCED}


def sync(lab: ReplicaLab, replica: Replica, name: str, voters: tuple[int, ...], view: int = 0) -> bool:
    header = lab.block(name)
    proof = lab.certificate(view, name, voters)
    return replica.decided_by_sync(header, lab.result(header), proof, (), lab.leaves(name), lab.now, None)


@pytest.mark.parametrize("view", [0, 2])
def test_a_synced_block_that_my_key_decided_and_my_log_does_not_know_stops_me(view: int) -> None:
    """A home put back as ``init`` made it, or a backup from before its key had a seat, looks like a first start."""
    lab = ReplicaLab(honest=(3,))
    replica = lab[3].replica
    assert not sync(lab, replica, "a", (0, 1, 3), view)
    assert replica.height == 0, "the log must not come to look as if it knew the block"
    ready = replica.ready()
    assert AlarmKind.OWN_KEY_ELSEWHERE in {alarm.kind for alarm in ready.alarms}
    assert [record.kind for record in ready.records] == [RecordKind.HALTED], "durable: no vote after a restart either"
    assert replica.halted is not None and replica.halted.is_own_key


def test_a_validator_that_never_signed_catches_up_and_votes() -> None:
    lab = ReplicaLab(honest=(3,))
    replica = lab[3].replica
    assert sync(lab, replica, "a", (0, 1, 2)) and sync(lab, replica, "aa", (0, 1, 2))
    lab.deliver(lab.pre_prepare(0, "aaa"), 3)
    assert lab[3].votes(Prepare) == [(0, 3, lab.block("aaa").hash)]


def test_a_synced_block_that_my_log_knows_my_commit_for_is_taken() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1, 2])
    lab.deliver(lab.new_view(1, [lab.view_change(voter, 1) for voter in (0, 1, 2)], []), 3)
    lab.start(3, lab[3].records)
    assert sync(lab, lab[3].replica, "a", (0, 1, 3))


def test_a_database_that_was_lost_alone_takes_back_what_its_log_knows_to_be_decided() -> None:
    """The votes for decided heights leave the log; a log that was pruned by the rules is not one that forgot."""
    lab = ReplicaLab(honest=(3,))
    replica = lab[3].replica
    assert sync(lab, replica, "a", (0, 1, 2)) and sync(lab, replica, "aa", (0, 1, 2))
    replica.applied(2)
    log = [Record(record.kind, record.payload) for record in replica.checkpoint_records()]
    assert {record.kind for record in log} == {RecordKind.SYNCED}
    again = Replica(lab.config, TestSigner(lab.keys[3], lab.chain_id), lab.head(), log, lab.now)
    assert sync(lab, again, "a", (0, 1, 3)) and sync(lab, again, "aa", (1, 2, 3)), "it signed them, long ago"
    assert not sync(lab, again, "aaa", (1, 2, 3)), "of this one the log would know"
    assert again.halted is not None


def test_a_key_that_only_observes_for_now_stops_at_what_it_forgot_and_keeps_what_it_knows() -> None:
    lab = ReplicaLab(honest=(3,))
    config = replace(lab.config, own_key=lab.keys[3].public_key)
    forgetful = Replica(config, None, lab.head(), (), lab.now)
    assert not sync(lab, forgetful, "a", (0, 1, 3)) and forgetful.halted is not None
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1, 2])
    records = [Record(r.kind, r.payload) for r in lab[3].records]
    whole = Replica(config, None, lab.head(), records, lab.now)
    assert sync(lab, whole, "a", (0, 1, 3))
    stranger = Replica(replace(config, own_key=b"x" * 32), None, lab.head(), (), lab.now)
    assert sync(lab, stranger, "a", (0, 1, 3)), "a new key of the same node never signed"


def test_a_home_that_stopped_for_its_own_key_follows_the_chain_without_a_voice_and_does_not_forget_why() -> None:
    lab = ReplicaLab(honest=(3,))
    sync(lab, lab[3].replica, "a", (0, 1, 3))
    log = lab[3].replica.checkpoint_records()
    observer = Replica(lab.config, None, lab.head(), log, lab.now)
    assert observer.status().state == "observer"
    assert sync(lab, observer, "a", (0, 1, 3))
    kept = observer.checkpoint_records()
    assert (
        Replica(lab.config, TestSigner(lab.keys[3], lab.chain_id), lab.head(), kept, lab.now).status().state == "halted"
    )


def test_a_snapshot_signed_by_my_forgotten_key_is_not_taken_with_a_voice() -> None:
    lab = ReplicaLab(honest=(3,))
    replica = lab[3].replica
    far = lab.certificate(0, "a" * 9, (0, 1, 2))
    assert replica.knows_of(far, lab.validators, lab.now)
    others = ValidatorSet([("ed25519", key.public_key) for key in lab.keys[:3]])
    assert replica.knows_of(lab.certificate(0, "a" * 9, (0, 1, 2)), others, lab.now), "a set without me"
    assert not replica.knows_of(lab.certificate(0, "a" * 9, (1, 2, 3)), lab.validators, lab.now)
    assert replica.halted is not None


@pytest.mark.parametrize("view", [0, 2])
def test_a_decision_that_my_key_took_part_in_and_my_log_does_not_know_stops_me_in_any_view(view: int) -> None:
    lab = ReplicaLab(honest=(3,))
    header = lab.block("a")
    proof = lab.certificate(view, "a", (0, 1, 3))
    lab.deliver(Decision(header, lab.result(header), (), proof, lab.leaves("a")), 3, link=0)
    assert lab[3].replica.status().state == "halted"
    assert AlarmKind.OWN_KEY_ELSEWHERE in {alarm.kind for alarm in lab[3].alarms}
    assert RecordKind.HALTED in {record.kind for record in lab[3].records}, "durable: no vote after a restart either"


def test_a_decision_that_my_log_knows_my_commit_for_is_taken_whatever_the_view() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1, 2])
    lab.deliver(lab.new_view(1, [lab.view_change(voter, 1) for voter in (0, 1, 2)], []), 3)
    lab.start(3, lab[3].records)
    assert lab[3].replica.status().view == 1
    header = lab.block("a")
    proof = lab.certificate(0, "a", (0, 1, 3))
    lab.deliver(Decision(header, lab.result(header), (), proof, lab.leaves("a")), 3, link=0)
    assert lab[3].replica.height == 1


def test_after_prepare_commit_view_change_crash_the_prepared_block_is_still_in_the_view_change() -> None:
    """The restart bug of consensus.md 1.9: reading only the last record forgets the block."""
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1, 2])
    lab.deliver(lab.view_change(0, 1), 3)
    kinds = [record.kind for record in lab[3].records]
    assert kinds == [RecordKind.PREPARE, RecordKind.COMMIT, RecordKind.VIEW_CHANGE]
    lab.start(3, lab[3].records)
    lab.deliver(lab.view_change(0, 2), 3)
    (message,) = lab[3].all_sent(ViewChange)
    assert [header.hash for header, _ in message.prepared] == [lab.block("a").hash]


def test_a_decision_the_store_lost_is_made_again_before_anything_else_is_signed() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1, 2])
    for voter in (0, 1, 2):
        lab.deliver(lab.commit(voter, 0, "a"), 3)
    records = lab[3].records
    assert recorded_height(records) == 1
    signer = TestSigner(lab.keys[3], lab.chain_id)
    signer.guard.restore(records)
    # The head is still genesis: the store never got block 1.
    replica = Replica(lab.config, signer, lab.head(), [Record(r.kind, r.payload) for r in records], lab.now)
    replica.step(lab.view_change(0, 1), 0, lab.now)
    replica.step(lab.pre_prepare(0, "z"), 0, lab.now)
    ready = replica.ready()
    assert [request.header.height for request in ready.acquire] == [1]
    assert all(not isinstance(decode_message(m.payload), Prepare | ViewChange | Commit) for m in ready.messages)
    replica.acquired(ready.acquire[0].block_hash, True)
    execute = replica.ready().execute[0]
    replica.executed(execute.block_hash, lab.result(execute.header))
    ready = replica.ready()
    assert [decided.header.height for decided in ready.decide] == [1]
    assert replica.status().target == 1  # now it follows the others


def test_a_store_that_lost_everything_makes_a_replica_that_is_behind_and_no_more_talkative_than_others() -> None:
    """Its log has votes for every height since the genesis; a STATUS that listed them all would be malformed."""
    lab = ReplicaLab(honest=(3,))
    decided = 70
    for length in range(1, decided + 1):
        name = "a" * length
        lab.deliver(lab.pre_prepare(0, name), 3)
        lab.prepare_everywhere(0, name, [3], [0, 1, 2])
        for voter in (0, 1, 2):
            lab.deliver(lab.commit(voter, 0, name), 3)
    records = [Record(r.kind, r.payload) for r in lab[3].records]
    assert recorded_height(records) == decided
    signer = TestSigner(lab.keys[3], lab.chain_id)
    signer.guard.restore(records)
    replica = Replica(lab.config, signer, lab.head(), records, lab.now)
    replica.step(lab.view_change(0, 1), 0, lab.now)
    replica.tick(lab.now + 60_000)
    said = [decode_message(message.payload) for message in replica.ready().messages]
    statuses = [message for message in said if isinstance(message, Status)]
    assert statuses
    assert all(len(message.slots) <= 16 for message in statuses), "four windows"
    assert not any(isinstance(message, Prepare | ViewChange | Commit) for message in said)
    assert replica.status().height == 0


def test_a_validator_that_is_alone_decides_after_a_crash_between_its_commit_and_the_decision() -> None:
    lab = ReplicaLab(honest=(0,), n=1)
    lab.propose(0, "a")
    records = [record for record in lab[0].records if record.kind is not RecordKind.DECIDED]
    assert [record.kind for record in records] == [RecordKind.PREPARE, RecordKind.COMMIT]
    lab.start(0, records)
    assert [decided.header.height for decided in lab[0].decided] == [1]


def test_restored_blocks_are_acquired_and_executed_again_and_their_votes_sent_again() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.deliver(lab.pre_prepare(0, "a"), 3)
    lab.prepare_everywhere(0, "a", [3], [0, 1])
    records = lab[3].records
    lab.start(3, records)
    block_hash = lab.block("a").hash
    assert [request.block_hash for request in lab[3].acquire] == [block_hash]
    assert [request.block_hash for request in lab[3].execute] == [block_hash]
    lab.tick(1_000, 3)
    other = ReplicaLab(honest=(0,))
    assert other.chain_id == lab.chain_id
    lab.deliver(other[0].replica._repair.status(), 3, link=0)
    assert {type(m) for to, m in lab[3].addressed if to == (0,)} >= {Prepare, Commit}
    assert lab[3].records == records, "nothing new was signed"


def test_a_replica_in_a_view_change_restarts_in_it() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.change_view(2, 3)
    sent = lab.view_change_of(3)
    lab.start(3, lab[3].records)
    status = lab[3].replica.status()
    assert (status.state, status.view, status.target) == ("view_change", 0, 2)
    lab.tick(6_000, 3)
    lab.deliver(Status(0, 0, 0, 0, lab.chain_id, (), b"\x00"), 3, link=0)
    assert lab.view_change_of(3) == sent, "re-sent, never signed again"


def test_backoff_is_restored_from_the_views_that_passed() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.change_view(3, 3)
    lab.start(3, lab[3].records)
    assert lab[3].replica._state.backoff == 3
    lab.change_view(40, 3)
    lab.start(3, lab[3].records)
    assert lab[3].replica._state.backoff == 5


def test_decided_records_carry_the_head_outside_the_store() -> None:
    lab = ReplicaLab(honest=(3,))
    lab.decide(0, "a", [3], (0, 1, 2))
    record = next(r for r in lab[3].records if r.kind is RecordKind.DECIDED)
    block = DecidedRecord.decode(record.payload)
    assert block.header == lab.block("a") and record.block_hash == lab.block("a").hash
    # It is written no later than the first vote that relies on it.
    lab.deliver(lab.pre_prepare(0, "ab"), 3)
    kinds = [r.kind for r in lab[3].records]
    assert kinds.index(RecordKind.DECIDED) < len(kinds) - 1 and kinds[-1] is RecordKind.PREPARE


def test_a_checkpoint_between_decision_and_store_keeps_the_block_and_its_bodies() -> None:
    lab = ReplicaLab(honest=(3,))
    lab[3].replica.applied = lambda height: None  # type: ignore[method-assign]  # the store is slow
    lab.decide(0, "a", [3], (0, 1, 2))
    block_hash = lab.block("a").hash
    assert lab[3].released == []
    pinned = [r for r in lab[3].replica.checkpoint_records() if r.kind is RecordKind.DECIDED and r.pins]
    assert [record.block_hash for record in pinned] == [block_hash]
    Replica.applied(lab[3].replica, 1)
    lab.pump(3)
    assert lab[3].released == [block_hash]
    kinds = [record.kind for record in lab[3].replica.checkpoint_records()]
    assert kinds == [RecordKind.SYNCED]


def test_votes_of_an_epoch_the_store_has_not_reached_are_restored_when_it_does() -> None:
    lab = ReplicaLab(honest=(2,))
    keys = test_keys(7)
    members = [keys[index] for index in (0, 1, 2, 5)]
    new = ValidatorSet([(ED25519, key.public_key) for key in members])
    barrier = lab.block("A")
    lab.next_rules[barrier.hash] = ChannelRules(new, 4, 1_000, 4 * 1024 * 1024)
    lab.decide(0, "A", [2], (0, 1, 3))
    assert lab[2].replica.own_index == new.index_of(keys[2].public_key) == 2
    lab.epoch, lab.keys, lab.validators = 1, members, new
    lab.deliver(lab.pre_prepare(0, "Ab"), 2)
    assert (0, 2, lab.block("Ab").hash) in lab[2].votes(Prepare)
    records, sent = lab[2].records, votes_of(lab, 2)
    lab.keys = keys[:4]  # restart on a store that is still at genesis
    for restored in (records, None):
        lab.start(2, restored or lab[2].replica.checkpoint_records())
        lab.keys = members
        bench = lab[2]
        assert (bench.replica.height, bench.replica.own_index) == (1, 2)
        assert [entry.phase for entry in bench.replica.status().in_flight] == ["prepare"]
        lab.deliver(lab.pre_prepare(0, "Az"), 2)
        assert votes_of(lab, 2) <= sent
        assert AlarmKind.SIGNING_REFUSED not in [alarm.kind for alarm in bench.alarms]
        lab.keys = keys[:4]
