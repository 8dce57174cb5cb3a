"""docs/cross-channel.md lists what the module has, no more and no less, and its example is what happens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.execution.context import SIGNATURE_STEPS
from dawan_node.modules.light_client import module
from dawan_node.modules.light_client.declaration import ReservationState
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.genesis import DEFAULT_PARAMS
from dawan_node.primitives.light_client import Statement
from dawan_node.relay.carrier import BATCH
from dawan_node.relay.follower import RETRY_S
from dawan_node.relay.refusals import Reason
from dawan_node.relay.target import PAGE as TARGET_PAGE
from tests.modules.channels_kit import Channels

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cross-channel.md").read_text(encoding="utf-8")


def rows_below(header: str) -> list[list[str]]:
    rows = PAGE.split(header)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_page_lists_every_command_with_its_roles() -> None:
    named = {}
    for names, roles, _ in rows_below("| Command | Role | Effect |"):
        for name in re.findall(r"`(\w+)`", names):
            named[name] = () if roles == "anyone" else tuple(roles.split(", "))
    assert named == {name: command.roles for name, command in module.commands.items()}


def test_the_page_lists_every_query_export_reason_and_state() -> None:
    assert set(re.findall(r"`(\w+)`", PAGE.split("Queries:")[1].split("\n")[0])) == set(module.queries)
    exports = {name for row in rows_below("| Export | Effect |") for name in re.findall(r"`(\w+)`", row[0])}
    assert exports == set(module.exports)
    reasons = {row[0].strip("`"): row[1] for row in rows_below("| Reason | Meaning |")}
    assert reasons == dict(module.errors)
    states = {row[1].strip("`") for row in rows_below("| What is proven there |")}
    assert states == set(get_args(ReservationState)) - {"RESERVED"}


def test_the_page_lists_every_code_of_the_relay() -> None:
    assert {row[0].strip("`") for row in rows_below("| Code | Cause |")} == {reason.value for reason in Reason}
    assert f"after {int(RETRY_S) // 3600} hour" in PAGE.replace("an hour", "1 hour")
    assert f"a hundred at a time, which is all it holds in memory; {BATCH} proofs" in PAGE and TARGET_PAGE == 100


def test_the_figures_on_the_page_are_the_codes() -> None:
    assert PARAMETERS["proof.min_life"].first == 10 * 60_000
    assert "`proof.min_life` (10 min)" in PAGE
    assert PARAMETERS["lock.ttl"].first == 72 * 3_600_000
    assert "`lock.ttl`, 72 h" in PAGE
    assert f"costs {SIGNATURE_STEPS} steps of the transaction's {DEFAULT_PARAMS['tx_steps_max']:,}" in PAGE


@pytest.mark.parametrize("value", [b"v", None])
def test_a_statement_is_named_as_the_page_says(value: bytes | None) -> None:
    tag = re.search(r'Hash\("([^"]+)", enc\(\[chain id, module, collection, key, \[value\] or\n\[\]\]\)\)', PAGE)
    assert tag is not None
    said = Statement(bytes(32), 7, 8, "m", "c", b"k", value)
    fields = [bytes(32), "m", "c", b"k", [] if value is None else [value]]
    assert said.id == tagged_hash(tag[1].encode(), encode(fields))


def test_the_example_runs_as_it_says() -> None:
    two = Channels()
    title = two.title()
    two.desk.credit(number="LC-1", documents=[{"kind": "EBL"}])

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        if isinstance(value, str) and value.startswith("<"):
            kind, _, name = value.strip("<>").partition(" ")
            return two.reservation_proof(name) if kind == "reservation" else two.commitment_proof(name)
        return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("0x") else value

    story = PAGE.split("## Example")[1].split("```")[1]
    lines = re.findall(r"^(logistics|trade) (\S+) (\w+)\.(\w+) (\{.*\})$", story, re.M)
    assert len(lines) == 6
    for channel, person, where, command, args in lines:
        place = two.logistics if channel == "logistics" else two.trade
        assert json.loads(args).get("shipment_date", two.desk.today) <= two.desk.today
        place.ok(person, where, command, **filled(json.loads(args)))
    assert two.sea.control(title) == ("ISSUED", "bank-hk", "bank-hk")
