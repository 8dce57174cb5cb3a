"""The directory: what the file and the channels' state say together about peers, authorities and channels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from dawan_node.crypto.authority import issue_node_certificate, make_authority, make_revocation_list
from dawan_node.crypto.certificates import NodeCertificate, fingerprint
from dawan_node.crypto.revocation import RevocationRule, Revoked
from dawan_node.crypto.signatures import ED25519
from dawan_node.errors import UntrustedCertificate
from dawan_node.execution.channel import NodeRecord, Organisation
from dawan_node.execution.membership import Membership
from dawan_node.modules.governance.nodes import _ADDRESS, is_address
from dawan_node.node.consortium import Consortium, Node, public_key_bytes
from dawan_node.node.directory import ChannelView, Directory, OwnPlace, make_directory
from dawan_node.p2p.peers import PeerAddress, Role
from dawan_node.p2p.tls import tls_contexts
from dawan_node.testing.module_kit import key_of_person
from tests.crypto.certificate_recipes import ECDSA_SHA256, sequence, tlv

NOW = datetime(2026, 9, 1, tzinfo=UTC)
GDLOG = make_authority("gdlog", NOW)
TRADE, ALLIANCE = b"t" * 32, b"a" * 32


def genesis_membership(consortium: Consortium, channel: str = "trade") -> Membership:
    genesis = consortium.genesis(channel)
    return Membership(
        {
            org.id: Organisation(org.id, (("en", org.name),), org.founding, tuple(org.ca), "active", 0)
            for org in genesis.orgs
        },
        {entry.name: (entry.org, entry.public_key) for entry in genesis.validators},
        {},
        {},
    )


def changed(membership: Membership, **changes: object) -> Membership:
    values = {name: getattr(membership, name) for name in Membership.__slots__}
    for name, change in changes.items():
        values[name] = {**values[name], **change}  # type: ignore[dict-item]
    return Membership(**values)


def with_org(membership: Membership, org: str, **changes: object) -> Membership:
    known = membership.organisations.get(org) or Organisation(org, (("en", org),), False, (), "active", 5)
    return changed(membership, organisations={org: msgspec.structs.replace(known, **changes)})


def record(name: str, org: str, **changes: object) -> NodeRecord:
    usual = NodeRecord(name, org, ED25519, key_of_person(name), (f"{name}.example:7100",), "active", 5)
    return msgspec.structs.replace(usual, **changes)


def directory(consortium: Consortium, *memberships: Membership, files: dict[str, list[bytes]] | None = None,
              rule: RevocationRule = RevocationRule.SOFT, now: datetime = NOW) -> Directory:  # fmt: skip
    views = [
        ChannelView(name, chain_id, membership)
        for name, chain_id, membership in zip(("trade", "alliance"), (TRADE, ALLIANCE), memberships, strict=False)
    ]
    return make_directory(OwnPlace("gz1", "gz"), consortium, views, files or {}, rule, now)


def heard(found: Directory, org: str, name: str, *authorities: bytes) -> set[bytes]:
    """The channels that a node hears of which shows a certificate below ``authorities`` (DER)."""
    shown = frozenset(map(fingerprint, authorities or found.trust.roots.get(org, ())))
    return set(found.chain_ids_of(NodeCertificate(org, name, NOW, NOW, b"", b"", shown)))


def names(found: Directory) -> list[str]:
    return [peer.name for peer in found.peers]


def test_at_the_start_it_says_what_the_file_says(assembled: Consortium) -> None:
    start = genesis_membership(assembled)
    found = directory(assembled, start, start)
    assert names(found) == ["hk1", "hq1", "mo1"]
    for peer in found.peers:
        node = assembled.node(peer.name)
        assert node is not None
        assert (peer.org, peer.addresses, peer.role) == (node.org, node.addresses, Role.VALIDATOR)
        assert peer.public_key == public_key_bytes(node.public_key)
    assert found.trust.roots == assembled.roots
    assert heard(found, "hk", "hk1") == {TRADE, ALLIANCE}
    assert heard(found, "nobody", "n1") == set()
    assert found.problems == ()


def test_an_organisation_that_joined_is_believed_and_its_node_is_a_peer(assembled: Consortium) -> None:
    joined = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,))
    joined = changed(joined, nodes={"gdlog1": record("gdlog1", "gdlog")})
    found = directory(assembled, joined, genesis_membership(assembled))
    assert names(found) == ["gdlog1", "hk1", "hq1", "mo1"]
    gdlog1 = found.peers[0]
    assert (gdlog1.org, gdlog1.role, gdlog1.addresses) == ("gdlog", Role.OBSERVER, ("gdlog1.example:7100",))
    assert heard(found, "gdlog", "gdlog1") == {TRADE}, "it hears of the channel it joined and of no other"
    leaf = issue_node_certificate(GDLOG, "gdlog", "gdlog1", ["127.0.0.1"], NOW)
    assert found.trust.judge(leaf.certificate, NOW).org == "gdlog"
    with pytest.raises(UntrustedCertificate, match="no organisation of this network"):
        directory(assembled, genesis_membership(assembled)).trust.judge(leaf.certificate, NOW)


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_an_organisation_that_is_suspended_everywhere_has_no_peers_and_no_authority(
    assembled: Consortium, status: str
) -> None:
    joined = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,), status=status)
    joined = changed(joined, nodes={"gdlog1": record("gdlog1", "gdlog")})
    found = directory(assembled, joined)
    assert "gdlog1" not in names(found) and "gdlog" not in found.trust.roots
    assert heard(found, "gdlog", "gdlog1") == set()


def test_of_a_suspended_founder_only_the_validators_are_left(assembled: Consortium) -> None:
    suspended = with_org(genesis_membership(assembled), "mo", status="suspended")
    suspended = changed(suspended, nodes={"mo-observer": record("mo-observer", "mo")})
    found = directory(assembled, suspended)
    assert "mo1" in names(found) and "mo-observer" not in names(found)
    assert heard(found, "mo", "mo1") == {TRADE}
    assert heard(found, "mo", "mo-observer") == set()
    on_one = directory(assembled, suspended, genesis_membership(assembled))
    assert heard(on_one, "mo", "mo-observer") == {ALLIANCE}
    assert heard(on_one, "mo", "mo1") == {TRADE, ALLIANCE}


def test_the_state_wins_over_the_file_in_keys_and_addresses(assembled: Consortium) -> None:
    rotated = key_of_person("new voting key")
    membership = changed(
        genesis_membership(assembled),
        validators={"hk1": ("hk", rotated)},
        nodes={"hk1": record("hk1", "hk", addresses=("10.9.9.9:7100",))},
    )
    hk1 = next(peer for peer in directory(assembled, membership).peers if peer.name == "hk1")
    assert (hk1.public_key, hk1.addresses, hk1.role) == (rotated, ("10.9.9.9:7100",), Role.VALIDATOR)


def test_a_node_is_removed_by_its_organisation_but_a_validator_only_by_vote(assembled: Consortium) -> None:
    larger = msgspec.structs.replace(
        assembled.document,
        observer=(
            Node(name="hk2", org="hk", public_key="0x" + key_of_person("hk2").hex(), addresses=("127.0.0.1:1",)),
        ),
    )
    consortium = Consortium(larger, assembled.roots)
    assert "hk2" in names(directory(consortium, genesis_membership(assembled)))
    gone = {name: record(name, "hk", status="removed") for name in ("hk1", "hk2")}
    left = directory(consortium, changed(genesis_membership(assembled), nodes=gone)).peers
    assert [peer.name for peer in left] == ["hk1", "hq1", "mo1"]
    assert left[0].addresses == assembled.document.validator[1].addresses


def test_nobody_takes_the_name_of_another_organisations_node(assembled: Consortium) -> None:
    thief = {"hk1": record("hk1", "mo", addresses=("6.6.6.6:1",))}
    found = directory(assembled, changed(genesis_membership(assembled), nodes=thief))
    hk1 = next(peer for peer in found.peers if peer.name == "hk1")
    assert hk1.org == "hk" and "6.6.6.6:1" not in hk1.addresses
    assert "has a node hk1 of mo" in found.problems[0] and "Fix:" in found.problems[0]


def test_a_seat_on_one_channel_does_not_take_the_name_of_a_node_on_another(assembled: Consortium) -> None:
    first = changed(genesis_membership(assembled), nodes={"x1": record("x1", "mo")})
    second = changed(genesis_membership(assembled), validators={"x1": ("hk", key_of_person("seat"))})
    x1 = next(peer for peer in directory(assembled, first, second).peers if peer.name == "x1")
    assert (x1.org, x1.public_key, x1.role) == ("mo", key_of_person("x1"), Role.OBSERVER)


def test_what_one_channel_registers_for_a_member_of_another_opens_nothing_there(assembled: Consortium) -> None:
    """The majority of one channel must not be able to pass for a member of another."""
    honest = genesis_membership(assembled)
    [own] = assembled.roots["hk"]
    for places in ((honest, with_org(honest, "hk", ca=(own, GDLOG.certificate))),
                   (honest, with_org(honest, "hk", ca=(GDLOG.certificate,)))):  # fmt: skip
        found = directory(assembled, *places)
        assert heard(found, "hk", "hk1", GDLOG.certificate) == {ALLIANCE}
        assert TRADE in heard(found, "hk", "hk1", own)
        shown = frozenset({fingerprint(GDLOG.certificate)})
        assert found.is_member("alliance", "hk", shown) and not found.is_member("trade", "hk", shown)
    captured = directory(assembled, honest, with_org(honest, "gz", ca=(GDLOG.certificate,)))
    assert not captured.is_own(frozenset({fingerprint(GDLOG.certificate)})), "not one of the house either"


def test_nobody_registers_the_authority_of_another_organisation_on_another_channel(assembled: Consortium) -> None:
    """A certificate that fits two organisations belongs to neither: that must not be somebody's weapon."""
    honest = genesis_membership(assembled)
    [stolen] = assembled.roots["hk"]
    found = directory(assembled, honest, with_org(honest, "thief", ca=(stolen, GDLOG.certificate)))
    assert found.trust.roots["thief"] == (GDLOG.certificate,)
    assert found.trust.roots["hk"] == (stolen,)
    assert "has a CA certificate of hk for thief" in found.problems[0] and "Fix:" in found.problems[0]


