"""A genesis may pin the code of its modules (formats A.3); a node with other code does not run the channel."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dawan_node.errors import ConfigError
from dawan_node.execution.registry import load_module
from dawan_node.node.database.opened import executor_of
from dawan_node.node.module_package import installed
from dawan_node.node.restore import open_ledger
from dawan_node.primitives.genesis import Genesis
from dawan_node.testing.module_kit import ModuleKit


def pinned(code_hash: bytes) -> Genesis:
    genesis = ModuleKit([load_module("receivable", 1)], {"anna": ("gz", ["clerk"])}).genesis
    entries = [
        msgspec.structs.replace(entry, code_hash=code_hash) if entry.name == "receivable" else entry
        for entry in genesis.modules
    ]
    return msgspec.structs.replace(genesis, modules=entries)


def test_the_code_that_is_pinned_or_not_pinned_runs() -> None:
    for code_hash in (bytes(32), installed("receivable").code_hash):
        executor_of(pinned(code_hash))


def test_other_code_than_the_genesis_pins_is_refused_with_both_hashes(tmp_path: Path) -> None:
    genesis = pinned(bytes([7]) * 32)
    for attempt in (lambda: executor_of(genesis), lambda: open_ledger(genesis, tmp_path / "db", 1, None)):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert "0x" + "07" * 32 in str(caught.value)
        assert installed("receivable").code_hash.hex() in str(caught.value)
    assert not list(tmp_path.iterdir())
