"""What `devnet up` waits for: the links that a network of that size keeps, and no more."""

from __future__ import annotations

from pathlib import Path

from dawan_node.cli import devnet_creation


def test_it_waits_for_links_to_everybody_up_to_a_dozen_nodes_and_for_those_that_are_kept_above(tmp_path: Path) -> None:
    small = devnet_creation.create(tmp_path / "small", 4, 8)
    assert set(small.links_kept().values()) == {11}
    large = devnet_creation.create(tmp_path / "large", 4, 9)
    kept = large.links_kept()
    assert [kept[node.name] for node in large.nodes] == [3] * 4 + [4] * 9
