"""Public advisories of other systems, one named test each (reliability.md section 1), and where it stands.

| Advisory | Its tests |
|---|---|
| CometBFT ASA-2025-001 | test_catch_up::test_a_head_that_goes_down_is_a_lie |
| | test_catch_up::test_one_validator_alone_cannot_set_the_target |
| | test_catch_up::test_asa_2025_001_a_height_without_a_certificate_counts_nothing |
| | test_repair::test_the_sync_target_is_what_f_plus_1_validators_claim |
| CometBFT ASA-2025-002 | test_advisories::test_asa_2025_002_a_part_is_proven_only_at_its_own_index |
| | test_catch_up::test_other_heights_than_asked_for_are_a_lie |
| | test_catch_up::test_asa_2025_002_bodies_at_another_index_are_a_lie_and_stall_nobody |
| CometBFT ASA-2024-011 | test_advisories::test_asa_2024_011_a_voter_out_of_range_is_dropped_by_every_handler |
| CometBFT ASA-2025-003 | test_advisories::test_asa_2025_003_bit_arrays_of_any_length_halt_nobody |
| CometBFT CSA-2026-001 | test_advisories::test_csa_2026_001_a_vote_or_proposal_with_any_field_changed_counts_nothing |
| | test_advisories::test_csa_2026_001_a_view_change_with_any_field_changed_moves_nobody |
| | test_advisories::test_csa_2026_001_a_decision_with_any_field_changed_decides_nothing |
| | test_advisories::test_csa_2026_001_a_range_with_any_field_changed_is_not_applied |
| | test_proofs::test_u14_every_field_of_a_certificate_is_that_of_its_header_and_result |
| CometBFT v0.40 double_sign_check | test_advisories::test_v0_40_a_vote_i_did_not_write_stops_me_at_every_height |
| CometBFT v0.40 RPC ids | test_advisories::test_v0_40_an_id_that_is_no_finite_integer_is_refused |
| Fabric CVE-2023-46132 | test_advisories::test_cve_2023_46132_moving_bytes_between_neighbours_changes_every_hash |
| Fabric CVE-2024-45244 | test_executor::test_validity_is_open_at_block_time_and_closed_at_the_lifetime |
| | test_mempool::test_valid_until_must_lie_within_the_lifetime_of_the_next_block |
| Fabric CVE-2022-31121 | test_messages::test_damaged_messages_never_break_a_replica |
| | test_hostile_peers::test_an_envelope_that_cannot_be_encoded_again_ends_a_link_and_no_node |
| Fabric CVE-2021-43669 | test_messages::test_fields_at_their_extremes_never_break_a_replica |
| | test_jsonrpc::test_any_bytes_give_calls_or_a_stable_error |
| Fabric CVE-2022-45196 | test_consortium::test_a_mistake_is_named |
| | test_restore::test_a_key_never_gets_a_second_account_for_one_channel |
| | test_channel_store::test_a_finished_database_is_never_created_again |
| Besu CVE-2021-41272 | test_advisories::test_cve_2021_41272_no_integer_is_coerced_on_the_way_in |
| | test_values::test_allocated_parts_sum_to_the_amount_to_the_last_minor_unit |
| Geth CVE-2021-39137 | test_advisories::test_cve_2021_39137_what_a_block_executed_depends_on_no_buffer_of_another |
| | test_executor::test_two_executors_agree_whatever_they_executed_before |
| | test_declarations::test_types_without_canonical_encoding_or_mutable_ones_are_refused_when_declared |
| FISCO CVE-2022-28937 | test_advisories::test_cve_2022_28937_invalid_headers_of_a_primary_stop_one_view_only |
| FISCO FIB-115 | test_pitfalls::test_b9_a_full_window_is_decided_at_once_without_recursion |
| | test_encoding::test_depth_items_and_size_have_exact_limits |
| FISCO FIB-124 | test_view_change_vectors::test_vector_9_a_wrong_o_is_proof_against_the_primary |
| | test_pitfalls::test_b9_what_o_brings_again_is_not_replaced_by_a_fresh_proposal |
| FISCO FIB-128 | test_pitfalls::test_b9_a_certified_block_on_another_parent_is_never_decided |
| FISCO FIB-129 | test_advisories::test_fib_129_nothing_unsigned_stops_a_timer |
| | test_pitfalls_of_operation::test_b19_garbage_costs_one_check_and_leaves_nothing_behind |
| FISCO FIB-130 | test_advisories::test_fib_130_the_outer_kind_and_index_are_the_inner_ones |
| FISCO FIB-133 | test_pitfalls::test_b9_a_proposal_of_a_higher_view_counts_nothing_before_its_new_view |
| Indy CVE-2022-31006 | test_server::test_a_flood_from_one_address_leaves_room_for_another |
| | test_server::test_an_honest_client_is_served_among_many_silent_sockets |
| Bitcoin CVE-2012-2459 | test_merkle_and_signatures::test_an_odd_last_leaf_is_not_counted_twice |
| | test_advisories::test_cve_2012_2459_no_two_lists_of_leaves_share_a_root |
| Besu GHSA-23rh-rrqg-wq82 | test_advisories::test_ghsa_23rh_rrqg_wq82_the_largest_view_costs_nothing_and_moves_nobody |
| | test_timers::test_one_huge_wish_moves_nobody |
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dawan_node.consensus import AlarmKind
from dawan_node.consensus.messages import (
    Commit,
    Decision,
    NewView,
    Prepare,
    PrePrepare,
    SlotSummary,
    Status,
    Suspect,
    ViewChange,
    decode_message,
    new_view_bytes,
)
from dawan_node.consensus.pacemaker import Pacemaker
from dawan_node.consensus.signer import NEW_VIEW_TAG
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidEncoding, InvalidMessage, InvalidProof
from dawan_node.execution.keys import key_of
from dawan_node.primitives.block import Header
from dawan_node.primitives.proofs import state_key_hash
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.jsonrpc import BadCall, Call
from dawan_node.sync import LightBlock
from dawan_node.sync.verify import verify_bodies, verify_light
from dawan_node.testing.replica_lab import ReplicaLab
from tests.consensus.exchange import Exchange
from tests.named_tests import first_cells, missing
from tests.primitives.test_proofs import field_changes
from tests.sync.chain import CHAIN_ID, Chain, keys_of

ADVISORIES = {
    "CometBFT": ("ASA-2025-001", "ASA-2025-002", "ASA-2024-011", "ASA-2025-003", "CSA-2026-001", "v0.40 RPC ids"),
    "Fabric": ("CVE-2023-46132", "CVE-2024-45244", "CVE-2022-31121", "CVE-2021-43669", "CVE-2022-45196"),
    "Besu": ("CVE-2021-41272", "GHSA-23rh-rrqg-wq82"),
    "Geth": ("CVE-2021-39137",),
    "FISCO": ("CVE-2022-28937", "FIB-115", "FIB-124", "FIB-128", "FIB-129", "FIB-130", "FIB-133"),
    "Indy": ("CVE-2022-31006",),
    "Bitcoin": ("CVE-2012-2459",),
}


def test_every_advisory_has_a_test_that_exists() -> None:
    named = {cell for cell in first_cells(__doc__) if cell}
    expected = {f"{system} {identifier}" for system, known in ADVISORIES.items() for identifier in known}
    assert named == expected | {"CometBFT v0.40 double_sign_check"}
    assert missing(__doc__) == []


# --- indexes and lengths ------------------------------------------------------------------------------------------


def test_asa_2025_002_a_part_is_proven_only_at_its_own_index() -> None:
    """A block part whose index differed from its proof's index stalled the network. Here nothing is accepted at an
    index that the path does not lead to, and the leaf list is taken whole or not at all."""
    for count in (1, 2, 3, 5, 8, 13):
        leaves = [merkle.leaf_hash(b"%d" % number) for number in range(count)]
        root = merkle.root(leaves)
        for index, claimed in itertools.product(range(count), range(count + 2)):
            try:
                proven = merkle.root_from_path(leaves[index], claimed, count, merkle.path(leaves, index)) == root
            except InvalidProof:
                proven = False
            assert proven is (index == claimed)


def voters_of(lab: ReplicaLab) -> list[Prepare | Commit | Suspect | ViewChange]:
    """One of every message that names its author by index."""
    return [lab.prepare(3, 0, "a"), lab.commit(3, 0, "a"), lab.suspect(3, 1), lab.view_change(3, 1)]


def test_asa_2024_011_a_voter_out_of_range_is_dropped_by_every_handler() -> None:
    """A vote extension with an index beyond the set made every node panic. On any link, in any state."""
    states, voters = ("normal", "view_change", "observer"), (4, 7, 64, 2**63)
    for state, voter, is_own_link in itertools.product(states, voters, (True, False)):
        link = voter if is_own_link else 3
        lab = ReplicaLab(honest=(1,))
        if state == "observer":
            lab.observe(1)
        elif state == "view_change":
            lab.change_view(2, 1)
        before = lab[1].replica.status()
        for message in voters_of(lab):
            lab[1].replica.step(msgspec.structs.replace(message, voter=voter), link, lab.now)
            lab.pump(1)
        entries = lab.suspects(3, (0, 2, 3))
        outside = (*entries[:2], msgspec.structs.replace(entries[2], voter=voter))
        lab[1].replica.step(lab.view_change(3, 3, suspects=outside), link, lab.now)
        lab.pump(1)
        after = lab[1].replica.status()
        assert (after.view, after.target, after.suspects) == (before.view, before.target, before.suspects)
        assert lab[1].evidence == [] and all(not slot.have for slot in after.in_flight)


@pytest.mark.parametrize("bits", [b"", b"\xff", b"\x0e\x00", b"\x0e" + bytes(7), b"\xff" * 8])
def test_asa_2025_003_bit_arrays_of_any_length_halt_nobody(bits: bytes) -> None:
    """A bit array whose length did not match its elements halted the chain. STATUS says which votes somebody holds,
    certificates who signed: any length is answered or refused, and nothing else happens."""
    lab = ReplicaLab(honest=(0,))
    lab.propose(0, "a")
    lab.prepare_everywhere(0, "a", [0], [1, 2])
    lab.tick(1_000, 0)
    slots = tuple(SlotSummary(height, True, bits, bits) for height in (1, 2, 9))
    lab.deliver(Status(0, 0, 0, 0, lab.chain_id, slots, bits), 0, link=1)
    lab.deliver(Status(0, 0, 5, 0, lab.chain_id, slots, bits), 0, link=2)
    certificate = msgspec.structs.replace(lab.certificate(0, "a", (1, 2, 3)), bitmap=bits)
    header = lab.block("a")
    lab.deliver(Decision(header, lab.result(header), (), certificate, ()), 0, link=3)
    pc = msgspec.structs.replace(lab.prepared(0, "a", (1, 2, 3)), bitmap=bits)
    lab.deliver(lab.view_change(3, 1, prepared=[("a", pc)]), 0)
    lab.deliver(lab.view_change(3, 2, last=("a", certificate)), 0)
    status = lab[0].replica.status()
    assert (status.height, status.target, status.state, status.rejected_messages) == (0, 0, "normal", 3)


# --- everything a decision uses is under the signatures ------------------------------------------------------------


def changed_deeply(struct: msgspec.Struct) -> Iterator[msgspec.Struct]:
    """The message with any one field changed, also those of structs, certificates and pairs inside it."""
    yield from field_changes(struct)
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct):
            for inner in changed_deeply(value):
                yield msgspec.structs.replace(struct, **{name: inner})
        elif isinstance(value, tuple):
            for position, item in enumerate(value):
                for other in changed_item(item):
                    yield msgspec.structs.replace(struct, **{name: (*value[:position], other, *value[position + 1 :])})
            if value:
                yield msgspec.structs.replace(struct, **{name: value[:-1]})


def changed_item(item: Any) -> Iterator[Any]:
    """An item of a tuple with one thing changed."""
    if isinstance(item, msgspec.Struct):
        yield from changed_deeply(item)
    elif isinstance(item, tuple):
        for position, part in enumerate(item):
            for other in changed_item(part):
                yield (*item[:position], other, *item[position + 1 :])
    elif isinstance(item, bytes) and item:
        yield bytes([item[0] ^ 1]) + item[1:]


def heard(lab: ReplicaLab, message: msgspec.Struct, link: int) -> None:
    """Hand a changed message over as the bytes a peer would send, if they are a message at all."""
    try:
        decoded = decode_message(message.encode())  # type: ignore[attr-defined]
    except InvalidMessage:
        return
    lab[1].replica.step(decoded, link, lab.now)
    lab.pump(1)


def test_csa_2026_001_a_vote_or_proposal_with_any_field_changed_counts_nothing() -> None:
    """Tachyon: the commit was checked over one field and its time taken from another, unsigned one. Whatever field of a
    vote or proposal is changed, the vote does not count and the proposal is not voted for."""
    count = 0
    for kind in ("proposal", "prepare", "commit"):
        make = {"proposal": lambda lab: lab.pre_prepare(0, "a")}.get(kind)
        make = make or (lambda lab, kind=kind: getattr(lab, kind)(3, 0, "a"))
        for changed in changed_deeply(make(ReplicaLab(honest=()))):
            lab = ReplicaLab(honest=(1,))
            if kind != "proposal":
                lab.deliver(lab.pre_prepare(0, "a"), 1)
            if kind == "commit":
                lab.prepare_everywhere(0, "a", [1], [2, 3])
                lab.deliver(lab.commit(2, 0, "a"), 1)
            heard(lab, changed, 0 if kind == "proposal" else 3)
            slots = lab[1].replica.status().in_flight
            (have,) = [slot.have for slot in slots if slot.height == 1] or [()]
            assert all(slot.have == () for slot in slots if slot.height != 1), (kind, changed)
            expected: tuple[int, ...] = {"proposal": (), "prepare": (0, 1), "commit": (1, 2)}[kind]
            if isinstance(changed, PrePrepare):
                assert lab[1].votes(Prepare) == [] and lab[1].acquire == [], changed
                if changed.leaf_hashes != lab.leaves("a"):
                    expected = (0,)  # the header is signed, the list is not the header's: a vote, and no proposal
            assert have == expected, (kind, changed)
            assert lab[1].replica.height == 0 and lab[1].evidence == []
            count += 1
    assert count == 29


def test_csa_2026_001_a_view_change_with_any_field_changed_moves_nobody() -> None:
    """The same for SUSPECT, VIEW-CHANGE and NEW-VIEW, with every wish, header, certificate and signature in them."""
    count = 0
    for kind in ("suspect", "view_change", "new_view"):
        source = ReplicaLab(honest=())
        pc = source.prepared(0, "ab", (0, 2, 3))
        last = ("a", source.certificate(0, "a", (0, 2, 3)))
        changes = [source.view_change(voter, 2, last=last, prepared=[("ab", pc)]) for voter in (0, 2, 3)]
        message: msgspec.Struct = {
            "suspect": source.suspect(3, 1),
            "view_change": changes[2],
            "new_view": source.new_view(2, changes, ["ab"]),
        }[kind]
        for changed in changed_deeply(message):
            lab = ReplicaLab(honest=(1,))
            lab.headers = dict(source.headers)
            heard(lab, changed, 3)
            heard(lab, changed, 2)
            status = lab[1].replica.status()
            assert (status.view, status.target, status.height, status.suspects) == (0, 0, 0, ()), changed
            assert lab[1].records == [] and lab[1].votes(Prepare) == [] and lab[1].evidence == [], changed
            count += 1
    assert count >= 60


def test_csa_2026_001_a_decision_with_any_field_changed_decides_nothing() -> None:
    """And for a final block with its proof. The leaf list alone is not signed: it is checked by the header's root, and
    a wrong one is fetched elsewhere."""
    source = ReplicaLab(honest=())
    below, above = source.block("a"), source.block("ab")
    certificate = source.certificate(0, "ab", (0, 2, 3))
    links = ((above, source.result(above)),)
    good = Decision(below, source.result(below), links, certificate, source.leaves("a"))
    for changed in changed_deeply(good):
        assert isinstance(changed, Decision)
        lab = ReplicaLab(honest=(1,))
        lab.headers = dict(source.headers)
        heard(lab, changed, 3)
        if changed.leaf_hashes != good.leaf_hashes:
            assert lab[1].acquire[0].leaf_hashes is None
            continue
        assert lab[1].replica.height == 0 and lab[1].acquire == [], changed
    lab = ReplicaLab(honest=(1,))
    lab.headers = dict(source.headers)
    heard(lab, good, 3)
    assert lab[1].replica.height >= 1, "unchanged it decides"


def test_csa_2026_001_a_range_with_any_field_changed_is_not_applied() -> None:
    """And for a synced range, its bodies included (CVE-2023-46132: one header, one list of bytes)."""
    chain = Chain(keys_of(4)).grow(3)
    anchor, good = chain.anchors[0], chain.light(1, 3)
    verify_light(CHAIN_ID, anchor, anchor.tip, good, ())
    count = 0
    for position, block in enumerate(good):
        for changed in changed_deeply(block):
            assert isinstance(changed, LightBlock)
            if position < 2 and msgspec.structs.replace(changed, certificate=block.certificate) == block:
                continue  # certificates below the last are not read: the last one proves the range
            with pytest.raises(InvalidMessage):
                verify_light(CHAIN_ID, anchor, anchor.tip, [*good[:position], changed, *good[position + 1 :]], ())
            count += 1
    assert count >= 50
    for block in chain.blocks:
        first, second = block.envelopes
        for envelopes in ((second, first), (first,), (first, second, second), (first, second[:-1] + b"!"), (b"",)):
            with pytest.raises(InvalidMessage):
                verify_bodies(block.header, envelopes)


def test_cve_2023_46132_moving_bytes_between_neighbours_changes_every_hash() -> None:
    """Fabric hashed the plain concatenation of a block's transactions, so bytes moved from one to the next left the
    hash alone: two ledgers, one block hash. Every list that is hashed here separates or counts its parts."""
    joined = b"transaction-one" + b"transaction-two"
    roots = set()
    for cut in range(1, len(joined)):
        roots.add(merkle.root([merkle.leaf_hash(joined[:cut]), merkle.leaf_hash(joined[cut:])]))
    assert len(roots) == len(joined) - 1
    names = {state_key_hash(*parts) for parts in (("ab", "c", b"d"), ("a", "bc", b"d"), ("ab", "cd", b""))}
    assert len(names) == 3
    keys = {key_of(*parts) for parts in (("ab", "c"), ("a", "bc"), ("abc", ""), ("abc",), ("", "abc"))}
    assert len(keys) == 5
    chain = Chain(keys_of(4)).grow(1)
    (block,) = chain.blocks
    first, second = block.envelopes
    for envelopes in ((first + second[:1], second[1:]), (first[:-1], first[-1:] + second), (first + second,)):
        with pytest.raises(InvalidMessage):
            verify_bodies(block.header, envelopes)


def test_cve_2012_2459_no_two_lists_of_leaves_share_a_root() -> None:
    """Bitcoin: an odd last leaf was doubled, so a list and the list with its end repeated shared a root; a block known
    to be bad under that root kept the good one out. All lists of up to seven leaves over two values."""
    roots: dict[bytes, tuple[int, ...]] = {}
    leaves = [merkle.leaf_hash(b"x"), merkle.leaf_hash(b"y")]
    for length in range(8):
        for picks in itertools.product((0, 1), repeat=length):
            root = merkle.root([leaves[pick] for pick in picks])
            assert roots.setdefault(root, picks) == picks
    assert len(roots) == 255
    assert merkle.leaf_hash(b"\x01" + leaves[0] + leaves[1]) != merkle.root(leaves)
    for count in range(1, 6):  # and an inner node never passes for a leaf
        inner = [merkle.leaf_hash(b"%d" % number) for number in range(count * 2)]
        pairs = [merkle.root(inner[at : at + 2]) for at in range(0, len(inner), 2)]
        assert merkle.root([merkle.leaf_hash(pair) for pair in pairs]) != merkle.root(inner)


# --- one liar ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["prepare", "commit", "certificate"])
@pytest.mark.parametrize("height", [1, 2, 4, 8])
def test_v0_40_a_vote_i_did_not_write_stops_me_at_every_height(kind: str, height: int) -> None:
    """CometBFT v0.40: ``double_sign_check_height = 1`` was off by one and checked nothing. From the first height above
    the head to the last for which votes are kept."""
    lab = ReplicaLab(honest=(1,))
    name = "a" * height
    if kind == "certificate":
        header = lab.block(name)
        proof = Decision(header, lab.result(header), (), lab.certificate(0, name, (0, 1, 2)), ())
        lab.deliver(proof, 1, link=3)
    else:
        lab.deliver(lab.prepare(1, 0, name) if kind == "prepare" else lab.commit(1, 0, name), 1, link=3)
    assert lab[1].replica.status().state == "halted"
    assert AlarmKind.OWN_KEY_ELSEWHERE in [alarm.kind for alarm in lab[1].alarms]


WRONG_HEADERS = [
    {"chain_id": bytes(32)},
    {"height": 7},
    {"parent_hash": bytes(32)},
    {"epoch": 1},
    {"valset_hash": bytes(32)},
    {"proposer": 2},
    {"tx_root": bytes(32)},
    {"tx_count": 0},
    {"body_bytes": 2**40},
    {"timestamp_ms": 0},
    {"timestamp_ms": 2**62},
]


@pytest.mark.parametrize("number", range(len(WRONG_HEADERS)))
def test_cve_2022_28937_invalid_headers_of_a_primary_stop_one_view_only(number: int) -> None:
    """FISCO: one malicious node stopped block production by an invalid header. The primary of view 0 sends one; nobody
    votes for it, the view is left after D0 and the next one decides."""
    lab = ReplicaLab(honest=(1, 2, 3))
    exchange = Exchange(lab)
    for index in (1, 2, 3):
        lab[index].replica.work_pending(True, lab.now)
        lab.deliver(lab.pre_prepare(0, "a", **WRONG_HEADERS[number]), index)
    assert all(lab[index].votes(Prepare) == [] and lab[index].records == [] for index in (1, 2, 3))
    lab.tick(3_000)
    exchange.run()
    assert {lab[index].replica.status().view for index in (1, 2, 3)} == {1}
    lab.propose(1, "b")
    exchange.run()
    assert {lab[index].replica.block_hash for index in (1, 2, 3)} == {lab.block("b").hash}


def test_cve_2022_28937_an_invalid_header_of_somebody_else_costs_the_primary_nothing() -> None:
    """The same headers from a backup: the honest primary's proposal is voted for as if nothing had come."""
    lab = ReplicaLab(honest=(1,))
    for changes in WRONG_HEADERS:
        header = lab.block("a", **changes)
        message = PrePrepare(0, header, lab.leaves("a"), lab.prepare(3, 0, "a").signature)
        lab.deliver(message, 1, link=3)
    lab.deliver(lab.pre_prepare(0, "a"), 1)
    assert len(lab[1].votes(Prepare)) == 1 and lab[1].all_sent(Suspect) == []


