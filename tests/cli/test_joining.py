"""The way of a consortium from nothing to a verified home, with the commands an operator types."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawan_node.crypto import keystore
from dawan_node.node.home import Home, unlock
from dawan_node.storage.wal import Wal
from tests.cli.joining_kit import PASSPHRASE, TEMPLATE, edit, make_homes, passphrase_file, requests_in, run, succeed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four homes, assembled, each with its copy of the public files. Read only."""
    folder = tmp_path_factory.mktemp("consortium")
    make_homes(folder)
    succeed("network", "assemble", TEMPLATE, *requests_in(folder), "--to", folder / "public")
    for name in ("gz1", "hk1", "mo1", "hq1"):
        succeed("network", "verify", "--home", folder / name, "--from", folder / "public")
    return folder


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of gz1's home that a test may damage."""
    return Path(shutil.copytree(made / "gz1", tmp_path / "gz1"))


def test_every_party_verifies_the_same_chain_ids(made: Path) -> None:
    seen = set()
    for name in ("gz1", "hk1", "mo1", "hq1"):
        said = json.loads(succeed("network", "verify", "--home", made / name, "-o", "json"))
        assert said["ok"] and said["problems"] == [] and said["warnings"] == []
        seen.add(tuple(channel["chain_id"] for channel in said["channels"]))
        trade = said["channels"][0]
        assert (trade["channel"], trade["n"], trade["f"], trade["quorum"]) == ("trade", 4, 1, 3)
        assert [each["operator"] for each in trade["operators"]] == ["gz", "hk", "hq", "mo"]
        assert all(each["survives_loss"] and each["survives_lying"] for each in trade["operators"])
        assert said["notices"] == []
    assert len(seen) == 1


def test_the_table_ends_with_the_next_command(made: Path) -> None:
    said = succeed("network", "verify", "--home", made / "hk1")
    assert "CHANNEL SURVIVES ITS LOSS  SURVIVES ITS LYING" in said
    assert "\ngz        gz                 1      yes                        yes\n" in said
    assert said.rstrip().endswith(f"hk1 of hk may start: dawan-node run --home {made / 'hk1'}")


def test_assembling_again_gives_the_same_files_byte_for_byte(made: Path, tmp_path: Path) -> None:
    succeed("network", "assemble", TEMPLATE, *requests_in(made)[::-1], "--to", tmp_path)
    files = [path for path in (made / "public").rglob("*") if path.is_file()]
    assert len(files) == 7
    for path in files:
        assert (tmp_path / path.relative_to(made / "public")).read_bytes() == path.read_bytes()


def test_a_home_is_private_and_complete(made: Path) -> None:
    home = Home(made / "gz1")
    assert stat.S_IMODE(home.keys.stat().st_mode) == 0o700
    for path in (home.node_key, home.tls_key, home.authority_key, home.identity_key("gz-bank")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    unlocked = unlock(home, PASSPHRASE.encode())
    assert unlocked.node.public_key == keystore.describe(home.node_key).public_key
    assert unlocked.node.seed().hex() not in repr(unlocked)
    Wal.open(home.wal).close()


def test_no_secret_is_in_a_public_file_or_an_output(made: Path) -> None:
    home = Home(made / "gz1")
    seed = unlock(home, PASSPHRASE.encode()).node.seed()
    public = [path for path in (made / "public").rglob("*") if path.is_file()] + [
        home.join_request_file,
        home.agreed_file,
        home.config_file,
    ]
    for path in public:
        data = path.read_bytes()
        assert seed not in data and seed.hex().encode() not in data and PASSPHRASE.encode() not in data
        assert b"PRIVATE" not in data
    assert PASSPHRASE not in succeed("keys", "list", "--home", home.path)


def test_init_never_touches_an_existing_home(home: Path) -> None:
    before = (home / "keys" / "node.key.json").read_bytes()
    result = run(
        "init", "--name", "gz1", "--org", "gz", "--home", home, "--passphrase-file", passphrase_file(home.parent)
    )
    assert result.exit_code == 1
    assert "already in use" in result.stderr and "Next:" in result.stderr
    assert (home / "keys" / "node.key.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "GZ1", "--org", "gz"], "cannot name a node"),
        (["--name", "gz1", "--org", "g z"], "cannot name an organisation"),
        (["--name", "gz1", "--org", "gz", "--listen", "7100"], "host:port"),
        (["--name", "gz1", "--org", "gz", "--identity", "node"], "cannot be the name of a key"),
        (["--name", "gz1", "--org", "gz", "--identity", "a", "--identity", "a"], "named twice"),
    ],
)
def test_init_refuses_what_the_network_would_refuse_later(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = run("init", *arguments, "--home", tmp_path / "h", "--passphrase-file", passphrase_file(tmp_path))
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "h").exists()


