"""The program, what it stands on, and what the peers run."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Final

import dawan_node
from dawan_node.crypto.signatures import ed25519_library
from dawan_node.node.checkup.finding import Finding, fail, not_run, ok, warn
from dawan_node.node.checkup.patient import Patient
from dawan_node.storage.leveldb import library_version

CHECK: Final = "versions"
#: plyvel, the LevelDB binding, has no wheels for others, and state roots are tested to be equal on these.
PYTHONS: Final = ((3, 11), (3, 12))
#: What `pip` was told (pyproject.toml), of the libraries whose version can change bytes or certificates.
LIBRARIES: Final = ("cryptography", "PyNaCl", "plyvel", "msgspec", "aiohttp")


def check_own(patient: Patient) -> list[Finding]:
    """This installation."""
    found = [ok(CHECK, "dawan-node", f"{dawan_node.__version__}, {ed25519_library()}, LevelDB {library_version()}")]
    words = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] in PYTHONS and sys.platform == "linux":
        found.append(ok(CHECK, "python", words))
    else:
        supported = " and ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        found.append(
            fail(CHECK, "python", words, f"supported are {supported} on Linux", "Install one of them beside it.")
        )
    return found + check_libraries(LIBRARIES, metadata.version, metadata.requires("dawan-node") or [])


def check_peers(patient: Patient) -> list[Finding]:
    """What the peers run, where they say so."""
    if patient.answers is None or patient.answers.trouble:
        why = "the node does not run" if patient.answers is None else patient.answers.trouble
        return [not_run(CHECK, "peers", why, "Start the node and run `doctor` again.")]
    found = []
    for peer in patient.answers.peers:
        software = str(peer.get("software", ""))
        if not software:
            continue
        if _minor(software) == _minor(dawan_node.__version__):
            found.append(ok(CHECK, str(peer["name"]), software))
        else:
            found.append(
                warn(
                    CHECK,
                    str(peer["name"]),
                    f"runs {software}, this node {dawan_node.__version__}",
                    "two releases may understand a rule differently",
                    "Agree on one release, and upgrade the older.",
                )
            )
    return found or [not_run(CHECK, "peers", "no linked peer says what it runs", "Ask their operators.")]


def check_libraries(names: tuple[str, ...], installed: Callable[[str], str], requires: list[str]) -> list[Finding]:
    """Each library against the range this program was made for. ``requires``: lines as ``PyNaCl>=1.5,<2``."""
    found = []
    for name in names:
        wanted = next((line for line in requires if re.match(rf"{re.escape(name)}\b", line, re.IGNORECASE)), "")
        bounds = re.findall(r"(>=|<)\s*([0-9][0-9.]*)", wanted.partition(";")[0])
        try:
            version = installed(name)
        except metadata.PackageNotFoundError:
            found.append(fail(CHECK, name, "is not installed", "the node needs it", "Install dawan-node again."))
            continue
        wrong = [sign + bound for sign, bound in bounds if (_numbers(version) >= _numbers(bound)) != (sign == ">=")]
        if wrong:
            found.append(
                fail(CHECK, name, f"version {version}", f"supported is {', '.join(wrong)}", "Install dawan-node again.")
            )
        else:
            found.append(ok(CHECK, name, version))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"[0-9]+", version.partition("+")[0])[:4]]
    return tuple(numbers + [0] * (4 - len(numbers)))


def _minor(software: str) -> tuple[int, ...]:
    """The part of a version that says which rules it knows."""
    return _numbers(software.rpartition("/")[2])[:2]
