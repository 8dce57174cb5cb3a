"""Writes down what a kit runs, as a user of JSON-RPC would have sent and seen it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc import values
from dawan_node.rpc.module_page import Example
from dawan_node.rpc.schemas import ModuleSchemas
from dawan_node.testing.module_kit import ModuleKit, key_of_person, private_key_of


class Notebook:
    """Every transaction that ``kit`` runs from now on, with its receipt."""

    def __init__(self, kit: ModuleKit) -> None:
        self.kit = kit
        self.done: list[tuple[Transaction, Receipt]] = []
        self._names = {key_of_person(entry.name): entry.name for entry in kit.genesis.identities}
        for seat in kit.genesis.validators:
            self._names[private_key_of(f"validator {seat.name}").public_key] = f"{seat.name}, a validator,"
        self._schemas = ModuleSchemas(lambda module: kit.executor.describe(module) or {})
        run_block = kit.block

        def block(*transactions: Transaction, after_ms: int = 1_000) -> tuple[Receipt, ...]:
            receipts = run_block(*transactions, after_ms=after_ms)
            self.done += zip(transactions, receipts, strict=True)
            return receipts

        setattr(kit, "block", block)  # noqa: B010 - in the place of a method, which a type checker does not like

    def knows(self, name: str, key: PrivateKey) -> None:
        """Somebody who is enrolled in the story."""
        self._names[key.public_key] = name

    def examples(self, module: str) -> list[Example]:
        """The first success of each command of ``module``, in the order in which they came."""
        found: dict[str, Example] = {}
        for transaction, receipt in self.done:
            body = transaction.body
            if body.module == module and receipt.code == 0 and body.command not in found:
                found[body.command] = Example(
                    body.command,
                    self._names[transaction.public_key],
                    self._args(transaction),
                    self._receipt(module, receipt),
                )
        return list(found.values())

    def _args(self, transaction: Transaction) -> Any:
        """The arguments as a user writes them. Raises AssertionError if they would not be read back as they are."""
        body = transaction.body
        schema, root = self._schemas(body.module, "commands", body.command)
        assert schema is not None and root is not None
        shown = values.to_json(body.args, schema, root)
        assert values.from_json(shown, schema, "args", root) == body.args, f"{body.module}.{body.command}"
        return shown

    def _receipt(self, module: str, receipt: Receipt) -> dict[str, Any]:
        events: Sequence[tuple[str, Any]] = receipt.events
        return {
            "tx_id": values.to_hex(receipt.tx_id),
            "height": receipt.height,
            "index": receipt.index,
            "code": receipt.code,
            "reason": receipt.reason,
            "events": [
                {"name": name, "data": values.to_json(data, *self._schemas(module, "events", name))}
                for name, data in events
            ],
        }