def written_anew(certificate: bytes) -> bytes:
    """A second certificate of the same authority, which anybody can make: its signature with s negated."""
    parsed = x509.load_der_x509_certificate(certificate)
    r, s = decode_dss_signature(parsed.signature)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256
    signature = tlv(0x03, b"\0" + encode_dss_signature(r, order - s))
    return sequence(parsed.tbs_certificate_bytes + ECDSA_SHA256 + signature)


@pytest.mark.parametrize("thief", ["aaa", "zzz"])
def test_nobody_has_the_authority_of_another_organisation_by_writing_it_anew(assembled: Consortium, thief: str) -> None:
    start = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,))
    copy = written_anew(GDLOG.certificate)
    assert copy != GDLOG.certificate
    found = directory(assembled, with_org(start, thief, ca=(copy,), since_height=9))
    leaf = issue_node_certificate(GDLOG, "gdlog", "gdlog1", ["127.0.0.1"], NOW)
    judged = found.trust.judge(leaf.certificate, NOW)
    assert judged.org == "gdlog" and found.chain_ids_of(judged) == (TRADE,)
    assert thief not in found.trust.roots
    assert f"CA certificate of gdlog for {thief}" in found.problems[0]


def test_while_an_authority_is_replaced_channel_by_channel_its_nodes_lose_none(assembled: Consortium) -> None:
    honest = genesis_membership(assembled)
    [old] = assembled.roots["hk"]
    new = make_authority("hk", NOW).certificate
    both, after = with_org(honest, "hk", ca=(old, new)), with_org(honest, "hk", ca=(new,))
    for places, shown in (((both, honest), old), ((both, both), old), ((both, both), new), ((after, both), new),
                          ((after, after), new)):  # fmt: skip
        assert heard(directory(assembled, *places), "hk", "hk1", shown) == {TRADE, ALLIANCE}


