"""What the system lets the node have: open files and memory."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

from dawan_node.node.checkup.finding import Finding, fail, not_run, ok, warn
from dawan_node.node.checkup.patient import Patient
from dawan_node.p2p.network import NetworkSettings
from dawan_node.rpc.connections import Limits
from dawan_node.storage.leveldb import BLOCK_CACHE_BYTES, OPEN_FILES_MAX, write_buffer_bytes

CHECK: Final = "limits"
MIB: Final = 1024**2
#: The program, its listeners, log and lock files, and what a library opens for a moment.
FILES_ITSELF: Final = 64
#: Two links for a moment while one replaces the other.
FILES_PER_PEER: Final = 2
#: An idle node with its code (README, figures), and as much again for blocks in flight.
BYTES_ITSELF: Final = 150 * MIB


def check_open_files(patient: Patient) -> list[Finding]:
    """The limit on open files against all that may be open at once."""
    if patient.consortium is None or patient.config is None:
        return [_no_consortium("open files")]
    channels = len(patient.consortium.channels_for(patient.config.node.org))
    parts = {
        "the node itself": FILES_ITSELF,
        f"{len(patient.consortium.nodes) - 1} peers": FILES_PER_PEER * (len(patient.consortium.nodes) - 1),
        "strangers": NetworkSettings().strangers_max,
        f"{channels} channels' LevelDB": channels * OPEN_FILES_MAX,
        "JSON-RPC": Limits().connections_max,
    }
    needed = sum(parts.values())
    soft, hard = open_files_allowed()
    what = f"{_count(soft)} files may be open, {needed} may be needed"
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return [ok(CHECK, "open files", what)]
    why = " + ".join(f"{count} for {name}" for name, count in parts.items())
    fix = f"Raise it: LimitNOFILE={needed * 2} in the systemd unit, or `ulimit -n` (hard limit {_count(hard)})."
    # What is always open: without it the node stops; the rest comes with load.
    always = FILES_ITSELF + FILES_PER_PEER * (len(patient.consortium.nodes) - 1)
    return [(fail if soft < always + channels * 16 else warn)(CHECK, "open files", what, why, fix)]


def check_memory(patient: Patient) -> list[Finding]:
    """Memory that is free or can be freed, against what the node takes."""
    if patient.consortium is None or patient.config is None:
        return [_no_consortium("memory")]
    channels = len(patient.consortium.channels_for(patient.config.node.org))
    buffer_bytes = write_buffer_bytes(channels, patient.config.storage.reserve_mib * MIB)
    needed = BYTES_ITSELF + channels * (2 * buffer_bytes + BLOCK_CACHE_BYTES)
    available = _available_bytes(Path("/proc/meminfo").read_text(encoding="ascii"))
    what = f"{available // MIB} MiB are available, {needed // MIB} MiB are needed for {channels} channels"
    if available >= needed or patient.pid is not None:  # a running node has its share already
        return [ok(CHECK, "memory", what)]
    return [
        fail(CHECK, "memory", what, "the system would kill it under load", "Add memory, or stop what else runs here.")
    ]


def open_files_allowed() -> tuple[int, int]:
    """The limit now, and how far it may be raised without root."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def _available_bytes(meminfo: str) -> int:
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0


def _count(limit: int) -> str:
    return "any number of" if limit == resource.RLIM_INFINITY else str(limit)


def _no_consortium(subject: str) -> Finding:
    return not_run(CHECK, subject, "what is needed depends on the consortium", "See what `configuration` says.")