def test_fib_129_nothing_unsigned_stops_a_timer() -> None:
    """FISCO FIB-129: flags and timers changed before the signature was checked. A stream of forgeries of every kind in
    the primary's name, over another's link, holds up neither the progress nor the silence timer."""
    for has_work in (True, False):
        lab = ReplicaLab(honest=(1,))
        lab[1].replica.work_pending(has_work, lab.now)
        forgeries: list[Any] = [lab.pre_prepare(0, "a"), lab.prepare(0, 0, "a"), lab.commit(0, 0, "a")]
        forgeries += [lab.suspect(0, 1), lab.view_change(0, 4), lab.new_view(4, [], [])]
        for _ in range(30 if has_work else 51):  # the first tick begins to watch the primary
            for message in forgeries:
                lab.deliver(msgspec.structs.replace(message, signature=bytes(64)), 1, link=3)
            lab.tick(100)
        assert [message.new_view for message in lab[1].all_sent(Suspect)][:1] == [1]


def test_fib_130_the_outer_kind_and_index_are_the_inner_ones() -> None:
    """FISCO FIB-130, sawtooth-pbft d7e7fca: the envelope said one type or index and the content another. A kind byte is
    the tag of the very array, a NEW-VIEW holds VIEW-CHANGEs and nothing else, and an author is who signed."""
    lab = ReplicaLab(honest=(0,))
    data = lab.prepare(2, 0, "a").encode()
    for kind in range(16):
        if kind != 2:
            with pytest.raises(InvalidMessage):
                decode_message(data[:1] + bytes([kind]) + data[2:])
    chosen = tuple(lab.prepare(voter, 1, "a").encode() for voter in (1, 2, 3))
    draft = NewView(0, 1, chosen, (), bytes(64))
    signature = lab.sign(1, NEW_VIEW_TAG, new_view_bytes(lab.chain_id, draft))
    lab.deliver(msgspec.structs.replace(draft, signature=signature), 0)
    assert lab[0].replica.status().view == 0 and len(lab[0].evidence) == 1
    lab.propose(0, "a")
    for voter in (1, 2):  # 3's votes under others' indexes, on its own and on their links
        for link in (3, voter):
            lab.deliver(msgspec.structs.replace(lab.prepare(3, 0, "a"), voter=voter), 0, link=link)
    (slot,) = lab[0].replica.status().in_flight
    assert (slot.phase, slot.have) == ("prepare", (0,))


