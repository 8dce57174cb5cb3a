"""What a claimed head is worth: its certificate, under validators that sign still."""

from __future__ import annotations

import msgspec

from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.sync.peers import _KNOWN_HEADS_MAX, Peers
from tests.sync.chain import CHAIN_ID, Chain, keys_of
from tests.sync.follower import Node


def test_validators_whose_epoch_has_ended_prove_no_head_above_its_end() -> None:
    """Whoever stole the keys that were replaced has a chain of its own that goes on in the old epoch."""
    chain = Chain(keys_of(4)).grow(2)
    thief = chain.fork().grow(6)
    chain.grow(1, new_keys=keys_of(4, b"next")).grow(2)
    node = Node(chain, 3)
    node.sync.head("x", msgspec.structs.replace(thief.head(), epoch=1), True, node.now)
    node.run()
    assert node.liars == ["x"] and "epoch 0" in node.blames[0].reason
    assert node.claim("a", "b", "c").sync.target == 5, "an honest one is believed"


def test_a_head_that_many_claim_is_checked_once_and_of_endlessly_many_only_the_last_are_remembered() -> None:
    checked = 0

    def verify(public_key: bytes, signed: bytes, signature: bytes) -> bool:
        nonlocal checked
        checked += 1
        return verify_ed25519(public_key, signed, signature)

    chain = Chain(keys_of(4)).grow(_KNOWN_HEADS_MAX + 1)
    peers = Peers(CHAIN_ID, verify)

    def cost(name: str, height: int) -> int:
        before = checked
        peers.claim(name, chain.head(height), True, chain.anchors[0])
        return checked - before

    assert all(cost("a", height) == 3 for height in range(1, chain.height + 1))
    assert cost("b", 1) == 3, "forgotten"
    assert cost("c", chain.height) == 0 and cost("c", chain.height) == 0
    assert not peers.blames
