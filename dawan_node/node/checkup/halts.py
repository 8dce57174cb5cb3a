"""Channels that stopped for good: the file each of them left beside the log."""

from __future__ import annotations

from typing import Final

from dawan_node.errors import ConfigError
from dawan_node.node.checkup.finding import Finding, fail, ok
from dawan_node.node.checkup.patient import Patient
from dawan_node.node.halt_report import read_halt

CHECK: Final = "halts"


def check_halts(patient: Patient) -> list[Finding]:
    """No channel has met proof of more than f liars, or of this node's own key at work elsewhere."""
    found = []
    for path in patient.home.halt_files():
        try:
            why = read_halt(path)["reason"]
        except ConfigError as error:
            why = error.why
        found.append(
            fail(
                CHECK,
                path.name,
                "a channel stopped for good on this node: it holds what cannot be if enough validators are honest",
                why,
                f"Compare both statements in {path} with the other operators' files; the channel goes on only by a "
                "restart that all agree on.",
            )
        )
    return found or [ok(CHECK, "channels", "none has stopped for good")]
