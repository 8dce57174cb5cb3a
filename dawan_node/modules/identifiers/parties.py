"""Identifiers of parties, each with its scheme: LEI, USCC, GLN by check digit; BIC, HK BRN, Macau number by form.

A check digit catches a mistyped identifier, never an invented one: whether a company *exists* is known only to the
register that issued the number. Each function takes the text as somebody wrote it and returns the **normalised**
identifier, or None when it is not one. Callers must store the returned text and never what they were given:
``9111 0000 6000 3734-1l`` and ``91110000600037341L`` are one company, and a registry that kept both spellings would
not see that it finances the same company's invoice twice.

Only arithmetic on ASCII text happens here, no table that changes between releases, so every validator agrees.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from dawan_node.modules.identifiers.spelling import compact, gs1_check_digit, mod_97_check_digits

_LEI: Final = re.compile(r"[0-9A-Z]{18}[0-9]{2}")
# GB 32100-2015: registration authority (1-9, A, N, Y), category, six digits of the administrative division, nine
# characters of organisation code, check character. The letters I, O, S, V, Z are not used.
_USCC: Final = re.compile(r"[1-9ANY][0-9A-HJ-NP-RTUWXY][0-9]{6}[0-9A-HJ-NP-RTUWXY]{10}")
_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_GLN: Final = re.compile(r"[0-9]{13}")
# ISO 9362: business party prefix, country, location, and optionally a branch.
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_HK_BRN: Final = re.compile(r"[0-9]{8}")
# The number of the entry in the commercial register and the kind of entry: SO for a company.
_MO_REGISTRATION: Final = re.compile(r"0*([1-9][0-9]{0,5})([A-Z]{2})|([A-Z]{2})0*([1-9][0-9]{0,5})")
_BRACKETS: Final = str.maketrans("", "", "()")


class Scheme(StrEnum):
    """Which register issued an identifier; the value stands in front of it in text and in keys."""

    LEI = "LEI"
    USCC = "USCC"
    HK_BRN = "HK-BRN"
    MO_REGISTRATION = "MO-REG"
    BIC = "BIC"
    GLN = "GLN"


@dataclass(frozen=True, slots=True)
class PartyIdentifier:
    """A normalised identifier with its scheme: equal exactly when the same register's same entry is meant."""

    scheme: Scheme
    value: str

    @property
    def text(self) -> str:
        """``LEI:213800KUD8LAJWSQ9D15``: how a module stores it and what it uses in keys."""
        return f"{self.scheme.value}:{self.value}"


def party_identifier(scheme: str, text: str) -> PartyIdentifier | None:
    """The identifier of ``scheme`` (a value of ``Scheme``) in ``text``; None for an unknown scheme or another form."""
    found = _NORMALISED.get(scheme)
    value = found(text) if found is not None else None
    return None if value is None else PartyIdentifier(Scheme(scheme), value)


def normalised_lei(text: str) -> str | None:
    """The Legal Entity Identifier in ``text``: 20 characters, ISO 17442, check digits mod 97-10 of ISO 7064."""
    candidate = compact(text)
    if _LEI.fullmatch(candidate) is None:
        return None
    return candidate if mod_97_check_digits(candidate[:18]) == candidate[18:] else None


def normalised_uscc(text: str) -> str | None:
    """The Unified Social Credit Code in ``text``: 18 characters, GB 32100-2015, weights 3^i mod 31.

    Mainland organisations have one; Hong Kong and Macau firms do not.
    """
    candidate = compact(text)
    if _USCC.fullmatch(candidate) is None:
        return None
    weighted = sum(
        _USCC_ALPHABET.index(character) * pow(3, position, 31) for position, character in enumerate(candidate[:17])
    )
    return candidate if _USCC_ALPHABET[-weighted % 31] == candidate[17] else None


def normalised_gln(text: str) -> str | None:
    """The Global Location Number in ``text``: 13 digits, GS1 mod 10 (the scheme ``0088`` of electronic invoices)."""
    candidate = compact(text)
    if _GLN.fullmatch(candidate) is None:
        return None
    return candidate if gs1_check_digit(candidate[:12]) == candidate[12] else None


def normalised_bic(text: str) -> str | None:
    """The bank identifier in ``text`` as 11 characters, the head office written ``XXX`` (ISO 9362).

    Only the form is checked: a BIC has no check digit, and which ones exist only a directory knows.
    """
    candidate = compact(text)
    if _BIC.fullmatch(candidate) is None:
        return None
    return candidate if len(candidate) == 11 else candidate + "XXX"


def normalised_hk_brn(text: str) -> str | None:
    """The Hong Kong Business Registration Number in ``text``: 8 digits, since 2023 the Unique Business Identifier too.

    Only the form is checked: the number has no published check digit. A branch suffix (``-000-05-24-9``) belongs to the
    certificate, not to the business, and is refused rather than cut off.
    """
    candidate = compact(text)
    return candidate if _HK_BRN.fullmatch(candidate) is not None else None


def normalised_mo_registration(text: str) -> str | None:
    """The entry of Macau's commercial register in ``text`` as ``12345SO``: also written ``12345 (SO)``, ``SO 12345``.

    Only the form is checked. Without the kind of entry the number is ambiguous, and refused.
    """
    found = _MO_REGISTRATION.fullmatch(compact(text.translate(_BRACKETS)))
    if found is None:
        return None
    return found[1] + found[2] if found[1] else found[4] + found[3]


_NORMALISED: Final[MappingProxyType[str, Callable[[str], str | None]]] = MappingProxyType(
    {
        Scheme.LEI.value: normalised_lei,
        Scheme.USCC.value: normalised_uscc,
        Scheme.HK_BRN.value: normalised_hk_brn,
        Scheme.MO_REGISTRATION.value: normalised_mo_registration,
        Scheme.BIC.value: normalised_bic,
        Scheme.GLN.value: normalised_gln,
    }
)
