"""One chaos run: start, load, one fault after another, how long each recovery took, and the report."""

from __future__ import annotations

import random
import statistics
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
from tests.integration.chaos.judge import Verdict, judge
from tests.integration.chaos.network import CHANNEL, ChaosNetwork, running

#: Every recovery must be over after this long (issue 5, show 7).
RECOVERY_S = 10.0
#: A victim that has lost everything has this much time more: it fetches and executes the chain from the genesis on.
CATCH_UP_BLOCKS_PER_S = 100
# Looked on this long, so that the report can say how late it was.
_PATIENCE_S = 120.0
_START_S = 60.0
_PROBE_WAIT_MS = 2_000
_POLL_S = 0.1
#: An observer may have a fault of its own beside the validator's; they vote on nothing.
_BOTH_SHARE = 0.4


@dataclass
class Outcome:
    """What one run found."""

    seed: int
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

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
        self._say(f"seven nodes commit ({took:.1f} s)")

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
        """Until all nodes have one head. What does not get there is reported."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            heads = {node.name: self._network.height(node) for node in self._network.nodes}
            if len(set(heads.values())) == 1 and None not in heads.values():
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
        took = self._recovery(self._network.nodes, goal, _PATIENCE_S)
        for kind, scene in begun:
            self._history.fault(kind.name, scene.victim.name, "recovered", seconds=took)
            self.outcome.recoveries[kind.name].append(took)
        names = " + ".join(f"{kind.name} of {scene.victim.name}{_words(scene.notes)}" for kind, scene in begun)
        limit_s = self._recovery_s
        if any(kind.rebuilds for kind, _ in begun):
            limit_s += goal / CATCH_UP_BLOCKS_PER_S
        late = "" if took < limit_s else f"  TOO LATE (limit {limit_s:.0f} s)"
        self._say(f"{self._history.now():7.1f} s  {names}, {lasts_s:.1f} s; recovered in {took:.2f} s{late}")
        if late:
            self._wrong(f"{names} lasted {lasts_s:.1f} s, and recovery took {took:.1f} s")

    def _wrong(self, text: str) -> None:
        self.outcome.wrong.append(f"at {self._history.now():.1f} s: {text}")

    def _recovery(self, nodes: Sequence[DevnetNode], goal: int, patience_s: float) -> float:
        """Seconds until a fresh transaction is committed through each of ``nodes``, and each has block ``goal``."""
        began = time.monotonic()
        waiting = {node.name: self._pool.submit(self._probe, node, goal, began + patience_s) for node in nodes}
        late = [name for name, future in waiting.items() if not future.result()]
        if late:
            self._wrong(f"{', '.join(late)} committed nothing for {patience_s:.0f} s")
        return time.monotonic() - began

    def _probe(self, node: DevnetNode, goal: int, deadline: float) -> bool:
        who = f"probe-{node.name}"
        envelope = self._tick()
        committed = False
        with Client(node.rpc_url, timeout_s=1.0) as client:
            while time.monotonic() < deadline:
                try:
                    if not committed:
                        params = [CHANNEL, "0x" + envelope.hex(), "committed", _PROBE_WAIT_MS]
                        answer = self._history.call(client, who, node.name, "tx_submit", params, _PROBE_WAIT_MS / 1000)
                        committed = answer["status"] == "committed"
                    if (
                        committed
                        and self._history.call(client, who, node.name, "chain_head", [CHANNEL])["height"] >= goal
                    ):
                        return True
                except RpcError as error:
                    if error.code != 1100 and not error.retryable:
                        envelope = self._tick()
                except DawanError:
                    pass
                time.sleep(_POLL_S)
        return False

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
                with Traffic(network, history, seed, rate) as traffic:
                    run.cause_trouble(seconds)
                run.outcome.wrong += [f"a client ended: {failure!r}" for failure in traffic.failures]
                run.settle()
            finally:
                run.close()
                history.close()
            outcome = run.outcome
            say("judging")
            outcome.verdict = judge(file, network.genesis, CHANNEL, {node.name: node.rpc_url for node in network.nodes})
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
    lines = [f"{'FAULT':<18}{'COUNT':>6}{'MEDIAN S':>10}{'WORST S':>9}"]
    for kind in KINDS:
        if kind.name in outcome.not_run:
            lines.append(f"{kind.name:<18}{'not run':>8}  {outcome.not_run[kind.name]}")
        elif kind.name in outcome.recoveries:
            took = outcome.recoveries[kind.name]
            median, worst = (f"{statistics.median(took):.2f}", f"{max(took):.2f}") if took else ("-", "-")
            lines.append(f"{kind.name:<18}{len(took):>6}{median:>10}{worst:>9}")
    verdict = outcome.verdict
    lines += [
        "",
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


def _words(notes: dict[str, Any]) -> str:
    shown = [f"{name} {'/'.join(value) if isinstance(value, list) else value}" for name, value in notes.items()]
    return f" ({', '.join(shown)})" if shown else ""
