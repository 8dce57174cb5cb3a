"""The channel that believes: its client of the source, what that knows of the source's epochs, and its reservations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from dawan_node.execution.keys import key_of
from dawan_node.primitives.light_client import TrustedEpoch, trusted_validators
from dawan_node.relay.refusals import Reason, RelayRefused, understood
from dawan_node.relay.source import chain_id_of, head_of, refused_as
from dawan_node.rpc.client import Client
from dawan_node.rpc.values import from_hex, from_instant, from_int, to_hex

LIGHT_CLIENT: Final = "light_client"
TITLE: Final = "title"
#: Reservations of one page: all that is held of them at a time, however many bind.
PAGE: Final = 100
#: Channels that a channel believes, on one page, which holds no more; the alliance has six.
_CLIENTS_MAX: Final = 500
#: States of a reservation that somebody has to bring a proof for.
BINDING: Final = ("RESERVED", "CONFIRMED")


@dataclass(frozen=True, slots=True)
class KnownSource:
    """The target's client of a channel: what that is called there, and the epochs that count."""

    name: str
    chain_id: bytes
    first_epoch: int
    epoch: int
    is_frozen: bool


@dataclass(frozen=True, slots=True)
class Reservation:
    """A title that is reserved for a process on another channel, as far as a relay cares."""

    name: str
    title: str
    consumer: bytes
    state: str
    commit_by_ms: int


class Target:
    """A channel, read through one node. Methods raise RpcError and Unreachable beside what they name."""

    def __init__(self, client: Client, channel: str) -> None:
        """Raises RelayRefused: E_NO_CHANNEL, E_NO_MODULE, E_BAD_ANSWER."""
        self.client: Final = client
        self.channel: Final = channel
        self.chain_id: Final = chain_id_of(client, channel)
        answer = client.module_list(channel)
        with understood("module_list"):
            self.modules: Final = frozenset(str(each["name"]) for each in answer)
        self.require_module(LIGHT_CLIENT)

    def require_module(self, module: str) -> None:
        """Raises RelayRefused: E_NO_MODULE."""
        if module not in self.modules:
            why = f"channel {self.channel} does not run the module {module}"
            raise RelayRefused(Reason.NO_MODULE, why, "Name the channel that does with --to.")

    def head_ms(self) -> int:
        """The time of the newest block."""
        return head_of(self.client, self.channel)[1]

    def head_height(self) -> int:
        """The height of the newest block."""
        return head_of(self.client, self.channel)[0]

    def known(self, channel: str, chain_id: bytes) -> KnownSource:
        """The client of the chain ``chain_id``, whatever it is called here; ``channel`` is its name elsewhere.

        Raises RelayRefused: E_UNKNOWN_CLIENT, E_OTHER_CHAIN, E_CLIENT_FROZEN.
        """
        answer = self._query("clients", {}, limit=_CLIENTS_MAX)
        with understood("the query clients"):
            clients = [_known_source(item) for item in answer["items"]]
        found = next((each for each in clients if each.chain_id == chain_id), None)
        if found is None:
            other = next((each for each in clients if each.name == channel), None)
            if other is not None:
                why = (
                    f"{self.channel} believes a channel {channel} with the chain id {to_hex(other.chain_id)}, and the "
                    f"node's has {to_hex(chain_id)}"
                )
                fix = "Ask a node of the network that was voted for, or vote for this one: docs/cross-channel.md."
                raise RelayRefused(Reason.OTHER_CHAIN, why, fix)
            why = f"{self.channel} believes no channel with the chain id of {channel}"
            fix = "Have its members vote for one: `dawan-node proof source`, light_client.propose_client."
            raise RelayRefused(Reason.UNKNOWN_CLIENT, why, fix)
        if found.is_frozen:
            why = f"{self.channel} believes nothing of {channel}: its validators certified two blocks at one height"
            raise RelayRefused(Reason.CLIENT_FROZEN, why, "Have the members vote where its client begins anew.")
        return found

    def epoch(self, chain_id: bytes, number: int) -> TrustedEpoch:
        """An epoch of a source as this channel knows it. Raises RelayRefused: E_CERTIFICATE_STALE."""
        key = to_hex(key_of(chain_id, number))
        answer = self.client.state_get(self.channel, LIGHT_CLIENT, "epoch", key)
        with understood("state_get"):
            found = answer["value"]
            if found is not None:
                members = [(str(suite), from_hex(public, "validators", 32)) for suite, public in found["validators"]]
                validators = trusted_validators(members)
                if validators is None:
                    raise ValueError("no validator set")
                first, last = from_int(found["first"], "first", 1), from_int(found["last"], "last", 0)
                return TrustedEpoch(chain_id, number, first, last or None, validators)
        why = f"it is signed by validators of epoch {number}, of which {self.channel} knows nothing"
        raise RelayRefused(Reason.CERTIFICATE_STALE, why, "Ask a node of the source that is not behind.")

    def reservation(self, name: str) -> Reservation | None:
        """One reservation of a title, None when there is none of that name."""
        answer = self.client.state_get(self.channel, LIGHT_CLIENT, "reservation", to_hex(key_of(name)))
        with understood("state_get"):
            found = answer["value"]
            return None if found is None or found["module"] != TITLE else _reservation(found)

    def binding(self, cursor: str | None) -> tuple[list[Reservation], str | None]:
        """A page of the reservations of titles that are not settled, and the cursor of the next one."""
        answer = self._query("binding", {"module": TITLE}, limit=PAGE, cursor=cursor)
        with understood("the query binding"):
            following = answer["cursor"]
            return [_reservation(item) for item in answer["items"]], None if following is None else str(following)

    def _query(self, query: str, params: dict[str, Any], **more: Any) -> Any:
        with refused_as(self.channel, f"query {LIGHT_CLIENT}.{query}"):
            return self.client.module_query(self.channel, LIGHT_CLIENT, query, params, **more)


def require_allowed(client: Client, channel: str, public_key: bytes) -> str:
    """The name of the identity that signs with a key on a channel. Raises RelayRefused: E_KEY_NOT_ALLOWED."""
    answer = client.member_list(channel)
    with understood("member_list"):
        found = next((each for each in answer["identities"] if each["public_key"] == to_hex(public_key)), None)
        if found is not None and found["status"] == "active":
            return str(found["name"])
        why = f"the key {to_hex(public_key)} is nobody's on channel {channel}"
        if found is not None:
            why = f"{found['name']}, whose key this is on channel {channel}, is {found['status']}"
    raise RelayRefused(Reason.KEY_NOT_ALLOWED, why, "Name another key, or have an org_admin enrol it.")


def _known_source(item: Any) -> KnownSource:
    return KnownSource(
        str(item["source"]),
        from_hex(item["chain_id"], "chain_id", 32),
        from_int(item["first_epoch"], "first_epoch", 0),
        from_int(item["epoch"], "epoch", 0),
        item["state"] != "ACTIVE",
    )


def _reservation(item: Any) -> Reservation:
    return Reservation(
        str(item["reservation"]),
        str(item["asset"]),
        from_hex(item["consumer"], "consumer", 32),
        str(item["state"]),
        from_instant(item["commit_by"], "commit_by"),
    )
