"""What guarded code may not do with values, one function each: all of it loads, unless lint or the loader says no.

Each source here once loaded and gave another result in another process, or worked without being counted.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Annotated, Any

import pytest

from dawan_node.execution.executor import InvalidQuery
from dawan_node.execution.layers import ModuleFault, OutOfSteps
from dawan_node.execution.lint import lint_source
from dawan_node.execution.loading import ModuleRefused, guard_package, load_guarded
from dawan_node.execution.meter import Metered, limited
from dawan_node.execution.module import Args, DeclarationError, Meta, Module
from dawan_node.execution.registry import load_module
from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import ModuleKit
from tests.execution.test_hostile_modules import HEAD, PEOPLE, Install, install

__all__ = ["install"]

NUMBERS = itertools.count()
WORK = 160_000

Load = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a source as a guarded package."""

    def lay(source: str, *, is_linted: bool = True) -> ModuleType:
        package = f"dawan_hostile_values_{next(NUMBERS)}"
        (tmp_path / f"{package}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        guard_package(package, is_linted=is_linted)
        return importlib.import_module(package)

    return lay


def attempt(load: Load, source: str, *arguments: Any, is_linted: bool = True) -> Any:
    found = load(source, is_linted=is_linted)
    return limited(WORK, lambda: found.f(*arguments))


NAMES = frozenset({"alpha", "beta", "gamma"})
PAIRS = frozenset({("a", 1), ("b", 2)})

#: Source, argument.
ORDERS: MappingProxyType[str, tuple[str, Any]] = MappingProxyType(
    {
        "added in place": ("def f(s):\n    xs = []\n    xs += s\n    return xs", NAMES),
        "written in a list": ("def f(s): return f'{[s]}'", NAMES),
        "written in a dict": ("def f(s): return str({'a': (s,)})", NAMES),
        "written in a struct": (
            "import msgspec\nclass S(msgspec.Struct):\n    a: int\ndef f(s): return f'{S(s)}'",
            NAMES,
        ),
        "written in a dataclass": (
            "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass S:\n    a: int\n"
            "def f(s): return repr(S(s))",
            NAMES,
        ),
        "taken apart in a loop": ("def f(s):\n    for a, b, c in [s]:\n        return a", NAMES),
        "taken apart in a comprehension": ("def f(s): return [a for a, b, c in [s]]", NAMES),
        "taken apart inside": ("def f(s):\n    (a, b, c), d = s, 1\n    return a", NAMES),
        "taken apart inside a loop": ("def f(s):\n    for (a, *b), c in [(s, 1)]:\n        return a", NAMES),
        "taken apart after a star": ("def f(s):\n    *a, (b, c, d) = [1, 2, s]\n    return b", NAMES),
        "added up": ("def f(s): return sum(s, ())", PAIRS),
        "updated from": ("def f(s):\n    d = {}\n    d.update(s)\n    return list(d)", PAIRS),
        "updated from pairs": ("def f(s):\n    d = {}\n    d.update([s])\n    return list(d)", frozenset("ab")),
        "made of pairs": ("def f(s): return list(dict([s]))", frozenset("ab")),
        "merged in place": ("def f(s):\n    d = {}\n    d |= s\n    return list(d)", PAIRS),
        "keys of a dict": ("def f(s): return list({}.fromkeys(s))", NAMES),
        "under another name": ("class H:\n    of = tuple\ndef f(s): return H.of(s)", NAMES),
        "under a method's name": ("class H:\n    index = tuple\ndef f(s): return H.index(s)", NAMES),
        "another function": ("class H:\n    of = enumerate\ndef f(s): return H.of(s)", NAMES),
        "sets in order": ("def f(s): return sorted(s)", frozenset({frozenset("a"), frozenset("b")})),
        "in of a class": (
            "from enum import StrEnum\nclass S(StrEnum):\n    A = 'A'\ndef f(s): return 'A' in S",
            None,
        ),
        "an exception's text": (
            "def f(s):\n    try:\n        return int('x')\n    except ValueError as error:\n        return f'{error}'",
            None,
        ),
        "a generator": ("def f(s): return f'{(x for x in [1])}'", None),
    }
)  # fmt: skip


@pytest.mark.parametrize("how", ORDERS)
def test_what_shows_the_process_is_refused(load: Load, how: str) -> None:
    source, argument = ORDERS[how]
    with pytest.raises(ModuleFault):
        attempt(load, source, argument)


@pytest.mark.parametrize(
    ("source", "argument", "result"),
    [
        ("def f(s):\n    (a, b), c = s\n    return a, b, c", ((1, 2), {3}), (1, 2, {3})),
        ("def f(s):\n    a, *b, (c, d) = s\n    return a, b, c, d", [1, {2}, {3}, (4, 5)], (1, [{2}, {3}], 4, 5)),
        ("def f(s): return [a + b + c for a, (b, c) in s.items()]", {1: (2, 3)}, [6]),
        ("def f(s):\n    a, b = s, 1\n    return a", {1}, {1}),
        ("def f(s): return f'{[1, (2, None)]} {s}'", {"a": b"b"}, "[1, (2, None)] {'a': b'b'}"),
        ("def f(s): return sum(s), sum([[1], [2]], [])", {1, 2}, (3, [1, 2])),
        ("def f(s):\n    t = s\n    t |= {2}\n    t -= {1}\n    return s", {1}, {2}),
        ("def f(s):\n    d = {}\n    d.update(s, c=3)\n    d |= {'d': 4}\n    return d | {'e': 5}", {"b": 2},
         {"b": 2, "c": 3, "d": 4, "e": 5}),
        ("def f(s): return (s | {3}, s & {1}, s - {1}, s ^ {1}, 7 - 2, 6 | 1)", {1, 2},
         ({1, 2, 3}, {1}, {2}, {2}, 5, 7)),
        ("class H:\n    of = tuple\n    error = ValueError\ndef f(s): return H.of(s), bool(H.error())",
         [1], ((1,), True)),
        ("def f(s): return int.from_bytes(s, 'big'), pow(3, 4, 5)", b"\1\0", (256, 1)),
        ("class H:\n    @staticmethod\n    def g(**named): return named\ndef f(s): return H.g(name=s, owner=s)", 1,
         {"name": 1, "owner": 1}),
        ("from msgspec import structs\nimport msgspec\nclass S(msgspec.Struct):\n    a: int\n"
         "def f(s): return structs.replace(S(s), a=2).a, msgspec.structs.astuple(S(s))", 1, (2, (1,))),
    ],
)  # fmt: skip
def test_honest_code_computes_what_it_always_did(load: Load, source: str, argument: Any, result: Any) -> None:
    assert attempt(load, source, argument) == result


@pytest.mark.parametrize(
    ("source", "argument"),
    [
        ("def f(n): return int.from_bytes(bytes(600), 'big')", 0),
        ("def f(n): return pow(3, 65537, n)", 1 << 9_000),
        ("def f(n): return n + 1", 1 << 9_000),
        (
            "def f(n):\n    seen = frozenset()\n    for x in range(n):\n        seen = seen | {x}",
            4_000,
        ),
        ("def f(n):\n    s = set(range(n))\n    for x in range(n):\n        t = s - {x}\n    return t", 4_000),
        ("def f(n):\n    m = {}\n    for i in range(n):\n        m[i] = -1 in m.values()\n    return m", 4_000),
        ("def f(n): return f'{n}'", 1 << 9_000),
    ],
)
def test_work_that_was_not_counted_is(load: Load, source: str, argument: Any) -> None:
    with pytest.raises(OutOfSteps):
        attempt(load, source, argument)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("class Names(list):\n    pass", "M405"),
        ("class A:\n    __eq__ = lambda self, other: True", "M405"),
        ("import dataclasses as d", "M108"),
        ("CATCH = (Exception,)", "M401"),
        ("def f(ctx):\n    try:\n        ctx.fail('E_X')\n    finally:\n        raise ValueError", "M402"),
        ("def f():\n    try:\n        pass\n    except ValueError as e:\n        return e.args", "M105"),
        (r"import re" "\n" r"P = re.compile(r'\w+')", "M107"),
        ("import re\nP = re.compile('(?i:a)')", "M107"),
        ("from dawan_node.execution.module import Meta\nM = Meta(pattern='^(a+)+$')", "M203"),
        ("def f(a):\n    a['b'] |= {1}", "M204"),
        ("def f[T](a: T) -> T:\n    return a", "M900"),
    ],
)  # fmt: skip
def test_lint_finds_it(source: str, code: str) -> None:
    assert [finding.code for finding in lint_source(source, "own")] == [code]


