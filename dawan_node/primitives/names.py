"""What a name may look like (formats A.2): one pattern per kind, checked wherever a name enters."""

from __future__ import annotations

import re
from typing import Final

# Networks, channels, nodes, organisations and identities; they become file names and DNS labels.
_LABEL: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
# Modules, collections, commands, fields and roles; they become Python identifiers.
_IDENTIFIER: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_EVENT: Final = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
_SUITE: Final = re.compile(r"[a-z0-9-]{1,32}")


def is_label(name: str) -> bool:
    """Whether ``name`` may name a network, channel, node, organisation or identity."""
    return _LABEL.fullmatch(name) is not None


def is_identifier(name: str) -> bool:
    """Whether ``name`` may name a module, collection, command, field or role."""
    return _IDENTIFIER.fullmatch(name) is not None


def is_event(name: str) -> bool:
    """Whether ``name`` may name an event."""
    return _EVENT.fullmatch(name) is not None


def is_suite(name: str) -> bool:
    """Whether ``name`` may name a signature suite."""
    return _SUITE.fullmatch(name) is not None
