"""One part of a snapshot: what it must be, judged by its bytes and the rule for it alone, outside the event loop."""

from __future__ import annotations

from dataclasses import dataclass

from dawan_node.errors import InvalidMessage
from dawan_node.sync.snapshot_format import Chunk, HeaderRun, Layout


class ManifestRefused(InvalidMessage):
    """A part is true and so shows that the manifest it was fetched by is not."""


@dataclass(frozen=True, slots=True)
class PartRule:
    """What one part must be."""

    state_root: bytes
    headers_from: int
    heights: tuple[int, int] | None  # of a header run
    hash_below: bytes  # of the block at the last of ``heights``
    key_range: tuple[bytes, bytes]

    @classmethod
    def of(cls, layout: Layout, part: int, state_root: bytes, headers_from: int, hash_below: bytes) -> PartRule:
        """The rule for a part; ``hash_below`` matters for header runs only."""
        if part < layout.runs:
            return cls(state_root, headers_from, layout.heights(part), hash_below, (b"", b""))
        return cls(state_root, headers_from, None, b"", layout.range(part))

    def verify(self, data: bytes) -> bytes:
        """Of a header run the hash of the block below it, of a chunk nothing. Raises InvalidMessage."""
        if self.heights is not None:
            return HeaderRun.decode(data).verify(*self.heights, self.hash_below)
        chunk = Chunk.decode(data)
        chunk.verify(self.state_root, *self.key_range)
        lowest = min((int.from_bytes(entry.key, "big") for entry in chunk.entries if entry.is_replay), default=None)
        if lowest is not None and lowest < self.headers_from:
            raise ManifestRefused(f"block {lowest} has a replay entry, and the snapshot has no header of it")
        return b""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A part to verify by its rule outside the event loop and to keep if it holds; then say ``checked``."""

    peer: str
    snapshot: bytes
    part: int
    data: bytes
    rule: PartRule
