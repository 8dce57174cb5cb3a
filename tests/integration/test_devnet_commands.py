"""`devnet` beside a running network: it finds the nodes however the folder is spelt, and names who is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from network_kit import Network, until

from dawan_node.cli.main import cli

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def _devnet(home: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["devnet", arguments[0], "--home", str(home), *arguments[1:]])


def _rows(home: Path | str) -> dict[str, Any]:
    return {row["node"]: row for row in json.loads(_devnet(home, "status", "-o", "json").stdout)}


def test_every_spelling_of_the_folder_finds_the_running_nodes(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = network.devnet.folder.resolve()
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.chdir(folder.parent)
    expected = {node.name: network.processes.pid(node) for node in network.nodes}
    assert None not in expected.values()
    for spelling in (folder, folder.name, f"./{folder.name}", os.path.relpath(folder), link):
        assert {name: row["pid"] for name, row in _rows(spelling).items()} == expected, spelling


def test_a_cut_network_is_not_called_well_and_its_missing_validators_are_named(network: Network) -> None:
    home, names = network.devnet.folder, [node.name for node in network.nodes]
    assert _devnet(home, "partition", "0,1/2,3").exit_code == 0
    try:
        until(lambda: all(row["grave"] for row in _rows(home).values()), 10, "the loss of the quorum")
        shown = _devnet(home, "status")
        assert shown.exit_code == 6
        assert f"missing: {', '.join(sorted(names[2:]))}" in shown.stdout
        assert "no quorum" in shown.stderr
    finally:
        _devnet(home, "partition")
    until(lambda: all(row["trouble"] == "-" for row in _rows(home).values()), 20, "links again")
    assert _devnet(home, "status").exit_code == 0


def test_with_the_first_node_dead_the_advice_and_the_next_transaction_go_to_another(whole_network: Network) -> None:
    home, (first, second, *_) = whole_network.devnet.folder, whole_network.nodes
    killed = _devnet(home, "kill", "0")
    assert (killed.exit_code, second.rpc_url in killed.stdout) == (0, True)
    sent = _devnet(home, "tx")
    assert (sent.exit_code, f"through {second.name}" in sent.stdout) == (0, True), sent.output
    refused = _devnet(home, "tx", first.name)
    assert (refused.exit_code, "devnet start" in refused.stderr) == (3, True)


# The last of this file: block time cannot go back.
def test_clocks_move_together_or_by_name_and_the_chain_goes_on_either_way(whole_network: Network) -> None:
    home, nodes = whole_network.devnet.folder, whole_network.nodes
    moved = _devnet(home, "clock", "+21d")
    assert (moved.exit_code, moved.stdout.count("21 d ahead of the machine's time")) == (0, 4)
    assert "Block time moves with the clocks of the validators and cannot go back." in moved.stdout
    assert _devnet(home, "tx").exit_code == 0
    time_ahead = whole_network.ask(nodes[0], "chain_head", "trade")["timestamp"]

    # Back again: the next block is later than the last all the same.
    back = _devnet(home, "clock", "-1h")
    assert (back.exit_code, "until the clocks have caught up" in back.stdout) == (0, True)
    assert _devnet(home, "clock", "now").exit_code == 0
    assert _devnet(home, "tx").exit_code == 0
    assert whole_network.ask(nodes[0], "chain_head", "trade")["timestamp"] > time_ahead

    assert _devnet(home, "clock", "+2h", nodes[1].name).exit_code == 0
    shown = _devnet(home, "clock").stdout
    assert [("2 h ahead" in line) for line in shown.splitlines()] == [False, True, False, False]
    assert "cannot go back" not in shown
    refused = _devnet(home, "clock", "tomorrow")
    assert (refused.exit_code, "+21d" in refused.stderr) == (1, True)
