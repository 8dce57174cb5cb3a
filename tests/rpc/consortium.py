"""Certificates of a small consortium, made once, and a node of ``gz`` that serves them over TLS.

Channel ``trade`` lists gz, hk, mo and hq; ``cargo`` lists gz and mo. So hk is an outsider on ``cargo``; ``sz`` is an
organisation of the network that is on no channel, and ``zz`` one the network has never heard of.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.certificates import CertifiedKey, NodeCertificate, fingerprint, validate_node_certificate
from dawan_node.errors import UntrustedCertificate
from dawan_node.rpc.client import Client
from dawan_node.rpc.client_tls import ClientTls
from dawan_node.rpc.server_tls import ServerTls
from tests.rpc.fake_node import ORGS, FakeNode
from tests.rpc.harness import Running, running

START = datetime(2026, 3, 1, tzinfo=UTC)
CHANNELS = {"trade": ORGS, "cargo": ("gz", "mo")}
REGISTERED = (*ORGS, "sz")


@cache
def authority(org: str) -> CertifiedKey:
    return make_authority(org, START - timedelta(days=30))


@cache
def _certificate(org: str, name: str, days: int, serial: int) -> CertifiedKey:
    return issue_node_certificate(authority(org), org, name, ["127.0.0.1"], START, days=days)


def certificate(org: str, name: str, days: int = 90, serial: int = 0) -> CertifiedKey:
    """The same one for the same arguments; another ``serial`` is another certificate of the same node."""
    return _certificate(org, name, days, serial)


@dataclass(frozen=True)
class RootsAndRevocations:
    """A trust as ``crypto.trust`` has it: registered roots, and certificates that count no longer."""

    roots: Mapping[str, Sequence[bytes]]
    revoked: frozenset[bytes] = frozenset()
    judged: list[bytes] = field(default_factory=list)

    def judge(self, leaf_der: bytes, now: datetime) -> NodeCertificate:
        self.judged.append(leaf_der)
        found = validate_node_certificate(leaf_der, self.roots, now)
        if fingerprint(leaf_der) in self.revoked:
            raise UntrustedCertificate("revoked", f"certificate of {found.name}.{found.org} was revoked")
        return found


def trust(*orgs: str, revoked: Sequence[CertifiedKey] = ()) -> RootsAndRevocations:
    """Trust in ``orgs``, all registered ones by default."""
    return RootsAndRevocations(
        {org: (authority(org).certificate,) for org in orgs or REGISTERED},
        frozenset(fingerprint(each.certificate) for each in revoked),
    )


class SteppedClock:
    """The time the node goes by: far from the machine's, and moved by hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = START + timedelta(hours=1)

    def __call__(self) -> datetime:
        with self._lock:
            return self._now

    def step(self, **by: float) -> None:
        with self._lock:
            self._now += timedelta(**by)


@dataclass
class SecureNode:
    """A running node ``gz1.gz`` with TLS, and clients for it."""

    running: Running
    tls: ServerTls
    clock: SteppedClock

    @property
    def node(self) -> FakeNode:
        return self.running.node

    def client_tls(
        self, org: str, name: str = "erp", days: int = 90, server: tuple[str, str] = ("gz", "gz1")
    ) -> ClientTls:
        return ClientTls(certificate(org, name, days), trust(), *server, now=self.clock)

    def client(self, org: str, name: str = "erp", days: int = 90) -> Client:
        return Client(self.running.url, tls=self.client_tls(org, name, days))

    def update(self, new: RootsAndRevocations) -> None:
        self.running.call_on_loop(lambda: self.tls.update(new))

    def renew(self, own: CertifiedKey) -> None:
        self.running.call_on_loop(lambda: self.tls.renew(own))


@contextmanager
def secure_node(**options: Any) -> Iterator[SecureNode]:
    """Start the node for the body of a ``with``."""
    clock = SteppedClock()
    tls = ServerTls(certificate("gz", "gz1"), lambda judged: judged.org == "gz", trust(), clock)
    with running(node=FakeNode(CHANNELS), tls=tls, **options) as server:
        yield SecureNode(server, tls, clock)
