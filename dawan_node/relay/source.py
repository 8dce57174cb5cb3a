"""The channel that proves: its records, its certified blocks, and where its epochs end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from dawan_node.execution.keys import key_of
from dawan_node.primitives.block import Header
from dawan_node.primitives.light_client import claimed_state_header
from dawan_node.relay.refusals import Reason, RelayRefused, understood
from dawan_node.rpc.client import Client, RpcError
from dawan_node.rpc.values import from_hex, from_instant, from_int, to_hex

#: Calls of one JSON-RPC batch, as many as a node takes.
CALLS: Final = 50
_NOT_FOUND: Final = -32001
#: A block, and the state at a height, that this node does not keep (formats C).
_PRUNED: Final = (1301, 1302)


@dataclass(frozen=True, slots=True)
class Proven:
    """A record as the source has it, None for none, and the proof of that. ``header`` is only claimed: nothing of this
    was verified."""

    value: dict[str, Any] | None
    proof: bytes
    header: Header


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The height of the block that ended an epoch, and the (suite, public key) pairs of who votes in the next one."""

    height: int
    validators: tuple[tuple[str, bytes], ...]


class Source:
    """A channel, read through one node. Methods raise RpcError and Unreachable beside what they name."""

    def __init__(self, client: Client, channel: str) -> None:
        """Raises RelayRefused: E_NO_CHANNEL, E_BAD_ANSWER."""
        self.client: Final = client
        self.channel: Final = channel
        self.chain_id: Final = chain_id_of(client, channel)

    def head(self) -> tuple[int, int]:
        """Height and time of the newest block, in milliseconds."""
        return head_of(self.client, self.channel)

    def epoch_end(self, epoch: int) -> EpochEnd | None:
        """Where an epoch ended, None while it goes on. The state says so of every epoch, however old: no block is
        searched for, so none can be pruned."""
        answer = self._asked(
            self.client.state_get, "governance", "validator_epoch", to_hex(key_of(epoch + 1)), what=f"epoch {epoch + 1}"
        )
        with understood("state_get"):
            found = answer["value"]
            if found is None:
                return None
            members = tuple((str(suite), from_hex(key, "public_key", 32)) for _, _, suite, key in found["validators"])
            return EpochEnd(from_int(found["from_height"], "from_height", 2) - 1, members)

    def finality(self, height: int) -> bytes:
        """The FinalityProof of a block. Raises RelayRefused: E_HEIGHT_PRUNED, E_NO_HEIGHT."""
        answer = self._asked(self.client.chain_getFinalityProof, height, what=f"height {height}")
        with understood("chain_getFinalityProof"):
            return from_hex(answer["proof"], "proof")

    def prove(self, module: str, collection: str, key: bytes, at: int | str = "latest") -> Proven:
        """A record with its proof, after the newest block or the one at a height.

        Raises RelayRefused: E_HEIGHT_PRUNED, E_NO_HEIGHT, E_NO_MODULE, E_BAD_ANSWER.
        """
        what = f"{module}.{collection} at {at if at == 'latest' else f'height {at}'}"
        answer = self._asked(self.client.state_get, module, collection, to_hex(key), at, True, what=what)
        with understood("state_get"):
            proof = from_hex(answer["proof"], "proof")
            header = claimed_state_header(proof)
            if header is None:
                raise ValueError("no state proof")
            return Proven(answer["value"], proof, header)

    def values(self, module: str, collection: str, keys: Sequence[bytes]) -> list[dict[str, Any] | None]:
        """Records without proofs, None where there is none: to find out which ones are worth a proof."""
        found: list[dict[str, Any] | None] = []
        for start in range(0, len(keys), CALLS):
            calls = [
                ("state_get", [self.channel, module, collection, to_hex(key)]) for key in keys[start : start + CALLS]
            ]
            for answer in self.client.batch(calls):
                if isinstance(answer, RpcError):
                    raise answer
                with understood("state_get"):
                    found.append(answer["value"])
        return found

    def _asked(self, method: Any, *params: Any, what: str) -> Any:
        with refused_as(self.channel, what):
            return method(self.channel, *params)


@contextmanager
def refused_as(channel: str, what: str) -> Iterator[None]:
    """Errors of a node about ``what`` of a channel that is there, with the codes of this package."""
    try:
        yield
    except RpcError as error:
        if error.code in _PRUNED:
            why = f"{what} of {channel} is not kept by this node: {error.message}"
            fix = "Ask a node with a longer history, or leave out --at."
            raise RelayRefused(Reason.HEIGHT_PRUNED, why, fix) from None
        if error.code != _NOT_FOUND:
            raise
        if error.message.startswith("no block"):
            why = f"{what} of {channel} does not exist yet: {error.hint}"
            raise RelayRefused(Reason.NO_HEIGHT, why, "Name a height that it has reached.") from None
        if error.message.startswith("no channel"):
            raise _no_channel(channel) from None
        why = f"{channel} has no {what}: {error.message}"
        raise RelayRefused(Reason.NO_MODULE, why, "`dawan-node query rpc module_list` names what it runs.") from None


def chain_id_of(client: Client, channel: str) -> bytes:
    """The hash of a channel's genesis. Raises RelayRefused: E_NO_CHANNEL, E_BAD_ANSWER."""
    try:
        answer = client.channel_get(channel)
    except RpcError as error:
        if error.code != _NOT_FOUND:
            raise
        raise _no_channel(channel) from None
    with understood("channel_get"):
        return from_hex(answer["chain_id"], "chain_id", 32)


def head_of(client: Client, channel: str) -> tuple[int, int]:
    """Height and time of a channel's newest block."""
    answer = client.chain_head(channel)
    with understood("chain_head"):
        return from_int(answer["height"], "height", 0), from_instant(answer["timestamp"], "timestamp")


def _no_channel(channel: str) -> RelayRefused:
    why = f"this node has no channel {channel}, or does not show it to you"
    return RelayRefused(Reason.NO_CHANNEL, why, "`dawan-node channel list` shows those it has; or ask another node.")
