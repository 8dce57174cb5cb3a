"""Titles that other platforms send in: the seven answers, and that what is signed is what counts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dawan_node.modules.title.entities import Envelope
from dawan_node.primitives.jws import JSON_DEPTH_MAX, read_json, read_jws
from tests.modules.title_envelope_kit import (
    INVOICE,
    STRANGER,
    act,
    b64,
    entry,
    envelope,
    first,
    hash_of,
    issuance,
    manifest,
    party,
    raw_signature,
    sign,
    to_buyer,
)
from tests.modules.title_kit import CARRIER, CARRIER_KEY, DOCUMENT, Sea

TITLE = f"{CARRIER}/WAVE-7"
OTHER = b"\x07" * 32


@pytest.fixture
def sea() -> Sea:
    return Sea()


def receive(sea: Sea, **args: Any) -> str:
    """The answer to an envelope that is no refusal."""
    receipt = sea.ok("wave", "receive_envelope", **args)
    name, data = receipt.events[-1]
    assert name == "EnvelopeAnswered"
    return str(data["answer"])


def refuse(sea: Sea, answer: str, *chain: str, who: str = "wave", **changed: Any) -> None:
    sea.expect(answer, who, "receive_envelope", **envelope(sea, *chain, **changed))


# -- accepted ---------------------------------------------------------------------------------------------------------


def test_h_rece_a_title_endorsed_on_another_platform_is_the_buyers_here_and_surrendered_here(sea: Sea) -> None:
    args = envelope(sea)
    assert receive(sea, **args) == "RECE"
    assert sea.control(TITLE) == ("ISSUED", "buyer", "buyer")
    found = sea.get(TITLE)
    assert (found.origin, found.bill.shipper, found.negotiable) == ("WAVE", "WAVE:ACME Trading", True)
    assert sea.kit.get(Envelope, bytes.fromhex(hash_of(args["chain"][-1]))) is not None
    sea.ok("buyer", "surrender_title", title=TITLE, purpose="DELIVERY")
    sea.ok("liner", "accept_surrender", title=TITLE)


def test_dupe_an_envelope_accepted_before_changes_nothing_however_often_it_comes(sea: Sea) -> None:
    args = envelope(sea)
    assert receive(sea, **args) == "RECE"
    before = sea.state()
    assert receive(sea, **args) == "DUPE"
    assert receive(sea, **args | {"documents": []}) == "DUPE", "also when its documents are not sent again"
    assert sea.state() == before
    sea.ok("buyer", "transfer_title", title=TITLE, to="buyer-2")
    assert receive(sea, **args) == "DUPE"
    assert sea.get(TITLE).holder == "buyer-2"


@pytest.mark.parametrize("twice", [False, True])
def test_one_envelope_twice_in_one_block_is_received_once(sea: Sea, twice: bool) -> None:
    args = envelope(sea)
    calls = [sea.call("wave", "receive_envelope", **args) for _ in range(2)]
    receipts = sea.kit.block(*(reversed(calls) if twice else calls))
    assert [receipt.events[-1][1]["answer"] for receipt in receipts] == ["RECE", "DUPE"]


@pytest.mark.parametrize(
    ("middle", "control", "negotiable"),
    [
        ([act("ENDORSE", "ACME", "buyer", "DAWAN")], "buyer", False),
        ([act("BLANK_ENDORSE", "ACME")], "", True),
        ([act("SIGN", "ACME")], "WAVE:ACME", True),
        ([], "WAVE:ACME", True),
        (
            [act("SURRENDER_FOR_AMENDMENT", "ACME", "HMM"), act("SREJ", "HMM", "ACME"), act("BLANK_ENDORSE", "ACME")],
            "",
            True,
        ),
        (
            [
                act("ENDORSE_TO_ORDER", "ACME", "B"),
                act("TRANSFER", "ACME", "B"),
                act("ENDORSE", "B", "bank-hk", "DAWAN"),
                act("TRANSFER", "B", "C"),
                act("TRANSFER", "C", "B"),
            ],
            "bank-hk",
            False,
        ),
    ],
)
def test_possession_and_right_are_what_the_foreign_chain_made_them(
    sea: Sea, middle: list[Any], control: str, negotiable: bool
) -> None:
    last = "B" if len(middle) > 3 else "ACME"
    chain = sign(first(act("ISSUE", "HMM", "ACME"), *middle, act("TRANSFER", last, "buyer", "DAWAN")))
    assert receive(sea, **envelope(sea, chain)) == "RECE"
    assert sea.control(TITLE) == ("ISSUED", "buyer", control)
    assert sea.get(TITLE).negotiable is negotiable


def test_a_straight_bill_comes_in_for_its_consignee(sea: Sea) -> None:
    chain = sign(first(act("ISSUE", "HMM", "ACME"), act("TRANSFER", "ACME", "buyer", "DAWAN")))
    straight = sea.straight(shipper="ACME Trading")
    refuse(sea, "E_PINT_BENV", chain, bill=straight | {"consignee": "buyer-2"})
    refuse(sea, "E_PINT_BENV", bill=straight)
    assert receive(sea, **envelope(sea, chain, bill=straight)) == "RECE"
    assert sea.control(TITLE) == ("ISSUED", "buyer", "buyer")


def test_benv_a_straight_bill_that_passed_through_a_third_hand(sea: Sea) -> None:
    third = [act("TRANSFER", "ACME", "B"), act("TRANSFER", "B", "buyer", "DAWAN")]
    chain = sign(first(act("ISSUE", "HMM", "ACME"), *third))
    refuse(sea, "E_PINT_BENV", chain, bill=sea.straight(shipper="ACME Trading"))


def test_a_right_that_is_said_to_be_here_is_somebodys(sea: Sea) -> None:
    for name, reason in (("nobody", "E_UNKNOWN_PARTY"), ("port", "E_PARTY_ROLE")):
        endorse = act("ENDORSE_TO_ORDER", "ACME", name, "DAWAN")
        refuse(sea, reason, sign(first(to_buyer()[0], endorse, to_buyer()[2])))


def test_a_wrong_check_digit_in_a_foreign_bill_is_kept_as_a_warning(sea: Sea) -> None:
    boxes = [{"number": "CSQU3054384", "type": "22G1"}, {"number": "CSQU3054383", "type": "22G1"}]
    receive(sea, **envelope(sea, bill=sea.bill(shipper="ACME", boxes=boxes)))
    assert [box.consistent for box in sea.get(TITLE).bill.boxes] == [False, True]


def test_a_title_goes_to_another_platform_and_comes_back_once_from_there_only(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="wave", hand_over_to="wave")
    head = sea.get(title).head.hex()
    back = sign(
        entry(
            act("ENDORSE_TO_ORDER", "ACME", "buyer", "DAWAN"),
            act("TRANSFER", "ACME", "buyer", "DAWAN"),
            previousEnvelopeTransferChainEntrySignedContentChecksum=head,
        )
    )
    args = envelope(sea, back, reference="HKG-1", bill=None, document=None)
    forged = sign(entry(act("TRANSFER", "ACME", "buyer", "DAWAN")))
    refuse(sea, "E_PINT_DISE", forged, reference="HKG-1", bill=None, document=None)
    assert receive(sea, **args) == "RECE"
    assert sea.control(title) == ("ISSUED", "buyer", "buyer")
    assert sea.actions(title) == ["ISSUE", "ENDORSE_TO_ORDER", "TRANSFER", "RECEIVE"]
    # Sent out again, the old way back is no way.
    sea.ok("buyer", "transfer_title", title=title, to="wave")
    assert receive(sea, **args) == "DUPE"
    assert sea.get(title).holder == "wave"
    again = sign(
        entry(
            act("SIGN", "ACME"),
            act("TRANSFER", "ACME", "buyer", "DAWAN"),
            previousEnvelopeTransferChainEntrySignedContentChecksum=head,
        )
    )
    refuse(sea, "E_PINT_DISE", again, reference="HKG-1", bill=None, document=None)


def test_a_platforms_party_keeps_a_right_that_it_did_not_pass_on(sea: Sea) -> None:
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="wave", hand_over_to="wave")
    head = sea.get(title).head.hex()
    only_possession = act("TRANSFER", "ACME", "buyer", "DAWAN")
    back = sign(entry(only_possession, previousEnvelopeTransferChainEntrySignedContentChecksum=head))
    receive(sea, **envelope(sea, back, reference="HKG-1"))
    assert sea.control(title) == ("ISSUED", "buyer", "WAVE:ACME")
    sea.expect("E_NOT_ENDORSEE", "buyer", "surrender_title", title=title, purpose="DELIVERY")


# -- BSIG -------------------------------------------------------------------------------------------------------------


def test_bsig_whatever_is_not_signed_by_the_enrolled_key(sea: Sea) -> None:
    good = sign(first())
    refuse(sea, "E_PINT_BSIG", manifest=sign(manifest(hash_of(good)), STRANGER))
    refuse(sea, "E_PINT_BSIG", sign(first(), STRANGER))
    refuse(sea, "E_PINT_BSIG", sign(first(issuanceManifestSignedContent=issuance(key=STRANGER))))
    refuse(sea, "E_PINT_BSIG", sign(first(*to_buyer(), platform="BOLE")))
    # The signature of another text of the same key.
    header, payload, _ = good.split(".")
    refuse(sea, "E_PINT_BSIG", f"{header}.{payload}.{sign(manifest('')).split('.')[2]}")
    refuse(sea, "E_PINT_BSIG", f"{header}.{payload}.{b64(bytes(64))}")
    refuse(sea, "E_PINT_BSIG", f"{header}.{payload}.{b64(bytes(3))}")


def test_bsig_one_byte_changed_anywhere_in_a_signed_payload(sea: Sea) -> None:
    header, payload, signature = sign(first()).split(".")
    read = read_jws(f"{header}.{payload}.{signature}")
    assert read is not None
    changed = read.payload.replace(b'"buyer"', b'"byuer"')
    assert changed != read.payload
    refuse(sea, "E_PINT_BSIG", f"{header}.{b64(changed)}.{signature}")


def test_bsig_a_carrier_that_enrolled_no_key_issued_nothing_elsewhere(sea: Sea) -> None:
    sea.enrol("propose_carrier", code="SMDG-MSC", org="mo")
    refuse(sea, "E_PINT_BSIG", carrier="SMDG-MSC")


# -- BENV -------------------------------------------------------------------------------------------------------------

IMPOSSIBLE: dict[str, list[dict[str, Any]]] = {
    "no issue": to_buyer()[1:],
    "issued twice": [act("ISSUE", "HMM", "ACME"), *to_buyer()],
    "issued again by the holder": [to_buyer()[0], act("ISSUE", "ACME", "ACME"), *to_buyer()[1:]],
    "does not end with the transfer to here": to_buyer()[:2],
    "transferred to another platform": [*to_buyer()[:2], act("TRANSFER", "ACME", "buyer")],
    "transferred to somebody else here": [*to_buyer()[:2], act("TRANSFER", "ACME", "buyer-2", "DAWAN")],
    "transferred by who does not hold it": [*to_buyer()[:2], act("TRANSFER", "B", "buyer", "DAWAN")],
    "transferred twice from one holder": [*to_buyer(), act("TRANSFER", "ACME", "buyer", "DAWAN")],
    "endorsed by who is not the endorsee": [
        act("ISSUE", "HMM", "ACME"),
        act("TRANSFER", "ACME", "B"),
        act("ENDORSE", "B", "buyer", "DAWAN"),
        act("TRANSFER", "B", "buyer", "DAWAN"),
    ],
    "endorsed on after the last endorsement": [
        act("ISSUE", "HMM", "ACME"),
        act("ENDORSE", "ACME", "B"),
        act("TRANSFER", "ACME", "B"),
        act("ENDORSE", "B", "buyer", "DAWAN"),
        act("TRANSFER", "B", "buyer", "DAWAN"),
    ],
    "moved while surrendered": [
        act("ISSUE", "HMM", "ACME"),
        act("SURRENDER_FOR_DELIVERY", "ACME", "HMM"),
        act("TRANSFER", "ACME", "buyer", "DAWAN"),
    ],
    "given back to somebody else": [
        act("ISSUE", "HMM", "ACME"),
        act("SURRENDER_FOR_DELIVERY", "ACME", "HMM"),
        act("SREJ", "HMM", "B"),
        act("TRANSFER", "B", "buyer", "DAWAN"),
    ],
    "after SACC": [
        act("ISSUE", "HMM", "ACME"),
        act("SURRENDER_FOR_DELIVERY", "ACME", "HMM"),
        act("SACC", "HMM", "ACME"),
        act("TRANSFER", "ACME", "buyer", "DAWAN"),
    ],
    "an act of another platform": [*to_buyer()[:2], act("TRANSFER", "ACME", "buyer", "DAWAN", by="BOLE")],
    "an act of another platform's party, which holds it": [
        act("ISSUE", "HMM", "ACME", "BOLE"),
        act("BLANK_ENDORSE", "ACME", by="BOLE"),
        act("TRANSFER", "ACME", "buyer", "DAWAN", by="BOLE"),
    ],
    "an unknown act": [to_buyer()[0], act("LOSE", "ACME"), *to_buyer()[1:]],
    "blank endorsement that names somebody": [
        act("ISSUE", "HMM", "ACME"),
        act("BLANK_ENDORSE", "ACME", "buyer", "DAWAN"),
        act("TRANSFER", "ACME", "buyer", "DAWAN"),
    ],
    "transfer to nobody": [*to_buyer()[:2], act("TRANSFER", "ACME")],
    "a party without a name": [act("ISSUE", "HMM", "ACME") | {"actor": party("")}, *to_buyer()[1:]],
    "no transaction": [],
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_benv_a_chain_that_could_not_have_happened(sea: Sea, what: str) -> None:
    chain = entry(*IMPOSSIBLE[what], issuanceManifestSignedContent=issuance())
    refuse(sea, "E_PINT_BENV", sign(chain))


def test_benv_an_envelope_that_contradicts_itself(sea: Sea) -> None:
    good = sign(first())
    refuse(sea, "E_PINT_BENV", manifest=sign(manifest("00" * 32)))
    refuse(sea, "E_PINT_BENV", manifest=sign(manifest(hash_of(good), OTHER)))
    refuse(sea, "E_PINT_BENV", sign(first(checksum=OTHER)))
    refuse(sea, "E_PINT_BENV", checksum=OTHER)
    refuse(sea, "E_PINT_BENV", sign(first(issuanceManifestSignedContent=issuance(OTHER))))
    refuse(sea, "E_PINT_BENV", sign(first(issuanceManifestSignedContent=None)))
    refuse(sea, "E_PINT_BENV", bill=None)
    refuse(sea, "E_PINT_BENV", document=None)
    refuse(sea, "E_PINT_BENV", recipient="buyer-2")
    # Two entries of which the second does not follow the first.
    start = sign(first(act("ISSUE", "HMM", "ACME")))
    refuse(sea, "E_PINT_BENV", start, sign(entry(*to_buyer()[1:])))
    other = {"previousEnvelopeTransferChainEntrySignedContentChecksum": hash_of(good)}
    refuse(sea, "E_PINT_BENV", start, sign(entry(*to_buyer()[1:], **other)))


def test_two_entries_of_one_chain_are_linked_by_the_hash_of_the_first(sea: Sea) -> None:
    start = sign(first(act("ISSUE", "HMM", "ACME")))
    link = {"previousEnvelopeTransferChainEntrySignedContentChecksum": hash_of(start)}
    assert receive(sea, **envelope(sea, start, sign(entry(*to_buyer()[1:], **link)))) == "RECE"


MALFORMED: dict[str, str] = {
    "not three parts": "a.b",
    "empty part": "a..b",
    "padding": sign(first()) + "=",
    "another alphabet": "+/." + sign(first()).partition(".")[2],
    "header that is no JSON": f"{b64(b'{')}.{b64(b'{}')}.{b64(bytes(64))}",
    "another algorithm": sign(first(), header={"alg": "none"}),
    "an extension": sign(first(), header={"alg": "EdDSA", "crit": ["b64"]}),
    "payload that is no JSON": sign(b"{"),
    "payload that is no entry": sign(b"[]"),
    "payload that is no UTF-8": sign(b'{"eblPlatform": "\xff"}'),
    "a lone surrogate": sign(json.dumps(first()).replace("WAVE", "\\ud800").encode()),
    "nested deep": sign(json.dumps(first()).replace("{", '{"x": ' + "[" * 3_000 + "]" * 3_000 + ",", 1).encode()),
    "a thousand opened brackets": sign(b"[" * 9_000),
    "a string that does not end": sign(b'"' + b'\\"' * 6_000 + b"\\"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_benv_what_is_no_signed_entry_at_all(sea: Sea, what: str) -> None:
    args = envelope(sea, MALFORMED[what])
    (receipt,) = sea.kit.block(sea.call("wave", "receive_envelope", **args))
    assert receipt.reason in ("E_PINT_BENV", "E_PINT_BSIG") and receipt.events == []
    if what != "a lone surrogate":
        assert receipt.reason == "E_PINT_BENV"


def test_a_signature_has_one_spelling(sea: Sea) -> None:
    """64 bytes end in four unused bits: another spelling would be another hash of the same signature."""
    good = sign(first())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = good[:-1] + alphabet[alphabet.index(good[-1]) + 1]
    assert read_jws(good) is not None and read_jws(other) is None
    refuse(sea, "E_PINT_BENV", other)


def test_json_is_read_to_a_fixed_depth_and_strings_do_not_count() -> None:
    def nested(depth: int) -> bytes:
        return b"[" * depth + b'"[[[[[[[[[[[[[[[[[[[["' + b"]" * depth

    assert read_json(nested(JSON_DEPTH_MAX), list) is not None
    assert read_json(nested(JSON_DEPTH_MAX + 1), list) is None


# -- INCD, MDOC, DISE -------------------------------------------------------------------------------------------------


def test_incd_a_document_that_is_not_in_the_manifest_or_of_another_size(sea: Sea) -> None:
    right = {"checksum": INVOICE, "size": 7}
    refuse(sea, "E_PINT_INCD", documents=[right, {"checksum": OTHER, "size": 7}])
    refuse(sea, "E_PINT_INCD", documents=[{"checksum": INVOICE, "size": 8}])


def test_mdoc_a_document_of_the_manifest_that_did_not_come(sea: Sea) -> None:
    refuse(sea, "E_PINT_MDOC", documents=[])
    chain = sign(first())
    picture = {"name": "bill.pdf", "size": 9, "documentChecksum": OTHER.hex()}
    seen = manifest(hash_of(chain)) | {"eBLVisualisationByCarrier": picture}
    refuse(sea, "E_PINT_MDOC", chain, manifest=sign(seen))
    both = [{"checksum": INVOICE, "size": 7}, {"checksum": OTHER, "size": 9}]
    assert receive(sea, **envelope(sea, chain, manifest=sign(seen), documents=both)) == "RECE"


def test_dise_a_title_that_this_channel_did_not_hand_to_that_platform(sea: Sea) -> None:
    sea.issued("WAVE-7")
    refuse(sea, "E_PINT_DISE")
    sea.ok("shipper", "transfer_title", title=TITLE, to="wave")
    refuse(sea, "E_PINT_DISE")
    sea.ok("wave", "transfer_title", title=TITLE, to="shipper")
    sea.ok("shipper", "surrender_title", title=TITLE, purpose="DELIVERY")
    refuse(sea, "E_PINT_DISE")
    sea.ok("liner", "accept_surrender", title=TITLE)
    refuse(sea, "E_PINT_DISE")


def test_dise_a_title_that_is_paper_or_only_a_draft_here(sea: Sea) -> None:
    sea.on_paper("WAVE-7")
    refuse(sea, "E_PINT_DISE")
    sea.drafted("WAVE-8")
    refuse(sea, "E_PINT_DISE", reference="WAVE-8")


def continued(sea: Sea, *transactions: dict[str, Any], checksum: bytes = DOCUMENT, **more: Any) -> str:
    """An entry that goes on from the title's own chain."""
    head = sea.get(TITLE).head.hex()
    link = {"previousEnvelopeTransferChainEntrySignedContentChecksum": head}
    return sign(entry(*transactions, checksum=checksum, **link), **more)


