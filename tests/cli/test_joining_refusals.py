"""Whatever is wrong with what a party brings or gets: one clear line, exit code 1, and nothing written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dawan_node.crypto import keystore
from dawan_node.crypto.certificates import to_pem
from dawan_node.node.home import Home, read_certificate, unlock
from dawan_node.node.join_request import FILE_BYTES_MAX, RequestIdentity
from tests.cli.joining_kit import (
    PASSPHRASE,
    TEMPLATE,
    edit,
    issue,
    make_homes,
    passphrase_file,
    requests_in,
    resign,
    run,
    succeed,
    tree,
)

Damage = Callable[[Path], object]
SMALL_ORDER = "0x" + "ec" + "ff" * 30 + "7f"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four homes with their requests, ``template.toml``, and what was assembled from them in ``public``. Read only."""
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copy(TEMPLATE, folder / "template.toml")
    make_homes(folder, folder / "template.toml")
    succeed("network", "assemble", folder / "template.toml", *requests_in(folder), "--to", folder / "public")
    return folder


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(prepared, tmp_path / "place"))


def refuse(place: Path, words: str, *arguments: object) -> None:
    """The command fails with one line that says what, why and what next, and leaves everything as it was."""
    before = tree(place)
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    error = next(line for line in result.stderr.splitlines() if line.startswith("error: "))
    what, colon, rest = error.removeprefix("error: ").partition(": ")
    why, dot, fix = rest.partition(". Next: ")
    assert what and colon and why and dot and fix, error
    assert words in result.stderr, result.stderr
    assert result.stderr.isascii() and all(c.isprintable() or c == "\n" for c in result.stderr)
    assert PASSPHRASE not in result.output
    assert tree(place) == before


def in_request(name: str, old: str, new: str) -> Damage:
    return edit(f"{name}/network/join-request.toml", old, new)


def now() -> datetime:
    return datetime.now(UTC)


