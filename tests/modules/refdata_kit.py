"""A channel with reference data in a test: an edition loaded, voted on and adopted in one line each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dawan_node.execution.module import Module, add_days, business_date
from dawan_node.interchange.refdata_csv import as_sent, batches, read_table
from dawan_node.modules.refdata import module as refdata
from dawan_node.modules.refdata.loading import NewRow
from dawan_node.primitives.receipt import Receipt
from dawan_node.testing.module_kit import ModuleKit, People

SEEDS = Path(__file__).resolve().parents[2] / "configs" / "refdata"


def currency(code: str, exponent: str = "2", numeric: str = "000") -> NewRow:
    return NewRow(code, f"the {code}", (("exponent", exponent), ("numeric", numeric)), False)


def removed(code: str) -> NewRow:
    return NewRow(code, "", (), True)


class Reference:
    """The kit and what administrators do in it. ``ok`` requires success, ``expect`` the given reason."""

    def __init__(self, *modules: Module, people: People | None = None, **options: Any) -> None:
        self.kit = ModuleKit([*modules, refdata], people or {}, **options)
        self._proposals = 0

    @property
    def today(self) -> str:
        return business_date(self.kit.time_ms + 1_000)

    def day(self, days: int) -> str:
        return add_days(self.today, days)

    def ok(self, person: str, command: str, **args: Any) -> Receipt:
        receipt = self.kit.run(person, command, args, module="refdata")
        assert receipt.code == 0, f"{command}: {receipt.code} {receipt.reason}"
        return receipt

    def expect(self, reason: str, person: str, command: str, **args: Any) -> None:
        before = dict(self.kit.state.values)
        receipt = self.kit.run(person, command, args, module="refdata")
        assert (receipt.code, receipt.reason) == (3, reason), f"{command}: {receipt.code} {receipt.reason}"
        changed = {key for key in self.kit.state.values.keys() | before.keys() if key[1] != "replay"}
        assert all(self.kit.state.values.get(key) == before.get(key) for key in changed)

    def load(self, table: str, rows: Sequence[NewRow], *, base: int = 0, source: bytes = bytes(32)) -> int:
        """A sealed edition of ``table``; its version."""
        editions, _ = self.kit.query("editions", {"table": table}, module="refdata", limit=1_000)
        version = len(editions) + 1
        self.ok("gz-admin", "open_edition", table=table, version=version, title="t", source=source, base=base)
        for batch in batches(rows):
            self.ok("gz-admin", "write_rows", table=table, version=version, rows=[as_sent(row) for row in batch])
        self.ok("gz-admin", "seal_edition", table=table, version=version)
        return version

    def propose(self, command: str, **args: Any) -> str:
        self._proposals += 1
        name = f"change-{self._proposals}"
        self.ok("gz-admin", command, id=name, **args)
        return name

    def pass_vote(self, proposal: str) -> None:
        for org in ("gz", "hk", "mo"):
            vote = {"proposal": proposal, "approve": True}
            assert self.kit.run(f"{org}-admin", "vote", vote, module="governance").code == 0

    def adopt(self, table: str, version: int, effective_from: str) -> None:
        """Propose, vote, enact."""
        proposal = self.propose("propose_edition", table=table, version=version, effective_from=effective_from)
        self.pass_vote(proposal)
        self.ok("gz-admin", "enact", proposal=proposal)

    def set_parameter(self, key: str, value: int, effective_from: str) -> None:
        proposal = self.propose("propose_parameter", key=key, value=value, effective_from=effective_from)
        self.pass_vote(proposal)
        self.ok("gz-admin", "enact", proposal=proposal)

    def seed(self, *tables: str) -> None:
        """The tables of ``configs/refdata``, in force since 2025."""
        for table in tables:
            reading = read_table(table, (SEEDS / f"{table}.csv").read_bytes())
            assert not reading.refusal
            self.adopt(table, self.load(table, reading.rows, source=reading.source), "2025-01-01")

    def found(self, table: str, code: str, date: str = "") -> Any:
        """The row in force, or None."""
        items, _ = self.kit.query("lookup", {"table": table, "code": code, "date": date}, module="refdata")
        return items[0] if items else None

    def value(self, key: str, date: str = "") -> int:
        items, _ = self.kit.query("parameters", {"key": key, "date": date}, module="refdata")
        number: int = items[0].value
        return number
