"""A module that may use another works on channels with and without it, and calls nothing it did not declare."""

from __future__ import annotations

import pytest

from dawan_node.execution.module import Args, Context, Entity, Module, key_of
from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import ModuleKit


class Fact(Entity, collection="fact", schema=1, exported=True):
    name: str

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Ask(Args):
    guarded: bool


register = Module("register", version=1, entities=(Fact,))


@register.export("answer")
def answer(ctx: Context) -> str:
    """What the register knows."""
    return "known"


def asking(name: str, may_use: tuple[str, ...]) -> Module:
    made = Module(name, version=1, entities=(), errors={"E_ABSENT": "No register."}, may_use=may_use)

    @made.command("ask", args=Ask, roles=())
    def ask(ctx: Context, args: Ask) -> None:
        """Ask the register, after looking whether there is one or without."""
        ctx.require(not args.guarded or ctx.runs("register"), "E_ABSENT")
        assert ctx.call("register", "answer") == "known"
        assert ctx.get(Fact, b"none") is None

    return made


@pytest.mark.parametrize(
    ("may_use", "with_register", "guarded", "code"),
    [
        (("register",), True, True, 0),
        (("register",), False, True, 3),
        (("register",), False, False, Code.E_NAMESPACE),
        ((), True, True, Code.E_NAMESPACE),
    ],
)
def test_a_module_calls_another_where_it_may_and_the_channel_runs_it(
    may_use: tuple[str, ...], with_register: bool, guarded: bool, code: int
) -> None:
    kit = ModuleKit([asking("asking", may_use), *([register] if with_register else [])], {"anna": ("gz", ["supplier"])})
    assert kit.run("anna", "ask", {"guarded": guarded}).code == code
