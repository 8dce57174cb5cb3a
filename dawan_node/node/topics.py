"""What a peer may send to a channel: one rule for each topic, consulted by ``Channel.on_message``.

Whoever may send is answered, where the topic has requests at all. Nothing is taken from a node whose organisation is
not on the channel: the network keeps such frames away already (a hello lists only common channels), and this is the
second look, at what the channel itself says now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from dawan_node.p2p.framing import Topic


class Standing(StrEnum):
    """What a peer is to one channel."""

    VALIDATOR = "validator"  # votes on it
    OBSERVER = "observer"  # of an organisation that is on it
    OUTSIDER = "outsider"  # of an organisation of the network that is not on it, or suspended
    STRANGER = "stranger"  # no node of the network: it does not get past the handshake


class Treatment(StrEnum):
    """What becomes of a message."""

    TAKEN = "taken"
    IGNORED = "ignored"  # an honest peer may send it, and it is of no use here
    REFUSED = "refused"  # no honest peer sends it: the link is closed


@dataclass(frozen=True, slots=True)
class TopicRule:
    """Who may send on one topic; everybody else is refused. ``answers``: requests on it are answered to its sender."""

    taken: frozenset[Standing]
    ignored: frozenset[Standing]
    answers: bool


_MEMBERS: Final = frozenset({Standing.VALIDATOR, Standing.OBSERVER})
_NOBODY: Final[frozenset[Standing]] = frozenset()

TOPIC_RULES: Final[Mapping[Topic, TopicRule]] = MappingProxyType(
    {
        # Validators speak to validators; what others say proves nothing that catch-up does not bring.
        Topic.CONSENSUS: TopicRule(frozenset({Standing.VALIDATOR}), frozenset({Standing.OBSERVER}), answers=False),
        Topic.FETCH: TopicRule(_MEMBERS, _NOBODY, answers=True),
        Topic.SYNC: TopicRule(_MEMBERS, _NOBODY, answers=True),
        Topic.GOSSIP: TopicRule(_MEMBERS, _NOBODY, answers=True),
        # Of the link itself: nothing of a channel travels there.
        Topic.CONTROL: TopicRule(_NOBODY, _NOBODY, answers=False),
    }
)


def treatment(topic: Topic, standing: Standing) -> Treatment:
    """What becomes of a message of a peer of that standing. A topic without a rule takes nothing from anybody."""
    rule = TOPIC_RULES.get(topic)
    if rule is None:
        return Treatment.REFUSED
    if standing in rule.taken:
        return Treatment.TAKEN
    return Treatment.IGNORED if standing in rule.ignored else Treatment.REFUSED
