"""What authorities write or read beside the trade records, and what is kept for them (domain.md M1).

- rediscount ``bank-hk/R-1``: bank and the bank's number; filing ``core-1/T-1``: payer and number; clearing batch
  ``core-1/C-1``: core enterprise and number;
- export declaration ``530420260123456789``: the 18 digits of mainland customs, as on the paper.

Version 1 of the module began without these. They are records of their own, so that what earlier commands write stays
byte for byte what it was.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from dawan_node.execution.module import Entity, Instant, Money, key_of


class RediscountState(StrEnum):
    """``SUBMITTED -> ACCEPTED -> FUNDED -> REPAID``; before the money moved ``REJECTED`` or ``WITHDRAWN``; not bought
    back in time ``FORFEITED``, and ``CLOSED`` when nobody owes anything for it any more."""

    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    FUNDED = "FUNDED"
    REPAID = "REPAID"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    FORFEITED = "FORFEITED"
    CLOSED = "CLOSED"


#: The assets are locked for the rediscount.
LIVE_REDISCOUNTS: Final = (RediscountState.SUBMITTED, RediscountState.ACCEPTED, RediscountState.FUNDED)


class Rediscount(Entity, collection="rediscount", schema=1, exported=True):
    """What a bank bought, discounted once more by a branch of the central bank.

    The branch pays ``price_minor`` (``amount`` less the discount for ``days``), the bank pays ``amount`` back on
    ``maturity``. ``price_minor`` follows from amount, rate and days alone; the dates are set when it is funded.
    """

    rediscount: str
    bank: str
    branch: str
    financings: tuple[str, ...]
    amount: Money
    rate_ppm: int
    days: int
    price_minor: int
    value_date: str
    maturity: str
    state: RediscountState
    reason: str

    indexes = {  # noqa: RUF012 - a ClassVar of the base class
        "by_bank": lambda r: [(r.bank, r.state)],
        "by_branch": lambda r: [(r.branch, r.state)],
    }

    def primary_key(self) -> bytes:
        return key_of(self.rediscount)


class Forfeiture(Entity, collection="forfeiture", schema=1, exported=True):
    """How a rediscount ended that was not bought back in time.

    ``passed``: the purchases whose assets became the branch's, which bring ``passed_minor`` together; ``owed_minor``:
    what one side owes the other beside them, or owed until the rediscount was closed.
    """

    rediscount: str
    ended_by: str
    ended_date: str
    passed: tuple[str, ...]
    passed_minor: int
    owed_by: str
    owed_to: str
    owed_minor: int

    def primary_key(self) -> bytes:
        return key_of(self.rediscount)


class DeclarationState(StrEnum):
    """``RELEASED`` by customs; ``BLOCKED`` by SAFE and back; ``REVOKED`` by customs while nothing of it is used."""

    RELEASED = "RELEASED"
    BLOCKED = "BLOCKED"
    REVOKED = "REVOKED"


class ExportDeclaration(Entity, collection="export_declaration", schema=1, exported=True):
    """Goods that customs released for export, and how much of their price is financed and collected.

    ``amount - financed - collected`` is what may still be financed or collected.
    """

    declaration: str
    exporter: str
    exporter_uscc: str
    goods: tuple[str, ...]
    amount: Money
    released_date: str
    financed_minor: int
    collected_minor: int
    state: DeclarationState
    recorded_by: str
    decided_by: str
    reason: str

    indexes = {"by_exporter": lambda d: [(d.exporter, d.released_date)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.declaration)

    @property
    def residual_minor(self) -> int:
        """What may still be financed or collected."""
        return self.amount.minor - self.financed_minor - self.collected_minor


class DeclarationUse(Entity, collection="declaration_use", schema=1, exported=True):
    """How much of a declaration one financing takes; ``until_ms``: when the reservation ends, 0 once it is funded."""

    financing: str
    declaration: str
    minor: int
    until_ms: Instant

    indexes = {"by_declaration": lambda use: [(use.declaration, use.financing)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.financing)


class FilingState(StrEnum):
    """``FILED -> ACCEPTED -> EXHAUSTED``, or ``CANCELLED``."""

    FILED = "FILED"
    ACCEPTED = "ACCEPTED"
    EXHAUSTED = "EXHAUSTED"
    CANCELLED = "CANCELLED"


class TaxFiling(Entity, collection="tax_filing", schema=1, exported=True):
    """A contract with a party abroad that the tax authority took note of, and how much was paid out under it."""

    filing: str
    payer: str
    payer_uscc: str
    payee: str
    country: str
    contract_number: str
    contract: Money
    paid_minor: int
    state: FilingState
    decided_by: str
    reason: str
    filed_date: str

    indexes = {  # noqa: RUF012
        "by_payer": lambda f: [(f.payer, f.state)],
        "by_state": lambda f: [(f.state, f.filing)],
        # One contract has one live filing, and what was paid under one that ended counts, or its sum could be paid
        # out twice.
        "by_contract": lambda f: (
            [(f.payer_uscc, f.contract_number)] if f.state != FilingState.CANCELLED or f.paid_minor else []
        ),
    }

    def primary_key(self) -> bytes:
        return key_of(self.filing)


class BatchState(StrEnum):
    """``OPEN -> CLEARED``, or ``CANCELLED`` by the core enterprise."""

    OPEN = "OPEN"
    CLEARED = "CLEARED"
    CANCELLED = "CANCELLED"


class ClearingLine(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, gc=False):
    """One voucher of a batch; ``payee`` is whoever held it when the batch was cleared, empty before."""

    voucher: str
    root: str
    payee: str
    minor: int


class ClearingBatch(Entity, collection="clearing_batch", schema=1, exported=True):
    """The vouchers a core enterprise has paid together on one due date; ``total`` is the sum of the lines."""

    batch: str
    core: str
    due_date: str
    total: Money
    lines: tuple[ClearingLine, ...]
    state: BatchState
    cleared_date: str

    indexes = {"by_core": lambda b: [(b.core, b.due_date)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.batch)


class MovablesRegistration(Entity, collection="movables_registration", schema=1, exported=True):
    """The number under which a financing stands in the register of movables (``movables_reg_no`` of domain.md M1)."""

    financing: str
    number: str
    registered_by: str
    registered_date: str

    indexes = {"by_number": lambda r: [(r.number,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.financing)


class EnterpriseSize(StrEnum):
    """The statistical size class; small and medium enterprises are all but ``LARGE``."""

    MICRO = "MICRO"
    SMALL = "SMALL"
    MEDIUM = "MEDIUM"
    LARGE = "LARGE"


class EnterpriseProfile(Entity, collection="enterprise_profile", schema=1, exported=True):
    """What a banking regulator says of an enterprise for its statistics: size, district and group."""

    party: str
    size: EnterpriseSize
    district: str
    group: str
    classified_by: str
    classified_date: str

    indexes = {"by_group": lambda p: [(p.group, p.party)] if p.group else []}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.party)