def forge(place: Path) -> None:
    path = place / "gz1/network/join-request.toml"
    other = (place / "hk1/network/join-request.toml").read_text()
    signature = next(line for line in other.splitlines() if line.startswith("signature"))
    lines = [signature if line.startswith("signature") else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def renew(name: str, **age: int) -> Damage:
    return lambda place: resign(Home(place / name), created=now() + timedelta(**age))


def copy_request(place: Path) -> None:
    shutil.copytree(place / "gz1/network", place / "copy/network")


def large(place: Path) -> None:
    path = place / "gz1/network/join-request.toml"
    (place / "large").write_bytes(path.read_bytes() + b"#" * FILE_BYTES_MAX)
    path.unlink()
    path.symlink_to(place / "large")


def utf16(place: Path) -> None:
    path = place / "gz1/network/join-request.toml"
    path.write_bytes(path.read_text().encode("utf-16"))


def foreign_root(place: Path) -> None:
    resign(Home(place / "gz1"), issue(Home(place / "hk1"), "gz", "gz1", now()))


def foreign_authority(place: Path) -> None:
    """hk1 says that gz's authority is its own, with a certificate that this authority issued for it."""
    gz, hk = Home(place / "gz1"), Home(place / "hk1")
    resign(hk, issue(gz, "hk", "hk1", now()), ca=to_pem([read_certificate(gz.authority_certificate)]))


def shared_identity_key(place: Path) -> None:
    keys = [keystore.describe(Home(place / name).identity_key(f"{name[:2]}-bank")) for name in ("gz1", "hk1")]
    request = (place / "hk1/network/join-request.toml").read_text()
    assert keys[1].public_key.hex() in request
    entries = [
        RequestIdentity(name=info.name, public_key="0x" + info.public_key.hex())
        for info in keystore.list_keys(place / "hk1/keys")
        if info.kind is keystore.SecretKind.ED25519 and info.name not in ("hk1", "hk-bank")
    ]
    entries.append(RequestIdentity(name="hk-bank", public_key="0x" + keys[0].public_key.hex()))
    resign(Home(place / "hk1"), identity=tuple(entries))


BAD_REQUESTS: list[tuple[str, Damage, str]] = [
    ("forged signature", forge, "the signature is not of the node key it names"),
    ("changed address", in_request("gz1", "127.0.0.1:7101", "127.0.0.1:7666"), "signature is not of"),
    ("changed identity", in_request("gz1", 'name = "gz-bank"', 'name = "gz-ban2"'), "signature is not of"),
    ("stale", renew("gz1", days=-31), "more than 30 days ago"),
    ("future", renew("gz1", minutes=10), "in the future"),
    ("other network", edit("template.toml", "dawan-devnet", "dawan-other"), "is of network 'dawan-other'"),
    ("other version", edit("template.toml", "founding = true", "founding = false"), "another version of"),
    ("one node key", lambda p: resign(Home(p / "hk1"), signer=Home(p / "gz1")), "is also that of validator"),
    ("one identity key", shared_identity_key, "is also that of identity gz-bank"),
    ("one name", copy_request, "node gz1 comes twice"),
    ("one address", lambda p: resign(Home(p / "hk1"), addresses=("127.0.0.1:7101",)), "127.0.0.1:7101 comes twice"),
    ("foreign root", foreign_root, "gz1/network/join-request.toml: the TLS certificate"),
    ("foreign authority", foreign_authority, "claims the authority of"),
    ("small order", in_request("gz1", "public_key = ", f'public_key = "{SMALL_ORDER}" #'), "point of small order"),
    ("unknown key", in_request("gz1", "addresses", "adresses"), "nearest valid one is addresses"),
    ("unknown key of an identity", in_request("gz1", "[[identity]]\nname", "[[identity]]\nnome"), "identity[1].nome"),
    (
        "unknown key of the template",
        edit("template.toml", "validators", "validator"),
        "nearest valid one is validators",
    ),
    ("too large", large, "larger than 512 KiB"),
    ("not text", utf16, "is not valid TOML"),
    ("cursor", in_request("gz1", 'name = "gz1"', 'name = "gz1\\u001b[2J"'), "node name 'gz1\\x1b[2J'"),
    ("cursor in an address", in_request("gz1", "127.0.0.1:7101", "\\u001b[A:7101"), "a host is a name"),
    ("cursor in the template", edit("template.toml", 'names.en = "', 'names.en = "\\u001b[2J'), "control or direction"),
    ("missing", lambda p: (p / "gz1/network/join-request.toml").unlink(), "organisation gz has no CA certificate"),
    ("empty", lambda p: (p / "gz1/network/join-request.toml").write_text(""), "missing required field"),
]


@pytest.mark.parametrize(("what", "damage", "words"), BAD_REQUESTS, ids=[what for what, _, _ in BAD_REQUESTS])
def test_nothing_is_assembled_from_a_request_that_is(place: Path, what: str, damage: Damage, words: str) -> None:
    damage(place)
    refuse(place, words, "network", "assemble", place / "template.toml", *requests_in(place), "--to", place / "new")


def test_a_network_is_not_assembled_straight_into_a_home(place: Path) -> None:
    refuse(place, "is inside a node's folder", "network", "assemble", place / "template.toml", *requests_in(place),
           "--to", place / "gz1/network")  # fmt: skip


def replace_key(content: str | None = None, mode: int | None = None) -> Damage:
    def change(place: Path) -> None:
        path = place / "gz1/keys/node.key.json"
        if content is not None:
            path.write_text(content)
        if mode is not None:
            path.chmod(mode)

    return change


def link_key(place: Path) -> None:
    path = place / "gz1/keys/node.key.json"
    path.rename(place / "elsewhere.key.json")
    path.symlink_to(place / "elsewhere.key.json")


def key_folder(place: Path) -> None:
    (place / "gz1/keys/node.key.json").unlink()
    (place / "gz1/keys/node.key.json").mkdir()


BAD_HOMES: list[tuple[str, Damage, str]] = [
    ("world-readable key", replace_key(mode=0o644), "lets other users in"),
    ("readable key folder", lambda p: (p / "gz1/keys").chmod(0o755), "lets other users in"),
    ("linked key", link_key, "it is a symbolic link"),
    ("truncated key", replace_key('{"format": "dawan'), "is damaged"),
    ("folder instead of a key", key_folder, "is not a regular file"),
    ("missing key", lambda p: (p / "gz1/keys/node.key.json").unlink(), "there is no such file"),
    ("missing identity key", lambda p: (p / "gz1/keys/gz-bank.key.json").unlink(), "keys new gz-bank; or --without"),
    ("missing certificate", lambda p: (p / "gz1/keys/tls.pem").unlink(), "tls.pem cannot be read"),
    (
        "certificate of another key",
        lambda p: (p / "gz1/keys/tls.pem").write_text(to_pem([issue(Home(p / "gz1"), "gz", "gz1", now()).certificate])),
        "issued for another key",
    ),
    ("unknown key in node.toml", edit("gz1/node.toml", "listen", "lisen"), "nearest valid one is listen"),
    ("unknown key in the file", edit("template.toml", "network =", "netwerk ="), "nearest valid one is network"),
    ("node not in the file", edit("gz1/node.toml", '"gz1"', '"gz7"'), "is not in"),
    ("another organisation", edit("gz1/node.toml", 'org = "gz"', 'org = "hk"'), "has it under gz"),
    ("wildcard address", edit("gz1/node.toml", "127.0.0.1:7101", "0.0.0.0:7101"), "every interface"),
    (
        "one key for two",
        lambda p: shutil.copy(p / "gz1/keys/gz-bank.key.json", p / "gz1/keys/gz-core.key.json"),
        "two entries of this home have one key",
    ),
]


@pytest.mark.parametrize(("what", "damage", "words"), BAD_HOMES, ids=[what for what, _, _ in BAD_HOMES])
def test_no_request_is_signed_in_a_home_with_a(place: Path, what: str, damage: Damage, words: str) -> None:
    damage(place)
    refuse(place, words, "network", "join-request", place / "template.toml", "--home", place / "gz1",
           "--passphrase-file", place / "passphrase")  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_key_nobody_may_read_is_said(place: Path) -> None:
    replace_key(mode=0)(place)
    result = run("network", "join-request", place / "template.toml", "--home", place / "gz1", "--passphrase-file",
                 place / "passphrase")  # fmt: skip
    assert result.exit_code == 1 and "cannot be read" in result.stderr


def test_a_node_whose_authority_has_not_answered_yet_cannot_ask_to_join(place: Path) -> None:
    succeed("init", "--name", "gz1", "--org", "gz", "--home", place / "waiting", "--external-ca", "--devnet",
            "--passphrase-file", place / "passphrase")  # fmt: skip
    refuse(place, "cert install CHAIN.pem", "network", "join-request", place / "template.toml", "--no-identities",
           "--home", place / "waiting", "--passphrase-file", place / "passphrase")  # fmt: skip


def test_a_wrong_passphrase_signs_nothing(place: Path) -> None:
    (place / "passphrase").write_text("another\n")
    refuse(place, "the passphrase is wrong", "network", "join-request", place / "template.toml", "--home",
           place / "gz1", "--passphrase-file", place / "passphrase")  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--channel", "trade"], "node gz1 of gz is in"),
        (["--role", "observer"], "node gz1 of gz is in"),
        (["--without", "gz-banc"], "the nearest valid one is gz-bank"),
    ],
)
def test_options_that_do_not_fit_are_refused(place: Path, options: list[str], words: str) -> None:
    refuse(place, words, "network", "join-request", place / "template.toml", "--home", place / "gz1",
           "--passphrase-file", place / "passphrase", *options)  # fmt: skip


