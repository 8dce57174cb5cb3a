"""Titles on one channel, money on the other, proofs carried between them by the commands, on four real validators.

Nothing here looks into a node: what one channel knows of the other came there as a proof.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from network_kit import Network, running, until

from dawan_node.cli.demo_titles import BANK, RELAY, SELLER, SHIPPER, TitleStory
from dawan_node.cli.devnet_channels import LOGISTICS, TRADE, introduce
from dawan_node.cli.main import cli
from dawan_node.crypto.keystore import DEVNET, create_signing_key
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.client import Client

pytestmark = [pytest.mark.processes, pytest.mark.slow]

#: A whole program must start, beside whatever else the machine does.
PATIENCE_S = 120.0


class Bridge:
    """A network of two channels, its people, and the commands."""

    def __init__(self, network: Network, client: Client, home: Path) -> None:
        self.network = network
        self.client = client
        self.home = home
        self.story = TitleStory(client, network.keys)
        self.chain_id = client.channel_get(LOGISTICS)["chain_id"][2:]
        self._numbers = iter(range(1, 1_000))

    def options(self, key: str = RELAY) -> list[str]:
        """Who signs, by name or by file, at the first node."""
        devnet = self.network.devnet
        named = [devnet.home(node).identity_key(key) for node in devnet.nodes] if "/" not in key else []
        file = next((path for path in named if path.exists()), Path(key))
        url = devnet.nodes[0].rpc_url
        secret = str(devnet.passphrase_file)
        return ["--key", str(file), "--rpc", url, "--home", str(self.home), "--passphrase-file", secret]

    def relay(self, *more: str, key: str = RELAY, source: str = TRADE, target: str = LOGISTICS) -> Result:
        arguments = ["proof", "relay", "--from", source, "--to", target, *self.options(key), *more]
        return CliRunner().invoke(cli, arguments)

    def send(self, person: str, module: str, command: str, args: dict[str, Any], *more: str, **way: str) -> Result:
        """A command with proofs in it; to the channel of titles from the other one unless ``way`` turns it round."""
        source, target = way.get("source", TRADE), way.get("target", LOGISTICS)
        options = ["--from", source, "--channel", target, *self.options(person), *more]
        return CliRunner().invoke(cli, ["proof", "send", module, command, "--args", json.dumps(args), *options])

    def commitment(self, reservation: str) -> str:
        return f"@proof light_client commitment {self.chain_id}/{reservation}"

    def settle(self, reservation: str, proof: str, *more: str) -> Result:
        return self.send(RELAY, "title", "settle_title", {"reservation": reservation, "proof": proof}, *more)

    def height(self, channel: str) -> int:
        height: int = self.client.chain_head(channel)["height"]
        return height

    def reserved(self) -> tuple[int, str, str]:
        """A title that is reserved for a loan nobody asked for yet: number, title, reservation."""
        number = next(self._numbers)
        title = self.story.bill(number)
        return number, title, self.story.reserve(number, title)

    def committed(self) -> tuple[int, str, str]:
        """A title that a loan relies on: number, the invoice, the reservation."""
        number, _, reservation = self.reserved()
        invoice = self.story.invoice(number)
        key = f"0x{reservation.encode().hex()}"
        found = self.client.state_get(LOGISTICS, "light_client", "reservation", key, "latest", True)
        self.story.apply(number, bytes.fromhex(found["proof"][2:]))
        return number, invoice, reservation

    def settlements(self) -> Counter[tuple[str, str, int]]:
        """How often each reservation was settled on chain, from every block: (reservation, proof, code)."""
        found: Counter[tuple[str, str, int]] = Counter()
        for at in range(1, self.height(LOGISTICS) + 1):
            for row in self.client.chain_getBlock(LOGISTICS, at, True)["txs"]:
                body = Transaction.decode(bytes.fromhex(row["tx"][2:])).body
                if body.command == "settle_title":
                    receipt = self.client.tx_receipt(LOGISTICS, row["tx_id"])
                    found[body.args["reservation"], body.args["proof"].hex(), receipt["code"]] += 1
        return found


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    folder = tmp_path_factory.mktemp("bridge")
    with running(folder, 4, two_channels=True) as network, Client(network.nodes[0].rpc_url) as client:
        assert sorted(introduce(client, network.keys)) == [LOGISTICS, TRADE]
        assert introduce(client, network.keys) == [], "once"
        made = Bridge(network, client, folder)
        made.story.enrol_carrier()
        yield made


def test_a_loan_on_one_channel_locks_the_title_on_the_other_until_it_is_repaid(bridge: Bridge) -> None:
    story = bridge.story
    number, title, reservation = bridge.reserved()
    invoice = story.invoice(number)
    early = bridge.relay("--once", reservation)
    assert (early.exit_code, "E_NOTHING_YET" in early.stderr) == (1, True), early.output
    before = bridge.height(TRADE)

    proof = f"@proof light_client reservation {reservation}"
    application = story.application(number) | {"title_proof": proof}
    application |= {name: _money(application[name]) for name in ("total", "principal")}
    way = {"source": LOGISTICS, "target": TRADE}
    applied = bridge.send(SELLER, "receivable", "apply_invoice_financing", application, **way)
    assert applied.exit_code == 0, applied.output
    # The same reservation for another loan, whatever height it is proven at.
    other = application | {"number": f"G-{number}"}
    twice = bridge.send(SELLER, "receivable", "apply_invoice_financing", other, **way)
    assert (twice.exit_code, "E_PROOF_USED" in twice.stderr) == (4, True), twice.output

    story.fund(number, f"{SELLER}/F-{number}")
    bound = bridge.relay("--once", reservation)
    assert (bound.exit_code, f"{reservation}: CONFIRMED" in bound.stdout) == (0, True), bound.output
    story.refuse_transfer(title)
    again = bridge.relay("--once", reservation)
    assert (again.exit_code, "CONFIRMED already" in again.stdout) == (0, True), again.output

    # Replayed; of another title; of a height before anybody committed. The chain refuses each, and the relay the last.
    replayed = bridge.settle(reservation, bridge.commitment(reservation))
    assert (replayed.exit_code, "E_PROOF_USED" in replayed.stderr) == (4, True), replayed.output
    wrong = bridge.settle(reservation, bridge.commitment(f"{SHIPPER}/R-999"), "--absent")
    assert (wrong.exit_code, "E_PROOF_SUBJECT" in wrong.stderr) == (4, True), wrong.output
    older = bridge.settle(reservation, bridge.commitment(reservation), "--absent", "--at", str(before))
    assert (older.exit_code, "E_RESERVATION_STATE" in older.stderr) == (4, True), older.output
    older = bridge.relay("--once", reservation, "--at", str(before))
    assert (older.exit_code, "E_RECORD_OLD" in older.stderr) == (1, True), older.output
    assert story.reservation_state(reservation) == "CONFIRMED"

    story.repay(number, invoice)
    freed = bridge.relay("--once", reservation, "-o", "json")
    assert json.loads(freed.stdout)["state"] == "RELEASED", freed.output
    story.send(LOGISTICS, SHIPPER, "title", "transfer_title", {"title": title, "to": BANK})


def _money(amount: Sequence[Any]) -> dict[str, str]:
    return {"currency": amount[0], "amount": f"{amount[1] // 100}.{amount[1] % 100:02d}"}


def test_every_bad_case_has_its_code_and_changes_nothing(bridge: Bridge, tmp_path: Path) -> None:
    _, _, reservation = bridge.reserved()
    stranger = tmp_path / "stranger.key.json"
    secret = bridge.network.devnet.passphrase_file.read_bytes().strip()
    create_signing_key(stranger, "stranger", secret, cost=DEVNET)
    heights = bridge.height(LOGISTICS), bridge.height(TRADE)
    once = ("--once", reservation)
    for done, reason, code in (
        (bridge.relay(*once, source="nowhere"), "E_NO_CHANNEL", 1),
        (bridge.relay(*once, target="nowhere"), "E_NO_CHANNEL", 1),
        (bridge.relay(*once, source=LOGISTICS, target=TRADE), "E_NO_MODULE", 1),
        (bridge.relay("--sweep", source="alliance"), "E_UNKNOWN_CLIENT", 1),
        (bridge.relay(*once, source="alliance"), "E_OTHER_CHAIN", 1),
        (bridge.relay("--once", f"{SHIPPER}/R-998"), "E_NO_RECORD", 1),
        (bridge.relay(*once, "--at", "1000000"), "E_NO_HEIGHT", 1),
        (bridge.relay(*once, key=str(stranger)), "E_KEY_NOT_ALLOWED", 1),
        (bridge.relay(*once, "--sweep"), "Usage", 2),
        (bridge.settle(reservation, bridge.commitment(reservation)), "E_NO_RECORD", 1),
        (bridge.settle(reservation, "0x00"), "Usage", 2),
        (bridge.settle(reservation, "@proof title"), "names no record", 2),
        (bridge.settle(reservation, "@proof nothing here at-all"), "E_NO_MODULE", 1),
    ):
        assert (done.exit_code, reason in done.stderr) == (code, True), (reason, done.output)
        assert len([line for line in done.stderr.splitlines() if line.lower().startswith("error")]) == 1
    assert (bridge.height(LOGISTICS), bridge.height(TRADE)) == heights


@contextmanager
def following(bridge: Bridge, log: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A relay in a process of its own, that has begun."""
    command = [sys.executable, "-m", "dawan_node", "proof", "relay", "--from", TRADE, "--to", LOGISTICS]
    with log.open("ab") as output:
        child = subprocess.Popen([*command, *bridge.options(), "--interval", "1", *more], stdout=output, stderr=output)
    try:
        until(lambda: child.poll() is not None or b"carrying" in log.read_bytes(), PATIENCE_S, "the relay's start")
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def signal_half(bridge: Bridge, which: signal.Signals) -> None:
    for node in bridge.network.nodes[2:]:
        pid = bridge.network.processes.pid(node)
        assert pid is not None
        os.kill(pid, which)


