"""A bounded tree of an XML document that may be hostile.

Parsing is defusedxml's: document types, entity declarations and external references are refused at the first sight of
them, before anything is expanded or fetched. What defusedxml does not bound is the shape of the tree, so depth and
number of elements are counted while it grows, and subtrees nobody will read are not built at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

#: Business documents nest about ten levels; a deeper tree is an attack on whoever walks it.
DEPTH_MAX: Final = 40
#: Far above the header of any invoice (some 300 elements); bounds the memory of the tree to some tens of megabytes.
ELEMENTS_MAX: Final = 50_000


class UnsafeXml(ValueError):
    """The document uses a construct, or a size, that serves only attacks."""


class MalformedXml(ValueError):
    """The bytes are not one well-formed XML document."""


@dataclass(slots=True)
class Element:
    """An element: its prefixed name, its attributes, its own text without surrounding blanks, its children."""

    tag: str
    attributes: Mapping[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, path: str) -> Iterator[Element]:
        """The descendants reached by ``cac:Party/cbc:Name``, in document order."""
        level = [self]
        for name in path.split("/"):
            level = [child for element in level for child in element.children if child.tag == name]
        return iter(level)


def parse_xml(data: bytes, prefixes: Mapping[str, str], skipped: frozenset[str] = frozenset()) -> Element:
    """The root of the document in ``data``.

    ``prefixes`` maps namespace URIs to the prefixes used in tags here; elements of other namespaces keep their URI in
    braces. Subtrees whose tag is in ``skipped`` are checked for well-formedness but not kept. Raises UnsafeXml and
    MalformedXml.
    """
    builder = _Builder(prefixes, skipped)
    parser = DefusedXMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(data)
        parser.close()
    except UnsafeXml:
        raise
    except DefusedXmlException as error:
        raise UnsafeXml(f"document types and entities are refused ({type(error).__name__})") from None
    except (ParseError, LookupError, ValueError) as error:
        # LookupError and ValueError: an encoding that does not exist or that the parser cannot read.
        raise MalformedXml(str(error)[:200]) from None
    if builder.root is None:
        raise MalformedXml("there is no element")
    return builder.root


class _Builder:
    """The parser's target: receives start, data and end in document order."""

    def __init__(self, prefixes: Mapping[str, str], skipped: frozenset[str]) -> None:
        self._prefixes = prefixes
        self._skipped = skipped
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._depth = 0
        self._kept = 0
        self._skipping_from = 0  # depth of the outermost skipped element that is open, 0 for none
        self.root: Element | None = None

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise UnsafeXml(f"elements are nested deeper than {DEPTH_MAX}")
        if self._skipping_from:
            return
        name = self._prefixed(tag)
        if name in self._skipped and self._open:
            self._skipping_from = self._depth
            return
        self._kept += 1
        if self._kept > ELEMENTS_MAX:
            raise UnsafeXml(f"more than {ELEMENTS_MAX} elements")
        element = Element(name, dict(attributes))
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)
        self._texts.append([])

    def data(self, text: str) -> None:
        if self._texts and not self._skipping_from:
            self._texts[-1].append(text)

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._skipping_from:
            if self._depth < self._skipping_from:
                self._skipping_from = 0
            return
        self._open.pop().text = "".join(self._texts.pop()).strip()

    def close(self) -> None:
        """Required of a target; the tree is in ``root``."""

    def _prefixed(self, tag: str) -> str:
        uri, brace, name = tag[1:].partition("}")
        return f"{self._prefixes[uri]}:{name}" if brace and uri in self._prefixes else tag
