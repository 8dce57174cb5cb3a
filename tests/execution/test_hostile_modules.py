"""Modules that would differ between nodes, never end, take all memory or reach beyond themselves (reliability H5, H6).

They come in a package of their own, found by entry point as a member's would be. The first wall is lint, without which
nothing is loaded; the second counts and refuses while it runs. Both are tried here alone.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest

from dawan_node.execution import guard
from dawan_node.execution.executor import InvalidQuery
from dawan_node.execution.loading import ModuleRefused, guard_package
from dawan_node.execution.module import Module
from dawan_node.execution.registry import load_module
from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import ModuleKit

HOSTILE = Path(__file__).with_name("hostile") / "commands.py"
PEOPLE = {"anna": ("gz", ["clerk"])}
NUMBERS = itertools.count()

#: What each kind of misbehaviour comes to, on every node.
VERDICTS = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "loop", "nested", "comprehension", "generator", "lambda", "mutual", "swallow", "text", "list", "number",
                "power", "shift", "range", "sum", "join", "replace", "rjust", "zeros", "fstring", "spread", "pattern",
                "search", "doubling", "alias",
            ),
            Code.E_BUDGET,
        ),
        **dict.fromkeys(("raise", "divide", "index", "shown"), Code.E_MODULE_FAULT),
        **dict.fromkeys(("namespace", "foreign"), Code.E_NAMESPACE),
    }
)  # fmt: skip

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lay a package with an entry point where Python looks for both; returns the package's name."""

    def lay(source: str, name: str = "hostile") -> str:
        package = f"dawan_hostile_{next(NUMBERS)}"
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").write_text(source)
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[dawan_node.modules]\n{name} = {package}:module\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        return package

    return lay


@pytest.fixture
def kit(install: Install) -> ModuleKit:
    install(HOSTILE.read_text())
    return ModuleKit([load_module("hostile", 1), load_module("receivable", 1)], PEOPLE)


# -- what passes lint and misbehaves when it runs ------------------------------------------------------------------


@pytest.mark.parametrize("how", VERDICTS)
def test_a_poison_transaction_fails_by_count_and_its_neighbours_stand(kit: ModuleKit, how: str) -> None:
    before = kit.run("anna", "behave", {"how": "honest"})
    assert before.code == 0
    root = {key: value for key, value in kit.state.values.items() if key[0] == "hostile"}
    began = time.process_time()
    first, poisoned, last = kit.block(
        *[kit.call("anna", "behave", {"how": each}) for each in ("honest", how, "honest")]
    )
    assert time.process_time() - began < 5, "the budget of one transaction is some tenth of a second of work"
    assert (first.code, poisoned.code, last.code) == (0, VERDICTS[how], 0)
    assert (poisoned.reason, poisoned.events) == (VERDICTS[how].name, [])
    assert {key: value for key, value in kit.state.values.items() if key[0] == "hostile"} == root


def test_a_query_that_never_ends_is_refused(kit: ModuleKit) -> None:
    with pytest.raises(InvalidQuery, match="too many steps"):
        kit.query("endless")


def test_the_work_of_a_transaction_is_the_channels_parameter_and_counted_exactly(install: Install) -> None:
    install(_counting())
    module = load_module("hostile", 1)
    for turns, code in ((16 * 3 - 1, 0), (16 * 3, Code.E_BUDGET)):
        # One unit is the command's own entry.
        kit = ModuleKit([module], PEOPLE, params={"tx_steps_max": 3})
        assert kit.run("anna", "count", {"turns": turns}).code == code


def test_what_a_poisoned_block_comes_to_is_the_same_in_unlike_processes(install: Install, tmp_path: Path) -> None:
    install(HOSTILE.read_text())
    script = (
        "import json\n"
        "from dawan_node.execution.registry import load_module\n"
        "from dawan_node.testing.module_kit import ModuleKit\n"
        "kit = ModuleKit([load_module(n, 1) for n in ('hostile', 'receivable')], {'anna': ('gz', ['clerk'])})\n"
        f"for how in {['honest', *VERDICTS]!r}:\n"
        "    receipt = kit.run('anna', 'behave', {'how': how})\n"
        "    print(json.dumps([how, receipt.code, kit.state_root.hex()]))\n"
    )
    worlds = (
        {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "2", "TZ": "Asia/Macau", "LC_ALL": "C.UTF-8", "PYTHONINTMAXSTRDIGITS": "0"},
    )
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(tmp_path), str(root)])
    told = []
    for number, world in enumerate(worlds):
        place = tmp_path / f"world{number}"
        place.mkdir()
        told.append(
            subprocess.run(
                [sys.executable, "-c", script], cwd=place, env={**os.environ, "PYTHONPATH": path, **world},
                capture_output=True, text=True, check=True,
            ).stdout.splitlines()
        )  # fmt: skip
    assert told[0] == told[1]
    assert [json.loads(line)[:2] for line in told[0]] == [
        ["honest", 0],
        *([how, int(code)] for how, code in VERDICTS.items()),
    ]


