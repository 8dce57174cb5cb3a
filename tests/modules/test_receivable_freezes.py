"""What a court froze does not move (version 2): one case for each family of commands, in one block in both orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.receivable.clearing import LINES_MAX
from dawan_node.modules.receivable.entities import VoucherState
from dawan_node.modules.receivable.freezes import freeze_name
from dawan_node.modules.refdata import module as refdata
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import DECLARATION, MILLION
from tests.modules.receivable_strict import Strict

ORDERS = [(0, 1), (1, 0)]
ORDER = "(2026) 1-2"
HALVES = [cny(5 * MILLION), cny(5 * MILLION)]

Call = tuple[str, str, dict[str, Any]]
#: What is frozen, and what may not be done with it then.
Case = tuple[str, Call]


def court(desk: Strict, command: str, asset: str, **more: Any) -> Transaction:
    args = {"module": "receivable", "asset": asset, "order": ORDER} | more
    return desk.kit.call("judge", command, args, module="kernel")


def frozen(desk: Strict, asset: str) -> Transaction:
    return court(desk, "freeze_asset", asset, reason="a claim", until_ms=desk.kit.time_ms + 400 * 24 * 3_600_000)


@pytest.fixture
def desk() -> Strict:
    return Strict(kernel, refdata, staff={"judge": ("hq", ["court"])})


def sold(desk: Strict, number: str = "F-1", **more: Any) -> str:
    """Reserved by bank-hk, and not paid for."""
    financing = desk.apply(number, desk.voucher(f"V-{number}"), "supplier-a", "bank-hk", MILLION, **more)
    desk.ok("bank-hk", "reserve_financing", financing=financing)
    return financing


def transfer(desk: Strict) -> Case:
    voucher = desk.voucher()
    return voucher, ("supplier-a", "transfer_voucher", {"voucher": voucher, "to": "supplier-b"})


def accept(desk: Strict) -> Case:
    voucher = desk.voucher()
    desk.ok("supplier-a", "transfer_voucher", voucher=voucher, to="supplier-b")
    return voucher, ("supplier-b", "accept_voucher", {"voucher": voucher})


def accept_the_first_time(desk: Strict) -> Case:
    voucher = desk.voucher(accepted=False)
    return voucher, ("supplier-a", "accept_voucher", {"voucher": voucher})


def decline_the_first_time(desk: Strict) -> Case:
    voucher = desk.voucher(accepted=False)
    return voucher, ("supplier-a", "decline_voucher", {"voucher": voucher})


def split(desk: Strict) -> Case:
    voucher = desk.voucher()
    return voucher, ("supplier-a", "split_voucher", {"voucher": voucher, "parts": HALVES})


def move_a_part(desk: Strict) -> Case:
    """The freeze names the whole."""
    voucher = desk.voucher()
    desk.ok("supplier-a", "split_voucher", voucher=voucher, parts=HALVES)
    return voucher, ("supplier-a", "transfer_voucher", {"voucher": f"{voucher}.2", "to": "supplier-b"})


def lock(desk: Strict) -> Case:
    voucher = desk.voucher()
    until_ms = desk.kit.time_ms + 3_600_000
    return voucher, (
        "supplier-a",
        "lock_voucher",
        {"voucher": voucher, "owner": "bank-mo", "reason": "x", "until_ms": until_ms},
    )


def cancel(desk: Strict) -> Case:
    voucher = desk.voucher()
    desk.ok("supplier-a", "cancel_voucher", voucher=voucher)
    return voucher, ("core-1", "cancel_voucher", {"voucher": voucher})


def issue(desk: Strict) -> Case:
    invoice = desk.invoice()
    args = {"number": "V-1", "holder": "supplier-a", "face": cny(10 * MILLION), "due_date": desk.day(9)}
    return invoice, ("core-1", "issue_voucher", args | {"invoices": [{"invoice": invoice, "minor": 10 * MILLION}]})


def cancel_an_invoice(desk: Strict) -> Case:
    invoice = desk.invoice()
    return invoice, ("supplier-a", "cancel_invoice", {"invoice": invoice})


def reserve(desk: Strict) -> Case:
    voucher = desk.voucher()
    financing = desk.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION)
    return voucher, ("bank-hk", "reserve_financing", {"financing": financing})


def reserve_an_invoice(desk: Strict) -> Case:
    invoice = desk.invoice()
    financing = desk.apply_invoice("F-1", invoice, "bank-hk")
    return invoice, ("bank-hk", "reserve_financing", {"financing": financing})


def approve_a_look_alike(desk: Strict) -> Case:
    first = desk.apply_invoice("F-1", desk.invoice("INV-7"), "bank-hk")
    desk.ok("bank-hk", "reserve_financing", financing=first)
    invoice = desk.invoice("INV-07")
    alike = desk.apply_invoice("F-2", invoice, "bank-hk")
    desk.ok("bank-hk", "reserve_financing", financing=alike)
    return invoice, ("bank-hk-risk", "approve_similar", {"financing": alike, "reason": "seen"})


def reserve_a_declaration(desk: Strict) -> Case:
    desk.declared()
    return DECLARATION, ("bank-hk", "reserve_financing", {"financing": desk.asked_loan("L-1", 500)})


def pay(desk: Strict, command: str, payer: str, payee: str, amount: list[Any], **subject: str) -> Call:
    return "settle-hq", command, subject | {"cash": desk.cash(payer, payee, amount)}


def fund(desk: Strict) -> Case:
    financing = sold(desk)
    return "core-1/V-F-1", pay(desk, "fund_financing", "bank-hk", "supplier-a", cny(MILLION), financing=financing)


def fund_a_pledge(desk: Strict) -> Case:
    loan = sold(desk, kind="PLEDGE")
    return "core-1/V-F-1", pay(desk, "fund_financing", "bank-hk", "supplier-a", cny(MILLION), financing=loan)


def repay(desk: Strict) -> Case:
    loan = sold(desk, kind="PLEDGE", rate_ppm=0)
    desk.fund(loan)
    return "core-1/V-F-1", pay(desk, "repay_financing", "supplier-a", "bank-hk", cny(MILLION), financing=loan)


def enforce(desk: Strict) -> Case:
    loan = sold(desk, kind="PLEDGE", maturity=desk.today)
    desk.fund(loan)
    desk.kit.pass_time(days=1)
    return "core-1/V-F-1", ("bank-hk", "claim_recourse", {"financing": loan})


def settle(desk: Strict) -> Case:
    voucher = desk.due()
    return voucher, pay(desk, "settle_voucher", "core-1", "supplier-a", cny(10 * MILLION), voucher=voucher)


def confirm_a_receipt(desk: Strict) -> Case:
    voucher = desk.due()
    return voucher, ("supplier-a", "confirm_receipt", {"announcement": desk.announced(voucher)})


def settle_an_invoice(desk: Strict) -> Case:
    invoice = desk.invoice()
    return invoice, pay(desk, "settle_invoice", "core-1", "supplier-a", cny(10 * MILLION), invoice=invoice)


def clear(desk: Strict) -> Case:
    """One of two is frozen: nobody of the batch is paid."""
    batch = desk.batch("C-1", desk.due("V-1"), desk.due("V-2"))
    return "core-1/V-2", ("settle-hq", "clear_batch", desk.clearing(batch))


def submit(desk: Strict) -> Case:
    bought = desk.bought("F-1")
    return "core-1/V-F-1", ("bank-hk", "submit_rediscount", desk.submission("R-1", bought))


def fund_a_rediscount(desk: Strict) -> Case:
    rediscount = desk.submitted("R-1", desk.bought("F-1"))
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    price = cny(desk.rediscount(rediscount).price_minor)
    cash = desk.cash("pboc-gz", "bank-hk", price)
    return "core-1/V-F-1", ("settle-bank", "fund_rediscount", {"rediscount": rediscount, "cash": cash})


def end_a_rediscount(desk: Strict) -> Case:
    rediscount = desk.rediscounted("R-1", desk.bought("F-1"), days=1)
    desk.kit.pass_time(days=40)
    return "core-1/V-F-1", ("pboc-gz", "end_rediscount", {"rediscount": rediscount})


def collect(desk: Strict) -> Case:
    desk.declared()
    cash = desk.cash("Acme", "exporter-a", ["USD", 1])
    return DECLARATION, ("settle-hq", "collect_export", {"declaration": DECLARATION, "cash": cash})


CASES: list[Callable[[Strict], Case]] = [
    transfer, accept, accept_the_first_time, decline_the_first_time, split, move_a_part, lock, cancel, issue,
    cancel_an_invoice, reserve, reserve_an_invoice, approve_a_look_alike, reserve_a_declaration, fund, fund_a_pledge,
    repay, enforce, settle, confirm_a_receipt, settle_an_invoice, clear, submit, fund_a_rediscount, end_a_rediscount,
    collect,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_is_frozen_does_not_move_until_the_order_is_lifted(desk: Strict, case: Callable[[Strict], Case]) -> None:
    asset, (person, command, args) = case(desk)
    assert desk.kit.block(frozen(desk, asset))[0].code == 0
    desk.expect("E_ASSET_FROZEN", person, command, **args)
    assert desk.kit.block(court(desk, "lift_freeze", asset))[0].code == 0
    desk.ok(person, command, **args)


@pytest.mark.parametrize("case", [transfer, split, reserve, fund, settle, submit], ids=lambda case: case.__name__)
@pytest.mark.parametrize("order", ORDERS)
def test_of_a_freeze_and_a_move_in_one_block_the_first_counts(
    desk: Strict, case: Callable[[Strict], Case], order: tuple[int, int]
) -> None:
    asset, (person, command, args) = case(desk)
    calls = [frozen(desk, asset), desk.call(person, command, **args)]
    receipts = desk.kit.block(*[calls[which] for which in order])
    assert [receipt.reason for receipt in receipts] == (["", "E_ASSET_FROZEN"] if order == (0, 1) else ["", ""])


def test_a_freeze_blocks_and_takes_nothing_away(desk: Strict) -> None:
    """Offers are taken back, a default is said, an application made, and what is another's moves on."""
    offered, due = desk.voucher("V-1"), desk.due("V-2")
    desk.ok("supplier-a", "split_voucher", voucher=desk.voucher("V-3"), parts=HALVES)
    desk.ok("supplier-a", "transfer_voucher", voucher=offered, to="supplier-b")
    desk.kit.block(frozen(desk, offered), frozen(desk, due), frozen(desk, "core-1/V-3.1"))
    desk.ok("supplier-b", "decline_voucher", voucher=offered)
    desk.apply("F-1", offered, "supplier-a", "bank-hk", MILLION)
    desk.ok("supplier-a", "transfer_voucher", voucher="core-1/V-3.2", to="supplier-b")
    desk.kit.pass_time(days=1)
    desk.ok("supplier-a", "default_voucher", voucher=due)
    desk.kit.pass_time(days=400)
    desk.ok("settle-hq", "settle_voucher", **desk.payment(due))
    assert desk.get_voucher(due).state == VoucherState.SETTLED


