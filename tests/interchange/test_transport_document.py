"""Transport documents of the carriers' standard: the canonical form, the checksum, what is read and what is refused."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.interchange.canonical_json import DEPTH_MAX, NoCanonicalForm, canonical, checksum
from dawan_node.interchange.transport_document import read_envelope, read_transport_document
from tests.modules.title_envelope_kit import act, envelope, first, hash_of, issuance, manifest, sign
from tests.modules.title_kit import CARRIER, Sea

# The standard's own sample; it is not part of this project.
SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "dcsa" / "pint-3.0.0-transport-document.json"
needs_sample = pytest.mark.skipif(not SAMPLE.exists(), reason=f"not run: {SAMPLE} is absent")

DOCUMENT: dict[str, Any] = {
    "transportDocumentReference": "WAVE-7",
    "transportDocumentTypeCode": "BOL",
    "isToOrder": True,
    "carrierCode": "HMM",
    "carrierCodeListProvider": "SMDG",
    "freightPaymentTermCode": "PRE",
    "shippedOnBoardDate": "2025-11-20",
    "documentParties": {"shipper": {"partyName": "ACME", "identifyingCodes": [{"partyCode": "ACME Trading"}]}},
    "utilizedTransportEquipments": [
        {"equipment": {"equipmentReference": "CSQU3054384", "ISOEquipmentCode": "22G1"}, "cargoGrossWeight": 12000.50}
    ],
    "transports": {
        "portOfLoading": {"UNLocationCode": "CNYTN"},
        "portOfDischarge": {"UNLocationCode": "MOMFM"},
        "vesselVoyages": [{"vesselIMONumber": "9863297", "carrierExportVoyageNumber": "402E"}],
    },
}


def text_of(**changed: Any) -> bytes:
    return json.dumps(DOCUMENT | changed).encode()


# -- the canonical form -----------------------------------------------------------------------------------------------


def test_the_example_of_the_specification() -> None:
    given_text = r"""{"-0": -0, "-1": -1, "0.1": 1.0E-1, "1": 1, "10.1": 1.01E1, "emoji": "\ud83d\ude03",
        "escape": "\u001b", "lone surrogate": "\udead", "whitespace": " \t\n\r"}"""
    expected = (
        r'{"-0":0,"-1":-1,"0.1":1.0E-1,"1":1,"10.1":1.01E1,"emoji":"😃","escape":"\u001B",'
        r'"lone surrogate":"\uDEAD","whitespace":" \t\n\r"}'
    )
    assert canonical(given_text.encode()).decode() == expected


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("0", "0"), ("-0.0", "0"), ("0e5", "0"), ("12000.0", "12000"), ("1E3", "1000"), ("1200e-2", "12"),
        ("0.001", "1.0E-3"), ("12.50", "1.25E1"), ("-0.5", "-5.0E-1"), ("1" + "0" * 20 + "1", "1" + "0" * 20 + "1"),
        ("1e29", "1" + "0" * 29), ("1e30", "1.0E30"), ("12e30", "1.2E31"), ("1e-999999999", "1.0E-999999999"),
    ],
)  # fmt: skip
def test_numbers_have_one_form(written: str, form: str) -> None:
    assert canonical(written.encode()).decode() == form


def test_names_are_in_order_of_code_points_and_not_of_sixteen_bit_units() -> None:
    assert (
        canonical('{"\U0001f600":1,"\uff5e":2,"a":3,"B":4}'.encode()).decode()
        == '{"B":4,"a":3,"\uff5e":2,"\U0001f600":1}'
    )


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b'{"a":1,"a":2}', b"NaN", b"[1e9999999999]", b"\xff", b"[" * 100 + b"]" * 100, b'{"a":{"b":1,"b":1}}'],
)
def test_what_has_no_canonical_form(text: bytes) -> None:
    with pytest.raises(NoCanonicalForm):
        canonical(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)


def exact(text: bytes) -> Any:
    """What a text says, numbers to the last digit."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@given(JSON)
def test_the_canonical_form_says_the_same_and_is_its_own_canonical_form(value: Any) -> None:
    text = json.dumps(value).encode()
    form = canonical(text)
    assert exact(form) == exact(text)
    assert canonical(form) == form
    assert canonical(json.dumps(value, indent=3, ensure_ascii=False).encode("utf-8", "surrogatepass")) == form


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        canonical(data)
    except NoCanonicalForm:
        assert json_is_refused_or_ambiguous(data)
    assert read_transport_document(data).refusal
    assert read_envelope(data).refusal


def json_is_refused_or_ambiguous(data: bytes) -> bool:
    """Whether a plain reader refuses it too, or it is one of what only the canonical form refuses."""
    try:
        json.loads(data.decode())
    except ValueError:
        return True
    return data.count(b":") > 1 or any(word in data for word in (b"NaN", b"Infinity", b"e", b"E"))


