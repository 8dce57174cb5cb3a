"""Nodes that lie: a whole honest node inside, and something else on the wire.

A liar takes the place of a driver's ``Sender``, so it sees every consensus message its own honest replica wants to
send and says what it likes instead, with the node's real key and past the signer's account of what it signed. An honest
replica stops when it sees a vote of its own that it did not write (amendment U6); a liar that stops does no harm, so
that is switched off in it.

The same liars stand in channels in virtual time (``channel_cluster``) and in a real process (``byzantine_node``).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable
from random import Random

from dawan_node.consensus.messages import Commit, Message, Prepare, PrePrepare, Status, decode_message
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import sha256
from dawan_node.node.bodies import BlockBody
from dawan_node.node.channel import Channel
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import COMMIT_TAG, PREPARE_TAG, commit_vote_bytes, prepare_vote_bytes
from dawan_node.primitives.validators import ValidatorSet

#: A slow primary uses up so much of what the others tolerate.
SLOW_PERCENT = 90
#: What backups tolerate at most while work waits and nothing is proposed (consensus.md 1.6, amendment L9).
TOLERATED_MS_MAX = 2_000


class Liar:
    """Says what its replica says, until ``start``. Subclasses replace ``say``."""

    def __init__(self, channel: Channel, source: Random, tell: Callable[[str], None] = lambda what: None) -> None:
        """``tell`` hears of each lie as it is told."""
        self.channel = channel
        self.source = source
        self.lies: Counter[str] = Counter()
        self._tell = tell
        self._is_lying = False
        self._replica = channel.driver.replica
        self._real = channel.driver._sender
        self._hear = channel.driver.message
        channel.driver._sender = self  # type: ignore[misc]
        channel.driver.message = self._overhear  # type: ignore[method-assign]
        self._replica._state.stop_for_own_key = lambda statement: None  # type: ignore[method-assign]
        self._replica._finality.is_forged_in_my_name = lambda certificate, validators: False  # type: ignore[method-assign]

    def start(self) -> None:
        self._is_lying = True

    def stop(self) -> None:
        """Be honest again."""
        self._is_lying = False

    # What the driver uses (driver.Sender)

    def consensus(self, validators: ValidatorSet, to: tuple[int, ...] | None, payload: bytes) -> None:
        message = decode_message(payload)
        if self._is_lying and self.own is not None:
            receivers = to if to is not None else tuple(i for i in range(validators.n) if i != self.own)
            self.say(message, validators, receivers)
        else:
            self._real.consensus(validators, to, payload)

    # For the kinds of liars

    def say(self, message: Message, validators: ValidatorSet, to: tuple[int, ...]) -> None:
        """Send ``message`` or something else to ``to``, or to nobody."""
        self.send(validators, to, message)

    def heard(self, message: Message) -> None:
        """A message of somebody else, before the replica sees it."""

    def send(self, validators: ValidatorSet, to: tuple[int, ...], message: Message) -> None:
        if to:
            self._real.consensus(validators, to, message.encode())

    def lied(self, what: str) -> None:
        self.lies[what] += 1
        self._tell(what)

    @property
    def own(self) -> int | None:
        return self._replica.own_index

    def prepare(self, vote: Prepare, block_hash: bytes) -> Prepare:
        """``vote`` for another block."""
        data = prepare_vote_bytes(self.channel.chain_id, vote.epoch, vote.view, vote.height, block_hash)
        signature = self._sign(PREPARE_TAG, data)
        return Prepare(vote.epoch, vote.view, vote.height, block_hash, vote.voter, signature)

    def commit(self, vote: Commit, block_hash: bytes, result_hash: bytes) -> Commit:
        """``vote`` for another block or result."""
        where = (vote.epoch, vote.view, vote.height)
        data = commit_vote_bytes(self.channel.chain_id, *where, block_hash, result_hash)
        assert self.own is not None
        return Commit(*where, block_hash, result_hash, self.own, self._sign(COMMIT_TAG, data))

    def _sign(self, tag: bytes, data: bytes) -> bytes:
        signer = self._replica._state.signer
        assert signer is not None
        return signer._key.sign(tag, data)  # type: ignore[attr-defined, no-any-return]

    def _overhear(self, message: Message, link: int) -> None:
        if self._is_lying:
            self.heard(message)
        self._hear(message, link)


class EquivocatingPrimary(Liar):
    """Signs two proposals for one height, each with bodies that can be had, tells some backups the one and the rest the
    other, and votes for either before those who were told of it, so that both may be decided if rules allow."""

    def __init__(self, channel: Channel, source: Random, tell: Callable[[str], None] = lambda what: None) -> None:
        super().__init__(channel, source, tell)
        self._twins: dict[bytes, PrePrepare] = {}  # by the hash of the proposal the replica made
        self._told_twin: dict[bytes, tuple[int, ...]] = {}  # by the twin's hash

    def say(self, message: Message, validators: ValidatorSet, to: tuple[int, ...]) -> None:
        match message:
            case PrePrepare() if message.header.proposer == self.own:
                twin = self._twin(message, to)
                told = self._told_twin[twin.header.hash]
                self.send(validators, tuple(i for i in to if i in told), twin)
                self.send(validators, tuple(i for i in to if i not in told), message)
            case Prepare() | Commit() if message.block_hash in self._twins:
                told = self._told_twin[self._twins[message.block_hash].header.hash]
                self.send(validators, tuple(i for i in to if i not in told), message)
            case _:
                self.send(validators, to, message)

    def heard(self, message: Message) -> None:
        """Somebody commits to a twin: so do I, with the result it found."""
        if isinstance(message, Commit) and message.voter != self.own and message.block_hash in self._told_twin:
            vote = self.commit(message, message.block_hash, message.result_hash)
            self.send(self._replica.validators, self._told_twin[message.block_hash], vote)

    def _twin(self, proposal: PrePrepare, to: tuple[int, ...]) -> PrePrepare:
        header = proposal.header
        known = self._twins.get(header.hash)
        if known is not None:
            return known
        body = self.channel._bodies.get(header.hash)
        assert body is not None
        transactions = body.transactions[::-1]
        leaves = tuple(transaction.leaf_hash for transaction in transactions)
        below = self._twins.get(header.parent_hash)
        is_decided = header.parent_hash == self._replica.block_hash
        parent_hash = header.parent_hash if below is None or is_decided else below.header.hash
        other = Header(
            header.version,
            header.chain_id,
            header.epoch,
            header.height,
            parent_hash,
            merkle.root(leaves),
            header.tx_count,
            header.body_bytes,
            header.timestamp_ms + 1,
            header.proposer,
            header.valset_hash,
            header.barrier,
        )
        self.channel._bodies.add(BlockBody(other.hash, transactions))
        mine = Prepare(header.epoch, proposal.view, header.height, header.hash, header.proposer, proposal.signature)
        twin = PrePrepare(proposal.view, other, leaves, self.prepare(mine, other.hash).signature)
        self._twins[header.hash] = twin
        told = self.source.sample(to, self.source.randint(1, len(to) - 1)) if len(to) > 1 else to
        self._told_twin[other.hash] = tuple(sorted(told))
        self.lied("two proposals")
        return twin


class DoubleVoter(Liar):
    """Votes for two blocks at every height. One of the others hears both votes, the rest either of them."""

    def say(self, message: Message, validators: ValidatorSet, to: tuple[int, ...]) -> None:
        if len(to) < 2 or not isinstance(message, Prepare | Commit):
            self.send(validators, to, message)
            return
        other: Prepare | Commit
        if isinstance(message, Prepare):
            other = self.prepare(message, sha256(message.block_hash))
        else:
            other = self.commit(message, sha256(message.block_hash), message.result_hash)
        receivers = self.source.sample(to, len(to))
        votes = [message, other]
        self.source.shuffle(votes)
        self.send(validators, tuple(receivers[:-1]), votes[0])
        self.send(validators, tuple(receivers[1:]), votes[1])
        self.lied("two votes")


class SlowPrimary(Liar):
    """Holds each proposal back for nearly as long as the others wait before they complain, one after the other."""

    def __init__(self, channel: Channel, source: Random, tell: Callable[[str], None] = lambda what: None) -> None:
        super().__init__(channel, source, tell)
        self._held: deque[tuple[ValidatorSet, tuple[int, ...], PrePrepare]] = deque()
        self._released: set[bytes] = set()
        self._since_s = 0.0
        self._height = 0

    def stop(self) -> None:
        super().stop()
        while self._held:
            self._release()

    def say(self, message: Message, validators: ValidatorSet, to: tuple[int, ...]) -> None:
        is_mine = isinstance(message, PrePrepare) and message.header.proposer == self.own
        if not is_mine or message.header.hash in self._released:
            self.send(validators, to, message)
        elif len(to) > 1:  # to one only: a STATUS says that it lacks this, and it shall
            if not self._held:
                self._begin()
            self._held.append((validators, to, message))
            self.lied("held back")

    def _release(self) -> None:
        validators, to, proposal = self._held.popleft()
        self._released.add(proposal.header.hash)
        self.send(validators, to, proposal)

    def _begin(self) -> None:
        """Another one is held from now on; it leaves once the time is over and the one below it is decided."""
        loop = asyncio.get_running_loop()
        self._since_s = loop.time()
        self._height = self._replica.height
        loop.call_later(0.01, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._held:
            return
        if self._replica.height > self._height:
            self._since_s, self._height = loop.time(), self._replica.height  # progress: their patience is new
        _, _, proposal = self._held[0]
        if proposal.view != self._replica.status().view:
            self._held.popleft()
        elif proposal.header.height <= self._height + 1 and loop.time() >= self._since_s + self._patience_s():
            self._release()
        loop.call_later(0.01, self._look)

    def _patience_s(self) -> float:
        tolerated_ms = min(self._replica._suspicion.pacemaker.base_ms(), TOLERATED_MS_MAX)
        return tolerated_ms * SLOW_PERCENT / 100 / 1000


class SilentPrimary(Liar):
    """Alive, and proposes nothing."""

    def say(self, message: Message, validators: ValidatorSet, to: tuple[int, ...]) -> None:
        if isinstance(message, PrePrepare):
            self.lied("no proposal")
        else:
            self.send(validators, to, message)


class Babbler(Liar):
    """Commits to results nobody else finds, and sends frames that are no messages."""

    def say(self, message: Message, validators: ValidatorSet, to: tuple[int, ...]) -> None:
        if isinstance(message, Commit):
            message = self.commit(message, message.block_hash, sha256(message.result_hash))
            self.lied("a wrong result")
        self.send(validators, to, message)
        if isinstance(message, Status):
            peers = self.channel._links.connected(self.channel.chain_id)
            if peers:
                name = self.source.choice(peers).name
                topic = self.source.choice((Topic.CONSENSUS, Topic.FETCH, Topic.SYNC))
                self.channel._links.send(name, self.channel.chain_id, topic, os.urandom(self.source.randint(1, 300)))
                self.lied("garbage")


LIARS: dict[str, type[Liar]] = {
    "equivocating-primary": EquivocatingPrimary,
    "double-voter": DoubleVoter,
    "slow-primary": SlowPrimary,
    "silent-primary": SilentPrimary,
    "babbler": Babbler,
}
