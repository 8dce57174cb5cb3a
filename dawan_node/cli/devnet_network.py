"""A network on one machine, made of nothing but what production uses.

``create`` plays every party in turn: ``init`` and ``network join-request`` in its own home, then ``network assemble``
with all requests, and ``network verify --from`` by each. What differs from production is that one person does it all,
that key protection is cheap, and that the nodes accept commands that cut their links.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

import dawan_node
from dawan_node.crypto.keystore import DEVNET, load_signing_key
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node import assembly, consortium, join_request
from dawan_node.node.config import NodeSection
from dawan_node.node.consortium import Document, Node
from dawan_node.node.home import Home
from dawan_node.node.installation import check_folder, install
from dawan_node.node.requesting import make_request
from dawan_node.node.setup import Plan, initialise

#: Enough to show every quorum of the protocol's table that a laptop can run.
NODES_MAX: Final = 22
#: Below Linux's range for outgoing connections, so that no dialling node sits on the port of one that is restarting.
PORTS: Final = range(20_000, 32_000)
TEMPLATE: Final = "consortium.devnet.toml"
STATE_FILE: Final = "devnet.json"


@dataclass(frozen=True, slots=True)
class DevnetNode:
    """One node of the network and where it listens."""

    name: str
    org: str
    p2p: str
    rpc: str
    ops: str

    @property
    def rpc_url(self) -> str:
        """JSON-RPC."""
        return f"http://{self.rpc}"

    @property
    def ops_url(self) -> str:
        """Health, metrics, fault injection."""
        return f"http://{self.ops}"


@dataclass(frozen=True, slots=True)
class Devnet:
    """A network that was created in ``folder``."""

    folder: Path
    nodes: tuple[DevnetNode, ...]

    @property
    def passphrase_file(self) -> Path:
        """One passphrase for all keys of the test network."""
        return self.folder / "passphrase"

    @property
    def environment_file(self) -> Path:
        """Shell variables with the URLs, and the path to this program; the examples of the README source it."""
        return self.folder / "env"

    def home(self, node: DevnetNode) -> Home:
        """The node's folder."""
        return Home(self.folder / node.name)

    def find(self, text: str) -> DevnetNode:
        """A node by name or by its number from 0. Raises OperatorError."""
        for number, node in enumerate(self.nodes):
            if text in (node.name, str(number)):
                return node
        names = ", ".join(f"{number} = {node.name}" for number, node in enumerate(self.nodes))
        raise OperatorError(f"there is no node {text!r}", f"the nodes are {names}", "Name one of them.")

    def identity_keys(self) -> dict[str, PrivateKey]:
        """The key of every identity, unlocked: what the demo signs with."""
        passphrase = self.passphrase_file.read_bytes().strip()
        keys: dict[str, PrivateKey] = {}
        for node in self.nodes:
            home = self.home(node)
            for path in sorted(home.keys.glob("*.key.json")):
                name = path.name.removesuffix(".key.json")
                if name not in ("node", "tls"):
                    keys[name] = load_signing_key(path, passphrase)
        return keys

    def save(self) -> None:
        """Write the state file and the environment file."""
        state = {"nodes": [asdict(node) for node in self.nodes]}
        (self.folder / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        # So that the commands on `devnet up`'s screen work as printed, wherever the virtual environment is.
        lines = [f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"]
        lines.append(f"export DAWAN_RPC={self.nodes[0].rpc_url}")
        for node in self.nodes:
            lines.append(f"export {node.name.upper().replace('-', '_')}_RPC={node.rpc_url}")
            lines.append(f"export {node.name.upper().replace('-', '_')}_OPS={node.ops_url}")
        self.environment_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(folder: Path) -> Devnet:
    """The network that was created in ``folder``. Raises OperatorError when there is none."""
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        return Devnet(folder, tuple(DevnetNode(**node) for node in state["nodes"]))
    except FileNotFoundError:
        raise OperatorError(
            f"there is no test network in {folder}", f"{STATE_FILE} is missing", "Start one: dawan-node devnet up."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(
            f"{folder / STATE_FILE} cannot be used", str(error), "Remove the folder and run `dawan-node devnet up`."
        ) from None


def exists(folder: Path) -> bool:
    """Whether a network was created in ``folder``."""
    return (folder / STATE_FILE).exists()


def create(folder: Path, n: int) -> Devnet:
    """Make keys, certificates, genesis and settings of ``n`` validators in ``folder``. Raises OperatorError."""
    if not 1 <= n <= NODES_MAX:
        raise OperatorError(f"{n} nodes are not possible", f"a test network has 1 to {NODES_MAX}", "Choose -n 4.")
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(
            f"{folder} is not empty", "it holds no test network, and nothing is overwritten", "Choose another --home."
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    template = _with_validators(consortium.load_document(template_file()), n)
    nodes = _with_ports([*template.validator, *template.observer])
    devnet = Devnet(folder, nodes)
    passphrase = secrets.token_hex(16).encode()
    _write_private(devnet.passphrase_file, passphrase + b"\n")
    now = datetime.now(UTC)
    requests = []
    for node in nodes:
        home, section, plan = (
            devnet.home(node),
            NodeSection(name=node.name, org=node.org),
            _plan(devnet, node, template),
        )
        initialise(home, plan, passphrase, now)
        make_request(
            home, section, plan.addresses, TEMPLATE, template, now, lambda: passphrase, identities=bool(plan.identities)
        )
        requests.append((str(home.join_request_file), join_request.load(home.join_request_file)))
    public = folder / "network"
    assembly.write(assembly.assemble(TEMPLATE, template, requests, now), public)
    for node in nodes:
        home = devnet.home(node)
        own, problems = check_folder(home, NodeSection(name=node.name, org=node.org), public, now)
        if problems:
            raise problems[0]
        install(home, own)
    devnet.save()
    return devnet


def template_file() -> Path:
    """The consortium's template: beside the package in a checkout, inside it when installed."""
    package = Path(dawan_node.__file__).parent
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / TEMPLATE).exists():
            return folder / TEMPLATE
    raise ConfigError(f"{TEMPLATE} is missing", "the installation is incomplete", "Install dawan-node again.")


def _with_validators(template: Document, n: int) -> Document:
    """The template with ``n`` validators, shared out 3k + 1 where n allows: the associations first, hq last.

    Organisations that get none run an observer, which also keeps their identities' keys.
    """
    orgs = [node.org for node in template.validator]
    counts = dict.fromkeys(orgs, 0)
    for seat in range(n):
        # Seat 3 (the fourth) is the secretariat's only one; all others go round the associations.
        org = orgs[3] if seat == 3 else orgs[(seat if seat < 3 else seat - 1) % 3]
        counts[org] += 1
    seats = [(org, number) for number in range(1, n + 1) for org in orgs if number <= counts[org]]
    validators = tuple(Node(name=f"{org}{number}", org=org) for org, number in seats)
    names = tuple(node.name for node in validators)
    channels = tuple(msgspec.structs.replace(channel, validators=names) for channel in template.channel)
    observers = tuple(Node(name=f"{org}1", org=org) for org in orgs if not counts[org])
    return msgspec.structs.replace(template, validator=validators, observer=observers, channel=channels)


def _with_ports(nodes: Sequence[Node]) -> tuple[DevnetNode, ...]:
    """Free loopback ports from a random place in ``PORTS``."""
    start = secrets.randbelow(len(PORTS))
    candidates = iter([*PORTS[start:], *PORTS[:start]])
    addresses: list[str] = []
    for port in candidates:
        if len(addresses) == 3 * len(nodes):
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        addresses.append(f"127.0.0.1:{port}")
    if len(addresses) < 3 * len(nodes):
        raise OperatorError(
            "there are not enough free ports", f"{PORTS.start} to {PORTS.stop - 1} are in use", "Stop something."
        )
    return tuple(
        DevnetNode(node.name, node.org, *addresses[3 * place : 3 * place + 3]) for place, node in enumerate(nodes)
    )


def _plan(devnet: Devnet, node: DevnetNode, template: Document) -> Plan:
    """What ``init`` is told: the first node of an organisation also keeps its authority and its identities' keys."""
    first = next(other for other in devnet.nodes if other.org == node.org)
    is_first = first == node
    identities = tuple(identity.name for identity in template.identity if identity.org == node.org and is_first)
    plan = Plan(
        name=node.name,
        org=node.org,
        addresses=(node.p2p,),
        identities=identities,
        settings={
            "p2p.listen": node.p2p,
            "rpc.listen": node.rpc,
            "ops.listen": node.ops,
            "devnet.faults": True,
            # With more nodes than cores no core is idle for a thread to use; the start-up probe cannot know.
            "node.verifier": "inline" if len(devnet.nodes) > len(os.sched_getaffinity(0)) else "auto",
        },
        cost=DEVNET,
    )
    return plan if is_first else replace(plan, authority=devnet.home(first).authority_key.parent)


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(data)