def test_the_depth_of_a_document_is_bounded() -> None:
    assert canonical(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)


# -- documents --------------------------------------------------------------------------------------------------------


def test_a_document_becomes_the_arguments_of_a_draft_with_warnings() -> None:
    read = read_transport_document(text_of())
    assert (read.carrier, read.reference, read.shipper, read.refusal) == (CARRIER, "WAVE-7", "ACME Trading", "")
    assert read.warnings == ("container CSQU3054384: check digit 4, expected 3",)
    assert read.checksum == hashlib.sha256(canonical(text_of())).digest()
    spread = json.dumps(dict(reversed(DOCUMENT.items())), indent=2).replace("12000.5", "1.20005e4").encode()
    assert read_transport_document(spread).checksum == read.checksum, "key order and spelling of numbers do not matter"
    assert read_transport_document(text_of(isToOrder=False)).checksum != read.checksum


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"carrierCodeListProvider": "ZZZ"}, "from the list 'ZZZ'"),
        ({"isToOrder": "yes"}, "Expected `bool`"),
        ({"utilizedTransportEquipments": [{"equipment": {"equipmentReference": "BOX 1"}}]}, "'BOX 1' is no container"),
        ({"transports": {}}, "missing required field"),
    ],
)
def test_a_document_of_another_form_is_refused_with_the_reason(changed: dict[str, Any], refusal: str) -> None:
    assert refusal in read_transport_document(text_of(**changed)).refusal


def test_an_envelope_file_becomes_a_title_on_the_channel() -> None:
    sea = Sea()
    document = checksum(text_of())
    entry = first(
        act("ISSUE", "HMM", "ACME"), act("BLANK_ENDORSE", "ACME"), act("TRANSFER", "ACME", "buyer", "DAWAN"),
        checksum=document, issuanceManifestSignedContent=issuance(document),
    )  # fmt: skip
    chain = sign(entry)
    file = {
        "transportDocument": DOCUMENT,
        "envelopeManifestSignedContent": sign(manifest(hash_of(chain), document)),
        "envelopeTransferChain": [chain],
    }
    read = read_envelope(json.dumps(file, indent=1).encode())
    assert read.refusal == ""
    bill = read.document.bill | {"shipper": read.document.shipper}
    more = {"carrier": read.document.carrier, "reference": read.document.reference, "checksum": read.document.checksum}
    args = envelope(sea, *read.chain, manifest=read.manifest, bill=bill, **more)
    sea.ok("wave", "receive_envelope", **args)
    assert sea.control(f"{CARRIER}/WAVE-7") == ("ISSUED", "buyer", "")
    assert [box.consistent for box in sea.get(f"{CARRIER}/WAVE-7").bill.boxes] == [False]


def test_a_document_changed_after_the_manifest_was_signed_is_refused_before_it_is_sent() -> None:
    chain = sign(first())
    file = {
        "transportDocument": DOCUMENT | {"isToOrder": False},
        "envelopeManifestSignedContent": sign(manifest(hash_of(chain), checksum(text_of()))),
        "envelopeTransferChain": [chain],
    }
    assert "another one" in read_envelope(json.dumps(file).encode()).refusal
    file["envelopeManifestSignedContent"] = "x.y.z"
    assert "no signed content" in read_envelope(json.dumps(file).encode()).refusal


@needs_sample
def test_the_sample_of_the_standard_is_drafted_and_issued_as_a_straight_bill() -> None:
    data = SAMPLE.read_bytes()
    read = read_transport_document(data)
    assert (read.refusal, read.warnings) == ("", ())
    assert (read.carrier, read.shipper, read.consignee) == ("SMDG-HMM", "SHIPPER", "CONSIGNEE")
    assert read.checksum == hashlib.sha256(canonical(data)).digest()
    assert b'"cargoGrossWeight":12000,' in canonical(data), "12000.0 is a whole number"
    assert read.reference == "TRANSPORT_DOCUMENT_REFERENCE_PLACEHOLDER"
    sea = Sea()
    bill = read.bill | {"shipper": "shipper", "consignee": "buyer"}
    args = {"carrier": read.carrier, "bill": bill, "checksum": read.checksum}
    sea.expect("E_REFERENCE", "liner", "draft_title", reference=read.reference, **args)
    sea.ok("liner", "draft_title", reference="HMM-1", **args)
    sea.ok("shipper", "approve_draft", title="SMDG-HMM/HMM-1", checksum=read.checksum)
    sea.ok("liner", "issue_title", title="SMDG-HMM/HMM-1", document=sea.document(), to="buyer")
    (verified,), _ = sea.kit.query("verify", {"title": "SMDG-HMM/HMM-1", "checksum": checksum(data)})
    assert verified.same_document
