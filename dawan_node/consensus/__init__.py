"""PBFT without I/O: give it messages, time and results; it says what to store, send, execute and decide.

Read in this order: ``messages`` (what replicas say), ``agreement`` (the normal case), ``finality`` (what decides a
block), ``suspicion``, ``view_change`` and ``view_changer`` (how a faulty primary is replaced), ``records`` and
``restore`` (what survives a crash), ``repair`` (what makes up for lost messages), and ``replica``, which puts them
together and tells the driver how to use them.
"""

from __future__ import annotations

from dawan_node.consensus.agreement import ProposalSlot
from dawan_node.consensus.config import ChannelRules, Head, ReplicaConfig, Timers
from dawan_node.consensus.guard import SlotGuard
from dawan_node.consensus.messages import MESSAGE_BYTES_MAX, Message, decode_message
from dawan_node.consensus.ready import (
    Acquire,
    Alarm,
    AlarmKind,
    Decided,
    Evidence,
    EvidenceKind,
    Execute,
    Outgoing,
    Ready,
    SyncRequest,
)
from dawan_node.consensus.records import SHELL_KINDS_FROM, Record, RecordKind, recorded_height
from dawan_node.consensus.replica import Replica
from dawan_node.consensus.report import InFlight, Mode, ReplicaStatus
from dawan_node.consensus.signer import Statement, VoteKind, VoteSigner

__all__ = [
    "MESSAGE_BYTES_MAX",
    "SHELL_KINDS_FROM",
    "Acquire",
    "Alarm",
    "AlarmKind",
    "ChannelRules",
    "Decided",
    "Evidence",
    "EvidenceKind",
    "Execute",
    "Head",
    "InFlight",
    "Message",
    "Mode",
    "Outgoing",
    "ProposalSlot",
    "Ready",
    "Record",
    "RecordKind",
    "Replica",
    "ReplicaConfig",
    "ReplicaStatus",
    "SlotGuard",
    "Statement",
    "SyncRequest",
    "Timers",
    "VoteKind",
    "VoteSigner",
    "decode_message",
    "recorded_height",
]
