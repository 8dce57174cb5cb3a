"""What a transaction signature costs: on the loop, and with one and two threads, idle and beside a busy event loop.

    scripts/bench verify [--count N] [--passes N] [--json FILE]

Reads: ``us`` is wall time per signature. With threads it is worth having when ``beside_busy_loop`` shows that the
event loop's own work (``loop_share``, percent of what the loop achieves alone) goes on while signatures are checked.
``cached_us`` is the price of a signature that was checked before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.node.verifier import Mode, Verifier, choose_mode
from dawan_node.primitives.transaction import Body, Transaction, sign_transaction


def transactions(count: int) -> list[Transaction]:
    """Signed transactions of about 300 bytes by ten keys."""
    keys = [PrivateKey.from_seed(sha256(b"client %d" % number)) for number in range(10)]
    made = []
    for number in range(count):
        args = {"memo": "x" * 100, "number": number}
        body = Body(1, bytes(32), number.to_bytes(16, "big"), 10**13, "receivable", "record_invoice", args)
        made.append(Transaction.decode(sign_transaction(keys[number % 10], body)))
    return made


def work_of_the_loop() -> None:
    """About a tenth of a millisecond of small Python objects."""
    table = {}
    for number in range(100):
        table[number.to_bytes(8, "big")] = [number, str(number)]


async def loop_speed(seconds: float) -> float:
    """Turns per second of a loop that has nothing but its own work."""
    started, turns = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        work_of_the_loop()
        turns += 1
        await asyncio.sleep(0)
    return turns / (time.perf_counter() - started)


async def measure(mode: Mode, workers: int, items: list[Transaction], alone: float) -> dict[str, float]:
    """One configuration: idle loop, busy loop, then everything from memory."""
    verifier = Verifier(mode, workers)
    try:
        started = time.perf_counter()
        assert all(await verifier.verify(items))
        idle = time.perf_counter() - started
        started = time.perf_counter()
        assert all(await verifier.verify(items))
        cached = time.perf_counter() - started
    finally:
        await verifier.close()
    verifier = Verifier(mode, workers)
    try:
        started, turns = time.perf_counter(), 0
        checks = asyncio.create_task(verifier.verify(items))
        while not checks.done():
            work_of_the_loop()
            turns += 1
            await asyncio.sleep(0)
        busy = time.perf_counter() - started
    finally:
        await verifier.close()
    count = len(items)
    return {
        "us": round(idle / count * 1e6, 1),
        "beside_busy_loop_us": round(busy / count * 1e6, 1),
        "loop_share": round(100 * turns / busy / alone),
        "cached_us": round(cached / count * 1e6, 2),
    }


async def run(count: int, passes: int) -> dict[str, object]:
    """Best of several passes for each configuration."""
    items = transactions(count)
    started = time.perf_counter()
    assert all(item.verify_signature() for item in items)
    plain = (time.perf_counter() - started) / count * 1e6
    alone = max([await loop_speed(0.2) for _ in range(3)])
    results: dict[str, object] = {"one_call_us": round(plain, 1)}
    for name, mode, workers in (
        ("inline", Mode.INLINE, 1),
        ("threads_1", Mode.THREADS, 1),
        ("threads_2", Mode.THREADS, 2),
    ):
        measured = [await measure(mode, workers, items, alone) for _ in range(passes)]
        results[name] = min(measured, key=lambda result: result["us"])
    chosen, workers = choose_mode()
    return {**results, "chosen": f"{chosen} {workers}"}


def main() -> None:
    """Print a table, and write the same figures as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4_000)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    results = asyncio.run(run(options.count, options.passes))
    print(f"{'us per signature':<18}{'idle loop':>12}{'busy loop':>12}{'loop share':>12}{'cached':>12}")
    for name, figures in results.items():
        if isinstance(figures, dict):
            print(
                f"{name:<18}{figures['us']:>12}{figures['beside_busy_loop_us']:>12}"
                f"{figures['loop_share']:>11}%{figures['cached_us']:>12}"
            )
    print(f"one plain call takes {results['one_call_us']} us; the probe chose {results['chosen']}")
    if options.json:
        header = {"benchmark": "verify", "count": options.count, "cores": len(os.sched_getaffinity(0))}
        options.json.write_text(json.dumps({**header, **results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
