"""Check digits of the identifiers that trade documents carry: LEI, USCC, GLN, and the form of a BIC.

A check digit catches a mistyped identifier, never an invented one: whether a company *exists* is known only to the
register that issued the number. Each function takes the text as somebody wrote it and returns the **normalised**
identifier, or None when it is not one. Callers must store the returned text and never what they were given:
``9111 0000 6000 3734-1l`` and ``91110000600037341L`` are one company, and a registry that kept both spellings would
not see that it finances the same company's invoice twice.

Only arithmetic on ASCII text happens here, no table that changes between releases, so every validator agrees.
"""

from __future__ import annotations

import re
from typing import Final

# What people put between groups of digits; nothing else is forgiven.
_SEPARATORS: Final = str.maketrans("", "", " -\t")
# Longer than any identifier written with a separator after every character.
_TEXT_CHARS_MAX: Final = 64

_LEI: Final = re.compile(r"[0-9A-Z]{18}[0-9]{2}")
# GB 32100-2015: registration authority (1-9, A, N, Y), category, six digits of the administrative division, nine
# characters of organisation code, check character. The letters I, O, S, V, Z are not used.
_USCC: Final = re.compile(r"[1-9ANY][0-9A-HJ-NP-RTUWXY][0-9]{6}[0-9A-HJ-NP-RTUWXY]{10}")
_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_GLN: Final = re.compile(r"[0-9]{13}")
# ISO 9362: business party prefix, country, location, and optionally a branch.
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")


def normalised_lei(text: str) -> str | None:
    """The Legal Entity Identifier in ``text``: 20 characters, ISO 17442, check digits mod 97-10 of ISO 7064."""
    candidate = _compact(text)
    if _LEI.fullmatch(candidate) is None:
        return None
    # ISO 7064: letters count 10..35, the whole number leaves remainder 1.
    digits = "".join(str(int(character, 36)) for character in candidate)
    return candidate if int(digits) % 97 == 1 else None


def normalised_uscc(text: str) -> str | None:
    """The Unified Social Credit Code in ``text``: 18 characters, GB 32100-2015, weights 3^i mod 31.

    Mainland organisations have one; Hong Kong and Macau firms do not.
    """
    candidate = _compact(text)
    if _USCC.fullmatch(candidate) is None:
        return None
    weighted = sum(
        _USCC_ALPHABET.index(character) * pow(3, position, 31) for position, character in enumerate(candidate[:17])
    )
    return candidate if _USCC_ALPHABET[-weighted % 31] == candidate[17] else None


def normalised_gln(text: str) -> str | None:
    """The Global Location Number in ``text``: 13 digits, GS1 mod 10 (the scheme ``0088`` of electronic invoices)."""
    candidate = _compact(text)
    if _GLN.fullmatch(candidate) is None:
        return None
    weighted = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(candidate[:12]))
    return candidate if -weighted % 10 == int(candidate[12]) else None


def normalised_bic(text: str) -> str | None:
    """The bank identifier in ``text`` as 11 characters, the head office written ``XXX`` (ISO 9362).

    Only the form is checked: a BIC has no check digit, and which ones exist only a directory knows.
    """
    candidate = _compact(text)
    if _BIC.fullmatch(candidate) is None:
        return None
    return candidate if len(candidate) == 11 else candidate + "XXX"


def _compact(text: str) -> str:
    # Only ASCII may be upper-cased here: "ı".upper() is "I", and a letter must not appear out of nowhere.
    if len(text) > _TEXT_CHARS_MAX or not text.isascii():
        return ""
    return text.translate(_SEPARATORS).upper()
