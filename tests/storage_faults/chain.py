"""The chain of these tests, the same in every run: one validator, one transaction a block, a clock that stands.

So every block hash, result and state root is known beforehand, from executing the chain once in memory, and whatever a
damaged disk gives back can be compared with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dawan_node.crypto import merkle
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry, load_module
from dawan_node.execution.state import Changes
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Transaction
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.module_kit import make_genesis, private_key_of
from dawan_node.testing.trade import PEOPLE
from tests.node.ledger import SELLERS, START_MS, Author

#: The length of the run whose every storage call is made to fail (issue 5, Show 1).
BLOCKS = 200

NODE_NAME = "gz1"
MODULES = (load_module("governance", 1), load_module("receivable", 1))


@cache
def genesis() -> Genesis:
    """A channel that one validator decides alone, in blocks of one transaction."""
    four = make_genesis(MODULES, PEOPLE, params={"block_txs_max": 1})
    alone = [entry for entry in four.validators if entry.name == NODE_NAME]
    return Genesis(
        1, "faults", "trade", four.created_ms, four.orgs, alone, four.identities, four.modules, four.params,
        four.policies,
    )  # fmt: skip


def validator_key() -> PrivateKey:
    """The key of the one validator."""
    return private_key_of(f"validator {NODE_NAME}")


@cache
def transaction(height: int) -> Transaction:
    """The one transaction of the block at ``height``."""
    return Author(genesis()).transaction(SELLERS[height % len(SELLERS)], nonce=height)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be stored at one height."""

    header: Header | None
    result: Result
    receipts: tuple[bytes, ...]
    changes: Changes


def executor() -> Executor:
    """A new executor of the channel."""
    return Executor(Registry(MODULES), genesis())


def expected() -> Iterator[Expected]:
    """Height by height from the genesis, without end."""
    runner, state = executor(), MemoryState()
    start = runner.genesis_state()
    state.apply(start.changes)
    result, parent_hash, time_ms, height = start.result, genesis().chain_id, genesis().created_ms, 0
    yield Expected(None, result, (), start.changes)
    while True:
        height += 1
        given = transaction(height)
        time_ms = max(START_MS, time_ms + 1)
        header = Header(
            1, genesis().chain_id, 0, height, parent_hash, merkle.root([given.leaf_hash]), 1, len(given.envelope),
            time_ms, 0, genesis().validator_set.hash, False,
        )  # fmt: skip
        execution = runner.execute(state, result, header, [given])
        assert [receipt.code for receipt in execution.receipt_objects] == [0]
        state.apply(execution.changes)
        result, parent_hash = execution.result, header.hash
        yield Expected(header, result, execution.receipts, execution.changes)


_source = expected()
_known: list[Expected] = []


def at(height: int) -> Expected:
    """What must be stored at ``height``; each height is executed once in a process."""
    while len(_known) <= height:
        _known.append(next(_source))
    return _known[height]


def state_at(height: int) -> MemoryState:
    """The whole state after the block at ``height``."""
    state = MemoryState()
    for each in range(height + 1):
        state.apply(at(each).changes)
    return state
