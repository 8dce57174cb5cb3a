"""``cert``: a certificate's life with the commands an operator types, and every wrong turn refused before it writes."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from dawan_node.cli import cert as commands
from dawan_node.cli.main import cli
from dawan_node.crypto import authority, keystore
from dawan_node.crypto.certificates import from_pem, public_key_of, to_pem
from dawan_node.crypto.revocation import RevocationRule, lists_from_pem, load_revocation_list
from dawan_node.errors import ConfigError, UntrustedCertificate
from dawan_node.node import certificate_dates, key_rotation, own_authority, own_certificates, verification
from dawan_node.node.config import NodeSection
from dawan_node.node.home import Home, unlock
from dawan_node.node.network_trust import network_trust
from tests.crypto.test_authority import request, usage

PASSPHRASE = "canary-passphrase"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert PASSPHRASE not in result.output and "PRIVATE KEY" not in result.output
    return result


def succeed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == result.stderr.rstrip("\n").count("\n") + 1 and "Next:" in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gz1 with its own authority, and gz2 and hk1 whose authority is elsewhere. Read only."""
    folder = tmp_path_factory.mktemp("cert")
    secret = folder / "passphrase"
    secret.touch(mode=0o600)
    secret.write_text(PASSPHRASE + "\n")
    for name, org, options in (
        ("gz1", "gz", ()),
        ("gz2", "gz", ("--external-ca",)),
        ("hk1", "hk", ("--external-ca", "--advertise", "hk1.example:7100", "--advertise", "10.0.0.9:7100")),
    ):
        succeed("init", "--name", name, "--org", org, "--home", folder / name, "--passphrase-file", secret, "--devnet",
                *options)  # fmt: skip
    return folder


@pytest.fixture
def homes(made: Path, tmp_path: Path) -> Iterator[Path]:
    """Copies that a test may change; whatever it did, no secret is left in the clear."""
    folder = Path(shutil.copytree(made, tmp_path / "homes"))
    yield folder
    for name, data in everything(folder).items():
        assert name == "passphrase" or (PASSPHRASE.encode() not in data and b"PRIVATE KEY" not in data), name


def options(homes: Path, name: str) -> list[object]:
    return ["--home", homes / name, "--passphrase-file", homes / "passphrase"]


