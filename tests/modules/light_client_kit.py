"""Two channels with a module of their own: ``source`` has what is proven, ``reader`` believes it.

``probe`` stands for every module that has an asset or a process, ``rival`` for one that has no business with it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dawan_node.execution.module import Args, Context, Entity, Module, key_of
from dawan_node.modules.light_client import Client, Commitment, Reservation, module
from dawan_node.modules.refdata import module as refdata
from dawan_node.primitives.receipt import Receipt
from dawan_node.testing.channel_proofs import Prover
from dawan_node.testing.module_kit import DAY_MS, ModuleKit, private_key_of, seat_args
from tests.modules.channels_kit import believe, copy_of, seats


class Note(Entity, collection="note", schema=1, exported=True):
    name: str
    text: str

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Write(Args):
    name: str
    text: str


class UseProof(Args):
    proof: bytes
    purpose: str = "read"
    subject: str = "it"
    oldest_ms: int = 0


class Reserve(Args):
    number: str = "R-1"
    asset: str = "box"
    facts: list[list[str]] = msgspec.field(default_factory=list)
    recipients: list[list[str]] = msgspec.field(default_factory=lambda: [["bank", "hk"]])
    channel: str = "reader"
    purpose: str = "probe.test"
    process: str = "P-1"
    commit_by_ms: int = 0
    until_ms: int = 0


class Settle(Args):
    reservation: str
    proof: bytes


class Commit(Args):
    proof: bytes
    purpose: str = "test"
    process: str = "P-1"
    needed_ms: int = 0
    asset_module: str = "probe"
    orgs: list[str] = msgspec.field(default_factory=list)


class Conclude(Args):
    commitment: str
    to: str = ""


class Ask(Args):
    commitment: str
    function: str


#: Stands for every module that has an asset or a process.
probe = Module("probe", version=1, entities=(Note,), errors={"E_NO": "No."}, uses=("light_client",))
#: Another one, which may not end what ``probe`` began.
rival = Module("rival", version=1, entities=(), errors={}, uses=("light_client",))


@probe.command("write", args=Write, roles=())
def write(ctx: Context, args: Write) -> None:
    """Something to prove."""
    ctx.put(Note(args.name, args.text))


@probe.command("use", args=UseProof, roles=())
def use(ctx: Context, args: UseProof) -> None:
    """Use a proof up and keep what it said."""
    said = ctx.call("light_client", "consume", args.proof, args.purpose, args.subject, args.oldest_ms)
    text = "absent" if said.value is None else Note.spec.decode(said.value).text
    ctx.put(Note(f"{args.purpose} {args.subject}", f"{said.module} {said.height} {text}"))


@probe.command("reserve", args=Reserve, roles=())
def reserve(ctx: Context, args: Reserve) -> None:
    """Reserve an asset that is only a name."""
    facts = tuple([(name, text) for name, text in args.facts])
    recipients = tuple([(name, org) for name, org in args.recipients])
    until_ms = args.until_ms or ctx.time_ms + 30 * DAY_MS
    rest = (args.channel, args.purpose, args.process, args.commit_by_ms, until_ms)
    ctx.call("light_client", "reserve", args.number, args.asset, facts, recipients, *rest)


@probe.command("settle", args=Settle, roles=())
def settle(ctx: Context, args: Settle) -> None:
    """Prove what became of it."""
    ctx.call("light_client", "settle", args.reservation, args.proof)


@probe.command("commit", args=Commit, roles=())
def commit(ctx: Context, args: Commit) -> None:
    """Rely on what another channel reserved."""
    rest = (args.purpose, args.process, args.needed_ms, args.asset_module, tuple(args.orgs))
    ctx.call("light_client", "commit", args.proof, *rest)


@probe.command("conclude", args=Conclude, roles=())
def conclude(ctx: Context, args: Conclude) -> None:
    """End that."""
    ctx.call("light_client", "conclude", args.commitment, args.to)


@probe.command("ask", args=Ask, roles=())
def ask(ctx: Context, args: Ask) -> None:
    """Whether a commitment can still pass."""
    ctx.require(ctx.call("light_client", args.function, args.commitment) is not False, "E_NO")


@rival.command("conclude_other", args=Conclude, roles=())
def conclude_other(ctx: Context, args: Conclude) -> None:
    """End somebody else's."""
    ctx.call("light_client", "conclude", args.commitment, args.to)


