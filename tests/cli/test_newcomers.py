"""A node the file does not know: what it asks for, signs and is told, before and after the network takes it in."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dawan_node.errors import ConfigError
from dawan_node.node import consortium
from dawan_node.node.config import NodeSection
from dawan_node.node.home import Home
from dawan_node.node.join_request import load
from dawan_node.node.join_review import review
from dawan_node.node.verification import notices, served_channels, verify_home
from tests.cli.joining_kit import TEMPLATE, edit, make_homes, passphrase_file, requests_in, run, succeed, tree

NAMES = ["--org-name", "Acme Logistics", "--org-name-zh-hans", "顶点物流"]
NEW_ORG = ["--channel", "trade", "--admin", "acme-admin", *NAMES]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public files of a network that runs, and the home of a company that wants to join it. Read only."""
    folder = tmp_path_factory.mktemp("running")
    make_homes(folder)
    succeed("network", "assemble", TEMPLATE, *requests_in(folder), "--to", folder / "public")
    succeed("init", "--name", "acme1", "--org", "acme", "--home", folder / "acme1", "--devnet", "--listen",
            "127.0.0.1:7201", "--identity", "acme-admin", "--passphrase-file", folder / "passphrase")  # fmt: skip
    return folder


@pytest.fixture
def place(running: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(running, tmp_path / "place"))


def ask(place: Path, *options: object, home: str = "acme1") -> tuple[object, ...]:
    return ("network", "join-request", place / "public/consortium.toml", "--home", place / home,
            "--passphrase-file", place / "passphrase", *options)  # fmt: skip


def test_a_new_organisation_says_its_names_its_channels_and_who_speaks_for_it(place: Path) -> None:
    said = json.loads(succeed(*ask(place, *NEW_ORG, "-o", "json")))
    request = load(Home(place / "acme1").join_request_file)
    assert (said["role"], said["channels"], list(said["identities"])) == ("observer", ["trade"], ["acme-admin"])
    assert request.names == consortium.Names(
        en="Acme Logistics", zh_hans="顶点物流", zh_hant="Acme Logistics", pt="Acme Logistics"
    )
    assert (request.admin, request.channels, request.org) == ("acme-admin", ("trade",), "acme")
    # Everybody who votes on it judges it against what runs.
    found = consortium.load(place / "public/consortium.toml")
    roots = review("consortium.toml", found.document, [("acme1", request)], datetime.now(UTC), found.roots)
    assert roots["acme"] == tuple(request.authorities) and roots["gz"] == found.roots["gz"]


def test_its_home_is_complete_before_it_is_admitted_and_says_what_is_missing(place: Path) -> None:
    succeed(*ask(place, *NEW_ORG))
    said = succeed("network", "verify", "--home", place / "acme1", "--from", place / "public")
    assert "notice: acme1 of acme is not in consortium.toml. Is it admitted on chain?" in said
    assert "no peer of trade answers it" in said and "acme1 of acme may start" in said
    home, node = Home(place / "acme1"), NodeSection(name="acme1", org="acme")
    found = consortium.load(home.consortium_file)
    assert verify_home(home, node, found, datetime.now(UTC)) == []
    assert served_channels(home, found, "acme") == ("trade",)
    assert served_channels(home, found, "gz") == ("trade", "alliance")
    assert served_channels(home, found, "stranger") == ()
    assert len(notices(home, node, found)) == 1
    home.join_request_file.unlink()
    assert served_channels(home, found, "acme") == ()
    problems = verify_home(home, node, found, datetime.now(UTC))
    assert "the consortium has no such node" in [problem.why for problem in problems]


def test_a_member_is_told_when_it_has_no_request_to_compare_with(place: Path) -> None:
    succeed("network", "verify", "--home", place / "gz1", "--from", place / "public")
    assert "notice" not in succeed("network", "verify", "--home", place / "gz1")
    (place / "gz1/network/join-request.toml").unlink()
    assert "what this party agreed to cannot be compared" in succeed("network", "verify", "--home", place / "gz1")