def assemble_changed(old: str, new: str) -> Damage:
    """A convenor who changes the agreed file after the requests were signed, with its genesis made to fit."""

    def change(place: Path) -> None:
        from dawan_node.node import assembly, consortium

        edit("public/consortium.toml", old, new)(place)
        assembly.write(consortium.load(place / "public/consortium.toml"), place / "public")

    return change


def other_key_of(entry: str) -> Damage:
    def change(place: Path) -> None:
        info = keystore.describe(Home(place / "gz1").keys / f"{entry}.key.json")
        assemble_changed("0x" + info.public_key.hex(), "0x" + keystore_key(place / "spare", entry).hex())(place)

    return change


def keystore_key(folder: Path, name: str) -> bytes:
    path = folder / f"{name}.key.json"
    return keystore.create_signing_key(path, name, b"x", cost=keystore.DEVNET).public_key


def other_authority(place: Path) -> None:
    from dawan_node.crypto.authority import make_authority
    from dawan_node.node import assembly, consortium

    (place / "public/gz.pem").write_text(to_pem([make_authority("gz", now()).certificate]))
    assembly.write(consortium.load(place / "public/consortium.toml"), place / "public")


BAD_FOLDERS: list[tuple[str, Damage, str]] = [
    (
        "wrong genesis",
        lambda p: shutil.copy(p / "public/genesis/alliance.bin", p / "public/genesis/trade.bin"),
        "trade.bin is not the genesis of channel trade",
    ),
    ("missing genesis", lambda p: (p / "public/genesis/trade.bin").unlink(), "trade.bin cannot be read"),
    ("no consortium", lambda p: (p / "public/consortium.toml").unlink(), "consortium.toml cannot be read"),
    ("unknown key", edit("public/consortium.toml", "founding", "foundin"), "nearest valid one is founding"),
    ("a template", lambda p: shutil.copy(p / "template.toml", p / "public/consortium.toml"), "is not complete"),
    (
        "changed roles",
        assemble_changed('roles = ["bank"]', 'roles = ["bank", "factor"]'),
        "[[identity]] gz-bank: roles is ('bank', 'factor'), agreed was ('bank',)",
    ),
    ("changed modules", assemble_changed('"receivable@2"', '"receivable@1"'), "[[channel]] trade: modules is"),
    (
        "another network's name",
        assemble_changed('"dawan-devnet"', '"dawan-other"'),
        "this home belongs to network dawan-devnet",
    ),
    ("another node key", other_key_of("node"), "public_key of node gz1 in consortium.toml is not what this party"),
    ("another identity key", other_key_of("gz-bank"), "public_key of identity gz-bank in consortium.toml is not"),
    ("another address", assemble_changed("127.0.0.1:7101", "127.0.0.1:7999"), "addresses of node gz1"),
    ("another authority", other_authority, "the CA certificates of gz in consortium.toml is not what this party"),
    ("a home whose node key was replaced", lambda p: _replace_node_key(p), "key of node gz1 is not the one in"),
]


