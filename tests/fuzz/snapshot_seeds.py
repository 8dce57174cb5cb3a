"""Honest bytes of snapshots, and what a node does with such bytes from a peer."""

from __future__ import annotations

from functools import cache

from dawan_node.errors import InvalidMessage
from dawan_node.sync.snapshot_chosen import Chosen
from dawan_node.sync.snapshot_format import Chunk, HeaderRun, Manifest
from dawan_node.sync.snapshot_messages import (
    EpochQuery,
    EpochReply,
    PartQuery,
    PartReply,
    SnapshotOffer,
    SnapshotQuery,
)
from tests.sync.chain import CHAIN_ID
from tests.sync.snapshot_world import TRUE, TRUSTED, World


@cache
def world() -> World:
    return World(entries=12)


def messages() -> list[bytes]:
    manifest = world().manifest.encode()
    return [
        SnapshotQuery(1).encode(),
        SnapshotOffer(1, 7, (manifest,)).encode(),
        EpochQuery(2, 0).encode(),
        EpochReply(2, world().epochs()).encode(),
        PartQuery(3, bytes(32), 4).encode(),
        PartReply(3, b"data").encode(),
    ]


def manifests() -> list[bytes]:
    return [world().manifest.encode(), TRUE.manifest.encode()]


def chunks() -> list[bytes]:
    layout = world().layout
    return [world().part(layout, part) for part in range(layout.runs, layout.runs + 3)]


def header_runs() -> list[bytes]:
    return [world().part(world().layout, 0)]


def choices() -> list[bytes]:
    return [Chosen(world().manifest.encode(), world().epochs(), world().epochs()).encode()]


def use_manifest(data: bytes) -> None:
    manifest = Manifest.decode(data)
    assert manifest.encode() == data and len(manifest.id) == 32 and manifest.result.height >= 0
    (trusted,) = TRUSTED.follow(CHAIN_ID, world().epochs())
    trusted.final(CHAIN_ID, manifest.finality)


def use_chunk(data: bytes) -> None:
    chunk = Chunk.decode(data)
    assert chunk.encode() == data
    chunk.verify(world().root, chunk.first, chunk.after)


def use_headers(data: bytes) -> None:
    run = HeaderRun.decode(data)
    assert run.encode() == data
    run.verify(30, 39, world().headers[39].parent_hash)


def use_choice(data: bytes) -> None:
    chosen = Chosen.decode(data)
    assert chosen.encode() == data
    for proof in chosen.epochs:
        if proof.epoch != 0:
            raise InvalidMessage("of another epoch")
    TRUSTED.follow(CHAIN_ID, chosen.epochs)
