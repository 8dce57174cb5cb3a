"""Proofs: a record of another channel, believed here because this channel's client of that channel verifies it.

Never the node's own copy of the other ledger: nodes are at different heights of it and would disagree. A proof carries
everything; it is judged by the client's epochs alone. What it proves is used once for a purpose, whoever brings it and
whichever of the many proofs of the same record it is.
"""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, key_of
from dawan_node.modules.light_client.clients import epoch_of
from dawan_node.modules.light_client.declaration import Client, Use, module
from dawan_node.primitives.light_client import Statement, claimed_state_header, verified_state
from dawan_node.primitives.proofs import PROOF_BYTES_MAX

#: A purpose or a subject beside the 32 bytes of a statement's id inside a key of 256 bytes.
NAME_BYTES_MAX: Final = 100


@module.export("consume")
def consume(ctx: Context, proof: bytes, purpose: str, subject: str, oldest_ms: int = 0) -> Statement:
    """Verify a StateProof of a source channel and use it up for a purpose of the calling module.

    ``subject`` says for whom it is used, for the record. The proven block is not older than ``oldest_ms``. The same
    statement serves the same purpose once, so what it leads to happens once; ``uses`` tells for whom. A signature costs
    ``SIGNATURE_STEPS``. Fails with E_PROOF, E_CLIENT_FROZEN, E_PROOF_SCOPE, E_PROOF_STALE, E_PROOF_USED, E_PURPOSE.
    """
    return used_up(ctx, proof, f"{ctx.caller}:{purpose}", ctx.caller, subject, oldest_ms)


def used_up(ctx: Context, proof: bytes, purpose: str, owner: str, subject: str, oldest_ms: int = 0) -> Statement:
    """``consume`` for a module, or for this one."""
    for name in (purpose, subject):
        ctx.require(0 < len(name.encode()) <= NAME_BYTES_MAX, "E_PURPOSE")
        ctx.require("\x00" not in name and "\x01" not in name, "E_PURPOSE")
    said = _verified(ctx, proof)
    ctx.require(said.time_ms >= oldest_ms, "E_PROOF_STALE")
    ctx.require(ctx.get(Use, key_of(said.id, purpose)) is None, "E_PROOF_USED")
    ctx.put(
        Use(
            statement=said.id,
            purpose=purpose,
            module=owner,
            subject=subject,
            chain_id=said.chain_id,
            height=said.height,
            used_ms=ctx.time_ms,
        )
    )
    return said


def source_of(ctx: Context, chain_id: bytes) -> Client:
    """The client of the channel of that chain id, not frozen."""
    found = ctx.scan(Client, "by_chain", (chain_id,), limit=1)
    if not found:
        ctx.fail("E_PROOF")
    ctx.require(found[0].state == "ACTIVE", "E_CLIENT_FROZEN")
    return found[0]


def _verified(ctx: Context, proof: bytes) -> Statement:
    claimed = claimed_state_header(proof) if len(proof) <= PROOF_BYTES_MAX else None
    if claimed is None:
        ctx.fail("E_PROOF")
    client = source_of(ctx, claimed.chain_id)
    trusted = epoch_of(ctx, client, claimed.epoch)
    said = verified_state(proof, trusted, ctx.is_signed) if trusted is not None else None
    if said is None:
        ctx.fail("E_PROOF")
    ctx.require(said.module in client.modules, "E_PROOF_SCOPE")
    return said
