"""The pool takes any well-formed transaction at any time: it refuses by type and never holds more than its limits."""

from __future__ import annotations

from functools import cache

from dawan_node.errors import InvalidTransaction
from dawan_node.mempool import Admission, Mempool, MempoolLimits, replay_keys
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope
from tests.fuzz.drawing import EXTREMES, Draw, number

LIMITS = MempoolLimits(count_max=12, bytes_max=4_000)
NOW = 1_000_000
ORGANISATIONS = ("a", "b", "c", "")


@cache
def transaction(
    nonce: int, sender: int, padding: int, valid_until: int, is_barrier: bool, signature: int
) -> Transaction:
    command = ("governance", "enact") if is_barrier else ("m", "c")
    body = Body(1, bytes(32), nonce.to_bytes(16, "big"), valid_until, *command, {"p": "x" * padding})
    envelope = assemble_envelope(body.encode(), "ed25519", bytes([sender]) * 32, bytes([signature]) * 64)
    return Transaction.decode(envelope)


def mempool(draw: Draw) -> None:
    pool = Mempool(LIMITS, 3_600_000)
    seen: list[Transaction] = []
    for _ in range(draw.integer(1, 40)):
        now = number(draw, NOW, NOW + 3_600_000)
        block_time = number(draw, NOW)
        match draw.integer(0, 9):
            case 0 | 1 | 2 | 3 | 4:
                seen.append(
                    transaction(
                        draw.integer(0, 12),
                        draw.integer(0, 3),
                        draw.choice((0, 10, 900, 3_000)),
                        number(draw, NOW + 1_000, NOW + 3_600_000, NOW),
                        not draw.integer(0, 5),
                        draw.integer(0, 1),
                    )
                )
                organisation = draw.choice(ORGANISATIONS)
                try:
                    pool.check_room(seen[-1], organisation, now, block_time)
                    assert pool.add(seen[-1], organisation, now, block_time) in Admission
                except InvalidTransaction as refused:
                    assert refused.reason.startswith("E_")
            case 5:
                exclude = replay_keys(seen[: draw.integer(0, 3)])
                txs_max, bytes_max = draw.choice((0, 1, 5, 2**62)), draw.choice((0, 1, 700, 2**62))
                batch = pool.reap(txs_max, bytes_max, block_time, exclude)
                assert len(batch) <= txs_max and sum(len(tx.envelope) for tx in batch) <= bytes_max
                assert len(batch) <= 1 or not any(tx.is_barrier for tx in batch)
                assert not exclude & replay_keys(batch)
            case 6:
                pool.remove_decided([draw.choice(seen)] if seen else [])
            case 7:
                pool.expire(now)
            case 8:
                pool.shorten(draw.choice((1, 3_600_000, *EXTREMES)), now)
            case _:
                pool.restart_ages(now)
                assert len(pool.overdue(now, draw.choice((0, 1, 2**62)), draw.integer(0, 5))) <= 5
        stats = pool.stats()
        assert len(pool) == stats.count <= LIMITS.count_max
        assert pool.size_bytes == stats.bytes <= LIMITS.bytes_max
        assert sum(each.count for each in stats.by_organisation) == stats.count
        assert all(each.count <= LIMITS.organisation_count_max for each in stats.by_organisation)
    pool.discard([tx.leaf_hash for tx in seen])
    assert len(pool) == 0 and pool.size_bytes == 0 and pool.stats().by_organisation == ()
