"""The versions of the module: one code, which asks ``rules`` which of them binds.

Version 2 is version 1 under the rules of ``rules.strict`` from its first block. Beside them one role differs: a branch
of the central bank holds what a bank forfeited to it, so it may say that a voucher was not paid.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Final

from dawan_node.modules.receivable.declaration import module
from dawan_node.modules.receivable.rules import STRICT

version_2: Final = module.as_version(STRICT)

_default = version_2.commands["default_voucher"]
version_2.commands["default_voucher"] = replace(_default, roles=(*_default.roles, "pboc"))

#: What the entry point names.
versions: Final = MappingProxyType({each.version: each for each in (module, version_2)})
