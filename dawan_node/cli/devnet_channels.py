"""The second channel of a test network: titles on ``logistics``, receivables and credits on ``trade``, as in design 9,
each a source of the other by vote.

What production decides in a meeting is done here in a second: propose the other channel, with the validators that its
genesis has, three votes, enact.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dawan_node.errors import OperatorError
from dawan_node.rpc.client import Client, build_body, sign_transaction

if TYPE_CHECKING:
    from dawan_node.crypto.signatures import PrivateKey
    from dawan_node.node.consortium import Document

TRADE: Final = "trade"
LOGISTICS: Final = "logistics"
#: What runs where. Both need the light client, which keeps the reservations of one and the commitments of the other.
MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    TRADE: ("kernel@1", "lc@1", "light_client@1", "receivable@1", "refdata@1"),
    LOGISTICS: ("kernel@1", "light_client@1", "logistics@1", "refdata@1", "title@1"),
}
#: Whose records each believes of the other: titles to present and to deliver against; commitments alone.
BELIEVED: Final[Mapping[str, tuple[str, ...]]] = {LOGISTICS: ("light_client", "title"), TRADE: ("light_client",)}
_VOTERS: Final = ("gz", "hk", "mo")
_WAIT_MS: Final = 20_000


def with_two_channels(template: Document) -> Document:
    """The test network's template with its first channel parted in two."""
    first, *others = template.channel
    parted = [msgspec.structs.replace(first, name=name, modules=modules) for name, modules in MODULES.items()]
    return msgspec.structs.replace(template, channel=(*parted, *others))


def introduce(client: Client, keys: Mapping[str, PrivateKey]) -> list[str]:
    """Have each of the two channels believe the other, where it does not yet; those that it was done for.

    Raises OperatorError, RpcError and Unreachable.
    """
    strangers = [place for place in MODULES if not client.module_query(place, "light_client", "clients", {})["items"]]
    known = {place: client.channel_get(place)["chain_id"] for place in MODULES}
    pairs = {place: next(other for other in MODULES if other != place) for place in strangers}
    proposals = {place: (f"believe-{other}", _source(client, other, known[other])) for place, other in pairs.items()}
    stages: list[list[tuple[str, str, str, str, dict[str, Any]]]] = [
        [(place, "gz-admin", "light_client", "propose_client", {"id": name} | args)
         for place, (name, args) in proposals.items()],
        [(place, f"{org}-admin", "governance", "vote", {"proposal": name, "approve": True})
         for place, (name, _) in proposals.items() for org in _VOTERS],
        [(place, "gz-admin", "light_client", "enact", {"proposal": name}) for place, (name, _) in proposals.items()],
    ]  # fmt: skip
    for stage in stages:
        submit_all(client, keys, stage)
    return strangers


def submit_all(
    client: Client, keys: Mapping[str, PrivateKey], calls: Sequence[tuple[str, str, str, str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Commands, each (channel, person, module, command, arguments), all committed with success; their receipts.

    Those of one channel go in one call. Raises OperatorError for the first that failed.
    """
    until_ms = time.time_ns() // 1_000_000 + 600_000
    receipts: list[dict[str, Any]] = []
    for place in dict.fromkeys(call[0] for call in calls):
        chain_id = bytes.fromhex(client.channel_get(place)["chain_id"][2:])
        here = [call for call in calls if call[0] == place]
        envelopes = [
            sign_transaction(keys[person], build_body(chain_id, module, command, args, valid_until_ms=until_ms))
            for _, person, module, command, args in here
        ]
        for call, answer in zip(
            here, client.tx_submitMany(place, envelopes, wait="committed", timeout_ms=_WAIT_MS), strict=True
        ):
            receipt = answer.get("receipt")
            if receipt is None or receipt["code"]:
                why = receipt["reason"] if receipt else str(answer.get("error") or answer.get("status"))
                raise OperatorError(
                    f"{call[2]}.{call[3]} by {call[1]} on {place} failed", why, "See `dawan-node devnet logs`."
                )
            receipts.append(receipt)
    return receipts


def _source(client: Client, channel: str, chain_id: str) -> dict[str, Any]:
    seats = client.chain_getValidators(channel, 0)["validators"]
    return {
        "source": channel,
        "chain_id": bytes.fromhex(chain_id[2:]),
        "validators": [{"suite": each["suite"], "public_key": bytes.fromhex(each["public_key"][2:])} for each in seats],
        "modules": sorted(BELIEVED[channel]),
    }
