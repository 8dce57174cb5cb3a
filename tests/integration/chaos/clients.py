"""The load: one client per node that trades receivables and reads what it wrote, at a steady pace, whatever happens.

Each records invoices, lets the buyer confirm some, draws vouchers on them, moves those on, and asks for states,
balances and lists. It sends a transaction whose answer it did not get again, as a client should: the bytes are the
same, so is the receipt.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from dawan_node.errors import DawanError
from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.rpc.client import Client, RpcError, build_body, sign_transaction
from tests.integration.chaos.history import History
from tests.integration.chaos.network import CHANNEL, ChaosNetwork, DevnetNode

BUYER, CORE = "gz-buyer", "gz-core"
SELLERS = ("gz-supplier", "gz-supplier-2", "hk-supplier")
TOTAL_MINOR = 1_000_00
_WAIT_MS = 4_000
# Longer than any run: a transaction that was not answered may be sent again until its fate is known.
_VALID_MS = 45 * 60_000
_AGAIN_MAX = 12
_REST_S = 0.1


class Traffic:
    """All clients. ``rate``: transactions a second of all together, while nothing is wrong."""

    def __init__(self, network: ChaosNetwork, history: History, seed: int, rate: float) -> None:
        self._stop = threading.Event()
        self.failures: list[BaseException] = []
        self._clients = [
            _Trader(network, history, node, place, random.Random(f"{seed}/{node.name}"), len(network.nodes) / rate)
            for place, node in enumerate(network.nodes)
        ]
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in self._clients]

    def _run(self, trader: _Trader) -> None:
        try:
            trader.run(self._stop)
        except BaseException as error:  # reported by whoever stops the run
            self.failures.append(error)
            raise

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class _Trader:
    def __init__(
        self,
        network: ChaosNetwork,
        history: History,
        node: DevnetNode,
        place: int,
        draw: random.Random,
        pause_s: float,
    ) -> None:
        self._keys = network.keys
        self._chain_id = network.genesis.chain_id
        self._history = history
        self._node = node
        self._name = f"trader-{node.name}"
        self._client = Client(node.rpc_url, timeout_s=3.0)
        self._draw = draw
        self._pause_s = pause_s
        self._seller = SELLERS[place % len(SELLERS)]
        self._prefix = f"C{place}"
        self._number = 0
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        self._stop = stop
        stories = (self._invoice, self._invoices, self._voucher, self._read)
        while not stop.is_set():
            began = time.monotonic()
            sent = 0
            try:
                sent = self._draw.choices(stories, weights=(4, 3, 1, 2))[0]()
            except DawanError:
                stop.wait(_REST_S)
            stop.wait(max(0.0, sent * self._pause_s - (time.monotonic() - began)))
        self._client.close()

    # Stories; each returns how many transactions it sent

    def _invoice(self) -> int:
        number, envelope = self._new_invoice()
        answer = self._submit(envelope)
        if answer is not None:
            height = answer["receipt"]["height"]
            key = self._key(number)
            self._state("invoice", key, "latest")
            self._state("invoice", key, height)
        return 1

    def _invoices(self) -> int:
        batch = [self._new_invoice()[1] for _ in range(self._draw.randint(2, 6))]
        hexed = ["0x" + each.hex() for each in batch]
        self._ask("tx_submitMany", [CHANNEL, hexed, "committed", _WAIT_MS], _WAIT_MS / 1000)
        return len(batch)

    def _voucher(self) -> int:
        number, envelope = self._new_invoice(buyer=CORE)
        if self._submit(envelope) is None:
            return 1
        invoice = self._key(number).decode()
        voucher = f"{CORE}/V-{number}"
        steps: list[tuple[str, str, dict[str, Any]]] = [
            (CORE, "confirm_invoice", {"invoice": invoice}),
            (
                CORE,
                "issue_voucher",
                {
                    "number": f"V-{number}",
                    "holder": self._seller,
                    "face": ["CNY", TOTAL_MINOR],
                    "due_date": _day(90),
                    "invoices": [{"invoice": invoice, "minor": TOTAL_MINOR}],
                },
            ),
            (self._seller, "accept_voucher", {"voucher": voucher}),
        ]
        if self._draw.random() < 0.5:
            half = TOTAL_MINOR // 2
            steps.append((self._seller, "split_voucher", {"voucher": voucher, "parts": [["CNY", half]] * 2}))
        else:
            other = next(name for name in SELLERS if name != self._seller)
            steps.append((self._seller, "transfer_voucher", {"voucher": voucher, "to": other}))
            steps.append((other, "accept_voucher", {"voucher": voucher}))
        for count, (who, command, args) in enumerate(steps, 2):
            if self._submit(self._sign(who, command, args)) is None:
                return count
        self._query("voucher_tree", {"voucher": voucher})
        return 1 + len(steps)

    def _read(self) -> int:
        self._ask("chain_head", [CHANNEL])
        self._query("exposure", {"party": CORE})
        self._query("holdings", {"party": self._seller})
        self._query("invoices", {"party": self._seller})
        return 1

    # Calls

    def _ask(self, method: str, params: list[Any], wait_s: float = 0.0) -> Any:
        return self._history.call(self._client, self._name, self._node.name, method, params, wait_s)

    def _submit(self, envelope: bytes) -> Any:
        """Until the transaction's fate is known; the answer when it was committed with success."""
        for _ in range(_AGAIN_MAX):
            try:
                answer = self._ask(
                    "tx_submit", [CHANNEL, "0x" + envelope.hex(), "committed", _WAIT_MS], _WAIT_MS / 1000
                )
            except RpcError as error:
                if not error.retryable and error.code != 1100:
                    return None
            except DawanError:
                pass  # recorded; the same bytes go out again
            else:
                return answer if answer["status"] == "committed" else None
            if self._stop.wait(_REST_S):
                return None
        return None

    def _state(self, collection: str, key: bytes, at: int | str) -> None:
        self._ask("state_get", [CHANNEL, "receivable", collection, "0x" + key.hex(), at, False])

    def _query(self, query: str, params: dict[str, Any]) -> None:
        self._ask("module_query", [CHANNEL, "receivable", query, params, 20, None])

    # Transactions

    def _new_invoice(self, buyer: str = BUYER) -> tuple[str, bytes]:
        self._number += 1
        number = f"{self._prefix}-{self._number:06d}"
        self._buyer_of_last = buyer
        args = {
            "number": number,
            "buyer": buyer,
            "issue_date": _day(0),
            "due_date": _day(90),
            "total": ["CNY", TOTAL_MINOR],
        }
        return number, self._sign(self._seller, "record_invoice", args)

    def _key(self, number: str) -> bytes:
        normalised = normalised_number(number)
        assert normalised is not None
        return invoice_id(self._seller, self._buyer_of_last, normalised, _day(0), Money("CNY", TOTAL_MINOR)).encode()

    def _sign(self, who: str, command: str, args: dict[str, Any]) -> bytes:
        until_ms = time.time_ns() // 1_000_000 + _VALID_MS
        body = build_body(self._chain_id, "receivable", command, args, valid_until_ms=until_ms)
        return sign_transaction(self._keys[who], body)


_START = time.time()


def _day(days: int) -> str:
    """The business date (UTC+8) so many days after the start of the run, the same for the whole of it."""
    return time.strftime("%Y-%m-%d", time.gmtime(_START + 8 * 3600 + days * 86_400))
