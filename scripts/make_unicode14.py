"""Writes dawan_node/execution/unicode14.py from the interpreter's own tables; needs Python 3.11 (Unicode 14.0)."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

_HEAD = '''"""Which code points exist in Unicode 14.0, and which of them are letters, marks or digits.

Python 3.11 carries Unicode 14.0 and Python 3.12 carries 15.0, so asking the interpreter would let two nodes disagree
about one string (design section 11). These tables are consensus data, written once by ``scripts/make_unicode14.py``.

A table is a run of lower-case hexadecimal numbers separated by blanks: gap from the end of the last range, length of
the range, gap, length, ... A range of length n covers n code points.
"""

from __future__ import annotations

from typing import Final

'''


def main() -> None:
    if unicodedata.unidata_version != "14.0.0":
        sys.exit(f"this interpreter has Unicode {unicodedata.unidata_version}, not 14.0.0: use Python 3.11")
    text = _HEAD
    text += _table("ASSIGNED", "Assigned to a character or to private use; no surrogates.", _is_assigned)
    text += "\n" + _table(
        "ALPHANUMERIC", "General categories L (letters), M (marks) and N (numbers).", _is_alphanumeric
    )
    Path("dawan_node/execution/unicode14.py").write_text(text)


def _is_assigned(point: int) -> bool:
    return unicodedata.category(chr(point)) not in ("Cn", "Cs")


def _is_alphanumeric(point: int) -> bool:
    return unicodedata.category(chr(point))[0] in "LMN"


def _table(name: str, comment: str, member: Callable[[int], bool]) -> str:
    numbers: list[str] = []
    end, start = 0, None
    for point in range(sys.maxunicode + 2):
        inside = point <= sys.maxunicode and member(point)
        if inside and start is None:
            start = point
        elif not inside and start is not None:
            numbers += [f"{start - end:x}", f"{point - start:x}"]
            end, start = point, None
    lines, line = [], ""
    for number in numbers:
        if len(line) + len(number) > 100:
            lines.append(line)
            line = ""
        line += number + " "
    lines.append(line)
    body = "\n".join(f'    "{each}"' for each in lines)
    return f"#: {comment}\n{name}: Final = (\n{body}\n)\n"


if __name__ == "__main__":
    main()
