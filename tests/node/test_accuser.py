"""What a node holds against validators: whose turn it is to send it, how often, and what a restart keeps of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from dawan_node.consensus import Evidence, EvidenceKind
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import InvalidTransaction, StorageError
from dawan_node.modules.governance.declaration import Evidence as EvidenceRecord
from dawan_node.modules.governance.declaration import evidence_key, module
from dawan_node.node.accuser import (
    HELD_MAX,
    LOGGED_BYTES_MAX,
    RETRY_MS,
    TURN_MS,
    Accuser,
    decode_records,
    encode_record,
)
from dawan_node.node.admission import Verdict
from dawan_node.node.signer import ChannelSigner, NodeSigner
from dawan_node.primitives.codes import Code
from dawan_node.primitives.transaction import Transaction
from tests.primitives.forger import Forger

CHAIN = sha256(b"a channel")
OWN = PrivateKey.from_seed(sha256(b"own"))
LIAR = Forger(PrivateKey.from_seed(sha256(b"liar")), CHAIN)
LIFETIME_MS = 3_600_000
START_MS = 1_764_000_000_000
assert module.name == "governance"  # binds the entities to their module


def evidence(
    voter: int = 1, kind: EvidenceKind = EvidenceKind.EQUIVOCATION, epoch: int = 0, forger: Forger = LIAR
) -> Evidence:
    proof = b"" if kind is EvidenceKind.INVALID_NEW_VIEW else forger.double_vote()
    return Evidence(kind, epoch, voter, forger.key.public_key, b"first", b"second", proof)


@dataclass
class Channel:
    """State, pool and clock of a channel, as far as the accuser sees them."""

    values: dict[tuple[str, str, bytes], bytes] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    height: int | None = None
    refusal: InvalidTransaction | None = None
    now_ms: int = 0
    head: int = 0
    signer: ChannelSigner | None = field(default_factory=lambda: NodeSigner(OWN).channel(CHAIN, ()))

    def get(self, module: str, collection: str, key: bytes) -> bytes | None:
        return self.values.get((module, collection, key))

    async def submit(self, envelopes: Sequence[bytes]) -> list[Verdict]:
        self.sent += envelopes
        return [Verdict(Transaction.decode(envelope), self.height, self.refusal) for envelope in envelopes]

    def record(self, found: Evidence, height: int) -> None:
        """As the module does it."""
        entity = EvidenceRecord(
            found.public_key, found.epoch, found.kind.value, "hk1", "hk", found.proof, height, 1, "mo1", bytes(32)
        )
        key = evidence_key(found.public_key, found.epoch, found.kind.value)
        self.values["governance", "evidence", key] = msgpack_of(entity)
        self.head = height

    def pass_time(self, accuser: Accuser, ms: int, own_index: int | None = 2, n: int = 4) -> None:
        """The duties of a channel, every 250 ms."""
        for _ in range(0, ms, 250):
            accuser.look(self.head)
            if accuser.is_due(own_index, n, self.now_ms):
                asyncio.run(accuser.report(self, self.now_ms, START_MS + self.now_ms, LIFETIME_MS))
            self.now_ms += 250

    def accuser(self, *restored: Evidence) -> Accuser:
        return Accuser("trade", CHAIN, self.signer, self, restored)


def msgpack_of(entity: EvidenceRecord) -> bytes:
    from dawan_node.execution.entity import encode_entity

    return encode_entity(entity)


@pytest.fixture
def channel() -> Channel:
    return Channel()


def test_the_validator_after_the_accused_sends_at_once_and_the_others_in_turn() -> None:
    for own_index, turn in ((2, 0), (3, 1), (0, 2)):
        channel = Channel()
        accuser = channel.accuser(evidence(voter=1))
        channel.pass_time(accuser, turn * TURN_MS, own_index)
        assert channel.sent == []
        channel.pass_time(accuser, 500, own_index)
        assert len(channel.sent) == 1


def test_whoever_finds_it_in_the_state_sends_nothing(channel: Channel) -> None:
    accuser = channel.accuser()
    accuser.add(evidence())
    channel.pass_time(accuser, TURN_MS, own_index=3)
    channel.record(evidence(), height=9)
    channel.pass_time(accuser, 60_000, own_index=3)
    assert channel.sent == []
    assert [held.on_chain for held in accuser.held] == [9]


def test_it_is_sent_again_as_the_same_bytes_until_it_is_on_chain(channel: Channel) -> None:
    accuser = channel.accuser(evidence())
    channel.pass_time(accuser, 3 * RETRY_MS)
    assert len(channel.sent) == 3 and len(set(channel.sent)) == 1
    channel.record(evidence(), height=4)
    channel.pass_time(accuser, 10 * RETRY_MS)
    assert len(channel.sent) == 3


@pytest.mark.parametrize("code", [Code.E_POOL_FULL, Code.E_QUOTA, Code.E_NONCE_USED, Code.E_IDENTITY])
def test_a_refusal_is_no_reason_to_give_up(channel: Channel, code: Code) -> None:
    channel.refusal = InvalidTransaction(code, code.name, "not now")
    accuser = channel.accuser(evidence())
    channel.pass_time(accuser, 2 * RETRY_MS)
    channel.refusal = None
    channel.pass_time(accuser, RETRY_MS)
    assert len(channel.sent) == 3


def test_a_restarted_node_sends_the_same_transaction(channel: Channel) -> None:
    channel.pass_time(channel.accuser(evidence()), 500)
    kept = decode_records(channel.accuser(evidence()).records())
    channel.now_ms += 60_000
    channel.signer = NodeSigner(OWN).channel(CHAIN, ())
    channel.pass_time(channel.accuser(*kept), 500)
    assert len(channel.sent) == 2 and len(set(channel.sent)) == 1


def test_what_has_expired_is_made_anew_with_the_same_nonce_and_a_validity_blocks_accept(channel: Channel) -> None:
    accuser = channel.accuser(evidence())
    channel.pass_time(accuser, 500)
    channel.now_ms += LIFETIME_MS
    channel.pass_time(accuser, 500)
    first, second = [Transaction.decode(envelope).body for envelope in channel.sent]
    assert first.nonce == second.nonce and first.valid_until_ms < second.valid_until_ms
    for body, now_ms in ((first, START_MS), (second, START_MS + LIFETIME_MS)):
        assert now_ms + LIFETIME_MS // 4 < body.valid_until_ms <= now_ms + LIFETIME_MS + 1_000


def test_a_transaction_that_failed_on_chain_is_not_sent_again(channel: Channel) -> None:
    accuser = channel.accuser(evidence())
    channel.height = 12
    channel.pass_time(accuser, 5 * RETRY_MS)
    assert len(channel.sent) == 1
    assert [(held.on_chain, held.dropped) for held in accuser.held] == [
        (None, "its transaction failed at height 12"),
    ]


@pytest.mark.parametrize(
    ("own_index", "signer", "found"),
    [
        (None, True, evidence()),
        (2, False, evidence()),
        (2, True, evidence(kind=EvidenceKind.INVALID_NEW_VIEW)),
        (2, True, evidence(forger=Forger(OWN, CHAIN))),
    ],
    ids=["observer", "no log", "not for the chain", "against itself"],
)
def test_some_evidence_is_only_kept(channel: Channel, own_index: int | None, signer: bool, found: Evidence) -> None:
    if not signer:
        channel.signer = None
    accuser = channel.accuser(found)
    channel.pass_time(accuser, 60_000, own_index)
    assert channel.sent == [] and len(accuser.held) == 1


def test_a_node_that_is_voted_in_later_sends_what_it_holds(channel: Channel) -> None:
    accuser = channel.accuser(evidence())
    channel.pass_time(accuser, 10_000, own_index=None)
    channel.pass_time(accuser, 500, own_index=2)
    assert len(channel.sent) == 1


def test_a_proof_the_signer_refuses_stops_nothing(channel: Channel) -> None:
    bad = Evidence(EvidenceKind.EQUIVOCATION, 0, 1, LIAR.key.public_key, b"first", b"second", b"junk")
    accuser = channel.accuser(bad, evidence(epoch=1))
    channel.pass_time(accuser, 500)
    assert len(channel.sent) == 1
    assert "proves nothing" in accuser.held[0].dropped


def test_one_piece_is_kept_per_key_epoch_and_kind_and_only_so_many(channel: Channel) -> None:
    accuser = channel.accuser()
    assert accuser.add(evidence())
    assert not accuser.add(evidence())
    for epoch in range(1, HELD_MAX):
        assert accuser.add(evidence(epoch=epoch))
    assert not accuser.add(evidence(epoch=HELD_MAX))
    assert len(accuser.held) == HELD_MAX


def test_the_log_gives_back_what_was_kept_but_for_the_very_large() -> None:
    found = [evidence(), evidence(kind=EvidenceKind.INVALID_NEW_VIEW)]
    assert list(decode_records([encode_record(each) for each in found])) == found
    huge = Evidence(EvidenceKind.INVALID_NEW_VIEW, 0, 1, bytes(32), bytes(LOGGED_BYTES_MAX + 1), b"", b"")
    assert encode_record(huge) == b""
    with pytest.raises(StorageError):
        decode_records([b"\x90"])
