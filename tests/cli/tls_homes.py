"""Homes with certificates of several organisations, for the command line against nodes whose JSON-RPC is over TLS."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.certificates import CertifiedKey, to_pem
from dawan_node.crypto.keystore import DEVNET, SecretKind, create
from dawan_node.crypto.trust import Trust
from dawan_node.node.clock import SystemClock
from dawan_node.rpc.server_tls import ServerTls
from tests.cli.node_in_reach import PASSPHRASE

#: Those that the network has registered. ``zz`` has an authority, too, and nobody knows it.
REGISTERED = ("gz", "hk")


@dataclass
class TlsHomes:
    """What all homes have in common; ``passphrase`` is the file for all their keys."""

    folder: Path
    authorities: dict[str, CertifiedKey]
    passphrase: Path

    @classmethod
    def begin(cls, folder: Path) -> TlsHomes:
        """The authorities and the network's folder, in an empty ``folder``."""
        authorities = {org: make_authority(org, datetime.now(UTC) - timedelta(days=60)) for org in (*REGISTERED, "zz")}
        passphrase = folder / "passphrase"
        passphrase.touch(mode=0o600)
        passphrase.write_bytes(PASSPHRASE)
        (folder / "network").mkdir()
        lines = ['format = 1\nnetwork = "test"\ncreated = 2026-01-01T00:00:00Z\n']
        for org in REGISTERED:
            names = "\n".join(f'names.{tag} = "{org}"' for tag in ("en", "zh-Hans", "zh-Hant", "pt"))
            (folder / "network" / f"{org}.pem").write_text(to_pem([authorities[org].certificate]))
            lines.append(f'[[org]]\nid = "{org}"\n{names}\nfounding = true\nca = ["{org}.pem"]\n')
        key = "0x" + "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        lines.append(
            f'[[validator]]\nname = "gz1"\norg = "gz"\npublic_key = "{key}"\naddresses = ["127.0.0.1:1"]\n'
            '[[channel]]\nname = "trade"\norgs = ["gz", "hk"]\nvalidators = ["gz1"]\nmodules = ["receivable@1"]\n'
        )
        (folder / "network" / "consortium.toml").write_text("\n".join(lines))
        return cls(folder, authorities, passphrase)

    def make(self, org: str, name: str, *, listen: str = "", days: int = 60) -> Path:
        """A home; ``listen``: the address of its own node, which has TLS."""
        home = self.folder / f"{name}-{org}"
        (home / "keys").mkdir(parents=True, mode=0o700)
        (home / "keys").chmod(0o700)
        shutil.copytree(self.folder / "network", home / "network")
        # All of them 30 days old; some are at their end.
        made = datetime.now(UTC) - timedelta(days=30)
        tls = issue_node_certificate(self.authorities[org], org, name, ["127.0.0.1"], made, days=days)
        (home / "keys" / "tls.pem").write_text(to_pem([tls.certificate]))
        key = home / "keys" / "tls.key.json"
        create(
            key,
            tls.private_key,
            name="tls",
            kind=SecretKind.P256,
            public_key=tls.public_key,
            passphrase=PASSPHRASE,
            cost=DEVNET,
        )
        rpc = f'[rpc]\nlisten = "{listen}"\ntls = true\n' if listen else ""
        (home / "node.toml").write_text(f'[node]\nname = "{name}"\norg = "{org}"\n{rpc}')
        return home

    def certificate(self, org: str, name: str) -> CertifiedKey:
        """Of a node that serves."""
        return issue_node_certificate(self.authorities[org], org, name, ["127.0.0.1"], datetime.now(UTC))

    def server(self, org: str, own: CertifiedKey) -> ServerTls:
        """The side of a node of ``org`` that shows the certificate ``own``."""
        roots = {each: (self.authorities[each].certificate,) for each in REGISTERED}
        return ServerTls(own, lambda judged: judged.org == org, Trust(roots), SystemClock().now)
