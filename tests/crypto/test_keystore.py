"""Key files: what is stored comes back, and everything suspicious is refused with a way out."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.crypto import keystore
from dawan_node.crypto.keystore import DEVNET, SecretKind
from dawan_node.errors import KeystoreError

PASSPHRASE = b"correct horse canary staple"
SEED = bytes(range(32))


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "gz1.key.json"
    keystore.create_signing_key(path, "gz1", PASSPHRASE, cost=DEVNET, seed=SEED)
    return path


def test_a_key_comes_back_with_the_right_passphrase(key_path: Path) -> None:
    key = keystore.load_signing_key(key_path, PASSPHRASE)
    assert key.seed() == SEED
    info = keystore.describe(key_path)
    assert (info.name, info.kind, info.public_key) == ("gz1", SecretKind.ED25519, key.public_key)


def test_a_key_file_is_private_from_its_first_moment(key_path: Path) -> None:
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_path.parent.stat().st_mode) == 0o700


def test_the_production_cost_is_the_default_and_is_written_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "a.key.json"
    keystore.create_signing_key(path, "a", PASSPHRASE)
    kdf = json.loads(path.read_text())["kdf"]
    assert (kdf["name"], kdf["memory_kib"], kdf["iterations"], kdf["lanes"]) == ("argon2id", 65536, 3, 4)
    assert keystore.load_signing_key(path, PASSPHRASE).public_key == keystore.describe(path).public_key


def test_two_files_of_one_key_and_passphrase_share_no_ciphertext(tmp_path: Path) -> None:
    for name in ("a", "b"):
        keystore.create_signing_key(tmp_path / "k" / f"{name}.key.json", "x", PASSPHRASE, cost=DEVNET, seed=SEED)
    a, b = (json.loads((tmp_path / "k" / f"{name}.key.json").read_text()) for name in ("a", "b"))
    assert a["kdf"]["salt"] != b["kdf"]["salt"]
    assert a["cipher"] != b["cipher"]


def test_an_existing_key_is_never_overwritten(key_path: Path) -> None:
    before = key_path.read_bytes()
    with pytest.raises(KeystoreError, match="never overwritten"):
        keystore.create_signing_key(key_path, "gz1", b"other", cost=DEVNET)
    assert key_path.read_bytes() == before


def test_a_key_that_could_not_be_made_durable_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore.make_private_folder(tmp_path / "keys")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keystore.os, "fsync", full)
    with pytest.raises(KeystoreError, match="No space left"):
        keystore.create_signing_key(tmp_path / "keys" / "a.key.json", "a", PASSPHRASE, cost=DEVNET)
    assert list((tmp_path / "keys").iterdir()) == []


def make_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def make_linked_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to(path.parent.with_name("moved"))


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


DAMAGE = {
    "is a symbolic link": (make_link, "symbolic link"),
    "is in a linked folder": (make_linked_folder, "symbolic link"),
    "is readable by the group": (lambda p: p.chmod(0o640), "chmod 0600"),
    "is readable by the world": (lambda p: p.chmod(0o604), "chmod 0600"),
    "is in a folder others can list": (lambda p: p.parent.chmod(0o750), "chmod 0700"),
    "is missing": (lambda p: p.unlink(), "no such file"),
    "is a named pipe": (make_pipe, "not a regular file"),
    "is a folder": (lambda p: (p.unlink(), p.mkdir(0o700)), "not a regular file"),
    "is truncated": (truncate, "not a complete key file"),
    "is empty": (lambda p: p.write_bytes(b""), "not a complete key file"),
    "is huge": (lambda p: p.write_bytes(b" " * 20_000), "larger than"),
    "has an unknown field": (lambda p: edit(p, lambda c: c.update(note="x")), "not a complete key file"),
    "has another name": (lambda p: edit(p, lambda c: c.update(name="hk1")), "does not open"),
    "has another public key": (lambda p: edit(p, lambda c: c.update(public_key="0x" + "11" * 32)), "does not open"),
    "has another salt": (lambda p: edit(p, lambda c: c["kdf"].update(salt="0x" + "00" * 16)), "does not open"),
    "has a short nonce": (lambda p: edit(p, lambda c: c["cipher"].update(nonce="0x00")), "instead of 12"),
    "has a flipped bit": (
        lambda p: edit(p, lambda c: c["cipher"].update(text=f"0x{int(c['cipher']['text'][2:], 16) ^ 1:096x}")),
        "does not open",
    ),
    "has no hexadecimal": (lambda p: edit(p, lambda c: c["cipher"].update(text="0xzz")), "not hexadecimal"),
    "asks for little work": (lambda p: edit(p, lambda c: c["kdf"].update(memory_kib=64)), "too weakly protected"),
    "asks for all memory": (lambda p: edit(p, lambda c: c["kdf"].update(memory_kib=2**40)), "asks for more work"),
}


@pytest.mark.parametrize("title", DAMAGE)
def test_a_suspicious_key_file_is_refused_with_a_reason_and_a_fix(key_path: Path, title: str) -> None:
    damage, words = DAMAGE[title]
    damage(key_path)
    with pytest.raises(KeystoreError, match=words) as refused:
        keystore.load(key_path, PASSPHRASE)
    assert refused.value.what and refused.value.why and refused.value.fix


def test_a_key_file_of_somebody_else_is_refused(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(KeystoreError, match="belongs to user"):
        keystore.load(key_path, PASSPHRASE)


def test_a_wrong_passphrase_is_refused(key_path: Path) -> None:
    with pytest.raises(KeystoreError, match="passphrase is wrong"):
        keystore.load(key_path, PASSPHRASE + b"x")


def test_an_empty_passphrase_is_refused_when_a_key_is_made(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="no passphrase"):
        keystore.create_signing_key(tmp_path / "k" / "a.key.json", "a", b"", cost=DEVNET)


def test_no_secret_appears_in_a_representation_or_an_error(key_path: Path) -> None:
    stored = keystore.load(key_path, PASSPHRASE)
    shown = [repr(stored), repr(stored.signing_key()), str(stored)]
    for wrong in (b"canary-wrong", b""):
        with pytest.raises(KeystoreError) as refused:
            keystore.load(key_path, wrong)
        shown += [repr(refused.value), str(refused.value)]
    everything = " ".join(shown)
    for secret in (SEED.hex(), repr(SEED), PASSPHRASE.decode(), "canary-wrong"):
        assert secret not in everything


def test_a_tls_key_cannot_be_used_to_sign(tmp_path: Path) -> None:
    path = tmp_path / "k" / "tls.key.json"
    keystore.create(path, b"der", name="tls", kind=SecretKind.P256, public_key=b"", passphrase=PASSPHRASE, cost=DEVNET)
    assert keystore.load(path, PASSPHRASE).secret == b"der"
    with pytest.raises(KeystoreError, match="cannot sign"):
        keystore.load_signing_key(path, PASSPHRASE)


def test_keys_of_a_folder_are_listed_without_a_passphrase(key_path: Path) -> None:
    keystore.create_signing_key(key_path.with_name("a.key.json"), "a", PASSPHRASE, cost=DEVNET)
    key_path.with_name("notes.txt").write_text("not a key")
    assert [info.name for info in keystore.list_keys(key_path.parent)] == ["a", "gz1"]


@pytest.mark.parametrize(
    ("content", "expected"), [(b"secret\n", b"secret"), (b"secret", b"secret"), (b"secret\r\nmore\n", b"secret")]
)
def test_a_passphrase_file_gives_its_first_line(tmp_path: Path, content: bytes, expected: bytes) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    path.chmod(0o600)
    assert keystore.read_passphrase_file(path) == expected


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_passphrase_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "passphrase"
    path.write_bytes(b"secret\n")
    path.chmod(mode)
    with pytest.raises(KeystoreError, match="lets other users in"):
        keystore.read_passphrase_file(path)
    # systemd guards its credential folder with access lists that show as group bits.
    assert keystore.read_passphrase_file(path, guarded=False) == b"secret"
