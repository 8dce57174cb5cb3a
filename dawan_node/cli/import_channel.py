"""The channel as an importer sees it: who sends there, and what it holds already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.import_delivery import Patience

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
    """Reads of one channel; every method raises RpcError or Unreachable once patience does not help."""

    def __init__(self, client: Client, name: str, patience: Patience | None = None) -> None:
        self.client: Final = client
        self._patience: Final = patience or Patience(0)
        self.name: Final = name
        self.chain_id: Final = bytes.fromhex(self._patience.ask(lambda: client.channel_get(name))["chain_id"][2:])
        self.sender = Sender("", "", ())
        self._described: dict[str, dict[str, Any]] = {}

    def find_sender(self, public_key: bytes) -> None:
        """Who signs with ``public_key``. Raises CommandFailed when that is nobody here."""
        wanted = "0x" + public_key.hex()
        for identity in self._patience.ask(lambda: self.client.member_list(self.name))["identities"]:
            if identity["public_key"] == wanted:
                self.sender = Sender(identity["name"], identity["org"], tuple(identity["roles"]))
                return
        raise CommandFailed(
            ExitCode.FAILED,
            f"this key is nobody's on channel {self.name}",
            f"{wanted} is not among its identities",
            "Name another key, or have an org_admin enrol it.",
        )

    def roles_of(self, module: str, command: str) -> tuple[str, ...]:
        """Who may send a command, as the channel's version of the module says; empty where anybody may."""
        if module not in self._described:
            ask = partial(self.client.module_describe, self.name, module)
            self._described[module] = self._patience.ask(ask)["commands"]
        return tuple(self._described[module].get(command, {}).get("roles", ()))

    def may_send(self, module: str, command: str) -> bool:
        """Whether the sender has a role for a command."""
        roles = self.roles_of(module, command)
        return not roles or any(role in roles for role in self.sender.roles)

    def states(self, module: str, collection: str, keys: Sequence[bytes]) -> list[dict[str, Any] | None]:
        """The entities under ``keys``, None where there is none."""
        found: list[dict[str, Any] | None] = []
        for start in range(0, len(keys), _CALLS):
            part = keys[start : start + _CALLS]
            calls = [("state_get", [self.name, module, collection, "0x" + key.hex()]) for key in part]
            found += [answer["value"] for answer in self._patience.ask(partial(self._batch, calls))]
        return found

    def query(self, module: str, query: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """All items of a query, page by page."""
        cursor = None
        while True:
            ask = partial(self.client.module_query, self.name, module, query, params, limit=_PAGE, cursor=cursor)
            page = self._patience.ask(ask)
            yield from page["items"]
            cursor = page["cursor"]
            if cursor is None:
                return

    def _batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        from dawan_node.rpc.client import RpcError

        answers = self.client.batch(calls)
        for answer in answers:
            if isinstance(answer, RpcError):
                raise answer
        return answers
