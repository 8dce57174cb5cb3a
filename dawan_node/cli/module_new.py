"""What ``module new`` writes: a small register of items and their owners, complete with tests, to begin from.

The texts below are files with ``NAME`` (``greetings``), ``PACKAGE`` (``dawan_greetings``) and ``DIST``
(``dawan-greetings``) to be filled in. A test makes one and runs lint, tests, ruff and mypy on it.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from dawan_node.errors import OperatorError
from dawan_node.primitives.names import is_identifier

_PYPROJECT: Final = """\
[build-system]
requires = ["hatchling>=1.27,<2"]
build-backend = "hatchling.build"

[project]
name = "DIST"
version = "1"
description = "The channel module NAME"
readme = "README.md"
requires-python = ">=3.11,<3.13"
dependencies = ["dawan-node"]

# How a node finds the module. A dict of modules by version stands here once there are several.
[project.entry-points."dawan_node.modules"]
NAME = "PACKAGE:module"

[tool.hatch.build.targets.wheel]
packages = ["PACKAGE"]

[tool.hatch.build]
dev-mode-dirs = ["."]

[tool.pytest.ini_options]
testpaths = ["tests"]

[tool.ruff]
line-length = 120
target-version = "py311"

[tool.ruff.lint]
ignore = ["RUF012"]  # the indexes of an entity are a ClassVar of its base class

[tool.mypy]
python_version = "3.11"
strict = true
"""

_README: Final = """\
# NAME

