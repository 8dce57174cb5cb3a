"""What goes wrong: each kind of fault, how it begins and how it ends.

A fault has one victim. What it does to the victim's links it does to nobody else's, so that at any time no more than
one validator is faulty, and as many observers as have a fault of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.testing.link_proxy import LinkProxy
from tests.integration.chaos.network import CHANNEL, ChaosNetwork

#: The disk of a node that is going to be full, where this process may mount one. More than a node keeps in reserve.
DISK_BYTES = 768 * 1024 * 1024
#: The exit code of a node whose storage is in doubt.
EXIT_STORAGE = 74
_POLL_S = 0.02
_SELF_STOP_S = 20.0
_MS_NOSUID_NODEV = 2 | 4
_MS_BIND = 4096
_MNT_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class FaultFailed(Exception):
    """The victim did not do what a node must do under this fault."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One fault: the network, whom it hits, and the numbers drawn for it."""

    network: ChaosNetwork
    victim: DevnetNode
    draw: random.Random
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def is_validator(self) -> bool:
        return self.victim in self.network.validators


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. ``longest_s``: it lasts a drawn time up to this. ``on``: whom it may hit."""

    name: str
    begin: Callable[[Scene], None]
    end: Callable[[Scene], None]
    longest_s: float
    on: tuple[str, ...] = ("validator", "observer")
    #: Why it cannot be done on this machine; empty: it can.
    obstacle: Callable[[ChaosNetwork], str] = lambda network: ""


# Processes


def _kill(scene: Scene) -> None:
    scene.network.processes.kill(scene.victim)


def _start(scene: Scene) -> None:
    """Start the victim when it does not run."""
    if scene.network.pid(scene.victim) is None:
        scene.network.processes.start(scene.victim)


def _terminate(scene: Scene) -> None:
    network, victim = scene.network, scene.victim
    network.processes.stop((victim,))
    code = network.processes.exit_code(victim)
    if code != 0:
        raise FaultFailed(f"{victim.name} was told to stop and ended with {code}")


def _pause(scene: Scene) -> None:
    scene.network.signal(scene.victim, signal.SIGSTOP)


def _go_on(scene: Scene) -> None:
    scene.network.signal(scene.victim, signal.SIGCONT)


# Links


def _on_links(scene: Scene, change: Callable[[LinkProxy, bool], None], *, all_links: bool = False) -> None:
    others = [node for node in scene.network.nodes if node != scene.victim]
    chosen = others if all_links else scene.draw.sample(others, scene.draw.randint(1, len(others)))
    scene.notes["links"] = sorted(node.name for node in chosen)
    for node in chosen:
        scene.network.links.between(scene.victim.name, node.name, change)


def _disconnect(scene: Scene) -> None:
    reset = scene.draw.random() < 0.5
    scene.notes["how"] = "RST" if reset else "FIN"

    def change(proxy: LinkProxy, outward: bool) -> None:
        proxy.refuse = True
        if reset:
            proxy.reset_all()
        else:
            proxy.close_all()

    _on_links(scene, change, all_links=scene.draw.random() < 0.5)


def _one_way(scene: Scene) -> None:
    """Bytes of one direction vanish or wait, as a route that is gone in one direction; connections stay."""
    swallow, from_victim = scene.draw.random() < 0.5, scene.draw.random() < 0.5
    scene.notes["how"] = f"{'swallowed' if swallow else 'held'} {'from' if from_victim else 'to'} the victim"

    def change(proxy: LinkProxy, outward: bool) -> None:
        conditions = proxy.forward if outward == from_victim else proxy.backward
        if swallow:
            conditions.swallow = True
        else:
            conditions.hold = True

    _on_links(scene, change, all_links=scene.draw.random() < 0.5)


def _half_open(scene: Scene) -> None:
    """Nothing passes in either direction and nobody is told: a cable pulled."""

    def change(proxy: LinkProxy, outward: bool) -> None:
        proxy.forward.hold = proxy.backward.hold = True

    _on_links(scene, change, all_links=scene.draw.random() < 0.5)


def _slow_link(scene: Scene) -> None:
    bits = scene.draw.choice((64_000, 64_000, 128_000, 512_000))
    scene.notes["how"] = f"{bits // 1000} kbit/s"

    def change(proxy: LinkProxy, outward: bool) -> None:
        proxy.forward.bytes_per_s = proxy.backward.bytes_per_s = bits / 8

    _on_links(scene, change, all_links=True)


def _delay(scene: Scene) -> None:
    ms = scene.draw.choice((50, 150, 300))
    scene.notes["how"] = f"{ms} ms each way"

    def change(proxy: LinkProxy, outward: bool) -> None:
        proxy.forward.delay_s = proxy.backward.delay_s = ms / 1000

    _on_links(scene, change, all_links=True)


def _corrupt(scene: Scene) -> None:
    def change(proxy: LinkProxy, outward: bool) -> None:
        proxy.forward.corrupt = proxy.backward.corrupt = True

    _on_links(scene, change)


def _heal_links(scene: Scene) -> None:
    scene.network.links.heal(scene.victim.name)
    if scene.network.pid(scene.victim) is None:
        raise FaultFailed(f"{scene.victim.name} ended because of its links")


# Clocks


def _move_clock(scene: Scene) -> None:
    ahead_ms = scene.draw.choice((-3_600_000, -60_000, -3_000, 800, 3_000, 60_000, 1_200_000))
    scene.notes["ahead_ms"] = ahead_ms
    scene.network.move_clock(scene.victim, ahead_ms)


def _set_clock_right(scene: Scene) -> None:
    scene.network.move_clock(scene.victim, 0)


# Disks


def _write_error(scene: Scene) -> None:
    """No file of the victim grows any more: every write beyond what is there fails (EFBIG), as on a full quota."""
    pid = scene.network.pid(scene.victim)
    if pid is not None:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))


def _wait_stopped(scene: Scene) -> None:
    """The victim has stopped by itself with the code of storage, or does so now."""
    network, victim = scene.network, scene.victim
    deadline = time.monotonic() + _SELF_STOP_S
    while network.pid(victim) is not None:
        if time.monotonic() > deadline:
            raise FaultFailed(f"{victim.name} goes on although nothing can be written")
        time.sleep(_POLL_S)
    code = network.processes.exit_code(victim)
    scene.notes["exit_code"] = code
    if code != EXIT_STORAGE:
        raise FaultFailed(
            f"{victim.name} ended with {code}, not {EXIT_STORAGE}: {network.processes.last_words(victim)}"
        )


def _restart_after_write_error(scene: Scene) -> None:
    _wait_stopped(scene)
    _start(scene)


def _disk_full(scene: Scene) -> None:
    """The victim's own small disk is filled to the last byte."""
    disk = _disk_of(scene.network, scene.victim)
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):  # full: what was wanted
        while True:
            free = os.statvfs(disk)
            file.write(bytes(max(1, min(free.f_bavail * free.f_frsize, 1 << 20))))


