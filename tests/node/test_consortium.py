"""consortium.toml: the same bytes for everybody, every mistake named, and what the network can bear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dawan_node.errors import ConfigError
from dawan_node.node import consortium
from dawan_node.node.consortium import Consortium, channel_facts
from dawan_node.primitives.genesis import Genesis

Write = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        consortium.load(path)
    return str(refused.value)


def test_the_devnet_template_describes_four_organisations_and_two_channels() -> None:
    document = consortium.load_document(ROOT / "configs" / "consortium.devnet.toml")
    assert [org.id for org in document.org] == ["gz", "hk", "mo", "hq"]
    assert all(org.founding and org.names.zh_hans and org.names.zh_hant and org.names.pt for org in document.org)
    assert [node.name for node in document.validator] == ["gz1", "hk1", "mo1", "hq1"]
    roles = {role for identity in document.identity for role in identity.roles}
    assert {"org_admin", "supplier", "buyer", "core_enterprise", "bank", "settlement_bank", "factor"} <= roles
    assert {channel.name: channel.modules for channel in document.channel} == {
        "trade": ("kernel@1", "lc@1", "logistics@1", "receivable@2", "refdata@1", "title@1"),
        "alliance": (),
    }


def test_a_template_is_not_taken_for_a_complete_consortium() -> None:
    said = refusal(ROOT / "configs" / "consortium.devnet.toml")
    assert "public_key of validator gz1 is missing" in said
    assert "network assemble" in said


def test_a_genesis_holds_what_the_file_says_and_what_every_channel_has(assembled: Consortium) -> None:
    genesis = assembled.genesis("trade")
    assert Genesis.decode(genesis.encoded).encoded == genesis.encoded
    assert genesis.created_ms == 1_788_220_800_000
    assert [org.id for org in genesis.orgs] == ["gz", "hk", "hq", "mo"]
    assert [validator.name for validator in genesis.validators] == ["gz1", "hk1", "hq1", "mo1"]
    assert [(module.name, module.version) for module in genesis.modules] == [
        (name, 2 if name == "receivable" else 1)
        for name in ("governance", "kernel", "lc", "logistics", "receivable", "refdata", "title")
    ]
    assert [(p.kind, p.votes, p.electorate) for p in genesis.policies] == [
        ("default", 3, "founding"),
        ("validator", 3, "founding"),
    ]
    assert [module.name for module in assembled.genesis("alliance").modules] == ["governance"]
    assert assembled.genesis("alliance").chain_id != genesis.chain_id


def test_every_party_computes_the_same_bytes_from_the_files(assembled: Consortium, write_changed: Write) -> None:
    path = write_changed()
    loaded = consortium.load(path)
    for channel in assembled.channels:
        assert loaded.genesis(channel).encoded == assembled.genesis(channel).encoded
        assert (path.parent / "genesis" / f"{channel}.bin").read_bytes() == loaded.genesis(channel).encoded


def test_the_order_of_the_tables_does_not_change_the_genesis(assembled: Consortium) -> None:
    document = assembled.document
    turned = consortium.Document(
        format=1,
        network=document.network,
        created=document.created,
        org=document.org[::-1],
        validator=document.validator[::-1],
        identity=document.identity[::-1],
        channel=document.channel[::-1],
    )
    assert Consortium(turned, assembled.roots).genesis("trade").encoded == assembled.genesis("trade").encoded


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('roles = ["bank"]', 'roles = ["bank", "factor"]'),
        ("created = 2026-09-01T00:00:00.000Z", "created = 2026-09-01T00:00:00.001Z"),
        ('network = "dawan-devnet"', 'network = "dawan-other"'),
        ("founding = true", "founding = false"),
        ('"receivable@2"', '"receivable@1"'),
        ('name = "trade"', 'name = "trade"\nparams.window = 5'),
        ('name = "trade"', 'name = "trade"\npolicy.validator = { votes = 4, electorate = "members" }'),
    ],
)
def test_every_agreed_fact_changes_the_chain_id(
    assembled: Consortium, write_changed: Write, old: str, new: str
) -> None:
    assert consortium.load(write_changed(old, new)).genesis("trade").chain_id != assembled.genesis("trade").chain_id


def test_addresses_are_not_part_of_the_chain_id(assembled: Consortium, write_changed: Write) -> None:
    moved = consortium.load(write_changed("127.0.0.1:7100", "gz1.example.org:7100"))
    assert moved.genesis("trade").chain_id == assembled.genesis("trade").chain_id


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("network =", "netwerk =", ["unknown key netwerk", "nearest valid one is network"]),
        ("founding = true", "foundin = true", ["org[1].foundin", "nearest valid one is founding"]),
        ('names.pt = "', 'names.fr = "', ["org[1].names.fr"]),
        ("format = 1", "format = 2", ["format"]),
        ('network = "dawan-devnet"', 'network = "Dawan"', ["network = 'Dawan'", "[a-z]"]),
        ("00:00:00.000Z", "00:00:00", ["created", "time zone"]),
        ("00:00:00.000Z", "00:00:00.0001Z", ["finer than a millisecond"]),
        ('[[org]]\nid = "hk"', '[[org]]\nid = "gz"', ["organisation gz stands there 2 times"]),
        ('name = "hk1"', 'name = "gz1"', ["node gz1 stands there 2 times"]),
        ('name = "hk-bank"', 'name = "gz-bank"', ["identity gz-bank stands there 2 times"]),
        ('name = "alliance"', 'name = "trade"', ["channel trade stands there 2 times"]),
        ('name = "hk1"\norg = "hk"', 'name = "hk1"\norg = "hh"', ["validator hk1", "no organisation 'hh'", "hk"]),
        ('ca = ["gz.pem"]', 'operator = "gg"\nca = ["gz.pem"]', ["operator of organisation gz", "'gg'"]),
        ('ca = ["gz.pem"]', 'ca = ["../gz.pem"]', ["lies beside consortium.toml"]),
        ('ca = ["gz.pem"]', 'ca = ["no.pem"]', ["no.pem", "cannot be read"]),
        ('ca = ["gz.pem"]', "ca = []", ["ca of organisation gz is missing"]),
        ('public_key = "0x', 'public_key = "', ["public_key of validator gz1", "64 lower-case"]),
        ('addresses = ["127.0.0.1:7100"]', "addresses = []", ["addresses of validator gz1 is missing"]),
        ('addresses = ["127.0.0.1:7100"]', 'addresses = ["7100"]', ["addresses of validator gz1", "host:port"]),
        ('roles = ["bank"]', 'roles = ["Bank"]', ["role 'Bank' of identity"]),
        ('validators = ["gz1", ', 'validators = ["gz2", ', ["channel trade", "no validator 'gz2'", "gz1"]),
        ('validators = ["gz1", "hk1", ', 'validators = ["gz1", "gz1", ', ["validators", "twice"]),
        ('orgs = ["gz", ', "orgs = [", ["validator gz1 is of gz", "not on the channel"]),
        ('"receivable@2"', '"receivable"', ["not a module and version"]),
        ('"receivable@2"', '"receivable@1", "receivable@2"', ["two versions"]),
        ('names.pt = "', 'names.pt = "\\u001b[2J', ["names of organisation gz", "control"]),
        ('names.pt = "', 'names.pt = "\\u202e', ["names of organisation gz", "direction marks"]),
        ('addresses = ["127.0.0.1:7100"]', 'addresses = ["\\u001b:7100"]', ["addresses of validator gz1", "a host is"]),
        ('addresses = ["127.0.0.1:7100"]', 'addresses = ["[zz::]:7100"]', ["addresses of validator gz1", "IPv6"]),
        ("created = 2026-09-01", "created = 1969-09-01", ["created", "1970"]),
        ('name = "trade"', 'name = "trade"\nparams.windw = 5', ["unknown parameter 'windw'", "window"]),
        ('name = "trade"', 'name = "trade"\nparams.window = true', ["params"]),
        ('name = "trade"', 'name = "trade"\npolicy.default = { votes = 0 }', ["policy", "votes", ">= 1"]),
        ('name = "trade"', 'name = "trade"\npolicy.default = { vots = 1 }', ["vots", "votes"]),
    ],
)
def test_a_mistake_is_named(write_changed: Write, old: str, new: str, words: list[str]) -> None:
    said = refusal(write_changed(old, new))
    assert "consortium.toml" in said or "no.pem" in said
    assert all(word in said for word in words), said


def test_a_parameter_no_channel_may_have_is_refused_with_the_channel(write_changed: Write) -> None:
    loaded = consortium.load(write_changed('name = "trade"', 'name = "trade"\nparams.window = 0'))
    with pytest.raises(ConfigError, match="channel trade has no valid genesis"):
        loaded.genesis("trade")
    with pytest.raises(ConfigError, match=r"no channel 'trad'.*trade"):
        loaded.genesis("trad")


def test_two_validators_with_one_key_have_no_genesis(assembled: Consortium, write_changed: Write) -> None:
    gz, hk = (assembled.node(name) for name in ("gz1", "hk1"))
    assert gz and hk
    with pytest.raises(ConfigError, match="share one public key"):
        consortium.load(write_changed(hk.public_key, gz.public_key)).genesis("trade")


def test_a_node_hears_of_the_channels_of_its_organisation_only(write_changed: Write) -> None:
    path = write_changed(
        'orgs = ["gz", "hk", "mo", "hq"]\nvalidators = ["gz1", "hk1", "mo1", "hq1"]\nmodules = ["k',
        'orgs = ["gz", "hk", "mo"]\nvalidators = ["gz1", "hk1", "mo1"]\nmodules = ["k',
    )
    loaded = consortium.load(path)
    assert loaded.channels_for("hq") == ("alliance",)
    assert loaded.channels_for("gz") == ("trade", "alliance")
    assert "hq-admin" not in {identity.name for identity in loaded.genesis("trade").identities}
    assert loaded.is_validator("hq1") and not loaded.is_validator("nobody")


def test_seats_are_counted_by_who_operates_them(write_changed: Write) -> None:
    loaded = consortium.load(write_changed('ca = ["hq.pem"]', 'operator = "gz"\nca = ["hq.pem"]'))
    facts = channel_facts(loaded.document, "trade")
    assert {each.operator: each.seats for each in facts.operators} == {"gz": 2, "hk": 1, "mo": 1}
    assert any(warning.startswith("gz alone could fork channel trade") for warning in facts.warnings())
    with pytest.raises(ConfigError, match=r"no channel 'trad'.*trade"):
        channel_facts(loaded.document, "trad")
