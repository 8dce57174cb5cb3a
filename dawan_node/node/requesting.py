"""Making this home's join-request (``network join-request``).

The request says what the agreed file has for this node and brings the keys that the file does not have yet. For a node
the file does not know, of an organisation that joins a network that runs already, it says what that one asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from dawan_node.crypto import keystore
from dawan_node.crypto.certificates import to_pem
from dawan_node.crypto.keystore import SecretKind
from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import ConfigError, KeystoreError, UntrustedCertificate
from dawan_node.node.agreed_facts import agreed_text, consortium_hash
from dawan_node.node.config import NodeSection
from dawan_node.node.consortium import Document, Names, public_key_bytes
from dawan_node.node.home import Home, read_certificates, read_own_certificate, unlock
from dawan_node.node.join_request import JoinRequest, RequestIdentity, Role, check_genuine, sign
from dawan_node.node.join_review import check_certificate
from dawan_node.node.public_files import replace_files
from dawan_node.node.toml_file import nearest


@dataclass(frozen=True, slots=True)
class Admission:
    """What a node that the file does not know asks the running network for."""

    channels: tuple[str, ...] = ()
    role: Role = "observer"
    admin: str = ""  # the identity that speaks for a new organisation; empty for a further node of a known one
    names: Names | None = None  # of a new organisation


def make_request(
    home: Home,
    node: NodeSection,
    addresses: tuple[str, ...],
    source: str,
    document: Document,
    now: datetime,
    passphrase: Callable[[], bytes],
    *,
    without: Collection[str] = (),
    identities: bool = True,
    admission: Admission | None = None,
) -> JoinRequest:
    """Write ``HOME/network/join-request.toml`` and, beside it, ``agreed.toml``; the request.

    ``source`` names the agreed file in errors; ``passphrase`` is called once everything else is there. ``without``
    are identities whose keys are elsewhere; with ``identities`` False another home of the organisation brings all of
    them. Raises ConfigError, or KeystoreError for a key file, before anything is written.
    """
    role, given = _place(node, source, document, admission)
    if node.observer and role == "validator":
        _refuse(
            f"{node.name} is set up as an observer ({home.config_file})",
            "a validator was asked for, which the others would count on to vote",
            "Have it listed under [[observer]] (or --role observer), or make a home without --observer.",
        )
    if given is None:
        names = _expected_identities(home, node, source, document, without) if identities else []
    else:
        names = [given.admin] if given.admin else []
    certificate = read_own_certificate(home)
    has_authority = home.authority_certificate.exists()
    draft = JoinRequest(
        format=1,
        network=document.network,
        consortium="0x" + consortium_hash(document).hex(),
        created=now.replace(microsecond=now.microsecond // 1000 * 1000),
        name=node.name,
        org=node.org,
        role=role,
        suite=ED25519,
        public_key=_hex(keystore.describe(home.node_key).public_key),
        addresses=addresses,
        certificate=to_pem([certificate]),
        ca=to_pem(read_certificates(home.authority_certificate)) if has_authority else "",
        channels=given.channels if given else (),
        names=given.names if given else None,
        admin=given.admin if given else "",
        identity=tuple(RequestIdentity(name=name, public_key=_identity_key(home, name)) for name in names),
    )
    keys = unlock(home, passphrase())
    try:
        request = sign(draft, keys.node, keys.tls)
    except UntrustedCertificate as error:
        _refuse("the TLS key and keys/tls.pem do not fit", str(error), "Put the certificate of this key there.")
    _check_own(home, request, now)
    replace_files(
        home.network,
        {home.agreed_file.name: agreed_text(document).encode(), home.join_request_file.name: request.render().encode()},
    )
    return request


def _place(
    node: NodeSection, source: str, document: Document, admission: Admission | None
) -> tuple[Role, Admission | None]:
    """The node's role, and what it asks for when the file does not know it."""
    roles: dict[str, Role] = {entry.name: "validator" for entry in document.validator}
    roles |= {entry.name: "observer" for entry in document.observer}
    entry = next((entry for entry in (*document.validator, *document.observer) if entry.name == node.name), None)
    if entry is not None:
        if entry.org != node.org:
            _refuse(
                f"node {node.name} of {node.org}",
                f"{source} has it under {entry.org}",
                "Correct [node] in node.toml, or agree on another name.",
            )
        if admission is not None:
            _refuse(
                f"node {node.name} of {node.org} is in {source}",
                "what it takes part in was agreed on there",
                "Leave out the options for newcomers.",
            )
        return roles[node.name], None
    orgs = [org.id for org in document.org]
    if admission is None:
        known = [other.name for other in (*document.validator, *document.observer)]
        _refuse(
            f"node {node.name} of {node.org} is not in {source}",
            nearest(node.name, known),
            "Correct node.toml or agree on a file with it; to join a network that runs, name what to join: --channel.",
        )
    _check_admission(node, source, document, admission, is_known=node.org in orgs)
    return admission.role, admission