def _restart_with_room(scene: Scene) -> None:
    ballast = _disk_of(scene.network, scene.victim) / "ballast"
    try:
        _wait_stopped(scene)
    finally:
        ballast.unlink()
    _start(scene)


def own_disks(network: ChaosNetwork) -> None:
    """Put the data of one validator and one observer on small disks of their own. Raises OSError.

    The caller is in a mount namespace of its own, so nothing outlives it.
    """
    for node in (network.validators[-1], network.observers[-1]):
        data, disk = network.data(node), _disk_of(network, node)
        disk.mkdir(mode=0o700)
        _mount(b"chaos", disk, b"tmpfs", _MS_NOSUID_NODEV, f"size={DISK_BYTES},mode=0700".encode())
        shutil.copytree(data, disk / "data")
        _mount(os.fsencode(disk / "data"), data, b"", _MS_BIND, b"")
        network.disks.add(node.name)


def release_disks(network: ChaosNetwork) -> None:
    """Unmount what ``own_disks`` has mounted, so that the folder can be removed. Raises OSError."""
    for node in network.nodes:
        if node.name in network.disks:
            for folder in (network.data(node), _disk_of(network, node)):
                if _LIBC.umount2(os.fsencode(folder), _MNT_DETACH):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))


def _disk_of(network: ChaosNetwork, node: DevnetNode) -> Path:
    return network.data(node).parent / "disk"


def _mount(source: bytes, folder: Path, kind: bytes, flags: int, options: bytes) -> None:
    if _LIBC.mount(source, os.fsencode(folder), kind, flags, options):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))


def _needs_disks(network: ChaosNetwork) -> str:
    return "" if network.disks else "needs root: a small disk of its own is mounted for the victim"


# Data


def _lose_data(scene: Scene) -> None:
    """Dead, and its whole data directory gone: ledgers, log, everything but keys and settings."""
    network, victim = scene.network, scene.victim
    network.processes.kill(victim)
    data = network.data(victim)
    for entry in data.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _lose_database(scene: Scene) -> None:
    """Dead, and the database of the channel gone while the log of what was signed is still there."""
    network, victim = scene.network, scene.victim
    network.processes.kill(victim)
    shutil.rmtree(network.data(victim) / CHANNEL)


KINDS: tuple[Kind, ...] = (
    Kind("kill", _kill, _start, 5.0),
    Kind("restart", _terminate, _start, 2.0),
    Kind("pause", _pause, _go_on, 20.0),
    Kind("disconnect", _disconnect, _heal_links, 8.0),
    Kind("one-way cut", _one_way, _heal_links, 15.0),
    Kind("half-open", _half_open, _heal_links, 20.0),
    Kind("slow link", _slow_link, _heal_links, 15.0),
    Kind("delay", _delay, _heal_links, 10.0),
    Kind("corrupt", _corrupt, _heal_links, 3.0),
    Kind("clock jump", _move_clock, _set_clock_right, 8.0),
    Kind("write error", _write_error, _restart_after_write_error, 4.0),
    Kind("disk full", _disk_full, _restart_with_room, 4.0, obstacle=_needs_disks),
    Kind("data loss", _lose_data, _start, 3.0, on=("observer",)),
    Kind("database loss", _lose_database, _start, 3.0, on=("validator",)),
    Kind("rolling restart", _terminate, _start, 0.5, on=("all",)),
)
