"""Terms of vouchers: those voted where the channel runs ``refdata``, the same first values where it does not."""

from __future__ import annotations

import pytest

from dawan_node.modules.receivable import module as receivable
from dawan_node.modules.receivable import terms
from dawan_node.modules.refdata import module as refdata
from dawan_node.modules.refdata.loading import NewRow
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.testing.trade import Trade, cny
from tests.modules.receivable_kit import DECLARATION, MILLION, Supervised
from tests.modules.refdata_kit import Reference


class Governed(Reference):
    """What administrators vote, on the channel of a trade test."""

    def __init__(self, trade: Trade) -> None:
        self.kit = trade.kit
        self._proposals = 0


def goods(code: str, parent: str) -> NewRow:
    return NewRow(code, f"goods {code}", (("parent", parent), ("section", "XVI")), False)


@pytest.fixture(params=[True, False], ids=["with refdata", "without refdata"])
def trade(request: pytest.FixtureRequest) -> Trade:
    return Trade(refdata) if request.param else Trade()


@pytest.fixture
def governed() -> Trade:
    return Trade(refdata)


def test_the_constants_are_the_parameters_first_values() -> None:
    shown = {
        "voucher.term.soft": terms.TERM_MONTHS_SOFT,
        "voucher.term.hard": terms.TERM_MONTHS_HARD,
        "voucher.split.max_depth": terms.SPLIT_DEPTH_MAX,
        "voucher.split.min_face": terms.MIN_FACE_FEN,
    }
    assert shown == {key: PARAMETERS[key].first for key in shown}
    assert "refdata" in receivable.may_use and not receivable.uses


def test_until_something_is_voted_both_kinds_of_channel_have_the_same_limits(trade: Trade) -> None:
    assert not trade.get_voucher(trade.voucher("V-1", due_date=trade.day(180))).flagged
    assert trade.get_voucher(trade.voucher("V-2", due_date=trade.day(190))).flagged
    last = trade.voucher("V-3", due_date=trade.day(365))
    invoice = trade.invoice("INV-4")
    uses = [{"invoice": invoice, "minor": 10 * MILLION}]
    issue = {"number": "V-4", "holder": "supplier-a", "face": cny(10 * MILLION), "invoices": uses}
    trade.expect("E_TERM", "core-1", "issue_voucher", **issue, due_date=trade.day(366))
    small = [cny(10 * MILLION - 99_999), cny(99_999)]
    trade.expect("E_MIN_FACE", "supplier-a", "split_voucher", voucher=last, parts=small)
    trade.ok("supplier-a", "split_voucher", voucher=last, parts=[cny(10 * MILLION - 100_000), cny(100_000)])


def test_a_shorter_term_holds_from_its_date_for_vouchers_issued_then(governed: Trade) -> None:
    vote = Governed(governed)
    vote.set_parameter("voucher.term.soft", 1, governed.day(1))
    vote.set_parameter("voucher.term.hard", 2, governed.day(1))
    before = governed.voucher("V-1", due_date=governed.day(300))
    governed.kit.pass_time(days=1)
    assert not governed.get_voucher(governed.voucher("V-2", due_date=governed.day(20))).flagged
    assert governed.get_voucher(governed.voucher("V-3", due_date=governed.day(40))).flagged
    invoice = governed.invoice("INV-4")
    uses = [{"invoice": invoice, "minor": 10 * MILLION}]
    issue = {"number": "V-4", "holder": "supplier-a", "face": cny(10 * MILLION), "invoices": uses}
    governed.expect("E_TERM", "core-1", "issue_voucher", **issue, due_date=governed.day(70))
    # What was issued before keeps its due date and travels on.
    governed.move(before, "supplier-a", "supplier-b")


def test_depth_and_smallest_part_of_a_split_are_those_voted_in_units_of_each_currency(governed: Trade) -> None:
    vote = Governed(governed)
    vote.set_parameter("voucher.split.max_depth", 1, governed.day(1))
    vote.set_parameter("voucher.split.min_face", 500_000, governed.day(1))
    governed.kit.pass_time(days=1)
    voucher = governed.voucher("V-1")
    small = [cny(10 * MILLION - 499_999), cny(499_999)]
    governed.expect("E_MIN_FACE", "supplier-a", "split_voucher", voucher=voucher, parts=small)
    governed.ok("supplier-a", "split_voucher", voucher=voucher, parts=[cny(10 * MILLION - 500_000), cny(500_000)])
    halves = [cny(5 * MILLION), cny(5 * MILLION - 500_000)]
    governed.expect("E_SPLIT_DEPTH", "supplier-a", "split_voucher", voucher=f"{voucher}.1", parts=halves)


@pytest.mark.parametrize(("code", "smallest"), [("CNY", 100_000), ("JPY", 1_000), ("KWD", 1_000_000)])
def test_the_smallest_part_is_a_thousand_whole_units_whatever_the_decimal_places(
    trade: Trade, code: str, smallest: int
) -> None:
    invoice = trade.invoice("INV-1", total=[code, 3 * smallest], confirmed=False)
    trade.ok("core-1", "confirm_invoice", invoice=invoice)
    uses = [{"invoice": invoice, "minor": 3 * smallest}]
    issue = {"number": "V-1", "holder": "supplier-a", "face": [code, 3 * smallest], "invoices": uses}
    trade.ok("core-1", "issue_voucher", **issue, due_date=trade.day(1))
    trade.ok("supplier-a", "accept_voucher", voucher="core-1/V-1")
    off = [[code, 2 * smallest + 1], [code, smallest - 1]]
    trade.expect("E_MIN_FACE", "supplier-a", "split_voucher", voucher="core-1/V-1", parts=off)
    exact = [[code, 2 * smallest], [code, smallest]]
    trade.ok("supplier-a", "split_voucher", voucher="core-1/V-1", parts=exact)


def test_goods_and_countries_are_those_in_force_where_the_channel_has_tables() -> None:
    desk = Supervised(refdata)
    vote = Governed(desk)
    # No edition is in force yet: the form alone counts.
    desk.declared("1" * 18, goods=["999999"])
    desk.filed("T-1", country="XX")
    vote.seed("country")
    desk.filed("T-2", country="DE")
    unknown = desk.filing_args("T-3", country="XX")
    desk.expect("E_COUNTRY", "core-1", "file_payment", **unknown)
    tariff = [goods("85", ""), goods("8517", "85"), goods("851713", "8517")]
    vote.adopt("hs", vote.load("hs", tariff), "2025-01-01")
    desk.declared(DECLARATION, goods=["8517130000"])
    missing = desk.declaration_args("2" * 18, goods=["851714"])
    desk.expect("E_GOODS", "customs-gz", "record_declaration", **missing)