# -- what lint does not let through --------------------------------------------------------------------------------

HEAD = """
from dawan_node.execution.module import ANY_ROLE, Args, Context, Entity, Module, key_of
class Mark(Entity, collection="mark", schema=1):
    name: str
    count: int
    def primary_key(self): return key_of(self.name)
class Nothing(Args):
    pass
class Count(Args):
    turns: int
module = Module("hostile", version=1, entities=(Mark,), errors={"E_OWN": "Its own."})
"""


def command(body: str, head: str = "") -> str:
    """A module with one command ``behave`` that writes and then does ``body``."""
    return "\n".join(
        [
            head,
            HEAD,
            "@module.command('behave', args=Nothing, roles=ANY_ROLE)",
            "def behave(ctx, args):",
            "    ctx.put(Mark('before', 1))",
            *(f"    {line}" for line in body.splitlines()),
            "",
        ]
    )


def _counting() -> str:
    """A module with one command that turns in a loop as often as asked."""
    return "\n".join(
        [
            HEAD,
            "@module.command('count', args=Count, roles=ANY_ROLE)",
            "def count(ctx, args):",
            "    for _ in range(args.turns):",
            "        pass",
            "",
        ]
    )


#: Head, body, lint's code.
FORBIDDEN = MappingProxyType(
    {
        "time": ("import time", "ctx.put(Mark('t', int(time.time())))", "M101"),
        "random": ("import random", "ctx.put(Mark('r', random.randrange(9)))", "M101"),
        "datetime": ("from datetime import datetime", "ctx.put(Mark(str(datetime.now()), 1))", "M101"),
        "locale": ("import locale", "ctx.put(Mark(str(locale.getlocale()), 1))", "M101"),
        "threads": ("import threading", "threading.Thread(target=print).start()", "M101"),
        "environment": ("import os", "ctx.put(Mark(os.environ['TZ'], 1))", "M101"),
        "working folder": ("import os", "ctx.put(Mark(os.getcwd(), 1))", "M101"),
        "exit": ("import sys", "sys.exit(3)", "M101"),
        "late import": ("", "import socket\nsocket.socket()", "M101"),
        "import of an import": ("", "from dawan_node.execution.module import re\nre.sys.exit(3)", "M101"),
        "set order": ("", "for name in {'a', 'b', 'c'}:\n    ctx.put(Mark('s', ord(name)))", "M106"),
        "set as a list": ("", "ctx.put(Mark(list({'a', 'b', 'c'})[0], 1))", "M106"),
        "hash": ("", "ctx.put(Mark('h', hash('text') % 2**62))", "M105"),
        "id": ("", "ctx.put(Mark('i', id(ctx)))", "M105"),
        "float": ("", "ctx.put(Mark('f', int(0.1 * 3 * 10)))", "M102"),
        "division": ("", "ctx.put(Mark('d', int(1 / 3)))", "M103"),
        "recursion": ("", "def deeper(n):\n    return deeper(n + 1)\ndeeper(0)", "M202"),
        "endless": ("", "while True:\n    pass", "M201"),
        "system exit": ("", "raise SystemExit(3)", "M403"),
        "interrupt": ("", "raise KeyboardInterrupt", "M403"),
        "every exception": ("", "class Mine(BaseException):\n    pass\nraise Mine", "M403"),
        "swallowing": ("", "try:\n    ctx.fail('E_OWN')\nexcept:\n    pass\nctx.put(Mark(1, 1))", "M401"),
        "monkeypatch": ("", "Context.put = None", "M302"),
        "state outside": ("SEEN = []", "SEEN.append(1)\nctx.put(Mark('n', len(SEEN)))\n1 // 0", "M301"),
        "files": ("", "open('/etc/passwd')", "M105"),
        "dunder": ("", "().__class__.__base__.__subclasses__()[0]", "M109"),
        "format": ("", "ctx.put(Mark('{0.__class__}'.format(ctx), 1))", "M204"),
        "getattr": ("", "getattr(ctx, '_layer').commit()", "M108"),
        "eval": ("", "eval('1')", "M108"),
        "backtracking": ("import re", "re.compile('(a+)+b').match('a' * 64)", "M203"),
        "computed width": ("", "ctx.put(Mark(f'{1:{10**9}}', 1))", "M204"),
    }
)  # fmt: skip


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_lint_names_it_and_no_node_loads_it(install: Install, kind: str) -> None:
    head, body, code = FORBIDDEN[kind]
    install(command(body, head))
    with pytest.raises(ModuleRefused, match=code) as caught:
        load_module("hostile", 1)
    assert "__init__.py:" in str(caught.value)


