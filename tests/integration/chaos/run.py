"""One chaos run: start, load, one fault after another, how long each recovery took, and the report."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dawan_node.cli.devnet_network import DevnetNode
from dawan_node.errors import DawanError
from dawan_node.rpc.client import Client, RpcError, build_body, sign_transaction
from tests.integration.chaos.clients import Traffic
from tests.integration.chaos.faults import KINDS, FaultFailed, Kind, Scene, own_disks, release_disks
from tests.integration.chaos.history import History
from tests.integration.chaos.judge import LOSSES, Verdict, judge
from tests.integration.chaos.network import CHANNEL, ChaosNetwork, running

#: Every recovery must be over after this long (issue 5, show 7).
RECOVERY_S = 10.0
# Looked on this long, so that the report can say how late it was.
_PATIENCE_S = 120.0
_START_S = 60.0
_PROBE_WAIT_MS = 2_000
_POLL_S = 0.1
#: All nodes at one head, and nothing committed for so long: what was still on its way has arrived.
_QUIET_S = 3.0
#: An observer may have a fault of its own beside the validator's; they vote on nothing.
_BOTH_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long one recovery took, in seconds since the fault ended, and of the node that was last: until it answered
    at all, and until a fresh transaction was committed through it."""

    seconds: float
    last: str
    answers: float
    commits: float


@dataclass
class Outcome:
    """What one run found. ``load_s``: how long the clients were at work."""

    seed: int
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0
    load_s: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.wrong and not self.verdict.wrong


