"""A node that cannot start says in one line what is wrong, why and what to do next, and leaves everything as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from network_kit import CHANNEL, until

from dawan_node.cli import devnet_creation
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.cli.devnet_processes import Processes
from dawan_node.node.home import Home
from dawan_node.rpc.client import Client, Unreachable

pytestmark = pytest.mark.processes

PATIENCE_S = 20.0


@dataclass
class Case:
    """A network of one node that does not run yet."""

    devnet: Devnet

    @property
    def node(self) -> DevnetNode:
        return self.devnet.nodes[0]

    @property
    def home(self) -> Home:
        return self.devnet.home(self.node)

    def start(
        self, passphrase_file: Path | None = None, home: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a node that ends by itself."""
        command = [sys.executable, "-m", "dawan_node", "run", "--home", str(home or self.home.path)]
        command += ["--passphrase-file", str(passphrase_file or self.devnet.passphrase_file)]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=os.environ | environment,
            check=False,
        )

    def run(self, *, passphrase_file: Path | None = None, home: Path | None = None, **environment: str) -> str:
        """Start the node, which must refuse at once: its one line on standard error."""
        before = picture(self.devnet.folder)
        done = self.start(passphrase_file, home, **environment)
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("error: ") and ": " in lines[0] and " Next: " in lines[0], lines[0]
        assert "Traceback" not in lines[0] and self.passphrase not in lines[0]
        assert picture(self.devnet.folder) == before, "a refusal writes nothing"
        return lines[0]

    @property
    def passphrase(self) -> str:
        return self.devnet.passphrase_file.read_text().strip()


def picture(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file and folder with its mode and content, but for lock files and what a running node logs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".lock" or path.parent.name == "log":
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (path.stat().st_mode, content)
    return found


def case_of(folder: Path) -> Case:
    return Case(devnet_creation.create(folder / "net", 1))


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return case_of(tmp_path_factory.mktemp("made"))


@pytest.fixture
def case(made_once: Case, tmp_path: Path) -> Case:
    """A network of its own for each test; the ports are the same, and the tests come one after the other."""
    shutil.copytree(made_once.devnet.folder, tmp_path / "net")
    return Case(Devnet(tmp_path / "net", made_once.devnet.nodes))


@pytest.mark.parametrize(
    ("listener", "says"),
    [("p2p", "[p2p] listen"), ("rpc", "[rpc] listen"), ("ops", "[ops] listen")],
)
def test_a_busy_port_is_named_with_the_setting_that_moves_it(case: Case, listener: str, says: str) -> None:
    address: str = getattr(case.node, listener)
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port))):
        line = case.run()
    assert address in line and says in line and "in use" in line


MISSING: dict[str, Callable[[Home], Path]] = {
    "node key": lambda home: home.node_key,
    "TLS key": lambda home: home.tls_key,
    "TLS certificate": lambda home: home.tls_certificate,
    "consortium.toml": lambda home: home.consortium_file,
    "genesis": lambda home: home.genesis_file(CHANNEL),
    "node.toml": lambda home: home.config_file,
}


@pytest.mark.parametrize("what", MISSING)
def test_a_missing_file_is_named(case: Case, what: str) -> None:
    path = MISSING[what](case.home)
    path.unlink()
    assert path.name in case.run()


