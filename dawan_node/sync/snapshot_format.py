"""What a state snapshot is: the whole state after one certified block, cut into parts that prove themselves.

A snapshot of height h has three things:

- its **manifest**: the FinalityProof of block h and where the state is cut. The proof says which state root a quorum
  signed; nothing else in a manifest is believed, it only says what to ask for;
- **header runs**: the headers below h, down to the lowest block that still has a replay entry in the state. Each names
  its parent by hash, so they are certain from h downwards. They bring what the state does not hold: the times of those
  blocks, by which their replay entries are removed one day;
- **chunks**: all entries of the state in order of key hash, each chunk a range [first, after) of key hashes with the
  hashes of everything outside the range. From both the root is computed again, so a chunk is right, complete and
  without a surplus whoever sent it, alone. With each replay entry comes the list of nonces it commits to (amendment
  U10): an entry without its list, or with another one, makes the chunk wrong, and there is no list without its entry.

Indexes, tree nodes and the nonce index are made from that by whoever installs it, never taken from the wire.

The cuts are a function of the state alone: every honest node makes the same parts of the same height, so they can be
fetched from several at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from operator import ge
from typing import Annotated, Final

import msgspec

from dawan_node.crypto.hashing import ZERO_HASH, tagged_hash
from dawan_node.errors import InvalidEncoding, InvalidMessage, InvalidProof
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.encoding import Bytes16, Bytes32, ProtocolStruct, Uint, decode_struct, decoder_for, encode
from dawan_node.primitives.names import is_identifier
from dawan_node.primitives.proofs import PROOF_BYTES_MAX, FinalityProof, state_key_hash
from dawan_node.primitives.replay import REPLAY_ENTRY, replay_value

#: Where a chunk is cut: a second on a link of 10 Mbit/s, tens of milliseconds to verify, and few enough requests. An
#: entry with its nonces that is larger (the genesis, at most 4 MiB) is a chunk of its own.
CHUNK_BYTES_TARGET: Final = 1024 * 1024
#: What is decoded of a chunk or header run: below the frame limit of 5 MiB, above the largest entry with its proof.
PART_BYTES_MAX: Final = 5 * 1024 * 1024 - 8 * 1024
#: Headers of one run, about 250 bytes each: no run is larger than a chunk is meant to be.
RUN_HEADERS_MAX: Final = 4_096
#: Chunks of one snapshot: a state of 32 GiB, with a manifest of 1.1 MiB, two of which fit a frame.
CHUNKS_MAX: Final = 32_768
MANIFEST_BYTES_MAX: Final = CHUNKS_MAX * 34 + PROOF_BYTES_MAX + 256
#: An encoded entry is at least so long: names, key, value and their length fields.
ENTRIES_PER_CHUNK_MAX: Final = 65_536

#: Formats A.7; the genesis entry alone has an empty key.
_KEY_BYTES_MAX: Final = 256
_PATH_NIBBLES_MAX: Final = 64
#: Off two paths of 64 nodes hang at most so many children.
_OUTSIDE_MAX: Final = 2 * 64 * 15

SNAPSHOT_TAG: Final = b"dawan:snapshot:v1"

_NIBBLES: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))


class Entry(ProtocolStruct, frozen=True):
    """One entry of the state."""

    module: str
    collection: str
    key: Annotated[bytes, msgspec.Meta(max_length=_KEY_BYTES_MAX)]
    value: Annotated[bytes, msgspec.Meta(min_length=1)]

    @property
    def key_hash(self) -> bytes:
        """Where it stands in the state tree."""
        return state_key_hash(self.module, self.collection, self.key)

    @property
    def is_replay(self) -> bool:
        """Whether it commits to the nonces of a block."""
        return (self.module, self.collection) == REPLAY_ENTRY


NonceUse = tuple[Annotated[bytes, msgspec.Meta(min_length=1, max_length=64)], Bytes16, Uint]


class Chunk(ProtocolStruct, frozen=True):
    """The entries with key hashes in [``first``, ``after``), ascending; ``after`` is empty in the last chunk.

    ``nonces``: one list per replay entry among them, in order. ``leaves`` and ``subtrees``: what the tree holds
    outside the range, as ``execution.state_tree.outside`` gives it.
    """

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    first: Bytes32
    after: Annotated[bytes, msgspec.Meta(max_length=32)]
    entries: Annotated[tuple[Entry, ...], msgspec.Meta(max_length=ENTRIES_PER_CHUNK_MAX)]
    nonces: Annotated[tuple[tuple[NonceUse, ...], ...], msgspec.Meta(max_length=ENTRIES_PER_CHUNK_MAX)]
    leaves: Annotated[tuple[tuple[Bytes32, Bytes32], ...], msgspec.Meta(max_length=_OUTSIDE_MAX)]
    subtrees: Annotated[tuple[tuple[bytes, Bytes32], ...], msgspec.Meta(max_length=_OUTSIDE_MAX)]

    @classmethod
    def decode(cls, data: bytes) -> Chunk:
        """Raises InvalidMessage."""
        try:
            return decode_struct(_chunk_decoder, data, PART_BYTES_MAX)
        except InvalidEncoding as error:
            raise InvalidMessage(f"snapshot chunk: {error}") from None

    def verify(self, state_root: bytes, first: bytes, after: bytes) -> dict[bytes, bytes]:
        """Require that these are exactly the entries of [``first``, ``after``) under ``state_root``, with their nonces.

        The hash of each value by key hash, as the tree wants them. Raises InvalidMessage.
        """
        if (self.first, self.after) != (first, after):
            raise InvalidMessage("the chunk covers another range than it should")
        found: dict[bytes, bytes] = {}
        items: list[_Item] = []
        below = b""
        for entry in self.entries:
            # Only names without 0x00 make the hashed bytes name one entry (formats A.7).
            if not is_identifier(entry.module) or not is_identifier(entry.collection):
                raise InvalidMessage("an entry of the chunk has a name that is none")
            key_hash = entry.key_hash
            if key_hash <= below or key_hash < first or (after and key_hash >= after):
                raise InvalidMessage("an entry of the chunk is out of order or range")
            below = key_hash
            found[key_hash] = value_hash = hashlib.sha256(entry.value).digest()
            items.append((nibbles_of(key_hash), _leaf_hash(key_hash, value_hash), True))
        self._verify_nonces()
        items += self._outside_items(first, after)
        items.sort(key=lambda item: item[0])
        if _root_of(items) != state_root:
            raise InvalidMessage("the chunk does not lead to the state root")
        return found

    def _verify_nonces(self) -> None:
        replay = [entry for entry in self.entries if entry.is_replay]
        if len(replay) != len(self.nonces):
            raise InvalidMessage(f"the chunk has {len(replay)} replay entries and {len(self.nonces)} lists of nonces")
        for entry, nonces in zip(replay, self.nonces, strict=True):
            if len(entry.key) != 8 or replay_value(nonces) != entry.value:
                raise InvalidMessage("a list of nonces is not the one its replay entry commits to")

    def _outside_items(self, first: bytes, after: bytes) -> list[_Item]:
        items: list[_Item] = []
        for key_hash, value_hash in self.leaves:
            if key_hash >= first and (not after or key_hash < after):
                raise InvalidMessage("a leaf of the chunk's range is given as one outside")
            items.append((nibbles_of(key_hash), _leaf_hash(key_hash, value_hash), True))
        low, high = nibbles_of(first), nibbles_of(after)
        for path, subtree_hash in self.subtrees:
            if not 1 <= len(path) <= _PATH_NIBBLES_MAX or max(path) > 15:
                raise InvalidMessage("a path of the chunk is none")
            depth = len(path)
            is_left = path + b"\x0f" * (_PATH_NIBBLES_MAX - depth) < low
            is_right = bool(after) and path + bytes(_PATH_NIBBLES_MAX - depth) >= high
            if not is_left and not is_right:
                raise InvalidMessage("a subtree of the chunk's range is given as one outside")
            items.append((path, subtree_hash, False))
        return items


class HeaderRun(ProtocolStruct, frozen=True):
    """Headers of consecutive heights, ascending."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    headers: Annotated[tuple[Header, ...], msgspec.Meta(min_length=1, max_length=RUN_HEADERS_MAX)]

    @classmethod
    def decode(cls, data: bytes) -> HeaderRun:
        """Raises InvalidMessage."""
        try:
            return decode_struct(_run_decoder, data, PART_BYTES_MAX)
        except InvalidEncoding as error:
            raise InvalidMessage(f"snapshot headers: {error}") from None

    def verify(self, first: int, last: int, last_hash: bytes) -> bytes:
        """Require that these are the headers ``first`` to ``last``, of which the last has ``last_hash``.

        The hash of the block below the first. Raises InvalidMessage.
        """
        if len(self.headers) != last - first + 1:
            raise InvalidMessage(f"{len(self.headers)} headers where {first} to {last} should be")
        expected = last_hash
        for height, header in zip(range(last, first - 1, -1), reversed(self.headers), strict=True):
            if header.height != height or header.hash != expected:
                raise InvalidMessage(f"the header at height {height} is not the parent of the one above")
            expected = header.parent_hash
        return expected