def answer(homes: Path, name: str = "gz2") -> Path:
    """What gz1's authority makes of the request of ``name``."""
    chain = homes / "chain.pem"
    succeed("cert", "issue", homes / name / "keys/tls.csr.pem", "--out", chain, *options(homes, "gz1"))
    return chain


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leaf_of(homes: Path, name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(from_pem((homes / name / "keys/tls.pem").read_text())[0])


def test_init_with_an_authority_elsewhere_leaves_a_request_and_no_certificate(made: Path) -> None:
    home = Home(made / "hk1")
    assert home.tls_request.exists() and not home.tls_certificate.exists() and not home.authority_key.exists()
    _, asked = own_certificates.read_request(home.tls_request, "hk")
    assert asked.name == "hk1" and asked.shown_names == ["hk1.hk.dawan", "10.0.0.9", "hk1.example"]
    assert stat.S_IMODE(home.tls_key.stat().st_mode) == 0o600


def test_a_home_that_waits_for_its_certificate_says_exactly_what_is_missing(made: Path) -> None:
    said = refused("run", "--home", made / "hk1", "--passphrase-file", made / "passphrase")
    assert "no TLS certificate yet" in said and "tls.csr.pem" in said and "cert install CHAIN.pem" in said

    [problem] = verification.check_node_certificate(Home(made / "hk1"), NodeSection(name="hk1", org="hk"), {}, NOW)
    assert "no TLS certificate yet" in str(problem) and "cert install" in problem.fix


def test_a_wrong_folder_for_the_authority_leaves_no_home_in_the_way_of_the_next_try(made: Path, tmp_path: Path) -> None:
    order = ("init", "--name", "gz3", "--org", "gz", "--home", tmp_path / "h", "--devnet", "--passphrase-file",
             made / "passphrase", "--ca")  # fmt: skip
    assert "ca.key.json is missing" in refused(*order, made / "gz1/keys")
    assert not (tmp_path / "h").exists()


def test_an_authority_at_hand_and_elsewhere_at_once_is_refused(made: Path, tmp_path: Path) -> None:
    said = refused("init", "--name", "gz3", "--org", "gz", "--home", tmp_path / "h", "--external-ca", "--ca",
                   made / "gz1/keys/ca", "--passphrase-file", made / "passphrase")  # fmt: skip
    assert "--ca and --external-ca" in said and not (tmp_path / "h").exists()


def test_request_issue_and_install_give_a_node_its_certificate(homes: Path) -> None:
    result = run("cert", "issue", homes / "gz2/keys/tls.csr.pem", *options(homes, "gz1"))
    for words in ("signing for node gz2 of gz", "gz2.gz.dawan", "secp256r1", "valid until"):
        assert words in result.stderr
    chain = homes / "answer.pem"
    chain.write_text(result.stdout)
    shown = json.loads(succeed("cert", "install", chain, "--home", homes / "gz2", "-o", "json"))
    assert (shown["node"], shown["org"]) == ("gz2", "gz")
    home = Home(homes / "gz2")
    assert unlock(home, PASSPHRASE.encode()).tls.public_key == keystore.describe(home.tls_key).public_key
    assert home.authority_certificate.read_text() == (homes / "gz1/keys/ca/ca.pem").read_text()
    assert not home.tls_request.exists()
    assert "accepted as gz2 of gz" in succeed("cert", "show", "--home", homes / "gz2")
    issued = [json.loads(line) for line in (homes / "gz1/keys/ca/issued.jsonl").read_text().splitlines()]
    assert [line["name"] for line in issued] == ["gz1.gz.dawan", "gz2.gz.dawan"]
    assert int(issued[1]["serial"], 16) == leaf_of(homes, "gz2").serial_number


def test_a_request_can_be_written_again(homes: Path) -> None:
    request = homes / "gz2/keys/tls.csr.pem"
    request.unlink()
    assert "hand it over" in succeed("cert", "request", *options(homes, "gz2"))
    succeed("cert", "install", answer(homes), "--home", homes / "gz2")


def test_what_a_request_asks_for_beyond_that_is_shown_and_not_granted(homes: Path) -> None:
    (homes / "odd.csr").write_bytes(
        request(
            x509.SubjectAlternativeName([x509.DNSName("gz7.gz.dawan")]),
            x509.BasicConstraints(True, None),
            usage("key_cert_sign"),
        )
    )
    result = run("cert", "issue", homes / "odd.csr", *options(homes, "gz1"))
    assert result.stderr.count("not granted") == 2 and "BasicConstraints" in result.stderr
    made = x509.load_der_x509_certificate(from_pem(result.stdout)[0])
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        ("hk1", "exactly one name of the form <node>.gz.dawan"),
        ("missing", "cannot be read"),
        ("junk", "is refused"),
    ],
)
def test_issue_refuses_before_it_asks_for_the_passphrase(homes: Path, request_of: str, words: str) -> None:
    (homes / "junk/keys").mkdir(parents=True)
    (homes / "junk/keys/tls.csr.pem").write_text("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n")
    before = everything(homes)
    said = refused("cert", "issue", homes / request_of / "keys/tls.csr.pem", "--home", homes / "gz1")
    assert words in said and everything(homes) == before


def other_key(homes: Path) -> Path:
    succeed("cert", "renew", "--new-key", *options(homes, "gz1"))
    return homes / "gz1/keys/tls.pem"


def without_authorities(homes: Path) -> Path:
    chain = answer(homes)
    chain.write_text(to_pem(from_pem(chain.read_text())[:1]))
    return chain


def with_another_root(homes: Path) -> Path:
    chain = answer(homes)
    stranger = authority.make_authority("gz", NOW).certificate
    chain.write_text(to_pem([from_pem(chain.read_text())[0], stranger]))
    return chain


