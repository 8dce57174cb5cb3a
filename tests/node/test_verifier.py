"""Signatures are checked once, off the loop, in bounded numbers, and only good verdicts are remembered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import cache

import pytest

from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.node import verifier as module
from dawan_node.node.verifier import BATCH_MAX, ON_THE_SPOT_MAX, Mode, Verifier, choose_mode
from dawan_node.primitives.transaction import Body, Transaction, sign_transaction

KEY = PrivateKey.from_seed(sha256(b"a client"))


@cache
def good(number: int) -> Transaction:
    body = Body(1, bytes(32), number.to_bytes(16, "big"), 10**12, "m", "c", {})
    return Transaction.decode(sign_transaction(KEY, body))


@cache
def bad(number: int) -> Transaction:
    """The same body as ``good`` and so the same transaction id; another signature."""
    true = good(number)
    envelope = true.envelope[:-1] + bytes([true.envelope[-1] ^ 1])
    transaction = Transaction.decode(envelope)
    assert transaction.tx_id == true.tx_id
    return transaction


Scenario = Callable[[Verifier], Awaitable[None]]


def run(scenario: Scenario, mode: Mode, workers: int = 2, **limits: int) -> None:
    async def main() -> None:
        verifier = Verifier(mode, workers, **limits)
        try:
            async with asyncio.timeout(30):
                await scenario(verifier)
        finally:
            await verifier.close()

    asyncio.run(main())


@pytest.fixture(params=list(Mode))
def mode(request: pytest.FixtureRequest) -> Mode:
    return Mode(request.param)


class Gate:
    """Stands before the checks: records what is checked, and holds the threads until it is opened."""

    def __init__(self) -> None:
        self.batches: list[list[Transaction]] = []
        self.opened = threading.Event()
        self.opened.set()
        self._lock = threading.Lock()

    def check(self, transactions: list[Transaction]) -> list[bool]:
        with self._lock:
            self.batches.append(transactions)
        assert self.opened.wait(30)
        return [transaction.verify_signature() for transaction in transactions]

    @property
    def checked(self) -> list[Transaction]:
        return [transaction for batch in self.batches for transaction in batch]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(module, "_check", gate.check)
    yield gate
    gate.opened.set()


def test_each_verdict_stands_at_its_place(mode: Mode) -> None:
    async def scenario(verifier: Verifier) -> None:
        mixed = [good(number) if number % 3 else bad(number) for number in range(500)]
        assert await verifier.verify(mixed) == [bool(number % 3) for number in range(500)]
        assert await verifier.verify([]) == []
        assert await verifier.verify([bad(0)]) == [False]

    run(scenario, mode)


def test_a_signature_is_checked_once(mode: Mode, gate: Gate) -> None:
    async def scenario(verifier: Verifier) -> None:
        transactions = [good(number) for number in range(50)]
        twice = [*transactions, *transactions]
        assert all(await verifier.verify(twice))
        assert all(await verifier.verify(transactions))
        assert len(gate.checked) == 50
        assert all(verifier.is_verified(transaction.leaf_hash) for transaction in transactions)
        assert verifier.stats().remembered == 50

    run(scenario, mode)


def test_callers_who_bring_the_same_transactions_share_one_check(mode: Mode, gate: Gate) -> None:
    async def scenario(verifier: Verifier) -> None:
        transactions = [good(number) for number in range(100)]
        verdicts = await asyncio.gather(*(verifier.verify(transactions) for _ in range(5)))
        assert all(all(verdict) for verdict in verdicts)
        assert len(gate.checked) == 100

    run(scenario, mode)


def test_a_bad_copy_poisons_nothing_and_a_good_one_covers_no_other_signature(mode: Mode) -> None:
    """Amendment U8: both have the same transaction id."""

    async def scenario(verifier: Verifier) -> None:
        assert await verifier.verify([bad(1)]) == [False]
        assert await verifier.verify([good(1), bad(1)]) == [True, False]
        assert await verifier.verify([bad(1)]) == [False]
        assert not verifier.is_verified(bad(1).leaf_hash)
        assert verifier.stats().refused == 3, "bad verdicts are not remembered"

    run(scenario, mode)


def test_the_memory_is_bounded_and_forgets_the_oldest(mode: Mode) -> None:
    async def scenario(verifier: Verifier) -> None:
        for number in range(12):
            await verifier.verify([good(number)])
        assert [verifier.is_verified(good(number).leaf_hash) for number in range(12)] == [False] * 2 + [True] * 10

    run(scenario, mode, cache_max=10)


def test_the_loop_goes_on_while_signatures_are_checked(mode: Mode) -> None:
    async def scenario(verifier: Verifier) -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.create_task(count())
        await verifier.verify([good(number) for number in range(500)])
        counter.cancel()
        assert turns >= 500 // module.LONG_SLICE_MAX // 2

    run(scenario, mode)


def test_on_the_loop_a_long_queue_is_worked_off_in_longer_slices(gate: Gate) -> None:
    """A busy loop takes long for a turn: with few signatures in each, a client waited for seconds."""

    async def scenario(verifier: Verifier) -> None:
        await verifier.verify([good(number) for number in range(200)])
        sizes = [len(batch) for batch in gate.batches]
        assert sizes[:2] == [module.LONG_SLICE_MAX] * 2 and max(sizes[-2:]) <= module.LONG_SLICE_MAX
        gate.batches.clear()
        await verifier.verify([good(number) for number in range(200, 260)])
        assert [len(batch) for batch in gate.batches] == [16, 16, 16, 12]

    run(scenario, Mode.INLINE)


def test_a_lone_signature_is_checked_on_the_spot(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(verifier: Verifier) -> None:
        loop_thread = threading.get_ident()
        seen: list[int] = []
        inner = gate.check

        def check(transactions: list[Transaction]) -> list[bool]:
            seen.append(threading.get_ident())
            return inner(transactions)

        monkeypatch.setattr(module, "_check", check)
        await verifier.verify([good(number) for number in range(ON_THE_SPOT_MAX)])
        assert seen == [loop_thread]
        await verifier.verify([good(number) for number in range(100, 110)])
        assert loop_thread not in seen[1:]

    run(scenario, Mode.THREADS)


def test_work_is_shared_out_between_the_threads(gate: Gate) -> None:
    async def scenario(verifier: Verifier) -> None:
        await verifier.verify([good(number) for number in range(100)])
        assert [len(batch) for batch in gate.batches] == [50, 50]

    run(scenario, Mode.THREADS)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_what_a_block_needs_goes_before_what_clients_send(gate: Gate) -> None:
    async def scenario(verifier: Verifier) -> None:
        gate.opened.clear()
        clients = asyncio.create_task(verifier.verify([good(number) for number in range(400)]))
        await until(lambda: bool(gate.batches))
        block = asyncio.create_task(verifier.verify([good(399), good(500)], urgent=True))
        known = asyncio.create_task(verifier.verify([good(0)], urgent=True))  # its check has begun already
        await until(lambda: verifier.stats().queued == 401)
        gate.opened.set()
        assert all(await block)
        assert all(await known)
        assert all(await clients)
        assert gate.batches[1][:2] == [good(399), good(500)]
        assert len(gate.checked) == 401, "nothing is checked twice, though it was queued twice"

    run(scenario, Mode.THREADS, workers=1)


def test_callers_wait_while_too_much_is_queued_but_blocks_do_not(gate: Gate) -> None:
    async def scenario(verifier: Verifier) -> None:
        gate.opened.clear()
        callers = [
            asyncio.create_task(verifier.verify([good(number) for number in range(first, first + 200)]))
            for first in range(0, 1_000, 200)
        ]
        await until(lambda: verifier.stats().queued >= 256)
        for _ in range(20):
            await asyncio.sleep(0)
        assert verifier.stats().queued < 256 + BATCH_MAX
        urgent = asyncio.create_task(verifier.verify([good(2_000)], urgent=True))
        await until(lambda: verifier._jobs.get(good(2_000).leaf_hash) is not None)
        gave_up = callers.pop()
        gave_up.cancel()
        gate.opened.set()
        for verdict in await asyncio.gather(*callers, urgent):
            assert all(verdict)
        with pytest.raises(asyncio.CancelledError):
            await gave_up

    run(scenario, Mode.THREADS, queue_max=256)


def test_a_waiting_caller_gets_its_turn_even_if_those_before_it_bring_nothing_new(mode: Mode) -> None:
    async def scenario(verifier: Verifier) -> None:
        known = [good(number) for number in range(4)]
        await verifier.verify(known)
        first = asyncio.create_task(verifier.verify([good(number) for number in range(10, 30)]))
        await until(lambda: verifier.stats().queued > 0)
        others = [asyncio.create_task(verifier.verify(known)) for _ in range(5)]
        last = asyncio.create_task(verifier.verify([good(99)]))
        assert all(await first)
        assert all([all(await other) for other in others])
        assert await last == [True]

    run(scenario, mode, queue_max=8)


def test_a_call_is_answered_only_when_all_of_it_is_checked(mode: Mode) -> None:
    """Its first part may be done before there is room for the rest."""

    async def scenario(verifier: Verifier) -> None:
        calls = [[good(number) for number in range(first, first + 300)] for first in range(0, 900, 300)]
        for verdicts in await asyncio.gather(*(verifier.verify(call) for call in calls)):
            assert all(verdicts)

    run(scenario, mode, queue_max=100)


def test_a_caller_that_gives_up_harms_nobody(gate: Gate) -> None:
    async def scenario(verifier: Verifier) -> None:
        gate.opened.clear()
        transactions = [good(number) for number in range(10)]
        impatient = asyncio.create_task(verifier.verify(transactions))
        patient = asyncio.create_task(verifier.verify(transactions))
        await until(lambda: bool(gate.batches))
        impatient.cancel()
        gate.opened.set()
        assert all(await patient)
        with pytest.raises(asyncio.CancelledError):
            await impatient

    run(scenario, Mode.THREADS)


def test_closing_cancels_whoever_waits(gate: Gate) -> None:
    async def main() -> None:
        verifier = Verifier(Mode.THREADS, 1, queue_max=10)
        gate.opened.clear()
        waiting = [asyncio.create_task(verifier.verify([good(number) for number in range(n, n + 20)])) for n in (0, 20)]
        await until(lambda: bool(gate.batches) and bool(verifier._room))
        gate.opened.set()
        await verifier.close()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        with pytest.raises(asyncio.CancelledError):
            await verifier.verify([good(1)])

    asyncio.run(main())


def test_our_own_fault_in_a_check_reaches_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(transactions: list[Transaction]) -> list[bool]:
        raise AssertionError("our own fault")

    async def scenario(verifier: Verifier) -> None:
        monkeypatch.setattr(module, "_check", fail)
        with pytest.raises(AssertionError):
            await verifier.verify([good(number) for number in range(20)])

    run(scenario, Mode.THREADS)


def test_one_core_needs_no_threads_and_several_are_measured() -> None:
    assert choose_mode(1) == (Mode.INLINE, 1)
    mode, workers = choose_mode(3)
    assert (mode, workers) in {(Mode.INLINE, 1), (Mode.THREADS, 2)}


def test_a_caller_that_gives_up_as_its_turn_comes_passes_the_turn_on(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(verifier: Verifier) -> None:
        gate.opened.clear()
        first = asyncio.create_task(verifier.verify([good(number) for number in range(3)]))
        await until(lambda: verifier.stats().queued == 3)
        second, third = (asyncio.create_task(verifier.verify([good(number)])) for number in (10, 11))
        await until(lambda: len(verifier._room) == 2)
        finish = verifier._finish

        def finish_and_cancel(jobs: list[module._Job], verdicts: list[bool]) -> None:
            finish(jobs, verdicts)
            second.cancel()

        monkeypatch.setattr(verifier, "_finish", finish_and_cancel)
        gate.opened.set()
        assert all(await first)
        assert await third == [True]

    run(scenario, Mode.THREADS, workers=1, queue_max=3)
