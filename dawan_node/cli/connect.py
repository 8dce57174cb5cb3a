"""How commands reach a node: the address, the channel, and errors of the node as exit codes.

The address comes from ``--rpc``, else ``DAWAN_RPC`` (which ``devnet/env`` sets), else the ``[rpc] listen`` of the
node.toml in ``--home`` (so that a command on the node's own machine needs no option), else the default port.

Where the address is https (or that node.toml says ``tls = true``), the command presents the home's own certificate, for
which it needs the passphrase, and talks to no other node than the one meant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import home_option, passphrase_option
from dawan_node.node.ports import RPC_PORT
from dawan_node.rpc.client import Client, RpcError, TlsFailed, Unreachable

if TYPE_CHECKING:
    from dawan_node.rpc.client_tls import ClientTls

DEFAULT_URL: Final = f"http://127.0.0.1:{RPC_PORT}"
# Codes of formats C that say the chain or its pool refused a transaction.
_REJECTED: Final = range(1, 1100)
_WAIT_TIMED_OUT: Final = 1100
_CORRECT: Final = "Correct it and try again; nothing happened."

_Function = TypeVar("_Function", bound=Callable[..., Any])


def rpc_options(function: _Function) -> _Function:
    """``--rpc`` and ``--home``; they arrive as ``rpc`` (None when not given) and ``home``.

    ``--rpc-node`` and ``--passphrase-file``, which only https needs, stay in click's context, where ``connected``
    finds them; a command that unlocks a key of its own asks ``passphrase_file_of_command`` for the latter.
    """
    function = click.option(
        "--rpc-node",
        metavar="NAME.ORG",
        envvar="DAWAN_RPC_NODE",
        expose_value=False,
        callback=_keep,
        help="The node an https address must belong to (or DAWAN_RPC_NODE). Default: of this home's organisation.",
    )(function)
    function = passphrase_option(function, expose_value=False, callback=_keep)
    return click.option("--rpc", metavar="URL", help="JSON-RPC of the node (or DAWAN_RPC; else from --home).")(
        home_option(function)
    )


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    ctx.meta[f"dawan.{param.name}"] = value
    return value


def passphrase_file_of_command() -> Path | None:
    """What ``--passphrase-file`` of the running command says: one passphrase for all keys it unlocks."""
    file: Path | None = _kept("passphrase_file")
    return file


def _kept(name: str) -> Any:
    """The value of an option that ``_keep`` was given; None outside a command, or without the option."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(f"dawan.{name}")


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
    from dawan_node.node.config import load, local_host, parse_address

    settings = load(file, environment=os.environ).rpc
    host, port = parse_address(settings.listen)
    host = local_host(host)
    return f"{'https' if settings.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def tls_for(url: str, rpc: str | None, home: Path, node: str | None = None) -> ClientTls | None:
    """The home's certificate for an https address, None for a plain one. ``node``: NAME.ORG or ORG that it must belong
    to, instead of what ``--rpc-node`` says. Raises ConfigError or KeystoreError."""
    if not url.lower().startswith("https:"):
        return None
    from dawan_node.cli.home_tls import home_tls

    is_own_node = not (rpc or os.environ.get("DAWAN_RPC", ""))
    return home_tls(home, passphrase_file_of_command(), node or _kept("rpc_node"), is_own_node=is_own_node)


@contextmanager
def connected(
    rpc: str | None,
    home: Path,
    *,
    submits: bool = False,
    node: str | None = None,
    client: Callable[..., Client] = Client,
) -> Iterator[Client]:
    """A client for the body of a ``with``; the node's errors leave it as CommandFailed with the right exit code.

    ``submits``: a broken connection then means "state unknown" (5), not "cannot reach" (3). ``node``: as in
    ``tls_for``. ``client``: makes it, of the address and ``tls``.
    """
    url = url_of(rpc, home)
    tls = tls_for(url, rpc, home, node)
    try:
        with client(url, tls=tls) as made:
            yield made
    except RpcError as error:
        raise refusal(error) from None
    except Unreachable as error:
        if error.url not in ("", url):
            raise  # of another node that the same command talks to: whoever connected to that one says so
        if submits and error.sent:
            raise CommandFailed(
                ExitCode.TIMED_OUT,
                "the connection broke after the transaction was sent",
                str(error),
                "Ask `tx status`, or submit the same bytes again: that is always safe.",
            ) from None
        if isinstance(error, TlsFailed):
            raise CommandFailed(ExitCode.UNREACHABLE, f"no connection to {url}", str(error), error.fix) from None
        # Something took the request and said nothing in HTTP: a port of TLS, or of another protocol.
        fix = (
            "Is it the JSON-RPC port, and https:// if the node has [rpc] tls = true?"
            if error.sent
            else "Start it with `dawan-node run`, or name another with --rpc or DAWAN_RPC."
        )
        raise CommandFailed(ExitCode.UNREACHABLE, "no node answers", str(error), fix) from None


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


def channel_of(client: Client, channel: str | None, module: str = "") -> str:
    """The channel named, else the node's only one, or the only one that runs ``module``.

    Raises CommandFailed (2) when there are several.
    """
    if channel:
        return channel
    channels: list[str] = client.channel_list()
    if len(channels) == 1:
        return channels[0]
    if module:
        running = [name for name in channels if any(each["name"] == module for each in client.module_list(name))]
        if len(running) == 1:
            return running[0]
    raise CommandFailed(
        ExitCode.USAGE,
        "which channel?",
        f"this node has {', '.join(channels) or 'none'}",
        "Name one with --channel or DAWAN_CHANNEL.",
    )
