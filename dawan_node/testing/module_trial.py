"""Everything ``dawan-node module test`` does: the module's own tests, the same blocks elsewhere, and on a network.

1. The tests of the project run in a process of their own, with the module guarded as on a node; what they executed is
   recorded (``module_recording``).
2. Two processes execute every recorded block again, twice each, with different seeds of ``hash``, time zones,
   languages and folders (``module_replay``): every result must be the recorded one.
3. A network of four plays the recordings in virtual time (``module_cluster``).

No step needs the project to be installed: an entry point for it is written into a folder that only these processes
see.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dawan_node
from dawan_node.execution.registry import ENTRY_POINT_GROUP
from dawan_node.node.module_package import ModulePackage
from dawan_node.testing.module_recording import FILE_VARIABLE, PACKAGES_VARIABLE, Recording, decoded, read

#: Blocks that are played on the network: some ten seconds.
CLUSTER_BLOCKS_MAX: Final = 400

#: A process that takes longer hangs: tests of a module take seconds.
PROCESS_S: Final = 600

#: Two worlds that have nothing in common but the blocks.
WORLDS: Final[tuple[Mapping[str, str], ...]] = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C", "LANG": "C"},
    {"PYTHONHASHSEED": "4242", "TZ": "Asia/Macau", "LC_ALL": "C.UTF-8", "LANG": "zh_HK.UTF-8"},
)


@dataclass(frozen=True, slots=True)
class Step:
    """The outcome of one step: a line for people, and whether it is well."""

    name: str
    text: str
    is_well: bool


def run(package: ModulePackage, arguments: Sequence[str] = ()) -> Iterator[Step]:
    """The steps, as they end; the first that fails is the last. ``arguments`` go to pytest."""
    with tempfile.TemporaryDirectory(prefix="dawan-module-") as scratch:
        folder = Path(scratch)
        write_entry_points(package, folder)
        file = folder / "recording"
        tests = _tests(package, folder, file, arguments)
        yield tests
        if not tests.is_well:
            return
        recordings = read(file)
        elsewhere = _elsewhere(package, folder, file, recordings)
        yield elsewhere
        if elsewhere.is_well:
            yield _cluster(package, folder, file)


def write_entry_points(package: ModulePackage, folder: Path) -> None:
    """What an installation would write, so that the modules of the project are found from ``folder``."""
    info = folder / "dawan_module_under_test-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dawan-module-under-test\nVersion: 0\n")
    lines = [f"{name} = {target}\n" for name, target in package.entry_points.items()]
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{''.join(lines)}")


def _environment(package: ModulePackage, folder: Path, changes: Mapping[str, str]) -> dict[str, str]:
    own = str(Path(dawan_node.__file__).resolve().parents[1])
    known = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    places = [str(folder), str(package.root), own, *known]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1", **changes}


def _tests(package: ModulePackage, folder: Path, file: Path, arguments: Sequence[str]) -> Step:
    project = package.root.parent if package.root.name == "src" else package.root
    changes = {FILE_VARIABLE: str(file), PACKAGES_VARIABLE: package.own}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "dawan_node.testing.module_recording"]
    command += ["-p", "no:cacheprovider", *arguments]
    ended = subprocess.run(
        command, cwd=project, env=_environment(package, folder, changes), timeout=PROCESS_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode == 5:
        return Step("tests", f"there are no tests in {project}", False)
    output = (ended.stdout + ended.stderr).strip()
    if ended.returncode or not file.exists():
        return Step("tests", output or "pytest failed without a word", False)
    return Step("tests", output.splitlines()[-1], True)


def _elsewhere(package: ModulePackage, folder: Path, file: Path, recordings: Sequence[Recording]) -> Step:
    """Whether every recorded result comes out again in every world."""
    name = "same everywhere"
    for number, world in enumerate(WORLDS):
        place = folder / f"world-{number}"
        place.mkdir()
        ended = subprocess.run(
            [sys.executable, "-m", "dawan_node.testing.module_replay", str(file)],
            cwd=place, env=_environment(package, folder, world), timeout=PROCESS_S, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        lines = ended.stdout.splitlines()
        if ended.returncode or not lines or lines[-1] != "done":
            return Step(name, f"execution in another process failed:\n{ended.stderr.strip()}", False)
        different = first_difference(recordings, lines[:-1])
        if different:
            settings = " ".join(f"{key}={value}" for key, value in world.items())
            return Step(name, f"{different}\nin a process with {settings}", False)
    blocks = sum(len(recording.blocks) for recording in recordings)
    return Step(name, f"{blocks} blocks executed twice in {len(WORLDS)} worlds, every result the same", True)


def first_difference(recordings: Sequence[Recording], lines: Sequence[str]) -> str:
    """Test, height and commands of the first block that came out differently; empty when none did."""
    for line in lines:
        number, height, *results = line.split()
        recording = recordings[int(number)]
        block = recording.blocks[int(height) - 1]
        _, transactions, result = decoded(block)
        if any(found != result.hash.hex() for found in results):
            commands = ", ".join(sorted({f"{tx.body.module}.{tx.body.command}" for tx in transactions}))
            return f"{recording.test}: block {height} ({commands}) came out differently"
    return ""


def _cluster(package: ModulePackage, folder: Path, file: Path) -> Step:
    ended = subprocess.run(
        [sys.executable, "-m", "dawan_node.testing.module_trial", str(file)],
        cwd=folder, env=_environment(package, folder, {}), timeout=PROCESS_S, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    text = ended.stdout.strip() if not ended.returncode else (ended.stdout + ended.stderr).strip()
    return Step("four nodes", text, not ended.returncode)


def main() -> None:
    """The third step, in its process."""
    from dawan_node.testing.module_cluster import NODES, play_all
    from dawan_node.testing.simulator.campaign import silence
    from dawan_node.testing.simulator.world import Violation

    try:
        with silence():
            report = play_all(read(Path(sys.argv[1])), CLUSTER_BLOCKS_MAX)
    except Violation as violation:
        sys.exit(str(violation))
    left = f", {report.left_out} recordings left out" if report.left_out else ""
    sys.stdout.write(
        f"{report.transactions} transactions of {report.recordings} recordings decided by {NODES} nodes, one of them"
        f" down for a while: equal states, invariants held after every block{left}\n"
    )


if __name__ == "__main__":
    main()
