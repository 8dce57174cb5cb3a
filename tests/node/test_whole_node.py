"""A whole node as it is put together: what it remembers for channels it does not serve, and who may sign."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.consensus import Evidence, EvidenceKind
from dawan_node.crypto import keystore
from dawan_node.crypto.authority import issue_node_certificate, renew
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.node import config as node_config
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import DevnetClock, SystemClock
from dawan_node.node.halt_report import read_halt
from dawan_node.node.home import Home, read_certificate, unlock
from dawan_node.node.node import Node
from dawan_node.node.service import EVIDENCE_BYTES_MAX
from dawan_node.node.verification import verify_home, verify_start
from dawan_node.rpc.api import ApiError
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.leveldb import WRITE_BUFFER_BYTES, WRITE_BUFFERS_BYTES
from dawan_node.storage.wal import Wal, WalRecord


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    return devnet_creation.create(tmp_path_factory.mktemp("whole") / "net", 1)


def look_into(devnet: Devnet, of: DevnetNode, look: Callable[[Node], None], clock: SystemClock | None = None) -> None:
    """Build the node as the daemon does, look, and close it again."""
    home = devnet.home(of)

    async def main() -> None:
        config = node_config.load(home.config_file)
        keys = unlock(home, devnet.passphrase_file.read_bytes().strip())
        node = Node(config, home, keys, consortium_file.load(home.consortium_file), clock or SystemClock())
        try:
            look(node)
        finally:
            await node._verifier.close()
            node._close_storage()

    asyncio.run(main())


def test_records_of_a_channel_that_is_not_served_now_outlive_a_new_segment(devnet: Devnet) -> None:
    """Amendment U7: a channel may come back, and the key must not have forgotten what it signed there."""
    node = devnet.nodes[0]
    foreign = WalRecord(bytes(range(32)), 3, b"what was signed on a channel of last year")
    wal = Wal.open(devnet.home(node).wal)
    wal.append([foreign])
    wal.sync()
    wal.close()

    def look(running: Node) -> None:
        assert running._log_writer is not None
        checkpoint = [record for channel in running._log_writer._checkpoints for record in channel()]
        assert foreign in checkpoint

    look_into(devnet, node, look)


def test_an_observers_key_can_vote_as_soon_as_governance_adds_it(devnet: Devnet) -> None:
    """The validators of genesis are not those of today: whoever is added must find its signer there."""
    observer: DevnetNode = devnet.nodes[-1]

    def look(running: Node) -> None:
        for channel in running.channels.values():
            replica = channel.driver.replica
            assert replica.own_index is None
            assert replica._state.signer is not None

    look_into(devnet, observer, look)


def test_a_channel_folder_is_left_closed(devnet: Devnet, tmp_path: Path) -> None:
    for _ in range(2):
        look_into(devnet, devnet.nodes[0], lambda running: None)


def test_no_two_databases_fill_their_write_buffers_in_the_same_second(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All validators write the same; where they merged at the same time, no quorum would be left that does not."""
    opened, sizes = ChannelStore.open, []

    def opens(*args: Any, buffer_bytes: int, **named: Any) -> ChannelStore:
        sizes.append(buffer_bytes)
        return opened(*args, buffer_bytes=buffer_bytes, **named)

    monkeypatch.setattr(ChannelStore, "open", opens)
    for node in devnet.nodes:
        look_into(devnet, node, lambda running: None)
    assert len(set(sizes)) == len(sizes) > len(devnet.nodes)
    assert min(sizes) >= WRITE_BUFFER_BYTES * 85 // 100 and max(sizes) <= WRITE_BUFFERS_BYTES


def test_the_clock_can_be_moved_only_where_it_is_a_test_networks(devnet: Devnet, tmp_path: Path) -> None:
    actions: list[set[str]] = []

    def look(running: Node) -> None:
        actions.append(set(running._ops._actions.admin))

    look_into(devnet, devnet.nodes[0], look)
    look_into(devnet, devnet.nodes[0], look, DevnetClock(tmp_path / "devnet.clock"))
    assert ["clock" in found for found in actions] == [False, True]


