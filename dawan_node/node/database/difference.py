"""Where two chains part: ``db diff``, by asking both for the same heights and halving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

#: Block hash, result hash and the fields of the result by name.
At = tuple[bytes, bytes, dict[str, bytes]]


class Side(Protocol):
    """One of the two chains."""

    @property
    def chain_id(self) -> bytes:
        """What it starts from."""
        ...

    @property
    def height(self) -> int:
        """Its head."""
        ...

    def at(self, height: int) -> At:
        """The block at a height up to the head."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """``height`` is the first at which they differ, None when they agree as far as both go (``common``); ``text``
    says in what. ``asked`` heights were compared."""

    common: int
    height: int | None
    text: str
    asked: int


def compare(ours: Side, theirs: Side, progress: Callable[[int], None] = lambda height: None) -> Difference:
    """Compare two chains. Both are hash chains, so where they agree they agree below, too."""
    if ours.chain_id != theirs.chain_id:
        return Difference(
            0,
            0,
            f"these are two networks: chain {ours.chain_id.hex()[:16]} here, {theirs.chain_id.hex()[:16]} there",
            0,
        )
    common = min(ours.height, theirs.height)
    asked = 1
    if _same(ours, theirs, common):
        return Difference(common, None, f"equal up to height {common}", asked)
    agree, differ = 0, common
    while differ - agree > 1:
        middle = (agree + differ) // 2
        asked += 1
        progress(middle)
        if _same(ours, theirs, middle):
            agree = middle
        else:
            differ = middle
    return Difference(common, differ, _words(ours.at(differ), theirs.at(differ)), asked)


def _same(ours: Side, theirs: Side, height: int) -> bool:
    return ours.at(height)[:2] == theirs.at(height)[:2]


def _words(ours: At, theirs: At) -> str:
    if ours[0] != theirs[0]:
        return (
            f"other blocks: {ours[0].hex()[:16]} here, {theirs[0].hex()[:16]} there: two certificates for one height "
            "mean that more than f validators lied, or one of the two databases was made by somebody else"
        )
    names = ", ".join(name for name, value in ours[2].items() if theirs[2].get(name) != value)
    return f"the same block with another result ({names or 'result hash'}): one of the two computed something else"
