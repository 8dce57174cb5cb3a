"""Proofs that prove nothing are dropped; proofs that cannot both be true stop the channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from dawan_node.consensus import Mode
from dawan_node.consensus.messages import Decision
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, CommitCertificate, bitmap_of, commit_vote_bytes
from dawan_node.testing.replica_lab import ReplicaLab

replace = msgspec.structs.replace
OTHER = sha256(b"another")


def certify(
    lab: ReplicaLab, header: Header, result: Result, view: int = 0, voters: Sequence[int] = (1, 2, 3)
) -> CommitCertificate:
    """A certificate for whatever block and result."""
    data = commit_vote_bytes(lab.chain_id, lab.epoch, view, header.height, header.hash, result.hash)
    signatures = [lab.sign(voter, COMMIT_TAG, data) for voter in voters]
    bitmap = bitmap_of(voters, lab.validators.n)
    return CommitCertificate(lab.epoch, view, header.height, header.hash, result.hash, bitmap, signatures)


Pair = tuple[Header, Result]


def proof(lab: ReplicaLab, path: Sequence[Pair]) -> Decision:
    """The lowest of ``path``, proven by a certificate of the topmost."""
    return Decision(*path[0], tuple(path[1:]), certify(lab, *path[-1]), ())


def three(lab: ReplicaLab) -> list[Pair]:
    return [(lab.block(name), lab.result(lab.block(name))) for name in ("a", "ab", "abc")]


def with_lower(path: list[Pair], change: Callable[[Header, Result], Pair]) -> list[Pair]:
    """The lowest block changed; the links above are as they were."""
    return [change(*path[0]), *path[1:]]


def with_top(path: list[Pair], change: Callable[[Header, Result], Pair]) -> list[Pair]:
    """The topmost block changed, and its certificate made for that."""
    return [*path[:-1], change(*path[-1])]


def header_with(**changes: object) -> Callable[[Header, Result], Pair]:
    """A header with other fields, and a result that is rightly of it."""

    def change(header: Header, result: Result) -> Pair:
        changed = replace(header, **changes)
        return changed, replace(result, block_hash=changed.hash, height=changed.height)

    return change


def result_with(**changes: object) -> Callable[[Header, Result], Pair]:
    return lambda header, result: (header, replace(result, **changes))


WRONG: dict[str, Callable[[list[Pair]], list[Pair]]] = {
    "of another chain": lambda path: with_top(path, header_with(chain_id=OTHER)),
    "of another validator set": lambda path: with_top(path, header_with(valset_hash=OTHER)),
    "with a result of another block": lambda path: with_top(path, result_with(block_hash=OTHER)),
    "with a result of another height": lambda path: with_top(path, result_with(height=7)),
    "a link below that ends the epoch": lambda path: with_lower(path, result_with(next_valset_hash=OTHER)),
    "a lower block of another hash": lambda path: with_lower(path, header_with(body_bytes=7)),
    "a lower result of another hash": lambda path: with_lower(path, result_with(state_root=OTHER)),
    "a link left out": lambda path: [path[0], path[2]],
    "links in another order": lambda path: [path[1], path[0], path[2]],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_proof_that_does_not_hold_together_is_no_proof_though_a_quorum_signed_its_top(what: str) -> None:
    lab = ReplicaLab(honest=(0,))
    lab.deliver(proof(lab, WRONG[what](three(lab))), 0, link=3)
    status = lab[0].replica.status()
    assert (status.height, status.rejected_messages, status.state) == (0, 1, Mode.NORMAL)
    lab.deliver(proof(lab, three(lab)), 0, link=3)
    assert lab[0].replica.height == 3


def test_the_certificate_must_be_that_of_the_top_and_of_a_quorum() -> None:
    lab = ReplicaLab(honest=(0,))
    path = three(lab)
    good = proof(lab, path)
    for wrong in (
        replace(good, certificate=certify(lab, *path[1])),
        replace(good, certificate=certify(lab, *path[2], voters=(1, 3))),
        replace(good, certificate=replace(good.certificate, bitmap=b"\x0e\x00")),
        replace(good, certificate=replace(good.certificate, signatures=good.certificate.signatures[:2])),
        replace(good, certificate=replace(good.certificate, signatures=[bytes(64)] * 3)),
    ):
        lab.deliver(wrong, 0, link=3)
    assert lab[0].replica.status().rejected_messages == 5 and lab[0].replica.height == 0


def test_a_certificate_for_another_block_at_a_decided_height_halts_with_both_certificates() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.deliver(proof(lab, three(lab)[:1]), 0, link=3)
    other = lab.block("x")
    lab.deliver(proof(lab, [(other, lab.result(other))]), 0, link=3)
    assert lab[0].replica.status().state is Mode.HALTED
    record = lab[0].records[-1]
    assert certify(lab, lab.block("a"), lab.result(lab.block("a"))).encode() in record.payload
    assert certify(lab, other, lab.result(other)).encode() in record.payload


def test_two_certificates_above_the_head_halt_though_neither_block_can_be_decided_yet() -> None:
    lab = ReplicaLab(honest=(0,))
    header = lab.block("ab")
    lab.deliver(proof(lab, [(header, lab.result(header))]), 0, link=3)
    assert lab[0].replica.status().state is Mode.SYNCING
    lab.deliver(proof(lab, [(header, lab.result(header, junk=True))]), 0, link=3)
    assert lab[0].replica.status().state is Mode.HALTED


def test_a_certified_block_that_does_not_stand_on_mine_halts() -> None:
    lab = ReplicaLab(honest=(0,))
    header = replace(lab.block("a"), parent_hash=OTHER)
    lab.deliver(proof(lab, [(header, lab.result(lab.block("a")))]), 0, link=3)  # result of another block: dropped
    assert lab[0].replica.status().state is Mode.NORMAL
    result = replace(lab.result(lab.block("a")), block_hash=header.hash)
    lab.deliver(proof(lab, [(header, result)]), 0, link=3)
    status = lab[0].replica.status()
    assert status.state is Mode.HALTED and "is not on mine" in status.waiting_for


def test_a_certificate_with_a_commit_of_mine_that_i_did_not_write_stops_me() -> None:
    lab = ReplicaLab(honest=(0,))
    header = lab.block("a")
    certificate = certify(lab, header, lab.result(header), voters=(0, 1, 3))
    lab.deliver(Decision(header, lab.result(header), (), certificate, ()), 0, link=3)
    assert lab[0].replica.status().state is Mode.HALTED
    assert "own key" in lab[0].alarms[0].kind.replace("_", " ")


def test_a_commit_of_mine_that_i_did_not_write_stops_me() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.deliver(lab.commit(0, 0, "a"), 0, link=3)
    assert lab[0].replica.status().state is Mode.HALTED


def test_a_halted_replica_takes_nothing_but_says_where_it_is() -> None:
    lab = ReplicaLab(honest=(0,))
    lab.deliver(lab.commit(0, 0, "a"), 0, link=3)
    said = len(lab[0].sent)
    lab.deliver(lab.pre_prepare(0, "a"), 0, link=1)
    lab.deliver(proof(lab, three(lab)), 0, link=1)
    path = three(lab)
    assert lab[0].replica.height == 0 and len(lab[0].sent) == said
    assert lab[0].replica.decided_by_sync(*path[0], certify(lab, *path[0]), (), None, lab.now) is False
    lab.tick(1_000)
    assert len(lab[0].sent) > said


def test_a_synced_block_needs_its_proof_its_turn_and_my_chain() -> None:
    lab = ReplicaLab(honest=(0,))
    replica = lab[0].replica
    first, second, _ = three(lab)
    assert replica.decided_by_sync(*second, certify(lab, *second), (), None, lab.now) is False  # not the next one
    with pytest.raises(InvalidMessage):
        replica.decided_by_sync(*first, certify(lab, *second), (), None, lab.now)
    assert replica.decided_by_sync(*first, certify(lab, *first), (), None, lab.now) is True
    other = replace(second[0], parent_hash=OTHER)
    result = replace(second[1], block_hash=other.hash)
    assert replica.decided_by_sync(other, result, certify(lab, other, result), (), None, lab.now) is False
    assert replica.status().state is Mode.HALTED


def test_a_synced_block_whose_result_is_not_the_one_computed_here_quarantines() -> None:
    lab = ReplicaLab(honest=(0, 1))
    lab[1].junk = True
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    header, result = three(lab)[0]
    assert lab[1].results[header.hash] != result
    certificate = certify(lab, header, result, voters=(0, 2, 3))
    assert lab[1].replica.decided_by_sync(header, result, certificate, (), None, lab.now) is False
    assert lab[1].replica.status().state is Mode.QUARANTINE


def test_a_descendants_certificate_with_another_result_than_mine_quarantines() -> None:
    """L3: heights without a certificate of their own are proven by the one above, if its result is mine."""
    lab = ReplicaLab(honest=(1,))
    for name in ("a", "ab"):
        lab.deliver(lab.pre_prepare(0, name), 1)
    lab.prepare_everywhere(0, "a", (1,), (2, 3))
    for voter in (0, 2, 3):
        lab.deliver(lab.commit(voter, 0, "ab", junk=True), 1)
    assert lab[1].replica.height == 0
    assert lab[1].replica.status().state is Mode.QUARANTINE
    lab.deliver(lab.commit(0, 0, "a"), 1)
    assert lab[1].replica.height == 0
