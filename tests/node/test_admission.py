"""The way into the pool: stable codes, each signature checked once, peers judged by what they send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any
from unittest import mock

import pytest

from dawan_node import client_window
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import InvalidTransaction
from dawan_node.mempool import Mempool, MempoolLimits
from dawan_node.node import admission as module
from dawan_node.node.admission import Admission, Verdict
from dawan_node.primitives.codes import Code
from dawan_node.primitives.encoding import encode
from dawan_node.primitives.transaction import TX_BYTES_MAX, Transaction, assemble_envelope, sign_transaction
from dawan_node.testing.module_kit import private_key_of
from tests.node.ledger import START_MS, Ledger, envelopes_of, wrongly_signed
from tests.primitives.forger import Forger


class Checks:
    """The verifier: really checks, notes what, and waits at a gate if there is one."""

    def __init__(self) -> None:
        self.seen: list[Transaction] = []
        self.gate: asyncio.Event | None = None

    async def verify(self, transactions: Sequence[Transaction], urgent: bool = False) -> list[bool]:
        self.seen += transactions
        if self.gate is not None:
            await self.gate.wait()
        return [transaction.verify_signature() for transaction in transactions]


class Clock:
    now_ms = START_MS

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms


class Office:
    """An admission on a real store, and a note of who heard what."""

    def __init__(self, limits: MempoolLimits | None = None) -> None:
        self.ledger = Ledger()
        self.checks, self.clock = Checks(), Clock()
        self.pool = Mempool(limits or MempoolLimits(), self.ledger.genesis.param("tx_lifetime_ms_max"))
        self.heard: list[tuple[str, Any]] = []
        self.admission = Admission(
            self.ledger.genesis.chain_id,
            self.ledger.executor,
            self.ledger.store,
            self.pool,
            self.checks,
            self.clock,
            self.ledger.stages,
            self,
        )
        self.admission.block_time_ms = self.ledger.genesis.created_ms

    def checked(self, transactions: Sequence[tuple[Transaction, bool]]) -> None:
        self.heard.append(("checked", [(tx.tx_id, is_valid) for tx, is_valid in transactions]))

    def admitted(self, transactions: Sequence[Transaction], source: str) -> None:
        self.heard.append(("admitted", ([tx.tx_id for tx in transactions], source)))

    def decide(self, *transactions: Transaction) -> None:
        """A block with these is committed, as the driver tells the pool and admission."""
        block = self.ledger.block(*transactions)
        self.ledger.decide(block)
        self.pool.remove_decided(transactions)
        self.admission.block_time_ms = block.header.timestamp_ms

    def submit(self, *envelopes: bytes) -> list[Verdict]:
        return asyncio.run(self.admission.submit(envelopes))

    def refusal(self, envelope: bytes) -> InvalidTransaction:
        (verdict,) = self.submit(envelope)
        assert verdict.refusal is not None and verdict.height is None
        assert len(self.pool) == 0 and not self.admission._checking
        return verdict.refusal

    def receive(self, *envelopes: bytes, peer: str = "hk1") -> int:
        return asyncio.run(self.admission.receive(envelopes, peer))


@pytest.fixture
def office() -> Office:
    return Office()


def signed(office: Office, **body: Any) -> bytes:
    return office.ledger.transaction("supplier-a", **body).envelope


def with_suite(office: Office, suite: str) -> bytes:
    transaction = office.ledger.transaction()
    return assemble_envelope(transaction.body_bytes, suite, transaction.public_key, transaction.signature)


REFUSED: dict[Code, Callable[[Office], bytes]] = {
    Code.E_MALFORMED: lambda office: b"\x93\x00",
    Code.E_TOO_LARGE: lambda office: bytes(TX_BYTES_MAX + 1),
    Code.E_SUITE: lambda office: with_suite(office, "sm2"),
    Code.E_WRONG_CHAIN: lambda office: signed(office, chain_id=bytes(32)),
    Code.E_UNKNOWN_COMMAND: lambda office: signed(office, command="abolish_invoice"),
    Code.E_SCHEMA: lambda office: signed(office, args={"number": 7}),
    Code.E_IDENTITY: lambda office: office.ledger.transaction("stranger").envelope,
    Code.E_SIGNATURE: lambda office: wrongly_signed(office.ledger.transaction()).envelope,
    Code.E_VALIDITY: lambda office: signed(office, lifetime_ms=-120_000),
}


@pytest.mark.parametrize("code", REFUSED, ids=lambda code: code.name)
def test_each_fault_is_refused_with_its_stable_code_and_reason(office: Office, code: Code) -> None:
    refusal = office.refusal(REFUSED[code](office))
    assert (refusal.code, refusal.reason) == (code, code.name)
    assert not [what for what, _ in office.heard if what == "admitted"]


@pytest.mark.parametrize("code", [c for c in REFUSED if c not in (Code.E_SIGNATURE, Code.E_VALIDITY)], ids=str)
def test_no_signature_is_checked_of_what_a_cheaper_test_refuses(office: Office, code: Code) -> None:
    office.refusal(REFUSED[code](office))
    assert office.checks.seen == []


def test_too_far_ahead_is_refused_and_a_little_ahead_waits(office: Office) -> None:
    lifetime = office.ledger.genesis.param("tx_lifetime_ms_max")
    assert office.refusal(signed(office, lifetime_ms=lifetime + 60_000)).code == Code.E_VALIDITY
    (verdict,) = office.submit(signed(office, lifetime_ms=lifetime))
    assert verdict.refusal is None and len(office.pool) == 1


def test_a_module_that_does_not_run_here_is_an_unknown_command(office: Office) -> None:
    assert office.refusal(signed(office, module="title")).code == Code.E_UNKNOWN_COMMAND


def test_a_good_transaction_waits_in_the_pool_and_everybody_hears_of_it(office: Office) -> None:
    transaction = office.ledger.transaction()
    assert office.submit(transaction.envelope) == [Verdict(transaction)]
    assert office.pool.get(transaction.leaf_hash) == transaction
    # The gatherer hears first: a block may hold what the pool refuses.
    assert office.heard == [
        ("checked", [(transaction.tx_id, True)]),
        ("admitted", ([transaction.tx_id], "")),
    ]


def test_verdicts_come_in_the_order_of_the_batch_and_one_bad_apple_spoils_no_other(office: Office) -> None:
    good = [office.ledger.transaction() for _ in range(3)]
    forged = wrongly_signed(office.ledger.transaction())
    batch = [good[0].envelope, b"rubbish", good[1].envelope, forged.envelope, good[2].envelope, good[0].envelope]
    verdicts = office.submit(*batch)
    assert [verdict.refusal.code if verdict.refusal else 0 for verdict in verdicts] == [
        0, Code.E_MALFORMED, 0, Code.E_SIGNATURE, 0, 0,
    ]  # fmt: skip
    assert [verdict.transaction for verdict in verdicts if verdict.refusal is None] == [*good, good[0]]
    assert len(office.pool) == 3
    assert office.heard[-1] == ("admitted", ([tx.tx_id for tx in good], ""))


def test_the_same_bytes_again_are_no_error_and_cost_no_signature_check(office: Office) -> None:
    transaction = office.ledger.transaction()
    first = office.submit(transaction.envelope)
    assert office.submit(transaction.envelope) == first
    assert len(office.checks.seen) == 1 and len(office.pool) == 1


def test_the_same_bytes_after_the_commit_name_the_height(office: Office) -> None:
    transaction = office.ledger.transaction()
    office.submit(transaction.envelope)
    office.decide(transaction)
    office.ledger.grow(2)
    assert office.submit(transaction.envelope) == [Verdict(transaction, 1)]
    assert len(office.checks.seen) == 1 and len(office.pool) == 0


def test_a_nonce_that_is_on_chain_with_another_body_is_refused_unchecked(office: Office) -> None:
    office.decide(office.ledger.transaction(nonce=77))
    other = office.ledger.transaction("supplier-a", args={**office.ledger.body().args, "number": "X"}, nonce=77)
    assert office.refusal(other.envelope).code == Code.E_NONCE_USED
    assert office.checks.seen == []
    # Nonces are counted per key.
    (verdict,) = office.submit(office.ledger.transaction("supplier-b", nonce=77).envelope)
    assert verdict.refusal is None


def test_a_nonce_that_waits_in_the_pool_with_another_body_is_refused(office: Office) -> None:
    office.submit(office.ledger.transaction(nonce=78).envelope)
    other = office.ledger.transaction("supplier-a", args={**office.ledger.body().args, "number": "X"}, nonce=78)
    (verdict,) = office.submit(other.envelope)
    assert verdict.refusal is not None and verdict.refusal.code == Code.E_NONCE_USED


def test_a_full_pool_refuses_with_a_code_worth_a_retry(office: Office) -> None:
    small = Office(MempoolLimits(count_max=8))
    batch = [small.ledger.transaction() for _ in range(3)]
    codes = [v.refusal.code if v.refusal else 0 for v in small.submit(*envelopes_of(batch))]
    assert codes == [0, 0, Code.E_QUOTA]
    assert small.heard[-1] == ("admitted", ([tx.tx_id for tx in batch[:2]], ""))


def test_a_key_that_was_revoked_on_chain_is_refused_before_and_after_the_signature_check(office: Office) -> None:
    waiting = office.ledger.transaction("supplier-c")
    late = office.ledger.transaction("supplier-c")

    async def scenario() -> list[Verdict]:
        office.checks.gate = asyncio.Event()
        submission = asyncio.create_task(office.admission.submit([waiting.envelope]))
        await asyncio.sleep(0)
        office.decide(office.ledger.admin("mo", "revoke", {"name": "supplier-c"}))
        office.checks.gate.set()
        return await submission

    (verdict,) = asyncio.run(scenario())
    assert verdict.refusal is not None and verdict.refusal.code == Code.E_IDENTITY
    office.checks.gate = None
    office.checks.seen.clear()
    assert office.refusal(late.envelope).code == Code.E_IDENTITY
    assert office.checks.seen == []


def test_a_block_that_is_committed_during_the_signature_check_is_not_forgotten(office: Office) -> None:
    transaction = office.ledger.transaction()

    async def scenario() -> None:
        office.checks.gate = asyncio.Event()
        submission = asyncio.create_task(office.admission.submit([transaction.envelope]))
        await asyncio.sleep(0)
        office.decide(transaction)
        office.checks.gate.set()
        (verdict,) = await submission
        assert verdict.refusal is None

    asyncio.run(scenario())
    assert len(office.pool) == 0, "what is on chain must not wait for a block"


def test_two_clients_with_the_same_transaction_put_it_into_the_pool_once(office: Office) -> None:
    transaction = office.ledger.transaction()

    async def scenario() -> None:
        office.checks.gate = asyncio.Event()
        both = [asyncio.create_task(office.admission.submit([transaction.envelope])) for _ in range(2)]
        await asyncio.sleep(0)
        assert office.admission.is_checking(transaction.leaf_hash)
        office.checks.gate.set()
        assert [await one for one in both] == [[Verdict(transaction)]] * 2

    asyncio.run(scenario())
    assert not office.admission.is_checking(transaction.leaf_hash)
    assert [who for who in office.heard if who[0] == "admitted"] == [("admitted", ([transaction.tx_id], ""))]


def test_a_cancelled_client_leaves_nothing_behind(office: Office) -> None:
    transaction = office.ledger.transaction()

    async def scenario() -> None:
        office.checks.gate = asyncio.Event()
        submission = asyncio.create_task(office.admission.submit([transaction.envelope]))
        await asyncio.sleep(0)
        submission.cancel()
        await asyncio.gather(submission, return_exceptions=True)

    asyncio.run(scenario())
    assert not office.admission._checking and len(office.pool) == 0


def test_the_number_of_signatures_that_wait_is_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKING_MAX", 3)
    batches = [[office.ledger.transaction().envelope for _ in range(2)] for _ in range(4)]

    async def scenario() -> None:
        office.checks.gate = asyncio.Event()
        tasks = [asyncio.create_task(office.admission.receive(batch, "gz1")) for batch in batches]
        await asyncio.sleep(0)
        assert 3 <= len(office.admission._checking) <= 3 + 2, "at most one batch above the limit"
        office.checks.gate.set()
        assert [await task for task in tasks] == [0] * 4, "gossip is dropped, and is nobody's fault"

    asyncio.run(scenario())
    assert 3 <= len(office.pool) <= 5


# The window of clients


def refusals(verdicts: Sequence[Verdict]) -> list[int]:
    return [verdict.refusal.code if verdict.refusal else 0 for verdict in verdicts]


def narrow_office(monkeypatch: pytest.MonkeyPatch) -> Office:
    """A channel that was measured to be slow: three transactions may wait."""
    monkeypatch.setattr(client_window, "SIZE_MIN", 3)
    office = Office()
    office.admission.window.decided(1, 1_000, START_MS - 20_000)
    office.admission.window.decided(1, 1_000, START_MS - 10_000)
    assert office.admission.window.size(START_MS) == 3
    return office


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Office:
    return narrow_office(monkeypatch)


def test_clients_are_told_to_come_back_when_more_waits_than_is_committed_in_a_second(narrow: Office) -> None:
    envelopes = [signed(narrow) for _ in range(5)]
    verdicts = narrow.submit(*envelopes)
    assert refusals(verdicts) == [0, 0, 0, Code.E_POOL_FULL, Code.E_POOL_FULL]
    assert len(narrow.checks.seen) == 3, "no signature is checked for what is refused"
    assert refusals(narrow.submit(*envelopes)) == refusals(verdicts), "what waits keeps its answer"
    narrow.decide(*narrow.pool.reap(2, 1 << 20, START_MS))
    assert refusals(narrow.submit(*envelopes[:3])) == [0, 0, 0], "as does what is on chain"
    assert refusals(narrow.submit(*envelopes[3:])) == [0, 0], "and what comes back is let in"


def test_what_there_is_no_room_for_is_not_decoded(narrow: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow.submit(*[signed(narrow) for _ in range(5)])
    more = [signed(narrow) for _ in range(3)]
    damaged = more[0][:40] + b"\xff" + more[0][41:]
    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "decode", lambda *_: pytest.fail("decoded"))
        assert refusals(narrow.submit(*more, damaged)) == [Code.E_POOL_FULL] * 4
    narrow.decide(*narrow.pool.reap(3, 1 << 20, START_MS))
    assert refusals(narrow.submit(*more, damaged)) == [0, 0, 0, Code.E_POOL_FULL]
    narrow.decide(*narrow.pool.reap(3, 1 << 20, START_MS))
    assert refusals(narrow.submit(damaged)) == [Code.E_MALFORMED], "it is told what is wrong once there is room"


def test_what_an_older_block_held_keeps_its_answer_however_full_the_node_is(narrow: Office) -> None:
    old = [narrow.ledger.transaction() for _ in range(3)]
    # Nothing tells the pool: it was committed before this node was started, or too long ago to be remembered.
    narrow.ledger.decide(narrow.ledger.block(*old))
    narrow.submit(*[signed(narrow) for _ in range(3)])
    verdicts = narrow.submit(signed(narrow), *[transaction.envelope for transaction in old])
    assert refusals(verdicts) == [Code.E_POOL_FULL, 0, 0, 0]
    assert verdicts[1:] == [Verdict(transaction, 1) for transaction in old]
    assert len(narrow.checks.seen) == 3, "and costs no signature"


def test_no_more_is_looked_for_on_the_chain_than_there_is_time_for(narrow: Office) -> None:
    old, blocks = narrow.ledger.transaction(), narrow.ledger.store.blocks
    narrow.ledger.decide(narrow.ledger.block(old))
    narrow.submit(*[signed(narrow) for _ in range(3)])
    with mock.patch.object(blocks, "find_tx", wraps=blocks.find_tx) as asked:
        flood = [signed(narrow) for _ in range(module.LOOKUPS_PER_S + 1)]
        assert refusals(narrow.submit(*flood)) == [Code.E_POOL_FULL] * len(flood)
        assert asked.call_count == module.LOOKUPS_PER_S
        assert refusals(narrow.submit(old.envelope)) == [Code.E_POOL_FULL], "come back"
        narrow.clock.now_ms += 1
        assert narrow.submit(old.envelope) == [Verdict(old, 1)]


def test_a_block_that_waits_for_a_transaction_gets_it_from_a_client_too(narrow: Office) -> None:
    narrow.submit(*[signed(narrow) for _ in range(5)])
    wanted, other = signed(narrow), signed(narrow)
    narrow.admission.is_wanted = {Transaction.decode(wanted).leaf_hash}.__contains__
    assert refusals(narrow.submit(wanted, other)) == [0, Code.E_POOL_FULL]


def test_what_is_on_its_way_into_the_pool_counts(narrow: Office) -> None:
    async def scenario() -> list[list[Verdict]]:
        narrow.checks.gate = asyncio.Event()
        tasks = [asyncio.create_task(narrow.admission.submit([signed(narrow), signed(narrow)])) for _ in range(3)]
        await asyncio.sleep(0)
        narrow.checks.gate.set()
        return [await task for task in tasks]

    codes = [refusals(verdicts) for verdicts in asyncio.run(scenario())]
    assert codes == [[0, 0], [0, Code.E_POOL_FULL], [Code.E_POOL_FULL] * 2]
    assert narrow.admission._entering.total == 0


def test_a_submission_that_is_cancelled_leaves_the_window_as_it_was(narrow: Office) -> None:
    envelopes = [signed(narrow) for _ in range(3)]

    async def scenario() -> None:
        narrow.checks.gate = asyncio.Event()
        submission = asyncio.create_task(narrow.admission.submit(envelopes))
        await asyncio.sleep(0)
        assert narrow.admission._entering.total == 3
        submission.cancel()
        await asyncio.gather(submission, return_exceptions=True)

    asyncio.run(scenario())
    assert narrow.admission._entering.total == 0
    narrow.checks.gate = None
    assert refusals(narrow.submit(signed(narrow))) == [0]


def test_an_organisation_within_its_part_is_let_in_although_another_used_the_window_up(narrow: Office) -> None:
    for _ in range(2):
        narrow.submit(*[signed(narrow) for _ in range(5)])
    assert len(narrow.pool) == 3
    modest = [narrow.ledger.transaction("supplier-c").envelope for _ in range(2)]
    assert refusals(narrow.submit(*modest)) == [0, Code.E_POOL_FULL], "one of three is its part"
    one, other = (narrow.admission.organisation_of(private_key_of(f"supplier-{name}").public_key) for name in "ac")
    assert one != other


def test_what_peers_gossip_is_taken_whatever_the_window_says(narrow: Office) -> None:
    assert narrow.receive(*[signed(narrow) for _ in range(10)]) == 0
    assert len(narrow.pool) == 10
    assert refusals(narrow.submit(signed(narrow))) == [Code.E_POOL_FULL]


def test_what_peers_gossiped_counts_before_its_signature_is_checked(narrow: Office) -> None:
    gossiped = [signed(narrow) for _ in range(3)]

    async def scenario() -> list[Verdict]:
        narrow.checks.gate = asyncio.Event()
        receiving = asyncio.create_task(narrow.admission.receive(gossiped, "hk1"))
        await asyncio.sleep(0)
        verdicts = await narrow.admission.submit([signed(narrow)])
        narrow.checks.gate.set()
        await receiving
        return verdicts

    assert refusals(asyncio.run(scenario())) == [Code.E_POOL_FULL]
    assert len(narrow.pool) == 3 and narrow.admission._entering.total == 0


def test_a_stranger_is_told_so_and_not_to_come_back(narrow: Office) -> None:
    narrow.receive(*[signed(narrow) for _ in range(10)])
    stranger = narrow.ledger.transaction("stranger").envelope
    assert refusals(narrow.submit(stranger)) == [Code.E_IDENTITY]


# Gossip


def test_gossip_enters_the_pool_and_names_its_bearer(office: Office) -> None:
    transaction = office.ledger.transaction()
    assert office.receive(transaction.envelope) == 0
    assert office.heard[-1] == ("admitted", ([transaction.tx_id], "hk1"))
    assert office.receive(transaction.envelope) == 0
    assert len(office.checks.seen) == 1


@pytest.mark.parametrize(
    "code", [Code.E_MALFORMED, Code.E_TOO_LARGE, Code.E_SUITE, Code.E_WRONG_CHAIN, Code.E_SIGNATURE], ids=str
)
def test_what_no_honest_node_passes_on_is_counted_against_the_peer(office: Office, code: Code) -> None:
    good = office.ledger.transaction()
    assert office.receive(REFUSED[code](office), good.envelope) == 1
    assert office.pool.get(good.leaf_hash) == good


@pytest.mark.parametrize("code", [Code.E_IDENTITY, Code.E_VALIDITY, Code.E_UNKNOWN_COMMAND, Code.E_SCHEMA], ids=str)
def test_what_honest_nodes_may_see_differently_is_not_the_peers_fault(office: Office, code: Code) -> None:
    assert office.receive(REFUSED[code](office)) == 0


def test_a_gossiped_copy_of_what_is_on_chain_is_dropped_without_a_check(office: Office) -> None:
    transaction = office.ledger.transaction()
    office.decide(transaction)
    assert office.receive(transaction.envelope) == 0
    assert office.checks.seen == [] and len(office.pool) == 0


def test_no_more_than_the_hash_of_a_copy_is_made_while_its_block_is_remembered(office: Office) -> None:
    """At five times what the nodes can do, most of what they sent each other was decided, and each copy was decoded and
    looked up on disk."""
    transaction = office.ledger.transaction()
    office.decide(transaction)
    office.pool.remove_decided([transaction])
    with mock.patch.object(Transaction, "decode", side_effect=AssertionError("it is read")):
        assert office.receive(transaction.envelope) == 0


def test_a_copy_with_a_broken_signature_does_not_poison_the_true_one(office: Office) -> None:
    true = office.ledger.transaction()
    assert office.receive(wrongly_signed(true).envelope) == 1
    (verdict,) = office.submit(true.envelope)
    assert verdict.refusal is None and office.pool.get(true.leaf_hash) == true


# Bodies that were fetched for a block


def test_verified_bodies_of_a_block_wait_like_all_others_unless_they_are_on_chain(office: Office) -> None:
    """A block may have been decided, even before a restart, when its fetched bodies come out of the verifier; waiting
    again they would make every later proposal of this node invalid."""
    on_chain, fresh, stranger = (office.ledger.transaction(who) for who in ("supplier-a", "supplier-b", "stranger"))
    office.ledger.decide(office.ledger.block(on_chain))
    office.admission.adopt([on_chain, stranger, fresh])
    assert [tx for tx in (on_chain, stranger, fresh) if tx.leaf_hash in office.pool] == [fresh]


def test_deeply_nested_arguments_are_malformed_not_an_exception(office: Office) -> None:
    body = encode([1, office.ledger.genesis.chain_id, bytes(16), START_MS + 1000, "receivable", "record_invoice", {}])
    deep = body[:-1] + b"\x81\xa1a" + b"\x91" * 5_000 + b"\x01"
    key = office.ledger.transaction()
    envelope = assemble_envelope(deep, key.suite, key.public_key, key.signature)
    assert office.refusal(envelope).code == Code.E_MALFORMED


def seat(name: str = "hk1") -> PrivateKey:
    return private_key_of(f"validator {name}")


def sealed(ledger: Ledger, key: PrivateKey, command: str, args: dict[str, Any], of: str = "governance") -> Transaction:
    """A transaction signed by a validator's key."""
    return Transaction.decode(sign_transaction(key, ledger.body(command, args, module=of)))


