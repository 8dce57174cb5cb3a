"""Making a network on one machine of nothing but what production uses.

``create`` plays every party in turn: ``init`` and ``network join-request`` in its own home, then ``network assemble``
with all requests, and ``network verify --from`` by each. What differs from production is that one person does it all,
that key protection is cheap, and that the nodes accept commands that cut their links.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

import dawan_node
from dawan_node.cli.devnet_channels import LOGISTICS, with_two_channels
from dawan_node.cli.devnet_network import Devnet, DevnetNode
from dawan_node.crypto.keystore import DEVNET
from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node import assembly, consortium, join_request
from dawan_node.node.config import NodeSection
from dawan_node.node.consortium import Document, Node
from dawan_node.node.installation import check_folder, install
from dawan_node.node.requesting import make_request
from dawan_node.node.setup import Plan, initialise, render_config

#: Enough to show every quorum of the protocol's table that a laptop can run.
NODES_MAX: Final = 22
#: Below Linux's range for outgoing connections, so that no dialling node sits on the port of one that is restarting.
PORTS: Final = range(20_000, 32_000)
TEMPLATE: Final = "consortium.devnet.toml"


def create(
    folder: Path, n: int, observers: int = 0, modules: Sequence[str] = (), *, two_channels: bool = False
) -> Devnet:
    """Make keys, certificates, genesis and settings of ``n`` validators in ``folder``, and of ``observers`` more nodes
    of the same organisations that do not vote. The first channel runs ``modules`` (``name@version``), too.
    ``two_channels``: titles have a channel of their own (``devnet_channels``). Raises OperatorError."""
    if n < 1 or observers < 0 or n + observers > NODES_MAX:
        raise OperatorError(
            f"{n + observers} nodes are not possible", f"a test network has 1 to {NODES_MAX}", "Choose -n 4."
        )
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(
            f"{folder} is not empty", "it holds no test network, and nothing is overwritten", "Choose another --home."
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    template = template_for(n)
    if two_channels:
        template = with_two_channels(template)
    template = _with_modules(_with_observers(template, observers), modules)
    nodes = _with_ports([*template.validator, *template.observer])
    devnet = Devnet(folder, nodes)
    passphrase = secrets.token_hex(16).encode()
    _write_private(devnet.passphrase_file, passphrase + b"\n")
    now = datetime.now(UTC)
    for node in nodes:
        initialise(devnet.home(node), _plan(devnet, node, template), passphrase, now)
    agree(devnet, template, passphrase, now)
    devnet.save()
    return devnet


def agree(devnet: Devnet, template: Document, passphrase: bytes, now: datetime) -> None:
    """Play every party's part of forming the network: requests, assembly, and taking it over. Raises OperatorError.

    Done again it only changes addresses: whoever has blocks keeps its genesis, or is refused.
    """
    requests = []
    for node in devnet.nodes:
        home, section, plan = (
            devnet.home(node),
            NodeSection(name=node.name, org=node.org),
            _plan(devnet, node, template),
        )
        make_request(
            home, section, plan.addresses, TEMPLATE, template, now, lambda: passphrase, identities=bool(plan.identities)
        )
        requests.append((str(home.join_request_file), join_request.load(home.join_request_file)))
    public = devnet.folder / "network"
    assembly.write(assembly.assemble(TEMPLATE, template, requests, now), public)
    for node in devnet.nodes:
        home = devnet.home(node)
        own, problems = check_folder(home, NodeSection(name=node.name, org=node.org), public, now)
        if problems:
            raise problems[0]
        install(home, own)


def move(devnet: Devnet, now: datetime) -> Devnet:
    """The same network on free ports of this moment, as a copy of its folder needs them. Raises OperatorError."""
    template = template_for(len([node for node in devnet.nodes if _is_validator(devnet, node)]))
    if has_two_channels(devnet):
        template = with_two_channels(template)
    nodes = _with_ports([Node(name=node.name, org=node.org) for node in devnet.nodes])
    moved = Devnet(devnet.folder, nodes)
    for node in nodes:
        moved.home(node).config_file.write_text(render_config(_plan(moved, node, template)), encoding="utf-8")
    agree(moved, template, moved.passphrase_file.read_bytes().strip(), now)
    moved.save()
    return moved


def has_two_channels(devnet: Devnet) -> bool:
    """Whether titles have a channel of their own in a network that was created."""
    document = consortium.load(devnet.home(devnet.nodes[0]).consortium_file).document
    return any(channel.name == LOGISTICS for channel in document.channel)


def template_for(n: int) -> Document:
    """The test network's template with ``n`` validators."""
    return _with_validators(consortium.load_document(template_file()), n)


def _is_validator(devnet: Devnet, node: DevnetNode) -> bool:
    return node.name in {entry.name for entry in consortium.load(devnet.home(node).consortium_file).document.validator}


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


def _with_observers(template: Document, count: int) -> Document:
    """The template with ``count`` more observers, one after the other for each organisation."""
    orgs = [org.id for org in template.org]
    have = [node.org for node in (*template.validator, *template.observer)]
    added: list[Node] = []
    for place in range(count):
        org = orgs[place % len(orgs)]
        have.append(org)
        added.append(Node(name=f"{org}{have.count(org)}", org=org))
    return msgspec.structs.replace(template, observer=(*template.observer, *added))


def _with_modules(template: Document, modules: Sequence[str]) -> Document:
    """The template with more modules on its first channel."""
    first, *others = template.channel
    first = msgspec.structs.replace(first, modules=(*first.modules, *modules))
    return msgspec.structs.replace(template, channel=(first, *others))


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
            "storage.reserve_mib": 4,  # all nodes are on one disk, for a day, and in one memory
            # With more nodes than cores no core is idle for a thread to use; the start-up probe cannot know.
            "node.verifier": "inline" if len(devnet.nodes) > len(os.sched_getaffinity(0)) else "auto",
        },
        cost=DEVNET,
    )
    return plan if is_first else replace(plan, authority=devnet.home(first).authority_key.parent)


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(data)
