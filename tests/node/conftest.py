"""Complete consortium files for tests, made without slow key files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dawan_node.crypto.authority import make_authority
from dawan_node.crypto.certificates import to_pem
from dawan_node.crypto.hashing import sha256
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.node import assembly, consortium
from dawan_node.node.assembly import Party, PartyIdentity
from dawan_node.node.consortium import Consortium

DEVNET = Path(__file__).resolve().parents[2] / "configs" / "consortium.devnet.toml"
NOW = datetime(2026, 9, 2, tzinfo=UTC)


def public_key(name: str) -> str:
    """The same key for the same name in every run."""
    return "0x" + PrivateKey.from_seed(sha256(name.encode())).public_key.hex()


def parties_for(document: consortium.Document) -> list[tuple[str, Party]]:
    """One party.toml per validator, each bringing its organisation's CA and identities."""
    made = []
    for number, node in enumerate(document.validator):
        identities = [identity.name for identity in document.identity if identity.org == node.org]
        party = Party(
            format=1,
            name=node.name,
            org=node.org,
            public_key=public_key(node.name),
            addresses=(f"127.0.0.1:{7100 + number}",),
            ca=to_pem([make_authority(node.org, NOW).certificate]),
            identity=tuple(PartyIdentity(name=name, public_key=public_key(name)) for name in identities),
        )
        made.append((f"{node.name}.toml", party))
    return made


@pytest.fixture(scope="session")
def assembled() -> Consortium:
    document = consortium.load_document(DEVNET)
    return assembly.assemble("template", document, parties_for(document), NOW)


@pytest.fixture
def write_changed(assembled: Consortium, tmp_path: Path) -> Callable[..., Path]:
    """Write the assembled consortium with one piece of its text replaced; the path of the file."""

    def write(old: str = "", new: str = "") -> Path:
        assembly.write(assembled, tmp_path / "network")
        path = tmp_path / "network" / "consortium.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return path

    return write
