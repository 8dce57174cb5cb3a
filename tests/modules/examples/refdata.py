"""One of each command of ``refdata``: a table is loaded and adopted, another one given up, a parameter set."""

from __future__ import annotations

from tests.modules.examples.notebook import Notebook
from tests.modules.refdata_kit import Reference, currency


def story() -> Notebook:
    reference = Reference()
    notebook = Notebook(reference.kit)
    rows = [currency("CNY", numeric="156"), currency("HKD", numeric="344"), currency("MOP", numeric="446")]
    reference.adopt("currency", reference.load("currency", rows, source=bytes(range(32))), "2025-01-01")
    wrong = reference.load("currency", [currency("CNY", exponent="3")])
    one = {"table": "currency", "version": wrong}
    reference.ok("gz-admin", "discard_edition", **one)
    reference.ok("gz-admin", "purge_rows", **one)
    newest = {"table": "currency", "version": wrong + 1}
    reference.ok("gz-admin", "open_edition", **newest, title="never finished", source=bytes(32))
    reference.ok("gz-admin", "discard_edition", **newest)
    reference.set_parameter("lc.exam.banking_days", 4, reference.day(1))
    return notebook
