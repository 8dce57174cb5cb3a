"""Random walks of credits whose bills a register of the same channel keeps: presented, honoured, claimed for, sold on.

Every walk begins with bills at many points of their lives, so that a short one comes to the late commands too. What has
to hold is in the modules' invariants; the same bill presented twice in one block is among the choices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from random import Random
from typing import Any

from dawan_node.execution.module import Identity, key_of
from dawan_node.modules.kernel.declaration import Lock
from dawan_node.modules.lc.entities import (
    DRAWN_STATES,
    OPEN_STATES,
    Credit,
    Presentation,
    PresentationState,
    Reimbursement,
    ReimbursementState,
)
from dawan_node.modules.title.entities import Title
from tests.modules.channels_kit import Channels, Place, enrol
from tests.modules.title_kit import DOCUMENT

MINOR = 1_000
TRADERS = ("seller-a", "seller-b", "buyer-a")
#: Who holds titles here.
HOLDERS = (*TRADERS, "bank-hk", "bank-cn")
#: Parties that may be revoked, their organisation, and who acts in their place then.
HEIRS = {"bank-hk": ("hk", "bank-hk-2"), "seller-a": ("sz", "seller-x")}
ANYBODY = (*HOLDERS, "bank-mo", "liner", "settle-bank")
DAYS = (0, 0, 0, 0, 2, 9, 20)
AGAINST = ("PAYMENT", "ACCEPTANCE")

Choice = tuple[str, str, str, dict[str, Any]]


@functools.cache
def beginning() -> Channels:
    """Bills presented, honoured, claimed for (accepted, refused, overdue), sold on after all was paid, and one free."""
    one = Channels(one=True)
    for (org, heir), role in zip(HEIRS.values(), ("bank", "exporter"), strict=True):
        enrol(one.trade, org, heir, role)
    small: dict[str, Any] = {"amount": ["USD", 9 * MINOR], "presentation_days": 90}
    credits = [one.desk.credit(**small, **more) for more in ({}, {"beneficiary": "seller-b"})]
    credits.append(one.desk.credit(**small, available_by="DEFERRED", tenor_days=10))
    overdue = _honoured(one, credits[0], "T-0")
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=overdue)
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=overdue)
    one.pass_time(days=16)
    sold = _honoured(one, credits[0], "T-1")
    one.desk.pay(sold)
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=sold, against="ACCEPTANCE")
    one.desk.ok("bank-cn", "accept_reimbursement", presentation=sold)
    cash = one.desk.cash("bank-cn", "bank-hk", ["USD", MINOR])
    one.desk.ok("settle-bank", "pay_reimbursement", presentation=sold, cash=cash)
    one.desk.ok("bank-cn", "release_documents", presentation=sold)
    for holder, to in (("bank-cn", "buyer-a"), ("buyer-a", "seller-b")):
        _endorse(one, "SMDG-HMM/T-1", holder, to)
    refused = _honoured(one, credits[0], "T-2")
    one.desk.ok("bank-hk", "claim_reimbursement", presentation=refused)
    one.desk.ok("bank-cn", "refuse_reimbursement", presentation=refused, findings=["not signed"])
    for reference, credit in (("T-3", credits[0]), ("T-4", credits[2])):
        claimed = _honoured(one, credit, reference)
        one.desk.ok("bank-hk", "claim_reimbursement", presentation=claimed, against=AGAINST[reference == "T-4"])
    _honoured(one, credits[2], "T-5")
    one.desk.refuse(one.present(credits[0], MINOR, title=one.title("T-6", "seller-a")))
    one.title("T-7", "seller-a")
    for reference in ("T-8", "T-9"):
        one.desk.comply(one.present(credits[2], MINOR, title=one.title(reference, "seller-a")))
    one.trade.kit.check_what_changes()
    return one


def _honoured(one: Channels, credit: str, reference: str) -> str:
    presentation = one.present(credit, MINOR, title=one.title(reference, "seller-a"))
    one.desk.comply(presentation)
    one.desk.honour(presentation)
    return presentation


def _endorse(one: Channels, title: str, holder: str, to: str) -> None:
    one.sea.ok(holder, "endorse_title", **_handed(title, to))


def _handed(title: str, to: str) -> dict[str, Any]:
    return {"title": title, "kind": "ENDORSE_TO_ORDER", "to": to, "hand_over_to": to}


class World:
    """The channel and the choice of the next command; all of it follows from ``random``."""

    def __init__(self, random: Random) -> None:
        self.random = random
        begun = beginning()
        self.one = Channels(one=True)
        self.one.logistics = self.one.trade = Place(begun.trade.kit.copy())
        self.one.sea.kit.inner = self.one.desk.kit.inner = self.one.trade.kit
        self.one.desk._numbers = begun.desk._numbers
        self.one.sea._documents = begun.sea._documents

    @property
    def desk(self) -> Any:
        """As the walks of credits without titles have it."""
        return self.one.desk

    def block(self) -> None:
        self.one.pass_time(days=self.random.choice(DAYS))
        choices = [self.choose() for _ in range(self.random.randint(1, 4))]
        if self.random.random() < 0.3:
            # Races: the same once more in one block, by another transaction.
            choices.append(choices[0])
        calls = [
            self.one.trade.call(self.acting(person), module, command, **args)
            for person, module, command, args in choices
        ]
        # After its revocation in the same block a key signs nothing any more.
        revokes = any(command == "revoke" for _, _, command, _ in choices)
        allowed = (0, 1, 2, 3) if revokes else (0, 2, 3)
        for receipt, (_, _, command, _) in zip(self.one.trade.kit.block(*calls), choices, strict=True):
            assert receipt.code in allowed, f"{command}: {receipt.code} {receipt.reason}"

    def acting(self, name: str) -> str:
        """The party, or who stands in for it since it was revoked."""
        # On record here once it changed; before that it stands in the genesis.
        changed = self.one.trade.kit.get(Identity, key_of(name)) if name in HEIRS else None
        return name if changed is None or changed.status == "active" else HEIRS[name][1]

    def choose(self) -> Choice:
        kit, pick = self.one.trade.kit, self.random.choice
        if self.random.random() < 0.02:
            name = pick(sorted(HEIRS))
            return f"{HEIRS[name][0]}-admin", "governance", "revoke", {"name": name}
        makers = pick(
            (
                lambda: self.for_presentation(pick(kit.entities(Presentation)[-10:])),
                lambda: self.for_claim(pick(kit.entities(Reimbursement))),
                lambda: self.for_title(pick([each for each in kit.entities(Title) if each.replaced_by == ""])),
            )
        )()
        person, module, command, args = pick(makers)()
        # One time in sixteen somebody else tries it.
        return (pick(ANYBODY) if self.random.random() < 0.06 else person), module, command, args

    def for_presentation(self, found: Presentation) -> list[Callable[[], Choice]]:
        one = {"presentation": found.presentation}
        if found.state in OPEN_STATES:
            refusal = one | {"findings": ["not signed"], "disposal": "HELD"}
            comply = lambda: (found.bank, "lc", "find_complying", one)  # noqa: E731
            return [comply, comply, lambda: (found.bank, "lc", "refuse_presentation", refusal)]
        if found.state == PresentationState.COMPLYING:
            return [lambda: (found.bank, "lc", "honour_presentation", one)]
        if found.state == PresentationState.REFUSED:
            return [
                lambda: (found.bank, "lc", "return_documents", one),
                lambda: (found.presenter, "lc", "return_documents", one),
                lambda: (("buyer-a", "bank-cn")[bool(found.waivers)], "lc", "waive_discrepancies", one),
                lambda: self.present(self.title_of(found), found.credit, replaces=found.presentation),
            ]
        if found.state == PresentationState.WAIVED:
            return [lambda: ("bank-cn", "lc", "honour_presentation", one)]
        if found.state in DRAWN_STATES:
            against = {"against": self.random.choice(AGAINST)}
            return [
                lambda: self.pay("pay_presentation", found.presentation, found.bank, found.presenter),
                lambda: (found.bank, "lc", "claim_reimbursement", one | against),
                lambda: ("bank-cn", "lc", "release_documents", one),
                lambda: (found.bank, "lc", "sell_documents", one | {"to": self.random.choice(HOLDERS)}),
            ]
        return [lambda: (found.presenter, "lc", "return_documents", one)]

    def for_claim(self, claim: Reimbursement) -> list[Callable[[], Choice]]:
        one = {"presentation": claim.presentation}
        accept = lambda: ("bank-cn", "lc", "accept_reimbursement", one)  # noqa: E731
        withdraw = lambda: ("bank-hk", "lc", "withdraw_reimbursement", one)  # noqa: E731
        pay = lambda: self.pay("pay_reimbursement", claim.presentation, "bank-cn", "bank-hk")  # noqa: E731
        release = lambda: ("bank-cn", "lc", "release_documents", one)  # noqa: E731
        if claim.state == ReimbursementState.CLAIMED:
            refuse = lambda: ("bank-cn", "lc", "refuse_reimbursement", one | {"findings": ["?"]})  # noqa: E731
            return [accept, accept, withdraw, pay, refuse]
        if claim.state == ReimbursementState.WITHDRAWN:
            return [lambda: ("bank-hk", "lc", "claim_reimbursement", one)]
        if claim.state == ReimbursementState.REFUSED:
            return [accept, withdraw, lambda: ("bank-cn", "lc", "withdraw_reimbursement", one), pay, release]
        return [pay, pay, accept, withdraw, release] if claim.state != ReimbursementState.PAID else [release, withdraw]

    def for_title(self, title: Title) -> list[Callable[[], Choice]]:
        one = {"title": title.title}
        lost = [name for name in (title.holder, title.requester, title.endorsee) if self.acting(name) != name]
        if lost and self.random.random() < 0.8:
            org, heir = HEIRS[lost[0]]
            return [lambda: (f"{org}-admin", "title", "succeed_title", one | {"revoked": lost[0], "to": heir})]
        to = self.random.choice(HOLDERS)
        version = {"bill": self.one.sea.bill(shipper="seller-a"), "checksum": DOCUMENT}
        version["document"] = self.one.sea.document()
        if title.state.startswith("PENDING"):
            paper = {"paper": "P-1"} if title.reason == "SWTP" else {}
            accept = lambda: ("liner", "title", "accept_surrender", one | paper)  # noqa: E731
            return [accept, accept, lambda: (title.requester, "title", "withdraw_surrender", one)]
        if title.state == "SURRENDERED_FOR_AMENDMENT":
            return [lambda: ("liner", "title", "reissue_title", one | version)]
        if title.medium == "PAPER":
            return [lambda: ("liner", "title", "restore_title", one | version | {"paper": "P-1", "to": to})]
        bound = self.one.trade.kit.get(Lock, key_of("title", title.title))
        if bound is not None and self.random.random() < 0.2:
            order = {"module": "title", "asset": title.title, "order": "HCA 1/2026"}
            return [lambda: ("judge", "kernel", "order_release", order)]
        surrender = one | {"purpose": "AMENDMENT", "reason": self.random.choice(("SWTP", "COD", ""))}
        endorse = lambda: (title.holder, "title", "endorse_title", _handed(title.title, to))  # noqa: E731
        present = lambda: self.present(title, self.credit_of(title.holder))  # noqa: E731
        return [
            endorse,
            endorse,
            present,
            present,
            present,
            lambda: (title.holder, "title", "surrender_title", surrender),
        ]

    def credit_of(self, beneficiary: str) -> str:
        credits = self.one.trade.kit.entities(Credit)
        own = [each.credit for each in credits if each.beneficiary == beneficiary]
        return self.random.choice(own or [each.credit for each in credits])

    def title_of(self, found: Presentation) -> Title:
        titles = self.one.trade.kit.entities(Title)
        number = next((document.number for document in found.documents if document.kind == "EBL"), "")
        return next((each for each in titles if each.document.endswith(f"/{number}")), titles[0])

    def present(self, title: Title, credit: str, replaces: str = "") -> Choice:
        beneficiary = self.one.desk.get_credit(credit).beneficiary
        ebl: dict[str, Any] = {"title": title.title}
        if self.random.random() < 0.1:
            carrier, _, number = title.document.partition("/")
            ebl = {"issuer": carrier, "number": number}
        bank = self.random.choice(("bank-hk", "bank-hk", "bank-cn"))
        args = self.one.present_args(credit, MINOR, bank, **ebl, replaces=replaces)
        return beneficiary, "lc", "present_documents", args

    def pay(self, command: str, presentation: str, payer: str, payee: str) -> Choice:
        cash = self.one.desk.cash(payer, payee, ["USD", MINOR])
        return "settle-bank", "lc", command, {"presentation": presentation, "cash": cash}


def walk(seed: int, blocks: int) -> World:
    """A channel after so many random blocks; the whole walk follows from the seed."""
    world = World(Random(seed))
    for _ in range(blocks):
        world.block()
    world.one.trade.kit.check_invariants()
    return world
