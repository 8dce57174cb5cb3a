"""Which links a node opens and keeps."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.p2p.link_plan import (
    INBOUND_MAX,
    INBOUND_PER_ORG_MAX,
    OBSERVER_LINKS,
    RESTED_MS,
    ROTATION_MS,
    UNREACHED_MS,
    LinkPlan,
    links_kept,
)
from dawan_node.p2p.peers import PeerAddress, PeerId, Role

KEYS = {f"{number}": PrivateKey(sha256(b"%d" % number)).public_key for number in range(90)}


def address(
    name: str, org: str, role: Role = Role.OBSERVER, where: tuple[str, ...] = ("10.0.0.1:7100",)
) -> PeerAddress:
    return PeerAddress(name, org, KEYS[f"{sum(name.encode()) % 90}"], where, role)


VALIDATORS = [address(f"{org}{k}", org, Role.VALIDATOR) for org in ("gz", "hk", "mo") for k in (1, 2)]
VALIDATORS.append(address("hq1", "hq", Role.VALIDATOR))
MEMBERS = [address(f"obs{number}", f"c{number}") for number in range(53)]
EVERYBODY = [*VALIDATORS, *MEMBERS]
ROLES = {peer.name: peer.role for peer in EVERYBODY}
ORGS = {peer.name: peer.org for peer in EVERYBODY}


def plan_of(name: str, peers: Iterable[PeerAddress] = EVERYBODY, secret: bytes = b"secret") -> LinkPlan:
    plan = LinkPlan(PeerId(name, ORGS[name], ROLES[name], b""), secret)
    plan.update(peers)
    return plan


def of_role(names: Iterable[str], role: Role) -> set[str]:
    return {name for name in names if ROLES[name] is role}


def test_an_observer_chooses_f_plus_one_validators_and_two_observers_all_of_different_organisations() -> None:
    for number in range(20):
        chosen = plan_of("obs0", secret=b"%d" % number).choose((), 0)
        assert len(of_role(chosen, Role.VALIDATOR)) == 3
        assert len(of_role(chosen, Role.OBSERVER)) == OBSERVER_LINKS
        assert len({ORGS[name] for name in chosen}) == len(chosen)


def test_the_choice_follows_from_the_secret_and_nobody_is_favoured() -> None:
    assert plan_of("obs0").choose((), 0) == plan_of("obs0").choose((), 0)
    ever = {name for number in range(200) for name in plan_of("obs0", secret=b"%d" % number).choose((), 0)}
    assert ever == set(ORGS) - {"obs0"}


def test_validators_link_to_all_validators_and_to_nobody_else_of_their_own() -> None:
    assert plan_of("gz1").choose((), 0) == {peer.name for peer in VALIDATORS} - {"gz1"}


def test_in_a_small_network_everybody_links_to_everybody_and_everybody_enters() -> None:
    few = [*VALIDATORS, *MEMBERS[:4]]
    plan = plan_of("obs0", few)
    assert plan.choose((), 0) == {peer.name for peer in few} - {"obs0"}
    assert plan.may_enter(MEMBERS[1].id, [peer.id for peer in MEMBERS[2:]]) is None


def test_links_that_are_up_are_kept_and_inbound_ones_change_nothing() -> None:
    plan = plan_of("obs0")
    chosen = plan.choose((), 0)
    crowd = [peer.name for peer in EVERYBODY if peer.name not in chosen]
    assert plan.choose([*chosen, *crowd], 1_000_000) == chosen


def test_a_peer_that_cannot_be_reached_makes_room_for_another_and_is_tried_again() -> None:
    plan = plan_of("obs0")
    chosen = plan.choose((), 0)
    down = min(of_role(chosen, Role.VALIDATOR))
    plan.unreached(down, 0)
    linked = chosen - {down}
    instead = plan.choose(linked, 0)
    assert linked < instead
    assert down not in instead
    assert len(instead) == len(chosen)
    plan.reached(down)
    assert down in plan_of("obs0").choose(linked, UNREACHED_MS)


def test_a_peer_that_is_shunned_makes_room_for_another_at_once_and_for_as_long() -> None:
    plan = plan_of("obs0")
    chosen = plan.choose((), 0)
    liar = min(chosen)
    plan.shunned(liar, 300_000)
    plan.shunned(liar, 5_000)
    assert liar not in plan.choose(chosen - {liar}, 299_999)
    assert len(plan.choose(chosen - {liar}, 0)) == len(chosen)


def test_when_nobody_can_be_reached_everybody_is_still_tried() -> None:
    plan = plan_of("obs0")
    for peer in EVERYBODY:
        plan.unreached(peer.name, 0)
    assert len(plan.choose((), 0)) == 3 + OBSERVER_LINKS


def test_a_bad_link_is_given_up_for_another_one_at_a_time_and_its_peer_rests() -> None:
    plan = plan_of("obs0")
    chosen = plan.choose((), 0)
    first, second = sorted(chosen)[:2]
    assert plan.give_up(first, 0)
    assert not plan.give_up(second, ROTATION_MS - 1)
    assert plan.give_up(second, ROTATION_MS)
    linked = chosen - {first, second}
    later = plan.choose(linked, ROTATION_MS)
    assert not later & {first, second}
    assert linked < later
    # It is a candidate again, after the links that are up.
    assert len(plan.choose((), ROTATION_MS + RESTED_MS)) == len(chosen)


def test_validators_never_give_each_other_up() -> None:
    assert not plan_of("gz1").give_up("hk1", 0)
    assert plan_of("gz1").give_up("obs1", 0)


def test_inbound_links_are_limited_per_organisation_and_in_all_but_validators_always_enter() -> None:
    plan = plan_of("gz1")
    twins = [PeerId(f"c1-{number}", "c1", Role.OBSERVER, b"") for number in range(INBOUND_PER_ORG_MAX + 1)]
    assert plan.may_enter(twins[-1], twins[: INBOUND_PER_ORG_MAX - 1]) is None
    assert "'c1'" in str(plan.may_enter(twins[-1], twins[:-1]))
    crowd = [peer.id for peer in MEMBERS[:INBOUND_MAX]]
    assert str(INBOUND_MAX) in str(plan.may_enter(MEMBERS[-1].id, crowd))
    assert plan.may_enter(MEMBERS[-1].id, crowd[1:]) is None
    assert plan.may_enter(VALIDATORS[1].id, crowd) is None


def test_a_peer_of_its_own_choice_enters_whoever_dialled_first() -> None:
    plan = plan_of("obs0")
    chosen = min(of_role(plan.choose((), 0), Role.OBSERVER))
    crowd = [peer.id for peer in MEMBERS[1 : INBOUND_MAX + 1] if peer.name != chosen]
    crowd += [PeerId("x", "x", Role.OBSERVER, b"")]
    assert plan.may_enter(PeerId(chosen, ORGS[chosen], Role.OBSERVER, b""), crowd) is None


def test_a_peer_without_an_address_is_not_chosen_and_one_that_left_is_forgotten() -> None:
    silent = [address(peer.name, peer.org, peer.role, ()) if peer.role is Role.OBSERVER else peer for peer in EVERYBODY]
    assert not of_role(plan_of("obs0", silent).choose((), 0), Role.OBSERVER)
    plan = plan_of("obs0")
    gone = min(plan.choose((), 0))
    plan.update([peer for peer in EVERYBODY if peer.name != gone])
    assert gone not in plan.choose((gone,), 0)


@pytest.mark.parametrize("validators", [1, 4, 7])
def test_at_least_two_validators_are_chosen_where_there_are_two(validators: int) -> None:
    chosen = plan_of("obs0", [*VALIDATORS[:validators], *MEMBERS]).choose((), 0)
    assert len(of_role(chosen, Role.VALIDATOR)) == {1: 1, 4: 2, 7: 3}[validators]


def test_an_associations_observer_prefers_other_organisations_to_its_own() -> None:
    for number in range(20):
        plan = LinkPlan(PeerId("gz9", "gz", Role.OBSERVER, b""), b"%d" % number)
        plan.update(EVERYBODY)
        assert "gz" not in {ORGS[name] for name in plan.choose((), 0)}


@given(st.integers(1, 7), st.integers(0, 30), st.booleans())
def test_a_node_chooses_as_many_links_as_a_network_of_that_size_asks_of_it(
    validators: int, observers: int, votes: bool
) -> None:
    role = Role.VALIDATOR if votes or not observers else Role.OBSERVER
    nodes = [*VALIDATORS[:validators], *MEMBERS[:observers]]
    own = next(node for node in nodes if node.role is role)
    assert len(plan_of(own.name, nodes).choose((), 0)) == links_kept(validators, observers, role)
