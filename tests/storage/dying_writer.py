"""A process that writes until it is killed, and says after each durable step how far it is.

dying_writer.py wal|channel DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

from ledger_kit import CHAIN_ID, block_on, changes_of

from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.wal import Wal, WalRecord

SEGMENT_BYTES = 40_000


def record(number: int) -> WalRecord:
    return WalRecord(CHAIN_ID, 1, b"%d " % number + bytes(number * 37 % 900))


def acknowledge(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def write_log(directory: Path) -> None:
    wal = Wal.open(directory, segment_bytes=SEGMENT_BYTES)
    replayed = wal.records()
    number = int(replayed[-1].payload.split()[0]) if replayed else 0
    while True:
        group = [record(number + step + 1) for step in range(1 + number % 5)]
        number += len(group)
        wal.append(group)
        if wal.should_roll:
            wal.roll([record(number - 1), record(number)])
        wal.sync()
        acknowledge(number)


def write_channel(directory: Path) -> None:
    channel = ChannelStore.open(directory, CHAIN_ID, history=20)
    while True:
        head = channel.head
        height = head.height + 1
        channel.commit(block_on(head.block_hash, head.result_hash, height), changes_of(height))
        acknowledge(height)


if __name__ == "__main__":
    {"wal": write_log, "channel": write_channel}[sys.argv[1]](Path(sys.argv[2]))
