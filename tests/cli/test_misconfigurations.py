"""Deliberate mistakes of operators, each answered with what is wrong, where it stands, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.main import cli
from dawan_node.crypto import authority, keystore
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.crypto.keystore import DEVNET
from dawan_node.crypto.trust import Trust
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import SystemClock
from dawan_node.node.consortium import public_key_bytes
from dawan_node.node.home import Home, read_certificate, unlock
from dawan_node.p2p.meeting import LocalIdentity
from dawan_node.p2p.network import Network
from dawan_node.p2p.peers import PeerAddress, Role
from tests.p2p.loopback import Recorder, until, views

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Devnet:
    return devnet_creation.create(tmp_path_factory.mktemp("made") / "net", 4)


@dataclass
class Lab:
    """A consortium of four homes; the operator of gz1 made a mistake, or hk1's did."""

    devnet: Devnet
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def node(self) -> DevnetNode:
        return self.devnet.find("gz1")

    @property
    def home(self) -> Home:
        return self.devnet.home(self.node)

    @property
    def passphrase(self) -> bytes:
        return self.devnet.passphrase_file.read_bytes().strip()

    def authority(self, org: str) -> CertifiedKey:
        home = self.devnet.home(self.devnet.find(f"{org}1"))
        secret = keystore.load(home.authority_key, self.passphrase).secret
        return CertifiedKey(read_certificate(home.authority_certificate), secret)

    def request(self, name: str = "gz1", org: str = "gz") -> bytes:
        """A request of this home's TLS key."""
        return authority.request_for(keystore.load(self.home.tls_key, self.passphrase).secret, org, name, [])

    def install(self, certificate: bytes) -> None:
        self.home.tls_certificate.write_text(to_pem([certificate]))

    def edit(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert text.count(old) >= 1, f"{old} is not in {path}"
        path.write_text(text.replace(old, new, 1))

    def run(self, *command: str) -> str:
        """The one line on standard error of a command that must fail."""
        done = CliRunner().invoke(cli, [*command, "--home", str(self.home.path)])
        assert done.exit_code in (1, 6), done.output
        return done.stderr.splitlines()[-1]

    def doctor(self, *options: str) -> str:
        """What ``doctor`` finds wrong, one finding after the other."""
        secret = ("--passphrase-file", str(self.devnet.passphrase_file))
        done = CliRunner().invoke(
            cli, ["doctor", "--home", str(self.home.path), "-o", "json", *secret, *(options or ("--offline",))]
        )
        assert done.exit_code == 6, done.output
        report = json.loads(done.stdout)
        assert not report["healthy"] and report["counts"]["fail"] > 0
        bad = [each for each in report["findings"] if each["verdict"] == "fail"]
        assert all(each["why"] and each["fix"] for each in bad)
        return "\n".join(f"{each['subject']}: {each['what']}: {each['why']}. {each['fix']}" for each in bad)


@contextmanager
def peer(
    devnet: Devnet,
    name: str,
    *,
    ahead_ms: int = 0,
    roots: Mapping[str, Sequence[bytes]] | None = None,
    network: str | None = None,
) -> Iterator[None]:
    """The links of another organisation's node, in a thread of its own."""
    node = devnet.find(name)
    home = devnet.home(node)
    file = consortium_file.load(home.consortium_file)
    keys = unlock(home, devnet.passphrase_file.read_bytes().strip())

    class Clock(SystemClock):
        def wall_ms(self) -> int:
            return super().wall_ms() + ahead_ms

    async def main() -> None:
        links = Network(
            LocalIdentity(network or file.network, name, node.org, Role.VALIDATOR, keys.node, keys.tls),
            [_entry(other.name, file) for other in file.nodes if other.name != name],
            Trust({**file.roots, **(roots or {})}),
            lambda certificate: (bytes(32),),
            node.p2p,
            Recorder(),
            Clock(),
        )
        await links.start()
        up.set()
        await stop.wait()
        await links.stop()

    up, stop = threading.Event(), asyncio.Event()
    runner = asyncio.Runner()
    loop = runner.get_loop()
    thread = threading.Thread(target=lambda: runner.run(main()))
    thread.start()
    try:
        assert up.wait(20), f"{name} listens"
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        runner.close()


def _entry(name: str, file: consortium_file.Consortium) -> PeerAddress:
    listed = file.node(name)
    assert listed is not None
    return PeerAddress(name, listed.org, public_key_bytes(listed.public_key), listed.addresses)


def dial_failure(lab: Lab, name: str) -> str:
    """Why gz1's own links say they cannot link to ``name``, once it is more than that it was not there yet."""
    file = consortium_file.load(lab.home.consortium_file)
    keys = unlock(lab.home, lab.passphrase)

    async def main() -> str:
        links = Network(
            LocalIdentity(file.network, "gz1", "gz", Role.VALIDATOR, keys.node, keys.tls),
            [_entry(name, file)],
            Trust(file.roots),
            lambda certificate: (bytes(32),),
            None,
            Recorder(),
            SystemClock(),
        )
        await links.start()
        await until(lambda: views(links)[name].last_failure, "a reason")
        reason = views(links)[name].last_failure
        await links.stop()
        return reason

    return asyncio.run(main())


@dataclass(frozen=True)
class Case:
    """``make`` the mistake, ``look`` as an operator would; the answer must name all of ``names`` and the ``fix``."""

    make: Callable[[Lab], object]
    look: Callable[[Lab], str]
    names: tuple[str, ...]
    fix: str


def hold(context: Callable[[Lab], AbstractContextManager[object]]) -> Callable[[Lab], object]:
    """A mistake that lasts as long as the test."""
    return lambda lab: lab.stack.enter_context(context(lab))


def verify(lab: Lab) -> str:
    return lab.run("network", "verify")


def offline(lab: Lab) -> str:
    return lab.doctor()


def online(lab: Lab) -> str:
    return lab.doctor("-o", "json")


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def another_node_key(lab: Lab) -> None:
    lab.home.node_key.unlink()
    keystore.create_signing_key(lab.home.node_key, "gz1", lab.passphrase, cost=DEVNET)


def expire(lab: Lab) -> None:
    lab.install(authority.issue_from_request(lab.authority("gz"), lab.request(), "gz", NOW - timedelta(days=30), 20))


CASES: dict[str, Case] = {
    "1 the own certificate has expired": Case(
        expire, offline, ("TLS certificate 'CN=gz1' (serial", "of gz", "expired on"), "dawan-node cert renew"
    ),
    "1 the same, asked before a start": Case(expire, verify, ("tls.pem", "'CN=gz1'", "expired on"), "cert renew"),
    "2 the certificate is of another organisation's CA": Case(
        lambda lab: lab.install(authority.issue_from_request(lab.authority("hk"), lab.request("gz1", "hk"), "hk", NOW)),
        offline,
        ("tls.pem", "it is of gz1 of hk", "gz1 of gz"),
        "cert renew",
    ),
    "2 the certificate is of a CA that nobody registered": Case(
        lambda lab: lab.install(
            authority.issue_from_request(authority.make_authority("gz", NOW), lab.request(), "gz", NOW)
        ),
        offline,
        ("tls.pem", "issued by 'CN=gz root CA'", "no organisation of this network has registered"),
        "the CA that consortium.toml lists for gz",
    ),
    "3 the certificate is for another node": Case(
        lambda lab: lab.install(authority.issue_from_request(lab.authority("gz"), lab.request("gz2"), "gz", NOW)),
        verify,
        ("tls.pem", "it is of gz2 of gz", "this node is gz1 of gz"),
        "cert renew",
    ),
    "4 the certificate is for another TLS key": Case(
        lambda lab: lab.install(
            authority.issue_node_certificate(lab.authority("gz"), "gz", "gz1", [], NOW).certificate
        ),
        offline,
        ("tls.pem", "tls.key.json", "another public key"),
        "cert renew",
    ),
    "5 the node key is not the one the consortium lists": Case(
        another_node_key, offline, ("key of node gz1", "consortium.toml", "there it is 0x"), "that key"
    ),
    "6 a genesis file is another one": Case(
        lambda lab: flip_last_byte(lab.home.genesis_file("trade")),
        verify,
        ("genesis/trade.bin", "channel trade", "chain id 0x"),
        "Ask the party that assembled",
    ),
    "7 a key of node.toml is misspelt": Case(
        lambda lab: lab.edit(lab.home.config_file, "\nlisten", "\nlisen"),
        offline,
        ("node.toml", "p2p.lisen", "listen"),
        "Correct or remove it",
    ),
    "8 a key of consortium.toml is misspelt": Case(
        lambda lab: lab.edit(lab.home.consortium_file, "founding =", "foundng ="),
        offline,
        ("consortium.toml", "foundng", "the nearest valid one is founding"),
        "Correct or remove it",
    ),
    "9 a key file is readable by others": Case(
        lambda lab: lab.home.tls_key.chmod(0o644), offline, ("tls.key.json", "644"), "chmod 0600"
    ),
    "10 JSON-RPC listens on all interfaces without TLS": Case(
        lambda lab: lab.edit(lab.home.config_file, lab.node.rpc, lab.node.rpc.replace("127.0.0.1", "0.0.0.0")),
        offline,
        ("node.toml", "rpc.listen = '0.0.0.0:", "without TLS"),
        "tls = true",
    ),
    "11 the port is in use": Case(
        hold(lambda lab: socket.create_server(("127.0.0.1", int(lab.node.p2p.rpartition(":")[2])))),
        offline,
        ("[p2p] listen", "127.0.0.1:", "in use"),
        "choose another under [p2p] listen in node.toml",
    ),
    "11 nobody listens on the advertised address": Case(
        lambda lab: lab.edit(lab.home.config_file, "[p2p]\n", '[p2p]\nadvertise = ["127.0.0.1:1"]\n'),
        online,
        ("advertise: 127.0.0.1:1 does not lead to this node", "refused"),
        "Correct [p2p] listen or advertise in node.toml",
    ),
    "12 the clock is two hours off": Case(
        hold(lambda lab: peer(lab.devnet, "hk1", ahead_ms=7_200_000)),
        online,
        ("hk1: its clock is 2.0 h ahead of this one",),
        "timedatectl",
    ),
    "13 the write-ahead log is gone": Case(
        lambda lab: shutil.rmtree(lab.home.wal),
        offline,
        ("no write-ahead log", "data/wal", "only observes"),
        "make a new key in a new home (init)",
    ),
    "14 a peer lists another CA for this organisation": Case(
        hold(
            lambda lab: peer(
                lab.devnet, "hk1", roots={"gz": [authority.make_authority("gz", NOW).certificate]}
            )
        ),
        online,
        ("hk1 (127.0.0.1:", "it refuses this node", "TLS certificate 'gz1' (serial", 'issued by "gz root CA"'),
        "Renew below the registered CA: `cert renew`; not admitted yet or suspended: await the vote",
    ),
    "15 the network has another name here": Case(
        lambda lab: lab.edit(lab.home.consortium_file, 'network = "dawan-devnet"', 'network = "dawan-devnot"'),
        verify,
        ("genesis/trade.bin", "is not the genesis of channel trade"),
        "Ask the party that assembled",
    ),
    "15 a peer is of another network": Case(
        hold(lambda lab: peer(lab.devnet, "hk1", network="dawan-other")),
        lambda lab: dial_failure(lab, "hk1"),
        ("dawan-other", "dawan-devnet"),
        "consortium.toml",
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", CASES)
def test_a_mistake_is_answered_with_its_place_and_its_remedy(title: str, made_once: Devnet, tmp_path: Path) -> None:
    shutil.copytree(made_once.folder, tmp_path / "net")
    case, lab = CASES[title], Lab(Devnet(tmp_path / "net", made_once.nodes))
    with lab.stack:
        case.make(lab)
        said = case.look(lab)
    for part in (*case.names, case.fix):
        assert part in said, said
    assert "Traceback" not in said and lab.passphrase.decode() not in said
