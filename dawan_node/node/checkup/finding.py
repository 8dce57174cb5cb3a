"""What a check says: a verdict on one subject, and for a bad one what, why and what to do next."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dawan_node.errors import OperatorError


class Verdict(enum.StrEnum):
    """How it stands; the order is from good to bad."""

    OK = "ok"
    NOT_RUN = "not run"  # could not be looked at, and ``why`` says what that would need
    WARN = "warn"  # works, and will not for ever
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True)
class Finding:
    """``check``: the group. ``subject``: the file, address, peer or limit. ``why`` and ``fix`` are empty when well."""

    check: str
    subject: str
    verdict: Verdict
    what: str
    why: str = ""
    fix: str = ""


def ok(check: str, subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, subject, Verdict.OK, what)


def warn(check: str, subject: str, what: str, why: str, fix: str) -> Finding:
    """It works now."""
    return Finding(check, subject, Verdict.WARN, what, why, fix)


def fail(check: str, subject: str, what: str, why: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check, subject, Verdict.FAIL, what, why, fix)


def not_run(check: str, subject: str, why: str, fix: str) -> Finding:
    """Nobody looked, for want of what ``fix`` says."""
    return Finding(check, subject, Verdict.NOT_RUN, f"not looked at: {why}", why, fix)


def failed(check: str, subject: str, error: OperatorError) -> Finding:
    """The program's own refusal as a finding."""
    return fail(check, subject, error.what, error.why, error.fix)
