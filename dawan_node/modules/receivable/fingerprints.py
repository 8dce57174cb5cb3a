"""Fingerprints against double financing: what makes two papers the same invoice.

An invoice is financed twice by presenting it to a second bank in another spelling: ``INV-001``, `` inv-001``,
``INV 001``, in full-width digits. So a number is normalised before it is compared: compatibility forms and case are
folded (NFKC), spaces and punctuation dropped, leading zeros stripped. Two fingerprints follow (domain.md 1.3, point 7):

- **exact**: seller, buyer, number, issue date, currency and amount all equal. A hit blocks (``E_DUP_FINANCE``).
- **loose**: seller and number equal, the number with the zeros before every digit run stripped as well. A hit warns:
  ``1-12`` and ``11-2`` look alike and may be two invoices, so a second person of the financier decides and says why.

Why the chain computes them, without a key. The registers that banks know use an HMAC under a key of the financiers,
because a bare hash of an invoice that nobody else sees can be guessed. Here the fields of an invoice are recorded in
clear on the channel (privacy class P1), so a hash of them reveals nothing more, while a key would be worse: validators
must all recompute the fingerprint to refuse a duplicate, so each would have to hold it, and one leak would not be
noticed. What stays off chain can still be registered: ``reserve_financing`` takes a ``tag``, an HMAC-SHA-256 that the
financier computed under the financiers' shared key over a document the channel does not hold; a tag is taken once.

Which texts are numbers, and their one spelling, is the same for all documents (``document_numbers``).
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Money, tagged_hash
from dawan_node.modules.document_numbers import loose_number, normalised_number
from dawan_node.primitives.encoding import encode

__all__ = ["EXACT_TAG", "invoice_id", "loose_number", "normalised_number"]

EXACT_TAG: Final = b"dawan:receivable:invoice:v1"


def invoice_id(seller: str, buyer: str, normalised: str, issue_date: str, total: Money) -> str:
    """The invoice's identifier, which contains its exact fingerprint: equal exactly for the same invoice.

    Seller and number stand in it in clear, so of the hash 64 bits suffice: a collision could only be between two
    invoices of one seller with one number, and would merely refuse the second.
    """
    exact = tagged_hash(EXACT_TAG, encode([seller, buyer, normalised, issue_date, total.currency, total.minor]))
    return f"{seller}/{normalised}/{exact[:8].hex()}"