@contextmanager
def held(bridge: Bridge) -> Iterator[None]:
    """No quorum meanwhile: what is sent waits."""
    signal_half(bridge, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_half(bridge, signal.SIGCONT)


def journal_of(bridge: Bridge) -> Path:
    return next(iter((bridge.home / "relay").glob("logistics-relay-from-trade-*.journal")))


def is_under_way(bridge: Bridge) -> bool:
    """Whether the journal ends with transactions that were handed over."""
    last = journal_of(bridge).read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[2]
    return b'"open":["' in last


def is_in_use(bridge: Bridge) -> bool:
    """Whether somebody has the journal open."""
    # Read, not tried: a lock taken to find out would be in the way of who comes for it.
    inode = Path(f"{journal_of(bridge)}.lock").stat().st_ino
    locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any(part.endswith(f":{inode}") for line in locks for part in line.split())


def test_a_relay_killed_while_its_proofs_wait_goes_on_and_does_nothing_twice(bridge: Bridge, tmp_path: Path) -> None:
    log = tmp_path / "relay.log"
    with following(bridge, log) as first:
        # It stands still until all three wait for it, and then finds no quorum.
        first.send_signal(signal.SIGSTOP)
        made = [bridge.committed() for _ in range(3)]
        names = [reservation for _, _, reservation in made]
        with held(bridge):
            first.send_signal(signal.SIGCONT)
            until(lambda: first.poll() is not None or is_under_way(bridge), PATIENCE_S, "transactions under way")
            assert first.poll() is None, log.read_text()
            first.kill()
            first.wait()
            # Its successor begins while what it sent is still on the way.
            with ThreadPoolExecutor(1) as thread:
                successor = thread.submit(bridge.relay, "--sweep")
                until(lambda: successor.done() or is_in_use(bridge), PATIENCE_S, "the successor's start")
                signal_half(bridge, signal.SIGCONT)
                done = successor.result(PATIENCE_S)
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    assert {bridge.story.reservation_state(name) for name in names} == {"CONFIRMED"}
    log.write_bytes(b"")
    with following(bridge, log) as second:
        # What comes while it runs is carried as it comes.
        number, invoice, reservation = made[0]
        bridge.story.fund(number, f"{SELLER}/F-{number}")
        bridge.story.repay(number, invoice)
        until(lambda: bridge.story.reservation_state(reservation) == "RELEASED", PATIENCE_S, "the title free again")
        second.send_signal(signal.SIGTERM)
        assert second.wait(PATIENCE_S) == 0, log.read_text()
    settled = bridge.settlements()
    per_name = Counter(name for (name, _, code) in settled for _ in range(settled[name, _, code]) if name in names)
    assert per_name == {names[0]: 2, names[1]: 1, names[2]: 1}
    assert {code for (name, _, code) in settled if name in names} == {0}, "nothing was tried in vain"
    assert not is_under_way(bridge)


def test_a_command_that_got_no_answer_is_the_same_transaction_when_it_is_run_again(bridge: Bridge) -> None:
    _, _, reservation = bridge.committed()
    with held(bridge):
        lost = bridge.settle(reservation, bridge.commitment(reservation), "--patience", "1")
    assert (lost.exit_code, "Run the same command again" in lost.stderr) == (5, True), lost.output
    found = bridge.settle(reservation, bridge.commitment(reservation), "-o", "json")
    assert found.exit_code == 0, found.output
    settled = bridge.settlements()
    assert [code for (name, _, code), count in settled.items() for _ in range(count) if name == reservation] == [0]


def test_a_sweep_settles_what_waits_and_ends(bridge: Bridge) -> None:
    _, _, reservation = bridge.committed()
    done = bridge.relay("--sweep")
    assert (done.exit_code, f"{reservation}: CONFIRMED" in done.stdout) == (0, True), done.output
    assert bridge.relay("--sweep").stdout == ""


@pytest.mark.extended
def test_killed_at_any_moment_it_ends_the_same(bridge: Bridge, tmp_path: Path) -> None:
    chance = random.Random(7)
    names: list[str] = []
    log = tmp_path / "relay.log"
    for _ in range(12):
        names += [bridge.committed()[2] for _ in range(2)]
        log.write_bytes(b"")
        with following(bridge, log) as child:
            threading.Event().wait(chance.uniform(0.0, 1.0))
            child.kill()
    done = bridge.relay("--sweep")
    assert done.exit_code == 0, (done.output, log.read_text())
    assert {bridge.story.reservation_state(name) for name in names} == {"CONFIRMED"}
    settled = bridge.settlements()
    assert {name: sum(settled[key] for key in settled if key[0] == name) for name in names} == dict.fromkeys(names, 1)