def test_a_replaced_authority_is_believed_from_the_state(assembled: Consortium) -> None:
    second = make_authority("hk", NOW)
    both = (*assembled.roots["hk"], second.certificate)
    found = directory(assembled, *(with_org(genesis_membership(assembled), "hk", ca=both) for _ in range(2)))
    leaf = issue_node_certificate(second, "hk", "hk1", [], NOW)
    assert found.trust.judge(leaf.certificate, NOW).name == "hk1"
    assert found.problems == ()


def test_a_validator_with_two_keys_is_reported(assembled: Consortium) -> None:
    start = genesis_membership(assembled)
    other = changed(start, validators={"hk1": ("hk", key_of_person("other"))})
    found = directory(assembled, start, other)
    assert "validator hk1 has another key on channel alliance" in found.problems[0]
    assert next(p for p in found.peers if p.name == "hk1").public_key == start.validators["hk1"][1]


def test_nothing_that_a_channel_can_hold_keeps_a_node_from_making_its_directory(assembled: Consortium) -> None:
    """The chain keeps certificates and lists as bytes; whoever got a vote or an administrator's key chose them."""
    junk = (b"junk", GDLOG.certificate[:-1], GDLOG.certificate + b"\0", GDLOG.certificate)
    joined = with_org(genesis_membership(assembled), "gdlog", ca=junk)
    joined = changed(joined, nodes={"gz1": record("gz1", "gdlog")}, revocations={"gdlog": (b"", b"junk", bytes(9))})
    found = directory(assembled, joined)
    assert found.trust.roots["gdlog"] == (GDLOG.certificate,)
    assert any("3 of the CA certificates registered for gdlog cannot be read" in problem for problem in found.problems)
    own = issue_node_certificate(make_authority("gz", NOW), "gz", "gz1", [], NOW)
    tls_contexts(own, found.trust.roots)
    hopeless = directory(assembled, with_org(genesis_membership(assembled), "gdlog", ca=(b"junk",)))
    tls_contexts(own, hopeless.trust.roots)
    assert hopeless.trust.roots["gdlog"] == () and heard(hopeless, "gdlog", "gdlog1") == {TRADE}


