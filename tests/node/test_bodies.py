"""Bodies are kept while somebody may need them, logged once, and served a little longer."""

from __future__ import annotations

import pytest

from dawan_node.errors import StorageError
from dawan_node.node.bodies import RETIRED_MAX, BlockBody, Bodies
from dawan_node.primitives.encoding import encode
from tests.node.ledger import Author, leaves_of

AUTHOR = Author()


def body(number: int, *shared: object) -> BlockBody:
    transactions = shared or (AUTHOR.transaction(), AUTHOR.transaction())
    return BlockBody(number.to_bytes(32, "big"), transactions)  # type: ignore[arg-type]


def test_a_body_comes_back_from_its_log_record_byte_for_byte() -> None:
    written = body(1)
    read = BlockBody.decode_record(written.encode_record())
    assert read == written and read.leaf_hashes == leaves_of(written.transactions)


def test_the_block_of_a_log_record_is_known_without_reading_its_transactions() -> None:
    assert BlockBody.recorded_hash(encode([bytes(32), [b"no envelope"]])) == bytes(32)
    with pytest.raises(StorageError):
        BlockBody.recorded_hash(body(1).encode_record()[:-1])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        encode([bytes(32)]),
        encode([bytes(32), [b"no envelope"]]),
        encode([1, []]),
        body(1).encode_record()[:-1],
    ],
)
def test_a_log_record_that_cannot_be_read_is_a_doubt_about_the_disk(payload: bytes) -> None:
    with pytest.raises(StorageError):
        BlockBody.decode_record(payload)


def test_a_body_is_to_be_logged_exactly_once() -> None:
    bodies, kept = Bodies(), body(1)
    assert bodies.to_log(kept.block_hash) is None, "nothing is logged that is not here"
    bodies.add(kept)
    assert list(bodies.logged()) == []
    assert bodies.to_log(kept.block_hash) == kept
    assert bodies.to_log(kept.block_hash) is None
    assert list(bodies.logged()) == [kept]


def test_what_was_read_from_the_log_is_not_logged_again_but_stands_in_the_next_checkpoint() -> None:
    bodies, kept = Bodies(), body(1)
    bodies.add(kept, logged=True)
    assert bodies.to_log(kept.block_hash) is None
    assert list(bodies.logged()) == [kept]


def test_a_released_body_leaves_the_checkpoint_and_is_served_for_a_while() -> None:
    bodies = Bodies()
    made = [body(number) for number in range(RETIRED_MAX + 2)]
    for kept in made:
        bodies.add(kept)
        bodies.to_log(kept.block_hash)
    for kept in made[:RETIRED_MAX]:
        bodies.release(kept.block_hash)
    assert all(kept.block_hash in bodies for kept in made)
    assert list(bodies.logged()) == made[RETIRED_MAX:]
    bodies.release(made[RETIRED_MAX].block_hash)
    assert made[0].block_hash not in bodies and bodies.get(made[0].block_hash) is None
    assert bodies.transaction(made[0].leaf_hashes[0]) is None
    assert bodies.get(made[1].block_hash) == made[1] and len(bodies) == RETIRED_MAX + 1


def test_a_body_that_is_needed_again_is_no_longer_on_its_way_out_and_is_logged_again() -> None:
    bodies, kept = Bodies(), body(0)
    bodies.add(kept)
    bodies.to_log(kept.block_hash)
    bodies.release(kept.block_hash)
    bodies.add(kept)
    assert bodies.to_log(kept.block_hash) == kept, "the record it had may be in a deleted segment by now"
    for number in range(1, RETIRED_MAX + 3):
        bodies.add(body(number))
        bodies.release(number.to_bytes(32, "big"))
    assert kept.block_hash in bodies


def test_a_transaction_in_two_bodies_is_found_until_the_last_of_them_is_gone() -> None:
    bodies, shared = Bodies(), AUTHOR.transaction()
    first, second = body(1, shared), body(2, shared)
    bodies.add(first)
    bodies.add(second)
    bodies.add(second)
    for kept in (first, second):
        assert bodies.transaction(shared.leaf_hash) == shared
        bodies.release(kept.block_hash)
        for number in range(10, 10 + RETIRED_MAX):
            filler = body(number * (kept.block_hash[-1] + 10))
            bodies.add(filler)
            bodies.release(filler.block_hash)
    assert bodies.transaction(shared.leaf_hash) is None


def test_releasing_what_is_not_here_changes_nothing() -> None:
    bodies = Bodies()
    for number in range(3 * RETIRED_MAX):
        bodies.release(number.to_bytes(32, "big"))
    bodies.add(body(1))
    assert len(bodies) == 1
