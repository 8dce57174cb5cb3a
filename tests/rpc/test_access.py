"""Deny by default: every method for every kind of caller, and a foreign channel that cannot be told from none."""

from __future__ import annotations

import asyncio
import http.client
import inspect
import json
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import pytest

from dawan_node.node.access import Cell, method_cell, methods
from dawan_node.rpc import jsonrpc
from dawan_node.rpc.access import MEMBERS, NETWORK, OPERATOR, Kind
from dawan_node.rpc.api import ApiError, EventPosition, NodeApi
from dawan_node.rpc.caller import ANONYMOUS, LOCAL, Caller
from dawan_node.rpc.client import build_body, sign_transaction
from dawan_node.rpc.dispatch import Dispatcher
from dawan_node.rpc.methods import ROUTES
from dawan_node.rpc.params import CHANNEL, Route, encode_cursor
from dawan_node.rpc.view import CallerView
from tests.rpc.consortium import CHANNELS, SecureNode, secure_node
from tests.rpc.fake_node import CHAIN_ID, KEY, NOW_MS, FakeNode
from tests.rpc.harness import Running, running

BODY = build_body(CHAIN_ID, "toy", "pay", {"to": "hk-bank", "amount": ["CNY", 5]}, valid_until_ms=NOW_MS + 1)
TX = "0x" + sign_transaction(KEY, BODY).hex()
PUBLIC_KEY = "0x" + KEY.public_key.hex()
ARGS = {"to": "hk-bank", "amount": {"currency": "CNY", "amount": "1.00"}, "due": "2026-05-20T08:00:00.000Z"}

# What is sent beside the channel; every method has a row.
PARAMS: dict[str, dict[str, Any]] = {
    "node_version": {},
    "node_status": {},
    "channel_list": {},
    "channel_get": {},
    "chain_head": {},
    "chain_getBlock": {"at": 1, "full": True},
    "chain_getFinalityProof": {"at": "latest"},
    "chain_getValidators": {"at": 1},
    "tx_prepare": {
        "suite": "ed25519",
        "public_key": PUBLIC_KEY,
        "module": "toy",
        "command": "pay",
        "args": ARGS,
        "valid_for_ms": 5_000,
    },
    "tx_assemble": {
        "body": "0x" + BODY.hex(),
        "suite": "ed25519",
        "public_key": PUBLIC_KEY,
        "signature": "0x" + KEY.sign(b"dawan:tx:v1", BODY).hex(),
    },
    "tx_submit": {"tx": TX, "wait": "committed", "timeout_ms": 1_000},
    "tx_submitMany": {"txs": [TX, "0x00", 7], "wait": "accepted", "timeout_ms": 1_000},
    "tx_get": {},
    "tx_receipt": {},
    "tx_status": {},
    "state_get": {"module": "toy", "collection": "payment", "key": "0x303031", "at": "latest", "proof": True},
    "module_list": {},
    "module_describe": {"module": "toy"},
    "module_query": {"module": "toy", "query": "paid", "params": {"to": "hk-bank"}, "limit": 2, "cursor": None},
    "events_get": {"cursor": None, "limit": 3, "filter": {"names": ["Paid"]}},
    "member_list": {},
    "member_get": {"name": "alice"},
    "pbft_status": {},
    "pbft_evidence": {},
    "net_peers": {},
    "txpool_status": {},
}
# hk is on trade and not on cargo; nosuc is nowhere. All names are of one length, so that replies can be compared.
HK = Caller("hk", "erp", Kind.OUTSIDER)
FOREIGN, MISSING = "cargo", "nosuc"
ABOUT_A_CHANNEL = [name for name, route in ROUTES.items() if route.names_channel]


def params_of(method: str, channel: str, tx_id: str = "0x" + "11" * 32) -> dict[str, Any]:
    given = dict(PARAMS[method])
    if method in ("tx_get", "tx_receipt", "tx_status"):
        given["tx_id"] = tx_id
    return {"channel": channel, **given} if ROUTES[method].names_channel else given


