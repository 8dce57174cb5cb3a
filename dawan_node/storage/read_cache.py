"""A bounded cache of the database's current values, for the keys that blocks keep reading and writing.

Committing a block needs the old value of everything it changes (the images that history is made of), and executing
it needed most of the same values just before; the upper nodes of the state tree are in every block. A read from
LevelDB costs a few microseconds, one from here a tenth of that.

Two generations bound it: new entries go to the young one; when that is full it becomes the old one, whose previous
holder is dropped; what is used moves to the young one again.

A reader may be between "LevelDB said so" and "remember it" while a commit changes the value. So while a commit is
under way nothing is remembered, and a reader remembers only what it read with no commit in between, which the
*ticket* tells: take it before reading, hand it in when filling.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Final


class Missing:
    """The type of ``MISSING``."""


# Not the same as None, which is a remembered "there is no such key".
MISSING: Final = Missing()

# A dictionary entry and the headers of two bytes objects, roughly.
_ENTRY_BYTES = 160


class ReadCache:
    """Values by database key. ``bytes_max`` bounds keys, values and overhead of both generations together.

    A key may be in both generations; the young one is right. What is written again is counted again, so the bound is
    kept a little too strictly rather than by more work.
    """

    def __init__(self, bytes_max: int) -> None:
        self._generation_bytes_max = bytes_max // 2
        self._young: dict[bytes, bytes | None] = {}
        self._old: dict[bytes, bytes | None] = {}
        self._young_bytes = 0
        self._committing: Mapping[bytes, bytes | None] | None = None
        self._lock = threading.Lock()
        self.ticket = 0

    def get(self, key: bytes) -> bytes | Missing | None:
        """The value, None if it is known not to exist, ``MISSING`` if nothing is known."""
        ticket = self.ticket  # before anything is looked at: see the module
        committing = self._committing
        if committing is not None and key in committing:
            return MISSING
        value = self._young.get(key, MISSING)
        if value is MISSING:
            value = self._old.get(key, MISSING)
            if not isinstance(value, Missing):
                self.fill(key, value, ticket)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | Missing | None]:
        """``get`` for many keys at once, without marking them as used. Not while a commit is under way."""
        old, missing = self._old, repeat(MISSING)
        found = list(map(self._young.get, keys, missing))
        return [old.get(key, MISSING) if value is MISSING else value for key, value in zip(keys, found, strict=True)]

    def fill(self, key: bytes, value: bytes | None, ticket: int) -> None:
        """Remember what was read from the store, unless a commit began or ended since ``ticket`` was taken."""
        with self._lock:
            if self._committing is not None or ticket != self.ticket:
                return
            self._young[key] = value
            self._young_bytes += len(key) + (len(value) if value else 0) + _ENTRY_BYTES
            if self._young_bytes > self._generation_bytes_max:
                self._age()

    def begin_commit(self, changes: Mapping[bytes, bytes | None]) -> None:
        """``changes`` are about to be written: know nothing about their keys, and remember nothing new."""
        with self._lock:
            self._committing = changes
            self.ticket += 1

    def end_commit(self) -> None:
        """The store now holds the changes: remember them."""
        with self._lock:
            changes = self._committing or {}
            self._young.update(changes)
            self._young_bytes += _ENTRY_BYTES * len(changes) + sum(map(len, changes))
            self._young_bytes += sum([len(value) for value in changes.values() if value])
            if self._young_bytes > self._generation_bytes_max:
                self._age()
            self.ticket += 1
            self._committing = None

    def _age(self) -> None:
        self._old, self._young, self._young_bytes = self._young, {}, 0
