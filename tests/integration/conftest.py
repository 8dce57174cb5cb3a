"""Fixtures of the real-process tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from network_kit import Network, running

from dawan_node.cli import devnet_creation

# Two workers that look for free ports at the same moment must not find the same ones.
_SHARE = len(devnet_creation.PORTS) // 4
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
devnet_creation.PORTS = devnet_creation.PORTS[_WORKER * _SHARE : (_WORKER + 1) * _SHARE]  # type: ignore[misc]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Four real validators, shared by the tests of one file that leave them as they found them."""
    with running(tmp_path_factory.mktemp("shared"), 4) as started:
        yield started


@pytest.fixture
def whole_network(network: Network) -> Network:
    """The shared network with everybody up and linked, whatever the last test did to it."""
    network.start_all()
    network.wait_linked()
    return network


@pytest.fixture
def own_network(tmp_path: Path) -> Iterator[Network]:
    """Four real validators for one test that breaks them."""
    with running(tmp_path, 4) as started:
        yield started
