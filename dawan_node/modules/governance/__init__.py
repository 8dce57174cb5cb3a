"""``governance``: who belongs to a channel, with which keys, roles and nodes, and how its rules change.

Every channel runs this module. Its first records are the genesis itself; identities are enrolled, rotated and revoked
by the administrators of their own organisation, who register its nodes and publish its revocation lists too;
everything that concerns several organisations, a new one among them, is a proposal that the founding organisations
vote on. A vote only records. A passed change takes effect by ``governance.enact``, alone in a barrier block (amendment
U11); who validates, with which key, is such a change. Validators that signed contradicting statements are on record.
"""

from dawan_node.modules.governance import (
    evidence,
    identities,
    nodes,
    proposals,
    queries,
    resolutions,
    validators,
)
from dawan_node.modules.governance.declaration import module

# isort: split
# It names commands, so they come first.
from dawan_node.modules.governance import states

__all__ = ["evidence", "identities", "module", "nodes", "proposals", "queries", "resolutions", "states", "validators"]
