"""``network validator-request`` and what is looked at before a vote on validators is sent."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from dawan_node.cli import preflight
from dawan_node.cli.exit_codes import CommandFailed
from dawan_node.cli.main import cli
from dawan_node.cli.membership import next_steps
from dawan_node.crypto.signatures import verify
from dawan_node.errors import ConfigError, OperatorError
from dawan_node.node import config, consortium
from dawan_node.node.consortium import public_key_bytes
from dawan_node.node.home import Home, unlock
from dawan_node.node.rekey_steps import admin_of, listening, rekey_steps
from dawan_node.node.validator_request import ValidatorRequest, check_genuine, check_usable, chosen, load, sign
from dawan_node.node.verification import home_roots, verify_start
from dawan_node.primitives.encoding import encode
from tests.cli.joining_kit import PASSPHRASE, make_homes, requests_in, run, succeed

NOW = datetime.now(UTC)


def read_by_the_cli(line: str) -> dict[str, Any]:
    """What the command line makes of a printed command, but for what is left at its default. Nothing is run."""
    words = shlex.split(line, comments=True)
    assert words.pop(0) == "dawan-node"
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{line}: there is no command {name}"
        command = found
    made = command.make_context(command.name, words)
    given = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in made.params.items() if made.get_parameter_source(name) is given}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four homes of a network, and gz1's second one with another key and its request."""
    folder = tmp_path_factory.mktemp("parties")
    make_homes(folder)
    template = Path(__file__).resolve().parents[2] / "configs" / "consortium.devnet.toml"
    succeed("network", "assemble", template, *requests_in(folder), "--to", folder / "public")
    for name in ("gz1", "hk1"):
        succeed("network", "verify", "--home", folder / name, "--from", folder / "public")
    secret = folder / "passphrase"
    new = folder / "gz1-new"
    succeed("init", "--name", "gz1", "--org", "gz", "--home", new, "--ca", folder / "gz1" / "keys" / "ca", "--devnet",
            "--listen", "127.0.0.1:7201", "--passphrase-file", secret)  # fmt: skip
    said = succeed("network", "validator-request", "--home", new, "--from", folder / "gz1" / "network",
                   "--passphrase-file", secret)  # fmt: skip
    line = next(line for line in said.splitlines() if "replace-validator" in line)
    assert read_by_the_cli(line) == {
        "request": Home(new).validator_request_file, "key": "gz-admin", "home": folder / "gz1"
    }  # fmt: skip
    return folder


@pytest.fixture
def request_(folder: Path) -> ValidatorRequest:
    return load(Home(folder / "gz1-new").validator_request_file)


def problems(home: Path) -> list[OperatorError]:
    place = Home(home)
    settings = config.load(place.config_file, environment={})
    return verify_start(place, settings.node, consortium.load(place.consortium_file), NOW)


def test_the_steps_after_a_lost_log_can_be_pasted_as_they_stand(folder: Path, tmp_path: Path) -> None:
    old = folder / "gz1"
    settings = config.load(Home(old).config_file, environment={})
    document = consortium.load(Home(old).consortium_file).document
    lines = rekey_steps(old, "gz1", "gz", ["trade"], addresses=listening(settings), admin=admin_of(document, "gz"))
    read = [read_by_the_cli(line) for line in lines]
    new = folder / "gz1-new"
    assert read[0]["home"] == new and read[0]["ca"] == old / "keys" / "ca"
    assert (read[0]["listen"], read[0]["rpc_listen"], read[0]["ops_listen"]) == (
        settings.p2p.listen, settings.rpc.listen, settings.ops.listen
    )  # fmt: skip
    assert read[1] == {"home": new, "folder": old / "network"}
    asking = {"key": "gz-admin", "home": old}  # the old home has the key, and its node passes on what is sent
    assert read[2] == {"request": Home(new).validator_request_file, **asking}
    assert read[3] == {"proposal": "rekey-gz1", "approve": True, "channel": "trade", **asking}
    assert read[4] == {"proposal": "rekey-gz1", "channel": "trade", **asking}
    assert read[5] == {"home": new}
    spaced = rekey_steps(tmp_path / "a home", "gz1", "gz", ["trade"], addresses=listening(settings), admin="gz-admin")
    (tmp_path / "a home" / "keys" / "ca").mkdir(parents=True)
    assert [read_by_the_cli(line)["home"].name for line in spaced] == [
        "a home-new", "a home-new", "a home", "a home", "a home", "a home-new"
    ]  # fmt: skip


