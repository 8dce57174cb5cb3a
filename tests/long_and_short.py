"""How many seeds a test plays in every run, and how many with ``--extended``."""

from __future__ import annotations

from typing import Any

import pytest


def seeds(default: int, extended: int) -> list[Any]:
    """Seeds for ``parametrize``: the first ``default`` in every run, all ``extended`` with ``--extended``."""
    later = [pytest.param(seed, marks=pytest.mark.extended) for seed in range(default, extended)]
    return [*range(default), *later]
