"""Random walks over two channels: messages are lost, late, repeated and out of order, clocks apart, acts at random.

Whatever happens, one title serves one process, what a bank honoured in time it gets when the proof comes, and every
lock ends. The modules' own invariants hold after every block of either channel (the kit checks them).
"""

from __future__ import annotations

import functools
from random import Random
from typing import Any, Final, Literal

import msgspec

from dawan_node.execution.module import Identity, key_of
from dawan_node.modules.lc.entities import DRAWN_STATES, BoundTitle, Reimbursement, ReimbursementState
from dawan_node.modules.light_client import Commitment, Reservation, lock_owner
from dawan_node.modules.receivable.entities import Financing, Surplus
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.channels_kit import HOUR_MS, Channels, Place, enrol, seats
from tests.modules.walk_shards import Lengths, Walks

CREDITS = ("buyer-a/LC-1", "buyer-a/LC-2")
FINANCINGS = tuple(f"seller-a/F-{number}" for number in range(1, 7))
TITLES = ("SMDG-HMM/HKG-1", "SMDG-HMM/HKG-2")
#: The bank that honours and lends, which may be revoked on either channel, and the one of its house that then acts.
BANK, HEIR = "bank-hk", "bank-hk-2"
#: Mostly little passes; sometimes a term is over, a receivable due, or a lock.
PASSES = (HOUR_MS, HOUR_MS, HOUR_MS, 20 * HOUR_MS, 73 * HOUR_MS, 73 * HOUR_MS, 20 * DAY_MS, 181 * DAY_MS)

Kind = Literal["", "LENT", "HONOURED"]
KINDS: Final[tuple[Kind, ...]] = ("", "LENT", "HONOURED")


@functools.cache
def beginning(kind: Kind) -> Channels:
    """Two titles, two credits, two invoices; ``LENT``: a bank paid out on the first invoice and the first title, and
    was not repaid; ``HONOURED``: it honoured documents with the first title, and has it."""
    two = Channels()
    for place in (two.logistics, two.trade):
        enrol(place, "hk", HEIR, "bank")
    for title in TITLES:
        two.title(title.partition("/")[2])
    for credit in CREDITS:
        two.desk.credit(number=credit.partition("/")[2])
    two.factoring.invoice("INV-1", seller="seller-a")
    two.factoring.invoice("INV-2", seller="seller-a", minor=7_000_00)
    if kind == "LENT":
        reservation = two.reserve(TITLES[0], FINANCINGS[0], "receivable.financing")
        proof = two.reservation_proof(reservation)
        invoice = next(each.invoice for each in invoices_of(two) if each.number == "INV-1")
        args = two.application(FINANCINGS[0][-3:], invoice, title_proof=proof)
        two.trade.ok("seller-a", "receivable", "apply_invoice_financing", **args)
        two.trade.ok("bank-hk", "receivable", "reserve_financing", financing=FINANCINGS[0])
        two.fund(FINANCINGS[0])
        two.pass_time(days=181)
        two.trade.ok("bank-hk", "receivable", "claim_recourse", financing=FINANCINGS[0])
        BEGUN.append((kind, reservation, proof))
    if kind == "HONOURED":
        reservation = two.reserve(TITLES[0], CREDITS[0])
        proof = two.reservation_proof(reservation)
        presentation = two.present(CREDITS[0], 30_000_00, proof=proof)
        two.desk.comply(presentation)
        two.desk.honour(presentation)
        two.settle(reservation)
        BEGUN.append((kind, reservation, proof))
    for place in (two.logistics, two.trade):
        place.kit.check_what_changes()
    return two


#: The reservation that a beginning rests on, and its proof.
BEGUN: list[tuple[Kind, str, bytes]] = []


def invoices_of(two: Channels) -> Any:
    return two.trade.kit.query("invoices", {"party": "seller-a", "side": "seller"}, module="receivable")[0]