class Manifest(ProtocolStruct, frozen=True):
    """What a snapshot consists of. ``finality`` is an encoded FinalityProof of its block.

    ``entries`` and ``chunk_bytes`` are for progress only. ``headers_from``: the lowest height with a replay entry, or
    the snapshot's own height when no block below has one. ``bounds``: where each chunk but the first begins.
    """

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    finality: Annotated[bytes, msgspec.Meta(max_length=PROOF_BYTES_MAX)]
    entries: Uint
    chunk_bytes: Uint
    headers_from: Uint
    bounds: Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=CHUNKS_MAX - 1)]

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Raises InvalidMessage; the proof in it is not verified by this."""
        try:
            manifest = decode_struct(_manifest_decoder, data, MANIFEST_BYTES_MAX)
            finality = FinalityProof.decode(manifest.finality)
            header = Header.decode(finality.header)
            Result.decode(finality.result)
        except (InvalidEncoding, InvalidProof) as error:
            raise InvalidMessage(f"snapshot manifest: {error}") from None
        if any(map(ge, (ZERO_HASH, *manifest.bounds), manifest.bounds)):
            raise InvalidMessage("snapshot manifest: the bounds of its chunks do not ascend")
        if not 1 <= manifest.headers_from <= header.height:
            raise InvalidMessage("snapshot manifest: its headers begin above its block")
        return manifest

    @property
    def header(self) -> Header:
        """Of the snapshot's block."""
        return Header.decode(FinalityProof.decode(self.finality).header)

    @property
    def result(self) -> Result:
        """Of the snapshot's block."""
        return Result.decode(FinalityProof.decode(self.finality).result)

    @property
    def id(self) -> bytes:
        """Names the parts: equal for all nodes that made the same snapshot, whatever certificate they hold."""
        finality = FinalityProof.decode(self.finality)
        fields = [finality.header, finality.result, self.entries, self.chunk_bytes, self.headers_from, self.bounds]
        return tagged_hash(SNAPSHOT_TAG, encode(fields))


