"""What ``init`` does: one party makes its own keys and folders.

Nothing here knows another party. The write-ahead log is made together with the node key and never again: a key
without its log may have signed things nobody remembers, so a node without a log only observes (design section 6).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from dawan_node.crypto import keystore
from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.crypto.keystore import PRODUCTION, Cost, SecretKind
from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node.config import NodeSection, parse_address
from dawan_node.node.home import Home
from dawan_node.node.own_authority import AuthorityFolder
from dawan_node.node.own_certificates import store_tls_key, write_request
from dawan_node.primitives.names import is_label
from dawan_node.storage.wal import Wal

# Key files of a home that are not identities.
_RESERVED: Final = frozenset({"node", "tls", "ca"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make. ``settings`` are keys of node.toml beside name and org, such as ``rpc.listen``."""

    name: str
    org: str
    addresses: tuple[str, ...]
    identities: tuple[str, ...] = ()
    settings: Mapping[str, str | bool | int | tuple[str, ...]] = field(default_factory=dict)
    authority: Path | None = None  # the keys/ca folder of another home; None makes a new authority here
    external_authority: bool = False  # no authority here or in another home: a request is written for it
    cost: Cost = PRODUCTION


@dataclass(frozen=True, slots=True)
class Made:
    """The public keys of a new home."""

    node: bytes
    identities: Mapping[str, bytes]


def initialise(
    home: Home, plan: Plan, passphrase: bytes, now: datetime, *, authority_passphrase: bytes | None = None
) -> Made:
    """Make a home that ``run`` can use once the network is assembled; returns what is public of it.

    Raises OperatorError (ConfigError, KeystoreError) when something is there already or a name is not allowed.
    """
    _check(home, plan)
    # Before anything is written: a wrong folder or passphrase must not leave half a home that blocks the next try.
    given = _given_authority(home, plan, authority_passphrase or passphrase)
    keystore.make_private_folder(home.keys)
    _make_tls(home, plan, passphrase, given, now)
    identities = {
        name: keystore.create_signing_key(home.identity_key(name), name, passphrase, cost=plan.cost).public_key
        for name in plan.identities
    }
    home.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    Wal.create(home.wal)
    node = keystore.create_signing_key(home.node_key, plan.name, passphrase, cost=plan.cost)
    # Last: a home without it was not finished.
    home.config_file.write_text(render_config(plan), encoding="utf-8")
    return Made(node.public_key, identities)


def check_identity_name(name: str) -> None:
    """Refuse names that are malformed or that the home itself uses. Raises ConfigError."""
    if not is_label(name) or name in _RESERVED:
        raise ConfigError(
            f"{name!r} cannot be the name of a key",
            f"a name is [a-z][a-z0-9-]{{0,31}} and not one of {', '.join(sorted(_RESERVED))}",
            "Choose another name.",
        )


def render_config(plan: Plan) -> str:
    """The text of ``node.toml``: only what differs from the defaults, so that later defaults reach this node."""
    tables: dict[str, dict[str, object]] = {"node": {"name": plan.name, "org": plan.org}}
    for key, value in plan.settings.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = list(value) if isinstance(value, tuple) else value
    lines = ["# This node's settings; configs/node.example.toml explains every key and its default."]
    for section, values in tables.items():
        # JSON's strings, numbers, booleans and flat lists read the same in TOML.
        lines += ["", f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _check(home: Home, plan: Plan) -> None:
    for existing in (home.config_file, home.keys, home.data):
        if existing.exists():
            raise OperatorError(
                f"{home.path} is already in use",
                f"{existing.name} exists there, and a key or a signing log is never replaced",
                "Choose another --home; if an earlier init was interrupted, remove that folder yourself.",
            )
    for what, name in (("a node", plan.name), ("an organisation", plan.org)):
        if not is_label(name):
            raise ConfigError(f"{name!r} cannot name {what}", "a name is [a-z][a-z0-9-]{0,31}", "Choose another name.")
    if plan.external_authority and plan.authority is not None:
        raise ConfigError(
            "--ca and --external-ca", "one says that the authority is at hand, the other that it is not", "Give one."
        )
    for name in plan.identities:
        check_identity_name(name)
    if len(set(plan.identities)) != len(plan.identities):
        raise ConfigError("an identity is named twice", "each has one key", "Leave one of them out.")
    for address in plan.addresses:
        try:
            parse_address(address)
        except ValueError as error:
            raise ConfigError(f"address {address!r}", str(error), "Correct it.") from None


def _make_tls(home: Home, plan: Plan, passphrase: bytes, given: CertifiedKey | None, now: datetime) -> None:
    """The TLS key with its certificate, or with the request for it."""
    hosts = [parse_address(address)[0] for address in plan.addresses]
    if plan.external_authority:
        store_tls_key(home.tls_key, ec.generate_private_key(ec.SECP256R1()), plan.name, passphrase, plan.cost)
        write_request(home, NodeSection(name=plan.name, org=plan.org), hosts, passphrase)
        return
    authority = given or _new_authority(home, plan, passphrase, now)
    tls = issue_node_certificate(authority, plan.org, plan.name, hosts, now)
    folder = plan.authority or home.authority_key.parent
    AuthorityFolder(folder, plan.org).record_issued(tls.certificate, now)
    _store_certified(home.tls_key, home.tls_certificate, tls, f"{plan.name} TLS", passphrase, plan.cost)


def _given_authority(home: Home, plan: Plan, passphrase: bytes) -> CertifiedKey | None:
    if plan.authority is None:
        return None
    key = keystore.load(plan.authority / home.authority_key.name, passphrase)
    return CertifiedKey(AuthorityFolder(plan.authority, plan.org).certificate(), key.secret)


def _new_authority(home: Home, plan: Plan, passphrase: bytes, now: datetime) -> CertifiedKey:
    made = make_authority(plan.org, now)
    name = f"{plan.org} CA"
    _store_certified(home.authority_key, home.authority_certificate, made, name, passphrase, plan.cost)
    return made


def _store_certified(
    key_path: Path, certificate_path: Path, made: CertifiedKey, name: str, passphrase: bytes, cost: Cost
) -> None:
    keystore.create(
        key_path,
        made.private_key,
        name=name,
        kind=SecretKind.P256,
        public_key=made.public_key,
        passphrase=passphrase,
        cost=cost,
    )
    certificate_path.write_text(to_pem([made.certificate]), encoding="ascii")