@given(st.from_regex(_ADDRESS, fullmatch=True))
def test_every_address_that_governance_takes_can_be_dialled_or_fails_to_be(address: str) -> None:
    if is_address(address):
        PeerAddress("n1", "gz", key_of_person("n1"), (address,))


# -- revocation ------------------------------------------------------------------------------------------------------


def test_revocations_come_from_files_and_channels_and_the_newest_counts(assembled: Consortium) -> None:
    leaf = issue_node_certificate(GDLOG, "gdlog", "gdlog1", [], NOW)
    serial = x509.load_der_x509_certificate(leaf.certificate).serial_number
    empty = make_revocation_list(GDLOG, [], 1, NOW)
    revoking = make_revocation_list(GDLOG, [Revoked(serial, NOW)], 2, NOW)
    joined = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,))
    published = changed(joined, revocations={"gdlog": (revoking,)})
    for membership, files in ((joined, {"gdlog": [revoking]}), (published, {"gdlog": [empty]}), (published, {})):
        found = directory(assembled, membership, files=files)
        with pytest.raises(UntrustedCertificate) as refused:
            found.trust.judge(leaf.certificate, NOW)
        assert refused.value.reason == "revoked"
        assert found.problems == ()
    assert directory(assembled, joined, files={"gdlog": [empty]}).trust.judge(leaf.certificate, NOW).name == "gdlog1"


