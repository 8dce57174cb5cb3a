"""Who is a peer, whose certificates are believed, and who hears of which channel: one value, made anew when it changes.

Two sources say it. ``consortium.toml`` says how the network began; the channels' own state says what was decided
since: organisations that joined, were suspended or left, nodes they registered, keys validators changed, certificate
authorities they replaced. Where both speak, the state wins, because everybody agreed on it.

What could let one organisation pass for another is decided by three rules:

* a node hears of a channel only if *that channel* registered, for the organisation, every authority its certificate's
  chain goes through: what one channel registers for a member of another opens nothing there;
* an authority, that is a name and a key, belongs to the organisation that the first channel, in the order of
  ``consortium.toml``, registered it for, and on one channel to the one whose record is older; another organisation
  does not have it (and this is reported). Anybody can make a second certificate of an authority, with other bytes:
  were it to count, the nodes of the true owner would belong to two organisations, and so to none;
* a node's name belongs to the organisation that had it first, in the file before the state, and what a channel
  registers for it counts over the file only on the first channel that knows the organisation.

A suspended organisation's nodes are not served, but for its validators: they vote until a vote replaces them.

Pure: memberships, files and the time come in, a Directory goes out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dawan_node.crypto.certificates import NodeCertificate, fingerprint, is_loadable_authority, parse_authorities
from dawan_node.crypto.revocation import (
    Issuer,
    RevocationList,
    RevocationRule,
    Revocations,
    load_revocation_list,
)
from dawan_node.crypto.trust import Trust
from dawan_node.errors import UntrustedCertificate
from dawan_node.execution.membership import Membership
from dawan_node.node.consortium import Consortium, public_key_bytes
from dawan_node.p2p.peers import PeerAddress, Role

#: Judges a list (DER) that an organisation hands over, under its authorities (DER). Raises UntrustedCertificate.
LoadList = Callable[[bytes, str, Sequence[bytes], datetime], RevocationList]

#: Problems are logged and shown: a network in trouble must not flood the log.
PROBLEMS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel this node serves, in the order of ``consortium.toml``."""

    name: str
    chain_id: bytes
    membership: Membership


@dataclass(frozen=True, slots=True)
class OwnPlace:
    """This node; ``authorities`` are its organisation's certificates (DER) in its own home."""

    name: str
    org: str
    authorities: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """``trust``: every authority that some channel registered; what it opens is ``chain_ids_of`` to say.
    ``places``: the channels of this node. ``problems``: what an operator should look at."""

    peers: tuple[PeerAddress, ...]
    trust: Trust
    places: tuple[Place, ...]
    problems: tuple[str, ...]

    def chain_ids_of(self, certificate: NodeCertificate) -> tuple[bytes, ...]:
        """The channels of this node that the node with ``certificate`` may hear of."""
        return tuple(place.chain_id for place in self.places if place.lets_in(certificate))

    def is_member(self, channel: str, org: str, authorities: frozenset[bytes]) -> bool:
        """Whether ``org``, shown by a certificate below ``authorities`` (fingerprints), is active on ``channel``."""
        return any(place.name == channel and place.is_member(org, authorities) for place in self.places)

    def is_own(self, authorities: frozenset[bytes]) -> bool:
        """Whether ``authorities`` are this node's organisation's on every channel of this node: a certificate below
        what one channel alone registered for it does not make its bearer one of the house."""
        return bool(self.places) and all(authorities <= place.own_authorities for place in self.places)


@dataclass(frozen=True, slots=True)
class Place:
    """One channel of this node. ``members``: active organisation -> fingerprints of its authorities; ``seats``: the
    same for validators of suspended ones, by node; ``own_authorities``: this node's organisation's, of any status.
    """

    name: str
    chain_id: bytes
    members: Mapping[str, frozenset[bytes]]
    seats: Mapping[str, frozenset[bytes]]
    own_authorities: frozenset[bytes]

    def is_member(self, org: str, authorities: frozenset[bytes]) -> bool:
        """Whether ``org`` is active here and all of ``authorities`` are its own here."""
        return org in self.members and authorities <= self.members[org]

    def lets_in(self, certificate: NodeCertificate) -> bool:
        """Whether the node with ``certificate`` may hear of this channel."""
        if self.is_member(certificate.org, certificate.authorities):
            return True
        return certificate.name in self.seats and certificate.authorities <= self.seats[certificate.name]


