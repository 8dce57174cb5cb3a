"""What this node can prove against validators, and the way of each proof onto the chain.

The replica notices contradictions and hands them over once. Here they are kept, written to the log so that a restart
forgets none (but for very large ones), and, where this node is a validator in force, sent in as a transaction that the
validator's own key signs. Every validator that noticed the same would send the same accusation, so they take turns: the
one after the accused first, the next two seconds later, and whoever finds the record in the state sends nothing. A
transaction that did get lost is sent again, the same bytes for as long as they are valid.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dawan_node.consensus.ready import Evidence, EvidenceKind
from dawan_node.errors import InvalidEncoding, SigningRefused, StorageError, StorageReason
from dawan_node.execution.channel import GOVERNANCE
from dawan_node.modules.governance.declaration import Evidence as EvidenceRecord
from dawan_node.modules.governance.declaration import evidence_key
from dawan_node.node.admission import Verdict
from dawan_node.node.logs import fields
from dawan_node.node.signer import evidence_body
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct, decoder_for

log = logging.getLogger(__name__)

#: The log record of a piece of evidence (kinds from ``records.SHELL_KINDS_FROM`` on are the shell's).
EVIDENCE_RECORD: Final = 33
#: Kept per channel; the replica keeps one per validator, epoch and kind, so a full house of liars fits.
HELD_MAX: Final = 64
#: Longer messages are kept in memory only: each log segment begins with all that is kept (amendment U7).
LOGGED_BYTES_MAX: Final = 64 * 1024
#: A block and its way to everybody take well under this; the next validator in turn sends only if the first did not.
TURN_MS: Final = 2_000
#: A transaction that is neither in the state nor refused for good is offered again this often.
RETRY_MS: Final = 10_000


class EvidenceSigner(Protocol):
    """``node.signer.ChannelSigner``."""

    @property
    def public_key(self) -> bytes: ...

    def sign_evidence(self, body: bytes) -> bytes: ...


class Pool(Protocol):
    """``node.admission.Admission``."""

    async def submit(self, envelopes: Sequence[bytes]) -> list[Verdict]: ...


class Ledger(Protocol):
    """``storage.state_store.StateStore``, as far as it is read here."""

    def get(self, module: str, collection: str, key: bytes) -> bytes | None: ...


class _Stored(ProtocolStruct, frozen=True):
    """Evidence in the log."""

    kind: str
    epoch: Uint
    voter: Uint
    public_key: Bytes32
    first: bytes
    second: bytes
    proof: bytes


_stored_decoder = decoder_for(_Stored)


@dataclass(slots=True)
class Held:
    """One piece of evidence. ``on_chain``: the height it was recorded at; ``dropped``: why it is sent no more."""

    evidence: Evidence
    on_chain: int | None = None
    dropped: str = ""
    due_ms: int | None = None
    envelope: bytes = b""
    valid_until_ms: int = 0


class Accuser:
    """The evidence of one channel. Lives on the event loop."""

    def __init__(
        self,
        channel: str,
        chain_id: bytes,
        signer: EvidenceSigner | None,
        state: Ledger,
        restored: Iterable[Evidence] = (),
    ) -> None:
        """``signer`` is None on a node that may not sign. ``restored`` is what the log held."""
        self._channel: Final = channel
        self._chain_id: Final = chain_id
        self._signer: Final = signer
        self._state: Final = state
        self._held: dict[tuple[bytes, int, EvidenceKind], Held] = {}
        self._looked_at = -1
        self._is_reporting = False
        for evidence in restored:
            self.add(evidence)

    @property
    def held(self) -> tuple[Held, ...]:
        """Everything kept, the oldest first."""
        return tuple(self._held.values())

    def add(self, evidence: Evidence) -> bool:
        """Keep a piece of evidence; whether it is new and there was room."""
        key = (evidence.public_key, evidence.epoch, evidence.kind)
        if key in self._held or len(self._held) >= HELD_MAX:
            return False
        self._held[key] = Held(evidence)
        self._looked_at = -1
        return True

    def records(self) -> list[bytes]:
        """The log records of what is kept, for a checkpoint."""
        return [record for held in self._held.values() if (record := encode_record(held.evidence))]

    def look(self, height: int) -> None:
        """Note what the state after ``height`` has on record."""
        if height == self._looked_at:
            return
        self._looked_at = height
        for held in self._held.values():
            if held.on_chain is None and held.evidence.proof:
                held.on_chain = self._recorded_at(held.evidence)

    def is_due(self, own_index: int | None, n: int, now_ms: int) -> bool:
        """Whether ``report`` has something to send. ``own_index`` is None while this node has no vote."""
        if self._signer is None or own_index is None or self._is_reporting:
            return False
        is_due = False
        for held in self._held.values():
            if self._is_open(held):
                if held.due_ms is None:
                    turn = (own_index - held.evidence.voter - 1) % n
                    held.due_ms = now_ms + turn * TURN_MS
                is_due = is_due or held.due_ms <= now_ms
        return is_due

    async def report(self, pool: Pool, now_ms: int, time_ms: int, lifetime_ms: int) -> None:
        """Send what is due. ``now_ms`` is the monotonic clock, ``time_ms`` the time blocks go by, ``lifetime_ms`` how
        long a transaction may be valid."""
        self._is_reporting = True
        try:
            for held in list(self._held.values()):
                if self._is_open(held) and held.due_ms is not None and held.due_ms <= now_ms:
                    held.due_ms = now_ms + RETRY_MS
                    try:
                        envelope = self._envelope(held, time_ms, lifetime_ms)
                    except SigningRefused as error:  # our own mistake, but no reason to stop a chain
                        held.dropped = str(error)
                        log.error("evidence_failed", extra=self._fields(held, why=held.dropped))
                        continue
                    (verdict,) = await pool.submit([envelope])
                    self._note(held, verdict)
        finally:
            self._is_reporting = False

    def _note(self, held: Held, verdict: Verdict) -> None:
        """What became of a transaction that was sent: waiting, refused for now, or on chain."""
        if verdict.refusal is not None:
            log.info("evidence_waits", extra=self._fields(held, why=verdict.refusal.reason))
        elif verdict.height is None:
            log.info("evidence_sent", extra=self._fields(held))
        else:
            held.on_chain = self._recorded_at(held.evidence)
            if held.on_chain is None:
                held.dropped = f"its transaction failed at height {verdict.height}"
                log.warning("evidence_failed", extra=self._fields(held, height=verdict.height))

    def _is_open(self, held: Held) -> bool:
        evidence = held.evidence
        assert self._signer is not None
        return (
            bool(evidence.proof)
            and held.on_chain is None
            and not held.dropped
            and evidence.public_key != self._signer.public_key
        )

    def _envelope(self, held: Held, time_ms: int, lifetime_ms: int) -> bytes:
        """The transaction: the same bytes while they are valid, across restarts too, because the end of their validity
        lies on a grid of half a lifetime."""
        assert self._signer is not None
        if held.valid_until_ms <= time_ms or held.valid_until_ms > time_ms + lifetime_ms:
            step = max(1, lifetime_ms // 2)
            held.valid_until_ms = (time_ms // step + 2) * step
            body = evidence_body(self._chain_id, held.evidence.proof, held.valid_until_ms)
            held.envelope = self._signer.sign_evidence(body)
        return held.envelope

    def _recorded_at(self, evidence: Evidence) -> int | None:
        key = evidence_key(evidence.public_key, evidence.epoch, evidence.kind.value)
        value = self._state.get(GOVERNANCE, EvidenceRecord.spec.collection, key)
        if value is None:
            return None
        record: EvidenceRecord = EvidenceRecord.spec.decode(value)
        return record.height

    def _fields(self, held: Held, **more: int | str) -> Mapping[str, Any]:
        evidence = held.evidence
        return fields(
            channel=self._channel, kind=evidence.kind.value, epoch=evidence.epoch, voter=evidence.voter, **more
        )


def encode_record(evidence: Evidence) -> bytes:
    """The payload of an EVIDENCE record; empty when it is too large to be kept in the log."""
    if len(evidence.first) + len(evidence.second) > LOGGED_BYTES_MAX:
        return b""
    return _Stored(
        evidence.kind.value,
        evidence.epoch,
        evidence.voter,
        evidence.public_key,
        evidence.first,
        evidence.second,
        evidence.proof,
    ).encode()


def decode_records(payloads: Sequence[bytes]) -> tuple[Evidence, ...]:
    """From the node's own log. Raises StorageError, since we wrote it."""
    try:
        stored = [decode_struct(_stored_decoder, payload, 4 * LOGGED_BYTES_MAX) for payload in payloads]
        return tuple(
            Evidence(
                EvidenceKind(each.kind),
                each.epoch,
                each.voter,
                each.public_key,
                each.first,
                each.second,
                each.proof,
            )
            for each in stored
        )
    except (InvalidEncoding, ValueError) as error:
        raise StorageError(
            f"evidence in the write-ahead log cannot be read: {error}", StorageReason.LOG_CORRUPT
        ) from error
