"""Governance: organisations that join, are suspended, come back and leave; their nodes and revocation lists."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.crypto.signatures import ED25519
from dawan_node.execution.channel import Credential, Identity, NodeRecord, Organisation
from dawan_node.execution.membership import read_membership
from dawan_node.execution.module import key_of
from dawan_node.modules.governance.declaration import (
    ADDRESSES_MAX,
    AUTHORITIES_MAX,
    NODES_PER_ORG_MAX,
    PastOrganisation,
    Proposal,
)
from dawan_node.modules.governance.nodes import is_address
from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import ModuleKit, key_of_person, private_key_of, seat_args

PEOPLE = {"anna": ("gz", ["supplier"]), "visitor": ("shenzhen", ["supplier"])}
ROOT = b"root certificate of gdlog"


@pytest.fixture
def kit() -> ModuleKit:
    return ModuleKit([], PEOPLE)


def node(name="gdlog1", key=None, addresses=("gdlog1.example.org:7100",)):
    return {
        "name": name,
        "suite": ED25519,
        "public_key": key or key_of_person(f"node {name}"),
        "addresses": list(addresses),
    }


def newcomer(**changes):
    return {
        "id": "join-gdlog",
        "org": "gdlog",
        "names": {"en": "Guangdong Logistics Ltd", "zh-Hans": "广东物流有限公司"},
        "ca": [ROOT],
        "admin": "gdlog-admin",
        "suite": ED25519,
        "public_key": key_of_person("gdlog-admin"),
        "nodes": [node()],
        **changes,
    }


def decide(kit, proposal, orgs=("gz", "hk", "mo")):
    for org in orgs:
        assert kit.run(f"{org}-admin", "vote", {"proposal": proposal, "approve": True}).code == 0
    return kit.run(f"{orgs[0]}-admin", "enact", {"proposal": proposal})


def join(kit):
    assert kit.run("gz-admin", "propose_org", newcomer()).code == 0
    assert decide(kit, "join-gdlog").code == 0


def set_status(kit, org, status, voters=("gz", "hk", "mo")):
    name = f"{status}-{org}-{kit.height}"
    receipt = kit.run(f"{voters[0]}-admin", "propose_org_status", {"id": name, "org": org, "status": status})
    return receipt if receipt.code else decide(kit, name, voters)


def membership(kit):
    return read_membership(kit.executor, kit.state)


# -- joining ---------------------------------------------------------------------------------------------------------


def test_an_organisation_joins_by_vote_with_its_authority_its_administrator_and_its_node(kit):
    assert kit.run("gdlog-admin", "tick").code == Code.E_IDENTITY
    assert kit.run("gz-admin", "propose_org", newcomer()).code == 0
    assert "gdlog" not in membership(kit).organisations
    assert kit.run("gdlog-admin", "tick").code == Code.E_IDENTITY
    assert decide(kit, "join-gdlog").code == 0
    assert kit.blocks[-1].header.barrier
    assert kit.blocks[-1].result.next_valset_hash == kit.genesis.validator_set.hash
    record = membership(kit).organisations["gdlog"]
    assert (record.ca, record.founding, record.status, record.since_height) == ((ROOT,), False, "active", kit.height)
    assert dict(record.names)["zh-Hans"] == "广东物流有限公司"
    assert kit.run("gdlog-admin", "tick").code == 0
    found = membership(kit).nodes["gdlog1"]
    assert (found.org, found.public_key, found.addresses) == (
        "gdlog",
        key_of_person("node gdlog1"),
        ("gdlog1.example.org:7100",),
    )


def test_a_newcomers_administrator_governs_its_own_people_and_nobody_elses(kit):
    join(kit)
    enrolment = {"name": "gdlog-clerk", "roles": ["supplier"], "suite": ED25519, "public_key": key_of_person("clerk")}
    assert kit.run("gdlog-admin", "enrol", enrolment).code == 0
    assert kit.run("gdlog-admin", "revoke", {"name": "anna"}).reason == "E_OTHER_ORG"
    bank = {**enrolment, "name": "gdlog-bank", "roles": ["bank"], "public_key": key_of_person("bank")}
    assert kit.run("gdlog-admin", "enrol", bank).reason == "E_ROLE_RESERVED"
    # It is a member, not a founder: it opens proposals, and does not vote on them.
    assert kit.run("gdlog-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8}).code == 0
    assert kit.run("gdlog-admin", "vote", {"proposal": "p", "approve": True}).reason == "E_NOT_ELECTOR"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"org": "GD Log"}, "E_NAME"),
        ({"org": "gz"}, "E_EXISTS"),
        ({"org": "shenzhen"}, "E_EXISTS"),
        ({"admin": "Admin"}, "E_NAME"),
        ({"admin": "anna"}, "E_EXISTS"),
        ({"names": {"zh-Hans": "没有英文名"}}, "E_VALUE"),
        ({"names": {"en": "x", "tlh": "y"}}, "E_VALUE"),
        ({"ca": []}, "E_CERTIFICATE"),
        ({"ca": [ROOT, ROOT]}, "E_CERTIFICATE"),
        ({"ca": [ROOT, b"root certificate of hk"]}, "E_CERTIFICATE"),
        ({"ca": [bytes([each]) for each in range(AUTHORITIES_MAX + 1)]}, "E_CERTIFICATE"),
        ({"suite": "sm2"}, "E_KEY"),
        ({"public_key": bytes(32)}, "E_KEY"),
        ({"public_key": key_of_person("anna")}, "E_KEY_USED"),
        ({"public_key": private_key_of("validator gz1").public_key}, "E_KEY_USED"),
        ({"nodes": [node(key=key_of_person("gdlog-admin"))]}, "E_KEY_USED"),
        ({"nodes": [node(), node("gdlog2", key_of_person("node gdlog1"))]}, "E_KEY_USED"),
        ({"nodes": [node(), node(key=key_of_person("another"))]}, "E_EXISTS"),
        ({"nodes": [node(key=bytes(32))]}, "E_KEY"),
        ({"nodes": [node("gz1")]}, "E_OTHER_ORG"),
        ({"nodes": [node(addresses=["nowhere"])]}, "E_ADDRESS"),
        ({"nodes": [node(addresses=["a.example:1", "a.example:1"])]}, "E_ADDRESS"),
        ({"nodes": [node(f"gdlog{each}") for each in range(5)]}, "E_LIMIT"),
    ],
)
def test_an_organisation_that_breaks_a_rule_is_not_even_proposed(kit, changes, reason):
    receipt = kit.run("gz-admin", "propose_org", newcomer(**changes))
    assert (receipt.code, receipt.reason) == (Code.E_MODULE, reason)
    assert kit.get(Proposal, b"join-gdlog") is None


def test_what_was_proposed_is_judged_again_when_it_is_enacted(kit):
    kit.run("gz-admin", "propose_org", newcomer())
    stolen = {
        "name": "thief",
        "roles": ["supplier"],
        "suite": ED25519,
        "public_key": key_of_person("gdlog-admin"),
    }
    assert kit.run("gz-admin", "enrol", stolen).code == 0
    assert decide(kit, "join-gdlog").reason == "E_KEY_USED"
    assert "gdlog" not in membership(kit).organisations


def test_two_proposals_for_one_organisation_admit_it_once(kit):
    kit.run("gz-admin", "propose_org", newcomer())
    kit.run("hk-admin", "propose_org", newcomer(id="again"))
    assert decide(kit, "join-gdlog").code == 0
    assert decide(kit, "again").reason == "E_EXISTS"


# -- suspending and leaving ------------------------------------------------------------------------------------------


def test_a_suspended_organisation_sends_nothing_from_the_next_block_on_and_comes_back(kit):
    assert kit.run("visitor", "tick").code == 0
    queued = kit.call("visitor", "tick")
    assert set_status(kit, "shenzhen", "suspended").code == 0
    assert kit.block(queued)[0].code == Code.E_IDENTITY
    assert kit.run("shenzhen-admin", "tick").code == Code.E_IDENTITY
    assert "shenzhen" not in membership(kit).active_orgs
    assert set_status(kit, "shenzhen", "active").code == 0
    assert kit.run("visitor", "tick").code == 0


def test_a_suspended_founder_is_no_elector_but_its_validator_still_votes(kit):
    assert set_status(kit, "mo", "suspended", ("gz", "hk", "hq")).code == 0
    kit.run("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8})
    assert kit.get(Proposal, b"p").electorate == ("gz", "hk", "hq")
    assert "mo1" in membership(kit).validators
    assert kit.blocks[-1].header.valset_hash == kit.genesis.validator_set.hash


def test_removal_is_for_good_and_not_while_the_organisation_holds_a_seat(kit):
    assert set_status(kit, "mo", "removed").reason == "E_SEATS"
    assert set_status(kit, "shenzhen", "removed").code == 0
    assert set_status(kit, "shenzhen", "active").reason == "E_STATUS"
    assert kit.run("gz-admin", "propose_org", newcomer(org="shenzhen")).reason == "E_EXISTS"
    assert kit.run("gz-admin", "propose_org_ca", {"id": "c", "org": "shenzhen", "ca": [b"x"]}).reason == "E_UNKNOWN"


def test_a_status_that_holds_already_or_of_a_stranger_is_not_even_proposed(kit):
    for org, status, reason in (("gz", "active", "E_STATUS"), ("nowhere", "suspended", "E_UNKNOWN")):
        asked = {"id": "p", "org": org, "status": status}
        assert kit.run("gz-admin", "propose_org_status", asked).reason == reason
    assert kit.get(Proposal, b"p") is None
    assert set_status(kit, "gz", "active").reason == "E_STATUS"
    assert set_status(kit, "nowhere", "suspended").reason == "E_UNKNOWN"


def test_the_last_founder_cannot_be_suspended():
    kit = ModuleKit([], PEOPLE, policies=[("default", 1, "founding")])
    for org in ("hk", "mo", "hq"):
        assert set_status(kit, org, "suspended", ("gz",)).code == 0
    assert set_status(kit, "gz", "suspended", ("gz",)).reason == "E_LAST_FOUNDER"


def test_one_administrator_cannot_change_another_organisations_authority_alone(kit):
    """Reliability P2: takeover by one organisation."""
    assert kit.run("hk-admin", "propose_org_ca", {"id": "c", "org": "gz", "ca": [b"mine"]}).code == 0
    assert kit.run("hk-admin", "vote", {"proposal": "c", "approve": True}).code == 0
    assert kit.run("hk-admin", "enact", {"proposal": "c"}).reason == "E_NOT_PASSED"
    assert membership(kit).organisations["gz"].ca == (b"root certificate of gz",)


def test_a_new_authority_comes_by_vote_and_the_old_one_is_remembered(kit):
    old, new = b"root certificate of gz", b"second root of gz"
    kit.run("gz-admin", "propose_org_ca", {"id": "c", "org": "gz", "ca": [old, new]})
    assert decide(kit, "c").code == 0
    changed_at = kit.height
    assert membership(kit).organisations["gz"].ca == (old, new)
    kit.run("gz-admin", "propose_org_ca", {"id": "d", "org": "gz", "ca": [new]})
    assert decide(kit, "d").code == 0
    first, second = kit.query("organisation_history", {"org": "gz"})[0]
    assert (first.ca, first.from_height, first.until_height) == ((old,), 0, changed_at)
    assert (second.ca, second.from_height, second.until_height) == ((old, new), changed_at, kit.height)
    assert kit.get(PastOrganisation, key_of("gz", 0)) == first


def test_a_passed_proposal_does_not_undo_what_was_decided_after_it_was_opened(kit):
    def opened(name, ca):
        assert kit.run("gz-admin", "propose_org_ca", {"id": name, "org": "gz", "ca": [ca]}).code == 0
        for org in ("gz", "hk", "mo"):
            assert kit.run(f"{org}-admin", "vote", {"proposal": name, "approve": True}).code == 0

    opened("first", b"leaked root of gz")
    opened("second", b"new root of gz")
    assert kit.run("gz-admin", "enact", {"proposal": "second"}).code == 0
    assert kit.run("gz-admin", "enact", {"proposal": "first"}).reason == "E_STALE"
    assert membership(kit).organisations["gz"].ca == (b"new root of gz",)

    for name, status in (("out", "suspended"), ("out-too", "suspended")):
        assert kit.run("gz-admin", "propose_org_status", {"id": name, "org": "shenzhen", "status": status}).code == 0
        for org in ("gz", "hk", "mo"):
            kit.run(f"{org}-admin", "vote", {"proposal": name, "approve": True})
    assert kit.run("gz-admin", "enact", {"proposal": "out"}).code == 0
    assert set_status(kit, "shenzhen", "active").code == 0
    assert kit.run("gz-admin", "enact", {"proposal": "out-too"}).reason == "E_STALE"
    assert "shenzhen" in membership(kit).active_orgs


def test_a_change_of_the_authority_does_not_void_a_suspension_that_was_voted_on(kit):
    assert kit.run("gz-admin", "propose_org_status", {"id": "out", "org": "shenzhen", "status": "suspended"}).code == 0
    assert kit.run("shenzhen-admin", "propose_org_ca", {"id": "ca", "org": "shenzhen", "ca": [b"new"]}).code == 0
    assert decide(kit, "ca").code == 0
    assert decide(kit, "out").code == 0


# -- nodes and revocation lists --------------------------------------------------------------------------------------


def test_an_administrator_registers_moves_and_removes_the_nodes_of_its_own_organisation(kit):
    first = node("gz-observer", addresses=["10.0.0.1:7100"])
    assert kit.run("gz-admin", "register_node", first).code == 0
    assert kit.run("gz-admin", "register_node", {**first, "addresses": ["10.0.0.2:7100", "[fd00::1]:7100"]}).code == 0
    assert membership(kit).nodes["gz-observer"].addresses == ("10.0.0.2:7100", "[fd00::1]:7100")
    assert kit.run("hk-admin", "register_node", first).reason == "E_OTHER_ORG"
    assert kit.run("hk-admin", "remove_node", {"name": "gz-observer"}).reason == "E_OTHER_ORG"
    assert kit.run("anna", "register_node", first).code == Code.E_ROLE
    assert kit.run("gz-admin", "remove_node", {"name": "gz-observer"}).code == 0
    assert membership(kit).nodes["gz-observer"].status == "removed"
    assert kit.run("gz-admin", "remove_node", {"name": "gz-observer"}).reason == "E_UNKNOWN"


def test_one_key_is_one_node_or_one_person(kit):
    assert kit.run("gz-admin", "register_node", node("n1", key_of_person("n1"))).code == 0
    assert kit.run("hk-admin", "register_node", node("n2", key_of_person("n1"))).reason == "E_KEY_USED"
    assert kit.run("hk-admin", "register_node", node("n2", key_of_person("anna"))).reason == "E_KEY_USED"
    person = {"name": "n", "roles": ["supplier"], "suite": ED25519, "public_key": key_of_person("n1")}
    assert kit.run("gz-admin", "enrol", person).reason == "E_KEY_USED"
    voting = private_key_of("validator hk1").public_key
    assert kit.run("hk-admin", "register_node", node("n2", voting)).reason == "E_KEY_USED"


def test_a_validators_record_gives_addresses_and_never_another_key(kit):
    voting = private_key_of("validator hk1").public_key
    assert kit.run("hk-admin", "register_node", node("hk1", voting, ["hk1.example.org:7100"])).code == 0
    assert kit.run("hk-admin", "register_node", node("hk1", key_of_person("other"))).reason == "E_KEY"
    assert kit.run("gz-admin", "register_node", node("hk1", voting)).reason == "E_OTHER_ORG"
    assert kit.run("gz-admin", "register_node", node("mo1")).reason == "E_OTHER_ORG"


def test_the_key_of_another_node_is_not_voted_in_for_a_validator(kit):
    key, other = private_key_of("new key of hk1"), private_key_of("another new key of hk1")
    assert kit.run("gz-admin", "register_node", node("gz-observer", key.public_key)).code == 0
    change = seat_args(kit.genesis, "new-key", "hk1", key)
    assert kit.run("hk-admin", "propose_validator_key", change).reason == "E_KEY_USED"
    change = seat_args(kit.genesis, "new-key", "hk1", other)
    assert kit.run("hk-admin", "propose_validator_key", change).code == 0
    while_the_vote_runs = kit.run("gz-admin", "register_node", node("gz-observer", other.public_key))
    assert while_the_vote_runs.reason == "E_KEY_USED", "else anybody could stop a change by taking its key"
    assert decide(kit, "new-key").code == 0
    assert membership(kit).validators["hk1"] == ("hk", other.public_key)


def test_nodes_and_addresses_are_counted(kit):
    many = [f"10.0.0.{each}:1" for each in range(ADDRESSES_MAX + 1)]
    assert kit.run("gz-admin", "register_node", node("n", addresses=many)).reason == "E_ADDRESS"
    for number in range(NODES_PER_ORG_MAX):
        assert kit.run("gz-admin", "register_node", node(f"n{number}")).code == 0
    assert kit.run("gz-admin", "register_node", node("one-more")).reason == "E_LIMIT"
    assert kit.run("gz-admin", "register_node", node("n0", addresses=[])).code == 0


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("a:1", True), ("gz1.example.org:7100", True), ("10.1.2.3:65535", True), ("[fd00::1]:7100", True),
        ("a:0", False), ("a:65536", False), ("a", False), (":7100", False), ("a b:1", False), ("fd00::1:7100", False),
        ("a:1\n", False), ("a:\u0661", False), ("http://a:1", False), ("[fd00::1]", False), ("a:-1", False),
    ],
)  # fmt: skip
def test_an_address_is_a_host_and_a_port(text, good):
    assert is_address(text) is good


def test_the_newest_revocation_lists_of_an_organisation_replace_those_before(kit):
    assert kit.run("gz-admin", "publish_revocations", {"lists": [b"first"]}).code == 0
    assert kit.run("gz-admin", "publish_revocations", {"lists": [b"second", b"third"]}).code == 0
    assert membership(kit).revocations == {"gz": (b"second", b"third")}
    assert kit.run("anna", "publish_revocations", {"lists": [b"x"]}).code == Code.E_ROLE
    assert kit.run("gz-admin", "publish_revocations", {"lists": [bytes(20_000), bytes(5_000)]}).reason == "E_VALUE"
    assert [record.org for record in kit.query("revocations")[0]] == ["gz"]


def test_queries_list_members_and_nodes(kit):
    join(kit)
    listed = [record.id for record in kit.query("organisations")[0]]
    assert listed == ["gdlog", "gz", "hk", "hq", "mo", "shenzhen"]
    paged, cursor = kit.query("organisations", limit=4)
    assert [record.id for record in paged] + [r.id for r in kit.query("organisations", cursor=cursor)[0]] == listed
    assert [record.name for record in kit.query("nodes", {"org": "gdlog"})[0]] == ["gdlog1"]
    assert [record.name for record in kit.query("nodes")[0]] == ["gdlog1"]


def test_a_configuration_written_before_organisations_could_join_means_those_of_the_genesis(kit):
    kit.run("gz-admin", "propose_parameter", {"id": "p", "name": "window", "value": 8})
    assert decide(kit, "p").code == 0
    key = ("governance", "configuration", b"current")
    fields = msgspec.msgpack.decode(kit.state.values[key])
    kit.state.values[key] = msgspec.msgpack.encode(fields[:-1])
    assert kit.executor.configuration(kit.state).active_orgs == {"gz", "hk", "hq", "mo", "shenzhen"}
    assert kit.run("visitor", "tick").code == 0


# -- any sequence ----------------------------------------------------------------------------------------------------

orgs = st.sampled_from(["gz", "hk", "hq", "mo", "shenzhen", "gdlog", "nowhere"])
steps = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(["gdlog", "shenzhen", "x"])),
    st.tuples(st.just("status"), orgs, st.sampled_from(["active", "suspended", "removed"])),
    st.tuples(st.just("ca"), orgs, st.sampled_from([b"a", b"b", b"root certificate of hk"])),
    st.tuples(st.just("node"), orgs, st.sampled_from(["n1", "n2", "gz1"]), st.sampled_from(["k1", "k2", "anna"])),
    st.tuples(st.just("unnode"), orgs, st.sampled_from(["n1", "n2"])),
)


@settings(max_examples=40)
@given(st.lists(steps, max_size=8))
def test_no_sequence_of_membership_changes_breaks_an_invariant_or_a_module(sequence):
    """The kit checks every invariant after every block; a module fault would be code 4."""
    kit = ModuleKit([], PEOPLE, policies=[("default", 1, "founding")])
    for number, (kind, org, *more) in enumerate(sequence):
        proposal = {"id": f"p{number}", "org": org}
        if kind == "join":
            sent = newcomer(id=f"p{number}", org=org, ca=[org.encode()], admin=f"{org}-boss",
                            public_key=key_of_person(f"{org}-boss"), nodes=[node(f"{org}-n")])  # fmt: skip
            receipts = [kit.run("hq-admin", "propose_org", sent)]
        elif kind == "status":
            receipts = [kit.run("hq-admin", "propose_org_status", {**proposal, "status": more[0]})]
        elif kind == "ca":
            receipts = [kit.run("hq-admin", "propose_org_ca", {**proposal, "ca": [more[0]]})]
        elif kind == "node":
            receipts = [kit.run(f"{org}-admin", "register_node", node(more[0], key_of_person(more[1])))]
        else:
            receipts = [kit.run(f"{org}-admin", "remove_node", {"name": more[0]})]
        if kind in ("join", "status", "ca") and receipts[0].code == 0:
            receipts.append(kit.run("hq-admin", "vote", {"proposal": f"p{number}", "approve": True}))
            receipts.append(kit.run("hq-admin", "enact", {"proposal": f"p{number}"}))
        assert {receipt.code for receipt in receipts} <= {0, Code.E_IDENTITY, Code.E_MODULE}
    view = membership(kit)
    assert view.active_orgs == kit.executor.configuration(kit.state).active_orgs
    for record in view.nodes.values():
        assert kit.get(Credential, record.public_key) is None
    assert kit.get(Organisation, b"nowhere") is None and kit.get(Identity, b"nowhere") is None
    assert kit.get(NodeRecord, b"nowhere") is None


# -- what one organisation must not do to another ---------------------------------------------------------------------


def test_nobody_registers_the_key_of_anothers_validator_or_node_as_a_person_or_a_voter(kit):
    victim = kit.genesis.validators[0]
    assert victim.org == "gz"
    person = {"name": "thief", "roles": ["supplier"], "suite": ED25519}
    assert kit.run("hk-admin", "enrol", {**person, "public_key": victim.public_key}).reason == "E_KEY_USED"
    assert kit.run("gz-admin", "register_node", node(victim.name, victim.public_key)).code == 0
    assert kit.run("gz-admin", "register_node", node("gz-observer")).code == 0
    key = key_of_person("node gz-observer")
    assert kit.run("hk-admin", "enrol", {**person, "public_key": key}).reason == "E_KEY_USED"
    assert kit.run("hk-admin", "propose_org", newcomer(public_key=key)).reason == "E_KEY_USED"
    seat = seat_args(kit.genesis, "seat", "hk1", private_key_of("node gz-observer"))
    assert kit.run("hk-admin", "propose_validator_key", seat).reason == "E_KEY_USED"


def test_a_hundred_large_proposals_do_not_keep_a_validator_from_a_new_key(kit):
    for number in range(115):
        ca = [bytes([number, part]) * 1_500 for part in range(AUTHORITIES_MAX)]
        assert kit.run("mo-admin", "propose_org", newcomer(id=f"p{number}", org=f"o{number}", ca=ca)).code == 0
    change = seat_args(kit.genesis, "key", "hk1", private_key_of("hk1 new"))
    assert kit.run("hk-admin", "propose_validator_key", change).code == 0


def test_an_organisation_publishes_no_more_lists_than_it_may_have_authorities(kit):
    lists = [bytes([number]) for number in range(AUTHORITIES_MAX + 1)]
    assert kit.run("gz-admin", "publish_revocations", {"lists": lists}).reason == "E_VALUE"
    assert kit.run("gz-admin", "publish_revocations", {"lists": lists[1:]}).code == 0
