"""Where time comes from. Everything below the node takes times as arguments, so tests turn the clock by hand.

Two clocks, never mixed: ``wall_ms`` is UTC and may jump (block timestamps, validity windows), ``monotonic_ms`` only
moves forward (timers, round trips, rates).

A test network's wall clock can be set ahead of the machine's, to see certificates expire. It then stays ahead when
the process is restarted, as the clock of a machine does; the monotonic clock is never touched.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from dawan_node.errors import ConfigError, OperatorError

#: How far a test network's clock may be moved: 50 years outlive every certificate, and dates stay far from the end of
#: what a calendar can hold.
AHEAD_MS_MAX: Final = 50 * 365 * 86_400_000
# A sign and 13 digits; anything longer in the file is not ours.
_FILE_BYTES_MAX: Final = 32


class Clock(Protocol):
    """Milliseconds as integers."""

    def wall_ms(self) -> int:
        """UTC since 1970."""
        ...

    def monotonic_ms(self) -> int:
        """Since some fixed moment; never goes back."""
        ...


class Calendar(Protocol):
    """The wall clock as a datetime, by which certificates and revocation lists are judged."""

    def now(self) -> datetime:
        """An aware time."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def now(self) -> datetime:
        """See Calendar."""
        return datetime.now(UTC)

    def monotonic_ms(self) -> int:
        """See Clock."""
        return time.monotonic_ns() // 1_000_000


class DevnetClock(SystemClock):
    """The clock of a node with ``[devnet] faults = true``: the machine's, and as much ahead as it was last told."""

    def __init__(self, file: Path) -> None:
        """``file`` keeps the setting over restarts; without it the clock is the machine's. Raises ConfigError."""
        self._file: Final = file
        self._ahead_ms = _read_ahead_ms(file)

    @property
    def ahead_ms(self) -> int:
        """Milliseconds before (below 0: behind) the machine's wall clock."""
        return self._ahead_ms

    def move(self, ahead_ms: int) -> None:
        """Set the wall clock ``ahead_ms`` before the machine's from now on. Raises OperatorError, changing nothing."""
        if abs(ahead_ms) > AHEAD_MS_MAX:
            raise OperatorError(
                f"the clock cannot be moved by {ahead_ms} ms", "that is more than 50 years", "Choose a nearer time."
            )
        temporary = self._file.with_name(self._file.name + ".new")
        try:
            temporary.write_text(f"{ahead_ms}\n", encoding="ascii")
            os.replace(temporary, self._file)
        except OSError as error:
            raise OperatorError(
                f"{self._file} cannot be written", error.strerror or "unknown reason", "Check the folder and its owner."
            ) from None
        self._ahead_ms = ahead_ms

    def wall_ms(self) -> int:
        """See Clock."""
        return super().wall_ms() + self._ahead_ms

    def now(self) -> datetime:
        """See SystemClock."""
        return super().now() + timedelta(milliseconds=self._ahead_ms)


def node_clock(data: Path, *, faults: bool) -> SystemClock:
    """The clock of the node whose data lies in ``data``; ``faults`` is its ``[devnet] faults``. Raises ConfigError."""
    # No channel can have this name: a dot is not allowed in one.
    return DevnetClock(data / "devnet.clock") if faults else SystemClock()


def _read_ahead_ms(file: Path) -> int:
    try:
        with file.open("rb") as opened:
            text = opened.read(_FILE_BYTES_MAX)
        ahead_ms = int(text)
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be used", str(error), "Remove it: the clock is then the machine's.") from None
    if abs(ahead_ms) > AHEAD_MS_MAX:
        raise ConfigError(f"{file} cannot be used", "it is more than 50 years", "Remove it.")
    return ahead_ms