A channel module for [dawan-node](https://pypi.org/project/dawan-node/): a register of items, each with one owner. It is
what `dawan-node module new NAME` writes, to begin from.

| File | What is in it |
| --- | --- |
| `PACKAGE/entities.py` | the records, and how they are found |
| `PACKAGE/declaration.py` | events, reasons, and the module itself |
| `PACKAGE/commands.py` | what a transaction can ask for |
| `PACKAGE/queries.py` | what can be asked, and what must always hold |
| `tests/test_NAME.py` | the rules as tests |

    dawan-node module lint .      # what could differ between nodes, or never end
    dawan-node module test .      # the tests, the same blocks in other worlds, four nodes in virtual time
    pip install --no-deps -e .    # to be found by the node; again after each change of pyproject.toml
    dawan-node module describe NAME
    dawan-node devnet up --module NAME

A version that a channel ran once never changes its behaviour: whoever replays the chain must get the same. What
changes behaviour is a new version, beside the old one.
"""

_INIT: Final = '''\
"""A register of items: each has one number and, at every moment, one owner."""

from PACKAGE import commands, queries
from PACKAGE.declaration import module

__all__ = ["commands", "module", "queries"]
'''

_ENTITIES: Final = '''\
"""The records of the register."""

from __future__ import annotations

from typing import Annotated

from dawan_node.execution.module import Entity, Meta, ShortText, key_of

#: More than any stock count; sums of a thousand such items still fit 64 bits.
QUANTITY_MAX = 10**12

Quantity = Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]


class Item(Entity, collection="item", schema=1):
    """One item. ``moved_ms``: block time of its last move."""

    number: ShortText
    owner: str
    quantity: int
    moved_ms: int

    indexes = {"by_owner": lambda item: [(item.owner, item.number)]}

    def primary_key(self) -> bytes:
        return key_of(self.number)
'''

_DECLARATION: Final = '''\
"""What the module NAME declares: events, reasons, and the module object that commands and queries join."""

from __future__ import annotations

from dawan_node.execution.module import Event, Module

from PACKAGE.entities import Item


class ItemRegistered(Event):
    """A new item."""

    number: str
    owner: str
    quantity: int


class ItemTransferred(Event):
    """An item has another owner."""

    number: str
    sender: str
    receiver: str


module = Module(
    "NAME",
    version=1,
    entities=(Item,),
    events=(ItemRegistered, ItemTransferred),
    errors={
        "E_EXISTS": "There is an item with this number.",
        "E_UNKNOWN": "There is no item with this number.",
        "E_NOT_OWNER": "The item belongs to another organisation.",
        "E_RECEIVER": "The receiver is no other active organisation of this channel.",
    },
)
'''

_COMMANDS: Final = '''\
"""What a transaction can ask for."""

from __future__ import annotations

from dawan_node.execution.module import ANY_ROLE, Args, Context, ShortText, key_of, replace

from PACKAGE.declaration import ItemRegistered, ItemTransferred, module
from PACKAGE.entities import Item, Quantity


class RegisterItem(Args):
    """Arguments of ``register_item``."""

    number: ShortText
    quantity: Quantity


class TransferItem(Args):
    """Arguments of ``transfer_item``."""

    number: ShortText
    receiver: ShortText


@module.command("register_item", args=RegisterItem, roles=ANY_ROLE)
def register_item(ctx: Context, args: RegisterItem) -> None:
    """Register an item that belongs to the sender's organisation."""
    ctx.require(ctx.get(Item, key_of(args.number)) is None, "E_EXISTS")
    ctx.put(Item(args.number, ctx.sender.org, args.quantity, ctx.time_ms))
    ctx.emit(ItemRegistered(number=args.number, owner=ctx.sender.org, quantity=args.quantity))


@module.command("transfer_item", args=TransferItem, roles=ANY_ROLE)
def transfer_item(ctx: Context, args: TransferItem) -> None:
    """Give an item of the sender's organisation to another one."""
    item = ctx.get(Item, key_of(args.number))
    if item is None:
        ctx.fail("E_UNKNOWN")
    ctx.require(item.owner == ctx.sender.org, "E_NOT_OWNER")
    ctx.require(args.receiver != item.owner and ctx.is_org(args.receiver), "E_RECEIVER")
    ctx.put(replace(item, owner=args.receiver, moved_ms=ctx.time_ms))
    ctx.emit(ItemTransferred(number=args.number, sender=item.owner, receiver=args.receiver))
'''

_QUERIES: Final = '''\
"""What can be asked, and what must always hold."""

from __future__ import annotations

from collections.abc import Iterator

from dawan_node.execution.module import Page, Params, QueryContext

from PACKAGE.declaration import module
from PACKAGE.entities import QUANTITY_MAX, Item


class ItemsOf(Params):
    """Parameters of ``items``: one owner, or everybody's."""

    owner: str = ""


@module.query("items", params=ItemsOf, item=Item)
def items(ctx: QueryContext, params: ItemsOf, limit: int, cursor: bytes | None) -> Page[Item]:
    """Items by owner and number."""
    prefix = (params.owner,) if params.owner else ()
    return ctx.page(Item, "by_owner", prefix, limit=limit, cursor=cursor)


@module.invariant("items_are_whole")
def items_are_whole(ctx: QueryContext) -> Iterator[str]:
    """Runs after every block in tests: each item is listed once, has an owner and a quantity that can be."""
    seen: dict[str, str] = {}
    for item in ctx.iterate(Item, "by_owner"):
        if item.number in seen:
            yield f"{item.number} belongs to {seen[item.number]} and to {item.owner}"
        seen[item.number] = item.owner
        if not item.owner or not 1 <= item.quantity <= QUANTITY_MAX:
            yield f"{item.number} has owner {item.owner!r} and quantity {item.quantity}"
'''

_TESTS: Final = '''\
"""The rules of NAME, block by block, without a network. After every block the invariants are checked."""

from __future__ import annotations

import pytest
from dawan_node.execution.module import key_of
from dawan_node.primitives.codes import Code
from dawan_node.testing.module_kit import ModuleKit

from PACKAGE import module
from PACKAGE.entities import QUANTITY_MAX, Item

PEOPLE = {"anna": ("gz", ["clerk"]), "ben": ("hk", ["clerk"])}


@pytest.fixture
def kit() -> ModuleKit:
    return ModuleKit([module], PEOPLE)


def test_an_item_belongs_to_whoever_registers_it(kit: ModuleKit) -> None:
    receipt = kit.run("anna", "register_item", {"number": "A-1", "quantity": 5})
    assert receipt.code == 0
    assert receipt.events == [("ItemRegistered", {"number": "A-1", "owner": "gz", "quantity": 5})]
    assert kit.get(Item, key_of("A-1")) == Item("A-1", "gz", 5, kit.time_ms)


def test_a_number_is_registered_once(kit: ModuleKit) -> None:
    first, second = kit.block(
        kit.call("anna", "register_item", {"number": "A-1", "quantity": 5}),
        kit.call("ben", "register_item", {"number": "A-1", "quantity": 7}),
    )
    assert (first.code, second.code, second.reason) == (0, Code.E_MODULE, "E_EXISTS")


def test_only_the_owner_gives_an_item_away(kit: ModuleKit) -> None:
    kit.run("anna", "register_item", {"number": "A-1", "quantity": 5})
    assert kit.run("ben", "transfer_item", {"number": "A-1", "receiver": "hk"}).reason == "E_NOT_OWNER"
    assert kit.run("anna", "transfer_item", {"number": "A-1", "receiver": "hk"}).code == 0
    assert kit.run("anna", "transfer_item", {"number": "A-1", "receiver": "mo"}).reason == "E_NOT_OWNER"
    assert kit.query("items", {"owner": "hk"})[0] == (Item("A-1", "hk", 5, kit.time_ms - 1_000),)
    assert kit.query("items", {"owner": "gz"})[0] == ()


@pytest.mark.parametrize(
    ("number", "receiver", "reason"),
    [
        ("A-2", "hk", "E_UNKNOWN"),
        ("A-1", "gz", "E_RECEIVER"),
        ("A-1", "nowhere", "E_RECEIVER"),
    ],
)
def test_a_refused_transfer_changes_nothing(kit: ModuleKit, number: str, receiver: str, reason: str) -> None:
    kit.run("anna", "register_item", {"number": "A-1", "quantity": 5})
    before = kit.get(Item, key_of("A-1"))
    assert kit.run("anna", "transfer_item", {"number": number, "receiver": receiver}).reason == reason
    assert kit.get(Item, key_of("A-1")) == before


@pytest.mark.parametrize("quantity", [0, -1, QUANTITY_MAX + 1])
def test_a_quantity_out_of_bounds_does_not_fit_the_schema(kit: ModuleKit, quantity: int) -> None:
    assert kit.run("anna", "register_item", {"number": "A-1", "quantity": quantity}).code == Code.E_SCHEMA


def test_of_two_transfers_in_one_block_the_first_counts(kit: ModuleKit) -> None:
    kit.run("anna", "register_item", {"number": "A-1", "quantity": 5})
    first, second = kit.block(
        kit.call("anna", "transfer_item", {"number": "A-1", "receiver": "hk"}),
        kit.call("anna", "transfer_item", {"number": "A-1", "receiver": "mo"}),
    )
    assert (first.code, second.reason) == (0, "E_NOT_OWNER")
'''

FILES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        "PACKAGE/__init__.py": _INIT,
        "PACKAGE/py.typed": "",
        "PACKAGE/entities.py": _ENTITIES,
        "PACKAGE/declaration.py": _DECLARATION,
        "PACKAGE/commands.py": _COMMANDS,
        "PACKAGE/queries.py": _QUERIES,
        "tests/test_NAME.py": _TESTS,
    }
)

#: The longest name whose package and distribution still are ordinary file names everywhere.
NAME_MAX: Final = 32


def write(name: str, folder: Path) -> list[Path]:
    """Make the project of module ``name`` in ``folder``, which must not exist. The files. Raises OperatorError."""
    if not is_identifier(name):
        raise OperatorError(
            f"{name!r} is no name for a module",
            f"a name has 1 to {NAME_MAX} lower-case letters, digits and underscores, and begins with a letter",
            "Choose one such as cold_chain.",
        )
    package = f"dawan_{name}"
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise OperatorError(
            f"{name!r} is no name for a module",
            "it means something in Python",
            "Choose another, such as my_" + name + ".",
        )
    from dawan_node.execution.registry import installed_names

    if name in installed_names():
        raise OperatorError(
            f"there is a module {name} already",
            "one channel cannot run two modules of one name",
            "Choose another name.",
        )
    if folder.exists() or folder.is_symlink():
        raise OperatorError(f"{folder} exists", "nothing is overwritten", "Name a new folder with --dir.")
    texts = {_filled(path, name, package): _filled(text, name, package) for path, text in FILES.items()}
    written = []
    try:
        for path, text in texts.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            written.append(file)
    except OSError as error:
        raise OperatorError(
            f"{folder} cannot be written", error.strerror or "unknown reason", "Name a folder of yours with --dir."
        ) from None
    return written


def _filled(text: str, name: str, package: str) -> str:
    distribution = package.replace("_", "-")
    return text.replace("PACKAGE", package).replace("DIST", distribution).replace("NAME", name)
