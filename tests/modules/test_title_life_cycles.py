"""What happens to a title beyond the main road: drafts, endorsements, surrender, amendment, and its history."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from dawan_node.modules.title.chain import NO_ENTRY, entry_hash
from tests.modules.title_kit import CARRIER, DOCUMENT, Sea

AMENDED = hashlib.sha256(b"the amended document").digest()


@pytest.fixture
def sea() -> Sea:
    return Sea()


def issue_again(sea: Sea, title: str, bill: dict[str, Any] | None = None) -> str:
    """The carrier's new version of a bill surrendered for amendment."""
    args = {"bill": bill or sea.bill(), "checksum": AMENDED, "document": sea.document()}
    sea.ok("liner", "reissue_title", title=title, **args)
    return sea.get(title).replaced_by


# -- drafts and issue -------------------------------------------------------------------------------------------------


def test_only_what_the_shipper_approved_is_issued(sea: Sea) -> None:
    title = sea.approved()
    sea.drafted(checksum=AMENDED)
    sea.expect("E_STATE", "liner", "issue_title", title=title, document=sea.document())
    sea.expect("E_CHECKSUM", "shipper", "approve_draft", title=title, checksum=DOCUMENT)
    sea.expect("E_NOT_SHIPPER", "buyer", "approve_draft", title=title, checksum=AMENDED)
    sea.ok("shipper", "approve_draft", title=title, checksum=AMENDED)
    sea.expect("E_STATE", "shipper", "approve_draft", title=title, checksum=AMENDED)
    sea.ok("liner", "issue_title", title=title, document=sea.document())
    again = {"carrier": CARRIER, "reference": "hkg-1", "bill": sea.bill(), "checksum": AMENDED}
    sea.expect("E_DUP_TITLE", "liner", "draft_title", **again)
    sea.expect("E_STATE", "liner", "issue_title", title=title, document=sea.document())


def test_nobody_controls_a_draft(sea: Sea) -> None:
    title = sea.approved()
    for command, more in (("transfer_title", {"to": "buyer"}), ("surrender_title", {"purpose": "DELIVERY"})):
        sea.expect("E_STATE", "shipper", command, title=title, **more)


def test_anybody_of_the_carriers_organisation_acts_for_it_and_nobody_else(sea: Sea) -> None:
    sea.expect(
        "E_NOT_CARRIER", "other-liner", "draft_title",
        carrier=CARRIER, reference="X", bill=sea.bill(), checksum=DOCUMENT,
    )  # fmt: skip
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")
    sea.expect("E_NOT_CARRIER", "other-liner", "accept_surrender", title=title)
    sea.expect("E_NOT_CARRIER", "other-liner", "reject_surrender", title=title, why="?")
    sea.expect("E_ROLE", "shipper", "accept_surrender", title=title)
    sea.ok("liner-desk", "accept_surrender", title=title)


def test_a_bill_is_not_issued_before_the_goods_are_on_board(sea: Sea) -> None:
    title = sea.approved(bill=sea.bill(shipped_on=sea.day(1)))
    sea.expect("E_NOT_SHIPPED", "liner", "issue_title", title=title, document=sea.document())
    sea.kit.pass_time(days=1)
    sea.ok("liner", "issue_title", title=title, document=sea.document())


@pytest.mark.parametrize(
    ("bill", "to", "control"),
    [
        ({}, "", ("ISSUED", "shipper", "shipper")),
        ({}, "forwarder", ("ISSUED", "forwarder", "shipper")),
        ({"consignee": "bank-hk"}, "", ("ISSUED", "shipper", "bank-hk")),
        ({"to_order": False, "consignee": "buyer"}, "", ("ISSUED", "shipper", "buyer")),
        ({"to_order": False, "consignee": "buyer"}, "buyer", ("ISSUED", "buyer", "buyer")),
    ],
)
def test_whose_a_new_title_is_follows_from_the_bill(
    sea: Sea, bill: dict[str, Any], to: str, control: tuple[str, str, str]
) -> None:
    assert sea.control(sea.issued(bill=sea.bill(**bill), to=to)) == control


