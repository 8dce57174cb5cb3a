"""network assemble: every party's join-request in its place, and nothing that was not agreed on."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from dawan_node.errors import ConfigError
from dawan_node.node import assembly, consortium
from dawan_node.node.consortium import Consortium, Document, Node
from dawan_node.node.consortium_text import render
from dawan_node.node.join_request import JoinRequest, RequestIdentity
from tests.node.joining_kit import DEVNET, NOW, public_key, request_for, requests_for


@pytest.fixture(scope="module")
def template() -> Document:
    return consortium.load_document(DEVNET)


@pytest.fixture
def requests(template: Document) -> list[tuple[str, JoinRequest]]:
    return requests_for(template)


def refusal(template: Document, requests: list[tuple[str, JoinRequest]]) -> str:
    with pytest.raises(ConfigError) as refused:
        assembly.assemble("template.toml", template, requests, NOW)
    assert refused.value.fix
    return str(refused.value)


def test_the_order_of_the_requests_does_not_matter(
    template: Document, requests: list[tuple[str, JoinRequest]], assembled: Consortium
) -> None:
    again = assembly.assemble("template.toml", template, requests[::-1], NOW)
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
                names=consortium.Names(en='A "b" \\ c', zh_hans="甲", zh_hant="乙", pt="ç"),
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


def test_a_second_node_of_an_organisation_need_not_bring_the_ca_again(template: Document) -> None:
    larger = msgspec.structs.replace(template, observer=(Node(name="gz2", org="gz"),))
    made = assembly.assemble("template.toml", larger, requests_for(larger), NOW)
    gz2 = made.node("gz2")
    assert gz2 is not None and gz2.public_key == public_key("gz2")
    assert not made.is_validator("gz2")


def test_what_the_template_does_not_have_is_not_assembled(template: Document) -> None:
    extra = ("gz9.toml", request_for(template, "gz9", "gz", 9, identity=()))
    assert "gz9.toml: node 'gz9' is not in template.toml" in refusal(template, [*requests_for(template), extra])
    stranger = RequestIdentity(name="gz-stranger", public_key=public_key("gz-stranger"))
    more = ("gz1.toml", request_for(template, "gz1", "gz", identity=(stranger,)))
    assert "identity 'gz-stranger' is not in template.toml" in refusal(template, [more, *requests_for(template)[1:]])


def test_a_node_or_identity_under_another_organisation_is_refused(template: Document) -> None:
    rest = requests_for(template)[1:]
    moved = ("gz1.toml", request_for(template, "hk1", "gz"))
    assert "node 'hk1' is of 'gz'" in refusal(template, [moved, *rest[1:]])
    stolen = (RequestIdentity(name="hk-bank", public_key=public_key("x")),)
    thief = ("gz1.toml", request_for(template, "gz1", "gz", identity=stolen))
    without = ("hk1.toml", request_for(template, "hk1", "hk", 1, identity=()))
    assert "identity 'hk-bank' is of 'gz'" in refusal(template, [thief, without, *rest[1:]])


def test_another_role_than_the_agreed_one_is_refused(template: Document) -> None:
    observer = ("gz1.toml", request_for(template, "gz1", "gz", role="observer"))
    said = refusal(template, [observer, *requests_for(template)[1:]])
    assert "node gz1 is observer" in said and "has it as validator" in said


def test_what_is_missing_is_named(template: Document, requests: list[tuple[str, JoinRequest]]) -> None:
    assert "organisation hk has no CA certificate" in refusal(template, [requests[0], *requests[2:]])
    without_key = ("hk1.toml", request_for(template, "hk1", "hk", 1, identity=()))
    said = refusal(template, [requests[0], without_key, *requests[2:]])
    assert "public_key of identity hk-admin is missing and 6 more" in said


def test_a_folder_that_is_written_again_holds_the_same_bytes_and_nothing_half(
    template: Document, requests: list[tuple[str, JoinRequest]], tmp_path: Path
) -> None:
    assembled = assembly.assemble("template.toml", template, requests, NOW)
    paths = assembly.write(assembled, tmp_path)
    before = {path: path.read_bytes() for path in paths}
    assert assembly.write(assembled, tmp_path) == paths
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert paths[-1].name == "consortium.toml"  # last: it names the others


def test_a_folder_that_cannot_be_written_is_left_as_it_was(
    template: Document, requests: list[tuple[str, JoinRequest]], tmp_path: Path
) -> None:
    assembled = assembly.assemble("template.toml", template, requests, NOW)
    (tmp_path / "genesis").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        assembly.write(assembled, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["genesis"]
