"""``version``: what to put into a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

import click

from dawan_node import __version__
from dawan_node.cli.options import output_option, print_json

PROTOCOL = 1
_NAMED = ("plyvel", "cryptography", "msgspec", "aiohttp")


@click.command()
@output_option
def version(output: str) -> None:
    """Versions of the program and what it stands on."""
    from dawan_node.crypto.signatures import ED25519, ed25519_library

    facts: dict[str, object] = {
        "version": __version__,
        "protocol": PROTOCOL,
        "suite": ED25519,
        "ed25519": ed25519_library(),
        "python": platform.python_version(),
        "libraries": {name: installed(name) for name in _NAMED},
    }
    if output == "json":
        print_json(facts)
        return
    click.echo(f"dawan-node {__version__}, protocol {PROTOCOL}, Python {facts['python']}")
    click.echo(f"signatures: {ED25519} by {facts['ed25519']}")
    click.echo("libraries: " + ", ".join(f"{name} {installed(name)}" for name in _NAMED))
