"""The README's transcripts of several machines: a network is formed, and a company joins it while it runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import ROOT, Machine, machines, namespaces_allowed
from network_kit import until
from transcript import Step, play, read_transcripts

from dawan_node.testing.module_kit import key_of_person

pytestmark = [pytest.mark.processes, pytest.mark.slow]

FOUNDERS = ("gz1", "hk1", "mo1", "hq1")
NEWCOMER = "gdlog1"
KEY = key_of_person("clerk of the newcomer")
#: The limits that the README promises: commands of a founder, what the convenor does beside, and a newcomer's.
FOUNDER_COMMANDS, CONVENOR_MORE, NEWCOMER_COMMANDS = 4, 2, 6


# Without a namespace each the machines share loopback: the same commands, and twice the time for one claim.
@pytest.fixture(params=["namespaces", pytest.param("loopback", marks=pytest.mark.extended)])
def parties(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Machine]]:
    """A machine for each party, with a network of its own where root allows."""
    isolated = request.param == "namespaces" and namespaces_allowed()
    with machines(tmp_path, (*FOUNDERS, NEWCOMER), namespaces=isolated) as made:
        yield made
    if request.param == "namespaces" and not isolated:
        pytest.skip("PASSED ON LOOPBACK; NOT RUN in network namespaces: they need root and `ip` (iproute2)")


def linked(machine: Machine) -> list[str]:
    return [peer["name"] for peer in rpc(machine, "net_peers")]


def rpc(machine: Machine, method: str, *params: object) -> Any:
    return json.loads(machine.succeed("query", "rpc", method, json.dumps(list(params))))


def secrets_in(machine: Machine) -> set[bytes]:
    """The content of every key file in its home."""
    return {path.read_bytes() for path in (machine.folder / "dawan" / "keys").rglob("*.key.json")}


def everything_in(machine: Machine) -> set[bytes]:
    return {path.read_bytes() for path in machine.folder.rglob("*") if path.is_file()}


def test_a_network_is_formed_and_a_company_joins_it_as_the_readme_says(parties: dict[str, Machine]) -> None:
    forming, joining = read_transcripts(ROOT / "README.md")
    counted = Counter(step.machine for step in forming if isinstance(step, Step))
    assert counted == {"gz1": FOUNDER_COMMANDS + CONVENOR_MORE, **dict.fromkeys(FOUNDERS[1:], FOUNDER_COMMANDS)}
    play(forming, parties)
    answers = [rpc(parties[name], "channel_get", "trade") for name in FOUNDERS]
    assert len({answer["chain_id"] for answer in answers}) == 1
    until(lambda: {rpc(parties[name], "chain_head", "trade")["height"] for name in FOUNDERS} == {1}, 30.0, "one block")

    newcomer, founder = parties[NEWCOMER], parties["gz1"]
    counted = Counter(step.machine for step in joining if isinstance(step, Step))
    assert 0 < counted[NEWCOMER] <= NEWCOMER_COMMANDS
    play(joining, parties)
    until(lambda: rpc(newcomer, "chain_head", "trade") == rpc(founder, "chain_head", "trade"), 30.0, "the same head")
    for name, machine in parties.items():
        assert len(secrets_in(machine)) == 4, "node, TLS, CA and administrator"
        for other, another in parties.items():
            assert other == name or not secrets_in(machine) & everything_in(another), f"{other} has a key of {name}"

    # What it may do now, and what it may not any more once the founders suspend it.
    enrolment = {"name": "gdlog-clerk", "roles": ["supplier"], "suite": "ed25519", "public_key": "0x" + KEY.hex()}
    newcomer.succeed("tx", "send", "governance", "enrol", "--args", json.dumps(enrolment), "--key", "gdlog-admin")
    suspension = {"id": "suspend-gdlog", "org": "gdlog", "status": "suspended"}
    founder.succeed(
        "tx", "send", "governance", "propose_org_status", "--args", json.dumps(suspension), "--key", "gz-admin"
    )
    for name in FOUNDERS[:3]:
        parties[name].succeed("network", "vote", "suspend-gdlog", "--approve", "--key", f"{name[:2]}-admin")
    founder.succeed("network", "enact", "suspend-gdlog", "--key", "gz-admin")
    for name in FOUNDERS:
        until(lambda name=name: NEWCOMER not in linked(parties[name]), 60.0, f"{name} cuts the link")  # type: ignore[misc]
    refused = newcomer.dawan("tx", "send", "governance", "tick", "--key", "gdlog-admin", "--timeout", "1")
    assert refused.returncode in (4, 5), refused.stdout + refused.stderr
    assert "gdlog" not in rpc(founder, "channel_get", "trade")["orgs"]
    founder.succeed("tx", "send", "governance", "tick", "--key", "gz-admin")
