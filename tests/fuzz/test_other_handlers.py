"""Catch-up, the gatherer and the pool take anything: typed refusals only, bounded, and they still do their work."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.catch_up_targets import catch_up
from tests.fuzz.drawing import Draw, HypothesisDraw
from tests.fuzz.gatherer_targets import gatherer
from tests.fuzz.mempool_targets import mempool


@pytest.mark.parametrize("target", [catch_up, gatherer, mempool], ids=lambda target: target.__name__)
@settings(
    max_examples=max(1, settings.default.max_examples // 2),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(data=st.data())
def test_nothing_it_is_given_breaks_it(target: Callable[[Draw], None], data: st.DataObject) -> None:
    target(HypothesisDraw(data))
