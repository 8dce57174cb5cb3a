"""A node that catches up, as the tests of ``sync`` play it: peers answer when the test says so."""

from __future__ import annotations

from collections.abc import Callable

from dawan_node.sync import Blame, CatchUp, LightRequest, SyncedBlock, SyncLimits, SyncReply, SyncRequest
from tests.sync.chain import CHAIN_ID, Chain

AT_ONCE = SyncLimits(behind_blocks=1, behind_ms=0)
VALIDATORS = ("gz1", "hk1", "hq1", "mo1")


class Node:
    """Does what catch-up says against peers that answer when the test says so, and applies what it gets."""

    def __init__(self, chain: Chain, height: int = 0, limits: SyncLimits = AT_ONCE) -> None:
        self.chain = chain
        self.now = 1_000
        self.sync = CatchUp(CHAIN_ID, chain.anchors[height], limits)
        self.asked: list[tuple[str, SyncRequest]] = []
        self.blames: list[Blame] = []
        self.applied: list[SyncedBlock] = []
        self.in_hand: list[SyncedBlock] = []
        self.applies = True

    def claim(self, *peers: str, height: int | None = None, is_validator: bool = True) -> Node:
        head = self.chain.head(height)
        for peer in peers:
            self.sync.head(peer, head, is_validator, self.now)
        return self.run()

    def run(self) -> Node:
        while ready := self.sync.ready():
            self.asked += ready.requests
            self.blames += ready.blames
            self.in_hand += ready.blocks
            while self.applies and self.in_hand:
                self.apply_one()
        return self

    def apply_one(self) -> None:
        block = self.in_hand.pop(0)
        self.applied.append(block)
        self.sync.applied(self.chain.anchors[block.header.height], self.now)

    def answer(self, peer: str, chain: Chain | None = None, count: int = 1_000) -> Node:
        """The oldest request to ``peer`` is answered as far as ``chain`` goes, with at most ``count`` blocks."""
        return self.reply(peer, lambda request: (chain or self.chain).answer(request, count))

    def reply(self, peer: str, make: Callable[[SyncRequest], SyncReply]) -> Node:
        self.sync.arrived(peer, make(self.take(peer)), self.now)
        return self.run()

    def take(self, peer: str) -> SyncRequest:
        position = next(index for index, (name, _) in enumerate(self.asked) if name == peer)
        return self.asked.pop(position)[1]

    def headers(self, chain: Chain | None = None) -> Node:
        """Answer light requests, whomever they went to, until only bodies are wanted."""
        while light := [peer for peer, request in self.asked if isinstance(request, LightRequest)]:
            position = next(at for at, (name, each) in enumerate(self.asked) if isinstance(each, LightRequest))
            peer, request = self.asked.pop(position)
            assert peer in light
            self.sync.arrived(peer, (chain or self.chain).answer(request), self.now)
            self.run()
        return self

    def finish(self) -> Node:
        """Everything that is asked for comes at once, honestly."""
        while self.asked:
            self.answer(self.asked[0][0])
        return self

    def pass_time(self, milliseconds: int) -> Node:
        self.now += milliseconds
        self.sync.tick(self.now)
        return self.run()

    @property
    def wanted(self) -> list[tuple[str, str, int, int]]:
        return [
            (peer, "light" if isinstance(request, LightRequest) else "bodies", request.first, request.last)
            for peer, request in self.asked
        ]

    @property
    def height(self) -> int:
        return self.sync.status().height

    @property
    def liars(self) -> list[str]:
        return [blame.peer for blame in self.blames if blame.proven]
