"""Consensus messages: what replicas say to each other, as bytes.

Each message is one MessagePack array ``[kind, field, ...]`` (``msgspec`` tagged, array-like structs). Votes carry
their author as a validator index that means something only together with the signature: the author of a vote is
whoever signed it, never the link it came over. ``decode_message`` is the one way in; it knows the byte cap of each
kind before it decodes, requires the canonical encoding, and raises nothing but InvalidMessage.

| Message | Says | Signed |
|---|---|---|
| STATUS | where I am and which votes I hold; once a second, a sign of life | no, counts only on its own link |
| PRE-PREPARE | the primary's proposal with its ordered leaf list and its own PREPARE | as a PREPARE |
| PREPARE | I accept this block at this height in this view | yes |
| COMMIT | a quorum prepared it, and executing it gave this result | yes |
| SUSPECT | I wish for this view (and keep voting in mine) | yes |
| VIEW-CHANGE | I left the views below; my head and what I saw prepared above it | yes |
| NEW-VIEW | the q VIEW-CHANGEs that open a view, and the primary's PREPARE for each entry of O | yes |
| DECISION | a final block with its proof, for a replica that is behind (L4) | self-proving |
| PROPOSAL-REQUEST | I hold f + 1 PREPAREs for a block I do not know (L9) | no |
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from dawan_node.crypto.hashing import sha256
from dawan_node.errors import InvalidEncoding, InvalidMessage
from dawan_node.primitives.block import Header, Result
from dawan_node.primitives.certificate import CommitCertificate, PreparedCertificate
from dawan_node.primitives.encoding import (
    Bytes32,
    Bytes64,
    ProtocolStruct,
    Uint,
    decode_struct,
    decoder_for,
    encode,
)
from dawan_node.primitives.genesis import WINDOW_CEILING
from dawan_node.primitives.proofs import LINKS_MAX
from dawan_node.primitives.validators import VALIDATORS_MAX

#: Formats A.1: the longest leaf list.
LEAVES_MAX: Final = 65_536

_Bitmap = Annotated[bytes, msgspec.Meta(max_length=(VALIDATORS_MAX + 7) // 8)]
_Leaves = Annotated[tuple[Bytes32, ...], msgspec.Meta(max_length=LEAVES_MAX)]


class SlotSummary(ProtocolStruct, frozen=True):
    """Which votes of its view a replica holds for one height, so that others send what is missing."""

    height: Uint
    has_proposal: bool
    prepares: _Bitmap
    commits: _Bitmap


class Status(ProtocolStruct, frozen=True, tag=0):
    """Where a replica is. ``view_changes`` names the voters whose VIEW-CHANGE for ``target`` it holds."""

    epoch: Uint
    view: Uint
    target: Uint
    height: Uint
    block_hash: Bytes32
    slots: Annotated[tuple[SlotSummary, ...], msgspec.Meta(max_length=2 * WINDOW_CEILING)]
    view_changes: _Bitmap


class PrePrepare(ProtocolStruct, frozen=True, tag=1):
    """``signature`` is the primary's PREPARE for the header's hash in ``view``."""

    view: Uint
    header: Header
    leaf_hashes: _Leaves
    signature: Bytes64


class Prepare(ProtocolStruct, frozen=True, tag=2):
    """A PREPARE vote."""

    epoch: Uint
    view: Uint
    height: Uint
    block_hash: Bytes32
    voter: Uint
    signature: Bytes64


class Commit(ProtocolStruct, frozen=True, tag=3):
    """A COMMIT vote."""

    epoch: Uint
    view: Uint
    height: Uint
    block_hash: Bytes32
    result_hash: Bytes32
    voter: Uint
    signature: Bytes64


class Suspect(ProtocolStruct, frozen=True, tag=4):
    """The wish for ``new_view``. It binds nobody; q of them move everybody."""

    epoch: Uint
    new_view: Uint
    voter: Uint
    signature: Bytes64


class SuspectEntry(ProtocolStruct, frozen=True):
    """One signature of a SuspectCert: ``voter`` wished for ``view``."""

    voter: Uint
    view: Uint
    signature: Bytes64


class ViewChange(ProtocolStruct, frozen=True, tag=5):
    """What its voter brings into ``new_view``.

    ``suspects`` are q wishes for this view or a later one: nobody enters a view change alone. ``last`` is the
    decided head with its own certificate, empty when that is the epoch's base block. ``prepared`` holds, for each
    height above it within the window, the PC of the highest view with its header, ascending.
    """

    epoch: Uint
    new_view: Uint
    suspects: Annotated[tuple[SuspectEntry, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]
    last: Annotated[tuple[tuple[Header, CommitCertificate], ...], msgspec.Meta(max_length=1)]
    prepared: Annotated[tuple[tuple[Header, PreparedCertificate], ...], msgspec.Meta(max_length=WINDOW_CEILING)]
    voter: Uint
    signature: Bytes64

    @classmethod
    def decode(cls, data: bytes) -> ViewChange:
        """The VIEW-CHANGE in ``data`` (an encoded message). Raises InvalidMessage."""
        message = decode_message(data)
        if not isinstance(message, ViewChange):
            raise InvalidMessage("not a VIEW-CHANGE")
        return message


class NewView(ProtocolStruct, frozen=True, tag=6):
    """Opens ``new_view``: exactly q encoded VIEW-CHANGEs by ascending voter, the primary's own among them, and the
    primary's PREPARE signature for each entry of the O that follows from them."""

    epoch: Uint
    new_view: Uint
    view_changes: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]
    prepares: Annotated[tuple[Bytes64, ...], msgspec.Meta(max_length=WINDOW_CEILING)]
    signature: Bytes64


