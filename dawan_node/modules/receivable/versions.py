"""The versions of the module: one code, which asks ``rules`` which of them binds.

Version 2 is version 1 under the rules of ``rules.strict`` from its first block.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.rules import STRICT

version_2: Final = module.as_version(STRICT)

#: What the entry point names.
versions: Final = MappingProxyType({each.version: each for each in (module, version_2)})
