"""Who may call what: the kinds of callers, the rules that routes carry, and the three ways to say no. Pure.

A caller is judged once for every call, and for the channel the call names; whoever no rule lets in is refused. Being on
one channel gives nothing on another, and a channel that is not the caller's is answered exactly like one that does not
exist: same code, same words, same moment, and without a look at any store. So nobody learns that a channel exists by
asking for it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from dawan_node.rpc import jsonrpc
from dawan_node.rpc.api import ApiError


class Kind(StrEnum):
    """What a caller is to the channel it asks about (for a method without a channel: to the whole node)."""

    LOCAL = "local"  # on this machine, over loopback without TLS: its operator
    OWN = "own"  # with a certificate of the organisation this node belongs to
    MEMBER = "member"  # of an organisation that is active on the channel (or on any channel of this node)
    OUTSIDER = "outsider"  # of an organisation of the network that is not on the channel, or suspended there
    ANONYMOUS = "anonymous"  # over TLS without a certificate


#: What a route says about its callers. There are only these three rules, and a route without one cannot be written.
Rule = frozenset[Kind]

#: What shows peers, votes under way and other organisations' queues: whoever runs this node, and nobody else.
OPERATOR: Final[Rule] = frozenset({Kind.LOCAL, Kind.OWN})
#: What a channel's ledger says, and handing in transactions: whoever is on that channel.
MEMBERS: Final[Rule] = OPERATOR | {Kind.MEMBER}
#: What tells an organisation of the network no more than what concerns itself.
NETWORK: Final[Rule] = MEMBERS | {Kind.OUTSIDER}


def unauthenticated() -> ApiError:
    """-32010: a caller without a certificate."""
    return ApiError(
        jsonrpc.UNAUTHENTICATED,
        "no client certificate was presented",
        hint="Present a certificate that the CA of your organisation issued, for example keys/tls.pem of your node.",
    )


def refusal(rule: Rule, kind: Kind, method: str, channel: str | None) -> ApiError:
    """What a caller of ``kind`` hears that ``rule`` does not let call ``method``."""
    if kind is Kind.ANONYMOUS:
        return unauthenticated()
    if channel is not None and kind is Kind.OUTSIDER:
        return ApiError.no_channel(channel)
    whom = "this node's own organisation" if rule == OPERATOR else "members of a channel of this node"
    return ApiError(jsonrpc.FORBIDDEN, f"{method} answers {whom} only", hint="Ask a node of your own organisation.")
