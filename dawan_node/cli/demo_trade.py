"""The story of the demo: an invoice becomes a voucher, is split, financed once, refused thrice, and paid to the cent.

Everything goes through JSON-RPC like any member's own system: each step is a signed transaction that is committed
before the next begins, and what the story says at the end is read back from the chain, not remembered. A step that
ends otherwise than told raises ``DemoFailed``.

Maturity arrives at once because the voucher falls due on the business date on which it is issued.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dawan_node.cli.demo_invoices import BUYER, CORE, SUPPLIER, samples
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import DawanError
from dawan_node.interchange.ubl import DOCUMENT_BYTES_MAX, PartyDraft, Reading, read_document, record_invoice_args
from dawan_node.modules.receivable.entities import Money
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.rpc.client import Methods, RpcError, build_body, sign_transaction

CHANNEL: Final = "trade"
MODULE: Final = "receivable"

SECOND_TIER: Final = "gz-supplier-2"
FIRST_BANK: Final = "hk-bank"
SECOND_BANK: Final = "mo-bank"
SETTLEMENT_BANK: Final = "gz-settlement"
#: Attests what the core enterprise paid, because a bank of the payer's own organisation would only announce it.
OTHER_SETTLEMENT_BANK: Final = "hk-settlement"
CAST: Final = (
    SUPPLIER.identity,
    BUYER.identity,
    CORE.identity,
    SECOND_TIER,
    FIRST_BANK,
    SECOND_BANK,
    SETTLEMENT_BANK,
    OTHER_SETTLEMENT_BANK,
)
BIC: Final = "ICBKCNBJGDG"

FACE: Final = 1_000_000_000  # CNY 10,000,000.00 in fen
FIRST_PART: Final = 600_000_000
SECOND_PART: Final = 400_000_000
PRICE: Final = 397_600_000  # what the bank pays for the second part

_WAIT_MS: Final = 30_000
_VALID_MS: Final = 600_000
_UTC8_S: Final = 8 * 3_600
_DAY_S: Final = 24 * 3_600
# The whole story takes a few seconds; this close to midnight it would begin on one business date and end on the next.
_MIDNIGHT_S: Final = 60
# How many times the story can be told on one channel in one day; numbers have three digits.
_TELLINGS_MAX: Final = 999


class DemoFailed(DawanError):
    """The chain answered otherwise than the story says."""


@dataclass(frozen=True, slots=True)
class Step:
    """One committed transaction of the story."""

    person: str
    command: str
    tx_id: str
    height: int
    reason: str


@dataclass(slots=True)
class DemoReport:
    """What happened: for the test, and for whoever wants the transaction ids."""

    steps: list[Step] = field(default_factory=list)
    imported: dict[str, str] = field(default_factory=dict)
    issued_minor: int = 0
    redeemed_minor: int = 0
    refusals: int = 0


async def run_demo(
    client: Methods, keys: Mapping[str, PrivateKey], invoices_dir: Path | None, say: Callable[[str], None]
) -> DemoReport:
    """Tell the story on the channel ``trade`` and return what happened.

    ``client`` is an AsyncClient; ``keys`` hold the identities of ``CAST``; ``invoices_dir`` has UBL files that the
    supplier imports beside its own. Raises DemoFailed, RpcError and Unreachable.
    """
    missing = [name for name in CAST if name not in keys]
    if missing:
        raise DemoFailed(f"the story needs the identity {missing[0]}, and there is no key for it")
    story = _Story(client, keys, say, bytes.fromhex((await client.channel_get(CHANNEL))["chain_id"][2:]))
    await story.leave_midnight()
    number = await story.unused_number()
    await story.import_invoices(number, invoices_dir)
    await story.confirm()
    voucher = await story.issue_and_split(number)
    await story.finance(voucher, number)
    await story.refuse_second_bank(number)
    await story.mature(voucher)
    await story.agree(voucher)
    return story.report


class _Story:
    def __init__(
        self, client: Methods, keys: Mapping[str, PrivateKey], say: Callable[[str], None], chain_id: bytes
    ) -> None:
        self._client = client
        self._keys = keys
        self._say = say
        self._chain_id = chain_id
        self._recorded: list[tuple[str, str]] = []  # (buyer, invoice id)
        self._main_invoice: dict[str, Any] = {}
        self.report = DemoReport()

    # -- chapters ------------------------------------------------------------------------------------------------------

    async def import_invoices(self, number: int, folder: Path | None) -> None:
        """The supplier imports its outbox, then the files somebody gave it."""
        self._chapter("A supplier in Guangzhou imports its invoices (UBL 2.1)")
        for name, data in samples(number, _today()):
            await self._import(name, data, self._customer(name, number))
        self._main_invoice = self._terms(number)
        for name, data in _files(folder):
            await self._import(name, data, BUYER.identity)

    async def confirm(self) -> None:
        """Each buyer confirms what it owes."""
        self._chapter("The buyers confirm what they owe")
        for buyer, invoice in self._recorded:
            step = await self._send(buyer, "confirm_invoice", {"invoice": invoice})
            self._tell(f"{buyer} confirms {invoice}", step)

    async def issue_and_split(self, number: int) -> str:
        """The core enterprise's promise, and its way to the second tier; returns the voucher."""
        invoice = self._main_invoice["invoice"]
        self._chapter(f"A core enterprise turns INV-{number:03d} into a voucher, which is split 6m/4m")
        terms = {
            "number": f"V-{number:03d}",
            "holder": SUPPLIER.identity,
            "face": _cny(FACE),
            "due_date": _today(),
            "invoices": [{"invoice": invoice, "minor": FACE}],
        }
        step = await self._send(CORE.identity, "issue_voucher", terms)
        voucher = f"{CORE.identity}/V-{number:03d}"
        self._tell(f"{CORE.identity} issues {voucher} over {_text(FACE)}, due {_today()}", step)
        step = await self._send(SUPPLIER.identity, "accept_voucher", {"voucher": voucher})
        self._tell(f"{SUPPLIER.identity} accepts it", step)
        parts = {"voucher": voucher, "parts": [_cny(FIRST_PART), _cny(SECOND_PART)]}
        step = await self._send(SUPPLIER.identity, "split_voucher", parts)
        self._tell(f"{SUPPLIER.identity} splits it into {_text(FIRST_PART)} and {_text(SECOND_PART)}", step)
        part = f"{voucher}.2"
        step = await self._send(SUPPLIER.identity, "transfer_voucher", {"voucher": part, "to": SECOND_TIER})
        self._tell(f"{SUPPLIER.identity} offers {part} to its own supplier {SECOND_TIER}", step)
        step = await self._send(SECOND_TIER, "accept_voucher", {"voucher": part})
        self._tell(f"{SECOND_TIER} accepts: the promise reached the second tier", step)
        return voucher

    async def finance(self, voucher: str, number: int) -> None:
        """A bank in Hong Kong buys the second tier's part."""
        self._chapter("A Hong Kong bank finances the second tier")
        part, financing = f"{voucher}.2", f"{SECOND_TIER}/F-{number:03d}"
        application = {
            "number": f"F-{number:03d}",
            "voucher": part,
            "financier": FIRST_BANK,
            "kind": "DISCOUNT",
            "principal": _cny(PRICE),
            "rate_ppm": 24_000,
            "recourse": False,
            "maturity": _today(),
        }
        step = await self._send(SECOND_TIER, "apply_voucher_financing", application)
        self._tell(f"{SECOND_TIER} offers {part} to {FIRST_BANK} for {_text(PRICE)}", step)
        step = await self._send(FIRST_BANK, "reserve_financing", {"financing": financing, "related": True})
        self._tell(f"{FIRST_BANK} reserves it, though issuer and supplier are of one organisation: locked", step)
        cash = self._cash(f"FUND-{number:03d}", FIRST_BANK, SECOND_TIER, PRICE)
        step = await self._send(SETTLEMENT_BANK, "fund_financing", {"financing": financing, "cash": cash})
        self._tell(f"{SETTLEMENT_BANK} attests the payment; {FIRST_BANK} now holds {part}", step)

    async def refuse_second_bank(self, number: int) -> None:
        """The same invoice, three spellings, three refusals."""
        self._chapter("A second bank is shown the same invoice, spelled otherwise each time")
        written = f"INV-{number:03d}"
        spellings = (f" {written.lower()}", written.replace("-", " "), written.translate(_FULL_WIDTH))
        for position, spelling in enumerate(spellings, start=1):
            application = {
                "number": f"D-{number:03d}-{position}",
                "invoice_number": spelling,
                "buyer": CORE.identity,
                "issue_date": self._main_invoice["issue_date"],
                "total": self._main_invoice["total"],
                "financier": SECOND_BANK,
                "principal": _cny(FACE),
                "rate_ppm": 30_000,
                "recourse": True,
            }
            await self._send(SUPPLIER.identity, "apply_invoice_financing", application)
            financing = f"{SUPPLIER.identity}/D-{number:03d}-{position}"
            step = await self._send(
                SECOND_BANK, "reserve_financing", {"financing": financing}, expected="E_DUP_FINANCE"
            )
            self.report.refusals += 1
            self._tell(f'{SECOND_BANK} tries "{spelling}": refused, {step.reason}', step)

    async def mature(self, voucher: str) -> None:
        """The due date is today: the holders are paid, and only they, and only once."""
        self._chapter("The voucher falls due and is settled")
        number = voucher.rpartition("-")[2]
        old_holder = self._cash(f"PAY-{number}-0", CORE.identity, SECOND_TIER, SECOND_PART)
        settle = {"voucher": f"{voucher}.2", "cash": old_holder}
        step = await self._send(OTHER_SETTLEMENT_BANK, "settle_voucher", settle, expected="E_WRONG_PAYEE")
        self._tell(f"A payment to the former holder {SECOND_TIER} does not settle: {step.reason}", step)
        first = self._cash(f"PAY-{number}-1", CORE.identity, SUPPLIER.identity, FIRST_PART)
        step = await self._send(OTHER_SETTLEMENT_BANK, "settle_voucher", {"voucher": f"{voucher}.1", "cash": first})
        self._tell(f"{CORE.identity} paid {SUPPLIER.identity} {_text(FIRST_PART)}", step)
        again = {"voucher": f"{voucher}.2", "cash": first}
        step = await self._send(OTHER_SETTLEMENT_BANK, "settle_voucher", again, expected="E_CASHREF_USED")
        self._tell(f"The same payment cannot settle a second time: {step.reason}", step)
        second = self._cash(f"PAY-{number}-2", CORE.identity, FIRST_BANK, SECOND_PART)
        step = await self._send(OTHER_SETTLEMENT_BANK, "settle_voucher", {"voucher": f"{voucher}.2", "cash": second})
        self._tell(f"{CORE.identity} paid {FIRST_BANK} {_text(SECOND_PART)}", step)

    async def agree(self, voucher: str) -> None:
        """Read everything back and require that the sums agree to the cent."""
        tree = await self._query("voucher_tree", {"voucher": voucher})
        root = next(item for item in tree if item["voucher"] == voucher)
        leaves = [item for item in tree if item["state"] != "SPLIT"]
        open_minor = sum(_minor(leaf["face"]) for leaf in leaves if leaf["state"] != "SETTLED")
        settled = [_minor(leaf["face"]) for leaf in leaves if leaf["state"] == "SETTLED"]
        attested = [
            _minor(item["amount"])
            for item in await self._query("cash_references", {"subject": voucher})
            if item["purpose"] == "settle"
        ]
        (invoice,) = await self._query("invoice", {"invoice": self._main_invoice["invoice"]})
        issued = _minor(root["face"])
        self.report.issued_minor, self.report.redeemed_minor = issued, sum(settled)
        agreed = (
            issued == FACE == sum(settled) + open_minor == sum(attested) == root["redeemed_minor"]
            and open_minor == 0
            and sorted(settled) == sorted(attested) == sorted((FIRST_PART, SECOND_PART))
            and invoice["state"] == "SETTLED"
        )
        if not agreed:
            raise DemoFailed(
                f"issued {issued}, settled {settled}, attested {attested}, open {open_minor}: no agreement"
            )
        self._say("")
        self._say(
            f"The sums agree to the cent: issued {_text(issued)} = redeemed {_text(FIRST_PART)} + {_text(SECOND_PART)},"
            f" open {_text(open_minor)}; {FIRST_BANK} paid {_text(PRICE)} and received {_text(SECOND_PART)}."
        )

    # -- means ---------------------------------------------------------------------------------------------------------

    async def leave_midnight(self) -> None:
        """Wait out the last minute of a business date, so that the whole story has one date."""
        left = _DAY_S - int(time.time() + _UTC8_S) % _DAY_S
        if left <= _MIDNIGHT_S:
            self._say(f"The business date ends in {left} s; the story begins with the new one.")
            await asyncio.sleep(left + 1)

    async def unused_number(self) -> int:
        """The first number nobody used on this channel: the demo can be told again on the same network."""
        for number in range(1, _TELLINGS_MAX + 1):
            if not await self._query("voucher", {"voucher": f"{CORE.identity}/V-{number:03d}"}):
                return number
        raise DemoFailed("the story was told on this channel too often; start with a new network")

    async def _import(self, name: str, data: bytes, buyer: str) -> None:
        reading = read_document(data)
        draft = reading.draft
        if reading.refusal is not None:
            self._say(f"  {name}: {_describe(reading)}")
            self._say(f"    refused, {reading.refusal.reason}: {reading.refusal.detail}")
            self.report.imported[name] = str(reading.refusal.reason)
            return
        self._say(f"  {name}: {_describe(reading)}")
        step = await self._send(SUPPLIER.identity, "record_invoice", record_invoice_args(draft, buyer), expected=None)
        self.report.imported[name] = step.reason or "recorded"
        if step.reason:
            self._tell(f"  refused by the chain, {step.reason}", step)
            return
        self._tell("  recorded", step)
        total = Money(draft.currency, draft.payable_minor)
        normalised = normalised_number(draft.number) or ""
        self._recorded.append((buyer, invoice_id(SUPPLIER.identity, buyer, normalised, draft.issue_date, total)))

    def _customer(self, name: str, number: int) -> str:
        return CORE.identity if name == f"INV-{number:03d}.xml" else BUYER.identity

    def _terms(self, number: int) -> dict[str, Any]:
        normalised = normalised_number(f"INV-{number:03d}") or ""
        identifier = invoice_id(SUPPLIER.identity, CORE.identity, normalised, _today(), Money("CNY", FACE))
        if (CORE.identity, identifier) not in self._recorded:
            raise DemoFailed(f"the chain did not record {identifier}")
        return {"invoice": identifier, "issue_date": _today(), "total": _cny(FACE)}

    async def _send(self, person: str, command: str, args: Mapping[str, Any], *, expected: str | None = "") -> Step:
        """Sign, submit, wait for finality. ``expected`` is the reason it must end with, None for any."""
        until = time.time_ns() // 1_000_000 + _VALID_MS
        body = build_body(self._chain_id, MODULE, command, args, valid_until_ms=until)
        transaction = sign_transaction(self._keys[person], body)
        try:
            answer = await self._client.tx_submit(CHANNEL, transaction, "committed", _WAIT_MS)
        except RpcError as error:
            raise DemoFailed(f"{command} by {person}: {error.reason}: {error.message}") from error
        receipt = answer["receipt"]
        step = Step(person, command, answer["tx_id"], receipt["height"], receipt["reason"])
        self.report.steps.append(step)
        if expected is not None and step.reason != expected:
            ended = step.reason or "success"
            raise DemoFailed(f"{command} by {person} ended with {ended}, not {expected or 'success'}; tx {step.tx_id}")
        return step

    async def _query(self, query: str, params: Mapping[str, Any]) -> list[Any]:
        items: list[Any] = (await self._client.module_query(CHANNEL, MODULE, query, params))["items"]
        return items

    def _cash(self, reference: str, payer: str, payee: str, minor: int) -> dict[str, Any]:
        return {
            "bank": BIC,
            "reference": f"{_today()} {reference}",
            "payer": payer,
            "payee": payee,
            "amount": _cny(minor),
            "value_date": _today(),
        }

    def _chapter(self, title: str) -> None:
        self._say("")
        self._say(title)

    def _tell(self, text: str, step: Step) -> None:
        self._say(f"  {text}")
        self._say(f"      block {step.height}, tx {step.tx_id}")


