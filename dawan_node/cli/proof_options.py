"""Options of the commands that carry proofs of one channel to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])


def source_options(function: _Function) -> _Function:
    """``--from`` and how to reach a node of it; they arrive as ``source``, ``from_rpc`` and ``from_rpc_node``.

    The node of ``--rpc`` answers for both channels unless ``--from-rpc`` names another one. Over https that may be
    another organisation's, and so needs a name of its own: ``--rpc-node`` is about the node of ``--rpc``.
    """
    for option in (
        click.option(
            "--from-rpc-node",
            metavar="NAME.ORG",
            help="The node that an https --from-rpc must belong to. Default: what --rpc-node says.",
        ),
        click.option("--from-rpc", metavar="URL", help="A node of --from, where that is another one than --rpc."),
        click.option("--from", "source", metavar="CHANNEL", required=True, help="The channel that proves."),
    ):
        function = option(function)
    return function
