"""The one table of transaction codes (formats C): a number, a reason, what to do about it. A code is never reused."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Final


class Code(IntEnum):
    """Receipt codes (0..199) and admission codes (1000..1199). The member's name is the stable reason."""

    OK = 0
    E_IDENTITY = 1
    E_ROLE = 2
    E_MODULE = 3
    E_MODULE_FAULT = 4
    E_BUDGET = 5
    E_FROZEN = 6
    E_NAMESPACE = 7
    E_MALFORMED = 1000
    E_SIGNATURE = 1001
    E_POOL_FULL = 1002
    E_VALIDITY = 1003
    E_NONCE_USED = 1004
    E_TOO_LARGE = 1005
    E_QUOTA = 1006
    E_WRONG_CHAIN = 1007
    E_UNKNOWN_COMMAND = 1008
    E_SCHEMA = 1009
    E_SUITE = 1010
    E_WAIT_TIMEOUT = 1100


RETRYABLE: Final = frozenset({Code.E_POOL_FULL, Code.E_QUOTA})

HINTS: Final = MappingProxyType(
    {
        Code.E_IDENTITY: "The signing key is not registered here or was revoked; ask an org_admin to enrol it.",
        Code.E_ROLE: "The identity lacks the role this command needs; see module_describe.",
        Code.E_MODULE: "The module refused; the reason names its rule, see module_describe.",
        Code.E_MODULE_FAULT: "The module failed and changed nothing; report it to its developer.",
        Code.E_BUDGET: "The command used more steps than the channel allows; split it.",
        Code.E_FROZEN: "The object or organisation is frozen by order; see the freeze record.",
        Code.E_NAMESPACE: "The module touched a collection it may not touch; report it to the module's developer.",
        Code.E_MALFORMED: "The bytes are not a canonical transaction envelope; see docs/formats.md.",
        Code.E_SIGNATURE: "Sign 'dawan:tx:v1' LF body with the key named in the envelope.",
        Code.E_POOL_FULL: "The pool is full; send the same bytes again later.",
        Code.E_VALIDITY: "valid_until must lie after the block time and within the channel's transaction lifetime.",
        Code.E_NONCE_USED: "This key already used this nonce for another body; take a new random nonce.",
        Code.E_TOO_LARGE: "An envelope has at most 65,536 bytes.",
        Code.E_QUOTA: "Your organisation's share of the pool is used up; send the same bytes again later.",
        Code.E_WRONG_CHAIN: "The body names another chain id; compare with channel_get.",
        Code.E_UNKNOWN_COMMAND: "No such module or command on this channel; see module_list.",
        Code.E_SCHEMA: "The arguments do not fit the command's schema; data.path names the first wrong one.",
        Code.E_SUITE: "This network signs with the suite 'ed25519'.",
        Code.E_WAIT_TIMEOUT: "The transaction may still commit: poll tx_status, do not sign it anew.",
    }
)


def reason_of(code: int) -> str:
    """The stable reason of a code, ``E_UNKNOWN`` for one this version does not know."""
    try:
        return Code(code).name
    except ValueError:
        return "E_UNKNOWN"
