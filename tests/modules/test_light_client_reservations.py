"""Reservations and commitments, whatever they are for: one process, in time, and back again."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.keys import prefix_of
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.light_client import Commitment, Reservation, module
from dawan_node.modules.light_client.declaration import Epoch
from dawan_node.modules.refdata import module as refdata
from dawan_node.testing.channel_proofs import Prover
from dawan_node.testing.module_kit import DAY_MS, ModuleKit
from tests.modules.channels_kit import believe, copy_of
from tests.modules.light_client_kit import PEOPLE, Pair, probe, rival


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_the_protocol_runs_through_all_its_states(pair: Pair) -> None:
    assert pair.reserved() == ""
    assert pair.committed(pair.reservation_proof()) == ""
    assert pair.settled(pair.commitment_proof()) == ""
    assert pair.state_of() == ("CONFIRMED", "")
    assert pair.concluded("hk") == ""
    assert pair.settled(pair.commitment_proof()) == ""
    assert pair.state_of() == ("PASSED", "bank")


def test_what_nobody_committed_to_in_time_is_free_and_no_sooner(pair: Pair) -> None:
    assert pair.reserved() == ""
    proof = pair.reservation_proof()
    early = pair.commitment_proof()
    assert pair.settled(early) == "E_NOT_EXPIRED"
    found = pair.source.get(Reservation, key_of("anna/R-1"))
    assert found is not None
    # The source's own clock does not matter: it may be far ahead.
    pair.source.time_ms = found.commit_by_ms + 1_000
    assert pair.settled(early) == "E_NOT_EXPIRED"
    pair.reader.time_ms = found.commit_by_ms - 600_000
    assert pair.committed(proof) == "E_PROOF_STALE", "less than proof.min_life is left"
    pair.reader.time_ms = found.commit_by_ms - 1_000
    late = pair.commitment_proof()
    assert pair.settled(late) == ""
    assert pair.state_of() == ("RELEASED", "")
    assert pair.committed(proof) == "E_PROOF_STALE"


def test_a_proof_with_exactly_the_least_life_is_taken(pair: Pair) -> None:
    assert pair.reserved() == ""
    found = pair.source.get(Reservation, key_of("anna/R-1"))
    assert found is not None
    pair.reader.time_ms = found.commit_by_ms - 600_000 - 1_000
    assert pair.committed(pair.reservation_proof()) == ""


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("E_UNKNOWN_CLIENT", {"channel": "nowhere"}),
        ("E_RESERVATION", {"number": "-1"}),
        ("E_RESERVATION", {"number": "Ｒ"}),
        ("E_RESERVATION", {"purpose": "no dot"}),
        ("E_RESERVATION", {"process": ""}),
        ("E_RESERVATION", {"recipients": []}),
        ("E_RESERVATION", {"recipients": [["a", "hk"], ["b", "hk"]]}),
        ("E_RESERVATION", {"recipients": [[f"p{n}", f"o{n}"] for n in range(5)]}),
        ("E_RESERVATION", {"facts": [["f", "x"]] * 17}),
        ("E_RESERVATION", {"facts": [["f", "x" * 201]]}),
        ("E_RESERVATION_TIME", {"until_ms": 1}),
        ("E_RESERVATION_TIME", {"commit_by_ms": 1}),
    ],
)
def test_a_reservation_that_makes_no_sense_is_refused(pair: Pair, reason: str, change: dict[str, Any]) -> None:
    assert pair.reserved(**change) == reason


def test_an_asset_has_one_reservation_that_binds_and_a_number_is_used_once(pair: Pair) -> None:
    assert pair.reserved(until_ms=pair.source.time_ms + 5 * DAY_MS) == ""
    assert pair.reserved() == "E_DUP_RESERVATION"
    assert pair.reserved(number="R-2") == "E_DUP_RESERVATION"
    pair.source.pass_time(days=5)
    assert pair.reserved(number="R-2") == "", "its time is over"
    assert pair.reserved(number="r-1", asset="other") == "E_DUP_RESERVATION"


def test_a_channel_whose_commitments_are_not_believed_here_gets_no_reservation(pair: Pair) -> None:
    believe(pair.source, "reader", pair.reader, ["probe"])
    assert pair.reserved() == "E_PROOF_SCOPE"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("E_PROOF_PURPOSE", {"purpose": "other"}),
        ("E_PROOF_PURPOSE", {"process": "P-2"}),
        ("E_PROOF_SUBJECT", {"asset_module": "rival"}),
        ("E_RECIPIENT", {"orgs": ["hk", "mo"]}),
        ("E_RESERVATION_TIME", {"needed_ms": 2**60}),
        ("E_NOT_OWNER", {"person": "ben"}),
    ],
)
def test_a_commitment_is_for_what_was_reserved(pair: Pair, reason: str, change: dict[str, Any]) -> None:
    assert pair.reserved() == ""
    assert pair.committed(pair.reservation_proof(), **change) == reason
    assert pair.committed(pair.reservation_proof()) == "", "and can still be made"


def test_a_commitment_needs_a_reservation_that_is_for_this_channel_and_open(pair: Pair) -> None:
    assert pair.reserved() == ""
    assert pair.committed(pair.note()) == "E_PROOF_SUBJECT"
    assert pair.committed(pair.at_source.state(Reservation, key_of("anna/R-9"))) == "E_PROOF_SUBJECT"
    third = ModuleKit([probe, rival, module, refdata], PEOPLE, orgs=["third"])
    believe(third, "source", pair.source, ["light_client"])
    taken = third.run("anna", "commit", {"proof": pair.reservation_proof()})
    assert taken.reason == "E_PROOF_CHANNEL", "made for the reader, shown to another channel that believes the source"
    proof = pair.reservation_proof()
    assert pair.committed(proof) == ""
    assert pair.committed(proof) == "E_PROOF_USED"
    assert pair.committed(proof, process="P-2") == "E_PROOF_USED", "in one block or ten"
    assert pair.settled(pair.commitment_proof()) == ""
    assert pair.committed(pair.reservation_proof()) == "E_RESERVATION_STATE", "confirmed: another record, not a new one"


def test_one_asset_serves_one_process_even_if_the_source_let_go_early(pair: Pair) -> None:
    """The source goes by its own clock, which may be ahead."""
    assert pair.reserved(until_ms=pair.source.time_ms + 5 * DAY_MS) == ""
    assert pair.committed(pair.reservation_proof()) == ""
    pair.source.pass_time(days=5)
    assert pair.reserved(number="R-2", process="P-2") == ""
    second = pair.reservation_proof("anna/R-2")
    assert pair.committed(second, process="P-2") == "E_RELIED_ON"
    pair.reader.pass_time(days=5)
    assert pair.committed(second, process="P-2") == ""


def test_only_the_module_that_committed_ends_it_once_and_in_time(pair: Pair) -> None:
    assert pair.concluded() == "E_UNKNOWN_COMMITMENT"
    assert pair.reserved() == ""
    assert pair.committed(pair.reservation_proof()) == ""
    assert pair.concluded(command="conclude_other", at="rival") == "E_UNKNOWN_COMMITMENT"
    assert pair.concluded("mo") == "E_RECIPIENT"

    def asked(function: str) -> str:
        receipt = pair.reader.run("anna", "ask", {"commitment": pair.commitment(), "function": function})
        return receipt.reason if receipt.code else ""

    assert (asked("is_passable"), asked("require_passable")) == ("", "")
    later = copy_of(pair.reader)
    pair.reader.pass_time(days=28)
    assert pair.concluded("hk") == "E_COMMITMENT_OVER", "its proof might come too late"
    assert (asked("is_passable"), asked("require_passable")) == ("E_NO", "E_COMMITMENT_OVER")
    assert pair.concluded() == "", "it can still give the asset back"
    assert (asked("is_passable"), asked("require_passable")) == ("E_NO", "E_COMMITMENT_STATE")
    assert pair.concluded() == "E_COMMITMENT_STATE"
    assert pair.settled(pair.commitment_proof()) == ""
    assert pair.state_of() == ("RELEASED", "")
    assert later.run("anna", "conclude", {"commitment": pair.commitment(), "to": "hk"}).code == 0


def test_a_reservation_is_settled_by_its_own_module_and_its_own_commitment(pair: Pair) -> None:
    assert pair.reserved() == ""
    assert pair.reserved(number="R-2", asset="crate", process="P-2") == ""
    assert pair.committed(pair.reservation_proof()) == ""
    proof = pair.commitment_proof()
    assert pair.settled(proof, "anna/R-9") == "E_UNKNOWN_RESERVATION"
    assert pair.settled(proof, command="settle_other", at="rival") == "E_UNKNOWN_RESERVATION"
    assert pair.settled(proof, "anna/R-2") == "E_PROOF_SUBJECT", "another reservation's"
    third = ModuleKit([probe, rival, module, refdata], PEOPLE, orgs=["third"])
    believe(pair.source, "third", third, ["light_client"])
    third.time_ms = pair.source.time_ms + 40 * DAY_MS
    third.run("anna", "write", {"name": "tick", "text": ""})
    absent = Prover(third).state(Commitment, key_of(pair.commitment("anna/R-2")))
    assert pair.settled(absent, "anna/R-2") == "E_PROOF_CHANNEL", "a channel that could never commit"
    assert pair.settled(proof) == ""
    assert pair.settled(proof) == "E_PROOF_USED"
    assert pair.concluded() == ""
    assert pair.settled(pair.commitment_proof()) == ""
    assert pair.settled(proof) == "E_RESERVATION_STATE"


def test_a_proof_that_came_late_does_not_turn_back_what_a_later_one_settled(pair: Pair) -> None:
    assert pair.reserved() == ""
    before = pair.commitment_proof()
    assert pair.committed(pair.reservation_proof()) == ""
    committed = pair.commitment_proof()
    assert pair.concluded("hk") == ""
    assert pair.settled(pair.commitment_proof()) == "", "CONFIRM was lost; the outcome is proof enough"
    for late in (before, committed):
        assert pair.settled(late) == "E_RESERVATION_STATE"
    assert pair.state_of() == ("PASSED", "bank")


def test_the_invariants_see_what_they_are_there_for(pair: Pair) -> None:
    assert pair.reserved() == ""
    assert pair.committed(pair.reservation_proof()) == ""

    def found(kit: ModuleKit, entity: Entity) -> list[str]:
        spoilt = copy_of(kit)
        spoilt.state.values[("light_client", entity.spec.collection, entity.primary_key())] = encode_entity(entity)
        for index, function in entity.spec.indexes:
            name = ("light_client", entity.spec.collection, index)
            for parts in function(entity):
                spoilt.state._put_index(name, prefix_of(*parts) + entity.primary_key(), entity.primary_key())
        return spoilt.executor.violations(spoilt.state, height=spoilt.height, time_ms=spoilt.time_ms)

    reservation = pair.source.get(Reservation, key_of("anna/R-1"))
    commitment = pair.reader.get(Commitment, key_of(pair.commitment()))
    epoch = pair.reader.get(Epoch, key_of(pair.source.genesis.chain_id, 0))
    assert reservation is not None and commitment is not None and epoch is not None
    assert found(pair.source, replace(reservation, reservation="anna/R-2"))
    other = replace(commitment, commitment=commitment.commitment + "2", reservation="anna/R-2")
    assert found(pair.reader, other)
    assert found(pair.reader, replace(commitment, process="P-9"))
    assert found(pair.reader, replace(commitment, state="PASSED"))
    assert found(pair.reader, replace(epoch, last=7))
    assert found(pair.reader, replace(epoch, valset_hash=bytes(32)))
