"""A seat claim: the holder of a key says that it wants to vote with it, on one channel, in one seat.

Whoever is voted a validator must hold the key: a key somebody else made could never be used, and one validator less
would stand behind every quorum without anybody knowing. So the key itself signs ``dawan:seat:v1``, LF, the bytes below.
They name everything the vote is about; a claim for one channel, seat or organisation is none for another. A claim does
not expire, because a key gets a seat once at most: it is never taken a second time.
"""

from __future__ import annotations

from typing import Final

from dawan_node.primitives.encoding import encode

SEAT_TAG: Final = b"dawan:seat:v1"


def seat_claim_bytes(chain_id: bytes, name: str, org: str, suite: str, public_key: bytes) -> bytes:
    """``enc([1, chain_id, name, org, suite, public_key])`` (formats A.1): validator ``name`` of ``org`` votes with
    the key on the channel ``chain_id``."""
    return encode([1, chain_id, name, org, suite, public_key])