def make_directory(
    own: OwnPlace,
    consortium: Consortium,
    channels: Sequence[ChannelView],
    revocation_files: Mapping[str, Sequence[bytes]],
    rule: RevocationRule,
    now: datetime,
    held: Sequence[RevocationList] = (),
    load: LoadList = load_revocation_list,
) -> Directory:
    """The directory of the node ``own`` that serves ``channels``.

    ``revocation_files``: organisation -> lists (DER) found beside consortium.toml; lists published on a channel count
    too, those ``held`` from before as well, and of several lists of one authority the newest: a list that was replaced
    by one that is refused must not bring a revoked certificate back. ``load`` judges one list.
    """
    maker = _Maker(consortium, channels)
    registered = maker.roots()
    # A node whose organisation is not admitted yet, or not any more, still knows its own certificates.
    registered.setdefault(own.org, tuple(own.authorities))
    roots = maker.usable(registered)
    lists = [*held, *maker.revocation_lists(roots, revocation_files, now, load)]
    places = maker.places(own)
    members = {org for place in places for org in place.members}
    seated = {name for place in places for name in place.seats}
    peers = tuple(peer for peer in maker.peers(members, seated) if peer.name != own.name)
    trust = Trust(roots, Revocations.collect(roots, lists, rule))
    return Directory(peers, trust, places, tuple(maker.problems[:PROBLEMS_MAX]))


@functools.lru_cache(maxsize=1_024)  # as is_loadable_authority
def _authority_of(certificate: bytes) -> Issuer | bytes:
    """What a certificate (DER) makes an authority of; itself where it cannot be read."""
    parsed = parse_authorities([certificate])
    return Issuer.of(parsed[0]) if parsed else certificate


