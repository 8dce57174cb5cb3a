"""State machines: what can be declared, how it is described, and what the kit says of a move that is not declared."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import pytest

from dawan_node.execution.describe import describe_module
from dawan_node.execution.module import Args, Context, DeclarationError, Entity, Module, key_of, replace
from dawan_node.execution.transitions import StateMachine, Transition, states_of
from dawan_node.testing.module_kit import ModuleKit
from dawan_node.testing.moves import Move


class Colour(StrEnum):
    RED = "RED"
    GREEN = "GREEN"


class Lamp(Entity, collection="lamp", schema=1):
    name: str
    colour: Colour
    power: Literal["off", "on"]

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Set(Args):
    name: str
    colour: Colour = Colour.RED
    fails: bool = False


def make(moves: dict[str, Any], *, field: str = "colour") -> tuple[Module, Module]:
    """A module of lamps, and one that uses what it exports."""
    lamps = Module("lamps", version=1, entities=(Lamp,), errors={"E_NO": "No."})
    user = Module("user", version=1, entities=(), uses=("lamps",))

    @lamps.command("light", args=Set, roles=())
    def light(ctx: Context, args: Set) -> None:
        """Set a lamp."""
        ctx.put(Lamp(args.name, args.colour, "on"))
        ctx.require(not args.fails, "E_NO")

    @lamps.command("blink", args=Set, roles=())
    def blink(ctx: Context, args: Set) -> None:
        """There and back."""
        lamp = ctx.get(Lamp, key_of(args.name))
        assert lamp is not None
        ctx.put(replace(lamp, colour=Colour.GREEN))
        ctx.put(replace(lamp, colour=Colour.RED))

    @lamps.command("drop", args=Set, roles=())
    def drop(ctx: Context, args: Set) -> None:
        """Delete a lamp."""
        ctx.delete(Lamp, key_of(args.name))

    @lamps.export("switch")
    def switch(ctx: Context, name: str) -> None:
        """The other colour."""
        lamp = ctx.get(Lamp, key_of(name))
        assert lamp is not None
        ctx.put(replace(lamp, colour=Colour.GREEN if lamp.colour == Colour.RED else Colour.RED))

    @user.command("use", args=Set, roles=())
    def use(ctx: Context, args: Set) -> None:
        """Switch through the other module."""
        ctx.call("lamps", "switch", args.name)

    if moves:
        lamps.state_machine(Lamp, field, moves)
    return lamps, user


WHOLE: dict[str, Any] = {
    "light": ("-> RED, GREEN", "RED -> GREEN", "GREEN -> RED"),
    "switch": "RED -> GREEN",
    "drop": "RED, GREEN ->",
}


def test_a_line_is_every_move_from_one_side_to_the_other() -> None:
    machine = StateMachine.of(Lamp, "colour", WHOLE)
    assert machine.states == ("RED", "GREEN")
    assert machine.transitions == (
        Transition("", "RED", "light"),
        Transition("", "GREEN", "light"),
        Transition("RED", "GREEN", "light"),
        Transition("GREEN", "RED", "light"),
        Transition("RED", "GREEN", "switch"),
        Transition("RED", "", "drop"),
        Transition("GREEN", "", "drop"),
    )
    assert states_of(Lamp, "power") == ("off", "on")
    assert states_of(Lamp, "name") == states_of(Lamp, "nothing") == ()


@pytest.mark.parametrize(
    ("moves", "field", "what"),
    [
        ({"light": "-> BLUE"}, "colour", "BLUE is not a state"),
        ({"light": "RED"}, "colour", "is not of the form"),
        ({"light": "RED -> GREEN -> RED"}, "colour", "is not of the form"),
        ({"light": "->"}, "colour", "is not of the form"),
        ({"light": ("-> RED", "-> RED")}, "colour", "declared twice"),
        ({"light": "-> RED"}, "name", "has no states"),
        ({"shine": "-> RED"}, "colour", "has no command and exports no function shine"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_declared(moves: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(DeclarationError, match=what):
        make(moves, field=field)


def test_a_machine_is_declared_once_and_of_the_modules_own_record() -> None:
    lamps, user = make(WHOLE)
    with pytest.raises(DeclarationError, match="twice"):
        lamps.state_machine(Lamp, "power", {})
    with pytest.raises(DeclarationError, match="user keeps no Lamp"):
        user.state_machine(Lamp, "colour", {})


def test_the_description_joins_what_makes_the_same_move() -> None:
    lamps, _ = make(WHOLE)
    assert describe_module(lamps)["entities"]["lamp"]["states"] == {
        "field": "colour",
        "values": ["RED", "GREEN"],
        "transitions": [
            {"from": "", "to": "RED", "by": ["light"]},
            {"from": "", "to": "GREEN", "by": ["light"]},
            {"from": "RED", "to": "GREEN", "by": ["light", "switch"]},
            {"from": "GREEN", "to": "RED", "by": ["light"]},
            {"from": "RED", "to": "", "by": ["drop"]},
            {"from": "GREEN", "to": "", "by": ["drop"]},
        ],
    }
    assert "states" not in describe_module(make({})[0])["entities"]["lamp"]


# -- what the kit sees -----------------------------------------------------------------------------------------------


def kit_of(moves: dict[str, Any]) -> ModuleKit:
    return ModuleKit(make(moves), {"anna": ("gz", ["member"])})


def met(kit: ModuleKit) -> set[str]:
    assert all(move.module == "lamps" and move.collection == "lamp" for move in kit.moves)
    return {str(move.transition) for move in kit.moves}


def test_the_kit_meets_each_move_of_a_block_by_what_made_it() -> None:
    kit = kit_of(WHOLE)
    calls = [
        kit.call("anna", "light", {"name": "a"}),
        kit.call("anna", "use", {"name": "a"}, module="user"),
        kit.call("anna", "drop", {"name": "a"}),
    ]
    assert [receipt.code for receipt in kit.block(*calls)] == [0, 0, 0]
    assert met(kit) == {"(new) -> RED by light", "RED -> GREEN by switch", "GREEN -> (deleted) by drop"}


def test_what_failed_what_came_back_and_what_was_not_there_are_no_moves() -> None:
    kit = kit_of({"light": "-> RED"})
    assert kit.run("anna", "light", {"name": "a", "colour": "GREEN", "fails": True}).reason == "E_NO"
    assert kit.run("anna", "light", {"name": "a"}).code == 0
    assert kit.run("anna", "blink", {"name": "a"}).code == 0
    assert kit.run("anna", "drop", {"name": "b"}).code == 0
    assert met(kit) == {"(new) -> RED by light"}


@pytest.mark.parametrize(
    ("module", "command", "what"),
    [
        ("lamps", "drop", "lamps.lamp: RED -> .deleted. by drop is not declared; .* add it to the state machine"),
        ("user", "use", "lamps.lamp: RED -> GREEN by switch is not declared"),
    ],
)
def test_a_move_that_is_not_declared_fails_the_test_that_makes_it(module: str, command: str, what: str) -> None:
    kit = kit_of({"light": "-> RED"})
    kit.run("anna", "light", {"name": "a"})
    with pytest.raises(AssertionError, match=what):
        kit.run("anna", command, {"name": "a"}, module=module)


def test_a_module_without_state_machines_moves_as_it_likes() -> None:
    kit = kit_of({})
    for command in ("light", "blink", "drop"):
        assert kit.run("anna", command, {"name": "a"}).code == 0
    assert kit.moves == frozenset()
    assert Move("lamps", "lamp", Transition("", "RED", "light")) not in kit.moves
