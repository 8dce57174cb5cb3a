"""Announced payments: what a bank of the payer's own organisation says, and the payee's word that the money came.

A payer whose organisation also runs the settlement bank would be its own witness, so that bank's attestation is
announced and changes nothing. The one who loses if it is false makes it true: the payee, who gives up its claim by
``confirm_receipt``. Everything is checked again then: the claim, who is to be paid now and how much, the reference. Or
a settlement bank of another organisation attests the payment, as if nothing had been announced.

Of a clearing batch no single payee can speak for all, and the payee of a payment abroad is a name that the payer wrote:
both need the bank of another organisation. So do payments of banks and branches among each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, Page, Params, QueryContext, key_of, replace
from dawan_node.modules.receivable.cash import Cash, ConfirmedCash
from dawan_node.modules.receivable.checks import existing_announcement
from dawan_node.modules.receivable.declaration import ReceiptConfirmed, module
from dawan_node.modules.receivable.declarations import CollectExport, collect_export
from dawan_node.modules.receivable.entities import Announcement, CashReference
from dawan_node.modules.receivable.repayment import PayFinancing, account_title, repay_financing
from dawan_node.modules.receivable.rules import STRICT
from dawan_node.modules.receivable.settlement import SettleInvoice, SettleVoucher, settle_invoice, settle_voucher

AnnouncementRef = Annotated[str, Meta(min_length=1, max_length=200, description="announced payment: who/BIC/reference")]

_DISCHARGES: Final[Mapping[str, Callable[[Context, str, Cash], None]]] = MappingProxyType(
    {
        "account_title": lambda ctx, record, cash: account_title(ctx, PayFinancing(financing=record, cash=cash)),
        "collect_export": lambda ctx, record, cash: collect_export(ctx, CollectExport(declaration=record, cash=cash)),
        "repay_financing": lambda ctx, record, cash: repay_financing(ctx, PayFinancing(financing=record, cash=cash)),
        "settle_invoice": lambda ctx, record, cash: settle_invoice(ctx, SettleInvoice(invoice=record, cash=cash)),
        "settle_voucher": lambda ctx, record, cash: settle_voucher(ctx, SettleVoucher(voucher=record, cash=cash)),
    }
)


class ConfirmReceipt(Args):
    announcement: AnnouncementRef


class AnnouncementsOf(Params):
    """Payments announced to ``payee``, or for one ``record``: a voucher, invoice, financing, declaration, filing."""

    payee: Annotated[str, Meta(max_length=200)] = ""
    record: Annotated[str, Meta(max_length=240)] = ""


@module.command("confirm_receipt", args=ConfirmReceipt, roles=())
def confirm_receipt(ctx: Context, args: ConfirmReceipt) -> None:
    """The payee says that an announced payment came: it settles now what it was announced for."""
    found = existing_announcement(ctx, args.announcement)
    ctx.require(found.state == "ANNOUNCED", "E_ANNOUNCEMENT_STATE")
    ctx.require(found.payee == ctx.sender.name, "E_NOT_PARTY")
    discharge = _DISCHARGES.get(found.command)
    if discharge is None:
        ctx.fail("E_WITNESS")
    ctx.put(replace(found, state="CONFIRMED"))
    cash = ConfirmedCash(
        bank=found.bank,
        reference=found.reference,
        payer=found.payer,
        payee=found.payee,
        amount=found.amount,
        value_date=found.value_date,
        announced_by=found.announced_by,
    )
    discharge(ctx, found.record, cash)
    ctx.emit(ReceiptConfirmed(announcement=found.announcement, payee=found.payee))


@module.query("announcements", params=AnnouncementsOf, item=Announcement)
def announcements(ctx: QueryContext, params: AnnouncementsOf, limit: int, cursor: bytes | None) -> Page[Announcement]:
    """Payments that a bank of the payer's own organisation announced, confirmed or not."""
    index, name = ("by_record", params.record) if params.record else ("by_payee", params.payee)
    return ctx.page(Announcement, index, (name,), limit=limit, cursor=cursor)


@module.invariant("payments_have_a_witness")
def payments_have_a_witness(ctx: QueryContext) -> Iterator[str]:
    """What is confirmed was booked as announced, what is announced was not, and nobody's own bank is the only witness.

    The last holds for a chain that began with version 2; one of version 1 has payments from before it voted.
    """
    confirmed: set[tuple[str, str, str]] = set()
    for found in ctx.iterate(Announcement, "by_record"):
        institution, reference = found.announcement.split("/")[1:]
        booked = ctx.get(CashReference, key_of(institution, reference))
        # The bank may attest payments of others under the same reference; whose it announced, it never attests.
        said = (found.announced_by, found.payer)
        mine = booked is not None and (booked.attested_by, booked.payer) == said
        if (found.state == "CONFIRMED") != mine:
            yield f"{found.announcement} is {found.state} and {'booked' if mine else 'not booked'}"
        if mine and booked is not None:
            confirmed.add((institution, reference, found.announced_by))
            if (booked.payee, booked.amount) != (found.payee, found.amount):
                yield f"{found.announcement} is booked otherwise than announced"
    if ctx.version < STRICT:
        return
    for cash in ctx.iterate(CashReference, "by_subject"):
        # Who paid from abroad is a name, which anybody may enrol afterwards.
        if cash.purpose == "collect":
            continue
        payer, witness = ctx.identity(cash.payer), ctx.identity(cash.attested_by)
        own = payer is not None and witness is not None and payer.org == witness.org
        if own and (cash.bank, cash.reference, cash.attested_by) not in confirmed:
            yield f"{cash.attested_by} alone attested what {cash.payer} of its own organisation paid"