# -- the matrix, on a real server with real certificates -------------------------------------------------------------


@dataclass
class Doors:
    """Two ways into the same kind of node: plain loopback, and TLS."""

    local: Running
    secure: SecureNode
    tx_id: str

    def ask(self, kind: Kind, method: str) -> tuple[int, Any]:
        """HTTP status and reply."""
        route = ROUTES[method]
        channel = FOREIGN if kind is Kind.OUTSIDER else "trade"
        body = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": params_of(method, channel, self.tx_id)}
        ).encode()
        if kind is Kind.LOCAL:
            connection = http.client.HTTPConnection("127.0.0.1", self.local.port, timeout=10)
        else:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.secure.running.port, timeout=10, context=self._context(kind, route)
            )
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        reply = json.loads(response.read())
        connection.close()
        return response.status, reply

    def _context(self, kind: Kind, route: Route) -> ssl.SSLContext:
        if kind is Kind.ANONYMOUS:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context
        # For a method without a channel an outsider is on no channel of this node at all.
        org = {Kind.OWN: "gz", Kind.MEMBER: "hk"}.get(kind, "hk" if route.names_channel else "sz")
        return self.secure.client_tls(org).context


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    node = FakeNode(CHANNELS)
    with running(node=node) as local, secure_node() as secure:
        for each in (node, secure.node):
            for channel in CHANNELS:
                asyncio.run(Dispatcher(each).handle(submission(channel), LOCAL))
        (tx_id,) = secure.node.receipts
        yield Doors(local, secure, "0x" + tx_id.hex())


def submission(channel: str) -> bytes:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tx_submit", "params": params_of("tx_submit", channel)}
    return json.dumps(call).encode()


TABLE = methods(ROUTES.values())


@pytest.mark.parametrize("kind", Kind, ids=str)
@pytest.mark.parametrize("method", ROUTES)
def test_a_cell_of_the_matrix_is_what_the_server_does(doors: Doors, method: str, kind: Kind) -> None:
    status, reply = doors.ask(kind, method)
    cell = next(row for row in TABLE.rows if row.object == method).cells[kind.value]
    if cell is Cell.YES:
        assert (status, "result" in reply) == (200, True), reply
        return
    error = reply["error"]
    assert error["code"] == int(cell.value)
    assert status == (401 if cell is Cell.UNAUTHENTICATED else 200)
    if cell is Cell.NO_CHANNEL:
        assert error["message"] == f"no channel {FOREIGN}"


@pytest.mark.parametrize("table", [TABLE], ids=[f"{len(TABLE.rows)} methods, {TABLE.cells} cells"])
def test_the_matrix_has_a_cell_for_every_method_and_kind(table: Any) -> None:
    assert [row.object for row in table.rows] == list(ROUTES) == list(PARAMS)
    assert all(set(row.cells) == {kind.value for kind in Kind} for row in table.rows)
    assert table.cells == len(ROUTES) * len(Kind)


def test_what_shows_peers_is_for_this_nodes_own_organisation_and_outsiders_have_three_methods() -> None:
    by_rule = {rule: {name for name, route in ROUTES.items() if route.callers == rule} for rule in (OPERATOR, NETWORK)}
    assert by_rule[OPERATOR] == {"pbft_status", "pbft_evidence", "net_peers", "txpool_status"}
    assert by_rule[NETWORK] == {"node_version", "node_status", "channel_list"}
    assert all(route.callers in (OPERATOR, MEMBERS, NETWORK) for route in ROUTES.values())


# -- a method without a rule -----------------------------------------------------------------------------------------


async def _leak(api: NodeApi, channel: str) -> Any:
    return await api.head(channel)


def hides_a_channel(route: Route) -> bool:
    """Whether the handler is given a channel by which its caller is not judged."""
    return "channel" in inspect.signature(route.handler).parameters and not route.names_channel


