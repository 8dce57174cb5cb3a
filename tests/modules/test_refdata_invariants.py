"""Each invariant of refdata sees the violation it is for: a sound channel passes, one changed record does not."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from dawan_node.execution.entity import Entity, encode_entity
from dawan_node.execution.module import key_of, replace
from dawan_node.modules.governance.declaration import Proposal
from dawan_node.modules.refdata import module
from dawan_node.modules.refdata.declaration import Change, Edition, Parameter, Row
from tests.modules.refdata_kit import Reference, currency, removed


@functools.cache
def _sound() -> Reference:
    """Three editions of currencies, the second amends the first and the third was given up; one of countries is sealed
    and waits for its vote; a limit was set."""
    reference = Reference()
    first = reference.load("currency", [currency("CNY"), currency("HKD")])
    reference.adopt("currency", first, "2020-01-01")
    reference.adopt("currency", reference.load("currency", [removed("HKD"), currency("JPY")], base=first), _day())
    given_up = {"table": "currency", "version": reference.load("currency", [currency("EUR")])}
    reference.ok("gz-admin", "discard_edition", **given_up)
    reference.set_parameter("statistics.k_min", 12, _day())
    return reference


def _day() -> str:
    return Reference().day(3)


def edition(reference: Reference, version: int) -> Edition:
    found = reference.kit.get(Edition, key_of("currency", version))
    assert found is not None
    return found


def row(reference: Reference, version: int, code: str) -> Row:
    found = reference.kit.get(Row, key_of("currency", version, code))
    assert found is not None
    return found


def limit(reference: Reference) -> Parameter:
    (found,) = reference.kit.entities(Parameter)
    return found


def change(reference: Reference, number: int) -> Change:
    found = reference.kit.get(Change, key_of(f"change-{number}"))
    assert found is not None
    return found


def vote(reference: Reference, number: int) -> Proposal:
    found = reference.kit.get(Proposal, key_of(f"change-{number}"))
    assert found is not None
    return found


Corruption = Callable[[Reference], list[Entity]]
VIOLATIONS: list[tuple[str, Corruption]] = [
    ("editions_are_whole", lambda r: [replace(row(r, 1, "CNY"), name="another")]),
    ("editions_are_whole", lambda r: [replace(row(r, 2, "JPY"), removed=True)]),
    ("editions_are_whole", lambda r: [replace(edition(r, 1), digest=bytes(32))]),
    ("editions_are_whole", lambda r: [replace(edition(r, 2), rows=3)]),
    ("editions_are_whole", lambda r: [replace(edition(r, 2), base=3)]),
    ("editions_are_whole", lambda r: [replace(edition(r, 2), depth=2)]),
    ("editions_are_whole", lambda r: [replace(edition(r, 1), depth=1)]),
    ("editions_are_whole", lambda r: [replace(edition(r, 3), effective_from="2026-01-01")]),
    ("editions_are_whole", lambda r: [replace(edition(r, 1), effective_from=r.day(9))]),
    ("parameters_in_bounds", lambda r: [replace(limit(r), value=1)]),
    ("what_holds_was_voted", lambda r: [replace(edition(r, 2), effective_from=r.day(4))]),
    ("what_holds_was_voted", lambda r: [replace(edition(r, 2), resolution="change-1")]),
    ("what_holds_was_voted", lambda r: [replace(edition(r, 3), resolution="change-1")]),
    ("what_holds_was_voted", lambda r: [replace(edition(r, 2), state="sealed", effective_from="", resolution="")]),
    ("what_holds_was_voted", lambda r: [replace(limit(r), value=13)]),
    ("what_holds_was_voted", lambda r: [replace(limit(r), resolution="nothing")]),
    ("what_holds_was_voted", lambda r: [replace(vote(r, 1), status="passed")]),
    ("what_holds_was_voted", lambda r: [replace(vote(r, 1), subject="refdata: another")]),
    (
        "no_day_is_rewritten",
        lambda r: [
            replace(edition(r, 2), effective_from="2020-02-01"),
            replace(change(r, 2), effective_from="2020-02-01"),
        ],
    ),
    ("no_day_is_rewritten", lambda r: [replace(vote(r, 3), opened_ms=vote(r, 3).closes_ms)]),
]


@pytest.mark.parametrize(("name", "corrupt"), VIOLATIONS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(VIOLATIONS)])
def test_an_invariant_sees_what_it_is_for(name: str, corrupt: Corruption) -> None:
    kit = _sound().kit.copy()
    kit.check_invariants()
    for entity in corrupt(_sound()):
        spec = entity.spec
        kit.state.values[spec.module, spec.collection, entity.primary_key()] = encode_entity(entity)
    with pytest.raises(AssertionError, match=rf"refdata\.{name}"):
        kit.check_invariants()


def test_every_invariant_is_among_them() -> None:
    assert {name for name, _ in VIOLATIONS} == set(module.invariants)