def _check_admission(
    node: NodeSection, source: str, document: Document, admission: Admission, *, is_known: bool
) -> None:
    channels = [channel.name for channel in document.channel]
    if not admission.channels:
        _refuse("no channel is named", f"{node.org} asks for at least one", f"Give --channel: {', '.join(channels)}.")
    for channel in admission.channels:
        if channel not in channels:
            _refuse(f"{source} has no channel {channel!r}", nearest(channel, channels), "Correct --channel.")
    if is_known and (admission.admin or admission.names):
        _refuse(
            f"organisation {node.org} is in {source}",
            "its name and its administrators are known",
            "Leave out --admin and --org-name.",
        )
    if not is_known and not (admission.admin and admission.names):
        _refuse(
            f"organisation {node.org} is not in {source}",
            "a new one says its name and who speaks for it",
            "Give --org-name NAME and --admin IDENTITY (make its key first: dawan-node keys new IDENTITY).",
        )
    if admission.admin in {identity.name for identity in document.identity}:
        _refuse(
            f"identity {admission.admin}",
            f"{source} has one of that name, and names are unique in a network",
            "Choose another name: dawan-node keys new NAME.",
        )


def _expected_identities(
    home: Home, node: NodeSection, source: str, document: Document, without: Collection[str]
) -> list[str]:
    """The identities the file has for this organisation, whose keys this home brings."""
    agreed = [identity.name for identity in document.identity if identity.org == node.org]
    for name in without:
        if name not in agreed:
            _refuse(f"--without {name}", f"{source} has no such identity of {node.org}", nearest(name, agreed) + ".")
    wanted = [name for name in agreed if name not in without]
    missing = [name for name in wanted if not home.identity_key(name).exists()]
    if missing:
        _refuse(
            f"the key of identity {missing[0]} is missing" + (f", and {len(missing) - 1} more" if missing[1:] else ""),
            f"{source} has it under {node.org}, and nobody else may make it",
            f"dawan-node keys new {missing[0]}; or --without {missing[0]} if another home of {node.org} brings it.",
        )
    return wanted


def _identity_key(home: Home, name: str) -> str:
    info = keystore.describe(home.identity_key(name))
    if info.kind is not SecretKind.ED25519:
        raise KeystoreError(
            f"{info.path} cannot be the key of identity {name}",
            f"it is of kind {info.kind.value}",
            f"Make one: dawan-node keys new {name}.",
        )
    return _hex(info.public_key)


def _check_own(home: Home, request: JoinRequest, now: datetime) -> None:
    """What the others would refuse is found here already, where it can be put right."""
    check_genuine(str(home.join_request_file), request)
    if request.ca:
        check_certificate(str(home.join_request_file), request, {request.org: request.authorities}, now)
    taken = {public_key_bytes(each.public_key) for each in request.identity}
    if len(taken | {public_key_bytes(request.public_key)}) != len(request.identity) + 1:
        _refuse("two entries of this home have one key", "a key speaks for one only", "Make a new one: keys new NAME.")


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _refuse(what: str, why: str, fix: str) -> NoReturn:
    raise ConfigError(what, why, fix)
