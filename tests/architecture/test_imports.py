"""Who may import whom (README, architecture; design section 3).

The rules are read from the syntax trees, so an import inside a function counts like one at the top, and one under
``if TYPE_CHECKING`` too: a name that is only needed for types still ties two parts together.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.syntax import source_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dawan_node"
FILES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the package, beside itself. A part is a folder or a single file below dawan_node.
CRYPTO = {"errors"}
PRIMITIVES = CRYPTO | {"crypto"}
CORE = PRIMITIVES | {"primitives"}
CORES = {"consensus", "mempool", "execution", "sync", "storage", "p2p", "rpc"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    # Places where tests kill a node; what writes to disk or to peers names them.
    "failpoints": set(),
    "crypto": CRYPTO,
    "primitives": PRIMITIVES,
    **dict.fromkeys(CORES, CORE),
    "storage": CORE | {"failpoints"},
    # Stands beside the pool it watches: the pool itself knows nothing of primaries.
    "mempool_watch": CORE | {"mempool"},
    "client_window": set(),
    "light": PRIMITIVES | {"primitives"},
    "modules": {"execution.module", "primitives"},
    "interchange": CORE | {"modules"},
    "explorer": {"rpc.client"},
    "relay": CORE | CORES,
    "private": CORE | CORES,
    "node": CORE | CORES | {"failpoints", "mempool_watch", "client_window", "relay", "private", "modules", ""},
    "cli": CORE | CORES | {"node", "interchange", "modules", "light", "explorer", "relay", "private", ""},
    "testing": CORE
    | CORES
    | {"mempool_watch", "node", "interchange", "modules", "light", ""}
    # A long chain stands under a test network, which is made by these two and no others.
    | {"cli.devnet_creation", "cli.devnet_network"},
}
# Modules may say what their own command group needs of these; nothing else in the package sees the public test kit.
MAY_IMPORT_TESTING = {"cli/module.py"}

PURE = (
    "primitives",
    "consensus",
    "mempool.py",
    "mempool_watch.py",
    "client_window.py",
    "execution",
    "modules",
    "sync",
    "interchange",
    "light",
    "p2p/framing.py",
    "p2p/handshake.py",
    "p2p/gossip.py",
    "p2p/block_spread.py",
    "p2p/link_plan.py",
    "p2p/scores.py",
    "p2p/peers.py",
    "p2p/send_queue.py",
    "rpc/jsonrpc.py",
    "rpc/openrpc.py",
)
IMPURE_MODULES = {
    "asyncio", "concurrent", "contextvars", "fcntl", "glob", "http", "io", "locale", "logging", "mmap",
    "multiprocessing", "os", "pathlib", "platform", "queue", "random", "secrets", "select", "selectors", "shutil",
    "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time",
    "urllib", "uuid", "zoneinfo", "aiohttp", "click", "plyvel", "uvloop", "jinja2", "prometheus_client",
}  # fmt: skip
FORBIDDEN_CALLS = {
    "hash": "salted per process",
    "id": "an address",
    "open": "input and output belong to the shell",
    "input": "input and output belong to the shell",
    "print": "return what is worth saying",
    "float": "floats differ",
    "eval": "runs text",
    "exec": "runs text",
}
# Each exception with its reason; the test fails when one is no longer needed.
IMPURE_ALLOWED = {
    # The registry finds installed module packages by entry point, once, when the node starts.
    ("execution/registry.py", "importlib"),
    # Imports those packages file by file, with an import hook, which the interpreter keeps in ``sys.meta_path``.
    ("execution/loading.py", "importlib"),
    ("execution/loading.py", "sys"),
    # Every channel's thread counts the work of its own transaction.
    ("execution/meter.py", "threading"),
}


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every dotted module name the file imports, names taken from packages included, with the line."""
    for node in source_of(path).nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def allowed(own: str, inner: str) -> bool:
    """``inner`` is the dotted name below ``dawan_node`` (empty for the package itself)."""
    target = inner.split(".")[0]
    if target == own:
        return True
    return any(inner == rule or inner.startswith(rule + ".") for rule in MAY_IMPORT[own] if rule) or (
        "" in MAY_IMPORT[own] and (not target or target.startswith("__"))
    )


def is_pure(path: Path) -> bool:
    relative = path.relative_to(PACKAGE).as_posix()
    return any(relative == entry or relative.startswith(entry + "/") for entry in PURE)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


PURE_FILES = [path for path in FILES if is_pure(path)]


def test_every_part_of_the_package_has_a_rule() -> None:
    assert {part_of(path) for path in FILES} <= set(MAY_IMPORT)


# One test for all files each, not one for each file: starting and reporting a test takes longer than looking at a file.


def test_imports_only_point_down() -> None:
    wrong = []
    for path in FILES:
        own = part_of(path)
        for name, line in imports_of(path):
            if name != "dawan_node" and not name.startswith("dawan_node."):
                continue
            inner = name.removeprefix("dawan_node").removeprefix(".")
            if inner.split(".")[0] == "testing" and own != "testing":
                if name_of(path) not in MAY_IMPORT_TESTING:
                    wrong.append(f"{name_of(path)}:{line} imports {name}: the test kit is not part of the node")
            elif not allowed(own, inner):
                wrong.append(f"{name_of(path)}:{line} imports {name}")
    assert len(FILES) > 200
    assert not wrong, "\n".join(wrong)


def test_pure_parts_import_nothing_that_can_differ_between_nodes() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {name}"
        for path in PURE_FILES
        for name, line in imports_of(path)
        if (name.split(".")[0] in IMPURE_MODULES and (name_of(path), name.split(".")[0]) not in IMPURE_ALLOWED)
        or name == "datetime.datetime"  # has a clock; datetime.date is calendar arithmetic
        or (name.split(".")[0] == "importlib" and (name_of(path), "importlib") not in IMPURE_ALLOWED)
    ]
    assert len(PURE_FILES) > 100
    assert not wrong, "\n".join(wrong)


def test_pure_parts_hold_no_floats_and_no_coroutines() -> None:
    wrong = []
    for path in PURE_FILES:
        for node in source_of(path).nodes:
            line = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
                wrong.append(f"{line} float literal {node.value}")
            elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
                wrong.append(f"{line} true division gives a float: use //")
            elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{line} coroutine")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                wrong.append(f"{line} {node.func.id}(): {FORBIDDEN_CALLS[node.func.id]}")
    assert not wrong, "\n".join(wrong)


def test_the_exceptions_are_still_needed() -> None:
    for file, module in IMPURE_ALLOWED:
        path = PACKAGE / file
        if path.exists():
            assert any(name.split(".")[0] == module for name, _ in imports_of(path)), file


@pytest.mark.parametrize(
    ("own", "inner", "verdict"),
    [
        ("consensus", "primitives.block", True),
        ("consensus", "storage.kv", False),
        ("storage", "execution.state", False),
        ("crypto", "primitives.encoding", False),
        ("modules", "execution.module", True),
        ("modules", "execution.module.Context", True),
        ("modules", "execution.state", False),
        ("modules", "errors", False),
        ("interchange", "modules.receivable", True),
        ("primitives", "node.config", False),
        ("cli", "node.config", True),
        ("node", "cli.main", False),
        ("cli", "__version__", True),
        ("explorer", "rpc.server", False),
    ],
)
def test_the_rule_table_reads_as_the_architecture_says(own: str, inner: str, verdict: bool) -> None:
    assert allowed(own, inner) is verdict
