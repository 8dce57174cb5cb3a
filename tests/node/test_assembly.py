"""network assemble: every party's public file in its place, and nothing that was not agreed on."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from dawan_node.crypto.authority import make_authority
from dawan_node.crypto.certificates import to_pem
from dawan_node.errors import ConfigError
from dawan_node.node import assembly, consortium
from dawan_node.node.assembly import Party, PartyIdentity, render
from dawan_node.node.consortium import Consortium, Document, Node

NOW = datetime(2026, 9, 2, tzinfo=UTC)
DEVNET = Path(__file__).resolve().parents[2] / "configs" / "consortium.devnet.toml"


@pytest.fixture(scope="module")
def template() -> Document:
    return consortium.load_document(DEVNET)


@pytest.fixture
def parties(assembled: Consortium) -> list[tuple[str, Party]]:
    """What the parties of ``assembled`` had handed over."""
    return [
        (
            f"{node.name}/party.toml",
            Party(
                format=1,
                name=node.name,
                org=node.org,
                public_key=node.public_key,
                addresses=node.addresses,
                ca=to_pem(assembled.roots[node.org]),
                identity=tuple(
                    PartyIdentity(name=identity.name, public_key=identity.public_key)
                    for identity in assembled.document.identity
                    if identity.org == node.org
                ),
            ),
        )
        for node in assembled.document.validator
    ]


def change(parties: list[tuple[str, Party]], number: int, **changes: object) -> list[tuple[str, Party]]:
    name, party = parties[number]
    return [*parties[:number], (name, msgspec.structs.replace(party, **changes)), *parties[number + 1 :]]


def refusal(template: Document, parties: list[tuple[str, Party]]) -> str:
    with pytest.raises(ConfigError) as refused:
        assembly.assemble("template.toml", template, parties, NOW)
    assert refused.value.fix
    return str(refused.value)


def test_the_order_of_the_parties_does_not_matter(
    template: Document, parties: list[tuple[str, Party]], assembled: Consortium
) -> None:
    again = assembly.assemble("template.toml", template, parties[::-1], NOW)
    assert render(again.document) == render(assembled.document)
    assert again.genesis("trade").encoded == assembled.genesis("trade").encoded


def test_a_rendered_file_reads_back_as_the_same_document(assembled: Consortium) -> None:
    document = msgspec.structs.replace(
        assembled.document,
        observer=(Node(name="ob1", org="mo", public_key="0x" + "ab" * 32, addresses=("[::1]:1",)),),
        org=(
            msgspec.structs.replace(assembled.document.org[0], operator="hq"),
            *assembled.document.org[1:-1],
            msgspec.structs.replace(
                assembled.document.org[-1],
                names=consortium.Names(en='A "b" \\ \t c\x7f', zh_hans="甲", zh_hant="乙", pt="ç"),
            ),
        ),
        channel=(
            msgspec.structs.replace(
                assembled.document.channel[0],
                params={"window": 5, "block_txs_max": 10},
                policy={"default": consortium.Policy(votes=2, electorate="members")},
            ),
            assembled.document.channel[1],
        ),
    )
    assert consortium.parse_document("again", tomllib.loads(render(document))) == document


def test_a_party_file_reads_back_as_it_was_written(tmp_path: Path, parties: list[tuple[str, Party]]) -> None:
    path = tmp_path / "party.toml"
    for _, party in parties:
        path.write_text(party.render(), encoding="utf-8")
        assert assembly.load_party(path) == party


def test_a_misspelt_key_in_a_party_file_is_named(tmp_path: Path, parties: list[tuple[str, Party]]) -> None:
    path = tmp_path / "party.toml"
    path.write_text(parties[0][1].render().replace("addresses", "adresses"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"unknown key adresses.*nearest valid one is addresses"):
        assembly.load_party(path)


def test_a_second_node_of_an_organisation_need_not_bring_the_ca_again(
    template: Document, parties: list[tuple[str, Party]]
) -> None:
    larger = msgspec.structs.replace(template, observer=(Node(name="gz2", org="gz"),))
    second = (
        "gz2",
        msgspec.structs.replace(parties[0][1], name="gz2", public_key="0x" + "ab" * 32, ca="", identity=()),
    )
    made = assembly.assemble("template.toml", larger, [*parties, second], NOW)
    gz2 = made.node("gz2")
    assert gz2 is not None and gz2.public_key == "0x" + "ab" * 32
    assert not made.is_validator("gz2")


def test_a_party_that_was_not_agreed_on_is_refused(template: Document, parties: list[tuple[str, Party]]) -> None:
    said = refusal(template, change(parties, 0, name="gz9"))
    assert "gz1/party.toml: node gz9 is not in template.toml" in said


def test_a_party_under_another_organisation_is_refused(template: Document, parties: list[tuple[str, Party]]) -> None:
    assert "node gz1 is of hk" in refusal(template, change(parties, 0, org="hk"))


def test_an_identity_of_another_organisation_is_refused(template: Document, parties: list[tuple[str, Party]]) -> None:
    stolen = (PartyIdentity(name="hk-bank", public_key="0x" + "ab" * 32),)
    assert "identity hk-bank is of gz" in refusal(template, change(parties, 0, identity=stolen))


def test_two_files_for_one_node_are_refused(template: Document, parties: list[tuple[str, Party]]) -> None:
    assert "node gz1 comes twice" in refusal(template, [*parties, ("copy", parties[0][1])])


def test_a_missing_party_is_named(template: Document, parties: list[tuple[str, Party]]) -> None:
    assert "organisation hk has no CA certificate" in refusal(template, [parties[0], *parties[2:]])
    without_key = change(parties, 1, identity=())
    assert "public_key of identity hk-admin is missing and 5 more" in refusal(template, without_key)


def test_two_nodes_of_one_organisation_must_share_its_ca(template: Document, parties: list[tuple[str, Party]]) -> None:
    larger = msgspec.structs.replace(template, observer=(Node(name="gz2", org="gz"),))
    other = to_pem([make_authority("gz", NOW).certificate])
    second = msgspec.structs.replace(parties[0][1], name="gz2", ca=other, identity=())
    assert "different certificate" in refusal(larger, [*parties, ("gz2", second)])


@pytest.mark.parametrize("ca", ["junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_ca_is_refused(template: Document, parties: list[tuple[str, Party]], ca: str) -> None:
    assert "gz1/party.toml: ca" in refusal(template, change(parties, 0, ca=ca))


def test_an_expired_ca_is_refused(template: Document, parties: list[tuple[str, Party]]) -> None:
    old = to_pem([make_authority("gz", datetime(2000, 1, 1, tzinfo=UTC)).certificate])
    assert "expired" in refusal(template, change(parties, 0, ca=old))


def test_a_malformed_key_is_refused(template: Document, parties: list[tuple[str, Party]]) -> None:
    assert "public_key of validator gz1" in refusal(template, change(parties, 0, public_key="0xAB"))
