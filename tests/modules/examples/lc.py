"""One of each command of ``lc``: credits are issued, changed, transferred, drawn under, refused, paid and ended."""

from __future__ import annotations

from tests.modules.channels_kit import Channels
from tests.modules.examples.notebook import Notebook
from tests.modules.lc_kit import Desk, usd

RECORD = bytes(range(32))


def story() -> list[Notebook]:
    desk = Desk()
    notebook = Notebook(desk.kit)
    _issued_and_ended(desk)
    _amended_and_drawn(desk)
    _refused(desk)
    _silent(desk)
    _obligation(desk)
    return [notebook, _with_titles()]


def _issued_and_ended(desk: Desk) -> None:
    declined = desk.draft()
    desk.ok("bank-cn", "decline_draft", credit=declined)
    cancelled = desk.credit()
    desk.ok("seller-a", "cancel_credit", credit=cancelled)
    desk.ok("bank-cn", "cancel_credit", credit=cancelled)
    for confirmed, people in ((False, ("seller-a", "bank-cn")), (True, ("seller-a", "bank-cn", "bank-hk"))):
        early = desk.credit(confirmed=True) if confirmed else _issued(desk)
        for person in people:
            desk.ok(person, "cancel_credit", credit=early)
    transferable = desk.credit(transferable=True)
    desk.transfer(transferable, "seller-b", 40_000_00, covers_minor=50_000_00)


def _issued(desk: Desk, **terms: str) -> str:
    """A credit that nobody has told its beneficiary of."""
    credit = desk.draft(**terms)
    desk.ok("bank-cn", "issue_credit", credit=credit)
    return credit


def _amended_and_drawn(desk: Desk) -> None:
    credit = desk.credit(confirmed=True, available_by="DEFERRED", tenor_days=30)
    desk.ok("bank-cn", "amend_credit", credit=credit, delta_minor=10_000_00, expiry=desk.day(90))
    desk.ok("bank-hk", "extend_confirmation", credit=credit, number=1)
    desk.ok("seller-a", "answer_amendment", credit=credit, number=1, answer="ACCEPT")
    presentation = desk.present(credit, 110_000_00)
    desk.ok("bank-hk", "examine_presentation", presentation=presentation)
    desk.comply(presentation)
    desk.honour(presentation)
    desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
    findings = {"findings": ["the certificate of origin names another port"]}
    desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, **findings)
    desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
    desk.ok("bank-cn", "release_documents", presentation=presentation)
    desk.kit.pass_time(days=30)
    desk.pay(presentation)
    cash = desk.cash("bank-cn", "bank-hk", usd(110_000_00))
    desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)


def _refused(desk: Desk) -> None:
    credit = desk.credit()
    waived = desk.present(credit, 40_000_00)
    desk.refuse(waived)
    desk.ok("buyer-a", "waive_discrepancies", presentation=waived)
    desk.ok("bank-cn", "waive_discrepancies", presentation=waived)
    returned = desk.present(credit, 40_000_00)
    desk.refuse(returned)
    desk.ok("bank-hk", "return_documents", presentation=returned)
    forwarded = desk.present(credit, 40_000_00)
    desk.ok("bank-hk", "forward_presentation", presentation=forwarded, to="bank-cn")


def _silent(desk: Desk) -> None:
    """Nobody examines in time, and another credit passes its last day."""
    credit = desk.credit(confirmed=True, available_by="NEGOTIATION")
    dates = {"expiry": desk.day(5), "latest_shipment": desk.day(4)}
    unused = (desk.credit(**dates), _issued(desk, **dates), desk.credit(confirmed=True, **dates))
    presentation = desk.present(credit)
    desk.kit.pass_time(days=14)
    desk.ok("seller-a", "claim_preclusion", presentation=presentation)
    desk.honour(presentation)
    for each in unused:
        desk.ok("buyer-a", "expire_credit", credit=each)


def _obligation(desk: Desk) -> None:
    conditions = [{"text": "shipped", "stated_by": "carrier-1"}]
    args = {"number": "PO-1", "beneficiary": "seller-a", "amount": usd(5_000_00), "due_date": desk.day(1)}
    desk.ok("buyer-a", "undertake_payment", **args, conditions=conditions)
    one = {"obligation": "buyer-a/obligation/PO-1"}
    desk.ok("bank-cn", "add_undertaking", **one)
    desk.ok("carrier-1", "meet_condition", **one, position=1, record=RECORD)
    desk.kit.pass_time(days=1)
    cash = desk.cash("bank-cn", "seller-a", usd(5_000_00))
    desk.ok("settle-bank", "pay_obligation", **one, cash=cash)


