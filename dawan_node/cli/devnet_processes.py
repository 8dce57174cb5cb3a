"""The processes of a test network: started, watched, stopped and killed by pid, never by name.

A node's pid is written beside its home. Before a signal is sent the process is checked to be that very node, since the
system may have given the pid to somebody else meanwhile.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.errors import OperatorError

#: An orderly stop finishes the blocks in flight and syncs; after this long it is not orderly any more.
STOP_S: Final = 15.0
_POLL_S: Final = 0.02


class Processes:
    """The node processes of one network."""

    def __init__(self, devnet: Devnet) -> None:
        self._devnet = devnet
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._exit_codes: dict[str, int] = {}

    def start(self, node: DevnetNode) -> None:
        """Start a node that is not running. Its output goes to its log file."""
        if self.pid(node) is not None:
            raise OperatorError(f"{node.name} runs already", "its process is alive", "Nothing to do.")
        home = self._devnet.home(node)
        home.log.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log_file(node).open("ab") as output:
            # A session of its own: Ctrl-C in the terminal reaches `devnet up`, which stops the nodes in order.
            child = subprocess.Popen(
                self.command(node), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._children[node.name] = child
        self._exit_codes.pop(node.name, None)
        self._pid_file(node).write_text(f"{child.pid}\n", encoding="ascii")

    def command(self, node: DevnetNode) -> list[str]:
        """What is run for a node. Its home stands in it: a process is known by that."""
        return [
            sys.executable,
            "-m",
            "dawan_node",
            "run",
            "--home",
            str(self._devnet.home(node).path.resolve()),
            "--passphrase-file",
            str(self._devnet.passphrase_file),
        ]

    def pid(self, node: DevnetNode) -> int | None:
        """The pid of the node's process, None when it does not run."""
        child = self._children.get(node.name)
        if child is not None:
            code = child.poll()
            if code is None:
                return child.pid
            self._exit_codes[node.name] = code
            del self._children[node.name]
        # Started by another process: the pid may have been given to somebody else since.
        try:
            pid = int(self._pid_file(node).read_text(encoding="ascii"))
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        home = os.fsencode(self._devnet.home(node).path.resolve())  # the same however this command spelt it
        return pid if home in words and state != "Z" else None

    def exit_code(self, node: DevnetNode) -> int | None:
        """How a child of this process ended; None when it runs or was started by somebody else."""
        child = self._children.get(node.name)
        return self._exit_codes.get(node.name) if child is None else child.poll()

    def kill(self, node: DevnetNode) -> None:
        """``kill -9``: no goodbye, as after a power cut."""
        self._signal(node, signal.SIGKILL)
        self._wait_gone([node], STOP_S)

    def stop(self, nodes: tuple[DevnetNode, ...]) -> None:
        """Ask the nodes to stop, wait, and kill what is left. Nodes that do not run are left alone."""
        running = [node for node in nodes if self.pid(node) is not None]
        for node in running:
            self._signal(node, signal.SIGTERM)
        left = self._wait_gone(running, STOP_S)
        for node in left:
            self._signal(node, signal.SIGKILL)
        self._wait_gone(left, STOP_S)

    def log_file(self, node: DevnetNode) -> Path:
        """Where the node's output goes."""
        return self._devnet.home(node).log / "node.log"

    def last_words(self, node: DevnetNode) -> str:
        """The last line of the node's log: why it ended, when it did."""
        try:
            lines = self.log_file(node).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _signal(self, node: DevnetNode, which: signal.Signals) -> None:
        pid = self.pid(node)
        if pid is None:
            raise OperatorError(
                f"{node.name} does not run", "it has no live process", f"Start it: dawan-node devnet start {node.name}."
            )
        try:
            os.kill(pid, which)
        except ProcessLookupError:
            return  # it ended between the look and the signal, which is what we wanted

    def _wait_gone(self, nodes: list[DevnetNode], seconds: float) -> list[DevnetNode]:
        """Wait for processes to end; those that did not."""
        deadline = time.monotonic() + seconds
        left = [node for node in nodes if self.pid(node) is not None]
        while left and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            left = [node for node in left if self.pid(node) is not None]
        for node in nodes:
            child = self._children.get(node.name)
            if child is not None and node not in left:
                self._exit_codes[node.name] = child.wait()
                del self._children[node.name]
        return left

    def _pid_file(self, node: DevnetNode) -> Path:
        return self._devnet.home(node).path / "pid"
