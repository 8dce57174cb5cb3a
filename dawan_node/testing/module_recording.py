"""What the tests of a module did, block by block, as a file: so that others can do it again.

``module test`` runs a module's tests with this plugin of pytest. It guards the module's package, as a node would, and
writes what every ``ModuleKit`` executed: genesis, and for each block the header, the transactions and the result.
``module_replay`` executes that in other processes, ``module_cluster`` on a network.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import pytest

from dawan_node.execution.executor import Execution
from dawan_node.execution.loading import guard_package
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.module_kit import ModuleKit

#: Where to write, and the top-level packages to guard, separated by commas.
FILE_VARIABLE: Final = "DAWAN_MODULE_RECORDING"
PACKAGES_VARIABLE: Final = "DAWAN_MODULE_PACKAGES"


class RecordedBlock(msgspec.Struct, frozen=True, array_like=True):
    """One block as a kit executed it."""

    header: bytes
    envelopes: list[bytes]
    result: bytes


class Recording(msgspec.Struct, frozen=True, array_like=True):
    """What one kit executed, and in which test."""

    test: str
    genesis: bytes
    blocks: list[RecordedBlock]

    @property
    def decoded_genesis(self) -> Genesis:
        """What the kit's channel starts from."""
        return Genesis.decode(self.genesis)


@dataclass(slots=True)
class _Kit:
    test: str
    genesis: bytes
    blocks: list[RecordedBlock] = field(default_factory=list)


class Recorder:
    """Collects recordings while tests run. Kits are known by their genesis object, which each has for itself."""

    def __init__(self) -> None:
        self.test = ""
        # The kit itself is kept: its identity stays its own as long as it lives.
        self._kits: list[tuple[ModuleKit, _Kit]] = []

    def watch(self, kit: ModuleKit, execution: Execution, transactions: Sequence[Transaction]) -> None:
        """``ModuleKit.witness``."""
        found = next((record for known, record in reversed(self._kits) if known is kit), None)
        if found is None:
            found = _Kit(self.test, kit.genesis.encoded)
            self._kits.append((kit, found))
        found.blocks.append(
            RecordedBlock(execution.header.encode(), [tx.envelope for tx in transactions], execution.result.encode())
        )

    def write(self, path: Path) -> None:
        """All recordings, in the order in which their kits were made."""
        recordings = [Recording(record.test, record.genesis, record.blocks) for _, record in self._kits]
        path.write_bytes(msgspec.msgpack.encode(recordings))


def read(path: Path) -> list[Recording]:
    """What ``Recorder.write`` wrote."""
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Recording])


def decoded(block: RecordedBlock) -> tuple[Header, list[Transaction], Result]:
    """A recorded block's parts."""
    transactions = [Transaction.decode(envelope) for envelope in block.envelopes]
    return Header.decode(block.header), transactions, Result.decode(block.result)


class Plugin:
    """What pytest calls."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self.recorder: Final = Recorder()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Remember whose kits come now."""
        self.recorder.test = item.nodeid
        return (yield)

    def pytest_sessionfinish(self) -> None:
        """Write."""
        self.recorder.write(self._path)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Guard the module's package before anything of it, a conftest for example, imports it."""
    for name in filter(None, os.environ.get(PACKAGES_VARIABLE, "").split(",")):
        guard_package(name)


def pytest_configure(config: pytest.Config) -> None:
    """The entrance: ``pytest -p dawan_node.testing.module_recording``."""
    path = os.environ.get(FILE_VARIABLE)
    if path:
        plugin = Plugin(Path(path))
        ModuleKit.witness = plugin.recorder.watch
        config.pluginmanager.register(plugin, "dawan-module-recording")
