"""The declared state machines of the shipped modules: complete, and every move of them happens.

That no undeclared move happens is checked by the module kit after every block of every test.
"""

from __future__ import annotations

import msgspec
import pytest

from dawan_node.execution.registry import BUILTIN, load_module
from dawan_node.execution.transitions import states_of
from dawan_node.testing.moves import Move, declared_moves
from tests.modules.examples.pages import told
from tests.modules.walk_shards import counted
from tests.modules.walk_tally import Tally
from tests.modules.walks import WALKS

NAMES = sorted(BUILTIN)
#: Fields of an enumeration that are called so say where a record is in its life.
STATE_FIELDS = ("state", "status")
#: Modules whose whole life their story tells; the others are too rich for one.
TOLD = ("governance", "kernel", "light_client", "refdata")
#: What follows from a change of ``Organisation`` is kept, not moved.
NO_LIFE = {("governance", "past_organisation")}


@pytest.mark.parametrize("name", NAMES)
def test_every_record_with_a_state_says_how_it_moves(name: str) -> None:
    module = load_module(name, 1)
    with_state = {
        (collection, field.name)
        for collection, entity in module.entities.items()
        for field in msgspec.structs.fields(entity)
        if field.name in STATE_FIELDS and states_of(entity, field.name) and (name, collection) not in NO_LIFE
    }
    assert with_state == {(collection, machine.field) for collection, machine in module.state_machines.items()}


@pytest.mark.parametrize("name", NAMES)
def test_every_state_is_reached(name: str) -> None:
    for machine in load_module(name, 1).state_machines.values():
        assert {move.after for move in machine.transitions} - {""} == set(machine.states)


def met_by_story(name: str) -> frozenset[Move]:
    return frozenset().union(*[notebook.kit.moves for notebook in told(name)])


@pytest.mark.parametrize("name", TOLD)
def test_the_story_of_a_small_module_makes_every_move_it_declares(name: str) -> None:
    left = declared_moves(load_module(name, 1)) - met_by_story(name)
    assert not left, "declared and never met: " + "; ".join(sorted(map(str, left)))


#: Records that no walk of their module moves, because it takes a second module: so their story makes every move. A
#: title secures a financing only where both are on one channel, or by proofs (the walks of light_client).
TOLD_RECORDS = (("receivable", "title_security"),)


@pytest.mark.parametrize(("name", "collection"), TOLD_RECORDS)
def test_the_story_makes_every_move_of_a_record_that_the_walks_leave_out(name: str, collection: str) -> None:
    declared = {move for move in declared_moves(load_module(name, 1)) if move.collection == collection}
    left = declared - met_by_story(name)
    assert declared and not left, "declared and never met: " + "; ".join(sorted(map(str, left)))


#: Modules that story and walks must complete together.
WALKED = ("lc", "logistics", "receivable", "title")
#: So many walks of forty blocks at most; most moves are met in the first ten.
WALKS_MAX = 400


@pytest.mark.extended
@pytest.mark.parametrize("name", WALKED)
def test_random_commands_make_every_move_that_is_declared(name: str) -> None:
    left = {str(move) for move in declared_moves(load_module(name, 1)) - met_by_story(name)}
    WALKS[name].prepare()
    for seed in range(2_000_000, 2_000_000 + WALKS_MAX):
        with counted(Tally()) as tally:
            WALKS[name].play(seed, 40)
        left -= set(tally.moves)
        if not left:
            return
    assert not left, "declared and never met: " + "; ".join(sorted(left))
