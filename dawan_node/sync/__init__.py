"""Catch-up: how a node that was away gets the blocks it missed, from peers of which some lie.

``messages`` is the wire, ``verify`` says what makes a range of blocks believable, ``catch_up`` decides what to ask
whom for and what to apply next. All of it is pure; a shell moves the bytes and executes the blocks.
"""

from dawan_node.sync.catch_up import Blame, CatchUp, SyncedBlock, SyncLimits, SyncReady, SyncStatus
from dawan_node.sync.messages import (
    HeadMessage,
    RangeBlock,
    RangeReply,
    RangeRequest,
    SyncMessage,
    cut_reply,
    decode_sync_message,
)
from dawan_node.sync.verify import Anchor

__all__ = [
    "Anchor",
    "Blame",
    "CatchUp",
    "HeadMessage",
    "RangeBlock",
    "RangeReply",
    "RangeRequest",
    "SyncLimits",
    "SyncMessage",
    "SyncReady",
    "SyncStatus",
    "SyncedBlock",
    "cut_reply",
    "decode_sync_message",
]
