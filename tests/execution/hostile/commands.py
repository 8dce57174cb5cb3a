"""A channel module that misbehaves in every way that lint lets through; the tests copy it into a package of its own."""

from __future__ import annotations

import re
from typing import Literal

from dawan_node.execution.module import ANY_ROLE, Args, Context, Entity, Module, Page, Params, QueryContext, key_of
from dawan_node.modules.receivable import module as receivable

_DIGITS = re.compile("[0-9]*[0-9]*[0-9]*x")


class Mark(Entity, collection="mark", schema=1):
    """What an honest command leaves."""

    name: str
    count: int

    indexes = {"by_name": lambda mark: [(mark.name,)]}  # noqa: RUF012

    def primary_key(self) -> bytes:
        return key_of(self.name)


class Behave(Args):
    """How."""

    how: Literal[
        "honest", "loop", "nested", "comprehension", "generator", "lambda", "mutual", "text", "list", "number", "power",
        "shift", "range", "sum", "join", "replace", "rjust", "zeros", "fstring", "spread", "pattern", "search",
        "doubling", "swallow", "raise", "divide", "index", "namespace", "foreign", "shown", "alias",
    ]  # fmt: skip


module = Module("hostile", version=1, entities=(Mark,), errors={"E_OWN": "Its own."}, uses=("receivable",))


@module.command("behave", args=Behave, roles=ANY_ROLE)
def behave(ctx: Context, args: Behave) -> None:
    """Write something, then misbehave as asked."""
    ctx.put(Mark("before", 1))
    if args.how == "honest":
        _honest(ctx)
    elif args.how in ("loop", "nested", "comprehension", "generator", "lambda", "mutual", "swallow"):
        _run_long(ctx, args.how)
    elif args.how in ("raise", "divide", "index", "namespace", "foreign", "shown", "alias"):
        _break(ctx, args.how)
    else:
        _grow(ctx, args.how)


def _honest(ctx: Context) -> None:
    names = [f"m{number:03}" for number in range(20)]
    for name in names:
        ctx.put(Mark(name, sum(ord(letter) for letter in name)))
    joined = "-".join(reversed(names)).replace("m", "n")
    ctx.put(Mark(joined[:8], len(dict.fromkeys(names, True)) * 3 + 2**5 % 7))


def _run_long(ctx: Context, how: str) -> None:
    big = range(60_000)
    match how:
        case "loop":
            for _ in big:
                for _ in big:
                    pass
        case "nested":
            for a in big:
                ctx.require(not [b for b in big if a == b + 1 and b < 0], "E_OWN")
        case "comprehension":
            _ = [a for a in big for b in big]
        case "generator":
            _ = sum(a * b for a in big for b in big)
        case "lambda":
            deeper = [lambda n: n]
            deeper[0] = lambda n: deeper[0](n + 1)
            deeper[0](0)
        case "mutual":
            _Ping.ping(0)
        case "swallow":
            for _ in big:
                for _ in big:
                    try:  # noqa: SIM105 - as a module would
                        ctx.get(Mark, b"none")
                    except (ValueError, TypeError, LookupError):
                        pass


class _Ping:
    """Recursion that lint does not see: it goes through classes."""

    @staticmethod
    def ping(n: int) -> int:
        return _Pong.pong(n + 1)


class _Pong:
    @staticmethod
    def pong(n: int) -> int:
        return _Ping.ping(n + 1)


def _grow(ctx: Context, how: str) -> None:
    billion = 10**9
    match how:
        case "text":
            _ = "x" * billion
        case "list":
            _ = [0] * billion
        case "number":
            number = 3
            for _ in range(64):
                number = number * number
        case "power":
            _ = 7**1_000_000_000
        case "shift":
            _ = 1 << billion
        case "range":
            _ = list(range(billion))
        case "sum":
            _ = sum(range(billion * billion * billion))
        case "join":
            _ = ("x" * 1_000_000).join(["y"] * 60_000)
        case "replace":
            _ = ("x" * 1_000_000).replace("x", "y" * 1_000_000)
        case "rjust":
            _ = "x".rjust(billion)
        case "zeros":
            _ = bytes(billion)
        case "fstring":
            text = "x"
            for _ in range(64):
                text = f"{text}{text}"
        case "spread":
            row = [1]
            for _ in range(64):
                row = [*row, *row]
        case "pattern":
            _ = _DIGITS.match("1" * 4_000)
        case "search":
            row = list(range(60_000))
            for number in row:
                ctx.require(number in row and -1 not in row, "E_OWN")
        case "doubling":
            text = "x"
            for _ in range(64):
                text += text


def _break(ctx: Context, how: str) -> None:
    match how:
        case "raise":
            raise ValueError("text that must not reach the chain")
        case "divide":
            _ = 1 // (ctx.height - ctx.height)
        case "index":
            _ = ()[ctx.height]
        case "namespace":
            # Another module's entity by a detour that lint does not see.
            ctx.delete(receivable.entities["invoice"], key_of("1"))
        case "foreign":
            ctx.call("kernel", "anything")
        case "shown":
            _ = f"{ctx}"
        case "alias":
            kind = type(b"")  # noqa: UP003 - the detour is the point
            _ = kind(10**9)


class Nothing(Params):
    """No parameters."""


@module.query("endless", params=Nothing, item=Mark)
def endless(ctx: QueryContext, params: Nothing, limit: int, cursor: bytes | None) -> Page[Mark]:
    """Never answers."""
    for _ in range(60_000):
        for _ in range(60_000):
            pass
    return Page((), None)
