"""Executes recorded blocks again, in a process of its own: ``python -m dawan_node.testing.module_replay FILE``.

Prints one line for each block: recording, height, result hash; then ``done``. Two processes with different seeds of
``hash``, time zones, languages and folders must print the same.
"""

from __future__ import annotations

import locale
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry, UnknownModule
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.module_recording import Recording, decoded, read


def registry_of(recording: Recording) -> Registry | None:
    """The installed modules that a recording ran on; None where a test brought modules that are not installed."""
    try:
        return Registry.load([(entry.name, entry.version) for entry in recording.decoded_genesis.modules])
    except UnknownModule:
        return None


def replay(recordings: Sequence[Recording]) -> Iterator[str]:
    """The lines. Executes each block once more beside the first time, on the same state: that must agree, too."""
    for number, recording in enumerate(recordings):
        registry = registry_of(recording)
        if registry is None:
            continue
        executor = Executor(registry, recording.decoded_genesis)
        start = executor.genesis_state()
        state, result = MemoryState(), start.result
        state.apply(start.changes)
        for block in recording.blocks:
            header, transactions, _ = decoded(block)
            execution = executor.execute(state, result, header, transactions)
            again = executor.execute(state, result, header, transactions)
            yield f"{number} {header.height} {execution.result.hash.hex()} {again.result.hash.hex()}"
            state.apply(execution.changes)
            result = execution.result


def main() -> None:
    """The process."""
    # As a program does that follows the user's language; an unknown one leaves things as they are.
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error as error:
        sys.stderr.write(f"{error}\n")
    for line in replay(read(Path(sys.argv[1]))):
        sys.stdout.write(line + "\n")
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
