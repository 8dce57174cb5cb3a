"""docs/receivable.md lists what the module has, no more and no less, and its facts are the code's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dawan_node.crypto.hashing import tagged_hash
from dawan_node.modules.receivable import module
from dawan_node.modules.receivable.clearing import LINES_MAX
from dawan_node.modules.receivable.entities import FinancingState, InvoiceState, Money, VoucherState
from dawan_node.modules.receivable.fingerprints import invoice_id, normalised_number
from dawan_node.modules.receivable.supervised import BatchState, DeclarationState, FilingState, RediscountState
from dawan_node.modules.receivable.supervised_queries import BATCH_MAX
from dawan_node.modules.refdata.parameters import PARAMETERS
from dawan_node.primitives.encoding import encode
from dawan_node.testing.trade import text_id
from tests.modules.receivable_kit import Supervised

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "receivable.md").read_text(encoding="utf-8")


def test_the_page_lists_every_command_with_roles_that_may_send_it() -> None:
    table = PAGE.split("Queries:")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", table, re.M)
    named = {name: roles for names, roles in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(named) == set(module.commands)
    for name, text in named.items():
        said = set(re.findall(r"[a-z_]+", text))
        if not said & {"holders", "borrower", "holder"}:
            assert said == set(module.commands[name].roles), name


def test_the_page_lists_every_query() -> None:
    listed = PAGE.split("Queries:")[1].split("```")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(module.queries)


def test_the_reports_on_the_page_are_queries() -> None:
    table = PAGE.split("| Report | What |")[1].split("##")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.M)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} <= set(module.queries)


def test_the_diagram_shows_every_state() -> None:
    diagram = PAGE.split("```\n")[1]
    states = {
        *InvoiceState,
        *VoucherState,
        *FinancingState,
        *RediscountState,
        *DeclarationState,
        *FilingState,
        *BatchState,
    }
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)?\b", diagram)) == {state.value for state in states}


def test_the_parameters_on_the_page_are_the_vouchers_with_their_first_values() -> None:
    shown = dict(re.findall(r"`(voucher\.[a-z._]+)`\s\((\d+)", PAGE))
    assert shown == {key: str(spec.first) for key, spec in PARAMETERS.items() if key.startswith("voucher.")}


def test_the_limits_on_the_page_are_the_codes() -> None:
    assert f"batch of at most {LINES_MAX} vouchers" in PAGE
    assert f"batch of up to {BATCH_MAX} declarations" in PAGE


def test_the_reasons_on_the_page_are_declared_or_the_importers_or_the_kernels() -> None:
    assert set(re.findall(r"E_[A-Z_]+", PAGE)) - set(module.errors) == {"E_NO_DUE_DATE", "E_ASSET_FROZEN"}


def test_an_invoice_identifier_is_made_as_the_page_says() -> None:
    fields = ["gz-supplier", "gz-core", "inv001", "2026-03-01", "CNY", 100]
    digest = tagged_hash(b"dawan:receivable:invoice:v1", encode(fields))
    made = invoice_id("gz-supplier", "gz-core", "inv001", "2026-03-01", Money("CNY", 100))
    assert made == f"gz-supplier/inv001/{digest[:8].hex()}"
    spellings = re.search(r"and stripping leading zeros:\n(.+?) are `inv001`", PAGE, re.S)
    assert spellings is not None
    for spelling in re.findall(r"`([^`]+)`", spellings[1]):
        assert normalised_number(spelling) == "inv001"


def test_the_example_runs_and_ends_with_everything_paid() -> None:
    example = PAGE.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(example, "docs/receivable.md", "exec"), names)  # noqa: S102 - our own page
    desk = Supervised()
    trade: Callable[..., None] = names["trade"]
    trade(desk.ok, desk.day, desk.cash, lambda days: desk.kit.pass_time(days=days), text_id)
    assert desk.get_batch("core-1/C-1").state == BatchState.CLEARED
    assert desk.get_voucher("core-1/V-1").redeemed_minor == 100_000_000
    assert desk.rediscount("bank-hk/R-1").state == RediscountState.REPAID
    assert desk.financing("supplier-a/F-1").state == FinancingState.REPAID
