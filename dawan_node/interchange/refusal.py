"""Why an event of a foreign message was not read. The importers of events share it, each with reasons of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class Unreadable(ValueError):
    """One event cannot be read; the reason and the path to what is wrong."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(f"{reason} at {path}")
        self.reason: Final = reason
        self.path: Final = path


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event (``position`` from 0), or with -1 the whole message, was not read."""

    position: int
    reason: str
    path: str
