"""Up to f attackers of any kind break and stop nothing; they are deterministic and bounded (reliability.md D)."""

from __future__ import annotations

import random
from collections.abc import Sized

import pytest

from dawan_node.consensus.messages import decode_message
from dawan_node.errors import InvalidMessage
from dawan_node.p2p.framing import Topic
from dawan_node.primitives.validators import fault_bound
from dawan_node.testing.attackers import ATTACKERS, DELIVERIES_MAX, Attacker
from dawan_node.testing.attackers.plans import Cartel
from dawan_node.testing.simulator.node import SimulatedNode
from dawan_node.testing.simulator.plan import plan_of
from dawan_node.testing.simulator.possessed import Position, Possessed
from dawan_node.testing.simulator.scene import Scene, run_checked
from dawan_node.testing.simulator.stage import run_plan
from dawan_node.testing.simulator.world import Violation

NAMES = sorted(ATTACKERS)


class Attacked(Scene):
    """A scene in which ``count`` (default f) validators are possessed; ``payloads`` is what they sent."""

    def __init__(
        self,
        kinds: list[type[Attacker]],
        n: int,
        seed: int,
        *,
        count: int | None = None,
        duration_ms: int = 6_000,
    ) -> None:
        rng = random.Random(seed)
        bad = sorted(rng.sample(range(n), fault_bound(n) if count is None else count))
        liars = {number: Possessed(kinds[at % len(kinds)], seed * 64 + number) for at, number in enumerate(bad)}
        super().__init__(seed, n, params={"block_txs_max": rng.choice((1, 3, 20))}, liars=liars, is_started=False)
        self.payloads: list[bytes] = []
        self.bad = [self.nodes[number] for number in bad]
        transmit = self.network.transmit

        def record(sender: SimulatedNode, name: str, topic: Topic, payload: bytes, delay_ms: int = 0) -> None:
            if topic is Topic.CONSENSUS and not sender.is_honest:
                self.payloads.append(payload)
            transmit(sender, name, topic, payload, delay_ms)

        self.network.transmit = record  # type: ignore[method-assign]
        self.start_all()
        while self.world.now < duration_ms:
            self.submit(rng.randint(1, 6))
            self.run(rng.randint(100, 1_500))


@pytest.mark.parametrize("name", NAMES)
def test_an_attacker_of_each_kind_forks_nothing_and_stops_nothing(name: str) -> None:
    run_checked(Attacked([ATTACKERS[name]], 4, 3))


@pytest.mark.parametrize("seed", range(4))
def test_f_attackers_of_different_kinds_fork_nothing_and_stop_nothing(seed: int) -> None:
    kinds = random.Random(seed).sample(list(ATTACKERS.values()), 2)
    run_checked(Attacked(kinds, 7, seed, duration_ms=4_000))


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_a_cartel_of_f_plus_one_forks_the_chain_so_the_checker_sees_something(seed: int) -> None:
    """In these networks the first primary is one of them; with an honest one they have nothing to split."""
    with pytest.raises(Violation, match=r"fork at height|reports halted"):
        run_checked(Attacked([Cartel], 4, seed, count=2))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_attacks_in_the_same_way_with_messages_or_what_is_meant_to_be_none(name: str) -> None:
    first, second = (Attacked([ATTACKERS[name]], 4, 5, duration_ms=3_000) for _ in range(2))
    assert first.world.trace_hash == second.world.trace_hash
    assert first.payloads == second.payloads
    undecodable = sum(not decodes(payload) for payload in first.payloads)
    assert first.payloads
    assert not undecodable or name in ("garbage", "chameleon")
    assert undecodable or name != "garbage"


@pytest.mark.parametrize("name", NAMES)
def test_an_attacker_keeps_only_so_much_and_says_only_so_much_at_a_time(name: str) -> None:
    scene = Attacked([ATTACKERS[name]], 4, 7, duration_ms=3_000)
    (node,) = scene.bad
    assert isinstance(node.liar, Possessed) and node.liar.attacker is not None
    attacker, position = node.liar.attacker, Position(node)
    rng = random.Random(7)
    heard = [decode_message(payload) for payload in scene.payloads if decodes(payload)][:500]
    for _ in range(6_000):
        sender = (position.own + rng.randrange(1, 4)) % 4
        assert len(attacker.heard(sender, rng.choice(heard), position)) <= DELIVERIES_MAX
    assert len(attacker.tick(position)) <= DELIVERIES_MAX
    kept = {key: value for key, value in vars(attacker).items() if key not in ("forger", "rng")}
    assert size(kept, set()) < 20_000


def decodes(payload: bytes) -> bool:
    try:
        decode_message(payload)
    except InvalidMessage:
        return False
    return True


def size(value: object, seen: set[int]) -> int:
    """How many things hang on ``value``."""
    if id(value) in seen or isinstance(value, bytes | str | type):
        return 0
    seen.add(id(value))
    if isinstance(value, dict):
        return len(value) + sum(size(item, seen) for item in value.values())
    if isinstance(value, Sized):
        return len(value) + sum(size(item, seen) for item in value)  # type: ignore[attr-defined]
    return sum(size(item, seen) for item in vars(value).values()) if hasattr(value, "__dict__") else 0


@pytest.mark.parametrize(("n", "liar", "seed"), [(4, "equivocating-primary", 1), (5, "lying-height", 403)])
def test_plans_that_failed_once(n: int, liar: str, seed: int) -> None:
    """1: W grew inside an epoch, and who had not seen it accused an honest primary. 403: a NEW-VIEW of the segment
    before left together with the records that began the next one."""
    outcome = run_plan(plan_of(seed, validators=n, liar=liar))
    assert outcome.violation == ""
