"""Runs a module's commands block by block on a state in memory: no network, no consensus, no disk.

The fixture of a module's tests::

    kit = ModuleKit([receivable], people={"supplier-a": ("gz", ["supplier"]), "bank-1": ("hk", ["bank"])})
    receipt = kit.run("supplier-a", "record_invoice", {"number": "INV-1", ...})
    assert receipt.code == 0

    first, second = kit.block(kit.call("bank-1", "reserve", ...), kit.call("bank-2", "reserve", ...))

Every block passes the same checks as on a node (``Executor.check_block``), and after it every invariant of every
module is checked; a violation fails the test, and so does a move between states that its module does not declare
(``Module.state_machine``), or a refusal that its page does not tell. Signatures are not made: the kit tests rules, not
cryptography.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Self, TypeVar

import msgspec

from dawan_node.crypto import merkle
from dawan_node.crypto.signatures import ED25519, PrivateKey
from dawan_node.execution.entity import Entity
from dawan_node.execution.executor import Execution, Executor
from dawan_node.execution.loading import counted
from dawan_node.execution.module import Module
from dawan_node.execution.registry import Registry, load_module
from dawan_node.execution.state import Changes
from dawan_node.primitives.block import Header
from dawan_node.primitives.genesis import (
    Genesis,
    IdentityEntry,
    ModuleEntry,
    OrgEntry,
    ParamEntry,
    PolicyEntry,
    ValidatorEntry,
)
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.seat import SEAT_TAG, seat_claim_bytes
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope
from dawan_node.testing.invariant_watch import InvariantWatch
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.moves import Move, MoveWatch
from dawan_node.testing.records import Records
from dawan_node.testing.refusal_watch import check_refusals

E = TypeVar("E", bound=Entity)

#: 2025-11-24 16:00 UTC, which is 2025-11-25 in the district: tests meet the difference between the two dates.
CREATED_MS: Final = 1_764_000_000_000
DAY_MS: Final = 24 * 3_600_000

#: Where blocks check what changes, one in so many checks everything, as the end of a walk does.
FULL_CHECK_ONE_OF: Final = 64

#: The founding organisations of design section 1.
FOUNDERS: Final = ("gz", "hk", "hq", "mo")

#: Person -> (organisation, roles).
People = Mapping[str, tuple[str, Sequence[str]]]


class ModuleKit:
    """A channel of one process. ``state`` is the state after the last block."""

    #: Told of every block of every kit, when ``dawan-node module test`` watches (``module_recording``).
    witness: ClassVar[Callable[[ModuleKit, Execution, Sequence[Transaction]], None] | None] = None

    def __init__(
        self,
        modules: Sequence[Module],
        people: People,
        *,
        orgs: Sequence[str] = (),
        params: Mapping[str, int] | None = None,
        policies: Sequence[tuple[str, int, str]] = (),
        created_ms: int = CREATED_MS,
    ) -> None:
        """``people`` come on top of an administrator ``<org>-admin`` for each organisation: the four founders, those
        of ``orgs`` and of ``people``. Governance is added when ``modules`` lacks it. The first module is the one that
        ``run`` and ``call`` mean when none is named."""
        self.default_module: Final = modules[0].name if modules else "governance"
        given = {module.name: counted(module) for module in modules}
        if "governance" not in given:
            given["governance"] = load_module("governance", 1)
        self.genesis: Final = make_genesis(
            list(given.values()), people, orgs=orgs, params=params, policies=policies, created_ms=created_ms
        )
        self.executor: Final = Executor(Registry(given.values()), self.genesis)
        self._watch: Final = MoveWatch()
        self.executor.context_type = self._watch.context_type()
        self.state: Final = MemoryState()
        start = self.executor.genesis_state()
        self.state.apply(start.changes)
        self.height = 0
        self.time_ms = created_ms
        self.blocks: list[Execution] = []
        self._result = start.result
        self._validators = start.validators
        self._parent_hash = self.genesis.chain_id
        self._epoch = 0
        self._nonces = 0
        self._keys: dict[str, bytes] = {}
        self._invariants: InvariantWatch | None = None
        #: The moves between states that the last block made.
        self.block_moves: tuple[Move, ...] = ()

    def copy(self) -> Self:
        """Another channel with the same past, which goes its own way from here. ``moves`` are counted together."""
        made = copy.copy(self)
        state = self.state.copy()
        watch = None if self._invariants is None else self._invariants.copy(state)
        made.__dict__.update(state=state, _invariants=watch, blocks=self.blocks[:], _keys=dict(self._keys))
        return made

    def check_what_changes(self) -> None:
        """From now on a block checks the invariants whose answer it can have changed (``invariant_watch``); all of them
        are checked at one block in ``FULL_CHECK_ONE_OF``, which its state root picks, and by ``check_invariants``.

        For long random walks. Whoever puts something into ``state`` by hand must not be told so late of it.
        """
        self._invariants = InvariantWatch(self.executor, self.state)
        self._invariants.violations(Changes(), height=self.height, time_ms=self.time_ms)

    def call(self, person: str, command: str, args: Any = None, *, module: str = "") -> Transaction:
        """A transaction of ``person``; ``args`` is a map or an Args struct. Goes into a block with ``block``.

        The person signs with the key ``key_of_person`` gives, or the one ``use_key`` set after a rotation.
        """
        self._nonces += 1
        plain = msgspec.to_builtins({} if args is None else args, builtin_types=(bytes,))
        body = Body(
            1,
            self.genesis.chain_id,
            self._nonces.to_bytes(16, "big"),
            self.time_ms + self.genesis.param("tx_lifetime_ms_max"),
            module or self.default_module,
            command,
            plain,
        )
        key = self._keys.get(person, key_of_person(person))
        return Transaction.decode(assemble_envelope(body.encode(), ED25519, key, bytes(64)))

    def use_key(self, person: str, public_key: bytes) -> None:
        """From now on ``person`` signs with this key."""
        self._keys[person] = public_key

    def run(self, person: str, command: str, args: Any = None, *, module: str = "") -> Receipt:
        """One transaction in a block of its own, one second after the last; returns its receipt."""
        return self.block(self.call(person, command, args, module=module))[0]

    def block(self, *transactions: Transaction, after_ms: int = 1_000) -> tuple[Receipt, ...]:
        """Execute a block ``after_ms`` after the last one, apply it and check the invariants.

        Raises AssertionError when a node would refuse the block, an invariant is violated, a move is not declared or a
        refusal not read from the code.
        """
        header = self.header(transactions, after_ms)
        refusal = self.executor.check_block(self.state, self.time_ms, header, transactions)
        if refusal is not None:
            raise AssertionError(f"a node would refuse this block: {refusal}")
        execution = self.executor.execute(self.state, self._result, header, transactions)
        self.state.apply(execution.changes)
        self.blocks.append(execution)
        self.height, self.time_ms, self._parent_hash = header.height, header.timestamp_ms, header.hash
        self._result = execution.result
        if execution.next_validators != self._validators:
            self._validators = execution.next_validators
            self._epoch += 1
        self._check_after(execution)
        self.block_moves = self._watch.settle(self.executor.registry, transactions, execution.receipt_objects)
        check_refusals(self.executor.registry, transactions, execution.receipt_objects)
        witness = ModuleKit.witness
        if witness is not None:
            witness(self, execution, transactions)
        return execution.receipt_objects

    def header(self, transactions: Sequence[Transaction], after_ms: int = 1_000) -> Header:
        """The header of a next block with ``transactions``."""
        return Header(
            1,
            self.genesis.chain_id,
            self._epoch,
            self.height + 1,
            self._parent_hash,
            merkle.root([tx.leaf_hash for tx in transactions]),
            len(transactions),
            sum(len(tx.envelope) for tx in transactions),
            self.time_ms + after_ms,
            0,
            self._validators.hash,
            len(transactions) == 1 and transactions[0].is_barrier,
        )

    def pass_time(self, ms: int = 0, *, days: int = 0) -> None:
        """Let block time go on: the next block comes that much later, on top of its own second."""
        self.time_ms += ms + days * DAY_MS

    def get(self, kind: type[E], key: bytes) -> E | None:
        """An entity of the current state."""
        value = self.state.get(kind.spec.module, kind.spec.collection, key)
        entity: E | None = None if value is None else kind.spec.decode(value)
        return entity

    def entities(self, kind: type[E]) -> list[E]:
        """All entities of that kind in the current state, in the order of their keys."""
        records = Records(self.state) if self._invariants is None else self._invariants.records
        return list(records.every(kind))

    def query(
        self,
        query: str,
        params: Any = None,
        *,
        module: str = "",
        limit: int = 100,
        cursor: bytes | None = None,
    ) -> tuple[tuple[Any, ...], bytes | None]:
        """One page of a query on the current state: items and cursor."""
        plain = msgspec.to_builtins({} if params is None else params, builtin_types=(bytes,))
        return self.executor.query(
            self.state,
            module or self.default_module,
            query,
            plain,
            limit,
            cursor,
            height=self.height,
            time_ms=self.time_ms,
        )

    def check_invariants(self) -> None:
        """Raise AssertionError if any module's invariant is violated now."""
        violations = self.executor.violations(self.state, height=self.height, time_ms=self.time_ms)
        if violations:
            raise AssertionError(f"after block {self.height}: " + "; ".join(violations))

    def _check_after(self, execution: Execution) -> None:
        if self._invariants is None:
            self.check_invariants()
            return
        violations = self._invariants.violations(execution.changes, height=self.height, time_ms=self.time_ms)
        if violations:
            raise AssertionError(f"after block {self.height}: " + "; ".join(violations))
        if int.from_bytes(self.state_root[:4], "big") % FULL_CHECK_ONE_OF == 0:
            self.check_invariants()

    @property
    def moves(self) -> frozenset[Move]:
        """The moves between states that commands made so far, here and on copies of this kit."""
        return frozenset(self._watch.met)

    @property
    def state_root(self) -> bytes:
        """The state root after the last block."""
        return self._result.state_root


