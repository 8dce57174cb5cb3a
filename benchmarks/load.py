"""An open-loop load generator in processes of its own, and what its record says.

    load = Load(folder, schedule, generators=1)      # signs everything, then waits
    load.start()                                     # the clock starts here
    answers = load.finish()

Open loop: a call leaves at its time whether or not earlier ones are answered, so a slow system shows long latencies
instead of a gentler load. Latency is what a client sees, from the moment a call was due to the answer of
``tx_submitMany`` with wait=committed. A client whose node is gone or answers nothing sends the same bytes to the next
node, which is how clients are meant to behave, and its latency goes on counting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from benchmarks.workloads import Call, workload_of

#: How long a transaction may take from its call to its block before the node answers "not yet"; beyond what any load
#: or fault here should cost, so that it counts as lost and is seen.
WAIT_MS: Final = 60_000
#: Connections of one generator to one node. Each carries one call at a time, so this bounds the calls under way.
CONNECTIONS_MAX: Final = 256
#: Where a node is dead the next one is asked at once; where all are, this often.
RETRY_S: Final = 0.05
VALID_MS: Final = 50 * 60_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """What one set of generators sends: ``rate`` transactions a second in calls of ``batch``, for ``seconds``.

    Transactions are those of the workload from number ``first`` on. ``person`` makes one person sign them all, whatever
    the workload says (only ``record`` and ``payload`` allow it). ``urls`` are asked in turn.
    """

    workload: str
    channels: tuple[str, ...]
    urls: tuple[str, ...]
    rate: float
    seconds: float
    batch: int
    prepared_ms: int
    first: int = 0
    payload_bytes: int = 1024
    person: str = ""
    timeout_s: float = 90.0

    @property
    def transactions(self) -> int:
        return round(self.rate * self.seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """One call: when it was due and done, in seconds since the start, and what became of its transactions."""

    due_s: float
    done_s: float
    committed: int
    failed: int
    refused: dict[str, int]  # by code
    unhinted: int  # refusals as overload that do not say that trying again helps

    @property
    def latency_ms(self) -> float:
        return (self.done_s - self.due_s) * 1000


@dataclass(frozen=True, slots=True)
class Answers:
    """All calls of a load, in order of their answers, and what the generators used."""

    calls: tuple[Answer, ...]
    cpu_s: float
    sent: int
    lag_ms: float  # the latest that any call left after its time: the generators' own lateness

    def committed(self, since_s: float, until_s: float) -> int:
        """Transactions whose commit was answered in this time."""
        return sum(call.committed for call in self.calls if since_s <= call.done_s < until_s)

    def rate(self, since_s: float, until_s: float) -> float:
        """Committed transactions a second."""
        return self.committed(since_s, until_s) / (until_s - since_s)

    def latency(self, since_s: float, until_s: float) -> dict[str, float]:
        """Percentiles over the transactions that were due in this time and committed, in milliseconds."""
        return percentiles(
            [(call.latency_ms, call.committed) for call in self.calls if since_s <= call.due_s < until_s]
        )

    def refusals(self) -> dict[str, int]:
        """Transactions that were not taken, by code; ``unreachable`` when no node answered."""
        found: Counter[str] = Counter()
        for call in self.calls:
            found.update(call.refused)
        return dict(sorted(found.items()))

    def gap_s(self, since_s: float, until_s: float) -> float:
        """The longest time in which nothing was committed."""
        times = [call.done_s for call in self.calls if call.committed and since_s <= call.done_s <= until_s]
        edges = [since_s, *times, until_s]
        return max(later - earlier for earlier, later in pairwise(edges))


class Load:
    """The parent's side: starts the generators, waits until everything is signed, and reads their record."""

    def __init__(self, network: Path, schedules: Sequence[Schedule], generators: int = 1) -> None:
        self._children = []
        for schedule in schedules:
            for number in range(generators):
                order = json.dumps({"schedule": asdict(schedule), "number": number, "of": generators})
                command = [sys.executable, "-m", "benchmarks.load", str(network), order]
                self._children.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                )
        self._of = generators
        for child in self._children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "signed":
                self.stop()
                raise RuntimeError("a load generator ended before everything was signed")
        self.began = 0.0

    def start(self) -> None:
        """Second 0 is now (and known to all by the machine's monotonic clock)."""
        self.began = time.monotonic() + 0.1
        for child in self._children:
            assert child.stdin is not None
            child.stdin.write(f"{self.began}\n")
            child.stdin.flush()

    def wait_until(self, second: float) -> None:
        """Sleep until so many seconds after the start."""
        time.sleep(max(0.0, self.began + second - time.monotonic()))

    def finish(self, timeout_s: float = 180.0) -> list[Answers]:
        """What each schedule's generators saw, once all calls are answered."""
        records = []
        for child in self._children:
            output, _ = child.communicate(timeout=timeout_s)
            if child.returncode:
                self.stop()
                raise RuntimeError(f"a load generator ended with code {child.returncode}")
            records.append(json.loads(output.splitlines()[-1]))
        return [merged(records[at : at + self._of]) for at in range(0, len(records), self._of)]

    def stop(self) -> None:
        """End what is left after a failure."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()


def merged(records: Sequence[dict[str, Any]]) -> Answers:
    """The record of several generators as one."""
    calls = sorted((Answer(*call) for record in records for call in record["calls"]), key=lambda call: call.done_s)
    return Answers(
        tuple(calls),
        sum(record["cpu_s"] for record in records),
        sum(record["sent"] for record in records),
        max(record["lag_ms"] for record in records),
    )


def percentiles(latencies: Iterable[tuple[float, int]]) -> dict[str, float]:
    """p50, p95, p99 and the maximum, weighted by transactions; empty without any."""
    ordered = sorted(each for each in latencies if each[1])
    total = sum(count for _, count in ordered)
    found: dict[str, float] = {}
    for share in (50, 95, 99):
        passed = 0
        for latency, count in ordered:
            passed += count
            if passed * 100 >= total * share:
                found[f"p{share}"] = round(latency, 1)
                break
    if ordered:
        found["max"] = round(ordered[-1][0], 1)
    return found


# The generator's side


def main() -> None:
    parser = argparse.ArgumentParser(
        description="The load generator's process; other benchmarks start it, nobody else does.", epilog=__doc__
    )
    parser.add_argument("network", type=Path, help="folder of the test network")
    parser.add_argument("order", help="schedule as JSON")
    options = parser.parse_args()
    order = json.loads(options.order)
    asyncio.run(generate(options.network, Schedule(**order["schedule"]), order["number"], order["of"]))


async def generate(network: Path, schedule: Schedule, number: int, of: int) -> None:
    """Sign, say so, wait for the starting time, send, and print the record."""
    from dawan_node.rpc.client import AsyncClient

    batches = sign(network, schedule, number, of)
    print("signed", flush=True)
    began = float(await asyncio.to_thread(sys.stdin.readline))
    clients = [AsyncClient(url, connections_max=CONNECTIONS_MAX, timeout_s=schedule.timeout_s) for url in schedule.urls]
    calls: list[Sequence[Any]] = []
    began_cpu = time.process_time()
    lag_s = 0.0

    async def send(place: int, due_s: float, channel: str, batch: list[str]) -> None:
        good, failed, refused, unhinted = await submit(clients, place, channel, batch)
        calls.append((due_s, time.monotonic() - began, good, failed, refused, unhinted))

    async with asyncio.TaskGroup() as group:
        for place, (channel, batch) in enumerate(batches):
            due_s = (place * of + number) * schedule.batch / schedule.rate
            wait_s = began + due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            lag_s = max(lag_s, time.monotonic() - began - due_s)
            group.create_task(send(place * of + number, due_s, channel, batch))
    cpu_s = time.process_time() - began_cpu
    sent = sum(len(batch) for _, batch in batches)
    print(json.dumps({"calls": calls, "cpu_s": cpu_s, "sent": sent, "lag_ms": round(lag_s * 1000, 1)}))
    for one in clients:
        await one.close()


async def submit(
    clients: Sequence[Any], place: int, channel: str, batch: list[str]
) -> tuple[int, int, dict[str, int], int]:
    """One call, sent again elsewhere while nobody answers: committed, failed, refused by code, refused without hint."""
    from dawan_node.rpc.client import RpcError, Unreachable

    deadline = time.monotonic() + WAIT_MS / 1000
    for attempt in range(1_000_000):
        client = clients[(place + attempt) % len(clients)]
        try:
            answers = await client.tx_submitMany(channel, batch, wait="committed", timeout_ms=WAIT_MS)
        except Unreachable:
            if time.monotonic() > deadline:
                return 0, 0, {"unreachable": len(batch)}, 0
            if (attempt + 1) % len(clients) == 0:
                await asyncio.sleep(RETRY_S)
            continue
        except RpcError as error:
            return 0, 0, {str(error.code): len(batch)}, 0
        break
    good = sum(answer["status"] == "committed" for answer in answers)
    failed = sum(answer["status"] == "failed" for answer in answers)
    refused: Counter[str] = Counter()
    unhinted = 0
    for answer in answers:
        error = answer.get("error")
        if error is not None:
            refused[str(error["code"])] += 1
            unhinted += error["code"] in (1002, 1006) and not (error["data"]["retryable"] and error["data"]["hint"])
        elif answer["status"] not in ("committed", "failed"):
            refused[f"still {answer['status']}"] += 1
    return good, failed, dict(refused), unhinted


def sign(network: Path, schedule: Schedule, number: int, of: int) -> list[tuple[str, list[str]]]:
    """This generator's calls in order: every ``of``-th of the schedule's, each for one channel."""
    from dawan_node.cli import devnet_network
    from dawan_node.primitives.genesis import Genesis
    from dawan_node.rpc.client import build_body, sign_transaction

    workload = workload_of(schedule.workload, schedule.payload_bytes)
    keys = devnet_network.load(network).identity_keys()
    chains = [
        Genesis.decode((network / "network" / "genesis" / f"{channel}.bin").read_bytes()).chain_id
        for channel in schedule.channels
    ]
    until_ms = time.time_ns() // 1_000_000 + VALID_MS
    made: list[tuple[str, list[str]]] = []
    total, width, channels = schedule.transactions, schedule.batch, len(schedule.channels)
    for place, start in enumerate(range(0, total, width)):
        if place % of != number:
            continue
        lane = place % channels
        batch = []
        for offset in range(min(width, total - start)):
            # Numbers count up within each channel, which has subjects of its own prepared.
            nth = schedule.first + (place // channels) * width + offset
            call: Call = workload.call(nth, schedule.prepared_ms)
            nonce = (2 << 100 | nth).to_bytes(16, "big")
            body = build_body(chains[lane], call.module, call.command, call.args, valid_until_ms=until_ms, nonce=nonce)
            batch.append("0x" + sign_transaction(keys[schedule.person or call.person], body).hex())
        made.append((schedule.channels[lane], batch))
    return made


if __name__ == "__main__":
    main()
