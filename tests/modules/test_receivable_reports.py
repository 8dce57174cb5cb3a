"""Reports: each figure is the sum of the records it stands for, pages add up, and one height gives one answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dawan_node.modules.receivable.reports import LAYERS_MAX
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import MILLION, Supervised, usd


@pytest.fixture
def desk() -> Supervised:
    return Supervised()


def ask(desk: Supervised, query: str, limit: int = 100, **params: Any) -> list[Any]:
    """All rows of a report, page by page."""
    rows: list[Any] = []
    cursor = None
    for _ in range(100):
        page, cursor = desk.kit.query(query, params, limit=limit, cursor=cursor)
        rows += page
        if cursor is None:
            return rows
    raise AssertionError(f"{query} never ends")


def fields(row: Any, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in names)


def test_holdings_are_summed_by_due_date_and_say_what_is_bound(desk: Supervised) -> None:
    for number, days in (("V-1", 10), ("V-2", 20), ("V-3", 10)):
        desk.voucher(number, minor=MILLION, due_date=desk.day(days))
    loan = desk.apply("F-1", "core-1/V-1", "supplier-a", "bank-hk", 1, kind="PLEDGE")
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    first, second = desk.day(10), desk.day(20)
    rows = ask(desk, "holdings_by_date", party="supplier-a")
    assert [(row.due_date, row.amount.minor, row.vouchers, row.bound_minor) for row in rows] == [
        (first, 2 * MILLION, 2, MILLION),
        (second, MILLION, 1, 0),
    ]
    later = ask(desk, "holdings_by_date", party="supplier-a", from_date=second)
    assert [row.due_date for row in later] == [second]
    one_by_one = ask(desk, "holdings_by_date", limit=1, party="supplier-a")
    assert sum(row.amount.minor for row in one_by_one) == 3 * MILLION
    desk.fund(loan)
    rows = ask(desk, "holdings_by_date", party="supplier-a")
    assert sum(row.bound_minor for row in rows) == MILLION


def test_a_part_is_seen_through_to_the_invoices_behind_its_root(desk: Supervised) -> None:
    invoice = desk.invoice()
    root = desk.voucher("V-1", invoice)
    desk.ok("supplier-a", "split_voucher", voucher=root, parts=[cny(6 * MILLION), cny(4 * MILLION)])
    desk.move(f"{root}.1", "supplier-a", "supplier-b")
    desk.ok("supplier-b", "split_voucher", voucher=f"{root}.1", parts=[cny(5 * MILLION), cny(MILLION)])
    layers = ask(desk, "penetration", voucher=f"{root}.1.2")
    assert [fields(layer, "tier", "voucher", "holder", "share_ppm") for layer in layers] == [
        (2, f"{root}.1.2", "supplier-b", 100_000),
        (1, f"{root}.1", "supplier-b", 600_000),
        (0, root, "supplier-a", 1_000_000),
    ]
    assert [layer.backing for layer in layers[:2]] == [(), ()]
    (backing,) = layers[2].backing
    assert fields(backing, "invoice", "number", "seller", "buyer", "used_minor", "state") == (
        invoice,
        "INV-001",
        "supplier-a",
        "core-1",
        10 * MILLION,
        "USED",
    )
    assert ask(desk, "penetration", voucher="core-1/V-9") == []
    assert PARAMETERS["voucher.split.max_depth"].greatest < LAYERS_MAX


def test_the_exposure_of_a_group_is_the_sum_over_its_core_enterprises(desk: Supervised) -> None:
    for core in ("core-1", "core-2"):
        args = {"party": core, "size": "LARGE", "district": "440100", "group": "pearl"}
        desk.ok("pboc-gz", "classify_enterprise", **args)
    desk.ok("pboc-gz", "classify_enterprise", party="buyer-a", size="SMALL", district="MO")
    desk.voucher("V-1", minor=3 * MILLION)
    other = desk.invoice("INV-2", buyer="core-2", minor=MILLION)
    uses = [{"invoice": other, "minor": MILLION}]
    issue = {"number": "V-1", "holder": "supplier-a", "face": cny(MILLION), "due_date": desk.today, "invoices": uses}
    desk.ok("core-2", "issue_voucher", **issue)
    desk.ok("supplier-a", "accept_voucher", voucher="core-2/V-1")
    desk.pay("settle_voucher", "core-2", "supplier-a", cny(MILLION), voucher="core-2/V-1")
    (row,) = ask(desk, "group_exposure", group="pearl")
    names = ("currency", "cores", "issued_minor", "redeemed_minor", "outstanding_minor", "defaulted_minor")
    assert fields(row, *names) == ("CNY", 2, 4 * MILLION, MILLION, 3 * MILLION, 0)
    pages = ask(desk, "group_exposure", limit=1, group="pearl")
    assert sum(page.outstanding_minor for page in pages) == row.outstanding_minor
    assert ask(desk, "group_exposure", group="none") == []
    (profile,), _ = desk.kit.query("profile", {"party": "buyer-a"})
    assert fields(profile, "size", "district", "group", "classified_by") == ("SMALL", "MO", "", "pboc-gz")
    # The newest statement holds, and with the group goes the exposure.
    desk.ok("pboc-gz", "classify_enterprise", party="core-2", size="MEDIUM", district="440300")
    (row,) = ask(desk, "group_exposure", group="pearl")
    assert (row.cores, row.issued_minor) == (1, 3 * MILLION)


def test_lending_is_averaged_by_size_and_district_over_what_was_paid_out_in_the_period(desk: Supervised) -> None:
    desk.ok("pboc-gz", "classify_enterprise", party="supplier-a", size="SMALL", district="440100")
    first = desk.bought("F-1", desk.voucher("V-1", due_date=desk.day(100)), rate_ppm=30_000)
    desk.bought("F-2", desk.voucher("V-2", due_date=desk.day(50)), rate_ppm=60_000)
    desk.declared()
    desk.loan("L-1", 1_000, maturity=desk.day(7))
    unpaid = desk.voucher("V-3")
    desk.apply("F-3", unpaid, "supplier-a", "bank-hk", MILLION, rate_ppm=900_000)
    rows = {(row.size, row.currency): row for row in ask(desk, "lending")}
    small = rows["SMALL", "CNY"]
    names = ("district", "financings", "principal_minor", "rate_ppm", "tenor_days")
    assert fields(small, *names) == ("440100", 2, 18 * MILLION, 45_000, 75)
    assert (small.yearly_interest_minor, small.tenor_days_sum) == (81_000_000, 150)
    assert fields(rows["UNCLASSIFIED", "USD"], *names) == ("", 1, 1_000, 36_000, 7)
    pages = [row for row in ask(desk, "lending", limit=1) if row.currency == "CNY"]
    assert sum(page.yearly_interest_minor for page in pages) == small.yearly_interest_minor
    assert sum(page.tenor_days_sum for page in pages) == 150
    paid_on = desk.financing(first).value_date
    assert ask(desk, "lending", from_date=paid_on, to_date=paid_on) == list(ask(desk, "lending"))
    assert ask(desk, "lending", to_date="2025-01-01") == []
    assert ask(desk, "lending", financier="bank-mo") == []


def test_the_overdue_ratio_goes_by_dates_whether_or_not_anybody_declared_it(desk: Supervised) -> None:
    early = desk.bought("F-1", desk.voucher("V-1", due_date=desk.day(5)), maturity=desk.day(2))
    desk.bought("F-2", desk.voucher("V-2", due_date=desk.day(50)))
    desk.declared()
    desk.loan("L-1", 1_000, financier="bank-mo", maturity=desk.day(5))
    desk.kit.pass_time(days=5)
    assert {row.overdue for row in ask(desk, "overdue_ratio")} == {0}, "on the due date nothing is overdue"
    desk.kit.pass_time(days=1)
    rows = {(row.financier, row.currency): row for row in ask(desk, "overdue_ratio")}
    names = ("financings", "outstanding_minor", "overdue", "overdue_minor", "ratio_ppm")
    assert fields(rows["bank-hk", "CNY"], *names) == (2, 20 * MILLION, 1, 10 * MILLION, 500_000)
    assert fields(rows["bank-mo", "USD"], *names) == (1, 1_000, 1, 1_000, 1_000_000)
    desk.ok("bank-hk", "declare_overdue", financing=early)
    (row,) = ask(desk, "overdue_ratio", financier="bank-hk")
    assert row.ratio_ppm == 500_000
    desk.pay("settle_voucher", "core-1", "bank-hk", cny(10 * MILLION), voucher="core-1/V-1")
    assert desk.financing(early).state == "REPAID"
    (row,) = ask(desk, "overdue_ratio", financier="bank-hk")
    assert fields(row, *names) == (1, 10 * MILLION, 0, 0, 0)


def test_the_duplicate_report_lists_exact_and_similar_matches_and_no_financier(desk: Supervised) -> None:
    invoice = desk.invoice("INV-001")
    first = desk.apply_invoice("F-1", invoice, "bank-hk")
    second = desk.apply_invoice("F-2", invoice, "bank-mo", presented="ｉｎｖ 001")
    desk.ok("bank-hk", "reserve_financing", financing=first)
    desk.expect("E_DUP_FINANCE", "bank-mo", "reserve_financing", financing=second)
    lookalike = desk.invoice("INV-1", minor=999)
    desk.invoice("INV-2", minor=999)
    exact = ask(desk, "duplicate_report", party="supplier-a")
    assert [fields(match, "subject", "asset", "written", "state", "financed", "matches") for match in exact] == [
        (second, invoice, "ｉｎｖ 001", "APPLIED", False, (first,)),
        (first, invoice, "INV-001", "RESERVED", True, (second,)),
    ]
    similar = ask(desk, "duplicate_report", limit=1, party="supplier-a", kind="similar")
    assert {(match.subject, match.matches, match.financed) for match in similar} == {
        (invoice, (lookalike,), True),
        (lookalike, (invoice,), False),
    }
    assert "bank" not in str(exact) + str(similar)
    # A declaration is lent on in parts, which is no duplicate.
    desk.declared()
    desk.loan("L-1", 5)
    desk.loan("L-2", 5)
    assert ask(desk, "duplicate_report", party="exporter-a") == []


def test_the_monthly_file_has_what_was_new_in_the_month_and_what_stands_at_the_height(desk: Supervised) -> None:
    month = desk.today[:7]
    bought = desk.bought("F-1", desk.voucher("V-1", due_date=desk.day(100)))
    held = desk.apply_invoice("F-2", desk.invoice("INV-V-F-01", minor=7), "bank-hk")
    financed = desk.apply_invoice("F-3", desk.invoice("INV-V-F-1", minor=8), "bank-mo")
    desk.ok("bank-mo", "reserve_financing", financing=financed)
    desk.ok("bank-hk", "reserve_financing", financing=held)
    rediscount = desk.rediscounted("R-1", bought, days=10)
    desk.declared()
    desk.loan("L-1", 400)
    cash = desk.cash("Acme", "exporter-a", usd(100))
    desk.ok("settle-bank", "collect_export", declaration="530420260123456789", cash=cash)
    desk.ok("settle-bank", "pay_filing", filing=desk.filed(minor=900), cash=desk.abroad(300))

    def rows(section: str, of: str = month) -> dict[tuple[str, str, str], tuple[int, ...]]:
        found = ask(desk, "monthly_file", section=section, month=of)
        names = ("records", "new_minor", "open_minor", "overdue_minor", "settled_minor", "held")
        return {fields(row, "party", "kind", "currency"): fields(row, *names) for row in found}

    assert rows("FINANCING") == {
        ("bank-hk", "DISCOUNT", "CNY"): (1, 9 * MILLION, 10 * MILLION, 0, 0, 0),
        ("bank-hk", "FORFAIT", "CNY"): (1, 0, 0, 0, 0, 1),
        ("bank-hk", "PLEDGE", "USD"): (1, 400, 404, 0, 0, 0),
        ("bank-mo", "FORFAIT", "CNY"): (1, 0, 0, 0, 0, 0),
    }
    line = ("bank-hk", "pboc-gz", "CNY")
    assert rows("REDISCOUNT") == {line: (1, 10 * MILLION, 10 * MILLION, 0, 0, 0)}
    assert rows("EXPORT") == {("exporter-a", "RELEASED", "USD"): (1, 1_000_000, 400, 0, 100, 0)}
    assert rows("OUTBOUND") == {("core-1", "ACCEPTED", "USD"): (1, 900, 600, 0, 300, 0)}
    for section in ("FINANCING", "REDISCOUNT", "EXPORT", "OUTBOUND"):
        assert {new for _, new, *_ in rows(section, "2024-01").values()} == {0}

    desk.kit.pass_time(days=11)
    assert rows("REDISCOUNT", "2024-01")[line] == (1, 0, 10 * MILLION, 10 * MILLION, 0, 0)
    desk.buy_back(rediscount)
    assert rows("REDISCOUNT", "2024-01")[line] == (1, 0, 0, 0, 10 * MILLION, 0)
    desk.kit.pass_time(days=90)
    desk.pay("settle_voucher", "core-1", "bank-hk", cny(10 * MILLION), voucher="core-1/V-1")
    assert rows("FINANCING", "2024-01")["bank-hk", "DISCOUNT", "CNY"] == (1, 0, 0, 0, 9 * MILLION, 0)


def test_a_report_of_one_height_is_the_same_on_every_node_and_however_long_after(desk: Supervised) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("holdings_by_date", {"party": "bank-hk"}),
        ("penetration", {"voucher": "core-1/V-F-1"}),
        ("maturity_ladder", {"issuer": "core-1"}),
        ("lending", {}),
        ("overdue_ratio", {}),
        ("duplicate_report", {"party": "supplier-a"}),
        ("monthly_file", {"section": "FINANCING", "month": desk.today[:7]}),
    ]

    def answers(of: Supervised, state: MemoryState, height: int, time_ms: int) -> list[Any]:
        ask_at = of.kit.executor.query
        return [
            ask_at(state, "receivable", query, params, 100, None, height=height, time_ms=time_ms)
            for query, params in asked
        ]

    other = Supervised()
    for each in (desk, other):
        each.bought("F-1")
    then = copy.deepcopy(desk.kit.state), desk.kit.height, desk.kit.time_ms
    said = answers(desk, *then)
    assert answers(other, other.kit.state, other.kit.height, other.kit.time_ms) == said
    desk.kit.pass_time(days=200)
    desk.pay("settle_voucher", "core-1", "bank-hk", cny(10 * MILLION), voucher="core-1/V-F-1")
    assert answers(desk, *then) == said
    assert answers(desk, desk.kit.state, desk.kit.height, desk.kit.time_ms) != said
