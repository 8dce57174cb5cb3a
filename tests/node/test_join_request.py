"""A join-request proves what it says, and everything about it is judged before any of it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import nacl.signing
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dawan_node.crypto.authority import issue_node_certificate, make_authority
from dawan_node.crypto.certificates import CertifiedKey, from_pem, to_pem
from dawan_node.errors import ConfigError
from dawan_node.node import consortium
from dawan_node.node.consortium import Document, Names, public_key_bytes
from dawan_node.node.join_request import FILE_BYTES_MAX, JoinRequest, RequestIdentity, check_genuine, load, sign
from dawan_node.node.join_review import review
from tests.node.joining_kit import (
    DEVNET,
    NOW,
    authority,
    certified,
    private_key,
    public_key,
    request_for,
    requests_for,
)

SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
# The vectors shared by every implementation of the rule, where they lie beside the project.
SPECCHECK = Path(__file__).resolve().parents[3] / "shared" / "data" / "ed25519" / "speccheck-cases.json"
NAMES = Names(en="Acme Logistics", zh_hans="顶点物流", zh_hant="頂點物流", pt="Acme Logística")


@pytest.fixture(scope="module")
def document() -> Document:
    return consortium.load_document(DEVNET)


def newcomer(document: Document, **changes: Any) -> JoinRequest:
    identity = (RequestIdentity(name="acme-admin", public_key=public_key("acme-admin")),)
    given: dict[str, Any] = {
        "role": "observer",
        "channels": ("trade",),
        "names": NAMES,
        "admin": "acme-admin",
        "identity": identity,
    }
    return request_for(document, "acme1", "acme", 50, **(given | changes))


def refusal(document: Document, *requests: JoinRequest) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        review("template.toml", document, [(f"{each.name}.toml", each) for each in requests], NOW)
    assert refused.value.what and refused.value.why and refused.value.fix
    return refused.value


# What is written and read


def test_a_request_reads_back_as_it_was_written(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "join-request.toml"
    for request in (*[each for _, each in requests_for(document)], newcomer(document)):
        path.write_text(request.render(), encoding="utf-8")
        assert load(path) == request
        check_genuine("file", load(path))


def test_a_mail_gateway_that_changes_line_ends_does_no_harm(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "join-request.toml"
    request = newcomer(document)
    path.write_bytes(request.render().replace("\n", "\r\n").encode())
    check_genuine("file", load(path))
    assert load(path).signing_bytes() == request.signing_bytes()


def test_the_signed_bytes_are_those_of_the_page_made_by_another_encoder(document: Document) -> None:
    request = newcomer(document)
    body = msgpack.packb(
        [
            1,
            "dawan-devnet",
            bytes.fromhex(request.consortium[2:]),
            1_788_307_200_000,
            "acme1",
            "acme",
            "observer",
            "ed25519",
            bytes.fromhex(request.public_key[2:]),
            ["127.0.0.1:7150"],
            [authority("acme").certificate],
            certified("acme", "acme1").certificate,
            [["acme-admin", bytes.fromhex(public_key("acme-admin")[2:])]],
            ["trade"],
            ["Acme Logistics", "顶点物流", "頂點物流", "Acme Logística"],
            "acme-admin",
        ],
        use_bin_type=True,
    )
    assert request.signing_bytes() == body
    nacl.signing.VerifyKey(bytes.fromhex(request.public_key[2:])).verify(
        b"dawan:join:v1\n" + body, bytes.fromhex(request.signature[2:])
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("addresses =", "adresses =", ["unknown key adresses", "nearest valid one is addresses"]),
        ("[[identity]]\nname", "[[identity]]\nnam", ["unknown key identity[1].nam", "nearest valid one is name"]),
        ("names.pt", "names.pd", ["unknown key names.pd", "nearest valid one is pt"]),
        ("format = 1", "format = 2", ["format"]),
        ('role = "observer"', 'role = "boss"', ["role"]),
        ("created = ", "created = 1 # ", ["created"]),
        (".000Z", ".000", ["created", "time zone"]),
        ("2026-09-02T00:00:00.000Z", "0001-01-01T00:00:00+23:59", ["created"]),
        ('name = "acme1"', "name = 5", ["name"]),
        ('network = "dawan-devnet"\n', "", ["network"]),
        ("[[identity]]", "[[identity]", ["not valid TOML"]),
    ],
)
def test_a_mistake_in_the_file_is_named(
    document: Document, tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    path = tmp_path / "join-request.toml"
    text = newcomer(document).render()
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert str(path) in str(refused.value) and all(word in str(refused.value) for word in words), refused.value


def test_a_file_that_is_not_text_or_larger_than_any_request_is_refused(document: Document, tmp_path: Path) -> None:
    path, big = tmp_path / "join-request.toml", tmp_path / "big"
    path.write_bytes(newcomer(document).render().encode("utf-16"))
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path)
    big.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    path.unlink()
    path.symlink_to(big)
    with pytest.raises(ConfigError, match="larger than 512 KiB"):
        load(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="larger than 512 KiB"):
        load(path)


# What one request proves


@pytest.mark.parametrize(
    "change",
    [
        {"network": "dawan-other"},
        {"consortium": "0x" + "ab" * 32},
        {"created": NOW + timedelta(milliseconds=1)},
        {"name": "acme2"},
        {"org": "gz"},
        {"role": "validator"},
        {"addresses": ("127.0.0.1:1",)},
        {"ca": ""},
        {"certificate": to_pem([issue_node_certificate(authority("acme"), "acme", "acme1", [], NOW).certificate])},
        {"channels": ("trade", "alliance")},
        {"names": msgspec.structs.replace(NAMES, zh_hans="頂點物流")},
        {"identity": (RequestIdentity(name="acme-admin", public_key=public_key("another")),)},
        {"public_key": public_key("another")},
        {"signature": "0x" + "00" * 64},
        {"signature": ""},
        {"tls_signature": ""},
        {"tls_signature": "0x" + "00" * 70},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_value_that_was_changed_after_signing_is_noticed(document: Document, change: dict[str, Any]) -> None:
    forged = msgspec.structs.replace(newcomer(document), **change)
    with pytest.raises(ConfigError, match=r"signature is not of the node key|tls_signature is not of") as refused:
        check_genuine("file", forged)
    assert refused.value.fix


def test_every_field_is_under_the_signatures(document: Document) -> None:
    fields = {field.name for field in msgspec.structs.fields(JoinRequest)}
    assert fields - {"signature", "tls_signature", "format", "suite", "admin"} == {
        "network", "consortium", "created", "name", "org", "role", "public_key", "addresses", "ca", "certificate",
        "channels", "names", "identity",
    }  # fmt: skip  # as many as the test above changes; the three others have one valid value each


def test_somebody_elses_certificate_cannot_be_brought(document: Document) -> None:
    """The certificate is public; who signs with the node key alone does not hold its key."""
    honest = newcomer(document)
    thief = private_key("thief")
    copied = msgspec.structs.replace(honest, public_key="0x" + thief.public_key.hex())
    own = issue_node_certificate(authority("acme"), "acme", "acme1", [], NOW)
    signed = sign(msgspec.structs.replace(copied, certificate=to_pem([own.certificate])), thief, own)
    back = msgspec.structs.replace(signed, certificate=honest.certificate)
    data = back.signing_bytes()
    resigned = msgspec.structs.replace(back, signature="0x" + thief.sign(b"dawan:join:v1", data).hex())
    with pytest.raises(ConfigError, match="has the certificate, but not its key"):
        check_genuine("file", resigned)


def _signed_by_nobody(document: Document, key: str) -> JoinRequest:
    """A key of small order with the one signature that a careless verifier takes for any message."""
    return msgspec.structs.replace(newcomer(document), public_key="0x" + key, signature="0x01" + "00" * 63)


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_a_key_of_small_order_is_refused_before_its_signature_counts(document: Document, key: str) -> None:
    with pytest.raises(ConfigError, match=r"public_key of node acme1.*small order"):
        check_genuine("file", _signed_by_nobody(document, key))
    weak = (RequestIdentity(name="acme-admin", public_key="0x" + key),)
    with pytest.raises(ConfigError, match=r"public_key of identity acme-admin.*small order"):
        check_genuine("file", newcomer(document, identity=weak))


@pytest.mark.skipif(not SPECCHECK.exists(), reason="the shared vectors are not beside the project")
def test_no_key_of_the_shared_edge_cases_enters_unless_its_signatures_count(document: Document) -> None:
    cases = json.loads(SPECCHECK.read_text())
    verdicts = []
    for case in cases:
        try:
            check_genuine("file", _signed_by_nobody(document, case["pub_key"]))
        except ConfigError as error:
            verdicts.append("key" if "public_key" in error.what else "signature")
    assert len(verdicts) == len(cases) and verdicts.count("key") >= 2
    # The first two cases have a public key of small order.
    assert verdicts[:2] == ["key", "key"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Acme"}, "node name 'Acme'"),
        ({"name": "a\x1b[2J"}, "node name"),
        ({"org": "g z"}, "organisation name"),
        ({"network": "../x"}, "network name"),
        ({"channels": ("Trade",)}, "channel name"),
        ({"channels": ("trade", "trade")}, "stands there twice"),
        ({"channels": ()}, "asks for at least one"),
        ({"admin": ""}, "one is there without the other"),
        ({"names": None}, "one is there without the other"),
        ({"admin": "somebody"}, "no [[identity]] of that name"),
        ({"names": msgspec.structs.replace(NAMES, en="Acme\x1b[31m")}, "control or direction marks"),
        ({"names": msgspec.structs.replace(NAMES, pt="Acme\u202etxt")}, "control or direction marks"),
        ({"names": msgspec.structs.replace(NAMES, en="")}, "1 to 200 characters"),
        ({"names": msgspec.structs.replace(NAMES, en="a" * 201)}, "1 to 200 characters"),
        ({"addresses": ()}, "at least one"),
        ({"addresses": ("7100",)}, "host:port"),
        ({"addresses": ("0.0.0.0:7100",)}, "every interface"),
        ({"addresses": ("[::]:7100",)}, "every interface"),
        ({"addresses": ("acme.example:0",)}, "port 0"),
        ({"addresses": ("a\nb:7100",)}, "a host is a name"),
        ({"suite": "sm2"}, "unknown signature suite"),
        ({"consortium": "0xabc"}, "a hash is"),
        ({"identity": (RequestIdentity(name="Acme", public_key=public_key("a")),)}, "identity name 'Acme'"),
        ({"identity": (RequestIdentity(name="acme-admin", public_key="0xAB"),)}, "public_key of identity acme-admin"),
    ],
)
def test_what_no_network_could_use_is_refused_even_when_it_is_signed(
    document: Document, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        check_genuine("file", newcomer(document, **change))
    assert words in str(refused.value) and refused.value.fix


def test_a_certificate_that_cannot_be_read_is_refused(document: Document) -> None:
    for text in ("junk", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ConfigError, match="ca or certificate"):
            check_genuine("file", msgspec.structs.replace(newcomer(document), certificate=text))
    two = to_pem([certified("acme", "acme1").certificate, authority("acme").certificate])
    with pytest.raises(ConfigError, match="2 certificates"):
        check_genuine("file", msgspec.structs.replace(newcomer(document), certificate=two))


# What requests say together


def test_requests_that_fit_give_every_organisations_authorities(document: Document) -> None:
    roots = review("template.toml", document, requests_for(document), NOW)
    assert roots == {org: (authority(org).certificate,) for org in ("gz", "hk", "mo", "hq")}


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(days=-30), ""),
        (timedelta(days=-30, milliseconds=-1), "more than 30 days ago"),
        (timedelta(minutes=5), ""),
        (timedelta(minutes=5, milliseconds=1), "in the future"),
        (timedelta(days=400), "in the future"),
    ],
)
def test_a_request_is_used_for_thirty_days_and_not_before_it_was_made(
    document: Document, age: timedelta, words: str
) -> None:
    request = request_for(document, "gz1", "gz", created=NOW + age)
    if words:
        assert words in str(refusal(document, request))
    else:
        review("template.toml", document, [("gz1.toml", request)], NOW)


def test_a_request_for_another_network_or_version_is_refused_with_what_differs(document: Document) -> None:
    other = msgspec.structs.replace(document, network="dawan-other")
    said = str(refusal(document, request_for(other, "gz1", "gz")))
    assert "'dawan-other'" in said and "'dawan-devnet'" in said
    versioned = msgspec.structs.replace(document, channel=document.channel[:1])
    request = request_for(versioned, "gz1", "gz")
    said = str(refusal(document, request))
    assert "another version of template.toml" in said and request.consortium in said


def test_a_certificate_of_another_organisations_root_is_refused(document: Document) -> None:
    foreign = issue_node_certificate(authority("hk"), "gz", "gz1", [], NOW)
    request = request_for(document, "gz1", "gz", tls=foreign)
    assert "TLS certificate is refused" in str(refusal(document, request))
    both = str(refusal(document, request, request_for(document, "hk1", "hk", 1)))
    assert "TLS certificate" in both and "gz1.toml" in both


@pytest.mark.parametrize("name", ["gz2", "hk1"])
def test_the_certificate_of_another_node_is_refused(document: Document, name: str) -> None:
    request = request_for(document, "gz1", "gz", tls=issue_node_certificate(authority("gz"), "gz", name, [], NOW))
    assert f"it is of {name} of gz, the request of gz1 of gz" in str(refusal(document, request))


def test_an_expired_certificate_or_authority_is_refused(document: Document) -> None:
    old = issue_node_certificate(authority("gz"), "gz", "gz1", [], NOW - timedelta(days=500))
    assert "expired" in str(refusal(document, request_for(document, "gz1", "gz", tls=old)))
    stale = make_authority("gz", NOW - timedelta(days=9000))
    # Made while the authority was still valid, to end long after it.
    leaf = issue_node_certificate(stale, "gz", "gz1", [], NOW - timedelta(days=8000), days=9000)
    said = str(refusal(document, request_for(document, "gz1", "gz", tls=leaf, ca=to_pem([stale.certificate]))))
    assert "CA certificate of gz is refused" in said and "expired" in said


def test_an_organisation_cannot_claim_anothers_authority(document: Document) -> None:
    honest = request_for(document, "gz1", "gz")
    leaf = issue_node_certificate(authority("gz"), "hk", "hk1", [], NOW)
    thief = request_for(document, "hk1", "hk", 1, tls=leaf, ca=to_pem([authority("gz").certificate]))
    said = str(refusal(document, honest, thief))
    assert "hk claims the authority of gz" in said
    registered = {"gz": (authority("gz").certificate,)}
    with pytest.raises(ConfigError, match="hk claims the authority of gz"):
        review("template.toml", document, [("hk1.toml", thief)], NOW, registered)


def test_a_new_certificate_for_anothers_authority_key_is_the_same_claim(document: Document) -> None:
    """Who signs with the CA key of another organisation could issue for it, whatever the certificate around it."""
    renewed = _recertified(authority("gz"))
    leaf = issue_node_certificate(renewed, "hk", "hk1", [], NOW)
    thief = request_for(document, "hk1", "hk", 1, tls=leaf, ca=to_pem([renewed.certificate]))
    assert "hk claims the authority of gz" in str(refusal(document, request_for(document, "gz1", "gz"), thief))


def _recertified(old: CertifiedKey) -> CertifiedKey:
    """The same authority key under another organisation's name."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hk root CA")])
    return _certify(old, x509.load_der_x509_certificate(old.certificate), name, name, old)


