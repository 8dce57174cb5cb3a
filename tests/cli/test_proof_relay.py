"""``proof relay`` against nodes on loopback ports with two real channels behind them: how it ends, and whom it asks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from dawan_node.cli import import_delivery, proof_relay, proof_send, refdata, relay_sending, trade_import
from dawan_node.rpc.client import READ_TIMEOUT_S
from dawan_node.rpc.server_tls import ServerTls
from dawan_node.testing.module_kit import private_key_of
from tests.cli.node_in_reach import CommandLine
from tests.cli.tls_homes import TlsHomes
from tests.modules.channels_kit import SHIPPERS, TRADERS, Channels, rekey
from tests.relay.channels_node import ChannelsNode, Silence
from tests.rpc.harness import Running, running

#: A signal is heard at once; this machine may have other things to do. Far below any time-out of client or server.
PROMPT_S = READ_TIMEOUT_S / 4


def node_of(two: Channels, *channels: str) -> ChannelsNode:
    """A node that has these channels, both without any named."""
    every = {"logistics": (two.logistics, SHIPPERS), "trade": (two.trade, TRADERS)}
    return ChannelsNode({name: every[name] for name in channels or every})


def presented(two: Channels) -> str:
    """A reservation that a presentation committed to, which the titles' channel does not know yet."""
    title, credit = two.title(), two.desk.credit()
    reservation = two.reserve(title, credit)
    two.present(credit, proof=two.reservation_proof(reservation))
    return reservation


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Channels:
    """The channels, and a relay whose clock is theirs."""
    made = Channels()
    monkeypatch.setattr(relay_sending, "time", SimpleNamespace(time_ns=lambda: made.now * 1_000_000))
    return made


@dataclass
class Relay:
    """The command, at a node in reach that has both channels."""

    line: CommandLine
    node: ChannelsNode
    options: list[str]

    def __call__(self, *more: str) -> Result:
        arguments = ["proof", "relay", "--from", "trade", "--to", "logistics", "--interval", "3600"]
        return self.line(*arguments, *self.options, *more)

    def journal(self) -> bytes:
        """The last entry of the journal."""
        (file,) = (self.line.folder / "relay").glob("*.journal")
        return file.read_bytes().splitlines()[-1]

    @property
    def executed(self) -> list[str]:
        """Commands that the titles' channel executed since."""
        return self.node.inner["logistics"].commands


def relay_to(server: Running, folder: Path) -> Relay:
    line = CommandLine(server, folder, {"DAWAN_RPC": server.url, "DAWAN_HOME": str(folder), "DAWAN_CHANNEL": ""})
    assert isinstance(server.node, ChannelsNode)
    return Relay(line, server.node, line.make_key("relay", private_key_of("relay")))


@pytest.fixture
def relay(two: Channels, tmp_path: Path) -> Iterator[Relay]:
    with running(node=node_of(two)) as server:
        yield relay_to(server, tmp_path)


def test_one_reservation_and_all_that_wait_are_carried_and_nothing_twice(two: Channels, relay: Relay) -> None:
    reservation = presented(two)
    once = relay("--once", reservation)
    assert (once.exit_code, f"{reservation}: CONFIRMED" in once.stdout) == (0, True), once.output
    assert relay("--sweep").exit_code == 0
    assert relay.executed == ["settle_title"]


def test_patience_and_journal_are_the_same_options_wherever_something_is_sent_again() -> None:
    commands = [proof_relay.relay, proof_send.send, trade_import.import_ubl, refdata.load]
    options = [{each.name: each.to_info_dict() for each in command.params} for command in commands]
    patience = [each["patience"] for each in options]
    assert all(each == patience[0] for each in patience) and patience[0]["default"] == 60
    journals = [each["journal"] for each in options if "journal" in each]
    assert len(journals) == 3 and all(each == journals[0] for each in journals)


# -- how it ends ------------------------------------------------------------------------------------------------------


@dataclass
class Interruption:
    """A signal that is sent to this process once, and when."""

    which: int
    heard: list[int] = field(default_factory=list)
    at: float = 0.0

    def __call__(self) -> None:
        self.at = time.monotonic()
        os.kill(os.getpid(), self.which)

    def ended(self, done: Result) -> None:
        """The command ended because of it, promptly and well."""
        assert (done.exit_code, done.stderr.splitlines()[-1:]) == (0, ["stopped; started again it goes on"]), (
            done.output
        )
        assert self.at and time.monotonic() - self.at < PROMPT_S
        assert not self.heard, "it listens from beginning to end"


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def interruption(request: pytest.FixtureRequest) -> Iterator[Interruption]:
    """What the command does not listen to is noted, instead of ending this process."""
    made = Interruption(request.param)
    before = signal.signal(made.which, lambda number, frame: made.heard.append(number))
    try:
        yield made
    finally:
        signal.signal(made.which, before)


