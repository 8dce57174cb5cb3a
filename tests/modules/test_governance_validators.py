"""Validators by vote: one more, another key, one less; who may ask, which keys, and what stays on record."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.execution.channel import NodeRecord
from dawan_node.execution.module import key_of
from dawan_node.modules.governance.declaration import VALIDATOR_KINDS, VOTING_MS, Proposal
from dawan_node.primitives.codes import Code
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.seat import SEAT_TAG, seat_claim_bytes
from dawan_node.primitives.validators import VALIDATORS_MAX, fault_bound, quorum
from dawan_node.testing.module_kit import ModuleKit, key_of_person, private_key_of, seat_args

PEOPLE = {"anna": ("gz", ["supplier"]), "visitor": ("shenzhen", ["supplier"])}


@pytest.fixture
def kit() -> ModuleKit:
    return ModuleKit([], PEOPLE)


def key(name: str) -> PrivateKey:
    return private_key_of(name)


def voters(kit: ModuleKit) -> dict[str, tuple[str, bytes]]:
    return {name: (org, each) for name, org, _, each in kit.executor.configuration(kit.state).validators}


def propose(kit: ModuleKit, command: str, validator: str, holder: PrivateKey, **more: Any) -> Receipt:
    org = more.pop("org", validator[:2])
    args = seat_args(kit.genesis, more.pop("id", "p"), validator, holder, org=org) | more
    return kit.run(f"{org}-admin", command, args)


def pass_proposal(kit: ModuleKit, proposal: str = "p") -> None:
    for org in ("gz", "hk", "mo"):
        assert kit.run(f"{org}-admin", "vote", {"proposal": proposal, "approve": True}).code == 0


def enact(kit: ModuleKit, proposal: str = "p") -> Receipt:
    pass_proposal(kit, proposal)
    return kit.run("hq-admin", "enact", {"proposal": proposal})


def remove(kit: ModuleKit, validator: str, proposal: str) -> Receipt:
    opened = kit.run("hq-admin", "propose_validator_removal", {"id": proposal, "validator": validator})
    return enact(kit, proposal) if opened.code == 0 else opened


# -- the three changes -----------------------------------------------------------------------------------------------


def test_another_key_votes_from_the_block_after_the_barrier_and_the_old_one_never_again(kit: ModuleKit) -> None:
    old = kit.genesis.validators[0].public_key
    assert propose(kit, "propose_validator_key", "gz1", key("new"), addresses=["gz1.example.org:7100"]).code == 0
    receipt = enact(kit)
    barrier = kit.blocks[-1]
    assert barrier.header.barrier and barrier.header.epoch == 0
    assert barrier.result.next_valset_hash == barrier.next_validators.hash != barrier.header.valset_hash
    assert voters(kit)["gz1"] == ("gz", key("new").public_key)
    assert receipt.events[0][1]["n"] == 4
    kit.run("anna", "tick")
    assert kit.blocks[-1].header.epoch == 1
    assert kit.blocks[-1].header.valset_hash == barrier.next_validators.hash
    record = kit.get(NodeRecord, key_of("gz1"))
    assert record is not None
    assert (record.public_key, record.addresses) == (key("new").public_key, ("gz1.example.org:7100",))
    terms, _ = kit.query("validators", {"validator": "gz1"})
    assert [(term.public_key, term.from_height, term.until_height, term.ended) for term in terms] == [
        (old, 1, barrier.header.height, "replaced"),
        (key("new").public_key, barrier.header.height + 1, 0, ""),
    ]


def test_one_more_validator_changes_how_many_may_fail_only_with_the_seventh(kit: ModuleKit) -> None:
    for place, name in enumerate(("gz2", "hk2", "mo2")):
        assert propose(kit, "propose_validator", name, key(name), id=name).code == 0
        receipt = enact(kit, name)
        n = 5 + place
        (event,) = [data for event, data in receipt.events if event == "ValidatorsChanged"]
        expected = {"epoch": place + 1, "from_height": kit.height + 1, "n": n}
        assert event == expected | {"tolerated": fault_bound(n), "quorum": quorum(n)}
    assert kit.blocks[-1].next_validators.f == 2
    assert [seat[0] for seat in kit.executor.configuration(kit.state).validators] == sorted(voters(kit))


def test_a_removed_validator_votes_no_longer_and_its_node_may_stay_under_its_key(kit: ModuleKit) -> None:
    old = key("validator mo1").public_key
    assert remove(kit, "mo1", "p").code == 0
    assert "mo1" not in voters(kit) and kit.blocks[-1].next_validators.n == 3
    record = {"name": "mo1", "suite": ED25519, "public_key": old, "addresses": []}
    assert kit.run("mo-admin", "register_node", record).code == 0
    assert kit.run("mo-admin", "register_node", record | {"name": "mo9"}).reason == "E_KEY_USED"
    assert kit.run("hk-admin", "register_node", record | {"name": "hk9"}).reason == "E_KEY_USED"
    # The organisation has no seat left, so it may leave too.
    assert kit.run("hk-admin", "propose_org_status", {"id": "bye", "org": "mo", "status": "removed"}).code == 0


def test_a_node_that_observes_becomes_a_validator_with_the_key_it_has(kit: ModuleKit) -> None:
    node = {"name": "gz2", "suite": ED25519, "public_key": key("gz2").public_key, "addresses": ["gz2.example:7100"]}
    assert kit.run("gz-admin", "register_node", node).code == 0
    assert propose(kit, "propose_validator", "gz3", key("gz2")).reason == "E_KEY_USED", "it is another node's"
    assert propose(kit, "propose_validator", "gz2", key("gz2")).code == 0
    assert kit.run("gz-admin", "register_node", node | {"addresses": ["gz2.example:7200"]}).code == 0, "meanwhile"
    assert enact(kit).code == 0
    record = kit.get(NodeRecord, key_of("gz2"))
    assert record is not None and record.addresses == ("gz2.example:7200",), "the proposal named none"
    assert kit.run("gz-admin", "register_node", node).code == 0


def test_a_seat_that_was_given_up_comes_back_to_the_same_organisation_with_a_new_key_only(kit: ModuleKit) -> None:
    assert remove(kit, "mo1", "bye").code == 0
    assert propose(kit, "propose_validator", "mo1", key("validator mo1")).reason == "E_KEY_USED"
    assert propose(kit, "propose_validator", "mo1", key("new"), org="hk").reason == "E_OTHER_ORG"
    assert propose(kit, "propose_validator", "mo1", key("new")).code == 0
    assert enact(kit).code == 0
    terms, _ = kit.query("validators", {"validator": "mo1"})
    assert [term.ended for term in terms] == ["removed", ""]


# -- who and which ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "validator", "org", "reason"),
    [
        ("propose_validator_key", "gz9", "gz", "E_UNKNOWN"),
        ("propose_validator_key", "hk1", "gz", "E_OTHER_ORG"),
        ("propose_validator", "gz1", "gz", "E_EXISTS"),
        ("propose_validator", "hk1", "gz", "E_EXISTS"),
        ("propose_validator", "GZ 2", "gz", "E_NAME"),
    ],
)
def test_an_organisation_asks_for_seats_and_keys_of_its_own(
    kit: ModuleKit, command: str, validator: str, org: str, reason: str
) -> None:
    assert propose(kit, command, validator, key("new"), org=org).reason == reason


def test_only_an_administrator_proposes_and_removal_may_be_proposed_by_any(kit: ModuleKit) -> None:
    args = seat_args(kit.genesis, "p", "gz1", key("new"))
    assert kit.run("anna", "propose_validator_key", args).code == Code.E_ROLE
    assert kit.run("gz1", "propose_validator_key", args).code == Code.E_IDENTITY, "nobody's name"
    assert kit.run("anna", "propose_validator_removal", {"id": "p", "validator": "hk1"}).code == Code.E_ROLE
    assert kit.run("hk-admin", "propose_validator_removal", {"id": "p", "validator": "xx"}).reason == "E_UNKNOWN"
    assert kit.run("shenzhen-admin", "propose_validator_removal", {"id": "p", "validator": "hk1"}).code == 0


@pytest.mark.parametrize("command", ["propose_validator_key", "propose_validator"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"suite": "sm2"}, "E_KEY"),
        ({"public_key": bytes(31)}, "E_KEY"),
        ({"public_key": bytes(32)}, "E_KEY"),  # small order
        ({"public_key": (1).to_bytes(32, "little")}, "E_KEY"),
        ({"public_key": (2**255 - 19 + 5).to_bytes(32, "little")}, "E_KEY"),  # not canonical
        ({"public_key": key_of_person("anna")}, "E_KEY_USED"),
        ({"public_key": private_key_of("validator gz1").public_key}, "E_KEY_USED"),
        ({"public_key": private_key_of("validator hk1").public_key}, "E_KEY_USED"),
        ({"public_key": private_key_of("somebody else").public_key}, "E_POSSESSION"),
        ({"possession": bytes(64)}, "E_POSSESSION"),
        ({"addresses": ["nowhere"]}, "E_ADDRESS"),
        ({"id": "P 1"}, "E_NAME"),
    ],
)
def test_a_key_that_must_not_vote_is_refused(
    kit: ModuleKit, command: str, changes: dict[str, Any], reason: str
) -> None:
    validator = "gz1" if command == "propose_validator_key" else "gz2"
    args = seat_args(kit.genesis, "p", validator, key("new")) | changes
    assert kit.run("gz-admin", command, args).reason == reason


@pytest.mark.parametrize(
    "claim",
    [
        lambda g: seat_claim_bytes(bytes(32), "gz1", "gz", ED25519, private_key_of("new").public_key),
        lambda g: seat_claim_bytes(g.chain_id, "gz2", "gz", ED25519, private_key_of("new").public_key),
        lambda g: seat_claim_bytes(g.chain_id, "gz1", "hk", ED25519, private_key_of("new").public_key),
        lambda g: seat_claim_bytes(g.chain_id, "gz1", "gz", ED25519, private_key_of("other").public_key),
    ],
)
def test_a_claim_for_another_channel_seat_organisation_or_key_is_none(kit: ModuleKit, claim: Any) -> None:
    signature = key("new").sign(SEAT_TAG, claim(kit.genesis))
    assert propose(kit, "propose_validator_key", "gz1", key("new"), possession=signature).reason == "E_POSSESSION"


def test_the_claim_is_signed_under_a_domain_of_its_own(kit: ModuleKit) -> None:
    claim = seat_claim_bytes(kit.genesis.chain_id, "gz1", "gz", ED25519, key("new").public_key)
    assert SEAT_TAG == b"dawan:seat:v1"
    for tag in (b"dawan:join:v1", b"dawan:tx:v1", b"dawan:hello:v1", b"dawan:prepare:v1"):
        signature = key("new").sign(tag, claim)
        assert propose(kit, "propose_validator_key", "gz1", key("new"), possession=signature).reason == "E_POSSESSION"


def test_no_key_that_ever_voted_comes_back_as_anything(kit: ModuleKit) -> None:
    """Not only those of the genesis: the second key of a seat is as burnt as the first."""
    first, second = key("validator gz1"), key("second")
    for name in ("second", "third"):
        assert propose(kit, "propose_validator_key", "gz1", key(name), id=name).code == 0
        assert enact(kit, name).code == 0
    for burnt in (first, second):
        for command, validator in (("propose_validator_key", "gz1"), ("propose_validator", "gz2")):
            assert propose(kit, command, validator, burnt).reason == "E_KEY_USED"
        person = {"name": "zoe", "roles": ["supplier"], "suite": ED25519, "public_key": burnt.public_key}
        assert kit.run("gz-admin", "enrol", person).reason == "E_KEY_USED"
        node = {"name": "gz8", "suite": ED25519, "public_key": burnt.public_key, "addresses": []}
        assert kit.run("gz-admin", "register_node", node).reason == "E_KEY_USED"
        assert kit.run("gz-admin", "register_node", node | {"name": "gz1"}).reason == "E_KEY", "nor as gz1 itself"


def test_a_key_that_is_proposed_is_taken_until_the_vote_lapses(kit: ModuleKit) -> None:
    assert propose(kit, "propose_validator_key", "gz1", key("new")).code == 0
    person = {"name": "thief", "roles": ["supplier"], "suite": ED25519, "public_key": key("new").public_key}
    node = {"name": "hk9", "suite": ED25519, "public_key": key("new").public_key, "addresses": []}
    assert kit.run("hk-admin", "enrol", person).reason == "E_KEY_USED"
    assert kit.run("hk-admin", "register_node", node).reason == "E_KEY_USED"
    kit.pass_time(VOTING_MS)
    assert kit.run("hk-admin", "register_node", node).code == 0


def test_one_change_of_the_validators_is_under_way_at_a_time_whatever_its_kind(kit: ModuleKit) -> None:
    assert propose(kit, "propose_validator_key", "gz1", key("new")).code == 0
    others = [
        lambda: propose(kit, "propose_validator_key", "hk1", key("hk new"), id="q"),
        lambda: propose(kit, "propose_validator", "hk2", key("hk2"), id="q"),
        lambda: kit.run("hk-admin", "propose_validator_removal", {"id": "q", "validator": "mo1"}),
    ]
    assert [other().reason for other in others] == ["E_OPEN_CHANGE"] * 3
    pass_proposal(kit)
    assert [other().reason for other in others] == ["E_OPEN_CHANGE"] * 3
    assert kit.run("hq-admin", "enact", {"proposal": "p"}).code == 0
    assert others[2]().code == 0
    for org in ("gz", "hk"):
        kit.run(f"{org}-admin", "vote", {"proposal": "q", "approve": False})
    assert propose(kit, "propose_validator", "hk2", key("hk2"), id="r").code == 0, "a refused one is in nobody's way"
    kit.pass_time(VOTING_MS)
    assert propose(kit, "propose_validator", "hk3", key("hk3"), id="s").code == 0, "nor one that lapsed"


def test_one_validator_stays_and_there_are_64_at_most(kit: ModuleKit) -> None:
    for name in ("gz1", "hk1", "hq1"):
        assert remove(kit, name, f"bye-{name}").code == 0
    assert remove(kit, "mo1", "last").reason == "E_VALIDATORS"
    assert len(voters(kit)) == 1
    for number in range(2, VALIDATORS_MAX + 1):
        name = f"gz{number}"
        assert propose(kit, "propose_validator", name, key(name), id=name).code == 0
        assert enact(kit, name).code == 0
    assert len(voters(kit)) == VALIDATORS_MAX
    assert propose(kit, "propose_validator", "gz99", key("gz99")).reason == "E_VALIDATORS"
    assert propose(kit, "propose_validator_key", "mo1", key("mo new")).code == 0
    assert enact(kit).code == 0


def test_what_was_true_when_a_change_was_proposed_is_checked_again_when_it_is_enacted(kit: ModuleKit) -> None:
    assert kit.run("hq-admin", "propose_validator_removal", {"id": "bye", "validator": "mo1"}).code == 0
    kit.pass_time(VOTING_MS - 60_000)
    pass_proposal(kit, "bye")
    kit.pass_time(60_000)
    assert kit.run("hq-admin", "enact", {"proposal": "bye"}).reason == "E_CLOSED"
    assert propose(kit, "propose_validator", "shenzhen1", key("sz1"), org="shenzhen").code == 0
    pass_proposal(kit)
    kit.run("gz-admin", "propose_org_status", {"id": "stop", "org": "shenzhen", "status": "suspended"})
    enact(kit, "stop")
    assert kit.run("hq-admin", "enact", {"proposal": "p"}).reason == "E_STATUS"
    assert kit.blocks[-1].result.next_valset_hash == kit.genesis.validator_set.hash


def test_the_policy_for_validators_counts_the_votes_of_all_three_kinds() -> None:
    kit = ModuleKit([], PEOPLE, policies=[("default", 2, "founding"), ("validator", 4, "founding")])
    proposals = [
        ("propose_validator", seat_args(kit.genesis, "p1", "gz2", key("gz2"))),
        ("propose_validator_key", seat_args(kit.genesis, "p2", "gz1", key("new"))),
        ("propose_validator_removal", {"id": "p3", "validator": "gz1"}),
    ]
    kinds = []
    for command, args in proposals:
        assert kit.run("gz-admin", command, args).code == 0
        proposal = kit.get(Proposal, args["id"].encode())
        assert proposal is not None and proposal.needed == 4
        kinds.append(proposal.kind)
        kit.run("gz-admin", "vote", {"proposal": proposal.id, "approve": False})
    assert tuple(kinds) == VALIDATOR_KINDS


# -- history ----------------------------------------------------------------------------------------------------------


def test_todays_state_says_who_voted_with_which_key_at_any_height(kit: ModuleKit) -> None:
    seen = {0: voters(kit)}
    changes = [
        lambda: propose(kit, "propose_validator", "gz2", key("gz2"), id="a").code or enact(kit, "a").code,
        lambda: propose(kit, "propose_validator_key", "gz2", key("gz2 b"), id="b").code or enact(kit, "b").code,
        lambda: remove(kit, "hk1", "c").code,
        lambda: propose(kit, "propose_validator", "hk1", key("hk1 b"), id="d").code or enact(kit, "d").code,
    ]
    for change in changes:
        assert change() == 0
        seen[kit.height] = voters(kit)
    terms, cursor = kit.query("validators", limit=4)
    rest, end = kit.query("validators", limit=4, cursor=cursor)
    assert end is None and len(rest) == 3
    at = dict(seen)
    now: dict[str, tuple[str, bytes]] = {}
    for height in range(1, kit.height + 1):
        now = at.get(height - 1, now)
        found = {
            term.name: (term.org, term.public_key)
            for term in (*terms, *rest)
            if term.from_height <= height and (not term.until_height or height <= term.until_height)
        }
        assert found == now, height
    epochs, _ = kit.query("validator_epochs")
    assert [epoch.from_height - 1 for epoch in epochs] == list(seen)[1:]


steps = st.lists(
    st.tuples(
        st.sampled_from(["propose_validator", "propose_validator_key", "propose_validator_removal"]),
        st.sampled_from(["gz1", "gz2", "hk1", "hk2", "mo1"]),
        st.integers(0, 4),
    ),
    max_size=8,
)


@settings(max_examples=40)
@given(steps)
def test_no_sequence_of_changes_breaks_the_record_or_gives_one_key_two_seats(
    sequence: list[tuple[str, str, int]],
) -> None:
    """The kit checks after every block that keys in force, configuration, epochs and nodes agree."""
    kit, numbers = ModuleKit([], PEOPLE), count()
    burnt: set[bytes] = set()
    for command, validator, number in sequence:
        proposal, holder = f"p{next(numbers)}", key(f"key {number}")
        before = voters(kit)
        if command == "propose_validator_removal":
            receipt = remove(kit, validator, proposal)
        else:
            receipt = propose(kit, command, validator, holder, id=proposal)
            if receipt.code == 0:
                receipt = enact(kit, proposal)
        after = voters(kit)
        keys = [each for _, each in after.values()]
        assert len(set(keys)) == len(keys) >= 1
        assert (receipt.code == 0) == (after != before)
        burnt |= {each for _, each in before.values()} - set(keys)
        assert not burnt.intersection(keys), "a key came back"