def test_dise_a_chain_that_continues_a_title_which_another_party_holds(sea: Sea) -> None:
    sea.issued("WAVE-7")
    refuse(sea, "E_PINT_DISE", continued(sea, to_buyer()[2]))


def test_dise_another_document_under_a_title_that_was_sent_out(sea: Sea) -> None:
    sea.issued("WAVE-7", to="wave")
    chain = continued(sea, to_buyer()[2], checksum=OTHER)
    refuse(sea, "E_PINT_DISE", chain, checksum=OTHER, manifest=sign(manifest(hash_of(chain), OTHER)))
    assert receive(sea, **envelope(sea, continued(sea, to_buyer()[2]))) == "RECE"


def test_dise_a_chain_that_begins_on_a_platform_the_title_was_not_sent_to(sea: Sea) -> None:
    sea.enrol("propose_platform", code="BOLE", agent="bolero", public_key=STRANGER.public_key)
    sea.issued("WAVE-7", to="wave")
    link = {"previousEnvelopeTransferChainEntrySignedContentChecksum": sea.get(TITLE).head.hex()}
    elsewhere = sign(entry(act("TRANSFER", "B", "ACME", "WAVE", by="BOLE"), platform="BOLE", **link), STRANGER)
    link = {"previousEnvelopeTransferChainEntrySignedContentChecksum": hash_of(elsewhere)}
    refuse(sea, "E_PINT_DISE", elsewhere, sign(entry(to_buyer()[2], **link)))


