"""Runs blocks: the pure function from (parent state, header, transactions) to receipts, changes and a result.

Each transaction goes through the same gates in the same order, and the first that closes gives the receipt's code:
known command (1008), key registered or in force as a validator's, of an active organisation (1), module not frozen
(6), role (2), argument schema
(1009), then the command itself (3 with the module's reason; 4 when the module breaks, 5 when it uses too many steps,
7 when it reaches into another module). Only a command that returns changes anything. The nonce is used up whatever the
code (amendment U9).

After the transactions one state entry records the block's nonces (formats A.5), entries of blocks older than 24 hours
leave, and the state tree takes all changes in one update. Nothing but the header, the transactions and the parent's
state is read (amendment L14): not the view, the clock, a certificate, or what was decided meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from opcode import opmap
from typing import Any, Final

import msgspec

from dawan_node.crypto import merkle
from dawan_node.errors import DawanError, InvalidBlock, InvalidInput, StorageError
from dawan_node.execution import state_tree
from dawan_node.execution.channel import (
    CONFIGURATION_KEY,
    GENESIS_COLLECTION,
    GOVERNANCE,
    REPLAY_COLLECTION,
    Configuration,
    Credential,
    GenesisView,
    Identity,
    seats,
    validator_set,
)
from dawan_node.execution.context import SCAN_LIMIT_MAX, Context, Failure, NamespaceViolation, QueryContext
from dawan_node.execution.describe import describe_module
from dawan_node.execution.layers import BlockLayer, ModuleFault, OutOfSteps, TransactionLayer
from dawan_node.execution.registry import Registry, convert_args
from dawan_node.execution.state import Changes, SortedIndex, StateReader
from dawan_node.execution.text import first_unassigned
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.codes import Code
from dawan_node.primitives.genesis import TX_LIFETIME_MS_CEILING, Genesis
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.replay import replay_value
from dawan_node.primitives.transaction import Transaction
from dawan_node.primitives.validators import ValidatorSet

#: Index of the replay entries by block time; not derived from the entries but from the headers of their heights.
REPLAY_INDEX: Final = "by_time"

#: Replay entries one block deletes at most. Each block adds one, so any number above one drains what an idle day
#: left behind, and no block after such a day does noticeably more work than another.
REPLAY_DELETIONS_MAX: Final = 64
#: What is looked at first: as a rule one of these is old enough and the other is not.
_REPLAY_GLANCE: Final = 2

#: Steps of one query; reads only, and a page of a thousand large entities stays below.
QUERY_STEPS_MAX: Final = 20_000

#: The instruction of a ``raise`` with an exception.
_RAISE: Final = opmap["RAISE_VARARGS"]

#: Invariants walk the whole state; they run in tests and audits, never in the path of a block.
_UNLIMITED: Final = 2**62


class InvalidQuery(InvalidInput):
    """A query that no module declares, or parameters that do not fit it; ``path`` names the first wrong one."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path: Final = path


@dataclass(frozen=True, slots=True)
class GenesisState:
    """What a channel starts from: ``result(0)``, one state entry, the first validators."""

    result: Result
    changes: Changes
    validators: ValidatorSet


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a module broke, for the node's log; the receipt only says 4."""

    index: int
    command: str
    error: str  # the exception's type and place, not its text


