"""The exception tree drawn in errors.py is the whole one."""

from __future__ import annotations

import importlib
import pkgutil

import dawan_node
from dawan_node import errors
from dawan_node.errors import DawanError


def _all(kind: type[DawanError]) -> set[type[DawanError]]:
    return {kind}.union(*(_all(below) for below in kind.__subclasses__()))


def test_every_exception_of_the_package_stands_in_the_drawn_tree() -> None:
    for found in pkgutil.walk_packages(dawan_node.__path__, "dawan_node."):
        if found.name != "dawan_node.__main__":
            importlib.import_module(found.name)
    assert errors.__doc__ is not None
    ours = {kind for kind in _all(DawanError) if kind.__module__.startswith("dawan_node")}
    assert len(ours) > 20
    assert not [kind.__name__ for kind in ours if f" {kind.__name__}" not in errors.__doc__]
