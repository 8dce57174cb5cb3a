"""Identifiers of things: freight containers, logistic units, trade items, ships, and payment references.

Messages from elsewhere carry numbers whose check digit is wrong: of the container numbers in the sample messages of
the carriers' own standards body, most are (domain.md 1.2). Refusing such a message would lose a true event, accepting
the number in silence would lose the warning. So these functions separate the two: None means that the text has not
the *form* of the number, which is always an error; an ``ObjectNumber`` whose ``is_consistent`` is false has the form
and a check digit that does not fit. A module refuses it where its own users type the number in, and keeps it with a
warning where it stands in a message that somebody else made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dawan_node.modules.identifiers.spelling import compact, gs1_check_digit, mod_97_check_digits

# ISO 6346: owner code, equipment category (U freight container, J equipment, Z trailer or chassis), serial, digit.
_CONTAINER: Final = re.compile(r"[A-Z]{3}[UJZ][0-9]{7}")
_SSCC: Final = re.compile(r"[0-9]{18}")
_GTIN: Final = re.compile(r"[0-9]{8}|[0-9]{12,14}")
_IMO: Final = re.compile(r"(?:IMO)?([0-9]{7})")
# ISO 11649: RF, two check digits, a reference of 1 to 21 characters.
_RF: Final = re.compile(r"RF[0-9]{2}[0-9A-Z]{1,21}")

#: ISO 6346 letter values: 10 upwards without the multiples of 11, which would not change the remainder.
_CONTAINER_VALUES: Final = "0123456789A_BCDEFGHIJK_LMNOPQRSTU_VWXYZ"


@dataclass(frozen=True, slots=True)
class ObjectNumber:
    """A number of the right form in its one spelling, and the check digits that its other characters call for."""

    number: str
    #: What stands in the number's place for check digits.
    written: str
    #: What ought to stand there.
    expected: str

    @property
    def is_consistent(self) -> bool:
        """Whether the check digits fit; a number that was mistyped almost never has fitting ones."""
        return self.written == self.expected


def container_number(text: str) -> ObjectNumber | None:
    """The freight container in ``text``, ISO 6346: ``CSQU3054383``."""
    candidate = compact(text)
    if _CONTAINER.fullmatch(candidate) is None:
        return None
    weighted = sum(
        _CONTAINER_VALUES.index(character) * (1 << position) for position, character in enumerate(candidate[:10])
    )
    # Remainder 10 is written 0. The standard asks owners not to issue such serials, but they exist.
    return ObjectNumber(candidate, candidate[10], str(weighted % 11 % 10))


def sscc(text: str) -> ObjectNumber | None:
    """The Serial Shipping Container Code in ``text``: 18 digits, GS1 mod 10. A pallet or parcel."""
    candidate = compact(text)
    return None if _SSCC.fullmatch(candidate) is None else _gs1(candidate)


def gtin(text: str) -> ObjectNumber | None:
    """The Global Trade Item Number in ``text`` as 14 digits, GS1 mod 10.

    GTIN-8, -12 and -13 are the same numbers without leading zeros, so one item written in two lengths is one text.
    """
    candidate = compact(text)
    return None if _GTIN.fullmatch(candidate) is None else _gs1(candidate.rjust(14, "0"))


def imo_number(text: str) -> ObjectNumber | None:
    """The ship in ``text``, 7 digits with or without ``IMO`` before them (IMO resolution A.1117(30))."""
    found = _IMO.fullmatch(compact(text))
    if found is None:
        return None
    number = found[1]
    weighted = sum(int(digit) * (7 - position) for position, digit in enumerate(number[:6]))
    return ObjectNumber(number, number[6], str(weighted % 10))


def creditor_reference(text: str) -> ObjectNumber | None:
    """The structured creditor reference in ``text``, ISO 11649: ``RF18539007547034``."""
    candidate = compact(text)
    if _RF.fullmatch(candidate) is None:
        return None
    return ObjectNumber(candidate, candidate[2:4], mod_97_check_digits(candidate[4:] + "RF"))


def _gs1(digits: str) -> ObjectNumber:
    return ObjectNumber(digits, digits[-1], gs1_check_digit(digits[:-1]))