def test_what_the_cli_prints_after_a_proposal_can_be_pasted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    next_steps("rekey-gz1", "trade", "gz-admin", "http://127.0.0.1:1", tmp_path / "a home")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  dawan-node")]
    given = {"proposal": "rekey-gz1", "channel": "trade", "key": "gz-admin", "home": tmp_path / "a home"}
    given |= {"rpc": "http://127.0.0.1:1"}
    assert [read_by_the_cli(line) for line in lines] == [given | {"approve": True}, given]


def test_a_home_with_another_key_starts_because_its_request_says_why(folder: Path) -> None:
    assert problems(folder / "gz1-new") == []
    assert problems(folder / "gz1") == []


def test_without_the_request_or_with_another_homes_it_does_not_start(folder: Path, request_: ValidatorRequest) -> None:
    path = Home(folder / "gz1-new").validator_request_file
    kept = path.read_bytes()
    try:
        path.unlink()
        assert any("not the one in consortium.toml" in str(each) and "rekey.md" in each.fix
                   for each in problems(folder / "gz1-new"))  # fmt: skip
        keys = unlock(Home(folder / "hk1"), PASSPHRASE.encode())
        other = sign(msgspec.structs.replace(request_, public_key="0x" + keys.node.public_key.hex()), keys.node,
                     unlock(Home(folder / "gz1-new"), PASSPHRASE.encode()).tls)  # fmt: skip
        path.write_text(other.render())
        assert "this home holds" in str(problems(folder / "gz1-new")[0])
        own = unlock(Home(folder / "gz1-new"), PASSPHRASE.encode())
        for change, said in (({"name": "gz2"}, "is of gz2 of gz"), ({"network": "other"}, "another consortium.toml")):
            path.write_text(sign(msgspec.structs.replace(request_, **change), own.node, own.tls).render())
            assert said in str(problems(folder / "gz1-new")[0])
        path.write_bytes(kept[:-20])
        assert problems(folder / "gz1-new") != []
    finally:
        path.write_bytes(kept)


def test_the_claim_is_signed_by_the_new_key_for_each_channel_it_validates(
    folder: Path, request_: ValidatorRequest
) -> None:
    agreed = consortium.load(folder / "public" / "consortium.toml")
    key = public_key_bytes(request_.public_key)
    assert [each.channel for each in request_.seat] == ["trade", "alliance"]
    for seat in request_.seat:
        chain_id = agreed.genesis(seat.channel).chain_id
        assert public_key_bytes(seat.chain_id) == chain_id
        claim = encode([1, chain_id, "gz1", "gz", "ed25519", key])
        assert verify("ed25519", key, b"dawan:seat:v1", claim, public_key_bytes(seat.possession))
    assert load(Home(folder / "gz1-new").validator_request_file) == request_
    assert [each.channel for each in chosen(request_, "x", ["alliance"])] == ["alliance"]
    with pytest.raises(ConfigError, match="claims no seat on channel logistics"):
        chosen(request_, "x", ["logistics"])