class Decision(ProtocolStruct, frozen=True, tag=7):
    """A final block: header, result, the links up to the certified block (usually none) and the certificate.

    ``leaf_hashes`` may be empty: then the receiver asks for the leaf list by block hash.
    """

    header: Header
    result: Result
    links: Annotated[tuple[tuple[Header, Result], ...], msgspec.Meta(max_length=LINKS_MAX)]
    certificate: CommitCertificate
    leaf_hashes: _Leaves


class ProposalRequest(ProtocolStruct, frozen=True, tag=8):
    """Asks for the PRE-PREPARE of a block that others have voted for."""

    epoch: Uint
    view: Uint
    height: Uint
    block_hash: Bytes32


Message = Status | PrePrepare | Prepare | Commit | Suspect | ViewChange | NewView | Decision | ProposalRequest

# Byte caps per kind, checked before anything is decoded. A vote is below 250 bytes. A VIEW-CHANGE holds at most
# 64 suspects, one certificate and WINDOW_CEILING PCs of 64 signatures each (about 300 KiB); a NEW-VIEW q of them,
# capped where a 60 s view on a slow link would end anyway (M7). A leaf list costs 34 bytes per leaf.
_VOTE_BYTES_MAX: Final = 512
_LEAF_LIST_BYTES_MAX: Final = 34 * LEAVES_MAX + 16 * 1024
_BYTES_MAX: Final = {
    0: 16 * 1024,
    1: _LEAF_LIST_BYTES_MAX,
    2: _VOTE_BYTES_MAX,
    3: _VOTE_BYTES_MAX,
    4: _VOTE_BYTES_MAX,
    5: 512 * 1024,
    6: 4 * 1024 * 1024,
    7: _LEAF_LIST_BYTES_MAX + 64 * 1024,
    8: _VOTE_BYTES_MAX,
}

#: No consensus message is longer; the transport refuses longer frames.
MESSAGE_BYTES_MAX: Final = max(_BYTES_MAX.values())

_decoder: msgspec.msgpack.Decoder[Message] = decoder_for(Message)  # type: ignore[arg-type]


def decode_message(data: bytes) -> Message:
    """Decode one message from a peer. Raises InvalidMessage, which is that peer's fault."""
    # Every message is an array of fewer than 16 items whose first is a small int, so the kind is the second byte.
    kind = data[1] if len(data) > 1 else -1
    bytes_max = _BYTES_MAX.get(kind)
    if bytes_max is None:
        raise InvalidMessage(f"unknown consensus message kind {kind}")
    try:
        return decode_struct(_decoder, data, bytes_max)
    except InvalidEncoding as error:
        raise InvalidMessage(f"consensus message of kind {kind}: {error}") from None


def suspect_bytes(chain_id: bytes, epoch: int, new_view: int) -> bytes:
    """What a SUSPECT signs (amendment A2)."""
    return encode([chain_id, epoch, new_view])


def view_change_bytes(chain_id: bytes, message: ViewChange) -> bytes:
    """What a VIEW-CHANGE signs: its view and the hash of all its other fields but the signature (A2)."""
    return encode([chain_id, message.epoch, message.new_view, sha256(view_change_content(message))])


def view_change_content(message: ViewChange) -> bytes:
    """All fields of a VIEW-CHANGE but its view and signature: what is signed as a hash, and shown as evidence (c)."""
    return encode([message.suspects, message.last, message.prepared, message.voter])


def new_view_bytes(chain_id: bytes, message: NewView) -> bytes:
    """What a NEW-VIEW signs: its view and the hash of all its other fields but the signature (A2)."""
    others = [message.view_changes, message.prepares]
    return encode([chain_id, message.epoch, message.new_view, sha256(encode(others))])
