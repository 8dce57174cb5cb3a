from __future__ import annotations

import pytest

from dawan_node.testing.module_kit import ModuleKit
from tests.execution.toy import MODULES, PEOPLE


@pytest.fixture
def kit() -> ModuleKit:
    return ModuleKit(MODULES, PEOPLE)
