"""TOML that the parser itself gives up on is refused like any other that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dawan_node.errors import ConfigError
from dawan_node.node.toml_file import read_toml


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 20_000, "a = " + "{a=" * 20_000, "a = " + "1" * 5_000, "a", "a = 1\na = 2", "a = 'é\x00'"],
    ids=["nested arrays", "nested tables", "endless number", "no value", "twice", "control character"],
)
def test_whatever_the_parser_cannot_read_is_refused_with_the_name_of_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"node\.toml is not valid TOML"):
        read_toml(path)