def test_a_method_cannot_be_written_without_saying_who_may_call_it() -> None:
    with pytest.raises(TypeError, match="callers"):
        Route("chain_leak", _leak, (CHANNEL,), "everything")  # type: ignore[call-arg]
    assert method_cell(Route("chain_leak", _leak, (CHANNEL,), "", frozenset()), Kind.LOCAL) is Cell.FORBIDDEN


def test_a_handler_that_takes_a_channel_has_the_parameter_by_which_callers_are_judged() -> None:
    assert hides_a_channel(Route("chain_leak", _leak, (), "everything", MEMBERS))
    assert not [name for name, route in ROUTES.items() if hides_a_channel(route)]
    # One that takes the channel under another name meets the view, which judges once more.
    assert {name for name, route in ROUTES.items() if not route.names_channel} == {
        "node_version",
        "node_status",
        "channel_list",
        "tx_assemble",
        "net_peers",
    }


def test_what_a_certified_caller_hands_in_is_on_its_organisations_account() -> None:
    assert Caller("gz", "erp-1", Kind.OWN).bearer == Caller("gz", "erp-2", Kind.OUTSIDER).bearer == "organisation gz"
    assert LOCAL.bearer != Caller("", "", Kind.LOCAL, connection=3).bearer


# -- a foreign channel is no channel ---------------------------------------------------------------------------------


def ask(node: FakeNode, caller: Caller, payload: Any) -> bytes:
    return asyncio.run(Dispatcher(node).handle(json.dumps(payload).encode(), caller))


def variants(method: str, channel: str) -> Iterator[Any]:
    """Bodies a prying caller might send: right and wrong parameters of every kind, alone and in a batch."""
    good = params_of(method, channel)
    bad: list[Any] = [good, list(good.values()), {}, [], {**good, "more": 1}, [*good.values(), 1, 2]]
    bad += [{name: value for name, value in good.items() if name != left_out} for left_out in good]
    for wrong in (None, True, -1, 2**60, 1.5, "", "0x", "0xzz", "x" * 400, [], {}, {"a": {"b": []}}, "0x" + "00" * 20):
        bad += [{**good, name: wrong} for name in good if name != "channel"]
    if method == "events_get":
        for other in (FOREIGN, MISSING, "trade", channel):
            bad.append({**good, "cursor": "0x" + encode_cursor(other, EventPosition(1, 0, 0)).hex()})
    if method == "chain_getBlock":
        bad += [{**good, "at": at} for at in (0, 10**9, "0x" + "aa" * 32, "0x" + "ab" * 32)]
    calls = [{"jsonrpc": "2.0", "id": 1, "method": method, "params": given} for given in bad]
    yield from calls
    for start in range(0, len(calls), 50):
        yield calls[start : start + 50]
    yield {"jsonrpc": "2.0", "method": method, "params": good}
    # A neighbour that works, before and after: what a batch says must not depend on its order either.
    seen = {"jsonrpc": "2.0", "id": 2, "method": "chain_head", "params": ["trade"]}
    yield [seen, calls[0], {"jsonrpc": "2.0", "id": 3, "method": "channel_list"}, calls[1], seen]


@pytest.mark.parametrize("method", ABOUT_A_CHANNEL)
def test_an_outsider_cannot_tell_a_foreign_channel_from_none(method: str) -> None:
    count = 0
    for foreign, missing in zip(variants(method, FOREIGN), variants(method, MISSING), strict=True):
        node = FakeNode(CHANNELS)
        first = ask(node, HK, foreign)
        asked = list(node.calls)
        node.calls.clear()
        second = ask(node, HK, missing)
        assert first.replace(FOREIGN.encode(), MISSING.encode()) == second
        # The same questions to the node, and none that looks at a channel: the time it takes is the same class.
        assert asked == node.calls
        if not isinstance(foreign, list):
            assert set(asked) <= {"is_member"}
            count += 1
    assert count >= 8


