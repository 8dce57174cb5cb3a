"""A running node's own backups, asked for through its operations port.

The port is on loopback, where anybody with an account on the machine may knock. So the node writes a token into its
data directory, which only its user can read, and makes backups for whoever shows it: to HOME/backups and nowhere else.

One backup at a time, in a thread of its own, from LevelDB snapshots: commits go on beside it. Its pace is bounded, and
a chunk of a megabyte is what it holds the interpreter for, a few milliseconds. A database that cannot be read latches
its store, and the node ends with the next block as after any fault of the disk.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from dawan_node.errors import DawanError, OperatorError, StorageError
from dawan_node.node.backups.making import About, Pace, check_name, check_space, create, name_for
from dawan_node.node.database.opened import directory_bytes
from dawan_node.node.home import Home
from dawan_node.node.logs import fields
from dawan_node.rpc.api import ApiError
from dawan_node.storage.files import PRIVATE_FILE_MODE
from dawan_node.storage.kv import KeyValueSnapshot

log = logging.getLogger(__name__)

_FORBIDDEN: Final = -32011


def token_file(home: Home) -> Path:
    """Where a running node's token lies."""
    return home.data / "ops.token"


class LiveBackups:
    """The admin actions ``backup`` and ``backup-status``. Belongs to the event loop; ``close`` before the stores."""

    def __init__(
        self,
        home: Home,
        about: About,
        snapshots: Mapping[str, Callable[[], KeyValueSnapshot]],
        now: Callable[[], datetime],
    ) -> None:
        """Writes the token. Raises OperatorError when that is not possible."""
        self._home: Final = home
        self._about: Final = about
        self._snapshots: Final = snapshots
        self._now: Final = now
        self._thread: Final = ThreadPoolExecutor(1, thread_name_prefix="backup")
        self._token: Final = secrets.token_hex(32)
        self._pace: Pace | None = None
        self._name = ""
        self._failure: dict[str, str] | None = None
        self._done: dict[str, int] | None = None
        _write_token(token_file(home), self._token)

    @property
    def actions(self) -> Mapping[str, Callable[[Mapping[str, Any]], Any]]:
        """For ``OpsActions``."""
        return {"backup": self.start, "backup-status": self.status}

    async def start(self, argument: Mapping[str, Any]) -> Any:
        """Begin a backup; its name. Raises ApiError."""
        self._authenticate(argument)
        if self._pace is not None and self._failure is None and self._done is None:
            raise ApiError.unavailable(f"the backup {self._name} is being made", "Wait for it: one at a time.")
        name = argument.get("name") or name_for(self._now())
        if not isinstance(name, str):
            raise ApiError.invalid("name must be a string", path="name")
        try:
            target = check_name(self._home, name)
            sizes = await asyncio.to_thread(self._sizes)
            check_space(self._home, sizes)
        except (OperatorError, StorageError) as error:
            raise ApiError.invalid(str(error), path="name") from None
        self._name, self._failure, self._done = name, None, None
        self._pace = Pace()
        log.info("backup_started", extra=fields(backup=name))
        asyncio.get_running_loop().run_in_executor(self._thread, self._make, target, self._pace)
        return {"name": name}

    async def status(self, argument: Mapping[str, Any]) -> Any:
        """What became of the last backup. Raises ApiError."""
        self._authenticate(argument)
        if self._pace is None:
            return {"state": "none"}
        state = "running" if self._failure is None and self._done is None else "failed" if self._failure else "done"
        return {
            "state": state,
            "name": self._name,
            "bytes": self._pace.bytes,
            "error": self._failure,
            "heights": self._done,
        }

    def close(self) -> None:
        """End a backup that is being made and wait for its thread; nothing of it is left."""
        if self._pace is not None:
            self._pace.cancel()
        self._thread.shutdown(cancel_futures=True)
        token_file(self._home).unlink(missing_ok=True)

    def _make(self, target: Path, pace: Pace) -> None:
        """In the thread."""
        try:
            manifest = create(self._home, target, self._about, self._snapshots, pace, self._now())
        except DawanError as error:
            what = error if isinstance(error, OperatorError) else OperatorError("the backup failed", str(error), "")
            self._failure = {"what": what.what, "why": what.why, "fix": what.fix}
            log.error("backup_failed", extra=fields(backup=target.name, why=str(error)))
        else:
            self._done = {channel.channel: channel.height for channel in manifest.channels}
            log.info("backup_done", extra=fields(backup=target.name, bytes=pace.bytes))

    def _sizes(self) -> int:
        return sum(directory_bytes(self._home.database(channel)) for channel in self._snapshots)

    def _authenticate(self, argument: Mapping[str, Any]) -> None:
        given = argument.get("token")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), self._token.encode()):
            raise ApiError(_FORBIDDEN, "the token is not this node's", hint=f"It is in {token_file(self._home)}.")


def _write_token(path: Path, token: str) -> None:
    try:
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, PRIVATE_FILE_MODE), "w", encoding="ascii") as file:
            file.write(token)
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be written", error.strerror or "unknown reason", "Check the data directory's owner."
        ) from None
