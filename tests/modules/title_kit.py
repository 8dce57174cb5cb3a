"""A logistics channel in a test: its companies, an enrolled carrier and platform, and the title commands in one line.

    sea = Sea()
    title = sea.issued()
    sea.ok("shipper", "endorse_title", title=title, kind="ENDORSE_TO_ORDER", to="bank-hk", hand_over_to="bank-hk")
    sea.expect("E_NOT_HOLDER", "shipper", "transfer_title", title=title, to="buyer")

``ok`` requires success, ``expect`` the given reason and an unchanged state; the kit checks every invariant after each.
"""

from __future__ import annotations

import hashlib
from typing import Any

from dawan_node.execution.dates import add_days, business_date
from dawan_node.execution.module import Args, Context, Module
from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.refdata import module as refdata
from dawan_node.modules.title import is_delivered_against
from dawan_node.modules.title import module as title_module
from dawan_node.modules.title.entities import ChainEntry, Title
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import ModuleKit, People, private_key_of

PEOPLE = {
    "liner": ("hk", ["carrier"]),
    "liner-desk": ("hk", ["carrier"]),
    "other-liner": ("mo", ["carrier"]),
    "shipper": ("gz", ["exporter"]),
    "buyer": ("mo", ["buyer"]),
    "buyer-2": ("mo", ["buyer"]),
    "forwarder": ("gz", ["forwarder"]),
    "bank-gz": ("gz", ["bank"]),
    "bank-hk": ("hk", ["bank"]),
    "wave": ("hq", ["ebl_platform"]),
    "bolero": ("mo", ["ebl_platform"]),
    "idle-platform": ("mo", ["ebl_platform"]),
    "judge": ("hq", ["court"]),
    "port": ("gz", ["terminal"]),
}
CARRIER = "SMDG-HMM"
#: The key of the carrier's issuance manifests, and of the platform's envelopes.
CARRIER_KEY = private_key_of("the carrier's manifests")
PLATFORM_KEY = private_key_of("the platform's envelopes")
DOCUMENT = hashlib.sha256(b"the document").digest()


class UseTitle(Args):
    """What another module asks of a title."""

    function: str
    title: str
    process: str = "LC-1"
    to: str = ""


#: Stands for a credit or a financing that relies on titles.
credit = Module("credit", version=1, entities=(), errors={"E_STATE": "Not surrendered."}, uses=("title",))


@credit.command("use", args=UseTitle, roles=())
def use(ctx: Context, args: UseTitle) -> None:
    """Call the title module, or ask it whether goods may leave."""
    if args.function == "require_delivered":
        if not is_delivered_against(ctx, args.title):
            ctx.fail("E_STATE")
        return
    if args.function == "delivery_status":
        ctx.require(ctx.call("title", "delivery_status", args.title, args.to) == args.process, "E_STATE")
        return
    arguments = (args.title, args.process, args.to) if args.function == "pass_on" else (args.title, args.process)
    ctx.call("title", args.function, *arguments)


class JudgeLine(Args):
    key: bytes
    line: bytes
    signature: bytes


@credit.command("judge_line", args=JudgeLine, roles=())
def judge_line(ctx: Context, args: JudgeLine) -> None:
    """Whether a line is signed as lines of other networks are."""
    ctx.require(ctx.is_signed_line(args.key, args.line, args.signature), "E_STATE")


#: An organisation that is a member and no founder, so that it can be let go; a second court.
DEPARTING: People = {
    "trader": ("sz", ["buyer"]),
    "trader-2": ("sz", ["buyer"]),
    "judge-gz": ("gz", ["court"]),
}

#: By the people beside ``PEOPLE``.
_enrolled: dict[tuple[str, ...], ModuleKit] = {}


def copy_of(kit: ModuleKit) -> ModuleKit:
    """A kit that goes its own way from here."""
    return kit.copy()


