"""docs/lc.md lists what the module has, no more and no less, and its example runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dawan_node.modules.kernel import module as kernel
from dawan_node.modules.lc import module
from dawan_node.modules.lc.entities import CreditState, ObligationState, PresentationState, ReimbursementState
from dawan_node.modules.refdata.parameters import PARAMETERS
from tests.modules.lc_kit import Desk

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "lc.md").read_text(encoding="utf-8")


def test_the_page_lists_every_command_with_the_roles_that_may_send_it() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", PAGE, re.M)
    named = {name: roles for names, roles in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(named) == set(module.commands)
    for name, text in named.items():
        roles = set(module.commands[name].roles)
        if roles:
            assert set(re.findall(r"[a-z_]+", text)) == roles, name
        else:
            assert text in ("any party to it", "whoever the condition names"), name


def test_the_page_lists_every_query() -> None:
    listed = PAGE.split("Queries:")[1].split(". The last two")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(module.queries)


def test_every_state_that_the_page_names_is_one() -> None:
    states = {*CreditState, *PresentationState, *ReimbursementState, *ObligationState}
    named = set(re.findall(r"\b(?:[A-Z]+_)?[A-Z]{5,}\b", PAGE.split("## States")[1].split("##")[0]))
    assert named and named <= {state.value for state in states}


def test_reasons_and_parameters_on_the_page_are_declared() -> None:
    assert set(re.findall(r"\bE_[A-Z_]+", PAGE)) - set(module.errors) == {"E_ASSET_FROZEN", "E_DUP_FINANCE"}
    assert {"E_ASSET_FROZEN", "E_DUP_FINANCE"} <= set(kernel.errors)
    shown = dict(re.findall(r"`(lc\.[a-z._]+)` \((\d+)", PAGE)) | dict(re.findall(r"\(`(lc\.[a-z._]+)`, (\d+)", PAGE))
    first = {key: PARAMETERS[key].first for key in shown}
    assert shown == {
        key: str(value // 10_000 if key.startswith("lc.tolerance") else value) for key, value in first.items()
    }
    assert set(shown) == {key for key in PARAMETERS if key.startswith("lc.")}


def test_the_example_runs_and_ends_as_the_page_says() -> None:
    example = PAGE.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(example, "docs/lc.md", "exec"), names)  # noqa: S102 - our own page
    desk = Desk()
    trade: Callable[..., None] = names["trade"]
    trade(desk.ok, desk.today, desk.day)
    assert desk.get_credit("buyer-a/LC-2026").state == CreditState.CLOSED
    found = desk.get("buyer-a/LC-2026#1")
    assert (found.state, found.with_party) == (PresentationState.PAID, "buyer-a")
