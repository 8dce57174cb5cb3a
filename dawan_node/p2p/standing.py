"""Whether a link still fits what this node goes by: who is listed as what, and which channels the two may share.

Pure: the link's facts and today's list come in, a refusal with the reason for the peer comes out. Certificates are
judged apart (``judgement``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from dawan_node.crypto.certificates import NodeCertificate
from dawan_node.p2p.handshake import HandshakeRefused, Refusal, listing
from dawan_node.p2p.peers import PeerId
from dawan_node.p2p.transport import Met


def objection(
    met: Met, listed: PeerId | None, channels_for: Callable[[NodeCertificate], Collection[bytes]]
) -> HandshakeRefused | None:
    """What stands against a link with the node that was ``met``, now that it is ``listed`` so (None: not at all).

    Channels: compared is what this node *lists* for the peer's organisation, not what the two share. Which channels
    the peer lists today only a new handshake tells, and after both nodes were updated, in any order, the last one to
    change its list has opened the link anew.
    """
    peer = met.peer
    if listed is None:
        return HandshakeRefused(
            Refusal.UNKNOWN_NODE, f"node {peer.name!r} of {peer.org!r} is no longer listed as a node of this network"
        )
    if listed.org != peer.org:
        return HandshakeRefused(
            Refusal.ORGANISATION,
            f"node {peer.name!r} is listed under {listed.org!r} now, no longer under {peer.org!r}; "
            "give it a certificate of that organisation",
        )
    if listed.public_key != peer.public_key:
        return HandshakeRefused(
            Refusal.KEY,
            f"node {peer.name!r} is listed with key {listed.public_key.hex()} now, this link was opened with "
            f"{peer.public_key.hex()}; start it with the new key",
        )
    if listed.role != peer.role:
        return HandshakeRefused(
            Refusal.ROLE,
            f"node {peer.name!r} is listed as {listed.role} now, this link was opened as {peer.role}; "
            "it must connect again in its new role",
        )
    if frozenset(listing(channels_for(met.certificate))) != met.listed_chain_ids:
        return HandshakeRefused(
            Refusal.CHANNELS,
            f"the channels shared with {peer.org!r} have changed; connect again, nothing else is wrong",
        )
    return None
