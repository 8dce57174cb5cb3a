"""``init --observer``: a home that never votes, and takes no validator's place."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from dawan_node.node import config, consortium
from dawan_node.node.home import Home
from dawan_node.node.verification import verify_home
from tests.cli.joining_kit import TEMPLATE, make_homes, passphrase_file, requests_in, run, succeed


def test_a_home_made_to_observe_is_refused_where_the_file_counts_on_its_votes(tmp_path: Path) -> None:
    secret = passphrase_file(tmp_path)
    document = consortium.load_document(TEMPLATE)
    node = document.validator[0]
    home = tmp_path / "observer"
    printed = succeed("init", "--name", node.name, "--org", node.org, "--home", home, "--observer",
                      "--passphrase-file", secret, "--devnet")  # fmt: skip
    assert "--channel" in printed
    settings = config.load(Home(home).config_file, environment={})
    assert settings.node.observer
    result = run("network", "join-request", TEMPLATE, "--home", home, "--no-identities", "--passphrase-file", secret)
    assert result.exit_code == 1
    assert "[[observer]]" in result.stderr
    assert not Home(home).join_request_file.exists()


def test_a_validators_home_that_is_set_to_observe_does_not_start(tmp_path: Path) -> None:
    shutil.copy(TEMPLATE, tmp_path / "template.toml")
    make_homes(tmp_path, tmp_path / "template.toml")
    succeed("network", "assemble", tmp_path / "template.toml", *requests_in(tmp_path), "--to", tmp_path / "public")
    agreed = consortium.load(tmp_path / "public" / "consortium.toml")
    home = Home(tmp_path / agreed.document.validator[0].name)
    settings = config.load(home.config_file, environment={})
    now = datetime.now(UTC)
    assert not verify_home(home, settings.node, agreed, now, folder=tmp_path / "public")
    text = home.config_file.read_text().replace("[node]\n", "[node]\nobserver = true\n")
    home.config_file.write_text(text)
    observing = config.load(home.config_file, environment={})
    (problem,) = verify_home(home, observing.node, agreed, now, folder=tmp_path / "public")
    assert "observer" in str(problem)
