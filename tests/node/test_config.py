"""node.toml: precedence, and errors that name the file, the key and what would be right."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dawan_node.errors import ConfigError
from dawan_node.node import config
from dawan_node.node.config import Config, NodeSection, load, parse_address

EXAMPLE = Path(__file__).resolve().parents[2] / "configs" / "node.example.toml"
SMALL = '[node]\nname = "gz1"\norg = "gz"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(SMALL)
    return path


def refusal(path: Path, **sources: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        load(path, **sources)
    assert refused.value.what and refused.value.why and refused.value.fix
    return str(refused.value)


def test_the_example_file_shows_every_key_with_its_default() -> None:
    loaded = load(EXAMPLE, environment={})
    assert loaded == Config(node=NodeSection(name="gz1", org="gz"))
    text = EXAMPLE.read_text(encoding="utf-8")
    for section in msgspec.structs.fields(Config):
        assert f"[{section.name}]" in text
        for key in msgspec.structs.fields(section.type):
            assert f"\n{key.name} = " in text, f"{section.name}.{key.name}"


def test_an_option_wins_over_a_variable_over_the_file_over_the_default(file: Path) -> None:
    assert load(file).rpc.listen == "127.0.0.1:7110"
    file.write_text(SMALL + '[rpc]\nlisten = "127.0.0.1:1"\n')
    assert load(file).rpc.listen == "127.0.0.1:1"
    variable = {"DAWAN_RPC__LISTEN": "127.0.0.1:2"}
    assert load(file, environment=variable).rpc.listen == "127.0.0.1:2"
    assert load(file, environment=variable, flags={"rpc.listen": "127.0.0.1:3"}).rpc.listen == "127.0.0.1:3"


def test_variables_carry_numbers_booleans_and_lists(file: Path) -> None:
    loaded = load(
        file,
        environment={
            "DAWAN_STORAGE__HISTORY": "50",
            "DAWAN_DEVNET__FAULTS": "true",
            "DAWAN_P2P__ADVERTISE": "a.example:1, b.example:2",
            "DAWAN_HOME": "/somewhere",
            "DAWAN_LOG__LEVEL": "debug",
            "PATH": "/bin",
        },
    )
    assert (loaded.storage.history, loaded.devnet.faults, loaded.log.level) == (50, True, "debug")
    assert loaded.p2p.advertise == ("a.example:1", "b.example:2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALL + "[rcp]\n", ["node.toml", "unknown key rcp", "nearest valid one is rpc"]),
        (SMALL + '[rpc]\nlisen = "x"\n', ["node.toml", "unknown key rpc.lisen", "nearest valid one is listen"]),
        (SMALL + "[log]\nzzz = 1\n", ["unknown key log.zzz", "valid here: format, level"]),
        (SMALL + '[storage]\nhistory = "many"\n', ["storage.history", "Expected `int`"]),
        (SMALL + "[storage]\nhistory = 0\n", ["storage.history", ">= 1"]),
        (SMALL + '[storage]\nhistory = "50"\n', ["storage.history"]),
        (SMALL + '[log]\nformat = "xml"\n', ["log.format", "xml"]),
        (SMALL + '[p2p]\nlisten = "7100"\n', ["p2p.listen", "host:port"]),
        (SMALL + '[p2p]\nlisten = "a:99999"\n', ["p2p.listen", "65535"]),
        (SMALL + '[p2p]\nlisten = "::1:7100"\n', ["p2p.listen", "square brackets"]),
        (SMALL + '[rpc]\nlisten = "0.0.0.0:7110"\n', ["rpc.listen", "without TLS", "127.0.0.1"]),
        ('[node]\nname = "gz1"\n', ["node", "org"]),
        ('[node]\nname = "GZ1"\norg = "gz"\n', ["node.name", "[a-z]"]),
        ("[node\n", ["not valid TOML", "line 1"]),
    ],
)
def test_a_mistake_in_the_file_is_named(file: Path, text: str, words: list[str]) -> None:
    file.write_text(text)
    said = refusal(file)
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("DAWAN_RPC__LISEN", "x", ["DAWAN_RPC__LISEN", "RPC__LISTEN"]),
        ("DAWAN_RPC_LISTEN", "x", ["DAWAN_RPC_LISTEN", "DAWAN_RPC__LISTEN"]),
        ("DAWAN_RPC__HTTP__PORT", "1", ["DAWAN_RPC__HTTP__PORT"]),
        ("DAWAN_STORAGE__HISTORY", "many", ["environment variable DAWAN_STORAGE__HISTORY", "storage.history"]),
        ("DAWAN_RPC__LISTEN", "0.0.0.0:1", ["environment variable DAWAN_RPC__LISTEN", "without TLS"]),
    ],
)
def test_a_mistake_in_a_variable_is_named(file: Path, name: str, value: str, words: list[str]) -> None:
    said = refusal(file, environment={name: value})
    assert all(word in said for word in words), said


def test_a_missing_or_oversized_file_is_refused(tmp_path: Path) -> None:
    assert "init" in refusal(tmp_path / "none.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * 5_000_000)
    assert "larger than" in refusal(tmp_path / "big.toml")


def test_the_home_is_the_folder_of_the_file_unless_it_says_otherwise(file: Path) -> None:
    assert load(file).home(file.parent).path == file.parent.resolve()
    file.write_text(SMALL.replace("[node]", '[node]\nhome = "../elsewhere"'))
    assert load(file).home(file.parent).path == file.parent.parent.resolve() / "elsewhere"


def test_addresses_are_split_into_host_and_port() -> None:
    assert parse_address("[::1]:7100") == ("::1", 7100)
    assert parse_address("gz1.example:0") == ("gz1.example", 0)


def test_loopback_is_recognised() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert config.is_loopback(host)
    for host in ("0.0.0.0", "10.0.0.1", "gz1.example", "::"):
        assert not config.is_loopback(host)
