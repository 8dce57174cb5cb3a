"""Which rules are in force: those of version 2 from the first block, on a chain of version 1 from the day it votes.

Version 1 let a bank of the payer's own organisation attest a payment alone, did not say which invoices are between
parties of one organisation, asked no court, recorded nothing of what an enforced pledge brought beyond its debt, and
made a borrower holder of a voucher that had been paid to another. Kept blocks did all five and must execute as they
did, so a chain of version 1 changes over on a date: the alliance votes the parameter ``receivable.rules`` = 2
(``refdata``), or begins a chain with version 2.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context
from dawan_node.modules.refdata import parameter

RULES: Final = "receivable.rules"
#: The version whose rules these are.
STRICT: Final = 2


def strict(ctx: Context) -> bool:
    """Whether the rules of version 2 bind this transaction."""
    if ctx.version >= STRICT:
        return True
    return ctx.runs("refdata") and parameter(ctx, RULES, 1) >= STRICT
