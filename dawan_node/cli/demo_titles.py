"""The story of two channels: a bill of lading on one secures money lent on the other, until it is repaid.

Titles are on ``logistics``, receivables on ``trade``. What one channel has to know of the other is carried there as a
proof, as a relay does it, and read back from the chain. A step that ends otherwise than told raises ``DemoFailed``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from dawan_node.cli.demo_trade import BIC, DemoFailed
from dawan_node.cli.devnet_channels import LOGISTICS, TRADE
from dawan_node.cli.import_delivery import Patience
from dawan_node.cli.relay_sending import JournaledSending, journal_of
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.execution.dates import add_days, business_date
from dawan_node.execution.keys import key_of
from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.relay.carrier import Carrier
from dawan_node.relay.source import Source
from dawan_node.relay.target import LIGHT_CLIENT, Target
from dawan_node.rpc.client import Client, build_body, sign_transaction

#: The shipper and the seller are one house: it reserves the title on one channel and borrows against it on the other.
SHIPPER: Final = "gz-exporter"
SELLER: Final = "gz-supplier"
BUYER: Final = "gz-core"
BANK: Final = "hk-bank"
LINER: Final = "hk-carrier"
SETTLEMENT_BANK: Final = "gz-settlement"
#: Attests what the buyer paid, because a bank of the payer's own organisation would only announce it.
OTHER_SETTLEMENT_BANK: Final = "hk-settlement"
#: Anybody's key does; this one has no part in the business.
RELAY: Final = "mo-terminal"
CARRIER: Final = "SMDG-HMM"
FACE: Final = 50_000_000  # CNY 500,000.00 in fen
PRINCIPAL: Final = 45_000_000

_DAY_MS: Final = 86_400_000
_WAIT_MS: Final = 30_000
_TELLINGS_MAX: Final = 999


def tell_titles(client: Client, keys: Mapping[str, PrivateKey], folder: Path, say: Callable[[str], None]) -> None:
    """Tell the story; ``folder`` is for the relays' journals.

    Raises DemoFailed, RpcError, Unreachable, OperatorError.
    """
    story = TitleStory(client, keys)
    number = story.unused_number()
    with ExitStack() as stack:
        to_trade, to_logistics = story.relay(stack, folder, LOGISTICS), story.relay(stack, folder, TRADE)
        say("\nA bill of lading on the channel logistics, a receivable on the channel trade")
        story.enrol_carrier()
        title = story.bill(number)
        say(f"  {LINER} issued {title} to the order of {SHIPPER}")
        invoice = story.invoice(number)
        say(f"  {BUYER} confirmed that it owes CNY 500,000.00 to {SELLER}")
        say("\nThe bill secures a loan against the receivable")
        reservation = story.reserve(number, title)
        say(f"  {SHIPPER} reserves it for the loan: {reservation}")
        proven, _ = to_trade.prove(LIGHT_CLIENT, "reservation", key_of(reservation))
        financing = story.apply(number, proven.proof)
        say(f"  {SELLER} asks {BANK} for CNY 450,000.00, with the proof ({len(proven.proof):,} bytes) that it is")
        story.fund(number, financing)
        _expect(story, to_logistics, reservation, "CONFIRMED")
        say(f"  {BANK} pays; the proof of it binds the title")
        story.refuse_transfer(title)
        say(f"  {SHIPPER} tries to hand the title to somebody else: refused, E_LOCKED")
        say("\nThe buyer pays, and the bill is free")
        story.repay(number, invoice)
        _expect(story, to_logistics, reservation, "RELEASED")
        say(f"  {BUYER} paid {BANK}; the proof of it releases the title")
        story.send(LOGISTICS, SHIPPER, "title", "transfer_title", {"title": title, "to": "mo-buyer"})
        say(f"  {SHIPPER} hands {title} to mo-buyer")


def _expect(story: TitleStory, relay: Carrier, reservation: str, state: str) -> None:
    relay.settle(reservation)
    found = story.reservation_state(reservation)
    if found != state:
        raise DemoFailed(f"{reservation} is {found}, not {state}")


class TitleStory:
    """Each step of the story by itself; steps take a ``number`` that makes their records new."""

    def __init__(self, client: Client, keys: Mapping[str, PrivateKey]) -> None:
        self.client: Final = client
        self.keys: Final = keys
        self._chain_ids = {
            place: bytes.fromhex(client.channel_get(place)["chain_id"][2:]) for place in (TRADE, LOGISTICS)
        }
        self.today: Final = business_date(time.time_ns() // 1_000_000)

    def relay(self, stack: ExitStack, folder: Path, source: str, key: str = RELAY) -> Carrier:
        """What carries proofs from ``source`` to the other channel."""
        target = Target(self.client, LOGISTICS if source == TRADE else TRADE)
        journal = stack.enter_context(journal_of(target, self.keys[key], f"relay from {source}", folder, None))
        sending = JournaledSending(target, self.keys[key], journal, Patience(30))
        return Carrier(Source(self.client, source), target, sending, lambda carried: None)

    def unused_number(self) -> int:
        """The first number nobody used: the story can be told again on the same network."""
        for number in range(1, _TELLINGS_MAX + 1):
            if self.value(LOGISTICS, "title", "title", f"{CARRIER}/TALE-{number}") is None:
                return number
        raise DemoFailed("the story was told on this network too often; start with a new one")

    def enrol_carrier(self) -> None:
        """By vote, unless it is."""
        if self.value(LOGISTICS, "title", "carrier", CARRIER) is not None:
            return
        args = {"id": "carrier-hmm", "code": CARRIER, "org": "hk"}
        self.send(LOGISTICS, "gz-admin", "title", "propose_carrier", args)
        for org in ("gz", "hk", "mo"):
            vote = {"proposal": "carrier-hmm", "approve": True}
            self.send(LOGISTICS, f"{org}-admin", "governance", "vote", vote)
        self.send(LOGISTICS, "gz-admin", "title", "enact", {"proposal": "carrier-hmm"})

    def bill(self, number: int) -> str:
        """A bill to order, drafted, approved and issued to its shipper."""
        title, checksum = f"{CARRIER}/TALE-{number}", hashlib.sha256(b"the document").digest()
        bill = {
            "to_order": True, "shipper": SHIPPER, "port_of_loading": "CNYTN", "port_of_discharge": "MOMFM",
            "vessel": "9863297", "voyage": "402E", "boxes": [{"number": "CSQU3054383", "type": "22G1"}],
            "shipped_on": self.today,
        }  # fmt: skip
        draft = {"carrier": CARRIER, "reference": f"TALE-{number}", "bill": bill, "checksum": checksum}
        self.send(LOGISTICS, LINER, "title", "draft_title", draft)
        self.send(LOGISTICS, SHIPPER, "title", "approve_draft", {"title": title, "checksum": checksum})
        document = {
            "digest": hashlib.sha256(f"salt and document {number}".encode()).digest(),
            "size": 4_000,
            "readers": ["gz", "hk"],
            "retain_until": add_days(self.today, 3_650),
        }
        self.send(LOGISTICS, LINER, "title", "issue_title", {"title": title, "document": document})
        return title

    def invoice(self, number: int) -> str:
        """An invoice that its buyer confirmed, due today so that it can be paid at once; its identifier."""
        self.send(TRADE, SELLER, "receivable", "record_invoice", self._terms(number) | {"due_date": self.today})
        normalised = normalised_number(f"TALE-{number}") or ""
        identifier = invoice_id(SELLER, BUYER, normalised, self.today, Money("CNY", FACE))
        self.send(TRADE, BUYER, "receivable", "confirm_invoice", {"invoice": identifier})
        return identifier

    def reserve(self, number: int, title: str, **more: Any) -> str:
        """The title for the loan of that number; the reservation's name."""
        args = {
            "number": f"R-{number}",
            "title": title,
            "channel": TRADE,
            "purpose": "receivable.financing",
            "process": f"{SELLER}/F-{number}",
            "recipients": [BANK],
            "until_ms": time.time_ns() // 1_000_000 + 60 * _DAY_MS,
        }
        self.send(LOGISTICS, SHIPPER, "title", "reserve_title", args | more)
        return f"{SHIPPER}/R-{number}"

    def application(self, number: int) -> dict[str, Any]:
        """Arguments of the application but for the proof."""
        terms = self._terms(number)
        args = {"number": f"F-{number}", "invoice_number": terms.pop("number"), "financier": BANK}
        return args | terms | {"principal": ["CNY", PRINCIPAL], "rate_ppm": 30_000, "recourse": True}

    def apply(self, number: int, proof: bytes, *, expected: str = "") -> str:
        """The seller asks for money with the proof of a reservation; the financing's name."""
        args = self.application(number) | {"title_proof": proof}
        self.send(TRADE, SELLER, "receivable", "apply_invoice_financing", args, expected=expected)
        return f"{SELLER}/F-{number}"

    def fund(self, number: int, financing: str) -> None:
        """The bank takes it, and pays."""
        # Seller and buyer are of one organisation here, which the bank has to accept.
        self.send(TRADE, BANK, "receivable", "reserve_financing", {"financing": financing, "related": True})
        cash = self._cash(f"FUND TALE-{number}", BANK, SELLER, PRINCIPAL)
        self.send(TRADE, SETTLEMENT_BANK, "receivable", "fund_financing", {"financing": financing, "cash": cash})

    def repay(self, number: int, invoice: str) -> None:
        """The buyer pays the bank what it owes."""
        cash = self._cash(f"PAY TALE-{number}", BUYER, BANK, FACE)
        self.send(TRADE, OTHER_SETTLEMENT_BANK, "receivable", "settle_invoice", {"invoice": invoice, "cash": cash})

    def refuse_transfer(self, title: str) -> None:
        """A bound title stays where it is."""
        args = {"title": title, "to": "mo-buyer"}
        self.send(LOGISTICS, SHIPPER, "title", "transfer_title", args, expected="E_LOCKED")

    def reservation_state(self, reservation: str) -> str:
        """As the chain has it."""
        found = self.value(LOGISTICS, LIGHT_CLIENT, "reservation", reservation)
        return "" if found is None else str(found["state"])

    def value(self, place: str, module: str, collection: str, key: str) -> Any:
        """A record, None for none."""
        return self.client.state_get(place, module, collection, key_of(key))["value"]

    def send(
        self, place: str, person: str, module: str, command: str, args: Mapping[str, Any], *, expected: str = ""
    ) -> dict[str, Any]:
        """One transaction, final; its receipt. Raises DemoFailed when it ends otherwise than with ``expected``."""
        until_ms = time.time_ns() // 1_000_000 + 600_000
        body = build_body(self._chain_ids[place], module, command, args, valid_until_ms=until_ms)
        answer = self.client.tx_submit(place, sign_transaction(self.keys[person], body), "committed", _WAIT_MS)
        receipt: dict[str, Any] = answer["receipt"]
        if receipt["reason"] != expected:
            ended = receipt["reason"] or "success"
            raise DemoFailed(f"{module}.{command} by {person} on {place} ended with {ended}; tx {answer['tx_id']}")
        return receipt

    def _terms(self, number: int) -> dict[str, Any]:
        return {"number": f"TALE-{number}", "buyer": BUYER, "issue_date": self.today, "total": ["CNY", FACE]}

    def _cash(self, reference: str, payer: str, payee: str, minor: int) -> dict[str, Any]:
        names = {"bank": BIC, "reference": f"{self.today} {reference}", "payer": payer, "payee": payee}
        return names | {"amount": ["CNY", minor], "value_date": self.today}
