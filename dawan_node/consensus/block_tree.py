"""The undecided blocks a replica knows, by hash: headers, not bodies.

The hash of a header fixes all its ancestors, so whatever was learned about a block (its bodies are here, executing
it gave this result) stays true in any view (amendment A3). The shell gathers and executes; the tree remembers what
it was asked for and what came back.

A block is *live* while its overlay is wanted: it was accepted in the current view, or it is certified. It is *pinned*
from the first PREPARE or COMMIT for it until its height is decided, because somebody may hold a quorum for it and
need its bodies (L5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from dawan_node.consensus.config import ChannelRules
from dawan_node.consensus.ready import Acquire, Execute, Outbox
from dawan_node.primitives.block import Header, Result


class Bodies(Enum):
    """What is known of a block's bodies."""

    UNKNOWN = auto()
    WANTED = auto()
    HELD = auto()  # here, signatures and U9 rules checked
    REFUSED = auto()  # here, and they break a rule


class Run(Enum):
    """Where the execution of a block stands."""

    IDLE = auto()
    RUNNING = auto()
    DONE = auto()


@dataclass(slots=True)
class Block:
    """One undecided block."""

    block_hash: bytes
    header: Header
    leaf_hashes: tuple[bytes, ...] | None = None
    bodies: Bodies = Bodies.UNKNOWN
    refusal: str = ""
    certified: bool = False
    live: bool = False
    pinned: bool = False
    run: Run = Run.IDLE
    result: Result | None = None
    result_hash: bytes = b""
    next_rules: ChannelRules | None = None
    #: The hash of the one result I ever signed for this block (U12).
    signed_result_hash: bytes | None = None


class BlockTree:
    """Undecided blocks above ``head_hash``. Bounded by the window: its owner adds only what a rule lets in."""

    def __init__(self, outbox: Outbox, head_hash: bytes) -> None:
        self._outbox = outbox
        self._blocks: dict[bytes, Block] = {}
        self.head_hash = head_hash

    def get(self, block_hash: bytes | None) -> Block | None:
        """The block, if it is known."""
        return None if block_hash is None else self._blocks.get(block_hash)

    def blocks(self) -> list[Block]:
        """All known blocks in the order they became known."""
        return list(self._blocks.values())

    def add(self, block_hash: bytes, header: Header, leaf_hashes: tuple[bytes, ...] | None = None) -> Block:
        """Make a block known; ``leaf_hashes`` were checked against its header."""
        block = self._blocks.get(block_hash)
        if block is None:
            block = self._blocks[block_hash] = Block(block_hash, header, leaf_hashes)
        elif block.leaf_hashes is None:
            block.leaf_hashes = leaf_hashes
        return block

    def want(self, block: Block, holders: tuple[int, ...], certified: bool) -> None:
        """Have the bodies gathered, again if more is known about who holds them."""
        if block.bodies is Bodies.HELD or (block.bodies is Bodies.REFUSED and not certified):
            return
        if block.bodies is Bodies.UNKNOWN or (certified and not block.certified):
            block.bodies = Bodies.WANTED
            block.certified = block.certified or certified
            self._outbox.acquire.append(
                Acquire(block.block_hash, block.header, block.leaf_hashes, holders, block.certified)
            )

    def run(self, block: Block) -> None:
        """Have a live block executed once its bodies are here and its parent is decided or executed."""
        if not block.live or block.run is not Run.IDLE or block.bodies is not Bodies.HELD:
            return
        parent_hash = block.header.parent_hash
        if parent_hash != self.head_hash:
            parent = self._blocks.get(parent_hash)
            if parent is None or parent.run is not Run.DONE:
                return
        block.run = Run.RUNNING
        self._outbox.execute.append(Execute(block.block_hash, block.header, parent_hash))

    def drop_overlay(self, block: Block) -> None:
        """The block lost its place: its overlay, and those above it, are void. Bodies stay."""
        if not block.live and block.bodies is not Bodies.WANTED:
            return
        block.live = False
        block.run = Run.IDLE
        block.result = None
        block.next_rules = None
        if block.bodies is Bodies.WANTED:
            block.bodies = Bodies.UNKNOWN
        self._outbox.drop(block.block_hash, False)

    def branch(self, block_hash: bytes) -> list[Block] | None:
        """The known blocks from just above the head up to ``block_hash``; None when it does not lead to the head."""
        path: list[Block] = []
        at = block_hash
        while at != self.head_hash:
            block = self._blocks.get(at)
            if block is None:
                return None
            path.append(block)
            at = block.header.parent_hash
        path.reverse()
        return path

    def decide(self, block_hash: bytes, height: int) -> None:
        """Move the head to ``block_hash`` at ``height``: other blocks up to there are gone, and whatever does not
        descend from it is void (A1)."""
        self.head_hash = block_hash
        for block in self.blocks():
            if block.header.height <= height:
                del self._blocks[block.block_hash]
                if block.block_hash != block_hash:
                    self._release(block)
            elif self.branch(block.block_hash) is None:
                self.drop_overlay(block)

    def forget(self, is_needed: Callable[[Block], bool]) -> None:
        """Drop every block that is neither pinned, certified nor live, unless ``is_needed``."""
        for block in self.blocks():
            if not (block.pinned or block.certified or block.live or is_needed(block)):
                del self._blocks[block.block_hash]
                self._release(block)

    def _release(self, block: Block) -> None:
        self.drop_overlay(block)
        self._outbox.drop(block.block_hash, True)
