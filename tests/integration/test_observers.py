"""Organisations without a validator run observers: they follow, verify, serve, and pass on what their clients send."""

from __future__ import annotations

from pathlib import Path

import pytest
from network_kit import CHANNEL, running

pytestmark = pytest.mark.processes


def test_observers_follow_one_validator_and_pass_on_transactions(tmp_path: Path) -> None:
    with running(tmp_path, 1) as network:
        validator, observer = network.nodes[0], network.nodes[2]
        assert network.ask(observer, "pbft_status", CHANNEL)["state"] == "observer"
        answer = network.commit(observer)
        assert answer["status"] == "committed"
        network.agree()
        assert network.ask(observer, "tx_receipt", CHANNEL, answer["tx_id"]) == network.ask(
            validator, "tx_receipt", CHANNEL, answer["tx_id"]
        )
        network.processes.kill(observer)
        for _ in range(70):
            network.commit()
        network.processes.start(observer)
        network.wait_answering(observer)
        network.agree()
