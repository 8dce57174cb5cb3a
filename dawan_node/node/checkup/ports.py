"""This node's own addresses: free or its own, and the advertised one leads back here."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import Final

from dawan_node.node.checkup.finding import Finding, fail, not_run, ok, warn
from dawan_node.node.checkup.patient import Patient
from dawan_node.node.config import Config, local_host, parse_address

CHECK: Final = "ports"
#: To this machine's own address, out through the router and back at most.
DIAL_S: Final = 3.0


def check_listeners(patient: Patient) -> list[Finding]:
    """Each listen address can be listened on, or is by this node."""
    if patient.config is None:
        return [not_run(CHECK, "listen", "node.toml cannot be read", "See what `configuration` says.")]
    return [_listener(section, address, patient.pid) for section, address in _listeners(patient.config)]


def check_advertised(patient: Patient) -> list[Finding]:
    """The addresses that peers are told lead to this node, seen from here."""
    if patient.config is None:
        return [not_run(CHECK, "advertise", "node.toml cannot be read", "See what `configuration` says.")]
    listen = patient.config.p2p.listen
    found = []
    listener = None
    if patient.pid is None:
        try:
            # Stands in for the node for a moment, so that there is somebody to reach.
            listener = _listen(listen)
        except OSError:
            return [not_run(CHECK, "advertise", f"{listen} cannot be listened on", "See the line about it.")]
    try:
        for address in _told(patient.config, patient):
            found.append(_advertised(address, listen))
    finally:
        if listener is not None:
            listener.close()
    return found


def _told(config: Config, patient: Patient) -> tuple[str, ...]:
    """What peers go by: the addresses in consortium.toml, and what node.toml would tell them."""
    entry = patient.consortium.node(config.node.name) if patient.consortium is not None else None
    listed = entry.addresses if entry is not None else ()
    return tuple(dict.fromkeys((*listed, *(config.p2p.advertise or (config.p2p.listen,)))))


def _listeners(config: Config) -> tuple[tuple[str, str], ...]:
    return ("p2p", config.p2p.listen), ("rpc", config.rpc.listen), ("ops", config.ops.listen)


def _listener(section: str, address: str, pid: int | None) -> Finding:
    subject = f"[{section}] listen"
    if pid is not None:
        try:
            _dial(address)
        except OSError as error:
            return fail(
                CHECK,
                subject,
                f"nobody listens on {address}",
                f"the node runs (process {pid}), but {_why(error)}",
                "If node.toml was changed since it started, restart it; else see its log.",
            )
        return ok(CHECK, subject, f"{address} is in use by this node (process {pid})")
    try:
        _listen(address).close()
    except OSError as error:
        return fail(
            CHECK,
            subject,
            f"cannot listen on {address}",
            _why(error),
            f"Stop what uses it (`ss -ltnp` names it), or choose another under [{section}] listen in node.toml.",
        )
    return ok(CHECK, subject, f"{address} is free")


def _advertised(address: str, listen: str) -> Finding:
    subject = "advertise"
    try:
        _dial(address)
    except TimeoutError:
        return warn(
            CHECK,
            subject,
            f"{address} does not answer from here",
            "a router that does not lead back inside looks the same",
            "Have a peer run `dawan-node doctor`, which dials it from outside.",
        )
    except OSError as error:
        return fail(
            CHECK,
            subject,
            f"{address} does not lead to this node",
            f"it listens on {listen}, and peers are told {address}: {_why(error)}",
            "Correct [p2p] listen or advertise in node.toml, and this node's addresses in consortium.toml.",
        )
    return ok(CHECK, subject, f"{address} can be reached from here")


def _listen(address: str) -> socket.socket:
    host, port = parse_address(address)
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _dial(address: str) -> None:
    host, port = parse_address(address)
    with closing(socket.create_connection((local_host(host), port), timeout=DIAL_S)):
        pass


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror})"
    return os.strerror(error.errno) if error.errno else str(error)
