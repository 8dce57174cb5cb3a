"""Long chains without consensus: what a channel's database holds after so many blocks, made as fast as it executes.

Everything in it is real: genesis, Ed25519 signatures on transactions and certificates (q of n, other signers at every
height, but none of the validators that the plan says were away), headers, receipts, state tree, all of it through
``Executor`` and ``Applier``, which judge every block as a validator would. What is missing is what nobody can see
afterwards: the votes before the certificates.

A chain is a function of its ``Plan`` and its genesis: transaction k, the block it is in and every time follow from k
alone. So signing is shared out over processes, and two runs give the same bytes::

    keys = Keys.of_kit()
    store = build(plan, keys, Path("trade/db"))       # the same head hash wherever it runs

``dawan_node.testing.long_chain_homes`` puts such chains under the nodes of a test network and keeps them in a cache.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from dawan_node.crypto import merkle
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import OperatorError
from dawan_node.execution.channel import validator_set
from dawan_node.execution.dates import add_days, business_date
from dawan_node.execution.executor import Executor
from dawan_node.execution.registry import Registry
from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.node.applier import Applier
from dawan_node.node.database.scratch import Unsynced
from dawan_node.node.metrics import StageTimes
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import COMMIT_TAG, CommitCertificate, bitmap_of, commit_vote_bytes
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.transaction import Body, Transaction, sign_transaction
from dawan_node.primitives.validators import ValidatorSet
from dawan_node.storage.channel_store import ChannelStore
from dawan_node.storage.leveldb import LevelDBStore
from dawan_node.testing.module_kit import CREATED_MS, make_genesis, private_key_of
from dawan_node.testing.trade import PEOPLE

#: Changes whenever the same plan gives other bytes, so that no cache serves a chain of old.
RECIPE: Final = 1

#: How long after its block a transaction stays valid; within every channel's limit, which is at least an hour.
VALID_FOR_MS: Final = 1_800_000

#: Transactions that one task of a signing process makes: about 50 ms of work against 1 ms of handing over.
SIGNED_AT_ONCE: Final = 1_000

#: Below this many transactions starting a process takes longer than signing here.
PROCESSES_FROM: Final = 4_000

#: Blocks between two lines of progress, and the seconds that must have passed.
PROGRESS_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Which chain. ``txs`` is per block, ``interval_ms`` the block time between two blocks; ``seed`` only makes
    another chain of the same shape. ``away`` names validators that sign no certificate, at most f: only a home that
    never signed may catch up and vote; one that finds its own forgotten vote observes for good (amendment U6)."""

    blocks: int
    txs: int = 1
    module: str = "receivable"
    seed: int = 1
    interval_ms: int = 1_000
    away: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("blocks", 1), ("txs", 1), ("seed", 0), ("interval_ms", 1)):
            if getattr(self, name) < least:
                raise OperatorError(f"--{name} {getattr(self, name)}", f"it is at least {least}", "Correct it.")
        if self.module not in STORIES:
            raise OperatorError(
                f"--module {self.module}", f"there are chains of {', '.join(sorted(STORIES))}", "Choose one of them."
            )

    @property
    def transactions(self) -> int:
        """Over all blocks."""
        return self.blocks * self.txs

    def time_ms(self, height: int, created_ms: int) -> int:
        """The block time at ``height``."""
        return created_ms + height * self.interval_ms

    def describe(self) -> str:
        """The plan as one line of JSON with sorted keys; part of a cache's key."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Keys:
    """A genesis with every private key the chain needs: those of its validators by index, and of its people."""

    genesis: Genesis
    validators: tuple[PrivateKey, ...]
    people: Mapping[str, PrivateKey]

    @classmethod
    def of(cls, genesis: Genesis, validators: Sequence[PrivateKey], people: Mapping[str, PrivateKey]) -> Keys:
        """Sort the validators' keys as the genesis has them. Raises KeyError when one is missing."""
        by_public = {key.public_key: key for key in validators}
        return cls(genesis, tuple(by_public[public] for public in genesis.validator_set.public_keys), people)

    @classmethod
    def of_kit(cls, module: str = "receivable", created_ms: int = CREATED_MS, **params: int) -> Keys:
        """A channel of the module kit, the same one everywhere; ``params`` are channel parameters."""
        names = sorted({"governance", module})
        registry = Registry.load([(name, 1) for name in names])
        modules = [registry.modules[name] for name in names]
        genesis = make_genesis(modules, PEOPLE, params=params, created_ms=created_ms)
        validators = [private_key_of(f"validator {entry.name}") for entry in genesis.validators]
        people = {entry.name: private_key_of(entry.name) for entry in genesis.identities}
        return cls.of(genesis, validators, people)


