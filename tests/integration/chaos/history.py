"""What happened, in order: every call of a client with its answer, and every fault; one JSON object per line.

``at`` and ``done`` are seconds since the start of the run on one monotonic clock. The judge reads nothing but this
file and what the nodes say after the run.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dawan_node.errors import DawanError
from dawan_node.rpc.client import Client, RpcError


class History:
    """Written by many threads, a line at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._began

    def call(self, client: Client, who: str, node: str, method: str, params: list[Any], wait_s: float = 0.0) -> Any:
        """Call and record. Raises what the client raises."""
        at = self.now()
        entry: dict[str, Any] = {"kind": "call", "client": who, "node": node, "method": method, "at": at}
        # An envelope is long and its id says as much.
        if not method.startswith("tx_submit"):
            entry["params"] = params
        try:
            answer = client.call(method, params, wait_s)
        except RpcError as error:
            self.write(entry | {"done": self.now(), "error": [error.code, error.reason]})
            raise
        except DawanError as error:
            self.write(entry | {"done": self.now(), "unreachable": str(error)})
            raise
        self.write(entry | {"done": self.now(), "answer": answer})
        return answer

    def fault(self, what: str, node: str, phase: str, **more: Any) -> None:
        """``phase`` is "begin", "end" or "recovered"."""
        self.write({"kind": "fault", "what": what, "node": node, "phase": phase, "at": self.now(), **more})

    def write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        with self._lock:
            if not self._file.closed:  # a client that is still waiting when the run ends has nothing more to say
                self._file.write(line)

    def close(self) -> None:
        with self._lock:
            self._file.close()


def read(file: Path) -> Iterator[dict[str, Any]]:
    """The entries in the order written: an answer stands after everything that was answered before it."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
