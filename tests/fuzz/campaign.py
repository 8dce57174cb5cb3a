"""A search for inputs that break a target, as long as one likes: ``scripts/fuzz``.

Coverage-guided with atheris where it is installed (the extra ``fuzz``); otherwise hypothesis searches with its extended
profile. Which of the two it is, is the first and the last line of the output. Any input that breaks a target becomes a
regression test.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

Target = Callable[[bytes], object]


def targets() -> dict[str, tuple[Target, Callable[[], list[bytes]]]]:
    """Every target as a function of bytes, and the bytes to begin with."""
    from tests.fuzz.catch_up_targets import catch_up
    from tests.fuzz.decoders import DECODERS
    from tests.fuzz.drawing import BytesDraw
    from tests.fuzz.gatherer_targets import gatherer
    from tests.fuzz.mempool_targets import mempool
    from tests.fuzz.replica_states import SITUATIONS
    from tests.fuzz.replica_targets import talk

    found: dict[str, tuple[Target, Callable[[], list[bytes]]]] = {}
    for name, decoder in DECODERS.items():
        found[name] = (decoder, lambda decoder=decoder: decoder.corpus)  # type: ignore[misc]

    def choices() -> list[bytes]:
        source = random.Random(1)
        return [source.randbytes(length) for length in (0, 40, 200, 1_000)]

    for name in SITUATIONS:
        for lies in (False, True):
            called = f"replica-{name.replace(' ', '-')}" + ("-among-liars" if lies else "")
            found[called] = (
                lambda data, name=name, lies=lies: talk(BytesDraw(data), name, everybody_lies=lies),
                choices,
            )
    for target in (catch_up, gatherer, mempool):
        found[target.__name__.replace("_", "-")] = (lambda data, target=target: target(BytesDraw(data)), choices)
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help="beginnings of target names; all targets when none is given")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target (default 10)")
    parser.add_argument("--list", action="store_true", help="print the names of all targets")
    parser.add_argument("--input", type=Path, help="run one target on one file, as a found input is replayed")
    parser.add_argument("--without-atheris", action="store_true", help="search with hypothesis even where atheris is")
    given = parser.parse_args(arguments)

    is_guided = importlib.util.find_spec("atheris") is not None and not given.without_atheris
    if is_guided and not given.list and given.input is None:
        return _guided(given.target, given.seconds)
    known = targets()
    chosen = [name for name in known if not given.target or name.startswith(tuple(given.target))]
    if not chosen:
        print(f"fuzz: no target begins with {' or '.join(given.target)}; --list names them", file=sys.stderr)
        return 2
    if given.list:
        print("\n".join(known))
        return 0
    if given.input is not None:
        known[chosen[0]][0](given.input.read_bytes())
        print(f"fuzz: {chosen[0]} takes {given.input}")
        return 0
    return _unguided(known, chosen, given.seconds)


# Coverage-guided: one process per target, because the fuzzer never returns


def _guided(prefixes: list[str], seconds: float) -> int:
    import subprocess

    print("fuzz: COVERAGE-GUIDED, with atheris")
    names = [
        name
        for name in subprocess.run(
            [sys.executable, "-m", "tests.fuzz.campaign", "--list"], capture_output=True, text=True, check=True
        ).stdout.split()
        if not prefixes or name.startswith(tuple(prefixes))
    ]
    if not names:
        print(f"fuzz: no target begins with {' or '.join(prefixes)}; --list names them", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        last = [line for line in done.stderr.splitlines() if " cov: " in line][-1:]
        print(f"{name:45} {'ok' if done.returncode == 0 else 'BROKEN':6} {last[0].strip() if last else ''}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout + done.stderr, file=sys.stderr)
    print(f"fuzz: COVERAGE-GUIDED, {len(names)} targets, {len(failed)} broken: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


# Without atheris


def _unguided(known: dict[str, tuple[Target, Callable[[], list[bytes]]]], chosen: list[str], seconds: float) -> int:
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis import strategies as st
    from hypothesis.errors import NoSuchExample

    from tests.fuzz.drawing import HypothesisDraw, damaged

    print("fuzz: NOT coverage-guided: hypothesis searches; for atheris: pip install 'dawan-node[fuzz]'")
    quiet = settings(
        max_examples=5_000,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    failed = []
    for name in chosen:
        run, seeds = known[name]
        corpus = seeds()
        end = time.monotonic() + seconds
        count = 0

        def breaks(data: bytes, run: Target = run) -> bool:
            try:
                run(data)
            except Exception:  # noqa: BLE001 - whatever it is, it is a find
                return True
            return False

        @st.composite
        def inputs(draw: st.DrawFn, corpus: list[bytes] = corpus) -> bytes:
            if draw(st.booleans()):
                return draw(st.binary(max_size=1_500))
            return damaged(HypothesisDraw(draw(st.data())), draw(st.sampled_from(corpus)))

        crash: bytes | None = next((seed for seed in corpus if breaks(seed)), None)
        while crash is None and time.monotonic() < end:

            def judged(data: bytes, end: float = end) -> bool:
                nonlocal count
                count += 1
                return time.monotonic() < end and breaks(data)

            try:
                crash = find(inputs(), judged, settings=quiet, random=random.Random(time.time_ns()))
            except NoSuchExample:
                continue
        print(f"{name:45} {'ok' if crash is None else 'BROKEN':6} {count} inputs", flush=True)
        if crash is not None:
            failed.append(name)
            _keep(name, crash, run)
    print(f"fuzz: NOT coverage-guided, {len(chosen)} targets, {len(failed)} broken: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _keep(name: str, data: bytes, run: Target) -> None:
    path = Path(tempfile.gettempdir()) / f"dawan-fuzz-{name}"
    path.write_bytes(data)
    print(f"fuzz: the input is in {path}; again with --input {path} {name}", file=sys.stderr)
    try:
        run(data)
    except Exception:  # noqa: BLE001 - shown to whoever mends it
        traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