def test_init_without_a_passphrase_says_how_to_give_one(tmp_path: Path) -> None:
    result = run("init", "--name", "gz1", "--org", "gz", "--home", tmp_path / "h")
    assert result.exit_code == 1
    assert "--passphrase-file" in result.stderr


def test_a_passphrase_can_come_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dawan-passphrase").write_text(PASSPHRASE)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    succeed("keys", "new", "someone", "--home", tmp_path / "h", "--devnet")
    assert keystore.load_signing_key(Home(tmp_path / "h").identity_key("someone"), PASSPHRASE.encode())


def test_a_second_node_of_an_organisation_uses_its_authority(made: Path, tmp_path: Path) -> None:
    secret = passphrase_file(tmp_path)
    succeed("init", "--name", "gz2", "--org", "gz", "--home", tmp_path / "gz2", "--passphrase-file", secret, "--devnet",
            "--ca", made / "gz1" / "keys" / "ca")  # fmt: skip
    assert not (tmp_path / "gz2" / "keys" / "ca").exists()
    template = tmp_path / "template.toml"
    template.write_text(TEMPLATE.read_text("utf-8") + '\n[[observer]]\nname = "gz2"\norg = "gz"\n', encoding="utf-8")
    missing = run("network", "join-request", template, "--home", tmp_path / "gz2", "--passphrase-file", secret)
    assert missing.exit_code == 1
    assert "dawan-node keys new gz-admin; or --without gz-admin" in missing.stderr and "and 9 more" in missing.stderr
    assert not (tmp_path / "gz2" / "network").exists()
    succeed("network", "join-request", template, "--home", tmp_path / "gz2", "--passphrase-file", secret,
            "--no-identities")  # fmt: skip
    request = (tmp_path / "gz2" / "network" / "join-request.toml").read_text()
    assert "ca =" not in request and "[[identity]]" not in request and 'role = "observer"' in request


def test_init_hands_nothing_over_and_says_what_comes_next(tmp_path: Path) -> None:
    said = succeed("init", "--name", "gz1", "--org", "gz", "--home", tmp_path / "h", "--passphrase-file",
                   passphrase_file(tmp_path), "--devnet")  # fmt: skip
    assert not (tmp_path / "h" / "network").exists()
    assert f"dawan-node network join-request --home {tmp_path / 'h'} CONSORTIUM.TOML" in said


def test_a_request_is_made_again_after_another_key(home: Path, tmp_path: Path) -> None:
    secret = passphrase_file(home.parent)
    template = tmp_path / "template.toml"
    entry = '\n[[identity]]\nname = "gz-extra"\norg = "gz"\nroles = ["bank"]\n'
    template.write_text(TEMPLATE.read_text("utf-8") + entry, encoding="utf-8")
    options = ("--home", home, "--passphrase-file", secret)
    refused = run("network", "join-request", template, *options)
    assert refused.exit_code == 1 and "dawan-node keys new gz-extra" in refused.stderr
    without = json.loads(succeed("network", "join-request", template, *options, "--without", "gz-extra", "-o", "json"))
    assert "gz-bank" in without["identities"] and "gz-extra" not in without["identities"]
    succeed("keys", "new", "gz-extra", *options, "--devnet")
    succeed("network", "join-request", template, *options)
    assert 'name = "gz-extra"' in (home / "network" / "join-request.toml").read_text()
    misspelt = run("network", "join-request", template, *options, "--without", "gz-extr")
    assert misspelt.exit_code == 1 and "the nearest valid one is gz-extra" in misspelt.stderr


def replace_genesis(home: Path) -> None:
    shutil.copy(home / "network/genesis/alliance.bin", home / "network/genesis/trade.bin")


def swap_tls(home: Path) -> None:
    shutil.copy(home / "keys/ca/ca.pem", home / "keys/tls.pem")