def test_ghsa_23rh_rrqg_wq82_the_largest_view_costs_nothing_and_moves_nobody() -> None:
    """Besu: a round number without a cap made timers overflow and memory grow. Every message of one liar, for views
    near 2^63 whose primary it is; nothing is kept, nobody wishes for them (L12), and a duration has its cap."""
    lab = ReplicaLab(honest=(0, 1, 2))
    exchange = Exchange(lab)
    for view in (2**31 + 3, 2**62 + 3, 2**63 - 5):
        assert lab.primary(view) == 3
        alone = lab.suspects(view, (3,))
        pc = lab.prepared(view - 1, "a", (3,))
        lab.now += 300
        for message in (
            lab.prepare(3, view, "a"),
            lab.commit(3, view, "a"),
            lab.suspect(3, view),
            lab.pre_prepare(view, "b", proposer=3),
            lab.view_change(3, view, suspects=alone),
            lab.view_change(3, view, prepared=[("a", pc)], suspects=alone),
            lab.new_view(view, [lab.view_change(3, view, suspects=alone)], []),
            lab.new_view(view, [], ["a"]),
        ):
            lab.deliver(message, 0, 1, 2, link=3)
        exchange.run()
    for index in (0, 1, 2):
        status = lab[index].replica.status()
        assert (status.view, status.target, status.in_flight) == (0, 0, ())
        assert lab[index].replica.checkpoint_records() == () and lab[index].records == []
        assert lab[index].all_sent(Suspect) == [] and lab[index].all_sent(NewView) == []
    pacemaker = Pacemaker(lab.config.timers)
    assert {pacemaker.view_ms(exponent) for exponent in (5, 16, 64, 2**20, 2**63)} == {60_000}


