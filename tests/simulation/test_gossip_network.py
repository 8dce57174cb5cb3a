"""Sixty simulated nodes: reproducible, and the checks have teeth."""

from __future__ import annotations

from typing import Any

import pytest

from dawan_node.p2p import block_spread
from dawan_node.testing.gossip_network import scenarios

BY_NAME = {scenario.name: scenario for scenario in scenarios.SCENARIOS}


def test_blocks_reach_all_observers_in_time_though_a_tenth_of_messages_is_lost_and_the_same_seed_is_the_same_run() -> (
    None
):
    first, second = (scenarios.run(BY_NAME["10 % of messages lost"], 7, 16) for _ in range(2))
    assert first == second
    assert first.problems == ()
    assert first.missing == 0


def test_without_repair_the_simulation_complains(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = block_spread.BlockSpread._ask

    def ask_for_a_parent_only(self: Any, height: int, missing: Any, now_ms: int) -> None:
        if self.parent is None:
            ask(self, height, missing, now_ms)

    monkeypatch.setattr(block_spread.BlockSpread, "_ask", ask_for_a_parent_only)
    monkeypatch.setattr(block_spread.BlockSpread, "next_deadline", lambda self: None)
    problems = scenarios.run(BY_NAME["10 % of messages lost"], 7, 16).problems
    assert any("of blocks within" in problem for problem in problems)