@dataclass(frozen=True, slots=True)
class Execution:
    """A block executed on its parent's state. ``receipts`` are encoded, ``receipt_objects`` the same decoded."""

    header: Header
    result: Result
    receipts: tuple[bytes, ...]
    receipt_objects: tuple[Receipt, ...]
    changes: Changes
    next_validators: ValidatorSet
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the configuration of the parent state says for this whole block."""

    steps_max: int
    frozen: frozenset[str]
    active_orgs: frozenset[str]
    validators: ValidatorSet
    seats: Mapping[bytes, Credential]


class Executor:
    """Executes the blocks of one channel. Holds no state of the channel: only its modules and its genesis."""

    #: What commands see; the module kit puts one in its place that also notes which states they move.
    context_type: type[Context] = Context

    def __init__(self, registry: Registry, genesis: Genesis) -> None:
        self._registry: Final = registry
        self._genesis: Final = GenesisView.of(genesis)
        # The last configuration seen and its rules: they change only in barrier blocks, so this hits nearly always.
        self._rules: tuple[Configuration, _Rules] = _derive(self._genesis.configuration)

    @property
    def registry(self) -> Registry:
        """The channel's modules."""
        return self._registry

    @property
    def genesis(self) -> GenesisView:
        """The channel's genesis, indexed."""
        return self._genesis

    def genesis_state(self) -> GenesisState:
        """Height 0: governance has written the genesis, as it is, under the empty key, and nothing else."""
        genesis = self._genesis.genesis
        value = genesis.encoded
        key_hash = _key_hash(GOVERNANCE, GENESIS_COLLECTION, b"")
        root, nodes, _ = state_tree.update(lambda _: None, {key_hash: hashlib.sha256(value).digest()})
        changes = Changes(state={(GOVERNANCE, GENESIS_COLLECTION, b""): value}, nodes=nodes)
        return GenesisState(genesis.result(root), changes, genesis.validator_set)

    def configuration(self, reader: StateReader) -> Configuration:
        """The configuration in force for the block after the state that ``reader`` shows."""
        value = reader.get(GOVERNANCE, Configuration.spec.collection, CONFIGURATION_KEY)
        if value is None:
            return self._genesis.configuration
        found: Configuration = Configuration.spec.decode(value)
        return self._genesis.configuration_of(lambda kind, key: found)

    def check_block(
        self,
        parent: StateReader,
        parent_timestamp_ms: int,
        header: Header,
        transactions: Sequence[Transaction],
    ) -> str | None:
        """Why a replica refuses this block, or None (amendment U9, grounds 2 to 5, without signatures).

        All are functions of header, envelopes, branch and configuration. The caller has checked the header itself
        and every envelope's encoding, suite and signature.
        """
        if header.tx_count != len(transactions):
            return f"the header counts {header.tx_count} transactions, the block has {len(transactions)}"
        if header.body_bytes != sum(len(tx.envelope) for tx in transactions):
            return "the header's body_bytes is not the sum of the envelopes"
        if header.barrier != (len(transactions) == 1 and transactions[0].is_barrier):
            return "the barrier flag does not fit the block's content"
        configuration = self.configuration(parent)
        limits = dict(configuration.params)
        lifetime_ms = min(limits["tx_lifetime_ms_max"], TX_LIFETIME_MS_CEILING)
        earliest, latest = header.timestamp_ms, header.timestamp_ms + lifetime_ms
        seen: set[tuple[bytes, bytes]] = set()
        for position, tx in enumerate(transactions):
            body = tx.body
            if body.chain_id != header.chain_id:
                return f"transaction {position} belongs to another chain"
            if tx.is_barrier and not header.barrier:
                return f"transaction {position} is a barrier command among others"
            if not earliest < body.valid_until_ms <= latest:
                return f"transaction {position} is not valid at the block's time"
            use = (tx.public_key, body.nonce)
            if use in seen:
                return f"transaction {position} uses its nonce twice in this block"
            seen.add(use)
            used_until = parent.nonce_used(*use)
            if used_until is not None and used_until > parent_timestamp_ms:
                return f"transaction {position} uses a nonce that its branch has used"
        return None

    def execute(
        self,
        parent: StateReader,
        parent_result: Result,
        header: Header,
        transactions: Sequence[Transaction],
    ) -> Execution:
        """Run a block that ``check_block`` accepts on the state after its parent.

        Never raises on what a transaction contains. Raises StorageError when ``parent`` cannot be read, InvalidBlock
        when a barrier command stands in a block that is none, or the header names another validator set than the
        parent's state (an unchecked block: the caller's mistake).
        """
        rules = self._rules_at(parent)
        if header.valset_hash != rules.validators.hash:
            raise InvalidBlock(f"the header at height {header.height} names another validator set than its branch")
        block = BlockLayer(parent)
        receipts: list[Receipt] = []
        encoded: list[bytes] = []
        faults: list[Fault] = []
        for index, tx in enumerate(transactions):
            if tx.is_barrier and not header.barrier:
                raise InvalidBlock(f"transaction {index} is a barrier command in a block that is no barrier")
            receipt = self._run(block, rules, header, index, tx, faults)
            receipts.append(receipt)
            encoded.append(receipt.encode())
        nonces = [(tx.public_key, tx.body.nonce, tx.body.valid_until_ms) for tx in transactions]
        _record_nonces(block, header, nonces)
        root, nodes, patches = _update_tree(parent, block.values)
        validators = self._validators_after(block) if header.barrier else rules.validators
        result = Result(
            header.height,
            header.hash,
            parent_result.hash,
            root,
            merkle.root([merkle.leaf_hash(receipt) for receipt in encoded]),
            validators.hash if header.barrier else header.valset_hash,
        )
        changes = Changes(block.values, block.flat_indexes(), nodes, nonces, patches)
        return Execution(header, result, tuple(encoded), tuple(receipts), changes, validators, tuple(faults))

    def query(
        self,
        reader: StateReader,
        module: str,
        query: str,
        params: dict[str, Any],
        limit: int,
        cursor: bytes | None,
        *,
        height: int,
        time_ms: int,
    ) -> tuple[tuple[Any, ...], bytes | None]:
        """One page of a module's query on the state after the block at ``height``, whose time is ``time_ms``.

        Items are the query's structs. Raises InvalidQuery.
        """
        found = self._registry.module(module)
        declared = found.queries.get(query) if found is not None else None
        if found is None or declared is None:
            raise InvalidQuery("", f"{module} has no query {query}")
        if not 1 <= limit <= SCAN_LIMIT_MAX:
            raise InvalidQuery("limit", f"a page has 1 to {SCAN_LIMIT_MAX} items")
        try:
            typed = convert_args(params, declared.params)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at `$")
            raise InvalidQuery(where.removesuffix("`").removeprefix(".") or "params", message) from None
        layer = TransactionLayer(BlockLayer(reader), QUERY_STEPS_MAX)
        context = QueryContext(layer, self._registry, found, self._genesis, time_ms=time_ms, height=height)
        try:
            page = declared.function(context, typed, limit, cursor)
            return page.items, page.cursor
        except OutOfSteps:
            raise InvalidQuery("limit", "this page needs too many steps; ask for fewer items") from None
        except (ModuleFault, NamespaceViolation) as error:
            raise InvalidQuery("limit", str(error)) from None
        except DawanError:  # a cursor that is none, a state that is kept no more, a doubt about the disk
            raise
        except Exception as error:  # whatever else a module raises
            # A StopIteration would never reach who waits for a thread's outcome.
            raise InvalidQuery("", "the module failed") from error

    def violations(self, reader: StateReader, *, height: int, time_ms: int) -> list[str]:
        """What the modules' invariant checkers find wrong with a state: ``module.invariant: finding`` lines."""
        found: list[str] = []
        for module in self._registry.modules.values():
            for name, invariant in module.invariants.items():
                layer = TransactionLayer(BlockLayer(reader), _UNLIMITED)
                context = QueryContext(layer, self._registry, module, self._genesis, time_ms=time_ms, height=height)
                found += [f"{module.name}.{name}: {finding}" for finding in invariant(context)]
        return found

    def describe(self, module: str) -> Mapping[str, Any] | None:
        """A module's commands, queries, entities and events as one JSON Schema document; None if it does not run."""
        found = self._registry.module(module)
        return None if found is None else describe_module(found)

    def _run(
        self,
        block: BlockLayer,
        rules: _Rules,
        header: Header,
        index: int,
        tx: Transaction,
        faults: list[Fault],
    ) -> Receipt:
        """One transaction: the gates, the command, its receipt."""
        body = tx.body
        found = self._registry.command(body.module, body.command)
        if found is None:
            return _failed(tx, header, index, Code.E_UNKNOWN_COMMAND)
        module, command = found
        credential, is_seat = self._sender(block, rules, tx)
        if credential is None or credential.org not in rules.active_orgs:
            return _failed(tx, header, index, Code.E_IDENTITY)
        if module.name in rules.frozen:
            return _failed(tx, header, index, Code.E_FROZEN)
        if not command.is_open_to(credential.roles, is_seat):
            return _failed(tx, header, index, Code.E_ROLE)
        if first_unassigned(body.args) is not None:
            return _failed(tx, header, index, Code.E_SCHEMA)
        try:
            args = convert_args(body.args, command.args)
        except msgspec.ValidationError:
            return _failed(tx, header, index, Code.E_SCHEMA)
        layer = TransactionLayer(block, rules.steps_max)
        context = self.context_type(
            layer,
            self._registry,
            module,
            self._genesis,
            time_ms=header.timestamp_ms,
            height=header.height,
            tx_id=tx.tx_id,
            sender=Identity(
                credential.name,
                credential.org,
                credential.roles,
                credential.suite,
                credential.public_key,
                "active",
                credential.from_height,
            ),
        )
        try:
            command.function(context, args)
        except Failure as failure:
            return Receipt(tx.tx_id, header.height, index, int(Code.E_MODULE), failure.reason, [])
        except OutOfSteps:
            return _failed(tx, header, index, Code.E_BUDGET)
        except NamespaceViolation as error:
            faults.append(Fault(index, f"{body.module}.{body.command}", str(error)))
            return _failed(tx, header, index, Code.E_NAMESPACE)
        except StorageError:
            # The world's fault, not the module's: this node must stop, not answer differently from the others.
            raise
        except BaseException as error:
            # The boundary between the node and module code: whatever a module raises is its own failed receipt.
            if isinstance(error, KeyboardInterrupt) and not _is_raised(error):
                raise  # somebody stops the tool that executes, which is no result of the block
            faults.append(Fault(index, f"{body.module}.{body.command}", _place_of(error)))
            return _failed(tx, header, index, Code.E_MODULE_FAULT)
        if layer.steps > rules.steps_max:
            return _failed(tx, header, index, Code.E_BUDGET)
        layer.commit()
        return Receipt(tx.tx_id, header.height, index, 0, "", layer.events)

    def _sender(self, block: BlockLayer, rules: _Rules, tx: Transaction) -> tuple[Credential | None, bool]:
        """What the signing key stands for, and whether as a validator's: one key never stands for a person too."""
        credential = self._credential(block, tx)
        if credential is not None:
            return credential, False
        seat = rules.seats.get(tx.public_key)
        return (None if seat is None or seat.suite != tx.suite else seat), True

    def _credential(self, block: BlockLayer, tx: Transaction) -> Credential | None:
        """The record of the signing key, if it holds at this point of the block."""
        public_key = tx.public_key
        spec = Credential.spec
        credential = block.load(spec, (GOVERNANCE, spec.collection, public_key))[0]
        if credential is None:
            credential = self._genesis.credentials.get(public_key)
        if credential is None or credential.until_height or credential.suite != tx.suite:
            return None
        return credential  # type: ignore[no-any-return]

    def _rules_at(self, parent: StateReader) -> _Rules:
        configuration = self.configuration(parent)
        if configuration != self._rules[0]:
            self._rules = _derive(configuration)
        return self._rules[1]

    def _validators_after(self, block: BlockLayer) -> ValidatorSet:
        spec = Configuration.spec
        changed: Configuration | None = block.load(spec, (GOVERNANCE, spec.collection, CONFIGURATION_KEY))[0]
        return validator_set(changed or self._genesis.configuration)


