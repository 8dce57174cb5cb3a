"""What the rules about the source look at, read from each file once: hundreds of files are walked for several rules."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """One file: whether it explains itself, and the nodes that some rule is about."""

    docstring: str | None
    nodes: tuple[ast.AST, ...]


_LOOKED_AT = (
    ast.Import,
    ast.ImportFrom,
    ast.Call,
    ast.AsyncFunctionDef,
    ast.Await,
    ast.AsyncFor,
    ast.AsyncWith,
)


def _is_looked_at(node: ast.AST) -> bool:
    return (
        isinstance(node, _LOOKED_AT)
        or (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
        or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
    )


@functools.cache
def source_of(path: Path) -> Source:
    """The file's syntax tree, as far as rules ask for it."""
    tree = ast.parse(path.read_bytes(), str(path))
    return Source(ast.get_docstring(tree), tuple([node for node in ast.walk(tree) if _is_looked_at(node)]))


def dotted(node: ast.expr) -> str:
    """``a`` or ``a.b`` of a name that is called; empty for anything longer."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return ""