@contextmanager
def unanswered(server: Running, method: str, act: Callable[[], None]) -> Iterator[None]:
    """The node does not answer ``method``; ``act`` happens while somebody waits for it."""
    assert isinstance(server.node, ChannelsNode)
    silence = server.node.hooks[method] = Silence(act)
    try:
        yield
    finally:
        del server.node.hooks[method]
        server.call_on_loop(silence.end)


@pytest.mark.parametrize("method", ["members", "head", "query", "state"])
def test_a_signal_ends_it_while_a_node_does_not_answer_a_question(
    two: Channels, relay: Relay, interruption: Interruption, method: str
) -> None:
    reservation = presented(two)
    with unanswered(relay.line.server, method, interruption):
        interruption.ended(relay())
    assert relay.executed == []
    assert f"{reservation}: CONFIRMED" in relay("--sweep").stdout


def test_a_signal_ends_it_while_what_it_sent_is_not_answered_and_the_same_bytes_are_sent_again(
    two: Channels, relay: Relay, interruption: Interruption
) -> None:
    reservation = presented(two)
    with unanswered(relay.line.server, "submit", interruption):
        interruption.ended(relay())
    assert len(relay.node.submitted) == 1 and b'"open":["' in relay.journal(), "it stands in the journal"
    done = relay("--sweep")
    assert (done.exit_code, two.reservation(reservation).state) == (0, "CONFIRMED"), done.output
    assert relay.node.submitted[1:] == relay.node.submitted[:1], "and nothing else was signed"
    assert b'"open":[]' in relay.journal() and relay.executed == ["settle_title"]