def test_a_frozen_title_does_not_come_back_in(sea: Sea) -> None:
    sea.issued("WAVE-7", to="wave")
    until_ms = sea.kit.time_ms + 86_400_000
    order = {"module": "title", "asset": TITLE, "order": "X", "reason": "claim", "until_ms": until_ms}
    assert sea.kit.run("judge", "freeze_asset", order, module="kernel").code == 0
    refuse(sea, "E_ASSET_FROZEN", continued(sea, to_buyer()[2]))


def test_what_this_network_signs_never_passes_for_what_another_one_signed(sea: Sea) -> None:
    """A key could be used here and elsewhere: all that is signed here has a line feed, nothing elsewhere may."""
    line = b"text"
    fine = {"key": CARRIER_KEY.public_key, "line": line, "signature": raw_signature(CARRIER_KEY, line)}
    sea.ok("port", "judge_line", module="credit", **fine)
    own = fine | {"line": b"tag\ntext", "signature": CARRIER_KEY.sign(b"tag", b"text")}
    sea.expect("E_STATE", "port", "judge_line", module="credit", **own)
    sea.expect("E_STATE", "port", "judge_line", module="credit", **fine | {"line": b"texu"})
    sea.expect("E_STATE", "port", "judge_line", module="credit", **fine | {"key": b"", "signature": b""})


