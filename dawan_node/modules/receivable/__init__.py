"""The receivable module: invoices, vouchers and their financing, with nothing financed twice (domain.md M1).

A supplier records the invoices it sent, the buyer confirms what it owes, a core enterprise turns its confirmed debts
into vouchers that travel down its supply chain in parts, banks finance vouchers or invoices, a settlement bank attests
every payment, and at maturity the holder is paid. Files by noun: ``entities``, ``fingerprints``, ``invoices``,
``vouchers``, ``financing``, ``cash``, ``settlement``, ``queries``, ``invariants``; ``declaration`` holds the events and
the error table.
"""

from dawan_node.modules.receivable import financing, invariants, invoices, queries, settlement, vouchers
from dawan_node.modules.receivable.declaration import module

# isort: split
# It names commands, so they come first.
from dawan_node.modules.receivable import states

__all__ = ["financing", "invariants", "invoices", "module", "queries", "settlement", "states", "vouchers"]
