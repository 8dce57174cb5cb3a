"""Makes the recipe of the vectors importable for the tests of this folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vector_recipe", Path(__file__).with_name("vector_recipe.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["vector_recipe"] = module
    spec.loader.exec_module(module)
    return module


recipe_module = _load()


@pytest.fixture(scope="session")
def recipe() -> ModuleType:
    """The module that builds the format vectors."""
    return recipe_module


@pytest.fixture(scope="session")
def vectors() -> dict[str, bytes | int]:
    """The 19 vectors, built from the recipe."""
    built: dict[str, bytes | int] = recipe_module.vectors()
    return built
