"""Homes of a consortium made with the commands an operator types, and whether a command left anything behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner, Result

from dawan_node.cli.main import cli
from dawan_node.crypto.authority import issue_node_certificate
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.crypto.keystore import load as load_key
from dawan_node.node import consortium
from dawan_node.node.home import Home, read_certificate, unlock
from dawan_node.node.join_request import JoinRequest, sign
from dawan_node.node.join_request import load as load_request

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "configs" / "consortium.devnet.toml"
PASSPHRASE = "canary-passphrase"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def passphrase_file(folder: Path) -> Path:
    path = folder / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    path.chmod(0o600)
    return path


def make_homes(folder: Path, template: Path = TEMPLATE) -> None:
    """``init`` and ``network join-request`` of every validator of the template, each in ``folder/NAME``."""
    secret = passphrase_file(folder)
    document = consortium.load_document(template)
    for number, node in enumerate(document.validator):
        identities = [i.name for i in document.identity if i.org == node.org]
        named = [word for name in identities for word in ("--identity", name)]
        address = f"127.0.0.1:{7101 + number}"
        succeed("init", "--name", node.name, "--org", node.org, "--home", folder / node.name, "--listen", address,
                "--passphrase-file", secret, "--devnet", *named)  # fmt: skip
        succeed("network", "join-request", template, "--home", folder / node.name, "--passphrase-file", secret)


def requests_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/network/join-request.toml"))


def tree(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything below a folder: path -> mode and content (or target of a link)."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content: bytes | str = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (status.st_mode, content)
    return found


def resign(home: Home, tls: CertifiedKey | None = None, signer: Home | None = None, **changes: Any) -> None:
    """The home's join-request again, with ``changes`` made before signing: rightly signed and wrong otherwise."""
    request = load_request(home.join_request_file)
    keys = unlock(signer or home, PASSPHRASE.encode())
    certified = tls or unlock(home, PASSPHRASE.encode()).tls
    fields = {"certificate": to_pem([certified.certificate]), "public_key": "0x" + keys.node.public_key.hex()} | changes
    changed: JoinRequest = sign(msgspec.structs.replace(request, **fields), keys.node, certified)
    home.join_request_file.write_text(changed.render(), encoding="utf-8")


def issue(authority: Home, org: str, name: str, now: datetime) -> CertifiedKey:
    """A TLS certificate from the authority of another home."""
    key = load_key(authority.authority_key, PASSPHRASE.encode())
    return issue_node_certificate(
        CertifiedKey(read_certificate(authority.authority_certificate), key.secret), org, name, [], now
    )


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A change to a text file below the folder it is called with."""

    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change
