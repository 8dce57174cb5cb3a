"""The life of an edition: which command leads from which state to which."""

from __future__ import annotations

from dawan_node.modules.refdata.declaration import Edition, module

module.state_machine(
    Edition,
    "state",
    {
        "open_edition": "-> open",
        "seal_edition": "open -> sealed",
        "discard_edition": "open, sealed -> discarded",
        "enact": "sealed -> adopted",
    },
)