def test_a_home_that_was_never_made_is_no_home(case: Case, tmp_path: Path) -> None:
    line = case.run(home=tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in line and "init" in line


def test_a_wrong_passphrase_is_refused_and_not_repeated(case: Case, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("correct horse battery staple\n")
    line = case.run(passphrase_file=wrong)
    assert "passphrase" in line and "node.key.json" in line
    assert "horse" not in line


def test_a_missing_passphrase_file_is_named(case: Case, tmp_path: Path) -> None:
    assert "no-such-file" in case.run(passphrase_file=tmp_path / "no-such-file")


@pytest.mark.parametrize("what", ["node key", "TLS key"])
def test_a_key_that_others_can_read_is_refused(case: Case, what: str) -> None:
    path = MISSING[what](case.home)
    path.chmod(0o644)
    line = case.run()
    assert str(path) in line and "chmod 0600" in line


def test_a_passphrase_that_others_can_read_is_refused(case: Case) -> None:
    case.devnet.passphrase_file.chmod(0o640)
    line = case.run()
    assert str(case.devnet.passphrase_file) in line and "600" in line


def test_an_unknown_key_in_node_toml_is_named_with_the_nearest_valid_one(case: Case) -> None:
    path = case.home.config_file
    path.write_text(path.read_text().replace("\nlisten", "\nlisen", 1))
    line = case.run()
    assert "lisen" in line and str(path) in line and "listen" in line.replace("lisen", "")


def test_an_unknown_environment_variable_is_named_with_the_nearest_valid_one(case: Case) -> None:
    line = case.run(DAWAN_RPC__LISEN="127.0.0.1:1")
    assert "DAWAN_RPC__LISEN" in line and "DAWAN_RPC__LISTEN" in line


def test_a_value_of_the_wrong_kind_is_named(case: Case) -> None:
    assert "history" in case.run(DAWAN_STORAGE__HISTORY="plenty")


def test_a_changed_genesis_file_is_refused(case: Case) -> None:
    path = case.home.genesis_file(CHANNEL)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    line = case.run()
    assert str(path) in line and "genesis" in line


def test_a_changed_consortium_file_no_longer_fits_the_genesis(case: Case) -> None:
    path = case.home.consortium_file
    text = path.read_text()
    assert text.count("network = ") == 1
    path.write_text(text.replace('network = "', 'network = "x', 1))
    assert "genesis" in case.run()


def test_a_database_that_lost_a_file_is_refused_before_anything_is_touched(case: Case) -> None:
    database = case.home.database(CHANNEL)
    database.mkdir(parents=True)
    database.with_name("db.INITIALISED").write_bytes(b"dawan-node database\n")
    (database / "CURRENT").write_text("MANIFEST-000004\n")
    before = sorted(case.home.data.rglob("*"))
    line = case.run()
    assert "MANIFEST-000004" in line and "mv " in line
    written_by_every_start = {case.home.data / "node.lock"}
    assert set(case.home.data.rglob("*")) - set(before) <= written_by_every_start


# With a node that runs


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, made_once: Case) -> Iterator[Case]:
    """On ports that the networks made for single tests do not use: it runs while they start."""
    with ExitStack() as taken:
        for node in made_once.devnet.nodes:
            for address in (node.p2p, node.rpc, node.ops):
                host, _, port = address.rpartition(":")
                taken.enter_context(socket.create_server((host, int(port))))
        case = case_of(tmp_path_factory.mktemp("refusals"))
    processes = Processes(case.devnet)
    processes.start(case.node)
    try:
        wait_answering(case)
        yield case
    finally:
        processes.stop(case.devnet.nodes)


def wait_answering(case: Case) -> None:
    def look() -> bool:
        try:
            with Client(case.node.rpc_url, timeout_s=2.0) as client:
                client.call("node_status", [])
        except Unreachable:
            return False
        return True

    until(look, PATIENCE_S, "an answer")


@pytest.mark.parametrize("has_ports_of_its_own", [False, True])
def test_a_second_daemon_on_one_home_is_refused_and_the_first_goes_on(
    running: Case, has_ports_of_its_own: bool
) -> None:
    """Two nodes on one key would vote twice."""
    names = ("DAWAN_P2P__LISTEN", "DAWAN_RPC__LISTEN", "DAWAN_OPS__LISTEN")
    line = running.run(**{name: free_address() for name in names if has_ports_of_its_own})
    assert "already in use" in line and str(running.home.data) in line
    with Client(running.node.rpc_url, timeout_s=2.0) as client:
        assert CHANNEL in client.call("channel_list", [])


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("lost", ["wal", "data"])
def test_a_node_without_its_log_only_observes_and_says_so(case: Case, lost: str) -> None:
    """A key whose log is lost may have signed what nobody remembers (design section 6)."""
    shutil.rmtree(case.home.wal if lost == "wal" else case.home.data)
    processes = Processes(case.devnet)
    processes.start(case.node)
    try:
        wait_answering(case)
        with Client(case.node.rpc_url, timeout_s=2.0) as client:
            assert client.call("pbft_status", [CHANNEL])["state"] == "observer"
        said = processes.log_file(case.node).read_text()
        (line,) = [line for line in said.splitlines() if " signing_disabled " in line]
        assert "critical" in line and "next=" in line and "why=" in line
        assert not case.home.wal.exists(), "a running node never makes a log"
    finally:
        processes.stop(case.devnet.nodes)


def test_a_node_that_is_told_to_stop_ends_at_once_and_in_order(case: Case) -> None:
    processes = Processes(case.devnet)
    processes.start(case.node)
    wait_answering(case)
    began = time.monotonic()
    processes.stop(case.devnet.nodes)
    assert time.monotonic() - began < 5.0
    assert processes.exit_code(case.node) == 0
    assert "node_stopped" in processes.last_words(case.node)
