"""Recorded blocks on a network of four: the same commands, decided by PBFT, in virtual time.

What a module's tests did on one ``ModuleKit`` is handed to four simulated nodes (``simulator``), each with its own
executor, disk and clock; the transactions of one block go to different nodes, and one node loses power in between and
comes back. At the end all four have stored the same bytes, executing them again gives the same roots, and the module's
invariants held after every block. Which of several transactions of a block comes first is the network's choice, so
receipts may be others than in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from dawan_node.crypto.hashing import domain_separated
from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import InvalidTransaction
from dawan_node.execution.registry import Registry
from dawan_node.primitives.transaction import TX_TAG, Body, Transaction, assemble_envelope
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.module_recording import Recording, decoded
from dawan_node.testing.module_replay import registry_of
from dawan_node.testing.simulated_node import fake_signature
from dawan_node.testing.simulator.contract import seats
from dawan_node.testing.simulator.scene import Scene, run_checked
from dawan_node.testing.simulator.world import Violation

NODES: Final = 4

#: Virtual time one block's transactions may take: a primary may be down, and its view must time out first.
DECIDED_MS: Final = 120_000


@dataclass(slots=True)
class ClusterReport:
    """What a network made of recordings."""

    recordings: int = 0
    blocks: int = 0
    transactions: int = 0
    #: Kits that were not played: their modules are not installed, or the limit was reached.
    left_out: int = 0


class ModuleScene(Scene):
    """A scene on the channel of a recording. Clients are the recording's, so nobody else submits anything."""

    def submit(self, count: int = 1, to: int | None = None) -> None:
        """Nothing: ``settle`` has what was offered to agree on."""

    def offer(self, transaction: Transaction, to: int) -> bool:
        """Hand a transaction to a node that is up; whether it was taken."""
        up = [node for node in self.nodes if node.is_up]
        life = up[to % len(up)].life
        if life is None or not life.submit([transaction]):
            return False
        self.submitted[transaction.tx_id] = transaction
        return True

    def set_clocks(self, time_ms: int) -> None:
        """No clock shows less than ``time_ms`` any more."""
        for node in self.nodes:
            node.clock.offset_ms = max(node.clock.offset_ms, time_ms - self.time_ms)

    def heal(self) -> None:
        """As ever, but clocks stay: block time cannot go back."""
        offsets = [node.clock.offset_ms for node in self.nodes]
        super().heal()
        for node, offset_ms in zip(self.nodes, offsets, strict=True):
            node.clock.offset_ms = offset_ms


def play_all(recordings: Sequence[Recording], blocks_max: int) -> ClusterReport:
    """Every recording on a network of its own, until ``blocks_max`` blocks were played. Raises Violation."""
    report = ClusterReport()
    for number, recording in enumerate(recordings):
        registry = registry_of(recording)
        if registry is None or report.blocks + len(recording.blocks) > blocks_max:
            report.left_out += 1
            continue
        try:
            play(number, recording, registry, report)
        except Violation as violation:
            raise Violation(f"{recording.test}: {violation}") from violation
    return report


def play(seed: int, recording: Recording, registry: Registry, report: ClusterReport) -> None:
    """One recording. Raises Violation."""
    genesis = replace(recording.decoded_genesis, validators=seats(NODES))
    scene = ModuleScene(seed, NODES, genesis=genesis, modules=lambda: registry)
    nonces = 0
    down_from, down_to = len(recording.blocks) // 3, 2 * len(recording.blocks) // 3
    for place, block in enumerate(recording.blocks):
        if place == down_from:
            scene.crash(1)
        if place == down_to:
            scene.start_all()
        header, transactions, _ = decoded(block)
        scene.set_clocks(header.timestamp_ms)
        for transaction in transactions:
            nonces += 1
            offered = signed_anew(transaction, scene, nonces)
            if _is_admissible(registry, offered) and scene.offer(offered, nonces):
                report.transactions += 1
        if not scene.run_until(lambda: _is_decided(scene), DECIDED_MS):
            raise Violation(f"nothing is decided any more at block {place + 1}\n{scene.describe()}")
        report.blocks += 1
    run_checked(scene)
    _check_invariants(scene)
    report.recordings += 1


def signed_anew(transaction: Transaction, scene: ModuleScene, nonce: int) -> Transaction:
    """The same command of the same person for the scene's chain and time."""
    body = transaction.body
    now_ms = scene.nodes[0].clock.wall_ms()
    until_ms = now_ms + scene.genesis.param("tx_lifetime_ms_max") // 2
    encoded = Body(
        1, scene.genesis.chain_id, nonce.to_bytes(16, "big"), until_ms, body.module, body.command, body.args
    ).encode()
    signature = fake_signature(transaction.public_key, domain_separated(TX_TAG, encoded))
    return Transaction.decode(assemble_envelope(encoded, ED25519, transaction.public_key, signature))


def _is_admissible(registry: Registry, transaction: Transaction) -> bool:
    try:
        registry.check_command(transaction.body.module, transaction.body.command, transaction.body.args)
    except InvalidTransaction:
        return False  # a node turns it away; the tests looked at what its receipt would be
    return True


def _is_decided(scene: ModuleScene) -> bool:
    nodes = [node for node in scene.nodes if node.is_up]
    blocks = nodes[0].channel.store.blocks
    return all(blocks.find_tx(tx_id) is not None for tx_id in reversed(scene.submitted))


def _check_invariants(scene: ModuleScene) -> None:
    """After every block of the chain all agreed on."""
    channel = scene.nodes[0].channel
    executor, blocks, state = channel.executor, channel.store.blocks, MemoryState()
    start = executor.genesis_state()
    state.apply(start.changes)
    result = start.result
    for height in range(1, channel.head.height + 1):
        header, envelopes = blocks.header(height), blocks.envelopes(height)
        if header is None or envelopes is None:
            raise Violation(f"block {height} is missing")
        execution = executor.execute(state, result, header, [Transaction.decode(each) for each in envelopes])
        state.apply(execution.changes)
        result = execution.result
        broken = executor.violations(state, height=height, time_ms=header.timestamp_ms)
        if broken:
            raise Violation(f"after block {height}: {'; '.join(broken)}")
