"""Builds the 19 format vectors from their recipe, with a state tree written as plainly as the definition.

The recipe (formats.md, version 1): keys from named seeds, one genesis, one transaction, one block. The tree here is
a direct transcription of formats A.7 over a whole dictionary; the node's incremental tree is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping

from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import ZERO_HASH, sha256, tagged_hash
from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import (
    COMMIT_TAG,
    CommitCertificate,
    bitmap_of,
    commit_vote_bytes,
)
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.genesis import (
    Genesis,
    IdentityEntry,
    ModuleEntry,
    OrgEntry,
    ParamEntry,
    PolicyEntry,
    ValidatorEntry,
)
from dawan_node.primitives.proofs import FinalityProof, StateProof, TxProof, state_key_hash
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Body, Transaction, sign_transaction

CREATED_MS = 1764000000000
ORGS = ("gz", "hk", "hq", "mo")
VALIDATORS = (("gz1", "gz"), ("hk1", "hk"), ("hq1", "hq"), ("mo1", "mo"))

Entry = tuple[bytes, bytes]  # key hash, value hash
Step = tuple[int, list[bytes]]


def seeded_key(text: str) -> PrivateKey:
    """The key whose seed is the SHA-256 of ``text``."""
    return PrivateKey.from_seed(sha256(text.encode()))


def genesis() -> Genesis:
    """The genesis of the vectors."""
    identities = [
        IdentityEntry(f"{org}-admin", org, ["org_admin"], ED25519, seeded_key(f"admin {org}").public_key)
        for org in ORGS
    ]
    identities.append(IdentityEntry("supplier-a", "gz", ["supplier"], ED25519, seeded_key("supplier").public_key))
    return Genesis(
        1,
        "dawan-vectors",
        "trade",
        CREATED_MS,
        [OrgEntry(org, org.upper(), True, [f"root certificate of {org}".encode()]) for org in ORGS],
        [ValidatorEntry(n, org, ED25519, seeded_key(f"validator {n}").public_key) for n, org in VALIDATORS],
        identities,
        [ModuleEntry("governance", 1, ZERO_HASH), ModuleEntry("receivable", 1, ZERO_HASH)],
        [ParamEntry("block_txs_max", 1000), ParamEntry("tx_lifetime_ms_max", 3600000)],
        [PolicyEntry("default", 3, "founding"), PolicyEntry("validator", 3, "founding")],
    )


def tree_node(entries: list[Entry], depth: int) -> bytes | None:
    """The hash of the subtree of ``entries``, which share their first ``depth`` nibbles."""
    if not entries:
        return None
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0][0] + entries[0][1])
    bitmap, children = 0, b""
    for nibble in range(16):
        child = tree_node([e for e in entries if int(e[0].hex()[depth], 16) == nibble], depth + 1)
        if child is not None:
            bitmap |= 1 << nibble
            children += child
    return sha256(b"\x01" + bitmap.to_bytes(2, "big") + children)


def state_root(values: Mapping[tuple[str, str, bytes], bytes]) -> bytes:
    """The root of a whole state."""
    entries = sorted((state_key_hash(*key), sha256(value)) for key, value in values.items())
    return tree_node(entries, 0) or ZERO_HASH


def state_path(
    values: Mapping[tuple[str, str, bytes], bytes], key: tuple[str, str, bytes]
) -> tuple[list[Step], list[bytes]]:
    """Steps and terminal of formats A.8 for ``key``."""
    entries = sorted((state_key_hash(*k), sha256(value)) for k, value in values.items())
    nibbles = state_key_hash(*key).hex()
    steps: list[Step] = []
    depth = 0
    while len(entries) > 1:
        own = int(nibbles[depth], 16)
        by_nibble = {n: [e for e in entries if int(e[0].hex()[depth], 16) == n] for n in range(16)}
        bitmap = sum(1 << n for n in range(16) if by_nibble[n])
        others = [tree_node(by_nibble[n], depth + 1) for n in range(16) if n != own and by_nibble[n]]
        steps.append((bitmap, [other for other in others if other is not None]))
        entries, depth = by_nibble[own], depth + 1
    return steps, list(entries[0]) if entries else []


def vectors() -> dict[str, bytes | int]:
    """All 19 vectors."""
    first = genesis()
    chain_id, validators = first.chain_id, first.validator_set
    body = Body(
        1,
        chain_id,
        bytes(range(16)),
        1764000600000,
        "receivable",
        "record_invoice",
        {
            "number": "INV-001",
            "buyer": "core-1",
            "issue_date": "2025-11-24",
            "due_date": "2026-05-20",
            "total": ["CNY", 100000000],
        },
    )
    envelope = sign_transaction(seeded_key("supplier"), body)
    tx = Transaction.decode(envelope)
    header = Header(
        1,
        chain_id,
        0,
        1,
        chain_id,
        merkle.root([tx.leaf_hash]),
        1,
        len(envelope),
        1764000001000,
        0,
        validators.hash,
        False,
    )
    receipt = Receipt(tx.tx_id, 1, 0, 0, "", [("InvoiceRecorded", {"number": "INV-001"})]).encode()
    state = {("receivable", "invoice", b"%03d" % i): encode([1, f"INV-{i:03d}", ["CNY", i]]) for i in range(40)}
    replay = tagged_hash(b"dawan:replay:v1", encode([[tx.public_key, body.nonce, body.valid_until_ms]]))
    state[("governance", "replay", (1).to_bytes(8, "big"))] = encode([1, replay])
    result0 = first.result(state_root({("governance", "genesis", b""): first.encoded}))
    result = Result(
        1, header.hash, result0.hash, state_root(state), merkle.root([merkle.leaf_hash(receipt)]), validators.hash
    )
    vote = commit_vote_bytes(chain_id, 0, 0, 1, header.hash, result.hash)
    keys = {seeded_key(f"validator {n}").public_key: seeded_key(f"validator {n}") for n, _ in VALIDATORS}
    signatures = [keys[validators.public_keys[i]].sign(COMMIT_TAG, vote) for i in (0, 1, 2)]
    certificate = CommitCertificate(0, 0, 1, header.hash, result.hash, bitmap_of((0, 1, 2), 4), signatures)
    finality = FinalityProof.build(header.encode(), result.encode(), [], certificate.encode()).encode()

    def state_proof(key: bytes) -> bytes:
        name = ("receivable", "invoice", key)
        steps, terminal = state_path(state, name)
        return StateProof(1, finality, *name, state.get(name, b""), steps, terminal).encode()

    return {
        "genesis": first.encoded,
        "chain_id": chain_id,
        "valset_hash": validators.hash,
        "body": tx.body_bytes,
        "envelope": envelope,
        "tx_id": tx.tx_id,
        "header": header.encode(),
        "block_hash": header.hash,
        "receipt": receipt,
        "state_root": result.state_root,
        "result": result.encode(),
        "result_hash": result.hash,
        "commit_vote": vote,
        "certificate": certificate.encode(),
        "finality_proof": finality,
        "tx_proof": TxProof(1, finality, receipt, 0, []).encode(),
        "state_proof_present": state_proof(b"007"),
        "state_proof_absent": state_proof(b"nope"),
        "primary_of_view_0": validators.primary(chain_id, 0, 0),
    }
