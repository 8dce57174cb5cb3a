"""The receivable module: invoices, vouchers and their financing, with nothing financed twice (domain.md M1).

A supplier records the invoices it sent, the buyer confirms what it owes, a core enterprise turns its confirmed debts
into vouchers that travel down its supply chain in parts, banks finance vouchers or invoices, a settlement bank attests
every payment, and at maturity the holder is paid. Authorities write beside them: the central bank rediscounts, customs
and the foreign exchange administration say what was exported and may be financed, the tax authority takes note of what
is paid abroad.

Files by noun: ``entities`` and ``supervised`` (the records), ``terms``, ``fingerprints``, ``invoices``, ``related``,
``vouchers``, ``assets``, ``financing`` (up to the payment), ``repayment`` (from it on), ``surplus``,
``title_security``, ``cash``, ``announcements``, ``settlement``, ``clearing``, ``rediscounts``, ``forfeitures``,
``freezes``, ``declarations``, ``tax_filings``, ``enterprises``; ``queries``, ``supervised_queries``, ``reports``,
``matches``; ``invariants``, ``supervised_invariants``, ``payment_invariants``; ``declaration`` holds the events and the
error table, ``rules`` and ``versions`` say what binds since when.
"""

from dawan_node.modules.receivable import (
    announcements,
    clearing,
    declarations,
    enterprises,
    financing,
    forfeitures,
    invariants,
    invoices,
    matches,
    payment_invariants,
    queries,
    rediscounts,
    related,
    repayment,
    reports,
    settlement,
    supervised_invariants,
    supervised_queries,
    surplus,
    tax_filings,
    title_security,
    vouchers,
)
from dawan_node.modules.receivable.declaration import module

# isort: split
# It names commands, so they come first.
from dawan_node.modules.receivable import states

# isort: split
# All that is declared is in every version.
from dawan_node.modules.receivable.versions import version_2, versions

__all__ = [
    "announcements",
    "clearing",
    "declarations",
    "enterprises",
    "financing",
    "forfeitures",
    "invariants",
    "invoices",
    "matches",
    "module",
    "payment_invariants",
    "queries",
    "rediscounts",
    "related",
    "repayment",
    "reports",
    "settlement",
    "states",
    "supervised_invariants",
    "supervised_queries",
    "surplus",
    "tax_filings",
    "title_security",
    "version_2",
    "versions",
    "vouchers",
]
