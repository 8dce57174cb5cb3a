"""``keys``: the Ed25519 keys that sign transactions, in files under a passphrase.

No command deletes or overwrites a key. Secrets enter and leave through files only, never as arguments.
"""

from __future__ import annotations

from pathlib import Path

import click

from dawan_node.cli.options import (
    home_option,
    obtain_passphrase,
    output_option,
    passphrase_option,
    print_json,
    print_table,
)
from dawan_node.crypto import keystore
from dawan_node.crypto.keystore import DEVNET, PRODUCTION, KeyInfo
from dawan_node.errors import KeystoreError
from dawan_node.node.home import Home
from dawan_node.node.setup import check_identity_name


@click.group()
def keys() -> None:
    """Make, list, import and export keys."""


@keys.command()
@click.argument("name")
@home_option
@passphrase_option
@click.option("--devnet", is_flag=True, help="Cheap protection, for local test networks only.")
@output_option
def new(name: str, home: Path, passphrase_file: Path | None, devnet: bool, output: str) -> None:
    """Make a key for identity NAME in HOME/keys."""
    check_identity_name(name)
    path = Home(home).identity_key(name)
    passphrase = obtain_passphrase(passphrase_file, prompt=f"New passphrase for {name}", confirm=True)
    keystore.create_signing_key(path, name, passphrase, cost=DEVNET if devnet else PRODUCTION)
    _show([keystore.describe(path)], output)


@keys.command(name="list")
@home_option
@output_option
def list_(home: Path, output: str) -> None:
    """The keys in HOME/keys. Needs no passphrase."""
    if not Home(home).keys.is_dir():
        raise KeystoreError(
            f"there are no keys in {home}", "it has no folder keys", "Name the node's folder with --home."
        )
    _show(keystore.list_keys(Home(home).keys), output)


@keys.command()
@click.argument("name")
@home_option
@output_option
def show(name: str, home: Path, output: str) -> None:
    """The public half of key NAME (or of a key file)."""
    _show([keystore.describe(_find(home, name))], output)


@keys.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="Name to store it under.")
@home_option
@passphrase_option
@click.option(
    "--old-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Passphrase of FILE. Otherwise a prompt.",
)
@output_option
def import_(
    file: Path, name: str, home: Path, passphrase_file: Path | None, old_passphrase_file: Path | None, output: str
) -> None:
    """Take over a key file made elsewhere; FILE stays as it is."""
    check_identity_name(name)
    old = obtain_passphrase(old_passphrase_file, prompt=f"Passphrase of {file}")
    key = keystore.load_signing_key(file, old)
    passphrase = obtain_passphrase(passphrase_file, prompt=f"New passphrase for {name}", confirm=True)
    path = Home(home).identity_key(name)
    keystore.create_signing_key(path, name, passphrase, seed=key.seed())
    _show([keystore.describe(path)], output)


@keys.command()
@click.argument("name")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path, dir_okay=False), help="New key file.")
@home_option
@passphrase_option
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Passphrase of the new file. Otherwise a prompt.",
)
@output_option
def export(
    name: str,
    target: Path,
    home: Path,
    passphrase_file: Path | None,
    new_passphrase_file: Path | None,
    output: str,
) -> None:
    """Write key NAME to a new file under a passphrase of its own. There is no export in the clear."""
    source = _find(home, name)
    if source.resolve() == Home(home).node_key.resolve():
        raise KeystoreError(
            "the node key is not exported",
            "two machines with one node key would sign two things for one slot",
            "Move the whole home instead, with the node stopped.",
        )
    key = keystore.load_signing_key(source, obtain_passphrase(passphrase_file, prompt=f"Passphrase of {name}"))
    passphrase = obtain_passphrase(new_passphrase_file, prompt="New passphrase for the copy", confirm=True)
    keystore.create_signing_key(target, keystore.describe(source).name, passphrase, seed=key.seed())
    _show([keystore.describe(target)], output)


def _find(home: Path, name: str) -> Path:
    """The file of a key named as in ``keys list``, or the path of a key file."""
    if "/" in name or name.endswith(".json"):
        return Path(name)
    place = Home(home)
    if place.identity_key(name).exists():
        return place.identity_key(name)
    return next((info.path for info in keystore.list_keys(place.keys) if info.name == name), place.identity_key(name))


def _show(found: list[KeyInfo], output: str) -> None:
    rows = [
        {
            "name": info.name,
            "kind": info.kind.value,
            "public_key": "0x" + info.public_key.hex(),
            "file": str(info.path),
        }
        for info in found
    ]
    if output == "json":
        print_json(rows)
        return
    shown = [row | {"public_key": row["public_key"] if row["kind"] == "ed25519" else "-"} for row in rows]
    print_table({"name": "NAME", "kind": "KIND", "public_key": "PUBLIC KEY", "file": "FILE"}, shown)
