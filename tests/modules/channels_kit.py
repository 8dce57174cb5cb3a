"""Two channels in one test: titles on ``logistics``, credits and receivables on ``trade``, each a source of the other.

    two = Channels()
    title = two.sea.issued()
    reservation = two.reserve(title, process="buyer-a/LC-1")
    two.present("buyer-a/LC-1", proof=two.reservation_proof(reservation))

Proofs are bytes that a test carries, loses or brings twice.
``sea`` and ``desk`` are the kits of the modules' own tests on these channels. Certificates are made by the validators'
real keys. Time passes on both channels alike unless a test says otherwise.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from dawan_node.execution.module import Module, key_of
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.kernel.declaration import Lock
from dawan_node.modules.lc import module as lc
from dawan_node.modules.lc.entities import BoundTitle
from dawan_node.modules.light_client import Client, Commitment, Reservation
from dawan_node.modules.light_client import module as light_client
from dawan_node.modules.light_client.reservations import commitment_name
from dawan_node.modules.receivable import module as receivable
from dawan_node.modules.receivable import version_2
from dawan_node.modules.receivable.entities import TitleSecurity
from dawan_node.modules.refdata import module as refdata
from dawan_node.modules.title import module as title_module
from dawan_node.modules.title.entities import Carrier, Title
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.channel_proofs import Prover
from dawan_node.testing.module_kit import DAY_MS, ModuleKit, private_key_of, seat_args
from dawan_node.testing.trade import Trade
from tests.modules.lc_kit import Desk
from tests.modules.refdata_kit import Reference
from tests.modules.title_kit import CARRIER, CARRIER_KEY, DOCUMENT, Sea

HOUR_MS: Final = 3_600_000
#: The seller has another name on each channel and one organisation.
TRADERS: Final = {
    "buyer-a": ("gz", ["buyer"]),
    "core-1": ("gz", ["buyer", "core_enterprise"]),
    "seller-a": ("sz", ["exporter", "supplier"]),
    "seller-b": ("fs", ["exporter", "supplier"]),
    "bank-cn": ("gz", ["bank"]),
    "bank-hk": ("hk", ["bank"]),
    "bank-mo": ("mo", ["bank"]),
    "settle-bank": ("hq", ["settlement_bank"]),
    "settle-hk": ("hk", ["settlement_bank"]),
    "customs-gz": ("hq", ["customs"]),
    "judge": ("hq", ["court"]),
    "relay": ("mo", ["forwarder"]),
}
SHIPPERS: Final = {
    "liner": ("hk", ["carrier"]),
    "shipper": ("sz", ["exporter"]),
    "shipper-b": ("fs", ["exporter"]),
    "bank-gz": ("gz", ["bank"]),
    "bank-hk": ("hk", ["bank"]),
    "bank-mo": ("mo", ["bank"]),
    "buyer": ("mo", ["buyer"]),
    "judge": ("hq", ["court"]),
    "relay": ("mo", ["terminal"]),
}
#: Where everything is one channel there is a central bank, and the seller's organisation has a bank of its own.
OFFICES: Final = {
    "pboc-gz": ("hq", ["pboc"]),
    "settle-sz": ("sz", ["settlement_bank"]),
}
#: Who can get a title that secures or is presented: the seller's choice of banks on the titles' channel.
BANKS: Final = ["bank-hk", "bank-gz"]


class Door:
    """A kit whose transactions are for one module, as the module's own test kit expects it."""

    def __init__(self, kit: ModuleKit, module: str) -> None:
        self.inner = kit
        self.module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def call(self, person: str, command: str, args: Any = None, *, module: str = "") -> Transaction:
        return self.inner.call(person, command, args, module=module or self.module)

    def run(self, person: str, command: str, args: Any = None, *, module: str = "") -> Receipt:
        return self.inner.run(person, command, args, module=module or self.module)

    def query(self, query: str, params: Any = None, *, module: str = "", **more: Any) -> Any:
        return self.inner.query(query, params, module=module or self.module, **more)


