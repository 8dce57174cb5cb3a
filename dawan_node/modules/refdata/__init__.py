"""The refdata module: code tables, banking calendars and policy parameters, decided by vote and dated (domain.md 1.1).

A library of currencies or holidays changes with every release, so two validators with two releases would disagree about
one payment. Here the tables are part of the channel's state. An administrator writes a table's next *edition* row by
row in as many transactions as it takes, seals it, and proposes it with the date from which it is to hold; the
organisations vote in ``governance``; ``enact`` adopts it. A look-up takes the edition in force on the block's business
date, and an edition that replaces another one takes effect tomorrow at the earliest, so what a transaction saw can be
looked up again for ever. Parameters (limits, days, rates) are proposed and dated the same way.

Files by noun: ``tables`` (which tables there are and what their rows hold), ``parameters``, ``declaration``,
``loading`` (editions and rows), ``changes`` (proposals and their enactment), ``lookups`` (what other modules import),
``queries``, ``invariants``. A module that looks something up declares ``uses=("refdata",)``.
"""

from dawan_node.modules.refdata import changes, invariants, loading, queries
from dawan_node.modules.refdata.declaration import Edition, Parameter, Row, module
from dawan_node.modules.refdata.lookups import (
    banking_calendar,
    currency_places,
    edition_in_force,
    lookup,
    parameter,
)

# isort: split
# It names commands, so they come first.
from dawan_node.modules.refdata import states

__all__ = [
    "Edition",
    "Parameter",
    "Row",
    "banking_calendar",
    "changes",
    "currency_places",
    "edition_in_force",
    "invariants",
    "loading",
    "lookup",
    "module",
    "parameter",
    "queries",
    "states",
]
