"""Refusals of the title module that no story meets, and that its error table, its source and its tests agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dawan_node.modules import title as package
from dawan_node.modules.title import module
from tests.modules.title_envelope_kit import STRANGER, envelope
from tests.modules.title_kit import CARRIER, DOCUMENT, Sea


@pytest.fixture
def sea() -> Sea:
    return Sea()


BAD_BILLS: list[tuple[str, dict[str, Any]]] = [
    ("E_WAYBILL", {"kind": "SWB"}),
    ("E_PORT", {"port_of_loading": "cnytn"}),
    ("E_PORT", {"port_of_discharge": "MO 01"}),
    ("E_VESSEL", {"vessel": "9863298"}),
    ("E_VESSEL", {"vessel": "98632"}),
    ("E_VOYAGE", {"voyage": "４０２E"}),
    ("E_REFERENCE", {"sub_reference": "a b"}),
    ("E_CONTAINER", {"boxes": [{"number": "CSQU3054384", "type": "22G1"}]}),
    ("E_CONTAINER", {"boxes": [{"number": "CSQX3054383", "type": "22G1"}]}),
    ("E_CONTAINER", {"boxes": [{"number": each, "type": "22G1"} for each in ("CSQU3054383", "csqu 305438-3")]}),
    ("E_CONTAINER_TYPE", {"boxes": [{"number": "CSQU3054383", "type": "22g1"}]}),
    ("E_DATE", {"shipped_on": "2025-02-30"}),
    ("E_CONSIGNEE", {"to_order": False}),
    ("E_CONSIGNEE", {"to_order": False, "consignee": "shipper"}),
    ("E_UNKNOWN_PARTY", {"shipper": "nobody"}),
    ("E_UNKNOWN_PARTY", {"consignee": "nobody"}),
    ("E_PARTY_ROLE", {"shipper": "port"}),
]


@pytest.mark.parametrize(("reason", "changed"), BAD_BILLS)
def test_a_bill_is_checked_where_it_enters(sea: Sea, reason: str, changed: dict[str, Any]) -> None:
    args = {"carrier": CARRIER, "reference": "X", "bill": sea.bill(**changed), "checksum": DOCUMENT}
    sea.expect(reason, "liner", "draft_title", **args)


@pytest.mark.parametrize("reference", ["-A", "A" * 21, "A.2", "A/B", "Ａ", "A B"])
def test_a_reference_has_one_spelling(sea: Sea, reference: str) -> None:
    args = {"carrier": CARRIER, "bill": sea.bill(), "checksum": DOCUMENT}
    sea.expect("E_REFERENCE", "liner", "draft_title", reference=reference, **args)


def test_unknown_things_are_said_to_be_unknown(sea: Sea) -> None:
    sea.expect("E_UNKNOWN_TITLE", "buyer", "transfer_title", title="SMDG-HMM/NO", to="bank-hk")
    args = {"reference": "X", "bill": sea.bill(), "checksum": DOCUMENT}
    sea.expect("E_UNKNOWN_CARRIER", "liner", "draft_title", carrier="SMDG-XX", **args)
    sea.expect("E_UNKNOWN_CHANGE", "gz-admin", "enact", proposal="nothing")
    sea.expect("E_NOT_PLATFORM", "idle-platform", "receive_envelope", **envelope(sea))
    bill = sea.bill(shipper="a\nb")
    sea.expect("E_UNKNOWN_PARTY", "wave", "receive_envelope", **envelope(sea, bill=bill))


def test_carriers_and_platforms_are_well_formed_and_voted_for(sea: Sea) -> None:
    carrier = {"id": "c-9", "code": "SMDG-MSC", "org": "mo"}
    for code in ("MSC", "SMDG-", "SMDG-msc", "SMDG-TOOLONG", "XXXX-MSC"):
        sea.expect("E_CARRIER_CODE", "gz-admin", "propose_carrier", **carrier | {"code": code})
    sea.expect("E_UNKNOWN_ORG", "gz-admin", "propose_carrier", **carrier | {"org": "nowhere"})
    sea.expect("E_KEY", "gz-admin", "propose_carrier", **carrier, public_key=b"short")
    sea.expect("E_ROLE", "liner", "propose_carrier", **carrier)
    platform = {"id": "p-9", "code": "BOLE", "agent": "bolero", "public_key": STRANGER.public_key}
    for code in ("DAWAN", "bole", "B", "TOOLONG"):
        sea.expect("E_PLATFORM_CODE", "gz-admin", "propose_platform", **platform | {"code": code})
    sea.expect("E_KEY", "gz-admin", "propose_platform", **platform | {"public_key": bytes(32)})
    sea.expect("E_PARTY_ROLE", "gz-admin", "propose_platform", **platform | {"agent": "buyer"})
    sea.ok("gz-admin", "propose_platform", **platform)
    sea.expect("E_NOT_PASSED", "gz-admin", "enact", proposal="p-9")
    sea.expect("E_UNKNOWN_TITLE", "wave", "transfer_title", title="SMDG-HMM/WAVE-7", to="buyer")


def test_one_identity_stands_for_one_platform_and_a_key_is_rotated_by_another_vote(sea: Sea) -> None:
    sea.enrol("propose_platform", code="WAVE", agent="wave", public_key=STRANGER.public_key)
    sea.expect("E_PINT_BSIG", "wave", "receive_envelope", **envelope(sea))
    sea.ok("gz-admin", "propose_platform", id="p-9", code="BOLE", agent="wave", public_key=STRANGER.public_key)
    for org in ("gz", "hk", "hq"):
        sea.kit.run(f"{org}-admin", "vote", {"proposal": "p-9", "approve": True}, module="governance")
    sea.expect("E_IN_USE", "gz-admin", "enact", proposal="p-9")


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_declared_reason_is_given_in_the_source_and_met_by_a_test() -> None:
    folder = Path(package.__file__).parent
    sources = [path for path in folder.glob("*.py") if path.name != "declaration.py"]
    given = set(re.findall(r'"(E_[A-Z_]+)"', "".join(path.read_text(encoding="utf-8") for path in sources)))
    assert given == set(module.errors)
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_title*.py"))
    assert set(module.errors) - set(re.findall(r'"(E_[A-Z_]+)"', tests)) == set()


def test_every_reason_is_a_sentence() -> None:
    for reason, sentence in module.errors.items():
        assert sentence.endswith(".") and sentence[0].isupper(), reason
