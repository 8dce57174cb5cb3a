"""Complete consortium files for tests, made without slow key files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.node import assembly, consortium
from dawan_node.node.consortium import Consortium
from tests.node.joining_kit import DEVNET, NOW, requests_for


@pytest.fixture(scope="session")
def assembled() -> Consortium:
    document = consortium.load_document(DEVNET)
    return assembly.assemble("template", document, requests_for(document), NOW)


@pytest.fixture
def write_changed(assembled: Consortium, tmp_path: Path) -> Callable[..., Path]:
    """Write the assembled consortium with one piece of its text replaced; the path of the file."""

    def write(old: str = "", new: str = "") -> Path:
        assembly.write(assembled, tmp_path / "network")
        path = tmp_path / "network" / "consortium.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return path

    return write