class Run:
    """``say`` is told each fault as it happens."""

    def __init__(
        self,
        network: ChaosNetwork,
        history: History,
        kinds: Sequence[Kind],
        seed: int,
        recovery_s: float,
        say: Callable[[str], None],
    ) -> None:
        self._network = network
        self._history = history
        self._draw = random.Random(seed)
        self._recovery_s = recovery_s
        self._say = say
        # The judge replays all blocks, so one node has to keep them: who loses its data comes back by snapshot, and
        # with some twenty losses in ten minutes nobody would have the first ones. It suffers everything else.
        self._archive = network.validators[seed % len(network.validators)]
        self._pool = ThreadPoolExecutor(32)
        self.outcome = Outcome(seed)
        self._kinds: list[Kind] = []
        for kind in kinds:
            obstacle = kind.obstacle(network)
            if obstacle:
                self.outcome.not_run[kind.name] = obstacle
            else:
                self._kinds.append(kind)
                self.outcome.recoveries[kind.name] = []

    def wait_ready(self) -> None:
        """Until a transaction is committed through every node."""
        took = self._recovery(self._network.nodes, 0, _START_S)
        self._say(f"seven nodes commit ({took.seconds:.1f} s)")

    def cause_trouble(self, seconds: float) -> None:
        """Fault after fault for so long, and until each kind has happened unless that takes far longer."""
        began = time.monotonic()
        for kind in self._deck():
            if time.monotonic() - began >= seconds and all(self.outcome.recoveries.values()):
                return
            if "all" in kind.on:
                for node in self._draw.sample(self._network.nodes, len(self._network.nodes)):
                    self._round([(kind, node)])
            else:
                self._round(self._victims(kind))
            if time.monotonic() - began >= 4 * seconds + _PATIENCE_S:
                return  # what is missing is reported

    def settle(self) -> None:
        """Until all nodes have one head and it stays. What does not get there is reported."""
        deadline = time.monotonic() + _PATIENCE_S
        before: set[int | None] = set()
        since = time.monotonic()
        while True:
            heads = {node.name: self._network.height(node) for node in self._network.nodes}
            if set(heads.values()) != before or len(before) != 1 or None in before:
                before, since = set(heads.values()), time.monotonic()
            elif time.monotonic() - since >= _QUIET_S:
                return
            if time.monotonic() > deadline:
                self.outcome.wrong.append(f"the nodes do not come to one head: {heads}")
                return
            time.sleep(_POLL_S)

    def _deck(self) -> Iterator[Kind]:
        while True:
            yield from self._draw.sample(self._kinds, len(self._kinds))

    def _victims(self, kind: Kind) -> list[tuple[Kind, DevnetNode]]:
        victims = [(kind, self._victim(kind))]
        if self._draw.random() < _BOTH_SHARE:
            is_validator = victims[0][1] in self._network.validators
            side = "observer" if is_validator else "validator"
            others = [each for each in self._kinds if side in each.on]
            if others:
                second = self._draw.choice(others)
                victims.append((second, self._victim(second, side)))
        return victims

    def _victim(self, kind: Kind, side: str = "") -> DevnetNode:
        network = self._network
        nodes = [
            node
            for node in network.nodes
            for own in ("validator" if node in network.validators else "observer",)
            if own in kind.on and side in ("", own)
        ]
        if kind.name == "disk full":
            nodes = [node for node in nodes if node.name in network.disks]
        if kind.name in LOSSES:
            nodes = [node for node in nodes if node is not self._archive]
        return self._draw.choice(nodes)

    def _round(self, victims: list[tuple[Kind, DevnetNode]]) -> None:
        scenes = [
            (kind, Scene(self._network, node, random.Random(self._draw.getrandbits(64)))) for kind, node in victims
        ]
        lasts_s = min(self._draw.uniform(0.2, 1.0) * kind.longest_s for kind, _ in victims)
        begun: list[tuple[Kind, Scene]] = []
        for kind, scene in scenes:
            self._history.fault(kind.name, scene.victim.name, "begin")
            try:
                kind.begin(scene)
            except (FaultFailed, DawanError, OSError) as error:
                self._wrong(f"{kind.name} on {scene.victim.name}: {error}")
            begun.append((kind, scene))
        time.sleep(lasts_s)  # how long the fault lasts
        goal = max(self._network.height(node) or 0 for node in self._network.nodes)
        for kind, scene in begun:
            self._history.fault(kind.name, scene.victim.name, "end", **scene.notes)
            try:
                kind.end(scene)
            except (FaultFailed, DawanError, OSError) as error:
                self._wrong(f"{kind.name} on {scene.victim.name}: {error}")
                if self._network.pid(scene.victim) is None:
                    self._network.processes.start(scene.victim)
        recovery = self._recovery(self._network.nodes, goal, _PATIENCE_S)
        took = recovery.seconds
        for kind, scene in begun:
            self._history.fault(kind.name, scene.victim.name, "recovered", seconds=took)
            self.outcome.recoveries[kind.name].append(took)
        names = " + ".join(f"{kind.name} of {scene.victim.name}{_words(scene.notes)}" for kind, scene in begun)
        late = "" if took < self._recovery_s else f"  TOO LATE (limit {self._recovery_s:.0f} s)"
        self._say(
            f"{self._history.now():7.1f} s  block {goal}: {names}, {lasts_s:.1f} s; recovered in {took:.2f} s "
            f"({recovery.last} answered after {recovery.answers:.2f}, committed after {recovery.commits:.2f}){late}"
        )
        if late:
            self._wrong(f"{names} lasted {lasts_s:.1f} s, and recovery took {took:.1f} s")

    def _wrong(self, text: str) -> None:
        self.outcome.wrong.append(f"at {self._history.now():.1f} s: {text}")

    def _recovery(self, nodes: Sequence[DevnetNode], goal: int, patience_s: float) -> Recovery:
        """Until a fresh transaction is committed through each of ``nodes``, and each has block ``goal``."""
        began = time.monotonic()
        waiting = [self._pool.submit(self._probe, node, goal, began, patience_s) for node in nodes]
        last = max((future.result() for future in waiting), key=lambda recovery: recovery.seconds)
        if last.seconds >= patience_s:
            self._wrong(f"{last.last} committed nothing for {patience_s:.0f} s")
        return last

    def _probe(self, node: DevnetNode, goal: int, began: float, patience_s: float) -> Recovery:
        """One node's recovery; ``patience_s`` stands for whatever has not happened by then."""
        who = f"probe-{node.name}"
        envelope = self._tick()
        deadline = began + patience_s
        answers = commits = patience_s
        committed = False
        with Client(node.rpc_url, timeout_s=1.0) as client:
            while time.monotonic() < deadline:
                try:
                    if answers == patience_s:
                        self._history.call(client, who, node.name, "chain_head", [CHANNEL])
                        answers = time.monotonic() - began
                    if not committed:
                        params = [CHANNEL, "0x" + envelope.hex(), "committed", _PROBE_WAIT_MS]
                        answer = self._history.call(client, who, node.name, "tx_submit", params, _PROBE_WAIT_MS / 1000)
                        committed = answer["status"] == "committed"
                        commits = time.monotonic() - began
                    if (
                        committed
                        and self._history.call(client, who, node.name, "chain_head", [CHANNEL])["height"] >= goal
                    ):
                        return Recovery(time.monotonic() - began, node.name, answers, commits)
                except RpcError as error:
                    if error.code != 1100 and not error.retryable:
                        envelope = self._tick()
                except DawanError:
                    pass
                time.sleep(_POLL_S)
        return Recovery(patience_s, node.name, answers, commits)

    def _tick(self) -> bytes:
        until_ms = time.time_ns() // 1_000_000 + 10 * 60_000
        body = build_body(self._network.genesis.chain_id, "governance", "tick", {}, valid_until_ms=until_ms)
        return sign_transaction(self._network.keys["gz-admin"], body)

    def close(self) -> None:
        self._pool.shutdown()


