"""A channel's ledger for the tests of its parts: real genesis, modules, keys, executor and store, without a network.

ledger = Ledger()
first = ledger.decide(ledger.block(ledger.transaction(), ledger.transaction()))
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from dawan_node.consensus.config import ChannelRules
from dawan_node.crypto import merkle
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.execution.dates import business_date
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry, load_module
from dawan_node.node.applier import Applier, Executed, Stored
from dawan_node.node.metrics import StageTimes
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, CommitCertificate, bitmap_of, commit_vote_bytes
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope, sign_transaction
from dawan_node.storage.channel_store import ChannelStore, write_genesis
from dawan_node.storage.kv import MemoryStore
from dawan_node.testing.module_kit import CREATED_MS, make_genesis, private_key_of
from dawan_node.testing.trade import PEOPLE

#: What the wall clock of a test shows at first: a minute after the genesis.
START_MS = CREATED_MS + 60_000
MODULES = (load_module("governance", 1), load_module("receivable", 1))

#: Everybody who signs invoices in these tests, and the organisation each belongs to.
SELLERS = ("supplier-a", "supplier-b", "supplier-c")


@cache
def trade_genesis() -> Genesis:
    """The channel of these tests; small blocks, so that a few transactions fill several."""
    return make_genesis(MODULES, PEOPLE, params={"block_txs_max": 20})


@cache
def validator_keys() -> tuple[PrivateKey, ...]:
    """By validator index."""
    genesis = trade_genesis()
    keys = {private_key_of(f"validator {entry.name}") for entry in genesis.validators}
    by_public = {key.public_key: key for key in keys}
    return tuple(by_public[public_key] for public_key in genesis.validator_set.public_keys)


class Author:
    """Makes signed transactions, each with a nonce and an invoice number of its own."""

    def __init__(self, genesis: Genesis | None = None) -> None:
        self.genesis = genesis or trade_genesis()
        self._numbers = iter(range(1, 1_000_000))

    def body(
        self,
        command: str = "record_invoice",
        args: dict[str, Any] | None = None,
        *,
        time_ms: int = START_MS,
        module: str = "receivable",
        nonce: int = 0,
        lifetime_ms: int = 3_000_000,
        chain_id: bytes = b"",
    ) -> Body:
        number = nonce or next(self._numbers)
        if args is None:
            today = business_date(time_ms)
            args = {
                "number": f"INV-{number:06d}",
                "buyer": "core-1",
                "issue_date": today,
                "due_date": today,
                "total": ["CNY", 100_00 + number],
            }
        return Body(
            1,
            chain_id or self.genesis.chain_id,
            number.to_bytes(16, "big"),
            time_ms + lifetime_ms,
            module,
            command,
            args,
        )

    def transaction(self, person: str = "supplier-a", *given: Any, **more: Any) -> Transaction:
        return Transaction.decode(sign_transaction(private_key_of(person), self.body(*given, **more)))

    def admin(self, org: str, command: str, args: dict[str, Any], *, time_ms: int = START_MS) -> Transaction:
        """A command of governance."""
        return self.transaction(f"{org}-admin", command, args, module="governance", time_ms=time_ms)


def wrongly_signed(transaction: Transaction) -> Transaction:
    """The same body under a signature that is not the key's."""
    forged = PrivateKey.generate().sign(b"dawan:tx:v1", transaction.body_bytes)
    return Transaction.decode(
        assemble_envelope(transaction.body_bytes, transaction.suite, transaction.public_key, forged)
    )


def certify(header: Header, result: Result, *, view: int = 0) -> CommitCertificate:
    """A commit certificate of the first q validators of the genesis."""
    genesis = trade_genesis()
    validators = genesis.validator_set
    vote = commit_vote_bytes(genesis.chain_id, header.epoch, view, header.height, header.hash, result.hash)
    signers = range(validators.q)
    return CommitCertificate(
        header.epoch,
        view,
        header.height,
        header.hash,
        result.hash,
        bitmap_of(signers, validators.n),
        [validator_keys()[index].sign(COMMIT_TAG, vote) for index in signers],
    )


@dataclass(frozen=True, slots=True)
class Block:
    """A header with its transactions."""

    header: Header
    transactions: tuple[Transaction, ...]

    @property
    def hash(self) -> bytes:
        return self.header.hash


class Ledger(Author):
    """A store with an applier on it."""

    def __init__(self, genesis: Genesis | None = None) -> None:
        super().__init__(genesis)
        self.kv = MemoryStore()
        registry = Registry(MODULES)
        self.executor = Executor(registry, self.genesis)
        first = self.executor.genesis_state()
        write_genesis(self.kv, first.result, first.changes, self.genesis.created_ms)
        self.store = ChannelStore.over(self.kv, self.genesis.chain_id)
        self.stages = StageTimes()
        self.applier = Applier(self.store, self.executor, self.genesis.created_ms, self.stages)
        self.rules = ChannelRules.of_genesis(self.genesis)

    def block(
        self,
        *transactions: Transaction,
        on: Block | None = None,
        time_ms: int = 0,
        barrier: bool | None = None,
    ) -> Block:
        """A block on top of the head, or of another block."""
        head = self.applier.head
        height, parent = (head.height, head.block_hash) if on is None else (on.header.height, on.hash)
        before = head.timestamp_ms if on is None else on.header.timestamp_ms
        header = Header(
            1,
            self.genesis.chain_id,
            0,
            height + 1,
            parent,
            merkle.root([tx.leaf_hash for tx in transactions]),
            len(transactions),
            sum(len(tx.envelope) for tx in transactions),
            time_ms or max(START_MS, before + 1),
            0,
            self.genesis.validator_set.hash,
            any(tx.is_barrier for tx in transactions) if barrier is None else barrier,
        )
        return Block(header, transactions)

    def execute(self, block: Block) -> Executed:
        return self.applier.execute(block.hash, block.header, block.transactions)

    def commit(self, block: Block, result: Result) -> Stored:
        return self.applier.commit(
            block.hash, block.header, result, certify(block.header, result), (), block.transactions
        )

    def decide(self, block: Block) -> Stored:
        """Execute, certify and store."""
        return self.commit(block, self.execute(block).execution.result)

    def grow(self, count: int) -> list[Block]:
        """``count`` decided blocks of one transaction each."""
        blocks = []
        for _ in range(count):
            blocks.append(self.block(self.transaction()))
            self.decide(blocks[-1])
        return blocks


def envelopes_of(transactions: Iterable[Transaction]) -> list[bytes]:
    return [transaction.envelope for transaction in transactions]


def leaves_of(transactions: Sequence[Transaction]) -> tuple[bytes, ...]:
    return tuple(transaction.leaf_hash for transaction in transactions)
