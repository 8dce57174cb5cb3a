"""The happy path H and the abuses A1 to A5 of domain.md M3, through real blocks with invariants after each.

Each abuse comes alone, and as a race: two transactions in one block, in both orders.
"""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import replace
from dawan_node.modules.title.chain import entry_hash
from dawan_node.primitives.receipt import Receipt
from tests.modules.title_envelope_kit import envelope
from tests.modules.title_kit import CARRIER, DOCUMENT, Sea

Call = tuple[str, str, dict[str, Any]]

BOTH_ORDERS = pytest.mark.parametrize("backwards", [False, True], ids=["first", "second"])


@pytest.fixture
def sea() -> Sea:
    return Sea()


def race(sea: Sea, one: Call, other: Call, backwards: bool) -> tuple[Receipt, Receipt]:
    """Both in one block; the receipts of ``one`` and ``other``, whichever came first."""
    calls = [sea.call(person, command, **args) for person, command, args in (one, other)]
    receipts = sea.kit.block(*(calls[::-1] if backwards else calls))
    first, second = receipts[::-1] if backwards else receipts
    return first, second


def reasons(*receipts: Receipt) -> list[str]:
    assert all(receipt.code in (0, 3) for receipt in receipts)
    assert all(receipt.events == [] for receipt in receipts if receipt.code)
    return [receipt.reason for receipt in receipts]


def move(person: str, title: str, to: str) -> Call:
    return person, "transfer_title", {"title": title, "to": to}


# -- H ----------------------------------------------------------------------------------------------------------------


def test_h_issued_to_order_endorsed_to_the_bank_released_to_the_buyer_surrendered_and_delivered(sea: Sea) -> None:
    title = sea.issued()
    assert sea.control(title) == ("ISSUED", "shipper", "shipper")
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="bank-hk", hand_over_to="bank-hk")
    assert sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
    sea.ok("bank-hk", "endorse_title", title=title, kind="ENDORSE", to="buyer", hand_over_to="buyer")
    box, _ = sea.kit.query("outstanding", {"box": "CSQU3054383"})
    assert [each.title for each in box] == [title], "the box must not leave"
    use = {"function": "require_delivered", "title": title}
    sea.expect("E_STATE", "port", "use", module="credit", **use)
    sea.ok("buyer", "surrender_title", title=title, purpose="DELIVERY")
    assert sea.control(title) == ("PENDING_SURRENDER_FOR_DELIVERY", CARRIER, "buyer")
    sea.expect("E_STATE", "port", "use", module="credit", **use)
    sea.ok("liner-desk", "accept_surrender", title=title)
    assert sea.control(title) == ("SURRENDERED_FOR_DELIVERY", CARRIER, "buyer")
    assert sea.kit.query("outstanding", {"box": "CSQU3054383"}) == ((), None)
    sea.ok("port", "use", module="credit", **use)
    assert sea.actions(title) == [
        "ISSUE", "ENDORSE_TO_ORDER", "TRANSFER", "ENDORSE", "TRANSFER", "SURRENDER_FOR_DELIVERY", "SACC",
    ]  # fmt: skip
    (verified,), _ = sea.kit.query("verify", {"title": title, "checksum": DOCUMENT})
    assert (verified.same_document, verified.entries, verified.unbroken, verified.live) == (True, 7, True, True)


# -- A1: two transfers from one holder --------------------------------------------------------------------------------


