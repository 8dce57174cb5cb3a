"""The node under examination: what its folder says, and what it says itself when it runs.

Made once, before the checks. What could not be read is None; the check whose business it is says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from dawan_node.crypto.certificates import CertifiedKey
from dawan_node.crypto.revocation import RevocationRule
from dawan_node.crypto.trust import Trust
from dawan_node.errors import DawanError, OperatorError
from dawan_node.node import config as config_file
from dawan_node.node import consortium as consortium_file
from dawan_node.node.clock import SystemClock, node_clock
from dawan_node.node.config import Config, local_host, parse_address
from dawan_node.node.consortium import Consortium
from dawan_node.node.home import Home, NodeKeys, unlock
from dawan_node.node.network_trust import network_trust
from dawan_node.node.verification import home_roots, known_roots, own_request
from dawan_node.rpc.client import Client
from dawan_node.rpc.client_tls import ClientTls

T = TypeVar("T")

#: The node is on this machine and answers from memory.
ASK_S: Final = 5.0
# The kernel lists the locks of all processes; more than this is not read.
_LOCKS_BYTES_MAX: Final = 1024 * 1024
# Organisations asked for at once, and how often: ten times the alliance.
_PAGE: Final = 100
_PAGES_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Answers:
    """What the running node said. Empty with ``trouble`` when it did not."""

    trouble: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)
    version: Mapping[str, Any] = field(default_factory=dict)
    peers: tuple[Mapping[str, Any], ...] = ()
    authorities: Mapping[str, Sequence[bytes]] = field(default_factory=dict)  # (DER) that the channels registered


@dataclass(frozen=True, slots=True)
class Patient:
    """``pid``: the process that holds the node's data folder, None when it does not run."""

    home: Home
    clock: SystemClock
    offline: bool
    clock_trouble: OperatorError | None = None
    config: Config | None = None
    config_trouble: OperatorError | None = None
    consortium: Consortium | None = None
    consortium_trouble: OperatorError | None = None
    trust: Trust | None = None
    list_troubles: tuple[tuple[str, str], ...] = ()  # file name, why its lists do not count
    keys: NodeKeys | None = field(default=None, repr=False)
    keys_trouble: OperatorError | None = None  # None beside ``keys`` None: no passphrase was given
    pid: int | None = None
    answers: Answers | None = None  # None: it does not run, or nobody asked (offline)

    @property
    def trust_is_current(self) -> bool:
        """Whether ``trust`` has what the channels registered, and not only what HOME/network says."""
        return self.answers is not None and bool(self.answers.authorities)

    @property
    def tls(self) -> CertifiedKey | None:
        """What a link needs; there only with a passphrase."""
        return None if self.keys is None else self.keys.tls


def admit(home: Home, environment: Mapping[str, str], passphrase: bytes | None, *, offline: bool) -> Patient:
    """Read everything that the checks share. Never raises for what is wrong with the node."""
    config, config_trouble = _try(lambda: config_file.load(home.config_file, environment=environment))
    consortium, consortium_trouble = _try(lambda: consortium_file.load(home.consortium_file))
    faults = config is not None and config.devnet.faults
    clock, clock_trouble = _try(lambda: node_clock(home.data, faults=faults))
    keys: NodeKeys | None = None
    keys_trouble: OperatorError | None = None
    if passphrase is not None:
        keys, keys_trouble = _try(lambda: unlock(home, passphrase))
    trust: Trust | None = None
    list_troubles: tuple[tuple[str, str], ...] = ()
    rule = RevocationRule(config.p2p.revocation if config is not None else RevocationRule.SOFT)
    if consortium is not None:
        trust, list_troubles = _trust(home, consortium, rule, clock or SystemClock(), {})
    pid = holder(home.data / "node.lock")
    answers = None
    if pid is not None and config is not None and not offline:
        asked = _try(lambda: home_roots(home, consortium, config.node.org))[0] if consortium is not None else None
        own = None if asked is None or trust is None else Trust(asked, trust.revocations)
        answers = _ask(config, keys, own, clock or SystemClock())
        if consortium is not None and answers.authorities:
            trust, list_troubles = _trust(home, consortium, rule, clock or SystemClock(), answers.authorities)
    return Patient(
        home=home,
        clock=clock or SystemClock(),
        clock_trouble=clock_trouble,
        offline=offline,
        config=config,
        config_trouble=config_trouble,
        consortium=consortium,
        consortium_trouble=consortium_trouble,
        trust=trust,
        list_troubles=list_troubles,
        keys=keys,
        keys_trouble=keys_trouble,
        pid=pid,
        answers=answers,
    )


def holder(lock_file: Path) -> int | None:
    """The process that holds a lock file, read from the kernel's own list: to try the lock would take it."""
    try:
        status = lock_file.stat()
        with Path("/proc/locks").open("rb") as file:
            lines = file.read(_LOCKS_BYTES_MAX).decode("ascii", "replace").splitlines()
    except OSError:
        return None
    # 1: FLOCK  ADVISORY  WRITE 1234 08:01:131077 0 EOF
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        words = line.split()
        if len(words) >= 6 and words[1] == "FLOCK" and words[5] == place and words[4].isdigit():
            return int(words[4])
    return None


def _ask(config: Config, keys: NodeKeys | None, trust: Trust | None, clock: SystemClock) -> Answers:
    host, port = parse_address(config.rpc.listen)
    host = local_host(host)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    url, tls = f"http://{place}", None
    if config.rpc.tls:
        url = f"https://{place}"
        if keys is None or trust is None:
            return Answers(trouble=f"{url} wants this node's certificate, and its key is locked")
        tls = ClientTls(keys.tls, trust, config.node.org, config.node.name, clock.now)
    try:
        with Client(url, timeout_s=ASK_S, tls=tls) as client:
            return Answers(
                status=client.node_status(),
                version=client.node_version(),
                peers=tuple(client.net_peers()),
                authorities=_registered(client),
            )
    except (DawanError, OSError) as error:
        return Answers(trouble=f"{url}: {error}")


def _registered(client: Client) -> Mapping[str, Sequence[bytes]]:
    """Every organisation's authorities as the channels have them: the first that knows an organisation says it."""
    found: dict[str, Sequence[bytes]] = {}
    for channel in client.channel_list():
        cursor = None
        for _ in range(_PAGES_MAX):
            page = client.module_query(channel, "governance", "organisations", limit=_PAGE, cursor=cursor)
            for org in page["items"]:
                found.setdefault(org["id"], tuple(bytes.fromhex(der.removeprefix("0x")) for der in org["ca"]))
            cursor = page["cursor"]
            if cursor is None:
                break
    return found


def _trust(
    home: Home,
    consortium: Consortium,
    rule: RevocationRule,
    clock: SystemClock,
    registered: Mapping[str, Sequence[bytes]],
) -> tuple[Trust, tuple[tuple[str, str], ...]]:
    # What is wrong with a join-request is said by the check of the signer.
    request, _ = _try(lambda: own_request(home))
    # Where file and channels both speak, the channels win, as they do for the node.
    roots = {**known_roots(consortium, request), **registered}
    trust, troubles = network_trust(home, roots, rule, clock.now())
    return trust, tuple((path.name, why) for path, why in troubles)


def _try(read: Callable[[], T]) -> tuple[T | None, OperatorError | None]:
    try:
        return read(), None
    except OperatorError as error:
        return None, error
