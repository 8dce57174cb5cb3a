"""One target under atheris: ``python -m tests.fuzz.guided NAME SECONDS``. ``scripts/fuzz`` runs it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dawan_node"]):
    from tests.fuzz.campaign import targets

    KNOWN = targets()


def main(name: str, seconds: str) -> None:
    """Search until the time is over; libFuzzer ends the process, with another code than 0 when it found something."""
    run, seeds = KNOWN[name]
    folder = Path(tempfile.mkdtemp(prefix=f"dawan-fuzz-{name}-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={max(1, round(float(seconds)))}",
        "-max_len=8192",
        "-timeout=30",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: void(run(data)))
    atheris.Fuzz()


def void(_: object) -> None:
    """libFuzzer takes an answer for an error."""


main(*sys.argv[1:3])