def _derive(configuration: Configuration) -> tuple[Configuration, _Rules]:
    return configuration, _Rules(
        configuration.param("tx_steps_max"),
        frozenset(configuration.frozen_modules),
        configuration.active_orgs,
        validator_set(configuration),
        seats(configuration),
    )


def _failed(tx: Transaction, header: Header, index: int, code: Code) -> Receipt:
    return Receipt(tx.tx_id, header.height, index, int(code), code.name, [])


def _record_nonces(block: BlockLayer, header: Header, nonces: Sequence[tuple[bytes, bytes, int]]) -> None:
    """Write this block's replay entry and delete those that cover only nonces nobody can use again."""
    name = (GOVERNANCE, REPLAY_COLLECTION, REPLAY_INDEX)
    index = SortedIndex()
    horizon = header.timestamp_ms - TX_LIFETIME_MS_CEILING
    for index_key, height_key in _expired_replay(block.parent, horizon):
        block.values[(GOVERNANCE, REPLAY_COLLECTION, height_key)] = None
        index.put(index_key, None)
    height_key = header.height.to_bytes(8, "big")
    block.values[(GOVERNANCE, REPLAY_COLLECTION, height_key)] = replay_value(nonces)
    index.put(header.timestamp_ms.to_bytes(8, "big") + height_key, height_key)
    block.indexes[name] = index


