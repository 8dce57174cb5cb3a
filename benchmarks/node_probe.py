"""What one node has used so far, seen from outside: ``probe`` before and after, and subtract.

CPU and bytes written are the kernel's account of the process, memory is that of its own pages (RssAnon: LevelDB maps
its table files, which the kernel may drop at any time) beside the whole, stages are the node's own table on
``/metrics``. Bytes on the wire are counted per TCP connection by the kernel (``tcp_info``), so that links between
validators and clients' calls are told apart although all of it is loopback; TCP and IP heads are not in it, TLS records
and handshakes are.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """One node at one moment."""

    at_s: float
    cpu_s: float
    written: int
    rss_kib: int
    own_kib: int
    disk: int
    stages: dict[str, tuple[float, float]]  # stage: (CPU us, transactions)


def probe(pid: int | None, ops_url: str, home: Path) -> Usage:
    """What the process ``pid`` has used. Raises OSError when it is gone."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    written = next(line for line in Path(f"/proc/{pid}/io").read_text().splitlines() if line.startswith("wchar"))
    rss_kib, own_kib = memory_kib(pid)
    return Usage(
        time.monotonic(),
        (int(stat[11]) + int(stat[12])) / TICKS,
        int(written.split()[1]),
        rss_kib,
        own_kib,
        disk_bytes(home),
        stages(ops_url),
    )


def memory_kib(pid: int | None) -> tuple[int, int]:
    """(resident, of these its own pages) of a process. Raises OSError when it is gone."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            found[name] = int(value.split()[0])
    return found["VmRSS"], found["RssAnon"]


def cpu_s(pid: int | None) -> float:
    """Processor seconds of a process since its start."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def disk_bytes(home: Path) -> int:
    """Bytes of all files below ``home`` now; files come and go meanwhile."""
    total = 0
    for path in home.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # compacted away between the listing and the look
        if path.is_file():
            total += status.st_size
    return total


def stages(ops_url: str) -> dict[str, tuple[float, float]]:
    """The node's table of processor time by stage."""
    found: dict[str, dict[str, float]] = {}
    with urllib.request.urlopen(f"{ops_url}/metrics", timeout=10) as answer:  # noqa: S310 - loopback
        for line in answer.read().decode().splitlines():
            for kind in ("cpu_us", "transactions"):
                prefix = f'dawan_stage_{kind}_total{{stage="'
                if line.startswith(prefix):
                    stage, _, value = line[len(prefix) :].partition('"} ')
                    found.setdefault(stage, {})[kind] = float(value)
    return {stage: (each.get("cpu_us", 0.0), each.get("transactions", 0.0)) for stage, each in found.items()}


def stage_table(before: Sequence[Usage], after: Sequence[Usage], transactions: int) -> dict[str, float]:
    """CPU us per transaction and node by stage, largest first, and what no stage claims."""
    per = max(1, transactions) * len(before)
    cpu_us = sum(b.cpu_s - a.cpu_s for a, b in zip(before, after, strict=True)) * 1e6 / per
    table: dict[str, float] = {}
    for a, b in zip(before, after, strict=True):
        for stage, (spent_us, _) in b.stages.items():
            table[stage] = table.get(stage, 0.0) + (spent_us - a.stages.get(stage, (0.0, 0.0))[0]) / per
    table["everything else"] = cpu_us - sum(table.values())
    return {stage: round(value, 1) for stage, value in sorted(table.items(), key=lambda item: -item[1])}


# tcp_info (linux/tcp.h): both counters are 64-bit and lie behind 120 bytes that have not changed since Linux 4.1.
_BYTES_ACKED: Final = 120
_INET_DIAG_INFO: Final = 2
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_NLMSG_DONE: Final = 3


class WireMeter:
    """Bytes sent and acknowledged over loopback connections to some listening ports, both ways, since it was made.

    It looks four times a second, in a thread: what a connection carried after the last look before its end is missing.
    """

    def __init__(self, kinds: Mapping[str, Collection[int]]) -> None:
        """``kinds``: what to call the sum over which ports."""
        self._kinds: Final = {port: kind for kind, ports in kinds.items() for port in ports}
        self._sockets: dict[bytes, tuple[str, int]] = {}  # by the kernel's cookie: (kind, bytes)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="wire meter", daemon=True)
        self._thread.start()

    def total(self) -> dict[str, int]:
        """Bytes by kind up to now."""
        self._look()
        found = dict.fromkeys(self._kinds.values(), 0)
        with self._lock:
            for kind, count in self._sockets.values():
                found[kind] += count
        return found

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            self._look()

    def _look(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:  # 4: NETLINK_SOCK_DIAG
            wanted = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0, 1 << 1)
            body = wanted + bytes(40) + b"\xff" * 8
            link.send(struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
            while True:
                data = link.recv(1 << 18)
                at = 0
                while at < len(data):
                    length, kind = struct.unpack_from("=IH", data, at)
                    if kind == _NLMSG_DONE:
                        return
                    if kind == _SOCK_DIAG_BY_FAMILY:
                        self._note(data[at + 16 : at + length])
                    at += (length + 3) & ~3

    def _note(self, message: bytes) -> None:
        """``bytes_acked`` of one socket. Each connection has two sockets here, one for each way."""
        near, far = struct.unpack_from("!HH", message, 4)
        kind = self._kinds.get(near) or self._kinds.get(far)
        if kind is None:
            return
        at = 72  # struct inet_diag_msg
        while at + 4 <= len(message):
            length, attribute = struct.unpack_from("=HH", message, at)
            if attribute == _INET_DIAG_INFO and length >= 4 + _BYTES_ACKED + 8:
                (acked,) = struct.unpack_from("=Q", message, at + 4 + _BYTES_ACKED)
                with self._lock:
                    self._sockets[message[44:52]] = (kind, acked)
                return
            at += max(4, (length + 3) & ~3)


def port_of(address: str) -> int:
    """The port of ``host:port``."""
    return int(address.rpartition(":")[2])
