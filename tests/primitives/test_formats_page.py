"""docs/formats.md can be followed by hand: its worked example is recomputed here with msgpack and PyNaCl alone."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import msgpack
from nacl.signing import SigningKey

from dawan_node.primitives.transaction import Transaction

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()


def _hex(name: str) -> bytes:
    match = re.search(rf"```hex {name}\n([0-9a-f\n]+)```", PAGE)
    assert match is not None, name
    return bytes.fromhex(match[1].replace("\n", ""))


def _fact(name: str) -> str:
    match = re.search(rf"^{name} +(.+)$", PAGE, re.MULTILINE)
    assert match is not None, name
    return match[1]


def test_the_worked_example_follows_from_its_inputs_without_our_code() -> None:
    seed = bytes.fromhex(_fact("seed"))
    assert seed == hashlib.sha256(b"supplier").digest()
    key = SigningKey(seed)
    public_key = bytes(key.verify_key)
    assert public_key.hex() == _fact("public_key")
    args = json.loads(_fact("args"))
    body = msgpack.packb(
        [
            1,
            bytes.fromhex(_fact("chain_id")),
            bytes.fromhex(_fact("nonce")),
            int(_fact("valid_until")),
            _fact("module"),
            _fact("command"),
            {name: args[name] for name in sorted(args)},
        ]
    )
    assert body == _hex("body")
    signature = key.sign(b"dawan:tx:v1\n" + body).signature
    assert signature == _hex("signature")
    envelope = msgpack.packb([body, "ed25519", public_key, signature])
    assert envelope == _hex("envelope")
    tx_id = hashlib.sha256(b"dawan:tx-id:v1\n" + msgpack.packb(["ed25519", public_key, body])).digest()
    assert tx_id == _hex("tx_id")
    assert hashlib.sha256(b"\x00" + envelope).digest() == _hex("leaf_hash")


def test_the_node_reads_the_worked_example_as_the_page_says() -> None:
    tx = Transaction.decode(_hex("envelope"))
    assert tx.verify_signature()
    assert (tx.tx_id, tx.leaf_hash) == (_hex("tx_id"), _hex("leaf_hash"))
    assert tx.body.args["total"] == ["CNY", 100000000]


def test_the_lengths_printed_in_the_page_are_the_lengths() -> None:
    assert f"({len(_hex('body'))} bytes)" in PAGE
    assert f"({len(_hex('envelope'))} bytes)" in PAGE
