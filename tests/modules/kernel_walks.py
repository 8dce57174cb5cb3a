"""Random blocks of random calls to the kernel by two business modules and by courts and sources of facts.

Beside the invariants a model holds here: of each call about locks, orders, payments, documents and their fingerprints
it says with which reason it fails, or that it does not. It is written from what the kernel promises, in dictionaries.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from dawan_node.execution.dates import business_date
from dawan_node.modules.kernel.declaration import Question
from dawan_node.testing.module_kit import DAY_MS
from tests.modules.kernel_kit import PEOPLE, Kernel
from tests.modules.walk_shards import Lengths, Walks

HOUR_MS = 3_600_000
MODULES = ("title", "insurance")
ASSETS = ("A", "B", "C")
OWNERS = ("loan-1", "loan-2")
ORDERS = ("HCA 1", "HCA 2")
COURTS = ("judge", "other-judge")
ORACLES = ("o-gz", "o-hk", "o-mo", "o-gz-2")
#: One reference in three spellings, and another.
REFERENCES = ("REF 1", "ref-1", "ＲＥＦ1", "REF 2", "REF 3")
PASSES = (0, 0, 0, HOUR_MS, 30 * HOUR_MS, 40 * DAY_MS)

Choice = tuple[str, str, str, dict[str, Any]]  # person, module that calls, function or command, arguments


@dataclass
class Model:
    """What the kernel keeps, as far as its answers follow from it; times are block times."""

    locks: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    orders: dict[tuple[str, str, str], tuple[str, int]] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)
    tags: dict[bytes, tuple[str, bytes, str, str]] = field(default_factory=dict)
    documents: dict[bytes, tuple[str, str, bool]] = field(default_factory=dict)

    def answer(self, choice: Choice, now: int) -> str | None:
        """The reason a call fails with, empty if it does not; None where the model says nothing."""
        person, module, function, args = choice
        asset = (args.get("module", module), args.get("asset", ""))
        rule: Callable[..., str] | None = getattr(self, f"_{function}", None)
        return None if rule is None else rule(person, module, asset, args, now)

    def _movable(self, asset: tuple[str, str], owner: str, now: int) -> str:
        if any(now < until for (*of, _), (_, until) in self.orders.items() if tuple(of) == asset):
            return "E_ASSET_FROZEN"
        held, until = self.locks.get(asset, ("", 0))
        return "E_LOCKED" if now < until and held != owner else ""

    def _lock(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        reason = self._movable(asset, args["owner"], now)
        if not reason and not now < args["until_ms"]:
            reason = "E_LOCK_TIME"
        if not reason:
            self.locks[asset] = (args["owner"], args["until_ms"])
        return reason

    def _require_movable(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        return self._movable(asset, args["owner"], now)

    def _release(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        held, until = self.locks.get(asset, ("", 0))
        if not now < until or held != args["owner"]:
            return "E_NOT_LOCKED"
        del self.locks[asset]
        return ""

    def _order_release(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        if not now < self.locks.get(asset, ("", 0))[1]:
            return "E_NOT_LOCKED"
        del self.locks[asset]
        return ""

    def _freeze_asset(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        if not now < args["until_ms"]:
            return "E_FREEZE_TIME"
        if (*asset, args["order"]) in self.orders:
            return "E_ORDER"
        self.orders[*asset, args["order"]] = (person, args["until_ms"])
        return ""

    def _lift_freeze(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        court, until = self.orders.get((*asset, args["order"]), ("", 0))
        if not now < until:
            return "E_NOT_ORDERED"
        if court != person:
            return "E_NOT_ORDERING"
        self.orders[*asset, args["order"]] = (court, now)
        return ""

    def _use_cash(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        if person != "settle":
            return "E_NOT_ATTESTOR"
        number = args["reference"][-1]
        if number in self.paid:
            return "E_CASHREF_USED"
        self.paid.add(number)
        return ""

    def _register_fingerprint(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        live = {exact: tag for exact, tag in self.tags.items() if tag[2] in ("HELD", "REGISTERED", "FINANCED")}
        if args["exact"] in live:
            return "E_DUP_FINANCE"
        state = "HELD" if any(loose == args["loose"] for _, loose, _, _ in live.values()) else "REGISTERED"
        self.tags[args["exact"]] = (module, args["loose"], state, person)
        return ""

    def _approve_similar(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        owner, loose, state, by = self.tags.get(args["exact"], ("", b"", "", ""))
        if (owner, state) != (module, "HELD"):
            return "E_NOT_REGISTERED"
        if person == by or PEOPLE[person][0] != PEOPLE[by][0]:
            return "E_FOUR_EYES"
        self.tags[args["exact"]] = (owner, loose, "REGISTERED", by)
        return ""

    def _finance_fingerprint(self, *call: Any) -> str:
        return self._tag(call, ("REGISTERED",), "FINANCED")

    def _release_fingerprint(self, *call: Any) -> str:
        return self._tag(call, ("FINANCED",), "RELEASED")

    def _cancel_fingerprint(self, *call: Any) -> str:
        return self._tag(call, ("HELD", "REGISTERED"), "CANCELLED")

    def _tag(self, call: tuple[Any, ...], before: tuple[str, ...], after: str) -> str:
        _, module, _, args, _ = call
        owner, loose, state, by = self.tags.get(args["exact"], ("", b"", "", ""))
        if owner != module or state not in before:
            return "E_NOT_REGISTERED"
        self.tags[args["exact"]] = (owner, loose, after, by)
        return ""

    def _register_document(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        if args["digest"] in self.documents:
            return "E_DUP_DOCUMENT"
        self.documents[args["digest"]] = (module, args["value_date"], False)
        return ""

    def _purge_document(self, person: str, module: str, asset: tuple[str, str], args: Any, now: int) -> str:
        owner, until, purged = self.documents.get(args["digest"], ("", "", False))
        if owner != module:
            return "E_UNKNOWN_DOCUMENT"
        if purged:
            return "E_PURGED"
        if business_date(now) <= until:
            return "E_RETENTION"
        self.documents[args["digest"]] = (owner, until, True)
        return ""


@functools.cache
def beginning() -> Kernel:
    """Nothing but the modules."""
    kernel = Kernel()
    kernel.kit.check_what_changes()
    return kernel


class World:
    """A channel, the model of it, and the choice of the next call."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.kernel = copy.copy(beginning())
        self.kernel.kit = beginning().kit.copy()
        self.model = Model()
        self.asked = 0

    def run(self, calls: int) -> None:
        kit, pick = self.kernel.kit, self.random.choice
        choices = [
            pick((self.hold, self.hold, self.order, self.pay, self.tag, self.tag, self.keep, self.ask))()
            for _ in range(calls)
        ]
        kit.pass_time(pick(PASSES))
        receipts = kit.block(*map(self.call, choices))
        for choice, receipt in zip(choices, receipts, strict=True):
            expected = self.model.answer(choice, kit.time_ms)
            assert receipt.code in (0, 3), f"{choice}: {receipt.code} {receipt.reason}"
            assert expected in (None, receipt.reason), f"{choice}: {receipt.reason or 'done'}, not {expected or 'done'}"
            assert receipt.code == 0 or receipt.events == []

    def call(self, choice: Choice) -> Any:
        person, module, function, args = choice
        if function in ("freeze_asset", "lift_freeze", "order_release", "attest", "dispute"):
            return self.kernel.kit.call(person, function, args, module="kernel")
        return self.kernel.call(person, function, module=module, **args)

    def hold(self) -> Choice:
        pick = self.random.choice
        function = pick(("lock", "lock", "release", "require_movable"))
        until_ms = self.kernel.kit.time_ms + pick((HOUR_MS, 50 * HOUR_MS, 300 * DAY_MS))
        module, asset, owner = pick(MODULES), pick(ASSETS), pick(OWNERS)
        if function == "release" and self.model.locks and self.random.random() < 0.6:
            (module, asset), (owner, _) = pick(sorted(self.model.locks.items()))
        args = {"asset": asset, "owner": owner} | ({"until_ms": until_ms} if function == "lock" else {})
        return pick(("anna", "ben")), module, function, args

    def order(self) -> Choice:
        pick = self.random.choice
        function = pick(("freeze_asset", "lift_freeze", "lift_freeze", "order_release"))
        args = {"module": pick(MODULES), "asset": pick(ASSETS), "order": pick(ORDERS)}
        if function == "freeze_asset":
            args |= {"reason": "fraud", "until_ms": self.kernel.kit.time_ms + pick((HOUR_MS, 20 * DAY_MS))}
        elif function == "lift_freeze" and self.model.orders and self.random.random() < 0.6:
            module, asset, order = pick(sorted(self.model.orders))
            args = {"module": module, "asset": asset, "order": order}
        return pick(COURTS), args["module"], function, args

    def pay(self) -> Choice:
        pick = self.random.choice
        args = {"asset": pick(ASSETS), "reference": pick(REFERENCES), "value_date": "2025-11-24"}
        return pick(("settle", "settle", "settle", "ben")), pick(MODULES), "use_cash", args

    def tag(self) -> Choice:
        pick, steps = self.random.choice, ("finance", "finance", "release", "cancel")
        exact = bytes([pick(range(6))]) * 32
        if self.random.random() < 0.4:
            # The first byte says which documents look alike.
            args = {"exact": exact, "loose": bytes([exact[0] % 3]) * 32, "asset": pick(ASSETS)}
            return pick(("ben", "bea", "anna")), pick(MODULES), "register_fingerprint", args
        known = self.model.tags.get(exact)
        module = known[0] if known and self.random.random() < 0.8 else pick(MODULES)
        if known and known[2] == "HELD" and self.random.random() < 0.7:
            return pick(("ben", "bea", "anna")), module, "approve_similar", {"exact": exact}
        return pick(("anna", "ben")), module, f"{pick(steps)}_fingerprint", {"exact": exact}

    def keep(self) -> Choice:
        pick = self.random.choice
        digest = bytes([pick(range(5))]) * 32
        if self.random.random() < 0.5:
            retained = {"value_date": pick(("2025-11-24", "2026-01-01")), "readers": ["gz", "hk"]}
            return "anna", pick(MODULES), "register_document", {"digest": digest, **retained}
        return "anna", pick(MODULES), "purge_document", {"digest": digest}

    def ask(self) -> Choice:
        pick, kit = self.random.choice, self.kernel.kit
        questions = kit.entities(Question)
        if not questions or self.random.random() < 0.2:
            self.asked += 1
            args = {"asset": f"Q-{self.asked}", "orgs": ["gz", "hk", "mo"], "needed": pick((1, 2)), "parties": ["hq"]}
            return "anna", pick(MODULES), "ask", args | {"until_ms": kit.time_ms + pick((HOUR_MS, 60 * HOUR_MS))}
        found = pick(questions[-4:])
        one = {"module": found.module, "question": found.name}
        answer = pick(("yes", "yes", "no"))
        resolve = ("anna", found.module, "resolve", {"asset": found.name, "reason": answer})
        if found.state == "OPEN":
            return pick(((pick(ORACLES), "", "attest", one | {"answer": answer}),) * 4 + (resolve,))
        dispute = (pick(("judge", "o-hk", "anna", "bea")), "", "dispute", one | {"reason": "?"})
        return pick((dispute, resolve))


def walk(seed: int, blocks: int) -> World:
    """A channel after so many random blocks; the whole walk follows from the seed."""
    random = Random(seed)
    world = World(random)
    for _ in range(blocks):
        world.run(random.randint(1, 6))
    world.kernel.kit.check_invariants()
    return world


WALKS = Walks("kernel", beginning, walk, Lengths(5, 30), Lengths(10, 10))
