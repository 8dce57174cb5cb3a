"""The disk: room, speed of a sync, and file systems that lose or lie."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Final

from dawan_node.errors import StorageReason
from dawan_node.node.checkup.finding import Finding, fail, not_run, ok, warn
from dawan_node.node.checkup.patient import Patient
from dawan_node.storage.leveldb import is_initialised, missing_file, set_aside_before
from dawan_node.storage.room import FREE_BYTES_FAIL, GIB, MIB, Room

CHECK: Final = "disk"
#: A busy month is several GiB; whoever is told now can still order a disk.
FREE_BYTES_WARN: Final = 10 * GIB
#: Two syncs per block stand in the way of a commit: at 20 ms they are what a client waits for, and at 250 ms a view
#: change is near.
SYNC_MS_WARN: Final = 20
SYNC_MS_FAIL: Final = 250
_SYNCS: Final = 9  # the middle one of these speaks
_SYNC_BYTES: Final = 4096
_MOUNTS_BYTES_MAX: Final = 1024 * 1024

#: What is wrong with a file system, by the kernel's name for it.
BAD_FILE_SYSTEMS: Final = {
    "tmpfs": "it is memory: everything is gone after a restart, the signing log included",
    "ramfs": "it is memory: everything is gone after a restart, the signing log included",
    "overlay": "it is a container's own layer: everything is gone when the container is made anew",
    "nfs": "locks and syncs over a network are not what a signing log can rest on",
    "nfs4": "locks and syncs over a network are not what a signing log can rest on",
    "cifs": "locks and syncs over a network are not what a signing log can rest on",
    "smb3": "locks and syncs over a network are not what a signing log can rest on",
    "9p": "it passes syncs on to another machine, which may not do them",
    "fuse": "a program in between decides what a sync means",
}


def check_room(patient: Patient) -> list[Finding]:
    """Free space where the node writes."""
    folder = _folder(patient)
    reserve_mib = 0 if patient.config is None else patient.config.storage.reserve_mib
    room = Room(folder, reserve_mib * MIB)
    free = free_bytes(folder)
    what = f"{free / GIB:.1f} GiB are free; a node stops below {room.floor_bytes / MIB:.0f} MiB"
    if free < room.floor_bytes:
        return [
            fail(
                CHECK,
                "space",
                what,
                f"{folder}: a node does not serve from this disk ({StorageReason.FULL.value})",
                f"Free or add space for {(room.floor_bytes + room.reserve_bytes) / MIB:.0f} MiB, then start it.",
            )
        ]
    if free >= FREE_BYTES_WARN:
        return [ok(CHECK, "space", what)]
    say = fail if free < FREE_BYTES_FAIL else warn
    why = "a full disk stops the node" if free < FREE_BYTES_FAIL else "a busy month takes several GiB"
    return [say(CHECK, "space", what, f"{folder}: {why}", "Free or add space; ledgers never shrink by themselves.")]


def check_sync(patient: Patient) -> list[Finding]:
    """How long a small write takes to be safe."""
    folder = _folder(patient)
    try:
        # Has no name, so nothing is left of it whatever happens.
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return [not_run(CHECK, "sync", f"{folder}: {error.strerror}", "Run `doctor` as the user the node runs as.")]
    try:
        spans = []
        for _ in range(_SYNCS):
            begun = time.monotonic()
            os.write(descriptor, bytes(_SYNC_BYTES))
            os.fdatasync(descriptor)
            spans.append(time.monotonic() - begun)
    finally:
        os.close(descriptor)
    ms = sorted(spans)[_SYNCS // 2] * 1000
    what = f"a synced write takes {ms:.1f} ms"
    if ms < SYNC_MS_WARN:
        return [ok(CHECK, "sync", what)]
    say = fail if ms >= SYNC_MS_FAIL else warn
    return [
        say(CHECK, "sync", what, "every vote waits for two of them", "Use a local SSD, and keep other writers off it.")
    ]


def check_file_system(patient: Patient) -> list[Finding]:
    """What kind of file system it is."""
    folder = _folder(patient).resolve()
    with Path("/proc/self/mountinfo").open("rb") as file:
        kind, mount = file_system_of(folder, file.read(_MOUNTS_BYTES_MAX).decode(errors="replace"))
    trouble = BAD_FILE_SYSTEMS.get(kind.partition(".")[0])
    if trouble is None:
        return [ok(CHECK, "file system", f"{kind or 'unknown'} on {mount}")]
    return [warn(CHECK, "file system", f"{folder} lies on {kind} ({mount})", trouble, "Move the home to a local disk.")]


def check_databases(patient: Patient) -> list[Finding]:
    """Databases that were found damaged: those that the next start will heal, and what is kept of earlier ones."""
    found: list[Finding] = []
    for folder in sorted(patient.home.data.glob("*/db")):
        missing = missing_file(folder) if is_initialised(folder) else ""
        if missing:
            what, why = f"{folder} is not whole", f"{missing} is missing"
            fix = "Start the node: it keeps this one under another name and fetches the ledger from its peers."
            found.append(fail(CHECK, "databases", what, why, fix))
    for folder in sorted(patient.home.data.glob("*")):
        for aside in set_aside_before(folder / "db"):
            what = f"{aside} was set aside"
            why = "its creation was interrupted" if ".unfinished-" in aside.name else "it was damaged; ask why (dmesg)"
            found.append(warn(CHECK, "databases", what, why, f"When the node has caught up: rm -r {aside}"))
    return found or [ok(CHECK, "databases", "none lacks files, none was set aside")]


def free_bytes(folder: Path) -> int:
    """What this user may still write there."""
    return shutil.disk_usage(folder).free


def file_system_of(folder: Path, mountinfo: str) -> tuple[str, str]:
    """Kind and mount point of the file system ``folder`` lies on, after proc(5)'s mountinfo."""
    best = ("", "")
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(" - ")
        words = left.split()
        if not dash or len(words) < 5:
            continue
        mount = words[4].replace("\\040", " ")
        # A later line lies over an earlier one on the same place.
        if folder.is_relative_to(mount) and len(mount) >= len(best[1]):
            best = (right.split(" ", 1)[0], mount)
    return best


def _folder(patient: Patient) -> Path:
    """Where the node writes, or would."""
    return next((path for path in (patient.home.data, patient.home.path) if path.is_dir()), Path.cwd())
