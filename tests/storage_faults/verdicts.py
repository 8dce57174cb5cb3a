"""What an interrupted run had found out: one line of JSON for each fault tried, so that the next run goes on there.

A verdict is about one version of the code. The file begins with that version, and one of another is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: What a verdict depends on: the node, and everything of the tests that the lives and their checks are made of.
SOURCES = ("dawan_node", "tests/storage_faults", "tests/node", "requirements.lock")


def default_folder() -> Path:
    """Where an extended run keeps its verdicts unless told otherwise."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "dawan-node" / "storage-faults"


@cache
def version() -> str:
    """The commit, and a digest of the files themselves: an edit that is not committed is another version too."""
    digest = hashlib.sha256()
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    try:
        asked = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
        commit = asked.stdout.strip() if asked.returncode == 0 else "no commit"
    except FileNotFoundError:
        commit = "no git"
    return f"{commit} {digest.hexdigest()[:16]}"


class Verdicts:
    """The verdicts of one part, in a file of its own; without a folder nothing is kept."""

    def __init__(self, folder: Path | None, part: str) -> None:
        self._known: dict[str, Any] = {}
        self._descriptor: int | None = None
        self.reused = 0
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{part}.jsonl"
        head = json.dumps({"version": version()}) + "\n"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        if lines[:1] != [head]:
            lines = [head]
        whole = [line for line in lines if line.endswith("\n")]  # the last one is cut off if its writer was killed
        for line in whole[1:]:
            entry = json.loads(line)
            self._known[entry["key"]] = entry["verdict"]
        written = path.with_suffix(".new")
        written.write_text("".join(whole), encoding="utf-8")
        written.replace(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def of(self, key: str, find_out: Callable[[], Any]) -> Any:
        """The verdict on ``key``: the one that is known, or what ``find_out`` says, which is known from now on."""
        if key in self._known:
            self.reused += 1
            return self._known[key]
        verdict = find_out()
        self._known[key] = verdict
        if self._descriptor is not None:
            os.write(self._descriptor, (json.dumps({"key": key, "verdict": verdict}) + "\n").encode())
        return verdict

    def __len__(self) -> int:
        return len(self._known)
