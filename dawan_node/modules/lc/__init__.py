"""The lc module: letters of credit under UCP 600 and payment obligations under URDTT (domain.md M2).

An applicant asks for a credit, the issuing bank undertakes it, others advise and confirm; the beneficiary presents
documents, a bank examines them within five banking days of its place and honours or refuses them by one notice; money
is attested by a settlement bank. Amendments need each beneficiary's consent, transfers divide what there is. Files by
noun: ``entities``, ``credits``, ``amendments``, ``transfers``, ``presentations``, ``titles``, ``bills``, ``calendar``,
``honour``, ``handovers``, ``bindings`` (what titles and handovers do to a title), ``reimbursements``, ``obligations``,
``queries``, ``invariants``; ``declaration`` holds the events and the error table.
"""

from dawan_node.modules.lc import (
    amendments,
    bills,
    credits,
    handovers,
    honour,
    invariants,
    obligations,
    presentations,
    queries,
    reimbursements,
    titles,
    transfers,
)
from dawan_node.modules.lc.declaration import module

# isort: split
# It names commands, so they come first.
from dawan_node.modules.lc import states

__all__ = [
    "amendments",
    "bills",
    "credits",
    "handovers",
    "honour",
    "invariants",
    "module",
    "obligations",
    "presentations",
    "queries",
    "reimbursements",
    "states",
    "titles",
    "transfers",
]