def test_a_revocation_list_of_another_authority_is_reported_and_revokes_nothing(assembled: Consortium) -> None:
    stranger = make_authority("stranger", NOW)
    joined = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,))
    leaf = issue_node_certificate(GDLOG, "gdlog", "gdlog1", [], NOW)
    for data in (make_revocation_list(stranger, [], 1, NOW), b"junk"):
        found = directory(assembled, joined, files={"gdlog": [data]})
        assert "network/crl/gdlog.crl.pem" in found.problems[0] and "Fix:" in found.problems[0]
        assert found.trust.judge(leaf.certificate, NOW).name == "gdlog1"


def test_under_the_hard_rule_an_organisation_without_a_current_list_is_refused(assembled: Consortium) -> None:
    leaf = issue_node_certificate(GDLOG, "gdlog", "gdlog1", [], NOW)
    joined = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,))
    with pytest.raises(UntrustedCertificate) as refused:
        directory(assembled, joined, rule=RevocationRule.HARD).trust.judge(leaf.certificate, NOW + timedelta(days=1))
    assert refused.value.reason == "crl_missing"


def test_a_list_that_is_refused_does_not_bring_a_revoked_certificate_back(assembled: Consortium) -> None:
    leaf = issue_node_certificate(GDLOG, "gdlog", "gdlog1", [], NOW)
    serial = x509.load_der_x509_certificate(leaf.certificate).serial_number
    joined = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,))
    revoking = make_revocation_list(GDLOG, [Revoked(serial, NOW)], 2, NOW)
    first = directory(assembled, joined, files={"gdlog": [revoking]})
    views = [ChannelView("trade", TRADE, joined)]
    held = list(first.trust.revocations.lists.values())
    for files in ({"gdlog": [b"junk"]}, {"gdlog": [make_revocation_list(GDLOG, [], 1, NOW)]}, {}):
        later = make_directory(OwnPlace("gz1", "gz"), assembled, views, files, RevocationRule.SOFT, NOW, held)
        with pytest.raises(UntrustedCertificate, match="was revoked"):
            later.trust.judge(leaf.certificate, NOW)


def test_a_node_that_is_not_admitted_yet_knows_its_own_certificate(assembled: Consortium) -> None:
    leaf = issue_node_certificate(GDLOG, "gdlog", "gdlog1", [], NOW)
    own = OwnPlace("gdlog1", "gdlog", [GDLOG.certificate])
    views = [ChannelView("trade", TRADE, genesis_membership(assembled))]
    found = make_directory(own, assembled, views, {}, RevocationRule.SOFT, NOW)
    assert found.trust.judge(leaf.certificate, NOW).org == "gdlog"
    assert [peer.name for peer in found.peers] == ["gz1", "hk1", "hq1", "mo1"]
    assert heard(found, "hk", "hk1") == {TRADE}


@pytest.mark.parametrize("status", ["active", "removed"])
def test_whoever_bears_a_members_name_on_another_channel_says_nothing_of_that_members_nodes(
    assembled: Consortium, status: str
) -> None:
    honest = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate,))
    honest = changed(honest, nodes={"gdlog1": record("gdlog1", "gdlog")})
    lies = {
        name: record(name, org, public_key=key_of_person("liar"), addresses=("liar.example:1",), status=status)
        for name, org in (("gdlog1", "gdlog"), ("hk1", "hk"))
    }
    other = with_org(genesis_membership(assembled), "gdlog", ca=(GDLOG.certificate, b"more"))
    lied_to = directory(assembled, honest, changed(other, nodes=lies))
    assert lied_to.peers == directory(assembled, honest, genesis_membership(assembled)).peers
    assert any("another record of node gdlog1 than trade" in problem for problem in lied_to.problems)
    # On the first channel that knows the organisation the same records count.
    moved = directory(
        assembled, changed(honest, nodes={"gdlog1": record("gdlog1", "gdlog", addresses=("b.example:2",))})
    )
    assert next(peer for peer in moved.peers if peer.name == "gdlog1").addresses == ("b.example:2",)
