"""The peer book: whom this node knows, when to dial those it seeks (``link_plan``), whom to leave alone.

Pure: time comes in as milliseconds of a monotonic clock, decisions go out. The consortium file names every node, so
there is no discovery: a peer is known by name, organisation and key, and an address is only a hint where it may be
found. Anybody else is refused.

Dialling. Both ends of a pair may dial, but one connection is enough. The node with the smaller name dials at once;
the other waits a moment longer, so that normally no second connection is opened. A failed dial is repeated after
0.2 s, 0.4 s, ... up to 10 s. Each delay is shortened by a share that follows from the two names and the attempt:
after a power cut the nodes do not dial in step, and a test still sees the same delays every time.

Misbehaviour. A peer whose bytes break the protocol is closed and left alone for a while (a *strike*): 5 s at first,
doubled up to 5 min, one strike forgiven per 10 min of peace. Never for ever: the cause may be a bug that an upgrade
mends, and a validator that stays shut out costs the chain its fault margin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from dawan_node.crypto.signatures import ED25519, check_public_key
from dawan_node.errors import ConfigError, InvalidKey
from dawan_node.primitives.names import is_label

#: First and longest wait between dials. 10 s is what a restarted node may have to wait for its peers.
BACKOFF_FIRST_MS: Final = 200
BACKOFF_MAX_MS: Final = 10_000
#: How much longer the node with the larger name waits: a handshake on a 100 ms round trip takes 400 ms.
SECOND_DIALLER_WAITS_MS: Final = 500
#: A link that lived this long worked: the next failure starts with the first back-off again.
STABLE_MS: Final = 5_000

STRIKE_FIRST_MS: Final = 5_000
STRIKE_MAX_MS: Final = 300_000
STRIKE_FORGIVEN_MS: Final = 600_000

# Beyond this exponent the delay is capped anyway; keeps the shift small whatever the attempt count.
_EXPONENT_MAX: Final = 16


class Role(StrEnum):
    """What a node does on its channels."""

    VALIDATOR = "validator"  # votes
    OBSERVER = "observer"  # follows and verifies


@dataclass(frozen=True, slots=True)
class PeerId:
    """A node as the consortium file names it and as a handshake has proved it."""

    name: str
    org: str
    role: Role
    public_key: bytes


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A node of the consortium file, with the addresses (``host:port``) it says it listens on; they may be none.

    Raises ConfigError when a field cannot be right.
    """

    name: str
    org: str
    public_key: bytes
    addresses: tuple[str, ...] = ()
    role: Role = Role.VALIDATOR

    def __post_init__(self) -> None:
        if not is_label(self.name) or not is_label(self.org):
            raise ConfigError(
                f"node {self.name!r} of organisation {self.org!r} cannot be a peer",
                "names are lower case letters, digits and hyphens, 32 at most",
                "Correct the entry in consortium.toml",
            )
        try:
            check_public_key(ED25519, self.public_key)
        except InvalidKey as error:
            raise ConfigError(
                f"node {self.name!r} cannot be a peer", str(error), "Correct its public_key in consortium.toml"
            ) from None
        for address in self.addresses:
            parse_address(address)

    @property
    def id(self) -> PeerId:
        """Who this is, without where."""
        return PeerId(self.name, self.org, self.role, self.public_key)


class PeerState(StrEnum):
    """What the book would say of a peer."""

    CONNECTED = "connected"
    DIALLING = "dialling"
    WAITING = "waiting"  # for the next dial
    EXPECTED = "expected"  # has no address: it must dial us
    SHUNNED = "shunned"  # after strikes
    CUT = "cut"  # a devnet partition


class TrafficCounters(msgspec.Struct):
    """What went over the links to one peer since this node started; counters only grow."""

    frames_in: int = 0
    bytes_in: int = 0
    frames_out: int = 0
    bytes_out: int = 0
    dropped: int = 0  # waiting gossip given up to make room for something more urgent
    refused: int = 0  # frames that found their queue full
    limited: int = 0  # gossip ignored because the peer sent more than its share


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536) or (
        ":" in host and not bracketed
    ):
        raise ConfigError(
            f"address {text!r} cannot be used",
            "an address is host:port, or [address]:port for IPv6",
            "Correct it in consortium.toml or node.toml, for example 10.1.2.3:7100",
        )
    return host, int(port)