@pytest.mark.parametrize("argument", [{"ahead_ms": "1"}, {"ahead_ms": True}, {"ahead_ms": 1.5}, {"ahead_ms": 10**18}])
def test_a_clock_told_nonsense_stays_as_it_is(devnet: Devnet, tmp_path: Path, argument: dict[str, Any]) -> None:
    clock = DevnetClock(tmp_path / "devnet.clock")

    def look(running: Node) -> None:
        with pytest.raises(ApiError) as refused:
            running._move_clock(argument).send(None)
        assert refused.value.path == "ahead_ms"

    look_into(devnet, devnet.nodes[0], look, clock)
    assert clock.ahead_ms == 0


def test_a_node_whose_certificate_has_expired_may_start_and_one_with_a_wrong_one_may_not(
    devnet: Devnet, tmp_path: Path
) -> None:
    """Nobody's forgotten renewal keeps a node from starting again; what was never right does."""
    home = Home(tmp_path / "home")
    shutil.copytree(devnet.home(devnet.nodes[0]).path, home.path)
    node = node_config.load(home.config_file).node
    file = consortium_file.load(home.consortium_file)
    secret = keystore.load(home.authority_key, devnet.passphrase_file.read_bytes().strip()).secret
    ca = CertifiedKey(read_certificate(home.authority_certificate), secret)
    now = datetime.now(UTC)

    def verdicts(org: str, at: datetime, name: str = node.name) -> tuple[int, int]:
        """Reasons against the node, before and at its start."""
        own = read_certificate(home.tls_certificate)
        made = (
            issue_node_certificate(ca, org, name, [], now).certificate
            if name != node.name
            else renew(ca, own, org, now, 20)
        )
        home.tls_certificate.write_text(to_pem([made]))
        return len(verify_home(home, node, file, at)), len(verify_start(home, node, file, at))

    assert verdicts("gz", now) == (0, 0)
    assert verdicts("gz", now + timedelta(days=21)) == (1, 0)
    every_ca = len(file.roots)
    assert verdicts("gz", now + timedelta(days=365 * 21)) == (1 + every_ca, 0)
    assert verdicts("gz", now, "gz9") == (1, 1)


def test_a_halt_is_written_beside_the_log_and_shown_with_all_evidence(devnet: Devnet) -> None:
    of = devnet.nodes[0]
    home = devnet.home(of)

    def look(running: Node) -> None:
        channel = running.channels["trade"]
        key = channel.validators.public_keys[0]
        lie = Evidence(EvidenceKind.INVALID_NEW_VIEW, 0, 0, key, bytes(EVIDENCE_BYTES_MAX), b"", b"")
        double = Evidence(EvidenceKind.TWO_RESULTS, 0, 0, key, b"first", b"second", b"")
        stranger = Evidence(EvidenceKind.TWO_RESULTS, 0, 0, bytes(32), b"first", b"second", b"")
        for each in (double, lie, stranger):
            channel.accused(each)
        channel.driver.replica._state.stop_for_own_key(b"a statement of mine")
        channel.do_duties()
        channel.do_duties()
        shown = running.service.evidence("trade")
        assert [(e.kind, e.validator, e.first, e.second, e.on_chain) for e in shown.evidence] == [
            ("two_results", channel.validator_name(0), b"first", b"second", None),
            ("invalid_new_view", channel.validator_name(0), None, b"", None),
            ("two_results", "0x" + bytes(32).hex(), b"first", b"second", None),
        ]
        assert shown.halted is not None and shown.halted.first == b"a statement of mine"
        assert "log/halt-trade.json" in running.service.pbft("trade").waiting_for

    look_into(devnet, of, look)
    found = read_halt(home.halt_file("trade"))
    assert (found["node"], found["first"]) == (of.name, "0x" + b"a statement of mine".hex())
    home.halt_file("trade").unlink()
