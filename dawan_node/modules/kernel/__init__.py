"""The kernel module: what every business module of a channel shares, so that no two of them can use one thing twice.

Locks and freezes of assets, payments that settle one thing once, the registry of documents that were financed,
documents kept off chain, and statements that several sources must agree on (domain.md 1.3). The records are the
kernel's, one set per channel: a payment used by one module is used for all. A business module declares
``uses=("kernel",)``, changes them through exported functions (``ctx.call("kernel", "lock", ...)``) and reads them
through ``lookups``.

An exported function is called inside the transaction of the calling module, which has decided that its sender may do
this; ``ctx.caller`` keeps apart what belongs to which module, and no module releases or consumes another's. What people
of no business module decide, a court or a source of facts, are commands of the kernel itself.

Files by noun: ``locks``, ``freezes``, ``cash``, ``fingerprints``, ``documents``, ``attestations``; ``lookups`` reads,
``queries`` answers, ``declaration`` holds records, events and errors.
"""

from dawan_node.modules.kernel import attestations, cash, documents, fingerprints, freezes, locks, queries
from dawan_node.modules.kernel.declaration import module
from dawan_node.modules.kernel.lookups import is_frozen, live_lock, settled_answer

# isort: split
# It names commands, so they come first.
from dawan_node.modules.kernel import states

__all__ = [
    "attestations",
    "cash",
    "documents",
    "fingerprints",
    "freezes",
    "is_frozen",
    "live_lock",
    "locks",
    "module",
    "queries",
    "settled_answer",
    "states",
]
