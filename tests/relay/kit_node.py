"""A node in memory that answers a relay as JSON-RPC does, over the kits of two channels.

    node = KitNode({"logistics": two.logistics, "trade": two.trade})
    carrier = node.carrier("trade", "logistics")
    carrier.settle("shipper/R-1")

Proofs are signed by the validators' real keys. ``lies`` answers a method in the node's place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from dawan_node.relay.carrier import Carried, Carrier
from dawan_node.relay.errands import Errand, Outcome
from dawan_node.relay.source import Source
from dawan_node.relay.target import Target
from dawan_node.rpc import values
from dawan_node.rpc.client import Client, RpcError
from dawan_node.rpc.params import PAGE_MAX
from dawan_node.rpc.schemas import schema_in
from tests.modules.channels_kit import Place

NOT_FOUND: Final = -32001
#: More than any page of a test's queries has.
PAGE: Final = 100


def not_found(kind: str, name: str) -> RpcError:
    return RpcError(NOT_FOUND, f"no {kind} {name}", {"reason": "E_NOT_FOUND", "hint": "ask for another"})


class KitNode:
    """Answers for the channels in ``places``; counts what it is asked in ``asked``."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.places: Final = dict(places)
        self.asked: list[str] = []
        self.lies: dict[str, Callable[..., Any]] = {}

    def call(self, method: str, *params: Any, **more: Any) -> Any:
        self.asked.append(method)
        if method in self.lies:
            return self.lies[method](*params, **more)
        return getattr(self, f"_{method}")(*params, **more)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *params, **more: self.call(name, *params, **more)

    def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        answers: list[Any] = []
        for method, params in calls:
            try:
                answers.append(self.call(method, *params))
            except RpcError as error:
                answers.append(error)
        return answers

    def carrier(self, source: str, target: str, sending: KitSending | None = None, **options: Any) -> Carrier:
        client = cast(Client, self)
        sending = sending or KitSending(self.places[target])
        return Carrier(Source(client, source), Target(client, target), sending, sending.heard.append, **options)

    # -- methods

    def _place(self, channel: str) -> Place:
        if channel not in self.places:
            raise not_found("channel", channel)
        return self.places[channel]

    def _channel_get(self, channel: str) -> Any:
        return {"chain_id": values.to_hex(self._place(channel).kit.genesis.chain_id)}

    def _module_list(self, channel: str) -> Any:
        return [{"name": each.name, "version": 1} for each in self._place(channel).kit.genesis.modules]

    def _chain_head(self, channel: str) -> Any:
        kit = self._place(channel).kit
        # Time passes between blocks; the head has that of the last one.
        return {"height": kit.height, "timestamp": values.to_instant(kit.blocks[-1].header.timestamp_ms)}

    def _chain_getFinalityProof(self, channel: str, height: int) -> Any:  # noqa: N802
        return {"proof": values.to_hex(self._place(channel).prover.finality(height))}

    def _state_get(
        self, channel: str, module: str, collection: str, key: str, at: int | str = "latest", proof: bool = False
    ) -> Any:
        place = self._place(channel)
        declared = place.kit.executor.registry.module(module)
        if declared is None:
            raise not_found("module", module)
        if at not in ("latest", place.kit.height):
            raise not_found("block", str(at))
        kind, raw = declared.entities[collection], values.from_hex(key, "key")
        entity = place.kit.get(kind, raw)
        answer = {"value": None if entity is None else self._json(place, module, "entities", collection, entity)}
        if proof:
            answer["proof"] = values.to_hex(place.prover.state(kind, raw))
        return answer

    def _module_query(
        self, channel: str, module: str, query: str, params: Any, limit: int = PAGE, cursor: str | None = None
    ) -> Any:
        place = self._place(channel)
        assert 1 <= limit <= PAGE_MAX
        after = None if cursor is None else values.from_hex(cursor, "cursor")
        items, following = place.kit.query(query, params, module=module, limit=limit, cursor=after)
        return {
            "items": [self._json(place, module, "entities", _collection(item), item) for item in items],
            "cursor": None if following is None else values.to_hex(following),
        }

    def _json(self, place: Place, module: str, kind: str, name: str, item: Any) -> Any:
        document = place.kit.executor.describe(module)
        fields = {field: getattr(item, field) for field in item.__struct_fields__}
        return values.to_json(fields, schema_in(document, kind, name), document)


def _collection(item: Any) -> str:
    return str(type(item).spec.collection)


@dataclass
class KitSending:
    """Executes what is sent, each in a block of its own. ``reason``: the chain's answer instead; ``silent``: none."""

    place: Place
    person: str = "relay"
    code: int = 0
    reason: str = ""
    silent: bool = False
    sent: list[Errand] = field(default_factory=list)
    heard: list[Carried] = field(default_factory=list)

    def send(self, errands: Sequence[Errand]) -> list[Outcome]:
        return [self._one(errand) for errand in errands]

    def resume(self) -> int:
        return 0

    def _one(self, errand: Errand) -> Outcome:
        self.sent.append(errand)
        name = f"0x{len(self.sent):064x}"
        if self.silent:
            return Outcome(name, False)
        if self.reason:
            return Outcome(name, True, self.code or 3, self.reason)
        receipt = self.place.kit.run(self.person, errand.command, dict(errand.args), module=errand.module)
        return Outcome(name, True, receipt.code, receipt.reason, "", receipt.height)
