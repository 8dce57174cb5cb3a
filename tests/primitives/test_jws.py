"""Compact JWS of other networks: the vector of RFC 8037, one spelling for each signature, JSON of bounded depth."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.crypto.signatures import verify_ed25519
from dawan_node.primitives.jws import JSON_DEPTH_MAX, JWS_CHARS_MAX, json_depth, read_json, read_jws

# RFC 8037, appendix A.4: header, payload "Example of Ed25519 signing", signature; appendix A.2: the public key.
EXAMPLE = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)
EXAMPLE_KEY = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")


def test_the_example_of_rfc_8037_is_read_and_verifies() -> None:
    read = read_jws(EXAMPLE)
    assert read is not None and read.payload == b"Example of Ed25519 signing"
    assert verify_ed25519(EXAMPLE_KEY, read.signing_input, read.signature)
    assert not verify_ed25519(EXAMPLE_KEY, read.signing_input + b"x", read.signature)


@pytest.mark.parametrize(
    "text",
    [
        "", "..", "a.b", "a.b.c.d", EXAMPLE + "=", EXAMPLE + "\n", " " + EXAMPLE, EXAMPLE[:-1] + "h",
        EXAMPLE.replace("eyJhbGciOiJFZERTQSJ9", "eyJhbGciOiJub25lIn0"), EXAMPLE + "A" * JWS_CHARS_MAX,
        EXAMPLE.replace("RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc", "RXhhb"),
    ],
)  # fmt: skip
def test_any_other_spelling_form_or_algorithm_is_none(text: str) -> None:
    assert read_jws(text) is None


@given(st.text(max_size=60), st.binary(max_size=60))
def test_no_text_and_no_bytes_raise(text: str, data: bytes) -> None:
    assert read_jws(text) is None
    assert read_json(data, dict[str, str]) is None or data.lstrip()[:1] == b"{"
    assert json_depth(data) <= len(data)


@pytest.mark.parametrize("data", [b'"\\ud800"', b'"\xed\xa0\x80"', b'"\\udc00\\ud800"'])
def test_a_surrogate_alone_is_no_text(data: bytes) -> None:
    assert read_json(data, str) is None


def test_depth_counts_brackets_outside_of_strings() -> None:
    assert json_depth(b'[{"]}": "\\"]]"}, "[[[["]') == 2
    deep = b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX
    assert read_json(deep, list) is not None and read_json(b"[" + deep + b"]", list) is None
