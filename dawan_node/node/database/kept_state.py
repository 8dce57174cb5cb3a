"""Is a kept state whole, judged from itself alone? For states whose blocks are not there any more.

The entities have one root, which a quorum has certified. The tree's nodes and the indexes follow from the entities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from dawan_node.errors import StorageError
from dawan_node.execution import state_tree
from dawan_node.execution.channel import GOVERNANCE, REPLAY_COLLECTION
from dawan_node.execution.executor import REPLAY_INDEX
from dawan_node.execution.keys import prefix_of
from dawan_node.execution.registry import Registry
from dawan_node.node.database.finding import Fault, Wrong
from dawan_node.node.key_heaps import KeyHeaps
from dawan_node.primitives.proofs import state_key_hash
from dawan_node.storage import schema
from dawan_node.storage.kv import KeyValueReader

IndexName = tuple[str, str, str]


def root_of(kv: KeyValueReader, folder: Path) -> bytes:
    """The root of the tree over all entities, if the stored tree is that tree; sorts them in ``folder``.

    Raises Wrong, or StorageError when the disk does not take what is sorted.
    """
    heaps = KeyHeaps(folder)
    try:
        for key, value in kv.iterate(prefix=schema.STATE):
            names, primary_key = split(key, 2)
            heaps.add(state_key_hash(names[0], names[1], primary_key), hashlib.sha256(value).digest())
        nodes = ((key[1:], node) for key, node in kv.iterate(prefix=schema.NODE))
        try:
            return state_tree.check_stored(nodes, heaps.sorted())
        except StorageError as error:
            text = f"the stored tree of the oldest kept state is not the one its entities make: {error}"
            raise Wrong(Fault.STATE, 0, text) from None
    except OSError as error:
        raise StorageError(f"database {folder} cannot sort its entities: {error}") from error
    finally:
        heaps.remove()


def check_indexes(registry: Registry, kv: KeyValueReader) -> None:
    """Every index entry is one that its entity makes, and there are as many as entities make. Raises Wrong."""
    stored = 0
    for key, primary_key in kv.iterate(prefix=schema.INDEX):
        names, index_key = split(key, 3)
        stored += 1
        value = kv.get(schema.STATE + schema.scope(names[0], names[1]) + primary_key)
        if value is None or not _makes(registry, (names[0], names[1], names[2]), index_key, primary_key, value):
            raise Wrong(Fault.STATE, 0, f"no entity makes the index entry {'.'.join(names)} {index_key.hex()}")
    made = 0
    for key, value in kv.iterate(prefix=schema.STATE):
        names, primary_key = split(key, 2)
        for index in _indexes(registry, names[0], names[1]):
            is_replay = index == REPLAY_INDEX and names[0] == GOVERNANCE
            made += 1 if is_replay else len(_keys(registry, (names[0], names[1], index), primary_key, value))
    if made != stored:
        raise Wrong(Fault.STATE, 0, f"the indexes have {stored} entries, the entities make {made}")


def _indexes(registry: Registry, module: str, collection: str) -> Iterator[str]:
    if (module, collection) == (GOVERNANCE, REPLAY_COLLECTION):
        yield REPLAY_INDEX
        return
    found = registry.module(module)
    kind = None if found is None else found.entities.get(collection)
    if kind is not None:
        yield from kind.indexes


def _makes(registry: Registry, name: IndexName, index_key: bytes, primary_key: bytes, value: bytes) -> bool:
    if name == (GOVERNANCE, REPLAY_COLLECTION, REPLAY_INDEX):
        # Block time, which is not in the entity, then the key; the time itself is checked where the header is kept.
        return len(index_key) == schema.HEIGHT_BYTES + len(primary_key) and index_key.endswith(primary_key)
    return index_key in _keys(registry, name, primary_key, value)


def _keys(registry: Registry, name: IndexName, primary_key: bytes, value: bytes) -> list[bytes]:
    """The keys that an entity has in an index."""
    module, collection, index = name
    found = registry.module(module)
    kind = None if found is None else found.entities.get(collection)
    if kind is None or index not in kind.indexes:
        return []
    entity = kind.spec.decode(value)
    return [prefix_of(*parts) + primary_key for parts in kind.indexes[index](entity)]


def split(key: bytes, names: int) -> tuple[list[str], bytes]:
    """The names at the beginning of a state or index key, and the rest. Raises StorageError."""
    found: list[str] = []
    position = 1
    for _ in range(names):
        length = key[position] if position < len(key) else 0
        name = key[position + 1 : position + 1 + length]
        if not length or len(name) != length or not name.isascii():
            raise StorageError(f"a key of the database cannot be read: {key[:64].hex()}")
        found.append(name.decode("ascii"))
        position += 1 + length
    return found, key[position:]