def other_key(home: Path) -> None:
    (home / "keys/node.key.json").unlink()
    keystore.create_signing_key(home / "keys/node.key.json", "gz1", b"x", cost=keystore.DEVNET)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (replace_genesis, "is not the genesis of channel trade"),
        (lambda home: (home / "network/genesis/trade.bin").unlink(), "trade.bin cannot be read"),
        (edit("network/consortium.toml", '["bank"]', '["bank", "factor"]'), "is not the genesis of channel"),
        (edit("network/consortium.toml", '["bank"]', '["bank", "factor"]'), "[[identity]] gz-bank: roles is"),
        (edit("node.toml", '"gz1"', '"gz7"'), "the consortium has no such node"),
        (edit("node.toml", '"gz"', '"hk"'), "the consortium has it under gz"),
        (edit("node.toml", '"gz"', '"hk"'), "join-request.toml is of gz1 of gz"),
        (edit("network/join-request.toml", 'role = "validator"', 'role = "observer"'), "signature is not of the"),
        (edit("network/join-request.toml", "addresses", "adresses"), "nearest valid one is addresses"),
        (edit("node.toml", "listen", "lisen"), "nearest valid one is listen"),
        (other_key, "is not the one in consortium.toml"),
        (lambda home: (home / "keys/node.key.json").unlink(), "no such file"),
        (lambda home: (home / "keys/node.key.json").chmod(0o644), "lets other users in"),
        (swap_tls, "peers would refuse"),
        (lambda home: (home / "keys/tls.pem").write_text("junk"), "tls.pem is damaged"),
        (lambda home: (home / "keys/tls.pem").unlink(), "tls.pem cannot be read"),
        (lambda home: (home / "network/gz.pem").write_bytes((home / "network/hk.pem").read_bytes()), "genesis"),
        (lambda home: (home / "node.toml").unlink(), "is not a node's folder"),
        (lambda home: (home / "network/consortium.toml").unlink(), "consortium.toml cannot be read"),
    ],
)
def test_verify_refuses_a_home_that_does_not_fit(home: Path, damage: Callable[[Path], Any], words: str) -> None:
    damage(home)
    result = run("network", "verify", "--home", home)
    assert result.exit_code == 1
    assert words in result.stderr and "Next:" in result.stderr


def test_the_certificate_of_another_node_is_refused(home: Path, made: Path) -> None:
    shutil.copy(made / "hk1/keys/tls.pem", home / "keys/tls.pem")
    result = run("network", "verify", "--home", home)
    assert "it is of hk1 of hk, this node is gz1 of gz" in result.stderr


def test_keys_are_exported_and_imported_under_new_passphrases(home: Path, tmp_path: Path) -> None:
    secret = passphrase_file(tmp_path)
    keystore.make_private_folder(tmp_path / "out")
    new = tmp_path / "out" / "new"
    new.write_text("another\n")
    new.chmod(0o600)
    copy = tmp_path / "out" / "copy.key.json"
    succeed("keys", "export", "gz-bank", "--home", home, "--to", copy, "--passphrase-file", secret,
            "--new-passphrase-file", new)  # fmt: skip
    succeed("keys", "import", copy, "--name", "copied", "--home", home, "--old-passphrase-file", new,
            "--passphrase-file", secret)  # fmt: skip
    listed = {
        row["name"]: row["public_key"] for row in json.loads(succeed("keys", "list", "--home", home, "-o", "json"))
    }
    assert listed["copied"] == listed["gz-bank"]
    shown = json.loads(succeed("keys", "show", "gz-bank", "--home", home, "-o", "json"))
    assert shown[0]["public_key"] == listed["gz-bank"]


def test_a_folder_without_keys_is_said_and_not_shown_as_an_empty_list(tmp_path: Path) -> None:
    listed = run("keys", "list", "--home", tmp_path / "elsewhere")
    assert (listed.exit_code, "--home" in listed.stderr, listed.stdout) == (1, True, "")


def test_the_node_key_is_not_exported(home: Path, tmp_path: Path) -> None:
    secret = passphrase_file(tmp_path)
    for name in ("node", "gz1", home / "keys" / ".." / "keys" / "node.key.json"):
        result = run("keys", "export", name, "--home", home, "--to", tmp_path / "k" / "x", "--passphrase-file", secret)
        assert result.exit_code == 1
        assert "the node key is not exported" in result.stderr


def test_a_wrong_passphrase_is_one_line(home: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("canary-wrong\n")
    wrong.chmod(0o600)
    result = run("keys", "export", "gz-bank", "--home", home, "--to", tmp_path / "k" / "x", "--passphrase-file", wrong)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "the passphrase is wrong" in result.stderr and "canary-wrong" not in result.output