class TestValidatorKeys:
    """A key that votes sends evidence for its organisation, and nothing else."""

    def test_its_evidence_is_admitted_in_its_organisations_name_and_passed_on(self) -> None:
        office = Office()
        proof = Forger(seat("mo1"), office.ledger.genesis.chain_id).double_vote()
        transaction = sealed(office.ledger, seat(), "record_evidence", {"proof": proof})
        (verdict,) = office.submit(transaction.envelope)
        assert verdict.refusal is None and office.pool.get_by_id(transaction.tx_id) is not None
        assert [(part.organisation, part.count) for part in office.pool.stats().by_organisation] == [("hk", 1)]
        assert office.heard[-1] == ("admitted", ([transaction.tx_id], ""))

    @pytest.mark.parametrize(
        ("module_name", "command", "args"),
        [("governance", "tick", {}), ("governance", "vote", {"proposal": "p", "approve": True})],
    )
    def test_anything_else_is_refused_before_its_signature_is_checked(
        self, module_name: str, command: str, args: dict[str, Any]
    ) -> None:
        office = Office()
        transaction = sealed(office.ledger, seat(), command, args, module_name)
        (verdict,) = office.submit(transaction.envelope)
        assert verdict.refusal is not None and verdict.refusal.code == Code.E_ROLE
        received = asyncio.run(office.admission.examine([transaction.envelope], "mo1"))
        assert (received.faults, received.useless) == (0, 1)
        assert office.checks.seen == [] and len(office.pool) == 0

    def test_an_unknown_command_of_it_is_refused_in_gossip_too(self) -> None:
        office = Office()
        transaction = sealed(office.ledger, seat(), "nonsense", {})
        asyncio.run(office.admission.examine([transaction.envelope], "mo1"))
        assert len(office.pool) == 0

    def test_a_key_that_votes_no_longer_is_nobodys(self) -> None:
        office = Office()
        office.admission.seats = MappingProxyType({})
        proof = Forger(seat("mo1"), office.ledger.genesis.chain_id).double_vote()
        transaction = sealed(office.ledger, seat(), "record_evidence", {"proof": proof})
        (verdict,) = office.submit(transaction.envelope)
        assert verdict.refusal is not None and verdict.refusal.code == Code.E_IDENTITY

    def test_nor_does_it_send_while_its_organisation_is_suspended(self) -> None:
        office = Office()
        office.admission.active_orgs -= {"hk"}
        proof = Forger(seat("mo1"), office.ledger.genesis.chain_id).double_vote()
        (verdict,) = office.submit(sealed(office.ledger, seat(), "record_evidence", {"proof": proof}).envelope)
        assert verdict.refusal is not None and verdict.refusal.code == Code.E_IDENTITY