def _with_titles() -> Notebook:
    """Bills of this channel's own register: returned, presented again in other papers, passed to the bank."""
    one = Channels(one=True)
    notebook = Notebook(one.trade.kit)
    credit = one.desk.credit()
    title = one.title(holder="seller-a")
    returned = one.present(credit, title=title)
    one.desk.refuse(returned)
    one.desk.ok("bank-hk", "return_documents", presentation=returned)
    corrected = one.present(credit, title=title)
    one.desk.refuse(corrected)
    again = one.present(credit, title=title, replaces=corrected)
    one.desk.comply(again)
    one.desk.honour(again)
    _handed_over(one)
    for state in ("RECEIVED", "EXAMINING", "COMPLYING", "WAIVED", "PRECLUDED"):
        _released_by_a_court(one, state)
    return notebook


def _handed_over(one: Channels) -> None:
    """The bank that honoured claims, calls its documents back, claims again, and is paid: sooner and later."""
    for reference, against in (("PAY-1", "PAYMENT"), ("PAY-2", "ACCEPTANCE")):
        title = one.title(reference, holder="seller-a")
        presentation = one.present(one.desk.credit(), title=title)
        one.desk.comply(presentation)
        one.desk.honour(presentation)
        one.desk.pay(presentation)
        one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation)
        if against == "PAYMENT":
            one.desk.ok("bank-cn", "refuse_reimbursement", presentation=presentation, findings=["not signed"])
        one.desk.ok("bank-hk", "withdraw_reimbursement", presentation=presentation)
        one.desk.ok("bank-hk", "claim_reimbursement", presentation=presentation, against=against)
        one.desk.ok("bank-cn", "accept_reimbursement", presentation=presentation)
        cash = one.desk.cash("bank-cn", "bank-hk", usd(100_000_00))
        one.desk.ok("settle-bank", "pay_reimbursement", presentation=presentation, cash=cash)
        one.desk.ok("bank-cn", "release_documents", presentation=presentation)
        for holder, to in (("bank-cn", "buyer-a"), ("buyer-a", "seller-b")):
            args = {"title": title, "kind": "ENDORSE_TO_ORDER", "to": to, "hand_over_to": to}
            one.sea.ok(holder, "endorse_title", **args)
    # One that the issuing bank had before the claim, and handed back.
    had = one.title("PAY-3", holder="seller-a")
    presentation = one.present(one.desk.credit(), title=had)
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    for step in (("bank-hk", "bank-cn"), ("bank-cn", "bank-hk")):
        one.sea.ok(step[0], "endorse_title", title=had, kind="ENDORSE_TO_ORDER", to=step[1], hand_over_to=step[1])
        command = "claim_reimbursement" if step[0] == "bank-hk" else "withdraw_reimbursement"
        one.desk.ok("bank-hk", command, presentation=presentation)
    # Nobody reimburses the bank, so it sells the documents and the goods.
    one.sea.ok("bank-hk", "endorse_title", title=had, kind="ENDORSE_TO_ORDER", to="buyer-a", hand_over_to="buyer-a")
    one.desk.ok("bank-hk", "sell_documents", presentation=presentation, to="buyer-a")
    # Sold at sea, the goods are paid for once more under a credit of the next buyer.
    one.present(one.desk.credit(beneficiary="seller-b"), title=title)


def _released_by_a_court(one: Channels, state: str) -> None:
    """The title of a presentation in that state is not bound any more, so the documents go back."""
    credit = one.desk.credit(confirmed=True)
    title = one.title(state, holder="seller-a")
    presentation = one.present(credit, title=title)
    if state == "EXAMINING":
        one.desk.ok("bank-hk", "examine_presentation", presentation=presentation)
    elif state == "COMPLYING":
        one.desk.comply(presentation)
    elif state == "WAIVED":
        one.desk.refuse(presentation)
        for person in ("buyer-a", "bank-cn"):
            one.desk.ok(person, "waive_discrepancies", presentation=presentation)
    elif state == "PRECLUDED":
        one.pass_time(days=14)
        one.desk.ok("seller-a", "claim_preclusion", presentation=presentation)
    order = {"module": "title", "asset": title, "order": f"HCA {state}"}
    one.logistics.ok("judge", "kernel", "order_release", **order)
    found = one.desk.get(presentation)
    assert found.state == state
    one.desk.ok("seller-a", "return_documents", presentation=presentation)