class Sea:
    """The kit with the carrier ``SMDG-HMM`` (organisation hk) and the platform ``WAVE`` enrolled by vote."""

    def __init__(self, staff: People | None = None) -> None:
        more = staff or {}
        names = tuple(sorted(more))
        self._documents = 0
        self._proposals = 2 if names in _enrolled else 0
        if names not in _enrolled:
            self.kit = ModuleKit([title_module, kernel, refdata, credit], {**PEOPLE, **more})
            self.enrol("propose_carrier", code=CARRIER, org="hk", public_key=CARRIER_KEY.public_key)
            self.enrol("propose_platform", code="WAVE", agent="wave", public_key=PLATFORM_KEY.public_key)
            _enrolled[names] = self.kit
        # The votes are the same for every test.
        self.kit = copy_of(_enrolled[names])

    def enrol(self, command: str, **args: Any) -> str:
        """Propose, vote, enact."""
        self._proposals += 1
        name = f"{command.replace('_', '-')}-{self._proposals}"
        self.ok("gz-admin", command, id=name, **args)
        for org in ("gz", "hk", "hq"):
            vote = {"proposal": name, "approve": True}
            assert self.kit.run(f"{org}-admin", "vote", vote, module="governance").code == 0
        self.ok("gz-admin", "enact", proposal=name)
        return name

    def let_go(self, org: str, status: str = "removed") -> None:
        """An organisation leaves by vote, or is suspended for a while."""
        name = f"{status}-{org}-{self.kit.height}"
        votes = [(f"{voter}-admin", "vote", {"proposal": name, "approve": True}) for voter in ("gz", "hk", "hq")]
        for person, command, args in (
            ("gz-admin", "propose_org_status", {"id": name, "org": org, "status": status}),
            *votes,
            ("gz-admin", "enact", {"proposal": name}),
        ):
            self.ok(person, command, module="governance", **args)

    @property
    def today(self) -> str:
        return business_date(self.kit.time_ms + 1_000)

    def day(self, days: int) -> str:
        return add_days(self.today, days)

    def call(self, person: str, command: str, /, *, module: str = "", **args: Any) -> Transaction:
        return self.kit.call(person, command, args, module=module)

    def ok(self, person: str, command: str, /, *, module: str = "", **args: Any) -> Receipt:
        (receipt,) = self.kit.block(self.call(person, command, module=module, **args))
        assert (receipt.code, receipt.reason) == (0, ""), f"{command} by {person}: {receipt.code} {receipt.reason}"
        return receipt

    def expect(self, reason: str, person: str, command: str, /, *, module: str = "", **args: Any) -> None:
        before = self.state()
        (receipt,) = self.kit.block(self.call(person, command, module=module, **args))
        assert receipt.reason == reason, f"{command} by {person}: {receipt.reason or 'success'}, not {reason}"
        assert receipt.events == []
        assert self.state() == before

    def state(self) -> dict[Any, bytes]:
        return {key: value for key, value in self.kit.state.values.items() if key[0] in ("title", "kernel")}

    def bill(self, **more: Any) -> dict[str, Any]:
        """A bill to order of the shipper, Yantian to Hong Kong to Macau."""
        return {
            "to_order": True,
            "shipper": "shipper",
            "port_of_loading": "CNYTN",
            "port_of_discharge": "MOMFM",
            "vessel": "9863297",
            "voyage": "402E",
            "boxes": [{"number": "CSQU3054383", "type": "22G1"}],
            "shipped_on": self.today,
        } | more

    def straight(self, **more: Any) -> dict[str, Any]:
        return self.bill(to_order=False, consignee="buyer", **more)

    def document(self, **more: Any) -> dict[str, Any]:
        """A fresh document for the kernel's registry."""
        self._documents += 1
        digest = hashlib.sha256(b"salt and payload %d" % self._documents).digest()
        return {"digest": digest, "size": 4_000, "readers": ["gz", "hk"], "retain_until": "2036-01-01"} | more

    def drafted(self, reference: str = "HKG-1", bill: dict[str, Any] | None = None, checksum: bytes = DOCUMENT) -> str:
        args = {"carrier": CARRIER, "reference": reference, "bill": bill or self.bill(), "checksum": checksum}
        self.ok("liner", "draft_title", **args)
        return f"{CARRIER}/{reference}"

    def approved(self, reference: str = "HKG-1", bill: dict[str, Any] | None = None) -> str:
        title = self.drafted(reference, bill)
        self.ok("shipper", "approve_draft", title=title, checksum=DOCUMENT)
        return title

    def issued(self, reference: str = "HKG-1", bill: dict[str, Any] | None = None, to: str = "") -> str:
        title = self.approved(reference, bill)
        self.ok("liner", "issue_title", title=title, document=self.document(), to=to)
        return title

    def on_paper(self, reference: str = "HKG-1") -> str:
        """A title that became the paper original ``P-1``."""
        title = self.issued(reference)
        self.ok("shipper", "surrender_title", title=title, purpose="AMENDMENT", reason="SWTP")
        self.ok("liner-desk", "accept_surrender", title=title, paper="P-1")
        return title

    def get(self, title: str) -> Title:
        found = self.kit.get(Title, title.encode())
        assert found is not None, title
        return found

    def control(self, title: str) -> tuple[str, str, str]:
        """State, holder, endorsee."""
        found = self.get(title)
        return found.state, found.holder, found.endorsee

    def history(self, title: str) -> list[ChainEntry]:
        entries, _ = self.kit.query("history", {"title": title})
        return list(entries)

    def actions(self, title: str) -> list[str]:
        return [entry.action for entry in self.history(title)]
