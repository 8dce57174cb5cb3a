"""Random blocks of random commands: whatever is sent, in whatever order, every invariant holds after every block.

The kit checks the invariants; here the commands are chosen so that many of them succeed: each picks its subject among
those that exist, usually with the right party, sometimes with a wrong one. Every walk begins where credits are at many
points of their lives, so that a short one reaches the late commands too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random
from typing import Any

from dawan_node.modules.lc.entities import (
    AVAILABLE_STATES,
    OPEN_STATES,
    Amendment,
    Credit,
    CreditState,
    PaymentObligation,
    Presentation,
    PresentationState,
    Reimbursement,
    ReimbursementState,
)
from tests.modules import lc_title_walks
from tests.modules.lc_kit import PEOPLE, Desk, usd
from tests.modules.walk_shards import Lengths, Walks

PARTIES = sorted(PEOPLE)
BANKS = ("bank-cn", "bank-hk")
SELLERS = ("seller-a", "seller-b", "seller-c")
AMOUNT = 1_000

# Days that pass before a block: mostly none, sometimes enough to end an examination, a tenor or a credit.
DAYS = (0, 0, 0, 0, 0, 1, 3, 8)

Draw = tuple[int, ...]
Choice = tuple[str, str, dict[str, Any]]


@functools.cache
def beginning() -> Desk:
    """Credits at many points of their lives."""
    desk = Desk()
    small = {"amount": usd(AMOUNT), "plus_ppm": 100_000, "presentation_days": 60}
    transferable = desk.credit(confirmed=True, transferable=True, **small)
    desk.transfer(transferable, "seller-b", 300, covers_minor=400, passes_amendments=True)
    desk.ok("bank-cn", "amend_credit", credit=transferable, delta_minor=100)
    deferred = desk.credit(**small, available_by="DEFERRED", tenor_days=3)
    desk.present(deferred, 500)
    soon = {"expiry": desk.day(6), "latest_shipment": desk.day(5)}
    desk.refuse(desk.present(desk.credit(**small, **soon), 200))
    bought = desk.credit(**small, available_by="NEGOTIATION", reimbursing="bank-mo")
    desk.honoured(bought, 700)
    # Accepting this would leave less than was drawn.
    desk.ok("bank-cn", "amend_credit", credit=bought, delta_minor=-500)
    desk.credit(**small, partial=False)
    desk.credit(**small, transferable=True, confirming=[{"name": "bank-hk", "place": "HK"}])
    obligation = {"beneficiary": "seller-a", "amount": usd(9), "due_date": desk.today}
    condition = {"text": "shipped", "stated_by": "carrier-1"}
    desk.ok("buyer-a", "undertake_payment", number="PO", **obligation, conditions=[condition])
    whole = {"amount": usd(AMOUNT), "presentation_days": 60}
    desk.comply(desk.present(desk.credit(**whole), AMOUNT))
    desk.honoured(desk.credit(**whole), AMOUNT)
    desk.comply(desk.present(desk.credit(**whole, available_by="NEGOTIATION"), 600))
    desk.ok("bank-cn", "issue_credit", credit=desk.draft(**whole))
    desk.kit.check_what_changes()
    return desk


class World:
    """A channel, and the choice of the next command from four random numbers."""

    def __init__(self) -> None:
        self.desk = beginning().copy()

    def run(self, block: list[Draw], days: int) -> None:
        self.desk.kit.pass_time(days=days)
        calls = [self.choose(*draw) for draw in block]
        receipts = self.desk.kit.block(*[self.desk.call(person, command, **args) for person, command, args in calls])
        for receipt, (_, command, _) in zip(receipts, calls, strict=True):
            assert receipt.code in (0, 2, 3), f"{command}: {receipt.code} {receipt.reason}"

    def entities(self, kind: type[Any]) -> list[Any]:
        return self.desk.kit.entities(kind)

    def choose(self, what: int, a: int, b: int, c: int) -> Choice:
        subject = what % 16
        makers: list[Callable[[], Choice]]
        if subject < 4:
            makers = self.for_credit(self.pick(Credit, a), b, c)
        elif subject < 11:
            makers = self.for_presentation(self.pick(Presentation, a), b, c)
        elif subject < 13:
            makers = self.for_amendment(self.pick(Amendment, a), b)
        elif subject == 13:
            makers = self.for_claim(self.pick(Reimbursement, a), b) if self.entities(Reimbursement) else [self.apply]
        elif subject == 14:
            makers = self.for_obligation(self.pick(PaymentObligation, a), b)
        else:
            makers = [self.apply]
        person, command, args = makers[(what // 16) % len(makers)]()
        # One time in sixteen somebody else tries it.
        return (PARTIES[b % len(PARTIES)] if c % 16 == 0 else person), command, args

    def pick(self, kind: type[Any], a: int) -> Any:
        """One of the last twelve."""
        found = self.entities(kind)
        return found[-1 - a % min(len(found), 12)]

    def apply(self) -> Choice:
        terms = self.desk.terms(amount=usd(AMOUNT), about=True, transferable=True)
        return "buyer-a", "apply_credit", terms

    def for_credit(self, credit: Credit, b: int, c: int) -> list[Callable[[], Choice]]:
        one = {"credit": credit.credit}
        canceller = (*BANKS, credit.beneficiary, "seller-a")[b % 4]
        owner = ("seller-a" if credit.parent else "buyer-a", "bank-hk" if credit.parent else "bank-cn")[b % 2]
        steps = {
            CreditState.DRAFT: ("bank-hk", "transfer_credit") if credit.parent else ("bank-cn", "issue_credit"),
            CreditState.ISSUED: ("bank-hk", "advise_credit"),
        }
        if credit.state in steps and c % 4:
            return [lambda: (*steps[credit.state], one)]
        if credit.state == CreditState.ADVISED and credit.confirming.name and c % 2:
            return [lambda: ("bank-hk", "confirm_credit", one)]
        if credit.state == CreditState.DRAFT:
            return [lambda: (owner, "decline_draft", one)]
        if credit.terms.expiry < self.desk.today and c % 4 == 1:
            return [lambda: (credit.beneficiary, "expire_credit", one)]
        if credit.transferable and credit.state in AVAILABLE_STATES and c % 4 < 2:
            return [lambda: self.transfer(credit, b, c // 4)]
        return [
            lambda: self.present(credit, b, c),
            lambda: self.present(credit, b, c),
            lambda: self.present(credit, b, c),
            lambda: (canceller, "cancel_credit", one),
            lambda: (credit.beneficiary, "expire_credit", one),
            lambda: ("bank-cn", "amend_credit", one | {"delta_minor": b % 900 - 500}),
            lambda: ("bank-cn", "amend_credit", one | {"expiry": self.desk.day(b % 80)}),
        ]

    def minor(self, credit: Credit, b: int, c: int) -> int:
        """Often everything that is left, sometimes a cent more."""
        left = max(credit.available_minor, 0)
        return (left, left + 1, left // 2, 1 + b % 700)[c % 4] or 1

    def present(self, credit: Credit, b: int, c: int) -> Choice:
        more: dict[str, Any] = {}
        if c % 2:
            # A bill of lading that may be in another presentation.
            more["bill"] = f"BL {b % 4}"
        if credit.amendments and c % 8 == 1:
            more["under_amendment"] = 1 + b % credit.amendments
        refused = [p for p in self.entities(Presentation) if p.credit == credit.credit and p.findings]
        if refused and c % 8 in (2, 5):
            more["replaces"] = refused[-1].presentation
        of_parts = [p for p in self.entities(Presentation) if p.credit.startswith(credit.credit + ".")]
        if of_parts and c % 8 == 6:
            more |= {"substitutes": of_parts[b % len(of_parts)].presentation, "kinds": ("INVOICE",)}
        minor = 1 + b % 60 if "substitutes" in more else self.minor(credit, b, c)
        return (
            credit.beneficiary,
            "present_documents",
            self.desk.papers_args(credit.credit, minor, BANKS[b % 2], **more),
        )

    def transfer(self, credit: Credit, b: int, c: int) -> Choice:
        minor = self.minor(credit, b, c)
        args = {
            "credit": credit.credit,
            "to": SELLERS[1 + b % 2],
            "amount": usd(minor),
            "covers_minor": b % 2 * minor * 5 // 4,
        }
        return credit.beneficiary, "request_transfer", args | {"passes_amendments": b % 2 == 0}

    def for_presentation(self, found: Presentation, b: int, c: int) -> list[Callable[[], Choice]]:
        one = {"presentation": found.presentation}
        refusal = one | {"findings": ["not signed"], "disposal": "HELD"}
        complying = (PresentationState.COMPLYING, PresentationState.WAIVED, PresentationState.PRECLUDED)
        if found.state in complying and c % 8:
            return [lambda: (found.bank, "honour_presentation", one)]
        if found.maturity and c % 4:
            pay = lambda: self.pay("pay_presentation", found.presentation, found.bank, found.presenter, found, b)  # noqa: E731
            claim = lambda: (found.bank, "claim_reimbursement", one)  # noqa: E731
            sell = lambda: (found.bank, "sell_documents", one | {"to": SELLERS[b % 3]})  # noqa: E731
            release = lambda: ("bank-cn", "release_documents", one)  # noqa: E731
            return [pay, claim, release, sell if b % 4 == 0 else claim]
        if found.state == PresentationState.REFUSED and c % 4:
            waive = lambda: (("buyer-a", "bank-cn")[b % 2], "waive_discrepancies", one)  # noqa: E731
            return [waive, waive, lambda: (found.bank, "return_documents", one)]
        if found.state in OPEN_STATES and c % 4 == 1:
            return [lambda: (found.presenter, "claim_preclusion", one)]
        return [
            lambda: (found.bank, "examine_presentation", one),
            lambda: (found.bank, "find_complying", one),
            lambda: (found.bank, "find_complying", one),
            lambda: (found.bank, "refuse_presentation", refusal),
            lambda: (found.bank, "refuse_presentation", refusal),
            lambda: (found.bank, "return_documents", one),
            lambda: (found.presenter, "claim_preclusion", one),
            lambda: (found.bank, "forward_presentation", one | {"to": "bank-cn"}),
            lambda: (found.bank, "honour_presentation", one),
        ]

    def for_amendment(self, amendment: Amendment, b: int) -> list[Callable[[], Choice]]:
        parts = [credit for credit in self.entities(Credit) if credit.parent == amendment.credit]
        root = next(credit for credit in self.entities(Credit) if credit.credit == amendment.credit)
        of = [root, *parts][b % (1 + len(parts))]
        args = {"credit": of.credit, "number": amendment.number}
        answer = ("ACCEPT", "ACCEPT", "ACCEPT", "REJECT", "ACCEPT_IN_PART")[b % 5]
        return [
            lambda: (of.beneficiary, "answer_amendment", args | {"answer": answer}),
            lambda: (of.beneficiary, "answer_amendment", args | {"answer": "ACCEPT"}),
            lambda: ("bank-hk", "extend_confirmation", args | {"credit": root.credit}),
        ]

    def for_claim(self, claim: Reimbursement, b: int) -> list[Callable[[], Choice]]:
        one = {"presentation": claim.presentation}
        payer = ("bank-cn", "bank-mo")[b % 2]
        pay = lambda: self.pay("pay_reimbursement", claim.presentation, payer, claim.claimant, claim, b)  # noqa: E731
        accept = lambda: ("bank-cn", "accept_reimbursement", one)  # noqa: E731
        withdraw = lambda: (claim.claimant, "withdraw_reimbursement", one)  # noqa: E731
        if claim.state == ReimbursementState.DUE:
            return [pay, pay, pay, withdraw]
        refuse = lambda: ("bank-cn", "refuse_reimbursement", one | {"findings": ["late"]})  # noqa: E731
        again = lambda: (claim.claimant, "claim_reimbursement", one)  # noqa: E731
        return [pay, accept, refuse, again if claim.state == ReimbursementState.WITHDRAWN else withdraw]

    def for_obligation(self, found: PaymentObligation, b: int) -> list[Callable[[], Choice]]:
        one = {"obligation": found.obligation}
        new = {"number": f"PO-{b % 9}", "beneficiary": "seller-b", "amount": usd(9), "due_date": self.desk.today}
        if b % 2:
            new["conditions"] = [{"text": "shipped", "stated_by": "carrier-1"}]
        met = one | {"position": 1, "record": bytes(32)}
        cash = self.desk.cash(("buyer-a", "bank-mo")[b % 2], found.beneficiary, usd(9))
        return [
            lambda: ("buyer-a", "undertake_payment", new),
            lambda: ("bank-mo", "add_undertaking", one),
            lambda: ("carrier-1", "meet_condition", met),
            lambda: ("settle-bank", "pay_obligation", one | {"cash": cash}),
        ]

    def pay(self, command: str, presentation: str, payer: str, payee: str, due: Any, b: int) -> Choice:
        # One time in eight an old reference comes again.
        cash = self.desk.cash(payer, payee, usd(due.amount.minor), reference="PAY 1" if b % 8 == 0 else "")
        return "settle-bank", command, {"presentation": presentation, "cash": cash}


def walk(seed: int, blocks: int = 3) -> World | lc_title_walks.World:
    """A channel after so many random blocks; the whole walk follows from the seed. Every fourth has a register of
    titles."""
    if seed % 4 == 3:
        return lc_title_walks.walk(seed, blocks)
    random = Random(seed)
    world = World()
    for _ in range(blocks):
        draws = [tuple(random.randrange(2**16) for _ in range(4)) for _ in range(random.randint(1, 5))]
        world.run(draws, random.choice(DAYS))
    world.desk.kit.check_invariants()
    return world


WALKS = Walks("lc", lambda: (beginning(), lc_title_walks.beginning()), walk, Lengths(3, 30), Lengths(10, 10))
