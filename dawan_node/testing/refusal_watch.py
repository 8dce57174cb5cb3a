"""Every refusal that a kit sees is one that is read from the code (``execution.refusals``), or the test fails.

So what the pages of the modules say of each command is checked by all that the tests of the modules do. Only where the
kit runs the node's own modules as they are: a stand-in of a test has other reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from dawan_node.execution.registry import BUILTIN, Registry, installed_versions
from dawan_node.node.module_refusals import refusals_of
from dawan_node.primitives.codes import Code
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction


def check_refusals(registry: Registry, transactions: Sequence[Transaction], receipts: Sequence[Receipt]) -> None:
    """Raise AssertionError for a refusal that no page would have told."""
    for transaction, receipt in zip(transactions, receipts, strict=True):
        name, command = transaction.body.module, transaction.body.command
        module = registry.module(name)
        if receipt.code != Code.E_MODULE or name not in BUILTIN or module is None:
            continue
        if receipt.reason not in told(name, module.version).get(command, ()) and _is_as_shipped(registry):
            raise AssertionError(
                f"{name}.{command} was refused with {receipt.reason}, which execution.refusals does not find in what "
                "the command may run: teach it, or the page of the module is wrong"
            )


@cache
def told(module: str, version: int) -> dict[str, frozenset[str]]:
    """The reasons of every command of a module of this package; empty for a version it does not have."""
    shipped = [each for each in installed_versions(module) if each.version == version]
    found = refusals_of(shipped[0]) if shipped else {}
    return {command: frozenset([reason for _, reason, _ in reasons]) for command, reasons in found.items()}


def _is_as_shipped(registry: Registry) -> bool:
    return all(module in installed_versions(name) for name, module in registry.modules.items() if name in BUILTIN)
