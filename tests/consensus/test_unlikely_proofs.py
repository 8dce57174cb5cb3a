"""Proofs that only a quorum of liars can make: each is refused or stops the channel, and nothing is decided on it."""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.consensus import ChannelRules, EvidenceKind, RecordKind
from dawan_node.consensus.messages import Decision, NewView
from dawan_node.consensus.proof import statement_of
from dawan_node.consensus.records import HaltedRecord
from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.replica_lab import ReplicaLab
from dawan_node.testing.simulated_node import test_keys

replace = msgspec.structs.replace
Q = (0, 1, 2)


def decision(lab: ReplicaLab, name: str, above: str = "", voters: tuple[int, ...] = Q) -> Decision:
    """Block ``name``, proven by its own certificate or by that of ``above`` one height higher."""
    header = lab.block(name)
    links = ((lab.block(above), lab.result(lab.block(above))),) if above else ()
    certificate = lab.certificate(0, above or name, voters)
    return Decision(header, lab.result(header), links, certificate, lab.leaves(name))


def new_set_after(lab: ReplicaLab, name: str) -> None:
    """Block ``name`` installs other validators."""
    keys = test_keys(7)
    members = ValidatorSet([(ED25519, keys[index].public_key) for index in (0, 1, 2, 5)])
    lab.next_rules[lab.block(name).hash] = ChannelRules(members, 4, 1_000, 4 * 1024 * 1024)


def test_no_certificate_reaches_down_over_the_end_of_an_epoch() -> None:
    """A block that ends an epoch is proven by its own certificate alone: what stands on it has other voters (U4)."""
    lab = ReplicaLab(honest=(3,))
    new_set_after(lab, "A")
    lab.block("Ab")
    lab.deliver(decision(lab, "A", above="Ab"), 3, link=0)
    status = lab[3].replica.status()
    assert (status.height, status.rejected_messages) == (0, 1)
    lab.deliver(decision(lab, "A"), 3, link=0)
    assert (lab[3].replica.height, lab[3].replica.status().epoch) == (1, 1)


def test_nor_does_one_for_a_block_of_which_all_ancestors_are_here_and_executed() -> None:
    lab = ReplicaLab(honest=(3,))
    new_set_after(lab, "A")
    for name in ("A", "Ab"):
        lab.deliver(lab.pre_prepare(0, name), 3)
    for voter in Q:
        lab.deliver(lab.commit(voter, 0, "Ab"), 3)
    assert [request.header.height for request in lab[3].execute] == [1, 2]
    assert (lab[3].replica.height, lab[3].decided) == (0, [])
    lab.deliver(decision(lab, "A"), 3, link=0)
    assert (lab[3].replica.height, lab[3].replica.status().epoch) == (1, 1)


@pytest.mark.parametrize("way", ["links", "catch-up"])
def test_a_certificate_for_another_block_than_the_one_proven_from_above_halts(way: str) -> None:
    """The certificate for "x" came first. Whatever then proves "a" at the same height, one of the two quorums lied."""
    lab = ReplicaLab(honest=(3,))
    theirs = lab.certificate(0, "x", Q)
    lab[3].withheld |= {lab.block("x").hash, lab.block("a").hash}
    lab.deliver(lab.view_change(0, 1, last=("x", theirs)), 3)
    assert lab[3].replica.status().waiting_for == "blocks up to height 1"
    proof = decision(lab, "a", above="ab")
    if way == "links":
        lab.deliver(proof, 3, link=0)
    else:
        replica = lab[3].replica
        assert not replica.decided_by_sync(
            proof.header, proof.result, proof.certificate, proof.links, proof.leaf_hashes, lab.now
        )
        lab.pump(3)
    assert (lab[3].replica.status().state, lab[3].replica.height, lab[3].decided) == ("halted", 0, [])
    (halted,) = [record for record in lab[3].records if record.kind is RecordKind.HALTED]
    kept = HaltedRecord.decode(halted.payload)
    assert (kept.first, kept.second) == (theirs.encode(), proof.certificate.encode())


def test_a_channel_halts_once_with_the_first_proof() -> None:
    """Two entries of O contradict two decided blocks: the lowest says enough."""
    lab = ReplicaLab(honest=(1,))
    lab.change_view(1, 1)
    for name in ("a", "ab"):
        lab.deliver(decision(lab, name, voters=(0, 2, 3)), 1, link=0)
    assert lab[1].replica.height == 2
    entries = [(name, lab.prepared(0, name, (0, 2, 3))) for name in ("x", "xy")]
    lab.deliver(lab.view_change(0, 1, prepared=entries), 1)
    (halted,) = [record for record in lab[1].records if record.kind is RecordKind.HALTED]
    assert HaltedRecord.decode(halted.payload).second == entries[0][1].encode()
    assert lab[1].all_sent(NewView) == []


def test_a_new_view_that_shows_the_view_change_of_no_validator_is_not_entered() -> None:
    lab = ReplicaLab(honest=(3,))
    stranger = replace(lab.view_change(2, 1), voter=9)
    lab.deliver(lab.new_view(1, [lab.view_change(0, 1), lab.view_change(1, 1), stranger], []), 3)
    assert lab[3].replica.view == (0, 0)
    assert [(e.kind, e.voter) for e in lab[3].evidence] == [(EvidenceKind.INVALID_NEW_VIEW, 1)]


def test_a_proof_too_large_for_the_chain_is_kept_and_exported_without_one() -> None:
    """A lying VIEW-CHANGE with a window of 64 certificates convicts its author here, not in a transaction."""
    lab = ReplicaLab(7, honest=(0,), window=64)
    lab.propose(0, "a")
    lab.deliver(lab.commit(3, 0, "a"), 0)
    names = ["a" * height for height in range(2, 65)]
    shown = [(name, lab.prepared(0, name, (1, 2, 3, 4, 5))) for name in names]
    lab.deliver(lab.view_change(3, 1, prepared=shown), 0)
    (evidence,) = lab[0].evidence
    assert (evidence.kind, evidence.voter, evidence.proof) == (EvidenceKind.LYING_VIEW_CHANGE, 3, b"")
    assert len(evidence.second) > 28 * 1024


def test_a_message_that_fills_no_slot_is_no_statement() -> None:
    lab = ReplicaLab(honest=())
    with pytest.raises(InvalidMessage, match="no statement"):
        statement_of(lab.chain_id, lab.suspect(1, 1).encode())