# ASCII 0x21..0x7E to the full-width forms that input methods produce.
_FULL_WIDTH: Final = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def _files(folder: Path | None) -> list[tuple[str, bytes]]:
    """The UBL files of a folder, by name; one byte more than the reader takes shows it that a file is too large."""
    found = []
    for path in sorted(folder.glob("*.xml")) if folder is not None else []:
        with path.open("rb") as file:
            found.append((path.name, file.read(DOCUMENT_BYTES_MAX + 1)))
    return found


def _today() -> str:
    """The business date: today at UTC+8."""
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + _UTC8_S))


def _cny(minor: int) -> list[Any]:
    return ["CNY", minor]


def _text(minor: int) -> str:
    return f"CNY {minor // 100:,}.{minor % 100:02d}"


def _minor(money: Mapping[str, str]) -> int:
    """Minor units of an amount as JSON-RPC writes it; every currency of the story has two places."""
    return int(money["amount"].replace(".", ""))


def _describe(reading: Reading) -> str:
    draft = reading.draft
    amount = Money(draft.currency, draft.payable_minor).decimal() if draft.currency else "-"
    whole, point, fraction = amount.lstrip("-").partition(".")
    shown = ("-" if draft.payable_minor < 0 else "") + (f"{int(whole):,}{point}{fraction}" if whole else "")
    return f"{draft.number}, {_party(draft.supplier)} -> {_party(draft.customer)}, {draft.currency} {shown}"


def _party(party: PartyDraft) -> str:
    return f"{party.name} ({party.identifier})" if party.name and party.identifier else party.name or party.identifier
