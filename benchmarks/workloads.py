"""What is sent: each workload is a function from a number to a call, and says what must be there before.

==============  =====================================================================================================
``record``      ``record_invoice`` by three suppliers in turn, about 390 bytes: one entity and two index entries
``transfer``    ``transfer_voucher`` by one signer, each of another voucher it holds: one entity read and written
``mix``         of 20: 8 invoices registered, 4 confirmed, 3 vouchers split in two, 3 transferred, 1 financing applied
                for and 1 reserved by the bank; six signers
``payload``     ``payload.record`` of a module of the benchmark's own: a transaction of an exact size
                (``--payload-bytes``) whose bytes are kept as one entity; what bytes cost apart from business rules
==============  =====================================================================================================

Every transaction succeeds, whatever order they arrive in: each has a subject of its own that was prepared for it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from dawan_node.execution.dates import add_days, business_date
from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.rpc.client import assemble_transaction, build_body

SUPPLIERS: Final = ("gz-supplier", "gz-supplier-2", "hk-supplier")
CORE: Final = "gz-core"
BUYER: Final = "gz-buyer"
BANK: Final = "hk-bank"

#: The module takes at most 32 parts in one split, and two levels make a thousand vouchers of one invoice.
PARTS: Final = 32
LEAVES: Final = PARTS * PARTS
#: CNY 4,000.00, so that a leaf can be split in two once more (1,000 units is the least a part may have).
LEAF_MINOR: Final = 400_000
FACE_MINOR: Final = LEAF_MINOR * LEAVES


@dataclass(frozen=True, slots=True)
class Call:
    """One command by one person. ``entities`` is how many it adds to the state."""

    person: str
    module: str
    command: str
    args: dict[str, Any]
    entities: int = 1


class Workload:
    """The base: nothing to prepare."""

    name: ClassVar[str]
    modules: Sequence[str] = ("receivable@1",)

    def install(self, folder: Path) -> None:
        """Make modules that the node does not have importable, for this process and those it starts."""

    def preparation(self, transactions: int, entities: int, time_ms: int) -> Iterator[Call]:
        """Calls in order for ``transactions`` of this workload, and ballast up to ``entities`` in all. Raises
        ValueError when this workload has none."""
        roots = -(-entities // LEAVES)
        for root in range(roots):
            yield from vouchers(f"B-{root:06d}", SUPPLIERS[0], LEAVES, time_ms)

    def call(self, number: int, time_ms: int) -> Call:
        """Transaction ``number``, counted from 0; ``time_ms`` is when the preparation was made."""
        raise NotImplementedError


class Record(Workload):
    """Invoices of three suppliers, nothing before them."""

    name = "record"

    def call(self, number: int, time_ms: int) -> Call:
        return register(f"B-{number:08d}", SUPPLIERS[number % len(SUPPLIERS)], BUYER, time_ms, number)


class Transfer(Workload):
    """One signer hands on one voucher after the other."""

    name = "transfer"

    def preparation(self, transactions: int, entities: int, time_ms: int) -> Iterator[Call]:
        yield from supply("T", SUPPLIERS[0], transactions, time_ms)
        yield from super().preparation(0, entities - transactions, time_ms)

    def call(self, number: int, time_ms: int) -> Call:
        args = {"voucher": leaf("T", number), "to": SUPPLIERS[1]}
        return Call(SUPPLIERS[0], "receivable", "transfer_voucher", args, 0)


#: Registered, Confirmed, Split, Transferred, Applied for, reserVed: shares of 40, 20, 15, 15 and twice 5 %.
PATTERN: Final = "RCRSRTCRARCSRTCRSVRT"


class Mix(Workload):
    """A trade channel's day."""

    name = "mix"

    def preparation(self, transactions: int, entities: int, time_ms: int) -> Iterator[Call]:
        rounds = -(-transactions // len(PATTERN))
        for number in range(rounds * PATTERN.count("C")):
            yield register(f"C-{number:08d}", SUPPLIERS[number % 3], BUYER, time_ms, number)
        for place, kind in enumerate("STAV"):
            needed = rounds * PATTERN.count(kind)
            yield from supply(kind, SUPPLIERS[place % 2], needed, time_ms)
        for number in range(rounds * PATTERN.count("V")):
            yield self._application("V", number, time_ms)
        yield from super().preparation(0, entities - rounds * 14, time_ms)

    def call(self, number: int, time_ms: int) -> Call:
        round_, place = divmod(number, len(PATTERN))
        kind = PATTERN[place]
        nth = round_ * PATTERN.count(kind) + PATTERN[:place].count(kind)
        if kind == "R":
            return register(f"R-{nth:08d}", SUPPLIERS[nth % 3], BUYER, time_ms, nth)
        if kind == "C":
            return Call(BUYER, "receivable", "confirm_invoice", {"invoice": invoice(f"C-{nth:08d}", nth, time_ms)}, 0)
        if kind == "A":
            return self._application("A", nth, time_ms)
        if kind == "V":
            return Call(BANK, "receivable", "reserve_financing", {"financing": f"{SUPPLIERS[1]}/V-{nth:08d}"}, 1)
        holder = SUPPLIERS["STAV".index(kind) % 2]
        if kind == "S":
            parts = [["CNY", LEAF_MINOR // 2]] * 2
            return Call(holder, "receivable", "split_voucher", {"voucher": leaf("S", nth), "parts": parts}, 2)
        args = {"voucher": leaf("T", nth), "to": SUPPLIERS[2]}
        return Call(holder, "receivable", "transfer_voucher", args, 0)

    @staticmethod
    def _application(kind: str, nth: int, time_ms: int) -> Call:
        args = {
            "number": f"{kind}-{nth:08d}",
            "voucher": leaf(kind, nth),
            "financier": BANK,
            "kind": "DISCOUNT",
            "principal": ["CNY", LEAF_MINOR - 10_000],
            "rate_ppm": 24_000,
            "recourse": False,
            "maturity": add_days(business_date(time_ms), 90),
        }
        holder = SUPPLIERS["STAV".index(kind) % 2]
        return Call(holder, "receivable", "apply_voucher_financing", args)


class Payload(Workload):
    """Transactions of ``size`` bytes, signature and all."""

    name = "payload"
    modules = ("receivable@1", "payload@1")

    def __init__(self, size: int) -> None:
        least = self._envelope_bytes(0)
        if size < least:
            raise ValueError(f"--payload-bytes {size}: a signed transaction of this kind has at least {least} bytes")
        # The heads of byte strings grow with them: begin a few bytes too long, and shorten.
        self._data = size - least
        while self._envelope_bytes(self._data) > size:
            self._data -= 1

    def install(self, folder: Path) -> None:
        """A distribution that names the entry point, as a member's own module would have."""
        info = folder / "dawan_benchmark_payload-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dawan-benchmark-payload\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[dawan_node.modules]\npayload = dawan_benchmark_payload:module\n")
        # A package of its own: what a module's package imports is looked at and counted, which is not for benchmarks.
        source = Path(__file__).with_name("payload_module.py")
        (folder / "dawan_benchmark_payload.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        root = str(Path(__file__).resolve().parents[1])
        known = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), known or root, *([root] if known else [])])
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()

    def call(self, number: int, time_ms: int) -> Call:
        # From 2**20 on, a number has the same five bytes whichever it is.
        args = {"number": (1 << 20) + number, "data": bytes(self._data)}
        return Call(SUPPLIERS[number % len(SUPPLIERS)], "payload", "record", args)

    @staticmethod
    def _envelope_bytes(data: int) -> int:
        args = {"number": 1 << 20, "data": bytes(data)}
        body = build_body(bytes(32), "payload", "record", args, valid_until_ms=1 << 40, nonce=bytes(16))
        return len(assemble_transaction(body, "ed25519", bytes(32), bytes(64)))


