"""The command line against a fake node on a loopback port, in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from dawan_node.cli.main import cli
from dawan_node.crypto.keystore import DEVNET, create_signing_key
from dawan_node.crypto.signatures import PrivateKey
from tests.rpc.fake_node import KEY
from tests.rpc.harness import Running, running

PASSPHRASE = b"open sesame"


@dataclass
class CommandLine:
    """Runs ``dawan-node``; ``server`` is the node it finds through DAWAN_RPC."""

    server: Running
    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, given: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=given, env=self.environment)

    def json(self, *arguments: str, given: str | None = None) -> Any:
        """The output of a command that must succeed."""
        done = self(*arguments, given=given)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def make_key(self, name: str = "alice", key: PrivateKey = KEY) -> list[str]:
        """Options that name a key file of ``key`` in the home and its passphrase."""
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        create_signing_key(keys / f"{name}.key.json", name, PASSPHRASE, cost=DEVNET, seed=key.seed())
        secret = self.folder / "passphrase"
        secret.touch(mode=0o600)
        secret.write_bytes(PASSPHRASE)
        return ["--key", name, "--home", str(self.folder), "--passphrase-file", str(secret)]


@contextmanager
def command_line(folder: Path, **options: Any) -> Iterator[CommandLine]:
    """A command line with a node in reach."""
    with running(**options) as server:
        environment = {"DAWAN_RPC": server.url, "DAWAN_HOME": str(folder), "DAWAN_CHANNEL": ""}
        yield CommandLine(server, folder, environment)
