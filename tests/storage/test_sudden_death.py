"""Processes killed while they write: what was acknowledged is there, what is there is whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_kit import CHAIN_ID, CREATED_MS, GENESIS, genesis_changes

from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.wal import Wal

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5


def kill_while_writing(what: str, directory: Path, acknowledgements: int) -> int:
    """Let a child write until it has acknowledged that often, kill it at once, and return what it said last."""
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("dying_writer.py")), what, str(directory)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stderr is not None
    with child, child.stdout, child.stderr:
        said = [child.stdout.readline() for _ in range(acknowledgements)]
        child.send_signal(signal.SIGKILL)
        # What was acknowledged between the last line read and the kill counts too.
        said += child.stdout.readlines()
        problem = child.stderr.read()
    assert child.returncode == -signal.SIGKILL, problem
    return int([line for line in said if line.endswith("\n")][-1])


@pytest.mark.processes
def test_a_killed_writer_of_the_log_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    directory, source = tmp_path / "wal", random.Random(1)
    Wal.create(directory)
    for _ in range(ROUNDS):
        acknowledged = kill_while_writing("wal", directory, source.randint(1, 120))
        wal = Wal.open(directory)
        numbers = [int(record.payload.split()[0]) for record in wal.records()]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "a hole, or records twice"
        assert all(
            record.payload.split(b" ")[1] == bytes(n * 37 % 900)
            for n, record in zip(numbers, wal.records(), strict=True)
        )
        assert numbers[-1] >= acknowledged
        wal._directory_lock.release()
    assert int(min(directory.glob("*.wal")).stem) > 1, "segments were replaced on the way"


@pytest.mark.processes
def test_a_killed_committer_loses_no_acknowledged_block_and_leaves_no_half_block(tmp_path: Path) -> None:
    path, source = tmp_path / "trade" / "db", random.Random(2)
    ChannelStore.create(path, GENESIS, genesis_changes(), CREATED_MS)
    for _ in range(ROUNDS):
        acknowledged = kill_while_writing("channel", path, source.randint(1, 60))
        channel = ChannelStore.open(path, CHAIN_ID, history=20)
        height = channel.head.height
        assert acknowledged <= height <= acknowledged + 1
        channel.blocks.verify_bodies(1, height)
        for past in range(max(1, height - 20), height + 1):
            with channel.state.at(past) as view:
                assert view.get("trade", "counter", b"\x00") == b"%d" % past
                assert view.get("trade", "invoice", b"%08d" % past) == b"invoice %d" % past
                assert view.get("trade", "invoice", b"%08d" % (past + 1)) is None
                assert view.tree_node(b"") == b"root %d" % past
                assert view.index_scan("trade", "invoice", "by_number", b"", b"", 9) == [(b"%08d" % past,) * 2]
        channel.close()
