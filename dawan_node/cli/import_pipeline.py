"""The way of records to the chain: looked up, signed, written to the journal, sent in batches, a few at a time.

Memory is bounded by what waits to be reported (``UNREPORTED_MAX`` records, ``HELD_BYTES_MAX``), whatever the size of
the import. While batches wait for their block the next ones are read and signed. Records that touch the same thing on
chain never travel together: the later one waits until the earlier one is final, so the order of a document is the order
of the chain, and the second of two copies finds the first.

Records are reported in the order in which they were read.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_delivery import Answer, Patience, deliver
from dawan_node.cli.import_record import Record, Standard, Verdict

if TYPE_CHECKING:
    from dawan_node.cli.import_channel import ChannelView
    from dawan_node.cli.import_journal import Journal
    from dawan_node.rpc.client import Client, TransactionKey

#: Records sent in one call; a block holds as many and more, and a node takes 500.
BATCH: Final = 250
#: Calls under way; with 250 each a fifth of what one key may have in the pool.
IN_FLIGHT: Final = 4
#: Bytes of one call: in hexadecimal half of what a node takes as one request.
BATCH_BYTES_MAX: Final = 1024 * 1024
#: Records read and not reported; refused ones need no chain and would pile up behind those that wait for it.
UNREPORTED_MAX: Final = 4 * BATCH * IN_FLIGHT
#: Bytes of text that these records may keep: of long documents fewer wait. In memory it is up to ten times as much,
#: which a desktop has; records of an invoice's size never come near it.
HELD_BYTES_MAX: Final = 32 * 1024 * 1024
#: How long a transaction may wait for its block.
VALID_FOR_MS: Final = 600_000


@dataclass(slots=True)
class Flight:
    """A batch under way."""

    number: int
    records: list[Record]
    envelopes: list[bytes]
    answers: Future[list[Answer]]


class Pipeline:
    """Sends the records of one import: ``resume``, then ``add`` for each record, then ``finish``; ``close`` last."""

    def __init__(
        self,
        standard: Standard,
        channel: ChannelView,
        key: TransactionKey,
        journal: Journal,
        clients: Sequence[Client],
        report: Callable[[Record], None],
        patience: Patience,
    ) -> None:
        self._standard: Final = standard
        self._channel: Final = channel
        self._key: Final = key
        self._journal: Final = journal
        self._report: Final = report
        self._patience: Final = patience
        self._clients: SimpleQueue[Client] = SimpleQueue()
        for client in clients:
            self._clients.put(client)
        self._threads = ThreadPoolExecutor(max_workers=len(clients), thread_name_prefix="import")
        self._room: Final = len(clients)
        self._order: deque[Record] = deque()
        self._held_bytes = 0
        self._batch: list[Record] = []
        self._flying: deque[Flight] = deque()
        self._touched: set[str] = set()
        self.gave_up = False

    def close(self) -> None:
        """End calls under way and forget them; the journal keeps what is open."""
        self._patience.halt()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def resume(self) -> Counter[str]:
        """Settle what an interrupted import left open, with its own bytes; how many by verdict.

        Raises CommandFailed when nobody answers.
        """
        counted: Counter[str] = Counter()
        for number, envelopes in sorted(self._journal.open_batches.items()):
            answers = self._deliver(list(envelopes))
            left = [envelope for envelope, answer in zip(envelopes, answers, strict=True) if not answer.known]
            self._journal.set_open(number, left)
            counted.update(_verdict_of(answer).value for answer in answers)
        if counted[Verdict.UNKNOWN]:
            raise self.no_answer()
        return counted

    def add(self, record: Record) -> None:
        """Take a record; those that are not PENDING are only reported, in their turn."""
        self._order.append(record)
        self._held_bytes += record.held_bytes
        if record.verdict is Verdict.PENDING:
            if not record.touches.isdisjoint(self._touched):
                self._settle_all()
            self._touched |= record.touches
            self._batch.append(record)
            if len(self._batch) >= BATCH:
                self._send_batch()
        if len(self._order) > UNREPORTED_MAX or self._held_bytes > HELD_BYTES_MAX:
            self._settle_all()
        self._emit()

    def finish(self) -> None:
        """Send the rest and wait for all of it."""
        self._settle_all()

    def no_answer(self) -> CommandFailed:
        """The failure to end with when nobody answered any more."""
        return CommandFailed(
            ExitCode.TIMED_OUT,
            "the node stopped answering",
            f"nothing was answered for {self._patience.seconds:g} s; what was sent stands in {self._journal.path}",
            "Run the same command again: it sends the same bytes first and goes on from there.",
        )

    # -- batches

    def _send_batch(self) -> None:
        records, self._batch = self._batch, []
        if self.gave_up:
            for record in records:
                record.settle(Verdict.UNKNOWN, "E_UNREACHABLE", "not sent: the node stopped answering")
            return
        self._standard.look_up(records, self._channel)
        self._touched.difference_update(*(each.touches for each in records if each.verdict is not Verdict.PENDING))
        sent: list[Record] = []
        envelopes: list[bytes] = []
        size = 0
        for record in records:
            if record.verdict is not Verdict.PENDING:
                continue
            envelope = self._sign(record)
            if envelope is None:
                self._touched -= record.touches
                continue
            if envelopes and size + len(envelope) > BATCH_BYTES_MAX:
                self._fly(sent, envelopes)
                sent, envelopes, size = [], [], 0
            sent.append(record)
            envelopes.append(envelope)
            size += len(envelope)
        if sent:
            self._fly(sent, envelopes)

    def _sign(self, record: Record) -> bytes | None:
        """The record's transaction; None when it cannot be one, which then is its verdict."""
        from dawan_node.rpc.client import build_body, sign_transaction

        until_ms = time.time_ns() // 1_000_000 + VALID_FOR_MS
        module, args = self._standard.module, record.args
        try:
            body = build_body(self._channel.chain_id, module, record.command, args, valid_until_ms=until_ms)
        except (TypeError, ValueError) as error:
            record.refuse("E_ARGUMENTS", str(error))
            return None
        return sign_transaction(self._key, body)

    def _fly(self, records: list[Record], envelopes: list[bytes]) -> None:
        while len(self._flying) >= self._room:
            self._settle_oldest()
        number = self._journal.next_batch()
        # On disk before a byte of it leaves: whoever resumes knows every transaction that may exist.
        self._journal.set_open(number, envelopes)
        self._flying.append(Flight(number, records, envelopes, self._threads.submit(self._deliver, envelopes)))

    def _deliver(self, envelopes: Sequence[bytes]) -> list[Answer]:
        client = self._clients.get()
        try:
            return deliver(client, self._channel.name, envelopes, self._patience)
        finally:
            self._clients.put(client)

    def _settle_oldest(self) -> None:
        flight = self._flying.popleft()
        answers = flight.answers.result()
        left = []
        for record, envelope, answer in zip(flight.records, flight.envelopes, answers, strict=True):
            record.settle(_verdict_of(answer), answer.reason if not answer.is_recorded else "", answer.message)
            record.answer |= answer.shown
            if not answer.known:
                left.append(envelope)
            self._touched -= record.touches
        self._journal.set_open(flight.number, left)
        self._recognise(flight.records)
        if left:
            # Nobody answers: what is read from here on would only wait as long again.
            self.gave_up = True

    def _recognise(self, records: Sequence[Record]) -> None:
        """What was refused as a duplicate may be this very record, sent by another import a moment ago."""
        again = [
            record
            for record in records
            if record.verdict is Verdict.REJECTED and record.reason in self._standard.duplicate_reasons
        ]
        if again:
            self._standard.look_up(again, self._channel)

    def _settle_all(self) -> None:
        if self._batch:
            self._send_batch()
        while self._flying:
            self._settle_oldest()
        self._touched.clear()
        self._emit()

    def _emit(self) -> None:
        while self._order and self._order[0].verdict is not Verdict.PENDING:
            record = self._order.popleft()
            self._held_bytes -= record.held_bytes
            self._report(record)


def _verdict_of(answer: Answer) -> Verdict:
    if not answer.known:
        return Verdict.UNKNOWN
    return Verdict.RECORDED if answer.code == 0 else Verdict.REJECTED


def summary(counted: Counter[Any]) -> str:
    """``99,990 recorded, 10 refused``."""
    return ", ".join(f"{counted[verdict]:,} {verdict}" for verdict in Verdict if counted[verdict]) or "nothing"