# --- decoders and execution ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1.0", "0.5", "1e2", "9007199254740992", str(2**70), "true"],
)
def test_v0_40_an_id_that_is_no_finite_integer_is_refused(number: str) -> None:
    """CometBFT v0.40: RPC ids that were not finite numbers came through and broke the reply. Either the body is no
    JSON, or the call is bad and its id is not given back."""
    body = f'{{"jsonrpc":"2.0","method":"m","id":{number}}}'.encode()
    try:
        (call,) = jsonrpc.parse_body(body).calls
    except jsonrpc.ApiError as error:
        assert error.code == -32700
        return
    assert isinstance(call, BadCall) and not isinstance(call, Call)
    assert call.id is None
    json.dumps(call.id, allow_nan=False)


def test_cve_2021_41272_no_integer_is_coerced_on_the_way_in() -> None:
    """Besu coerced a shift's operand to a signed integer and left the chain of its peers. No decoder here turns one
    type or width into another: true, 1.0, a text, a negative and 2^64 are no heights."""
    header = Chain(keys_of(4)).grow(1).blocks[0].header
    good = header.encode()
    assert Header.decode(good) == header
    at = good.index(b"\xc4\x20") + 34  # epoch follows the chain id
    assert good[at : at + 2] == b"\x00\x01"
    wide = [b"\xcc\x01", b"\xcd\x00\x01", b"\xce" + bytes(3) + b"\x01", b"\xcf" + bytes(7) + b"\x01", b"\xd0\x01"]
    other = [b"\xc3", b"\xc2", b"\xca\x3f\x80\x00\x00", b"\xcb\x3f\xf0" + bytes(6), b"\xa11", b"\xff", b"\xc0"]
    for spelling in (*wide, *other, b"\xcf" + b"\xff" * 8):
        with pytest.raises(InvalidEncoding):
            Header.decode(good[: at + 1] + spelling + good[at + 2 :])


def test_cve_2021_39137_what_a_block_executed_depends_on_no_buffer_of_another() -> None:
    """Geth returned data in a buffer that a later call overwrote, and only for some orders of calls: a chain split. A
    replica's inputs and outputs are values: whoever changes its bytes after handing them over changes nothing."""
    lab = ReplicaLab(honest=(1,))
    leaves = list(lab.leaves("a"))
    data = bytearray(lab.pre_prepare(0, "a").encode())
    lab[1].replica.step(bytes(data), 0, lab.now)
    data[:] = bytes(len(data))
    leaves[0] = sha256(b"another")
    lab.pump(1)
    assert lab[1].votes(Prepare) == [(0, 1, lab.block("a").hash)]
    (request,) = lab[1].acquire
    assert request.leaf_hashes == lab.leaves("a") and isinstance(request.leaf_hashes, tuple)
    for value in (lab.block("a"), lab.result(lab.block("a")), lab.prepare(2, 0, "a")):
        with pytest.raises(AttributeError):
            value.height = 9  # type: ignore[misc, union-attr]
