"""One run: a channel, its nodes, its world, and what a test or a plan does to them.

A scene is used like this::

    scene = Scene(seed=7, validators=4)
    scene.submit(5)
    scene.run(2_000)
    scene.crash(0)
    ...
    scene.heal()
    assert scene.settle()

While it runs its ``checks`` raise ``Violation`` for whatever must never happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from dawan_node.consensus import Timers
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry
from dawan_node.p2p.peers import Role
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.testing.simulator.checks import LATE_MS, Checks
from dawan_node.testing.simulator.contract import CLIENTS, Author, genesis_of, node_key, registry
from dawan_node.testing.simulator.narrator import Narrator
from dawan_node.testing.simulator.network import Network
from dawan_node.testing.simulator.node import Liar, SimulatedNode
from dawan_node.testing.simulator.world import Violation, World

#: After the faults end every view of an honest primary decides; back-off may stand at its cap of 60 s, and f primaries
#: in a row may be liars.
HEAL_LIMIT_MS: Final = 400_000
#: What a client does not see committed it sends again after so long.
RETRY_MS: Final = 15_000
#: How often the tables of all nodes are measured.
MEASURE_MS: Final = 1_000


class Scene:
    """``validators`` nodes that vote from the start, ``spares`` that only follow until a barrier lets them vote."""

    def __init__(
        self,
        seed: int,
        validators: int,
        *,
        spares: int = 0,
        params: Mapping[str, int] | None = None,
        timers: Timers | None = None,
        is_real: bool = False,
        liars: Mapping[int, Liar] | None = None,
        twins: Sequence[int] = (),
        transcript: Callable[[str], None] | None = None,
        is_started: bool = True,
        genesis: Genesis | None = None,
        modules: Callable[[], Registry] = registry,
    ) -> None:
        """``is_real``: Ed25519 instead of a hash. ``liars`` by node number; ``twins`` name nodes that run twice, with
        one key and two minds. ``genesis`` and ``modules``: another channel than the ``contract``'s, whose validators
        are ``contract.seats``."""
        self.world = World(seed, transcript)
        self.is_real = is_real
        self.timers = timers or Timers()
        self.modules: Final = modules
        self.genesis = genesis or genesis_of(seed, validators, tuple({"block_txs_max": 20, **(params or {})}.items()))
        self.widest_window = self.genesis.param("window")
        self.genesis_state = Executor(modules(), self.genesis).genesis_state()
        self.author = Author(self.genesis, is_real)
        self.checks = Checks(self)
        self.network = Network(self)
        self.narrator = Narrator(self)
        self._sets: list[ValidatorSet] = [self.genesis.validator_set]
        roles = [Role.VALIDATOR] * validators + [Role.OBSERVER] * spares
        self.nodes: list[SimulatedNode] = [SimulatedNode(self, n, n, role) for n, role in enumerate(roles)]
        for twin in twins:
            self.nodes.append(SimulatedNode(self, len(self.nodes), twin, Role.VALIDATOR))
        self._by_name: dict[str, list[SimulatedNode]] = {}
        for node in self.nodes:
            self._by_name.setdefault(node.name, []).append(node)
        for number, liar in (liars or {}).items():
            self.nodes[number].liar = liar
        for twin in twins:
            for node in self._by_name[self.nodes[twin].name]:
                node.liar = Liar()
        self.submitted: dict[bytes, Transaction] = {}
        #: Transactions whose receipt some client saw.
        self.promised: dict[bytes, None] = {}
        self.world.at(MEASURE_MS, self._measure)
        if is_started:
            self.start_all()

    # What a test does

    def submit(self, count: int = 1, to: int | None = None) -> None:
        """``count`` payments of random clients, handed to one node that is up (``to``, or any)."""
        up = [node for node in self.nodes if node.is_up and not node.is_frozen]
        target = self.nodes[to] if to is not None else (self.world.random.choice(up) if up else None)
        if target is None or target.life is None:
            return
        batch = []
        for _ in range(count):
            payer, payee = self.world.random.choice(CLIENTS), self.world.random.choice(CLIENTS)
            amount = self.world.random.randint(1, 50)
            batch.append(self.author.payment(payer, payee, amount, self.time_ms))
        self._hand_in(target, batch)

    def change_validators(self, members: Sequence[int], window: int = 4) -> None:
        """Submit a barrier that makes nodes ``members`` the validators."""
        self.world.counts["validator set change submitted"] += 1
        self.widest_window = max(self.widest_window, window)
        transaction = self.author.change(sorted(members), window, self.time_ms)
        up = [node for node in self.nodes if node.is_up and not node.is_frozen]
        if up:
            self._hand_in(self.world.random.choice(up), [transaction])

    def submit_again(self) -> None:
        """What clients do with what they have no receipt for: send the same bytes to everybody."""
        chain = next((node for node in self.nodes if node.is_up and node.is_honest), None)
        if chain is None:
            return
        open_ones = [
            transaction
            for tx_id, transaction in self.submitted.items()
            if chain.channel.store.blocks.find_tx(tx_id) is None
        ]
        for node in self.nodes:
            if node.is_up and open_ones:
                self._hand_in(node, open_ones)

    def _hand_in(self, node: SimulatedNode, batch: Sequence[Transaction]) -> None:
        self.submitted.update((transaction.tx_id, transaction) for transaction in batch)
        self.world.note(f"submit {node.number}", b"".join(transaction.tx_id for transaction in batch))
        life = node.life
        if life is not None:
            node.perform(life, lambda: _take(life.submit(batch)))

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        self.world.run(duration_ms)

    def run_until(self, condition: Callable[[], bool], limit_ms: int) -> bool:
        """Let time pass until ``condition`` holds; whether it did within ``limit_ms``."""
        return self.world.run_until(condition, limit_ms)

    def start(self, number: int) -> None:
        """Power on."""
        node = self.nodes[number]
        if not node.is_up:
            self.world.say(f"{node.name} starts (life {node.lives + 1})")
            node.start()
            self.network.node_started(node)

    def start_all(self) -> None:
        """Power on whatever is off."""
        for number in range(len(self.nodes)):
            self.start(number)

    def crash(self, number: int, is_killed: bool = False) -> None:
        """Power off, or the process alone is killed."""
        node = self.nodes[number]
        if node.is_up:
            self.world.say(f"{node.name} {'is killed' if is_killed else 'loses power'} at height {node.height}")
            self._keep_promises(node)
            node.crash(is_killed)
            self.network.node_crashed(node)

    def reopen(self, number: int) -> None:
        """The node closes and opens everything, as the process does that must begin anew."""
        self.crash(number, is_killed=True)
        self.start(number)

    def power_lost(self, node: SimulatedNode) -> None:
        """Power failed in the middle of an action."""
        self.crash(node.number)

    def partition(self, *groups: Sequence[int]) -> None:
        """Links exist inside the groups only; a node in none of them is alone. Without groups, all links exist."""
        where = {number: index for index, group in enumerate(groups) for number in group}
        self.network.cut(
            {
                (one, other)
                for one in range(len(self.nodes))
                for other in range(one)
                if groups and (one not in where or where[one] != where.get(other))
            }
        )

    def heal(self) -> None:
        """All faults stop: links, clocks and disks are well, everybody is up."""
        self.world.say("all faults end")
        self.network.heal()
        for node in self.nodes:
            node.power_cut_in = None
            node.clock.offset_ms = 0
            node.disk_habits.sync_ms = node.disk_habits.job_ms = (0, 3)
            if node.is_frozen:
                node.thaw()
        self.start_all()

    def settle(self, limit_ms: int = HEAL_LIMIT_MS) -> bool:
        """Whether all honest nodes come to agree on everything that clients want, and store the same bytes."""
        self.submit_again()
        # To an honest node: a liar may keep what a client hands it, and the client would try another.
        self.submit(2, to=self.world.random.choice(self.honest).number)
        end = self.world.now + limit_ms
        while not self.run_until(self.is_settled, min(RETRY_MS, end - self.world.now)):
            if self.world.now >= end:
                return False
            self.submit_again()  # a quota refused it, or the pool that took it lost power
        self.compare()
        return True

    def is_settled(self) -> bool:
        """Whether honest nodes are equal, their pools empty, and everything submitted is on the chain."""
        honest = self.honest
        if any(node.life is None for node in honest) or len({node.height for node in honest}) != 1:
            return False
        if any(len(node.channel.pool) for node in honest):
            return False
        blocks = honest[0].channel.store.blocks
        return all(blocks.find_tx(tx_id) is not None for tx_id in self.submitted)

    def compare(self) -> None:
        """Compare what honest nodes that are up have stored."""
        honest = [node for node in self.honest if node.is_up]
        for node in honest:
            self._keep_promises(node)
        self.checks.compare(honest)

    def wishes_for_nothing(self) -> bool:
        """Whether no honest node that is up counts anybody's wish for another view."""
        return not any(
            node.life.replica._suspicion.wishes for node in self.nodes if node.is_honest and node.life is not None
        )

    # Facts

    @property
    def honest(self) -> list[SimulatedNode]:
        """The nodes that the rules bind."""
        return [node for node in self.nodes if node.is_honest]

    @property
    def heights(self) -> list[int]:
        """The height of every node's store."""
        return [node.height for node in self.nodes]

    @property
    def time_ms(self) -> int:
        """The wall clock of a machine that is right."""
        return self.genesis.created_ms + 900_000 + self.world.now

    def nodes_called(self, name: str) -> list[SimulatedNode]:
        """The node of that name, and its twin."""
        return self._by_name.get(name, [])

    def set_of(self, epoch: int) -> ValidatorSet | None:
        """The validators of an epoch, as far as any node has got."""
        if epoch >= len(self._sets):
            for node in self.nodes:
                life = node.life
                if node.is_honest and life is not None and life.replica._state.chain.epoch == len(self._sets):
                    self._sets.append(life.replica.validators)
        return self._sets[epoch] if epoch < len(self._sets) else None

    def key_of_validator(self, epoch: int, index: int) -> bytes:
        """The key of a validator by index."""
        found = self.set_of(epoch)
        return b"" if found is None or index >= found.n else found.public_keys[index]

    def primary_key(self, epoch: int, view: int) -> bytes:
        """The key of primary(view)."""
        found = self.set_of(epoch)
        return b"" if found is None else found.public_keys[found.primary(self.genesis.chain_id, epoch, view)]

    def name_of_validator(self, epoch: int, index: int) -> str:
        """The name behind an index."""
        key = self.key_of_validator(epoch, index)
        return next((node.name for node in self.nodes if node.key.public_key == key), "nobody")

    def describe(self) -> str:
        """Where everybody stands."""
        return "\n".join(self._standings())

    def _standings(self) -> Iterator[str]:
        for node in self.nodes:
            life = node.life
            if life is None:
                yield f"{node.name} is down"
                continue
            status = life.replica.status()
            yield (
                f"{node.name}{'' if node.is_honest else ' (liar)'}: {status.state} epoch {status.epoch}"
                f" view {status.view}>{status.target} primary {status.primary} height {node.height}"
                f" pool {len(life.channel.pool)} suspects {status.suspects}"
                f" in flight {[(s.height, s.phase, s.have) for s in status.in_flight]}"
                f" waits for {status.waiting_for!r} sync {life.channel.catch_up.status()}"
            )

    # Inside

    def _measure(self) -> None:
        for node in self.nodes:
            self.checks.measure(node)
        self.world.at(MEASURE_MS, self._measure)

    def _keep_promises(self, node: SimulatedNode) -> None:
        """What this node's store holds, a client may have seen committed."""
        if node.life is None or not node.is_honest:
            return
        blocks = node.channel.store.blocks
        for tx_id in self.submitted:
            if tx_id not in self.promised and blocks.find_tx(tx_id) is not None:
                self.promised[tx_id] = None


def _take(_: int) -> None:
    pass


def run_checked(scene: Scene) -> None:
    """Heal and settle. Raises Violation when the scene does not come to rest.

    If somebody still counts a wish then, time goes on until it must have been forgotten and the checks have looked:
    most runs are over sooner than a wish expires, and what counts for ever would be seen in none of them (L10).
    """
    scene.heal()
    if not scene.settle():
        raise Violation(f"no agreement {HEAL_LIMIT_MS / 1000:.0f} s after the faults ended\n{scene.describe()}")
    scene.run_until(scene.wishes_for_nothing, scene.timers.suspect_expiry_ms + LATE_MS + 2 * MEASURE_MS)


def node_keys(count: int) -> list[bytes]:
    """The public keys of the first nodes."""
    return [node_key(number).public_key for number in range(count)]