@functools.cache
def key_of_person(name: str) -> bytes:
    """The public key a person of that name has in a kit's genesis."""
    return private_key_of(name).public_key


def private_key_of(name: str) -> PrivateKey:
    """The private key behind ``key_of_person``, for tests that need real signatures."""
    return PrivateKey.from_seed(hashlib.sha256(b"person " + name.encode()).digest())


def seat_args(
    genesis: Genesis, proposal: str, validator: str, key: PrivateKey, *, org: str = "", addresses: Sequence[str] = ()
) -> dict[str, Any]:
    """The arguments of ``propose_validator`` and ``propose_validator_key``, with the key's claim to the seat."""
    claim = seat_claim_bytes(genesis.chain_id, validator, org or validator[:2], ED25519, key.public_key)
    return {
        "id": proposal,
        "validator": validator,
        "suite": ED25519,
        "public_key": key.public_key,
        "addresses": list(addresses),
        "possession": key.sign(SEAT_TAG, claim),
    }


def make_genesis(
    modules: Sequence[Module],
    people: People,
    *,
    orgs: Sequence[str] = (),
    params: Mapping[str, int] | None = None,
    policies: Sequence[tuple[str, int, str]] = (),
    created_ms: int = CREATED_MS,
) -> Genesis:
    """A genesis with the four founders and their validators, ``orgs`` and ``people`` as members, an administrator
    each."""
    members = {*FOUNDERS, *orgs, *(org for org, _ in people.values())}
    staff: dict[str, tuple[str, Sequence[str]]] = {f"{org}-admin": (org, ["org_admin"]) for org in members}
    staff.update(people)
    return Genesis(
        1,
        "kit",
        "kit",
        created_ms,
        [
            OrgEntry(org, org.upper(), org in FOUNDERS, [b"root certificate of " + org.encode()])
            for org in sorted(members)
        ],
        [ValidatorEntry(f"{org}1", org, ED25519, private_key_of(f"validator {org}1").public_key) for org in FOUNDERS],
        [
            IdentityEntry(name, org, sorted(roles), ED25519, key_of_person(name))
            for name, (org, roles) in sorted(staff.items())
        ],
        [
            ModuleEntry(module.name, module.version, bytes(32))
            for module in sorted(modules, key=lambda module: module.name)
        ],
        [ParamEntry(name, value) for name, value in sorted((params or {}).items())],
        [PolicyEntry(kind, votes, electorate) for kind, votes, electorate in sorted(policies)],  # type: ignore[arg-type]
    )
