"""Is a node well, and if not, whose fault is it? Pure: from the replies of the node to findings in sentences.

A finding is *grave* when the channel cannot commit here (exit code 6); otherwise it is worth knowing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# Ten times the view timeout (consensus.md 1.7): work that waits this long is no hiccup.
STALL_MS: Final = 30_000
_STOPPED: Final = ("halted", "quarantine")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    channel: str
    grave: bool
    text: str


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """What is known of one channel from one node."""

    channel: str
    missing: tuple[str, ...]  # validators this node has no link to
    findings: tuple[Finding, ...]


def examine(
    node: str,
    status: Mapping[str, Any],
    info: Mapping[str, Any],
    pbft: Mapping[str, Any],
    peers: Sequence[Mapping[str, Any]],
) -> ChannelHealth:
    """Findings on one channel. ``status`` is its row of ``node_status``, ``info`` its ``channel_get``."""
    channel = str(status["channel"])
    linked = {peer["name"] for peer in peers if channel in peer["channels"]}
    validators: list[str] = info["validators"]
    votes_here = node in validators
    # An observer links to a few validators only: absence of a link says nothing there.
    missing = tuple(sorted(set(validators) - linked - {node})) if votes_here else ()
    findings: list[Finding] = []

    def find(grave: bool, text: str) -> None:
        findings.append(Finding(channel, grave, text))

    if status["state"] in _STOPPED:
        find(True, f"this node no longer votes ({status['state']}): it waits for {pbft['waiting_for']}")
    live = len(validators) - len(missing)
    if votes_here and live < info["quorum"]:
        find(
            True,
            f"no quorum: {live} of {info['n']} validators are linked, {info['quorum']} are needed; "
            f"missing: {', '.join(missing)}",
        )
    elif missing:
        margin = live - info["quorum"]
        find(False, f"no link to {', '.join(missing)}; {_count(margin)} more may fail before commits stop")
    stalled_ms = status["last_commit_age_ms"]
    works = pbft["in_flight"] or status["state"] == "view_change"
    if works and (stalled_ms is None or stalled_ms > STALL_MS):
        for slot in pbft["in_flight"][:1]:
            absent = ", ".join(slot["missing"]) or "nobody"
            find(True, f"height {slot['height']} is stuck in phase {slot['phase']}; no vote from {absent}")
        if status["state"] == "view_change":
            wishes = ", ".join(wish["name"] for wish in pbft["suspects"]) or "nobody"
            find(True, f"the view change does not end: it waits for {pbft['waiting_for']}; asked for by {wishes}")
    if (healing := status.get("healing")) is not None:
        find(
            False,
            f"healing: its database was lost or damaged and comes back from the peers, at {status['height']} of "
            f"{healing['to']} or more; it does not vote before that",
        )
    if (sync := status.get("sync")) is not None:
        find(False, _catching_up(status["height"], sync))
    elif status["state"] == "syncing":
        find(False, f"catching up: it waits for {pbft['waiting_for']}")
    return ChannelHealth(channel, missing, tuple(findings))


def _catching_up(height: int, sync: Mapping[str, Any]) -> str:
    text = f"catching up: at {height} of {sync['target']}"
    if sync["verified"] > height:
        text += f", headers proven up to {sync['verified']}"
    if sync["eta_s"] is None:
        return f"{text}; it is not known yet how long that takes"
    return f"{text}, {sync['blocks_per_s']} blocks/s, about {sync['eta_s']} s left"


def _count(number: int) -> str:
    return "none" if number <= 0 else str(number)
