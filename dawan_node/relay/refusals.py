"""Why a proof is not carried. Each cause has a code that scripts and alarms go by, whatever the words beside it say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from dawan_node.errors import InvalidInput, OperatorError


class Reason(StrEnum):
    """Codes of ``RelayRefused``; API, like the reasons of a module. What the chain refuses has the module's reason."""

    NO_CHANNEL = "E_NO_CHANNEL"  # the node has no such channel, or not for this caller
    NO_MODULE = "E_NO_MODULE"  # a channel without the module that this takes
    UNKNOWN_CLIENT = "E_UNKNOWN_CLIENT"  # the target believes no such channel
    CLIENT_FROZEN = "E_CLIENT_FROZEN"  # the source contradicted itself; a vote begins it anew
    OTHER_CHAIN = "E_OTHER_CHAIN"  # what is proven, or asked for, is of another chain
    NO_HEIGHT = "E_NO_HEIGHT"  # above the newest block
    HEIGHT_PRUNED = "E_HEIGHT_PRUNED"  # the node does not keep it any more
    NO_RECORD = "E_NO_RECORD"  # nothing stands under that name
    NOTHING_YET = "E_NOTHING_YET"  # the record says nothing that would move anything
    RECORD_OLD = "E_RECORD_OLD"  # the target knows of a later state of it
    CERTIFICATE_STALE = "E_CERTIFICATE_STALE"  # by validators that were not, or no longer, in office at that height
    BAD_PROOF = "E_BAD_PROOF"  # it does not verify
    BAD_ANSWER = "E_BAD_ANSWER"  # the node's answer is not what the method gives
    KEY_NOT_ALLOWED = "E_KEY_NOT_ALLOWED"  # nobody's on the target, revoked, or a validator's
    TOO_LARGE = "E_TOO_LARGE"  # more than a transaction holds


class RelayRefused(OperatorError):
    """A proof that is not carried; ``reason`` is stable."""

    def __init__(self, reason: Reason, why: str, fix: str) -> None:
        super().__init__(reason.value, why, fix)
        self.reason = reason


@contextmanager
def understood(answer: str) -> Iterator[None]:
    """Around the reading of a node's ``answer``: one that has another shape is refused, not a crash.

    Raises RelayRefused with ``E_BAD_ANSWER``.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, InvalidInput) as error:
        why = f"{answer} is not what a node of this version answers ({type(error).__name__}: {error})"
        raise RelayRefused(Reason.BAD_ANSWER, why, "Ask another node.") from None