@pytest.mark.parametrize(
    "kind", sorted(FORBIDDEN.keys() - {"state outside", "format", "backtracking", "float", "swallowing"})
)
def test_behind_lint_it_is_a_failed_receipt(install: Install, kind: str) -> None:
    """As if a developer had found a spelling that lint does not know; what remains open is listed in the page."""
    head, body, _ = FORBIDDEN[kind]
    # Imports that the loader refuses at once are tried where it is too late for that.
    package = install(command(f"{head}\n{body}" if head.startswith(("import", "from")) else body, ""))
    guard_package(package, is_linted=False)
    module = importlib.import_module(package).module
    assert isinstance(module, Module)
    kit = ModuleKit([module], PEOPLE)
    receipt = kit.run("anna", "behave")
    assert receipt.code in (Code.E_MODULE_FAULT, Code.E_BUDGET)
    assert not [key for key in kit.state.values if key[0] == "hostile"]


@pytest.mark.parametrize(
    "source",
    [
        f"{HEAD}\nfor _ in range(60_000):\n    for _ in range(60_000):\n        pass",
        f"{HEAD}\nraise ValueError",
        f"{HEAD}\nx = [0] * 10**9",
        f"{HEAD}\ndef f(): return g()\ndef g(): return h()\nx = f()",
        "module = 5",
        "def broken(:",
        "import nowhere",
    ],
)
def test_what_a_file_does_while_it_is_imported_is_bounded_too(install: Install, source: str) -> None:
    install(source)
    with pytest.raises(ModuleRefused):
        load_module("hostile", 1)


def test_a_compiled_file_or_a_package_imported_before_is_refused(install: Install, tmp_path: Path) -> None:
    package = install("from . import hidden\nmodule = hidden.module")
    (tmp_path / package / "hidden.pyc").write_bytes(b"not source")
    with pytest.raises(ModuleRefused):
        load_module("hostile", 1)
    early = install(_counting(), "early")
    importlib.import_module(early)
    with pytest.raises(ModuleRefused, match="before it could be guarded"):
        load_module("early", 1)


def test_a_package_cannot_take_the_place_of_a_built_in_module(install: Install) -> None:
    install(_counting(), "governance")
    assert load_module("governance", 1).entities.keys() >= {"identity"}


def test_two_packages_with_one_module_are_refused(install: Install) -> None:
    install(_counting())
    install(_counting())
    with pytest.raises(ModuleRefused.__bases__[0], match="several installed packages"):
        load_module("hostile", 1)


# -- the executor alone, as with a module of the node itself -------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, type("Mine", (BaseException,), {})])
def test_whatever_a_command_raises_is_its_own_receipt(install: Install, error: type[BaseException]) -> None:
    install(_counting())
    kit = ModuleKit([load_module("hostile", 1)], PEOPLE)
    module = kit.executor.registry.modules["hostile"]

    def quit_(ctx: object, args: object) -> None:
        raise error

    found = kit.executor.registry._commands["hostile", "count"]
    kit.executor.registry._commands["hostile", "count"] = (
        module,
        type(found[1])("count", found[1].args, (), quit_, ""),
    )
    assert kit.run("anna", "count", {"turns": 1}).code == Code.E_MODULE_FAULT


def test_the_limits_are_far_above_what_honest_modules_need_and_below_what_a_node_holds() -> None:
    assert guard.TEXT_MAX >= 2 * 64 * 1024  # a transaction, decoded and put together again
    assert guard.ITEMS_MAX >= 1_024  # an array in arguments (formats A.1)
    assert guard.INT_BITS_MAX >= 4 * 63  # products of amounts and rates