def test_dise_a_second_chain_of_a_title_that_came_in_before(sea: Sea) -> None:
    receive(sea, **envelope(sea))
    other = sign(first(to_buyer()[0], act("BLANK_ENDORSE", "ACME"), to_buyer()[2]))
    refuse(sea, "E_PINT_DISE", other)


def test_dise_one_document_under_another_reference_is_no_other_title(sea: Sea) -> None:
    receive(sea, **envelope(sea))
    again = sign(first(to_buyer()[0], act("SIGN", "ACME"), *to_buyer()[1:]))
    refuse(sea, "E_PINT_DISE", again, reference="WAVE-8")
    sea.issued("HKG-1")
    refuse(sea, "E_PINT_DISE", again, reference="HKG-2")


def test_dise_a_bill_that_names_a_registry_but_does_not_stand_in_it(sea: Sea) -> None:
    refuse(sea, "E_PINT_DISE", sign(first(controlTrackingRegistry="https://registry.example")))
    link = {"previousEnvelopeTransferChainEntrySignedContentChecksum": "00" * 32}
    refuse(sea, "E_PINT_DISE", sign(first(**link)))


def test_only_the_identity_of_a_platform_brings_envelopes_of_that_platform(sea: Sea) -> None:
    sea.expect("E_ROLE", "buyer", "receive_envelope", **envelope(sea))
    refuse(sea, "E_UNKNOWN_CARRIER", carrier="SMDG-XXX")
    sea.enrol("propose_platform", code="BOLE", agent="bolero", public_key=STRANGER.public_key)
    refuse(sea, "E_PINT_BSIG", who="bolero")
    whole = sign(first(), CARRIER_KEY)
    refuse(sea, "E_PINT_BSIG", whole)
    chain = sign(first())
    refuse(sea, "E_PINT_BENV", chain, who="bolero", manifest=sign(manifest(hash_of(chain)), STRANGER))