def test_lint_leaves_alone_what_is_like_it() -> None:
    source = (
        "import re\nfrom enum import StrEnum\nclass Mine(Exception):\n    __slots__ = ()\n"
        "P = re.compile(r'\\w+', re.ASCII)\nQ = re.compile(r'\\\\w\\.')\n"
        "class S(StrEnum):\n    A = 'a'\ndef f():\n    raise Exception('x')\n"
    )
    assert lint_source(source, "own") == []


@pytest.mark.parametrize(
    "source",
    [
        "import dataclasses as d\ndef f(): return d.sys.modules",
        "from dawan_node.primitives import names\ndef f(): return names.re",
        "import re\ndef f(): return re.enum",
        "import typing\ndef f(): return typing.sys",
        "from msgspec import inspect\ndef f(): return inspect",
        "from dawan_node.execution.module import msgspec\ndef f(): return msgspec.inspect",
    ],
)
def test_no_import_leads_further_than_it_says(load: Load, source: str) -> None:
    with pytest.raises((ImportError, AttributeError)):
        attempt(load, source, is_linted=False)


@pytest.mark.parametrize(
    "head",
    [
        "from dataclasses import dataclass\n@dataclass\nclass C:\n    n: int\n    def u(self): self.n += 1\nC = C(0)",
        "class C:\n    def bump(self): self.n = 1\nCOUNT = C()",
        "TABLE = {'a': {}}\ndef f():\n    row = TABLE['a']\n    row['x'] = 1",
        "ROWS = ([1],)",
        "from types import MappingProxyType\nROWS = MappingProxyType({'a': [1]})",
        "class C:\n    rows = {}",
        "R = ()\nfor _ in range(64):\n    R = (R, R)",
        "NUMBERS = (x for x in (1, 2, 3))",
        "def make():\n    seen = []\n    def g(): seen.append(1)\n    return g\nG = make()",
    ],
)
def test_a_package_that_could_keep_state_is_not_loaded(install: Install, head: str) -> None:
    install(f"{head}\n{HEAD}")
    with pytest.raises(ModuleRefused, match=r"which can change|more than"):
        load_module("hostile", 1)


