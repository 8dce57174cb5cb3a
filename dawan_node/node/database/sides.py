"""The two kinds of chains ``db diff`` can ask: a stopped node's database, and a running node's JSON-RPC."""

from __future__ import annotations

from typing import Any, Final

from dawan_node.errors import OperatorError, StorageError
from dawan_node.node.database.difference import At
from dawan_node.node.database.opened import Opened
from dawan_node.primitives.block import Result
from dawan_node.rpc.client import Client
from dawan_node.storage.channel_store import ChannelStore

_FIELDS: Final = ("block_hash", "parent_result_hash", "state_root", "receipts_root", "next_valset_hash")


class StoredSide:
    """A database."""

    def __init__(self, database: Opened) -> None:
        store = ChannelStore.over(database.kv, database.genesis.chain_id)
        self._blocks: Final = store.blocks
        self.chain_id: Final = database.genesis.chain_id
        self.height: Final = store.head.height

    def at(self, height: int) -> At:
        """See Side. Raises StorageError."""
        result = self._blocks.result(height)
        if result is None:
            raise StorageError(f"the result at height {height} is not there")
        return _at(result)


class RpcSide:
    """A node's answers, of which nothing is believed but that they are what it says. Raises OperatorError when they
    are not of the shape that was asked for; the client's own errors pass through."""

    def __init__(self, client: Client, channel: str) -> None:
        self._client: Final = client
        self._channel: Final = channel
        about: Any = client.channel_get(channel)
        try:
            self.chain_id: Final = _bytes(about["chain_id"])
            self.height: Final = int(about["height"])
        except (KeyError, TypeError, ValueError):
            raise _nonsense("channel_get") from None

    def at(self, height: int) -> At:
        """See Side."""
        block: Any = self._client.chain_getBlock(self._channel, height)
        try:
            fields = block["result"]
            if int(fields["height"]) != height:
                raise ValueError
            return _at(Result(height, *(_bytes(fields[name]) for name in _FIELDS)))
        except (KeyError, TypeError, ValueError):
            raise _nonsense("chain_getBlock") from None


def _at(result: Result) -> At:
    return result.block_hash, result.hash, {name: getattr(result, name) for name in _FIELDS}


def _bytes(text: str) -> bytes:
    if not text.startswith("0x") or len(text) != 66:
        raise ValueError
    return bytes.fromhex(text[2:])


def _nonsense(method: str) -> OperatorError:
    return OperatorError(
        "the peer's answer cannot be used", f"{method} is not of the documented shape", "Is it a node of this network?"
    )
