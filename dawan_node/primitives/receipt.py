"""Receipts: what became of one included transaction (design section 4).

A failed transaction is on chain too: its receipt has a code and a declared reason, no events, and it changed no
state. The reason is an identifier from a table, never exception text (amendment L14).
"""

from __future__ import annotations

from typing import Any

from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct, decoder_for

# An event-heavy receipt of the largest allowed command; emission is charged against the step budget.
RECEIPT_BYTES_MAX = 256 * 1024


class Receipt(ProtocolStruct, frozen=True):
    """``events`` are (name, data map) pairs in the order the command emitted them."""

    tx_id: Bytes32
    height: Uint
    index: Uint
    code: Uint
    reason: str
    events: list[tuple[str, dict[str, Any]]]

    @classmethod
    def decode(cls, data: bytes) -> Receipt:
        """Raises InvalidEncoding."""
        return decode_struct(_decoder, data, RECEIPT_BYTES_MAX)


_decoder = decoder_for(Receipt)
