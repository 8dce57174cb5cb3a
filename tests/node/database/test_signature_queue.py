"""Signatures are checked beside execution, and what is reported is still the first fault of the chain."""

from __future__ import annotations

import io

import pytest

from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import OperatorError
from dawan_node.node.database.finding import Fault, Wrong
from dawan_node.node.database.signature_process import ALL_GOOD, NUMBER, Check, pack, serve
from dawan_node.node.database.signature_queue import Place, SignatureQueue, first_of

KEY = PrivateKey.from_seed(sha256(b"signature queue"))
TAG = b"dawan:test:v1"


def check(number: int, *, is_bad: bool = False) -> Check:
    data = b"%d" % number
    signature = KEY.sign(TAG, data)
    return KEY.public_key, TAG + b"\n" + data + (b"x" if is_bad else b""), signature


def fill(queue: SignatureQueue, count: int, bad: tuple[int, ...] = ()) -> None:
    for number in range(count):
        queue.add(Place(Fault.SIGNATURE, number, f"transaction {number}"), *check(number, is_bad=number in bad))


def test_a_process_names_the_first_bad_signature_of_each_batch_and_ends_with_its_input() -> None:
    batches = [[check(0), check(1)], [check(0), check(1, is_bad=True), check(2, is_bad=True)], []]
    target = io.BytesIO()
    serve(io.BytesIO(b"".join(map(pack, batches)) + pack([check(0)])[:-1]), target)
    assert target.getvalue() == NUMBER.pack(ALL_GOOD) + NUMBER.pack(1) + NUMBER.pack(ALL_GOOD)


def test_of_several_bad_signatures_in_several_processes_the_first_is_reported() -> None:
    with SignatureQueue(processes=2, here_first=0) as queue:
        with pytest.raises(Wrong) as caught:
            fill(queue, 400, bad=(130, 70, 390))
            queue.settle()
        assert (caught.value.finding.height, caught.value.finding.fault) == (70, Fault.SIGNATURE)
        assert "transaction 70 does not verify" in str(caught.value)


@pytest.mark.parametrize(("height", "first"), [(9, Fault.RESULT), (10, Fault.SIGNATURE), (11, Fault.SIGNATURE)])
def test_a_verdict_that_comes_late_counts_if_it_is_of_an_earlier_block(height: int, first: Fault) -> None:
    with SignatureQueue(processes=1, here_first=0) as queue:
        fill(queue, 20, bad=(10,))
        assert first_of(Wrong(Fault.RESULT, height, "another result"), queue).fault is first


def test_keys_and_signatures_of_another_length_are_bad_and_not_sent() -> None:
    for key, signature in ((KEY.public_key[:-1], bytes(64)), (KEY.public_key, bytes(63))):
        with SignatureQueue(processes=1, here_first=0) as queue, pytest.raises(Wrong):
            queue.add(Place(Fault.CERTIFICATE, 1, "a validator"), key, b"signed", signature)


def test_a_process_that_ends_is_not_taken_for_a_bad_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dawan_node.node.database.signature_queue.sys.executable", "/bin/false")
    with SignatureQueue(processes=1, here_first=0) as queue, pytest.raises(OperatorError, match="--processes 0"):
        fill(queue, 200)
        queue.settle()
