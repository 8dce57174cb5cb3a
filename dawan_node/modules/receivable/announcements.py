"""Announced payments: what a bank of the payer's own organisation says, and the payee's word that the money came.

A payer whose organisation also runs the settlement bank would be its own witness, so that bank's attestation is
announced and changes nothing. The one who loses if it is false makes it true: the payee, who gives up its claim by
``confirm_receipt``. Everything is checked again then: the claim, who is to be paid now and how much, the reference. Or
a settlement bank of another organisation attests the payment, as if nothing had been announced.

Of a clearing batch no single payee can speak for all, and the payee of a payment abroad is a name that the payer wrote:
both need the bank of another organisation. So do payments of banks and branches among each other.

Of a payment inside the payer's own bank no other bank saw anything, so a financier that says nothing, or whose identity
was revoked, could hold the asset of a borrower who has repaid for ever. Silence is no answer and denying is one
(``deny_receipt``): it keeps the matter for a court. When the financier gave none in the time of
``terms.answer_days``, a third house that looked at the books certifies the repayment (``certify_receipt``): a banking
regulator or a settlement bank, of neither side's organisation or group. It signs for that, and is on record beside the
bank that announced. What a payee of a voucher or an invoice does not confirm binds nobody's asset and waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Final

from dawan_node.execution.module import Args, Context, Meta, Page, Params, QueryContext, add_days, key_of, replace
from dawan_node.modules.receivable.cash import SETTLEMENT_ROLES, Cash, ConfirmedCash
from dawan_node.modules.receivable.checks import acts_for, existing_announcement
from dawan_node.modules.receivable.declaration import ReceiptCertified, ReceiptConfirmed, ReceiptDenied, module
from dawan_node.modules.receivable.declarations import CollectExport, collect_export
from dawan_node.modules.receivable.enterprises import REGULATORS
from dawan_node.modules.receivable.entities import Announcement, CashReference, Certification
from dawan_node.modules.receivable.repayment import PayFinancing, account_title, repay_financing
from dawan_node.modules.receivable.rules import STRICT
from dawan_node.modules.receivable.settlement import SettleInvoice, SettleVoucher, settle_invoice, settle_voucher
from dawan_node.modules.receivable.supervised import EnterpriseProfile
from dawan_node.modules.receivable.terms import answer_days

#: Enterprises of one group that are compared with who certifies. Of a larger group nobody is believed to be no part:
#: the largest of the region have some hundred members in one trade, and each is read.
GROUP_MAX: Final = 256

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


class DenyReceipt(Args):
    announcement: AnnouncementRef
    why: Annotated[str, Meta(min_length=1, max_length=200)]


class CertifyReceipt(Args):
    announcement: AnnouncementRef


class CertificationOf(Params):
    announcement: AnnouncementRef


class AnnouncementsOf(Params):
    """Payments announced to ``payee``, or for one ``record``: a voucher, invoice, financing, declaration, filing."""

    payee: Annotated[str, Meta(max_length=200)] = ""
    record: Annotated[str, Meta(max_length=240)] = ""


@module.command("confirm_receipt", args=ConfirmReceipt, roles=())
def confirm_receipt(ctx: Context, args: ConfirmReceipt) -> None:
    """The payee says that an announced payment came: it settles now what it was announced for."""
    found = existing_announcement(ctx, args.announcement)
    # Also after a denial: it looked again, or the money came late.
    ctx.require(found.state in ("ANNOUNCED", "DENIED"), "E_ANNOUNCEMENT_STATE")
    ctx.require(_speaks_for_payee(ctx, found), "E_NOT_PARTY")
    ctx.put(replace(found, state="CONFIRMED"))
    _discharge(ctx, found)
    ctx.emit(ReceiptConfirmed(announcement=found.announcement, payee=found.payee))


@module.command("deny_receipt", args=DenyReceipt, roles=())
def deny_receipt(ctx: Context, args: DenyReceipt) -> None:
    """The payee says that an announced payment did not come; nobody certifies it then."""
    found = existing_announcement(ctx, args.announcement)
    ctx.require(found.state == "ANNOUNCED", "E_ANNOUNCEMENT_STATE")
    ctx.require(_speaks_for_payee(ctx, found), "E_NOT_PARTY")
    ctx.put(replace(found, state="DENIED"))
    ctx.emit(ReceiptDenied(announcement=found.announcement, payee=found.payee, why=args.why))


@module.command("certify_receipt", args=CertifyReceipt, roles=(*REGULATORS, *SETTLEMENT_ROLES))
def certify_receipt(ctx: Context, args: CertifyReceipt) -> None:
    """A third house certifies a repayment of which the financier said nothing in time: the asset goes back."""
    found = existing_announcement(ctx, args.announcement)
    ctx.require(found.state == "ANNOUNCED", "E_ANNOUNCEMENT_STATE")
    ctx.require(found.command == "repay_financing", "E_WITNESS")
    ctx.require(ctx.business_date > add_days(found.announced_date, answer_days(ctx)), "E_ANSWER_TIME")
    # A house that is suspended cannot send a denial: its silence says nothing. The members end that in either way.
    ctx.require(not _is_suspended(ctx, found.payee), "E_ANSWER_TIME")
    ctx.require(_is_third_house(ctx, found), "E_SELF_DEALING")
    ctx.put(replace(found, state="CERTIFIED"))
    ctx.put(Certification(found.announcement, ctx.sender.name, ctx.sender.org, ctx.business_date))
    _discharge(ctx, found)
    ctx.emit(ReceiptCertified(announcement=found.announcement, payee=found.payee, by=ctx.sender.name))


def _discharge(ctx: Context, found: Announcement) -> None:
    """Do what the announced command would have done, with everything checked as it is now."""
    discharge = _DISCHARGES.get(found.command)
    if discharge is None:
        ctx.fail("E_WITNESS")
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


def _speaks_for_payee(ctx: Context, found: Announcement) -> bool:
    """Whether the sender is the payee or, while that identity is revoked, another one of its organisation that has a
    role of it: a house whose bank lost its key is not silent against its will."""
    payee = ctx.identity(found.payee)
    if payee is None or not acts_for(ctx, found.payee):
        return False
    return payee.name == ctx.sender.name or any(role in payee.roles for role in ctx.sender.roles)


def _is_suspended(ctx: Context, name: str) -> bool:
    """Whether the members suspended the organisation of this identity."""
    identity = ctx.identity(name)
    house = None if identity is None else ctx.organisation(identity.org)
    return house is not None and house.status == "suspended"


def _is_third_house(ctx: Context, found: Announcement) -> bool:
    """Whether the sender's organisation is neither side's, the announcing bank's being the payer's, and has nobody in a
    group of either."""
    for name in (found.payer, found.payee):
        party = ctx.identity(name)
        if party is None or party.org == ctx.sender.org:
            return False
        profile = ctx.get(EnterpriseProfile, key_of(name))
        if profile is None or profile.group == "":
            continue
        members = ctx.scan(EnterpriseProfile, "by_group", (profile.group,), limit=GROUP_MAX)
        if len(members) == GROUP_MAX:
            return False
        for member in members:
            identity = ctx.identity(member.party)
            if identity is not None and identity.org == ctx.sender.org:
                return False
    return True


@module.query("announcements", params=AnnouncementsOf, item=Announcement)
def announcements(ctx: QueryContext, params: AnnouncementsOf, limit: int, cursor: bytes | None) -> Page[Announcement]:
    """Payments that a bank of the payer's own organisation announced; confirmed, denied, certified or none of them."""
    index, name = ("by_record", params.record) if params.record else ("by_payee", params.payee)
    return ctx.page(Announcement, index, (name,), limit=limit, cursor=cursor)