def passed_by_vote(kit: ModuleKit, module: str, command: str, **args: Any) -> None:
    """A proposal, three votes, and its enactment."""
    name = f"vote-{kit.height}"
    for person, asked, what, where in (
        ("gz-admin", command, {"id": name, **args}, module),
        *((f"{org}-admin", "vote", {"proposal": name, "approve": True}, "governance") for org in ("gz", "hk", "mo")),
        ("gz-admin", "enact", {"proposal": name}, module),
    ):
        receipt = kit.run(person, asked, what, module=where)
        assert receipt.code == 0, f"{asked}: {receipt.code} {receipt.reason}"


def seats(validators: ValidatorSet) -> list[dict[str, Any]]:
    """A validator set as commands take it."""
    return [{"suite": suite, "public_key": key} for suite, key in validators.members]


def believe(kit: ModuleKit, source: str, of: ModuleKit, modules: list[str], **more: Any) -> None:
    """A client of another kit's channel, by vote."""
    args = {"source": source, "chain_id": of.genesis.chain_id, "validators": seats(of.genesis.validator_set)}
    passed_by_vote(kit, "light_client", "propose_client", **(args | {"modules": modules} | more))


def copy_of(kit: ModuleKit) -> ModuleKit:
    """A kit that goes its own way from here."""
    return kit.copy()


@functools.cache
def _trade() -> ModuleKit:
    reference = Reference(lc, receivable, kernel, light_client, people=TRADERS)
    reference.seed("calendar_cn", "calendar_hk", "currency")
    return reference.kit


@functools.cache
def _together() -> tuple[ModuleKit, ModuleKit]:
    logistics = ModuleKit([title_module, kernel, refdata, light_client], SHIPPERS)
    passed_by_vote(logistics, "title", "propose_carrier", code=CARRIER, org="hk", public_key=CARRIER_KEY.public_key)
    trade = copy_of(_trade())
    believe(trade, "logistics", logistics, ["light_client", "title"])
    believe(logistics, "trade", trade, ["light_client"])
    logistics.time_ms = trade.time_ms = max(logistics.time_ms, trade.time_ms)
    return logistics, trade


@functools.cache
def _alone() -> ModuleKit:
    people = {**SHIPPERS, **TRADERS, **OFFICES}
    modules: list[Module] = [lc, version_2, title_module, kernel, light_client]
    reference = Reference(*modules, people=people)
    reference.seed("calendar_cn", "calendar_hk", "currency")
    passed_by_vote(reference.kit, "title", "propose_carrier", code=CARRIER, org="hk", public_key=CARRIER_KEY.public_key)
    return reference.kit


class Place:
    """One channel: ``ok`` requires success, ``expect`` a reason and an unchanged state."""

    def __init__(self, kit: ModuleKit) -> None:
        self.kit = kit
        self.prover = Prover(kit)

    def call(self, person: str, module: str, command: str, /, **args: Any) -> Transaction:
        return self.kit.call(person, command, args, module=module)

    def ok(self, person: str, module: str, command: str, /, **args: Any) -> Receipt:
        receipt = self.kit.run(person, command, args, module=module)
        assert (receipt.code, receipt.reason) == (0, ""), f"{command} by {person}: {receipt.code} {receipt.reason}"
        return receipt

    def expect(self, reason: str, person: str, module: str, command: str, /, **args: Any) -> None:
        before = self.state()
        receipt = self.kit.run(person, command, args, module=module)
        assert receipt.reason == reason, f"{command} by {person}: {receipt.reason or receipt.code}, not {reason}"
        assert receipt.events == []
        assert self.state() == before, f"{command} failed with {reason} and changed state"

    def race(self, *calls: Transaction) -> list[str]:
        return [receipt.reason if receipt.code else "" for receipt in self.kit.block(*calls)]

    def state(self) -> dict[Any, bytes]:
        return {key: value for key, value in self.kit.state.values.items() if key[1] != "replay"}

    def tick(self) -> None:
        """A block with nothing in it that concerns these tests: time as the channel has it."""
        self.kit.run("relay", "no_such_command", {}, module="governance")

    def lock(self, title: str) -> str:
        """Who has the title locked now; empty for nobody."""
        found = self.kit.get(Lock, key_of("title", title))
        return found.owner if found is not None and self.kit.time_ms < found.until_ms else ""