def chaos(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    rate: float,
    kinds: Sequence[str],
    recovery_s: float,
    disks: bool,
    say: Callable[[str], None],
) -> Outcome:
    """One run with its judgement. ``kinds``: names, all when empty. ``disks``: this process may mount."""
    chosen = [kind for kind in KINDS if not kinds or kind.name in kinds]
    began = time.monotonic()
    file = folder / "history.jsonl"
    network = ChaosNetwork(folder / "net")
    if disks:
        own_disks(network)
    try:
        with running(network):
            history = History(file)
            run = Run(network, history, chosen, seed, recovery_s, say)
            try:
                run.wait_ready()
                load_began = time.monotonic()
                with Traffic(network, history, seed, rate) as traffic:
                    run.cause_trouble(seconds)
                run.outcome.load_s = time.monotonic() - load_began
                run.outcome.wrong += [f"a client ended: {failure!r}" for failure in traffic.failures]
                run.settle()
            finally:
                run.close()
                history.close()
            outcome = run.outcome
            say("judging")
            urls = {node.name: node.rpc_url for node in network.nodes}
            try:
                outcome.verdict = judge(file, network.genesis, CHANNEL, urls)
            except DawanError as error:
                outcome.wrong.append(f"the judge got no answer: {error}")
    finally:
        if disks:
            release_disks(network)
    for kind, recoveries in outcome.recoveries.items():
        if not recoveries:
            outcome.wrong.append(f"no fault of kind {kind!r} happened")
    outcome.seconds = time.monotonic() - began
    return outcome


def report(outcome: Outcome) -> str:
    """The table."""
    lines = [f"{'FAULT':<18}{'COUNT':>6}{'P50 S':>8}{'P90 S':>8}{'WORST S':>9}"]
    for kind in KINDS:
        if kind.name in outcome.not_run:
            lines.append(f"{kind.name:<18}{'not run':>8}  {outcome.not_run[kind.name]}")
        elif kind.name in outcome.recoveries:
            lines.append(_row(kind.name, outcome.recoveries[kind.name]))
    lines.append(_row("all", [took for recoveries in outcome.recoveries.values() for took in recoveries]))
    verdict = outcome.verdict
    snapshots = ", ".join(f"{name} from {base}" for name, base in sorted(verdict.by_snapshot.items())) or "none"
    per_s = verdict.acknowledged / outcome.load_s if outcome.load_s else 0.0
    waits = verdict.waits_ms
    lines += [
        "",
        f"load {outcome.load_s:.0f} s: {per_s:.1f} transactions a second acknowledged, after "
        f"{_percentile(waits, 50):.0f} ms (P50), {_percentile(waits, 90):.0f} ms (P90), "
        f"{_percentile(waits, 99):.0f} ms (P99)",
        f"nodes that came back by snapshot and keep only later blocks: {snapshots}",
        f"seed {outcome.seed}, {outcome.seconds:.0f} s; {verdict.blocks} blocks, {verdict.transactions} transactions",
        f"acknowledged {verdict.acknowledged}, lost {verdict.lost}, double {verdict.double}; calls without a result "
        f"{verdict.unanswered}",
        f"compared with a replay: {verdict.reads} reads; heads followed: {verdict.heads}",
    ]
    wrong = outcome.wrong + verdict.wrong
    lines += [f"WRONG: {text[:600]}" for text in wrong[:_SHOWN_MAX]]
    if len(wrong) > _SHOWN_MAX:
        lines.append(f"and {len(wrong) - _SHOWN_MAX} more")
    lines.append("passed" if outcome.passed else "FAILED")
    return "\n".join(lines)


_SHOWN_MAX = 20


def _row(name: str, took: Sequence[float]) -> str:
    figures = (_percentile(took, 50), _percentile(took, 90), max(took)) if took else ()
    p50, p90, worst = (f"{each:.2f}" for each in figures) if figures else ("-", "-", "-")
    return f"{name:<18}{len(took):>6}{p50:>8}{p90:>8}{worst:>9}"


def _percentile(values: Sequence[float], percent: int) -> float:
    """The nearest rank: the least of ``values`` that so many percent of them do not exceed; 0 without any."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


def _words(notes: dict[str, Any]) -> str:
    shown = [f"{name} {'/'.join(value) if isinstance(value, list) else value}" for name, value in notes.items()]
    return f" ({', '.join(shown)})" if shown else ""
