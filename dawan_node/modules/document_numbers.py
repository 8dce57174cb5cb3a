"""The number on a document in its one spelling: what makes ``INV-001``, `` inv 001`` and full-width digits one number.

A document is financed or presented twice by writing its number in another way, so it is normalised before it is
compared: compatibility forms and case are folded (NFKC of Unicode 14.0, ``execution.text``), spaces and punctuation
dropped, leading zeros stripped. Numbers may consist of digits, Latin letters and Han characters. Letters of other
scripts that look like Latin ones (Cyrillic ``І``, Greek ``Ι``), other scripts' digits and combining marks would give
one visible number several texts, so they are refused.
"""

from __future__ import annotations

import re
from typing import Final

from dawan_node.execution.module import alphanumeric, fold

#: Folding can lengthen a text; what remains must fit a state key of 256 bytes beside a name and a fingerprint.
NORMALISED_BYTES_MAX: Final = 128

# Digits, Latin with the diacritics of Portuguese (an official language of Macao), Han characters.
_ALLOWED: Final = re.compile("[0-9a-zà-öø-ÿ\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003134f]+")
_ZEROS_BEFORE_DIGIT: Final = re.compile("(?<![0-9])0+(?=[0-9])")


def normalised_number(number: str) -> str | None:
    """``" INV-001"`` is ``"inv001"``; None when nothing remains or another script is used."""
    kept = alphanumeric(fold(number))
    if _ALLOWED.fullmatch(kept) is None or len(kept.encode()) > NORMALISED_BYTES_MAX:
        return None
    return kept.lstrip("0") or "0"


def loose_number(normalised: str) -> str:
    """``"inv001"`` is ``"inv1"``: the wider net, a function of the normalised number, so exact implies loose."""
    return _ZEROS_BEFORE_DIGIT.sub("", normalised)
