"""GS1 keys in their one spelling: the canonical GS1 Digital Link URI, constrained as the CBV event hash wants it.

One box has many names: ``urn:epc:id:sscc:4012345.0000000333``, ``https://id.gs1.org/00/040123450000003338``, the same
path below a company's own domain, with attributes behind a question mark, with a serial percent-encoded or not. Two
spellings would be two boxes to the rule that a box has one parent. So every identifier passes through here before it
is hashed, stored or compared (CBV 2.0 section 8.9; GS1 Digital Link URI syntax; EPC Tag Data Standard section 6):
``https://id.gs1.org/``, the key, and of its qualifiers only the finest level, without the product variant.

Text that holds no GS1 key stays as it is. Only arithmetic on ASCII happens here.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from dawan_node.modules.identifiers.spelling import gs1_check_digit

_ROOT: Final = "https://id.gs1.org/"
_EPC: Final = re.compile(r"urn:epc:(id|class|idpat):([a-z]{3,5}):(.{1,120})")
_LINK: Final = re.compile(r"https?://[^/?#\s]{1,100}/([^?#\s]{1,180})(?:[?#].*)?")
# A GS1 company prefix has 6 to 12 digits; what follows fills it up to the length of its key.
_COMPANY: Final = re.compile("[0-9]{6,12}")
_DIGITS: Final = re.compile("[0-9]*")
_SERIAL: Final = re.compile("[0-9]{1,12}")
_PAIR: Final = re.compile("[0-9]{2}")
# One character of a serial, lot or reference as a URI writes it: AI encodable character set 82 and the # of set 39.
# No GS1 key or qualifier is longer than 30 characters, so a canonical link always fits a state key.
_SYMBOL: Final = re.compile(r"%([0-9A-Fa-f]{2})|([!#&-.0-;=A-Z_a-z])")
_CODED: Final = re.compile(r"(?:%[0-9A-Fa-f]{2}|[!#&-.0-;=A-Z_a-z]){1,30}")
_ENCODABLE: Final = frozenset("!\"#%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
_PLAIN: Final = frozenset("-.';=_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

#: Names that older Digital Links write instead of the application identifiers.
_SHORT_NAMES: Final = MappingProxyType(
    {
        "sscc": "00", "gtin": "01", "gdti": "253", "gcn": "255", "ginc": "401", "gsin": "402", "gln": "414",
        "party": "417", "grai": "8003", "giai": "8004", "itip": "8006", "cpid": "8010", "gsrnp": "8017",
        "gsrn": "8018", "cpv": "22", "lot": "10", "ser": "21", "glnx": "254", "cpsn": "8011", "srin": "8019",
    }
)  # fmt: skip

#: Primary keys and the form of their values.
_KEYS: Final = MappingProxyType(
    {
        "00": re.compile("[0-9]{18}"),
        "01": re.compile("[0-9]{8}|[0-9]{12,14}"),
        "253": re.compile("[0-9]{13}.{0,51}"),
        "255": re.compile("[0-9]{13,25}"),
        "401": re.compile(".{1,90}"),
        "402": re.compile("[0-9]{17}"),
        "414": re.compile("[0-9]{13}"),
        "417": re.compile("[0-9]{13}"),
        "8003": re.compile("[0-9]{14}.{0,48}"),
        "8004": re.compile(".{1,90}"),
        "8006": re.compile("[0-9]{18}"),
        "8010": re.compile(".{1,90}"),
        "8017": re.compile("[0-9]{18}"),
        "8018": re.compile("[0-9]{18}"),
    }
)
#: Qualifiers that may follow a key, and, finest first, those of which one is kept.
_QUALIFIERS: Final = frozenset({"10", "21", "22", "235", "254", "8011", "8019"})
_KEPT: Final = MappingProxyType({"01": ("21", "235", "10"), "8006": ("21", "10"), "414": ("254",), "8010": ("8011",)})


def canonical_uri(uri: str) -> str:
    """The canonical Digital Link of the GS1 key in ``uri``, or ``uri`` itself when it holds none."""
    epc = _EPC.fullmatch(uri)
    if epc is not None:
        return _of_epc(epc[1], epc[2], epc[3]) or uri
    link = _LINK.fullmatch(uri)
    if link is not None:
        return _of_link(link[1]) or uri
    return uri


def encoded(text: str) -> str | None:
    """A serial, lot or reference with exactly the characters percent-encoded that must be; None for what is none."""
    if _CODED.fullmatch(text) is None:
        return None
    symbols = [chr(int(code, 16)) if code else plain for code, plain in _SYMBOL.findall(text)]
    if not all(symbol in _ENCODABLE for symbol in symbols):
        return None
    return "".join([symbol if symbol in _PLAIN else f"%{ord(symbol):02X}" for symbol in symbols])


def _of_link(path: str) -> str | None:
    """The first key in the path that is followed by qualifiers only."""
    segments = path.rstrip("/").split("/")
    codes = [_SHORT_NAMES.get(segment, segment) for segment in segments]
    # A key has two qualifiers at most and a variant: what has more behind it is none.
    for position in range(max(0, len(segments) - 8), len(segments) - 1):
        key, rest = codes[position], segments[position + 2 :]
        names, values = codes[position + 2 :: 2], rest[1::2]
        if key not in _KEYS or len(names) != len(values) or not _QUALIFIERS.issuperset(names):
            continue
        value = encoded(segments[position + 1])
        coded = [encoded(qualifier) for qualifier in values]
        if value is None or None in coded or _KEYS[key].fullmatch(value) is None:
            continue
        if key == "01":
            value = value.rjust(14, "0")
        found = dict(zip(names, coded, strict=True))
        kept = [f"/{name}/{found[name]}" for name in _KEPT.get(key, ()) if name in found]
        return f"{_ROOT}{key}/{value}{kept[0] if kept else ''}"
    return None


def _of_epc(kind: str, scheme: str, body: str) -> str | None:
    """The link of an EPC, of a class (``class``) or of a pattern that stands for a class (``idpat``)."""
    dots = _PARTS.get((kind, scheme))
    if dots is None:
        return None
    parts = body.split(".", dots)
    if len(parts) != dots + 1 or _COMPANY.fullmatch(parts[0]) is None:
        return None
    if kind == "idpat":
        # A pattern stands for a class: its serial is a star.
        if parts[-1] != "*":
            return None
        parts = parts[:-1]
    link = _link_of(scheme, parts[0], parts[1], parts[2:])
    return None if link is None else _ROOT + link


#: How many dots separate the parts of each scheme; a serial may hold more.
_PARTS: Final = MappingProxyType(
    {
        ("id", "sgtin"): 2, ("id", "sscc"): 1, ("id", "sgln"): 2, ("id", "grai"): 2, ("id", "giai"): 1,
        ("id", "gsrn"): 1, ("id", "gsrnp"): 1, ("id", "gdti"): 2, ("id", "cpi"): 2, ("id", "sgcn"): 2,
        ("id", "ginc"): 1, ("id", "gsin"): 1, ("id", "itip"): 4, ("id", "upui"): 2, ("id", "pgln"): 1,
        ("class", "lgtin"): 2, ("idpat", "sgtin"): 2, ("idpat", "grai"): 2, ("idpat", "gdti"): 2,
        ("idpat", "sgcn"): 2, ("idpat", "cpi"): 2, ("idpat", "itip"): 4,
    }
)  # fmt: skip


def _link_of(scheme: str, company: str, reference: str, more: list[str]) -> str | None:
    """The path below the root; ``more`` is empty for a class."""
    serial = encoded(more[-1]) if more else ""
    if serial is None:
        return None
    match scheme:
        case "sgtin" | "upui" | "lgtin":
            qualifier = {"sgtin": "21", "upui": "235", "lgtin": "10"}[scheme]
            gtin = _indicated(company, reference, 13)
            return None if gtin is None else f"01/{gtin}" + (f"/{qualifier}/{serial}" if more else "")
        case "itip":
            gtin = _indicated(company, reference, 13)
            if gtin is None or _PAIR.fullmatch(more[0]) is None or _PAIR.fullmatch(more[1]) is None:
                return None
            return f"8006/{gtin}{more[0]}{more[1]}" + (f"/21/{serial}" if len(more) == 3 else "")
        case "sscc":
            number = _indicated(company, reference, 17)
            return None if number is None else f"00/{number}"
        case "sgln" | "pgln":
            number = _filled(company, reference, 12)
            extension = "" if serial in ("", "0") else f"/254/{serial}"
            return None if number is None else f"{'414' if scheme == 'sgln' else '417'}/{number}{extension}"
        case "gdti" | "grai":
            number = _filled(company, reference, 12)
            return None if number is None else f"{'253/' if scheme == 'gdti' else '8003/0'}{number}{serial}"
        case "sgcn":
            number = _filled(company, reference, 12)
            if number is None or (more and _SERIAL.fullmatch(more[0]) is None):
                return None
            return f"255/{number}{serial}"
        case "gsrn" | "gsrnp" | "gsin":
            number = _filled(company, reference, 16 if scheme == "gsin" else 17)
            key = {"gsrn": "8018", "gsrnp": "8017", "gsin": "402"}[scheme]
            return None if number is None else f"{key}/{number}"
        case _:
            text = encoded(reference)
            key = {"giai": "8004", "ginc": "401", "cpi": "8010"}[scheme]
            return None if text is None else f"{key}/{company}{text}" + (f"/8011/{serial}" if more else "")


def _indicated(company: str, reference: str, length: int) -> str | None:
    """Indicator digit, company prefix, the rest of the reference, check digit: GTIN and SSCC."""
    if not reference or _DIGITS.fullmatch(reference) is None or len(company) + len(reference) != length:
        return None
    digits = reference[0] + company + reference[1:]
    return digits + gs1_check_digit(digits)


def _filled(company: str, reference: str, length: int) -> str | None:
    """Company prefix, reference, check digit: all other numeric keys."""
    if _DIGITS.fullmatch(reference) is None or len(company) + len(reference) != length:
        return None
    return company + reference + gs1_check_digit(company + reference)
