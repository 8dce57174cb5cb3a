"""Writes docs/modules: for each module this package ships the page of what it declares, with examples that ran.

python -m tests.modules.examples.pages, or scripts/module-pages
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from dawan_node.execution.describe import describe_module
from dawan_node.execution.registry import installed_versions
from dawan_node.node.module_refusals import refusals_of
from dawan_node.rpc.json_schema import for_json
from dawan_node.rpc.module_page import Example, module_page
from tests.modules.examples import governance, kernel, lc, light_client, logistics, receivable, refdata, title
from tests.modules.examples.notebook import Notebook

DOCS: Final = Path(__file__).resolve().parents[3] / "docs"
FOLDER: Final = DOCS / "modules"
#: Where each module's examples are.
STORIES: Final[dict[str, ModuleType]] = {
    "governance": governance,
    "kernel": kernel,
    "lc": lc,
    "light_client": light_client,
    "logistics": logistics,
    "receivable": receivable,
    "refdata": refdata,
    "title": title,
}


def told(name: str) -> list[Notebook]:
    """The story of a module, run: one notebook of each channel that it happens on."""
    found: Notebook | list[Notebook] = STORIES[name].story()
    return found if isinstance(found, list) else [found]


def examples_of(name: str, notebooks: list[Notebook]) -> list[Example]:
    """The first example of each command of the module."""
    found: dict[str, Example] = {}
    for notebook in notebooks:
        for example in notebook.examples(name):
            found.setdefault(example.command, example)
    return list(found.values())


def description_of(name: str) -> dict[str, Any]:
    """What ``module_describe`` answers, for the newest version."""
    return for_json(describe_module(installed_versions(name)[-1]))


def page_of(name: str, examples: list[Example]) -> str:
    """The page of a module."""
    preface = (
        "Made by `scripts/module-pages` from the code and from examples that it runs; do not edit it. "
        "`module_describe` answers the same as JSON Schema."
    )
    if (DOCS / f"{name}.md").exists():
        preface += f" What the module is for and what was decided in it: [{name}.md](../{name}.md)."
    return module_page(
        description_of(name), examples, preface=preface, refusals=refusals_of(installed_versions(name)[-1])
    )


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in STORIES:
        path = FOLDER / f"{name}.md"
        path.write_text(page_of(name, examples_of(name, told(name))), encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()
