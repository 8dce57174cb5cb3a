"""What a relay sent stands in its journal until a node answered it; an answer of another shape is no answer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dawan_node.cli.import_delivery import Patience
from dawan_node.cli.relay_sending import JournaledSending, journal_of
from dawan_node.relay.refusals import Reason, RelayRefused
from dawan_node.relay.target import Target
from dawan_node.rpc.client import TransactionKey
from dawan_node.testing.module_kit import private_key_of

GOOD = {"tx_id": "0x01", "receipt": {"height": 7, "code": 0, "reason": ""}}


class Answering:
    """A node whose verdicts are ``verdicts``."""

    def __init__(self, verdicts: Any) -> None:
        self.verdicts = verdicts
        self.sent: list[list[bytes]] = []

    def tx_submitMany(self, channel: str, envelopes: list[bytes], wait: str, wait_ms: int) -> Any:  # noqa: N802
        self.sent.append(list(envelopes))
        return self.verdicts


@pytest.mark.parametrize(
    "verdicts",
    [
        None,
        5,
        [],
        [GOOD, GOOD],
        [None],
        ["0x01"],
        [{"receipt": 3}],
        [{"receipt": {}}],
        [{"receipt": {"height": None, "code": 0, "reason": ""}}],
        [{"receipt": {"height": "0x7", "code": 0, "reason": ""}}],
        [{"receipt": {"height": -1, "code": 0, "reason": ""}}],
        [{"receipt": {"height": 7, "code": [], "reason": ""}}],
        [{"error": []}],
        [{"error": {"code": 1000}}],
        [{"error": {"code": "no", "message": "x", "data": {}}}],
        [{"error": {"code": 1000, "message": "x", "data": "y"}}],
    ],
    ids=repr,
)
def test_an_answer_of_another_shape_is_refused_and_the_bytes_are_sent_again(verdicts: Any, tmp_path: Path) -> None:
    node = Answering(verdicts)
    target = cast(Target, SimpleNamespace(client=node, channel="trade", chain_id=bytes(32)))
    key = cast(TransactionKey, private_key_of("relay"))
    with journal_of(target, key, "relay from x", tmp_path, None) as journal:
        sending = JournaledSending(target, key, journal, Patience(0))
        with pytest.raises(RelayRefused) as refused:
            sending.send_bodies([b"body"])
        assert refused.value.reason is Reason.BAD_ANSWER
    node.verdicts = [GOOD]
    with journal_of(target, key, "relay from x", tmp_path, None) as journal:
        assert JournaledSending(target, key, journal, Patience(0)).resume() == 0
        assert not journal.open_batches
    assert node.sent[0] == node.sent[1]
