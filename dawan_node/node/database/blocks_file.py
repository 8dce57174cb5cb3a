"""Decided blocks in a file: what ``db export`` writes and ``db import`` reads.

::

    magic 8 "DAWANBLK" | version u32 | frame (about) | frame (block) ... | u32 0 | SHA-256 of all before it

A frame is its length (u32, big-endian) and so many bytes, a canonical MessagePack array:

- about: ``[network, channel, chain_id, first, last, parent_hash, parent_result_hash]``, the last two of the block
  below the first;
- block: ``[header, result, links, certificate, envelopes, next_validators]``, each as in a sync reply;
  ``next_validators`` are ``[suite, public_key]`` of those that decide the next height where a block changes them and
  the exporter knows them, else nothing. The hash of the set is in the certified result, so a reader need not trust it.

A file is complete or it is not: it gets its name when everything is on the disk, and without the final hash, or with
another one, nothing of it is believed.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec

from dawan_node.errors import InvalidEncoding
from dawan_node.node.database.finding import FileRefused
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CERTIFICATE_BYTES_MAX
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct, decoder_for
from dawan_node.primitives.proofs import LINKS_MAX
from dawan_node.primitives.validators import VALIDATORS_MAX
from dawan_node.storage.files import sync_directory
from dawan_node.sync.messages import ENVELOPES_MAX, SYNC_MESSAGE_BYTES_MAX, LightBlock

MAGIC: Final = b"DAWANBLK"
VERSION: Final = 1
#: A block as it travels in sync, and its successor's validators of at most 32 + 32 bytes and their lengths each.
FRAME_BYTES_MAX: Final = SYNC_MESSAGE_BYTES_MAX + 80 * VALIDATORS_MAX
#: Its own file again, or another one from its owner: what to do with an unusable file.
AGAIN: Final = "Copy the file again, or have it exported again; nothing was changed here."

_U32: Final = struct.Struct(">I")


class About(ProtocolStruct, frozen=True):
    """What the file is of."""

    network: str
    channel: str
    chain_id: Bytes32
    first: Uint
    last: Uint
    parent_hash: Bytes32
    parent_result_hash: Bytes32


class ExportedBlock(ProtocolStruct, frozen=True):
    """One block with its proof."""

    header: Header
    result: Result
    links: Annotated[tuple[tuple[Header, Result], ...], msgspec.Meta(max_length=LINKS_MAX)]
    certificate: Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]
    envelopes: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=ENVELOPES_MAX)]
    next_validators: Annotated[tuple[tuple[str, bytes], ...], msgspec.Meta(max_length=VALIDATORS_MAX)]

    @property
    def as_light(self) -> LightBlock:
        """The block as a peer would send it."""
        return LightBlock(self.header, self.result, self.certificate)


_about_decoder = decoder_for(About)
_block_decoder = decoder_for(ExportedBlock)


def write(path: Path, about: About, blocks: Iterator[ExportedBlock]) -> str:
    """Write a new file; its SHA-256 in hexadecimal (of what the file's own end covers). Raises FileRefused."""
    if path.exists():
        raise FileRefused("XF_EXISTS", f"{path} exists", "no file is overwritten", "Choose another name.")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                digest = _write(file, about, blocks)
                file.flush()
                os.fsync(file.fileno())
            os.link(unfinished, path)  # unlike a rename never in the place of another file
            sync_directory(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise FileRefused(
            "XF_UNWRITABLE", f"{path} cannot be written", error.strerror or "unknown reason", "Check folder and disk."
        ) from None
    return digest


def _write(file: BinaryIO, about: About, blocks: Iterator[ExportedBlock]) -> str:
    digest = hashlib.sha256()

    def put(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    put(MAGIC + _U32.pack(VERSION))
    for part in chain((about,), blocks):
        data = part.encode()
        put(_U32.pack(len(data)) + data)
    put(_U32.pack(0))
    file.write(digest.digest())
    return digest.hexdigest()


class BlocksFile:
    """An export that is being read. Every method raises FileRefused."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        try:
            self._file: Final = path.open("rb")
        except OSError as error:
            raise FileRefused(
                "XF_UNREADABLE", f"{path} cannot be read", error.strerror or "unknown reason", "Check path and mode."
            ) from None
        self._digest = hashlib.sha256()
        try:
            self.about: Final = self._begin()
        except FileRefused:
            self._file.close()
            raise

    def __enter__(self) -> BlocksFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def frames(self) -> Iterator[bytes]:
        """Every block's frame, from the first. Ends only when the file's own hash is right."""
        self._file.seek(0)
        self._digest = hashlib.sha256()
        self._begin()
        while data := self._frame():
            yield data
        computed = self._digest.digest()
        if self._read(len(computed), hashed=False) != computed:
            raise self._refused("XF_ALTERED", "its content is not the one its hash was made of")
        if self._file.read(1):
            raise self._refused("XF_ALTERED", "something follows its end")

    def block(self, frame: bytes) -> ExportedBlock:
        """The block in a frame."""
        try:
            return decode_struct(_block_decoder, frame, FRAME_BYTES_MAX)
        except InvalidEncoding as error:
            raise self._refused("XF_ALTERED", f"a block in it cannot be read: {error}") from None

    def _begin(self) -> About:
        if self._read(len(MAGIC)) != MAGIC:
            raise FileRefused(
                "XF_FOREIGN",
                f"{self.path} is no export of blocks",
                "it does not begin like one",
                "Name a file that `dawan-node db export` wrote.",
            )
        (version,) = _U32.unpack(self._read(_U32.size))
        if version != VERSION:
            raise FileRefused(
                "XF_VERSION",
                f"{self.path} has format version {version}",
                f"this program knows {VERSION}",
                "Use the version of dawan-node that wrote it, or export again with this one.",
            )
        try:
            return decode_struct(_about_decoder, self._frame(), FRAME_BYTES_MAX)
        except InvalidEncoding as error:
            raise self._refused("XF_ALTERED", f"its description cannot be read: {error}") from None

    def _frame(self) -> bytes:
        (length,) = _U32.unpack(self._read(_U32.size))
        if length > FRAME_BYTES_MAX:
            raise self._refused("XF_ALTERED", f"a part of {length} bytes, at most {FRAME_BYTES_MAX}")
        return self._read(length)

    def _read(self, count: int, *, hashed: bool = True) -> bytes:
        try:
            data = self._file.read(count)
        except OSError as error:
            raise self._refused("XF_UNREADABLE", error.strerror or "unknown reason") from None
        if len(data) != count:
            raise self._refused("XF_TRUNCATED", "it ends too early")
        if hashed:
            self._digest.update(data)
        return data

    def _refused(self, code: str, why: str) -> FileRefused:
        return FileRefused(code, f"{self.path} is not taken", why, AGAIN)