def _expired_replay(parent: StateReader, horizon: int) -> list[tuple[bytes, bytes]]:
    """The oldest replay entries, below ``horizon``, at most ``REPLAY_DELETIONS_MAX`` of them.

    Every block looks, and as a rule finds none or one: a first glance at few saves reading the rest.
    """
    found: list[tuple[bytes, bytes]] = []
    for limit in (_REPLAY_GLANCE, REPLAY_DELETIONS_MAX):
        found = parent.index_scan(GOVERNANCE, REPLAY_COLLECTION, REPLAY_INDEX, b"", b"", limit)
        if len(found) < limit or int.from_bytes(found[-1][0][:8], "big") >= horizon:
            break
    return [entry for entry in found if int.from_bytes(entry[0][:8], "big") < horizon]


def _update_tree(parent: StateReader, values: Mapping[tuple[str, str, bytes], bytes | None]) -> state_tree.Update:
    sha = hashlib.sha256
    prefixes: dict[tuple[str, str], bytes] = {}
    changed: dict[bytes, bytes | None] = {}
    for (module, collection, key), value in values.items():
        prefix = prefixes.get((module, collection))
        if prefix is None:
            prefix = prefixes[(module, collection)] = f"{module}\0{collection}\0".encode()
        changed[sha(prefix + key).digest()] = None if value is None else sha(value).digest()
    return state_tree.update(parent.tree_node, changed)


def _key_hash(module: str, collection: str, key: bytes) -> bytes:
    return hashlib.sha256(f"{module}\0{collection}\0".encode() + key).digest()


def _is_raised(error: BaseException) -> bool:
    """Whether a ``raise`` brought the exception about; what a signal brings comes between two instructions."""
    trace = error.__traceback__
    for _ in range(1_000):
        if trace is None or trace.tb_next is None:
            break
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE


def _place_of(error: BaseException) -> str:
    """The exception's type and the innermost line it came from."""
    trace = error.__traceback__
    place = ""
    for _ in range(1_000):  # deeper than the interpreter's own stack limit
        if trace is None:
            break
        place = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}"
