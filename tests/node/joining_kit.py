"""Join-requests for tests, rightly signed but for what a test makes wrong, without slow key files."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.node.agreed_facts import consortium_hash
from dawan_node.node.consortium import Document
from dawan_node.node.join_request import JoinRequest, RequestIdentity, sign

DEVNET = Path(__file__).resolve().parents[2] / "configs" / "consortium.devnet.toml"
NOW = datetime(2026, 9, 2, tzinfo=UTC)


def private_key(name: str) -> PrivateKey:
    """The same key for the same name in every run."""
    return PrivateKey.from_seed(sha256(name.encode()))


def public_key(name: str) -> str:
    return "0x" + private_key(name).public_key.hex()


@cache
def authority(org: str) -> CertifiedKey:
    return make_authority(org, NOW)


@cache
def certified(org: str, name: str) -> CertifiedKey:
    return issue_node_certificate(authority(org), org, name, ["127.0.0.1"], NOW)


def request_for(document: Document, name: str, org: str, number: int = 0, /, **changes: Any) -> JoinRequest:
    """What node ``name`` of ``org`` hands over, with its organisation's CA and identities, rightly signed.

    ``changes`` are made before signing, so that only they are wrong. ``key`` and ``tls`` replace the signing keys.
    """
    key: PrivateKey = changes.pop("key", private_key(name))
    tls: CertifiedKey = changes.pop("tls", None) or certified(org, name)
    observers = {node.name for node in document.observer}
    draft = JoinRequest(
        format=1,
        network=document.network,
        consortium="0x" + consortium_hash(document).hex(),
        created=NOW,
        name=name,
        org=org,
        role="observer" if name in observers else "validator",
        suite="ed25519",
        public_key="0x" + key.public_key.hex(),
        addresses=(f"127.0.0.1:{7100 + number}",),
        certificate=to_pem([tls.certificate]),
        ca=to_pem([authority(org).certificate]),
        identity=tuple(
            RequestIdentity(name=identity.name, public_key=public_key(identity.name))
            for identity in document.identity
            if identity.org == org
        ),
    )
    return sign(msgspec.structs.replace(draft, **changes), key, tls)


def requests_for(document: Document) -> list[tuple[str, JoinRequest]]:
    """One join-request per organisation's first node with its identities, and one without for each further node."""
    made = []
    seen: set[str] = set()
    for number, node in enumerate((*document.validator, *document.observer)):
        changes: dict[str, Any] = {"identity": (), "ca": ""} if node.org in seen else {}
        seen.add(node.org)
        made.append((f"{node.name}.toml", request_for(document, node.name, node.org, number, **changes)))
    return made
