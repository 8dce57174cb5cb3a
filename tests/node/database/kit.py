"""A home with a chain, for the tools that work on a stopped node."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from dawan_node.crypto import keystore
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.node.database.audit import Audited, audit
from dawan_node.node.database.opened import Opened, opened
from dawan_node.node.home import Home
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Body, sign_transaction
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.kv import Put
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.storage.wal import Wal
from dawan_node.testing.long_chain import Author, Keys, Maker, Plan, build
from dawan_node.testing.module_kit import private_key_of, seat_args

PLAN = Plan(blocks=12, txs=6)
CHANNEL = "kit"


@cache
def keys() -> Keys:
    return Keys.of_kit()


def home_with(
    folder: Path, genesis: Genesis | None = None, *, log: bool = False, key: PrivateKey | None = None
) -> Home:
    """A home that knows the channel and has no database of it. Its key has no seat, unless one is given."""
    home = Home(folder)
    home.genesis_file(CHANNEL).parent.mkdir(parents=True)
    home.genesis_file(CHANNEL).write_bytes((genesis or keys().genesis).encoded)
    home.data.mkdir()
    keystore.make_private_folder(home.node_key.parent)
    seed = None if key is None else key.seed()
    keystore.create_signing_key(home.node_key, "node", b"of the kit", cost=keystore.DEVNET, seed=seed)
    if log:
        Wal.create(home.wal)
    return home


def home_with_chain(folder: Path, plan: Plan = PLAN) -> Home:
    home = home_with(folder)
    build(plan, keys(), home.database(CHANNEL), processes=0)
    return home


def copy_of(home: Home, folder: Path) -> Home:
    shutil.copytree(home.path, folder)
    return Home(folder)


def grow(home: Home, change: Callable[[Maker, Author, Opened], None]) -> None:
    """Lengthen the chain by what ``change`` does with its maker."""
    with opened(home, CHANNEL) as database:
        maker = Maker(keys(), ChannelStore.over(database.kv, keys().genesis.chain_id))
        change(maker, Author(PLAN, keys().genesis, keys().people), database)


def with_another_epoch(home: Home) -> None:
    """Nine more blocks: gz1 is voted another key, which enters epoch 1 at height 19, and three blocks follow."""
    new = private_key_of("another key of gz1")

    def change(maker: Maker, author: Author, _: Opened) -> None:
        maker.signers[new.public_key] = new
        genesis = keys().genesis
        vote = {"proposal": "p", "approve": True}
        calls: list[tuple[str, str, dict[str, Any]]] = [
            ("gz-admin", "propose_validator_key", seat_args(genesis, "p", "gz1", new)),
            *[(f"{org}-admin", "vote", vote) for org in ("gz", "hk", "mo")],
            ("hq-admin", "enact", {"proposal": "p"}),
            *[("hq-admin", "tick", {})] * 4,
        ]
        for number, (person, command, args) in enumerate(calls, start=1):
            time_ms = maker.applier.head.timestamp_ms + 1_000
            nonce = (b"%d" % number).ljust(16)
            body = Body(1, genesis.chain_id, nonce, time_ms + 60_000, "governance", command, args)
            maker.decide([sign_transaction(keys().people[person], body)], time_ms)
        assert maker.epoch == 1

    grow(home, change)


def alter(home: Home, change: Callable[[LevelDBStore], list[Put]]) -> None:
    """Write records past all that keeps a ledger right."""
    with closing(LevelDBStore.open(home.database(CHANNEL))) as kv:
        kv.write(change(kv), sync=True)


def verified(home: Home, **options: bool | int) -> Audited:
    with opened(home, CHANNEL) as database:
        return audit(database, **options)