@BOTH_ORDERS
def test_a1_of_two_transfers_from_one_holder_in_one_block_the_first_wins(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    one, other = race(sea, move("shipper", title, "buyer"), move("shipper", title, "bank-hk"), backwards)
    winner, expected = ("bank-hk", ["E_NOT_HOLDER", ""]) if backwards else ("buyer", ["", "E_NOT_HOLDER"])
    assert reasons(one, other) == expected
    assert sea.get(title).holder == winner
    assert sea.actions(title) == ["ISSUE", "TRANSFER"]


@BOTH_ORDERS
def test_a1_transfer_against_endorsement_with_hand_over(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    args = {"title": title, "kind": "ENDORSE_TO_ORDER", "to": "bank-hk", "hand_over_to": "bank-hk"}
    one, other = race(sea, ("shipper", "endorse_title", args), move("shipper", title, "buyer"), backwards)
    assert reasons(one, other) == (["E_NOT_HOLDER", ""] if backwards else ["", "E_NOT_HOLDER"])
    assert sea.control(title) == (("ISSUED", "buyer", "shipper") if backwards else ("ISSUED", "bank-hk", "bank-hk"))


@BOTH_ORDERS
def test_a1_one_title_sent_to_two_platforms_in_one_block_goes_to_one(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    one, other = race(sea, move("shipper", title, "wave"), move("shipper", title, "bolero"), backwards)
    assert sorted(reasons(one, other)) == ["", "E_NOT_HOLDER"]
    assert sea.get(title).holder == ("bolero" if backwards else "wave")


def test_a1_who_gave_a_title_away_has_nothing_left_to_give(sea: Sea) -> None:
    title = sea.issued()
    sea.ok(*move("shipper", title, "buyer")[:2], title=title, to="buyer")
    sea.expect("E_NOT_HOLDER", "shipper", "transfer_title", title=title, to="bank-hk")


# -- A2: endorsing without the right ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "to"), [("ENDORSE", "bank-hk"), ("ENDORSE_TO_ORDER", "bank-hk"), ("BLANK_ENDORSE", "")]
)
def test_a2_a_straight_bill_is_not_endorsed(sea: Sea, kind: str, to: str) -> None:
    title = sea.issued(bill=sea.straight())
    sea.expect("E_STRAIGHT", "shipper", "endorse_title", title=title, kind=kind, to=to)
    sea.ok("shipper", "transfer_title", title=title, to="buyer")
    sea.expect("E_STRAIGHT", "buyer", "endorse_title", title=title, kind=kind, to=to)


@BOTH_ORDERS
def test_a2_a_holder_that_is_not_the_endorsee_endorses_nothing_whoever_comes_first(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="forwarder")
    bad = ("forwarder", "endorse_title", {"title": title, "kind": "ENDORSE", "to": "buyer-2"})
    good = ("buyer", "nominate_endorsee", {"title": title, "nominee": "bank-hk"})
    assert reasons(*race(sea, bad, good, backwards)) == ["E_NOT_ENDORSEE", ""]
    assert sea.control(title) == ("ISSUED", "forwarder", "buyer")


@BOTH_ORDERS
def test_a2_a_straight_bill_to_the_consignee_and_to_a_bank_in_one_block_goes_to_the_consignee(
    sea: Sea, backwards: bool
) -> None:
    title = sea.issued(bill=sea.straight())
    good, bad = race(sea, move("shipper", title, "buyer"), move("shipper", title, "bank-hk"), backwards)
    assert reasons(good, bad) == ["", "E_STRAIGHT" if backwards else "E_NOT_HOLDER"]
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")


@BOTH_ORDERS
def test_a2_a_nomination_that_changes_in_the_block_of_its_confirmation_is_not_the_one_confirmed(
    sea: Sea, backwards: bool
) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="buyer", hand_over_to="forwarder")
    sea.ok("buyer", "nominate_endorsee", title=title, nominee="buyer-2")
    confirm = ("forwarder", "confirm_nomination", {"title": title, "nominee": "buyer-2"})
    change = ("buyer", "nominate_endorsee", {"title": title, "nominee": "bank-hk"})
    expected = ["E_NOT_NOMINATED", ""] if backwards else ["", "E_NOT_ENDORSEE"]
    assert reasons(*race(sea, confirm, change, backwards)) == expected
    assert sea.get(title).endorsee == ("buyer" if backwards else "buyer-2")


# -- A3: after surrender ----------------------------------------------------------------------------------------------


@BOTH_ORDERS
def test_a3_transfer_and_surrender_in_one_block_exclude_each_other(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    surrender = ("shipper", "surrender_title", {"title": title, "purpose": "DELIVERY"})
    one, other = race(sea, surrender, move("shipper", title, "buyer"), backwards)
    assert reasons(one, other) == (["E_NOT_HOLDER", ""] if backwards else ["", "E_STATE"])
    assert sea.get(title).holder == ("buyer" if backwards else CARRIER)


@BOTH_ORDERS
def test_a3_the_carriers_answer_and_a_transfer_in_one_block(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")
    answer = ("liner", "accept_surrender", {"title": title})
    assert reasons(*race(sea, answer, move("shipper", title, "buyer"), backwards)) == ["", "E_STATE"]
    for person in ("shipper", "liner-desk"):
        command = "transfer_title" if person == "shipper" else "accept_surrender"
        sea.expect("E_STATE", person, command, title=title, **({"to": "buyer"} if person == "shipper" else {}))
    sea.expect("E_STATE", "liner", "reject_surrender", title=title, why="?")
    sea.expect("E_STATE", "shipper", "surrender_title", title=title, purpose="DELIVERY")


@BOTH_ORDERS
def test_a3_two_people_of_the_carrier_answer_in_one_block_and_the_first_answer_counts(
    sea: Sea, backwards: bool
) -> None:
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="DELIVERY")
    yes = ("liner", "accept_surrender", {"title": title})
    no = ("liner-desk", "reject_surrender", {"title": title, "why": "freight unpaid"})
    assert reasons(*race(sea, yes, no, backwards)) == (["E_STATE", ""] if backwards else ["", "E_STATE"])
    assert sea.get(title).state == ("ISSUED" if backwards else "SURRENDERED_FOR_DELIVERY")


# -- A4: another document, another bill's history ---------------------------------------------------------------------


def test_a4_a_tampered_document_does_not_verify_under_the_title(sea: Sea) -> None:
    title = sea.issued()
    tampered = bytes([DOCUMENT[0] ^ 1]) + DOCUMENT[1:]
    (verified,), _ = sea.kit.query("verify", {"title": title, "checksum": tampered})
    assert (verified.same_document, verified.unbroken) == (False, True)


@BOTH_ORDERS
def test_a4_the_shipper_approves_what_it_read_and_not_what_replaced_it_in_the_same_block(
    sea: Sea, backwards: bool
) -> None:
    title = sea.drafted()
    args = {"carrier": CARRIER, "reference": "HKG-1", "bill": sea.bill(), "checksum": bytes(32)}
    redraft: Call = ("liner", "draft_title", args)
    approve: Call = ("shipper", "approve_draft", {"title": title, "checksum": DOCUMENT})
    assert reasons(*race(sea, redraft, approve, backwards)) == ["", "" if backwards else "E_CHECKSUM"]
    assert sea.get(title).state == "DRAFT", "in either order the new draft is not approved"
    sea.expect("E_STATE", "liner", "issue_title", title=title, document=sea.document())


def test_a4_an_entry_of_another_bill_or_version_or_place_fits_nowhere(sea: Sea) -> None:
    first, second = sea.issued("HKG-1"), sea.issued("HKG-2")
    (entry,), (other,) = sea.history(first), sea.history(second)
    assert (entry.action, entry.recipient) == (other.action, other.recipient)
    assert entry.hash != other.hash, "the same act on two bills has two hashes"
    for changed in (
        replace(other, title=first),
        replace(entry, position=1),
        replace(entry, recipient="buyer"),
        replace(entry, at_ms=entry.at_ms + 1),
        replace(entry, previous=other.hash),
    ):
        assert entry_hash(DOCUMENT, changed) != changed.hash
    # Put into the state in place of the own entry, it is found.
    key = ("title", "chain_entry", entry.primary_key())
    sea.kit.state.values[key] = encode_entity(replace(other, title=first))
    (verified,), _ = sea.kit.query("verify", {"title": first, "checksum": DOCUMENT})
    assert not verified.unbroken
    with pytest.raises(AssertionError, match="is not of this title and document"):
        sea.kit.check_invariants()


@BOTH_ORDERS
def test_a4_an_envelope_with_the_checksum_of_another_document_beside_the_right_one(sea: Sea, backwards: bool) -> None:
    right: Call = ("wave", "receive_envelope", envelope(sea))
    wrong: Call = ("wave", "receive_envelope", envelope(sea, checksum=bytes(32)))
    assert reasons(*race(sea, right, wrong, backwards)) == ["", "E_PINT_BENV"]
    assert sea.get(f"{CARRIER}/WAVE-7").checksum == DOCUMENT


# -- A5: pledged, or on paper -----------------------------------------------------------------------------------------


@BOTH_ORDERS
def test_a5_pledge_and_transfer_in_one_block_exclude_each_other(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    pledge: Call = ("shipper", "pledge_title", {"title": title, "pledgee": "bank-hk", "matures": sea.day(9)})
    one, other = race(sea, pledge, move("shipper", title, "buyer"), backwards)
    assert reasons(one, other) == (["E_NOT_HOLDER", ""] if backwards else ["", "E_LOCKED"])
    assert sea.get(title).holder == ("buyer" if backwards else "shipper")


@BOTH_ORDERS
def test_a5_one_title_pledged_to_two_banks_in_one_block_is_pledged_to_one(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    calls: list[Call] = [
        ("shipper", "pledge_title", {"title": title, "pledgee": bank, "matures": sea.day(9)})
        for bank in ("bank-hk", "bank-gz")
    ]
    assert sorted(reasons(*race(sea, calls[0], calls[1], backwards))) == ["", "E_LOCKED"]
    assert sea.get(title).pledge.pledgee == ("bank-gz" if backwards else "bank-hk")


@BOTH_ORDERS
def test_a5_release_and_transfer_in_one_block_the_transfer_counts_only_after_the_release(
    sea: Sea, backwards: bool
) -> None:
    title = sea.issued()
    sea.ok("shipper", "pledge_title", title=title, pledgee="bank-hk", matures=sea.day(9))
    release: Call = ("bank-hk", "release_pledge", {"title": title})
    one, other = race(sea, release, move("shipper", title, "buyer"), backwards)
    assert reasons(one, other) == ["", "E_LOCKED" if backwards else ""]
    assert sea.get(title).holder == ("shipper" if backwards else "buyer")


@BOTH_ORDERS
def test_a5_paper_is_accepted_and_the_title_moved_in_one_block_paper_alone_lives(sea: Sea, backwards: bool) -> None:
    title = sea.issued()
    sea.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="SWTP")
    accept: Call = ("liner", "accept_surrender", {"title": title, "paper": "P-1"})
    one, other = race(sea, accept, move("shipper", title, "buyer"), backwards)
    assert reasons(one, other) == ["", "E_STATE" if backwards else "E_PAPER"]
    assert (sea.get(title).medium, sea.get(title).holder) == ("PAPER", "")


@BOTH_ORDERS
def test_a5_one_original_brings_one_electronic_title_however_often_it_is_handed_in(sea: Sea, backwards: bool) -> None:
    title = sea.on_paper()
    calls: list[Call] = []
    for clerk, to in (("liner", "buyer"), ("liner-desk", "bank-hk")):
        args = {"title": title, "paper": "P-1", "to": to, "bill": sea.bill(), "checksum": DOCUMENT}
        calls.append((clerk, "restore_title", args | {"document": sea.document()}))
    assert sorted(reasons(*race(sea, calls[0], calls[1], backwards))) == ["", "E_STATE"]
    assert sea.get(f"{title}.2").holder == ("bank-hk" if backwards else "buyer")
    versions, _ = sea.kit.query("versions", {"document": title})
    assert [each.state for each in versions] == ["VOIDED", "ISSUED"]
    sea.expect("E_STATE", *calls[0][:2], **calls[0][2])
