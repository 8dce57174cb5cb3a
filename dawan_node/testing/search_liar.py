"""The liar of ``bounded_search``: everything one Byzantine validator can say, given what the others have said.

It has one key. It signs any vote for any known block, and puts together every certificate that its own votes complete;
what it cannot do is make a signature of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any, Final

from dawan_node.consensus.messages import (
    Commit,
    Decision,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    new_view_bytes,
    view_change_bytes,
)
from dawan_node.consensus.signer import NEW_VIEW_TAG, VIEW_CHANGE_TAG
from dawan_node.consensus.view_change import Epoch, Plan, plan_of
from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import domain_separated, sha256
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    bitmap_of,
    commit_vote_bytes,
    prepare_vote_bytes,
)
from dawan_node.testing.bare_network import START_MS, World, suspect_certificate
from dawan_node.testing.simulated_node import fake_signature

#: Validators of every search.
N: Final = 4

NumberOf = Callable[[Message, int], int]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is searched. ``liar``: the Byzantine validator; primary(v) is v mod 4, so 0 equivocates in view 0 and 1 in
    view 1. Views 0 to ``view_max``, ``heights`` in flight."""

    liar: int = 0
    heights: int = 1
    view_max: int = 1


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that exists. ``author`` is whose link it comes over."""

    message: Message
    author: int
    label: str


class Liar:
    """What the Byzantine validator can say, given what the others have said."""

    def __init__(
        self, bounds: Bounds, world: World, sent: list[Sent], results: dict[bytes, Result], number_of: NumberOf
    ) -> None:
        """``sent`` and ``results`` are the search's own, and grow with it."""
        self._bounds = bounds
        self._index = bounds.liar
        self._world = world
        self._sent = sent
        self._results = results
        self._number_of = number_of
        self._key = self._world.keys[self._index].public_key
        self._menus: dict[int, int] = {}
        self._certificates: dict[int, tuple[CommitCertificate, ...]] = {}

    @cached_property
    def own_blocks(self) -> tuple[tuple[Header, tuple[bytes, ...]], ...]:
        """The blocks it proposes in the first view it leads: two values, and one child for each with two heights."""
        view = self._index
        if view > self._bounds.view_max:
            return ()
        blocks: list[tuple[Header, tuple[bytes, ...]]] = []
        for name in (b"a", b"b"):
            parent, timestamp = self._world.chain_id, START_MS
            for height in range(1, self._bounds.heights + 1):
                leaves = (sha256(name * height),)
                header = Header(
                    1,
                    self._world.chain_id,
                    0,
                    height,
                    parent,
                    merkle.root(leaves),
                    1,
                    250,
                    timestamp,
                    self._index,
                    self._world.validators.hash,
                    False,
                )
                blocks.append((header, leaves))
                parent, timestamp = header.hash, timestamp + 1
        return tuple(blocks)

    def sign(self, tag: bytes, data: bytes) -> bytes:
        """Its own key, the only one it has."""
        return fake_signature(self._key, domain_separated(tag, data))

    def menu(self, everything: int) -> int:
        """All messages it could send when the honest have sent ``everything``, as a mask."""
        menu = self._menus.get(everything)
        if menu is None:
            menu = 0
            for message in self._offers(everything):
                menu |= 1 << self._number_of(message, self._index)
            self._menus[everything] = menu
        return menu

    def _said(self, everything: int) -> list[Sent]:
        return [self._sent[number] for number in range(everything.bit_length()) if everything >> number & 1]

    def _offers(self, everything: int) -> Iterator[Message]:
        said = self._said(everything)
        headers = self._known_headers(said)
        yield from self._proposals(said)
        views = range(self._bounds.view_max + 1)
        for block_hash, header in headers.items():
            for view in views:
                data = prepare_vote_bytes(self._world.chain_id, 0, view, header.height, block_hash)
                signature = self.sign(PREPARE_TAG, data)
                yield Prepare(0, view, header.height, block_hash, self._index, signature)
                yield from self._commit(view, header, block_hash)
        certificates = self.certificates(everything)
        for certificate in certificates:
            result = self._results[certificate.block_hash]
            yield Decision(headers[certificate.block_hash], result, (), certificate, ())
        prepared = list(self._prepared(said, headers))
        for view in range(1, self._bounds.view_max + 1):
            own = list(self._view_changes(view, headers, certificates, prepared))
            yield from own
            if self._world.primary(view) == self._index:
                yield from self._new_views(view, said, own)

    def _known_headers(self, said: list[Sent]) -> dict[bytes, Header]:
        headers = {header.hash: header for header, _ in self.own_blocks}
        for sent in said:
            if isinstance(sent.message, PrePrepare):
                headers[sent.message.header.hash] = sent.message.header
        return headers

    def _proposals(self, said: list[Sent]) -> Iterator[PrePrepare]:
        """Both values to whoever listens; the second one only once somebody took the first (symmetry)."""
        voted = {sent.message.block_hash for sent in said if isinstance(sent.message, Prepare)}
        own = self.own_blocks
        is_first = not any(header.hash in voted for header, _ in own)
        for header, leaves in own[: self._bounds.heights] if is_first else own:
            data = prepare_vote_bytes(self._world.chain_id, 0, self._index, header.height, header.hash)
            yield PrePrepare(self._index, header, leaves, self.sign(PREPARE_TAG, data))

    def _commit(self, view: int, header: Header, block_hash: bytes) -> Iterator[Commit]:
        result = self._results.get(block_hash)
        if result is None:
            return  # nobody executed it yet, so nobody can commit to it
        result_hash = result.hash
        data = commit_vote_bytes(self._world.chain_id, 0, view, header.height, block_hash, result_hash)
        signature = self.sign(COMMIT_TAG, data)
        yield Commit(0, view, header.height, block_hash, result_hash, self._index, signature)

    # --- certificates it can put together ----------------------------------------------------------------------

    def certificates(self, everything: int) -> tuple[CommitCertificate, ...]:
        """Every commit certificate that the honest COMMITs and its own make possible, one per view and block."""
        found = self._certificates.get(everything)
        if found is None:
            groups: dict[tuple[int, int, bytes, bytes], dict[int, bytes]] = {}
            for sent in self._said(everything):
                vote = sent.message
                if isinstance(vote, Commit):
                    key = (vote.view, vote.height, vote.block_hash, vote.result_hash)
                    groups.setdefault(key, {})[vote.voter] = vote.signature
            made: list[CommitCertificate] = []
            for (view, height, block_hash, result_hash), votes in sorted(groups.items()):
                data = commit_vote_bytes(self._world.chain_id, 0, view, height, block_hash, result_hash)
                quorum = self._quorum(votes, COMMIT_TAG, data)
                if quorum is not None:
                    bitmap, signatures = quorum
                    made.append(CommitCertificate(0, view, height, block_hash, result_hash, bitmap, signatures))
            found = self._certificates[everything] = tuple(made)
        return found

    def _prepared(self, said: list[Sent], headers: dict[bytes, Header]) -> Iterator[PreparedCertificate]:
        groups: dict[tuple[int, int, bytes], dict[int, bytes]] = {}
        for sent in said:
            vote = sent.message
            if isinstance(vote, Prepare):
                groups.setdefault((vote.view, vote.height, vote.block_hash), {})[vote.voter] = vote.signature
        for (view, height, block_hash), votes in sorted(groups.items()):
            data = prepare_vote_bytes(self._world.chain_id, 0, view, height, block_hash)
            quorum = self._quorum(votes, PREPARE_TAG, data)
            if quorum is not None and block_hash in headers:
                yield PreparedCertificate(0, view, height, block_hash, *quorum)

    def _quorum(self, votes: dict[int, bytes], tag: bytes, data: bytes) -> tuple[bytes, list[bytes]] | None:
        """Bitmap and signatures of the honest votes and its own, if they are enough."""
        signatures = votes | {self._index: self.sign(tag, data)}
        if len(signatures) < self._world.validators.q:
            return None
        return bitmap_of(signatures, N), [signatures[voter] for voter in sorted(signatures)]

    # --- view changes ------------------------------------------------------------------------------------------

    def _view_changes(
        self,
        view: int,
        headers: dict[bytes, Header],
        certificates: tuple[CommitCertificate, ...],
        prepared: list[PreparedCertificate],
    ) -> Iterator[ViewChange]:
        """Every combination of a decided head and one prepared certificate, or none, per height above it."""
        suspects = suspect_certificate((N, self._bounds.heights), view)
        heads: list[CommitCertificate | None] = [None, *certificates]
        for head in heads:
            floor = 0 if head is None else head.height
            choices: list[list[PreparedCertificate | None]] = [
                [None, *(pc for pc in prepared if pc.height == height and pc.view < view)]
                for height in range(floor + 1, self._bounds.heights + 1)
            ]
            last = () if head is None else ((headers[head.block_hash], head),)
            for chosen in product(*choices):
                entries = tuple((headers[pc.block_hash], pc) for pc in chosen if pc is not None)
                draft = ViewChange(0, view, suspects, last, entries, self._index, bytes(64))
                signature = self.sign(VIEW_CHANGE_TAG, view_change_bytes(self._world.chain_id, draft))
                yield ViewChange(0, view, suspects, last, entries, self._index, signature)

    def _new_views(self, view: int, said: list[Sent], own: list[ViewChange]) -> Iterator[NewView]:
        """One NEW-VIEW for each different plan that some quorum of VIEW-CHANGEs gives."""
        others: dict[int, list[ViewChange]] = {}
        for sent in said:
            if isinstance(sent.message, ViewChange) and sent.message.new_view == view:
                others.setdefault(sent.author, []).append(sent.message)
        plans: set[object] = set()
        for voters in combinations(sorted(others), self._world.validators.q - 1):
            for chosen in product(own, *(others[voter] for voter in voters)):
                changes = sorted(chosen, key=lambda change: change.voter)
                plan = plan_of(epoch_of(self._world), changes)
                if not isinstance(plan, Plan):
                    continue  # a contradiction is a violation already
                key = (plan.base.block_hash, tuple(entry.block_hash for entry in plan.entries))
                if key not in plans:
                    plans.add(key)
                    yield self._new_view(view, changes, plan)

    def _new_view(self, view: int, changes: list[ViewChange], plan: Plan) -> NewView:
        prepares: list[bytes] = []
        for entry in plan.entries:
            data = prepare_vote_bytes(self._world.chain_id, 0, view, entry.header.height, entry.block_hash)
            prepares.append(self.sign(PREPARE_TAG, data))
        encoded = tuple(change.encode() for change in changes)
        draft = NewView(0, view, encoded, tuple(prepares), bytes(64))
        signature = self.sign(NEW_VIEW_TAG, new_view_bytes(self._world.chain_id, draft))
        return NewView(0, view, encoded, tuple(prepares), signature)


