"""Random blocks of random commands: whatever is sent, in whatever order, every invariant holds after every block.

The kit checks the invariants; here the commands are chosen so that many of them succeed: each picks a title among those
that exist, usually with the party that may, sometimes with another one.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from random import Random
from typing import Any

from dawan_node.execution.keys import key_of
from dawan_node.modules.kernel.declaration import Lock
from dawan_node.modules.title.entities import Change, Succession, Title
from tests.modules.title_envelope_kit import act, entry, envelope, first, hash_of, issuance, manifest, sign
from tests.modules.title_kit import CARRIER, CARRIER_KEY, DEPARTING, DOCUMENT, PEOPLE, PLATFORM_KEY, Sea
from tests.modules.walk_shards import Lengths, Walks

PARTIES = sorted(PEOPLE)
#: Who receives titles here: banks among them, so that pledges meet their pledgee as holder.
RECEIVERS = ("bank-gz", "bank-hk", "buyer", "buyer-2", "forwarder", "shipper", "wave")
BANKS = ("bank-gz", "bank-hk")
#: Of the organisation of the buyers.
REVOKED = "bolero"
#: Of an organisation that left.
DEPARTED = "trader"
#: To whom a title is pledged that was revoked since, and a bank of its house.
LENDERS = {"bank-mo": ("mo", ["bank"]), "bank-mo-2": ("mo", ["bank"])}
#: Organisations that vote.
ADMINS = ("gz", "mo", "hq", "hk")
IDLE = {"agent": "idle-platform", "public_key": CARRIER_KEY.public_key}
#: Where a command goes that is not the module's.
MODULES = {"use": "credit", "vote": "governance"}
KINDS = ("ENDORSE", "ENDORSE_TO_ORDER", "ENDORSE_TO_ORDER", "BLANK_ENDORSE")
REASONS = ("", "SWTP", "SWTP", "COD")
# Days that pass before a block: mostly none, sometimes enough to make a pledge overdue or to end its lock.
DAYS = (0, 0, 0, 0, 4, 40)

Draw = tuple[int, ...]
Choice = tuple[str, str, dict[str, Any]]


@functools.cache
def beginning() -> Sea:
    """Every walk begins with the same seven titles."""
    sea = Sea({**DEPARTING, **LENDERS})
    sea.issued("T-0")
    sea.issued("T-1", sea.bill(consignee="buyer"))
    sea.issued("T-2", sea.straight())
    # Surrendered by somebody who was revoked before the carrier answered.
    title = sea.issued("T-3")
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to=REVOKED, hand_over_to=REVOKED)
    sea.ok(REVOKED, "surrender_title", title=title, purpose="AMENDMENT")
    sea.ok("mo-admin", "revoke", module="governance", name=REVOKED)
    title = sea.issued("P-0")
    sea.ok("shipper", "pledge_title", title=title, pledgee="bank-mo", matures=sea.day(20))
    sea.ok("mo-admin", "revoke", module="governance", name="bank-mo")
    # In the hands of an organisation that left, and surrendered by it.
    for reference in ("D-0", "D-1"):
        title = sea.issued(reference)
        sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to=DEPARTED, hand_over_to=DEPARTED)
    sea.ok(DEPARTED, "surrender_title", title=title, purpose="AMENDMENT")
    sea.let_go("sz")
    # Put to the vote, approved by two and by enough.
    for number, votes in ((0, 2), (1, 3)):
        sea.ok("gz-admin", "propose_carrier", id=f"c-{number}", code=f"SMDG-OO{number}", org="mo")
        sea.ok("gz-admin", "propose_platform", id=f"p-{number}", code="CARGO"[: 4 + number], **IDLE)
        for org in ADMINS[:votes]:
            for name in ("c", "p"):
                vote = {"proposal": f"{name}-{number}", "approve": True}
                sea.ok(f"{org}-admin", "vote", module="governance", **vote)
    sea.kit.check_what_changes()
    return sea


class World:
    """A channel with a few titles, and the choice of the next command from four random numbers."""

    def __init__(self) -> None:
        self.sea = copy.copy(beginning())
        self.sea.kit = beginning().kit.copy()

    def run(self, block: list[Draw], days: int) -> None:
        choices = [self.choose(*draw) for draw in block]
        self.sea.kit.pass_time(days=days)
        calls = [
            self.sea.call(person, command, module=MODULES.get(command, ""), **args) for person, command, args in choices
        ]
        for receipt, (person, command, _) in zip(self.sea.kit.block(*calls), choices, strict=True):
            # What a revoked identity signs, or one of an organisation that left, is no transaction of anybody.
            allowed = (1,) if person in (REVOKED, DEPARTED, "bank-mo") else (0, 2, 3)
            assert receipt.code in allowed, f"{command}: {receipt.code} {receipt.reason}"
            assert receipt.code == 0 or receipt.events == []

    def choose(self, what: int, a: int, b: int, c: int) -> Choice:
        if what % 24 == 23:
            return self.trust(a, b, c)
        titles = self.sea.kit.entities(Title)
        open_ones = [title for title in titles if title.replaced_by == ""] if c % 8 else titles
        title = open_ones[a % len(open_ones)]
        # Twins: two commands of one block choose alike often, because most titles are few.
        makers = self.makers(title, b, c)
        person, command, args = makers[what % len(makers)]()
        # One time in sixteen somebody else tries it.
        return (PARTIES[b % len(PARTIES)] if c % 16 == 0 else person), command, args

    def makers(self, title: Title, b: int, c: int) -> list[Callable[[], Choice]]:
        one = {"title": title.title}
        to = RECEIVERS[b % len(RECEIVERS)]
        if REVOKED in (title.holder, title.requester, title.endorsee) and c % 4:
            heir = {"revoked": REVOKED, "to": ("buyer", "buyer-2", to)[b % 3]}
            return [lambda: ("mo-admin", "succeed_title", one | heir)]
        if DEPARTED in (title.holder, title.requester, title.endorsee) and c % 4:
            return self.departures(title, a=b // 3, c=c)
        begin = [lambda: self.draft(b), lambda: self.receive(title, b, c)]
        if title.state == "DRAFT":
            approve = {"checksum": title.checksum if c % 4 else DOCUMENT}
            return [lambda: (title.bill.shipper, "approve_draft", one | approve), *begin]
        if title.state == "APPROVED":
            return [lambda: ("liner", "issue_title", one | {"document": self.sea.document()}), *begin]
        if title.state.startswith("PENDING"):
            paper = {"paper": "P-1" if (title.reason == "SWTP") == (c % 8 > 0) else ""}
            return [
                lambda: ("liner", "accept_surrender", one | paper),
                lambda: ("liner-desk", "accept_surrender", one | paper),
                lambda: ("liner", "reject_surrender", one | {"why": "?"}),
                lambda: (title.requester, "withdraw_surrender", one),
                lambda: (title.requester, "transfer_title", one | {"to": to}),
            ]
        again = {"bill": self.bill(b), "checksum": bytes([b % 256]) * 32, "document": self.sea.document()}
        if title.state == "SURRENDERED_FOR_AMENDMENT":
            reissue = lambda: ("liner", "reissue_title", one | again)  # noqa: E731
            return [reissue, reissue, lambda: (title.requester, "withdraw_surrender", one)]
        if title.state == "VOIDED" and title.medium == "PAPER":
            return [lambda: ("liner", "restore_title", one | again | {"paper": "P-1", "to": to}), *begin]
        holder = title.holder if title.holder in PEOPLE else title.requester or "shipper"
        kind = KINDS[b % len(KINDS)]
        endorse = {"kind": kind, "to": "" if kind == "BLANK_ENDORSE" else to, "hand_over_to": to if c % 2 else ""}
        purpose = ("DELIVERY", "AMENDMENT", "AMENDMENT", "AMENDMENT")[c % 4]
        surrender = {"purpose": purpose, "reason": REASONS[b % 4] if purpose == "AMENDMENT" else ""}
        bound = self.sea.kit.get(Lock, key_of("title", title.title))
        if bound is not None and bound.owner == "bank-mo" and c % 4:
            heir = {"revoked": "bank-mo", "to": ("bank-mo-2", "bank-mo-2", to)[b % 3]}
            return [lambda: ("mo-admin", "succeed_title", one | heir)]
        if bound is not None and c % 4:
            # Mostly what ends it, so that walks get past the beginning.
            process = {"process": bound.owner.partition(":")[2]}
            if ":" in bound.owner:
                return [
                    lambda: (holder, "use", one | process | {"function": "unbind"}),
                    lambda: (to, "use", one | process | {"function": "pass_on", "to": to}),
                ]
            return [
                lambda: (holder, "transfer_title", one | {"to": bound.owner}),
                lambda: (holder, "endorse_title", one | endorse | {"kind": "ENDORSE", "to": bound.owner}),
                lambda: (bound.owner, "release_pledge", one),
                lambda: (bound.owner, "enforce_pledge", one),
                lambda: (bound.owner, "enforce_pledge", one),
            ]
        pledge = {"pledgee": BANKS[b % 2], "matures": self.sea.day(b % 4)}
        return [
            *begin,
            lambda: (holder, "transfer_title", one | {"to": to}),
            lambda: (holder, "transfer_title", one | {"to": to}),
            lambda: (holder, "endorse_title", one | endorse),
            lambda: (holder, "endorse_title", one | endorse),
            lambda: (holder, "reject_transfer", one),
            lambda: (holder, "sign_title", one),
            lambda: (title.endorsee or to, "nominate_endorsee", one | {"nominee": to}),
            lambda: (holder, "confirm_nomination", one | {"nominee": title.nominee}),
            lambda: (holder, "pledge_title", one | pledge),
            lambda: (holder, "pledge_title", one | pledge),
            lambda: (BANKS[b % 2], "release_pledge", one),
            lambda: (holder, "surrender_title", one | surrender),
            lambda: (holder, "surrender_title", one | surrender),
            lambda: (holder, "use", one | {"function": "bind", "process": f"LC-{b % 2}"}),
        ]

    def departures(self, title: Title, a: int, c: int) -> list[Callable[[], Choice]]:
        """A court's order about a title of the organisation that left: given, recalled, carried out."""
        orders = [each for each in self.sea.kit.entities(Succession) if each.title == title.title]
        heir = ("buyer", "bank-hk", "buyer-2", "wave")[a % 4]
        new = {"title": title.title, "former": DEPARTED, "heir": heir, "order": f"O-{len(orders)}"}
        give = lambda: (("judge", "judge-gz")[c % 2], "order_succession", new | {"evidence": DOCUMENT})  # noqa: E731
        standing = [each for each in orders if each.state == "ORDERED"]
        if not standing:
            return [give]
        order = standing[0]
        one = {"title": title.title, "order": order.order}
        take = lambda: (order.heir, "take_succession", one)  # noqa: E731
        return [take, take, take, give, lambda: (order.ordered_by, "recall_succession", one)]

    def trust(self, a: int, b: int, c: int) -> Choice:
        """Something about whom the channel believes: proposed, voted on, enacted."""
        changes = self.sea.kit.entities(Change)
        admin = f"{ADMINS[b % 4]}-admin"
        proposal = changes[a % len(changes)].proposal
        new, key = f"n-{len(changes)}", ((CARRIER_KEY, PLATFORM_KEY)[b % 2]).public_key
        choices: list[Choice] = [
            (admin, "vote", {"proposal": proposal, "approve": c % 32 != 3}),
            (admin, "vote", {"proposal": proposal, "approve": True}),
            (admin, "enact", {"proposal": proposal}),
            (admin, "enact", {"proposal": proposal}),
            (admin, "propose_carrier", {"id": new, "code": f"SMDG-OO{c % 4}", "org": ADMINS[a % 4], "public_key": key}),
            (admin, "propose_platform", {"id": new, "code": "CARGO"[: 3 + c % 3], **IDLE}),
        ]
        return choices[c // 4 % len(choices)]

    def bill(self, b: int) -> dict[str, Any]:
        return self.sea.straight() if b % 5 == 0 else self.sea.bill(consignee="bank-hk" if b % 5 == 1 else "")

    def draft(self, b: int) -> Choice:
        args = {"carrier": CARRIER, "reference": f"T-{b % 6}", "bill": self.bill(b), "checksum": bytes([b % 256]) * 32}
        return "liner", "draft_title", args

    def receive(self, title: Title, b: int, c: int) -> Choice:
        """A new title from another platform, or one that this channel may have sent there."""
        to = RECEIVERS[b % len(RECEIVERS)]
        endorse = act("ENDORSE_TO_ORDER", "ACME", to, "DAWAN")
        transfer = act("TRANSFER", "ACME", to, "DAWAN")
        if c % 2:
            checksum = bytes([4 + b % 4]) * 32
            own = {"checksum": checksum, "issuanceManifestSignedContent": issuance(checksum)}
            chain = sign(first(act("ISSUE", "HMM", "ACME"), endorse, transfer, **own))
            signed = sign(manifest(hash_of(chain), checksum))
            more = {"reference": f"T-{4 + b % 4}", "recipient": to, "checksum": checksum, "manifest": signed}
            return "wave", "receive_envelope", envelope(self.sea, chain, **more)
        done = [endorse, transfer] if title.endorsee in ("", "wave") and title.bill.to_order else [transfer]
        link = {"previousEnvelopeTransferChainEntrySignedContentChecksum": title.head.hex()}
        chain = sign(entry(*done, checksum=title.checksum, **link))
        more = {"manifest": sign(manifest(hash_of(chain), title.checksum))}
        more |= {"reference": title.document.partition("/")[2], "checksum": title.checksum, "recipient": to}
        return "wave", "receive_envelope", envelope(self.sea, chain, **more)


def walk(seed: int, blocks: int) -> World:
    """A channel after so many random blocks; the whole walk follows from the seed."""
    random = Random(seed)
    world = World()
    for _ in range(blocks):
        draws = [tuple(random.randrange(2**16) for _ in range(4)) for _ in range(random.randint(1, 4))]
        if random.random() < 0.3:
            # Races: two commands of the block are about the same title.
            draws.append((random.randrange(2**16), draws[0][1], *draws[0][2:]))
        world.run(draws, random.choice(DAYS))
    world.sea.kit.check_invariants()
    return world


WALKS = Walks("title", beginning, walk, Lengths(5, 20), Lengths(10, 10))
