"""Words of the Core Business Vocabulary in their one spelling, the web URI that the event hash is computed over.

A business step is written ``departing`` in JSON, ``urn:epcglobal:cbv:bizstep:departing`` in older messages and
``https://ref.gs1.org/cbv/BizStep-departing`` in full; all three are one step. A company's own word is a URI of its own
and stays as it is.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

_CBV: Final = "https://ref.gs1.org/cbv/"
_GS1: Final = "https://gs1.org/voc/"
_WORD: Final = re.compile("[A-Za-z][A-Za-z0-9_]{0,63}")
_URN: Final = re.compile("urn:epcglobal:cbv:(bizstep|disp|btt|sdt|er):([A-Za-z0-9_]{1,64})")

#: What stands before the word, by the kind of word.
BIZ_STEP: Final = _CBV + "BizStep-"
DISPOSITION: Final = _CBV + "Disp-"
TRANSACTION_TYPE: Final = _CBV + "BTT-"
SOURCE_TYPE: Final = _CBV + "SDT-"
ERROR_REASON: Final = _CBV + "ER-"
COMPONENT: Final = _CBV + "Comp-"
MEASUREMENT: Final = _GS1

_BY_URN: Final = MappingProxyType(
    {"bizstep": BIZ_STEP, "disp": DISPOSITION, "btt": TRANSACTION_TYPE, "sdt": SOURCE_TYPE, "er": ERROR_REASON}
)


def canonical_word(text: str, prefix: str) -> str:
    """The URI of a vocabulary word; ``prefix`` is the one of its kind."""
    if _WORD.fullmatch(text) is not None:
        return prefix + text
    return canonical_urn(text)


def canonical_urn(text: str) -> str:
    """A vocabulary URN of CBV 1.2 as the web URI of CBV 2.0; any other text as it is."""
    found = _URN.fullmatch(text)
    return text if found is None else _BY_URN[found[1]] + found[2]