class Layout:
    """The parts of a snapshot by number: header runs from the top downwards, then the chunks in order."""

    def __init__(self, height: int, headers_from: int, bounds: Sequence[bytes]) -> None:
        self._height: Final = height
        self._headers_from: Final = headers_from
        self._bounds: Final = (ZERO_HASH, *bounds, b"")
        #: How many parts are header runs.
        self.runs: Final = -(-(height - headers_from) // RUN_HEADERS_MAX)
        #: How many parts there are.
        self.parts: Final = self.runs + len(bounds) + 1

    @classmethod
    def of(cls, manifest: Manifest) -> Layout:
        """The layout that a manifest describes."""
        return cls(manifest.header.height, manifest.headers_from, manifest.bounds)

    def heights(self, part: int) -> tuple[int, int]:
        """First and last height of a header run."""
        last = self._height - 1 - part * RUN_HEADERS_MAX
        return max(self._headers_from, last - RUN_HEADERS_MAX + 1), last

    def range(self, part: int) -> tuple[bytes, bytes]:
        """First key hash of a chunk, and that of the next one or nothing."""
        chunk = part - self.runs
        return self._bounds[chunk], self._bounds[chunk + 1]


def nibbles_of(key_hash: bytes) -> bytes:
    """The path of a key hash, one byte per nibble."""
    return key_hash.hex().encode().translate(_NIBBLES)


# A leaf (its whole path) or a subtree (the path to it), with its hash.
_Item = tuple[bytes, bytes, bool]


def _leaf_hash(key_hash: bytes, value_hash: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + key_hash + value_hash).digest()


def _root_of(items: list[_Item]) -> bytes:
    """The root of the tree that consists of ``items``, which are sorted by path. Raises InvalidMessage."""
    if not items:
        return ZERO_HASH
    for (path, _, _), (following, _, _) in pairwise(items):
        if following.startswith(path):
            raise InvalidMessage("two parts of the chunk's tree are in one place")
    return _hash_of(items, 0, len(items), 0)


def _hash_of(items: list[_Item], start: int, end: int, depth: int) -> bytes:
    """The hash of the subtree of items[start:end], which share ``depth`` nibbles; a lone leaf is its own subtree."""
    if end - start == 1:
        path, item_hash, is_leaf = items[start]
        if is_leaf or len(path) == depth:
            return item_hash
    bitmap = 0
    hashes: list[bytes] = []
    position = start
    while position < end:
        nibble = items[position][0][depth]
        first = position
        position += 1
        while position < end and items[position][0][depth] == nibble:
            position += 1
        bitmap |= 1 << nibble
        hashes.append(_hash_of(items, first, position, depth + 1))
    return hashlib.sha256(b"\x01" + bitmap.to_bytes(2, "big") + b"".join(hashes)).digest()


_chunk_decoder = decoder_for(Chunk)
_run_decoder = decoder_for(HeaderRun)
_manifest_decoder = decoder_for(Manifest)
