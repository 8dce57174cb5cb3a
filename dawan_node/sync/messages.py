"""What nodes say to each other on topic SYNC: where they stand, light ranges, and the bodies that belong to them.

Each message is one canonical MessagePack array ``[kind, field, ...]``:

| Kind | Message | Fields | Says |
|---|---|---|---|
| 0 | HEAD | height, block_hash, epoch, certificate | how far the sender is; epoch is that of the next height |
| 1 | LIGHT-REQUEST | id, first, last | send me headers, results and certificates of these heights |
| 2 | LIGHT-REPLY | id, blocks, links | as many of them as you like to send, from the first on; none if you cannot |
| 3 | BODIES-REQUEST | id, first, last | send me the envelopes of these heights |
| 4 | BODIES-REPLY | id, bodies | as many of them as fit, from the first on; none if you cannot |
| 5 | BUSY | id, retry_ms | not now; ask somebody else, or me again after this time |

A light block is ``[header, result, certificate]``, the certificate its own or empty. Only the last block of a reply
must be certified: it proves the blocks below through their hash links (consensus.md 1.10), however many they are. So
that every block's finality proof stays within ``LINKS_MAX`` links, no more than that many blocks in a row come without
a certificate. ``links`` are the (header, result) pairs above the last block up to the height of its certificate, where
that is not its own (amendment L3). **A light range ends at the first block that ends an epoch** (amendment U4).

Nothing in a message is trusted: ``dawan_node.sync.verify`` checks all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec

from dawan_node.errors import InvalidEncoding, InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CERTIFICATE_BYTES_MAX
from dawan_node.primitives.encoding import Bytes32, ProtocolStruct, Uint, decode_struct
from dawan_node.primitives.proofs import LINKS_MAX

#: Light blocks per reply: about 1 KiB each at n = 4 and 2 KiB at n = 22, so a reply stays below 1 MiB or so, is decoded
#: and checked in some 20 ms, and a round trip of 300 ms still brings 1,700 of them a second.
LIGHT_BLOCKS_MAX: Final = 512

#: Bodies per reply. Blocks are mostly bounded by bytes; this bounds what a request of tiny ones costs the server.
BODIES_MAX: Final = 64

#: Where the serving side cuts: one full block always fits.
REPLY_BYTES_TARGET: Final = 4 * 1024 * 1024

#: What the receiving side decodes: a full block of 4 MiB with its lists. Below the frame limit.
SYNC_MESSAGE_BYTES_MAX: Final = 5 * 1024 * 1024 - 1024

#: Formats A.1: the longest list of transactions.
ENVELOPES_MAX: Final = 65_536

#: The longest that BUSY may ask for; whoever names more is asked again no later.
RETRY_MS_MAX: Final = 10_000


class HeadMessage(ProtocolStruct, frozen=True, tag=0):
    """How far the sender's chain goes, with a commit certificate of that height or of one above it (empty at genesis).

    The claim counts for the target once the certificate is verified (``sync.peers``)."""

    height: Uint
    block_hash: Bytes32
    epoch: Uint
    certificate: Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]


class LightRequest(ProtocolStruct, frozen=True, tag=1):
    """Ask for headers, results and certificates of the heights ``first`` to ``last``. ``id`` comes back."""

    id: Uint
    first: Uint
    last: Uint


class LightBlock(ProtocolStruct, frozen=True):
    """A decided block without its body. ``certificate`` is an encoded CommitCertificate or empty."""

    header: Header
    result: Result
    certificate: Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]

    @property
    def ends_epoch(self) -> bool:
        """Whether other validators decide the next height (amendment U3)."""
        return self.header.barrier and self.result.next_valset_hash != self.header.valset_hash


class LightReply(ProtocolStruct, frozen=True, tag=2):
    """The answer to the light request of the same ``id``."""

    id: Uint
    blocks: Annotated[tuple[LightBlock, ...], msgspec.Meta(max_length=LIGHT_BLOCKS_MAX)]
    links: Annotated[tuple[tuple[Header, Result], ...], msgspec.Meta(max_length=LINKS_MAX)]


class BodiesRequest(ProtocolStruct, frozen=True, tag=3):
    """Ask for the envelopes of the heights ``first`` to ``last``."""

    id: Uint
    first: Uint
    last: Uint


Body = Annotated[tuple[bytes, ...], msgspec.Meta(max_length=ENVELOPES_MAX)]


class BodiesReply(ProtocolStruct, frozen=True, tag=4):
    """The answer to the bodies request of the same ``id``: the envelopes of each height, in block order."""

    id: Uint
    bodies: Annotated[tuple[Body, ...], msgspec.Meta(max_length=BODIES_MAX)]


class BusyReply(ProtocolStruct, frozen=True, tag=5):
    """Instead of an answer: the sender has answered this peer as much as it may for now."""

    id: Uint
    retry_ms: Uint


SyncRequest = LightRequest | BodiesRequest
SyncReply = LightReply | BodiesReply | BusyReply
SyncMessage = HeadMessage | LightRequest | LightReply | BodiesRequest | BodiesReply | BusyReply

_decoder: msgspec.msgpack.Decoder[SyncMessage] = msgspec.msgpack.Decoder(SyncMessage)


def decode_sync_message(data: bytes) -> SyncMessage:
    """The message that a peer sent on topic SYNC. Raises InvalidMessage."""
    try:
        message = decode_struct(_decoder, data, SYNC_MESSAGE_BYTES_MAX)
    except InvalidEncoding as error:
        raise InvalidMessage(f"sync message: {error}") from None
    if isinstance(message, LightRequest | BodiesRequest):
        most = LIGHT_BLOCKS_MAX if isinstance(message, LightRequest) else BODIES_MAX
        if not 1 <= message.first <= message.last < message.first + most:
            raise InvalidMessage(f"a request names 1 to {most} heights, not {message.first} to {message.last}")
    return message


def cut_bodies(request: BodiesRequest, bodies: Iterable[tuple[bytes, ...]]) -> BodiesReply:
    """The reply to ``request`` from this node's bodies, ascending from ``request.first``.

    ``bodies`` is read only as far as needed, so let it load lazily and end where this node's chain (or what it has
    kept) ends.
    """
    taken: list[tuple[bytes, ...]] = []
    bytes_left = REPLY_BYTES_TARGET
    for body in bodies:
        bytes_left -= sum(len(envelope) + 5 for envelope in body)
        if taken and bytes_left < 0:
            break
        taken.append(body)
        if request.first + len(taken) > request.last:
            break
    return BodiesReply(request.id, tuple(taken))