def _replace_node_key(place: Path) -> None:
    (place / "gz1/keys/node.key.json").unlink()
    keystore_key(place / "gz1/keys", "node")


@pytest.mark.parametrize(("what", "damage", "words"), BAD_FOLDERS, ids=[what for what, _, _ in BAD_FOLDERS])
def test_nothing_is_taken_over_when_there_is(place: Path, what: str, damage: Damage, words: str) -> None:
    damage(place)
    refuse(place, words, "network", "verify", "--home", place / "gz1", "--from", place / "public")


def test_a_home_of_another_network_takes_nothing_over(place: Path) -> None:
    """The same organisations formed another network with the same names; this home's keys belong to that one."""
    template = place / "other.toml"
    template.write_text(TEMPLATE.read_text("utf-8").replace("dawan-devnet", "dawan-other"), encoding="utf-8")
    succeed("network", "join-request", template, "--home", place / "gz1", "--passphrase-file", place / "passphrase")
    words = "this home belongs to network dawan-other"
    refuse(place, words, "network", "verify", "--home", place / "gz1", "--from", place / "public")


def test_a_chain_that_runs_here_is_never_given_another_genesis(place: Path) -> None:
    home = Home(place / "gz1")
    succeed("network", "verify", "--home", home.path, "--from", place / "public")
    template = place / "later.toml"
    template.write_text(TEMPLATE.read_text("utf-8").replace("2026-09-01", "2026-09-02"), encoding="utf-8")
    for name in ("gz1", "hk1", "mo1", "hq1"):
        succeed("network", "join-request", template, "--home", place / name, "--passphrase-file", place / "passphrase")
    succeed("network", "assemble", template, *requests_in(place), "--to", place / "later")
    home.database("trade").mkdir(parents=True)
    words = "channel trade runs in this home"
    refuse(place, words, "network", "verify", "--home", home.path, "--from", place / "later")
    home.database("trade").rmdir()
    succeed("network", "verify", "--home", home.path, "--from", place / "later")  # it never ran: nothing was signed


def test_what_is_taken_over_is_what_was_checked_and_the_rest_of_the_home_stays(place: Path) -> None:
    home = Home(place / "gz1")
    before = tree(home.path)
    (place / "public/extra.sh").write_text("not ours")
    succeed("network", "verify", "--home", home.path, "--from", place / "public")
    after = tree(home.path)
    new = {path for path in after if path not in before}
    assert new == {
        "network/consortium.toml", "network/genesis", "network/genesis/trade.bin", "network/genesis/alliance.bin",
        "network/gz.pem", "network/hk.pem", "network/mo.pem", "network/hq.pem",
    }  # fmt: skip
    assert {path: entry for path, entry in after.items() if path in before} == before
    succeed("network", "verify", "--home", home.path, "--from", place / "public")  # again: nothing changes
    assert tree(home.path) == after


def test_no_secret_is_in_a_request(place: Path) -> None:
    home = Home(place / "gz1")
    keys = unlock(home, PASSPHRASE.encode())
    text = home.join_request_file.read_text()
    assert keys.node.seed().hex() not in text and "PRIVATE" not in text and PASSPHRASE not in text


def test_a_damaged_passphrase_file_is_refused_before_anything(place: Path) -> None:
    passphrase_file(place).chmod(0o644)
    refuse(place, "lets other users in", "network", "join-request", place / "template.toml", "--home", place / "gz1",
           "--passphrase-file", place / "passphrase")  # fmt: skip
