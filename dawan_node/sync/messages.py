"""What nodes say to each other on topic SYNC: where they stand, and ranges of decided blocks.

Three messages, each one canonical MessagePack array ``[kind, field, ...]``:

| Message | Fields | Says |
|---|---|---|
| HEAD | height, block_hash, epoch | how far the sender's chain goes; epoch is that of the next height |
| RANGE-REQUEST | id, first, last | send me these heights |
| RANGE-REPLY | id, blocks | as many of them as you like to send, from the first on; none if you cannot |

A block travels as ``[header, result, links, certificate, envelopes]``. Only the last block of a reply needs a
certificate: it proves the blocks below through their hash links (consensus.md 1.10). A block below may carry its own,
so that the receiver keeps a short proof of it. ``links`` are the (header, result) pairs up to a certificate that is
not the block's own (amendment L3). **A reply ends at the first block that ends an epoch** (amendment U4).

Nothing in a reply is trusted: ``dawan_node.sync.verify`` checks all of it.
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

#: So many blocks are proven by one certificate (``LINKS_MAX`` bounds the proof of the lowest of them).
RANGE_BLOCKS_MAX: Final = LINKS_MAX

#: Where the serving side cuts: a second or so on a 40 Mbit/s link, and one full block always fits.
REPLY_BYTES_TARGET: Final = 4 * 1024 * 1024

#: What the receiving side decodes: a full block of 4 MiB with its lists, headers and links. Below the frame limit.
SYNC_MESSAGE_BYTES_MAX: Final = 5 * 1024 * 1024 - 1024

#: Formats A.1: the longest list of transactions.
ENVELOPES_MAX: Final = 65_536

# Header, result and the length fields around them, per block, when a reply is cut.
_BLOCK_OVERHEAD_BYTES: Final = 1_024


class HeadMessage(ProtocolStruct, frozen=True, tag=0):
    """How far the sender's chain goes. An unproven claim."""

    height: Uint
    block_hash: Bytes32
    epoch: Uint


class RangeRequest(ProtocolStruct, frozen=True, tag=1):
    """Ask for the blocks ``first`` to ``last``. ``id`` comes back in the reply."""

    id: Uint
    first: Uint
    last: Uint


class RangeBlock(ProtocolStruct, frozen=True):
    """One decided block. ``certificate`` is an encoded CommitCertificate or empty."""

    header: Header
    result: Result
    links: Annotated[tuple[tuple[Header, Result], ...], msgspec.Meta(max_length=LINKS_MAX)]
    certificate: Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]
    envelopes: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=ENVELOPES_MAX)]

    @property
    def ends_epoch(self) -> bool:
        """Whether other validators decide the next height (amendment U3)."""
        return self.header.barrier and self.result.next_valset_hash != self.header.valset_hash


class RangeReply(ProtocolStruct, frozen=True, tag=2):
    """The answer to the request of the same ``id``."""

    id: Uint
    blocks: Annotated[tuple[RangeBlock, ...], msgspec.Meta(max_length=RANGE_BLOCKS_MAX)]


SyncMessage = HeadMessage | RangeRequest | RangeReply

_decoder: msgspec.msgpack.Decoder[SyncMessage] = msgspec.msgpack.Decoder(SyncMessage)


def decode_sync_message(data: bytes) -> SyncMessage:
    """The message that a peer sent on topic SYNC. Raises InvalidMessage."""
    try:
        message = decode_struct(_decoder, data, SYNC_MESSAGE_BYTES_MAX)
    except InvalidEncoding as error:
        raise InvalidMessage(f"sync message: {error}") from None
    if isinstance(message, RangeRequest) and not 1 <= message.first <= message.last < message.first + RANGE_BLOCKS_MAX:
        raise InvalidMessage(f"a range holds 1 to {RANGE_BLOCKS_MAX} blocks, not {message.first} to {message.last}")
    return message


def cut_reply(request: RangeRequest, blocks: Iterable[RangeBlock]) -> RangeReply:
    """The reply to ``request`` from this node's decided blocks, ascending from ``request.first``.

    ``blocks`` is read only as far as needed, so let it load lazily and end where this node's chain (or what it has
    kept) ends. Every block comes with the certificate and links it is stored with; what the receiver does not need
    is left out here.
    """
    taken: list[RangeBlock] = []
    bytes_left = REPLY_BYTES_TARGET
    for block in blocks:
        bytes_left -= _BLOCK_OVERHEAD_BYTES + len(block.certificate) + sum(len(body) + 5 for body in block.envelopes)
        if taken and bytes_left < 0:
            break
        taken.append(block)
        if block.ends_epoch or block.header.height >= request.last:
            break
    while taken and (not taken[-1].certificate or len(taken) + len(taken[-1].links) > 1 + LINKS_MAX):
        taken.pop()  # down to a block whose own certificate proves all below it
    proven_from_above = [
        msgspec.structs.replace(block, links=(), certificate=b"") if block.links else block for block in taken[:-1]
    ]
    return RangeReply(request.id, (*proven_from_above, *taken[-1:]))
