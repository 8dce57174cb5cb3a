"""Whatever a replica is sent, in whatever state: no exception, no growth, no fork, and it decides afterwards."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.drawing import HypothesisDraw
from tests.fuzz.replica_states import SITUATIONS
from tests.fuzz.replica_targets import talk

#: A tenth of the profile's examples: each is a dozen messages and a conversation.
A_TENTH = settings(
    max_examples=max(1, settings.default.max_examples // 10),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@pytest.mark.parametrize("name", SITUATIONS)
@A_TENTH
@given(data=st.data())
def test_one_liar_neither_breaks_nor_stops_a_replica(name: str, data: st.DataObject) -> None:
    talk(HypothesisDraw(data), name)


@pytest.mark.parametrize("name", SITUATIONS)
@A_TENTH
@given(data=st.data())
def test_a_replica_among_liars_only_raises_nothing_and_stays_bounded(name: str, data: st.DataObject) -> None:
    talk(HypothesisDraw(data), name, everybody_lies=True)
