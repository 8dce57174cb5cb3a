"""The channel as an importer sees it: who sends there, and what it holds already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dawan_node.cli.exit_codes import CommandFailed, ExitCode

if TYPE_CHECKING:
    from dawan_node.rpc.client import Client

#: Calls of one JSON-RPC batch, as many as a node takes.
_CALLS: Final = 50
#: Items of one page of a query.
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Sender:
    """The identity of the channel that signs."""

    name: str
    org: str
    roles: tuple[str, ...]


class ChannelView:
    """Reads of one channel; every method raises RpcError or Unreachable as the client does."""

    def __init__(self, client: Client, name: str) -> None:
        self.client: Final = client
        self.name: Final = name
        self.chain_id: Final = bytes.fromhex(client.channel_get(name)["chain_id"][2:])
        self.sender = Sender("", "", ())

    def find_sender(self, public_key: bytes) -> None:
        """Who signs with ``public_key``. Raises CommandFailed when that is nobody here."""
        wanted = "0x" + public_key.hex()
        for identity in self.client.member_list(self.name)["identities"]:
            if identity["public_key"] == wanted:
                self.sender = Sender(identity["name"], identity["org"], tuple(identity["roles"]))
                return
        raise CommandFailed(
            ExitCode.FAILED,
            f"this key is nobody's on channel {self.name}",
            f"{wanted} is not among its identities",
            "Name another key, or have an org_admin enrol it.",
        )

    def states(self, module: str, collection: str, keys: Sequence[bytes]) -> list[dict[str, Any] | None]:
        """The entities under ``keys``, None where there is none."""
        from dawan_node.rpc.client import RpcError

        found: list[dict[str, Any] | None] = []
        for start in range(0, len(keys), _CALLS):
            part = keys[start : start + _CALLS]
            calls = [("state_get", [self.name, module, collection, "0x" + key.hex()]) for key in part]
            for answer in self.client.batch(calls):
                if isinstance(answer, RpcError):
                    raise answer
                found.append(answer["value"])
        return found

    def query(self, module: str, query: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """All items of a query, page by page."""
        cursor = None
        while True:
            page = self.client.module_query(self.name, module, query, params, limit=_PAGE, cursor=cursor)
            yield from page["items"]
            cursor = page["cursor"]
            if cursor is None:
                return
