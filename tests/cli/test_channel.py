"""``channel`` on the command line: the matrix offline, lists over JSON-RPC, plain and with the home's certificate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from dawan_node.cli.main import COMMANDS, cli
from dawan_node.crypto.authority import make_revocation_list
from dawan_node.crypto.certificates import CertifiedKey
from dawan_node.crypto.revocation import Revoked
from dawan_node.execution.registry import installed_modules
from dawan_node.node.access import matrix
from tests.cli.node_in_reach import CommandLine, command_line
from tests.cli.tls_homes import TlsHomes
from tests.rpc.consortium import CHANNELS
from tests.rpc.fake_node import FakeNode
from tests.rpc.harness import Running, running

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


# -- offline ---------------------------------------------------------------------------------------------------------


def test_the_page_in_docs_is_what_the_command_prints_now() -> None:
    assert run("channel", "access", "--markdown").stdout == (ROOT / "docs" / "access.md").read_text(encoding="utf-8")


def test_access_as_json_has_every_cell_of_every_table() -> None:
    tables = json.loads(run("channel", "access", "-o", "json").stdout)
    expected = matrix(installed_modules())
    assert [table["table"] for table in tables] == [table.name for table in expected]
    for shown, table in zip(tables, expected, strict=True):
        assert {row["object"]: row["cells"] for row in shown["rows"]} == {
            row.object: {name: cell.value for name, cell in row.cells.items()} for row in table.rows
        }


def test_access_counts_rows_and_cells_and_can_be_limited_to_modules() -> None:
    output = run("channel", "access", "--module", "governance").stdout
    assert "JSON-RPC: 26 rows, 130 cells" in output
    assert "governance.enact" in output and "receivable." not in output
    wrong = run("channel", "access", "--module", "receivables")
    assert wrong.exit_code == 1 and "the nearest valid one is receivable" in wrong.stderr.replace("'", "")


def test_the_group_is_a_command() -> None:
    assert "channel" in COMMANDS and run("channel", "--help").exit_code == 0


# -- over JSON-RPC ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dawan(tmp_path: Path) -> Iterator[CommandLine]:
    with command_line(tmp_path, node=FakeNode(CHANNELS)) as line:
        yield line


def test_list_show_and_members(dawan: CommandLine) -> None:
    assert [row["channel"] for row in dawan.json("channel", "list", "-o", "json")] == ["trade", "cargo"]
    assert "toy@1" in dawan("channel", "list").stdout
    assert "1 of 4 validators may fail or lie; 3 decide" in dawan("channel", "show", "-c", "trade").stdout
    assert dawan.json("channel", "show", "-c", "cargo", "-o", "json")["channel"] == "cargo"
    table = dawan("channel", "members", "-c", "trade").stdout.splitlines()
    assert table[0].split() == ["ORGANISATION", "NAME", "TIER", "STATUS", "IDENTITIES"]
    assert table[1].split() == ["gz", "Guangzhou", "founding", "active", "2"]
    assert dawan.json("channel", "members", "-c", "trade", "-o", "json")["orgs"][0]["id"] == "gz"


def test_without_a_channel_the_error_names_those_the_caller_may_see(dawan: CommandLine) -> None:
    done = dawan("channel", "show")
    assert done.exit_code == 2 and "trade, cargo" in done.stderr


# -- over TLS --------------------------------------------------------------------------------------------------------


# -- evidence --------------------------------------------------------------------------------------------------------


def test_evidence_names_liars_and_writes_both_signed_messages_to_a_new_private_file(tmp_path: Path) -> None:
    node = FakeNode()
    with command_line(tmp_path, node=node) as dawan:
        assert "holds no evidence against a validator of trade" in dawan("channel", "evidence", "trade").stdout
        node.unhealthy = True
        file = tmp_path / "evidence.json"
        shown = dawan("channel", "evidence", "trade", "--out", str(file))
        assert shown.exit_code == 0 and f"written to {file}" in shown.stderr
        lines = shown.stdout.splitlines()
        assert lines[0] == "trade stopped for good: two blocks are decided at height 9"
        assert [line.split() for line in lines[1:]] == [
            ["VALIDATOR", "KIND", "EPOCH", "ON", "CHAIN"],
            ["hk1", "equivocation", "0", "at", "height", "7"],
            ["mo1", "invalid_new_view", "0", "not", "yet"],
        ]
        written = json.loads(file.read_text())
        assert written["channel"] == "trade" and written["halted"]["second"] == "0x04"
        assert [(each["first"], each["second"]) for each in written["evidence"]] == [("0x01", "0x02"), (None, "0x")]
        assert file.stat().st_mode & 0o777 == 0o600
        again = dawan("channel", "evidence", "trade", "--out", str(file))
        assert again.exit_code == 1 and "File exists" in again.stderr
        assert dawan.json("channel", "evidence", "trade", "-o", "json")["halted"]["first"] == "0x03"
        assert dawan("channel", "evidence", "nowhere").exit_code == 1


@dataclass
class Homes(TlsHomes):
    """A node gz1 with TLS, and homes of several organisations."""

    server_certificate: CertifiedKey
    node: Running

    def __call__(self, home: Path, *arguments: str, rpc: bool = True, **more: str) -> Result:
        environment = {
            "DAWAN_RPC": self.node.url if rpc else "",
            "DAWAN_RPC_NODE": "",
            "DAWAN_HOME": str(home),
            "DAWAN_CHANNEL": "",
            **more,
        }
        options = ["--passphrase-file", str(self.passphrase)]
        return CliRunner().invoke(cli, [*arguments, *options], env=environment)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homes]:
    made = TlsHomes.begin(tmp_path_factory.mktemp("homes"))
    own = made.certificate("gz", "gz1")
    node = FakeNode({"trade": ("gz", "hk"), "cargo": ("gz",)})
    with running(node=node, tls=made.server("gz", own)) as server:
        yield Homes(made.folder, made.authorities, made.passphrase, own, server)


def test_the_homes_own_node_is_found_and_known_by_its_node_toml(homes: Homes) -> None:
    home = homes.make("gz", "gz1", listen=f"127.0.0.1:{homes.node.port}")
    done = homes(home, "channel", "list", "-o", "json", rpc=False)
    assert done.exit_code == 0, done.stderr
    assert [row["channel"] for row in json.loads(done.stdout)] == ["trade", "cargo"]
    # Another home of the organisation that takes this address for its own node's is told whom it met.
    other = homes.make("gz", "gz2", listen=f"127.0.0.1:{homes.node.port}")
    done = homes(other, "channel", "list", rpc=False)
    assert done.exit_code == 3 and "the server is gz1.gz, not gz2.gz" in done.stderr


def test_a_node_of_the_own_organisation_is_expected_and_another_must_be_named(homes: Homes) -> None:
    assert homes(homes.make("gz", "erp"), "channel", "list").exit_code == 0
    home = homes.make("hk", "erp")
    done = homes(home, "channel", "list")
    assert done.exit_code == 3 and "the server is gz1.gz, not a node of hk" in done.stderr
    done = homes(home, "channel", "list", "-o", "json", "--rpc-node", "gz1.gz")
    assert [row["channel"] for row in json.loads(done.stdout)] == ["trade"]
    assert homes(home, "channel", "list", DAWAN_RPC_NODE="gz").exit_code == 0
    done = homes(home, "channel", "show", "-c", "cargo", "--rpc-node", "gz1.gz")
    assert done.exit_code == 1 and "no channel cargo" in done.stderr and "you may see" in done.stderr
    done = homes(home, "channel", "list", "--rpc-node", "GZ 1")
    assert done.exit_code == 1 and "a node is NAME.ORG" in done.stderr


def test_a_home_of_an_unknown_root_is_told_so(homes: Homes) -> None:
    done = homes(homes.make("zz", "erp"), "channel", "list", "--rpc-node", "gz1.gz")
    assert done.exit_code == 3
    assert "which no organisation of this network has registered" in done.stderr and "Next:" in done.stderr


def test_an_expired_certificate_is_told_with_its_date(homes: Homes) -> None:
    done = homes(homes.make("hk", "late", days=29), "channel", "list", "--rpc-node", "gz1.gz")
    assert done.exit_code == 1
    assert "E_CERT_EXPIRED: client certificate 'CN=late'" in done.stderr and "expired on" in done.stderr


def test_without_a_certificate_or_with_another_passphrase_nothing_is_sent(homes: Homes) -> None:
    home = homes.make("hk", "bare")
    secret = homes.folder / "wrong"
    secret.touch(mode=0o600)
    secret.write_bytes(b"not it")
    homes.passphrase, right = secret, homes.passphrase
    done = homes(home, "channel", "list", "--rpc-node", "gz1.gz")
    homes.passphrase = right
    assert done.exit_code == 1 and "passphrase" in done.stderr
    (home / "keys" / "tls.pem").unlink()
    done = homes(home, "channel", "list", "--rpc-node", "gz1.gz")
    assert done.exit_code == 1 and "no certificate to present" in done.stderr
    done = homes(homes.folder / "nowhere", "channel", "list")
    assert done.exit_code == 1 and "is not a node's folder" in done.stderr


def test_a_server_whose_certificate_is_on_the_homes_revocation_list_is_refused(homes: Homes) -> None:
    home = homes.make("hk", "careful")
    lists = home / "network" / "crl"
    lists.mkdir()
    (lists / "gz.crl.pem").write_text("junk")
    done = homes(home, "channel", "list", "--rpc-node", "gz1.gz")
    assert done.exit_code == 1 and "gz.crl.pem cannot be used" in done.stderr
    serial = x509.load_der_x509_certificate(homes.server_certificate.certificate).serial_number
    now = datetime.now(UTC)
    der = make_revocation_list(homes.authorities["gz"], [Revoked(serial, now)], 1, now)
    pem = x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)
    (lists / "gz.crl.pem").write_bytes(pem)
    done = homes(home, "channel", "list", "--rpc-node", "gz1.gz")
    assert done.exit_code == 3 and "the server's certificate 'CN=gz1'" in done.stderr and "revoked" in done.stderr


def test_commands_that_sign_take_one_passphrase_file_for_all_keys(dawan: CommandLine) -> None:
    done = dawan("trade", "import-ubl", "--help")
    assert done.exit_code == 0 and done.stdout.count("--passphrase-file") == 1
    assert "--rpc-node" in dawan("query", "block", "--help").stdout
