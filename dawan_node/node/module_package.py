"""Where the source of a channel module lies: of one that is installed, and of one that is being written.

A module's package is a folder with a ``pyproject.toml`` whose entry points name the modules it brings; while it is
written it need not be installed. What ``lint`` looks at and what ``code_hash`` is over are the same files.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawan_node.crypto.hashing import HASH_BYTES
from dawan_node.errors import ConfigError
from dawan_node.execution.lint import Finding, lint_source
from dawan_node.execution.loading import code_hash
from dawan_node.execution.module import DeclarationError
from dawan_node.execution.registry import BUILTIN, ENTRY_POINT_GROUP, entry_point_of
from dawan_node.primitives.genesis import Genesis

PROJECT_FILE: Final = "pyproject.toml"

#: Files of one module package; the largest here has eighteen.
FILES_MAX: Final = 1_000

_BINARIES: Final = (*importlib.machinery.EXTENSION_SUFFIXES, ".pyc", ".pth")


@dataclass(frozen=True, slots=True)
class ModulePackage:
    """The files of one module, or of all modules of one project."""

    #: The package whose files may import each other: the top-level one, of the node's own modules theirs.
    own: str
    #: The files are below this folder; where it is a single file, that one.
    place: Path
    #: Module name -> ``package.file:attribute``; empty where a bare folder or file was named.
    entry_points: Mapping[str, str]
    #: The folder to import from.
    root: Path

    def files(self) -> list[Path]:
        """Every file that code can come from. Raises ConfigError."""
        if self.place.is_file():
            return [self.place]
        found = [
            path
            for path in sorted(self.place.rglob("*"))
            if path.is_file() and path.name.endswith((".py", *_BINARIES)) and "__pycache__" not in path.parts
        ]
        if not found or len(found) > FILES_MAX:
            raise ConfigError(
                f"{self.place} is no module", f"it holds {len(found)} Python files, a module has 1 to {FILES_MAX}",
                "Name the folder of one module.",
            )  # fmt: skip
        return found

    def sources(self) -> dict[str, bytes]:
        """The same with their content, by path below the package. Raises ConfigError."""
        base = self.place.parent if self.place.is_file() else self.place
        try:
            return {path.relative_to(base).as_posix(): path.read_bytes() for path in self.files()}
        except OSError as error:
            raise ConfigError(
                f"{self.place} cannot be read", error.strerror or "unknown reason", "Check the files."
            ) from None

    @property
    def code_hash(self) -> bytes:
        """What tells two states of the code apart."""
        return code_hash(self.sources())

    def lint(self) -> list[tuple[Path, Finding]]:
        """What is wrong with each file. Raises ConfigError."""
        base = self.place.parent if self.place.is_file() else self.place
        found: list[tuple[Path, Finding]] = []
        for name, source in self.sources().items():
            path = base / name
            if not name.endswith(".py"):
                found.append((path, Finding(0, "is not Python source, so nobody can read what it does", "M101")))
                continue
            try:
                text = importlib.util.decode_source(source)
            except (UnicodeDecodeError, SyntaxError):
                found.append((path, Finding(0, "is not text", "M900")))
                continue
            found += [(path, finding) for finding in lint_source(text, self.own)]
        return found


def find(text: str) -> ModulePackage:
    """The module that is named: a path if there is one, else the name of an installed module. Raises ConfigError."""
    path = Path(text)
    return at(path) if path.exists() else installed(text)


def at(path: Path) -> ModulePackage:
    """The module in a project folder, a package folder, or one file. Raises ConfigError."""
    path = path.resolve()
    if path.is_dir() and (path / PROJECT_FILE).exists():
        return _project(path)
    if path.is_file() and path.suffix == ".py":
        return ModulePackage(path.stem, path, {}, path.parent)
    if path.is_dir() and (path / "__init__.py").exists():
        return ModulePackage(path.name, path, {}, path.parent)
    raise ConfigError(
        f"{path} is no module",
        f"it has neither {PROJECT_FILE} nor __init__.py",
        "Begin one: dawan-node module new NAME.",
    )


def _project(folder: Path) -> ModulePackage:
    file = folder / PROJECT_FILE
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        points = document["project"]["entry-points"][ENTRY_POINT_GROUP]
        targets = {str(name): str(target) for name, target in points.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read", str(error), "Correct it.") from None
    except (KeyError, AttributeError, TypeError):
        targets = {}
    packages = {target.partition(":")[0].partition(".")[0] for target in targets.values()}
    if len(packages) != 1:
        raise ConfigError(
            f"{file} brings no module",
            f'[project.entry-points."{ENTRY_POINT_GROUP}"] names {len(packages)} packages, and it takes one',
            'Write there: my_module = "dawan_my_module:module".',
        )  # fmt: skip
    own = packages.pop()
    for root in (folder, folder / "src"):
        for place in (root / own, root / f"{own}.py"):
            if place.exists():
                return ModulePackage(own, place, targets, root)
    raise ConfigError(f"{file} names {own}", f"there is no folder {own} beside it, nor below src", "Check the name.")


def installed(name: str) -> ModulePackage:
    """An installed module. Raises ConfigError."""
    try:
        target = entry_point_of(name)
    except DeclarationError as error:
        raise ConfigError(f"it is not clear which {name} is meant", str(error), "Uninstall all but one.") from None
    if target is None:
        from dawan_node.execution.registry import installed_names
        from dawan_node.node.toml_file import nearest

        raise ConfigError(
            f"no module {name!r} is installed, and there is no such path",
            nearest(name, installed_names()),
            "`dawan-node module list` shows what is here.",
        )
    place = target.partition(":")[0]
    own = place.partition(".")[0]
    try:
        # Finding a top-level package runs nothing of it; below it, its folders are looked up by hand.
        spec = importlib.util.find_spec(own)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"the module {name} is installed badly", f"its entry point names {target}, which is not there",
            "Install its package again.",
        )  # fmt: skip
    top = Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)
    found = top
    if name in BUILTIN or not (top / "__init__.py").exists():
        for part in place.split(".")[1:]:
            found = found / part
        if not found.is_dir() and found.with_suffix(".py").exists():
            found = found.with_suffix(".py")
    return ModulePackage(place if name in BUILTIN else own, found, {name: target}, top.parent)


def require_pinned(genesis: Genesis) -> None:
    """That each module whose code the genesis pins is installed with exactly that code. Raises ConfigError."""
    for entry in genesis.modules:
        if entry.code_hash == bytes(HASH_BYTES):
            continue
        here = installed(entry.name).code_hash
        if here != entry.code_hash:
            raise ConfigError(
                f"channel {genesis.channel} pins the code of {entry.name}",
                f"its genesis says 0x{entry.code_hash.hex()}, the code that is installed has 0x{here.hex()}",
                "Install the package with the pinned code; `dawan-node module list` shows the hash of what is here.",
            )


def distribution_of(name: str) -> str:
    """The installed distribution that brings a module, with its version."""
    if name in BUILTIN:
        import dawan_node

        return f"dawan-node {dawan_node.__version__}"
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name):
        if point.dist is not None:
            return f"{point.dist.name} {point.dist.version}"
    return "unknown"