def plan_entries(world: World, message: NewView) -> tuple[Header, ...]:
    """The headers of O."""
    plan = plan_of(epoch_of(world), [ViewChange.decode(data) for data in message.view_changes])
    return tuple(entry.header for entry in plan.entries) if isinstance(plan, Plan) else ()


def epoch_of(world: World) -> Epoch:
    """The only epoch there is; its verifier is never asked."""
    verifier: Any = None
    return Epoch(world.chain_id, 0, world.validators, world.rules.window, 0, world.chain_id, verifier)


def label_of(message: Message, author: int) -> str:
    """A message for people: kind, author, view, block."""
    match message:
        case PrePrepare():
            return f"PP{author}({message.view},{message.header.hash.hex()[:4]})"
        case Prepare():
            return f"P{author}({message.view},{message.block_hash.hex()[:4]})"
        case Commit():
            return f"C{author}({message.view},{message.block_hash.hex()[:4]})"
        case ViewChange():
            last = [header.hash.hex()[:4] for header, _ in message.last]
            prepared = [f"{pc.view}:{pc.block_hash.hex()[:4]}" for _, pc in message.prepared]
            return f"VC{author}({message.new_view},last={last},prepared={prepared})"
        case NewView():
            changes = [ViewChange.decode(data) for data in message.view_changes]
            inner = " ".join(label_of(change, change.voter) for change in changes)
            return f"NV{author}({message.new_view}: {inner})"
        case Decision():
            return f"DECISION({message.header.height},{message.header.hash.hex()[:4]})"
        case _:
            return type(message).__name__