class World:
    """Two titles, two credits, two invoices, and the post: proofs that were made and may arrive at any time."""

    def __init__(self, random: Random) -> None:
        self.random = random
        (kind,) = random.choices(KINDS, (4, 3, 3))
        begun = beginning(kind)
        self.two = Channels()
        self.two.logistics, self.two.trade = Place(begun.logistics.kit.copy()), Place(begun.trade.kit.copy())
        self.two.sea.kit.inner = self.two.logistics.kit
        self.two.desk.kit.inner = self.two.factoring.kit.inner = self.two.trade.kit
        self.two.desk._numbers = 100 + begun.desk._numbers
        self.two.factoring._references, self.two._numbers = begun.factoring._references, begun._numbers
        self.invoices = {
            financing: next(each for each in invoices_of(self.two) if each.number == f"INV-{1 + number % 2}").invoice
            for number, financing in enumerate(FINANCINGS)
        }
        #: (reservation, proof) that came from the titles' channel, and from the other one.
        self.reserved: list[tuple[str, bytes]] = [
            (reservation, proof) for of, reservation, proof in BEGUN if of == kind
        ]
        self.outcomes: list[tuple[str, bytes]] = []
        self.names = [name for name, _ in self.reserved]
        #: (presentation, proof) that the bank which honoured reserved the title once more, for its claim.
        self.handed: list[tuple[str, bytes]] = []

    # -- one step

    def step(self) -> None:
        (act,) = self.random.choices(
            (
                self.reserve, self.commit, self.prove, self.settle, self.process, self.move, self.wait, self.trust,
                self.lose,
            ),
            (8, 8, 6, 6, 12, 2, 2, 1, 0.5),
        )  # fmt: skip
        act()
        self.check()

    def acting(self, place: Place) -> str:
        """Who acts for the bank on a channel now."""
        # On record here once it changed; before that it stands in the genesis.
        changed = place.kit.get(Identity, key_of(BANK))
        return BANK if changed is None or changed.status == "active" else HEIR

    def lose(self) -> None:
        """The bank's identity is revoked on a channel, once; what it held there another one of its house takes over."""
        place = self.random.choice((self.two.logistics, self.two.trade))
        if self.acting(place) == BANK:
            self.run(place, "hk-admin", "governance", "revoke", name=BANK)
        elif place is self.two.logistics:
            self.succeed(self.random.choice(TITLES))

    def succeed(self, title: str) -> None:
        args = {"title": title, "revoked": BANK, "to": HEIR}
        self.run(self.two.logistics, "hk-admin", "title", "succeed_title", **args)

    def run(self, place: Place, person: str, where: str, command: str, /, **args: Any) -> bool:
        person = self.acting(place) if person == BANK else person
        call = place.call(person, where, command, **args)
        calls = [call]
        if self.random.random() < 0.2:
            # The same again in one block, as a nervous sender does.
            calls.append(place.call(person, where, command, **args))
        receipts = place.kit.block(*calls)
        for receipt in receipts:
            assert receipt.code in (0, 2, 3), f"{command}: {receipt.code} {receipt.reason}"
        if command in ("reserve_title", "settle_title", "present_documents", "apply_invoice_financing"):
            assert sum(receipt.code == 0 for receipt in receipts) <= 1, f"{command} worked twice"
        return receipts[0].code == 0

    def reserve(self) -> None:
        for_credit = self.random.random() < 0.5
        unused = [name for name in FINANCINGS if self.financing(name) is None]
        process = self.random.choice(CREDITS if for_credit else unused or FINANCINGS)
        days = self.random.choice((20, 300, 300, 300))
        free = [title for title in TITLES if not self.two.logistics.lock(title) and self.two.holder(title) == "shipper"]
        if not free and self.random.random() < 0.8:
            self.move()
            return
        args = self.two.reserve_args(
            self.random.choice(free if free and self.random.random() < 0.9 else TITLES),
            process,
            "lc.presentation" if for_credit else "receivable.financing",
            recipients=[self.acting(self.two.logistics), "bank-gz"],
            until_ms=self.two.logistics.kit.time_ms + days * DAY_MS,
        )
        if self.run(self.two.logistics, "shipper", "title", "reserve_title", **args):
            name = f"shipper/{args['number']}"
            self.names.append(name)
            self.reserved.append((name, self.two.reservation_proof(name)))

    def commit(self) -> None:
        if not self.reserved:
            return
        # Any proof that ever was, now and then for a process that it is not for.
        name, proof = self.random.choice(self.reserved[-2:] if self.random.random() < 0.8 else self.reserved)
        process = self.two.reservation(name).process
        if self.random.random() < 0.1:
            process = self.random.choice((*CREDITS, *FINANCINGS))
        if process in CREDITS:
            args = self.two.present_args(process, self.random.choice((5_000_00, 30_000_00)), proof=proof)
            self.run(self.two.trade, "seller-a", "lc", "present_documents", **args)
        else:
            args = self.two.application(process[-3:], self.invoices[process], title_proof=proof)
            self.run(self.two.trade, "seller-a", "receivable", "apply_invoice_financing", **args)

    def prove(self) -> None:
        """A proof of what the consumer made of a reservation so far; it may arrive, late or never."""
        if self.names:
            name = self.random.choice(self.names[-2:] if self.random.random() < 0.8 else self.names)
            self.outcomes.append((name, self.two.commitment_proof(name)))

    def settle(self) -> None:
        if not self.outcomes:
            return
        name, proof = self.random.choice(self.outcomes[-2:] if self.random.random() < 0.7 else self.outcomes)
        if self.random.random() < 0.1:
            name = self.random.choice(self.names)
        args = {"reservation": name, "proof": proof}
        if self.run(self.two.logistics, "relay", "title", "settle_title", **args):
            found = self.two.reservation(name)
            if found.state == "PASSED":
                assert self.two.holder(found.asset) == found.recipient
                wanted = ("bank-gz",) if found.purpose == "lc.reimbursement" else (BANK, HEIR)
                assert found.recipient in wanted

    def process(self) -> None:
        """The next thing that happens to a presentation or a financing; sometimes one that cannot."""
        if self.random.random() < 0.5:
            credit = self.random.choice(CREDITS)
            count = self.two.desk.get_credit(credit).presentations
            if count:
                self.examine(f"{credit}#{count if self.random.random() < 0.7 else self.random.randint(1, count)}")
        else:
            known = [name for name in FINANCINGS if self.financing(name) is not None]
            if self.random.random() < 0.1:
                self.finance(self.random.choice(FINANCINGS))
            elif known:
                self.finance(self.random.choice(known))
            else:
                self.commit()

    def examine(self, name: str) -> None:
        if self.two.desk.get(name).state in DRAWN_STATES:
            self.reimburse(name)
            return
        sensible = {
            "RECEIVED": ("find_complying", "find_complying", "refuse_presentation"),
            "COMPLYING": ("honour_presentation", "honour_presentation", "return_documents"),
            "REFUSED": ("return_documents",),
        }.get(self.two.desk.get(name).state, ("return_documents", "honour_presentation"))
        command = self.random.choice(sensible)
        more = {"findings": ["unsigned"], "disposal": "HELD"} if command == "refuse_presentation" else {}
        complying = self.two.desk.get(name).state == "COMPLYING"
        person = "seller-a" if complying and command == "return_documents" else "bank-hk"
        self.run(self.two.trade, person, "lc", command, presentation=name, **more)

    def reimburse(self, name: str) -> None:
        """The next thing that happens between the banks, and to the title on its channel."""
        found = self.two.desk.get(name)
        claim = self.two.trade.kit.get(Reimbursement, key_of(name))
        one = {"presentation": name}
        if claim is None or claim.state == ReimbursementState.WITHDRAWN:
            self.hand_over(name)
            return
        amount = ["USD", found.amount.minor]
        person, command, more = self.random.choice(
            (
                ("bank-cn", "accept_reimbursement", {}),
                ("bank-cn", "refuse_reimbursement", {"findings": ["unsigned"]}),
                ("bank-hk", "withdraw_reimbursement", {}),
                ("settle-bank", "pay_reimbursement", {"cash": self.two.desk.cash("bank-cn", "bank-hk", amount)}),
                ("settle-bank", "pay_reimbursement", {"cash": self.two.desk.cash("bank-cn", "bank-hk", amount)}),
                ("settle-bank", "pay_presentation", {"cash": self.two.desk.cash("bank-hk", "seller-a", amount)}),
                ("bank-cn", "release_documents", {}),
            )
        )
        self.run(self.two.trade, person, "lc", command, **one, **more)

    def hand_over(self, name: str) -> None:
        """The bank that honoured gets the title, reserves it for its claim, and claims."""
        proofs = [proof for presentation, proof in self.handed if presentation == name]
        (bound,) = [each for each in self.two.trade.kit.entities(BoundTitle) if each.presentation == name]
        commitment = self.two.trade.kit.get(Commitment, key_of(bound.commitment))
        assert commitment is not None
        if self.two.reservation(commitment.reservation).state != "PASSED" and self.random.random() < 0.8:
            self.outcomes.append((commitment.reservation, self.two.commitment_proof(commitment.reservation)))
            self.settle()
        elif self.two.holder(bound.title) == BANK != self.acting(self.two.logistics):
            self.succeed(bound.title)
        elif self.random.random() < (0.2 if proofs else 0.8):
            until_ms = self.two.logistics.kit.time_ms + 300 * DAY_MS
            more = {"recipients": ["bank-gz"], "until_ms": until_ms}
            args = self.two.reserve_args(bound.title, name, "lc.reimbursement", **more)
            if self.run(self.two.logistics, BANK, "title", "reserve_title", **args):
                self.names.append(f"{self.acting(self.two.logistics)}/{args['number']}")
                self.handed.append((name, self.two.reservation_proof(self.names[-1])))
        else:
            args = {"presentation": name, "proofs": proofs[-1:]}
            against = self.random.choice(("PAYMENT", "ACCEPTANCE"))
            self.run(self.two.trade, "bank-hk", "lc", "claim_reimbursement", **args, against=against)

    def financing(self, name: str) -> Financing | None:
        return self.two.trade.kit.get(Financing, key_of(name))

    def finance(self, name: str) -> None:
        found = self.financing(name)
        sensible = {
            "APPLIED": ("reserve_financing", "reserve_financing", "reject_financing", "withdraw_financing"),
            "RESERVED": ("fund_financing", "fund_financing", "reject_financing", "expire_financing"),
            "FUNDED": ("settle_invoice", "claim_recourse", "take_title"),
            "RECOURSE": ("take_title", "settle_invoice"),
        }.get("" if found is None else found.state, ("take_title", "reject_financing"))
        security = self.two.security(name)
        if security == "TAKEN" and self.random.random() < 0.4:
            goods = self.two.factoring.cash("core-1", "bank-hk", ["CNY", self.random.choice((1, 10**8, 2 * 10**9))])
            self.run(self.two.trade, "settle-bank", "receivable", "account_title", financing=name, cash=goods)
            return
        owed = self.two.trade.kit.get(Surplus, key_of(name, "TITLE"))
        if owed is not None and self.random.random() < 0.5:
            back = self.two.factoring.cash("bank-hk", "seller-a", ["CNY", owed.amount.minor])
            args = {"financing": name, "cash": back, "source": "TITLE"}
            self.run(self.two.trade, "settle-bank", "receivable", "return_surplus", **args)
            return
        command = self.random.choice(sensible)
        invoice = self.two.factoring.get_invoice(self.invoices[name])
        total = invoice.total.minor
        if command == "fund_financing":
            cash = self.two.factoring.cash("bank-hk", "seller-a", ["CNY", total * 9 // 10])
            self.run(self.two.trade, "settle-bank", "receivable", command, financing=name, cash=cash)
        elif command == "settle_invoice":
            cash = self.two.factoring.cash("core-1", invoice.payee, ["CNY", total])
            self.run(self.two.trade, "settle-bank", "receivable", command, invoice=invoice.invoice, cash=cash)
        else:
            person = "seller-a" if command == "withdraw_financing" else "bank-hk"
            self.run(self.two.trade, person, "receivable", command, financing=name)

    def move(self) -> None:
        title = self.random.choice(TITLES)
        away = [each for each in TITLES if self.two.holder(each) != "shipper"]
        if away and self.random.random() < 0.7:
            title = away[0]
        holder = self.two.holder(title)
        if holder == BANK != self.acting(self.two.logistics):
            self.succeed(title)
            return
        to = "shipper" if holder != "shipper" else self.random.choice(("buyer", "bank-hk"))
        args = {"title": title, "kind": "ENDORSE_TO_ORDER", "to": to, "hand_over_to": to}
        self.run(self.two.logistics, holder, "title", "endorse_title", **args)

    def wait(self) -> None:
        """Clocks of the two channels go apart and come together again."""
        ms = self.random.choice(PASSES)
        which = self.random.random()
        if which < 0.2:
            self.two.logistics.kit.pass_time(min(ms, 2 * HOUR_MS))
        elif which < 0.4:
            self.two.trade.kit.pass_time(min(ms, 2 * HOUR_MS))
        else:
            self.two.pass_time(ms)

    def trust(self) -> None:
        """One channel's client of the other: frozen by two proofs of one height, begun anew by a vote, or by half."""
        titles = self.random.random() < 0.5
        of, place = (self.two.logistics, self.two.trade) if titles else (self.two.trade, self.two.logistics)
        source = "logistics" if titles else "trade"
        if self.two.client(place, source).state == "ACTIVE" and self.random.random() < 0.6:
            newest = of.kit.blocks[-1]
            other = msgspec.structs.replace(newest.result, state_root=bytes(32))
            proofs = {"first": of.prover.finality()}
            # What no honest quorum signs, or the same as before, which freezes nothing.
            lie = self.random.random() < 0.7
            result = other if lie else newest.result
            proofs["second"] = of.prover.forged(newest.header, result, of.prover.validators(newest.header), view=1)
            self.run(place, "relay", "light_client", "report_conflict", source=source, **proofs)
            return
        name = f"again-{place.kit.height}"
        anew = {"chain_id": of.kit.genesis.chain_id, "validators": seats(of.kit.genesis.validator_set)}
        anew |= {"source": source, "modules": ["light_client", "title"] if titles else ["light_client"]}
        self.run(place, "gz-admin", "light_client", "propose_client", id=name, **anew)
        for org in ("gz", "hk", "mo")[self.random.random() < 0.1 :]:
            self.run(place, f"{org}-admin", "governance", "vote", proposal=name, approve=True)
        self.run(place, "gz-admin", "light_client", "enact", proposal=name)

    # -- what holds

    def check(self) -> None:
        logistics, trade = self.two.logistics, self.two.trade
        relied: dict[str, str] = {}
        for commitment in trade.kit.entities(Commitment):
            live = commitment.until_ms > max(trade.kit.time_ms, logistics.kit.time_ms)
            reservation = logistics.kit.get(Reservation, key_of(commitment.reservation))
            assert reservation is not None
            if commitment.state == "COMMITTED" and live:
                before = relied.setdefault(commitment.asset, commitment.commitment)
                assert before == commitment.commitment, f"{commitment.asset} serves two processes"
                assert reservation.state in ("RESERVED", "CONFIRMED"), f"{commitment.asset} was let go"
                assert logistics.lock(commitment.asset) == lock_owner(commitment.reservation)
            if commitment.state == "PASSED" and live and reservation.state != "PASSED":
                # Honoured, and the proof is still under way: nobody else has the title.
                assert logistics.lock(commitment.asset) == lock_owner(commitment.reservation)
            if reservation.state == "PASSED":
                assert commitment.state == "PASSED", f"{commitment.asset} passed and nobody honoured"
            if reservation.state == "RELEASED":
                assert commitment.state == "RETURNED", f"{commitment.asset} was let go under {commitment.state}"

    def end(self) -> None:
        """Every lock ends, and the titles can move."""
        self.two.pass_time(days=400)
        calls = []
        for title in TITLES:
            if self.two.holder(title) == BANK != self.acting(self.two.logistics):
                self.succeed(title)
            holder = self.two.holder(title)
            assert self.two.logistics.lock(title) == ""
            to = "buyer" if holder != "buyer" else "shipper"
            calls.append(self.two.logistics.call(holder, "title", "transfer_title", title=title, to=to))
        assert self.two.logistics.race(*calls) == ["", ""]


def walk(seed: int, steps: int) -> World:
    """Two channels after so many random steps; all of it follows from the seed."""
    world = World(Random(seed))
    for _ in range(steps):
        world.step()
    world.end()
    for place in (world.two.logistics, world.two.trade):
        place.kit.check_invariants()
    return world


#: Steps are blocks here, more or less.
WALKS = Walks("light_client", lambda: [beginning(kind) for kind in KINDS], walk, Lengths(4, 60), Lengths(20, 20))
