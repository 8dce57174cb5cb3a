"""Goods leave against a bill that another channel keeps when that channel's record says so, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.governance import module as governance
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.light_client import module as light_client
from dawan_node.modules.logistics import module as logistics
from dawan_node.modules.refdata import module as refdata
from dawan_node.modules.title.entities import Carrier, Title
from dawan_node.testing.channel_proofs import Prover
from dawan_node.testing.module_kit import DAY_MS, ModuleKit
from tests.modules.channels_kit import believe
from tests.modules.logistics_kit import PEOPLE, Channel
from tests.modules.title_kit import CARRIER, Sea

TITLE = f"{CARRIER}/HKG-1"
SHIPMENT = "hk/B-1"


class Quay:
    """``channel`` has the goods, ``sea`` keeps the titles; the quay believes the sea."""

    def __init__(self) -> None:
        self.sea = Sea()
        self.channel = Channel(titles=False)
        self.channel.kit = ModuleKit([logistics, governance, kernel, refdata, light_client], PEOPLE)
        believe(self.channel.kit, "titles", self.sea.kit, ["title"])
        self.prover = Prover(self.sea.kit)
        self.sea.issued()

    def book(self, **more: Any) -> str:
        return self.channel.book(registry="OTHER_CHANNEL", channel="titles", document=TITLE, **more)

    def proofs(self, title: str = TITLE, code: str = CARRIER) -> dict[str, bytes]:
        self.sea.kit.run("port", "tick", module="governance")
        return {
            "title": self.prover.state(Title, key_of(title)),
            "carrier": self.prover.state(Carrier, key_of(code)),
        }

    def surrender(self, title: str = TITLE) -> None:
        self.sea.ok(self.sea.get(title).holder, "surrender_title", title=title, purpose="DELIVERY")
        self.sea.ok("liner", "accept_surrender", title=title)

    def prove(self, **more: Any) -> None:
        self.channel.ok("agent", "prove_surrender", **({"shipment": SHIPMENT} | self.proofs() | more))

    def refuse(self, reason: str, **more: Any) -> None:
        args = {"shipment": SHIPMENT} | self.proofs() | more
        self.channel.expect(reason, "agent", "prove_surrender", **args)


@pytest.fixture
def quay() -> Quay:
    return Quay()


def test_goods_are_delivered_against_the_proof_of_a_surrender_on_another_channel(quay: Quay) -> None:
    quay.book()
    quay.channel.sail(until="DISC")
    quay.channel.release()
    gate_out = quay.channel.step("ka-ho", "GTOT", "MOMFM")
    quay.channel.expect("E_NOT_SURRENDERED", "ka-ho", "state_milestone", **gate_out)
    quay.refuse("E_NOT_SURRENDERED")
    quay.sea.ok("shipper", "surrender_title", title=TITLE, purpose="DELIVERY")
    quay.refuse("E_NOT_SURRENDERED")
    quay.sea.ok("liner", "accept_surrender", title=TITLE)
    quay.prove()
    quay.channel.did("ka-ho", "GTOT", "MOMFM")
    quay.channel.ok("clinic", "deliver", **quay.channel.delivery())
    quay.channel.expect("E_STATE", "agent", "prove_surrender", shipment=SHIPMENT, **quay.proofs())


def test_the_carriers_word_is_not_enough_for_a_bill_that_is_kept_elsewhere(quay: Quay) -> None:
    quay.book()
    quay.channel.expect("E_KEPT_THERE", "line", "state_surrender", shipment=SHIPMENT)
    quay.surrender()
    quay.prove()
    quay.refuse("E_STATED")


def test_a_bill_that_became_paper_over_there_is_for_the_carrier_to_look_at(quay: Quay) -> None:
    quay.book()
    quay.sea.ok("shipper", "surrender_title", title=TITLE, purpose="AMENDMENT", reason="SWTP")
    quay.sea.ok("liner-desk", "accept_surrender", title=TITLE, paper="P-1")
    quay.refuse("E_NOT_SURRENDERED")
    quay.channel.expect("E_KEPT_THERE", "line", "state_surrender", shipment=SHIPMENT)
    quay.channel.ok("line", "state_surrender", shipment=SHIPMENT, **quay.proofs())
    assert quay.channel.shipment().surrendered_ms > 0
    quay.channel.expect("E_STATED", "line", "state_surrender", shipment=SHIPMENT, **quay.proofs())


def test_an_old_proof_that_a_bill_was_paper_delivers_nothing_after_it_was_restored(quay: Quay) -> None:
    quay.book()
    quay.sea.ok("shipper", "surrender_title", title=TITLE, purpose="AMENDMENT", reason="SWTP")
    quay.sea.ok("liner-desk", "accept_surrender", title=TITLE, paper="P-1")
    paper = quay.proofs()
    again = {"bill": quay.sea.bill(), "checksum": bytes(32), "document": quay.sea.document()}
    quay.sea.ok("liner-desk", "restore_title", title=TITLE, paper="P-1", to="buyer", **again)
    quay.channel.expect("E_KEPT_THERE", "line", "state_surrender", shipment=SHIPMENT, **quay.proofs())
    later = max(quay.sea.kit.time_ms, quay.channel.kit.time_ms) + 600_000
    quay.sea.kit.time_ms = quay.channel.kit.time_ms = later
    old = quay.proofs() | {"title": paper["title"]}
    quay.channel.expect("E_PROOF_STALE", "line", "state_surrender", shipment=SHIPMENT, **old)
    quay.refuse("E_NOT_SURRENDERED", **old)


def test_a_bill_that_is_not_paper_over_there_is_not_stated_to_be(quay: Quay) -> None:
    quay.book()
    quay.surrender()
    quay.channel.expect("E_KEPT_THERE", "line", "state_surrender", shipment=SHIPMENT, **quay.proofs())
    quay.prove()


def test_a_bill_kept_nowhere_else_is_stated_without_proofs(quay: Quay) -> None:
    quay.channel.book(registry="ELSEWHERE", document="WAVE-7")
    quay.channel.expect("E_DOCUMENT", "line", "state_surrender", shipment=SHIPMENT, **quay.proofs())
    quay.channel.ok("line", "state_surrender", shipment=SHIPMENT)


def test_a_surrender_proven_for_a_cancelled_booking_serves_the_next_one_and_no_two_at_once(quay: Quay) -> None:
    quay.book()
    quay.surrender()
    quay.prove()
    quay.channel.ok("line", "cancel_shipment", shipment=SHIPMENT)
    quay.book(number="B-2")
    quay.prove(shipment="hk/B-2")
    booking = quay.channel.booking(registry="OTHER_CHANNEL", channel="titles", document=TITLE, number="B-3")
    quay.channel.expect("E_DOCUMENT", "line", "book_shipment", **booking)


def test_an_amended_bill_is_proven_by_its_new_version(quay: Quay) -> None:
    quay.book()
    quay.sea.ok("shipper", "surrender_title", title=TITLE, purpose="AMENDMENT")
    quay.sea.ok("liner", "accept_surrender", title=TITLE)
    again = {"bill": quay.sea.bill(), "checksum": bytes(32), "document": quay.sea.document()}
    quay.sea.ok("liner", "reissue_title", title=TITLE, **again)
    quay.refuse("E_NOT_SURRENDERED")
    quay.surrender(f"{TITLE}.2")
    quay.prove(title=quay.proofs(f"{TITLE}.2")["title"])


def test_another_document_carrier_record_or_channel_proves_nothing_for_this_shipment(quay: Quay) -> None:
    quay.book()
    quay.sea.issued("HKG-2")
    quay.surrender(f"{CARRIER}/HKG-2")
    quay.surrender()
    other = quay.proofs(f"{CARRIER}/HKG-2")
    quay.refuse("E_PROVEN", title=other["title"])
    quay.refuse("E_PROVEN", title=quay.proofs()["carrier"])
    quay.refuse("E_PROVEN", carrier=quay.proofs()["title"])
    quay.refuse("E_PROVEN", carrier=quay.proofs(code="SMDG-XXX")["carrier"])
    quay.refuse("E_PROOF", title=other["title"][:-1])
    quay.prove()


def test_the_carrier_of_the_shipment_is_the_one_that_issued_the_bill(quay: Quay) -> None:
    booking = quay.channel.booking(registry="OTHER_CHANNEL", channel="titles", document=TITLE)
    quay.channel.ok("rival-line", "book_shipment", **booking)
    quay.surrender()
    quay.refuse("E_PROVEN", shipment="rival/B-1")


def test_an_enrolment_is_proven_anew_after_three_days_and_a_surrender_never(quay: Quay) -> None:
    quay.book()
    quay.surrender()
    old = quay.proofs()
    quay.channel.kit.pass_time(days=4)
    quay.refuse("E_PROOF_STALE", **old)
    quay.sea.kit.pass_time(ms=4 * DAY_MS)
    quay.prove(title=old["title"])


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("E_DOCUMENT", {"channel": ""}),
        ("E_DOCUMENT", {"registry": "CHANNEL"}),
        ("E_DOCUMENT", {"document_kind": "SWB"}),
        ("E_NO_REGISTER", {"channel": "insurance"}),
    ],
)
def test_a_booking_names_a_channel_that_is_believed(quay: Quay, reason: str, change: dict[str, Any]) -> None:
    booking = quay.channel.booking(registry="OTHER_CHANNEL", channel="titles", document=TITLE)
    if change.get("registry") == "CHANNEL":
        reason = "E_NO_REGISTER"
    quay.channel.expect(reason, "line", "book_shipment", **booking | change)


def test_a_shipment_whose_title_is_kept_here_takes_no_proof(quay: Quay) -> None:
    quay.channel.book(registry="ELSEWHERE", document="WAVE-7")
    quay.surrender()
    quay.refuse("E_DOCUMENT")


def test_a_channel_without_light_clients_believes_nobody() -> None:
    channel = Channel()
    booking = channel.booking(registry="OTHER_CHANNEL", channel="titles")
    channel.expect("E_NO_REGISTER", "line", "book_shipment", **booking)


def test_the_invariant_sees_a_surrender_that_no_proof_was_used_for(quay: Quay) -> None:
    quay.book()
    shipment = replace(quay.channel.shipment(), surrendered_ms=1)
    quay.channel.kit.state.values["logistics", "shipment", shipment.primary_key()] = encode_entity(shipment)
    with pytest.raises(AssertionError, match="surrendered by 0 proofs"):
        quay.channel.kit.check_invariants()
    del quay.channel.kit.state.values["logistics", "foreign_title", key_of(SHIPMENT)]
    with pytest.raises(AssertionError, match="nobody knows which channel keeps its title"):
        quay.channel.kit.check_invariants()
