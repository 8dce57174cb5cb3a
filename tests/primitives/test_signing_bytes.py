"""What a client signs elsewhere is exactly what a node verifies (formats A.2)."""

from __future__ import annotations

from dawan_node.crypto.signatures import PrivateKey, verify_ed25519
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope, sign_transaction, signing_bytes


def test_an_envelope_assembled_from_a_signature_over_the_signing_bytes_is_the_signed_one() -> None:
    key = PrivateKey.from_seed(bytes(32))
    body = Body(1, bytes(32), bytes(16), 1, "receivable", "record_invoice", {"n": 1})
    envelope = sign_transaction(key, body)
    signature = Transaction.decode(envelope).signature
    assert verify_ed25519(key.public_key, signing_bytes(body.encode()), signature)
    assert assemble_envelope(body.encode(), "ed25519", key.public_key, signature) == envelope
