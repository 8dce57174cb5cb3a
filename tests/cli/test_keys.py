"""``keys``: rotated on the chain and on the disk, backed up, examined, and carried to other programs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dawan_node.crypto import keystore, pkcs8
from dawan_node.crypto.signatures import PrivateKey
from dawan_node.errors import KeystoreError
from dawan_node.execution.describe import describe_module
from dawan_node.modules.governance import module as governance
from dawan_node.node import key_rotation
from dawan_node.node.home import Home
from dawan_node.primitives.receipt import Receipt
from dawan_node.primitives.transaction import Transaction
from dawan_node.rpc.api import (
    ApiError,
    ChannelInfo,
    IdentityInfo,
    ModuleInfo,
    OrgInfo,
    PrepareContext,
    ReceiptInfo,
    Refusal,
    SubmitOutcome,
    TxStatus,
    Wait,
)
from tests.cli.node_in_reach import PASSPHRASE, CommandLine, command_line
from tests.rpc.fake_node import CHAIN_ID, KEY, NOW_MS, FakeNode

SECRET = KEY.seed()


class Chain(FakeNode):
    """Channels that know alice and rotate her key as the governance module does."""

    def __init__(self, *channels: str) -> None:
        super().__init__()
        self.keys: dict[str, bytes] = dict.fromkeys(channels, KEY.public_key)
        self.elsewhere: tuple[str, ...] = ()
        self.status_of_alice = "active"
        self.answers = True
        self.rotations = self.submissions = 0

    def channels(self) -> tuple[str, ...]:
        return (*self.keys, *self.elsewhere)

    def _require(self, channel: str) -> None:
        if channel not in self.channels():
            raise ApiError.not_found("channel", channel)

    def channel(self, channel: str) -> ChannelInfo:
        self._require(channel)
        return replace(super_channel(), channel=channel, chain_id=chain_id(channel))

    def prepare_context(self, channel: str) -> PrepareContext:
        self._require(channel)
        return PrepareContext(chain_id(channel), NOW_MS, 3_600_000)

    def describe(self, channel: str, module: str) -> Mapping[str, Any]:
        return describe_module(governance)

    def modules(self, channel: str) -> tuple[ModuleInfo, ...]:
        return (ModuleInfo("governance", governance.version),)

    def check_command(self, channel: str, module: str, command: str, args: Mapping[str, Any]) -> None:
        assert (module, command) == ("governance", "rotate")

    async def submit(
        self, channel: str, envelopes: Sequence[bytes], wait: Wait, timeout_ms: int, bearer: str
    ) -> list[SubmitOutcome]:
        [envelope] = envelopes
        tx = Transaction.decode(envelope)
        assert tx.verify_signature() and wait is Wait.COMMITTED
        assert tx.body.args["name"] == "alice" and tx.body.chain_id == chain_id(channel)
        self.submissions += 1
        fits = tx.public_key == self.keys[channel]
        if fits:
            self.keys[channel] = tx.body.args["public_key"]
            self.rotations += 1
        if not self.answers:
            return [SubmitOutcome(tx.tx_id, TxStatus.PENDING, None, Refusal(1100, "E_WAIT_TIMEOUT", "not final"))]
        receipt = Receipt(tx.tx_id, 1, 0, 0 if fits else 5, "" if fits else "E_KEY_USED", [])
        status = TxStatus.COMMITTED if fits else TxStatus.FAILED
        return [SubmitOutcome(tx.tx_id, status, ReceiptInfo(receipt, b"\xaa" * 32, "governance"))]

    async def member(self, channel: str, name: str) -> OrgInfo | IdentityInfo | None:
        self._require(channel)
        if name != "alice" or channel in self.elsewhere:
            return None
        return IdentityInfo("alice", "gz", ("supplier",), "ed25519", self.keys[channel], self.status_of_alice, 0)


def super_channel() -> ChannelInfo:
    return FakeNode().channel("trade")


def chain_id(channel: str) -> bytes:
    return CHAIN_ID if channel == "trade" else hashlib.sha256(channel.encode()).digest()


@pytest.fixture
def chain() -> Chain:
    return Chain("trade", "alliance")


@pytest.fixture
def dawan(tmp_path: Path, chain: Chain) -> Iterator[CommandLine]:
    with command_line(tmp_path, node=chain) as line:
        line.make_key()
        yield line


def secret_of(dawan: CommandLine) -> list[str]:
    return ["--passphrase-file", str(dawan.folder / "passphrase")]


def rotate(dawan: CommandLine, *options: str, name: str = "alice") -> Result:
    result = dawan("keys", "rotate", name, *secret_of(dawan), *options)
    assert PASSPHRASE.decode() not in result.output and SECRET.hex() not in result.output
    return result


def current(dawan: CommandLine) -> PrivateKey:
    return keystore.load_signing_key(dawan.folder / "keys/alice.key.json", PASSPHRASE)


def test_a_key_is_rotated_on_every_channel_and_then_on_the_disk(dawan: CommandLine, chain: Chain) -> None:
    chain.elsewhere = ("health",)
    result = rotate(dawan, "-o", "json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["channels"] == ["alliance", "trade"] and chain.rotations == 2
    assert set(chain.keys.values()) == {current(dawan).public_key} != {KEY.public_key}
    assert said["public_key"] == "0x" + current(dawan).public_key.hex()
    kept = Path(said["retired"])
    assert kept.parent.name == "retired" and keystore.load_signing_key(kept, PASSPHRASE).seed() == SECRET
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert list((dawan.folder / "keys/pending").iterdir()) == []
    assert [row["name"] for row in dawan.json("keys", "list", "-o", "json")] == ["alice"]
    cost = keystore.describe(dawan.folder / "keys/alice.key.json").cost
    assert cost == keystore.DEVNET, "the new file costs as much to guess as the old one"


def test_a_commit_nobody_heard_of_is_found_when_it_is_run_again(dawan: CommandLine, chain: Chain) -> None:
    chain.answers = False
    result = rotate(dawan)
    assert (result.exit_code, current(dawan).public_key) == (5, KEY.public_key)
    pending = keystore.describe(dawan.folder / "keys/pending/alice.key.json").public_key
    chain.answers = True
    assert rotate(dawan).exit_code == 0
    assert current(dawan).public_key == pending and set(chain.keys.values()) == {pending}
    assert chain.submissions == chain.rotations == 2, "a channel that knows the new key is not asked again"


@pytest.mark.parametrize("step", ["link", "replace"])
def test_a_crash_between_the_last_steps_is_finished_when_it_is_run_again(
    dawan: CommandLine, chain: Chain, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(key_rotation.os, step, crash)
        result = rotate(dawan)
        assert result.exit_code == 1 and "run the same command again" in result.stderr
    assert current(dawan).seed() == SECRET, "the file is there at every moment"
    assert rotate(dawan).exit_code == 0
    assert set(chain.keys.values()) == {current(dawan).public_key} and chain.rotations == 2
    assert len(list((dawan.folder / "keys/retired").iterdir())) == 1


def test_a_node_that_answers_nothing_leaves_the_file_as_it_was(dawan: CommandLine) -> None:
    dawan.environment["DAWAN_RPC"] = "http://127.0.0.1:1"
    assert rotate(dawan).exit_code == 3
    assert current(dawan).seed() == SECRET


def test_one_channel_at_a_time_changes_the_file_only_after_the_last(dawan: CommandLine, chain: Chain) -> None:
    first = rotate(dawan, "--channel", "trade")
    assert first.exit_code == 4 and "channel alliance still has the old key" in first.stderr
    assert (chain.rotations, current(dawan).seed()) == (1, SECRET)
    assert rotate(dawan, "--channel", "alliance").exit_code == 0
    assert set(chain.keys.values()) == {current(dawan).public_key}


def test_rotation_refuses_what_the_chain_does_not_fit(dawan: CommandLine, chain: Chain) -> None:
    chain.status_of_alice = "revoked"
    assert "(revoked)" in rotate(dawan).stderr
    chain.status_of_alice = "active"
    chain.keys["alliance"] = b"\x07" * 32
    said = rotate(dawan)
    assert said.exit_code == 4 and "not the key in" in said.stderr
    chain.keys, chain.elsewhere = {}, ("trade",)
    assert "no channel of this node has such an identity" in rotate(dawan).stderr
    assert "channel nowhere has no such identity" in rotate(dawan, "--channel", "nowhere").stderr
    assert chain.rotations == 0 and current(dawan).seed() == SECRET


def test_a_node_key_and_a_tls_key_are_not_rotated_and_it_says_what_to_do_instead(dawan: CommandLine) -> None:
    place = Home(dawan.folder)
    keystore.create_signing_key(place.node_key, "gz1", PASSPHRASE, cost=keystore.DEVNET)
    for name in ("node", "gz1"):
        result = rotate(dawan, name=name)
        assert result.exit_code == 1 and "voted in" in result.stderr and "tied to the log" in result.stderr
    keystore.create(place.tls_key, b"der", name="gz1 TLS", kind=keystore.SecretKind.P256, public_key=b"x" * 91,
                    passphrase=PASSPHRASE, cost=keystore.DEVNET)  # fmt: skip
    assert "cert renew --new-key" in rotate(dawan, name="tls").stderr
    assert not (dawan.folder / "keys/pending").exists()


def test_a_wrong_passphrase_rotates_nothing(dawan: CommandLine, chain: Chain) -> None:
    (dawan.folder / "passphrase").write_bytes(b"canary-wrong")
    result = rotate(dawan)
    assert result.exit_code == 1 and "canary-wrong" not in result.output
    assert not (dawan.folder / "keys/pending").exists() and chain.rotations == 0


# -- backup ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with everything ``init`` makes. Read only."""
    folder = tmp_path_factory.mktemp("whole")
    with command_line(folder) as line:
        secret = folder / "passphrase"
        secret.touch(mode=0o600)
        secret.write_bytes(PASSPHRASE)
        done = line("init", "--name", "gz1", "--org", "gz", "--home", str(folder / "gz1"), "--devnet",
                    "--identity", "gz-bank", "--identity", "gz-admin", *secret_of(line))  # fmt: skip
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    shutil.copy(whole / "passphrase", tmp_path / "passphrase")
    return Path(shutil.copytree(whole / "gz1", tmp_path / "gz1"))


