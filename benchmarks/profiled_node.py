"""The real node program that says at its end which functions its event loop was in.

    python -m benchmarks.profiled_node FILE run --home HOME ...        (``end_to_end --profile FILE`` starts one such)

Every 5 ms of the process's processor time the stack of the main thread is noted: nothing in between is slowed down.
FILE gets two lists: by the function at the top of the stack (``self``), and by every function of this package on it
(``total``), in percent of all samples. What threads do (fsync, LevelDB, verification) shows as whatever the loop did.
"""

from __future__ import annotations

import atexit
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from dawan_node.cli.main import main

EVERY_S = 0.005
ROWS = 45


class Profile:
    """Samples so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._samples = 0

    def note(self, _: int, frame: FrameType | None) -> None:
        self._samples += 1
        seen = set()
        if frame is not None:
            self._own[_name(frame)] += 1
        while frame is not None:
            if "dawan_node" in frame.f_code.co_filename:
                seen.add(_name(frame))
            frame = frame.f_back
        self._total.update(seen)

    def write(self) -> None:
        lines = [f"{self._samples} samples of {EVERY_S * 1000:.0f} ms"]
        for title, counts in (("self", self._own), ("total", self._total)):
            lines.append(f"\n{title}")
            lines += [
                f"{count * 100 / max(1, self._samples):6.1f} % {name}" for name, count in counts.most_common(ROWS)
            ]
        self._path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _name(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}"


def run(path: Path, arguments: list[str]) -> None:
    """Run ``dawan-node`` and write the profile when it ends."""
    profile = Profile(path)
    signal.signal(signal.SIGPROF, profile.note)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
    atexit.register(profile.write)
    sys.argv = ["dawan-node", *arguments]
    main()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
