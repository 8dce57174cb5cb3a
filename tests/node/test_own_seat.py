"""What this home's key is on a channel, and who voted at a height, as the chain's state says."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from dawan_node.node.ledger import Ledger
from dawan_node.node.own_seat import OwnSeat, SeatState, own_seat
from dawan_node.node.rekey_steps import rekey_steps
from dawan_node.testing.module_kit import ModuleKit, private_key_of, seat_args


@pytest.fixture
def kit() -> ModuleKit:
    return ModuleKit([], {})


def change(kit: ModuleKit, by: str, command: str, args: dict[str, Any]) -> None:
    assert kit.run(by, command, args).code == 0
    for org in ("gz", "hk", "mo"):
        assert kit.run(f"{org}-admin", "vote", {"proposal": args["id"], "approve": True}).code == 0
    assert kit.run("gz-admin", "enact", {"proposal": args["id"]}).code == 0


def seat_of(kit: ModuleKit, name: str, key: str, *, signs: bool = True) -> OwnSeat:
    return own_seat(kit.executor, kit.state, name, private_key_of(key).public_key, signs=signs)


def test_a_key_votes_waits_is_replaced_or_removed_and_each_is_said(kit: ModuleKit) -> None:
    old, new = "validator gz1", "new gz1"
    assert seat_of(kit, "gz1", old) == OwnSeat(SeatState.VOTES)
    assert seat_of(kit, "gz1", new).state is SeatState.WAITS
    assert seat_of(kit, "gz8", new) == OwnSeat(SeatState.NONE)
    change(kit, "gz-admin", "propose_validator_key", seat_args(kit.genesis, "key", "gz1", private_key_of(new)))
    replaced = seat_of(kit, "gz1", old)
    assert replaced.state is SeatState.REPLACED and f"at height {kit.height}" in replaced.text
    assert seat_of(kit, "gz1", new) == OwnSeat(SeatState.VOTES)
    change(kit, "hk-admin", "propose_validator_removal", {"id": "bye", "validator": "gz1"})
    assert seat_of(kit, "gz1", new).state is SeatState.REMOVED
    assert seat_of(kit, "gz1", old).state is SeatState.REPLACED, "for good"


def test_a_key_in_force_without_its_log_is_told_the_way_back(kit: ModuleKit) -> None:
    silent = seat_of(kit, "gz1", "validator gz1", signs=False)
    assert silent.state is SeatState.SILENT and "network validator-request" in silent.text
    assert seat_of(kit, "gz1", "new gz1", signs=False).state is SeatState.WAITS


def test_it_is_said_in_the_log_with_its_channel(kit: ModuleKit, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        seat_of(kit, "gz1", "validator gz1", signs=False).report("trade")
    (record,) = caplog.records
    assert (record.message, record.levelno) == ("own_key_silent", logging.CRITICAL)


def test_who_voted_at_a_height_is_told_from_todays_state_however_old_the_height(kit: ModuleKit) -> None:
    kit.run("gz-admin", "tick")
    change(kit, "gz-admin", "propose_validator_key", seat_args(kit.genesis, "a", "gz1", private_key_of("second")))
    change(kit, "gz-admin", "propose_validator_key", seat_args(kit.genesis, "b", "gz1", private_key_of("third")))
    kit.run("gz-admin", "tick")
    headers = {block.header.height: block.header for block in kit.blocks}

    class Latest:
        def __enter__(self) -> Any:
            return kit.state

        def __exit__(self, *_: object) -> None: ...

    store = SimpleNamespace(blocks=SimpleNamespace(header=headers.get), state=SimpleNamespace(latest=Latest))
    ledger: Any = Ledger.__new__(Ledger)
    ledger._channel = SimpleNamespace(executor=kit.executor, store=store)
    for height in range(len(headers) + 1):
        keys = {name: key for name, _, _, key in ledger.entries_at(height)}
        epoch = headers[height].epoch if height else 0
        assert keys["gz1"] == private_key_of(["validator gz1", "second", "third"][epoch]).public_key, height
        assert len(keys) == 4


def test_the_steps_after_a_lost_log_name_every_channel_once(tmp_path: Any) -> None:
    steps = rekey_steps(tmp_path / "dawan", "gz1", "gz", ["trade", "alliance"])
    assert [step.split()[1:3] for step in steps] == [
        ["init", "--home"],
        ["network", "validator-request"],
        ["network", "replace-validator"],
        ["network", "vote"],
        ["network", "enact"],
        ["network", "vote"],
        ["network", "enact"],
        ["run", "--home"],
    ]
    assert any("-c alliance" in step for step in steps) and "-c CHANNEL" in rekey_steps(tmp_path, "a", "b")[3]
