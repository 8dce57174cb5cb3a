"""The holder of the node's Ed25519 key.

The key speaks for the node in two ways. On links it proves who is there (hellos, join requests). On a channel it
*votes*, and there two contradicting signatures are proof of a lie, whatever caused them: a bug, a restored backup, a
second copy of the data directory. So nobody but this object touches the key, and what it signs on a channel goes
through that channel's ``SlotGuard``, the account of everything the key has signed there, rebuilt from the write-ahead
log at start (amendment U7). The replica may be wrong; the account is not asked to believe it.

``NodeSigner`` is for links and hands out one ``ChannelSigner`` per channel; a second account for one channel could
sign what the first refuses, so it refuses to make one.

One kind of transaction is signed by it as well: the one that records evidence against another validator, built exactly
as ``evidence_body`` builds it. It moves nothing and gives nobody a right, and it must leave without a person (amendment
A6). Every other body is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dawan_node import failpoints
from dawan_node.consensus.guard import SlotGuard
from dawan_node.consensus.records import Record
from dawan_node.consensus.signer import Statement
from dawan_node.crypto.signatures import ED25519, SIGNATURE_BYTES, PrivateKey
from dawan_node.errors import InvalidTransaction, SigningRefused
from dawan_node.primitives.evidence import EVIDENCE_COMMAND, Flaw, evidence_nonce, examine
from dawan_node.primitives.transaction import BODY_VERSION, TX_TAG, Body, Transaction, assemble_envelope

#: What the key signs outside of channels. Votes and transactions are deliberately not among them; on its channel it
#: signs votes through the guard, and ``sign_evidence``.
LINK_TAGS: Final = frozenset({b"dawan:hello:v1", b"dawan:join:v1"})


class NodeSigner:
    """The node's key, for links; ``channel`` makes the voting part of it."""

    __slots__ = ("_chain_ids", "_key")

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._chain_ids: set[bytes] = set()

    @property
    def public_key(self) -> bytes:
        """The key others know this node by."""
        return self._key.public_key

    def sign(self, tag: bytes, data: bytes) -> bytes:
        """The signature over ``tag LF data`` for a message that proves identity and binds to nothing.

        Raises SigningRefused for every tag that is not of that kind: a vote is signed through its channel only.
        """
        if tag not in LINK_TAGS:
            raise SigningRefused(f"{tag[:32]!r} is not signed outside of a channel")
        return self._key.sign(tag, data)

    def channel(self, chain_id: bytes, records: Iterable[Record]) -> ChannelSigner:
        """The voter on one channel. ``records`` is all that the write-ahead log holds of it, in order.

        Make none when there is no log, or one that may be older than what was signed: then the node only observes
        (amendment U6). Raises SigningRefused for a second one, InvalidInput when ``records`` are of another channel
        or damaged.
        """
        if chain_id in self._chain_ids:
            raise SigningRefused(f"there is a signer for chain {chain_id.hex()[:16]} already")
        guard = SlotGuard(chain_id)
        guard.restore(records)
        self._chain_ids.add(chain_id)
        return ChannelSigner(self._key, guard, chain_id)

    def __repr__(self) -> str:
        return f"NodeSigner(public_key={self.public_key.hex()}, key=<redacted>)"


class ChannelSigner:
    """Signs this node's votes on one channel; implements ``consensus.signer.VoteSigner``."""

    __slots__ = ("_chain_id", "_guard", "_key")

    def __init__(self, key: PrivateKey, guard: SlotGuard, chain_id: bytes) -> None:
        """Use ``NodeSigner.channel``. ``guard`` knows all that ``key`` has signed on the channel."""
        self._key = key
        self._guard = guard
        self._chain_id = chain_id

    @property
    def public_key(self) -> bytes:
        """The validator key of the votes."""
        return self._key.public_key

    @property
    def floor(self) -> int:
        """The highest height known to be decided: only the decided blocks are voted for up to here."""
        return self._guard.floor

    def sign(self, statement: Statement) -> bytes:
        """The signature over ``statement``, the same one each time.

        It must be on disk before it leaves the node (``Ready.records``), or a restart forgets it. Raises
        SigningRefused when it contradicts an earlier statement.
        """
        signature = self._guard.check(statement)
        if signature is None:
            failpoints.reach("sign.before")
            signature = self._key.sign(statement.kind.tag, statement.data)
            failpoints.reach("sign.after")
            self._guard.signed(statement, signature)
        return signature

    def decided(self, epoch: int, height: int, block_hash: bytes, result_hash: bytes) -> None:
        """``block_hash`` with ``result_hash`` is final: no other block is voted for at or below ``height``."""
        self._guard.decided(epoch, height, block_hash, result_hash)

    def sign_evidence(self, body: bytes) -> bytes:
        """The envelope of a transaction that records evidence against another validator of this channel.

        Raises SigningRefused for every body that is not, byte for byte, what ``evidence_body`` makes of a proof that
        is a contradiction in itself.
        """
        try:
            asked = Transaction.decode(assemble_envelope(body, ED25519, self.public_key, bytes(SIGNATURE_BYTES))).body
        except InvalidTransaction as error:
            raise SigningRefused(f"not the body of a transaction: {error.detail}") from None
        proof = asked.args.get("proof")
        if not isinstance(proof, bytes) or body != evidence_body(self._chain_id, proof, asked.valid_until_ms):
            raise SigningRefused("a validator's key signs no transaction but evidence on its own channel")
        charge = examine(proof, self._chain_id)
        if isinstance(charge, Flaw):
            raise SigningRefused(f"the proof proves nothing: {charge.value}")
        if charge.public_key == self.public_key:
            raise SigningRefused("the proof is against this very key")
        return assemble_envelope(body, ED25519, self.public_key, self._key.sign(TX_TAG, body))

    def __repr__(self) -> str:
        return f"ChannelSigner(public_key={self.public_key.hex()}, floor={self.floor}, key=<redacted>)"


def evidence_body(chain_id: bytes, proof: bytes, valid_until_ms: int) -> bytes:
    """The body of the transaction that records ``proof``; its nonce follows from the proof."""
    module, command = EVIDENCE_COMMAND
    return Body(
        BODY_VERSION, chain_id, evidence_nonce(proof), valid_until_ms, module, command, {"proof": proof}
    ).encode()
