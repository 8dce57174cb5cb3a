"""The proof of a halt as a file: what an operator hands to the others when a channel has stopped for good.

A channel halts when two valid statements cannot both exist with at most f liars. Nothing a node could do by itself
would be right then; people have to compare what they hold (amendment A5). So both signed statements leave the node's
own formats: they stand as hex in a file of their own, beside the log, and in ``pbft_evidence``.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from dawan_node.consensus.records import HaltedRecord
from dawan_node.errors import ConfigError
from dawan_node.storage.files import PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE, sync_directory

#: Two messages of at most 4 MiB in hex, and some words.
_BYTES_MAX: Final = 20 * 1024 * 1024


def write_halt(path: Path, node: str, channel: str, chain_id: bytes, halted: HaltedRecord) -> None:
    """Write the file, mode 0600, whole or not at all, durable when this returns. The same halt again changes nothing.

    Raises ConfigError.
    """
    document = {
        "channel": channel,
        "chain_id": "0x" + chain_id.hex(),
        "node": node,
        "reason": halted.reason,
        "first": "0x" + halted.first.hex(),
        "second": "0x" + halted.second.hex(),
    }
    data = (json.dumps(document, indent=2) + "\n").encode()
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
        if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
            return
        # Left over from a crash, or put there by somebody else: never written through.
        temporary.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, PRIVATE_FILE_MODE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ConfigError(
            f"{path} cannot be written",
            error.strerror or "unknown reason",
            "Take the proof from pbft_evidence, and check the folder.",
        ) from None


def read_halt(path: Path) -> dict[str, Any]:
    """What the file says. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_BYTES_MAX))
        if not isinstance(document, dict) or not isinstance(document.get("reason"), str):
            raise ValueError("it does not say why")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read", str(error), "Restart the node: it writes the file again.") from None
    return document
