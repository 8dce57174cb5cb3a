"""The life of a fingerprint and of a question: which command, or function a module calls, leads from where to where."""

from __future__ import annotations

from dawan_node.modules.kernel.declaration import Fingerprint, Question, module

module.state_machine(
    Fingerprint,
    "state",
    {
        # A document whose financing ended may be registered again.
        "register_fingerprint": (
            "-> REGISTERED, HELD",
            "RELEASED, CANCELLED -> REGISTERED, HELD",
        ),
        "approve_similar": "HELD -> REGISTERED",
        "finance_fingerprint": "REGISTERED -> FINANCED",
        "release_fingerprint": "FINANCED -> RELEASED",
        "cancel_fingerprint": "HELD, REGISTERED -> CANCELLED",
    },
)

module.state_machine(
    Question,
    "state",
    {
        "ask": "-> OPEN",
        "attest": "OPEN -> AGREED",
        "dispute": "AGREED -> DISPUTED",
        # OPEN: its sources did not agree in time.
        "resolve": "OPEN, DISPUTED -> RESOLVED",
    },
)
