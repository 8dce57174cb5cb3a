"""Command groups that import a command's file only when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class TableGroup(click.Group):
    """A group whose commands come from a table: name -> (module, attribute, line for ``--help``), in its order.

    Commands that are added with ``add_command`` or a decorator come after those of the table.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's names in its order, then the others by name."""
        return [*self._table, *(name for name in super().list_commands(ctx) if name not in self._table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's file. None for an unknown name."""
        if cmd_name not in self._table:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = self._table[cmd_name]
        command = getattr(import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, but an unknown name is answered with the nearest valid one."""
        names = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in names:
            close = difflib.get_close_matches(args[0], names, 1)
            hint = f" The nearest one is {close[0]}." if close else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, without importing any command of the table."""
        rows = []
        for name in self.list_commands(ctx):
            command = None if name in self._table else self.get_command(ctx, name)
            rows.append((name, command.get_short_help_str(80) if command else self._table[name][2]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