@pytest.mark.parametrize(
    "change",
    [
        {"network": "other"},
        {"consortium": "0x" + "11" * 32},
        {"created": NOW - timedelta(days=1)},
        {"name": "gz2"},
        {"org": "hk"},
        {"suite": "sm2"},
        {"public_key": "0x" + "22" * 32},
        {"public_key": "0x" + "00" * 32},
        {"public_key": "0x" + "ab" * 31},
        {"addresses": ("127.0.0.1:7999",)},
        {"addresses": ("0.0.0.0:7201",)},
        {"seat": ()},
        {"signature": "0x" + "00" * 64},
        {"tls_signature": "0x"},
        {"certificate": ""},
        {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
    ],
    ids=lambda change: ",".join(f"{name}={value}" for name, value in change.items() if name != "created") or "created",
)
def test_a_request_that_was_changed_is_refused(request_: ValidatorRequest, change: dict[str, Any]) -> None:
    check_genuine("r.toml", request_)
    with pytest.raises(ConfigError) as refused:
        check_genuine("r.toml", msgspec.structs.replace(request_, **change))
    assert refused.value.what.startswith("r.toml") and refused.value.why and refused.value.fix


def test_a_possession_of_another_channel_makes_the_request_worthless(folder: Path, request_: ValidatorRequest) -> None:
    keys = unlock(Home(folder / "gz1-new"), PASSPHRASE.encode())
    trade, alliance = request_.seat
    forged = msgspec.structs.replace(
        request_, seat=(trade, msgspec.structs.replace(alliance, possession=trade.possession))
    )
    data = forged.signing_bytes()
    again = msgspec.structs.replace(
        forged, signature="0x" + keys.node.sign(b"dawan:validator-request:v1", data).hex(), tls_signature="0x00"
    )
    with pytest.raises(ConfigError, match="not of the validator's key"):
        check_genuine("r.toml", again)


def test_an_administrator_refuses_what_is_old_of_another_network_or_under_another_authority(
    folder: Path, request_: ValidatorRequest
) -> None:
    place = Home(folder / "gz1")
    agreed = consortium.load(place.consortium_file)
    roots = home_roots(place, agreed, "gz")
    check_usable("r.toml", request_, agreed.document, roots, NOW + timedelta(minutes=1))
    cases: list[tuple[Any, ...]] = [
        (agreed.document, roots, NOW + timedelta(days=31), "more than 30 days ago"),
        (agreed.document, roots, NOW - timedelta(days=1), "in the future"),
        (msgspec.structs.replace(agreed.document, network="other"), roots, NOW, "network 'other'"),
        (
            agreed.document,
            {**roots, "gz": roots["hk"], "hk": roots["gz"]},
            NOW + timedelta(minutes=1),
            "certificate is refused",
        ),
    ]
    for document, known, now, said in cases:
        with pytest.raises(ConfigError, match=said):
            check_usable("r.toml", request_, document, known, now)


def test_a_request_for_a_node_the_file_does_not_know_names_its_channels(folder: Path) -> None:
    secret = folder / "passphrase"
    home = folder / "gz7"
    succeed("init", "--name", "gz7", "--org", "gz", "--home", home, "--ca", folder / "gz1" / "keys" / "ca", "--devnet",
            "--listen", "127.0.0.1:7207", "--passphrase-file", secret)  # fmt: skip
    command = ("network", "validator-request", "--home", home, "--from", folder / "public", "--passphrase-file", secret)
    refused = run(*command)
    assert refused.exit_code == 1 and "Name them: --channel" in refused.output
    assert "no channel 'tradee'" in run(*command, "--channel", "tradee").output
    assert not Home(home).consortium_file.exists(), "nothing half-done"
    assert "network add-validator" in succeed(*command, "--channel", "trade")
    assert problems(home) == []


# The look before a vote


class Node:
    """What ``preflight`` asks of a node: four validators, gz1 asked, and who is linked, behind or silent."""

    def __init__(
        self,
        names: tuple[str, ...] = ("gz1", "hk1", "mo1", "hq1"),
        links: tuple[str, ...] = ("hk1", "mo1", "hq1"),
        signers: tuple[str, ...] | None = None,
        behind: dict[str, int] | None = None,
        height: int = 100,
        state: str = "normal",
    ) -> None:
        self.names, self.links, self.height, self.state = names, links, height, state
        self.signers = names if signers is None else signers
        self.lag = behind or {}

    def chain_getValidators(self, channel: str, at: str) -> Any:  # noqa: N802
        return {"validators": [{"name": name, "org": name[:2]} for name in self.names]}

    def node_status(self) -> Any:
        return {"node": "gz1"}

    def pbft_status(self, channel: str) -> Any:
        return {"state": self.state, "epoch": 3, "in_flight": []}

    def net_peers(self) -> Any:
        return [{"name": n, "channels": ["trade"], "behind": {"trade": self.lag.get(n, 0)}} for n in self.links]

    def chain_head(self, channel: str) -> Any:
        return {"height": self.height}

    def chain_getBlock(self, channel: str, at: int) -> Any:  # noqa: N802
        return {"header": {"epoch": 3}, "commit": {"signers": list(self.signers)}}


def look(node: Node, kind: str = "validator_key", name: str = "hq1") -> preflight.Picture:
    return preflight.look(node, "trade", kind, name, "0x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("node", "kind", "name", "n_after", "live_after", "stalls"),
    [
        (Node(), "validator_key", "hq1", 4, 3, False),
        (Node(links=("hk1", "mo1")), "validator_key", "hq1", 4, 3, False),
        (Node(links=("hk1", "hq1")), "validator_key", "hq1", 4, 2, True),
        (Node(behind={"mo1": 1_000}), "validator_key", "hq1", 4, 2, True),
        (Node(behind={"mo1": 30}), "validator_key", "hq1", 4, 3, False),
        (Node(signers=("gz1", "hk1", "hq1")), "validator_key", "hq1", 4, 2, True),  # mo1 observes: its log is lost
        (Node(signers=("gz1", "hk1", "hq1"), height=5), "validator_key", "hq1", 4, 3, False),
        (Node(state="observer"), "validator_key", "hq1", 4, 2, True),
        (Node(), "validator_removed", "hq1", 3, 3, False),
        (Node(links=("hq1",)), "validator_removed", "hq1", 3, 1, True),
        (Node(), "validator_added", "gz2", 5, 4, False),
        (Node(links=("hk1", "mo1")), "validator_added", "gz2", 5, 3, True),
        (Node(links=("hk1", "mo1", "gz2")), "validator_added", "gz2", 5, 4, False),
        (Node(links=("hk1", "mo1", "gz2"), behind={"gz2": 5_000}), "validator_added", "gz2", 5, 3, True),
        (Node(names=("gz1",), links=()), "validator_key", "gz1", 1, 0, True),
    ],
)
def test_live_validators_of_the_changed_set_are_counted_as_the_asked_node_sees_them(
    node: Node, kind: str, name: str, n_after: int, live_after: int, stalls: bool
) -> None:
    picture = look(node, kind, name)
    assert (picture.n_after, picture.live_after, picture.stalls) == (n_after, live_after, stalls)


def test_what_would_stop_the_channel_is_refused_unless_it_is_asked_for_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    node: Any = Node(links=("hk1", "hq1"))
    with pytest.raises(CommandFailed, match="is not sent") as refused:
        preflight.check(node, "trade", "validator_key", "hq1", "0x", override=False)
    assert "of 4 validators 2 would be live, 3 are needed" in refused.value.why
    assert "--even-if-it-stops" in refused.value.fix
    assert "mo1        mo            no    no link" in capsys.readouterr().out
    assert preflight.check(node, "trade", "validator_key", "hq1", "0x", override=True).stalls
    assert "will stand still" in capsys.readouterr().err


def test_it_is_said_when_f_drops(capsys: pytest.CaptureFixture[str]) -> None:
    preflight.check(Node(), "trade", "validator_removed", "hq1", "0x", override=False)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert "now    n = 4, f = 1, quorum = 3, live = 4" in shown
    assert "after  n = 3, f = 0, quorum = 2, live = 3" in shown
    assert "f drops from 1 to 0: one validator that lies can fork the channel" in shown
