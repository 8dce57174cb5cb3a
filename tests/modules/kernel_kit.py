"""Two business modules in a test that do nothing but call the kernel, and a channel that runs them."""

from __future__ import annotations

from typing import Any

from dawan_node.execution.module import Args, Context, Entity, Module, Money, key_of
from dawan_node.modules.kernel import live_lock, settled_answer
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.refdata import module as refdata
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import ModuleKit

PEOPLE = {
    "anna": ("gz", ["supplier"]),
    "ben": ("hk", ["bank"]),
    "bea": ("hk", ["bank"]),
    "settle": ("mo", ["settlement_bank"]),
    "judge": ("hq", ["court"]),
    "other-judge": ("mo", ["court"]),
    "o-gz": ("gz", ["oracle"]),
    "o-hk": ("hk", ["oracle"]),
    "o-mo": ("mo", ["oracle"]),
    "o-gz-2": ("gz", ["oracle"]),
}


class CallKernel(Args):
    """Every argument an exported function of the kernel may have."""

    function: str
    asset: str = ""
    owner: str = ""
    reason: str = "because"
    until_ms: int = 0
    bank: str = "BKCHCNBJ"
    reference: str = ""
    payer: str = "anna"
    payee: str = "ben"
    amount: Money = Money("CNY", 100)
    value_date: str = "2025-11-20"
    purpose: str = "fund"
    exact: bytes = b""
    loose: bytes = b""
    digest: bytes = b"d" * 32
    size: int = 1
    media_type: str = "application/pdf"
    schema_id: str = ""
    readers: list[str] = []  # noqa: RUF012 - msgspec copies it
    orgs: list[str] = []  # noqa: RUF012
    parties: list[str] = []  # noqa: RUF012
    needed: int = 2
    dispute_ms: int = 3_600_000


def _arguments(a: CallKernel) -> tuple[Any, ...]:
    return {
        "lock": (a.asset, a.owner, a.reason, a.until_ms),
        "release": (a.asset, a.owner),
        "require_movable": (a.asset, a.owner),
        "use_cash": (
            a.bank, a.reference, a.payer, a.payee, a.amount, a.value_date, a.purpose, a.asset,
        ),
        "register_fingerprint": (a.exact, a.loose, a.asset),
        "approve_similar": (a.exact, a.reason),
        "finance_fingerprint": (a.exact,),
        "release_fingerprint": (a.exact,),
        "cancel_fingerprint": (a.exact,),
        "register_document": (a.digest, a.size, a.media_type, a.schema_id, tuple(a.readers), a.value_date),
        "purge_document": (a.digest,),
        "ask": (a.asset, tuple(a.orgs), a.needed, a.until_ms, a.dispute_ms, tuple(a.parties)),
        "resolve": (a.asset, a.reason),
    }[a.function]  # fmt: skip


class Seen(Entity, collection="seen", schema=1):
    asset: str
    lock_owner: str
    answer: str

    def primary_key(self) -> bytes:
        return key_of(self.asset)


class SeenElsewhere(Entity, collection="seen", schema=1):
    asset: str

    def primary_key(self) -> bytes:
        return key_of(self.asset)


class Look(Args):
    asset: str


def _module(name: str, entity: type[Entity]) -> Module:
    made = Module(name, version=1, entities=(entity,), uses=("kernel", "refdata", "governance"))

    @made.command("call", args=CallKernel, roles=())
    def call(ctx: Context, args: CallKernel) -> None:
        """Call the kernel."""
        ctx.call("kernel", args.function, *_arguments(args))

    return made


title = _module("title", Seen)
insurance = _module("insurance", SeenElsewhere)


@title.command("look", args=Look, roles=())
def look(ctx: Context, args: Look) -> None:
    """Keep what the lookups say."""
    lock = live_lock(ctx, "title", args.asset)
    ctx.put(Seen(args.asset, lock.owner if lock else "", settled_answer(ctx, "title", args.asset) or ""))


class Kernel:
    """The kit with one line per call: ``ok`` requires success, ``expect`` the reason and an unchanged state."""

    def __init__(self) -> None:
        self.kit = ModuleKit([title, insurance, kernel, refdata], PEOPLE)

    def call(self, person: str, function: str, *, module: str = "title", **args: Any) -> Transaction:
        return self.kit.call(person, "call", {"function": function, **args}, module=module)

    def command(self, person: str, command: str, **args: Any) -> Transaction:
        """A command of the kernel itself; the asset's module is ``title``."""
        return self.kit.call(person, command, {"module": "title", **args}, module="kernel")

    def ok(self, transaction: Transaction) -> Receipt:
        (receipt,) = self.kit.block(transaction)
        assert receipt.code == 0, f"{receipt.code} {receipt.reason}"
        return receipt

    def expect(self, reason: str, transaction: Transaction) -> None:
        before = {key: value for key, value in self.kit.state.values.items() if key[1] != "replay"}
        (receipt,) = self.kit.block(transaction)
        assert (receipt.code, receipt.reason) == (3, reason), f"{receipt.code} {receipt.reason}"
        assert {key: value for key, value in self.kit.state.values.items() if key[1] != "replay"} == before

    def seen(self, asset: str) -> tuple[str, str]:
        """Who has the lock of an asset, and the settled answer of that name, as another module reads them."""
        self.ok(self.kit.call("anna", "look", {"asset": asset}, module="title"))
        found = self.kit.get(Seen, key_of(asset))
        assert found is not None
        return found.lock_owner, found.answer