def test_the_document_stands_in_the_kernels_registry_with_its_readers(sea: Sea) -> None:
    title = sea.issued()
    (found,), _ = sea.kit.query("document", {"digest": sea.get(title).digest}, module="kernel")
    assert (found.module, found.readers, found.schema_id) == ("title", ("gz", "hk"), "DCSA:EBL:3.0.0:TransportDocument")


# -- possession and right ---------------------------------------------------------------------------------------------


def test_possession_and_right_go_apart_and_neither_alone_endorses_or_surrenders(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "transfer_title", title=title, to="forwarder")
    for who, reason in (("shipper", "E_NOT_HOLDER"), ("forwarder", "E_NOT_ENDORSEE")):
        sea.expect(reason, who, "endorse_title", title=title, kind="ENDORSE", to="buyer")
        sea.expect(reason, who, "surrender_title", title=title, purpose="DELIVERY")
    sea.ok("forwarder", "transfer_title", title=title, to="shipper")
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")


def test_an_endorsement_in_blank_makes_the_right_go_with_possession(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="BLANK_ENDORSE", hand_over_to="forwarder")
    assert sea.control(title) == ("ISSUED", "forwarder", "")
    sea.ok("forwarder", "transfer_title", title=title, to="buyer")
    sea.ok("buyer", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer-2")
    assert sea.control(title) == ("ISSUED", "buyer", "buyer-2")
    sea.expect("E_NOT_ENDORSEE", "buyer", "surrender_title", title=title, purpose="DELIVERY")


def test_an_endorsement_to_a_named_party_is_the_last_one(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE", to="buyer", hand_over_to="buyer")
    for kind, to in (("ENDORSE", "buyer-2"), ("ENDORSE_TO_ORDER", "buyer-2"), ("BLANK_ENDORSE", "")):
        sea.expect("E_NO_FURTHER_ENDORSEMENT", "buyer", "endorse_title", title=title, kind=kind, to=to)
    sea.expect("E_NO_FURTHER_ENDORSEMENT", "buyer", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(9))
    sea.ok("buyer", "transfer_title", title=title, to="forwarder")
    sea.expect("E_NO_FURTHER_ENDORSEMENT", "buyer", "nominate_endorsee", title=title, nominee="buyer-2")
    sea.ok("forwarder", "transfer_title", title=title, to="buyer")
    sea.ok("buyer", "surrender_title", title=title, purpose="DELIVERY")


def test_endorsements_name_a_party_unless_in_blank_and_never_the_sender(sea: Sea) -> None:
    title = sea.issued()
    sea.expect("E_RECIPIENT", "shipper", "endorse_title", title=title, kind="BLANK_ENDORSE", to="buyer")
    sea.expect("E_RECIPIENT", "shipper", "endorse_title", title=title, kind="ENDORSE")
    sea.expect("E_SELF", "shipper", "endorse_title", title=title, kind="ENDORSE", to="shipper")
    sea.expect("E_SELF", "shipper", "transfer_title", title=title, to="shipper")
    sea.expect("E_UNKNOWN_PARTY", "shipper", "transfer_title", title=title, to="nobody")
    sea.expect("E_PARTY_ROLE", "shipper", "transfer_title", title=title, to="port")
    sea.expect("E_PARTY_ROLE", "shipper", "transfer_title", title=title, to="liner")
    sea.expect("E_PARTY_ROLE", "shipper", "endorse_title", title=title, kind="ENDORSE", to="buyer", hand_over_to="port")


def test_the_endorsee_nominates_and_the_holder_confirms_exactly_that_one(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="bank-hk")
    sea.expect("E_NOT_NOMINATED", "bank-hk", "confirm_nomination", title=title, nominee="")
    sea.expect("E_NOT_ENDORSEE", "bank-hk", "nominate_endorsee", title=title, nominee="buyer-2")
    sea.ok("buyer", "nominate_endorsee", title=title, nominee="buyer-2")
    sea.expect("E_NOT_NOMINATED", "bank-hk", "confirm_nomination", title=title, nominee="forwarder")
    sea.expect("E_NOT_HOLDER", "buyer", "confirm_nomination", title=title, nominee="buyer-2")
    sea.ok("bank-hk", "confirm_nomination", title=title, nominee="buyer-2")
    assert sea.control(title) == ("ISSUED", "bank-hk", "buyer-2")
    last = sea.history(title)[-1]
    assert (last.action, last.actor, last.on_behalf_of) == ("ENDORSE_TO_ORDER", "bank-hk", "buyer")
    sea.expect("E_NOT_NOMINATED", "bank-hk", "confirm_nomination", title=title, nominee="buyer-2")
    sea.ok("bank-hk", "transfer_title", title=title, to="buyer-2")
    sea.expect("E_IS_HOLDER", "buyer-2", "nominate_endorsee", title=title, nominee="buyer")


def test_a_nomination_ends_when_it_is_taken_back_or_the_title_moves(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="bank-hk")
    sea.ok("buyer", "nominate_endorsee", title=title, nominee="buyer-2")
    sea.ok("buyer", "nominate_endorsee", title=title)
    sea.expect("E_NOT_NOMINATED", "bank-hk", "confirm_nomination", title=title, nominee="buyer-2")
    sea.ok("buyer", "nominate_endorsee", title=title, nominee="buyer-2")
    sea.ok("bank-hk", "transfer_title", title=title, to="forwarder")
    sea.expect("E_NOT_NOMINATED", "forwarder", "confirm_nomination", title=title, nominee="buyer-2")


def test_a_refused_transfer_leaves_all_as_before_it_endorsement_included(sea: Sea) -> None:
    title = sea.issued()
    sea.expect("E_NOT_RETURNABLE", "shipper", "reject_transfer", title=title)
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE", to="buyer", hand_over_to="buyer")
    sea.ok("buyer", "reject_transfer", title=title)
    assert sea.control(title) == ("ISSUED", "shipper", "shipper")
    assert sea.get(title).negotiable
    sea.expect("E_NOT_HOLDER", "buyer", "reject_transfer", title=title)
    sea.expect("E_NOT_RETURNABLE", "shipper", "reject_transfer", title=title)
    sea.ok("shipper", "transfer_title", title=title, to="forwarder")
    sea.ok("forwarder", "sign_title", title=title)
    sea.expect("E_NOT_RETURNABLE", "forwarder", "reject_transfer", title=title)


def test_a_straight_bill_goes_from_shipper_to_consignee_and_nowhere_else(sea: Sea) -> None:
    title = sea.issued(bill=sea.straight())
    sea.expect("E_STRAIGHT", "shipper", "transfer_title", title=title, to="bank-hk")
    sea.expect("E_NOT_ENDORSEE", "shipper", "surrender_title", title=title, purpose="DELIVERY")
    sea.ok("shipper", "transfer_title", title=title, to="buyer")
    sea.expect("E_STRAIGHT", "buyer", "transfer_title", title=title, to="buyer-2")
    sea.ok("buyer", "surrender_title", title=title, purpose="DELIVERY")
    sea.ok("liner", "accept_surrender", title=title)


# -- surrender and amendment ------------------------------------------------------------------------------------------


def test_a_refused_surrender_gives_the_title_back_to_who_asked(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")
    sea.expect("E_STATE", "shipper", "transfer_title", title=title, to="buyer")
    sea.ok("liner", "reject_surrender", title=title, why="freight unpaid")
    assert sea.control(title) == ("ISSUED", "shipper", "shipper")
    sea.expect("E_STATE", "liner", "accept_surrender", title=title)
    sea.ok("shipper", "transfer_title", title=title, to="buyer")


def test_an_amended_bill_is_a_new_version_with_a_new_chain_and_the_old_one_is_void(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="bank-hk", hand_over_to="bank-hk")
    sea.ok("bank-hk", "surrender_title", title=title, purpose="AMENDMENT", reason="COD")
    sea.expect("E_STATE", "liner", "reissue_title", title=title,
               bill=sea.bill(), checksum=AMENDED, document=sea.document())  # fmt: skip
    sea.ok("liner", "accept_surrender", title=title)
    second = issue_again(sea, title, sea.bill(port_of_discharge="HKHKG"))
    assert second == f"{CARRIER}/HKG-1.2"
    assert sea.control(second) == ("ISSUED", "bank-hk", "bank-hk")
    assert (sea.get(title).state, sea.get(title).holder, sea.actions(second)) == ("VOIDED", "", ["ISSUE"])
    sea.expect("E_STATE", "liner", "reissue_title", title=title,
               bill=sea.bill(), checksum=AMENDED, document=sea.document())  # fmt: skip
    versions, _ = sea.kit.query("versions", {"document": f"{CARRIER}/HKG-1"})
    assert [(each.version, each.state) for each in versions] == [(1, "VOIDED"), (2, "ISSUED")]


def test_an_amendment_does_not_change_whose_a_bill_is(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE", to="buyer", hand_over_to="buyer")
    sea.ok("buyer", "surrender_title", title=title, purpose="AMENDMENT")
    sea.ok("liner", "accept_surrender", title=title)
    second = issue_again(sea, title)
    assert sea.control(second) == ("ISSUED", "buyer", "buyer")
    sea.expect("E_NO_FURTHER_ENDORSEMENT", "buyer", "endorse_title", title=second, kind="ENDORSE", to="buyer-2")


def test_the_shipper_has_its_own_straight_bill_amended_and_a_reason_stands_only_there(sea: Sea) -> None:
    title = sea.issued(bill=sea.straight())
    sea.expect("E_NOT_ENDORSEE", "shipper", "surrender_title", title=title, purpose="DELIVERY")
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="SWI")
    sea.ok("liner", "accept_surrender", title=title)
    second = issue_again(sea, title, sea.straight(port_of_discharge="HKHKG"))
    assert sea.control(second) == ("ISSUED", "shipper", "buyer")
    sea.ok("shipper", "transfer_title", title=second, to="buyer")
    sea.expect("E_REASON", "buyer", "surrender_title", title=second, purpose="DELIVERY", reason="COD")


# -- the history ------------------------------------------------------------------------------------------------------


def test_every_entry_carries_the_hash_of_the_one_before_and_the_transaction_that_made_it(sea: Sea) -> None:
    title = sea.issued()
    moved = sea.call("shipper", "transfer_title", title=title, to="forwarder", for_party="Kapok Lines")
    sea.kit.block(moved)
    first, second = sea.history(title)
    assert (first.previous, second.previous) == (NO_ENTRY, first.hash)
    assert (second.transaction, second.on_behalf_of) == (moved.tx_id, "Kapok Lines")
    assert second.hash == entry_hash(DOCUMENT, second) != entry_hash(AMENDED, second)
    assert (sea.get(title).head, sea.get(title).length) == (second.hash, 2)


def test_who_watches_over_goods_is_told_whether_their_title_came_back_to_the_carrier_that_issued_it() -> None:
    sea = Sea()

    def is_status(status: str, document: str, carrier: str = "hk") -> None:
        sea.ok(
            "shipper", "use", module="credit", function="delivery_status", title=document, process=status, to=carrier
        )

    title = sea.issued()
    is_status("OUTSTANDING", title)
    is_status("UNKNOWN", title, carrier="gz")
    is_status("UNKNOWN", f"{title}-of-nobody")
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")
    is_status("OUTSTANDING", title)
    sea.ok("liner-desk", "accept_surrender", title=title)
    is_status("SURRENDERED", title)
    is_status("PAPER", sea.on_paper("HKG-2"))
