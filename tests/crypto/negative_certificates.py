"""Node certificates that must be refused, each with the one reason (reliability.md E1).

``CASES`` is for every place that judges a certificate: the rule itself, a TLS connection, the list of members. Each
case differs from an accepted certificate by the one thing its title says; ``CONTROLS`` holds the accepted ones, one
for each family, so that no family is refused for some other reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from dawan_node.crypto.certificates import to_pem
from dawan_node.crypto.revocation import RevocationList, RevocationRule, Revocations, load_revocation_list
from dawan_node.crypto.trust import Trust
from tests.crypto.certificate_recipes import (
    ALTERNATIVE_NAMES,
    AUTHORITY_KEY_IDENTIFIER,
    BOTH,
    DAY,
    ECDSA_SHA1,
    ECDSA_SHA256,
    ECDSA_SHA384,
    HOUR,
    LEAF_SERIAL,
    NOW,
    RSA_MD5,
    Recipe,
    below,
    dns,
    having,
    leaf,
    named,
    of_version_1,
    replaced,
    revocation_list,
    root,
    tlv,
    unknown_feature,
    unsupported_name,
    usage,
    utc_time,
    with_serial,
    with_twice_the_usage,
)


@dataclass(frozen=True)
class Case:
    """A certificate as somebody presents it.

    ``private_key_pkcs8`` is None where TLS 1.3 cannot carry it: bytes that are no certificate, or a key for which it
    has no signature. ``reason`` is empty for a control, which must be accepted.
    """

    family: str
    name: str
    leaf_der: bytes = field(repr=False)
    private_key_pkcs8: bytes | None = field(repr=False)
    roots: Mapping[str, Sequence[bytes]] = field(repr=False)
    reason: str
    revocations: Revocations = field(repr=False, default_factory=Revocations)
    now: datetime = NOW

    @property
    def trust(self) -> Trust:
        return Trust(self.roots, self.revocations)

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


GZ, HK = root("gz"), root("hk")
ROOTS: Mapping[str, Sequence[bytes]] = {"gz": [GZ.der()], "hk": [HK.der()]}
KEYED = having(root("gz"), ski=(x509.SubjectKeyIdentifier(b"\x05" * 20), False))
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
LIMITS = x509.NameConstraints([x509.DNSName("gz.dawan")], None)
RSA_1024 = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # too weak, as its case says
RSA_2048 = rsa.generate_private_key(public_exponent=65537, key_size=2048)

Extension = tuple[x509.ExtensionType, bool]


def purposes(*oids: x509.ObjectIdentifier) -> Extension:
    return x509.ExtendedKeyUsage(oids), False


def constraints(ca: bool, length: int | None = None, critical: bool = True) -> Extension:
    return x509.BasicConstraints(ca, length), critical


def of(
    recipe: Recipe,
    reason: str,
    roots: Mapping[str, Sequence[bytes]] = ROOTS,
    presentable: bool = True,
    revocations: Revocations | None = None,
) -> tuple[Any, ...]:
    """The parts of a case that follow its family and name."""
    key = recipe.pkcs8() if presentable else None
    return recipe.der(), key, roots, reason, revocations or Revocations()


def raw(der: bytes, reason: str) -> tuple[Any, ...]:
    return der, None, ROOTS, reason


def chain(*changes: Callable[[Recipe], Recipe]) -> list[Recipe]:
    """A root and one authority for each further change, each issuing the next."""
    made = [changes[0](root())]
    for number, change in enumerate(changes[1:]):
        made.append(change(below(made[-1], f"authority {number}")))
    return made


def under(reason: str, *changes: Callable[[Recipe], Recipe]) -> tuple[Any, ...]:
    """A good leaf under such a chain, all of which the organisation registered."""
    made = chain(*changes)
    return of(leaf(made[-1]), reason, {"gz": [authority.der() for authority in made], "hk": ROOTS["hk"]})


def good(recipe: Recipe) -> Recipe:
    return recipe


def has(**extensions: Extension | None) -> Callable[[Recipe], Recipe]:
    return lambda recipe: having(recipe, **extensions)


def set_to(**values: Any) -> Callable[[Recipe], Recipe]:
    return lambda recipe: replace(recipe, **values)


def validity() -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "", of(leaf(GZ), "")
    yield "expired", of(leaf(GZ, not_after=NOW - HOUR), "expired")
    yield "not yet valid", of(leaf(GZ, not_before=NOW + DAY), "not_yet_valid")
    swapped = replaced(utc_time(NOW - DAY) + utc_time(NOW + 30 * DAY), utc_time(NOW + 30 * DAY) + utc_time(NOW - DAY))
    yield "ends before it begins", of(leaf(GZ, patch=swapped), "not_yet_valid")
    yield "intermediate expired", under("expired", good, set_to(not_after=NOW - HOUR))
    yield "intermediate not yet valid", under("not_yet_valid", good, set_to(not_before=NOW + DAY))
    yield "root expired", under("expired", set_to(not_after=NOW - HOUR), good)
    yield "root not yet valid", under("not_yet_valid", set_to(not_before=NOW + DAY))


def issuers() -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "", under("", good, good)
    yield "self-signed", of(leaf(None), "unknown_authority")
    yield "same subject as the root, other key", of(leaf(root("gz")), "unknown_authority")
    unregistered = below(GZ)
    yield "intermediate that is not registered", of(leaf(unregistered), "unknown_authority")
    only = {"gz": [unregistered.der()], "hk": ROOTS["hk"]}
    yield "registered root that is not self-signed", of(leaf(unregistered), "unknown_authority", only)
    yield "issued by another node", of(leaf(leaf(GZ)), "unknown_authority")
    node = leaf(GZ)
    registered = {"gz": [GZ.der(), node.der()], "hk": ROOTS["hk"]}
    yield (
        "issued by another node, which is registered",
        of(leaf(node, subject=named("gz2")), "not_an_authority", registered),
    )
    both = {"gz": ROOTS["gz"], "hk": [HK.der(), GZ.der()]}
    yield "fits the roots of two organisations", of(leaf(GZ), "ambiguous_organisation", both)
    yield "chain of 6 authorities", under("unknown_authority", *[has(constraints=constraints(True))] * 6)
    yield "chain of 100 authorities", under("unknown_authority", *[has(constraints=constraints(True))] * 100)
    yield "no organisation is registered", of(leaf(GZ), "unknown_authority", {})
    yield "the registered file is damaged", of(leaf(GZ), "unknown_authority", {"gz": [GZ.der()[:-3]]})
    stranger = having(leaf(KEYED), aki=(x509.AuthorityKeyIdentifier(b"\x01" * 20, None, None), False))
    yield "names another issuer key", of(stranger, "key_identifier", {"gz": [KEYED.der()]})


def authorities() -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "", under("", good, has(constraints=constraints(True, 0)))
    yield "marked as no authority", under("not_an_authority", good, has(constraints=constraints(False)))
    yield "without basicConstraints", under("not_an_authority", good, has(constraints=None))
    yield (
        "basicConstraints not critical",
        under("not_an_authority", good, has(constraints=constraints(True, None, critical=False))),
    )
    yield "root marked as no authority", under("not_an_authority", has(constraints=constraints(False)))
    yield "root without basicConstraints", under("not_an_authority", has(constraints=None))
    yield "pathLen of the root exceeded", under("path_length", has(constraints=constraints(True, 0)), good)
    yield (
        "pathLen exceeded deep down",
        under("path_length", has(constraints=constraints(True)), has(constraints=constraints(True, 0)), good),
    )
    yield "may not sign certificates", under("key_usage", good, has(usage=(usage("digital_signature"), True)))
    yield "without key usage", under("key_usage", good, has(usage=None))
    yield (
        "limited to e-mail",
        under("extended_key_usage", good, has(purposes=purposes(ExtendedKeyUsageOID.EMAIL_PROTECTION))),
    )
    yield (
        "intermediate with an unknown critical extension",
        under("unknown_critical_extension", good, has(odd=(UNKNOWN, True))),
    )
    yield "root with an unknown critical extension", under("unknown_critical_extension", has(odd=(UNKNOWN, True)))
    yield "critical name constraints", under("unknown_critical_extension", good, has(limits=(LIMITS, True)))
    yield "name constraints", under("name_constraints", good, has(limits=(LIMITS, False)))
    yield "without a subject", under("empty_subject", good, set_to(subject=x509.Name([])))
    yield "key on P-521", under("weak_key", good, set_to(key=ec.generate_private_key(ec.SECP521R1())))
    yield "RSA key", under("weak_signature", good, set_to(key=RSA_2048))
    yield "Ed25519 key", under("weak_signature", good, set_to(key=ed25519.Ed25519PrivateKey.generate()))
    yield "root signed with SHA-512", under("weak_signature", set_to(hash=hashes.SHA512()))


def extensions() -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "", of(having(leaf(GZ), constraints=None, odd=(UNKNOWN, False)), "")
    yield "the root itself", of(GZ, "leaf_is_authority")
    yield "marked as an authority", of(having(leaf(GZ), constraints=constraints(True)), "leaf_is_authority")
    yield "without extended key usage", of(having(leaf(GZ), purposes=None), "extended_key_usage")
    yield "serverAuth only", of(having(leaf(GZ), purposes=purposes(BOTH[0])), "extended_key_usage")
    yield "clientAuth only", of(having(leaf(GZ), purposes=purposes(BOTH[1])), "extended_key_usage")
    any_purpose = purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    yield "any purpose", of(having(leaf(GZ), purposes=any_purpose), "extended_key_usage")
    signing = purposes(ExtendedKeyUsageOID.CODE_SIGNING)
    yield "codeSigning", of(having(leaf(GZ), purposes=signing), "extended_key_usage")
    yield "without key usage", of(having(leaf(GZ), usage=None), "key_usage")
    yield "without digitalSignature", of(having(leaf(GZ), usage=(usage("key_encipherment"), True)), "key_usage")
    signs = (usage("digital_signature", "key_cert_sign"), True)
    yield "may sign certificates", of(having(leaf(GZ), usage=signs), "key_usage")
    yield "unknown critical extension", of(having(leaf(GZ), odd=(UNKNOWN, True)), "unknown_critical_extension")
    yield "name constraints", of(having(leaf(GZ), limits=(LIMITS, False)), "name_constraints")
    yield "an extension twice", of(leaf(GZ, patch=with_twice_the_usage), "duplicate_extension", presentable=False)
    policy = (x509.PolicyConstraints(0, None), True)
    yield "critical policy constraints", of(having(leaf(GZ), policy=policy), "unknown_critical_extension")


def names() -> Iterator[tuple[str, tuple[Any, ...]]]:
    host = having(leaf(GZ, subject=named("gz1", org="Some Company Ltd")), names=dns("gz1.gz.dawan", "gz1.example"))
    yield "", of(host, "")
    yield "O= of another organisation", of(leaf(GZ, subject=named("gz1", org="hk")), "foreign_organisation")
    yield "no alternative name", of(having(leaf(GZ), names=None), "node_name")
    yield (
        "the name in the subject only",
        of(having(leaf(GZ, subject=named("gz1.gz.dawan")), names=dns("gz1.example")), "node_name"),
    )
    uri = (x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://gz1.gz.dawan")]), False)
    yield "the name in an address only", of(having(leaf(GZ), names=uri), "node_name")
    for title, given in {
        "name of another organisation": ["hk1.hk.dawan"],
        "another organisation's name beside its own": ["gz1.gz.dawan", "hk1.hk.dawan"],
        "two names": ["gz1.gz.dawan", "gz2.gz.dawan"],
        "one name twice": ["gz1.gz.dawan", "gz1.gz.dawan"],
        "no node in the name": ["gz.dawan"],
        "capitals": ["GZ1.GZ.DAWAN"],
        "capital node": ["Gz1.gz.dawan"],
        "wildcard": ["*.gz.dawan"],
        "nested": ["a.b.gz.dawan"],
        "underscore": ["gz_1.gz.dawan"],
        "empty label": [".gz.dawan"],
        "trailing dot": ["gz1.gz.dawan."],
        "digit first": ["1gz.gz.dawan"],
        "33 characters": ["g" * 33 + ".gz.dawan"],
        "NUL inside": ["gz1\0.gz.dawan"],
        "blank before it": [" gz1.gz.dawan"],
    }.items():
        yield title, of(having(leaf(GZ), names=dns(*given)), "node_name")
    in_chinese = replaced(b"gz1.gz.dawan", "\u7a57.gz.dawan".encode())
    yield "not ASCII", of(leaf(GZ, patch=in_chinese), "node_name")


def keys() -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "", of(leaf(GZ, key=ec.generate_private_key(ec.SECP384R1()), hash=hashes.SHA384()), "")
    yield "RSA 1024", of(leaf(GZ, key=RSA_1024), "weak_key", presentable=False)
    yield "RSA 2048", of(leaf(GZ, key=RSA_2048), "weak_key")
    yield "P-224", of(leaf(GZ, key=ec.generate_private_key(ec.SECP224R1())), "weak_key", presentable=False)
    yield "P-521", of(leaf(GZ, key=ec.generate_private_key(ec.SECP521R1())), "weak_key")
    yield "secp256k1", of(leaf(GZ, key=ec.generate_private_key(ec.SECP256K1())), "weak_key", presentable=False)
    yield "Ed25519", of(leaf(GZ, key=ed25519.Ed25519PrivateKey.generate()), "weak_key")
    p256, unknown = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d0301ff")
    yield "a curve nobody knows", of(leaf(GZ, patch=replaced(p256, unknown[:-1] + b"\x7f")), "weak_key", ROOTS, False)
    for title, algorithm in {"SHA-1": ECDSA_SHA1, "MD5": RSA_MD5}.items():
        weak = leaf(GZ, patch=replaced(ECDSA_SHA256, algorithm), outer=algorithm)
        yield f"signed with {title}", of(weak, "weak_signature", presentable=False)
    yield "signed with SHA-224", of(leaf(GZ, hash=hashes.SHA224()), "weak_signature")
    yield "signed with SHA-512", of(leaf(GZ, hash=hashes.SHA512()), "weak_signature")
    mismatched = leaf(GZ, patch=good_bytes, outer=ECDSA_SHA384)
    yield "another algorithm inside than outside", of(mismatched, "unknown_authority", presentable=False)


def good_bytes(tbs: bytes) -> bytes:
    return tbs


def encodings() -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "", of(leaf(GZ, patch=with_serial(b"\x01" * 20)), "")
    fine = leaf(GZ).der()
    yield "serial number 0", of(leaf(GZ, patch=with_serial(b"\x00")), "serial", presentable=False)
    yield "negative serial number", of(leaf(GZ, patch=with_serial(b"\x80")), "serial", presentable=False)
    yield "serial number of 21 bytes", of(leaf(GZ, patch=with_serial(b"\x01" * 21)), "serial", presentable=False)
    yield "version 1", of(leaf(GZ, patch=of_version_1), "version")
    yield "empty", raw(b"", "malformed")
    yield "not DER at all", raw(b"certificate", "malformed")
    yield "cut short", raw(fine[:-1], "malformed")
    yield "bytes after it", raw(fine + b"\x00", "malformed")
    yield "two certificates", raw(fine + fine, "malformed")
    yield "larger than 16 KiB", raw(fine + bytes(16 * 1024), "malformed")
    huge = (x509.UnrecognizedExtension(UNKNOWN.oid, tlv(0x04, bytes(16 * 1024))), False)
    yield "well formed, larger than 16 KiB", of(having(leaf(GZ), odd=huge), "malformed")
    yield (
        "an alternative name that the library does not know",
        of(having(leaf(GZ), names=unsupported_name(ALTERNATIVE_NAMES)), "malformed"),
    )
    yield (
        "an issuer's name that the library does not know",
        of(having(leaf(GZ), odd=unsupported_name(AUTHORITY_KEY_IDENTIFIER)), "malformed"),
    )
    yield (
        "a TLS feature that the library does not know",
        of(having(leaf(GZ), odd=unknown_feature()), "malformed"),
    )
    yield "PEM", raw(to_pem([fine]).encode(), "malformed")
    yield "a bit of the signature flipped", raw(fine[:-1] + bytes([fine[-1] ^ 1]), "unknown_authority")
    yield "the signed part changed", raw(fine.replace(b"gz1.gz", b"gz2.gz", 1), "unknown_authority")
    yield "a revocation list instead", raw(revocation_list(GZ), "malformed")


def revocation() -> Iterator[tuple[str, tuple[Any, ...]]]:
    issuing = below(GZ)
    roots = {"gz": [GZ.der(), issuing.der()], "hk": ROOTS["hk"]}

    def lists(*made: bytes, rule: RevocationRule = RevocationRule.HARD) -> Revocations:
        loaded: list[RevocationList] = [load_revocation_list(one, "gz", roots["gz"], NOW) for one in made]
        return Revocations.collect(roots, loaded, rule)

    def judged(reason: str, *made: bytes, rule: RevocationRule = RevocationRule.HARD) -> tuple[Any, ...]:
        return of(leaf(issuing), reason, roots, True, lists(*made, rule=rule))

    fine, above = revocation_list(issuing, 7), revocation_list(GZ, 7)
    yield "", judged("", fine, above)
    yield "leaf revoked", judged("revoked", revocation_list(issuing, LEAF_SERIAL), above)
    yield "intermediate revoked", judged("revoked", fine, revocation_list(GZ, issuing.serial))
    yield "root revoked by itself", judged("revoked", fine, revocation_list(GZ, GZ.serial))
    soft = RevocationRule.SOFT
    yield "leaf revoked, soft rule", judged("revoked", revocation_list(issuing, LEAF_SERIAL), rule=soft)
    old = revocation_list(issuing, LEAF_SERIAL, next_update=NOW - HOUR)
    yield "leaf revoked by a list that is out of date", judged("revoked", old, above, rule=soft)
    newer = revocation_list(issuing, LEAF_SERIAL, number=2)
    yield "leaf revoked by the newer of two lists", judged("revoked", newer, fine, above)
    yield "no list, hard rule", judged("crl_missing")
    yield "list of the intermediate missing", judged("crl_missing", above)
    yield "list of the root missing", judged("crl_missing", fine)
    stale = revocation_list(issuing, next_update=NOW - HOUR)
    yield "list out of date, hard rule", judged("crl_stale", stale, above)
    yield "list of the root out of date", judged("crl_stale", fine, revocation_list(GZ, next_update=NOW - HOUR))
    foreign = load_revocation_list(revocation_list(HK), "hk", roots["hk"], NOW)
    yield (
        "only the list of another organisation's authority",
        of(leaf(issuing), "crl_missing", roots, True, Revocations.collect(roots, [foreign], RevocationRule.HARD)),
    )


FAMILIES = {
    "validity": validity,
    "issuer": issuers,
    "authority": authorities,
    "extensions": extensions,
    "names": names,
    "keys and signatures": keys,
    "encoding": encodings,
    "revocation": revocation,
}
_EVERY = [Case(family, name, *parts) for family, made in FAMILIES.items() for name, parts in made()]
CASES = [case for case in _EVERY if case.reason]
CONTROLS = [case for case in _EVERY if not case.reason]
