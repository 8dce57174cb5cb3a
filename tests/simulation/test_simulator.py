"""The simulator itself: its runs are reproducible, its checks have teeth, its faults are real."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from dawan_node.testing.simulator.campaign import run_campaign, run_seeds, silence
from dawan_node.testing.simulator.forgetting import run_stories
from dawan_node.testing.simulator.node import Liar, Life
from dawan_node.testing.simulator.plan import plan_of
from dawan_node.testing.simulator.scene import Scene, run_checked
from dawan_node.testing.simulator.shrink import shrink
from dawan_node.testing.simulator.stage import run_plan
from dawan_node.testing.simulator.world import Violation
from tests.long_and_short import seeds

#: Seeds that once violated something, with what it was; they stay.
REGRESSIONS = {
    102771: "the rules lost a decision that a checkpoint had written in its other form",
    103541: "a liar that computes wrong results could not store the right one, and that was held against the code",
    105998: "an empty message could not be damaged",
    107062: "a guard restored from a checkpoint would have gone on signing in an epoch whose end it had read of",
    705319: "who claimed another block at the genesis height, its STATUS damaged on the way, got no help",
    107520: "a replica far behind kept the prepared certificates of every view that went by",
    114295: "as 102771, above a barrier",
    200091: "a liar's proposal of a view that was over by then was taken for that of the next, honest primary",
    307114: "a validator that is alone lost power between its COMMIT and the decision, and never decided again",
    500148: "an observer had a batch of catch-up in its hands, which the bound on blocks in flight did not know of",
}


@pytest.fixture(autouse=True)
def _quiet() -> object:
    with silence():
        yield


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_seeds_that_once_failed_pass(seed: int) -> None:
    (outcome,) = run_seeds([seed])
    assert not outcome.violation


@pytest.mark.parametrize("seed", seeds(2, 200))
def test_a_home_put_back_as_init_made_it_never_signs_twice_and_finds_out(seed: int) -> None:
    told = run_stories(range(seed, seed + 1))
    assert not told.violations
    assert told.stories == 1


def test_a_seed_gives_the_same_trace_in_another_process_under_another_hash_seed() -> None:
    program = (
        "import sys; from dawan_node.testing.simulator.parts import trace_hashes; sys.stdout.write(trace_hashes(3))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert other.stdout.split() == [outcome.trace_hash for outcome in run_seeds(range(3))]


def test_payments_are_committed_by_everybody_and_a_spare_follows() -> None:
    scene = Scene(1, 4, spares=1)
    scene.submit(5)
    scene.run(1_000)
    assert min(scene.heights) == max(scene.heights) > 0
    run_checked(scene)


def test_two_twins_of_four_fork_the_chain_and_the_checks_see_it() -> None:
    """f + 1 liars: a checker that stays silent is the bug."""
    scene = Scene(1, 4, twins=(0, 1))
    scene.partition([0, 1, 2], [4, 5, 3])
    scene.submit(2, to=2)
    scene.submit(2, to=3)
    with pytest.raises(Violation, match="fork at height 1"):
        scene.run(30_000)


def test_after_a_fork_by_f_plus_1_an_honest_node_halts_and_holds_both_signed_statements() -> None:
    """Reliability D12: safety is lost, and not in silence."""
    scene = Scene(1, 4, twins=(0, 1))
    scene.checks.is_lenient = True
    scene.partition([0, 1, 2], [4, 5, 3])
    scene.submit(2, to=2)
    scene.submit(2, to=3)
    scene.run(30_000)
    assert scene.world.counts["fork"]
    scene.partition()
    scene.submit(2)
    scene.run(30_000)
    halted = [life.replica._state.halted for node in scene.honest if (life := node.life) is not None]
    proofs = [proof for proof in halted if proof is not None]
    assert proofs and all(proof.first and proof.second and proof.first != proof.second for proof in proofs)


def test_a_disk_that_forgets_what_it_synced_is_seen_when_its_node_comes_back() -> None:
    scene = Scene(3, 4)
    scene.nodes[1].disk_habits.forgets = True
    for _ in range(20):
        scene.submit(2)
        scene.run(500)
    scene.crash(1)
    with pytest.raises(Violation, match="synced records of v01 are gone"):
        scene.start(1)


def test_a_vote_that_leaves_before_it_is_synced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def drain(life: Life) -> None:
        while ready := life.replica.ready():
            life.channel.driver.carry_out(ready)

    monkeypatch.setattr(Life, "_drain", drain)
    scene = Scene(1, 4)
    scene.submit(1)
    with pytest.raises(Violation, match="its log has not synced"):
        scene.run(1_000)


def test_an_honest_node_that_signs_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(1, 4)
    scene.submit(1)
    scene.run(500)
    checks = scene.checks
    (key, kind, epoch, view, height), _ = next(iter(checks._signed.items()))
    node = next(node for node in scene.nodes if node.key.public_key == key)
    with pytest.raises(Violation, match="signed two"):
        checks._once(node, kind, epoch, view, height, b"something else")


def test_a_table_beyond_its_bound_is_seen() -> None:
    scene = Scene(1, 4)
    scene.run(100)
    life = scene.nodes[0].life
    assert life is not None
    for height in range(100):
        life.replica._state.log.slot(height + 1)
    with pytest.raises(Violation, match="holds 100 slots"):
        scene.checks.measure(scene.nodes[0])


def test_evidence_against_an_honest_node_is_seen() -> None:
    scene = Scene(1, 4, twins=(2,))
    for node in scene.nodes:
        node.liar = None if node.number != 4 else node.liar
    scene.partition([0, 1, 2], [3, 4])
    scene.submit(2, to=0)
    scene.run(500)
    for node in (scene.nodes[2], scene.nodes[4]):
        assert node.life is not None
        node.life.replica._state.stop_for_own_key = lambda statement: None  # type: ignore[method-assign]
    scene.partition()
    with pytest.raises(Violation):
        for _ in range(40):
            scene.submit(2)
            scene.run(500)


def test_power_fails_in_the_middle_of_any_action_and_nothing_is_lost() -> None:
    for action in range(1, 60, 6):
        scene = Scene(action, 4)
        scene.submit(3)
        scene.run(300)
        scene.nodes[action % 4].power_cut_in = action
        for _ in range(20):
            scene.submit(3)
            scene.run(300)
        run_checked(scene)
        assert scene.world.counts["crash in the middle of an action"] == 1


def test_a_failing_plan_is_cut_down_to_what_matters() -> None:
    plan = replace(plan_of(16), validators=4, spares=0, liars=(), twins=(0, 1), drifts_ppm=(0,) * 6)
    seeds = (replace(plan, seed=seed) for seed in range(20))
    failing = next(found for found in seeds if run_plan(found).violation)
    small, violation = shrink(failing, 20)
    assert violation and len(small.steps) <= len(failing.steps)


def test_a_transcript_tells_who_said_what_to_whom() -> None:
    lines: list[str] = []
    scene = Scene(1, 4, transcript=lines.append)
    scene.submit(1)
    scene.run(200)
    text = "\n".join(lines)
    assert "v00 starts" in text and "PRE-PREPARE view 0 height 1" in text and "decides height 1" in text


def test_a_campaign_says_what_never_happened() -> None:
    report = run_campaign(0, 8, None, 1, validators=4)
    assert report.seeds == 8 and not report.failures and not report.missing
    report.seeds, report.counts["crash"] = 1_000, 0
    assert "crash" in report.missing
    assert any("crash: 0" in line for line in report.lines())


def test_a_liar_without_conscience_but_with_manners_changes_nothing() -> None:
    scene = Scene(1, 4, liars={2: Liar()})
    scene.submit(5)
    scene.run(2_000)
    run_checked(scene)