def test_a_signal_ends_it_while_it_has_patience_with_a_full_node(
    two: Channels, relay: Relay, interruption: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:
    presented(two)
    titles = relay.node.inner["logistics"]
    for pause in ("PAUSE_S", "PAUSE_MAX_S"):
        monkeypatch.setattr(import_delivery, pause, 2 * PROMPT_S)

    async def answered() -> None:
        # Behind the answer, on which a pause follows; before it, it would do as well.
        asyncio.get_running_loop().call_later(0.1, interruption)

    relay.node.hooks["submit"] = answered
    for _ in ("while it follows", "before it has begun to: what the first one left is handed in first"):
        titles.full_for = 1_000
        interruption.ended(relay("--patience", "40"))
        assert b'"open":["' in relay.journal()
    titles.full_for = 0
    relay.node.hooks.clear()
    assert relay("--sweep").exit_code == 0
    assert len(set(relay.node.submitted)) == 1 and relay.executed == ["settle_title"]


@pytest.mark.parametrize("silent", ["--rpc", "--from-rpc"])
def test_a_signal_ends_it_before_any_node_said_a_word(relay: Relay, interruption: Interruption, silent: str) -> None:
    closed = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            interruption()
            while connection.recv(65_536):
                continue
            closed.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        interruption.ended(relay(silent, f"http://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join(PROMPT_S)
    assert closed.is_set()


# -- whom it asks -----------------------------------------------------------------------------------------------------


@dataclass
class Apart:
    """The titles' channel on one node and the other one on another."""

    titles: Running
    trade: Running
    relay: Relay

    @property
    def submitted(self) -> list[list[bytes]]:
        return [server.node.submitted for server in (self.titles, self.trade)]


@contextmanager
def apart(
    two: Channels, folder: Path, titles: ServerTls | None = None, trade: ServerTls | None = None
) -> Iterator[Apart]:
    with (
        running(node=node_of(two, "logistics"), tls=titles) as first,
        running(node=node_of(two, "trade"), tls=trade) as second,
    ):
        yield Apart(first, second, relay_to(first, folder))


def test_each_channel_may_be_on_a_node_of_its_own(two: Channels, tmp_path: Path) -> None:
    with apart(two, tmp_path) as nodes:
        reservation = presented(two)
        alone = nodes.relay("--once", reservation)
        assert (alone.exit_code, "E_NO_CHANNEL" in alone.stderr) == (1, True), alone.output
        done = nodes.relay("--once", reservation, "--from-rpc", nodes.trade.url)
        assert (done.exit_code, f"{reservation}: CONFIRMED" in done.stdout) == (0, True), done.output
        swept = nodes.relay("--sweep", "--from-rpc", nodes.trade.url)
        assert (swept.exit_code, swept.stdout) == (0, ""), "nothing is left"
        assert [len(submitted) for submitted in nodes.submitted] == [1, 0], "the source is only read"


def test_an_epoch_that_ended_is_fetched_from_the_other_node(two: Channels, tmp_path: Path) -> None:
    with apart(two, tmp_path) as nodes:
        reservation = presented(two)
        rekey(two.trade)
        two.trade.tick()
        done = nodes.relay("--sweep", "--from-rpc", nodes.trade.url)
        assert (done.exit_code, f"{reservation}: CONFIRMED" in done.stdout) == (0, True), done.output
        assert nodes.relay.executed == ["advance_client", "settle_title"]
        assert two.client(two.logistics, "trade").epoch == 1


def test_a_node_of_another_network_is_found_out_before_anything_is_sent(two: Channels, tmp_path: Path) -> None:
    reservation, stranger = presented(two), Channels(one=True)
    with apart(two, tmp_path) as nodes, running(node=node_of(stranger, "trade")) as other:
        done = nodes.relay("--once", reservation, "--from-rpc", other.url)
        assert (done.exit_code, "E_OTHER_CHAIN" in done.stderr) == (1, True), done.output
        assert nodes.submitted == [[], []] and other.node.submitted == []


def test_of_two_nodes_the_one_that_does_not_answer_is_named(two: Channels, tmp_path: Path) -> None:
    reservation = presented(two)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with apart(two, tmp_path) as nodes:
        for options in (("--from-rpc", nobody), ("--rpc", nobody, "--from-rpc", nodes.trade.url)):
            done = nodes.relay("--once", reservation, *options)
            assert (done.exit_code, nobody in done.stderr) == (3, True), done.output
        assert nodes.submitted == [[], []]


# -- over TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def homes(tmp_path: Path) -> TlsHomes:
    return TlsHomes.begin(tmp_path)


def at_home(relay: Relay, home: Path) -> Relay:
    """The same relay from another home, whose certificate it presents."""
    line = CommandLine(
        relay.line.server, home, relay.line.environment | {"DAWAN_HOME": str(home), "DAWAN_RPC_NODE": ""}
    )
    return Relay(line, relay.node, line.make_key("relay", private_key_of("relay")))


@pytest.mark.parametrize("secured", ["both", "titles", "trade"])
def test_either_node_may_be_reached_over_tls(two: Channels, homes: TlsHomes, secured: str) -> None:
    reservation = presented(two)
    tls = {
        each: homes.server("gz", homes.certificate("gz", name)) if secured in (each, "both") else None
        for each, name in (("titles", "gz1"), ("trade", "gz2"))
    }
    with apart(two, homes.folder, **tls) as nodes:
        relay = at_home(nodes.relay, homes.make("gz", "erp"))
        done = relay("--once", reservation, "--from-rpc", nodes.trade.url)
        assert (done.exit_code, f"{reservation}: CONFIRMED" in done.stdout) == (0, True), done.output
        assert [len(submitted) for submitted in nodes.submitted] == [1, 0]


def test_one_node_over_tls_answers_for_both_channels_of_a_member(two: Channels, homes: TlsHomes) -> None:
    reservation = presented(two)
    with running(node=node_of(two), tls=homes.server("gz", homes.certificate("gz", "gz1"))) as server:
        relay = at_home(relay_to(server, homes.folder), homes.make("hk", "erp"))
        unnamed = relay("--once", reservation)
        assert (unnamed.exit_code, "the server is gz1.gz, not a node of hk" in unnamed.stderr) == (3, True)
        done = relay("--once", reservation, "--rpc-node", "gz1.gz")
        assert (done.exit_code, f"{reservation}: CONFIRMED" in done.stdout) == (0, True), done.output


def test_the_node_of_another_organisation_that_proves_is_named_by_an_option_of_its_own(
    two: Channels, homes: TlsHomes
) -> None:
    reservation = presented(two)
    titles = homes.server("gz", homes.certificate("gz", "gz1"))
    trade = homes.server("hk", homes.certificate("hk", "hk1"))
    with apart(two, homes.folder, titles, trade) as nodes:
        relay = at_home(nodes.relay, homes.make("gz", "erp"))
        once = ("--once", reservation, "--from-rpc", nodes.trade.url)
        for more, server, meant in (
            ((), nodes.trade, "the server is hk1.hk, not a node of gz"),
            (("--rpc-node", "hk"), nodes.titles, "the server is gz1.gz, not a node of hk"),
            (("--from-rpc-node", "hk2.hk"), nodes.trade, "the server is hk1.hk, not hk2.hk"),
        ):
            done = relay(*once, *more)
            assert (done.exit_code, f"no connection to {server.url}: {meant}" in done.stderr) == (3, True), done.output
        assert nodes.submitted == [[], []], "nothing goes to a node that is not the one meant"
        done = relay(*once, "--from-rpc-node", "hk1.hk")
        assert (done.exit_code, f"{reservation}: CONFIRMED" in done.stdout) == (0, True), done.output


def test_a_signal_ends_it_while_a_node_behind_tls_does_not_answer(
    two: Channels, homes: TlsHomes, interruption: Interruption
) -> None:
    presented(two)
    with running(node=node_of(two), tls=homes.server("gz", homes.certificate("gz", "gz1"))) as server:
        relay = at_home(relay_to(server, homes.folder), homes.make("gz", "erp"))
        with unanswered(server, "submit", interruption):
            interruption.ended(relay())
        assert b'"open":["' in relay.journal()
