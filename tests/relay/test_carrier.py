"""What a relay carries between two channels, and every cause for which it does not, each under its own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from dawan_node.execution.module import key_of
from dawan_node.modules.light_client import Commitment
from dawan_node.relay.carrier import Carried, Carrier, ChainRefused
from dawan_node.relay.refusals import Reason, RelayRefused
from dawan_node.relay.source import Source
from dawan_node.relay.target import Target, require_allowed
from dawan_node.rpc.client import Client, RpcError
from dawan_node.rpc.values import to_hex
from tests.modules.channels_kit import Channels, rekey
from tests.relay.kit_node import KitNode, KitSending, not_found


@pytest.fixture
def two() -> Channels:
    return Channels()


@pytest.fixture
def node(two: Channels) -> KitNode:
    return KitNode({"logistics": two.logistics, "trade": two.trade})


def presented(two: Channels) -> tuple[str, str]:
    """A reservation that a presentation committed to."""
    title, credit = two.title(), two.desk.credit()
    reservation = two.reserve(title, credit)
    return reservation, two.present(credit, proof=two.reservation_proof(reservation))


def refused(reason: Reason, act: Callable[[], Any]) -> RelayRefused:
    with pytest.raises(RelayRefused) as caught:
        act()
    assert caught.value.reason is reason, str(caught.value)
    assert str(caught.value).startswith(reason.value) and caught.value.fix
    return caught.value


def test_what_became_of_a_title_is_carried_step_by_step_and_once(two: Channels, node: KitNode) -> None:
    reservation, presentation = presented(two)
    sending = KitSending(two.logistics)
    carrier = node.carrier("trade", "logistics", sending)
    carried = carrier.settle(reservation)
    assert isinstance(carried, Carried) and carried.is_done
    assert two.reservation(reservation).state == "CONFIRMED"
    assert carrier.settle(reservation) == "CONFIRMED", "again: nothing to carry"
    two.desk.comply(presentation)
    two.desk.honour(presentation)
    carrier.settle(reservation)
    assert two.reservation(reservation).state == "PASSED"
    assert carrier.settle(reservation) == "PASSED"
    assert [each.command for each in sending.sent] == ["settle_title", "settle_title"]
    assert [each.errand.leads_to for each in sending.heard] == ["CONFIRMED", "PASSED"]


def test_of_many_reservations_only_those_that_have_news_are_due(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    idle = two.reserve(two.title("HKG-2"), two.desk.credit())
    carrier = node.carrier("trade", "logistics")
    page, cursor = carrier.target.binding(None)
    assert ({each.name for each in page}, cursor) == ({reservation, idle}, None)
    _, now_ms = carrier.source.head()
    due, unused = carrier.due(page, now_ms)
    assert ([each.name for each in due], [each.name for each in unused]) == ([reservation], [idle])
    due, unused = carrier.due(page, two.reservation(idle).commit_by_ms)
    assert {each.name for each in due} == {reservation, idle} and not unused


def test_a_term_that_nobody_used_frees_the_title_by_a_block_behind_it(two: Channels, node: KitNode) -> None:
    reservation = two.reserve(two.title(), two.desk.credit())
    carrier = node.carrier("trade", "logistics")
    refused(Reason.NOTHING_YET, lambda: carrier.settle(reservation))
    two.pass_time(days=4)
    refused(Reason.NOTHING_YET, lambda: carrier.settle(reservation))
    two.trade.tick()
    carrier.settle(reservation)
    assert two.reservation(reservation).state == "RELEASED"


def test_each_epoch_that_ended_is_carried_by_its_last_block_and_no_other_is_fetched(
    two: Channels, node: KitNode
) -> None:
    reservation, _ = presented(two)
    rekey(two.trade, "one")
    rekey(two.trade, "two")
    two.trade.tick()
    sending = KitSending(two.logistics)
    carrier = node.carrier("trade", "logistics", sending)
    carrier.settle(reservation)
    assert [each.command for each in sending.sent] == ["advance_client", "advance_client", "settle_title"]
    assert two.client(two.logistics, "trade").epoch == 2
    assert node.asked.count("chain_getFinalityProof") == 2
    carrier.advance()
    assert len(sending.sent) == 3


def test_a_record_is_proven_for_any_command(two: Channels, node: KitNode) -> None:
    reservation = two.reserve(two.title(), two.desk.credit())
    proven, said = node.carrier("logistics", "trade").prove("light_client", "reservation", key_of(reservation))
    assert (said.key, said.value is not None, proven.value["state"]) == (key_of(reservation), True, "RESERVED")


# -- causes -----------------------------------------------------------------------------------------------------------


def test_a_channel_that_is_not_there_or_lacks_the_module_is_named(two: Channels, node: KitNode) -> None:
    client = cast(Client, node)
    refused(Reason.NO_CHANNEL, lambda: Source(client, "elsewhere"))
    refused(Reason.NO_CHANNEL, lambda: Target(client, "elsewhere"))
    # Credits are there, titles are not.
    refused(Reason.NO_MODULE, lambda: node.carrier("logistics", "trade").settle("shipper/R-1"))
    refused(Reason.OTHER_CHAIN, lambda: node.carrier("logistics", "logistics"))


def test_another_chain_under_the_same_name_is_not_carried(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    other = KitNode({"trade": Channels().logistics})
    client, sending = cast(Client, other), KitSending(two.logistics)
    target = Target(cast(Client, node), "logistics")
    refused(Reason.OTHER_CHAIN, lambda: Carrier(Source(client, "trade"), target, sending, sending.heard.append))
    # One that nobody voted for.
    other = KitNode({"trade": Channels(one=True).trade})
    carrier = Carrier(Source(cast(Client, other), "trade"), target, sending, sending.heard.append)
    refused(Reason.OTHER_CHAIN, carrier.advance)
    carrier = Carrier(Source(cast(Client, other), "trade"), target, sending, sending.heard.append)
    carrier.source.channel = "stranger"  # type: ignore[misc]
    refused(Reason.UNKNOWN_CLIENT, carrier.advance)
    # A reservation for somebody else.
    refused(Reason.OTHER_CHAIN, lambda: carrier.settle(reservation))
    assert not sending.sent


def test_a_proof_of_another_chain_in_the_nodes_answer_is_found_out(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    carrier = node.carrier("trade", "logistics")
    foreign = to_hex(two.logistics.prover.state(Commitment, two.commitment_key(reservation)))
    asked = node._state_get
    node.lies["state_get"] = lambda *params: asked(*params) | ({"proof": foreign} if len(params) > 5 else {})
    refused(Reason.OTHER_CHAIN, lambda: carrier.settle(reservation))


def test_a_frozen_client_is_said(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    prover = two.trade.prover
    block = two.trade.kit.blocks[-1]
    other = _changed(block.header, timestamp_ms=block.header.timestamp_ms + 1)
    proofs = [
        prover.forged(each, _result_of(block.result, each), prover.validators()) for each in (block.header, other)
    ]
    conflict = dict(zip(("first", "second"), proofs, strict=True))
    two.logistics.ok("relay", "light_client", "report_conflict", source="trade", **conflict)
    refused(Reason.CLIENT_FROZEN, lambda: node.carrier("trade", "logistics").settle(reservation))


def _result_of(result: Any, header: Any) -> Any:
    """The same result, of another block."""
    return type(result)(header.height, header.hash, *[getattr(result, n) for n in result.__struct_fields__[2:]])


def _changed(header: Any, **fields: Any) -> Any:
    """Another block of the same height."""
    return type(header)(*[fields.get(name, getattr(header, name)) for name in header.__struct_fields__])


def test_a_height_that_is_pruned_or_not_there_and_a_record_that_is_not(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    carrier = node.carrier("trade", "logistics")
    refused(Reason.NO_RECORD, lambda: carrier.settle("shipper/R-99"))
    refused(Reason.NO_HEIGHT, lambda: carrier.settle(reservation, two.trade.kit.height + 1))
    asked = node._state_get

    def pruned(*params: Any) -> Any:
        if len(params) > 5:
            raise RpcError(1302, "height 1 is no longer kept", {"reason": "E_HISTORY", "hint": "the oldest is 5"})
        return asked(*params)

    node.lies["state_get"] = pruned
    refused(Reason.HEIGHT_PRUNED, lambda: carrier.settle(reservation, 1))


def test_an_older_record_than_the_one_that_is_known_moves_nothing(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    early = node._state_get(
        "trade", "light_client", "commitment", to_hex(two.commitment_key("shipper/R-77")), "latest", True
    )
    carrier = node.carrier("trade", "logistics")
    carrier.settle(reservation)
    asked = node._state_get
    # As it was before anybody committed: nothing under another name serves for it.
    node.lies["state_get"] = lambda *params: early if len(params) > 5 else asked(*params)
    refused(Reason.BAD_ANSWER, lambda: carrier.settle(reservation, two.trade.kit.height))
    node.lies.clear()
    refused(Reason.RECORD_OLD, lambda: carrier.settle(reservation, two.trade.kit.height))


def test_certificates_of_keys_whose_time_is_over_are_stale(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    carrier = node.carrier("trade", "logistics")
    old = to_hex(two.trade.prover.state(Commitment, two.commitment_key(reservation)))
    rekey(two.trade)
    two.trade.tick()
    carrier.advance()
    # Proven by the epoch before, within its time: it counts.
    asked = node._state_get
    node.lies["state_get"] = lambda *params: asked(*params) | ({"proof": old} if len(params) > 5 else {})
    carrier.settle(reservation)
    assert two.reservation(reservation).state == "CONFIRMED"
    # By the same keys beyond it, or by an epoch from before the client began: it does not.
    prover, kit = two.trade.prover, two.trade.kit
    header = _changed(kit.blocks[-1].header, epoch=0, valset_hash=kit.genesis.validator_set.hash)
    result = _result_of(kit.blocks[-1].result, header)
    void = prover.forged(header, result, kit.genesis.validator_set)
    stale = to_hex(prover.state(Commitment, two.commitment_key(reservation), finality=void))
    node.lies["state_get"] = lambda *params: asked(*params) | ({"proof": stale} if len(params) > 5 else {})
    refused(Reason.CERTIFICATE_STALE, lambda: carrier.settle(reservation))


def test_a_proof_that_does_not_verify_or_is_no_proof_is_refused_before_it_is_sent(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    sending = KitSending(two.logistics)
    carrier = node.carrier("trade", "logistics", sending)
    asked = node._state_get

    def answering(proof: Any) -> Callable[..., Any]:
        return lambda *params: asked(*params) | ({"proof": proof} if len(params) > 5 else {})

    good = two.trade.prover.state(Commitment, two.commitment_key(reservation))
    place = good.index(b"COMMITTED")
    node.lies["state_get"] = answering(to_hex(good[:place] + b"R" + good[place + 1 :]))
    refused(Reason.BAD_PROOF, lambda: carrier.settle(reservation))
    for nonsense in ("0x00", "hello", None, 7, {"a": 1}, to_hex(good[:-1])):
        node.lies["state_get"] = answering(nonsense)
        refused(Reason.BAD_ANSWER, lambda: carrier.settle(reservation))
    assert not sending.sent


ANSWERS: list[Any] = [None, 7, "x", [], {}, {"items": None}, {"items": [{}]}, {"value": 3}, {"chain_id": 3}]


def test_answers_of_another_shape_are_refused_whatever_method_gives_them(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    for method in ("channel_get", "module_list", "chain_head", "state_get", "module_query"):
        for answer in ANSWERS:
            liar = KitNode(node.places)
            liar.lies[method] = lambda *params, given=answer, **more: given

            def act(liar: KitNode = liar) -> None:
                carrier = liar.carrier("trade", "logistics")
                carrier.source.head()
                carrier.settle(reservation)
                carrier.target.binding(None)

            with pytest.raises(RelayRefused) as caught:
                act()
            # Empty answers of the right shape say that something is not there.
            assert caught.value.reason in (Reason.BAD_ANSWER, Reason.NO_MODULE, Reason.UNKNOWN_CLIENT), method


def test_a_key_that_is_nobodys_or_revoked_is_refused(two: Channels, node: KitNode) -> None:
    key, client = bytes(31) + b"\x07", cast(Client, node)
    people: list[dict[str, Any]] = []
    node.lies["member_list"] = lambda channel: {"orgs": [], "identities": people}
    refused(Reason.KEY_NOT_ALLOWED, lambda: require_allowed(client, "logistics", key))
    people.append({"name": "relay", "public_key": to_hex(key), "status": "revoked"})
    assert "is revoked" in refused(Reason.KEY_NOT_ALLOWED, lambda: require_allowed(client, "logistics", key)).why
    people[0]["status"] = "active"
    assert require_allowed(client, "logistics", key) == "relay"


@pytest.mark.parametrize(("code", "reason"), [(1, "E_IDENTITY"), (2, "E_ROLE")])
def test_a_key_that_lost_its_place_meanwhile_is_refused_alike(
    two: Channels, node: KitNode, code: int, reason: str
) -> None:
    reservation, _ = presented(two)
    sending = KitSending(two.logistics, code=code, reason=reason)
    refused(Reason.KEY_NOT_ALLOWED, lambda: node.carrier("trade", "logistics", sending).settle(reservation))


def test_what_the_chain_refuses_keeps_the_chains_reason(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    sending = KitSending(two.logistics, reason="E_PROOF_SCOPE")
    with pytest.raises(ChainRefused) as caught:
        node.carrier("trade", "logistics", sending).settle(reservation)
    assert caught.value.carried.outcome.reason == "E_PROOF_SCOPE"


def test_another_relay_that_was_first_is_no_failure(two: Channels, node: KitNode) -> None:
    reservation, _ = presented(two)
    other = node.carrier("trade", "logistics")

    class Late(KitSending):
        def send(self, errands: Any) -> Any:
            other.settle(reservation)
            return super().send(errands)

    sending = Late(two.logistics)
    assert node.carrier("trade", "logistics", sending).settle(reservation) == "CONFIRMED"
    assert [each.outcome.reason for each in sending.heard] in (["E_PROOF_USED"], ["E_RESERVATION_STATE"])


def test_a_missing_record_is_an_error_of_the_channel_not_of_the_relay(two: Channels, node: KitNode) -> None:
    with pytest.raises(RelayRefused) as caught:
        node.carrier("logistics", "trade").prove("nothing", "title", b"x")
    assert caught.value.reason is Reason.NO_MODULE
    assert not_found("module", "nothing").message in caught.value.why