def backoff_ms(local: str, peer: str, attempt: int) -> int:
    """How long ``local`` waits before dial number ``attempt`` (from 0) to ``peer``: between 3/4 and all of the step."""
    step = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << min(attempt, _EXPONENT_MAX))
    seed = hashlib.sha256(f"{local}\n{peer}\n{attempt}".encode()).digest()
    return step - int.from_bytes(seed[:4], "big") % (step // 4 + 1)


@dataclass(slots=True)
class _Entry:
    """What the book remembers of one peer."""

    address: PeerAddress
    next_dial_ms: int
    attempt: int = 0
    dialling: bool = False
    connected_ms: int | None = None
    cut: bool = False
    is_sought: bool = True
    strikes: int = 0
    last_strike_ms: int = 0
    shunned_until_ms: int = 0
    last_failure: str = ""


class PeerBook:
    """State and policy for every configured peer. Methods that take a name require one that ``find`` knows."""

    def __init__(
        self,
        local: str,
        peers: Iterable[PeerAddress],
        now_ms: int,
        second_dialler_waits_ms: int = SECOND_DIALLER_WAITS_MS,
    ) -> None:
        self._local = local
        self._second_dialler_waits_ms = second_dialler_waits_ms
        self._entries = {
            peer.name: _Entry(peer, now_ms + self._courtesy_ms(peer.name)) for peer in peers if peer.name != local
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Every peer, in order of name."""
        return tuple(sorted(self._entries))

    def update(self, peers: Iterable[PeerAddress], now_ms: int) -> tuple[str, ...]:
        """Take over a new list; returns whose dialling begins anew: the new, and those found elsewhere or changed.

        Whoever has another key, organisation or role is another party: what the old one did is forgotten. Only a
        devnet's cut stays, which is about the name. A link that is up is not asked for its address.
        """
        entries: dict[str, _Entry] = {}
        anew = []
        for peer in peers:
            if peer.name == self._local:
                continue
            entry = self._entries.get(peer.name)
            if entry is None or entry.address.id != peer.id:
                cut = entry is not None and entry.cut
                entry = _Entry(peer, now_ms + self._courtesy_ms(peer.name), cut=cut)
                anew.append(peer.name)
            elif entry.address != peer:
                entry.address = peer
                if entry.connected_ms is None:
                    entry.dialling = False
                    self._dial_soon(entry, now_ms)
                    anew.append(peer.name)
            entries[peer.name] = entry
        self._entries = entries
        return tuple(anew)

    def find(self, name: str) -> PeerId | None:
        """Who ``name`` is, or None when the consortium file does not list it."""
        entry = self._entries.get(name)
        return entry.address.id if entry else None

    def seek(self, names: Collection[str]) -> tuple[str, ...]:
        """Dial these peers and no others; returns whose dialling this changes."""
        changed = []
        for name, entry in self._entries.items():
            if entry.is_sought != (name in names):
                entry.is_sought = not entry.is_sought
                entry.attempt = 0
                changed.append(name)
        return tuple(changed)

    def failures(self, name: str) -> int:
        """Dials and short links in a row that came to nothing; 0 of a peer that is not sought."""
        entry = self._entries[name]
        return entry.attempt if entry.is_sought else 0

    def is_arbiter(self, name: str) -> bool:
        """Whether this node, not ``name``, decides which of several connections between the two is kept."""
        return self._local < name

    def dial_wait_ms(self, name: str, now_ms: int) -> int | None:
        """How long to wait before dialling; 0 is now, None is not before something else happens."""
        entry = self._entries[name]
        if not entry.is_sought or entry.cut or entry.dialling:
            return None
        if entry.connected_ms is not None or not entry.address.addresses:
            return None
        return max(0, entry.next_dial_ms - now_ms, entry.shunned_until_ms - now_ms)

    def begin_dial(self, name: str) -> str:
        """The address to dial now; several are tried in turn."""
        entry = self._entries[name]
        entry.dialling = True
        addresses = entry.address.addresses
        return addresses[entry.attempt % len(addresses)]

    def dial_failed(self, name: str, now_ms: int, why: str) -> None:
        """A dial led to no link; perhaps because the peer's own dial was quicker."""
        entry = self._entries[name]
        entry.dialling = False
        if entry.connected_ms is None:
            entry.last_failure = why
            self._schedule(entry, now_ms)

    def connected(self, name: str, now_ms: int) -> None:
        """A link to ``name`` is up, whoever dialled."""
        entry = self._entries[name]
        entry.dialling = False
        entry.connected_ms = now_ms
        entry.last_failure = ""

    def disconnected(self, name: str, now_ms: int, why: str) -> None:
        """The link went down."""
        entry = self._entries[name]
        if entry.connected_ms is not None and now_ms - entry.connected_ms >= STABLE_MS:
            entry.attempt = 0
        entry.connected_ms = None
        entry.last_failure = why
        self._schedule(entry, now_ms)

    def dial_soon(self, name: str, now_ms: int) -> None:
        """Whatever failed before is no reason to wait: begin with the first back-off again."""
        self._dial_soon(self._entries[name], now_ms)

    def strike(self, name: str, now_ms: int, why: str, is_forgery: bool = False) -> int:
        """``name`` broke the protocol; returns for how many milliseconds it is left alone.

        After a forgery at once for the longest time: whoever forges does so again, and each time costs a block's bytes.
        """
        entry = self._entries[name]
        forgiven = (now_ms - entry.last_strike_ms) // STRIKE_FORGIVEN_MS
        entry.strikes = max(0, entry.strikes - forgiven) + 1
        entry.last_strike_ms = now_ms
        entry.last_failure = why
        growing_ms = STRIKE_FIRST_MS << min(entry.strikes - 1, _EXPONENT_MAX)
        shunned_ms = STRIKE_MAX_MS if is_forgery else min(STRIKE_MAX_MS, growing_ms)
        entry.shunned_until_ms = now_ms + shunned_ms
        return shunned_ms

    def cut(self, names: Iterable[str]) -> None:
        """Treat ``names`` as unreachable until ``heal``; unknown names are ignored."""
        for name in names:
            if name in self._entries:
                self._entries[name].cut = True

    def heal(self, names: Iterable[str] | None, now_ms: int) -> None:
        """End the cut to ``names`` (all when None) and dial them soon."""
        for name, entry in self._entries.items():
            if entry.cut and (names is None or name in names):
                entry.cut = False
                self._dial_soon(entry, now_ms)

    def state(self, name: str, now_ms: int) -> PeerState:
        """What to tell an operator about ``name``."""
        entry = self._entries[name]
        if entry.cut:
            return PeerState.CUT
        if entry.connected_ms is not None:
            return PeerState.CONNECTED
        if entry.shunned_until_ms > now_ms:
            return PeerState.SHUNNED
        if entry.dialling:
            return PeerState.DIALLING
        return PeerState.WAITING if entry.address.addresses else PeerState.EXPECTED

    def last_failure(self, name: str) -> str:
        """Why the last dial or link to ``name`` ended; empty while connected."""
        return self._entries[name].last_failure

    def addresses(self, name: str) -> tuple[str, ...]:
        """Where ``name`` says it listens."""
        return self._entries[name].address.addresses

    def _dial_soon(self, entry: _Entry, now_ms: int) -> None:
        entry.attempt = 0
        entry.next_dial_ms = now_ms + self._courtesy_ms(entry.address.name)

    def _schedule(self, entry: _Entry, now_ms: int) -> None:
        name = entry.address.name
        entry.next_dial_ms = now_ms + backoff_ms(self._local, name, entry.attempt) + self._courtesy_ms(name)
        entry.attempt += 1

    def _courtesy_ms(self, name: str) -> int:
        return 0 if self.is_arbiter(name) else self._second_dialler_waits_ms