@pytest.fixture
def here(home: Path) -> Iterator[CommandLine]:
    """A command line in that home; no node is needed."""
    yield CommandLine(None, home.parent, {"DAWAN_HOME": str(home)})  # type: ignore[arg-type]


def test_a_backup_holds_what_can_be_restored_and_its_hashes(here: CommandLine, home: Path) -> None:
    target = home.parent / "backup"
    result = here("keys", "backup", "--to", str(target), *secret_of(here))
    assert result.exit_code == 0, result.output
    assert "not included: keys/node.key.json" in result.stdout and "data/wal" in result.stdout
    manifest = json.loads((target / "manifest.json").read_text())
    names = [each["file"] for each in manifest["files"]]
    assert names == ["keys/ca/ca.key.json", "keys/ca/ca.pem", "keys/ca/issued.jsonl", "keys/gz-admin.key.json",
                     "keys/gz-bank.key.json"]  # fmt: skip
    for each in manifest["files"]:
        data = (target / each["file"]).read_bytes()
        assert data == (home / each["file"]).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (each["sha256"], each["bytes"])
        assert stat.S_IMODE((target / each["file"]).stat().st_mode) == 0o600
    present = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert present == sorted([*names, "manifest.json"])
    assert keystore.load_signing_key(target / "keys/gz-bank.key.json", PASSPHRASE)
    assert PASSPHRASE not in b"".join(path.read_bytes() for path in target.rglob("*") if path.is_file())


