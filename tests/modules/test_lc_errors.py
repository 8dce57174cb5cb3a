"""Bad input of every kind gets one reason of the table and changes nothing; every reason of the table is met."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dawan_node.execution.entity import encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules import lc
from dawan_node.modules.kernel.declaration import Document
from dawan_node.modules.lc import module
from tests.modules.lc_kit import AMOUNT, Desk, usd

HERE = Path(__file__).resolve().parent


@pytest.fixture
def desk() -> Desk:
    return Desk()


HK = {"name": "bank-hk", "place": "HK"}
BAD_TERMS: list[tuple[str, dict[str, Any]]] = [
    ("E_AMOUNT", {"amount": usd(0)}),
    ("E_AMOUNT", {"amount": usd(-1)}),
    ("E_AMOUNT", {"amount": usd(10**15)}),
    ("E_UNKNOWN_CURRENCY", {"amount": ["XXQ", 1]}),
    ("E_UNKNOWN_CURRENCY", {"amount": ["usd", 1]}),
    ("E_TOLERANCE", {"about": True, "plus_ppm": 1}),
    ("E_TOLERANCE", {"minus_ppm": 1_000_000}),
    ("E_DATE", {"expiry": "2026-02-30"}),
    ("E_DATE", {"latest_shipment": "2025-11-31"}),
    ("E_DATES", {"expiry": "2025-11-24", "latest_shipment": ""}),
    ("E_DATES", {"expiry": "2025-12-24", "latest_shipment": "2025-12-25"}),
    ("E_TERM", {"expiry": "2035-11-26"}),
    ("E_TENOR", {"tenor_days": 1}),
    ("E_TENOR", {"available_by": "DEFERRED"}),
    ("E_TENOR", {"available_by": "ACCEPTANCE"}),
    ("E_TENOR", {"available_by": "DEFERRED", "tenor_days": 9, "tenor_from": "SHIPMENT",
                 "documents": [{"kind": "INVOICE"}]}),
    ("E_REFERENCE", {"number": "-1"}),
    ("E_REFERENCE", {"number": "A" * 33}),
    ("E_REFERENCE", {"number": "Ａ1"}),
    ("E_UNKNOWN_PARTY", {"beneficiary": "nobody"}),
    ("E_UNKNOWN_PARTY", {"issuing": {"name": "Nobody At All", "place": "CN"}}),
    ("E_ROLE_OF_PARTY", {"beneficiary": "bank-mo"}),
    ("E_ROLE_OF_PARTY", {"nominated": {"name": "seller-b", "place": "HK"}}),
    ("E_ROLE_OF_PARTY", {"reimbursing": "settle-bank"}),
    ("E_SELF_DEALING", {"reimbursing": "bank-cn"}),
    ("E_SELF_DEALING", {"confirming": [{"name": "bank-cn", "place": "CN"}]}),
    ("E_PLACE", {"issuing": {"name": "bank-hk", "place": "CN"}}),
    ("E_PLACE", {"confirming": [HK, HK]}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "change"), BAD_TERMS, ids=[f"{r}-{i}" for i, (r, _) in enumerate(BAD_TERMS)])
def test_terms_that_make_no_credit_are_refused(desk: Desk, reason: str, change: dict[str, Any]) -> None:
    desk.expect(reason, "buyer-a", "apply_credit", **desk.terms(**change))


def test_terms_of_another_shape_never_reach_the_module(desk: Desk) -> None:
    for change in (
        {"documents": []},
        {"documents": [{"kind": "LOVE LETTER"}]},
        {"documents": [{"kind": "INVOICE"}] * 17},
        {"rules": "UCP500"},
        {"issuing": {"name": "bank-cn", "place": "US"}},
        {"plus_ppm": 1_000_001},
        {"expiry": "26-01-01"},
        {"unknown": 1},
    ):
        assert desk.kit.run("buyer-a", "apply_credit", desk.terms(**change)).reason == "E_SCHEMA"


def test_an_identity_that_is_applicant_and_beneficiary_deals_with_itself(desk: Desk) -> None:
    desk.expect("E_SELF_DEALING", "all-in-one", "apply_credit", **desk.terms(beneficiary="all-in-one"))
    desk.expect("E_SELF_DEALING", "all-in-one", "apply_credit", **desk.terms(advising="all-in-one"))
    desk.expect(
        "E_SELF_DEALING", "buyer-a", "apply_credit", **desk.terms(beneficiary="all-in-one", advising="all-in-one")
    )
    obligation = {"number": "1", "amount": usd(1), "due_date": desk.today}
    desk.expect("E_SELF_DEALING", "all-in-one", "undertake_payment", **obligation, beneficiary="all-in-one")
    desk.ok("buyer-a", "undertake_payment", **obligation, beneficiary="all-in-one")
    desk.expect("E_SELF_DEALING", "all-in-one", "add_undertaking", obligation="buyer-a/obligation/1")


def test_what_does_not_exist_is_said_to_be_unknown(desk: Desk) -> None:
    credit = desk.credit()
    presentation = desk.present(credit, 1)
    desk.expect("E_UNKNOWN_CREDIT", "bank-cn", "issue_credit", credit="buyer-a/LC-X")
    desk.expect("E_UNKNOWN_CREDIT", "bank-cn", "issue_credit", credit="信" * 100)
    desk.expect("E_UNKNOWN_AMENDMENT", "seller-a", "answer_amendment", credit=credit, number=1, answer="ACCEPT")
    desk.expect("E_UNKNOWN_PRESENTATION", "bank-hk", "find_complying", presentation=f"{credit}#2")
    desk.expect("E_UNKNOWN_PRESENTATION", "seller-a", "present_documents",
                **desk.papers_args(credit, 1, replaces="信" * 100))  # fmt: skip
    desk.expect("E_UNKNOWN_REIMBURSEMENT", "bank-cn", "accept_reimbursement", presentation=presentation)
    desk.expect("E_UNKNOWN_OBLIGATION", "bank-cn", "add_undertaking", obligation=credit)


def test_each_step_is_for_its_own_party_in_its_own_state(desk: Desk) -> None:
    terms = desk.terms(confirming=[{"name": "bank-mo", "place": "MO"}])
    desk.ok("buyer-a", "apply_credit", **terms)
    credit = f"buyer-a/{terms['number']}"
    desk.expect("E_DUP_CREDIT", "buyer-a", "apply_credit", **terms | {"number": terms["number"].lower()})
    for command, right in (("issue_credit", "bank-cn"), ("advise_credit", "bank-hk"), ("confirm_credit", "bank-mo")):
        for wrong in {"bank-cn", "bank-hk", "bank-mo"} - {right}:
            desk.expect("E_NOT_PARTY", wrong, command, credit=credit)
        if command == "issue_credit":
            desk.expect("E_NOT_PARTY", "seller-a", "decline_draft", credit=credit)
            desk.expect("E_STATE", "bank-hk", "advise_credit", credit=credit)
            desk.expect("E_STATE", "seller-a", "present_documents", **desk.papers_args(credit, 1))
        if command == "confirm_credit":
            # Documents cannot be presented to a bank that was only asked to confirm.
            desk.expect("E_NOT_NOMINATED", "seller-a", "present_documents", **desk.papers_args(credit, 1, "bank-mo"))
        desk.ok(right, command, credit=credit)
        desk.expect("E_STATE", right, command, credit=credit)
    desk.expect("E_NOT_PARTY", "seller-b", "present_documents", **desk.papers_args(credit, 1))
    desk.expect("E_NOT_PARTY", "carrier-1", "expire_credit", credit=credit)
    presentation = desk.present(credit, 1)
    for command in ("examine_presentation", "find_complying", "return_documents", "honour_presentation"):
        desk.expect("E_NOT_PARTY", "bank-mo", command, presentation=presentation)
    desk.expect("E_NOT_PARTY", "seller-b", "claim_preclusion", presentation=presentation)
    for command in ("return_documents", "honour_presentation"):
        desk.expect("E_STATE", "bank-hk", command, presentation=presentation)
    desk.expect("E_NOT_PARTY", "bank-hk", "waive_discrepancies", presentation=presentation)
    desk.expect("E_NOT_NOMINATED", "bank-hk", "forward_presentation", presentation=presentation, to="bank-hk")
    desk.expect("E_NOT_NOMINATED", "bank-hk", "forward_presentation", presentation=presentation, to="settle-bank")
    desk.expect("E_STATE", "bank-hk", "claim_reimbursement", presentation=presentation)


def test_a_draft_that_outlived_its_expiry_is_not_issued(desk: Desk) -> None:
    credit = desk.draft(expiry=desk.day(1), latest_shipment="")
    desk.kit.pass_time(days=2)
    desk.expect("E_EXPIRED", "bank-cn", "issue_credit", credit=credit)
    desk.ok("bank-cn", "decline_draft", credit=credit)
    desk.expect("E_STATE", "bank-cn", "decline_draft", credit=credit)


def test_documents_are_complete_or_not_taken(desk: Desk) -> None:
    credit, other = desk.credit(), desk.credit()
    present = "present_documents"
    desk.expect("E_CURRENCY_MISMATCH", "seller-a", present, **desk.papers_args(credit, 1) | {"amount": ["HKD", 1]})
    desk.expect("E_AMOUNT", "seller-a", present, **desk.papers_args(credit, 0))
    desk.expect("E_NOT_NOMINATED", "seller-a", present, **desk.papers_args(credit, 1, "bank-mo"))
    for date, reason in (("", "E_SHIPMENT_DATE"), (desk.day(1), "E_SHIPMENT_DATE"), ("2025-11-31", "E_DATE"),
                         ("0001-01-01", "E_LATE_PRESENTATION")):  # fmt: skip
        desk.expect(reason, "seller-a", present, **desk.papers_args(credit, 1, shipment_date=date))
    for bill in ("---", "ВL-1", ""):
        args = desk.papers_args(credit, 1)
        args["documents"][1] |= {"number": bill}
        desk.expect("E_DOCUMENT_NUMBER", "seller-a", present, **args)
    args = desk.papers_args(credit, 1)
    args["documents"].append(args["documents"][0])
    desk.expect("E_SAME_DOCUMENT", "seller-a", present, **args)
    args = desk.papers_args(credit, 1)
    args["documents"][0] |= {"media_type": "no type"}
    desk.expect("E_DOCUMENT", "seller-a", present, **args)
    refused = desk.present(other, 1)
    desk.refuse(refused)
    desk.expect("E_STATE", "seller-a", present, **desk.papers_args(credit, 1, replaces=refused))
    own = desk.present(credit, 1)
    desk.expect("E_SUBSTITUTION", "seller-a", present, **desk.papers_args(credit, 1, substitutes=own))


def test_a_purged_document_does_not_come_back(desk: Desk) -> None:
    credit = desk.credit()
    args = desk.papers_args(credit, 1)
    desk.ok("seller-a", "present_documents", **args)
    digest = args["documents"][0]["digest"]
    found = desk.kit.get(Document, key_of(digest))
    assert found is not None and found.readers == ("gz", "hk") and found.retain_until == "2031-01-24"
    # The purge itself comes years later and by the module that keeps the payload; here is only its tombstone.
    desk.kit.state.values["kernel", "document", key_of(digest)] = encode_entity(replace(found, purged_ms=1))
    again = desk.papers_args(credit, 1)
    again["documents"][0] = args["documents"][0]
    desk.expect("E_PURGED_DOCUMENT", "seller-a", "present_documents", **again)


def test_amendments_and_transfers_that_make_no_sense_are_refused(desk: Desk) -> None:
    credit = desk.credit(transferable=True)
    amend = "amend_credit"
    desk.expect("E_AMENDMENT", "bank-cn", amend, credit=credit)
    desk.expect("E_AMENDMENT", "bank-cn", amend, credit=credit, expiry=desk.get_credit(credit).terms.expiry)
    desk.expect("E_AMOUNT", "bank-cn", amend, credit=credit, delta_minor=-AMOUNT)
    desk.expect("E_DATES", "bank-cn", amend, credit=credit, expiry=desk.day(-1))
    desk.expect("E_DATES", "bank-cn", amend, credit=credit, latest_shipment=desk.day(61))
    desk.expect("E_NOT_PARTY", "bank-hk", amend, credit=credit, delta_minor=1)
    desk.expect("E_CONFIRMATION", "bank-hk", "extend_confirmation",
                credit=_unconfirmed(desk), number=1)  # fmt: skip
    request = "request_transfer"
    fit = {"credit": credit, "to": "seller-b", "amount": usd(10)}
    desk.expect("E_NOT_PARTY", "seller-b", request, **fit)
    desk.expect("E_SELF_DEALING", "seller-a", request, **fit | {"to": "seller-a"})
    desk.expect("E_ROLE_OF_PARTY", "seller-a", request, **fit | {"to": "buyer-a"})
    desk.expect("E_CURRENCY_MISMATCH", "seller-a", request, **fit | {"amount": ["HKD", 10]})
    desk.expect("E_CONSERVATION", "seller-a", request, **fit | {"amount": usd(AMOUNT + 1)})
    desk.expect("E_CONSERVATION", "seller-a", request, **fit | {"covers_minor": 9})
    desk.expect("E_CONSERVATION", "seller-a", request, **fit | {"covers_minor": AMOUNT + 1})
    desk.expect("E_DATES", "seller-a", request, **fit | {"expiry": desk.day(61)})
    desk.expect("E_DATES", "seller-a", request, **fit | {"latest_shipment": desk.day(46)})
    desk.expect("E_DATES", "seller-a", request, **fit | {"presentation_days": 22})
    part = desk.transfer(credit, "seller-b", 10)
    desk.expect("E_TRANSFERRED", "seller-b", request, **fit | {"credit": part, "to": "seller-c"})
    desk.expect("E_TRANSFERRED", "bank-cn", amend, credit=part, delta_minor=1)
    desk.expect("E_NOT_TRANSFERABLE", "seller-a", request, **fit | {"credit": desk.credit()})
    whole = desk.credit(transferable=True, partial=False)
    desk.transfer(whole, "seller-b", 10)
    desk.expect("E_PARTIAL", "seller-a", request, **fit | {"credit": whole})


def _unconfirmed(desk: Desk) -> str:
    return desk.credit(confirming=[HK])


def test_sums_of_transfers_stay_within_the_amount_even_where_tolerances_round_down(desk: Desk) -> None:
    # Limits of 9 and 11 fit into 19 or 20, amounts of 9 and 10 do not fit into 18.
    credit = desk.credit(transferable=True, amount=usd(18), plus_ppm=170_000)
    desk.transfer(credit, "seller-b", 9)
    args = {"credit": credit, "to": "seller-c", "amount": usd(10)}
    desk.expect("E_CONSERVATION", "seller-a", "request_transfer", **args)


def test_reimbursement_is_claimed_once_by_the_bank_that_honoured(desk: Desk) -> None:
    presentation = desk.honoured(desk.credit())
    desk.expect("E_NOT_PARTY", "bank-mo", "claim_reimbursement", presentation=presentation)
    desk.expect("E_STATE", "bank-cn", "release_documents", presentation=presentation)
    desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    desk.expect("E_DUP_REIMBURSEMENT", "bank-hk", "claim_reimbursement", presentation=presentation)
    cash = desk.cash("bank-cn", "bank-hk", usd(AMOUNT))
    desk.expect("E_STATE", "settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    desk.kit.pass_time(days=10)
    late = {"presentation": presentation, "findings": ["late"]}
    desk.expect("E_PRECLUDED", "bank-cn", "refuse_reimbursement", **late)
    desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
    desk.expect("E_STATE", "bank-cn", "accept_reimbursement", presentation=presentation)
    own = desk.honoured(desk.credit(), bank="bank-cn")
    desk.expect("E_NOT_PARTY", "bank-cn", "claim_reimbursement", presentation=own)


def test_payment_obligations_refuse_what_makes_no_promise(desk: Desk) -> None:
    good = {"number": "PO-1", "beneficiary": "seller-a", "amount": usd(1), "due_date": desk.today}
    condition = {"text": "shipped", "stated_by": "carrier-1"}
    undertake = "undertake_payment"
    desk.expect("E_DATES", "buyer-a", undertake, **good | {"due_date": desk.day(-1)})
    desk.expect("E_ROLE_OF_PARTY", "buyer-a", undertake, **good | {"beneficiary": "bank-hk"})
    own = good | {"conditions": [condition | {"stated_by": "seller-a"}]}
    desk.expect("E_SELF_DEALING", "buyer-a", undertake, **own)
    desk.ok("buyer-a", undertake, **good, conditions=[condition])
    desk.expect("E_DUP_OBLIGATION", "buyer-a", undertake, **good | {"number": "po-1"})
    meet = {"obligation": "buyer-a/obligation/PO-1", "record": bytes(32)}
    desk.expect("E_CONDITION", "carrier-1", "meet_condition", **meet, position=2)
    desk.ok("carrier-1", "meet_condition", **meet, position=1)
    desk.expect("E_CONDITION", "carrier-1", "meet_condition", **meet, position=1)
    desk.ok("bank-cn", "add_undertaking", obligation=meet["obligation"])
    desk.expect("E_STATE", "bank-hk", "add_undertaking", obligation=meet["obligation"])
    desk.freeze(meet["obligation"])
    cash = desk.cash("buyer-a", "seller-a", usd(1))
    pay = {"obligation": meet["obligation"], "cash": cash}
    desk.expect("E_ASSET_FROZEN", "settle-bank", "pay_obligation", **pay)
    desk.kit.pass_time(days=31)
    desk.expect("E_WRONG_PAYER", "settle-bank", "pay_obligation", **pay | {"cash": cash | {"payer": "bank-hk"}})
    desk.ok("settle-bank", "pay_obligation", **pay)


def test_every_reason_is_used_by_the_module_and_met_by_a_test() -> None:
    package = Path(lc.__file__).parent
    source = "".join(path.read_text() for path in sorted(package.glob("*.py")) if path.name != "declaration.py")
    raised = set(re.findall(r'"(E_[A-Z_]+)"', source))
    assert raised == set(module.errors)
    tests = "".join(path.read_text() for path in sorted(HERE.glob("test_lc*.py")))
    assert set(module.errors) <= set(re.findall(r'"(E_[A-Z_]+)"', tests))


def test_the_largest_credit_there_can_be_fits_its_records_and_its_steps(desk: Desk) -> None:
    longest = "\U00020000" * 200  # four bytes each
    kinds = ["EBL", "INVOICE", *["OTHER"] * 14]
    documents = [{"kind": kind, "conditions": longest} for kind in kinds]
    credit = desk.credit(confirmed=True, transferable=True, number="N" * 32, documents=documents)
    args = desk.papers_args(credit, 1, kinds=tuple(kinds))
    for document in args["documents"]:
        document |= {"issuer": "M" * 64, "number": document["number"] or "\U00020000" * 64}
    desk.ok("seller-a", "present_documents", **args)
    findings = [f"{position:02}" + longest[2:] for position in range(20)]
    desk.refuse(f"{credit}#1", *findings)
    desk.ok("bank-hk", "return_documents", presentation=f"{credit}#1")

    parts = [f"{credit}.{number}" for number in range(1, 51)]
    request = {"credit": credit, "to": "seller-b", "amount": usd(1)}
    calls = [desk.call("seller-a", "request_transfer", **request) for _ in parts]
    assert set(desk.race(*calls)) == {""}
    desk.expect("E_STATE", "seller-a", "request_transfer", **request)
    assert set(desk.race(*[desk.call("bank-hk", "transfer_credit", credit=part) for part in parts])) == {""}
    (row,), _ = desk.kit.query("liabilities", {"bank": "bank-cn"})
    assert row.undrawn_minor == AMOUNT
    desk.kit.pass_time(days=70)
    assert set(desk.race(*[desk.call("seller-b", "expire_credit", credit=part) for part in parts])) == {""}
    desk.ok("seller-a", "expire_credit", credit=credit)
