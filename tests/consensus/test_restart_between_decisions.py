"""A restart whose store is behind its log: what was decided then is kept until it is decided again (U5, U7, U12)."""

from __future__ import annotations

from dawan_node.consensus import Record, RecordKind, Replica, recorded_height
from dawan_node.consensus.messages import Commit, Decision, ViewChange
from dawan_node.consensus.records import QuarantineRecord
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import TestSigner


def two_decided() -> tuple[ReplicaLab, list[Record]]:
    """The log of validator 3 after it decided "a" and "ab"."""
    lab = ReplicaLab(honest=(3,))
    lab.decide(0, "a", [3], (0, 1, 2))
    lab.decide(0, "ab", [3], (0, 1, 2))
    return lab, list(lab[3].records)


def restarted(lab: ReplicaLab, records: list[Record]) -> Replica:
    """A replica on an empty store whose bodies nobody has gathered yet."""
    signer = TestSigner(lab.keys[3], lab.chain_id)
    signer.guard.restore(records)
    return Replica(lab.config, signer, lab.head(), [Record(r.kind, r.payload) for r in records], lab.now)


def test_a_checkpoint_keeps_what_was_decided_before_a_restart_and_not_yet_again() -> None:
    lab, records = two_decided()
    replica = restarted(lab, records)
    assert replica.height == 0
    kept = list(replica.checkpoint_records())
    again = [record for record in kept if record.kind is RecordKind.DECIDED]
    assert [record.block_hash for record in again] == [lab.block("a").hash, lab.block("ab").hash]
    assert all(record.pins for record in again), "their bodies are not in the store"
    # A second crash, before anything was decided again, loses nothing: the new log says as much as the old one.
    assert recorded_height(kept) == recorded_height(records) == 2
    second = restarted(lab, kept)
    assert [request.block_hash for request in second.ready().acquire][:1] == [lab.block("a").hash]
    assert second.status().waiting_for == "blocks up to height 2"


def test_what_a_peer_proved_meanwhile_is_not_mistaken_for_a_decision_of_this_log() -> None:
    """Only blocks this log decided are in its checkpoint: a proof of a later one came from a peer, without bodies."""
    lab, records = two_decided()
    replica = restarted(lab, records)
    lab.block("abc")
    proof = lab.certificate(0, "abc", (0, 1, 2))
    replica.step(Decision(lab.block("abc"), lab.result(lab.block("abc")), (), proof, lab.leaves("abc")), 0, lab.now)
    kept = [record.block_hash for record in replica.checkpoint_records() if record.kind is RecordKind.DECIDED]
    assert kept == [lab.block("a").hash, lab.block("ab").hash]


def quarantine(lab: ReplicaLab, name: str) -> Record:
    header = lab.block(name)
    other = lab.result(header, junk=True).hash
    record = QuarantineRecord(header.height, header.hash, other, lab.result(header).hash)
    return Record(RecordKind.QUARANTINE, record.encode())


def test_a_quarantine_whose_height_was_decided_afterwards_is_over_when_the_log_is_read() -> None:
    """The decision proves that the result came to equal the quorum's (U12); the quarantine record stays in the log."""
    lab, records = two_decided()
    lab.start(3, [*records[:-1], quarantine(lab, "ab"), records[-1]])
    assert lab[3].replica.status().state == "normal"
    lab.start(3, [*records, quarantine(lab, "abc")])
    assert lab[3].replica.status().state == "quarantine", "what was not decided since still binds"
    lab.deliver(lab.pre_prepare(0, "abc"), 3)
    assert lab[3].all_sent(Commit) == [] and lab[3].all_sent(ViewChange) == []
