"""The parts of a simulated node: keys, signer, disk, and how bad its world is. ``cluster`` runs them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from dawan_node.consensus import Acquire, ChannelRules, Ready, Record, Replica, SlotGuard, Statement
from dawan_node.crypto.hashing import domain_separated, sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate

CREATED_MS: Final = 1_700_000_000_000


def fake_signature(public_key: bytes, signed: bytes) -> bytes:
    """A stand-in for Ed25519 that anybody can compute: for simulations without forgers."""
    digest = hashlib.sha256(public_key + signed).digest()
    return digest + digest


def fake_verify(public_key: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is ``fake_signature``'s."""
    return fake_signature(public_key, signed) == signature


class TestSigner:
    """A ``VoteSigner`` with the real guard and a real or fake signature. ``restore`` it from a log."""

    __test__ = False

    def __init__(self, key: PrivateKey, chain_id: bytes, is_real: bool = False) -> None:
        self._key = key
        self._is_real = is_real
        self.guard = SlotGuard(chain_id)

    @property
    def public_key(self) -> bytes:
        """The validator key."""
        return self._key.public_key

    def sign(self, statement: Statement) -> bytes:
        """Raises SigningRefused."""
        known = self.guard.check(statement)
        if known is not None:
            return known
        if self._is_real:
            signature = self._key.sign(statement.kind.tag, statement.data)
        else:
            signature = fake_signature(self.public_key, domain_separated(statement.kind.tag, statement.data))
        self.guard.signed(statement, signature)
        return signature

    def decided(self, epoch: int, height: int, block_hash: bytes, result_hash: bytes) -> None:
        """Raise the guard's floor."""
        self.guard.decided(epoch, height, block_hash, result_hash)


def test_keys(count: int) -> list[PrivateKey]:
    """``count`` keys whose order is that of their public keys, so that a key's position is its validator index."""
    keys = [PrivateKey.from_seed(sha256(b"validator %d" % number)) for number in range(count)]
    return sorted(keys, key=lambda key: key.public_key)


test_keys.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Faults:
    """How bad the network and the disks are. Times in milliseconds, probabilities in percent."""

    delay_min: int = 1
    delay_max: int = 20
    loss: int = 0
    duplicate: int = 0
    sync_max: int = 4
    execute_max: int = 10
    skew_max: int = 0


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """What a node's store keeps per height."""

    header: Header
    block_hash: bytes
    result: Result
    certificate: CommitCertificate
    links: tuple[tuple[Header, Result], ...]
    leaf_hashes: tuple[bytes, ...]
    rules: ChannelRules  # in force above this block
    epoch: int
    epoch_base: tuple[int, bytes]


@dataclass(slots=True)
class Node:
    """One node: what survives a crash, and what does not."""

    index: int
    key: PrivateKey
    skew_ms: int
    # survives
    log: list[Record] = field(default_factory=list)
    pinned: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    store: list[StoredBlock] = field(default_factory=list)
    committed: dict[bytes, None] = field(default_factory=dict)
    # does not
    replica: Replica | None = None
    life: int = 0
    unsynced: list[tuple[Record, tuple[bytes, ...] | None]] = field(default_factory=list)  # with what they pin
    waiting: list[Ready] = field(default_factory=list)
    is_syncing: bool = False
    bodies: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    headers: dict[bytes, Header] = field(default_factory=dict)
    results: dict[bytes, tuple[Result, ChannelRules | None]] = field(default_factory=dict)
    wanted: dict[bytes, Acquire] = field(default_factory=dict)
    pool: dict[bytes, None] = field(default_factory=dict)
    tick_at: int | None = None
    is_fetching_range: bool = False

    @property
    def height(self) -> int:
        """The height of the store."""
        return len(self.store)
