"""Governance: identities of one's own organisation, and changes that several organisations vote on."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.crypto.signatures import ED25519
from dawan_node.execution.channel import Credential, Identity
from dawan_node.execution.module import key_of
from dawan_node.modules.governance.declaration import VOTING_MS, Proposal
from dawan_node.modules.governance.proposals import PARAMETER_BOUNDS
from dawan_node.primitives.codes import Code
from dawan_node.primitives.genesis import BLOCK_BYTES_CEILING, BLOCK_BYTES_FLOOR, WINDOW_CEILING, ParamEntry
from dawan_node.testing.module_kit import DAY_MS, ModuleKit, key_of_person
from tests.execution.toy import bank

PEOPLE = {
    "anna": ("gz", ["supplier"]),
    "ben": ("hk", ["bank"]),
    "clerk": ("gz", ["org_admin", "supplier"]),
    "visitor": ("shenzhen", ["supplier"]),
}


@pytest.fixture
def kit() -> ModuleKit:
    return ModuleKit([], PEOPLE)


def enrolment(name, roles=("supplier",), key=None):
    return {
        "name": name,
        "roles": list(roles),
        "suite": ED25519,
        "public_key": key_of_person(name) if key is None else key,
    }


def reasons(kit, *calls):
    return [kit.run(*call).reason for call in calls]


# -- identities ----------------------------------------------------------------------------------------------------


def test_an_administrator_enrols_for_its_own_organisation_and_the_key_works_at_once(kit):
    enrolled, used = kit.block(kit.call("gz-admin", "enrol", enrolment("dora")), kit.call("dora", "tick"))
    assert (enrolled.code, used.code) == (0, 0)
    identity = kit.get(Identity, key_of("dora"))
    assert (identity.org, identity.roles, identity.status, identity.since_height) == ("gz", ("supplier",), "active", 1)
    assert kit.run("anna", "enrol", enrolment("eve")).code == Code.E_ROLE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "Dora"}, "E_NAME"),
        ({"name": "anna"}, "E_EXISTS"),
        ({"roles": []}, "E_ROLES"),
        ({"roles": ["supplier", "buyer"]}, "E_ROLES"),
        ({"roles": ["buyer", "buyer"]}, "E_ROLES"),
        ({"roles": ["Buyer"]}, "E_ROLES"),
        ({"roles": ["bank"]}, "E_ROLE_RESERVED"),
        ({"roles": ["pboc", "supplier"]}, "E_ROLE_RESERVED"),
        ({"suite": "sm2"}, "E_KEY"),
        ({"public_key": bytes(32)}, "E_KEY"),
        ({"public_key": bytes(31)}, "E_KEY"),
        ({"public_key": key_of_person("anna")}, "E_KEY_USED"),
    ],
)
def test_an_enrolment_that_breaks_a_rule_is_refused(kit, changes, reason):
    assert kit.run("gz-admin", "enrol", {**enrolment("dora"), **changes}).reason == reason


def test_a_reserved_role_stays_with_the_organisations_that_hold_it(kit):
    assert kit.run("hk-admin", "enrol", enrolment("bank-2", ["bank"])).code == 0
    assert kit.run("gz-admin", "enrol", enrolment("bank-3", ["bank"])).reason == "E_ROLE_RESERVED"


def test_revocation_holds_for_the_next_transaction_of_the_same_block_and_for_queued_ones(kit):
    queued = kit.call("anna", "tick")
    before, revoked, after = kit.block(
        kit.call("anna", "tick"), kit.call("gz-admin", "revoke", {"name": "anna"}), queued
    )
    assert (before.code, revoked.code, after.code) == (0, 0, Code.E_IDENTITY)
    assert reasons(kit, ("gz-admin", "revoke", {"name": "anna"}), ("gz-admin", "revoke", {"name": "nobody"})) == [
        "E_REVOKED",
        "E_UNKNOWN",
    ]
    assert kit.run("gz-admin", "enrol", enrolment("anna", key=key_of_person("anna-2"))).reason == "E_EXISTS"
    assert kit.run("gz-admin", "enrol", enrolment("zoe", key=key_of_person("anna"))).reason == "E_KEY_USED"


def test_an_administrator_has_no_power_over_other_organisations(kit):
    assert kit.run("hk-admin", "revoke", {"name": "anna"}).reason == "E_OTHER_ORG"
    rotation = {"name": "anna", "suite": ED25519, "public_key": key_of_person("anna-2")}
    assert kit.run("hk-admin", "rotate", rotation).reason == "E_OTHER_ORG"
    assert kit.run("ben", "rotate", rotation).reason == "E_OTHER_ORG"


def test_rotation_ends_the_old_key_and_the_history_tells_who_signed_when(kit):
    old, new = key_of_person("anna"), key_of_person("anna-2")
    kit.run("anna", "tick")
    assert kit.run("anna", "rotate", {"name": "anna", "suite": ED25519, "public_key": new}).code == 0
    assert kit.run("anna", "tick").code == Code.E_IDENTITY
    kit.use_key("anna", new)
    assert kit.run("anna", "tick").code == 0
    (first,), _ = kit.query("credential", {"public_key": old})
    (second,), _ = kit.query("credential", {"public_key": new})
    assert (first.name, first.from_height, first.until_height) == ("anna", 0, 2)
    assert (second.name, second.from_height, second.until_height) == ("anna", 2, 0)
    assert kit.run("gz-admin", "rotate", {"name": "anna", "suite": ED25519, "public_key": old}).reason == "E_KEY_USED"


def test_the_last_administrator_cannot_be_revoked_not_even_in_one_block_with_the_other(kit):
    assert kit.run("hk-admin", "revoke", {"name": "hk-admin"}).reason == "E_LAST_ADMIN"
    first, second = kit.block(
        kit.call("gz-admin", "revoke", {"name": "clerk"}), kit.call("gz-admin", "revoke", {"name": "gz-admin"})
    )
    assert (first.reason, second.reason) == ("", "E_LAST_ADMIN")
    kit.run("hk-admin", "enrol", enrolment("hk-admin-2", ["org_admin"]))
    assert kit.run("hk-admin", "revoke", {"name": "hk-admin"}).code == 0
    assert kit.run("hk-admin-2", "revoke", {"name": "hk-admin-2"}).reason == "E_LAST_ADMIN"


def test_identities_of_the_genesis_are_listed_though_nothing_of_them_is_copied_into_the_state(kit):
    assert not any(collection == "identity" for _, collection, _ in kit.state.values)
    names, cursor = [], None
    for _ in range(10):
        items, cursor = kit.query("identities", limit=3, cursor=cursor)
        names += [item.name for item in items]
        if cursor is None:
            break
    assert names == sorted([*PEOPLE, *(f"{org}-admin" for org in ("gz", "hk", "hq", "mo", "shenzhen"))])
    assert [item.name for item in kit.query("identities", {"org": "hk"})[0]] == ["ben", "hk-admin"]


# -- proposals -----------------------------------------------------------------------------------------------------


def pass_proposal(kit, proposal, orgs=("gz", "hk", "mo")):
    for org in orgs:
        assert kit.run(f"{org}-admin", "vote", {"proposal": proposal, "approve": True}).code == 0


def test_a_parameter_changes_by_proposal_vote_and_enact_and_only_then(kit):
    assert kit.run("gz-admin", "propose_parameter", {"id": "wider", "name": "window", "value": 8}).code == 0
    assert kit.run("gz-admin", "enact", {"proposal": "wider"}).reason == "E_NOT_PASSED"
    pass_proposal(kit, "wider", ("gz", "hk"))
    assert kit.run("gz-admin", "enact", {"proposal": "wider"}).reason == "E_NOT_PASSED"
    pass_proposal(kit, "wider", ("hq",))
    assert dict(kit.query("configuration")[0][0].params)["window"] == 4
    assert kit.run("gz-admin", "enact", {"proposal": "wider"}).code == 0
    (configuration,), _ = kit.query("configuration")
    assert (dict(configuration.params)["window"], configuration.since_height) == (8, kit.height)
    assert kit.get(Proposal, b"wider").enacted_height == kit.height
    assert kit.run("gz-admin", "enact", {"proposal": "wider"}).reason == "E_NOT_PASSED"


def test_one_vote_per_organisation_and_only_of_the_electorate(kit):
    kit.run("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8})
    assert reasons(
        kit,
        ("gz-admin", "vote", {"proposal": "p", "approve": True}),
        ("clerk", "vote", {"proposal": "p", "approve": False}),
        ("shenzhen-admin", "vote", {"proposal": "p", "approve": True}),
        ("gz-admin", "vote", {"proposal": "q", "approve": True}),
        ("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 9}),
    ) == ["", "E_VOTED", "E_NOT_ELECTOR", "E_UNKNOWN", "E_EXISTS"]


def test_a_proposal_that_cannot_pass_any_more_is_rejected_and_a_late_one_is_closed(kit):
    kit.run("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8})
    kit.run("gz-admin", "propose_parameter", {"id": "late", "name": "window", "value": 8})
    for org in ("gz", "hk"):
        kit.run(f"{org}-admin", "vote", {"proposal": "p", "approve": False})
    assert kit.get(Proposal, b"p").status == "rejected"
    assert kit.run("mo-admin", "vote", {"proposal": "p", "approve": True}).reason == "E_CLOSED"
    pass_proposal(kit, "late")
    kit.pass_time(days=VOTING_MS // DAY_MS)
    assert kit.run("hq-admin", "vote", {"proposal": "late", "approve": True}).reason == "E_CLOSED"
    assert kit.run("hq-admin", "enact", {"proposal": "late"}).reason == "E_CLOSED"


@pytest.mark.parametrize("name", sorted(PARAMETER_BOUNDS))
def test_whatever_a_vote_can_set_a_channel_can_start_with(kit, name):
    """So a genesis and a vote never disagree about what is allowed."""
    for value in PARAMETER_BOUNDS[name]:
        msgspec.structs.replace(kit.genesis, params=[ParamEntry(name, value)]).check()


@pytest.mark.parametrize(
    ("command", "args", "reason"),
    [
        ("propose_parameter", {"id": "p", "name": "nonsense", "value": 1}, "E_UNKNOWN"),
        ("propose_parameter", {"id": "p", "name": "window", "value": 0}, "E_VALUE"),
        ("propose_parameter", {"id": "p", "name": "window", "value": WINDOW_CEILING + 1}, "E_VALUE"),
        ("propose_parameter", {"id": "p", "name": "block_bytes_max", "value": BLOCK_BYTES_FLOOR - 1}, "E_VALUE"),
        ("propose_parameter", {"id": "p", "name": "block_bytes_max", "value": BLOCK_BYTES_CEILING + 1}, "E_VALUE"),
        ("propose_parameter", {"id": "p", "name": "tx_lifetime_ms_max", "value": DAY_MS + 1}, "E_VALUE"),
        ("propose_parameter", {"id": "P 1", "name": "window", "value": 1}, "E_NAME"),
        ("propose_freeze", {"id": "p", "module": "governance", "frozen": True}, "E_GOVERNANCE"),
        ("propose_freeze", {"id": "p", "module": "nothing", "frozen": True}, "E_UNKNOWN"),
        ("propose_org_role", {"id": "p", "org": "nowhere", "role": "bank"}, "E_UNKNOWN"),
        ("propose_org_role", {"id": "p", "org": "gz", "role": "Bank"}, "E_ROLES"),
    ],
)
def test_a_proposal_that_makes_no_sense_is_not_opened(kit, command, args, reason):
    assert kit.run("gz-admin", command, args).reason == reason


def test_a_frozen_module_refuses_everybody_until_it_is_unfrozen():
    kit = ModuleKit([bank], {"anna": ("gz", ["customer"])})
    for proposal, frozen, code in (("stop", True, Code.E_FROZEN), ("go", False, 0)):
        propose = {"id": proposal, "module": "bank", "frozen": frozen}
        assert kit.run("gz-admin", "propose_freeze", propose, module="governance").code == 0
        for org in ("gz", "hk", "mo"):
            kit.run(f"{org}-admin", "vote", {"proposal": proposal, "approve": True}, module="governance")
        assert kit.run("gz-admin", "enact", {"proposal": proposal}, module="governance").code == 0
        assert kit.run("anna", "deposit", {"number": "1", "amount": ["CNY", 1]}).code == code


def test_a_granted_role_may_be_given_by_the_organisations_administrators(kit):
    kit.run("gz-admin", "propose_org_role", {"id": "gz-bank", "org": "gz", "role": "bank"})
    pass_proposal(kit, "gz-bank")
    assert kit.run("gz-admin", "enrol", enrolment("bank-3", ["bank"])).reason == "E_ROLE_RESERVED"
    kit.run("gz-admin", "enact", {"proposal": "gz-bank"})
    assert kit.run("gz-admin", "enrol", enrolment("bank-3", ["bank"])).code == 0


def test_a_barrier_that_fails_or_changes_a_parameter_keeps_the_validators(kit):
    kit.run("gz-admin", "enact", {"proposal": "nothing"})
    kit.run("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8})
    pass_proposal(kit, "p")
    kit.run("gz-admin", "enact", {"proposal": "p"})
    barriers = [block for block in kit.blocks if block.header.barrier]
    assert [block.receipt_objects[0].reason for block in barriers] == ["E_UNKNOWN", ""]
    for block in kit.blocks:
        assert block.result.next_valset_hash == kit.genesis.validator_set.hash


@pytest.mark.parametrize(
    ("policies", "electorate", "needed"),
    [
        ([], ("gz", "hk", "hq", "mo"), 3),
        ([("default", 2, "founding")], ("gz", "hk", "hq", "mo"), 2),
        ([("default", 2, "founding"), ("parameter", 5, "members")], ("gz", "hk", "hq", "mo", "shenzhen"), 5),
        ([("default", 99, "founding")], ("gz", "hk", "hq", "mo"), 4),
    ],
)
def test_the_policy_of_the_kind_or_the_default_or_more_than_half_of_the_founders_decides(policies, electorate, needed):
    kit = ModuleKit([], PEOPLE, policies=policies)
    kit.run("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8})
    proposal = kit.get(Proposal, b"p")
    assert (proposal.electorate, proposal.needed) == (electorate, needed)


# -- any sequence ----------------------------------------------------------------------------------------------------

names = st.sampled_from(["gz-admin", "hk-admin", "anna", "ben", "clerk", "p1", "p2"])
steps = st.one_of(
    st.tuples(st.just("enrol"), names, names, st.sampled_from([["org_admin"], ["supplier"], ["bank"]])),
    st.tuples(st.just("revoke"), names, names),
    st.tuples(st.just("rotate"), names, names, st.integers(0, 3)),
)


@settings(max_examples=50)
@given(st.lists(steps, max_size=14))
def test_no_sequence_of_identity_commands_breaks_an_invariant_or_a_module(sequence):
    """The kit checks after every block that keys and identities agree and every organisation keeps an administrator."""
    kit = ModuleKit([], PEOPLE)
    for kind, sender, name, *more in sequence:
        if kind == "enrol":
            receipt = kit.run(sender, "enrol", enrolment(name, more[0]))
        elif kind == "revoke":
            receipt = kit.run(sender, "revoke", {"name": name})
        else:
            key = key_of_person(f"{name}-{more[0]}")
            receipt = kit.run(sender, "rotate", {"name": name, "suite": ED25519, "public_key": key})
            if receipt.code == 0:
                kit.use_key(name, key)
        assert receipt.code in (0, Code.E_IDENTITY, Code.E_ROLE, Code.E_MODULE)
    open_keys = [
        Credential.spec.decode(value)
        for (_, collection, _), value in kit.state.values.items()
        if collection == "credential"
    ]
    assert len({record.name for record in open_keys if not record.until_height}) == len(
        [record for record in open_keys if not record.until_height]
    ), "a name has at most one open key"
