"""What happened to a title on this channel, in the words of PINT 3.0: the payload of the next entry of its chain.

It is not signed: a network's keys sign with tags of the network, never texts of another standard. The platform that
sends the envelope signs it with its own key. What PINT has no code for (nominations, pledges, a refused transfer)
stands apart, so that nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dawan_node.crypto.hashing import sha256

#: How this network is called in envelopes.
PLATFORM: Final = "DAWAN"
#: PINT's action codes, which the entries here share.
_PINT: Final = frozenset(
    {
        "ISSUE", "TRANSFER", "ENDORSE", "ENDORSE_TO_ORDER", "BLANK_ENDORSE", "SIGN", "SURRENDER_FOR_DELIVERY",
        "SURRENDER_FOR_AMENDMENT", "SACC", "SREJ",
    }
)  # fmt: skip


def next_entry(
    title: Mapping[str, Any], history: Sequence[Mapping[str, Any]], received: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The payload of an EnvelopeTransferChainEntry with everything since the title came in, or was issued.

    ``title`` and ``history`` are in the notation of JSON-RPC, ``received`` the arguments of the last envelope.
    """
    came = [entry["position"] for entry in history if entry["action"] == "RECEIVE"]
    since = [entry for entry in history if not came or entry["position"] > came[-1]]
    undone = _withdrawn(since)
    entry: dict[str, Any] = {
        "eblPlatform": PLATFORM,
        "transportDocumentChecksum": title["checksum"].removeprefix("0x"),
        "transactions": [_transaction(each) for each in since if _has_code(each, undone)],
    }
    if received is not None:
        last = sha256(received["chain"][-1].encode()).hex()
        entry["previousEnvelopeTransferChainEntrySignedContentChecksum"] = last
    other = [_local(each) for each in since if not _has_code(each, undone)]
    return entry | ({"withoutPintCode": other} if other else {})


def standing(title: Mapping[str, Any], channel: str) -> dict[str, Any]:
    """Where the title stands: what is proven by the chain and not by any signature of PINT."""
    return {
        "channel": channel,
        "title": title["title"],
        "state": title["state"],
        "holder": title["holder"],
        "endorsee": title["endorsee"],
        "medium": title["medium"],
        "checksum": title["checksum"],
        "length": title["length"],
        "head": title["head"],
    }


def _withdrawn(history: Sequence[Mapping[str, Any]]) -> list[int]:
    """Positions of surrenders that nobody answered. PINT knows no end of one but the carrier's answer: in its words the
    title would still be the carrier's."""
    found, last = [], -1
    for entry in history:
        if entry["action"].startswith("SURRENDER_"):
            last = entry["position"]
        elif entry["action"] == "WITHDRAW":
            found.append(last)
    return found


def _has_code(entry: Mapping[str, Any], undone: Sequence[int]) -> bool:
    return entry["action"] in _PINT and entry["position"] not in undone


def _transaction(entry: Mapping[str, Any]) -> dict[str, Any]:
    done = {
        "actionCode": entry["action"],
        "actor": _party(entry["on_behalf_of"] or entry["actor"]),
        "actionDateTime": entry["at"],
    }
    if entry["recipient"]:
        done["recipient"] = _party(entry["recipient"])
    if entry["reason"]:
        done["reasonCode"] = entry["reason"]
    return done


def _local(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("action", "actor", "recipient", "on_behalf_of", "reason", "at")
    return {name: entry[name] for name in kept if entry[name]}


def _party(name: str) -> dict[str, Any]:
    """A party of this channel, or ``WAVE:ACME`` of another platform."""
    platform, colon, code = name.partition(":")
    here = platform if colon else PLATFORM
    code = code if colon else name
    codes = [{"codeListProvider": "ZZZ", "partyCode": code}]
    return {"eblPlatform": here, "partyName": code, "identifyingCodes": codes}
