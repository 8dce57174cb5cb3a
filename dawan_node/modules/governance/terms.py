"""What keys of validators stand for, now and in the past: looked up wherever a key is registered for anything."""

from __future__ import annotations

from typing import Final

from dawan_node.execution.module import Context, QueryContext
from dawan_node.modules.governance.declaration import Proposal, ValidatorKey

#: Keys of one validator, one after the other: a yearly rotation for a thousand years.
_TERMS_SCANNED_MAX: Final = 1_000
#: Lapsed proposals keep their status, and one can be open at a time for 30 days: those of a lifetime.
_CHANGES_SCANNED_MAX: Final = 1_000


def term_of(ctx: Context | QueryContext, public_key: bytes) -> ValidatorKey | None:
    """Whose vote this key is or was; None for a key that never was a validator's here."""
    found = ctx.get(ValidatorKey, public_key)
    if found is not None:
        return found
    for entry in ctx.genesis.genesis.validators:
        if entry.public_key == public_key:
            return ValidatorKey(public_key, entry.suite, entry.name, entry.org, 1, 0, "")
    return None


def orgs_of_seat(ctx: Context, name: str) -> list[str]:
    """The organisations a validator of that name belongs or belonged to; one at most."""
    stored = [term.org for term in ctx.scan(ValidatorKey, "by_name", (name,), limit=_TERMS_SCANNED_MAX)]
    first = [entry.org for entry in ctx.genesis.genesis.validators if entry.name == name]
    return [*first, *stored]


def open_changes(ctx: Context) -> list[Proposal]:
    """The change of the validators that is under way, if there is one."""
    found = [
        proposal
        for status in ("open", "passed")
        for proposal in ctx.scan(Proposal, "validator_changes", (status,), limit=_CHANGES_SCANNED_MAX)
    ]
    return [proposal for proposal in found if proposal.closes_ms > ctx.time_ms]
