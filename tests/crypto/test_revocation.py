"""Revocation lists: whose counts, for what, and what a missing or outdated one means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from dawan_node.crypto import revocation
from dawan_node.crypto.revocation import (
    RevocationRule,
    Revocations,
    lists_from_pem,
    load_revocation_list,
)
from dawan_node.crypto.trust import Trust
from dawan_node.errors import UntrustedCertificate
from tests.crypto.certificate_recipes import (
    AUTHORITY_KEY_IDENTIFIER,
    CERTIFICATE_ISSUER,
    DAY,
    ECDSA_SHA256,
    HOUR,
    LEAF_SERIAL,
    NOW,
    below,
    having,
    leaf,
    named,
    replaced,
    revocation_list,
    root,
    sequence,
    tlv,
    unsupported_name,
    usage,
    utc_time,
)

GZ, HK = root("gz"), root("hk")
ISSUING = below(GZ)
ROOTS = {"gz": [GZ.der(), ISSUING.der()], "hk": [HK.der()]}
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
SILENT = having(root("gz"), usage=(usage("key_cert_sign"), True))
ED = root("gz", key=ed25519.Ed25519PrivateKey.generate())


def loaded(der: bytes, org: str = "gz") -> revocation.RevocationList:
    return load_revocation_list(der, org, ROOTS[org], NOW)


def revocations(*lists: bytes, rule: RevocationRule = RevocationRule.SOFT) -> Revocations:
    return Revocations.collect(ROOTS, [loaded(one) for one in lists], rule)


def partial() -> tuple[x509.ExtensionType, bool]:
    return x509.IssuingDistributionPoint(None, None, True, False, None, False, False), True


def another_algorithm_outside() -> bytes:
    """The signature says SHA-384 where the signed part says SHA-256."""
    der = revocation_list(GZ)
    sha256, sha384 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040303")
    head, _, tail = der.rpartition(sha256)
    return head + sha384 + tail


def resigned(old: bytes, new: bytes) -> bytes:
    """A list whose signed part was changed before it was signed."""
    tbs = replaced(old, new)(x509.load_der_x509_crl(revocation_list(GZ)).tbs_certlist_bytes)
    return sequence(tbs + ECDSA_SHA256 + tlv(0x03, b"\0" + GZ.key.sign(tbs, ec.ECDSA(hashes.SHA256()))))


LISTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "of another organisation's authority": (lambda: revocation_list(HK), "crl_issuer"),
    "of a stranger's authority with the same name": (lambda: revocation_list(root("gz")), "crl_issuer"),
    "signed by another key in the authority's name": (
        lambda: revocation_list(HK, issuer=GZ.subject),
        "crl_issuer",
    ),
    "in the name of nobody who is registered": (lambda: revocation_list(GZ, issuer=named("gz root 2")), "crl_issuer"),
    "signed by a node": (lambda: revocation_list(leaf(GZ)), "crl_issuer"),
    "by an authority that may not sign lists": (lambda: revocation_list(SILENT), "crl_issuer"),
    "signed with SHA-224": (lambda: revocation_list(GZ, hash_=hashes.SHA224()), "crl_weak_signature"),
    "signed with SHA-512": (lambda: revocation_list(GZ, hash_=hashes.SHA512()), "crl_weak_signature"),
    "signed with Ed25519": (lambda: revocation_list(ED), "crl_weak_signature"),
    "with another algorithm inside than outside": (another_algorithm_outside, "crl_malformed"),
    "from the future": (
        lambda: revocation_list(GZ, this_update=NOW + HOUR, next_update=NOW + DAY),
        "crl_not_yet_valid",
    ),
    "without a number": (lambda: revocation_list(GZ, number=None), "crl_number"),
    "with a number of 21 bytes": (lambda: revocation_list(GZ, number=2**160), "crl_number"),
    "that does not say until when it holds": (
        lambda: resigned(utc_time(NOW + 7 * DAY), b""),
        "crl_next_update",
    ),
    "that ends before it begins": (
        lambda: resigned(utc_time(NOW + 7 * DAY), utc_time(NOW - 7 * DAY)),
        "crl_next_update",
    ),
    "that is a delta": (
        lambda: revocation_list(GZ, extensions=((x509.DeltaCRLIndicator(1), True),)),
        "crl_extension",
    ),
    "that is a delta, not critically": (
        lambda: revocation_list(GZ, extensions=((x509.DeltaCRLIndicator(1), False),)),
        "crl_extension",
    ),
    "for some certificates only": (lambda: revocation_list(GZ, extensions=(partial(),)), "crl_extension"),
    "with an unknown critical extension": (
        lambda: revocation_list(GZ, extensions=((UNKNOWN, True),)),
        "crl_extension",
    ),
    "with an entry with a critical extension": (
        lambda: revocation_list(GZ, 7, entry_extensions=((UNKNOWN, True),)),
        "crl_extension",
    ),
    "larger than the cap": (lambda: bytes(revocation.LIST_BYTES_MAX + 1), "crl_size"),
    "with a name that the library does not know": (
        lambda: revocation_list(GZ, extensions=(unsupported_name(AUTHORITY_KEY_IDENTIFIER),)),
        "crl_malformed",
    ),
    "with an entry with a name that the library does not know": (
        lambda: revocation_list(GZ, 7, entry_extensions=(unsupported_name(CERTIFICATE_ISSUER),)),
        "crl_malformed",
    ),
    "empty": (lambda: b"", "crl_malformed"),
    "cut short": (lambda: revocation_list(GZ)[:-1], "crl_malformed"),
    "with bytes after it": (lambda: revocation_list(GZ) + b"\0", "crl_malformed"),
    "that is a certificate": (GZ.der, "crl_malformed"),
    "with a changed entry": (
        lambda: revocation_list(GZ, LEAF_SERIAL).replace(bytes.fromhex("1234567890"), bytes.fromhex("1234567891")),
        "crl_issuer",
    ),
}


@pytest.mark.parametrize("title", LISTS)
def test_a_list_is_refused(title: str) -> None:
    make, reason = LISTS[title]
    authorities = [GZ.der(), SILENT.der(), ED.der()]
    with pytest.raises(UntrustedCertificate) as refused:
        load_revocation_list(make(), "gz", authorities, NOW)
    assert refused.value.reason == reason
    assert "gz" in str(refused.value)


def test_a_good_list_says_what_it_holds() -> None:
    reason = (x509.CRLReason(x509.ReasonFlags.key_compromise), False)
    made = loaded(revocation_list(GZ, 7, 9, number=12, entry_extensions=(reason,)))
    assert (made.org, made.number, sorted(made.revoked)) == ("gz", 12, [7, 9])
    assert (made.revoked[7].reason, made.revoked[7].at) == ("keyCompromise", NOW - HOUR)
    assert made.next_update == NOW + 7 * DAY
    with pytest.raises(TypeError):
        made.revoked[8] = made.revoked[7]  # type: ignore[index]


def test_a_clock_a_little_behind_does_not_refuse_a_new_list_and_the_last_second_counts() -> None:
    ahead = revocation_list(GZ, this_update=NOW + revocation.CLOCK_SKEW, next_update=NOW + DAY)
    assert not loaded(ahead).is_stale(NOW)
    last = loaded(revocation_list(GZ, next_update=NOW))
    assert not last.is_stale(NOW) and last.is_stale(NOW + timedelta(seconds=1))


def test_a_certificate_revoked_as_of_tomorrow_is_revoked_today() -> None:
    with pytest.raises(UntrustedCertificate, match="was revoked"):
        Trust(ROOTS, revocations(revocation_list(ISSUING, LEAF_SERIAL))).judge(leaf(ISSUING).der(), NOW - 12 * HOUR)


def test_a_revoked_certificate_is_named_with_serial_date_and_the_way_out() -> None:
    with pytest.raises(UntrustedCertificate) as refused:
        Trust(ROOTS, revocations(revocation_list(ISSUING, LEAF_SERIAL))).judge(leaf(ISSUING).der(), NOW)
    assert refused.value.reason == "revoked"
    for words in ("1234567890", (NOW - HOUR).isoformat(), "unspecified", "cert issue"):
        assert words in str(refused.value)


def test_a_serial_number_counts_for_its_own_authority_only() -> None:
    trust = Trust(ROOTS, revocations(revocation_list(GZ, LEAF_SERIAL)))
    assert trust.judge(leaf(ISSUING).der(), NOW).name == "gz1"
    with pytest.raises(UntrustedCertificate):
        trust.judge(leaf(GZ).der(), NOW)


def test_an_organisation_cannot_hand_over_a_list_for_another() -> None:
    smuggled = load_revocation_list(revocation_list(HK, LEAF_SERIAL), "hk", ROOTS["hk"], NOW)
    for claimed in ({"gz": ROOTS["gz"]}, {"gz": [*ROOTS["gz"]], "hk": [GZ.der()]}):
        assert Revocations.collect(claimed, [smuggled]).lists == {}


def test_the_list_with_the_highest_number_counts_in_any_order() -> None:
    old, new = revocation_list(ISSUING, number=5), revocation_list(ISSUING, LEAF_SERIAL, number=6)
    for lists in ([old, new], [new, old]):
        with pytest.raises(UntrustedCertificate, match="was revoked"):
            Trust(ROOTS, revocations(*lists)).judge(leaf(ISSUING).der(), NOW)


def test_of_two_entries_for_one_certificate_the_earlier_date_counts() -> None:
    entries = [
        x509.RevokedCertificateBuilder().serial_number(7).revocation_date(date).build()
        for date in (NOW - DAY, NOW - 3 * DAY, NOW - 2 * DAY)
    ]
    builder = x509.CertificateRevocationListBuilder().issuer_name(GZ.subject).last_update(NOW).next_update(NOW + DAY)
    builder = builder.add_extension(x509.CRLNumber(1), False)
    for entry in entries:
        builder = builder.add_revoked_certificate(entry)
    der = builder.sign(GZ.key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert loaded(der).revoked[7].at == NOW - 3 * DAY


@pytest.mark.parametrize("state", ["missing", "stale"])
def test_under_the_soft_rule_a_list_that_is_not_there_is_accepted_but_never_silently(state: str) -> None:
    given = [] if state == "missing" else [revocation_list(ISSUING, next_update=NOW - HOUR)]
    known = revocations(*given, revocation_list(GZ))
    assert Trust(ROOTS, known).judge(leaf(ISSUING).der(), NOW).name == "gz1"
    said = known.warnings(NOW)
    assert len(said) == 2 and said[1].startswith("hk: no revocation list")
    assert said[0].startswith("gz: ") and "CN=gz issuing" in said[0]
    assert ("was to be renewed by" in said[0]) is (state == "stale")


def test_current_lists_of_every_authority_leave_nothing_to_warn_of() -> None:
    every = [loaded(revocation_list(GZ)), loaded(revocation_list(ISSUING)), loaded(revocation_list(HK), "hk")]
    for rule in RevocationRule:
        known = Revocations.collect(ROOTS, every, rule)
        assert known.warnings(NOW) == []
        assert Trust(ROOTS, known).judge(leaf(ISSUING).der(), NOW).name == "gz1"
    assert len(Revocations.collect(ROOTS, every).warnings(NOW + 8 * DAY)) == 3


def test_without_lists_and_expectations_nothing_is_said_or_revoked() -> None:
    assert Revocations().warnings(NOW) == []
    assert Trust(ROOTS).judge(leaf(ISSUING).der(), NOW).org == "gz"


def test_while_an_authority_is_replaced_its_revoked_certificate_does_not_condemn_the_new_one() -> None:
    new = below(GZ, key=ISSUING.key, serial=0x21)
    roots = {"gz": [GZ.der(), ISSUING.der(), new.der()]}
    given = load_revocation_list(revocation_list(GZ, ISSUING.serial), "gz", roots["gz"], NOW)
    assert Trust(roots, Revocations.collect(roots, [given])).judge(leaf(new).der(), NOW).name == "gz1"


def test_an_authority_with_a_key_nobody_can_read_shuts_out_only_itself() -> None:
    p256, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d03017f")
    odd = root("mo", patch=replaced(p256, unknown)).der()
    known = Revocations.collect({**ROOTS, "mo": [odd]}, [])
    assert {org for org, _ in known.expected.values()} == {"gz", "hk"}
    assert Trust({**ROOTS, "mo": [odd]}, known).judge(leaf(ISSUING).der(), NOW).org == "gz"


def pem(*ders: bytes) -> bytes:
    return b"".join(x509.load_der_x509_crl(der).public_bytes(Encoding.PEM) for der in ders)


def test_a_pem_file_holds_the_lists_of_several_authorities() -> None:
    ders = [revocation_list(GZ, 1, 2, 3), revocation_list(ISSUING)]
    assert lists_from_pem(b"about these lists:\n" + pem(*ders)) == ders


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "crl_malformed"),
        (b"junk", "crl_malformed"),
        (pem(revocation_list(GZ)) * 9, "crl_malformed"),
        (pem(revocation_list(GZ))[:-30], "crl_malformed"),
        (pem(revocation_list(GZ)).replace(b"M", b"!", 1), "crl_malformed"),
        (b"-----BEGIN X509 CRL-----\n" + b"A" * 500_000 + b"\n-----END X509 CRL-----\n", "crl_size"),
    ],
)
def test_a_damaged_pem_file_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UntrustedCertificate) as refused:
        lists_from_pem(data)
    assert refused.value.reason == reason


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_a_changed_byte_anywhere_never_ends_in_anything_but_a_reason(mask: int) -> None:
    fine = revocation_list(GZ, LEAF_SERIAL)
    survived = []
    for place in range(len(fine)):
        changed = fine[:place] + bytes([fine[place] ^ mask]) + fine[place + 1 :]
        try:
            survived.append(loaded(changed).revoked.keys())
        except UntrustedCertificate:
            continue
    # The number of unused bits of the signature is the one byte the library may ignore; the content stands.
    assert all(LEAF_SERIAL in revoked for revoked in survived) and len(survived) <= 1
