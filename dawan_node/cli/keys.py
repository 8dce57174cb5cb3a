"""``keys``: the Ed25519 keys that sign transactions, in files under a passphrase.

No command deletes or overwrites a key. Secrets enter and leave through files only, never as arguments.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from dawan_node.cli.exit_codes import CommandFailed, ExitCode
from dawan_node.cli.options import (
    home_option,
    obtain_passphrase,
    output_option,
    passphrase_option,
    print_json,
    print_table,
)
from dawan_node.errors import KeystoreError

if TYPE_CHECKING:
    from dawan_node.crypto.keystore import KeyInfo
    from dawan_node.crypto.signatures import PrivateKey
    from dawan_node.node.home import Home
    from dawan_node.node.key_rotation import Rotation

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
# JSON-RPC code of "there is no such member here".
_NOT_FOUND: Final = -32001


@click.group()
def keys() -> None:
    """Make, list, import, export, rotate, back up and examine keys."""


@keys.command()
@click.argument("name")
@home_option
@passphrase_option
@click.option("--devnet", is_flag=True, help="Cheap protection, for local test networks only.")
@output_option
def new(name: str, home: Path, passphrase_file: Path | None, devnet: bool, output: str) -> None:
    """Make a key for identity NAME in HOME/keys."""
    from dawan_node.crypto import keystore
    from dawan_node.node.setup import check_identity_name

    check_identity_name(name)
    path = _home(home).identity_key(name)
    passphrase = obtain_passphrase(passphrase_file, prompt=f"New passphrase for {name}", confirm=True)
    keystore.create_signing_key(path, name, passphrase, cost=keystore.DEVNET if devnet else keystore.PRODUCTION)
    _show([keystore.describe(path)], output)


@keys.command(name="list")
@home_option
@output_option
def list_(home: Path, output: str) -> None:
    """The keys in HOME/keys. Needs no passphrase."""
    from dawan_node.crypto.keystore import list_keys
    from dawan_node.node.key_doctor import require_keys

    require_keys(_home(home))
    _show(list_keys(_home(home).keys), output)


@keys.command()
@click.argument("name")
@home_option
@output_option
def show(name: str, home: Path, output: str) -> None:
    """The public half of key NAME (or of a key file)."""
    from dawan_node.crypto import keystore

    _show([keystore.describe(_find(home, name))], output)


@keys.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="Name to store it under.")
@home_option
@passphrase_option
@click.option("--old-passphrase-file", type=_FILE, help="Passphrase of FILE. Otherwise a prompt.")
@click.option("--pkcs8", is_flag=True, help="FILE is encrypted PKCS#8 in PEM, of another program.")
@output_option
def import_(
    file: Path,
    name: str,
    home: Path,
    passphrase_file: Path | None,
    old_passphrase_file: Path | None,
    pkcs8: bool,
    output: str,
) -> None:
    """Take over a key file made elsewhere; FILE stays as it is."""
    from dawan_node.crypto import keystore
    from dawan_node.node.setup import check_identity_name

    check_identity_name(name)
    key = _read_pkcs8(file, old_passphrase_file) if pkcs8 else _open(file, old_passphrase_file)
    passphrase = obtain_passphrase(passphrase_file, prompt=f"New passphrase for {name}", confirm=True)
    path = _home(home).identity_key(name)
    keystore.create_signing_key(path, name, passphrase, seed=key.seed())
    _show([keystore.describe(path)], output)


@keys.command()
@click.argument("name")
@click.option("--to", "target", required=True, type=_FILE, help="New key file, in a folder of mode 0700.")
@home_option
@passphrase_option
@click.option("--new-passphrase-file", type=_FILE, help="Passphrase of the new file. Otherwise a prompt.")
@click.option("--pkcs8", is_flag=True, help="As encrypted PKCS#8 in PEM, for another program; it protects badly.")
@output_option
def export(
    name: str,
    target: Path,
    home: Path,
    passphrase_file: Path | None,
    new_passphrase_file: Path | None,
    pkcs8: bool,
    output: str,
) -> None:
    """Write key NAME to a new file under a passphrase of its own. There is no export in the clear."""
    from dawan_node.crypto import keystore

    source = _find(home, name)
    if source.resolve() == _home(home).node_key.resolve():
        raise KeystoreError(
            "the node key is not exported",
            "two machines with one node key would sign two things for one slot",
            "Move the whole home instead, with the node stopped.",
        )
    key = _open(source, passphrase_file)
    passphrase = obtain_passphrase(new_passphrase_file, prompt="New passphrase for the copy", confirm=True)
    if pkcs8:
        _write_pkcs8(target, key, passphrase, output)
        return
    keystore.create_signing_key(target, keystore.describe(source).name, passphrase, seed=key.seed())
    _show([keystore.describe(target)], output)


@keys.command()
@click.argument("name")
@click.option("-c", "--channel", multiple=True, help="May be repeated. Default: every channel it is on.")
@click.option("--timeout", type=click.IntRange(1, 60), default=10, show_default=True, help="Seconds for each commit.")
@click.option("--rpc", metavar="URL", help="JSON-RPC of the node (or DAWAN_RPC; else from --home).")
@home_option
@passphrase_option
@output_option
def rotate(
    name: str,
    channel: tuple[str, ...],
    timeout: int,
    rpc: str | None,
    home: Path,
    passphrase_file: Path | None,
    output: str,
) -> None:
    """Give identity NAME a new key, on the channels and then in HOME/keys; the old file goes to HOME/keys/retired.

    The old key signs governance.rotate; the files change only when every channel knows the new key. Interrupted
    anywhere, run it again: it goes on with the same new key.
    """
    from dawan_node.cli.connect import connected
    from dawan_node.node import key_rotation

    place = _home(home)
    path = _find(home, name)
    key_rotation.check(place, path)
    rotation = key_rotation.begin(place, path, obtain_passphrase(passphrase_file, prompt=f"Passphrase of {name}"))
    with connected(rpc, home, submits=True) as client:
        rotated = _rotate_on_channels(client, rotation, channel, timeout)
    kept = key_rotation.finish(place, rotation)
    shown = {
        "name": rotation.identity,
        "public_key": "0x" + rotation.new.public_key.hex(),
        "old_public_key": "0x" + rotation.old.public_key.hex(),
        "channels": rotated,
        "file": str(path),
        "retired": str(kept),
    }
    if output == "json":
        print_json(shown)
        return
    click.echo(f"{rotation.identity} signs with {shown['public_key']} on {', '.join(rotated)}")
    click.echo(f"The old key is kept in {kept}; it signs nothing any more.")


@keys.command()
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="New folder; it must not exist.")
@home_option
@passphrase_option
@output_option
def backup(folder: Path, home: Path, passphrase_file: Path | None, output: str) -> None:
    """Copy identity keys and the certificate authority, encrypted as they are; each is opened first to prove it works.

    Never the node key or its log: a second machine with them could sign two things for one slot.
    """
    from dawan_node.node import key_backup
    from dawan_node.node.key_doctor import require_keys

    place = _home(home)
    require_keys(place)
    made = key_backup.back_up(place, folder, obtain_passphrase(passphrase_file), datetime.now(UTC))
    rows = [{"file": each.file, "sha256": each.sha256, "bytes": each.bytes} for each in made]
    if output == "json":
        print_json({"folder": str(folder), "files": rows, "not_included": list(key_backup.LEFT_OUT)})
        return
    print_table({"file": "FILE", "bytes": "BYTES", "sha256": "SHA-256"}, rows)
    for left in key_backup.LEFT_OUT:
        click.echo(f"not included: {left}")
    click.echo(f"Written to {folder}. It opens with the same passphrase: keep that somewhere else.")


@keys.command()
@home_option
@click.option("--passphrase-file", type=_FILE, help="Also open every key with this passphrase; there is no prompt.")
@output_option
def doctor(home: Path, passphrase_file: Path | None, output: str) -> None:
    """Examine every file in HOME/keys; changes nothing. Exit code 6 when something is wrong."""
    from dawan_node.node import config, key_doctor

    place = _home(home)
    key_doctor.require_keys(place)
    devnet = place.config_file.exists() and config.load(place.config_file, environment={}).devnet.faults
    passphrase = obtain_passphrase(passphrase_file) if passphrase_file is not None else None
    found = key_doctor.examine(place, passphrase, devnet=devnet)
    if output == "json":
        rows = [{"file": str(each.path), "ok": each.ok, "problem": each.problem, "fix": each.fix} for each in found]
        print_json(rows)
    else:
        for each in found:
            click.echo(f"{'ok     ' if each.ok else 'problem'} {each.path}{'' if each.ok else ': ' + each.problem}")
            if not each.ok:
                click.echo(f"        {each.fix}")
    wrong = [each for each in found if not each.ok]
    if wrong:
        raise CommandFailed(
            ExitCode.UNHEALTHY,
            f"{len(wrong)} of {len(found)} files in {place.keys} are not as they should be",
            f"{wrong[0].path}: {wrong[0].problem}",
            wrong[0].fix,
        )


def _rotate_on_channels(client: Any, rotation: Rotation, chosen: tuple[str, ...], timeout_s: int) -> list[str]:
    """Every channel of the node that knows the identity, all under the new key when this returns.

    Raises CommandFailed: the chain refuses, or a channel that was not chosen still has the old key.
    """
    from dawan_node.cli.sending import SUITE, send

    known = {name: _identity_key(client, name, rotation) for name in {*client.channel_list(), *chosen}}
    on = sorted(name for name, key in known.items() if key is not None)
    absent = sorted(set(chosen) - set(on))
    if absent or not on:
        why = f"channel {absent[0]} has no such identity" if absent else "no channel of this node has such an identity"
        raise _not_rotated(rotation, why, "Ask the node of a channel that has it.")
    new = "0x" + rotation.new.public_key.hex()
    for name in on:
        if known[name] == new or (chosen and name not in chosen):
            continue
        args = {"name": rotation.identity, "suite": SUITE, "public_key": new}
        verdict, meaning = send(client, name, rotation.old, "governance", "rotate", args, timeout_s)
        # What counts is the state: an earlier attempt may have been committed while this one was refused for it.
        if _identity_key(client, name, rotation) != new:
            reason = (verdict.get("receipt") or {}).get("reason") or verdict["status"]
            raise _not_rotated(rotation, f"channel {name} answers {reason} {meaning}".rstrip(), "Correct the cause.")
    if left := [name for name in on if chosen and name not in chosen and known[name] != new]:
        raise _not_rotated(
            rotation, f"channel {left[0]} still has the old key", "Run it again with that --channel, or with none."
        )
    return on


def _identity_key(client: Any, channel: str, rotation: Rotation) -> str | None:
    """The key a channel has for the identity, None when it has no such identity. Raises CommandFailed."""
    from dawan_node.rpc.client import RpcError

    try:
        found = client.member_get(channel, rotation.identity)
    except RpcError as error:
        if error.code == _NOT_FOUND:
            return None
        raise
    key = found.get("public_key")
    if key is None:
        return None
    expected = {"0x" + each.public_key.hex() for each in (rotation.old, rotation.new)}
    if key not in expected or found.get("status") != "active":
        why = f"channel {channel} has {key} ({found.get('status')}) for it, not the key in {rotation.path}"
        raise _not_rotated(rotation, why, "Use the home that holds that key; an administrator can rotate it too.")
    return str(key)


def _not_rotated(rotation: Rotation, why: str, fix: str) -> CommandFailed:
    return CommandFailed(ExitCode.REJECTED, f"the key of {rotation.identity} was not replaced", why, fix)


def _open(path: Path, passphrase_file: Path | None) -> PrivateKey:
    from dawan_node.crypto import keystore

    keystore.describe(path)  # a missing file is said before the passphrase is asked for
    return keystore.load_signing_key(path, obtain_passphrase(passphrase_file, prompt=f"Passphrase of {path}"))


def _read_pkcs8(path: Path, passphrase_file: Path | None) -> PrivateKey:
    from dawan_node.crypto import keystore, pkcs8

    data = keystore.read_guarded(path, "PKCS#8 file", pkcs8.FILE_BYTES_MAX)
    click.echo(f"warning: {pkcs8.WARNING}", err=True)
    return pkcs8.from_pem(data, obtain_passphrase(passphrase_file, prompt=f"Passphrase of {path}"), str(path))


def _write_pkcs8(target: Path, key: PrivateKey, passphrase: bytes, output: str) -> None:
    from dawan_node.crypto import keystore, pkcs8

    keystore.write_new(target, pkcs8.to_pem(key, passphrase))
    click.echo(f"warning: {pkcs8.WARNING}", err=True)
    shown = {"file": str(target), "public_key": "0x" + key.public_key.hex()}
    if output == "json":
        print_json(shown)
    else:
        click.echo(f"{target}: {shown['public_key']}")


def _home(path: Path) -> Home:
    from dawan_node.node.home import Home

    return Home(path)


def _find(home: Path, name: str) -> Path:
    """The file of a key named as in ``keys list``, or the path of a key file."""
    from dawan_node.crypto import keystore

    if "/" in name or name.endswith(".json"):
        return Path(name)
    place = _home(home)
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
