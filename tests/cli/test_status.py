"""``status``: who is missing is named, and the exit code is 6 exactly when the channel cannot commit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dawan_node.cli.health import STALL_MS, examine
from dawan_node.rpc.api import CertificateWarning, DiskInfo
from tests.cli.node_in_reach import CommandLine, command_line


@pytest.fixture
def dawan(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path) as line:
        yield line


def test_a_healthy_node_fits_on_one_screen(dawan: CommandLine) -> None:
    shown = dawan("status")
    assert shown.exit_code == 0
    assert "gz1 (gz) of network devnet, up 12 s, 3 peers" in shown.stdout
    row = next(line for line in shown.stdout.splitlines() if line.startswith("trade"))
    assert row.split() == ["trade", "1", "normal", "0", "gz1", "120", "ms", "ago", "4", "(f=1,", "q=3)", "-"]
    assert "!" not in shown.stdout


def test_a_node_without_quorum_names_the_missing_and_exits_six(dawan: CommandLine) -> None:
    dawan.server.node.unhealthy = True
    shown = dawan("status")
    assert shown.exit_code == 6
    assert "no quorum: 2 of 4 validators are linked, 3 are needed; missing: hq1, mo1" in shown.stdout
    assert "height 2 is stuck in phase prepare; no vote from hq1, mo1" in shown.stdout
    assert "asked for by gz1, hk1" in shown.stdout
    assert "missing: hq1, mo1" in shown.stderr


def test_json_is_complete_in_health_and_in_trouble(dawan: CommandLine) -> None:
    report = dawan.json("status", "-o", "json")
    assert report["healthy"]
    assert report["channels"][0]["missing"] == []
    assert report["channels"][0]["pbft"]["waiting_for"] == ""
    dawan.server.node.unhealthy = True
    done = dawan("status", "-o", "json")
    assert (done.exit_code, '"healthy": false' in done.stdout) == (6, True)
    assert '"hq1"' in done.stdout


def test_a_node_that_is_not_there_is_exit_code_three(dawan: CommandLine) -> None:
    dawan.environment["DAWAN_RPC"] = "http://127.0.0.1:1"
    done = dawan("status")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith("error: no node answers")


def test_a_certificate_near_its_end_is_a_line_with_its_remedy_and_no_reason_to_call_the_node_ill(
    dawan: CommandLine,
) -> None:
    assert dawan.json("status", "-o", "json")["certificates"] == []
    warning = CertificateWarning("mo", "30 days", 1_800_000_000_000, "TLS certificate 'CN=mo1' expires soon", "Renew.")
    dawan.server.node.certificates = (warning,)
    shown = dawan("status")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == " ! TLS certificate 'CN=mo1' expires soon. Renew."
    assert dawan.json("status", "-o", "json")["certificates"] == [
        {
            "org": "mo",
            "level": "30 days",
            "not_after": "2027-01-15T08:00:00.000Z",
            "text": "TLS certificate 'CN=mo1' expires soon",
            "fix": "Renew.",
        }
    ]


def test_room_on_the_disk_is_shown_beside_what_the_node_stops_at(dawan: CommandLine) -> None:
    assert "disk: 50.0 GiB free (stops below 64 MiB, 64 MiB in reserve)" in dawan("status").stdout
    dawan.server.node.disk = DiskInfo(900 << 20, 64 << 20, 32 << 20)
    shown = dawan("status")
    assert shown.exit_code == 0, "it goes on"
    assert "disk: 900 MiB free (stops below 64 MiB, 32 MiB in reserve)" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith(" ! the disk is nearly full.")
    disk = dawan.json("status", "-o", "json")["disk"]
    assert disk == {"free_bytes": 900 << 20, "floor_bytes": 64 << 20, "reserve_bytes": 32 << 20}


def test_a_database_that_is_fetched_anew_is_said_with_the_height_below_which_it_does_not_vote(
    dawan: CommandLine,
) -> None:
    assert "healing" not in dawan.json("status", "-o", "json")["channels"][0]
    dawan.server.node.healing_to = 4_000
    shown = dawan("status")
    assert shown.exit_code == 0
    says = "its database was lost or damaged and comes back from the peers, at 1 of 4000 or more"
    assert f" ! trade: healing: {says}; it does not vote before that" in shown.stdout
    assert dawan.json("status", "-o", "json")["channels"][0]["healing"] == {"to": 4_000}


INFO = {"validators": ["gz1", "hk1", "hq1", "mo1"], "n": 4, "f": 1, "quorum": 3}
PBFT: dict[str, Any] = {"in_flight": [], "suspects": [], "waiting_for": ""}


def findings(
    node: str = "gz1",
    *,
    links: tuple[str, ...] = ("hk1", "hq1", "mo1"),
    state: str = "normal",
    age_ms: int | None = 100,
    sync: dict[str, Any] | None = None,
    **pbft: Any,
) -> list[tuple[bool, str]]:
    peers = [{"name": name, "channels": ["trade"]} for name in links]
    row = {"channel": "trade", "state": state, "height": 7, "last_commit_age_ms": age_ms, "sync": sync}
    return [(found.grave, found.text) for found in examine(node, row, INFO, {**PBFT, **pbft}, peers).findings]


def test_an_idle_channel_is_healthy_however_old_its_last_block_is() -> None:
    assert findings(age_ms=10**9) == []
    assert findings(age_ms=None) == []


def test_one_validator_down_is_worth_knowing_but_not_grave() -> None:
    assert findings(links=("hk1", "hq1")) == [(False, "no link to mo1; none more may fail before commits stop")]


def test_a_link_without_the_channel_does_not_count() -> None:
    row = {"channel": "trade", "state": "normal", "last_commit_age_ms": 1}
    peers = [{"name": name, "channels": ["logistics"]} for name in ("hk1", "hq1", "mo1")]
    health = examine("gz1", row, INFO, PBFT, peers)
    assert health.missing == ("hk1", "hq1", "mo1")
    assert health.findings[0].grave


def test_an_observer_is_not_blamed_for_the_links_it_does_not_need() -> None:
    assert findings("member7", links=("hk1",), state="observer") == []


def test_work_that_waits_too_long_is_grave_and_names_the_absent() -> None:
    slot = {"height": 9, "phase": "commit", "have": ["gz1", "hk1"], "missing": ["hq1", "mo1"]}
    assert findings(in_flight=[slot], age_ms=STALL_MS) == []
    assert findings(in_flight=[slot], age_ms=STALL_MS + 1) == [
        (True, "height 9 is stuck in phase commit; no vote from hq1, mo1")
    ]


@pytest.mark.parametrize("state", ["halted", "quarantine"])
def test_a_node_that_stopped_voting_says_why(state: str) -> None:
    ((grave, text),) = findings(state=state, waiting_for="an operator: E_SPLIT")
    assert grave
    assert "an operator: E_SPLIT" in text


def test_catching_up_is_said_and_not_grave() -> None:
    assert findings(state="syncing", waiting_for="blocks up to height 90") == [
        (False, "catching up: it waits for blocks up to height 90")
    ]


@pytest.mark.parametrize("command", ["tx", "query", "status", "doctor"])
def test_help_loads_no_server_library(command: str) -> None:
    heavy = "{'aiohttp', 'asyncio', 'msgspec', 'nacl', 'cryptography'}"
    code = f"import sys, dawan_node.cli.{command}; print(sorted({heavy} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_who_catches_up_says_how_far_it_is_and_how_long_it_takes() -> None:
    sync = {"target": 100, "verified": 7, "blocks_per_s": 0, "eta_s": None}
    assert findings(state="syncing", sync=sync) == [
        (False, "catching up: at 7 of 100; it is not known yet how long that takes")
    ]
    sync |= {"verified": 80, "blocks_per_s": 31, "eta_s": 3}
    assert findings(state="syncing", sync=sync) == [
        (False, "catching up: at 7 of 100, headers proven up to 80, 31 blocks/s, about 3 s left")
    ]