def workload_of(name: str, payload_bytes: int) -> Workload:
    """By name. Raises ValueError for a payload too small to be a transaction."""
    if name == Payload.name:
        return Payload(payload_bytes)
    kinds: dict[str, type[Workload]] = {kind.name: kind for kind in (Record, Transfer, Mix)}
    return kinds[name]()


NAMES: Final = (Record.name, Transfer.name, Mix.name, Payload.name)


def register(number: str, seller: str, buyer: str, time_ms: int, nth: int, minor: int = 0) -> Call:
    """An invoice of today, due in 90 days."""
    today = business_date(time_ms)
    args = {
        "number": number,
        "buyer": buyer,
        "issue_date": today,
        "due_date": add_days(today, 90),
        "total": ["CNY", minor or _total(nth)],
    }
    return Call(seller, "receivable", "record_invoice", args)


def invoice(number: str, nth: int, time_ms: int) -> str:
    """The id of invoice ``nth`` that ``register`` recorded for the buyer."""
    return _invoice(number, SUPPLIERS[nth % 3], BUYER, time_ms, _total(nth))


def supply(kind: str, holder: str, count: int, time_ms: int) -> Iterator[Call]:
    """Calls after which ``holder`` has the vouchers ``leaf(kind, 0)`` to ``leaf(kind, count - 1)``."""
    for root in range(-(-count // LEAVES)):
        yield from vouchers(f"{kind}-{root:06d}", holder, min(LEAVES, count - root * LEAVES), time_ms)


def leaf(kind: str, nth: int) -> str:
    """The voucher that ``supply`` made as the ``nth``."""
    root, place = divmod(nth, LEAVES)
    branch, twig = divmod(place, PARTS)
    return f"{CORE}/{kind}-{root:06d}.{branch + 1}.{twig + 1}"


def vouchers(number: str, holder: str, count: int, time_ms: int) -> Iterator[Call]:
    """One invoice, one voucher on it, split twice into at least ``count`` (at most 1,024) parts."""
    today = business_date(time_ms)
    yield register(number, holder, CORE, time_ms, 0, FACE_MINOR)
    identifier = _invoice(number, holder, CORE, time_ms, FACE_MINOR)
    yield Call(CORE, "receivable", "confirm_invoice", {"invoice": identifier}, 0)
    args = {
        "number": number,
        "holder": holder,
        "face": ["CNY", FACE_MINOR],
        "due_date": add_days(today, 170),
        "invoices": [{"invoice": identifier, "minor": FACE_MINOR}],
    }
    yield Call(CORE, "receivable", "issue_voucher", args)
    voucher = f"{CORE}/{number}"
    yield Call(holder, "receivable", "accept_voucher", {"voucher": voucher}, 0)
    yield _split(holder, voucher, LEAF_MINOR * PARTS)
    for branch in range(-(-count // PARTS)):
        yield _split(holder, f"{voucher}.{branch + 1}", LEAF_MINOR)


def _split(holder: str, voucher: str, minor: int) -> Call:
    args = {"voucher": voucher, "parts": [["CNY", minor]] * PARTS}
    return Call(holder, "receivable", "split_voucher", args, PARTS)


def _invoice(number: str, seller: str, buyer: str, time_ms: int, minor: int) -> str:
    normalised = normalised_number(number)
    assert normalised is not None, number
    return invoice_id(seller, buyer, normalised, business_date(time_ms), Money("CNY", minor))


def _total(nth: int) -> int:
    return 100_000 + nth % 9_973
