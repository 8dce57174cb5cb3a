"""How commands reach a node: the address, the channel, and errors of the node as exit codes.

The address comes from ``--rpc``, else ``DAWAN_RPC`` (which ``devnet/env`` sets), else the ``[rpc] listen`` of the
node.toml in ``--home`` (so that a command on the node's own machine needs no option), else the default port.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import home_option
from dawan_node.rpc.client import Client, RpcError, Unreachable

DEFAULT_URL: Final = "http://127.0.0.1:7110"
# Codes of formats C that say the chain or its pool refused a transaction.
_REJECTED: Final = range(1, 1100)
_WAIT_TIMED_OUT: Final = 1100
_CORRECT: Final = "Correct it and try again; nothing happened."

_Function = TypeVar("_Function", bound=Callable[..., Any])


def rpc_options(function: _Function) -> _Function:
    """``--rpc`` and ``--home``; they arrive as ``rpc`` (None when not given) and ``home``."""
    return click.option("--rpc", metavar="URL", help="JSON-RPC of the node (or DAWAN_RPC; else from --home).")(
        home_option(function)
    )


def channel_option(function: _Function) -> _Function:
    """``--channel``; arrives as ``channel``, None when not given (then the node's only channel)."""
    return click.option(
        "-c", "--channel", envvar="DAWAN_CHANNEL", help="Channel; needed only where the node has several."
    )(function)


def url_of(rpc: str | None, home: Path) -> str:
    """The address to talk to. Raises ConfigError when the home's node.toml is wrong."""
    url = rpc or os.environ.get("DAWAN_RPC", "")
    if url:
        return url
    file = home / "node.toml"
    if not file.exists():
        return DEFAULT_URL
    from dawan_node.node.config import load

    settings = load(file, environment=os.environ).rpc
    return f"{'https' if settings.tls else 'http'}://{settings.listen}"


@contextmanager
def connected(rpc: str | None, home: Path, *, submits: bool = False) -> Iterator[Client]:
    """A client for the body of a ``with``; the node's errors leave it as CommandFailed with the right exit code.

    ``submits``: a broken connection then means "state unknown" (5), not "cannot reach" (3).
    """
    url = url_of(rpc, home)
    try:
        with Client(url) as client:
            yield client
    except RpcError as error:
        raise refusal(error) from None
    except Unreachable as error:
        if submits and error.sent:
            raise CommandFailed(
                ExitCode.TIMED_OUT,
                "the connection broke after the transaction was sent",
                str(error),
                "Ask `tx status`, or submit the same bytes again: that is always safe.",
            ) from None
        raise CommandFailed(
            ExitCode.UNREACHABLE,
            "no node answers",
            str(error),
            "Start it with `dawan-node run`, or name another with --rpc or DAWAN_RPC.",
        ) from None


def refusal(error: RpcError) -> CommandFailed:
    """The node's error as this program's failure: 4 when the chain said no, 5 when nobody knows, else 1."""
    code = ExitCode.FAILED
    if error.code == _WAIT_TIMED_OUT:
        code = ExitCode.TIMED_OUT
    elif error.code in _REJECTED:
        code = ExitCode.REJECTED
    where, message, hint = "", error.message, error.hint
    if error.path:
        where = f" at {error.path}"
        message = message.removeprefix(f"{error.path}: ").removeprefix(f"{error.path} ")
        if "data.path" in hint:  # advice for programs; a person reads the place in this very line
            hint = _CORRECT
    return CommandFailed(code, f"{error.reason or error.code}{where}", message, hint or "See the logs.")


def channel_of(client: Client, channel: str | None) -> str:
    """The channel named, else the node's only one. Raises CommandFailed (2) when there are several."""
    if channel:
        return channel
    channels: list[str] = client.channel_list()
    if len(channels) == 1:
        return channels[0]
    raise CommandFailed(
        ExitCode.USAGE,
        "which channel?",
        f"this node has {', '.join(channels) or 'none'}",
        "Name one with --channel or DAWAN_CHANNEL.",
    )