class _Maker:
    def __init__(self, consortium: Consortium, channels: Sequence[ChannelView]) -> None:
        self.problems: list[str] = []
        self._consortium = consortium
        self._channels = channels
        #: Organisation -> the first channel that knows it: what that one says of its nodes counts.
        self._first: dict[str, str] = {}
        for channel in channels:
            for org in channel.membership.organisations:
                self._first.setdefault(org, channel.name)
        #: Validator name -> (organisation, voting key), of the first channel that has it.
        self._seats: dict[str, tuple[str, bytes]] = {}
        for channel in channels:
            for name, seat in channel.membership.validators.items():
                if self._seats.setdefault(name, seat) != seat:
                    self.problems.append(
                        f"validator {name} has another key on channel {channel.name} than on a channel before it; its "
                        "node has one key, so it is not met on both. Fix: replace the key on the other channel too"
                    )

    def roots(self) -> dict[str, tuple[bytes, ...]]:
        """Organisation -> authorities registered on any channel, those of the first channel first: of everybody who may
        have a link here."""
        found: dict[str, dict[bytes, None]] = {}
        owners: dict[Issuer | bytes, str] = {}
        known: set[str] = set()
        for channel in self._channels:
            records = channel.membership.organisations.items()
            for org, record in sorted(records, key=lambda each: (each[1].since_height, each[0])):
                known.add(org)
                if record.status != "active" and not self._has_seat(channel, org):
                    continue
                for certificate in record.ca:
                    authority = _authority_of(certificate)
                    if owners.setdefault(authority, org) == org:
                        found.setdefault(org, {})[certificate] = None
                    else:
                        self.problems.append(
                            f"channel {channel.name} has a CA certificate of {owners[authority]} for {org}; it does "
                            f"not count for {org}. Fix: propose_org_ca for {org} on channel {channel.name}"
                        )
        # Of the file, those that no channel of this node knows: nodes that share none are only told so.
        unknown = {org: tuple(ca) for org, ca in self._consortium.roots.items() if org not in known}
        return {**unknown, **{org: tuple(certificates) for org, certificates in found.items()}}

    def usable(self, roots: Mapping[str, tuple[bytes, ...]]) -> dict[str, tuple[bytes, ...]]:
        """Without what no library can read: one such certificate would keep TLS from starting with any."""
        found = {}
        for org, registered in roots.items():
            found[org] = tuple(der for der in registered if is_loadable_authority(der))
            if len(found[org]) < len(registered):
                self.problems.append(
                    f"{len(registered) - len(found[org])} of the CA certificates registered for {org} cannot be read; "
                    f"nodes below them have no links. Fix: propose_org_ca for {org} with the right certificates"
                )
        return found

    def places(self, own: OwnPlace) -> tuple[Place, ...]:
        """Each channel with those it lets in."""
        found = []
        for channel in self._channels:
            records = channel.membership.organisations
            fingerprints = {org: frozenset(map(fingerprint, record.ca)) for org, record in records.items()}
            members = {org: fingerprints[org] for org, record in records.items() if record.status == "active"}
            seats = {
                name: fingerprints[org]
                for name, (org, _) in channel.membership.validators.items()
                if org in records and records[org].status != "active"
            }
            own_authorities = fingerprints.get(own.org, frozenset()) | frozenset(map(fingerprint, own.authorities))
            found.append(Place(channel.name, channel.chain_id, members, seats, own_authorities))
        return tuple(found)

    def peers(self, members: set[str], seated: set[str]) -> list[PeerAddress]:
        """Every node that may have a link, in order of name: those of active members, and validators that are left
        of suspended ones; of organisations that no channel of this node knows, those in the file."""
        found: dict[str, PeerAddress] = {}
        for node in self._consortium.nodes:
            role = Role.VALIDATOR if self._consortium.is_validator(node.name) else Role.OBSERVER
            found[node.name] = PeerAddress(node.name, node.org, public_key_bytes(node.public_key), node.addresses, role)
        for channel in self._channels:
            self._add_registered(channel, found)
        for name, (org, key) in self._seats.items():
            listed = found.get(name)
            if listed is None or listed.org == org:
                addresses = () if listed is None else listed.addresses
                found[name] = PeerAddress(name, org, key, addresses, Role.VALIDATOR)
        known = {org for channel in self._channels for org in channel.membership.organisations}
        return [
            peer
            for _, peer in sorted(found.items())
            if peer.org in members or peer.name in seated or peer.org not in known
        ]

    def revocation_lists(
        self,
        roots: Mapping[str, tuple[bytes, ...]],
        files: Mapping[str, Sequence[bytes]],
        now: datetime,
        load: LoadList,
    ) -> list[RevocationList]:
        """Every list that can be believed, from files and channels; the others are problems, never silence."""
        given = [(org, f"network/crl/{org}.crl.pem", data) for org, lists in sorted(files.items()) for data in lists]
        given += [
            (org, f"channel {channel.name}", data)
            for channel in self._channels
            for org, lists in sorted(channel.membership.revocations.items())
            for data in lists
        ]
        found = []
        for org, source, data in given:
            try:
                found.append(load(data, org, roots.get(org, ()), now))
            except UntrustedCertificate as error:
                self.problems.append(f"{source}: {error}. Fix: {org} must hand over a new list: cert crl")
        return found

    def _add_registered(self, channel: ChannelView, found: dict[str, PeerAddress]) -> None:
        """What organisations registered on a channel: new nodes, new keys and addresses, removals.

        What is listed already is changed only by the first channel that knows the organisation. The majority of another
        channel can vote in anybody under a member's name, and must not thereby say where that member's nodes are.
        """
        for name, record in sorted(channel.membership.nodes.items()):
            listed = found.get(name)
            first = self._first.get(record.org, "")
            if listed is not None and listed.org == record.org and first != channel.name:
                if (listed.public_key, listed.addresses) != (record.public_key, record.addresses) or (
                    record.status != "active"
                ):
                    self.problems.append(
                        f"channel {channel.name} has another record of node {name} than {first}; that of {first} "
                        f"counts. Fix: {record.org} registers the same on both"
                    )
                continue
            if listed is not None and listed.org != record.org:
                self.problems.append(
                    f"channel {channel.name} has a node {name} of {record.org}, but {name} is of {listed.org} in "
                    f"consortium.toml; it is ignored. Fix: {record.org} registers it under another name"
                )
            elif record.status == "removed":
                if name not in self._seats:
                    found.pop(name, None)
            elif listed is None or (listed.public_key, listed.addresses) != (record.public_key, record.addresses):
                role = Role.OBSERVER if listed is None else listed.role
                found[name] = PeerAddress(name, record.org, record.public_key, record.addresses, role)

    @staticmethod
    def _has_seat(channel: ChannelView, org: str) -> bool:
        return any(owner == org for owner, _ in channel.membership.validators.values())