@pytest.mark.parametrize("method", ABOUT_A_CHANNEL)
def test_on_the_wire_too_the_two_replies_are_the_same_bytes(doors: Doors, method: str) -> None:
    replies = []
    connection = http.client.HTTPSConnection(
        "127.0.0.1", doors.secure.running.port, timeout=10, context=doors.secure.client_tls("hk").context
    )
    for channel in (FOREIGN, MISSING):
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params_of(method, channel)}
        connection.request("POST", "/", json.dumps(call), {"Content-Type": "application/json"})
        response = connection.getresponse()
        headers = [(name, value) for name, value in response.getheaders() if name != "Date"]
        replies.append((response.status, headers, response.read().replace(channel.encode(), b"*")))
    connection.close()
    assert replies[0] == replies[1]
    assert b"no channel *" in replies[0][2]


def test_a_suspended_organisation_is_an_outsider_from_the_next_call_on() -> None:
    node = FakeNode(CHANNELS)
    call = {"jsonrpc": "2.0", "id": 1, "method": "chain_head", "params": ["trade"]}
    assert b"result" in ask(node, HK, call)
    node.members_by_channel["trade"] -= {"hk"}
    assert b"no channel trade" in ask(node, HK, call)
    assert json.loads(ask(node, HK, {"jsonrpc": "2.0", "id": 1, "method": "channel_list"}))["result"] == []


def test_lists_and_status_show_a_member_its_own_channels_only_and_nothing_of_peers_and_disk() -> None:
    node = FakeNode(CHANNELS)
    for caller, channels in ((LOCAL, ["trade", "cargo"]), (HK, ["trade"]), (Caller("sz", "erp", Kind.OUTSIDER), [])):
        listed, status = json.loads(
            ask(
                node,
                caller,
                [{"jsonrpc": "2.0", "id": n, "method": m} for n, m in enumerate(("channel_list", "node_status"))],
            )
        )
        assert listed["result"] == channels
        assert [row["channel"] for row in status["result"]["channels"]] == channels
        assert status["result"]["peers"] == (3 if caller is LOCAL else None)
        assert ("disk" in status["result"]) == (caller is LOCAL)


def test_no_hint_or_text_for_an_outsider_names_a_channel_it_did_not_name_itself() -> None:
    node = FakeNode({"trade": ("gz",), "cargo": ("gz", "mo")})
    for method in ROUTES:
        for body in variants(method, MISSING) if ROUTES[method].names_channel else ():
            if method != "events_get" and not isinstance(body, list):
                reply = ask(node, HK, body)
                assert b"trade" not in reply and b"cargo" not in reply


def test_an_anonymous_caller_gets_the_same_answer_to_everything() -> None:
    node = FakeNode(CHANNELS)
    replies = {
        ask(node, ANONYMOUS, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params_of(method, channel)})
        for method in ROUTES
        for channel in ("trade", MISSING)
    }
    (reply,) = replies
    assert json.loads(reply)["error"]["code"] == jsonrpc.UNAUTHENTICATED
    assert node.calls == []


# -- the view behind the rules ---------------------------------------------------------------------------------------


def channel_methods() -> list[str]:
    found = [name for name, member in vars(NodeApi).items() if inspect.isfunction(member) and not name.startswith("_")]
    return [name for name in found if "channel" in get_type_hints(getattr(NodeApi, name))]


@pytest.mark.parametrize("name", channel_methods())
def test_the_view_of_an_outsider_has_no_foreign_channel_whatever_a_handler_forgot(name: str) -> None:
    node = FakeNode(CHANNELS)
    function = getattr(CallerView(node, HK), name)
    rest: Sequence[Any] = [None] * (len(inspect.signature(function).parameters) - 1)
    with pytest.raises(ApiError, match=f"no channel {FOREIGN}"):
        outcome = function(FOREIGN, *rest)
        if inspect.isawaitable(outcome):
            asyncio.run(outcome)  # type: ignore[arg-type]
    assert set(node.calls) == {"is_member"}


def test_the_view_offers_exactly_what_the_node_does() -> None:
    offered = {name for name in vars(NodeApi) if not name.startswith("_")}
    assert offered == {name for name in vars(CallerView) if not name.startswith("_")}
    assert len(channel_methods()) == len(offered) - 4  # version, status, channels and peers name none