def test_a_further_node_of_a_known_organisation_asks_for_channels_only(place: Path) -> None:
    succeed("init", "--name", "gz2", "--org", "gz", "--home", place / "gz2", "--devnet", "--ca", place / "gz1/keys/ca",
            "--listen", "127.0.0.1:7202", "--passphrase-file", place / "passphrase")  # fmt: skip
    asked = succeed(*ask(place, "--channel", "alliance", "--role", "validator", home="gz2"))
    assert "an administrator of gz" in asked and "governance register_node" in asked
    request = load(Home(place / "gz2").join_request_file)
    assert (request.role, request.channels, request.names, request.identity) == ("validator", ("alliance",), None, ())
    said = succeed("network", "verify", "--home", place / "gz2", "--from", place / "public")
    assert "gz2 of gz is not in consortium.toml" in said
    # Its organisation's channels, whatever it asked for: they are decided for organisations.
    found = consortium.load(place / "public/consortium.toml")
    assert served_channels(Home(place / "gz2"), found, "gz") == ("trade", "alliance")
    refused = run(*ask(place, "--channel", "trade", "--admin", "gz-admin", *NAMES, home="gz2"))
    assert refused.exit_code == 1 and "its administrators are known" in refused.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "name what to join: --channel"),
        (["--channel", "trade"], "--org-name NAME and --admin IDENTITY"),
        (["--channel", "trade", "--admin", "acme-admin"], "--org-name NAME and --admin IDENTITY"),
        (["--channel", "trade", *NAMES], "--org-name NAME and --admin IDENTITY"),
        (["--admin", "acme-admin", *NAMES], "Give --channel: trade, alliance"),
        (["--channel", "trad", "--admin", "acme-admin", *NAMES], "the nearest valid one is trade"),
        (["--channel", "trade", "--admin", "acme-boss", *NAMES], "acme-boss.key.json is missing"),
        (["--channel", "trade", "--admin", "gz-admin", *NAMES], "names are unique in a network"),
        (["--channel", "trade", "--channel", "trade", "--admin", "acme-admin", *NAMES], "stands there twice"),
        (["--channel", "trade", "--admin", "acme-admin", "--org-name", "a\x1b[2Jb"], "control or direction marks"),
        (["--channel", "trade", "--admin", "acme-admin", "--org-name", "a" * 201], "1 to 200 characters"),
    ],
)
def test_what_a_newcomer_forgets_or_mistakes_is_said(place: Path, options: list[str], words: str) -> None:
    before = tree(place)
    result = run(*ask(place, *options))
    assert result.exit_code == 1, result.output
    assert words in result.stderr and "Next:" in result.stderr and result.stderr.count("\n") == 1
    assert tree(place) == before


def test_other_languages_without_english_are_wrong_usage(place: Path) -> None:
    result = run(*ask(place, "--channel", "trade", "--admin", "acme-admin", "--org-name-pt", "Acme"))
    assert result.exit_code == 2 and "--org-name is missing" in result.stderr


def test_a_newcomer_is_not_assembled_but_voted_in(place: Path) -> None:
    succeed("network", "join-request", TEMPLATE, "--home", place / "acme1", *NEW_ORG, "--passphrase-file",
            passphrase_file(place))  # fmt: skip
    result = run("network", "assemble", TEMPLATE, *requests_in(place), "--to", place / "new")
    assert result.exit_code == 1 and "node 'acme1' is not in" in result.stderr and "by vote" in result.stderr
    assert not (place / "new").exists()


def test_a_newcomer_cannot_take_a_name_key_or_address_that_is_in_use(place: Path) -> None:
    found = consortium.load(place / "public/consortium.toml")
    gz = load(Home(place / "gz1").join_request_file)
    edit("acme1/node.toml", "127.0.0.1:7201", gz.addresses[0])(place)
    succeed(*ask(place, *NEW_ORG))
    request = load(Home(place / "acme1").join_request_file)
    with pytest.raises(ConfigError, match=r"address 127.0.0.1:7101 comes twice.*consortium.toml brings it too"):
        review("consortium.toml", found.document, [("acme1", request)], datetime.now(UTC), found.roots)
    edit("acme1/node.toml", gz.addresses[0], "127.0.0.1:7201")(place)
    shutil.copy(place / "gz1/keys/gz-bank.key.json", place / "acme1/keys/acme-admin2.key.json")
    succeed(*ask(place, "--channel", "trade", "--admin", "acme-admin2", *NAMES))
    request = load(Home(place / "acme1").join_request_file)
    with pytest.raises(ConfigError, match="key of identity acme-admin2 is also that of identity gz-bank"):
        review("consortium.toml", found.document, [("acme1", request)], datetime.now(UTC), found.roots)


def test_show_lists_the_public_facts(place: Path) -> None:
    succeed("network", "verify", "--home", place / "gz1", "--from", place / "public")
    said = json.loads(succeed("network", "show", "--home", place / "gz1", "-o", "json"))
    assert [org["id"] for org in said["orgs"]] == ["gz", "hk", "mo", "hq"]
    assert said["orgs"][0]["names"]["zh-Hans"] == "广州市区块链产业协会"
    assert {node["name"]: node["role"] for node in said["nodes"]} == dict.fromkeys(
        ("gz1", "hk1", "mo1", "hq1"), "validator"
    )
    assert all(entry["public_key"].startswith("0x") for entry in [*said["nodes"], *said["identities"]])
    verified = json.loads(succeed("network", "verify", "--home", place / "gz1", "-o", "json"))
    assert [c["chain_id"] for c in said["channels"]] == [c["chain_id"] for c in verified["channels"]]
    for heading in ("ORGANISATION", "NODE", "IDENTITY", "CHANNEL"):
        assert f"\n{heading} " in succeed("network", "show", "--home", place / "gz1")
