"""Catch-up: how a node that was away gets the blocks it missed, from peers of which some lie.

``messages`` is the wire, ``verify`` says what makes a range of blocks believable, ``peers`` who has what and how it
behaves, ``asks`` what is on its way, and ``catch_up`` decides what to ask whom for and what to apply next;
``progress`` says how long it will take. All of it is pure; a shell moves the bytes and executes the blocks.
"""

from dawan_node.sync.catch_up import CatchUp, SyncedBlock, SyncLimits, SyncReady, SyncStatus
from dawan_node.sync.messages import (
    BodiesReply,
    BodiesRequest,
    BusyReply,
    HeadMessage,
    LightBlock,
    LightReply,
    LightRequest,
    SyncMessage,
    SyncReply,
    SyncRequest,
    cut_bodies,
    decode_sync_message,
)
from dawan_node.sync.peers import Blame
from dawan_node.sync.progress import Progress, Rate
from dawan_node.sync.verify import Anchor

__all__ = [
    "Anchor",
    "Blame",
    "BodiesReply",
    "BodiesRequest",
    "BusyReply",
    "CatchUp",
    "HeadMessage",
    "LightBlock",
    "LightReply",
    "LightRequest",
    "Progress",
    "Rate",
    "SyncLimits",
    "SyncMessage",
    "SyncReady",
    "SyncReply",
    "SyncRequest",
    "SyncStatus",
    "SyncedBlock",
    "cut_bodies",
    "decode_sync_message",
]