def test_a_package_may_hold_what_cannot_change(install: Install) -> None:
    head = (
        "from dataclasses import dataclass\nfrom enum import StrEnum\nfrom types import MappingProxyType\n"
        "__all__ = ['module']\n@dataclass(frozen=True)\nclass C:\n    n: int = 0\nCOUNT = C()\n"
        "class S(StrEnum):\n    A = 'a'\nTABLE = MappingProxyType({'a': (1, S.A, COUNT)})\nNAMES = frozenset({'a'})\n"
    )
    indexed = "class More(Entity, collection='more', schema=1):\n    n: str\n    indexes = {'by': lambda m: [(m.n,)]}\n"
    install(f"{head}{HEAD}{indexed}")
    assert load_module("hostile", 1).name == "hostile"


def test_the_indexes_of_an_entity_keep_nothing(install: Install) -> None:
    write = "@module.command('behave', args=Nothing, roles=ANY_ROLE)\ndef behave(ctx, args):\n"
    more = "class Other(Entity, collection='other', schema=1):\n    n: str\n    indexes = {'by': lambda m: [(m.n,)]}\n"
    for kind in ("Other", "Mark"):
        head = HEAD + more + "    def primary_key(self): return key_of(self.n)\n"
        head = head + "module = Module('hostile', version=1, entities=(Mark, Other))\n"
        package = install(f"{head}{write}    kept = {kind}.indexes\n    kept['n'] = kept\n")
        kit = ModuleKit([load_guarded(f"{package}:module")], PEOPLE)
        assert kit.run("anna", "behave").code == Code.E_MODULE_FAULT


def test_a_command_that_is_a_method_is_counted_too(install: Install) -> None:
    loops = "        for _ in range(60_000):\n            for _ in range(60_000):\n                pass\n"
    package = install(
        f"{HEAD}class C:\n    def run(self, ctx, args):\n{loops}"
        "module.command('behave', args=Nothing, roles=ANY_ROLE)(C().run)\n"
    )
    module = load_guarded(f"{package}:module")
    assert isinstance(module, Module) and isinstance(module.commands["behave"].function, Metered)
    assert ModuleKit([module], PEOPLE).run("anna", "behave").code == Code.E_BUDGET


def test_a_query_that_fails_in_any_way_is_an_answer(install: Install) -> None:
    query = (
        "from dawan_node.execution.module import Page, Params\nclass No(Params):\n    pass\n"
        "@module.query('ends', params=No, item=Mark)\ndef ends(ctx, params, limit, cursor):\n    raise StopIteration\n"
        "@module.query('nothing', params=No, item=Mark)\ndef nothing(ctx, params, limit, cursor):\n    return None\n"
    )
    install(f"{HEAD}{query}")
    kit = ModuleKit([load_module("hostile", 1)], PEOPLE)
    for name in ("ends", "nothing"):
        with pytest.raises(InvalidQuery, match="the module failed"):
            kit.query(name)


@pytest.mark.parametrize(
    ("pattern", "longest"),
    [("^(a+)+$", None), ("[A-Z]+[0-9]$", None), ("^a|[A-Z]+[0-9]$", None), ("^[A-Z]*[0-9]*x$", 4_000)],
)
def test_a_field_whose_pattern_may_take_long_is_not_declared(pattern: str, longest: int | None) -> None:
    field = Annotated[str, Meta(pattern=pattern, max_length=longest)]
    for kind in (field, list[field], dict[field, int]):  # type: ignore[valid-type]
        args = type(Args)("A", (Args,), {"__annotations__": {"text": kind}, "__module__": __name__})
        with pytest.raises(DeclarationError, match="pattern"):
            Module("m", version=1, entities=()).command("a", args=args, roles=())


def test_a_field_may_have_a_pattern_whose_work_is_bounded() -> None:
    for meta in (Meta(pattern="^[a-z]+$"), Meta(pattern="[A-Z]+[0-9]$", max_length=60), Meta(pattern="^(?:a|b|c+)$")):
        args = type(Args)("A", (Args,), {"__annotations__": {"text": Annotated[str, meta]}, "__module__": __name__})
        Module("m", version=1, entities=()).command("a", args=args, roles=())