@rival.command("settle_other", args=Settle, roles=())
def settle_other(ctx: Context, args: Settle) -> None:
    """Settle somebody else's."""
    ctx.call("light_client", "settle", args.reservation, args.proof)


PEOPLE = {"anna": ("gz", ["buyer"]), "ben": ("hk", ["bank"])}
_made: list[tuple[ModuleKit, ModuleKit]] = []


class Pair:
    """``source`` has what is proven, ``reader`` believes it, and for what was reserved there the other way round."""

    def __init__(self) -> None:
        if not _made:
            modules = [probe, rival, module, refdata]
            source, reader = ModuleKit(modules, PEOPLE), ModuleKit(modules, PEOPLE, orgs=["extra"])
            believe(reader, "source", source, ["light_client", "probe"])
            believe(source, "reader", reader, ["light_client"])
            reader.time_ms = source.time_ms
            _made.append((source, reader))
        self.source, self.reader = map(copy_of, _made[0])
        self.at_source, self.at_reader = Prover(self.source), Prover(self.reader)

    def note(self, text: str = "hello", name: str = "n") -> bytes:
        """The proof of a note at the source."""
        assert self.source.run("anna", "write", {"name": name, "text": text}).code == 0
        return self.at_source.state(Note, key_of(name))

    def use(self, proof: bytes, **more: Any) -> Receipt:
        return self.reader.run("anna", "use", {"proof": proof} | more)

    def said(self, proof: bytes, **more: Any) -> str:
        receipt = self.use(proof, **more)
        return receipt.reason if receipt.code else ""

    def client(self) -> Client:
        found = self.reader.get(Client, key_of("source"))
        assert found is not None
        return found

    def rekey(self, name: str = "gz1", seed: str = "new") -> bytes:
        """Another key of one of the source's validators: the proof of the block that ends the epoch."""
        key = private_key_of(f"{name} {seed}")
        args = seat_args(self.source.genesis, f"key-{seed}", name, key)
        assert self.source.run(f"{name[:2]}-admin", "propose_validator_key", args, module="governance").code == 0
        for org in ("gz", "hk", "mo"):
            vote = {"proposal": f"key-{seed}", "approve": True}
            assert self.source.run(f"{org}-admin", "vote", vote, module="governance").code == 0
        enacted = {"proposal": f"key-{seed}"}
        assert self.source.run(f"{name[:2]}-admin", "enact", enacted, module="governance").code == 0
        assert self.source.blocks[-1].header.barrier
        proof = self.at_source.finality()
        self.at_source.add_key(key)
        return proof

    def advance(self, proof: bytes, **more: Any) -> str:
        members = seats(self.source.blocks[-1].next_validators)
        args = {"source": "source", "proof": proof, "validators": members} | more
        receipt = self.reader.run("ben", "advance_client", args, module="light_client")
        return receipt.reason if receipt.code else ""

    # -- reservations at the source, commitments at the reader

    def reserved(self, **more: Any) -> str:
        args = {"until_ms": self.source.time_ms + 30 * DAY_MS} | more
        receipt = self.source.run("anna", "reserve", args)
        return receipt.reason if receipt.code else ""

    def reservation_proof(self, name: str = "anna/R-1") -> bytes:
        return self.at_source.state(Reservation, key_of(name))

    def committed(self, proof: bytes, person: str = "anna", **more: Any) -> str:
        receipt = self.reader.run(person, "commit", {"proof": proof} | more)
        return receipt.reason if receipt.code else ""

    def commitment(self, name: str = "anna/R-1") -> str:
        return f"{self.source.genesis.chain_id.hex()}/{name}"

    def commitment_proof(self, name: str = "anna/R-1") -> bytes:
        self.reader.run("anna", "write", {"name": "tick", "text": ""})
        return self.at_reader.state(Commitment, key_of(self.commitment(name)))

    def concluded(self, to: str = "", command: str = "conclude", at: str = "probe") -> str:
        args = {"commitment": self.commitment(), "to": to}
        receipt = self.reader.run("anna", command, args, module=at)
        return receipt.reason if receipt.code else ""

    def settled(self, proof: bytes, name: str = "anna/R-1", command: str = "settle", at: str = "probe") -> str:
        receipt = self.source.run("ben", command, {"reservation": name, "proof": proof}, module=at)
        return receipt.reason if receipt.code else ""

    def state_of(self, name: str = "anna/R-1") -> tuple[str, str]:
        found = self.source.get(Reservation, key_of(name))
        assert found is not None
        return found.state, found.recipient
