"""JSON from outside, read without losing anything: numbers keep their digits, a key stands once, nothing is unbounded.

A float would turn ``0.1`` into something else, a second key of the same name would hide the first from one reader and
not from another. Numbers become decimal text, exponents written out.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any, Final

#: Digits of a number once its exponent is written out; physical values have far fewer.
NUMBER_CHARS_MAX: Final = 40

#: Only an escape can bring half of a character: UTF-8 itself has none.
_HALF_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF: Final = re.compile("[\ud800-\udfff]")


class MalformedJson(ValueError):
    """The bytes are not one JSON value of the kind read here; the text says why."""


def parse_json_text(data: bytes, bytes_max: int) -> Any:
    """The value in ``data``: dicts, lists, bools and text, numbers as decimal text, None. Raises MalformedJson.

    Every text in it has a form in UTF-8, so that it can be hashed, stored and printed: an escape of half a character
    (a lone surrogate) is refused, in names too.
    """
    if len(data) > bytes_max:
        raise MalformedJson(f"{len(data)} bytes where at most {bytes_max} are read")
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_float=_number,
            parse_int=_number,
            parse_constant=_no_number,
        )
    except UnicodeDecodeError as error:
        raise MalformedJson("the text is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise MalformedJson(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError as error:
        raise MalformedJson("nested far deeper than any real message") from error
    if _HALF_ESCAPED.search(data):
        _refuse_halves(value)
    return value


def _refuse_halves(value: Any) -> None:
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and _HALF.search(value):
            raise MalformedJson("a text holds half a character (a lone surrogate)")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedJson("a key stands twice in one object")
    return value


def _number(text: str) -> str:
    if len(text) > NUMBER_CHARS_MAX:
        raise MalformedJson("a number has too many digits")
    if "e" not in text and "E" not in text:
        return text
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise MalformedJson("a number has too many digits") from error
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > NUMBER_CHARS_MAX:
        raise MalformedJson("a number has too many digits")
    written = format(number, "f")
    if len(written) > NUMBER_CHARS_MAX:
        raise MalformedJson("a number has too many digits")
    return written


def _no_number(text: str) -> str:
    raise MalformedJson(f"{text} is not a number of JSON")
