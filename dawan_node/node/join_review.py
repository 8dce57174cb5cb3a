"""Judging join-requests together, before anything in them is believed.

A request on its own shows that its keys are held (join_request.check_genuine). Whether it may be used takes more: the
file it was made for, the other requests, and the authorities that are registered already. Nothing is taken from one
request to excuse another: every refusal names the file and what its owner, or the one who collects them, does next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, NoReturn, Protocol

from dawan_node.crypto.certificates import check_authorities, validate_node_certificate
from dawan_node.crypto.possession import certified_key
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node.agreed_facts import consortium_hash
from dawan_node.node.consortium import Document, keyed_entries, public_key_bytes
from dawan_node.node.join_request import JoinRequest, check_fresh, check_genuine

Sourced = tuple[str, JoinRequest]  # where it came from, for messages
_NONE: Final[Mapping[str, Sequence[bytes]]] = MappingProxyType({})


def review(
    source: str,
    document: Document,
    requests: Sequence[Sourced],
    now: datetime,
    registered: Mapping[str, Sequence[bytes]] = _NONE,
) -> dict[str, tuple[bytes, ...]]:
    """The CA certificates of every organisation (DER, root first) once all requests are fit to be used.

    ``document`` is the file that was agreed on, ``source`` its name in errors; ``registered`` are authorities that
    the network knows already (when it runs). Raises ConfigError at the first thing that is wrong.
    """
    for name, request in requests:
        check_genuine(name, request)
        check_fresh(name, request, now)
        _check_agreement(source, document, name, request)
        _check_owners(source, document, name, request)
    _check_unique(source, document, requests)
    roots = _authorities(requests, now, registered)
    for name, request in requests:
        check_certificate(name, request, roots, now)
    return roots


class Certified(Protocol):
    """Who brings a TLS certificate."""

    @property
    def name(self) -> str: ...

    @property
    def org(self) -> str: ...

    @property
    def tls_certificate(self) -> bytes: ...


def check_certificate(source: str, request: Certified, roots: Mapping[str, Sequence[bytes]], now: datetime) -> None:
    """Require that the TLS certificate of a request names exactly its node, under its organisation's authorities.

    Raises ConfigError. ``roots`` are the authorities of all organisations, so that none can lend its certificate.
    """
    if not roots.get(request.org):
        _refuse(
            f"{source}: no CA certificate of {request.org}",
            "neither this request nor another one of that organisation brings it",
            "Add the request of the node whose home holds keys/ca.",
        )
    try:
        judged = validate_node_certificate(request.tls_certificate, roots, now)
    except UntrustedCertificate as error:
        _refuse(
            f"{source}: the TLS certificate is refused",
            str(error),
            f"The authority of {request.org} issues one, then its owner makes the request again.",
        )
    if (judged.org, judged.name) != (request.org, request.name):
        _refuse(
            f"{source}: the TLS certificate is another node's",
            f"it is of {judged.name} of {judged.org}, the request of {request.name} of {request.org}",
            f"The authority of {request.org} issues one for {request.name}, then its owner makes the request again.",
        )


def _check_agreement(source: str, document: Document, name: str, request: JoinRequest) -> None:
    """The request was made for this network, and for this version of its file."""
    if request.network != document.network:
        _refuse(
            f"{name}: network = {request.network!r}",
            f"{source} is of network {document.network!r}",
            "Use the requests of this network, or its file.",
        )
    expected = "0x" + consortium_hash(document).hex()
    if request.consortium != expected:
        _refuse(
            f"{name}: it was made for another version of {source}",
            f"its owner agreed to {request.consortium}, this file is {expected}",
            "Compare the files; then whoever had the other one makes the request again with this one.",
        )


def _check_owners(source: str, document: Document, name: str, request: JoinRequest) -> None:
    """What the file has under another organisation is not this one's to bring."""
    nodes = {node.name: node.org for node in (*document.validator, *document.observer)}
    identities = {identity.name: identity.org for identity in document.identity}
    claims = [("node", request.name, nodes), *(("identity", each.name, identities) for each in request.identity)]
    for kind, claimed, owners in claims:
        owner = owners.get(claimed, request.org)
        if owner != request.org:
            _refuse(
                f"{name}: {kind} {claimed!r} is of {request.org!r}",
                f"{source} has it under {owner}",
                "Correct one of them; names are unique in a network.",
            )


