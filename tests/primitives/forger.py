"""A validator's key in the hands of somebody who signs anything with it."""

from __future__ import annotations

from dataclasses import dataclass

from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.primitives.block import Header
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    PREPARE_TAG,
    CommitCertificate,
    PreparedCertificate,
    commit_vote_bytes,
    prepare_vote_bytes,
)
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.evidence import NEW_VIEW_TAG, VIEW_CHANGE_TAG, Offence, Statement, prove

#: (header or certificate) heights a forged VIEW-CHANGE shows.
Shown = tuple[int, int]


@dataclass(frozen=True)
class Forger:
    """Statements of one key in one epoch of one chain; blocks and results are named."""

    key: PrivateKey
    chain_id: bytes
    epoch: int = 0

    def sign(self, tag: bytes, data: bytes) -> Statement:
        return Statement(tag, data, self.key.sign(tag, data))

    def prepare(self, block: str = "a", view: int = 2, height: int = 7) -> Statement:
        data = prepare_vote_bytes(self.chain_id, self.epoch, view, height, sha256(block.encode()))
        return self.sign(PREPARE_TAG, data)

    def commit(self, block: str = "a", view: int = 2, height: int = 7, result: str = "r") -> Statement:
        hashes = sha256(block.encode()), sha256(result.encode())
        return self.sign(COMMIT_TAG, commit_vote_bytes(self.chain_id, self.epoch, view, height, *hashes))

    def view_change(self, content: bytes, view: int = 3) -> Statement:
        return self.sign(VIEW_CHANGE_TAG, encode([self.chain_id, self.epoch, view, sha256(content)]))

    def new_view(self, content: bytes, view: int = 3) -> Statement:
        return self.sign(NEW_VIEW_TAG, encode([self.chain_id, self.epoch, view, sha256(content)]))

    def content(self, last: int | None = None, prepared: tuple[Shown, ...] = (), n: int = 4) -> bytes:
        """What a VIEW-CHANGE shows: its head's height and (height, view) of each PC; certificates of ``n`` signers."""
        signatures = [bytes(64)] * n
        bitmap = bytes((n + 7) // 8)

        def header(height: int) -> Header:
            return Header(1, self.chain_id, self.epoch, height, bytes(32), bytes(32), 1, 1, 1, 0, bytes(32), False)

        def decided(height: int) -> CommitCertificate:
            return CommitCertificate(self.epoch, 0, height, bytes(32), bytes(32), bitmap, signatures)

        def pc(height: int, view: int) -> PreparedCertificate:
            return PreparedCertificate(self.epoch, view, height, bytes(32), bitmap, signatures)

        heads = [] if last is None else [[header(last), decided(last)]]
        suspects = [[voter, 3, bytes(64)] for voter in range(n)]
        return encode([suspects, heads, [[header(height), pc(height, view)] for height, view in prepared], 1])

    def prove(self, offence: Offence, first: Statement, second: Statement, content: bytes = b"") -> bytes:
        return prove(offence, self.key.public_key, first, second, content)

    def double_vote(self) -> bytes:
        return self.prove(Offence.EQUIVOCATION, self.commit("a"), self.commit("b"))

    def of_each_kind(self) -> dict[Offence, bytes]:
        """A proof of every kind."""
        content = self.content()
        return {
            Offence.EQUIVOCATION: self.double_vote(),
            Offence.TWO_NEW_VIEWS: self.prove(Offence.TWO_NEW_VIEWS, self.new_view(b"a"), self.new_view(b"b")),
            Offence.LYING_VIEW_CHANGE: self.prove(
                Offence.LYING_VIEW_CHANGE, self.commit(), self.view_change(content), content
            ),
            Offence.TWO_VIEW_CHANGES: self.prove(
                Offence.TWO_VIEW_CHANGES, self.view_change(b"a"), self.view_change(b"b")
            ),
            Offence.TWO_RESULTS: self.prove(
                Offence.TWO_RESULTS, self.commit(view=1, result="r"), self.commit(view=4, result="s")
            ),
        }
