"""Tax filings of outbound payments: a contract with a party abroad is filed once, and paid up to its sum.

The payer files, the tax authority accepts, a settlement bank attests payment after payment until the contract sum is
exhausted. One contract has one live filing, in any spelling of its number: filed twice, it could be paid twice. The
payer cancels a filing while nothing was paid, the tax authority at any time.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, Money, ShortText, key_of, replace
from dawan_node.modules.identifiers import normalised_uscc
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, use_cash
from dawan_node.modules.receivable.checks import active_party, check_amount, existing_filing, reference
from dawan_node.modules.receivable.declaration import FilingAccepted, FilingCancelled, FilingPaid, PaymentFiled, module
from dawan_node.modules.receivable.declarations import is_listed
from dawan_node.modules.receivable.fingerprints import normalised_number
from dawan_node.modules.receivable.supervised import FilingState, TaxFiling

#: Whoever trades may owe a party abroad.
PAYERS: Final = ("buyer", "core_enterprise", "exporter", "seller", "supplier")
TAX: Final = "tax"

_COUNTRY: Final = re.compile("[A-Z]{2}")
#: Filings are for payments out of the mainland; Hong Kong and Macau are outside in this sense.
_INLAND: Final = "CN"

FilingRef = Annotated[str, Meta(min_length=1, max_length=80, description="filing id: payer/number")]


#: So often at most is one contract filed, paid in part, ended by the tax authority and filed again: a bounded scan.
ENDED_MAX: Final = 16


class FilePayment(Args):
    """``payee`` is the party abroad by name, ``country`` two letters, ``contract`` the sum of the contract."""

    number: ShortText
    payer_uscc: ShortText
    payee: ShortText
    country: ShortText
    contract_number: Annotated[str, Meta(min_length=1, max_length=64)]
    contract: Money


class OneFiling(Args):
    filing: FilingRef


class CancelFiling(Args):
    filing: FilingRef
    reason: ShortText


class PayFiling(Args):
    filing: FilingRef
    cash: Cash


@module.command("file_payment", args=FilePayment, roles=PAYERS)
def file_payment(ctx: Context, args: FilePayment) -> None:
    """An enterprise files a contract under which it will pay a party abroad."""
    payer = ctx.sender.name
    filing = f"{payer}/{reference(ctx, args.number)}"
    ctx.require(ctx.get(TaxFiling, key_of(filing)) is None, "E_DUP_FILING")
    uscc = normalised_uscc(args.payer_uscc)
    if uscc is None:
        ctx.fail("E_USCC")
    known = _COUNTRY.fullmatch(args.country) is not None and is_listed(ctx, "country", args.country)
    ctx.require(known and args.country != _INLAND, "E_COUNTRY")
    contract_number = normalised_number(args.contract_number)
    if contract_number is None:
        ctx.fail("E_CONTRACT_NUMBER")
    check_amount(ctx, args.contract)
    earlier = ctx.scan(TaxFiling, "by_contract", (uscc, contract_number), limit=ENDED_MAX)
    ctx.require(len(earlier) < ENDED_MAX, "E_DUP_CONTRACT")
    for each in earlier:
        ctx.require(each.state == FilingState.CANCELLED, "E_DUP_CONTRACT")
        ctx.require(each.contract.currency == args.contract.currency, "E_CURRENCY_MISMATCH")
    ctx.require(sum([each.paid_minor for each in earlier]) < args.contract.minor, "E_OVER_CONTRACT")
    ctx.put(
        TaxFiling(
            filing=filing,
            payer=payer,
            payer_uscc=uscc,
            payee=args.payee,
            country=args.country,
            contract_number=contract_number,
            contract=args.contract,
            paid_minor=0,
            state=FilingState.FILED,
            decided_by="",
            reason="",
            filed_date=ctx.business_date,
        )
    )
    ctx.emit(PaymentFiled(filing=filing, country=args.country, contract=args.contract))


@module.command("accept_filing", args=OneFiling, roles=(TAX,))
def accept_filing(ctx: Context, args: OneFiling) -> None:
    """The tax authority takes note of the contract; payments may follow."""
    found = existing_filing(ctx, args.filing)
    ctx.require(found.state == FilingState.FILED, "E_FILING_STATE")
    payer = active_party(ctx, found.payer)
    ctx.require(payer.org != ctx.sender.org, "E_SELF_DEALING")
    ctx.put(replace(found, state=FilingState.ACCEPTED, decided_by=ctx.sender.name))
    ctx.emit(FilingAccepted(filing=found.filing))


@module.command("pay_filing", args=PayFiling, roles=SETTLEMENT_ROLES)
def pay_filing(ctx: Context, args: PayFiling) -> None:
    """The settlement bank attests a payment abroad under an accepted filing, up to the contract sum."""
    found = existing_filing(ctx, args.filing)
    ctx.require(found.state == FilingState.ACCEPTED, "E_FILING_STATE")
    amount = args.cash.amount
    ctx.require(amount.currency == found.contract.currency, "E_CURRENCY_MISMATCH")
    paid = found.paid_minor + amount.minor
    all_paid = paid + _paid_before(ctx, found)
    ctx.require(all_paid <= found.contract.minor, "E_OVER_CONTRACT")
    if not use_cash(
        ctx,
        args.cash,
        payer=found.payer,
        payee=found.payee,
        due=amount,
        purpose="pay_filing",
        subject=found.filing,
        command="pay_filing",
        record=found.filing,
    ):
        return
    exhausted = all_paid == found.contract.minor
    ctx.put(replace(found, paid_minor=paid, state=FilingState.EXHAUSTED if exhausted else FilingState.ACCEPTED))
    ctx.emit(FilingPaid(filing=found.filing, amount=amount, paid_minor=paid, exhausted=exhausted))


@module.command("cancel_filing", args=CancelFiling, roles=(*PAYERS, TAX))
def cancel_filing(ctx: Context, args: CancelFiling) -> None:
    """The payer takes back a filing under which nothing was paid; the tax authority ends any, with a reason."""
    found = existing_filing(ctx, args.filing)
    by_tax = TAX in ctx.sender.roles
    ctx.require(by_tax or found.payer == ctx.sender.name, "E_NOT_PAYER")
    payer = ctx.identity(found.payer)
    own = found.payer == ctx.sender.name
    ctx.require(own or payer is None or payer.org != ctx.sender.org, "E_SELF_DEALING")
    ctx.require(found.state in (FilingState.FILED, FilingState.ACCEPTED), "E_FILING_STATE")
    by_tax = by_tax and not own
    ctx.require(by_tax or found.paid_minor == 0, "E_IN_USE")
    ctx.put(replace(found, state=FilingState.CANCELLED, decided_by=ctx.sender.name, reason=args.reason))
    ctx.emit(FilingCancelled(filing=found.filing, by=ctx.sender.name, reason=args.reason))


def _paid_before(ctx: Context, found: TaxFiling) -> int:
    """What was paid of the same contract under filings that the tax authority ended."""
    same = ctx.scan(TaxFiling, "by_contract", (found.payer_uscc, found.contract_number), limit=ENDED_MAX)
    return sum([each.paid_minor for each in same if each.filing != found.filing])
