"""The life of a proposal, an organisation, an identity and a node: which command leads from where to where.

What stands in the genesis begins as active there.
"""

from __future__ import annotations

from dawan_node.execution.module import Identity, NodeRecord, Organisation
from dawan_node.modules.governance.declaration import Proposal, module

module.state_machine(
    Proposal,
    "status",
    {
        "propose_parameter": "-> open",
        "propose_freeze": "-> open",
        "propose_org_role": "-> open",
        "propose_org": "-> open",
        "propose_org_status": "-> open",
        "propose_org_ca": "-> open",
        "propose_validator": "-> open",
        "propose_validator_key": "-> open",
        "propose_validator_removal": "-> open",
        "open_resolution": "-> open",
        "vote": "open -> passed, rejected",
        "enact": "passed -> enacted",
        "enact_resolution": "passed -> enacted",
    },
)

module.state_machine(
    Organisation,
    "status",
    {
        "enact": ("-> active", "active -> suspended, removed", "suspended -> active, removed"),
    },
)

module.state_machine(
    Identity,
    "status",
    {
        # The first administrator of a new organisation.
        "enact": "-> active",
        "enrol": "-> active",
        "revoke": "active -> revoked",
    },
)

module.state_machine(
    NodeRecord,
    "status",
    {
        # Nodes of a new organisation, and a new validator's.
        "enact": ("-> active", "removed -> active"),
        "register_node": ("-> active", "removed -> active"),
        "remove_node": "active -> removed",
    },
)
