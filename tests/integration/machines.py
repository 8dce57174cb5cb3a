"""Machines of several parties on one: a folder each, and where root allows a network namespace each.

A machine has a home folder, a passphrase that only it knows, and addresses; what goes from one to another goes as a
file. With namespaces every machine has its own loopback and one wire to a switch between them, so that nothing but
what was advertised can be reached; without, they share loopback and differ by port.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dawan_node.cli import devnet_creation

ROOT = Path(__file__).resolve().parents[2]
_SUBNET = "10.77.0"
_START_S = 40.0


class Machine:
    """One party's machine. Commands run in its folder, with its environment and nothing of the others."""

    def __init__(self, folder: Path, name: str, number: int, namespace: str | None) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.namespace = namespace
        self.commands: list[str] = []
        credentials = self.folder / "credentials"
        credentials.mkdir(mode=0o700)
        (credentials / "dawan-passphrase").write_text(secrets.token_hex(16) + "\n")
        ports = (7100, 7110, 7120) if namespace else _free_ports(3)
        host = f"{_SUBNET}.{number}" if namespace else "127.0.0.1"
        self.advertised = f"{host}:{ports[0]}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "CREDENTIALS_DIRECTORY": str(credentials),  # what a person would type at the prompt
            "DAWAN_P2P__LISTEN": self.advertised,
            "DAWAN_RPC__LISTEN": f"127.0.0.1:{ports[1]}",
            "DAWAN_OPS__LISTEN": f"127.0.0.1:{ports[2]}",
        }
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def log(self) -> str:
        """What its node said."""
        path = self.folder / "node.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def dawan(self, *words: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one command of the program to its end."""
        self.commands.append(" ".join(words))
        return subprocess.run(
            [*self._inside(), sys.executable, "-m", "dawan_node", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def succeed(self, *words: str) -> str:
        """What a command prints, which must end well."""
        done = self.dawan(*words)
        assert done.returncode == 0, f"{self.name}$ dawan-node {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """``dawan-node run``, until it says that it runs."""
        self.commands.append("run")
        with (self.folder / "node.log").open("ab") as output:
            process = subprocess.Popen(
                [*self._inside(), sys.executable, "-m", "dawan_node", "run"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running.append(process)
        began = time.monotonic()
        while "node_started" not in self.log:
            assert process.poll() is None, f"{self.name} ended:\n{self.log[-2000:]}"
            assert time.monotonic() - began < _START_S, f"{self.name} did not start:\n{self.log[-2000:]}"
            threading.Event().wait(0.05)

    def stop(self) -> None:
        """End what runs here, by the pids that were started."""
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        self._running.clear()

    def mail(self, path: str, to: Machine, name: str) -> None:
        """Hand a file or folder over, as by mail: the receiver gets a copy under a name of its own choice."""
        source, target = self.folder / path, to.folder / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)

    def _inside(self) -> Sequence[str]:
        return ("ip", "netns", "exec", self.namespace) if self.namespace else ()


def namespaces_allowed() -> bool:
    """Whether network namespaces with wires between them can be made here."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"dawan-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return False
    wired = subprocess.run(
        ["ip", "-n", name, "link", "add", "a0", "type", "veth", "peer", "name", "b0"], capture_output=True, check=False
    )
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return wired.returncode == 0


@contextmanager
def machines(folder: Path, names: Sequence[str], *, namespaces: bool) -> Iterator[dict[str, Machine]]:
    """Machines by name; everything that was started or made for them is gone afterwards."""
    prefix = f"dawan{os.getpid()}"
    made: dict[str, Machine] = {}
    try:
        if namespaces:
            _wire_up(prefix, names)
        for number, name in enumerate(names, 1):
            made[name] = Machine(folder, name, number, f"{prefix}-{name}" if namespaces else None)
        yield made
    finally:
        for machine in made.values():
            machine.stop()
        if namespaces:
            for name in (*names, "switch"):
                subprocess.run(["ip", "netns", "delete", f"{prefix}-{name}"], capture_output=True, check=False)


def _wire_up(prefix: str, names: Sequence[str]) -> None:
    """A namespace for each machine and one for the switch; the host's own network is not touched."""
    switch = f"{prefix}-switch"
    _ip("netns", "add", switch)
    _ip("-n", switch, "link", "add", "br0", "type", "bridge")
    _ip("-n", switch, "link", "set", "br0", "up")
    for number, name in enumerate(names, 1):
        namespace = f"{prefix}-{name}"
        _ip("netns", "add", namespace)
        _ip("-n", switch, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", switch, "link", "set", f"p{number}", "master", "br0", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", namespace, "addr", "add", f"{_SUBNET}.{number}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports nobody listens on, below the range that outgoing connections use."""
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(devnet_creation.PORTS)  # this worker's share
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return tuple(found)
