"""Writing the public files of a home or a consortium so that a crash leaves the old or the new ones, never half."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dawan_node.errors import ConfigError
from dawan_node.storage.files import sync_directory


def replace_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write ``files`` (path below ``folder`` to content) in order, durable when this returns; their paths.

    All of them are on the disk under temporary names before the first takes its place, so the rest is renaming; the
    last entry is the last renamed. A file that stands there already with the same content is left alone.
    Raises ConfigError.
    """
    targets = {folder / name: data for name, data in files.items()}
    waiting: list[tuple[Path, Path]] = []
    try:
        for target, data in targets.items():
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if target.is_file() and not target.is_symlink() and target.read_bytes() == data:
                continue
            temporary = target.with_name(f".{target.name}.new")
            _write(temporary, data)
            waiting.append((temporary, target))
        for temporary, target in waiting:
            os.replace(temporary, target)
        for parent in sorted({target.parent for target in targets} | {folder, folder.parent}):
            sync_directory(parent)
    except OSError as error:
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)
        raise ConfigError(
            f"{error.filename or folder} cannot be written", error.strerror or "unknown reason", "Check the folder."
        ) from None
    return list(targets)


def _write(path: Path, data: bytes) -> None:
    """A new file, durable when this returns; nothing is left of it when it cannot be written."""
    # Left over from a crash, or put there by somebody else: never written through.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink()
        raise
