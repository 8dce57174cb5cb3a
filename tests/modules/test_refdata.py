"""Reference tables and parameters on chain: loaded in parts, decided by vote, looked up as of a date."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawan_node.execution.module import (
    Args,
    Context,
    Date,
    Entity,
    Event,
    Module,
    add_days,
    business_date,
    key_of,
)
from dawan_node.interchange.refdata_csv import as_sent
from dawan_node.modules.governance.declaration import VOTING_MS, Proposal
from dawan_node.modules.refdata import banking_calendar, currency_places, loading, parameter
from dawan_node.modules.refdata.declaration import Edition
from dawan_node.modules.refdata.loading import DEPTH_MAX, NewRow, digest_of
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.primitives.codes import Code
from tests.modules.refdata_kit import Reference, currency, removed


@pytest.fixture
def reference() -> Reference:
    return Reference()


def edition_of(reference: Reference, table: str, version: int) -> Edition:
    found = reference.kit.get(Edition, key_of(table, version))
    assert found is not None
    return found


# -- editions --------------------------------------------------------------------------------------------------------


def test_a_table_is_loaded_sealed_voted_on_and_adopted(reference: Reference) -> None:
    rows = [currency("CNY"), currency("JPY", "0"), currency("KWD", "3")]
    version = reference.load("currency", rows, source=b"s" * 32)
    assert reference.found("currency", "CNY") is None, "nothing holds before the vote"
    edition = edition_of(reference, "currency", version)
    assert (edition.rows, edition.digest, edition.source) == (3, digest_of(rows), b"s" * 32)
    reference.adopt("currency", version, reference.today)
    assert reference.found("currency", "KWD").attribute("exponent") == "3"
    assert reference.found("currency", "EUR") is None
    assert edition_of(reference, "currency", version).resolution == "change-1"


def test_voters_see_the_digest_of_what_they_vote_on_and_governance_keeps_the_vote(reference: Reference) -> None:
    version = reference.load("currency", [currency("CNY")])
    proposal = reference.propose("propose_edition", table="currency", version=version, effective_from=reference.today)
    stored = reference.kit.get(Proposal, proposal.encode())
    assert stored is not None
    digest = digest_of([currency("CNY")]).hex()
    assert (stored.kind, stored.needed) == ("resolution", 3)
    assert stored.subject == f"refdata: currency 1 from {reference.today}, digest {digest}"
    reference.pass_vote(proposal)
    receipt = reference.kit.run("gz-admin", "enact", {"proposal": proposal}, module="governance")
    assert receipt.reason == "E_OTHER_MODULE"
    reference.ok("hk-admin", "enact", proposal=proposal)
    stored = reference.kit.get(Proposal, proposal.encode())
    assert stored is not None and stored.status == "enacted"
    again = reference.kit.run("gz-admin", "enact", {"proposal": proposal}, module="refdata")
    assert again.reason == "E_NOT_PASSED"


def test_without_enough_votes_or_after_the_deadline_nothing_is_adopted(reference: Reference) -> None:
    version = reference.load("currency", [currency("CNY")])
    proposal = reference.propose("propose_edition", table="currency", version=version, effective_from=reference.today)
    reference.expect("E_NOT_PASSED", "gz-admin", "enact", proposal=proposal)
    reference.pass_vote(proposal)
    reference.kit.pass_time(VOTING_MS)
    reference.expect("E_CLOSED", "gz-admin", "enact", proposal=proposal)
    reference.expect("E_UNKNOWN_CHANGE", "gz-admin", "enact", proposal="nothing")
    assert edition_of(reference, "currency", version).state == "sealed"


def test_the_genesis_policy_named_after_the_module_counts_the_votes() -> None:
    reference = Reference(policies=[("refdata", 1, "members")])
    version = reference.load("currency", [currency("CNY")])
    proposal = reference.propose("propose_edition", table="currency", version=version, effective_from=reference.today)
    vote = {"proposal": proposal, "approve": True}
    assert reference.kit.run("mo-admin", "vote", vote, module="governance").code == 0
    reference.ok("gz-admin", "enact", proposal=proposal)


def test_a_proposal_of_governance_itself_is_no_change_here(reference: Reference) -> None:
    args = {"id": "p", "name": "window", "value": 2}
    assert reference.kit.run("gz-admin", "propose_parameter", args, module="governance").code == 0
    reference.expect("E_UNKNOWN_CHANGE", "gz-admin", "enact", proposal="p")
    version = reference.load("currency", [currency("CNY")])
    taken = {"id": "p", "table": "currency", "version": version, "effective_from": reference.today}
    reference.expect("E_EXISTS", "gz-admin", "propose_edition", **taken)
    reference.expect("E_NAME", "gz-admin", "propose_edition", **(taken | {"id": "No name"}))


def test_a_look_up_takes_the_edition_in_force_on_the_date(reference: Reference) -> None:
    reference.adopt("currency", reference.load("currency", [currency("HUF", "2")]), "2020-01-01")
    change = reference.day(10)
    reference.adopt("currency", reference.load("currency", [currency("HUF", "0")]), change)
    assert reference.found("currency", "HUF").attribute("exponent") == "2"
    assert reference.found("currency", "HUF", reference.day(9)).attribute("exponent") == "2"
    assert reference.found("currency", "HUF", change).attribute("exponent") == "0"
    assert reference.found("currency", "HUF", "2019-12-31") is None
    assert reference.found("currency", "HUF", "2025-02-30") is None
    reference.kit.pass_time(days=10)
    assert reference.found("currency", "HUF").attribute("exponent") == "0"
    rows, _ = reference.kit.query("rows", {"table": "currency"})
    assert [row.version for row in rows] == [2]


def test_what_replaces_something_takes_effect_tomorrow_at_the_earliest(reference: Reference) -> None:
    reference.adopt("currency", reference.load("currency", [currency("CNY")]), "2020-01-01")
    version = reference.load("currency", [currency("CNY")])
    args = {"id": "p", "table": "currency", "version": version}
    reference.expect("E_EFFECTIVE", "gz-admin", "propose_edition", effective_from=reference.today, **args)
    reference.expect("E_DATE", "gz-admin", "propose_edition", effective_from="2025-02-30", **args)
    reference.ok("gz-admin", "propose_edition", effective_from=reference.day(1), **args)
    reference.pass_vote("p")
    reference.kit.pass_time(days=1)
    reference.expect("E_EFFECTIVE", "gz-admin", "enact", proposal="p")


def test_an_edition_can_amend_the_one_in_force_without_repeating_it(reference: Reference) -> None:
    first = reference.load("currency", [currency("CNY"), currency("HKD"), currency("XAA")])
    reference.adopt("currency", first, "2020-01-01")
    change = reference.day(3)
    second = reference.load("currency", [currency("MOP"), removed("XAA")], base=first)
    reference.adopt("currency", second, change)
    there = [code for code in ("CNY", "HKD", "MOP", "XAA") if reference.found("currency", code, change)]
    assert there == ["CNY", "HKD", "MOP"]
    assert reference.found("currency", "XAA").name == "the XAA"
    third = reference.load("currency", [currency("XAA", "4")], base=second)
    reference.adopt("currency", third, reference.day(4))
    assert reference.found("currency", "XAA", reference.day(4)).attribute("exponent") == "4"


def test_an_amendment_of_what_would_no_longer_be_in_force_is_stale(reference: Reference) -> None:
    first = reference.load("currency", [currency("CNY")])
    reference.adopt("currency", first, "2020-01-01")
    amending = reference.load("currency", [currency("HKD")], base=first)
    reference.adopt("currency", reference.load("currency", [currency("MOP")]), reference.day(2))
    args = {"id": "p", "table": "currency", "version": amending}
    reference.expect("E_STALE", "gz-admin", "propose_edition", effective_from=reference.day(3), **args)
    # Before the other one it still fits.
    reference.ok("gz-admin", "propose_edition", effective_from=reference.day(1), **args)


def test_amendments_are_stacked_eight_deep_at_most(reference: Reference) -> None:
    below = reference.load("currency", [currency("AAA")])
    reference.adopt("currency", below, "2020-01-01")
    for depth in range(1, DEPTH_MAX + 1):
        below = reference.load("currency", [currency(f"AA{chr(65 + depth)}")], base=below)
        reference.adopt("currency", below, reference.day(depth))
    assert reference.found("currency", "AAA", reference.day(DEPTH_MAX)).version == 1
    args = {"table": "currency", "version": below + 1, "title": "t", "source": bytes(32), "base": below}
    reference.expect("E_BASE", "gz-admin", "open_edition", **args)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([currency("CNY"), currency("CNY")], "E_ROW_ORDER"),
        ([currency("HKD"), currency("CNY")], "E_ROW_ORDER"),
        ([currency("AAA")], "E_ROW_ORDER"),
        ([currency("cny")], "E_ROW"),
        ([currency("CNYX")], "E_ROW"),
        ([currency("CNY", "x")], "E_ROW"),
        ([currency("CNY", "２")], "E_ROW"),
        ([currency("CNY", "2", "15")], "E_ROW"),
        ([NewRow("CNY", "yuan", (("exponent", "2"),), False)], "E_ROW"),
        ([NewRow("CNY", "yuan", (("numeric", "156"), ("exponent", "2")), False)], "E_ROW"),
        ([NewRow("CNY", "", (("exponent", "2"), ("numeric", "156")), False)], "E_ROW"),
        ([removed("CNY")], "E_ROW_REMOVED"),
    ],
)
def test_a_row_that_has_not_the_form_of_its_table_is_refused_with_its_whole_batch(
    reference: Reference, rows: list[NewRow], reason: str
) -> None:
    opened = {"table": "currency", "version": 1, "title": "t", "source": bytes(32)}
    reference.ok("gz-admin", "open_edition", **opened)
    reference.ok("gz-admin", "write_rows", table="currency", version=1, rows=[as_sent(currency("AAB"))])
    batch = [as_sent(row) for row in rows]
    reference.expect(reason, "gz-admin", "write_rows", table="currency", version=1, rows=batch)
    assert edition_of(reference, "currency", 1).last_code == "AAB"


@pytest.mark.parametrize(
    ("code", "closed", "opened", "fits"),
    [
        ("2026", "0101 0217", "0214", True),
        ("2026", "", "", True),
        ("2028", "0229", "", True),
        ("2026", "0229", "", False),
        ("2026", "0217 0101", "", False),
        ("2026", "0101 0101", "", False),
        ("2026", "0101,0217", "", False),
        ("2026", "0101 ", "", False),
        ("2026", "", "0213", False),  # a Friday needs no permission
        ("2026", "0214", "0214", False),
        ("1999", "", "", False),
        ("2200", "", "", False),
        ("26", "", "", False),
    ],
)
def test_a_calendar_year_lists_real_dates_in_order(
    reference: Reference, code: str, closed: str, opened: str, fits: bool
) -> None:
    args = {"table": "calendar_cn", "version": 1, "title": "t", "source": bytes(32)}
    reference.ok("gz-admin", "open_edition", **args)
    row = as_sent(NewRow(code, "year", (("closed", closed), ("opened", opened)), False))
    receipt = reference.kit.run(
        "gz-admin", "write_rows", {"table": "calendar_cn", "version": 1, "rows": [row]}, module="refdata"
    )
    assert receipt.reason == ("" if fits else "E_ROW")


def test_only_the_next_version_of_a_known_table_can_be_opened_and_only_its_opener_writes_it(
    reference: Reference,
) -> None:
    args = {"title": "t", "source": bytes(32)}
    reference.expect("E_TABLE", "gz-admin", "open_edition", table="planets", version=1, **args)
    for version in (0, 2, -1):
        reference.expect("E_VERSION", "gz-admin", "open_edition", table="currency", version=version, **args)
    reference.expect("E_BASE", "gz-admin", "open_edition", table="currency", version=1, base=1, **args)
    reference.ok("gz-admin", "open_edition", table="currency", version=1, **args)
    one = {"table": "currency", "version": 1}
    reference.expect("E_NOT_OPENER", "hk-admin", "write_rows", rows=[as_sent(currency("CNY"))], **one)
    reference.expect("E_NOT_OPENER", "hk-admin", "seal_edition", **one)
    reference.expect("E_NOT_OPENER", "hk-admin", "discard_edition", **one)
    reference.expect("E_EMPTY", "gz-admin", "seal_edition", **one)
    reference.expect("E_UNKNOWN_EDITION", "gz-admin", "seal_edition", table="currency", version=9)
    reference.expect("E_EDITION_STATE", "gz-admin", "propose_edition", id="p", effective_from=reference.today, **one)


def test_a_sealed_edition_is_closed_and_a_discarded_one_can_be_purged_but_not_adopted(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "PURGE_ROWS_MAX", 5)
    version = reference.load("currency", [currency(f"AA{last}") for last in "ABCDEFG"])
    one = {"table": "currency", "version": version}
    reference.expect("E_EDITION_STATE", "gz-admin", "write_rows", rows=[as_sent(currency("ZZZ"))], **one)
    reference.expect("E_EDITION_STATE", "gz-admin", "seal_edition", **one)
    reference.expect("E_EDITION_STATE", "gz-admin", "purge_rows", **one)
    proposal = reference.propose("propose_edition", effective_from=reference.today, **one)
    reference.pass_vote(proposal)
    reference.ok("gz-admin", "discard_edition", **one)
    reference.expect("E_EDITION_STATE", "gz-admin", "enact", proposal=proposal)
    reference.expect("E_EDITION_STATE", "gz-admin", "discard_edition", **one)
    reference.ok("hk-admin", "purge_rows", **one)
    assert edition_of(reference, "currency", version).rows == 2
    reference.ok("hk-admin", "purge_rows", **one)
    reference.expect("E_EMPTY", "hk-admin", "purge_rows", **one)
    assert not [key for key in reference.kit.state.values if key[:2] == ("refdata", "row")]


def test_two_resolutions_for_one_edition_adopt_it_once_in_either_order(reference: Reference) -> None:
    version = reference.load("currency", [currency("CNY")])
    names = [
        reference.propose("propose_edition", table="currency", version=version, effective_from=reference.day(days))
        for days in (0, 5)
    ]
    for name in names:
        reference.pass_vote(name)
    calls = [reference.kit.call("gz-admin", "enact", {"proposal": name}, module="refdata") for name in names]
    assert [receipt.reason for receipt in reference.kit.block(*reversed(calls))] == ["", "E_EDITION_STATE"]
    assert edition_of(reference, "currency", version).effective_from == reference.day(5)


def test_only_administrators_change_anything(reference: Reference) -> None:
    other = Reference(people={"anna": ("gz", ["supplier"])})
    for command in ("open_edition", "enact", "purge_rows"):
        args = {
            "open_edition": {"table": "currency", "version": 1, "title": "t", "source": bytes(32)},
            "enact": {"proposal": "p"},
            "purge_rows": {"table": "currency", "version": 1},
        }[command]
        assert other.kit.run("anna", command, args, module="refdata").code == Code.E_ROLE


codes = st.sampled_from([f"A{second}A" for second in "ABCDEFGH"])
draft = st.dictionaries(codes, st.one_of(st.none(), st.sampled_from("0123")), min_size=1, max_size=5)


@settings(max_examples=12)
@given(st.lists(st.tuples(draft, st.booleans(), st.integers(1, 4)), min_size=1, max_size=5))
def test_look_ups_agree_with_a_table_kept_by_hand(history: list[tuple[dict[str, str | None], bool, int]]) -> None:
    """Editions complete or amending, adopted one after the other: on every day the chain and a dict agree."""
    reference = Reference()
    by_hand: list[tuple[str, dict[str, str]]] = []
    day, newest = reference.today, 0
    for content, amends, days in history:
        before = dict(by_hand[-1][1]) if by_hand and amends else {}
        rows = []
        for code, exponent in sorted(content.items()):
            if exponent is not None:
                before[code] = exponent
                rows.append(currency(code, exponent))
            elif before.pop(code, None) is not None:
                rows.append(removed(code))
        if not rows:
            continue
        base = newest if amends and by_hand else 0
        newest = reference.load("currency", rows, base=base)
        day = add_days(day, days)
        reference.adopt("currency", newest, day)
        by_hand.append((day, before))
    changes = [since for since, _ in by_hand]
    for date in sorted({reference.today, *changes, *(add_days(since, -1) for since in changes)}):
        expected = [table for since, table in by_hand if since <= date]
        for code in [f"A{second}A" for second in "ABCDEFGH"]:
            row = reference.found("currency", code, date)
            found = None if row is None else row.attribute("exponent")
            assert found == (expected[-1].get(code) if expected else None)


# -- parameters ------------------------------------------------------------------------------------------------------


def test_a_parameter_has_its_first_value_until_a_resolution_dates_another(reference: Reference) -> None:
    assert reference.value("lc.exam.banking_days") == 5
    change = reference.day(7)
    reference.set_parameter("lc.exam.banking_days", 6, change)
    assert reference.value("lc.exam.banking_days") == 5
    assert reference.value("lc.exam.banking_days", add_days(change, -1)) == 5
    assert reference.value("lc.exam.banking_days", change) == 6
    reference.kit.pass_time(days=7)
    assert reference.value("lc.exam.banking_days") == 6
    history, _ = reference.kit.query("parameter_history", {"key": "lc.exam.banking_days"})
    assert [(record.value, record.resolution) for record in history] == [(6, "change-1")]


def test_the_first_values_are_those_of_the_specification_and_lie_within_their_bounds() -> None:
    hour = 3_600_000
    assert {key: spec.first for key, spec in PARAMETERS.items()} == {
        "voucher.term.soft": 6, "voucher.term.hard": 12, "voucher.split.max_depth": 8,
        "voucher.split.min_face": 100_000, "lock.ttl": 72 * hour, "proof.min_life": 600_000,
        "lc.exam.banking_days": 5, "lc.presentation_days": 21, "lc.tolerance.about": 100_000,
        "lc.tolerance.quantity": 50_000, "cargo.insured.min": 1_100_000, "motor.compulsory.limit": 20_000_000,
        "delay.sources": 2, "delay.dispute": 24 * hour, "refund.min": 20_000, "refund.cash_max": 2_000_000,
        "refund.leave_days": 90, "refund.resident_days": 183, "refund.rate": 110_000, "health.window": 3,
        "health.prepare": 72 * hour, "breakglass.review": 72 * hour, "statuslist.min_bits": 131_072,
        "equity.max_holders": 200, "statistics.k_min": 10, "lc.unpaid.days": 7, "title.answer.days": 14,
        "title.departure.days": 30,
    }  # fmt: skip
    assert all(spec.least <= spec.first <= spec.greatest for spec in PARAMETERS.values())


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("lc.exam.banking_days", 0, "E_VALUE"),
        ("lc.exam.banking_days", 367, "E_VALUE"),
        ("lc.exam.days", 5, "E_PARAM"),
        ("title.anything", 5, "E_PARAM"),
        ("Lock.ttl", 5, "E_PARAM"),
        ("refdata", 5, "E_PARAM"),
        ("refdata.own.limit", 10**15 + 1, "E_VALUE"),
    ],
)
def test_an_unknown_key_or_a_value_out_of_bounds_is_not_put_to_the_vote(
    reference: Reference, key: str, value: int, reason: str
) -> None:
    args = {"id": "p", "key": key, "value": value, "effective_from": reference.day(1)}
    reference.expect(reason, "gz-admin", "propose_parameter", **args)


def test_a_parameter_is_never_changed_for_today_or_the_past(reference: Reference) -> None:
    args = {"id": "p", "key": "lock.ttl", "value": 3_600_000}
    for date in (reference.today, "2020-01-01"):
        reference.expect("E_EFFECTIVE", "gz-admin", "propose_parameter", effective_from=date, **args)
    reference.expect("E_DATE", "gz-admin", "propose_parameter", effective_from="2026-02-30", **args)
    reference.ok("gz-admin", "propose_parameter", effective_from=reference.day(1), **args)
    reference.pass_vote("p")
    reference.kit.pass_time(days=1)
    reference.expect("E_EFFECTIVE", "gz-admin", "enact", proposal="p")
    assert reference.value("lock.ttl") == 72 * 3_600_000


# -- used by another module ------------------------------------------------------------------------------------------


class Answer(Entity, collection="answer", schema=1):
    name: str
    value: int
    text: str

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Ask(Args):
    date: Date


class Asked(Event):
    deadline: str


asking = Module(
    "asking", version=1, entities=(Answer,), events=(Asked,), uses=("refdata", "governance"),
    errors={"E_CALENDAR": "No calendar.", "E_CURRENCY": "Unknown."},
)  # fmt: skip


@asking.command("ask", args=Ask, roles=())
def ask(ctx: Context, args: Ask) -> None:
    """Look everything up."""
    deadline = banking_calendar(ctx, ("CN", "HK", "MO"), args.date).add(
        args.date, parameter(ctx, "lc.exam.banking_days")
    )
    if deadline is None:
        ctx.fail("E_CALENDAR")
    places = currency_places(ctx, "JPY")
    if places is None:
        ctx.fail("E_CURRENCY")
    ctx.put(Answer("jpy", places, deadline))
    ctx.put(Answer("own", parameter(ctx, "asking.limit", 7), ""))


class Resolve(Args):
    proposal: str
    subject: str


@asking.command("hijack", args=Resolve, roles=())
def hijack(ctx: Context, args: Resolve) -> None:
    """Carry out what another module proposed."""
    ctx.call("governance", "enact_resolution", args.proposal, args.subject)


@asking.command("open", args=Resolve, roles=())
def open_own(ctx: Context, args: Resolve) -> None:
    """Put something to the vote."""
    ctx.call("governance", "open_resolution", args.proposal, args.subject)


def test_another_module_looks_up_tables_calendars_and_parameters_in_its_own_command() -> None:
    reference = Reference(asking, people={"anna": ("gz", ["supplier"])})
    assert reference.kit.run("anna", "ask", {"date": "2026-02-13"}).reason == "E_CALENDAR"
    reference.seed("calendar_cn", "calendar_hk", "calendar_mo")
    assert reference.kit.run("anna", "ask", {"date": "2026-02-13"}).reason == "E_CURRENCY"
    reference.seed("currency")
    assert reference.kit.run("anna", "ask", {"date": "2026-02-13"}).code == 0
    # The mainland's holidays from the 15th to the 23rd, and no Saturday that only the mainland works.
    assert reference.kit.get(Answer, b"jpy") == Answer("jpy", 0, "2026-03-02")
    assert reference.kit.get(Answer, b"own") == Answer("own", 7, "")
    assert reference.kit.run("anna", "ask", {"date": "2026-12-30"}).reason == "E_CALENDAR", "2027 is not published"
    reference.set_parameter("asking.limit", 9, reference.day(1))
    reference.kit.pass_time(days=1)
    assert reference.kit.run("anna", "ask", {"date": "2026-02-13"}).code == 0
    assert reference.kit.get(Answer, b"own") == Answer("own", 9, "")


def test_no_module_carries_out_what_another_one_proposed() -> None:
    reference = Reference(asking, people={"anna": ("gz", ["supplier"])})
    version = reference.load("currency", [currency("CNY")])
    proposal = reference.propose("propose_edition", table="currency", version=version, effective_from=reference.today)
    reference.pass_vote(proposal)
    stored = reference.kit.get(Proposal, proposal.encode())
    assert stored is not None
    for subject in (stored.subject, stored.subject.removeprefix("refdata: ")):
        args = {"proposal": proposal, "subject": subject}
        assert reference.kit.run("anna", "hijack", args).reason == "E_UNKNOWN"
    reference.ok("gz-admin", "enact", proposal=proposal)


def test_a_resolution_is_opened_by_an_administrator_and_carries_the_name_of_its_module() -> None:
    reference = Reference(asking, people={"anna": ("gz", ["supplier"])})
    args = {"proposal": "own", "subject": "refdata: currency"}
    assert reference.kit.run("anna", "open", args).reason == "E_NOT_ADMIN"
    assert reference.kit.run("gz-admin", "open", args).code == 0
    stored = reference.kit.get(Proposal, b"own")
    assert stored is not None and stored.subject == "asking: refdata: currency"
    reference.pass_vote("own")
    assert reference.kit.run("anna", "hijack", args | {"subject": "another"}).reason == "E_UNKNOWN"
    assert reference.kit.run("anna", "hijack", args).code == 0
    assert reference.kit.run("anna", "hijack", args).reason == "E_NOT_PASSED"


def test_business_dates_of_the_kit_are_those_of_the_district() -> None:
    assert Reference().today == business_date(Reference().kit.time_ms) == "2025-11-25"
