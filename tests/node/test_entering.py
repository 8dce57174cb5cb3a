"""Accounts of what is being checked: exact at every moment, empty in the end, and bounded whoever comes."""

from __future__ import annotations

import random

import pytest

from dawan_node.node import entering as module
from dawan_node.node.entering import Batch, Entering


def known(entering: Entering, bearer: str, *organisations: str) -> None:
    batch = entering.begin(bearer)
    batch.add(organisations[0])
    batch.signed(organisations)
    batch.leave()


def test_a_client_is_believed_of_whom_it_brought_something_signed_and_of_nobody_else() -> None:
    entering = Entering()
    known(entering, "a", "gz")
    batch = entering.begin("a")
    assert (batch.is_believed("gz"), batch.is_believed("hk")) == (True, False)
    assert not entering.begin("b").is_believed("gz")


def test_what_is_not_believed_counts_against_those_alone_who_are_not() -> None:
    entering = Entering()
    known(entering, "honest", "gz")
    stranger, honest, new = entering.begin("stranger"), entering.begin("honest"), entering.begin("new")
    for _ in range(10):
        stranger.add("gz")
    assert honest.account("gz") == (0, 0)
    assert new.account("gz") == (10, 0)
    new.add("gz")
    assert new.account("gz") == (11, 2), "as though each of the two had brought one"
    assert stranger.account("gz") == (11, 20)
    honest.add("gz")
    assert honest.account("gz") == (1, 1)
    assert stranger.account("gz") == (12, 21), "what is proven counts for everybody"


def test_a_peer_is_believed_until_it_passes_on_what_is_not_signed() -> None:
    entering = Entering()
    peer = entering.begin("hk1", is_peer=True)
    assert peer.is_believed("gz")
    peer.unsigned()
    assert not entering.begin("hk1", is_peer=True).is_believed("gz")
    entering.begin("hk1", is_peer=True).signed(["gz"])
    again = entering.begin("hk1", is_peer=True)
    assert (again.is_believed("gz"), again.is_believed("mo")) == (True, False)
    assert not entering.begin("hk1").is_believed("gz"), "a client that is called like a peer is none"


def test_the_bearer_that_brought_nothing_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEARERS_MAX", 3)
    entering = Entering()
    for name in "abc":
        known(entering, name, "gz")
    assert entering.begin("a").is_believed("gz")
    known(entering, "d", "gz")
    assert [name for name in "abcd" if entering.begin(name).is_believed("gz")] == ["a", "c", "d"]
    for number in range(100):
        known(entering, f"passer-by {number}", "gz")
    assert len(entering._known) == 3


def test_the_accounts_add_up_at_every_moment_and_are_empty_in_the_end() -> None:
    draw = random.Random(7)
    entering = Entering()
    open_batches: list[tuple[Batch, int]] = []
    for _ in range(5_000):
        choice = draw.random()
        if choice < 0.6 or not open_batches:
            batch = entering.begin(draw.choice("abc"), is_peer=draw.random() < 0.3)
            count = draw.randint(0, 4)
            for _ in range(count):
                batch.add(draw.choice(["gz", "hk"]))
            open_batches.append((batch, count))
        else:
            batch, _ = open_batches.pop(draw.randrange(len(open_batches)))
            draw.choice([batch.unsigned, lambda batch=batch: batch.signed(["gz"]), lambda: None])()
            batch.leave()
        assert entering.total == sum(count for _, count in open_batches)
        assert entering.total == entering.believed.total() + sum(entering.unproven.values())
        assert all(count > 0 for count in entering.unproven.values())
    for batch, _ in open_batches:
        batch.leave()
        batch.leave()
    assert (entering.total, entering.believed.total(), entering.unproven) == (0, 0, {})