class _Receivables:
    """Every four transactions are one deal: an invoice is recorded and confirmed, a voucher issued on it and accepted.

    Suppliers take turns; each deal has numbers of its own, so every transaction succeeds.
    """

    def __init__(self, plan: Plan, genesis: Genesis) -> None:
        roles = {entry.name: set(entry.roles) for entry in genesis.identities}
        self._suppliers = sorted(name for name, held in roles.items() if "supplier" in held)
        cores = sorted(name for name, held in roles.items() if "core_enterprise" in held)
        if not self._suppliers or not cores:
            raise OperatorError(
                f"channel {genesis.channel} has no receivables",
                "its genesis names no supplier or no core enterprise",
                "Choose --module governance.",
            )
        self._core = cores[0]
        self._plan = plan
        self._created_ms = genesis.created_ms

    def call(self, number: int) -> tuple[str, str, dict[str, Any]]:
        deal, step = divmod(number, 4)
        # The day of the deal's first transaction; the others may fall into a later block.
        first_height = deal * 4 // self._plan.txs + 1
        today = business_date(self._plan.time_ms(first_height, self._created_ms))
        due = add_days(today, 180)
        supplier = self._suppliers[deal % len(self._suppliers)]
        minor = 10_000_00 + deal % 9_973
        invoice_number = f"S{self._plan.seed}-{deal:08d}"
        normalised = normalised_number(invoice_number)
        assert normalised is not None, invoice_number
        invoice = invoice_id(supplier, self._core, normalised, today, Money("CNY", minor))
        if step == 0:
            args: dict[str, Any] = {"number": invoice_number, "buyer": self._core, "issue_date": today}
            return supplier, "record_invoice", args | {"due_date": due, "total": ["CNY", minor]}
        if step == 1:
            return self._core, "confirm_invoice", {"invoice": invoice}
        voucher = f"V{self._plan.seed}-{deal:08d}"
        if step == 2:
            uses = [{"invoice": invoice, "minor": minor}]
            args = {"number": voucher, "holder": supplier, "face": ["CNY", minor], "due_date": due, "invoices": uses}
            return self._core, "issue_voucher", args
        return supplier, "accept_voucher", {"voucher": f"{self._core}/{voucher}"}


class _Ticks:
    """``governance.tick`` by the administrators in turn: the cheapest blocks there are, for tests of length alone."""

    def __init__(self, plan: Plan, genesis: Genesis) -> None:
        self._admins = sorted(entry.name for entry in genesis.identities if "org_admin" in entry.roles)

    def call(self, number: int) -> tuple[str, str, dict[str, Any]]:
        return self._admins[number % len(self._admins)], "tick", {}


STORIES: Final[dict[str, Callable[[Plan, Genesis], _Receivables | _Ticks]]] = {
    "receivable": _Receivables,
    "governance": _Ticks,
}