def _check_unique(source: str, document: Document, requests: Sequence[Sourced]) -> None:
    """One name, one key and one address belong to one entry only, over all requests and what the file holds."""
    names: dict[str, str] = {}
    keys = {
        public_key_bytes(entry.public_key): f"{kind} {entry.name}"
        for kind, entry in keyed_entries(document)
        if entry.public_key
    }
    places = dict.fromkeys(keys, source)
    tls: dict[bytes, str] = {}
    addresses: dict[str, str] = {}
    brought = {request.name for _, request in requests}
    for node in (*document.validator, *document.observer):
        if node.name not in brought:
            addresses |= dict.fromkeys(node.addresses, source)
    for name, request in requests:
        entries: list[tuple[str, str, str]] = [(request.role, request.name, request.public_key)]
        entries += [("identity", each.name, each.public_key) for each in request.identity]
        for kind, owner, text in entries:
            title, key = f"{kind} {owner}", public_key_bytes(text)
            # A node is one entry whether it votes or observes.
            label = f"identity {owner}" if kind == "identity" else f"node {owner}"
            if label in names:
                _refuse(f"{name}: {label} comes twice", f"{names[label]} brings it too", "Leave one of them out.")
            names[label] = name
            if keys.get(key, title) != title:
                _refuse(
                    f"{name}: the key of {title} is also that of {keys[key]}",
                    f"{places[key]} brings it too, and a key speaks for one party only",
                    "The owner who copied it makes a new one.",
                )
            keys[key], places[key] = title, name
        certified = certified_key(request.tls_certificate)
        if certified in tls:
            _refuse(
                f"{name}: its TLS key is also that of another node",
                f"{tls[certified]} brings it too",
                "The owner who copied it makes a new one.",
            )
        tls[certified] = name
        for address in request.addresses:
            if address in addresses:
                _refuse(
                    f"{name}: address {address} comes twice",
                    f"{addresses[address]} brings it too",
                    "Its owner corrects p2p.advertise and makes the request again.",
                )
            addresses[address] = name


def _authorities(
    requests: Sequence[Sourced], now: datetime, registered: Mapping[str, Sequence[bytes]]
) -> dict[str, tuple[bytes, ...]]:
    """Each organisation's CA certificates, each usable and of one organisation only."""
    roots = {org: tuple(certificates) for org, certificates in registered.items()}
    brought_by = dict.fromkeys(roots, "the network")
    for name, request in requests:
        given = tuple(request.authorities)
        if not given:
            continue
        if roots.setdefault(request.org, given) != given:
            _refuse(
                f"{name}: ca",
                f"{brought_by[request.org]} has other certificates of {request.org}",
                "Nodes of one organisation share one authority: init --ca FOLDER.",
            )
        brought_by.setdefault(request.org, name)
    for org, certificates in roots.items():
        if org in registered:
            continue  # judged when it was registered; one that has expired since is its owner's affair
        try:
            check_authorities(org, certificates, now)
        except UntrustedCertificate as error:
            _refuse(f"{brought_by[org]}: the CA certificate of {org} is refused", str(error), "Its owner makes one.")
    owners: dict[bytes, str] = {}
    for org in sorted(roots):
        for certificate in roots[org]:
            owner = owners.setdefault(certified_key(certificate), org)
            if owner != org:
                _refuse(
                    f"{brought_by[org]}: {org} claims the authority of {owner}",
                    f"{brought_by[owner]} brings the same CA key, and then nobody could say whose a certificate is",
                    "Ask both which of them it belongs to; the other one makes its own.",
                )
    return roots


def _refuse(what: str, why: str, fix: str) -> NoReturn:
    raise ConfigError(what, why, fix)
