"""What is looked at for as long as a node runs: room on the disk every second, and how far the log has come.

Both are asked in a thread of their own, since a disk in trouble may take its time to answer, and the event loop must
not wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from dawan_node.storage.room import Room

LOOK_S: Final = 1.0
#: Looks between two notes of the log's length: what a log put back in between could make this home forget is five
#: seconds of votes. A note is one file written anew, two syncs in a thread of its own, and none when the log has not
#: grown; a node that decides a block a second makes some twenty syncs in that time anyway.
NOTE_EVERY: Final = 5


class StorageWatch:
    """The task; ``run`` ends with the StorageError that must stop the node."""

    def __init__(self, room: Room, note: Callable[[], None]) -> None:
        """``note`` writes down what the log holds; it may raise StorageError."""
        self._room: Final = room
        self._note: Final = note
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="storage-watch")
        self.free_bytes = room.free_bytes()

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        looks = 0
        while True:
            looks += 1
            self.free_bytes = await loop.run_in_executor(self._thread, self._look, looks % NOTE_EVERY == 0)
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """After ``run`` has ended."""
        self._thread.shutdown()

    def _look(self, is_time_to_note: bool) -> int:
        self._room.check()
        if is_time_to_note:
            self._note()
        return self._room.free_bytes()
