"""``scripts/chaos``: its options, a folder for the run, and a mount namespace where this user may have one."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.chaos.faults import KINDS
from tests.integration.chaos.run import RECOVERY_S, chaos, report

# Says to the process that was started again inside the namespace that it is there.
_INSIDE = "DAWAN_CHAOS_MOUNTS"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Four real validators and three observers under random faults and load; then a judge.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long faults go on (default 10)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the faults of an earlier run (default: drawn)")
    parser.add_argument("--rate", type=float, default=30.0, help="transactions a second of all clients (default 30)")
    parser.add_argument(
        "--kinds", default="", help="only these, separated by commas: " + ", ".join(k.name for k in KINDS)
    )
    parser.add_argument(
        "--recovery",
        type=float,
        default=RECOVERY_S,
        help="seconds a recovery may take (default 10, for a quiet machine)",
    )
    parser.add_argument("--keep", type=Path, help="keep homes, logs and history in this new folder")
    options = parser.parse_args()
    kinds = [name.strip() for name in options.kinds.split(",") if name.strip()]
    unknown = sorted(set(kinds) - {kind.name for kind in KINDS})
    if unknown:
        parser.error(f"there is no fault {', '.join(unknown)}")
    if options.keep is not None and options.keep.exists():
        parser.error(f"{options.keep} exists; name a new folder")
    disks = _has_mounts() if not kinds or "disk full" in kinds else False
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the nodes are stopped first
    folder = options.keep or Path(tempfile.mkdtemp(prefix="dawan-chaos-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _say(f"seed {seed}")
    outcome = None
    try:
        outcome = chaos(
            folder,
            seconds=options.minutes * 60,
            seed=seed,
            rate=options.rate,
            kinds=kinds,
            recovery_s=options.recovery,
            disks=disks,
            say=_say,
        )
    finally:
        if options.keep is None and outcome is not None and outcome.passed:
            shutil.rmtree(folder)
        else:
            _say(f"kept: {folder}")
    _say(report(outcome))
    return 0 if outcome.passed else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _has_mounts() -> bool:
    """Whether this process may mount and nobody notices: as root it is started again in a namespace of its own."""
    if os.environ.get(_INSIDE):
        return True
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        return False
    private = [unshare, "--mount", "--propagation", "private"]
    if subprocess.run([*private, "true"], capture_output=True, check=False).returncode != 0:
        return False
    os.environ[_INSIDE] = "1"
    os.execv(unshare, [*private, sys.executable, "-m", "tests.integration.chaos", *sys.argv[1:]])  # noqa: S606
    raise AssertionError("a process that became another one goes on")


if __name__ == "__main__":
    sys.exit(main())
