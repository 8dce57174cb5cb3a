"""What all identifiers share: one spelling of what somebody wrote, and the two check-digit rules that many follow."""

from __future__ import annotations

from typing import Final

# What people put between groups of digits; nothing else is forgiven.
_SEPARATORS: Final = str.maketrans("", "", " -\t")
# Longer than any identifier written with a separator after every character.
TEXT_CHARS_MAX: Final = 64


def compact(text: str) -> str:
    """``text`` without separators, in capitals; empty, which no identifier is, when it is not ASCII or far too long."""
    # Only ASCII may be upper-cased here: "ı".upper() is "I", and a letter must not appear out of nowhere.
    if len(text) > TEXT_CHARS_MAX or not text.isascii():
        return ""
    return text.translate(_SEPARATORS).upper()


def gs1_check_digit(digits: str) -> str:
    """The GS1 mod 10 digit that follows ``digits``: weights 3 and 1 from the right, whatever the length."""
    weighted = sum(int(digit) * (1 if position % 2 else 3) for position, digit in enumerate(reversed(digits)))
    return str(-weighted % 10)


def mod_97_check_digits(text: str) -> str:
    """The two ISO 7064 mod 97-10 digits that follow ``text``: 02 to 98, letters counting 10 to 35.

    00, 01 and 99 leave the same remainders as 97, 98 and 02 and are never issued: a check by remainder alone would
    accept two spellings of one identifier.
    """
    digits = "".join(str(int(character, 36)) for character in text)
    return str(98 - int(digits + "00") % 97).rjust(2, "0")