def for_another_node(homes: Path) -> Path:
    key = keystore.load(homes / "gz2/keys/tls.key.json", PASSPHRASE.encode()).secret
    (homes / "gz2/keys/tls.csr.pem").write_bytes(
        own_certificates.request_pem(authority.request_for(key, "gz", "gz5", []))
    )
    return answer(homes)


def twice(homes: Path) -> Path:
    chain = answer(homes)
    chain.write_text(chain.read_text() * 2)
    return chain


def junk(homes: Path) -> Path:
    (homes / "junk").write_text("junk")
    return homes / "junk"


@pytest.mark.parametrize(
    ("chain_of", "words"),
    [
        (other_key, "0 of its certificates are for the key"),
        (without_authorities, "is refused under the CA certificates"),
        (with_another_root, "no organisation of this network has registered"),
        (for_another_node, "it is of gz5 of gz, this node is gz2 of gz"),
        (twice, "2 of its certificates are for the key"),
        (junk, "is damaged"),
        (lambda homes: homes / "nowhere", "cannot be read"),
    ],
)
def test_install_writes_nothing_unless_all_of_it_is_right(
    homes: Path, chain_of: Callable[[Path], Path], words: str
) -> None:
    chain = chain_of(homes)
    before = everything(homes / "gz2")
    assert words in refused("cert", "install", chain, "--home", homes / "gz2")
    assert everything(homes / "gz2") == before


def test_the_authorities_that_are_there_judge_and_are_not_replaced(homes: Path) -> None:
    succeed("cert", "install", answer(homes), "--home", homes / "gz2")
    other = authority.make_authority("gz", NOW)
    key = keystore.load(homes / "gz2/keys/tls.key.json", PASSPHRASE.encode()).secret
    made = authority.issue_from_request(other, authority.request_for(key, "gz", "gz2", []), "gz", NOW)
    (homes / "other.pem").write_text(to_pem([made, other.certificate]))
    before = everything(homes / "gz2")
    assert "refused under the CA certificates in" in refused(
        "cert", "install", homes / "other.pem", "--home", homes / "gz2"
    )
    assert everything(homes / "gz2") == before


def test_an_issuing_authority_below_a_root_is_installed_with_it_root_first(homes: Path) -> None:
    root = authority.make_authority("hk", NOW, authorities_below=1)
    issuing = authority.make_issuing_authority(root, "hk", NOW)
    request, _ = own_certificates.read_request(homes / "hk1/keys/tls.csr.pem", "hk")
    made = authority.issue_from_request(issuing, request, "hk", NOW)
    (homes / "chain.pem").write_text(to_pem([made, issuing.certificate, root.certificate]))
    succeed("cert", "install", homes / "chain.pem", "--home", homes / "hk1")
    assert from_pem((homes / "hk1/keys/ca/ca.pem").read_text()) == [root.certificate, issuing.certificate]


def test_renew_keeps_key_and_names_and_moves_the_end(homes: Path) -> None:
    before = leaf_of(homes, "gz1")
    said = succeed("cert", "renew", "--days", "30", *options(homes, "gz1"))
    assert "takes it over by itself" in said
    after = leaf_of(homes, "gz1")
    assert public_key_of(after) == public_key_of(before) and after.serial_number != before.serial_number
    assert timedelta(days=29) < after.not_valid_after_utc - NOW < timedelta(days=31)
    unlock(Home(homes / "gz1"), PASSPHRASE.encode())


def test_renew_without_an_authority_says_how_to_ask_the_one_elsewhere(homes: Path) -> None:
    assert "cert request" in refused("cert", "renew", *options(homes, "gz2"))


def test_a_new_key_comes_with_its_certificate_and_the_old_one_is_kept(homes: Path) -> None:
    before = keystore.load(homes / "gz1/keys/tls.key.json", PASSPHRASE.encode())
    assert "restart the node" in succeed("cert", "renew", "--new-key", *options(homes, "gz1"))
    home = Home(homes / "gz1")
    assert unlock(home, PASSPHRASE.encode()).tls.public_key == keystore.describe(home.tls_key).public_key
    assert keystore.describe(home.tls_key).public_key != before.info.public_key
    [kept] = home.retired_keys.glob("tls-*.key.json")
    assert keystore.load(kept, PASSPHRASE.encode()).secret == before.secret
    assert list(home.pending_keys.iterdir()) == []