def rekey(place: Place, seed: str = "new") -> None:
    """Another key for a validator of a channel: its epoch ends."""
    kit, key = place.kit, private_key_of(f"gz1 {seed}")
    for person, command, args in (
        ("gz-admin", "propose_validator_key", seat_args(kit.genesis, f"key-{seed}", "gz1", key)),
        *((f"{org}-admin", "vote", {"proposal": f"key-{seed}", "approve": True}) for org in ("gz", "hk", "mo")),
        ("gz-admin", "enact", {"proposal": f"key-{seed}"}),
    ):
        assert kit.run(person, command, args, module="governance").code == 0
    place.prover.add_key(key)


def enrol(place: Place, org: str, name: str, *roles: str) -> str:
    """Another identity of an organisation."""
    key = {"suite": "ed25519", "public_key": private_key_of(name).public_key}
    place.ok(f"{org}-admin", "governance", "enrol", name=name, roles=list(roles), **key)
    return name


def revoke(place: Place, org: str, name: str) -> None:
    place.ok(f"{org}-admin", "governance", "revoke", name=name)


class Channels:
    """``logistics`` and ``trade``; ``one``: everything on one channel instead."""

    def __init__(self, *, one: bool = False) -> None:
        if one:
            kit = copy_of(_alone())
            self.logistics = self.trade = Place(kit)
        else:
            logistics, trade = _together()
            self.logistics, self.trade = Place(copy_of(logistics)), Place(copy_of(trade))
        self.sea = Sea.__new__(Sea)
        self.sea.__dict__.update(kit=Door(self.logistics.kit, "title"), _documents=0, _proposals=0)
        self.desk = Desk.__new__(Desk)
        self.desk.__dict__.update(kit=Door(self.trade.kit, "lc"), _numbers=0)
        self.factoring = Trade.__new__(Trade)
        self.factoring.__dict__.update(kit=Door(self.trade.kit, "receivable"), _references=1_000)
        self._numbers = 0

    # -- time

    @property
    def now(self) -> int:
        return max(self.logistics.kit.time_ms, self.trade.kit.time_ms)

    def pass_time(self, ms: int = 0, *, days: int = 0) -> None:
        """On both channels; afterwards they agree."""
        later = self.now + ms + days * DAY_MS
        self.logistics.kit.time_ms = self.trade.kit.time_ms = later

    # -- titles

    def title(self, reference: str = "HKG-1", holder: str = "shipper") -> str:
        """Issued to the order of its shipper, who holds it."""
        title = self.sea.drafted(reference, self.sea.bill(shipper=holder))
        self.sea.ok(holder, "approve_draft", title=title, checksum=DOCUMENT)
        self.sea.ok("liner", "issue_title", title=title, document=self.sea.document(readers=["hk"]))
        return title

    def reserve_args(self, title: str, process: str, purpose: str = "lc.presentation", **more: Any) -> dict[str, Any]:
        self._numbers += 1
        args = {"number": f"R-{self._numbers}", "title": title, "channel": "trade", "purpose": purpose}
        args |= {"process": process, "recipients": BANKS, "until_ms": self.now + 300 * DAY_MS}
        return args | more

    def reserve(self, title: str, process: str, purpose: str = "lc.presentation", **more: Any) -> str:
        args = self.reserve_args(title, process, purpose, **more)
        holder = self.sea.get(title).holder
        self.logistics.ok(holder, "title", "reserve_title", **args)
        return f"{holder}/{args['number']}"

    def reservation(self, reservation: str) -> Reservation:
        found = self.logistics.kit.get(Reservation, key_of(reservation))
        assert found is not None
        return found

    def reservation_proof(self, reservation: str) -> bytes:
        return self.logistics.prover.state(Reservation, key_of(reservation))

    def commitment_key(self, reservation: str) -> bytes:
        return key_of(commitment_name(self.logistics.kit.genesis.chain_id, reservation))

    def commitment(self, reservation: str) -> Commitment | None:
        return self.trade.kit.get(Commitment, self.commitment_key(reservation))

    def commitment_proof(self, reservation: str) -> bytes:
        """Of the commitment as it stands, or that there is none."""
        self.trade.tick()
        return self.trade.prover.state(Commitment, self.commitment_key(reservation))

    def settle(self, reservation: str, proof: bytes = b"") -> str:
        """What becomes of the reservation by a proof, the present one if none is given."""
        proof = proof or self.commitment_proof(reservation)
        self.logistics.ok("relay", "title", "settle_title", reservation=reservation, proof=proof)
        return self.reservation(reservation).state

    def refuse_settle(self, reason: str, reservation: str, proof: bytes) -> None:
        self.logistics.expect(reason, "relay", "title", "settle_title", reservation=reservation, proof=proof)

    def holder(self, title: str) -> str:
        return self.sea.get(title).holder

    def title_proof(self, title: str) -> bytes:
        return self.logistics.prover.state(Title, key_of(title))

    def carrier_proof(self) -> bytes:
        return self.logistics.prover.state(Carrier, key_of(CARRIER))

    # -- credits

    def papers(self, **ebl: Any) -> list[dict[str, Any]]:
        """Documents of a presentation whose bill is a title here or a proof of one elsewhere."""
        papers = self.desk.papers("INVOICE", "EBL", "INSURANCE")
        papers[1] |= {"issuer": "", "number": ""} | ebl
        return papers

    def present_args(self, credit: str, minor: int, bank: str = "bank-hk", **ebl: Any) -> dict[str, Any]:
        replaces = ebl.pop("replaces", "")
        args = {"credit": credit, "bank": bank, "amount": ["USD", minor], "documents": self.papers(**ebl)}
        return args | {"shipment_date": self.desk.today, "replaces": replaces}

    def present(self, credit: str, minor: int = 100_000_00, bank: str = "bank-hk", **ebl: Any) -> str:
        found = self.desk.get_credit(credit)
        self.trade.ok(found.beneficiary, "lc", "present_documents", **self.present_args(credit, minor, bank, **ebl))
        return f"{credit}#{found.presentations + 1}"

    def bound(self, presentation: str) -> list[tuple[str, str, str]]:
        items, _ = self.trade.kit.query("bound_titles", {"presentation": presentation}, module="lc")
        return [(each.channel, each.title, each.state) for each in items if isinstance(each, BoundTitle)]

    # -- receivables

    def application(self, number: str, invoice: str, **more: Any) -> dict[str, Any]:
        found = self.factoring.get_invoice(invoice)
        total = [found.total.currency, found.total.minor]
        args = {"number": number, "invoice_number": found.number, "buyer": found.buyer}
        args |= {"issue_date": found.issue_date, "total": total, "financier": "bank-hk", "rate_ppm": 30_000}
        return args | {"principal": [total[0], total[1] * 9 // 10], "recourse": True} | more

    def fund(self, financing: str) -> None:
        found = self.factoring.kit.get(receivable.entities["financing"], key_of(financing))
        assert found is not None
        cash = self.factoring.cash("bank-hk", found.borrower, ["CNY", found.principal.minor])
        self.trade.ok("settle-bank", "receivable", "fund_financing", financing=financing, cash=cash)

    def security(self, financing: str) -> str:
        found = self.trade.kit.get(TitleSecurity, key_of(financing))
        return "" if found is None else found.state

    def client(self, place: Place, source: str) -> Client:
        found = place.kit.get(Client, key_of(source))
        assert found is not None
        return found