class Author:
    """Makes the plan's transactions, in any order and any process."""

    def __init__(self, plan: Plan, genesis: Genesis, people: Mapping[str, PrivateKey]) -> None:
        self._plan = plan
        self._chain_id = genesis.chain_id
        self._created_ms = genesis.created_ms
        self._people = people
        self._story = STORIES[plan.module](plan, genesis)

    def envelope(self, number: int) -> bytes:
        """Transaction ``number`` of the chain, counted from 0, signed."""
        person, command, args = self._story.call(number)
        time_ms = self._plan.time_ms(number // self._plan.txs + 1, self._created_ms)
        nonce = (self._plan.seed << 64 | number).to_bytes(16, "big")
        body = Body(1, self._chain_id, nonce, time_ms + VALID_FOR_MS, self._plan.module, command, args)
        return sign_transaction(self._people[person], body)

    def envelopes(self, first: int, last: int) -> list[bytes]:
        """Those from ``first`` up to, not including, ``last``."""
        return [self.envelope(number) for number in range(first, last)]


class Maker:
    """Puts block on block into an open store; also used to lengthen a chain that is there."""

    def __init__(self, keys: Keys, store: ChannelStore, away: Collection[str] = ()) -> None:
        genesis = keys.genesis
        executor = Executor(Registry.load([(each.name, each.version) for each in genesis.modules]), genesis)
        self.applier: Final = Applier(store, executor, genesis.created_ms, StageTimes())
        self._chain_id = genesis.chain_id
        #: By public key; whoever lets others vote adds theirs.
        self.signers: Final = {key.public_key: key for key in keys.validators}
        configuration = executor.configuration(store.state)
        self.validators = validator_set(configuration)
        self._away: Final = {entry.public_key for entry in genesis.validators if entry.name in away}
        head = store.head
        self.epoch = 0
        if head.header is not None:
            self.epoch = head.header.epoch + (head.result.next_valset_hash != head.header.valset_hash)

    def decide(self, envelopes: Sequence[bytes], time_ms: int) -> tuple[Header, Result, CommitCertificate]:
        """Judge, execute, certify and store one block. Raises AssertionError when it is not what the plan meant."""
        head, validators = self.applier.head, self.validators
        transactions = [Transaction.decode(envelope) for envelope in envelopes]
        header = Header(
            1,
            self._chain_id,
            self.epoch,
            head.height + 1,
            head.block_hash,
            merkle.root([each.leaf_hash for each in transactions]),
            len(transactions),
            sum(map(len, envelopes)),
            time_ms,
            validators.primary(self._chain_id, self.epoch, 0),
            validators.hash,
            len(transactions) == 1 and transactions[0].is_barrier,
        )
        refusal = self.applier.judge(header, transactions)
        if refusal is not None:
            raise AssertionError(f"a validator would refuse block {header.height}: {refusal}")
        execution = self.applier.execute(header.hash, header, transactions).execution
        for receipt in execution.receipt_objects:
            if receipt.code:
                raise AssertionError(f"transaction {receipt.index} of block {header.height}: {receipt.reason}")
        certificate = certify(validators, self.signers, header, execution.result, away=self._away)
        self.applier.commit(header.hash, header, execution.result, certificate, (), transactions)
        if execution.next_validators != validators:
            self.validators, self.epoch = execution.next_validators, self.epoch + 1
        return header, execution.result, certificate


def certify(
    validators: ValidatorSet,
    signers_of: Mapping[bytes, PrivateKey],
    header: Header,
    result: Result,
    *,
    view: int = 0,
    away: Collection[bytes] = (),
) -> CommitCertificate:
    """The certificate of q of ``validators``, other ones at every height, and never one of the keys ``away``."""
    vote = commit_vote_bytes(header.chain_id, header.epoch, view, header.height, header.hash, result.hash)
    there = [index for index, key in enumerate(validators.public_keys) if key not in away]
    signers = sorted(there[(header.height + place) % len(there)] for place in range(validators.q))
    return CommitCertificate(
        header.epoch,
        view,
        header.height,
        header.hash,
        result.hash,
        bitmap_of(signers, validators.n),
        [signers_of[validators.public_keys[index]].sign(COMMIT_TAG, vote) for index in signers],
    )


def build(
    plan: Plan,
    keys: Keys,
    database: Path,
    *,
    processes: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Result:
    """Make the database of the chain in the new directory ``database``; the result of its last block.

    ``processes`` sign beside this one (default: one per core, none for a short chain). Raises OperatorError for a
    plan the channel does not allow, or when a database is there.
    """
    check(plan, keys.genesis)
    executor = Executor(Registry.load([(each.name, each.version) for each in keys.genesis.modules]), keys.genesis)
    first = executor.genesis_state()
    ChannelStore.create(database, first.result, first.changes, keys.genesis.created_ms)
    store = Unsynced(LevelDBStore.open(database))
    try:
        maker = Maker(keys, ChannelStore.over(store, keys.genesis.chain_id), plan.away)
        started = said = time.monotonic()
        pending: list[bytes] = []
        with ExitStack() as stack:
            height = 0
            for envelopes in _signed(plan, keys, processes, stack):
                pending += envelopes
                while len(pending) >= plan.txs:
                    block, pending = pending[: plan.txs], pending[plan.txs :]
                    height += 1
                    maker.decide(block, plan.time_ms(height, keys.genesis.created_ms))
                    now = time.monotonic()
                    if now - said >= PROGRESS_S:
                        said = now
                        rate = height / (now - started)
                        report(
                            f"{height:,} of {plan.blocks:,} blocks, {rate:,.0f} blocks/s, {rate * plan.txs:,.0f} "
                            f"transactions/s, {(plan.blocks - height) / rate:,.0f} s to go"
                        )
        store.finish()
        return maker.applier.head.result
    finally:
        store.close()


def check(plan: Plan, genesis: Genesis) -> None:
    """Whether the channel's blocks may be so. Raises OperatorError."""
    if plan.txs > genesis.param("block_txs_max"):
        raise OperatorError(
            f"--txs {plan.txs}",
            f"a block of {genesis.channel} has at most {genesis.param('block_txs_max')} transactions",
            "Make more blocks instead.",
        )
    if plan.module not in {module.name for module in genesis.modules}:
        raise OperatorError(f"--module {plan.module}", f"it does not run on {genesis.channel}", "Choose another one.")
    known, spare = {entry.name for entry in genesis.validators}, genesis.validator_set.n - genesis.validator_set.q
    if not known.issuperset(plan.away) or len(set(plan.away)) > spare:
        raise OperatorError(
            f"validators away: {', '.join(plan.away)}",
            f"{genesis.channel} has {', '.join(sorted(known))}, and at most {spare} of them may be missing",
            "Name fewer, or make the chain of more validators.",
        )
    end_ms = plan.time_ms(plan.blocks, genesis.created_ms)
    if end_ms > time.time() * 1000:
        raise OperatorError(
            f"--blocks {plan.blocks}",
            "the last block would lie in the future, and validators could not go on from it",
            f"Choose --interval-ms below {plan.interval_ms}.",
        )


def _signed(plan: Plan, keys: Keys, processes: int | None, stack: ExitStack) -> Iterator[list[bytes]]:
    """All envelopes in order, made here or by other processes a bounded number of tasks ahead."""
    ranges = [
        (first, min(first + SIGNED_AT_ONCE, plan.transactions)) for first in range(0, plan.transactions, SIGNED_AT_ONCE)
    ]
    if processes is None:
        processes = len(os.sched_getaffinity(0)) if plan.transactions >= PROCESSES_FROM else 0
    if not processes:
        author = Author(plan, keys.genesis, keys.people)
        for first, last in ranges:
            yield author.envelopes(first, last)
        return
    seeds = {name: key.seed() for name, key in keys.people.items()}
    # Never fork: LevelDB is open in this process.
    pool = stack.enter_context(
        ProcessPoolExecutor(
            processes,
            multiprocessing.get_context("spawn"),
            initializer=_start_author,
            initargs=(asdict(plan), keys.genesis.encoded, seeds),
        )
    )
    waiting: list[Future[list[bytes]]] = []
    rest = iter(ranges)
    for first, last in rest:
        waiting.append(pool.submit(_envelopes, first, last))
        if len(waiting) > 4 * processes:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


_authors: list[Author] = []  # one, in a signing process


def _start_author(plan: dict[str, Any], genesis: bytes, seeds: Mapping[str, bytes]) -> None:
    people = {name: PrivateKey.from_seed(seed) for name, seed in seeds.items()}
    _authors.append(Author(Plan(**plan), Genesis.decode(genesis), people))


def _envelopes(first: int, last: int) -> list[bytes]:
    return _authors[0].envelopes(first, last)