def _certify(
    held: CertifiedKey, pattern: x509.Certificate, subject: x509.Name, issuer: x509.Name, signed_by: CertifiedKey
) -> CertifiedKey:
    """A certificate like ``pattern`` for the key of ``held``."""
    key = serialization.load_der_private_key(held.private_key, None)
    signer = serialization.load_der_private_key(signed_by.private_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(pattern.not_valid_before_utc)
    builder = builder.not_valid_after(pattern.not_valid_after_utc)
    for extension in pattern.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    made = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    der = made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return CertifiedKey(der, held.private_key)


def test_nodes_of_one_organisation_share_its_authority(document: Document) -> None:
    other = make_authority("gz", NOW)
    leaf = issue_node_certificate(other, "gz", "gz2", [], NOW)
    second = request_for(
        document, "gz2", "gz", 9, tls=leaf, ca=to_pem([other.certificate]), identity=(), role="validator"
    )
    said = str(refusal(document, request_for(document, "gz1", "gz"), second))
    assert "gz2.toml: ca" in said and "share one authority" in said


def test_a_node_whose_organisation_brings_no_authority_is_refused(document: Document) -> None:
    alone = request_for(document, "gz2", "gz", 9, ca="", identity=())
    assert "no CA certificate of gz" in str(refusal(document, alone, request_for(document, "hk1", "hk", 1)))
    review("template.toml", document, [("a", alone), ("b", request_for(document, "gz1", "gz"))], NOW)
    review("template.toml", document, [("a", alone)], NOW, {"gz": (authority("gz").certificate,)})


Clash = Callable[[Document], JoinRequest]
CLASHES: list[tuple[str, Clash, str]] = [
    ("one node", lambda d: request_for(d, "gz1", "gz", 9), "node gz1 comes twice"),
    (
        "one identity",
        lambda d: request_for(
            d, "gz2", "gz", 9, identity=(RequestIdentity(name="gz-bank", public_key=public_key("other")),)
        ),
        "identity gz-bank comes twice",
    ),
    (
        "an identity of the other",
        lambda d: request_for(
            d, "hk1", "hk", 9, identity=(RequestIdentity(name="gz-bank", public_key=public_key("other")),)
        ),
        "identity 'gz-bank' is of 'hk'",
    ),
    (
        "one node key",
        lambda d: request_for(d, "hk1", "hk", 9, key=private_key("gz1")),
        "key of validator hk1 is also that of validator gz1",
    ),
    (
        "a node's key as identity",
        lambda d: request_for(
            d, "hk1", "hk", 9, identity=(RequestIdentity(name="hk-bank", public_key=public_key("gz1")),)
        ),
        "key of identity hk-bank is also that of validator gz1",
    ),
    (
        "one identity key",
        lambda d: request_for(
            d, "hk1", "hk", 9, identity=(RequestIdentity(name="hk-bank", public_key=public_key("gz-bank")),)
        ),
        "key of identity hk-bank is also that of identity gz-bank",
    ),
    (
        "the own node key",
        lambda d: request_for(
            d, "hk1", "hk", 9, identity=(RequestIdentity(name="hk-bank", public_key=public_key("hk1")),)
        ),
        "key of identity hk-bank is also that of validator hk1",
    ),
    ("one address", lambda d: request_for(d, "hk1", "hk", 0), "address 127.0.0.1:7100 comes twice"),
]


@pytest.mark.parametrize(("what", "make", "words"), CLASHES, ids=[what for what, _, _ in CLASHES])
def test_two_parties_never_share(document: Document, what: str, make: Clash, words: str) -> None:
    first, second = request_for(document, "gz1", "gz"), make(document)
    assert words in str(refusal(document, first, second))


def test_two_nodes_with_one_tls_key_are_refused(document: Document) -> None:
    pattern = x509.load_der_x509_certificate(certified("hk", "hk1").certificate)
    copied = _certify(certified("gz", "gz1"), pattern, pattern.subject, pattern.issuer, authority("hk"))
    second = request_for(document, "hk1", "hk", 1, tls=copied)
    said = str(refusal(document, request_for(document, "gz1", "gz"), second))
    assert "TLS key is also that of another node" in said


def test_a_key_the_file_holds_already_cannot_be_brought_by_another(document: Document) -> None:
    taken = msgspec.structs.replace(
        document,
        identity=tuple(
            msgspec.structs.replace(each, public_key=public_key("gz1")) if each.name == "hk-bank" else each
            for each in document.identity
        ),
    )
    said = str(refusal(taken, request_for(taken, "gz1", "gz")))
    assert "key of validator gz1 is also that of identity hk-bank" in said and "template.toml brings it too" in said


def test_a_public_key_has_one_spelling() -> None:
    assert public_key_bytes("0x" + "ab" * 32) == bytes.fromhex("ab" * 32)
    for text in ("ab" * 32, "0x" + "AB" * 32, "0x" + "ab " * 32, "0xabc", "0x zz"):
        assert public_key_bytes(text) == b""
    assert from_pem(to_pem([authority("gz").certificate])) == [authority("gz").certificate]