@module.query("certification", params=CertificationOf, item=Certification)
def certification(ctx: QueryContext, params: CertificationOf, limit: int, cursor: bytes | None) -> Page[Certification]:
    """Who certified a repayment of which its payee was silent."""
    found = ctx.get(Certification, key_of(params.announcement))
    return Page(() if found is None else (found,), None)


@module.invariant("payments_have_a_witness")
def payments_have_a_witness(ctx: QueryContext) -> Iterator[str]:
    """What is confirmed or certified was booked as announced, what is announced or denied was not, a third house
    certified after the payee's time, and nobody's own bank is the only witness.

    The last holds for a chain that began with version 2; one of version 1 has payments from before it voted.
    """
    confirmed: set[tuple[str, str, str]] = set()
    for found in ctx.iterate(Announcement, "by_record"):
        institution, reference = found.announcement.split("/")[1:]
        booked = ctx.get(CashReference, key_of(institution, reference))
        # The bank may attest payments of others under the same reference; whose it announced, it never attests.
        said = (found.announced_by, found.payer)
        mine = booked is not None and (booked.attested_by, booked.payer) == said
        if (found.state in ("CONFIRMED", "CERTIFIED")) != mine:
            yield f"{found.announcement} is {found.state} and {'booked' if mine else 'not booked'}"
        if mine and booked is not None:
            confirmed.add((institution, reference, found.announced_by))
            if (booked.payee, booked.amount) != (found.payee, found.amount):
                yield f"{found.announcement} is booked otherwise than announced"
        yield from _certified(ctx, found)
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


def _certified(ctx: QueryContext, found: Announcement) -> Iterator[str]:
    """What is certified, and nothing else, has a certificate of a house that is not a party's, and not too soon."""
    certificate = ctx.get(Certification, key_of(found.announcement))
    if (certificate is not None) != (found.state == "CERTIFIED"):
        yield f"{found.announcement} is {found.state} and {'certified' if certificate else 'not certified'}"
    if certificate is None:
        return
    parties = [ctx.identity(name) for name in (found.payer, found.payee, found.announced_by)]
    if found.command != "repay_financing" or certificate.date <= found.announced_date:
        yield f"{found.announcement} was certified on {certificate.date} and announced by {found.command}"
    if any(party is None or party.org == certificate.org for party in parties):
        yield f"{found.announcement} was certified by {certificate.by} of a party's own organisation"
