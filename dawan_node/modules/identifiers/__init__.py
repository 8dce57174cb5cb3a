"""Identifiers of parties and of things, normalised and checked; ``docs/kernel.md`` shows how modules use them.

``parties`` knows who: LEI, USCC, Hong Kong and Macau registration numbers, BIC, GLN. ``objects`` knows what: freight
containers, logistic and trade units, ships, payment references. Only arithmetic on ASCII text happens here, no table
that changes between releases, so every validator agrees.
"""

from dawan_node.modules.identifiers.objects import (
    ObjectNumber,
    container_number,
    creditor_reference,
    gtin,
    imo_number,
    sscc,
)
from dawan_node.modules.identifiers.parties import (
    PartyIdentifier,
    Scheme,
    normalised_bic,
    normalised_gln,
    normalised_hk_brn,
    normalised_lei,
    normalised_mo_registration,
    normalised_uscc,
    party_identifier,
)

__all__ = [
    "ObjectNumber",
    "PartyIdentifier",
    "Scheme",
    "container_number",
    "creditor_reference",
    "gtin",
    "imo_number",
    "normalised_bic",
    "normalised_gln",
    "normalised_hk_brn",
    "normalised_lei",
    "normalised_mo_registration",
    "normalised_uscc",
    "party_identifier",
    "sscc",
]