def test_a_backup_is_all_or_nothing(here: CommandLine, home: Path) -> None:
    target = home.parent / "backup"
    (home / "keys/gz-bank.key.json").unlink()
    keystore.create_signing_key(home / "keys/gz-bank.key.json", "gz-bank", b"another", cost=keystore.DEVNET)
    before = sorted(home.parent.iterdir())
    result = here("keys", "backup", "--to", str(target), *secret_of(here))
    assert result.exit_code == 1 and "gz-bank.key.json does not open" in result.stderr
    assert sorted(home.parent.iterdir()) == before
    target.mkdir()
    assert "never overwritten" in here("keys", "backup", "--to", str(target), *secret_of(here)).stderr
    assert list(target.iterdir()) == []


def test_a_full_disk_leaves_no_folder_that_looks_like_a_backup(
    here: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    result = here("keys", "backup", "--to", str(home.parent / "backup"), *secret_of(here))
    assert result.exit_code == 1 and "No space left" in result.stderr
    assert not (home.parent / "backup").exists()


# -- doctor ----------------------------------------------------------------------------------------------------------


def doctor(here: CommandLine, *options: str) -> tuple[int, dict[str, str]]:
    """Exit code, and file name -> problem with its fix."""
    result = here("keys", "doctor", "-o", "json", *options)
    assert PASSPHRASE.decode() not in result.output
    rows = json.loads(result.stdout)
    assert all(bool(row["problem"]) == bool(row["fix"]) != row["ok"] for row in rows)
    return result.exit_code, {Path(r["file"]).name: f"{r['problem']} {r['fix']}" for r in rows if not r["ok"]}


def test_a_home_as_init_made_it_is_in_order(here: CommandLine) -> None:
    assert doctor(here) == (0, {})
    assert doctor(here, *secret_of(here)) == (0, {})
    lines = here("keys", "doctor").stdout.splitlines()
    assert len(lines) == 10 and all(line.startswith("ok ") for line in lines)


def make_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def edit_name(path: Path) -> None:
    path.rename(path.with_name("gz-bnk.key.json"))


def other_tls(home: Path) -> None:
    (home / "keys/tls.pem").write_bytes((home / "keys/ca/ca.pem").read_bytes())


WRONG: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "a key others can read": (lambda h: (h / "keys/tls.key.json").chmod(0o644), "tls.key.json", "chmod 0600"),
    "the key folder is open": (lambda h: (h / "keys").chmod(0o755), "keys", "chmod 0700"),
    "the folder of the authority is open": (lambda h: (h / "keys/ca").chmod(0o750), "ca", "chmod 0700"),
    "a link": (lambda h: make_link(h / "keys/gz-bank.key.json"), "gz-bank.key.json", "symbolic link"),
    "a truncated key": (lambda h: os.truncate(h / "keys/node.key.json", 100), "node.key.json", "not a complete"),
    "another name": (lambda h: edit_name(h / "keys/gz-bank.key.json"), "gz-bnk.key.json", "named 'gz-bank'"),
    "another certificate": (other_tls, "tls.key.json", "no certificate in tls.pem is for this key"),
    "no certificate": (lambda h: (h / "keys/tls.pem").unlink(), "tls.key.json", "cert renew"),
    "no authority certificate": (lambda h: (h / "keys/ca/ca.pem").unlink(), "ca.key.json", "there is no ca.pem"),
    "a damaged certificate": (lambda h: (h / "keys/tls.pem").write_text("junk"), "tls.pem", "not a PEM"),
    "a key in the clear": (
        lambda h: (h / "keys/old.txt").write_text("-----BEGIN PRIVATE KEY-----\n"),
        "old.txt",
        "outside the key file format",
    ),
    "a register others can read": (lambda h: (h / "keys/ca/issued.jsonl").chmod(0o644), "issued.jsonl", "chmod 0600"),
    "a named pipe": (lambda h: os.mkfifo(h / "keys/pipe"), "pipe", "not a regular file"),
    "an interrupted change": (
        lambda h: keystore.create_signing_key(h / "keys/pending/gz-bank.key.json", "gz-bank", PASSPHRASE,
                                              cost=keystore.DEVNET),
        "pending",
        "again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("title", WRONG)
def test_the_doctor_finds(here: CommandLine, home: Path, title: str) -> None:
    damage, file, words = WRONG[title]
    damage(home)
    code, found = doctor(here)
    assert code == 6 and words in found[file]


def test_the_doctor_opens_every_key_only_when_it_is_given_the_passphrase(here: CommandLine, home: Path) -> None:
    (home / "keys/gz-bank.key.json").unlink()
    keystore.create_signing_key(home / "keys/gz-bank.key.json", "gz-bank", b"another", cost=keystore.DEVNET)
    assert doctor(here) == (0, {})
    code, found = doctor(here, *secret_of(here))
    assert code == 6 and list(found) == ["gz-bank.key.json"] and "passphrase is wrong" in found["gz-bank.key.json"]


def test_a_key_that_is_cheap_to_guess_is_a_problem_outside_a_test_network(here: CommandLine, home: Path) -> None:
    text = (home / "node.toml").read_text()
    (home / "node.toml").write_text(text.replace("faults = true", "faults = false"))
    code, found = doctor(here)
    assert code == 6 and len(found) == 5 and all("cheap to guess" in problem for problem in found.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["keys/gz-bank.key.json", "keys/ca"])
def test_a_key_of_another_user_is_found_and_refused(here: CommandLine, home: Path, what: str) -> None:
    os.chown(home / what, 12345, -1)
    code, found = doctor(here)
    assert code == 6 and "belongs to user 12345" in found[Path(what).name]
    inside = home / what if what.endswith(".json") else home / what / "ca.key.json"
    with pytest.raises(KeystoreError, match="belongs to user 12345"):
        keystore.load(inside, PASSPHRASE)


def test_the_doctor_repairs_nothing(here: CommandLine, home: Path) -> None:
    (home / "keys/tls.key.json").chmod(0o640)
    doctor(here)
    assert stat.S_IMODE((home / "keys/tls.key.json").stat().st_mode) == 0o640


# -- PKCS#8 ----------------------------------------------------------------------------------------------------------


def test_a_key_leaves_and_enters_as_encrypted_pkcs8_with_a_warning(here: CommandLine, home: Path) -> None:
    out = home.parent / "out"
    keystore.make_private_folder(out)
    other = out / "other"
    other.touch(mode=0o600)
    other.write_text("another canary\n")
    left = here("keys", "export", "gz-bank", "--to", str(out / "bank.pem"), "--pkcs8", *secret_of(here),
                "--new-passphrase-file", str(other))  # fmt: skip
    assert left.exit_code == 0 and "2,048 rounds" in left.stderr, left.output
    data = (out / "bank.pem").read_bytes()
    assert data.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE((out / "bank.pem").stat().st_mode) == 0o600
    key = load_pem_private_key(data, b"another canary")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    entered = here("keys", "import", str(out / "bank.pem"), "--pkcs8", "--name", "copy", "--old-passphrase-file",
                   str(other), *secret_of(here))  # fmt: skip
    assert entered.exit_code == 0 and "2,048 rounds" in entered.stderr, entered.output
    copied = keystore.load_signing_key(home / "keys/copy.key.json", PASSPHRASE)
    original = keystore.load_signing_key(home / "keys/gz-bank.key.json", PASSPHRASE)
    assert copied.seed() == original.seed()
    for said in (left.output, entered.output):
        assert original.seed().hex() not in said and "canary" not in said and "BEGIN" not in said
    assert "never" in here("keys", "export", "gz-bank", "--to", str(out / "bank.pem"), "--pkcs8", *secret_of(here),
                           "--new-passphrase-file", str(other)).stderr  # fmt: skip


def test_the_node_key_does_not_leave_as_pkcs8_either(here: CommandLine, home: Path) -> None:
    result = here("keys", "export", "node", "--to", str(home.parent / "x" / "n.pem"), "--pkcs8", *secret_of(here))
    assert result.exit_code == 1 and "the node key is not exported" in result.stderr


def encoded(key: Any, passphrase: bytes | None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(ed25519.Ed25519PrivateKey.generate(), None), "is not encrypted"),
        (encoded(ec.generate_private_key(ec.SECP256R1()), PASSPHRASE), "another kind"),
        (encoded(ed25519.Ed25519PrivateKey.generate(), b"other"), "the passphrase is wrong"),
        (encoded(ed25519.Ed25519PrivateKey.generate(), PASSPHRASE)[:-60], "damaged"),
        (b"", "not an encrypted PKCS#8 key"),
        (b"x" * 20_000, "larger than"),
    ],
)
def test_a_pkcs8_file_is_refused(here: CommandLine, home: Path, data: bytes, words: str) -> None:
    file = home.parent / "key.pem"
    file.touch(mode=0o600)
    file.write_bytes(data)
    result = here("keys", "import", str(file), "--pkcs8", "--name", "copy", "--old-passphrase-file",
                  str(home.parent / "passphrase"), *secret_of(here))  # fmt: skip
    assert result.exit_code == 1 and words in result.stderr, result.output
    assert not (home / "keys/copy.key.json").exists()


def test_a_pkcs8_file_that_others_can_read_is_refused(here: CommandLine, home: Path) -> None:
    file = home.parent / "key.pem"
    file.write_bytes(encoded(ed25519.Ed25519PrivateKey.generate(), PASSPHRASE))
    file.chmod(0o644)
    result = here("keys", "import", str(file), "--pkcs8", "--name", "copy", *secret_of(here))
    assert result.exit_code == 1 and "lets other users in" in result.stderr


def test_a_key_is_not_written_as_pkcs8_without_a_passphrase() -> None:
    with pytest.raises(KeystoreError, match="no passphrase"):
        pkcs8.to_pem(KEY, b"")
