"""What becomes of one transaction, and of one block: gates, rollback, budget, receipts, replay entries, results."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from dawan_node.crypto import merkle
from dawan_node.crypto.hashing import tagged_hash
from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import InvalidBlock, StorageError
from dawan_node.execution.executor import REPLAY_DELETIONS_MAX, Executor, InvalidQuery
from dawan_node.execution.module import Money, key_of
from dawan_node.execution.registry import Registry, load_module
from dawan_node.execution.state import Overlay
from dawan_node.execution.state_tree import root
from dawan_node.primitives.codes import Code
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.genesis import Genesis
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Body, Transaction, assemble_envelope
from dawan_node.testing.memory_state import MemoryState
from dawan_node.testing.module_kit import DAY_MS, ModuleKit, key_of_person
from tests.execution.toy import MODULES, PEOPLE, Account, Junk, bank

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "data" / "format-vectors" / "vectors.json"


def deposit(amount: int, number: str = "1", currency: str = "CNY") -> dict[str, object]:
    return {"number": number, "amount": [currency, amount]}


# -- one transaction -----------------------------------------------------------------------------------------------


def test_a_command_that_returns_changes_state_and_emits(kit):
    receipt = kit.run("anna", "deposit", deposit(500))
    assert (receipt.code, receipt.reason, receipt.height, receipt.index) == (0, "", 1, 0)
    assert receipt.events == [("Deposited", {"number": "1", "balance": ["CNY", 500]})]
    assert kit.get(Account, key_of("anna", "1")) == Account("anna", "1", Money("CNY", 500), kit.time_ms)
    assert kit.state.values[("bank", "account", b"anna\x001")] == encode([1, "anna", "1", ["CNY", 500], kit.time_ms])


def test_a_refused_command_leaves_no_trace_but_its_receipt_and_nonce(kit):
    kit.run("anna", "deposit", deposit(500))
    before = dict(kit.state.values)
    receipt = kit.run("anna", "deposit", deposit(-900))
    assert (receipt.code, receipt.reason, receipt.events) == (Code.E_MODULE, "E_AMOUNT", [])
    changed = {key for key, value in kit.state.values.items() if before.get(key) != value}
    assert changed == {("governance", "replay", (2).to_bytes(8, "big"))}
    assert kit.query("accounts")[0] == (Account("anna", "1", Money("CNY", 500), kit.blocks[0].header.timestamp_ms),)


@pytest.mark.parametrize(
    ("person", "module", "command", "args", "code"),
    [
        ("anna", "bank", "steal", {}, Code.E_UNKNOWN_COMMAND),
        ("anna", "vault", "deposit", {}, Code.E_UNKNOWN_COMMAND),
        ("nobody", "bank", "deposit", deposit(1), Code.E_IDENTITY),
        ("clara", "bank", "deposit", deposit(1), Code.E_ROLE),
        ("anna", "bank", "deposit", {"number": "1"}, Code.E_SCHEMA),
        ("anna", "bank", "deposit", {"number": 1, "amount": ["CNY", 1]}, Code.E_SCHEMA),
        ("anna", "bank", "deposit", {"number": "1", "amount": ["CNY", True]}, Code.E_SCHEMA),
        ("anna", "bank", "deposit", {"number": "1", "amount": ["CNY", 1], "extra": 1}, Code.E_SCHEMA),
        ("anna", "bank", "deposit", {"number": "", "amount": ["CNY", 1]}, Code.E_SCHEMA),
        # U+0378 is assigned in no version of Unicode so far; U+1FA75 came with 15.0 and Python 3.12 knows it.
        ("anna", "bank", "deposit", {"number": "\u0378", "amount": ["CNY", 1]}, Code.E_SCHEMA),
        ("anna", "bank", "deposit", {"number": "\U0001fa75", "amount": ["CNY", 1]}, Code.E_SCHEMA),
        # A text is never taken for bytes, whatever base64 it would decode to.
        ("anna", "poison", "behave", {"how": "call", "commitment": "A" * 43 + "="}, Code.E_SCHEMA),
    ],
)
def test_each_gate_closes_with_its_own_code(kit, person, module, command, args, code):
    receipt = kit.run(person, command, args, module=module)
    assert (receipt.code, receipt.reason) == (code, code.name)


def test_gates_close_in_order_so_that_a_stranger_learns_nothing_about_arguments(kit):
    assert kit.run("nobody", "deposit", {"wrong": 1}).code == Code.E_IDENTITY
    assert kit.run("clara", "deposit", {"wrong": 1}).code == Code.E_ROLE


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("raise", Code.E_MODULE_FAULT),
        ("recurse", Code.E_MODULE_FAULT),
        ("allocate", Code.E_MODULE_FAULT),
        ("exit", Code.E_MODULE_FAULT),
        ("type", Code.E_MODULE_FAULT),
        ("wide", Code.E_MODULE_FAULT),
        ("key", Code.E_MODULE_FAULT),
        ("mixed", Code.E_MODULE_FAULT),
        ("undeclared_error", Code.E_MODULE_FAULT),
        ("undeclared_event", Code.E_MODULE_FAULT),
        ("emit", Code.E_BUDGET),
        ("steps", Code.E_BUDGET),
        ("swallow", Code.E_BUDGET),
        ("fat", Code.E_BUDGET),
        ("write_other", Code.E_NAMESPACE),
        ("read_secret", Code.E_NAMESPACE),
        ("call_unknown", Code.E_NAMESPACE),
        ("call_undeclared", Code.E_NAMESPACE),
    ],
)
def test_a_poison_transaction_is_a_failed_receipt_and_its_neighbours_stand(kit, how, code):
    first, poisoned, last = kit.block(
        kit.call("anna", "deposit", deposit(1)),
        kit.call("anna", "behave", {"how": how}, module="poison"),
        kit.call("anna", "deposit", deposit(2)),
    )
    assert (first.code, poisoned.code, last.code) == (0, code, 0)
    assert (poisoned.reason, poisoned.events) == (code.name, [])
    assert kit.get(Junk, b"before") is None
    assert kit.get(Account, key_of("anna", "1")).balance == Money("CNY", 3)


def test_a_fault_is_reported_to_the_operator_without_the_text_of_the_exception(kit):
    kit.run("anna", "behave", {"how": "raise"}, module="poison")
    (fault,) = kit.blocks[-1].faults
    assert fault.command == "poison.behave"
    assert fault.error.startswith("ValueError at behave:")


def test_an_exported_entity_may_be_read_and_an_exported_function_called_by_who_declares_it(kit):
    kit.run("anna", "deposit", deposit(5))
    assert kit.run("anna", "behave", {"how": "read_exported"}, module="poison").code == 0
    assert kit.run("anna", "behave", {"how": "call"}, module="poison").code == 0
    assert kit.get(Account, key_of("anna", "1")).balance == Money("CNY", 12)
    assert kit.get(Junk, b"before") == Junk("before", 1)


def test_a_failing_callee_undoes_the_caller_too(kit):
    kit.run("anna", "deposit", deposit(5, currency="HKD"))
    receipt = kit.run("anna", "behave", {"how": "call"}, module="poison")
    assert (receipt.code, receipt.reason) == (Code.E_MODULE, "E_CURRENCY")
    assert kit.get(Junk, b"before") is None


def test_the_budget_is_a_channel_parameter_and_counted_exactly():
    # put: 1; get: 1; call: 1; and inside the callee get and put: 2. The balance is small: no 256 bytes anywhere.
    for steps, code in ((4, 0), (3, Code.E_BUDGET)):
        kit = ModuleKit(MODULES, PEOPLE, params={"tx_steps_max": steps})
        assert kit.run("anna", "behave", {"how": "call"}, module="poison").code == code


def test_a_later_transaction_of_a_block_sees_what_an_earlier_one_wrote(kit):
    kit.block(*[kit.call("anna", "deposit", deposit(n)) for n in (1, 2, 3)])
    assert kit.get(Account, key_of("anna", "1")).balance == Money("CNY", 6)
    closed, again = kit.block(kit.call("anna", "close", {"number": "1"}), kit.call("anna", "close", {"number": "1"}))
    assert (closed.code, again.reason) == (0, "E_NONE")
    assert kit.query("accounts") == ((), None)


def test_a_storage_error_is_never_taken_for_the_modules_fault(kit):
    class Broken(MemoryState):
        def get(self, module, collection, key):
            if module == "bank":
                raise StorageError("the disk is in doubt")
            return super().get(module, collection, key)

    tx = kit.call("anna", "deposit", deposit(1))
    with pytest.raises(StorageError):
        kit.executor.execute(Broken(), kit._result, kit.header([tx]), [tx])


# -- the block -----------------------------------------------------------------------------------------------------


def test_the_result_commits_to_parent_state_and_receipts(kit):
    start = kit.executor.genesis_state()
    kit.block(kit.call("anna", "deposit", deposit(1)), kit.call("nobody", "deposit", deposit(1)))
    (execution,) = kit.blocks
    result = execution.result
    assert result.height == 1
    assert result.block_hash == execution.header.hash
    assert result.parent_result_hash == start.result.hash
    assert result.next_valset_hash == kit.genesis.validator_set.hash
    assert result.receipts_root == merkle.root([merkle.leaf_hash(receipt) for receipt in execution.receipts])
    assert tuple(Receipt.decode(receipt) for receipt in execution.receipts) == execution.receipt_objects
    assert result.state_root == root(kit.state.tree_node) == kit.state_root


def test_every_block_writes_the_replay_entry_of_its_nonces(kit):
    good, bad = kit.call("anna", "deposit", deposit(1)), kit.call("nobody", "deposit", deposit(1))
    kit.block(good, bad)
    uses = [[tx.public_key, tx.body.nonce, tx.body.valid_until_ms] for tx in (good, bad)]
    assert kit.state.get("governance", "replay", (1).to_bytes(8, "big")) == encode(
        [1, tagged_hash(b"dawan:replay:v1", encode(uses))]
    )
    assert kit.blocks[0].changes.nonces == [tuple(use) for use in uses]


def test_replay_entries_leave_when_their_block_is_older_than_24_hours(kit):
    def heights():
        return [int.from_bytes(key, "big") for _, collection, key in sorted(kit.state.values) if collection == "replay"]

    for _ in range(3):
        kit.run("anna", "deposit", deposit(1))
    kit.block(kit.call("anna", "deposit", deposit(1)), after_ms=1_000 + 0)
    assert heights() == [1, 2, 3, 4]
    first = kit.blocks[0].header.timestamp_ms
    kit.time_ms = first + DAY_MS - 1_000
    kit.run("anna", "deposit", deposit(1))
    assert heights() == [1, 2, 3, 4, 5], "exactly 24 hours old is not older"
    kit.time_ms = first + DAY_MS + 1_000
    kit.run("anna", "deposit", deposit(1))
    assert heights() == [3, 4, 5, 6]


def test_after_an_idle_day_old_replay_entries_leave_in_bounded_steps(kit):
    for _ in range(REPLAY_DELETIONS_MAX + 10):
        kit.block(kit.call("anna", "deposit", deposit(1)), after_ms=1)
    kit.pass_time(days=2)
    deleted = []
    for _ in range(2):
        kit.run("anna", "deposit", deposit(1))
        state = kit.blocks[-1].changes.state
        deleted.append(sum(value is None for (_, name, _), value in state.items() if name == "replay"))
    assert deleted == [REPLAY_DELETIONS_MAX, 10]


def test_execution_on_an_overlay_equals_execution_on_the_applied_state(kit):
    """Blocks run before their parents are decided (amendment L14): the layers must not matter."""
    blocks = [
        [kit.call(person, "deposit", deposit(n, str(n % 3))) for n in range(1, 6) for person in ("anna", "ben")],
        [kit.call("anna", "close", {"number": "1"}), kit.call("ben", "deposit", deposit(9, "7"))],
        [kit.call("anna", "deposit", deposit(4, "1")), kit.call("anna", "close", {"number": "2"})],
    ]
    base = MemoryState()
    start = kit.executor.genesis_state()
    base.apply(start.changes)
    reader, result = base, start.result
    stacked, pages = [], []
    for transactions in blocks:
        header = kit.header(transactions)
        execution = kit.executor.execute(reader, result, header, transactions)
        reader, result = Overlay(reader, execution.changes), execution.result
        stacked.append(result)
        pages.append(kit.executor.query(reader, "bank", "accounts", {}, 100, None, height=1, time_ms=1))
        kit.block(*transactions)
        assert kit.query("accounts") == pages[-1]
    assert [execution.result for execution in kit.blocks] == stacked


def test_two_executors_agree_whatever_they_executed_before(kit):
    kit.run("anna", "deposit", deposit(1))
    other = Executor(Registry([load_module("governance", 1), *MODULES]), kit.genesis)
    transactions = [kit.call("anna", "deposit", deposit(3)), kit.call("ben", "deposit", deposit(4))]
    header = kit.header(transactions)
    ours = kit.executor.execute(kit.state, kit._result, header, transactions)
    theirs = other.execute(kit.state, kit._result, header, transactions)
    assert ours == theirs


def test_a_barrier_command_in_an_ordinary_block_is_the_callers_mistake(kit):
    transactions = [kit.call("gz-admin", "enact", {"proposal": "p"}, module="governance"), kit.call("anna", "deposit")]
    with pytest.raises(InvalidBlock):
        kit.executor.execute(kit.state, kit._result, kit.header(transactions), transactions)


def test_a_header_with_another_validator_set_than_its_branch_is_not_executed(kit):
    tx = kit.call("anna", "deposit", deposit(1))
    header = msgspec.structs.replace(kit.header([tx]), valset_hash=bytes(32))
    with pytest.raises(InvalidBlock):
        kit.executor.execute(kit.state, kit._result, header, [tx])


# -- grounds for refusing a block ------------------------------------------------------------------------------------


def envelope(kit, *, nonce=1, valid_until=None, chain_id=None, module="bank", command="deposit"):
    body = Body(
        1,
        chain_id or kit.genesis.chain_id,
        nonce.to_bytes(16, "big"),
        kit.time_ms + 60_000 if valid_until is None else valid_until,
        module,
        command,
        {},
    )
    return Transaction.decode(assemble_envelope(body.encode(), ED25519, key_of_person("anna"), bytes(64)))


def refusal(kit, transactions, header=None):
    header = header or kit.header(transactions)
    return kit.executor.check_block(kit.state, kit.time_ms, header, transactions)


def test_a_block_of_failing_transactions_is_acceptable(kit):
    assert refusal(kit, [envelope(kit, command="no_such_command"), envelope(kit, nonce=2)]) is None


def test_validity_is_open_at_block_time_and_closed_at_the_lifetime(kit):
    """Fabric CVE-2024-45244: the time window was not checked. Amendment U9."""
    time_ms = kit.header([]).timestamp_ms
    lifetime = kit.genesis.param("tx_lifetime_ms_max")
    verdicts = [
        refusal(kit, [envelope(kit, valid_until=until)]) is None
        for until in (time_ms, time_ms + 1, time_ms + lifetime, time_ms + lifetime + 1)
    ]
    assert verdicts == [False, True, True, False]


def test_a_nonce_twice_in_a_block_or_used_on_the_branch_while_valid_refuses_it(kit):
    twice = envelope(kit, nonce=7)
    assert "twice in this block" in refusal(kit, [twice, envelope(kit, nonce=7, valid_until=kit.time_ms + 50_000)])
    kit.block(twice)
    assert "its branch has used" in refusal(kit, [envelope(kit, nonce=7)])
    kit.time_ms = twice.body.valid_until_ms - 1
    assert refusal(kit, [envelope(kit, nonce=7)]) is not None
    # From here on no block can hold the first use again: the same nonce is another transaction's.
    kit.time_ms = twice.body.valid_until_ms
    assert refusal(kit, [envelope(kit, nonce=7)]) is None


def test_the_nonce_of_an_undecided_ancestor_counts(kit):
    tx = envelope(kit, nonce=7)
    execution = kit.executor.execute(kit.state, kit._result, kit.header([tx]), [tx])
    branch = Overlay(kit.state, execution.changes)
    reason = kit.executor.check_block(branch, kit.time_ms, kit.header([tx]), [tx])
    assert reason is not None and "branch" in reason


def test_wrong_chain_counts_sizes_and_barrier_flags_refuse_a_block(kit):
    tx = envelope(kit)
    enact = envelope(kit, nonce=2, module="governance", command="enact")
    assert "another chain" in refusal(kit, [envelope(kit, chain_id=bytes(32))])
    assert "counts" in refusal(kit, [tx], kit.header([tx, tx]))
    other = envelope(kit, nonce=3, command="close")
    assert "body_bytes" in refusal(kit, [tx], kit.header([other]))
    assert refusal(kit, [enact]) is None
    assert "barrier" in refusal(kit, [enact, tx])
    assert "barrier" in refusal(
        kit, [enact], kit.header([envelope(kit, nonce=2, module="governance", command="enaet")])
    )


# -- genesis, queries, determinism -----------------------------------------------------------------------------------


def test_height_0_is_the_genesis_entry_alone(kit):
    start = kit.executor.genesis_state()
    assert dict(start.changes.state) == {("governance", "genesis", b""): kit.genesis.encoded}
    key_hash = hashlib.sha256(b"governance\x00genesis\x00").digest()
    value_hash = hashlib.sha256(kit.genesis.encoded).digest()
    assert start.result.state_root == hashlib.sha256(b"\x00" + key_hash + value_hash).digest()


@pytest.mark.skipif(not VECTORS.exists(), reason=f"NOT RUN: the shared format vectors are not at {VECTORS}")
def test_result_0_is_the_parent_that_the_format_vectors_name():
    vectors = json.loads(VECTORS.read_text())
    genesis = Genesis.decode(bytes.fromhex(vectors["genesis"]))
    executor = Executor(Registry([load_module("governance", 1), bank]), genesis)
    parent_result_hash = bytes.fromhex(vectors["result"])[36:][:34][2:]
    assert executor.genesis_state().result.hash == parent_result_hash


def test_a_query_pages_through_an_index_without_gap_or_repetition(kit):
    kit.block(*[kit.call("anna", "deposit", deposit(1, f"{n:02}")) for n in range(25)])
    kit.run("ben", "deposit", deposit(1))
    seen, cursor = [], None
    for _ in range(5):
        items, cursor = kit.query("accounts", {"owner": "anna"}, limit=7, cursor=cursor)
        seen += [account.number for account in items]
        if cursor is None:
            break
    assert seen == [f"{n:02}" for n in range(25)]


@pytest.mark.parametrize(
    ("query", "params", "limit"),
    [("none", {}, 1), ("accounts", {"owner": 1}, 1), ("accounts", {"x": 1}, 1), ("accounts", {}, 0)],
)
def test_a_query_that_does_not_fit_is_refused(kit, query, params, limit):
    with pytest.raises(InvalidQuery):
        kit.query(query, params, limit=limit)


def story_root() -> str:
    """A chain that touches indexes, events, failures, faults and governance; its last result hash."""
    kit = ModuleKit(MODULES, PEOPLE)
    for n in range(4):
        kit.block(
            *[
                kit.call(person, "deposit", deposit(n * 7 + 1, str(n % 2), c))
                for person in ("anna", "ben")
                for c in ("CNY", "HKD")
            ],
            kit.call("clara", "close", {"number": "1"}),
            kit.call("anna", "behave", {"how": "raise"}, module="poison"),
            kit.call("ben", "behave", {"how": "call"}, module="poison"),
        )
    key = key_of_person("dora")
    kit.run(
        "hk-admin",
        "enrol",
        {"name": "dora", "roles": ["supplier"], "suite": ED25519, "public_key": key},
        module="governance",
    )
    kit.run("hk-admin", "revoke", {"name": "ben"}, module="governance")
    return kit.blocks[-1].result.hash.hex()


# One chain of toy blocks, executed by the first version. A change of this hash is a fork: every node that keeps old
# blocks would compute other results for them.
STORY_RESULT = "c63e127f4a3d29c01fbdd658221c3a4b2dd95e0bb5c27f94dffea22bf7fed7e7"


@pytest.mark.slow
def test_hash_seed_time_zone_locale_and_directory_change_nothing(tmp_path):
    assert story_root() == STORY_RESULT
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.execution.test_executor import story_root; print(story_root())"
    )
    repository = str(Path(__file__).resolve().parents[2])
    for seed, zone, locale in (("0", "UTC", "C"), ("1", "Asia/Shanghai", "C.UTF-8"), ("4242", "America/Lima", "POSIX")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale}
        done = subprocess.run(
            [sys.executable, "-c", script, repository],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == STORY_RESULT