def test_a_change_of_the_tls_key_that_was_interrupted_is_said_and_finishes_when_run_again(
    homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(homes / "gz1")
    node = NodeSection(name="gz1", org="gz")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(key_rotation.os, "replace", lambda source, target: crash() if source == home.pending_keys /
                       "tls.key.json" else os.rename(source, target))  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            own_certificates.renew_key(home, node, [], PASSPHRASE.encode(), NOW, 30)
    assert "renew --new-key" in refused("cert", "renew", *options(homes, "gz1"))
    succeed("cert", "renew", "--new-key", *options(homes, "gz1"))
    assert unlock(home, PASSPHRASE.encode()).tls.public_key == keystore.describe(home.tls_key).public_key
    assert len(list(home.retired_keys.iterdir())) == 1


def test_a_wrong_passphrase_changes_nothing(homes: Path) -> None:
    (homes / "passphrase").write_text("canary-wrong\n")
    before = everything(homes / "gz1")
    for words in (["renew"], ["renew", "--new-key"], ["crl"], ["revoke", "gz1", "--reason", "superseded"]):
        said = refused("cert", *words, *options(homes, "gz1"))
        assert "the passphrase is wrong" in said and "canary-wrong" not in said
    after = everything(homes / "gz1")
    after.pop("keys/ca/ca.lock")
    assert after == before


def revocations(homes: Path) -> Any:
    data = (homes / "gz1/keys/ca/crl.pem").read_bytes()
    ca = from_pem((homes / "gz1/keys/ca/ca.pem").read_text())
    return load_revocation_list(lists_from_pem(data)[0], "gz", ca, datetime.now(UTC))


def test_a_node_is_revoked_by_name_with_all_its_certificates(homes: Path) -> None:
    succeed("cert", "renew", *options(homes, "gz1"))
    said = json.loads(
        succeed("cert", "revoke", "gz1", "--reason", "keyCompromise", "-o", "json", *options(homes, "gz1"))
    )
    assert len(said["revoked"]) == 2 and said["hand_to"] == "network/crl/gz.crl.pem"
    found = revocations(homes)
    assert leaf_of(homes, "gz1").serial_number in found.revoked and len(found.revoked) == 2
    assert {entry.reason for entry in found.revoked.values()} == {"keyCompromise"}
    assert "all of it is revoked" in refused("cert", "revoke", "gz1", "--reason", "superseded", *options(homes, "gz1"))


def test_a_certificate_is_revoked_by_serial_number_or_by_its_file(homes: Path) -> None:
    serial = json.loads(succeed("cert", "show", "--home", homes / "gz1", "-o", "json"))[0]["serial"]
    chain = answer(homes)
    assert "serial " + serial in succeed("cert", "revoke", serial, "--reason", "superseded", *options(homes, "gz1"))
    succeed("cert", "revoke", chain, "--reason", "cessationOfOperation", *options(homes, "gz1"))
    assert {entry.reason for entry in revocations(homes).revoked.values()} == {"superseded", "cessationOfOperation"}


def test_a_serial_number_nobody_knows_is_revoked_only_when_that_is_said(homes: Path) -> None:
    command = ["cert", "revoke", "0x1234567890abcdef12", "--reason", "keyCompromise", *options(homes, "gz1")]
    assert "nothing to revoke" in refused(*command) and not (homes / "gz1/keys/ca/crl.pem").exists()
    succeed(*command, "--unregistered")
    assert list(revocations(homes).revoked) == [0x1234567890ABCDEF12]


def test_what_another_authority_issued_cannot_be_revoked_here(homes: Path) -> None:
    other = authority.make_authority("hk", NOW)
    made = authority.issue_node_certificate(other, "hk", "hk1", [], NOW).certificate
    (homes / "hk1.pem").write_text(to_pem([made]))
    said = refused("cert", "revoke", homes / "hk1.pem", "--reason", "superseded", *options(homes, "gz1"))
    assert "was not issued by this home's authority" in said
    assert "issued to gz1.gz.dawan" in refused("cert", "revoke", "nobody", "--reason", "superseded",
                                               *options(homes, "gz1"))  # fmt: skip


def test_a_fresh_list_keeps_every_entry_and_has_a_higher_number_even_if_the_old_one_is_lost(homes: Path) -> None:
    succeed("cert", "revoke", "gz1", "--reason", "superseded", *options(homes, "gz1"))
    first = revocations(homes)
    succeed("cert", "crl", "--days", "7", *options(homes, "gz1"))
    second = revocations(homes)
    assert (second.revoked.keys(), second.number > first.number) == (first.revoked.keys(), True)
    assert second.next_update - second.this_update < timedelta(days=8)
    (homes / "gz1/keys/ca/crl.pem").unlink()
    succeed("cert", "crl", *options(homes, "gz1"))
    assert revocations(homes).revoked.keys() == first.revoked.keys() and revocations(homes).number > second.number


def test_the_register_of_a_crash_is_read_up_to_its_last_whole_line_and_a_damaged_one_refused(homes: Path) -> None:
    register = homes / "gz1/keys/ca/issued.jsonl"
    whole = register.read_bytes()
    register.write_bytes(whole + b'{"event":"iss')
    succeed("cert", "renew", *options(homes, "gz1"))
    assert len(own_authority.AuthorityFolder(register.parent, "gz").records()) == 2
    register.write_bytes(whole + b"junk\n")
    assert "line 2 cannot be read" in refused("cert", "revoke", "gz1", "--reason", "superseded",
                                              *options(homes, "gz1"))  # fmt: skip


def test_a_damaged_list_is_refused_and_not_replaced_by_a_shorter_one(homes: Path) -> None:
    (homes / "gz1/keys/ca/crl.pem").write_text("junk")
    assert "Move it away" in refused("cert", "crl", *options(homes, "gz1"))
    assert (homes / "gz1/keys/ca/crl.pem").read_text() == "junk"


def test_two_commands_do_not_change_one_authority_at_once(homes: Path) -> None:
    folder = own_authority.AuthorityFolder(homes / "gz1/keys/ca", "gz")
    with folder.unlocked(PASSPHRASE.encode()):
        assert "already in use" in refused("cert", "crl", *options(homes, "gz1"))
    succeed("cert", "crl", *options(homes, "gz1"))


def test_show_prints_every_certificate_of_a_file_with_a_verdict(homes: Path) -> None:
    rows = json.loads(succeed("cert", "show", answer(homes), "--home", homes / "gz1", "-o", "json"))
    assert [row["authority"] for row in rows] == [False, True]
    assert rows[0]["names"] == ["gz2.gz.dawan", "127.0.0.1"] and rows[0]["key"] == "secp256r1"
    assert rows[0]["verdict"].startswith("accepted as gz2 of gz")
    assert rows[1]["verdict"].startswith("registered authority of gz")
    elsewhere = json.loads(succeed("cert", "show", homes / "chain.pem", "--home", homes / "none", "-o", "json"))
    assert elsewhere[0]["verdict"].startswith("not judged")
    other = authority.issue_node_certificate(authority.make_authority("gz", NOW), "gz", "gz9", [], NOW).certificate
    (homes / "other.pem").write_text(to_pem([other]))
    assert "refused" in succeed("cert", "show", homes / "other.pem", "--home", homes / "gz1")


@pytest.mark.parametrize(
    ("days", "state", "code"), [(45, "ok", 0), (29, "30 days", 0), (13, "14 days", 0), (2, "3 days", 6)]
)
def test_expiry_says_how_near_the_end_is(homes: Path, days: int, state: str, code: int) -> None:
    succeed("cert", "renew", "--days", days, *options(homes, "gz1"))
    result = run("cert", "expiry", "--home", homes / "gz1", "-o", "json")
    first = json.loads(result.stdout)[0]
    assert (first["kind"], first["state"], first["days_left"]) == ("TLS certificate", state, days - 1)
    assert result.exit_code == code


def test_expiry_lists_everything_the_home_knows_the_soonest_first(homes: Path) -> None:
    network = homes / "gz1/network"
    (network / "crl").mkdir(parents=True)
    shutil.copy(homes / "gz1/keys/ca/ca.pem", network / "gz.pem")
    succeed("cert", "crl", "--days", "20", *options(homes, "gz1"))
    shutil.copy(homes / "gz1/keys/ca/crl.pem", network / "crl/gz.crl.pem")
    rows = json.loads(succeed("cert", "expiry", "--home", homes / "gz1", "-o", "json"))
    assert [(row["kind"], row["state"]) for row in rows] == [
        ("revocation list", "ok"),
        ("revocation list", "ok"),
        ("TLS certificate", "ok"),
        ("CA certificate", "ok"),
        ("CA certificate", "ok"),
    ]
    assert rows[2]["days_left"] == 397
    assert "STATE" in succeed("cert", "expiry", "--home", homes / "gz1")


def test_expiry_ends_with_6_when_somebody_must_act(homes: Path) -> None:
    def worst() -> tuple[int, str, object]:
        result = run("cert", "expiry", "--home", homes / "gz1", "-o", "json")
        first = json.loads(result.stdout)[0]
        assert "Next:" in result.stderr and "PRIVATE" not in result.output
        return result.exit_code, first["state"], first["days_left"]

    made = authority.issue_node_certificate(authority.make_authority("gz", NOW), "gz", "gz1", [], NOW - 9 * DAY, days=8)
    (homes / "gz1/keys/tls.pem").write_text(to_pem([made.certificate]))
    assert worst() == (6, "expired", -2)
    for damaged in ("keys/tls.pem", "keys/ca/crl.pem"):
        (homes / "gz1" / damaged).write_text("junk")
        assert worst() == (6, "unreadable", None)
        (homes / "gz1" / damaged).unlink()
    assert run("cert", "expiry", "--home", homes / "gz1").exit_code == 0


def test_a_list_in_the_network_folder_revokes_and_one_that_does_not_count_stops_no_other(homes: Path) -> None:
    home = Home(homes / "gz1")
    (home.network / "crl").mkdir(parents=True)
    succeed("cert", "revoke", "gz1", "--reason", "superseded", *options(homes, "gz1"))
    shutil.copy(homes / "gz1/keys/ca/crl.pem", home.revocation_file("gz"))

    roots = {"gz": from_pem(home.authority_certificate.read_text())}
    trust, troubles = network_trust(home, roots, RevocationRule.SOFT, datetime.now(UTC))
    assert troubles == []
    with pytest.raises(UntrustedCertificate, match="superseded"):
        trust.judge(from_pem(home.tls_certificate.read_text())[0], datetime.now(UTC))
    shutil.copy(home.revocation_file("gz"), home.revocation_file("hk"))
    home.revocation_file("mo").write_text("junk")
    trust, troubles = network_trust(home, roots, RevocationRule.SOFT, datetime.now(UTC))
    assert [path for path, _ in troubles] == [home.revocation_file("hk"), home.revocation_file("mo")]
    assert all(why for _, why in troubles)
    with pytest.raises(UntrustedCertificate, match="superseded"):
        trust.judge(from_pem(home.tls_certificate.read_text())[0], datetime.now(UTC))


def test_the_numbers_written_into_the_options_are_those_of_the_authority() -> None:
    assert (commands.DAYS, commands.LIST_DAYS) == (authority.NODE_CERTIFICATE_DAYS, authority.REVOCATION_LIST_DAYS)
    assert commands.REASONS == own_authority.REASONS
    assert {x509.ReasonFlags(reason) for reason in commands.REASONS}


def test_facts_of_what_is_no_certificate_are_refused() -> None:
    with pytest.raises(ConfigError):
        certificate_dates.facts(b"junk")
