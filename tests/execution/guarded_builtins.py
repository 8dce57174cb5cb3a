"""A plugin of pytest that has the node's own modules rewritten like those of others, without lint's list of imports.

``test_guarded_builtins`` runs tests of these modules with it: what rewriting changes, they notice.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

from dawan_node.execution.loading import GuardedLoader

PREFIX = "dawan_node.modules."


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None
        return importlib.util.spec_from_file_location(
            fullname,
            spec.origin,
            loader=GuardedLoader(fullname, spec.origin, "dawan_node"),
            submodule_search_locations=spec.submodule_search_locations,
        )


def pytest_load_initial_conftests() -> None:
    assert not [name for name in sys.modules if name.startswith(PREFIX)]
    sys.meta_path.insert(0, Finder())
