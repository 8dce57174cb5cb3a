"""``scripts/storage-faults``: what it takes on its command line, and the tests it stands for."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from tests.storage_faults.test_storage_faults import SECTIONS
from tests.storage_faults.verdicts import default_folder


def main() -> None:
    """Hand over to pytest, whose end is the end of this."""
    parser = argparse.ArgumentParser(
        prog="storage-faults", description="Kill, fail, cut, damage and fill the disk under a node."
    )
    parser.add_argument("--extended", action="store_true", help="every point, 60 power cuts, 400 damaged files")
    parser.add_argument("--only", choices=SECTIONS, help="one section alone")
    parser.add_argument(
        "--state", type=Path, default=default_folder(),
        help="folder in which an extended run keeps what it found out, so that the next one of the same commit goes on "
        "there (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier extended run found out")
    parser.add_argument("-j", type=int, default=2, metavar="N", help="parts at a time (default: %(default)s)")
    asked = parser.parse_args()
    if asked.fresh:
        shutil.rmtree(asked.state, ignore_errors=True)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(asked.j), "--dist", "load", "--maxschedchunk", "1"]
    command += ["tests/storage_faults"]
    command += ["--extended", "--faults-state", str(asked.state)] if asked.extended else []
    command += ["--faults-only", asked.only] if asked.only else []
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
