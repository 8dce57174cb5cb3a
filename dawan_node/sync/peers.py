"""What a channel's peers claim to have, what of it is proven, and how they have behaved: whom catch-up may ask.

A claim of a height above our own counts for the target only with a commit certificate that the validators trusted here
signed. So no number of liars can send a node after blocks that do not exist (CometBFT ASA-2025-001), and f of them who
hold a certificate that nobody else has cannot keep it in catch-up for ever: the target is the (f + 1)-th highest, at
least one honest validator's. Certificates of a later epoch cannot be checked yet; there the (f + 1)-th highest rule
alone protects, until the epoch is reached and the same certificates are checked.

A peer whose claim goes down within one connection is lying and is banned, as is one whose certificate is false.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from dawan_node.crypto.signatures import Verify
from dawan_node.errors import InvalidCertificate, InvalidEncoding
from dawan_node.primitives.certificate import CommitCertificate
from dawan_node.sync.messages import HeadMessage
from dawan_node.sync.verify import Anchor

#: A peer that failed is passed over for this long, doubled with each failure in a row up to the second figure. Where
#: everybody who has the blocks has failed, as under load or on a bad network, it is a floor: they are asked again after
#: the first figure, one after the other, since a node that is behind and asks nobody stays behind.
COOLDOWN_MS: Final = 1_000
COOLDOWN_MS_MAX: Final = 60_000

#: A peer is slow when it takes more than this plus four times what the fastest other one took for its last answer.
#: Otherwise a peer that answers just before the deadline would set the pace of everybody it serves.
SLOW_MARGIN_MS: Final = 1_000

#: Verified heads remembered, so that one certificate is checked once however many peers send it.
_KNOWN_HEADS_MAX: Final = 64


class Kind(IntEnum):
    """What is asked for. A peer answers one request of each kind at a time."""

    LIGHT = 0
    BODIES = 1


@dataclass(frozen=True, slots=True)
class Blame:
    """``peer`` failed us. ``proven`` means that no honest node does this: drop the link and do not hurry back."""

    peer: str
    reason: str
    proven: bool


@dataclass(slots=True)
class Peer:
    """What a connected peer claims and how it has behaved."""

    height: int = 0
    block_hash: bytes = b""
    epoch: int = 0
    certificate: bytes = b""  # of its head, kept while it lies in an epoch that is not reached yet
    proven_height: int = 0  # by a certificate that came with its head
    held_height: int = 0  # by what consensus knows of it
    is_validator: bool = False
    is_banned: bool = False
    failures: int = 0
    not_before_ms: int = 0  # it is not asked before, whoever else there is
    cooldown_until_ms: int = 0  # others are asked before it
    duration_ms: list[int] = field(default_factory=lambda: [0, 0])  # of its last answer by kind, 0 before the first
    late_ms: list[int] = field(default_factory=lambda: [0, 0])  # how long it let others be asked instead, since then

    def slowness(self, kind: Kind) -> int:
        """How long it takes, as far as it has shown."""
        return max(self.duration_ms[kind], self.late_ms[kind])

    def is_fit(self, now_ms: int) -> bool:
        """Whether it may be asked, or would be if it had answered what it is asked already."""
        return max(self.not_before_ms, self.cooldown_until_ms) <= now_ms


class Peers:
    """The connected peers of one channel, by name."""

    def __init__(self, chain_id: bytes, verify: Verify) -> None:
        self._chain_id = chain_id
        self._verify = verify
        self._peers: dict[str, Peer] = {}
        self._known: dict[tuple[int, bytes, int], None] = {}  # (epoch, hash, height) that a quorum signed
        self._target: tuple[int, int] | None = None  # f and the height; None after any change it may depend on
        self.blames: list[Blame] = []

    def get(self, name: str) -> Peer | None:
        """What is known of a connected peer."""
        return self._peers.get(name)

    def items(self) -> Iterable[tuple[str, Peer]]:
        """All connected peers."""
        return self._peers.items()

    def gone(self, name: str) -> None:
        """The link is down; a new one begins anew."""
        self._peers.pop(name, None)
        self._target = None

    # Claims

    def claim(self, name: str, head: HeadMessage, is_validator: bool, anchor: Anchor) -> None:
        """``name`` says how far it is."""
        peer = self._peers.setdefault(name, Peer())
        if peer.is_banned:
            return
        if head.height < peer.height or head.epoch < peer.epoch:
            self.blame(name, f"its head went down from {peer.height} to {head.height}", proven=True)
            return
        if head.height == anchor.height and head.block_hash != anchor.block_hash:
            # A lie, or a fork. Its link must stay up: should it be a fork, consensus proves it by both certificates.
            peer.is_banned, self._target = True, None
            self.blame(name, f"it claims another block at height {head.height}", proven=False)
            return
        if (head.height, is_validator) != (peer.height, peer.is_validator):  # heads are repeated each second
            self._target = None
        peer.height, peer.block_hash, peer.epoch = head.height, head.block_hash, head.epoch
        peer.certificate, peer.is_validator = head.certificate, is_validator
        self._prove(name, peer, anchor)

    def anchored(self, anchor: Anchor) -> None:
        """The chain here has entered another epoch: what could not be checked before now can."""
        for name, peer in list(self._peers.items()):
            if not peer.is_banned:
                self._prove(name, peer, anchor)

    def holds(self, name: str, height: int) -> None:
        """Consensus knows that ``name`` can serve ``height``."""
        peer = self._peers.get(name)
        if peer is not None:
            peer.held_height = max(peer.held_height, height)

    def target(self, anchor: Anchor) -> int:
        """The (f + 1)-th highest height that a validator has; 0 with fewer claims.

        Whose height is not proven is banned by now, unless its certificate is of a later epoch."""
        f = anchor.validators.f
        if self._target is None or self._target[0] != f:
            heights = sorted(
                (peer.height for peer in self._peers.values() if peer.is_validator and not peer.is_banned), reverse=True
            )
            self._target = (f, heights[f] if len(heights) > f else 0)
        return self._target[1]

    def _prove(self, name: str, peer: Peer, anchor: Anchor) -> None:
        """Check the certificate of a head above ours as far as the trusted validators allow."""
        if peer.height <= max(anchor.height, peer.proven_height):
            peer.certificate = b""
            return
        try:
            certificate = CommitCertificate.decode(peer.certificate)
            signed = (certificate.epoch, certificate.block_hash, certificate.height)
            if certificate.height < peer.height or (
                certificate.height == peer.height and certificate.block_hash != peer.block_hash
            ):
                raise InvalidCertificate("it is of another block")
            if certificate.epoch < anchor.epoch:
                raise InvalidCertificate(f"it is of epoch {certificate.epoch}, which ended below it")
            if certificate.epoch > anchor.epoch:
                return  # keep it until that epoch is reached
            if signed not in self._known:
                certificate.verify(self._chain_id, anchor.validators, self._verify)
                self._known[signed] = None
                if len(self._known) > _KNOWN_HEADS_MAX:
                    del self._known[next(iter(self._known))]
        except (InvalidEncoding, InvalidCertificate) as error:
            self.blame(name, f"it claims height {peer.height} with a false certificate: {error}", proven=True)
            return
        peer.proven_height, peer.certificate = peer.height, b""

    # Behaviour

    def able(self, last: int) -> dict[str, Peer]:
        """Who may be asked for heights up to ``last``."""
        return {
            name: peer
            for name, peer in self._peers.items()
            if max(peer.height, peer.held_height) >= last and not peer.is_banned
        }

    def choose(self, able: dict[str, Peer], kind: Kind, busy: Collection[str], now_ms: int) -> str | None:
        """The best of ``able`` to ask now. A slow one is passed over only for another that is fit, or none would be."""
        fit = {name: peer for name, peer in able.items() if peer.is_fit(now_ms)}
        free = [name for name in fit if name not in busy and not self._is_slow(name, fit, kind)]
        return min(free, key=lambda name: (able[name].failures, able[name].slowness(kind), name), default=None)

    def least_bad(self, able: dict[str, Peer], busy: Collection[str], now_ms: int) -> str | None:
        """Whom of ``able`` to ask when none of them is fit; None while one is, for then that one is waited for."""
        if any(peer.is_fit(now_ms) for peer in able.values()):
            return None
        free = [name for name, peer in able.items() if name not in busy and peer.not_before_ms <= now_ms]
        return min(free, key=lambda name: (able[name].cooldown_until_ms, name), default=None)

    def fastest_ms(self, kind: Kind) -> int:
        """What the quickest answer took last; 0 while nobody has answered."""
        return min((peer.duration_ms[kind] for peer in self._peers.values() if peer.duration_ms[kind]), default=0)

    def answered(self, name: str, kind: Kind, duration_ms: int) -> None:
        """A connected peer sent what was asked for."""
        peer = self._peers[name]
        peer.failures = 0
        peer.duration_ms[kind], peer.late_ms[kind] = max(1, duration_ms), 0

    def is_late(self, name: str, kind: Kind, waited_ms: int) -> None:
        """The answer of a connected peer has taken so long by now."""
        peer = self._peers[name]
        peer.late_ms[kind] = max(peer.late_ms[kind], waited_ms)

    def failed(self, name: str, reason: str, now_ms: int) -> None:
        """A failure of a connected peer that also happens to the honest: be gentle, but ask others first."""
        peer = self._peers[name]
        peer.failures += 1
        peer.not_before_ms = max(peer.not_before_ms, now_ms + COOLDOWN_MS)
        peer.cooldown_until_ms = now_ms + min(COOLDOWN_MS << min(peer.failures - 1, 10), COOLDOWN_MS_MAX)
        self.blame(name, reason, proven=False)

    def rest(self, name: str, retry_ms: int, now_ms: int) -> None:
        """A connected peer is busy and says for how long; no offence."""
        peer = self._peers[name]
        peer.not_before_ms = max(peer.not_before_ms, now_ms + retry_ms)

    def blame(self, name: str, reason: str, proven: bool) -> None:
        """Have the shell told; a proven lie is not listened to again on this connection."""
        peer = self._peers.get(name)
        if proven and peer is not None:
            peer.is_banned, self._target = True, None
        self.blames.append(Blame(name, reason, proven))

    @staticmethod
    def _is_slow(name: str, peers: dict[str, Peer], kind: Kind) -> bool:
        # By what each has shown so far, so whoever is the fastest of them is never slow.
        shown = [peer.slowness(kind) for peer in peers.values() if peer.slowness(kind) and not peer.failures]
        return bool(shown) and peers[name].slowness(kind) > SLOW_MARGIN_MS + 4 * min(shown)
