"""Opening the databases of a stopped node, under the lock that a running one holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawan_node.errors import InvalidGenesis, OperatorError, StorageError
from dawan_node.execution.executor import Executor
from dawan_node.execution.module import DeclarationError
from dawan_node.execution.registry import Registry
from dawan_node.node.home import Home
from dawan_node.node.module_package import require_pinned
from dawan_node.primitives.genesis import Genesis
from dawan_node.storage.leveldb import LevelDBStore, is_initialised, read_sign
from dawan_node.storage.lock import NodeLock
from dawan_node.storage.schema import SCHEMA_VERSION, schema_version


@dataclass(frozen=True, slots=True)
class Opened:
    """One channel's database, nothing of it believed yet. ``path`` is its directory."""

    genesis: Genesis
    executor: Executor
    kv: LevelDBStore
    path: Path


def channels_of(home: Home) -> list[str]:
    """The channels this home has a database of, by name."""
    return sorted(path.parent.name for path in home.data.glob("*/db") if is_initialised(path))


def choose_channel(home: Home, channel: str | None) -> str:
    """The channel named, or the only one there is a database of. Raises OperatorError."""
    found = channels_of(home)
    if channel in found:
        return channel
    if channel is None and len(found) == 1:
        return found[0]
    names = ", ".join(found) or "none"
    if channel is None and found:
        raise OperatorError("which channel?", f"this home has databases of {names}", "Name one with --channel.")
    what = f"there is no database of {channel}" if channel else "there is no database"
    raise OperatorError(what, f"{home.data} has {names}", "Name another --home or --channel, or run the node first.")


@contextmanager
def stopped(home: Home) -> Iterator[None]:
    """Hold the lock of a home whose node does not run. Raises OperatorError when it does."""
    if not home.data.is_dir():
        raise OperatorError(f"{home.path} holds no data", f"{home.data} is missing", "Name the node's home: --home.")
    try:
        lock = NodeLock.acquire_home(home.data)
    except OperatorError as error:
        raise OperatorError(
            f"the node of {home.path} runs",
            error.why,
            "Stop it first; a running node is asked with `dawan-node status`, `query` and `db diff`.",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def opened(home: Home, channel: str) -> Iterator[Opened]:
    """The channel's database of a stopped node. Raises OperatorError or StorageError."""
    genesis = genesis_of(home, channel)
    executor = executor_of(genesis)
    path = home.database(channel)
    with stopped(home):
        kv = LevelDBStore.open(path)
        was_older = read_sign(path).schema != SCHEMA_VERSION
        try:
            yield Opened(genesis, executor, kv, path)
            if was_older and schema_version(kv) == SCHEMA_VERSION:
                kv.mark_initialised(genesis.chain_id)  # looking at it brought it up: an older version is told at once
        finally:
            kv.close()


def genesis_of(home: Home, channel: str) -> Genesis:
    """What the channel starts from, from the home's own file. Raises OperatorError."""
    path: Final = home.genesis_file(channel)
    try:
        return Genesis.decode(path.read_bytes())
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be read",
            error.strerror or "unknown reason",
            "Take over what `network assemble` wrote: dawan-node network verify --from FOLDER.",
        ) from None
    except InvalidGenesis as error:
        raise OperatorError(f"{path} is damaged", str(error), "Ask another party for that file.") from None


def executor_of(genesis: Genesis) -> Executor:
    """Executes the channel's blocks. Raises OperatorError when a module is not installed."""
    require_pinned(genesis)
    try:
        registry = Registry.load([(module.name, module.version) for module in genesis.modules])
    except DeclarationError as error:
        raise OperatorError(
            f"channel {genesis.channel} cannot be executed here",
            str(error),
            "Install the package that brings this module in this version; `dawan-node module list` shows what is here.",
        ) from None
    return Executor(registry, genesis)


def directory_bytes(path: Path) -> int:
    """What the files of a directory take, by their lengths. Raises StorageError."""
    try:
        return sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file())
    except OSError as error:
        raise StorageError(f"{path} cannot be listed: {error}") from error
