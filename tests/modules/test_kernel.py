"""Locks, freezes, payments, fingerprints, documents and attestations, each also in one block and in both orders."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.execution.module import Money, key_of
from dawan_node.modules.kernel import module
from dawan_node.modules.kernel.checks import NAME_BYTES_MAX
from dawan_node.modules.kernel.declaration import Document, Fingerprint, Freeze, Question
from dawan_node.modules.kernel.fingerprints import tag_of
from dawan_node.modules.kernel.freezes import FREEZE_MS_MAX
from dawan_node.modules.kernel.locks import LOCK_MS_MAX
from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.kernel_kit import Kernel

HOUR_MS = 3_600_000
LONG = "x" * (NAME_BYTES_MAX + 1)


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


# -- locks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["f-1", "f-2"])
def test_of_two_processes_locking_one_asset_in_one_block_the_first_wins(kernel: Kernel, first: str) -> None:
    second = "f-2" if first == "f-1" else "f-1"
    won, lost = kernel.kit.block(
        kernel.call("ben", "lock", asset="BL-1", owner=first), kernel.call("bea", "lock", asset="BL-1", owner=second)
    )
    assert (won.code, lost.reason) == (0, "E_LOCKED")
    assert kernel.seen("BL-1") == (first, "")
    kernel.expect("E_LOCKED", kernel.call("anna", "require_movable", asset="BL-1"))
    kernel.expect("E_LOCKED", kernel.call("anna", "require_movable", asset="BL-1", owner=second))
    kernel.ok(kernel.call("anna", "require_movable", asset="BL-1", owner=first))


def test_a_lock_without_a_time_lasts_as_long_as_the_parameter_says_and_then_binds_nobody(kernel: Kernel) -> None:
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1"))
    kernel.kit.pass_time(72 * HOUR_MS - 2_000)
    kernel.expect("E_LOCKED", kernel.call("bea", "lock", asset="BL-1", owner="f-2"))
    kernel.ok(kernel.call("bea", "lock", asset="BL-1", owner="f-2"))
    assert kernel.seen("BL-1") == ("f-2", "")


def test_only_the_owner_releases_a_lock_and_only_once(kernel: Kernel) -> None:
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1"))
    kernel.expect("E_NOT_LOCKED", kernel.call("ben", "release", asset="BL-1", owner="f-2"))
    kernel.expect("E_NOT_LOCKED", kernel.call("ben", "release", module="insurance", asset="BL-1", owner="f-1"))
    receipt = kernel.ok(kernel.call("ben", "release", asset="BL-1", owner="f-1"))
    assert [name for name, _ in receipt.events] == ["Released"]
    kernel.expect("E_NOT_LOCKED", kernel.call("ben", "release", asset="BL-1", owner="f-1"))
    assert kernel.seen("BL-1") == ("", "")


def test_an_expired_lock_cannot_be_released_by_its_owner_from_under_the_next_one(kernel: Kernel) -> None:
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1", until_ms=kernel.kit.time_ms + HOUR_MS))
    kernel.kit.pass_time(HOUR_MS)
    kernel.expect("E_NOT_LOCKED", kernel.call("ben", "release", asset="BL-1", owner="f-1"))
    kernel.ok(kernel.call("bea", "lock", asset="BL-1", owner="f-2"))
    kernel.expect("E_NOT_LOCKED", kernel.call("ben", "release", asset="BL-1", owner="f-1"))


def test_the_owner_may_set_the_end_anew_and_assets_of_two_modules_are_two_assets(kernel: Kernel) -> None:
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1"))
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1", until_ms=kernel.kit.time_ms + 200 * DAY_MS))
    kernel.kit.pass_time(days=199)
    assert kernel.seen("BL-1") == ("f-1", "")
    kernel.ok(kernel.call("bea", "lock", module="insurance", asset="BL-1", owner="f-2"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"asset": ""}, "E_NAME_FORM"),
        ({"asset": LONG}, "E_NAME_FORM"),
        ({"asset": "a\x01"}, "E_NAME_FORM"),
        ({"owner": ""}, "E_NAME_FORM"),
        ({"owner": "案" * 34}, "E_NAME_FORM"),
        ({"reason": ""}, "E_NAME_FORM"),
        ({"reason": "x" * 201}, "E_NAME_FORM"),
        ({"until_ms": 1}, "E_LOCK_TIME"),
        ({"until_ms": -1}, "E_LOCK_TIME"),
        ({"until_ms": 2**62}, "E_LOCK_TIME"),
    ],
)
def test_a_lock_that_is_not_well_formed_is_refused(kernel: Kernel, changes: dict[str, Any], reason: str) -> None:
    kernel.expect(reason, kernel.call("ben", "lock", **{"asset": "BL-1", "owner": "f-1", **changes}))


def test_a_lock_ends_at_its_limit_exactly(kernel: Kernel) -> None:
    last = kernel.kit.time_ms + 1_000 + LOCK_MS_MAX
    kernel.expect("E_LOCK_TIME", kernel.call("ben", "lock", asset="a", owner="f", until_ms=last + 1))
    kernel.ok(kernel.call("ben", "lock", asset="a", owner="f", until_ms=last + 1_000))


def test_a_court_ends_a_lock_and_nobody_else_does(kernel: Kernel) -> None:
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1"))
    args = {"asset": "BL-1", "order": "2025-7"}
    (refused,) = kernel.kit.block(kernel.command("ben", "order_release", **args))
    assert refused.code == Code.E_ROLE
    receipt = kernel.ok(kernel.command("judge", "order_release", **args))
    assert receipt.events == [("Released", {"module": "title", "asset": "BL-1", "by": "2025-7"})]
    kernel.expect("E_NOT_LOCKED", kernel.command("judge", "order_release", **args))


# -- freezes ---------------------------------------------------------------------------------------------------------


def test_a_freeze_stops_everybody_the_owner_of_a_lock_too_until_the_last_order_ends(kernel: Kernel) -> None:
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1", until_ms=kernel.kit.time_ms + 100 * DAY_MS))
    first = {"asset": "BL-1", "order": "A-1", "reason": "claim", "until_ms": kernel.kit.time_ms + 10 * DAY_MS}
    kernel.ok(kernel.command("judge", "freeze_asset", **first))
    kernel.expect("E_ORDER", kernel.command("judge", "freeze_asset", **first))
    second = first | {"order": "B-1", "until_ms": kernel.kit.time_ms + 20 * DAY_MS}
    kernel.ok(kernel.command("other-judge", "freeze_asset", **second))
    for function in ("require_movable", "lock"):
        kernel.expect("E_ASSET_FROZEN", kernel.call("ben", function, asset="BL-1", owner="f-1"))
    lift = {"asset": "BL-1", "order": "B-1"}
    kernel.expect("E_NOT_ORDERING", kernel.command("judge", "lift_freeze", **lift))
    kernel.ok(kernel.command("other-judge", "lift_freeze", **lift))
    kernel.expect("E_NOT_ORDERED", kernel.command("other-judge", "lift_freeze", **lift))
    kernel.expect("E_ASSET_FROZEN", kernel.call("ben", "require_movable", asset="BL-1", owner="f-1"))
    kernel.kit.pass_time(days=10)
    kernel.ok(kernel.call("ben", "require_movable", asset="BL-1", owner="f-1"))
    assert kernel.kit.get(Freeze, key_of("title", "BL-1", "A-1")) is not None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_freeze_and_a_lock_in_one_block_take_effect_in_their_order(kernel: Kernel, order: tuple[int, int]) -> None:
    freeze = {"asset": "a", "order": "A-1", "reason": "claim", "until_ms": kernel.kit.time_ms + DAY_MS}
    calls = [kernel.command("judge", "freeze_asset", **freeze), kernel.call("ben", "lock", asset="a", owner="f")]
    receipts = kernel.kit.block(*[calls[each] for each in order])
    assert [receipt.reason for receipt in receipts] == (["", "E_ASSET_FROZEN"] if order == (0, 1) else ["", ""])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"module": "nobody"}, "E_UNKNOWN_MODULE"),
        ({"asset": "a\x00"}, "E_NAME_FORM"),
        ({"order": "案" * 34}, "E_NAME_FORM"),
        ({"until_ms": 0}, "E_FREEZE_TIME"),
        ({"until_ms": 2**60}, "E_FREEZE_TIME"),
    ],
)
def test_an_order_that_is_not_well_formed_is_refused(kernel: Kernel, changes: dict[str, Any], reason: str) -> None:
    good = {"asset": "a", "order": "A-1", "reason": "claim", "until_ms": kernel.kit.time_ms + FREEZE_MS_MAX}
    kernel.expect(reason, kernel.command("judge", "freeze_asset", **(good | changes)))
    kernel.ok(kernel.command("judge", "freeze_asset", **good))


# -- payments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["PAY-77", "pay 77", "ＰＡＹ７７"])
def test_a_payment_settles_one_thing_once_whatever_its_spelling_branch_and_module(
    kernel: Kernel, spelling: str
) -> None:
    kernel.ok(kernel.call("settle", "use_cash", asset="BL-1", reference="PAY-77"))
    for module_name in ("title", "insurance"):
        again = kernel.call(
            "settle", "use_cash", module=module_name, asset="BL-2", reference=spelling, bank="bkchcnbj300"
        )
        kernel.expect("E_CASHREF_USED", again)
    kernel.ok(kernel.call("settle", "use_cash", asset="BL-2", reference="PAY-77", bank="HSBCHKHH"))


@pytest.mark.parametrize("first", ["title", "insurance"])
def test_of_two_modules_using_one_payment_in_one_block_the_first_wins(kernel: Kernel, first: str) -> None:
    second = "insurance" if first == "title" else "title"
    calls = [
        kernel.call("settle", "use_cash", module=each, asset="BL-1", reference="PAY-1") for each in (first, second)
    ]
    assert [receipt.reason for receipt in kernel.kit.block(*calls)] == ["", "E_CASHREF_USED"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bank": "NOTABICX1"}, "E_BANK"),
        ({"reference": "-/ ."}, "E_REFERENCE"),
        ({"reference": "x" * 141}, "E_REFERENCE"),
        ({"amount": Money("CNY", 0)}, "E_AMOUNT"),
        ({"amount": Money("CNY", -1)}, "E_AMOUNT"),
        ({"amount": Money("CNY", 10**15)}, "E_AMOUNT"),
        ({"value_date": "2025-02-30"}, "E_VALUE_DATE"),
        ({"value_date": "2025-11-26"}, "E_VALUE_DATE"),
        ({"payer": "settle"}, "E_NOT_ATTESTOR"),
        ({"payee": "settle"}, "E_NOT_ATTESTOR"),
        # Another name of the settlement bank's organisation.
        ({"payer": "o-mo"}, "E_NOT_ATTESTOR"),
        ({"purpose": ""}, "E_NAME_FORM"),
    ],
)
def test_a_payment_that_is_not_well_formed_is_refused(kernel: Kernel, changes: dict[str, Any], reason: str) -> None:
    kernel.expect(reason, kernel.call("settle", "use_cash", **{"asset": "BL-1", "reference": "P", **changes}))


def test_only_a_settlement_bank_attests_payments(kernel: Kernel) -> None:
    kernel.expect("E_NOT_ATTESTOR", kernel.call("bea", "use_cash", asset="BL-1", reference="P"))


# -- fingerprints ----------------------------------------------------------------------------------------------------

EXACT, OTHER = tag_of("invoice", ("s", "b", "inv1", 7)), tag_of("invoice", ("s", "b", "inv1", 8))
LOOSE = tag_of("invoice-loose", ("s", "inv1"))


def state_of(kernel: Kernel, exact: bytes = EXACT) -> str:
    found = kernel.kit.get(Fingerprint, key_of(exact))
    return "" if found is None else found.state


def register(kernel: Kernel, person: str, exact: bytes = EXACT, **args: Any) -> Any:
    return kernel.call(person, "register_fingerprint", exact=exact, loose=LOOSE, asset="F-1", **args)


def test_tags_tell_kinds_and_fields_apart() -> None:
    tags = {EXACT, OTHER, LOOSE, tag_of("invoice", ("s", "binv1", 7)), tag_of("invoice", ("s", "b", "inv1", "7"))}
    assert len(tags) == 5


@pytest.mark.parametrize("modules", [("title", "insurance"), ("insurance", "title"), ("title", "title")])
def test_of_two_financings_of_one_document_in_one_block_the_first_wins(
    kernel: Kernel, modules: tuple[str, str]
) -> None:
    receipts = kernel.kit.block(*[register(kernel, "ben", module=each) for each in modules])
    assert [receipt.reason for receipt in receipts] == ["", "E_DUP_FINANCE"]


def test_a_document_goes_from_registered_to_financed_to_released_and_can_be_registered_again(kernel: Kernel) -> None:
    for _ in range(2):
        kernel.ok(register(kernel, "ben"))
        kernel.expect("E_NOT_REGISTERED", kernel.call("ben", "release_fingerprint", exact=EXACT))
        kernel.ok(kernel.call("ben", "finance_fingerprint", exact=EXACT))
        kernel.expect("E_DUP_FINANCE", register(kernel, "bea"))
        kernel.expect("E_NOT_REGISTERED", kernel.call("ben", "cancel_fingerprint", exact=EXACT))
        kernel.expect("E_NOT_REGISTERED", kernel.call("ben", "release_fingerprint", module="insurance", exact=EXACT))
        kernel.ok(kernel.call("ben", "release_fingerprint", exact=EXACT))
        assert state_of(kernel) == "RELEASED"
    kernel.ok(register(kernel, "ben"))
    kernel.ok(kernel.call("ben", "cancel_fingerprint", exact=EXACT))
    assert state_of(kernel) == "CANCELLED"


def test_a_look_alike_waits_for_a_second_person_of_the_same_organisation(kernel: Kernel) -> None:
    kernel.ok(register(kernel, "ben"))
    receipt = kernel.ok(register(kernel, "ben", OTHER))
    assert [name for name, _ in receipt.events] == ["SimilarFingerprint"]
    assert state_of(kernel, OTHER) == "HELD"
    kernel.expect("E_NOT_REGISTERED", kernel.call("ben", "finance_fingerprint", exact=OTHER))
    for person in ("ben", "anna"):
        kernel.expect("E_FOUR_EYES", kernel.call(person, "approve_similar", exact=OTHER))
    kernel.expect("E_NAME_FORM", kernel.call("bea", "approve_similar", exact=OTHER, reason=""))
    kernel.expect("E_NOT_REGISTERED", kernel.call("bea", "approve_similar", exact=EXACT))
    kernel.ok(kernel.call("bea", "approve_similar", exact=OTHER, reason="two shipments"))
    found = kernel.kit.get(Fingerprint, key_of(OTHER))
    assert found is not None
    assert (found.state, found.similar_to, found.override_by) == ("REGISTERED", EXACT, "bea")


def test_a_look_alike_of_what_is_over_is_nothing_to_wait_for(kernel: Kernel) -> None:
    kernel.ok(register(kernel, "ben"))
    kernel.ok(kernel.call("ben", "cancel_fingerprint", exact=EXACT))
    kernel.ok(register(kernel, "ben", OTHER))
    assert state_of(kernel, OTHER) == "REGISTERED"


def test_a_tag_of_another_length_is_refused(kernel: Kernel) -> None:
    for exact in (b"", b"x" * 31, b"x" * 33):
        kernel.expect("E_TAG", register(kernel, "ben", exact))
        kernel.expect("E_NOT_REGISTERED", kernel.call("ben", "cancel_fingerprint", exact=exact))


# -- documents -------------------------------------------------------------------------------------------------------


def test_a_document_is_registered_once_and_purged_after_its_retention_and_leaves_a_tombstone(kernel: Kernel) -> None:
    args = {"readers": ["mo", "gz"], "value_date": "2025-11-26", "schema_id": "urn:dcsa:ebl:3"}
    kernel.ok(kernel.call("anna", "register_document", **args))
    kernel.expect("E_DUP_DOCUMENT", kernel.call("anna", "register_document", **args))
    kernel.kit.pass_time(days=1)
    kernel.expect("E_RETENTION", kernel.call("anna", "purge_document"))
    kernel.kit.pass_time(days=1)
    kernel.expect("E_UNKNOWN_DOCUMENT", kernel.call("anna", "purge_document", module="insurance"))
    kernel.ok(kernel.call("anna", "purge_document"))
    kernel.expect("E_PURGED", kernel.call("anna", "purge_document"))
    kernel.expect("E_DUP_DOCUMENT", kernel.call("anna", "register_document", **args))
    found = kernel.kit.get(Document, b"d" * 32)
    assert found is not None and found.purged_ms > 0 and found.readers == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": b"short"}, "E_DOCUMENT"),
        ({"size": 0}, "E_DOCUMENT"),
        ({"size": 2**30 + 1}, "E_DOCUMENT"),
        ({"media_type": "pdf"}, "E_DOCUMENT"),
        ({"media_type": "Application/PDF"}, "E_DOCUMENT"),
        ({"schema_id": "a b"}, "E_DOCUMENT"),
        ({"value_date": "2025-02-30"}, "E_DOCUMENT"),
        ({"readers": []}, "E_READERS"),
        ({"readers": ["gz", "gz"]}, "E_READERS"),
        ({"readers": ["gz", "nobody"]}, "E_READERS"),
    ],
)
def test_a_document_that_is_not_well_formed_is_refused(kernel: Kernel, changes: dict[str, Any], reason: str) -> None:
    kernel.expect(reason, kernel.call("anna", "register_document", **{"readers": ["gz"], **changes}))


# -- attestations ----------------------------------------------------------------------------------------------------


def asked(kernel: Kernel, **changes: Any) -> Any:
    args = {"asset": "delay-1", "orgs": ["gz", "hk", "mo"], "until_ms": kernel.kit.time_ms + 2 * DAY_MS}
    return kernel.call("anna", "ask", **{**args, **changes})


def attest(kernel: Kernel, person: str, answer: str = "late") -> Any:
    return kernel.command(person, "attest", question="delay-1", answer=answer)


def question_of(kernel: Kernel) -> Question:
    found = kernel.kit.get(Question, key_of("title", "delay-1"))
    assert found is not None
    return found


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_two_of_three_sources_agree_and_the_answer_settles_after_the_window(
    kernel: Kernel, order: tuple[int, ...]
) -> None:
    kernel.ok(asked(kernel))
    calls = [attest(kernel, "o-gz"), attest(kernel, "o-hk", "on time"), attest(kernel, "o-mo")]
    codes = [receipt.reason for receipt in kernel.kit.block(*[calls[each] for each in order])]
    assert codes.count("E_QUESTION_CLOSED") == (1 if order[-1] == 1 else 0)
    assert question_of(kernel).answer == "late"
    assert kernel.seen("delay-1") == ("", "")
    kernel.kit.pass_time(HOUR_MS)
    assert kernel.seen("delay-1") == ("", "late")
    kernel.expect("E_NOT_DISPUTABLE", kernel.command("o-hk", "dispute", question="delay-1", reason="no"))
    kernel.expect("E_NOT_DISPUTED", kernel.call("anna", "resolve", asset="delay-1", reason="on time"))


def test_an_organisation_has_one_voice_and_no_second_word(kernel: Kernel) -> None:
    kernel.ok(asked(kernel))
    kernel.ok(attest(kernel, "o-gz"))
    for person in ("o-gz", "o-gz-2"):
        kernel.expect("E_STATED", attest(kernel, person))
    (refused,) = kernel.kit.block(attest(kernel, "anna"))
    assert refused.code == Code.E_ROLE
    assert question_of(kernel).state == "OPEN"


def test_a_disputed_answer_counts_only_as_the_module_that_asked_resolves_it(kernel: Kernel) -> None:
    kernel.ok(asked(kernel, orgs=["gz", "mo"], parties=["hk"]))
    kernel.expect("E_NOT_DISPUTABLE", kernel.command("ben", "dispute", question="delay-1", reason="early"))
    kernel.ok(attest(kernel, "o-gz"))
    kernel.ok(attest(kernel, "o-mo"))
    kernel.expect("E_NOT_CONCERNED", kernel.command("judge", "dispute", question="delay-1", reason="no"))
    kernel.ok(kernel.command("ben", "dispute", question="delay-1", reason="the log says otherwise"))
    kernel.kit.pass_time(days=1)
    assert kernel.seen("delay-1") == ("", "")
    kernel.expect("E_UNKNOWN_QUESTION", kernel.call("anna", "resolve", module="insurance", asset="delay-1"))
    kernel.ok(kernel.call("anna", "resolve", asset="delay-1", reason="on time"))
    assert kernel.seen("delay-1") == ("", "on time")
    kernel.expect("E_NOT_DISPUTED", kernel.call("anna", "resolve", asset="delay-1", reason="late"))


def test_a_question_nobody_agreed_on_in_time_is_resolved_by_its_module_and_takes_no_statement(kernel: Kernel) -> None:
    kernel.ok(asked(kernel))
    kernel.ok(attest(kernel, "o-gz"))
    kernel.expect("E_NOT_DISPUTED", kernel.call("anna", "resolve", asset="delay-1", reason="late"))
    kernel.kit.pass_time(days=2)
    kernel.expect("E_QUESTION_CLOSED", attest(kernel, "o-mo"))
    kernel.ok(kernel.call("anna", "resolve", asset="delay-1", reason="unknown"))
    assert kernel.seen("delay-1") == ("", "unknown")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"orgs": []}, "E_QUESTION"),
        ({"orgs": ["gz", "gz"]}, "E_QUESTION"),
        ({"orgs": ["gz", "nobody"]}, "E_QUESTION"),
        ({"needed": 0}, "E_QUESTION"),
        ({"needed": 4}, "E_QUESTION"),
        ({"until_ms": 0}, "E_QUESTION"),
        ({"until_ms": 2**60}, "E_QUESTION"),
        ({"dispute_ms": -1}, "E_QUESTION"),
        ({"parties": ["nobody"]}, "E_QUESTION"),
        ({"asset": ""}, "E_NAME_FORM"),
    ],
)
def test_a_question_that_is_not_well_formed_is_refused(kernel: Kernel, changes: dict[str, Any], reason: str) -> None:
    kernel.expect(reason, asked(kernel, **changes))


def test_a_question_is_asked_once_and_an_unknown_one_is_unknown(kernel: Kernel) -> None:
    kernel.ok(asked(kernel))
    kernel.expect("E_DUP_QUESTION", asked(kernel))
    kernel.expect("E_UNKNOWN_QUESTION", kernel.command("o-gz", "attest", question="other", answer="late"))
    kernel.ok(asked(kernel, asset="q-2", orgs=["hk"], needed=1))
    kernel.expect("E_NOT_SOURCE", kernel.command("o-gz", "attest", question="q-2", answer="late"))


# -- queries ---------------------------------------------------------------------------------------------------------


def test_every_record_can_be_asked_for(kernel: Kernel) -> None:
    kernel.ok(kernel.call("ben", "lock", asset="BL-1", owner="f-1"))
    freeze = {"asset": "BL-1", "order": "A-1", "reason": "claim", "until_ms": kernel.kit.time_ms + DAY_MS}
    kernel.ok(kernel.command("judge", "freeze_asset", **freeze))
    kernel.ok(kernel.call("settle", "use_cash", asset="BL-1", reference="P-1"))
    kernel.ok(register(kernel, "ben"))
    kernel.ok(kernel.call("anna", "register_document", readers=["gz"]))
    kernel.ok(asked(kernel))
    asset, subject = {"module": "title", "asset": "BL-1"}, {"module": "title", "subject": "BL-1"}
    questions: dict[str, dict[str, Any]] = {
        "locks": asset, "freezes": asset, "cash_references": subject, "fingerprint": {"exact": EXACT},
        "document": {"digest": b"d" * 32}, "questions": {"module": "title"},
    }  # fmt: skip
    assert set(questions) == set(module.queries)
    for name, params in questions.items():
        assert len(kernel.kit.query(name, params, module="kernel")[0]) == 1, name
    assert kernel.kit.query("fingerprint", {"exact": OTHER}, module="kernel")[0] == ()
    assert kernel.kit.query("document", {"digest": b""}, module="kernel")[0] == ()
    assert kernel.kit.query("locks", {"module": "insurance"}, module="kernel")[0] == ()