def test_an_identifier_that_the_kernel_cannot_hold_is_frozen_by_its_hash(desk: Strict) -> None:
    invoice = desk.invoice("发" * 30)
    name = freeze_name(invoice)
    assert len(invoice.encode()) > 100 and len(name) == 64
    assert freeze_name("core-1/V-1") == "core-1/V-1"
    assert desk.kit.block(frozen(desk, name))[0].code == 0
    desk.expect("E_ASSET_FROZEN", "supplier-a", "cancel_invoice", invoice=invoice)


def test_the_largest_batch_of_parts_asks_the_court_within_the_budget(desk: Strict) -> None:
    """Three levels down, so each line asks for four names."""
    whole = desk.due("V-1")
    for _ in range(2):
        desk.ok("supplier-a", "split_voucher", voucher=whole, parts=[cny(MILLION), cny(desk.face(whole) - MILLION)])
        whole += ".2"
    rest = desk.face(whole) - (LINES_MAX - 1) * 100_000
    parts = [cny(100_000)] * (LINES_MAX - 1) + [cny(rest)]
    desk.ok("supplier-a", "split_voucher", voucher=whole, parts=parts)
    batch = desk.batch("C-1", *[f"{whole}.{number}" for number in range(1, LINES_MAX + 1)])
    desk.ok("settle-hq", "clear_batch", **desk.clearing(batch))


def test_a_channel_without_the_kernel_and_the_first_rules_ask_no_court() -> None:
    old = Strict(kernel, refdata, version=1, staff={"judge": ("hq", ["court"])})
    voucher = old.voucher()
    old.kit.block(frozen(old, voucher))
    old.move(voucher, "supplier-a", "supplier-b")
    plain = Strict()
    plain.move(plain.voucher(), "supplier-a", "supplier-b")
