"""Envelopes of another platform, made and signed as it would: each part can be spoilt on its way."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from nacl.signing import SigningKey

from dawan_node.crypto.signatures import PrivateKey
from dawan_node.testing.module_kit import private_key_of
from tests.modules.title_kit import CARRIER, CARRIER_KEY, DOCUMENT, PLATFORM_KEY, Sea

INVOICE = hashlib.sha256(b"invoice").digest()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(payload: Any, key: PrivateKey = PLATFORM_KEY, header: Any = None) -> str:
    """A compact JWS."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    line = f"{b64(json.dumps(header or {'alg': 'EdDSA'}).encode())}.{b64(data)}"
    return f"{line}.{b64(raw_signature(key, line.encode()))}"


def raw_signature(key: PrivateKey, line: bytes) -> bytes:
    """The library's own signing: a PrivateKey only signs with a tag of this network."""
    return SigningKey(key.seed()).sign(line).signature


def hash_of(jws: str) -> str:
    return hashlib.sha256(jws.encode()).hexdigest()


def party(code: str, platform: str = "WAVE") -> dict[str, Any]:
    codes = [{"codeListProvider": "ZZZ", "partyCode": code}]
    return {"eblPlatform": platform, "partyName": f"{code} Ltd", "identifyingCodes": codes}


def act(action: str, actor: str, recipient: str = "", platform: str = "", by: str = "WAVE") -> dict[str, Any]:
    """A transaction; ``recipient`` with a platform other than WAVE's when given."""
    done: dict[str, Any] = {
        "actionCode": action,
        "actor": party(actor, by),
        "actionDateTime": "2025-11-24T08:00:00.000Z",
    }
    return done | ({"recipient": party(recipient, platform or "WAVE")} if recipient else {})


def entry(
    *transactions: dict[str, Any], checksum: bytes = DOCUMENT, platform: str = "WAVE", **more: Any
) -> dict[str, Any]:
    return {
        "eblPlatform": platform,
        "transportDocumentChecksum": checksum.hex(),
        "transactions": list(transactions),
    } | more


def issuance(checksum: bytes = DOCUMENT, key: PrivateKey = CARRIER_KEY) -> str:
    return sign({"documentChecksum": checksum.hex(), "issueToChecksum": "00" * 32}, key)


def to_buyer() -> list[dict[str, Any]]:
    """Issued to ACME, endorsed to the order of the buyer here, handed over to it."""
    return [
        act("ISSUE", "HMM", "ACME"),
        act("ENDORSE_TO_ORDER", "ACME", "buyer", "DAWAN"),
        act("TRANSFER", "ACME", "buyer", "DAWAN"),
    ]


def first(*transactions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The entry that begins a chain."""
    return entry(*(transactions or to_buyer()), **({"issuanceManifestSignedContent": issuance()} | more))


def manifest(last: str, checksum: bytes = DOCUMENT, documents: list[Any] | None = None) -> dict[str, Any]:
    listed = [{"name": "invoice.pdf", "size": 7, "documentChecksum": INVOICE.hex()}] if documents is None else documents
    return {
        "transportDocumentChecksum": checksum.hex(),
        "lastEnvelopeTransferChainEntrySignedContentChecksum": last,
        "supportingDocuments": listed,
    }


def envelope(sea: Sea, *chain: str, **changed: Any) -> dict[str, Any]:
    """Arguments of ``receive_envelope``: of a bill unknown here with one signed entry, unless told otherwise."""
    entries = list(chain) or [sign(first())]
    args = {
        "carrier": CARRIER,
        "reference": "WAVE-7",
        "checksum": DOCUMENT,
        "manifest": sign(manifest(hash_of(entries[-1]))),
        "chain": entries,
        "recipient": "buyer",
        "documents": [{"checksum": INVOICE, "size": 7}],
        "bill": sea.bill(shipper="ACME Trading"),
        "document": sea.document(),
    }
    args |= changed
    return {name: value for name, value in args.items() if value is not None}


STRANGER = private_key_of("nobody's key")
