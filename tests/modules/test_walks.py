"""Whatever is sent to a module, in whatever order, every invariant holds after every block.

300 walks of each module in every run, 10,000 longer ones with ``--extended`` (issue 7, Show 2). The first also hold the
walks to account: they must succeed with every command and reach every state, or they would prove little.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import pytest

from dawan_node.execution.registry import load_module
from tests.modules.walk_shards import DEFAULT, EXTENDED, Progress, Shard, default_folder, play_shard, replay_command
from tests.modules.walk_tally import Tally
from tests.modules.walks import WALKS

SHARDS: Final = 10

_ELSEWHERE: Final = "takes another channel: the walks of light_client"
#: Commands that a module's own walks do not send, and why.
NOT_SENT: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "title": {
            "reserve_title": _ELSEWHERE,
            "settle_title": _ELSEWHERE,
        },
        "logistics": {"prove_surrender": "takes another channel: test_logistics_titles"},
        "receivable": {"account_title": _ELSEWHERE, "take_title": _ELSEWHERE},
        "light_client": {
            "advance_client": "takes another set of validators: test_light_client",
        },
    }
)
#: States that a module's own walks do not reach, and why.
NOT_REACHED: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "receivable": {f"title_security {state}": _ELSEWHERE for state in ("HELD", "RETURNED", "SOLD", "TAKEN")},
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WALKS))
def test_every_invariant_holds_in_random_walks_that_succeed_with_every_command_and_reach_every_state(name: str) -> None:
    walks, module = WALKS[name], load_module(name, 1)
    shard = Shard(name, 0, 1, DEFAULT, walks.default)
    progress = play_shard(shard, walks)
    assert_held(shard, progress)
    table = "\n".join(progress.tally.lines([module]))
    assert progress.tally.commands_never_accepted(module) == sorted(NOT_SENT.get(name, ())), table
    assert progress.tally.states_never_reached(module) == sorted(NOT_REACHED.get(name, ())), table
    if name == "light_client":
        assert_others_rely_on(progress.tally)


def assert_others_rely_on(tally: Tally) -> None:
    """What the walks of one module leave to those of two channels happens there."""
    commands = {
        f"{name}.{command}" for name, each in NOT_SENT.items() for command in each if each[command] == _ELSEWHERE
    }
    assert commands <= tally.accepted
    for name, each in NOT_REACHED.items():
        states = {state for state in each if each[state] == _ELSEWHERE}
        assert not states.intersection(tally.states_never_reached(load_module(name, 1))), name


@pytest.mark.extended
@pytest.mark.parametrize("number", range(SHARDS))
@pytest.mark.parametrize("name", sorted(WALKS))
def test_every_invariant_holds_in_ten_thousand_walks(name: str, number: int) -> None:
    """Goes on where an earlier run of the same code was interrupted."""
    walks = WALKS[name]
    shard = Shard(name, number, SHARDS, EXTENDED, walks.extended)
    assert_held(shard, play_shard(shard, walks, default_folder()))


def assert_held(shard: Shard, progress: Progress) -> None:
    failed = [f"{replay_command(shard, seed)}: {what}" for seed, what in progress.failures]
    assert not failed, "\n".join(failed)
    assert progress.tally.walks == len(shard.seeds)
