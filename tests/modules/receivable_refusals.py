"""One refused command or more for each reason that rediscounts, declarations, filings, batches and reports add.

``test_receivable_errors`` plays them beside its own and requires that both tables together cover every reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dawan_node.testing.trade import cny
from tests.modules.receivable_kit import DECLARATION, MILLION, Supervised, usd

Scenario = Callable[[Supervised], None]
SUPERVISED: dict[str, list[Scenario]] = {}


def refused(*reasons: str) -> Callable[[Scenario], Scenario]:
    def register(scenario: Scenario) -> Scenario:
        for reason in reasons:
            SUPERVISED.setdefault(reason, []).append(scenario)
        return scenario

    return register


@refused("E_ROLE_OF_PARTY", "E_DUP_REDISCOUNT", "E_UNKNOWN_REDISCOUNT", "E_REDISCOUNT_STATE", "E_NOT_BRANCH")
def rediscounts(desk: Supervised) -> None:
    financing = desk.bought("F-1")
    pledge = desk.apply("F-2", desk.voucher("V-2"), "supplier-a", "bank-hk", MILLION, kind="PLEDGE")
    desk.ok("bank-hk", "reserve_financing", financing=pledge)
    desk.fund(pledge)
    waiting = desk.apply("F-3", desk.voucher("V-3"), "supplier-a", "bank-hk", MILLION)
    moved = desk.bought("F-4")
    desk.move("core-1/V-F-4", "bank-hk", "bank-mo")
    offered = desk.bought("F-5")
    desk.ok("bank-hk", "transfer_voucher", voucher="core-1/V-F-5", to="bank-mo")

    def submit(reason: str, *financings: str, person: str = "bank-hk", **more: Any) -> None:
        desk.expect(reason, person, "submit_rediscount", **desk.submission("R-1", *financings, **more))

    submit("E_ROLE", financing, person="supplier-a")
    submit("E_NOT_FINANCIER", financing, person="bank-mo")
    submit("E_UNKNOWN_PARTY", financing, branch="nobody")
    submit("E_ROLE_OF_PARTY", financing, branch="bank-mo")
    submit("E_UNKNOWN_FINANCING", "supplier-a/F-9")
    submit("E_FINANCING_KIND", pledge)
    submit("E_FINANCING_STATE", waiting)
    submit("E_NOT_HOLDER", moved)
    submit("E_VOUCHER_STATE", offered)
    submit("E_LOCKED", financing, financing)
    submit("E_REFERENCE", financing, number="R 1")
    # A branch of the bank's own house supervises nothing.
    own = Supervised(staff={"own-branch": ("hk", ["pboc"])})
    within = own.submission("R-1", own.bought("F-1"), branch="own-branch")
    own.expect("E_SELF_DEALING", "bank-hk", "submit_rediscount", **within)
    for reason, change in (
        ("E_ZERO_AMOUNT", {"amount": cny(0)}),
        ("E_CURRENCY_MISMATCH", {"amount": usd(1)}),
        ("E_PRINCIPAL", {"amount": cny(10 * MILLION + 1)}),
        ("E_RATE", {"rate_ppm": -1}),
        ("E_RATE", {"rate_ppm": 1_000_001}),
        ("E_MATURITY", {"days": 181}),
        ("E_SCHEMA", {"days": 0}),
        ("E_SCHEMA", {"days": 367}),
        ("E_SCHEMA", {"financings": []}),
    ):
        submit(reason, financing, **change)
    rediscount = desk.submitted("R-1", financing)
    submit("E_DUP_REDISCOUNT", financing, number="r-1")
    desk.expect("E_UNKNOWN_REDISCOUNT", "pboc-gz", "accept_rediscount", rediscount="bank-hk/R-9")
    desk.expect("E_NOT_BRANCH", "pboc-sz", "accept_rediscount", rediscount=rediscount)
    desk.expect("E_NOT_BRANCH", "pboc-sz", "reject_rediscount", rediscount=rediscount, reason="?")
    desk.expect("E_NOT_PARTY", "bank-mo", "withdraw_rediscount", rediscount=rediscount)
    price = cny(desk.rediscount(rediscount).price_minor)
    cash = desk.cash("pboc-gz", "bank-hk", price)
    desk.expect("E_REDISCOUNT_STATE", "settle-bank", "fund_rediscount", rediscount=rediscount, cash=cash)
    desk.expect("E_REDISCOUNT_STATE", "settle-bank", "repay_rediscount", rediscount=rediscount, cash=cash)
    desk.ok("pboc-gz", "accept_rediscount", rediscount=rediscount)
    desk.expect("E_REDISCOUNT_STATE", "pboc-gz", "accept_rediscount", rediscount=rediscount)
    desk.ok("settle-bank", "fund_rediscount", rediscount=rediscount, cash=cash)
    desk.expect("E_REDISCOUNT_STATE", "bank-hk", "withdraw_rediscount", rediscount=rediscount)
    short = desk.cash("bank-hk", "pboc-gz", price)
    desk.expect("E_AMOUNT_MISMATCH", "settle-bank", "repay_rediscount", rediscount=rediscount, cash=short)


@refused("E_DECLARATION_NUMBER", "E_USCC", "E_GOODS", "E_RELEASE_DATE", "E_DUP_DECLARATION")
def declarations(desk: Supervised) -> None:
    def record(reason: str, **changed: Any) -> None:
        desk.expect(reason, "customs-gz", "record_declaration", **desk.declaration_args(**changed))

    for number in ("53042026012345678", "5304202601234567890", "53042026012345678X", "５30420260123456789"):
        record("E_DECLARATION_NUMBER", declaration=number)
    record("E_UNKNOWN_PARTY", exporter="Exporter A")
    record("E_UNKNOWN_PARTY", exporter="exporter-b")
    record("E_USCC", exporter_uscc="911100006000373410")
    record("E_USCC", exporter_uscc="12345678")
    for code in ("85171", "8517130", "85171300001", "85171A", "８51713"):
        record("E_GOODS", goods=["851713", code])
    record("E_SCHEMA", goods=[])
    record("E_SCHEMA", goods=["851713"] * 51)
    record("E_NEGATIVE_AMOUNT", minor=-1)
    record("E_UNKNOWN_CURRENCY", amount=["CNH", 1])
    record("E_DATE", released_date="2026-02-30")
    record("E_RELEASE_DATE", released_date=desk.day(1))
    desk.declared()
    record("E_DUP_DECLARATION")
    desk.expect("E_ROLE", "exporter-a", "record_declaration", **desk.declaration_args())
    # Whoever declares does not release: customs of the exporter's own organisation.
    own = Supervised(staff={"own-customs": ("gz", ["customs"])})
    own.expect("E_SELF_DEALING", "own-customs", "record_declaration", **own.declaration_args())


@refused("E_UNKNOWN_DECLARATION", "E_DECLARATION_STATE", "E_NOT_EXPORTER", "E_RESIDUAL")
def export_loans(desk: Supervised) -> None:
    def apply(reason: str, **changed: Any) -> None:
        desk.expect(reason, "exporter-a", "apply_export_financing", **desk.loan_args("L-1", 400_000, **changed))

    apply("E_UNKNOWN_DECLARATION")
    desk.declared(minor=1_000_000)
    other = desk.declared("1" * 18, exporter="supplier-c")
    apply("E_NOT_EXPORTER", declaration=other)
    for reason, change in (
        ("E_MATURITY", {"maturity": desk.day(-1)}),
        ("E_MATURITY", {"maturity": desk.day(366)}),
        ("E_DATE", {"maturity": "2026-02-30"}),
        ("E_CURRENCY_MISMATCH", {"principal": cny(1)}),
        ("E_PRINCIPAL", {"principal": usd(1_000_001)}),
        ("E_ZERO_AMOUNT", {"principal": usd(0)}),
        ("E_RATE", {"rate_ppm": 1_000_001}),
        ("E_UNKNOWN_PARTY", {"financier": "nobody"}),
        ("E_SELF_DEALING", {"financier": "exporter-a"}),
    ):
        apply(reason, **change)
    loan = desk.asked_loan("L-1", 400_000)
    apply("E_DUP_FINANCING")
    desk.expect("E_FINANCING_STATE", "bank-hk", "declare_overdue", financing=loan)
    desk.ok("bank-hk", "reserve_financing", financing=loan)
    amend = {"declaration": DECLARATION, "reason": "?"}
    desk.expect("E_RESIDUAL", "customs-gz", "amend_declaration", **amend, amount=usd(399_999))
    desk.expect("E_CURRENCY_MISMATCH", "customs-gz", "amend_declaration", **amend, amount=cny(500_000))
    desk.expect("E_UNKNOWN_DECLARATION", "customs-gz", "revoke_declaration", declaration="2" * 18, reason="?")
    desk.expect("E_DECLARATION_STATE", "safe-gz", "clear_declaration", **amend)
    in_yuan = desk.cash("Acme", "exporter-a", cny(1))
    desk.expect("E_CURRENCY_MISMATCH", "settle-bank", "collect_export", declaration=DECLARATION, cash=in_yuan)


@refused("E_MATURITY")
def loans_paid_out_too_late(desk: Supervised) -> None:
    desk.declared()
    loan = desk.asked_loan("L-1", 5, maturity=desk.today)
    voucher = desk.voucher("V-1", due_date=desk.day(10))
    pledge = desk.apply("F-1", voucher, "supplier-a", "bank-hk", MILLION, kind="PLEDGE", maturity=desk.today)
    for financing in (loan, pledge):
        desk.ok("bank-hk", "reserve_financing", financing=financing)
    desk.kit.pass_time(days=1)
    for financing in (loan, pledge):
        found = desk.financing(financing)
        cash = desk.cash("bank-hk", found.borrower, [found.principal.currency, found.principal.minor])
        desk.expect("E_MATURITY", "settle-bank", "fund_financing", financing=financing, cash=cash)


@refused("E_DUP_FILING", "E_DUP_CONTRACT", "E_COUNTRY", "E_CONTRACT_NUMBER")
def filings(desk: Supervised) -> None:
    def file(reason: str, **changed: Any) -> None:
        desk.expect(reason, "core-1", "file_payment", **desk.filing_args(**changed))

    file("E_USCC", payer_uscc="91110000600037341A")
    for country in ("de", "DEU", "D", "CN", "ＤＥ"):
        file("E_COUNTRY", country=country)
    file("E_CONTRACT_NUMBER", contract_number="---")
    file("E_CONTRACT_NUMBER", contract_number="Д-1")
    file("E_ZERO_AMOUNT", contract=usd(0))
    file("E_REFERENCE", number="T 1")
    desk.filed("T-1")
    file("E_DUP_FILING", number="t-1")
    file("E_DUP_CONTRACT", number="T-2", contract_number="c 2026 T 1")
    for country in ("HK", "MO"):
        desk.filed(f"T-{country}", country=country)
    desk.expect("E_ROLE", "bank-hk", "file_payment", **desk.filing_args("T-9"))


@refused("E_UNKNOWN_FILING", "E_FILING_STATE", "E_NOT_PAYER", "E_OVER_CONTRACT")
def filings_later(desk: Supervised) -> None:
    desk.expect("E_UNKNOWN_FILING", "tax-gz", "accept_filing", filing="core-1/T-9")
    filing = desk.filed(minor=10, accepted=False)
    desk.expect("E_FILING_STATE", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(10))
    desk.expect("E_NOT_PAYER", "buyer-a", "cancel_filing", filing=filing, reason="?")
    desk.ok("tax-gz", "accept_filing", filing=filing)
    desk.expect("E_OVER_CONTRACT", "settle-bank", "pay_filing", filing=filing, cash=desk.abroad(11))
    own = Supervised(staff={"own-tax": ("gz", ["tax"])})
    own.expect("E_SELF_DEALING", "own-tax", "accept_filing", filing=own.filed(accepted=False))


@refused("E_DUP_BATCH", "E_UNKNOWN_BATCH", "E_BATCH_STATE", "E_NOT_ISSUER", "E_CLEARING_LINES")
def batches(desk: Supervised) -> None:
    first = desk.voucher("V-1", due_date=desk.day(1))
    later = desk.voucher("V-2", due_date=desk.day(2))
    offered = desk.voucher("V-3", due_date=desk.day(1), accepted=False)

    def open_one(reason: str, *vouchers: str, person: str = "core-1", **changed: Any) -> None:
        args = {"number": "C-1", "due_date": desk.day(1), "vouchers": list(vouchers)}
        desk.expect(reason, person, "open_clearing", **(args | changed))

    open_one("E_NOT_ISSUER", first, person="core-2")
    open_one("E_UNKNOWN_VOUCHER", first, "core-1/V-9")
    open_one("E_CLEARING_LINES", first, first)
    open_one("E_CLEARING_LINES", first, later)
    open_one("E_CLEARING_LINES", first, due_date=desk.day(3))
    open_one("E_VOUCHER_STATE", offered)
    open_one("E_DATE", first, due_date="2026-02-30")
    open_one("E_SCHEMA")
    open_one("E_SCHEMA", *["core-1/V-1"] * 33)
    batch = desk.batch("C-1", first)
    open_one("E_DUP_BATCH", first, number="c-1")
    desk.expect("E_UNKNOWN_BATCH", "core-1", "cancel_clearing", batch="core-1/C-9")
    desk.ok("core-1", "cancel_clearing", batch=batch)
    desk.expect("E_BATCH_STATE", "core-1", "cancel_clearing", batch=batch)


@refused("E_DUP_REGISTRATION", "E_PROFILE")
def registrations(desk: Supervised) -> None:
    first, second = desk.bought("F-1"), desk.bought("F-2")
    waiting = desk.apply("F-3", desk.voucher("V-3"), "supplier-a", "bank-hk", MILLION)
    register = {"financing": first, "number": "zd-2026-001"}
    desk.expect("E_NOT_FINANCIER", "bank-mo", "register_movables", **register)
    desk.expect("E_REFERENCE", "bank-hk", "register_movables", **(register | {"number": "ZD 1"}))
    desk.expect("E_FINANCING_STATE", "bank-hk", "register_movables", **(register | {"financing": waiting}))
    desk.ok("bank-hk", "register_movables", **register)
    desk.expect("E_DUP_REGISTRATION", "bank-hk", "register_movables", **(register | {"number": "ZD-2026-002"}))
    desk.expect("E_DUP_REGISTRATION", "bank-hk", "register_movables", **(register | {"financing": second}))
    (found,), _ = desk.kit.query("registration", {"financing": first})
    assert (found.number, found.registered_by) == ("ZD-2026-001", "bank-hk")
    assert desk.kit.query("registration", {"financing": second}) == ((), None)
    profile = {"party": "supplier-a", "size": "SMALL", "district": "440100"}
    for change in ({"district": "44010"}, {"district": "SZ"}, {"district": "４40100"}, {"group": "Pearl River"}):
        desk.expect("E_PROFILE", "pboc-gz", "classify_enterprise", **(profile | change))
    desk.expect("E_UNKNOWN_PARTY", "pboc-gz", "classify_enterprise", **(profile | {"party": "nobody"}))
    desk.expect("E_SELF_DEALING", "pboc-gz", "classify_enterprise", **(profile | {"party": "tax-gz"}))
    desk.expect("E_SCHEMA", "pboc-gz", "classify_enterprise", **(profile | {"size": "HUGE"}))
    desk.expect("E_ROLE", "supplier-a", "classify_enterprise", **profile)


@refused("E_FINANCING_KIND")
def kinds_of_invoice_purchase(desk: Supervised) -> None:
    invoice = desk.get_invoice(desk.invoice("INV-9"))
    args = {
        "number": "F-1",
        "invoice_number": "INV-9",
        "buyer": "core-1",
        "issue_date": invoice.issue_date,
        "total": cny(invoice.total.minor),
        "financier": "bank-hk",
        "principal": cny(1),
        "rate_ppm": 0,
        "recourse": True,
    }
    desk.expect("E_FINANCING_KIND", "supplier-a", "apply_invoice_financing", **args, kind="FORFAIT")
    desk.expect("E_SCHEMA", "supplier-a", "apply_invoice_financing", **args, kind="PLEDGE")
