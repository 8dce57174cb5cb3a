"""Certificates: what the tools make is accepted, and each broken rule is refused for its own reason."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest
from cryptography import x509

from dawan_node.crypto import authority, certificates
from dawan_node.crypto.certificates import CertifiedKey, validate_node_certificate
from dawan_node.errors import UntrustedCertificate
from tests.crypto.certificate_recipes import (
    ALTERNATIVE_NAMES,
    AUTHORITY_KEY_IDENTIFIER,
    DAY,
    NOW,
    below,
    having,
    leaf,
    root,
    unknown_feature,
    unsupported_name,
)
from tests.crypto.negative_certificates import CASES, CONTROLS, GZ, HK, ROOTS, Case


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_node_certificate_is_refused_for_its_own_reason(case: Case) -> None:
    with pytest.raises(UntrustedCertificate) as refused:
        case.trust.judge(case.leaf_der, case.now)
    assert refused.value.reason == case.reason
    assert str(refused.value)


@pytest.mark.parametrize("case", CONTROLS, ids=str)
def test_without_the_defect_the_same_recipe_is_accepted(case: Case) -> None:
    judged = case.trust.judge(case.leaf_der, case.now)
    assert (judged.org, judged.name) == ("gz", "gz1")


def test_the_table_is_long_distinct_and_has_a_control_for_every_family() -> None:
    assert len(CASES) >= 60
    assert len({str(case) for case in CASES}) == len(CASES)
    facts = [(case.leaf_der, repr(case.roots), repr(case.revocations)) for case in CASES]
    assert len(set(facts)) == len(CASES)
    assert {case.family for case in CONTROLS} == {case.family for case in CASES} and len(CONTROLS) == 8


@pytest.mark.parametrize("case", [case for case in CASES if case.private_key_pkcs8 is not None], ids=str)
def test_what_the_table_calls_presentable_can_be_given_to_tls(case: Case) -> None:
    assert case.private_key_pkcs8 is not None
    certified = CertifiedKey(case.leaf_der, case.private_key_pkcs8)
    certificates.load_into_context(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certified)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_a_changed_byte_anywhere_never_ends_in_anything_but_a_reason(mask: int) -> None:
    fine = leaf(GZ).der()
    for place in range(len(fine)):
        changed = fine[:place] + bytes([fine[place] ^ mask]) + fine[place + 1 :]
        with pytest.raises(UntrustedCertificate):
            validate_node_certificate(changed, ROOTS, NOW)


def test_what_our_own_tools_issue_is_accepted_with_its_organisation_and_name() -> None:
    mo = authority.make_authority("mo", NOW)
    made = authority.issue_node_certificate(mo, "mo", "mo1", ["127.0.0.1", "mo1.example"], NOW)
    judged = validate_node_certificate(made.certificate, {**ROOTS, "mo": [mo.certificate]}, NOW)
    assert (judged.org, judged.name) == ("mo", "mo1")
    assert judged.not_after == NOW + authority.NODE_CERTIFICATE_DAYS * DAY
    assert judged.fingerprint == certificates.fingerprint(made.certificate)
    certificates.check_authorities("mo", [mo.certificate], NOW)


def test_while_a_root_is_replaced_the_valid_certificate_of_its_key_counts() -> None:
    old = root(key=GZ.key, not_after=NOW - timedelta(hours=1))
    assert validate_node_certificate(leaf(GZ).der(), {"gz": [old.der(), GZ.der()]}, NOW).org == "gz"


def test_a_damaged_registration_of_one_organisation_does_not_shut_out_another() -> None:
    assert validate_node_certificate(leaf(GZ).der(), {**ROOTS, "hk": [b"junk"]}, NOW).org == "gz"


@pytest.mark.parametrize(
    ("authorities", "reason"),
    [
        ([], "malformed"),
        ([b"junk"], "malformed"),
        ([below(GZ).der()], "no_root"),
        ([root(not_after=NOW - timedelta(hours=1)).der()], "expired"),
        ([leaf(GZ).der()], "no_root"),
    ],
)
def test_an_organisation_cannot_register_unusable_authorities(authorities: list[bytes], reason: str) -> None:
    with pytest.raises(UntrustedCertificate) as refused:
        certificates.check_authorities("gz", authorities, NOW)
    assert refused.value.reason == reason


def test_pem_and_der_carry_the_same_certificates() -> None:
    ders = [GZ.der(), HK.der()]
    assert certificates.from_pem(certificates.to_pem(ders)) == ders
    with pytest.raises(UntrustedCertificate):
        certificates.from_pem("nothing here")


def test_a_certified_key_hides_its_secret_and_serves_tls_without_touching_the_disk() -> None:
    made: CertifiedKey = authority.issue_node_certificate(
        authority.make_authority("gz", NOW), "gz", "gz1", ["127.0.0.1"], NOW
    )
    assert made.private_key.hex() not in repr(made) and repr(made.private_key) not in repr(made)
    certificates.load_into_context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), made)


@pytest.mark.parametrize(
    "extension", [unsupported_name(ALTERNATIVE_NAMES), unsupported_name(AUTHORITY_KEY_IDENTIFIER), unknown_feature()]
)
def test_an_authority_that_the_library_does_not_read_is_left_out(extension: tuple[x509.ExtensionType, bool]) -> None:
    odd = having(root(), odd=extension).der()
    assert not certificates.is_loadable_authority(odd)
    assert certificates.parse_authorities([odd]) == []


def test_an_authority_that_openssl_only_refuses_beside_one_of_its_subject_is_left_out() -> None:
    fine = root()
    unusable = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.16.840.1.113730.1.1"), b"\0")  # no bit string
    odd = having(root(key=fine.key), odd=(unusable, False))
    assert certificates.is_loadable_authority(fine.der())
    assert not certificates.is_loadable_authority(odd.der())


def test_authorities_that_certify_each_other_cost_no_more_than_the_leafs_own_signatures() -> None:
    pair = [root("gz"), root("gz")]
    crossed = [
        root("gz", key=pair[number % 2].key, issuer=pair[1 - number % 2], serial=0x100 + number).der()
        for number in range(7)
    ]
    roots = {"gz": [pair[0].der(), *crossed]}
    certificates.validate_node_certificate(leaf(pair[0]).der(), roots, NOW)
    before = certificates._issued.cache_info().misses
    certificates.validate_node_certificate(leaf(pair[0]).der(), roots, NOW)
    assert certificates._issued.cache_info().misses - before <= 8
